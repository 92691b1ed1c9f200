// Package fakes is a small CRM over HTTP that misbehaves on request: the first
// segment of the path says how. It exists because a real server cannot be made
// to close a connection in the middle of a page at will.
//
//	GET    /{mode}/{object}?limit=100&after={cursor}[&filter…]
//	POST   /{mode}/{object}
//	PATCH  /{mode}/{object}/{id}
//	DELETE /{mode}/{object}/{id}
//
// A page is {"results":[…],"paging":{"next":{"after":"…"}}}; the last one has no
// "paging". What PostgreSQL should make of each mode is the tests' to say.
package fakes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is how the server behaves.
type Mode string

// The modes. Every status that is a number is answered as it is.
const (
	// OK keeps its promises: filters by equality, limits, pages.
	OK Mode = "ok"
	// Liar accepts any filter, sort and limit, and ignores them all.
	Liar Mode = "liar"
	// Slow takes a minute for each page after the first; Hang never answers
	// at all.
	Slow Mode = "slow"
	Hang Mode = "hang"
	// RateLimited answers 429 with Retry-After: 3600 for ever; RateLimitedOnce
	// with Retry-After: 1 once for each cursor, then the page.
	RateLimited     Mode = "429"
	RateLimitedOnce Mode = "429-once"
	// FlakyOnce answers 503 once for each cursor, then the page.
	FlakyOnce Mode = "503-once"
	// Cut closes the connection in the middle of the first page, CutSecond of
	// the second.
	Cut       Mode = "cut"
	CutSecond Mode = "cut2"
	// HTML is a maintenance page with status 200.
	HTML Mode = "html"
	// BrokenJSON ends before its brackets do, with a right Content-Length.
	BrokenJSON Mode = "broken"
	// WrongTypes has an object where the number was, in the second row.
	WrongTypes Mode = "types"
	// Huge is a page of 50 MB.
	Huge Mode = "huge"
	// Loop gives the same cursor for ever; Cycle two in turn.
	Loop  Mode = "loop"
	Cycle Mode = "cycle"
	// Redirect leads to another host, with the credential in tow if the client
	// is careless.
	Redirect Mode = "redirect"
	// Errors at the second page: rows have already reached the backend.
	ErrorSecond Mode = "500-second"
	// WhoAmI answers every list with one record whose name is the credential
	// of the caller.
	WhoAmI Mode = "whoami"
	// Bench pages are encoded once and served at once; the second segment is
	// the number of rows: /bench/100000/contacts.
	Bench Mode = "bench"
)

// PageSize of every list when the request names none, and the most it gives.
const PageSize = 100

// Server is a running fake. Its counters are safe to read at any time.
type Server struct {
	// URL without a slash at the end: "http://127.0.0.1:40000".
	URL string
	// Elsewhere is another host's URL, which must never be called.
	Elsewhere string
	// Secret is the bearer token that it wants to see in mode "ok".
	Secret string

	http  *http.Server
	other *http.Server

	mu       sync.Mutex
	objects  map[string][]map[string]any
	seq      int
	seen     map[string]bool
	requests []Request

	inFlight  atomic.Int64
	cancelled atomic.Int64
	foreign   atomic.Int64

	benchOnce  sync.Once
	benchPages [][]byte
}

// Request is one that came in.
type Request struct {
	Method, Path, Query string
	At                  time.Time
}

// Start listens on a free port of 127.0.0.1.
func Start() (*Server, error) {
	s := &Server{Secret: "s3cret-token-of-the-fake", seen: map[string]bool{}}
	s.Reset()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	o, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listening on a second address: %w", err)
	}
	s.URL, s.Elsewhere = "http://"+l.Addr().String(), "http://"+o.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	s.other = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.foreign.Add(1)
		writeJSON(w, 200, map[string]any{"results": []any{}})
	})}
	go func() { _ = s.http.Serve(l) }()
	go func() { _ = s.other.Serve(o) }()
	return s, nil
}

// Close ends it at once, open requests included.
func (s *Server) Close() {
	_ = s.http.Close()
	_ = s.other.Close()
}

