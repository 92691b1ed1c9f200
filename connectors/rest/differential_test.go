package rest

// Random conditions, orders and limits, each answered by PocketBase as Scan
// asks it, and by an evaluator with PostgreSQL's semantics over all rows.

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

var (
	seed    = flag.Uint64("rest.seed", 1, "seed of the random queries")
	queries = flag.Int("rest.queries", 1000, "number of random queries")
)

// traps is a collection with a field of every kind that filters know, and what
// its manifest says.
const trapObject = `
  traps:
    path: /api/collections/traps/records
    key: id
    unique: [name]
    fields:
      id: {type: text, missing: never}
      name: {type: text, required: true, missing: never}
      note: {type: text, missing: never}
      mail: {type: text, missing: empty}
      kind: {type: select, missing: empty, values: [hot, cold, "Ä", "a'b"]}
      other: {type: relation, object: traps, missing: empty}
      num: {type: number, missing: never}
      flag: {type: boolean, missing: never}
      seen: {type: datetime, missing: empty}
      born: {type: date, missing: empty}
      tags: {type: select, list: true}
      extra: {type: json}
      created: {type: datetime, missing: never}
`

var trapTexts = []string{
	"abc", "ABC", "Abc", "", "é", "É", "e\u0301", "a'b", `a"b`, `a\b`, `a\'b`, "tab\tq", "new\nline", "cr\rx", "100%", "a_c", "axc", "%", "_",
	`\%`, "  sp ", "sp", "😀", "😀😀", "\\", "end\\", `\\`, `'`, `''`, `\'`, "NULL", "null", "true", "@now", "id", "1", "01", "1.0", "x' || 1=1 || 'x",
	"x\" || 1=1", "//", "a && b", "(a)", "ß", "SS", "ss", "İ", "i", "I", "ı", "K", "k", "K", "ſ", "Å", "å", "名前", "\u00a0", "\u2028", "kK", "mississippi",
	strings.Repeat("long ", 200),
}

var trapNumbers = []float64{0, 1, -1, 0.1, 0.2, 0.3, 0.30000000000000004, 1e300, -1e300, 9007199254740992, 9007199254740991, 1.5, 12345678901234567890, 1e21, 3.14, 1e-7, 5e-324, 100, 1e15, -0.5}

var trapTimes = []string{"", "2024-01-02 03:04:05.678Z", "2024-01-02 03:04:05.679Z", "2024-01-02 00:00:00.000Z", "1969-12-31 23:59:59.999Z", "0001-01-02 00:00:00.000Z",
	"9999-12-31 23:59:59.999Z", "2000-01-01 00:00:00.000Z", "2024-02-29 12:00:00.000Z", "1999-12-31 23:59:59.999Z"}

var trapDates = []string{"", "2024-01-02", "2024-02-29", "1969-12-31", "0044-03-15", "9999-12-31", "2000-01-01"}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// loadTraps fills the collection once and gives the ids.
func loadTraps(t *testing.T, p *pocketbase, name string, n int) {
	t.Helper()
	if status, _ := p.call("GET", "/api/collections/"+name+"/records?perPage=1", nil); status == 200 {
		return
	}
	field := func(name, kind string, more ...any) map[string]any {
		f := map[string]any{"name": name, "type": kind}
		for i := 0; i < len(more); i += 2 {
			f[more[i].(string)] = more[i+1]
		}
		return f
	}
	p.must(t, "POST", "/api/collections", map[string]any{"name": name, "type": "base", "fields": []any{
		field("name", "text", "required", true), field("note", "text"), field("mail", "email"),
		field("kind", "select", "values", []string{"hot", "cold", "Ä", "a'b"}, "maxSelect", 1),
		field("num", "number"), field("flag", "bool"), field("seen", "date"), field("born", "date"),
		field("tags", "select", "values", []string{"a", "b", "c"}, "maxSelect", 3), field("extra", "json"),
		field("created", "autodate", "onCreate", true),
	}, "indexes": []string{"CREATE UNIQUE INDEX " + name + "_name ON " + name + " (name)"}})
	c := p.must(t, "GET", "/api/collections/"+name, nil)
	p.must(t, "PATCH", "/api/collections/"+name, map[string]any{"fields": append(c["fields"].([]any), field("other", "relation", "collectionId", c["id"], "maxSelect", 1))})
	r := rand.New(rand.NewPCG(7, 7))
	var ids []string
	for i := range n {
		rec := map[string]any{"name": fmt.Sprintf("%s#%d", pick(r, trapTexts), i), "note": pick(r, trapTexts), "num": pick(r, trapNumbers), "flag": r.IntN(2) == 0, "seen": pick(r, trapTimes), "born": pick(r, trapDates)}
		if r.IntN(3) > 0 {
			rec["kind"] = pick(r, []string{"hot", "cold", "Ä", "a'b"})
			rec["mail"] = pick(r, []string{"a@b.de", "A@b.de", "k.o'hara@example.com"})
			rec["tags"] = []string{"a", "c"}
			rec["extra"] = map[string]any{"x": []any{1, "é", nil}}
		}
		if len(ids) > 0 && r.IntN(2) == 0 {
			rec["other"] = pick(r, ids)
		}
		ids = append(ids, p.must(t, "POST", "/api/collections/"+name+"/records", rec)["id"].(string))
	}
}

