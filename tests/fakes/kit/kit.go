// Package kit is what the stand-ins for APIs have in common: how they start, and what
// is kept of a call so that tests can tell how many a query takes.
package kit

import (
	"net/http"
	"net/http/httptest"
)

// Call that came in, however it was answered.
type Call struct {
	// Kind is the stand-in's own word for what the call does.
	Kind   string
	Status int
	// First: it begins a list or a search, it does not go on where a page ended.
	First bool
	// Matched is the number of records that a list or a search that begins here has,
	// and Size how many of them a page may have; 0: the call has no pages.
	Matched, Size int
	// More pages are needed than Matched tells, as this one has records that one before
	// it had, because there is no other way to go on, or fewer than it might.
	More int
}

// Begins tells whether the call was answered, and goes on from no other.
func (c *Call) Begins() bool { return c.Status == http.StatusOK && (c.First || c.Size == 0) }

// PagesNeeded says how many of these calls there must have been at least: the pages of
// the lists and searches that were begun, as far as they have the rows that are wanted
// (0: all), each call that has no pages, and the refusals. More than that were in vain.
func PagesNeeded(calls []Call, rows int) int {
	n := 0
	for i := range calls {
		switch c := &calls[i]; {
		case c.Status != http.StatusOK || c.Size == 0:
			n++
		case c.First:
			matched := c.Matched
			if rows > 0 {
				matched = min(matched, rows)
			}
			n += max(1, (matched+c.Size-1)/c.Size) + c.More
		default:
			n += c.More
		}
	}
	return n
}

// Start serves on a free port of 127.0.0.1. told is given the address, with no slash at
// its end, before a request can come in.
func Start(handler http.Handler, told func(url string)) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	told("http://" + s.Listener.Addr().String())
	s.Start()
	return s
}
