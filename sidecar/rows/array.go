package rows

// Arrays: PostgreSQL's binary form from values, from '{...}' literals and from
// JSON arrays.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const maxArrayDims = 6

// arrayWriter appends an array's elements after room for its header, which
// finish fills in.
type arrayWriter struct {
	c     *column
	dst   []byte
	mark  int
	nulls bool
	dims  [maxArrayDims]int
	ndim  int
}

// newArrayWriter leaves room for a header of ndim dimensions.
func newArrayWriter(c *column, dst []byte, ndim int) arrayWriter {
	w := arrayWriter{c: c, dst: dst, mark: len(dst), ndim: ndim}
	for range 12 + 8*ndim {
		w.dst = append(w.dst, 0)
	}
	return w
}

func (w *arrayWriter) null() {
	w.nulls = true
	w.dst = append(w.dst, 0xff, 0xff, 0xff, 0xff)
}

// begin leaves room for an element's length, which end fills in after the
// element was appended to w.dst: dst is w.dst with it.
func (w *arrayWriter) begin() int {
	w.dst = append(w.dst, 0, 0, 0, 0)
	return len(w.dst)
}

func (w *arrayWriter) end(mark int, dst []byte, p *problem) *problem {
	if p == nil {
		binary.BigEndian.PutUint32(dst[mark-4:], uint32(len(dst)-mark))
		w.dst = dst
	}
	return p
}

func (w *arrayWriter) finish() []byte {
	h := w.dst[w.mark:]
	empty := w.ndim == 0
	for i := range w.ndim {
		empty = empty || w.dims[i] == 0
	}
	if empty {
		w.dst = w.dst[:w.mark+12]
		h = w.dst[w.mark:]
		clear(h)
		binary.BigEndian.PutUint32(h[8:], w.c.t.ElementOID)
		return w.dst
	}
	binary.BigEndian.PutUint32(h, uint32(w.ndim))
	if w.nulls {
		h[7] = 1
	}
	binary.BigEndian.PutUint32(h[8:], w.c.t.ElementOID)
	for i := range w.ndim {
		binary.BigEndian.PutUint32(h[12+8*i:], uint32(w.dims[i]))
		binary.BigEndian.PutUint32(h[16+8*i:], 1)
	}
	return w.dst
}

// appendArray encodes a one-dimensional array.
func (c *column) appendArray(dst []byte, elems []pushdown.Value) ([]byte, *problem) {
	w := newArrayWriter(c, dst, 1)
	w.dims[0] = len(elems)
	for _, e := range elems {
		if e.V == nil {
			w.null()
			continue
		}
		mark := w.begin()
		d, p := c.elem.appendValue(w.dst, e)
		if p = w.end(mark, d, p); p != nil {
			return dst, p
		}
	}
	return w.finish(), nil
}

// appendArrayLiteral encodes '{a,"b",NULL}', of up to six dimensions.
func (c *column) appendArrayLiteral(dst, s []byte) ([]byte, *problem) {
	bad := problemf(stateInvalidText, "it is not an array literal")
	s = trimSpace(s)
	ndim := 0
	for i := 0; i < len(s) && (s[i] == '{' || isSpace(s[i])); i++ {
		if s[i] == '{' {
			ndim++
		}
	}
	if ndim == 0 || ndim > maxArrayDims {
		return dst, bad
	}
	w := newArrayWriter(c, dst, ndim)
	// A copy, so that the compiler sees that no text given to a Builder
	// outlives the call: callers then may keep theirs on the stack.
	l := literalReader{w: &w, s: bytes.Clone(s)}
	if !l.list(0) || len(trimSpace(l.s)) > 0 {
		if l.p != nil {
			return dst, l.p
		}
		return dst, bad
	}
	return w.finish(), nil
}

// literalReader walks an array literal; s is what is left.
type literalReader struct {
	w    *arrayWriter
	s    []byte
	seen [maxArrayDims]bool
	tmp  []byte
	p    *problem
}

// list reads '{' elements '}' of dimension dim.
func (l *literalReader) list(dim int) bool {
	if dim >= l.w.ndim || !l.skip('{') {
		return false
	}
	n := 0
	for !l.skip('}') {
		if n > 0 && !l.skip(',') {
			return false
		}
		if dim+1 < l.w.ndim {
			if !l.list(dim + 1) {
				return false
			}
		} else if !l.item() {
			return false
		}
		n++
	}
	if l.seen[dim] && l.w.dims[dim] != n {
		l.p = problemf(stateInvalidText, "its sub-arrays differ in length")
		return false
	}
	l.seen[dim] = true
	l.w.dims[dim] = n
	return true
}

func (l *literalReader) skip(b byte) bool {
	for len(l.s) > 0 && isSpace(l.s[0]) {
		l.s = l.s[1:]
	}
	if len(l.s) == 0 || l.s[0] != b {
		return false
	}
	l.s = l.s[1:]
	for len(l.s) > 0 && isSpace(l.s[0]) {
		l.s = l.s[1:]
	}
	return true
}

