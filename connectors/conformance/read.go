package conformance

// Tests of describing, planning and scanning.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func testDescribe(t *testing.T, h *harness) {
	var d connectors.Description
	h.noCalls(t, func() {
		d = h.table.Describe()
		require.Equal(t, d, h.table.Describe(), "two answers differ")
	})
	in := func(columns []int) {
		for _, c := range columns {
			require.True(t, c >= 0 && c < len(h.types), "there is no column %d", c)
		}
	}
	in(d.Key)
	in(d.ReadOnlyColumns)
	for _, l := range d.Lookups {
		in(l.Columns)
		require.NotEmpty(t, l.Columns, "a lookup without columns")
	}
	for _, columns := range d.Unique {
		in(columns)
		require.NotEmpty(t, columns, "no column is unique")
	}
	if d.Insertable && d.Updatable && d.Deletable {
		require.Empty(t, d.ReadOnlyReason, "a reason for nothing")
	} else {
		require.NotEmpty(t, d.ReadOnlyReason, "the user will ask why")
	}
	if d.Updatable || d.Deletable {
		require.NotEmpty(t, d.Key, "rows are changed by key")
	}
	h.shown(t, d.ReadOnlyReason)
	again, err := h.source.Table(t.Context(), h.Table)
	require.NoError(t, err)
	require.Equal(t, d, again.Describe(), "the same table bound again differs")
}

// random makes the generator of this run's queries, and says how to run them
// again.
func (h *harness) random(t *testing.T, seen [][]pushdown.Value) (*generator, int) {
	t.Helper()
	seed := h.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	n := h.Queries
	if n == 0 {
		n = 300
		if testing.Short() {
			n = 60
		}
	}
	return &generator{r: rand.New(rand.NewPCG(seed, 0)), types: h.types, values: seen}, n
}

// forget makes the values of all parameters unknown, as when a plan is made.
func forget(conjuncts []pushdown.Expr) []pushdown.Expr {
	list := make([]pushdown.Expr, len(conjuncts))
	for i, e := range conjuncts {
		list[i] = forgetExpr(e)
	}
	return list
}

func forgetExpr(e pushdown.Expr) pushdown.Expr {
	switch e := e.(type) {
	case *pushdown.Param:
		return &pushdown.Param{Index: e.Index, Type: e.Type}
	case *pushdown.Comparison:
		c := *e
		c.Left, c.Right = forgetExpr(e.Left), forgetExpr(e.Right)
		return &c
	case *pushdown.Membership:
		m := *e
		m.Operand, m.Array = forgetExpr(e.Operand), forgetExpr(e.Array)
		return &m
	case *pushdown.Match:
		m := *e
		m.Operand, m.Pattern = forgetExpr(e.Operand), forgetExpr(e.Pattern)
		return &m
	case *pushdown.NullTest:
		return &pushdown.NullTest{Operand: forgetExpr(e.Operand), Negated: e.Negated}
	case *pushdown.BoolTest:
		return &pushdown.BoolTest{Operand: forgetExpr(e.Operand), Truth: e.Truth, Negated: e.Negated}
	case *pushdown.And:
		return &pushdown.And{Operands: forget(e.Operands)}
	case *pushdown.Or:
		return &pushdown.Or{Operands: forget(e.Operands)}
	case *pushdown.Not:
		return &pushdown.Not{Operand: forgetExpr(e.Operand)}
	case *pushdown.Function:
		f := *e
		f.Args = forget(e.Args)
		return &f
	}
	return e
}

