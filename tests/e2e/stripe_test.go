package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	connector "github.com/hallwaydb/hallway/connectors/stripe"
	"github.com/hallwaydb/hallway/tests/fakes/stripe"
	"github.com/hallwaydb/hallway/tests/harness"
)

// startStripe is a stand-in and a server for it. Its clock stands, if it is given.
func startStripe(t *testing.T, c *harness.Conn, at time.Time) *stripe.Server {
	t.Helper()
	options := stripe.Options{}
	if !at.IsZero() {
		options.Now = func() time.Time { return at }
	}
	api, err := stripe.New(options)
	require.NoError(t, err)
	t.Cleanup(api.Close)
	c.Exec(`CREATE SERVER stripe FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe', base_url '%s', calls_per_second '10000');
		CREATE USER MAPPING FOR PUBLIC SERVER stripe OPTIONS (token '%s'); CREATE SCHEMA stripe`, api.URL, stripe.Key)
	return api
}

func TestStripe_Docs(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	api := startStripe(t, c, at)
	ada := api.Put("customers", map[string]any{"name": "Ada Byron", "email": "ada@example.com", "address": map[string]any{"city": "London", "country": "GB", "line1": "12 St James's Square", "line2": nil, "postal_code": nil, "state": nil},
		"metadata": map[string]any{"crm": "17", "tier": "gold"}})
	shirt := api.Put("products", map[string]any{"name": "Shirt"})
	price := api.Put("prices", map[string]any{"product": shirt, "currency": "eur", "unit_amount": 990, "unit_amount_decimal": "990"})
	for i, amount := range []int{1200, 450, 99000} {
		api.Put("charges", map[string]any{"customer": ada, "amount": amount, "amount_captured": amount, "created": at.Add(-time.Duration(i) * time.Hour).Unix(), "metadata": map[string]any{"order_no": fmt.Sprint(100 + i)}})
	}
	sample(t, "stripe.md", "import", sqlSample(psqlSession(t, db, `
IMPORT FOREIGN SCHEMA "default" FROM SERVER stripe INTO stripe;
\det stripe.*
\d stripe.refunds`)))
	sample(t, "stripe.md", "pushdown", sqlSample(psqlSession(t, db, `
EXPLAIN (COSTS OFF)
SELECT id, amount FROM stripe.charges
 WHERE created >= '2026-03-01 00:00Z' AND customer = 'cus_1' AND status = 'succeeded';
EXPLAIN (COSTS OFF)
SELECT count(*) FROM stripe.customers WHERE email = 'ada@example.com' AND name ILIKE 'ada%';
CREATE FOREIGN TABLE orders (order_no text OPTIONS (field 'metadata.order_no'), amount bigint, mail text OPTIONS (field 'customer.email'))
  SERVER stripe OPTIONS (object 'charges', search 'true');
EXPLAIN (COSTS OFF)
SELECT amount, mail FROM orders WHERE order_no = '102' AND amount > 500;
SELECT amount, mail FROM orders WHERE order_no = '102' AND amount > 500;`, "-A", "-t")))
	sample(t, "stripe.md", "writes", sqlSample(psqlSession(t, db, `
INSERT INTO stripe.customers (name, email, address, metadata)
VALUES ('Grace Hopper', 'grace@example.com', '{"city": "New York", "country": "US"}', '{"crm": "18"}')
RETURNING name, address_city, created;
UPDATE stripe.customers SET address_city = 'Arlington', metadata = '{"crm": "18b"}' WHERE email = 'grace@example.com'
RETURNING address_city, address_country, metadata;
SET hallway.dry_run = on;
UPDATE stripe.customers SET balance = balance - 500, description = NULL WHERE email = 'grace@example.com';
RESET hallway.dry_run;
DELETE FROM stripe.customers WHERE email = 'grace@example.com' RETURNING name;`)))
	sample(t, "stripe.md", "upsert", sqlSample(psqlSession(t, db, `
CREATE FOREIGN TABLE people (id text OPTIONS (key 'true'), email text, name text, crm text OPTIONS (field 'metadata.crm'))
  SERVER stripe OPTIONS (object 'customers', upsert_key 'email');
INSERT INTO people (email, name, crm) VALUES ('ada@example.com', 'Ada Lovelace', '17'), ('kurt@example.com', 'Kurt Gödel', '19')
RETURNING name, crm, hallway.was_created();`)))
	refused := psqlSession(t, db, fmt.Sprintf(`
INSERT INTO stripe.customers (name, email) VALUES ('Emmy Noether', 'emmy@');
INSERT INTO stripe.prices (product, currency, unit_amount) VALUES ('prod_none', 'eur', 990);
INSERT INTO stripe.payment_intents (amount, currency, confirm, payment_method) VALUES (2000, 'usd', true, 'pm_card_chargeDeclined');
UPDATE stripe.prices SET unit_amount = 1290 WHERE id = '%s';
DELETE FROM stripe.products WHERE id = '%s';`, price, shirt))
	sample(t, "stripe.md", "refused", sqlSample(regexp.MustCompile(`req_\d+`).ReplaceAllString(refused, "req_Ab3xYz")))
	sample(t, "stripe.md", "server options", optionTable(connector.New(), connectors.OnServer))
	sample(t, "stripe.md", "user mapping options", optionTable(connector.New(), connectors.OnUserMapping))
	sample(t, "stripe.md", "table options", optionTable(connector.New(), connectors.OnTable))
}

