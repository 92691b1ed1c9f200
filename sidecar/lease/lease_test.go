package lease_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/lease"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{NoSidecar: true}, func(e *harness.Env) { env = e })
}

// client remembers the shares that it was given.
type client struct {
	mu     sync.Mutex
	shares []float64
}

func (c *client) SetShare(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shares = append(c.shares, share)
}

func (c *client) all() []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shares)
}

func (c *client) share() float64 { s := c.all(); return s[len(s)-1] }

type world struct {
	t  *testing.T
	id database.Identity
	at database.Address
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := env.Database(t)
	w := &world{t: t, at: database.Address{SocketDirectory: db.Cluster.SocketDir, Port: uint32(db.Cluster.Port), Database: db.Name}}
	var system, oid int64
	w.ask(`SELECT (SELECT system_identifier FROM pg_control_system()), oid::int8 FROM pg_database WHERE datname = current_database()`, &system, &oid)
	w.id = database.Identity{SystemIdentifier: uint64(system), Timeline: 1, DatabaseOID: uint32(oid)}
	return w
}

func (w *world) ask(sql string, into ...any) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=%s", w.at.SocketDirectory, w.at.Port, w.at.Database))
	require.NoError(w.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	require.NoError(w.t, conn.QueryRow(w.t.Context(), sql).Scan(into...))
}

// locks are those that sidecars hold.
func (w *world) locks() (n int) {
	w.t.Helper()
	w.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &n)
	return n
}

// sidecar is a Manager, and what ends it with its connections.
func (w *world) sidecar() (*lease.Manager, func()) {
	dbm := database.NewManager(database.Config{ConnectTimeout: harness.Timeout})
	m := lease.New(slog.New(slog.DiscardHandler), dbm)
	end := sync.OnceFunc(func() {
		m.Close()
		dbm.Close()
	})
	w.t.Cleanup(end)
	return m, end
}

// settles uses a server by all of these, as sessions do, until each has the share.
func (w *world) settles(share float64, key int32, use map[*client]*lease.Manager) {
	w.t.Helper()
	var got []float64
	require.True(w.t, harness.Eventually(w.t.Context(), harness.Timeout, func() bool {
		got = got[:0]
		all := true
		for c, m := range use {
			m.Use(w.id, w.at, key, c)
			got = append(got, c.share())
			all = all && c.share() == share
		}
		return all
	}), "the shares are %v, not %v", got, share)
}

func TestUse_DividesAmongSidecars(t *testing.T) {
	w := newWorld(t)
	one, _ := w.sidecar()
	two, end := w.sidecar()
	a, b, elsewhere := &client{}, &client{}, &client{}
	one.Use(w.id, w.at, 7, a)
	require.True(t, harness.Eventually(t.Context(), harness.Timeout, func() bool { return w.locks() == 1 }))
	require.Equal(t, []float64{1}, a.all(), "alone it has all and waits for nobody")

	w.settles(0.5, 7, map[*client]*lease.Manager{a: one, b: two})
	require.Contains(t, b.all(), 0.0, "who comes later lets the others count first")
	// Another credential of the same server has the same share, another server all
	// of its own.
	again := &client{}
	two.Use(w.id, w.at, 7, again)
	require.Equal(t, 0.5, again.share())
	w.settles(1, -8, map[*client]*lease.Manager{elsewhere: one})

	end()
	w.settles(1, 7, map[*client]*lease.Manager{a: one})
	require.Equal(t, 1.0, elsewhere.share())
}

// Connections that are lost, as in a restart, are made again.
func TestUse_OutlivesItsConnection(t *testing.T) {
	w := newWorld(t)
	one, _ := w.sidecar()
	two, _ := w.sidecar()
	a, b := &client{}, &client{}
	w.settles(0.5, 1, map[*client]*lease.Manager{a: one, b: two})
	var n int
	w.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'hallway' AND datname = current_database()", &n)
	require.Equal(t, 2, n)
	require.True(t, harness.Eventually(t.Context(), harness.Timeout, func() bool {
		one.Use(w.id, w.at, 1, a)
		two.Use(w.id, w.at, 1, b)
		return w.locks() == 2
	}), "both are there again")
	w.settles(0.5, 1, map[*client]*lease.Manager{a: one, b: two})
}

func TestUse_WithoutADatabaseAllIsOurs(t *testing.T) {
	dbm := database.NewManager(database.Config{ConnectTimeout: time.Second})
	defer dbm.Close()
	m := lease.New(slog.New(slog.DiscardHandler), dbm)
	c := &client{}
	id, at := database.Identity{SystemIdentifier: 1, DatabaseOID: 1}, database.Address{SocketDirectory: t.TempDir(), Port: 1, Database: "none"}
	m.Use(id, at, 1, c)
	require.Equal(t, 1.0, c.share())
	m.Close()
	m.Use(id, at, 2, c) // does nothing, and does not hang
}
