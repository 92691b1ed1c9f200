// A column bound to a field: which operators the API has for it, and the
// filter for one condition on it. Each method's rows are those where the
// condition is true; a column that is NULL is among them only where said.

package rest

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Shares of rows that a condition lets through, as PostgreSQL guesses them.
const (
	shareUnique = 0 // one row
	shareEqual  = 0.005
	shareRange  = 1.0 / 3
	shareLike   = 0.02
	shareNull   = 0.1
)

// operator is a template made ready for a field.
type operator struct {
	before, after string // around the value
	exact         bool
	missing       bool // it finds records without a value too
}

// column of a table.
type column struct {
	spec  connectors.ColumnSpec
	field *Field
	// path is where records have it, nil: nowhere; send where bodies have it.
	path []string
	send []string
	ops  map[string]operator
	// separator of native lists.
	separator string
	inLower   bool // see TypeFilters
	// types is what the operators come from; nil: there are none.
	types   *TypeFilters
	filter  *Filter
	quoter  *quoter
	moments moments
	unique  bool
	key     bool
	whole   bool // it has the record as it came
}

func (col *column) bind(m *Manifest, q *quoter) {
	col.path = splitPath(col.field.Path)
	if col.send = col.path; col.field.Send != "" {
		col.send = splitPath(col.field.Send)
	}
	if col.field.WriteOnly {
		col.path = nil
	}
	f := m.Filter
	if f == nil || !f.filters(col) || (col.field.Filterable != nil && !*col.field.Filterable) {
		return
	}
	col.filter, col.quoter, col.moments = f, q, newMoments(f.Literals.Datetime)
	if col.field.Format != "iso" {
		col.moments = newMoments(col.field.Format)
	}
	t := f.entry(m.way, col.field)
	if t == nil || !col.comparable() && !col.holds() {
		return
	}
	trusted := f.Enforced && (col.field.Exact == nil || *col.field.Exact)
	col.types, col.separator, col.inLower = t, t.Separator, t.InLower
	repeats := f.Style == "params"
	col.ops = make(map[string]operator, len(t.Operators))
	for _, p := range t.Operators {
		if (p.Name == "has") != col.field.List {
			continue
		}
		mark := "{value}"
		if p.Name == "in" || p.Name == "not_in" {
			mark = "{values}"
		}
		before, after, _ := strings.Cut(p.Value, mark)
		// Behind the cut: a name may look like a mark.
		before, after = strings.ReplaceAll(before, "{field}", col.field.FilterName), strings.ReplaceAll(after, "{field}", col.field.FilterName)
		if name, _, _ := strings.Cut(p.Value, "="); repeats && mark == "{values}" && strings.HasSuffix(name, "[]") {
			col.separator = listMark
		}
		col.ops[p.Name] = operator{
			before:  before,
			after:   after,
			exact:   trusted && slices.Contains(t.Exact, p.Name),
			missing: slices.Contains(t.MissingMatches, p.Name),
		}
	}
}

// entry has the operators for a field in a way; nil: it is not filtered there.
func (f *Filter) entry(way string, field *Field) *TypeFilters {
	if way == "" {
		way = "list"
	}
	find := func(match func(*TypeFilters) bool) *TypeFilters {
		for i := range f.Types {
			if match(&f.Types[i]) {
				return &f.Types[i]
			}
		}
		return nil
	}
	for _, p := range field.Filters {
		if p.Name == way {
			return find(func(t *TypeFilters) bool { return t.Type == p.Value })
		}
	}
	if f.Listed || len(field.Filters) > 0 {
		return nil
	}
	names := []string{field.Type}
	switch field.Type {
	case "select", "relation":
		names = append(names, "text")
	case "integer":
		names = append(names, "number")
	}
	for _, name := range names {
		if t := find(func(t *TypeFilters) bool { return t.Type == name && t.For == "" }); t != nil {
			return t
		}
	}
	return nil
}

// filters tells whether a column is among those that can be filtered.
func (f *Filter) filters(col *column) bool {
	return f.Only == nil || slices.Contains(f.Only, col.field.Name) || (col.key && slices.Contains(f.Only, "{key}"))
}

// comparable tells whether the column's SQL type compares as the field does.
func (col *column) comparable() bool {
	return !col.spec.Type.Array && !col.field.List && col.alike()
}

