package rest

import (
	"fmt"
	"testing"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

func TestKeeps(t *testing.T) {
	manifest := `manifest: 1
name: T
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text}
      ms: {type: datetime, keeps: milliseconds}
      all: {type: datetime}
      unix: {type: datetime, format: unix}
      clock: {type: time, keeps: seconds}
      phone: {type: text, missing: empty}
      name: {type: text}
      tags: {type: text, list: true, missing: empty}
      n: {type: integer}
`
	tab := openTable(t, openSource(t, []byte(manifest), "http://127.0.0.1:1", nil), "things")
	const s = int64(1_000_000)
	for _, c := range []struct {
		column     string
		has, given any
		want       bool
	}{
		{"ms", 5 * s, 5*s + 999, true},      // cut off
		{"ms", 5*s + 1000, 5*s + 999, true}, // rounded
		{"ms", 5*s + 1000, 5*s + 499, false},
		{"ms", 5 * s, 5*s + 1000, false},
		{"ms", 5*s + 1000, 5 * s, false},
		{"ms", -5*s - 1000, -5*s - 1, true},
		{"ms", -5 * s, -5*s - 1, true},
		{"ms", -5 * s, -5*s - 501, false},
		{"ms", nil, 5 * s, false},
		{"ms", 5 * s, nil, false},
		{"all", 5 * s, 5*s + 1, false},
		{"unix", 5 * s, 5*s + 999_999, true},
		{"unix", 5 * s, 6 * s, false},
		{"clock", 5 * s, 5*s + 1, true},
		{"phone", nil, "", true},
		{"phone", "1", "", false},
		{"phone", nil, "1", false},
		{"phone", "", nil, false},
		{"name", nil, "", false},
		{"tags", nil, []pushdown.Value{}, false},
		{"n", int64(1), int64(2), false},
	} {
		got := tab.Keeps(tab.index(c.column), pushdown.Value{V: c.has}, pushdown.Value{V: c.given})
		if got != c.want {
			t.Errorf("%s: has %s, given %s: %v", c.column, fmt.Sprint(c.has), fmt.Sprint(c.given), got)
		}
	}
}
