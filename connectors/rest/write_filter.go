// Writing filters within the API's bounds.

package rest

import (
	"slices"
	"strings"
)

// ask is the filter of one request: conditions that are ANDed, parameters, or
// groups of which one must match.
type ask struct {
	parts  []string
	params [][2]string
	// unbound are params without those for the range of a part.
	unbound [][2]string
	groups  [][]string
	// unsorted: of a sorted scan, this is for the records without a value.
	unsorted bool
}

func (a *ask) empty() bool { return len(a.parts)+len(a.params)+len(a.groups) == 0 }

// writer collects the conjuncts of one scan.
type writer struct {
	ask
	f      *Filter
	length int
	terms  int
	// requests is the most that the filter may be split into, seek what each
	// group has besides.
	requests int
	seek     int
	// merged: conditions are the same for these values, and so take less room.
	merged bool
}

// newWriter starts a filter. seek is the operator for keys that paging adds;
// once: all must go into one request, as rows of two are in no order.
func newWriter(f *Filter, seek operator, once bool) *writer {
	w := &writer{f: f, requests: 1}
	if f != nil && !once {
		w.requests = max(f.MaxRequests, 1)
	}
	if seek.before != "" {
		w.seek = 1
	}
	if f != nil && seek.before != "" {
		// Room for the key that paging will add.
		w.terms, w.length = 1, len(seek.before)+len(seek.after)+len(f.And)+100
	}
	return w
}

// reserve keeps room for a further term.
func (w *writer) reserve() {
	w.seek++
	w.terms++
	w.length += 100
}

// add takes a conjunct in; else it says why the filter cannot hold it.
func (w *writer) add(n *node) string {
	switch w.f.Style {
	case "params":
		return w.addParams(n)
	case "groups":
		return w.addGroups(n)
	}
	kids := []*node{n}
	if n.kind == conj {
		kids = n.kids // ANDed with the rest as they are
		if w.f.And == "" {
			return "the API has no way to combine these conditions"
		}
	}
	var texts []string
	length, terms, depth := 0, 0, 0
	for _, k := range kids {
		text, t, d, why := w.render(k, 1)
		if why != "" {
			return why
		}
		texts = append(texts, text)
		length, terms, depth = length+len(text)+len(w.f.And)+len(w.f.Group), terms+t, max(depth, d)
	}
	if len(w.parts) > 0 && w.f.And == "" {
		return "the API takes one condition only"
	}
	switch {
	case w.terms+terms > w.f.MaxTerms:
		return "the filter would have more than " + itoa(w.f.MaxTerms) + " conditions"
	case w.length+length > w.f.MaxLength:
		return "the filter would be longer than " + itoa(w.f.MaxLength) + " bytes"
	case depth > w.f.MaxDepth:
		return "the filter would be nested deeper than " + itoa(w.f.MaxDepth)
	}
	w.parts = append(w.parts, texts...)
	w.terms, w.length = w.terms+terms, w.length+length
	return ""
}

// render writes a node; depth is that of its brackets.
func (w *writer) render(n *node, depth int) (text string, terms, deepest int, why string) {
	if n.kind == leaf {
		return n.text, 1, depth, ""
	}
	join := w.f.And
	if n.kind == disj {
		join = w.f.Or
	}
	if join == "" {
		return "", 0, 0, "the API has no way to combine these conditions"
	}
	parts := make([]string, len(n.kids))
	for i, k := range n.kids {
		t, c, d, why := w.render(k, depth+1)
		if why != "" {
			return "", 0, 0, why
		}
		parts[i], terms, deepest = t, terms+c, max(deepest, d)
		if terms > w.f.MaxTerms {
			return "", 0, 0, "the filter would have more than " + itoa(w.f.MaxTerms) + " conditions"
		}
	}
	group := w.f.Group
	switch {
	case n.kind == conj && w.f.AndGroup != "":
		group = w.f.AndGroup
	case n.kind == disj && w.f.OrGroup != "":
		group = w.f.OrGroup
	}
	return strings.Replace(group, "{}", strings.Join(parts, join), 1), terms, deepest, ""
}

// addParams takes conditions that are parameters of their own. One parameter
// is used once: what an API makes of a second is not known.
func (w *writer) addParams(n *node) string {
	kids := n.kids
	switch n.kind {
	case leaf:
		kids = []*node{n}
	case disj:
		return "the API has no OR"
	}
	var add [][2]string
	for _, k := range kids {
		if k.kind != leaf {
			return "the API has no OR"
		}
		name, value, _ := strings.Cut(k.text, "=")
		for _, p := range append(w.params, add...) {
			if p[0] == name {
				return "the API takes parameter " + name + " once"
			}
		}
		add = append(add, [2]string{name, value})
	}
	terms, length := w.terms+len(add), w.length
	for _, p := range add {
		length += len(p[0]) + len(p[1]) + 2
	}
	if terms > w.f.MaxTerms || length > w.f.MaxLength {
		return "the filter would be too long"
	}
	w.terms, w.length = terms, length
	w.params = append(w.params, add...)
	return ""
}

// result is what is to be asked for, at least one thing; overlap tells whether
// records may be found by several.
func (w *writer) result() (asks []ask, overlap bool) {
	if len(w.groups) == 0 {
		return []ask{w.ask}, false
	}
	return w.pack()
}

// of asks makes one for each value, where no filter is the parameter.
func (e *Each) of(asks []ask) (out []ask) {
	if e == nil {
		return asks
	}
	for _, a := range asks {
		if slices.ContainsFunc(a.params, func(p [2]string) bool { return p[0] == e.Param }) {
			out = append(out, a)
			continue
		}
		for _, v := range e.Values {
			one := a
			one.params = append(a.params[:len(a.params):len(a.params)], [2]string{e.Param, v})
			out = append(out, one)
		}
	}
	return out
}
