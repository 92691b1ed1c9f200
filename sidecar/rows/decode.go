package rows

// Binary values and tuples back into pushdown.Values. Nothing here trusts a
// length: whatever the bytes are, the answer is a value or a *BinaryError.

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// DecodeValue reads one value that is not NULL in the binary send format of
// its type (text for pushdown.Other). The elements of an array of several
// dimensions come in row-major order. The value shares no memory with b.
func DecodeValue(t pushdown.Type, b []byte) (pushdown.Value, error) {
	if t.Array {
		return decodeArray(t, b, true)
	}
	return decodeScalar(t.Kind, b)
}

func decodeScalar(kind pushdown.Kind, b []byte) (pushdown.Value, error) {
	size := 0
	switch kind {
	case pushdown.Bool:
		size = 1
	case pushdown.Int2:
		size = 2
	case pushdown.Int4, pushdown.Float4, pushdown.Date:
		size = 4
	case pushdown.Int8, pushdown.Float8, pushdown.Time, pushdown.Timestamp, pushdown.TimestampTZ:
		size = 8
	case pushdown.UUID:
		size = 16
	}
	if size > 0 && len(b) != size {
		return pushdown.Value{}, badBinary("%s of %d bytes", kind, len(b))
	}
	switch kind {
	case pushdown.Bool:
		return pushdown.Value{V: b[0] != 0}, nil
	case pushdown.Int2:
		return pushdown.Value{V: int64(int16(binary.BigEndian.Uint16(b)))}, nil
	case pushdown.Int4:
		return pushdown.Value{V: int64(int32(binary.BigEndian.Uint32(b)))}, nil
	case pushdown.Int8, pushdown.Timestamp, pushdown.TimestampTZ:
		return pushdown.Value{V: int64(binary.BigEndian.Uint64(b))}, nil
	case pushdown.Float4:
		return pushdown.Value{V: float64(math.Float32frombits(binary.BigEndian.Uint32(b)))}, nil
	case pushdown.Float8:
		return pushdown.Value{V: math.Float64frombits(binary.BigEndian.Uint64(b))}, nil
	case pushdown.Date:
		switch d := int32(binary.BigEndian.Uint32(b)); d {
		case math.MinInt32:
			return pushdown.Value{V: int64(math.MinInt64)}, nil
		case math.MaxInt32:
			return pushdown.Value{V: int64(math.MaxInt64)}, nil
		default:
			return pushdown.Value{V: int64(d)}, nil
		}
	case pushdown.Time:
		us := int64(binary.BigEndian.Uint64(b))
		if us < 0 || us > microsPerDay {
			return pushdown.Value{}, badBinary("time of %d microseconds", us)
		}
		return pushdown.Value{V: us}, nil
	case pushdown.Numeric:
		s, err := decodeNumeric(b)
		if err != nil {
			return pushdown.Value{}, err
		}
		return pushdown.Value{V: s}, nil
	case pushdown.UUID:
		var a [36]byte
		hex.Encode(a[:8], b[:4])
		a[8] = '-'
		hex.Encode(a[9:13], b[4:6])
		a[13] = '-'
		hex.Encode(a[14:18], b[6:8])
		a[18] = '-'
		hex.Encode(a[19:23], b[8:10])
		a[23] = '-'
		hex.Encode(a[24:], b[10:])
		return pushdown.Value{V: string(a[:])}, nil
	case pushdown.Bytea:
		return pushdown.Value{V: append([]byte{}, b...)}, nil
	case pushdown.JSONB:
		if len(b) == 0 || b[0] != 1 {
			return pushdown.Value{}, badBinary("jsonb of an unknown version")
		}
		b = b[1:]
	}
	if !validText(b) {
		return pushdown.Value{}, badBinary("%s that is not UTF-8", kind)
	}
	return pushdown.Value{V: string(b)}, nil
}

