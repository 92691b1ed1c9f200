// Filters that the API refuses although the manifest knows of no reason: a property
// that cannot be searched, a limit that has become smaller. All records are read
// instead, and what was left to the API is checked here.

package rest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// refusedFilter ends a scan of which no row has come.
type refusedFilter struct {
	error
	// message of the API; exact are the conjuncts that it was trusted with.
	message string
	exact   []pushdown.Expr
	// order that is relied upon; nil: none.
	order *ranged
}

func (r *refusedFilter) Unwrap() error { return r.error }

// refusedFilter tells whether a scan ended since the API does not take its filter,
// and what it takes can be checked here; nil: not so.
func (s *scan) refusedFilter(err error) *refusedFilter {
	var e *connectors.Error
	if s.rows > 0 || !errors.As(err, &e) || !slices.Contains(s.t.refused, e.Code) || s.l.order == nil && len(s.q.Ordering) > 0 {
		return nil
	}
	r := &refusedFilter{error: err, message: e.Message, order: s.l.order}
	types := s.t.types()
	for i, x := range s.q.Conjuncts {
		if s.l.verdict[i].Verdict != pushdown.Exact {
			continue // PostgreSQL checks it
		}
		if !pushdown.Known(x) || !pushdown.CanEval(x, types) {
			return nil
		}
		r.exact = append(r.exact, x)
	}
	for _, c := range pushdown.Columns(r.exact...) {
		if s.t.column(c).path == nil {
			return nil
		}
	}
	return r
}

// instead reads all records.
func (t *table) instead(ctx context.Context, q connectors.Query, out *rows.Builder, r *refusedFilter) (connectors.ScanResult, error) {
	all := q
	all.Conjuncts, all.Orderings, all.Limit = nil, nil, 0
	l := t.decide(all.Request, nil)
	l.whole = true
	if len(r.exact) > 0 {
		l.sieve, l.verify, l.verifyColumns = true, r.exact, pushdown.Columns(r.exact...)
	}
	to := out
	if r.order != nil {
		l.sorter = &sorter{by: r.order, first: q.Ordering[0], refusal: r.error}
		if q.Limit <= maxSorted {
			l.sorter.most = int(q.Limit)
		}
		types := make([]pushdown.Type, len(q.Columns))
		for i, c := range q.Columns {
			types[i] = t.column(c).spec.Type
		}
		to = rows.NewBuilder(types, l.sorter.take, rows.Options{First: 1 << 10, Next: 1 << 10, Reuse: true})
		q.Limit, q.Ordering = 0, nil
	}
	got, err := t.read(ctx, q, to, l)
	if err == nil && l.sorter != nil {
		err = l.sorter.hand(out)
	}
	if err == nil {
		got.Warnings = append(got.Warnings, fmt.Sprintf("%s refused a filter of %s, so all its records were read: %s", t.src.m.Name, t.object.Name, r.message))
	}
	return got, err
}

// maxSorted is how many rows are sorted here.
const maxSorted = 100_000

// sorter holds rows in the order that PostgreSQL relies upon.
type sorter struct {
	by    *ranged
	first pushdown.SortKey
	// most that are wanted; 0: all.
	most int
	rows []sortedRow
	// last is the last row's tuple.
	last    []byte
	refusal error
}

// sortedRow is a tuple with its value; nil: it has none.
type sortedRow struct {
	value *int64
	tuple []byte
}

func (o *sorter) columns() []int {
	if o == nil {
		return nil
	}
	return o.by.columns()
}

// take keeps the tuple of a row.
func (o *sorter) take(tuple []byte, _ int) error {
	o.last = bytes.Clone(tuple)
	return nil
}

// add the row that was just ended.
func (o *sorter) add(out *rows.Builder, value *int64) error {
	if err := out.Flush(); err != nil {
		return err
	}
	o.rows = append(o.rows, sortedRow{value, o.last})
	switch {
	case o.most > 0 && len(o.rows) >= 2*o.most+1000:
		o.sort()
	case o.most == 0 && len(o.rows) > maxSorted:
		return o.refusal
	}
	return nil
}

// sort the rows, and let go of those that are not wanted.
func (o *sorter) sort() {
	slices.SortStableFunc(o.rows, func(a, b sortedRow) int {
		switch {
		case a.value == nil && b.value == nil:
			return 0
		case a.value == nil || b.value == nil:
			if (a.value == nil) == o.first.NullsFirst {
				return -1
			}
			return 1
		case o.first.Descending:
			return cmp.Compare(*b.value, *a.value)
		}
		return cmp.Compare(*a.value, *b.value)
	})
	if o.most > 0 && len(o.rows) > o.most {
		clear(o.rows[o.most:])
		o.rows = o.rows[:o.most]
	}
}

func (o *sorter) hand(out *rows.Builder) error {
	o.sort()
	for _, r := range o.rows {
		if err := out.Tuple(r.tuple); err != nil {
			return err
		}
	}
	return out.Flush()
}

// sift tells whether a record meets the conditions that the API would not check.
func (s *scan) sift(row int, spans []span, page []byte) (bool, error) {
	value, err := s.checked(row, spans, page)
	if err != nil {
		return false, err
	}
	for _, p := range s.verifier.conjuncts {
		ok, err := p.Matches(value)
		if err != nil {
			return false, fmt.Errorf("checking a condition: %w", err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}
