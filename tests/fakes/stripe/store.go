// Objects, and how they are listed, got and expanded.

package stripe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// object of a collection. fields are replaced, never changed, so that whoever has
// them may keep them.
type object struct {
	id      string
	created int64
	seq     int
	fields  map[string]any
	json    []byte // of fields; nil: not yet made
	// indexed is what a search that lags still sees: versions with their times.
	indexed []version
}

type version struct {
	at     time.Time
	fields map[string]any // nil: deleted
}

// collection has its objects in the order of creation. gone are deleted ones.
type collection struct {
	list []*object
	byID map[string]*object
	gone map[string]*object
}

func before(a, b *object) bool {
	if a.created != b.created {
		return a.created < b.created
	}
	return a.seq < b.seq
}

func (c *collection) add(o *object) {
	at := len(c.list)
	if at > 0 && before(o, c.list[at-1]) {
		at = sort.Search(len(c.list), func(i int) bool { return before(o, c.list[i]) })
	}
	c.list = slices.Insert(c.list, at, o)
	c.byID[o.id] = o
}

// after is the index of the first object that is not older than o.
func (c *collection) place(o *object) int {
	return sort.Search(len(c.list), func(i int) bool { return !before(c.list[i], o) })
}

func (o *object) raw() []byte {
	if o.json == nil {
		o.json, _ = json.Marshal(o.fields)
	}
	return o.json
}

// insert an object with these fields, which have its id and time of creation.
func (s *Server) insert(r *resource, fields map[string]any) *object {
	s.seq++
	o := &object{id: fields["id"].(string), created: fields["created"].(int64), seq: s.seq, fields: fields}
	o.indexed = []version{{s.now(), fields}}
	s.store[r.path].add(o)
	return o
}

// change an object; what is nil in with becomes null.
func (s *Server) change(o *object, with map[string]any) {
	fields := maps.Clone(o.fields)
	maps.Copy(fields, with)
	o.fields, o.json = fields, nil
	o.indexed = append(o.indexed, version{s.now(), fields})
}

func (s *Server) drop(r *resource, o *object) {
	c := s.store[r.path]
	at := c.place(o)
	c.list = slices.Delete(c.list, at, at+1)
	delete(c.byID, o.id)
	o.indexed = append(o.indexed, version{s.now(), nil})
	c.gone[o.id] = o
}

// asIndexed is the object as a search sees it; nil: not at all.
func (s *Server) asIndexed(o *object) map[string]any {
	until := s.now().Add(-s.knobs.SearchLag)
	for i := len(o.indexed) - 1; i >= 0; i-- {
		if !o.indexed[i].at.After(until) {
			return o.indexed[i].fields
		}
	}
	return nil
}

// Put stores an object as a test wants it, with the resource's defaults for what is
// not given, and without an event. It answers its id.
func (s *Server) Put(resource string, fields map[string]any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := resourceAt(resource)
	all := s.blank(r)
	for k, v := range fields {
		if n, ok := v.(int); ok {
			v = int64(n)
		}
		all[k] = v
	}
	return s.insert(r, all).id
}

// Objects of a resource as they are, the newest first.
func (s *Server) Objects(resource string) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []map[string]any
	for _, o := range slices.Backward(s.store[resource].list) {
		out = append(out, o.fields)
	}
	return out
}

// Object by its id; nil: there is none.
func (s *Server) Object(resource, id string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.store[resource].byID[id]; o != nil {
		return o.fields
	}
	return nil
}

// Amend an object behind everybody's back: no event.
func (s *Server) Amend(resource, id string, fields map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(s.store[resource].byID[id], fields)
}

// Erase an object behind everybody's back: no event.
func (s *Server) Erase(resource, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := resourceAt(resource)
	if o := s.store[resource].byID[id]; o != nil {
		s.drop(r, o)
	}
}

var pagingSpecs = members("limit:int starting_after ending_before")

func (s *Server) list(c *call, r *resource) (any, *apiError) {
	in, e := check(c.in, append(slices.Clone(r.filters), pagingSpecs...), "")
	if e != nil {
		return nil, e
	}
	limit, e := limitOf(in)
	if e != nil {
		return nil, e
	}
	after, before := text(in["starting_after"]), text(in["ending_before"])
	if after != "" && before != "" {
		return nil, invalid("starting_after", "parameters_exclusive", "Received both starting_after and ending_before parameters. Please pass in only one.")
	}
	if in["ids"] != nil && (after != "" || before != "") {
		return nil, invalid("ids", "parameters_exclusive", "You may only specify one of these parameters: ids, starting_after, ending_before.")
	}
	if r.path == "prices" && s.knobs.ActivePricesOnly && in["active"] == nil {
		in["active"] = true
	}
	if s.knobs.RefuseUnknown {
		for param, target := range map[string]string{"customer": "customers", "charge": "charges", "payment_intent": "payment_intents", "subscription": "subscriptions", "product": "products"} {
			if e := s.refers(in, param, target); e != nil {
				return nil, e
			}
		}
	}
	matches, e := r.filter(s, in)
	if e != nil {
		return nil, e
	}
	col := s.store[r.path]
	var page []*object
	more := false
	take := func(o *object) bool {
		if !s.listed(r, o) || !matches(o.fields) {
			return true
		}
		if len(page) == limit {
			more = true
			return false
		}
		page = append(page, o)
		return true
	}
	switch {
	case before != "":
		o, e := s.cursor(r, before, "ending_before")
		if e != nil {
			return nil, e
		}
		from := col.place(o)
		if from < len(col.list) && col.list[from] == o {
			from++
		}
		for _, o := range col.list[from:] {
			if !take(o) {
				break
			}
		}
		slices.Reverse(page)
	default:
		from := len(col.list)
		if after != "" {
			o, e := s.cursor(r, after, "starting_after")
			if e != nil {
				return nil, e
			}
			from = col.place(o)
		}
		for i := from - 1; i >= 0; i-- {
			if !take(col.list[i]) {
				break
			}
		}
	}
	c.page = pageOf{first: after == "" && before == "", size: limit}
	for _, o := range col.list {
		if c.page.first && s.listed(r, o) && matches(o.fields) {
			c.page.matched++
		}
	}
	out := []byte(`{"object":"list","url":"/v1/` + r.path + `","has_more":` + fmt.Sprint(more) + `,"data":[`)
	out, e = s.appendObjects(out, c, r, page)
	return append(out, ']', '}'), e
}

