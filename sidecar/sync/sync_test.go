package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{NoSidecar: true}, func(e *harness.Env) { env = e })
}

// room is a database with the foreign table "things" and a manager that fills
// it from a fake API.
type room struct {
	t     *testing.T
	db    *harness.Database
	c     *harness.Conn
	api   *fakeAPI
	id    database.Identity
	at    database.Address
	relid uint32
	srv   uint32
	m     *Manager
	stop  func()
	cfg   Config
}

func newRoom(t *testing.T, api *fakeAPI) *room {
	t.Helper()
	r := &room{t: t, api: api, db: env.Database(t)}
	r.c = r.db.Connect(t)
	r.c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE things (id text, name text, updated timestamptz) SERVER syn`)
	if r.c.Value(`SELECT to_regprocedure('hallway.relation_definition(regclass, oid)') IS NULL`) == "t" {
		r.c.Exec(`CREATE FUNCTION hallway.relation_definition(regclass, oid) RETURNS bytea LANGUAGE sql AS 'SELECT ''''::bytea'`)
	}
	var system, oid int64
	_, err := fmt.Sscan(r.c.Value(`SELECT system_identifier FROM pg_control_system()`), &system)
	require.NoError(t, err)
	_, err = fmt.Sscan(r.c.Value(`SELECT oid FROM pg_database WHERE datname = current_database()`), &oid)
	require.NoError(t, err)
	_, err = fmt.Sscan(r.c.Value(`SELECT 'things'::regclass::oid`), &r.relid)
	require.NoError(t, err)
	_, err = fmt.Sscan(r.c.Value(`SELECT oid FROM pg_foreign_server`), &r.srv)
	require.NoError(t, err)
	r.id = database.Identity{SystemIdentifier: uint64(system), Timeline: 1, DatabaseOID: uint32(oid)}
	r.at = database.Address{SocketDirectory: r.db.Cluster.SocketDir, Port: uint32(r.db.Cluster.Port), Database: r.db.Name}
	r.cfg.Look = 200 * time.Millisecond
	return r
}

// start starts a sidecar's part; it ends with the test, or by r.stop.
func (r *room) start(instance string) *Manager {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dbs := database.NewManager(database.Config{Log: log, ConnectTimeout: harness.Timeout})
	caches := cache.Open(cache.Config{Log: log, Housekeeping: -1}, dbs)
	cfg := r.cfg
	cfg.Log, cfg.Databases, cfg.Tables, cfg.Instance = log, dbs, CacheTables(caches), instance
	cfg.Open = fakeOpener{api: r.api, relid: func() (uint32, uint32) { return r.relid, r.srv }}
	m := New(cfg)
	m.Seen(r.id, r.at)
	done := false
	stop := func() {
		if !done {
			done = true
			m.Close()
			caches.Close()
			dbs.Close()
		}
	}
	r.t.Cleanup(stop)
	r.m, r.stop = m, stop
	return m
}

func (r *room) sync() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), harness.Timeout)
	defer cancel()
	require.NoError(r.t, r.trySync(ctx))
}

func (r *room) trySync(ctx context.Context) error {
	_, err := r.m.Sync(ctx, r.id, r.at, cache.Definition{Relid: r.relid}, 0)
	return err
}

// replica is what the cache table holds.
func (r *room) replica() map[string]string {
	r.t.Helper()
	name := r.c.Value(`SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = %d`, r.relid)
	out := map[string]string{}
	for _, row := range r.c.Query(`SELECT id, name FROM %s`, name) {
		out[row[0]] = row[1]
	}
	return out
}

// equal compares the replica with the API.
func (r *room) equal() {
	r.t.Helper()
	require.Empty(r.t, r.different())
}

func (r *room) different() (ids []string) {
	want, got := r.api.contents(), r.replica()
	for id, name := range want {
		if g, ok := got[id]; !ok || g != name {
			ids = append(ids, fmt.Sprintf("%s: API %q, replica %q (%t)", id, name, g, ok))
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok {
			ids = append(ids, id+": replica only")
		}
	}
	return ids[:min(len(ids), 10)]
}

func (r *room) status(column string) string {
	r.t.Helper()
	return r.c.Value(`SELECT coalesce(%s::text, '') FROM hallway.sync_status WHERE "table" = 'things'::regclass`, column)
}

func (r *room) eventually(what string, ok func() bool) {
	r.t.Helper()
	require.True(r.t, harness.Eventually(r.t.Context(), 30*time.Second, ok), what)
}

func TestFullCopyAndIncrements(t *testing.T) {
	api := newFake(2500)
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	r.equal()
	assert.Equal(t, "idle", r.status("state"))
	assert.Equal(t, "2500", r.status("rows"))
	assert.NotEmpty(t, r.status("as_of"))

	api.put("k0000003", "changed")
	api.put("new", "made")
	api.remove("k0000004")
	// Deleted, and made again with a time of before: only its own tells.
	api.remove("k0000005")
	api.putAt("k0000005", "again", time.Now().Add(-48*time.Hour))
	// Made with a time of long ago, as imports do.
	api.putAt("imported", "old", time.Now().Add(-72*time.Hour))
	api.mu.Lock()
	api.scans = nil
	api.mu.Unlock()
	r.sync()
	r.equal()
	api.mu.Lock()
	scans := api.scans
	api.mu.Unlock()
	require.Len(t, scans, 3, "changes, keys, what was missing: %q", scans)
	assert.Contains(t, scans[0], "updated >=")
	assert.Contains(t, scans[2], "id = ANY")
	assert.Equal(t, "5", r.status("rows"), "two that were changed, the latest of before again, one that was missing, one of another time")
}

func TestRowsThatAreTheSameAreNotTouched(t *testing.T) {
	api := newFake(300)
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	name := r.c.Value(`SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = %d`, r.relid)
	before := r.c.Query(`SELECT ctid, xmin, id FROM %s ORDER BY id`, name)
	api.put("k0000000", "row 0") // same but for its time
	r.sync()
	after := r.c.Query(`SELECT ctid, xmin, id FROM %s ORDER BY id`, name)
	require.Equal(t, before[1:], after[1:])
	require.NotEqual(t, before[0], after[0])
}

func TestOneTimestampForAll(t *testing.T) {
	api := newFake(0)
	at := time.Now().Truncate(time.Millisecond)
	for i := range 25000 {
		api.putAt(fmt.Sprintf("k%07d", i), "a", at)
	}
	api.pageRows = 1000
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	require.Len(t, r.replica(), 25000)
	for i := range 25000 {
		api.putAt(fmt.Sprintf("k%07d", i), "b", at) // with the same time again
	}
	r.sync()
	r.equal()
}

func TestClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			api := newFake(500)
			api.skew = skew
			api.graves = map[string]time.Time{} // so that no keys are compared: changes alone have to do
			r := newRoom(t, api)
			// While the copy runs, a row that it has passed changes.
			api.page = func(n int) error {
				if n == 4 {
					api.put("k0000001", "changed behind the copy")
				}
				return nil
			}
			r.start("one")
			r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
			r.sync()
			for i := range 5 {
				api.put("k0000100", fmt.Sprint("change ", i))
				r.sync()
				r.equal()
			}
		})
	}
}

func TestWithoutModifiedColumn(t *testing.T) {
	api := newFake(300)
	api.noModified, api.noOrder = true, true
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 s')`)
	r.sync()
	api.put("k0000000", "x")
	api.remove("k0000001")
	r.eventually("it refreshes by itself", func() bool {
		rep := r.replica()
		return rep["k0000000"] == "x" && len(rep) == 299
	})
}

// A copy that is cut goes on where it stood; what it has read is not read again.
func TestCopyIsTakenUp(t *testing.T) {
	api := newFake(2000)
	r := newRoom(t, api)
	var failed bool
	api.page = func(n int) error {
		if n == 11 {
			failed = true
			return &connectors.Error{Class: connectors.Unavailable, API: "Fake", Message: "no answer"}
		}
		return nil
	}
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.eventually("it is whole", func() bool { return r.status("last_success") != "" })
	require.True(t, failed)
	r.equal()
	// 10 pages, one that failed, 10 more and the empty one at the end.
	assert.LessOrEqual(t, api.pages, 22)
	assert.Equal(t, "2000", r.status("rows"))
}

func TestFailuresAreShown(t *testing.T) {
	api := newFake(10)
	api.page = func(int) error {
		return &connectors.Error{Class: connectors.Unauthenticated, API: "Fake", Message: "who are you?", Err: errors.New("token s3cret")}
	}
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
	defer cancel()
	err := r.trySync(ctx)
	var failed *FailedError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "[Fake]: who are you?", failed.Text)
	r.eventually("it fails", func() bool { return r.status("state") == "failing" }) // and is tried again, now and then
	assert.Equal(t, "[Fake]: who are you?", r.status("error"))
	assert.NotContains(t, fmt.Sprint(r.c.Query(`SELECT errors FROM hallway_sync.river_job`)), "s3cret")
	api.mu.Lock()
	api.page = nil
	api.mu.Unlock()
	r.sync()
	assert.Equal(t, "", r.status("error"))
}

// Two sidecars: a replica is one's at a time, and outlives its sidecar.
func TestTwoSidecars(t *testing.T) {
	api := newFake(3000)
	var at, most int
	api.page = func(int) error {
		api.mu.Lock()
		at++
		most = max(most, at)
		api.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		api.mu.Lock()
		at--
		api.mu.Unlock()
		return nil
	}
	r := newRoom(t, api)
	r.start("one")
	stopOne := r.stop
	r.start("two")
	r.c.Exec(`SELECT hallway.replicate('things', '1 s')`)
	r.sync()
	r.equal()
	api.mu.Lock()
	copies := 0
	for _, s := range api.scans {
		if s == "3 columns " {
			copies++
		}
	}
	api.mu.Unlock()
	require.Equal(t, 1, copies, "full copies")
	stopOne()
	for i := range 3 {
		api.put("k0000000", fmt.Sprint("after ", i))
		r.sync()
	}
	r.equal()
	require.Equal(t, 1, most, "pages asked for at the same time")
}

func TestUnreplicate(t *testing.T) {
	api := newFake(100)
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things')`)
	assert.Equal(t, "{cache=replica,refresh_every=300000ms}", r.c.Value(`SELECT ftoptions FROM pg_foreign_table`))
	r.c.Exec(`SELECT hallway.replicate('things', '1 min')`)
	r.sync()
	r.c.Exec(`SELECT hallway.unreplicate('things')`)
	assert.Equal(t, harness.Null, r.c.Value(`SELECT ftoptions FROM pg_foreign_table`))
	r.eventually("it ends", func() bool { return r.c.Value(`SELECT count(*) FROM hallway.replicas`) == "0" })
	r.eventually("it shows nothing any more", func() bool {
		return r.c.Value(`SELECT count(*) FROM hallway.cache_tables WHERE as_of IS NOT NULL`) == "0"
	})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
	defer cancel()
	require.ErrorIs(t, r.trySync(ctx), ErrNotReplica)
	r.c.Fails("42809", `SELECT hallway.replicate('pg_class')`)
	r.c.Fails("22023", `SELECT hallway.replicate('things', '0 s')`)
}

func TestWhoSeesTheStatus(t *testing.T) {
	r := newRoom(t, newFake(1))
	r.c.Exec(`SELECT hallway.replicate('things');
		CREATE ROLE sync_%[1]s_owner LOGIN; CREATE ROLE sync_%[1]s_other LOGIN; CREATE ROLE sync_%[1]s_monitor LOGIN IN ROLE pg_monitor;
		ALTER FOREIGN TABLE things OWNER TO sync_%[1]s_owner`, r.db.Name)
	t.Cleanup(func() {
		r.c.On(t).Exec(`DROP OWNED BY sync_%[1]s_owner; DROP ROLE sync_%[1]s_owner, sync_%[1]s_other, sync_%[1]s_monitor`, r.db.Name)
	})
	for role, want := range map[string]string{"owner": "1", "other": "0", "monitor": "1"} {
		c := r.db.ConnectAs(t, "sync_"+r.db.Name+"_"+role)
		assert.Equal(t, want, c.Value(`SELECT count(*) FROM hallway.sync_status`), role)
		c.Fails("42501", `SELECT * FROM hallway.replicas`)
	}
	r.db.ConnectAs(t, "sync_"+r.db.Name+"_other").Fails("42501", `SELECT hallway.replicate('things')`)
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"5min": 5 * time.Minute, "300000ms": 5 * time.Minute, "1.5h": 90 * time.Minute,
		"2 s": 0, "1d": 24 * time.Hour, "1500": 1500 * time.Millisecond, "": 0, "-1s": 0, "x": 0} {
		got, ok := parseDuration(text)
		assert.Equal(t, want, got, text)
		assert.Equal(t, want != 0, ok, text)
	}
}
