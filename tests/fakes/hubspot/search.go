// POST /crm/v3/objects/{objectType}/search: its grammar and what it means.

package hubspot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// query is the body of a search.
type query struct {
	Query        string            `json:"query"`
	Limit        json.Number       `json:"limit"`
	After        json.RawMessage   `json:"after"`
	Sorts        []json.RawMessage `json:"sorts"`
	Properties   []string          `json:"properties"`
	FilterGroups []group           `json:"filterGroups"`
}

type group struct {
	Filters []filter `json:"filters"`
}

// filter has pointers where not given differs from empty.
type filter struct {
	Property string   `json:"propertyName"`
	Operator string   `json:"operator"`
	Value    *string  `json:"value"`
	High     *string  `json:"highValue"`
	Values   []string `json:"values"`
}

// test is a filter ready to be used.
type test func(values map[string]string) bool

// bad is how a search refuses its body.
func bad(format string, args ...any) *failure {
	f := fail(http.StatusBadRequest, categoryValidation, "There was a problem with the request.")
	f.Errors = []detail{{Message: fmt.Sprintf(format, args...)}}
	return f
}

func (s *Server) search(r *request, t *objectType) reply {
	var q query
	if f := r.decode(&q); f != nil {
		return s.refuseWith(f)
	}
	size, f := limit(q.Limit.String(), 10, MaxSearchPage)
	if f != nil {
		return s.refuseWith(f)
	}
	after, f := offset(q.After)
	if f != nil {
		return s.refuseWith(f)
	}
	if after+size > s.opts.SearchTotal {
		return s.refuseWith(bad("after %d and limit %d reach beyond the %d results that a search has at most", after, size, s.opts.SearchTotal))
	}
	matches, f := s.compile(t, &q)
	if f != nil {
		return s.refuseWith(f)
	}
	by, descending, f := t.order(q.Sorts)
	if f != nil {
		return s.refuseWith(f)
	}
	type hit struct {
		r      *record
		values map[string]string
	}
	var hits []hit
	now := s.now()
	for _, rec := range t.records {
		if values := rec.indexed(now); values != nil && matches(values) {
			hits = append(hits, hit{rec, values})
		}
	}
	if by != nil && (by.Name != "hs_object_id" || descending) {
		sort.SliceStable(hits, func(i, j int) bool {
			c := compareForSort(by, hits[i].values[by.Name], hits[j].values[by.Name])
			if descending {
				return c > 0
			}
			return c < 0
		})
	}
	total := len(hits)
	hits = hits[min(after, total):]
	at := s.step(t, &q, by, descending, len(hits))
	next := ""
	if len(hits) > size {
		hits, next = hits[:size], strconv.Itoa(after+size)
	}
	var ids []int64
	var last map[string]string
	for _, h := range hits {
		ids, last = append(ids, h.r.id), h.values
	}
	s.took(t, at, ids, last, size)
	if after > 0 {
		s.asked.First = false
	}
	results := make([]map[string]any, 0, len(hits))
	for _, h := range hits {
		results = append(results, t.show(h.r, h.values, q.Properties))
	}
	out := page(r, results, next)
	out["total"] = total
	return ok(out)
}

// offset reads after: a number, or one in a string.
func offset(raw json.RawMessage) (int, *failure) {
	v := strings.Trim(string(raw), `"`)
	if v == "" || v == "null" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, bad("invalid after: %s", raw)
	}
	return n, nil
}

