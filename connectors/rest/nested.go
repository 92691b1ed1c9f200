// Objects within a record, of which an update says a part: an API merges it into
// what the record has, or forgets the rest. In SQL a column has the value that it
// was given, and no other column changes, so the record is read first where these
// differ, and the request says the rest too.

package rest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// bodyOf is the body of row i's own request, as JSON.
func (m *modification) bodyOf(ctx context.Context, i int) ([]byte, error) {
	body, _, err := m.own().append(nil, &place{i: i})
	if err != nil {
		return nil, err
	}
	whole, merged := m.nested()
	if len(whole)+len(merged) == 0 {
		return body, nil
	}
	var before []byte
	needs := m.batch.Op == connectors.Update && !m.dry && m.needsRecord(i, whole, merged)
	id := ""
	if needs && m.w.IdempotencyHeader != "" && m.batch.IdempotencyKey != "" {
		// Sent again under its key it must be the same, whatever the record has now.
		id = connectors.RequestKey(m.batch.IdempotencyKey, m.batch.FirstRow+i, 0)
		if sent := m.t.src.sent.get(id); sent != nil {
			return sent, nil
		}
	}
	if needs {
		key, _ := m.t.keyText(m.batch.Rows[i].Key[0])
		record, err := m.get(ctx, key, nil)
		if err != nil {
			return nil, err
		}
		if record != nil { // else the update will find that there is none
			before = record.body
			if record.item != "" {
				before = memberAt(before, record.item)
			}
		}
	}
	root := tree(body)
	for _, f := range whole {
		path := f.sendPath()
		if n := root.find(path); n != nil && n.isObject() {
			if m.below(f) {
				n.fill(tree(memberAt(before, f.Path)))
			}
			n.dropNulls()
		}
	}
	for _, f := range merged {
		if n := root.find(f.sendPath()); n != nil && n.isObject() && m.writes(f) {
			n.take(tree(memberAt(before, f.Path)))
		}
	}
	body = root.json(nil)
	if id != "" {
		m.t.src.sent.keep(id, body)
	}
	return body, nil
}

// sentBodies remembers bodies that were made of what a record had, by the key that
// they were sent with; safe for concurrent use.
type sentBodies struct {
	mu     sync.Mutex
	bodies map[string][]byte
	order  []string
}

// sentKept is how many bodies are remembered: those of the last writes, whose
// answers may be lost. An older one that is sent again is refused by the API.
const sentKept = 1000

func (s *sentBodies) get(id string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[id]
}

func (s *sentBodies) keep(id string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies == nil {
		s.bodies = map[string][]byte{}
	}
	s.bodies[id] = body
	if s.order = append(s.order, id); len(s.order) > sentKept {
		delete(s.bodies, s.order[0])
		s.order = s.order[1:]
	}
}

// nested are the fields of the written columns, or above them, that the API takes
// whole, and those that it merges.
func (m *modification) nested() (whole, merged []*Field) {
	fields := m.t.object.Fields
	for i := range fields {
		f := &fields[i]
		if (f.Whole || f.Merges) && (m.writes(f) || m.below(f)) {
			if f.Whole {
				whole = append(whole, f)
			} else {
				merged = append(merged, f)
			}
		}
	}
	return whole, merged
}

// writes tells whether a column of the field itself is written.
func (m *modification) writes(f *Field) bool {
	return slices.ContainsFunc(m.batch.Columns, func(c int) bool { return m.t.column(c).field.Name == f.Name })
}

// below tells whether one of a field within it is.
func (m *modification) below(f *Field) bool {
	path := f.sendPath()
	return slices.ContainsFunc(m.batch.Columns, func(c int) bool {
		send := m.t.column(c).send
		return len(send) > len(path) && slices.Equal(send[:len(path)], path)
	})
}

