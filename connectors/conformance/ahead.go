package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// AsksAhead reads what a query finds, which is want rows of these types and more than a
// page, with a reader that takes the first row only when the second page has been asked
// for. pages says how many have been asked for so far, and is called concurrently.
func AsksAhead(t *testing.T, tab connectors.Table, q connectors.Query, types []pushdown.Type, want int, pages func() int) {
	t.Helper()
	q.Stats = &connectors.Stats{}
	got := 0
	b := rows.NewBuilder(types, func(_ []byte, n int) error {
		if got == 0 {
			require.Eventually(t, func() bool { return pages() >= 2 }, 30*time.Second, time.Millisecond,
				"the next page is not asked for while the first row waits for its reader")
		}
		got += n
		return nil
	}, rows.Options{Reuse: true, First: 1, Next: 1})
	_, err := tab.Scan(t.Context(), q, b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.GreaterOrEqual(t, pages(), 2)
}
