package salesforce

import (
	"slices"
	"strings"
	"time"
	"unicode"
)

// fold makes texts equal that the API calls equal: those that differ in case only.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, text)
}

func compareOp(f *Field, op string, v any, values []any) bool {
	switch op {
	case "=":
		return equal(f, v, values[0])
	case "!=":
		return !equal(f, v, values[0])
	case "in", "not in":
		return slices.ContainsFunc(values, func(x any) bool { return equal(f, v, x) }) == (op == "in")
	case "like":
		text, ok := v.(string)
		return ok && like(fold(text), fold(values[0].(string)))
	case "includes", "excludes":
		text, _ := v.(string)
		return includes(text, values) == (op == "includes")
	}
	if v == nil || values[0] == nil {
		return false
	}
	n := order(f, v, values[0])
	switch op {
	case "<":
		return n < 0
	case "<=":
		return n <= 0
	case ">":
		return n > 0
	}
	return n >= 0
}

func equal(f *Field, v, x any) bool {
	if x == nil || x == "" {
		return v == nil || v == false
	}
	return v != nil && order(f, v, x) == 0
}

// order compares two values of a field, none of them nil.
func order(f *Field, a, b any) int {
	switch a := a.(type) {
	case string:
		b := b.(string)
		if f.CaseSensitive || f.Type == "id" || f.Type == "reference" {
			return strings.Compare(a, b)
		}
		return strings.Compare(fold(a), fold(b))
	case float64:
		switch b := b.(float64); {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	case bool:
		switch {
		case a == b.(bool):
			return 0
		case a:
			return 1
		}
		return -1
	case time.Time:
		return a.Compare(b.(time.Time))
	case Date:
		return strings.Compare(string(a), string(b.(Date)))
	case TimeOfDay:
		return strings.Compare(string(a), string(b.(TimeOfDay)))
	}
	return 0
}

// includes is whether one of the values, each some picks joined by semicolons, has
// all its picks among those of a record.
func includes(text string, values []any) bool {
	picks := strings.Split(fold(text), ";")
	return slices.ContainsFunc(values, func(v any) bool {
		for _, want := range strings.Split(fold(v.(string)), ";") {
			if !slices.Contains(picks, strings.TrimSpace(want)) {
				return false
			}
		}
		return true
	})
}

// like matches a folded pattern: % any text, _ one character, \ before what is meant.
func like(text, pattern string) bool {
	t, p := []rune(text), []rune(pattern)
	ti, pi, star, mark := 0, 0, -1, 0
	for ti < len(t) {
		switch {
		case pi < len(p) && p[pi] == '%':
			star, mark = pi, ti
			pi++
			continue
		case pi < len(p) && p[pi] == '_':
			ti, pi = ti+1, pi+1
			continue
		case pi+1 < len(p) && p[pi] == '\\' && p[pi+1] == t[ti]:
			ti, pi = ti+1, pi+2
			continue
		case pi < len(p) && p[pi] != '\\' && p[pi] == t[ti]:
			ti, pi = ti+1, pi+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		ti, pi = mark, star+1
	}
	for pi < len(p) && p[pi] == '%' {
		pi++
	}
	return pi == len(p)
}
