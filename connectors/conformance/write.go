package conformance

// Tests of Modify.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// modifier skips the test unless the table can be written.
func (h *harness) modifier(t *testing.T) connectors.Modifier {
	t.Helper()
	if h.Writes == nil {
		t.Skip("the subject is read only")
	}
	m, ok := h.table.(connectors.Modifier)
	require.True(t, ok, "the subject's table is no Modifier")
	return m
}

// columnsOf are the positions of a row's columns, in the table's order.
func (h *harness) columnsOf(r Row) []int {
	var list []int
	for i, name := range h.names {
		if _, ok := r[name]; ok {
			list = append(list, i)
		}
	}
	return list
}

func (h *harness) valuesOf(r Row, columns []int) []pushdown.Value {
	list := make([]pushdown.Value, len(columns))
	for i, c := range columns {
		list[i] = r[h.names[c]]
	}
	return list
}

// batch makes a Batch of rows that name the same columns.
func (h *harness) batch(op connectors.Operation, keys [][]pushdown.Value, given []Row) *connectors.Batch {
	b := &connectors.Batch{Op: op, IdempotencyKey: rand.Text(), Stats: &connectors.Stats{}, ReturningColumns: h.allColumns()}
	keyed := op == connectors.Update || op == connectors.Delete
	if keyed {
		b.KeyColumns = h.table.Describe().Key
	}
	if op == connectors.Upsert {
		b.MatchColumns = h.match()
	}
	for i := range max(len(keys), len(given)) {
		var row connectors.Row
		if keyed {
			row.Key = keys[i]
		}
		if op != connectors.Delete {
			b.Columns = h.columnsOf(given[0])
			row.Values = h.valuesOf(given[i], b.Columns)
		}
		b.Rows = append(b.Rows, row)
	}
	return b
}

// modify runs a batch and returns the RETURNING rows.
func (h *harness) modify(ctx context.Context, m connectors.Modifier, b *connectors.Batch) ([][]pushdown.Value, error) {
	types := h.typesOf(b.ReturningColumns)
	var back [][]pushdown.Value
	b.Returning = rows.NewBuilder(types, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(types, tuples, n)
		back = append(back, list...)
		return err
	}, rows.Options{})
	err := m.Modify(ctx, b)
	if err == nil {
		err = b.Returning.Flush()
	}
	if h.Settle != nil {
		h.Settle()
	}
	return back, err
}

// mustModify wants every row applied.
func (h *harness) mustModify(t *testing.T, m connectors.Modifier, b *connectors.Batch) [][]pushdown.Value {
	t.Helper()
	back, err := h.modify(t.Context(), m, b)
	require.NoError(t, err)
	require.Len(t, b.Results, len(b.Rows), "one result a row")
	for i, r := range b.Results {
		require.Equal(t, connectors.Applied, r.Outcome, "row %d: %v", i, r.Err)
		require.Nil(t, r.Err)
	}
	require.Len(t, back, len(b.Rows), "one returned tuple an applied row")
	require.NotZero(t, b.Stats.Calls.Load(), "writes are counted")
	return back
}

func (h *harness) keyOf(row []pushdown.Value) []pushdown.Value {
	var key []pushdown.Value
	for _, c := range h.table.Describe().Key {
		key = append(key, row[c])
	}
	return key
}

// find reads the rows with a key.
func (h *harness) find(t *testing.T, key []pushdown.Value) [][]pushdown.Value {
	t.Helper()
	_, c := collations()
	var q connectors.Query
	for i, col := range h.table.Describe().Key {
		q.Conjuncts = append(q.Conjuncts, &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: col}, Collation: c,
			Right: &pushdown.Param{Index: i, Type: h.types[col], Known: true, Value: key[i]}})
	}
	got := h.mustScan(t, q)
	want, ok := h.reference(t, q.Conjuncts, got)
	require.True(t, ok, "keys can be compared")
	return want
}

// requireHas checks that a row has the given values.
func (h *harness) requireHas(t *testing.T, row []pushdown.Value, given Row) {
	t.Helper()
	for name, want := range given {
		i := slices.Index(h.names, name)
		require.True(t, sameValue(h.types[i], want, row[i]), "column %q is %#v and should be %#v", name, row[i].V, want.V)
	}
}

