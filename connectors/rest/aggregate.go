// Groups that the API makes: aggregates in a statement, or the total that a list's
// answer has.

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// maxExact is up to where a double tells all integers apart.
const maxExact = 1 << 53

// grouping takes the way that makes the groups of req; the first one, which then
// does not, if there is none.
func (t *table) grouping(req pushdown.Request) (*table, pushdown.Plan) {
	for _, w := range append([]*table{t}, t.ways...) {
		if !w.aggregates(req.Aggregation) {
			continue
		}
		p, filters := w.plan(req)
		l := w.decide(req, nil)
		if w.needsFilter && !filters || !l.exact || !l.never && (len(l.asks) != 1 || l.overlap) {
			continue
		}
		p.AggregationExact = true
		// Less than reading any rows, of which there are as many as groups or more.
		if p.Rows = min(p.Rows, 10); len(req.Aggregation.Keys) == 0 {
			p.Rows = 1
		}
		p.StartupCost, p.TotalCost = callCost, callCost+0.01*p.Rows
		return w, p
	}
	p, _ := t.plan(req)
	return t, p
}

// aggregates tells whether the API makes these groups of all records, as SQL would.
func (t *table) aggregates(a *pushdown.Aggregation) bool {
	m := t.src.m
	g := m.Aggregate
	if g == nil || m.Read.Gone != "" || m.Read.One || t.object.Each != nil {
		return false
	}
	if g.Total {
		return m.Read.Total != "" && len(a.Keys) == 0 &&
			!slices.ContainsFunc(a.Aggregates, func(x pushdown.Aggregate) bool { return !t.countsRows(&x) })
	}
	for _, k := range a.Keys {
		if !t.groups(t.column(k)) {
			return false
		}
	}
	for i := range a.Aggregates {
		if !t.computes(&a.Aggregates[i]) {
			return false
		}
	}
	return m.Read.Statement != nil
}

// groups tells whether the API's groups by a column are SQL's.
func (t *table) groups(col *column) bool {
	f := col.field
	if !slices.Contains(t.src.m.Aggregate.KeyTypes, f.Type) || !f.trusted(f.Groupable) || f.emptyIsNull() || !col.comparable() {
		return false
	}
	switch f.Type {
	case "integer", "number":
		return holdsInteger(col.spec.Type)
	case "text", "select", "relation":
		return col.spec.Type.Kind != pushdown.Enum
	}
	return true
}

// computes tells whether the API's aggregate is SQL's.
func (t *table) computes(a *pushdown.Aggregate) bool {
	g, col := t.src.m.Aggregate, t.column(a.Column)
	f := col.field
	switch a.Function {
	case pushdown.CountRows:
		return g.Rows != ""
	case pushdown.Count:
		if t.countsRows(a) {
			return g.Rows != ""
		}
		// What has a value must be the same here and there.
		return g.Count != "" && f.trusted(f.Aggregatable) && col.ops["not_null"].exact
	case pushdown.Sum:
		return g.Sum != "" && slices.Contains(g.SumTypes, f.Type) && f.trusted(f.Aggregatable) && col.comparable() && holdsInteger(col.spec.Type)
	case pushdown.Min, pushdown.Max:
		template := g.Min
		if a.Function == pushdown.Max {
			template = g.Max
		}
		return template != "" && slices.Contains(g.OrderTypes, f.Type) && f.trusted(f.Aggregatable) && f.Special == "" && col.comparable()
	}
	return false
}

// countsRows tells whether an aggregate is the number of rows: values that are always
// there are as many.
func (t *table) countsRows(a *pushdown.Aggregate) bool {
	col := t.column(a.Column)
	return a.Function == pushdown.CountRows ||
		a.Function == pushdown.Count && col.path != nil && (col.field.always() || col.key)
}

// trusted tells whether an API that can, says the manifest, does it with this field;
// can is what the manifest says of the field itself.
func (f *Field) trusted(can *bool) bool {
	yes := func(b *bool) bool { return b == nil || *b }
	return f.Type != "" && f.Type != "json" && !f.List && !f.WriteOnly && yes(can) && yes(f.Exact)
}

// holdsInteger tells whether a column shows integers as they are.
func holdsInteger(t pushdown.Type) bool {
	switch t.Kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8:
		return true
	case pushdown.Numeric:
		return t.Precision == 0
	}
	return false
}

// groupsList is the list request that asks for groups.
func (t *table) groupsList(q *connectors.Query) *list {
	l := t.decide(q.Request, nil)
	l.sort, l.verify, l.verifyColumns = "", nil, nil
	if t.src.m.Aggregate.Total {
		l.pageSize, l.whole = min(1, l.pageSize), true
	}
	return l
}

