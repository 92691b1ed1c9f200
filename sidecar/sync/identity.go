package sync

// Whose database this is: a copy of a database must not begin by itself to call
// the API that the original calls.

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/hallwaydb/hallway/sidecar/database"
)

const schema = "hallway_sync"

// nowIdentity is the database's identity as SQL: what pg_control says, the
// timeline that is written now, the database.
const nowIdentity = `(SELECT system_identifier FROM pg_control_system()),
  ` + database.TimelineSQL + `::int8,
  (SELECT oid::int8 FROM pg_database WHERE datname = current_database())`

// setUp makes what jobs need; several sidecars may come at once. The identity
// is no member of the extension, as River's tables are none: a dump has both,
// so a database that was restored from one has another's.
func (n *node) setUp(ctx context.Context, conn *pgx.Conn, pool *pgxpool.Pool) error {
	if _, err := conn.Exec(ctx, `SET lock_timeout = '10s'`); err != nil {
		return fmt.Errorf("setting up jobs: %w", err)
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, 0)`, lockClass); err != nil {
		return fmt.Errorf("waiting for another sidecar to set up jobs: %w", err)
	}
	defer func() { _, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock($1, 0)`, lockClass) }()
	if _, err := conn.Exec(ctx, `RESET lock_timeout`); err != nil {
		return fmt.Errorf("setting up jobs: %w", err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: n.log, Schema: schema})
	if err != nil {
		return fmt.Errorf("setting up jobs: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("setting up jobs: %w", err)
	}
	_, err = conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS hallway_sync.identity (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  system_identifier bigint NOT NULL,
  timeline bigint NOT NULL,
  database_oid bigint NOT NULL,
  environment text NOT NULL,
  since timestamptz NOT NULL DEFAULT now())`)
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO hallway_sync.identity (system_identifier, timeline, database_oid, environment)
SELECT `+nowIdentity+`, $1 ON CONFLICT DO NOTHING`, n.m.cfg.Environment)
	}
	if err != nil {
		return fmt.Errorf("noting whose database this is: %w", err)
	}
	return nil
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// checkIdentity says why nothing may be done here; empty: it may.
func (n *node) checkIdentity(ctx context.Context, db querier) (string, error) {
	var standby bool
	if err := db.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return "", fmt.Errorf("asking whose database this is: %w", err)
	}
	if standby {
		return "", fmt.Errorf("the database is a standby: nothing can be written here")
	}
	var was, is [3]int64
	var environment string
	err := db.QueryRow(ctx, `SELECT system_identifier, timeline, database_oid, environment, `+nowIdentity+` FROM hallway_sync.identity`).
		Scan(&was[0], &was[1], &was[2], &environment, &is[0], &is[1], &is[2])
	if err != nil {
		return "", fmt.Errorf("asking whose database this is: %w", err)
	}
	const what = "; SELECT hallway.resume() makes this the database that asks the API"
	switch {
	case was[0] != is[0]:
		return fmt.Sprintf("this cluster is a copy: system identifier %d, and the work began in %d", uint64(is[0]), uint64(was[0])) + what, nil
	case was[2] != is[2]:
		return fmt.Sprintf("this database is a copy: OID %d, and the work began in %d", is[2], was[2]) + what, nil
	case was[1] != is[1]:
		return fmt.Sprintf("this cluster was restored or promoted: timeline %d, and the work began on %d", is[1], was[1]) + what, nil
	case environment != n.m.cfg.Environment:
		return fmt.Sprintf("the sidecar's environment is %q, and the work began in %q", n.m.cfg.Environment, environment) + what, nil
	}
	return "", nil
}

// pause says of all replicas why nothing is done. A resume that came since the
// identity was looked at counts, and one that comes now has the last word.
func (n *node) pause(ctx context.Context, pool *pgxpool.Pool) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM hallway_sync.identity FOR SHARE`); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		reason, err := n.checkIdentity(ctx, tx)
		if err != nil || reason == "" {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE hallway.replicas SET state = 'paused', reason = $1
WHERE state <> 'paused' OR reason IS DISTINCT FROM $1`, reason)
		return err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return fmt.Errorf("pausing: %w", err)
	}
	return nil
}

// resume is Manager.Resume: this database is now the one. Jobs and copies that
// were under way elsewhere begin anew.
func (n *node) resume(ctx context.Context) error {
	db := n.m.cfg.Databases.Database(n.id, n.at)
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass('hallway_sync.identity') IS NOT NULL`).Scan(&there); err != nil || !there {
			return err //nolint:wrapcheck // wrapped below
		}
		changed, err := tx.Exec(ctx, `UPDATE hallway_sync.identity SET (system_identifier, timeline, database_oid) = (SELECT `+nowIdentity+`),
  environment = $1, since = now()
WHERE (system_identifier, timeline, database_oid, environment) IS DISTINCT FROM (`+nowIdentity+`, $1)`, n.m.cfg.Environment)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		if changed.RowsAffected() > 0 {
			if _, err := tx.Exec(ctx, `DELETE FROM hallway_sync.river_job`); err != nil {
				return err //nolint:wrapcheck // wrapped below
			}
		}
		_, err = tx.Exec(ctx, `UPDATE hallway.replicas SET state = CASE WHEN last_success IS NULL THEN 'backfill' ELSE 'idle' END,
  reason = NULL, error = NULL, failures = 0, next_run = now(), copy_position = NULL, copy_shape = NULL, copy_cursor = NULL, change_cursor = NULL
WHERE state = 'paused'`)
		if err == nil {
			_, err = tx.Exec(ctx, `SELECT pg_notify('hallway_sync', '')`)
		}
		return err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	n.poke()
	return nil
}

// Identify asks a database who it is, for one that no backend has named yet.
func Identify(ctx context.Context, at database.Address, role string) (database.Identity, error) {
	conn, err := database.Connect(ctx, at, role)
	if err != nil {
		return database.Identity{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var system, timeline, oid int64
	err = conn.QueryRow(ctx, `SELECT system_identifier, (SELECT timeline_id::int8 FROM pg_control_checkpoint()),
  (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) FROM pg_control_system()`).Scan(&system, &timeline, &oid)
	if err != nil {
		return database.Identity{}, fmt.Errorf("asking the database %s who it is: %w", at, err)
	}
	return database.Identity{SystemIdentifier: uint64(system), Timeline: uint32(timeline), DatabaseOID: uint32(oid)}, nil
}
