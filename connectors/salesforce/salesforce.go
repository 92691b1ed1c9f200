// Package salesforce speaks Salesforce's REST API: a manifest for connectors/rest,
// with what describe knows of an org's objects. BEHAVIOR.md has what is odd.
package salesforce

import (
	"context"
	_ "embed"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

//go:embed salesforce.yaml
var manifest []byte

// New makes the connector.
func New() *rest.Connector {
	return rest.NewVendor(rest.Vendor{
		Name:     "salesforce",
		Manifest: manifest,
		Options: []connectors.OptionSpec{
			{Name: includeDeleted, Where: connectors.OnTable, Default: "false", Help: "Show deleted records, too: those in the recycle bin, with isdeleted true. Such a table cannot be written to."},
		},
		Open: open,
	})
}

const includeDeleted = "include_deleted"

// org is an open server.
type org struct{ api *rest.API }

func open(api *rest.API) (rest.Hooks, error) {
	o := &org{api: api}
	return rest.Hooks{Objects: o.objects, Object: o.object, Bind: o.bind, Request: request, Refusal: refusal}, nil
}

// bound is what the hooks remember of an object.
type bound struct{ all bool }

// request sends the query of a table that shows deleted records to where they are.
func request(list *rest.ListRequest, r *transport.Request) {
	if b, ok := list.Object.Own.(*bound); ok && b.all && r.Path == "/query" {
		r.Path = "/queryAll"
	}
}

// bind makes of an object what a table shows: with deleted records, and with the
// fields of related records that its columns name.
func (o *org) bind(ctx context.Context, spec connectors.TableSpec, object *rest.Object) (*rest.Object, error) {
	all, err := strconv.ParseBool(spec.Options[includeDeleted])
	if spec.Options[includeDeleted] != "" && err != nil {
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue, API: "Salesforce",
			Message: "invalid value for option \"include_deleted\": \"" + spec.Options[includeDeleted] + "\"", Hint: "It is true or false."}
	}
	out, err := o.related(ctx, spec, object)
	if err != nil || !all {
		return out, err
	}
	shown := *out
	off := &rest.Write{Off: true}
	shown.Create, shown.Update, shown.Delete, shown.Upsert = off, off, off, off
	shown.Own = &bound{all: true}
	return &shown, nil
}
