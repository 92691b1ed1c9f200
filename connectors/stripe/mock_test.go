package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// startMock runs Stripe's own server for tests, which knows no state but whether a
// request is legal: tests/stripemock says which version.
func startMock(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("HALLWAY_STRIPE_MOCK")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "stripe-mock")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/stripe/stripe-mock")
		build.Dir = "../../tests/stripemock"
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	address := free()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "-http-addr", address)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 30*time.Second, 20*time.Millisecond, "stripe-mock does not start")
	return "http://" + address
}

// judged asks stripe-mock about a request; empty: it is legal.
func judged(t *testing.T, mock string, r fake.Request) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, mock+r.Path, strings.NewReader(r.Body))
	require.NoError(t, err)
	req.URL.RawQuery = r.Query
	req.Header.Set("Authorization", "Bearer sk_test_123")
	if r.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	var said struct{ Error struct{ Message string } }
	_ = json.Unmarshal(body, &said)
	return fmt.Sprintf("%d %s", resp.StatusCode, said.Error.Message)
}

// Each request that the connector sends is legal, says Stripe.
func TestRequests_AreLegal(t *testing.T) {
	mock := startMock(t)
	for _, r := range []fake.Request{ // it would say so
		{Method: "GET", Path: "/v1/customers", Query: "name=x"},
		{Method: "GET", Path: "/v1/nothing"},
		{Method: "POST", Path: "/v1/customers", Body: "nickname=x"},
		{Method: "POST", Path: "/v1/prices", Body: "unit_amount=x&currency=usd"},
	} {
		require.NotEmpty(t, judged(t, mock, r), "%v", r)
	}

	s := startFake(t, fake.Options{})
	s.Seed(4, fake.Seeds{Customers: 130, Products: 20, Prices: 40, Subscriptions: 30, Invoices: 30, Charges: 30})
	plain, search := newWorld(t, s), newWorld(t, s, "search", "true")
	for _, object := range []string{"customers", "products", "prices", "subscriptions", "invoices", "charges", "payment_intents", "refunds", "balance_transactions", "events", "deleted_customers"} {
		for _, w := range []*world{plain, search} {
			readEverything(t, w, object)
		}
	}
	writeEverything(t, plain)
	kept := haveKeys(t, s)
	require.Len(t, kept, 18, "%v", kept)
	kinds := map[string]int{}
	for _, r := range s.Requests() {
		if bad := judged(t, mock, r); bad != "" {
			t.Errorf("%s %s?%s %s: %s", r.Method, r.Path, r.Query, r.Body, bad)
		}
		kinds[r.Kind]++
	}
	t.Logf("%d requests: %v", len(s.Requests()), kinds)
	require.Greater(t, len(kinds), 30)
}

// readEverything filters by each column of an object, by a value that it has.
func readEverything(t *testing.T, w *world, object string) {
	spec := columns(t, w.src, object)
	table, err := w.src.Table(t.Context(), connectors.TableSpec{Schema: "public", Name: object, Columns: spec})
	require.NoError(t, err)
	var types []pushdown.Type
	for _, c := range spec {
		types = append(types, c.Type)
	}
	all := w.scan(table, types)
	if changes := table.(connectors.Chronicle).Changes(); changes != nil {
		at := pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"}
		since := &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 1}, Right: &pushdown.Param{Type: at, Known: true, Value: pushdown.Value{V: int64(0)}}}
		for _, log := range changes.Logs {
			w.scan(log, []pushdown.Type{types[0], at}, since)
		}
	}
	for i, typ := range types {
		if typ.Array || typ.Kind == pushdown.JSONB {
			continue
		}
		for _, row := range all {
			if row[i].IsNull() {
				continue
			}
			w.scan(table, types, is(i, typ, row[i].V))
			w.scan(table, types, in(i, typ, row[i].V, all[0][i].V))
			if typ.Kind != pushdown.Text && typ.Kind != pushdown.Varchar && typ.Kind != pushdown.Bool {
				w.scan(table, types, compare(pushdown.GT, i, typ, row[i].V), compare(pushdown.LE, i, typ, row[i].V))
			}
			break
		}
	}
	if object == "charges" {
		expanded, kinds := w.table(object, "mail text customer.email", "product text metadata.order")
		w.scan(expanded, kinds, is(1, kinds[1], `a"b\c`))
	}
}

