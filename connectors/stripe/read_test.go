package stripe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// asked since the last call, readable.
func (w *world) asked() (out []string) {
	for _, r := range w.fake.Requests() {
		query, err := url.QueryUnescape(r.Query)
		require.NoError(w.t, err)
		if query != "" {
			query = "?" + query
		}
		body, err := url.QueryUnescape(r.Body)
		require.NoError(w.t, err)
		if body != "" {
			body = " " + body
		}
		out = append(out, r.Method+" "+r.Path+query+body)
	}
	w.fake.Forget()
	return out
}

func in(column int, t pushdown.Type, values ...any) pushdown.Expr {
	var list []pushdown.Value
	for _, v := range values {
		list = append(list, pushdown.Value{V: v})
	}
	t.Array = true
	return &pushdown.Membership{Operand: &pushdown.Column{Index: column}, Array: &pushdown.Param{Type: t, Known: true, Value: pushdown.Value{V: list}},
		Collation: pushdown.Collation{Name: "default", Deterministic: true}}
}

// micros of a Unix time, as SQL has it.
func micros(unix int64) int64 { return (unix - 946684800) * 1_000_000 }

// What a condition makes of the request, and what it does not.
func TestRequests(t *testing.T) {
	s := startFake(t, fake.Options{})
	s.Seed(9, fake.Seeds{Customers: 20, Products: 10, Prices: 20, Subscriptions: 20, Invoices: 20, Charges: 20})
	plain, search := newWorld(t, s), newWorld(t, s, "search", "true")
	text, moment, flag, number := typeNamed("text"), typeNamed("timestamptz"), typeNamed("boolean"), typeNamed("bigint")
	someone := s.Objects("customers")[3]["id"]
	for _, test := range []struct {
		name, object string
		world        *world
		columns      []string
		conjuncts    []pushdown.Expr
		want         []string
	}{
		{"all", "customers", plain, []string{"id text"}, nil, []string{"GET /v1/customers?limit=100"}},
		{"a key", "customers", plain, []string{"id text"}, []pushdown.Expr{is(0, text, someone)}, []string{fmt.Sprintf("GET /v1/customers/%v", someone)}},
		{"keys that would be other paths", "customers", plain, []string{"id text"}, []pushdown.Expr{is(0, text, "..")}, []string{"GET /v1/customers?limit=100"}},
		{"a key with a slash", "customers", plain, []string{"id text"}, []pushdown.Expr{is(0, text, "a/b")}, []string{"GET /v1/customers?limit=100"}},
		{"one that would leave the path", "customers", plain, []string{"id text"}, []pushdown.Expr{is(0, text, "a/../../b")}, []string{"GET /v1/customers?limit=100"}},
		{"no key", "customers", plain, []string{"id text"}, []pushdown.Expr{is(0, text, "")}, nil},
		{"keys of products", "products", plain, []string{"id text"}, []pushdown.Expr{in(0, text, "a,b", "c")}, []string{"GET /v1/products?ids[]=a,b&ids[]=c&limit=100"}},
		{"an address", "customers", plain, []string{"email text"}, []pushdown.Expr{is(0, text, "a+b@example.com")}, []string{"GET /v1/customers?email=a+b@example.com&limit=100"}},
		{"a range", "customers", plain, []string{"created timestamptz"}, []pushdown.Expr{compare(pushdown.GE, 0, moment, micros(1_700_000_000)), compare(pushdown.LT, 0, moment, micros(1_700_000_060)+1)},
			[]string{"GET /v1/customers?created[gte]=1700000000&created[lt]=1700000061&limit=100"}},
		{"a moment", "customers", plain, []string{"created timestamptz"}, []pushdown.Expr{is(0, moment, micros(1_700_000_000))}, []string{"GET /v1/customers?created[gte]=1700000000&created[lt]=1700000001&limit=100"}},
		{"what no list filters", "customers", plain, []string{"name text"}, []pushdown.Expr{is(0, text, "Ada")}, []string{"GET /v1/customers?limit=100"}},
		{"it is searched where that is allowed", "customers", search, []string{"name text"}, []pushdown.Expr{is(0, text, `A"d\a`)}, []string{`GET /v1/customers/search?limit=100&query=name:"A\"d\\a"`}},
		{"searches combine", "charges", search, []string{"status text", "amount bigint"}, []pushdown.Expr{is(0, text, "failed"), compare(pushdown.GT, 1, number, int64(500))},
			[]string{`GET /v1/charges/search?limit=100&query=status:"failed" AND amount>500`}},
		{"alternatives are searches of their own", "charges", search, []string{"status text"}, []pushdown.Expr{in(0, text, "failed", "pending")},
			[]string{`GET /v1/charges/search?limit=100&query=status:"failed"`, `GET /v1/charges/search?limit=100&query=status:"pending"`}},
		{"metadata", "charges", search, []string{`m text metadata.k"\ey`}, []pushdown.Expr{is(0, text, "o-1")}, []string{`GET /v1/charges/search?limit=100&query=metadata["k\"\\ey"]:"o-1"`}},
		{"a list is never late, so it is taken where it filters as well", "charges", search, []string{"customer text"}, []pushdown.Expr{is(0, text, someone)}, []string{fmt.Sprintf("GET /v1/charges?customer=%v&limit=100", someone)}},
		{"prices of both kinds", "prices", plain, []string{"id text"}, nil, []string{"GET /v1/prices?active=true&limit=100", "GET /v1/prices?active=false&limit=100"}},
		{"prices of one", "prices", plain, []string{"active boolean"}, []pushdown.Expr{is(0, flag, true)}, []string{"GET /v1/prices?active=true&limit=100"}},
		{"canceled subscriptions too", "subscriptions", plain, []string{"id text"}, nil, []string{"GET /v1/subscriptions?limit=100&status=all"}},
		{"subscriptions of one kind", "subscriptions", plain, []string{"status text"}, []pushdown.Expr{is(0, text, "past_due")}, []string{"GET /v1/subscriptions?limit=100&status=past_due"}},
		{"a status that means something else to Stripe", "subscriptions", plain, []string{"status text"}, []pushdown.Expr{is(0, text, "ended")}, []string{"GET /v1/subscriptions?limit=100&status=all"}},
		{"kinds of events", "events", plain, []string{"type text"}, []pushdown.Expr{in(0, text, "charge.failed", "charge.refunded")}, []string{"GET /v1/events?limit=100&types[]=charge.failed&types[]=charge.refunded"}},
		{"whose customer", "charges", plain, []string{"id text", "customer text", "mail text customer.email", "whole jsonb customer.*"}, nil, []string{"GET /v1/charges?expand[]=data.customer&limit=100"}},
		{"two relations away", "refunds", plain, []string{"mail text charge.customer.email"}, nil, []string{"GET /v1/refunds?expand[]=data.charge.customer&limit=100"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, types := test.world.table(test.object, test.columns...)
			s.Forget()
			test.world.scan(table, types, test.conjuncts...)
			require.ElementsMatch(t, test.want, test.world.asked())
		})
	}
}

