package sync

// An increment: the rows that the API says were changed since last time, and
// a comparison of keys, which alone shows what was deleted.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// errNeedsCopy: an increment would read more than a copy, or cannot tell all.
var errNeedsCopy = errors.New("a full copy is needed")

// Past so many missing rows, or this share of all, all are read anew.
const (
	maxMissing   = 1000
	missingShare = 10 // a tenth
	// missingAtOnce are asked for by one filter.
	missingAtOnce = 100
)

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
	if _, err := r.scan(ctx, q, func(batch []byte, n int) error { return r.stageChanges(ctx, c, batch, n) }); err != nil {
		return err
	}
	compare := r.compareDue()
	if compare {
		if err := r.readKeys(ctx); err != nil {
			return err
		}
		if err := r.readMissing(ctx, c); err != nil {
			return err
		}
	}
	r.pages = r.stats.Pages.Load()
	var merged Merged
	err = r.merge(ctx, func(tx pgx.Tx) error {
		if err := r.dedupe(ctx, tx, r.stage.rows); err != nil {
			return err
		}
		var gone int64
		if compare {
			if err := r.findGone(ctx, tx); err != nil {
				return err
			}
			var err error
			if gone, err = r.cache.DeleteStaged(ctx, tx, r.stage.gone, r.since()); err != nil {
				return fmt.Errorf("deleting what is gone: %w", err)
			}
		}
		var err error
		if merged, err = r.cache.MergeStaged(ctx, tx, r.stage.rows, false, r.since()); err != nil {
			return fmt.Errorf("merging: %w", err)
		}
		merged.Deleted += gone
		cursor := r.cursorFrom(c.newest, c.unknown)
		if cursor != nil && micros(cursor) < micros(r.state.cursor) {
			cursor = r.state.cursor
		}
		return r.finish(ctx, tx, cursor, compare)
	})
	if err != nil {
		return err
	}
	r.n.log.Debug("a replica is up to date", "table", r.name, "read", r.rows, "compared", compare,
		"inserted", merged.Inserted, "updated", merged.Updated, "deleted", merged.Deleted)
	r.dropStaging(ctx)
	return nil
}

// changedSince is the condition of an increment.
func (r *replica) changedSince() (pushdown.Expr, error) {
	from := micros(r.state.cursor) - r.opts.overlap.Microseconds()
	p, err := param(r.change.t, binary.BigEndian.AppendUint64(nil, uint64(from)))
	if err != nil {
		return nil, err
	}
	return &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: r.change.column}, Right: p}, nil
}

// compareDue tells whether keys are to be compared in this run: always, unless
// the option compare_every says otherwise and nobody waits.
func (r *replica) compareDue() bool {
	s := &r.state
	return r.opts.compare <= r.opts.refresh || s.compared == nil || r.began.Sub(*s.compared) >= r.opts.compare-time.Second ||
		(s.requested != nil && s.requested.After(*s.compared))
}

func (r *replica) stageChanges(ctx context.Context, c *copying, batch []byte, n int) error {
	if err := walk(batch, n, len(r.fetch), c.note); err != nil {
		return err
	}
	return r.stageInto(ctx, r.stage.rows, r.fetch, batch, n, true)
}

