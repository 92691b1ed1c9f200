// Reads that the cache answers: who is needed for them, and in which plans.

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// A hit asks the sidecar nothing: it is answered while the sidecar stands still,
// and when it is gone, also if it is the table's first one, which tells the
// sidecar without waiting.
func TestCacheHit_NeedsNoSidecar(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h', rows '50');
		CREATE USER MAPPING FOR PUBLIC SERVER syn`, sidecar.Address())
	tables := []string{"known", "frozen", "gone", "copy"}
	for _, x := range tables {
		c.Exec("CREATE FOREIGN TABLE %[1]s (id int8, name text) SERVER syn", x)
	}
	c.Exec("SELECT hallway.replicate('copy', '1 h')")
	c.Exec("CALL hallway.wait_for_sync('copy')")
	for _, x := range tables {
		c.Exec("PREPARE key_%[1]s(int8) AS SELECT id FROM %[1]s WHERE id = $1; PREPARE all_%[1]s AS SELECT count(*) FROM %[1]s; SET hallway.max_age = 0", x)
		// Often enough for a generic plan, and never from the cache.
		for i := range 7 {
			require.Equal(t, fmt.Sprint(i+1), c.Value("EXECUTE key_%s(%d)", x, i+1))
			require.Equal(t, "50", c.Value("EXECUTE all_%s", x))
		}
		c.Exec("RESET hallway.max_age")
	}
	hit := func(x string) {
		t.Helper()
		for _, q := range []string{fmt.Sprintf("EXECUTE key_%s(7)", x), "EXECUTE all_" + x} {
			require.True(t, cached(t, c, q), "%s", q)
		}
		require.Equal(t, "7", c.Value("EXECUTE key_%s(7)", x))
		require.Equal(t, "50", c.Value("EXECUTE all_%s", x))
	}
	require.Eventually(t, func() bool {
		return c.Value("SELECT count(DISTINCT cache_id) FROM hallway.cache_regions WHERE condition = 'true'") == "3" && cached(t, c, "EXECUTE all_known")
	}, waitForCache, tick)
	hit("known")
	// What waits for the sidecar is not answered.
	c.Exec("SET statement_timeout = '20s'")
	require.NoError(t, sidecar.Freeze())
	t.Cleanup(func() { _ = sidecar.Signal(syscall.SIGCONT) })
	hit("known")
	hit("frozen")
	sidecar.Kill()
	for range 2 {
		hit("known")
		hit("gone")
		hit("copy")
	}
	c.Exec("SET hallway.max_age = 0")
	c.Fails("08001", "EXECUTE all_known")
}

// A statement that runs in parallel has one snapshot for all that runs in it,
// and its leader takes none anew: neither for a cached table in the plan, nor
// for one that a function reads which only the leader may run.
func TestCacheHit_InParallelPlans(t *testing.T) {
	_, c := cachedStore(t, "")
	c.Exec(`CREATE TABLE local AS SELECT g AS id, mod(g, 10) AS grp FROM generate_series(1, 2000) g; ANALYZE local;
		CREATE FUNCTION named(bigint) RETURNS text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
			AS 'BEGIN RETURN (SELECT max(name) FROM t WHERE id = $1); END';
		CREATE FUNCTION fresh(bigint) RETURNS text LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
			AS 'BEGIN RETURN (SELECT max(name) FROM t WHERE id = $1); END';
		SET max_parallel_workers_per_gather = 2; SET min_parallel_table_scan_size = 0;
		SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0`)
	for _, x := range []struct {
		name, query, want string
		inPlan            bool
	}{
		{"a join", "SELECT count(*), sum(t.id) FROM (SELECT id FROM local WHERE grp < 5) l JOIN t USING (id)", "50 2450", true},
		{"a function", "SELECT count(*), count(DISTINCT named(id)) FROM local WHERE id BETWEEN 1 AND 30", "30 30", false},
		{"a volatile function", "SELECT count(*), count(DISTINCT fresh(id)) FROM local WHERE id BETWEEN 91 AND 110", "20 10", false},
		{"both", "SELECT count(*), count(DISTINCT named(l.id)) FROM local l JOIN t USING (id) WHERE l.grp = 3", "10 10", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := c.On(t)
			require.Contains(t, fmt.Sprint(c.Query("EXPLAIN %s", x.query)), "Gather")
			for _, age := range []string{"1h", "0"} {
				c.Exec("SET hallway.max_age = '%s'", age)
				plan := fmt.Sprint(c.Query("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) %s", x.query))
				require.Contains(t, plan, "Workers Planned: ")
				if x.inPlan {
					require.Equal(t, age != "0", strings.Contains(plan, "Hallway Cache: hit"), "max_age %s: %s", age, plan)
				}
				require.Equal(t, x.want, strings.Join(c.Query("%s", x.query)[0], " "), "max_age %s", age)
			}
		})
	}
}
