package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// exporterManifest describes exporter: a list in pages of five, and exports by jobs.
const exporterManifest = `
manifest: 1
name: Exporter
read: {items: items, page_size: {param: limit, max: 5}, fields: {param: fields}}
paging: {style: offset, param: offset}
ways:
  export:
    read:
      method: POST
      path: /exports
      in: body
      query: {what: all, format: csv}
      fields: {param: select}
      page_size: {param: rows, max: 1000}
      job:
        id: job.id
        path: "/exports/{id}"
        state: job.state
        done: [ready]
        failed: [broken]
        message: job.why
        poll_seconds: 0.01
        results: "/exports/{id}/rows"
        abort: {state: cancelled}
        delete: true
        min_rows: 50
    paging: {style: cursor, header: Next-Cursor, param: at}
    sort: {}
errors: {message: [message], code: [code], codes: {TOO_BUSY: unavailable}}
objects:
  things:
    path: /things
    key: id
    rows: 100
    modified: changed
    lookups: [owner]
    fields:
      id: {type: text, missing: never}
      n: {type: number, trim_zeros: true}
      b: {type: boolean, missing: never}
      "owner.name": {type: text, path: owner.name, missing: empty}
      changed: {type: datetime}
      tags: {type: json, ways: []}
      owner: {type: text, path: owner.id}
`

// exporter serves it. What a job does is for a test to say.
type exporter struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
	// state of a job when it is looked at for the n-th time, from 1.
	state func(n int) string
	why   string
	looks int
	// pages of CSV, by cursor.
	pages map[string]string
	next  map[string]string
	kind  string
	// refuse is the status of the answer to the request for a job; 0: 201.
	refuse int
	// hold keeps that answer back until it is closed; nil: nothing does.
	hold chan struct{}
}

func newExporter(t *testing.T) *exporter {
	t.Helper()
	e := &exporter{state: func(n int) string { return []string{"working", "ready"}[n/2] }, kind: "text/csv; charset=utf-8"}
	e.Server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.CloseClientConnections)
	t.Cleanup(e.Close)
	return e
}

func (e *exporter) serve(w http.ResponseWriter, r *http.Request) {
	var body struct{ State string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	e.mu.Lock()
	e.calls = append(e.calls, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+body.State))
	hold := e.hold
	e.mu.Unlock()
	if r.Method == http.MethodPost && hold != nil {
		<-hold
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	job := func(state string) any {
		return map[string]any{"job": map[string]any{"id": "j 1", "state": state, "why": e.why}}
	}
	switch {
	case r.URL.Path == "/things":
		var list []any
		at, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		for i := at; i < 7 && len(list) < 5; i++ {
			list = append(list, map[string]any{"id": fmt.Sprint("l", i), "b": true})
		}
		answer(http.StatusOK, map[string]any{"items": list})
	case r.Method == http.MethodPost && e.refuse != 0:
		answer(e.refuse, map[string]any{"code": "NO_EXPORTS", "message": "no exports here"})
	case r.Method == http.MethodPost:
		answer(http.StatusCreated, job("working"))
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == "/exports/j 1/rows":
		if limit, _ := strconv.Atoi(r.URL.Query().Get("rows")); e.pages == nil && limit > 250 {
			w.Header().Set("Content-Type", e.kind)
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, 33<<20))
			return
		}
		at := r.URL.Query().Get("at")
		w.Header().Set("Next-Cursor", e.next[at])
		w.Header().Set("Content-Type", e.kind)
		_, _ = w.Write([]byte(e.pages[at]))
	case r.Method == http.MethodGet:
		e.looks++
		answer(http.StatusOK, job(e.state(e.looks)))
	default:
		answer(http.StatusOK, job("cancelled"))
	}
}

func (e *exporter) called() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string{}, e.calls...)
}

// gone waits until the job was taken away, and the calls until then.
func (e *exporter) gone(t *testing.T) []string {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Contains(e.called(), "DELETE /exports/j 1") }, time.Minute, 5*time.Millisecond, "the job is taken away")
	return e.called()
}

func (e *exporter) open(t *testing.T, options ...string) *table {
	t.Helper()
	return openTable(t, openSource(t, []byte(exporterManifest), e.URL, nil, options...), "things")
}

func readColumns(columns ...int) connectors.Query {
	return connectors.Query{Request: pushdown.Request{Columns: columns}}
}

