// Creating, changing and deleting: what all resources have in common.

package stripe

import (
	"fmt"
	"maps"
	"strings"
)

// blank is a new object with its resource's defaults.
func (s *Server) blank(r *resource) map[string]any {
	s.seq++
	fields := map[string]any{"id": fmt.Sprintf("%s%014d", r.prefix, s.seq), "object": r.singular, "created": s.now().Unix(), "livemode": false, "metadata": map[string]any{}}
	maps.Copy(fields, r.defaults)
	switch r.path {
	case "events", "balance_transactions":
		delete(fields, "metadata")
	}
	if r.path == "refunds" || r.path == "balance_transactions" {
		delete(fields, "livemode")
	}
	return fields
}

func (s *Server) create(c *call, r *resource) (any, *apiError) {
	in, e := check(c.in, r.create, "")
	if e != nil {
		return nil, e
	}
	c.begun = true
	fields := s.blank(r)
	merge(fields, r.defaults, in)
	if e := r.created(s, c, fields, in); e != nil {
		return nil, e
	}
	o := s.insert(r, fields)
	s.event(c, r, "created", o.fields, nil)
	if r.path == "payment_intents" && fields["status"] == "succeeded" {
		s.event(c, r, "succeeded", o.fields, nil)
	}
	return s.answered(c, r, o)
}

func (s *Server) update(c *call, r *resource, id string) (any, *apiError) {
	in, e := check(c.in, r.update, "")
	if e != nil {
		return nil, e
	}
	c.begun = true
	o := s.store[r.path].byID[id]
	if o == nil {
		return nil, missing(404, r.noun(), id, r.idParam)
	}
	change := maps.Clone(o.fields)
	merge(change, r.defaults, in)
	if r.updated != nil {
		if e := r.updated(s, c, o, in, change); e != nil {
			return nil, e
		}
	}
	s.changed(c, r, o, change, "updated")
	return s.answered(c, r, o)
}

// changed stores an object's new fields and tells of it; nothing, if they are equal.
func (s *Server) changed(c *call, r *resource, o *object, fields map[string]any, how string) {
	previous := map[string]any{}
	for k, v := range fields {
		if old := o.fields[k]; !same(old, v) {
			previous[k] = old
		}
	}
	if len(previous) == 0 {
		return
	}
	if _, ok := fields["updated"]; ok {
		fields["updated"] = s.now().Unix()
	}
	s.change(o, fields)
	s.event(c, r, how, o.fields, previous)
	if r.path == "refunds" {
		s.event(c, &resource{event: "charge.refund"}, how, o.fields, previous)
	}
}

func (s *Server) remove(c *call, r *resource, id string) (any, *apiError) {
	c.begun = true
	o := s.store[r.path].byID[id]
	if o == nil {
		return nil, missing(404, r.noun(), id, r.idParam)
	}
	return r.remove(s, c, o)
}

// deleted drops an object and answers as the API does.
func (s *Server) deleted(c *call, r *resource, o *object) map[string]any {
	s.drop(r, o)
	s.event(c, r, "deleted", o.fields, nil)
	return map[string]any{"id": o.id, "object": r.singular, "deleted": true}
}

func (s *Server) act(c *call, r *resource, id, name string) (any, *apiError) {
	in, e := check(c.in, r.actions[name].in, "")
	if e != nil {
		return nil, e
	}
	c.begun = true
	o := s.store[r.path].byID[id]
	if o == nil {
		return nil, missing(404, r.noun(), id, r.idParam)
	}
	if e := r.actions[name].do(s, c, o, in); e != nil {
		return nil, e
	}
	return s.answered(c, r, o)
}

func (s *Server) answered(c *call, r *resource, o *object) (any, *apiError) {
	if len(c.expand) == 0 {
		return o.raw(), nil
	}
	return s.expanded(r, o.fields, c.expand, 0)
}

// merge puts parameters into an object: metadata by name, everything else as a
// whole; an unset parameter becomes what a new object has. Members of an object
// that are not given are null: an address is replaced, not patched.
func merge(fields, defaults, in map[string]any) {
	for name, v := range in {
		old, known := fields[name]
		switch x := v.(type) {
		case nil:
			if name == "metadata" {
				fields[name] = map[string]any{}
			} else if known {
				fields[name] = defaults[name]
				if texts, ok := defaults[name].(string); !ok || texts != "none" {
					fields[name] = unsetOf(defaults[name])
				}
			}
		case map[string]any:
			switch {
			case name == "metadata":
				was, _ := old.(map[string]any)
				now := maps.Clone(was)
				if now == nil {
					now = map[string]any{}
				}
				for k, v := range x {
					if v == nil {
						delete(now, k)
					} else {
						now[k] = v
					}
				}
				fields[name] = now
			case known:
				fields[name] = filled(name, x)
			}
		default:
			if known {
				fields[name] = v
			}
		}
	}
}

// unsetOf a default: lists and objects are emptied, all else is null.
func unsetOf(v any) any {
	if _, ok := v.([]any); ok {
		return []any{}
	}
	return nil
}

// filled gives an address and what has one all of their members.
func filled(name string, in map[string]any) map[string]any {
	var names string
	switch name {
	case "address":
		names = address
	case "shipping":
		names = "name phone"
	case "invoice_settings":
		names = "custom_fields default_payment_method footer rendering_options"
	case "recurring":
		names = "interval meter"
	}
	out := map[string]any{}
	for n := range strings.FieldsSeq(names) {
		out[n] = nil
	}
	for k, v := range in {
		if inner, ok := v.(map[string]any); ok {
			v = filled(k, inner)
		}
		out[k] = v
	}
	return out
}

// same compares JSON values.
func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, same)
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	}
	if _, ok := b.(map[string]any); ok {
		return false
	}
	if _, ok := b.([]any); ok {
		return false
	}
	return a == b
}

// refers checks that a parameter names an object that is there.
func (s *Server) refers(in map[string]any, param, resource string) *apiError {
	id, ok := in[param].(string)
	if !ok {
		return nil
	}
	if s.store[resource].byID[id] == nil {
		return missing(400, resourceAt(resource).noun(), id, param)
	}
	return nil
}
