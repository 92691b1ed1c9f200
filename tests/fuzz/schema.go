// The columns that are fuzzed and the values they hold.

package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

type class int

const (
	cBool class = iota
	cInt
	cFloat
	cNumeric
	cText
	cDate
	cTime
	cTimestamp
	cTimestampTZ
	cUUID
	cJSON
	cBytea
	cEnum
	cInterval
	cArray
)

// column of a fuzzed table.
type column struct {
	name, typ string
	class     class
	// byteOrder: text compared by byte. unique: the table's key.
	byteOrder, unique bool
	// pool holds the values that rows and most literals are taken from; short
	// pools make equal values, and so rows that match, likely.
	pool []string
	// elements of an array's values that literals are taken from, besides others.
	elements []string
	// nulls in a hundred values.
	nulls int
	// api: the CRM's filters know the column.
	api bool
	// options of the foreign table's column.
	options string
}

// value picks one for a row.
func (c *column) value(rng *rand.Rand) Lit {
	if rng.IntN(100) < c.nulls {
		return Lit{Null: true, Type: c.typ}
	}
	return Lit{Text: c.pool[rng.IntN(len(c.pool))], Type: c.typ}
}

// lit picks one to compare with: mostly a value that occurs.
func (c *column) lit(rng *rand.Rand) Lit {
	if rng.IntN(40) == 0 {
		return Lit{Null: true, Type: c.typ}
	}
	return Lit{Text: c.pool[rng.IntN(len(c.pool))], Type: c.typ}
}

// texts has the twins and the oddities: case, accent, composed and decomposed,
// trailing blanks, pattern and quoting characters, other scripts, emoji.
var texts = []string{
	"", " ", "a", "A", "á", "Á", "a\u0301", "ab", "Ab", "aB", "AB", "abc", "abC", "äb", "b", "B", "ß", "SS", "ss",
	"straße", "STRASSE", "Zoë", "Zoe", "zoë", "O'Brien", `back\slash`, `"quoted"`, "50%", "5_0", "50", "%", "_", `\%`,
	"a b", "a  b", "a ", " a", "a\tb", "a\nb", "Ωμέγα", "ωμέγα", "名前", "🦆", "🦆🦆", "👨‍👩‍👧", "İ", "i", "I", "ı", "ﬁ", "null", "NULL",
	"true", "0", "007", "7", "1e3", "-1", "a&&b", "a||b", "(x)", "x) OR (1=1", "{t}", "$1", "?", "a;b", "--", "/*", "~", "é", "e\u0301", "É",
	strings.Repeat("long", 30),
}

func ints(extremes ...string) []string {
	out := []string{"0", "1", "-1", "2", "3", "5", "7", "10", "42", "100", "-100"}
	return append(out, extremes...)
}

var (
	floats   = []string{"0", "1", "-1", "0.1", "0.5", "1.5", "-2.25", "1e10", "3.4e38", "-3.4e38", "1e-30", "NaN", "Infinity", "-Infinity", "16777217", "0.3"}
	doubles  = append([]string{"1.7976931348623157e308", "5e-324", "0.30000000000000004", "9007199254740993", "1e15", "123456789.123456789"}, floats...)
	numerics = []string{"0", "1", "-1", "0.1", "0.25", "-2.5", "99.99", "123456789012345678901234567890", "-0.000000000000000000001", "NaN", "Infinity", "-Infinity", "1e20", "3", "7", "100", "12345678.9012345"}
	dates    = []string{"2024-01-01", "2024-02-29", "2023-12-31", "1999-12-31", "2000-01-01", "1969-12-31", "0044-03-15 BC", "9999-12-31", "infinity", "-infinity", "2024-06-30", "5874897-12-31", "4713-01-01 BC"}
	times    = []string{"00:00:00", "24:00:00", "12:34:56.789012", "23:59:59.999999", "12:00:00", "06:30:00", "00:00:00.000001"}
	stamps   = []string{"2024-01-01 00:00:00", "2024-01-01 00:00:00.000001", "2024-02-29 12:30:00", "1999-12-31 23:59:59.999999", "2000-01-01 00:00:00", "0044-03-15 12:00:00 BC", "9999-12-31 23:59:59", "infinity", "-infinity", "2024-03-10 02:30:00", "2024-11-03 01:30:00", "1970-01-01 00:00:00", "294276-12-31 00:00:00", "2023-12-31 23:00:00"}
	uuids    = []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12", "10000000-0000-0000-0000-000000000000"}
	jsons    = []string{`{}`, `[]`, `null`, `{"a": 1}`, `{"a": "x", "b": [1, 2]}`, `"a"`, `1`, `1.50`, `{"é": "🦆"}`, `[{"a": null}]`, `true`, `""`}
	byteas   = []string{`\x`, `\x00`, `\x01`, `\xff`, `\x6162`, `\x616263`, `\x00ff00ff`}
	moods    = []string{"sad", "ok", "happy", "Ok", "🦆 odd"}
	intArrs  = []string{"{}", "{1}", "{1,2,3}", "{3,2,1}", "{NULL}", "{1,NULL,3}", "{2147483647,-2147483648}", "{2}"}
	textArrs = []string{"{}", `{""}`, `{a}`, `{A,b}`, `{NULL}`, `{"NULL"}`, `{"a,b","c\"d"}`, `{🦆,é}`, `{"{","}"}`}
)

