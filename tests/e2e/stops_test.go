package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// The promise is 100 ms; the tests allow for a machine that is busy with other
// tests, and print what it took. tests/bench measures it.
const promptly = time.Second

// stuck is a way for a scan not to come to its end.
type stuck struct {
	name string
	// prepare makes table "t" of a session, and gives what is to be done once
	// the query runs, and how many API calls should be seen to be cancelled.
	prepare func(t *testing.T, c *harness.Conn) (disturb func(), api *fakes.Server)
}

var stucks = []stuck{
	{"API slow", func(t *testing.T, c *harness.Conn) (func(), *fakes.Server) {
		api := startFake(t)
		fake(t, c, api, fakes.Hang)
		c.Exec("CREATE VIEW t AS SELECT * FROM contacts")
		return func() {
			require.Eventually(t, func() bool { return api.InFlight() == 1 }, 5*time.Second, time.Millisecond, "the API is called")
		}, api
	}},
	{"sidecar stopped before the query", func(t *testing.T, c *harness.Conn) (func(), *fakes.Server) {
		s := env.NewSidecar(t, harness.SidecarSettings{})
		own(c, s, "rows '10'")
		c.Exec("SELECT count(*) FROM t")
		require.NoError(t, s.Freeze())
		t.Cleanup(func() { _ = s.Signal(syscall.SIGCONT) })
		return func() { time.Sleep(100 * time.Millisecond) }, nil
	}},
	{"sidecar stopped in the scan", func(t *testing.T, c *harness.Conn) (func(), *fakes.Server) {
		s := env.NewSidecar(t, harness.SidecarSettings{})
		own(c, s, "rows '100000000'")
		return func() {
			time.Sleep(200 * time.Millisecond)
			require.NoError(t, s.Freeze())
			t.Cleanup(func() { _ = s.Signal(syscall.SIGCONT) })
			time.Sleep(200 * time.Millisecond)
		}, nil
	}},
	{"sidecar stopped before it is connected", func(t *testing.T, c *harness.Conn) (func(), *fakes.Server) {
		s := env.NewSidecar(t, harness.SidecarSettings{})
		own(c, s, "rows '10'")
		require.NoError(t, s.Freeze())
		t.Cleanup(func() { _ = s.Signal(syscall.SIGCONT) })
		c.Exec("SET hallway.connect_timeout = '60s'")
		return func() { time.Sleep(100 * time.Millisecond) }, nil
	}},
	{"rows without end", func(t *testing.T, c *harness.Conn) (func(), *fakes.Server) {
		own(c, env.Sidecar, "rows '1000000000'")
		return func() { time.Sleep(200 * time.Millisecond) }, nil
	}},
}