// sameValue compares as IS NOT DISTINCT FROM does, JSON by its meaning.
func sameValue(t pushdown.Type, a, b pushdown.Value) bool {
	if a.V == nil || b.V == nil {
		return a.V == nil && b.V == nil
	}
	_, c := collations()
	e := &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Param{Type: t, Known: true, Value: a},
		Right: &pushdown.Param{Type: t, Known: true, Value: b}, Collation: c}
	if truth, err := pushdown.Eval(e, nil, nil); err == nil {
		return truth == pushdown.True
	}
	if t.Kind == pushdown.JSON || t.Kind == pushdown.JSONB {
		var x, y any
		as, _ := a.V.(string)
		bs, _ := b.V.(string)
		if json.Unmarshal([]byte(as), &x) == nil && json.Unmarshal([]byte(bs), &y) == nil {
			return reflect.DeepEqual(x, y)
		}
	}
	return reflect.DeepEqual(a, b)
}

func testModify(t *testing.T, h *harness) {
	m := h.modifier(t)
	before := len(h.mustScan(t, connectors.Query{}))
	d := h.table.Describe()
	if h.Writes.Insert == nil {
		require.False(t, d.Insertable)
		t.Skip("the subject takes no new rows")
	}
	require.True(t, d.Insertable)
	given := []Row{h.Writes.Insert(1), h.Writes.Insert(2), h.Writes.Insert(3)}
	back := h.mustModify(t, m, h.batch(connectors.Insert, nil, given))
	for i, row := range back {
		h.requireHas(t, row, given[i])
		for _, c := range d.Key {
			require.NotNil(t, row[c].V, "RETURNING gives the key")
		}
		found := h.find(t, h.keyOf(row))
		require.Len(t, found, 1, "what was inserted can be read")
		require.Nil(t, missing(h.types, back[i:i+1], found), "RETURNING is what a scan reads:\n%s\n%s",
			showRow(h.types, row), showRow(h.types, found[0]))
	}
	require.Len(t, h.mustScan(t, connectors.Query{}), before+3)

	if h.Writes.Update != nil {
		require.True(t, d.Updatable)
		change := h.Writes.Update(1)
		updated := h.mustModify(t, m, h.batch(connectors.Update, [][]pushdown.Value{h.keyOf(back[0])}, []Row{change}))
		h.requireHas(t, updated[0], change)
		kept := maps.Clone(given[0])
		for name := range change {
			delete(kept, name)
		}
		h.requireHas(t, updated[0], kept)
		found := h.find(t, h.keyOf(updated[0]))
		require.Len(t, found, 1)
		h.requireHas(t, found[0], change)
		h.requireHas(t, h.find(t, h.keyOf(back[1]))[0], given[1])
		back[0] = updated[0]
	}
	if h.Writes.Delete {
		require.True(t, d.Deletable)
		var keys [][]pushdown.Value
		for _, row := range back {
			keys = append(keys, h.keyOf(row))
		}
		b := h.batch(connectors.Delete, keys, nil)
		b.ReturningColumns = nil
		_, err := h.modify(t.Context(), m, b)
		require.NoError(t, err)
		for i, r := range b.Results {
			require.Equal(t, connectors.Applied, r.Outcome, "row %d: %v", i, r.Err)
		}
		for _, k := range keys {
			require.Empty(t, h.find(t, k), "what was deleted is gone")
		}
		require.Len(t, h.mustScan(t, connectors.Query{}), before)
	}
}