func testPlan(t *testing.T, h *harness) {
	seen := h.mustScan(t, connectors.Query{})
	g, n := h.random(t, seen)
	orderings := h.orderings()
	planned, worse := 0, 0
	plan := func(n int) {
		for range n {
			from := g.r.IntN(len(orderings))
			some := orderings[from:min(from+3, len(orderings))]
			req := pushdown.Request{Conjuncts: g.conjuncts(), Orderings: some, Columns: h.allColumns(), LimitPossible: true}
			text := h.describe(connectors.Query{Request: req})
			p := h.table.Plan(req)
			require.Equal(t, p, h.table.Plan(req), "two answers differ: %s", text)
			h.checkPlan(t, req, p, text)
			// Without values the verdict is for the best case.
			conjuncts := req.Conjuncts
			req.Conjuncts = forget(req.Conjuncts)
			best := h.table.Plan(req)
			h.checkPlan(t, req, best, text)
			for i := range p.Conjuncts {
				planned++
				if best.Conjuncts[i].Verdict < p.Conjuncts[i].Verdict {
					// A condition that is constant for its values, such as one
					// with NOT IN (..., NULL), is exact whatever the API can do.
					if same, ok := h.reference(t, conjuncts[i:i+1], seen); ok && (len(same) == 0 || len(same) == len(seen)) {
						continue
					}
					worse++
					t.Logf("conjunct %d is planned worse without its values: %s", i, text)
				}
				if best.Conjuncts[i].Verdict != p.Conjuncts[i].Verdict {
					require.True(t, p.ValueDependent, "conjunct %d depends on values, and the plan does not say so: %s", i, text)
				}
			}
		}
	}
	h.noCalls(t, func() {
		plan(n)
		if worse*10 > planned {
			plan(10 * n) // of some queries many may be worse by chance
		}
		require.Empty(t, h.table.Plan(pushdown.Request{}).Conjuncts)
	})
	// Few may be worse: values can make a part of a condition constant too.
	require.LessOrEqual(t, worse*10, planned, "%d of %d conjuncts are planned worse without their values", worse, planned)
}

func (h *harness) checkPlan(t *testing.T, req pushdown.Request, p pushdown.Plan, text fmt.Stringer) {
	t.Helper()
	require.Len(t, p.Conjuncts, len(req.Conjuncts), "one verdict a conjunct: %s", text)
	for i, c := range p.Conjuncts {
		require.LessOrEqual(t, c.Verdict, pushdown.Exact)
		if c.Verdict == pushdown.Exact {
			require.Empty(t, c.Reason, "exact needs no reason: %s", text)
		} else {
			require.NotEmpty(t, c.Reason, "conjunct %d: EXPLAIN shows why it is not exact: %s", i, text)
		}
		h.shown(t, c.Reason)
	}
	for _, i := range p.ExactOrderings {
		require.True(t, i >= 0 && i < len(req.Orderings), "there is no ordering %d: %s", i, text)
	}
	require.GreaterOrEqual(t, p.Rows, 0.0)
	require.GreaterOrEqual(t, p.StartupCost, 0.0)
	require.GreaterOrEqual(t, p.TotalCost, p.StartupCost, text)
}

func testRequest(t *testing.T, h *harness) {
	seen := h.mustScan(t, connectors.Query{})
	g, n := h.random(t, seen)
	h.noCalls(t, func() {
		for range n / 4 {
			q := connectors.Query{Request: pushdown.Request{Conjuncts: g.conjuncts(), Columns: h.allColumns()}, Stats: &connectors.Stats{}}
			s := h.table.Request(q)
			require.NotEmpty(t, s)
			require.Equal(t, s, h.table.Request(q))
			h.shown(t, s)
		}
	})
}

func testRepeatable(t *testing.T, h *harness) {
	first := h.mustScan(t, connectors.Query{})
	second := h.mustScan(t, connectors.Query{})
	require.GreaterOrEqual(t, len(first), 30, "the subject's object is too small to show anything")
	require.Len(t, second, len(first))
	require.Nil(t, missing(h.types, first, second))
}

// reference is what an expression lets through of all rows, or false if only
// PostgreSQL can tell.
func (h *harness) reference(t *testing.T, conjuncts []pushdown.Expr, all [][]pushdown.Value) ([][]pushdown.Value, bool) {
	t.Helper()
	p, err := pushdown.CompileAll(conjuncts, h.types)
	if err != nil {
		return nil, false
	}
	var list [][]pushdown.Value
	for _, row := range all {
		ok, err := p.Matches(func(c int) pushdown.Value { return row[c] })
		require.NoError(t, err)
		if ok {
			list = append(list, row)
		}
	}
	return list, true
}

