package rows_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func kind(k pushdown.Kind) pushdown.Type { return pushdown.Type{Kind: k} }

func array(k pushdown.Kind) pushdown.Type {
	return pushdown.Type{Kind: k, Array: true, OID: 1000, ElementOID: 99}
}

func varchar(n uint32) pushdown.Type { return pushdown.Type{Kind: pushdown.Varchar, Length: n} }

func bpchar(n uint32) pushdown.Type { return pushdown.Type{Kind: pushdown.BPChar, Length: n} }

func numeric(p uint32, s int32) pushdown.Type {
	return pushdown.Type{Kind: pushdown.Numeric, Precision: p, Scale: s}
}

var mood = pushdown.Type{Kind: pushdown.Enum, Labels: []string{"sad", "ok"}}

type give func(b *rows.Builder)

func str(s string) give       { return func(b *rows.Builder) { b.String(s) } }
func number(s string) give    { return func(b *rows.Builder) { b.Number([]byte(s)) } }
func jsonValue(s string) give { return func(b *rows.Builder) { b.JSON([]byte(s)) } }
func integer(v int64) give    { return func(b *rows.Builder) { b.Int64(v) } }
func float(v float64) give    { return func(b *rows.Builder) { b.Float64(v) } }
func boolean(v bool) give     { return func(b *rows.Builder) { b.Bool(v) } }
func raw(s string) give       { return func(b *rows.Builder) { b.Bytes([]byte(s)) } }
func micros(v int64) give     { return func(b *rows.Builder) { b.Micros(v) } }

func at(s string) give {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return func(b *rows.Builder) { b.Time(t) }
}

