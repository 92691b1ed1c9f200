package journal

// One database: who looks after it, and when.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/sidecar/database"
)

// lockClass is that of the journal's advisory locks: (lockClass, 0) has the one
// that looks after what nobody else does.
const lockClass = 1752658794

// lockSeed seeds the hash of a sidecar's name, a lock that it holds while it lives.
func lockSeed() string { return strconv.Itoa(lockClass) }

// node is one database that is looked after.
type node struct {
	m      *Manager
	id     database.Identity
	at     database.Address
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}
	// behind has an element for each connection that acquire has given.
	behind chan struct{}

	intents  intents
	outcomes outcomes
	jobs     jobs

	mu sync.Mutex
	// used: this sidecar has written here.
	used bool
	// active are entries whose outcome this sidecar has or waits for.
	active map[int64]struct{}
	// recent outcomes are written, and may still be lost when the server crashes.
	recent []noted
	// tracks of transactions with entries that are not settled, as far as they
	// are this sidecar's.
	tracks map[uint64]*track
	// free says since when the lock of another sidecar is free.
	free map[string]time.Time
	// lead: this sidecar looks after what nobody else does.
	lead bool
}

func newNode(m *Manager, id database.Identity, at database.Address) *node {
	n := &node{m: m, id: id, at: at, wake: make(chan struct{}, 1), behind: make(chan struct{}, behindConnections), log: m.cfg.Log.With("database", at.Database),
		active: map[int64]struct{}{}, tracks: map[uint64]*track{}, free: map[string]time.Time{}}
	n.ctx, n.cancel = context.WithCancel(m.ctx)
	return n
}

func (n *node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *node) ended(xid uint64) {
	if n.hasOpen(xid) {
		n.outcomes.ended(n, xid)
	}
}

// flushed waits until the outcomes that are known are written.
func (n *node) flushed(ctx context.Context) error { return n.outcomes.flush(ctx) }

// run looks after the database until the manager is closed.
func (n *node) run() {
	for pause := time.Second; n.ctx.Err() == nil; pause = min(2*pause, 15*time.Second) {
		err := n.attend(n.ctx)
		n.mu.Lock()
		n.lead = false
		n.mu.Unlock()
		if n.ctx.Err() != nil {
			return
		}
		if database.IsDropped(err) {
			n.cancel()
			n.m.forget(n)
			return
		}
		var gone *database.UnreachableError
		if !errors.As(err, &gone) { // the package database has said that
			n.log.Warn("looking after the journal", "error", err.Error())
			pause = time.Second // it was reached
		}
		select {
		case <-time.After(pause):
		case <-n.wake:
			sleep(n.ctx, 100*time.Millisecond)
		case <-n.ctx.Done():
		}
	}
}

