package journal

// The database's connections: who may have how many, and the statements that need no
// more than one.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/sidecar/database"
)

// commitTimeout bounds one commit: what the database may take to let in, a few
// times. 10 s by default.
func (n *node) commitTimeout() time.Duration { return 5 * n.database().ConnectTimeout() }

func (n *node) database() *database.Database { return n.m.cfg.Databases.Database(n.id, n.at) }

// Connections is how many a database's journal needs.
const Connections = behindConnections + 2

// behindConnections of them are for what goes on in the background: it may be held
// up by whatever holds up updates of the journal, and writes of sessions are not.
const behindConnections = 3

// acquire takes a connection for what no session waits for.
func (n *node) acquire(ctx context.Context) (conn *pgxpool.Conn, release func(), err error) {
	select {
	case n.behind <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: %w", database.ErrBusy, ctx.Err())
	}
	if conn, err = n.database().Acquire(ctx); err != nil {
		<-n.behind
		return nil, nil, err
	}
	return conn, func() {
		conn.Release()
		<-n.behind
	}, nil
}

// inTx is for more than one statement; see acquire.
func (n *node) inTx(ctx context.Context, f func(tx pgx.Tx) error) error {
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return pgx.BeginFunc(ctx, conn, f) //nolint:wrapcheck // f has said what it was doing
}

// query reads one row.
func (n *node) query(ctx context.Context, sql string, args []any, into ...any) error {
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := conn.QueryRow(ctx, sql, args...).Scan(into...); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return nil
}

func (n *node) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	tag, err := conn.Exec(ctx, sql, args...)
	if err != nil {
		return 0, fmt.Errorf("writing the journal: %w", err)
	}
	return tag.RowsAffected(), nil
}

// execSurely is exec again and again until the database takes it, or refuses it;
// for what is known here alone.
func (n *node) execSurely(sql string, args ...any) (int64, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ctx, cancel := context.WithTimeout(n.ctx, n.commitTimeout())
		count, err := n.exec(ctx, sql, args...)
		cancel()
		var pg *pgconn.PgError
		if err == nil || n.ctx.Err() != nil || errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22") {
			return count, err
		}
		sleep(n.ctx, pause)
	}
}
