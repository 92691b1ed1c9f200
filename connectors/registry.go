package connectors

import (
	"slices"
	"strings"
)

// Registry is the set of connectors of a sidecar. It is filled once at start
// and not changed afterwards.
type Registry struct{ byName map[string]Connector }

// NewRegistry makes a registry of the given connectors. Two of one name are a
// defect and panic.
func NewRegistry(list ...Connector) *Registry {
	r := &Registry{byName: make(map[string]Connector, len(list))}
	for _, c := range list {
		if _, dup := r.byName[c.Name()]; dup {
			panic("connectors: two connectors named " + c.Name())
		}
		r.byName[c.Name()] = c
	}
	return r
}

// Get returns the connector of that name, or an *Error of class InvalidOption
// that lists those there are.
func (r *Registry) Get(name string) (Connector, error) {
	if c, ok := r.byName[name]; ok {
		return c, nil
	}
	e := &Error{Class: InvalidOption, Hint: "Connectors of this sidecar: " + strings.Join(r.Names(), ", ") + "."}
	if name == "" {
		e.Message = `server option "connector" is missing`
	} else {
		e.Class = InvalidOptionValue
		e.Message = `there is no connector "` + name + `"`
	}
	return nil, e
}

// Names lists the connectors in order.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.byName))
	for n := range r.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
