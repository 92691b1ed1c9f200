package rows

// Conversions of single values into a column's type. Each appends the value
// without its length and leaves dst's earlier bytes alone.
//
// What is taken for what:
//
//   - An integer fits a smaller integer if in range, a float if exact, numeric,
//     text, JSON, and a boolean if it is 0 or 1.
//   - A float fits an integer if integral, numeric by its shortest digits,
//     text, JSON. float4 rounds.
//   - A boolean fits text and JSON.
//   - Text is read as the type's input function reads it: numbers (12.00 is an
//     integer), booleans, enum labels, uuid, JSON, bytea's hex and escape forms,
//     array literals; dates and times in ISO 8601, RFC 3339 and PostgreSQL's own
//     output. A time zone is applied: timestamp shows the time in UTC, and
//     without a zone timestamptz is in UTC. A date whose clock does not stand at
//     midnight is refused.
//   - numeric(p, s) and varchar(n) refuse what would be lost, but for trailing
//     zeros and, as in PostgreSQL, trailing blanks. Fractions of a second are
//     rounded to microseconds: no API's nanoseconds would fit otherwise.

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// kindArray is a column's kind when its type is an array.
const kindArray pushdown.Kind = 255

// column is a type made ready for encoding.
type column struct {
	kind   pushdown.Kind // of the type; kindArray; 0: no column
	t      pushdown.Type
	elem   *column             // of an array
	labels map[string]struct{} // of an enum; nil: not known
}

func newColumn(t pushdown.Type) column {
	c := column{kind: t.Kind, t: t}
	switch {
	case t.Array:
		e := t
		e.Array, e.OID, e.ElementOID = false, t.ElementOID, 0
		if n := len(e.Name); n > 2 && e.Name[n-2:] == "[]" {
			e.Name = e.Name[:n-2]
		}
		ec := newColumn(e)
		c.kind, c.elem = kindArray, &ec
	case t.Kind == pushdown.Enum && len(t.Labels) > 0:
		c.labels = make(map[string]struct{}, len(t.Labels))
		for _, l := range t.Labels {
			c.labels[l] = struct{}{}
		}
	case t.Kind < pushdown.Bool || t.Kind > pushdown.Other:
		c.kind = pushdown.Other
	}
	return c
}

func wrongKind(what string) *problem {
	return problemf(stateInvalidText, "%s has no meaning for this type", what)
}

func (c *column) appendBool(dst []byte, v bool) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Bool:
		if v {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.JSON, pushdown.JSONB, pushdown.Enum, pushdown.Other:
		var a [8]byte
		return c.appendLiteral(dst, strconv.AppendBool(a[:0], v))
	}
	return dst, wrongKind("a boolean")
}

func (c *column) appendInt(dst []byte, v int64) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Int8:
		return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
	case pushdown.Int4:
		if int64(int32(v)) != v {
			return dst, problemf(stateOutOfRange, "it is out of range")
		}
		return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
	case pushdown.Int2:
		if int64(int16(v)) != v {
			return dst, problemf(stateOutOfRange, "it is out of range")
		}
		return binary.BigEndian.AppendUint16(dst, uint16(v)), nil
	case pushdown.Float8:
		f := float64(v)
		if f == 1<<63 || int64(f) != v {
			return dst, problemf(stateOutOfRange, "it cannot be held exactly")
		}
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(f)), nil
	case pushdown.Float4:
		f := float32(v)
		if f == 1<<63 || int64(f) != v {
			return dst, problemf(stateOutOfRange, "it cannot be held exactly")
		}
		return binary.BigEndian.AppendUint32(dst, float32Bits(f)), nil
	case pushdown.Numeric:
		if c.t.Precision == 0 {
			return appendScaled(dst, v, 0), nil
		}
		var a [20]byte
		d, _ := parseDecimal(strconv.AppendInt(a[:0], v, 10))
		return c.appendNumeric(dst, &d)
	case pushdown.Bool:
		if v == 0 || v == 1 {
			return append(dst, byte(v)), nil
		}
		return dst, problemf(stateInvalidText, "only 0 and 1 are booleans")
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.JSON, pushdown.JSONB, pushdown.Enum, pushdown.Other:
		var a [20]byte
		return c.appendLiteral(dst, strconv.AppendInt(a[:0], v, 10))
	}
	return dst, wrongKind("an integer")
}