// order reads the one sort there may be: a name, or an object.
func (t *objectType) order(sorts []json.RawMessage) (*Property, bool, *failure) {
	if len(sorts) == 0 {
		return nil, false, nil
	}
	if len(sorts) > 1 {
		return nil, false, bad("only 1 sort can be given, and there are %d", len(sorts))
	}
	var by struct {
		Property  string `json:"propertyName"`
		Direction string `json:"direction"`
	}
	descending := false
	if err := json.Unmarshal(sorts[0], &by.Property); err == nil {
		by.Property, descending = strings.CutPrefix(by.Property, "-")
	} else if err := json.Unmarshal(sorts[0], &by); err != nil {
		return nil, false, bad("invalid sort: %s", sorts[0])
	}
	switch by.Direction {
	case "", "ASCENDING":
	case "DESCENDING":
		descending = true
	default:
		return nil, false, bad("invalid sort direction %q", by.Direction)
	}
	p := t.property(by.Property)
	if p == nil {
		return nil, false, bad("Property '%s' does not exist.", by.Property)
	}
	return p, descending, nil
}

// compareForSort has records without a value last, ascending.
func compareForSort(p *Property, a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return compare(p, a, b)
}

// compare is by number or time, else by text without regard to case.
func compare(p *Property, a, b string) int {
	switch p.Type {
	case "number":
		// As the index has them: doubles.
		x, y := double(a), double(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	case "date", "datetime":
		x, _ := instant(a)
		y, _ := instant(b)
		return x.Compare(y)
	}
	return strings.Compare(fold(a), fold(b))
}

func double(v string) float64 {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil && f == 0 {
		return 0
	}
	return f
}

func fold(v string) string { return strings.ToLower(v) }

// compile checks a search and makes a test of it.
func (s *Server) compile(t *objectType, q *query) (test, *failure) {
	if n := utf8.RuneCountInString(q.Query); n > MaxQueryLength {
		return nil, bad("query has %d characters, more than %d", n, MaxQueryLength)
	}
	if n := len(q.FilterGroups); n > s.opts.MaxGroups {
		return nil, bad("filterGroups: %d are more than %d", n, s.opts.MaxGroups)
	}
	var groups [][]test
	filters := 0
	for _, g := range q.FilterGroups {
		if n := len(g.Filters); n == 0 || n > s.opts.MaxInGroup {
			return nil, bad("filters: a group has %d, which is not from 1 to %d", n, s.opts.MaxInGroup)
		}
		if filters += len(g.Filters); filters > s.opts.MaxFilters {
			return nil, bad("filters: there are more than %d", s.opts.MaxFilters)
		}
		var group []test
		for i := range g.Filters {
			one, f := t.compile(&g.Filters[i])
			if f != nil {
				return nil, f
			}
			group = append(group, one)
		}
		groups = append(groups, group)
	}
	wanted := words(q.Query)
	return func(values map[string]string) bool {
		if len(wanted) > 0 && !t.mentions(values, wanted) {
			return false
		}
		if len(groups) == 0 {
			return true
		}
		return slices.ContainsFunc(groups, func(group []test) bool {
			return !slices.ContainsFunc(group, func(one test) bool { return !one(values) })
		})
	}, nil
}

// mentions: each word is in some text of the record.
func (t *objectType) mentions(values map[string]string, wanted []string) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(t.usual, func(name string) bool { return slices.Contains(words(values[name]), w) }) {
			return false
		}
	}
	return true
}

