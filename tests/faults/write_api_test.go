// An API that keeps count: what it was asked to write, what of that it has done,
// and that can be held, stopped or frozen between the two.

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// ledgerManifest has an object for each way in which an API can help to find out
// what became of a write: by a key that it answers as it did first, by a field
// that is unique, or not at all. bulk and keyedbulk take many rows in one request.
const ledgerManifest = `manifest: 1
name: Ledger
base_url: http://127.0.0.1:1
limits: {remaining_header: X-Remaining, reset_header: X-Reset}
read: {items: items, lag_seconds: 0}
filter:
  style: params
  types: {text: {operators: {eq: "{field}={value}"}}}
create: {method: POST}
update: {method: PATCH}
delete: {method: DELETE}
errors:
  message: [message]
  code: [code]
  codes: {TAKEN: unique}
objects:
  keyed:
    path: /keyed
    key: id
    create: {method: POST, idempotency_header: Idempotency-Key, idempotency_replays: true}
    update: {method: PATCH, idempotency_header: Idempotency-Key, idempotency_replays: true}
    fields: &fields
      id: {type: text, read_only: true}
      email: {type: text}
      name: {type: text}
  keyedbulk:
    path: /keyedbulk
    key: id
    create:
      method: POST
      idempotency_header: Idempotency-Key
      idempotency_replays: true
      batch:
        path: /batch
        max: 2
        list: requests
        entry: {method: "{method}", url: "{url}", body: "{body}"}
        answers: {status: status, item: body}
    update: {method: PATCH, idempotency_header: Idempotency-Key, idempotency_replays: true}
    fields: *fields
  unique:
    path: /unique
    key: id
    unique: [email]
    fields: *fields
  listed:
    path: /listed
    key: id
    unique: [email]
    fields:
      id: {type: text, read_only: true}
      email: {type: text, filterable: false}
      name: {type: text}
  upserting:
    path: /upserting
    key: id
    unique: [email]
    upsert: {method: PUT, match: [email]}
    fields: *fields
  bare:
    path: /bare
    key: id
    fields: *fields
  bulk:
    path: /bulk
    key: id
    unique: [email]
    create:
      method: POST
      batch:
        path: /batch
        max: 50
        list: requests
        entry: {method: "{method}", url: "{url}", body: "{body}"}
        answers: {status: status, item: body}
    fields: *fields
`

// ledger is the API. Each cell of the matrix has a namespace of its own in it.
type ledger struct {
	addr string

	mu    sync.Mutex
	srv   *http.Server
	life  int           // counts its starts
	thaw  chan struct{} // nil: not frozen
	cells map[string]*ledgerCell
	// pocket does what is asked for; nil: the ledger itself does.
	pocket *pocket
}

// ledgerCell is one namespace.
type ledgerCell struct {
	unique bool
	rows   map[string]map[string]string
	made   int
	// answers to idempotency keys.
	answers map[string]ledgerAnswer
	did     []ledgerChange
	reads   int
	writes  int
	// pauseAfter is the read whose answer tells the client to wait; 0: none does.
	pauseAfter int
	gate       *ledgerGate
	// lost: PocketBase was killed while it had a write of this cell, so that did may
	// not have all.
	lost bool
}

// ledgerChange is what was done, to which row, and the row's email and name then.
type ledgerChange struct{ method, id, email, name string }

type ledgerAnswer struct {
	status int
	body   any
}

// ledgerGate holds one write.
type ledgerGate struct {
	// nth write from 1.
	nth int
	// applied: the write is done before it is held.
	applied bool
	// lands: what is held before it is done is done when the gate opens, whoever
	// waits for it still; else it is lost.
	lands bool
	open  chan struct{}
	once  sync.Once
	// reached is said under ledger.mu.
	reached bool
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	port, err := harness.FreePort()
	require.NoError(t, err)
	l := &ledger{cells: map[string]*ledgerCell{}, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	l.start(t)
	t.Cleanup(func() { _ = l.srv.Close() })
	return l
}

// revive starts it after kill.
func (l *ledger) revive(t *testing.T) {
	t.Helper()
	if l.pocket != nil {
		require.NoError(t, l.pocket.pb.Restart())
		return
	}
	l.start(t)
}

// start listens, again on the same port.
func (l *ledger) start(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", l.addr)
	require.NoError(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = ln.Addr().String()
	l.life++
	life := l.life
	l.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(w, r, life) })}
	go func(s *http.Server) { _ = s.Serve(ln) }(l.srv)
}

// kill ends it: connections are reset, and what was not done never is.
func (l *ledger) kill() {
	if l.pocket != nil {
		l.pocket.kill(l)
		return
	}
	l.mu.Lock()
	l.life++
	srv := l.srv
	l.mu.Unlock()
	_ = srv.Close()
}

// freeze lets requests wait until the function that it returns is called.
func (l *ledger) freeze(t *testing.T) (thaw func()) {
	t.Helper()
	if l.pocket != nil {
		require.NoError(t, l.pocket.pb.Freeze())
		return func() { require.NoError(t, l.pocket.pb.Signal(syscall.SIGCONT)) }
	}
	c := make(chan struct{})
	l.mu.Lock()
	l.thaw = c
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.thaw = nil
		l.mu.Unlock()
		close(c)
	}
}

