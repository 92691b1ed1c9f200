// What a table's definition and the API's metadata may differ in: fields that were
// taken away, and those that nobody has given a column.

package rest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// rawField is the field of a json column that has the whole record, as it came.
const rawField = "_raw"

func wholeRecord() *Field {
	no := false
	return &Field{Name: rawField, Type: "json", Missing: "null", Format: "iso", ReadOnly: true, Filterable: &no, Sortable: &no}
}

// lostWarnings says of those columns which of them read NULL, as the API has no
// such field.
func (t *table) lostWarnings(columns []int) []string {
	var out []string
	for _, c := range columns {
		if slices.Contains(t.lost, c) {
			spec := t.columns[c].spec
			out = append(out, fmt.Sprintf("column %q reads NULL: object %q of the API has no field %q (any more)", spec.Name, t.object.Name, spec.Field()))
		}
	}
	return out
}

// Warnings of columns that are known to read NULL.
func (t *table) Warnings(columns []int) []string { return t.lostWarnings(columns) }

// drift is what is known of a bound table against its object as it is now.
type drift struct {
	// outdated: a field that it was bound to is not there any more. sure: that was
	// looked for, and it was not so.
	outdated, sure atomic.Bool
	// absent: a record came without a field that was asked for.
	absent atomic.Bool
}

// Outdated tells that the table is to be bound anew.
func (t *table) Outdated() bool { return t.drift.outdated.Load() }

// ordering is what of an order there is to sort by: NULLs are all alike.
func (t *table) ordering(o pushdown.Ordering) pushdown.Ordering {
	if !slices.ContainsFunc(o, func(k pushdown.SortKey) bool { return slices.Contains(t.lost, k.Column) }) {
		return o
	}
	return slices.DeleteFunc(slices.Clone(o), func(k pushdown.SortKey) bool { return slices.Contains(t.lost, k.Column) })
}

// noRows is an error before which no row has come.
type noRows struct{ error }

func (n *noRows) Unwrap() error { return n.error }

// noteAbsent looks at the first record for fields that are not there.
func (s *scan) noteAbsent(spans []span) {
	for i := range s.emit {
		if e := &s.emit[i]; e.col != nil && spans[e.slot].none() {
			s.t.drift.absent.Store(true)
		}
	}
}

// mayHaveLost tells whether a refusal may come from a field that is not there any more,
// which nobody has looked for yet. The refusal to make a job has no code for it.
func (t *table) mayHaveLost(err error) bool {
	var before *noRows
	var e *connectors.Error
	if len(t.src.hooks.Lost) == 0 || t.drift.sure.Load() || !errors.As(err, &before) || !errors.As(err, &e) {
		return false
	}
	var job *refusedJob
	return slices.Contains(t.src.hooks.Lost, e.Code) || errors.As(err, &job)
}

// afterDrift ends a scan: where its object seems to have lost fields since the table
// was bound, the API's metadata is asked. Columns of such fields read NULL.
func (t *table) afterDrift(ctx context.Context, q connectors.Query, out *rows.Builder, got connectors.ScanResult, err error) (connectors.ScanResult, error) {
	refused := t.mayHaveLost(err)
	ended := err == nil || errors.Is(err, rows.ErrStop)
	if !refused && (!ended || !t.drift.absent.Swap(false) || t.drift.sure.Load()) {
		return got, unwrapped(err)
	}
	now, lost := t.boundAnew(ctx)
	switch {
	case now != nil && !lost:
		t.drift.sure.Store(true)
	case now != nil:
		t.drift.outdated.Store(true)
	}
	var filter *refusedFilter
	switch {
	case !refused && lost:
		got.Warnings = append(got.Warnings, now.lostWarnings(q.Columns)...)
	case refused && lost:
		return now.scanFor(ctx, t, q, out, err)
	case refused && errors.As(err, &filter):
		return t.instead(ctx, q, out, filter)
	}
	return got, unwrapped(err)
}

// unwrapped is the error itself.
func unwrapped(err error) error {
	var before *noRows
	if errors.As(err, &before) {
		return before.error
	}
	return err
}

// boundAnew is the table by the API's metadata as it is now, and whether that has lost
// fields which the table has; nil: it could not be had.
func (t *table) boundAnew(ctx context.Context) (*table, bool) {
	t.src.anew()
	got, err := t.src.Table(ctx, t.spec)
	if err != nil {
		return nil, false // what went wrong first is what to tell
	}
	now, ok := got.(*table)
	if !ok {
		return nil, false
	}
	return now, slices.ContainsFunc(now.lost, func(c int) bool { return !slices.Contains(t.lost, c) })
}

// scanFor is the scan that was planned for a table with more fields, and is refused for
// these. What was left to the API by its plan, and is not now, is checked here.
func (t *table) scanFor(ctx context.Context, was *table, q connectors.Query, out *rows.Builder, refusal error) (connectors.ScanResult, error) {
	names := func(x pushdown.Expr) bool {
		return slices.ContainsFunc(pushdown.Columns(x), func(c int) bool { return slices.Contains(t.lost, c) })
	}
	now := q
	now.Conjuncts, now.Orderings, now.Ordering = nil, nil, nil
	var trusted []bool // of now.Conjuncts
	var here []pushdown.Expr
	for i, c := range was.Plan(q.Request).Conjuncts {
		x, exact := q.Conjuncts[i], c.Verdict == pushdown.Exact
		switch {
		case !names(x):
			now.Conjuncts, trusted = append(now.Conjuncts, x), append(trusted, exact)
		case exact:
			here = append(here, x)
		}
	}
	if now.Ordering = t.ordering(q.Ordering); len(now.Ordering) > 0 {
		now.Orderings = []pushdown.Ordering{now.Ordering}
	}
	w := t.way(now.Request, false)
	l := w.decide(now.Request, now.Ordering)
	p, _ := w.plan(now.Request)
	for i, x := range now.Conjuncts {
		if trusted[i] && l.verdict[i].Verdict != pushdown.Exact {
			here = append(here, x)
		}
	}
	types := t.types()
	if len(now.Ordering) > 0 && !slices.Contains(p.ExactOrderings, 0) ||
		slices.ContainsFunc(here, func(x pushdown.Expr) bool { return !pushdown.Known(x) || !pushdown.CanEval(x, types) }) {
		return connectors.ScanResult{}, unwrapped(refusal) // the next one is planned without the field
	}
	if l.never {
		return connectors.ScanResult{Warnings: t.lostWarnings(q.Columns)}, out.Flush()
	}
	if len(here) > 0 {
		now.Limit, l.sieve, l.verify, l.verifyColumns = 0, true, here, pushdown.Columns(here...)
	}
	got, err := w.read(ctx, now, out, l)
	return got, unwrapped(err)
}
