package bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// tuple is a row of values as the backend sends them.
func tuple(values ...[]byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		if v == nil {
			out = binary.BigEndian.AppendUint32(out, 0xffffffff)
			continue
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(v)))
		out = append(out, v...)
	}
	return out
}

func insertOne(name string) *hallwayv1.ModifyRequest {
	return &hallwayv1.ModifyRequest{Relation: things(1), Operation: hallwayv1.Operation_OPERATION_INSERT,
		Columns: []uint32{1}, Returning: []uint32{0}, Tuples: tuple([]byte(name)), Rows: 1, IdempotencyKey: "k"}
}

func TestModify_HandsRowsOverAndReturnsWhatTheAPISaid(t *testing.T) {
	var got connectors.Batch
	f := &fake{modify: func(_ context.Context, b *connectors.Batch) error {
		got = *b
		for range b.Rows {
			b.Returning.Int64(99)
			if err := b.Returning.EndRow(); err != nil {
				return err
			}
			b.Results = append(b.Results, connectors.Result{Outcome: connectors.Applied})
		}
		return nil
	}}
	c := start(t, f).client()
	r, err := c.Modify(t.Context(), insertOne("bolt"))
	require.NoError(t, err)
	assert.Equal(t, connectors.Insert, got.Op)
	assert.Equal(t, "k", got.IdempotencyKey)
	assert.Equal(t, []connectors.Row{{Key: []pushdown.Value{}, Values: []pushdown.Value{{V: "bolt"}}}}, got.Rows)
	assert.Equal(t, tuple(int8Value(99).GetBinary()), r.GetTuples())
	assert.Equal(t, hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED, r.GetResults()[0].GetOutcome())

	_, err = c.Modify(t.Context(), &hallwayv1.ModifyRequest{Relation: things(1), Operation: hallwayv1.Operation_OPERATION_UPDATE,
		KeyColumns: []uint32{0}, Columns: []uint32{1}, Rows: 2,
		Tuples: append(tuple(int8Value(1).GetBinary(), []byte("a")), tuple(int8Value(2).GetBinary(), nil)...)})
	require.Error(t, err, "the fake returns columns that nobody wanted")
	assert.Equal(t, []connectors.Row{
		{Key: []pushdown.Value{{V: int64(1)}}, Values: []pushdown.Value{{V: "a"}}},
		{Key: []pushdown.Value{{V: int64(2)}}, Values: []pushdown.Value{{}}},
	}, got.Rows)
}

func TestModify_OneRefusedRowIsTheCallsError(t *testing.T) {
	refusal := &connectors.Error{Class: connectors.UniqueViolation, API: "CRM", Message: "email is taken", Column: "name", HTTPStatus: 400}
	f := &fake{modify: func(_ context.Context, b *connectors.Batch) error {
		for i := range b.Rows {
			switch i {
			case 0:
				b.Results = append(b.Results, connectors.Result{Outcome: connectors.Refused, Err: refusal})
			case 1:
				b.Results = append(b.Results, connectors.Result{Outcome: connectors.NotFound})
			default:
				b.Results = append(b.Results, connectors.Result{Outcome: connectors.Applied})
			}
		}
		return nil
	}}
	c := start(t, f).client()
	_, err := c.Modify(t.Context(), insertOne("x"))
	e := wire(t, err)
	assert.Equal(t, "23505", e.GetSqlstate())
	assert.Equal(t, "[CRM]: email is taken", e.GetMessage())
	assert.Equal(t, "name", e.GetColumnName())
	assert.Equal(t, "things", e.GetTableName())

	r, err := c.Modify(t.Context(), &hallwayv1.ModifyRequest{Relation: things(1), Operation: hallwayv1.Operation_OPERATION_DELETE,
		KeyColumns: []uint32{0}, Rows: 3,
		Tuples: append(append(tuple(int8Value(1).GetBinary()), tuple(int8Value(2).GetBinary())...), tuple(int8Value(3).GetBinary())...)})
	require.NoError(t, err)
	assert.Equal(t, hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED, r.GetResults()[0].GetOutcome())
	assert.Equal(t, "23505", r.GetResults()[0].GetError().GetSqlstate())
	assert.Equal(t, uint32(1), r.GetResults()[0].GetError().GetRow())
	assert.Equal(t, hallwayv1.RowOutcome_ROW_OUTCOME_NOT_FOUND, r.GetResults()[1].GetOutcome())
	assert.Equal(t, hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED, r.GetResults()[2].GetOutcome())
}

