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

// patience bounds all waits, however busy the machine. What gets stuck here takes
// an hour, or for ever.
const patience = 30 * time.Second

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
	require.True(t, harness.Eventually(t.Context(), patience, func() bool { return api.InFlight() == 1 }), "the API is not called")
}

func idle(t *testing.T, api *fakes.Server) {
	t.Helper()
	require.True(t, harness.Eventually(t.Context(), patience, func() bool { return api.InFlight() == 0 && api.Cancelled() == 1 }),
		"the API's call is not cancelled: %d in flight, %d cancelled", api.InFlight(), api.Cancelled())
}

// statement is one that runs in a session of its own.
type statement struct {
	t     *testing.T
	admin *harness.Conn
	pid   uint32
	done  chan error
	began time.Time
}

func (s *statement) start(c *harness.Conn, sql string) {
	s.pid, s.done, s.began = c.PID(), make(chan error, 1), time.Now()
	go func() {
		_, err := harness.Simple(context.Background(), c.PgConn, sql)
		s.done <- err
	}()
}

// until waits for a condition, or for the statement's end: by statement_timeout it
// may come first.
func (s *statement) until(what string, ok func() bool) {
	s.t.Helper()
	require.True(s.t, harness.Eventually(s.t.Context(), patience, func() bool { return len(s.done) > 0 || ok() }), what)
}

// waits is until the backend waits for the sidecar, works until it has been at work
// for a while.
func (s *statement) waits() {
	s.t.Helper()
	s.until("the backend does not wait for the sidecar", func() bool {
		return s.admin.Value("SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND state = 'active' AND wait_event_type = 'Extension'", s.pid) == "1"
	})
}

func (s *statement) works() {
	s.t.Helper()
	before, err := harness.CPU(int(s.pid))
	require.NoError(s.t, err)
	s.until("the backend does nothing", func() bool {
		now, err := harness.CPU(int(s.pid))
		return err == nil && now-before > 50*time.Millisecond
	})
}

// end gives the statement's error. It must come long before what it waits for.
func (s *statement) end() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(patience):
		s.t.Fatal("the backend is still busy")
		return nil
	}
}

// trap is where a statement gets stuck. All but sql may be nil.
type trap struct {
	sql string
	// before is called with the session, then the statement runs, then during is
	// called; after is when it has ended, and makes all as it was.
	before func(c *harness.Conn)
	during func(s *statement)
	after  func()
	api    *fakes.Server
}

// reading is a statement that reads all of table "t".
const reading = "SELECT * FROM t WHERE name = 'nobody'"

// traps by their names; set makes what is needed, in a database of its own.
var traps = []struct {
	name string
	set  func(t *testing.T, c *harness.Conn) trap
}{
	{"API slow", func(t *testing.T, c *harness.Conn) trap {
		api := startFake(t)
		fake(t, c, api, fakes.Hang)
		return trap{sql: "SELECT * FROM contacts WHERE name = 'nobody'", api: api,
			during: func(s *statement) { s.until("the API is not called", func() bool { return api.InFlight() == 1 }) }}
	}},
	{"API slow to write", func(t *testing.T, c *harness.Conn) trap {
		api := startFake(t)
		fake(t, c, api, fakes.Hang)
		// The journal would ask the API what became of the row.
		c.Exec("ALTER SERVER api OPTIONS (ADD journal 'false')")
		return trap{sql: "INSERT INTO contacts (email) VALUES ('a@b')", api: api,
			during: func(s *statement) { s.until("the API is not called", func() bool { return api.InFlight() == 1 }) }}
	}},
	{"sidecar stopped before the query", func(t *testing.T, c *harness.Conn) trap {
		freeze, thaw := freezer(t, c, "rows '10'")
		return trap{sql: reading, before: func(c *harness.Conn) { c.Exec("SELECT count(*) FROM t"); freeze() },
			during: (*statement).waits, after: thaw}
	}},
	{"sidecar stopped before the write", func(t *testing.T, c *harness.Conn) trap {
		freeze, thaw := freezer(t, c, "store 'stopped'")
		return trap{sql: "INSERT INTO t VALUES (1)", before: func(c *harness.Conn) { c.Exec("SELECT count(*) FROM t"); freeze() },
			during: (*statement).waits, after: thaw}
	}},
	{"sidecar stopped in the scan", func(t *testing.T, c *harness.Conn) trap {
		freeze, thaw := freezer(t, c, "rows '1000000000'")
		return trap{sql: reading, during: func(s *statement) { s.works(); freeze(); s.waits() }, after: thaw}
	}},
	{"sidecar stopped before it is connected", func(t *testing.T, c *harness.Conn) trap {
		freeze, thaw := freezer(t, c, "rows '10'")
		return trap{sql: reading, before: func(c *harness.Conn) { c.Exec("SET hallway.connect_timeout = '60s'"); freeze() },
			during: (*statement).waits, after: thaw}
	}},
	{"rows without end", func(_ *testing.T, c *harness.Conn) trap {
		own(c, env.Sidecar, "rows '1000000000'")
		return trap{sql: reading, during: (*statement).works}
	}},
}

// freezer is a sidecar of the test's own, with table "t" at it, and what stops it
// and has it go on.
func freezer(t *testing.T, c *harness.Conn, options string) (freeze, thaw func()) {
	t.Helper()
	s := env.NewSidecar(t, harness.SidecarSettings{})
	own(c, s, options)
	freeze = func() { require.NoError(t, s.Freeze()) }
	thaw = func() { require.NoError(t, s.Signal(syscall.SIGCONT)) }
	t.Cleanup(func() { _ = s.Signal(syscall.SIGCONT) })
	return freeze, thaw
}

