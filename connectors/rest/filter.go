// From PostgreSQL's expressions to the API's filter: for each conjunct a
// filter that finds at least SQL's rows, and the knowledge whether it finds
// just them.
//
// SQL has three truth values. A conjunct asks for the rows where an expression
// is true, NOT for those where it is false, IS NOT TRUE for false and unknown.
// So compile is asked for a set of truth values, and negation never stands in
// a filter: it moves down to the leaves, where the opposite operator is used.
// AND and OR are monotone, so a superset below is a superset above.

package rest

import (
	"strings"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// truths is a set of truth values.
type truths uint8

const (
	isTrue truths = 1 << iota
	isFalse
	isNull
	notTrue  = isFalse | isNull
	notFalse = isTrue | isNull
	anyTruth = isTrue | isFalse | isNull
)

// flip is the set for the negated expression.
func (t truths) flip() truths {
	return t&isNull | t&isTrue<<1 | t&isFalse>>1
}

type nodeKind uint8

const (
	all  nodeKind = iota // every row
	none                 // no row
	leaf
	conj
	disj
)

// node is a filter.
type node struct {
	kind nodeKind
	// text of a leaf.
	text string
	kids []*node
	// exact: just the rows wanted; else also others. none is always exact.
	exact bool
	// why not exact, for EXPLAIN.
	why string
	// rows is the share of the object's rows expected.
	rows float64
}

func everything() *node       { return &node{kind: all, exact: true, rows: 1} }
func nothing() *node          { return &node{kind: none, exact: true} }
func local(why string) *node  { return &node{kind: all, why: why, rows: 1} }
func (n *node) isLocal() bool { return n.kind == all && !n.exact }

func and(kids ...*node) *node {
	out := &node{kind: conj, exact: true, rows: 1}
	for _, k := range kids {
		out.exact = out.exact && k.exact
		if out.why == "" {
			out.why = k.why
		}
		out.rows *= k.rows
		switch k.kind {
		case none:
			return nothing()
		case all:
		case conj:
			out.kids = append(out.kids, k.kids...)
		default:
			out.kids = append(out.kids, k)
		}
	}
	return out.simple(all)
}

func or(kids ...*node) *node {
	out := &node{kind: disj, exact: true}
	for _, k := range kids {
		if k.kind == all && k.exact {
			return everything()
		}
	}
	for _, k := range kids {
		out.exact = out.exact && k.exact
		if out.why == "" {
			out.why = k.why
		}
		out.rows = min(1, out.rows+k.rows)
		switch k.kind {
		case all:
			return local(k.why)
		case none:
		case disj:
			out.kids = append(out.kids, k.kids...)
		default:
			out.kids = append(out.kids, k)
		}
	}
	return out.simple(none)
}

// simple reduces a conj or disj of less than two kids.
func (n *node) simple(empty nodeKind) *node {
	switch len(n.kids) {
	case 0:
		n.kind = empty
		if empty == none {
			n.exact = true
		}
	case 1:
		k := *n.kids[0]
		k.exact, k.why, k.rows = n.exact, n.why, n.rows
		return &k
	}
	return n
}

// compiler compiles the conjuncts of one request.
type compiler struct {
	t *table
	// dependent: another value of a known parameter could change a verdict.
	dependent bool
}

// compile finds a filter for the rows where e's value is in want.
func (c *compiler) compile(e pushdown.Expr, want truths) *node {
	switch want {
	case 0:
		return nothing()
	case anyTruth:
		return everything()
	case isNull:
		return and(c.compile(e, notTrue), c.compile(e, notFalse))
	case isTrue | isFalse:
		return or(c.compile(e, isTrue), c.compile(e, isFalse))
	}
	switch e := e.(type) {
	case *pushdown.And:
		return c.junction(e.Operands, want, want&isTrue != 0)
	case *pushdown.Or:
		return c.junction(e.Operands, want, want&isTrue == 0)
	case *pushdown.Not:
		return c.compile(e.Operand, want.flip())
	case *pushdown.BoolTest:
		return c.boolTest(e, want)
	case *pushdown.NullTest:
		return c.nullTest(e, want)
	case *pushdown.Comparison:
		return c.comparison(e, want)
	case *pushdown.Membership:
		return c.membership(e, want)
	case *pushdown.Match:
		return c.match(e, want)
	case *pushdown.Column:
		return c.boolean(e, want)
	case *pushdown.Param:
		return c.constant(e, want)
	case *pushdown.Function:
		return local("function " + e.Name)
	}
	return local("expression")
}

// junction: true and not-false of an AND need all operands, false and not-true
// any of them; of an OR the other way round.
func (c *compiler) junction(operands []pushdown.Expr, want truths, every bool) *node {
	kids := make([]*node, len(operands))
	for i, o := range operands {
		kids[i] = c.compile(o, want)
	}
	if every {
		return and(kids...)
	}
	return or(kids...)
}

// twoValued is for tests that are never NULL: yes are the rows where the test
// is true, no those where it is false.
func twoValued(want truths, yes, no func() *node) *node {
	if want&isTrue != 0 {
		return yes()
	}
	return no()
}

func (c *compiler) boolTest(e *pushdown.BoolTest, want truths) *node {
	set := map[pushdown.Truth]truths{pushdown.True: isTrue, pushdown.False: isFalse, pushdown.Unknown: isNull}[e.Truth]
	if set == 0 {
		return local("expression")
	}
	if e.Negated {
		set = anyTruth &^ set
	}
	return twoValued(want,
		func() *node { return c.compile(e.Operand, set) },
		func() *node { return c.compile(e.Operand, anyTruth&^set) })
}

func (c *compiler) nullTest(e *pushdown.NullTest, want truths) *node {
	if e.Negated {
		want = want.flip()
	}
	switch o := e.Operand.(type) {
	case *pushdown.Column:
		col := c.t.column(o.Index)
		return twoValued(want,
			func() *node { return col.missing() },
			func() *node { return col.present() })
	case *pushdown.Param:
		if !o.Known {
			return c.unknown(o, 0.5)
		}
		c.dependent = true
		if o.Value.IsNull() == (want&isTrue != 0) {
			return everything()
		}
		return nothing()
	case *pushdown.Function:
		return local("function " + o.Name)
	}
	return twoValued(want,
		func() *node { return c.compile(e.Operand, isNull) },
		func() *node { return c.compile(e.Operand, isTrue|isFalse) })
}

// unknown stands for a condition whose value is not known yet: it is taken as
// one that can be pushed.
func (c *compiler) unknown(p *pushdown.Param, rows float64) *node {
	return &node{kind: leaf, text: "$" + itoa(p.Index+1), exact: true, rows: rows}
}

func (c *compiler) constant(p *pushdown.Param, want truths) *node {
	if !p.Known {
		return c.unknown(p, 0.5)
	}
	c.dependent = true
	var is truths
	switch v := p.Value.V.(type) {
	case nil:
		is = isNull
	case bool:
		is = isFalse
		if v {
			is = isTrue
		}
	default:
		return local("expression")
	}
	if want&is != 0 {
		return everything()
	}
	return nothing()
}

// boolean is a column of type boolean as a condition.
func (c *compiler) boolean(e *pushdown.Column, want truths) *node {
	col := c.t.column(e.Index)
	if col.spec.Type.Kind != pushdown.Bool || col.spec.Type.Array {
		return local("column " + col.spec.Name + " is not a boolean")
	}
	n := col.compare(pushdown.EQ, pushdown.Value{V: want&isTrue != 0}, pushdown.Collation{})
	return col.orMissing(n, want)
}

func (c *compiler) comparison(e *pushdown.Comparison, want truths) *node {
	op := e.Op
	ref, isColumn := e.Left.(*pushdown.Column)
	p, isParam := e.Right.(*pushdown.Param)
	if !isColumn {
		ref, isColumn = e.Right.(*pushdown.Column)
		p, isParam = e.Left.(*pushdown.Param)
		op = op.Commute()
	}
	if !isColumn || !isParam {
		return local("not a column with a value")
	}
	col := c.t.column(ref.Index)
	if want&isTrue == 0 {
		op = op.Negate()
	}
	distinct := op == pushdown.Distinct || op == pushdown.NotDistinct
	if p.Known && p.Value.IsNull() {
		c.dependent = true
		switch {
		case op == pushdown.Distinct:
			return col.present()
		case op == pushdown.NotDistinct:
			return col.missing()
		case want&isNull != 0:
			return everything()
		}
		return nothing()
	}
	if distinct {
		// Never NULL, so what is wanted beside true or false has no rows.
		if op == pushdown.Distinct {
			return or(c.leafOf(col, pushdown.NE, p, e.Collation), col.missing())
		}
		return c.leafOf(col, pushdown.EQ, p, e.Collation)
	}
	return col.orMissing(c.leafOf(col, op, p, e.Collation), want)
}

// leafOf is the rows where col op p is true; p is not NULL.
func (c *compiler) leafOf(col *column, op pushdown.Operator, p *pushdown.Param, coll pushdown.Collation) *node {
	best := col.compareUnknown(op, p, coll)
	if !p.Known {
		return best
	}
	n := col.compare(op, p.Value, coll)
	if n.kind != best.kind || n.exact != best.exact {
		c.dependent = true
	}
	return n
}

func (c *compiler) membership(e *pushdown.Membership, want truths) *node {
	if list, ok := e.Array.(*pushdown.Column); ok {
		return c.holds(c.t.column(list.Index), e, want)
	}
	ref, isColumn := e.Operand.(*pushdown.Column)
	p, isParam := e.Array.(*pushdown.Param)
	if !isColumn || !isParam {
		return local("not a column in a list of values")
	}
	col := c.t.column(ref.Index)
	if e.Negated {
		want = want.flip()
	}
	op := pushdown.EQ
	if want&isTrue == 0 {
		op = pushdown.NE
	}
	if !p.Known {
		return col.orMissing(col.compareUnknown(op, p, e.Collation), want)
	}
	c.dependent = true
	if p.Value.IsNull() {
		if want&isNull != 0 {
			return everything()
		}
		return nothing()
	}
	values, ok := p.Value.V.([]pushdown.Value)
	if !ok {
		return local("list of values")
	}
	if len(values) == 0 {
		// x = ANY ('{}') is false, even for NULL.
		if want&isFalse != 0 {
			return everything()
		}
		return nothing()
	}
	return col.in(values, want, e.Collation, c.t.src.filterLists())
}

// holds is a value that is looked for in the column's lists; for the rows where it is
// not in them the API has no words.
func (c *compiler) holds(col *column, e *pushdown.Membership, want truths) *node {
	p, isParam := e.Operand.(*pushdown.Param)
	if e.Negated {
		want = want.flip()
	}
	if !isParam || want != isTrue {
		return local("not a value in a list")
	}
	if p.Known {
		c.dependent = true
		if p.Value.IsNull() {
			return nothing()
		}
	}
	return col.has(p, e.Collation)
}

func (c *compiler) match(e *pushdown.Match, want truths) *node {
	ref, isColumn := e.Operand.(*pushdown.Column)
	p, isParam := e.Pattern.(*pushdown.Param)
	if !isColumn || !isParam {
		return local("not a column with a pattern")
	}
	col := c.t.column(ref.Index)
	if e.Negated {
		want = want.flip()
	}
	negated := want&isTrue == 0
	if !p.Known {
		n := col.matchUnknown(e.Kind, negated)
		if !n.isLocal() {
			n.text = strings.ReplaceAll(n.text, "?", "$"+itoa(p.Index+1))
		}
		return col.orMissing(n, want)
	}
	if p.Value.IsNull() {
		c.dependent = true
		if want&isNull != 0 {
			return everything()
		}
		return nothing()
	}
	text, ok := p.Value.V.(string)
	if !ok {
		return local("pattern")
	}
	c.dependent = true
	return col.orMissing(col.match(e.Kind, text, negated, e.Collation), want)
}
