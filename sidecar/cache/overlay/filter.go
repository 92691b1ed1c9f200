package overlay

// Laying a view over the tuples of one scan.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Scan is what a Filter must know of one.
type Scan struct {
	// Types of the table's columns.
	Types []pushdown.Type
	// Columns of the tuples, as positions in the table: what Columns gave.
	Columns []int
	// Extra is how many of the Columns, at the end, are not to be handed on.
	Extra int
	// Key of the table.
	Key []int
	// Conjuncts are ANDed; all parameters are known.
	Conjuncts []pushdown.Expr
	// Ordering that the tuples come in; nil: none.
	Ordering pushdown.Ordering
}

// Columns that a scan must ask for so that a Filter can work: those wanted, then
// extra ones.
func Columns(wanted, key []int, o pushdown.Ordering) (columns []int, extra int) {
	columns = slices.Clone(wanted)
	need := slices.Clone(key)
	for _, k := range o {
		need = append(need, k.Column)
	}
	for _, c := range need {
		if !slices.Contains(columns, c) {
			columns = append(columns, c)
		}
	}
	return columns, len(columns) - len(wanted)
}

// Filter takes the list's versions of a view's rows out of a scan and puts the
// view's in. For one scan, by one goroutine.
type Filter struct {
	scan   Scan
	rows   map[string]*Row
	sorter *pushdown.Sorter
	// keyAt are the key's columns in the tuples; keyTypes theirs.
	keyAt    []int
	keyTypes []pushdown.Type
	// add are the rows that have not been handed on, in the scan's order.
	add []*Row
	// unjudged: a conjunct cannot be decided here, so rows were put in for which
	// it may not hold.
	unjudged bool

	fields [][]byte
	key    []pushdown.Value
	out    []byte
}

// Filter lays the view over a scan. It is nil if there is nothing to lay over.
// The error is a *pushdown.UnsupportedError if the ordering is not one that can
// be kept, and a *pushdown.EvalError if PostgreSQL would fail on one of the rows.
func (v View) Filter(s Scan) (*Filter, error) {
	if len(v.Rows) == 0 {
		return nil, nil
	}
	f := &Filter{scan: s, rows: v.Rows, fields: make([][]byte, len(s.Columns)), key: make([]pushdown.Value, len(s.Key))}
	for _, k := range s.Key {
		f.keyAt = append(f.keyAt, slices.Index(s.Columns, k))
		f.keyTypes = append(f.keyTypes, s.Types[k])
	}
	if s.Ordering != nil {
		var err error
		if f.sorter, err = pushdown.CompileOrdering(s.Ordering, s.Types); err != nil {
			return nil, fmt.Errorf("keeping the order: %w", err)
		}
	}
	var preds []*pushdown.Predicate
	for _, c := range s.Conjuncts {
		p, err := pushdown.Compile(c, s.Types)
		if err != nil {
			f.unjudged = true
			continue
		}
		preds = append(preds, p)
	}
	for _, r := range v.Rows {
		if r.Deleted {
			continue
		}
		ok, err := matches(preds, s.Types, r)
		if err != nil {
			return nil, err
		}
		if ok {
			f.add = append(f.add, r)
		}
	}
	return f, f.sort()
}

// Unjudged reports whether PostgreSQL must check all conjuncts itself.
func (f *Filter) Unjudged() bool { return f.unjudged }

// value decodes a column of a row. Columns that the evaluator takes are always
// ones that can be decoded.
func (r *Row) value(types []pushdown.Type, failed *error) pushdown.Row {
	return func(column int) pushdown.Value {
		if column >= len(r.Fields) || r.Fields[column] == nil {
			return pushdown.Value{}
		}
		v, err := rows.DecodeValue(types[column], r.Fields[column])
		if err != nil && *failed == nil {
			*failed = fmt.Errorf("reading a written row: %w", err)
		}
		return v
	}
}

