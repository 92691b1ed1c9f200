package salesforce

import (
	"slices"
	"strconv"
	"strings"
)

// query is a parsed SELECT statement.
type query struct {
	text    string
	items   []item
	count   bool // SELECT COUNT()
	from    string
	fromPos int
	where   cond
	groupBy []fieldRef
	orderBy []ordering
	limit   int // -1: none
	offset  int
	allRows bool
}

// fieldRef is a path such as Account.Owner.Name.
type fieldRef struct {
	path []string
	pos  int
}

func (f fieldRef) String() string { return strings.Join(f.path, ".") }

// item is a column: a field, or an aggregate function of one.
type item struct {
	fieldRef
	function string // lower case, empty: none
	alias    string
}

type ordering struct {
	item
	descending bool
	nullsLast  bool
}

// cond is a condition: and, or, not, comparison.
type cond interface{ isCond() }

type (
	logic struct {
		and  bool
		args []cond
	}
	negation   struct{ arg cond }
	comparison struct {
		field  fieldRef
		op     string // =, !=, <, <=, >, >=, like, in, not in, includes, excludes
		values []literal
		sub    *query
		pos    int
	}
)

func (*logic) isCond()      {}
func (*negation) isCond()   {}
func (*comparison) isCond() {}

// literal is a value in a statement. A name is true, false, null or a date literal
// such as LAST_N_DAYS:3.
type literal struct {
	token
	n int
}

var aggregates = []string{"count", "count_distinct", "sum", "avg", "min", "max"}

type parser struct {
	text    string
	tokens  []token
	at      int
	depth   int // of brackets
	selects int // of statements in statements
}

// parse reads one statement, all of it.
func parse(text string) (*query, *apiError) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{text: text, tokens: tokens}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	return q, nil
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

func (p *parser) unexpected() *apiError {
	t := p.peek()
	return at(p.text, t.pos, "MALFORMED_QUERY", "unexpected token: '%s'", t.text)
}

// word takes the next token if it is the keyword.
func (p *parser) word(words ...string) bool {
	for i, w := range words {
		if p.at+i >= len(p.tokens) {
			return false
		}
		if t := p.tokens[p.at+i]; t.kind != tokenName || !strings.EqualFold(t.text, w) {
			return false
		}
	}
	p.at += len(words)
	return true
}

func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind == tokenSymbol && t.text == s {
		p.at++
		return true
	}
	return false
}

func (p *parser) query() (*query, *apiError) {
	q := &query{text: p.text, limit: -1}
	if p.selects++; p.selects > 2 {
		return nil, at(p.text, p.peek().pos, "MALFORMED_QUERY", "subqueries are nested too deeply")
	}
	defer func() { p.selects-- }()
	if !p.word("select") {
		return nil, p.unexpected()
	}
	for {
		it, err := p.item()
		if err != nil {
			return nil, err
		}
		if it.function == "count" && len(it.path) == 0 {
			q.count = true
		}
		q.items = append(q.items, it)
		if !p.symbol(",") {
			break
		}
	}
	if q.count && (len(q.items) > 1 || q.items[0].alias != "") {
		return nil, at(p.text, q.items[0].pos, "MALFORMED_QUERY", "COUNT() must be the only element in the SELECT list")
	}
	if !p.word("from") || p.peek().kind != tokenName {
		return nil, p.unexpected()
	}
	t := p.next()
	q.from, q.fromPos = t.text, t.pos
	return q, p.clauses(q)
}

// item is a path or function(path), with an alias.
func (p *parser) item() (item, *apiError) {
	t := p.peek()
	if t.kind != tokenName {
		return item{}, p.unexpected()
	}
	p.next()
	it := item{fieldRef: fieldRef{strings.Split(t.text, "."), t.pos}}
	if p.symbol("(") {
		it.function = strings.ToLower(t.text)
		if !slices.Contains(aggregates, it.function) {
			return it, at(p.text, t.pos, "MALFORMED_QUERY", "unknown function: %s", t.text)
		}
		it.path = nil
		if arg := p.peek(); arg.kind == tokenName {
			p.next()
			it.fieldRef = fieldRef{strings.Split(arg.text, "."), arg.pos}
		} else if it.function != "count" {
			return it, p.unexpected()
		}
		if !p.symbol(")") {
			return it, p.unexpected()
		}
	}
	if t := p.peek(); t.kind == tokenName && !slices.ContainsFunc([]string{"from", "asc", "desc", "nulls", "limit", "offset"}, func(w string) bool { return strings.EqualFold(w, t.text) }) {
		it.alias = p.next().text
	}
	return it, nil
}