// decodeArray reads an array; if flat, one of any shape.
func decodeArray(t pushdown.Type, b []byte, flat bool) (pushdown.Value, error) {
	if len(b) < 12 {
		return pushdown.Value{}, badBinary("array of %d bytes", len(b))
	}
	ndim := binary.BigEndian.Uint32(b)
	oid := binary.BigEndian.Uint32(b[8:])
	b = b[12:]
	switch {
	case ndim > maxArrayDims || len(b) < int(ndim)*8:
		return pushdown.Value{}, badBinary("array of %d dimensions in %d bytes", ndim, len(b))
	case ndim > 1 && !flat:
		return pushdown.Value{}, notCarried("an array of %d dimensions cannot be sent to an API, only of one", ndim)
	case ndim == 1 && !flat && binary.BigEndian.Uint32(b[4:]) != 1:
		return pushdown.Value{}, notCarried("an array whose subscripts begin at %d cannot be sent to an API, only at 1",
			int32(binary.BigEndian.Uint32(b[4:])))
	case t.ElementOID != 0 && oid != t.ElementOID:
		return pushdown.Value{}, badBinary("array of elements with OID %d instead of %d", oid, t.ElementOID)
	}
	n := uint64(0)
	if ndim > 0 {
		n = 1
	}
	for range ndim {
		size := binary.BigEndian.Uint32(b)
		b = b[8:]
		if n *= uint64(size); n > math.MaxInt32 {
			return pushdown.Value{}, badBinary("array of too many elements")
		}
	}
	if n > uint64(len(b)/4) {
		return pushdown.Value{}, badBinary("array of %d elements in %d bytes", n, len(b))
	}
	list := make([]pushdown.Value, n)
	for i := range list {
		item, rest, null, err := field(b)
		if err != nil {
			return pushdown.Value{}, err
		}
		b = rest
		if null {
			continue
		}
		if list[i], err = decodeScalar(t.Kind, item); err != nil {
			return pushdown.Value{}, err
		}
	}
	if len(b) > 0 {
		return pushdown.Value{}, badBinary("%d bytes after an array's last element", len(b))
	}
	return pushdown.Value{V: list}, nil
}

// field takes an int32 length and so many bytes off b.
func field(b []byte) (value, rest []byte, null bool, err error) {
	if len(b) < 4 {
		return nil, nil, false, badBinary("%d bytes where a length should be", len(b))
	}
	n := int32(binary.BigEndian.Uint32(b))
	b = b[4:]
	switch {
	case n == -1:
		return nil, b, true, nil
	case n < 0 || int(n) > len(b):
		return nil, nil, false, badBinary("length %d with %d bytes left", n, len(b))
	}
	return b[:n], b[n:], false, nil
}

// Reader reads the tuples of a batch.
type Reader struct {
	types []pushdown.Type
	data  []byte
	flat  bool
}

// NewReader reads tuples of the given columns that are to be written: an array
// of several dimensions, or whose subscripts do not begin at 1, is refused, as
// a Value cannot tell its shape.
func NewReader(types []pushdown.Type, tuples []byte) *Reader {
	return &Reader{types: types, data: tuples}
}

// NewScanReader is NewReader for rows that are only looked at: the elements of
// any array come in row-major order.
func NewScanReader(types []pushdown.Type, tuples []byte) *Reader {
	return &Reader{types: types, data: tuples, flat: true}
}

// Next reads the next tuple into dst, which has room for one value a column.
// At the end of the batch it returns false. After an error the rest cannot be
// read.
func (r *Reader) Next(dst []pushdown.Value) (bool, error) {
	if len(r.data) == 0 {
		return false, nil
	}
	if len(r.data) < 2 {
		return false, badBinary("%d bytes where a tuple should begin", len(r.data))
	}
	if n := binary.BigEndian.Uint16(r.data); int(n) != len(r.types) {
		return false, badBinary("tuple of %d columns instead of %d", n, len(r.types))
	}
	rest := r.data[2:]
	for i := range r.types {
		item, after, null, err := field(rest)
		if err != nil {
			return false, err
		}
		rest = after
		if null {
			dst[i] = pushdown.Value{}
			continue
		}
		if t := &r.types[i]; t.Array {
			dst[i], err = decodeArray(*t, item, r.flat)
		} else {
			dst[i], err = decodeScalar(t.Kind, item)
		}
		if err != nil {
			var be *BinaryError
			if errors.As(err, &be) {
				be.Column = i
			}
			return false, err
		}
	}
	r.data = rest
	return true, nil
}

// DecodeTuples reads a batch that must have n tuples, each into a slice of its
// own.
func DecodeTuples(types []pushdown.Type, tuples []byte, n int) ([][]pushdown.Value, error) {
	// Each tuple takes two bytes at least.
	if n < 0 || n > len(tuples)/2 {
		return nil, badBinary("%d tuples in %d bytes", n, len(tuples))
	}
	r := NewReader(types, tuples)
	list := make([][]pushdown.Value, 0, n)
	for {
		row := make([]pushdown.Value, len(types))
		ok, err := r.Next(row)
		switch {
		case err != nil:
			return nil, err
		case !ok && len(list) == n:
			return list, nil
		case !ok || len(list) == n:
			return nil, badBinary("a batch of other than %d tuples", n)
		}
		list = append(list, row)
	}
}