// Values that could end a parameter, a path, a search or a form, in every place that
// they can be in, and 100 KB of them.
func TestStripe_Injection(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api := startStripe(t, c, time.Time{})
	c.Exec(`CREATE FOREIGN TABLE listed (id text OPTIONS (key 'true'), email text, description text, note text OPTIONS (field 'metadata.note'), city text OPTIONS (field 'address.city'))
			SERVER stripe OPTIONS (object 'customers');
		CREATE FOREIGN TABLE searched (id text OPTIONS (key 'true'), email text, name text, note text OPTIONS (field 'metadata.note')) SERVER stripe OPTIONS (object 'customers', search 'true');
		CREATE TABLE said (v text)`)
	other := api.Put("customers", map[string]any{"name": "other", "email": "other@example.com"})
	for _, v := range []string{`$a$'$a$`, `$a$"$a$`, `$a$\$a$`, `$a$\"$a$`, `$a$" OR created>0 OR name:"$a$`, `$a$&email=other@example.com$a$`, `$a$&limit=1$a$`, `$a$=$a$`, `$a$%26email%3Dx$a$`, `$a$]&x[$a$`, `$a$../products$a$`, `$a$?expand[]=x$a$`,
		`$a$#$a$`, `$a$/$a$`, `$a$+ $a$`, `E'a\nb\rc\td'`, `E'\x01\x1f\x7f'`, `U&'\FFFD\2028\00e9'`, `$a$null$a$`, `$a$-email:"x"$a$`, `$a$*$a$`, `$a$${x}{value}{field}$a$`} {
		c.Exec("TRUNCATE said; INSERT INTO said SELECT %s", v)
		c.Exec("INSERT INTO listed (description, note, city) SELECT v, v, v FROM said")
		require.Equal(t, "1", c.Value("SELECT count(*) FROM listed JOIN said ON description = v AND note = v AND city = v"), v)
		// Of these searches have the same text; they have a limit, too.
		for table, list := range map[string][]string{"listed": {"note = %s", "note = ANY (ARRAY[%s, 'other'])", "NOT note <> %s", "note IS NOT DISTINCT FROM %s"}, "searched": {"note = ANY (ARRAY[%s, 'other'])"}} {
			for _, where := range list {
				literal := c.Value("SELECT quote_literal(v) FROM said")
				require.Equal(t, "1", c.Value("SELECT count(*) FROM "+table+" WHERE "+where, literal), "%s: %s: %s", table, where, v)
			}
		}
		literal := c.Value("SELECT quote_literal(v) FROM said")
		require.Equal(t, "0", c.Value("SELECT count(*) FROM listed WHERE id = %[1]s OR email = %[1]s", literal), v)
		require.Equal(t, "0", c.Value("SELECT count(*) FROM listed WHERE id = %s", literal), v)
		require.Equal(t, "0", c.Value("SELECT count(*) FROM listed WHERE email = %s", literal), v)
		require.Equal(t, "0", c.Value("SELECT count(*) FROM searched WHERE name = %s", literal), v)
		require.Equal(t, "UPDATE 0", c.Exec("UPDATE listed SET note = 'x' WHERE id = %s", literal), v)
		require.Equal(t, "DELETE 1", c.Exec("DELETE FROM listed WHERE description = %s", literal), v)
		require.Len(t, api.Objects("customers"), 1)
	}
	searches := 0
	for _, r := range api.Requests() {
		if r.Kind == "search customers" && r.Status == http.StatusOK {
			searches++
		}
	}
	require.Greater(t, searches, 50)
	long := "repeat('\\\"&=[]%', 14286)" // 100 KB
	require.Equal(t, "0", c.Value("SELECT count(*) FROM listed WHERE email = %[1]s OR note = %[1]s", long))
	require.Equal(t, "0", c.Value("SELECT count(*) FROM searched WHERE name = %s", long))
	require.Equal(t, "0", c.Value("SELECT count(*) FROM listed WHERE id = %s", long))
	// A form of as much: fifty members of metadata, each as long as Stripe takes them.
	c.Exec(`CREATE FOREIGN TABLE large (id text OPTIONS (key 'true'), name text, description text, metadata jsonb) SERVER stripe OPTIONS (object 'customers');
		TRUNCATE said; INSERT INTO said SELECT jsonb_object_agg('k' || i || '&x=', rpad(i || '', 500, E'"&=+%%\\€€€\n')) FROM generate_series(1, 50) i`)
	untouched := api.Object("customers", other)
	for range 2 { // made, and changed
		api.Forget()
		c.Exec("INSERT INTO large (name, metadata) SELECT 'long', v::jsonb FROM said WHERE NOT EXISTS (SELECT FROM large WHERE name = 'long'); UPDATE large SET metadata = v::jsonb FROM said WHERE name = 'long'")
		require.Equal(t, "1", c.Value("SELECT count(*) FROM large JOIN said ON metadata = v::jsonb"))
		require.True(t, slices.ContainsFunc(api.Requests(), func(r stripe.Request) bool { return len(r.Body) > 100_000 }))
		c.Exec("UPDATE said SET v = replace(v, '=+', '🦆')")
	}
	c.Fails("22001", "INSERT INTO large (name, description) VALUES ('longer', %s)", long)
	require.Equal(t, "1", c.Value("SELECT count(*) FROM large WHERE name LIKE 'long%%'"))
	require.Equal(t, untouched, api.Object("customers", other), "nobody else was written to")
}

