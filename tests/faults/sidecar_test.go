package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// generated makes table "t" of n made-up rows at a sidecar of the test's own.
func generated(t *testing.T, options string) (*harness.Sidecar, *harness.Database, *harness.Conn) {
	t.Helper()
	s := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	server(c, s.Address())
	c.Exec("CREATE FOREIGN TABLE t (id int8, name text, amount numeric) SERVER s OPTIONS (%s)", options)
	return s, db, c
}

func TestSidecar_NotRunningSaysHowToStartIt(t *testing.T) {
	for _, kind := range []string{"no socket", "nobody listens", "no permission"} {
		t.Run(kind, func(t *testing.T) {
			dir, err := env.Mkdir("none")
			require.NoError(t, err)
			sock := filepath.Join(dir, "s")
			if kind != "no socket" {
				fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
				require.NoError(t, err)
				require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: sock}))
				require.NoError(t, os.Chmod(sock, 0o777))
				if kind == "no permission" {
					if os.Getuid() != 0 {
						t.Skip("needs a socket of another user: only root can make one here")
					}
					require.NoError(t, syscall.Listen(fd, 5))
					require.NoError(t, os.Chmod(sock, 0o600))
				}
				t.Cleanup(func() { _ = syscall.Close(fd) })
			}
			c := env.Database(t).Connect(t)
			server(c, "unix:"+sock)
			c.Exec("CREATE FOREIGN TABLE t (id int8) SERVER s; CREATE TABLE l (i int)")
			for _, sql := range []string{"SELECT * FROM t", "EXPLAIN SELECT * FROM t", "INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE SCHEMA x; IMPORT FOREIGN SCHEMA a FROM SERVER s INTO x"} {
				start := time.Now()
				e := c.Fails("08001", "%s", sql)
				require.NotEmpty(t, e.Hint, "%s: %s", sql, harness.Describe(e))
				require.Contains(t, harness.Describe(e), sock, "it says where it looked")
				require.Less(t, time.Since(start), 20*time.Second, "it does not wait for one to come")
				if sql == "SELECT * FROM t" {
					t.Log(harness.Describe(e))
				}
				if kind == "no permission" {
					require.Regexp(t, "(?i)permission", harness.Describe(e))
				} else {
					require.Contains(t, e.Hint, "hallway serve")
				}
			}
			alive(t, c)
			c.Exec("INSERT INTO l VALUES (1)")
		})
	}
}

// A table can be defined and dropped while no sidecar is there.
func TestSidecar_NotNeededForDefinitions(t *testing.T) {
	c := env.Database(t).Connect(t)
	server(c, "unix:/nonexistent/s")
	c.Exec(`CREATE FOREIGN TABLE t (id int8, name text OPTIONS (field 'x')) SERVER s OPTIONS (rows '5');
		COMMENT ON FOREIGN TABLE t IS 'x'; ALTER FOREIGN TABLE t ADD COLUMN more int4; GRANT SELECT ON t TO PUBLIC;
		CREATE VIEW v AS SELECT * FROM t; ALTER SERVER s OPTIONS (SET address 'unix:/nonexistent/other');
		DROP VIEW v; DROP FOREIGN TABLE t; DROP SERVER s CASCADE`)
}

func TestSidecar_RestartedBetweenStatements(t *testing.T) {
	s, _, c := generated(t, "rows '100'")
	for i, hard := range []bool{false, true, false, true} {
		require.Equal(t, "100", c.Value("SELECT count(*) FROM t"), "restart %d", i)
		c.Exec("BEGIN; SELECT count(*) FROM t")
		s.Restart(t, hard)
		require.Equal(t, "100", c.Value("SELECT count(*) FROM t"), "in the same transaction")
		c.Exec("COMMIT")
		s.Restart(t, hard)
		require.Contains(t, c.Value("EXPLAIN (FORMAT JSON) SELECT * FROM t WHERE id = 3"), "Plan")
	}
}

// Writes too find the new sidecar.
func TestSidecar_RestartedBetweenWrites(t *testing.T) {
	s, db, c := generated(t, "rows '1'")
	c.Exec("CREATE FOREIGN TABLE w (id int8, name text) SERVER s OPTIONS (store '%s.w')", db.Name)
	c.Exec("INSERT INTO w VALUES (1, 'a')")
	s.Restart(t, true)
	c.Exec("INSERT INTO w VALUES (2, 'b')")
	require.Equal(t, "1", c.Value("SELECT count(*) FROM w"), "the store lived in the sidecar's memory")
}

func TestSidecar_KilledMidStream(t *testing.T) {
	s, db, c := generated(t, "rows '1000000000'")
	for tries := 1; ; tries++ {
		require.Len(t, c.Query("SELECT * FROM t LIMIT 1"), 1)
		done := make(chan error, 1)
		go func() {
			_, err := harness.Simple(context.Background(), c.PgConn, "SELECT count(name) FROM t")
			done <- err
		}()
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		s.Kill()
		var err error
		select {
		case err = <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("the backend still waits for a sidecar that is gone")
		}
		if harness.SQLState(err) == "08001" && tries < 5 {
			require.NoError(t, s.Start()) // the machine is so busy that the scan had not begun
			continue
		}
		require.Equal(t, "08006", harness.SQLState(err), "%s", harness.Describe(err))
		t.Logf("after %s: %s", time.Since(start).Round(time.Millisecond), harness.Describe(err))
		break
	}
	alive(t, c)
	c.Fails("08001", "SELECT count(*) FROM t WHERE id < 0")
	require.NoError(t, s.Start())
	c.Exec("CREATE FOREIGN TABLE few (id int8) SERVER s OPTIONS (rows '7')")
	require.Equal(t, "7", c.Value("SELECT count(*) FROM few"), "the next statement works")
	// And with an open cursor.
	c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t; FETCH 10 FROM k")
	s.Restart(t, true)
	_, err := c.Try("MOVE 100000000 FROM k")
	require.Equal(t, "08006", harness.SQLState(err), "%s", harness.Describe(err))
	c.Exec("ROLLBACK")
	require.Equal(t, "7", c.Value("SELECT count(*) FROM few"))
	_ = db
}

