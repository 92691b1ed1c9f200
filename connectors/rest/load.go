// Reading a manifest: YAML to structs with the line of everything that is
// wrong. What a single key must look like is checked here, by the structs'
// tags; what keys mean together is in check.go.

package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallwaydb/hallway/connectors"
)

// Problem is one thing wrong with a manifest.
type Problem struct {
	// Line and Column in the file, from 1; 0: of no one line.
	Line, Column int
	// Path of the key: "objects.contacts.fields.email.type"; empty: the file.
	Path string
	// Text says what was expected, and what was found.
	Text string
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// ManifestError is everything wrong with one manifest, in the order of its
// lines. It has at least one Problem.
type ManifestError struct {
	File     string
	Problems []Problem
}

func (e *ManifestError) Error() string {
	p := e.Problems[0]
	if p.Line == 0 {
		return fmt.Sprintf("manifest %q: %s", e.File, p)
	}
	return fmt.Sprintf("manifest %q, line %d: %s", e.File, p.Line, p)
}

const (
	maxNodes = 200_000 // of a manifest, aliases expanded
	maxNest  = 40
)

// Parse reads the manifest in text. file is its name in messages. An error is
// a *ManifestError.
func Parse(file string, text []byte) (*Manifest, error) {
	return parse(file, text, false)
}

// parse is Parse; vendor: objects may come from elsewhere.
func parse(file string, text []byte, vendor bool) (*Manifest, error) {
	l := &loader{left: maxNodes, vendor: vendor}
	m := &Manifest{File: file}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		l.problem(nil, "", "expected a manifest, found an empty file")
	case err != nil:
		l.syntax(err)
	default:
		l.value(doc.Content[0], "", reflect.ValueOf(m).Elem(), rules{}, 0)
		var more yaml.Node
		if err := dec.Decode(&more); err == nil {
			l.problem(&more, "", "expected one YAML document, found a second one")
		} else if !errors.Is(err, io.EOF) {
			l.syntax(err)
		}
	}
	if len(l.problems) == 0 {
		m.setDefaults()
		l.check(m)
	}
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, &ManifestError{File: file, Problems: l.problems}
	}
	return m, nil
}

type loader struct {
	problems []Problem
	// nodes remembers where each path stands, for check.go.
	nodes map[string]*yaml.Node
	left  int
	// vendor: the manifest may be without objects.
	vendor bool
}

func (l *loader) problem(n *yaml.Node, path, format string, args ...any) {
	p := Problem{Path: path, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	l.problems = append(l.problems, p)
}

// at reports a problem of a path that was loaded, or of its nearest parent.
func (l *loader) at(path, format string, args ...any) {
	for p := path; ; {
		if n := l.nodes[p]; n != nil {
			l.problem(n, path, format, args...)
			return
		}
		i := strings.LastIndexByte(p, '.')
		if i < 0 {
			l.problem(l.nodes[""], path, format, args...)
			return
		}
		p = p[:i]
	}
}

// syntax takes the line out of yaml's own message: "yaml: line 3: found ...".
func (l *loader) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Text: "expected YAML: " + text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if num, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				p.Line, p.Text = n, "expected YAML: "+what
			}
		}
	}
	l.problems = append(l.problems, p)
}

// rules are a check tag, parsed.
type rules struct {
	required bool
	enum     []string
	min, max *float64
	form     string
}

func parseRules(tag string) (r rules) {
	for part := range strings.SplitSeq(tag, ",") {
		name, arg, _ := strings.Cut(part, "=")
		switch name {
		case "required":
			r.required = true
		case "enum":
			r.enum = strings.Split(arg, "|")
		case "min", "max":
			f, _ := strconv.ParseFloat(arg, 64)
			if name == "min" {
				r.min = &f
			} else {
				r.max = &f
			}
		case "form":
			r.form = arg
		}
	}
	return r
}

// key is a field of a struct as the manifest writes it.
type key struct {
	name  string
	index int
	rules rules
	doc   string
}

func keysOf(t reflect.Type) []key {
	var keys []key
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" || name == "-" || name[0] == ',' {
			continue
		}
		keys = append(keys, key{name, i, parseRules(f.Tag.Get("check")), f.Tag.Get("doc")})
	}
	return keys
}

// namedBy tells whether a slice of t is written as a mapping, whose keys are
// the first field; scalar: whose values are plain text (Pair).
func namedBy(t reflect.Type) (named, scalar bool) {
	if t.Kind() != reflect.Struct || t.NumField() == 0 || t.Field(0).Tag.Get("yaml") != "-" || t.Field(0).Type.Kind() != reflect.String {
		return false, false
	}
	return true, t.NumField() == 2 && t.Field(1).Tag.Get("yaml") == ",value"
}

func (l *loader) value(n *yaml.Node, path string, v reflect.Value, r rules, depth int) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
		depth++
	}
	if l.left--; l.left < 0 || depth > maxNest {
		if l.left > -2 {
			l.problem(n, path, "expected a smaller manifest: it is nested or repeated too often")
		}
		l.left = -2
		return
	}
	if l.nodes == nil {
		l.nodes = map[string]*yaml.Node{}
	}
	l.nodes[path] = n
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		l.value(n, path, p.Elem(), r, depth+1)
		v.Set(p)
	case reflect.Struct:
		l.structure(n, path, v, depth)
	case reflect.Slice:
		l.list(n, path, v, r, depth)
	default:
		l.scalar(n, path, v, r)
	}
}