// attend works until something is wrong with its connection.
func (n *node) attend(ctx context.Context) error {
	db := n.database()
	// A database in which nothing is written costs no connection.
	for {
		n.mu.Lock()
		used := n.used
		n.mu.Unlock()
		if !used {
			err := n.query(ctx, `SELECT EXISTS (SELECT FROM hallway.write_log WHERE settled_at IS NULL)`, nil, &used)
			if err != nil {
				return err
			}
		}
		if used {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.wake:
		case <-time.After(10 * n.m.cfg.Look):
		}
	}
	conn, closing, err := db.Dedicated(ctx)
	if err != nil {
		return err
	}
	defer closing()
	if db.Standby() {
		return errors.New("the database is a standby: nothing is written here")
	}
	// For as long as this connection lives, so do we.
	for _, sql := range []string{`SELECT pg_advisory_lock(hashtextextended('` + n.m.cfg.Instance + `', ` + lockSeed() + `))`, `LISTEN hallway_journal`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("preparing to look after the journal: %w", err)
		}
	}
	n.mu.Lock()
	clear(n.free)
	n.mu.Unlock()
	cleaned, said := time.Time{}, ""
	for {
		var lead bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid::int8 = $1 AND objid = 0 AND objsubid = 2)
  OR pg_try_advisory_lock($1::int4, 0)`, lockClass).Scan(&lead)
		if err != nil {
			return fmt.Errorf("looking after the journal: %w", err)
		}
		n.mu.Lock()
		n.lead = lead
		n.mu.Unlock()
		open, err := n.look(ctx, lead)
		switch {
		case err == nil:
			said = ""
		case !isRefusal(err):
			return err
		case said != err.Error():
			// The next look does what this one could not: it is no reason to lose sight of
			// who is dead.
			said = err.Error()
			n.log.Warn("looking after the journal; trying again", "error", said)
		}
		if lead && time.Since(cleaned) > cleanEvery {
			cleaned = time.Now()
			if err := n.clean(ctx); err != nil {
				return err
			}
		}
		wait := n.m.cfg.Look
		if !open {
			wait *= 10
		}
		if err := database.Wait(ctx, conn, n.wake, wait); err != nil {
			return err
		}
	}
}

// isRefusal says that the server answered, and did not do it: somebody has a row
// locked, most often. That there is no journal (class 42, but for rights) is another
// matter.
func isRefusal(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42501" || !strings.HasPrefix(pg.Code, "42"))
}

// look does what is open, and says whether anything is. What the server refuses to one
// of its parts is no reason not to do the others.
func (n *node) look(ctx context.Context, lead bool) (bool, error) {
	parts := []func(context.Context) error{n.own}
	if lead {
		parts = append(parts, n.buryDead, func(ctx context.Context) error { return n.settle(ctx, nil) }, n.reconcile, n.deliver)
	}
	parts = append(parts, func(ctx context.Context) error { return n.undoLeft(ctx, lead) })
	var refused error
	for _, do := range parts {
		if err := do(ctx); err != nil && !isRefusal(err) {
			return false, err
		} else if err != nil {
			refused = errors.Join(refused, err)
		}
	}
	if refused != nil {
		return true, refused
	}
	n.mu.Lock()
	for xid, t := range n.tracks {
		// What no end was told of is settled by looking, and needs no track.
		if time.Since(t.at) > trackFor {
			delete(n.tracks, xid)
		}
	}
	open := len(n.tracks) > 0 || len(n.active) > 0
	n.mu.Unlock()
	if open {
		return true, nil
	}
	err := n.query(ctx, `SELECT EXISTS (SELECT FROM hallway.write_log WHERE settled_at IS NULL AND state <> 'needs_attention')`, nil, &open)
	return open, err
}

// own looks for entries that this sidecar made and that wait for nothing: the
// server crashed and lost their outcome, or the commit of their intent was not
// confirmed and they were not sent. Where the outcome is not remembered they are
// found out about.
func (n *node) own(ctx context.Context) error {
	n.mu.Lock()
	used := n.used
	n.mu.Unlock()
	if !used {
		return nil
	}
	var open []int64
	err := n.query(ctx, `SELECT coalesce(array_agg(id), '{}') FROM hallway.write_log
WHERE settled_at IS NULL AND state = 'pending' AND instance = $1 AND NOT outbox`, []any{n.m.cfg.Instance}, &open)
	if err != nil {
		return err
	}
	n.mu.Lock()
	lost := slices.DeleteFunc(open, func(id int64) bool { _, waits := n.active[id]; return waits })
	var again []ending
	for _, r := range n.recent {
		if slices.ContainsFunc(r.w.ids, func(id int64) bool { return slices.Contains(lost, id) }) {
			again = append(again, r.ending)
		}
	}
	n.mu.Unlock()
	for _, e := range again {
		lost = slices.DeleteFunc(lost, func(id int64) bool { return slices.Contains(e.w.ids, id) })
		n.outcomes.add(n, e.w, e.list)
	}
	if len(lost) > 0 {
		_, err := n.exec(ctx, `UPDATE hallway.write_log SET state = 'unknown', next_attempt = clock_timestamp(), unknown_at = clock_timestamp(), attempts = 0,
  message = 'What became of it was lost.'
WHERE settled_at IS NULL AND state = 'pending' AND id = ANY ($1) AND written_at < clock_timestamp() - $2::interval`, lost, 2*n.commitTimeout())
		if err != nil {
			return err
		}
	}
	// Whoever was to send these has not said what became of it.
	_, err = n.exec(ctx, `UPDATE hallway.write_log SET state = 'unknown', next_attempt = clock_timestamp(), unknown_at = clock_timestamp(), attempts = 0
