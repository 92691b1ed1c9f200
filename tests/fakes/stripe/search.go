// Search: its query language, read and evaluated; what it shows may be old.

package stripe

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

type searchKind uint8

// Fields of a search: tokens are equal or not, texts can also contain (~), numbers
// can be compared.
const (
	token searchKind = iota + 1
	searchText
	numeric
)

// clause of a query: field operator value.
type clause struct {
	negated  bool
	field    string
	key      string // metadata["key"]
	operator string
	value    string
	null     bool
	kind     searchKind
}

// query is clauses that must all hold, or one of them.
type query struct {
	clauses []clause
	or      bool
}

func cannotParse() *apiError {
	return invalid("query", "", "We were unable to parse your search query. Try using the format `metadata[\"key\"]:\"value\"` to query for metadata or key:\"value\" to query for other fields.")
}

// parseQuery reads a query for a resource.
func parseQuery(r *resource, text string) (*query, *apiError) {
	p := &queryParser{rest: text}
	q := &query{}
	joined := ""
	for {
		p.space()
		if p.rest == "" {
			break
		}
		if len(q.clauses) > 0 {
			word := "and"
			if w := p.keyword(); w != "" {
				word = w
			}
			if joined != "" && joined != word {
				return nil, invalid("query", "", "Search queries can't combine AND and OR.")
			}
			joined = word
		}
		c, e := p.clause(r)
		if e != nil {
			return nil, e
		}
		q.clauses = append(q.clauses, c)
	}
	q.or = joined == "or"
	switch n := len(q.clauses); {
	case n == 0:
		return nil, cannotParse()
	case n > 10:
		return nil, invalid("query", "", "Search queries can have at most 10 clauses, but yours has %d.", n)
	}
	return q, nil
}

type queryParser struct{ rest string }

func (p *queryParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *queryParser) keyword() string {
	for _, w := range []string{"and", "or"} {
		if len(p.rest) > len(w) && strings.EqualFold(p.rest[:len(w)], w) && strings.ContainsAny(p.rest[len(w):len(w)+1], " \t\r\n") {
			p.rest = p.rest[len(w):]
			p.space()
			return w
		}
	}
	return ""
}

func (p *queryParser) clause(r *resource) (c clause, e *apiError) {
	if strings.HasPrefix(p.rest, "-") {
		c.negated = true
		p.rest = p.rest[1:]
	}
	n := strings.IndexFunc(p.rest, func(ch rune) bool {
		return ch != '_' && ch != '.' && (ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
	})
	if n <= 0 {
		return c, cannotParse()
	}
	c.field, p.rest = p.rest[:n], p.rest[n:]
	c.kind = r.search[c.field]
	if c.kind == 0 {
		return c, invalid("query", "", "Field `%s` is an unsupported search field for resource `%s`. See http://stripe.com/docs/search#query-fields-for-%s for a list of supported fields.", c.field, r.path, strings.ReplaceAll(r.path, "_", "-"))
	}
	if c.field == "metadata" {
		if !strings.HasPrefix(p.rest, "[") {
			return c, cannotParse()
		}
		p.rest = p.rest[1:]
		var ok bool
		if c.key, ok = p.quoted(); !ok || !strings.HasPrefix(p.rest, "]") {
			return c, cannotParse()
		}
		p.rest = p.rest[1:]
	}
	for _, op := range []string{">=", "<=", ">", "<", ":", "~"} {
		if strings.HasPrefix(p.rest, op) {
			c.operator, p.rest = op, p.rest[len(op):]
			break
		}
	}
	if c.operator == "" {
		return c, cannotParse()
	}
	if e = p.value(&c); e != nil {
		return c, e
	}
	return c, c.check()
}

func (p *queryParser) value(c *clause) *apiError {
	if value, ok := p.quoted(); ok {
		c.value = value
		return nil
	}
	n := strings.IndexAny(p.rest, " \t\r\n")
	if n < 0 {
		n = len(p.rest)
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	if strings.EqualFold(word, "null") {
		c.null = true
		return nil
	}
	if _, err := strconv.ParseFloat(word, 64); err != nil {
		return cannotParse() // text must be quoted
	}
	c.value = word
	return nil
}

// quoted reads "…" or '…', in which a backslash takes the meaning of a quote or a
// backslash.
func (p *queryParser) quoted() (string, bool) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		return "", false
	}
	quote := p.rest[0]
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch ch := p.rest[i]; {
		case ch == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		case ch == quote:
			p.rest = p.rest[i+1:]
			return b.String(), true
		default:
			b.WriteByte(ch)
		}
	}
	return "", false
}

