// Package airtable shows the tables of Airtable's bases. The manifest says how the
// API is spoken to; here is what it cannot say: tables and fields come from the
// API's metadata, and refusals name a field in their prose only.
package airtable

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

//go:embed airtable.yaml
var manifest []byte

// New makes the connector.
func New() *rest.Connector {
	return rest.NewVendor(rest.Vendor{
		Name:     "airtable",
		Manifest: manifest,
		Options: []connectors.OptionSpec{
			{Name: "view", Where: connectors.OnTable, Help: "A view of the table, by name or id (viw…): the foreign table has its records only. INSERT does not mind it."},
			{Name: "typecast", Where: connectors.OnTable, Help: "As the server option, for this table."},
		},
		Open: open,
	})
}

func open(api *rest.API) (rest.Hooks, error) {
	b := &bases{api: api, home: api.Option("base"), known: map[string]*metadata{}, views: map[string][]struct{ ID, Name string }{}}
	typecast, err := strconv.ParseBool(api.Option("typecast"))
	if err != nil {
		return rest.Hooks{}, invalid(fmt.Sprintf("server %q", api.Server.Name), "typecast", api.Option("typecast"), "true or false")
	}
	return rest.Hooks{
		Objects: b.objects,
		Schema:  b.schema,
		Object:  b.object,
		Bind: func(_ context.Context, spec connectors.TableSpec, o *rest.Object) (*rest.Object, error) {
			return b.bind(spec, o, typecast)
		},
		Request: func(_ *rest.ListRequest, r *transport.Request) { r.Path += "/listRecords" },
		Refusal: refusal,
		Lost:    []string{"UNKNOWN_FIELD_NAME", "INVALID_FILTER_BY_FORMULA"},
		Forget:  b.forget,
	}, nil
}

// bind lays a table's options over its object.
func (b *bases) bind(spec connectors.TableSpec, o *rest.Object, typecast bool) (*rest.Object, error) {
	on := fmt.Sprintf("foreign table %q", spec.Name)
	bound := *o
	if text, ok := spec.Options["typecast"]; ok {
		var err error
		if typecast, err = strconv.ParseBool(text); err != nil {
			return nil, invalid(on, "typecast", text, "true or false")
		}
	}
	if view, ok := spec.Options["view"]; ok {
		id, names := b.view(o.Name, view)
		if id == "" {
			return nil, invalid(on, "view", view, "one of "+strings.Join(names, ", "))
		}
		bound.Query = append(slices.Clone(o.Query), rest.Pair{Name: "view", Value: id})
	}
	if typecast {
		m := b.api.Manifest
		bound.Create, bound.Update = casting(first(o.Create, m.Create)), casting(first(o.Update, m.Update))
		bound.Upsert = casting(first(o.Upsert, m.Upsert))
	}
	return &bound, nil
}

func first(own, common *rest.Write) *rest.Write {
	if own != nil {
		return own
	}
	return common
}

// casting is a write that asks for typecast.
func casting(w *rest.Write) *rest.Write {
	out, batch := *w, *w.Batch
	batch.Extra = append(slices.Clone(batch.Extra), rest.Pair{Name: "typecast", Value: "true"})
	out.Batch = &batch
	return &out
}

func invalid(on, option, value, want string) error {
	return &connectors.Error{Class: connectors.InvalidOptionValue, API: "Airtable",
		Message: fmt.Sprintf("invalid value for option %q of %s: %q", option, on, value),
		Hint:    "Expected " + want + "."}
}
