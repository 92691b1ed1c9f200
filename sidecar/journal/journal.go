// Package journal keeps hallway.write_log: each row that is written in an API,
// from before it is sent. What a crash, a lost answer or a ROLLBACK leaves open it
// settles afterwards, by asking PostgreSQL what became of the transaction and the
// API what it has.
//
// It speaks no API and no gRPC: tables come to it bound (Opener).
//
// This file is what the rooms above use. intent.go and outcome.go are the way of
// a write through the journal, node.go is one database's loop, track.go what it knows
// of its own writes, settle.go what the end of a transaction means, reconcile.go
// and jobrows.go find out what is not known, undo.go takes back, deliver.go sends what waited for a
// commit; these three read entries (entry.go, image.go), and say what became of them
// (verdict.go).
package journal

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Config is what a Manager needs. Databases, Open and Instance are required; zero
// values of the rest stand for the defaults.
type Config struct {
	Log *slog.Logger
	// Databases whose connections nobody else uses, so that a write does not wait
	// for them behind a cache: Connections each.
	Databases *database.Manager
	Open      Opener
	// Instance names this sidecar among those of a database, for as long as it
	// runs.
	Instance string
	// Environment tells copies of a database apart that nothing else does. May be
	// empty.
	Environment string
	// Retention is how long settled entries are kept; default 30 days.
	Retention time.Duration
	// Look is how often open entries are looked for without being told; default
	// 2 s while there are some. A tenth as often when there are none.
	Look time.Duration
	// Grace is how long the lock of another sidecar must be free before it counts
	// as dead: it may be connecting anew. Default 5 s.
	Grace time.Duration
	// Patience is how long a request whose sender is gone may still be on its
	// way: only after that is a write that the API does not show one that it has
	// not done. Default 5 s.
	Patience time.Duration
	// UndoWait bounds how long a session's next write waits until what its
	// rolled back transactions wrote has been undone; default 15 s.
	UndoWait time.Duration
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.Retention, 30*24*time.Hour)
	set(&c.Look, 2*time.Second)
	set(&c.Grace, 5*time.Second)
	set(&c.Patience, 5*time.Second)
	set(&c.UndoWait, 15*time.Second)
	return c
}

// Opener binds a foreign table to its connector.
type Opener interface {
	// Open takes a packed hallway.v1.Relation, as hallway.relation_definition()
	// gives it. The caller releases the table.
	Open(ctx context.Context, id database.Identity, at database.Address, packed []byte) (Table, error)
}

// Table is a foreign table bound to its connector, with a credential.
type Table interface {
	Columns() []connectors.ColumnSpec
	Describe() connectors.Description
	// Rows reads, from the API and not from what is kept of it: for each of
	// values the rows that have it in the columns match. What columns does not
	// name may be missing of them.
	Rows(ctx context.Context, match []int, values [][]pushdown.Value, columns []int) ([][]Row, error)
	// RequestKeys are the idempotency keys of the requests that Modify would make,
	// by row; nil: it cannot send them again by themselves.
	RequestKeys(batch *connectors.Batch) []string
	// Modify writes, and gives of each row what the API answered of the columns
	// recorded; nil where it did not say.
	Modify(ctx context.Context, batch *connectors.Batch, recorded []int) ([]Row, error)
	// Loaded is connectors.Loader's. The error is that of a table whose rows do not go by
	// jobs, too.
	Loaded(ctx context.Context, job string, batch *connectors.Batch) error
	// Same compares two values of a column as they stand in a Row.
	Same(column int, a, b []byte) bool
	Release()
}

// Row is a row's fields by column of the table, in PostgreSQL's binary format;
// nil is NULL, or not there.
type Row [][]byte

// Manager has the journals of all databases.
type Manager struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wait sync.WaitGroup

	mu   sync.Mutex
	open map[database.Address]*node

	entries, refused, undone, delivered, found atomic.Uint64
}

// Stats is what a Manager has done since its start, in rows.
type Stats struct {
	// Entries made; Refused: writes that were not sent as they could not be
	// journaled.
	Entries, Refused uint64
	// Undone, Delivered after their commit, and Found out about.
	Undone, Delivered, Found uint64
	// Waiting are outcomes that are not written yet.
	Waiting int
}

// Stats tells what the manager has done.
func (m *Manager) Stats() Stats {
	s := Stats{Entries: m.entries.Load(), Refused: m.refused.Load(), Undone: m.undone.Load(), Delivered: m.delivered.Load(), Found: m.found.Load()}
	for _, n := range m.nodes() {
		n.outcomes.mu.Lock()
		s.Waiting += n.outcomes.rows
		n.outcomes.mu.Unlock()
	}
	return s
}

// New makes a manager without databases. Close ends it.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg.withDefaults(), open: map[database.Address]*node{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Close writes the outcomes that wait, for a short while, and ends all work. No
// write may run.
func (m *Manager) Close() {
	all := m.nodes()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	for _, n := range all {
		_ = n.flushed(ctx)
	}
	m.mu.Lock()
	m.stop()
	m.mu.Unlock()
	m.wait.Wait()
}

// closeWait bounds Close's wait. Entries whose outcome is lost are found out
// about by the next sidecar.
const closeWait = 2 * time.Second

// nodes are all that are open. Their locks are taken before the manager's.
func (m *Manager) nodes() []*node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.open))
}

// Seen looks after a database from now on: another sidecar may have left
// something open. It returns at once, and may be called as often as a backend
// connects.
func (m *Manager) Seen(id database.Identity, at database.Address) {
	if at.SocketDirectory != "" && at.Database != "" {
		m.node(id, at)
	}
}

// node finds or makes a database's; nil once the manager is closed.
func (m *Manager) node(id database.Identity, at database.Address) *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.open[at]
	if m.ctx.Err() != nil {
		return nil
	}
	if n != nil && n.id.SystemIdentifier == id.SystemIdentifier && n.id.DatabaseOID == id.DatabaseOID {
		return n
	}
	if n != nil {
		// Dropped and made again, or another cluster at the same place.
		n.cancel()
	}
	n = newNode(m, id, at)
	m.open[at] = n
	m.wait.Go(n.run)
	return n
}

// spawn runs f in the background; false: the manager is closed.
func (m *Manager) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	m.wait.Go(f)
	return true
}

func (m *Manager) forget(n *node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open[n.at] == n {
		delete(m.open, n.at)
	}
}

// Ended is told how a transaction, or a part of it, has ended; it only makes the
// journal look now. It does not wait.
func (m *Manager) Ended(id database.Identity, at database.Address, xid uint64) {
	if n := m.node(id, at); n != nil {
		n.ended(xid)
	}
}

// Resume lets the entries be settled that the database brought along from where
// it was restored, cloned or promoted from. Where xids mean something else they
// are for people to look at.
func (m *Manager) Resume(ctx context.Context, id database.Identity, at database.Address) error {
	n := m.node(id, at)
	if n == nil {
		return errStopping
	}
	return n.resume(ctx)
}

var errStopping = errors.New("the sidecar is stopping")

// States of an entry.
const (
	stateQueued         = "queued"
	statePending        = "pending"
	stateApplied        = "applied"
	stateRefused        = "refused"
	stateUnknown        = "unknown"
	stateNeedsAttention = "needs_attention"
	stateOrphaned       = "orphaned"
	stateCompensating   = "compensating"
	stateCompensated    = "compensated"
)
