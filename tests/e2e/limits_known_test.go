package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// A statement of which it is known that it needs more calls than it may make is told
// so by the first answer that says how many there are. One that may do with fewer is
// not.
func TestLimits_ToldAtOnce(t *testing.T) {
	const pages = 10 // of a search
	api := hubspot.New(hubspot.Options{})
	defer api.Close()
	api.Seed("contacts", pages*hubspot.MaxSearchPage, func(i int) map[string]string {
		return map[string]string{"firstname": "Ada", "lastname": fmt.Sprint(i)}
	})
	api.Seed("companies", 1, func(int) map[string]string { return map[string]string{"name": "Ada"} })
	c := hubspotRoom(t, api, "contacts, companies")
	c.Exec(`ALTER SERVER hs OPTIONS (ADD max_calls '3', ADD cache 'off');
		SELECT * FROM crm.contacts LIMIT 0; SELECT * FROM crm.companies LIMIT 0;
		CREATE TABLE crm.names (name text); INSERT INTO crm.names VALUES ('Ada'), ('Bob');
		CREATE TABLE crm.nobody (name text);
		CREATE FOREIGN TABLE crm.crowd (firstname text, lastname text) SERVER hs OPTIONS (object 'contacts', estimated_rows '10000000');
		CREATE FUNCTION crm.is(bool) RETURNS bool IMMUTABLE LANGUAGE plpgsql COST 1e6 AS 'BEGIN RETURN $1; END';
		CREATE VIEW crm.few AS SELECT name FROM crm.names WHERE crm.is(name = 'Bob') LIMIT 1;
		CREATE VIEW crm.none AS SELECT name FROM crm.names WHERE crm.is(name = 'Cid') LIMIT 1`)

	const all = `SELECT lastname FROM crm.contacts WHERE firstname = 'Ada'`
	// The scan is the outer side of a hash join. If the inner side is costlier, its rows
	// come after the first of the scan.
	const hashed = `SET LOCAL enable_nestloop = off; SELECT c.lastname `
	for _, s := range []struct {
		name, sql string
		calls     int    // of one that is refused
		refused   string // by the first answer, or when the calls are made; empty: it is not
	}{
		{"all rows", all, 1, "9 calls more"},
		{"sorted", all + ` ORDER BY lastname`, 1, "9 calls more"},
		{"the first in PostgreSQL's order", all + ` ORDER BY lastname LIMIT 1`, 1, "9 calls more"},
		{"groups", `SELECT lastname, count(*) FROM crm.contacts WHERE firstname = 'Ada' GROUP BY 1 HAVING count(*) > 1`, 1, "9 calls more"},
		{"into a table", `INSERT INTO crm.names ` + all, 1, "9 calls more"},
		{"one of a UNION", all + ` UNION ALL SELECT name FROM crm.names`, 1, "9 calls more"},
		{"a join that reads all", `SELECT count(*) FROM crm.contacts c JOIN crm.names n ON c.lastname = n.name WHERE c.firstname = 'Ada'`, 1, "9 calls more"},
		{"a join whose other side is read first", hashed + `FROM crm.crowd c JOIN (SELECT name FROM crm.names LIMIT 1) n ON md5(c.lastname) = n.name WHERE c.firstname = 'Ada'`, 1, "9 calls more"},
		{"a join that tries a row first, and keeps all", hashed + `FROM crm.crowd c LEFT JOIN crm.none n ON md5(c.lastname) = n.name WHERE c.firstname = 'Ada'`, 1, "9 calls more"},
		{"a join that tries a row first", hashed + `FROM crm.crowd c JOIN crm.few n ON md5(c.lastname) = n.name WHERE c.firstname = 'Ada'`, 3, "max_calls allows 3"},
		{"rows to be written", `INSERT INTO crm.contacts (firstname) SELECT 'Bob' FROM generate_series(1, 450)`, 0, "5 calls more"},
		{"two scans", `SELECT (SELECT count(*) FROM crm.companies WHERE name = 'Ada') + (SELECT count(*) FROM (` + all + ` LIMIT 600 OFFSET 0) s)`, 3, "max_calls allows 3"},
		{"more than there was at first", all + ` AND md5(lastname) > '' LIMIT 1999`, 3, "max_calls allows 3"},
		// Of those that are ended early a page may be under way when the next one begins.
		{"a join without its other side", `SELECT count(*) FROM crm.contacts c JOIN crm.nobody n ON c.lastname = n.name WHERE c.firstname = 'Ada'`, 0, ""},
		{"a join that tries a row before its other side", hashed + `FROM crm.crowd c JOIN crm.none n ON md5(c.lastname) = n.name WHERE c.firstname = 'Ada' AND right(c.lastname, 4)::int >= 250`, 0, ""},
		{"a LIMIT", all + ` LIMIT 250`, 0, ""},
		{"a LIMIT with a condition of PostgreSQL's", all + ` AND md5(lastname) > '' LIMIT 150`, 0, ""},
		{"EXISTS", `SELECT EXISTS (` + all + `)`, 0, ""},
		{"a LIMIT above a function", `SELECT * FROM (` + all + ` OFFSET 0) s LIMIT 250`, 0, ""},
		{"ranks", `SELECT * FROM (SELECT row_number() OVER () AS n FROM crm.contacts WHERE firstname = 'Ada') s WHERE n <= 10`, 0, ""},
		{"a function that stops", `DO $$ DECLARE r record; BEGIN FOR r IN ` + all + ` LOOP EXIT; END LOOP; END $$`, 0, ""},
		{"a variable", `DO $$ DECLARE x text; BEGIN ` + `SELECT lastname INTO x FROM crm.contacts WHERE firstname = 'Ada'; END $$`, 0, ""},
		{"a cursor", `BEGIN; DECLARE a CURSOR FOR ` + all + `; FETCH 10 FROM a; COMMIT`, 0, ""},
	} {
		t.Run(s.name, func(t *testing.T) {
			api.ResetCalls()
			_, err := c.Try("%s", s.sql)
			if s.refused == "" {
				require.NoError(t, err)
				return
			}
			made := 0
			for _, n := range api.Calls() {
				made += n
			}
			require.Equal(t, s.calls, made, "%v: %s", api.Calls(), harness.Describe(err))
			require.Equal(t, "53400", harness.SQLState(err), harness.Describe(err))
			require.Contains(t, harness.Describe(err), s.refused)
		})
	}

	// The same of a rate: ten searches take 45 seconds.
	c.Exec(`ALTER SERVER hs OPTIONS (DROP max_calls, SET searches_per_second '0.2'); SET statement_timeout = '30s'; SELECT * FROM crm.contacts LIMIT 0`)
	api.ResetCalls()
	start := time.Now()
	_, err := c.Try("%s", all)
	require.Equal(t, "53400", harness.SQLState(err), harness.Describe(err))
	require.Contains(t, harness.Describe(err), "It needs 9 calls more, the last of which could be made in")
	require.Contains(t, harness.Describe(err), "Set statement_timeout to 4")
	require.Less(t, time.Since(start), 20*time.Second, "it did not wait for a second call")
	require.Equal(t, 1, api.Calls()["search"])
	c.Exec("RESET statement_timeout")
}

