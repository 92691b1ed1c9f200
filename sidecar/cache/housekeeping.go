// What goes by itself: tables of foreign tables that are no more, tables that
// nobody knows, regions that nobody reads, the least used of too many, and rows
// that no region holds.

package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// writesKept is how long it is remembered that a row was written. A scan that
// took longer than longestFill is not kept.
const (
	writesKept  = 24 * time.Hour
	longestFill = 23 * time.Hour
)

// roundTime bounds a round in one database; idleRound is between two of them
// where nothing is kept.
const (
	roundTime = 5 * time.Minute
	idleRound = time.Hour
)

func (m *Manager) keepHouse() {
	defer m.done.Done()
	tick := time.NewTicker(m.cfg.Housekeeping)
	defer tick.Stop()
	for {
		select {
		case <-m.stop.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		all := make([]*Database, 0, len(m.open))
		for _, d := range m.open {
			all = append(all, d)
		}
		m.mu.Unlock()
		for _, d := range all {
			d.locks.idle()
			if !d.due() || d.db.Err() != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(m.stop, roundTime)
			if err := d.Clean(ctx); err != nil && ctx.Err() == nil {
				m.cfg.Log.Warn("housekeeping of the cache", "database", d.db.Address().Database, "error", err.Error())
			}
			cancel()
		}
	}
}

// due is true for a database in which something was kept since the last round.
// Others are looked at now and then, so that their connections can end.
func (d *Database) due() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.active && time.Since(d.cleaned) < idleRound {
		return false
	}
	d.active, d.cleaned = false, time.Now()
	return true
}

// again has the next round look at the database, too.
func (d *Database) again() {
	d.mu.Lock()
	d.active = true
	d.mu.Unlock()
}