// holds tells whether the column is an array whose elements compare as the values of
// the field's list do.
func (col *column) holds() bool {
	return col.spec.Type.Array && col.field.List && col.alike()
}

func (col *column) alike() bool {
	k := col.spec.Type.Kind
	switch col.field.Type {
	case "text", "select", "relation":
		return k == pushdown.Text || k == pushdown.Varchar || k == pushdown.Enum
	case "integer", "number":
		// Not float4, which rounds what the API compares whole.
		return k == pushdown.Int2 || k == pushdown.Int4 || k == pushdown.Int8 || k == pushdown.Float8 || k == pushdown.Numeric
	case "boolean":
		return k == pushdown.Bool
	case "datetime":
		return k == pushdown.TimestampTZ || k == pushdown.Timestamp
	case "timestamp":
		return k == pushdown.Timestamp
	case "date":
		return k == pushdown.Date
	case "uuid":
		return k == pushdown.UUID
	}
	return false
}

func (col *column) none(what string) *node {
	switch {
	case col.filter == nil:
		return local("column " + col.spec.Name + " cannot be filtered")
	case col.ops == nil:
		return local("type " + col.spec.Type.Name + " of column " + col.spec.Name + " is not filtered by the API")
	}
	return local("the API has no " + what + " for column " + col.spec.Name)
}

// apply makes a leaf of an operator and a literal, and keeps missing values
// out of it where the operator does not.
func (col *column) apply(op operator, literal string, rows float64) *node {
	n := &node{kind: leaf, text: op.before + literal + op.after, exact: op.exact, rows: rows}
	if !op.exact {
		n.why = mayBeMore
	}
	if op.missing && !col.field.always() {
		return and(n, col.present())
	}
	return n
}

// applied makes a leaf of the operator that op is; where the API has no equality,
// of two.
func (col *column) applied(op pushdown.Operator, literal string) *node {
	if o, has := col.ops[operatorOf[op]]; has {
		return col.apply(o, literal, col.share(op))
	}
	if op != pushdown.EQ || !col.spans() {
		return col.none("operator " + operatorOf[op])
	}
	n := and(col.apply(col.ops["ge"], literal, 1), col.apply(col.ops["le"], literal, 1))
	n.rows = col.share(op)
	return n
}

// spans tells whether an equality can be said as not less and not more.
func (col *column) spans() bool {
	_, ge := col.ops["ge"]
	_, le := col.ops["le"]
	return ge && le
}

// test is the leaf of an operator without a value.
func (op operator) test(rows float64) *node {
	n := &node{kind: leaf, text: op.before, exact: op.exact, rows: rows}
	if !op.exact {
		n.why = mayBeMore
	}
	return n
}

const mayBeMore = "the API may return more"

// missing is the rows where the column is NULL.
func (col *column) missing() *node {
	if col.field.always() || col.key {
		return nothing()
	}
	op, ok := col.ops["is_null"]
	if !ok {
		return col.none("test for a missing value")
	}
	return op.test(shareNull)
}

// present is the rows where the column is not NULL.
func (col *column) present() *node {
	if col.field.always() || col.key {
		return everything()
	}
	op, ok := col.ops["not_null"]
	if !ok {
		return col.none("test for a missing value")
	}
	return op.test(1 - shareNull)
}

// orMissing adds the rows where the column is NULL, if unknown is wanted.
func (col *column) orMissing(n *node, want truths) *node {
	if want&isNull == 0 {
		return n
	}
	return or(n, col.missing())
}

var operatorOf = [...]string{
	pushdown.EQ: "eq", pushdown.NE: "ne", pushdown.LT: "lt", pushdown.LE: "le", pushdown.GT: "gt", pushdown.GE: "ge",
}

func (col *column) share(op pushdown.Operator) float64 {
	switch op {
	case pushdown.EQ:
		if col.unique || col.key {
			return shareUnique
		}
		return col.shareOfOne()
	case pushdown.NE:
		return 1 - col.shareOfOne()
	}
	return shareRange
}

// shareOfOne is how many records have one value.
func (col *column) shareOfOne() float64 {
	switch {
	case col.field.Type == "boolean":
		return 0.5
	case len(col.field.Values) > 1:
		return 1 / float64(len(col.field.Values))
	}
	return shareEqual
}