// gen makes random expressions over the columns of a table.
type gen struct {
	r    *rand.Rand
	t    *table
	n    int
	keys []string
}

func (g *gen) param(ty pushdown.Type, v any) *pushdown.Param {
	g.n++
	return &pushdown.Param{Index: g.n - 1, Type: ty, Known: true, Value: pushdown.Value{V: v}}
}

func (g *gen) collation() pushdown.Collation {
	if g.r.IntN(4) == 0 {
		return pushdown.Collation{Name: "en_US", Deterministic: true}
	}
	return pushdown.Collation{Name: "C", C: true, Deterministic: true}
}

// value of a column's type, mostly one that occurs.
func (g *gen) value(c int) any {
	if g.r.IntN(20) == 0 {
		return nil
	}
	col := &g.t.columns[c]
	switch col.field.Type {
	case "number":
		if col.spec.Type.Kind == pushdown.Numeric && g.r.IntN(6) == 0 {
			return pick(g.r, []string{"0.10", "9007199254740993", "NaN", "Infinity", "1e300", "0.1000000000000000055511151231257827", "-0.0", "00.5"})
		}
		if col.spec.Type.Kind == pushdown.Float8 {
			return pick(g.r, append([]float64{math.NaN(), math.Inf(1), math.Copysign(0, -1), 9007199254740993}, trapNumbers...))
		}
		s, _ := number(pick(g.r, trapNumbers))
		return s
	case "boolean":
		return g.r.IntN(2) == 0
	case "datetime":
		if us, ok := isoMicros([]byte(pick(g.r, trapTimes))); ok {
			return us + pick(g.r, []int64{0, 0, 0, 1, -1, 500, 1000})
		}
		return pick(g.r, []int64{math.MinInt64, math.MaxInt64, -70_000_000_000_000_000, 300_000_000_000_000_000})
	case "date":
		return pick(g.r, []int64{8767, 8825, 0, -1, -10958, -714387, 2921939, math.MaxInt64, math.MinInt64, 3_000_000, -2_000_000})
	case "select":
		if col.spec.Type.Kind == pushdown.Enum {
			return pick(g.r, col.spec.Type.Labels)
		}
		return pick(g.r, []string{"hot", "cold", "Ä", "a'b", "", "HOT"})
	case "relation":
		return pick(g.r, append(g.keys[:3:3], ""))
	}
	switch col.field.Name {
	case "id":
		return pick(g.r, g.keys)
	case "mail":
		return pick(g.r, []string{"a@b.de", "A@b.de", "", "k.o'hara@example.com", "k"})
	}
	return pick(g.r, trapTexts)
}