// Reset restores the data and forgets requests and counters.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = map[string][]map[string]any{"contacts": contacts(250)}
	s.seq = 250
	s.seen, s.requests = map[string]bool{}, nil
	s.cancelled.Store(0)
	s.foreign.Store(0)
}

// InFlight is the number of requests being served now.
func (s *Server) InFlight() int64 { return s.inFlight.Load() }

// Cancelled is the number of requests whose client went away before the answer.
func (s *Server) Cancelled() int64 { return s.cancelled.Load() }

// Strayed is the number of requests that the other host got.
func (s *Server) Strayed() int64 { return s.foreign.Load() }

// Requests that came in since the last Reset.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Objects of a collection, as they are now.
func (s *Server) Objects(name string) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.objects[name])
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 {
		writeError(w, 404, "no such path")
		return
	}
	mode := Mode(parts[0])
	if mode == Bench {
		s.bench(w, r, parts)
		return
	}
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, time.Now()})
	s.mu.Unlock()

	object, id := parts[1], ""
	if len(parts) > 2 {
		id = parts[2]
	}
	if s.misbehave(w, r, mode) {
		return
	}
	if r.Method == http.MethodGet {
		s.list(w, r, mode, object, id)
		return
	}
	s.write(w, r, object, id)
}

// misbehave answers in those modes that have nothing to do with the data.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, mode Mode) bool {
	if status, err := strconv.Atoi(string(mode)); err == nil && mode != RateLimited {
		writeError(w, status, map[int]string{
			401: "the token is not known", 403: "missing scope: crm.objects.contacts.read", 404: "there is no object of that name",
			409: "the record was changed by someone else", 422: "the value is not valid", 423: "the record is locked",
			500: "something went wrong",
		}[status])
		return true
	}
	switch mode {
	case WhoAmI:
		writeJSON(w, 200, map[string]any{"results": []any{map[string]any{
			"id": "c1", "email": "me@example.com", "name": strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}}})
		return true
	case Hang:
		// net/http notices that a client has gone only behind the body.
		_, _ = io.Copy(io.Discard, r.Body)
		s.sleep(r.Context(), time.Hour)
		return true
	case RateLimited:
		w.Header().Set("Retry-After", "3600")
		writeError(w, 429, "daily limit reached")
		return true
	case RateLimitedOnce, FlakyOnce:
		if !s.firstTime(r.Method + r.URL.RequestURI()) {
			return false
		}
		if mode == FlakyOnce {
			writeError(w, 503, "try again")
		} else {
			w.Header().Set("Retry-After", "1")
			writeError(w, 429, "too fast")
		}
		return true
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!DOCTYPE html><html><head><title>Down for maintenance</title></head><body>Back soon.</body></html>"))
		return true
	case Redirect:
		http.Redirect(w, r, s.Elsewhere+r.URL.RequestURI(), http.StatusFound)
		return true
	case Huge:
		s.huge(w)
		return true
	}
	return false
}

func (s *Server) firstTime(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.seen[key]
	s.seen[key] = true
	return first
}

