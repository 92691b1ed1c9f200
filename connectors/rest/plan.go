// What of a query the API will do: which conditions, which order, how many records a
// page.

package rest

import (
	"math"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// list is a list request, decided.
type list struct {
	// asks are the filters of the requests that it takes, at least one. overlap:
	// a record may be found by several.
	asks    []ask
	overlap bool
	// never: no row can match, so nothing is asked.
	never    bool
	exact    bool
	rows     float64
	sort     string
	paging   *Paging
	pageSize int
	// order of the scan, if it is read by ranges; nil: it is not.
	order *ranged
	// whole: pages are of pageSize whatever a LIMIT can use.
	whole bool
	// seek: filter for keys after the last one.
	seek    operator
	verdict []pushdown.Conjunct
	// dependent: see pushdown.Plan.ValueDependent.
	dependent bool
	// verify are exact conjuncts that scans check now and then, and the columns
	// that takes.
	verify []pushdown.Expr
	// sieve: all of verify is checked for each record, and decides.
	sieve bool
	// sorter takes the rows of a scan that is sorted here; nil: it is not.
	sorter        *sorter
	verifyColumns []int
	// fields are the names of those that requests ask for; nil: not yet known.
	fields []string
}

// plan gives the verdicts; what scan sends is decided by the same code. filters
// tells whether the API is asked for less than all.
func (t *table) plan(req pushdown.Request) (_ pushdown.Plan, filters bool) {
	l := t.decide(req, nil)
	p := pushdown.Plan{Conjuncts: l.verdict, LimitExact: true, ValueDependent: l.dependent}
	for i, o := range req.Orderings {
		if t.src.m.Sort == nil && !req.LimitPossible && req.LimitRows == 0 {
			break // read in parts at once, and sorted by PostgreSQL, all of a list comes sooner
		}
		if _, ok := t.sortable(o, req.Conjuncts); ok {
			p.ExactOrderings = append(p.ExactOrderings, i)
		}
	}
	size := t.object.Rows
	if size == 0 {
		size = 1000
	}
	p.Rows = max(1, math.Round(size*l.rows))
	if l.never {
		p.Rows = 0
	}
	calls := float64(max(1, len(l.asks)))
	if t.pageSize > 0 {
		calls = max(calls, math.Ceil(p.Rows/float64(t.pageSize)))
	}
	// A call costs about what a thousand pages of a local table do.
	p.StartupCost = callCost
	if t.src.m.Read.Job != nil {
		p.StartupCost += callCost * jobCalls
		calls += jobCalls
	}
	p.TotalCost = callCost*calls + 0.02*p.Rows
	return p, l.never || len(l.asks) > 1 || !l.asks[0].empty()
}

const callCost = 1000

// decide compiles the conjuncts and keeps as many as the filter holds. sorted
// is the ordering relied upon; nil: none.
func (t *table) decide(req pushdown.Request, sorted pushdown.Ordering) *list {
	m := t.src.m
	sorted = t.ordering(sorted)
	l := &list{exact: true, rows: 1, verdict: make([]pushdown.Conjunct, len(req.Conjuncts)), pageSize: t.pageSize}
	l.paging = &m.Paging
	if m.Sort != nil {
		if len(sorted) > 0 {
			l.sort, _ = t.sortable(sorted, req.Conjuncts)
		}
		seekable := m.Paging.Style == "seek" && t.keyCol != nil
		switch {
		case l.sort != "" && m.Paging.Style == "seek":
			if l.order = t.rangeBy(sorted); l.order == nil {
				l.paging = m.Paging.Ordered
			}
		case l.sort == "" && t.keyCol != nil && (seekable || stable(m.Paging.Style)):
			l.sort = m.Sort.one(t.keyCol.field, false)
		}
	}
	if l.paging == nil {
		l.paging = &Paging{Style: "none"}
	}
	if l.paging.Style == "seek" {
		l.seek = t.keyCol.ops["gt"]
	}
	// Where an order may be relied upon, all goes into one request, whether it
	// will be or not: the verdicts are the same then.
	w := newWriter(m.Filter, l.seek, len(req.Orderings) > 0)
	if t.ranges() && slices.ContainsFunc(req.Orderings, func(o pushdown.Ordering) bool { _, ok := t.sortable(o, req.Conjuncts); return ok }) {
		w.reserve() // a value and a key
	}
	c := compiler{t: t}
	for i, e := range req.Conjuncts {
		n := c.compile(e, isTrue)
		l.verdict[i] = t.keep(l, w, n)
		l.exact = l.exact && l.verdict[i].Verdict == pushdown.Exact
	}
	l.dependent = l.dependent || c.dependent
	l.asks, l.overlap = w.result()
	l.asks = t.object.Each.of(l.asks)
	if l.order != nil {
		l.asks = t.apart(l.asks, sorted[0], req.Conjuncts)
	}
	if len(l.asks) > 1 || !l.asks[0].empty() {
		l.verify, l.verifyColumns = t.verified(req, l.verdict)
	}
	return l
}

// stable tells whether pages of a style overlap unless rows are sorted.
func stable(style string) bool { return style == "page" || style == "offset" }

// keep adds a conjunct's filter to the request, if it fits.
func (t *table) keep(l *list, w *writer, n *node) pushdown.Conjunct {
	switch {
	case n.kind == none:
		l.never, l.rows = true, 0
		return pushdown.Conjunct{Verdict: pushdown.Exact}
	case n.kind == all && n.exact:
		return pushdown.Conjunct{Verdict: pushdown.Exact}
	case n.kind == all:
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: n.why}
	case w.f == nil: // a condition of no column, whose value is not known yet
		l.dependent = true
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: "the value is not known yet"}
	}
	if why := w.add(n); why != "" {
		l.dependent = true // shorter values may fit
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: why}
	}
	l.dependent = l.dependent || w.merged
	l.rows *= n.rows
	if !n.exact {
		why := n.why
		if !t.src.m.Filter.Enforced {
			why = "the API may ignore filters"
		}
		return pushdown.Conjunct{Verdict: pushdown.Superset, Reason: why}
	}
	return pushdown.Conjunct{Verdict: pushdown.Exact}
}

