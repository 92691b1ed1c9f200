package pushdown

// Helpers for connectors that look into expressions.

import "slices"

// Walk calls visit for e and, while visit returns true, for all below it.
func Walk(e Expr, visit func(Expr) bool) {
	if !visit(e) {
		return
	}
	for _, c := range Children(e) {
		Walk(c, visit)
	}
}

// Children are the operands directly below e.
func Children(e Expr) []Expr {
	switch e := e.(type) {
	case *Comparison:
		return []Expr{e.Left, e.Right}
	case *Membership:
		return []Expr{e.Operand, e.Array}
	case *Match:
		return []Expr{e.Operand, e.Pattern}
	case *NullTest:
		return []Expr{e.Operand}
	case *BoolTest:
		return []Expr{e.Operand}
	case *And:
		return e.Operands
	case *Or:
		return e.Operands
	case *Not:
		return []Expr{e.Operand}
	case *Function:
		return e.Args
	}
	return nil
}

// Columns are the positions of the columns that occur, sorted, each once.
func Columns(exprs ...Expr) []int {
	var list []int
	for _, e := range exprs {
		Walk(e, func(e Expr) bool {
			if c, ok := e.(*Column); ok {
				list = append(list, c.Index)
			}
			return true
		})
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Known reports whether the values of all parameters in e are known.
func Known(e Expr) bool {
	known := true
	Walk(e, func(e Expr) bool {
		if p, ok := e.(*Param); ok && !p.Known {
			known = false
		}
		return known
	})
	return known
}

// Commute is the operator with which b op a means what a op b does.
func (o Operator) Commute() Operator {
	switch o {
	case LT:
		return GT
	case LE:
		return GE
	case GT:
		return LT
	case GE:
		return LE
	}
	return o
}

// Negate is the operator that holds just where o does not, NULLs aside.
func (o Operator) Negate() Operator {
	switch o {
	case EQ:
		return NE
	case NE:
		return EQ
	case LT:
		return GE
	case LE:
		return GT
	case GT:
		return LE
	case GE:
		return LT
	case Distinct:
		return NotDistinct
	case NotDistinct:
		return Distinct
	}
	return o
}

// String is the operator in SQL.
func (o Operator) String() string {
	switch o {
	case EQ:
		return "="
	case NE:
		return "<>"
	case LT:
		return "<"
	case LE:
		return "<="
	case GT:
		return ">"
	case GE:
		return ">="
	case Distinct:
		return "IS DISTINCT FROM"
	case NotDistinct:
		return "IS NOT DISTINCT FROM"
	}
	return "?"
}

// ColumnComparison takes e apart if it compares a column with a parameter, in
// either order: column op param.
func ColumnComparison(e Expr) (column int, op Operator, param *Param, coll Collation, ok bool) {
	c, ok := e.(*Comparison)
	if !ok {
		return 0, 0, nil, Collation{}, false
	}
	if col, isCol := c.Left.(*Column); isCol {
		if p, isParam := c.Right.(*Param); isParam {
			return col.Index, c.Op, p, c.Collation, true
		}
	}
	if col, isCol := c.Right.(*Column); isCol {
		if p, isParam := c.Left.(*Param); isParam {
			return col.Index, c.Op.Commute(), p, c.Collation, true
		}
	}
	return 0, 0, nil, Collation{}, false
}

// ColumnMembership takes e apart if it is column IN (parameter).
func ColumnMembership(e Expr) (column int, array *Param, negated bool, coll Collation, ok bool) {
	m, ok := e.(*Membership)
	if !ok {
		return 0, nil, false, Collation{}, false
	}
	col, ok1 := m.Operand.(*Column)
	p, ok2 := m.Array.(*Param)
	if !ok1 || !ok2 {
		return 0, nil, false, Collation{}, false
	}
	return col.Index, p, m.Negated, m.Collation, true
}

// Shape is e with the values of its parameters forgotten. e is not
// changed; parts without parameters may be shared.
func Shape(e Expr) Expr {
	all := func(list []Expr) []Expr {
		out := make([]Expr, len(list))
		for i, o := range list {
			out[i] = Shape(o)
		}
		return out
	}
	switch e := e.(type) {
	case *Param:
		return &Param{Index: e.Index, Type: e.Type}
	case *Comparison:
		return &Comparison{Op: e.Op, Left: Shape(e.Left), Right: Shape(e.Right), Collation: e.Collation}
	case *Membership:
		return &Membership{Operand: Shape(e.Operand), Array: Shape(e.Array), Negated: e.Negated, Collation: e.Collation}
	case *Match:
		return &Match{Kind: e.Kind, Operand: Shape(e.Operand), Pattern: Shape(e.Pattern), Negated: e.Negated, Collation: e.Collation}
	case *NullTest:
		return &NullTest{Operand: Shape(e.Operand), Negated: e.Negated}
	case *BoolTest:
		return &BoolTest{Operand: Shape(e.Operand), Truth: e.Truth, Negated: e.Negated}
	case *And:
		return &And{all(e.Operands)}
	case *Or:
		return &Or{all(e.Operands)}
	case *Not:
		return &Not{Shape(e.Operand)}
	case *Function:
		return &Function{Name: e.Name, Args: all(e.Args), Type: e.Type, Collation: e.Collation}
	}
	return e
}
