// What was asked for, so that tests can tell how many calls a query takes.

package hubspot

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Requests that came since the last ResetCalls, apart from those for tokens: of the
// kinds of Calls. A search goes on if it has after, or if it asks for what is behind a
// page that was asked for since: for larger ids than its last one; where it is sorted,
// for values not before its last one, or those that are equal to it, by their ids. Each
// page can be gone on from once in each of these ways.
func (s *Server) Requests() []kit.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// walk is a search, from its first page on.
type walk struct {
	first      query
	by         *Property // nil: it is not sorted
	descending bool
	seen       map[int64]bool
	// room that pages needed: for all records, for those that came again, and what
	// stayed empty. granted are the pages that this takes.
	room, granted int
}

// step is a place where a walk may go on. tie is the value whose records are being
// read by their ids; nil: none.
type step struct {
	*walk
	tie *string
}

// step tells where a search goes on; without a walk it begins one.
func (s *Server) step(t *objectType, q *query, by *Property, descending bool, matched int) step {
	at := position(t, q, by, descending)
	if to, ok := s.steps[at]; ok {
		delete(s.steps, at)
		return to
	}
	w := &walk{first: *q, by: by, descending: descending, seen: map[int64]bool{}, room: matched}
	return step{walk: w}
}

// took notes what a page of a search had, and from where it may go on.
func (s *Server) took(t *objectType, at step, ids []int64, last map[string]string, size int) {
	w := at.walk
	begun := len(w.seen) == 0 && w.granted == 0
	for _, id := range ids {
		if w.seen[id] {
			w.room++
		}
		w.seen[id] = true
	}
	if at.tie != nil {
		w.room += size - len(ids)
	}
	pages := max(1, (w.room+size-1)/size)
	s.asked.First, s.asked.Matched, s.asked.Size = begun, w.room, size
	if !begun {
		s.asked.More = max(0, pages-w.granted)
	}
	if w.granted = max(w.granted, pages); len(ids) == 0 {
		return
	}
	if s.steps == nil {
		s.steps = map[string]step{}
	}
	id := strconv.FormatInt(ids[len(ids)-1], 10)
	key := t.property("hs_object_id")
	next := func(to step, by *Property, descending bool, terms ...filter) {
		s.steps[position(t, behind(&w.first, terms), by, descending)] = to
	}
	if w.by == nil || w.by == key && !w.descending {
		next(step{walk: w}, w.by, w.descending, filter{Property: key.Name, Operator: "GT", Value: &id})
	}
	if w.by == nil {
		return
	}
	from, beyond := "GTE", "GT"
	if w.descending {
		from, beyond = "LTE", "LT"
	}
	term := func(operator, value string) filter {
		return filter{Property: w.by.Name, Operator: operator, Value: &value}
	}
	if at.tie != nil {
		next(step{w, at.tie}, key, false, term("EQ", *at.tie), filter{Property: key.Name, Operator: "GT", Value: &id})
		next(step{walk: w}, w.by, w.descending, term(beyond, *at.tie))
		return
	}
	value := last[w.by.Name]
	if v, ok := instant(value); ok && (w.by.Type == "date" || w.by.Type == "datetime") {
		value = strconv.FormatInt(v.UnixMilli(), 10)
	}
	next(step{walk: w}, w.by, w.descending, term(from, value))
	next(step{w, &value}, key, false, term("EQ", value))
}

// behind is a search with further filters in each group.
func behind(q *query, terms []filter) *query {
	out := *q
	out.FilterGroups = nil
	for _, g := range q.FilterGroups {
		out.FilterGroups = append(out.FilterGroups, group{append(slices.Clone(g.Filters), terms...)})
	}
	if len(q.FilterGroups) == 0 {
		out.FilterGroups = []group{{terms}}
	}
	return &out
}

// position is a place in the results of a search.
func position(t *objectType, q *query, by *Property, descending bool) string {
	body := *q
	body.After, body.Limit, body.Sorts = nil, "", nil
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // it came as JSON
	}
	sort := ""
	if by != nil {
		sort = by.Name
	}
	return t.name + " " + sort + " " + strconv.FormatBool(descending) + " " + string(text)
}
