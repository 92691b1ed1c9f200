// Package cache keeps rows of foreign tables in local tables of the database
// that asks: which tables those are, how they are filled and merged, what of
// them is complete (regions), and how they go again. It speaks no API and no
// gRPC; rows come to it as tuples in PostgreSQL's binary format, already
// encoded for the backend.
//
// Who changes rows of a cache table holds its writer lock (an advisory lock
// that sidecars alone take, so that waiting for it can deadlock with no
// backend); who changes its regions locks its row of hallway.cache_tables in
// the same transaction. What is committed is true at any moment: a region and
// the rows it claims are written together.
//
// This file is what the rooms above use.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Config is what Open needs. Zero values stand for the defaults.
type Config struct {
	Log *slog.Logger
	// MaxBytes bounds the read-through cache tables of one database together,
	// indexes included; past it the least recently used regions go. Default
	// 4 GiB.
	MaxBytes int64
	// Fills of one database that write at the same time, at most; more are not
	// kept. Default 4; fewer than the connections of its pool.
	Fills int
	// Unused is after how long a region that nobody has read goes, and after
	// seven times that a table. Default 24 h.
	Unused time.Duration
	// Housekeeping is the time between two rounds in a database. Default 30 s;
	// negative: none.
	Housekeeping time.Duration
}

// Identity names a database for good: a restored or cloned one differs.
type Identity = database.Identity

// Address is where a database is found.
type Address = database.Address

// Definition is the foreign table that a cache table is for, as a backend, or
// hallway.relation_definition(), described it.
type Definition struct {
	Relid, ServerOID uint32
	// Account identifies whose rows these are: hallway.cache_tables.account.
	Account []byte
	// Object of the API, so that a write through another foreign table is seen.
	Object string
	// Options of the table that decide what its rows are.
	Options []Option
	// Columns in the table's order; generated ones are NULL in the cache.
	Columns []Column
	// Key are the positions (from 0) of the object's key in Columns; never empty.
	Key     []int
	Replica bool
}

// Option of a foreign table or of one of its columns.
type Option struct{ Name, Value string }

// Column of a foreign table.
type Column struct {
	Name      string
	Type      pushdown.Type
	Generated bool
	Options   []Option
}

// Region is what a fill makes: all rows for which Conjuncts hold, with Columns.
type Region struct {
	// Predicate is compared and stored, never read; Hash is its.
	Predicate []byte
	Hash      int64
	// Conjuncts with all parameters known.
	Conjuncts []pushdown.Expr
	// Columns that the tuples hold, in their order (positions from 0, each once):
	// the key's and those of Conjuncts are among them, generated ones are not.
	Columns []int
}

// Write is one row that the API has applied, with what it answered.
type Write struct {
	// Key of the row before the write, as text of the key's types' output
	// functions; nil for a row that is new.
	Key []string
	// Deleted, or not there any more.
	Deleted bool
	// Columns that Tuple holds (positions from 0), in its order; the key's are
	// among them. Others are unknown: an update leaves them, and an insert
	// cannot be shown in regions that have them.
	Columns []int
	// Tuple in PostgreSQL's binary format; nil if Deleted, and else if what the
	// row is now is not known.
	Tuple []byte
}

// Use is a region that a backend has read.
type Use struct{ CacheID, Hash int64 }

// What a caller may want to tell apart, beside *database.UnreachableError.
var (
	// ErrStandby: the server is a hot standby; nothing can be kept there.
	ErrStandby = errors.New("the server is in recovery")
	// ErrShape: the table is not, or not yet, committed as the backend sees it.
	ErrShape = errors.New("the foreign table's definition is not the committed one")
	// ErrBusy: another fill of the region is under way, here or in another sidecar.
	ErrBusy = errors.New("another fill of the region is under way")
	// ErrFull: as many fills as may are writing.
	ErrFull = errors.New("as many fills as may are under way")
	// ErrGone: the cache table was dropped or replaced; ask for the Table anew.
	ErrGone = errors.New("the cache table is gone")
	// ErrOvertaken: what was fetched is older than what has been written or
	// invalidated since, and is not kept.
	ErrOvertaken = errors.New("rows were written meanwhile")
	// ErrDuplicate: the API returned a row twice, so it may have left out others.
	ErrDuplicate = errors.New("the API returned a row more than once")
)

