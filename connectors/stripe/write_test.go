package stripe

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// write makes one row's write; values go by the position of the column.
func (w *world) write(table connectors.Table, op connectors.Operation, key string, id any, values map[int]any) connectors.Result {
	w.t.Helper()
	b := &connectors.Batch{Op: op, KeyColumns: []int{0}, Stats: &connectors.Stats{}, IdempotencyKey: key, Rows: []connectors.Row{{Key: []pushdown.Value{{V: id}}}}}
	for i := range 60 {
		if v, ok := values[i]; ok {
			b.Columns = append(b.Columns, i)
			b.Rows[0].Values = append(b.Rows[0].Values, pushdown.Value{V: v})
		}
	}
	require.NoError(w.t, table.(connectors.Modifier).Modify(w.t.Context(), b))
	return b.Results[0]
}

func (w *world) newest(resource string) map[string]any {
	return w.fake.Objects(resource)[0]
}

func TestNestedWrites(t *testing.T) {
	s := startFake(t, fake.Options{})
	w := newWorld(t, s)
	table, _ := w.table("customers", "id text", "address jsonb", "city text address.city", "metadata jsonb", "order text metadata.order", "dotted text metadata.a.b")
	require.Equal(t, connectors.Applied, w.write(table, connectors.Insert, "", nil, map[int]any{2: "Berlin", 1: `{"line1": "1 & 2 = \"3\"", "country": null}`, 4: "o-1", 5: "x"}).Outcome)
	c := w.newest("customers")
	require.Equal(t, []string{"POST /v1/customers address[city]=Berlin&address[line1]=1 & 2 = \"3\"&metadata[a.b]=x&metadata[order]=o-1"}, w.asked())

	// An address is replaced as a whole, so the rest of it goes along.
	require.Equal(t, connectors.Applied, w.write(table, connectors.Update, "", c["id"], map[int]any{2: "Bonn"}).Outcome)
	require.Equal(t, `1 & 2 = "3"`, w.newest("customers")["address"].(map[string]any)["line1"])
	require.Len(t, w.asked(), 2)

	// Metadata is merged, so what it should not have any more is taken away.
	require.Equal(t, connectors.Applied, w.write(table, connectors.Update, "", c["id"], map[int]any{3: `{"order": "o-2"}`}).Outcome)
	require.Equal(t, map[string]any{"order": "o-2"}, w.newest("customers")["metadata"])
	require.Equal(t, connectors.Applied, w.write(table, connectors.Update, "", c["id"], map[int]any{4: nil}).Outcome)
	require.Empty(t, w.newest("customers")["metadata"])
	require.Equal(t, connectors.Applied, w.write(table, connectors.Update, "", c["id"], map[int]any{1: nil}).Outcome)
	require.Nil(t, w.newest("customers")["address"])
}

func TestEveryWrite_HasAnIdempotencyKey(t *testing.T) {
	s := startFake(t, fake.Options{})
	w := newWorld(t, s)
	table, _ := w.table("customers", "id text", "name text")
	require.True(t, table.Describe().Idempotent)
	w.write(table, connectors.Insert, "k", nil, map[int]any{1: "a"})
	w.write(table, connectors.Insert, "k", nil, map[int]any{1: "a"})
	require.Len(t, s.Objects("customers"), 1, "sent again, it is done once")
	w.write(table, connectors.Update, "l", w.newest("customers")["id"], map[int]any{1: "b"})
	haveKeys(t, s)
	w.write(table, connectors.Delete, "m", w.newest("customers")["id"], nil)
	require.Equal(t, map[string]int{"create customers": 2, "update customers": 1, "delete customers": 1}, haveKeys(t, s))
}

// haveKeys wants all writes so far to have an idempotency key, each request its own but
// one that was sent again, and gives how many there were of each kind.
func haveKeys(t *testing.T, s *fake.Server) map[string]int {
	t.Helper()
	writes, by := map[string]int{}, map[string]string{}
	for _, r := range s.Requests() {
		require.Equal(t, "2026-08-26.dahlia", r.Version)
		if r.Method == http.MethodGet {
			continue
		}
		writes[r.Kind]++
		require.NotEmpty(t, r.IdempotencyKey, "%s %s", r.Method, r.Path)
		request := r.Method + r.Path + r.Body
		if had, known := by[r.IdempotencyKey]; known {
			require.Equal(t, had, request, "one key for two")
		}
		by[r.IdempotencyKey] = request
	}
	return writes
}

func TestSubscription_IsMadeAndCanceled(t *testing.T) {
	s := startFake(t, fake.Options{})
	customer, product := s.Put("customers", nil), s.Put("products", nil)
	price := s.Put("prices", map[string]any{"product": product, "type": "recurring", "recurring": map[string]any{"interval": "month"}})
	w := newWorld(t, s)
	table, types := w.table("subscriptions", "id text", "customer text", "items jsonb", "status text")
	require.Equal(t, connectors.Applied, w.write(table, connectors.Insert, "", nil, map[int]any{1: customer, 2: `[{"price": "` + price + `", "quantity": 2}]`}).Outcome)
	id := w.newest("subscriptions")["id"]
	require.Equal(t, connectors.Applied, w.write(table, connectors.Delete, "", id, nil).Outcome)
	got := w.scan(table, types)
	require.Len(t, got, 1, "it stays")
	require.Equal(t, "canceled", got[0][3].V)
	require.Equal(t, connectors.NotFound, w.write(table, connectors.Delete, "", id, nil).Outcome, "and cannot be canceled again")
}

func TestRefusals(t *testing.T) {
	s := startFake(t, fake.Options{})
	product := s.Put("products", nil)
	price := s.Put("prices", map[string]any{"product": product})
	w := newWorld(t, s)
	customers, _ := w.table("customers", "id text", "email text", "address jsonb")
	products, _ := w.table("products", "id text", "name text")
	prices, _ := w.table("prices", "id text", "unit_amount bigint")
	intents, _ := w.table("payment_intents", "id text", "amount bigint", "currency text", "confirm boolean", "payment_method text")
	for _, test := range []struct {
		name   string
		table  connectors.Table
		op     connectors.Operation
		id     any
		values map[int]any
		class  connectors.Class
		column string
		text   string
	}{
		{"value", customers, connectors.Insert, nil, map[int]any{1: "x"}, connectors.CheckViolation, "email", `"email": Invalid email address: x`},
		{"length", customers, connectors.Insert, nil, map[int]any{1: strings.Repeat("x", 600)}, connectors.TooLong, "email", "at most 512"},
		{"parameter that is only given at first", prices, connectors.Update, price, map[int]any{1: int64(7)}, connectors.NotSupported, "unit_amount", "unknown parameter"},
		{"required", products, connectors.Insert, nil, map[int]any{1: nil}, connectors.NotNullViolation, "name", "Missing required param"},
		{"product with prices", products, connectors.Delete, product, nil, connectors.CheckViolation, "", "user-created prices"},
		{"declined card", intents, connectors.Insert, nil, map[int]any{1: int64(100), 2: "usd", 3: true, 4: "pm_card_chargeDeclined"}, connectors.CheckViolation, "", "Your card was declined"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := w.write(test.table, test.op, "", test.id, test.values)
			require.Equal(t, connectors.Refused, got.Outcome)
			require.Equal(t, test.class, got.Err.Class, "%v", got.Err)
			require.Equal(t, test.column, got.Err.Column)
			require.Contains(t, got.Err.Message, test.text)
		})
	}
}
