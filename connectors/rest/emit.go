// What stands in a record, as the value of its column: read in place, and given to the
// builder of rows.

package rest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// emitter gives one column's value to the builder.
type emitter struct {
	slot int
	col  *column
	kind emitKind
	// plain: the column is of the field's own kind, an integer, a numeric or a boolean,
	// so that a text of one need not be taken apart again.
	plain bool
}

func newEmitter(slot int, col *column) emitter {
	e := emitter{slot: slot, col: col, kind: emitKindOf(col)}
	switch col.spec.Type.Kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Numeric:
		e.plain = e.kind == emitNumber
	case pushdown.Bool:
		e.plain = e.kind == emitBool
	}
	return e
}

type emitKind uint8

const (
	emitNull emitKind = iota
	emitText
	emitNumber
	emitBool
	emitMoment
	emitUnix
	emitJSON
	emitBytes
)

func emitKindOf(col *column) emitKind {
	f := col.field
	switch {
	case f.List || f.Type == "json":
		return emitJSON
	case f.Type == "number" || f.Type == "integer":
		return emitNumber
	case f.Type == "boolean":
		return emitBool
	case f.Type == "datetime" && f.Format != "iso":
		return emitUnix
	case f.Type == "datetime" && (col.spec.Type.Kind == pushdown.TimestampTZ || col.spec.Type.Kind == pushdown.Timestamp):
		return emitMoment
	case f.Type == "bytes":
		return emitBytes
	}
	return emitText
}

// badValue is the API's value that the column cannot hold.
func (s *scan) badValue(row int, col *column, what string, err error) error {
	e := &connectors.Error{Class: connectors.InvalidValue, API: s.t.src.m.Name, Err: err,
		Message: fmt.Sprintf("bad value in %s: %s", s.t.object.Name, s.t.src.client.Redact(what)),
		Detail:  s.request}
	if col != nil {
		e.Column = col.spec.Name
		e.Message = fmt.Sprintf("bad value in field %q of %s: %s", col.field.Name, s.t.object.Name, s.t.src.client.Redact(what))
		e.Hint = fmt.Sprintf("Column %q could have another type, such as text or jsonb.", col.spec.Name)
	}
	if key := s.keyOf(row); key != "" {
		e.Message = fmt.Sprintf("%s (record %s)", e.Message, strconv.Quote(key))
	}
	return e
}

// value gives one raw value to the builder. Its errors are of kind only; what
// does not fit the column's type EndRow tells.
func (s *scan) value(e *emitter, sp span, page []byte) error {
	f := e.col.field
	if sp.none() {
		if f.Missing == "never" || e.col.key {
			return errors.New("it is missing, though the manifest says that there always is one")
		}
		if f.always() {
			s.out.Bool(false)
			return nil
		}
		s.out.Null()
		return nil
	}
	raw := sp.raw(page)
	switch c := raw[0]; {
	case c == 'n':
		if f.always() || e.col.key {
			return errors.New("it is null, though the manifest says that there always is a value")
		}
		s.out.Null()
		return nil
	case c == '"' && e.kind != emitJSON:
		text := raw[1 : len(raw)-1]
		if len(text) == 0 && f.emptyIsNull() {
			s.out.Null()
			return nil
		}
		if sp.end&escapedBit != 0 {
			var err error
			if s.text, err = unescape(s.text[:0], text); err != nil {
				return fmt.Errorf("invalid JSON: expected %w", err)
			}
			text = s.text
		}
		return s.string(e, text)
	case e.kind == emitJSON:
		if len(raw) == 2 && (c == '"' && f.emptyIsNull() || c == '[' && f.Missing == "absent") {
			s.out.Null()
			return nil
		}
		s.out.JSON(raw)
		return nil
	case c == '{' && f.Special != "":
		s.special(f, raw)
		return nil
	case c == '{' && f.Type == "relation":
		return s.keyInside(e, raw)
	case c == '{' || c == '[':
		return fmt.Errorf("expected %s, found %s", f.Type, kindOf(raw))
	case c == 't' || c == 'f':
		if e.kind != emitBool && e.kind != emitText {
			return fmt.Errorf("expected %s, found %s", f.Type, kindOf(raw))
		}
		s.out.Bool(c == 't')
		return nil
	}
	switch e.kind {
	case emitNumber:
		if f.TrimZeros {
			raw = trimZeros(raw)
		}
		if v, ok := smallInt(raw); ok {
			s.out.Int64(v)
			return nil
		}
		s.out.Number(raw)
	case emitUnix:
		us, ok := unixMicros(raw, f.Format)
		if !ok {
			return fmt.Errorf("expected a number of %s, found %s", f.Format, raw)
		}
		s.out.Micros(us)
	case emitMoment, emitBytes:
		return fmt.Errorf("expected %s, found a number", f.Type)
	default:
		s.out.Number(raw)
	}
	return nil
}

// special gives what an object says that stands in place of a number.
func (s *scan) special(f *Field, raw []byte) {
	switch text := string(memberAt(raw, f.Special)); text {
	case `"NaN"`, `"Infinity"`, `"-Infinity"`:
		s.out.String(textIn([]byte(text)))
	default:
		s.out.Null()
	}
}