func testRefused(t *testing.T, h *harness) {
	m := h.modifier(t)
	if h.Writes.Insert == nil {
		t.Skip("the subject takes no new rows")
	}
	require.NotEmpty(t, h.Writes.Refused, "a subject says what its API refuses")
	for i, refusal := range h.Writes.Refused {
		t.Run(refusal.Name, func(t *testing.T) {
			before := h.mustScan(t, connectors.Query{})
			row := h.Writes.Insert(1000 + i)
			for name, v := range refusal.Change {
				if _, omit := v.V.(Omit); omit {
					delete(row, name)
					continue
				}
				row[name] = v
			}
			b := h.batch(connectors.Insert, nil, []Row{row})
			back, err := h.modify(t.Context(), m, b)
			require.NoError(t, err, "a refused row is a result")
			require.Len(t, b.Results, 1)
			require.Equal(t, connectors.Refused, b.Results[0].Outcome)
			e := b.Results[0].Err
			require.NotNil(t, e)
			require.Equal(t, refusal.Class, e.Class, "%v", e)
			require.NotEmpty(t, e.Message)
			if refusal.Column != "" {
				require.Equal(t, refusal.Column, e.Column, "%v", e)
			}
			h.shown(t, e.Error()+e.Detail+e.Hint)
			require.Empty(t, back)
			require.Len(t, h.mustScan(t, connectors.Query{}), len(before), "nothing was written")
		})
	}
}

// testRefusedAmongOthers writes rows of which one is refused: whatever becomes
// of the others, the results say it.
func testRefusedAmongOthers(t *testing.T, h *harness) {
	m := h.modifier(t)
	if h.Writes.Insert == nil {
		t.Skip("the subject takes no new rows")
	}
	isOmit := func(v pushdown.Value) bool { _, ok := v.V.(Omit); return ok }
	var refusal *Refusal
	for i := range h.Writes.Refused {
		if !slices.ContainsFunc(slices.Collect(maps.Values(h.Writes.Refused[i].Change)), isOmit) {
			refusal = &h.Writes.Refused[i]
			break
		}
	}
	if refusal == nil {
		t.Skip("the subject refuses only rows without a column, which other rows of a batch have")
	}
	const bad = 2
	given := make([]Row, 5)
	for i := range given {
		given[i] = h.Writes.Insert(100 + i)
		for name := range refusal.Change { // all rows name the same columns
			if _, ok := given[i][name]; !ok {
				given[i][name] = pushdown.Value{}
			}
		}
	}
	maps.Copy(given[bad], refusal.Change)
	before := len(h.mustScan(t, connectors.Query{}))
	b := h.batch(connectors.Insert, nil, given)
	back, err := h.modify(t.Context(), m, b)
	require.NoError(t, err, "a refused row is a result")
	require.Len(t, b.Results, len(given), "one result a row")
	applied := 0
	for i, r := range b.Results {
		switch {
		case i == bad:
			require.Equal(t, connectors.Refused, r.Outcome)
			require.False(t, r.Bystander, "the row itself was refused")
			require.Equal(t, refusal.Class, r.Err.Class, "%v", r.Err)
		case r.Outcome == connectors.Applied:
			require.Less(t, applied, len(back), "one returned tuple an applied row")
			h.requireHas(t, back[applied], given[i])
			require.Len(t, h.find(t, h.keyOf(back[applied])), 1, "what is applied can be read")
			applied++
		default:
			require.Equal(t, connectors.Refused, r.Outcome, "row %d", i)
			require.True(t, r.Bystander, "row %d was refused only because another was: %v", i, r.Err)
			require.NotEmpty(t, r.Err.Message)
		}
	}
	require.Len(t, back, applied, "one returned tuple an applied row")
	require.Len(t, h.mustScan(t, connectors.Query{}), before+applied, "only what is applied was written")
	if !h.Writes.Delete || applied == 0 {
		return
	}
	var keys [][]pushdown.Value
	for _, row := range back {
		keys = append(keys, h.keyOf(row))
	}
	_, err = h.modify(t.Context(), m, h.batch(connectors.Delete, keys, nil))
	require.NoError(t, err)
	require.Len(t, h.mustScan(t, connectors.Query{}), before)
}

