// IMPORT FOREIGN SCHEMA: the manifest's objects as tables.

package rest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hallwaydb/hallway/connectors"
)

// Import lists the objects. The remote schema is "default", or the manifest's
// name in any case. The API's metadata is asked as it is now.
func (s *source) Import(ctx context.Context, req connectors.ImportRequest) ([]connectors.ImportedTable, error) {
	s.anew()
	list, err := s.objectsOf(ctx, req.RemoteSchema)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return nil, &connectors.Error{Class: connectors.InvalidSchema, API: s.m.Name,
			Message: fmt.Sprintf("there is no remote schema %q", req.RemoteSchema),
			Hint:    fmt.Sprintf("Remote schemas of server %q: default, %s.", s.server, strings.ToLower(s.m.Name))}
	}
	if err := connectors.CheckOptions(s.options, connectors.OnImport, "", req.Options); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(o ObjectInfo) bool {
		return (req.LimitTo != nil && !slices.Contains(req.LimitTo, o.Table)) || slices.Contains(req.Except, o.Table)
	})
	out := make([]connectors.ImportedTable, len(list))
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	atOnce := make(chan struct{}, 8)
	for i, info := range list {
		atOnce <- struct{}{}
		wait.Go(func() {
			defer func() { <-atOnce }()
			if info.Imported != nil {
				out[i] = *info.Imported
				return
			}
			o, err := s.objectOf(ctx, info.Name)
			if err == nil && o != nil {
				out[i] = s.imported(o)
				out[i].Name = info.Table
			}
			errs[i] = err
		})
	}
	wait.Wait()
	// What was listed a moment ago and is gone now is left out.
	out = slices.DeleteFunc(out, func(t connectors.ImportedTable) bool { return t.Name == "" })
	return out, errors.Join(errs...)
}

// objectsOf lists the objects of a remote schema; nil: there is no such schema.
func (s *source) objectsOf(ctx context.Context, schema string) ([]ObjectInfo, error) {
	if schema == "default" || strings.EqualFold(schema, s.m.Name) {
		return s.objectNames(ctx)
	}
	if s.hooks.Schema == nil {
		return nil, nil
	}
	return s.hooks.Schema(ctx, schema)
}

func (s *source) imported(o *Object) connectors.ImportedTable {
	t := connectors.ImportedTable{Name: o.Name, Options: map[string]string{"object": o.Name}, Comment: o.Description}
	for i := range o.Fields {
		f := &o.Fields[i]
		c := connectors.ImportedColumn{
			Name: f.Name, Type: sqlType(f), Comment: f.Description,
			NotNull: f.Required || f.always() || f.Name == o.Key,
			Options: map[string]string{},
		}
		if f.Column != "" && f.Column != f.Name {
			c.Name, c.Options["field"] = f.Column, f.Name
		}
		if f.Name == o.Key {
			c.Options["key"] = "true"
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
