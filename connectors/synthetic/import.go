package synthetic

// IMPORT FOREIGN SCHEMA.

import (
	"context"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
)

// schemaName is the only remote schema.
const schemaName = "synthetic"

// Import offers the generated object with a column of each usual type.
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
	var list []connectors.ImportedTable
	for _, t := range []connectors.ImportedTable{
		{Name: "sequence", Comment: "Generated rows; no two scans differ", Options: map[string]string{"object": "sequence"},
			Columns: []connectors.ImportedColumn{
				id, col("quantity", "integer"), col("score", "double precision"), col("amount", "numeric"),
				col("email", "text"), col("first_name", "text"), col("last_name", "text"), col("city", "text"),
				col("active", "boolean"), col("birthday", "date"), col("created", "timestamp with time zone"),
				col("token", "uuid"), col("rank", "smallint"),
			}},
	} {
		if req.LimitTo != nil && !slices.Contains(req.LimitTo, t.Name) || slices.Contains(req.Except, t.Name) {
			continue
		}
		list = append(list, t)
	}
	return list, nil
}