// A graceful stop lets what runs come to its end, within its time.
func TestSidecar_GracefulStopFinishesScans(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--drain", "2m"}})
	c := env.Database(t).Connect(t)
	server(c, s.Address())
	c.Exec("CREATE FOREIGN TABLE t (id int8) SERVER s OPTIONS (rows '5', page_rows '1', latency '300ms')")
	c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t")
	require.Len(t, c.Query("FETCH 1 FROM k"), 1)
	require.NoError(t, s.Signal(syscall.SIGTERM))
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		return strings.Contains(harness.Tail(s.Log, 1<<16), "msg=stopping")
	}))
	require.Len(t, c.Query("FETCH ALL FROM k"), 4)
	require.True(t, harness.Eventually(t.Context(), time.Minute, s.Exited))
	require.NoError(t, s.Err())
}

// A panic in a connector is that query's error; the others do not notice.
func TestSidecar_PanicIsOneQuerysError(t *testing.T) {
	s, db, c := generated(t, "rows '100', page_rows '10', panic_at_page '3'")
	c.Exec("CREATE FOREIGN TABLE good (id int8) SERVER s OPTIONS (rows '10')")
	pid := s.PID()
	for range 3 {
		e := c.Fails("XX000", "SELECT * FROM t")
		require.NotContains(t, harness.Describe(e), "goroutine", "no stack trace for the user")
		require.Equal(t, "10", c.Value("SELECT count(*) FROM good"))
	}
	other := db.Connect(t)
	require.Equal(t, "10", other.Value("SELECT count(*) FROM good"))
	require.Equal(t, pid, s.PID())
	require.False(t, s.Exited())
}

// Synthetic failures come with their class in the middle of a scan.
func TestSidecar_ErrorAtAPage(t *testing.T) {
	for class, state := range map[string]string{"unavailable": "08006", "rate_limited": "53400", "unauthenticated": "28000",
		"permission_denied": "42501", "not_found": "HV00R", "protocol": "HV000", "invalid_value": "HV004",
		"limit_exceeded": "54000", "internal": "XX000", "locked": "55P03"} {
		t.Run(class, func(t *testing.T) {
			_, _, c := generated(t, fmt.Sprintf("rows '50', page_rows '10', error_at_page '3', error '%s'", class))
			e := c.Fails(state, "SELECT * FROM t")
			require.Equal(t, "t", e.TableName)
			// Rows before the error are there for whoever asks for no more.
			require.Len(t, c.Query("SELECT * FROM t LIMIT 5"), 5)
			alive(t, c)
		})
	}
}

// A backend that dies without a word leaves nothing behind.
func TestBackend_SIGKILLedCancelsTheAPICall(t *testing.T) {
	// A cluster of its own: the postmaster restarts all backends.
	cluster, err := env.StartCluster("", env.Cluster.Library)
	require.NoError(t, err)
	api := startFake(t)
	c := env.DatabaseIn(t, cluster).Connect(t)
	contacts(c, "fake", api.URL, fakes.Hang, api.Secret)
	go func() { _, _ = harness.Simple(context.Background(), c.PgConn, "SELECT * FROM contacts") }()
	require.Eventually(t, func() bool { return api.InFlight() == 1 }, 30*time.Second, time.Millisecond)
	start := time.Now()
	require.NoError(t, syscall.Kill(int(c.PID()), syscall.SIGKILL))
	require.Eventually(t, func() bool { return api.InFlight() == 0 && api.Cancelled() == 1 }, 30*time.Second, time.Millisecond)
	t.Logf("the API's call was cancelled after %s", time.Since(start).Round(time.Millisecond))
	require.False(t, env.Sidecar.Exited(), "the sidecar lives")
	// And serves others.
	o := env.Database(t).Connect(t)
	server(o, "")
	o.Exec("CREATE FOREIGN TABLE few (id int8) SERVER s OPTIONS (rows '7')")
	require.Equal(t, "7", o.Value("SELECT count(*) FROM few"))
}

// A peer that may not connect is turned away with the reason.
func TestSidecar_RefusesUsersThatAreNotAllowed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs two users; only root can act as both")
	}
	s := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--allow-users", "root"}, AsSelf: true})
	require.NoError(t, os.Chmod(s.Socket, 0o777))
	c := env.Database(t).Connect(t)
	server(c, s.Address())
	c.Exec("CREATE FOREIGN TABLE t (id int8) SERVER s")
	_, err := c.Try("SELECT * FROM t")
	require.Equal(t, "28000", harness.SQLState(err), "%s", harness.Describe(err))
	t.Log(harness.Describe(err))
	alive(t, c)
}