// The example is what it says: every statement of it works.
func TestStripe_Example(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api := startStripe(t, c, time.Time{})
	c.Exec("DROP SERVER stripe CASCADE; DROP SCHEMA stripe")
	now := time.Now().Unix()
	ada := api.Put("customers", map[string]any{"email": "ada@example.com"})
	api.Put("charges", map[string]any{"created": now - 60, "amount": 1250, "customer": ada, "metadata": map[string]any{"order_no": "7"}})
	api.Put("invoices", map[string]any{"created": now - 60, "customer": ada, "status": "open", "number": "A-1", "amount_remaining": 4200, "due_date": now - 50})
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "stripe.sql"))
	require.NoError(t, err)
	script := string(text)
	for from, to := range map[string]string{
		"CREATE EXTENSION IF NOT EXISTS hallway;\n": "",
		"(connector 'stripe')":                      fmt.Sprintf("(connector 'stripe', base_url '%s', calls_per_second '1000')", api.URL),
		"OPTIONS (secret 'stripe')":                 fmt.Sprintf("OPTIONS (token '%s')", stripe.Key),
	} {
		require.Contains(t, script, from)
		script = strings.Replace(script, from, to, 1)
	}
	out := psqlSession(t, db, script, "-A", "-t")
	require.NotContains(t, out, "ERROR:")
	require.Contains(t, out, "ada@example.com|A-1|42.0")
	require.Contains(t, out, "\n7|1250|4242|ada@example.com\n")
	require.Contains(t, out, "\nAda Byron|London|17\n")
	require.Contains(t, out, "|customer.deleted|")
	require.Len(t, api.Objects("customers"), 1)
}

