// Package bridge is the gRPC service that PostgreSQL backends call: one file
// an RPC, thin, over the connectors. It turns messages into neutral requests
// and errors into what a backend shows; it knows no API.
//
// This file is the Server and what it is made of.
package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/sidecar/lease"
)

// The protocol spoken here. Shims of the same major version are served.
const (
	ProtocolMajor = 1
	ProtocolMinor = 0
)

// Config is what a Server needs.
type Config struct {
	// Registry of connectors. Required.
	Registry *connectors.Registry
	// Env is handed to connectors. Its Log must be one that LogHandler wraps
	// for request ids to appear. Required: Log.
	Env connectors.Env
	// Secrets resolves the user mapping option "secret"; nil: there is no store.
	Secrets Secrets
	// Version of the sidecar, "0.1.0".
	Version string
	// Instance changes at every start; it begins every request id. At least
	// one character of [a-z0-9].
	Instance string
	// MaxWait bounds a Modify or ImportSchema that comes without a deadline,
	// and is how long a Scan may wait for a rate limit; default 30 s.
	MaxWait time.Duration
	// SourceIdle is how long a server's connector stays open unused; default
	// 10 min.
	SourceIdle time.Duration
	// Cache keeps rows in the databases that ask; nil: nothing is kept.
	Cache Cache
	// Replicas are what sidecar/sync does in the background; nil: none.
	Replicas Replicas
	// Journal keeps what is written; nil: nothing of it is kept. Its Opener is
	// this Server (OpenJournal).
	Journal *journal.Manager
	// Limits divides APIs' limits among sidecars; nil: each has all of them.
	Limits Limits
	// Spool bounds what is held of scans that several backends read.
	Spool flight.Limits

	// footerPatience; tests have more of it.
	footerPatience time.Duration
}

// Limits is told of each use of a server whose API has limits; see sidecar/lease.
type Limits interface {
	Use(id database.Identity, at database.Address, server int32, c lease.Client)
}

// Secrets finds the secret of a name: options of a user mapping, or one value
// under the name "". An unknown name is an error fit for the user.
type Secrets interface {
	Lookup(name string) (map[string]string, error)
}

// Server implements hallway.v1.Bridge. Use NewGRPC to serve it: it relies on
// the interceptors and the connection state set up there.
type Server struct {
	hallwayv1.UnimplementedBridgeServer

	cfg     Config
	log     *slog.Logger
	sources *sources
	// relations of all connections
	relations relations
	flights   *flight.Group
	overlay   *overlay.Log
	queue     *writeQueue
	keeping   keepStats
	recent    recentWrites
	calls     atomic.Uint64 // for request ids
	conns     atomic.Uint64
	stats     serverStats
}

// serverStats is what the status page and the metrics read.
type serverStats struct {
	connections, running, scans, writes atomic.Int64
	rowsSent, bytesSent                 atomic.Uint64
	committed, aborted, panics          atomic.Uint64
}

// Stats is a snapshot of what a Server does.
type Stats struct {
	// Connections, Scans and Writes are those of now.
	Connections, Scans, Writes int64
	// Sources are open connectors: one for each server and credential in use.
	Sources int
	// Cache is what became of scans whose rows were to be kept, and of writes.
	Cache CacheStats
	// Rows and Bytes sent, transactions ended, panics recovered, since start.
	Rows, Bytes, Committed, Aborted, Panics uint64
}

// New makes a Server. Close it after its gRPC server has stopped.
func New(cfg Config) *Server {
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = 30 * time.Second
	}
	if cfg.SourceIdle <= 0 {
		cfg.SourceIdle = 10 * time.Minute
	}
	if cfg.footerPatience <= 0 {
		cfg.footerPatience = footerPatience
	}
	return &Server{cfg: cfg, log: cfg.Env.Log, sources: newSources(cfg.Env.Log, cfg.SourceIdle),
		flights: flight.NewGroup(cfg.Env.Log, cfg.Spool), overlay: overlay.NewLog(), queue: newWriteQueue(cfg.Env.Log)}
}

// Stats tells what the server does now and has done.
func (s *Server) Stats() Stats {
	return Stats{
		Connections: s.stats.connections.Load(), Scans: s.stats.scans.Load(), Writes: s.stats.writes.Load(),
		Sources: s.sources.len(), Cache: s.cacheStats(), Rows: s.stats.rowsSent.Load(), Bytes: s.stats.bytesSent.Load(),
		Committed: s.stats.committed.Load(), Aborted: s.stats.aborted.Load(), Panics: s.stats.panics.Load(),
	}
}

// WaitIdle returns when no call runs, or with ctx's error. An idle backend
// answers nothing, so waiting for connections to end would take for ever.
func (s *Server) WaitIdle(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.stats.running.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for calls to end: %w", ctx.Err())
		}
	}
	return nil
}

// Reset makes every connector open anew at its next use, so that changed
// manifests and secrets count. Calls that run are not disturbed.
func (s *Server) Reset() { s.sources.reset() }

// Close ends fills, gives writes to cache tables a moment, and closes all
// connectors. No call may run.
func (s *Server) Close() {
	s.flights.Close()
	s.queue.close(closeWait)
	s.sources.close()
}

// closeWait is how long Close waits for writes to cache tables. What is lost
// shows in the cache until its max_age is over.
const closeWait = 2 * time.Second

// bounded gives ctx a deadline if it has none.
func (s *Server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.cfg.MaxWait)
}
