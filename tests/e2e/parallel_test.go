package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

const parallelManifest = `manifest: 1
name: Parallel
read: {items: rows}
create: %s
errors: {message: [message]}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text, read_only: true}
      name: {type: text}
`

// parallelAPI answers none of three requests before they are all there, and refuses
// those with a row "bad".
type parallelAPI struct {
	mu    sync.Mutex
	came  *sync.Cond
	names []string // of the rows that it has
	calls int
	under int
	most  int
	over  bool
}

func (a *parallelAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type row struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var one row
	var body struct {
		Rows []row `json:"rows"`
	}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err == nil && r.URL.Path == "/things" {
		err = json.Unmarshal(text, &one)
		body.Rows = []row{one}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	a.under++
	defer func() { a.under-- }()
	a.most = max(a.most, a.under)
	a.came.Broadcast()
	for all := (a.calls + 2) / 3 * 3; a.calls < all && !a.over; {
		a.came.Wait()
	}
	w.Header().Set("Content-Type", "application/json")
	for i := range body.Rows {
		if body.Rows[i].Name == "bad" {
			w.WriteHeader(422)
			_, _ = io.WriteString(w, `{"message": "bad name"}`)
			return
		}
		body.Rows[i].ID = "id of " + body.Rows[i].Name
	}
	for _, row := range body.Rows {
		a.names = append(a.names, row.Name)
	}
	if r.URL.Path == "/things" {
		_ = json.NewEncoder(w).Encode(body.Rows[0])
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

// Requests of one statement are under way together up to the manifest's bound, with
// many rows or with one. The statement's error is that of its first refused row,
// whichever is answered first, and the journal knows what became of those beside it.
func TestParallelWrites(t *testing.T) {
	for _, c := range []struct {
		name, create string
		calls        int // of 12 rows
		// of a statement whose row 5 is refused, and perhaps row 6: what is done.
		done, doneBoth []string
	}{
		{"one by one", "{parallel: 3}", 12, []string{"t1", "t2", "t3", "t4", "t6"}, []string{"t1", "t2", "t3", "t4"}},
		{"in batches", `{batch: {path: "{path}/batch", max: 2, parallel: 3, list: rows, answers: {path: rows}}}`, 6,
			[]string{"t1", "t2", "t3", "t4"}, []string{"t1", "t2", "t3", "t4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &parallelAPI{}
			a.came = sync.NewCond(&a.mu)
			srv := httptest.NewServer(a)
			t.Cleanup(srv.Close)
			// Whatever is missing is not waited for forever.
			giveUp := func() { a.mu.Lock(); a.over = true; a.came.Broadcast(); a.mu.Unlock() }
			late := time.AfterFunc(harness.Timeout, giveUp)
			t.Cleanup(func() { late.Stop(); giveUp() })
			dir, err := env.Mkdir("manifests")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "parallel.yaml"), fmt.Appendf(nil, parallelManifest, c.create), 0o644))
			sidecar := env.NewSidecar(t, harness.SidecarSettings{Manifests: dir})
			conn := env.Database(t).Connect(t)
			conn.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%s', manifest 'parallel.yaml', base_url '%s');
				CREATE USER MAPPING FOR PUBLIC SERVER api; CREATE FOREIGN TABLE things (id text, name text) SERVER api`, sidecar.Address(), srv.URL)
			has := func() (names []string, calls int) {
				a.mu.Lock()
				defer a.mu.Unlock()
				names, calls = a.names, a.calls
				slices.Sort(names)
				a.names, a.calls = nil, 0
				return names, calls
			}
			journal := func(want string) {
				t.Helper()
				var got string
				require.Eventually(t, func() bool {
					got = conn.Value(`SELECT string_agg(state || ' ' || row_number || coalesce(' ' || key[1], ''), ', ' ORDER BY row_number)
						FROM hallway.write_log WHERE message IS NULL OR message NOT LIKE '%%not sent%%'`)
					return got == want
				}, 30*time.Second, 20*time.Millisecond, "%s", want)
				require.Equal(t, "0", conn.Value("SELECT count(*) FROM hallway.write_log WHERE message LIKE '%%not sent%%' AND state <> 'refused'"))
				conn.Exec("DELETE FROM hallway.write_log")
			}

			conn.Exec("INSERT INTO things (name) SELECT 't' || i FROM generate_series(1, 12) i")
			names, calls := has()
			require.ElementsMatch(t, things(1, 12), names)
			require.Equal(t, c.calls, calls)
			// What RETURNING would have made twelve calls of the sidecar for.
			require.Eventually(t, func() bool {
				return conn.Value("SELECT array_agg(row_number || ' ' || key[1] ORDER BY row_number) = (SELECT array_agg(i || ' id of t' || i) FROM generate_series(1, 12) i) FROM hallway.my_writes() WHERE state = 'applied'") == "t"
			}, 30*time.Second, 20*time.Millisecond)
			var states []string
			for i := 1; i <= 12; i++ {
				states = append(states, fmt.Sprintf("applied %d id of t%d", i, i))
			}
			journal(strings.Join(states, ", "))

			for _, both := range []bool{false, true} {
				want, second := c.done, 5
				if both {
					want, second = c.doneBoth, 6
				}
				e := conn.Fails("23514", "INSERT INTO things (name) SELECT CASE WHEN i IN (5, %d) THEN 'bad' ELSE 't' || i END FROM generate_series(1, 12) i", second)
				require.Contains(t, e.Detail, "Row 5 of the statement.")
				names, _ := has()
				require.Equal(t, want, names, "nothing is sent after what was under way at the refusal")
				states := []string{}
				for i := 1; i <= 6; i++ {
					name := fmt.Sprint("t", i)
					if slices.Contains(want, name) {
						states = append(states, fmt.Sprintf("orphaned %d id of %s", i, name))
					} else {
						states = append(states, fmt.Sprintf("refused %d", i))
					}
				}
				journal(strings.Join(states, ", "))
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			require.Equal(t, 3, a.most, "requests under way at once")
			require.False(t, a.over, "three were not under way at once")
		})
	}
}
