// Killing whoever takes part in filling a cache, at any moment.

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Nobody changes a row here, so whatever dies: what a region claims is just what
// the API has. Regions are looked at themselves, not through queries, which
// would ask the API for what is not there.
func TestCache_KilledWhileItFills(t *testing.T) {
	const kills = 54
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx := context.Background()

	cluster, err := env.StartCluster("C", env.Cluster.Library, "synchronous_commit = on")
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	pb, err := env.StartPocketBase(600)
	require.NoError(t, err)
	db := env.DatabaseIn(t, cluster)
	setup := db.Connect(t)
	setup.Exec(`CREATE SERVER made FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', max_age '1h', page_rows '100', latency '1ms');
		CREATE USER MAPPING FOR PUBLIC SERVER made;
		CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[1]s', manifest 'pocketbase.yaml', base_url '%[2]s', auth_collection '_superusers', max_age '1h', page_size '50');
		CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (user '%[3]s', password '%[4]s');
		CREATE SERVER made_live FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER made_live;
		CREATE SERVER crm_live FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[1]s', manifest 'pocketbase.yaml', base_url '%[2]s', auth_collection '_superusers', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER crm_live OPTIONS (user '%[3]s', password '%[4]s')`,
		sidecar.Address(), pb.URL, pb.User, pb.Password)
	tables := []struct{ name, columns, options string }{
		{"made", "id int8, name text, grp int4 OPTIONS (distinct '7'), amount numeric", "rows '5000'"},
		{"crm", "id text, email text, last_name text, status text, score float8", "object 'contacts'"},
	}
	for _, x := range tables {
		setup.Exec("CREATE FOREIGN TABLE %[1]s (%[2]s) SERVER %[1]s OPTIONS (%[3]s); CREATE FOREIGN TABLE %[1]s_live (%[2]s) SERVER %[1]s_live OPTIONS (%[3]s)", x.name, x.columns, x.options)
		setup.Exec("CREATE TABLE %[1]s_copy AS SELECT * FROM %[1]s_live", x.name)
	}
	require.Equal(t, "5000", setup.Value("SELECT count(*) FROM made_copy"))
	require.Equal(t, "600", setup.Value("SELECT count(*) FROM crm_copy"))

	regions := 0
	for i := range kills {
		victim := []string{"sidecar", "PostgreSQL", "API"}[i%3]
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			readers(ctx, db, stop)
		}()
		time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)
		switch victim {
		case "sidecar":
			sidecar.Kill()
		case "PostgreSQL":
			require.NoError(t, cluster.Crash())
		case "API":
			pb.Kill()
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		close(stop)
		<-done
		switch victim {
		case "sidecar":
			require.NoError(t, sidecar.Start())
		case "PostgreSQL":
			require.NoError(t, cluster.Start())
		case "API":
			require.NoError(t, pb.Restart())
		}
		c := db.Connect(t)
		regions += honest(t, c, fmt.Sprintf("kill %d of %s", i, victim))
		for _, x := range tables {
			require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[1]s_copy) UNION ALL (SELECT * FROM %[1]s_copy EXCEPT ALL SELECT * FROM %[1]s)", x.name),
				"after kill %d of %s", i, victim)
		}
		regions += honest(t, c, fmt.Sprintf("reading again after kill %d of %s", i, victim))
		if rng.IntN(2) == 0 {
			// So that the next fills meet rows that are there already, or none.
			c.Exec("SELECT hallway.invalidate('made'), hallway.invalidate('crm')")
		}
		_ = c.Close(ctx)
	}
	t.Logf("%d kills, %d regions looked at", kills, regions)
	require.Greater(t, regions, kills, "there was something to look at")
}

// readers ask until they are stopped; they may be told of any failure.
func readers(ctx context.Context, db *harness.Database, stop chan struct{}) {
	ended := make(chan struct{})
	sql := []string{"SELECT count(*) FROM made WHERE grp = 3", "SELECT * FROM crm", "SELECT * FROM made", "SELECT * FROM crm WHERE status = 'lead'"}
	for _, q := range sql {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := db.Open(ctx, "postgres")
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				for range 3 {
					_, _ = harness.Simple(ctx, conn, "SET statement_timeout = '2s'; SET hallway.max_age = 0; "+q)
				}
				_ = conn.Close(ctx)
			}
		}()
	}
	for range sql {
		<-ended
	}
}

// honest compares each region with the copy and counts them.
func honest(t *testing.T, c *harness.Conn, when string) int {
	t.Helper()
	n := 0
	for _, r := range c.Query(`SELECT t.relid::regclass, t.cache_relid::regclass, r.condition FROM hallway.cache_regions r JOIN hallway.cache_tables t ON t.id = r.cache_id`) {
		table, cache, condition := r[0], r[1], r[2]
		if condition == "" {
			condition = "true"
		}
		require.Empty(t, c.Query("(SELECT * FROM %[1]s WHERE %[3]s EXCEPT ALL SELECT * FROM %[2]s WHERE %[3]s) UNION ALL (SELECT * FROM %[2]s WHERE %[3]s EXCEPT ALL SELECT * FROM %[1]s WHERE %[3]s)", cache, table+"_copy", condition),
			"%s: region %q of %s", when, condition, table)
		n++
	}
	return n
}
