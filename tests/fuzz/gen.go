// What is generated: conditions by the types of columns, queries by shape.

package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// gen generates queries over a table shape. Not for concurrent use.
type gen struct {
	rng  *rand.Rand
	cols []*column
	// crm: only what makes sense for the CRM, and more that it can express.
	crm bool
	// watch sees every conjunct of table {A}; may be nil.
	watch func(*Cond)
	// shape makes the queries; nil: they are of any shape.
	shape func(*gen) *Query
}

func (g *gen) n(n int) int         { return g.rng.IntN(n) }
func (g *gen) chance(pct int) bool { return g.rng.IntN(100) < pct }

func pick[T any](g *gen, list ...T) T { return list[g.n(len(list))] }

// column picks one of those that are ok; there is always one.
func (g *gen) column(ok func(*column) bool) *column {
	list := g.cols
	if ok != nil {
		list = nil
		for _, c := range g.cols {
			if ok(c) {
				list = append(list, c)
			}
		}
	}
	return list[g.n(len(list))]
}

func txt(s string) piece               { return piece{text: s} }
func litp(l Lit) piece                 { return piece{lit: &l} }
func leaf(api bool, ps ...piece) *Cond { return &Cond{leaf: ps, api: api} }

// literal for a column: of its own type, or of a wider one of the same family.
func (g *gen) literal(c *column) Lit {
	if c.unique {
		return Lit{Text: c.keyText(g.n(130)), Type: c.typ}
	}
	l := c.lit(g.rng)
	if g.chance(12) {
		switch c.class {
		case cInt:
			l.Type = pick(g, "int8", "numeric", "float8")
		case cFloat:
			l.Type = "float8"
		case cDate:
			if !l.Null && !strings.HasPrefix(l.Text, "5874897") && !strings.HasPrefix(l.Text, "4713") {
				l.Type = pick(g, "timestamp", "timestamptz")
			}
		case cTimestamp:
			if l.Null || len(l.Text) < 24 {
				l.Type = pick(g, "timestamptz", "date")
			}
		case cText:
			if !g.chance(50) {
				l.Type = "text"
			}
		}
	}
	if l.Type == "posint" {
		l.Type = "int4"
	}
	if strings.HasPrefix(l.Type, "numeric(") {
		l.Type = "numeric"
	}
	if l.Type == "char(6)" && g.chance(50) {
		l.Type = pick(g, "bpchar", "text")
	}
	return l
}

// apiLiteral: PocketBase has words for a comparison with it.
func apiLiteral(c *column, l Lit) bool {
	return c.api && !l.Null && l.Type == c.typ && l.Text != "NaN" && !strings.Contains(l.Text, "nfinity")
}

