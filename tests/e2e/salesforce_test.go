package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	connector "github.com/hallwaydb/hallway/connectors/salesforce"
	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// startSalesforce is an org in memory and a server for it. Its clock stands in
// 2026, so that what it says is always the same.
func startSalesforce(t *testing.T, c *harness.Conn, opts salesforce.Options) *salesforce.Server {
	t.Helper()
	opts.Clock = func() time.Time { return time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC) }
	org := salesforce.New(opts)
	t.Cleanup(org.Close)
	c.Exec(`CREATE SERVER salesforce FOREIGN DATA WRAPPER hallway OPTIONS (connector 'salesforce', instance_url '%s');
		CREATE USER MAPPING FOR PUBLIC SERVER salesforce OPTIONS (client_id '%s', client_secret '%s'); CREATE SCHEMA crm`,
		org.URL, salesforce.ClientID, salesforce.ClientSecret)
	return org
}

func TestSalesforce_Docs(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{})
	ids, err := org.Insert("Account",
		map[string]any{"Name": "Acme", "Industry": "Technology", "AnnualRevenue": 1200000, "ERP_Key__c": "A-100", "Segments__c": "Retail;Online", "Active__c": true},
		map[string]any{"Name": "Globex", "Industry": "Banking", "AnnualRevenue": 350000, "ERP_Key__c": "A-200"})
	require.NoError(t, err)
	_, err = org.Insert("Contact", map[string]any{"LastName": "Byron", "FirstName": "Ada", "Email": "ada@example.com", "AccountId": ids[0]},
		map[string]any{"LastName": "Hopper", "FirstName": "Grace", "Email": "grace@example.com"})
	require.NoError(t, err)
	_, err = org.Insert("Opportunity", map[string]any{"Name": "Looms", "StageName": "Prospecting", "Amount": 5000, "CloseDate": "2026-04-01", "AccountId": ids[0]})
	require.NoError(t, err)
	sql := func(name, script string) {
		t.Helper()
		sample(t, "salesforce.md", name, sqlSample(psqlSession(t, db, script)))
	}
	sql("import", `
IMPORT FOREIGN SCHEMA "default" LIMIT TO (account, contact, opportunity)
  FROM SERVER salesforce INTO crm;
\d crm.contact`)
	sql("pushdown", `
EXPLAIN (COSTS OFF)
SELECT name, annualrevenue FROM crm.account
 WHERE annualrevenue > 100000 AND renewal__c IS NULL AND createddate >= '2026-01-01'
 ORDER BY annualrevenue DESC LIMIT 10;
EXPLAIN (COSTS OFF)
SELECT id FROM crm.account WHERE name ILIKE '%acme%' AND industry IN ('Banking', 'Technology');`)
	c.Exec("ALTER FOREIGN TABLE crm.opportunity OPTIONS (ADD estimated_rows '50000')") // of one, either way costs a call
	sql("aggregate", `
EXPLAIN (COSTS OFF)
SELECT accountid, count(*), max(closedate) FROM crm.opportunity
 WHERE closedate >= '2026-01-01' GROUP BY accountid;`)
	c.Exec("ALTER FOREIGN TABLE crm.opportunity OPTIONS (DROP estimated_rows)")
	sql("related", `
CREATE FOREIGN TABLE crm.person (
  id      text OPTIONS (field 'Id', key 'true') NOT NULL,
  name    text OPTIONS (field 'Name'),
  company text OPTIONS (field 'Account.Name'),
  owner   text OPTIONS (field 'Owner.Email')
) SERVER salesforce OPTIONS (object 'Contact');
SELECT name, company, owner FROM crm.person WHERE company = 'Acme';`)
	sql("writes", `
INSERT INTO crm.contact (lastname, firstname, email, accountid)
SELECT 'Turing', 'Alan', 'alan@example.com', id FROM crm.account WHERE erp_key__c = 'A-100'
RETURNING id, name, createddate;
UPDATE crm.account SET industry = 'Other', active__c = false WHERE name = 'Globex' RETURNING name, industry;
DELETE FROM crm.contact WHERE lastname = 'Hopper';`)
	sql("upsert", `
ALTER FOREIGN TABLE crm.account OPTIONS (ADD upsert_key 'erp_key__c');
INSERT INTO crm.account (erp_key__c, name) VALUES ('A-100', 'Acme Ltd'), ('A-300', 'Initech')
RETURNING erp_key__c, name, annualrevenue, hallway.was_created();
ALTER FOREIGN TABLE crm.account OPTIONS (DROP upsert_key);`)
	sql("refused", `
INSERT INTO crm.account (name, erp_key__c) VALUES ('Umbrella', 'U-1'), ('Acme again', 'A-100');
UPDATE crm.contact SET email = 'nowhere' WHERE lastname = 'Byron';
INSERT INTO crm.opportunity (name, stagename, closedate, amount) VALUES ('Returns', 'Prospecting', '2026-05-01', -1);
INSERT INTO crm.opportunity (name, closedate) VALUES ('Nothing', '2026-05-01');
INSERT INTO crm.contact (lastname, accountid) VALUES ('Nobody', '001Hw00000000zzAAA');
UPDATE crm.account SET createddate = now();`)
	sample(t, "salesforce.md", "server options", optionTable(connector.New(), connectors.OnServer))
	sample(t, "salesforce.md", "user mapping options", optionTable(connector.New(), connectors.OnUserMapping))
	sample(t, "salesforce.md", "table options", optionTable(connector.New(), connectors.OnTable))
}

