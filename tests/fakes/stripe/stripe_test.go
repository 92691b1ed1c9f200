package stripe

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type client struct {
	t *testing.T
	s *Server
	// more headers
	header map[string]string
}

func start(t *testing.T, o Options) client {
	s, err := New(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return client{t: t, s: s}
}

func (c client) do(method, path, form string) (int, map[string]any) {
	c.t.Helper()
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader(form)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.s.URL+"/v1/"+path, body)
	require.NoError(c.t, err)
	req.SetBasicAuth(Key, "")
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	require.NoError(c.t, json.NewDecoder(resp.Body).Decode(&out))
	return resp.StatusCode, out
}

// refused expects an error with this status, code, param and part of its message.
func (c client) refused(method, path, form string, status int, code, param, message string) {
	c.t.Helper()
	got, out := c.do(method, path, form)
	e, _ := out["error"].(map[string]any)
	require.NotNil(c.t, e, "%d %v", got, out)
	require.Equal(c.t, status, got, "%v", e)
	require.Equal(c.t, code, text(e["code"]), "%v", e)
	require.Equal(c.t, param, text(e["param"]), "%v", e)
	require.Contains(c.t, e["message"], message)
}

func (c client) ids(path string) (ids []string) {
	c.t.Helper()
	status, out := c.do("GET", path, "")
	require.Equal(c.t, 200, status, "%v", out)
	for _, o := range out["data"].([]any) {
		ids = append(ids, o.(map[string]any)["id"].(string))
	}
	return ids
}

func TestNotation(t *testing.T) {
	got := members("a!:int b?{c d!?:3} e[] f:x|y g:map h:range")
	require.Len(t, got, 6)
	require.True(t, got[0].required && got[0].kind == isInt)
	require.True(t, got[1].unset && got[1].kind == isObject && len(got[1].members) == 2)
	require.Equal(t, 3, got[1].members[1].max)
	require.Equal(t, isList, got[2].kind)
	require.Equal(t, []string{"x", "y"}, got[3].values)
	require.Panics(t, func() { members("a{b") })
}

func TestPages_NewestFirstWithoutGapsAlsoInOneSecond(t *testing.T) {
	c := start(t, Options{})
	for range 25 {
		c.s.Put("customers", map[string]any{"created": 1_700_000_000})
	}
	want := c.ids("customers?limit=100")
	require.Len(t, want, 25)
	var got []string
	for cursor := ""; ; {
		ids := c.ids("customers?limit=7" + cursor)
		if len(ids) == 0 {
			break
		}
		got = append(got, ids...)
		cursor = "&starting_after=" + ids[len(ids)-1]
	}
	require.Equal(t, want, got)
	require.Equal(t, want[3:10], c.ids("customers?limit=7&ending_before="+want[10]))
	// The place of a deleted object is remembered, unless the knob says otherwise.
	c.s.Erase("customers", want[5])
	require.Equal(t, want[6:8], c.ids("customers?limit=2&starting_after="+want[5]))
	c.s.Set(func(k *Knobs) { k.ForgetCursors = true })
	c.refused("GET", "customers?starting_after="+want[5], "", 400, "resource_missing", "starting_after", "No such customer: '"+want[5]+"'")
}

