// Package salesforce is an org in memory behind Salesforce's REST API: OAuth,
// describe, SOQL with pages, rows and collections, deleted rows, and bulk jobs,
// with the API's error bodies and its limits. What it does is what the API's
// documentation and its own client library say; tests/vendors runs that library
// against it.
package salesforce

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// Version of the API that this is; older ones from MinVersion are answered alike.
const (
	Version    = "62.0"
	minVersion = 50
)

// Options of a server; the zero value is a default org without limits.
type Options struct {
	// Clock is the org's time; nil: time.Now. The org keeps seconds.
	Clock func() time.Time
	// PageSize is the most rows of a page, 1 to 2000; 0: 2000. A client may ask
	// for fewer by header, but not for fewer than 200.
	PageSize int
	// ShortPages n makes each n-th page half as long as it could be; 0: none.
	ShortPages int
	// SessionCalls is how many requests a session serves before it expires;
	// 0: any number.
	SessionCalls int
	// ForgetEvery n: each n-th request for a further page finds that its locator
	// is forgotten, and is answered INVALID_QUERY_LOCATOR; 0: none.
	ForgetEvery int
	// RefuseEvery n answers each n-th request to the data API with 403
	// REQUEST_LIMIT_EXCEEDED; 0: none.
	RefuseEvery int
	// DailyLimit is how many requests to the data API the org may make; past
	// it all are refused. 0: 100,000.
	DailyLimit int
	// BulkPolls is how often a bulk job is asked for before it is complete.
	BulkPolls int
	// BulkFailure is the message of every query job, which fails once it has been
	// asked for often enough; empty: none does.
	BulkFailure string
	// BulkLate has query jobs made although they name what is not there; they fail.
	BulkLate bool
	// IngestStep is how many rows an ingest job does each time that it is asked for; 0:
	// all at once, when it has been asked for often enough.
	IngestStep int
	// IngestFailure is the message of every ingest job that has not come to all its rows
	// when it has been asked for often enough, and then fails; empty: none does.
	IngestFailure string
	// BulkPage is the most rows of a part of a query job's result; 0: 10,000.
	BulkPage int
	// Latency is waited before every answer.
	Latency time.Duration
	// Objects are custom objects besides the usual ones; see Wide.
	Objects []*Object
	// PublicKeyPEM verifies JWT bearer assertions; empty: they are refused.
	PublicKeyPEM string
}

// Server is a running org. Its methods are safe for use from several goroutines.
type Server struct {
	URL  string
	opts Options
	http *httptest.Server

	mu         sync.Mutex
	clock      func() time.Time
	tables     map[string]*table
	order      []*table
	sessions   map[string]*session
	sessionNr  int
	locators   map[string]*locator
	locatorNr  int
	jobs       map[string]*job
	jobNr      int
	pages      int
	further    int
	used       int
	requests   int
	calls      map[string]int
	answered   []kit.Call
	asked      kit.Call // the one that is being answered
	statements []string
	fails      [][]*apiError
	rowFails   map[string]*apiError
	lost       map[string]int
	gates      map[string]*gate
	consent    kit.Consent
}

// New starts an org on a loopback port. Close it.
func New(opts Options) *Server {
	s := &Server{opts: opts, clock: opts.Clock, tables: map[string]*table{}, sessions: map[string]*session{},
		locators: map[string]*locator{}, jobs: map[string]*job{}, calls: map[string]int{}, rowFails: map[string]*apiError{}, lost: map[string]int{}, gates: map[string]*gate{}}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.opts.PageSize == 0 {
		s.opts.PageSize = 2000
	}
	if s.opts.DailyLimit == 0 {
		s.opts.DailyLimit = 100_000
	}
	for _, o := range append(defaultObjects(), opts.Objects...) {
		s.addObject(o)
	}
	users := s.table("User")
	users.store(nil, Record{"Id": UserID, "IsDeleted": false, "Username": Username, "Email": Username, "Name": "Ada Admin", "Alias": "ada",
		"IsActive": true, "CreatedDate": s.now(), "LastModifiedDate": s.now(), "SystemModstamp": s.now(), "CreatedById": UserID, "LastModifiedById": UserID})
	s.http = kit.Start(s.handler(), func(url string) { s.URL = url })
	return s
}

// Close stops the server.
func (s *Server) Close() { s.http.CloseClientConnections(); s.http.Close() }

// Calls is how many requests of each kind were answered: token, versions, limits,
// counts, objects, describe, query, query_more, retrieve, create, update, delete, upsert,
// collection_create, collection_update, collection_delete, collection_upsert,
// collection_retrieve, composite_batch, deleted, updated, bulk_*; "" is all of them but token. Of these,
// refused, ended and forgotten are those that RefuseEvery, SessionCalls and ForgetEvery
// have spoiled.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.calls))
	for k, n := range s.calls {
		out[k] = n
	}
	return out
}

// Requests that came since the last ResetCalls, of the kinds of Calls, apart from those
// for tokens.
func (s *Server) Requests() []kit.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answered)
}

