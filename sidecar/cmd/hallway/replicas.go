// Replicas: the room that keeps them, and what it needs of the others.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/sidecar/sync"
)

// replicas are the sidecar's. The bridge tells them of databases, and they bind
// tables by the bridge: whichever is made first has to wait for the other.
type replicas struct{ *sync.Manager }

// lateOpener binds tables by a bridge that is there when the first job runs.
type lateOpener struct{ srv atomic.Pointer[bridge.Server] }

var errNotStarted = errors.New("the sidecar has not started yet")

// OpenTable is the bridge's, for replicas.
func (o *lateOpener) OpenTable(ctx context.Context, packed []byte) (connectors.Table, cache.Definition, func(), error) {
	srv := o.srv.Load()
	if srv == nil {
		return nil, cache.Definition{}, nil, errNotStarted
	}
	return srv.OpenTable(ctx, packed)
}

// Open is the bridge's, for the journal.
func (o *lateOpener) Open(ctx context.Context, id database.Identity, at database.Address, packed []byte) (journal.Table, error) {
	srv := o.srv.Load()
	if srv == nil {
		return nil, errNotStarted
	}
	return srv.OpenJournal(ctx, id, at, packed)
}

func newReplicas(s *config.Settings, log *slog.Logger, instance string, databases *database.Manager, caches *cache.Manager, o *lateOpener) *replicas {
	cfg := sync.Config{Log: log, Databases: databases, Open: o, Tables: sync.CacheTables(caches),
		Instance: instance, Environment: s.Environment}
	if secrets := secretStore(s); secrets != nil {
		cfg.Secrets = secrets
	}
	return &replicas{Manager: sync.New(cfg)}
}

// start begins the work that no backend asks for. The bridge is complete.
func (r *replicas) start(ctx context.Context, s *config.Settings) error {
	if s.WebhooksListen != "" {
		if err := r.ListenWebhooks(ctx, s.WebhooksListen); err != nil {
			return err
		}
	}
	return nil
}

// watch tells of the databases of the settings.
func watch(ctx context.Context, s *config.Settings, log *slog.Logger, seen func(database.Identity, database.Address)) error {
	for _, text := range s.Databases {
		d, err := config.ParseDatabase(text)
		if err != nil {
			return fmt.Errorf("reading the setting databases: %w", err)
		}
		at := database.Address{SocketDirectory: d.Directory, Port: uint32(d.Port), Database: d.Name}
		go watchOne(ctx, log, at, s.DatabaseRole, seen)
	}
	return nil
}

// watchOne asks a database who it is, now and then: it may start after us, or be
// made anew.
func watchOne(ctx context.Context, log *slog.Logger, at database.Address, role string, seen func(database.Identity, database.Address)) {
	const most = time.Minute
	pause := time.Second
	for {
		if id, err := sync.Identify(ctx, at, role); err == nil {
			seen(id, at)
			pause = most
		} else if ctx.Err() == nil {
			log.Warn("a database of the setting databases does not answer", "database", at.Database, "error", err.Error(), "again_in", pause.String())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, most)
	}
}
