package stripe

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// readOnly is quick without writes to an object: those of subscriptions come back
// otherwise than they were given, and their DELETE leaves a row.
func readOnly(object string) *rest.Connector {
	text := strings.Replace(quickManifest(), "\n  "+object+":\n", "\n  "+object+":\n    create: {off: true}\n    update: {off: true}\n    delete: {off: true}\n", 1)
	return rest.NewVendor(rest.Vendor{Name: "stripe", Manifest: []byte(text), Options: options(), Open: open})
}

// quick is the connector without the limit of searches, which the server option
// does not raise.
func quick() *rest.Connector {
	return rest.NewVendor(rest.Vendor{Name: "stripe", Manifest: []byte(quickManifest()), Options: options(), Open: open})
}

func quickManifest() string {
	return strings.Replace(string(manifest), "search: {per_second: 16, burst: 4}", "search: {per_second: 100000, burst: 1000}", 1)
}

func startFake(t *testing.T, o fake.Options) *fake.Server {
	t.Helper()
	s, err := fake.New(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func testEnv() connectors.Env {
	return connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 32 << 20, UserAgent: "hallway-test"}
}

func testServer(s *fake.Server, more ...string) connectors.ServerSpec {
	options := map[string]string{"base_url": s.URL, "calls_per_second": "100000"}
	for i := 0; i < len(more); i += 2 {
		options[more[i]] = more[i+1]
	}
	return connectors.ServerSpec{Name: "stripe", Options: options, Credential: map[string]string{"token": fake.Key}}
}

// kinds of the types that the manifest's fields are imported as.
var kinds = map[string]pushdown.Kind{"text": pushdown.Text, "bigint": pushdown.Int8, "numeric": pushdown.Numeric, "boolean": pushdown.Bool, "timestamptz": pushdown.TimestampTZ, "jsonb": pushdown.JSONB, "varchar": pushdown.Varchar}

func typeNamed(name string) pushdown.Type {
	t := pushdown.Type{Name: name}
	name, t.Array = strings.CutSuffix(name, "[]")
	base, length, _ := strings.Cut(name, "(")
	t.Kind = kinds[base]
	if length != "" {
		_, _ = fmt.Sscanf(length, "%d)", &t.Length)
	}
	return t
}

// columns of an object as they are imported; more are "name type field".
func columns(t *testing.T, src connectors.Source, object string, more ...string) []connectors.ColumnSpec {
	t.Helper()
	tables, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "stripe", LimitTo: []string{object}})
	require.NoError(t, err)
	require.Len(t, tables, 1)
	var out []connectors.ColumnSpec
	for _, c := range tables[0].Columns {
		out = append(out, connectors.ColumnSpec{Name: c.Name, Type: typeNamed(c.Type), NotNull: c.NotNull, Options: c.Options})
	}
	for _, m := range more {
		f := strings.Fields(m)
		out = append(out, connectors.ColumnSpec{Name: f[0], Type: typeNamed(f[1]), Options: map[string]string{"field": f[2]}})
	}
	return out
}

// world is an open server on a fake.
type world struct {
	t    *testing.T
	fake *fake.Server
	src  connectors.Source
}

func newWorld(t *testing.T, s *fake.Server, options ...string) *world {
	t.Helper()
	src, err := quick().Open(t.Context(), testEnv(), testServer(s, options...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = src.Close() })
	return &world{t, s, src}
}

// table with the columns "name type [field]".
func (w *world) table(object string, columns ...string) (connectors.Table, []pushdown.Type) {
	w.t.Helper()
	spec := connectors.TableSpec{Schema: "public", Name: object, Options: map[string]string{}}
	var types []pushdown.Type
	for _, c := range columns {
		f := strings.Fields(c)
		col := connectors.ColumnSpec{Name: f[0], Type: typeNamed(f[1]), Options: map[string]string{}}
		if len(f) > 2 {
			col.Options["field"] = f[2]
		}
		spec.Columns, types = append(spec.Columns, col), append(types, col.Type)
	}
	table, err := w.src.Table(w.t.Context(), spec)
	require.NoError(w.t, err)
	return table, types
}

// scan gives all rows that conjuncts let the API answer with.
func (w *world) scan(table connectors.Table, types []pushdown.Type, conjuncts ...pushdown.Expr) [][]pushdown.Value {
	w.t.Helper()
	got, err := scan(w.t.Context(), table, types, connectors.Query{Request: pushdown.Request{Conjuncts: conjuncts}})
	require.NoError(w.t, err)
	return got
}