// Statements are the SOQL statements that were sent since the last ResetCalls, in
// their order; those of bulk jobs, too.
func (s *Server) Statements() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.statements...)
}

// Jobs is how many bulk jobs there are: of queries, and of ingests those that are not
// over.
func (s *Server) Jobs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, j := range s.jobs {
		if !j.ingest || !j.over() {
			n++
		}
	}
	return n
}

// ResetCalls forgets calls, requests and statements.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.statements, s.answered = map[string]int{}, nil, nil
}

// FailNext answers the next n requests to the data API with an error.
func (s *Server) FailNext(n, status int, code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.fails = append(s.fails, []*apiError{newError(status, code, "%s", message)})
	}
}

// LoseNext has the next n requests of a kind of Calls done, and their answers lost.
func (s *Server) LoseNext(kind string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost[kind] = n
}

// gate holds up a request.
type gate struct {
	done          bool
	reached, open chan struct{}
}

// HoldNext has the next request of a kind of Calls wait until release is called, before it
// is done or, if done, when it is. reached is closed when it waits.
func (s *Server) HoldNext(kind string, done bool) (reached <-chan struct{}, release func()) {
	g := &gate{done, make(chan struct{}), make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[kind] = g
	return g.reached, sync.OnceFunc(func() { close(g.open) })
}

// held takes a kind's gate, and lets a request wait that is held up before it is done.
func (s *Server) held(kind string) *gate {
	s.mu.Lock()
	g := s.gates[kind]
	delete(s.gates, kind)
	s.mu.Unlock()
	if g != nil && !g.done {
		g.wait()
	}
	return g
}

func (g *gate) wait() {
	close(g.reached)
	<-g.open
}

// FailRow refuses every write of the row whose Name, LastName or Subject is name.
func (s *Server) FailRow(name, code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rowFails[name] = newError(400, code, "%s", message)
}

// ExpireSessions makes every session so far invalid.
func (s *Server) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = map[string]*session{}
}

// Configure changes the options of a running server; Objects and Clock stay.
func (s *Server) Configure(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opts)
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /services/oauth2/token", s.token)
	mux.HandleFunc("POST /services/oauth2/revoke", s.revoke)
	mux.HandleFunc("GET /services/data", s.versions)
	data := func(pattern, kind string, f func(http.ResponseWriter, *http.Request) *apiError) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /services/data/{version}"+path, s.data(kind, f))
	}
	data("GET /limits", "limits", s.limits)
	data("GET /limits/recordCount", "counts", s.recordCount)
	data("GET /sobjects", "objects", s.listObjects)
	data("GET /sobjects/{object}/describe", "describe", s.describe)
	data("GET /sobjects/{object}/deleted", "deleted", s.deleted)
	data("GET /sobjects/{object}/updated", "updated", s.updated)
	data("GET /query", "query", s.query)
	data("GET /queryAll", "query", s.queryAll)
	data("GET /query/{locator}", "query_more", s.queryMore)
	data("GET /queryAll/{locator}", "query_more", s.queryMore)
	data("POST /sobjects/{object}", "create", s.createOne)
	data("GET /sobjects/{object}/{id}", "retrieve", s.retrieveOne)
	data("PATCH /sobjects/{object}/{id}", "update", s.updateOne)
	data("DELETE /sobjects/{object}/{id}", "delete", s.deleteOne)
	data("GET /sobjects/{object}/{field}/{value}", "retrieve", s.retrieveByKey)
	data("PATCH /sobjects/{object}/{field}/{value}", "upsert", s.upsertOne)
	data("DELETE /sobjects/{object}/{field}/{value}", "delete", s.deleteByKey)
	data("POST /composite/batch", "composite_batch", s.batch)
	data("POST /composite/sobjects", "collection_create", s.createMany)
	data("PATCH /composite/sobjects", "collection_update", s.updateMany)
	data("DELETE /composite/sobjects", "collection_delete", s.deleteMany)
	data("POST /composite/sobjects/{object}", "collection_retrieve", s.retrieveMany)
	data("PATCH /composite/sobjects/{object}/{field}", "collection_upsert", s.upsertMany)
	data("POST /jobs/query", "bulk_query", s.createQueryJob)
	data("GET /jobs/query/{job}", "bulk_poll", s.getJob)
	data("PATCH /jobs/query/{job}", "bulk_abort", s.patchJob)
	data("DELETE /jobs/query/{job}", "bulk_delete", s.deleteJob)
	data("GET /jobs/query/{job}/results", "bulk_results", s.queryResults)
	data("POST /jobs/ingest", "bulk_ingest", s.createIngestJob)
	data("GET /jobs/ingest/{job}", "bulk_poll", s.getJob)
	data("PATCH /jobs/ingest/{job}", "bulk_close", s.patchJob)
	data("DELETE /jobs/ingest/{job}", "bulk_delete", s.deleteJob)
	data("PUT /jobs/ingest/{job}/batches", "bulk_upload", s.upload)
	data("GET /jobs/ingest/{job}/{results}", "bulk_results", s.ingestResults)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeErrors(w, newError(404, "NOT_FOUND", "The requested resource does not exist"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(s.latency()):
		case <-r.Context().Done():
			return
		}
		if len(r.URL.RequestURI()) > maxURI {
			// It comes from a proxy in front of the API, and is no JSON.
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusRequestURITooLong)
			fmt.Fprint(w, "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
			return
		}
		// A slash may stand before the query string: clients do that.
		if len(r.URL.Path) > 1 {
			r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
		}
		mux.ServeHTTP(w, r)
	})
}

