package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/cache"
)

const benchRows = 1_000_000

// BenchmarkFill keeps a million rows of 13 columns in the ways there are, beside
// a plain COPY BINARY of the same rows into such a table.
func BenchmarkFill(b *testing.B) {
	w := newWorld(b, cache.Config{})
	def := w.define("wide", `id int8, a int4, b int4, c int8, d float8, e numeric(12,2), f text, g text, h text, i bool, j date, k timestamptz, l varchar(20)`, 0)
	table := w.table(def)
	cols := everyColumn(def)
	all := region(b, def, cols)
	ctx := context.Background()
	var batches [][]byte
	var sizes []int
	for at := 0; at < benchRows; at += 2000 {
		var list [][]any
		for i := at; i < min(at+2000, benchRows); i++ {
			n := int64(i)
			list = append(list, []any{n, n, n * 7, n * n, float64(i) / 3, fmt.Sprintf("%d.25", i), fmt.Sprintf("name %d", i), "some text", "x@example.com", i%2 == 0,
				n % 9000, n * 1000000, "short"})
		}
		batches, sizes = append(batches, tuples(b, def, cols, list...)), append(sizes, len(list))
	}
	fillAll := func() cache.Result {
		f, err := table.Begin(ctx, all, time.Now())
		require.NoError(b, err)
		for i, t := range batches {
			require.NoError(b, f.Write(t, sizes[i]))
		}
		r, err := f.Commit(ctx)
		require.NoError(b, err)
		return r
	}
	b.Run("COPY", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w.exec("DROP TABLE IF EXISTS plain; CREATE UNLOGGED TABLE plain (LIKE %s INCLUDING ALL)", table.Name().Sanitize())
			b.StartTimer()
			stream := [][]byte{[]byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")}
			stream = append(append(stream, batches...), []byte{0xff, 0xff})
			readers := &reader{list: stream}
			_, err := w.admin.PgConn().CopyFrom(ctx, readers, "COPY plain FROM STDIN (FORMAT binary)")
			require.NoError(b, err)
		}
	})
	b.Run("empty", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w.exec("DELETE FROM hallway.cache_regions; TRUNCATE %s", table.Name().Sanitize())
			b.StartTimer()
			require.EqualValues(b, benchRows, fillAll().Inserted)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for range b.N {
			require.Zero(b, fillAll().Updated)
		}
	})
	b.Run("lookup", func(b *testing.B) {
		one := region(b, def, cols, eq(0, int8Type, int64(7)))
		row := tuples(b, def, cols, []any{int64(7), int64(7), int64(49), int64(49), 7.0 / 3, "7.25", "name 7", "some text", "x@example.com", false, int64(7), int64(7000000), "short"})
		for range b.N {
			_, err := fill(table, one, row, 1)
			require.NoError(b, err)
		}
	})
}

// reader gives byte slices one after the other.
type reader struct {
	list [][]byte
	cur  *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.cur != nil && r.cur.Len() > 0 {
			return r.cur.Read(p)
		}
		if len(r.list) == 0 {
			return 0, io.EOF
		}
		r.cur, r.list = bytes.NewReader(r.list[0]), r.list[1:]
	}
}