// wide has every type; the synthetic connector stores it.
func wide() []*column {
	return []*column{
		{name: "id", typ: "int8", class: cInt, unique: true},
		{name: "i2", typ: "int2", class: cInt, pool: ints("32767", "-32768"), nulls: 10},
		{name: "i4", typ: "int4", class: cInt, pool: ints("2147483647", "-2147483648"), nulls: 10},
		{name: "i8", typ: "int8", class: cInt, pool: ints("9223372036854775807", "-9223372036854775808", "2147483648", "9007199254740993"), nulls: 10},
		{name: "f4", typ: "float4", class: cFloat, pool: floats, nulls: 10},
		{name: "f8", typ: "float8", class: cFloat, pool: doubles, nulls: 10},
		{name: "n", typ: "numeric", class: cNumeric, pool: numerics, nulls: 10},
		{name: "nm", typ: "numeric(8,2)", class: cNumeric, pool: []string{"0.00", "1.00", "-1.50", "99.99", "999999.99", "NaN", "0.10"}, nulls: 10},
		{name: "t", typ: "text", class: cText, pool: texts, nulls: 10},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: texts, nulls: 10},
		{name: "vc", typ: "varchar(130)", class: cText, pool: texts, nulls: 10},
		{name: "bp", typ: "char(6)", class: cText, pool: []string{"", "a", "a ", "A", "abc", "abc   ", "ä", "50%", "abcdef", "🦆"}, nulls: 10},
		{name: "iv", typ: "interval", class: cInterval, pool: []string{"0", "1 day", "24:00:00", "1 mon", "30 days", "-1 year", "00:00:00.000001"}, nulls: 10},
		{name: "b", typ: "bool", class: cBool, pool: []string{"t", "f"}, nulls: 25},
		{name: "d", typ: "date", class: cDate, pool: dates, nulls: 10},
		{name: "tm", typ: "time", class: cTime, pool: times, nulls: 10},
		{name: "ts", typ: "timestamp", class: cTimestamp, pool: stamps, nulls: 10},
		{name: "tz", typ: "timestamptz", class: cTimestampTZ, pool: stamps, nulls: 10},
		{name: "u", typ: "uuid", class: cUUID, pool: uuids, nulls: 10},
		{name: "j", typ: "jsonb", class: cJSON, pool: jsons, nulls: 10},
		{name: "by", typ: "bytea", class: cBytea, pool: byteas, nulls: 10},
		{name: "e", typ: "mood", class: cEnum, pool: moods, nulls: 10},
		{name: "dom", typ: "posint", class: cInt, pool: []string{"1", "2", "3", "42"}, nulls: 10},
		{name: "ia", typ: "int4[]", class: cArray, pool: intArrs, nulls: 10},
		{name: "ta", typ: "text[]", class: cArray, pool: textArrs, nulls: 10},
	}
}

// types that the columns need, for both worlds.
const types = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Ok', '🦆 odd');
CREATE DOMAIN posint AS int4 CHECK (VALUE > 0);`

// columnList writes the columns for CREATE [FOREIGN] TABLE.
func columnList(cols []*column, foreign bool) string {
	var parts []string
	for _, c := range cols {
		s := c.name + " " + c.typ
		if foreign && c.options != "" {
			s += " OPTIONS (" + c.options + ")"
		}
		if c.byteOrder {
			s += ` COLLATE "C"`
		}
		if c.unique && !foreign {
			s += " NOT NULL PRIMARY KEY"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// insert writes one INSERT of n random rows whose keys begin at from.
func insert(rng *rand.Rand, table string, cols []*column, n, from int) string {
	var rows []string
	for i := range n {
		vals := make([]string, len(cols))
		for k, c := range cols {
			if c.unique {
				vals[k] = fmt.Sprint(from + i)
			} else {
				vals[k] = c.value(rng).SQL()
			}
		}
		rows = append(rows, "("+strings.Join(vals, ", ")+")")
	}
	return "INSERT INTO " + table + " VALUES " + strings.Join(rows, ",\n")
}
