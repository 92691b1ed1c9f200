// The locks by which sidecars tell each other which regions they are filling. All
// of it is in PostgreSQL's table of locks, so that it goes with whoever said it.

package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/database"
)

// pulse is how often a sidecar that fills something shows that it lives: so often
// the connection that holds its locks says something.
const pulse = 500 * time.Millisecond

// regionLock is the advisory lock of a region: a number that nobody else is
// likely to use.
func regionLock(id, hash int64) int64 {
	x := uint64(hash) ^ uint64(id)*0x9e3779b97f4a7c15 ^ 0x48616c6c77617921
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	return int64(x ^ x>>29)
}

// notice is the second lock of a fill, which stands in nobody's way: its two
// numbers say what is fetched and since when.
type notice struct{ what, since int32 }

// noticeOf is a number of a region with certain columns.
func noticeOf(id int64, region Region) int32 {
	columns := slices.Clone(region.Columns)
	slices.Sort(columns)
	x := uint64(regionLock(id, region.Hash))
	for _, c := range columns {
		x = (x ^ uint64(c+1)) * 0x9e3779b97f4a7c15
		x ^= x >> 32
	}
	return int32(uint32(x))
}

// noticeUnit is what notice.since counts, from the epoch on; it runs over after
// more than a year.
const noticeUnit = 10 * time.Millisecond

func noticeTime(t time.Time) int32 { return int32(uint32(t.UnixMilli() / noticeUnit.Milliseconds())) }

// Filling is what is known of a fill that somebody has under way.
type Filling struct {
	// ID tells it from others.
	ID int64
	// Age of its rows: how long ago it began to fetch them.
	Age time.Duration
	// Quiet is since when its sidecar has not shown that it lives, which it does
	// twice a second; negative: that cannot be seen.
	Quiet time.Duration
}

// Filling finds the fill that is under way of a region with just its columns, in
// this sidecar or another; false: there is none, or it has been handed over.
func (t *Table) Filling(ctx context.Context, region Region) (f Filling, found bool, err error) {
	err = t.d.db.InTx(ctx, func(tx pgx.Tx) error {
		var pid, since int64
		var quiet float64
		// pg_locks shows the numbers without their signs.
		err := tx.QueryRow(ctx, `SELECT l.pid, l.objid::int8, coalesce(abs(extract(epoch FROM clock_timestamp() - a.state_change)::float8), -1)
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = $1::int8::oid AND l.mode = 'ShareLock' AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY l.objid LIMIT 1`, int64(uint32(noticeOf(t.id, region)))).Scan(&pid, &since, &quiet)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("looking who fills a region: %w", err)
		}
		found = true
		age := noticeTime(t.d.db.Now()) - int32(uint32(since))
		f = Filling{ID: pid<<32 | since, Age: max(time.Duration(age)*noticeUnit, 0), Quiet: time.Duration(quiet * float64(time.Second))}
		return nil
	})
	return f, found, err
}

// regionLocks are advisory locks held by one connection for all fills of this
// sidecar in a database. If it breaks they are gone, and all that comes of it is
// that a region may be fetched twice.
type regionLocks struct {
	db *database.Database

	mu      sync.Mutex
	conn    *pgx.Conn
	closing func()
	held    map[int64]bool
	used    time.Time
	beating bool
	closed  bool
}

// try takes a region's lock and gives notice, or fails with ErrBusy. It costs a
// fill no more than a connection may.
func (l *regionLocks) try(ctx context.Context, key int64, n notice) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, l.db.ConnectTimeout())
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] {
		return nil, ErrBusy
	}
	if l.closed {
		return nil, errors.New("the sidecar is stopping")
	}
	if l.conn != nil && l.conn.IsClosed() {
		l.closing()
		l.conn = nil
	}
	if l.conn == nil {
		if l.conn, l.closing, err = l.db.Dedicated(ctx); err != nil {
			l.conn = nil
			return nil, err
		}
	}
	var got *bool
	if err := l.conn.QueryRow(ctx, "SELECT CASE WHEN pg_try_advisory_lock($1) THEN pg_try_advisory_lock_shared($2, $3) END",
		key, n.what, n.since).Scan(&got); err != nil {
		return nil, fmt.Errorf("locking the region: %w", err)
	}
	if got == nil {
		return nil, ErrBusy
	}
	if l.held == nil {
		l.held = map[int64]bool{}
	}
	l.held[key] = true
	l.used = time.Now()
	if !l.beating {
		l.beating = true
		time.AfterFunc(pulse, l.beat)
	}
	return sync.OnceFunc(func() { l.release(key, n) }), nil
}

// beat lets others see that this sidecar lives, as long as it fills anything.
func (l *regionLocks) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.beating = len(l.held) > 0 && l.conn != nil && !l.conn.IsClosed(); !l.beating {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.db.ConnectTimeout())
	defer cancel()
	if err := l.conn.Ping(ctx); err != nil {
		l.beating = false
		l.closing()
		l.conn = nil
		return
	}
	time.AfterFunc(pulse, l.beat)
}

func (l *regionLocks) release(key int64, n notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, key)
	if l.conn == nil || l.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.db.ConnectTimeout())
	defer cancel()
	if len(l.held) == 0 && l.closed {
		l.closing()
		l.conn = nil
		return
	}
	if _, err := l.conn.Exec(ctx, "SELECT pg_advisory_unlock($1), pg_advisory_unlock_shared($2, $3)", key, n.what, n.since); err != nil {
		// Closing the connection unlocks for certain.
		l.closing()
		l.conn = nil
	}
}

// lockIdle is how long the connection is kept when nothing is locked.
const lockIdle = time.Minute

// idle closes the connection if nothing was locked for a while.
func (l *regionLocks) idle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && len(l.held) == 0 && time.Since(l.used) > lockIdle {
		l.closing()
		l.conn = nil
	}
}

func (l *regionLocks) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil && len(l.held) == 0 {
		l.closing()
		l.conn = nil
	}
}
