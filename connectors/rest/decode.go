// A page of JSON, in one pass, to the places of the wanted values in it. No
// value is copied, and nothing is allocated for a row.

package rest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// span is where a raw value stands in the page; the zero span: it is not
// there. escaped strings have their top bit of end set.
type span struct{ start, end uint32 }

const escapedBit = 1 << 31

func (s span) none() bool             { return s.end == 0 }
func (s span) raw(page []byte) []byte { return page[s.start : s.end&^escapedBit] }

// syntaxError is JSON that is not JSON.
type syntaxError struct {
	offset int
	want   string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: expected %s", e.offset, e.want)
}

// trie finds the slots of members by their path.
type trie struct {
	kids map[string]*trie
	// slot of this member's value; -1: none.
	slot int
	// order is how the members came last time, in which they mostly come
	// again; nil target: not wanted.
	order []guess
}

type guess struct {
	name string
	to   *trie
}

func newTrie() *trie { return &trie{slot: -1} }

// add gives a path a slot. A path that has one already keeps it.
func (t *trie) add(path []string, slot int) int {
	for _, name := range path {
		if t.kids == nil {
			t.kids = map[string]*trie{}
		}
		next := t.kids[name]
		if next == nil {
			next = newTrie()
			t.kids[name] = next
		}
		t = next
	}
	if t.slot < 0 {
		t.slot = slot
	}
	return t.slot
}

// maxDepth of nested JSON values.
const maxDepth = 1000

// scanner reads one page. It is not safe for concurrent use.
type scanner struct {
	page []byte
	pos  int
	key  []byte // scratch for member names with escapes
}

func (s *scanner) bad(want string) error { return &syntaxError{s.pos, want} }

// space passes over white space and gives the byte behind it; 0: the end.
func (s *scanner) space() byte {
	if s.pos < len(s.page) && s.page[s.pos] > ' ' {
		return s.page[s.pos]
	}
	return s.spaces()
}

