package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// loaderManifest describes importer, which writes by jobs and by single requests.
const loaderManifest = `
manifest: 1
name: Importer
create: {}
update: {}
delete: {}
load:
  operations: {create: add, update: change}
  path: /imports
  body: {what: "{object}", how: "{operation}"}
  id: job.id
  job: "/imports/{id}"
  state: job.state
  done: [done]
  failed: [broken]
  message: job.why
  poll_seconds: 0.01
  start: {state: go}
  abort: {state: stop}
  upload: "/imports/{id}/rows"
  key: id
  applied: {path: "/imports/{id}/good", key: ref}
  refused: {path: "/imports/{id}/bad", error: why}
  left: {path: "/imports/{id}/left"}
errors: {message: [message], code: [code], codes: {dup: unique, BUSY: unavailable}}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text}
      name: {type: text}
`

// importer answers what it is told, by method and path; another request for a record is a
// success. A list of answers is given in turn, the last one for ever.
type importer struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	answers map[string][]answer
	// stopped is its state once it was told to stop; empty: it stays as it is.
	stopped string
}

func newImporter(t *testing.T, answers map[string][]answer) *importer {
	t.Helper()
	r := &importer{answers: map[string][]answer{
		"POST /imports":       {{201, `{"job":{"id":"7","state":"open"}}`, ""}},
		"PUT /imports/7/rows": {{201, ``, ""}},
		"PATCH /imports/7":    {{200, `{}`, ""}},
		"GET /imports/7":      {{200, `{"job":{"state":"busy"}}`, ""}, {200, `{"job":{"state":"done"}}`, ""}},
		"GET /imports/7/good": {{200, "", "text/csv"}},
		"GET /imports/7/bad":  {{200, "", "text/csv"}},
		"GET /imports/7/left": {{200, "", "text/csv"}},
	}}
	for what, list := range answers {
		r.answers[what] = list
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		what := req.Method + " " + req.URL.Path
		r.asked = append(r.asked, strings.TrimSpace(what+" "+string(body)))
		a := answer{200, `{"id":"x"}`, ""}
		if list := r.answers[what]; len(list) > 0 {
			if a = list[0]; len(list) > 1 {
				r.answers[what] = list[1:]
			}
		}
		if r.stopped != "" && what == "PATCH /imports/7" && strings.Contains(string(body), "stop") {
			r.answers["GET /imports/7"] = []answer{{200, `{"job":{"state":"` + r.stopped + `"}}`, ""}}
		}
		if a.kind == "" {
			a.kind = "application/json"
		}
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(r.Close)
	return r
}

// has waits until it was asked something.
func (r *importer) has(t *testing.T, what string) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.asked, what)
	}, 30*time.Second, time.Millisecond, what)
}

