// A foreign table bound to an object: what it has, what of a query the API
// will do, and the request that asks for it.

package rest

import (
	"context"
	"fmt"
	"math"
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
	if t.bulk, err = s.bulk.with(spec.Options); err != nil {
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

// list is a list request, decided.
type list struct {
	// asks are the filters of the requests that it takes, at least one. overlap:
	// a record may be found by several.
	asks    []ask
	overlap bool
	// never: no row can match, so nothing is asked.
	never    bool
	exact    bool
	rows     float64
	sort     string
	paging   *Paging
	pageSize int
	// order of the scan, if it is read by ranges; nil: it is not.
	order *ranged
	// whole: pages are of pageSize whatever a LIMIT can use.
	whole bool
	// seek: filter for keys after the last one.
	seek    operator
	verdict []pushdown.Conjunct
	// dependent: see pushdown.Plan.ValueDependent.
	dependent bool
	// verify are exact conjuncts that scans check now and then, and the columns
	// that takes.
	verify []pushdown.Expr
	// sieve: all of verify is checked for each record, and decides.
	sieve bool
	// sorter takes the rows of a scan that is sorted here; nil: it is not.
	sorter        *sorter
	verifyColumns []int
	// fields are the names of those that requests ask for; nil: not yet known.
	fields []string
}

// plan gives the verdicts; what scan sends is decided by the same code. filters
// tells whether the API is asked for less than all.
func (t *table) plan(req pushdown.Request) (_ pushdown.Plan, filters bool) {
	l := t.decide(req, nil)
	p := pushdown.Plan{Conjuncts: l.verdict, LimitExact: true, ValueDependent: l.dependent}
	for i, o := range req.Orderings {
		if t.src.m.Sort == nil && !req.LimitPossible && req.LimitRows == 0 {
			break // read in parts at once, and sorted by PostgreSQL, all of a list comes sooner
		}
		if _, ok := t.sortable(o, req.Conjuncts); ok {
			p.ExactOrderings = append(p.ExactOrderings, i)
		}
	}
	size := t.object.Rows
	if size == 0 {
		size = 1000
	}
	p.Rows = max(1, math.Round(size*l.rows))
	if l.never {
		p.Rows = 0
	}
	calls := float64(max(1, len(l.asks)))
	if t.pageSize > 0 {
		calls = max(calls, math.Ceil(p.Rows/float64(t.pageSize)))
	}
	// A call costs about what a thousand pages of a local table do.
	p.StartupCost = callCost
	if t.src.m.Read.Job != nil {
		p.StartupCost += callCost * jobCalls
		calls += jobCalls
	}
	p.TotalCost = callCost*calls + 0.02*p.Rows
	return p, l.never || len(l.asks) > 1 || !l.asks[0].empty()
}

const callCost = 1000

// decide compiles the conjuncts and keeps as many as the filter holds. sorted
// is the ordering relied upon; nil: none.
func (t *table) decide(req pushdown.Request, sorted pushdown.Ordering) *list {
	m := t.src.m
	sorted = t.ordering(sorted)
	l := &list{exact: true, rows: 1, verdict: make([]pushdown.Conjunct, len(req.Conjuncts)), pageSize: t.pageSize}
	l.paging = &m.Paging
	if m.Sort != nil {
		if len(sorted) > 0 {
			l.sort, _ = t.sortable(sorted, req.Conjuncts)
		}
		seekable := m.Paging.Style == "seek" && t.keyCol != nil
		switch {
		case l.sort != "" && m.Paging.Style == "seek":
			if l.order = t.rangeBy(sorted); l.order == nil {
				l.paging = m.Paging.Ordered
			}
		case l.sort == "" && t.keyCol != nil && (seekable || stable(m.Paging.Style)):
			l.sort = m.Sort.one(t.keyCol.field, false)
		}
	}
	if l.paging == nil {
		l.paging = &Paging{Style: "none"}
	}
	if l.paging.Style == "seek" {
		l.seek = t.keyCol.ops["gt"]
	}
	// Where an order may be relied upon, all goes into one request, whether it
	// will be or not: the verdicts are the same then.
	w := newWriter(m.Filter, l.seek, len(req.Orderings) > 0)
	if t.ranges() && slices.ContainsFunc(req.Orderings, func(o pushdown.Ordering) bool { _, ok := t.sortable(o, req.Conjuncts); return ok }) {
		w.reserve() // a value and a key
	}
	c := compiler{t: t}
	for i, e := range req.Conjuncts {
		n := c.compile(e, isTrue)
		l.verdict[i] = t.keep(l, w, n)
		l.exact = l.exact && l.verdict[i].Verdict == pushdown.Exact
	}
	l.dependent = l.dependent || c.dependent
	l.asks, l.overlap = w.result()
	l.asks = t.object.Each.of(l.asks)
	if l.order != nil {
		l.asks = t.apart(l.asks, sorted[0], req.Conjuncts)
	}
	if len(l.asks) > 1 || !l.asks[0].empty() {
		l.verify, l.verifyColumns = t.verified(req, l.verdict)
	}
	return l
}

// stable tells whether pages of a style overlap unless rows are sorted.
func stable(style string) bool { return style == "page" || style == "offset" }

// keep adds a conjunct's filter to the request, if it fits.
func (t *table) keep(l *list, w *writer, n *node) pushdown.Conjunct {
	switch {
	case n.kind == none:
		l.never, l.rows = true, 0
		return pushdown.Conjunct{Verdict: pushdown.Exact}
	case n.kind == all && n.exact:
		return pushdown.Conjunct{Verdict: pushdown.Exact}
	case n.kind == all:
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: n.why}
	case w.f == nil: // a condition of no column, whose value is not known yet
		l.dependent = true
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: "the value is not known yet"}
	}
	if why := w.add(n); why != "" {
		l.dependent = true // shorter values may fit
		return pushdown.Conjunct{Verdict: pushdown.Local, Reason: why}
	}
	l.dependent = l.dependent || w.merged
	l.rows *= n.rows
	if !n.exact {
		why := n.why
		if !t.src.m.Filter.Enforced {
			why = "the API may ignore filters"
		}
		return pushdown.Conjunct{Verdict: pushdown.Superset, Reason: why}
	}
	return pushdown.Conjunct{Verdict: pushdown.Exact}
}

