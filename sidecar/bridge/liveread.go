// Rows as the API has them now, found by their key or by other columns: before
// an upsert or an update that may change nothing, and for before-images.

package bridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const (
	// maxFind is how many values one read looks for at most.
	maxFind = 1000
	// maxUnfiltered bounds the rows read where the API cannot filter by the
	// columns at all.
	maxUnfiltered = 100_000
)

// liveRow is a row that was read from the API.
type liveRow struct {
	types []pushdown.Type // of the table
	// Fields by table column as on the wire; nil: NULL, or not read.
	Fields [][]byte
	// Read tells which columns were; shared by rows of one read.
	Read []bool
}

// Value of a table column that was read. Elements of an array of several
// dimensions come in row-major order.
func (r *liveRow) Value(column int) (pushdown.Value, error) {
	if r.Fields[column] == nil {
		return pushdown.Value{}, nil
	}
	v, err := rows.DecodeValue(r.types[column], r.Fields[column])
	if err != nil {
		return v, fmt.Errorf("reading a row from the API: %w", err)
	}
	return v, nil
}

// values of some columns.
func (r *liveRow) values(columns []int) ([]pushdown.Value, error) {
	out := make([]pushdown.Value, len(columns))
	for i, c := range columns {
		var err error
		if out[i], err = r.Value(c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// isSame reports whether the rows have one key, which both were read with.
func (r *liveRow) isSame(o *liveRow, key []int) bool {
	return len(key) > 0 && !slices.ContainsFunc(key, func(c int) bool {
		return r.Fields[c] == nil || !bytes.Equal(r.Fields[c], o.Fields[c])
	})
}

// appendTuple appends the row's tuple of some columns.
func (r *liveRow) appendTuple(dst []byte, columns []int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(columns)))
	for _, c := range columns {
		f := r.Fields[c]
		if f == nil {
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(f))), f...)
	}
	return dst
}

// finder reads rows by the values of some columns.
type finder struct {
	b       *bound
	types   []pushdown.Type // of the table
	match   []int
	key     []int
	columns []int // that are read, match and key among them
	read    []bool
	stats   *connectors.Stats
	at      map[string][]int // positions of each wanted value
	// asked are those that the present read is for: others may come, too, and
	// come again.
	asked map[string]bool
	found [][]*liveRow
}

// liveRows reads past every cache, for each tuple of values, the rows whose match
// columns are equal to it; a NULL equals nothing. Rows have at least the columns
// asked for. It asks for as many tuples at once as the API's filter takes, and
// for all rows if that takes none, up to a bound.
func (s *Server) liveRows(ctx context.Context, b *bound, match []int, values [][]pushdown.Value, columns []int, stats *connectors.Stats) ([][]*liveRow, error) {
	f := &finder{b: b, match: match, key: b.table.Describe().Key, stats: stats, at: map[string][]int{}, found: make([][]*liveRow, len(values)),
		types: b.rel.types(), read: make([]bool, len(b.rel.spec.Columns))}
	f.columns = slices.Concat(match, f.key, columns)
	slices.Sort(f.columns)
	f.columns = slices.Compact(f.columns)
	for _, c := range f.columns {
		f.read[c] = true
	}
	var wanted [][]pushdown.Value // each once
	for i, v := range values {
		if slices.ContainsFunc(v, pushdown.Value.IsNull) {
			continue
		}
		name := f.name(v)
		if len(f.at[name]) == 0 {
			wanted = append(wanted, v)
		}
		f.at[name] = append(f.at[name], i)
	}
	size := maxFind
	for len(wanted) > 0 {
		n, query, err := f.most(wanted, size)
		if err != nil {
			return nil, err
		}
		if n == 0 { // no filter finds the first of them: all rows
			n, query = len(wanted), nil
		}
		f.asked = make(map[string]bool, n)
		for _, v := range wanted[:n] {
			f.asked[f.name(v)] = true
		}
		if err := f.scan(ctx, query); err != nil {
			return nil, err
		}
		wanted, size = wanted[n:], min(2*n, maxFind)
	}
	return f.found, nil
}

// name of a tuple of match values: the same just for equal ones.
func (f *finder) name(values []pushdown.Value) string {
	return overlay.Key(f.b.rel.typesAt(f.match), values)
}

// most is how many of the wanted values the API looks for at once, of size at
// most, and how; 0: not even for one.
func (f *finder) most(wanted [][]pushdown.Value, size int) (int, []pushdown.Expr, error) {
	best, query := 0, []pushdown.Expr(nil)
	var failed error
	try := func(n int) bool {
		q, err := f.pushable(wanted[:n])
		if err != nil {
			failed = err
		}
		if q != nil && n > best {
			best, query = n, q
		}
		return q != nil
	}
	if size = min(size, len(wanted)); !try(size) && failed == nil {
		sort.Search(size-1, func(i int) bool { return failed != nil || !try(i+1) })
	}
	return best, query, failed
}

