// Counts of what the cache does here. Hits are not among them: a backend that
// finds its rows asks nobody.

package bridge

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/hallwaydb/hallway/sidecar/cache/flight"
)

// CacheStats counts since the start, but for what says now.
type CacheStats struct {
	// Flights are scans for the cache: Begun are those that called the API,
	// which were misses, and Joined misses that found one under way, here or in
	// another sidecar.
	Flights flight.Stats
	// Fills that were kept and their Rows, and why others were not.
	Fills, Rows uint64
	NotKept     map[string]uint64
	// Queued are writes that cache tables do not show yet, now. Applied are rows
	// written there, Invalidated how often regions went instead.
	Queued               int
	Applied, Invalidated uint64
}

// NotKeptReasons are all keys of CacheStats.NotKept.
func NotKeptReasons() []string {
	return []string{reasonBehind, reasonBusy, reasonDuplicate, reasonError, reasonLimit, reasonLocked, reasonOvertaken,
		reasonReplica, reasonScan, reasonShape, reasonStandby, reasonUnreachable, reasonUnsure}
}

type keepStats struct {
	fills, rows atomic.Uint64
	// Flights that called the API, and those whose rows another sidecar has fetched.
	asked, elsewhere atomic.Uint64

	mu  sync.Mutex
	not map[string]uint64
}

func (k *keepStats) failed(reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.not == nil {
		k.not = map[string]uint64{}
	}
	k.not[reason]++
}

func (s *Server) cacheStats() CacheStats {
	s.keeping.mu.Lock()
	not := maps.Clone(s.keeping.not)
	s.keeping.mu.Unlock()
	flights := s.flights.Stats()
	flights.Begun = s.keeping.asked.Load()
	flights.Joined += s.keeping.elsewhere.Load()
	return CacheStats{Flights: flights, Fills: s.keeping.fills.Load(), Rows: s.keeping.rows.Load(), NotKept: not,
		Queued: s.queue.len(), Applied: s.queue.applied.Load(), Invalidated: s.queue.invalidated.Load()}
}