func TestRefusals(t *testing.T) {
	c := start(t, Options{})
	c.s.Put("customers", nil)
	product := c.s.Put("products", map[string]any{"name": "x"})
	price := c.s.Put("prices", map[string]any{"product": product})
	for _, r := range []struct {
		method, path, form   string
		status               int
		code, param, message string
	}{
		{"GET", "customers?name=x", "", 400, "parameter_unknown", "name", "Received unknown parameter: name"},
		{"GET", "customers?limit=101", "", 400, "parameter_invalid_integer", "limit", "less than or equal to 100"},
		{"GET", "customers?created[ge]=1", "", 400, "parameter_unknown", "created[ge]", "unknown"},
		{"GET", "customers?email=", "", 400, "parameter_invalid_empty", "email", "empty string"},
		{"GET", "subscriptions?status=none", "", 400, "", "status", "must be one of"},
		{"GET", "customers?expand[]=data.name", "", 400, "", "expand", "cannot be expanded"},
		{"GET", "customers/cus_none", "", 404, "resource_missing", "id", "No such customer: 'cus_none'"},
		{"GET", "nothing", "", 404, "", "", "Unrecognized request URL"},
		{"POST", "customers", "email=x", 400, "email_invalid", "email", "Invalid email address: x"},
		{"POST", "customers", "name=" + strings.Repeat("a", 257), 400, "", "name", "at most 256"},
		{"POST", "customers", "metadata[a]=" + strings.Repeat("a", 501), 400, "", "metadata", "500 characters"},
		{"POST", "customers", "balance=x", 400, "parameter_invalid_integer", "balance", "Invalid integer: x"},
		{"POST", "customers", "address[street]=x", 400, "parameter_unknown", "address[street]", "unknown"},
		{"POST", "customers", "address={}", 400, "", "address", "Invalid object"},
		{"POST", "customers", "shipping[name]=x", 400, "parameter_missing", "shipping[address]", "Missing required param"},
		{"POST", "products", "", 400, "parameter_missing", "name", "Missing required param: name."},
		{"POST", "prices", "currency=zzz&product=" + product + "&unit_amount=1", 400, "", "currency", "Invalid currency"},
		{"POST", "prices", "currency=usd&product=prod_none&unit_amount=1", 400, "resource_missing", "product", "No such product"},
		{"POST", "prices/" + price, "unit_amount=1", 400, "parameter_unknown", "unit_amount", "unknown"},
		{"POST", "payment_intents", "amount=10&currency=usd", 400, "amount_too_small", "amount", "at least"},
		{"DELETE", "products/" + product, "", 400, "", "id", "user-created prices"},
		{"DELETE", "prices/" + price, "", 404, "", "", "Unrecognized request URL"},
	} {
		t.Run(r.method+" "+r.path[:min(40, len(r.path))], func(t *testing.T) {
			client{t: t, s: c.s}.refused(r.method, r.path, r.form, r.status, r.code, r.param, r.message)
		})
	}
}

func TestWrites_MergeMetadataReplaceAddressUnsetByEmptyText(t *testing.T) {
	c := start(t, Options{})
	_, o := c.do("POST", "customers", "name=Ada&address[city]=Berlin&address[country]=DE&metadata[a]=1&metadata[b]=2&preferred_locales[]=de&preferred_locales[]=en")
	path := "customers/" + o["id"].(string)
	require.Equal(t, []any{"de", "en"}, o["preferred_locales"])
	_, o = c.do("POST", path, "name=&address[city]=Bonn&metadata[a]=&metadata[c]=3")
	require.Nil(t, o["name"])
	require.Equal(t, map[string]any{"b": "2", "c": "3"}, o["metadata"])
	require.Equal(t, "Bonn", at(o, "address.city"))
	require.Nil(t, at(o, "address.country"))
	_, o = c.do("POST", path, "metadata=")
	require.Empty(t, o["metadata"])
	_, o = c.do("DELETE", path, "")
	require.Equal(t, true, o["deleted"])
	status, o := c.do("GET", path, "")
	require.Equal(t, 200, status)
	require.Equal(t, true, o["deleted"])
	c.refused("POST", path, "name=x", 404, "resource_missing", "id", "No such customer")
	require.Equal(t, []string{"customer.deleted", "customer.updated", "customer.updated", "customer.created"}, eventKinds(c))
}

func eventKinds(c client) (kinds []string) {
	_, out := c.do("GET", "events?limit=100", "")
	for _, e := range out["data"].([]any) {
		kinds = append(kinds, e.(map[string]any)["type"].(string))
	}
	return kinds
}

func TestEvents_FilteredAndGoneAfterThirtyDays(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	c := start(t, Options{Now: func() time.Time { return now }})
	c.do("POST", "customers", "name=a")
	c.do("POST", "products", "name=b")
	require.Len(t, c.ids("events?type=customer.*"), 1)
	require.Len(t, c.ids("events?types[]=customer.created&types[]=product.created"), 2)
	require.Empty(t, c.ids("events?type=price.*"))
	require.Empty(t, c.ids("events?types[]=customer.*"), "a star is none there")
	now = now.Add(31 * 24 * time.Hour)
	require.Empty(t, c.ids("events"))
	require.Len(t, c.ids("customers"), 1)
}

