package journal

// What the end of a transaction means for what it wrote.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// settleEntries asks PostgreSQL for the parts of transactions that have open
// entries ($4: of these transactions; NULL: all), and ends what they ended. What
// is to be undone stays: see undo.go. $5: rows that somebody has locked are waited for;
// else the others are settled.
const settleEntries = `WITH x AS MATERIALIZED (
  SELECT w.subxid, ` + xactStatus + ` AS status
  FROM (SELECT DISTINCT w.subxid FROM hallway.write_log w
        WHERE w.settled_at IS NULL AND (w.state = 'applied' OR w.state = 'queued' AND w.next_attempt IS NULL)
          AND ($4::text[] IS NULL OR w.xid = ANY ($4::text[]::xid8[])) AND ` + mine + `) w),
free AS MATERIALIZED (
  SELECT w.id FROM hallway.write_log w
  WHERE NOT $5::bool AND w.settled_at IS NULL AND w.subxid IN (SELECT x.subxid FROM x WHERE x.status <> 'in progress') AND w.state IN ('applied', 'queued')
  FOR UPDATE SKIP LOCKED),
dropped AS (
  DELETE FROM hallway.write_log w USING x
  WHERE w.subxid = x.subxid AND x.status = 'aborted' AND w.settled_at IS NULL AND w.state = 'queued' AND w.next_attempt IS NULL AND ` + mine + `
    AND ($5::bool OR w.id IN (SELECT id FROM free))),
settled AS (
  UPDATE hallway.write_log w SET
    state = CASE WHEN x.status = 'lost' THEN 'needs_attention' WHEN x.status = 'aborted' THEN 'orphaned' ELSE w.state END,
    todo = CASE WHEN x.status = 'lost' THEN 'Whether its transaction has committed is not known any more. '
      || CASE w.state WHEN 'queued' THEN 'It was not sent.' ELSE 'The API has done it.' END END,
    next_attempt = CASE WHEN w.state = 'queued' AND x.status = 'committed' THEN clock_timestamp() END,
    before = CASE WHEN x.status = 'lost' THEN w.before END,
    after = CASE WHEN x.status = 'lost' THEN w.after END,
    row_values = CASE WHEN x.status = 'lost' OR w.state = 'queued' THEN w.row_values END,
    settled_at = CASE WHEN w.state = 'applied' AND x.status <> 'lost' THEN clock_timestamp() END
  FROM x
  WHERE w.subxid = x.subxid AND w.settled_at IS NULL AND ` + mine + ` AND ($5::bool OR w.id IN (SELECT id FROM free))
    AND (x.status IN ('committed', 'lost') AND (w.state = 'applied' OR w.state = 'queued' AND w.next_attempt IS NULL)
      OR x.status = 'aborted' AND w.state = 'applied' AND w.on_rollback = 'keep')
  RETURNING w.state)
SELECT coalesce(bool_or(state = 'queued'), false) FROM settled`

// lockNotAvailable is PostgreSQL's code for a lock that was waited for in vain.
const lockNotAvailable = "55P03"

// settle ends what transactions that have ended left open: those of xids, or all
// if that is nil.
func (n *node) settle(ctx context.Context, xids []uint64) error {
	var list []string
	begun := map[uint64]int{}
	for _, x := range xids {
		list = append(list, fmt.Sprint(x))
		begun[x] = n.begun(x)
	}
	var queued bool
	err := n.query(ctx, settleEntries, n.mine(list, true), &queued)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == lockNotAvailable {
		// Whoever has it may keep it for long: what is not theirs does not wait.
		err = n.query(ctx, settleEntries, n.mine(list, false), &queued)
	}
	if err != nil {
		return err
	}
	if queued {
		n.poke()
		n.mu.Lock()
		lead := n.lead
		n.mu.Unlock()
		if !lead {
			if _, err := n.exec(ctx, `SELECT pg_notify('hallway_journal', '')`); err != nil {
				return err
			}
		}
	}
	if xids == nil {
		return nil
	}
	var open []int64
	if err := n.query(ctx, `SELECT coalesce(array_agg(DISTINCT w.xid::text::int8), '{}') FROM hallway.write_log w
WHERE w.settled_at IS NULL AND w.xid = ANY ($1::text[]::xid8[]) AND NOT (w.state = 'queued' AND w.next_attempt IS NOT NULL)`, []any{list}, &open); err != nil {
		return err
	}
	still := map[uint64]bool{}
	for _, x := range open {
		still[uint64(x)] = true
	}
	for _, x := range xids {
		if !still[x] {
			n.closed(x, begun[x])
			continue
		}
		n.mu.Lock()
		undo := n.tracks[x] != nil && n.tracks[x].compensate
		n.mu.Unlock()
		if undo {
			n.startUndo(x)
		}
	}
	return nil
}

