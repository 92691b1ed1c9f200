// Package lease divides an API's limits among the sidecars that call it from one
// database. Each holds a shared advisory lock for every foreign server that it
// uses, and uses as much of the limit as there are holders: a lock needs no table,
// no clock and no writes, and PostgreSQL frees it when a sidecar dies.
package lease

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/database"
)

// Client is what a share is for: a connectors.Limited.
type Client interface{ SetShare(share float64) }

const (
	// every is how often the holders are counted while a server is used. A sidecar
	// that finds others waits as long, so that they have counted it.
	every = time.Second
	// unused is how long after its last use a server's lock is given back.
	unused = 30 * time.Second
	// lockClass tells these locks from others.
	lockClass = 1752658837
)

// Manager has the leases of a sidecar; safe for concurrent use.
type Manager struct {
	log       *slog.Logger
	databases *database.Manager
	ctx       context.Context
	cancel    context.CancelFunc
	wait      sync.WaitGroup

	mu    sync.RWMutex
	nodes map[database.Identity]*node
}

// New makes a Manager that finds databases by dbm.
func New(log *slog.Logger, dbm *database.Manager) *Manager {
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{log: log, databases: dbm, ctx: ctx, cancel: cancel, nodes: map[database.Identity]*node{}}
}

// Close gives all back.
func (m *Manager) Close() {
	m.cancel()
	m.wait.Wait()
}

// node is one database.
type node struct {
	m    *Manager
	id   database.Identity
	at   database.Address
	wake chan struct{}

	mu      sync.RWMutex
	servers map[int32]*server
	ended   bool
}

// server is a foreign server that is used.
type server struct {
	used atomic.Int64 // Unix nanoseconds

	// Under node.mu. share is what its clients were told last, held whether the
	// lock is ours.
	clients map[Client]struct{}
	share   float64
	held    bool
}

// Use says that a session of a database is about to call an API for the foreign
// server key by c. It does no I/O.
func (m *Manager) Use(id database.Identity, at database.Address, key int32, c Client) {
	m.mu.RLock()
	n := m.nodes[id]
	m.mu.RUnlock()
	for n == nil || !n.use(key, c) {
		if m.ctx.Err() != nil {
			return
		}
		n = m.open(id, at, n)
	}
}

// open makes a node in place of one that has ended.
func (m *Manager) open(id database.Identity, at database.Address, old *node) *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[id]; n != nil && n != old {
		return n
	}
	n := &node{m: m, id: id, at: at, wake: make(chan struct{}, 1), servers: map[int32]*server{}}
	m.nodes[id] = n
	if m.ctx.Err() == nil {
		m.wait.Go(n.run)
	}
	return n
}

// use notes a use; false: the node has ended.
func (n *node) use(key int32, c Client) bool {
	now := time.Now().UnixNano()
	n.mu.RLock()
	s := n.servers[key]
	known := false
	if s != nil {
		_, known = s.clients[c]
		s.used.Store(now)
	}
	ended := n.ended
	n.mu.RUnlock()
	if known || ended {
		return !ended
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false
	}
	if s = n.servers[key]; s == nil {
		s = &server{clients: map[Client]struct{}{}, share: 1}
		n.servers[key] = s
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
	s.used.Store(now)
	s.clients[c] = struct{}{}
	c.SetShare(s.share)
	return true
}

// run looks after a database until nothing of it is used.
func (n *node) run() {
	for n.m.ctx.Err() == nil {
		err := n.attend()
		if err == nil {
			return
		}
		if n.m.ctx.Err() == nil {
			// Shares stay as they are: a database that cannot be reached has no
			// sessions to call for, save those that are here.
			n.m.log.Debug("limits are not divided for now", "error", err.Error())
			n.sleep(5 * every)
			if _, ended := n.expire(time.Now().Add(-unused)); ended {
				return
			}
		}
	}
}

func (n *node) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.wake:
	case <-n.m.ctx.Done():
	}
}

// attend holds locks by one connection; nil: nothing is used any more.
func (n *node) attend() error {
	conn, closing, err := n.m.databases.Database(n.id, n.at).Dedicated(n.m.ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer closing()
	n.mu.Lock()
	for _, s := range n.servers {
		s.held = false
	}
	n.mu.Unlock()
	for n.m.ctx.Err() == nil {
		gone, ended := n.expire(time.Now().Add(-unused))
		if ended {
			return nil // the locks go with the connection
		}
		if _, err := conn.Exec(n.m.ctx, `SELECT pg_advisory_unlock_shared($1::int4, key) FROM unnest($2::int4[]) AS key`, int32(lockClass), gone); err != nil {
			return fmt.Errorf("giving locks back: %w", err)
		}
		if err := n.count(conn); err != nil {
			return err
		}
		n.sleep(every)
	}
	return nil
}

// expire forgets servers that were not used since then, tells which of them were
// held, and ends the node with the last. Who comes later begins anew.
func (n *node) expire(since time.Time) (gone []int32, ended bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, s := range n.servers {
		if s.used.Load() <= since.UnixNano() {
			delete(n.servers, key)
			if s.held {
				gone = append(gone, key)
			}
		}
	}
	n.ended = len(n.servers) == 0
	return gone, n.ended
}

// count takes the locks that are not held yet, counts the holders of all and
// tells the clients.
func (n *node) count(conn *pgx.Conn) error {
	n.mu.RLock()
	keys := make([]int32, 0, len(n.servers))
	var take []int32
	for key, s := range n.servers {
		keys = append(keys, key)
		if !s.held {
			take = append(take, key)
		}
	}
	n.mu.RUnlock()
	if _, err := conn.Exec(n.m.ctx, `SELECT pg_advisory_lock_shared($1::int4, key) FROM unnest($2::int4[]) AS key`, int32(lockClass), take); err != nil {
		return fmt.Errorf("taking locks: %w", err)
	}
	rows, err := conn.Query(n.m.ctx, `SELECT l.objid::int8::bit(32)::int4, count(*) FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objsubid = 2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.objid::int8::bit(32)::int4 = ANY ($2::int4[])
GROUP BY 1`, int64(lockClass), keys)
	if err != nil {
		return fmt.Errorf("counting sidecars: %w", err)
	}
	holders := map[int32]int{}
	var key int32
	var holding int
	if _, err := pgx.ForEachRow(rows, []any{&key, &holding}, func() error {
		holders[key] = holding
		return nil
	}); err != nil {
		return fmt.Errorf("counting sidecars: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, count := range holders {
		s := n.servers[key]
		share := 1 / float64(max(count, 1))
		if !s.held && count > 1 {
			share = 0 // until the others have counted us
		}
		s.held = true
		if share != s.share {
			n.m.log.Debug("limit divided", "sidecars", count, "share", share)
			s.share = share
			for c := range s.clients {
				c.SetShare(share)
			}
		}
	}
	return nil
}
