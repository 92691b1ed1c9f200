package pushdown

// The evaluator: what an expression yields for a row, with PostgreSQL's
// semantics. What cannot be evaluated for certain (orders of collations other
// than C, Unicode case, regular expressions, jsonb) is refused when the
// expression is compiled, so that whoever asked leaves it to PostgreSQL.

import (
	"fmt"
	"strings"
)

// Row gives a row's value of a column, in the form of the column's type.
type Row func(column int) Value

// Predicate is a compiled boolean expression; it keeps no state and may be
// used by many goroutines at once.
type Predicate struct {
	eval func(Row) (Truth, error)
}

// UnsupportedError says why an expression cannot be evaluated outside of
// PostgreSQL.
type UnsupportedError struct{ Reason string }

func (e *UnsupportedError) Error() string { return e.Reason }

// EvalError is an error that PostgreSQL would raise for the same expression
// and row.
type EvalError struct{ SQLState, Message string }

func (e *EvalError) Error() string { return e.Message }

// Compile prepares e, over rows whose columns have the given types. Parameters
// need not be known yet, but must be when the Predicate is used. The error is
// an *UnsupportedError.
func Compile(e Expr, columns []Type) (*Predicate, error) {
	c := compiler{columns: columns}
	f, err := c.truth(e)
	if err != nil {
		return nil, err
	}
	return &Predicate{eval: f}, nil
}

// CompileAll is Compile for the AND of several conjuncts; none is true.
func CompileAll(conjuncts []Expr, columns []Type) (*Predicate, error) {
	if len(conjuncts) == 0 {
		return &Predicate{eval: func(Row) (Truth, error) { return True, nil }}, nil
	}
	return Compile(&And{Operands: conjuncts}, columns)
}

// Eval yields the truth value for a row. The error is an *EvalError, or says
// that a parameter is not known.
func (p *Predicate) Eval(row Row) (Truth, error) { return p.eval(row) }

// Matches reports whether WHERE lets the row through.
func (p *Predicate) Matches(row Row) (bool, error) {
	t, err := p.eval(row)
	return t == True, err
}

// Eval compiles e and evaluates it for one row.
func Eval(e Expr, columns []Type, row Row) (Truth, error) {
	p, err := Compile(e, columns)
	if err != nil {
		return Unknown, err
	}
	return p.eval(row)
}

// CanEval reports whether Compile takes e.
func CanEval(e Expr, columns []Type) bool {
	_, err := Compile(e, columns)
	return err == nil
}

func unsupported(format string, args ...any) error {
	return &UnsupportedError{Reason: fmt.Sprintf(format, args...)}
}

type (
	truthFunc func(Row) (Truth, error)
	valueFunc func(Row) (Value, error)
)

type compiler struct{ columns []Type }

func truthOf(b bool) Truth {
	if b {
		return True
	}
	return False
}

func not(t Truth) Truth {
	switch t {
	case True:
		return False
	case False:
		return True
	}
	return Unknown
}

// truth compiles a boolean expression.
func (c *compiler) truth(e Expr) (truthFunc, error) {
	switch e := e.(type) {
	case *And:
		return c.junction(e.Operands, False)
	case *Or:
		return c.junction(e.Operands, True)
	case *Not:
		f, err := c.truth(e.Operand)
		if err != nil {
			return nil, err
		}
		return func(r Row) (Truth, error) { t, err := f(r); return not(t), err }, nil
	case *Comparison:
		return c.comparison(e)
	case *Membership:
		return c.membership(e)
	case *Match:
		return c.match(e)
	case *NullTest:
		f, _, err := c.value(e.Operand)
		if err != nil {
			return nil, err
		}
		return func(r Row) (Truth, error) {
			v, err := f(r)
			return truthOf(v.IsNull() != e.Negated), err
		}, nil
	case *BoolTest:
		f, err := c.truth(e.Operand)
		if err != nil {
			return nil, err
		}
		return func(r Row) (Truth, error) {
			t, err := f(r)
			return truthOf((t == e.Truth) != e.Negated), err
		}, nil
	case *Column, *Param, *Function:
		f, t, err := c.value(e)
		if err != nil {
			return nil, err
		}
		if t.Kind != Bool || t.Array {
			return nil, unsupported("a %s is no condition", t.Kind)
		}
		return func(r Row) (Truth, error) {
			v, err := f(r)
			b, ok := v.V.(bool)
			if err != nil || !ok {
				return Unknown, err
			}
			return truthOf(b), nil
		}, nil
	}
	return nil, unsupported("unknown expression %T", e)
}