// sleep waits, and notices a client that goes away.
func (s *Server) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		s.cancelled.Add(1)
		return false
	case <-time.After(d):
		return true
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, mode Mode, object, id string) {
	s.mu.Lock()
	all, known := s.objects[object]
	all = slices.Clone(all)
	s.mu.Unlock()
	if !known {
		writeError(w, 404, "there is no object "+strconv.Quote(object))
		return
	}
	q := r.URL.Query()
	if id != "" {
		for _, o := range all {
			if o["id"] == id {
				writeJSON(w, 200, o)
				return
			}
		}
		writeError(w, 404, "there is no record "+strconv.Quote(id))
		return
	}
	size := PageSize
	if mode != Liar {
		if n, err := strconv.Atoi(q.Get("limit")); err == nil && n > 0 && n < size {
			size = n
		}
		for _, field := range []string{"id", "email", "stage"} {
			if want := q.Get(field); q.Has(field) {
				all = slices.DeleteFunc(all, func(o map[string]any) bool { return o[field] != want })
			}
		}
	}
	at, _ := strconv.Atoi(q.Get("after"))
	first := at == 0
	if mode == Loop || mode == Cycle {
		at = 0
	}
	end := min(at+size, len(all))
	page := slices.Clone(all[min(at, end):end])
	body := map[string]any{"results": page}
	switch {
	case mode == Loop:
		body["paging"] = next("100")
	case mode == Cycle:
		body["paging"] = next(map[bool]string{true: "200", false: "100"}[q.Get("after") == "100"])
	case end < len(all):
		body["paging"] = next(strconv.Itoa(end))
	}
	switch {
	case mode == Slow && !first:
		if !s.sleep(r.Context(), time.Minute) {
			return
		}
	case mode == WrongTypes && len(page) > 1:
		bad := map[string]any{}
		for k, v := range page[1] {
			bad[k] = v
		}
		bad["amount"] = map[string]any{"value": 12}
		page[1] = bad
	case mode == ErrorSecond && !first:
		writeError(w, 500, "something went wrong")
		return
	case mode == Cut && first || mode == CutSecond && !first:
		cut(w, body)
		return
	case mode == BrokenJSON:
		b, _ := json.Marshal(body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b[:len(b)/2])
		return
	}
	writeJSON(w, 200, body)
}

func next(cursor string) map[string]any {
	return map[string]any{"next": map[string]any{"after": cursor}}
}

// cut sends half of what Content-Length promised, and then no more.
func cut(w http.ResponseWriter, body any) {
	b, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(200)
	_, _ = w.Write(b[:len(b)/2])
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

// huge writes rows until 50 MB have gone out. They are well-formed.
func (s *Server) huge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	filler := strings.Repeat("x", 1000)
	_, _ = w.Write([]byte(`{"results":[`))
	for i := range 50_000 {
		sep := ","
		if i == 0 {
			sep = ""
		}
		if _, err := fmt.Fprintf(w, `%s{"id":"h%d","email":"h%d@example.com","name":%q}`, sep, i, i, filler); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte(`]}`))
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, object, id string) {
	var in map[string]any
	if r.Method != http.MethodDelete {
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<22)).Decode(&in); err != nil {
			writeError(w, 400, "the body is not JSON")
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if email, ok := in["email"].(string); ok && !strings.Contains(email, "@") {
		writeFieldError(w, 422, "email", "INVALID", "is not an e-mail address")
		return
	}
	list := s.objects[object]
	at := slices.IndexFunc(list, func(o map[string]any) bool { return o["id"] == id })
	switch {
	case r.Method == http.MethodPost:
		if slices.ContainsFunc(list, func(o map[string]any) bool { return in["email"] != nil && o["email"] == in["email"] }) {
			writeFieldError(w, 409, "email", "NOT_UNIQUE", "is taken")
			return
		}
		s.seq++
		o := map[string]any{"id": fmt.Sprintf("c%05d", s.seq)}
		for k, v := range in {
			if k != "id" {
				o[k] = v
			}
		}
		s.objects[object] = append(list, o)
		writeJSON(w, 201, o)
	case at < 0:
		writeError(w, 404, "there is no record "+strconv.Quote(id))
	case r.Method == http.MethodPatch:
		o := map[string]any{}
		for k, v := range list[at] {
			o[k] = v
		}
		for k, v := range in {
			o[k] = v
		}
		list[at] = o
		writeJSON(w, 200, o)
	case r.Method == http.MethodDelete:
		s.objects[object] = slices.Delete(slices.Clone(list), at, at+1)
		w.WriteHeader(http.StatusNoContent)
	default:
		writeError(w, 405, "method not allowed")
	}
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"status": "error", "message": message, "requestId": "req-7f3a"})
}

func writeFieldError(w http.ResponseWriter, status int, field, code, message string) {
	writeJSON(w, status, map[string]any{"status": "error", "message": "the record is not valid", "requestId": "req-7f3a",
		"errors": []any{map[string]any{"field": field, "code": code, "message": message}}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
