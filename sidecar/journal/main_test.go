package journal_test

// A database whose sessions write through the real extension, sidecars in this
// process, and one API for all of them, which outlives each.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/synthetic"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{NoSidecar: true, Postgres: settings()}, func(e *harness.Env) { env = e })
}

// settings of the cluster: benchmarks want commits that wait for the disk.
func settings() []string {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.bench=") {
			return []string{"fsync = on", "synchronous_commit = on"}
		}
	}
	return nil
}

type world struct {
	t    testing.TB
	db   *harness.Database
	api  *synthetic.Connector
	path string
	sc   *sidecar
}

// sidecar is one of them.
type sidecar struct {
	journal   *journal.Manager
	databases *database.Manager
	srv       *bridge.Server
	gs        *bridge.GRPC
	done      chan error
	ended     bool
}

type opener struct{ srv atomic.Pointer[bridge.Server] }

func (o *opener) Open(ctx context.Context, id database.Identity, at database.Address, packed []byte) (journal.Table, error) {
	return o.srv.Load().OpenJournal(ctx, id, at, packed)
}

var instances atomic.Uint64

// newWorld has a database with the foreign table items, and a sidecar.
func newWorld(t testing.TB, change ...func(*journal.Config)) *world {
	t.Helper()
	dir, err := env.Mkdir("j")
	require.NoError(t, err)
	w := &world{t: t, db: env.Database(t), api: synthetic.New(), path: filepath.Join(dir, "s")}
	w.start(change...)
	c := w.db.Connect(t)
	c.Exec("ALTER DATABASE %s SET hallway.address = 'unix:%s'", w.db.Name, w.path)
	c.Exec("ALTER DATABASE %s SET client_min_messages = error", w.db.Name)
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address 'unix:%s');
CREATE USER MAPPING FOR PUBLIC SERVER api`, w.path)
	w.table(c, "items", "")
	return w
}

// table makes a foreign table on the store of its name.
func (w *world) table(c *harness.Conn, name, options string) {
	w.t.Helper()
	c.Exec(`CREATE FOREIGN TABLE %s (id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'), name text, n int)
SERVER api OPTIONS (store '%s' %s)`, name, name, options)
}

// start starts a sidecar at the world's socket. Its times are short.
func (w *world) start(change ...func(*journal.Config)) *sidecar {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(bridge.LogHandler(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})))
	}
	sc := &sidecar{databases: database.NewManager(database.Config{Log: log, Connections: journal.Connections, ConnectTimeout: harness.Timeout}), done: make(chan error, 1)}
	o := &opener{}
	cfg := journal.Config{Log: log, Databases: sc.databases, Open: o, Instance: fmt.Sprintf("i%d", instances.Add(1)),
		Look: 100 * time.Millisecond, Grace: 200 * time.Millisecond, Patience: 300 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	sc.journal = journal.New(cfg)
	sc.srv = bridge.New(bridge.Config{Registry: connectors.NewRegistry(w.api), Env: connectors.Env{Log: log}, Version: "1.2.3",
		Instance: cfg.Instance, Journal: sc.journal})
	o.srv.Store(sc.srv)
	_ = os.Remove(w.path)
	l, err := net.Listen("unix", w.path)
	require.NoError(w.t, err)
	require.NoError(w.t, os.Chmod(w.path, 0o666))
	sc.gs = bridge.NewGRPC(sc.srv, bridge.PeerCredentials(func(uint32) bool { return true }), nil)
	go func() { sc.done <- sc.gs.Serve(l) }()
	w.sc = sc
	w.t.Cleanup(sc.stop)
	return sc
}

// stop ends a sidecar in good order.
func (s *sidecar) stop() {
	if s.ended {
		return
	}
	s.ended = true
	s.gs.Stop()
	<-s.done
	s.journal.Close()
	s.srv.Close()
	s.databases.Close()
}

// kill ends it as SIGKILL would.
func (s *sidecar) kill() {
	s.ended = true
	s.journal.Kill()
	s.gs.Stop()
	<-s.done
	s.srv.Close()
	s.databases.Close()
}

// log gives hallway.write_log as "operation key state", in order.
func (w *world) log(c *harness.Conn) []string {
	var out []string
	for _, r := range c.Query(`SELECT operation || coalesce(' ' || array_to_string(key, ','), '') || ' ' || state ||
  CASE WHEN settled_at IS NULL THEN ' open' ELSE '' END FROM hallway.write_log ORDER BY id`) {
		out = append(out, r[0])
	}
	return out
}

// becomes waits until hallway.write_log is so.
func (w *world) becomes(c *harness.Conn, want ...string) {
	w.t.Helper()
	var have []string
	if !harness.Eventually(context.Background(), 30*time.Second, func() bool {
		have = w.log(c)
		return strings.Join(have, "\n") == strings.Join(want, "\n")
	}) {
		for _, r := range c.Query(`SELECT id, state, message, todo, sqlstate, key::text, attempts, next_attempt, xid FROM hallway.write_log ORDER BY id`) {
			w.t.Log(r)
		}
		w.t.Fatalf("hallway.write_log is\n  %s\nand should be\n  %s", strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
}

// cut runs a statement that hangs in the API, and cancels it there: some time after
// has tells that it is on its way.
func (w *world) cut(c, admin *harness.Conn, sql string, has func() bool) error {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := harness.Simple(context.Background(), c.PgConn, sql)
		done <- err
	}()
	require.True(w.t, harness.Eventually(context.Background(), 30*time.Second, has), sql)
	time.Sleep(300 * time.Millisecond)
	admin.Exec("SELECT pg_cancel_backend(%d)", c.PID())
	return <-done
}

// api gives the rows that the API has.
func (w *world) rows(c *harness.Conn, table string) string {
	w.t.Helper()
	var out []string
	for _, r := range c.Query("SELECT email, name, n FROM %s ORDER BY email, name", table) {
		out = append(out, strings.ReplaceAll(strings.Join(r, " "), harness.Null, "∅"))
	}
	return strings.Join(out, "; ")
}

func rowText(r harness.Row) string { return strings.Join(r, " ") }
