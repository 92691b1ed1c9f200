package sync

// The order in which keys come.

import (
	"bytes"
	"slices"
)

// binaryType tells of a type, by its OID, whose values sort as the bytes of their
// binary form do, text if its collation is C; signed: once the sign is turned. The
// name is empty for others.
func binaryType(oid uint32) (name string, signed bool) {
	switch oid {
	case 20:
		return "int8", true
	case 21:
		return "int2", true
	case 23:
		return "int4", true
	case 25:
		return "text", false
	case 1043:
		return "varchar", false
	case 1082:
		return "date", true
	case 1114:
		return "timestamp", true
	case 1184:
		return "timestamptz", true
	case 2950:
		return "uuid", false
	}
	return "", false
}

// ascending tells whether keys come one greater than the other, by their bytes:
// then none comes twice.
type ascending struct {
	at     []int // where the key's columns stand in a tuple
	signed []bool
	width  int      // columns of a tuple
	last   [][]byte // nil: none came
	broken bool
}

// ascends watches tuples of columns, among which are the key's.
func (r *replica) ascends(columns []int) *ascending {
	a := &ascending{width: len(columns)}
	for _, i := range r.t.Definition.Key {
		_, signed := binaryType(r.stage.oids[i])
		a.at, a.signed = append(a.at, slices.Index(columns, i)), append(a.signed, signed)
	}
	return a
}

// note the keys of a batch.
func (a *ascending) note(tuples []byte, n int) error {
	if a.broken {
		return nil
	}
	key := make([][]byte, len(a.at))
	return walk(tuples, n, a.width, func(values [][]byte) {
		for k, at := range a.at {
			key[k] = values[at]
			a.broken = a.broken || key[k] == nil
		}
		switch {
		case a.broken:
			return
		case a.last == nil:
			a.last = make([][]byte, len(key))
			for k := range a.last {
				a.last[k] = []byte{} // an empty text is not NULL
			}
		case a.compare(key, a.last) <= 0:
			a.broken = true
			return
		}
		for k := range key {
			a.last[k] = append(a.last[k][:0], key[k]...)
		}
	})
}

func (a *ascending) compare(x, y [][]byte) int {
	for k := range x {
		c := bytes.Compare(x[k], y[k])
		switch {
		case c == 0:
		case a.signed[k] && (x[k][0]^y[k][0])&0x80 != 0:
			return -c
		default:
			return c
		}
	}
	return 0
}