// IsLocked reports whether err is a lock that was not to be had in time, or a
// deadlock: the same may work a little later.
func IsLocked(err error) bool {
	switch sqlState(err) {
	case "55P03", "40P01", "40001":
		return true
	}
	return errors.Is(err, errWriterLock) || errors.Is(err, database.ErrBusy)
}

var errWriterLock = errors.New("another fill writes to the cache table")

func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// Manager has the caches of all databases.
type Manager struct {
	cfg Config
	dbs *database.Manager

	mu     sync.Mutex
	open   map[databaseKey]*Database
	closed bool
	stop   context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type databaseKey struct {
	identity Identity
	address  Address
}

// Open starts a manager over databases, which stays the caller's to close,
// afterwards.
func Open(cfg Config, dbs *database.Manager) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 4 << 30
	}
	if cfg.Fills <= 0 {
		cfg.Fills = 4
	}
	if cfg.Unused <= 0 {
		cfg.Unused = 24 * time.Hour
	}
	if cfg.Housekeeping == 0 {
		cfg.Housekeeping = 30 * time.Second
	}
	m := &Manager{cfg: cfg, dbs: dbs, open: map[databaseKey]*Database{}}
	m.stop, m.cancel = context.WithCancel(context.Background())
	if cfg.Housekeeping > 0 {
		m.done.Add(1)
		go m.keepHouse()
	}
	return m
}

// Close ends housekeeping and lets go of connections. Fills must have ended.
func (m *Manager) Close() {
	m.cancel()
	m.done.Wait()
	m.mu.Lock()
	all := m.open
	m.open, m.closed = map[databaseKey]*Database{}, true
	m.mu.Unlock()
	for _, d := range all {
		d.locks.close()
	}
}

// Database finds the cache of a database. Nothing is sent to it before it is
// used.
func (m *Manager) Database(id Identity, at Address) *Database {
	k := databaseKey{id, at}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.open[k]
	if d == nil {
		db := m.dbs.Database(id, at)
		d = &Database{cfg: &m.cfg, db: db, tables: map[tableKey]*Table{}, dirty: map[int64]bool{},
			fills: make(chan struct{}, m.cfg.Fills), locks: regionLocks{db: db}}
		if !m.closed {
			m.open[k] = d
		}
	}
	return d
}

// Database is the cache of one database.
type Database struct {
	cfg *Config
	db  *database.Database
	// fills has room for those that hold a connection.
	fills chan struct{}
	locks regionLocks

	mu     sync.Mutex
	tables map[tableKey]*Table
	// dirty are cache tables that may hold rows of no region.
	dirty map[int64]bool
	swept bool
	// active: something was kept since the last round of housekeeping.
	active  bool
	cleaned time.Time
}

type tableKey struct {
	relid   uint32
	account string
}

// Connection is the database itself.
func (d *Database) Connection() *database.Database { return d.db }

func (d *Database) soil(ids ...int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		d.dirty[id] = true
	}
}

// forgetTable makes the next Table look again.
func (d *Database) forgetTable(t *Table) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := (tableKey{t.def.Relid, string(t.def.Account)}); d.tables[k] == t {
		delete(d.tables, k)
	}
}

// InvalidateObject deletes the regions of all cache tables of an object but
// one's: it was written through another foreign table, or another account. An
// empty object stands for all of the server.
func (d *Database) InvalidateObject(ctx context.Context, serverOID uint32, object string, exceptCacheID int64) error {
	return d.invalidate(ctx, "server_oid = $1 AND ($2 = '' OR object = $2) AND id <> $3", serverOID, object, exceptCacheID)
}

