package bridge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func TestHandshake_MismatchSaysWhichSideToUpgrade(t *testing.T) {
	c := start(t, &fake{}).connect()
	for major, side := range map[uint32]string{0: "Upgrade the extension", ProtocolMajor + 1: "Upgrade the sidecar"} {
		_, err := c.Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: major}, ShimVersion: "9.9"})
		assert.Equal(t, codes.FailedPrecondition, status.Code(err))
		e := wire(t, err)
		assert.Equal(t, "08004", e.GetSqlstate())
		assert.Contains(t, e.GetHint(), side)
		assert.Equal(t, "Extension 9.9, sidecar 1.2.3.", e.GetDetail())
	}
	r, err := c.Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: ProtocolMajor, Minor: 99}})
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", r.GetSidecarVersion())
	assert.Equal(t, "abc", r.GetInstanceId())
}

func TestHandshake_MustComeFirst(t *testing.T) {
	c := start(t, &fake{}).connect()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "08P01", wire(t, err).GetSqlstate())
}

func TestHandle_IsKnownOnItsConnectionAlone(t *testing.T) {
	w := start(t, &fake{})
	a, b := w.client(), w.client()
	byHandle := &hallwayv1.RelationRef{Handle: 5}

	_, err := a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	assert.Equal(t, codes.FailedPrecondition, status.Code(err))
	assert.True(t, wire(t, err).GetUnknownHandle())

	_, err = a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(5)})
	require.NoError(t, err)
	_, err = a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	require.NoError(t, err)
	_, err = b.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	assert.True(t, wire(t, err).GetUnknownHandle())
}

func TestHandle_TooManyAreForgottenNotKept(t *testing.T) {
	c := &conn{relations: map[uint64]*relation{}}
	for h := range uint64(maxRelations + 10) {
		_, err := c.relation(things(h + 1))
		require.NoError(t, err)
	}
	assert.Len(t, c.relations, maxRelations)
}

func TestDescribe_TellsWhatTheConnectorSays(t *testing.T) {
	f := &fake{desc: connectors.Description{Key: []int{0}, Insertable: true, Updatable: true, ReadOnlyReason: "no delete",
		ReadOnlyColumns: []int{0}, Lookups: []connectors.Lookup{{Columns: []int{0}, Unique: true}}, Rows: math.Inf(1)}}
	c := start(t, f).client()
	d, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err)
	assert.Equal(t, []uint32{0}, d.GetKeyColumns())
	assert.Equal(t, []bool{true, true, false}, []bool{d.GetInsertable(), d.GetUpdatable(), d.GetDeletable()})
	assert.Equal(t, "no delete", d.GetReadOnlyReason())
	assert.True(t, d.GetLookupKeys()[0].GetUnique())
	assert.Zero(t, d.GetRows(), "an infinite estimate is none")

	f.desc.Key = []int{7}
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "XX000", wire(t, err).GetSqlstate())
}

// exactWhenEven is a connector whose verdict depends on the value.
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

// '{{1,2}}' = '{1,2}' is false, and a list of elements cannot tell.
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

	exactOrder = false
	other := append([]byte{}, p.GetPlan()...)
	other[0]++
	for name, err := range map[string]error{
		"the order is gone": scan(things(1), p.GetPlan()),
		"other columns": scan(things(2, func(r *hallwayv1.Relation) {
			r.Columns[1].Type = int8Type
		}), p.GetPlan()),
		"another version": scan(things(1), other),
	} {
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
	began := time.Now()
	cancel()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
		assert.Less(t, time.Since(began), 100*time.Millisecond)
	case <-time.After(5 * time.Second):
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
		for range 200000 {
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
	assert.Less(t, made.Load(), int64(12<<20), "200 MB must not pile up for a reader that waits")
	out, err := drainScan(t, st, nil)
	require.NoError(t, err)
	require.NotNil(t, out.footer)
	assert.Equal(t, int64(200000*1000), made.Load())
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

func TestPanic_IsThatOneCallsError(t *testing.T) {
	f := &fake{
		scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
			panic("scan broke")
		},
		modify: func(context.Context, *connectors.Batch) error { panic("write broke") },
	}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	assert.Equal(t, "XX000", e.GetSqlstate())
	assert.NotContains(t, e.GetMessage()+e.GetDetail()+e.GetHint(), "scan broke", "a panic's text is for the log")
	assert.Contains(t, w.log.String(), "scan broke")
	assert.Contains(t, w.log.String(), "fake_test.go", "the stack is logged")
	assert.Contains(t, w.log.String(), "request_id="+e.GetRequestId())

	_, err = c.Modify(t.Context(), insertOne("x"))
	assert.Equal(t, "08007", wire(t, err).GetSqlstate(), "what the API did before the panic is not known")
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err, "the sidecar lives")
	assert.Equal(t, uint64(2), w.srv.Stats().Panics)
}

