// Whether a row of the API already has the values that are to be written: values
// are compared, not their text, as PostgreSQL's = does for the column's type.

package bridge

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// unchanged reports whether the row has these values in these columns, or would
// have what it has if they were written; keeper, which may be nil, knows that. In
// doubt it has not.
func unchanged(keeper connectors.Keeper, row *liveRow, columns []int, values []pushdown.Value) bool {
	for i, c := range columns {
		if !row.Read[c] {
			return false
		}
		t := row.types[c]
		if t.Array && row.Fields[c] != nil && !plainArray(row.Fields[c]) {
			return false
		}
		has, err := row.Value(c)
		switch {
		case err != nil:
			return false
		case has.IsNull() && values[i].IsNull(), !has.IsNull() && !values[i].IsNull() && equalValues(t, has, values[i]):
		case keeper == nil || !keeper.Keeps(c, has, values[i]):
			return false
		}
	}
	return true
}

// equalValues compares two values of a type that are not NULL. Text is equal by
// its bytes only, whatever the collation.
func equalValues(t pushdown.Type, a, b pushdown.Value) bool {
	switch {
	case t.Array:
		x, ok1 := a.V.([]pushdown.Value)
		y, ok2 := b.V.([]pushdown.Value)
		if !ok1 || !ok2 {
			return false
		}
		t.Array = false
		return slices.EqualFunc(x, y, func(a, b pushdown.Value) bool {
			if a.IsNull() || b.IsNull() {
				return a.IsNull() && b.IsNull()
			}
			return equalValues(t, a, b)
		})
	case t.Kind == pushdown.JSON || t.Kind == pushdown.JSONB:
		x, ok1 := a.V.(string)
		y, ok2 := b.V.(string)
		return ok1 && ok2 && equalJSON(x, y)
	case t.Kind == pushdown.Other:
		return a == b
	}
	truth, err := pushdown.Eval(&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Param{Type: t, Known: true, Value: a},
		Right: &pushdown.Param{Type: t, Known: true, Value: b}, Collation: bytewise()}, nil, nil)
	return err == nil && truth == pushdown.True
}

// bytewise is the collation in which what is equal is the same.
func bytewise() pushdown.Collation {
	return pushdown.Collation{Name: "C", C: true, Deterministic: true}
}

// equalJSON compares two JSON texts as jsonb does: without regard to blanks, to
// the order of members, or to how a number is written.
func equalJSON(a, b string) bool {
	if a == b {
		return true
	}
	x, ok1 := parseJSON(a)
	y, ok2 := parseJSON(b)
	return ok1 && ok2 && equalParsed(x, y)
}

func parseJSON(s string) (v any, ok bool) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return v, true
}

func equalParsed(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !equalParsed(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalParsed)
	case json.Number:
		y, ok := b.(json.Number)
		return ok && canonicalNumber(string(x)) == canonicalNumber(string(y))
	}
	return a == b // string, bool, nil
}

// canonicalNumber is one text for all ways to write a JSON number: its sign, its
// digits without zeros at either end, and the power of ten of the last one.
func canonicalNumber(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil {
			return sign + s // past any number that PostgreSQL has
		}
		exponent, s = n, s[:i]
	}
	whole, frac, _ := strings.Cut(s, ".")
	digits := strings.TrimLeft(whole+frac, "0")
	exponent -= len(frac)
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	return sign + short + "e" + strconv.Itoa(exponent+len(digits)-len(short))
}