func matches(preds []*pushdown.Predicate, types []pushdown.Type, r *Row) (bool, error) {
	var failed error
	row := r.value(types, &failed)
	for _, p := range preds {
		ok, err := p.Matches(row)
		if err = errors.Join(failed, err); err != nil {
			return false, fmt.Errorf("checking a written row: %w", err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

func (f *Filter) sort() error {
	if f.sorter == nil {
		return nil
	}
	var failed error
	slices.SortFunc(f.add, func(a, b *Row) int {
		x, err := f.sorter.Compare(a.value(f.scan.Types, &failed), b.value(f.scan.Types, &failed))
		if err != nil {
			failed = err
		}
		return x
	})
	return failed
}

var errTuple = errors.New("overlay: a tuple that cannot be read")

// split finds a tuple's fields and gives what follows it.
func (f *Filter) split(b []byte) ([]byte, error) {
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(f.fields) {
		return nil, errTuple
	}
	b = b[2:]
	for i := range f.fields {
		if len(b) < 4 {
			return nil, errTuple
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if n == math.MaxUint32 {
			f.fields[i] = nil
			continue
		}
		if uint64(n) > uint64(len(b)) {
			return nil, errTuple
		}
		f.fields[i] = b[:n:n]
		b = b[n:]
	}
	return b, nil
}

// Batch gives the tuples of a batch to hand on, which may be none, and their
// number. They are good until the next call.
func (f *Filter) Batch(tuples []byte) ([]byte, int, error) {
	f.out = f.out[:0]
	n := 0
	for len(tuples) > 0 {
		rest, err := f.split(tuples)
		if err != nil {
			return nil, 0, err
		}
		tuple := tuples[:len(tuples)-len(rest)]
		tuples = rest
		for i, at := range f.keyAt {
			f.key[i] = pushdown.Value{}
			if field := f.fields[at]; field != nil {
				if f.key[i], err = rows.DecodeValue(f.keyTypes[i], field); err != nil {
					return nil, 0, fmt.Errorf("reading a key: %w", err)
				}
			}
		}
		if _, written := f.rows[Key(f.keyTypes, f.key)]; written {
			continue
		}
		before, err := f.before()
		if err != nil {
			return nil, 0, err
		}
		n += before
		n++
		if f.scan.Extra == 0 {
			f.out = append(f.out, tuple...)
			continue
		}
		f.put(func(i int) []byte { return f.fields[i] })
	}
	return f.out, n, nil
}

// before hands on those rows that come before the tuple that was split.
func (f *Filter) before() (int, error) {
	if f.sorter == nil {
		return 0, nil
	}
	var failed error
	tuple := func(column int) pushdown.Value {
		field := f.fields[slices.Index(f.scan.Columns, column)]
		if field == nil {
			return pushdown.Value{}
		}
		v, err := rows.DecodeValue(f.scan.Types[column], field)
		failed = errors.Join(failed, err)
		return v
	}
	n := 0
	for ; len(f.add) > 0; n++ {
		x, err := f.sorter.Compare(f.add[0].value(f.scan.Types, &failed), tuple)
		if err = errors.Join(failed, err); err != nil {
			return n, fmt.Errorf("keeping the order: %w", err)
		}
		if x >= 0 {
			break
		}
		f.next()
	}
	return n, nil
}

// next hands on the first of the rows to add.
func (f *Filter) next() {
	r := f.add[0]
	f.add = f.add[1:]
	f.put(func(i int) []byte { return r.Fields[f.scan.Columns[i]] })
}

// put appends a tuple of the wanted columns.
func (f *Filter) put(field func(i int) []byte) {
	wanted := len(f.scan.Columns) - f.scan.Extra
	f.out = binary.BigEndian.AppendUint16(f.out, uint16(wanted))
	for i := range wanted {
		v := field(i)
		if v == nil {
			f.out = binary.BigEndian.AppendUint32(f.out, math.MaxUint32)
			continue
		}
		f.out = binary.BigEndian.AppendUint32(f.out, uint32(len(v)))
		f.out = append(f.out, v...)
	}
}

// End gives the tuples that come after all others, and their number.
func (f *Filter) End() ([]byte, int) {
	f.out = f.out[:0]
	n := len(f.add)
	for len(f.add) > 0 {
		f.next()
	}
	return f.out, n
}

// Fields takes a tuple of the given columns apart, for a Row of a table of n.
func Fields(tuple []byte, columns []int, n int) ([][]byte, error) {
	f := Filter{fields: make([][]byte, len(columns))}
	rest, err := f.split(tuple)
	if err != nil || len(rest) > 0 {
		return nil, errTuple
	}
	out := make([][]byte, n)
	for i, c := range columns {
		if f.fields[i] != nil {
			out[c] = append([]byte{}, f.fields[i]...)
		}
	}
	return out, nil
}
