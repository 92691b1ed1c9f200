// What a table's definition and the API's metadata may differ in: fields that were
// taken away, and those that nobody has given a column.

package rest

import (
	"fmt"
	"slices"
)

// rawField is the field of a json column that has the whole record, as it came.
const rawField = "_raw"

func wholeRecord() *Field {
	no := false
	return &Field{Name: rawField, Type: "json", Missing: "null", Format: "iso", ReadOnly: true, Filterable: &no, Sortable: &no}
}

// lostWarnings says of those columns which of them read NULL, as the API has no
// such field.
func (t *table) lostWarnings(columns []int) []string {
	var out []string
	for _, c := range columns {
		if slices.Contains(t.lost, c) {
			spec := t.columns[c].spec
			out = append(out, fmt.Sprintf("column %q reads NULL: object %q of the API has no field %q (any more)", spec.Name, t.object.Name, spec.Field()))
		}
	}
	return out
}
