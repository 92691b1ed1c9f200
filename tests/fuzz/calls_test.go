package fuzz

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// callBound holds queries to the calls that they need.
type callBound struct {
	calls, needed int // in all
	last          [][2]int
}

// add a query's calls. It is held to its bound together with the few before it: of a
// scan that ended early, a page that had been asked for may arrive with the next
// query.
func (b *callBound) add(t *testing.T, calls, needed int, what any) {
	t.Helper()
	b.calls, b.needed = b.calls+calls, b.needed+needed
	if b.last = append(b.last, [2]int{calls, needed}); len(b.last) > 10 {
		b.last = b.last[1:]
	}
	made, may := 0, 0
	for _, q := range b.last {
		made, may = made+q[0], may+q[1]
	}
	require.LessOrEqual(t, made, may, "calls of the last %d queries and what their pages and refusals take: no page is asked for in vain, and none twice; the last one's are %+v", len(b.last), what)
}
