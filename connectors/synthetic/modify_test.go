package synthetic_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func pairs(options map[string]string) connectors.TableSpec {
	return connectors.TableSpec{Name: "t", Options: options, Columns: []connectors.ColumnSpec{
		{Name: "id", Type: pushdown.Type{Kind: pushdown.Int8}, Options: map[string]string{"key": "true"}},
		{Name: "name", Type: pushdown.Type{Kind: pushdown.Text}},
	}}
}

func insertPairs(key string, ids ...int64) *connectors.Batch {
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{0, 1}, IdempotencyKey: key, Stats: &connectors.Stats{},
		Returning: rows.NewBuilder(nil, nil, rows.Options{})}
	for _, id := range ids {
		b.Rows = append(b.Rows, connectors.Row{Values: []pushdown.Value{{V: id}, {V: "x"}}})
	}
	return b
}

func TestStore_BatchRowsIsWhatACallWrites(t *testing.T) {
	spec := pairs(map[string]string{"store": "s", "batch_rows": "4"})
	table := open(t, spec)
	assert.Equal(t, connectors.BatchRows{Insert: 4, Update: 4, Delete: 4, Upsert: 4}, table.Describe().BatchRows)
	b := insertPairs("k", 1, 2, 3, 4, 5, 6, 7, 8, 9)
	require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
	assert.EqualValues(t, 3, b.Stats.Calls.Load())
	assert.EqualValues(t, 9, table.Describe().Rows)
	assert.Zero(t, open(t, pairs(map[string]string{"store": "s"})).Describe().BatchRows, "one row a call by default")
}

func TestStore_AnAtomicCallIsWrittenWholeOrNot(t *testing.T) {
	spec := pairs(map[string]string{"store": "s", "batch_rows": "4", "atomic": "true"})
	spec.Columns[1].Options = map[string]string{"check": "max:3"}
	table := open(t, spec)
	m := table.(connectors.Modifier)
	require.NoError(t, m.Modify(t.Context(), insertPairs("", 1, 2, 3)))
	content := func() []any {
		got, _, err := read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{Columns: all(spec)}})
		require.NoError(t, err)
		out := []any{}
		for _, r := range got {
			out = append(out, r[0].V, r[1].V)
		}
		return out
	}
	outcomes := func(b *connectors.Batch) (out string) {
		for _, r := range b.Results {
			switch {
			case r.Outcome == connectors.Applied:
				out += "+"
			case r.Bystander:
				out += "b"
			default:
				out += "r"
			}
		}
		return out
	}
	// 2 is there: the rows of its call are not written, those of the other are.
	b := insertPairs("", 10, 11, 2, 12, 13)
	require.NoError(t, m.Modify(t.Context(), b))
	assert.Equal(t, "bbrb+", outcomes(b))
	assert.Equal(t, []any{int64(1), "x", int64(2), "x", int64(3), "x", int64(13), "x"}, content())

	update := func(names ...string) *connectors.Batch {
		b := &connectors.Batch{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{1}, Stats: &connectors.Stats{}, Returning: rows.NewBuilder(nil, nil, rows.Options{})}
		for i, n := range names {
			b.Rows = append(b.Rows, connectors.Row{Key: []pushdown.Value{{V: int64(i + 1)}}, Values: []pushdown.Value{{V: n}}})
		}
		return b
	}
	b = update("a", "b", "long")
	require.NoError(t, m.Modify(t.Context(), b))
	assert.Equal(t, "bbr", outcomes(b))
	b = update("a", "b", "c")
	require.NoError(t, m.Modify(t.Context(), b))
	assert.Equal(t, "+++", outcomes(b))
	assert.Equal(t, []any{int64(1), "a", int64(2), "b", int64(3), "c", int64(13), "x"}, content())
	// What was undone is in no index.
	b = insertPairs("", 10, 11, 12)
	require.NoError(t, m.Modify(t.Context(), b))
	assert.Equal(t, "+++", outcomes(b))
}

func TestStore_HangsWhereItIsTold(t *testing.T) {
	for _, c := range []struct {
		at, times string
		rows      float64 // after the write that hung
		again     bool    // the next one hangs too
	}{{"before", "once", 0, false}, {"applied", "once", 1, false}, {"before", "always", 0, true}, {"applied", "always", 1, true}} {
		hangs := func(t *testing.T) {
			table := open(t, pairs(map[string]string{"store": "s", "hang_at": c.at, "hang_times": c.times, "idempotent": "true"}))
			require.True(t, table.Describe().Idempotent)
			write := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				return table.(connectors.Modifier).Modify(ctx, insertPairs("k", 1))
			}
			require.ErrorIs(t, write(), context.DeadlineExceeded)
			assert.InDelta(t, c.rows, table.Describe().Rows, 0)
			if c.again {
				require.ErrorIs(t, write(), context.DeadlineExceeded)
			} else {
				require.NoError(t, write(), "the same write again")
				assert.InDelta(t, 1, table.Describe().Rows, 0, "it was done once")
			}
		}
		t.Run(c.at+" "+c.times, func(t *testing.T) { synctest.Test(t, hangs) })
	}
}

func TestStore_AnIdempotencyKeyIsForOneRequest(t *testing.T) {
	table := open(t, pairs(map[string]string{"store": "s", "idempotent": "true"}))
	m := table.(connectors.Modifier)
	require.NoError(t, m.Modify(t.Context(), insertPairs("k", 1)))
	require.NoError(t, m.Modify(t.Context(), insertPairs("k", 1)))
	var e *connectors.Error
	require.ErrorAs(t, m.Modify(t.Context(), insertPairs("k", 2)), &e)
	assert.Equal(t, connectors.Conflict, e.Class)
	assert.InDelta(t, 1, table.Describe().Rows, 0)

	// Without the knob the second is a duplicate.
	plain := open(t, pairs(map[string]string{"store": "s"})).(connectors.Modifier)
	require.NoError(t, plain.Modify(t.Context(), insertPairs("k", 1)))
	b := insertPairs("k", 1)
	require.NoError(t, plain.Modify(t.Context(), b))
	assert.Equal(t, connectors.UniqueViolation, b.Results[0].Err.Class)
}