// junction compiles AND (decided by False) and OR (decided by True).
func (c *compiler) junction(operands []Expr, decides Truth) (truthFunc, error) {
	fs := make([]truthFunc, len(operands))
	for i, o := range operands {
		f, err := c.truth(o)
		if err != nil {
			return nil, err
		}
		fs[i] = f
	}
	return func(r Row) (Truth, error) {
		result := not(decides)
		for _, f := range fs {
			t, err := f(r)
			switch {
			case err != nil:
				return Unknown, err
			case t == decides:
				return decides, nil
			case t == Unknown:
				result = Unknown
			}
		}
		return result, nil
	}, nil
}

// value compiles any expression, with its type.
func (c *compiler) value(e Expr) (valueFunc, Type, error) {
	switch e := e.(type) {
	case *Column:
		if e.Index < 0 || e.Index >= len(c.columns) {
			return nil, Type{}, unsupported("there is no column %d", e.Index)
		}
		return func(r Row) (Value, error) { return r(e.Index), nil }, c.columns[e.Index], nil
	case *Param:
		return func(Row) (Value, error) {
			if !e.Known {
				return Value{}, fmt.Errorf("pushdown: parameter %d is not known", e.Index)
			}
			return e.Value, nil
		}, e.Type, nil
	case *Function:
		return c.function(e)
	}
	f, err := c.truth(e)
	if err != nil {
		return nil, Type{}, err
	}
	return func(r Row) (Value, error) {
		t, err := f(r)
		if err != nil || t == Unknown {
			return Value{}, err
		}
		return Value{V: t == True}, nil
	}, Type{Kind: Bool}, nil
}

func (c *compiler) comparison(e *Comparison) (truthFunc, error) {
	left, lt, err := c.value(e.Left)
	if err != nil {
		return nil, err
	}
	right, rt, err := c.value(e.Right)
	if err != nil {
		return nil, err
	}
	ordered := e.Op >= LT && e.Op <= GE
	cmp, err := comparer(lt, rt, e.Collation, ordered)
	if err != nil {
		return nil, err
	}
	var holds func(int) bool
	switch e.Op {
	case EQ, NotDistinct:
		holds = func(x int) bool { return x == 0 }
	case NE, Distinct:
		holds = func(x int) bool { return x != 0 }
	case LT:
		holds = func(x int) bool { return x < 0 }
	case LE:
		holds = func(x int) bool { return x <= 0 }
	case GT:
		holds = func(x int) bool { return x > 0 }
	case GE:
		holds = func(x int) bool { return x >= 0 }
	default:
		return nil, unsupported("unknown operator %d", e.Op)
	}
	return func(r Row) (Truth, error) {
		a, err := left(r)
		if err != nil {
			return Unknown, err
		}
		b, err := right(r)
		if err != nil {
			return Unknown, err
		}
		if a.V == nil || b.V == nil {
			switch e.Op {
			case Distinct:
				return truthOf((a.V == nil) != (b.V == nil)), nil
			case NotDistinct:
				return truthOf((a.V == nil) == (b.V == nil)), nil
			}
			return Unknown, nil
		}
		x, err := cmp(a, b)
		if err != nil {
			return Unknown, err
		}
		return truthOf(holds(x)), nil
	}, nil
}

func (c *compiler) membership(e *Membership) (truthFunc, error) {
	operand, t, err := c.value(e.Operand)
	if err != nil {
		return nil, err
	}
	array, at, err := c.value(e.Array)
	if err != nil {
		return nil, err
	}
	if !at.Array {
		return nil, unsupported("IN needs an array")
	}
	at.Array = false
	cmp, err := comparer(t, at, e.Collation, false)
	if err != nil {
		return nil, err
	}
	found := truthOf(!e.Negated)
	var sets setCache
	if _, constant := e.Array.(*Param); constant {
		sets.key = hashKey(at)
	}
	return func(r Row) (Truth, error) {
		av, err := array(r)
		if err != nil || av.V == nil {
			return Unknown, err
		}
		list, ok := av.V.([]Value)
		if !ok {
			return Unknown, badValue(av, at)
		}
		// An empty list decides even about NULL.
		if len(list) == 0 {
			return not(found), nil
		}
		v, err := operand(r)
		if err != nil || v.V == nil {
			return Unknown, err
		}
		result := not(found)
		if set := sets.of(list); set != nil {
			k, ok := sets.key(v)
			if !ok {
				return Unknown, badValue(v, t)
			}
			if _, ok := set.members[k]; ok {
				return found, nil
			}
			if set.hasNull {
				result = Unknown
			}
			return result, nil
		}
		for _, item := range list {
			if item.V == nil {
				result = Unknown
				continue
			}
			x, err := cmp(v, item)
			if err != nil {
				return Unknown, err
			}
			if x == 0 {
				return found, nil
			}
		}
		return result, nil
	}, nil
}

