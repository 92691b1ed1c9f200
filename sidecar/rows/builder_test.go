package rows_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// batch is what a test's sink was handed.
type batch struct {
	tuples []byte
	n      int
}

func collect(into *[]batch) rows.Sink {
	return func(tuples []byte, n int) error {
		*into = append(*into, batch{tuples, n})
		return nil
	}
}

// one encodes a single value and returns its bytes; nil for NULL.
func one(t pushdown.Type, give func(b *rows.Builder)) ([]byte, error) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{t}, collect(&got), rows.Options{})
	give(b)
	if err := b.EndRow(); err != nil {
		return nil, err
	}
	if err := b.Flush(); err != nil {
		return nil, err
	}
	tuple := got[0].tuples
	if n := binary.BigEndian.Uint16(tuple); n != 1 {
		return nil, fmt.Errorf("%d columns", n)
	}
	n := int32(binary.BigEndian.Uint32(tuple[2:]))
	if n < 0 {
		return nil, nil
	}
	if len(tuple) != 6+int(n) {
		return nil, fmt.Errorf("length %d in a tuple of %d bytes", n, len(tuple))
	}
	return tuple[6:], nil
}

func TestBuilder_BatchesEndAtRowsAndSizes(t *testing.T) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Text}}, collect(&got), rows.Options{First: 1000, Next: 4000})
	text := strings.Repeat("x", 94) // 100 bytes a tuple
	for range 200 {
		b.String(text)
		require.NoError(t, b.EndRow())
	}
	require.NoError(t, b.Flush())
	total := 0
	for i, g := range got {
		require.Len(t, g.tuples, g.n*100)
		total += g.n
		switch {
		case i == 0:
			require.Equal(t, 10, g.n)
		case i < len(got)-1:
			require.Equal(t, 40, g.n)
		}
	}
	require.Equal(t, 200, total)
	require.NoError(t, b.Flush(), "nothing left: the sink is not called")
	require.Len(t, got, 6)
}

func TestBuilder_RowLongerThanABatchTravelsWhole(t *testing.T) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Text}}, collect(&got), rows.Options{First: 100, Next: 100})
	for _, n := range []int{1, 1 << 20, 1} {
		b.String(strings.Repeat("y", n))
		require.NoError(t, b.EndRow())
	}
	require.NoError(t, b.Flush())
	sum := 0
	for _, g := range got {
		sum += g.n
	}
	require.Equal(t, 3, sum)
}

func TestBuilder_NoColumns(t *testing.T) {
	var got []batch
	b := rows.NewBuilder(nil, collect(&got), rows.Options{})
	for range 100000 {
		require.NoError(t, b.EndRow())
	}
	require.NoError(t, b.Flush())
	n := 0
	for _, g := range got {
		n += g.n
		require.Len(t, g.tuples, 2*g.n)
	}
	require.Equal(t, 100000, n)
}

func TestBuilder_FlushKeepsTheRowNotYetEnded(t *testing.T) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int4}, {Kind: pushdown.Text}}, collect(&got), rows.Options{})
	b.Int64(1)
	b.String("a")
	require.NoError(t, b.EndRow())
	b.Int64(2)
	require.NoError(t, b.Flush())
	b.String("b")
	require.NoError(t, b.EndRow())
	require.NoError(t, b.Flush())
	require.Len(t, got, 2)
	require.Equal(t, "\x00\x02\x00\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00\x01b", string(got[1].tuples))
}

func TestBuilder_BadValueLeavesItsRowOut(t *testing.T) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int2}, {Kind: pushdown.Int4, Name: "integer"}}, collect(&got), rows.Options{})
	b.Int64(1)
	b.Int64(1)
	require.NoError(t, b.EndRow())
	b.Int64(2)
	b.String("two")
	err := b.EndRow()
	var ce *rows.ConversionError
	require.ErrorAs(t, err, &ce)
	require.Equal(t, 1, ce.Column)
	require.Equal(t, "22P02", ce.SQLState)
	require.EqualError(t, err, `"two" cannot be a value of type integer: it is not an integer`)
	b.Int64(3)
	b.Int64(3)
	require.NoError(t, b.EndRow())
	require.NoError(t, b.Flush())
	require.Len(t, got, 1)
	require.Equal(t, 2, got[0].n)
	require.Len(t, got[0].tuples, 2*(2+6+8))
}

