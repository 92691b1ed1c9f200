package sync

// A full copy: all rows into staging, in the order of the key where the API can
// do that, so that it is taken up after a crash where it stood; then one merge.

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// byBytes is the order in which text keys are compared.
func byBytes() pushdown.Collation { return pushdown.Collation{Name: "C", C: true, Deterministic: true} }

func collationFor(t pushdown.Type) pushdown.Collation {
	switch t.Kind {
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar:
		return byBytes()
	}
	return pushdown.Collation{}
}

// inOrder tells whether a scan can come in the order of the key, and with which
// ordering asked for; nil if it does so by itself.
func (r *replica) inOrder() (pushdown.Ordering, bool) {
	if r.t.Describe().KeyOrdered {
		return nil, true
	}
	var o pushdown.Ordering
	for _, i := range r.t.Definition.Key {
		o = append(o, pushdown.SortKey{Column: i, Collation: collationFor(r.t.Definition.Columns[i].Type)})
	}
	_, ordered := r.plan(pushdown.Request{Columns: r.fetch, Orderings: []pushdown.Ordering{o}})
	return o, ordered
}

// after is the condition that a row's key comes after position: a > x OR (a = x
// AND b > y), and so on.
func (r *replica) after(position [][]byte) (pushdown.Expr, error) {
	key := r.t.Definition.Key
	if len(position) != len(key) {
		return nil, fmt.Errorf("a position of %d values for a key of %d", len(position), len(key))
	}
	var out pushdown.Expr
	for k := len(key) - 1; k >= 0; k-- {
		t := r.t.Definition.Columns[key[k]].Type
		p, err := param(t, position[k])
		if err != nil {
			return nil, err
		}
		compare := func(op pushdown.Operator) pushdown.Expr {
			return &pushdown.Comparison{Op: op, Left: &pushdown.Column{Index: key[k]}, Right: p, Collation: collationFor(t)}
		}
		if out == nil {
			out = compare(pushdown.GT)
			continue
		}
		out = &pushdown.Or{Operands: []pushdown.Expr{compare(pushdown.GT),
			&pushdown.And{Operands: []pushdown.Expr{compare(pushdown.EQ), out}}}}
	}
	return out, nil
}

// takeUp finds where an interrupted copy is to go on; nil: from the beginning.
func (r *replica) takeUp(ordering pushdown.Ordering, ordered bool) []pushdown.Expr {
	s := &r.state
	if !ordered || s.position == nil || s.began == nil || !bytes.Equal(s.shape, r.shape) {
		return nil
	}
	e, err := r.after(s.position)
	if err != nil {
		return nil
	}
	q := pushdown.Request{Conjuncts: []pushdown.Expr{e}, Columns: r.fetch}
	if ordering != nil {
		q.Orderings = []pushdown.Ordering{ordering}
	}
	pushed, still := r.plan(q)
	if !pushed || (ordering != nil && !still) {
		return nil
	}
	return q.Conjuncts
}

// copy reads all rows.
func (r *replica) copy(ctx context.Context) error {
	as := "running"
	if r.state.asOf == nil {
		as = "backfill"
	}
	ordering, ordered := r.inOrder()
	q := connectors.Query{}
	q.Columns, q.Total = r.fetch, true
	if ordered {
		q.Ordering = ordering
		if ordering != nil {
			q.Orderings = []pushdown.Ordering{ordering}
		}
	}
	newest := r.state.copyCursor
	if q.Conjuncts = r.takeUp(ordering, ordered); q.Conjuncts != nil {
		r.n.log.Info("taking up a copy where it stood", "table", r.name, "rows", r.state.rows)
		r.began, r.rows, r.pages = *r.state.began, r.state.rows, uint64(r.state.pages)
		if _, err := r.conn.Exec(ctx, `UPDATE hallway.replicas SET state = $2, reason = NULL WHERE relid = $1`, r.relid, as); err != nil {
			return fmt.Errorf("noting the start: %w", err)
		}
	} else {
		newest = nil
		if err := r.beginCopy(ctx, as, ordered); err != nil {
			return err
		}
		if r.logs != nil {
			var err error
			if newest, err = r.logClock(ctx); err != nil {
				return err
			}
		}
	}
	c := &copying{r: r, ordered: ordered, pages: r.pages, before: r.rows}
	if c.unknown = newest != nil && len(newest) != 8; !c.unknown {
		c.newest = newest
	}
	if err := r.collect(ctx, q, r.ascends(q.Columns), r.stage.rows, func(batch []byte, n int) error { return c.chunk(ctx, batch, n) }); err != nil {
		return err
	}
	if r.state.asOf != nil {
		if err := r.confirmCopy(ctx, c); err != nil {
			return err
		}
	}
	r.pages = c.pages + r.stats.Pages.Load()
	var merged Merged
	err := r.merge(ctx, func(tx pgx.Tx) error {
		if _, err := r.dedupe(ctx, tx, r.stage.rows); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `ANALYZE `+r.stage.rows.Sanitize()); err != nil {
			return fmt.Errorf("preparing the merge: %w", err)
		}
		var err error
		if merged, err = r.cache.MergeStaged(ctx, tx, r.stage.rows, true, r.since()); err != nil {
			return fmt.Errorf("merging: %w", err)
		}
		return r.finish(ctx, tx, r.cursorFrom(c.newest, c.unknown), true, true)
	})
	if err != nil {
		return err
	}
	r.n.log.Info("a replica is whole", "table", r.name, "rows", r.rows, "pages", r.pages,
		"inserted", merged.Inserted, "updated", merged.Updated, "deleted", merged.Deleted)
	r.dropStaging(ctx)
	if as == "backfill" {
		// Best effort: autovacuum does it some time.
		_, _ = r.conn.Exec(ctx, `ANALYZE `+r.cache.Name().Sanitize())
	}
	return nil
}

