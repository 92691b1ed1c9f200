package airtable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A formula:
//
//	comparison  = sum { ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") sum }
//	sum         = product { ("+" | "-" | "&") product }
//	product     = unary { ("*" | "/") unary }
//	unary       = [ "-" | "+" ] unary | primary
//	primary     = number | text | "{" field "}" | name [ "(" [ list ] ")" ] | "(" comparison ")"
//
// A text stands between ' or "; a backslash takes the next character as it is,
// but \n, \t and \r are control characters. A field's name in braces ends at the
// first }, escaped or not.
type expr interface{}

type (
	literal  struct{ v value }
	fieldRef struct{ f *Field }
	callExpr struct {
		name string
		args []expr
	}
	binary struct {
		op          string
		left, right expr
	}
	unary struct {
		op      string
		operand expr
	}
)

const invalidFormula = "Invalid formula. Please check your formula text."

// formulaError is the text behind "The formula for filtering records is invalid: ".
type formulaError string

func (e formulaError) Error() string { return string(e) }

type parser struct {
	table   *Table
	text    string
	at      int
	depth   int
	unknown []string
}

// maxDepth of nesting.
const maxDepth = 200

// parse a formula over the fields of a table. An error is a formulaError.
func parse(t *Table, text string) (e expr, err error) {
	p := &parser{table: t, text: text}
	defer func() {
		if r := recover(); r != nil {
			problem, ours := r.(formulaError)
			if !ours {
				panic(r)
			}
			e, err = nil, problem
		}
	}()
	if !utf8.ValidString(text) {
		p.fail()
	}
	e = p.comparison()
	p.space()
	if p.at < len(p.text) {
		p.fail()
	}
	if len(p.unknown) > 0 {
		panic(formulaError("Unknown field names: " + strings.ToLower(strings.Join(p.unknown, ", "))))
	}
	return e, nil
}

func (p *parser) fail() { panic(formulaError(invalidFormula)) }

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take the first of tokens that comes next, if any does.
func (p *parser) take(tokens ...string) string {
	p.space()
	for _, t := range tokens {
		if strings.HasPrefix(p.text[p.at:], t) {
			p.at += len(t)
			return t
		}
	}
	return ""
}

func (p *parser) comparison() expr {
	if p.depth++; p.depth > maxDepth {
		p.fail()
	}
	defer func() { p.depth-- }()
	e := p.sum()
	for {
		op := p.take("!=", "<>", "<=", ">=", "=", "<", ">")
		if op == "" {
			return e
		}
		if op == "<>" {
			op = "!="
		}
		e = &binary{op, e, p.sum()}
	}
}

func (p *parser) sum() expr {
	e := p.product()
	for {
		op := p.take("+", "-", "&")
		if op == "" {
			return e
		}
		e = &binary{op, e, p.product()}
	}
}

func (p *parser) product() expr {
	e := p.unary()
	for {
		op := p.take("*", "/")
		if op == "" {
			return e
		}
		e = &binary{op, e, p.unary()}
	}
}

func (p *parser) unary() expr {
	if op := p.take("-", "+"); op != "" {
		if p.depth++; p.depth > maxDepth {
			p.fail()
		}
		defer func() { p.depth-- }()
		return &unary{op, p.unary()}
	}
	return p.primary()
}

func (p *parser) primary() expr {
	p.space()
	if p.at == len(p.text) {
		p.fail()
	}
	switch c := p.text[p.at]; {
	case c == '(':
		p.at++
		e := p.comparison()
		if p.take(")") == "" {
			p.fail()
		}
		return e
	case c == '\'' || c == '"':
		return p.string(c)
	case c == '{':
		return p.reference()
	case c >= '0' && c <= '9' || c == '.':
		return p.number()
	case isNameByte(c):
		return p.name()
	}
	p.fail()
	return nil
}

func (p *parser) string(quote byte) expr {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch c {
		case quote:
			p.at++
			return &literal{text(b.String())}
		case '\\':
			if p.at++; p.at == len(p.text) {
				p.fail()
			}
			switch c = p.text[p.at]; c {
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			}
		}
		b.WriteByte(c)
	}
	p.fail()
	return nil
}

func (p *parser) reference() expr {
	end := strings.IndexByte(p.text[p.at:], '}')
	if end < 0 {
		p.fail()
	}
	name := p.text[p.at+1 : p.at+end]
	p.at += end + 1
	return p.refer(name)
}

func (p *parser) refer(name string) expr {
	f := p.table.field(name)
	if f == nil {
		p.unknown = append(p.unknown, name)
		return &literal{blank}
	}
	return &fieldRef{f}
}

func (p *parser) number() expr {
	start := p.at
	digits := func() {
		for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
			p.at++
		}
	}
	digits()
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		digits()
	}
	// An exponent is no part of Airtable's numbers: 1e3 is refused.
	n, err := strconv.ParseFloat(p.text[start:p.at], 64)
	if err != nil || p.at < len(p.text) && isNameByte(p.text[p.at]) {
		p.fail()
	}
	return &literal{number(n)}
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9' || c >= 0x80
}

func (p *parser) name() expr {
	start := p.at
	for p.at < len(p.text) && isNameByte(p.text[p.at]) {
		p.at++
	}
	name := p.text[start:p.at]
	if p.take("(") == "" {
		return p.refer(name)
	}
	c := &callExpr{name: strings.ToUpper(name)}
	f, known := functions[c.name]
	if !known {
		p.fail()
	}
	if p.take(")") == "" {
		for {
			c.args = append(c.args, p.comparison())
			if p.take(",") != "" {
				continue
			}
			if p.take(")") == "" {
				p.fail()
			}
			break
		}
	}
	if len(c.args) < f.least || f.most >= 0 && len(c.args) > f.most {
		p.fail()
	}
	return c
}
