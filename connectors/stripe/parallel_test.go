package stripe

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// shapes of the times at which things were made.
var shapes = map[string]func(i, n int, r *rand.Rand) int64{
	"even":       func(i, _ int, _ *rand.Rand) int64 { return 1_600_000_000 + int64(i)*3000 },
	"growing":    func(i, n int, _ *rand.Rand) int64 { return 1_700_000_000 - int64(n-i)*int64(n-i)/2 },
	"bursts":     func(i, _ int, r *rand.Rand) int64 { return 1_600_000_000 + int64(i/700)*9_000_000 + r.Int64N(500) },
	"one second": func(int, int, *rand.Rand) int64 { return 1_700_000_000 },
	"old import": func(i, n int, r *rand.Rand) int64 {
		if i < n*9/10 {
			return 1_400_000_000 + r.Int64N(100)
		}
		return 1_700_000_000 + int64(i)*60
	},
}

// Whatever the times, every record comes once, and little is asked for in vain.
func TestPartition_EveryRecordOnceAndFewCallsMore(t *testing.T) {
	for name, shape := range shapes {
		for _, n := range []int{0, 1, 99, 100, 101, 350, 1000, 5000} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				s := startFake(t, fake.Options{})
				r := rand.New(rand.NewPCG(1, 1))
				for i := range n {
					s.Put("charges", map[string]any{"created": shape(i, n, r)})
				}
				w := newWorld(t, s)
				table, types := w.table("charges", "id text", "created timestamptz")
				got := w.scan(table, types)
				seen := map[any]bool{}
				for _, row := range got {
					require.False(t, seen[row[0].V], "%v came twice", row[0].V)
					seen[row[0].V] = true
				}
				require.Len(t, got, n)
				pages := max(1, (n+99)/100)
				t.Logf("%d calls for %d pages", len(s.Requests()), pages)
				require.LessOrEqual(t, len(s.Requests()), pages+pages/3+2)
				if n <= 500 {
					require.Len(t, s.Requests(), pages, "nothing is split before it pays")
				}
			})
		}
	}
}

func TestPartition_KeepsBounds(t *testing.T) {
	s := startFake(t, fake.Options{})
	for i := range 3000 {
		s.Put("charges", map[string]any{"created": 1_600_000_000 + i*100})
	}
	w := newWorld(t, s)
	table, types := w.table("charges", "created timestamptz")
	from, to := int64(1_600_000_000+500*100), int64(1_600_000_000+2500*100)
	got := w.scan(table, types, compare(pushdown.GT, 0, types[0], micros(from)), compare(pushdown.LE, 0, types[0], micros(to)))
	require.Len(t, got, 2000)
	require.LessOrEqual(t, len(s.Requests()), 26)
}

// Requests wait side by side.
func TestPartition_ReadsSeveralAtOnce(t *testing.T) {
	s := startFake(t, fake.Options{})
	const n = 5000
	for i := range n {
		s.Put("charges", map[string]any{"created": 1_600_000_000 + i*3000})
	}
	s.Set(func(k *fake.Knobs) { k.Latency = 20 * time.Millisecond })
	for _, parallel := range []string{"1", "6"} {
		w := newWorld(t, s, "parallel", parallel)
		table, types := w.table("charges", "id text")
		s.Forget()
		start := time.Now()
		require.Len(t, w.scan(table, types), n)
		_, peak := s.Running()
		t.Logf("%s at once: %s, %d calls, at most %d at the same time", parallel, time.Since(start).Round(time.Millisecond), len(s.Requests()), peak)
		if parallel == "1" {
			require.Equal(t, 1, peak)
		} else {
			// Not all are under way at one moment on a machine that is busy.
			require.Greater(t, peak, 2)
			require.LessOrEqual(t, peak, 6)
		}
	}
}
