// Command seeds writes the corpus that the fuzz target starts from: one valid
// input for each table and mode of fuzz.c, which mutation then breaks.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// Positions in fuzz.c: its tables, and its modes.
const (
	allKinds = iota
	noColumns
	oneText
	short
	arrays
	domains
	numerics
)

const (
	modeTuples = iota
	modeMessage
	modeFrames
	modeError
	modeStatus
)

const (
	latin1     = 0x80
	oidInt4    = 23
	oidText    = 25
	oidNumeric = 1700
	oidDomain  = 90002
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: seeds DIRECTORY")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the corpus: %w", err)
	}
	for name, seed := range seeds() {
		if err := os.WriteFile(filepath.Join(dir, name), seed, 0o644); err != nil {
			return fmt.Errorf("writing a seed: %w", err)
		}
	}
	return nil
}

func seeds() map[string][]byte {
	tuples := map[int][]byte{
		allKinds: row(
			[]byte{1}, be16(-2), be32(42), be64(1<<40), be32(0x3f800000), be64(0x3ff8000000000000),
			numeric(0, 0, 2, 1, 2345, 6700), numeric(0, 0x4000, 2, 99, 5000), []byte("Grüße 😀"), []byte("abcde"),
			[]byte("ab"), be32(8000), be64(86_399_000_000), be64(700_000_000_000_000), be64(-1),
			make([]byte, 16), []byte(`{"a":1}`), append([]byte{1}, `[1,null]`...), []byte{0, 255, 0},
			[]byte("happy"), []byte("1 day")),
		noColumns: row(),
		oneText:   append(row([]byte("short")), row(nil)...),
		short:     append(row(be64(7), []byte("a text of more than eight bytes"), make([]byte, 16)), row(nil, nil, nil)...),
		arrays: row(
			array(oidInt4, []int32{2, 2}, be32(1), be32(2), nil, be32(4)),
			array(oidText, []int32{3}, []byte("a"), []byte("ü"), []byte("")),
			array(oidNumeric, []int32{1}, numeric(1, 0, 0, 7)),
			array(oidDomain, []int32{1}, []byte("x"))),
		domains:  row([]byte("y"), numeric(0, 0, 0), []byte("bytes")),
		numerics: append(row(numeric(0, 0, 1, 5, 1000), numeric(-1, 0, 3, 1230)), row(numeric(0, 0xC000, 0), nil)...),
	}
	rows := map[int]byte{allKinds: 1, noColumns: 1, oneText: 2, short: 2, arrays: 1, domains: 1, numerics: 2}

	out := map[string][]byte{}
	for table, data := range tuples {
		n := rows[table]
		out[fmt.Sprintf("tuples-%d", table)] = append([]byte{byte(table), modeTuples, n}, data...)
		out[fmt.Sprintf("latin1-%d", table)] = append([]byte{byte(table), modeTuples | latin1, n}, data...)

		batch := message(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Batch{
			Batch: &hallwayv1.RowBatch{Tuples: data, Rows: uint32(n)}}})
		out[fmt.Sprintf("message-%d", table)] = append([]byte{byte(table), modeMessage, 0}, batch...)

		header := message(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Header{
			Header: &hallwayv1.ScanHeader{Recheck: []uint32{1}, RequestId: "r"}}})
		footer := message(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Footer{
			Footer: &hallwayv1.ScanFooter{Warnings: []string{"w"}}}})
		frames := frame(header)
		frames = append(frames, frame(batch)...)
		frames = append(frames, frame(footer)...)
		out[fmt.Sprintf("frames-%d", table)] = append([]byte{byte(table), modeFrames, 3}, frames...)
	}

	detail, err := anypb.New(&hallwayv1.Error{Sqlstate: "23514", Message: "[CRM]: schlecht ü", Detail: "d",
		Hint: "h", ColumnName: "email", RequestId: "r", Row: 3})
	if err != nil {
		log.Fatal(err)
	}
	details := base64.RawStdEncoding.EncodeToString(message(&status.Status{Code: 3, Details: []*anypb.Any{detail}}))
	out["error"] = append([]byte{0, modeError, 0}, details...)
	out["error-latin1"] = append([]byte{0, modeError | latin1, 0}, details...)
	out["status"] = append([]byte{0, modeStatus, 0}, "t%C3%A4xt %2 %zz %00"...)
	return out
}

// row is a tuple; a nil value is NULL.
func row(values ...[]byte) []byte {
	return fields(be16(int16(len(values))), values)
}

func fields(b []byte, values [][]byte) []byte {
	for _, v := range values {
		if v == nil {
			b = append(b, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

func array(element uint32, dims []int32, items ...[]byte) []byte {
	b := be32(int32(len(dims)))
	b = append(b, be32(1)...)
	b = binary.BigEndian.AppendUint32(b, element)
	for _, d := range dims {
		b = append(b, be32(d)...)
		b = append(b, be32(1)...)
	}
	return fields(b, items)
}

func numeric(weight int16, sign uint16, scale int16, digits ...int16) []byte {
	b := be16(int16(len(digits)))
	b = append(b, be16(weight)...)
	b = binary.BigEndian.AppendUint16(b, sign)
	b = append(b, be16(scale)...)
	for _, d := range digits {
		b = append(b, be16(d)...)
	}
	return b
}

func be16(n int16) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func be64(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func frame(message []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(b, message...)
}

func message(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		log.Fatal(err)
	}
	return b
}