func scan(ctx context.Context, table connectors.Table, types []pushdown.Type, q connectors.Query) ([][]pushdown.Value, error) {
	for i := range types {
		q.Columns = append(q.Columns, i)
	}
	if q.Stats == nil {
		q.Stats = &connectors.Stats{}
	}
	var got [][]pushdown.Value
	out := rows.NewBuilder(types, func(tuples []byte, n int) error {
		batch, err := rows.DecodeTuples(types, tuples, n)
		got = append(got, batch...)
		return err
	}, rows.Options{})
	_, err := table.Scan(ctx, q, out)
	return got, err
}

func is(column int, t pushdown.Type, v any) pushdown.Expr {
	return compare(pushdown.EQ, column, t, v)
}

func compare(op pushdown.Operator, column int, t pushdown.Type, v any) pushdown.Expr {
	return &pushdown.Comparison{Op: op, Left: &pushdown.Column{Index: column}, Collation: pushdown.Collation{Name: "default", Deterministic: true},
		Right: &pushdown.Param{Type: t, Known: true, Value: pushdown.Value{V: v}}}
}

var seeds = fake.Seeds{Customers: 230, Products: 60, Prices: 130, Subscriptions: 120, Invoices: 130, Charges: 160}

// Objects as they are imported. Of each kind of them one is asked most, and the others
// are smaller.
func TestConformance(t *testing.T) {
	few := fake.Seeds{Customers: 45, Products: 35, Prices: 40, Subscriptions: 20, Invoices: 45, Charges: 50}
	for _, test := range []struct {
		object, search string
		queries        int
		seeds          fake.Seeds
	}{
		{"customers", "false", 50, seeds}, {"prices", "false", 50, seeds}, {"subscriptions", "false", 50, seeds}, {"charges", "true", 50, seeds}, {"events", "false", 50, fake.Seeds{}},
		{"products", "true", 20, few}, {"invoices", "true", 20, few}, {"payment_intents", "true", 20, few}, {"refunds", "false", 20, fake.Seeds{Customers: 45, Charges: 180}}, {"balance_transactions", "false", 20, few},
	} {
		object, search := test.object, test.search
		t.Run(object+", search "+search, func(t *testing.T) {
			t.Parallel()
			s := startFake(t, fake.Options{Knobs: fake.Knobs{ActivePricesOnly: object == "prices"}})
			s.Seed(5, test.seeds)
			page := "30"
			if test.seeds == few {
				page = "12"
			}
			if object == "events" {
				addEvents(s, 230)
			}
			w := newWorld(t, s)
			subject := conformance.Subject{
				Connector: quick(), Env: testEnv(), Server: testServer(s, "search", search, "page_size", page),
				Table: connectors.TableSpec{Schema: "public", Name: object, Columns: columns(t, w.src, object)},
				Calls: func() int64 { return int64(len(s.Requests())) }, Secret: fake.Key, RemoteSchema: "stripe", Queries: test.queries,
			}
			switch object {
			case "refunds":
			case "products", "prices":
				subject.MinPages = 2
			default:
				subject.MinPages = 4
			}
			if object == "subscriptions" {
				subject.Connector = readOnly(object)
			} else {
				subject.Writes = writes(s, object)
			}
			conformance.Run(t, subject)
		})
	}
}

func addEvents(s *fake.Server, n int) {
	for i := range n {
		s.AddEvent([]string{"customer.created", "customer.updated", "invoice.paid"}[i%3], map[string]any{"id": fmt.Sprintf("cus_%d", i/3), "object": "customer"}, time.Now().Add(-time.Duration(i)*time.Minute))
	}
}

