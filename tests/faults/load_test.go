package faults

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// loadRows is how many rows each statement of TestLoads_KilledWhileAJobRuns writes.
const loadRows = 200

// killedLoad is a statement that is under way when the sidecar is killed, with an API of its
// own.
type killedLoad struct {
	name, op string
	// held is the kind of request that is held up then, and whether it is done; empty:
	// the job goes on.
	held string
	done bool
	// least and most are how many rows the API then has, once nobody waits for the job.
	least, most int

	server  string
	org     *salesforce.Server
	reached <-chan struct{}
	release func()
}

// statements of a killedLoad's op, and what finds their rows afterwards. Of those that are
// inserted many are equal and one is refused.
var loadStatements = map[string]struct{ sql, written string }{
	"insert": {"INSERT INTO %[1]s.account (name) SELECT CASE WHEN i = 150 THEN 'bad' WHEN i %% 2 = 0 THEN 'even' ELSE 'odd ' || i END FROM generate_series(1, %[2]d) i",
		"SELECT id FROM %[1]s.account"},
	"update": {"UPDATE %[1]s.account SET website = 'https://example.com'", "SELECT id FROM %[1]s.account WHERE website IS NOT NULL"},
	"upsert": {"INSERT INTO %[1]s.by_key (erp_key__c, name, website) SELECT 'k' || i, 'n', 'https://example.com' FROM generate_series(101, 100 + %[2]d) i",
		"SELECT id FROM %[1]s.account WHERE website IS NOT NULL"},
	"delete": {"DELETE FROM %[1]s.account", "SELECT id FROM %[1]s.before EXCEPT SELECT id FROM %[1]s.account"},
}

// The sidecar is killed while a job of the API has rows, before it is started, while it
// writes, and when it has. The next one asks the job: what it has written is known row by
// row, even where rows are equal, nothing is written twice, and it writes nothing more.
func TestLoads_KilledWhileAJobRuns(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	admin := db.Connect(t)
	cells := []*killedLoad{
		{name: "without rows", op: "insert", held: "bulk_upload"},
		{name: "before the start", op: "insert", held: "bulk_close"},
		{name: "while the start is answered", op: "insert", held: "bulk_close", done: true, most: loadRows - 1},
		{name: "while it writes", op: "insert", least: 1, most: loadRows - 1},
		{name: "when it has", op: "insert", held: "bulk_results", least: loadRows - 1, most: loadRows - 1},
		{name: "while it writes", op: "update", least: 1, most: loadRows - 1},
		{name: "while it writes", op: "upsert", least: 1, most: loadRows - 1},
		{name: "when it has", op: "delete", held: "bulk_results", least: loadRows, most: loadRows},
	}
	failed := make(chan error, len(cells))
	for i, c := range cells {
		c.start(t, admin, i, sidecar.Address())
		session := db.Connect(t)
		session.Exec("SET statement_timeout = '10min'")
		go func() {
			_, err := session.Try(loadStatements[c.op].sql, c.server, loadRows)
			failed <- err
		}()
	}
	for _, c := range cells {
		require.True(t, harness.Eventually(t.Context(), harness.Timeout, c.ready), "%s: %s", c.op, c.name)
	}
	sidecar.Restart(t, true)
	for range cells {
		require.Error(t, <-failed)
	}

	admin = db.Connect(t)
	for _, c := range cells {
		_, _ = admin.Try("SELECT FROM %s.account LIMIT 1", c.server) // wakes the sidecar
	}
	const open = "SELECT count(*) FROM hallway.write_log WHERE settled_at IS NULL AND state <> 'needs_attention'"
	if !harness.Eventually(t.Context(), harness.Timeout, func() bool { return admin.Value(open) == "0" }) {
		t.Error(admin.Query("SELECT server, operation, state, message, count(*) FROM hallway.write_log GROUP BY 1, 2, 3, 4"))
	}
	for _, c := range cells {
		t.Run(c.op+" "+c.name, func(t *testing.T) { c.check(t, admin.On(t)) })
	}
}

