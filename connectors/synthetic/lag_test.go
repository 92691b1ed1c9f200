package synthetic_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// modify writes one row and gives the whole rows that the answer held.
func modify(t *testing.T, table connectors.Table, b *connectors.Batch, types []pushdown.Type) [][]pushdown.Value {
	t.Helper()
	var list [][]pushdown.Value
	b.Stats, b.Returning = &connectors.Stats{}, rows.NewBuilder(nil, nil, rows.Options{})
	for i := range types {
		b.RecordColumns = append(b.RecordColumns, i)
	}
	b.Record = rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		list = append(list, got...)
		return err
	}, rows.Options{})
	require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
	require.Equal(t, connectors.Applied, b.Results[0].Outcome)
	require.NoError(t, b.Record.Flush())
	require.Equal(t, len(list) == 1, b.Recorded[0])
	return list
}

// Time passes only where the test sleeps.
func TestStore_LagHidesWritesForAWhile(t *testing.T) { synctest.Test(t, lagHidesWrites) }

func lagHidesWrites(t *testing.T) {
	const lag = 150 * time.Millisecond
	spec := connectors.TableSpec{Name: "t", Options: map[string]string{"store": "s", "lag": lag.String()}, Columns: []connectors.ColumnSpec{
		{Name: "id", Type: pushdown.Type{Kind: pushdown.Int8}, Options: map[string]string{"key": "true"}},
		{Name: "name", Type: pushdown.Type{Kind: pushdown.Text}},
	}}
	types := []pushdown.Type{spec.Columns[0].Type, spec.Columns[1].Type}
	table := open(t, spec)
	assert.Equal(t, lag, table.Describe().ListLag)
	scan := func(conjuncts ...pushdown.Expr) []any {
		got, _, err := read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{Columns: all(spec), Conjuncts: conjuncts}})
		require.NoError(t, err)
		out := []any{}
		for _, r := range got {
			out = append(out, r[0].V, r[1].V)
		}
		return out
	}
	v := func(list ...any) (out []pushdown.Value) {
		for _, x := range list {
			out = append(out, pushdown.Value{V: x})
		}
		return out
	}
	put := func(id int64, name string) {
		got := modify(t, table, &connectors.Batch{Op: connectors.Insert, Columns: []int{0, 1}, Rows: []connectors.Row{{Values: v(id, name)}}}, types)
		assert.Equal(t, [][]pushdown.Value{v(id, name)}, got)
	}
	put(1, "a")
	put(2, "b")
	assert.Empty(t, scan())
	time.Sleep(lag + 1)
	assert.Equal(t, []any{int64(1), "a", int64(2), "b"}, scan())
	got := modify(t, table, &connectors.Batch{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{1}, Rows: []connectors.Row{{Key: v(int64(1)), Values: v("A")}}}, types)
	assert.Equal(t, [][]pushdown.Value{v(int64(1), "A")}, got)
	assert.Empty(t, modify(t, table, &connectors.Batch{Op: connectors.Delete, KeyColumns: []int{0}, Rows: []connectors.Row{{Key: v(int64(2))}}}, types))
	put(3, "c")
	assert.Equal(t, []any{int64(1), "a", int64(2), "b"}, scan())
	assert.Equal(t, []any{int64(1), "a"}, scan(key(int64(1))), "by key, too")
	assert.Empty(t, scan(key(int64(3))))
	time.Sleep(lag + 1)
	assert.Equal(t, []any{int64(1), "A", int64(3), "c"}, scan())
	for i := range int64(20) {
		put(100+i, "x")
		time.Sleep(lag / 10)
	}
	assert.Len(t, scan(), 2*2+2*10, "what is older is kept in order")
}

func TestStore_WithoutLagListsShowWritesAtOnce(t *testing.T) {
	table := open(t, typical(nil))
	assert.Negative(t, table.Describe().ListLag)
	assert.Equal(t, "sequence", table.Describe().Object)
}
