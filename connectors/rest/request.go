// The request for one page.

package rest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// parameters of a request, in its URL or its body.
type parameters struct {
	query url.Values
	body  *shape // nil: they are in the query
}

func (p *parameters) put(name string, raw []byte) {
	if name != "" {
		p.body.constant(splitPath(name), raw)
	}
}

func (p *parameters) text(name, value string) {
	switch {
	case name == "":
	case p.body != nil:
		p.put(name, appendString(nil, value))
	default:
		p.query.Set(name, value)
	}
}

func (p *parameters) number(name string, n int) {
	if p.body != nil {
		p.put(name, []byte(itoa(n)))
		return
	}
	p.text(name, itoa(n))
}

// constant is a value of the manifest; in a body, true, false and numbers are
// written as such.
func (p *parameters) constant(pair Pair) {
	if p.body != nil {
		p.put(pair.Name, plain(pair.Value))
		return
	}
	p.text(pair.Name, pair.Value)
}

func (p *parameters) list(f *Fields, values []string) {
	switch {
	case f.Param == "" || (len(values) == 0 && p.body == nil):
		return
	case p.body == nil && f.Repeat:
		p.query[f.Param] = values
		return
	case p.body == nil:
		p.text(f.Param, strings.Join(values, f.Separator))
		return
	}
	raw := []byte{'['}
	for i, v := range values {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = appendString(raw, v)
	}
	p.put(f.Param, append(raw, ']'))
}

// raw is JSON for a body.
func (p *parameters) raw(name, text string, isJSON bool) {
	if isJSON && p.body != nil && json.Valid([]byte(text)) {
		p.put(name, []byte(text))
		return
	}
	p.text(name, text)
}

// request for one page of the n-th ask; pos is nil for its first.
func (t *table) request(l *list, q *connectors.Query, n int, pos *position) *transport.Request {
	m := t.src.m
	r := &transport.Request{Method: m.Read.Method, Path: t.listPath(), Query: url.Values{}, Stats: q.Stats, Class: m.Read.Class}
	if pos != nil && pos.url != "" {
		r.Method, r.Path = http.MethodGet, pos.url
		return r
	}
	p := &parameters{query: r.Query}
	if m.Read.In == "body" {
		p.body = newShape()
	}
	for _, pairs := range [][]Pair{m.Read.Query, t.totalQuery(q, pos == nil), t.object.Query} {
		for _, pair := range pairs {
			p.constant(pair)
		}
	}
	if only := t.object.only; only != nil {
		p.list(&Fields{Param: only.Param, Repeat: true}, only.Values)
	}
	if l.pageSize > 0 && m.Read.PageSize.Param != "" && m.Read.Job == nil {
		size := t.sizeOf(l, q)
		if pos != nil && pos.size > 0 {
			size = pos.size
		}
		p.number(m.Read.PageSize.Param, size)
	}
	if l.fields == nil {
		l.fields = slices.Clip(t.wanted(q.Columns, l.verifyColumns, l.order.columns(), l.sorter.columns()))
	}
	fields := l.fields
	if f := m.Read.Fields; f != nil {
		p.list(f, fields)
	}
	filter, params := t.filterText(l, n, l.further(pos))
	for _, pair := range params {
		r.Query.Del(pair[0]) // a constant
	}
	for _, pair := range params {
		if !strings.HasSuffix(pair[0], "[]") {
			r.Query.Add(pair[0], pair[1])
			continue
		}
		for one := range strings.SplitSeq(pair[1], listMark) {
			r.Query.Add(pair[0], one)
		}
	}
	for _, path := range t.expansions(q.Columns, l.verifyColumns) {
		r.Query.Add(m.Read.Expand.Param, m.Read.Expand.Prefix+path)
	}
	if strings.Contains(r.Path, "{filter}") {
		r.Path = strings.ReplaceAll(r.Path, "{filter}", url.PathEscape(filter))
		filter = ""
	}
	if s := m.Read.Statement; s != nil {
		p.text(s.Param, t.statement(s, l, q, fields, filter))
	} else {
		if filter != "" && m.Filter.Param != "" {
			p.raw(m.Filter.Param, filter, m.Filter.JSON)
		}
		if sort := l.sorted(n, pos); sort != "" {
			if m.Sort.JSON {
				sort = "[" + sort + "]"
			}
			p.raw(m.Sort.Param, sort, m.Sort.JSON)
		}
	}
	switch {
	case pos == nil && l.paging.Style == "page":
		p.number(l.paging.Param, l.paging.Start)
	case pos != nil && pos.param != "" && l.paging.Style == "cursor":
		p.text(l.paging.Param, pos.param)
	case pos != nil && pos.param != "":
		p.raw(l.paging.Param, pos.param, true) // a number
	}
	if p.body != nil {
		r.Body = p.body.json()
		r.Header = http.Header{"Content-Type": {"application/json"}}
	}
	if hook := t.src.hooks.Request; hook != nil {
		hook(&ListRequest{Object: t.object, Way: t.src.way, Limit: q.Limit, First: pos == nil}, r)
	}
	return r
}

// listPath is where the object's records are listed.
func (t *table) listPath() string {
	if p := t.src.m.Read.Path; p != "" {
		return strings.ReplaceAll(p, "{path}", t.object.Path)
	}
	return t.object.Path
}

// totalQuery are the parameters that ask for the total; nil: it is not wanted.
func (t *table) totalQuery(q *connectors.Query, first bool) []Pair {
	if !first || q.Sample == 0 && q.Aggregation == nil && !q.Total {
		return nil
	}
	return t.src.m.Read.TotalQuery
}

// statement writes a query in one text.
func (t *table) statement(s *Statement, l *list, q *connectors.Query, fields []string, filter string) string {
	separator := ", "
	if f := t.src.m.Read.Fields; f != nil {
		separator = f.Separator
	}
	group := ""
	if q.Aggregation != nil {
		fields, group = t.selected(q.Aggregation)
	}
	object := t.object.APIName
	if object == "" {
		object = t.object.Name
	}
	// One pass: what is put in may have braces of its own.
	text := strings.NewReplacer("{fields}", strings.Join(fields, separator), "{object}", object, "{path}", t.object.Path).Replace(s.Text)
	if where := t.object.Where; where != "" && filter != "" {
		filter = where + t.src.m.Filter.And + filter
	} else if where != "" {
		filter = where
	}
	if filter != "" {
		text += strings.Replace(s.Where, "{filter}", filter, 1)
	}
	text += group
	if l.sort != "" {
		text += strings.Replace(s.Order, "{sort}", l.sort, 1)
	}
	if q.Limit > 0 && s.Limit != "" && len(l.asks) == 1 {
		text += strings.Replace(s.Limit, "{limit}", itoa(int(min(q.Limit, 1<<31))), 1)
	}
	return text
}

// further are the conditions by which a page is not the first: for keys after one
// (seek), and what an order takes.
func (l *list) further(pos *position) []string {
	if pos == nil || pos.after == "" && pos.terms == nil {
		return nil
	}
	if pos.after == "" {
		return pos.terms
	}
	return []string{l.seek.before + pos.after + l.seek.after}
}

// sorted is the sort of a page of the n-th ask.
func (l *list) sorted(n int, pos *position) string {
	if l.order != nil && (l.asks[n].unsorted || pos != nil && pos.byKey) {
		return l.order.byKey
	}
	return l.sort
}

// filterText is the filter of the n-th ask, with further conditions.
func (t *table) filterText(l *list, n int, further []string) (filter string, params [][2]string) {
	f, a := t.src.m.Filter, &l.asks[n]
	switch {
	case f == nil:
		return "", nil
	case f.Style == "params":
		params = a.params
		for _, term := range further {
			name, value, _ := strings.Cut(term, "=")
			params = append(params[:len(params):len(params)], [2]string{name, value})
		}
		return "", params
	case f.Style == "groups":
		return f.renderGroups(a.groups, strings.Join(further, f.And)), nil
	}
	parts := append(a.parts[:len(a.parts):len(a.parts)], further...)
	filter = strings.Join(parts, f.And)
	if len(parts) > 1 && f.AndGroup != "" {
		filter = strings.Replace(f.AndGroup, "{}", filter, 1)
	}
	return filter, nil
}

// listMark separates the values of a parameter that stands there once for each. No
// text in SQL has it.
const listMark = "\x00"

// expansions are the relations that columns lead through, each once.
func (t *table) expansions(lists ...[]int) (paths []string) {
	if t.src.m.Read.Expand == nil {
		return nil
	}
	for _, columns := range lists {
		for _, c := range columns {
			if path := t.column(c).field.Expand; path != "" && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}
