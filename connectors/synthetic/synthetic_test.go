package synthetic_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/synthetic"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// typical is the table of thirteen columns that benchmarks read.
func typical(options map[string]string) connectors.TableSpec {
	spec := connectors.TableSpec{Schema: "public", Name: "sequence", Options: options}
	for _, c := range []struct {
		name string
		kind pushdown.Kind
	}{
		{"id", pushdown.Int8}, {"quantity", pushdown.Int4}, {"score", pushdown.Float8}, {"amount", pushdown.Numeric},
		{"email", pushdown.Text}, {"first_name", pushdown.Text}, {"last_name", pushdown.Text}, {"city", pushdown.Text},
		{"active", pushdown.Bool}, {"birthday", pushdown.Date}, {"created", pushdown.TimestampTZ}, {"token", pushdown.UUID},
		{"rank", pushdown.Int2},
	} {
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: c.name, Type: pushdown.Type{Kind: c.kind}})
	}
	return spec
}

func open(tb testing.TB, spec connectors.TableSpec) connectors.Table {
	tb.Helper()
	src, err := synthetic.New().Open(context.Background(), connectors.Env{}, connectors.ServerSpec{Options: map[string]string{"connector": "synthetic"}})
	require.NoError(tb, err)
	t, err := src.Table(context.Background(), spec)
	require.NoError(tb, err)
	return t
}

func all(spec connectors.TableSpec) []int {
	var list []int
	for i := range spec.Columns {
		list = append(list, i)
	}
	return list
}

// read scans the columns of q into values.
func read(ctx context.Context, t *testing.T, table connectors.Table, spec connectors.TableSpec, q connectors.Query) ([][]pushdown.Value, *connectors.Stats, error) {
	t.Helper()
	types := make([]pushdown.Type, len(q.Columns))
	for i, c := range q.Columns {
		types[i] = spec.Columns[c].Type
	}
	q.Stats = &connectors.Stats{}
	var list [][]pushdown.Value
	out := rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		list = append(list, got...)
		return err
	}, rows.Options{})
	_, err := table.Scan(ctx, q, out)
	return list, q.Stats, err
}

func key(v any) *pushdown.Comparison {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{},
		Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Int8}, Known: true, Value: pushdown.Value{V: v}}}
}

func TestScan_SameSeedSameRows(t *testing.T) {
	first := typical(map[string]string{"rows": "50", "seed": "7"})
	a, _, err := read(t.Context(), t, open(t, first), first, connectors.Query{Request: pushdown.Request{Columns: all(first)}})
	require.NoError(t, err)
	require.Len(t, a, 50)
	b, _, err := read(t.Context(), t, open(t, first), first, connectors.Query{Request: pushdown.Request{Columns: all(first)}})
	require.NoError(t, err)
	require.Equal(t, a, b)
	other := typical(map[string]string{"rows": "50", "seed": "8"})
	c, _, err := read(t.Context(), t, open(t, other), other, connectors.Query{Request: pushdown.Request{Columns: all(other)}})
	require.NoError(t, err)
	require.NotEqual(t, a, c)
	// A column's values do not depend on which others are read.
	d, _, err := read(t.Context(), t, open(t, first), first, connectors.Query{Request: pushdown.Request{Columns: []int{4}}})
	require.NoError(t, err)
	for i := range a {
		require.Equal(t, a[i][4], d[i][0])
	}
}

func TestScan_KeyLookupTouchesOneRow(t *testing.T) {
	// A scan of a million million rows would not end.
	spec := typical(map[string]string{"rows": "1000000000000"})
	table := open(t, spec)
	got, stats, err := read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{
		Columns: []int{0, 4}, Conjuncts: []pushdown.Expr{key(int64(999_999_999_999))}}})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, int64(999_999_999_999), got[0][0].V)
	require.EqualValues(t, 1, stats.Calls.Load())
	for _, missing := range []any{int64(0), int64(-1), int64(1000000000001), nil} {
		got, _, err = read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{
			Columns: []int{0}, Conjuncts: []pushdown.Expr{key(missing)}}})
		require.NoError(t, err)
		require.Empty(t, got)
	}
	got, _, err = read(t.Context(), t, table, spec, connectors.Query{Limit: 3, Request: pushdown.Request{Columns: []int{0}}})
	require.NoError(t, err)
	require.Len(t, got, 3)
}

