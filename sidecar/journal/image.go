package journal

// Images: values of a row as they stand in the journal. They say of what columns
// and types they are, so that they can be told from another's after an ALTER.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// NewImage keeps columns of a row. A field that is nil is NULL. The first match
// columns are those by which an upsert finds its row.
func NewImage(spec []connectors.ColumnSpec, columns []int, match int, row Row) []byte {
	out := binary.AppendUvarint([]byte{imageVersion}, uint64(match))
	out = binary.AppendUvarint(out, uint64(len(columns)))
	for _, c := range columns {
		out = appendText(out, spec[c].Name)
		out = appendText(out, signature(spec[c].Type))
		if row[c] == nil {
			out = binary.AppendUvarint(out, 0)
			continue
		}
		out = binary.AppendUvarint(out, uint64(len(row[c]))+1)
		out = append(out, row[c]...)
	}
	return out
}

const imageVersion = 1

// signature says how a type's values look in binary.
func signature(t pushdown.Type) string { return fmt.Sprintf("%d %t %s", t.Kind, t.Array, t.Name) }

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// errChanged: the table is not as it was when the image was made.
var errChanged = errors.New("the foreign table was altered since")

var errImage = errors.New("the values in the journal cannot be read")

// image is one that was read: values of columns of a table as it is now.
type image struct {
	columns []int
	match   []int // the first of columns
	fields  Row   // by column of the table
	values  []pushdown.Value
}

// readImage finds an image's columns in a table.
func readImage(spec []connectors.ColumnSpec, b []byte) (*image, error) {
	if len(b) < 2 || b[0] != imageVersion {
		return nil, errImage
	}
	rest := b[1:]
	next := func() (uint64, bool) {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return 0, false
		}
		rest = rest[size:]
		return n, true
	}
	text := func() ([]byte, bool) {
		n, ok := next()
		if !ok || n > uint64(len(rest)) {
			return nil, false
		}
		s := rest[:n]
		rest = rest[n:]
		return s, true
	}
	match, ok := next()
	count, ok2 := next()
	if !ok || !ok2 || match > count || count > uint64(len(rest)) {
		return nil, errImage
	}
	im := &image{fields: make(Row, len(spec))}
	for range count {
		name, ok1 := text()
		sig, ok2 := text()
		size, ok3 := next()
		if !ok1 || !ok2 || !ok3 || size > uint64(len(rest))+1 {
			return nil, errImage
		}
		c := slices.IndexFunc(spec, func(s connectors.ColumnSpec) bool { return s.Name == string(name) })
		if c < 0 || signature(spec[c].Type) != string(sig) {
			return nil, fmt.Errorf("%w: column %q", errChanged, name)
		}
		var v pushdown.Value
		if size > 0 {
			field := rest[:size-1]
			rest = rest[size-1:]
			im.fields[c] = append([]byte{}, field...)
			var err error
			if v, err = rows.DecodeValue(spec[c].Type, field); err != nil {
				return nil, errImage
			}
		}
		im.columns = append(im.columns, c)
		im.values = append(im.values, v)
	}
	if len(rest) > 0 {
		return nil, errImage
	}
	im.match = im.columns[:match]
	return im, nil
}

// value of a column; false: the image has not that column.
func (im *image) value(column int) (pushdown.Value, bool) {
	if i := slices.Index(im.columns, column); i >= 0 {
		return im.values[i], true
	}
	return pushdown.Value{}, false
}

// all are the values of columns, if the image has each of them, and none is NULL.
func (im *image) all(columns []int) ([]pushdown.Value, bool) {
	out := make([]pushdown.Value, len(columns))
	for i, c := range columns {
		v, ok := im.value(c)
		if !ok || v.IsNull() {
			return nil, false
		}
		out[i] = v
	}
	return out, len(columns) > 0
}

// identity are columns, and their values, that no two rows of the API have alike;
// nil: the image has none. Those that the API finds fast come first.
func (im *image) identity(d connectors.Description) ([]int, []pushdown.Value) {
	sets := [][]int{d.Key, im.match}
	for _, l := range d.Lookups {
		if l.Unique {
			sets = append(sets, l.Columns)
		}
	}
	for _, set := range append(sets, d.Unique...) {
		if values, ok := im.all(set); ok {
			return set, values
		}
	}
	return nil, nil
}

// same reports whether a row has an image's values, in all its columns.
func (im *image) same(t Table, row Row) bool {
	return !slices.ContainsFunc(im.columns, func(c int) bool { return !t.Same(c, im.fields[c], row[c]) })
}