func testVerdicts(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	g, n := h.random(t, all)
	asked, conjuncts, pushed, exact, judged := 0, 0, 0, 0, 0
	ask := func() {
		asked++
		q := connectors.Query{Request: pushdown.Request{Conjuncts: g.conjuncts(), Columns: h.allColumns()}}
		plan := h.table.Plan(q.Request)
		got := h.mustScan(t, q)
		require.Nil(t, missing(h.types, got, all), "a row that the object does not have: %s", h.describe(q))
		allExact := true
		for i, c := range plan.Conjuncts {
			conjuncts++
			switch c.Verdict {
			case pushdown.Exact:
				exact++
				pushed++
			case pushdown.Superset:
				pushed++
				allExact = false
			default:
				allExact = false
			}
			if c.Verdict != pushdown.Exact {
				continue
			}
			// Each exact conjunct holds for each row, whatever the others are.
			if want, ok := h.reference(t, q.Conjuncts[i:i+1], got); ok && len(want) != len(got) {
				t.Fatalf("conjunct %d was called exact, and this row does not match it: %s\n%s",
					i, showRow(h.types, missing(h.types, got, want)), h.describe(q))
			}
		}
		want, ok := h.reference(t, q.Conjuncts, all)
		if !ok {
			return
		}
		judged++
		if r := missing(h.types, want, got); r != nil {
			t.Fatalf("this row matches and was not returned: %s\nverdicts: %v\n%s", showRow(h.types, r), plan.Conjuncts, h.describe(q))
		}
		if allExact {
			require.Len(t, got, len(want), "all was called exact: %s", h.describe(q))
		}
	}
	fewJudged := func() bool { return float64(judged) < 0.3*float64(asked) }
	littlePushed := func() bool { return float64(pushed) < h.MinPushed*float64(conjuncts) }
	for range n {
		ask()
	}
	// Of some queries this may be so by chance.
	for range 3 * n {
		if !fewJudged() && !littlePushed() {
			break
		}
		ask()
	}
	t.Logf("%d queries, %d judged; of %d conjuncts %d were pushed, %d exact", asked, judged, conjuncts, pushed, exact)
	require.False(t, fewJudged(), "too few queries could be judged")
	require.False(t, littlePushed(), "too little was pushed")
}

// orderings are by each column in each direction, and by pairs of columns.
func (h *harness) orderings() []pushdown.Ordering {
	database, c := collations()
	var list []pushdown.Ordering
	for i, typ := range h.types {
		colls := []pushdown.Collation{{}}
		if typ.Kind == pushdown.Text || typ.Kind == pushdown.Varchar || typ.Kind == pushdown.BPChar {
			colls = []pushdown.Collation{database, c}
		}
		for _, coll := range colls {
			for d := range 4 {
				k := pushdown.SortKey{Column: i, Descending: d&1 != 0, NullsFirst: d&2 != 0, Collation: coll}
				list = append(list, pushdown.Ordering{k})
				j := (i + 1) % len(h.types)
				second := pushdown.SortKey{Column: j, Descending: d&2 != 0, NullsFirst: d&1 != 0, Collation: c}
				if j != i {
					list = append(list, pushdown.Ordering{k, second})
				}
			}
		}
	}
	return list
}

func testOrdering(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	orderings := h.orderings()
	req := pushdown.Request{Orderings: orderings, Columns: h.allColumns(), LimitPossible: true}
	plan := h.table.Plan(req)
	t.Logf("%d of %d orderings are exact", len(plan.ExactOrderings), len(orderings))
	for _, i := range plan.ExactOrderings {
		q := connectors.Query{Request: req, Ordering: orderings[i]}
		got := h.mustScan(t, q)
		require.Len(t, got, len(all), h.describe(q))
		require.Nil(t, missing(h.types, all, got), h.describe(q))
		s, err := pushdown.CompileOrdering(orderings[i], h.types)
		if err != nil {
			continue // an order that only PostgreSQL knows
		}
		for j := 1; j < len(got); j++ {
			x, err := s.Compare(func(c int) pushdown.Value { return got[j-1][c] }, func(c int) pushdown.Value { return got[j][c] })
			require.NoError(t, err)
			if x > 0 {
				t.Fatalf("row %d comes before\n%s\nand should not:\n%s\n%s", j-1,
					showRow(h.types, got[j]), showRow(h.types, got[j-1]), h.describe(q))
			}
		}
	}
}

