// Package hubspot stands in for HubSpot's CRM API: its paths, pages, caps, search
// grammar, batches, errors, limits and lag, over data that tests put in. That it is
// like HubSpot is for HubSpot's own client to judge (tests/vendors).
//
// What it knows: objects (built in and custom, v3 and dated paths), their properties
// and schemas, owners, associations (v4, and v3's batches), OAuth tokens. What it
// does not: lists, pipelines, imports, merging, histories of properties.
package hubspot

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Token is what a Server takes when Options name none.
const Token = "pat-eu1-stand-in"

// Caps that HubSpot documents.
const (
	MaxListPage    = 100
	MaxSearchPage  = 200
	MaxBatch       = 100
	MaxSearchTotal = 10_000
	MaxOwnersPage  = 500
	MaxQueryLength = 3000
	// MaxAssociationPage is of one record's associations; a batch of theirs reads
	// MaxAssociationRead records, or writes MaxAssociationWrite pairs.
	MaxAssociationPage  = 500
	MaxAssociationRead  = 1000
	MaxAssociationWrite = 2000
)

// Options of a Server. The zero value is a server without limits or lag.
type Options struct {
	// Tokens that are good for ever; none: Token. Refresh tokens good for
	// POST /oauth/v1/token are given out by NewRefreshToken.
	Tokens []string
	// PerTenSeconds, PerSecondSearches and PerDay are limits on calls; 0: none.
	PerTenSeconds, PerSecondSearches, PerDay int
	// SearchLag is how long searches do not show a write.
	SearchLag time.Duration
	// Latency of every answer.
	Latency time.Duration
	// MaxGroups, MaxInGroup and MaxFilters bound a search; 0: 5, 6 and 18.
	MaxGroups, MaxInGroup, MaxFilters int
	// SearchTotal is after how many results a search answers 400; 0: MaxSearchTotal.
	SearchTotal int
	// TokenLife of access tokens from the token endpoint; 0: 30 minutes.
	TokenLife time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is a running stand-in, safe for concurrent use.
type Server struct {
	// URL has no slash at its end.
	URL string

	opts Options
	http *httptest.Server
	stop chan struct{}

	mu       sync.Mutex // guards all below
	types    []*objectType
	owners   []Owner
	links    links
	tokens   tokens
	lastID   int64
	lastStep time.Time
	calls    map[string]int
	refused  int
	// requests that came, asked the one that is answered; steps: where searches may go
	// on, by position.
	requests []kit.Call
	asked    kit.Call
	steps    map[string]step
	traces   int
	faults   []*Fault
	limits   limits
}

// New starts a server with HubSpot's own objects, all empty.
func New(opts Options) *Server {
	if len(opts.Tokens) == 0 {
		opts.Tokens = []string{Token}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	for _, o := range []struct {
		value *int
		usual int
	}{{&opts.MaxGroups, 5}, {&opts.MaxInGroup, 6}, {&opts.MaxFilters, 18}, {&opts.SearchTotal, MaxSearchTotal}} {
		if *o.value == 0 {
			*o.value = o.usual
		}
	}
	if opts.TokenLife == 0 {
		opts.TokenLife = 30 * time.Minute
	}
	s := &Server{opts: opts, calls: map[string]int{}, lastID: 100, stop: make(chan struct{})}
	s.types = builtIn()
	s.links = newLinks()
	s.http = kit.Start(s, func(url string) { s.URL = url })
	return s
}

// Close ends the server; calls that are under way end with it.
func (s *Server) Close() {
	close(s.stop)
	s.http.CloseClientConnections()
	s.http.Close()
}

// Calls is the number of calls so far, by kind: list, get, search, create, update,
// archive, batch_read, batch_create, batch_update, batch_upsert, batch_archive,
// properties, schemas, owners, associations_read, associations_write, token. Those
// that were refused for their number are not among them.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.calls))
	for k, n := range s.calls {
		out[k] = n
	}
	return out
}

// Refused is the number of calls that were answered 429, or as a Fault says.
func (s *Server) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// ResetCalls sets all counters to nothing.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.refused, s.requests, s.steps = map[string]int{}, 0, nil, nil
}

// SetSearchLag is Options.SearchLag from now on; what was written before keeps its.
func (s *Server) SetSearchLag(lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.SearchLag = lag
}

// request is what a handler is given. It runs with Server.mu held.
type request struct {
	*http.Request
	body []byte
	// path after the family's prefix, without slashes at its ends, unescaped.
	path []string
}

// dated are the paths with a date in place of v3.
var dated = regexp.MustCompile(`^/crm/(objects|properties|owners|associations)/\d{4}-\d{2}(/|$)|^/crm-object-schemas/\d{4}-\d{2}/`)

// families of paths, the longest prefix first.
var families = []struct {
	prefix string
	serve  func(s *Server, r *request) (kind string, answer func() reply)
}{
	{"/crm/v4/objects/", (*Server).serveLinks},
	{"/crm/v4/associations/", (*Server).serveLinkBatch},
	{"/crm/v3/associations/", (*Server).serveOldLinkBatch},
	{"/crm/v3/objects/", (*Server).serveObjects},
	{"/crm/v3/properties/", (*Server).serveProperties},
	{"/crm/v3/owners", (*Server).serveOwners},
	{"/crm-object-schemas/v3/schemas", (*Server).serveSchemas},
	{"/crm/v3/schemas", (*Server).serveSchemas},
	{"/oauth/v1/token", (*Server).serveToken},
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		return
	}
	if !s.wait(r.Context()) {
		return
	}
	path := r.URL.EscapedPath()
	if m := dated.FindStringSubmatch(path); m != nil {
		version := "/crm/v3/"
		if m[1] == "associations" {
			version = "/crm/v4/"
		}
		if m[1] == "" {
			version = "/crm-object-schemas/v3/"
		}
		path = version + m[1] + m[2] + path[len(m[0]):]
	}
	a := s.answer(r, path, body)
	a.write(w)
}

func (s *Server) wait(ctx context.Context) bool {
	if s.opts.Latency <= 0 {
		return true
	}
	select {
	case <-time.After(s.opts.Latency):
		return true
	case <-ctx.Done():
	case <-s.stop:
	}
	return false
}

func (s *Server) answer(r *http.Request, path string, body []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range families {
		rest, ok := strings.CutPrefix(path, f.prefix)
		if !ok {
			continue
		}
		parts, err := split(rest)
		if err != nil {
			return s.refuse(http.StatusBadRequest, "", err.Error())
		}
		kind, do := f.serve(s, &request{Request: r, body: body, path: parts})
		if do == nil {
			break
		}
		s.asked = kit.Call{Kind: kind}
		note := func(a reply) reply {
			if s.asked.Status = a.status; kind != kindToken {
				s.requests = append(s.requests, s.asked)
			}
			return a
		}
		if kind != kindToken {
			if refusal, ok := s.authenticate(r); !ok {
				return note(refusal)
			}
		}
		if refusal, ok := s.admit(r, kind); !ok {
			s.refused++
			return note(refusal)
		}
		s.calls[kind]++
		a := note(do())
		s.limits.headers(&a, s.opts, kind, s.now())
		return a
	}
	return s.refuse(http.StatusNotFound, "", fmt.Sprintf("Cannot %s %s", r.Method, r.URL.Path))
}

func (s *Server) now() time.Time { return s.opts.Now().UTC().Truncate(time.Millisecond) }
