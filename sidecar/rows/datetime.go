package rows

// Dates and times: ISO 8601, RFC 3339 and PostgreSQL's own output, to days and
// microseconds since 2000-01-01 in the proleptic Gregorian calendar.

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const (
	microsPerDay = 24 * 60 * 60 * 1_000_000
	// unixEpoch2000 is 2000-01-01 in seconds and days since 1970-01-01.
	unixEpoch2000     = 946684800
	unixEpoch2000Days = 10957

	// PostgreSQL's bounds: from 4713-11-24 BC; timestamps before 294277-01-01,
	// dates before 5874898-01-01.
	minDate      = -2451545
	endDate      = 2145031949
	minTimestamp = -211813488000000000
	endTimestamp = 9223371331200000000
)

func appendDate(dst []byte, days int64) ([]byte, *problem) {
	if days < minDate || days >= endDate {
		return dst, problemf(stateDateRange, "it is out of range")
	}
	return binary.BigEndian.AppendUint32(dst, uint32(int32(days))), nil
}

func appendInfiniteDate(dst []byte, positive bool) []byte {
	if positive {
		return binary.BigEndian.AppendUint32(dst, math.MaxInt32)
	}
	return binary.BigEndian.AppendUint32(dst, 1<<31)
}

func appendTimestamp(dst []byte, us int64) ([]byte, *problem) {
	if us < minTimestamp || us >= endTimestamp {
		return dst, problemf(stateDateRange, "it is out of range")
	}
	return binary.BigEndian.AppendUint64(dst, uint64(us)), nil
}

// microsOf is t in microseconds since 2000-01-01 UTC, rounded half to even.
func microsOf(t time.Time) (int64, bool) {
	s := t.Unix() - unixEpoch2000
	if s < minTimestamp/1_000_000-1 || s > endTimestamp/1_000_000 {
		return 0, false
	}
	return s*1_000_000 + int64(math.RoundToEven(float64(t.Nanosecond())/1000)), true
}

