package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// namesCounted is SELECT name, count(*) GROUP BY name.
func namesCounted() *hallwayv1.Aggregation {
	return &hallwayv1.Aggregation{Keys: []uint32{1}, Aggregates: []*hallwayv1.Aggregate{
		{Function: hallwayv1.AggregateFunction_AGGREGATE_FUNCTION_COUNT_ROWS, Type: int8Type}}}
}

// groupsWhenEven makes groups, and calls a comparison with an odd number a superset.
func groupsWhenEven(r pushdown.Request) pushdown.Plan {
	p := exactWhenEven(r)
	p.AggregationExact = r.Aggregation != nil
	return p
}

func TestAggregation_GoesToTheConnectorIfAllIsExact(t *testing.T) {
	var got connectors.Query
	f := &fake{plan: groupsWhenEven, scan: func(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		got = q
		out.String("ada")
		out.Int64(3)
		if err := out.EndRow(); err != nil {
			return connectors.ScanResult{}, err
		}
		out.Null()
		out.Int64(1)
		return connectors.ScanResult{}, out.EndRow()
	}}
	c := start(t, f).client()
	even, odd := int64(2), int64(3)
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, &even)}, Aggregation: namesCounted()})
	require.True(t, p.GetAggregationExact())
	require.False(t, planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, &odd)}, Aggregation: namesCounted()}).GetAggregationExact(),
		"groups of more rows than match")
	require.False(t, planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, &even)}}).GetAggregationExact(),
		"nobody asked")

	scan := func(v int64, change func(*hallwayv1.ScanRequest)) (scanned, error) {
		req := &hallwayv1.ScanRequest{Relation: &hallwayv1.RelationRef{Handle: 1}, Plan: p.GetPlan(), Parameters: []*hallwayv1.Value{int8Value(v)}}
		if change != nil {
			change(req)
		}
		st, err := c.Scan(t.Context(), req)
		return drainScan(t, st, err)
	}
	_, err := scan(4, nil)
	require.NoError(t, err)
	require.Equal(t, &pushdown.Aggregation{Keys: []int{1}, Aggregates: []pushdown.Aggregate{{Function: pushdown.CountRows, Type: got.Aggregation.Aggregates[0].Type}}}, got.Aggregation)
	require.Equal(t, pushdown.Int8, got.Aggregation.Aggregates[0].Type.Kind)

	got = connectors.Query{}
	_, err = scan(3, nil)
	e := wire(t, err)
	require.True(t, e.GetNotAggregated(), "the values do not allow it: %v", e)
	require.Nil(t, got.Aggregation, "the connector was asked nevertheless")
	_, err = scan(3, func(r *hallwayv1.ScanRequest) { r.ExplainOnly = true })
	require.True(t, wire(t, err).GetNotAggregated())

	for name, change := range map[string]func(*hallwayv1.ScanRequest){
		"a limit":  func(r *hallwayv1.ScanRequest) { r.Limit = 1 },
		"a sample": func(r *hallwayv1.ScanRequest) { r.SampleRows = 1 },
		"columns":  func(r *hallwayv1.ScanRequest) { r.Columns = []uint32{0} },
	} {
		_, err := scan(4, change)
		e := wire(t, err)
		assert.Equal(t, stateProtocol, e.GetSqlstate(), name)
		assert.False(t, e.GetNotAggregated(), name)
	}
}

func TestAggregation_RefusalsOfTheConnectorReachTheBackend(t *testing.T) {
	f := &fake{plan: groupsWhenEven, scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		return connectors.ScanResult{}, &connectors.Error{Class: connectors.NotAggregated, Message: "too many groups"}
	}}
	c := start(t, f).client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1), Aggregation: namesCounted()})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: &hallwayv1.RelationRef{Handle: 1}, Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	require.True(t, e.GetNotAggregated())
	require.Equal(t, "too many groups", e.GetMessage())
}

func TestAggregation_IsChecked(t *testing.T) {
	c := start(t, &fake{plan: groupsWhenEven}).client()
	planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	for name, change := range map[string]func(*hallwayv1.PlanRequest){
		"no aggregates":       func(r *hallwayv1.PlanRequest) { r.Aggregation.Aggregates = nil },
		"a key out of range":  func(r *hallwayv1.PlanRequest) { r.Aggregation.Keys = []uint32{2} },
		"an unknown function": func(r *hallwayv1.PlanRequest) { r.Aggregation.Aggregates[0].Function = 99 },
		"no function":         func(r *hallwayv1.PlanRequest) { r.Aggregation.Aggregates[0].Function = 0 },
		"a value out of range": func(r *hallwayv1.PlanRequest) {
			r.Aggregation.Aggregates[0] = &hallwayv1.Aggregate{Function: hallwayv1.AggregateFunction_AGGREGATE_FUNCTION_MAX, Column: 2, Type: int8Type}
		},
		"no type":   func(r *hallwayv1.PlanRequest) { r.Aggregation.Aggregates[0].Type = nil },
		"columns":   func(r *hallwayv1.PlanRequest) { r.Columns = []uint32{0} },
		"a limit":   func(r *hallwayv1.PlanRequest) { r.LimitPossible = true },
		"an order":  func(r *hallwayv1.PlanRequest) { r.Orderings = []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{}}}} },
		"too many":  func(r *hallwayv1.PlanRequest) { r.Aggregation.Aggregates = make([]*hallwayv1.Aggregate, maxColumns+1) },
		"many keys": func(r *hallwayv1.PlanRequest) { r.Aggregation.Keys = make([]uint32, maxColumns+1) },
	} {
		req := &hallwayv1.PlanRequest{Relation: &hallwayv1.RelationRef{Handle: 1}, Aggregation: namesCounted()}
		change(req)
		_, err := c.Plan(t.Context(), req)
		assert.Equal(t, stateProtocol, wire(t, err).GetSqlstate(), name)
	}
}