func (c *column) appendFloat(dst []byte, v float64) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Float8:
		return binary.BigEndian.AppendUint64(dst, float64Bits(v)), nil
	case pushdown.Float4:
		f := float32(v)
		if math.IsInf(float64(f), 0) && !math.IsInf(v, 0) || f == 0 && v != 0 {
			return dst, problemf(stateOutOfRange, "it is out of range")
		}
		return binary.BigEndian.AppendUint32(dst, float32Bits(f)), nil
	case pushdown.Int2, pushdown.Int4, pushdown.Int8:
		if v != math.Trunc(v) {
			return dst, problemf(stateInvalidText, "it is not an integer")
		}
		if v < -(1<<63) || v >= 1<<63 {
			return dst, problemf(stateOutOfRange, "it is out of range")
		}
		return c.appendInt(dst, int64(v))
	case pushdown.Numeric:
		var a [32]byte
		d, ok := parseDecimal(strconv.AppendFloat(a[:0], v, 'g', -1, 64))
		if !ok {
			return dst, problemf(stateInvalidText, "it is not a number")
		}
		return c.appendNumeric(dst, &d)
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.Other:
		var a [400]byte
		return c.appendLiteral(dst, pushdown.AppendFloat(a[:0], v, 64))
	case pushdown.JSON, pushdown.JSONB:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return dst, problemf(stateInvalidText, "JSON has no such number")
		}
		var a [400]byte
		return c.appendLiteral(dst, pushdown.AppendFloat(a[:0], v, 64))
	}
	return dst, wrongKind("a float")
}

// float64Bits has one NaN, PostgreSQL's.
func float64Bits(v float64) uint64 {
	if v != v {
		return 0x7ff8000000000000
	}
	return math.Float64bits(v)
}

func float32Bits(v float32) uint32 {
	if v != v {
		return 0x7fc00000
	}
	return math.Float32bits(v)
}

// appendLiteral encodes the text of a boolean or number for a column that
// holds text or JSON.
func (c *column) appendLiteral(dst, s []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.JSON:
		return append(dst, s...), nil
	case pushdown.JSONB:
		return append(append(dst, 1), s...), nil
	}
	return c.appendString(dst, s)
}

// appendText parses s as the column's input function would.
func (c *column) appendText(dst, s []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.Enum, pushdown.Other:
		return c.appendString(dst, s)
	case pushdown.Bool:
		v, ok := parseBool(s)
		if !ok {
			return dst, problemf(stateInvalidText, "it is not a boolean")
		}
		return c.appendBool(dst, v)
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Float4, pushdown.Float8, pushdown.Numeric:
		return c.appendNumber(dst, s)
	case pushdown.Date, pushdown.Time, pushdown.Timestamp, pushdown.TimestampTZ:
		return c.appendMoment(dst, s)
	case pushdown.UUID:
		return appendUUID(dst, s)
	case pushdown.JSON, pushdown.JSONB:
		return c.appendRawJSON(dst, s)
	case pushdown.Bytea:
		return appendByteaText(dst, s)
	case kindArray:
		return c.appendArrayLiteral(dst, s)
	}
	return dst, wrongKind("text")
}

// appendNumber encodes a number literal.
func (c *column) appendNumber(dst, s []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8:
		if v, ok := parseInt(s); ok {
			return c.appendInt(dst, v)
		}
		d, ok := parseDecimal(s)
		switch {
		case !ok || d.special != 0:
			return dst, problemf(stateInvalidText, "it is not an integer")
		case !d.integral():
			return dst, problemf(stateInvalidText, "it is not an integer")
		}
		v, ok := d.int64()
		if !ok {
			return dst, problemf(stateOutOfRange, "it is out of range")
		}
		return c.appendInt(dst, v)
	case pushdown.Float4, pushdown.Float8:
		bits := 64
		if c.kind == pushdown.Float4 {
			bits = 32
		}
		v, p := parseFloat(s, bits)
		if p != nil {
			return dst, p
		}
		if bits == 32 {
			return binary.BigEndian.AppendUint32(dst, float32Bits(float32(v))), nil
		}
		return binary.BigEndian.AppendUint64(dst, float64Bits(v)), nil
	case pushdown.Numeric:
		if c.t.Precision == 0 {
			if v, scale, ok := parseScaled(s); ok {
				return appendScaled(dst, v, scale), nil
			}
		}
		d, ok := parseDecimal(s)
		if !ok {
			return dst, problemf(stateInvalidText, "it is not a number")
		}
		return c.appendNumeric(dst, &d)
	case pushdown.Bool:
		if d, ok := parseDecimal(s); ok && d.special == 0 {
			if v, ok := d.int64(); ok && d.integral() && (v == 0 || v == 1) {
				return append(dst, byte(v)), nil
			}
		}
		return dst, problemf(stateInvalidText, "only 0 and 1 are booleans")
	case pushdown.JSON, pushdown.JSONB:
		return c.appendRawJSON(dst, s)
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.Enum, pushdown.Other:
		return c.appendString(dst, s)
	}
	return dst, wrongKind("a number")
}

