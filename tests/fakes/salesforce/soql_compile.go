package salesforce

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// getter is a value of a row, through its relationships.
type getter func(Record) any

// column is a resolved path.
type column struct {
	table *table // where it begins
	hops  []*Field
	field *Field
	get   getter
}

// resolve finds what a path means on a table.
func (s *Server) resolve(text string, t *table, ref fieldRef) (column, *apiError) {
	path := ref.path
	// The object's own name may stand before a field.
	if len(path) > 1 && strings.EqualFold(path[0], t.def.Name) && t.def.relationship(path[0]) == nil {
		path = path[1:]
	}
	if len(path) > 6 {
		return column{}, at(text, ref.pos, "MALFORMED_QUERY", "Cannot have more than 5 levels of child-to-parent relationships")
	}
	c, here := column{table: t}, t
	var chain []getter
	for _, name := range path[:len(path)-1] {
		rel := here.def.relationship(name)
		if rel == nil {
			return column{}, at(text, ref.pos, "INVALID_FIELD",
				"Didn't understand relationship '%s' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names.", name)
		}
		from, to := here, s.table(rel.ReferenceTo[0])
		chain = append(chain, func(r Record) any {
			id, _ := from.get(r, rel).(string)
			if parent, ok := to.byID[id]; ok {
				return parent
			}
			return nil
		})
		c.hops, here = append(c.hops, rel), to
	}
	name := path[len(path)-1]
	f := here.def.field(name)
	if f == nil {
		return column{}, at(text, ref.pos, "INVALID_FIELD",
			"No such column '%s' on entity '%s'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names.", name, here.def.Name)
	}
	c.field = f
	c.get = func(r Record) any {
		for _, hop := range chain {
			parent, ok := hop(r).(Record)
			if !ok {
				return nil
			}
			r = parent
		}
		return here.get(r, f)
	}
	return c, nil
}

// compile makes a predicate of a condition. Its logic has two values: what
// compares with null is false, and != and NOT IN are = and IN turned round, so
// that rows without a value match them.
func (s *Server) compile(text string, t *table, c cond) (func(Record) bool, *apiError) {
	switch c := c.(type) {
	case nil:
		return func(Record) bool { return true }, nil
	case *negation:
		f, err := s.compile(text, t, c.arg)
		return func(r Record) bool { return !f(r) }, err
	case *logic:
		parts := make([]func(Record) bool, len(c.args))
		for i, arg := range c.args {
			f, err := s.compile(text, t, arg)
			if err != nil {
				return nil, err
			}
			parts[i] = f
		}
		return func(r Record) bool {
			for _, f := range parts {
				if f(r) != c.and {
					return !c.and
				}
			}
			return c.and
		}, nil
	}
	return s.compileComparison(text, t, c.(*comparison))
}

func (s *Server) compileComparison(text string, t *table, c *comparison) (func(Record) bool, *apiError) {
	col, err := s.resolve(text, t, c.field)
	if err != nil {
		return nil, err
	}
	f := col.field
	if !f.Filterable || f.Type == "address" {
		return nil, at(text, c.field.pos, "INVALID_FIELD", "field '%s' can not be filtered in a query call", f.Name)
	}
	textual := isText(f.Type)
	switch {
	case c.op == "like" && (!textual || f.Type == "multipicklist"):
		return nil, at(text, c.pos, "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on %s field", f.Type)
	case (c.op == "includes" || c.op == "excludes") != (f.Type == "multipicklist") && c.op != "=" && c.op != "!=":
		return nil, at(text, c.pos, "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on %s field", f.Type)
	case f.Type == "boolean" && c.op != "=" && c.op != "!=":
		return nil, at(text, c.pos, "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on boolean field")
	}
	if c.sub != nil {
		return s.compileSub(text, col, c)
	}
	values := make([]any, len(c.values))
	for i, l := range c.values {
		if values[i], err = s.value(text, f, c.op, l); err != nil {
			return nil, err
		}
	}
	return func(r Record) bool { return compareOp(f, c.op, col.get(r), values) }, nil
}