// Session is a backend's connection to the sidecar: its writes wait until what
// its rolled back transactions wrote has been undone. The zero Session is ready;
// a nil one never waits.
type Session struct {
	mu sync.Mutex
	// open parts of transactions, and their transactions, whose rows may have to
	// be undone.
	open map[uint64]uint64
	// adopted: what the backend wrote by a sidecar before this one is in it.
	adopted bool
}

func (s *Session) wrote(stmt *Statement) {
	if s == nil || !stmt.Compensate {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[uint64]uint64{}
	}
	s.open[stmt.SubXID] = stmt.XID
}

// openParts are parts of transactions, each with its transaction.
type openParts struct{ subxids, xids []string }

// before are those that this one may come after.
func (s *Session) before(current uint64) (list openParts) {
	if s == nil {
		return list
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub, xid := range s.open {
		if sub != current {
			list.subxids, list.xids = append(list.subxids, strconv.FormatUint(sub, 10)), append(list.xids, strconv.FormatUint(xid, 10))
		}
	}
	return list
}

// Adopt makes what a backend has written by another sidecar, and may have to be
// undone, the session's. It is to be called before a write that is undone when its
// transaction is rolled back.
func (m *Manager) Adopt(ctx context.Context, id database.Identity, at database.Address, s *Session, pid int32) error {
	s.mu.Lock()
	adopted := s.adopted
	s.mu.Unlock()
	n := m.node(id, at)
	if adopted || n == nil {
		return nil
	}
	var subxids, xids []int64
	conn, err := n.reached(ctx)
	if err != nil {
		return refusal(err)
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, `SELECT coalesce(array_agg(subxid::text::int8), '{}'), coalesce(array_agg(xid::text::int8), '{}') FROM (
  SELECT DISTINCT w.subxid, w.xid FROM hallway.write_log w
  WHERE w.settled_at IS NULL AND w.on_rollback = 'compensate' AND w.state IN ('pending', 'unknown', 'applied', 'compensating')
    AND w.backend_pid = $4 AND `+mine+`) o`, n.mine(pid)...).Scan(&subxids, &xids)
	if err != nil {
		return refusal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[uint64]uint64{}
	}
	for i, sub := range subxids {
		s.open[uint64(sub)] = uint64(xids[i])
	}
	s.adopted = true
	return nil
}

// Undone waits until nothing is to be undone of what the session has written and
// rolled back: before its next write, and before it reads what that is made of.
// current is the part of its transaction that is running, 0 if that is not known.
// The error says that the time was over.
func (m *Manager) Undone(ctx context.Context, id database.Identity, at database.Address, s *Session, current uint64) error {
	list := s.before(current)
	if len(list.subxids) == 0 {
		return nil
	}
	n := m.node(id, at)
	if n == nil {
		return refusal(errStopping)
	}
	return s.undone(ctx, n, list)
}

func (s *Session) undone(ctx context.Context, n *node, list openParts) error {
	wait, cancel := context.WithTimeout(ctx, n.m.cfg.UndoWait)
	defer cancel()
	for {
		if err := n.flushed(wait); err == nil {
			waits, err := s.check(wait, n, list)
			if err == nil && len(waits) == 0 {
				return nil
			}
			if err != nil && wait.Err() == nil {
				return refusal(err)
			}
			for _, xid := range waits {
				n.startUndo(xid)
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-wait.Done():
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting until rows of a rolled back transaction are undone: %w", ctx.Err())
		}
		return &connectors.Error{Class: connectors.Conflict,
			Message: "the write was not sent to the API: rows of this session's rolled back transaction are still being undone there",
			Hint:    "Try again later. hallway.my_writes() and hallway.failures say what is open."}
	}
}

// check asks what became of parts of transactions, forgets those with which
// nothing is open, and gives the transactions that have rows to be undone.
func (s *Session) check(ctx context.Context, n *node, list openParts) ([]uint64, error) {
	conn, err := n.reached(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, `SELECT w.subxid::text::int8, `+xactStatus+`, EXISTS (
  SELECT FROM hallway.write_log e WHERE e.xid = w.xid AND e.subxid = w.subxid AND e.settled_at IS NULL AND e.on_rollback = 'compensate'
    AND e.state IN ('pending', 'unknown', 'applied', 'compensating'))
FROM (SELECT unnest($1::text[])::xid8 AS subxid, unnest($2::text[])::xid8 AS xid) w`, list.subxids, list.xids)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	var sub int64
	var status string
	var open bool
	var waits []uint64
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = pgx.ForEachRow(rows, []any{&sub, &status, &open}, func() error {
		switch {
		case status == "in progress":
		case status == "aborted" && open:
			waits = append(waits, s.open[uint64(sub)])
		default:
			delete(s.open, uint64(sub))
		}
		return nil
	})
	return waits, err //nolint:wrapcheck // as above
}
