package bridge

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

func TestAhead(t *testing.T) {
	for _, c := range []struct {
		staged  bool
		n, want int
	}{
		{false, 50, 50}, {true, 50, 500}, {true, 10, 100}, {true, 200, 400}, {true, 501, 501}, {true, 1, 1}, {true, 0, 0}, {true, -1, -1},
	} {
		assert.Equal(t, c.want, ahead(&connectors.Description{Staged: c.staged}, c.n), "%+v", c)
	}
}

// A connector goes on as long as the call has not lasted long, and if its rows may
// be left over.
func TestTurns_End(t *testing.T) {
	for name, c := range map[string]struct {
		stops bool
		began time.Duration // ago
		turn  time.Duration
		want  error
	}{
		"at the beginning": {true, -time.Minute, writeTurn, nil}, // which is however long the machine takes until then
		"after long":       {true, time.Minute, writeTurn, connectors.ErrNotNow},
		"in a long turn":   {true, time.Minute, time.Hour, nil},
		"all at once":      {false, time.Minute, writeTurn, nil},
	} {
		turn := &turns{began: time.Now().Add(-c.began), stops: c.stops, turn: c.turn, pace: &atomic.Int64{}}
		require.NoError(t, turn.ready(t.Context(), 10, 20), "%s: the first request is always sent", name)
		assert.Equal(t, c.want, turn.ready(t.Context(), 20, 30), name)
		assert.Positive(t, turn.pace.Load(), name)
	}
}

// Rows enough for a job, which requests write after all, do so in few calls that the
// backend waits for.
func TestTurnOf(t *testing.T) {
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, c := range []struct {
		ctx      context.Context
		rows     int
		min, max time.Duration
	}{
		{t.Context(), aheadRows, writeTurn, writeTurn},
		{t.Context(), aheadRows + 1, longTurn, longTurn},
		{soon, aheadRows, writeTurn, writeTurn},
		{soon, aheadRows + 1, writeTurn, 2500 * time.Millisecond},
	} {
		got := turnOf(c.ctx, c.rows)
		assert.GreaterOrEqual(t, got, c.min)
		assert.LessOrEqual(t, got, c.max)
	}
}

// What a connector has not come to is told as such; only staged ones are asked to
// wait for their turns.
func TestModify_RowsForAnotherCall(t *testing.T) {
	f := &fake{desc: connectors.Description{Key: []int{0}, Insertable: true, Staged: true, BatchRows: connectors.BatchRows{Insert: 2}}}
	f.modify = func(ctx context.Context, b *connectors.Batch) error {
		b.Results = make([]connectors.Result, len(b.Rows))
		for i := range b.Rows {
			b.Results[i].Outcome = connectors.NotSent
			if i < 2 {
				b.Results[i].Outcome = connectors.Applied
			}
		}
		require.Equal(t, f.desc.Staged, b.Ready != nil)
		if b.Ready != nil {
			require.NoError(t, b.Ready(ctx, 2, 3))
		}
		return nil
	}
	c := start(t, f).client()
	req := insertOne("x")
	req.Returning = nil
	req.Rows, req.Tuples = 3, append(append(tuple([]byte("a")), tuple([]byte("b"))...), tuple([]byte("c"))...)
	for _, f.desc.Staged = range []bool{true, false} {
		r, err := c.Modify(t.Context(), req)
		require.NoError(t, err)
		var got []hallwayv1.RowOutcome
		for _, row := range r.GetResults() {
			got = append(got, row.GetOutcome())
		}
		assert.Equal(t, []hallwayv1.RowOutcome{hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED, hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED, hallwayv1.RowOutcome_ROW_OUTCOME_NOT_SENT}, got)
	}
}

// Rows that are held back before the first request are rows that nobody has sent.
func TestModify_HeldBack(t *testing.T) {
	held := &connectors.Error{Class: connectors.Conflict, Message: "no journal"}
	f := &fake{modify: func(context.Context, *connectors.Batch) error { return &heldError{held} }}
	_, err := start(t, f).client().Modify(t.Context(), insertOne("x"))
	assert.Equal(t, "55000", wire(t, err).GetSqlstate())
	f.modify = func(context.Context, *connectors.Batch) error { return &heldError{context.DeadlineExceeded} }
	_, err = start(t, f).client().Modify(t.Context(), insertOne("x"))
	assert.NotEqual(t, "08007", wire(t, err).GetSqlstate(), "nothing is in doubt")
}
