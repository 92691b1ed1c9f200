// Writes through cached tables, and beside them: what the next statements see.

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// soonSeen is how soon other sessions must see a write whose statement has
// returned; it takes milliseconds where the machine is not busy with other tests.
const soonSeen = 30 * time.Second

// lagging makes tables on one store with rows 1 to 20: t is cached and its API's
// lists lag behind; live shows what the API has at once.
func lagging(t *testing.T, lag time.Duration) (*harness.Database, *harness.Conn) {
	t.Helper()
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', max_age '1h', lag '%[3]s');
		CREATE SERVER now FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE USER MAPPING FOR PUBLIC SERVER now;
		CREATE FOREIGN TABLE live (id int8, grp int4, name text) SERVER now OPTIONS (store '%[2]s.t');
		INSERT INTO live SELECT g, g %% 5, 'n' || g FROM generate_series(1, 20) g;
		CREATE FOREIGN TABLE t (id int8, grp int4, name text) SERVER syn OPTIONS (store '%[2]s.t')`, sidecar.Address(), db.Name, lag)
	require.Eventually(t, func() bool {
		return c.Value("SELECT count(*) FROM t") == "20" && cached(t, c, "SELECT * FROM t")
	}, waitForCache, tick)
	return db, c
}

const everything = "SELECT string_agg(concat_ws(':', id, grp, name), ' ' ORDER BY id) FROM "

// look compares the cached table with what the API has, by all ways to read.
func look(t *testing.T, c *harness.Conn, what string) {
	t.Helper()
	want := c.Value(everything + "live")
	require.Equal(t, want, c.Value(everything+"t"), "%s: the next statement", what)
	require.Equal(t, c.Value("SELECT count(*) FROM live WHERE grp = 3"), c.Value("SELECT count(*) FROM t WHERE grp = 3"), "%s: a part", what)
	for _, id := range []int{1, 2, 3, 21} {
		require.Equal(t, c.Query("SELECT * FROM live WHERE id = %d", id), c.Query("SELECT * FROM t WHERE id = %d", id), "%s: by key", what)
	}
	require.Equal(t, c.Query("SELECT id FROM live ORDER BY name, id LIMIT 7"), c.Query("SELECT id FROM t ORDER BY name, id LIMIT 7"), "%s: in an order", what)
}

func TestCacheWrite_IsSeenWhileTheListLags(t *testing.T) {
	const lag = 10 * time.Minute
	db, c := lagging(t, lag)
	other := db.Connect(t)
	begun := time.Now()
	for _, sql := range []string{
		"INSERT INTO t VALUES (21, 3, 'new'), (22, 3, NULL)",
		"UPDATE t SET name = 'changed', grp = 3 WHERE id = 1",
		"UPDATE t SET name = 'changed again' WHERE id = 1",
		"DELETE FROM t WHERE id = 2",
		"INSERT INTO t VALUES (2, 0, 'born again')",
		"UPDATE t SET id = 23 WHERE id = 22",
		"DELETE FROM t WHERE grp = 4",
	} {
		c.Exec("%s", sql)
		look(t, c, sql)
		want := c.Value(everything + "live")
		require.Eventually(t, func() bool { return other.Value(everything+"t") == want }, soonSeen, tick, "another session after %s", sql)
	}
	want := c.Value(everything + "live")
	for _, x := range []*harness.Conn{c, other} {
		require.True(t, cached(t, x, "SELECT * FROM t"), "the region has stayed")
		// From the API, whose list knows nothing of it.
		x.Exec("SET hallway.max_age = 0")
		require.Equal(t, want, x.Value(everything+"t"))
		x.Exec("RESET hallway.max_age")
		// That has filled the cache anew: the merge does not undo the writes.
		require.Eventually(t, func() bool { return cached(t, x, "SELECT * FROM t") }, waitForCache, tick)
		look(t, x, "after a fill")
		require.Equal(t, want, x.Value(everything+"t"))
	}
	c.Exec("SELECT hallway.refresh('t')")
	require.Equal(t, want, other.Value(everything+"t"))
	require.Less(t, time.Since(begun), lag, "the list lagged all the time")
}

// A fill that began before a write, and ends after it, has older rows.
func TestCacheWrite_DuringAFill(t *testing.T) {
	t.Parallel() // it waits more than it computes
	s := observe(t)
	db := env.Database(t)
	c := db.Connect(t)
	// A scan shows what there was at its beginning, and takes three seconds.
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', max_age '1h');
		CREATE SERVER now FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE USER MAPPING FOR PUBLIC SERVER now;
		CREATE FOREIGN TABLE live (id int8, grp int4, name text) SERVER now OPTIONS (store '%[2]s.t');
		CREATE FOREIGN TABLE t (id int8, grp int4, name text) SERVER syn OPTIONS (store '%[2]s.t', page_rows '2', latency '300ms');
		INSERT INTO live SELECT g, g, 'old' FROM generate_series(1, 20) g`, s.Address(), db.Name)
	// The second time the table is not empty. A fill that was over before the writes
	// were, of a machine that stalled, is one more.
	for round, met := 0, 0; met < 2; round++ {
		require.Less(t, round, 10, "no fill was under way while there were writes")
		before := s.metric("hallway_cache_misses_total")
		fill := run(db.Connect(t), "SET hallway.max_age = 0; SELECT count(*) FROM t")
		s.soon("hallway_cache_misses_total", before+1)
		for _, sql := range []string{
			fmt.Sprintf("INSERT INTO t VALUES (%d, 0, 'new')", 30+round),
			fmt.Sprintf("UPDATE t SET name = 'new%d' WHERE id = 1", round),
			fmt.Sprintf("DELETE FROM t WHERE id = %d", 5+round),
		} {
			c.Exec("%s", sql)
		}
		select {
		case <-fill.done:
		default:
			met++
		}
		require.NotEmpty(t, fill.value(t))
		s.soon("hallway_cache_flights", 0)
		require.Equal(t, c.Value(everything+"live"), c.Value(everything+"t"), "round %d", round)
		require.Equal(t, c.Value(everything+"live"), db.Connect(t).Value(everything+"t"), "round %d, another session", round)
		t.Logf("round %d: %d misses, %d fills", round, s.metric("hallway_cache_misses_total"), s.metric("hallway_cache_fills_total"))
	}
}

