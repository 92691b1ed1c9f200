// Sources (a server with a credential), shared by all backends and closed when
// idle; their tables; and a relation bound to both for one call.

package bridge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// source is an open connectors.Source.
type source struct {
	id    uint64 // never another source's
	src   connectors.Source
	err   error
	ready chan struct{} // closed when src or err is set

	mu     sync.Mutex
	tables map[[32]byte]connectors.Table

	// Under sources.mu; gone means that it is not to be found any more.
	refs int
	used time.Time
	gone bool
}

// sources are the open ones, by identity.
type sources struct {
	log  *slog.Logger
	idle time.Duration

	mu     sync.Mutex
	open   map[[32]byte]*source
	opened uint64 // ids given
	closed bool
	stop   chan struct{}
}

func newSources(log *slog.Logger, idle time.Duration) *sources {
	ss := &sources{log: log, idle: idle, open: map[[32]byte]*source{}, stop: make(chan struct{})}
	go ss.expire()
	return ss
}

func (ss *sources) len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.open)
}

// expire closes sources that nobody has used for a while.
func (ss *sources) expire() {
	tick := time.NewTicker(max(ss.idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ss.stop:
			return
		case <-tick.C:
		}
		var idle []*source
		ss.mu.Lock()
		for key, e := range ss.open {
			if e.refs == 0 && time.Since(e.used) > ss.idle {
				delete(ss.open, key)
				idle = append(idle, e)
			}
		}
		ss.mu.Unlock()
		for _, e := range idle {
			ss.shut(e)
		}
	}
}

func (ss *sources) shut(e *source) {
	if e.src == nil {
		return
	}
	if err := e.src.Close(); err != nil {
		ss.log.Warn("closing a connector", "error", err.Error())
	}
}

func (ss *sources) close() {
	ss.mu.Lock()
	if ss.closed {
		ss.mu.Unlock()
		return
	}
	ss.closed = true
	all := ss.open
	ss.open = map[[32]byte]*source{}
	ss.mu.Unlock()
	close(ss.stop)
	for _, e := range all {
		ss.shut(e)
	}
}

// acquire finds or opens a source; release it when the call is over.
func (ss *sources) acquire(ctx context.Context, key [32]byte, open func(context.Context) (connectors.Source, error)) (*source, error) {
	ss.mu.Lock()
	e := ss.open[key]
	mine := e == nil
	if mine {
		ss.opened++
		e = &source{id: ss.opened, ready: make(chan struct{}), tables: map[[32]byte]connectors.Table{}}
		ss.open[key] = e
	}
	e.refs++
	ss.mu.Unlock()
	if mine {
		ss.fill(ctx, key, e, open)
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		ss.release(e)
		return nil, fmt.Errorf("waiting for the connector to open: %w", ctx.Err())
	}
	if e.err != nil {
		ss.release(e)
		return nil, e.err
	}
	return e, nil
}

// fill opens e; a failure, or a panic, is the answer for those who wait now and
// forgotten then.
func (ss *sources) fill(ctx context.Context, key [32]byte, e *source, open func(context.Context) (connectors.Source, error)) {
	e.err = errors.New("the connector did not open")
	defer func() {
		if e.err != nil {
			ss.mu.Lock()
			if ss.open[key] == e {
				delete(ss.open, key)
			}
			ss.mu.Unlock()
		}
		close(e.ready)
	}()
	// The source outlives this call.
	e.src, e.err = open(context.WithoutCancel(ctx))
}

func (ss *sources) release(e *source) {
	ss.mu.Lock()
	e.refs--
	e.used = time.Now()
	last := e.gone && e.refs == 0
	ss.mu.Unlock()
	if last {
		ss.shut(e)
	}
}

// reset forgets all sources; those in use are closed by their last user.
func (ss *sources) reset() {
	var idle []*source
	ss.mu.Lock()
	for key, e := range ss.open {
		delete(ss.open, key)
		if e.gone = true; e.refs == 0 {
			idle = append(idle, e)
		}
	}
	ss.mu.Unlock()
	for _, e := range idle {
		ss.shut(e)
	}
}

// bound is a relation with its connector's side, for one call.
type bound struct {
	rel      *relation
	key      [32]byte         // identity of the source: server and credential
	sourceID uint64           // of the source as it is open now
	table    connectors.Table // nil for a server alone
	source   connectors.Source
	release  func()
}

// bind resolves what ref names. The caller calls release.
func (s *Server) bind(ctx context.Context, ref *hallwayv1.RelationRef) (*bound, error) {
	c := callOf(ctx)
	if c == nil || c.conn == nil {
		return nil, protocolError("the call has no connection")
	}
	rel, err := c.conn.relation(&s.relations, ref)
	if err != nil {
		return nil, err
	}
	c.rel = rel
	b, err := s.bindRelation(ctx, rel)
	if err == nil {
		s.shareLimits(c, b)
	}
	return b, err
}

// shareLimits says that an API with limits is used, for other sidecars may too.
func (s *Server) shareLimits(c *call, b *bound) {
	l, ok := b.source.(connectors.Limited)
	peer := c.conn.backend()
	if s.cfg.Limits == nil || !ok || peer == nil || peer.identity == (database.Identity{}) || !l.Limited() {
		return
	}
	s.cfg.Limits.Use(peer.identity, peer.address, int32(binary.BigEndian.Uint32(b.rel.serverKey[:])), l)
}

// bindRelation opens what a relation needs. The caller calls release.
func (s *Server) bindRelation(ctx context.Context, rel *relation) (*bound, error) {
	connector, err := s.cfg.Registry.Get(rel.connector)
	if err != nil {
		return nil, fmt.Errorf("finding the connector: %w", err)
	}
	spec, key, err := rel.resolve(s, connector)
	if err != nil {
		return nil, err
	}
	e, err := s.sources.acquire(ctx, key, func(ctx context.Context) (connectors.Source, error) {
		return connector.Open(ctx, s.cfg.Env, spec)
	})
	if err != nil {
		return nil, fmt.Errorf("opening server %q: %w", rel.server.Name, err)
	}
	b := &bound{rel: rel, key: key, sourceID: e.id, source: e.src, release: func() { s.sources.release(e) }}
	if rel.def.GetTableName() == "" {
		return b, nil
	}
	e.mu.Lock()
	b.table = e.tables[rel.table]
	e.mu.Unlock()
	if old, ok := b.table.(connectors.Aging); ok && old.Outdated() {
		b.table = nil
	}
	if b.table == nil {
		if b.table, err = e.src.Table(ctx, rel.spec); err != nil {
			b.release()
			return nil, fmt.Errorf("binding the table: %w", err)
		}
		e.mu.Lock()
		if len(e.tables) >= maxTables {
			clear(e.tables)
		}
		e.tables[rel.table] = b.table
		e.mu.Unlock()
	}
	return b, nil
}

// bindTable is bind for what needs a table.
func (s *Server) bindTable(ctx context.Context, ref *hallwayv1.RelationRef) (*bound, error) {
	b, err := s.bind(ctx, ref)
	if err != nil {
		return nil, err
	}
	if b.table == nil {
		b.release()
		return nil, protocolError("the relation is a server, not a table")
	}
	return b, nil
}
