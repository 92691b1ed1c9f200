// A fill: one scan's rows on their way into the cache table.

package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// held is how much of a fill waits in memory for its end. Past it a connection
// is taken and COPY runs.
const held = 1 << 20

// Waits of a fill's end for other sidecars' merges; nobody waits for it.
const mergeWait = 2 * time.Second

// copyHeader and copyTrailer are COPY BINARY's, without options.
var (
	copyHeader  = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyTrailer = []byte{0xff, 0xff}
)

// Fill takes a region's rows. It is used by one goroutine; whoever wants to end a
// Write of another cancels Begin's context.
type Fill struct {
	t         *Table
	ctx       context.Context
	region    Region
	condition string
	fetchedAt time.Time
	release   func()

	buffer []byte
	rows   int64
	bytes  int64
	copy   *copying
	err    error
	once   sync.Once
	end    func()
}

// copying is a COPY under way, in a transaction of its own.
type copying struct {
	conn   *pgxpool.Conn
	tx     pgx.Tx
	direct bool
	pipe   *io.PipeWriter
	done   chan struct{}
	err    error
	// positions of arrays whose elements travel as text
	arrays map[int]uint32
}

// Begin starts a fill of a region whose first request was sent, or is about to
// be, at started (by the local clock). ctx lasts as long as the fill. The fill
// holds the region's lock, which no other fill in any sidecar can have: ErrBusy
// if one has. What it is given is kept by Commit alone; call Abort in any case.
func (t *Table) Begin(ctx context.Context, region Region, started time.Time) (*Fill, error) {
	if t.replica {
		return nil, errors.New("a replica has no regions")
	}
	condition, err := t.condition(region)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	began := now.Add(-max(now.Sub(started), 0))
	release, err := t.d.locks.try(ctx, regionLock(t.id, region.Hash), notice{noticeOf(t.id, region), noticeTime(t.d.db.At(began))})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &Fill{t: t, ctx: ctx, region: region, condition: condition, release: release, end: cancel,
		fetchedAt: t.d.db.At(began).Truncate(time.Microsecond)}, nil
}

// Yield lets others fill the region too, who would wait for this fill in vain; it
// goes on as before. It may be called at any time, by any goroutine.
func (f *Fill) Yield() { f.release() }

// condition checks a region and writes it as SQL.
func (t *Table) condition(region Region) (string, error) {
	have := make([]bool, len(t.attrs))
	for _, c := range region.Columns {
		if c < 0 || c >= len(have) || have[c] || t.def.Columns[c].Generated {
			return "", fmt.Errorf("column %d cannot be part of a region", c)
		}
		have[c] = true
	}
	for _, k := range t.key {
		if !have[k] {
			return "", fmt.Errorf("the key's column %q is not fetched", t.attrs[k].name)
		}
	}
	for _, e := range region.Conjuncts {
		for _, c := range pushdown.Columns(e) {
			if c < 0 || c >= len(have) || !have[c] {
				return "", errors.New("a column of the condition is not fetched")
			}
		}
	}
	condition, err := pushdown.SQL(region.Conjuncts, t.names())
	if err != nil {
		return "", fmt.Errorf("writing the condition: %w", err)
	}
	return condition, nil
}

// shown is a region's condition for people.
func (t *Table) shown(region Region) string {
	list := make([]string, len(region.Conjuncts))
	for i, e := range region.Conjuncts {
		list[i] = pushdown.Format(e, t.names())
		if len(list) > 1 {
			list[i] = "(" + list[i] + ")"
		}
	}
	return strings.Join(list, " AND ")
}

// Write takes n tuples with the region's columns. It keeps no reference to them
// and may block while PostgreSQL is slow. After an error the fill is over.
func (f *Fill) Write(tuples []byte, n int) error {
	if f.err != nil {
		return f.err
	}
	f.rows += int64(n)
	f.bytes += int64(len(tuples))
	if f.copy == nil && len(f.buffer)+len(tuples) <= held {
		f.buffer = append(f.buffer, tuples...)
		return nil
	}
	if f.copy == nil {
		if f.err = f.startCopy(); f.err != nil {
			return f.err
		}
		early := f.buffer
		f.buffer = nil
		if f.err = f.copy.send(early, f.rows-int64(n), len(f.region.Columns), false); f.err != nil {
			return f.err
		}
	}
	f.err = f.copy.send(tuples, int64(n), len(f.region.Columns), true)
	return f.err
}