func TestBuilder_WrongNumberOfValues(t *testing.T) {
	var got []batch
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Bool}}, collect(&got), rows.Options{})
	require.ErrorContains(t, b.EndRow(), "after 0 of 1 values")
	for _, give := range []func(){
		b.Null, func() { b.Bool(true) }, func() { b.Int64(1) }, func() { b.Float64(1) }, func() { b.String("t") },
		func() { b.Value(pushdown.Value{V: true}) }, func() { b.Number([]byte("1")) }, func() { b.JSON([]byte("true")) },
		func() { b.Bytes(nil) }, func() { b.Micros(1) },
	} {
		b.Bool(true)
		give()
		require.ErrorContains(t, b.EndRow(), "more than 1 values")
	}
	require.NoError(t, b.Flush())
	require.Empty(t, got)
}

func TestBuilder_SinkErrorStaysAndIsReturnedAsItIs(t *testing.T) {
	calls := 0
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int8}}, func([]byte, int) error {
		calls++
		return rows.ErrStop
	}, rows.Options{First: 100})
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		b.Int64(int64(i))
		err = b.EndRow()
	}
	require.Equal(t, rows.ErrStop, err)
	b.Int64(1)
	require.Equal(t, rows.ErrStop, b.EndRow())
	require.Equal(t, rows.ErrStop, b.Flush())
	require.Equal(t, 1, calls)
}

func TestBuilder_RowPastTheBoundIsRefused(t *testing.T) {
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Text}}, collect(new([]batch)), rows.Options{MaxRow: 1000})
	b.String(strings.Repeat("z", 1000))
	var ce *rows.ConversionError
	require.ErrorAs(t, b.EndRow(), &ce)
	require.Equal(t, -1, ce.Column)
	require.Equal(t, "54000", ce.SQLState)
}

func TestBuilder_ReuseHandsOverTheSameMemory(t *testing.T) {
	var sum, batches int
	allocs := testing.AllocsPerRun(1, func() {
		b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int8}}, func(p []byte, n int) error {
			sum += n
			batches++
			return nil
		}, rows.Options{First: 4096, Next: 4096, Reuse: true})
		for i := range 100000 {
			b.Int64(int64(i))
			if b.EndRow() != nil {
				return
			}
		}
	})
	require.Greater(t, batches, 300)
	require.Less(t, allocs, 20.0)
	require.NotZero(t, sum)
}

var errSink = errors.New("sink")

func TestBuilder_FlushErrorStays(t *testing.T) {
	b := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int8}}, func([]byte, int) error { return errSink }, rows.Options{})
	b.Int64(1)
	require.NoError(t, b.EndRow())
	require.ErrorIs(t, b.Flush(), errSink)
	require.ErrorIs(t, b.Flush(), errSink)
}

// TestBuilder_TextIsCheckedAtEveryPlace puts what may not be, and what may, at
// each place of texts of each length around a word's.
func TestBuilder_TextIsCheckedAtEveryPlace(t *testing.T) {
	text := pushdown.Type{Kind: pushdown.Text}
	for n := range 40 {
		for at := range n {
			for _, c := range []struct {
				put  string
				good bool
			}{{"\x00", false}, {"\x80", false}, {"\xc3", false}, {"\xff", false}, {"ä", true}, {"\x7f", true}, {"\x01", true}, {"😀", true}} {
				s := strings.Repeat("x", at) + c.put + strings.Repeat("x", n-at-1)
				got, err := one(text, func(b *rows.Builder) { b.String(s) })
				if c.good {
					require.NoError(t, err, "%q", s)
					require.Equal(t, s, string(got))
				} else {
					require.Error(t, err, "%q", s)
				}
			}
		}
	}
}
