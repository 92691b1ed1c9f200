// Which relations are cached, whose rows those are, and how the cache knows
// them again.

package bridge

import (
	"time"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
)

// cachePolicy is what a definition says of its cache.
type cachePolicy struct {
	relid, serverOID uint32
	on, replica      bool
	// shared: one cache for all credentials.
	shared bool
}

func policyOf(def *hallwayv1.Relation) cachePolicy {
	mode := def.GetCache().GetMode()
	return cachePolicy{
		relid: def.GetRelationOid(), serverOID: def.GetServerOid(), shared: def.GetCache().GetShared(),
		on:      mode == hallwayv1.CacheMode_CACHE_MODE_READ_THROUGH || mode == hallwayv1.CacheMode_CACHE_MODE_REPLICA,
		replica: mode == hallwayv1.CacheMode_CACHE_MODE_REPLICA,
	}
}

// withoutPolicy takes out the options that the shim has read: they say how long
// rows are kept, not what rows there are.
func withoutPolicy(options map[string]string) {
	for _, name := range []string{"cache", "cache_scope", "max_age", "refresh_every", "stale_while_error", "sync_as", "update_reads"} {
		delete(options, name)
	}
}

// cachedTable is a table whose rows may be kept, as one account sees it.
type cachedTable struct {
	// off: they are not. What is written through the table matters to others
	// that show the same object.
	off   bool
	db    CacheDatabase
	id    cache.Identity
	at    cache.Address
	def   cache.Definition
	place overlay.Place
	// lag after a write in which lists may not show it; 0: none.
	lag time.Duration
	// columns are all that can be fetched.
	columns []int
}

// cached says how a table is cached for the one who calls; nil: it is not.
func (s *Server) cached(c *call, b *bound) *cachedTable {
	if t := s.known(c, b); t != nil && !t.off {
		return t
	}
	return nil
}

// known is cached for any table of a database that the cache may be in; nil: it
// cannot be.
func (s *Server) known(c *call, b *bound) *cachedTable {
	if c == nil || c.conn == nil {
		return nil
	}
	peer := c.conn.backend()
	if peer == nil {
		return nil
	}
	return s.knownAt(peer.identity, peer.address, b)
}

// knownTable is what a relation was known as, and where: one database has one
// definition, so that is nearly always where it is asked for again.
type knownTable struct {
	id     cache.Identity
	at     cache.Address
	source uint64
	t      *cachedTable
}

// knownAt is known in a database. What it gives is shared.
func (s *Server) knownAt(id cache.Identity, at cache.Address, b *bound) *cachedTable {
	if s.cfg.Cache == nil || b.table == nil || b.rel.policy.relid == 0 || id == (cache.Identity{}) {
		return nil
	}
	if k := b.rel.lately.Load(); k != nil && k.source == b.sourceID && k.id == id && k.at == at {
		return k.t
	}
	t := s.newKnown(id, at, b)
	b.rel.lately.Store(&knownTable{id: id, at: at, source: b.sourceID, t: t})
	return t
}

func (s *Server) newKnown(id cache.Identity, at cache.Address, b *bound) *cachedTable {
	d := b.table.Describe()
	t := &cachedTable{db: s.cfg.Cache.Database(id, at), id: id, at: at,
		off: !b.rel.policy.on || len(d.Key) == 0, def: definition(b, d), lag: d.Lag()}
	t.place = overlay.Place{Server: b.rel.serverKey, Object: d.Object, Account: string(t.def.Account), Table: b.rel.table}
	for i, col := range b.rel.spec.Columns {
		if !col.Generated {
			t.columns = append(t.columns, i)
		}
	}
	return t
}

// definition is the table as the cache knows it.
func definition(b *bound, d connectors.Description) cache.Definition {
	account := b.key
	if b.rel.policy.shared {
		account = b.rel.serverKey
	}
	h := newDigest()
	h.text("hallway cache account")
	h.ints(uint64(len(account)))
	h.h.Write(account[:])
	sum := h.sum()
	def := cache.Definition{Relid: b.rel.policy.relid, ServerOID: b.rel.policy.serverOID, Account: sum[:],
		Object: d.Object, Key: d.Key, Replica: b.rel.policy.replica, Options: optionList(b.rel.spec.Options)}
	for _, col := range b.rel.spec.Columns {
		def.Columns = append(def.Columns, cache.Column{Name: col.Name, Type: col.Type, Generated: col.Generated, Options: optionList(col.Options)})
	}
	return def
}

func optionList(m map[string]string) []cache.Option {
	var list []cache.Option
	for name, value := range m {
		list = append(list, cache.Option{Name: name, Value: value})
	}
	return list
}