// writes are what conformance tries on an object; nil: it is read only.
func writes(s *fake.Server, object string) *conformance.Writes {
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	id := func(resource string, want func(map[string]any) bool) pushdown.Value {
		for _, o := range s.Objects(resource) {
			if want == nil || want(o) {
				return v(o["id"])
			}
		}
		return v("none")
	}
	w := &conformance.Writes{MissingKey: []pushdown.Value{v("none_1")}, Delete: true}
	insert := func(row conformance.Row) func(int) conformance.Row {
		return func(n int) conformance.Row {
			row := maps.Clone(row)
			row["metadata"] = v(fmt.Sprintf(`{"n": "%d", "b&c": "2=3"}`, n))
			return row
		}
	}
	w.Update = func(n int) conformance.Row {
		return conformance.Row{"metadata": v(fmt.Sprintf(`{"changed": "%d"}`, n))}
	}
	switch object {
	case "customers":
		w.Insert = func(n int) conformance.Row {
			return conformance.Row{"name": v(fmt.Sprintf("new %d", n)), "email": v(fmt.Sprintf("new%d@example.com", n)), "balance": v(int64(-n)), "description": v([]string{"é'", `\`, "🦆", "a&b=c[d]"}[n%4]),
				"metadata": v(`{"a": "1", "b&c": "2=3"}`), "phone": {}, "address": v(`{"city": "Åre", "line1": "1 \"x\"", "country": null, "line2": null, "state": null, "postal_code": null}`)}
		}
		w.Update = func(n int) conformance.Row {
			return conformance.Row{"description": v(fmt.Sprintf("changed %d", n)), "phone": {}, "metadata": v(fmt.Sprintf(`{"n": "%d"}`, n))}
		}
		w.Refused = []conformance.Refusal{
			{Name: "bad e-mail", Change: conformance.Row{"email": v("nonsense")}, Class: connectors.CheckViolation, Column: "email"},
			{Name: "unknown choice", Change: conformance.Row{"tax_exempt": v("maybe")}, Class: connectors.CheckViolation, Column: "tax_exempt"},
			{Name: "too long", Change: conformance.Row{"name": v(strings.Repeat("x", 257))}, Class: connectors.TooLong, Column: "name"},
			{Name: "member that is not there", Change: conformance.Row{"address": v(`{"street": "x"}`)}, Class: connectors.NotSupported},
			{Name: "NULL in a number", Change: conformance.Row{"balance": {}}, Class: connectors.NotNullViolation, Column: "balance"},
		}
	case "products":
		w.Insert = insert(conformance.Row{"name": v("Boots"), "url": v("https://example.com/?a=1&b=2"), "images": v([]pushdown.Value{v("https://example.com/1.png"), v("https://example.com/2.png")})})
		w.Refused = []conformance.Refusal{
			{Name: "without a name", Change: conformance.Row{"name": v(conformance.Omit{})}, Class: connectors.NotNullViolation, Column: "name"},
			{Name: "unknown price", Change: conformance.Row{"default_price": v("price_none")}, Class: connectors.NotSupported, Column: "default_price"},
			{Name: "id that is taken", Change: conformance.Row{"id": id("products", nil)}, Class: connectors.UniqueViolation},
		}
	case "prices":
		w.Insert, w.Delete = insert(conformance.Row{"product": id("products", nil), "currency": v("eur"), "unit_amount": v(int64(990)), "recurring_interval": v("month")}), false
		w.Refused = []conformance.Refusal{
			{Name: "unknown product", Change: conformance.Row{"product": v("prod_none")}, Class: connectors.ForeignKeyViolation, Column: "product"},
			{Name: "without a currency", Change: conformance.Row{"currency": v(conformance.Omit{})}, Class: connectors.NotNullViolation, Column: "currency"},
		}
	case "invoices":
		w.Insert = insert(conformance.Row{"customer": id("customers", nil), "collection_method": v("send_invoice"), "due_date": v(int64(900_000_000_000_000)), "description": v("x")})
		w.Refused = []conformance.Refusal{{Name: "unknown customer", Change: conformance.Row{"customer": v("cus_none")}, Class: connectors.ForeignKeyViolation, Column: "customer"}}
	case "payment_intents":
		w.Insert, w.Delete = insert(conformance.Row{"amount": v(int64(2000)), "currency": v("usd"), "customer": id("customers", nil)}), false
		w.Refused = []conformance.Refusal{{Name: "too small", Change: conformance.Row{"amount": v(int64(10))}, Class: connectors.CheckViolation, Column: "amount"}}
	case "charges":
		w.Delete = false
	case "refunds":
		charge := id("charges", func(o map[string]any) bool { return o["amount_refunded"] == int64(0) })
		w.Insert, w.Delete = insert(conformance.Row{"charge": charge, "amount": v(int64(1))}), false
		w.Refused = []conformance.Refusal{{Name: "unknown charge", Change: conformance.Row{"charge": v("ch_none")}, Class: connectors.ForeignKeyViolation, Column: "charge"}}
	default:
		return nil
	}
	return w
}
