package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// prebuilt hands out batches that cost nothing to make, so that what is
// measured is the way from the connector to the socket.
func prebuilt(total int) func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
	text := string(make([]byte, 250<<10))
	return func(_ context.Context, _ connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		for range total {
			out.Bytes([]byte(text))
			if err := out.EndRow(); err != nil {
				return connectors.ScanResult{}, err
			}
		}
		return connectors.ScanResult{}, nil
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkScan_Batches sends 256 KiB batches; bytes/op are those of one batch,
// and the client in this process is part of what is counted.
func BenchmarkScan_Batches(b *testing.B) {
	f := &fake{scan: prebuilt(b.N)}
	w := start(b, f, func(c *Config) { c.Env.Log = quiet() })
	c := w.client()
	ref := things(1, func(r *hallwayv1.Relation) {
		r.Columns[1].Type = &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_BYTEA, Oid: 17}
	})
	p := planOf(b, c, &hallwayv1.PlanRequest{Relation: ref})
	b.SetBytes(250 << 10)
	b.ReportAllocs()
	began := cpu()
	b.ResetTimer()
	st, err := c.Scan(b.Context(), &hallwayv1.ScanRequest{Relation: ref, Plan: p.GetPlan(), Columns: []uint32{1}})
	require.NoError(b, err)
	for {
		if _, err := st.Recv(); err != nil {
			require.ErrorIs(b, err, io.EOF)
			break
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkScan_OneRow is a lookup: header, a row, footer.
func BenchmarkScan_OneRow(b *testing.B) {
	w := start(b, &fake{scan: numbers(1)}, func(c *Config) { c.Env.Log = quiet() })
	c := w.client()
	p := planOf(b, c, &hallwayv1.PlanRequest{Relation: things(1), Conjuncts: []*hallwayv1.Expr{idIs(0, nil)}})
	req := &hallwayv1.ScanRequest{Relation: &hallwayv1.RelationRef{Handle: 1}, Plan: p.GetPlan(), Columns: []uint32{0, 1},
		Parameters: []*hallwayv1.Value{int8Value(7)}}
	b.ReportAllocs()
	began := cpu()
	defer func() { b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-µs/op") }()
	for b.Loop() {
		st, err := c.Scan(b.Context(), req)
		require.NoError(b, err)
		for {
			if _, err := st.Recv(); err != nil {
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				break
			}
		}
	}
}

func quiet() *slog.Logger { return slog.New(LogHandler(slog.DiscardHandler)) }