const maxURI = 16_384

func (s *Server) latency() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.Latency
}

// data wraps what needs a session and counts against the org's limits. The org does
// one thing at a time, but an answer is sent without the lock: its reader may be
// slow.
func (s *Server) data(kind string, f func(http.ResponseWriter, *http.Request) *apiError) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		kept := httptest.NewRecorder()
		g := s.held(kind)
		if err := s.serve(kind, kept, r, f); err != nil {
			writeErrors(kept, err...)
		}
		if g != nil && g.done {
			g.wait()
		}
		if s.loses(kind) {
			panic(http.ErrAbortHandler)
		}
		for name, values := range kept.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(kept.Code)
		_, _ = w.Write(kept.Body.Bytes())
	}
}

// loses tells whether an answer of a kind is to be lost.
func (s *Server) loses(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost[kind] == 0 {
		return false
	}
	s.lost[kind]--
	return true
}

func (s *Server) serve(kind string, w http.ResponseWriter, r *http.Request, f func(http.ResponseWriter, *http.Request) *apiError) []*apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	var major int
	if _, err := fmt.Sscanf(r.PathValue("version"), "v%d.0", &major); err != nil || major < minVersion || major > 70 {
		return []*apiError{newError(404, "NOT_FOUND", "The requested resource does not exist")}
	}
	s.calls[kind]++
	s.calls[""]++
	s.asked = kit.Call{Kind: kind, Status: http.StatusOK}
	refused := s.carryOut(w, r, f)
	if len(refused) > 0 {
		s.asked.Status = refused[0].Status
	}
	s.answered = append(s.answered, s.asked)
	return refused
}

func (s *Server) carryOut(w http.ResponseWriter, r *http.Request, f func(http.ResponseWriter, *http.Request) *apiError) []*apiError {
	if err := s.admit(r); err != nil {
		return []*apiError{err}
	}
	s.used++
	w.Header().Set("Sforce-Limit-Info", fmt.Sprintf("api-usage=%d/%d", s.used, s.opts.DailyLimit))
	if len(s.fails) > 0 {
		fail := s.fails[0]
		s.fails = s.fails[1:]
		return fail
	}
	if err := f(w, r); err != nil {
		return []*apiError{err}
	}
	return nil
}

func (s *Server) admit(r *http.Request) *apiError {
	if err := s.session(r); err != nil {
		return err
	}
	if s.requests++; s.opts.RefuseEvery > 0 && s.requests%s.opts.RefuseEvery == 0 {
		s.calls["refused"]++
		return newError(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
	}
	if s.used >= s.opts.DailyLimit {
		return newError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
	}
	return nil
}

func (s *Server) versions(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Label   string `json:"label"`
		URL     string `json:"url"`
		Version string `json:"version"`
	}
	var list []entry
	for major := minVersion; major <= 62; major++ {
		v := fmt.Sprintf("%d.0", major)
		list = append(list, entry{"v" + v, "/services/data/v" + v, v})
	}
	writeJSON(w, 200, list)
}

func (s *Server) limits(w http.ResponseWriter, _ *http.Request) *apiError {
	writeJSON(w, 200, map[string]any{
		"DailyApiRequests":         map[string]int{"Max": s.opts.DailyLimit, "Remaining": s.opts.DailyLimit - s.used},
		"DailyBulkV2QueryJobs":     map[string]int{"Max": 10_000, "Remaining": 10_000},
		"DailyBulkApiBatches":      map[string]int{"Max": 15_000, "Remaining": 15_000},
		"ConcurrentAsyncGetReport": map[string]int{"Max": 200, "Remaining": 200},
	})
	return nil
}

// recordCount is about how many rows objects have.
func (s *Server) recordCount(w http.ResponseWriter, r *http.Request) *apiError {
	type entry struct {
		Count int    `json:"count"`
		Name  string `json:"name"`
	}
	list := []entry{}
	for _, name := range strings.Split(r.URL.Query().Get("sObjects"), ",") {
		if t := s.table(name); t != nil {
			list = append(list, entry{len(t.rows), t.def.Name})
		}
	}
	writeJSON(w, 200, map[string]any{"sObjects": list})
	return nil
}

// Drop takes an object away, as an administrator may.
func (s *Server) Drop(object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(object)
	delete(s.tables, strings.ToLower(object))
	s.order = slices.DeleteFunc(s.order, func(o *table) bool { return o == t })
}
