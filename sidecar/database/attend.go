// What those share who look after a database in the background.

package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TimelineSQL is the timeline that the server writes now, of type bit(32): cast it
// to an integer. It is an error on a standby.
const TimelineSQL = `('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)`

// Connect makes a connection to a database of which nothing is known yet, and which
// may be another than one thinks. The caller closes it.
func Connect(ctx context.Context, at Address, role string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("host=/ user=x password='' sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("preparing a connection: %w", err)
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.Password = at.SocketDirectory, uint16(at.Port), at.Database, role, ""
	cfg.RuntimeParams = map[string]string{"application_name": "hallway sidecar", "search_path": "pg_catalog, pg_temp"}
	cfg.ConnectTimeout = 5 * time.Second
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database %s: %w", at, err)
	}
	return conn, nil
}

// IsDropped reports whether err says that the database is not there any more.
func IsDropped(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "3D000"
}

// Wait returns nil at a notification on conn, when something is received from
// wake, or after d; and an error when ctx or the connection has ended.
func Wait(ctx context.Context, conn *pgx.Conn, wake <-chan struct{}, d time.Duration) error {
	// pgx takes a wait's timeout for what it is: the connection stays good.
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	go func() {
		select {
		case <-wake:
			cancel()
		case <-wait.Done():
		}
	}()
	_, err := conn.WaitForNotification(wait)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && wait.Err() != nil && !conn.IsClosed():
		return nil
	case err != nil:
		return fmt.Errorf("listening: %w", err)
	}
	return nil
}
