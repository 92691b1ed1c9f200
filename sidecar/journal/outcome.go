package journal

// Outcomes: what the API said of each row, written in the background and in
// order. One that is lost is found out about, so these commits wait for no disk.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Outcome of a row.
type Outcome struct {
	// State is Applied, Refused or Unknown.
	State string
	// Key as text, if it was not known before; After the row as the API answered
	// it (an image), for undoing.
	Key   []string
	After []byte
	// Created: an upsert has inserted the row.
	Created bool
	// SQLState and Message of a refusal, or why it is not known; no secrets.
	SQLState, Message string
}

// What can become of a row.
const (
	Applied = stateApplied
	Refused = stateRefused
	Unknown = stateUnknown
)

const (
	// linger is how long outcomes wait for others, and for the end of their
	// transaction, so that they cost one commit and not three.
	linger = 5 * time.Millisecond
	// outcomeRows bounds one commit.
	outcomeRows = 10000
	// maxMessage bounds what is kept of an API's refusal, in bytes.
	maxMessage = 1000
	// outcomesKept bounds the rows whose outcome waits while the database cannot
	// be reached. What is forgotten is found out about afterwards.
	outcomesKept = 1000000
)

// End tells what became of the rows, in their order; nil: they were not sent. It
// does not wait. The first call counts.
func (w *Write) End(outcomes []Outcome) {
	if w == nil || w.over {
		return
	}
	w.over = true
	if outcomes == nil {
		outcomes = make([]Outcome, len(w.ids))
		for i := range outcomes {
			outcomes[i] = Outcome{State: stateRefused, Message: "It was not sent."}
		}
	}
	w.n.outcomes.add(w.n, w, outcomes)
}

// outcomes of a database, and hints of transactions that have ended.
type outcomes struct {
	mu      sync.Mutex
	waiting []ending
	rows    int
	hints   []uint64
	running bool
	// hurry is closed by who waits for what is queued.
	hurry  chan struct{}
	failed bool
	// added and written count what was queued and is done; changed is closed when
	// written grows.
	added, written uint64
	changed        chan struct{}
}

// ending is a Write with its outcomes.
type ending struct {
	w    *Write
	list []Outcome
}

func (q *outcomes) add(n *node, w *Write, list []Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rows+len(list) > outcomesKept {
		n.log.Warn("the outcomes of writes are too many to be kept while the database is away: they will be found out about", "rows", len(list))
		n.settledIDs(w.ids)
		return
	}
	q.waiting = append(q.waiting, ending{w, list})
	q.rows += len(list)
	q.added++
	q.start(n)
}

// ended is a hint.
func (q *outcomes) ended(n *node, xid uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hints = append(q.hints, xid)
	q.added++
	q.start(n)
}

func (q *outcomes) start(n *node) {
	if !q.running {
		q.running = n.m.spawn(func() { q.run(n) })
	}
}