func TestErrors_EachClassHasItsSQLSTATE(t *testing.T) {
	for class := connectors.Internal; class <= connectors.InvalidOptionValue; class++ {
		c, ok := classes[class]
		require.True(t, ok, "class %d", class)
		assert.Len(t, c.sqlstate, 5)
		assert.NotEqual(t, codes.OK, c.code)
	}
	assert.Len(t, classes, int(connectors.InvalidOptionValue)+1, "a class was added without a test")
	want := map[connectors.Class]string{
		connectors.CheckViolation: "23514", connectors.NotNullViolation: "23502", connectors.UniqueViolation: "23505",
		connectors.ForeignKeyViolation: "23503", connectors.TooLong: "22001", connectors.Unauthenticated: "28000",
		connectors.PermissionDenied: "42501", connectors.Locked: "55P03", connectors.Conflict: "55000",
		connectors.RateLimited: "53400", connectors.Unavailable: "08006", connectors.UnknownOutcome: "08007",
		connectors.NotSupported: "0A000", connectors.DeadlineExceeded: "57014", connectors.Protocol: "HV000",
		connectors.InvalidOption: "HV00D", connectors.InvalidOptionValue: "HV024",
	}
	for class, state := range want {
		assert.Equal(t, state, classes[class].sqlstate, "class %d", class)
	}
}

func TestErrors_CarryWhatTheUserNeeds(t *testing.T) {
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		return connectors.ScanResult{}, fmt.Errorf("page 3: %w", &connectors.Error{Class: connectors.RateLimited, API: "CRM",
			Message: "the API's rate limit is reached", Detail: "d", Hint: "h.", Column: "name", HTTPStatus: 429,
			RetryAfter: 9500 * time.Millisecond, Err: errors.New("cause for the log")})
	}}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	assert.Equal(t, "[CRM]: the API's rate limit is reached", e.GetMessage())
	assert.Equal(t, "d", e.GetDetail())
	assert.Equal(t, "Try again in 10 seconds. h.", e.GetHint())
	assert.Equal(t, uint64(9500), e.GetRetryAfterMs())
	assert.Equal(t, uint32(429), e.GetHttpStatus())
	assert.Equal(t, "name", e.GetColumnName())
	soon(t, "the log has the cause", func() bool {
		return strings.Contains(w.log.String(), "cause for the log") && strings.Contains(w.log.String(), "request_id="+e.GetRequestId())
	})
}

func TestErrors_UntypedOnesStayInTheLog(t *testing.T) {
	f := &fake{table: func(connectors.TableSpec) error { return errors.New("token=hunter2 was wrong") }}
	w := start(t, f)
	_, err := w.client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	e := wire(t, err)
	assert.Equal(t, "XX000", e.GetSqlstate())
	assert.NotContains(t, err.Error()+e.String(), "hunter2")
}

// secretMap is a store.
type secretMap map[string]map[string]string

func (m secretMap) Lookup(name string) (map[string]string, error) {
	if v, ok := m[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("secret %q is not in the sidecar's secret store", name)
}

func withUser(opts ...string) func(*hallwayv1.Relation) {
	return func(r *hallwayv1.Relation) {
		for i := 0; i < len(opts); i += 2 {
			r.UserOptions = append(r.UserOptions, &hallwayv1.Option{Name: opts[i], Value: opts[i+1]})
		}
	}
}

func TestSecrets_ReachTheConnectorAndNothingElse(t *testing.T) {
	var got []map[string]string
	f := &fake{open: func(s connectors.ServerSpec) error {
		got = append(got, s.Credential)
		return &connectors.Error{Class: connectors.Unauthenticated, Message: "no"}
	}}
	w := start(t, f, func(c *Config) {
		c.Secrets = secretMap{"prod": {"": "s3cr3t-bare"}, "full": {"token": "s3cr3t-token", "user": "u"}}
	})
	c := w.client()
	var texts []string
	for i, opts := range [][]string{
		{"secret", "prod"}, {"secret", "full"}, {"secret", "full", "token", "s3cr3t-own"}, {"token", "s3cr3t-inline"}, {"secret", "nope"},
	} {
		_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(uint64(i+1), withUser(opts...))})
		e := wire(t, err)
		texts = append(texts, err.Error()+e.String())
		if i < 4 {
			assert.Equal(t, "28000", e.GetSqlstate())
		} else {
			assert.Equal(t, "HV024", e.GetSqlstate())
			assert.Equal(t, `secret "nope" is not in the sidecar's secret store`, e.GetMessage())
		}
	}
	assert.Equal(t, []map[string]string{{"token": "s3cr3t-bare"}, {"token": "s3cr3t-token", "user": "u"},
		{"token": "s3cr3t-own", "user": "u"}, {"token": "s3cr3t-inline"}}, got)
	assert.NotContains(t, w.log.String()+strings.Join(texts, ""), "s3cr3t")
	assert.Contains(t, w.log.String(), "call failed")
}

