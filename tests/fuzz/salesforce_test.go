// Salesforce's side of the fuzzer: an org whose texts are equal without regard to
// case, whose sessions end, whose cursors are forgotten, and which refuses calls.

package fuzz

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// orgColumns are those of Fuzz_A__c and Fuzz_B__c. What the API does not keep as it
// is, an empty text or blanks around one, is not among the values of rows.
func orgColumns() []*column {
	var kept []string
	for _, t := range texts {
		if t != "" && strings.TrimSpace(t) == t {
			kept = append(kept, t)
		}
	}
	field := func(name string) string { return "field '" + name + "'" }
	return []*column{
		{name: "id", typ: "text", class: cText, unique: true, api: true, options: field("Id")},
		{name: "t", typ: "text", class: cText, pool: kept, nulls: 10, api: true, options: field("T__c")},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: kept, nulls: 5, options: field("Tc__c")},
		{name: "n", typ: "numeric", class: cNumeric, pool: []string{"0", "1", "-1", "0.1", "0.5", "-2.25", "10000000000", "0.3", "0.0001", "123456789.123", "12345678.9"}, nulls: 10, api: true, options: field("N__c")},
		{name: "i", typ: "int8", class: cInt, pool: ints("99999999", "-99999999"), nulls: 10, api: true, options: field("I__c")},
		{name: "b", typ: "bool", class: cBool, pool: []string{"t", "f"}, api: true, options: field("B__c")},
		{name: "d", typ: "timestamptz", class: cTimestampTZ, pool: []string{"2024-01-01 00:00:00Z", "2024-01-01 00:00:01Z", "2024-02-29 12:30:00Z", "1999-12-31 23:59:59Z", "1970-01-01 00:00:00Z", "2024-03-10 06:30:00Z"}, nulls: 15, api: true, options: field("D__c")},
		{name: "dt", typ: "date", class: cDate, pool: []string{"2024-01-01", "2024-02-29", "2023-12-31", "1999-12-31", "2000-01-01"}, nulls: 15, api: true, options: field("Dt__c")},
		{name: "s", typ: "text", class: cText, pool: []string{"lead", "customer", "churned"}, nulls: 20, options: field("S__c")},
		{name: "r", typ: "text", class: cText, nulls: 20, api: true, options: field("R__c")},
		{name: "rn", typ: "text", class: cText, options: field("R__r.Name")},
	}
}