// The newest come first anyway: under a LIMIT they are one call, however many there are.
func TestNewest(t *testing.T) {
	s := startFake(t, fake.Options{})
	const n = 1200 // which would be read in parts
	for i := range n {
		s.Put("charges", map[string]any{"created": 1_600_000_000 + i/20*500, "amount": i})
		s.Put("prices", map[string]any{"created": 1_600_000_000 + i/20*500, "active": i%2 == 0})
	}
	newest := func(c int) pushdown.Ordering {
		return pushdown.Ordering{{Column: c, Descending: true, NullsFirst: true}}
	}
	plain, search := newWorld(t, s), newWorld(t, s, "search", "true")
	for _, c := range []struct {
		name, object string
		world        *world
		order        pushdown.Ordering
		limited      bool
		exact        bool
	}{
		{"newest", "charges", plain, newest(1), true, true},
		{"newest where searches are allowed", "charges", search, newest(1), true, true},
		{"all of them come sooner in parts", "charges", plain, newest(1), false, false},
		{"oldest", "charges", plain, pushdown.Ordering{{Column: 1}}, true, false},
		{"by another column", "charges", plain, newest(2), true, false},
		{"ties are in no order", "charges", plain, append(newest(1), pushdown.SortKey{Column: 2}), true, false},
		{"two lists", "prices", plain, newest(1), true, false},
	} {
		table, types := c.world.table(c.object, "id text", "created timestamptz", map[string]string{"charges": "amount bigint", "prices": "unit_amount bigint"}[c.object])
		q := connectors.Query{Request: pushdown.Request{Orderings: []pushdown.Ordering{c.order}, LimitPossible: c.limited}, Ordering: c.order}
		require.Equal(t, c.exact, len(table.Plan(q.Request).ExactOrderings) == 1, c.name)
		if !c.exact {
			continue
		}
		for limit, want := range map[uint64][]string{10: {"GET /v1/charges?limit=10"}, 0: nil} {
			s.Forget()
			q.Limit = limit
			got, err := scan(t.Context(), table, types, q)
			require.NoError(t, err)
			if want != nil {
				require.Equal(t, want, c.world.asked())
			}
			require.Len(t, got, map[uint64]int{10: 10, 0: n}[limit])
			require.True(t, slices.IsSortedFunc(got, func(a, b []pushdown.Value) int { return cmp.Compare(b[1].V.(int64), a[1].V.(int64)) }), c.name)
		}
	}
}

