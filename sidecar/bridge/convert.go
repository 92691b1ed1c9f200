// Messages to neutral expressions. Everything is checked: depth, counts,
// indexes, enumerations. An expression past a bound, or of a kind that this
// version does not know, is not an error: PostgreSQL evaluates it.

package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Bounds of one request.
const (
	maxDepth      = 200
	maxNodes      = 100000
	maxConjuncts  = 10000
	maxOrderings  = 1000
	maxSortKeys   = 1000
	maxParameters = 65535
	maxLabels     = 100000
)

// notShippable says why an expression is left to PostgreSQL.
type notShippable struct{ reason string }

func (e *notShippable) Error() string { return e.reason }

// converter turns the expressions of one request. With values it is a scan's,
// where every parameter is known; without, a plan's.
type converter struct {
	columns int
	scan    bool
	values  []*hallwayv1.Value
	nodes   int
}

func typeOf(t *hallwayv1.Type) (pushdown.Type, error) {
	k := t.GetKind()
	if k <= hallwayv1.Kind_KIND_UNSPECIFIED || k > hallwayv1.Kind_KIND_OTHER {
		// A kind that a newer shim knows travels as something we cannot read.
		return pushdown.Type{}, protocolError("type %q is of an unknown kind %d", t.GetName(), k)
	}
	if len(t.GetEnumLabels()) > maxLabels {
		return pushdown.Type{}, protocolError("%d enum labels", len(t.GetEnumLabels()))
	}
	return pushdown.Type{
		Kind: pushdown.Kind(k), Array: t.GetArray(), OID: t.GetOid(), ElementOID: t.GetElementOid(),
		Length: t.GetLength(), Precision: t.GetPrecision(), Scale: t.GetScale(),
		Labels: t.GetEnumLabels(), Name: t.GetName(),
	}, nil
}

func collationOf(c *hallwayv1.Collation) pushdown.Collation {
	if c == nil {
		return pushdown.Collation{}
	}
	return pushdown.Collation{Name: c.GetName(), C: c.GetC(), Deterministic: c.GetDeterministic()}
}

func valueOf(t pushdown.Type, v *hallwayv1.Value) (pushdown.Value, error) {
	if v == nil {
		return pushdown.Value{}, protocolError("a parameter's value is missing")
	}
	if v.GetNull() {
		return pushdown.Value{}, nil
	}
	out, err := rows.DecodeValue(t, v.GetBinary())
	if err != nil {
		return out, fmt.Errorf("reading a parameter of type %s: %w", rows.TypeName(t), err)
	}
	return out, nil
}

