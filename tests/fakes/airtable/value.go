package airtable

import (
	"math"
	"strconv"
	"strings"
	"time"
)

type kind uint8

const (
	isBlank kind = iota
	isNumber
	isText
	isDate
	isList
	isError
)

// value is what a formula computes with. There are no booleans: TRUE() is 1.
type value struct {
	kind kind
	n    float64
	s    string
	t    time.Time
	list []value
	// dateOnly: a date without a time.
	dateOnly bool
}

var (
	blank  = value{}
	failed = value{kind: isError}
)

func number(n float64) value { return value{kind: isNumber, n: n} }

func text(s string) value { return value{kind: isText, s: s} }

func date(t time.Time) value { return value{kind: isDate, t: t} }

func truth(b bool) value {
	if b {
		return number(1)
	}
	return number(0)
}

// true: not 0, "", blank, NaN, an empty list or an error.
func (v value) true() bool {
	switch v.kind {
	case isNumber:
		return v.n != 0 && !math.IsNaN(v.n)
	case isText:
		return v.s != ""
	case isDate:
		return true
	case isList:
		return len(v.list) > 0
	}
	return false
}

// text is the value as & sees it.
func (v value) text() string {
	switch v.kind {
	case isNumber:
		return strconv.FormatFloat(v.n, 'f', -1, 64)
	case isText:
		return v.s
	case isDate:
		if v.dateOnly {
			return v.t.Format(time.DateOnly)
		}
		return v.t.UTC().Format("2006-01-02T15:04:05.000Z")
	case isList:
		parts := make([]string, len(v.list))
		for i, e := range v.list {
			parts[i] = e.text()
		}
		return strings.Join(parts, ", ")
	}
	return ""
}

// number is the value as + sees it; blank is 0.
func (v value) number() (float64, bool) {
	switch v.kind {
	case isBlank:
		return 0, true
	case isNumber:
		return v.n, true
	case isText:
		if v.s == "" {
			return 0, true
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(v.s), 64)
		return n, err == nil
	case isList:
		switch len(v.list) {
		case 0:
			return 0, true
		case 1:
			return v.list[0].number()
		}
	}
	return 0, false
}

// compare with = != < <= > >=. A list is its text, unless it is of one value.
// Blank equals 0, "" and itself, and is less than what is more than 0.
func compare(op string, a, b value, fold bool) value {
	if a.kind == isError || b.kind == isError {
		return failed
	}
	a, b = single(a), single(b)
	var order int
	known := true
	switch {
	case a.kind == isDate || b.kind == isDate:
		at, okA := a.date()
		bt, okB := b.date()
		known = okA && okB
		order = at.Compare(bt)
	case a.kind == isNumber || b.kind == isNumber:
		x, okX := a.number()
		y, okY := b.number()
		known = okX && okY && !math.IsNaN(x) && !math.IsNaN(y)
		switch {
		case x < y:
			order = -1
		case x > y:
			order = 1
		}
	default:
		x, y := a.text(), b.text()
		if fold {
			x, y = strings.ToLower(strings.TrimSpace(x)), strings.ToLower(strings.TrimSpace(y))
		}
		order = strings.Compare(x, y)
	}
	switch op {
	case "=":
		return truth(known && order == 0)
	case "!=":
		return truth(!known || order != 0)
	case "<":
		return truth(known && order < 0)
	case "<=":
		return truth(known && order <= 0)
	case ">":
		return truth(known && order > 0)
	}
	return truth(known && order >= 0)
}

func single(v value) value {
	if v.kind != isList {
		return v
	}
	switch len(v.list) {
	case 0:
		return blank
	case 1:
		return v.list[0]
	}
	return text(v.text())
}

// date is the value as a date: a date, or a text that looks like one.
func (v value) date() (time.Time, bool) {
	switch v = single(v); v.kind {
	case isDate:
		return v.t, true
	case isText:
		return parseDate(v.s)
	}
	return time.Time{}, false
}

// parseDate understands ISO 8601 as far as it is common, and 1/31/2026.
func parseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly, "1/2/2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Millisecond), true
		}
	}
	return time.Time{}, false
}
