// Scans in the order of one column, where an API sorts by one key alone and ends
// its results early (paging.ordered, style range). A page is asked for by the last
// value of the one before, so each is the first of its search; where a page ends
// among records of one value, those are read by their keys. Records without a value,
// wherever the API puts them, are asked for apart.

package rest

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// ranged is the order of a scan.
type ranged struct {
	col *column
	at  int // its position
	// from is the operator for values not before one in the order, beyond for those
	// behind it.
	from, beyond pushdown.Operator
	// byKey is the sort by the record's key.
	byKey string
}

// columns that the order takes, wanted or not.
func (r *ranged) columns() []int {
	if r == nil {
		return nil
	}
	return []int{r.at}
}

// sortedBy is the order that the scan's rows are to come in; nil: in any.
func (s *scan) sortedBy() *ranged {
	if s.l.sorter != nil {
		return s.l.sorter.by
	}
	return s.l.order
}

// ranges tells whether the table's pages come in an order by ranges of its values.
func (t *table) ranges() bool {
	p := &t.src.m.Paging
	return p.Style == "seek" && p.Ordered != nil && p.Ordered.Style == "range" && t.keyCol != nil
}

// rangeable tells whether the API's order of a column can be walked through: its
// comparisons are exact, and its values whole numbers of something.
func (col *column) rangeable(notNull bool) bool {
	names := []string{"eq", "lt", "le", "gt", "ge"}
	if !notNull && !col.field.always() && !col.key {
		names = append(names, "is_null", "not_null")
	}
	for _, name := range names {
		if op, ok := col.ops[name]; !ok || !op.exact || op.missing {
			return false
		}
	}
	switch col.field.Type {
	case "datetime", "date", "integer":
		return true
	}
	return false
}

// rangeBy prepares a list for an order; nil: it is not done by ranges.
func (t *table) rangeBy(o pushdown.Ordering) *ranged {
	if !t.ranges() {
		return nil
	}
	r := &ranged{col: t.column(o[0].Column), at: o[0].Column, from: pushdown.GE, beyond: pushdown.GT, byKey: t.src.m.Sort.one(t.keyCol.field, false)}
	if o[0].Descending {
		r.from, r.beyond = pushdown.LE, pushdown.LT
	}
	return r
}

// apart makes two asks of one: for the records without a value, and for the others.
func (t *table) apart(asks []ask, k pushdown.SortKey, conjuncts []pushdown.Expr) []ask {
	col := t.column(k.Column)
	if col.field.always() || col.key || notNull(conjuncts, k.Column) {
		return asks
	}
	f := t.src.m.Filter
	without, with := f.with(asks[0], col.ops["is_null"].before), f.with(asks[0], col.ops["not_null"].before)
	without.unsorted = true
	if k.NullsFirst {
		return []ask{without, with}
	}
	return []ask{with, without}
}

// with is an ask with a further term.
func (f *Filter) with(a ask, term string) ask {
	if f.Style != "groups" {
		a.parts = append(slices.Clone(a.parts), term)
		return a
	}
	groups := a.groups
	if len(groups) == 0 {
		groups = [][]string{nil}
	}
	a.groups = nil
	for _, g := range groups {
		a.groups = append(a.groups, append(slices.Clone(g), term))
	}
	return a
}

func notNull(conjuncts []pushdown.Expr, column int) bool {
	return slices.ContainsFunc(conjuncts, func(e pushdown.Expr) bool { return excludesNull(e, column) })
}

// term is a condition on the column.
func (r *ranged) term(op pushdown.Operator, value int64) (string, bool) {
	literal, op, ok := r.col.literal(op, pushdown.Value{V: value})
	o := r.col.ops[operatorOf[op]]
	return o.before + literal + o.after, ok
}

// nextInOrder tells where the page after one is; nil: it was the last.
func (s *scan) nextInOrder(request string, f *pageFacts) (*position, error) {
	r, p := s.l.order, s.now
	if err := s.pager.count(); err != nil {
		return nil, err
	}
	more := !s.pager.short(f)
	refuse := func() error {
		return s.t.protocol(request, "a value of "+r.col.field.Name+" by which no order can be kept", nil)
	}
	next := func(op pushdown.Operator, value int64, byKey bool) (*position, error) {
		term, ok := r.term(op, value)
		if !ok {
			return nil, refuse()
		}
		return &position{terms: []string{term}, byKey: byKey}, nil
	}
	if p.tie != nil {
		value := *p.tie
		if !more {
			p.tie = nil
			return next(r.beyond, value, false)
		}
		pos, err := next(pushdown.EQ, value, true)
		if err != nil || !f.afterOK {
			return nil, errors.Join(err, refuse())
		}
		pos.terms = append(pos.terms, s.l.seek.before+f.after+s.l.seek.after)
		return pos, nil
	}
	if !more {
		return nil, nil
	}
	if s.firstValue == nil || s.lastValue == nil {
		return nil, refuse()
	}
	value := *s.lastValue
	if *s.firstValue == value {
		p.tie = &value
		return next(pushdown.EQ, value, true)
	}
	return next(r.from, value, false)
}

// noteValues remembers the first and the last value of the page by which the scan is
// sorted.
func (s *scan) noteValues() {
	if s.l.order == nil || s.reader.rows == 0 {
		return
	}
	if s.firstValue == nil {
		s.firstValue = s.valueIn(0)
	}
	s.lastValue = s.valueIn(s.reader.rows - 1)
}

// valueIn is a record's value as a filter's literal is made of it; nil: there is none.
func (s *scan) valueIn(row int) *int64 {
	sp := s.reader.spans[row*s.reader.width+s.orderSlot]
	if sp.none() {
		return nil
	}
	text := sp.raw(s.reader.s.page)
	if n := len(text); n > 1 && text[0] == '"' {
		text = text[1 : n-1]
	}
	var v int64
	ok := false
	switch f := s.sortedBy().col.field; {
	case f.Type == "integer":
		v, ok = smallInt(text)
	case f.Type == "date":
		at, err := time.Parse(time.DateOnly, string(text))
		v, ok = int64(math.Floor(at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Hours()/24)), err == nil
	case f.Format != "iso":
		v, ok = unixMicros(text, f.Format)
	default:
		v, ok = isoMicros(text)
	}
	if !ok {
		return nil
	}
	return &v
}

func (l *loader) checkRange(m *Manifest, p *Paging, path string) {
	switch {
	case p.Ordered == nil || p.Ordered.Style != "range":
	case m.Filter != nil && m.Filter.Style == "params":
		l.at(path+".ordered", "style range needs a filter that can have a condition twice: expression or groups")
	case m.Sort != nil && m.Sort.MaxKeys > 1:
		l.at(path+".ordered", "style range sorts by one key: where there may be %d, offsets or cursors do", m.Sort.MaxKeys)
	}
}
