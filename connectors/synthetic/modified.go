package synthetic

// Columns that tell when a row was changed.

import (
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// now is the time as columns hold it.
func now() int64 { return time.Now().UnixMicro() - epoch2000 }

// touch sets the columns of a changed record that tell when it was.
func (t *table) touch(rec *record) {
	for c, r := range t.rules {
		if r.computed == "modified" {
			rec.values[t.fields[c]] = pushdown.Value{V: now()}
		}
	}
}
