// IMPORT FOREIGN SCHEMA: the manifest's objects as tables.

package rest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
)

// Import lists the objects. The remote schema is "default", or the manifest's
// name in any case.
func (s *source) Import(_ context.Context, req connectors.ImportRequest) ([]connectors.ImportedTable, error) {
	if req.RemoteSchema != "default" && !strings.EqualFold(req.RemoteSchema, s.m.Name) {
		return nil, &connectors.Error{Class: connectors.InvalidSchema, API: s.m.Name,
			Message: fmt.Sprintf("there is no remote schema %q", req.RemoteSchema),
			Hint:    fmt.Sprintf("Remote schemas of server %q: default, %s.", s.server, strings.ToLower(s.m.Name))}
	}
	if err := connectors.CheckOptions(New().Options(), connectors.OnImport, "", req.Options); err != nil {
		return nil, err
	}
	var out []connectors.ImportedTable
	for i := range s.m.Objects {
		o := &s.m.Objects[i]
		if (req.LimitTo != nil && !slices.Contains(req.LimitTo, o.Name)) || slices.Contains(req.Except, o.Name) {
			continue
		}
		out = append(out, s.imported(o))
	}
	return out, nil
}

func (s *source) imported(o *Object) connectors.ImportedTable {
	t := connectors.ImportedTable{Name: o.Name, Options: map[string]string{"object": o.Name}, Comment: o.Description}
	for i := range o.Fields {
		f := &o.Fields[i]
		c := connectors.ImportedColumn{
			Name: f.Name, Type: sqlType(f), Comment: f.Description,
			NotNull: f.Required || f.Missing == "never" || f.Name == o.Key,
		}
		if f.Name == o.Key {
			c.Options = map[string]string{"key": "true"}
		}
		switch {
		case c.Comment != "":
		case len(f.Values) > 0:
			c.Comment = "One of " + strings.Join(f.Values, ", ")
		case f.Object != "":
			c.Comment = fmt.Sprintf("Key of %s", f.Object)
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}