func TestDifferential_Salesforce(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 5))
	object := func(name, prefix string) *salesforce.Object {
		return salesforce.Custom(name, prefix, salesforce.Text("Name", 80), salesforce.Text("T__c", 255), salesforce.Text("Tc__c", 255),
			salesforce.Number("double", "N__c", 18, 4), salesforce.Number("int", "I__c", 8, 0), salesforce.Check("B__c"),
			salesforce.Plain("datetime", "D__c"), salesforce.Plain("date", "Dt__c"), salesforce.Picklist("S__c", false, "lead", "customer", "churned"),
			salesforce.Reference("R__c", "R__r", "Account"))
	}
	org := salesforce.New(salesforce.Options{PageSize: 40, Objects: []*salesforce.Object{object("Fuzz_A__c", "c01"), object("Fuzz_B__c", "c02")}})
	defer org.Close()
	cols := orgColumns()
	accounts, err := org.Insert("Account", map[string]any{"Name": "one"}, map[string]any{"Name": "One"}, map[string]any{"Name": "O'Hara"})
	require.NoError(t, err)
	for _, c := range cols {
		if c.name == "r" {
			c.pool = accounts
		}
		if c.name == "rn" {
			c.pool = []string{"one", "One", "O'Hara", "nobody"}
		}
	}

	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER sf FOREIGN DATA WRAPPER hallway OPTIONS (connector 'salesforce', address '%[1]s', instance_url '%[2]s');
		CREATE USER MAPPING FOR PUBLIC SERVER sf OPTIONS (client_id '%[3]s', client_secret '%[4]s')`,
		sidecar.Address(), org.URL, salesforce.ClientID, salesforce.ClientSecret)
	written := cols[:len(cols)-1] // the last is a related record's
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE FOREIGN TABLE sf_%[1]s (%[2]s) SERVER sf OPTIONS (object 'Fuzz_%[3]s__c')", x, columnList(cols, true), strings.ToUpper(x))
		c.Exec("CREATE FOREIGN TABLE bulk_%[1]s (%[2]s) SERVER sf OPTIONS (object 'Fuzz_%[3]s__c', bulk 'always')", x, columnList(cols, true), strings.ToUpper(x))
		c.Exec("CREATE FOREIGN TABLE w_%[1]s (%[2]s) SERVER sf OPTIONS (object 'Fuzz_%[3]s__c')", x, columnList(written, true), strings.ToUpper(x))
		c.Exec("CREATE TABLE wl_%s (%s)", x, columnList(written, false))
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		require.NoError(t, fillCRM(context.Background(), c, rng, written, "w_"+x, "wl_"+x, 120))
		require.Empty(t, c.Query("(SELECT * FROM wl_%[1]s EXCEPT ALL SELECT * FROM wl_%[1]s_meant) UNION ALL (SELECT * FROM wl_%[1]s_meant EXCEPT ALL SELECT * FROM wl_%[1]s)", x),
			"what INSERT ... RETURNING said is what a scan reads")
		c.Exec("INSERT INTO %[1]s SELECT * FROM sf_%[1]s; ANALYZE %[1]s", x)
		require.Equal(t, "120", c.Value("SELECT count(*) FROM %s", x))
	}
	require.Equal(t, 240, org.Calls()["create"], "RETURNING wants each row by itself")
	for _, r := range c.Query("SELECT id FROM a UNION SELECT id FROM b ORDER BY 1") {
		cols[0].pool = append(cols[0].pool, r[0])
	}
	// Texts that the API would refuse as ids, or take for others.
	cols[0].pool = append(cols[0].pool, "nonsense", strings.ToLower(cols[0].pool[0]), cols[0].pool[0][:15])

	org.ResetCalls()
	const sessionCalls, refuseEvery, forgetEvery = 150, 199, 61
	org.Configure(func(o *salesforce.Options) {
		o.ShortPages, o.SessionCalls, o.RefuseEvery, o.ForgetEvery = 5, sessionCalls, refuseEvery, forgetEvery
	})
	target := target{"Salesforce", "sf_a", "sf_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 40 * time.Second}
	g := &gen{rng: rng, cols: cols, crm: true}
	push := pushCount{conn: c, table: "sf_a"}
	g.watch = push.add
	bound := &callBound{apis: []func() []kit.Call{org.Requests}, besides: []string{"describe", "limits", "counts"}}
	bound.watch(t, f, 3)
	f.loop(t, g, max(1, *flagN/4), func() []variant { return []variant{randomVariant(rng, target, f.local)} })
	bound.report(t)
	push.report(t)
	f.requirePushed(t)

	calls := org.Calls()
	t.Logf("calls: %v", calls)
	require.Zero(t, calls["bulk_query"], "no scan is large")
	require.LessOrEqual(t, calls["token"], calls[""]/sessionCalls+1, "a session that ends costs one login")
	if *flagN >= 1000 { // fewer make few calls
		for _, fault := range []string{"refused", "ended", "forgotten"} {
			require.Positive(t, calls[fault], fault)
		}
	}

	// The same by the Bulk API, in parts of a few rows.
	org.Configure(func(o *salesforce.Options) { o.BulkPage, o.BulkPolls = 25, 1 })
	f.answered = nil // a job is looked at as often as it takes
	bulk := target
	bulk.name, bulk.a, bulk.b = "Salesforce in bulk", "bulk_a", "bulk_b"
	f.loop(t, g, max(1, *flagN/16), func() []variant { return []variant{randomVariant(rng, bulk, f.local)} })
	require.Positive(t, org.Calls()["bulk_query"])
	require.Eventually(t, func() bool { return org.Jobs() == 0 }, time.Minute, 10*time.Millisecond, "jobs that nobody has taken away")
	harness.JudgeSOQL(t, org.Statements(), salesforce.Strings, *flagN/4, 1)
}