func testNotFound(t *testing.T, h *harness) {
	m := h.modifier(t)
	if h.Writes.MissingKey == nil {
		t.Skip("the subject names no key that is not there")
	}
	keys := [][]pushdown.Value{h.Writes.MissingKey}
	require.Empty(t, h.find(t, keys[0]))
	var batches []*connectors.Batch
	if h.Writes.Update != nil {
		batches = append(batches, h.batch(connectors.Update, keys, []Row{h.Writes.Update(9)}))
	}
	if h.Writes.Delete {
		batches = append(batches, h.batch(connectors.Delete, keys, nil))
	}
	for _, b := range batches {
		back, err := h.modify(t.Context(), m, b)
		require.NoError(t, err)
		require.Len(t, b.Results, 1)
		require.Equal(t, connectors.NotFound, b.Results[0].Outcome, "%v", b.Results[0].Err)
		require.Nil(t, b.Results[0].Err, "a row that is not there is no error")
		require.Empty(t, back)
	}
}

func testDryRun(t *testing.T, h *harness) {
	m := h.modifier(t)
	if h.Writes.Insert == nil {
		t.Skip("the subject takes no new rows")
	}
	before := h.mustScan(t, connectors.Query{})
	h.noCalls(t, func() {
		batches := []*connectors.Batch{h.batch(connectors.Insert, nil, []Row{h.Writes.Insert(50), h.Writes.Insert(51)})}
		if h.Writes.Update != nil {
			batches = append(batches, h.batch(connectors.Update, [][]pushdown.Value{h.keyOf(before[0])}, []Row{h.Writes.Update(50)}))
		}
		if h.Writes.Delete {
			batches = append(batches, h.batch(connectors.Delete, [][]pushdown.Value{h.keyOf(before[0])}, nil))
		}
		for _, b := range batches {
			list, err := m.Requests(b)
			require.NoError(t, err)
			require.NotEmpty(t, list)
			for _, s := range list {
				require.NotEmpty(t, s)
				h.shown(t, s)
			}
		}
	})
	require.Len(t, h.mustScan(t, connectors.Query{}), len(before), "a dry run writes nothing")
}

// testStaged holds rows back: they must not be in the API then.
func testStaged(t *testing.T, h *harness) {
	m := h.modifier(t)
	if h.Writes.Insert == nil || !h.table.Describe().Staged {
		t.Skip("the subject takes no new rows, or those of one request at a time")
	}
	batch := func() *connectors.Batch {
		var given []Row
		for i := range 3 {
			given = append(given, h.Writes.Insert(60+i))
		}
		b := h.batch(connectors.Insert, nil, given)
		b.ReturningColumns = nil
		return b
	}
	before := len(h.mustScan(t, connectors.Query{}))

	b, held := batch(), errors.New("held back")
	b.Ready = func(context.Context, int, int) error { return held }
	_, err := h.modify(t.Context(), m, b)
	require.ErrorIs(t, err, held)
	require.Len(t, h.mustScan(t, connectors.Query{}), before, "rows that were held back are in the API")

	b = batch()
	through := 0
	b.Ready = func(_ context.Context, end, next int) error {
		require.True(t, through < end && end <= next && next <= len(b.Rows), "%d, %d after %d", end, next, through)
		if through > 0 {
			return connectors.ErrNotNow
		}
		through = end
		return nil
	}
	_, err = h.modify(t.Context(), m, b)
	require.NoError(t, err)
	for i, r := range b.Results {
		want := connectors.Applied
		if i >= through {
			want = connectors.NotSent
		}
		require.Equal(t, want, r.Outcome, "row %d, of which %d may be sent", i, through)
	}
	require.Len(t, h.mustScan(t, connectors.Query{}), before+through)
}

// testReadOnly is for tables that cannot be written: they say so, typed.
func testReadOnly(t *testing.T, h *harness) {
	if h.Writes != nil {
		t.Skip("the subject can be written")
	}
	d := h.table.Describe()
	require.False(t, d.Insertable || d.Updatable || d.Deletable)
	m, ok := h.table.(connectors.Modifier)
	if !ok {
		return
	}
	b := h.batch(connectors.Insert, nil, []Row{{h.names[0]: pushdown.Value{}}})
	h.noCalls(t, func() {
		_, err := h.modify(t.Context(), m, b)
		var e *connectors.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, connectors.NotSupported, e.Class)
	})
}