// int64 is the value of an integral decimal, if it fits.
func (d *decimal) int64() (int64, bool) {
	if d.first < 0 {
		return 0, true
	}
	point := d.point()
	if point-d.first > 19 {
		return 0, false
	}
	var u uint64
	total := len(d.whole) + len(d.frac)
	for i := d.first; i < point; i++ {
		u *= 10
		if i < total {
			u += uint64(d.digit(i))
		}
	}
	if d.neg {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u < 1<<63
}

// appendBytes encodes raw bytes.
func (c *column) appendBytes(dst, v []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Bytea:
		return append(dst, v...), nil
	case pushdown.UUID:
		if len(v) != 16 {
			return dst, problemf(stateInvalidText, "a uuid has 16 bytes, not %d", len(v))
		}
		return append(dst, v...), nil
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.JSON, pushdown.JSONB, pushdown.Enum, pushdown.Other:
		return c.appendText(dst, v)
	}
	return dst, wrongKind("a byte string")
}

// appendTime encodes a point in time.
func (c *column) appendTime(dst []byte, t time.Time) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Timestamp, pushdown.TimestampTZ:
		us, ok := microsOf(t)
		if !ok {
			return dst, problemf(stateDateRange, "it is out of range")
		}
		return appendTimestamp(dst, us)
	case pushdown.Date:
		h, m, s := t.Clock()
		if h|m|s|t.Nanosecond() != 0 {
			return dst, problemf(stateBadDate, "its clock does not stand at midnight")
		}
		y, mo, d := t.Date()
		return appendDate(dst, daysFromCivil(y, int(mo), d))
	case pushdown.Time:
		if y, mo, d := t.Date(); y > 1 || y < 0 || mo != 1 || d != 1 {
			return dst, problemf(stateBadDate, "it has a date, which a time cannot hold")
		}
		h, m, s := t.Clock()
		us := (int64(h)*3600+int64(m)*60+int64(s))*1e6 + int64(math.RoundToEven(float64(t.Nanosecond())/1000))
		return binary.BigEndian.AppendUint64(dst, uint64(us)), nil
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.Other:
		var a [40]byte
		return c.appendString(dst, t.AppendFormat(a[:0], time.RFC3339Nano))
	case pushdown.JSON, pushdown.JSONB:
		var a [44]byte
		s := append(t.AppendFormat(append(a[:0], '"'), time.RFC3339Nano), '"')
		return c.appendLiteral(dst, s)
	}
	return dst, wrongKind("a point in time")
}

// appendMicros encodes a date or time as pushdown.Value has it.
func (c *column) appendMicros(dst []byte, x int64) ([]byte, *problem) {
	switch c.kind {
	case pushdown.Date:
		if x == math.MinInt64 || x == math.MaxInt64 {
			return appendInfiniteDate(dst, x > 0), nil
		}
		return appendDate(dst, x)
	case pushdown.Time:
		if x < 0 || x > microsPerDay {
			return dst, problemf(stateDateRange, "it is out of range")
		}
		return binary.BigEndian.AppendUint64(dst, uint64(x)), nil
	case pushdown.Timestamp, pushdown.TimestampTZ:
		if x == math.MinInt64 || x == math.MaxInt64 {
			return binary.BigEndian.AppendUint64(dst, uint64(x)), nil
		}
		return appendTimestamp(dst, x)
	}
	return dst, wrongKind("a date or time")
}

// appendValue encodes a value of the column's own kind.
func (c *column) appendValue(dst []byte, v pushdown.Value) ([]byte, *problem) {
	switch x := v.V.(type) {
	case bool:
		return c.appendBool(dst, x)
	case int64:
		switch c.kind {
		case pushdown.Date, pushdown.Time, pushdown.Timestamp, pushdown.TimestampTZ:
			return c.appendMicros(dst, x)
		}
		return c.appendInt(dst, x)
	case float64:
		return c.appendFloat(dst, x)
	case string:
		return c.appendText(dst, unsafe.Slice(unsafe.StringData(x), len(x)))
	case []byte:
		return c.appendBytes(dst, x)
	case []pushdown.Value:
		if c.kind == kindArray {
			return c.appendArray(dst, x)
		}
		return dst, wrongKind("an array")
	}
	return dst, problemf(stateInvalidText, "a Go %T is no value", v.V)
}
