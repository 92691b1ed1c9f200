// A foreign table bound to an object: what it has, and the request that asks for
// it.

package rest

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// table is safe for concurrent use: nothing in it changes.
type table struct {
	src      *source
	spec     connectors.TableSpec
	object   *Object
	columns  []column
	key      int // position of the key's column; -1: none
	keyField *Field
	keyCol   *column // for seek, also if the table has no column for it
	items    string
	pageSize int
	create   *Write
	update   *Write
	delete   *Write
	upsert   *Write
	deleted  *table // the records that were deleted; nil: not told
	changes  *connectors.Changes
	// ways are further ways to read the object. needsFilter: this is one that
	// cannot read all of it.
	ways        []*table
	needsFilter bool
	// times are how lists are split (Partition), timePath is where records have that
	// time; nil: they are not.
	times    *timeRange
	timePath []string
	// refused are codes with which the API refuses this way's filters.
	refused []string
	cost    float64 // of a request against one of the first way
	bulk    bulk
	loads   bulk
	// lost are columns whose fields the API's metadata does not have (any more):
	// they read NULL.
	lost []int
	// drift is shared with ways.
	drift *drift
}

// Table binds a foreign table to the object that its option names.
func (s *source) Table(ctx context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	on := fmt.Sprintf("table %q", spec.Name)
	if err := connectors.CheckOptions(s.options, connectors.OnTable, on, spec.Options); err != nil {
		return nil, err
	}
	if s.hooks.Table != nil {
		if t, err := s.hooks.Table(ctx, spec); err != nil || t != nil {
			return t, err
		}
	}
	name := spec.Options["object"]
	if name == "" {
		name = spec.Name
	}
	o, err := s.objectOf(ctx, name)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, s.noObject(ctx, name)
	}
	if s.hooks.Bind != nil {
		if o, err = s.hooks.Bind(ctx, spec, o); err != nil {
			return nil, err
		}
	}
	t, err := s.bind(spec, o)
	if err != nil {
		return nil, err
	}
	if t.bulk, err = scanJobs().over(s.bulk, spec.Options); err != nil {
		return nil, err
	}
	if t.loads, err = loadJobs().over(s.loads, spec.Options); err != nil {
		return nil, err
	}
	if err := t.bindWays(); err != nil {
		return nil, err
	}
	t.create, t.update, t.delete = writeOf(o.Create, s.m.Create), writeOf(o.Update, s.m.Update), writeOf(o.Delete, s.m.Delete)
	t.upsert = writeOf(o.Upsert, s.m.Upsert)
	if err := t.bindChanges(ctx); err != nil {
		return nil, err
	}
	return t, t.bindDeleted(ctx)
}

// bind makes the table for reading.
func (s *source) bind(spec connectors.TableSpec, o *Object) (*table, error) {
	on := fmt.Sprintf("table %q", spec.Name)
	t := &table{src: s, spec: spec, object: o, drift: &drift{}, key: -1, items: s.m.Read.Items, pageSize: s.pageSize}
	if o.Items != nil {
		t.items = *o.Items
	}
	if err := optionNumber(spec.Options, "page_size", 1, float64(max(s.m.Read.PageSize.Max, 1)), func(f float64) { t.pageSize = int(f) }); err != nil {
		return nil, err
	}
	t.columns = make([]column, len(spec.Columns))
	for i, cs := range spec.Columns {
		if err := connectors.CheckOptions(s.options, connectors.OnColumn, fmt.Sprintf("column %q of %s", cs.Name, on), cs.Options); err != nil {
			return nil, err
		}
		if err := t.bindColumn(i, cs); err != nil {
			return nil, err
		}
	}
	t.bindTimes()
	if o.Key != "" {
		t.keyField = o.field(o.Key)
		if t.key >= 0 {
			t.keyCol = &t.columns[t.key]
		} else {
			t.keyCol = &column{field: t.keyField, key: true, spec: connectors.ColumnSpec{Name: o.Key, Type: naturalType(t.keyField)}}
			t.keyCol.bind(s.m, &s.quoter)
		}
	}
	return t, nil
}

