// HubSpot's side of the fuzzer: an account whose searches ignore case, compare
// numbers as doubles and end early, whose tokens end, and which refuses calls.

package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/fakes/kit"
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

// addAccountObject makes an object with these columns' properties; of fuzz_b, searches
// refuse one.
func addAccountObject(account *hubspot.Server, name string) {
	var options []hubspot.Option
	for _, v := range []string{"lead", "Lead", "CUSTOMER", "churned"} {
		options = append(options, hubspot.Option{Label: v, Value: v})
	}
	account.AddObject(name, name+"s", nil, hubspot.Property{Name: "t", Type: "string"}, hubspot.Property{Name: "tc", Type: "string"}, hubspot.Property{Name: "n", Type: "number"},
		hubspot.Property{Name: "b", Type: "bool"}, hubspot.Property{Name: "d", Type: "datetime"}, hubspot.Property{Name: "dt", Type: "date"}, hubspot.Property{Name: "s", Type: "enumeration", Options: options, Unsearchable: name == "fuzz_b"})
}

func accountServer(c *harness.Conn, name, address string, account *hubspot.Server) {
	c.Exec(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', address '%[2]s', base_url '%[3]s',
			calls_per_second '100000', searches_per_second '100000');
		CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (client_id '%[4]s', client_secret '%[5]s', refresh_token '%[6]s')`,
		name, address, account.URL, hubspot.ClientID, hubspot.ClientSecret, account.NewRefreshToken())
}

// refusals has the account refuse one in so many calls for its token, the number of
// searches, and a lock.
func refusals(account *hubspot.Server, token, rate, lock int) {
	account.Fail(hubspot.Fault{Every: token, Status: http.StatusUnauthorized})
	account.Fail(hubspot.Fault{Every: rate, Status: http.StatusTooManyRequests, Policy: "SECONDLY"})
	account.Fail(hubspot.Fault{Every: lock, Status: http.StatusLocked, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/search") }})
}

// ofAccount holds queries to their calls.
func ofAccount(t *testing.T, f *fuzzer, account *hubspot.Server, each int) *callBound {
	b := &callBound{apis: []func() []kit.Call{account.Requests}, besides: []string{"properties", "schemas"}}
	b.watch(t, f, each)
	return b
}

func TestDifferential_HubSpot(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 6))
	// A search gives 100 of an object's 120 records, by two pages.
	account := hubspot.New(hubspot.Options{SearchTotal: 100})
	defer account.Close()
	cols := accountColumns()
	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	for _, x := range []string{"a", "b"} {
		addAccountObject(account, "fuzz_"+x)
	}
	accountServer(c, "hs", sidecar.Address(), account)
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
	refusals(account, 211, 499, 997)
	target := target{"HubSpot", "hs_a", "hs_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 40 * time.Second}
	g := &gen{rng: rng, cols: cols, crm: true}
	push := pushCount{conn: c, table: "hs_a"}
	g.watch = push.add
	bound := ofAccount(t, f, account, 3)
	f.loop(t, g, max(1, *flagN/4), func() []variant { return []variant{randomVariant(rng, target, f.local)} })
	t.Logf("of %d conjuncts that a CRM's filters can mostly express %d were pushed", push.able, push.pushed)
	// What lets nearly all rows through (<>, IS NOT NULL) is not worth a search.
	require.Greater(t, push.pushed*4, push.able)
	bound.report(t)
	kinds, refused := tally(account.Requests(), 0)
	t.Logf("%v, %d refused", kinds, refused)
	require.Positive(t, refused)
}

// manyRecords are more than a search ever shows.
const manyRecords = 12_345

// TestDifferential_HubSpotMany: an object with more records than a search shows, and
// conditions that more of them meet than it shows.
func TestDifferential_HubSpotMany(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 7))
	account := hubspot.New(hubspot.Options{})
	defer account.Close()
	addAccountObject(account, "fuzz_many")
	cols := accountColumns()
	for _, col := range cols[1:] {
		col.pool = col.pool[:min(len(col.pool), 20)]
	}
	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	c := env.Database(t).Connect(t)
	accountServer(c, "hs", sidecar.Address(), account)
	c.Exec("CREATE FOREIGN TABLE hs_many (%[1]s) SERVER hs OPTIONS (object 'fuzz_many'); CREATE TABLE many (%[2]s); CREATE TABLE few (LIKE many)",
		columnList(cols, true), columnList(cols, false))

	// Nine of ten have the first value of a pool.
	var rows []string
	first := account.Seed("fuzz_many", manyRecords, func(int) map[string]string {
		values := map[string]string{}
		row := ""
		for _, col := range cols[1:] {
			v := Lit{Text: col.pool[0], Type: col.typ}
			if rng.IntN(10) == 0 {
				v = col.value(rng)
			}
			if row += ", " + v.SQL(); !v.Null {
				values[col.name] = inAccount(col, v.Text)
			}
		}
		rows = append(rows, row)
		return values
	})
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d%s)", first+int64(i), rows[i])
	}
	c.Exec("INSERT INTO many VALUES %s", strings.Join(rows, ",\n"))
	c.Exec("INSERT INTO few SELECT * FROM many ORDER BY id LIMIT 50; ANALYZE")
	require.Empty(t, c.Query("(SELECT * FROM many EXCEPT ALL SELECT * FROM hs_many) UNION ALL (SELECT * FROM hs_many EXCEPT ALL SELECT * FROM many)"))
	for range 50 {
		cols[0].pool = append(cols[0].pool, strconv.FormatInt(first+rng.Int64N(manyRecords), 10))
	}

	account.ResetCalls()
	require.Equal(t, c.Query("SELECT d FROM many ORDER BY d LIMIT 10"), c.Query("SELECT d FROM hs_many ORDER BY d LIMIT 10"))
	require.Equal(t, map[string]int{"search": 1}, account.Calls(), "the first rows are asked for")
	account.ResetCalls()
	refusals(account, 97, 1009, 701)
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "many", "B": "few"}, timeout: 40 * time.Second}
	plain := 3 // queries with nothing but a condition that most records meet
	g := &gen{rng: rng, cols: cols, crm: true, shape: func(g *gen) *Query {
		col := g.cols[1+g.n(len(g.cols)-1)]
		if plain > 0 {
			col = g.column(func(c *column) bool { return c.name == "t" || c.name == "d" }) // worth a search
		}
		most := leaf(true, txt("a."+col.name+" = "), litp(Lit{Text: col.pool[0], Type: col.typ}))
		q := &Query{output: g.output("a"), from: []piece{txt("{A} a")}}
		if plain > 0 {
			plain--
			q.where = []*Cond{most}
			return q
		}
		if q.where = g.conds(2, "a"); g.chance(60) {
			q.where = append(q.where, most)
		}
		if g.chance(30) {
			q.output = []string{"count(*)", "min(a.id)", "max(a.n)", "count(DISTINCT a.t)"}
			return q
		}
		g.page(q, "a")
		return q
	}}
	bound := ofAccount(t, f, account, 2)
	f.loop(t, g, max(3, *flagN/150), func() []variant {
		v := randomVariant(rng, target{"HubSpot, many", "hs_many", "few"}, f.local)
		v.tables = map[string]string{"A": "hs_many", "B": "few"}
		if v.protocol == preparedAuto {
			v.protocol = simple
		}
		return []variant{v}
	})
	bound.report(t)
	kinds, refused := tally(account.Requests(), 0)
	most := 0 // that a search found
	for _, c := range account.Requests() {
		if c.Kind == "search" && c.First {
			most = max(most, c.Matched)
		}
	}
	t.Logf("%v, %d refused; a search found up to %d", kinds, refused, most)
	require.Positive(t, refused)
	if *flagSkip == 0 {
		require.Greater(t, most, hubspot.MaxSearchTotal, "some searches found more than a search shows")
	}
}

// inAccount is a value as the API keeps it.
func inAccount(col *column, text string) string {
	switch col.class {
	case cBool:
		return strconv.FormatBool(text == "t")
	case cTimestampTZ:
		return strings.Replace(text, " ", "T", 1)
	}
	return text
}
