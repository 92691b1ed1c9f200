package synthetic

// Scans: candidates by key, filter, order, and rows page by page with the
// faults that were asked for.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// cursor holds the rows of an object that can match a query; row numbers are
// from 0.
type cursor interface {
	// count of rows.
	count() int64
	// value of a column, NULL aside of the column's kind.
	value(row int64, column int) pushdown.Value
	// put gives the columns of a row to out.
	put(out *rows.Builder, row int64, columns []int)
}

// Every so many rows that did not match, a scan looks whether it was cancelled.
const checkEvery = 1024

// Scan reads the object.
func (t *table) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	var cur cursor
	if t.storeTable != nil {
		cur = t.snapshot(t.pushed(q.Conjuncts))
	} else {
		cur = t.sequence(q.Columns, t.pushed(q.Conjuncts))
	}
	res := connectors.ScanResult{TotalRows: float64(t.size())}
	p := pager{settings: &t.settings, stats: q.Stats, out: out}
	if q.Aggregation != nil {
		if err := t.scanGroups(ctx, cur, q, &p); err != nil {
			return res, err
		}
		return res, out.Flush()
	}
	emitted := int64(0)
	emit := func(row int64) error {
		if emitted%t.pageRows == 0 {
			if err := p.next(ctx); err != nil {
				return err
			}
		}
		emitted++
		cur.put(out, row, q.Columns)
		if err := out.EndRow(); err != nil {
			return t.rowError(err, q.Columns)
		}
		return nil
	}
	err := t.walk(ctx, cur, q, emit)
	if err == nil && emitted == 0 {
		err = p.next(ctx) // an empty page is a page
	}
	q.Stats.Rows.Add(uint64(emitted))
	if err != nil && !errors.Is(err, errLimit) {
		return res, err
	}
	return res, out.Flush()
}

// errLimit ends a walk at its limit.
var errLimit = errors.New("synthetic: limit reached")

