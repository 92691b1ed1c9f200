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
