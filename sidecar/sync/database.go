package sync

// One database: looking for replicas, whose database it is, when jobs are due.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	gosync "sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// Advisory locks with two keys: this one, and a foreign table's OID, or 0 for
// setting up. A sidecar's own lock has one key, hashed of its name.
const lockClass = 0x68777379

// node is one database that is looked after.
type node struct {
	m      *Manager
	id     database.Identity
	at     database.Address
	log    *slog.Logger
	cancel context.CancelFunc
	wake   chan struct{}

	mu gosync.Mutex
	// jobs that this sidecar runs, and those that the database says it runs
	// although it does not, since when.
	active   map[int64]bool
	suspects map[int64]time.Time
	paused   string
}

func (n *node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run looks after the database until ctx ends, whatever happens to it.
func (n *node) run(ctx context.Context) {
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		began := time.Now()
		err := n.attend(ctx)
		if ctx.Err() != nil {
			return
		}
		if database.IsDropped(err) {
			n.m.forget(n)
			return
		}
		var gone *database.UnreachableError
		if !errors.As(err, &gone) { // database has said that
			n.log.Warn("looking after replicas", "error", err.Error())
		}
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// attend works until something is wrong with the connection.
func (n *node) attend(ctx context.Context) error {
	db := n.m.cfg.Databases.Database(n.id, n.at)
	pool, release, err := db.Pool(ctx)
	if err != nil {
		return err
	}
	defer release()
	// Until there is a replica nothing is made, and no connection is kept.
	for {
		standby, count := db.Standby(), 0
		if !standby {
			err := pool.QueryRow(ctx, `SELECT count(*) FROM hallway.replicated_tables`).Scan(&count)
			if err != nil {
				return fmt.Errorf("looking for replicas: %w", err)
			}
		}
		if count > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.wake:
		case <-time.After(n.m.cfg.Look):
		}
	}
	conn, closing, err := db.Dedicated(ctx)
	if err != nil {
		return err
	}
	defer closing()
	if err := n.setUp(ctx, conn, pool); err != nil {
		return err
	}
	// For as long as this connection lives, so do we.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(`+sidecarLock("$1")+`)`, n.client()); err != nil {
		return fmt.Errorf("taking the sidecar's lock: %w", err)
	}
	if _, err := conn.Exec(ctx, `LISTEN hallway_sync`); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	jobs, err := n.startJobs(ctx, db, pool)
	if err != nil {
		return err
	}
	defer jobs.stop()
	for {
		due, err := n.look(ctx, pool, jobs)
		if err != nil {
			return err
		}
		if err := database.Wait(ctx, conn, n.wake, due); err != nil {
			return err
		}
	}
}

// client is this sidecar's name among River's clients.
func (n *node) client() string { return "hallway-" + n.m.cfg.Instance }

// sidecarLock is the key of a sidecar's lock as SQL.
func sidecarLock(name string) string {
	return "hashtextextended(" + name + "::text, " + strconv.Itoa(lockClass) + ")"
}

// look does what is due, and says when to look again.
func (n *node) look(ctx context.Context, pool *pgxpool.Pool, jobs *jobs) (time.Duration, error) {
	reason, err := n.checkIdentity(ctx, pool)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.paused = reason
	n.mu.Unlock()
	if err := n.discover(ctx, pool, reason); err != nil {
		return 0, err
	}
	if reason != "" {
		return n.m.cfg.Look, nil
	}
	if err := n.rescue(ctx, pool); err != nil {
		return 0, err
	}
	rows, err := pool.Query(ctx, `SELECT relid, requested_at IS NOT NULL AND requested_at > coalesce(began_at, '-infinity')
FROM hallway.replicas
WHERE state <> 'paused' AND (next_run <= clock_timestamp() OR requested_at > coalesce(began_at, '-infinity'))`)
	if err != nil {
		return 0, fmt.Errorf("asking what is due: %w", err)
	}
	type dueReplica struct {
		Relid     uint32
		Requested bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dueReplica])
	if err != nil {
		return 0, fmt.Errorf("asking what is due: %w", err)
	}
	for _, r := range list {
		if err := jobs.add(ctx, r.Relid, r.Requested); err != nil {
			return 0, err
		}
	}
	var seconds *float64
	err = pool.QueryRow(ctx, `SELECT extract(epoch FROM min(next_run) - clock_timestamp())::float8
FROM hallway.replicas WHERE state NOT IN ('paused', 'running', 'backfill') AND next_run > clock_timestamp()`).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("asking when to look again: %w", err)
	}
	next := n.m.cfg.Look
	if len(list) > 0 {
		// What is added may be in the way of itself: a run that ends just now.
		next = min(next, time.Second)
	}
	if seconds != nil {
		next = min(next, time.Duration(*seconds*float64(time.Second)))
	}
	return max(next, 50*time.Millisecond), nil
}