// appendObjects writes objects with what is to be expanded below "data".
func (s *Server) appendObjects(out []byte, c *call, r *resource, page []*object) ([]byte, *apiError) {
	paths, e := below("data", c.expand)
	if e != nil {
		return nil, e
	}
	for i, o := range page {
		if i > 0 {
			out = append(out, ',')
		}
		if len(paths) == 0 {
			out = append(out, o.raw()...)
			continue
		}
		fields, e := s.expanded(r, o.fields, paths, 1)
		if e != nil {
			return nil, e
		}
		raw, _ := json.Marshal(fields)
		out = append(out, raw...)
	}
	return out, nil
}

func limitOf(in map[string]any) (int, *apiError) {
	n, ok := in["limit"].(int64)
	switch {
	case !ok:
		return 10, nil
	case n < 1:
		return 0, invalid("limit", "parameter_invalid_integer", "This value must be greater than or equal to 1 (it currently is '%d').", n)
	case n > 100:
		return 0, invalid("limit", "parameter_invalid_integer", "This value must be less than or equal to 100 (it currently is '%d').", n)
	}
	return int(n), nil
}

// listed: events are listed for 30 days.
func (s *Server) listed(r *resource, o *object) bool {
	return r.path != "events" || s.now().Unix()-o.created <= int64(eventsKept/time.Second)
}

func (s *Server) cursor(r *resource, id, param string) (*object, *apiError) {
	col := s.store[r.path]
	if o := col.byID[id]; o != nil {
		return o, nil
	}
	if o := col.gone[id]; o != nil && !s.knobs.ForgetCursors {
		return o, nil
	}
	return nil, missing(400, r.noun(), id, param)
}

func (s *Server) get(c *call, r *resource, id string) (any, *apiError) {
	if _, e := check(c.in, nil, ""); e != nil {
		return nil, e
	}
	col := s.store[r.path]
	if o := col.byID[id]; o != nil && s.listed(r, o) {
		if len(c.expand) == 0 {
			return o.raw(), nil
		}
		return s.expanded(r, o.fields, c.expand, 0)
	}
	if o := col.gone[id]; o != nil && r.tombstone {
		return map[string]any{"id": o.id, "object": r.singular, "deleted": true}, nil
	}
	return nil, missing(404, r.noun(), id, r.idParam)
}

// below strips a prefix off paths; each must have it.
func below(prefix string, paths []string) (out []string, e *apiError) {
	for _, p := range paths {
		rest, ok := strings.CutPrefix(p, prefix+".")
		if !ok {
			if p == "total_count" {
				continue
			}
			return nil, cannotExpand(p)
		}
		out = append(out, rest)
	}
	return out, nil
}

func cannotExpand(path string) *apiError {
	return invalid("expand", "", "This property cannot be expanded (%s). You may want to try expanding it on a different object.", path)
}

// expanded puts objects in place of ids, at most four deep.
func (s *Server) expanded(r *resource, fields map[string]any, paths []string, depth int) (map[string]any, *apiError) {
	out := maps.Clone(fields)
	for _, path := range paths {
		head, rest, _ := strings.Cut(path, ".")
		target := resourceAt(r.expand[head])
		if target == nil {
			return nil, cannotExpand(path)
		}
		if depth+strings.Count(path, ".")+1 > 4 {
			return nil, invalid("expand", "", "You cannot expand more than 4 levels of a property. Property: %s", path)
		}
		var inner map[string]any
		switch v := out[head].(type) {
		case string:
			col := s.store[target.path]
			if o := col.byID[v]; o != nil {
				inner = o.fields
			} else if o := col.gone[v]; o != nil {
				out[head] = map[string]any{"id": v, "object": target.singular, "deleted": true}
				continue
			}
		case map[string]any:
			inner = v
		}
		if inner == nil {
			continue
		}
		if rest != "" {
			var e *apiError
			if inner, e = s.expanded(target, inner, []string{rest}, depth+1); e != nil {
				return nil, e
			}
		}
		out[head] = inner
	}
	return out, nil
}

func text(v any) string {
	t, _ := v.(string)
	return t
}

// at is the value at a dotted path; nil: there is none.
func at(fields map[string]any, path string) any {
	var v any = fields
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
