// Package stripe is a server that behaves as Stripe's API does, as far as
// customers, products, prices, subscriptions, invoices, charges, payment intents,
// refunds, balance transactions and events go: paths, parameters, paging, search,
// idempotency, errors. It has state, and knobs for what goes wrong. Stripe's own
// Node client judges it, in tests/vendors.
//
// This file is the server: what every request goes through.
package stripe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Version that is used for requests without the header Stripe-Version.
const Version = "2026-08-26.dahlia"

// Key that is accepted if Options names none.
const Key = "sk_test_hallway_0123456789"

// Options of New.
type Options struct {
	// Key that is accepted; default Key.
	Key string
	// Now is the server's clock; default time.Now.
	Now func() time.Time
	// Knobs at the start.
	Knobs Knobs
}

// Knobs say what goes wrong, and how slow it is. The zero value: nothing, at once.
type Knobs struct {
	// Latency of every answer.
	Latency time.Duration
	// PerSecond requests are let through, by the server's clock; 0: all.
	PerSecond int
	// RateLimitEvery n-th request is answered 429 rate_limit; LockTimeoutEvery n-th
	// write 429 lock_timeout, though nothing was done; 0: none.
	RateLimitEvery, LockTimeoutEvery int
	// BreakEvery n-th read is answered 500; 0: none.
	BreakEvery int
	// SearchLag is how much later than lists a search shows a change.
	SearchLag time.Duration
	// ForgetCursors refuses starting_after with the id of a deleted object. Without
	// it, its place is remembered.
	ForgetCursors bool
	// ActivePricesOnly: a list of prices without the parameter active has the active
	// ones, as the reference says.
	ActivePricesOnly bool
	// RefuseUnknown refuses to list by a customer, charge and so on that is not there.
	RefuseUnknown bool
	// RetryAfter seconds in the header of 429 answers; 0: no header, as Stripe does.
	RetryAfter int
}

// Fault is what becomes of one write.
type Fault uint8

// The faults.
const (
	// FailBefore: 500, nothing was done. FailAfter: 500, though it was done. Both
	// are remembered with the idempotency key. Cut: done, but the connection is
	// closed instead of an answer.
	FailBefore Fault = iota + 1
	FailAfter
	Cut
)

// Request that came in.
type Request struct {
	Method, Path, Query, Body    string
	IdempotencyKey, Version, Key string
	// Its Kind is what it does and to what: "list customers", "get customers", "search
	// customers", "create customers", "update customers", "delete customers".
	kit.Call
}

// Server is a running fake.
type Server struct {
	// URL without a slash at the end; "/v1" follows.
	URL string

	key  string
	now  func() time.Time
	http *http.Server

	mu       sync.Mutex
	knobs    Knobs
	faults   []Fault
	store    map[string]*collection
	seq      int // of objects
	asked    int // requests
	idem     map[string]*kept
	requests []Request
	reads    int
	writes   int
	total    int
	window   int64
	inWindow int
	revoked  bool
	watch    func(n int)
	held     chan struct{} // closed when requests may go on; nil: they may
	running  int
	peak     int
	denied   map[string]bool
}

