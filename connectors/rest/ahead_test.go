package rest

// When pages are asked for, and when their rows are handed over.

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const aheadManifest = "manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next}" + apiObjects

// within tells whether something comes true in the time that a busy machine may take.
func within(is func() bool) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

func scanTo(t *testing.T, a *api, batch int, sink rows.Sink) error {
	t.Helper()
	return scanBy(t, a, aheadManifest, batch, sink)
}

func scanBy(t *testing.T, a *api, manifest string, batch int, sink rows.Sink) error {
	t.Helper()
	tab := openTable(t, openSource(t, []byte(manifest), a.URL, nil), "things")
	b := rows.NewBuilder([]pushdown.Type{tab.columns[1].spec.Type}, sink, rows.Options{Reuse: true, First: batch, Next: batch})
	_, err := tab.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: []int{1}}, Stats: &connectors.Stats{}}, b)
	return err
}

// A reader that takes the first row only when the second page has been asked for is
// not waited for in vain, whatever leads from page to page.
func TestScan_TheNextPageIsAskedForBeforeTheLastIsTaken(t *testing.T) {
	for _, paging := range []string{
		"{style: cursor, param: after, cursor: next}", `{style: cursor, param: starting_after, cursor: "{key}", more: has_more}`,
		"{style: page, param: page}", "{style: offset, param: offset}", "{style: link}", "{style: link, cursor: next_url}",
	} {
		t.Run(paging, func(t *testing.T) {
			a := newAPI(t, 30, 10)
			var asked atomic.Int64
			a.spoil = func(*http.Request, map[string]any) { asked.Add(1) }
			taken := 0
			manifest := "manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 10}}\npaging: " + paging + apiObjects
			err := scanBy(t, a, manifest, 1, func(_ []byte, n int) error {
				if taken == 0 && !within(func() bool { return asked.Load() >= 2 }) {
					return fmt.Errorf("%d pages were asked for", asked.Load())
				}
				taken += n
				return nil
			})
			if err != nil || taken != 30 {
				t.Errorf("%d rows, %v", taken, err)
			}
		})
	}
}

// No page's rows wait for the next page, however many there were before that went
// quickly.
func TestScan_RowsDoNotWaitForTheNextPage(t *testing.T) {
	const n = 400
	a := newAPI(t, n, 10)
	var taken, late atomic.Int64
	a.spoil = func(*http.Request, map[string]any) {
		// The answer waits for all rows of the pages before.
		before := int64(len(a.requests)-1) * 10
		if late.Load() == 0 && !within(func() bool { return taken.Load() >= before }) {
			late.Add(1)
		}
	}
	err := scanTo(t, a, 0, func(_ []byte, n int) error { taken.Add(int64(n)); return nil })
	if err != nil || taken.Load() != n || late.Load() != 0 {
		t.Errorf("%d rows, %d pages came before rows, %v", taken.Load(), late.Load(), err)
	}
}

// A reader that turns slow in the middle gets all rows.
func TestScan_ReaderThatTurnsSlow(t *testing.T) {
	const n = 300
	a := newAPI(t, n, 10)
	taken := 0
	err := scanTo(t, a, 0, func(_ []byte, n int) error {
		if taken += n; taken > 200 {
			time.Sleep(2 * quickly)
		}
		return nil
	})
	if err != nil || taken != n || len(a.requests) != n/10 {
		t.Errorf("%d rows, %d requests, %v", taken, len(a.requests), err)
	}
}