// own makes table "t" of generated rows at a sidecar.
func own(c *harness.Conn, s *harness.Sidecar, options string) {
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', pushdown 'none');
		CREATE USER MAPPING FOR PUBLIC SERVER own;
		CREATE FOREIGN TABLE t (id int8, name text, amount numeric) SERVER own OPTIONS (%s)`, s.Address(), options)
}

func TestStop_BackendIsFreeAtOnce(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			t.Parallel() // they wait more than they compute
			db := env.Database(t)
			admin := db.Connect(t)
			trap := trap.set(t, admin)
			for _, stop := range []struct{ name, state, sql string }{
				{"cancel", "57014", "SELECT pg_cancel_backend(%d)"},
				{"terminate", "57P01", "SELECT pg_terminate_backend(%d)"},
				{"statement_timeout", "57014", ""},
			} {
				t.Run(stop.name, func(t *testing.T) {
					prompt(t, "free", func() time.Duration {
						c := db.Connect(t)
						if trap.api != nil {
							trap.api.Reset()
						}
						if trap.before != nil {
							trap.before(c)
						}
						timeout := time.Duration(0)
						if stop.sql == "" {
							timeout = 2 * time.Second
							c.Exec("SET statement_timeout = %d", timeout.Milliseconds())
						}
						s := statement{t: t, admin: admin.On(t)}
						s.start(c, trap.sql)
						trap.during(&s)
						if stop.sql != "" {
							s.began = time.Now()
							require.Equal(t, "t", s.admin.Value(stop.sql, s.pid))
						}
						err := s.end()
						took := time.Since(s.began) - timeout
						require.Equal(t, stop.state, harness.SQLState(err), "%s", harness.Describe(err))
						if trap.after != nil {
							trap.after()
						}
						if trap.api != nil && len(trap.api.Requests()) > 0 {
							idle(t, trap.api)
						}
						if stop.name != "terminate" {
							c.Exec("RESET statement_timeout")
							require.Equal(t, "1", c.Value("SELECT 1"))
							require.NoError(t, c.Close(context.Background()))
						}
						return took
					})
				})
			}
		})
	}
}

// A sidecar that is gone ends what waits for it, and holds up nothing else.
func TestStop_SidecarGone(t *testing.T) {
	begin := func(t *testing.T) (*harness.Sidecar, *harness.Conn, *statement) {
		t.Helper()
		t.Parallel()
		db := env.Database(t)
		return env.NewSidecar(t, harness.SidecarSettings{}), db.Connect(t), &statement{t: t, admin: db.Connect(t)}
	}
	gone := func(t *testing.T, sidecar *harness.Sidecar, s *statement, state string) {
		t.Helper()
		start := time.Now()
		sidecar.Kill()
		err := s.end()
		t.Logf("free after %s", time.Since(start).Round(time.Millisecond/10))
		require.Equal(t, state, harness.SQLState(err), "%s", harness.Describe(err))
	}
	t.Run("scan", func(t *testing.T) {
		sidecar, c, s := begin(t)
		own(c, sidecar, "rows '1000000000'")
		s.start(c, reading)
		s.works()
		gone(t, sidecar, s, "08006")
		require.Equal(t, "1", c.Value("SELECT 1"))
	})
	for _, slow := range []struct{ name, sql, state string }{
		{"API slow", "SELECT * FROM contacts", "08006"},
		{"API slow to write", "INSERT INTO contacts (email) VALUES ('a@b')", "08007"},
	} {
		t.Run(slow.name, func(t *testing.T) {
			sidecar, c, s := begin(t)
			api := startFake(t)
			fake(t, c, api, fakes.Hang)
			c.Exec("ALTER SERVER api OPTIONS (ADD address '%s')", sidecar.Address())
			s.start(c, slow.sql)
			called(t, api)
			gone(t, sidecar, s, slow.state)
			idle(t, api)
		})
	}
}

// The end of a scan that is in its middle, by CLOSE or a LIMIT, asks nobody.
func TestStop_CursorOfASidecarThatIsStuck(t *testing.T) {
	for name, disturb := range map[string]func(*harness.Sidecar) error{
		"stopped": func(s *harness.Sidecar) error { return s.Freeze() },
		"killed":  func(s *harness.Sidecar) error { s.Kill(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sidecar := env.NewSidecar(t, harness.SidecarSettings{})
			c := env.Database(t).Connect(t)
			own(c, sidecar, "rows '100000000'")
			c.Exec("BEGIN")
			for cursor, limit := range map[string]string{"closed": "ALL", "limited": "5", "open": "ALL"} {
				c.Exec("DECLARE %s CURSOR FOR SELECT * FROM t LIMIT %s", cursor, limit)
				require.Len(t, c.Query("FETCH 3 FROM %s", cursor), 3)
			}
			require.NoError(t, disturb(sidecar))
			t.Cleanup(func() { _ = sidecar.Signal(syscall.SIGCONT) })
			free := func(what string, f func()) {
				start := time.Now()
				f()
				took := time.Since(start)
				t.Logf("%s: free after %s", what, took.Round(time.Millisecond/10))
				require.Less(t, took, patience, what)
			}
			free("LIMIT", func() { require.Len(t, c.Query("FETCH ALL FROM limited"), 2) })
			free("CLOSE", func() { c.Exec("CLOSE closed; CLOSE limited") })
			free("COMMIT", func() { c.Exec("COMMIT") })
			require.Equal(t, "1", c.Value("SELECT 1"))
		})
	}
}

// LIMIT and CLOSE end a scan in the middle: the API is asked for nothing more.
func TestStop_LimitAndCloseEndTheScan(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Slow) // a minute for each page after the first
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
		require.Less(t, took, patience, "the first page is enough")
		require.True(t, harness.Eventually(t.Context(), patience, func() bool { return api.InFlight() == 0 }))
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
		require.Less(t, took, patience)
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
