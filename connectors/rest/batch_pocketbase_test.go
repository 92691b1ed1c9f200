package rest

// Batches against a real PocketBase.

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// countedCRM is table companies behind something that counts: batches, and
// other writes.
func countedCRM(t *testing.T) (tab *table, batches, others *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(startPocketBase(t).url)
	if err != nil {
		t.Fatal(err)
	}
	batches, others = &atomic.Int64{}, &atomic.Int64{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/batch":
			batches.Add(1)
		case strings.Contains(r.URL.Path, "/records") && r.Method != http.MethodGet:
			others.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	text, err := os.ReadFile("../../examples/pocketbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	src := openSource(t, text, front.URL, map[string]string{"user": "writer@hallway.example", "password": "writer-password"})
	return openTable(t, src, "companies"), batches, others
}

// companies makes a batch that writes these domains; the columns industry and
// employees are the same in all.
func companies(tab *table, op connectors.Operation, keys []any, domains []string, returning ...string) (*connectors.Batch, *[][]pushdown.Value) {
	b, got := many(tab, op, keys, make([]any, len(domains)), returning...)
	if op == connectors.Delete {
		return b, got
	}
	b.Columns = []int{tab.index("name"), tab.index("domain"), tab.index("industry"), tab.index("employees")}
	for i, d := range domains {
		b.Rows[i].Values = []pushdown.Value{{V: "n " + d}, {V: d}, {V: "software"}, {V: int64(i)}}
	}
	return b, got
}

func countRows(t *testing.T, tab *table) int {
	t.Helper()
	got, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	if err != nil {
		t.Fatal(err)
	}
	return len(got)
}

func TestBatch_PocketBase(t *testing.T) {
	const n, size = 250, 50
	tab, batches, others := countedCRM(t)
	if got := tab.Describe().BatchRows; got != (connectors.BatchRows{Insert: size, Update: size, Delete: size}) {
		t.Fatalf("batch rows: %+v", got)
	}
	before := countRows(t, tab)
	var domains []string
	for i := range n {
		domains = append(domains, fmt.Sprintf("d%d.batch.example", i))
	}
	run := func(what string, b *connectors.Batch, got *[][]pushdown.Value, wantBatches int64) [][]pushdown.Value {
		t.Helper()
		batches.Store(0)
		others.Store(0)
		if err := tab.Modify(context.Background(), b); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := b.Returning.Flush(); err != nil {
			t.Fatal(err)
		}
		for i, r := range b.Results {
			if r.Outcome != connectors.Applied {
				t.Fatalf("%s: row %d: %+v", what, i, r)
			}
		}
		if batches.Load() != wantBatches || others.Load() != 0 {
			t.Errorf("%s: %d batches and %d other writes, want %d and none", what, batches.Load(), others.Load(), wantBatches)
		}
		return *got
	}

	b, got := companies(tab, connectors.Insert, nil, domains, "id", "domain", "employees")
	var keys []any
	for i, row := range run("insert", b, got, n/size) {
		keys = append(keys, row[0].V)
		if row[1].V != domains[i] || row[2].V != int64(i) {
			t.Fatalf("row %d returned %v", i, row)
		}
	}
	if len(keys) != n || countRows(t, tab) != before+n {
		t.Fatalf("%d keys, %d rows after %d", len(keys), countRows(t, tab), before)
	}

	// The last row's domain is the first's: what was before it stays, its batch
	// does not.
	again := make([]string, 120)
	for i := range again {
		again[i] = fmt.Sprintf("again%d.batch.example", i)
	}
	again[70] = domains[0]
	b, got = companies(tab, connectors.Insert, nil, again, "domain")
	batches.Store(0)
	if err := tab.Modify(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := b.Returning.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, r := range b.Results {
		var ok bool
		switch {
		case i < 50:
			ok = r.Outcome == connectors.Applied
		case i == 70:
			ok = r.Outcome == connectors.Refused && !r.Bystander && r.Err.Class == connectors.UniqueViolation && r.Err.Column == "domain" &&
				r.Err.Message == `Failed to create record: "domain": Value must be unique` &&
				r.Err.Detail == "POST /api/batch answered 400 for row 71, code validation_not_unique."
		case i < 100:
			ok = r.Bystander && r.Err.Message == "not applied, because row 71 was refused"
		default:
			ok = r.Bystander && r.Err.Message == "not sent, because row 71 was refused"
		}
		if !ok {
			t.Errorf("row %d: %+v %+v", i, r, r.Err)
		}
	}
	if len(*got) != 50 || batches.Load() != 2 || countRows(t, tab) != before+n+50 {
		t.Errorf("%d returned after %d batches, %d rows more", len(*got), batches.Load(), countRows(t, tab)-before-n)
	}

	// A row that is not there, in the middle: the others are written.
	changed := make([]string, n)
	for i := range changed {
		changed[i] = fmt.Sprintf("changed%d.batch.example", i)
	}
	gone := keys[120]
	if res, _, err := modify(t, tab, connectors.Delete, gone, nil); err != nil || res.Outcome != connectors.Applied {
		t.Fatalf("deleting one: %v %+v", err, res)
	}
	b, got = companies(tab, connectors.Update, keys, changed, "id", "domain")
	batches.Store(0)
	if err := tab.Modify(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := b.Returning.Flush(); err != nil {
		t.Fatal(err)
	}
	var want []any
	for i, r := range b.Results {
		if (i == 120) != (r.Outcome == connectors.NotFound) || (i != 120) != (r.Outcome == connectors.Applied) {
			t.Errorf("row %d: %+v %v", i, r, r.Err)
		}
		if i != 120 {
			want = append(want, keys[i], changed[i])
		}
	}
	for i, row := range *got {
		if row[0].V != want[2*i] || row[1].V != want[2*i+1] {
			t.Fatalf("row %d returned %v", i, row)
		}
	}
	// At most one more than twice that batch: the credential is checked once a minute.
	if len(*got) != n-1 || batches.Load() < 6 || batches.Load() > 7 {
		t.Errorf("%d returned after %d batches", len(*got), batches.Load())
	}

	keys = append(keys[:120], keys[121:]...)
	b, got = companies(tab, connectors.Delete, keys, nil, "domain")
	for i, row := range run("delete", b, got, 5) {
		if row[0].V != want[2*i+1] {
			t.Fatalf("row %d returned %v", i, row)
		}
	}
	if countRows(t, tab) != before+50 {
		t.Errorf("%d rows are left of %d", countRows(t, tab)-before, 50)
	}
	// The table is as it was.
	var rest []any
	left, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0, tab.index("domain")}}})
	for _, row := range left {
		if strings.HasSuffix(row[1].V.(string), ".batch.example") {
			rest = append(rest, row[0].V)
		}
	}
	if err != nil || len(rest) != 50 {
		t.Fatalf("%d rows, %v", len(rest), err)
	}
	b, got = companies(tab, connectors.Delete, rest, nil)
	run("delete the rest", b, got, 1)
}

