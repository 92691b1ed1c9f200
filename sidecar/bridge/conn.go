// What is known of a backend's connection: who it is, and the relations that
// it has numbered. All of it goes with the connection.

package bridge

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/journal"
)

// maxRelations bounds the handles of one connection. Past it the oldest known
// are forgotten, which costs the backend one more message each.
const maxRelations = 8192

// backend is what Handshake told.
type backend struct {
	pid      int32
	database string
	version  uint32
	// application is the session's application_name as it connected.
	application string
	// Which database this is, and where; the zero Identity: not told.
	identity cache.Identity
	address  cache.Address
}

// conn is one connection.
type conn struct {
	id   uint64
	peer atomic.Pointer[backend]
	// warned: it was told that nothing can be cached. told are the connectors'
	// warnings that it was given.
	warned atomic.Bool
	told   told
	// session is what the journal remembers of it.
	session journal.Session

	mu        sync.Mutex
	relations map[uint64]*relation
	// statement is the number of the one that ran last, and calls what it has called,
	// by server.
	statement uint64
	calls     map[[32]byte]*connectors.Statement
}

// backend is nil before the handshake.
func (c *conn) backend() *backend { return c.peer.Load() }

type connKey struct{}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// connState is the stats.Handler that gives each connection its state.
type connState struct{ s *Server }

func (h connState) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	c := &conn{id: h.s.conns.Add(1), relations: map[uint64]*relation{}}
	return context.WithValue(ctx, connKey{}, c)
}

func (h connState) HandleConn(_ context.Context, st stats.ConnStats) {
	switch st.(type) {
	case *stats.ConnBegin:
		h.s.stats.connections.Add(1)
	case *stats.ConnEnd:
		h.s.stats.connections.Add(-1)
	}
}

func (connState) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (connState) HandleRPC(context.Context, stats.RPCStats)                       {}

// relation finds or learns the relation that ref names.
func (c *conn) relation(known *relations, ref *hallwayv1.RelationRef) (*relation, error) {
	if ref == nil {
		return nil, protocolError("the relation is missing")
	}
	if ref.GetDefinition() == nil {
		c.mu.Lock()
		r := c.relations[ref.GetHandle()]
		c.mu.Unlock()
		if r == nil {
			return nil, &ownError{code: codes.FailedPrecondition, sqlstate: "08006", unknownHandle: true,
				message: "the sidecar does not know this relation's handle"}
		}
		return r, nil
	}
	r, err := known.intern(ref.GetDefinition())
	if err != nil {
		return nil, err
	}
	if ref.GetHandle() != 0 {
		c.mu.Lock()
		if len(c.relations) >= maxRelations {
			for h := range c.relations {
				delete(c.relations, h)
				break
			}
		}
		c.relations[ref.GetHandle()] = r
		c.mu.Unlock()
	}
	return r, nil
}

// counted has the calls made with the context count as those of a statement, by its
// number; 0: of none.
func counted(ctx context.Context, b *bound, number uint64) context.Context {
	c := callOf(ctx).conn
	if number == 0 {
		return ctx
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statement != number || c.calls == nil {
		c.statement, c.calls = number, map[[32]byte]*connectors.Statement{}
	}
	st := c.calls[b.rel.serverKey]
	if st == nil {
		st = &connectors.Statement{}
		c.calls[b.rel.serverKey] = st
	}
	return connectors.WithStatement(ctx, st)
}

// told are warnings that were given, each once; safe for concurrent use.
type told struct {
	mu   sync.Mutex
	list map[string]struct{}
}

// maxTold bounds what is remembered of a connection; what comes after is given
// again and again.
const maxTold = 1000

// news are those that were not given yet.
func (t *told) news(warnings []string) []string {
	if len(warnings) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, w := range warnings {
		if _, ok := t.list[w]; ok {
			continue
		}
		out = append(out, w)
		if t.list == nil {
			t.list = map[string]struct{}{}
		}
		if len(t.list) < maxTold {
			t.list[w] = struct{}{}
		}
	}
	return out
}