// needsRecord tells whether what the record has matters: for members that are not
// sent, of an object that was given whole but is merged, or in part but is replaced.
func (m *modification) needsRecord(i int, whole, merged []*Field) bool {
	if slices.ContainsFunc(whole, func(f *Field) bool { return m.below(f) && !m.writes(f) }) {
		return true
	}
	return slices.ContainsFunc(merged, func(f *Field) bool {
		return slices.ContainsFunc(m.batch.Columns, func(c int) bool {
			at := slices.Index(m.batch.Columns, c)
			return m.t.column(c).field.Name == f.Name && !m.batch.Rows[i].Values[at].IsNull()
		})
	})
}

func (f *Field) sendPath() []string {
	if f.Send != "" {
		return splitPath(f.Send)
	}
	return splitPath(f.Path)
}

// branch of a JSON value: an object with its members in order, or anything else raw.
type branch struct {
	name string
	raw  []byte // nil: an object
	kids []*branch
}

// tree reads JSON that is known to be valid; nil stays nil.
func tree(raw []byte) *branch {
	if len(raw) == 0 {
		return nil
	}
	b := &branch{raw: raw}
	if raw[0] != '{' {
		return b
	}
	b.raw = nil
	for name, value := range members(raw) {
		kid := tree(value)
		kid.name = name
		b.put(kid)
	}
	return b
}

func (b *branch) put(kid *branch) {
	if i := b.index(kid.name); i >= 0 {
		b.kids[i] = kid
		return
	}
	b.kids = append(b.kids, kid)
}

func (b *branch) index(name string) int {
	return slices.IndexFunc(b.kids, func(k *branch) bool { return k.name == name })
}

func (b *branch) isObject() bool { return b.raw == nil }
func (b *branch) isNull() bool   { return string(b.raw) == "null" }

// find follows a path; nil: nothing is there.
func (b *branch) find(path []string) *branch {
	for _, name := range path {
		if b == nil {
			return nil
		}
		i := b.index(name)
		if i < 0 {
			return nil
		}
		b = b.kids[i]
	}
	return b
}

// fill adds the members that b lacks from what the record has.
func (b *branch) fill(has *branch) {
	if has == nil || !has.isObject() {
		return
	}
	for _, kid := range has.kids {
		switch i := b.index(kid.name); {
		case i < 0:
			b.kids = append(b.kids, kid)
		case b.kids[i].isObject():
			b.kids[i].fill(kid)
		}
	}
}

// take adds null for each member that the record has and b has not.
func (b *branch) take(has *branch) {
	if has == nil || !has.isObject() {
		return
	}
	for _, kid := range has.kids {
		if b.index(kid.name) < 0 && !kid.isNull() {
			b.kids = append(b.kids, &branch{name: kid.name, raw: []byte("null")})
		}
	}
}

// dropNulls leaves out what is null anyway unless it is sent.
func (b *branch) dropNulls() {
	b.kids = slices.DeleteFunc(b.kids, func(k *branch) bool { return k.isNull() })
	for _, k := range b.kids {
		k.dropNulls()
	}
}

func (b *branch) json(dst []byte) []byte {
	if !b.isObject() {
		return append(dst, b.raw...)
	}
	dst = append(dst, '{')
	for i, k := range b.kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, k.name), ':')
		dst = k.json(dst)
	}
	return append(dst, '}')
}

// omits tells whether an insert leaves a value out that says nothing.
func omits(f *Field, v pushdown.Value) bool {
	switch x := v.V.(type) {
	case nil:
		return f.Missing != "never"
	case string:
		return x == "" && f.Missing == "empty" || f.Type == "json" && isNothing(bytes.TrimSpace([]byte(x)))
	case []pushdown.Value:
		return len(x) == 0
	}
	return false
}

// checkNested checks what says how parts of an object are written.
func (l *loader) checkNested(m *Manifest, o *Object, path string) {
	for i := range o.Fields {
		f := &o.Fields[i]
		if (f.Whole || f.Merges) && (m.Get == nil || m.Get.Off || m.Get.ByList) {
			l.at(fmt.Sprintf("%s.fields.%s", path, f.Name), "needs get, not by list: the record is read before a part of this is changed")
		}
	}
}