func (c *clause) check() *apiError {
	switch {
	case c.null && c.operator != ":":
		return cannotParse()
	case c.operator == "~" && c.kind != searchText:
		return invalid("query", "", "Field `%s` does not support the substring operator `~`.", c.field)
	case c.operator == "~" && len([]rune(c.value)) < 3:
		return invalid("query", "", "Substring matches need a value of at least 3 characters.")
	case strings.ContainsAny(c.operator, "<>") && c.kind != numeric:
		return invalid("query", "", "Field `%s` does not support the operator `%s`.", c.field, c.operator)
	case c.kind == numeric && !c.null:
		if _, err := strconv.ParseFloat(c.value, 64); err != nil {
			return invalid("query", "", "Field `%s` needs a number, but the query has `%s`.", c.field, c.value)
		}
	}
	return nil
}

func (q *query) holds(r *resource, fields map[string]any) bool {
	for i := range q.clauses {
		if q.clauses[i].holds(r, fields) == q.or {
			return q.or
		}
	}
	return !q.or
}

func (c *clause) holds(r *resource, fields map[string]any) bool {
	return c.matches(c.find(r, fields)) != c.negated
}

func (c *clause) find(r *resource, fields map[string]any) any {
	switch {
	case c.field == "metadata":
		m, _ := fields["metadata"].(map[string]any)
		return m[c.key]
	case c.field == "subscription" && r.path == "invoices":
		return at(fields, "parent.subscription_details.subscription")
	}
	return at(fields, c.field)
}

func (c *clause) matches(v any) bool {
	if c.null {
		return v == nil
	}
	if v == nil {
		return false
	}
	if c.kind == numeric {
		n, ok := v.(int64)
		want, _ := strconv.ParseFloat(c.value, 64)
		have := float64(n)
		switch c.operator {
		case ">":
			return ok && have > want
		case "<":
			return ok && have < want
		case ">=":
			return ok && have >= want
		case "<=":
			return ok && have <= want
		}
		return ok && have == want
	}
	have, want := strings.ToLower(fmt.Sprint(v)), strings.ToLower(c.value)
	if c.operator == "~" {
		return strings.Contains(have, want)
	}
	return have == want
}

var searchSpecs = members("query! limit:int page")

func (s *Server) search(c *call, r *resource) (any, *apiError) {
	in, e := check(c.in, searchSpecs, "")
	if e != nil {
		return nil, e
	}
	limit, e := limitOf(in)
	if e != nil {
		return nil, e
	}
	q, e := parseQuery(r, text(in["query"]))
	if e != nil {
		return nil, e
	}
	offset, e := pageOffset(text(in["page"]), text(in["query"]))
	if e != nil {
		return nil, e
	}
	var page []*object
	total := 0
	for _, o := range s.newestFirst(r) {
		seen := s.asIndexed(o)
		if seen == nil || !q.holds(r, seen) {
			continue
		}
		if total++; total <= offset || len(page) == limit {
			continue
		}
		// What is shown is as old as what was searched.
		page = append(page, &object{id: o.id, fields: seen})
	}
	more, next := total > offset+len(page), "null"
	c.page = pageOf{first: offset == 0, matched: total, size: limit}
	if more {
		next = strconv.Quote(base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d\n%s", offset+len(page), text(in["query"]))))
	}
	count := ""
	for _, x := range c.expand {
		if x == "total_count" {
			count = fmt.Sprintf(`"total_count":%d,`, total)
		}
	}
	out := fmt.Appendf(nil, `{"object":"search_result","url":"/v1/%s/search","has_more":%t,"next_page":%s,%s"data":[`, r.path, more, next, count)
	out, e = s.appendObjects(out, c, r, page)
	return append(out, ']', '}'), e
}

// newestFirst has the deleted ones too, as an index that lags may still have them.
func (s *Server) newestFirst(r *resource) []*object {
	col := s.store[r.path]
	out := make([]*object, 0, len(col.list))
	for i := len(col.list) - 1; i >= 0; i-- {
		out = append(out, col.list[i])
	}
	if s.knobs.SearchLag > 0 {
		for _, o := range col.gone {
			out = append(out, o)
		}
	}
	return out
}

// pageOffset of a next_page; it holds for the query that it came with.
func pageOffset(page, query string) (int, *apiError) {
	if page == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(page)
	n, of, ok := strings.Cut(string(raw), "\n")
	offset, err2 := strconv.Atoi(n)
	if err != nil || err2 != nil || !ok || of != query {
		return 0, invalid("page", "", "Invalid value for page: %s", page)
	}
	return offset, nil
}
