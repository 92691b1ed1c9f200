// Two roles with credentials of their own, at the same time: in misses, in
// errors, and where one of them has a replica.

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// owner of a token: what the API shows to whom. A token itself would be masked.
func owner(token string) string { return "the card of " + strings.TrimPrefix(token, "token-of-") }

func ownRow(token string) (int, any) {
	return 200, map[string]any{"results": []any{map[string]any{"id": "c1", "email": "me@example.com", "name": owner(token)}}}
}

// refused: a 4xx whose words are about the caller's own data.
func refused(token string) (int, any) {
	return 422, map[string]any{"message": owner(token) + " is blocked"}
}

// unreadable: a value that is no number.
func unreadable(token string) (int, any) {
	return 200, map[string]any{"results": []any{map[string]any{"id": "c1", "email": "me@example.com", "amount": owner(token)}}}
}

// said is all that a session was told by an error.
func said(t *testing.T, err error) string {
	t.Helper()
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	return fmt.Sprintf("%+v", *e)
}

// Equal queries of two credentials are two scans: sessions of one share its rows
// and its errors, and nobody gets those of the other.
func TestCacheMiss_CredentialsDoNotShareAScan(t *testing.T) {
	api := startGated(t, 1)
	s := observe(t)
	db, super := twoRoles(t, s.Sidecar, api.URL, "")
	roles := []string{"ann", "bob"}
	sessions := map[string][2]*harness.Conn{}
	for _, r := range roles {
		sessions[r] = [2]*harness.Conn{db.ConnectAs(t, r), db.ConnectAs(t, r)}
	}
	for i, x := range []struct {
		name   string
		answer func(string) (int, any)
		fails  bool
	}{{"refused", refused, true}, {"unreadable", unreadable, true}, {"rows", ownRow, false}} {
		api.answers(x.answer)
		api.hold(1)
		before := api.scans.Load()
		all := map[string][2]*running{}
		for _, r := range roles {
			all[r] = [2]*running{run(sessions[r][0], "SELECT name, amount FROM contacts"), run(sessions[r][1], "SELECT name, amount FROM contacts")}
		}
		// All four wait for the API, which is asked once for each credential.
		s.soon("hallway_cache_joins_total", 2*(i+1))
		s.soon("hallway_cache_misses_total", 2*(i+1))
		require.Eventually(t, func() bool { return api.inFlight.Load() == 2 }, bounded, tick)
		api.open()
		for k, r := range roles {
			for _, q := range all[r] {
				res, err := q.wait(t)
				text := fmt.Sprint(res.Rows)
				require.Equal(t, x.fails, err != nil, "%s: %v", x.name, err)
				if err != nil {
					text = said(t, err)
				}
				require.Contains(t, text, owner(r), "%s", x.name)
				require.NotContains(t, text, owner(roles[1-k]), "%s: %s was told of %s", x.name, r, roles[1-k])
			}
		}
		require.Equal(t, before+2, api.scans.Load(), "%s", x.name)
		s.soon("hallway_cache_flights", 0)
	}
	// What each has kept is his.
	for _, r := range roles {
		require.Eventually(t, func() bool { return cached(t, sessions[r][0], "SELECT name FROM contacts") }, waitForCache, tick)
		require.Equal(t, owner(r), sessions[r][1].Value("SELECT name FROM contacts"))
	}
	require.Equal(t, "2", super.Value("SELECT count(DISTINCT cache_relid) FROM hallway.cache_tables"))
}

