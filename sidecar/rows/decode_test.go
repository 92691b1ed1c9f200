package rows_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestDecodeValue_RefusesWhatIsNotTheType(t *testing.T) {
	for _, c := range []struct {
		name string
		t    pushdown.Type
		hex  string
	}{
		{"empty bool", kind(pushdown.Bool), ""},
		{"long bool", kind(pushdown.Bool), "0101"},
		{"short int8", kind(pushdown.Int8), "00000000000000"},
		{"short date", kind(pushdown.Date), "000000"},
		{"short uuid", kind(pushdown.UUID), "00"},
		{"time past midnight", kind(pushdown.Time), "000000141dd76001"},
		{"negative time", kind(pushdown.Time), "ffffffffffffffff"},
		{"short numeric", kind(pushdown.Numeric), "00000000000000"},
		{"numeric without its digits", kind(pushdown.Numeric), "0001000000000000"},
		{"numeric with a rest", kind(pushdown.Numeric), "0000000000000000 00"},
		{"numeric with a wrong sign", kind(pushdown.Numeric), "0000000012340000"},
		{"numeric with a wrong digit", kind(pushdown.Numeric), "0001000000000000 2710"},
		{"numeric with a wrong scale", kind(pushdown.Numeric), "000100000000ffff 0001"},
		{"empty jsonb", kind(pushdown.JSONB), ""},
		{"jsonb of version 2", kind(pushdown.JSONB), "027b7d"},
		{"text not UTF-8", kind(pushdown.Text), "ff"},
		{"text with NUL", kind(pushdown.Text), "610062"},
		{"short array", array(pushdown.Int4), "0000000000000000000000"},
		{"array of seven dimensions", array(pushdown.Int4), "00000007 00000000 00000063" + strings.Repeat("0000000100000001", 7)},
		{"array of another type", array(pushdown.Int4), "00000000 00000000 00000017"},
		{"array without its elements", array(pushdown.Int4), "00000001 00000000 00000063 7fffffff 00000001"},
		{"array that overflows", array(pushdown.Int4), "00000002 00000000 00000063 ffffffff 00000001 ffffffff 00000001"},
		{"array with a rest", array(pushdown.Int4), "00000001 00000000 00000063 00000001 00000001 ffffffff 00"},
		{"array with a wrong length", array(pushdown.Int4), "00000001 00000000 00000063 00000001 00000001 00000005 00000001"},
		{"array with a wrong element", array(pushdown.Int4), "00000001 00000000 00000063 00000001 00000001 00000001 01"},
	} {
		_, err := rows.DecodeValue(c.t, unhex(t, c.hex))
		var be *rows.BinaryError
		require.ErrorAs(t, err, &be, c.name)
		require.Equal(t, "22P03", be.SQLState)
	}
}

func TestReader_RefusesToWriteWhatAValueCannotTell(t *testing.T) {
	types := []pushdown.Type{kind(pushdown.Int4), array(pushdown.Int4)}
	tuple := func(arrayHex string) []byte {
		a := unhex(t, arrayHex)
		b := unhex(t, "0002 00000004 00000001")
		b = binary.BigEndian.AppendUint32(b, uint32(len(a)))
		return append(b, a...)
	}
	for name, h := range map[string]string{
		"two dimensions":    "00000002 00000000 00000063 00000001 00000001 00000001 00000001 ffffffff",
		"other lower bound": "00000001 00000000 00000063 00000001 00000000 ffffffff",
	} {
		row := make([]pushdown.Value, 2)
		_, err := rows.NewReader(types, tuple(h)).Next(row)
		var be *rows.BinaryError
		require.ErrorAs(t, err, &be, name)
		require.Equal(t, "0A000", be.SQLState)
		require.Equal(t, 1, be.Column)
		ok, err := rows.NewScanReader(types, tuple(h)).Next(row)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, pushdown.Value{V: []pushdown.Value{{}}}, row[1])
	}
	long := append(unhex(t, "0bb9 0bb8 0000 0000"), make([]byte, 2*3001)...)
	_, err := rows.DecodeValue(kind(pushdown.Numeric), long)
	var be *rows.BinaryError
	require.ErrorAs(t, err, &be, "a numeric that could not be read back")
	require.Equal(t, "0A000", be.SQLState)
}