// TestBuilder_Conversions: what is given, and what PostgreSQL then shows, or
// the SQLSTATE of the refusal.
func TestBuilder_Conversions(t *testing.T) {
	for _, c := range []struct {
		name string
		t    pushdown.Type
		give give
		want string // shown as text; "NULL"; or "!" and an SQLSTATE
	}{
		{"int to int2", kind(pushdown.Int2), integer(-32768), "-32768"},
		{"int too big for int2", kind(pushdown.Int2), integer(32768), "!22003"},
		{"int too big for int4", kind(pushdown.Int4), integer(-2147483649), "!22003"},
		{"int to float8", kind(pushdown.Float8), integer(1 << 53), "9.007199254740992e+15"},
		{"int that float8 cannot hold", kind(pushdown.Float8), integer(1<<53 + 1), "!22003"},
		{"largest int is no float8", kind(pushdown.Float8), integer(math.MaxInt64), "!22003"},
		{"int to float4", kind(pushdown.Float4), integer(1 << 24), "1.6777216e+07"},
		{"int that float4 cannot hold", kind(pushdown.Float4), integer(1<<24 + 1), "!22003"},
		{"int to numeric", kind(pushdown.Numeric), integer(math.MinInt64), "-9223372036854775808"},
		{"int zero to numeric", kind(pushdown.Numeric), integer(0), "0"},
		{"int to numeric(5,2)", numeric(5, 2), integer(999), "999.00"},
		{"int too big for numeric(5,2)", numeric(5, 2), integer(1000), "!22003"},
		{"int to text", kind(pushdown.Text), integer(-7), "-7"},
		{"int to bool", kind(pushdown.Bool), integer(1), "true"},
		{"two is no bool", kind(pushdown.Bool), integer(2), "!22P02"},
		{"int to json", kind(pushdown.JSON), integer(5), "5"},
		{"int to jsonb", kind(pushdown.JSONB), integer(5), "5"},
		{"int to date", kind(pushdown.Date), integer(5), "!22P02"},
		{"int to timestamptz", kind(pushdown.TimestampTZ), integer(5), "!22P02"},
		{"int to uuid", kind(pushdown.UUID), integer(5), "!22P02"},
		{"int to bytea", kind(pushdown.Bytea), integer(5), "!22P02"},
		{"int to int4[]", array(pushdown.Int4), integer(5), "!22P02"},
		{"int to other", kind(pushdown.Other), integer(5), "5"},

		{"float to int4", kind(pushdown.Int4), float(-3), "-3"},
		{"fraction to int4", kind(pushdown.Int4), float(0.5), "!22P02"},
		{"float past int8", kind(pushdown.Int8), float(1 << 63), "!22003"},
		{"NaN to int4", kind(pushdown.Int4), float(math.NaN()), "!22P02"},
		{"infinity to int4", kind(pushdown.Int4), float(math.Inf(1)), "!22003"},
		{"float to numeric", kind(pushdown.Numeric), float(0.1), "0.1"},
		{"NaN to numeric", kind(pushdown.Numeric), float(math.NaN()), "NaN"},
		{"infinity to numeric", kind(pushdown.Numeric), float(math.Inf(-1)), "-Infinity"},
		{"infinity to numeric(5,2)", numeric(5, 2), float(math.Inf(-1)), "!22003"},
		{"NaN to numeric(5,2)", numeric(5, 2), float(math.NaN()), "NaN"},
		{"float to float4 rounds", kind(pushdown.Float4), float(0.1), "0.1"},
		{"float past float4", kind(pushdown.Float4), float(1e39), "!22003"},
		{"float below float4", kind(pushdown.Float4), float(1e-50), "!22003"},
		{"infinity to float4", kind(pushdown.Float4), float(math.Inf(1)), "Infinity"},
		{"float to text", kind(pushdown.Text), float(1e20), "1e+20"},
		{"float to json", kind(pushdown.JSON), float(1.5), "1.5"},
		{"NaN to json", kind(pushdown.JSON), float(math.NaN()), "!22P02"},
		{"float to bool", kind(pushdown.Bool), float(1), "!22P02"},

		{"bool to text", kind(pushdown.Text), boolean(true), "true"},
		{"bool to jsonb", kind(pushdown.JSONB), boolean(false), "false"},
		{"bool to int4", kind(pushdown.Int4), boolean(true), "!22P02"},

		{"text to int4", kind(pushdown.Int4), str(" 12.00 "), "12"},
		{"empty text to int4", kind(pushdown.Int4), str(""), "!22P02"},
		{"word to int4", kind(pushdown.Int4), str("twelve"), "!22P02"},
		{"hex to int4", kind(pushdown.Int4), str("0x10"), "!22P02"},
		{"text past int8", kind(pushdown.Int8), str("9223372036854775808"), "!22003"},
		{"text past int8 far", kind(pushdown.Int8), str("1e1000000"), "!22003"},
		{"least int8", kind(pushdown.Int8), str("-9223372036854775808"), "-9223372036854775808"},
		{"underscore to float8", kind(pushdown.Float8), str("1_0"), "!22P02"},
		{"hex to float8", kind(pushdown.Float8), str("0x1p3"), "!22P02"},
		{"text past float8", kind(pushdown.Float8), str("1e400"), "!22003"},
		{"text below float8", kind(pushdown.Float8), str("1e-400"), "!22003"},
		{"zero with an exponent", kind(pushdown.Float8), str("0e-400"), "0"},
		{"text to bool", kind(pushdown.Bool), str("Yes"), "true"},
		{"wrong text to bool", kind(pushdown.Bool), str("maybe"), "!22P02"},
		{"o alone is no bool", kind(pushdown.Bool), str("o"), "!22P02"},
		{"NUL in text", kind(pushdown.Text), str("a\x00b"), "!22021"},
		{"NUL in long text", kind(pushdown.Text), str(strings.Repeat("x", 100) + "\x00"), "!22021"},
		{"bad UTF-8", kind(pushdown.Text), str("a\xffb"), "!22021"},
		{"bad UTF-8 after eight", kind(pushdown.Text), str("12345678\xc3"), "!22021"},
		{"surrogate in UTF-8", kind(pushdown.Text), str("\xed\xa0\x80"), "!22021"},
		{"bad UTF-8 in other", kind(pushdown.Other), str("\xff"), "!22021"},
		{"varchar fits", varchar(3), str("äöü"), "äöü"},
		{"varchar too long", varchar(3), str("äöüx"), "!22001"},
		{"varchar cuts spaces", varchar(3), str("äöü  "), "äöü"},
		{"varchar with another space", varchar(3), str("abc\t"), "!22001"},
		{"varchar without n", varchar(0), str(strings.Repeat("x", 300)), strings.Repeat("x", 300)},
		{"char pads", bpchar(4), str("ä"), "ä   "},
		{"char too long", bpchar(2), str("abc"), "!22001"},
		{"char cuts spaces", bpchar(2), str("ab   "), "ab"},
		{"char without n", bpchar(0), str("ab "), "ab "},
		{"enum label", mood, str("ok"), "ok"},
		{"no enum label", mood, str("OK"), "!22P02"},
		{"enum without labels", kind(pushdown.Enum), str("any"), "any"},
		{"uuid without dashes", kind(pushdown.UUID), str("A0EEBC999C0B4EF8BB6D6BB9BD380A11"), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"uuid too short", kind(pushdown.UUID), str("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"), "!22P02"},
		{"uuid too long", kind(pushdown.UUID), str("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1100"), "!22P02"},
		{"uuid with a dash elsewhere", kind(pushdown.UUID), str("a0e-ebc999c0b4ef8bb6d6bb9bd380a11"), "!22P02"},
		{"uuid with two dashes", kind(pushdown.UUID), str("a0eebc99--9c0b4ef8bb6d6bb9bd380a11"), "!22P02"},
		{"uuid, dash at the end", kind(pushdown.UUID), str("a0eebc999c0b4ef8bb6d6bb9bd380a11-"), "!22P02"},
		{"bytea, odd hex", kind(pushdown.Bytea), str(`\x0`), "!22P02"},
		{"bytea, bad hex", kind(pushdown.Bytea), str(`\xzz`), "!22P02"},
		{"bytea, bad escape", kind(pushdown.Bytea), str(`a\9`), "!22P02"},

		{"numeric keeps its scale", kind(pushdown.Numeric), str("1.500"), "1.500"},
		{"numeric, exponent", kind(pushdown.Numeric), str("1.5e-3"), "0.0015"},
		{"numeric, large exponent", kind(pushdown.Numeric), str("12e4"), "120000"},
		{"numeric(5,2) gets its scale", numeric(5, 2), str("1.5"), "1.50"},
		{"numeric(5,2) drops zeros", numeric(5, 2), str("1.50000"), "1.50"},
		{"numeric(5,2) loses nothing", numeric(5, 2), str("1.505"), "!22003"},
		{"numeric(5,2) full", numeric(5, 2), str("-999.99"), "-999.99"},
		{"numeric(5,2) past", numeric(5, 2), str("1000"), "!22003"},
		{"numeric(2,4)", numeric(2, 4), str("0.0099"), "0.0099"},
		{"numeric(2,4) past", numeric(2, 4), str("0.01"), "!22003"},
		{"numeric(3,-2)", numeric(3, -2), str("12300"), "12300"},
		{"numeric(3,-2) loses nothing", numeric(3, -2), str("12345"), "!22003"},
		{"numeric, too many digits", kind(pushdown.Numeric), str(strings.Repeat("1", 12005)), "!22003"},
		{"numeric, too many decimals", kind(pushdown.Numeric), str("1e-16384"), "!22003"},
		{"numeric, exponent past all", kind(pushdown.Numeric), str("1e99999999999"), "!22003"},
		{"numeric, zero with a long scale", kind(pushdown.Numeric), str("0e-20000"), "0." + strings.Repeat("0", 16383)},
		{"numeric, no digits", kind(pushdown.Numeric), str("."), "!22P02"},
		{"numeric, two points", kind(pushdown.Numeric), str("1.2.3"), "!22P02"},
		{"numeric, signed NaN", kind(pushdown.Numeric), str("-NaN"), "!22P02"},
		{"numeric, Inf", kind(pushdown.Numeric), str("-inf"), "-Infinity"},

		{"date", kind(pushdown.Date), str("2024-02-29"), "2024-02-29"},
		{"date with a midnight", kind(pushdown.Date), str("2024-02-29T00:00:00Z"), "2024-02-29"},
		{"date with a clock", kind(pushdown.Date), str("2024-02-29T00:00:01Z"), "!22007"},
		{"no such day", kind(pushdown.Date), str("2023-02-29"), "!22008"},
		{"no such month", kind(pushdown.Date), str("2023-13-01"), "!22008"},
		{"no year 0", kind(pushdown.Date), str("0000-01-01"), "!22008"},
		{"date BC", kind(pushdown.Date), str("0044-03-15 BC"), "0044-03-15 BC"},
		{"first date", kind(pushdown.Date), str("4714-11-24 BC"), "4714-11-24 BC"},
		{"before the first date", kind(pushdown.Date), str("4714-11-23 BC"), "!22008"},
		{"last date", kind(pushdown.Date), str("5874897-12-31"), "5874897-12-31"},
		{"past the last date", kind(pushdown.Date), str("5874898-01-01"), "!22008"},
		{"date in another form", kind(pushdown.Date), str("29.02.2024"), "!22007"},
		{"date, American", kind(pushdown.Date), str("02/29/2024"), "!22007"},
		{"empty date", kind(pushdown.Date), str(""), "!22007"},
		{"time", kind(pushdown.Time), str("23:59:59.5"), "23:59:59.5"},
		{"time past", kind(pushdown.Time), str("24:00:01"), "!22007"},
		{"time, seconds to the next minute", kind(pushdown.Time), str("23:59:60"), "24:00:00"},
		{"time with a date", kind(pushdown.Time), str("2024-02-29 10:00"), "!22007"},
		{"timestamp in UTC", kind(pushdown.Timestamp), str("2024-02-29T10:00:00+02:00"), "2024-02-29 08:00:00"},
		{"timestamptz without zone is UTC", kind(pushdown.TimestampTZ), str("2024-02-29 10:00:00"), "2024-02-29 10:00:00+00"},
		{"timestamptz of a date", kind(pushdown.TimestampTZ), str("2024-02-29"), "2024-02-29 00:00:00+00"},
		{"nanoseconds are rounded", kind(pushdown.TimestampTZ), str("2024-02-29T10:00:00.0000015Z"), "2024-02-29 10:00:00.000002+00"},
		{"half to even", kind(pushdown.TimestampTZ), str("2024-02-29T10:00:00.0000005Z"), "2024-02-29 10:00:00+00"},
		{"up to the next second", kind(pushdown.TimestampTZ), str("2024-02-29T23:59:59.9999999Z"), "2024-03-01 00:00:00+00"},
		{"basic form", kind(pushdown.TimestampTZ), str("20240229T101112Z"), "2024-02-29 10:11:12+00"},
		{"24 hours", kind(pushdown.Timestamp), str("2024-02-29 24:00:00"), "2024-03-01 00:00:00"},
		{"first timestamp", kind(pushdown.Timestamp), str("4714-11-24 00:00:00 BC"), "4714-11-24 00:00:00 BC"},
		{"before the first timestamp", kind(pushdown.Timestamp), str("4714-11-23 23:59:59 BC"), "!22008"},
		{"last timestamp", kind(pushdown.Timestamp), str("294276-12-31 23:59:59.999999"), "294276-12-31 23:59:59.999999"},
		{"past the last timestamp", kind(pushdown.Timestamp), str("294277-01-01"), "!22008"},
		{"past by its zone", kind(pushdown.TimestampTZ), str("294276-12-31 23:59:59-01"), "!22008"},
		{"far past", kind(pushdown.Timestamp), str("5874897-12-31"), "!22008"},
		{"no zone", kind(pushdown.TimestampTZ), str("2024-02-29 10:00:00 Europe/Zurich"), "!22007"},
		{"zone out of range", kind(pushdown.TimestampTZ), str("2024-02-29 10:00:00+16"), "!22007"},
		{"hour out of range", kind(pushdown.Timestamp), str("2024-02-29 25:00:00"), "!22007"},
		{"minute missing", kind(pushdown.Timestamp), str("2024-02-29T10"), "!22007"},
		{"now is not known", kind(pushdown.Timestamp), str("now"), "!22007"},
		{"Time to timestamptz", kind(pushdown.TimestampTZ), at("2024-02-29T10:00:00.5+02:00"), "2024-02-29 08:00:00.5+00"},
		{"Time to timestamp", kind(pushdown.Timestamp), at("2024-02-29T10:00:00+02:00"), "2024-02-29 08:00:00"},
		{"Time to date", kind(pushdown.Date), at("2024-02-29T00:00:00+02:00"), "2024-02-29"},
		{"Time with clock to date", kind(pushdown.Date), at("2024-02-29T00:00:00.000000001Z"), "!22007"},
		{"Time to text", kind(pushdown.Text), at("2024-02-29T10:00:00Z"), "2024-02-29T10:00:00Z"},
		{"Time to jsonb", kind(pushdown.JSONB), at("2024-02-29T10:00:00Z"), `"2024-02-29T10:00:00Z"`},
		{"Time to time", kind(pushdown.Time), at("0000-01-01T10:00:00Z"), "10:00:00"},
		{"Time with date to time", kind(pushdown.Time), at("2024-02-29T10:00:00Z"), "!22007"},
		{"Time past", kind(pushdown.Timestamp), func(b *rows.Builder) { b.Time(time.Unix(1<<60, 0)) }, "!22008"},
		{"Time to int", kind(pushdown.Int8), at("2024-02-29T10:00:00Z"), "!22P02"},
		{"Micros to date", kind(pushdown.Date), micros(59), "2000-02-29"},
		{"Micros past date", kind(pushdown.Date), micros(1 << 33), "!22008"},
		{"Micros past time", kind(pushdown.Time), micros(86400_000001), "!22008"},
		{"Micros past timestamp", kind(pushdown.Timestamp), micros(math.MaxInt64 - 1), "!22008"},
		{"Micros infinite", kind(pushdown.Timestamp), micros(math.MaxInt64), "infinity"},
		{"Micros to int", kind(pushdown.Int8), micros(1), "!22P02"},

		{"JSON null", kind(pushdown.Int4), jsonValue(" null "), "NULL"},
		{"JSON number", kind(pushdown.Int4), jsonValue("1.2e1"), "12"},
		{"JSON number to numeric", kind(pushdown.Numeric), jsonValue("12345678901234567890.10"), "12345678901234567890.10"},
		{"JSON number to bool", kind(pushdown.Bool), jsonValue("0"), "false"},
		{"JSON string", kind(pushdown.Text), jsonValue(`"a\u00e4\ud83d\ude00\n\""`), "aä😀\n\""},
		{"JSON string with NUL", kind(pushdown.Text), jsonValue(`"\u0000"`), "!22021"},
		{"JSON string with half a pair", kind(pushdown.Text), jsonValue(`"\ud83d"`), "!22P02"},
		{"JSON string to int4", kind(pushdown.Int4), jsonValue(`"12"`), "12"},
		{"JSON object to text", kind(pushdown.Text), jsonValue(`{"a": 1}`), `{"a": 1}`},
		{"JSON object to jsonb", kind(pushdown.JSONB), jsonValue(`{"a": 1}`), `{"a": 1}`},
		{"JSON array to json", kind(pushdown.JSON), jsonValue(`[1,2]`), `[1,2]`},
		{"JSON object to int4", kind(pushdown.Int4), jsonValue(`{}`), "!22P02"},
		{"JSON true to bool", kind(pushdown.Bool), jsonValue(`true`), "true"},
		{"JSON true to text", kind(pushdown.Text), jsonValue(`true`), "true"},
		{"broken JSON", kind(pushdown.Text), jsonValue(`{"a":`), "!22P02"},
		{"no JSON at all", kind(pushdown.Text), jsonValue(``), "!22P02"},
		{"broken JSON to jsonb", kind(pushdown.JSONB), str(`{"a":`), "!22P02"},
		{"empty text to json", kind(pushdown.JSON), str(``), "!22P02"},
		{"jsonb with NUL", kind(pushdown.JSONB), str(`"a\u0000"`), "!22P02"},
		{"json with NUL escape", kind(pushdown.JSON), str(`"a\u0000"`), `"a\u0000"`},
		{"jsonb with a pair", kind(pushdown.JSONB), str(`"\ud83d\ude00"`), `"\ud83d\ude00"`},
		{"jsonb with half a pair", kind(pushdown.JSONB), str(`"\ud83d x"`), "!22P02"},
		{"jsonb with the other half", kind(pushdown.JSONB), str(`"\ude00"`), "!22P02"},
		{"jsonb with two first halves", kind(pushdown.JSONB), str(`"\ud83d\ud83d\ude00"`), "!22P02"},
		{"jsonb half before an escape", kind(pushdown.JSONB), str(`"\ud83d\n"`), "!22P02"},
		{"jsonb with an escaped backslash", kind(pushdown.JSONB), str(`"\\u0000"`), `"\\u0000"`},

		{"JSON array to int4[]", array(pushdown.Int4), jsonValue(`[1, null, 3]`), "{1,NULL,3}"},
		{"empty JSON array", array(pushdown.Int4), jsonValue(`[ ]`), "{}"},
		{"JSON strings to text[]", array(pushdown.Text), jsonValue(`["a,b", "c\"]", ""]`), `{"a,b","c\"]",""}`},
		{"nested JSON array", array(pushdown.Int4), jsonValue(`[[1,2],[3,4]]`), "{1,2,3,4}"},
		{"ragged JSON array", array(pushdown.Int4), jsonValue(`[[1,2],[3]]`), "!22P02"},
		{"JSON array of mixed depth", array(pushdown.Int4), jsonValue(`[[1],2]`), "!22P02"},
		{"JSON array of mixed depth, other way", array(pushdown.Int4), jsonValue(`[1,[2]]`), "!22P02"},
		{"JSON array to jsonb[]", array(pushdown.JSONB), jsonValue(`[{"a":[1]},[2]]`), `{"{\"a\":[1]}",[2]}`},
		{"JSON objects to text[]", array(pushdown.Text), jsonValue(`[{"a":1}]`), `{"{\"a\":1}"}`},
		{"bad element", array(pushdown.Int2), jsonValue(`[1,70000]`), "!22003"},
		{"JSON string to int4[]", array(pushdown.Int4), jsonValue(`"{1,2}"`), "{1,2}"},
		{"literal to varchar(2)[]", pushdown.Type{Kind: pushdown.Varchar, Array: true, Length: 2}, str(`{ab,abc}`), "!22001"},
		{"no literal", array(pushdown.Int4), str(`1,2`), "!22P02"},
		{"literal left open", array(pushdown.Int4), str(`{1,2`), "!22P02"},
		{"literal with a rest", array(pushdown.Int4), str(`{1}x`), "!22P02"},
		{"literal with a trailing comma", array(pushdown.Int4), str(`{1,}`), "!22P02"},
		{"ragged literal", array(pushdown.Int4), str(`{{1,2},{3}}`), "!22P02"},
		{"seven dimensions", array(pushdown.Int4), str(`{{{{{{{1}}}}}}}`), "!22P02"},

		{"bytes to bytea", kind(pushdown.Bytea), raw("\x00\xff"), `\x00ff`},
		{"bytes to uuid", kind(pushdown.UUID), raw("0123456789abcdef"), "30313233-3435-3637-3839-616263646566"},
		{"bytes to uuid, too few", kind(pushdown.UUID), raw("01234567"), "!22P02"},
		{"bytes to text", kind(pushdown.Text), raw("ä"), "ä"},
		{"bytes to text, not UTF-8", kind(pushdown.Text), raw("\xe4"), "!22021"},
		{"bytes to int", kind(pushdown.Int4), raw("\x00\x00\x00\x01"), "!22P02"},
		{"number to text", kind(pushdown.Text), number("1.50"), "1.50"},
		{"number to date", kind(pushdown.Date), number("1"), "!22P02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := one(c.t, c.give)
			if state, refused := strings.CutPrefix(c.want, "!"); refused {
				var ce *rows.ConversionError
				require.ErrorAs(t, err, &ce, "got %x", got)
				require.Equal(t, state, ce.SQLState, "%v", err)
				require.NotEmpty(t, ce.Reason)
				require.LessOrEqual(t, len(ce.Value), 70)
				return
			}
			require.NoError(t, err)
			if c.want == "NULL" {
				require.Nil(t, got)
				return
			}
			v, err := rows.DecodeValue(c.t, got)
			require.NoError(t, err)
			require.Equal(t, c.want, string(pushdown.AppendText(nil, v, c.t)))
		})
	}
}