var comparisons = []string{"=", "=", "=", "<>", "!=", "<", "<=", ">", ">="}
var flipped = map[string]string{"=": "=", "<>": "<>", "!=": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// apiOrder: the CRM orders the column's values as PostgreSQL does.
func apiOrder(c *column, op string) bool {
	return c.class != cText && c.class != cBool || op == "=" || op == "<>" || op == "!="
}

// cond makes a condition over one of the aliases.
func (g *gen) cond(depth int, aliases ...string) *Cond {
	if depth > 0 && g.chance(35) {
		switch g.n(5) {
		case 0, 1:
			return g.tree("OR", depth, aliases)
		case 2:
			return g.tree("AND", depth, aliases)
		case 3:
			k := g.cond(depth-1, aliases...)
			return &Cond{op: "NOT", kids: []*Cond{k}, api: k.api && k.op == ""}
		default:
			k, op := g.cond(depth-1, aliases...), pick(g, "IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN", "IS NOT UNKNOWN")
			return &Cond{op: op, kids: []*Cond{k}, api: k.api && op == "IS TRUE"}
		}
	}
	return g.leafCond(aliases)
}

func (g *gen) tree(op string, depth int, aliases []string) *Cond {
	c := &Cond{op: op, api: true}
	for range 2 + g.n(2) {
		k := g.cond(depth-1, aliases...)
		c.kids = append(c.kids, k)
		c.api = c.api && k.api
	}
	return c
}

func (g *gen) leafCond(aliases []string) *Cond {
	a := pick(g, aliases...)
	c := g.column(nil)
	if g.crm && g.chance(60) {
		c = g.column(func(c *column) bool { return c.api })
	}
	ref := a + "." + c.name
	if c.class == cArray {
		return g.arrayCond(c, ref)
	}
	if c.class == cText && g.chance(35) {
		return g.textCond(c, ref)
	}
	if c.class == cBool && g.chance(60) {
		return pick(g,
			leaf(c.api, txt(ref)), leaf(c.api, txt("NOT "+ref)),
			leaf(c.api, txt(ref+pick(g, " IS TRUE", " IS FALSE"))),
			leaf(false, txt(ref+pick(g, " IS TRUE", " IS NOT TRUE", " IS FALSE", " IS NOT FALSE", " IS UNKNOWN", " IS NOT UNKNOWN"))))
	}
	switch g.n(16) {
	case 0, 1, 2, 3:
		l, op := g.literal(c), pick(g, comparisons...)
		api := apiLiteral(c, l) && apiOrder(c, op)
		if g.chance(20) {
			return leaf(api, litp(l), txt(" "+flipped[op]+" "+ref))
		}
		return leaf(api, txt(ref+" "+op+" "), litp(l))
	case 4:
		// A field that always has a value needs no word for it.
		return leaf(c.api && c.nulls > 0, txt(ref+pick(g, " IS NULL", " IS NOT NULL")))
	case 5:
		l := g.literal(c)
		return leaf(apiLiteral(c, l), txt(ref+pick(g, " IS DISTINCT FROM ", " IS NOT DISTINCT FROM ")), litp(l))
	case 6, 7:
		return g.in(c, ref)
	case 8, 9:
		x, y := g.literal(c), g.literal(c)
		op := pick(g, " BETWEEN ", " BETWEEN ", " NOT BETWEEN ", " BETWEEN SYMMETRIC ")
		api := op == " BETWEEN " && apiLiteral(c, x) && apiLiteral(c, y) && apiOrder(c, "<")
		return leaf(api, txt(ref+op), litp(x), txt(" AND "), litp(y))
	case 10, 11:
		return g.columns(c, ref, aliases)
	case 12, 13:
		return g.function(c, ref, a)
	case 14:
		return g.subquery(c, ref)
	default:
		l := g.literal(c)
		return leaf(false, txt(fmt.Sprintf("coalesce(%s, ", ref)), litp(l), txt(") "+pick(g, comparisons...)+" "), litp(l))
	}
}

func (g *gen) in(c *column, ref string) *Cond {
	n := 1 + g.n(5)
	var lits []Lit
	api := c.api
	for range n {
		l := g.literal(c)
		l.Type = c.typ
		if c.typ == "posint" {
			l.Type = "int4"
		}
		lits = append(lits, l)
		api = api && apiLiteral(c, l)
	}
	if g.chance(15) {
		// The trap of NOT IN.
		lits[g.n(n)] = Lit{Null: true, Type: lits[0].Type}
		api = false
	}
	not := g.chance(45)
	if g.chance(40) && c.class != cArray {
		// The form with one array.
		var parts []string
		for _, l := range lits {
			if l.Null {
				parts = append(parts, "NULL")
			} else {
				parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(l.Text)+`"`)
			}
		}
		arr := Lit{Text: "{" + strings.Join(parts, ",") + "}", Type: strings.TrimSuffix(lits[0].Type, "(130)") + "[]"}
		if g.chance(5) {
			arr, api = Lit{Null: true, Type: arr.Type}, false
		}
		return leaf(api, txt(ref+[]string{" = ANY (", " <> ALL ("}[b2i(not)]), litp(arr), txt(")"))
	}
	ps := []piece{txt(ref + []string{" IN (", " NOT IN ("}[b2i(not)])}
	for i, l := range lits {
		if i > 0 {
			ps = append(ps, txt(", "))
		}
		ps = append(ps, litp(l))
	}
	return leaf(api, append(ps, txt(")"))...)
}

