package synthetic_test

import (
	"context"
	"testing"

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
		out := rows.NewBuilder(types, func([]byte, int) error { return nil }, rows.Options{})
		q := connectors.Query{Request: pushdown.Request{Columns: all(spec)[:columns]}, Stats: &connectors.Stats{}}
		if _, err := t.Scan(context.Background(), q, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)*10, "ms/Mrow")
}
