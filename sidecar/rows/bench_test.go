package rows_test

import (
	"syscall"
	"testing"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// A row of thirteen columns, as a typical CRM object has.
var typicalTypes = []pushdown.Type{
	{Kind: pushdown.Int8}, {Kind: pushdown.Int4}, {Kind: pushdown.Float8}, {Kind: pushdown.Numeric},
	{Kind: pushdown.Text}, {Kind: pushdown.Text}, {Kind: pushdown.Text}, {Kind: pushdown.Text},
	{Kind: pushdown.Bool}, {Kind: pushdown.Date}, {Kind: pushdown.TimestampTZ}, {Kind: pushdown.UUID}, {Kind: pushdown.Int2},
}

// BenchmarkBuilder_Typical encodes rows from native values; BenchmarkBuilder_Parsed
// from the texts that a JSON API sends.
func BenchmarkBuilder_Typical(b *testing.B) {
	out := rows.NewBuilder(typicalTypes, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
	uuid := []byte("0123456789abcdef")
	amount := []byte("12345.67")
	b.ReportAllocs()
	start := cpu()
	for i := 0; b.Loop(); i++ {
		out.Int64(int64(i))
		out.Int64(int64(i & 0xffff))
		out.Float64(float64(i) * 1.5)
		out.Number(amount)
		out.String("andrea.muster@example.com")
		out.String("Andrea")
		out.String("Muster")
		out.String("Winterthur, Switzerland")
		out.Bool(i&1 == 0)
		out.Micros(int64(i & 0xfff))
		out.Micros(int64(i) * 1_000_000)
		out.Bytes(uuid)
		out.Int64(int64(i & 0xff))
		if err := out.EndRow(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-start)/float64(b.N)*1e9, "cpu-ms/Mrow")
}

func BenchmarkBuilder_Parsed(b *testing.B) {
	out := rows.NewBuilder(typicalTypes, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
	values := []string{"123456789", "4321", "98.5", "12345.67", "andrea.muster@example.com", "Andrea", "Muster",
		"Winterthur, Switzerland", "true", "2024-02-29", "2024-02-29 10:11:12.345Z", "0123e456-7890-abcd-ef01-23456789abcd", "17"}
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		for _, v := range values {
			out.String(v)
		}
		if err := out.EndRow(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-start)/float64(b.N)*1e9, "cpu-ms/Mrow")
}

// cpu is the processor time of this process in seconds, which a busy machine
// disturbs less than the clock.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
