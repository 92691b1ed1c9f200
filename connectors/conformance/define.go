package conformance

// Tests of options and of IMPORT FOREIGN SCHEMA.

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// unknownOption is the name of no option.
const unknownOption = "no_such_option"

// with is a copy of m with one more entry.
func with(m map[string]string, k, v string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = make(map[string]string)
	}
	m[k] = v
	return m
}

// requireUnknown checks the error about unknownOption.
func (h *harness) requireUnknown(t *testing.T, err error, where connectors.Where) {
	t.Helper()
	var e *connectors.Error
	require.ErrorAs(t, err, &e, "an unknown option for a %s", where)
	require.Equal(t, connectors.InvalidOption, e.Class)
	require.Contains(t, e.Message, unknownOption, "the message names the option")
	for _, o := range h.Connector.Options() {
		if o.Where == where {
			require.Contains(t, e.Hint, o.Name, "the hint lists the valid options")
		}
	}
	h.shown(t, e.Message+e.Detail+e.Hint)
}

func testOptions(t *testing.T, h *harness) {
	ctx := t.Context()
	seen := make(map[connectors.Where]map[string]bool)
	for _, o := range h.Connector.Options() {
		require.NotEmpty(t, o.Name)
		require.True(t, strings.HasSuffix(o.Help, "."), "the help of option %q is a sentence", o.Name)
		if seen[o.Where] == nil {
			seen[o.Where] = make(map[string]bool)
		}
		require.False(t, seen[o.Where][o.Name], "option %q for a %s is there twice", o.Name, o.Where)
		seen[o.Where][o.Name] = true
		if o.Secret {
			require.Equal(t, connectors.OnUserMapping, o.Where, "secret option %q belongs in the user mapping", o.Name)
		}
	}
	server := cloneServer(h.Server)
	server.Options = with(server.Options, unknownOption, "x")
	_, err := h.Connector.Open(ctx, h.Env, server)
	h.requireUnknown(t, err, connectors.OnServer)

	server = cloneServer(h.Server)
	server.Credential = with(server.Credential, unknownOption, "x")
	_, err = h.Connector.Open(ctx, h.Env, server)
	h.requireUnknown(t, err, connectors.OnUserMapping)

	table := h.Table
	table.Options = with(table.Options, unknownOption, "x")
	_, err = h.source.Table(ctx, table)
	h.requireUnknown(t, err, connectors.OnTable)

	table = h.Table
	table.Columns = append([]connectors.ColumnSpec(nil), table.Columns...)
	table.Columns[0].Options = with(table.Columns[0].Options, unknownOption, "x")
	_, err = h.source.Table(ctx, table)
	h.requireUnknown(t, err, connectors.OnColumn)

	_, err = h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: h.RemoteSchema, Options: map[string]string{unknownOption: "x"}})
	h.requireUnknown(t, err, connectors.OnImport)

	for _, o := range h.Connector.Options() {
		if o.Where != connectors.OnServer || !o.Required {
			continue
		}
		server := cloneServer(h.Server)
		delete(server.Options, o.Name)
		_, err := h.Connector.Open(ctx, h.Env, server)
		var e *connectors.Error
		require.ErrorAs(t, err, &e, "without option %q", o.Name)
		require.Equal(t, connectors.InvalidOption, e.Class)
		require.Contains(t, e.Message, o.Name)
	}
}

func testImport(t *testing.T, h *harness) {
	ctx := t.Context()
	imported, err := h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: h.RemoteSchema})
	require.NoError(t, err)
	require.NotEmpty(t, imported)
	again, err := h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: h.RemoteSchema})
	require.NoError(t, err)
	require.Equal(t, imported, again, "two imports differ")

	names := make(map[string]bool)
	for _, table := range imported {
		require.False(t, names[table.Name], "table %q is there twice", table.Name)
		names[table.Name] = true
		require.NotEmpty(t, table.Columns, "table %q", table.Name)
		columns := make(map[string]bool)
		for _, c := range table.Columns {
			require.NotEmpty(t, c.Name)
			require.NotEmpty(t, c.Type, "column %q of table %q", c.Name, table.Name)
			require.False(t, columns[c.Name], "column %q of table %q is there twice", c.Name, table.Name)
			columns[c.Name] = true
		}
		h.bindImported(t, table)
	}

	first := imported[0].Name
	only, err := h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: h.RemoteSchema, LimitTo: []string{first}})
	require.NoError(t, err)
	require.Equal(t, imported[:1], only, "LIMIT TO")
	rest, err := h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: h.RemoteSchema, Except: []string{first}})
	require.NoError(t, err)
	require.Len(t, rest, len(imported)-1, "EXCEPT")

	_, err = h.source.Import(ctx, connectors.ImportRequest{RemoteSchema: "no such schema"})
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.InvalidSchema, e.Class)
	require.Contains(t, e.Message+e.Detail+e.Hint, h.RemoteSchema, "the error lists the schemas there are")
	h.shown(t, e.Message+e.Detail+e.Hint)
}

// bindImported makes the table that was offered, if its types are plain ones.
func (h *harness) bindImported(t *testing.T, table connectors.ImportedTable) {
	t.Helper()
	spec := connectors.TableSpec{Schema: "public", Name: table.Name, Options: table.Options}
	for _, c := range table.Columns {
		typ, ok := typeOf(c.Type)
		if !ok {
			t.Logf("table %q is not bound: column %q is of type %s", table.Name, c.Name, c.Type)
			return
		}
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: c.Name, Type: typ, NotNull: c.NotNull, Options: c.Options})
	}
	bound, err := h.source.Table(t.Context(), spec)
	require.NoError(t, err, "table %q cannot be bound as it was offered", table.Name)
	bound.Describe()
}

// typeOf reads the name of a plain type.
func typeOf(name string) (pushdown.Type, bool) {
	t := pushdown.Type{Name: name}
	name, t.Array = strings.CutSuffix(name, "[]")
	base, mods, _ := strings.Cut(name, "(")
	if i := strings.IndexByte(mods, ')'); i >= 0 {
		base += mods[i+1:]
		mods = mods[:i]
	}
	kinds := map[string]pushdown.Kind{
		"bool": pushdown.Bool, "smallint": pushdown.Int2, "int2": pushdown.Int2, "int": pushdown.Int4, "int4": pushdown.Int4,
		"int8": pushdown.Int8, "float4": pushdown.Float4, "float8": pushdown.Float8, "varchar": pushdown.Varchar,
		"char": pushdown.BPChar, "bpchar": pushdown.BPChar, "timestamp": pushdown.Timestamp, "time": pushdown.Time,
		"timestamptz": pushdown.TimestampTZ,
	}
	for k := pushdown.Bool; k <= pushdown.Bytea; k++ {
		kinds[k.String()] = k
	}
	t.Kind = kinds[strings.TrimSpace(base)]
	if mods != "" {
		p, s, _ := strings.Cut(mods, ",")
		n, _ := strconv.Atoi(p)
		scale, _ := strconv.Atoi(s)
		switch t.Kind {
		case pushdown.Numeric:
			t.Precision, t.Scale = uint32(n), int32(scale)
		case pushdown.Varchar, pushdown.BPChar:
			t.Length = uint32(n)
		}
	}
	return t, t.Kind != 0
}