// Replicas ask Stripe's events what happened, and for those records alone.
func TestStripe_Replica(t *testing.T) {
	var later atomic.Int64 // how far the API's clock is ahead of ours
	api, err := stripe.New(stripe.Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	require.NoError(t, err)
	t.Cleanup(api.Close)
	write := func(method, path, form string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, api.URL+"/v1/"+path, strings.NewReader(form))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+stripe.Key)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, path)
	}
	old := time.Now().Add(-100 * 24 * time.Hour).Unix()
	ids := make([]string, 1500)
	for i := range ids {
		ids[i] = api.Put("customers", map[string]any{"name": fmt.Sprintf("Customer %d", i), "created": old + int64(i)})
	}
	charge, dispute := api.Put("charges", map[string]any{"created": old, "amount": 2000}), api.Put("charges", map[string]any{"created": old})

	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, sidecar.Address())
	c := db.Connect(t)
	c.Exec(`CREATE SERVER stripe FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe', base_url '%s', calls_per_second '10000', cache 'read_through');
		CREATE USER MAPPING FOR PUBLIC SERVER stripe OPTIONS (token '%s'); CREATE SCHEMA stripe;
		IMPORT FOREIGN SCHEMA "default" LIMIT TO (customers, charges) FROM SERVER stripe INTO stripe;
		SET hallway.read_from = 'cache'; SELECT hallway.replicate('stripe.customers', '1 h')`, api.URL, stripe.Key)
	// synced asks for what is new, and gives the requests that this took.
	synced := func(table string) string {
		t.Helper()
		api.Forget()
		c.Exec("CALL hallway.wait_for_sync('stripe.%s')", table)
		var asked []string
		for _, r := range api.Requests() {
			query, err := url.QueryUnescape(r.Query)
			require.NoError(t, err)
			asked = append(asked, r.Kind+" "+query)
		}
		return strings.Join(asked, "\n")
	}
	listed := func(asked, kind string) bool {
		return regexp.MustCompile("(?m)^list " + kind + " limit=100$").MatchString(asked)
	}
	count := func() string {
		return c.Value("SELECT count(*) || ' ' || count(*) FILTER (WHERE name = 'Changed') || ' ' || count(*) FILTER (WHERE name = 'New') FROM stripe.customers")
	}
	c.Exec("CALL hallway.wait_for_sync('stripe.customers')")
	require.Equal(t, "1500 0 0", count())

	write("DELETE", "customers/"+ids[3], "")
	write("POST", "customers/"+ids[10], "name=Changed")
	write("POST", "customers/"+ids[10], "metadata[also]=this")
	write("POST", "customers/"+ids[1400], "name=Changed")
	write("POST", "customers", "name=New")
	asked := synced("customers")
	require.Equal(t, "1500 2 1", count(), asked)
	require.Equal(t, "this", c.Value("SELECT metadata->>'also' FROM stripe.customers WHERE id = '%s'", ids[10]))
	require.False(t, listed(asked, "customers"), asked)
	calls := api.Calls()
	require.Equal(t, []int{2, 1, 3}, []int{calls["list events"], calls["list customers"], calls["get customers"]}, "two logs, what is new, what was changed: %s", asked)
	require.Contains(t, asked, "types[]=customer.created&types[]=customer.updated&types[]=customer.deleted")

	// More than a list costs: the list.
	for _, id := range ids[100:140] {
		write("POST", "customers/"+id, "name=Changed")
	}
	require.True(t, listed(synced("customers"), "customers"))
	require.Equal(t, "1500 42 1", count())

	// Nobody has looked for longer than Stripe remembers.
	write("POST", "customers/"+ids[500], "name=Changed")
	write("DELETE", "customers/"+ids[501], "")
	later.Store(int64(31 * 24 * time.Hour))
	c.Exec("UPDATE hallway.cache_tables SET as_of = as_of - interval '31 days'")
	require.True(t, listed(synced("customers"), "customers"))
	require.Equal(t, "1499 43 1", count())
	// What happens to something else may change a record, too.
	c.Exec("SELECT hallway.replicate('stripe.charges', '1 h')")
	synced("charges")
	write("POST", "refunds", "charge="+charge+"&amount=500")
	api.Amend("charges", dispute, map[string]any{"disputed": true})
	api.AddEvent("charge.dispute.created", map[string]any{"id": "dp_1", "object": "dispute", "charge": dispute}, time.Now().Add(time.Duration(later.Load())))
	require.False(t, listed(synced("charges"), "charges"))
	require.Equal(t, "500 false,0 true", c.Value("SELECT string_agg(amount_refunded || ' ' || disputed, ',' ORDER BY amount_refunded DESC) FROM stripe.charges"))
}
