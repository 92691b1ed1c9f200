package rows_test

// The encodings against two independent references: pgx's pgtype, always, and
// a real server where HALLWAY_TEST_DSN names one.

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// literals are texts that both PostgreSQL and the Builder must read alike, by
// type.
func literals() map[string][]string {
	ints := []string{"0", "1", "-1", "127", "-128", "32767", "-32768", " 42 ", "+7", "007"}
	numbers := []string{"0", "1", "-1", "0.0", "-0.00", "1.50", "-1.5", "10000", "9999", "99990000", "123456789.987654321",
		"0.0001", "0.00001", "1e10", "1E-10", "-2.5e3", ".5", "5.", "NaN", "nan", "100000000000000000000000000.000000000000000001",
		"0001.1000", "1000000000000", "12345678", "0.1234", "0.12345", "1e-20"}
	dates := []string{"2000-01-01", "1999-12-31", "2024-02-29", "1900-02-28", "0001-01-01", "1970-01-01", "9999-12-31", "2024-12-31",
		"20240229", "infinity", "-infinity"}
	var stamps []string
	for _, d := range []string{"2000-01-01", "1999-12-31", "2024-02-29", "0001-01-01", "9999-12-31"} {
		for _, c := range []string{"00:00:00", "12:34:56", "23:59:59.999999", "10:11", "01:02:03.5", "01:02:03.000001"} {
			stamps = append(stamps, d+" "+c, d+"T"+c)
		}
	}
	stamps = append(stamps, "infinity", "-infinity")
	return map[string][]string{
		"bool":      {"true", "false", "t", "f", "yes", "no", "on", "off", "1", "0", "TRUE", " n ", "y", "tr", "fal"},
		"int2":      ints,
		"int4":      append([]string{"2147483647", "-2147483648", "65536"}, ints...),
		"int8":      append([]string{"9223372036854775807", "-9223372036854775808", "4294967296"}, ints...),
		"float4":    {"0", "-0", "1", "0.1", "-2.5", "3.4028235e38", "1e-45", "NaN", "Infinity", "-Infinity", "16777217"},
		"float8":    {"0", "-0", "1", "0.1", "-2.5", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-Infinity", "inf", "9007199254740993"},
		"numeric":   numbers,
		"text":      {"", "a", "ä", "日本語", "😀", " x ", "NULL", `\`, "line\nbreak"},
		"date":      dates,
		"time":      {"00:00:00", "23:59:59.999999", "24:00:00", "12:34", "01:02:03.4"},
		"timestamp": stamps,
		"timestamptz": {"2000-01-01 00:00:00Z", "2024-02-29T10:11:12.345Z", "2024-02-29 10:11:12+02", "2024-02-29T10:11:12-05:30",
			"2024-02-29T10:11:12+0530", "1999-12-31 23:59:59.999999+00:00", "0001-01-01 00:00:00+15:59", "infinity", "-infinity"},
		"uuid":          {"00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11"},
		"json":          {`{"a": [1, 2, {"b": null}]}`, `[]`, `"x"`, `0`, `null`},
		"jsonb":         {`{"a": [1, 2, {"b": null}]}`, `[]`, `"x"`, `0`, `null`},
		"bytea":         {`\x`, `\x00ff`, `\xDEADbeef`, `abc`, `a\\b`, `\000\377`},
		"int4[]":        {"{}", "{1}", "{1,NULL,-3}", "{{1,2},{3,4}}", "{{{1}},{{2}}}", " { 1 , 2 } "},
		"text[]":        {"{}", `{a,"b c","","NULL",NULL,null,"x\"y\\z"}`, `{{a,b},{c,d}}`, `{ä,😀}`, `{a b , c}`, `{"a\b"}`},
		"numeric[]":     {"{1.5,NaN,NULL}"},
		"timestamptz[]": {`{"2024-02-29 10:11:12Z",infinity}`},
	}
}

// typeNamed is a type with the OIDs of pg_type.
func typeNamed(t testing.TB, name string) pushdown.Type {
	t.Helper()
	m := pgtype.NewMap()
	pt, ok := m.TypeForName(name)
	base := name
	if s, isArray := strings.CutSuffix(name, "[]"); isArray {
		base = s
		pt, ok = m.TypeForName("_" + s)
	}
	require.True(t, ok, "pgtype knows %s", name)
	bt, ok := m.TypeForName(base)
	require.True(t, ok)
	kinds := map[string]pushdown.Kind{"bool": pushdown.Bool, "int2": pushdown.Int2, "int4": pushdown.Int4, "int8": pushdown.Int8,
		"float4": pushdown.Float4, "float8": pushdown.Float8, "numeric": pushdown.Numeric, "text": pushdown.Text, "date": pushdown.Date,
		"time": pushdown.Time, "timestamp": pushdown.Timestamp, "timestamptz": pushdown.TimestampTZ, "uuid": pushdown.UUID,
		"json": pushdown.JSON, "jsonb": pushdown.JSONB, "bytea": pushdown.Bytea}
	out := pushdown.Type{Kind: kinds[base], OID: pt.OID, Name: name}
	if base != name {
		out.Array, out.ElementOID = true, bt.OID
	}
	return out
}

// TestEncode_LikePgtype reads pgtype's binary encoding of pgtype's reading of
// what the Builder wrote, as text, and wants the bytes back.
func TestEncode_LikePgtype(t *testing.T) {
	m := pgtype.NewMap()
	for name, texts := range literals() {
		typ := typeNamed(t, name)
		for _, s := range texts {
			got, err := one(typ, func(b *rows.Builder) { b.String(s) })
			require.NoError(t, err, "%s %q", name, s)
			var again []byte
			switch name {
			case "json", "jsonb":
				again, err = m.Encode(typ.OID, pgtype.BinaryFormatCode, s, nil)
			case "int4[]":
				again = throughPgtype[pgtype.Array[*int32]](t, m, typ.OID, got)
			case "text[]":
				again = throughPgtype[pgtype.Array[*string]](t, m, typ.OID, got)
			case "numeric[]":
				again = throughPgtype[pgtype.Array[pgtype.Numeric]](t, m, typ.OID, got)
			case "timestamptz[]":
				again = throughPgtype[pgtype.Array[pgtype.Timestamptz]](t, m, typ.OID, got)
			case "numeric":
				again = throughPgtype[pgtype.Numeric](t, m, typ.OID, got)
			case "bool":
				again = throughPgtype[bool](t, m, typ.OID, got)
			case "int2":
				again = throughPgtype[int16](t, m, typ.OID, got)
			case "int4":
				again = throughPgtype[int32](t, m, typ.OID, got)
			case "int8":
				again = throughPgtype[int64](t, m, typ.OID, got)
			case "float4":
				again = throughPgtype[float32](t, m, typ.OID, got)
			case "float8":
				again = throughPgtype[float64](t, m, typ.OID, got)
			case "text":
				again = throughPgtype[string](t, m, typ.OID, got)
			case "date":
				again = throughPgtype[pgtype.Date](t, m, typ.OID, got)
			case "time":
				again = throughPgtype[pgtype.Time](t, m, typ.OID, got)
			case "timestamp":
				again = throughPgtype[pgtype.Timestamp](t, m, typ.OID, got)
			case "timestamptz":
				again = throughPgtype[pgtype.Timestamptz](t, m, typ.OID, got)
			case "uuid":
				again = throughPgtype[pgtype.UUID](t, m, typ.OID, got)
			case "bytea":
				again = throughPgtype[[]byte](t, m, typ.OID, got)
			}
			require.NoError(t, err)
			if name == "numeric" && hex.EncodeToString(again) != hex.EncodeToString(got) {
				// pgtype gives zero another weight and no scale, and keeps
				// leading zeros.
				x, err := rows.DecodeValue(typ, got)
				require.NoError(t, err)
				y, err := rows.DecodeValue(typ, again)
				require.NoError(t, err)
				require.Zero(t, pushdown.CompareNumeric(x.V.(string), y.V.(string)), "%s %q", name, s)
				continue
			}
			require.Equal(t, hex.EncodeToString(again), hex.EncodeToString(got), "%s %q", name, s)
		}
	}
}

func throughPgtype[T any](t *testing.T, m *pgtype.Map, oid uint32, b []byte) []byte {
	t.Helper()
	var v T
	require.NoError(t, m.Scan(oid, pgtype.BinaryFormatCode, b, &v), "pgtype reads %x", b)
	out, err := m.Encode(oid, pgtype.BinaryFormatCode, v, []byte{})
	require.NoError(t, err)
	return out
}

// server connects to HALLWAY_TEST_DSN.
func server(t *testing.T) *pgx.Conn {
	t.Helper()
	dsn := os.Getenv("HALLWAY_TEST_DSN")
	if dsn == "" {
		t.Skip("HALLWAY_TEST_DSN names no server; tests/e2e runs this with one")
	}
	conn, err := pgx.Connect(context.Background(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, set := range []string{"SET TimeZone = 'UTC'", "SET extra_float_digits = 1", "SET bytea_output = 'hex'"} {
		_, err := conn.Exec(context.Background(), set)
		require.NoError(t, err)
	}
	return conn
}

// sent is the server's own binary form of a literal, and its text.
func sent(t *testing.T, conn *pgx.Conn, typ, literal string) (binary []byte, text string) {
	t.Helper()
	sql := fmt.Sprintf("SELECT %s::%s, CAST(%s::%s AS text)", quote(literal), typ, quote(literal), typ)
	res := conn.PgConn().ExecParams(context.Background(), sql, nil, nil, nil, []int16{1, 0}).Read()
	require.NoError(t, res.Err, sql)
	return res.Rows[0][0], string(res.Rows[0][1])
}

func quote(s string) string { return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'" }

func TestEncode_LikeTheServer(t *testing.T) {
	conn := server(t)
	for name, texts := range literals() {
		typ := typeNamed(t, name)
		for _, s := range texts {
			want, text := sent(t, conn, name, s)
			if name == "jsonb" { // the server sends it in its own spacing
				s = text
			}
			got, err := one(typ, func(b *rows.Builder) { b.String(s) })
			require.NoError(t, err, "%s %q", name, s)
			require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), "%s %q", name, s)
			v, err := rows.DecodeValue(typ, want)
			require.NoError(t, err)
			if !typ.Array || !strings.Contains(s, "{{") {
				require.Equal(t, text, string(pushdown.AppendText(nil, v, typ)), "%s %q", name, s)
			}
		}
	}
}

// TestEncode_RandomNumericsLikeTheServer is for the groups of four digits, where
// errors like to sit.
func TestEncode_RandomNumericsLikeTheServer(t *testing.T) {
	conn := server(t)
	r := rand.New(rand.NewPCG(1, 2))
	typ := typeNamed(t, "numeric")
	for range 2000 {
		s := randomNumeric(r)
		want, _ := sent(t, conn, "numeric", s)
		got, err := one(typ, func(b *rows.Builder) { b.String(s) })
		require.NoError(t, err, s)
		require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), s)
	}
	for range 500 {
		unscaled, scale := r.Int64()-r.Int64()>>r.IntN(63), r.IntN(19)
		want, _ := sent(t, conn, "numeric", fmt.Sprintf("%de-%d", unscaled, scale))
		got, err := one(typ, func(b *rows.Builder) { b.Decimal(unscaled, scale) })
		require.NoError(t, err)
		require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), "%d / 10^%d", unscaled, scale)
	}
}

func randomNumeric(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(2) == 0 {
		b.WriteByte('-')
	}
	digits := func(n int) {
		zeros := r.IntN(3) == 0
		for range n {
			if zeros && r.IntN(5) > 0 {
				b.WriteByte('0')
			} else {
				b.WriteByte(byte('0' + r.IntN(10)))
			}
		}
	}
	digits(1 + r.IntN(14))
	if r.IntN(2) == 0 {
		b.WriteByte('.')
		digits(r.IntN(14))
	}
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "e%d", r.IntN(60)-30)
	}
	return b.String()
}

// TestEncode_RandomMomentsLikeTheServer walks over the whole range of dates and
// timestamps.
func TestEncode_RandomMomentsLikeTheServer(t *testing.T) {
	conn := server(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		day := r.Int64N(2145031949+2451545) - 2451545
		us := r.Int64N(9223371331200000000)
		if r.IntN(3) == 0 {
			day, us = r.Int64N(800000)-730000, -r.Int64N(211813488000000000)
		}
		for name, v := range map[string]int64{"date": day, "timestamp": us, "timestamptz": us} {
			typ := typeNamed(t, name)
			s := string(pushdown.AppendText(nil, pushdown.Value{V: v}, typ))
			want, text := sent(t, conn, name, s)
			require.Equal(t, text, s)
			got, err := one(typ, func(b *rows.Builder) { b.String(s) })
			require.NoError(t, err, s)
			require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), s)
			native, err := one(typ, func(b *rows.Builder) { b.Micros(v) })
			require.NoError(t, err)
			require.Equal(t, got, native, s)
		}
	}
}

// TestEncode_FloatsLikeTheServer compares the text of floats.
func TestEncode_FloatsLikeTheServer(t *testing.T) {
	conn := server(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		for _, bits := range []int{32, 64} {
			v := r.NormFloat64() * pow10(r.IntN(40)-20)
			name := "float8"
			if bits == 32 {
				name, v = "float4", float64(float32(v))
			}
			s := string(pushdown.AppendFloat(nil, v, bits))
			_, text := sent(t, conn, name, s)
			if text == s {
				continue
			}
			// PostgreSQL does not take a shorter text that lies just between two
			// floats; it reads it as we do.
			require.Equal(t, len(text), len(s)+1)
			back, err := strconv.ParseFloat(text, bits)
			require.NoError(t, err)
			require.Equal(t, v, back, "%s or %s", s, text)
		}
	}
}

func pow10(n int) float64 {
	f := 1.0
	for ; n > 0; n-- {
		f *= 10
	}
	for ; n < 0; n++ {
		f /= 10
	}
	return f
}