func (s *scanner) spaces() byte {
	for s.pos < len(s.page) {
		switch c := s.page[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// object reads an object and notes the spans of wanted members in out. nested,
// if not nil, is called in place of skipping for a slot's value: it must leave
// the position behind it.
func (s *scanner) object(t *trie, out []span, nested func(slot int) (bool, error), depth int) error {
	if depth > maxDepth {
		return s.bad("fewer nested values")
	}
	s.pos++ // {
	if s.space() == '}' {
		s.pos++
		return nil
	}
	for i := 0; ; i++ {
		if s.space() != '"' {
			return s.bad("a member's name")
		}
		to, err := s.member(t, i)
		if err != nil {
			return err
		}
		if s.space() != ':' {
			return s.bad("a colon")
		}
		s.pos++
		c := s.space()
		switch {
		case c == 0:
			return s.bad("a value")
		case to == nil:
			if _, err := s.skip(); err != nil {
				return err
			}
		default:
			start := s.pos
			done := false
			if to.slot >= 0 && nested != nil {
				if done, err = nested(to.slot); err != nil {
					return err
				}
			}
			if done {
				break
			}
			if c == '{' && to.kids != nil {
				if err := s.object(to, out, nested, depth+1); err != nil {
					return err
				}
				if to.slot >= 0 {
					out[to.slot] = span{uint32(start), uint32(s.pos)}
				}
				break
			}
			escaped, err := s.skip()
			if err != nil {
				return err
			}
			if to.slot >= 0 {
				end := uint32(s.pos)
				if escaped {
					end |= escapedBit
				}
				out[to.slot] = span{uint32(start), end}
			}
		}
		switch s.space() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.bad("a comma or }")
		}
	}
}

// member reads a member's name; nil: it is not wanted.
func (s *scanner) member(t *trie, i int) (*trie, error) {
	if i < len(t.order) {
		g := &t.order[i]
		end := s.pos + 1 + len(g.name)
		if end < len(s.page) && s.page[end] == '"' && string(s.page[s.pos+1:end]) == g.name {
			s.pos = end + 1
			return g.to, nil
		}
	}
	start := s.pos
	escaped, err := s.text()
	if err != nil {
		return nil, err
	}
	name := s.page[start+1 : s.pos-1]
	if escaped {
		if s.key, err = unescape(s.key[:0], name); err != nil {
			return nil, &syntaxError{start, err.Error()}
		}
		return t.kids[string(s.key)], nil
	}
	to := t.kids[string(name)]
	const maxGuesses = 256
	switch {
	case i < len(t.order):
		t.order[i] = guess{string(name), to}
	case i == len(t.order) && i < maxGuesses:
		t.order = append(t.order, guess{string(name), to})
	}
	return to, nil
}

// skip passes over a value of any kind and tells whether it is a string with
// escapes.
func (s *scanner) skip() (escaped bool, err error) {
	if s.pos >= len(s.page) {
		return false, s.bad("a value")
	}
	switch c := s.page[s.pos]; {
	case c == '"':
		return s.text()
	case c == '{' || c == '[':
		return false, s.skipNested()
	case c == 't':
		return false, s.word("true")
	case c == 'f':
		return false, s.word("false")
	case c == 'n':
		return false, s.word("null")
	case c == '-' || c-'0' <= 9:
		s.pos++
		for s.pos < len(s.page) && numeric[s.page[s.pos]] {
			s.pos++
		}
		return false, nil
	}
	return false, s.bad("a value")
}

// numeric are the bytes of numbers; whether they make one, the column's type
// decides.
var numeric = [...]bool{255: false, '0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true, '8': true, '9': true,
	'+': true, '-': true, '.': true, 'e': true, 'E': true}

func (s *scanner) word(w string) error {
	if len(s.page)-s.pos < len(w) || string(s.page[s.pos:s.pos+len(w)]) != w {
		return s.bad(w)
	}
	s.pos += len(w)
	return nil
}

// skipNested passes over an object or array. It checks strings and brackets
// only; a json column checks the rest.
func (s *scanner) skipNested() error {
	var open [maxDepth]byte
	depth := 0
	for s.pos < len(s.page) {
		switch c := s.page[s.pos]; c {
		case '"':
			if _, err := s.text(); err != nil {
				return err
			}
			continue
		case '{', '[':
			if depth == maxDepth {
				return s.bad("fewer nested values")
			}
			open[depth] = c + 2 // } and ] stand two after { and [
			depth++
		case '}', ']':
			if open[depth-1] != c {
				return s.bad(string(rune(open[depth-1])))
			}
			depth--
			if depth == 0 {
				s.pos++
				return nil
			}
		}
		s.pos++
	}
	return s.bad("the end of an object or array")
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// text passes over a string, eight bytes at a time, and tells whether it has
// escapes. Raw control characters are refused, as JSON does.
func (s *scanner) text() (escaped bool, err error) {
	p := s.page
	i := s.pos + 1
	for {
		for i+8 <= len(p) {
			w := binary.LittleEndian.Uint64(p[i:])
			q := w ^ ones*'"'
			b := w ^ ones*'\\'
			// The lowest set top bit is right in each of these, and only that
			// one is used.
			hit := ((q - ones) &^ q) | ((b - ones) &^ b) | ((w - ones*0x20) &^ w)
			if hit &= tops; hit != 0 {
				i += bits.TrailingZeros64(hit) >> 3
				break
			}
			i += 8
		}
		if i >= len(p) {
			s.pos = len(p)
			return false, s.bad("the end of a string")
		}
		switch c := p[i]; {
		case c == '"':
			s.pos = i + 1
			return escaped, nil
		case c == '\\':
			escaped = true
			i += 2
		case c < 0x20:
			s.pos = i
			return false, s.bad("an escape in place of a control character")
		default:
			i++
		}
	}
}

// unescape appends what a JSON string's inside says.
func unescape(dst, s []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...), nil
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		if len(s) < 2 {
			return dst, errors.New("an escape")
		}
		switch c := s[1]; c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(s)
			if !ok {
				return dst, errors.New("four hexadecimal digits")
			}
			n := 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s[6:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					n = 12
				}
			}
			dst = utf8.AppendRune(dst, r)
			s = s[n:]
			continue
		default:
			return dst, errors.New("an escape")
		}
		s = s[2:]
	}
}