func TestSources_AreSharedByCredentialAndClosedWhenIdle(t *testing.T) {
	f := &fake{}
	w := start(t, f, func(c *Config) { c.SourceIdle = 50 * time.Millisecond })
	var wg sync.WaitGroup
	for i := range 20 {
		c := w.client()
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1, withUser("token", fmt.Sprint("t", i%2)))})
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	opened, _, _ := f.count()
	assert.Equal(t, 2, opened, "one for each credential")
	soon(t, "idle sources are closed", func() bool {
		_, closed, _ := f.count()
		return closed == 2 && w.srv.Stats().Sources == 0
	})
	c := w.client()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err, "and opened again")
}

func TestSources_InUseAreNotClosed(t *testing.T) {
	hold := make(chan struct{})
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		<-hold
		return connectors.ScanResult{}, nil
	}}
	w := start(t, f, func(c *Config) { c.SourceIdle = 20 * time.Millisecond })
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	opened, closed, _ := f.count()
	assert.Equal(t, opened-1, closed, "the scan's source was closed under it")
	close(hold)
	_, err = drainScan(t, st, nil)
	require.NoError(t, err)
}

func TestSources_ResetOpensAnewAndDisturbsNobody(t *testing.T) {
	hold := make(chan struct{})
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		<-hold
		return connectors.ScanResult{}, nil
	}}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	w.srv.Reset()
	_, closed, _ := f.count()
	assert.Zero(t, closed, "a scan uses it")
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: &hallwayv1.RelationRef{Handle: 1}})
	require.NoError(t, err)
	opened, _, tables := f.count()
	assert.Equal(t, [2]int{2, 2}, [2]int{opened, tables})
	close(hold)
	_, err = drainScan(t, st, nil)
	require.NoError(t, err)
	soon(t, "its last user closes it", func() bool { _, closed, _ := f.count(); return closed == 1 })
	w.srv.Reset()
	soon(t, "and an idle one is closed at once", func() bool { _, closed, _ := f.count(); return closed == 2 })
}

func TestErrors_HugeAndBrokenTextsFitTheWire(t *testing.T) {
	long := strings.Repeat("é\x00\xff", 1<<20)
	f := &fake{table: func(connectors.TableSpec) error {
		return &connectors.Error{Class: connectors.Protocol, API: "A", Message: long, Detail: long, Hint: long, Column: long}
	}}
	_, err := start(t, f).client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	e := wire(t, err)
	assert.Equal(t, "HV000", e.GetSqlstate())
	assert.LessOrEqual(t, len(e.GetMessage()), maxMessage)
	assert.True(t, strings.HasSuffix(e.GetDetail(), "..."))
	assert.NotContains(t, e.GetMessage(), "\x00")
}

func TestSources_FailureToOpenIsTriedAgain(t *testing.T) {
	fail := true
	f := &fake{open: func(connectors.ServerSpec) error {
		if fail {
			return &connectors.Error{Class: connectors.InvalidOption, Message: "bad"}
		}
		return nil
	}}
	c := start(t, f).client()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "HV00D", wire(t, err).GetSqlstate())
	fail = false
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err)
}

func TestConnector_UnknownOneListsThoseThereAre(t *testing.T) {
	_, err := start(t, &fake{}).client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1, func(r *hallwayv1.Relation) {
		r.ServerOptions[0].Value = "hubspot"
	})})
	e := wire(t, err)
	assert.Equal(t, "HV024", e.GetSqlstate())
	assert.Contains(t, e.GetHint(), "fake")
}

