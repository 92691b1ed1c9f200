// Cached scans of statements that wait for a row lock.

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Who has waited for a row lock checks the row again, as the statement saw all
// other tables: the cache, too, whatever was merged into it meanwhile.
func TestCache_EvalPlanQual(t *testing.T) {
	db, c := cachedStore(t, "")
	c.Exec("CREATE TABLE l AS SELECT g AS id, g AS amount FROM generate_series(1, 100) g; ALTER TABLE l ADD PRIMARY KEY (id); ANALYZE l")
	other := db.Connect(t)
	for i, q := range []string{
		"UPDATE l SET amount = l.amount + 1 FROM t WHERE t.id = l.id AND l.id = %[1]d AND t.grp < 10",
		"SELECT l.id FROM l JOIN t ON t.id = l.id WHERE l.id = %[1]d AND t.name = 'n%[1]d' FOR UPDATE OF l",
		"UPDATE l SET amount = amount + 1 WHERE id = %[1]d AND id IN (SELECT id FROM t)",
		"UPDATE l SET amount = amount + 1 WHERE id = %[1]d AND EXISTS (SELECT FROM t WHERE t.id = l.id OFFSET 0)",
		"UPDATE l SET amount = amount + (SELECT count(*) FROM t WHERE t.id >= l.id OFFSET 0) * 0 + (SELECT t.id / t.id FROM t WHERE t.id = l.id) WHERE id = %[1]d",
	} {
		id := 20 + i
		q = fmt.Sprintf(q, id)
		require.True(t, cached(t, other, "SELECT * FROM t"), q)
		c.Exec("BEGIN; UPDATE l SET amount = amount + 1000 WHERE id = %d", id)
		done := make(chan error, 1)
		go func() {
			r, err := harness.Simple(context.Background(), other.PgConn, q)
			if err == nil && r.Tag != "UPDATE 1" && r.Tag != "SELECT 1" {
				err = fmt.Errorf("%s", r.Tag)
			}
			done <- err
		}()
		require.Eventually(t, func() bool {
			return c.Value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
		}, 30*time.Second, 10*time.Millisecond, q)
		c.Exec("DELETE FROM live WHERE id = %d", id)
		require.Equal(t, fmt.Sprint(99-i), c.Value("SELECT hallway.refresh('t')"))
		require.Equal(t, "0", c.Value("SELECT count(*) FROM t WHERE id = %d", id))
		c.Exec("COMMIT")
		require.NoError(t, <-done, q)
		want := fmt.Sprint(id + 1001)
		if i == 1 {
			want = fmt.Sprint(id + 1000)
		}
		require.Equal(t, want, c.Value("SELECT amount FROM l WHERE id = %d", id), q)
	}
}

// cacheTable is the local table of a foreign table, as it is just now.
func cacheTable(c *harness.Conn, table string) string {
	return c.Value("SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = '%s'::regclass", table)
}

// answersSoon runs statements of one transaction that holds what the sidecar needs:
// nobody can see that each waits for the other, so neither may wait for long.
func answersSoon(t *testing.T, c *harness.Conn, sql string, args ...any) string {
	t.Helper()
	r := run(c, fmt.Sprintf(sql, args...))
	return r.value(t)
}

// The sidecar's merges meet locks of the very session that waits for the sidecar.
func TestCache_LocksOfTheSessionThatWaits(t *testing.T) {
	t.Parallel()
	db, c := cachedStore(t, "")
	other := db.Connect(t)
	c.Exec("SELECT hallway.invalidate('t')")
	for i, lock := range []string{
		"LOCK TABLE %s",
		"CREATE INDEX ON %s (name)",
		"UPDATE %s SET name = name WHERE id = 7",
	} {
		// Rows that a merge has to change.
		other.Exec("UPDATE live SET name = 'v%d' WHERE id IN (7, 8)", i)
		lock = fmt.Sprintf(lock, cacheTable(other, "t"))
		c.Exec("BEGIN; SET LOCAL hallway.max_age = 0; %s", lock)
		require.Equal(t, "100 2", answersSoon(t, c, "SELECT count(*) || ' ' || count(*) FILTER (WHERE name = 'v%d') FROM t", i), "a miss: %s", lock)
		require.Equal(t, fmt.Sprintf("own%d", i), answersSoon(t, c, "INSERT INTO t VALUES (%d, 1, 'own%d') RETURNING name", 201+i, i), "a write: %s", lock)
		require.Equal(t, fmt.Sprintf("own%d", i), answersSoon(t, c, "SELECT name FROM t WHERE id = %d", 201+i), "the own write: %s", lock)
		require.Equal(t, "101", answersSoon(t, c, "SELECT count(*) FROM t"), lock)
		r := run(c, "SAVEPOINT s; SELECT hallway.refresh('t')")
		_, err := r.wait(t)
		require.Equal(t, "55P03", harness.SQLState(err), "%s: %v", lock, err)
		c.Exec("ROLLBACK")
		require.Eventually(t, func() bool { return c.Value("SELECT count(*) FROM t") == "101" && cached(t, c, "SELECT * FROM t") }, waitForCache, tick, lock)
		other.Exec("DELETE FROM live WHERE id > 200; SELECT hallway.invalidate('t')")
	}
}