// Two hundred records go into a request, whatever the statement, and all of them or
// none.
func TestSalesforce_Batches(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{})
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (account) FROM SERVER salesforce INTO crm`)
	org.ResetCalls()
	c.Exec("INSERT INTO crm.account (name, erp_key__c, numberofemployees) SELECT 'P' || i, 'k' || i, i FROM generate_series(1, 950) i")
	require.Equal(t, 5, org.Calls()["collection_create"])
	require.Equal(t, 5, org.Calls()[""], "and no other")
	c.Exec("UPDATE crm.account SET website = 'https://' || erp_key__c || '.example' WHERE numberofemployees <= 420")
	require.Equal(t, 3, org.Calls()["collection_update"])
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (upsert_key 'erp_key__c')")
	c.Exec("INSERT INTO crm.account (erp_key__c, name) SELECT 'k' || i, 'again' FROM generate_series(901, 1000) i")
	require.Equal(t, 1, org.Calls()["collection_upsert"])
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (DROP upsert_key)")
	require.Equal(t, "1000", c.Value("SELECT count(*) FROM crm.account"))
	c.Exec("DELETE FROM crm.account WHERE numberofemployees < 301")
	require.Equal(t, 2, org.Calls()["collection_delete"])
	require.Equal(t, "700", c.Value("SELECT count(*) FROM crm.account"))

	// Of a request that has a refused row nothing is left.
	before := c.Value("SELECT count(*) FROM crm.account")
	e := c.Fails("23505", "INSERT INTO crm.account (name, erp_key__c) SELECT 'x', CASE WHEN i = 150 THEN 'K999' ELSE 'new' || i END FROM generate_series(1, 200) i")
	require.Contains(t, e.Message, "[Salesforce]: duplicate value found: ERP_Key__c duplicates value on record with id: 001")
	require.Equal(t, "erp_key__c", e.ColumnName)
	require.Contains(t, e.Detail, "Row 150")
	require.Equal(t, before, c.Value("SELECT count(*) FROM crm.account"))

	// A record that somebody else has deleted keeps none of the others from it.
	gone := c.Value("SELECT id FROM crm.account WHERE numberofemployees = 500")
	c.Exec("CREATE TEMP TABLE ids AS SELECT id FROM crm.account WHERE numberofemployees BETWEEN 495 AND 504")
	require.NoError(t, org.Remove("Account", gone))
	c.Exec("UPDATE crm.account SET phone = '1' WHERE id IN (SELECT id FROM ids)")
	require.Equal(t, "9", c.Value("SELECT count(*) FROM crm.account WHERE phone = '1'"))

	// A row that somebody holds can be tried again.
	org.FailRow("again", "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
	c.Fails("55P03", "UPDATE crm.account SET phone = '2' WHERE name = 'again'")
	harness.JudgeSOQL(t, org.Statements(), salesforce.Strings, 8, 1)
}

// A scan of many rows is a job of the Bulk API, which ends with its query.
func TestSalesforce_Bulk(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{BulkPage: 30})
	for i := range 80 {
		_, err := org.Insert("Account", map[string]any{"Name": fmt.Sprintf("A%02d\r\n\"%d\"", i, i), "NumberOfEmployees": i})
		require.NoError(t, err)
	}
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (account) FROM SERVER salesforce INTO crm`)
	const all = "SELECT md5(string_agg(concat_ws('|', id, name, website, numberofemployees, active__c, createddate), ',' ORDER BY id)) FROM crm.account"
	paged := c.Value("%s", all)
	require.Zero(t, org.Calls()["bulk_query"], "80 rows are few")
	c.Exec("ALTER SERVER salesforce OPTIONS (ADD bulk_min_rows '50')")
	require.Equal(t, paged, c.Value("%s", all))
	require.Equal(t, 1, org.Calls()["bulk_query"])
	require.Equal(t, 3, org.Calls()["bulk_results"])
	for query, want := range map[string]string{
		"SELECT name FROM crm.account":                             "POST /services/data/v62.0/jobs/query",
		"SELECT name FROM crm.account ORDER BY numberofemployees":  "POST /services/data/v62.0/jobs/query",
		"SELECT name FROM crm.account LIMIT 70":                    "GET /services/data/v62.0/query?",
		"SELECT name FROM crm.account WHERE numberofemployees = 7": "GET /services/data/v62.0/query?",
		"SELECT name, billingaddress FROM crm.account":             "GET /services/data/v62.0/query?",
	} {
		require.Contains(t, fmt.Sprint(c.Query("EXPLAIN (COSTS OFF) %s", query)), "Hallway Request: "+want, query)
	}
	c.Exec("ALTER SERVER salesforce OPTIONS (ADD bulk 'never')")
	require.Contains(t, fmt.Sprint(c.Query("EXPLAIN SELECT name FROM crm.account")), "GET ")
	c.Exec("ALTER SERVER salesforce OPTIONS (SET bulk 'auto')")

	// The job never comes to its end; the query does.
	gone := func() bool { return org.Jobs() == 0 }
	require.Eventually(t, gone, time.Minute, 10*time.Millisecond)
	org.Configure(func(o *salesforce.Options) { o.BulkPolls = 1 << 30 })
	c.Exec("SET statement_timeout = '2s'")
	c.Fails("57014", "SELECT name FROM crm.account")
	c.Exec("RESET statement_timeout")
	require.Eventually(t, gone, time.Minute, 10*time.Millisecond, "the job is aborted and taken away")
	org.Configure(func(o *salesforce.Options) { o.BulkPolls, o.BulkFailure = 0, "InternalServerError: try later" })
	e := c.Fails("HV000", "SELECT name FROM crm.account")
	require.Contains(t, e.Message, `the job that reads Account has ended as "Failed": InternalServerError: try later`)
	harness.JudgeSOQL(t, org.Statements(), salesforce.Strings, 2, 0)
}