func TestScan_OrderByKeySortsNothing(t *testing.T) {
	spec := typical(map[string]string{"rows": "1000000000000"})
	table := open(t, spec)
	for _, descending := range []bool{false, true} {
		got, _, err := read(t.Context(), t, table, spec, connectors.Query{Limit: 2, Request: pushdown.Request{Columns: []int{0}},
			Ordering: pushdown.Ordering{{Column: 0, Descending: descending}, {Column: 4}}})
		require.NoError(t, err)
		want := [][]pushdown.Value{{{V: int64(1)}}, {{V: int64(2)}}}
		if descending {
			want = [][]pushdown.Value{{{V: int64(1000000000000)}}, {{V: int64(999999999999)}}}
		}
		require.Equal(t, want, got)
	}
}

func TestStore_WritesAndScansAtOnce(t *testing.T) {
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	spec := connectors.TableSpec{Name: "busy", Options: map[string]string{"store": "busy"}, Columns: []connectors.ColumnSpec{
		{Name: "id", Type: pushdown.Type{Kind: pushdown.Int8}}, {Name: "n", Type: pushdown.Type{Kind: pushdown.Int8}}}}
	var wg sync.WaitGroup
	for w := range 4 {
		table, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		wg.Go(func() {
			m := table.(connectors.Modifier)
			for i := range 200 {
				id := pushdown.Value{V: int64(w*1000 + i)}
				for _, b := range []*connectors.Batch{
					{Op: connectors.Insert, Columns: []int{0, 1}, Rows: []connectors.Row{{Values: []pushdown.Value{id, id}}}},
					{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{1}, Rows: []connectors.Row{{Key: []pushdown.Value{id}, Values: []pushdown.Value{{}}}}},
					{Op: connectors.Delete, KeyColumns: []int{0}, Rows: []connectors.Row{{Key: []pushdown.Value{id}}}},
				} {
					b.Stats = &connectors.Stats{}
					if err := m.Modify(context.Background(), b); err != nil || b.Results[0].Outcome != connectors.Applied {
						t.Errorf("writing: %v, %v", err, b.Results)
						return
					}
				}
				table.Plan(pushdown.Request{Conjuncts: []pushdown.Expr{key(id.V)}})
				out := rows.NewBuilder([]pushdown.Type{spec.Columns[0].Type, spec.Columns[1].Type}, func([]byte, int) error { return nil }, rows.Options{})
				q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: []int{0, 1}}}
				if _, err := table.Scan(context.Background(), q, out); err != nil {
					t.Errorf("scanning: %v", err)
				}
			}
		})
	}
	wg.Wait()
	table, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	require.Zero(t, table.Describe().Rows)
}

func TestScan_ErrorAtPage(t *testing.T) {
	spec := typical(map[string]string{"rows": "100", "page_rows": "10", "error_at_page": "3", "error": "rate_limited"})
	got, stats, err := read(t.Context(), t, open(t, spec), spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.RateLimited, e.Class)
	require.Equal(t, "[Synthetic]: page 3 failed", e.Error())
	require.Len(t, got, 20, "the pages before arrive")
	require.EqualValues(t, 2, stats.Pages.Load())
}

func TestScan_HangAtPageEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := typical(map[string]string{"rows": "100", "page_rows": "10", "hang_at_page": "2"})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		got, _, err := read(ctx, t, open(t, spec), spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, got, 10)
		require.Equal(t, 50*time.Millisecond, time.Since(start))
	})
}

