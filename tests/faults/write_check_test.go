// What must hold of each cell of the write matrix when everybody is back.

package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// openEntries are those with which something is to be done still.
const openEntries = `SELECT table_name, operation, row_number, state, coalesce(message, ''), attempts, next_attempt - now() FROM hallway.write_log
WHERE settled_at IS NULL AND state <> 'needs_attention' ORDER BY id`

// settled waits until the journal has nothing open: within a minute of everybody's
// being back.
func (w *writeWorld) settled() {
	w.t.Helper()
	c := w.db.Connect(w.t)
	var open []harness.Row
	for time.Since(w.back) < 3*time.Minute {
		if open = c.Query(openEntries); len(open) == 0 {
			w.t.Logf("everything is settled %s after the last one was back", time.Since(w.back).Round(100*time.Millisecond))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = w.sidecar.Signal(syscall.SIGQUIT) // what it waits for is in its log then
	_ = harness.Eventually(context.Background(), 5*time.Second, w.sidecar.Exited)
	w.t.Errorf("%d entries are open a minute after everybody is back:\n%v\nthe sidecar says\n%s", len(open), open, harness.Tail(w.sidecar.Log, 60000))
}

// undoubted says that of such a cell nothing may be left to people: the API tells
// by its idempotency key, a unique field or the row's key what it has done. Only
// the INSERT into an object with none of these may stay in doubt, if the API has
// such a row and its answer was not journaled.
func (c *cell) undoubted() bool { return c.object != "bare" || !c.answerMayBeLost() }

// answerMayBeLost says that the API may have done the write, and its answer be
// nowhere: also where a sidecar that wakes up sends it before it hears that nobody
// waits, or where what holds an intent goes first when all backends go.
func (c *cell) answerMayBeLost() bool {
	switch c.point {
	case beforeIntent, afterIntent:
		return c.victim == sidecarHung || c.victim == postgresStopped || c.victim == backendKilled
	case outcomeWritten:
		return false
	}
	return true
}

// createdInDoubt says that the answer may be lost which tells whether an upsert made
// the row that it is to be undone for.
func (c *cell) createdInDoubt() bool {
	return c.op == upsertNew && c.object == "upserting" && c.answerMayBeLost()
}

// check compares the API, the journal and the local rows.
func (w *writeWorld) check(t *testing.T, c *cell) {
	conn := w.db.Connect(t)
	marked := conn.Value("SELECT count(*) FROM done WHERE cell = %d", c.n) == "1"
	entries := conn.Query("SELECT row_number, state, coalesce(message, ''), coalesce(todo, ''), coalesce(key::text, '') FROM hallway.write_log WHERE table_name = 'public.%s' ORDER BY id", c.table)
	w.api.mu.Lock()
	api := w.api.cells[c.table]
	did, lost := slices.Clone(api.did), api.lost
	rows := map[string]string{} // name by email
	twice := 0
	if w.api.pocket != nil {
		api.rows = w.api.pocket.rows(t, c)
	}
	for _, row := range api.rows {
		if _, ok := rows[row["email"]]; ok {
			twice++
		}
		rows[row["email"]] = row["name"]
	}
	w.api.mu.Unlock()
	said := w.said[c]
	defer func() {
		if t.Failed() {
			t.Logf("marked %t, told %+v\njournal %v\nAPI did %v\nand has %v", marked, said, entries, did, rows)
		}
	}()

	// The local transaction did what its session was told.
	commits := !c.shape.fails()
	if said.committed && len(said.errs) == 0 && (c.shape != blockNested || !c.point.inStatement()) {
		// What a block catches nobody is told of.
		require.Equal(t, commits, marked, "COMMIT was confirmed")
	}
	if said.writing != nil && said.failed && c.shape != writeAtCommit {
		require.False(t, marked, "the statement failed")
	}
	if !commits {
		require.False(t, marked, "it was taken back")
	}

	require.Zero(t, twice, "rows that are there twice")
	byRow := map[string]harness.Row{}
	for _, e := range entries {
		require.NotContains(t, byRow, e[0], "two entries of a row")
		byRow[e[0]] = e
	}
	want := map[string]string{"a@old": "old", "b@old": "old", "c@old": "old"}
	for n := 1; n <= c.rows(); n++ {
		forward, back := c.counts(did, n)
		require.LessOrEqual(t, forward, 1, "row %d was written more than once", n)
		require.LessOrEqual(t, back, 1, "row %d was undone more than once", n)
		done := func(wantForward, wantBack int, what string) {
			if !lost {
				require.Equal(t, []int{wantForward, wantBack}, []int{forward, back}, "row %d is %s", n, what)
			}
			c.apply(want, n, wantForward > wantBack)
		}
		e, journaled := byRow[fmt.Sprint(n)]
		if !journaled {
			require.Zero(t, forward, "row %d was written, and the journal does not know", n)
			require.False(t, marked, "the statement of row %d has committed, and the journal does not know of it", n)
			continue
		}
		switch state := e[1]; state {
		case "applied":
			require.True(t, marked, "the transaction of row %d was rolled back, and its entry does not say so", n)
			done(1, 0, state)
		case "refused":
			done(0, 0, state)
			require.False(t, marked, "the statement of row %d has committed", n)
		case "orphaned":
			if !c.createdInDoubt() {
				require.Equal(t, policyKeep, c.policy, "row %d was not undone: %s", n, e[2])
			} else if c.policy == policyCompensate {
				require.Contains(t, e[2], "whether this write made")
			}
			require.False(t, marked, "the transaction of row %d has committed", n)
			done(1, 0, state)
		case "compensated":
			require.Equal(t, policyCompensate, c.policy)
			require.False(t, marked, "row %d was undone although its transaction has committed", n)
			done(1, 1, state)
		case "needs_attention":
			require.False(t, c.undoubted(), "row %d is left to people: %s", n, e[3])
			require.NotEmpty(t, e[3], "what is to be done about row %d", n)
			done(1, 0, state)
			w.doubtful = append(w.doubtful, c.String())
		default:
			require.Fail(t, "the entry is open", "row %d: %v", n, e)
		}
	}
	require.Equal(t, want, rows, "what the API has")
}

// counts says how often row n was written, and how often that was taken back.
func (c *cell) counts(did []ledgerChange, n int) (forward, back int) {
	email := fmt.Sprint("new", n)
	for _, d := range did {
		switch {
		case (c.op == update || c.op == upsertOld || c.op == archive) && d.method == "PATCH" && d.id == "a":
			if d.name != "old" {
				forward++
			} else {
				back++
			}
		case c.op == remove && d.method == "DELETE" && d.email == "a@old":
			forward++
		case c.op == remove && d.method == "POST" && d.email == "a@old":
			back++
		case (c.op.inserts() || c.op == upsertNew) && d.email == email && d.method == "POST":
			forward++
		case (c.op.inserts() || c.op == upsertNew) && d.email == email && d.method == "DELETE":
			back++
		}
	}
	return forward, back
}

// apply is the write of row n to what the API should have.
func (c *cell) apply(want map[string]string, n int, stands bool) {
	switch {
	case !stands:
	case c.op == update || c.op == upsertOld:
		want["a@old"] = "changed"
	case c.op == archive:
		want["a@old"] = "archived"
	case c.op == remove:
		delete(want, "a@old")
	default:
		want[strings.Join([]string{"new", fmt.Sprint(n)}, "")] = "new"
	}
}