// sortable renders an ordering; false: the API has no such one. Where missing
// values stand does not matter for a column that a conjunct keeps from being
// NULL, whoever checks it.
func (t *table) sortable(o pushdown.Ordering, conjuncts []pushdown.Expr) (string, bool) {
	s := t.src.m.Sort
	if rest := t.ordering(o); len(rest) < len(o) {
		if o = rest; len(o) == 0 {
			return "", true
		}
	}
	if s == nil && t.listedBy(o) {
		return "", true
	}
	if s == nil || !s.Enforced || len(o) == 0 || (t.src.m.Paging.Style == "seek" && t.src.m.Paging.Ordered == nil) {
		return "", false
	}
	if t.ranges() {
		col := t.column(o[0].Column)
		return s.one(col.field, o[0].Descending), (len(o) == 1 || col.key) && t.sorts(col, o[0], true) && col.rangeable(notNull(conjuncts, o[0].Column))
	}
	var keys []string
	unique := false
	for _, k := range o {
		col := t.column(k.Column)
		if unique {
			break // what follows a unique key sorts nothing
		}
		if !t.sorts(col, k, notNull(conjuncts, k.Column)) {
			return "", false
		}
		keys = append(keys, s.one(col.field, k.Descending))
		unique = col.key
	}
	if f := t.keyField; !unique && f != nil && (f.Sortable == nil || *f.Sortable) {
		keys = append(keys, s.one(t.keyField, false))
	}
	if len(keys) > s.MaxKeys {
		return "", false
	}
	return strings.Join(keys, s.Separator), true
}

// listedBy tells whether an order is the one in which the API lists records anyway, of
// a list that is partitioned by its time.
func (t *table) listedBy(o pushdown.Ordering) bool {
	if t.times == nil || t.object.Each != nil || len(o) != 1 || !o[0].Descending {
		return false
	}
	col := t.column(o[0].Column)
	return col.field.Name == t.src.m.Partition.Field && col.comparable()
}

// excludesNull tells whether a condition is never true where a column is NULL.
func excludesNull(e pushdown.Expr, column int) bool {
	is := func(e pushdown.Expr) bool {
		c, ok := e.(*pushdown.Column)
		return ok && c.Index == column
	}
	switch e := e.(type) {
	case *pushdown.Column:
		return e.Index == column
	case *pushdown.Comparison:
		return e.Op != pushdown.Distinct && e.Op != pushdown.NotDistinct && (is(e.Left) || is(e.Right))
	case *pushdown.Match:
		return is(e.Operand)
	case *pushdown.NullTest:
		return e.Negated && is(e.Operand)
	case *pushdown.Membership:
		return !e.Negated && is(e.Operand) // NULL <> ALL ('{}') is true
	case *pushdown.And:
		return slices.ContainsFunc(e.Operands, func(o pushdown.Expr) bool { return excludesNull(o, column) })
	}
	return false
}

func (t *table) sorts(col *column, k pushdown.SortKey, notNull bool) bool {
	s, f := t.src.m.Sort, col.field
	if f.Type == "" || f.List || f.Type == "json" || (f.Sortable != nil && !*f.Sortable) {
		return false
	}
	if len(s.Types) > 0 && !slices.Contains(s.Types, f.Type) {
		return false
	}
	switch kind := col.spec.Type.Kind; {
	case col.spec.Type.Array || kind == pushdown.Float4:
		return false
	case kind == pushdown.Text || kind == pushdown.Varchar:
		if f.Type != "text" && f.Type != "select" && f.Type != "relation" || !k.Collation.C || s.TextOrder != "bytes" {
			return false
		}
	case !col.comparable() || kind == pushdown.Enum || kind == pushdown.UUID:
		return false
	}
	if f.always() || col.key || notNull {
		return true
	}
	switch s.Nulls {
	case "first":
		return k.NullsFirst
	case "last":
		return !k.NullsFirst
	case "smallest":
		return k.NullsFirst != k.Descending
	case "largest":
		return k.NullsFirst == k.Descending
	}
	return false
}

// one sort key.
func (s *Sort) one(f *Field, descending bool) string {
	text := s.Ascending
	if descending {
		text = s.Descending
	}
	return strings.ReplaceAll(text, "{field}", f.SortName)
}

// sizeOf is the page size to ask for: not more than a LIMIT can use.
func (t *table) sizeOf(l *list, q *connectors.Query) int {
	size, rows := l.pageSize, likely(q)
	switch {
	case l.whole:
	case q.Limit > 0 && q.Limit < uint64(size):
		size = int(q.Limit)
	case q.Limit == 0 && rows > 0 && rows < uint64(size) && l.exact && q.LimitPossible:
		size = int(rows)
	case q.Limit == 0 && rows > 0 && rows*4 < uint64(size):
		size = max(int(rows)*4, min(size, 100))
	}
	return size
}

// likely is after how many rows the scan will probably be stopped; 0: it is not
// known. Where PostgreSQL sorts, it reads all before a LIMIT counts.
func likely(q *connectors.Query) uint64 {
	if len(q.Orderings) > 0 && len(q.Ordering) == 0 {
		return 0
	}
	return q.LimitRows
}