// Each write is told of as the API does, by no event where there is none of its kind.
func TestEvents_OfEachWrite(t *testing.T) {
	c := start(t, Options{})
	had := 0
	do := func(method, path, form string, want ...string) string {
		t.Helper()
		status, out := c.do(method, path, form)
		require.Equal(t, 200, status, "%v", out)
		kinds := eventKinds(c)
		require.ElementsMatch(t, want, kinds[:len(kinds)-had], path)
		had = len(kinds)
		return text(out["id"])
	}
	product := do("POST", "products", "name=a", "product.created")
	price := do("POST", "prices", "product="+product+"&currency=usd&unit_amount=1&recurring[interval]=month&lookup_key=k", "price.created")
	do("POST", "prices", "product="+product+"&currency=usd&unit_amount=2&lookup_key=k&transfer_lookup_key=true", "price.created", "price.updated")
	customer := do("POST", "customers", "name=a", "customer.created")
	do("POST", "customers/"+customer, "name=a")
	sub := do("POST", "subscriptions", "customer="+customer+"&items[0][price]="+price, "customer.subscription.created")
	do("POST", "subscriptions/"+sub, "metadata[a]=b", "customer.subscription.updated")
	invoice := do("POST", "invoices", "customer="+customer, "invoice.created")
	do("POST", "invoices/"+invoice, "description=a", "invoice.updated")
	do("POST", "invoices/"+invoice+"/finalize", "", "invoice.updated", "invoice.finalized")
	do("POST", "invoices/"+invoice+"/pay", "", "invoice.updated", "invoice.paid", "invoice.payment_succeeded")
	invoice = do("POST", "invoices", "customer="+customer, "invoice.created")
	do("DELETE", "invoices/"+invoice, "", "invoice.deleted")
	intent := do("POST", "payment_intents", "amount=500&currency=usd&customer="+customer, "payment_intent.created")
	do("POST", "payment_intents/"+intent, "metadata[a]=b&amount=600")
	do("POST", "payment_intents/"+intent+"/confirm", "payment_method=pm_card_visa", "payment_intent.succeeded", "charge.succeeded")
	charge := text(c.s.Object("payment_intents", intent)["latest_charge"])
	do("POST", "charges/"+charge, "description=a", "charge.updated")
	refund := do("POST", "refunds", "charge="+charge+"&amount=100", "refund.created", "charge.refunded")
	do("POST", "refunds/"+refund, "metadata[a]=b", "refund.updated", "charge.refund.updated")
	do("POST", "payment_intents", "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa", "payment_intent.created", "payment_intent.succeeded", "charge.succeeded")
	do("POST", "payment_intents/"+do("POST", "payment_intents", "amount=500&currency=usd", "payment_intent.created")+"/cancel", "", "payment_intent.canceled")
	do("DELETE", "customers/"+customer, "", "customer.subscription.deleted", "customer.deleted")
}

func TestSubscriptions_CanceledOnesAreHidden(t *testing.T) {
	c := start(t, Options{})
	customer := c.s.Put("customers", nil)
	product := c.s.Put("products", nil)
	price := c.s.Put("prices", map[string]any{"product": product, "type": "recurring", "recurring": map[string]any{"interval": "month"}})
	once := c.s.Put("prices", map[string]any{"product": product})
	c.refused("POST", "subscriptions", "customer="+customer+"&items[0][price]="+once, 400, "", "items[0][price]", "recurring")
	_, sub := c.do("POST", "subscriptions", "customer="+customer+"&items[0][price]="+price)
	id := sub["id"].(string)
	require.Equal(t, []string{id}, c.ids("subscriptions?price="+price))
	status, sub := c.do("DELETE", "subscriptions/"+id, "")
	require.Equal(t, 200, status)
	require.Equal(t, "canceled", sub["status"])
	require.Empty(t, c.ids("subscriptions"))
	require.Equal(t, []string{id}, c.ids("subscriptions?status=all"))
	require.Equal(t, []string{id}, c.ids("subscriptions?status=canceled"))
	c.refused("DELETE", "subscriptions/"+id, "", 404, "resource_missing", "id", "No such subscription")
}