// Clean does one round of housekeeping, unless another sidecar is at it.
func (d *Database) Clean(ctx context.Context) error {
	if d.db.Standby() {
		return nil
	}
	conn, err := d.db.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, 0)", int32(lockCleaner)).Scan(&mine); err != nil || !mine {
		return wrapped("locking", err)
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1, 0)", int32(lockCleaner)); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	h := house{d: d, conn: conn.Conn()}
	var errs []error
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"reading the registry", h.read},
		{"dropping tables", h.dropTables},
		{"deleting regions that nobody reads", h.expire},
		{"making room", h.evict},
		{"deleting rows that no region holds", h.sweep},
	} {
		if err := step.do(ctx); err != nil {
			errs = append(errs, wrapped(step.what, err))
			if h.list == nil || ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

type house struct {
	d    *Database
	conn *pgx.Conn
	list []registration
	// lost are tables that lost regions in this round.
	lost map[int64]bool
}

func (h *house) tx(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, h.conn, f) //nolint:wrapcheck // f has said what it was doing
}

func (h *house) read(ctx context.Context) error {
	h.lost = map[int64]bool{}
	rows, err := h.conn.Query(ctx, registered+" ORDER BY r.id")
	if err != nil {
		return err //nolint:wrapcheck // Clean says what for
	}
	h.list, err = pgx.CollectRows(rows, scanRegistered)
	if h.list == nil {
		h.list = []registration{}
	}
	return err //nolint:wrapcheck // Clean says what for
}

// dropTables drops what belongs to no foreign table, or to one and an account
// that has not been seen for long, and what the registry does not know, such as
// tables that a dump brought.
func (h *house) dropTables(ctx context.Context) error {
	var errs []error
	var keep []registration
	for _, r := range h.list {
		var t *Table
		err := h.tx(ctx, func(tx pgx.Tx) (err error) {
			if t, err = h.d.load(ctx, tx, r); err != nil {
				return err
			}
			unused := !r.replica && time.Since(r.lastUsed) > 7*h.d.cfg.Unused
			if r.foreign && t != nil && !unused {
				keep = append(keep, r)
				t = nil
				return nil
			}
			return unregister(ctx, tx, r.id)
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	h.list = keep
	rows, err := h.conn.Query(ctx, `SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
  AND NOT EXISTS (SELECT FROM hallway.cache_tables r WHERE r.cache_relid = c.oid)`, schema)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	errs = append(errs, err)
	for _, name := range names {
		if _, err := h.conn.Exec(ctx, "DROP TABLE IF EXISTS "+name); err != nil && !IsLocked(err) {
			errs = append(errs, fmt.Errorf("dropping %s: %w", name, err))
		}
	}
	_, err = h.conn.Exec(ctx, `DELETE FROM hallway.cache_writes w
WHERE written_at < now() - $1 * interval '1 microsecond' OR NOT EXISTS (SELECT FROM hallway.cache_tables t WHERE t.id = w.cache_id)`, writesKept.Microseconds())
	errs = append(errs, err)
	_, err = h.conn.Exec(ctx, "DELETE FROM hallway.cache_regions r WHERE NOT EXISTS (SELECT FROM hallway.cache_tables t WHERE t.id = r.cache_id)")
	return errors.Join(append(errs, err)...)
}

func (h *house) expire(ctx context.Context) error {
	rows, err := h.conn.Query(ctx, `DELETE FROM hallway.cache_regions WHERE last_used < now() - $1 * interval '1 microsecond' RETURNING cache_id`,
		h.d.cfg.Unused.Microseconds())
	if err != nil {
		return err //nolint:wrapcheck // Clean says what for
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	for _, id := range ids {
		h.lost[id] = true
	}
	return err //nolint:wrapcheck // Clean says what for
}

// rowOverhead is what a row takes in a table and its index beside its values,
// roughly.
const rowOverhead = 64

// evict deletes the least recently used regions while the rows of the tables
// take too much room. What deleted rows leave in the files is for the next fills
// to use; only when files have twice the size, holes and all, are regions
// deleted that would have room, until files shrink.
func (h *house) evict(ctx context.Context) error {
	sizes, err := h.sizes(ctx)
	if err != nil {
		return err
	}
	rows, err := h.conn.Query(ctx, "SELECT cache_id, hash, bytes + $1 * rows, condition = 'true' FROM hallway.cache_regions ORDER BY last_used, fetched_at", rowOverhead)
	if err != nil {
		return err //nolint:wrapcheck // Clean says what for
	}
	type region struct {
		id, hash, bytes int64
		whole           bool
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r region, err error) {
		return r, row.Scan(&r.id, &r.hash, &r.bytes, &r.whole)
	})
	if err != nil {
		return err //nolint:wrapcheck // Clean says what for
	}
	left := map[int64]int{}
	all, used, whole := map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
	for _, r := range list {
		left[r.id]++
		all[r.id] += r.bytes
		if r.whole {
			whole[r.id] = max(whole[r.id], r.bytes)
		}
	}
	var files, excess int64
	for id, n := range sizes {
		files += n
		if used[id] = all[id]; whole[id] > 0 {
			used[id] = whole[id] // the others are part of it
		}
		used[id] = min(used[id], n)
		excess += used[id]
	}
	excess -= h.d.cfg.MaxBytes
	if files > 2*h.d.cfg.MaxBytes {
		excess = max(excess, files-2*h.d.cfg.MaxBytes)
		h.d.again()
	}
	if excess <= 0 {
		return nil
	}
	// A tenth more, so that not every fill is followed by this.
	excess += h.d.cfg.MaxBytes / 10
	taken := maps.Clone(used)
	var ids, hashes []int64
	for _, r := range list {
		if excess <= 0 {
			break
		}
		ids, hashes = append(ids, r.id), append(hashes, r.hash)
		h.lost[r.id] = true
		left[r.id]--
		// Its share, as regions overlap and sizes are estimates.
		freed := int64(float64(r.bytes) / float64(max(all[r.id], 1)) * float64(taken[r.id]))
		if left[r.id] == 0 {
			freed = used[r.id]
		}
		used[r.id] -= freed
		excess -= freed
	}
	for id, n := range sizes {
		if n > 0 && left[id] == 0 {
			h.lost[id] = true // rows without a region
		}
	}
	_, err = h.conn.Exec(ctx, `DELETE FROM hallway.cache_regions
WHERE (cache_id, hash) IN (SELECT * FROM unnest($1::int8[], $2::int8[]))`, ids, hashes)
	return err //nolint:wrapcheck // Clean says what for
}

// sizes of the read-through tables, with indexes and TOAST.
func (h *house) sizes(ctx context.Context) (map[int64]int64, error) {
	rows, err := h.conn.Query(ctx, `SELECT id, coalesce(pg_total_relation_size(cache_relid), 0) FROM hallway.cache_tables WHERE NOT replica`)
	if err != nil {
		return nil, err //nolint:wrapcheck // Clean says what for
	}
	sizes := map[int64]int64{}
	var id, n int64
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		sizes[id] = n
		return nil
	})
	return sizes, err //nolint:wrapcheck // Clean says what for
}

// sweep deletes the rows of tables that lost regions, as far as no region holds
// them, and gives their room back.
func (h *house) sweep(ctx context.Context) error {
	d := h.d
	d.mu.Lock()
	first := !d.swept
	d.swept = true
	dirty := d.dirty
	d.dirty = map[int64]bool{}
	d.mu.Unlock()
	var errs []error
	for _, r := range h.list {
		if r.replica || !first && !dirty[r.id] && !h.lost[r.id] {
			continue
		}
		t, n, err := h.sweepTable(ctx, r)
		if err != nil {
			d.soil(r.id) // the next round tries again
			if !IsLocked(err) {
				errs = append(errs, err)
			}
			continue
		}
		if n > 0 {
			if _, err := h.conn.Exec(ctx, "VACUUM (SKIP_LOCKED, PARALLEL 0) "+t.sql); err != nil && !IsLocked(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (h *house) sweepTable(ctx context.Context, r registration) (t *Table, n int64, err error) {
	err = h.tx(ctx, func(tx pgx.Tx) error {
		if t, err = h.d.load(ctx, tx, r); err != nil || t == nil {
			return err
		}
		if err := t.lockWriterIn(ctx, tx, 0); err != nil {
			return err
		}
		regions, many, err := t.otherRegions(ctx, tx, nil)
		switch {
		case err != nil:
			return err
		case many:
			// They would make too long a condition: the least used of them go.
			_, err := tx.Exec(ctx, `DELETE FROM hallway.cache_regions WHERE cache_id = $1 AND hash IN
(SELECT hash FROM hallway.cache_regions WHERE cache_id = $1 AND last_used < now() - interval '1 hour' ORDER BY last_used LIMIT 1000)`, t.id)
			h.d.soil(t.id)
			return err //nolint:wrapcheck // Clean says what for
		case len(regions) == 0:
			if ok, err := h.truncate(ctx, tx, t); ok || err != nil {
				return err
			}
		}
		held := []string{"false"}
		slices.SortFunc(regions, func(a, b otherRegion) int { return cmp.Compare(len(a.condition), len(b.condition)) })
		for _, o := range regions {
			if o.condition == "true" {
				return nil
			}
			held = append(held, "("+o.condition+")")
		}
		// What was written lately stays: a fill under way leaves it to us.
		tag, err := tx.Exec(ctx, "DELETE FROM "+t.sql+" AS t WHERE ("+strings.Join(held, " OR ")+") IS NOT TRUE"+
			" AND NOT EXISTS (SELECT FROM hallway.cache_writes w WHERE w.cache_id = $1 AND w.complete AND w.key = "+
			t.keyText(func(i int) string { return "t." + t.columns[i] })+")", t.id)
		n = tag.RowsAffected()
		return err //nolint:wrapcheck // Clean says what for
	})
	return t, n, err
}

// truncate empties a table that has no region and no row lately written, if
// nobody is reading it.
func (h *house) truncate(ctx context.Context, tx pgx.Tx, t *Table) (bool, error) {
	var lately bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM hallway.cache_writes WHERE cache_id = $1 AND complete)", t.id).Scan(&lately)
	if err != nil || lately {
		return false, err //nolint:wrapcheck // Clean says what for
	}
	sub, err := tx.Begin(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // Clean says what for
	}
	if _, err := sub.Exec(ctx, "LOCK TABLE "+t.sql+" IN ACCESS EXCLUSIVE MODE NOWAIT"); err != nil {
		if rerr := sub.Rollback(ctx); rerr != nil || !IsLocked(err) {
			return false, errors.Join(err, rerr)
		}
		return false, nil
	}
	if _, err := sub.Exec(ctx, "TRUNCATE "+t.sql); err != nil {
		return false, err //nolint:wrapcheck // Clean says what for
	}
	return true, sub.Commit(ctx) //nolint:wrapcheck // Clean says what for
}