WHERE settled_at IS NULL AND state = 'pending' AND instance = $1 AND outbox AND next_attempt < clock_timestamp()`, n.m.cfg.Instance)
	return err
}

// mine is the condition that an entry was made in this database, and not in one
// that it is a copy of; its arguments are $1 to $3.
const mine = `w.system_identifier = $1 AND w.database = $2::int8::oid AND w.environment = $3
  AND w.timeline = ` + database.TimelineSQL + `::int4`

func (n *node) mine(args ...any) []any {
	return append([]any{int64(n.id.SystemIdentifier), int64(n.id.DatabaseOID), n.m.cfg.Environment}, args...)
}

// buryDead makes the entries of sidecars that are gone ones of which nothing is
// known.
func (n *node) buryDead(ctx context.Context) error {
	var names []string
	err := n.query(ctx, `SELECT coalesce(array_agg(DISTINCT instance), '{}') FROM hallway.write_log w
WHERE settled_at IS NULL AND (state IN ('pending', 'compensating') OR state = 'applied' AND on_rollback = 'compensate') AND instance <> $4 AND `+mine, n.mine(n.m.cfg.Instance), &names)
	if err != nil {
		return err
	}
	for _, name := range names {
		dead := false
		err := n.inTx(ctx, func(tx pgx.Tx) error {
			var free bool
			err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended($1::text, `+lockSeed()+`))`, name).Scan(&free)
			if err != nil {
				return fmt.Errorf("asking whether a sidecar lives: %w", err)
			}
			n.mu.Lock()
			since, known := n.free[name]
			switch {
			case !free:
				delete(n.free, name)
			case !known:
				n.free[name] = time.Now()
			default:
				dead = time.Since(since) >= n.m.cfg.Grace
			}
			n.mu.Unlock()
			if !dead {
				return nil
			}
			// Its undoing is taken up where it stood by undoLeft.
			_, err = tx.Exec(ctx, `UPDATE hallway.write_log w SET state = CASE state WHEN 'pending' THEN 'unknown' ELSE state END,
  instance = $4, next_attempt = CASE state WHEN 'applied' THEN next_attempt ELSE clock_timestamp() END, attempts = 0,
  unknown_at = CASE state WHEN 'pending' THEN coalesce(unknown_at, clock_timestamp()) END,
  message = CASE state WHEN 'pending' THEN 'The sidecar ended before the answer.' ELSE message END
WHERE settled_at IS NULL AND (state IN ('pending', 'compensating') OR state = 'applied' AND on_rollback = 'compensate') AND instance = $5 AND `+mine, n.mine(n.m.cfg.Instance, name)...)
			if err != nil {
				return fmt.Errorf("taking up what another sidecar left: %w", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if dead {
			n.log.Info("taking up the writes that another sidecar left open", "instance", name)
		}
	}
	return nil
}

const cleanEvery = 10 * time.Minute

// clean forgets entries whose time is over.
func (n *node) clean(ctx context.Context) error {
	for {
		count, err := n.exec(ctx, `DELETE FROM hallway.write_log WHERE id IN (
  SELECT id FROM hallway.write_log WHERE written_at < now() - $1::interval AND settled_at < now() - $1::interval LIMIT 10000)`, n.m.cfg.Retention)
		if err != nil || count < 10000 {
			return err
		}
	}
}

// resume is Manager.Resume.
func (n *node) resume(ctx context.Context) error {
	// Time lines and environments share their xids with where they came from;
	// other clusters, and copies within one, do not, or are not alone with them.
	_, err := n.exec(ctx, `UPDATE hallway.write_log w SET
  state = CASE WHEN w.system_identifier = $1 AND w.database = $2::int8::oid THEN w.state ELSE 'needs_attention' END,
  todo = CASE WHEN w.system_identifier = $1 AND w.database = $2::int8::oid THEN w.todo
    ELSE 'It was written before this database became a copy of another: look whether the API has it, and whether its transaction has committed.' END,
  next_attempt = CASE WHEN w.next_attempt IS NOT NULL THEN clock_timestamp() END,
  system_identifier = $1, database = $2::int8::oid, environment = $3, timeline = `+database.TimelineSQL+`::int4
WHERE settled_at IS NULL AND (w.system_identifier, w.database, w.environment, w.timeline)
  IS DISTINCT FROM ($1::int8, $2::int8::oid, $3::text, `+database.TimelineSQL+`::int4)`,
		int64(n.id.SystemIdentifier), int64(n.id.DatabaseOID), n.m.cfg.Environment)
	if err != nil {
		return err
	}
	n.poke()
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// clip bounds a message, and makes it fit for PostgreSQL.
func clip(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return s
}