func TestImport_HonoursLimitToAndExcept(t *testing.T) {
	f := &fake{imp: func(r connectors.ImportRequest) ([]connectors.ImportedTable, error) {
		if r.RemoteSchema != "crm" {
			return nil, &connectors.Error{Class: connectors.InvalidSchema, Message: "no", Hint: "Schemas: crm."}
		}
		col := []connectors.ImportedColumn{{Name: "id", Type: "text", NotNull: true, Options: map[string]string{"b": "2", "a": "1"}}}
		return []connectors.ImportedTable{{Name: "a", Columns: col}, {Name: "b", Columns: col}}, nil
	}}
	c := start(t, f).client()
	server := things(1, func(r *hallwayv1.Relation) { r.TableName, r.SchemaName, r.Columns = "", "", nil })
	names := func(req *hallwayv1.ImportSchemaRequest) (out []string) {
		req.Relation, req.RemoteSchema = server, "crm"
		resp, err := c.ImportSchema(t.Context(), req)
		require.NoError(t, err)
		for _, table := range resp.GetTables() {
			out = append(out, table.GetName())
			assert.Equal(t, "a", table.GetColumns()[0].GetOptions()[0].GetName(), "options have a stable order")
		}
		return out
	}
	assert.Equal(t, []string{"a", "b"}, names(&hallwayv1.ImportSchemaRequest{}))
	assert.Equal(t, []string{"b"}, names(&hallwayv1.ImportSchemaRequest{LimitTo: true, Tables: []string{"b", "z"}}))
	assert.Equal(t, []string{"a"}, names(&hallwayv1.ImportSchemaRequest{Except: true, Tables: []string{"b"}}))
	_, err := c.ImportSchema(t.Context(), &hallwayv1.ImportSchemaRequest{Relation: server, RemoteSchema: "x"})
	assert.Equal(t, "HV00Q", wire(t, err).GetSqlstate())
}

func TestEndTransaction_CountsAndWarnsOfRollbacks(t *testing.T) {
	w := start(t, &fake{})
	c := w.client()
	tx := &hallwayv1.Transaction{Xid: 42, Subxid: 43}
	for _, end := range []hallwayv1.TransactionEnd{hallwayv1.TransactionEnd_TRANSACTION_END_COMMIT, hallwayv1.TransactionEnd_TRANSACTION_END_ABORT} {
		_, err := c.EndTransaction(t.Context(), &hallwayv1.EndTransactionRequest{Transaction: tx, End: end})
		require.NoError(t, err)
	}
	st := w.srv.Stats()
	assert.Equal(t, [2]uint64{1, 1}, [2]uint64{st.Committed, st.Aborted})
	assert.Regexp(t, `level=WARN .*TRANSACTION_END_ABORT xid=42 subxid=43 .*backend_pid=77 database=shop`, w.log.String())
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

func TestPeer_OtherUsersAreToldSo(t *testing.T) {
	w := start(t, &fake{})
	// The check itself: the kernel's word is in the AuthInfo.
	c := peerCredentials{allowed: func(uint32) bool { return false }}
	l, err := net.Listen("unix", w.path+"2")
	require.NoError(t, err)
	defer l.Close()
	cfg := Config{Registry: connectors.NewRegistry(&fake{}), Instance: "x", Env: w.srv.cfg.Env}
	srv := New(cfg)
	defer srv.Close()
	gs := NewGRPC(srv, c, nil)
	go func() { _ = gs.Serve(l) }()
	defer gs.Stop()
	cc, err := grpc.NewClient("unix:"+w.path+"2", grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer cc.Close()
	_, err = hallwayv1.NewBridgeClient(cc).Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: 1}})
	e := wire(t, err)
	assert.Equal(t, "28000", e.GetSqlstate())
	assert.Contains(t, e.GetMessage(), fmt.Sprintf("user %d", os.Geteuid()))
	_, err = healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{})
	assert.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestHealth_ServesAndWaitIdleReturns(t *testing.T) {
	w := start(t, &fake{})
	cc, err := grpc.NewClient("unix:"+w.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer cc.Close()
	r, err := healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "hallway.v1.Bridge"})
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, r.GetStatus())
	require.NoError(t, w.srv.WaitIdle(t.Context()))
}

func TestManyBackends_AtOnce(t *testing.T) {
	const backends, n = 200, 2000
	w := start(t, &fake{scan: numbers(n)})
	var wg sync.WaitGroup
	for range backends {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := w.client()
			p, err := c.Plan(t.Context(), &hallwayv1.PlanRequest{Relation: things(1)})
			if !assert.NoError(t, err) {
				return
			}
			st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{0}})
			out, err := drainScan(t, st, err)
			if assert.NoError(t, err) {
				assert.Len(t, out.rows(t, pushdown.Type{Kind: pushdown.Int8}), n)
			}
		}()
	}
	wg.Wait()
}
