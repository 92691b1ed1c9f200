package pushdown

import "strconv"

// Names of the kinds as SQL writes them.
var kindNames = [...]string{
	Bool: "boolean", Int2: "smallint", Int4: "integer", Int8: "bigint",
	Float4: "real", Float8: "double precision", Numeric: "numeric",
	Text: "text", Varchar: "character varying", BPChar: "character",
	Date: "date", Time: "time without time zone",
	Timestamp: "timestamp without time zone", TimestampTZ: "timestamp with time zone",
	UUID: "uuid", JSON: "json", JSONB: "jsonb", Bytea: "bytea", Enum: "enum", Other: "other",
}

// String is the type's name in SQL, for messages.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}