func (r *importer) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, line := range r.asked {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// stopJob is the request that ends the job.
const stopJob = `PATCH /imports/7 {"state":"stop"}`

// csvOf is an answer of such lines.
func csvOf(lines ...string) []answer {
	return []answer{{200, strings.Join(lines, "\n") + "\n", "text/csv"}}
}

// inState is an answer about the job, as often as it is asked.
func inState(state string) []answer {
	return []answer{{200, `{"job":{"state":"` + state + `"}}`, ""}}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers map[string][]answer
		stopped string
		op      connectors.Operation
		names   []any
		want    string
		// class of the error; 0: there is none.
		class connectors.Class
		// asked is a request that there was, and not one that there was not.
		asked, not string
	}{
		{name: "all written", answers: map[string][]answer{"GET /imports/7/good": csvOf(`"more","name","ref"`, `"","b, ""c""","2"`, `"","a","1"`)},
			names: []any{"a", `b, "c"`}, want: "ok | ok", asked: "PUT /imports/7/rows \"name\"\n\"a\"\n\"b, \"\"c\"\"\"", not: "GET /imports/7/left"},
		{name: "refused by a code", answers: map[string][]answer{"GET /imports/7/good": csvOf("name,ref", "a,1"), "GET /imports/7/bad": csvOf("why,name", "dup:it is there,b")},
			names: []any{"a", "b"}, want: "ok | no 8 : it is there", not: stopJob},
		{name: "some not come to", answers: map[string][]answer{"GET /imports/7": {{200, `{"job":{"state":"broken","why":"BUSY: later"}}`, ""}},
			"GET /imports/7/good": csvOf("name", "b"), "GET /imports/7/left": csvOf("name", "a", "c")},
			names: []any{"a", "b", "c"}, want: `no 18 : the job that writes things has ended as "broken": BUSY: later | ok | - the job that writes things has ended as "broken": BUSY: later`, not: stopJob},
		{name: "nothing said of one", answers: map[string][]answer{"GET /imports/7/good": csvOf("name", "b", "none of ours")}, names: []any{"a", "b"}, want: "? | ?", class: connectors.UnknownOutcome, not: stopJob},
		{name: "results of something else", answers: map[string][]answer{"GET /imports/7/good": csvOf("<html>", "x")}, names: []any{"a", "b"}, want: "? | ?", class: connectors.UnknownOutcome},
		{name: "results that cannot be had", answers: map[string][]answer{"GET /imports/7/good": csvOf("name", "b"), "GET /imports/7/bad": {{404, `{"message":"no"}`, ""}}}, names: []any{"a", "b"}, want: "? | ?", class: connectors.UnknownOutcome},
		{name: "line breaks changed", answers: map[string][]answer{"GET /imports/7/good": csvOf("name", "\"a\nb\"", "c")}, names: []any{"a\r\nb", "c"}, want: "ok | ok"},
		{name: "told apart by line breaks alone", answers: map[string][]answer{"GET /imports/7/good": csvOf("name", "c", "\"a\nb\"")}, names: []any{"c", "a\nb", "a\r\nb"}, want: "ok | ok | later"},
		{name: "NULL without a word for it", op: connectors.Update, names: []any{"a", nil}, want: "ok | ok", not: "POST /imports"},
		{name: "an update by keys", op: connectors.Update, answers: map[string][]answer{"GET /imports/7/good": csvOf("id", "k1"), "GET /imports/7/bad": csvOf("id,why", "k0,no")},
			names: []any{"a", "a"}, want: "no 6 : no | ok", asked: "PUT /imports/7/rows \"id\",\"name\"\n\"k0\",\"a\"\n\"k1\",\"a\""},
		{name: "no such job for it", op: connectors.Delete, names: []any{nil, nil}, want: "ok | ok", not: "POST /imports"},
		{name: "upload refused", answers: map[string][]answer{"PUT /imports/7/rows": {{400, `{"message":"too late"}`, ""}}}, names: []any{"a", "b"}, want: "? | ?", class: connectors.CheckViolation, asked: stopJob},
		{name: "start refused", answers: map[string][]answer{"PATCH /imports/7": {{400, `{"message":"no"}`, ""}}, "GET /imports/7": inState("open")},
			names: []any{"a", "b"}, want: "? | ?", class: connectors.CheckViolation, asked: stopJob},
		{name: "start failed, and it has begun", answers: map[string][]answer{"PATCH /imports/7": {{500, ``, ""}}, "GET /imports/7/good": csvOf("name", "a", "b")},
			names: []any{"a", "b"}, want: "ok | ok", not: stopJob},
		{name: "start failed again and again", answers: map[string][]answer{"PATCH /imports/7": {{500, ``, ""}}, "GET /imports/7": inState("open"), "GET /imports/7/left": csvOf("name", "a", "b")}, stopped: "broken",
			names: []any{"a", "b"}, want: "no 18 : the job was aborted before it came to the row: it could not be looked at | - the job was aborted before it came to the row: it could not be looked at", asked: stopJob},
		{name: "it cannot be looked at", answers: map[string][]answer{"GET /imports/7": {{404, `{"message":"gone"}`, ""}}}, names: []any{"a", "b"}, want: "? | ?", class: connectors.UnknownOutcome, asked: stopJob},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newImporter(t, c.answers)
			r.stopped = c.stopped
			tab := openTable(t, openSource(t, []byte(loaderManifest), r.URL, nil, "bulk_writes", "always"), "things")
			if c.op == 0 {
				c.op = connectors.Insert
			}
			var keys []any
			for i := range c.names {
				keys = append(keys, "k"+itoa(i))
			}
			if c.op == connectors.Insert {
				keys = nil
			}
			b, _ := many(tab, c.op, keys, c.names)
			b.Jobs = true
			err := tab.Modify(t.Context(), b)
			var e *connectors.Error
			if c.class == 0 {
				require.NoError(t, err)
			} else if require.ErrorAs(t, err, &e); e.Class != c.class {
				t.Errorf("class %d: %v", e.Class, err)
			}
			if c.stopped == "" {
				require.LessOrEqual(t, r.count(`PATCH /imports/7 {"state":"go"}`), 1, "what has begun is not told again")
			}
			require.Equal(t, c.want, outcomes(b.Results))
			if c.asked != "" {
				r.has(t, c.asked)
			}
			if c.not != "" {
				tab.src.errands.wait()
				require.Zero(t, r.count(c.not), c.not)
			}
		})
	}
}

// Rows that are not journaled are not sent.
func TestLoad_NotReady(t *testing.T) {
	r := newImporter(t, nil)
	tab := openTable(t, openSource(t, []byte(loaderManifest), r.URL, nil, "bulk_writes", "always"), "things")
	b, _ := many(tab, connectors.Insert, nil, []any{"a", "b"})
	full := errors.New("the journal is full")
	b.Jobs, b.Ready = true, func(_ context.Context, end, _ int) error {
		require.Equal(t, 2, end)
		return full
	}
	require.ErrorIs(t, tab.Modify(t.Context(), b), full)
	r.has(t, stopJob)
	require.Zero(t, r.count("PUT "))
	require.Equal(t, "7", b.Job)
}

