// Associations between records: v4's calls, and v3's batches.

package hubspot

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// linkType is a kind of association, as inputs name it.
type linkType struct {
	Category string `json:"associationCategory"`
	ID       int    `json:"associationTypeId"`
}

// kind of association from one object to another. Each has one the other way.
type kind struct {
	id       int
	from, to string // names of objects
	name     string // of v3
	label    string // empty: none
	category string
	inverse  int
	usual    bool // what is meant when no kind is named; every association has it
}

// end of an association.
type end struct {
	object string
	id     int64
}

type links struct {
	kinds map[int]*kind
	next  int
	// of an end, by the other end, the ids of the kinds.
	of map[end]map[end]map[int]bool
}

func newLinks() links {
	l := links{kinds: map[int]*kind{}, next: 10_001, of: map[end]map[end]map[int]bool{}}
	for _, k := range []struct {
		from, to        string
		there, back     int
		primary, theirs int
	}{
		{"contacts", "companies", 279, 280, 1, 2},
		{"deals", "contacts", 3, 4, 0, 0},
		{"deals", "companies", 341, 342, 5, 6},
		{"tickets", "contacts", 16, 15, 0, 0},
		{"tickets", "companies", 339, 340, 26, 25},
		{"tickets", "deals", 28, 27, 0, 0},
		{"deals", "line_items", 19, 20, 0, 0},
		{"quotes", "deals", 64, 63, 0, 0},
		{"quotes", "line_items", 67, 68, 0, 0},
		{"quotes", "contacts", 69, 70, 0, 0},
		{"calls", "contacts", 194, 193, 0, 0}, {"calls", "companies", 182, 181, 0, 0}, {"calls", "deals", 206, 205, 0, 0},
		{"emails", "contacts", 198, 197, 0, 0}, {"emails", "companies", 186, 185, 0, 0}, {"emails", "deals", 210, 209, 0, 0},
		{"meetings", "contacts", 200, 199, 0, 0}, {"meetings", "companies", 188, 187, 0, 0}, {"meetings", "deals", 212, 211, 0, 0},
		{"notes", "contacts", 202, 201, 0, 0}, {"notes", "companies", 190, 189, 0, 0}, {"notes", "deals", 214, 213, 0, 0},
		{"tasks", "contacts", 204, 203, 0, 0}, {"tasks", "companies", 192, 191, 0, 0}, {"tasks", "deals", 216, 215, 0, 0},
	} {
		l.define(k.from, k.to, k.there, k.back, "", "HUBSPOT_DEFINED", true)
		if k.primary != 0 {
			l.define(k.from, k.to, k.primary, k.theirs, "Primary", "HUBSPOT_DEFINED", false)
		}
	}
	return l
}

var singulars = map[string]string{"contacts": "contact", "companies": "company", "deals": "deal", "tickets": "ticket",
	"line_items": "line_item", "quotes": "quote", "calls": "call", "emails": "email", "meetings": "meeting_event", "notes": "note", "tasks": "task", "products": "product"}

func singular(name string) string { return cmp.Or(singulars[name], name) }

func (l *links) define(from, to string, there, back int, label, category string, usual bool) {
	name := func(a, b string) string {
		n := singular(a) + "_to_" + singular(b)
		if usual && l.primary(a, b) {
			n += "_unlabeled"
		}
		if label != "" && label != "Primary" {
			n = strings.ReplaceAll(strings.ToLower(label), " ", "_")
		}
		return n
	}
	l.kinds[there] = &kind{there, from, to, name(from, to), label, category, back, usual}
	l.kinds[back] = &kind{back, to, from, name(to, from), label, category, there, usual}
}

// primary: there is a kind with that label beside the usual one.
func (l *links) primary(a, b string) bool {
	pair := []string{a, b}
	slices.Sort(pair)
	return slices.ContainsFunc([][2]string{{"companies", "contacts"}, {"companies", "deals"}, {"companies", "tickets"}},
		func(p [2]string) bool { return p[0] == pair[0] && p[1] == pair[1] })
}

// AddLabel makes a kind of association of a customer's own; the answer is its id.
func (s *Server) AddLabel(from, to, label string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.links.next
	s.links.next += 2
	s.links.define(s.must(from).name, s.must(to).name, there, there+1, label, "USER_DEFINED", false)
	return there
}

// Associate does what somebody else does in HubSpot itself.
func (s *Server) Associate(from string, id int64, to string, other int64, kinds ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.must(from), s.must(to)
	for _, k := range append(kinds, s.usual(a, b).id) {
		s.links.add(a, id, b, other, k)
	}
}

// Associations are the ids of the kinds between two records, in order.
func (s *Server) Associations(from string, id int64, to string, other int64) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links.between(end{s.must(from).name, id}, end{s.must(to).name, other})
}

// usual is the kind that is meant when none is named; made when there is none yet.
func (s *Server) usual(a, b *objectType) *kind {
	for _, k := range s.links.kinds {
		if k.usual && k.from == a.name && k.to == b.name {
			return k
		}
	}
	there := s.links.next
	s.links.next += 2
	s.links.define(a.name, b.name, there, there+1, "", "USER_DEFINED", true)
	return s.links.kinds[there]
}