func (t *objectType) compile(f *filter) (test, *failure) {
	p := t.property(f.Property)
	if p == nil {
		return nil, bad("Property '%s' does not exist.", f.Property)
	}
	name := p.Name
	if p.Unsearchable {
		return nil, bad("Property '%s' is not searchable.", name)
	}
	switch f.Operator {
	case "HAS_PROPERTY", "NOT_HAS_PROPERTY":
		if f.Value != nil || f.High != nil || f.Values != nil {
			return nil, bad("operator %s of property %s takes no value", f.Operator, name)
		}
		has := f.Operator == "HAS_PROPERTY"
		return func(values map[string]string) bool { return (values[name] != "") == has }, nil
	case "IN", "NOT_IN":
		if len(f.Values) == 0 || f.Value != nil {
			return nil, bad("operator %s of property %s takes values", f.Operator, name)
		}
		return t.compileIn(p, f)
	}
	if f.Values != nil || f.Value == nil || *f.Value == "" {
		return nil, bad("operator %s of property %s takes a value, which is not empty", f.Operator, name)
	}
	value := *f.Value
	if refused := t.comparable(p, value); refused != nil {
		return nil, refused
	}
	has := func(want func(v string) bool) test {
		return func(values map[string]string) bool { v := values[name]; return v != "" && want(v) }
	}
	switch f.Operator {
	case "EQ":
		return has(func(v string) bool { return equal(p, v, value) }), nil
	case "NEQ":
		// A record without a value is not equal to anything.
		return func(values map[string]string) bool { v := values[name]; return v == "" || !equal(p, v, value) }, nil
	case "LT":
		return has(func(v string) bool { return compare(p, v, value) < 0 }), nil
	case "LTE":
		return has(func(v string) bool { return compare(p, v, value) <= 0 }), nil
	case "GT":
		return has(func(v string) bool { return compare(p, v, value) > 0 }), nil
	case "GTE":
		return has(func(v string) bool { return compare(p, v, value) >= 0 }), nil
	case "BETWEEN":
		if f.High == nil || *f.High == "" {
			return nil, bad("operator BETWEEN of property %s takes a highValue", name)
		}
		high := *f.High
		if refused := t.comparable(p, high); refused != nil {
			return nil, refused
		}
		return has(func(v string) bool { return compare(p, v, value) >= 0 && compare(p, v, high) <= 0 }), nil
	case "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN":
		if p.Type != "string" {
			return nil, bad("operator %s is not for property %s of type %s", f.Operator, name, p.Type)
		}
		contains := f.Operator == "CONTAINS_TOKEN"
		return func(values map[string]string) bool { return hasToken(values[name], value) == contains }, nil
	}
	return nil, bad("unknown operator %q", f.Operator)
}

// comparable refuses a value that is none of the property's type.
func (t *objectType) comparable(p *Property, value string) *failure {
	good := true
	switch p.Type {
	case "number":
		_, good = number(value)
	case "date", "datetime":
		_, good = instant(value)
	case "bool":
		good = value == "true" || value == "false"
	}
	if !good {
		return bad("property %s of type %s cannot be compared with %s", p.Name, p.Type, value)
	}
	return nil
}

func equal(p *Property, v, value string) bool {
	if p.Type == "enumeration" {
		return v == value
	}
	return compare(p, v, value) == 0
}

// compileIn: of texts, values that are not in lower case never match.
func (t *objectType) compileIn(p *Property, f *filter) (test, *failure) {
	for _, v := range f.Values {
		if refused := t.comparable(p, v); refused != nil {
			return nil, refused
		}
	}
	name := p.Name
	in := func(v string) bool {
		return slices.ContainsFunc(f.Values, func(value string) bool {
			if p.Type == "string" {
				return fold(v) == value
			}
			return equal(p, v, value)
		})
	}
	if f.Operator == "IN" {
		return func(values map[string]string) bool { v := values[name]; return v != "" && in(v) }, nil
	}
	return func(values map[string]string) bool { v := values[name]; return v == "" || !in(v) }, nil
}

// words are those of a text, in lower case.
func words(v string) []string {
	return strings.FieldsFunc(fold(v), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// hasToken: a word of the text is the pattern's, in which * stands for anything.
func hasToken(v, pattern string) bool {
	parts := strings.Split(fold(pattern), "*")
	return slices.ContainsFunc(append(words(v), fold(v)), func(token string) bool {
		rest, found := strings.CutPrefix(token, parts[0])
		if !found {
			return false
		}
		if len(parts) == 1 {
			return rest == ""
		}
		for _, part := range parts[1 : len(parts)-1] {
			at := strings.Index(rest, part)
			if at < 0 {
				return false
			}
			rest = rest[at+len(part):]
		}
		return strings.HasSuffix(rest, parts[len(parts)-1])
	})
}
