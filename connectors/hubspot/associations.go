// Associations as tables: contacts_companies has a row for each contact, company
// and type of the association between them. A record's associations are asked for
// by its id, a thousand records at a time; so all of them means all records of one
// side, of which those that have any are asked for.

package hubspot

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// Most records of one request.
const (
	associationsRead = 1000
	associationsList = 100
)

// usualPairs are the pairs that are imported: those that HubSpot itself associates.
// A table of any other pair can be made by its name.
var usualPairs = [][2]string{
	{"contacts", "companies"},
	{"deals", "contacts"}, {"deals", "companies"}, {"deals", "line_items"},
	{"tickets", "contacts"}, {"tickets", "companies"}, {"tickets", "deals"},
	{"quotes", "deals"}, {"quotes", "line_items"}, {"quotes", "contacts"},
	{"calls", "contacts"}, {"calls", "companies"}, {"calls", "deals"},
	{"emails", "contacts"}, {"emails", "companies"}, {"emails", "deals"},
	{"meetings", "contacts"}, {"meetings", "companies"}, {"meetings", "deals"},
	{"notes", "contacts"}, {"notes", "companies"}, {"notes", "deals"},
	{"tasks", "contacts"}, {"tasks", "companies"}, {"tasks", "deals"},
}

// side is one of the two objects of an association.
type side struct {
	kind   string // as paths name it
	column string // contact_id
}

// singulars of HubSpot's own objects.
var singulars = map[string]string{"contacts": "contact", "companies": "company", "deals": "deal", "tickets": "ticket", "products": "product",
	"line_items": "line_item", "quotes": "quote", "calls": "call", "emails": "email", "meetings": "meeting", "notes": "note", "tasks": "task"}

// sidesOf are the two of a name such as contacts_companies; false: it is none.
// custom are names of custom objects with what paths call them.
func sidesOf(name string, custom map[string]string) (from, to side, ok bool) {
	one := func(object string) (side, bool) {
		if s, ok := singulars[object]; ok {
			return side{object, s + "_id"}, true
		}
		kind, ok := custom[object]
		return side{kind, object + "_id"}, ok
	}
	for at := 1; at < len(name)-1; at++ {
		if name[at] != '_' {
			continue
		}
		a, ok1 := one(name[:at])
		b, ok2 := one(name[at+1:])
		if !ok1 || !ok2 {
			continue
		}
		if a.column == b.column {
			b.column = "to_" + b.column
		}
		return a, b, true
	}
	return side{}, side{}, false
}

// importedLinks is the table of a pair.
func importedLinks(a, b string) rest.ObjectInfo {
	name := a + "_" + b
	from, to, _ := sidesOf(name, nil)
	key := map[string]string{"key": "true"}
	return rest.ObjectInfo{Name: name, Table: name, Imported: &connectors.ImportedTable{Name: name, Options: map[string]string{"object": name},
		Comment: fmt.Sprintf("Associations of %s with %s.", a, b),
		Columns: []connectors.ImportedColumn{
			{Name: from.column, Type: "bigint", NotNull: true, Options: key, Comment: "Key of " + a},
			{Name: to.column, Type: "bigint", NotNull: true, Options: key, Comment: "Key of " + b},
			{Name: "type", Type: "integer", NotNull: true, Options: key, Comment: "Id of the association's type; left out, that of an association without a label"},
			{Name: "category", Type: "text", NotNull: true, Comment: "HUBSPOT_DEFINED, USER_DEFINED or INTEGRATOR_DEFINED"},
			{Name: "label", Type: "text", Comment: "The type's label"},
		}}}
}

// fields of an association, as positions in link.values.
const (
	fieldFrom = iota
	fieldTo
	fieldType
	fieldCategory
	fieldLabel
	fields
)

// links is a table of associations. It is safe for concurrent use.
type links struct {
	a        *account
	spec     connectors.TableSpec
	name     string
	from, to side
	field    []int       // by column; -1: it is generated
	column   [fields]int // by field; -1: the table has none

	mu    sync.Mutex // guards what follows: the types, and when they were asked for
	known []kind
	asked time.Time
}

// kind of association.
type kind struct {
	Category string  `json:"category"`
	ID       int     `json:"typeId"`
	Label    *string `json:"label"`
}

// link is an association: both ids and a type.
type link struct {
	from, to int64
	kind     kind
}