// Once the list shows the writes, it alone counts.
func TestCacheWrite_IsForgottenWhenTheListHasIt(t *testing.T) {
	const lag = 500 * time.Millisecond
	_, c := lagging(t, lag)
	c.Exec("INSERT INTO t VALUES (21, 3, 'own'); UPDATE t SET name = 'own' WHERE id = 1")
	c.Exec("UPDATE live SET name = 'theirs' WHERE id IN (1, 21)")
	require.Eventually(t, func() bool {
		c.Exec("SELECT hallway.refresh('t')")
		return c.Value(everything+"t") == c.Value(everything+"live")
	}, 60*lag, tick)
	require.Equal(t, "2", c.Value("SELECT count(*) FROM t WHERE name = 'theirs'"))
}

// Whoever shows the same object forgets, or learns, what was written.
func TestCacheWrite_ReachesOtherTablesOfTheObject(t *testing.T) {
	db, c := lagging(t, 0)
	c.Exec(`CREATE FOREIGN TABLE narrow (id int8, name text) SERVER syn OPTIONS (store '%[1]s.t');
		CREATE FOREIGN TABLE uncached (id int8, grp int4, name text) SERVER syn OPTIONS (store '%[1]s.t', cache 'off');
		CREATE FOREIGN TABLE stranger (id int8, name text) SERVER syn OPTIONS (store '%[1]s.stranger');
		INSERT INTO stranger VALUES (1, 'x');
		DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'eve') THEN CREATE ROLE eve LOGIN; END IF; END $$;
		CREATE USER MAPPING FOR eve SERVER syn OPTIONS (token 'eves'); GRANT ALL ON t TO eve`, db.Name)
	t.Cleanup(func() { c.Exec("DROP OWNED BY eve; DROP ROLE eve") })
	other, eve := db.Connect(t), db.ConnectAs(t, "eve")
	warm := func() {
		t.Helper()
		for _, x := range []struct {
			c     *harness.Conn
			table string
		}{{c, "t"}, {eve, "t"}, {c, "narrow"}, {c, "stranger"}} {
			require.Eventually(t, func() bool { return cached(t, x.c, "SELECT * FROM "+x.table) }, waitForCache, tick, "%s", x.table)
		}
	}
	for i, w := range []struct {
		c     *harness.Conn
		table string
	}{{other, "t"}, {c, "narrow"}, {other, "narrow"}, {other, "uncached"}, {c, "uncached"}, {eve, "t"}} {
		warm()
		name := fmt.Sprintf("name%d", i)
		w.c.Exec("UPDATE %s SET name = '%s' WHERE id = 7", w.table, name)
		// Who wrote sees it at once, by each table of the server.
		require.Equal(t, name, w.c.Value("SELECT name FROM t WHERE id = 7"), "%s", w.table)
		for _, r := range []struct {
			c     *harness.Conn
			table string
		}{{c, "t"}, {other, "t"}, {eve, "t"}, {c, "narrow"}, {other, "narrow"}} {
			require.Eventually(t, func() bool { return r.c.Value("SELECT name FROM %s WHERE id = 7", r.table) == name }, soonSeen, tick,
				"%s shows what was written through %s", r.table, w.table)
		}
		require.True(t, cached(t, c, "SELECT * FROM stranger"), "another object has nothing to do with it")
	}
}

