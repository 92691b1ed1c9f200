package bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func exactWhenEven(r pushdown.Request) pushdown.Plan {
	p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts)), LimitExact: true, Rows: 1, TotalCost: 5}
	for i, e := range r.Conjuncts {
		p.Conjuncts[i].Verdict = pushdown.Exact
		if param, ok := e.(*pushdown.Comparison).Right.(*pushdown.Param); ok && param.Known && param.Value.V.(int64)%2 == 1 {
			p.Conjuncts[i] = pushdown.Conjunct{Verdict: pushdown.Superset, Reason: "odd"}
		}
	}
	for i := range r.Orderings {
		p.ExactOrderings = append(p.ExactOrderings, i)
	}
	return p
}

func TestScan_PlansAgainWithTheValues(t *testing.T) {
	var got connectors.Query
	f := &fake{plan: exactWhenEven, scan: func(_ context.Context, q connectors.Query, _ *rows.Builder) (connectors.ScanResult, error) {
		got = q
		return connectors.ScanResult{}, nil
	}}
	c := start(t, f).client()
	even := int64(2)
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, &even)},
		Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 1, Descending: true}}}}, LimitPossible: true})
	assert.Equal(t, hallwayv1.Verdict_VERDICT_EXACT, p.GetVerdicts()[0].GetVerdict())
	assert.True(t, p.GetLimitExact())

	other := int64(4)
	q := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, &other)},
		Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 1, Descending: true}}}}, LimitPossible: true})
	assert.Equal(t, p.GetPlan(), q.GetPlan(), "a plan holds no values, so that it serves all of its shape")

	scan := func(v int64) scanned {
		st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: &hallwayv1.RelationRef{Handle: 1}, Plan: p.GetPlan(),
			Parameters: []*hallwayv1.Value{int8Value(v)}, Columns: []uint32{1, 0}, Ordering: 1, Limit: 7})
		out, err := drainScan(t, st, err)
		require.NoError(t, err)
		return out
	}
	out := scan(4)
	assert.Empty(t, out.header.GetRecheck())
	assert.Equal(t, "GET /things", out.header.GetRequest())
	assert.Equal(t, uint64(7), got.Limit)
	assert.Equal(t, []int{1, 0}, got.Columns)
	assert.Equal(t, pushdown.Ordering{{Column: 1, Descending: true}}, got.Ordering)
	assert.Equal(t, pushdown.Value{V: int64(4)}, got.Conjuncts[0].(*pushdown.Comparison).Right.(*pushdown.Param).Value,
		"the plan must not remember the value it was made with")

	out = scan(3)
	assert.Equal(t, []uint32{0}, out.header.GetRecheck())
	assert.Zero(t, got.Limit, "a LIMIT went down over an inexact filter: rows would be lost")
}

func TestScan_LimitStaysHereUnlessEveryConjunctIsTheAPIs(t *testing.T) {
	var limit uint64
	f := &fake{plan: exactWhenEven, scan: func(_ context.Context, q connectors.Query, _ *rows.Builder) (connectors.ScanResult, error) {
		limit = q.Limit
		return connectors.ScanResult{}, nil
	}}
	c := start(t, f).client()
	unknown := &hallwayv1.Expr{} // what a newer shim might send
	for name, tc := range map[string]struct {
		conjuncts []*hallwayv1.Expr
		possible  bool
		want      uint64
	}{
		"all exact":         {[]*hallwayv1.Expr{idIs(0, nil)}, true, 3},
		"not possible":      {[]*hallwayv1.Expr{idIs(0, nil)}, false, 0},
		"an unknown filter": {[]*hallwayv1.Expr{idIs(0, nil), unknown}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: tc.conjuncts, LimitPossible: tc.possible})
			st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(),
				Parameters: []*hallwayv1.Value{int8Value(2)}, Limit: 3})
			_, err = drainScan(t, st, err)
			require.NoError(t, err)
			assert.Equal(t, tc.want, limit)
		})
	}
}