// columns compares two columns of one family, of one row or of two.
func (g *gen) columns(c *column, ref string, aliases []string) *Cond {
	family := func(k class) class {
		switch k {
		case cFloat, cNumeric:
			return cInt
		case cTimestamp, cTimestampTZ:
			return cDate
		}
		return k
	}
	o := g.column(func(o *column) bool { return family(o.class) == family(c.class) })
	other := pick(g, aliases...) + "." + o.name
	op := pick(g, append(comparisons, "IS DISTINCT FROM", "IS NOT DISTINCT FROM")...)
	if c.class == cText && c.byteOrder != o.byteOrder {
		other += ` COLLATE ` + pick(g, `"C"`, `"default"`)
	}
	return leaf(false, txt(ref+" "+op+" "+other))
}

func (g *gen) textCond(c *column, ref string) *Cond {
	l := g.literal(c)
	l.Type = "text"
	if l.Null {
		l = Lit{Text: "", Type: "text"}
	}
	if g.chance(20) && !c.byteOrder {
		ref += ` COLLATE ` + pick(g, `"C"`, `"default"`)
	}
	switch g.n(12) {
	case 0, 1, 2, 3, 4:
		op := pick(g, "LIKE", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE")
		l.Text = g.pattern(l.Text)
		api := c.api && op == "LIKE" && !strings.Contains(ref, "COLLATE")
		ps := []piece{txt(ref + " " + op + " "), litp(l)}
		switch {
		case g.chance(10):
			ps[1].lit.Text = strings.ReplaceAll(l.Text, `\`, "#")
			ps, api = append(ps, txt(" ESCAPE '#'")), false
		case g.chance(5):
			ps, api = append(ps, txt(" ESCAPE ''")), false
		}
		return leaf(api, ps...)
	case 5:
		l.Text = prefix(l.Text)
		return leaf(c.api && !strings.Contains(ref, "COLLATE"), txt("starts_with("+ref+", "), litp(l), txt(")"))
	case 6:
		l.Text = prefix(l.Text)
		return leaf(false, txt(ref+" ^@ "), litp(l))
	case 7:
		l.Text = pick(g, "^a", "b$", "^[A-Z]", "a.b", "^$", "ä|é", "[[:space:]]", `\d`, "ss?", "O'B", "🦆")
		return leaf(false, txt(ref+" "+pick(g, "~", "~*", "!~", "!~*")+" "), litp(l))
	case 8:
		return leaf(false, txt(pick(g, "lower", "upper")+"("+ref+") "+pick(g, comparisons...)+" "), litp(l))
	case 9:
		return leaf(false, txt("length("+ref+") "+pick(g, comparisons...)+" "), litp(Lit{Text: fmt.Sprint(g.n(5)), Type: "int4"}))
	case 10:
		return leaf(false, txt(ref+" || 'x' "+pick(g, comparisons...)+" "), litp(l))
	default:
		return leaf(false, txt("trim("+ref+") "+pick(g, comparisons...)+" "), litp(l))
	}
}

// pattern makes a LIKE pattern out of a value.
func (g *gen) pattern(s string) string {
	s = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
	if utf8.RuneCountInString(s) > 12 {
		s = string([]rune(s)[:12])
		s = strings.TrimRight(s, `\`)
	}
	switch g.n(9) {
	case 0:
		return s
	case 1, 2:
		return s + "%"
	case 3:
		return "%" + s
	case 4, 5:
		return "%" + s + "%"
	case 6:
		return "_" + s
	case 7:
		return s + "_"
	default:
		return pick(g, "%", "_", "__", "%%", "a%b", "_b%", `\_%`, `%\%%`, "", "%🦆%", `\a%`)
	}
}

func prefix(s string) string {
	r := []rune(s)
	return string(r[:min(len(r), 2)])
}

func (g *gen) arrayCond(c *column, ref string) *Cond {
	elem := strings.TrimSuffix(c.typ, "[]")
	one := Lit{Text: pick(g, "1", "2", "3"), Type: elem}
	if elem == "text" {
		one.Text = pick(g, append([]string{"a", "A", "🦆", "", "NULL"}, c.elements...)...)
	}
	l := c.lit(g.rng)
	switch g.n(6) {
	case 0:
		return leaf(false, litp(one), txt(pick(g, " = ", " <> ", " < ")+pick(g, "ANY", "ALL")+" ("+ref+")"))
	case 1:
		return leaf(false, txt(ref+pick(g, " @> ", " <@ ", " && ")), litp(l))
	case 2:
		return leaf(false, txt(ref+pick(g, " IS NULL", " IS NOT NULL")))
	case 3:
		return leaf(false, txt("cardinality("+ref+") > "), litp(Lit{Text: "1", Type: "int4"}))
	case 4:
		return leaf(false, txt(ref+pick(g, " IS DISTINCT FROM ", " IS NOT DISTINCT FROM ")), litp(l))
	default:
		return leaf(false, txt(ref+" "+pick(g, comparisons...)+" "), litp(l))
	}
}

func (g *gen) function(c *column, ref, a string) *Cond {
	op := " " + pick(g, comparisons...) + " "
	small := Lit{Text: fmt.Sprint(g.n(4)), Type: "int4"}
	switch c.class {
	case cInt:
		return pick(g,
			leaf(false, txt(ref+"::numeric % 3"+op), litp(Lit{Text: "1", Type: "numeric"})),
			leaf(false, txt("abs("+ref+"::numeric)"+op), litp(Lit{Text: "5", Type: "numeric"})),
			leaf(false, txt(ref+"::text LIKE "), litp(Lit{Text: "1%", Type: "text"})),
			leaf(false, txt(ref+"::float8"+op), litp(Lit{Text: "2.5", Type: "float8"})),
			leaf(false, txt("nullif("+ref+", 1)"+op), litp(small)),
			leaf(false, txt("CASE WHEN "+ref+" > 0 THEN 'p' WHEN "+ref+" = 0 THEN 'z' END = "), litp(Lit{Text: "p", Type: "text"})))
	case cFloat, cNumeric:
		return pick(g,
			leaf(false, txt(ref+"::text LIKE "), litp(Lit{Text: "%.%", Type: "text"})),
			leaf(false, txt("sign("+ref+"::numeric)"+op), litp(Lit{Text: "1", Type: "numeric"})),
			leaf(false, txt("-"+ref+op), litp(g.literal(c))),
			leaf(false, txt("greatest("+ref+", 0)"+op), litp(small)))
	case cDate:
		return pick(g,
			leaf(false, txt(ref+"::text LIKE "), litp(Lit{Text: "2024-%", Type: "text"})),
			leaf(false, txt("isfinite("+ref+")")),
			leaf(false, txt(ref+op+"(now() - interval '10 years')::date")),
			leaf(false, txt(ref+op), litp(Lit{Text: "2000-01-01", Type: "date"})))
	case cTimestamp, cTimestampTZ:
		return pick(g,
			leaf(false, txt(ref+"::date"+op), litp(Lit{Text: "2024-01-01", Type: "date"})),
			leaf(false, txt("date_trunc('day', "+ref+")"+op), litp(Lit{Text: "2024-01-01", Type: c.typ})),
			leaf(false, txt("isfinite("+ref+")")),
			leaf(false, txt(ref+op+"now() - interval '10 years'")),
			leaf(false, txt(ref+"::time"+op), litp(Lit{Text: "12:00", Type: "time"})))
	case cJSON:
		return pick(g,
			leaf(false, txt(ref+" ->> 'a'"+op), litp(Lit{Text: "x", Type: "text"})),
			leaf(false, txt(ref+" ? 'a'")),
			leaf(false, txt(ref+" @> "), litp(Lit{Text: `{"a": 1}`, Type: "jsonb"})),
			leaf(false, txt("jsonb_typeof("+ref+") = "), litp(Lit{Text: "array", Type: "text"})))
	case cUUID, cEnum, cTime, cBytea, cInterval:
		return leaf(false, txt(ref+"::text"+op), litp(Lit{Text: pick(g, c.pool...), Type: "text"}))
	case cBool:
		return leaf(false, txt(ref+" = ("+a+"."+g.column(nil).name+" IS NULL)"))
	default:
		return leaf(false, txt("substr("+ref+", 1, 1)"+op), litp(Lit{Text: "a", Type: "text"}))
	}
}

func (g *gen) subquery(c *column, ref string) *Cond {
	if c.class == cJSON || c.class == cArray || c.class == cBool {
		return leaf(false, txt(ref+" IS NOT NULL"))
	}
	agg := "max"
	if c.class == cUUID || c.class == cBytea {
		return leaf(false, txt(fmt.Sprintf("%s = (SELECT s.%s FROM {B} s WHERE s.id = ", ref, c.name)), g.key(), txt(")"))
	}
	if g.chance(50) {
		agg = "min"
	}
	return pick(g,
		leaf(false, txt(fmt.Sprintf("%s %s (SELECT %s(s.%s) FROM {B} s)", ref, pick(g, comparisons...), agg, c.name))),
		leaf(false, txt(fmt.Sprintf("%s IN (SELECT s.%s FROM {B} s WHERE ", ref, c.name)), condPiece(g.leafSimple("s")), txt(")")),
		leaf(false, txt(fmt.Sprintf("%s NOT IN (SELECT s.%s FROM {B} s WHERE s.%s IS NOT NULL AND ", ref, c.name, c.name)), condPiece(g.leafSimple("s")), txt(")")),
		leaf(false, txt(fmt.Sprintf("EXISTS (SELECT 1 FROM {B} s WHERE s.%s = %s AND ", c.name, ref)), condPiece(g.leafSimple("s")), txt(")")),
		leaf(false, txt(fmt.Sprintf("NOT EXISTS (SELECT 1 FROM {B} s WHERE s.%s = %s AND ", c.name, ref)), condPiece(g.leafSimple("s")), txt(")")))
}

func (g *gen) key() piece {
	return litp(Lit{Text: g.cols[0].keyText(g.n(130)), Type: g.cols[0].typ})
}

func (c *column) keyText(n int) string {
	if c.class == cText {
		return c.pool[n%len(c.pool)]
	}
	return fmt.Sprint(n)
}

// leafSimple is a comparison with a literal, without subqueries.
func (g *gen) leafSimple(alias string) *Cond {
	c := g.column(func(c *column) bool { return c.class != cArray && c.class != cJSON })
	return leaf(false, txt(alias+"."+c.name+" "+pick(g, comparisons...)+" "), litp(g.literal(c)))
}

// condPiece renders a leaf within another one.
func condPiece(c *Cond) piece { return piece{sub: c} }

func (g *gen) conds(most int, aliases ...string) []*Cond {
	var out []*Cond
	for range g.n(most + 1) {
		c := g.cond(2, aliases...)
		if g.watch != nil && len(aliases) == 1 {
			g.watch(c)
		}
		out = append(out, c)
	}
	return out
}

func (g *gen) sortKeys(alias string) []string {
	var keys []string
	for range 1 + g.n(3) {
		c := g.column(func(c *column) bool { return c.class != cJSON && c.class != cArray })
		k := alias + "." + c.name
		if c.class == cText && g.chance(25) {
			k += ` COLLATE "C"`
		}
		keys = append(keys, k+pick(g, "", " ASC", " DESC")+pick(g, "", " NULLS FIRST", " NULLS LAST"))
	}
	return keys
}

func (g *gen) output(alias string) []string {
	switch g.n(4) {
	case 0:
		return []string{alias + ".*"}
	case 1:
		return []string{alias + ".id"}
	}
	out := []string{alias + ".id"}
	for range 1 + g.n(4) {
		out = append(out, alias+"."+g.column(nil).name)
	}
	return out
}

// page adds ORDER BY, LIMIT and OFFSET.
func (g *gen) page(q *Query, aliases ...string) {
	if g.chance(60) {
		q.order = g.sortKeys(aliases[0])
		if g.chance(70) {
			for _, a := range aliases {
				q.order = append(q.order, a+".id")
			}
			q.total = true
		} else {
			// Ties may come in any order; their keys may not.
			for _, k := range q.order {
				q.output = append(q.output, strings.Fields(k)[0])
			}
			q.keys = len(q.order)
		}
	}
	if g.chance(40) {
		n := pick(g, 0, 1, 2, 5, 10, 1000)
		q.limit = &n
	}
	if g.chance(15) {
		n := pick(g, 0, 1, 3, 50, 1000)
		q.offset = &n
	}
}

// query makes one.
func (g *gen) query() *Query {
	if g.shape != nil {
		return g.shape(g)
	}
	if g.crm && g.chance(8) {
		return g.first()
	}
	switch g.n(20) {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		q := &Query{output: g.output("a"), from: []piece{txt("{A} a")}, where: g.conds(4, "a")}
		g.page(q, "a")
		return q
	case 8, 9, 10:
		return g.join()
	case 11:
		return g.lateral()
	case 12, 13, 14, 15:
		return g.aggregate()
	case 16:
		c := g.column(nil)
		q := &Query{distinct: "DISTINCT", output: []string{"a." + c.name, "a." + g.column(nil).name}, from: []piece{txt("{A} a")}, where: g.conds(2, "a")}
		return q
	case 17:
		c := g.column(func(c *column) bool { return c.class != cJSON && c.class != cArray })
		return &Query{distinct: "DISTINCT ON (a." + c.name + ")", output: []string{"a.id", "a." + c.name}, from: []piece{txt("{A} a")},
			where: g.conds(2, "a"), order: []string{"a." + c.name, "a.id"}, total: true}
	case 18:
		cols := []string{"a.id", "a." + g.column(nil).name}
		q := &Query{output: cols, from: []piece{txt("{A} a")}, where: g.conds(2, "a")}
		q.tail = []piece{txt(pick(g, "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL") + " SELECT " +
			strings.ReplaceAll(strings.Join(cols, ", "), "a.", "b.") + " FROM {B} b WHERE "), condPiece(g.leafSimple("b"))}
		return q
	default:
		q := &Query{with: []piece{txt("WITH w AS " + pick(g, "", "MATERIALIZED ", "NOT MATERIALIZED ") + "(SELECT * FROM {A} x WHERE "),
			condPiece(g.leafSimple("x")), txt(")")},
			output: []string{"a.id", "b.id AS b_id"}, from: []piece{txt("w a, w b")}, where: append(g.conds(2, "a", "b"), g.equi("a", "b"))}
		return q
	}
}

// first asks for a few rows of a table, as an API may.
func (g *gen) first() *Query {
	n := pick(g, 1, 2, 5, 10, 60)
	q := &Query{output: g.output("a"), from: []piece{txt("{A} a")}, limit: &n}
	if g.chance(60) {
		q.where = []*Cond{g.leafCond([]string{"a"})}
	}
	if g.chance(50) {
		c := g.column(func(c *column) bool { return c.class != cText && c.class != cJSON && c.class != cArray })
		q.output, q.order, q.keys = append(q.output, "a."+c.name), []string{"a." + c.name + pick(g, "", " DESC")}, 1
	}
	return q
}

// equi is an equality that joins.
func (g *gen) equi(a, b string) *Cond {
	if g.chance(30) {
		return leaf(false, txt(fmt.Sprintf("%s.id = %s.id", a, b)))
	}
	c := g.column(func(c *column) bool { return c.class != cJSON && c.class != cArray })
	return leaf(false, txt(fmt.Sprintf("%s.%s = %s.%s", a, c.name, b, c.name)))
}

func (g *gen) join() *Query {
	on := []*Cond{g.equi("a", "b")}
	if g.chance(40) {
		on = append(on, g.leafSimple(pick(g, "a", "b")))
	}
	if g.chance(20) && g.chance(50) {
		on = append(on, g.equi("a", "b"))
	}
	kind := pick(g, "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
	from := []piece{txt("{A} a " + kind + " {B} b ON ")}
	for i, c := range on {
		if i > 0 {
			from = append(from, txt(" AND "))
		}
		from = append(from, condPiece(c))
	}
	q := &Query{output: []string{"a.id", "b.id AS b_id", "a." + g.column(nil).name, "b." + g.column(nil).name}, from: from, where: g.conds(3, "a", "b")}
	g.page(q, "a", "b")
	return q
}

func (g *gen) lateral() *Query {
	c := g.column(func(c *column) bool { return c.class != cJSON && c.class != cArray })
	sub := fmt.Sprintf("(SELECT s.id, s.%s AS v FROM {B} s WHERE s.%s %s a.%s AND ", g.column(nil).name, c.name, pick(g, "=", "=", "<", ">="), c.name)
	end := ") l"
	if g.chance(60) {
		end = " ORDER BY s.id LIMIT 2" + end
	}
	kind, on := ", LATERAL ", ""
	if g.chance(40) {
		kind, on = " LEFT JOIN LATERAL ", " ON true"
	}
	q := &Query{output: []string{"a.id", "l.id AS l_id", "l.v"}, from: []piece{txt("{A} a" + kind + sub), condPiece(g.leafSimple("s")), txt(end + on)}, where: g.conds(2, "a")}
	return q
}

// plainAggregate has only what an API may do: columns alone, and no DISTINCT.
func (g *gen) plainAggregate() *Query {
	var aggs []string
	for range 1 + g.n(3) {
		c := g.column(nil)
		switch c.class {
		case cInt:
			aggs = append(aggs, fmt.Sprintf(pick(g, "sum(a.%s)", "min(a.%s)", "max(a.%s)", "count(a.%s)", "avg(a.%s)"), c.name))
		case cDate, cTime, cTimestamp, cTimestampTZ, cNumeric, cFloat:
			aggs = append(aggs, fmt.Sprintf(pick(g, "min(a.%s)", "max(a.%s)", "count(a.%s)"), c.name))
		default:
			aggs = append(aggs, pick(g, "count(*)", "count(*)", fmt.Sprintf("count(a.%s)", c.name)))
		}
	}
	q := &Query{output: aggs, from: []piece{txt("{A} a")}, where: g.conds(2, "a"), plain: true}
	for range g.n(3) {
		c := g.column(func(c *column) bool { return c.class != cJSON && c.class != cArray })
		if q.group != "" {
			q.group += ", "
		}
		q.group += "a." + c.name
		if g.chance(80) {
			q.output = append(q.output, "a."+c.name)
		}
	}
	if g.chance(30) {
		q.having = leaf(false, txt("count(*) > "), litp(Lit{Text: fmt.Sprint(g.n(4)), Type: "int8"}))
	}
	return q
}

func (g *gen) aggregate() *Query {
	if g.chance(50) {
		return g.plainAggregate()
	}
	aggs := []string{"count(*)"}
	for range g.n(4) {
		c := g.column(nil)
		switch c.class {
		case cInt:
			aggs = append(aggs, fmt.Sprintf(pick(g, "sum(a.%s::numeric)", "min(a.%s)", "max(a.%s)", "count(DISTINCT a.%s)", "avg(a.%s::numeric)::numeric(40,6)"), c.name))
		case cText, cDate, cTime, cTimestamp, cTimestampTZ, cEnum, cFloat, cNumeric:
			aggs = append(aggs, fmt.Sprintf(pick(g, "min(a.%s)", "max(a.%s)", "count(a.%s)", "count(DISTINCT a.%s)"), c.name))
		case cBool:
			aggs = append(aggs, fmt.Sprintf(pick(g, "bool_and(a.%s)", "bool_or(a.%s)", "count(*) FILTER (WHERE a.%s)"), c.name))
		default:
			aggs = append(aggs, fmt.Sprintf("count(a.%s)", c.name))
		}
	}
	if g.chance(20) {
		aggs = append(aggs, "array_agg(a.id ORDER BY a.id)")
	}
	q := &Query{output: aggs, from: []piece{txt("{A} a")}, where: g.conds(3, "a")}
	if g.chance(50) {
		c := g.column(func(c *column) bool { return c.class != cJSON })
		q.group = "a." + c.name
		q.output = append([]string{"a." + c.name}, aggs...)
		if g.chance(30) {
			q.having = leaf(false, txt("count(*) > "), litp(Lit{Text: fmt.Sprint(g.n(4)), Type: "int8"}))
		}
	} else if g.chance(20) {
		q.from = []piece{txt("{A} a JOIN {B} b ON "), condPiece(g.equi("a", "b"))}
	}
	return q
}