// writeEverything writes each object that can be written, all of its columns.
func writeEverything(t *testing.T, w *world) {
	id := func(resource string, want func(map[string]any) bool) any {
		for _, o := range w.fake.Objects(resource) {
			if want == nil || want(o) {
				return o["id"]
			}
		}
		t.Fatalf("no such object among %s", resource)
		return nil
	}
	customer, recurring := id("customers", nil), id("prices", func(o map[string]any) bool { return o["type"] == "recurring" })
	at := micros(1_790_000_000)
	address := `{"city": "Åre", "line1": "1", "line2": null, "country": "SE", "postal_code": "8", "state": "J"}`
	shipping := `{"name": "Ada", "phone": "1", "address": ` + address + `}`
	metadata := `{"a": "1", "b&c=d": "2=3"}`
	for n, test := range []struct {
		object         string
		insert, update map[string]any
		remove         bool
	}{
		{"customers", map[string]any{"email": "a+b@example.com", "name": "A&B", "phone": "+46", "description": "x=y", "balance": int64(-5), "address": address, "shipping": shipping, "metadata": metadata,
			"invoice_prefix": "ABC", "invoice_settings_default_payment_method": "pm_1", "next_invoice_sequence": int64(7), "preferred_locales": []pushdown.Value{{V: "de"}, {V: "en"}}, "tax_exempt": "exempt",
			"business_name": "B", "individual_name": "I", "payment_method": "pm_1", "source": "tok_visa"},
			map[string]any{"address_city": "Bonn", "metadata": `{"z": "1"}`, "description": nil, "shipping": nil, "business_name": nil, "tax_exempt": nil, "preferred_locales": []pushdown.Value{{V: "de"}}, "default_source": "card_1"}, true},
		{"products", map[string]any{"id": "own-id", "active": true, "name": "Shirt", "description": "d", "images": []pushdown.Value{{V: "https://example.com/1.png"}}, "marketing_features": `[{"name": "soft"}]`, "metadata": metadata,
			"package_dimensions": `{"height": 1, "length": 2, "weight": 3, "width": 4.5}`, "shippable": true, "statement_descriptor": "SHIRT", "tax_code": "txcd_1", "unit_label": "piece", "url": "https://example.com"},
			map[string]any{"name": "Shirts", "description": nil, "images": []pushdown.Value{}, "marketing_features": nil, "package_dimensions": nil, "url": nil, "unit_label": nil, "metadata": nil}, true},
		{"prices", map[string]any{"product": id("products", nil), "active": true, "currency": "eur", "unit_amount": int64(990), "nickname": "n", "lookup_key": "k1", "recurring": `{"interval": "month", "interval_count": 3}`,
			"billing_scheme": "per_unit", "tax_behavior": "exclusive", "metadata": metadata, "transform_quantity": `{"divide_by": 3, "round": "up"}`},
			map[string]any{"active": false, "nickname": "m", "lookup_key": "k2", "metadata": `{}`, "tax_behavior": "exclusive"}, false},
		{"prices", map[string]any{"product": id("products", nil), "currency": "usd", "unit_amount_decimal": "9.905", "recurring_interval": "year", "recurring_usage_type": "licensed"}, nil, false},
		{"subscriptions", map[string]any{"customer": customer, "items": fmt.Sprintf(`[{"price": "%s", "quantity": 2, "metadata": {"a": "b"}}]`, recurring), "collection_method": "send_invoice", "days_until_due": int64(3), "description": "d",
			"metadata": metadata, "trial_period_days": int64(7), "proration_behavior": "none", "payment_behavior": "allow_incomplete", "backdate_start_date": at},
			map[string]any{"cancel_at_period_end": true, "description": nil, "metadata": `{"q": "1"}`, "cancellation_details": `{"comment": "c"}`, "pause_collection": `{"behavior": "void"}`}, true},
		{"invoices", map[string]any{"customer": customer, "collection_method": "send_invoice", "due_date": at, "description": "d", "footer": "f", "auto_advance": false, "currency": "usd", "custom_fields": `[{"name": "a", "value": "b"}]`,
			"number": "X-1", "statement_descriptor": "X", "metadata": metadata, "pending_invoice_items_behavior": "exclude", "effective_at": at},
			map[string]any{"description": "e", "footer": "g", "metadata": `{}`, "custom_fields": nil, "effective_at": nil, "due_date": at + 1_000_000}, true},
		{"payment_intents", map[string]any{"customer": customer, "amount": int64(2000), "currency": "usd", "description": "d", "receipt_email": "a@example.com", "payment_method": "pm_card_visa", "payment_method_types": []pushdown.Value{{V: "card"}},
			"capture_method": "automatic", "confirm": true, "off_session": true, "setup_future_usage": "off_session", "shipping": shipping, "statement_descriptor_suffix": "x", "transfer_group": "g", "metadata": metadata},
			map[string]any{"description": "e", "metadata": `{"a": "9"}`, "receipt_email": nil}, false},
		{"refunds", map[string]any{"charge": id("charges", func(o map[string]any) bool { return o["amount_refunded"] == int64(0) }), "amount": int64(1), "reason": "duplicate", "metadata": metadata}, map[string]any{"metadata": `{"x": "y"}`}, false},
	} {
		spec := columns(t, w.src, test.object)
		table, err := w.src.Table(t.Context(), connectors.TableSpec{Schema: "public", Name: test.object, Columns: spec})
		require.NoError(t, err)
		by := func(values map[string]any) map[int]any {
			out, n := map[int]any{}, 0
			for i, c := range spec {
				if v, ok := values[c.Name]; ok {
					out[i], n = v, n+1
				}
			}
			require.Equal(t, len(values), n, "%s has not all of these columns", test.object)
			return out
		}
		got := w.write(table, connectors.Insert, fmt.Sprintf("legal-%d", n), nil, by(test.insert))
		require.Equal(t, connectors.Applied, got.Outcome, "%s: %v", test.object, got.Err)
		key := w.fake.Objects(test.object)[0]["id"]
		if test.update != nil {
			got = w.write(table, connectors.Update, fmt.Sprintf("legal-u-%d", n), key, by(test.update))
			require.Equal(t, connectors.Applied, got.Outcome, "%s: %v", test.object, got.Err)
		}
		if test.remove {
			got = w.write(table, connectors.Delete, fmt.Sprintf("legal-d-%d", n), key, nil)
			require.Equal(t, connectors.Applied, got.Outcome, "%s: %v", test.object, got.Err)
		}
	}
}