func TestPlan_LeavesToPostgreSQLWhatItCannotRead(t *testing.T) {
	f := &fake{plan: func(r pushdown.Request) pushdown.Plan {
		p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
		for i := range p.Conjuncts {
			p.Conjuncts[i].Verdict = pushdown.Exact
		}
		return p
	}}
	c := start(t, f).client()
	deep := column(0)
	for range maxDepth + 1 {
		deep = &hallwayv1.Expr{Node: &hallwayv1.Expr_Not{Not: &hallwayv1.Not{Operand: deep}}}
	}
	newer := &hallwayv1.Expr{Node: &hallwayv1.Expr_Comparison{Comparison: &hallwayv1.Comparison{Operator: 99, Left: column(0), Right: column(0)}}}
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), LimitPossible: true,
		Conjuncts: []*hallwayv1.Expr{deep, idIs(0, nil), newer}})
	var got []hallwayv1.Verdict
	for _, v := range p.GetVerdicts() {
		got = append(got, v.GetVerdict())
	}
	assert.Equal(t, []hallwayv1.Verdict{hallwayv1.Verdict_VERDICT_LOCAL, hallwayv1.Verdict_VERDICT_EXACT, hallwayv1.Verdict_VERDICT_LOCAL}, got)
	assert.Equal(t, "nested more than 200 deep", p.GetVerdicts()[0].GetReason())
	assert.Equal(t, "not known to this version of the sidecar", p.GetVerdicts()[2].GetReason())
}

func TestScan_ArraysOfOtherShapesAreComparedByPostgreSQL(t *testing.T) {
	array := func(dims, lower uint32) *hallwayv1.Value {
		var b []byte
		for _, n := range []uint32{dims, 0, 20} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		for range dims {
			b = binary.BigEndian.AppendUint32(b, 1)
			b = binary.BigEndian.AppendUint32(b, lower)
		}
		if dims > 0 {
			b = binary.BigEndian.AppendUint32(b, 8)
			b = binary.BigEndian.AppendUint64(b, 7)
		}
		return &hallwayv1.Value{Binary: b}
	}
	arrayType := &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_INT8, Array: true, ElementOid: 20}
	param := &hallwayv1.Expr{Node: &hallwayv1.Expr_Parameter{Parameter: &hallwayv1.Parameter{Type: arrayType}}}
	equal := &hallwayv1.Expr{Node: &hallwayv1.Expr_Comparison{Comparison: &hallwayv1.Comparison{
		Operator: hallwayv1.ComparisonOperator_COMPARISON_OPERATOR_EQ, Left: column(0), Right: param}}}
	in := &hallwayv1.Expr{Node: &hallwayv1.Expr_Membership{Membership: &hallwayv1.Membership{Operand: column(0), Array: param}}}
	f := &fake{plan: func(r pushdown.Request) pushdown.Plan {
		p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
		for i := range p.Conjuncts {
			p.Conjuncts[i].Verdict = pushdown.Exact
		}
		return p
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{equal, in}})
	for _, tc := range []struct {
		value *hallwayv1.Value
		want  []uint32
	}{{array(1, 1), nil}, {array(0, 0), nil}, {array(2, 1), []uint32{0}}, {array(1, 0), []uint32{0}}, {&hallwayv1.Value{Null: true}, nil}} {
		st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Parameters: []*hallwayv1.Value{tc.value}})
		out, err := drainScan(t, st, err)
		require.NoError(t, err)
		assert.Equal(t, tc.want, out.header.GetRecheck())
	}
}

func TestScan_StreamsHeaderBatchesFooter(t *testing.T) {
	const n = 100000
	c := start(t, &fake{scan: numbers(n)}).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{1, 0}})
	out, err := drainScan(t, st, err)
	require.NoError(t, err)
	assert.Regexp(t, `^abc-[0-9a-z]+$`, out.header.GetRequestId())
	list := out.rows(t, pushdown.Type{Kind: pushdown.Text}, pushdown.Type{Kind: pushdown.Int8})
	require.Len(t, list, n)
	for i, r := range list {
		if r[1].V != int64(i) || r[0].V != "thing" {
			t.Fatalf("row %d is %v", i, r)
		}
	}
	assert.LessOrEqual(t, len(out.batches[0].GetTuples()), 64<<10, "the first batch is small")
	assert.LessOrEqual(t, len(out.batches[1].GetTuples()), 257<<10)
	assert.Equal(t, uint64(1), out.footer.GetStats().GetCalls())
	assert.InDelta(t, n, out.footer.GetTotalRows(), 0)
	assert.Equal(t, []string{"mind the gap"}, out.footer.GetWarnings())
}