func TestScan_PanicAtPage(t *testing.T) {
	spec := typical(map[string]string{"panic_at_page": "1"})
	require.PanicsWithValue(t, "synthetic: panic_at_page 1", func() {
		_, _, _ = read(t.Context(), t, open(t, spec), spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	})
}

func TestScan_LatencyIsWaitedForEachPage(t *testing.T) {
	spec := typical(map[string]string{"rows": "40", "page_rows": "10", "latency": "5ms"})
	start := time.Now()
	got, stats, err := read(t.Context(), t, open(t, spec), spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	require.NoError(t, err)
	require.Len(t, got, 40)
	require.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	require.EqualValues(t, 4, stats.Pages.Load())
	require.GreaterOrEqual(t, stats.APIMicros.Load(), uint64(20000))
}

func TestScan_WidthAndSample(t *testing.T) {
	spec := typical(map[string]string{"rows": "1000", "width": "5000"})
	table := open(t, spec)
	got, _, err := read(t.Context(), t, table, spec, connectors.Query{Sample: 100, Request: pushdown.Request{Columns: []int{4}}})
	require.NoError(t, err)
	require.Len(t, got, 100)
	require.GreaterOrEqual(t, len(got[0][0].V.(string)), 5000)
}

func TestOptions_BadValues(t *testing.T) {
	for name, c := range map[string]struct {
		table, column map[string]string
		class         connectors.Class
		msg           string
	}{
		"rows":      {table: map[string]string{"rows": "-1"}, class: connectors.InvalidOptionValue, msg: `invalid value "-1" of option "rows"`},
		"latency":   {table: map[string]string{"latency": "5"}, class: connectors.InvalidOptionValue, msg: `invalid value "5" of option "latency"`},
		"pushdown":  {table: map[string]string{"pushdown": "all"}, class: connectors.InvalidOptionValue, msg: `invalid value "all" of option "pushdown"`},
		"error":     {table: map[string]string{"error": "boom"}, class: connectors.InvalidOptionValue, msg: `invalid value "boom" of option "error"`},
		"nulls":     {table: map[string]string{"nulls": "1.5"}, class: connectors.InvalidOptionValue, msg: `invalid value "1.5" of option "nulls"`},
		"object":    {table: map[string]string{"object": "contacts"}, class: connectors.InvalidSchema, msg: `there is no object "contacts"`},
		"both":      {table: map[string]string{"object": "sequence", "store": "x"}, class: connectors.InvalidOptionValue, msg: `table "sequence" has the options object "sequence" and store`},
		"generator": {column: map[string]string{"generator": "fancy"}, class: connectors.InvalidOptionValue, msg: `invalid value "fancy" of option "generator" of column "city"`},
		"distinct":  {column: map[string]string{"distinct": "many"}, class: connectors.InvalidOptionValue, msg: `invalid value "many" of option "distinct" of column "city"`},
		"key":       {column: map[string]string{"key": "perhaps"}, class: connectors.InvalidOptionValue, msg: `invalid value "perhaps" of option "key" of column "city"`},
		"check": {table: map[string]string{"store": "x"}, column: map[string]string{"check": "max:x"}, class: connectors.InvalidOptionValue,
			msg: `invalid value "max:x" of option "check" of column "city"`},
		"computed": {table: map[string]string{"store": "x"}, column: map[string]string{"computed": "now"}, class: connectors.InvalidOptionValue,
			msg: `invalid value "now" of option "computed" of column "city"`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := typical(c.table)
			spec.Columns[7].Options = c.column
			src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
			require.NoError(t, err)
			_, err = src.Table(t.Context(), spec)
			var e *connectors.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.class, e.Class)
			require.Equal(t, c.msg, e.Message)
			require.NotEmpty(t, e.Detail+e.Hint, "what to do")
			require.True(t, strings.HasSuffix(e.Detail+e.Hint, "."), "%q", e.Detail+e.Hint)
		})
	}
	_, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{Options: map[string]string{"page_rows": "0"}})
	require.ErrorContains(t, err, `invalid value "0" of option "page_rows"`)
}