// walk calls emit for the rows of the answer, in order.
func (t *table) walk(ctx context.Context, cur cursor, q connectors.Query, emit func(int64) error) error {
	pushed := t.pushed(q.Conjuncts)
	if t.ignoreFilters {
		pushed = nil
	}
	matches, err := t.matcher(cur, pushed)
	if err != nil {
		return err
	}
	if q.Limit > 0 {
		inner, left := emit, q.Limit
		emit = func(row int64) error {
			if err := inner(row); err != nil {
				return err
			}
			if left--; left == 0 {
				return errLimit
			}
			return nil
		}
	}
	inOrder, reverse := q.Ordering == nil, false
	if seq, ok := cur.(*sequenceCursor); ok && !inOrder {
		inOrder, reverse = seq.keeps(q.Ordering)
	}
	if inOrder {
		return t.candidates(ctx, cur, q.Sample, reverse, func(row int64) error {
			ok, err := matches(row)
			if err != nil || !ok {
				return err
			}
			return emit(row)
		})
	}
	sorter, err := pushdown.CompileOrdering(q.Ordering, t.types)
	if err != nil {
		return &connectors.Error{Class: connectors.NotSupported, API: apiName, Message: err.Error()}
	}
	var list []int64
	err = t.candidates(ctx, cur, q.Sample, false, func(row int64) error {
		ok, err := matches(row)
		if ok {
			list = append(list, row)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := sortRows(cur, sorter, q.Ordering, list); err != nil {
		return err
	}
	for _, row := range list {
		if err := emit(row); err != nil {
			return err
		}
	}
	return nil
}

// candidates calls visit for all rows of cur, or a sample of them, the last
// first if reverse.
func (t *table) candidates(ctx context.Context, cur cursor, sample uint64, reverse bool, visit func(int64) error) error {
	step, n := int64(1), cur.count()
	if sample > 0 && uint64(n) > sample {
		step = n / int64(sample)
	}
	for row, i := int64(0), 0; row < n; row, i = row+step, i+1 {
		if i%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		at := row
		if reverse {
			at = n - 1 - row
		}
		if err := visit(at); err != nil {
			return err
		}
	}
	return nil
}

// matcher tells whether the object's answer has a row. In superset mode it has
// a fifth of the rows that do not match, too.
func (t *table) matcher(cur cursor, pushed []pushdown.Expr) (func(int64) (bool, error), error) {
	if len(pushed) == 0 {
		return func(int64) (bool, error) { return true, nil }, nil
	}
	p, err := pushdown.CompileAll(pushed, t.types)
	if err != nil {
		return nil, &connectors.Error{Class: connectors.Internal, API: apiName, Message: err.Error()}
	}
	var at int64
	row := func(column int) pushdown.Value { return cur.value(at, column) }
	return func(r int64) (bool, error) {
		at = r
		ok, err := p.Matches(row)
		var ee *pushdown.EvalError
		switch {
		case errors.As(err, &ee):
			if t.pushdown == modeSuperset {
				return true, nil // PostgreSQL will say so itself
			}
			return false, &connectors.Error{Class: connectors.CheckViolation, API: apiName, Message: ee.Message, Err: err}
		case err != nil:
			return false, &connectors.Error{Class: connectors.Internal, API: apiName, Message: err.Error(), Err: err}
		}
		return ok || t.pushdown == modeSuperset && mix(uint64(r))%5 == 0, nil
	}, nil
}

// sortRows sorts row numbers; rows that compare equal stay as they are.
func sortRows(cur cursor, s *pushdown.Sorter, o pushdown.Ordering, list []int64) error {
	type entry struct {
		row  int64
		keys []pushdown.Value // by position in o
	}
	entries := make([]entry, len(list))
	for i, row := range list {
		keys := make([]pushdown.Value, len(o))
		for j, k := range o {
			keys[j] = cur.value(row, k.Column)
		}
		entries[i] = entry{row, keys}
	}
	at := func(e *entry) pushdown.Row {
		return func(column int) pushdown.Value {
			for j, k := range o {
				if k.Column == column {
					return e.keys[j]
				}
			}
			return pushdown.Value{}
		}
	}
	var failed error
	slices.SortStableFunc(entries, func(a, b entry) int {
		x, err := s.Compare(at(&a), at(&b))
		if err != nil {
			failed = err
		}
		return x
	})
	for i := range entries {
		list[i] = entries[i].row
	}
	return failed
}

// rowError names the column of a value that does not fit.
func (t *table) rowError(err error, columns []int) error {
	var ce *rows.ConversionError
	if !errors.As(err, &ce) || ce.Column < 0 {
		return err
	}
	return &connectors.Error{Class: connectors.InvalidValue, API: apiName, Message: ce.Error(),
		Column: t.spec.Columns[columns[ce.Column]].Name, Err: err}
}

// sequenceCursor makes rows up.
type sequenceCursor struct {
	t *table
	// gens are those of the query's columns, so that put looks up nothing.
	gens    []*generator
	scratch map[int]*scratch
	// keys are the only rows wanted, if narrowed.
	keys     []int64
	narrowed bool
}

// scratch encodes one column's value to read it back.
type scratch struct {
	b    *rows.Builder
	last []byte
}

func (t *table) sequence(columns []int, pushed []pushdown.Expr) *sequenceCursor {
	c := &sequenceCursor{t: t, gens: make([]*generator, len(columns)), scratch: make(map[int]*scratch)}
	for i, col := range columns {
		c.gens[i] = &t.gens[col]
	}
	values, ok := t.wantedKeys(pushed)
	if !ok {
		return c
	}
	c.narrowed = true
	for _, v := range values {
		if n, ok := rowNumber(v); ok && n >= 1 && n <= t.rows {
			c.keys = append(c.keys, n-1)
		}
	}
	slices.Sort(c.keys)
	c.keys = slices.Compact(c.keys)
	return c
}

// wantedKeys are the values that the single key column can have in a row that
// matches, or false if that may be any. Superset and none are for tests of
// what happens without such help.
func (t *table) wantedKeys(pushed []pushdown.Expr) ([]pushdown.Value, bool) {
	if len(t.key) != 1 || t.pushdown != modeExact || t.ignoreFilters {
		return nil, false
	}
	for _, e := range pushed {
		if col, op, p, _, ok := pushdown.ColumnComparison(e); ok && col == t.key[0] && op == pushdown.EQ {
			return []pushdown.Value{p.Value}, true
		}
		if col, p, negated, _, ok := pushdown.ColumnMembership(e); ok && col == t.key[0] && !negated {
			list, _ := p.Value.V.([]pushdown.Value)
			return list, true
		}
	}
	return nil, false
}

func (c *sequenceCursor) count() int64 {
	if c.narrowed {
		return int64(len(c.keys))
	}
	return c.t.rows
}

// keeps reports whether the rows are in this order as they are made, or
// reversed: when it begins with a key that is a number, of which no two rows
// have the same.
func (c *sequenceCursor) keeps(o pushdown.Ordering) (inOrder, reverse bool) {
	if len(o) == 0 || len(c.t.key) == 0 || o[0].Column != c.t.key[0] {
		return false, false
	}
	switch c.t.types[c.t.key[0]].Kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Numeric:
		return true, o[0].Descending
	}
	return false, false
}

func (c *sequenceCursor) number(row int64) int64 {
	if c.narrowed {
		return c.keys[row]
	}
	return row
}

func (c *sequenceCursor) put(out *rows.Builder, row int64, _ []int) {
	row = c.number(row)
	for _, g := range c.gens {
		g.put(out, row)
	}
}

// value encodes and decodes, so that filters see just what is sent.
func (c *sequenceCursor) value(row int64, column int) pushdown.Value {
	s := c.scratch[column]
	if s == nil {
		s = &scratch{}
		s.b = rows.NewBuilder(c.t.types[column:column+1], func(tuple []byte, _ int) error {
			s.last = tuple
			return nil
		}, rows.Options{First: 1, Next: 1, Reuse: true})
		c.scratch[column] = s
	}
	c.t.gens[column].put(s.b, c.number(row))
	var v [1]pushdown.Value
	if err := s.b.EndRow(); err != nil {
		return v[0] // put reports it
	}
	if _, err := rows.NewScanReader(c.t.types[column:column+1], s.last).Next(v[:]); err != nil {
		panic(fmt.Sprintf("synthetic: reading back a generated value: %v", err))
	}
	return v[0]
}

// rowNumber is the row whose key equals v, if there can be one.
func rowNumber(v pushdown.Value) (int64, bool) {
	switch x := v.V.(type) {
	case int64:
		return x, true
	case string:
		// numeric 7.00 equals 7, text '7.00' does not; either way the filter
		// is applied afterwards, so more is allowed here, less is not.
		f, err := strconv.ParseFloat(x, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<52 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// pager does what stands between two pages.
type pager struct {
	*settings
	stats *connectors.Stats
	out   *rows.Builder
	page  int64
}

// next is called before each page; the rows so far are flushed if the page
// takes time.
func (p *pager) next(ctx context.Context) error {
	p.page++
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.page > 1 && (p.latency > 0 || p.page == p.errorAt || p.page == p.hangAt || p.page == p.panicAt) {
		if err := p.out.Flush(); err != nil {
			return err
		}
	}
	p.stats.Calls.Add(1)
	start := time.Now()
	defer func() { p.stats.APIMicros.Add(uint64(time.Since(start).Microseconds())) }()
	if err := sleep(ctx, p.latency); err != nil {
		return err
	}
	switch p.page {
	case p.hangAt:
		<-ctx.Done()
		return ctx.Err()
	case p.panicAt:
		panic(fmt.Sprintf("synthetic: panic_at_page %d", p.page))
	case p.errorAt:
		return &connectors.Error{Class: p.errorClass, API: apiName,
			Message: fmt.Sprintf("page %d failed", p.page), Detail: fmt.Sprintf("The option error_at_page is %d.", p.page)}
	}
	p.stats.Pages.Add(1)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
