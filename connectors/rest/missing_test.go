package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// A refusal of all rows that names one which is not there is no refusal of the
// others, nor of that one.
func TestBatch_RefusalNamesARowThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newScript(t, answer{status: 422, body: `{"gone": "k2"}`}, answer{status: 200, body: `[{"id":"k1"},{"id":"k3"}]`})
	c := NewVendor(Vendor{Name: "crm", Manifest: []byte(`
manifest: 1
name: CRM
base_url: ` + s.URL + `
update: {batch: {method: PATCH, path: "{path}", max: 5, atomic: true, list: l, entry: {id: "{key}"}, answers: {match: id}, as: "{key}"}}
objects: {things: {path: /things, key: id, fields: {id: {type: text, read_only: true}, name: {type: text}}}}
`), Open: func(*API) (Hooks, error) {
		return Hooks{Refusal: func(_ int, _ http.Header, body []byte) *Refusal {
			return &Refusal{Message: "gone", Missing: strings.Trim(strings.TrimPrefix(string(body), `{"gone": `), `"}`)}
		}}, nil
	}})
	src, err := c.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "crm"})
	require.NoError(t, err)
	defer func() { _ = src.Close() }()
	tab, err := src.Table(t.Context(), connectors.TableSpec{Name: "things", Columns: columnsOf(&c.manifest.Objects[0])})
	require.NoError(t, err)
	b, _ := many(tab.(*table), connectors.Update, []any{"k1", "k2", "k3"}, []any{"A", "B", "C"})
	require.NoError(t, tab.(*table).Modify(t.Context(), b))
	require.Equal(t, "ok | missing | ok", outcomes(b.Results))
	require.Len(t, s.lines(), 2)
}
