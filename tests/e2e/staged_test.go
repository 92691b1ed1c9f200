package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

const stagedManifest = `manifest: 1
name: Staged
read: {items: items}
create: {batch: {path: "{path}", max: 10, atomic: true, list: rows, answers: {path: rows}, errors: {path: errors}}}
errors: {message: [message]}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text, read_only: true}
      name: {type: text}
`

// stagedAPI takes ten rows at once. A name "bad" is refused, "hang" is not answered.
type stagedAPI struct {
	*httptest.Server
	mu    sync.Mutex
	names []string // of the rows that it has
	calls int
	delay time.Duration
	hung  chan struct{} // something hangs
	// seen is called with each request, before it has an effect.
	seen func(call int)
}

func (a *stagedAPI) serve(w http.ResponseWriter, r *http.Request) {
	type row struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var body struct {
		Rows []row `json:"rows"`
	}
	text, err := io.ReadAll(r.Body) // all of it, so that a client that goes is noticed
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.seen != nil {
		a.seen(a.calls)
	}
	time.Sleep(a.delay)
	w.Header().Set("Content-Type", "application/json")
	for i := range body.Rows {
		switch body.Rows[i].Name {
		case "bad":
			w.WriteHeader(422)
			_, _ = fmt.Fprintf(w, `{"errors": {"%d": {"message": "bad name"}}}`, i)
			return
		case "hang":
			close(a.hung)
			<-r.Context().Done()
			return
		}
		body.Rows[i].ID = fmt.Sprint(len(a.names) + i + 1)
	}
	for _, row := range body.Rows {
		a.names = append(a.names, row.Name)
	}
	_ = json.NewEncoder(w).Encode(body)
}

// startStaged makes table things of the API, and gives its entries in the journal
// by state.
func startStaged(t *testing.T) (a *stagedAPI, c, other *harness.Conn, states func() string) {
	t.Helper()
	a = &stagedAPI{hung: make(chan struct{})}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	dir, err := env.Mkdir("manifests")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "staged.yaml"), []byte(stagedManifest), 0o644))
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Manifests: dir})
	db := env.Database(t)
	c, other = db.Connect(t), db.Connect(t)
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%s', manifest 'staged.yaml', base_url '%s');
		CREATE USER MAPPING FOR PUBLIC SERVER api; CREATE FOREIGN TABLE things (id text, name text) SERVER api`, sidecar.Address(), a.URL)
	return a, c, other, func() string {
		return other.Value(`SELECT string_agg(state || ' ' || n, ', ' ORDER BY state)
			FROM (SELECT state, count(*) AS n FROM hallway.write_log GROUP BY state) s`)
	}
}

func things(from, to int) []string {
	var names []string
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprint("t", i))
	}
	return names
}

// What was committed ahead and is not sent is settled as such.
func settled(t *testing.T, states func() string, want string) {
	t.Helper()
	exactly := regexp.MustCompile("^(?:" + want + ")$")
	require.Eventually(t, func() bool { return exactly.MatchString(states()) }, 30*time.Second, 20*time.Millisecond, "%s", want)
}

// Rows are journaled before their request, and there is one for each ten.
func TestStaged_JournaledBeforeTheyAreSent(t *testing.T) {
	a, c, _, states := startStaged(t)
	a.seen = func(call int) {
		var pending, applied int
		for s := range strings.SplitSeq(states(), ", ") {
			_, _ = fmt.Sscanf(s, "pending %d", &pending)
			_, _ = fmt.Sscanf(s, "applied %d", &applied)
		}
		if pending+applied < min(10*call, 235) {
			t.Errorf("request %d was sent with %d pending and %d applied rows in the journal", call, pending, applied)
		}
	}
	plan := c.Query("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO things (name) SELECT 't' || i FROM generate_series(1, 235) i")
	require.Equal(t, things(1, 235), a.names)
	require.Equal(t, 24, a.calls)
	require.True(t, slices.ContainsFunc(plan, func(r harness.Row) bool {
		return contains(r.String(), " rows=235 calls=24")
	}), "%v", plan)
	settled(t, states, "applied 235")
}

// A refused row ends it, whatever was prepared.
func TestStaged_NothingIsSentAfterARefusedRow(t *testing.T) {
	a, c, _, states := startStaged(t)
	c.Exec("INSERT INTO things (name) SELECT 't' || i FROM generate_series(1, 60) i") // so that it knows the API's pace
	e := c.Fails("23514", "INSERT INTO things (name) SELECT CASE i WHEN 115 THEN 'bad' ELSE 't' || i END FROM generate_series(61, 400) i")
	require.True(t, contains(e.Detail, "Row 55 of the statement."), e.Detail)
	require.Equal(t, things(1, 110), a.names)
	require.Equal(t, 6+6, a.calls)
	settled(t, states, "applied 60, orphaned 50, refused [1-5][0-9]")
}

// An API that takes its time gets one call of the sidecar for some of its own, and
// none of its rows is journaled twice.
func TestStaged_SlowAPI(t *testing.T) {
	a, c, _, states := startStaged(t)
	a.delay = 60 * time.Millisecond
	c.Exec("INSERT INTO things (name) SELECT 't' || i FROM generate_series(1, 220) i")
	require.Equal(t, things(1, 220), a.names)
	require.Equal(t, 22, a.calls)
	settled(t, states, "applied 220")
	require.Equal(t, "t", c.Value("SELECT count(DISTINCT idempotency_key) > 3 FROM hallway.write_log"), "more calls than portions of 100 rows")
}

// Of a call that is broken off, only the rows under way are in doubt.
func TestStaged_BrokenOff(t *testing.T) {
	a, c, other, states := startStaged(t)
	pid := c.Value("SELECT pg_backend_pid()")
	done := make(chan error, 1)
	go func() {
		_, err := c.Try("INSERT INTO things (name) SELECT CASE i WHEN 25 THEN 'hang' ELSE 't' || i END FROM generate_series(1, 80) i")
		done <- err
	}()
	<-a.hung
	other.Exec("SELECT pg_cancel_backend(%s)", pid)
	require.Error(t, <-done)
	settled(t, states, "(needs_attention 10, )?orphaned 20(, refused [1-5]?[0-9])?(, unknown 10)?")
	require.Equal(t, "0", c.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'refused' AND message <> 'It was not sent.'"))
	require.Equal(t, "{21,22,23,24,25,26,27,28,29,30}",
		c.Value("SELECT array_agg(row_number ORDER BY row_number) FROM hallway.write_log WHERE state NOT IN ('orphaned', 'refused')"))
}