// A trigger of a replica wants a row that the session holds which waits.
func TestCache_TriggerWaitsForTheSessionThatWaits(t *testing.T) {
	t.Parallel()
	db, c := cachedStore(t, ", cache 'replica'")
	c.Exec(`CREATE TABLE counted (id int PRIMARY KEY, n int); INSERT INTO counted VALUES (1, 0); GRANT SELECT, UPDATE ON counted TO hallway;
		CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE public.counted SET n = n + 1 WHERE id = 1; RETURN NULL; END'`)
	c.Exec("CREATE TRIGGER counts AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION counts()", cacheTable(c, "t"))
	c.Exec("BEGIN; UPDATE counted SET n = 1000")
	require.Equal(t, "own", answersSoon(t, c, "INSERT INTO t VALUES (201, 1, 'own') RETURNING name"))
	require.Equal(t, "101", answersSoon(t, c, "SELECT count(*) FROM t"), "the own write")
	require.Equal(t, "changed", answersSoon(t, c, "UPDATE t SET name = 'changed' WHERE id = 7 RETURNING name"))
	require.Equal(t, "changed", answersSoon(t, c, "SELECT name FROM t WHERE id = 7"))
	require.Equal(t, "0", db.Connect(t).Value("SELECT count(*) FROM %s WHERE id = 201", cacheTable(c, "t")), "the trigger could not run")
	c.Exec("COMMIT")
	require.Eventually(t, func() bool {
		return c.Value("SELECT n FROM counted") == "1002" && cached(t, c, "SELECT * FROM t")
	}, waitForCache, tick, "once for each row")
	require.Equal(t, "101 changed", c.Value("SELECT count(*) || ' ' || max(name) FILTER (WHERE id = 7) FROM t"))
}

// All connections are in use: queries get their rows, and writes are refused at once.
func TestCache_NoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	cluster, err := env.StartCluster("C", env.Cluster.Library, "max_connections = 20", "superuser_reserved_connections = 3", "max_wal_senders = 0", "wal_level = minimal")
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.DatabaseIn(t, cluster)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE made (id int8, name text) SERVER syn OPTIONS (rows '100');
		CREATE FOREIGN TABLE t (id int8, name text) SERVER syn OPTIONS (store '%s.t')`, sidecar.Address(), db.Name)
	var all []*harness.Conn
	for c.Value("SELECT count(*) < 20 - 3 FROM pg_stat_activity WHERE backend_type = 'client backend'") == "t" {
		all = append(all, db.Connect(t))
	}
	for range 2 {
		require.Equal(t, "100", answersSoon(t, c, "SELECT count(*) FROM made"))
	}
	_, err = run(c, "INSERT INTO t VALUES (1, 'a')").wait(t)
	require.Equal(t, "55000", harness.SQLState(err), "nothing is written that cannot be journaled")
	require.Contains(t, harness.Describe(err), "max_connections")
	require.Equal(t, "0", answersSoon(t, c, "SELECT count(*) FROM t"))
	for _, x := range all {
		require.NoError(t, x.Close(t.Context()))
	}
	require.Eventually(t, func() bool {
		return c.Value("SELECT count(*) FROM made") == "100" && cached(t, c, "SELECT * FROM made")
	}, waitForCache, tick)
	require.Eventually(t, func() bool { _, err := c.Try("INSERT INTO t VALUES (1, 'a')"); return err == nil }, waitForCache, tick)
	require.Equal(t, "1", c.Value("SELECT count(*) FROM t"))
}