// Many rows at once are a job of the Bulk API, if there is time for it.
func TestSalesforce_Loads(t *testing.T) {
	db := env.Database(t)
	c, admin := db.Connect(t), db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{})
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (account) FROM SERVER salesforce INTO crm`)
	c.Exec("ALTER SERVER salesforce OPTIONS (ADD bulk_write_rows '300')")
	const insert = "INSERT INTO crm.account (name, erp_key__c, numberofemployees) SELECT 'P' || i, 'k' || i, i FROM generate_series(%d, %d) i"
	org.ResetCalls()
	c.Exec(insert, 1, 400)
	require.Equal(t, []int{2, 0}, []int{org.Calls()["collection_create"], org.Calls()["bulk_ingest"]}, "30 seconds are no time for a job")
	c.Exec("SET statement_timeout = '10min'")
	jobs := func() int { return org.Calls()["bulk_ingest"] }
	c.Exec(insert, 401, 1000)
	require.Equal(t, 1, jobs())
	c.Exec("UPDATE crm.account SET website = 'https://' || erp_key__c || '.example' WHERE numberofemployees <= 600")
	require.Equal(t, 2, jobs())
	c.Exec("DELETE FROM crm.account WHERE numberofemployees > 600")
	require.Equal(t, 3, jobs())
	var lines strings.Builder
	for i := range 700 {
		fmt.Fprintf(&lines, "C%d\tk%d\n", i, 1001+i)
	}
	_, err := c.CopyFrom(t.Context(), strings.NewReader(lines.String()), "COPY crm.account (name, erp_key__c) FROM STDIN")
	require.NoError(t, err)
	require.Equal(t, 4, jobs())
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (upsert_key 'erp_key__c')")
	c.Exec("INSERT INTO crm.account (erp_key__c, name) SELECT 'k' || i, 'P' || i FROM generate_series(401, 1400) i")
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (DROP upsert_key)")
	require.Equal(t, 5, jobs())
	// What collections wrote, the jobs' rows, 400 made by the upsert and 400 changed.
	require.Equal(t, "1700 1400 600", c.Value("SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE name LIKE 'P%%'), count(website)) FROM crm.account"))
	require.Equal(t, map[string]int{"collection_create": 2}, map[string]int{"collection_create": org.Calls()["collection_create"] + org.Calls()["collection_update"] + org.Calls()["collection_delete"] + org.Calls()["collection_upsert"]})
	eventually := func(want, query string) {
		t.Helper()
		got := ""
		assert.Eventually(t, func() bool { got = admin.Value("%s", query); return got == want }, 30*time.Second, 20*time.Millisecond)
		require.Equal(t, want, got)
	}
	eventually("delete applied 400 400, insert applied 2100 2100, update applied 600 600, upsert applied 400 400",
		`SELECT string_agg(concat_ws(' ', operation, state, n, keys), ', ' ORDER BY operation) FROM
		 (SELECT operation, state, count(*) AS n, count(DISTINCT key) AS keys FROM hallway.write_log GROUP BY 1, 2) w`)

	// Rows that are refused leave the others; the first of them is the statement's error.
	admin.Exec("DELETE FROM hallway.write_log")
	e := c.Fails("23505", "INSERT INTO crm.account (name, erp_key__c) SELECT 'x', CASE WHEN i IN (150, 170) THEN 'K999' ELSE 'new' || i END FROM generate_series(1, 400) i")
	require.Contains(t, e.Message, "[Salesforce]: duplicate value found: ERP_Key__c duplicates value on record with id: 001")
	require.Equal(t, "erp_key__c", e.ColumnName)
	require.Contains(t, e.Detail, "Row 150")
	const states = "SELECT string_agg(concat_ws(' ', state, n), ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM hallway.write_log GROUP BY state) s"
	eventually("orphaned 398, refused 2", states)
	require.Equal(t, "398", c.Value("SELECT count(*) FROM crm.account WHERE name = 'x'"))

	// What is rolled back can be undone.
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (ADD on_rollback 'compensate')")
	admin.Exec("DELETE FROM hallway.write_log")
	before := jobs()
	c.Exec("BEGIN; INSERT INTO crm.account (name) SELECT 'undone' FROM generate_series(1, 400); ROLLBACK")
	require.Equal(t, before+1, jobs())
	eventually("compensated 400", states)
	require.Equal(t, "0", c.Value("SELECT count(*) FROM crm.account WHERE name = 'undone'"))
	c.Exec("ALTER FOREIGN TABLE crm.account OPTIONS (DROP on_rollback)")

	// A statement that is cancelled, or whose time is over, has its job aborted, and
	// knows how far it came, though its rows are all alike.
	org.Configure(func(o *salesforce.Options) { o.BulkPolls, o.IngestStep = 1<<30, 10 })
	c.Exec("ALTER SERVER salesforce OPTIONS (ADD bulk_writes 'always')")
	pid := c.Value("SELECT pg_backend_pid()")
	for _, how := range []string{"cancelled", "late"} {
		admin.Exec("DELETE FROM hallway.write_log")
		org.ResetCalls()
		over := make(chan bool, 1)
		if how == "late" {
			c.Exec("SET statement_timeout = '2s'")
			over <- true
		} else {
			go func() {
				far := assert.Eventually(t, func() bool { return org.Calls()["bulk_poll"] >= 3 }, 30*time.Second, time.Millisecond)
				admin.Exec("SELECT pg_cancel_backend(%s)", pid)
				over <- far
			}()
		}
		c.Fails("57014", "INSERT INTO crm.account (name) SELECT '%s' FROM generate_series(1, 400) i", how)
		require.True(t, <-over)
		c.Exec("SET statement_timeout = '10min'")
		require.Eventually(t, func() bool { return org.Jobs() == 0 }, time.Minute, 10*time.Millisecond, "the job is aborted")
		done, err := strconv.Atoi(c.Value("SELECT count(*) FROM crm.account WHERE name = '%s'", how))
		require.NoError(t, err)
		require.Less(t, done, 400)
		if done > 0 || how == "cancelled" { // else there was not even time to begin
			eventually(fmt.Sprintf("orphaned %d, refused %d", done, 400-done), states)
		}
	}
}

// What the org's limits do to a query.
func TestSalesforce_Limits(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{})
	_, err := org.Insert("Account", map[string]any{"Name": "Acme"})
	require.NoError(t, err)
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (account) FROM SERVER salesforce INTO crm`)
	org.FailNext(1, 403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
	require.Equal(t, "Acme", c.Value("SELECT name FROM crm.account"), "asked again")
	org.Configure(func(o *salesforce.Options) { o.DailyLimit = 1 })
	e := c.Fails("53400", "SET statement_timeout = '5s'; SELECT name FROM crm.account")
	require.Contains(t, e.Message, "[Salesforce]: the API's rate limit is reached")
	c.Exec("SET statement_timeout = 0")
	org.Configure(func(o *salesforce.Options) { o.DailyLimit = 100_000 })
	org.FailNext(1, 403, "INSUFFICIENT_ACCESS", "insufficient access rights on object id")
	c.Fails("42501", "SELECT name FROM crm.account")
	org.Drop("Account")
	c.Fails("HV000", "SELECT name FROM crm.account")
}