// Two roles, each with a user mapping of its own, read one base in parallel: it counts
// the calls of both, and shuts for half a minute when it is asked too often.
func TestLimits_OfAnAccount(t *testing.T) {
	const each = 5
	db := env.Database(t)
	admin := db.Connect(t)
	admin.Exec(`DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ann') THEN CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; END IF; END $$`)
	for try := 1; ; try++ {
		api := airtable.New(airtable.Options{PerSecond: 5, Lockout: 30 * time.Second})
		t.Cleanup(api.Close)
		crm := airtable.AddCRM(api)
		_, err := api.Seed(crm.Contacts, map[string]any{"Name": "Ada"})
		require.NoError(t, err)
		admin.Exec(`DROP SCHEMA IF EXISTS base CASCADE; DROP SERVER IF EXISTS base CASCADE;
			CREATE SERVER base FOREIGN DATA WRAPPER hallway OPTIONS (connector 'airtable', base_url '%[1]s/v0', base 'CRM', cache 'off');
			CREATE USER MAPPING FOR ann SERVER base OPTIONS (token '%[2]s', client_id 'ann');
			CREATE USER MAPPING FOR bob SERVER base OPTIONS (token '%[2]s', client_id 'bob');
			CREATE SCHEMA base; CREATE FOREIGN TABLE base.contacts (name text) SERVER base OPTIONS (object 'Contacts');
			GRANT USAGE ON SCHEMA base TO ann, bob; GRANT SELECT ON base.contacts TO ann, bob`, api.URL, api.Token)
		stalled := watchStalls(t)
		var refused atomic.Pointer[error]
		var wg sync.WaitGroup
		for _, role := range []string{"ann", "bob"} {
			for range each {
				c := db.ConnectAs(t, role)
				c.Exec("SET statement_timeout = '25s'") // no time for a lock-out
				wg.Go(func() {
					if got, err := c.Try("SELECT name FROM base.contacts"); err != nil {
						refused.Store(&err)
					} else {
						assert.Len(t, got.Rows, 1)
					}
				})
			}
		}
		wg.Wait()
		if refused.Load() == nil {
			require.GreaterOrEqual(t, len(api.Requests()), 2*each)
			return
		}
		// What a stalled machine held up arrives together.
		if stall := stalled(); stall < 100*time.Millisecond || try == 3 {
			t.Fatalf("%s; the machine stalled for %s", harness.Describe(*refused.Load()), stall)
		}
	}
}