func testLimit(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	plan := h.table.Plan(pushdown.Request{Columns: h.allColumns(), LimitPossible: true})
	if !plan.LimitExact {
		t.Log("the object takes no limit")
		return
	}
	for _, n := range []int{1, 2, len(all) / 2, len(all), len(all) + 10} {
		stats := &connectors.Stats{}
		q := connectors.Query{Limit: uint64(n), Stats: stats}
		q.LimitPossible = true
		got := h.mustScan(t, q)
		require.Len(t, got, min(n, len(all)), h.describe(q))
		require.Nil(t, missing(h.types, got, all), h.describe(q))
		if n == 1 && h.MinPages > 1 {
			require.EqualValues(t, 1, stats.Pages.Load(), "one row takes one page")
		}
	}
	g, n := h.random(t, all)
	for range n / 10 {
		q := connectors.Query{Limit: uint64(1 + g.r.IntN(10))}
		q.Conjuncts, q.LimitPossible = g.conjuncts(), true
		plan := h.table.Plan(q.Request)
		inexact := slices.ContainsFunc(plan.Conjuncts, func(c pushdown.Conjunct) bool { return c.Verdict != pushdown.Exact })
		want, ok := h.reference(t, q.Conjuncts, all)
		if inexact || !ok || !plan.LimitExact {
			continue
		}
		got := h.mustScan(t, q)
		require.Len(t, got, min(int(q.Limit), len(want)), h.describe(q))
		require.Nil(t, missing(h.types, got, want), h.describe(q))
	}
}

func testProjection(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	none := []int{}
	got := h.mustScan(t, connectors.Query{Request: pushdown.Request{Columns: none}})
	require.Len(t, got, len(all), "rows without columns are rows")
	reversed := h.allColumns()
	slices.Reverse(reversed)
	lists := [][]int{reversed}
	for i := range h.types {
		lists = append(lists, []int{i})
		if i > 0 {
			lists = append(lists, []int{i, i - 1})
		}
	}
	for _, columns := range lists {
		want := make([][]pushdown.Value, len(all))
		for i, row := range all {
			for _, c := range columns {
				want[i] = append(want[i], row[c])
			}
		}
		q := connectors.Query{Request: pushdown.Request{Columns: columns}}
		got := h.mustScan(t, q)
		require.Len(t, got, len(all), h.describe(q))
		require.Nil(t, missing(h.typesOf(columns), want, got), "columns %v: %s", columns, h.describe(q))
	}
	// A filter on a column that is not asked for.
	g, n := h.random(t, all)
	for range n / 20 {
		q := connectors.Query{Request: pushdown.Request{Conjuncts: g.conjuncts(), Columns: none}}
		want, ok := h.reference(t, q.Conjuncts, all)
		if got := h.mustScan(t, q); ok {
			require.GreaterOrEqual(t, len(got), len(want), h.describe(q))
		}
	}
}

func testLookups(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	_, c := collations()
	for _, l := range h.table.Describe().Lookups {
		for i := 0; i < len(all); i += 1 + len(all)/5 {
			if slices.ContainsFunc(l.Columns, func(col int) bool { return all[i][col].IsNull() }) {
				continue // nothing equals NULL
			}
			q := connectors.Query{Stats: &connectors.Stats{}}
			for j, col := range l.Columns {
				q.Conjuncts = append(q.Conjuncts, &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: col}, Collation: c,
					Right: &pushdown.Param{Index: j, Type: h.types[col], Known: true, Value: all[i][col]}})
			}
			plan := h.table.Plan(q.Request)
			for _, v := range plan.Conjuncts {
				require.NotEqual(t, pushdown.Local, v.Verdict, "a lookup column's equality must be pushed: %s", h.describe(q))
			}
			if l.Unique {
				require.LessOrEqual(t, plan.Rows, 1.0, "a unique lookup finds one row: %s", h.describe(q))
			}
			got := h.mustScan(t, q)
			require.Nil(t, missing(h.types, all[i:i+1], got), h.describe(q))
			if l.Unique && plan.Conjuncts[0].Verdict == pushdown.Exact {
				require.Len(t, got, 1, h.describe(q))
			}
			require.LessOrEqual(t, q.Stats.Calls.Load(), uint64(2), "a lookup is cheap: %s", h.describe(q))
		}
	}
}

