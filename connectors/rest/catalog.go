// The objects of a server: those of the manifest, and those that the API's own
// metadata knows, which are asked for when they are needed and kept for a while.

package rest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// metadataAge is how long the API's metadata is believed.
const metadataAge = 10 * time.Minute

// catalog keeps what the metadata said; safe for concurrent use.
type catalog struct {
	mu      sync.Mutex
	objects map[string]*kept
}

// kept is an object, or the question for it under way.
type kept struct {
	done   chan struct{} // closed when what follows is set
	object *Object       // nil: there is none, or err
	err    error
	at     time.Time
}

// objectOf finds an object; nil: there is none. It asks the API only where the
// vendor has metadata. Equal questions are asked once.
func (s *source) objectOf(ctx context.Context, name string) (*Object, error) {
	known := s.m.object(name)
	if s.hooks.Object == nil {
		return known, nil
	}
	c := &s.catalog
	for {
		c.mu.Lock()
		k := c.objects[name]
		if k == nil {
			break
		}
		c.mu.Unlock()
		select {
		case <-k.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the API's metadata: %w", ctx.Err())
		}
		if k.err == nil && time.Since(k.at) < metadataAge {
			return k.object, nil
		}
		c.forget(name, k)
	}
	k := &kept{done: make(chan struct{})}
	if c.objects == nil {
		c.objects = map[string]*kept{}
	}
	c.objects[name] = k
	c.mu.Unlock()
	defer close(k.done)
	if k.object, k.err = s.hooks.Object(ctx, name, known); k.err == nil && k.object != nil {
		k.object, k.err = s.m.prepare(*k.object)
	}
	k.at = time.Now()
	if k.err != nil || k.object == nil {
		c.forget(name, k) // the next one asks again
	}
	return k.object, k.err
}

// anew has the metadata of all objects asked for again. What is being asked for just
// now counts as new.
func (s *source) anew() {
	if s.hooks.Forget != nil {
		s.hooks.Forget()
	}
	s.catalog.mu.Lock()
	defer s.catalog.mu.Unlock()
	for name, k := range s.catalog.objects {
		select {
		case <-k.done:
			delete(s.catalog.objects, name)
		default:
		}
	}
}

func (c *catalog) forget(name string, k *kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects[name] == k {
		delete(c.objects, name)
	}
}

// objectNames lists all there are; of those that only the metadata knows only
// what a list of them costs is asked for.
func (s *source) objectNames(ctx context.Context) ([]ObjectInfo, error) {
	var out []ObjectInfo
	for i := range s.m.Objects {
		o := &s.m.Objects[i]
		out = append(out, ObjectInfo{Name: o.Name, Table: o.Name})
	}
	if s.hooks.Objects == nil {
		return out, nil
	}
	more, err := s.hooks.Objects(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range more {
		if !slices.ContainsFunc(out, func(k ObjectInfo) bool { return k.Name == o.Name }) {
			out = append(out, o)
		}
	}
	return out, nil
}

// noObject says that there is none, and which there are.
func (s *source) noObject(ctx context.Context, name string) error {
	e := &connectors.Error{Class: connectors.InvalidOptionValue, API: s.m.Name, Message: fmt.Sprintf("there is no object %q", name)}
	list, err := s.objectNames(ctx)
	if err != nil {
		return e
	}
	names := make([]string, len(list))
	for i, o := range list {
		names[i] = o.Name
	}
	where := fmt.Sprintf("of the manifest %q", s.m.File)
	if s.hooks.Objects != nil {
		where = "of the API"
	}
	const enough = 50
	more := ""
	if len(names) > enough {
		more = ", …"
	}
	e.Hint = fmt.Sprintf("Objects %s: %s%s.", where, strings.Join(names[:min(len(names), enough)], ", "), more)
	if near := connectors.Nearest(name, names); near != "" {
		e.Hint = fmt.Sprintf("Perhaps you meant the object %q. ", near) + e.Hint
	}
	return e
}
