// Rows written in the last seconds, which the API's lists may not show yet as
// they are now: what is read of them does not tell whether a write is needed.

package bridge

import (
	"slices"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// recentPlace is an object as a server's users see it, whoever they are.
type recentPlace struct {
	server [32]byte
	object string
}

// recentWrites remembers which rows were written, by any columns that identify
// them. What others write, or another sidecar, it does not know.
type recentWrites struct {
	mu     sync.Mutex
	places map[recentPlace]*recentRows
}

type recentRows struct {
	sets  []recentSet
	sweep int // entries at which old ones are looked for
	count int
}

// recentSet is the rows that were written by the same columns.
type recentSet struct {
	fields []string               // of the API
	rows   map[string]recentWrite // by the values
}

// recentWrite is what is remembered of a row.
type recentWrite struct {
	until time.Time
	// xid of the transaction that alone has written it lately; 0: several have, or
	// the journal.
	xid uint64
}

func placeOf(b *bound, d connectors.Description) recentPlace {
	return recentPlace{b.rel.serverKey, d.Object}
}

func (r *relation) fieldsAt(columns []int) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = r.spec.Columns[c].Field()
	}
	return list
}

// add notes that rows with these values in some columns are being written by a
// transaction.
func (rw *recentWrites) add(p recentPlace, rel *relation, columns []int, values [][]pushdown.Value, lag time.Duration, xid uint64) {
	if lag <= 0 || len(values) == 0 {
		return
	}
	types, now := rel.typesAt(columns), time.Now()
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if rw.places == nil {
		rw.places = map[recentPlace]*recentRows{}
	}
	rr := rw.places[p]
	if rr == nil {
		rr = &recentRows{sweep: 1024}
		rw.places[p] = rr
	}
	fields := rel.fieldsAt(columns)
	at := slices.IndexFunc(rr.sets, func(s recentSet) bool { return slices.Equal(s.fields, fields) })
	if at < 0 {
		at = len(rr.sets)
		rr.sets = append(rr.sets, recentSet{fields, map[string]recentWrite{}})
	}
	for _, v := range values {
		name := overlay.Key(types, v)
		before, known := rr.sets[at].rows[name]
		if !known {
			rr.count++
		}
		w := recentWrite{now.Add(lag), xid}
		if before.xid != xid && now.Before(before.until) {
			w.xid = 0
		}
		rr.sets[at].rows[name] = w
	}
	if rr.count < rr.sweep {
		return
	}
	rr.count = 0
	for _, s := range rr.sets {
		for name, w := range s.rows {
			if w.until.Before(now) {
				delete(s.rows, name)
			}
		}
		rr.count += len(s.rows)
	}
	rr.sets = slices.DeleteFunc(rr.sets, func(s recentSet) bool { return len(s.rows) == 0 })
	rr.sweep = max(1024, 2*rr.count)
}

// columns by which rows of a place were written lately, where the table shows
// them all.
func (rw *recentWrites) columns(p recentPlace, rel *relation) [][]int {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	rr := rw.places[p]
	if rr == nil {
		return nil
	}
	var list [][]int
	for _, s := range rr.sets {
		var columns []int
		for _, f := range s.fields {
			at := slices.IndexFunc(rel.spec.Columns, func(c connectors.ColumnSpec) bool { return !c.Generated && c.Field() == f })
			if at < 0 {
				break
			}
			columns = append(columns, at)
		}
		if len(columns) == len(s.fields) {
			list = append(list, columns)
		}
	}
	return list
}

// has reports whether a row with these values was written lately, and by which
// transaction alone; 0: there are several.
func (rw *recentWrites) has(p recentPlace, rel *relation, columns []int, values []pushdown.Value) (xid uint64, is bool) {
	name := overlay.Key(rel.typesAt(columns), values)
	fields := rel.fieldsAt(columns)
	rw.mu.Lock()
	defer rw.mu.Unlock()
	rr := rw.places[p]
	if rr == nil {
		return 0, false
	}
	for _, s := range rr.sets {
		if slices.Equal(s.fields, fields) {
			w := s.rows[name]
			return w.xid, time.Now().Before(w.until)
		}
	}
	return 0, false
}