// daysFromCivil counts days since 2000-01-01; year 0 is 1 BC. Months and days
// must be in range.
func daysFromCivil(year, month, day int) int64 {
	y := int64(year)
	if month <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	m := int64(month)
	if m > 2 {
		m -= 3
	} else {
		m += 9
	}
	doy := (153*m+2)/5 + int64(day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468 - unixEpoch2000Days
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// moment is a date and time as written.
type moment struct {
	inf              int // -1, +1: infinity
	days             int64
	micros           int64 // since midnight; may be 24:00 or 60 s past
	hasTime, hasZone bool
	offset           int64 // seconds east of UTC
}

// appendMoment parses s for a date or time column.
func (c *column) appendMoment(dst, s []byte) ([]byte, *problem) {
	s = trimSpace(s)
	if c.kind == pushdown.Time {
		us, rest, ok := parseClock(s)
		if !ok || len(rest) > 0 {
			return dst, problemf(stateBadDate, "it is not a time of the form 12:34:56.789")
		}
		if us > microsPerDay {
			return dst, problemf(stateDateRange, "it is out of range")
		}
		return binary.BigEndian.AppendUint64(dst, uint64(us)), nil
	}
	m, p := parseMoment(s)
	if p != nil {
		return dst, p
	}
	if m.inf != 0 {
		if c.kind == pushdown.Date {
			return appendInfiniteDate(dst, m.inf > 0), nil
		}
		if m.inf > 0 {
			return binary.BigEndian.AppendUint64(dst, math.MaxInt64), nil
		}
		return binary.BigEndian.AppendUint64(dst, 1<<63), nil
	}
	if c.kind == pushdown.Date {
		if m.micros != 0 {
			return dst, problemf(stateBadDate, "its time is not midnight, which a date would lose")
		}
		return appendDate(dst, m.days)
	}
	// Bounds that keep the product from overflowing; appendTimestamp knows the
	// real ones.
	if m.days < minDate-1 || m.days > endTimestamp/microsPerDay-1 {
		return dst, problemf(stateDateRange, "it is out of range")
	}
	return appendTimestamp(dst, m.days*microsPerDay+m.micros-m.offset*1_000_000)
}

func parseMoment(s []byte) (m moment, p *problem) {
	bad := func() (moment, *problem) {
		return m, problemf(stateBadDate, "it is not a date or time of the form 2006-01-02T15:04:05Z")
	}
	switch {
	case foldEqual(s, "infinity"), foldEqual(s, "+infinity"):
		m.inf = 1
		return m, nil
	case foldEqual(s, "-infinity"):
		m.inf = -1
		return m, nil
	}
	bc := false
	if n := len(s); n > 3 && foldEqual(s[n-3:], " bc") {
		bc = true
		s = trimSpace(s[:n-3])
	}
	var month, day int
	year, n := digits(s, 8)
	switch {
	case n == 8 && (len(s) == 8 || !isDigit(s[8]) && s[8] != '-'):
		year, month, day = year/10000, year/100%100, year%100
		s = s[8:]
	case n >= 4 && n <= 7 && len(s) >= n+6 && s[n] == '-' && s[n+3] == '-':
		var ok1, ok2 bool
		month, ok1 = twoDigits(s[n+1:])
		day, ok2 = twoDigits(s[n+4:])
		if !ok1 || !ok2 {
			return bad()
		}
		s = s[n+6:]
	default:
		return bad()
	}
	if bc {
		if year == 0 {
			return bad()
		}
		year = 1 - year
	} else if year == 0 {
		return m, problemf(stateDateRange, "there is no year 0")
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return m, problemf(stateDateRange, "there is no such day")
	}
	m.days = daysFromCivil(year, month, day)
	if len(s) == 0 {
		return m, nil
	}
	if s[0] != 'T' && s[0] != 't' && s[0] != ' ' {
		return bad()
	}
	us, rest, ok := parseClock(trimLeft(s[1:]))
	if !ok {
		return bad()
	}
	m.micros, m.hasTime = us, true
	rest = trimLeft(rest)
	if len(rest) == 0 {
		return m, nil
	}
	if m.offset, ok = parseZone(rest); !ok {
		return bad()
	}
	m.hasZone = true
	return m, nil
}

func trimLeft(s []byte) []byte {
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	return s
}

// digits reads up to limit leading digits.
func digits(s []byte, limit int) (v, n int) {
	for n < len(s) && n < limit && isDigit(s[n]) {
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, n
}

func two(s []byte) int { return int(s[0]-'0')*10 + int(s[1]-'0') }

func twoDigits(s []byte) (int, bool) {
	if len(s) < 2 || !isDigit(s[0]) || !isDigit(s[1]) {
		return 0, false
	}
	return two(s), true
}

// parseClock reads 15:04, 15:04:05, 15:04:05.123456789 or 150405 and returns what
// follows. Seconds may be 60, hours 24 if the rest is zero, as in PostgreSQL.
func parseClock(s []byte) (micros int64, rest []byte, ok bool) {
	h, ok1 := twoDigits(s)
	if !ok1 {
		return 0, nil, false
	}
	s = s[2:]
	colon := len(s) > 0 && s[0] == ':'
	if colon {
		s = s[1:]
	}
	m, ok2 := twoDigits(s)
	if !ok2 || h > 24 || m > 59 {
		return 0, nil, false
	}
	s = s[2:]
	sec, frac := 0, int64(0)
	more := len(s) > 0 && isDigit(s[0])
	if colon {
		if more = len(s) > 0 && s[0] == ':'; more {
			s = s[1:]
		}
	}
	if more {
		var ok3 bool
		if sec, ok3 = twoDigits(s); !ok3 || sec > 60 {
			return 0, nil, false
		}
		s = s[2:]
		if len(s) > 1 && (s[0] == '.' || s[0] == ',') && isDigit(s[1]) {
			s = s[1:]
			frac, s = parseFraction(s)
		}
	}
	micros = (int64(h)*3600+int64(m)*60+int64(sec))*1_000_000 + frac
	if h == 24 && micros != microsPerDay {
		return 0, nil, false
	}
	return micros, s, true
}

// parseFraction reads decimals of a second as microseconds, rounded half to
// even.
func parseFraction(s []byte) (int64, []byte) {
	var v int64
	n := 0
	for n < len(s) && n < 6 && isDigit(s[n]) {
		v = v*10 + int64(s[n]-'0')
		n++
	}
	for i := n; i < 6; i++ {
		v *= 10
	}
	if n == 6 && n < len(s) && isDigit(s[n]) {
		first := s[n]
		more := false
		for n++; n < len(s) && isDigit(s[n]); n++ {
			more = more || s[n] != '0'
		}
		if first > '5' || first == '5' && (more || v%2 == 1) {
			v++
		}
	}
	return v, s[n:]
}

// parseZone reads Z, UTC, +02, +0200, +02:00 and +02:00:30.
func parseZone(s []byte) (offset int64, ok bool) {
	if foldEqual(s, "z") || foldEqual(s, "utc") || foldEqual(s, "gmt") {
		return 0, true
	}
	if s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	neg := s[0] == '-'
	s = s[1:]
	var part [3]int
	for i := 0; len(s) > 0; i++ {
		if i > 0 && s[0] == ':' {
			s = s[1:]
		}
		v, ok := twoDigits(s)
		if !ok || i > 2 {
			return 0, false
		}
		part[i] = v
		s = s[2:]
		if i == 0 && len(s) == 0 {
			break
		}
	}
	if part[0] > 15 || part[1] > 59 || part[2] > 59 {
		return 0, false
	}
	offset = int64(part[0])*3600 + int64(part[1])*60 + int64(part[2])
	if neg {
		offset = -offset
	}
	return offset, true
}
