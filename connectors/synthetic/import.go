package synthetic

// IMPORT FOREIGN SCHEMA.

import (
	"context"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// schemaName is the only remote schema.
const schemaName = "synthetic"

// Import offers the generated object, with columns of usual types, and the
// stores there are.
func (s *source) Import(_ context.Context, req connectors.ImportRequest) ([]connectors.ImportedTable, error) {
	if req.RemoteSchema != schemaName {
		return nil, &connectors.Error{Class: connectors.InvalidSchema, API: apiName,
			Message: fmt.Sprintf("there is no schema %q", req.RemoteSchema),
			Hint:    "Schemas: " + schemaName + "."}
	}
	if err := connectors.CheckOptions(s.c.Options(), connectors.OnImport, "", req.Options); err != nil {
		return nil, err
	}
	col := func(name, typ string) connectors.ImportedColumn {
		return connectors.ImportedColumn{Name: name, Type: typ}
	}
	id := connectors.ImportedColumn{Name: "id", Type: "bigint", NotNull: true,
		Options: map[string]string{"key": "true"}, Comment: "Row number, from 1"}
	tables := []connectors.ImportedTable{{
		Name: "sequence", Comment: "Generated rows", Options: map[string]string{"object": "sequence"},
		Columns: []connectors.ImportedColumn{
			id, col("quantity", "integer"), col("score", "double precision"), col("amount", "numeric"),
			col("email", "text"), col("first_name", "text"), col("last_name", "text"), col("city", "text"),
			col("active", "boolean"), col("birthday", "date"), col("created", "timestamp with time zone"),
			col("token", "uuid"), col("rank", "smallint"),
		},
	}}
	for _, name := range s.c.storeNames() {
		tables = append(tables, s.c.importStore(name))
	}
	return slices.DeleteFunc(tables, func(t connectors.ImportedTable) bool {
		return req.LimitTo != nil && !slices.Contains(req.LimitTo, t.Name) || slices.Contains(req.Except, t.Name)
	}), nil
}

// importStore describes a store by what its tables named so far; the rules are
// the tables' own and not known here.
func (c *Connector) importStore(name string) connectors.ImportedTable {
	c.mu.Lock()
	st := c.stores[name]
	c.mu.Unlock()
	t := connectors.ImportedTable{Name: name, Comment: "Rows kept in memory", Options: map[string]string{"store": name}}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, f := range st.fields {
		t.Columns = append(t.Columns, connectors.ImportedColumn{Name: f.name, Type: sqlType(f.t)})
	}
	return t
}

// sqlType writes a type with its modifiers.
func sqlType(t pushdown.Type) string {
	array := ""
	if t.Array {
		array = "[]"
	}
	name := t.Kind.String()
	switch t.Kind {
	case pushdown.Enum, pushdown.Other:
		name, array = rows.TypeName(t), ""
	case pushdown.Varchar, pushdown.BPChar:
		if t.Length > 0 {
			name = fmt.Sprintf("%s(%d)", name, t.Length)
		} else if t.Kind == pushdown.BPChar {
			name = "bpchar" // character alone is character(1)
		}
	case pushdown.Numeric:
		if t.Precision > 0 {
			name = fmt.Sprintf("numeric(%d,%d)", t.Precision, t.Scale)
		}
	}
	return name + array
}
