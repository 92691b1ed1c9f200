package conformance

// Random expressions over the values that an object really has, so that most
// of them let some rows through.

import (
	"math"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Collations that random expressions use: the database's, whose order only
// PostgreSQL knows, and C.
func collations() (database, c pushdown.Collation) {
	return pushdown.Collation{Name: "default", Deterministic: true},
		pushdown.Collation{Name: "C", C: true, Deterministic: true}
}

// generator makes expressions.
type generator struct {
	r      *rand.Rand
	types  []pushdown.Type
	values [][]pushdown.Value // rows seen
	params int
}

// conjuncts are one to three conditions.
func (g *generator) conjuncts() []pushdown.Expr {
	g.params = 0
	list := make([]pushdown.Expr, 1+g.r.IntN(3))
	for i := range list {
		list[i] = g.condition(2)
	}
	return list
}

// condition is a tree of at most depth connectives.
func (g *generator) condition(depth int) pushdown.Expr {
	if depth > 0 && g.r.IntN(3) == 0 {
		list := make([]pushdown.Expr, 2+g.r.IntN(2))
		for i := range list {
			list[i] = g.condition(depth - 1)
		}
		switch g.r.IntN(4) {
		case 0:
			return &pushdown.Not{Operand: list[0]}
		case 1:
			return &pushdown.And{Operands: list}
		default:
			return &pushdown.Or{Operands: list}
		}
	}
	return g.leaf()
}

func (g *generator) leaf() pushdown.Expr {
	i := g.r.IntN(len(g.types))
	col := &pushdown.Column{Index: i}
	t := g.types[i]
	database, c := collations()
	coll := pushdown.Collation{}
	isText := !t.Array && (t.Kind == pushdown.Text || t.Kind == pushdown.Varchar || t.Kind == pushdown.BPChar)
	if isText {
		coll = database
		if g.r.IntN(2) == 0 {
			coll = c
		}
	}
	if t.Array || t.Kind == pushdown.JSON || t.Kind == pushdown.JSONB || t.Kind == pushdown.Other || g.r.IntN(10) == 0 {
		return &pushdown.NullTest{Operand: col, Negated: g.r.IntN(2) == 0}
	}
	if t.Kind == pushdown.Bool && g.r.IntN(2) == 0 {
		if g.r.IntN(3) == 0 {
			return col
		}
		return &pushdown.BoolTest{Operand: col, Truth: pushdown.True + pushdown.Truth(g.r.IntN(3)), Negated: g.r.IntN(2) == 0}
	}
	if isText && t.Kind != pushdown.BPChar && g.r.IntN(3) == 0 {
		return g.match(col, coll)
	}
	if g.r.IntN(5) == 0 {
		return g.membership(col, t, coll)
	}
	var left, right pushdown.Expr = col, g.param(t, g.value(i))
	op := pushdown.EQ + pushdown.Operator(g.r.IntN(8))
	if g.r.IntN(3) == 0 {
		op = pushdown.EQ
	}
	if g.r.IntN(6) == 0 {
		left, right = right, left
	}
	return &pushdown.Comparison{Op: op, Left: left, Right: right, Collation: coll}
}

func (g *generator) param(t pushdown.Type, v pushdown.Value) *pushdown.Param {
	p := &pushdown.Param{Index: g.params, Type: t, Known: true, Value: v}
	g.params++
	return p
}

func (g *generator) membership(col pushdown.Expr, t pushdown.Type, coll pushdown.Collation) pushdown.Expr {
	list := make([]pushdown.Value, g.r.IntN(5))
	for i := range list {
		list[i] = g.value(col.(*pushdown.Column).Index)
		if g.r.IntN(8) == 0 {
			list[i] = pushdown.Value{}
		}
	}
	t.Array = true
	var v pushdown.Value
	if g.r.IntN(20) > 0 {
		v.V = list
	}
	return &pushdown.Membership{Operand: col, Array: g.param(t, v), Negated: g.r.IntN(3) == 0, Collation: coll}
}

// match makes a pattern from a text that is there.
func (g *generator) match(col *pushdown.Column, coll pushdown.Collation) pushdown.Expr {
	s, _ := g.value(col.Index).V.(string)
	kind := pushdown.Like
	switch g.r.IntN(6) {
	case 0, 1:
		kind = pushdown.ILike
	case 2:
		kind = pushdown.StartsWith
	}
	cut := func(n int) int { // a character's start
		n = g.r.IntN(n + 1)
		for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		return n
	}
	a := cut(len(s))
	b := a + cut(len(s)-a)
	for b < len(s) && !utf8.RuneStart(s[b]) {
		b++
	}
	p := s[a:b]
	if kind == pushdown.StartsWith {
		p = s[:a]
	} else {
		p = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(p)
		switch g.r.IntN(6) {
		case 0:
			p += "%"
		case 1:
			p = "%" + p
		case 2:
			p = "%" + p + "%"
		case 3:
			p = "%" + p + "_%"
		case 4:
			p = "_" + p + "%"
		}
	}
	v := pushdown.Value{V: p}
	if g.r.IntN(30) == 0 {
		v = pushdown.Value{}
	}
	return &pushdown.Match{Kind: kind, Operand: col, Pattern: g.param(pushdown.Type{Kind: pushdown.Text}, v),
		Negated: g.r.IntN(4) == 0, Collation: coll}
}

// value is one that the column has, or near one, or NULL.
func (g *generator) value(column int) pushdown.Value {
	if len(g.values) == 0 || g.r.IntN(25) == 0 {
		return pushdown.Value{}
	}
	v := g.values[g.r.IntN(len(g.values))][column]
	if v.V == nil {
		for _, row := range g.values {
			if row[column].V != nil {
				v = row[column]
				break
			}
		}
	}
	if g.r.IntN(3) > 0 {
		return v
	}
	return g.near(v, g.types[column])
}

// near changes a value a little, within its type.
func (g *generator) near(v pushdown.Value, t pushdown.Type) pushdown.Value {
	switch x := v.V.(type) {
	case int64:
		d := int64(g.r.IntN(3) - 1)
		switch {
		case x == math.MinInt64 || x == math.MaxInt64:
			return v
		case t.Kind == pushdown.Int2 && int64(int16(x+d)) != x+d, t.Kind == pushdown.Int4 && int64(int32(x+d)) != x+d,
			t.Kind == pushdown.Time && (x+d < 0 || x+d > 86400_000000),
			t.Kind == pushdown.Date && (x+d < -2451545 || x+d > 2145031948),
			(t.Kind == pushdown.Timestamp || t.Kind == pushdown.TimestampTZ) && (x+d < -211813488000000000 || x+d >= 9223371331200000000):
			return v
		}
		return pushdown.Value{V: x + d}
	case float64:
		if t.Kind == pushdown.Float4 {
			return pushdown.Value{V: float64(math.Nextafter32(float32(x), float32(g.r.IntN(3)-1)))}
		}
		return pushdown.Value{V: [...]float64{x + 1, -x, math.Nextafter(x, math.Inf(1)), math.Trunc(x)}[g.r.IntN(4)]}
	case string:
		switch t.Kind {
		case pushdown.Numeric:
			if strings.Trim(x, "-.0123456789") != "" {
				return v
			}
			return pushdown.Value{V: [...]string{x, "0", "-1.5", "1000000", "0.1"}[g.r.IntN(5)]}
		case pushdown.Text, pushdown.Varchar:
			return pushdown.Value{V: g.nearText(x)}
		}
	}
	return v
}

func (g *generator) nearText(s string) string {
	switch g.r.IntN(6) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.ToLower(s)
	case 2:
		return s + " "
	case 3:
		return strings.TrimSpace(s)
	case 4:
		return strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, s)
	}
	return [...]string{"", "'", `"`, `\`, "%", "a\nb", "ä", "NULL", "(1=1)", "' || '1"}[g.r.IntN(10)]
}
