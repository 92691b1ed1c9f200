package sync

// An increment: the rows that the API says were changed since last time. What
// was deleted is compare.go's.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// errNeedsCopy: an increment would read more than a copy, or cannot tell all.
var errNeedsCopy = errors.New("a full copy is needed")

// increment brings a whole replica up to date.
func (r *replica) increment(ctx context.Context) error {
	from, err := r.changedSince()
	if err != nil {
		return err
	}
	q := connectors.Query{}
	q.Conjuncts, q.Columns = []pushdown.Expr{from}, r.fetch
	if pushed, _ := r.plan(q.Request); !pushed {
		return errNeedsCopy
	}
	if err := r.start(ctx, "running"); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { return r.emptyStaging(ctx, tx) })
	if err != nil {
		return err //nolint:wrapcheck // said within
	}
	c := &copying{r: r, newest: r.state.cursor}
	compare := r.compareDue()
	var tombstones bool
	if !compare {
		// Before what was changed: a record that is made again is seen there.
		if tombstones, err = r.readTombstones(ctx); err != nil {
			return err
		}
	}
	if err := r.collect(ctx, q, r.ascends(q.Columns), r.stage.rows, c.stage(ctx)); err != nil {
		return err
	}
	if compare {
		if err := r.compareKeys(ctx, c); err != nil {
			return err
		}
	}
	return r.land(ctx, r.advance(c.newest, c.unknown), compare || tombstones, compare, "compared", compare, "tombstones", tombstones)
}

// land merges what is staged, and ends the run with a cursor for the next one. gone:
// the table gone has the keys of what is no more, so that nothing is missing after it;
// compared: the keys of all rows were compared. how is for the log, as slog's arguments.
func (r *replica) land(ctx context.Context, cursor []byte, gone, compared bool, how ...any) error {
	r.pages = r.stats.Pages.Load()
	var merged Merged
	err := r.merge(ctx, func(tx pgx.Tx) error {
		if _, err := r.dedupe(ctx, tx, r.stage.rows); err != nil {
			return err
		}
		var deleted int64
		var err error
		if gone {
			if deleted, err = r.deleteGone(ctx, tx); err != nil {
				return err
			}
		}
		if merged, err = r.cache.MergeStaged(ctx, tx, r.stage.rows, false, r.since()); err != nil {
			return fmt.Errorf("merging: %w", err)
		}
		merged.Deleted += deleted
		return r.finish(ctx, tx, cursor, gone, compared)
	})
	if err != nil {
		return err
	}
	r.n.log.Debug("a replica is up to date", append([]any{"table", r.name, "read", r.rows,
		"inserted", merged.Inserted, "updated", merged.Updated, "deleted", merged.Deleted}, how...)...)
	r.dropStaging(ctx)
	return nil
}

// advance is the cursor for the next increment, which never goes back.
func (r *replica) advance(newest []byte, unknown bool) []byte {
	cursor := r.cursorFrom(newest, unknown)
	if cursor != nil && micros(cursor) < micros(r.state.cursor) {
		return r.state.cursor
	}
	return cursor
}

// changedSince is the condition of an increment.
func (r *replica) changedSince() (pushdown.Expr, error) {
	return r.from(r.change.column, r.change.t)
}

// from is the condition that a time of the API is not before the increment.
func (r *replica) from(column int, t pushdown.Type) (pushdown.Expr, error) {
	from := micros(r.state.cursor) - r.opts.overlap.Microseconds()
	p, err := param(t, binary.BigEndian.AppendUint64(nil, uint64(from)))
	if err != nil {
		return nil, err
	}
	return &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: column}, Right: p}, nil
}

// compareDue tells whether keys are to be compared in this run, or with logs all
// rows: always, unless the option compare_every says otherwise and nobody waits.
// Where the API tells what was deleted, once a day is enough, unless it has forgotten
// by now what happened since the last time that it was asked.
func (r *replica) compareDue() bool {
	s, every := &r.state, r.opts.compare
	told := r.dead != nil || r.logs != nil
	if told && r.remembers > 0 && (s.asOf == nil || r.began.Sub(*s.asOf) > r.remembers-r.remembers/10) {
		return true
	}
	if every < 0 {
		every = 0
		if told {
			every = 24 * time.Hour
		}
	}
	return every <= r.opts.refresh || s.compared == nil || r.began.Sub(*s.compared) >= every-time.Second ||
		(!told && s.requested != nil && s.requested.After(*s.compared))
}

// stage notes when the rows were changed and stages them.
func (c *copying) stage(ctx context.Context) func(batch []byte, n int) error {
	r := c.r
	return func(batch []byte, n int) error {
		if err := walk(batch, n, len(r.fetch), c.note); err != nil {
			return err
		}
		r.rows += int64(n)
		return r.stageInto(ctx, r.stage.rows, r.fetch, batch, n)
	}
}

// stageInto adds a batch to a table, with progress.
func (r *replica) stageInto(ctx context.Context, table pgx.Identifier, columns []int, batch []byte, n int) error {
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { //nolint:wrapcheck // said within
		if err := r.copyIn(ctx, tx, table, columns, batch); err != nil {
			return err
		}
		return r.progress(ctx, tx)
	})
}

// progress notes how far the run is.
func (r *replica) progress(ctx context.Context, tx pgx.Tx) error {
	tag, err := tx.Exec(ctx, `UPDATE hallway.replicas SET rows_read = $2, pages_read = $3 WHERE relid = $1`,
		r.relid, r.rows, int64(r.stats.Pages.Load()))
	if err == nil && tag.RowsAffected() == 0 {
		return ErrNotReplica
	}
	if err != nil {
		return fmt.Errorf("noting progress: %w", err)
	}
	return nil
}
