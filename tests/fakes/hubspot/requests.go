// What was asked for, so that tests can tell how many calls a query takes.

package hubspot

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
)

// Request that came in, apart from those for tokens.
type Request struct {
	// Kind as in Calls.
	Kind   string
	Status int
	// First: it does not go on where a page before it ended. A search goes on if it
	// has after, or differs from one before it by asking for larger ids than its last
	// one.
	First bool
	// Matched is the number of records that a list or a search has from here on, and
	// Size how many of them a page may have.
	Matched, Size int
}

// Requests that came since the last ResetCalls.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// PagesNeeded says how many of these calls there must have been at least: the pages
// of the lists and searches that were begun, each call that has no pages, and the
// refusals. More than that were in vain.
func PagesNeeded(requests []Request) int {
	n := 0
	for _, r := range requests {
		switch {
		case r.Status != http.StatusOK || r.Size == 0:
			n++
		case r.First:
			n += max(1, (r.Matched+r.Size-1)/r.Size)
		}
	}
	return n
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
