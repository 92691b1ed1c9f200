package sync

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// CacheTables are the cache tables of a cache.Manager.
func CacheTables(m *cache.Manager) Tables { return cacheTables{m} }

type cacheTables struct{ m *cache.Manager }

// Replica finds or makes the cache table of a replica.
func (c cacheTables) Replica(ctx context.Context, db *database.Database, def cache.Definition) (CacheTable, error) {
	t, err := c.m.Database(db.Identity(), db.Address()).Table(ctx, def)
	if err != nil {
		return nil, err
	}
	return cacheTable{t}, nil
}

type cacheTable struct{ *cache.Table }

// MergeStaged counts what cache.Table's does.
func (t cacheTable) MergeStaged(ctx context.Context, tx pgx.Tx, staging pgx.Identifier, whole bool, since time.Time) (Merged, error) {
	r, err := t.Table.MergeStaged(ctx, tx, staging, whole, since)
	return Merged{Inserted: r.Inserted, Updated: r.Updated, Deleted: r.Deleted}, err
}
