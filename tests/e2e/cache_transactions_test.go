// Cached tables within transactions and beside what else a database has.

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

const (
	waitForCache = 30 * time.Second
	tick         = 10 * time.Millisecond
)

// cachedStore makes foreign tables t (cached) and live (not) on one store with
// rows 1 to 100, and reads t until it is cached.
func cachedStore(t *testing.T, options string) (*harness.Database, *harness.Conn) {
	t.Helper()
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', max_age '1h');
		CREATE SERVER other FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE USER MAPPING FOR PUBLIC SERVER other;
		CREATE FOREIGN TABLE t (id int8, grp int4, name text) SERVER syn OPTIONS (store '%[2]s.t'%[3]s);
		CREATE FOREIGN TABLE live (id int8, grp int4, name text) SERVER other OPTIONS (store '%[2]s.t');
		INSERT INTO live SELECT g, g %% 10, 'n' || g FROM generate_series(1, 100) g`, sidecar.Address(), db.Name, options)
	if strings.Contains(options, "replica") {
		c.Exec("CALL hallway.wait_for_sync('t')")
	}
	require.Eventually(t, func() bool { _ = c.Query("SELECT * FROM t"); return cached(t, c, "SELECT * FROM t") }, waitForCache, tick)
	return db, c
}

func TestCache_RepeatableReadKeepsItsSnapshot(t *testing.T) {
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		t.Run(level, func(t *testing.T) {
			db, c := cachedStore(t, "")
			other := db.Connect(t)
			c.Exec("BEGIN ISOLATION LEVEL %s", level)
			require.Equal(t, "100", c.Value("SELECT count(*) FROM t"))
			require.True(t, cached(t, c, "SELECT count(*) FROM t"))
			other.Exec("INSERT INTO live VALUES (101, 1, 'new'); SELECT hallway.refresh('t')")
			require.Eventually(t, func() bool { return cached(t, other, "SELECT * FROM t") }, waitForCache, tick)
			require.Equal(t, "101", other.Value("SELECT count(*) FROM t"))
			require.Equal(t, "100", c.Value("SELECT count(*) FROM t"), "what it saw first")
			c.Exec("COMMIT")
			require.Equal(t, "101", c.Value("SELECT count(*) FROM t"))
			// An own write shows also where the snapshot is older.
			c.Exec("BEGIN ISOLATION LEVEL %s; SELECT 1; INSERT INTO t VALUES (102, 2, 'own')", level)
			require.Equal(t, "1", c.Value("SELECT count(*) FROM t WHERE id = 102"))
			c.Exec("COMMIT")
		})
	}
}

func TestCache_ReadCommittedSeesAMergeBetweenStatements(t *testing.T) {
	db, c := cachedStore(t, "")
	other := db.Connect(t)
	c.Exec("BEGIN")
	require.Equal(t, "100", c.Value("SELECT count(*) FROM t"))
	other.Exec("DELETE FROM live WHERE id <= 10; SELECT hallway.refresh('t')")
	require.Eventually(t, func() bool { return cached(t, other, "SELECT * FROM t") }, waitForCache, tick)
	require.Equal(t, "90", c.Value("SELECT count(*) FROM t"))
	// Two scans of one statement are of one moment.
	require.Equal(t, "0", c.Value("SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM t)"))
	c.Exec("COMMIT")
}

func TestCache_ReadOnlyTransactions(t *testing.T) {
	_, c := cachedStore(t, "")
	c.Exec("SELECT hallway.invalidate('t')")
	c.Exec("BEGIN READ ONLY")
	require.Equal(t, "100", c.Value("SELECT count(*) FROM t"), "a miss fills the cache all the same")
	c.Exec("COMMIT")
	require.Eventually(t, func() bool { return cached(t, c, "SELECT * FROM t") }, waitForCache, tick)
	c.Exec("SET default_transaction_read_only = on")
	require.Equal(t, "10", c.Value("SELECT count(*) FROM t WHERE grp = 3"))
}

func TestCache_BesideLocalTables(t *testing.T) {
	db, c := cachedStore(t, "")
	c.Exec(`CREATE TEMP TABLE tmp AS SELECT g AS id FROM generate_series(1, 5) g;
		CREATE TABLE private (id int8, owner text); INSERT INTO private SELECT g, CASE WHEN mod(g, 2) = 0 THEN 'reader' ELSE 'somebody' END FROM generate_series(1, 20) g;
		ALTER TABLE private ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON private USING (owner = current_user);
		DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') THEN CREATE ROLE reader LOGIN; END IF; END $$;
		GRANT SELECT ON private, t, live TO reader`)
	t.Cleanup(func() { c.Exec("DROP OWNED BY reader; DROP ROLE reader") })
	require.Equal(t, "5", c.Value("SELECT count(*) FROM t JOIN tmp USING (id)"))
	require.Equal(t, "15", c.Value("SELECT sum(id) FROM (SELECT t.id FROM t JOIN live USING (id) JOIN tmp USING (id)) s"), "cached and live tables in one query")
	reader := db.ConnectAs(t, "reader")
	require.Equal(t, "10", reader.Value("SELECT count(*) FROM t JOIN private USING (id)"), "the local table's policy holds")
	require.True(t, cached(t, reader, "SELECT count(*) FROM t JOIN private USING (id)"))
	c.Exec(`CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql SECURITY DEFINER STABLE AS 'SELECT count(*) FROM public.t JOIN public.private USING (id)'`)
	require.Equal(t, "20", reader.Value("SELECT counted()"), "the owner is not bound by the policy")
	c.Exec(`CREATE FUNCTION f(bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$ DECLARE r text; BEGIN
		FOR r IN SELECT name FROM t WHERE id = $1 LOOP RETURN r; END LOOP; RETURN NULL; END $$`)
	require.Equal(t, "n7", c.Value("SELECT f(7)"))
	require.Equal(t, "100", c.Value("SELECT count(f(id)) FROM t"), "a cached scan within a cached scan")
}

// What feeds a write is never taken from the cache.
func TestCache_WritesReadTheAPI(t *testing.T) {
	_, c := cachedStore(t, "")
	c.Exec("UPDATE live SET grp = 50 WHERE id = 1")
	require.Equal(t, "1", c.Value("SELECT grp FROM t WHERE id = 1"), "the cache does not know yet")
	c.Exec("UPDATE t SET grp = grp + 1 WHERE id = 1")
	require.Equal(t, "51", c.Value("SELECT grp FROM live WHERE id = 1"), "computed from what the API has")
	require.Equal(t, "51", c.Value("SELECT grp FROM t WHERE id = 1"), "one's own write is there at once")
	c.Exec("UPDATE live SET grp = 60 WHERE id = 2")
	require.Equal(t, "60", c.Value("SELECT grp FROM t WHERE id = 2 FOR UPDATE"))
	c.Exec("UPDATE live SET grp = 70 WHERE id IN (3, 4); UPDATE live SET grp = 80 WHERE id = 13")
	require.Equal(t, "t", c.Value("SELECT bool_and(grp < 10) FROM t WHERE id IN (3, 4, 13)"), "the cache does not know yet")
	require.Equal(t, "DELETE 2", c.Exec("DELETE FROM t WHERE grp = 70"), "rows that the cache has under another value")
	require.Equal(t, "DELETE 0", c.Exec("DELETE FROM t WHERE id = 13 AND grp = 3"), "a row that the cache alone has so")
	require.Equal(t, "13", c.Value("SELECT string_agg(id::text, ' ') FROM live WHERE id IN (3, 4, 13)"))
	require.Equal(t, "0", c.Value("SELECT count(*) FROM t WHERE id IN (3, 4)"), "one's own DELETE shows at once")
}

// A refresh that finds nothing new writes no row: none is made anew, and none is
// left behind for vacuum, whose place the next change would not get.
func TestCache_RefreshesWithoutChangesWriteNothing(t *testing.T) {
	t.Parallel() // it waits more than it computes
	// Those of a replica take a second each.
	for mode, refreshes := range map[string]int{"read_through": 10, "replica": 3} {
		t.Run(mode, func(t *testing.T) {
			_, c := cachedStore(t, ", cache '"+mode+"'")
			table := c.Value("SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = 't'::regclass")
			state := func() []harness.Row {
				return c.Query("SELECT ctid, xmin, xmax, * FROM %[1]s UNION ALL SELECT NULL, NULL, NULL, pg_relation_size('%[1]s'), pg_indexes_size('%[1]s')::int, NULL ORDER BY 1", table)
			}
			before := state()
			require.Len(t, before, 101)
			since := c.Value("SELECT now()")
			for range refreshes {
				c.Exec("SELECT hallway.refresh('t')")
			}
			require.Equal(t, "t", c.Value(`SELECT coalesce(max(t.as_of), max(r.fetched_at)) > '%s'
				FROM hallway.cache_tables t LEFT JOIN hallway.cache_regions r ON r.cache_id = t.id`, since), "they were refreshes")
			require.Equal(t, before, state())
			c.Exec("UPDATE live SET name = 'changed' WHERE id = 50; SELECT hallway.refresh('t')")
			require.Equal(t, "(0,101)", c.Value("SELECT ctid FROM %s WHERE id = 50", table), "the first place that is free")
		})
	}
}

// A standby reads replicas where they are, and all else in the API.
func TestCache_HotStandby(t *testing.T) {
	db, c := cachedStore(t, ", cache 'replica', refresh_every '1h'")
	c.Exec("CREATE FOREIGN TABLE through (id int8, grp int4, name text) SERVER syn OPTIONS (store '%s.t')", db.Name)
	require.Equal(t, "100", c.Value("SELECT count(*) FROM through"))
	standby, err := db.Cluster.Standby()
	require.NoError(t, err)
	s := (&harness.Database{Name: db.Name, Env: env, Cluster: standby}).Connect(t)
	require.Equal(t, "t", s.Value("SELECT pg_is_in_recovery()"))
	require.Equal(t, "100", s.Value("SELECT count(*) FROM t"))
	require.True(t, cached(t, s, "SELECT * FROM t"))
	require.Equal(t, "100", s.Value("SELECT count(*) FROM through"))
	require.False(t, cached(t, s, "SELECT * FROM through"))
}
