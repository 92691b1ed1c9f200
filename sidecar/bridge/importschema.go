// ImportSchema: tables for IMPORT FOREIGN SCHEMA.

package bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// maxImportNames bounds LIMIT TO and EXCEPT.
const maxImportNames = 100000

// ImportSchema lists tables, asking the API's metadata where it has any.
func (s *Server) ImportSchema(ctx context.Context, req *hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	b, err := s.bind(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	ir := connectors.ImportRequest{RemoteSchema: req.GetRemoteSchema()}
	if ir.Options, err = optionMap(req.GetOptions()); err != nil {
		return nil, err
	}
	names := req.GetTables()
	if len(names) > maxImportNames {
		return nil, protocolError("%d table names", len(names))
	}
	if names == nil {
		names = []string{}
	}
	switch {
	case req.GetLimitTo() && req.GetExcept():
		return nil, protocolError("LIMIT TO and EXCEPT together")
	case req.GetLimitTo():
		ir.LimitTo = names
	case req.GetExcept():
		ir.Except = names
	}
	list, err := b.source.Import(ctx, ir)
	if err != nil {
		return nil, fmt.Errorf("listing the API's objects: %w", err)
	}
	resp := &hallwayv1.ImportSchemaResponse{}
	for _, t := range list {
		if ir.LimitTo != nil && !slices.Contains(ir.LimitTo, t.Name) || slices.Contains(ir.Except, t.Name) {
			continue
		}
		wt := &hallwayv1.ImportedTable{Name: t.Name, Comment: t.Comment, Options: wireOptions(t.Options)}
		for _, c := range t.Columns {
			wt.Columns = append(wt.Columns, &hallwayv1.ImportedColumn{Name: c.Name, Type: c.Type, NotNull: c.NotNull,
				Comment: c.Comment, Options: wireOptions(c.Options)})
		}
		resp.Tables = append(resp.Tables, wt)
	}
	return resp, nil
}

// wireOptions has a stable order.
func wireOptions(m map[string]string) []*hallwayv1.Option {
	out := make([]*hallwayv1.Option, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &hallwayv1.Option{Name: k, Value: m[k]})
	}
	return out
}
