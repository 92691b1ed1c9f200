// Fields and SQL types.

package rest

import (
	"fmt"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// always tells whether there is a value in every record; where it may not be
// seen, it is false.
func (f *Field) always() bool {
	return f.Missing == "never" || f.Missing == "absent" && f.Type == "boolean" && !f.List
}

// emptyIsNull tells whether an empty text is NULL.
func (f *Field) emptyIsNull() bool { return f.Missing == "empty" || f.Missing == "absent" }

// naturalType is the type of a column for a field, without modifiers.
func naturalType(f *Field) pushdown.Type {
	t := pushdown.Type{Kind: pushdown.Text, Array: f.List, Name: f.Type}
	switch f.Type {
	case "integer":
		t.Kind = pushdown.Int8
	case "number":
		t.Kind = pushdown.Numeric
	case "boolean":
		t.Kind = pushdown.Bool
	case "datetime":
		t.Kind = pushdown.TimestampTZ
	case "timestamp":
		t.Kind = pushdown.Timestamp
	case "date":
		t.Kind = pushdown.Date
	case "time":
		t.Kind = pushdown.Time
	case "uuid":
		t.Kind = pushdown.UUID
	case "json":
		t.Kind = pushdown.JSONB
	case "bytes":
		t.Kind = pushdown.Bytea
	}
	return t
}

// sqlType is how IMPORT FOREIGN SCHEMA declares a field's column.
func sqlType(f *Field) string {
	name := f.SQLType
	if name == "" {
		switch f.Type {
		case "text", "select", "relation":
			name = "text"
			if f.MaxLength > 0 {
				name = fmt.Sprintf("varchar(%d)", f.MaxLength)
			}
		case "integer":
			name = "bigint"
		case "number":
			name = "numeric"
		case "datetime":
			name = "timestamptz"
		case "json":
			name = "jsonb"
		case "bytes":
			name = "bytea"
		default:
			name = f.Type
		}
	}
	if f.List {
		name += "[]"
	}
	return name
}