// hex4 reads \uXXXX.
func hex4(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s[2:6] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// envelope slots: what a page holds beside its records.
const (
	slotItems = iota
	slotCursor
	slotMore
	slotTotal
	slotEcho
	envelopeSlots
)

// pageReader takes pages apart. It keeps its buffers from page to page.
type pageReader struct {
	envelope *trie
	record   *trie
	width    int // slots of a record
	top      bool
	s        scanner
	outer    [envelopeSlots]span
	spans    []span
	rows     int
	// cells is where the values of CSV are put (csv.go).
	cells []byte
	// one: the answer is a record, or null for none.
	one bool
	// whole is the slot for the record itself; -1: it is not wanted.
	whole int
	// full is called when many rows wait, so that a huge page is not held as
	// spans whole.
	full func() error
}

// maxRowsHeld before full is called.
const maxRowsHeld = 4096

func newPageReader(items string, paging *Paging, read *Read, record *trie, width int) *pageReader {
	r := &pageReader{record: record, width: width, top: items == "", envelope: newTrie(), whole: -1}
	if !r.top {
		r.envelope.add(splitPath(items), slotItems)
	}
	add := func(path string, slot int) {
		if path != "" && path != "{key}" {
			r.envelope.add(splitPath(path), slot)
		}
	}
	add(paging.Cursor, slotCursor)
	add(paging.More, slotMore)
	add(read.Total, slotTotal)
	add(read.PageSize.Echo, slotEcho)
	return r
}

// read takes a page apart. Afterwards rows and spans hold the records for
// which full has not been called.
func (r *pageReader) read(page []byte) error {
	r.s = scanner{page: page, key: r.s.key}
	r.outer = [envelopeSlots]span{}
	r.spans, r.rows = r.spans[:0], 0
	found := false
	var err error
	switch c := r.s.space(); {
	case r.one && c == 'n':
		return r.s.word("null")
	case r.one && r.top && c == '{':
		found = true
		err = r.element()
	case r.top && c == '[':
		found = true
		err = r.array()
	case !r.top && c == '{':
		err = r.s.object(r.envelope, r.outer[:], func(slot int) (bool, error) {
			if slot != slotItems {
				return false, nil
			}
			if r.s.page[r.s.pos] == 'n' {
				found = true // null for no records
				return false, nil
			}
			if r.one && r.s.page[r.s.pos] == '{' {
				found = true
				return true, r.element()
			}
			if r.s.page[r.s.pos] != '[' {
				return false, r.s.bad("an array of records")
			}
			if found {
				return false, r.s.bad("one array of records")
			}
			found = true
			return true, r.array()
		}, 0)
	case r.top:
		return r.s.bad("an array of records")
	default:
		return r.s.bad("an object")
	}
	if err != nil {
		return err
	}
	if r.s.space(); r.s.pos != len(page) {
		return r.s.bad("the end")
	}
	if !found {
		return errNoItems
	}
	return nil
}

var errNoItems = errors.New("it has no array of records")

func (r *pageReader) array() error {
	s := &r.s
	s.pos++ // [
	if s.space() == ']' {
		s.pos++
		return nil
	}
	for {
		if s.space() != '{' {
			return s.bad("a record, which is an object")
		}
		if err := r.element(); err != nil {
			return err
		}
		if r.rows >= maxRowsHeld && r.full != nil {
			if err := r.full(); err != nil {
				return err
			}
			r.spans, r.rows = r.spans[:0], 0
		}
		switch s.space() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.bad("a comma or ]")
		}
	}
}

// element reads one record.
func (r *pageReader) element() error {
	n := len(r.spans)
	for range r.width {
		r.spans = append(r.spans, span{})
	}
	r.rows++
	start := r.s.pos
	err := r.s.object(r.record, r.spans[n:], nil, 0)
	r.noteWhole(n, start)
	return err
}

// noteWhole gives the record that began at start, whose spans begin at n, itself.
func (r *pageReader) noteWhole(n, start int) {
	if r.whole >= 0 && n+r.whole < len(r.spans) {
		r.spans[n+r.whole] = span{uint32(start), uint32(r.s.pos)}
	}
}

// scalar gives an envelope's string or number as text; empty: null, or absent.
func (r *pageReader) scalar(slot int) (string, error) {
	sp := r.outer[slot]
	if sp.none() {
		return "", nil
	}
	raw := sp.raw(r.s.page)
	switch raw[0] {
	case '"':
		text, err := unescape(nil, raw[1:len(raw)-1])
		return string(text), err
	case 'n':
		return "", nil
	case '{', '[':
		return "", fmt.Errorf("expected a text or number, found %s", kindOf(raw))
	}
	return string(raw), nil
}

// flag gives an envelope's boolean; known is false if it is not there.
func (r *pageReader) flag(slot int) (is, known bool) {
	text, err := r.scalar(slot)
	if err != nil || text == "" {
		return false, false
	}
	b, err := strconv.ParseBool(text)
	return b, err == nil
}

func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a text"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