func TestPayments(t *testing.T) {
	c := start(t, Options{})
	status, pi := c.do("POST", "payment_intents", "amount=2000&currency=usd&confirm=true&payment_method=pm_card_visa")
	require.Equal(t, 200, status, "%v", pi)
	charge := pi["latest_charge"].(string)
	require.Equal(t, []string{charge}, c.ids("charges?payment_intent="+pi["id"].(string)))
	require.Len(t, c.ids("balance_transactions?source="+charge), 1)
	c.refused("POST", "refunds", "charge="+charge+"&amount=2001", 400, "", "amount", "greater than unrefunded")
	_, re := c.do("POST", "refunds", "charge="+charge)
	require.EqualValues(t, 2000, re["amount"])
	c.refused("POST", "refunds", "charge="+charge, 400, "charge_already_refunded", "", "already been refunded")
	_, full := c.do("GET", "charges/"+charge+"?expand[]=payment_intent.latest_charge&expand[]=balance_transaction", "")
	require.Equal(t, charge, at(full, "payment_intent.latest_charge.id"))
	require.EqualValues(t, 2000-88, at(full, "balance_transaction.net"))
	c.refused("POST", "payment_intents", "amount=2000&currency=usd&confirm=true&payment_method=pm_card_chargeDeclined", 402, "card_declined", "", "declined")
}

func TestIdempotency(t *testing.T) {
	c := start(t, Options{})
	c.header = map[string]string{"Idempotency-Key": "k1"}
	_, first := c.do("POST", "customers", "name=a")
	_, again := c.do("POST", "customers", "name=a")
	require.Equal(t, first["id"], again["id"])
	require.Len(t, c.s.Objects("customers"), 1)
	c.refused("POST", "customers", "name=b", 400, "", "", "same parameters")

	// A 500 is replayed too, and parameters that are wrong are not remembered.
	c.header["Idempotency-Key"] = "k2"
	c.refused("POST", "customers", "email=", 400, "parameter_invalid_empty", "email", "empty")
	c.s.Fail(FailBefore)
	c.refused("POST", "customers", "name=c", 500, "", "", "unknown error")
	c.refused("POST", "customers", "name=c", 500, "", "", "unknown error")
	require.Len(t, c.s.Objects("customers"), 1)

	// Cut: done, though nobody was told; the key tells.
	c.header["Idempotency-Key"] = "k3"
	c.s.Fail(Cut)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", c.s.URL+"/v1/customers", strings.NewReader("name=d"))
	req.SetBasicAuth(Key, "")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Idempotency-Key", "k3")
	// On a connection that was used before, net/http would send it again by itself.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	require.Error(t, err)
	_, o := c.do("POST", "customers", "name=d")
	require.Equal(t, "d", o["name"])
	require.Len(t, c.s.Objects("customers"), 2)

	// At the same time.
	c.header["Idempotency-Key"] = "k4"
	release := c.s.Hold()
	first4 := make(chan int)
	go func() {
		status, _ := c.do("POST", "customers", "name=e")
		first4 <- status
	}()
	require.Eventually(t, func() bool { now, _ := c.s.Running(); return now == 1 }, 30*time.Second, time.Millisecond)
	c.refused("POST", "customers", "name=e", 409, "idempotency_key_in_use", "", "in-progress request")
	release()
	require.Equal(t, 200, <-first4)
}

