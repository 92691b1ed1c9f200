package rows

// Reading texts: booleans, numbers, uuids, bytea's forms and JSON's escapes.

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"unsafe"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

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