// New starts a server on a free port of 127.0.0.1.
func New(o Options) (*Server, error) {
	s := &Server{key: o.Key, now: o.Now, knobs: o.Knobs, idem: map[string]*kept{}, denied: map[string]bool{}}
	if s.key == "" {
		s.key = Key
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.store = map[string]*collection{}
	for _, r := range resources {
		s.store[r.path] = &collection{byID: map[string]*object{}, gone: map[string]*object{}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s.URL = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(l) }()
	return s, nil
}

// Close ends it at once, open requests included.
func (s *Server) Close() { _ = s.http.Close() }

// Set changes the knobs.
func (s *Server) Set(change func(*Knobs)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.knobs)
}

// Fail adds faults for the next writes, one each.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Revoke makes the key invalid, or valid again.
func (s *Server) Revoke(revoked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = revoked
}

// Deny refuses all requests to a resource, as for a restricted key.
func (s *Server) Deny(resource string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[resource] = denied
}

// Requests that came since the last Forget.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Calls counts Requests by Kind.
func (s *Server) Calls() map[string]int {
	out := map[string]int{}
	for _, r := range s.Requests() {
		out[r.Kind]++
	}
	return out
}

// OnRequest has f called for each request before it is done, with its number among
// Requests, from 1; nil: nothing is.
func (s *Server) OnRequest(f func(n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = f
}

// Forget the requests that came.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.peak = nil, 0
}

// call is a request under way.
type call struct {
	s   *Server
	r   *http.Request
	id  string // of the request
	key string // idempotency key
	// in is the decoded query or body, check not yet made; expand its expand[].
	in     *node
	expand []string
	body   string
	page   pageOf
	// begun: the parameters are good, and what happens now is remembered with the
	// idempotency key.
	begun bool
}

// pageOf a list or a search; the zero value: it is none.
type pageOf struct {
	first         bool
	matched, size int
}

var versionForm = regexp.MustCompile(`^20\d\d-\d\d-\d\d(\.[a-z]+)?$`)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		http.Error(w, "body", http.StatusRequestEntityTooLarge)
		return
	}
	s.mu.Lock()
	s.asked++
	c := &call{s: s, r: r, id: fmt.Sprintf("req_%08d", s.asked), key: r.Header.Get("Idempotency-Key"), body: string(body)}
	at := len(s.requests)
	s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Body: c.body,
		IdempotencyKey: c.key, Version: r.Header.Get("Stripe-Version"), Key: keyOf(r), Call: kit.Call{Kind: kindOf(r)}})
	latency, watch := s.knobs.Latency, s.watch
	s.mu.Unlock()
	if watch != nil {
		watch(at + 1)
	}

	a := s.answer(c, latency)
	s.mu.Lock()
	if at < len(s.requests) {
		n := &s.requests[at]
		n.Status, n.First, n.Matched, n.Size = a.status, c.page.first, c.page.matched, c.page.size
	}
	s.mu.Unlock()
	if a.cut {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
		return
	}
	a.send(w, c)
}

// answer to a request.
type answer struct {
	status int
	body   []byte
	header map[string]string
	cut    bool
}

func (a *answer) send(w http.ResponseWriter, c *call) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	h.Set("Request-Id", c.id)
	h.Set("Stripe-Version", Version)
	if v := c.r.Header.Get("Stripe-Version"); v != "" {
		h.Set("Stripe-Version", v)
	}
	if c.key != "" {
		h.Set("Idempotency-Key", c.key)
	}
	for k, v := range a.header {
		h.Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func (c *call) refuse(e *apiError) *answer {
	body, _ := json.MarshalIndent(e.body(c.id), "", "  ")
	return &answer{status: e.status, body: body, header: e.header}
}

func (s *Server) answer(c *call, latency time.Duration) *answer {
	if e := s.admit(c); e != nil {
		return c.refuse(e)
	}
	h, e := s.route(c)
	if e != nil {
		return c.refuse(e)
	}
	if e := c.decode(); e != nil {
		return c.refuse(e)
	}
	if c.r.Method != http.MethodPost || c.key == "" {
		s.pause(c.r.Context(), latency)
		return s.run(c, h)
	}
	return s.once(c, func() *answer {
		s.pause(c.r.Context(), latency)
		return s.run(c, h)
	})
}

// Hold keeps requests from being done, once they are begun, until release.
func (s *Server) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	}
}

// Running is the number of requests that wait to be done, by Hold or their latency;
// peak the most that did at the same time since the last Forget.
func (s *Server) Running() (now, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.peak
}

func (s *Server) pause(ctx context.Context, d time.Duration) {
	s.mu.Lock()
	s.running++
	s.peak = max(s.peak, s.running)
	held := s.held
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	if held != nil {
		select {
		case <-ctx.Done():
		case <-held:
		}
	}
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// handler does a request; the lock is held.
type handler func(*call) (any, *apiError)

func (s *Server) run(c *call, h handler) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fault Fault
	if c.r.Method != http.MethodGet && len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	if fault == FailBefore {
		c.begun = true
		return c.refuse(broken())
	}
	out, e := h(c)
	if fault == Cut {
		a := c.success(out, e)
		a.cut = true
		return a
	}
	if fault == FailAfter && e == nil {
		return c.refuse(broken())
	}
	return c.success(out, e)
}

func (c *call) success(out any, e *apiError) *answer {
	if e != nil {
		return c.refuse(e)
	}
	if raw, ok := out.([]byte); ok {
		return &answer{status: http.StatusOK, body: raw}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return c.refuse(broken())
	}
	return &answer{status: http.StatusOK, body: body}
}

