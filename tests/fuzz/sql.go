// SQL as a tree that can be rendered for several tables and protocols, and made
// smaller when it fails. What is generated is gen.go's to decide.

package fuzz

import (
	"fmt"
	"slices"
	"strings"
)

// Lit is a literal with its type.
type Lit struct {
	Text, Type string
	Null       bool
}

// piece is SQL text, or a literal or a condition if one of them is set.
type piece struct {
	text string
	lit  *Lit
	sub  *Cond
}

// Cond is a boolean expression: a leaf of pieces, or kids joined by op.
type Cond struct {
	// op is "AND", "OR", "NOT", or a suffix such as "IS NOT TRUE"; empty for
	// a leaf.
	op   string
	kids []*Cond
	leaf []piece
	// api: the CRM's filter language has words for it.
	api bool
}

// Query is a statement. Tables are written {A} and {B} in its text.
type Query struct {
	// with, from and so on are SQL text with placeholders of tables.
	with   []piece
	output []string
	from   []piece
	where  []*Cond
	group  string
	having *Cond
	// order are whole sort keys ("a.t DESC NULLS FIRST"); total: no two rows
	// are equal under them.
	order []string
	total bool
	// keys is the number of columns at the output's end that are sort keys,
	// there to be compared in order when the order is not total.
	keys  int
	limit *int
	// offset is only set with limit or alone.
	offset *int
	// tail is a set operation or FOR UPDATE.
	tail []piece
	// plain: it aggregates one table's columns, as an API may.
	plain bool
	// distinct is "DISTINCT", "DISTINCT ON (…)" or empty.
	distinct string
}

func (q *Query) clone() *Query {
	c := *q
	c.where = slices.Clone(q.where)
	c.order = slices.Clone(q.order)
	c.output = slices.Clone(q.output)
	return &c
}

// renderer writes SQL: literals in place, or as $n when params is not nil.
type renderer struct {
	b      strings.Builder
	tables map[string]string
	params *[]Lit
}

func (r *renderer) text(s string) {
	for name, table := range r.tables {
		s = strings.ReplaceAll(s, "{"+name+"}", table)
	}
	r.b.WriteString(s)
}

func (r *renderer) pieces(ps []piece) {
	for _, p := range ps {
		switch {
		case p.lit != nil:
			r.lit(*p.lit)
		case p.sub != nil:
			r.cond(p.sub)
		default:
			r.text(p.text)
		}
	}
}

func (r *renderer) lit(l Lit) {
	if r.params != nil {
		*r.params = append(*r.params, l)
		fmt.Fprintf(&r.b, "$%d::%s", len(*r.params), l.Type)
		return
	}
	r.b.WriteString(l.SQL())
}

// SQL of a literal.
func (l Lit) SQL() string {
	if l.Null {
		return "NULL::" + l.Type
	}
	return "'" + strings.ReplaceAll(l.Text, "'", "''") + "'::" + l.Type
}

func (r *renderer) cond(c *Cond) {
	switch c.op {
	case "":
		r.b.WriteByte('(')
		r.pieces(c.leaf)
		r.b.WriteByte(')')
	case "AND", "OR":
		r.b.WriteByte('(')
		for i, k := range c.kids {
			if i > 0 {
				r.b.WriteString(" " + c.op + " ")
			}
			r.cond(k)
		}
		r.b.WriteByte(')')
	case "NOT":
		r.b.WriteString("(NOT ")
		r.cond(c.kids[0])
		r.b.WriteByte(')')
	default:
		r.b.WriteByte('(')
		r.cond(c.kids[0])
		r.b.WriteString(" " + c.op + ")")
	}
}

// Render writes the query. With params it uses $n and fills *params.
func (q *Query) Render(tables map[string]string, params *[]Lit) string {
	r := &renderer{tables: tables, params: params}
	if len(q.with) > 0 {
		r.pieces(q.with)
		r.b.WriteByte(' ')
	}
	r.b.WriteString("SELECT ")
	if q.distinct != "" {
		r.b.WriteString(q.distinct + " ")
	}
	r.text(strings.Join(q.output, ", "))
	r.b.WriteString(" FROM ")
	r.pieces(q.from)
	for i, c := range q.where {
		r.b.WriteString([]string{" AND ", " WHERE "}[b2i(i == 0)])
		r.cond(c)
	}
	if q.group != "" {
		r.b.WriteString(" GROUP BY " + q.group)
	}
	if q.having != nil {
		r.b.WriteString(" HAVING ")
		r.cond(q.having)
	}
	if len(q.tail) > 0 {
		r.b.WriteByte(' ')
		r.pieces(q.tail)
	}
	if len(q.order) > 0 {
		r.b.WriteString(" ORDER BY " + strings.Join(q.order, ", "))
	}
	if q.limit != nil {
		r.b.WriteString(" LIMIT ")
		r.lit(Lit{Text: fmt.Sprint(*q.limit), Type: "int8"})
	}
	if q.offset != nil {
		r.b.WriteString(" OFFSET ")
		r.lit(Lit{Text: fmt.Sprint(*q.offset), Type: "int8"})
	}
	return r.b.String()
}

// whole is the query without its LIMIT and OFFSET.
func (q *Query) whole() *Query {
	c := q.clone()
	c.limit, c.offset = nil, nil
	return c
}

// smaller gives queries that are a step simpler, the boldest first.
func (q *Query) smaller() []*Query {
	var out []*Query
	try := func(change func(*Query)) {
		c := q.clone()
		change(c)
		out = append(out, c)
	}
	if q.having != nil {
		try(func(c *Query) { c.having = nil })
	}
	for i := range q.where {
		try(func(c *Query) { c.where = slices.Delete(c.where, i, i+1) })
	}
	if q.limit != nil || q.offset != nil {
		try(func(c *Query) { c.limit, c.offset = nil, nil })
		if q.offset != nil {
			try(func(c *Query) { c.offset = nil })
		}
	}
	if len(q.order) > 0 && q.limit == nil && q.offset == nil && !strings.HasPrefix(q.distinct, "DISTINCT ON") {
		try(func(c *Query) { c.order, c.total, c.keys = nil, false, 0 })
	}
	if len(q.tail) > 0 && len(q.order) == 0 {
		try(func(c *Query) { c.tail = nil })
	}
	for i, w := range q.where {
		for _, s := range w.smaller() {
			try(func(c *Query) { c.where[i] = s })
		}
	}
	if len(q.output) > 1 && q.group == "" && len(q.tail) == 0 && len(q.order) == 0 && q.distinct == "" {
		for i := range q.output {
			try(func(c *Query) { c.output = slices.Delete(c.output, i, i+1) })
		}
	}
	return out
}

func (c *Cond) smaller() []*Cond {
	if c.op == "" {
		return nil
	}
	var out []*Cond
	out = append(out, c.kids...)
	if len(c.kids) > 2 {
		for i := range c.kids {
			d := *c
			d.kids = slices.Delete(slices.Clone(c.kids), i, i+1)
			out = append(out, &d)
		}
	}
	for i, k := range c.kids {
		for _, s := range k.smaller() {
			d := *c
			d.kids = slices.Clone(c.kids)
			d.kids[i] = s
			out = append(out, &d)
		}
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
