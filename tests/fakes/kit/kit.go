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
	// Matched is the number of records that a list or a search has from here on, and
	// Size how many of them a page may have; 0: the call has no pages.
	Matched, Size int
}

// PagesNeeded says how many of these calls there must have been at least: the pages of
// the lists and searches that were begun, each call that has no pages, and the
// refusals. More than that were in vain.
func PagesNeeded(calls []Call) int {
	n := 0
	for _, c := range calls {
		switch {
		case c.Status != http.StatusOK || c.Size == 0:
			n++
		case c.First:
			n += max(1, (c.Matched+c.Size-1)/c.Size)
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