func (t *table) bindColumn(i int, cs connectors.ColumnSpec) error {
	col := &t.columns[i]
	col.spec = cs
	if cs.Generated {
		return nil
	}
	f := t.object.field(cs.Field())
	if i := slices.IndexFunc(t.object.Fields, func(f Field) bool { return f.Column == cs.Name }); f == nil && i >= 0 && cs.Options["field"] == "" {
		f = &t.object.Fields[i]
	}
	if f == nil && cs.Field() == rawField && (cs.Type.Kind == pushdown.JSON || cs.Type.Kind == pushdown.JSONB) && !cs.Type.Array {
		col.field, col.whole = wholeRecord(), true
		return nil
	}
	if f == nil && t.src.hooks.Object != nil && cs.Options["key"] == "" {
		t.lost = append(t.lost, i)
		return nil
	}
	if f == nil {
		names := make([]string, len(t.object.Fields))
		for i := range t.object.Fields {
			names[i] = t.object.Fields[i].Name
		}
		hint := fmt.Sprintf("Fields of %s: %s.", t.object.Name, strings.Join(names, ", "))
		if near := connectors.Nearest(cs.Field(), names); near != "" {
			hint = fmt.Sprintf("Perhaps you meant OPTIONS (field '%s'). ", near) + hint
		}
		return &connectors.Error{Class: connectors.InvalidColumn, API: t.src.m.Name, Column: cs.Name,
			Message: fmt.Sprintf("object %q has no field %q for column %q", t.object.Name, cs.Field(), cs.Name), Hint: hint}
	}
	if v, ok := cs.Options["key"]; ok {
		isKey, err := strconv.ParseBool(v)
		if err != nil || isKey != (f.Name == t.object.Key) {
			return &connectors.Error{Class: connectors.InvalidOptionValue, API: t.src.m.Name, Column: cs.Name,
				Message: fmt.Sprintf("invalid value for option \"key\" of column %q: %q", cs.Name, v),
				Hint:    fmt.Sprintf("The key of %s is the field %q.", t.object.Name, t.object.Key)}
		}
	}
	if f.List && !cs.Type.Array && cs.Type.Kind != pushdown.JSON && cs.Type.Kind != pushdown.JSONB && cs.Type.Kind != pushdown.Text {
		return &connectors.Error{Class: connectors.InvalidColumn, API: t.src.m.Name, Column: cs.Name,
			Message: fmt.Sprintf("column %q of type %s cannot hold field %q, which is a list", cs.Name, cs.Type.Name, f.Name),
			Hint:    "Use an array type, or jsonb."}
	}
	col.field = f
	col.key = f.Name == t.object.Key
	col.unique = slices.Contains(t.object.Unique, f.Name)
	if col.key && t.key < 0 {
		t.key = i
	}
	col.bind(t.src.m, &t.src.quoter)
	return nil
}

// writeOf is the object's own, else the API's; nil: it cannot be done.
func writeOf(own, common *Write) *Write {
	w := common
	if own != nil {
		w = own
	}
	if w == nil || w.Off {
		return nil
	}
	return w
}

// column is that of an expression; one that is generated, or out of range, has
// no field and so no operators.
func (t *table) column(i int) *column {
	if i < 0 || i >= len(t.columns) || t.columns[i].field == nil {
		return &column{spec: connectors.ColumnSpec{Name: "#" + itoa(i)}, field: &Field{}}
	}
	return &t.columns[i]
}

// Describe tells key, lookups and what may be written.
func (t *table) Describe() connectors.Description {
	d := t.describe()
	t.describeWays(&d)
	return d
}

func (t *table) describe() connectors.Description {
	d := connectors.Description{Object: t.object.Name, Insertable: t.create != nil, Rows: t.object.Rows}
	if t.key >= 0 {
		d.Key = []int{t.key}
		d.Updatable, d.Deletable = t.update != nil, t.delete != nil
	}
	d.ReadOnlyReason = t.readOnly(&d)
	d.Staged, d.Aggregates = true, t.src.m.Aggregate != nil
	d.BatchRows.Insert = t.create.batchRows()
	if t.key >= 0 {
		d.BatchRows.Update, d.BatchRows.Delete = t.update.batchRows(), t.delete.batchRows()
	}
	d.BatchRows.Upsert = t.upsert.batchRows()
	t.describeLoads(&d)
	d.Idempotent = t.replays()
	if lag := t.src.m.Read.LagSeconds; lag != nil {
		if d.ListLag = time.Duration(*lag * float64(time.Second)); d.ListLag == 0 {
			d.ListLag = -1
		}
	}
	// Each page is asked for by the last key of the one before.
	d.KeyOrdered = t.key >= 0 && t.src.m.Paging.Style == "seek" && t.src.m.Sort != nil
	for i := range t.columns {
		col := &t.columns[i]
		if slices.Contains(t.lost, i) {
			d.ReadOnlyColumns = append(d.ReadOnlyColumns, i)
		}
		if col.field == nil {
			continue
		}
		if t.object.Modified == col.field.Name && len(d.Modified) == 0 {
			d.Modified = []int{i}
		}
		if col.field.ReadOnly {
			d.ReadOnlyColumns = append(d.ReadOnlyColumns, i)
		} else if col.field.Type != "" && !col.key && col.unnullable() {
			d.UnnullableColumns = append(d.UnnullableColumns, i)
		}
		if col.unique {
			d.Unique = append(d.Unique, []int{i})
		}
		if _, ok := col.ops["eq"]; !ok {
			continue
		}
		if col.key || col.unique || slices.Contains(t.object.Lookups, col.field.Name) {
			d.Lookups = append(d.Lookups, connectors.Lookup{Columns: []int{i}, Unique: col.key || col.unique})
		}
	}
	return d
}