// selected are the columns of a statement that asks for groups, and what follows
// its filter.
func (t *table) selected(a *pushdown.Aggregation) (columns []string, group string) {
	g := t.src.m.Aggregate
	as := func(value, name string) string {
		return strings.NewReplacer("{value}", value, "{name}", name).Replace(g.As)
	}
	var keys []string
	for i, k := range a.Keys {
		keys = append(keys, t.column(k).field.FilterName)
		columns = append(columns, as(keys[i], keyName(i)))
	}
	for i := range a.Aggregates {
		x := &a.Aggregates[i]
		if t.countsRows(x) {
			columns = append(columns, as(g.Rows, valueName(i)))
			continue
		}
		template := map[pushdown.AggregateFunction]string{pushdown.Count: g.Count, pushdown.Sum: g.Sum, pushdown.Min: g.Min, pushdown.Max: g.Max}[x.Function]
		columns = append(columns, as(strings.ReplaceAll(template, "{field}", t.column(x.Column).field.FilterName), valueName(i)))
	}
	if len(keys) > 0 {
		group = strings.Replace(g.Group, "{fields}", strings.Join(keys, ", "), 1)
	}
	return columns, group
}

// Names of the columns of a group.
func keyName(i int) string   { return "k" + itoa(i) }
func valueName(i int) string { return "a" + itoa(i) }

// scanGroups is Scan for a query that wants groups.
func (t *table) scanGroups(ctx context.Context, q *connectors.Query, out *rows.Builder) error {
	w, p := t.grouping(q.Request)
	if !p.AggregationExact {
		return notAggregated("the API does not make these groups")
	}
	l := w.groupsList(q)
	s := &scan{t: w, q: q, l: l, out: out, keySlot: -1}
	if l.never {
		return s.noGroups()
	}
	req := w.request(l, q, 0, nil)
	for range 2 {
		page := w.fetch(ctx, req, new(bytes.Buffer))
		if page.err != nil {
			return w.groupsRefused(page.err)
		}
		q.Stats.Pages.Add(1)
		s.request = page.request
		s.bindGroups()
		if err := s.reader.read(page.body.Bytes()); err != nil {
			return w.protocol(page.request, err.Error(), err)
		}
		// To a guest the API may show nothing.
		if s.nothing() {
			if again, err := w.src.checkCredential(ctx, q.Stats); err != nil {
				return err
			} else if again {
				continue
			}
		}
		break
	}
	if w.src.m.Aggregate.Total {
		return s.handTotal()
	}
	return s.handGroups()
}

// groupsRefused is the error of a request for groups.
func (t *table) groupsRefused(err error) error {
	var e *connectors.Error
	if errors.As(err, &e) && slices.Contains(t.src.m.Aggregate.TooMany, e.Code) {
		return notAggregated("the API has too many groups for one answer")
	}
	if errors.As(err, &e) && slices.Contains(t.refused, e.Code) {
		return notAggregated("the API refused the filter")
	}
	return err
}

func notAggregated(why string) error {
	return &connectors.Error{Class: connectors.NotAggregated, Message: why}
}

// bindGroups prepares to read groups where scan.bind prepares to read records.
func (s *scan) bindGroups() {
	record := newTrie()
	s.emit = s.emit[:0]
	a := s.q.Aggregation
	for i, k := range a.Keys {
		col := s.t.column(k)
		s.emit = append(s.emit, emitter{slot: record.add([]string{keyName(i)}, i), col: col, kind: emitKindOf(col)})
	}
	number := &column{field: &Field{Name: "count", Type: "number", Missing: "null", TrimZeros: true}}
	for i := range a.Aggregates {
		x := &a.Aggregates[i]
		slot := record.add([]string{valueName(i)}, len(a.Keys)+i)
		e := emitter{slot: slot, col: number, kind: emitNumber}
		if x.Function == pushdown.Min || x.Function == pushdown.Max {
			// Without a value there is none, whatever the field has always.
			field := *s.t.column(x.Column).field
			field.Missing = "null"
			col := *s.t.column(x.Column)
			col.field, col.key = &field, false
			e.col, e.kind = &col, emitKindOf(&col)
		}
		s.emit = append(s.emit, e)
	}
	s.reader = newPageReader(s.t.items, s.l.paging, &s.t.src.m.Read, record, len(s.emit))
}

// nothing tells whether the answer is that of an empty object.
func (s *scan) nothing() bool {
	if s.t.src.m.Aggregate.Total {
		total, err := s.reader.scalar(slotTotal)
		return err == nil && total == "0"
	}
	return s.reader.rows == 0 || len(s.q.Aggregation.Keys) == 0
}

