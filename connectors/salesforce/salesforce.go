// Package salesforce speaks Salesforce's REST API: a manifest for connectors/rest,
// with what describe knows of an org's objects. BEHAVIOR.md has what is odd.
package salesforce

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"net/http"
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
	return rest.Hooks{Objects: o.objects, Object: o.object, Bind: o.bind, Request: o.request, Answer: answer, Refusal: refusal, JobError: jobError, Lost: []string{"INVALID_FIELD"}}, nil
}

// bound is what the hooks remember of an object.
type bound struct{ all bool }

// maxURL is the longest URL that is sent; with the headers the API takes 16 KB.
const maxURL = 12_000

// request sends the query of a table that shows deleted records to where they are,
// and one that is too long for a URL in the body of another request.
func (o *org) request(list *rest.ListRequest, r *transport.Request) {
	if b, ok := list.Object.Own.(*bound); ok && b.all {
		switch {
		case list.Way == bulkWay:
			r.Body = bytes.Replace(r.Body, []byte(`"operation":"query"`), []byte(`"operation":"queryAll"`), 1)
		case r.Path == "/query":
			r.Path = "/queryAll"
		}
	}
	statement := r.Query.Encode()
	if r.Path != "/query" && r.Path != "/queryAll" || len(statement) <= maxURL {
		return
	}
	type request struct {
		Method string `json:"method"`
		URL    string `json:"url"`
	}
	body, err := json.Marshal(map[string][]request{"batchRequests": {{http.MethodGet, "v" + o.api.Option("api_version") + r.Path + "?" + statement}}})
	if err != nil {
		return // a map of texts has no such error
	}
	r.Method, r.Path, r.Query, r.Body = http.MethodPost, batchPath, nil, body
	r.Header = http.Header{"Content-Type": {"application/json"}}
}

// bulkWay is the manifest's way by jobs.
const bulkWay = "bulk"

const batchPath = "/composite/batch"

// answer takes the one answer out of those of a batch.
func answer(r *transport.Request, status int, body []byte) (int, []byte) {
	if r.Path != batchPath || status != http.StatusOK {
		return status, body
	}
	var all struct {
		Results []struct {
			StatusCode int
			Result     json.RawMessage
		}
	}
	if json.Unmarshal(body, &all) != nil || len(all.Results) != 1 {
		return status, body
	}
	return all.Results[0].StatusCode, all.Results[0].Result
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
