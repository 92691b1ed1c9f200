// How messages become bytes: as everywhere in gRPC, but for row batches. gRPC's
// own way zeroes a buffer of a whole size class before it copies a batch there,
// which was half the cost of sending one; here a batch is copied once, into a
// buffer that is used again as it is.

package bridge

import (
	"sync"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// codec is gRPC's proto codec with a short way for row batches.
type codec struct {
	encoding.CodecV2
	pool *batchPool
}

func newCodec() codec {
	return codec{CodecV2: encoding.GetCodecV2("proto"), pool: &batchPool{}}
}

// Field numbers of the messages, as in hallway.proto.
const (
	fieldBatch  = 2 // ScanResponse.batch
	fieldTuples = 1 // RowBatch.tuples
	fieldRows   = 2 // RowBatch.rows
)

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*hallwayv1.ScanResponse)
	if !ok {
		return c.CodecV2.Marshal(v) //nolint:wrapcheck // a codec's own
	}
	b, ok := m.GetMessage().(*hallwayv1.ScanResponse_Batch)
	if !ok || len(b.Batch.ProtoReflect().GetUnknown()) > 0 || len(m.ProtoReflect().GetUnknown()) > 0 {
		return c.CodecV2.Marshal(v) //nolint:wrapcheck // a codec's own
	}
	tuples, rows := b.Batch.GetTuples(), b.Batch.GetRows()
	inner := 0
	if len(tuples) > 0 {
		inner += protowire.SizeTag(fieldTuples) + protowire.SizeBytes(len(tuples))
	}
	if rows > 0 {
		inner += protowire.SizeTag(fieldRows) + protowire.SizeVarint(uint64(rows))
	}
	buf := c.pool.Get(protowire.SizeTag(fieldBatch) + protowire.SizeBytes(inner))
	out := (*buf)[:0]
	out = protowire.AppendTag(out, fieldBatch, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(inner))
	if len(tuples) > 0 {
		out = protowire.AppendTag(out, fieldTuples, protowire.BytesType)
		out = protowire.AppendBytes(out, tuples)
	}
	if rows > 0 {
		out = protowire.AppendTag(out, fieldRows, protowire.VarintType)
		out = protowire.AppendVarint(out, uint64(rows))
	}
	*buf = out
	return mem.BufferSlice{mem.NewBuffer(buf, c.pool)}, nil
}

// batchPool keeps buffers of batches, never zeroed: each is overwritten before
// it is read. Larger ones, for rows longer than a batch, are left to the
// garbage collector.
type batchPool struct{ p sync.Pool }

// pooledBatch is the capacity of kept buffers: a batch with what is around it.
const pooledBatch = 256<<10 + 4<<10

// smallBatch and less is not worth a pooled buffer.
const smallBatch = 8 << 10

func (p *batchPool) Get(n int) *[]byte {
	if n <= pooledBatch && n > smallBatch {
		if b, ok := p.p.Get().(*[]byte); ok {
			*b = (*b)[:n]
			return b
		}
		b := make([]byte, n, pooledBatch)
		return &b
	}
	b := make([]byte, n)
	return &b
}

func (p *batchPool) Put(b *[]byte) {
	if cap(*b) == pooledBatch {
		p.p.Put(b)
	}
}
