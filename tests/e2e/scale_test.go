package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// peak is the most private memory a process has had since resetPeak.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	hwm, err := harness.PeakRSS(pid)
	require.NoError(t, err)
	return hwm
}

// A result's size does not show in the memory of either process.
func TestMemory_FiveMillionRowsAsFiftyThousand(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	own(db.Connect(t), s, "rows '5000000'")
	scan := func(rows int) (backend, sidecar int64) {
		c := db.Connect(t)
		c.Exec("SELECT count(*) FROM t WHERE id < 0 LIMIT 1; SET hallway.max_wait = '60s'")
		require.NoError(t, harness.ResetPeak(s.PID()))
		got := c.Value("SELECT count(name) FROM (SELECT * FROM t LIMIT %d) x", rows)
		require.Equal(t, fmt.Sprint(rows), got)
		return peak(t, int(c.PID())), peak(t, s.PID())
	}
	smallB, smallS := scan(50_000)
	bigB, bigS := scan(5_000_000)
	const mb = 1 << 20
	t.Logf("backend %.1f MB for 50,000 rows, %.1f MB for 5,000,000; sidecar %.1f and %.1f MB",
		float64(smallB)/mb, float64(bigB)/mb, float64(smallS)/mb, float64(bigS)/mb)
	require.Less(t, bigB-smallB, int64(8*mb), "backend")
	require.Less(t, bigS-smallS, int64(32*mb), "sidecar")
}

// A cursor that is not read holds at most what the windows let through.
func TestMemory_UnreadCursorHoldsBackTheSidecar(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	own(c, s, "rows '50000000', width '1000'")
	c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t; FETCH 1 FROM k")
	before, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	time.Sleep(1500 * time.Millisecond)
	after, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	sidecar, err := harness.RSS(s.PID())
	require.NoError(t, err)
	const mb = 1 << 20
	t.Logf("backend %+.1f MB, sidecar %.1f MB", float64(after-before)/mb, float64(sidecar)/mb)
	require.Less(t, after-before, int64(8*mb))
	require.Less(t, sidecar, int64(128*mb))
	c.Exec("ROLLBACK")
}

func TestScale_TwoHundredBackendsAtOnce(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	own(db.Connect(t), s, "rows '500', latency '50ms', page_rows '100'")
	const backends = 200
	start := time.Now()
	errs := make(chan error, backends)
	var ready, done sync.WaitGroup
	ready.Add(backends)
	begin := make(chan struct{})
	for i := range backends {
		done.Add(1)
		go func() {
			defer done.Done()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			conn, err := db.Open(ctx, "postgres")
			ready.Done()
			if err != nil {
				errs <- err
				return
			}
			defer func() { _ = conn.Close(ctx) }()
			<-begin
			for range 2 {
				r, err := harness.Simple(ctx, conn, fmt.Sprintf("SELECT count(*), max(id) FROM t WHERE id <= %d", 100+i))
				if err != nil {
					errs <- fmt.Errorf("backend %d: %w", i, err)
					return
				}
				if want := fmt.Sprint(100 + i); r.Rows[0][0] != want || r.Rows[0][1] != want {
					errs <- fmt.Errorf("backend %d: %s rows", i, r.Rows[0])
				}
			}
		}()
	}
	ready.Wait()
	t.Logf("%d sessions open after %s", backends, time.Since(start).Round(time.Millisecond))
	start = time.Now()
	close(begin)
	done.Wait()
	close(errs)
	for err := range errs {
		t.Error(harness.Describe(err))
	}
	rss, err := harness.RSS(s.PID())
	require.NoError(t, err)
	t.Logf("%d queries in %s; sidecar %.1f MB", 2*backends, time.Since(start).Round(time.Millisecond), float64(rss)/(1<<20))
	// All connections are gone again.
	require.Eventually(t, func() bool {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
		return err == nil && len(fds) < 50
	}, 30*time.Second, 20*time.Millisecond, "the sidecar closes the connections of ended backends")
}