func TestDecodeTuples_CountsAndLengths(t *testing.T) {
	types := []pushdown.Type{kind(pushdown.Int4), kind(pushdown.Text)}
	good := unhex(t, "0002 00000004 00000007 ffffffff 0002 ffffffff 00000001 61")
	got, err := rows.DecodeTuples(types, good, 2)
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{{V: int64(7)}, {}}, {{}, {V: "a"}}}, got)
	for name, c := range map[string]struct {
		data []byte
		n    int
	}{
		"one too few":      {good, 1},
		"one too many":     {good, 3},
		"far too many":     {good, math.MaxInt32},
		"negative":         {good, -1},
		"cut":              {good[:len(good)-1], 2},
		"cut in a length":  {good[:12], 1},
		"cut in a count":   {append(append([]byte{}, good...), 0), 2},
		"another count":    {unhex(t, "0001 00000004 00000007"), 1},
		"negative length":  {unhex(t, "0002 fffffffe ffffffff"), 1},
		"length past data": {unhex(t, "0002 00000004 00000007 7fffffff"), 1},
	} {
		_, err := rows.DecodeTuples(types, c.data, c.n)
		var be *rows.BinaryError
		require.ErrorAs(t, err, &be, name)
	}
	got, err = rows.DecodeTuples(nil, make([]byte, 6), 3)
	require.NoError(t, err)
	require.Len(t, got, 3, "tuples without columns")
}

// allTypes has one of each, for round trips and fuzzing.
func allTypes() []pushdown.Type {
	var list []pushdown.Type
	for k := pushdown.Bool; k <= pushdown.Other; k++ {
		list = append(list, kind(k), array(k))
	}
	return append(list, varchar(3), bpchar(3), numeric(5, 2), mood)
}

// TestRoundTrip_WhatIsDecodedEncodesToTheSame for random values of each type.
func TestRoundTrip_WhatIsDecodedEncodesToTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, typ := range allTypes() {
		for range 200 {
			v := randomValue(r, typ)
			b, err := one(typ, func(b *rows.Builder) { b.Value(v) })
			require.NoError(t, err, "%s: %#v", rows.TypeName(typ), v)
			back, err := rows.DecodeValue(typ, b)
			require.NoError(t, err)
			again, err := one(typ, func(b *rows.Builder) { b.Value(back) })
			require.NoError(t, err, "%s: %#v", rows.TypeName(typ), back)
			require.Equal(t, b, again, "%s: %#v", rows.TypeName(typ), v)
			// And by its text.
			if typ.Kind != pushdown.Bytea || !typ.Array {
				again, err = one(typ, func(b *rows.Builder) { b.Text(pushdown.AppendText(nil, back, typ)) })
				require.NoError(t, err, "%s: %q", rows.TypeName(typ), pushdown.AppendText(nil, back, typ))
				require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(again), "%s: %#v", rows.TypeName(typ), v)
			}
		}
	}
}

