package rest

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// A refusal of all rows is about one of them, which it does not number: it names a
// record that is not there, a value, or a field.
func TestBatch_RefusalIsAboutARow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		names      []any
		want       string
		requests   int
	}{
		{"a record that is not there", `{"gone": "k2"}`, []any{"A", "B", "C"}, "ok | missing | ok", 2},
		{"a record that is not among them", `{"gone": "k9"}`, []any{"A", "B", "C"}, "no 6 : bad | - not applied, because the request of row 1 was refused | - not applied, because the request of row 1 was refused", 1},
		{"a value", `{"value": "B"}`, []any{"A", "B", "C"}, "- not applied, because row 2 was refused | no 6 name: bad | - not applied, because row 2 was refused", 1},
		{"a value that two have", `{"value": "B"}`, []any{"A", "B", "B"}, "no 6 : bad | - not applied, because the request of row 1 was refused | - not applied, because the request of row 1 was refused", 1},
		{"a field that one gives", `{"field": "name"}`, []any{nil, nil, "C"}, "- not applied, because row 3 was refused | - not applied, because row 3 was refused | no 6 name: bad: \"name\": wrong", 1},
		{"a field that all give", `{"field": "name"}`, []any{"A", "B", "C"}, "no 6 name: bad: \"name\": wrong | - not applied, because the request of row 1 was refused | - not applied, because the request of row 1 was refused", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, answer{status: 422, body: c.body}, answer{status: 200, body: `[{"id":"k1"},{"id":"k3"}]`})
			refusedBatch(t, s, c.names, c.want, c.requests)
		})
	}
}

func refusedBatch(t *testing.T, s *script, names []any, want string, requests int) {
	t.Helper()
	c := NewVendor(Vendor{Name: "crm", Manifest: []byte(`
manifest: 1
name: CRM
base_url: ` + s.URL + `
update: {batch: {method: PATCH, path: "{path}", max: 5, atomic: true, list: l, entry: {id: "{key}"}, answers: {match: id}, as: "{key}"}}
errors: {codes: {bad: check}}
objects: {things: {path: /things, key: id, fields: {id: {type: text, read_only: true}, name: {type: text}}}}
`), Open: func(*API) (Hooks, error) {
		return Hooks{Refusal: func(_ int, _ http.Header, body []byte) *Refusal {
			var said struct{ Gone, Value, Field string }
			_ = json.Unmarshal(body, &said)
			r := &Refusal{Message: "bad", Code: "bad", Missing: said.Gone, Value: said.Value}
			if said.Field != "" {
				r.Fields = []FieldRefusal{{Field: said.Field, Message: "wrong"}}
			}
			return r
		}}, nil
	}})
	src, err := c.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "crm"})
	require.NoError(t, err)
	defer func() { _ = src.Close() }()
	tab, err := src.Table(t.Context(), connectors.TableSpec{Name: "things", Columns: columnsOf(&c.manifest.Objects[0])})
	require.NoError(t, err)
	b, _ := many(tab.(*table), connectors.Update, []any{"k1", "k2", "k3"}, names)
	require.NoError(t, tab.(*table).Modify(t.Context(), b))
	require.Equal(t, want, outcomes(b.Results))
	require.Len(t, s.lines(), requests)
}