func (s *Server) compileSub(text string, col column, c *comparison) (func(Record) bool, *apiError) {
	rows, err := s.run(c.sub, false)
	if err != nil {
		return nil, err
	}
	if len(rows.columns) != 1 || rows.columns[0].function != "" {
		return nil, at(text, c.pos, "MALFORMED_QUERY", "a semi join selects one field")
	}
	have := map[any]bool{}
	for _, r := range rows.records {
		have[rows.columns[0].col.get(r)] = true
	}
	return func(r Record) bool {
		v := col.get(r)
		return (v != nil && have[v]) == (c.op == "in")
	}, nil
}

func isText(kind string) bool {
	return slices.Contains([]string{"string", "textarea", "email", "phone", "url", "picklist", "multipicklist"}, kind)
}

// value checks a literal against the field's type and converts it.
func (s *Server) value(text string, f *Field, op string, l literal) (any, *apiError) {
	if l.kind == tokenName && l.text == "NULL" {
		if op != "=" && op != "!=" && op != "in" && op != "not in" {
			return nil, at(text, l.pos, "INVALID_QUERY_FILTER_OPERATOR", "null cannot be compared with '%s'", op)
		}
		return nil, nil
	}
	quoted := l.kind == tokenString
	mustQuote := isText(f.Type) || f.Type == "id" || f.Type == "reference"
	if mustQuote != quoted {
		should := "should not be enclosed in quotes"
		if mustQuote {
			should = "should be enclosed in quotes"
		}
		name := map[string]string{"datetime": "dateTime", "currency": "double", "percent": "double"}[f.Type]
		if name == "" {
			name = f.Type
		}
		return nil, at(text, l.pos, "INVALID_FIELD", "value of filter criterion for field '%s' must be of type %s and %s", f.Name, name, should)
	}
	bad := func() *apiError {
		return at(text, l.pos, "INVALID_FIELD", "value of filter criterion for field '%s' must be of type %s, not '%s'", f.Name, f.Type, l.text)
	}
	switch f.Type {
	case "id", "reference":
		full, ok := fullID(l.text)
		if !ok {
			return nil, at(text, l.pos, "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: %s", l.text)
		}
		return full, nil
	case "boolean":
		if l.text != "TRUE" && l.text != "FALSE" || l.kind != tokenName {
			return nil, bad()
		}
		return l.text == "TRUE", nil
	case "int", "double", "currency", "percent":
		n, err := strconv.ParseFloat(l.text, 64)
		if l.kind != tokenNumber || err != nil {
			return nil, bad()
		}
		return n, nil
	case "date":
		if day, ok := s.dayLiteral(l); ok {
			return Date(day.Format(time.DateOnly)), nil
		}
		if _, err := time.Parse(time.DateOnly, l.text); l.kind != tokenDate || err != nil {
			return nil, bad()
		}
		return Date(l.text), nil
	case "datetime":
		if day, ok := s.dayLiteral(l); ok {
			return day, nil
		}
		m, ok := parseMoment(l.text)
		if l.kind != tokenDateTime || !ok {
			return nil, bad()
		}
		return m, nil
	case "time":
		m, err := time.Parse("15:04:05.999Z", l.text)
		if l.kind != tokenTime || err != nil {
			return nil, bad()
		}
		return TimeOfDay(m.Format("15:04:05.000")), nil
	}
	if op == "like" {
		return l.pattern, nil
	}
	return l.text, nil
}

// dayLiteral is the beginning of the day that a date literal stands for. Ranges
// are not modelled: the literals are here for clients that cannot do without.
func (s *Server) dayLiteral(l literal) (time.Time, bool) {
	today := s.now().Truncate(24 * time.Hour)
	days, ok := map[string]int{"TODAY": 0, "YESTERDAY": -1, "TOMORROW": 1, "LAST_N_DAYS": -l.n, "NEXT_N_DAYS": l.n}[l.text]
	return today.AddDate(0, 0, days), ok && l.kind == tokenName
}

// parseMoment reads a datetime as requests and statements have it.
func parseMoment(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05.999Z07:00", "2006-01-02T15:04:05.999-0700"} {
		if m, err := time.Parse(layout, text); err == nil {
			return m.UTC(), true
		}
	}
	return time.Time{}, false
}