func randomValue(r *rand.Rand, t pushdown.Type) pushdown.Value {
	if t.Array {
		e := t
		e.Array = false
		list := make([]pushdown.Value, r.IntN(4))
		for i := range list {
			if r.IntN(4) > 0 {
				list[i] = randomValue(r, e)
			}
		}
		return pushdown.Value{V: list}
	}
	text := func(n int) string {
		var b strings.Builder
		for range r.IntN(n + 1) {
			b.WriteRune([]rune("abc ÄÖ\"\\{},'\n😀日N")[r.IntN(16)])
		}
		return b.String()
	}
	var v any
	switch t.Kind {
	case pushdown.Bool:
		v = r.IntN(2) == 0
	case pushdown.Int2:
		v = int64(int16(r.Uint32()))
	case pushdown.Int4:
		v = int64(int32(r.Uint32()))
	case pushdown.Int8:
		v = int64(r.Uint64())
	case pushdown.Float4:
		v = float64(float32(r.NormFloat64()))
	case pushdown.Float8:
		v = math.Float64frombits(r.Uint64())
	case pushdown.Numeric:
		v = randomNumeric(r)
		if t.Precision > 0 {
			v = [...]string{"0.00", "999.99", "-1.50"}[r.IntN(3)]
		}
	case pushdown.Date:
		v = [...]int64{math.MinInt64, math.MaxInt64, r.Int64N(1 << 20), -r.Int64N(1 << 20)}[r.IntN(4)]
	case pushdown.Time:
		v = r.Int64N(86400_000001)
	case pushdown.Timestamp, pushdown.TimestampTZ:
		v = [...]int64{math.MinInt64, math.MaxInt64, r.Int64N(1 << 62), -r.Int64N(1 << 57)}[r.IntN(4)]
	case pushdown.UUID:
		v = "01234567-89ab-cdef-0123-456789abcdef"
	case pushdown.JSON, pushdown.JSONB:
		v = [...]string{`{"a": [1, "x"]}`, "null", `"\\\""`, "[ ]"}[r.IntN(4)]
	case pushdown.Bytea:
		b := make([]byte, r.IntN(5))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		v = b
	case pushdown.Enum:
		v = "ok"
	case pushdown.BPChar:
		v = text(int(t.Length))
	case pushdown.Varchar:
		v = text(int(t.Length))
	default:
		v = text(8)
	}
	return pushdown.Value{V: v}
}

// FuzzDecodeTuples: whatever the bytes, an answer, and what was read encodes
// again.
func FuzzDecodeTuples(f *testing.F) {
	types := allTypes()
	for i := range types {
		f.Add(uint8(i), []byte("\x00\x01\xff\xff\xff\xff"))
		f.Add(uint8(i), []byte("\x00\x01\x00\x00\x00\x04abcd"))
	}
	f.Add(uint8(12), []byte("\x00\x01\x00\x00\x00\x0a\x00\x01\x00\x00\x00\x00\x00\x02\x00\x01"))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		typ := types[int(which)%len(types)]
		r := rows.NewScanReader([]pushdown.Type{typ}, data)
		row := make([]pushdown.Value, 1)
		for {
			ok, err := r.Next(row)
			if err != nil {
				var be *rows.BinaryError
				if !errors.As(err, &be) {
					t.Fatalf("not a BinaryError: %v", err)
				}
				return
			}
			if !ok {
				return
			}
			pushdown.AppendText(nil, row[0], typ)
			b := rows.NewBuilder([]pushdown.Type{typ}, func([]byte, int) error { return nil }, rows.Options{})
			b.Value(row[0])
			if err := b.EndRow(); err != nil {
				var ce *rows.ConversionError
				if !errors.As(err, &ce) {
					t.Fatalf("not a ConversionError: %v", err)
				}
			}
		}
	})
}

// FuzzBuilderText: any text into any type is encoded so that it can be read
// back, or refused.
func FuzzBuilderText(f *testing.F) {
	types := allTypes()
	for name, texts := range literals() {
		for _, s := range texts {
			f.Add(uint8(len(name)), s)
		}
	}
	for i := range types {
		for _, s := range []string{"", "{}", "{1,NULL}", "2024-02-29T10:11:12Z", "1e5", `"\ud83d`, "[[1],2]", "-", "+00"} {
			f.Add(uint8(i), s)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, s string) {
		typ := types[int(which)%len(types)]
		for _, give := range []func(b *rows.Builder){
			func(b *rows.Builder) { b.String(s) },
			func(b *rows.Builder) { b.Number([]byte(s)) },
			func(b *rows.Builder) { b.JSON([]byte(s)) },
			func(b *rows.Builder) { b.Bytes([]byte(s)) },
		} {
			got, err := one(typ, give)
			if err != nil {
				var ce *rows.ConversionError
				if !errors.As(err, &ce) {
					t.Fatalf("not a ConversionError: %v", err)
				}
				continue
			}
			if got == nil {
				continue
			}
			if _, err := rows.DecodeValue(typ, got); err != nil {
				t.Fatalf("%s: %q was encoded as %x, which cannot be read: %v", rows.TypeName(typ), s, got, err)
			}
		}
	})
}
