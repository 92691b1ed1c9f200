package airtable

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// world is a server with the base CRM, and a source for it.
type world struct {
	*fake.Server
	*fake.CRM
	src connectors.Source
}

func newWorld(t *testing.T, options ...string) *world {
	t.Helper()
	s := fake.New(fake.Options{})
	t.Cleanup(s.Close)
	w := &world{Server: s, CRM: fake.AddCRM(s)}
	w.src = w.open(t, options...)
	return w
}

func env() connectors.Env {
	return connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 64 << 20, UserAgent: "hallway-test"}
}

// spec of a server; options are name, value, name, value.
func (w *world) spec(options ...string) connectors.ServerSpec {
	o := map[string]string{"base_url": w.URL + "/v0", "calls_per_second": "10000", "lockout_seconds": "0.2"}
	for i := 0; i < len(options); i += 2 {
		o[options[i]] = options[i+1]
	}
	return connectors.ServerSpec{Name: "airtable", Options: o, Credential: map[string]string{"token": w.Token}}
}

func (w *world) open(t *testing.T, options ...string) connectors.Source {
	t.Helper()
	src, err := New().Open(t.Context(), env(), w.spec(options...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = src.Close() })
	return src
}

// imported gives the tables of a remote schema by name.
func (w *world) imported(t *testing.T, schema string) map[string]connectors.ImportedTable {
	t.Helper()
	list, err := w.src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: schema})
	require.NoError(t, err)
	out := map[string]connectors.ImportedTable{}
	for _, table := range list {
		out[table.Name] = table
	}
	return out
}

// types that the tables of the base CRM have.
var types = map[string]pushdown.Type{
	"text": {Kind: pushdown.Text, Name: "text"}, "text[]": {Kind: pushdown.Text, Array: true, Name: "text[]"}, "numeric": {Kind: pushdown.Numeric, Name: "numeric"},
	"bigint": {Kind: pushdown.Int8, Name: "bigint"}, "boolean": {Kind: pushdown.Bool, Name: "boolean"}, "jsonb": {Kind: pushdown.JSONB, Name: "jsonb"},
	"date": {Kind: pushdown.Date, Name: "date"}, "timestamp with time zone": {Kind: pushdown.TimestampTZ, Name: "timestamp with time zone"}, "timestamptz": {Kind: pushdown.TimestampTZ, Name: "timestamptz"},
}

// table binds an imported table, with further options.
func (w *world) table(t *testing.T, schema, name string, options ...string) (connectors.Table, connectors.TableSpec) {
	t.Helper()
	imported, ok := w.imported(t, schema)[name]
	require.True(t, ok, name)
	spec := connectors.TableSpec{Schema: "crm", Name: name, Options: imported.Options}
	for i := 0; i < len(options); i += 2 {
		spec.Options[options[i]] = options[i+1]
	}
	for _, c := range imported.Columns {
		ty, known := types[c.Type]
		require.True(t, known, c.Type)
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: c.Name, Type: ty, NotNull: c.NotNull, Options: c.Options})
	}
	tab, err := w.src.Table(t.Context(), spec)
	require.NoError(t, err)
	return tab, spec
}

// column is the position of a column.
func column(t *testing.T, spec connectors.TableSpec, name string) int {
	t.Helper()
	for i, c := range spec.Columns {
		if c.Name == name {
			return i
		}
	}
	t.Fatalf("no column %q", name)
	return 0
}

// scan gives the values of columns, with the filter that conjuncts make.
func scan(t *testing.T, tab connectors.Table, spec connectors.TableSpec, conjuncts []pushdown.Expr, names ...string) [][]any {
	t.Helper()
	q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Conjuncts: conjuncts}}
	var kinds []pushdown.Type
	for _, name := range names {
		c := column(t, spec, name)
		q.Columns, kinds = append(q.Columns, c), append(kinds, spec.Columns[c].Type)
	}
	var out [][]any
	b := rows.NewBuilder(kinds, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(kinds, tuples, n)
		for _, row := range list {
			values := make([]any, len(row))
			for i, v := range row {
				values[i] = plain(v)
			}
			out = append(out, values)
		}
		return err
	}, rows.Options{})
	_, err := tab.Scan(context.Background(), q, b)
	require.NoError(t, err)
	return out
}

func plain(v pushdown.Value) any {
	list, ok := v.V.([]pushdown.Value)
	if !ok {
		return v.V
	}
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = e.V
	}
	return out
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	got := w.imported(t, "default")
	require.Len(t, got, 2)
	contacts := got["contacts"]
	require.Equal(t, map[string]string{"object": "Contacts"}, contacts.Options)
	require.Equal(t, "People we know", contacts.Comment)
	var lines []string
	for _, c := range contacts.Columns {
		line := c.Name + " " + c.Type
		if c.NotNull {
			line += " NOT NULL"
		}
		if c.Comment != "" {
			line += " -- " + c.Comment
		}
		lines = append(lines, line)
	}
	require.Equal(t, []string{
		"id text NOT NULL -- The record's id", "created_time timestamptz NOT NULL", "name text -- First and last", "email text", "phone text", "notes text", "bio text",
		"status text -- One of Lead, Customer, Lost", "tags text[] -- One of red, green, blue, light", "amount numeric", "share numeric", "score numeric", "stars bigint",
		"talk_time numeric", "vip boolean NOT NULL", "born date", "last_seen timestamptz", "company text[]", "company_domains jsonb", "files jsonb", "owner jsonb", "code jsonb",
		"label text", "per_star numeric", "age_in_days numeric", "number bigint NOT NULL", "created timestamptz NOT NULL", "last_modified timestamptz", "created_by jsonb", "odd_name text", "it_s_odd_too text",
	}, lines)
	require.Equal(t, map[string]string{"field": "RECORD_ID()", "key": "true"}, contacts.Columns[0].Options)
	require.Equal(t, 2, w.Calls(fake.Meta), "the bases, and the tables of one")
}