func (c *compiler) match(e *Match) (truthFunc, error) {
	operand, ot, err := c.value(e.Operand)
	if err != nil {
		return nil, err
	}
	pattern, pt, err := c.value(e.Pattern)
	if err != nil {
		return nil, err
	}
	if !isText(pt) || !isText(ot) && !isBPChar(ot) {
		return nil, unsupported("patterns are for text")
	}
	if !e.Collation.C && !e.Collation.Deterministic {
		return nil, unsupported("collation %s is not deterministic", e.Collation.name())
	}
	var matches func(s, p string) (bool, error)
	switch e.Kind {
	case Like:
		matches = matchLike
	case ILike:
		if !e.Collation.asciiCase() {
			return nil, unsupported("letter case in collation %s is PostgreSQL's to know", e.Collation.name())
		}
		matches = func(s, p string) (bool, error) { return matchLike(lowerASCII(s), lowerASCII(p)) }
	case StartsWith:
		if isBPChar(ot) {
			return nil, unsupported("starts_with of a character(n)")
		}
		matches = func(s, p string) (bool, error) { return strings.HasPrefix(s, p), nil }
	default:
		return nil, unsupported("regular expressions are PostgreSQL's to know")
	}
	return func(r Row) (Truth, error) {
		s, err := operand(r)
		if err != nil {
			return Unknown, err
		}
		p, err := pattern(r)
		if err != nil || s.V == nil || p.V == nil {
			return Unknown, err
		}
		st, ok1 := s.V.(string)
		pt, ok2 := p.V.(string)
		if !ok1 || !ok2 {
			return Unknown, badValue(s, ot)
		}
		if isBPChar(ot) {
			st = padBPChar(st, ot)
		}
		m, err := matches(st, pt)
		if err != nil {
			return Unknown, err
		}
		return truthOf(m != e.Negated), nil
	}, nil
}

// function compiles lower and upper, and length of text.
func (c *compiler) function(e *Function) (valueFunc, Type, error) {
	fail := func() (valueFunc, Type, error) {
		return nil, Type{}, unsupported("function %s is PostgreSQL's to know", e.Name)
	}
	if len(e.Args) != 1 {
		return fail()
	}
	arg, at, err := c.value(e.Args[0])
	if err != nil {
		return nil, Type{}, err
	}
	if !isText(at) {
		return fail()
	}
	var apply func(string) string
	switch e.Name {
	case "lower":
		apply = lowerASCII
	case "upper":
		apply = upperASCII
	default:
		return fail()
	}
	if !e.Collation.asciiCase() {
		return nil, Type{}, unsupported("letter case in collation %s is PostgreSQL's to know", e.Collation.name())
	}
	return func(r Row) (Value, error) {
		v, err := arg(r)
		if err != nil || v.V == nil {
			return Value{}, err
		}
		s, ok := v.V.(string)
		if !ok {
			return Value{}, badValue(v, at)
		}
		return Value{V: apply(s)}, nil
	}, Type{Kind: Text}, nil
}

func (c Collation) name() string {
	if c.Name == "" {
		return "that is not known"
	}
	return `"` + c.Name + `"`
}

// asciiCase reports whether lower() and ILIKE know only the letters A to Z.
// Comparison by byte is not enough: a database may sort in C and still know
// Unicode's letters.
func (c Collation) asciiCase() bool {
	switch c.Name {
	case "C", "POSIX", "ucs_basic":
		return c.C
	}
	return false
}

func badValue(v Value, t Type) error {
	return fmt.Errorf("pushdown: a Go %T is no value of type %s", v.V, t.Kind)
}
