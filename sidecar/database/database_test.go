package database_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{NoSidecar: true}, func(e *harness.Env) { env = e })
}

func admin(t *testing.T, db *harness.Database) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), db.Cluster.DSN(db.Name, "postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func whereIs(t *testing.T, db *harness.Database) (database.Identity, database.Address) {
	t.Helper()
	var system, oid int64
	require.NoError(t, admin(t, db).QueryRow(context.Background(), `SELECT (SELECT system_identifier FROM pg_control_system()), oid::int8
FROM pg_database WHERE datname = current_database()`).Scan(&system, &oid))
	return database.Identity{SystemIdentifier: uint64(system), Timeline: 1, DatabaseOID: uint32(oid)},
		database.Address{SocketDirectory: db.Cluster.SocketDir, Port: uint32(db.Cluster.Port), Database: db.Name}
}

func manager(t *testing.T, cfg database.Config) *database.Manager {
	t.Helper()
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = harness.Timeout
	}
	m := database.NewManager(cfg)
	t.Cleanup(m.Close)
	return m
}

func TestAcquire_SessionsAreWhatTheyShouldBe(t *testing.T) {
	db := env.Database(t)
	id, at := whereIs(t, db)
	d := manager(t, database.Config{}).Database(id, at)
	require.NoError(t, d.Err())
	for _, dedicated := range []bool{false, true} {
		var conn *pgx.Conn
		if dedicated {
			c, closing, err := d.Dedicated(t.Context())
			require.NoError(t, err)
			defer closing()
			conn = c
		} else {
			c, err := d.Acquire(t.Context())
			require.NoError(t, err)
			defer c.Release()
			conn = c.Conn()
		}
		var user, app, lock, path string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_user, current_setting('application_name'), current_setting('lock_timeout'), current_setting('search_path')").
			Scan(&user, &app, &lock, &path))
		require.Equal(t, []string{"hallway", "hallway sidecar", "100ms", "pg_catalog, pg_temp"}, []string{user, app, lock, path})
	}
	require.False(t, d.Standby())
	before := time.Now()
	now := d.Now()
	require.WithinRange(t, now, before, time.Now(), "the server is on this machine")
	require.Equal(t, id, d.Identity())
	require.Equal(t, at, d.Address())

	other := admin(t, db)
	for range 20 {
		var now time.Time
		before := d.Now()
		require.NoError(t, other.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
		require.False(t, before.After(now), "never ahead of the server")
	}
}

func TestDedicated_Listens(t *testing.T) {
	db := env.Database(t)
	id, at := whereIs(t, db)
	d := manager(t, database.Config{}).Database(id, at)
	conn, closing, err := d.Dedicated(t.Context())
	require.NoError(t, err)
	defer closing()
	_, err = conn.Exec(t.Context(), "LISTEN here")
	require.NoError(t, err)
	_, err = admin(t, db).Exec(t.Context(), "NOTIFY here, 'you'")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	require.NoError(t, err)
	require.Equal(t, "you", n.Payload)
}

func TestAcquire_SaysWhyNot(t *testing.T) {
	db := env.Database(t)
	bare := env.BareDatabase(t)
	id, at := whereIs(t, db)
	bareID, bareAt := whereIs(t, bare)
	wrong := id
	wrong.SystemIdentifier++
	another := id
	another.DatabaseOID++
	away := at
	away.SocketDirectory = t.TempDir()
	missing := at
	missing.Database = "there is no such"
	nowhere := at
	nowhere.SocketDirectory = ""
	for name, c := range map[string]struct {
		id   database.Identity
		at   database.Address
		role string
		want string
	}{
		"no server":        {id, away, "", "no such file"},
		"no socket":        {id, nowhere, "", "has no Unix socket"},
		"no database":      {id, missing, "", `database "there is no such" does not exist`},
		"no role":          {id, at, "nobody at all", `role "nobody at all" does not exist`},
		"another cluster":  {wrong, at, "", "another database answers there"},
		"another database": {another, at, "", "another database answers there"},
		"no extension":     {bareID, bareAt, "", "CREATE EXTENSION hallway"},
	} {
		t.Run(name, func(t *testing.T) {
			d := manager(t, database.Config{Role: c.role}).Database(c.id, c.at)
			asked := time.Now()
			_, err := d.Acquire(t.Context())
			var down *database.UnreachableError
			require.ErrorAs(t, err, &down)
			require.Contains(t, err.Error(), c.want)
			require.WithinRange(t, down.Until, asked, time.Now().Add(2*time.Second))
			require.ErrorIs(t, d.Err(), down)
			// When the pause is over somebody tries again, which takes longer.
			require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
				_, err := d.Acquire(t.Context())
				require.ErrorAs(t, err, &down)
				began := time.Now()
				for range 1000 {
					_, err = d.Acquire(t.Context())
					_, _, too := d.Dedicated(t.Context())
					if time.Now().After(down.Until) {
						return false
					}
					require.ErrorIs(t, err, down)
					require.ErrorIs(t, too, down)
				}
				return time.Since(began) < 500*time.Millisecond
			}), "it costs nobody time")
		})
	}
}