func TestTable_ColumnThatCannotBeMadeUp(t *testing.T) {
	spec := typical(nil)
	spec.Columns[3].Type = pushdown.Type{Kind: pushdown.Other, Name: "inet"}
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	_, err = src.Table(t.Context(), spec)
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.InvalidColumn, e.Class)
	require.Equal(t, "amount", e.Column)
	spec.Options = map[string]string{"store": "nets"}
	_, err = src.Table(t.Context(), spec)
	require.NoError(t, err, "a store keeps any type, as text")
}

// insert writes one row of all columns into a store.
func insert(t *testing.T, table connectors.Table, values ...any) connectors.Result {
	t.Helper()
	b := &connectors.Batch{Op: connectors.Insert, Stats: &connectors.Stats{}}
	row := connectors.Row{}
	for i, v := range values {
		b.Columns = append(b.Columns, i)
		row.Values = append(row.Values, pushdown.Value{V: v})
	}
	b.Rows = []connectors.Row{row}
	require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
	return b.Results[0]
}

func TestStore_SharedByTablesAndOfferedForImport(t *testing.T) {
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	col := func(name, field string, k pushdown.Kind) connectors.ColumnSpec {
		return connectors.ColumnSpec{Name: name, Type: pushdown.Type{Kind: k}, Options: map[string]string{"field": field}}
	}
	a := connectors.TableSpec{Name: "a", Options: map[string]string{"store": "shared"},
		Columns: []connectors.ColumnSpec{col("id", "id", pushdown.Int8), col("name", "name", pushdown.Text)}}
	ta, err := src.Table(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, connectors.Applied, insert(t, ta, int64(1), "one").Outcome)
	require.Equal(t, connectors.Applied, insert(t, ta, int64(2), "two").Outcome)

	b := connectors.TableSpec{Name: "b", Options: map[string]string{"store": "shared"},
		Columns: []connectors.ColumnSpec{col("other", "name", pushdown.Text), col("extra", "extra", pushdown.Bool), col("nr", "id", pushdown.Int8)}}
	tb, err := src.Table(t.Context(), b)
	require.NoError(t, err)
	got, _, err := read(t.Context(), t, tb, b, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2}}})
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{{V: "one"}, {}, {V: int64(1)}}, {{V: "two"}, {}, {V: int64(2)}}}, got)

	c := a
	c.Columns = []connectors.ColumnSpec{col("id", "id", pushdown.Text)}
	_, err = src.Table(t.Context(), c)
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.InvalidColumn, e.Class)

	imported, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "synthetic", LimitTo: []string{"shared"}})
	require.NoError(t, err)
	require.Len(t, imported, 1)
	require.Equal(t, []connectors.ImportedColumn{{Name: "id", Type: "bigint"}, {Name: "name", Type: "text"}, {Name: "extra", Type: "boolean"}}, imported[0].Columns)
}