func (l *literalReader) item() bool {
	l.tmp = l.tmp[:0]
	quoted := len(l.s) > 0 && l.s[0] == '"'
	escaped := false
	i := 0
	if quoted {
		i = 1
	}
	keep := 0 // unquoted: length up to the last character that is not a space
	for ; ; i++ {
		if i >= len(l.s) {
			return false
		}
		b := l.s[i]
		if b == '\\' {
			i++
			if i >= len(l.s) {
				return false
			}
			escaped = true
			l.tmp = append(l.tmp, l.s[i])
			keep = len(l.tmp)
			continue
		}
		if quoted && b == '"' {
			i++
			break
		}
		if !quoted && (b == ',' || b == '}') {
			break
		}
		if !quoted && (b == '{' || b == '"') {
			return false
		}
		l.tmp = append(l.tmp, b)
		if !isSpace(b) {
			keep = len(l.tmp)
		}
	}
	l.s = l.s[i:]
	if !quoted {
		l.tmp = l.tmp[:keep]
		if len(l.tmp) == 0 {
			return false
		}
		if !escaped && foldEqual(l.tmp, "null") {
			l.w.null()
			return true
		}
	}
	mark := l.w.begin()
	d, p := l.w.c.elem.appendText(l.w.dst, l.tmp)
	l.p = l.w.end(mark, d, p)
	return l.p == nil
}

// appendJSON encodes any JSON value but null.
func (c *column) appendJSON(dst, raw []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.JSON, pushdown.JSONB:
		return c.appendRawJSON(dst, raw)
	}
	raw = trimSpace(raw)
	if !validText(raw) {
		return dst, textProblem(raw)
	}
	if !json.Valid(raw) {
		return dst, problemf(stateInvalidText, "it is not valid JSON")
	}
	return c.appendValidJSON(dst, raw)
}

// appendValidJSON encodes JSON that has been checked and has no space around.
func (c *column) appendValidJSON(dst, raw []byte) ([]byte, *problem) {
	switch raw[0] {
	case '"':
		var a [256]byte
		s, err := jsontext.AppendUnquote(a[:0], raw)
		if err != nil {
			return dst, problemf(stateInvalidText, "its JSON string holds half a surrogate pair")
		}
		return c.appendText(dst, s)
	case 't', 'f':
		return c.appendBool(dst, raw[0] == 't')
	case '[':
		if c.kind == kindArray {
			return c.appendJSONArray(dst, raw)
		}
		fallthrough
	case '{':
		switch c.kind {
		case pushdown.Text, pushdown.Varchar, pushdown.BPChar, pushdown.JSON, pushdown.JSONB, pushdown.Other:
			return c.appendLiteral(dst, raw)
		}
		return dst, wrongKind("a JSON object or array")
	default:
		return c.appendNumber(dst, raw)
	}
}

func (c *column) appendJSONArray(dst, raw []byte) ([]byte, *problem) {
	ndim := 1
	// Arrays within are dimensions, but for elements that are JSON themselves.
	if c.elem.kind != pushdown.JSON && c.elem.kind != pushdown.JSONB {
		ndim = 0
		for i := 0; i < len(raw) && (raw[i] == '[' || isSpace(raw[i])); i++ {
			if raw[i] == '[' {
				ndim++
			}
		}
		if ndim > maxArrayDims {
			return dst, problemf(stateInvalidText, "it has more than %d dimensions", maxArrayDims)
		}
	}
	w := newArrayWriter(c, dst, ndim)
	r := jsonReader{w: &w, s: raw}
	if p := r.list(0); p != nil {
		return dst, p
	}
	return w.finish(), nil
}

// jsonReader walks a valid JSON array; s is what is left.
type jsonReader struct {
	w    *arrayWriter
	s    []byte
	seen [maxArrayDims]bool
}

func (r *jsonReader) space() {
	for len(r.s) > 0 && isSpace(r.s[0]) {
		r.s = r.s[1:]
	}
}

func (r *jsonReader) list(dim int) *problem {
	if r.s[0] != '[' {
		return problemf(stateInvalidText, "its elements are not all arrays")
	}
	r.s = r.s[1:]
	n := 0
	for r.space(); r.s[0] != ']'; r.space() {
		if r.s[0] == ',' {
			r.s = r.s[1:]
			r.space()
		}
		if dim+1 < r.w.ndim {
			if p := r.list(dim + 1); p != nil {
				return p
			}
			n++
			continue
		}
		end := skipJSON(r.s)
		item := r.s[:end]
		r.s = r.s[end:]
		n++
		if item[0] == 'n' {
			r.w.null()
			continue
		}
		if item[0] == '[' && r.w.ndim > 1 {
			return problemf(stateInvalidText, "its sub-arrays differ in depth")
		}
		mark := r.w.begin()
		d, p := r.w.c.elem.appendElement(r.w.dst, item)
		if p = r.w.end(mark, d, p); p != nil {
			return p
		}
	}
	r.s = r.s[1:]
	if r.seen[dim] && r.w.dims[dim] != n {
		return problemf(stateInvalidText, "its sub-arrays differ in length")
	}
	r.seen[dim] = true
	r.w.dims[dim] = n
	return nil
}

func (c *column) appendElement(dst, raw []byte) ([]byte, *problem) {
	switch c.kind {
	case pushdown.JSON, pushdown.JSONB:
		return c.appendRawJSON(dst, raw)
	}
	return c.appendValidJSON(dst, raw)
}

// skipJSON is the length of the value that the valid JSON s begins with.
func skipJSON(s []byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		case ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}
