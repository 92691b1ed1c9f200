// What the keys of a manifest mean together: the checks that need more than one.

package rest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

var fieldTypes = []string{"text", "integer", "number", "boolean", "datetime", "timestamp", "date", "time", "uuid", "select", "relation", "json", "bytes"}

// filterable are the types that literals can be written for.
var filterable = []string{"text", "integer", "number", "boolean", "datetime", "timestamp", "date", "uuid", "select", "relation"}

var operatorNames = []string{"eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "like", "not_like", "contains", "starts_with", "ends_with", "is_null", "not_null", "has"}

// errorClasses are the classes that errors.codes may name.
func errorClasses() map[string]connectors.Class {
	return map[string]connectors.Class{
		"check":             connectors.CheckViolation,
		"not_null":          connectors.NotNullViolation,
		"unique":            connectors.UniqueViolation,
		"foreign_key":       connectors.ForeignKeyViolation,
		"too_long":          connectors.TooLong,
		"unauthenticated":   connectors.Unauthenticated,
		"permission_denied": connectors.PermissionDenied,
		"not_found":         connectors.NotFoundError,
		"conflict":          connectors.Conflict,
		"locked":            connectors.Locked,
		"rate_limited":      connectors.RateLimited,
		"unavailable":       connectors.Unavailable,
		"not_supported":     connectors.NotSupported,
	}
}

func (l *loader) check(m *Manifest) {
	l.checkAuth(&m.Auth)
	l.checkRead(m, &m.Read, "read")
	l.checkPaging(m, &m.Paging, "paging")
	if m.Filter != nil {
		l.checkFilter(m, m.Filter, "filter")
	}
	if m.Sort != nil {
		l.checkSort(m, m.Sort, "sort")
	}
	l.checkAggregate(m, "aggregate")
	l.checkWays(m)
	l.checkPartition(m)
	l.checkLoad(m)
	classes := errorClasses()
	names := make([]string, 0, len(classes))
	for n := range classes {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, p := range m.Errors.Codes {
		if _, ok := classes[p.Value]; !ok {
			l.at("errors.codes."+p.Name, "expected %s, found %q", oneOf(p.Value, names), p.Value)
		}
	}
	own := append(connectors.CommonOptions(), (&Connector{}).Options()...)
	for _, o := range m.Options {
		if slices.ContainsFunc(own, func(s connectors.OptionSpec) bool { return s.Name == o.Name && s.Where == connectors.OnServer }) {
			l.at("options."+o.Name, "the connector has an option of this name itself")
		}
	}
	l.checkPlaceholders(m)
	l.checkBudget(m)
	for _, p := range m.Limits.Waits {
		if f, err := strconv.ParseFloat(p.Value, 64); err != nil || f < 0 || f > 86400 {
			l.at("limits.waits."+p.Name, "expected a number of seconds from 0 to 86400, found %q", p.Value)
		}
	}
	l.checkWrite("create", "create", m.Create)
	l.checkWrite("update", "update", m.Update)
	l.checkWrite("delete", "delete", m.Delete)
	l.checkWrite("upsert", "upsert", m.Upsert)
	l.checkWrite("get", "get", m.Get)
	for i := range m.Objects {
		l.checkObject(m, &m.Objects[i])
	}
}

func (l *loader) checkPlaceholders(m *Manifest) {
	names := []string{}
	for _, o := range m.Options {
		names = append(names, o.Name)
	}
	look := func(path, text string) {
		for _, p := range placeholders(text) {
			if !slices.Contains(names, p) {
				l.at(path, "{%s} is not a name under options", p)
			}
		}
	}
	look("base_url", m.BaseURL)
	look("auth.path", m.Auth.Path)
	look("auth.token_url", m.Auth.TokenURL)
	look("auth.authorize_url", m.Auth.AuthorizeURL)
	look("auth.audience", m.Auth.Audience)
	if m.Auth.Check != nil {
		look("auth.check.path", m.Auth.Check.Path)
	}
	for _, h := range m.Headers {
		look("headers."+h.Name, h.Value)
	}
	for _, b := range m.Auth.Body {
		for _, p := range placeholders(b.Value) {
			if p != "user" && p != "password" {
				l.at("auth.body."+b.Name, "expected {user} or {password}, found {%s}", p)
			}
		}
	}
}

func (l *loader) checkAuth(a *Auth) {
	need := func(key, value string) {
		if value == "" {
			l.at("auth", "the key %q is missing, which type %s needs", key, a.Type)
		}
	}
	switch a.Type {
	case "header", "query":
		need("name", a.Name)
	case "client_credentials":
		need("token_url", a.TokenURL)
	case "oauth2":
		l.checkGrants(a)
	case "login":
		need("path", a.Path)
		need("token", a.Token)
		if len(a.Body) == 0 {
			need("body", "")
		}
	}
}

func (l *loader) checkPaging(m *Manifest, p *Paging, path string) {
	switch p.Style {
	case "page", "offset", "cursor":
		if p.Param == "" {
			l.at(path, "the key \"param\" is missing, which style %s needs", p.Style)
		}
	}
	if p.Style == "cursor" && p.Cursor == "" && p.Header == "" {
		l.at(path, "the key \"cursor\" is missing, which style cursor needs")
	}
	if (p.Style == "page" || p.Style == "offset" || p.Style == "seek") && p.More == "" && m.Read.PageSize.Max == 0 {
		l.at(path, "style %s needs read.page_size.max, or more: the last page could not be told", p.Style)
	}
	if p.Cursor == "{key}" && p.More == "" && m.Read.PageSize.Max == 0 {
		l.at(path, "the cursor {key} needs read.page_size.max, or more: the last page could not be told")
	}
	if p.Ordered != nil {
		if p.Style != "seek" {
			l.at(path+".ordered", "only style seek has an ordered paging")
		} else if p.Ordered.Style == "" || p.Ordered.Style == "seek" {
			l.at(path+".ordered", "expected a style other than seek")
		}
		l.checkRange(m, p, path)
		l.checkPaging(m, p.Ordered, path+".ordered")
	}
	if p.Style == "range" && !strings.HasSuffix(path, ".ordered") {
		l.at(path+".style", "range is for paging.ordered alone")
	}
	if p.Style == "seek" {
		switch {
		case p.Cursor == "{key}":
			l.at(path+".cursor", "style seek has nothing to learn from the last record's key: every page has one")
		case m.Filter == nil || m.Sort == nil:
			l.at(path, "style seek needs filter and sort")
		case m.Filter.And == "" && m.Filter.Style == "expression":
			l.at(path, "style seek needs filter.and")
		case !m.Filter.Enforced || !m.Sort.Enforced:
			l.at(path, "style seek needs filter.enforced and sort.enforced: true; where they are ignored, pages repeat")
		}
		for i := range m.Objects {
			l.checkSeekKey(m, &m.Objects[i])
		}
	}
}

func (l *loader) checkSeekKey(m *Manifest, o *Object) {
	f := o.field(o.Key)
	if f == nil {
		l.at("objects."+o.Name, "the key \"key\" is missing, which paging style seek needs")
		return
	}
	if m.Filter == nil {
		return
	}
	col := column{field: f, key: true, spec: connectors.ColumnSpec{Name: o.Key, Type: naturalType(f)}}
	var q quoter
	col.bind(m, &q)
	if _, ok := col.ops["gt"]; !ok {
		l.at("objects."+o.Name, "paging style seek needs the operator gt for the key's type, %s", f.Type)
	}
}

func (l *loader) checkRead(m *Manifest, r *Read, path string) {
	if r.Class != "" && !slices.ContainsFunc(m.Limits.Classes, func(c LimitClass) bool { return c.Name == r.Class }) {
		l.at(path+".class", "there is no class %q under limits.classes", r.Class)
	}
	if r.In == "body" && r.Method == http.MethodGet {
		l.at(path+".in", "a GET has no body; the method must be POST")
	}
	if f := r.Fields; f != nil && f.Param == "" && r.Statement == nil {
		l.at(path+".fields", "the key \"param\" is missing")
	}
	l.checkJob(m, r, path)
	s := r.Statement
	if s == nil {
		return
	}
	for _, part := range []struct {
		key, text string
		known     []string
	}{
		{"text", s.Text, []string{"fields", "object", "path"}}, {"where", s.Where, []string{"filter"}},
		{"order", s.Order, []string{"sort"}}, {"limit", s.Limit, []string{"limit"}},
	} {
		for _, p := range placeholders(part.text) {
			if !slices.Contains(part.known, p) {
				l.at(path+".statement."+part.key, "expected {%s}, found {%s}", strings.Join(part.known, "}, {"), p)
			}
		}
	}
}

func (l *loader) checkSort(m *Manifest, s *Sort, path string) {
	if s.Param == "" && path == "sort" && m.Read.Statement == nil {
		l.at(path, "the key \"param\" is missing")
	}
	for i, t := range s.Types {
		if !slices.Contains(fieldTypes, t) {
			l.at(path+".types["+itoa(i)+"]", "expected %s, found %q", oneOf(t, fieldTypes), t)
		}
	}
}

// checkFilter checks a filter; path is where it stands.
func (l *loader) checkFilter(m *Manifest, f *Filter, path string) {
	if f.Style == "expression" && f.Param == "" && path == "filter" && m.Read.Statement == nil {
		l.at(path, "the key \"param\" is missing, which style expression needs")
	}
	for _, g := range []struct{ key, text string }{{"group", f.Group}, {"and_group", f.AndGroup}, {"or_group", f.OrGroup}} {
		if g.text != "" && strings.Count(g.text, "{}") != 1 {
			l.at(path+"."+g.key, "expected {} where the inside stands, found %q", g.text)
		}
	}
	for _, e := range f.Literals.Escapes {
		if len([]rune(e.Name)) != 1 {
			l.at(path+".literals.escapes", "expected one character, found %q", e.Name)
		}
	}
	if q := f.Literals.Quote; q != "" && f.Style == "expression" {
		known := slices.ContainsFunc(f.Literals.Escapes, func(p Pair) bool { return p.Name == q })
		if !known && !slices.Contains(f.Literals.Refuse, q) {
			l.at(path+".literals", "the quote %q must stand under escapes or refuse, else a value could end the text", q)
		}
	}
	if d := f.Literals.Datetime; d != "" && d != "unix" && d != "unix_ms" {
		ref := time.Date(2024, 11, 23, 14, 5, 6, 0, time.UTC)
		back, err := time.Parse(d, ref.Format(d))
		if err != nil || !back.Equal(ref) {
			l.at(path+".literals.datetime", "expected a layout with all of 2006-01-02 15:04:05, unix or unix_ms, found %q", d)
		}
	}
	for _, t := range f.Types {
		path := path + ".types." + t.Type
		if t.For != "" {
			path, t.Type = path+".for", t.For
		}
		if !slices.Contains(filterable, t.Type) {
			l.at(path, "expected %s, found %q", oneOf(t.Type, filterable), t.Type)
			continue
		}
		l.checkOperators(f, &t, strings.TrimSuffix(path, ".for"))
	}
}

func (l *loader) checkOperators(f *Filter, t *TypeFilters, path string) {
	has := func(op string) bool {
		return slices.ContainsFunc(t.Operators, func(p Pair) bool { return p.Name == op })
	}
	for _, op := range t.Operators {
		at := path + ".operators." + op.Name
		if !slices.Contains(operatorNames, op.Name) {
			l.at(at, "expected %s, found %q", oneOf(op.Name, operatorNames), op.Name)
			continue
		}
		want := "{value}"
		switch op.Name {
		case "in", "not_in":
			want = "{values}"
		case "is_null", "not_null":
			want = ""
		}
		if f.Style == "params" {
			if name, _, ok := strings.Cut(op.Value, "="); !ok || name == "" || strings.Contains(name, "{value") {
				l.at(at, "expected parameter=value, found %q", op.Value)
			}
		}
		for _, p := range placeholders(op.Value) {
			if "{"+p+"}" != want && p != "field" {
				l.at(at, "expected {field} and %s, found {%s}", want, p)
			}
		}
		if want != "" && strings.Count(op.Value, want) != 1 {
			l.at(at, "expected %s once, found %q", want, op.Value)
		}
		if (op.Name == "like" || op.Name == "not_like") && f.Like == nil {
			l.at(at, "filter.like is missing: it says how patterns are written")
		}
		if t.Type == "text" && f.TextOrder != "bytes" && slices.Contains([]string{"lt", "le", "gt", "ge"}, op.Name) {
			l.at(at, "needs filter.text_order: bytes; in another order the API could return too little")
		}
		if t.Type == "datetime" && f.Literals.Datetime == "" && want != "" {
			l.at(at, "filter.literals.datetime is missing: it says how a point in time is written")
		}
	}
	for _, op := range t.Exact {
		if !has(op) {
			l.at(path+".exact", "%q is not under operators", op)
		}
		if !f.Enforced {
			l.at(path+".exact", "needs filter.enforced: true; an API that ignores a filter returns too much")
			break
		}
	}
	for _, op := range t.MissingMatches {
		if !has(op) {
			l.at(path+".missing_matches", "%q is not under operators", op)
		}
	}
}

// checkWrite checks a write; op is create, update, delete, upsert or get.
func (l *loader) checkWrite(path, op string, w *Write) {
	if w == nil {
		return
	}
	if op == "upsert" {
		for _, p := range placeholders(w.Path) {
			if names := []string{"path", "match", "value"}; !slices.Contains(names, p) {
				l.at(path+".path", "expected %s, found %q", oneOf(p, names), p)
			}
		}
	} else {
		for _, key := range []struct {
			name  string
			given bool
		}{{"match", w.Match != nil}, {"omit_match", w.OmitMatch}, {"created", w.Created != ""}, {"created_keys", w.CreatedKeys != ""}} {
			if key.given {
				l.at(path+"."+key.name, "only an upsert has this")
			}
		}
	}
	if w.Fields != nil && (op != "get" || w.Fields.Param == "") {
		l.at(path+".fields", "only a get names the fields that it wants, by a param")
	}
	if w.AnswerKey != "" && op != "create" && op != "upsert" {
		l.at(path+".answer_key", "only create and upsert have this")
	}
	if w.ByList && op != "get" {
		l.at(path+".by_list", "only get has this")
	}
	if w.IdempotencyReplays && w.IdempotencyHeader == "" {
		l.at(path+".idempotency_replays", "the key \"idempotency_header\" is missing: it carries the key")
	}
	if w.Batch != nil {
		l.checkBatch(path+".batch", op, w)
	}
}

// checkBatch checks the batch of a write.
func (l *loader) checkBatch(path, op string, w *Write) {
	b := w.Batch
	if op == "get" {
		l.at(path, "only create, update, delete and upsert have a batch")
	}
	if w.Body == "form" {
		l.at(path, "a batch is sent as JSON, and body is form")
	}
	known := []string{"method", "url", "body", "row"}
	switch op {
	case "create": // a new record has no key yet
	case "upsert":
		known = append(known, "value", "match")
	default:
		known = append(known, "key")
	}
	look := func(at, text string, names []string) {
		for _, p := range placeholders(text) {
			if !slices.Contains(names, p) {
				l.at(at, "expected %s, found %q", oneOf(p, names), p)
			}
		}
	}
	for _, p := range b.Entry {
		at := path + ".entry." + p.Name
		look(at, p.Value, known)
		if p.Value != "{body}" && strings.Contains(p.Value, "{body}") {
			l.at(at, "expected {body} alone, found %q", p.Value)
		}
	}
	inPath := []string{"path"}
	if op == "upsert" {
		inPath = append(inPath, "match")
	}
	look(path+".path", b.Path, inPath)
	look(path+".as", b.As, slices.DeleteFunc(slices.Clone(known[3:]), func(n string) bool { return n == "match" }))
	if len(placeholders(b.As)) == 0 {
		l.at(path+".as", "expected {row}, {key} or {value}, found %q: rows would have one name", b.As)
	}
	switch {
	case b.Param != "" && op != "delete":
		l.at(path+".param", "only a delete can have its keys in the query")
	case b.Param != "" && (b.List != "" || len(b.Entry) > 0):
		l.at(path+".param", "the keys are in the query, so there is no body with list or entry")
	case b.Param == "" && b.Separator != "":
		l.at(path+".separator", "the key \"param\" is missing: only keys in the query are separated")
	case b.Param == "" && b.List == "" && len(b.Extra) > 0:
		l.at(path+".extra", "the key \"list\" is missing: a body that is the list has nothing else")
	}
	if b.Errors != nil && b.Errors.Error != "" {
		l.at(path+".errors.error", "all entries of errors are errors; item says where one has it")
	}
	if len(b.Others) > 0 && !b.Atomic {
		l.at(path+".others", "needs atomic: true; else no row is refused for another")
	}
}

func (l *loader) checkObject(m *Manifest, o *Object) {
	path := "objects." + o.Name
	l.checkWrite(path+".create", "create", o.Create)
	l.checkWrite(path+".update", "update", o.Update)
	l.checkWrite(path+".delete", "delete", o.Delete)
	l.checkWrite(path+".upsert", "upsert", o.Upsert)
	if o.Upsert != nil {
		for i, name := range o.Upsert.Match {
			if o.field(name) == nil {
				l.at(path+".upsert.match["+itoa(i)+"]", "there is no field %q", name)
			}
		}
	}
	if o.Key != "" && o.field(o.Key) == nil {
		l.at(path+".key", "there is no field %q", o.Key)
	}
	if o.Modified != "" && !o.hasTime(o.Modified) {
		l.at(path+".modified", "there is no field %q of type datetime", o.Modified)
	}
	if d := o.Deleted; d != nil {
		l.checkDeleted(m, o, path+".deleted")
	}
	if o.Changes != nil {
		l.checkChanges(m, o, path+".changes")
	}
	for i, u := range o.Unique {
		if o.field(u) == nil {
			l.at(path+".unique["+itoa(i)+"]", "there is no field %q", u)
		}
	}
	for i, u := range o.Lookups {
		if o.field(u) == nil {
			l.at(path+".lookups["+itoa(i)+"]", "there is no field %q", u)
		}
	}
	l.checkNested(m, o, path)
	for _, f := range o.Fields {
		at := path + ".fields." + f.Name
		if f.Type == "relation" && f.Object != "" && m.object(f.Object) == nil {
			l.at(at+".object", "there is no object %q", f.Object)
		}
		if len(f.Values) > 0 && f.Type != "select" {
			l.at(at+".values", "only a field of type select has values")
		}
		if f.TrimZeros && f.Type != "number" && f.Type != "integer" {
			l.at(at+".trim_zeros", "only a field of type number has a fraction")
		}
		if f.Missing == "never" && f.List {
			l.at(at+".missing", "a list is never missing: it is empty")
		}
		switch {
		case f.Format == "utc" && f.Type != "time":
			l.at(at+".format", "only a field of type time has this format")
		case f.Format != "iso" && f.Format != "utc" && f.Type != "datetime":
			l.at(at+".format", "only a field of type datetime has this format")
		}
		if f.Special != "" && (f.Type == "json" || f.List) {
			l.at(at+".special", "in a list, and in JSON, objects are values")
		}
		if (f.Merges || f.Whole) && (f.Type != "json" || f.List) {
			l.at(at, "only a field of type json merges its members, or is sent whole")
		}
		for _, p := range f.Filters {
			l.checkFilters(m, &f, p, at+".filters."+p.Name)
		}
		for _, name := range f.Ways {
			if !slices.ContainsFunc(m.Ways, func(w Way) bool { return w.Name == name }) {
				l.at(at+".ways", "there is no way %q", name)
			}
		}
		if f.Keeps != "" && f.Type != "datetime" && f.Type != "timestamp" && f.Type != "time" {
			l.at(at+".keeps", "only a field of type datetime, timestamp or time has fractions of seconds")
		}
	}
}

// checkFilters checks by what a field is filtered in a way.
func (l *loader) checkFilters(m *Manifest, f *Field, p Pair, path string) {
	filter := m.Filter
	if p.Name != "list" {
		i := slices.IndexFunc(m.Ways, func(w Way) bool { return w.Name == p.Name })
		if i < 0 {
			l.at(path, "there is no way %q; the one at the top is list", p.Name)
			return
		}
		if m.Ways[i].Filter != nil {
			filter = m.Ways[i].Filter
		}
	}
	if filter == nil {
		l.at(path, "there is no filter")
		return
	}
	i := slices.IndexFunc(filter.Types, func(t TypeFilters) bool { return t.Type == p.Value })
	if i < 0 {
		l.at(path, "there is no %q under the filter's types", p.Value)
		return
	}
	kind, text := filter.Types[i].For, []string{"text", "select", "relation"}
	if kind == "" {
		kind = filter.Types[i].Type
	}
	same := kind == f.Type || kind == "number" && f.Type == "integer" || slices.Contains(text, kind) && slices.Contains(text, f.Type)
	if !same {
		l.at(path, "%q is for fields of type %s, and this one is of type %s", p.Value, kind, f.Type)
	}
}

// object of that name; nil: none.
func (m *Manifest) object(name string) *Object {
	for i := range m.Objects {
		if m.Objects[i].Name == name {
			return &m.Objects[i]
		}
	}
	return nil
}

// field of that name; nil: none.
func (o *Object) field(name string) *Field {
	for i := range o.Fields {
		if o.Fields[i].Name == name {
			return &o.Fields[i]
		}
	}
	return nil
}

// hasTime tells whether a field is one point in time.
func (o *Object) hasTime(name string) bool {
	f := o.field(name)
	return f != nil && f.Type == "datetime" && !f.List
}

// placeholders lists the names in braces: letters, digits and _ alone.
func placeholders(s string) (names []string) {
	for {
		_, after, ok := strings.Cut(s, "{")
		if !ok {
			return names
		}
		end := strings.IndexFunc(after, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if end > 0 && after[end] == '}' {
			names = append(names, after[:end])
		}
		s = after
	}
}