func TestStore_UniqueKnowsEqualFormsOfAValue(t *testing.T) {
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		t       pushdown.Type
		a, b, c any // a equals b, and c neither
	}{
		"numeric": {pushdown.Type{Kind: pushdown.Numeric}, "1.50", "1.5", "1.05"},
		"zero":    {pushdown.Type{Kind: pushdown.Numeric}, "0.00", "0", "10"},
		"ten":     {pushdown.Type{Kind: pushdown.Numeric}, "100", "100.0", "1"},
		"bpchar":  {pushdown.Type{Kind: pushdown.BPChar, Length: 4}, "a   ", "a", "b"},
		"text":    {pushdown.Type{Kind: pushdown.Text}, "a", "a", "a "},
		"bytea":   {pushdown.Type{Kind: pushdown.Bytea}, []byte{1}, []byte{1}, []byte{1, 0}},
	} {
		spec := connectors.TableSpec{Name: name, Options: map[string]string{"store": ""},
			Columns: []connectors.ColumnSpec{{Name: "v", Type: c.t, Options: map[string]string{"unique": "true"}}}}
		table, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		require.Equal(t, connectors.Applied, insert(t, table, c.a).Outcome)
		res := insert(t, table, c.b)
		require.Equal(t, connectors.Refused, res.Outcome, name)
		require.Equal(t, connectors.UniqueViolation, res.Err.Class)
		require.Equal(t, "v", res.Err.Column)
		require.Equal(t, connectors.Applied, insert(t, table, c.c).Outcome, name)
		require.Equal(t, connectors.Applied, insert(t, table, nil).Outcome, name)
		require.Equal(t, connectors.Applied, insert(t, table, nil).Outcome, "NULLs are not equal")
	}
}

func TestStore_WriteErrors(t *testing.T) {
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	for kind, c := range map[string]struct {
		class connectors.Class
		rows  int
	}{
		"unavailable": {connectors.Unavailable, 0}, "unknown_outcome": {connectors.UnknownOutcome, 1},
	} {
		spec := connectors.TableSpec{Name: kind, Options: map[string]string{"store": kind, "write_error": kind},
			Columns: []connectors.ColumnSpec{{Name: "v", Type: pushdown.Type{Kind: pushdown.Int4}}}}
		table, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		err = table.(connectors.Modifier).Modify(t.Context(), &connectors.Batch{Op: connectors.Insert, Columns: []int{0},
			Rows: []connectors.Row{{Values: []pushdown.Value{{V: int64(1)}}}}, Stats: &connectors.Stats{}})
		var e *connectors.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, c.class, e.Class)
		got, _, err := read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
		require.NoError(t, err)
		require.Len(t, got, c.rows)
	}
}

func TestStore_DeletesLeaveNoGaps(t *testing.T) {
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{})
	require.NoError(t, err)
	spec := connectors.TableSpec{Name: "gaps", Options: map[string]string{"store": "gaps"},
		Columns: []connectors.ColumnSpec{{Name: "id", Type: pushdown.Type{Kind: pushdown.Int8}}}}
	table, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	for i := range 5000 {
		require.Equal(t, connectors.Applied, insert(t, table, int64(i)).Outcome)
	}
	b := &connectors.Batch{Op: connectors.Delete, KeyColumns: []int{0}, Stats: &connectors.Stats{}}
	for i := range 4990 {
		b.Rows = append(b.Rows, connectors.Row{Key: []pushdown.Value{{V: int64(i)}}})
	}
	require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
	got, _, err := read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	require.NoError(t, err)
	require.Len(t, got, 10)
	require.Equal(t, int64(4990), got[0][0].V, "in the order of insertion")
	for _, id := range []int64{4990, 4999} {
		got, _, err = read(t.Context(), t, table, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{key(id)}}})
		require.NoError(t, err)
		require.Len(t, got, 1, "found by key after the list was closed up")
	}
}

func BenchmarkScan_AllColumns(b *testing.B) { benchmarkScan(b, 13) }

func BenchmarkScan_ThreeColumns(b *testing.B) { benchmarkScan(b, 3) }

// benchmarkScan makes and encodes 100,000 rows an iteration.
func benchmarkScan(b *testing.B, columns int) {
	spec := typical(map[string]string{"rows": "100000", "page_rows": "10000"})
	t := open(b, spec)
	types := make([]pushdown.Type, columns)
	for i := range types {
		types[i] = spec.Columns[i].Type
	}
	b.ReportAllocs()
	for b.Loop() {
		out := rows.NewBuilder(types, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
		q := connectors.Query{Request: pushdown.Request{Columns: all(spec)[:columns]}, Stats: &connectors.Stats{}}
		if _, err := t.Scan(context.Background(), q, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)*10, "ms/Mrow")
}