// testCancel cancels when the first rows have come and counts the calls.
func testCancel(t *testing.T, h *harness) {
	if h.MinPages < 3 {
		t.Skip("the subject does not say that it has pages")
	}
	full := &connectors.Stats{}
	h.mustScan(t, connectors.Query{Stats: full})
	require.GreaterOrEqual(t, full.Pages.Load(), uint64(h.MinPages), "the subject promised more pages")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stats := &connectors.Stats{}
	out := rows.NewBuilder(h.types, func([]byte, int) error { cancel(); return nil }, rows.Options{First: 1, Next: 1})
	_, err := h.table.Scan(ctx, connectors.Query{Request: pushdown.Request{Columns: h.allColumns()}, Stats: stats}, out)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, stats.Pages.Load(), full.Pages.Load(), "paging went on after the cancel")
	h.quiet(t)

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	h.noCalls(t, func() {
		_, err = h.scan(ctx, connectors.Query{})
		require.ErrorIs(t, err, context.Canceled, "cancelled before it began")
	})
}

// quiet waits for a moment in which the API is not called, and fails if there is none.
func (h *harness) quiet(t *testing.T) {
	t.Helper()
	if h.Calls == nil {
		return
	}
	// A call that was on its way arrives late on a machine that stalls.
	for deadline := time.Now().Add(30 * time.Second); ; {
		before := h.Calls()
		time.Sleep(100 * time.Millisecond)
		if h.Calls() == before {
			return
		}
		require.True(t, time.Now().Before(deadline), "the API is still called")
	}
}

func testStop(t *testing.T, h *harness) {
	if h.MinPages < 3 {
		t.Skip("the subject does not say that it has pages")
	}
	before := runtime.NumGoroutine()
	for range 40 {
		stats := &connectors.Stats{}
		out := rows.NewBuilder(h.types, func([]byte, int) error { return rows.ErrStop }, rows.Options{First: 1, Next: 1})
		_, err := h.table.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: h.allColumns()}, Stats: stats}, out)
		require.Equal(t, rows.ErrStop, err, "the reader's stop is returned as it is")
		require.LessOrEqual(t, stats.Pages.Load(), uint64(2), "paging went on after the stop")
	}
	h.quiet(t)
	// Connections that are kept have goroutines, and so have tests that run
	// beside this one; but not one for each scan.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+30 }, 30*time.Second, 10*time.Millisecond,
		"goroutines were left behind")
}

func testSinkError(t *testing.T, h *harness) {
	broken := errors.New("the reader broke")
	out := rows.NewBuilder(h.types, func([]byte, int) error { return broken }, rows.Options{First: 1, Next: 1})
	_, err := h.table.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: h.allColumns()}, Stats: &connectors.Stats{}}, out)
	require.ErrorIs(t, err, broken)
	// The last rows go out by Flush.
	_, err = h.table.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: h.allColumns()}, Stats: &connectors.Stats{}},
		rows.NewBuilder(h.types, func([]byte, int) error { return broken }, rows.Options{First: 1 << 30}))
	require.ErrorIs(t, err, broken)
}

func testConcurrent(t *testing.T, h *harness) {
	all := h.mustScan(t, connectors.Query{})
	g, _ := h.random(t, all)
	var wg sync.WaitGroup
	for range 8 {
		queries := make([]connectors.Query, 5)
		for i := range queries {
			queries[i].Conjuncts = g.conjuncts()
		}
		wg.Go(func() {
			for _, q := range queries {
				got, err := h.scan(context.Background(), q)
				if err != nil {
					t.Errorf("%v: %s", err, h.describe(q))
					return
				}
				if want, ok := h.reference(t, q.Conjuncts, all); ok && missing(h.types, want, got) != nil {
					t.Errorf("rows are missing: %s", h.describe(q))
				}
			}
		})
	}
	wg.Wait()
}

func testStats(t *testing.T, h *harness) {
	stats := &connectors.Stats{}
	got := h.mustScan(t, connectors.Query{Stats: stats})
	require.GreaterOrEqual(t, stats.Calls.Load(), uint64(max(1, h.MinPages)))
	require.GreaterOrEqual(t, stats.Pages.Load(), uint64(max(1, h.MinPages)))
	require.GreaterOrEqual(t, stats.Rows.Load(), uint64(len(got)))
}