func TestExpanded(t *testing.T) {
	s := startFake(t, fake.Options{})
	c := s.Put("customers", map[string]any{"email": "ada@example.com", "address": map[string]any{"city": "London"}})
	gone := s.Put("customers", map[string]any{"email": "x@example.com"})
	for _, customer := range []any{c, gone, nil} {
		s.Put("charges", map[string]any{"customer": customer, "created": 1_700_000_000})
	}
	s.Erase("customers", gone)
	w := newWorld(t, s)
	table, types := w.table("charges", "customer text", "mail text customer.email", "city text customer.address.city", "created timestamptz customer.created", "cents bigint amount")
	got := w.scan(table, types)
	require.Len(t, got, 3)
	for _, row := range got {
		switch row[0].V {
		case c:
			require.Equal(t, []any{"ada@example.com", "London"}, []any{row[1].V, row[2].V})
			require.NotNil(t, row[3].V)
		case gone: // deleted: its id is all that is left
			require.Equal(t, []any{nil, nil, nil}, []any{row[1].V, row[2].V, row[3].V})
		default:
			require.Equal(t, []any{nil, nil, nil, nil}, []any{row[0].V, row[1].V, row[2].V, row[3].V})
		}
		require.EqualValues(t, 100, row[4].V)
	}
}

func TestDeletedCustomer_IsNoRow(t *testing.T) {
	s := startFake(t, fake.Options{})
	id := s.Put("customers", nil)
	s.Erase("customers", id)
	w := newWorld(t, s)
	table, types := w.table("customers", "id text", "created timestamptz", "email text")
	require.Empty(t, w.scan(table, types, is(0, types[0], id)))
	require.Equal(t, []string{"GET /v1/customers/" + id}, w.asked())
}

// A filter by the id of something that is not there is refused by Stripe: in SQL
// there are just no such rows.
func TestUnknownReference_IsNoError(t *testing.T) {
	s := startFake(t, fake.Options{Knobs: fake.Knobs{RefuseUnknown: true}})
	s.Put("charges", nil)
	w := newWorld(t, s)
	table, types := w.table("charges", "customer text")
	require.Empty(t, w.scan(table, types, is(0, types[0], "cus_none")))
	require.Equal(t, []string{"GET /v1/charges?customer=cus_none&limit=100"}, w.asked())
}

// The record that a page ended with is deleted before the next page is asked for.
func TestForgottenCursor(t *testing.T) {
	s := startFake(t, fake.Options{Knobs: fake.Knobs{ForgetCursors: true}})
	for range 250 {
		s.Put("customers", map[string]any{"created": 1_700_000_000})
	}
	all := s.Objects("customers")
	last := all[99]["id"].(string)
	w := newWorld(t, s)
	table, types := w.table("customers", "id text")
	s.OnRequest(func(n int) {
		if n == 2 {
			s.Erase("customers", last)
		}
	})
	got := w.scan(table, types)
	seen := map[any]int{}
	for _, row := range got {
		seen[row[0].V]++
	}
	for _, o := range all {
		require.Equal(t, 1, seen[o["id"]], o["id"]) // the deleted one was read before
	}
	require.Len(t, got, 250)
}

func TestLimits_AreWaitedFor(t *testing.T) {
	s := startFake(t, fake.Options{Knobs: fake.Knobs{RateLimitEvery: 3}})
	s.Seed(2, fake.Seeds{Customers: 500})
	w := newWorld(t, s)
	table, types := w.table("customers", "id text")
	require.Len(t, w.scan(table, types), 500)
	refusals := 0
	for _, r := range s.Requests() {
		if r.Status != 200 {
			refusals++
		}
	}
	require.Positive(t, refusals)
	require.LessOrEqual(t, len(s.Requests()), 5+refusals, "the pages needed and the refusals")
}

func TestErrors(t *testing.T) {
	s := startFake(t, fake.Options{})
	w := newWorld(t, s)
	table, types := w.table("invoices", "id text")
	failed := func() *connectors.Error {
		_, err := scan(t.Context(), table, types, connectors.Query{})
		var e *connectors.Error
		require.True(t, errors.As(err, &e), "%v", err)
		require.NotContains(t, e.Error()+e.Detail+e.Hint, fake.Key)
		return e
	}
	s.Deny("invoices", true)
	e := failed()
	require.Equal(t, connectors.PermissionDenied, e.Class)
	require.Contains(t, e.Message, "rak_invoice_read", "what is missing")
	require.Contains(t, e.Detail, "Request-Id req_")
	s.Deny("invoices", false)
	s.Revoke(true)
	require.Equal(t, connectors.Unauthenticated, failed().Class)
}

// What search has not seen yet is not found by it; a table without it does.
func TestSearchIsLate(t *testing.T) {
	s := startFake(t, fake.Options{Knobs: fake.Knobs{SearchLag: time.Minute}})
	s.Put("customers", map[string]any{"name": "Ada"})
	for on, want := range map[string]int{"true": 0, "false": 1} {
		w := newWorld(t, s, "search", on)
		table, types := w.table("customers", "name text")
		require.Len(t, w.scan(table, types, is(0, types[0], "Ada")), want, "search %s", on)
		d := table.Describe()
		if on == "true" {
			require.Equal(t, time.Minute, d.ListLag, "own writes stand in for so long")
		} else {
			require.Less(t, d.ListLag, time.Duration(0))
		}
	}
}
