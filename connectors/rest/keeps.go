// What the API makes of values, so that a row is not written again for what it
// does not keep.

package rest

import (
	"math"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Keeps tells whether a record that has a value would have it still after given
// was written.
func (t *table) Keeps(column int, has, given pushdown.Value) bool {
	col := t.column(column)
	f := col.field
	if f.emptyIsNull() && (!f.List || f.Missing == "absent") {
		// Each is read as NULL.
		switch v := given.V.(type) {
		case string:
			if v == "" {
				return has.IsNull()
			}
		case []pushdown.Value:
			if len(v) == 0 {
				return has.IsNull()
			}
		}
	}
	x, ok1 := has.V.(int64)
	y, ok2 := given.V.(int64)
	if !ok1 || !ok2 || col.spec.Type.Array {
		return false
	}
	switch col.spec.Type.Kind {
	case pushdown.Time, pushdown.Timestamp, pushdown.TimestampTZ:
	default:
		return false
	}
	unit := f.unit()
	if unit == 1 || y < math.MinInt64/2 || y > math.MaxInt64/2 {
		return false
	}
	// Some cut off what they do not keep, others round it.
	down := y - (y%unit+unit)%unit
	return x == down || x == down+unit && y-down >= unit/2
}

// unit in which the API keeps a time, in microseconds.
func (f *Field) unit() int64 {
	switch {
	case f.Keeps == "seconds" || f.Keeps == "" && f.Format == "unix":
		return 1_000_000
	case f.Keeps == "milliseconds" || f.Keeps == "" && f.Format == "unix_ms":
		return 1_000
	}
	return 1
}