// A job is asked later what became of rows that it has or had, and ended if it goes on.
func TestLoaded(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers map[string][]answer
		stopped string
		op      connectors.Operation
		names   []any
		want    string
		class   connectors.Class
	}{
		{name: "over", answers: map[string][]answer{"GET /imports/7": inState("done"), "GET /imports/7/good": csvOf("name,ref", "b,2", "a,1"), "GET /imports/7/bad": csvOf("name,why", "c,dup:it is there")},
			names: []any{"a", "b", "c"}, want: "ok | ok | no 8 : it is there"},
		{name: "ended", stopped: "broken", answers: map[string][]answer{"GET /imports/7": inState("busy"), "GET /imports/7/good": csvOf("name", "b"), "GET /imports/7/left": csvOf("name", "a")},
			names: []any{"a", "b"}, want: `no 18 : the job that writes things has ended as "broken" | ok`},
		{name: "it goes on", answers: map[string][]answer{"GET /imports/7": inState("busy")}, names: []any{"a"}, class: connectors.Unavailable},
		{name: "gone", answers: map[string][]answer{"GET /imports/7": {{404, `{"message":"gone"}`, ""}}}, names: []any{"a"}, class: connectors.NotFoundError},
		{name: "results that cannot be had", answers: map[string][]answer{"GET /imports/7": inState("done"), "GET /imports/7/left": {{500, ``, ""}}}, names: []any{"a"}, class: connectors.Unavailable},
		{name: "by keys", op: connectors.Delete, answers: map[string][]answer{"GET /imports/7": inState("done"), "GET /imports/7/good": csvOf("id", "k1"), "GET /imports/7/bad": csvOf("id,why", "k0,no")},
			names: []any{nil, nil}, want: "no 6 : no | ok"},
		{name: "given up, and says nothing", answers: map[string][]answer{"GET /imports/7": inState("broken"), "GET /imports/7/good": csvOf("name", "b")},
			names: []any{"a", "b"}, want: `no 18 : the job that writes things has ended as "broken" | ok`},
		{name: "given up, with a line of none", answers: map[string][]answer{"GET /imports/7": inState("broken"), "GET /imports/7/good": csvOf("name", "b", "A")}, names: []any{"a", "b"}, want: "? | ok"},
		{name: "over, and says nothing", answers: map[string][]answer{"GET /imports/7": inState("done")}, names: []any{"a"}, want: "?"},
		{name: "some of those that are alike", answers: map[string][]answer{"GET /imports/7": inState("done"), "GET /imports/7/good": csvOf("name", "a", "b"), "GET /imports/7/left": csvOf("name", "a")},
			names: []any{"a", "b"}, want: "? | ok"},
		{name: "too few lines for those that are alike", answers: map[string][]answer{"GET /imports/7": inState("done"), "GET /imports/7/good": csvOf("name", "a", "b")}, names: []any{"a", "a", "b"}, want: "? | ? | ok"},
		{name: "none for those that are alike", answers: map[string][]answer{"GET /imports/7": inState("broken"), "GET /imports/7/good": csvOf("name", "a", "b")},
			names: []any{"a", "a", "b"}, want: `ok | no 18 : the job that writes things has ended as "broken" | ok`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newImporter(t, c.answers)
			r.stopped = c.stopped
			tab := openTable(t, openSource(t, []byte(loaderManifest), r.URL, nil, "bulk_writes", "never"), "things")
			var keys []any
			if c.op == 0 {
				c.op = connectors.Insert
			} else {
				for i := range c.names {
					keys = append(keys, "k"+itoa(i))
				}
			}
			b, _ := many(tab, c.op, keys, c.names)
			err := tab.Loaded(t.Context(), "7", b)
			if c.class != 0 {
				var e *connectors.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.class, e.Class, err)
			} else {
				require.NoError(t, err)
				require.Equal(t, c.want, outcomes(b.Results))
			}
			require.Equal(t, strings.Contains(c.answers["GET /imports/7"][0].body, "busy"), r.count(stopJob) == 1, "what is over is not ended")
			require.Zero(t, r.count("PUT ")+r.count("POST "))
		})
	}
}

// A statement that may not make the calls of a job begins none; one that has made all that
// it may make while the job goes on ends it, and knows what it did.
func TestLoad_MaxCalls(t *testing.T) {
	t.Parallel() // it waits longer for each look
	for _, most := range []string{"6", "7"} {
		r := newImporter(t, map[string][]answer{"GET /imports/7": {{200, `{"job":{"state":"busy"}}`, ""}}, "GET /imports/7/good": {{200, "name\nb\n", "text/csv"}},
			"GET /imports/7/left": {{200, "name\na\n", "text/csv"}}})
		r.stopped = "broken"
		tab := openTable(t, openSource(t, []byte(loaderManifest), r.URL, nil, "bulk_writes", "always", "max_calls", most), "things")
		b, _ := many(tab, connectors.Insert, nil, []any{"a", "b"})
		b.Jobs = true
		err := tab.Modify(connectors.WithStatement(t.Context(), &connectors.Statement{}), b)
		if most == "6" {
			var e *connectors.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, connectors.RateLimited, e.Class)
			require.Zero(t, r.count(""))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "no 18 : the job was aborted before it came to the row: it could not be looked at | ok", outcomes(b.Results))
	}
}