// What a statement takes it gives back, also when it fails or is cancelled.
func TestMemory_StatementsDoNotLeak(t *testing.T) {
	api := startFake(t)
	s := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, s.Address())
	c = db.Connect(t)
	own(c, s, "rows '50', page_rows '10'")
	fake(t, c, api, fakes.OK)
	c.Exec(`CREATE FOREIGN TABLE w (id int8, name text) SERVER own OPTIONS (store '%s.w');
		CREATE FOREIGN TABLE bad (id int8, name text) SERVER own OPTIONS (rows '50', page_rows '10', error_at_page '3');
		CREATE FOREIGN TABLE slow (id int8, name text) SERVER own OPTIONS (rows '50', page_rows '10', latency '1s');
		CREATE FOREIGN TABLE sloww (id int8, name text) SERVER own OPTIONS (store '%[1]s.sloww', latency '1s');
		CREATE TABLE l AS SELECT i AS id FROM generate_series(1, 20) i; ANALYZE l`, db.Name)
	// cancelled runs a statement that takes longer than it may. In one message: a RESET
	// of its own might take as long on a machine that stalls.
	cancelled := func(sql string) { c.Fails("57014", "SET LOCAL statement_timeout = '5ms'; %s", sql) }
	statements := []func(i int){
		func(i int) { c.Exec("SELECT * FROM t WHERE id = %d", i%50) },
		func(i int) { c.Exec("SELECT count(*) FROM t WHERE name LIKE 'a%%' OR id < %d", i) },
		func(int) { c.Exec("SELECT l.id, t.name FROM l LEFT JOIN t ON t.id = l.id") },
		func(int) { c.Exec("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM t ORDER BY id LIMIT 3") },
		func(int) { _, _ = c.Try("SELECT * FROM bad") },
		func(int) { _, _ = c.Try("SELECT 1 / (id - 25) FROM t") },
		func(i int) { c.Exec("INSERT INTO w VALUES (%d, 'x') RETURNING *", i) },
		func(i int) { c.Exec("UPDATE w SET name = name || 'y' WHERE id = %d", i-1) },
		func(i int) { c.Exec("DELETE FROM w WHERE id = %d", i-2) },
		func(int) { _, _ = c.Try("INSERT INTO contacts (email) VALUES ('no')") },
		func(i int) {
			c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t; FETCH 3 FROM k; SAVEPOINT s; SELECT * FROM t WHERE id = %d", i)
			c.Exec("ROLLBACK TO s; FETCH 3 FROM k; COMMIT")
		},
		func(i int) {
			c.Exec("PREPARE p%[1]d (int8) AS SELECT * FROM t WHERE id = $1; EXECUTE p%[1]d (5); DEALLOCATE p%[1]d", i)
		},
		func(int) {
			c.Exec("SELECT count(*) FROM (SELECT id FROM t UNION ALL SELECT id FROM w UNION ALL SELECT id FROM t) x")
		},
		func(int) { _, _ = c.Try("SELECT count(*) FROM (SELECT id FROM t UNION ALL SELECT id FROM bad) x") },
		func(int) { cancelled("SELECT * FROM slow") },
		func(int) { cancelled("SELECT id FROM slow UNION ALL SELECT id FROM t UNION ALL SELECT id FROM slow") },
		func(int) { cancelled("INSERT INTO sloww VALUES (1, 'x')") },
		func(i int) {
			c.Exec("BEGIN; INSERT INTO w SELECT %d + g, 'b' FROM generate_series(1, 5) g; ROLLBACK", i*10)
		},
		func(int) { c.Exec("DELETE FROM w") },
	}
	run := func(from, to int) {
		for i := from; i < to; i++ {
			statements[i%len(statements)](i)
		}
	}
	files := func(pid int) int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		require.NoError(t, err)
		return len(fds)
	}
	run(0, 1500)
	before, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	filesBefore := files(int(c.PID()))
	run(1500, 4500)
	after, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	t.Logf("backend %.2f MB, and %+.0f kB after 3,000 more statements", float64(before)/(1<<20), float64(after-before)/(1<<10))
	require.LessOrEqual(t, files(int(c.PID())), filesBefore, "files that the backend has open")
	require.Less(t, after-before, int64(512<<10))
}
