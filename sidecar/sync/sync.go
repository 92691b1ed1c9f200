// Package sync keeps replicas: foreign tables with the option cache 'replica',
// whose rows stand whole in a local table and are brought up to date in the
// background. It finds them in the catalog, copies them page by page so that a
// crash costs one page, and afterwards asks the API for what has changed and
// for what has gone. Jobs are River's, in the database itself: however many
// sidecars there are, one works on a replica at a time.
//
// It speaks no API and no gRPC: tables come to it bound (Opener), cache tables
// belong to the package cache (Tables).
//
// This file is what the rooms above use. database.go is one database's loop,
// jobs.go its jobs, replica.go one run of one replica, copy.go and changes.go
// the two kinds of run, logs.go another of the second, compare.go what was deleted,
// staging.go where rows go.
package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	gosync "sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// Config is what a Manager needs. Databases, Open and Tables are required.
type Config struct {
	Log       *slog.Logger
	Databases *database.Manager
	Open      Opener
	Tables    Tables
	// Secrets resolves the option webhook_secret; nil: there is no store.
	Secrets Secrets
	// Instance names this sidecar among those of a database, for as long as it
	// runs. Required.
	Instance string
	// Environment tells copies of a database apart that a snapshot of the
	// machine made: a replica works only where it has the name with which it
	// began. May be empty.
	Environment string
	// Workers is how many replicas of one database are worked on at once, each
	// with a connection; default 2.
	Workers int
	// Look is how often the catalog is looked at without being told; default
	// 10 s.
	Look time.Duration
}

// Opener binds a foreign table to its connector.
type Opener interface {
	// OpenTable takes a packed hallway.v1.Relation, as
	// hallway.relation_definition() gives it, and says what its cache table is,
	// with the account. The caller calls release when it is done.
	OpenTable(ctx context.Context, packed []byte) (table connectors.Table, def cache.Definition, release func(), err error)
}

// table is a foreign table bound to its connector, with a credential.
type table struct {
	connectors.Table
	Definition cache.Definition
}

// Tables are the cache tables.
type Tables interface {
	// Replica finds or makes the cache table of a replica.
	Replica(ctx context.Context, db *database.Database, def cache.Definition) (CacheTable, error)
}

// CacheTable is where a replica's rows are.
type CacheTable interface {
	// ID is hallway.cache_tables.id.
	ID() int64
	Name() pgx.Identifier
	// MergeStaged makes the cache table's rows those of staging, which has its
	// columns by name, but generated ones: rows that differ are updated, missing
	// ones inserted and, if whole, those that staging lacks deleted. Keys that
	// were written through Hallway since then are left alone. It belongs to tx,
	// and keeps other merges out until that ends.
	MergeStaged(ctx context.Context, tx pgx.Tx, staging pgx.Identifier, whole bool, since time.Time) (Merged, error)
	// DeleteStaged deletes the rows whose keys are in the table keys, by the
	// names of the key's columns, in the same way.
	DeleteStaged(ctx context.Context, tx pgx.Tx, keys pgx.Identifier, since time.Time) (int64, error)
}

// Merged counts what a merge did.
type Merged struct{ Inserted, Updated, Deleted int64 }

// Secrets finds the secret of a name: values by name, a lone one under "".
type Secrets interface {
	Lookup(name string) (map[string]string, error)
}

// Errors that a caller tells apart.
var (
	// ErrNotReplica: the table has not the option cache 'replica'.
	ErrNotReplica = errors.New("the table is not a replica")
	// ErrPaused: background work of the database is paused; a *PausedError.
	ErrPaused = errors.New("background work is paused")
)

// PausedError says why.
type PausedError struct{ Reason string }

func (e *PausedError) Error() string { return "background work is paused: " + e.Reason }

// Is makes it ErrPaused.
func (e *PausedError) Is(target error) bool { return target == ErrPaused }

// FailedError is the failure of the run that a caller waited for; its text is
// free of secrets. It is empty where the caller's credential is not the replica's,
// since the API's words may be about rows that only the latter may see.
type FailedError struct{ Text string }

func (e *FailedError) Error() string {
	if e.Text == "" {
		return "the run failed"
	}
	return e.Text
}

// Manager has the replicas of all databases.
type Manager struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wait gosync.WaitGroup

	mu   gosync.Mutex
	open map[database.Address]*node
}