func TestAcquire_ComesBack(t *testing.T) {
	db := env.Database(t)
	id, at := whereIs(t, db)
	root := admin(t, db)
	d := manager(t, database.Config{Role: "later_" + db.Name}).Database(id, at)
	_, err := d.Acquire(t.Context())
	require.Error(t, err)
	_, err = root.Exec(t.Context(), "CREATE ROLE later_"+db.Name+" LOGIN")
	require.NoError(t, err)
	defer root.Exec(context.Background(), "DROP ROLE later_"+db.Name)
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		conn, err := d.Acquire(t.Context())
		if err != nil {
			return false
		}
		conn.Release()
		return true
	}))
	require.NoError(t, d.Err())

	// A backend that was ended is no failure of the database.
	conn, err := d.Acquire(t.Context())
	require.NoError(t, err)
	_, err = root.Exec(t.Context(), "SELECT pg_terminate_backend($1)", conn.Conn().PgConn().PID())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)
	conn.Release()
	require.NoError(t, d.Err())
	conn, err = d.Acquire(t.Context())
	require.NoError(t, err)
	conn.Release()
}

// A server that accepts and says nothing costs the first who asks a bounded
// time, and the others nothing.
func TestAcquire_AServerThatHangs(t *testing.T) {
	db := env.Database(t)
	id, at := whereIs(t, db)
	at.SocketDirectory, at.Port = t.TempDir(), 5432
	l, err := net.Listen("unix", fmt.Sprintf("%s/.s.PGSQL.%d", at.SocketDirectory, at.Port))
	require.NoError(t, err)
	defer l.Close()
	d := manager(t, database.Config{ConnectTimeout: 200 * time.Millisecond}).Database(id, at)
	for _, wait := range []time.Duration{time.Hour, time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		began := time.Now()
		_, err = d.Acquire(ctx)
		cancel()
		var down *database.UnreachableError
		require.ErrorAs(t, err, &down)
		require.Less(t, time.Since(began), 30*time.Second)
	}
	fresh := manager(t, database.Config{ConnectTimeout: 200 * time.Millisecond}).Database(id, at)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = fresh.Acquire(ctx)
	var down *database.UnreachableError
	require.ErrorAs(t, err, &down, "who waits less than the timeout tells the others all the same")
}

func TestAcquire_BusyIsNotUnreachable(t *testing.T) {
	db := env.Database(t)
	id, at := whereIs(t, db)
	d := manager(t, database.Config{Connections: 1}).Database(id, at)
	conn, err := d.Acquire(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = d.Acquire(ctx)
	require.ErrorIs(t, err, database.ErrBusy)
	require.NoError(t, d.Err())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Acquire(gone)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, d.Err())
	conn.Release()
	fail := errors.New("f's")
	require.ErrorIs(t, d.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TEMPORARY TABLE x ()")
		require.NoError(t, err)
		return fail
	}), fail)
	require.NoError(t, d.InTx(t.Context(), func(tx pgx.Tx) error {
		var n int
		return tx.QueryRow(t.Context(), "SELECT 1 WHERE to_regclass('pg_temp.x') IS NULL").Scan(&n)
	}))
}

func TestManager_ClosesWhatIsNotUsed(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	db := env.Database(t)
	id, at := whereIs(t, db)
	m := database.NewManager(database.Config{Idle: 50 * time.Millisecond})
	d := m.Database(id, at)
	require.Same(t, d, m.Database(id, at))
	pool, release, err := d.Pool(t.Context())
	require.NoError(t, err)
	root := admin(t, db)
	sessions := func() (n int) {
		require.NoError(t, root.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hallway sidecar' AND datname = $1", db.Name).Scan(&n))
		return n
	}
	require.Equal(t, 1, sessions())
	time.Sleep(150 * time.Millisecond)
	require.NoError(t, pool.Ping(t.Context()), "who has the pool keeps it open")
	release()
	release()
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return sessions() == 0 }))
	conn, err := d.Acquire(t.Context())
	require.NoError(t, err, "and it opens again")
	conn.Release()
	m.Close()
	m.Close()
	_, err = d.Acquire(t.Context())
	require.Error(t, err)
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return sessions() == 0 }))
	require.NoError(t, root.Close(t.Context()))
	goleak.VerifyNone(t, ignore)
}

// A server that was restarted is found again: at once by who knows that it runs.
func TestAcquire_AfterARestart(t *testing.T) {
	cluster, err := env.StartCluster("C", env.Cluster.Library)
	require.NoError(t, err)
	db := env.DatabaseIn(t, cluster)
	var system, oid int64
	first, err := pgx.Connect(t.Context(), cluster.DSN(db.Name, "postgres"))
	require.NoError(t, err)
	require.NoError(t, first.QueryRow(t.Context(), `SELECT (SELECT system_identifier FROM pg_control_system()), oid::int8
FROM pg_database WHERE datname = current_database()`).Scan(&system, &oid))
	d := manager(t, database.Config{}).Database(
		database.Identity{SystemIdentifier: uint64(system), Timeline: 1, DatabaseOID: uint32(oid)},
		database.Address{SocketDirectory: cluster.SocketDir, Port: uint32(cluster.Port), Database: db.Name})
	ask := func() error {
		return d.InTx(t.Context(), func(tx pgx.Tx) error { return tx.QueryRow(t.Context(), "SELECT 1").Scan(new(int)) })
	}
	require.NoError(t, ask())
	// The connection that waits in the pool is of a server that is no more.
	require.NoError(t, cluster.Crash())
	require.NoError(t, cluster.Start())
	require.NoError(t, ask())

	require.NoError(t, cluster.Crash())
	var gone *database.UnreachableError
	require.ErrorAs(t, ask(), &gone)
	require.NoError(t, cluster.Start())
	if err := ask(); time.Now().Before(gone.Until) {
		require.ErrorAs(t, err, &gone, "nobody pays for trying again soon")
	}
	d.Retry()
	require.NoError(t, ask())
}