// flush waits until what is queued now is written.
func (q *outcomes) flush(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for target := q.added; q.written < target; {
		if q.hurry != nil {
			close(q.hurry)
			q.hurry = nil
		}
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		q.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (q *outcomes) run(n *node) {
	pause := time.Duration(0)
	for {
		q.mu.Lock()
		hurry := make(chan struct{})
		q.hurry = hurry
		wait := max(linger, pause)
		q.mu.Unlock()
		select {
		case <-hurry:
			if pause > 0 {
				sleep(n.ctx, min(pause, 50*time.Millisecond))
			}
		case <-time.After(wait):
		case <-n.ctx.Done():
		}
		q.mu.Lock()
		list, hints := q.take()
		if len(list) == 0 && len(hints) == 0 {
			q.running, q.hurry = false, nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		err := n.writeOutcomes(list, hints)
		if n.ctx.Err() != nil {
			err = nil // there is no more
		}
		q.mu.Lock()
		if err == nil {
			pause, q.failed = 0, false
			q.written += uint64(len(list) + len(hints))
			if q.changed != nil {
				close(q.changed)
				q.changed = nil
			}
			q.mu.Unlock()
			continue
		}
		// They keep their order.
		q.waiting = append(list, q.waiting...)
		q.hints = append(hints, q.hints...)
		for _, e := range list {
			q.rows += len(e.list)
		}
		if !q.failed {
			q.failed = true
			n.log.Warn("the outcomes of writes cannot be journaled; trying again", "error", err.Error())
		}
		q.mu.Unlock()
		pause = min(max(2*pause, 20*time.Millisecond), 5*time.Second)
	}
}

// take is called under q.mu.
func (q *outcomes) take() ([]ending, []uint64) {
	rows, i := 0, 0
	for ; i < len(q.waiting) && (i == 0 || rows+len(q.waiting[i].list) <= outcomeRows); i++ {
		rows += len(q.waiting[i].list)
	}
	list := q.waiting[:i:i]
	q.waiting = q.waiting[i:]
	q.rows -= rows
	var hints []uint64
	if len(q.waiting) == 0 {
		// Only when all that came before them is written.
		hints, q.hints = q.hints, nil
	}
	return list, hints
}

// xactStatus is what PostgreSQL says of an entry's part of its transaction:
// committed, aborted, in progress, or lost. The id of a later transaction is ours,
// so one that is not below it is of another time line.
const xactStatus = `CASE WHEN w.subxid < pg_current_xact_id() THEN coalesce(pg_xact_status(w.subxid), 'lost') ELSE 'lost' END`

// updateOutcomes also ends what needs nothing more, as its transaction has
// committed. The journal may have made up its mind meanwhile, if this sidecar was
// taken for dead; but who has the answer knows better. An entry that was dismissed
// before is another one with it.
const updateOutcomes = `WITH o AS MATERIALIZED (
  SELECT w.id, o.state, o.key, o.after, o.created, o.keep, o.sqlstate, o.message, w.on_rollback = 'compensate' AS undo,
    CASE WHEN o.state = 'applied' AND NOT w.outbox THEN ` + xactStatus + ` WHEN o.state = 'applied' THEN 'committed' END AS status
  FROM unnest($1::int8[], $2::text[], $3::text[], $4::bytea[], $5::bool[], $6::bool[], $7::text[], $8::text[])
    AS o (id, state, key, after, created, keep, sqlstate, message)
  JOIN hallway.write_log w ON w.id = o.id AND w.state IN ('pending', 'unknown', 'refused', 'needs_attention')),
n AS (
  SELECT o.*, CASE WHEN o.state = 'applied' AND o.status = 'aborted' AND NOT o.undo THEN 'orphaned' ELSE o.state END AS becomes,
    (o.state = 'refused' OR o.status = 'committed' OR o.status = 'aborted' AND NOT o.undo) IS TRUE AS over FROM o)
UPDATE hallway.write_log w SET state = n.becomes, key = coalesce(n.key::text[], w.key),
  operation = CASE WHEN w.operation = 'upsert' AND n.created THEN 'insert' ELSE w.operation END,
  sqlstate = n.sqlstate, message = n.message, todo = NULL,
  before = CASE WHEN NOT n.over THEN w.before END,
  after = CASE WHEN n.over OR n.state = 'unknown' THEN NULL ELSE n.after END,
  row_values = CASE WHEN w.outbox AND n.state = 'refused' OR NOT n.over AND n.keep THEN w.row_values END,
  next_attempt = CASE WHEN n.state = 'unknown' THEN clock_timestamp() END,
  unknown_at = CASE WHEN n.state = 'unknown' THEN clock_timestamp() END,
  attempts = CASE WHEN w.outbox THEN w.attempts ELSE 0 END,
  settled_at = CASE WHEN n.over THEN clock_timestamp() END,
  dismissed_at = NULL, dismissed_by = NULL
FROM n WHERE w.id = n.id
RETURNING w.xid::text::int8, w.settled_at IS NOT NULL, w.state, coalesce(n.status = 'aborted', false)`

// writeOutcomes commits outcomes, and does what transactions that have ended ask
// for. Its error means that it is to be called again.
func (n *node) writeOutcomes(list []ending, hints []uint64) error {
	ctx, cancel := context.WithTimeout(n.m.ctx, n.commitTimeout())
	defer cancel()
	open := map[uint64]bool{}
	if len(list) > 0 {
		err := n.updateOutcomes(ctx, list, open)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code[:2] == "22" {
			// What the API said does not fit into the database: without it.
			for _, e := range list {
				for i := range e.list {
					e.list[i].Key, e.list[i].Message = nil, ""
				}
			}
			err = n.updateOutcomes(ctx, list, open)
		}
		if err != nil {
			return err
		}
	}
	// What a hint is about may be settled already.
	var xids []uint64
	for _, xid := range hints {
		if open[xid] || n.hasOpen(xid) {
			xids = append(xids, xid)
		}
	}
	if len(xids) == 0 {
		return nil
	}
	err := n.settle(ctx, xids)
	if isRefusal(err) {
		// The outcomes are written, and others' wait behind these: the next look settles
		// what this could not.
		n.poke()
		return nil
	}
	return err
}

func (n *node) updateOutcomes(ctx context.Context, list []ending, open map[uint64]bool) error {
	var id []int64
	var state []string
	var key, sqlstate, message []*string
	var after [][]byte
	var created, keep []bool
	for _, e := range list {
		unsure := e.w.stmt.Compensate
		for _, o := range e.list {
			unsure = unsure || o.State == stateUnknown
		}
		for i, o := range e.list {
			id, state = append(id, e.w.ids[i]), append(state, o.State)
			key, after = append(key, textArray(o.Key)), append(after, o.After)
			created = append(created, o.Created)
			// The values of all rows of a request may be needed to send it again.
			keep = append(keep, unsure)
			sqlstate, message = append(sqlstate, orNull(o.SQLState)), append(message, orNull(clip(o.Message)))
		}
	}
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return fmt.Errorf("journaling outcomes: %w", err)
	}
	defer release()
	rows, err := conn.Query(ctx, updateOutcomes, id, state, key, after, created, keep, sqlstate, message)
	if err != nil {
		return fmt.Errorf("journaling outcomes: %w", err)
	}
	var xid int64
	var settled, aborted bool
	var now string
	var done []int64
	unknown := false
	undo := map[uint64]bool{}
	_, err = pgx.ForEachRow(rows, []any{&xid, &settled, &now, &aborted}, func() error {
		if settled {
			return nil
		}
		open[uint64(xid)] = true
		unknown = unknown || now == stateUnknown
		if aborted {
			// Its end was told of before its outcome.
			undo[uint64(xid)] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("journaling outcomes: %w", err)
	}
	for _, e := range list {
		done = append(done, e.w.ids...)
		n.over(e.w.stmt.XID, open[e.w.stmt.XID])
	}
	n.note(list)
	n.settledIDs(done)
	for x := range undo {
		n.startUndo(x)
	}
	if unknown {
		n.poke()
	}
	return nil
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
