package pushdown

// Kind is a PostgreSQL type, without its modifiers.
type Kind uint8

// The kinds, numbered as in hallway.v1.Kind. Other stands for any type that
// has none of its own; its values travel as text.
const (
	Bool Kind = iota + 1
	Int2
	Int4
	Int8
	Float4
	Float8
	Numeric
	Text
	Varchar
	BPChar
	Date
	Time
	Timestamp
	TimestampTZ
	UUID
	JSON
	JSONB
	Bytea
	Enum
	Other
)

// Type is a column's or a parameter's type after domains are taken off.
type Type struct {
	// Kind of the element, if Array.
	Kind  Kind
	Array bool
	// OID of the type itself, and of the element of an array.
	OID, ElementOID uint32
	// Length is n of varchar(n) and char(n), in characters; 0: unbounded.
	Length uint32
	// Precision and Scale of numeric(p, s); Precision 0: unbounded.
	Precision uint32
	Scale     int32
	// Labels of an enum, in their order.
	Labels []string
	// Name as format_type() writes it, for messages.
	Name string
}

// Value is a parameter's value, or a row's in the evaluator.
//
// V is nil for NULL, else by kind: bool; int64 (Int2, Int4, Int8); float64
// (Float4, Float8); string in canonical decimal form, "NaN", "Infinity" or
// "-Infinity" (Numeric); string (Text, Varchar, BPChar, Enum, UUID in lower
// case with dashes, JSON, JSONB, Other); []byte (Bytea); int64 days since
// 2000-01-01 (Date), microseconds since midnight (Time), microseconds since
// 2000-01-01 00:00 (Timestamp, and in UTC TimestampTZ), with math.MinInt64 and
// math.MaxInt64 for -infinity and infinity; []Value for arrays (elements of a
// multi-dimensional one in row-major order).
type Value struct{ V any }

// IsNull reports whether the value is SQL's NULL.
func (v Value) IsNull() bool { return v.V == nil }
