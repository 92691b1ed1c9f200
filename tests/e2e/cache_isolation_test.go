// Whose rows a cached table shows.

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// whoami makes a cached table whose only row tells the credential it was read
// with, and two roles with credentials of their own.
func whoami(t *testing.T, options string) (*harness.Database, *harness.Conn) {
	t.Helper()
	api := startFake(t)
	return twoRoles(t, env.NewSidecar(t, harness.SidecarSettings{Cache: true}), api.URL+"/"+string(fakes.WhoAmI), options)
}

// twoRoles makes a cached table of an API, and the roles ann and bob with
// credentials of their own.
func twoRoles(t *testing.T, sidecar *harness.Sidecar, url, options string) (*harness.Database, *harness.Conn) {
	t.Helper()
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	c := db.Connect(t)
	c.Exec(`DO $$ BEGIN
			IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ann') THEN CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; END IF; END $$;
		GRANT CREATE ON SCHEMA public TO ann;
		CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[1]s', manifest 'fake.yaml', base_url '%[2]s', max_age '1h'%[3]s);
		CREATE USER MAPPING FOR ann SERVER api OPTIONS (token 'token-of-ann');
		CREATE USER MAPPING FOR bob SERVER api OPTIONS (token 'token-of-bob');
		CREATE FOREIGN TABLE contacts (%[4]s) SERVER api OPTIONS (object 'contacts');
		GRANT SELECT ON contacts TO ann, bob`, sidecar.Address(), url, options, fakeColumns)
	t.Cleanup(func() { c.Exec("DROP OWNED BY ann, bob; DROP ROLE ann, bob") })
	return db, c
}

func cached(t *testing.T, c *harness.Conn, query string) bool {
	t.Helper()
	plan := c.Query("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) %s", query)
	for _, r := range plan {
		if strings.Contains(r[0], "Hallway Cache: hit") {
			return true
		}
	}
	return false
}

func TestCache_CredentialsSeeTheirOwnRows(t *testing.T) {
	db, super := whoami(t, "")
	ann, bob := db.ConnectAs(t, "ann"), db.ConnectAs(t, "bob")
	for i := range 3 {
		require.Contains(t, ann.Value("SELECT name FROM contacts"), "token-of-ann", "time %d", i)
		require.Contains(t, bob.Value("SELECT name FROM contacts"), "token-of-bob", "time %d", i)
		if i == 0 {
			for _, c := range []*harness.Conn{ann, bob} {
				require.Eventually(t, func() bool { return cached(t, c, "SELECT name FROM contacts") }, waitForCache, tick)
			}
		}
	}
	require.True(t, cached(t, ann, "SELECT name FROM contacts"))
	require.True(t, cached(t, bob, "SELECT name FROM contacts"))
	require.Equal(t, "2", super.Value("SELECT count(DISTINCT cache_relid) FROM hallway.cache_tables"))

	// A plan made as one role is run as another.
	super.Exec("SET ROLE ann; PREPARE who AS SELECT name FROM contacts")
	for range 8 {
		super.Exec("SET ROLE ann")
		require.Contains(t, super.Value("EXECUTE who"), "token-of-ann")
		super.Exec("SET ROLE bob")
		require.Contains(t, super.Value("EXECUTE who"), "token-of-bob")
	}
	super.Exec("RESET ROLE")

	// A view reads with its owner's credential, also from the cache; one with
	// the caller's rights with the caller's.
	ann.Exec("CREATE VIEW anns AS SELECT name FROM contacts; GRANT SELECT ON anns TO bob")
	require.Contains(t, bob.Value("SELECT name FROM anns"), "token-of-ann")
	ann.Exec("CREATE VIEW callers WITH (security_invoker) AS SELECT name FROM contacts; GRANT SELECT ON callers TO bob")
	require.Contains(t, bob.Value("SELECT name FROM callers"), "token-of-bob")
	ann.Exec(`CREATE FUNCTION annsf() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT name FROM public.contacts); END'`)
	require.Contains(t, bob.Value("SELECT annsf()"), "token-of-ann")
	require.Contains(t, bob.Value("SELECT name FROM contacts"), "token-of-bob")

	// Nothing of it stands where another role may look.
	super.Exec("ALTER FOREIGN TABLE contacts OWNER TO ann")
	for _, c := range []*harness.Conn{ann, super} {
		c.Fails("0A000", "ANALYZE contacts")
	}
	super.Exec("ANALYZE")
	require.NotContains(t, fmt.Sprint(bob.Query("SELECT most_common_vals, histogram_bounds FROM pg_stats")), "token-of-ann")
	for _, r := range super.Query("SELECT cache_relid::regclass::text FROM hallway.cache_tables") {
		bob.Fails("42501", "SELECT * FROM %s", r[0])
	}
	for _, x := range []string{"cache_tables", "cache_regions"} {
		bob.Fails("42501", "SELECT * FROM hallway.%s", x)
	}
	for _, x := range super.Query("SELECT relname FROM pg_class WHERE relnamespace = 'hallway'::regnamespace AND relkind IN ('r', 'v')") {
		if r, err := bob.Try("SELECT * FROM hallway.%s", x[0]); err == nil {
			require.NotContains(t, fmt.Sprint(r.Rows), "ann", "hallway.%s", x[0])
		}
	}
	require.NotContains(t, fmt.Sprint(bob.Query("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM contacts")), "token-of-ann")
	require.NotContains(t, fmt.Sprint(super.Query("SELECT * FROM hallway.cache_tables")), "token-of", "the account's identity is a hash")

	// A new credential is another account, at once.
	super.Exec("ALTER USER MAPPING FOR bob SERVER api OPTIONS (SET token 'token-of-carl')")
	require.Contains(t, bob.Value("SELECT name FROM contacts"), "token-of-carl")
}

func TestCache_ScopeServerIsShared(t *testing.T) {
	db, _ := whoami(t, ", cache_scope 'server'")
	ann, bob := db.ConnectAs(t, "ann"), db.ConnectAs(t, "bob")
	require.Contains(t, ann.Value("SELECT name FROM contacts"), "token-of-ann")
	require.Eventually(t, func() bool { return cached(t, bob, "SELECT name FROM contacts") }, waitForCache, tick)
	require.Contains(t, bob.Value("SELECT name FROM contacts"), "token-of-ann", "the server says that all may see the same rows")
}

// A condition that may leak what it is shown runs after those that hide rows.
func TestCache_SecurityBarriersHold(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE t (id int8, secret text) SERVER syn OPTIONS (store '%s.t');
		INSERT INTO t VALUES (1, 'open'), (2, 'hidden');
		CREATE FUNCTION leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %%', $1; RETURN true; END $$;
		CREATE VIEW v WITH (security_barrier) AS SELECT * FROM t WHERE id = 1;
		CREATE TABLE seen (what text)`, sidecar.Address(), db.Name)
	require.Eventually(t, func() bool { _ = c.Query("SELECT * FROM t"); return cached(t, c, "SELECT * FROM t") }, waitForCache, tick)
	c.Exec("%s", `CREATE OR REPLACE FUNCTION leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
		$$ BEGIN IF $1 = 'hidden' THEN RAISE 'saw %', $1; END IF; RETURN true; END $$`)
	require.Len(t, c.Query("SELECT * FROM v WHERE leak(secret)"), 1)
	require.True(t, cached(t, c, "SELECT * FROM v WHERE leak(secret)"))
}