func TestSearch(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	c := start(t, Options{Now: func() time.Time { return now }})
	add := func(name, email, order string, created int) string {
		return c.s.Put("customers", map[string]any{"name": name, "email": email, "created": created, "metadata": map[string]any{"order": order}})
	}
	a := add("Ada \"the\" First", "ada@example.com", "1", 1_700_000_001)
	b := add("Bob", "BOB@example.com", "2", 1_700_000_002)
	d := c.s.Put("customers", map[string]any{"created": 1_700_000_003})
	for query, want := range map[string][]string{
		`email:"bob@EXAMPLE.com"`: {b},
		`email~"example"`:         {b, a},
		`-email~"ada"`:            {d, b},
		`name:null`:               {d},
		`-name:NULL`:              {b, a},
		`metadata["order"]:"1" OR metadata['order']:'2'`:     {b, a},
		`created>1700000001 AND -metadata["order"]:null`:     {b},
		`created>=1700000001 created<1700000003`:             {b, a},
		`name:"Ada \"the\" First"`:                           {a},
		`name:'Ada "the" First' and email:'ada@example.com'`: {a},
		`name:"x\" OR created>0 OR name:\"y"`:                nil,
		`email:"ada@example.com" or email:"x" OR name:"Bob"`: {b, a},
		`metadata["order"]:"1" metadata["order"]:"2"`:        nil,
		`created<1700000001.5`:                               {a},
		`email:"ada@example.com" AND created:1700000001`:     {a},
		`phone:"x"`:   nil,
		` created>0 `: {d, b, a},
		`-metadata["order"]:"1" AND -metadata["order"]:"2"`:        {d},
		`-created>1700000001`:                                      {a},
		`metadata["a] OR created>0 OR metadata["]:"b" created > 1`: {"refused"},
		`description:"x"`:                                          {"refused"},
		`(email:"x")`:                                              {"refused"},
		`email:x`:                                                  {"refused"},
		`email>"x"`:                                                {"refused"},
		`email~"ab"`:                                               {"refused"},
		`created~"170"`:                                            {"refused"},
		`created:"x"`:                                              {"refused"},
		`email:"a" AND name:"b" OR name:"c"`:                       {"refused"},
		strings.Repeat(`email:"a" `, 11):                           {"refused"},
		``:                                                         {"refused"},
		`email:"a`:                                                 {"refused"},
	} {
		t.Run(query, func(t *testing.T) {
			status, out := client{t: t, s: c.s}.do("GET", "customers/search?query="+url.QueryEscape(query), "")
			if len(want) > 0 && want[0] == "refused" {
				require.Equal(t, 400, status, "%v", out)
				require.Equal(t, "query", at(out, "error.param"))
				return
			}
			require.Equal(t, 200, status, "%v", out)
			var ids []string
			for _, o := range out["data"].([]any) {
				ids = append(ids, o.(map[string]any)["id"].(string))
			}
			require.Equal(t, want, ids)
		})
	}
	status, out := c.do("GET", "customers/search?limit=2&query=created%3E0", "")
	require.Equal(t, 200, status)
	require.Equal(t, true, out["has_more"])
	_, out = c.do("GET", "customers/search?limit=2&query=created%3E0&page="+out["next_page"].(string), "")
	require.Len(t, out["data"], 1)
	require.Nil(t, out["next_page"])
	c.refused("GET", "events/search", "", 404, "resource_missing", "id", "No such event: 'search'")

	// What was written is found later, as it was then.
	c.s.Set(func(k *Knobs) { k.SearchLag = time.Minute })
	_, o := c.do("POST", "customers", "name=Eve")
	found := func() int { return len(c.ids("customers/search?query=" + url.QueryEscape(`name:"Eve"`))) }
	require.Equal(t, 0, found())
	now = now.Add(61 * time.Second)
	require.Equal(t, 1, found())
	c.do("DELETE", "customers/"+o["id"].(string), "")
	require.Equal(t, 1, found())
	now = now.Add(61 * time.Second)
	require.Equal(t, 0, found())
}

func TestKnobs(t *testing.T) {
	c := start(t, Options{})
	c.s.Set(func(k *Knobs) { k.RateLimitEvery = 2 })
	status, _ := c.do("GET", "customers", "")
	require.Equal(t, 200, status)
	c.refused("GET", "customers", "", 429, "rate_limit", "", "rate limit")
	c.s.Set(func(k *Knobs) { *k = Knobs{LockTimeoutEvery: 1} })
	c.refused("POST", "customers", "name=a", 429, "lock_timeout", "", "another API request")
	require.Empty(t, c.s.Objects("customers"))
	c.s.Set(func(k *Knobs) { *k = Knobs{} })
	c.s.Revoke(true)
	c.refused("GET", "customers", "", 401, "", "", "Invalid API Key")
	c.s.Revoke(false)
	c.s.Deny("invoices", true)
	c.refused("GET", "invoices", "", 403, "", "", "required permissions")
	require.Equal(t, map[string]int{"list customers": 3, "create customers": 1, "list invoices": 1}, c.s.Calls())
}

func TestSeed_IsTheSameEveryTime(t *testing.T) {
	now := func() time.Time { return time.Unix(1_790_000_000, 0) }
	var first []byte
	for range 2 {
		c := start(t, Options{Now: now})
		c.s.Seed(3, Seeds{Customers: 30, Products: 10, Prices: 20, Subscriptions: 20, Invoices: 30, Charges: 30})
		var all []any
		for _, r := range resources {
			for _, o := range c.s.Objects(r.path) {
				all = append(all, o)
			}
		}
		require.Greater(t, len(all), 200)
		raw, err := json.Marshal(all)
		require.NoError(t, err)
		if first != nil {
			require.JSONEq(t, string(first), string(raw))
		}
		first = raw
	}
}
