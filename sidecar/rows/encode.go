package rows

// Conversions of single values into a column's type. Each appends the value
// without its length and leaves dst's earlier bytes alone.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
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

// parseBool reads what boolean's input function does.
func parseBool(s []byte) (v, ok bool) {
	s = trimSpace(s)
	if len(s) == 0 || len(s) > 5 {
		return false, false
	}
	var a [5]byte
	for i, b := range s {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		a[i] = b
	}
	l := string(a[:len(s)])
	prefix := func(word string) bool { return len(l) <= len(word) && word[:len(l)] == l }
	switch {
	case prefix("true"), prefix("yes"), l == "on", l == "1":
		return true, true
	case prefix("false"), prefix("no"), l == "off", l == "of", l == "0":
		return false, true
	}
	return false, false
}

func parseInt(s []byte) (int64, bool) {
	s = trimSpace(s)
	neg := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	var v int64
	for _, b := range s {
		if !isDigit(b) {
			return 0, false
		}
		v = v*10 + int64(b-'0')
	}
	if neg {
		v = -v
	}
	return v, true
}

// parseFloat reads what float8's (or float4's) input function does in decimal
// notation.
func parseFloat(s []byte, bits int) (float64, *problem) {
	if plainNumber(s) {
		v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(s), len(s)), bits)
		if err == nil && v != 0 {
			return v, nil
		}
	}
	d, ok := parseDecimal(s)
	if !ok {
		return 0, problemf(stateInvalidText, "it is not a number")
	}
	switch d.special {
	case numericNaN:
		return math.NaN(), nil
	case numericPosInf:
		return math.Inf(1), nil
	case numericNegInf:
		return math.Inf(-1), nil
	}
	s = trimSpace(s)
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(s), len(s)), bits)
	if err != nil || v == 0 && d.first >= 0 {
		return 0, problemf(stateOutOfRange, "it is out of range")
	}
	return v, nil
}

// plainNumber reports whether s has only the characters of decimal numbers, so
// that strconv cannot take it for hexadecimal or the like.
func plainNumber(s []byte) bool {
	for _, b := range s {
		if !isDigit(b) && b != '.' && b != '-' && b != '+' && b|0x20 != 'e' {
			return false
		}
	}
	return len(s) > 0
}

// parseScaled reads a decimal number of at most 18 digits without exponent as
// v / 10^scale.
func parseScaled(s []byte) (v int64, scale int, ok bool) {
	neg := len(s) > 0 && s[0] == '-'
	if neg {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 18 {
		return 0, 0, false
	}
	point := -1
	for i, b := range s {
		switch {
		case isDigit(b):
			v = v*10 + int64(b-'0')
		case b == '.' && point < 0:
			point = i
		default:
			return 0, 0, false
		}
	}
	if point >= 0 {
		if len(s) == 1 {
			return 0, 0, false
		}
		scale = len(s) - 1 - point
	}
	if neg {
		v = -v
	}
	return v, scale, true
}

// appendUUID reads what uuid's input function does: 32 hexadecimal digits, a
// dash allowed after each four, braces allowed around.
func appendUUID(dst, s []byte) ([]byte, *problem) {
	bad := func() ([]byte, *problem) { return dst, problemf(stateInvalidText, "it is not a uuid") }
	if len(s) >= 2 && s[0] == '{' && s[len(s)-1] == '}' {
		s = s[1 : len(s)-1]
	}
	out := dst
	n := 0
	for i := 0; i < len(s); {
		if s[i] == '-' && n > 0 && n%4 == 0 && n < 32 && s[i-1] != '-' {
			i++
			continue
		}
		if i+1 >= len(s) || n >= 32 {
			return bad()
		}
		hi, lo := unhex(s[i]), unhex(s[i+1])
		if hi > 15 || lo > 15 {
			return bad()
		}
		out = append(out, hi<<4|lo)
		n += 2
		i += 2
	}
	if n != 32 {
		return bad()
	}
	return out, nil
}

func unhex(b byte) byte {
	switch {
	case b >= '0' && b <= '9':
		return b - '0'
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10
	}
	return 255
}

// appendByteaText reads bytea's hex and escape forms.
func appendByteaText(dst, s []byte) ([]byte, *problem) {
	if bytes.HasPrefix(s, []byte(`\x`)) {
		h := s[2:]
		start := len(dst)
		dst = append(dst, make([]byte, hex.DecodedLen(len(h)))...)
		if _, err := hex.Decode(dst[start:], h); err != nil {
			return dst[:start], problemf(stateInvalidText, `after \x it is not hexadecimal`)
		}
		return dst, nil
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		rest := s[i+1:]
		switch {
		case len(rest) > 0 && rest[0] == '\\':
			dst = append(dst, '\\')
			i++
		case len(rest) >= 3 && rest[0] >= '0' && rest[0] <= '3' && isOctal(rest[1]) && isOctal(rest[2]):
			dst = append(dst, (rest[0]-'0')<<6|(rest[1]-'0')<<3|(rest[2]-'0'))
			i += 3
		default:
			return dst, problemf(stateInvalidText, "it has a backslash that begins no escape")
		}
	}
	return dst, nil
}

// appendRawJSON checks JSON text and encodes it.
func (c *column) appendRawJSON(dst, s []byte) ([]byte, *problem) {
	if !validText(s) {
		return dst, textProblem(s)
	}
	if !json.Valid(s) {
		return dst, problemf(stateInvalidText, "it is not valid JSON")
	}
	if c.kind == pushdown.JSONB {
		if p := checkJSONBEscapes(s); p != nil {
			return dst, p
		}
		dst = append(dst, 1)
	}
	return append(dst, s...), nil
}

// checkJSONBEscapes refuses what jsonb does and json does not: \u0000 and
// halves of surrogate pairs.
func checkJSONBEscapes(s []byte) *problem {
	high := false // the last thing was the first half of a pair
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || s[i+1] != 'u' {
			if high {
				return problemf(stateInvalidText, "jsonb cannot hold half a surrogate pair")
			}
			if s[i] == '\\' {
				i++
			} else if j := bytes.IndexByte(s[i:], '\\'); j < 0 {
				break
			} else if j > 0 {
				i += j - 1
			}
			continue
		}
		u := rune(unhex(s[i+2]))<<12 | rune(unhex(s[i+3]))<<8 | rune(unhex(s[i+4]))<<4 | rune(unhex(s[i+5]))
		i += 5
		switch {
		case u == 0:
			return problemf(stateInvalidText, `jsonb cannot hold \u0000`)
		case u >= 0xD800 && u < 0xDC00 && !high:
			high = true
			continue
		case u >= 0xDC00 && u < 0xE000 && high:
		case u >= 0xD800 && u < 0xE000 || high:
			return problemf(stateInvalidText, "jsonb cannot hold half a surrogate pair")
		}
		high = false
	}
	return nil
}

func isJSONNull(raw []byte) bool {
	raw = trimSpace(raw)
	return len(raw) == 4 && string(raw) == "null"
}

func isDigit(b byte) bool { return b-'0' <= 9 }

func isOctal(b byte) bool { return b-'0' <= 7 }

func trimSpace(s []byte) []byte {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(b byte) bool { return b == ' ' || b-'\t' <= '\r'-'\t' }

// foldEqual compares s without regard to ASCII case with a lower-case word.
func foldEqual(s []byte, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i, b := range s {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != word[i] {
			return false
		}
	}
	return true
}

func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }
