// Connectors for one API each: a manifest, and in Go what it cannot say.

package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// Vendor is an API that has a connector of its own.
type Vendor struct {
	// Name is the value of the server option connector.
	Name string
	// Manifest is the text of the manifest. It may be without objects if the hooks
	// find them.
	Manifest []byte
	// Options beside those that all manifests have, and those that Manifest adds.
	Options []connectors.OptionSpec
	// Adapt changes the manifest for a server; nil: all have the same. m is the
	// server's own. It calls no API. An option that is wrong is a *connectors.Error.
	Adapt func(server connectors.ServerSpec, m *Manifest) error
	// Open makes the hooks of a server with a credential; nil: there are none. It
	// calls no API. An option that is wrong is a *connectors.Error.
	Open func(api *API) (Hooks, error)
}

// Hooks are what a vendor does itself; each may be nil. They are called by many
// queries at once.
type Hooks struct {
	// Objects lists what the API's metadata knows, beside the manifest's objects.
	Objects func(ctx context.Context) ([]ObjectInfo, error)
	// Schema lists the objects of a remote schema that is neither default nor the
	// manifest's name; nil: there is none of that name.
	Schema func(ctx context.Context, name string) ([]ObjectInfo, error)
	// Object is an object by the name that it has in Objects, or in a table's
	// option; nil: there is none. known is the manifest's, to be completed, or nil;
	// it must not be changed. The answer is kept for a while and not changed.
	Object func(ctx context.Context, name string, known *Object) (*Object, error)
	// Bind makes of an object what a table with these options shows. It must not
	// change o, but may return a copy.
	Bind func(ctx context.Context, spec connectors.TableSpec, o *Object) (*Object, error)
	// Table makes a table that is not made of an object; nil: it is. The options have
	// been checked.
	Table func(ctx context.Context, spec connectors.TableSpec) (connectors.Table, error)
	// Request has the last word on a request that reads.
	Request func(list *ListRequest, r *transport.Request)
	// Answer takes an answer to a request that reads, or a page of one, for what
	// is in it: its status and body, or others that stand there.
	Answer func(r *transport.Request, status int, body []byte) (int, []byte)
	// Write has the last word on a request that writes rows of batch.
	Write func(o *Object, batch *connectors.Batch, r *transport.Request)
	// Lost are codes with which the API refuses a request that names a field which is
	// not there (any more), among other reasons.
	Lost []string
	// Complete: a record has every field that was asked for, null where it has no
	// value; only of one that is not there (any more) it has nothing.
	Complete bool
	// Forget is told that metadata which the hooks keep is to be asked for anew; nil:
	// they keep none.
	Forget func()
	// Refusal reads an error that the manifest cannot describe; nil: read it as
	// the manifest says.
	Refusal func(status int, header http.Header, body []byte) *Refusal
	// JobError makes of what the results of a job that writes (load) say of a refused
	// row what the answer to a request for it would have; nil: a code may stand before a
	// colon in it.
	JobError func(text string) []byte
}

// ObjectInfo is an object of the API's metadata.
type ObjectInfo struct {
	// Name is the API's, Table that of the imported table.
	Name, Table string
	// Imported is what is imported, if that is known without asking; nil: what
	// Object says.
	Imported *connectors.ImportedTable
}

// ListRequest is what a request that reads was made for.
type ListRequest struct {
	Object *Object
	// Way is the name of the manifest's way; empty: the one at the top.
	Way string
	// Limit in rows, 0: none. First: it is not for a later page.
	Limit uint64
	First bool
}

// Refusal is what an API's error says.
type Refusal struct {
	Message, Code string
	// Missing is the key of the record that is said not to be there; empty: none.
	// Where it is that of a row of an UPDATE or DELETE, the row is not refused.
	Missing string
	// Value is one that is refused; empty: none is named. Where the refusal of a
	// request for several rows names no row, it is that of the one that has it.
	Value  string
	Fields []FieldRefusal
}

// FieldRefusal is what it says of one field, by its name in the API.
type FieldRefusal struct{ Field, Message, Code string }

// NewVendor makes the connector. A manifest that is wrong panics: it is part of
// the program.
func NewVendor(v Vendor) *Connector {
	m, err := parse(v.Name+".yaml", v.Manifest, true)
	if err != nil {
		panic("rest: " + err.Error())
	}
	return &Connector{vendor: &v, manifest: m}
}

// API is an open server, for a vendor's hooks.
type API struct {
	Manifest *Manifest
	Client   *transport.Client
	// Server has the options of server and user mapping; the latter are secret.
	Server connectors.ServerSpec
	src    *source
}

// Option is the server's, or the manifest's default.
func (a *API) Option(name string) string {
	if v, ok := a.Server.Options[name]; ok {
		return v
	}
	for _, o := range a.Manifest.Options {
		if o.Name == name {
			return o.Default
		}
	}
	return ""
}

// Get reads JSON into out. An answer that is no success is the error that the
// API's words make; 404 is of class NotFoundError.
func (a *API) Get(ctx context.Context, path string, query url.Values, out any) error {
	return a.Call(ctx, &transport.Request{Path: path, Query: query}, out)
}

// Call is Get with any request that changes nothing.
func (a *API) Call(ctx context.Context, r *transport.Request, out any) error {
	t := &table{src: a.src, object: &Object{Name: r.Path}}
	page := t.fetch(ctx, r, new(bytes.Buffer))
	if page.err != nil {
		return page.err
	}
	if err := json.Unmarshal(page.body.Bytes(), out); err != nil {
		return t.protocol(page.request, "metadata that is not what was expected", err)
	}
	return nil
}

// Send makes a call and reads its answer whole, whatever its status is. An error
// means that there is none; of a write (r.Write) it says whether that may have been
// done.
func (a *API) Send(ctx context.Context, r *transport.Request) (*transport.Response, []byte, error) {
	return (&table{src: a.src, object: &Object{Name: r.Path}}).send(ctx, r)
}

// Refused is the error of an answer that is no success, in the API's words. Rows
// are counted from 1; row 0: it is that of the whole answer.
func (a *API) Refused(resp *transport.Response, body []byte, write bool, row int) *connectors.Error {
	t := &table{src: a.src, object: &Object{Name: resp.Request}}
	return t.refusalOf(resp, body, write, rowStatus{row: row})
}

// Unknown is the error of a write whose answer, a success, cannot be used.
func (a *API) Unknown(resp *transport.Response, what string, err error) *connectors.Error {
	return (&table{src: a.src, object: &Object{Name: resp.Request}}).unknown(resp, what, err)
}

// prepare checks an object that a hook has made, or has taken from the manifest, and
// gives it its defaults: a copy of it, for others may be using it. What it may share
// with other objects is not changed.
func (m *Manifest) prepare(o Object) (*Object, error) {
	o.Fields = slices.Clone(o.Fields)
	for _, w := range []**Write{&o.Create, &o.Update, &o.Delete, &o.Upsert} {
		*w = (*w).clone()
	}
	one := *m
	one.Objects = append(slices.Clone(m.Objects), o)
	if i := slices.IndexFunc(m.Objects, func(known Object) bool { return known.Name == o.Name }); i >= 0 {
		one.Objects = slices.Clone(m.Objects)
		one.Objects[i] = o
	}
	o.setDefaults()
	l := &loader{vendor: true}
	l.checkObject(&one, &o)
	if len(l.problems) > 0 {
		return nil, &connectors.Error{Class: connectors.Protocol, API: m.Name,
			Message: fmt.Sprintf("the API's metadata of object %q cannot be used: %s", o.Name, l.problems[0])}
	}
	return &o, nil
}
