// A database that the sidecar cannot log in to.

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Rows come from the API then, and each session is told once.
func TestCache_WithoutItsDatabase(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	admin := db.Connect(t)
	admin.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE t (id int8, name text) SERVER syn OPTIONS (rows '100');
		REVOKE CONNECT ON DATABASE %s FROM PUBLIC`, sidecar.Address(), db.Name)

	ctx := context.Background()
	var warnings []string
	cfg, err := pgconn.ParseConfig(db.Cluster.DSN(db.Name, "postgres"))
	require.NoError(t, err)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		warnings = append(warnings, fmt.Sprintf("%s: %s %s", n.Severity, n.Message, n.Detail))
	}
	count := func(c *pgconn.PgConn) string {
		t.Helper()
		r, err := harness.Simple(ctx, c, "SELECT count(*) FROM t WHERE id > 40")
		require.NoError(t, err)
		return r.Rows[0][0]
	}
	for range 2 {
		warnings = nil
		c, err := pgconn.ConnectConfig(ctx, cfg)
		require.NoError(t, err)
		for range 3 {
			require.Equal(t, "60", count(c))
		}
		require.NoError(t, c.Close(ctx))
		require.Len(t, warnings, 1, "one a session")
		assert.Contains(t, warnings[0], "WARNING: ")
		assert.Contains(t, warnings[0], "permission denied for database")
	}

	// As soon as it can log in, rows are kept; who commands it need not wait.
	admin.Exec("GRANT CONNECT ON DATABASE %s TO PUBLIC", db.Name)
	admin.Exec("SELECT hallway.refresh('t')")
	require.True(t, cached(t, admin, "SELECT * FROM t"))
	warnings = nil
	c, err := pgconn.ConnectConfig(ctx, cfg)
	require.NoError(t, err)
	require.Equal(t, "60", count(c))
	require.NoError(t, c.Close(ctx))
	require.Empty(t, warnings)
}
