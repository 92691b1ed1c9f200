// Dumps of a database that has caches and replicas.

package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// A database is dumped with all that is cached, and restored beside itself: it
// shows what the API has, never what the dump brought, and its replicas wait.
func TestCache_DumpAndRestore(t *testing.T) {
	t.Parallel() // like others it waits for housekeeping at its end
	cluster, err := env.StartInstalled()
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	admin, err := pgx.Connect(t.Context(), cluster.DSN("postgres", "postgres"))
	require.NoError(t, err)
	for _, name := range []string{"original", "restored"} {
		_, err = admin.Exec(t.Context(), "CREATE DATABASE "+name)
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(t.Context()))
	original := (&harness.Database{Name: "original", Env: env, Cluster: cluster}).Connect(t)
	original.Exec("CREATE EXTENSION hallway")
	original.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', max_age '1h');
		CREATE SERVER live FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE USER MAPPING FOR PUBLIC SERVER live;
		CREATE FOREIGN TABLE api (id int8, name text) SERVER live OPTIONS (store 'dump.t');
		CREATE FOREIGN TABLE through (id int8, name text) SERVER syn OPTIONS (store 'dump.t');
		CREATE FOREIGN TABLE copied (id int8, name text) SERVER syn OPTIONS (store 'dump.t', cache 'replica', refresh_every '1h');
		INSERT INTO api SELECT g, 'before' FROM generate_series(1, 100) g`, sidecar.Address())
	original.Exec("CALL hallway.wait_for_sync('copied')")
	both := func(c *harness.Conn) {
		t.Helper()
		for _, table := range []string{"through", "copied"} {
			require.Eventually(t, func() bool {
				_ = c.Query("SELECT * FROM %s", table)
				return cached(t, c, "SELECT * FROM "+table)
			}, waitForCache, tick, table)
		}
	}
	both(original)

	bin, err := harness.BinDir()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "dump.sql")
	out, err := exec.Command(filepath.Join(bin, "pg_dump"), "-f", file, cluster.DSN("original", "postgres")).CombinedOutput()
	require.NoError(t, err, string(out))
	original.Exec("UPDATE api SET name = 'after'")
	out, err = exec.Command(filepath.Join(bin, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, cluster.DSN("restored", "postgres")).CombinedOutput()
	require.NoError(t, err, string(out))

	restored := (&harness.Database{Name: "restored", Env: env, Cluster: cluster}).Connect(t)
	for _, table := range []string{"through", "copied"} {
		require.Equal(t, "100", restored.Value("SELECT count(*) FROM %s WHERE name = 'after'", table), table)
	}
	require.Eventually(t, func() bool {
		return restored.Value("SELECT state FROM hallway.sync_status") == "paused"
	}, 30*time.Second, 50*time.Millisecond)
	require.NotEmpty(t, restored.Value("SELECT reason FROM hallway.sync_status"))
	restored.Exec("SET hallway.address = '%s'", sidecar.Address())
	restored.Exec("SELECT hallway.resume()")
	restored.Exec("CALL hallway.wait_for_sync('copied')")
	both(restored)
	require.Equal(t, "200", restored.Value("SELECT (SELECT count(*) FROM through WHERE name = 'after') + (SELECT count(*) FROM copied WHERE name = 'after')"))
	// Nothing in hallway_cache but what the registry knows, in the end.
	require.Eventually(t, func() bool {
		return restored.Value(`SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r'
			AND oid NOT IN (SELECT cache_relid FROM hallway.cache_tables)`) == "0"
	}, 2*time.Minute, 100*time.Millisecond)
	// The extension goes with all that is its own.
	restored.Exec("DROP EXTENSION hallway CASCADE")
}
