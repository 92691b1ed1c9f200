// What the bridge needs of the cache: the interfaces, and sidecar/cache behind
// them.

package bridge

import (
	"context"
	"time"

	"github.com/hallwaydb/hallway/sidecar/cache"
)

// Cache keeps rows in the databases that ask.
type Cache interface {
	Database(id cache.Identity, at cache.Address) CacheDatabase
}

// CacheDatabase is the cache of one database. Its methods are those of
// cache.Database.
type CacheDatabase interface {
	Table(ctx context.Context, def cache.Definition) (CacheTable, error)
	InvalidateObject(ctx context.Context, serverOID uint32, object string, except int64) error
	InvalidateTable(ctx context.Context, relid uint32) error
	Forget(ctx context.Context, relid uint32, key []string) (int64, error)
	Touch(ctx context.Context, uses []cache.Use) error
	// Retry lets the next call try to reach the database, whatever the last met.
	Retry()
}

// CacheTable is a cache table. Its methods are those of cache.Table.
type CacheTable interface {
	ID() int64
	Begin(ctx context.Context, region cache.Region, started time.Time) (CacheFill, error)
	Read(ctx context.Context, region cache.Region, columns []int, maxAge time.Duration, out func(tuples []byte, rows int) error) (bool, error)
	Fresh(ctx context.Context, region cache.Region, columns []int, maxAge time.Duration) (bool, error)
	Filling(ctx context.Context, region cache.Region) (cache.Filling, bool, error)
	Apply(ctx context.Context, writes []cache.Write) error
	Invalidate(ctx context.Context) error
}

// CacheFill takes the rows of a region. Abort must follow in any case.
type CacheFill interface {
	Write(tuples []byte, rows int) error
	// Commit gives the number of rows in the region.
	Commit(ctx context.Context) (int64, error)
	// Yield lets another sidecar fill the region too.
	Yield()
	Abort()
}

// Replicas is what the bridge asks of those who keep replicas.
type Replicas interface {
	// Seen tells of a database that is there. It does not wait.
	Seen(id cache.Identity, at cache.Address)
	// Sync waits until the replica of a table shows what the API had when the
	// call began, and gives the rows that changed.
	Sync(ctx context.Context, id cache.Identity, at cache.Address, def cache.Definition, wait time.Duration) (int64, error)
	// Resume lets work go on that was paused.
	Resume(ctx context.Context, id cache.Identity, at cache.Address) error
}

// NewCache is the cache of sidecar/cache.
func NewCache(m *cache.Manager) Cache { return cacheManager{m} }

type cacheManager struct{ m *cache.Manager }

func (c cacheManager) Database(id cache.Identity, at cache.Address) CacheDatabase {
	return cacheDatabase{c.m.Database(id, at)}
}

type cacheDatabase struct{ *cache.Database }

func (d cacheDatabase) Retry() { d.Connection().Retry() }

func (d cacheDatabase) Table(ctx context.Context, def cache.Definition) (CacheTable, error) {
	t, err := d.Database.Table(ctx, def)
	if err != nil {
		return nil, err
	}
	return cacheTable{t}, nil
}

type cacheTable struct{ *cache.Table }

func (t cacheTable) Begin(ctx context.Context, region cache.Region, started time.Time) (CacheFill, error) {
	f, err := t.Table.Begin(ctx, region, started)
	if err != nil {
		return nil, err
	}
	return cacheFill{f}, nil
}

type cacheFill struct{ *cache.Fill }

func (f cacheFill) Commit(ctx context.Context) (int64, error) {
	r, err := f.Fill.Commit(ctx)
	return r.Rows, err
}
