package bridge

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// The short way must give the very bytes that protobuf gives.
func TestCodec_BatchesAreWhatProtobufSays(t *testing.T) {
	c := newCodec()
	batch := func(tuples []byte, rows uint32) *hallwayv1.ScanResponse {
		return &hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Batch{Batch: &hallwayv1.RowBatch{Tuples: tuples, Rows: rows}}}
	}
	unknown := batch([]byte("x"), 1)
	unknown.GetBatch().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7))
	for _, m := range []*hallwayv1.ScanResponse{
		batch(nil, 0), batch([]byte{1}, 0), batch(nil, 300), batch([]byte("abc"), 1), unknown,
		batch(bytes.Repeat([]byte{7}, smallBatch), 9), batch(bytes.Repeat([]byte{8}, 256<<10), 1<<20),
		batch(bytes.Repeat([]byte{9}, 256<<10), 1), batch(bytes.Repeat([]byte{1}, 3<<20), 1),
		{}, {Message: &hallwayv1.ScanResponse_Header{Header: &hallwayv1.ScanHeader{Request: "GET /"}}},
	} {
		want, err := proto.Marshal(m)
		require.NoError(t, err)
		for range 2 { // with a used buffer too
			got, err := c.Marshal(m)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got.Materialize()), "%d tuple bytes", len(m.GetBatch().GetTuples()))
			got.Free()
		}
	}
	assert.Equal(t, "proto", c.Name(), "clients ask for no other")
}

func BenchmarkCodec_Batch(b *testing.B) {
	c := newCodec()
	m := &hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Batch{Batch: &hallwayv1.RowBatch{Tuples: make([]byte, 256<<10), Rows: 1000}}}
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			data, err := c.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			data.Free()
		}
	})
	b.Run("grpc's", func(b *testing.B) {
		for b.Loop() {
			data, err := c.CodecV2.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			data.Free()
		}
	})
}
