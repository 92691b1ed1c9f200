// HubSpot's side of the fuzzer: an account whose searches ignore case, compare
// numbers as doubles and end early, whose tokens end, and which refuses calls.

package fuzz

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// accountColumns are those of fuzz_a and fuzz_b. An empty text is no value there.
func accountColumns() []*column {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return []*column{
		{name: "id", typ: "int8", class: cInt, unique: true, api: true},
		{name: "t", typ: "text", class: cText, pool: kept, nulls: 10, api: true},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: kept, nulls: 5},
		{name: "n", typ: "numeric", class: cNumeric, pool: []string{"0", "1", "-1", "0.1", "0.5", "-2.25", "10000000000", "0.3", "0.30000000000000001", "9007199254740993", "9007199254740992", "1e-5", "123456789.123"}, nulls: 10, api: true},
		{name: "b", typ: "bool", class: cBool, pool: []string{"t", "f"}, nulls: 10, api: true},
		{name: "d", typ: "timestamptz", class: cTimestampTZ, pool: []string{"2024-01-01 00:00:00Z", "2024-01-01 00:00:00.001Z", "2024-02-29 12:30:00Z", "1999-12-31 23:59:59.999Z", "1970-01-01 00:00:00Z", "2024-03-10 06:30:00Z"}, nulls: 15, api: true},
		{name: "dt", typ: "date", class: cDate, pool: []string{"2024-01-01", "2024-02-29", "2023-12-31", "1999-12-31", "1969-12-31"}, nulls: 15, api: true},
		{name: "s", typ: "text", class: cText, pool: []string{"lead", "Lead", "CUSTOMER", "churned"}, nulls: 20, api: true},
	}
}

func TestDifferential_HubSpot(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 6))
	// A search gives 100 of an object's 120 records, by two pages.
	account := hubspot.New(hubspot.Options{SearchTotal: 100})
	defer account.Close()
	for _, name := range []string{"fuzz_a", "fuzz_b"} {
		var options []hubspot.Option
		for _, v := range []string{"lead", "Lead", "CUSTOMER", "churned"} {
			options = append(options, hubspot.Option{Label: v, Value: v})
		}
		account.AddObject(name, name+"s", nil, hubspot.Property{Name: "t", Type: "string"}, hubspot.Property{Name: "tc", Type: "string"}, hubspot.Property{Name: "n", Type: "number"},
			hubspot.Property{Name: "b", Type: "bool"}, hubspot.Property{Name: "d", Type: "datetime"}, hubspot.Property{Name: "dt", Type: "date"}, hubspot.Property{Name: "s", Type: "enumeration", Options: options})
	}
	cols := accountColumns()
	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER hs FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', address '%[1]s', base_url '%[2]s',
			calls_per_second '100000', searches_per_second '100000', page_size '40');
		CREATE USER MAPPING FOR PUBLIC SERVER hs OPTIONS (client_id '%[3]s', client_secret '%[4]s', refresh_token '%[5]s')`,
		sidecar.Address(), account.URL, hubspot.ClientID, hubspot.ClientSecret, account.NewRefreshToken())
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE FOREIGN TABLE hs_%[1]s (%[2]s) SERVER hs OPTIONS (object 'fuzz_%[1]s', page_size '50')", x, columnList(cols, true))
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		require.NoError(t, fillCRM(context.Background(), c, rng, cols, "hs_"+x, x, 120))
		c.Exec("ANALYZE %s", x)
		require.Equal(t, "120", c.Value("SELECT count(*) FROM %s", x))
		require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[1]s_meant) UNION ALL (SELECT * FROM %[1]s_meant EXCEPT ALL SELECT * FROM %[1]s)", x),
			"what INSERT ... RETURNING said is what a scan reads")
	}
	for _, r := range c.Query("SELECT id FROM a UNION SELECT id FROM b ORDER BY 1") {
		cols[0].pool = append(cols[0].pool, r[0])
	}
	cols[0].pool = append(cols[0].pool, "0", "-1", "999999999999")

	account.ResetCalls()
	account.Fail(hubspot.Fault{Every: 211, Status: http.StatusUnauthorized})
	account.Fail(hubspot.Fault{Every: 499, Status: http.StatusTooManyRequests, Policy: "SECONDLY"})
	account.Fail(hubspot.Fault{Every: 997, Status: http.StatusLocked, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/search") }})
	target := target{"HubSpot", "hs_a", "hs_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 40 * time.Second}
	g := &gen{rng: rng, cols: cols, crm: true}
	push := pushCount{conn: c, table: "hs_a"}
	g.watch = push.add
	f.loop(t, g, max(1, *flagN/4), func() []variant { return []variant{randomVariant(rng, target, f.local)} })
	t.Logf("of %d conjuncts that a CRM's filters can mostly express %d were pushed", push.able, push.pushed)
	// What lets nearly all rows through (<>, IS NOT NULL) is not worth a search.
	require.Greater(t, push.pushed*4, push.able)

	calls := account.Calls()
	t.Logf("calls: %v, %d refused", calls, account.Refused())
	require.LessOrEqual(t, calls["list"], account.ListPages(), "no page of a list is asked for twice")
}
