// What was written in an API on its way into cache tables: in order, table by
// table, behind the back of whoever wrote. A backend may hold the lock that this
// waits for, so nobody waits for this but Settle, and that not for long.

package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/sidecar/cache"
)

const (
	// writeTries is how often a write is tried while somebody holds a lock; then
	// the table's regions go instead.
	writeTries = 5
	writePause = 40 * time.Millisecond
	// maxQueued rows wait for one table. Past it they are forgotten, and the
	// table's regions go.
	maxQueued = 10000
	// jobTimeout bounds one attempt.
	jobTimeout = 30 * time.Second
	// uncachedPause is how long a write through a table that is not cached is let
	// be before what others have cached of its object is forgotten, unless somebody
	// waits for that: the backend that wrote has its answer by then, and the writes
	// of a loop are one. While more keep coming it doubles, up to maxUncachedPause:
	// one query every 10 ms was 7 % of a processor, here and in PostgreSQL.
	uncachedPause    = 10 * time.Millisecond
	maxUncachedPause = 80 * time.Millisecond
)

// writeQueue brings writes to cache tables.
type writeQueue struct {
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	next   atomic.Uint64
	// uncached is uncachedPause, but in tests.
	uncached time.Duration

	applied, invalidated, failures atomic.Uint64

	mu  sync.Mutex
	dbs map[databaseKey]*databaseQueue
}

type databaseKey struct {
	id cache.Identity
	at cache.Address
}

// databaseQueue is what waits for one database.
type databaseQueue struct {
	mu      sync.Mutex
	waiting map[uint64]struct{} // numbers of writes that its cache does not show yet
	// lost is the last number that it never will: its server is in recovery.
	lost    uint64
	changed chan struct{}
	tables  map[tableQueueKey]*tableQueue
	// waiters is how many are in settled; wanted is closed while there are any.
	waiters int
	wanted  chan struct{}
}

type tableQueueKey struct {
	relid   uint32
	account string
}

// tableQueue is what waits for one cache table. Under databaseQueue.mu.
type tableQueue struct {
	numbers []uint64
	writes  []cache.Write
	// unsure: something was written that is not known.
	unsure  bool
	running bool
}