// Rows taken so far.
func (f *Fill) Rows() int64 { return f.rows }

// Abort ends the fill; nothing of it is kept. After Commit it does nothing.
func (f *Fill) Abort() {
	f.once.Do(func() {
		if c := f.copy; c != nil {
			_ = c.pipe.CloseWithError(context.Canceled)
			<-c.done
			ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), time.Second)
			_ = c.tx.Rollback(ctx)
			cancel()
			f.letGo()
		}
		f.buffer = nil
		f.end()
		f.release()
	})
}

func (f *Fill) letGo() {
	f.copy.conn.Release()
	<-f.t.d.fills
}

// takeSlot is for a fill that is about to hold a connection.
func (f *Fill) takeSlot(ctx context.Context, wait time.Duration) error {
	select {
	case f.t.d.fills <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case f.t.d.fills <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrFull
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startCopy begins a transaction and a COPY: into the cache table if that is
// empty and nobody else writes to it, else into a staging table.
func (f *Fill) startCopy() (err error) {
	ctx := f.ctx
	if err := f.takeSlot(ctx, 0); err != nil {
		return err
	}
	conn, err := f.t.d.db.Acquire(ctx)
	if err != nil {
		<-f.t.d.fills
		return err
	}
	c := &copying{conn: conn, done: make(chan struct{})}
	defer func() {
		if err != nil {
			if c.tx != nil {
				_ = c.tx.Rollback(ctx)
			}
			conn.Release()
			<-f.t.d.fills
		}
	}()
	if c.tx, err = conn.Begin(ctx); err != nil {
		return fmt.Errorf("beginning a fill: %w", err)
	}
	// It lasts as long as the API takes.
	if _, err := c.tx.Exec(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
		return fmt.Errorf("beginning a fill: %w", err)
	}
	if c.direct, err = f.mayCopyDirectly(c.tx); err != nil {
		return err
	}
	target := f.t.sql + " (" + f.t.list(f.region.Columns, "") + ")"
	if !c.direct {
		if target, err = f.makeStage(c); err != nil {
			return err
		}
	}
	r, w := io.Pipe()
	c.pipe = w
	go func() {
		defer close(c.done)
		_, err := conn.Conn().PgConn().CopyFrom(ctx, r, "COPY "+target+" FROM STDIN (FORMAT binary)")
		if err == nil {
			err = io.ErrClosedPipe
		} else {
			if c.err = fmt.Errorf("copying into the cache: %w", f.t.gone(err)); sqlState(err) == "23505" {
				c.err = ErrDuplicate
			}
			err = c.err
		}
		_ = r.CloseWithError(err)
	}()
	if _, err := w.Write(copyHeader); err != nil {
		<-c.done
		return err //nolint:wrapcheck // it is COPY's error, made above
	}
	f.copy = c
	return nil
}

// mayCopyDirectly takes the writer lock and keeps it if the table is empty.
func (f *Fill) mayCopyDirectly(tx pgx.Tx) (bool, error) {
	for _, c := range f.region.Columns {
		if f.t.forms[c] != native {
			return false, nil
		}
	}
	sub, err := tx.Begin(f.ctx)
	if err != nil {
		return false, fmt.Errorf("beginning a fill: %w", err)
	}
	// In two statements: the second sees what was committed before the lock.
	var locked, empty bool
	err = sub.QueryRow(f.ctx, "SELECT pg_try_advisory_xact_lock($1, $2)", int32(lockWriter), int32(f.t.id)).Scan(&locked)
	if err == nil && locked {
		err = sub.QueryRow(f.ctx, "SELECT NOT EXISTS (SELECT FROM "+f.t.sql+")").Scan(&empty)
	}
	switch {
	case err != nil:
		return false, fmt.Errorf("looking whether the cache table is empty: %w", f.t.gone(err))
	case empty:
		err = sub.Commit(f.ctx)
	default:
		err = sub.Rollback(f.ctx) // gives the lock back
	}
	if err != nil {
		return false, fmt.Errorf("beginning a fill: %w", err)
	}
	return empty, nil
}

const stageName = "pg_temp.hallway_stage"

func stageColumn(c int) string { return fmt.Sprintf("c%d", c) }

// makeStage makes a temporary table that goes with the transaction.
func (f *Fill) makeStage(c *copying) (string, error) {
	ddl, list := "", ""
	for i, col := range f.region.Columns {
		if i > 0 {
			ddl += ", "
			list += ", "
		}
		a := f.t.attrs[col]
		switch f.t.forms[col] {
		case native:
			ddl += stageColumn(col) + " " + a.typ
			if a.collate != "" {
				ddl += " COLLATE " + a.collate
			}
		case asText:
			ddl += stageColumn(col) + " text"
		case asTextArr:
			ddl += stageColumn(col) + " text[]"
			if c.arrays == nil {
				c.arrays = map[int]uint32{}
			}
			c.arrays[i] = textOID
		}
		list += stageColumn(col)
	}
	if _, err := c.tx.Exec(f.ctx, "CREATE TEMPORARY TABLE hallway_stage ("+ddl+") ON COMMIT DROP"); err != nil {
		if sqlState(err) == "42501" {
			err = fmt.Errorf("%w (GRANT TEMPORARY ON DATABASE to the sidecar's role)", err)
		}
		return "", fmt.Errorf("making a staging table: %w", err)
	}
	return stageName + " (" + list + ")", nil
}

// send writes tuples into the COPY. borrowed: they are the caller's.
func (c *copying) send(tuples []byte, n int64, columns int, borrowed bool) error {
	if c.arrays != nil {
		if borrowed {
			tuples = append([]byte(nil), tuples...)
		}
		if err := setElementOIDs(tuples, int(n), columns, c.arrays); err != nil {
			return err
		}
	}
	if len(tuples) == 0 {
		return nil
	}
	_, err := c.pipe.Write(tuples)
	return err //nolint:wrapcheck // it is COPY's error, made in startCopy
}

// Commit makes the region of what was written, and is to be called only if that
// is all of it. If it fails nothing is kept: ErrOvertaken, ErrDuplicate, ErrGone,
// one that IsLocked knows, *UnreachableError, or what PostgreSQL said.
func (f *Fill) Commit(ctx context.Context) (r Result, err error) {
	defer f.Abort()
	if f.err != nil {
		return Result{}, f.err
	}
	if f.copy == nil && len(f.buffer) > 0 && f.needsStage() {
		if err := f.startCopy(); err != nil {
			return Result{}, err
		}
		if err := f.copy.send(f.buffer, f.rows, len(f.region.Columns), false); err != nil {
			return Result{}, err
		}
	}
	if c := f.copy; c != nil {
		if _, err := c.pipe.Write(copyTrailer); err == nil {
			_ = c.pipe.Close()
		}
		<-c.done
		if c.err != nil {
			return Result{}, c.err
		}
		if r, err = f.finish(ctx, c.tx); err == nil {
			err = c.tx.Commit(ctx)
		}
	} else {
		if err := f.takeSlot(ctx, mergeWait); err != nil {
			return Result{}, err
		}
		err = f.t.d.db.InTx(ctx, func(tx pgx.Tx) (err error) {
			r, err = f.finish(ctx, tx)
			return err
		})
		<-f.t.d.fills
	}
	if err != nil {
		return Result{}, fmt.Errorf("keeping the rows: %w", err)
	}
	return r, nil
}

// needsStage: a column has no place in an array of rows.
func (f *Fill) needsStage() bool {
	for _, c := range f.region.Columns {
		if f.t.forms[c] == asTextArr {
			return true
		}
	}
	return false
}

// finish does all that is left to do in the fill's transaction.
func (f *Fill) finish(ctx context.Context, tx pgx.Tx) (r Result, err error) {
	t := f.t
	if f.copy == nil || !f.copy.direct {
		if f.copy != nil {
			if err := f.indexStage(ctx, tx); err != nil {
				return r, err
			}
		}
		if err := t.lockWriterIn(ctx, tx, mergeWait); err != nil {
			return r, err
		}
	}
	if t.d.db.Now().Sub(f.fetchedAt) > longestFill {
		return r, fmt.Errorf("%w, or may have been", ErrOvertaken)
	}
	skip, err := t.writtenSince(ctx, tx, f.fetchedAt)
	if err != nil {
		return r, err
	}
	hash := f.region.Hash
	others, many, err := t.otherRegions(ctx, tx, &hash)
	if err != nil {
		return r, err
	}
	var lost []bool
	switch {
	case f.copy != nil && f.copy.direct:
		r = Result{Rows: f.rows, Inserted: f.rows}
		if skip {
			// The table was empty, so whatever was written since was deleted.
			_, err = tx.Exec(ctx, "DELETE FROM "+t.sql+" AS t USING hallway.cache_writes AS w WHERE w.cache_id = $1 AND w.written_at >= $2 AND w.key = "+
				t.keyText(func(i int) string { return "t." + t.columns[i] }), t.id, f.fetchedAt)
		}
		if err == nil {
			lost, err = t.contradicted(ctx, tx, others)
		}
	case f.copy != nil:
		r, lost, err = t.merge(ctx, tx, t.stageSource(stageName, f.region.Columns, stageColumn, true), f.condition, skip, f.fetchedAt, others)
	default:
		var arrays rowArrays
		if arrays, err = t.rowArrays(f.region.Columns, f.buffer, int(f.rows)); err == nil {
			r, lost, err = t.merge(ctx, tx, t.arraySource(f.region.Columns, arrays), f.condition, skip, f.fetchedAt, others)
		}
	}
	if err != nil {
		return r, err
	}
	if r.Rows != f.rows {
		return r, fmt.Errorf("%w: %d rows instead of %d", errBadTuples, r.Rows, f.rows)
	}
	if err := t.lockRegistryIn(ctx, tx); err != nil {
		return r, err
	}
	// Again under the lock, for what was invalidated meanwhile.
	if _, err := t.writtenSince(ctx, tx, f.fetchedAt); err != nil {
		return r, err
	}
	if err := t.afterMerge(ctx, tx, f.region.Columns, hash, r, others, many, lost); err != nil {
		return r, err
	}
	numbers := make([]int16, len(f.region.Columns))
	for i, c := range f.region.Columns {
		numbers[i] = int16(c + 1)
	}
	predicate := f.region.Predicate
	if predicate == nil {
		predicate = []byte{}
	}
	_, err = tx.Exec(ctx, `INSERT INTO hallway.cache_regions AS r (cache_id, hash, predicate, columns, fetched_at, rows, bytes, condition, last_used, shown)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9)
ON CONFLICT (cache_id, hash) DO UPDATE SET predicate = excluded.predicate, columns = excluded.columns, fetched_at = excluded.fetched_at,
  rows = excluded.rows, bytes = excluded.bytes, condition = excluded.condition, last_used = excluded.last_used, shown = excluded.shown`,
		t.id, hash, predicate, numbers, f.fetchedAt, f.rows, f.bytes, f.condition, t.shown(f.region))
	if err != nil {
		return r, fmt.Errorf("recording the region: %w", err)
	}
	return r, nil
}

// indexStage makes sure that no key is there twice, and helps the planner.
func (f *Fill) indexStage(ctx context.Context, tx pgx.Tx) error {
	list := ""
	for i, k := range f.t.key {
		if i > 0 {
			list += ", "
		}
		list += stageColumn(k)
		if f.t.forms[k] != native {
			list = "" // compared in another type; the table's own key tells
			break
		}
	}
	if list != "" {
		if _, err := tx.Exec(ctx, "ALTER TABLE "+stageName+" ADD PRIMARY KEY ("+list+")"); err != nil {
			if sqlState(err) == "23505" {
				return ErrDuplicate
			}
			return fmt.Errorf("indexing the staging table: %w", err)
		}
	}
	// For the joins with a large table; few fills are so large at a time.
	if _, err := tx.Exec(ctx, "SET LOCAL work_mem = '32MB'"); err != nil {
		return fmt.Errorf("setting up a merge: %w", err)
	}
	if _, err := tx.Exec(ctx, "ANALYZE "+stageName); err != nil {
		return fmt.Errorf("analyzing the staging table: %w", err)
	}
	return nil
}
