// Tuples as the wire has them, made into a parameter: an array of rows.

package cache

import (
	"encoding/binary"
	"errors"
)

var errBadTuples = errors.New("the tuples are not in the promised form")

// walkTuple calls f with the length field and bytes of each column of the first
// tuple, which must have n columns, and returns what follows it. value is nil for
// NULL.
func walkTuple(tuples []byte, n int, f func(i int, value []byte)) (rest []byte, err error) {
	if len(tuples) < 2 || int(binary.BigEndian.Uint16(tuples)) != n {
		return nil, errBadTuples
	}
	tuples = tuples[2:]
	for i := range n {
		if len(tuples) < 4 {
			return nil, errBadTuples
		}
		size := int32(binary.BigEndian.Uint32(tuples))
		tuples = tuples[4:]
		switch {
		case size == -1:
			f(i, nil)
		case size < 0 || int(size) > len(tuples):
			return nil, errBadTuples
		default:
			f(i, tuples[:size:size])
			tuples = tuples[size:]
		}
	}
	return tuples, nil
}

// rowArrays are parameters for unnest(): an array of the table's row type, and
// one of text for each column that travels as text.
type rowArrays struct {
	records []byte
	texts   map[int][]byte
	rows    int
}

const arrayHeader = 20

const textOID = 25

func newArray(element uint32) []byte {
	b := make([]byte, arrayHeader, 4096)
	b[3] = 1  // dimensions
	b[19] = 1 // lower bound
	binary.BigEndian.PutUint32(b[8:], element)
	return b
}

// sizeArray writes how many elements there are; none has no dimension.
func sizeArray(b []byte, n int, nulls bool) []byte {
	if n == 0 {
		b = b[:12]
		b[3] = 0
		return b
	}
	if nulls {
		b[7] = 1
	}
	binary.BigEndian.PutUint32(b[12:], uint32(n))
	return b
}

// rowArrays encodes n tuples with the given columns. Columns that are not among
// them are NULL. A column that is an array of text for an input function has no
// place in it.
func (t *Table) rowArrays(columns []int, tuples []byte, n int) (rowArrays, error) {
	r := rowArrays{records: newArray(t.rowType), texts: map[int][]byte{}, rows: n}
	nulls := map[int]bool{}
	for _, c := range columns {
		switch t.forms[c] {
		case asText:
			r.texts[c] = newArray(textOID)
		case asTextArr:
			return r, errors.New("an array of a type that travels as text")
		}
	}
	values := make([][]byte, len(t.attrs))
	for range n {
		clear(values)
		rest, err := walkTuple(tuples, len(columns), func(i int, value []byte) {
			c := columns[i]
			if t.forms[c] == asText {
				r.texts[c] = appendField(r.texts[c], value)
				nulls[c] = nulls[c] || value == nil
				return
			}
			values[c] = value
		})
		if err != nil {
			return r, err
		}
		tuples = rest
		mark := len(r.records)
		r.records = append(r.records, 0, 0, 0, 0)
		r.records = binary.BigEndian.AppendUint32(r.records, uint32(len(t.attrs)))
		for c, v := range values {
			r.records = binary.BigEndian.AppendUint32(r.records, t.attrs[c].oid)
			r.records = appendField(r.records, v)
		}
		binary.BigEndian.PutUint32(r.records[mark:], uint32(len(r.records)-mark-4))
	}
	if len(tuples) > 0 {
		return r, errBadTuples
	}
	r.records = sizeArray(r.records, n, false)
	for c, b := range r.texts {
		r.texts[c] = sizeArray(b, n, nulls[c])
	}
	return r, nil
}

// appendField writes a length and the bytes; nil is NULL.
func appendField(dst, value []byte) []byte {
	if value == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// setElementOIDs changes the element type in the headers of the arrays at
// positions of each tuple, in place: COPY takes an array of text for text[]
// alone. An array's header is the same in all else.
func setElementOIDs(tuples []byte, n, columns int, positions map[int]uint32) error {
	for range n {
		rest, err := walkTuple(tuples, columns, func(i int, value []byte) {
			if oid, ok := positions[i]; ok && len(value) >= 12 {
				binary.BigEndian.PutUint32(value[8:], oid)
			}
		})
		if err != nil {
			return err
		}
		tuples = rest
	}
	if len(tuples) > 0 {
		return errBadTuples
	}
	return nil
}