func (c *converter) exprs(list []*hallwayv1.Expr, depth int) ([]pushdown.Expr, error) {
	out := make([]pushdown.Expr, len(list))
	for i, e := range list {
		var err error
		if out[i], err = c.expr(e, depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *converter) expr(e *hallwayv1.Expr, depth int) (pushdown.Expr, error) {
	if depth > maxDepth {
		return nil, &notShippable{fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	if c.nodes++; c.nodes > maxNodes {
		return nil, &notShippable{fmt.Sprintf("more than %d parts", maxNodes)}
	}
	depth++
	switch n := e.GetNode().(type) {
	case *hallwayv1.Expr_Column:
		i := n.Column.GetColumn()
		if int64(i) >= int64(c.columns) {
			return nil, protocolError("column index %d of %d columns", i, c.columns)
		}
		return &pushdown.Column{Index: int(i)}, nil
	case *hallwayv1.Expr_Parameter:
		return c.param(n.Parameter, false)
	case *hallwayv1.Expr_Comparison:
		op := n.Comparison.GetOperator()
		if op <= 0 || op > hallwayv1.ComparisonOperator_COMPARISON_OPERATOR_NOT_DISTINCT {
			return nil, unknownPart()
		}
		l, r, err := c.pair(n.Comparison.GetLeft(), n.Comparison.GetRight(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Comparison{Op: pushdown.Operator(op), Left: l, Right: r,
			Collation: collationOf(n.Comparison.GetCollation())}, nil
	case *hallwayv1.Expr_Membership:
		l, err := c.expr(n.Membership.GetOperand(), depth)
		if err != nil {
			return nil, err
		}
		r, err := c.arrayOf(n.Membership, depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Membership{Operand: l, Array: r, Negated: n.Membership.GetNegated(),
			Collation: collationOf(n.Membership.GetCollation())}, nil
	case *hallwayv1.Expr_Match:
		k := n.Match.GetKind()
		if k <= 0 || k > hallwayv1.MatchKind_MATCH_KIND_IREGEX {
			return nil, unknownPart()
		}
		l, r, err := c.pair(n.Match.GetOperand(), n.Match.GetPattern(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Match{Kind: pushdown.MatchKind(k), Operand: l, Pattern: r,
			Negated: n.Match.GetNegated(), Collation: collationOf(n.Match.GetCollation())}, nil
	case *hallwayv1.Expr_NullTest:
		o, err := c.expr(n.NullTest.GetOperand(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.NullTest{Operand: o, Negated: n.NullTest.GetNegated()}, nil
	case *hallwayv1.Expr_BoolTest:
		t := n.BoolTest.GetTruth()
		if t <= 0 || t > hallwayv1.Truth_TRUTH_UNKNOWN {
			return nil, unknownPart()
		}
		o, err := c.expr(n.BoolTest.GetOperand(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.BoolTest{Operand: o, Truth: pushdown.Truth(t), Negated: n.BoolTest.GetNegated()}, nil
	case *hallwayv1.Expr_And:
		list, err := c.operands(n.And.GetOperands(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.And{Operands: list}, nil
	case *hallwayv1.Expr_Or:
		list, err := c.operands(n.Or.GetOperands(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Or{Operands: list}, nil
	case *hallwayv1.Expr_Not:
		o, err := c.expr(n.Not.GetOperand(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Not{Operand: o}, nil
	case *hallwayv1.Expr_Function:
		t, err := typeOf(n.Function.GetType())
		if err != nil {
			return nil, err
		}
		args, err := c.exprs(n.Function.GetArguments(), depth)
		if err != nil {
			return nil, err
		}
		return &pushdown.Function{Name: n.Function.GetName(), Args: args, Type: t,
			Collation: collationOf(n.Function.GetCollation())}, nil
	}
	return nil, unknownPart()
}

// arrayOf is a membership's array: a parameter, or a column where the operand is one.
func (c *converter) arrayOf(m *hallwayv1.Membership, depth int) (pushdown.Expr, error) {
	switch n := m.GetArray().GetNode().(type) {
	case *hallwayv1.Expr_Parameter:
		if n.Parameter.GetType().GetArray() {
			return c.param(n.Parameter, true)
		}
	case *hallwayv1.Expr_Column:
		if m.GetOperand().GetParameter() != nil {
			return c.expr(m.GetArray(), depth)
		}
	}
	return nil, protocolError("a membership's array is neither a parameter of array type nor a column that is compared with a parameter")
}

// unknownPart: a newer shim may send what this sidecar does not know.
func unknownPart() error {
	return &notShippable{"not known to this version of the sidecar"}
}

func (c *converter) pair(l, r *hallwayv1.Expr, depth int) (pushdown.Expr, pushdown.Expr, error) {
	le, err := c.expr(l, depth)
	if err != nil {
		return nil, nil, err
	}
	re, err := c.expr(r, depth)
	if err != nil {
		return nil, nil, err
	}
	return le, re, nil
}

func (c *converter) operands(list []*hallwayv1.Expr, depth int) ([]pushdown.Expr, error) {
	if len(list) == 0 {
		return nil, protocolError("AND or OR without operands")
	}
	return c.exprs(list, depth)
}

// param is a parameter; list says that only its elements matter.
func (c *converter) param(p *hallwayv1.Parameter, list bool) (pushdown.Expr, error) {
	if p.GetIndex() > maxParameters {
		return nil, protocolError("parameter index %d", p.GetIndex())
	}
	t, err := typeOf(p.GetType())
	if err != nil {
		return nil, err
	}
	out := &pushdown.Param{Index: int(p.GetIndex()), Type: t}
	var v *hallwayv1.Value
	switch {
	case c.scan:
		if out.Index >= len(c.values) {
			return nil, protocolError("the value of parameter %d is missing", out.Index)
		}
		v = c.values[out.Index]
	case p.GetKnown():
		v = p.GetValue()
	default:
		return out, nil
	}
	if t.Array && !list && !v.GetNull() && !plainArray(v.GetBinary()) {
		return nil, &notShippable{"compared with an array of several dimensions or other subscripts"}
	}
	out.Known = true
	out.Value, err = valueOf(t, v)
	return out, err
}

// plainArray reports whether an array in binary format is what a list of its
// elements says: empty, or of one dimension that begins at 1. A pushdown.Value
// cannot tell others from it, and PostgreSQL does.
func plainArray(b []byte) bool {
	if len(b) < 20 {
		return true // empty, or malformed: DecodeValue says which
	}
	dims, lower := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[16:])
	return dims == 0 || dims == 1 && lower == 1
}

// request is a pushdown.Request with the way back to the wire's conjuncts.
type request struct {
	pushdown.Request
	// at[i] is the position in Request.Conjuncts of the wire's conjunct i; -1:
	// it is left to PostgreSQL, for reasons[i].
	at      []int
	reasons []string
}

// convert turns a PlanRequest. values are a scan's parameters, if scan.
func convert(rel *relation, req *hallwayv1.PlanRequest, scan bool, values []*hallwayv1.Value) (*request, error) {
	if n := len(req.GetConjuncts()); n > maxConjuncts {
		return nil, protocolError("%d conjuncts", n)
	}
	if n := len(req.GetOrderings()); n > maxOrderings {
		return nil, protocolError("%d orderings", n)
	}
	c := &converter{columns: len(rel.spec.Columns), scan: scan, values: values}
	out := &request{at: make([]int, len(req.GetConjuncts())), reasons: make([]string, len(req.GetConjuncts()))}
	for i, w := range req.GetConjuncts() {
		e, err := c.expr(w, 1)
		var no *notShippable
		switch {
		case errors.As(err, &no):
			out.at[i], out.reasons[i] = -1, no.reason
		case err != nil:
			return nil, err
		default:
			out.at[i] = len(out.Conjuncts)
			out.Conjuncts = append(out.Conjuncts, e)
		}
	}
	for _, w := range req.GetOrderings() {
		if n := len(w.GetKeys()); n == 0 || n > maxSortKeys {
			return nil, protocolError("an ordering of %d keys", n)
		}
		o := make(pushdown.Ordering, len(w.GetKeys()))
		for i, k := range w.GetKeys() {
			if int64(k.GetColumn()) >= int64(len(rel.spec.Columns)) {
				return nil, protocolError("column index %d of %d columns", k.GetColumn(), len(rel.spec.Columns))
			}
			o[i] = pushdown.SortKey{Column: int(k.GetColumn()), Descending: k.GetDescending(),
				NullsFirst: k.GetNullsFirst(), Collation: collationOf(k.GetCollation())}
		}
		out.Orderings = append(out.Orderings, o)
	}
	var err error
	if out.Columns, err = rel.columnsAt(req.GetColumns()); err != nil {
		return nil, err
	}
	// A conjunct that stays here decides about rows, so no LIMIT goes down.
	out.LimitPossible = req.GetLimitPossible() && len(out.Conjuncts) == len(out.at)
	out.LimitRows = req.GetLimitRows()
	if out.Aggregation, err = aggregationOf(rel, req.GetAggregation()); err != nil {
		return nil, err
	}
	if out.Aggregation != nil && (len(out.Orderings) > 0 || len(out.Columns) > 0 || req.GetLimitPossible()) {
		return nil, protocolError("an aggregation with orderings, columns or a limit")
	}
	return out, nil
}

// aggregationOf is nil if the rows are wanted, or what a newer shim may want that
// this version does not know.
func aggregationOf(rel *relation, a *hallwayv1.Aggregation) (*pushdown.Aggregation, error) {
	if a == nil {
		return nil, nil
	}
	if n := len(a.GetAggregates()); n == 0 || n > maxColumns {
		return nil, protocolError("%d aggregates", n)
	}
	out := &pushdown.Aggregation{}
	var err error
	if out.Keys, err = rel.columnsAt(a.GetKeys()); err != nil {
		return nil, err
	}
	for _, w := range a.GetAggregates() {
		f := w.GetFunction()
		if f <= 0 || f > hallwayv1.AggregateFunction_AGGREGATE_FUNCTION_MAX {
			return nil, protocolError("aggregate function %d", f)
		}
		if int64(w.GetColumn()) >= int64(max(len(rel.spec.Columns), 1)) {
			return nil, protocolError("column index %d of %d columns", w.GetColumn(), len(rel.spec.Columns))
		}
		t, err := typeOf(w.GetType())
		if err != nil {
			return nil, err
		}
		out.Aggregates = append(out.Aggregates, pushdown.Aggregate{Function: pushdown.AggregateFunction(f), Column: int(w.GetColumn()), Type: t})
	}
	return out, nil
}