// start makes the API and its server, and holds up what is to be.
func (c *killedLoad) start(t *testing.T, admin *harness.Conn, i int, address string) {
	t.Helper()
	c.server, c.org, c.release = fmt.Sprintf("s%d", i), salesforce.New(salesforce.Options{BulkPolls: 1 << 30, IngestStep: 10}), func() {}
	t.Cleanup(c.org.Close)
	c.org.FailRow("bad", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "not this one")
	if c.held == "bulk_results" {
		c.org.Configure(func(o *salesforce.Options) { o.BulkPolls, o.IngestStep = 0, 0 })
	}
	admin.Exec(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'salesforce', address '%[2]s', instance_url '%[3]s', bulk_writes 'always');
		CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (client_id '%[4]s', client_secret '%[5]s');
		CREATE SCHEMA %[1]s;
		CREATE FOREIGN TABLE %[1]s.account (id text OPTIONS (field 'Id', key 'true'), name text OPTIONS (field 'Name'), website text OPTIONS (field 'Website'),
			erp_key__c text OPTIONS (field 'ERP_Key__c')) SERVER %[1]s OPTIONS (object 'Account');
		CREATE FOREIGN TABLE %[1]s.by_key (id text OPTIONS (field 'Id', key 'true'), name text OPTIONS (field 'Name'), website text OPTIONS (field 'Website'),
			erp_key__c text OPTIONS (field 'ERP_Key__c')) SERVER %[1]s OPTIONS (object 'Account', upsert_key 'erp_key__c')`,
		c.server, address, c.org.URL, salesforce.ClientID, salesforce.ClientSecret)
	if c.op != "insert" {
		var rows []map[string]any
		for k := range loadRows {
			rows = append(rows, map[string]any{"Name": "n", "ERP_Key__c": fmt.Sprint("k", k+1)})
		}
		_, err := c.org.Insert("Account", rows...)
		require.NoError(t, err)
		admin.Exec("CREATE TABLE %[1]s.before AS SELECT id FROM %[1]s.account", c.server)
	}
	c.org.ResetCalls()
	if c.held != "" {
		c.reached, c.release = c.org.HoldNext(c.held, c.done)
		t.Cleanup(c.release)
	}
}

// ready says that the sidecar may be killed.
func (c *killedLoad) ready() bool {
	if c.held == "" {
		return c.org.Calls()["bulk_poll"] >= 3
	}
	select {
	case <-c.reached:
		return true
	default:
		return false
	}
}

func (c *killedLoad) check(t *testing.T, admin *harness.Conn) {
	t.Helper()
	if c.release(); c.held == "bulk_close" && !c.done {
		// The start arrives after all.
		require.True(t, harness.Eventually(t.Context(), harness.Timeout, func() bool { return c.org.Calls()["bulk_close"] == 2 }))
	}
	require.Zero(t, c.org.Jobs(), "it does not go on")
	calls := c.org.Calls()
	require.Equal(t, 1, calls["bulk_ingest"])
	require.Zero(t, calls["create"]+calls["update"]+calls["delete"]+calls["upsert"]+
		calls["collection_create"]+calls["collection_update"]+calls["collection_delete"]+calls["collection_upsert"])
	admin.Exec(`CREATE TABLE %s.written AS `+loadStatements[c.op].written, c.server)
	n := 0
	_, err := fmt.Sscan(admin.Value("SELECT count(*) FROM %s.written", c.server), &n)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, c.least)
	require.LessOrEqual(t, n, c.most)
	require.Equal(t, fmt.Sprintf("%d %d %d", n, loadRows-n, loadRows), admin.Value(`SELECT concat_ws(' ', count(*) FILTER (WHERE state = 'orphaned'),
		count(*) FILTER (WHERE state = 'refused'), count(*)) FROM hallway.write_log WHERE server = '%s'`, c.server),
		admin.Query("SELECT state, message, todo, count(*) FROM hallway.write_log WHERE server = '%s' GROUP BY 1, 2, 3", c.server))
	require.Equal(t, "0", admin.Value(`SELECT count(*) FROM %[1]s.written FULL JOIN
		(SELECT key[1] AS id FROM hallway.write_log WHERE server = '%[1]s' AND state = 'orphaned') j USING (id) WHERE j IS NULL OR written IS NULL`, c.server),
		"the keys in the journal are those of the rows that the API has")
}