// Values that could end a literal, in every place that they can be in, and 100 KB of
// them.
func TestSalesforce_Injection(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	org := startSalesforce(t, c, salesforce.Options{})
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (everything__c) FROM SERVER salesforce INTO crm; CREATE TABLE said (v text)`)
	for _, v := range []string{`$a$'$a$`, `$a$\$a$`, `$a$\'$a$`, `$a$' OR Name != '$a$`, `$a$') OR (Name != '$a$`, `$a$"$a$`, `$a${fields}$a$`, `E'a\nb'`, `E'\\n'`, `E'\x01\x1f\x7f'`, `$a$%_\%$a$`,
		`$a$"}],"allOrNone":false,"x":[{"$a$`, `U&'\FFFD\2028x'`, `'../../limits?x=1&y=#z'`, fmt.Sprintf("repeat($a$') OR (Name != '$a$, %d)", 100_000/17)} {
		c.Exec("TRUNCATE said; INSERT INTO said SELECT %s", v)
		c.Exec("INSERT INTO crm.everything__c (name, long__c, key__c, exact__c) SELECT 'x', v, left(v, 59), left(v, 50) FROM said")
		require.Equal(t, "t", c.Value("SELECT long__c = v FROM crm.everything__c, said"), v)
		for _, where := range []string{"key__c = left($1, 59)", "key__c = ANY (ARRAY[left($1, 59), 'other'])", "key__c LIKE replace(replace(replace(left($1, 59), '\\', '\\\\'), '%', '\\%'), '_', '\\_')",
			"NOT key__c <> left($1, 59)", "starts_with(key__c, left($1, 50))", "long__c = $1", "exact__c IS NOT DISTINCT FROM left($1, 50)"} {
			c.Exec("PREPARE q (text) AS SELECT count(*) FROM crm.everything__c WHERE %s", where)
			require.Equal(t, "1", c.Value("%s", c.Value("SELECT 'EXECUTE q(' || quote_literal(v) || ')' FROM said")), "%s: %s", where, v)
			c.Exec("DEALLOCATE q")
		}
		require.Equal(t, "0", c.Value("SELECT count(*) FROM crm.everything__c, said WHERE id = v OR ref__c = v OR name = v"), v)
		c.Exec("ALTER FOREIGN TABLE crm.everything__c OPTIONS (upsert_key 'key__c')")
		if v != `'../../limits?x=1&y=#z'` { // a slash cannot stand in the path
			c.Exec("INSERT INTO crm.everything__c (key__c, name) SELECT left(v, 59), 'y' FROM said")
			require.Equal(t, "y", c.Value("SELECT string_agg(name, '') FROM crm.everything__c"), v)
		}
		c.Exec("ALTER FOREIGN TABLE crm.everything__c OPTIONS (DROP upsert_key); DELETE FROM crm.everything__c")
	}
	harness.JudgeSOQL(t, org.Statements(), salesforce.Strings, 70, 0)
}

