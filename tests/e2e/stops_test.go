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
const promptly = 500 * time.Millisecond

// prompt repeats an attempt until one is over promptly. It fails after five: a
// machine that stalls holds up one of them, a product that waits holds up all.
func prompt(t *testing.T, what string, attempt func() time.Duration) {
	t.Helper()
	for range 5 {
		took := attempt()
		t.Logf("%s after %s", what, took.Round(time.Millisecond/10))
		if took < promptly {
			return
		}
	}
	t.Errorf("%s: never within %s", what, promptly)
}

// called waits until the API has a request, and idle until it has none, as each
// was cancelled: fakes.Slow and fakes.Hang do not end one for a minute.
func called(t *testing.T, api *fakes.Server) {
	t.Helper()
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return api.InFlight() == 1 }), "the API is not called")
}

func idle(t *testing.T, api *fakes.Server) {
	t.Helper()
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return api.InFlight() == 0 && api.Cancelled() == 1 }),
		"the API's call is not cancelled: %d in flight, %d cancelled", api.InFlight(), api.Cancelled())
}

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
		return func() { called(t, api) }, api
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
					prompt(t, "free", func() time.Duration {
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
						var took time.Duration
						select {
						case err := <-done:
							took = time.Since(start)
							require.Equal(t, stop.state, harness.SQLState(err), "%s", harness.Describe(err))
						case <-time.After(20 * time.Second):
							t.Fatal("the backend is still busy after 20 s")
						}
						if stop.name == "cancel" {
							require.Equal(t, "1", c.Value("SELECT 1"))
						}
						if api != nil {
							idle(t, api)
						}
						return took
					})
				})
			}
			t.Run("statement_timeout", func(t *testing.T) {
				prompt(t, "free past the timeout", func() time.Duration {
					c := env.Database(t).Connect(t)
					disturb, api := s.prepare(t, c)
					const timeout = 2 * time.Second
					done := make(chan error, 1)
					start := time.Now()
					go func() {
						// One message, so that the setting is for this statement.
						_, err := harness.Simple(context.Background(), c.PgConn, fmt.Sprintf("SET statement_timeout = %d", timeout.Milliseconds()))
						if err == nil {
							start = time.Now()
							_, err = harness.Simple(context.Background(), c.PgConn, "SELECT * FROM t WHERE name = 'nobody'")
						}
						done <- err
					}()
					disturb()
					err := <-done
					took := time.Since(start) - timeout
					require.Equal(t, "57014", harness.SQLState(err), "%s", harness.Describe(err))
					c.Exec("RESET statement_timeout")
					require.Equal(t, "1", c.Value("SELECT 1"))
					if api != nil {
						idle(t, api)
					}
					return took
				})
			})
		})
	}
}

// LIMIT and CLOSE end a scan in the middle: the API is asked for nothing more.
func TestStop_LimitAndCloseEndTheScan(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Slow) // a minute for each page after the first
	// What the second page would take is much longer.
	const first = 30 * time.Second
	begin := func(t *testing.T, c *harness.Conn, sql string) {
		t.Helper()
		api.Reset()
		c.Exec("%s", sql)
		require.Len(t, c.Query("FETCH 3 FROM k"), 3)
		called(t, api)
	}
	t.Run("limit", func(t *testing.T) {
		c := c.On(t)
		api.Reset()
		start := time.Now()
		require.Len(t, c.Query("SELECT * FROM contacts LIMIT 3"), 3)
		took := time.Since(start)
		t.Logf("3 rows after %s", took.Round(time.Millisecond/10))
		require.Less(t, took, first, "the first page is enough")
		require.True(t, harness.Eventually(t.Context(), first, func() bool { return api.InFlight() == 0 }))
		time.Sleep(200 * time.Millisecond)
		require.LessOrEqual(t, len(api.Requests()), 2, "at most the page that was under way")
		require.Zero(t, api.InFlight())
	})
	t.Run("close", func(t *testing.T) {
		c := c.On(t)
		begin(t, c, "BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		start := time.Now()
		c.Exec("CLOSE k")
		took := time.Since(start)
		t.Logf("closed after %s", took.Round(time.Millisecond/10))
		require.Less(t, took, first)
		idle(t, api)
		c.Exec("COMMIT")
		n := len(api.Requests())
		time.Sleep(200 * time.Millisecond)
		require.Len(t, api.Requests(), n, "no page is asked for after CLOSE")
	})
	t.Run("rollback", func(t *testing.T) {
		c := c.On(t)
		begin(t, c, "BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		c.Exec("ROLLBACK")
		idle(t, api)
	})
	t.Run("error in a failed transaction block", func(t *testing.T) {
		c := c.On(t)
		begin(t, c, "BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		c.Fails("22012", "SELECT 1/0")
		// The block waits for the user's ROLLBACK; the API does not.
		idle(t, api)
		c.Exec("ROLLBACK")
	})
	t.Run("savepoint", func(t *testing.T) {
		c := c.On(t)
		begin(t, c, "BEGIN; SAVEPOINT s; DECLARE k CURSOR FOR SELECT * FROM contacts")
		c.Exec("ROLLBACK TO s")
		idle(t, api)
		c.Exec("COMMIT")
	})
	t.Run("disconnect", func(t *testing.T) {
		_, other := synthetic(t)
		fake(t, other, api, fakes.Slow)
		begin(t, other, "BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts")
		require.NoError(t, other.Close(context.Background()))
		idle(t, api)
	})
}

// A write that the API holds up is cancelled too; what became of it is not known.
func TestStop_WriteThatHangs(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Hang)
	const timeout = 2 * time.Second
	c.Exec("SET statement_timeout = %d", timeout.Milliseconds())
	prompt(t, "free past the timeout", func() time.Duration {
		api.Reset()
		start := time.Now()
		_, err := c.Try("INSERT INTO contacts (email) VALUES ('a@b')")
		took := time.Since(start) - timeout
		require.Contains(t, []string{"57014", "08007"}, harness.SQLState(err), "%s", harness.Describe(err))
		idle(t, api)
		return took
	})
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