// PocketBase with its batches off, as it is made, is written row by row.
func TestBatch_PocketBaseWithoutBatches(t *testing.T) {
	p := startPocketBase(t)
	tab, batches, others := countedCRM(t)
	set := func(on bool, most int) {
		p.must(t, "PATCH", "/api/settings", map[string]any{"batch": map[string]any{"enabled": on, "maxRequests": most, "timeout": 30}})
	}
	t.Cleanup(func() { set(true, 50) })
	set(false, 50)
	b, got := companies(tab, connectors.Insert, nil, []string{"off1.example", "off2.example", "off3.example"}, "id")
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "ok | ok | ok" || batches.Load() != 1 || others.Load() != 3 {
		t.Errorf("got %v %s after %d batches and %d others", err, outcomes(b.Results), batches.Load(), others.Load())
	}
	_ = b.Returning.Flush()
	var keys []any
	for _, row := range *got {
		keys = append(keys, row[0].V)
	}
	// With a lower bound than the manifest's it says so.
	set(true, 2)
	b, _ = companies(tab, connectors.Delete, keys, nil)
	want := `no 10 : Invalid batch request data: "requests": The length must be no more than 2`
	if err := tab.Modify(context.Background(), b); err != nil || !strings.HasPrefix(outcomes(b.Results), want) {
		t.Errorf("got %v %s", err, outcomes(b.Results))
	}
	set(true, 50)
	b, _ = companies(tab, connectors.Delete, keys, nil)
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "ok | ok | ok" {
		t.Errorf("got %v %s", err, outcomes(b.Results))
	}
}
