// Filters for a condition on a text: LIKE, and what begins with, ends with or contains
// another.

package rest

import "github.com/hallwaydb/hallway/sidecar/pushdown"

// matchUnknown is match for a pattern that is not known yet: the best case.
func (col *column) matchUnknown(kind pushdown.MatchKind, negated bool) *node {
	ops := []string{"like", "starts_with", "contains", "ends_with"}
	if negated {
		ops = []string{"not_like"}
	}
	if kind == pushdown.Regex || kind == pushdown.IRegex || (negated && kind == pushdown.ILike) {
		return local("regular expressions are not pushed")
	}
	if col.spec.Type.Kind != pushdown.Text && col.spec.Type.Kind != pushdown.Varchar {
		return col.none("pattern")
	}
	for _, name := range ops {
		if op, ok := col.ops[name]; ok {
			n := col.apply(op, "?", shareLike)
			n.exact = n.exact && kind != pushdown.ILike && col.caseSensitive(name)
			return n
		}
	}
	return col.none("pattern")
}

func (col *column) caseSensitive(op string) bool {
	if op == "like" || op == "not_like" {
		return col.filter.Like.Case == "sensitive"
	}
	return col.filter.TextCase == "sensitive"
}

// match is the rows where the column matches the pattern, or where it does not
// if negated.
func (col *column) match(kind pushdown.MatchKind, text string, negated bool, coll pushdown.Collation) *node {
	best := col.matchUnknown(kind, negated)
	if best.isLocal() {
		return best
	}
	if !coll.Deterministic && !coll.C {
		return local("collation " + coll.Name + " is not deterministic")
	}
	var p pattern
	if kind == pushdown.StartsWith {
		if text != "" {
			p.parts = append(p.parts, part{'t', text})
		}
		p.add('%')
	} else {
		var ok bool
		if p, ok = parseLike(text); !ok {
			return local("the pattern ends with the escape character")
		}
	}
	if plain, ok := p.plain(); ok && kind != pushdown.ILike {
		op := pushdown.EQ
		if negated {
			op = pushdown.NE
		}
		if n := col.compare(op, pushdown.Value{V: plain}, coll); !n.isLocal() {
			return n
		}
	}
	if negated {
		return col.notLike(p)
	}
	if n := col.like(p, kind == pushdown.ILike); n != nil {
		return n
	}
	if n := col.part(p, kind == pushdown.ILike); n != nil {
		return n
	}
	return local("the API cannot express this pattern")
}

// like uses the API's pattern operator; nil: it cannot be used.
func (col *column) like(p pattern, ignoreCase bool) *node {
	op, ok := col.ops["like"]
	if !ok {
		return nil
	}
	rules := col.filter.Like
	if ignoreCase {
		if rules.Case == "sensitive" {
			return nil
		}
		p = p.ignoringCase()
	}
	text, exact := rules.render(p)
	literal, ok := col.quoter.text(text)
	if !ok {
		return nil
	}
	n := col.apply(op, literal, shareLike)
	if !exact || ignoreCase || rules.Case != "sensitive" {
		n.exact, n.why = false, "case, or the pattern's meaning, may differ in the API"
	}
	return n
}

// notLike needs the opposite of a pattern operator that is exact: that of one
// that finds more would find less.
func (col *column) notLike(p pattern) *node {
	op := col.ops["not_like"]
	if !op.exact || col.filter.Like.Case != "sensitive" {
		return local("the opposite of the API's pattern is not known to be complete")
	}
	text, exact := col.filter.Like.render(p)
	if !exact {
		return local("the API cannot express this pattern")
	}
	literal, ok := col.quoter.text(text)
	if !ok {
		return local("the API cannot express this pattern")
	}
	return col.apply(op, literal, 1-shareLike)
}

// part asks for a literal part of the pattern: at the start, at the end, or
// anywhere; nil: there is none, or no operator for it.
func (col *column) part(p pattern, ignoreCase bool) *node {
	if ignoreCase {
		if col.filter.TextCase != "insensitive" {
			return nil
		}
		p = p.ignoringCase()
	}
	if len(p.parts) == 0 {
		return nil
	}
	try := func(name, text string, exact bool) *node {
		op, ok := col.ops[name]
		if !ok || text == "" {
			return nil
		}
		literal, ok := col.quoter.text(text)
		if !ok {
			return nil
		}
		n := col.apply(op, literal, shareLike)
		if !exact || ignoreCase || p.loose || col.filter.TextCase != "sensitive" {
			n.exact, n.why = false, "only a part of the pattern is asked for"
		}
		return n
	}
	first, last, count := p.parts[0], p.parts[len(p.parts)-1], len(p.parts)
	if first.kind == 't' {
		if n := try("starts_with", first.text, count == 2 && last.kind == '%'); n != nil {
			return n
		}
	}
	if last.kind == 't' {
		if n := try("ends_with", last.text, count == 2 && first.kind == '%'); n != nil {
			return n
		}
	}
	return try("contains", p.longest(), count == 3 && first.kind == '%' && last.kind == '%')
}
