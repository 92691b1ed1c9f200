// A Modify of several requests to the API: the intents of the next one's rows are
// committed while one is under way, and a call that takes long is cut short.

package bridge

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/journal"
)

const (
	// aheadRows is how many rows the backend sends at once, for an API that takes
	// fewer by a request; aheadCalls bounds the requests that this makes.
	aheadRows  = 500
	aheadCalls = 10
	// stageRows is how many intents at least are committed ahead, if there are as
	// many and their rows are likely to have their turn.
	stageRows = 50
	// writeTurn is how long a Modify goes on to further requests. What it has not
	// come to is sent again: the backend's bound on waiting is meant for one request.
	writeTurn = 250 * time.Millisecond
	// longTurn is that of a Modify that has rows enough for a job of the API, and that
	// requests write after all: there would be too many calls. It is as much as a quarter
	// of what the backend waits.
	longTurn = 5 * time.Second
)

// turnOf is how long a Modify may go on to further requests.
func turnOf(ctx context.Context, rows int) time.Duration {
	if rows <= aheadRows {
		return writeTurn
	}
	turn := longTurn
	if end, ok := ctx.Deadline(); ok {
		turn = min(turn, time.Until(end)/4)
	}
	return max(turn, writeTurn)
}

// ahead is how many rows a Modify best has, if a request to the API has n.
func ahead(d *connectors.Description, n int) int {
	if !d.Staged || n <= 1 {
		return n
	}
	return n * max(1, min(aheadCalls, aheadRows/n))
}

// requestRows is how many rows the API takes by a request.
func requestRows(d *connectors.Description, op connectors.Operation) int {
	return rowsOf(d.BatchRows, op)
}

// rowsOf is those of an operation.
func rowsOf(n connectors.BatchRows, op connectors.Operation) int {
	switch op {
	case connectors.Insert:
		return n.Insert
	case connectors.Update:
		return n.Update
	case connectors.Delete:
		return n.Delete
	default:
		return n.Upsert
	}
}

// turns are the requests of a part, one after the other.
type turns struct {
	w     *journaled // nil: not journaled
	began time.Time
	// stops: rows may be left for another call, after a turn.
	stops bool
	turn  time.Duration
	// sent are the rows that were let through, since then the last of them.
	sent, before int
	since        time.Time
	// pace is how long a row takes, in nanoseconds; 0: not known.
	pace *atomic.Int64
}

// takeTurns journals a part's rows, and sees to it that those of further requests
// are when their turn comes.
func (s *Server) takeTurns(ctx context.Context, b *bound, j *journaling, p *part) (*journaled, error) {
	first := len(p.batch.Rows)
	if first > 1 {
		d := b.table.Describe()
		switch {
		case p.batch.Jobs && rowsOf(d.Jobs, p.batch.Op) > 0:
			first = 0 // which job has them is to be journaled with them
		case d.Staged:
			first = min(first, max(1, requestRows(&d, p.batch.Op)))
		}
	}
	began := time.Now()
	w, err := j.begin(ctx, p.batch, p.at, p.before, first)
	if err == nil && first < len(p.batch.Rows) {
		t := &turns{w: w, began: began, stops: p.stops, turn: turnOf(ctx, len(p.batch.Rows)), pace: &b.rel.pace}
		p.batch.Ready = t.ready
	}
	return w, err
}

// heldError is why rows were not let through.
type heldError struct{ err error }

func (e *heldError) Error() string { return e.err.Error() }
func (e *heldError) Unwrap() error { return e.err }

// ready is connectors.Batch.Ready.
func (t *turns) ready(ctx context.Context, end, next int) error {
	now := time.Now()
	if n := t.sent - t.before; n > 0 {
		t.pace.Store(int64(now.Sub(t.since)) / int64(n))
	}
	if end > t.w.begun() && t.sent > 0 && t.stops && now.Sub(t.began) >= t.turn {
		return connectors.ErrNotNow
	}
	if t.w != nil {
		t.w.stage(ctx, end)
		if many := t.w.begun() + stageRows; t.w.begun() < next && t.reaches(now, many) {
			t.w.stage(ctx, many)
		} else if t.reaches(now, next) {
			t.w.stage(ctx, next)
		}
		if err := t.w.await(end); err != nil {
			return &heldError{err}
		}
	}
	t.before, t.sent, t.since = t.sent, end, time.Now()
	return nil
}

// reaches reports whether the rows before end will have their turn in this call.
func (t *turns) reaches(now time.Time, end int) bool {
	if !t.stops {
		return true
	}
	pace := t.pace.Load()
	return pace > 0 && now.Sub(t.began)+time.Duration(pace*int64(end-t.sent)) < t.turn
}

// stage is intents that are committed together: those of the rows from first up to
// end.
type stage struct {
	first, end int
	done       chan struct{}
	// write and err are there when done is closed.
	write *journal.Write
	err   error
}

// finish tells the outcomes of the stage's rows.
func (st *stage) finish(list []journal.Outcome) {
	if st.err == nil {
		st.write.End(list)
	}
}

// begun is how many rows are journaled, or are being.
func (w *journaled) begun() int {
	if w == nil || len(w.stages) == 0 {
		return 0
	}
	return w.stages[len(w.stages)-1].end
}

// stage journals the rows before end that are not yet.
func (w *journaled) stage(ctx context.Context, end int) {
	first := w.begun()
	if end <= first {
		return
	}
	st := &stage{first: first, end: min(end, len(w.batch.Rows)), done: make(chan struct{})}
	w.stages = append(w.stages, st)
	commit := func() {
		defer close(st.done)
		defer func() {
			if p := recover(); p != nil {
				st.err = &connectors.Error{Class: connectors.Internal, Message: "the rows cannot be journaled"}
				w.j.s.log.Error("recovered a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		}()
		st.write, st.err = w.commit(ctx, st.first, st.end)
	}
	if first == 0 && st.end == len(w.batch.Rows) {
		commit() // it will be waited for
		return
	}
	go commit()
}

// await returns when the rows before end are journaled, so that they may be sent.
func (w *journaled) await(end int) error {
	for _, st := range w.stages {
		if st.first >= end {
			break
		}
		<-st.done
		if st.err != nil {
			return st.err
		}
	}
	w.sent = end
	return nil
}