func TestJob_ReadsAllPages(t *testing.T) {
	e := newExporter(t)
	e.pages = map[string]string{
		"": "\ufeffid,n,b,owner.name,changed\n\"a\",\"12.0\",\"true\",\"O \"\"H\"\", x\r\ny\",\"2024-02-29T12:00:00.000Z\"\n",
		// The names may come again or not.
		"2": "id,n,b,owner.name,changed\nb,-1.50E3,false,\\u0041é🦆,\n",
		"3": "c,,true,12,\n",
	}
	e.next = map[string]string{"": "2", "2": "3", "3": "null"}
	got, err := scanRows(t, e.open(t), readColumns(0, 1, 2, 3, 4))
	require.NoError(t, err)
	var text []string
	for _, r := range got {
		text = append(text, fmt.Sprint(r[0].V, "|", r[1].V, "|", r[2].V, "|", r[3].V, "|", r[4].V))
	}
	require.Equal(t, []string{"a|12|true|O \"H\", x\r\ny|762523200000000", "b|-1500|false|\\u0041é🦆|<nil>", "c|<nil>|true|12|<nil>"}, text)
	require.Equal(t, []string{"POST /exports", "GET /exports/j 1", "GET /exports/j 1", "GET /exports/j 1/rows", "GET /exports/j 1/rows", "GET /exports/j 1/rows", "DELETE /exports/j 1"}, e.gone(t))
	require.Contains(t, e.open(t).Request(readColumns(0, 1)), `POST /exports {"what":"all","format":"csv","select":["id","n"]}`)
}

func TestJob_IsForLargeScansAlone(t *testing.T) {
	e := newExporter(t)
	since := &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 4}, Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184}, Known: true, Value: pushdown.Value{V: int64(0)}}}
	for _, c := range []struct {
		name    string
		change  func(*connectors.Query)
		options []string
		want    bool
	}{
		{"all rows", func(*connectors.Query) {}, nil, true},
		{"never", func(*connectors.Query) {}, []string{"bulk", "never"}, false},
		{"too few", func(*connectors.Query) {}, []string{"bulk_min_rows", "101"}, false},
		{"always", func(*connectors.Query) {}, []string{"bulk_min_rows", "101", "bulk", "always"}, true},
		{"LIMIT", func(q *connectors.Query) { q.LimitPossible, q.LimitRows = true, 90 }, []string{"bulk", "always"}, false},
		{"LIMIT that is not known", func(q *connectors.Query) { q.LimitPossible = true }, []string{"bulk", "always"}, false},
		{"a sample", func(q *connectors.Query) { q.Sample = 80 }, []string{"bulk", "always"}, false},
		{"a key", func(q *connectors.Query) {
			q.Conjuncts = []pushdown.Expr{&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: 0}, Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text, OID: 25}, Known: true, Value: pushdown.Value{V: "x"}}}}
		}, []string{"bulk", "always"}, false},
		{"a lookup", func(q *connectors.Query) {
			q.Conjuncts = []pushdown.Expr{&pushdown.Membership{Operand: &pushdown.Column{Index: 6}, Array: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text, Array: true}, Known: true}}}
		}, []string{"bulk", "always"}, false},
		{"what was changed", func(q *connectors.Query) { q.Conjuncts = []pushdown.Expr{since} }, nil, false},
		{"what was changed, always", func(q *connectors.Query) { q.Conjuncts = []pushdown.Expr{since} }, []string{"bulk", "always"}, true},
		{"a field that no job reads", func(q *connectors.Query) { q.Columns = []int{0, 5} }, []string{"bulk", "always"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := readColumns(0, 1)
			c.change(&q)
			require.Equal(t, c.want, strings.HasPrefix(e.open(t, c.options...).Request(q), "POST"))
		})
	}
	tab := e.open(t)
	plan := tab.Plan(readColumns(0, 1).Request)
	require.Greater(t, plan.StartupCost, 5*float64(callCost), "it takes a while")
	// A query whose LIMIT goes down, or whose order is relied upon, was planned
	// when the object was small.
	q := readColumns(0)
	q.Limit = 3
	require.True(t, strings.HasPrefix(tab.Request(q), "GET"))
	q.Limit, q.Ordering = 0, pushdown.Ordering{{Column: 1}}
	require.True(t, strings.HasPrefix(tab.Request(q), "GET"))
	for _, o := range [][]string{{"bulk", "sometimes"}, {"bulk_min_rows", "0"}} {
		_, err := New().Open(t.Context(), testEnv([]byte(exporterManifest)), connectors.ServerSpec{Name: "x", Options: map[string]string{"manifest": "m.yaml", "base_url": e.URL, o[0]: o[1]}})
		var bad *connectors.Error
		require.ErrorAs(t, err, &bad)
		require.Equal(t, connectors.InvalidOptionValue, bad.Class)
	}
}

func TestJob_Faults(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*exporter)
		want connectors.Class
		text string
		code string
	}{
		{"it fails", func(e *exporter) { e.state, e.why = func(int) string { return "broken" }, "the disk is full" }, connectors.Protocol, `the job that reads things has ended as "broken": the disk is full`, ""},
		{"it fails with a known code", func(e *exporter) { e.state, e.why = func(int) string { return "broken" }, "TOO_BUSY: later" }, connectors.Unavailable, "TOO_BUSY: later", "TOO_BUSY"},
		{"HTML", func(e *exporter) { e.kind, e.pages = "text/html", map[string]string{"": "<p>Sign in</p>"} }, connectors.Protocol, "expected CSV", ""},
		{"no CSV", func(e *exporter) { e.pages = map[string]string{"": "id,n\na,\"b\n"} }, connectors.Protocol, "invalid CSV", ""},
		{"a line too short", func(e *exporter) { e.pages = map[string]string{"": "id,n\na\n"} }, connectors.Protocol, "invalid CSV", ""},
		{"a field that is missing", func(e *exporter) { e.pages = map[string]string{"": "id,m\na,1\n"} }, connectors.Protocol, "without all fields", ""},
		{"no number", func(e *exporter) { e.pages = map[string]string{"": "id,n\na,many\n"} }, connectors.InvalidValue, `field "n" of things`, ""},
		{"no key", func(e *exporter) { e.pages = map[string]string{"": "id,n\n\"\",1\n"} }, connectors.InvalidValue, `field "id" of things`, ""},
		{"a circle", func(e *exporter) {
			e.pages, e.next = map[string]string{"": "id,n\na,1\n", "2": "id,n\nb,1\n"}, map[string]string{"": "2", "2": "2"}
		}, connectors.Protocol, "came twice", ""},
		{"refused, though wanted", func(e *exporter) { e.refuse = http.StatusBadRequest }, connectors.Protocol, "no exports here", "NO_EXPORTS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newExporter(t)
			c.set(e)
			_, err := scanRows(t, e.open(t, "bulk", "always"), readColumns(0, 1))
			var typed *connectors.Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, c.want, typed.Class, err.Error())
			require.Contains(t, err.Error(), c.text)
			require.Equal(t, c.code, typed.Code)
			if e.refuse == 0 {
				e.gone(t)
			}
		})
	}
}

func TestJob_WithoutRecords(t *testing.T) {
	for _, page := range []string{"", "id,n\n", "\"No records were found\"\n"} {
		e := newExporter(t)
		e.pages = map[string]string{"": page}
		got, err := scanRows(t, e.open(t), readColumns(0, 1))
		require.NoError(t, err)
		require.Empty(t, got)
	}
}

// An API that has no jobs for an object has its list.
func TestJob_ThatIsRefusedIsDoneWithout(t *testing.T) {
	e := newExporter(t)
	e.refuse = http.StatusBadRequest
	got, err := scanRows(t, e.open(t), readColumns(0, 2))
	require.NoError(t, err)
	require.Len(t, got, 7)
	require.Equal(t, []string{"POST /exports", "GET /things", "GET /things"}, e.called())
}

// A page that is longer than an answer may be is asked for with fewer rows.
func TestJob_PagesThatAreTooLong(t *testing.T) {
	e := newExporter(t)
	_, err := scanRows(t, e.open(t), readColumns(0, 1))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(strings.Join(e.gone(t), "\n"), "GET /exports/j 1/rows"), "1000 rows, 250")
}

func TestJob_CancelEndsIt(t *testing.T) {
	for _, c := range []struct {
		name string
		made bool
		want []string
	}{
		{"while it works", true, []string{"POST /exports", "PATCH /exports/j 1 cancelled", "DELETE /exports/j 1"}},
		{"while it is made", false, []string{"POST /exports", "PATCH /exports/j 1 cancelled", "DELETE /exports/j 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newExporter(t)
			e.state = func(int) string { return "working" }
			if !c.made {
				e.hold = make(chan struct{})
			}
			tab := e.open(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				q := readColumns(0)
				q.Stats = &connectors.Stats{}
				_, err := tab.Scan(ctx, q, rows.NewBuilder([]pushdown.Type{tab.columns[0].spec.Type}, func([]byte, int) error { return nil }, rows.Options{}))
				done <- err
			}()
			looked := func() bool { return c.made && len(e.called()) > 3 || !c.made && len(e.called()) > 0 }
			require.Eventually(t, looked, time.Minute, time.Millisecond)
			cancel()
			select {
			case err := <-done:
				require.ErrorIs(t, err, context.Canceled)
			case <-time.After(time.Minute):
				require.Fail(t, "the scan goes on")
			}
			if e.hold != nil {
				close(e.hold) // only now the API makes it
			}
			// A look that was under way may be heard of late.
			calls := slices.DeleteFunc(e.gone(t), func(call string) bool { return strings.HasPrefix(call, "GET ") })
			assert.Equal(t, c.want, calls)
		})
	}
}

// FuzzCSV feeds pages of anything; what cannot be read is an error of its own kind.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"id,n\na,1\n", "id,n\r\na,\"x\r\ny\"\r\n", "\ufeffid,n\n\"\",\"\"\"\"\n", "id,n\na,\xff\\\n", "\"", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		record := newTrie()
		record.add([]string{"id"}, 0)
		record.add([]string{"n"}, 1)
		r := &pageReader{record: record, width: 2, whole: -1}
		_, err := r.readCSV(bytes.Clone(page), nil, []cellKind{cellText, cellBare})
		var bad *csvError
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		for i, sp := range r.spans {
			if raw := sp.raw(r.s.page); !sp.none() && !json.Valid(raw) && (i%2 == 0 || raw[0] == '"') {
				t.Fatalf("%q is no JSON", raw)
			}
		}
	})
}
