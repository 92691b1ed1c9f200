// A write seen by the cache: what to ask the connector for beside what the
// statement wants, and what its answer means for rows that are kept.

package bridge

import (
	"context"
	"slices"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// errorPatience is how long a write that failed after all waits for the cache to
// show, or forget, what it has changed: the backend gets no number to ask for.
const errorPatience = 100 * time.Millisecond

// written follows one Modify of a table that is cached, or that is beside one.
// Its methods do nothing on nil.
type written struct {
	s     *Server
	t     *cachedTable
	types []pushdown.Type // of the table
	batch *connectors.Batch
	write *overlay.Write
	// keys of the batch's rows, nil where they have none.
	keys [][]pushdown.Value
	// tuples of the rows that the answer held.
	tuples [][]byte
	over   bool
}

// beginWrite is called before the API is. t may be nil.
func (s *Server) beginWrite(t *cachedTable, rel *relation, batch *connectors.Batch) *written {
	if t == nil {
		return nil
	}
	w := &written{s: s, t: t, batch: batch, keys: make([][]pushdown.Value, len(batch.Rows))}
	for _, c := range rel.spec.Columns {
		w.types = append(w.types, c.Type)
	}
	var names []string
	for i, r := range batch.Rows {
		if w.keys[i] = w.keyOf(batch.KeyColumns, r.Key); w.keys[i] != nil {
			names = append(names, w.name(w.keys[i]))
		}
	}
	slices.Sort(names)
	w.write = s.overlay.Begin(t.place, slices.Compact(names))
	if batch.Op != connectors.Delete && !t.off {
		batch.RecordColumns = t.columns
		// A batch for each row.
		batch.Record = rows.NewBuilder(rel.typesAt(t.columns), func(tuple []byte, _ int) error {
			w.tuples = append(w.tuples, tuple)
			return nil
		}, rows.Options{First: 1, Next: 1})
	}
	return w
}

// keyOf finds the table's key among columns' values; nil: it is not all there.
func (w *written) keyOf(columns []int, values []pushdown.Value) []pushdown.Value {
	key := make([]pushdown.Value, len(w.t.def.Key))
	for i, k := range w.t.def.Key {
		at := slices.Index(columns, k)
		if at < 0 || values[at].IsNull() {
			return nil
		}
		key[i] = values[at]
	}
	return key
}

func (w *written) keyTypes() []pushdown.Type {
	list := make([]pushdown.Type, len(w.t.def.Key))
	for i, k := range w.t.def.Key {
		list[i] = w.types[k]
	}
	return list
}

// name of a key in the overlay.
func (w *written) name(key []pushdown.Value) string { return overlay.Key(w.keyTypes(), key) }

// text of a key for the cache.
func (w *written) text(key []pushdown.Value) []string {
	list := make([]string, len(key))
	for i, k := range w.t.def.Key {
		list[i] = string(pushdown.AppendText(nil, key[i], w.types[k]))
	}
	return list
}

// unknown is called when the write's answer is not known. Of these three the
// first call counts. It gives the number for Settle.
func (w *written) unknown() uint64 {
	if w == nil || w.over {
		return 0
	}
	w.over = true
	w.write.End(nil, true, w.t.lag)
	return w.s.queue.add(w.t, nil, true)
}

// nothing is called when the API has not written.
func (w *written) nothing() {
	if w == nil || w.over {
		return
	}
	w.over = true
	w.write.End(nil, false, w.t.lag)
}

// done is called when the connector said what became of each row. It gives the
// number for Settle, 0 for a write that changed nothing.
func (w *written) done() uint64 {
	if w == nil || w.over {
		return 0
	}
	w.over = true
	changes, writes, unsure := w.changes()
	if unsure = w.write.End(changes, unsure, w.t.lag) || unsure; unsure {
		return w.s.queue.add(w.t, nil, true)
	}
	if len(writes) == 0 {
		return 0
	}
	return w.s.queue.add(w.t, writes, false)
}

// settleSoon waits for what was written, but not for long. number 0: nothing was.
func (s *Server) settleSoon(ctx context.Context, t *cachedTable, number uint64) {
	if number == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, errorPatience)
	defer cancel()
	s.queue.settled(ctx, t, number)
}

// changes of the overlay and writes to the cache; unsure: that is not all.
func (w *written) changes() (changes []overlay.Change, writes []cache.Write, unsure bool) {
	b := w.batch
	if w.t.off {
		wrote := func(r connectors.Result) bool {
			return r.Outcome != connectors.Refused && r.Outcome != connectors.NotSent
		}
		return nil, nil, len(b.Results) != len(b.Rows) || slices.ContainsFunc(b.Results, wrote)
	}
	if b.Record != nil && b.Record.Flush() != nil {
		b.Recorded = nil
	}
	recorded := 0
	for _, is := range b.Recorded {
		if is {
			recorded++
		}
	}
	if len(b.Results) != len(b.Rows) || len(b.Recorded) > 0 && (len(b.Recorded) != len(b.Rows) || recorded != len(w.tuples)) {
		return nil, nil, true
	}
	next := 0
	for i, r := range b.Results {
		old := w.keys[i]
		gone := r.Outcome == connectors.NotFound || r.Outcome == connectors.Applied && b.Op == connectors.Delete
		switch {
		case gone && old == nil:
			return nil, nil, true
		case gone:
			changes = append(changes, overlay.Change{Key: w.name(old), Row: &overlay.Row{Deleted: true}})
			writes = append(writes, cache.Write{Key: w.text(old), Deleted: true})
		case r.Outcome != connectors.Applied:
		case len(b.Recorded) == 0 || !b.Recorded[i]:
			return nil, nil, true
		default:
			tuple := w.tuples[next]
			next++
			fields, err := overlay.Fields(tuple, w.t.columns, len(w.types))
			if err != nil {
				return nil, nil, true
			}
			key := w.keyIn(fields)
			if key == nil {
				return nil, nil, true
			}
			change := cache.Write{Columns: w.t.columns, Tuple: tuple}
			if old != nil {
				change.Key = w.text(old)
				if w.name(old) != w.name(key) {
					changes = append(changes, overlay.Change{Key: w.name(old), Row: &overlay.Row{Deleted: true}})
				}
			}
			changes = append(changes, overlay.Change{Key: w.name(key), Row: &overlay.Row{Fields: fields}})
			writes = append(writes, change)
		}
	}
	return changes, writes, false
}

// keyIn reads the key of a row; nil: it has none.
func (w *written) keyIn(fields [][]byte) []pushdown.Value {
	key := make([]pushdown.Value, len(w.t.def.Key))
	for i, k := range w.t.def.Key {
		if fields[k] == nil {
			return nil
		}
		v, err := rows.DecodeValue(w.types[k], fields[k])
		if err != nil {
			return nil
		}
		key[i] = v
	}
	return key
}