// table makes the table of associations that is asked for; nil: it is none.
func (a *account) table(ctx context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	name := spec.Options["object"]
	if name == "" {
		name = spec.Name
	}
	if !strings.Contains(name, "_") || slices.ContainsFunc(builtIn, func(b builtInObject) bool { return b.name == name }) {
		return nil, nil
	}
	from, to, ok := sidesOf(name, nil)
	if !ok {
		if o, err := a.schema(ctx, name); err != nil || o != nil {
			return nil, err // an object of that name
		}
		custom, err := a.schemas(ctx, schemasAge)
		if err != nil {
			return nil, err
		}
		byName := map[string]string{}
		for _, s := range custom {
			byName[s.Name] = s.ObjectTypeID
		}
		if from, to, ok = sidesOf(name, byName); !ok {
			return nil, nil
		}
	}
	return a.bindLinks(spec, name, from, to)
}

func (a *account) bindLinks(spec connectors.TableSpec, name string, from, to side) (*links, error) {
	t := &links{a: a, spec: spec, name: name, from: from, to: to, field: make([]int, len(spec.Columns)), column: [fields]int{-1, -1, -1, -1, -1}}
	names := []string{from.column, to.column, "type", "category", "label"}
	invalid := func(c connectors.ColumnSpec, message, hint string) error {
		return &connectors.Error{Class: connectors.InvalidColumn, API: "HubSpot", Column: c.Name, Message: message, Hint: hint}
	}
	for i, c := range spec.Columns {
		if err := connectors.CheckOptions(nil, connectors.OnColumn, fmt.Sprintf("column %q of table %q", c.Name, spec.Name), c.Options); err != nil {
			return nil, err
		}
		if t.field[i] = -1; c.Generated {
			continue
		}
		f := slices.Index(names, c.Field())
		if f < 0 {
			return nil, invalid(c, fmt.Sprintf("associations have no field %q for column %q", c.Field(), c.Name),
				fmt.Sprintf("Fields of %s: %s.", name, strings.Join(names, ", ")))
		}
		isNumber := c.Type.Kind == pushdown.Int8 || f == fieldType && c.Type.Kind == pushdown.Int4
		if isText := c.Type.Kind == pushdown.Text; c.Type.Array || f <= fieldType && !isNumber || f > fieldType && !isText {
			return nil, invalid(c, fmt.Sprintf("column %q of type %s cannot hold field %q", c.Name, c.Type.Name, names[f]),
				"Ids are bigint, the type is integer, category and label are text.")
		}
		t.field[i], t.column[f] = f, i
	}
	for f := range 2 {
		if t.column[f] < 0 {
			return nil, &connectors.Error{Class: connectors.InvalidColumn, API: "HubSpot",
				Message: fmt.Sprintf("table %q has no column for field %q", spec.Name, names[f]), Hint: "Associations cannot be told apart without it."}
		}
	}
	return t, nil
}

// typed tells whether the table has a row for each type, not one for each pair.
func (t *links) typed() bool { return t.column[fieldType] >= 0 }

// Describe tells key and lookups.
func (t *links) Describe() connectors.Description {
	d := connectors.Description{Object: t.name, Key: []int{t.column[fieldFrom], t.column[fieldTo]}, Insertable: true, Deletable: true,
		ReadOnlyReason: "an association is made or ended, not changed", BatchRows: connectors.BatchRows{Insert: linksBatch, Delete: linksBatch},
		Lookups: []connectors.Lookup{{Columns: []int{t.column[fieldFrom]}}, {Columns: []int{t.column[fieldTo]}}}}
	if c := t.column[fieldType]; c >= 0 {
		d.Key = append(d.Key, c)
		d.UnnullableColumns = []int{c}
	}
	for _, f := range []int{fieldCategory, fieldLabel} {
		if c := t.column[f]; c >= 0 {
			d.ReadOnlyColumns = append(d.ReadOnlyColumns, c)
		}
	}
	return d
}

// chosen is which records' associations are asked for.
type chosen struct {
	back bool // those of the second side
	// ids of the records; nil: all.
	ids  []int64
	used int // the conjunct that says so; -1: none does
}

// choose takes the conjunct that leaves the least. known is false where its value
// is not yet.
func (t *links) choose(req pushdown.Request) (c chosen, known bool) {
	c.used = -1
	known = true
	for f := range 2 {
		for i, e := range req.Conjuncts {
			p := keysOf(e, t.column[f])
			switch {
			case p == nil:
			case !p.Known:
				if c.used < 0 {
					return chosen{back: f == 1, used: i}, false
				}
			default:
				ids, ok := idsIn(p.Value)
				if ok && (c.used < 0 || len(ids) < len(c.ids)) {
					c.back, c.ids, c.used = f == 1, ids, i
				}
			}
		}
	}
	return c, known
}

