package journal

// What this sidecar knows of its own writes until they are settled: transactions
// with something open, and entries whose outcome it has or waits for.

import (
	"context"
	"time"
)

// noted is an ending that was written.
type noted struct {
	ending
	at time.Time
}

// durableAfter is when what was committed without waiting is surely on disk.
const durableAfter = 10 * time.Second

// note remembers endings that were just written.
func (n *node) note(list []ending) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	old := 0
	for old < len(n.recent) && now.Sub(n.recent[old].at) > durableAfter {
		old++
	}
	n.recent = n.recent[old:]
	for _, e := range list {
		n.recent = append(n.recent, noted{e, now})
	}
}

// track is what is known here of a transaction.
type track struct {
	tables map[tableKey]func(context.Context) (Table, error)
	at     time.Time
	// compensate: some of its rows are to be undone if it is rolled back.
	compensate bool
	// begun and ended count its requests; left: when outcomes were last written,
	// something was open still.
	begun, ended int
	left         bool
}

// tableKey is a foreign table as a role sees it.
type tableKey struct {
	relid uint32
	role  string
}

// began notes entries that were made.
func (n *node) began(list []*intent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.used {
		n.used = true
		n.poke()
	}
	for _, it := range list {
		s := it.w.stmt
		if !s.AfterCommit {
			for _, id := range it.w.ids {
				n.active[id] = struct{}{}
			}
		}
		t := n.tracks[s.XID]
		if t == nil {
			t = &track{tables: map[tableKey]func(context.Context) (Table, error){}}
			n.tracks[s.XID] = t
		}
		t.at, t.compensate = time.Now(), t.compensate || s.Compensate
		t.begun++
		if s.AfterCommit {
			t.ended, t.left = t.ended+1, true
		}
		t.tables[tableKey{s.Relid, s.Role}] = s.Open
	}
}

// settledIDs notes that the outcomes of entries are not this sidecar's alone to
// know.
func (n *node) settledIDs(ids []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		delete(n.active, id)
	}
}

// begun is how many requests of a transaction have begun.
func (n *node) begun(xid uint64) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tracks[xid]; t != nil {
		return t.begun
	}
	return 0
}

// closed forgets a transaction of which nothing was open when so many requests
// of it had begun.
func (n *node) closed(xid uint64, begun int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tracks[xid]; t != nil && t.begun == begun {
		delete(n.tracks, xid)
	}
}

// over notes that the outcomes of a request are written, and whether one of them
// leaves something open; it forgets a transaction of which no request does.
func (n *node) over(xid uint64, open bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tracks[xid]
	if t == nil {
		return
	}
	t.ended++
	t.left = t.left || open
	if t.ended == t.begun && !t.left {
		delete(n.tracks, xid)
	}
}

func (n *node) hasOpen(xid uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tracks[xid] != nil
}

func (n *node) tableOf(xid uint64, k tableKey) func(context.Context) (Table, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tracks[xid]; t != nil {
		return t.tables[k]
	}
	return nil
}

// trackFor is how long it is known as what a transaction's tables were seen.
const trackFor = time.Hour
