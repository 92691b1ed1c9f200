package airtable

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// bases is what a credential sees. An object's name is "base/table", or "table"
// where the server has a base of its own; both by name or id.
type bases struct {
	api *rest.API
	// home is the server's base, by name or id; empty: none.
	home string

	mu    sync.Mutex
	known map[string]*metadata // by the base's id
	list  []base
	at    time.Time // when list was had
	// views by the object's name.
	views map[string][]struct{ ID, Name string }
}

type base struct{ ID, Name, PermissionLevel string }

// metadata is that of one base.
type metadata struct {
	once   sync.Mutex // held while it is being asked for
	at     time.Time
	tables []table
}

type table struct {
	ID, Name, Description, PrimaryFieldID string
	// Fields are taken apart when they are needed: a base may have very many.
	Fields json.RawMessage
	Views  []struct{ ID, Name string }
}

// freshness of metadata: it serves the tables that are asked for together. What
// was made of it is kept for longer by who asked.
const freshness = 30 * time.Second

// isID tells whether a text is an id of a kind: app, tbl, fld, viw, rec.
func isID(kind, text string) bool {
	if len(text) != 17 || !strings.HasPrefix(text, kind) {
		return false
	}
	for _, c := range []byte(text[3:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// forget has all asked for anew.
func (b *bases) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = time.Time{}
	clear(b.known)
}

// visible lists the bases that the token may see.
func (b *bases) visible(ctx context.Context) ([]base, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) < freshness {
		return b.list, nil
	}
	var list []base
	query := url.Values{}
	for range 1000 { // pages of 1000
		var answer struct {
			Bases  []base
			Offset string
		}
		if err := b.api.Get(ctx, "/meta/bases", query, &answer); err != nil {
			return nil, hinted(err)
		}
		list = append(list, answer.Bases...)
		if answer.Offset == "" {
			break
		}
		query.Set("offset", answer.Offset)
	}
	b.list, b.at = list, time.Now()
	return list, nil
}

// hinted adds to a refusal what reading metadata needs. Who is not known at all, or has
// not authorized anything yet, is told so by others.
func hinted(err error) error {
	if e, ok := err.(*connectors.Error); ok && e.Class == connectors.PermissionDenied { //nolint:errorlint // made just now
		e.Hint = "The token needs the scope schema.bases:read, and the base among those it may use."
	}
	return err
}

// baseID finds a base by name or id; empty: there is none.
func (b *bases) baseID(ctx context.Context, nameOrID string) (string, error) {
	if isID("app", nameOrID) {
		return nameOrID, nil
	}
	list, err := b.visible(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, one := range list {
		if strings.EqualFold(one.Name, nameOrID) {
			if found != "" {
				return "", &connectors.Error{Class: connectors.InvalidOptionValue, API: "Airtable",
					Message: fmt.Sprintf("several bases are called %q", nameOrID), Hint: fmt.Sprintf("Use an id: %s, %s.", found, one.ID)}
			}
			found = one.ID
		}
	}
	return found, nil
}

// tables of a base; nil: there is no such base.
func (b *bases) tables(ctx context.Context, id string) ([]table, error) {
	b.mu.Lock()
	m := b.known[id]
	if m == nil {
		m = &metadata{}
		b.known[id] = m
	}
	b.mu.Unlock()
	m.once.Lock()
	defer m.once.Unlock()
	if time.Since(m.at) < freshness {
		return m.tables, nil
	}
	var answer struct{ Tables []table }
	if err := b.api.Get(ctx, "/meta/bases/"+url.PathEscape(id)+"/tables", nil, &answer); err != nil {
		return nil, hinted(err)
	}
	m.tables, m.at = answer.Tables, time.Now()
	return m.tables, nil
}

// objects are those of the remote schema "default": the tables of the server's
// base, or of the only base that there is.
func (b *bases) objects(ctx context.Context) ([]rest.ObjectInfo, error) {
	if b.home != "" {
		return b.schema(ctx, b.home)
	}
	list, err := b.visible(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return b.schema(ctx, list[0].ID)
	}
	return nil, &connectors.Error{Class: connectors.InvalidSchema, API: "Airtable",
		Message: fmt.Sprintf("the token sees %d bases", len(list)),
		Hint:    "Name one as the remote schema, or as the server option base: " + namesOf(list) + "."}
}

func namesOf(list []base) string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return strings.Join(names, ", ")
}

// schema lists the tables of a base by name or id.
func (b *bases) schema(ctx context.Context, name string) ([]rest.ObjectInfo, error) {
	id, err := b.baseID(ctx, name)
	if err != nil {
		return nil, err
	}
	if id == "" {
		list, _ := b.visible(ctx) // had a moment ago
		return nil, &connectors.Error{Class: connectors.InvalidSchema, API: "Airtable",
			Message: fmt.Sprintf("there is no remote schema %q", name), Hint: "Remote schemas are default and the bases that the token sees: " + namesOf(list) + "."}
	}
	prefix := id + "/"
	if b.home != "" {
		home, err := b.baseID(ctx, b.home)
		if err != nil {
			return nil, err
		}
		if home == id {
			prefix = ""
		}
	}
	tables, err := b.tables(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make([]rest.ObjectInfo, 0, len(tables))
	var names namer
	for i := range tables {
		out = append(out, rest.ObjectInfo{Name: prefix + tables[i].Name, Table: names.name(tables[i].Name)})
	}
	return out, nil
}

// find the table that an object's name means; nil: there is none.
func (b *bases) find(ctx context.Context, object string) (id string, t *table, err error) {
	try := func(baseName, tableName string) error {
		if id, err = b.baseID(ctx, baseName); err != nil || id == "" {
			return err
		}
		tables, err := b.tables(ctx, id)
		if err != nil {
			return err
		}
		for i := range tables {
			if tables[i].Name == tableName || tables[i].ID == tableName {
				t = &tables[i]
				return nil
			}
		}
		return nil
	}
	if b.home != "" {
		if err := try(b.home, object); err != nil || t != nil {
			return id, t, err
		}
	}
	// Names have slashes, too: each may be the one between base and table.
	for i := range len(object) {
		if object[i] == '/' {
			if err := try(object[:i], object[i+1:]); err != nil || t != nil {
				return id, t, err
			}
		}
	}
	return "", nil, nil
}

// object describes a table; nil: there is none.
func (b *bases) object(ctx context.Context, name string, _ *rest.Object) (*rest.Object, error) {
	id, t, err := b.find(ctx, name)
	if err != nil || t == nil {
		return nil, err
	}
	o, err := describe(b.api.Manifest, t)
	if err != nil {
		return nil, err
	}
	o.Name, o.Path = name, "/"+id+"/"+t.ID
	b.mu.Lock()
	defer b.mu.Unlock()
	b.views[name] = t.Views
	return o, nil
}

// view finds a view of an object by name or id; empty: there is none of these names.
func (b *bases) view(object, nameOrID string) (id string, names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views[object] {
		if v.Name == nameOrID || v.ID == nameOrID {
			return v.ID, nil
		}
		names = append(names, v.Name)
	}
	return "", names
}