// New makes a manager without databases. Close ends it.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 2
	}
	if cfg.Look <= 0 {
		cfg.Look = 10 * time.Second
	}
	m := &Manager{cfg: cfg, open: map[database.Address]*node{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Close stops all work and waits for it to end. What was under way goes on
// where it stood when a sidecar starts again.
func (m *Manager) Close() {
	m.mu.Lock()
	m.stop()
	m.mu.Unlock()
	m.wait.Wait()
}

// Seen looks after the replicas of a database from now on. It returns at once,
// and may be called as often as a backend connects.
func (m *Manager) Seen(id database.Identity, at database.Address) {
	if at.SocketDirectory == "" || at.Database == "" {
		return
	}
	m.node(id, at)
}

func (m *Manager) node(id database.Identity, at database.Address) *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.open[at]
	if m.ctx.Err() != nil || (n != nil && n.id.SystemIdentifier == id.SystemIdentifier && n.id.DatabaseOID == id.DatabaseOID) {
		return n
	}
	if n != nil {
		// Dropped and made again, or another cluster at the same place.
		n.cancel()
	}
	n = &node{m: m, id: id, at: at, wake: make(chan struct{}, 1), log: m.cfg.Log.With("database", at.Database),
		active: map[int64]bool{}, suspects: map[int64]time.Time{}}
	ctx, cancel := context.WithCancel(m.ctx)
	n.cancel = cancel
	m.open[at] = n
	m.wait.Go(func() { n.run(ctx) })
	return n
}

// forget drops a database that is not there any more.
func (m *Manager) forget(n *node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open[n.at] == n {
		delete(m.open, n.at)
	}
}

// Sync waits until the replica of a table shows what the API had when the call
// began, or later, and gives the rows that the last run read. wait 0: as long as
// ctx lasts. Its errors are *connectors.Error, and wrap ErrNotReplica, ErrPaused,
// a *FailedError when the run that would have done it failed, or the context's.
func (m *Manager) Sync(ctx context.Context, id database.Identity, at database.Address, def cache.Definition, wait time.Duration) (int64, error) {
	n := m.node(id, at)
	if n == nil {
		return 0, &connectors.Error{Class: connectors.Unavailable, Message: "the sidecar is stopping"}
	}
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	rows, err := n.sync(ctx, def)
	e := &connectors.Error{Class: connectors.Unavailable, Err: err}
	var failed *FailedError
	var paused *PausedError
	switch {
	case err == nil:
		return rows, nil
	case errors.Is(err, ErrNotReplica):
		e.Class, e.Message, e.Hint = connectors.NotSupported, "the table is not a replica", "SELECT hallway.replicate(...) makes it one."
	case errors.As(err, &paused):
		e.Class, e.Message, e.Detail = connectors.Conflict, "the replica is paused", paused.Reason
		e.Hint = "SELECT hallway.resume() makes this database the one that asks the API."
	case errors.As(err, &failed) && failed.Text == "":
		e.Message = "the replica could not be brought up to date"
		e.Hint = "hallway.sync_status says why to the role whose credential the replica is of, which is another than yours."
	case errors.As(err, &failed):
		e.Message = "the replica could not be brought up to date: " + failed.Text
		e.Hint = "hallway.sync_status says when it is tried again."
	case errors.Is(err, context.DeadlineExceeded):
		e.Class, e.Message = connectors.DeadlineExceeded, "the replica is not up to date yet"
		e.Hint = "The work goes on; hallway.sync_status shows how far it is."
	case ctx.Err() != nil:
		return 0, fmt.Errorf("waiting for a replica: %w", ctx.Err())
	default:
		e.Message = "the replica's state cannot be read: " + err.Error()
	}
	return 0, e
}

// Resume lets the background work of a database go on that was paused because
// the database is not the one it was: restored, cloned or promoted.
func (m *Manager) Resume(ctx context.Context, id database.Identity, at database.Address) error {
	n := m.node(id, at)
	if n == nil {
		return errors.New("the sidecar is stopping")
	}
	return n.resume(ctx)
}

// find is the database of a name, for webhooks; several clusters may have one
// each.
func (m *Manager) find(name string) []*node {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*node
	for at, n := range m.open {
		if at.Database == name {
			out = append(out, n)
		}
	}
	return out
}

// describe is an error's text for hallway.sync_status: a connector's without
// its cause, which is for the log.
func describe(err error) string {
	var ce *connectors.Error
	if errors.As(err, &ce) {
		text := ce.Message
		if ce.API != "" {
			text = "[" + ce.API + "]: " + text
		}
		if ce.Detail != "" {
			text += " (" + ce.Detail + ")"
		}
		return text
	}
	return fmt.Sprint(err)
}