// InvalidateTable deletes the regions of a foreign table, for all accounts.
func (d *Database) InvalidateTable(ctx context.Context, relid uint32) error {
	return d.invalidate(ctx, "relid = $1", relid)
}

func (d *Database) invalidate(ctx context.Context, which string, args ...any) error {
	if err := d.writable(); err != nil {
		return err
	}
	ids, err := d.invalidateWhere(ctx, which, args)
	if err != nil {
		return fmt.Errorf("invalidating cached rows: %w", err)
	}
	d.soil(ids...)
	return nil
}

func (d *Database) invalidateWhere(ctx context.Context, which string, args []any) (ids []int64, err error) {
	conn, err := d.db.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	// Mostly there is none, and this is all: a table that is not cached, or whose
	// object no other one shows, is written to.
	var kept bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM hallway.cache_tables WHERE "+which+")", args...).Scan(&kept); err != nil || !kept {
		return nil, err //nolint:wrapcheck // the caller says what for
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		ids, err = invalidateIn(ctx, tx, which, args...)
		return err
	})
	return ids, err
}

// invalidateIn deletes regions and leaves a mark, so that fills that began
// before are not kept either.
func invalidateIn(ctx context.Context, tx pgx.Tx, which string, args ...any) ([]int64, error) {
	// In the order of ids, so that two of these do not wait for each other.
	rows, err := tx.Query(ctx, "SELECT id FROM hallway.cache_tables WHERE "+which+" ORDER BY id FOR NO KEY UPDATE", args...)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what for
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(ids) == 0 {
		return nil, err //nolint:wrapcheck // the caller says what for
	}
	if _, err := tx.Exec(ctx, "DELETE FROM hallway.cache_regions WHERE cache_id = ANY ($1)", ids); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what for
	}
	_, err = tx.Exec(ctx, `INSERT INTO hallway.cache_writes AS w (cache_id, key, written_at, complete)
SELECT id, '{}', clock_timestamp(), false FROM unnest($1::int8[]) AS u(id)
ON CONFLICT (cache_id, key) DO UPDATE SET written_at = excluded.written_at`, ids)
	return ids, err //nolint:wrapcheck // the caller says what for
}

// Touch tells which regions were read, for eviction. A region that somebody
// holds a lock on is passed over.
func (d *Database) Touch(ctx context.Context, uses []Use) error {
	if err := d.writable(); err != nil || len(uses) == 0 {
		return err
	}
	ids, hashes := make([]int64, len(uses)), make([]int64, len(uses))
	for i, u := range uses {
		ids[i], hashes[i] = u.CacheID, u.Hash
	}
	err := d.db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE hallway.cache_regions r SET last_used = now()
FROM (SELECT cache_id, hash FROM hallway.cache_regions
      WHERE (cache_id, hash) IN (SELECT * FROM unnest($1::int8[], $2::int8[])) AND last_used < now() - interval '5 s'
      FOR NO KEY UPDATE SKIP LOCKED) u
WHERE r.cache_id = u.cache_id AND r.hash = u.hash`, ids, hashes); err != nil {
			return err //nolint:wrapcheck // said below
		}
		_, err := tx.Exec(ctx, `UPDATE hallway.cache_tables t SET last_used = now()
FROM (SELECT id FROM hallway.cache_tables WHERE id = ANY ($1) AND last_used < now() - interval '10 min'
      FOR NO KEY UPDATE SKIP LOCKED) u
WHERE t.id = u.id`, ids)
		return err //nolint:wrapcheck // said below
	})
	if err != nil {
		return fmt.Errorf("noting which regions were read: %w", err)
	}
	return nil
}

// writable is nil unless the server is known to be a standby. Whoever asks is
// about to keep something.
func (d *Database) writable() error {
	if d.db.Standby() {
		return ErrStandby
	}
	d.mu.Lock()
	d.active = true
	d.mu.Unlock()
	return nil
}