// discover makes the rows of new replicas and ends those that are none any more.
func (n *node) discover(ctx context.Context, pool *pgxpool.Pool, paused string) error {
	_, err := pool.Exec(ctx, `INSERT INTO hallway.replicas (relid) SELECT relid FROM hallway.replicated_tables t
WHERE NOT EXISTS (SELECT FROM hallway.replicas r WHERE r.relid = t.relid) ON CONFLICT DO NOTHING`)
	if err != nil {
		return fmt.Errorf("noting new replicas: %w", err)
	}
	if paused != "" {
		return n.pause(ctx, pool)
	}
	rows, err := pool.Query(ctx, `DELETE FROM hallway.replicas r
WHERE NOT EXISTS (SELECT FROM hallway.replicated_tables t WHERE t.relid = r.relid) RETURNING relid`)
	if err != nil {
		return fmt.Errorf("ending replicas: %w", err)
	}
	gone, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("ending replicas: %w", err)
	}
	for _, relid := range gone {
		n.log.Info("a table is not a replica any more", "relid", relid)
		if err := n.drop(ctx, pool, relid); err != nil {
			return err
		}
	}
	_, err = pool.Exec(ctx, `DELETE FROM hallway.webhook_deliveries WHERE received_at < clock_timestamp() - $1::interval`,
		2*webhookWindow)
	if err != nil {
		return fmt.Errorf("forgetting webhook deliveries: %w", err)
	}
	return nil
}

// drop removes what a former replica leaves: its rows may serve nobody, as
// nobody brings them up to date.
func (n *node) drop(ctx context.Context, pool *pgxpool.Pool, relid uint32) error {
	for _, s := range stagingTables(relid) {
		if _, err := pool.Exec(ctx, `DROP TABLE IF EXISTS `+s.Sanitize()); err != nil {
			return fmt.Errorf("dropping staging: %w", err)
		}
	}
	// The table itself is housekeeping's: it may be read just now.
	if _, err := pool.Exec(ctx, `UPDATE hallway.cache_tables SET as_of = NULL WHERE relid = $1 AND replica`, relid); err != nil {
		return fmt.Errorf("ending a replica: %w", err)
	}
	return nil
}

// sync is Manager.Sync.
func (n *node) sync(ctx context.Context, def cache.Definition) (int64, error) {
	db := n.m.cfg.Databases.Database(n.id, n.at)
	conn, err := db.Acquire(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for a sync: %w", err)
	}
	defer conn.Release()
	var asked time.Time
	err = conn.QueryRow(ctx, `INSERT INTO hallway.replicas AS r (relid, requested_at)
SELECT relid, clock_timestamp() FROM hallway.replicated_tables WHERE relid = $1
ON CONFLICT (relid) DO UPDATE SET requested_at = clock_timestamp() RETURNING requested_at`, def.Relid).Scan(&asked)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotReplica
	}
	if err == nil {
		// Another sidecar may be the one that works.
		_, err = conn.Exec(ctx, `SELECT pg_notify('hallway_sync', '')`)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for a sync: %w", err)
	}
	n.poke()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var state string
		var rows int64
		var reason, failure *string
		var began, asOf *time.Time
		var foreign bool
		err := conn.QueryRow(ctx, `SELECT r.state, r.reason, r.error, r.began_at, c.as_of, r.rows_read, coalesce(r.account <> $2, false) FROM hallway.replicas r
LEFT JOIN hallway.cache_tables c ON c.relid = r.relid AND c.account = r.account AND c.replica
WHERE r.relid = $1`, def.Relid, def.Account).Scan(&state, &reason, &failure, &began, &asOf, &rows, &foreign)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return 0, ErrNotReplica
		case err != nil:
			return 0, fmt.Errorf("waiting for a sync: %w", err)
		case asOf != nil && !asOf.Before(asked):
			return rows, nil
		case state == "paused":
			return 0, &PausedError{Reason: deref(reason)}
		case state == "failing" && began != nil && !began.Before(asked):
			if foreign {
				failure = nil
			}
			return 0, &FailedError{Text: deref(failure)}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for a sync: %w", ctx.Err())
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
