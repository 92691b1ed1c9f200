// Filters that are a list of groups: a record matches if all conditions of one
// group hold. What has more groups than a request may have is asked for by
// several requests.

package rest

import (
	"slices"
	"strings"
)

// addGroups takes a conjunct in: the groups so far, each with each of its own.
func (w *writer) addGroups(n *node) string {
	f := w.f
	most := f.MaxGroups * w.requests
	more, why := w.alternatives(n, most)
	if why != "" {
		return why
	}
	groups := more
	if len(w.groups) > 0 {
		if groups, why = w.product(w.groups, more, most); why != "" {
			return why
		}
	}
	length := 0
	for _, g := range groups {
		if n := len(g) + w.seek; n > f.MaxInGroup || n > f.MaxTerms {
			return "a group of the filter would have more than " + itoa(min(f.MaxInGroup, f.MaxTerms)) + " conditions"
		}
		for _, t := range g {
			length += len(t) + len(f.And)
		}
		length += len(f.Group) + len(f.Or)
	}
	if length/w.requests > f.MaxLength {
		return "the filter would be longer than " + itoa(f.MaxLength) + " bytes"
	}
	before := w.groups
	w.groups = groups
	if asks, _ := w.pack(); len(asks) > w.requests {
		w.groups = before
		return "the filter would take more than " + itoa(w.requests) + " requests"
	}
	return ""
}

// alternatives is a node as groups; why says why that is not done.
func (w *writer) alternatives(n *node, most int) (groups [][]string, why string) {
	switch n.kind {
	case leaf:
		return [][]string{{n.text}}, ""
	case disj:
		for _, k := range n.kids {
			more, why := w.alternatives(k, most)
			if why != "" {
				return nil, why
			}
			for _, g := range more {
				groups = w.addGroup(groups, g)
			}
			if len(groups) > most {
				return nil, tooManyGroups(most)
			}
		}
		return groups, ""
	}
	groups = [][]string{nil}
	for _, k := range n.kids {
		more, why := w.alternatives(k, most)
		if why != "" {
			return nil, why
		}
		if groups, why = w.product(groups, more, most); why != "" {
			return nil, why
		}
	}
	return groups, ""
}

func tooManyGroups(most int) string {
	return "the filter would have more than " + itoa(most) + " alternatives"
}

// product is each of a with each of b.
func (w *writer) product(a, b [][]string, most int) ([][]string, string) {
	if len(a)*len(b) > 4*most {
		return nil, tooManyGroups(most)
	}
	var out [][]string
	for _, x := range a {
		for _, y := range b {
			g := slices.Clone(x)
			for _, t := range y {
				if slices.Contains(g, t) {
					w.merged = true
					continue
				}
				g = append(g, t)
			}
			out = w.addGroup(out, g)
		}
	}
	if len(out) > most {
		return nil, tooManyGroups(most)
	}
	return out, ""
}

// addGroup adds a group that is not there yet.
func (w *writer) addGroup(groups [][]string, g []string) [][]string {
	if slices.ContainsFunc(groups, func(o []string) bool { return slices.Equal(o, g) }) {
		w.merged = true
		return groups
	}
	return append(groups, g)
}

// pack puts the groups into requests.
func (w *writer) pack() (asks []ask, overlap bool) {
	var now ask
	terms := 0
	for _, g := range w.groups {
		n := len(g) + w.seek
		if len(now.groups) > 0 && (len(now.groups) == w.f.MaxGroups || terms+n > w.f.MaxTerms) {
			asks = append(asks, now)
			now, terms = ask{}, 0
		}
		now.groups = append(now.groups, g)
		terms += n
	}
	asks = append(asks, now)
	return asks, len(asks) > 1
}

// renderGroups writes the groups, each with the further term if there is one.
func (f *Filter) renderGroups(groups [][]string, term string) string {
	if len(groups) == 0 && term != "" {
		groups = [][]string{nil}
	}
	if len(groups) == 0 {
		return ""
	}
	parts := make([]string, len(groups))
	for i, g := range groups {
		if term != "" {
			g = append(g[:len(g):len(g)], term)
		}
		parts[i] = strings.Replace(f.Group, "{}", strings.Join(g, f.And), 1)
	}
	text := strings.Join(parts, f.Or)
	if f.JSON {
		text = "[" + text + "]"
	}
	return text
}
