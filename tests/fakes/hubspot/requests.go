// What was asked for, so that tests can tell how many calls a query takes.

package hubspot

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Requests that came since the last ResetCalls, apart from those for tokens: of the
// kinds of Calls. A search goes on if it has after, or differs from one before it by
// asking for larger ids than its last one.
func (s *Server) Requests() []kit.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// paged notes what a page of a list or a search is of.
func (s *Server) paged(first bool, matched, size int) {
	s.asked.First, s.asked.Matched, s.asked.Size = first, matched, size
}

// begins tells whether a search is not the next page of one before it.
func (s *Server) begins(t *objectType, q *query, after int) bool {
	last, rest := lastIDs(q)
	return after == 0 && (last == "" || !s.ended[position(t, rest, last)])
}

// ends notes where a page ended.
func (s *Server) ends(t *objectType, q *query, at int64) {
	last := strconv.FormatInt(at, 10)
	if s.ended == nil {
		s.ended = map[string]bool{}
	}
	s.ended[position(t, q, last)] = true
	if _, rest := lastIDs(q); rest != nil {
		s.ended[position(t, rest, last)] = true
	}
}

// lastIDs takes off each group of filters its last one, if that asks for ids larger
// than one and the same; empty: it does not.
func lastIDs(q *query) (last string, rest *query) {
	out := *q
	out.FilterGroups = nil
	for _, g := range q.FilterGroups {
		n := len(g.Filters) - 1
		if n < 0 {
			return "", nil
		}
		f := &g.Filters[n]
		if f.Property != "hs_object_id" || f.Operator != "GT" || f.Value == nil || last != "" && *f.Value != last {
			return "", nil
		}
		last = *f.Value
		if n > 0 {
			out.FilterGroups = append(out.FilterGroups, group{g.Filters[:n]})
		}
	}
	return last, &out
}

// position is a place in the results of a search.
func position(t *objectType, q *query, last string) string {
	body := *q
	body.After, body.Limit = nil, ""
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // it came as JSON
	}
	return t.name + " " + last + " " + string(text)
}
