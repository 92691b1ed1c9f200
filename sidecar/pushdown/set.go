package pushdown

// Membership in long lists: a set of hashed values, made once for a list, gives
// what comparing with each member would.

import (
	"math"
	"strings"
	"sync/atomic"
)

// longList is from how many members on a set is made. Shorter ones are compared
// one by one, which costs less than hashing.
const longList = 16

// valueSet holds the members of a list by what hashKey makes of them.
type valueSet struct {
	// first and n say which list it was made of.
	first   *Value
	n       int
	members map[any]struct{} // nil: the list has a value of a wrong type
	hasNull bool
}

// setCache keeps the set of the list seen last. A parameter's list is not known
// when an expression is compiled, and stays the same from then on.
type setCache struct {
	key  func(Value) (any, bool) // nil: no sets
	last atomic.Pointer[valueSet]
}

// of returns the list's set, or nil if its members are to be compared.
func (c *setCache) of(list []Value) *valueSet {
	if c.key == nil || len(list) < longList {
		return nil
	}
	s := c.last.Load()
	if s == nil || s.first != &list[0] || s.n != len(list) {
		// Two goroutines may both do it; either's will do.
		s = newValueSet(list, c.key)
		c.last.Store(s)
	}
	if s.members == nil {
		return nil
	}
	return s
}

func newValueSet(list []Value, key func(Value) (any, bool)) *valueSet {
	s := &valueSet{first: &list[0], n: len(list), members: make(map[any]struct{}, len(list))}
	for _, v := range list {
		if v.V == nil {
			s.hasNull = true
			continue
		}
		k, ok := key(v)
		if !ok {
			s.members = nil
			return s
		}
		s.members[k] = struct{}{}
	}
	return s
}

// hashKey returns what makes of each value that is not NULL a Go value that is
// the same for two if comparer finds them equal; false: it is none of the
// type's. nil: there is no such thing for the type. The type must be one that
// comparer has taken for equality.
func hashKey(t Type) func(Value) (any, bool) {
	switch family(t.Kind) {
	case Int8, Date, Time, Timestamp, TimestampTZ:
		return itself[int64]
	case Bool:
		return itself[bool]
	case UUID, Text, Enum:
		return itself[string]
	case BPChar:
		return func(v Value) (any, bool) {
			s, ok := v.V.(string)
			return strings.TrimRight(s, " "), ok
		}
	case Bytea:
		return func(v Value) (any, bool) {
			b, ok := v.V.([]byte)
			return string(b), ok
		}
	case Float8:
		return func(v Value) (any, bool) {
			f, ok := v.V.(float64)
			if math.IsNaN(f) {
				return "NaN", ok // equal to itself, as no NaN of Go is
			}
			return f, ok // -0 is the same key as 0
		}
	case Numeric:
		return func(v Value) (any, bool) {
			s, ok := v.V.(string)
			return numericKey(s), ok
		}
	}
	return nil
}

// GroupKey returns what makes of each value that is not NULL a Go value, comparable
// by ==, that is the same for two if GROUP BY finds them equal. nil: there is no
// such thing for the type.
func GroupKey(t Type) func(Value) (any, bool) {
	if t.Array {
		return nil
	}
	return hashKey(t)
}

func itself[T comparable](v Value) (any, bool) {
	_, ok := v.V.(T)
	return v.V, ok
}

// numericKey is one text for all forms of a number: 1, 1.0, +01.
func numericKey(s string) string {
	if numericRank(s) != 0 {
		return s
	}
	neg, whole, frac := splitNumeric(s)
	if frac != "" {
		whole += "." + frac
	}
	if neg {
		return "-" + whole
	}
	return whole
}