// usable tells whether the column can be compared thus at all, with any value;
// nil: yes.
func (col *column) usable(op pushdown.Operator, coll pushdown.Collation) *node {
	if _, ok := col.ops[operatorOf[op]]; !ok && (op != pushdown.EQ || !col.spans()) {
		return col.none("operator " + operatorOf[op])
	}
	equality := op == pushdown.EQ || op == pushdown.NE
	switch col.spec.Type.Kind {
	case pushdown.Enum:
		if !equality {
			return local("an enum's order is not the API's")
		}
	case pushdown.Text, pushdown.Varchar:
		if equality && !coll.Deterministic && !coll.C {
			return local("collation " + coll.Name + " is not deterministic")
		}
		if !equality && !coll.C {
			return local("the API compares text as COLLATE \"C\", not " + coll.Name)
		}
		if !equality && col.filter.TextOrder != "bytes" {
			return local("the order of text in the API is not known")
		}
	}
	return nil
}

// compareUnknown is compare, or in, for a value that is not known yet: the
// best case.
func (col *column) compareUnknown(op pushdown.Operator, p *pushdown.Param, coll pushdown.Collation) *node {
	if n := col.usable(op, coll); n != nil {
		return n
	}
	return col.applied(op, "$"+itoa(p.Index+1))
}

// compare is the rows where column op v is true; v is not NULL, and op neither
// Distinct nor NotDistinct.
func (col *column) compare(op pushdown.Operator, v pushdown.Value, coll pushdown.Collation) *node {
	if n := col.usable(op, coll); n != nil {
		return n
	}
	if s, ok := v.V.(string); ok && s == "" && col.field.emptyIsNull() {
		// The API's empty string is NULL here, and all else is greater.
		if op == pushdown.NE || op == pushdown.GT || op == pushdown.GE {
			return col.present()
		}
		return nothing()
	}
	if s, ok := v.V.(string); ok && col.field.Valid != nil && !col.field.Valid(s) {
		switch op {
		case pushdown.EQ:
			return nothing()
		case pushdown.NE:
			return col.present()
		}
		return local("no record has such a value in column " + col.spec.Name)
	}
	literal, op, ok := col.literal(op, v)
	if !ok {
		if n := col.piece(op, v); n != nil {
			return n
		}
		return local("the API cannot express this value for column " + col.spec.Name)
	}
	return col.applied(op, literal)
}

// piece asks for a part of a text that cannot be written whole; nil: there is none,
// or no way to ask.
func (col *column) piece(op pushdown.Operator, v pushdown.Value) *node {
	s, isText := v.V.(string)
	o, has := col.ops["contains"]
	if !isText || !has || op != pushdown.EQ {
		return nil
	}
	pieces := []string{s}
	for _, r := range col.quoter.refuse {
		var next []string
		for _, p := range pieces {
			next = append(next, strings.Split(p, r)...)
		}
		pieces = next
	}
	longest := slices.MaxFunc(pieces, func(a, b string) int { return len(a) - len(b) })
	literal, ok := col.quoter.text(longest)
	if longest == "" || !ok {
		return nil
	}
	n := col.apply(o, literal, shareEqual)
	n.exact, n.why = false, "only a part of the value can be written"
	return n
}

// literal writes v. A point in time finer than the API's is rounded, and op
// changed with it, so that no row is lost; false: v cannot be written.
func (col *column) literal(op pushdown.Operator, v pushdown.Value) (string, pushdown.Operator, bool) {
	var s string
	ok := false
	switch col.spec.Type.Kind {
	case pushdown.Bool:
		var b bool
		if b, ok = v.V.(bool); ok {
			s = col.filter.Literals.False
			if b {
				s = col.filter.Literals.True
			}
		}
		return s, op, ok
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Float8, pushdown.Numeric:
		s, ok = number(v.V)
		return s, op, ok
	case pushdown.Timestamp, pushdown.TimestampTZ:
		us, isInt := v.V.(int64)
		if !isInt {
			return "", op, false
		}
		down, whole := col.moments.floor(us)
		if !whole {
			switch op {
			case pushdown.LT, pushdown.LE:
				op, us = pushdown.LT, down+col.moments.unit
			case pushdown.GT, pushdown.GE:
				op, us = pushdown.GT, down
			default:
				return "", op, false
			}
		}
		s, ok = col.moments.format(us)
		if ok && !strings.HasPrefix(col.moments.layout, "unix") && !col.filter.Literals.BareTimes {
			s, ok = col.quoter.text(s)
		}
		return s, op, ok
	case pushdown.Date:
		days, isInt := v.V.(int64)
		if !isInt {
			return "", op, false
		}
		l := &col.filter.Literals
		if s, ok = day(l.Date, days); ok && !l.BareTimes && l.Date != "unix_ms" {
			s, ok = col.quoter.text(s)
		}
		return s, op, ok
	}
	text, isText := v.V.(string)
	switch {
	case !isText,
		col.types.KnownValues && !slices.Contains(col.field.Values, text),
		col.field.MaxLength > 0 && utf8.RuneCountInString(text) > col.field.MaxLength:
		return "", op, false
	}
	s, ok = col.quoter.text(text)
	return s, op, ok
}