func (p *parser) clauses(q *query) *apiError {
	if p.word("where") {
		c, err := p.conditions()
		if err != nil {
			return err
		}
		q.where = c
	}
	if p.word("group", "by") {
		for {
			t := p.peek()
			if t.kind != tokenName {
				return p.unexpected()
			}
			p.next()
			q.groupBy = append(q.groupBy, fieldRef{strings.Split(t.text, "."), t.pos})
			if !p.symbol(",") {
				break
			}
		}
	}
	if p.word("order", "by") {
		if err := p.orderings(q); err != nil {
			return err
		}
	}
	var err *apiError
	if p.word("limit") {
		if q.limit, err = p.whole("LIMIT"); err != nil {
			return err
		}
	}
	if p.word("offset") {
		start := p.peek().pos
		if q.offset, err = p.whole("OFFSET"); err != nil {
			return err
		}
		if q.offset > 2000 {
			return at(p.text, start, "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
		}
	}
	q.allRows = p.word("all", "rows")
	return nil
}

func (p *parser) orderings(q *query) *apiError {
	for {
		it, err := p.item()
		if err != nil {
			return err
		}
		o := ordering{item: it}
		if !p.word("asc") {
			o.descending = p.word("desc")
		}
		if p.word("nulls", "last") {
			o.nullsLast = true
		} else {
			p.word("nulls", "first")
		}
		if q.orderBy = append(q.orderBy, o); !p.symbol(",") {
			break
		}
	}
	if len(q.orderBy) > 32 {
		return at(p.text, q.orderBy[32].pos, "MALFORMED_QUERY", "maximum number of fields in ORDER BY is 32")
	}
	return nil
}

func (p *parser) whole(what string) (int, *apiError) {
	t := p.peek()
	n, err := strconv.Atoi(t.text)
	if t.kind != tokenNumber || err != nil || n < 0 {
		return 0, at(p.text, t.pos, "MALFORMED_QUERY", "%s must be a whole number, found '%s'", what, t.text)
	}
	p.next()
	return n, nil
}

// conditions is conditions all joined by AND, or all by OR: without brackets the
// two do not mix. NOT stands only at the beginning.
func (p *parser) conditions() (cond, *apiError) {
	if p.depth++; p.depth > 50 {
		return nil, at(p.text, p.peek().pos, "MALFORMED_QUERY", "conditions are nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.word("not") {
		c, err := p.condition()
		if err != nil {
			return nil, err
		}
		return p.joined(&negation{c})
	}
	c, err := p.condition()
	if err != nil {
		return nil, err
	}
	return p.joined(c)
}

func (p *parser) joined(first cond) (cond, *apiError) {
	t := p.peek()
	and := strings.EqualFold(t.text, "and")
	if t.kind != tokenName || !and && !strings.EqualFold(t.text, "or") {
		return first, nil
	}
	all := &logic{and: and, args: []cond{first}}
	for p.word(strings.ToLower(t.text)) {
		c, err := p.condition()
		if err != nil {
			return nil, err
		}
		all.args = append(all.args, c)
	}
	if p.word("and") || p.word("or") {
		p.at--
		return nil, p.unexpected()
	}
	return all, nil
}

func (p *parser) condition() (cond, *apiError) {
	if p.symbol("(") {
		c, err := p.conditions()
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		return c, nil
	}
	return p.comparison()
}

func (p *parser) comparison() (cond, *apiError) {
	t := p.peek()
	if t.kind != tokenName || strings.EqualFold(t.text, "not") {
		return nil, p.unexpected()
	}
	p.next()
	c := &comparison{field: fieldRef{strings.Split(t.text, "."), t.pos}, pos: p.peek().pos}
	switch op := p.peek(); {
	case op.kind == tokenSymbol && slices.Contains([]string{"=", "!=", "<>", "<", "<=", ">", ">="}, op.text):
		p.next()
		c.op = strings.Replace(op.text, "<>", "!=", 1)
		v, err := p.literal()
		c.values = []literal{v}
		return c, err
	case p.word("like"):
		c.op = "like"
		v, err := p.literal()
		c.values = []literal{v}
		return c, err
	case p.word("in"):
		c.op = "in"
	case p.word("not", "in"):
		c.op = "not in"
	case p.word("includes"):
		c.op = "includes"
	case p.word("excludes"):
		c.op = "excludes"
	default:
		return nil, p.unexpected()
	}
	if !p.symbol("(") {
		return nil, p.unexpected()
	}
	if t := p.peek(); strings.HasSuffix(c.op, "in") && t.kind == tokenName && strings.EqualFold(t.text, "select") {
		sub, err := p.query()
		if err != nil {
			return nil, err
		}
		c.sub = sub
	} else {
		for {
			v, err := p.literal()
			if err != nil {
				return nil, err
			}
			if c.values = append(c.values, v); !p.symbol(",") {
				break
			}
		}
	}
	if !p.symbol(")") {
		return nil, p.unexpected()
	}
	return c, nil
}

func (p *parser) literal() (literal, *apiError) {
	t := p.peek()
	switch t.kind {
	case tokenString, tokenNumber, tokenDate, tokenDateTime, tokenTime:
		p.next()
		return literal{token: t}, nil
	case tokenName:
		word := strings.ToUpper(t.text)
		switch word {
		case "NULL", "TRUE", "FALSE", "TODAY", "YESTERDAY", "TOMORROW":
			p.next()
			t.text = word
			return literal{token: t}, nil
		case "LAST_N_DAYS", "NEXT_N_DAYS":
			p.next()
			if !p.symbol(":") {
				return literal{}, p.unexpected()
			}
			n, err := p.whole(word)
			t.text = word
			return literal{token: t, n: n}, err
		}
		return literal{}, at(p.text, t.pos, "MALFORMED_QUERY", "Bind variables only allowed in Apex code")
	}
	return literal{}, p.unexpected()
}

// Strings parses a statement and gives its literals of text, in their order.
func Strings(statement string) ([]string, error) {
	q, err := parse(statement)
	if err != nil {
		return nil, err
	}
	var out []string
	var walk func(cond)
	walk = func(c cond) {
		switch c := c.(type) {
		case *logic:
			for _, arg := range c.args {
				walk(arg)
			}
		case *negation:
			walk(c.arg)
		case *comparison:
			for _, v := range c.values {
				if v.kind == tokenString {
					out = append(out, v.text)
				}
			}
		}
	}
	walk(q.where)
	return out, nil
}