func TestConversionError_ShortensAtACharacter(t *testing.T) {
	_, err := one(kind(pushdown.Int4), str(strings.Repeat("ä", 100)))
	var ce *rows.ConversionError
	require.ErrorAs(t, err, &ce)
	require.Equal(t, strings.Repeat("ä", 32)+"...", ce.Value)
	_, err = one(kind(pushdown.Int4), str("x"+strings.Repeat("ä", 100)))
	require.ErrorAs(t, err, &ce)
	require.Equal(t, "x"+strings.Repeat("ä", 31)+"...", ce.Value)
}

func TestBuilder_NaNHasPostgreSQLsBits(t *testing.T) {
	for k, want := range map[pushdown.Kind]string{pushdown.Float4: "7fc00000", pushdown.Float8: "7ff8000000000000"} {
		for _, nan := range []float64{math.NaN(), -math.NaN(), math.Float64frombits(0xfff8000000000001)} {
			got, err := one(kind(k), float(nan))
			require.NoError(t, err)
			require.Equal(t, want, hex.EncodeToString(got))
		}
	}
}

func TestBuilder_Decimal(t *testing.T) {
	for _, c := range []struct {
		unscaled int64
		scale    int
		want     string
	}{
		{0, 0, "0"}, {0, 2, "0.00"}, {1, 2, "0.01"}, {-1, 4, "-0.0001"}, {1, 5, "0.00001"}, {10000, 4, "1.0000"},
		{123456789, 3, "123456.789"}, {math.MaxInt64, 18, "9.223372036854775807"}, {math.MinInt64, 0, "-9223372036854775808"},
		{math.MinInt64, 17, "-92.23372036854775808"}, {1000000, 2, "10000.00"},
	} {
		got, err := one(kind(pushdown.Numeric), func(b *rows.Builder) { b.Decimal(c.unscaled, c.scale) })
		require.NoError(t, err)
		want, err := one(kind(pushdown.Numeric), str(c.want))
		require.NoError(t, err)
		require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), c.want)
		got, err = one(kind(pushdown.Text), func(b *rows.Builder) { b.Decimal(c.unscaled, c.scale) })
		require.NoError(t, err)
		require.Equal(t, c.want, string(got), "as text")
	}
	got, err := one(numeric(6, 2), func(b *rows.Builder) { b.Decimal(123456, 2) })
	require.NoError(t, err)
	v, err := rows.DecodeValue(numeric(6, 2), got)
	require.NoError(t, err)
	require.Equal(t, "1234.56", v.V)
	require.Panics(t, func() { _, _ = one(kind(pushdown.Text), func(b *rows.Builder) { b.Decimal(1, 19) }) })
}