// own makes table "t" of generated rows at a sidecar.
func own(c *harness.Conn, s *harness.Sidecar, options string) {
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', pushdown 'none');
		CREATE USER MAPPING FOR PUBLIC SERVER own;
		CREATE FOREIGN TABLE t (id int8, name text, amount numeric) SERVER own OPTIONS (%s)`, s.Address(), options)
}

func TestStop_BackendIsFreeAtOnce(t *testing.T) {
	for _, s := range stucks {
		t.Run(s.name, func(t *testing.T) {
			for _, stop := range []struct {
				name, state string
				do          func(t *testing.T, admin *harness.Conn, pid uint32)
			}{
				{"cancel", "57014", func(t *testing.T, admin *harness.Conn, pid uint32) {
					require.Equal(t, "t", admin.Value("SELECT pg_cancel_backend(%d)", pid))
				}},
				{"terminate", "57P01", func(t *testing.T, admin *harness.Conn, pid uint32) {
					require.Equal(t, "t", admin.Value("SELECT pg_terminate_backend(%d)", pid))
				}},
			} {
				t.Run(stop.name, func(t *testing.T) {
					db := env.Database(t)
					admin, c := db.Connect(t), db.Connect(t)
					disturb, api := s.prepare(t, c)
					if api != nil {
						api.Reset()
					}
					done := make(chan error, 1)
					go func() {
						_, err := harness.Simple(context.Background(), c.PgConn, "SELECT * FROM t WHERE name = 'nobody'")
						done <- err
					}()
					disturb()
					start := time.Now()
					stop.do(t, admin, c.PID())
					select {
					case err := <-done:
						took := time.Since(start)
						t.Logf("free after %s", took.Round(time.Millisecond/10))
						require.Equal(t, stop.state, harness.SQLState(err), "%s", harness.Describe(err))
						require.Less(t, took, promptly)
					case <-time.After(20 * time.Second):
						t.Fatal("the backend is still busy after 20 s")
					}
					if stop.name == "cancel" {
						require.Equal(t, "1", c.Value("SELECT 1"))
					}
					if api != nil {
						require.Eventually(t, func() bool { return api.InFlight() == 0 && api.Cancelled() == 1 }, promptly, time.Millisecond,
							"the API's call is cancelled: %d in flight, %d cancelled", api.InFlight(), api.Cancelled())
					}
				})
			}
			t.Run("statement_timeout", func(t *testing.T) {
				c := env.Database(t).Connect(t)
				disturb, api := s.prepare(t, c)
				const timeout = 700 * time.Millisecond
				done := make(chan struct{})
				go func() { defer close(done); disturb() }()
				start := time.Now()
				// One message, so that the setting is for this statement.
				c.Exec("SET statement_timeout = %d", timeout.Milliseconds())
				_, err := c.Try("SELECT * FROM t WHERE name = 'nobody'")
				took := time.Since(start) - timeout
				<-done
				require.Equal(t, "57014", harness.SQLState(err), "%s", harness.Describe(err))
				t.Logf("free %s after the timeout", took.Round(time.Millisecond/10))
				require.Less(t, took, promptly)
				c.Exec("RESET statement_timeout")
				require.Equal(t, "1", c.Value("SELECT 1"))
				if api != nil {
					require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond, "the API's call is cancelled")
				}
			})
		})
	}
}

// LIMIT and CLOSE end a scan in the middle: the API is asked for nothing more.
func TestStop_LimitAndCloseEndTheScan(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Slow) // a second for each page after the first
	t.Run("limit", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		start := time.Now()
		require.Len(t, c.Query("SELECT * FROM contacts LIMIT 3"), 3)
		took := time.Since(start)
		t.Logf("3 rows after %s", took.Round(time.Millisecond/10))
		require.Less(t, took, promptly, "the first page is enough")
		time.Sleep(1200 * time.Millisecond)
		require.LessOrEqual(t, len(api.Requests()), 2, "at most the page that was under way")
		require.Zero(t, api.InFlight())
	})
	t.Run("close", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.Len(t, c.Query("FETCH 3 FROM k"), 3)
		start := time.Now()
		c.Exec("CLOSE k")
		took := time.Since(start)
		t.Logf("closed after %s", took.Round(time.Millisecond/10))
		require.Less(t, took, promptly)
		require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond)
		c.Exec("COMMIT")
		n := len(api.Requests())
		time.Sleep(1200 * time.Millisecond)
		require.Len(t, api.Requests(), n, "no page is asked for after CLOSE")
	})
	t.Run("rollback", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.Len(t, c.Query("FETCH 3 FROM k"), 3)
		c.Exec("ROLLBACK")
		require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond)
	})
	t.Run("error in a failed transaction block", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.Len(t, c.Query("FETCH 3 FROM k"), 3)
		c.Fails("22012", "SELECT 1/0")
		// The block waits for the user's ROLLBACK; the API does not.
		require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond)
		c.Exec("ROLLBACK")
	})
	t.Run("savepoint", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		c.Exec("BEGIN; SAVEPOINT s; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.Len(t, c.Query("FETCH 3 FROM k"), 3)
		c.Exec("ROLLBACK TO s")
		require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond)
		c.Exec("COMMIT")
	})
	t.Run("disconnect", func(t *testing.T) {
		api.Reset()
		db, other := synthetic(t)
		_ = db
		fake(t, other, api, fakes.Slow)
		other.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.Len(t, other.Query("FETCH 3 FROM k"), 3)
		require.NoError(t, other.Close(context.Background()))
		require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond)
	})
}

// A write that the API holds up is cancelled too; what became of it is not known.
func TestStop_WriteThatHangs(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Hang)
	c.Exec("SET statement_timeout = '500ms'")
	start := time.Now()
	_, err := c.Try("INSERT INTO contacts (email) VALUES ('a@b')")
	require.Contains(t, []string{"57014", "08007"}, harness.SQLState(err), "%s", harness.Describe(err))
	require.Less(t, time.Since(start), 500*time.Millisecond+promptly)
	require.Eventually(t, func() bool { return api.InFlight() == 0 }, promptly, time.Millisecond, "the API's call is cancelled")
	require.Equal(t, "1", c.Value("SELECT 1"))
}

// An idle cursor keeps no other query of the session, or of others, waiting.
func TestStop_PausedCursorStarvesNobody(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	own(c, env.Sidecar, "rows '2000000'")
	c.Exec("BEGIN")
	for i := range 5 {
		c.Exec("DECLARE k%d CURSOR FOR SELECT * FROM t", i)
		require.Len(t, c.Query("FETCH 1 FROM k%d", i), 1)
	}
	// More than the connection's window goes through beside them.
	require.Equal(t, "2000000", c.Value("SELECT count(name) FROM t"))
	for i := range 5 {
		require.Equal(t, rows(row(2)), c.Query("SELECT (%s)", "2"))
		require.Equal(t, fmt.Sprintf("MOVE %d", 1000), c.Exec("MOVE 1000 FROM k%d", i))
	}
	c.Exec("COMMIT")
}