// has is the rows where v = ANY (column); p is not NULL.
func (col *column) has(p *pushdown.Param, coll pushdown.Collation) *node {
	op, ok := col.ops["has"]
	switch {
	case !ok:
		return col.none("operator has")
	case !coll.Deterministic && !coll.C && (col.spec.Type.Kind == pushdown.Text || col.spec.Type.Kind == pushdown.Varchar):
		return local("collation " + coll.Name + " is not deterministic")
	case !p.Known:
		return col.apply(op, "$"+itoa(p.Index+1), col.shareOfOne())
	}
	literal, same, ok := col.literal(pushdown.EQ, p.Value)
	if text, isText := p.Value.V.(string); !ok || same != pushdown.EQ || isText && text == "" {
		return local("the API cannot express this value for column " + col.spec.Name)
	}
	return col.apply(op, literal, col.shareOfOne())
}

// in is the rows where column = ANY (values), which are not empty, has a truth
// value in want. native is the most values of the API's own list operator.
func (col *column) in(values []pushdown.Value, want truths, coll pushdown.Collation, native int) *node {
	hasNull := false
	var present []pushdown.Value
	for _, v := range values {
		if v.IsNull() {
			hasNull = true
		} else if !slices.ContainsFunc(present, func(o pushdown.Value) bool { return sameValue(o, v) }) {
			present = append(present, v)
		}
		if len(present) > maxListValues {
			return local("the list is too long for the API")
		}
	}
	positive := want&isTrue != 0
	switch {
	case hasNull && want&isNull != 0 && positive:
		return everything() // never false
	case hasNull && want&isNull == 0 && !positive:
		return nothing() // never false
	}
	// With a NULL in the list, unknown is all that is not true; and the rows
	// wanted below are the same with and without it.
	name, op := "in", pushdown.EQ
	if !positive {
		name, op = "not_in", pushdown.NE
	}
	if o, ok := col.ops[name]; ok && len(present) > 1 && len(present) <= native && (col.types.MaxList == 0 || len(present) <= col.types.MaxList) && col.usable(op, coll) == nil {
		var list []string
		for _, v := range present {
			text, isText := v.V.(string)
			if isText && (text == "" && col.field.emptyIsNull() || col.field.Valid != nil && !col.field.Valid(text)) {
				continue
			}
			if isText && col.inLower {
				lower, ok := col.lower(text)
				if !ok {
					list = nil
					break
				}
				list = append(list, lower...)
			}
			if l, same, ok := col.literal(op, v); ok && same == op {
				list = append(list, l)
				continue
			}
			list = nil
			break
		}
		if len(list) > 1 {
			share := min(1, float64(len(list))*col.share(pushdown.EQ))
			if !positive {
				share = 1 - share
			}
			return col.orMissing(col.apply(o, strings.Join(list, col.separator), share), want)
		}
	}
	kids := make([]*node, len(present))
	for i, v := range present {
		kids[i] = col.compare(op, v, coll)
	}
	if positive {
		return col.orMissing(or(kids...), want)
	}
	return col.orMissing(and(kids...), want)
}

// lower is a text in lower case, as a literal, where that is another one; false: it
// is not known how the API would write it.
func (col *column) lower(text string) ([]string, bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		return nil, false
	}
	small := strings.ToLower(text)
	if small == text {
		return nil, true
	}
	l, ok := col.quoter.text(small)
	return []string{l}, ok
}

// maxListValues bounds the work of planning a list, far above what any filter
// holds.
const maxListValues = 2000

func sameValue(a, b pushdown.Value) bool {
	switch a.V.(type) {
	case bool, int64, float64, string:
		return a.V == b.V
	}
	return false
}