// Whatever becomes of the transaction, the cache shows what the API has.
func TestCacheWrite_AfterErrorsAndRollbacks(t *testing.T) {
	for _, lag := range []time.Duration{0, 30 * time.Second} {
		t.Run(lag.String(), func(t *testing.T) {
			db, c := lagging(t, lag)
			other := db.Connect(t)
			c.Exec("CREATE FOREIGN TABLE bad (id int8, grp int4, name text) SERVER syn OPTIONS (store '%s.t', write_error 'unknown_outcome')", db.Name)
			for i, sql := range []string{
				"BEGIN; INSERT INTO t VALUES (101, 1, 'rolled back'); ROLLBACK",
				"BEGIN; UPDATE t SET name = 'rolled back' WHERE id <= 2; ROLLBACK",
				"BEGIN; DELETE FROM t WHERE id = 3; ROLLBACK",
				"BEGIN; SAVEPOINT s; INSERT INTO t VALUES (102, 1, 'savepoint'); ROLLBACK TO s; COMMIT",
				// The third is there already.
				"INSERT INTO t VALUES (103, 1, 'a'), (104, 1, 'b'), (1, 1, 'c')",
				"INSERT INTO t VALUES (1, 1, 'refused')",
				"UPDATE t SET grp = 1 / (id - 9)::int WHERE id IN (8, 9, 10)",
				"WITH w AS (INSERT INTO t VALUES (105, 1, 'then an error') RETURNING id) SELECT 1 / (id - 105) FROM w",
				"INSERT INTO bad VALUES (106, 1, 'the answer is lost')",
				"UPDATE bad SET name = 'the answer is lost' WHERE id = 5",
			} {
				failed := false
				for _, one := range strings.Split(sql, "; ") {
					_, err := c.Try("%s", one)
					failed = failed || err != nil
				}
				require.Equal(t, i >= 4, failed, "%s", sql)
				if strings.Contains(sql, "bad") && lag > 0 {
					// Nobody knows what was written until the list shows it.
					continue
				}
				want := c.Value(everything + "live")
				require.Equal(t, want, c.Value(everything+"t"), "after %s", sql)
				require.Eventually(t, func() bool { return other.Value(everything+"t") == want }, soonSeen, tick, "another session after %s", sql)
			}
		})
	}
}

// hallway.refresh() waits for a list that lags behind a write nobody knows.
func TestCacheWrite_RefreshWaitsForTheList(t *testing.T) {
	t.Parallel() // it waits more than it computes
	const lag = 5 * time.Second
	db, c := lagging(t, lag)
	c.Exec("CREATE FOREIGN TABLE bad (id int8, grp int4, name text) SERVER syn OPTIONS (store '%s.t', write_error 'unknown_outcome')", db.Name)
	c.Fails("08007", "INSERT INTO bad VALUES (21, 1, 'the answer is lost')")
	c.Fails("57014", "SET LOCAL statement_timeout = '100ms'; SELECT hallway.refresh('t')")
	require.Equal(t, "21", c.Value("SELECT hallway.refresh('t')"))
	require.True(t, cached(t, c, "SELECT * FROM t"))
	require.Equal(t, c.Value(everything+"live"), c.Value(everything+"t"))
}