func (t *table) readOnly(d *connectors.Description) string {
	if d.Insertable && d.Updatable && d.Deletable {
		return ""
	}
	if t.create != nil && t.update != nil && t.delete != nil {
		if t.object.Key == "" {
			return fmt.Sprintf("object %q has no key in the manifest %q", t.object.Name, t.src.m.File)
		}
		return fmt.Sprintf("the table has no column for the key of object %q, the field %q", t.object.Name, t.object.Key)
	}
	return fmt.Sprintf("the manifest %q has no such request for object %q", t.src.m.File, t.object.Name)
}

// wanted are the names of the fields to ask for, the key always among them.
func (t *table) wanted(lists ...[]int) []string {
	return t.wantedAs(t.src.m.Read.Fields, lists...)
}

// wantedAs is wanted for another parameter than a list's.
func (t *table) wantedAs(f *Fields, lists ...[]int) []string {
	var names []string
	prefix := ""
	if f != nil {
		prefix = f.Prefix
	}
	add := func(f *Field) {
		if f == nil || f.Path == "" {
			return
		}
		if name, ok := strings.CutPrefix(f.Path, prefix); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(t.keyField)
	for _, columns := range lists {
		for _, c := range columns {
			col := t.column(c)
			add(col.field)
			for i := range t.object.Fields {
				if col.whole {
					add(&t.object.Fields[i])
				}
			}
		}
	}
	for i := range t.object.Fields {
		if len(names) > 0 {
			break
		}
		add(&t.object.Fields[i])
	}
	// Who asks for address gets address.city too, and might not if he names it.
	all := names
	names = slices.DeleteFunc(slices.Clone(all), func(n string) bool {
		return slices.ContainsFunc(all, func(o string) bool { return len(n) > len(o) && n[len(o)] == '.' && n[:len(o)] == o })
	})
	for i, n := range names {
		names[i] = strings.ReplaceAll(n, `\.`, ".")
	}
	return names
}

// Request describes the first request of a scan.
func (t *table) Request(q connectors.Query) string {
	var req *transport.Request
	var l *list
	if q.Aggregation != nil {
		t, l, req = t.groupsRequest(&q)
	} else {
		t = t.wayOf(&q)
		l = t.decide(q.Request, q.Ordering)
		if !l.never {
			req = t.request(l, &q, 0, nil)
		}
	}
	if req == nil {
		return "none: the condition is never true"
	}
	text := t.src.readable(t.src.client.Describe(req))
	if len(req.Body) > 0 {
		text += " " + t.src.client.Redact(string(req.Body))
	}
	if n := len(l.asks); n > 1 {
		text += fmt.Sprintf(" (and %d more)", n-1)
	}
	return text
}

// readable takes the URL encoding off a request that people read, save where
// it keeps control characters from breaking the line.
func (s *source) readable(request string) string {
	path, query, ok := strings.Cut(request, "?")
	if !ok {
		return request
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		text, err := url.QueryUnescape(p)
		if err != nil || strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
			continue
		}
		params[i] = text
	}
	return s.client.Redact(path + "?" + strings.Join(params, "&"))
}

// splitPath takes a dotted path apart; \. is a dot of a name.
func splitPath(path string) []string {
	if path == "" {
		return nil
	}
	if !strings.Contains(path, `\.`) {
		return strings.Split(path, ".")
	}
	parts := strings.Split(strings.ReplaceAll(path, `\.`, "\x00"), ".")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\x00", ".")
	}
	return parts
}