// string gives the text of a JSON string.
func (s *scan) string(e *emitter, text []byte) error {
	switch e.kind {
	case emitNumber:
		if v, ok := smallInt(text); e.plain && ok {
			s.out.Int64(v)
			return nil
		}
	case emitBool:
		if e.plain && (string(text) == "true" || string(text) == "false") {
			s.out.Bool(text[0] == 't')
			return nil
		}
	case emitMoment:
		if us, ok := isoMicros(text); ok {
			s.out.Micros(us)
			return nil
		}
	case emitUnix:
		us, ok := unixMicros(text, e.col.field.Format)
		if !ok {
			return fmt.Errorf("expected a number of %s, found %q", e.col.field.Format, shortText(string(text)))
		}
		s.out.Micros(us)
		return nil
	case emitBytes:
		raw, err := base64.StdEncoding.AppendDecode(nil, text)
		if err != nil {
			return fmt.Errorf("expected base64, found %q", shortText(string(text)))
		}
		s.out.Bytes(raw)
		return nil
	}
	if e.col.field.Format == "utc" {
		text = bytes.TrimSuffix(text, []byte{'Z'}) // PostgreSQL's time has no zone
	}
	s.out.Text(text)
	return nil
}

// keyInside gives the key of a record that the API has put in the key's place.
func (s *scan) keyInside(e *emitter, record []byte) error {
	var key []byte
	if o := s.t.src.m.object(e.col.field.Object); o != nil && o.Key != "" {
		key = memberAt(record, o.field(o.Key).Path)
	}
	switch {
	case len(key) > 1 && key[0] == '"':
		return s.string(e, []byte(textIn(key)))
	case len(key) > 0 && (key[0] == '-' || key[0]-'0' <= 9):
		s.out.Number(key)
		return nil
	}
	return fmt.Errorf("expected %s, found an object", e.col.field.Type)
}

func isTrueText(sp span, page []byte) bool {
	return !sp.none() && string(sp.raw(page)) == "true"
}

// trimZeros takes zeros off the end of a fraction.
func trimZeros(raw []byte) []byte {
	if bytes.IndexByte(raw, '.') < 0 || bytes.ContainsAny(raw, "eE") {
		return raw
	}
	return bytes.TrimSuffix(bytes.TrimRight(raw, "0"), []byte{'.'})
}

// smallInt reads an integer of up to 18 digits.
func smallInt(s []byte) (int64, bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	var v int64
	for _, c := range s {
		if c -= '0'; c > 9 {
			return 0, false
		}
		v = v*10 + int64(c)
	}
	if negative {
		v = -v
	}
	return v, true
}

// unixMicros turns a number of seconds or milliseconds since 1970 into
// microseconds since 2000.
func unixMicros(s []byte, format string) (int64, bool) {
	unit := int64(1_000_000)
	if format == "unix_ms" {
		unit = 1000
	}
	if v, ok := smallInt(s); ok {
		if v > 1e15 || v < -1e15 {
			return 0, false
		}
		return v*unit - epoch, true
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || !(f > -1e12 && f < 1e15) {
		return 0, false
	}
	return int64(f*float64(unit)) - epoch, true
}

// daysIn each month of a leap year.
var daysIn = [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// isoMicros reads the usual forms of a point in time in UTC,
// 2006-01-02 15:04:05.000Z with a T or without fraction, from the year 1000
// on. All others go to the builder as text.
func isoMicros(s []byte) (int64, bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || (s[10] != ' ' && s[10] != 'T') || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return 0, false
	}
	two := func(i int) int {
		a, b := s[i]-'0', s[i+1]-'0'
		if a > 9 || b > 9 {
			return -1
		}
		return int(a)*10 + int(b)
	}
	century, yy, month, day := two(0), two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if century < 10 || yy < 0 || month < 1 || month > 12 || day < 1 || day > daysIn[month] || uint(hour) > 23 || uint(minute) > 59 || uint(second) > 59 {
		return 0, false
	}
	if year := century*100 + yy; month == 2 && day == 29 && (year%4 != 0 || (year%100 == 0 && year%400 != 0)) {
		return 0, false
	}
	var frac int64
	if n := len(s) - 1; n > 19 {
		if s[19] != '.' || n == 20 || n > 26 {
			return 0, false
		}
		scale := int64(100_000)
		for _, c := range s[20:n] {
			if c -= '0'; c > 9 {
				return 0, false
			}
			frac += int64(c) * scale
			scale /= 10
		}
	}
	// Days since 2000-03-01, with years that begin in March.
	y, m := century*100+yy, month-3
	if m < 0 {
		m += 12
		y--
	}
	leaps := y/4 - y/100 + y/400
	days := 365*(y-2000) + leaps - (2000/4 - 2000/100 + 2000/400) + (153*m+2)/5 + day - 1 + 60
	return (int64(days)*86400+int64(hour)*3600+int64(minute)*60+int64(second))*1_000_000 + frac, true
}
