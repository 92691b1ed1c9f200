package fuzz

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
	"github.com/hallwaydb/hallway/tests/harness"
)

// callBound holds queries to the calls that they need: they are asked once more, by
// EXPLAIN ANALYZE, which tells how often a foreign table was scanned, in how many
// requests, and under which LIMIT.
type callBound struct {
	// apis tell all calls that have come so far.
	apis []func() []kit.Call
	// besides are the kinds that are no part of a scan: for metadata and tokens.
	besides []string

	seen                 []int // of each API's
	asked, limited, made int
	// tight counts queries of which twice the calls would have been too many.
	tight, some int
}

// planned is a scan of a foreign table in a plan that was executed.
type planned struct {
	loops, asks, limit int
}

// excess says what is in vain of the calls that these scans made; empty: nothing.
func excess(calls []kit.Call, scans []planned) string {
	begun, refused, may, limit := 0, 0, 0, 0
	for i := range calls {
		switch calls[i].Status {
		case http.StatusOK:
			begun += b2i(calls[i].Begins())
		case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
			refused++ // for good: such as a cursor that was forgotten, or a filter
		}
	}
	for _, s := range scans {
		may += s.loops * s.asks
	}
	if len(scans) == 1 && refused == 0 {
		limit = scans[0].limit // else a part of it is read again, or all of it, and checked here
	}
	if begun > may+refused {
		return fmt.Sprintf("%d lists, searches and requests for records were begun where the plan has %d, and %d were refused", begun, may, refused)
	}
	if needed := kit.PagesNeeded(calls, limit); len(calls) > needed {
		return fmt.Sprintf("%d calls where %d have all pages", len(calls), needed)
	}
	return ""
}

// scansOf finds the scans of foreign tables that were begun.
func scansOf(plan string) ([]planned, error) {
	nodes, err := harness.ParsePlan(plan)
	if err != nil {
		return nil, err
	}
	var out []planned
	for _, n := range nodes {
		request, foreign := n["Hallway Request"].(string)
		loops, _ := n["Actual Loops"].(float64)
		if !foreign || loops == 0 {
			continue
		}
		s := planned{loops: int(loops), asks: 1}
		if _, more, ok := strings.Cut(request, " (and "); ok {
			if k, err := strconv.Atoi(strings.TrimSuffix(more, " more)")); err == nil {
				s.asks += k
			}
		}
		if limit, ok := n["Pushed Limit"].(float64); ok && n["Rechecked For These Values"] == nil {
			s.limit = int(limit)
		}
		out = append(out, s)
	}
	return out, nil
}

// calls that have come since it was asked last.
func (b *callBound) calls() (news []kit.Call) {
	if b.seen == nil {
		b.seen = make([]int, len(b.apis))
	}
	for i, calls := range b.apis {
		all := calls()
		news = append(news, all[b.seen[i]:]...)
		b.seen[i] = len(all)
	}
	return news
}

// watch has queries that the fuzzer asks held to their bounds: one of so many, and all
// with a LIMIT.
func (b *callBound) watch(t *testing.T, f *fuzzer, each int) {
	n := 0
	f.answered = func(q *Query, v variant) {
		if n++; n%each == 0 || q.limit != nil {
			b.hold(t.Context(), t, f, q, v)
		}
	}
}

// hold a query that has been answered to its bound. A scan that ended early may leave a
// call behind that arrives later; so what is too much must be so again and again.
func (b *callBound) hold(ctx context.Context, t *testing.T, f *fuzzer, q *Query, v variant) {
	t.Helper()
	sql := "EXPLAIN (ANALYZE, FORMAT JSON) " + q.Render(v.tables, nil)
	what := ""
	for try := range 6 {
		if try > 0 {
			b.quiet(time.Duration(try) * 50 * time.Millisecond)
		}
		b.calls()
		leave, err := f.set(ctx, v)
		require.NoError(t, err)
		result, err := harness.Simple(ctx, f.conn, sql)
		leave()
		if err != nil {
			return // a query that fails may do so before it has read anything
		}
		text := result.Rows[0][0]
		scans, err := scansOf(text)
		require.NoError(t, err)
		calls := slices.DeleteFunc(b.calls(), func(c kit.Call) bool { return slices.Contains(b.besides, c.Kind) })
		if what = excess(calls, scans); what == "" {
			b.count(calls, scans)
			return
		}
		what += fmt.Sprintf("\n  %s\n  calls: %+v\n  %s", sql, calls, text)
	}
	t.Errorf("%s: %s", v, what)
}

// quiet waits until no call has come for a while.
func (b *callBound) quiet(d time.Duration) {
	for b.calls(); ; {
		time.Sleep(d)
		if len(b.calls()) == 0 {
			return
		}
	}
}

func (b *callBound) count(calls []kit.Call, scans []planned) {
	b.asked++
	b.made += len(calls)
	if len(scans) == 1 && scans[0].limit > 0 {
		b.limited++
	}
	if len(calls) > 0 {
		b.some++
		b.tight += b2i(excess(append(slices.Clone(calls), calls...), scans) != "")
	}
}

// report wants the bound to have been one: few queries could have made twice the calls.
func (b *callBound) report(t *testing.T) {
	t.Helper()
	t.Logf("%d queries were held to their calls, %d in all, %d of them under a LIMIT that the API was told; of %d that made some, %d would have been noticed with twice as many",
		b.asked, b.made, b.limited, b.some, b.tight)
	if b.some >= 20 {
		require.GreaterOrEqual(t, b.tight*4, b.some*3)
	}
}

// callsOf are the calls of a stand-in's requests.
func callsOf[R any](requests []R, call func(*R) kit.Call) []kit.Call {
	out := make([]kit.Call, len(requests))
	for i := range requests {
		out[i] = call(&requests[i])
	}
	return out
}

// tally counts calls by kind, and those that were refused with a status; 0: with any.
func tally(calls []kit.Call, status int) (kinds map[string]int, refused int) {
	kinds = map[string]int{}
	for i := range calls {
		kinds[calls[i].Kind]++
		refused += b2i(calls[i].Status == status || status == 0 && calls[i].Status != http.StatusOK)
	}
	return kinds, refused
}

// What the bound is for is noticed.
func TestCallBound(t *testing.T) {
	list := func(first bool, matched, size, more int) kit.Call {
		return kit.Call{Kind: "list", Status: http.StatusOK, First: first, Matched: matched, Size: size, More: more}
	}
	one := kit.Call{Kind: "get", Status: http.StatusOK}
	soon, forgotten := kit.Call{Kind: "list", Status: http.StatusTooManyRequests}, kit.Call{Kind: "list", Status: http.StatusBadRequest}
	scan := func(loops, asks, limit int) []planned { return []planned{{loops, asks, limit}} }
	for _, c := range []struct {
		name  string
		calls []kit.Call
		scans []planned
		most  bool // one call more of any of them is too many
	}{
		{"nothing", nil, scan(1, 1, 0), false},
		{"three pages", []kit.Call{list(true, 120, 50, 0), list(false, 0, 50, 0), list(false, 0, 50, 0)}, scan(1, 1, 0), true},
		{"a page that ended among equal values", []kit.Call{list(true, 100, 50, 0), list(false, 0, 50, 0), list(false, 0, 50, 1)}, scan(1, 1, 0), true},
		{"a limit", []kit.Call{list(true, 120, 10, 0)}, scan(1, 1, 10), true},
		{"a limit of more than a page", []kit.Call{list(true, 120, 50, 0), list(false, 0, 50, 0)}, scan(1, 1, 60), true},
		{"two searches", []kit.Call{list(true, 20, 50, 0), list(true, 20, 50, 0)}, scan(1, 2, 0), true},
		{"a lookup for each of three rows", []kit.Call{one, one, one}, scan(3, 1, 0), true},
		{"two tables", []kit.Call{list(true, 20, 50, 0), one}, []planned{{1, 1, 0}, {1, 1, 0}}, true},
		{"a call too soon", []kit.Call{soon, list(true, 20, 50, 0)}, scan(1, 1, 0), false},
		{"a cursor that was forgotten", []kit.Call{list(true, 80, 50, 0), forgotten, list(true, 80, 50, 0), list(false, 0, 50, 0)}, scan(1, 1, 0), false},
	} {
		require.Empty(t, excess(c.calls, c.scans), c.name)
		for _, more := range c.calls {
			if c.most && more.More == 0 {
				require.NotEmpty(t, excess(append(slices.Clone(c.calls), more), c.scans), "%s, and %+v", c.name, more)
			}
		}
	}
	require.NotEmpty(t, excess([]kit.Call{list(true, 20, 50, 0), list(true, 20, 50, 0), list(true, 20, 50, 0)}, scan(1, 1, 0)), "three searches in place of one")
	require.NotEmpty(t, excess([]kit.Call{one, one, one}, scan(1, 1, 0)), "a lookup for each row of a scan")
	require.NotEmpty(t, excess([]kit.Call{soon, list(true, 20, 50, 0), list(true, 20, 50, 0)}, scan(1, 1, 0)), "two searches after one that came too soon")
}