// noGroups gives what there is of no rows.
func (s *scan) noGroups() error {
	a := s.q.Aggregation
	if len(a.Keys) > 0 {
		return s.out.Flush()
	}
	for i := range a.Aggregates {
		if f := a.Aggregates[i].Function; f == pushdown.CountRows || f == pushdown.Count {
			s.out.Int64(0)
			continue
		}
		s.out.Null()
	}
	if err := s.out.EndRow(); err != nil {
		return s.rowError(0, err)
	}
	return s.out.Flush()
}

// handTotal gives the number of records that the list's answer tells.
func (s *scan) handTotal() error {
	text, err := s.reader.scalar(slotTotal)
	total, bad := strconv.ParseInt(text, 10, 64)
	if err != nil || bad != nil || total < 0 || total < int64(s.reader.rows) {
		return notAggregated("the API's answer does not tell how many records there are")
	}
	for range s.q.Aggregation.Aggregates {
		s.out.Int64(total)
	}
	if err := s.out.EndRow(); err != nil {
		return s.rowError(0, err)
	}
	return s.out.Flush()
}

// handGroups gives the groups of the answer, if these are all and exact.
func (s *scan) handGroups() error {
	a, page := s.q.Aggregation, s.reader.s.page
	if next, err := s.reader.scalar(slotCursor); err != nil || next != "" || s.reader.rows >= s.t.src.m.Aggregate.MaxGroups {
		return notAggregated("the API has too many groups for one answer")
	}
	if len(a.Keys) == 0 && s.reader.rows != 1 {
		return s.t.protocol(s.request, fmt.Sprintf("%d groups where there is one", s.reader.rows), nil)
	}
	width := s.reader.width
	for row := range s.reader.rows {
		for i := range a.Aggregates {
			if sp := s.reader.spans[row*width+len(a.Keys)+i]; !s.exact(a.Aggregates[i].Function, sp) {
				return notAggregated("a number is too great for the API to give it exactly")
			}
		}
	}
	for row := range s.reader.rows {
		for i := range s.emit {
			e := &s.emit[i]
			if err := s.value(e, s.reader.spans[row*width+e.slot], page); err != nil {
				s.out.Discard()
				return s.badValue(row, e.col, err.Error(), err)
			}
		}
		if err := s.out.EndRow(); err != nil {
			return s.rowError(row, err)
		}
	}
	s.q.Stats.Rows.Add(uint64(s.reader.rows))
	return s.out.Flush()
}

// exact tells whether a count is one, and whether a sum is an integer that doubles
// tell from its neighbours.
func (s *scan) exact(f pushdown.AggregateFunction, sp span) bool {
	if f == pushdown.Min || f == pushdown.Max {
		return true
	}
	if sp.none() || sp.raw(s.reader.s.page)[0] == 'n' {
		return f == pushdown.Sum
	}
	n, err := strconv.ParseFloat(string(sp.raw(s.reader.s.page)), 64)
	return err == nil && n == math.Trunc(n) && math.Abs(n) < maxExact
}

// groupsRequest is the request of a scan that wants groups, with the way and the list
// that it is of; nil: nothing needs to be asked.
func (t *table) groupsRequest(q *connectors.Query) (*table, *list, *transport.Request) {
	w, p := t.grouping(q.Request)
	if !p.AggregationExact {
		l := w.decide(q.Request, nil) // Scan will refuse
		return w, l, w.request(l, q, 0, nil)
	}
	l := w.groupsList(q)
	if l.never {
		return w, l, nil
	}
	return w, l, w.request(l, q, 0, nil)
}

func (l *loader) checkAggregate(m *Manifest, path string) {
	g := m.Aggregate
	if g == nil {
		return
	}
	switch {
	case g.Total && m.Read.Total == "":
		l.at(path+".total", "needs read.total")
	case !g.Total && m.Read.Statement == nil:
		l.at(path, "needs read.statement, or total: true")
	case !g.Total && g.MaxGroups == 0:
		l.at(path, "the key \"max_groups\" is missing")
	case !g.Total && !strings.Contains(g.Group, "{fields}") && len(g.KeyTypes) > 0:
		l.at(path+".group", "expected a text with {fields}")
	}
	for key, types := range map[string][]string{"key_types": g.KeyTypes, "sum_types": g.SumTypes, "order_types": g.OrderTypes} {
		for i, t := range types {
			if !slices.Contains(filterable, t) {
				l.at(path+"."+key+"["+itoa(i)+"]", "expected %s, found %q", oneOf(t, filterable), t)
			}
		}
	}
	for key, text := range map[string]string{"count": g.Count, "sum": g.Sum, "min": g.Min, "max": g.Max} {
		if text != "" && !strings.Contains(text, "{field}") {
			l.at(path+"."+key, "expected a text with {field}")
		}
	}
}