// stageInto adds a batch to a table, with progress.
func (r *replica) stageInto(ctx context.Context, table pgx.Identifier, columns []int, batch []byte, n int, counts bool) error {
	if counts {
		r.rows += int64(n)
	}
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { //nolint:wrapcheck // said within
		if err := r.copyIn(ctx, tx, table, columns, batch); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE hallway.replicas SET rows_read = $2, pages_read = $3 WHERE relid = $1`,
			r.relid, r.rows, int64(r.stats.Pages.Load()))
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotReplica
		}
		if err != nil {
			return fmt.Errorf("noting progress: %w", err)
		}
		return nil
	})
}

// readKeys reads the keys of all rows that there are.
func (r *replica) readKeys(ctx context.Context) error {
	s := &r.stage
	key := r.t.Definition.Key
	def := s.list(key, func(i int) string { return s.names[i] + " " + s.types[i] })
	if slices.ContainsFunc(key, func(i int) bool { return s.text[i] }) {
		return errNeedsCopy // a key of a type that nobody knows
	}
	if _, err := r.conn.Exec(ctx, `CREATE TABLE `+s.keys.Sanitize()+` (`+def+`) WITH (autovacuum_enabled = off)`); err != nil {
		return fmt.Errorf("making a staging table: %w", err)
	}
	q := connectors.Query{}
	q.Columns = key
	_, err := r.scan(ctx, q, func(batch []byte, n int) error { return r.stageInto(ctx, s.keys, key, batch, n, false) })
	if err != nil {
		return err
	}
	if _, err := r.conn.Exec(ctx, `ANALYZE `+s.keys.Sanitize()); err != nil {
		return fmt.Errorf("preparing the comparison: %w", err)
	}
	return nil
}

// readMissing reads rows that the API has and we have not, although it did not
// list them as changed: made with a time of before, or just now.
func (r *replica) readMissing(ctx context.Context, c *copying) error {
	s := &r.stage
	key := r.t.Definition.Key
	missing := ` FROM ` + s.keys.Sanitize() + ` k WHERE NOT EXISTS (SELECT FROM ` + r.cache.Name().Sanitize() + ` c WHERE ` + s.equal("c", "k", key) +
		`) AND NOT EXISTS (SELECT FROM ` + s.rows.Sanitize() + ` s WHERE ` + s.equal("s", "k", key) + `)`
	var count, all int64
	err := r.conn.QueryRow(ctx, `SELECT (SELECT count(*)`+missing+`), (SELECT count(*) FROM `+s.keys.Sanitize()+`)`).Scan(&count, &all)
	if err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	if count == 0 {
		return nil
	}
	if len(key) > 1 || count > max(maxMissing, all/missingShare) {
		return errNeedsCopy
	}
	t := r.t.Definition.Columns[key[0]].Type
	// In the binary form, as a connector's tuples have it.
	var wanted []pushdown.Value
	result, err := r.conn.Query(ctx, `SELECT `+s.names[key[0]]+missing, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	for result.Next() {
		v, err := rows.DecodeValue(t, result.RawValues()[0])
		if err != nil {
			result.Close()
			return fmt.Errorf("comparing keys: %w", err)
		}
		wanted = append(wanted, v)
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	array := t
	array.Array, array.OID, array.ElementOID = true, 0, t.OID
	for part := range slices.Chunk(wanted, missingAtOnce) {
		q := connectors.Query{}
		q.Columns = r.fetch
		q.Conjuncts = []pushdown.Expr{&pushdown.Membership{Operand: &pushdown.Column{Index: key[0]},
			Array: &pushdown.Param{Type: array, Known: true, Value: pushdown.Value{V: part}}, Collation: collationFor(t)}}
		if pushed, _ := r.plan(q.Request); !pushed {
			return errNeedsCopy
		}
		if _, err := r.scan(ctx, q, func(batch []byte, n int) error { return r.stageChanges(ctx, c, batch, n) }); err != nil {
			return err
		}
	}
	return nil
}

// findGone collects the keys of rows that the API has no more. A row that was
// read in this very run was there after it began.
func (r *replica) findGone(ctx context.Context, tx pgx.Tx) error {
	s := &r.stage
	key := r.t.Definition.Key
	columns := s.list(key, func(i int) string { return "c." + s.names[i] })
	sql := []string{
		`CREATE TABLE ` + s.gone.Sanitize() + ` AS SELECT ` + columns + ` FROM ` + r.cache.Name().Sanitize() + ` c WHERE NOT EXISTS (SELECT FROM ` +
			s.keys.Sanitize() + ` k WHERE ` + s.equal("k", "c", key) + `) AND NOT EXISTS (SELECT FROM ` + s.rows.Sanitize() + ` s WHERE ` + s.equal("s", "c", key) + `)`,
		`ANALYZE ` + s.gone.Sanitize() + `, ` + s.rows.Sanitize(),
	}
	for _, q := range sql {
		if _, err := tx.Exec(ctx, q); err != nil {
			return fmt.Errorf("comparing keys: %s: %w", strings.SplitN(q, " ", 2)[0], err)
		}
	}
	return nil
}
