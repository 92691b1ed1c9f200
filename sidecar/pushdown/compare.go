package pushdown

// Comparison in the default btree order of PostgreSQL's types.

import (
	"bytes"
	"cmp"
	"math"
	"strings"
	"unicode/utf8"
)

// compareFunc compares two values that are not NULL.
type compareFunc func(a, b Value) (int, error)

func isText(t Type) bool { return !t.Array && (t.Kind == Text || t.Kind == Varchar) }

func isBPChar(t Type) bool { return !t.Array && t.Kind == BPChar }

// comparer returns the comparison of values of two types, or says why there is
// none here. If ordered is false only the result's being 0 has a meaning.
func comparer(a, b Type, coll Collation, ordered bool) (compareFunc, error) {
	if a.Array || b.Array {
		return nil, unsupported("comparison of arrays is PostgreSQL's to know")
	}
	fa, fb := family(a.Kind), family(b.Kind)
	if fa != fb {
		return nil, unsupported("comparison of %s with %s is PostgreSQL's to know", a.Kind, b.Kind)
	}
	switch fa {
	case Int8, Date, Time, Timestamp, TimestampTZ:
		return compareAs(a, cmp.Compare[int64]), nil
	case Float8:
		return compareAs(a, compareFloat), nil
	case Numeric:
		return compareAs(a, CompareNumeric), nil
	case Bool:
		return compareAs(a, func(x, y bool) int {
			switch {
			case x == y:
				return 0
			case x:
				return 1
			}
			return -1
		}), nil
	case UUID:
		return compareAs(a, strings.Compare), nil
	case Bytea:
		return compareAs(a, bytes.Compare), nil
	case Text, BPChar:
		switch {
		case coll.C:
		case !coll.Deterministic:
			return nil, unsupported("equality in collation %s is PostgreSQL's to know", coll.name())
		case ordered:
			return nil, unsupported("order in collation %s is PostgreSQL's to know", coll.name())
		}
		if fa == BPChar {
			return compareAs(a, func(x, y string) int {
				return strings.Compare(strings.TrimRight(x, " "), strings.TrimRight(y, " "))
			}), nil
		}
		return compareAs(a, strings.Compare), nil
	case Enum:
		return enumComparer(a, b, ordered)
	}
	return nil, unsupported("comparison of %s is PostgreSQL's to know", a.Kind)
}

// family names the kinds that compare with each other by one of them.
func family(k Kind) Kind {
	switch k {
	case Int2, Int4, Int8:
		return Int8
	case Float4, Float8:
		return Float8
	case Text, Varchar:
		return Text
	}
	return k
}

func compareAs[T any](t Type, f func(x, y T) int) compareFunc {
	return func(a, b Value) (int, error) {
		x, ok := a.V.(T)
		if !ok {
			return 0, badValue(a, t)
		}
		y, ok := b.V.(T)
		if !ok {
			return 0, badValue(b, t)
		}
		return f(x, y), nil
	}
}

// compareFloat has NaN equal to itself and above everything, and no -0.
func compareFloat(x, y float64) int {
	switch nx, ny := math.IsNaN(x), math.IsNaN(y); {
	case nx && ny:
		return 0
	case nx:
		return 1
	case ny:
		return -1
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func enumComparer(a, b Type, ordered bool) (compareFunc, error) {
	if a.OID != b.OID && a.OID != 0 && b.OID != 0 {
		return nil, unsupported("comparison of two enum types")
	}
	labels := a.Labels
	if len(labels) == 0 {
		labels = b.Labels
	}
	if !ordered {
		return compareAs(a, strings.Compare), nil
	}
	if len(labels) == 0 {
		return nil, unsupported("the order of the enum's labels is not known")
	}
	rank := make(map[string]int, len(labels))
	for i, l := range labels {
		rank[l] = i
	}
	return func(x, y Value) (int, error) {
		xs, _ := x.V.(string)
		ys, _ := y.V.(string)
		i, ok := rank[xs]
		if !ok {
			return 0, badValue(x, a)
		}
		j, ok := rank[ys]
		if !ok {
			return 0, badValue(y, a)
		}
		return cmp.Compare(i, j), nil
	}, nil
}

// CompareNumeric compares two numerics in the form that Value has them, as
// PostgreSQL does: without rounding, -Infinity below and Infinity and then NaN
// above all numbers, NaN equal to NaN.
func CompareNumeric(a, b string) int {
	ra, rb := numericRank(a), numericRank(b)
	if ra != rb || ra != 0 {
		return cmp.Compare(ra, rb)
	}
	an, aw, af := splitNumeric(a)
	bn, bw, bf := splitNumeric(b)
	switch {
	case an && !bn:
		return -1
	case bn && !an:
		return 1
	}
	x := cmp.Compare(len(aw), len(bw))
	if x == 0 {
		x = strings.Compare(aw, bw)
	}
	if x == 0 {
		// Without trailing zeros a shorter fraction is a prefix or differs.
		x = strings.Compare(af, bf)
	}
	if an {
		return -x
	}
	return x
}

// numericRank is 0 for numbers.
func numericRank(s string) int {
	switch s {
	case "-Infinity":
		return -1
	case "Infinity":
		return 1
	case "NaN":
		return 2
	}
	return 0
}

// splitNumeric takes a decimal apart: digits before the point without leading
// zeros and after it without trailing ones. Zero is never negative.
func splitNumeric(s string) (neg bool, whole, frac string) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	whole, frac, _ = strings.Cut(s, ".")
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	return neg && whole+frac != "", whole, frac
}

// padBPChar gives a char(n) the blanks that PostgreSQL stores.
func padBPChar(s string, t Type) string {
	if n := utf8.RuneCountInString(s); n < int(t.Length) {
		return s + strings.Repeat(" ", int(t.Length)-n)
	}
	return s
}

func lowerASCII(s string) string {
	return mapASCII(s, 'A', 'Z', 'a'-'A')
}

func upperASCII(s string) string {
	return mapASCII(s, 'a', 'z', ^byte('a'-'A')+1)
}

func mapASCII(s string, from, to, add byte) string {
	i := 0
	for i < len(s) && (s[i] < from || s[i] > to) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= from && b[i] <= to {
			b[i] += add
		}
	}
	return string(b)
}