// sortable renders an ordering; false: the API has no such one. Where missing
// values stand does not matter for a column that a conjunct keeps from being
// NULL, whoever checks it.
func (t *table) sortable(o pushdown.Ordering, conjuncts []pushdown.Expr) (string, bool) {
	s := t.src.m.Sort
	if rest := t.ordering(o); len(rest) < len(o) {
		if o = rest; len(o) == 0 {
			return "", true
		}
	}
	if s == nil && t.listedBy(o) {
		return "", true
	}
	if s == nil || !s.Enforced || len(o) == 0 || (t.src.m.Paging.Style == "seek" && t.src.m.Paging.Ordered == nil) {
		return "", false
	}
	if t.ranges() {
		col := t.column(o[0].Column)
		return s.one(col.field, o[0].Descending), (len(o) == 1 || col.key) && t.sorts(col, o[0], true) && col.rangeable(notNull(conjuncts, o[0].Column))
	}
	var keys []string
	unique := false
	for _, k := range o {
		col := t.column(k.Column)
		if unique {
			break // what follows a unique key sorts nothing
		}
		if !t.sorts(col, k, notNull(conjuncts, k.Column)) {
			return "", false
		}
		keys = append(keys, s.one(col.field, k.Descending))
		unique = col.key
	}
	if f := t.keyField; !unique && f != nil && (f.Sortable == nil || *f.Sortable) {
		keys = append(keys, s.one(t.keyField, false))
	}
	if len(keys) > s.MaxKeys {
		return "", false
	}
	return strings.Join(keys, s.Separator), true
}

// listedBy tells whether an order is the one in which the API lists records anyway, of
// a list that is partitioned by its time.
func (t *table) listedBy(o pushdown.Ordering) bool {
	if t.times == nil || t.object.Each != nil || len(o) != 1 || !o[0].Descending {
		return false
	}
	col := t.column(o[0].Column)
	return col.field.Name == t.src.m.Partition.Field && col.comparable()
}

// excludesNull tells whether a condition is never true where a column is NULL.
func excludesNull(e pushdown.Expr, column int) bool {
	is := func(e pushdown.Expr) bool {
		c, ok := e.(*pushdown.Column)
		return ok && c.Index == column
	}
	switch e := e.(type) {
	case *pushdown.Column:
		return e.Index == column
	case *pushdown.Comparison:
		return e.Op != pushdown.Distinct && e.Op != pushdown.NotDistinct && (is(e.Left) || is(e.Right))
	case *pushdown.Match:
		return is(e.Operand)
	case *pushdown.NullTest:
		return e.Negated && is(e.Operand)
	case *pushdown.Membership:
		return !e.Negated && is(e.Operand) // NULL <> ALL ('{}') is true
	case *pushdown.And:
		return slices.ContainsFunc(e.Operands, func(o pushdown.Expr) bool { return excludesNull(o, column) })
	}
	return false
}

func (t *table) sorts(col *column, k pushdown.SortKey, notNull bool) bool {
	s, f := t.src.m.Sort, col.field
	if f.Type == "" || f.List || f.Type == "json" || (f.Sortable != nil && !*f.Sortable) {
		return false
	}
	if len(s.Types) > 0 && !slices.Contains(s.Types, f.Type) {
		return false
	}
	switch kind := col.spec.Type.Kind; {
	case col.spec.Type.Array || kind == pushdown.Float4:
		return false
	case kind == pushdown.Text || kind == pushdown.Varchar:
		if f.Type != "text" && f.Type != "select" && f.Type != "relation" || !k.Collation.C || s.TextOrder != "bytes" {
			return false
		}
	case !col.comparable() || kind == pushdown.Enum || kind == pushdown.UUID:
		return false
	}
	if f.always() || col.key || notNull {
		return true
	}
	switch s.Nulls {
	case "first":
		return k.NullsFirst
	case "last":
		return !k.NullsFirst
	case "smallest":
		return k.NullsFirst != k.Descending
	case "largest":
		return k.NullsFirst == k.Descending
	}
	return false
}

// one sort key.
func (s *Sort) one(f *Field, descending bool) string {
	text := s.Ascending
	if descending {
		text = s.Descending
	}
	return strings.ReplaceAll(text, "{field}", f.SortName)
}

// sizeOf is the page size to ask for: not more than a LIMIT can use.
func (t *table) sizeOf(l *list, q *connectors.Query) int {
	size, rows := l.pageSize, likely(q)
	switch {
	case l.whole:
	case q.Limit > 0 && q.Limit < uint64(size):
		size = int(q.Limit)
	case q.Limit == 0 && rows > 0 && rows < uint64(size) && l.exact && q.LimitPossible:
		size = int(rows)
	case q.Limit == 0 && rows > 0 && rows*4 < uint64(size):
		size = max(int(rows)*4, min(size, 100))
	}
	return size
}

// likely is after how many rows the scan will probably be stopped; 0: it is not
// known. Where PostgreSQL sorts, it reads all before a LIMIT counts.
func likely(q *connectors.Query) uint64 {
	if len(q.Orderings) > 0 && len(q.Ordering) == 0 {
		return 0
	}
	return q.LimitRows
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