// admit checks the key, the version and the rates.
func (s *Server) admit(c *call) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(c.r)
	switch {
	case key == "":
		return noKey()
	case key != s.key || s.revoked:
		return badKey(key)
	}
	if v := c.r.Header.Get("Stripe-Version"); v != "" && !versionForm.MatchString(v) {
		return invalid("", "", "Invalid Stripe API version: %s", v)
	}
	if len(c.key) > 255 {
		return &apiError{status: 400, kind: "idempotency_error", message: "Idempotency keys can be at most 255 characters long."}
	}
	s.total++
	k := &s.knobs
	if now := s.now().Unix(); now != s.window {
		s.window, s.inWindow = now, 0
	}
	s.inWindow++
	limited := k.PerSecond > 0 && s.inWindow > k.PerSecond || every(s.total, k.RateLimitEvery)
	var e *apiError
	if c.r.Method == http.MethodGet {
		if s.reads++; every(s.reads, k.BreakEvery) {
			return broken()
		}
	} else if s.writes++; every(s.writes, k.LockTimeoutEvery) {
		e = lockTimeout()
	}
	if limited {
		e = tooFast()
	}
	if e != nil && k.RetryAfter > 0 {
		e.header["Retry-After"] = strconv.Itoa(k.RetryAfter)
	}
	return e
}

func every(n, of int) bool { return of > 0 && n%of == 0 }

func keyOf(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok {
		return user
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	return ""
}

func (c *call) decode() *apiError {
	text := c.r.URL.RawQuery
	if c.r.Method == http.MethodPost {
		if c.body != "" && !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			return invalid("", "", "Invalid request: the content type must be application/x-www-form-urlencoded.")
		}
		text = strings.Trim(text+"&"+c.body, "&")
	}
	pairs, ok := pairsOf(text)
	if !ok {
		return invalid("", "", "Invalid request: the parameters are not well-formed.")
	}
	in, e := decode(pairs)
	if e != nil {
		return e
	}
	c.in = in
	if x := in.kid("expand"); x != nil {
		list, ok := x.plain().([]any)
		if !ok {
			return invalid("expand", "", "Invalid array")
		}
		for _, one := range list {
			path, _ := one.(string)
			c.expand = append(c.expand, path)
		}
		delete(in.kids, "expand")
		in.names = slices.DeleteFunc(in.names, func(n string) bool { return n == "expand" })
	}
	return nil
}

// kindOf a request, for counting.
func kindOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 {
		return "unknown"
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPost: "update", http.MethodDelete: "delete"}[r.Method]
	switch {
	case len(parts) == 2 && r.Method == http.MethodGet:
		verb = "list"
	case len(parts) == 2:
		verb = "create"
	case parts[2] == "search":
		verb = "search"
	case len(parts) == 4:
		verb = parts[3]
	}
	return verb + " " + parts[1]
}

// route finds what does a request.
func (s *Server) route(c *call) (handler, *apiError) {
	parts := strings.Split(strings.Trim(c.r.URL.Path, "/"), "/")
	if len(parts) < 2 || len(parts) > 4 || parts[0] != "v1" {
		return nil, unknownURL(c.r)
	}
	r := resourceAt(parts[1])
	if r == nil {
		return nil, unknownURL(c.r)
	}
	s.mu.Lock()
	denied := s.denied[r.path]
	s.mu.Unlock()
	if denied {
		return nil, forbidden(s.key, r.singular)
	}
	get, post, del := c.r.Method == http.MethodGet, c.r.Method == http.MethodPost, c.r.Method == http.MethodDelete
	switch {
	case len(parts) == 2 && get:
		return func(c *call) (any, *apiError) { return s.list(c, r) }, nil
	case len(parts) == 2 && post && r.create != nil:
		return func(c *call) (any, *apiError) { return s.create(c, r) }, nil
	case len(parts) == 3 && parts[2] == "search" && get && r.search != nil:
		return func(c *call) (any, *apiError) { return s.search(c, r) }, nil
	case len(parts) == 3 && get:
		return func(c *call) (any, *apiError) { return s.get(c, r, parts[2]) }, nil
	case len(parts) == 3 && post && r.update != nil:
		return func(c *call) (any, *apiError) { return s.update(c, r, parts[2]) }, nil
	case len(parts) == 3 && del && r.remove != nil:
		return func(c *call) (any, *apiError) { return s.remove(c, r, parts[2]) }, nil
	case len(parts) == 4 && post && r.actions[parts[3]] != nil:
		return func(c *call) (any, *apiError) { return s.act(c, r, parts[2], parts[3]) }, nil
	}
	return nil, unknownURL(c.r)
}