func TestScan_WithoutColumnsCounts(t *testing.T) {
	c := start(t, &fake{scan: numbers(1000)}).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	out, err := drainScan(t, st, err)
	require.NoError(t, err)
	require.Len(t, out.batches, 1)
	assert.Equal(t, uint32(1000), out.batches[0].GetRows())
	assert.Len(t, out.batches[0].GetTuples(), 2000)
}

func TestScan_ExplainCallsNoAPI(t *testing.T) {
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		panic("the API was called")
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), ExplainOnly: true})
	out, err := drainScan(t, st, err)
	require.NoError(t, err)
	assert.Equal(t, "GET /things", out.header.GetRequest())
	assert.Nil(t, out.footer)
}

func TestScan_StalePlansAreRefusedWithAHint(t *testing.T) {
	exactOrder := true
	f := &fake{plan: func(r pushdown.Request) pushdown.Plan {
		p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
		if exactOrder {
			p.ExactOrderings = []int{0}
		}
		return p
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 0}}}}})
	scan := func(rel *hallwayv1.RelationRef, plan []byte) error {
		st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: rel, Plan: plan, Ordering: 1})
		_, err = drainScan(t, st, err)
		return err
	}
	require.NoError(t, scan(things(1), p.GetPlan()))

	other := append([]byte{}, p.GetPlan()...)
	other[0]++
	stale := map[string]error{
		"other columns": scan(things(2, func(r *hallwayv1.Relation) {
			r.Columns[1].Type = int8Type
		}), p.GetPlan()),
		"another version": scan(things(1), other),
	}
	exactOrder = false
	stale["the order is gone"] = scan(things(1), p.GetPlan())
	for name, err := range stale {
		e := wire(t, err)
		assert.Equal(t, "55000", e.GetSqlstate(), name)
		assert.Contains(t, e.GetHint(), "DISCARD PLANS", name)
	}
}

func TestScan_ClientGoneCancelsTheConnector(t *testing.T) {
	ended := make(chan error, 1)
	f := &fake{scan: func(ctx context.Context, _ connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return connectors.ScanResult{}, fmt.Errorf("calling: %w", ctx.Err())
	}}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	ctx, cancel := context.WithCancel(t.Context())
	st, err := c.Scan(ctx, &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err, "the header comes before the first row")
	cancel()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(30 * time.Second):
		t.Fatal("the connector runs on")
	}
	soon(t, "no scan runs", func() bool { return w.srv.Stats().Scans == 0 })
}

func TestScan_DeadlineReachesTheConnector(t *testing.T) {
	f := &fake{scan: func(ctx context.Context, _ connectors.Query, _ *rows.Builder) (connectors.ScanResult, error) {
		<-ctx.Done()
		return connectors.ScanResult{}, ctx.Err()
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	st, err := c.Scan(ctx, &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
}

func TestScan_SlowReaderHoldsTheConnectorBack(t *testing.T) {
	var made atomic.Int64
	f := &fake{scan: func(_ context.Context, _ connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		text := strings.Repeat("x", 1000)
		for range 60000 {
			out.String(text)
			if err := out.EndRow(); err != nil {
				return connectors.ScanResult{}, err
			}
			made.Add(1000)
		}
		return connectors.ScanResult{}, nil
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{1}})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	assert.Less(t, made.Load(), int64(12<<20), "60 MB must not pile up for a reader that waits")
	out, err := drainScan(t, st, nil)
	require.NoError(t, err)
	require.NotNil(t, out.footer)
	assert.Equal(t, int64(60000*1000), made.Load())
}

func TestScan_StopsAtTheLimitEvenIfTheConnectorDoesNot(t *testing.T) {
	f := &fake{plan: exactWhenEven, scan: numbers(10_000_000)}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), LimitPossible: true})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{0}, Limit: 10})
	out, err := drainScan(t, st, err)
	require.NoError(t, err)
	assert.Len(t, out.batches, 1)
	require.NotNil(t, out.footer, "a limit reached is a good end")
}