// pushable gives conjuncts that the API takes and that find all of these values;
// nil: there are none.
func (f *finder) pushable(wanted [][]pushdown.Value) ([]pushdown.Expr, error) {
	lists := make([]pushdown.Expr, len(f.match))
	for i := range f.match {
		column := make([]pushdown.Value, len(wanted))
		for j, v := range wanted {
			column[j] = v[i]
		}
		lists[i] = f.isOne(i, column)
	}
	forms := [][]pushdown.Expr{lists}
	if len(f.match) > 1 && len(wanted) > 1 {
		or := &pushdown.Or{}
		for _, v := range wanted {
			and := &pushdown.And{}
			for i := range f.match {
				and.Operands = append(and.Operands, f.isOne(i, v[i:i+1]))
			}
			or.Operands = append(or.Operands, and)
		}
		forms = [][]pushdown.Expr{{or}, lists}
	}
	for _, form := range forms {
		if _, err := pushdown.CompileAll(form, f.types); err != nil {
			return nil, &connectors.Error{Class: connectors.NotSupported,
				Message: fmt.Sprintf("rows of foreign table %q cannot be found by %s", f.b.rel.spec.Name, f.b.rel.columnNames(f.match)),
				Detail:  err.Error(), Err: err}
		}
		p, err := planned(f.b.table, &request{Request: pushdown.Request{Conjuncts: form, Columns: f.columns}})
		if err != nil {
			return nil, err
		}
		var pushed []pushdown.Expr
		for i, c := range p.Conjuncts {
			if c.Verdict != pushdown.Local {
				pushed = append(pushed, form[i])
			}
		}
		if len(pushed) > 0 {
			return pushed, nil
		}
	}
	return nil, nil
}

// isOne is the condition that the ith match column has one of these values.
func (f *finder) isOne(i int, values []pushdown.Value) pushdown.Expr {
	t := f.types[f.match[i]]
	column := &pushdown.Column{Index: f.match[i]}
	if len(values) == 1 {
		return &pushdown.Comparison{Op: pushdown.EQ, Left: column, Collation: bytewise(),
			Right: &pushdown.Param{Type: t, Known: true, Value: values[0]}}
	}
	array := t
	array.Array, array.OID, array.ElementOID = true, 0, t.OID
	return &pushdown.Membership{Operand: column, Collation: bytewise(),
		Array: &pushdown.Param{Type: array, Known: true, Value: pushdown.Value{V: values}}}
}

// scan reads what the conjuncts find, or all rows, and keeps what is wanted.
func (f *finder) scan(ctx context.Context, conjuncts []pushdown.Expr) error {
	q := connectors.Query{Request: pushdown.Request{Conjuncts: conjuncts, Columns: f.columns}, Stats: f.stats}
	seen := 0
	tooMany := &connectors.Error{Class: connectors.LimitExceeded,
		Message: fmt.Sprintf("finding rows of foreign table %q by %s would read more than %d rows", f.b.rel.spec.Name,
			f.b.rel.columnNames(f.match), maxUnfiltered),
		Hint: "The API cannot filter by these columns; choose others that it can."}
	_, err := runScan(ctx, f.b, &q, nil, func(tuples []byte, n int) error {
		if seen += n; conjuncts == nil && seen > maxUnfiltered {
			return tooMany
		}
		for len(tuples) > 0 {
			var err error
			if tuples, err = f.keep(tuples); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, tooMany) {
		return tooMany
	}
	return err
}

// errTuple: a connector's rows went through a Builder, so it is a defect.
var errTuple = errors.New("bridge: a batch of rows cannot be read")

// keep takes the first tuple of a batch, if its row is wanted, and gives the rest.
func (f *finder) keep(tuples []byte) ([]byte, error) {
	if len(tuples) < 2 || int(binary.BigEndian.Uint16(tuples)) != len(f.columns) {
		return nil, errTuple
	}
	tuples = tuples[2:]
	row := &liveRow{types: f.types, Read: f.read, Fields: make([][]byte, len(f.types))}
	for _, c := range f.columns {
		if len(tuples) < 4 {
			return nil, errTuple
		}
		n := int32(binary.BigEndian.Uint32(tuples))
		tuples = tuples[4:]
		if n < 0 {
			continue
		}
		if int64(n) > int64(len(tuples)) {
			return nil, errTuple
		}
		row.Fields[c] = tuples[:n:n]
		tuples = tuples[n:]
	}
	values, err := row.values(f.match)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(values, pushdown.Value.IsNull) {
		return tuples, nil
	}
	name := f.name(values)
	if !f.asked[name] {
		return tuples, nil
	}
	at := f.at[name]
	// A list that moves while it is paged through may have a row twice.
	if slices.ContainsFunc(f.found[at[0]], func(o *liveRow) bool { return o.isSame(row, f.key) }) {
		return tuples, nil
	}
	for c, field := range row.Fields { // the batch's memory is used again
		row.Fields[c] = slices.Clone(field)
	}
	for _, i := range at {
		f.found[i] = append(f.found[i], row)
	}
	return tuples, nil
}

// types of all columns.
func (r *relation) types() []pushdown.Type {
	out := make([]pushdown.Type, len(r.spec.Columns))
	for i, c := range r.spec.Columns {
		out[i] = c.Type
	}
	return out
}

// columnNames lists columns for messages: (a, b).
func (r *relation) columnNames(columns []int) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = r.spec.Columns[c].Name
	}
	return "(" + strings.Join(names, ", ") + ")"
}