// A replica is of one credential. Whoever has another one reads the API, and is
// shown nothing of the copy: no row, no state, no error of its runs.
func TestReplica_IsOfOneCredential(t *testing.T) {
	api := startGated(t, 1)
	api.answers(ownRow)
	db, super := twoRoles(t, env.NewSidecar(t, harness.SidecarSettings{Cache: true}), api.URL, "")
	sessions := map[string]*harness.Conn{"ann": db.ConnectAs(t, "ann"), "bob": db.ConnectAs(t, "bob")}
	for _, x := range []struct {
		name, of, other, setup string
	}{
		{"the owner's", "ann", "bob", `ALTER FOREIGN TABLE contacts OWNER TO ann; GRANT SELECT ON contacts TO bob;
			SET ROLE ann; SELECT hallway.replicate('contacts', '1 h'); RESET ROLE`},
		{"sync_as", "bob", "ann", `ALTER FOREIGN TABLE contacts OWNER TO postgres; GRANT SELECT ON contacts TO ann, bob;
			ALTER FOREIGN TABLE contacts OPTIONS (ADD sync_as 'bob')`},
	} {
		t.Run(x.name, func(t *testing.T) {
			super, mine, other := super.On(t), sessions[x.of].On(t), sessions[x.other].On(t)
			super.Exec("%s", x.setup)
			require.Eventually(t, func() bool {
				mine.Exec("CALL hallway.wait_for_sync('contacts')")
				return cached(t, mine, "SELECT * FROM contacts")
			}, bounded, tick)
			require.Equal(t, owner(x.of), mine.Value("SELECT name FROM contacts"))
			seen := shown(t, super, other)
			require.Equal(t, owner(x.other), other.Value("SELECT name FROM contacts"))
			require.Empty(t, other.Query("SELECT * FROM hallway.sync_status"))
			other.Exec("SELECT hallway.refresh('contacts')")
			require.Equal(t, owner(x.other), other.Value("SELECT name FROM contacts"), "also who has had it refreshed")
			require.NotContains(t, seen, owner(x.of))
		})
	}
	// Bob's run fails, with words about his rows; the table is Ann's.
	ann, bob := sessions["ann"], sessions["bob"]
	super.Exec("ALTER FOREIGN TABLE contacts OWNER TO ann; GRANT SELECT ON contacts TO bob")
	api.answers(unreadable)
	_, err := bob.Try("CALL hallway.wait_for_sync('contacts')")
	require.Contains(t, said(t, err), owner("bob"))
	require.Contains(t, super.Value("SELECT error FROM hallway.sync_status"), owner("bob"))
	_, err = ann.Try("CALL hallway.wait_for_sync('contacts')")
	require.Contains(t, said(t, err), "the replica could not be brought up to date")
	require.NotContains(t, said(t, err)+shown(t, super, ann), owner("bob"))
	const failure = "SELECT error FROM hallway.sync_status"
	require.Equal(t, "told to bob, whose credential it is, and to pg_monitor", ann.Value(failure))
	require.Contains(t, bob.Value(failure), owner("bob"))
	// What was said to him is not hers with the next run's credential.
	super.Exec("ALTER FOREIGN TABLE contacts OPTIONS (DROP sync_as)")
	require.NotContains(t, ann.Value(failure), owner("bob"))
	require.Eventually(t, func() bool {
		_, err := ann.Try("CALL hallway.wait_for_sync('contacts')")
		return strings.Contains(said(t, err), owner("ann")) && strings.Contains(ann.Value(failure), owner("ann"))
	}, bounded, tick)
	require.Empty(t, bob.Query(failure))
}

// shown is all that a role gets to see of a table that is a replica beside its
// own reads: by EXPLAIN, by a read that the cache alone may answer, and by the
// tables and views that Hallway keeps.
func shown(t *testing.T, super, c *harness.Conn) string {
	t.Helper()
	c.Exec("SET hallway.read_from = 'cache'")
	kept, err := c.Try("SELECT * FROM contacts")
	all := []string{fmt.Sprint(kept.Rows)}
	if err != nil {
		all = append(all, said(t, err))
	}
	c.Exec("RESET hallway.read_from")
	explained, err := c.Try("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM contacts")
	if err != nil {
		all = append(all, said(t, err))
	}
	all = append(all, fmt.Sprint(explained.Rows))
	tables := super.Query(`SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'v')
		AND relnamespace IN ('hallway'::regnamespace, 'hallway_cache'::regnamespace, 'hallway_sync'::regnamespace)`)
	require.Greater(t, len(tables), 10)
	for _, x := range tables {
		res, err := c.Try("SELECT * FROM %s", x[0])
		if err != nil {
			require.Equal(t, "42501", harness.SQLState(err), "%s: %v", x[0], err)
		}
		all = append(all, fmt.Sprint(res.Rows))
	}
	return strings.Join(all, "\n")
}