func TestScan_ConversionErrorNamesTheColumn(t *testing.T) {
	f := &fake{scan: func(_ context.Context, _ connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		out.String("fine")
		out.String("not a number")
		return connectors.ScanResult{}, out.EndRow()
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{1, 0}})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	assert.Equal(t, "HV004", e.GetSqlstate())
	assert.Equal(t, "id", e.GetColumnName())
	assert.Equal(t, "things", e.GetTableName())
	assert.Contains(t, e.GetMessage(), "not a number")
}

func TestMalformedRequests_AreErrorsNotPanics(t *testing.T) {
	w := start(t, &fake{plan: exactWhenEven})
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, nil)}})
	plan := func(req *hallwayv1.PlanRequest) error { _, err := c.Plan(t.Context(), req); return err }
	scan := func(req *hallwayv1.ScanRequest) error {
		st, err := c.Scan(t.Context(), req)
		_, err = drainScan(t, st, err)
		return err
	}
	for name, err := range map[string]error{
		"no relation":      plan(&hallwayv1.PlanRequest{}),
		"a server alone":   plan(&hallwayv1.PlanRequest{Relation: things(2, func(r *hallwayv1.Relation) { r.TableName = "" })}),
		"column index":     plan(&hallwayv1.PlanRequest{Relation: things(1), Columns: []uint32{2}}),
		"huge index":       plan(&hallwayv1.PlanRequest{Relation: things(1), Columns: []uint32{math.MaxUint32}}),
		"expr's column":    plan(&hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{column(9)}}),
		"empty ordering":   plan(&hallwayv1.PlanRequest{Relation: things(1), Orderings: []*hallwayv1.Ordering{{}}}),
		"ordering's key":   plan(&hallwayv1.PlanRequest{Relation: things(1), Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 2}}}}}),
		"empty AND":        plan(&hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{{Node: &hallwayv1.Expr_And{And: &hallwayv1.And{}}}}}),
		"parameter index":  plan(&hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(maxParameters+1, nil)}}),
		"known, no value":  plan(&hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{{Node: &hallwayv1.Expr_Parameter{Parameter: &hallwayv1.Parameter{Type: int8Type, Known: true}}}}}),
		"type's kind":      plan(&hallwayv1.PlanRequest{Relation: things(3, func(r *hallwayv1.Relation) { r.Columns[0].Type = &hallwayv1.Type{Kind: 99} })}),
		"option twice":     plan(&hallwayv1.PlanRequest{Relation: things(3, withUser("a", "1", "a", "2"))}),
		"IN no array":      plan(&hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{{Node: &hallwayv1.Expr_Membership{Membership: &hallwayv1.Membership{Operand: column(0), Array: column(0)}}}}}),
		"no plan":          scan(&hallwayv1.ScanRequest{Relation: things(1)}),
		"cut plan":         scan(&hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()[:12]}),
		"value missing":    scan(&hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()}),
		"ordering unknown": scan(&hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Parameters: []*hallwayv1.Value{int8Value(2)}, Ordering: 1}),
		"scan's column":    scan(&hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Parameters: []*hallwayv1.Value{int8Value(2)}, Columns: []uint32{5}}),
	} {
		assert.Equal(t, "08P01", wire(t, err).GetSqlstate(), name)
	}
	short := scan(&hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Parameters: []*hallwayv1.Value{{Binary: []byte{1}}}})
	assert.Equal(t, "22P03", wire(t, short).GetSqlstate())
	assert.Zero(t, w.srv.Stats().Panics)
}

func TestConnectorsWrongAnswers_AreInternalErrors(t *testing.T) {
	var answer pushdown.Plan
	f := &fake{plan: func(pushdown.Request) pushdown.Plan { return answer }}
	c := start(t, f).client()
	for _, answer = range []pushdown.Plan{{}, {Conjuncts: make([]pushdown.Conjunct, 1), ExactOrderings: []int{0}}, {Conjuncts: make([]pushdown.Conjunct, 1), ExactOrderings: []int{-1}}} {
		_, err := c.Plan(t.Context(), &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, nil)}})
		assert.Equal(t, "XX000", wire(t, err).GetSqlstate())
	}
}
