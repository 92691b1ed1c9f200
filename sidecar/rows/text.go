package rows

// Text: encoding checks, and the lengths of varchar(n) and char(n).

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// validText reports whether s is UTF-8 without NUL, eight bytes at a time
// while it is ASCII.
func validText(s []byte) bool {
	if len(s) < 8 {
		for _, c := range s {
			if c-1 >= 0x7f {
				return validSlow(s)
			}
		}
		return true
	}
	for rest := s; len(rest) >= 8; rest = rest[8:] {
		if !plainWord(binary.LittleEndian.Uint64(rest)) {
			return validSlow(rest)
		}
	}
	// The last eight bytes, some of them once more; what is not ASCII there may
	// begin before them.
	return plainWord(binary.LittleEndian.Uint64(s[len(s)-8:])) || validSlow(s)
}

// plainWord reports whether all eight bytes are ASCII and none is NUL: among
// bytes below 0x80, subtracting one reaches the high bit only from zero.
func plainWord(x uint64) bool {
	const high, low = 0x8080808080808080, 0x0101010101010101
	return (x|(x-low))&high == 0
}

func validSlow(s []byte) bool { return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0 }

func textProblem(s []byte) *problem {
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return problemf(stateEncoding, "PostgreSQL's text cannot hold the NUL character at byte %d", i)
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && n <= 1 {
			return problemf(stateEncoding, "invalid UTF-8 at byte %d", i)
		}
		i += n
	}
	return problemf(stateEncoding, "invalid UTF-8")
}

// appendString encodes s for a column that holds text as it is, and checks
// what varchar(n), char(n) and enums ask for.
func (c *column) appendString(dst, s []byte) ([]byte, *problem) {
	if !validText(s) {
		return dst, textProblem(s)
	}
	switch c.kind {
	case pushdown.Varchar:
		if c.t.Length > 0 && len(s) > int(c.t.Length) {
			fit, p := fitLength(s, int(c.t.Length))
			if p != nil {
				return dst, p
			}
			s = fit
		}
	case pushdown.BPChar:
		if n := int(c.t.Length); n > 0 {
			fit, p := fitLength(s, n)
			if p != nil {
				return dst, p
			}
			dst = append(dst, fit...)
			for i := utf8.RuneCount(fit); i < n; i++ {
				dst = append(dst, ' ')
			}
			return dst, nil
		}
	case pushdown.Enum:
		if c.labels != nil {
			if _, ok := c.labels[string(s)]; !ok {
				return dst, problemf(stateInvalidText, "the type has no such label")
			}
		}
	}
	return append(dst, s...), nil
}

// fitLength cuts s to n characters if all past them are spaces, as PostgreSQL
// does on input.
func fitLength(s []byte, n int) ([]byte, *problem) {
	if len(s) <= n {
		return s, nil
	}
	end := 0
	for range n {
		if end >= len(s) {
			return s, nil
		}
		_, size := utf8.DecodeRune(s[end:])
		end += size
	}
	for _, b := range s[end:] {
		if b != ' ' {
			return nil, problemf(stateTooLong, "it is longer than %d characters", n)
		}
	}
	return s[:end], nil
}