// add makes a namespace with the rows a, b and c.
func (l *ledger) add(name string, unique bool) *ledgerCell {
	c := &ledgerCell{unique: unique, rows: map[string]map[string]string{}, answers: map[string]ledgerAnswer{}}
	for _, id := range []string{"a", "b", "c"} {
		c.rows[id] = map[string]string{"id": id, "email": id + "@old", "name": "old"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cells[name] = c
	return c
}

func (l *ledger) serve(w http.ResponseWriter, r *http.Request, life int) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil || len(parts) < 2 {
		http.Error(w, `{"message": "bad request"}`, 400)
		return
	}
	l.mu.Lock()
	c, thaw := l.cells[parts[0]], l.thaw
	if c == nil {
		l.mu.Unlock()
		http.Error(w, `{"message": "no such cell"}`, 404)
		return
	}
	var gate *ledgerGate
	if r.Method == "GET" {
		c.reads++
		if c.reads == c.pauseAfter {
			w.Header().Set("X-Remaining", "0")
			w.Header().Set("X-Reset", fmt.Sprint(pauseSeconds))
		}
	} else {
		c.writes++
		if c.gate != nil && c.writes == c.gate.nth && !c.gate.reached {
			gate = c.gate
		}
	}
	l.mu.Unlock()
	if thaw != nil && gate == nil {
		<-thaw
	}
	if gate != nil && !gate.applied {
		l.hold(gate)
		if !gate.lands {
			panic(http.ErrAbortHandler)
		}
	}
	a, ok := l.do(c, r, parts[1:], body, life)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	b, err := json.Marshal(a.body)
	if err != nil {
		panic(err)
	}
	if gate != nil && gate.applied {
		l.hold(gate)
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(b)
}

// do is a request that is not held any more; false: nobody answers.
func (l *ledger) do(c *ledgerCell, r *http.Request, path []string, body []byte, life int) (ledgerAnswer, bool) {
	if l.pocket != nil {
		return l.pocket.do(l, c, r, path, body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life != life {
		return ledgerAnswer{}, false
	}
	return c.answer(r, path, body), true
}

// release lets what is held go on.
func (g *ledgerGate) release() { g.once.Do(func() { close(g.open) }) }

func (l *ledger) hold(g *ledgerGate) {
	l.mu.Lock()
	g.reached = true
	l.mu.Unlock()
	<-g.open
}

// answer does a request. ledger.mu is held.
func (c *ledgerCell) answer(r *http.Request, path []string, body []byte) ledgerAnswer {
	if r.Method == "GET" {
		items := []map[string]string{}
		for _, row := range c.rows {
			matches := true
			for field := range r.URL.Query() {
				matches = matches && row[field] == r.URL.Query().Get(field)
			}
			if matches {
				items = append(items, row)
			}
		}
		return ledgerAnswer{200, map[string]any{"items": items}}
	}
	key := r.Header.Get("Idempotency-Key")
	if key != "" {
		if before, ok := c.answers[key]; ok {
			return before
		}
	}
	a := c.write(r, path, body)
	if key != "" {
		c.answers[key] = a
	}
	return a
}

// write does a request that changes something.
func (c *ledgerCell) write(r *http.Request, path []string, body []byte) ledgerAnswer {
	if path[0] == "batch" {
		var in struct {
			Requests []struct {
				Method, URL string
				Body        json.RawMessage
			}
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return refusal(400, "", err.Error())
		}
		answers := []map[string]any{}
		for _, q := range in.Requests {
			a := c.change(q.Method, strings.Split(strings.Trim(q.URL, "/"), "/"), q.Body)
			answers = append(answers, map[string]any{"status": a.status, "body": a.body})
		}
		return ledgerAnswer{200, answers}
	}
	return c.change(r.Method, path, body)
}

func refusal(status int, code, message string) ledgerAnswer {
	return ledgerAnswer{status, map[string]any{"code": code, "message": message}}
}

func (c *ledgerCell) change(method string, path []string, body []byte) ledgerAnswer {
	in := map[string]string{}
	if method != "DELETE" {
		if err := json.Unmarshal(body, &in); err != nil {
			return refusal(400, "", err.Error())
		}
	}
	if method == "PUT" && len(path) == 2 {
		method = "POST"
		for id, row := range c.rows {
			if row["email"] == path[1] {
				method, path[1] = "PATCH", id
			}
		}
	}
	if method == "POST" {
		for _, row := range c.rows {
			if c.unique && row["email"] == in["email"] {
				return refusal(400, "TAKEN", "somebody has that email")
			}
		}
		c.made++
		in["id"] = fmt.Sprint("n", c.made)
		c.rows[in["id"]] = in
		return c.done(201, method, in)
	}
	if len(path) < 2 || c.rows[path[1]] == nil {
		return refusal(404, "", "there is no such row")
	}
	row := c.rows[path[1]]
	if method == "DELETE" {
		delete(c.rows, path[1])
		return c.done(204, method, row)
	}
	now := map[string]string{}
	for k, v := range row {
		now[k] = v
	}
	for k, v := range in {
		now[k] = v
	}
	c.rows[path[1]] = now
	return c.done(200, method, now)
}

func (c *ledgerCell) done(status int, method string, row map[string]string) ledgerAnswer {
	c.did = append(c.did, ledgerChange{method, row["id"], row["email"], row["name"]})
	return ledgerAnswer{status, row}
}