// The example runs as it is.
func TestSalesforce_Example(t *testing.T) {
	db := env.Database(t)
	org := salesforce.New(salesforce.Options{})
	t.Cleanup(org.Close)
	script, err := os.ReadFile(filepath.Join("..", "..", "examples", "salesforce.sql"))
	require.NoError(t, err)
	text := strings.Replace(string(script), "CREATE EXTENSION IF NOT EXISTS hallway;", "", 1) // it is there
	text = strings.ReplaceAll(text, "(secret 'salesforce')", fmt.Sprintf("(client_id '%s', client_secret '%s')", salesforce.ClientID, salesforce.ClientSecret))
	out := psqlSession(t, db, "\\set instance '"+org.URL+"'\n"+text)
	require.NotContains(t, out, "ERROR")
	require.Positive(t, org.Calls()["query"])
	require.Equal(t, 1, org.Calls()["create"])
}

// A replica asks for what was changed and what was deleted, and for no more.
func TestSalesforce_Replica(t *testing.T) {
	org := salesforce.New(salesforce.Options{PageSize: 200})
	t.Cleanup(org.Close)
	rows := make([]map[string]any, 1500)
	for i := range rows {
		rows[i] = map[string]any{"Name": fmt.Sprintf("Account %d", i)}
	}
	ids, err := org.Insert("Account", rows...)
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, sidecar.Address())
	c := db.Connect(t)
	c.Exec(`CREATE SERVER salesforce FOREIGN DATA WRAPPER hallway OPTIONS (connector 'salesforce', instance_url '%s', cache 'read_through');
		CREATE USER MAPPING FOR PUBLIC SERVER salesforce OPTIONS (client_id '%s', client_secret '%s'); CREATE SCHEMA crm;
		IMPORT FOREIGN SCHEMA "default" LIMIT TO (account) FROM SERVER salesforce INTO crm;
		SELECT hallway.replicate('crm.account', '1 h')`, org.URL, salesforce.ClientID, salesforce.ClientSecret)
	c.Exec("CALL hallway.wait_for_sync('crm.account')")
	count := func() string {
		return c.Value("SET hallway.read_from = 'cache'; SELECT count(*) || ' ' || count(*) FILTER (WHERE name = 'Changed') FROM crm.account")
	}
	require.Equal(t, "1500 0", count())

	require.NoError(t, org.Remove("Account", ids[3], ids[700], ids[1499]))
	require.NoError(t, org.Change("Account", ids[10], map[string]any{"Name": "Changed"}))
	_, err = org.Insert("Account", map[string]any{"Name": "New"})
	require.NoError(t, err)
	org.ResetCalls()
	c.Exec("CALL hallway.wait_for_sync('crm.account')")
	require.Equal(t, "1498 1", count())
	for _, soql := range org.Statements() {
		require.Contains(t, soql, "SystemModstamp >= ", "something was listed whole")
	}
	require.Contains(t, strings.Join(org.Statements(), "\n"), "SELECT Id, SystemModstamp FROM Account WHERE IsDeleted = TRUE AND SystemModstamp >= ")
	harness.JudgeSOQL(t, org.Statements(), salesforce.Strings, 2, 0)
}