// keysOf is the parameter that a column equals, or is one of; nil: the condition is
// another.
func keysOf(e pushdown.Expr, column int) *pushdown.Param {
	is := func(e pushdown.Expr) bool {
		c, ok := e.(*pushdown.Column)
		return ok && c.Index == column
	}
	param := func(e pushdown.Expr) *pushdown.Param {
		p, _ := e.(*pushdown.Param)
		return p
	}
	switch e := e.(type) {
	case *pushdown.Comparison:
		if e.Op == pushdown.EQ && is(e.Left) {
			return param(e.Right)
		}
		if e.Op == pushdown.EQ && is(e.Right) {
			return param(e.Left)
		}
	case *pushdown.Membership:
		if !e.Negated && is(e.Operand) {
			return param(e.Array)
		}
	}
	return nil
}

// idsIn are the whole numbers of a value; false: it has others. NULL equals nothing.
func idsIn(v pushdown.Value) ([]int64, bool) {
	ids := []int64{}
	switch x := v.V.(type) {
	case nil:
	case int64:
		ids = append(ids, x)
	case []pushdown.Value:
		for _, e := range x {
			switch x := e.V.(type) {
			case nil:
			case int64:
				ids = append(ids, x)
			default:
				return nil, false
			}
		}
	default:
		return nil, false
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// Plan pushes one equality or list of ids.
func (t *links) Plan(req pushdown.Request) pushdown.Plan {
	c, known := t.choose(req)
	p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(req.Conjuncts)), LimitExact: true, Rows: 10_000, StartupCost: callCost, TotalCost: 100 * callCost}
	for i := range p.Conjuncts {
		p.Conjuncts[i] = pushdown.Conjunct{Verdict: pushdown.Local, Reason: "associations are asked for by the ids of one side"}
		for f := range 2 {
			// With other values another condition may be the one that is taken.
			p.ValueDependent = p.ValueDependent || keysOf(req.Conjuncts[i], t.column[f]) != nil
		}
	}
	if c.used >= 0 {
		p.Conjuncts[c.used] = pushdown.Conjunct{Verdict: pushdown.Exact}
		n := 1.0
		if known {
			n = float64(len(c.ids))
		}
		p.Rows, p.TotalCost = math.Max(1, 3*n), callCost*math.Ceil(math.Max(1, n)/associationsRead)
	}
	return p
}

// callCost is what rest reckons a call with.
const callCost = 1000

// Request describes the first request of a scan.
func (t *links) Request(q connectors.Query) string {
	c, _ := t.choose(q.Request)
	switch {
	case c.used < 0:
		return t.a.api.Client.Describe(t.listRequest("", q.Stats))
	case len(c.ids) == 0:
		return "none: the condition is never true"
	}
	r := t.readRequest(c.back, inputs(c.ids[:min(len(c.ids), associationsRead)]), q.Stats)
	text := t.a.api.Client.Describe(r) + " " + string(r.Body)
	if len(text) > 1000 {
		text = text[:1000] + "…"
	}
	return text
}

// base of a pair's calls, from one side or the other.
func (t *links) base(back bool) string {
	from, to := t.from.kind, t.to.kind
	if back {
		from, to = to, from
	}
	path := "/crm/v4/associations/"
	if t.a.version != "v3" {
		path = "/crm/associations/" + t.a.version + "/"
	}
	return path + url.PathEscape(from) + "/" + url.PathEscape(to)
}

// input of a read: a record, and what its page before ended with.
type input struct {
	ID    string `json:"id"`
	After string `json:"after,omitempty"`
}

func inputs(ids []int64) []input {
	out := make([]input, len(ids))
	for i, id := range ids {
		out[i].ID = strconv.FormatInt(id, 10)
	}
	return out
}

func (t *links) readRequest(back bool, in []input, stats *connectors.Stats) *transport.Request {
	return jsonRequest(t.base(back)+"/batch/read", map[string]any{"inputs": in}, stats)
}

// jsonRequest is a POST of values of our own, which always can be encoded.
func jsonRequest(path string, body any, stats *connectors.Stats) *transport.Request {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &transport.Request{Method: http.MethodPost, Path: path, Body: b, Header: http.Header{"Content-Type": {"application/json"}}, Stats: stats}
}

func (t *links) listRequest(after string, stats *connectors.Stats) *transport.Request {
	q := url.Values{"limit": {strconv.Itoa(associationsList)}, "associations": {t.to.kind}, "properties": {"hs_object_id"}}
	if after != "" {
		q.Set("after", after)
	}
	return &transport.Request{Path: t.a.path("objects") + "/" + url.PathEscape(t.from.kind), Query: q, Stats: stats}
}