func (l *links) add(a *objectType, id int64, b *objectType, other int64, k int) {
	put := func(x, y end, k int) {
		if l.of[x] == nil {
			l.of[x] = map[end]map[int]bool{}
		}
		if l.of[x][y] == nil {
			l.of[x][y] = map[int]bool{}
		}
		l.of[x][y][k] = true
	}
	x, y := end{a.name, id}, end{b.name, other}
	put(x, y, k)
	put(y, x, l.kinds[k].inverse)
	for _, u := range l.kinds {
		if u.usual && u.from == a.name && u.to == b.name {
			put(x, y, u.id)
			put(y, x, u.inverse)
		}
	}
}

// remove ends one kind, or all with k 0. Without the usual one nothing is left.
func (l *links) remove(x, y end, k int) {
	if k == 0 || l.kinds[k].usual {
		delete(l.of[x], y)
		delete(l.of[y], x)
		return
	}
	delete(l.of[x][y], k)
	delete(l.of[y][x], l.kinds[k].inverse)
}

func (l *links) forget(t *objectType, id int64) {
	x := end{t.name, id}
	for y := range l.of[x] {
		delete(l.of[y], x)
	}
	delete(l.of, x)
}

func (l *links) between(x, y end) []int {
	var out []int
	for k := range l.of[x][y] {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// to are the ids of the records of an object that one is associated with, in order.
func (l *links) to(x end, object string) []int64 {
	var out []int64
	for y := range l.of[x] {
		if y.object == object {
			out = append(out, y.id)
		}
	}
	slices.Sort(out)
	return out
}

// shown is what lists have of associations: v3's names of their kinds.
func (l *links) shown(t *objectType, id int64, kinds []*objectType) map[string]any {
	out := map[string]any{}
	for _, to := range kinds {
		var all []map[string]string
		for _, other := range l.to(end{t.name, id}, to.name) {
			for _, k := range l.between(end{t.name, id}, end{to.name, other}) {
				all = append(all, map[string]string{"id": strconv.FormatInt(other, 10), "type": l.kinds[k].name})
			}
		}
		if all != nil {
			out[to.name] = map[string]any{"results": all}
		}
	}
	return out
}

// target checks one end of an association and its kinds. An input that names none
// is refused.
func (s *Server) target(from *objectType, id string, types []linkType) (*objectType, int64, *failure) {
	if len(types) == 0 {
		return nil, 0, fail(http.StatusBadRequest, categoryValidation, "an association needs at least one type")
	}
	var to *objectType
	for _, k := range types {
		known := s.links.kinds[k.ID]
		if known == nil || known.from != from.name || known.category != k.Category {
			return nil, 0, fail(http.StatusBadRequest, categoryValidation, "Invalid association type: %s %d from %s", k.Category, k.ID, from.name)
		}
		to = s.find(known.to)
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || to.byID[n] == nil || to.byID[n].archived() {
		f := fail(http.StatusNotFound, categoryNotFound, "No %s with ID %s exists", to.upper(), id)
		f.Context = map[string][]string{"id": {id}}
		return nil, 0, f
	}
	return to, n, nil
}

// labels of the kinds between two ends, as v4 shows them.
func (l *links) labels(x, y end) []map[string]any {
	var out []map[string]any
	for _, k := range l.between(x, y) {
		out = append(out, l.kinds[k].shown())
	}
	return out
}

func (k *kind) shown() map[string]any {
	var label any
	if k.label != "" {
		label = k.label
	}
	return map[string]any{"category": k.category, "typeId": k.id, "label": label}
}

// pair reads both ends of an association.
func (s *Server) pair(a *objectType, id string, b *objectType, other string) (end, end, *failure) {
	x, f := s.locate(a, id, "", false)
	if f == nil {
		var y *record
		if y, f = s.locate(b, other, "", false); f == nil {
			return end{a.name, x.id}, end{b.name, y.id}, nil
		}
		id, a = other, b
	}
	f = fail(http.StatusNotFound, categoryNotFound, "No %s with ID %s exists", a.upper(), id)
	f.Context = map[string][]string{"id": {id}}
	return end{}, end{}, f
}

// linkPage is a page of a record's associations with an object, after an id.
func (s *Server) linkPage(x end, to *objectType, after string, n int) (results []map[string]any, next string, f *failure) {
	from := int64(0)
	if after != "" {
		var err error
		if from, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, "", fail(http.StatusBadRequest, categoryValidation, "Invalid after: %s", after)
		}
	}
	results = []map[string]any{}
	for _, other := range s.links.to(x, to.name) {
		if other <= from {
			continue
		}
		if len(results) == n {
			return results, fmt.Sprint(results[n-1]["toObjectId"]), nil
		}
		results = append(results, map[string]any{"toObjectId": other, "associationTypes": s.links.labels(x, end{to.name, other})})
	}
	return results, "", nil
}