func newWriteQueue(log *slog.Logger) *writeQueue {
	q := &writeQueue{log: log, uncached: uncachedPause, dbs: map[databaseKey]*databaseQueue{}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

func (q *writeQueue) database(t *cachedTable) *databaseQueue {
	k := databaseKey{t.id, t.at}
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.dbs[k]
	if d == nil {
		d = &databaseQueue{waiting: map[uint64]struct{}{}, changed: make(chan struct{}), wanted: make(chan struct{}), tables: map[tableQueueKey]*tableQueue{}}
		q.dbs[k] = d
	}
	return d
}

// add queues writes and gives their number. unsure: not all of what was written
// is known.
func (q *writeQueue) add(t *cachedTable, writes []cache.Write, unsure bool) uint64 {
	d := q.database(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	n := q.next.Add(1)
	d.waiting[n] = struct{}{}
	k := tableQueueKey{t.def.Relid, string(t.def.Account)}
	tq := d.tables[k]
	if tq == nil {
		tq = &tableQueue{}
		d.tables[k] = tq
	}
	tq.numbers = append(tq.numbers, n)
	if tq.unsure = tq.unsure || unsure || len(tq.writes)+len(writes) > maxQueued; tq.unsure {
		tq.writes = nil
	} else {
		tq.writes = append(tq.writes, writes...)
	}
	if !tq.running {
		tq.running = true
		q.done.Add(1)
		go q.run(d, k, tq, t)
	}
	return n
}

// run brings what waits for a table, until nothing does.
func (q *writeQueue) run(d *databaseQueue, k tableQueueKey, tq *tableQueue, t *cachedTable) {
	defer q.done.Done()
	for pause := q.uncached; ; pause = min(2*pause, max(q.uncached, maxUncachedPause)) {
		if t.off {
			q.pause(d, pause)
		}
		d.mu.Lock()
		if len(tq.numbers) == 0 {
			tq.running = false
			delete(d.tables, k)
			d.mu.Unlock()
			return
		}
		numbers, writes, unsure := tq.numbers, tq.writes, tq.unsure
		tq.numbers, tq.writes, tq.unsure = nil, nil, false
		d.mu.Unlock()
		err := q.bring(t, writes, unsure)
		d.mu.Lock()
		for _, n := range numbers {
			delete(d.waiting, n)
			if err != nil {
				d.lost = max(d.lost, n)
			}
		}
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
		if q.ctx.Err() != nil {
			return
		}
	}
}

// pause lasts that long, or until somebody waits.
func (q *writeQueue) pause(d *databaseQueue, long time.Duration) {
	d.mu.Lock()
	wanted := d.wanted
	d.mu.Unlock()
	over := time.NewTimer(long)
	defer over.Stop()
	select {
	case <-over.C:
	case <-wanted:
	case <-q.ctx.Done():
	}
}

// bring makes the cache show writes, or forget what they may have changed. It
// goes on until one of the two has worked, or cannot work at all.
func (q *writeQueue) bring(t *cachedTable, writes []cache.Write, unsure bool) error {
	own := int64(0) // the cache table that shows the writes
	if !unsure {
		id, err := q.apply(t, writes)
		if err == nil {
			own = id
			q.applied.Add(uint64(len(writes)))
		} else {
			q.failures.Add(1)
			q.log.InfoContext(q.ctx, "a write is not shown in the cache: what it may have changed is forgotten",
				"relid", t.def.Relid, "object", t.def.Object, "rows", len(writes), "error", err.Error())
		}
	}
	if own == 0 {
		q.invalidated.Add(1)
	}
	for wait := writePause; ; wait = min(2*wait, 30*time.Second) {
		ctx, cancel := context.WithTimeout(q.ctx, jobTimeout)
		err := t.db.InvalidateObject(ctx, t.def.ServerOID, t.def.Object, own)
		cancel()
		if err == nil || errors.Is(err, cache.ErrStandby) {
			return err
		}
		if wait > time.Second {
			q.log.WarnContext(q.ctx, "cached rows that were written cannot be forgotten", "relid", t.def.Relid, "error", err.Error())
		}
		if !sleep(q.ctx, wait) {
			return err
		}
	}
}

// apply shows writes in the table's own cache table, and gives its id.
func (q *writeQueue) apply(t *cachedTable, writes []cache.Write) (int64, error) {
	ctx, cancel := context.WithTimeout(q.ctx, jobTimeout)
	defer cancel()
	for try := 1; ; try++ {
		table, err := t.db.Table(ctx, t.def)
		if err == nil {
			if err = table.Apply(ctx, writes); err == nil {
				return table.ID(), nil
			}
		}
		again := cache.IsLocked(err) || errors.Is(err, cache.ErrGone)
		if !again || try == writeTries || !sleep(ctx, writePause) {
			return 0, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// settled waits until the cache shows all writes up to a number, but not after
// ctx has ended.
func (q *writeQueue) settled(ctx context.Context, t *cachedTable, number uint64) bool {
	d := q.database(t)
	waits := false
	defer func() {
		if waits {
			d.wait(-1)
		}
	}()
	for {
		d.mu.Lock()
		pending := false
		for n := range d.waiting {
			if n <= number {
				pending = true
				break
			}
		}
		changed, lost := d.changed, number <= d.lost
		d.mu.Unlock()
		if !pending {
			return !lost
		}
		if !waits {
			waits = true
			d.wait(1)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// wait counts one more, or one less, of those who wait.
func (d *databaseQueue) wait(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch before := d.waiters; {
	case before == 0:
		close(d.wanted)
	case before+n == 0:
		d.wanted = make(chan struct{})
	}
	d.waiters += n
}

// len is the number of writes that wait.
func (q *writeQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, d := range q.dbs {
		d.mu.Lock()
		n += len(d.waiting)
		d.mu.Unlock()
	}
	return n
}

// close lets what waits be brought for a while, then gives up.
func (q *writeQueue) close(wait time.Duration) {
	late := time.AfterFunc(wait, q.cancel)
	q.done.Wait()
	late.Stop()
	q.cancel()
}
