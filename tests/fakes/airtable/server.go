// Package airtable is a stand-in for Airtable's Web API: bases with typed tables,
// formulas, views, pages behind cursors that expire, batches of ten, upserts, and
// limits that lock a careless client out. It keeps its state in memory and speaks
// HTTP on a free port of 127.0.0.1:
//
//	GET          /v0/meta/whoami, /v0/meta/bases, /v0/meta/bases/{base}/tables
//	POST, PATCH  /v0/meta/bases/{base}/tables[/{table}[/fields[/{field}]]]
//	GET          /v0/{base}/{table}, /v0/{base}/{table}/{record}
//	POST         /v0/{base}/{table}, /v0/{base}/{table}/listRecords
//	PATCH, PUT   /v0/{base}/{table}, /v0/{base}/{table}/{record}
//	DELETE       /v0/{base}/{table}?records[]=, /v0/{base}/{table}/{record}
//	POST         /oauth2/v1/token
//
// Airtable's own client judges it in tests/vendors.
package airtable

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Options of a Server. The zero value is Airtable with its limits switched off.
type Options struct {
	// Token that callers must bring; empty: "patHallway.secret".
	Token string
	// PerSecond is how many calls a base takes in a second (Airtable: 5) before
	// it locks the caller out for Lockout (Airtable: 30 s); 0: any number.
	PerSecond int
	Lockout   time.Duration
	// CursorLife is how long an offset is good for after it was given; 0: for ever.
	CursorLife time.Duration
	// Latency of each answer.
	Latency time.Duration
	// FoldText has = and != on text ignore case and spaces at the ends: sources
	// disagree about what Airtable does, and a client must be right with both.
	FoldText bool
	// URLLimit is the longest request target, in bytes; 0: 16,000.
	URLLimit int
}

// Call kinds, for Server.Calls.
const (
	List   = "list"
	Get    = "get"
	Create = "create"
	Update = "update"
	Upsert = "upsert"
	Delete = "delete"
	Meta   = "meta"
	OAuth  = "oauth"
)

// Request is a request that came in, however it was answered.
type Request struct {
	kit.Call
	Method, Path, Query string
	Body                []byte
}

// Server is a running stand-in. All its methods are safe to call at any time.
type Server struct {
	// URL without a slash at the end: "http://127.0.0.1:40000".
	URL   string
	Token string

	http *httptest.Server

	mu       sync.Mutex
	options  Options
	clock    func() time.Time
	bases    []*Base
	seq      int
	cursors  map[string]*cursor
	requests []Request
	failures []failure
	throttle map[string]*throttle
	grants   grants
	// undo remembers a record before it is changed, within a transaction.
	undo func(*record, *Table)
	// expireEach and lockEach count down calls to the next trouble of its kind.
	expireEach, lockEach, listed, served int
}

type failure struct {
	kind   string
	status int
	body   string
	// after: the request is carried out, and then its answer is this.
	after bool
}

// New starts a server without bases.
func New(options Options) *Server {
	if options.Token == "" {
		options.Token = "patHallway.secret"
	}
	if options.URLLimit == 0 {
		options.URLLimit = 16_000
	}
	s := &Server{Token: options.Token, options: options, clock: time.Now, cursors: map[string]*cursor{}, throttle: map[string]*throttle{}}
	s.http = kit.Start(http.HandlerFunc(s.serve), func(url string) { s.URL = url })
	return s
}

// Close ends it, open requests included.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// SetOptions changes how it behaves from now on; Token stays.
func (s *Server) SetOptions(options Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	options.Token = s.options.Token
	if options.URLLimit == 0 {
		options.URLLimit = 16_000
	}
	s.options = options
	s.throttle = map[string]*throttle{}
}

// SetClock has the server take the time from now.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// FailNext has the next request of a kind (empty: of any) answered with status
// and body, and not carried out; AfterNext carries it out before.
func (s *Server) FailNext(kind string, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{kind: kind, status: status, body: body})
}

// AfterNext is FailNext for an answer that is lost: the request is carried out.
func (s *Server) AfterNext(kind string, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{kind: kind, status: status, body: body, after: true})
}

// ExpireCursors makes every offset that was given so far invalid.
func (s *Server) ExpireCursors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cursors)
}

// ExpireEach has each n-th request that brings an offset find it expired; 0: none.
func (s *Server) ExpireEach(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireEach, s.listed = n, 0
}

// LockEach has each n-th request locked out, as if the limit had been exceeded,
// for Options.Lockout; 0: none.
func (s *Server) LockEach(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockEach, s.served = n, 0
}

// Requests is what came in since the last Forget, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Calls counts the requests of a kind since the last Forget, those that were
// refused included; of kind "": all.
func (s *Server) Calls(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if kind == "" || r.Kind == kind {
			n++
		}
	}
	return n
}

// Forget the requests so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// call is one request on its way.
type call struct {
	s      *Server
	r      *http.Request
	kind   string
	body   []byte
	path   []string
	base   *Base
	table  *Table
	record string
	// list is what is remembered of one.
	first         bool
	matched, size int
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 20<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	latency := s.options.Latency
	s.mu.Unlock()
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	c := &call{s: s, r: r, body: body, kind: kindOf(r, body)}
	status, answer := s.answer(c)
	s.requests = append(s.requests, Request{kit.Call{Kind: c.kind, Status: status, First: c.first, Matched: c.matched, Size: c.size}, r.Method, r.URL.EscapedPath(), r.URL.RawQuery, body})
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// answer is called with the mutex held.
func (s *Server) answer(c *call) (int, []byte) {
	failed := s.failing(c.kind)
	if failed != nil && !failed.after {
		return failed.status, []byte(failed.body)
	}
	status, answer := 200, []byte(nil)
	value, refused := c.route()
	if refused != nil {
		status, value = refused.status, refused.body()
	}
	answer = encode(value)
	if failed != nil {
		return failed.status, []byte(failed.body)
	}
	return status, answer
}

func (s *Server) failing(kind string) *failure {
	for i, f := range s.failures {
		if f.kind == "" || f.kind == kind {
			s.failures = append(s.failures[:i:i], s.failures[i+1:]...)
			return &f
		}
	}
	return nil
}

func encode(value any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err) // cells hold nothing that JSON cannot
	}
	return out.Bytes()
}

func kindOf(r *http.Request, body []byte) string {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/oauth2/"):
		return OAuth
	case strings.HasPrefix(path, "/v0/meta/"):
		return Meta
	case strings.HasSuffix(path, "/listRecords"):
		return List
	}
	switch r.Method {
	case http.MethodPost:
		return Create
	case http.MethodPatch, http.MethodPut:
		if bytes.Contains(body, []byte(`"performUpsert"`)) {
			return Upsert
		}
		return Update
	case http.MethodDelete:
		return Delete
	}
	if segments := strings.Split(strings.Trim(path, "/"), "/"); len(segments) > 3 {
		return Get
	}
	return List
}
