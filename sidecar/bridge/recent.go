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
	fields []string             // of the API
	until  map[string]time.Time // by the values
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

// add notes that rows with these values in some columns are being written.
func (rw *recentWrites) add(p recentPlace, rel *relation, columns []int, values [][]pushdown.Value, lag time.Duration) {
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
		rr.sets = append(rr.sets, recentSet{fields, map[string]time.Time{}})
	}
	for _, v := range values {
		name := overlay.Key(types, v)
		if _, known := rr.sets[at].until[name]; !known {
			rr.count++
		}
		rr.sets[at].until[name] = now.Add(lag)
	}
	if rr.count < rr.sweep {
		return
	}
	rr.count = 0
	for _, s := range rr.sets {
		for name, until := range s.until {
			if until.Before(now) {
				delete(s.until, name)
			}
		}
		rr.count += len(s.until)
	}
	rr.sets = slices.DeleteFunc(rr.sets, func(s recentSet) bool { return len(s.until) == 0 })
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

// has reports whether a row with these values was written lately.
func (rw *recentWrites) has(p recentPlace, rel *relation, columns []int, values []pushdown.Value) bool {
	name := overlay.Key(rel.typesAt(columns), values)
	fields := rel.fieldsAt(columns)
	rw.mu.Lock()
	defer rw.mu.Unlock()
	rr := rw.places[p]
	if rr == nil {
		return false
	}
	for _, s := range rr.sets {
		if slices.Equal(s.fields, fields) {
			return time.Now().Before(s.until[name])
		}
	}
	return false
}
