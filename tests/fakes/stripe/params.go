// Form-encoded parameters, and what a request may have: a notation for it, and the
// checks that the API makes before it begins to do anything.

package stripe

import (
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spec of a parameter. The notation, for members separated by spaces:
//
//	name!?:kind    ! required; ? may be an empty text, which unsets it
//	kind           a number (longest text); int, num, dec, bool, time; map (texts
//	               by name); any (not looked into); range (a number, or gt, gte,
//	               lt and lte of it); values a|b|c
//	name{a b c}    members
//	name[]         a list of texts
type spec struct {
	name            string
	required, unset bool
	kind            kind
	max             int
	values          []string
	members         []*spec
}

type kind uint8

const (
	isText kind = iota
	isInt
	isNumber
	isBool
	isMap
	isAny
	isValue
	isObject
	isList
	isRange
)

// members reads the notation. It is for constants: what is wrong panics.
func members(notation string) []*spec {
	p := &notationParser{rest: notation}
	out := p.list()
	if p.rest != "" {
		panic("notation: unexpected " + p.rest)
	}
	return out
}

type notationParser struct{ rest string }

func (p *notationParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

func (p *notationParser) word() string {
	n := strings.IndexAny(p.rest, " {}[]!?:\n\t")
	if n < 0 {
		n = len(p.rest)
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	return w
}

func (p *notationParser) list() (out []*spec) {
	for {
		p.rest = strings.TrimLeft(p.rest, " \n\t")
		if p.rest == "" || p.rest[0] == '}' {
			return out
		}
		s := &spec{name: p.word(), max: 5000}
		if s.name == "" {
			panic("notation: no name at " + p.rest)
		}
		s.required = p.take("!")
		s.unset = p.take("?")
		switch {
		case p.take("{"):
			s.kind, s.members = isObject, p.list()
			if !p.take("}") {
				panic("notation: unclosed {")
			}
		case p.take("[]"):
			s.kind = isList
		case p.take(":"):
			s.setKind(p.word())
		}
		out = append(out, s)
	}
}

func (s *spec) setKind(word string) {
	switch word {
	case "int", "time":
		s.kind = isInt
	case "num", "dec":
		s.kind = isNumber
	case "bool":
		s.kind = isBool
	case "map":
		s.kind = isMap
	case "any":
		s.kind = isAny
	case "range":
		s.kind, s.members = isRange, members("gt:int gte:int lt:int lte:int")
	default:
		if n, err := strconv.Atoi(word); err == nil {
			s.max = n
			return
		}
		s.kind, s.values = isValue, strings.Split(word, "|")
	}
}

// node of a decoded form: a text, or members in the order they came.
type node struct {
	text  string
	leaf  bool
	names []string
	kids  map[string]*node
}

func (n *node) kid(name string) *node {
	if n == nil {
		return nil
	}
	return n.kids[name]
}

// decode turns a[b]=c&d[]=e into a tree. Members of a list without index are
// numbered. The order of names is that of the request's text.
func decode(pairs [][2]string) (*node, *apiError) {
	root := &node{}
	for _, p := range pairs {
		path, ok := splitName(p[0])
		if !ok {
			return nil, invalid(p[0], "", "Invalid parameter name: %s", p[0])
		}
		at := root
		for _, name := range path {
			if at.leaf {
				return nil, invalid(path[0], "", "Invalid hash")
			}
			if name == "" {
				name = strconv.Itoa(len(at.kids))
			}
			next := at.kids[name]
			if next == nil {
				next = &node{}
				if at.kids == nil {
					at.kids = map[string]*node{}
				}
				at.kids[name] = next
				at.names = append(at.names, name)
			}
			at = next
		}
		if at.kids != nil {
			return nil, invalid(path[0], "", "Invalid hash")
		}
		at.leaf, at.text = true, p[1]
	}
	return root, nil
}

// splitName: a[b][] is a, b and an empty name.
func splitName(name string) ([]string, bool) {
	head, rest, nested := strings.Cut(name, "[")
	path := []string{head}
	if head == "" {
		return nil, false
	}
	for nested {
		var part, after string
		var closed bool
		if part, after, closed = strings.Cut(rest, "]"); !closed {
			return nil, false
		}
		path = append(path, part)
		if after == "" {
			return path, true
		}
		if after[0] != '[' {
			return nil, false
		}
		rest = after[1:]
	}
	return path, len(path) == 1
}

// pairsOf a query or body, in their order.
func pairsOf(text string) (out [][2]string, ok bool) {
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !utf8.ValidString(n) || !utf8.ValidString(v) {
			return nil, false
		}
		out = append(out, [2]string{n, v})
	}
	return out, true
}

// check compares a form with the specs and gives typed values: string, int64,
// float64, bool, map[string]any, []any; nil where a parameter is unset.
func check(in *node, specs []*spec, prefix string) (map[string]any, *apiError) {
	out := map[string]any{}
	var unknown []string
	for _, name := range in.names {
		at := slices.IndexFunc(specs, func(s *spec) bool { return s.name == name })
		if at < 0 {
			unknown = append(unknown, nameIn(prefix, name))
			continue
		}
		v, err := specs[at].value(in.kids[name], nameIn(prefix, name))
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	if len(unknown) > 0 {
		s := ""
		if len(unknown) > 1 {
			s = "s"
		}
		return nil, invalid(unknown[0], "parameter_unknown", "Received unknown parameter%s: %s", s, strings.Join(unknown, ", "))
	}
	for _, s := range specs {
		if _, ok := out[s.name]; s.required && !ok {
			return nil, invalid(nameIn(prefix, s.name), "parameter_missing", "Missing required param: %s.", nameIn(prefix, s.name))
		}
	}
	return out, nil
}

func nameIn(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "[" + name + "]"
}

func (s *spec) value(n *node, name string) (any, *apiError) {
	if n.leaf && n.text == "" && (s.unset || s.kind == isMap) {
		return nil, nil
	}
	switch s.kind {
	case isObject:
		if n.leaf {
			return nil, invalid(name, "", "Invalid object")
		}
		return check(n, s.members, name)
	case isRange:
		if n.leaf {
			eq, err := (&spec{kind: isInt}).scalar(n.text, name)
			return map[string]any{"gte": eq, "lte": eq}, err
		}
		return check(n, s.members, name)
	case isMap:
		return s.textsByName(n, name)
	case isList:
		if n.leaf {
			return nil, invalid(name, "", "Invalid array")
		}
		return n.list(name)
	case isAny:
		return n.plain(), nil
	}
	if !n.leaf {
		return nil, invalid(name, "", "Invalid value: a hash was given")
	}
	return s.scalar(n.text, name)
}

func (s *spec) scalar(text, name string) (any, *apiError) {
	if text == "" {
		return nil, invalid(name, "parameter_invalid_empty", "You passed an empty string for '%s'. We assume empty values are an attempt to unset a parameter; however '%s' cannot be unset. You should remove '%s' from your request or supply a non-empty value.", name, name, name)
	}
	switch s.kind {
	case isInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, invalid(name, "parameter_invalid_integer", "Invalid integer: %s", text)
		}
		return n, nil
	case isNumber:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, invalid(name, "", "Invalid decimal: %s", text)
		}
		return f, nil
	case isBool:
		if text != "true" && text != "false" {
			return nil, invalid(name, "", "Invalid boolean: %s", text)
		}
		return text == "true", nil
	case isValue:
		if !slices.Contains(s.values, text) {
			return nil, invalid(name, "", "Invalid %s: must be one of %s", name, orList(s.values))
		}
	}
	if n := utf8.RuneCountInString(text); n > s.max {
		r := []rune(text)
		return nil, invalid(name, "", "Invalid string: %s...%s; must be at most %d characters", string(r[:min(10, n)]), string(r[max(0, n-4):]), s.max)
	}
	return text, nil
}

// textsByName is metadata: at most 50 names of 40 characters, with 500 each.
func (s *spec) textsByName(n *node, name string) (any, *apiError) {
	if n.leaf {
		return nil, invalid(name, "", "Invalid hash")
	}
	out := map[string]any{}
	for _, k := range n.names {
		kid := n.kids[k]
		switch {
		case s.name == "metadata" && !kid.leaf:
			return nil, invalid(name, "", "Invalid string in metadata: a hash was given")
		case s.name == "metadata" && utf8.RuneCountInString(k) > 40:
			return nil, invalid(name, "", "Metadata keys can be no more than 40 characters long, but you passed in a key that is %d characters. Invalid key: %s", utf8.RuneCountInString(k), k)
		case s.name == "metadata" && utf8.RuneCountInString(kid.text) > 500:
			return nil, invalid(name, "", "Metadata values can have up to 500 characters, but you passed in a value that is %d characters. Invalid value: %s", utf8.RuneCountInString(kid.text), kid.text)
		case kid.leaf && kid.text == "":
			out[k] = nil
		default:
			out[k] = kid.plain()
		}
	}
	return out, nil
}

func (n *node) list(name string) (any, *apiError) {
	out := []any{}
	for _, k := range n.order() {
		if !n.kids[k].leaf {
			return nil, invalid(name, "", "Invalid string in %s: a hash was given", name)
		}
		out = append(out, n.kids[k].text)
	}
	return out, nil
}

// order of a list's elements by their index.
func (n *node) order() []string {
	names := slices.Clone(n.names)
	sort.SliceStable(names, func(i, j int) bool {
		a, _ := strconv.Atoi(names[i])
		b, _ := strconv.Atoi(names[j])
		return a < b
	})
	return names
}

// plain gives texts, lists (where all names are numbers) and maps.
func (n *node) plain() any {
	if n.leaf {
		return n.text
	}
	numbered := len(n.names) > 0
	for _, k := range n.names {
		if _, err := strconv.Atoi(k); err != nil {
			numbered = false
		}
	}
	if numbered {
		out := []any{}
		for _, k := range n.order() {
			out = append(out, n.kids[k].plain())
		}
		return out
	}
	out := map[string]any{}
	for _, k := range n.names {
		out[k] = n.kids[k].plain()
	}
	return out
}

func orList(values []string) string {
	switch n := len(values); n {
	case 1:
		return values[0]
	case 2:
		return values[0] + " or " + values[1]
	default:
		return strings.Join(values[:n-1], ", ") + fmt.Sprintf(", or %s", values[n-1])
	}
}