// beginCopy makes staging and notes that it is this copy's.
func (r *replica) beginCopy(ctx context.Context, as string, ordered bool) error {
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if err := r.emptyStaging(ctx, tx); err != nil {
			return err
		}
		var total *int64
		if d := r.t.Describe(); d.Rows > 0 {
			n := int64(d.Rows)
			total = &n
		}
		err := tx.QueryRow(ctx, `UPDATE hallway.replicas SET state = $2, reason = NULL, account = $3, began_at = clock_timestamp(),
  rows_read = 0, pages_read = 0, total_rows = $4, copy_shape = $5, copy_position = NULL, copy_cursor = NULL
WHERE relid = $1 RETURNING began_at`, r.relid, as, r.t.Definition.Account, total, r.shape).Scan(&r.began)
		if err != nil {
			return fmt.Errorf("noting the start: %w", err)
		}
		return nil
	})
	r.rows, r.pages = 0, 0
	return err //nolint:wrapcheck // said within
}

// copying is a copy's progress.
type copying struct {
	r       *replica
	ordered bool
	pages   uint64 // before this scan
	before  int64  // rows, likewise
	newest  []byte
	unknown bool // a row does not say when it was changed
}

// chunk stages a batch and what is known then, in one transaction.
func (c *copying) chunk(ctx context.Context, batch []byte, n int) error {
	r := c.r
	var position [][]byte
	err := walk(batch, n, len(r.fetch), func(values [][]byte) {
		c.note(values)
		if c.ordered {
			position = r.keyOf(values)
		}
	})
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if err := r.copyIn(ctx, tx, r.stage.rows, r.fetch, batch); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE hallway.replicas SET rows_read = $2, pages_read = $3, copy_position = $4, copy_cursor = $5, total_rows = coalesce($6, total_rows)
WHERE relid = $1`, r.relid, r.rows+int64(n), int64(c.pages+r.stats.Pages.Load()), position, c.cursor(), c.total())
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotReplica
		}
		if err != nil {
			return fmt.Errorf("noting progress: %w", err)
		}
		return nil
	})
	r.rows += int64(n)
	return err //nolint:wrapcheck // said within
}

// total is how many rows there are by what the API said; nil: it did not.
func (c *copying) total() *int64 {
	said := int64(c.r.stats.Total.Load())
	if said == 0 {
		return nil
	}
	said += c.before // asked only for those after them
	return &said
}

// cursor is the newest change so far; one that is not NULL and empty says that
// some rows do not tell.
func (c *copying) cursor() []byte {
	if c.unknown {
		return []byte{}
	}
	return c.newest
}

// note remembers the newest change.
func (c *copying) note(values [][]byte) {
	if c.r.change == nil {
		return
	}
	v := values[c.r.at(c.r.change.column)]
	if len(v) != 8 {
		c.unknown = true
		return
	}
	if c.newest == nil || micros(v) > micros(c.newest) {
		c.newest = bytes.Clone(v)
	}
}

// at is where a column stands in a tuple.
func (r *replica) at(column int) int {
	for k, i := range r.fetch {
		if i == column {
			return k
		}
	}
	return -1 // key and change column are never generated
}

func (r *replica) keyOf(values [][]byte) [][]byte {
	key := make([][]byte, len(r.t.Definition.Key))
	for k, i := range r.t.Definition.Key {
		key[k] = bytes.Clone(values[r.at(i)])
	}
	return key
}

func micros(v []byte) int64 { return int64(binary.BigEndian.Uint64(v)) }

// epoch of PostgreSQL's times, in microseconds since 1970.
const epoch = 946684800_000000

// cursorFrom is where the next increment begins. What changed while the rows
// were read may have been read before: nothing after the beginning counts.
// Clocks may differ by what the overlap allows for.
func (r *replica) cursorFrom(newest []byte, unknown bool) []byte {
	if (r.change == nil && r.logs == nil) || unknown {
		return nil
	}
	began := r.began.UnixMicro() - epoch
	if newest != nil {
		began = min(began, micros(newest))
	}
	return binary.BigEndian.AppendUint64(nil, uint64(began))
}

// since is the time from which on writes through Hallway are newer than what
// the API lists.
func (r *replica) since() time.Time {
	return r.began.Add(-r.t.Describe().Lag())
}

// merge runs f in a transaction that may take its time. Whoever is in its way
// is waited for a little, and then it is tried again.
func (r *replica) merge(ctx context.Context, f func(tx pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
				return fmt.Errorf("beginning a merge: %w", err)
			}
			return f(tx)
		})
		if err == nil || try == 20 || !cache.IsLocked(err) {
			return err //nolint:wrapcheck // said within
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

// dropStaging gives the space back; what stays is dropped by the next run.
func (r *replica) dropStaging(ctx context.Context) {
	s := &r.stage
	_, _ = r.conn.Exec(ctx, `DROP TABLE IF EXISTS `+s.rows.Sanitize()+`, `+s.in.Sanitize()+`, `+s.keys.Sanitize()+`, `+s.gone.Sanitize())
}