func (g *gen) pattern() string {
	if g.r.IntN(6) == 0 {
		return pick(g.r, []string{"a_c%", "%#__", "a_c", "_bc#1_", "%_%", "a%c", "KK%", "%ss%"})
	}
	s := []rune(pick(g.r, trapTexts))
	if len(s) > 12 {
		s = s[:12]
	}
	for range g.r.IntN(3) {
		i := g.r.IntN(len(s) + 1)
		s = slices.Insert(s, i, pick(g.r, []rune{'%', '_', '\\', '%'}))
	}
	out := string(s)
	if strings.HasSuffix(out, `\`) && g.r.IntN(2) == 0 {
		out += "%"
	}
	return out
}

func (g *gen) column(kinds ...string) int {
	for {
		c := g.r.IntN(len(g.t.columns))
		f := g.t.columns[c].field
		if f.List || f.Type == "json" {
			continue
		}
		if len(kinds) == 0 || slices.Contains(kinds, f.Type) {
			return c
		}
	}
}

func (g *gen) expr(depth int) pushdown.Expr {
	if depth > 0 && g.r.IntN(2) == 0 {
		switch g.r.IntN(5) {
		case 0, 1:
			var ops []pushdown.Expr
			for range 1 + g.r.IntN(3) {
				ops = append(ops, g.expr(depth-1))
			}
			if g.r.IntN(2) == 0 {
				return &pushdown.And{Operands: ops}
			}
			return &pushdown.Or{Operands: ops}
		case 2, 3:
			return &pushdown.Not{Operand: g.expr(depth - 1)}
		default:
			return &pushdown.BoolTest{Operand: g.expr(depth - 1), Truth: pick(g.r, []pushdown.Truth{pushdown.True, pushdown.False, pushdown.Unknown}), Negated: g.r.IntN(2) == 0}
		}
	}
	switch g.r.IntN(10) {
	case 0:
		return &pushdown.NullTest{Operand: &pushdown.Column{Index: g.column()}, Negated: g.r.IntN(2) == 0}
	case 1:
		return &pushdown.Column{Index: g.column("boolean")}
	case 2, 3:
		c := g.column()
		ty := g.t.columns[c].spec.Type
		ty.Array = true
		var list any
		if g.r.IntN(20) > 0 {
			values := []pushdown.Value{}
			for range g.r.IntN(5) {
				values = append(values, pushdown.Value{V: g.value(c)})
			}
			list = values
		}
		return &pushdown.Membership{Operand: &pushdown.Column{Index: c}, Array: g.param(ty, list), Negated: g.r.IntN(2) == 0, Collation: g.collation()}
	case 4, 5:
		c := g.column("text", "select", "relation")
		for g.t.columns[c].spec.Type.Kind == pushdown.Enum {
			c = g.column("text")
		}
		var p any = g.pattern()
		if g.r.IntN(20) == 0 {
			p = nil
		}
		return &pushdown.Match{Kind: pick(g.r, []pushdown.MatchKind{pushdown.Like, pushdown.Like, pushdown.ILike, pushdown.StartsWith}), Operand: &pushdown.Column{Index: c},
			Pattern: g.param(pushdown.Type{Kind: pushdown.Text}, p), Negated: g.r.IntN(3) == 0, Collation: g.collation()}
	case 6:
		return g.param(pushdown.Type{Kind: pushdown.Bool}, pick(g.r, []any{true, false, nil}))
	}
	c := g.column()
	ops := []pushdown.Operator{pushdown.EQ, pushdown.NE, pushdown.LT, pushdown.LE, pushdown.GT, pushdown.GE, pushdown.Distinct, pushdown.NotDistinct}
	var left, right pushdown.Expr = &pushdown.Column{Index: c}, g.param(g.t.columns[c].spec.Type, g.value(c))
	if g.r.IntN(4) == 0 {
		left, right = right, left
	}
	return &pushdown.Comparison{Op: pick(g.r, ops), Left: left, Right: right, Collation: g.collation()}
}

func TestDifferential_PocketBase(t *testing.T) {
	t.Run("as imported", func(t *testing.T) { differential(t, nil) })
	t.Run("other types", func(t *testing.T) {
		differential(t, map[string]pushdown.Type{
			"num": {Kind: pushdown.Float8, Name: "float8"}, "seen": {Kind: pushdown.Timestamp, Name: "timestamp"}, "note": {Kind: pushdown.Varchar, Name: "varchar"},
			"kind": {Kind: pushdown.Enum, Labels: []string{"hot", "cold", "Ä", "a'b"}, Name: "kind"}, "other": {Kind: pushdown.BPChar, Length: 15, Name: "char(15)"},
			"extra": {Kind: pushdown.Text, Name: "text"}, "tags": {Kind: pushdown.JSONB, Name: "jsonb"},
		})
	})
}

// differential compares random queries on a table whose columns have these
// types in place of the usual ones.
func differential(t *testing.T, other map[string]pushdown.Type) {
	p := startPocketBase(t)
	loadTraps(t, p, "traps", 300)
	src := openSource(t, exampleManifest(t, trapObject[1:]), p.url, map[string]string{"user": pbUser, "password": pbPassword}, "auth_collection", "_superusers")
	spec := connectors.TableSpec{Name: "traps", Columns: columnsOf(src.m.object("traps"))}
	for i := range spec.Columns {
		if ty, ok := other[spec.Columns[i].Name]; ok {
			spec.Columns[i].Type = ty
		}
	}
	bound, err := src.Table(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	tab := bound.(*table)
	tab.pageSize = 70 // several pages
	columns := make([]int, len(tab.columns))
	types := make([]pushdown.Type, len(tab.columns))
	for i := range columns {
		columns[i], types[i] = i, tab.columns[i].spec.Type
	}
	every, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: columns}})
	if err != nil || len(every) != 300 {
		t.Fatalf("got %d rows, %v; want 300", len(every), err)
	}
	t.Logf("seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 1))
	g := &gen{r: r, t: tab}
	for i := range 8 {
		g.keys = append(g.keys, every[i*30][0].V.(string))
	}
	verdicts := map[pushdown.Verdict]int{}
	for i := range *queries {
		g.n = 0
		req := pushdown.Request{Columns: columns}
		for range 1 + r.IntN(3) {
			req.Conjuncts = append(req.Conjuncts, g.expr(3))
		}
		if !checkQuery(t, tab, req, every, types, verdicts, fmt.Sprintf("query %d of seed %d", i, *seed)) && t.Failed() {
			return
		}
	}
	t.Logf("exact %d, superset %d, local %d", verdicts[pushdown.Exact], verdicts[pushdown.Superset], verdicts[pushdown.Local])
	if total := verdicts[pushdown.Exact] + verdicts[pushdown.Superset] + verdicts[pushdown.Local]; verdicts[pushdown.Local]*2 > total {
		t.Errorf("only %d of %d conjuncts were pushed", total-verdicts[pushdown.Local], total)
	}
}

// checkQuery compares a scan, after the recheck that its verdicts call for,
// with the evaluator's answer. It reports false if the evaluator has none.
func checkQuery(t *testing.T, tab *table, req pushdown.Request, every [][]pushdown.Value, types []pushdown.Type, verdicts map[pushdown.Verdict]int, name string) bool {
	t.Helper()
	whole, err := pushdown.CompileAll(req.Conjuncts, types)
	if err != nil {
		return false
	}
	plan := tab.Plan(req)
	var recheck []pushdown.Expr
	for i, c := range plan.Conjuncts {
		if c.Verdict != pushdown.Exact {
			recheck = append(recheck, req.Conjuncts[i])
		}
	}
	local, err := pushdown.CompileAll(recheck, types)
	if err != nil {
		return false
	}
	var want, got []string
	for _, row := range every {
		ok, err := whole.Matches(at(row))
		if err != nil {
			return false // an error of SQL, such as a bad pattern
		}
		if ok {
			want = append(want, row[0].V.(string))
		}
	}
	q := connectors.Query{Request: req}
	found, err := scanRows(t, tab, q)
	request := tab.Request(q)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, request)
	}
	for _, row := range found {
		ok, err := local.Matches(at(row))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ok {
			got = append(got, row[0].V.(string))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s: got %d rows, want %d\nverdicts %+v\n%s\nconjuncts: %s", name, len(got), len(want), plan.Conjuncts, request, show(req.Conjuncts))
		return true
	}
	for _, c := range plan.Conjuncts {
		verdicts[c.Verdict]++
	}
	return true
}

func show(list []pushdown.Expr) string {
	var b strings.Builder
	var walk func(e pushdown.Expr)
	walk = func(e pushdown.Expr) {
		switch e := e.(type) {
		case *pushdown.And:
			b.WriteString("AND")
		case *pushdown.Or:
			b.WriteString("OR")
		case *pushdown.Not:
			b.WriteString("NOT")
		case *pushdown.BoolTest:
			fmt.Fprintf(&b, "IS(%v,%v)", e.Truth, e.Negated)
		case *pushdown.Column:
			fmt.Fprintf(&b, "#%d", e.Index)
		case *pushdown.Param:
			fmt.Fprintf(&b, "%#v", e.Value.V)
		case *pushdown.Comparison:
			fmt.Fprintf(&b, "%v[%s]", e.Op, e.Collation.Name)
		case *pushdown.Membership:
			fmt.Fprintf(&b, "IN(%v)", e.Negated)
		case *pushdown.Match:
			fmt.Fprintf(&b, "MATCH(%v,%v)", e.Kind, e.Negated)
		case *pushdown.NullTest:
			fmt.Fprintf(&b, "NULL(%v)", e.Negated)
		}
		kids := pushdown.Children(e)
		if len(kids) > 0 {
			b.WriteString("(")
			for _, k := range kids {
				walk(k)
				b.WriteString(" ")
			}
			b.WriteString(")")
		}
	}
	for _, e := range list {
		walk(e)
		b.WriteString("\n  ")
	}
	return b.String()
}

func at(row []pushdown.Value) pushdown.Row { return func(c int) pushdown.Value { return row[c] } }
