// Stripe's side of the fuzzer: customers behind lists with few filters, behind
// searches that ignore case, and requests for single ones; calls are refused.

package fuzz

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
	"github.com/hallwaydb/hallway/tests/fakes/stripe"
	"github.com/hallwaydb/hallway/tests/harness"
)

// customerColumns are some of a customer's. An empty text is none to Stripe, so it is
// not among the values of rows.
func customerColumns() []*column {
	var kept []string
	for _, t := range texts {
		if t != "" && strings.TrimSpace(t) == t && len(t) < 200 {
			kept = append(kept, t)
		}
	}
	field := func(name string) string { return "field '" + name + "'" }
	return []*column{
		{name: "id", typ: "text", class: cText, unique: true, api: true},
		{name: "t", typ: "text", class: cText, pool: kept, nulls: 10, options: field("name")},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: kept, nulls: 10, options: field("metadata.order")},
		{name: "e", typ: "text", class: cText, pool: []string{"ada@example.com", "Ada@Example.com", "ADA@EXAMPLE.COM", "o'hara+x@example.com", "b&c=d@example.com", "zoë@example.com"}, nulls: 15, options: field("email")},
		{name: "c", typ: "text", class: cText, pool: kept, nulls: 30, options: field("address.city")},
		{name: "i", typ: "int8", class: cInt, pool: ints("99999999", "-99999999"), options: field("balance")},
		{name: "s", typ: "text", class: cText, pool: []string{"none", "exempt", "reverse"}, options: field("tax_exempt")},
		{name: "d", typ: "timestamptz", class: cTimestampTZ, options: field("created")},
	}
}

func TestDifferential_Stripe(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 6))
	sidecar := env.NewSidecar(t, harness.SidecarSettings{})
	db := env.Database(t)
	c := db.Connect(t)
	cols := customerColumns()
	written := cols[:len(cols)-1] // the last is Stripe's to set
	accounts := map[string]*stripe.Server{}
	var clock atomic.Int64
	for _, x := range []string{"a", "b"} {
		// Seven customers or so have the same second.
		account, err := stripe.New(stripe.Options{Now: func() time.Time { return time.Unix(1_700_000_000+clock.Add(1)/20*86_399, 0) }})
		require.NoError(t, err)
		defer account.Close()
		accounts[x] = account
		c.Exec(`CREATE SERVER st_%[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe', address '%[2]s', base_url '%[3]s', page_size '25', calls_per_second '100000');
			CREATE USER MAPPING FOR PUBLIC SERVER st_%[1]s OPTIONS (token '%[4]s')`, x, sidecar.Address(), account.URL, stripe.Key)
		c.Exec("CREATE FOREIGN TABLE st_%[1]s (%[2]s) SERVER st_%[1]s OPTIONS (object 'customers')", x, columnList(cols, true))
		c.Exec("CREATE FOREIGN TABLE se_%[1]s (%[2]s) SERVER st_%[1]s OPTIONS (object 'customers', search 'true')", x, columnList(cols, true))
		c.Exec("CREATE FOREIGN TABLE w_%[1]s (%[2]s) SERVER st_%[1]s OPTIONS (object 'customers')", x, columnList(written, true))
		c.Exec("CREATE TABLE wl_%s (%s)", x, columnList(written, false))
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		require.NoError(t, fillCRM(context.Background(), c, rng, written, "w_"+x, "wl_"+x, 120))
		require.Empty(t, c.Query("(SELECT * FROM wl_%[1]s EXCEPT ALL SELECT * FROM wl_%[1]s_meant) UNION ALL (SELECT * FROM wl_%[1]s_meant EXCEPT ALL SELECT * FROM wl_%[1]s)", x),
			"what INSERT ... RETURNING said is what a scan reads")
		c.Exec("INSERT INTO %[1]s SELECT * FROM st_%[1]s; ANALYZE %[1]s", x)
		require.Equal(t, "120", c.Value("SELECT count(*) FROM %s", x))
	}
	for _, r := range c.Query("SELECT id, d FROM a UNION SELECT id, d FROM b ORDER BY 1") {
		cols[0].pool = append(cols[0].pool, r[0])
		cols[len(cols)-1].pool = append(cols[len(cols)-1].pool, r[1])
	}
	cols[0].pool = append(cols[0].pool, "nonsense", "..", "a/../b", "a?b#c", strings.ToUpper(cols[0].pool[0]))

	const refuseEvery = 601
	for _, account := range accounts {
		account.Forget()
		account.Set(func(k *stripe.Knobs) { k.RateLimitEvery = refuseEvery })
	}
	lists, searches := target{"Stripe", "st_a", "st_b"}, target{"Stripe with search", "se_a", "se_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 60 * time.Second}
	g := &gen{rng: rng, cols: cols, crm: true}
	bound := &callBound{}
	for _, account := range accounts {
		bound.apis = append(bound.apis, func() []kit.Call {
			return callsOf(account.Requests(), func(r *stripe.Request) kit.Call { return r.Call })
		})
	}
	bound.watch(t, f, 3)
	f.loop(t, g, max(1, *flagN/4), func() []variant {
		target := lists
		if rng.IntN(3) == 0 {
			target = searches
		}
		return []variant{randomVariant(rng, target, f.local)}
	})
	bound.report(t)
	bound.seen = nil
	all := bound.calls()
	calls, refused := tally(all, http.StatusTooManyRequests)
	t.Logf("%v, %d refused", calls, refused)
	require.LessOrEqual(t, refused, len(all)/refuseEvery+2, "only what the server refused by itself")
	if *flagN >= 1000 { // fewer make few calls
		require.Positive(t, refused)
	}
	for _, kind := range []string{"list customers", "get customers", "search customers"} {
		require.Positive(t, calls[kind], kind)
	}
}