func (l *loader) structure(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		l.problem(n, path, "expected a mapping, found %s", describe(n))
		return
	}
	if f := v.FieldByName("Line"); f.IsValid() {
		f.SetInt(int64(n.Line))
	}
	keys := keysOf(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(keys, func(k key) bool { return k.name == kn.Value })
		switch {
		case at < 0:
			names := make([]string, len(keys))
			for i, k := range keys {
				names[i] = k.name
			}
			l.problem(kn, path, "unknown key %q; expected %s", kn.Value, oneOf(kn.Value, names))
		case seen[kn.Value]:
			l.problem(kn, path, "the key %q stands here twice", kn.Value)
		default:
			seen[kn.Value] = true
			k := keys[at]
			l.value(vn, join(path, k.name), v.Field(k.index), k.rules, depth+1)
		}
	}
	for _, k := range keys {
		found := l.vendor && path == "" && k.name == "objects" // elsewhere
		if k.rules.required && !seen[k.name] && !found {
			l.problem(n, path, "the key %q is missing", k.name)
		}
	}
}

func (l *loader) list(n *yaml.Node, path string, v reflect.Value, r rules, depth int) {
	elem := v.Type().Elem()
	named, scalar := namedBy(elem)
	if !named {
		if n.Kind != yaml.SequenceNode {
			l.problem(n, path, "expected a list, found %s", describe(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content))) // an empty list is not nothing
		for i, c := range n.Content {
			e := reflect.New(elem).Elem()
			l.value(c, path+"["+strconv.Itoa(i)+"]", e, r, depth+1)
			v.Set(reflect.Append(v, e))
		}
		return
	}
	if n.Kind != yaml.MappingNode {
		l.problem(n, path, "expected a mapping by name, found %s", describe(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		if kn.Kind != yaml.ScalarNode || kn.Value == "" {
			l.problem(kn, path, "expected a name, found %s", describe(kn))
			continue
		}
		if seen[kn.Value] {
			l.problem(kn, path, "the name %q stands here twice", kn.Value)
			continue
		}
		seen[kn.Value] = true
		e := reflect.New(elem).Elem()
		e.Field(0).SetString(kn.Value)
		p := join(path, kn.Value)
		if scalar {
			l.value(vn, p, e.Field(1), r, depth+1)
		} else {
			l.value(vn, p, e, r, depth+1)
			if f := e.FieldByName("Line"); f.IsValid() {
				f.SetInt(int64(kn.Line))
			}
		}
		v.Set(reflect.Append(v, e))
	}
	if r.required && len(seen) == 0 {
		l.problem(n, path, "expected at least one entry")
	}
}

func (l *loader) scalar(n *yaml.Node, path string, v reflect.Value, r rules) {
	wrong := func(want string) { l.problem(n, path, "expected %s, found %s", want, describe(n)) }
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		wrong(wantOf(v.Kind(), r))
		return
	}
	switch v.Kind() {
	case reflect.String:
		// Numbers and booleans are taken as they are written: max: "10".
		v.SetString(n.Value)
		if r.required && n.Value == "" {
			wrong("a text that is not empty")
		}
		if r.enum != nil && !slices.Contains(r.enum, n.Value) {
			l.problem(n, path, "expected %s, found %s", oneOf(n.Value, r.enum), describe(n))
		}
		if want := checkForm(r.form, n.Value); want != "" {
			wrong(want)
		}
	case reflect.Bool:
		var b bool
		if n.Tag != "!!bool" || n.Decode(&b) != nil {
			wrong("true or false")
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Float64:
		var f float64
		if (n.Tag != "!!int" && (n.Tag != "!!float" || v.Kind() == reflect.Int)) || n.Decode(&f) != nil ||
			(r.min != nil && f < *r.min) || (r.max != nil && f > *r.max) {
			wrong(wantOf(v.Kind(), r))
			return
		}
		if v.Kind() == reflect.Int {
			v.SetInt(int64(f))
		} else {
			v.SetFloat(f)
		}
	}
}

func wantOf(k reflect.Kind, r rules) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Float64:
		want := "a number"
		if k == reflect.Int {
			want = "a whole number"
		}
		switch {
		case r.min != nil && r.max != nil && *r.min == *r.max:
			return fmt.Sprintf("the number %g", *r.min)
		case r.min != nil && r.max != nil:
			return fmt.Sprintf("%s from %g to %g", want, *r.min, *r.max)
		case r.min != nil:
			return fmt.Sprintf("%s of at least %g", want, *r.min)
		}
		return want
	}
	if r.enum != nil {
		return "one of " + strings.Join(r.enum, ", ")
	}
	return "a text"
}

// checkForm says what was expected of a text; empty: it is right.
func checkForm(form, s string) string {
	switch form {
	case "path":
		if s != "" && (s[0] != '/' || strings.ContainsAny(s, " ?#\\\n")) {
			return "a path that begins with / and has no query"
		}
	case "name":
		if strings.ContainsAny(s, " \n\t") {
			return "a field's name"
		}
	case "template":
		if s != "" && s[0] != '/' && !strings.HasPrefix(s, "{path}") {
			return "a path that begins with / or {path}"
		}
	}
	return ""
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "nothing"
		}
		v := n.Value
		if len(v) > 60 {
			v = v[:60] + "…"
		}
		return strconv.Quote(v)
	}
	return "something else"
}

// oneOf lists what would have been right, the likely one first.
func oneOf(found string, names []string) string {
	list := "one of " + strings.Join(names, ", ")
	if near := connectors.Nearest(found, names); near != "" {
		return list + " (did you mean " + near + "?)"
	}
	return list
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
