package rest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
)

// keyedCreate is an API that takes three rows at once, and knows keys.
const keyedCreate = "manifest: 1\nname: T\ncreate: {idempotency_header: Idempotency-Key, idempotency_replays: true, batch: {path: /batch, max: 3, list: l, answers: {path: l}%s}}"

func (s *script) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, h := range s.header {
		out = append(out, h.Get("Idempotency-Key"))
	}
	return out
}

// What is said beforehand of the requests is what is sent.
func TestRequestKeys(t *testing.T) {
	ok := func(n int) answer {
		return answer{200, `{"l":[` + strings.TrimSuffix(strings.Repeat(`{"id":"1"},`, n), ",") + `]}`, ""}
	}
	single := answer{200, `{"id":"1"}`, ""}
	names := []any{"a", "b", "c", "d", "e", "f", "g"}
	for _, c := range []struct {
		name, manifest string
		rows           int
		answers        []answer
		want           string
	}{
		{"batches", fmt.Sprintf(keyedCreate, ""), 7, []answer{ok(3), ok(3), single}, "k-0-3 k-0-3 k-0-3 k-3-3 k-3-3 k-3-3 k-6"},
		{"at once", fmt.Sprintf(keyedCreate, ", parallel: 4"), 6, []answer{ok(3), ok(3)}, "k-0-3 k-0-3 k-0-3 k-3-3 k-3-3 k-3-3"},
		{"a row alone in a batch", fmt.Sprintf(keyedCreate, ", alone: true"), 4, []answer{ok(3), ok(1)}, "k-0-3 k-0-3 k-0-3 k-3-1"},
		{"few bytes", fmt.Sprintf(keyedCreate, ", max_bytes: 30"), 3, []answer{ok(2), single}, "k-0-2 k-0-2 k-2"},
		{"one row", fmt.Sprintf(keyedCreate, ""), 1, []answer{single}, "k-0"},
		{"one by one", "manifest: 1\nname: T\ncreate: {idempotency_header: Idempotency-Key, idempotency_replays: true}", 2, []answer{single, single}, "k-0 k-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.answers...)
			tab := openTable(t, openSource(t, []byte(c.manifest+writeObjects), s.URL, nil), "things")
			b, _ := many(tab, connectors.Insert, nil, names[:c.rows])
			keys, err := tab.RequestKeys(b)
			if err != nil || strings.Join(keys, " ") != c.want || len(s.lines()) > 0 {
				t.Fatalf("got %v %q, want %q", err, keys, c.want)
			}
			if err := tab.Modify(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			sent := map[string]bool{}
			for _, k := range s.keys() {
				sent[k] = true
			}
			for _, k := range keys {
				if !sent[k] {
					t.Errorf("%q was not sent: %q", k, s.keys())
				}
			}
			if len(sent) != len(c.answers) {
				t.Errorf("sent %q", s.keys())
			}
		})
	}
}

// A request that is sent again by itself is the same one, or none.
func TestAgain(t *testing.T) {
	answers := []answer{{200, `{"l":[{},{},{}]}`, ""}, {200, `{"l":[{},{}]}`, ""}, {200, `{"l":[{},{}]}`, ""}}
	s := newScript(t, answers...)
	tab := openTable(t, openSource(t, []byte(fmt.Sprintf(keyedCreate, "")+writeObjects), s.URL, nil), "things")
	b, _ := many(tab, connectors.Insert, nil, []any{"a", "b", "c", "d", "e"})
	if err := tab.Modify(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	again := func(tab *table) error {
		b, _ := many(tab, connectors.Insert, nil, []any{"d", "e"})
		b.FirstRow, b.Again = 3, "k-3-2"
		return tab.Modify(context.Background(), b)
	}
	if err := again(tab); err != nil {
		t.Fatal(err)
	}
	if lines, keys := s.lines(), s.keys(); len(lines) != 3 || lines[2] != lines[1] || keys[2] != keys[1] {
		t.Errorf("got %q with %q", lines, keys)
	}
	// Another manifest would make another request of it.
	for _, change := range []string{`{idempotency_header: Idempotency-Key, idempotency_replays: true}`,
		`{idempotency_header: Idempotency-Key, idempotency_replays: true, batch: {path: /batch, max: 3, max_bytes: 20, list: l, answers: {path: l}}}`} {
		tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: "+change+writeObjects), s.URL, nil), "things")
		var e *connectors.Error
		if err := again(tab); !errors.As(err, &e) || e.Class != connectors.NotSupported || len(s.lines()) != 3 {
			t.Errorf("%s: got %v, asked %q", change, err, s.lines())
		}
	}
}

// A batch that is refused for what it is goes row by row, and what comes after it as
// its keys say.
func TestAgain_WhereABatchIsNotTaken(t *testing.T) {
	big, row := answer{413, `{}`, ""}, answer{200, `{}`, ""}
	s := newScript(t, big, row, row, row, answer{200, `{"l":[{},{}]}`, ""}, big, row, row, row)
	tab := openTable(t, openSource(t, []byte(fmt.Sprintf(keyedCreate, "")+writeObjects), s.URL, nil), "things")
	b, _ := many(tab, connectors.Insert, nil, []any{"a", "b", "c", "d", "e"})
	if err := tab.Modify(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.keys(), " "); got != "k-0-3 k-0 k-1 k-2 k-3-2" {
		t.Errorf("got %q", got)
	}
	b, _ = many(tab, connectors.Insert, nil, []any{"a", "b", "c"})
	b.Again = "k-0-3"
	if err := tab.Modify(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.keys()[5:], " "); got != "k-0-3 k-0 k-1 k-2" {
		t.Errorf("again: %q", got)
	}
}