func TestModify_InterruptedIsUnknown(t *testing.T) {
	f := &fake{modify: func(ctx context.Context, _ *connectors.Batch) error {
		<-ctx.Done()
		return fmt.Errorf("writing: %w", ctx.Err())
	}}
	c := start(t, f, func(c *Config) { c.MaxWait = 2 * time.Second }).client()
	_, err := c.Modify(t.Context(), insertOne("x"))
	assert.Equal(t, "08007", wire(t, err).GetSqlstate(), "max_wait ended a write whose outcome nobody knows")
}

func TestModify_DryRunSendsNothing(t *testing.T) {
	f := &fake{modify: func(context.Context, *connectors.Batch) error { panic("sent") }}
	req := insertOne("x")
	req.DryRun = true
	r, err := start(t, f).client().Modify(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, []string{"POST /things"}, r.GetRequests())
}

func TestModify_WrongAnswersOfAConnectorSayThatItIsDone(t *testing.T) {
	f := &fake{}
	c := start(t, f).client()
	for name, m := range map[string]func(*connectors.Batch){
		"no results":      func(*connectors.Batch) {},
		"no outcome":      func(b *connectors.Batch) { b.Results = make([]connectors.Result, 1) },
		"no returned row": func(b *connectors.Batch) { b.Results = []connectors.Result{{Outcome: connectors.Applied}} },
	} {
		f.modify = func(_ context.Context, b *connectors.Batch) error { m(b); return nil }
		_, err := c.Modify(t.Context(), insertOne("x"))
		e := wire(t, err)
		assert.Equal(t, "08007", e.GetSqlstate(), name)
		assert.Contains(t, e.GetMessage(), "the API has done the write", name)
	}
}

// Nothing may say of a write that was done that it was not, or that the client
// should try again.
func TestModify_WhatFailsAfterTheWriteIsUnknown(t *testing.T) {
	refuse := func(b *connectors.Batch) error { b.Returning.String("not a number"); return b.Returning.EndRow() }
	for name, modify := range map[string]func(*connectors.Batch) error{
		"conversion": refuse,
		"conversion, typed": func(b *connectors.Batch) error {
			err := refuse(b)
			return &connectors.Error{Class: connectors.LimitExceeded, Message: err.Error(), Err: err}
		},
		"anything once a row is there": func(b *connectors.Batch) error {
			b.Results = []connectors.Result{{Outcome: connectors.Applied}}
			return &connectors.Error{Class: connectors.Unavailable, Message: "gone", RetryAfter: time.Second, Hint: "Run it again."}
		},
	} {
		c := start(t, &fake{modify: func(_ context.Context, b *connectors.Batch) error { return modify(b) }}).client()
		_, err := c.Modify(t.Context(), insertOne("x"))
		e := wire(t, err)
		assert.Equal(t, "08007", e.GetSqlstate(), name)
		assert.Contains(t, e.GetMessage(), "the API has done the write", name)
		assert.Contains(t, e.GetHint(), "Look into the API before", name)
		assert.NotContains(t, e.GetHint(), "Run it again", name)
		assert.Zero(t, e.GetRetryAfterMs(), name)
	}
}

func TestModify_MalformedIsRefusedBeforeTheConnector(t *testing.T) {
	f := &fake{modify: func(context.Context, *connectors.Batch) error { panic("called") }}
	c := start(t, f).client()
	for name, change := range map[string]func(*hallwayv1.ModifyRequest){
		"operation":    func(r *hallwayv1.ModifyRequest) { r.Operation = 9 },
		"no rows":      func(r *hallwayv1.ModifyRequest) { r.Rows = 0 },
		"rows":         func(r *hallwayv1.ModifyRequest) { r.Rows = 2 },
		"key":          func(r *hallwayv1.ModifyRequest) { r.KeyColumns = []uint32{0} },
		"update":       func(r *hallwayv1.ModifyRequest) { r.Operation = hallwayv1.Operation_OPERATION_UPDATE },
		"column":       func(r *hallwayv1.ModifyRequest) { r.Columns = []uint32{8} },
		"column count": func(r *hallwayv1.ModifyRequest) { r.Columns = []uint32{0, 1} },
		"cut":          func(r *hallwayv1.ModifyRequest) { r.Tuples = r.GetTuples()[:4] },
		"more":         func(r *hallwayv1.ModifyRequest) { r.Tuples = append(r.GetTuples(), 0) },
	} {
		req := insertOne("x")
		change(req)
		_, err := c.Modify(t.Context(), req)
		assert.Contains(t, []string{"08P01", "22P03"}, wire(t, err).GetSqlstate(), name)
	}
}
