// Package rows turns values into tuples of PostgreSQL's binary format, once,
// and tuples and parameters back into values. It calls nothing and knows no
// API.
//
// This file is the Builder and its fast paths; encode.go has the conversions,
// decode.go the way back.
package rows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// ErrStop is what EndRow returns when the reader wants no more rows: the
// backend has gone, or a limit is reached. A connector returns it as it is.
var ErrStop = errors.New("rows: the reader wants no more")

// Sink takes a batch of n whole tuples. It may keep the bytes unless
// Options.Reuse is set: then they are overwritten after it returns. It blocks
// while the reader is behind. Its error, ErrStop among them, is what EndRow
// and Flush return from then on.
type Sink func(tuples []byte, n int) error

// Options of a Builder; zero fields take the defaults.
type Options struct {
	// First and Next are the sizes in bytes near which the first and every
	// later batch is handed over; default 32 KiB and 256 KiB. A batch exceeds
	// its size only when a single row does.
	First, Next int
	// MaxRow bounds one tuple in bytes; default 63 MiB, so that a batch stays
	// below the 64 MiB that a backend accepts. A longer one is a
	// *ConversionError.
	MaxRow int
	// Reuse says that the Sink does not keep the bytes after it returns.
	Reuse bool
}

// Default sizes in bytes; see Options.
const (
	DefaultFirst  = 32 << 10
	DefaultNext   = 256 << 10
	DefaultMaxRow = 63 << 20
)

// Builder builds tuples of a fixed list of columns and hands them to a Sink in
// batches. For each row call one value method for each column in order, then
// EndRow; call Flush before waiting for more rows and at the end.
//
// Every value method takes any value that the column's type can hold without
// loss: Int64 may fill a numeric or text column, Text a timestamp one. A value
// that does not fit makes EndRow return a *ConversionError; the row is then
// left out and the Builder can go on. The methods keep no reference to what
// they are given. Not safe for concurrent use.
type Builder struct {
	cols []column // one a column, then a sentinel of kind 0
	sink Sink
	opts Options

	// buf[:pos] is what was encoded; buf is kept at its full length so that
	// the fast paths store no slice headers.
	buf  []byte
	pos  int
	row  int   // where the current row begins in buf
	col  int   // column that the next value is for
	n    int   // whole rows in buf
	full int   // batches handed over because they were full
	want int   // size of the current batch
	err  error // first failure in the current row
	dead error // what the sink returned
}

// NewBuilder makes a Builder for columns of the given types, which may be none
// (tuples without columns, for count(*)) and at most 1600.
func NewBuilder(types []pushdown.Type, sink Sink, opts Options) *Builder {
	if opts.First <= 0 {
		opts.First = DefaultFirst
	}
	if opts.Next <= 0 {
		opts.Next = DefaultNext
	}
	if opts.MaxRow <= 0 {
		opts.MaxRow = DefaultMaxRow
	}
	b := &Builder{sink: sink, opts: opts, cols: make([]column, len(types)+1), want: opts.First}
	for i := range types {
		b.cols[i] = newColumn(types[i])
	}
	b.buf = make([]byte, firstRoom)
	b.start()
	return b
}

const (
	// firstRoom is where the first batch begins: many scans return one row.
	firstRoom = 2 << 10
	// slack is room past a batch's size, so that a last row that is longer
	// than the one before seldom makes the buffer grow.
	slack = 2 << 10
)

// Columns is the number of columns of a row.
func (b *Builder) Columns() int { return len(b.cols) - 1 }

// Type of column i.
func (b *Builder) Type(i int) pushdown.Type { return b.cols[i].t }

// Column is the position of the column that the next value is for.
func (b *Builder) Column() int { return b.col }

// room returns the next n bytes of buf, to be written over, and counts them.
func (b *Builder) room(n int) []byte {
	b.pos += n
	if b.pos > len(b.buf) {
		b.grow(n)
	}
	return b.buf[b.pos-n:]
}

// grow makes buf long enough for pos, which n bytes more were just added to.
// It is kept out of room, so that room can be inlined.
//
//go:noinline
func (b *Builder) grow(n int) {
	bigger := make([]byte, max(2*len(b.buf), b.pos, 256))
	copy(bigger, b.buf[:b.pos-n])
	b.buf = bigger
}

func (b *Builder) start() {
	b.row, b.col = b.pos, 0
	n := len(b.cols) - 1
	binary.BigEndian.PutUint16(b.room(2), uint16(n))
}

// EndRow ends the current row. When the batch is full it goes to the Sink. The
// error is a *ConversionError (of the first value that did not fit), the
// Sink's error, or says that the number of values was wrong.
func (b *Builder) EndRow() error {
	size := b.pos - b.row
	if b.err != nil || b.dead != nil || b.col != len(b.cols)-1 || size > b.opts.MaxRow {
		return b.badRow(size)
	}
	b.n++
	if b.n == 1 && b.full > 0 && len(b.buf) < b.want {
		// A second batch has begun: it will be a long scan.
		bigger := make([]byte, b.want+slack)
		copy(bigger, b.buf[:b.pos])
		b.buf = bigger
	}
	// The next row is expected to be as long as this one.
	if b.pos+size > b.want {
		b.full++
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.start()
	return nil
}

func (b *Builder) badRow(size int) error {
	err := b.dead
	switch {
	case err != nil:
	case b.err != nil:
		err = b.err
	case b.col != len(b.cols)-1:
		err = fmt.Errorf("rows: a row ended after %d of %d values", b.col, len(b.cols)-1)
	default:
		err = &ConversionError{Column: -1, SQLState: stateTooBig,
			Reason: fmt.Sprintf("a row of %d bytes is longer than the limit of %d", size, b.opts.MaxRow)}
	}
	b.Discard()
	return err
}

// Discard forgets the values given since the last EndRow.
func (b *Builder) Discard() {
	b.pos = b.row
	b.err = nil
	b.start()
}

// Tuple gives a whole row that was encoded before, for the same columns, in place
// of values and EndRow. Values given since the last EndRow are forgotten.
func (b *Builder) Tuple(tuple []byte) error {
	b.Discard()
	b.pos = b.row
	copy(b.room(len(tuple)), tuple)
	b.col = len(b.cols) - 1
	return b.EndRow()
}

// Flush hands all whole rows to the Sink, which is not called if there are
// none. Values of a row not yet ended are kept.
func (b *Builder) Flush() error {
	if b.dead != nil || b.n == 0 {
		return b.dead
	}
	part := append([]byte(nil), b.buf[b.row:b.pos]...)
	b.pos = b.row
	err := b.flush()
	copy(b.room(len(part)), part)
	b.row = 0
	return err
}

// flush hands over buf, which holds whole rows only, and begins anew.
func (b *Builder) flush() error {
	full, n := b.buf[:b.pos:b.pos], b.n
	b.pos, b.row, b.n, b.want = 0, 0, 0, b.opts.Next
	b.dead = b.sink(full, n)
	if !b.opts.Reuse || len(b.buf) > 4*(b.want+slack) {
		b.buf = nil
	}
	if b.dead != nil {
		b.start()
	}
	return b.dead
}

// Null gives SQL's NULL.
func (b *Builder) Null() {
	if b.col == len(b.cols)-1 {
		b.tooMany()
		return
	}
	binary.BigEndian.PutUint32(b.room(4), math.MaxUint32)
	b.col++
}

// Bool gives a boolean; text and JSON columns take it as true or false.
func (b *Builder) Bool(v bool) {
	c := &b.cols[b.col]
	if c.kind != pushdown.Bool {
		b.slowBool(c, v)
		return
	}
	p := b.room(5)
	binary.BigEndian.PutUint32(p, 1)
	p[4] = 0
	if v {
		p[4] = 1
	}
	b.col++
}

// Int64 gives an integer. Columns of floats take it if they hold it exactly,
// boolean ones if it is 0 or 1; dates and times do not.
func (b *Builder) Int64(v int64) {
	c := &b.cols[b.col]
	switch {
	case c.kind == pushdown.Int8:
		b.put8(uint64(v))
	case c.kind == pushdown.Int4 && int64(int32(v)) == v:
		p := b.room(8)
		binary.BigEndian.PutUint64(p, 4<<32|uint64(uint32(v)))
	case c.kind == pushdown.Int2 && int64(int16(v)) == v:
		p := b.room(6)
		binary.BigEndian.PutUint32(p, 2)
		binary.BigEndian.PutUint16(p[4:], uint16(v))
	default:
		b.slowInt64(c, v)
		return
	}
	b.col++
}

// put8 adds a value of eight bytes.
func (b *Builder) put8(u uint64) {
	p := b.room(12)
	binary.BigEndian.PutUint32(p, 8)
	binary.BigEndian.PutUint64(p[4:], u)
}

// Float64 gives a float. Integer columns take it if it is integral; float4
// rounds to the nearest, as a cast does.
func (b *Builder) Float64(v float64) {
	c := &b.cols[b.col]
	if c.kind != pushdown.Float8 {
		b.slowFloat64(c, v)
		return
	}
	b.put8(float64Bits(v))
	b.col++
}

// Decimal gives unscaled / 10^scale, with scale from 0 to 18: the cheapest way
// to fill a numeric column.
func (b *Builder) Decimal(unscaled int64, scale int) {
	c := &b.cols[b.col]
	if c.kind == pushdown.Numeric && c.t.Precision == 0 && uint(scale) <= 18 {
		p := b.room(4 + maxScaled)
		n := putScaled(p[4:], unscaled, scale)
		binary.BigEndian.PutUint32(p, uint32(n))
		b.pos -= maxScaled - n
		b.col++
		return
	}
	if uint(scale) > 18 {
		panic("rows: Decimal with scale " + strconv.Itoa(scale))
	}
	var a [40]byte
	b.Number(appendScaledText(a[:0], unscaled, scale))
}

// Text gives text, which is parsed into the column's type as its input function
// would; encode.go has the details. It must be UTF-8 without NUL.
func (b *Builder) Text(s []byte) {
	c := &b.cols[b.col]
	if c.kind != pushdown.Text || !validText(s) {
		b.slowText(c, s)
		return
	}
	p := b.room(4 + len(s))
	binary.BigEndian.PutUint32(p, uint32(len(s)))
	copy(p[4:], s)
	b.col++
}

// String is Text for a string.
func (b *Builder) String(s string) { b.Text(unsafe.Slice(unsafe.StringData(s), len(s))) }

// Number gives a number as JSON or SQL writes it, without going through a
// float: 12345678901234567890.10 fills a numeric column as it is, 1e3 an
// integer one.
func (b *Builder) Number(s []byte) {
	c := &b.cols[b.col]
	b.finish(c, s, asNumber)
}

// Bytes gives raw bytes, for bytea columns, uuid ones (16 bytes), and text
// ones if they are UTF-8.
func (b *Builder) Bytes(v []byte) {
	c := &b.cols[b.col]
	if c.kind == pushdown.UUID && len(v) == 16 {
		p := b.room(20)
		binary.BigEndian.PutUint32(p, 16)
		copy(p[4:], v)
		b.col++
		return
	}
	b.finish(c, v, asBytes)
}

// JSON gives a JSON value of any kind as the API wrote it: json and jsonb
// columns take it as it is, text ones a string's content and anything else's
// JSON text, array columns an array's elements; null is NULL (use Text to put
// a JSON null into a json column).
func (b *Builder) JSON(raw []byte) {
	c := &b.cols[b.col]
	if isJSONNull(raw) {
		b.Null()
		return
	}
	b.finish(c, raw, asJSON)
}

// Time gives a point in time. timestamptz takes the instant, timestamp its
// date and clock in UTC, date its date if the clock (in t's own zone) stands
// at midnight. Fractions are rounded to microseconds.
func (b *Builder) Time(t time.Time) {
	c := &b.cols[b.col]
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendTime(b.tail(), t)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, t.Format(time.RFC3339Nano))
	}
}

// Micros gives microseconds since 2000-01-01 00:00 (UTC for timestamptz) to a
// timestamp or timestamptz column, or days since 2000-01-01 to a date column,
// or microseconds since midnight to a time column: the cheapest way to fill
// them. math.MinInt64 and math.MaxInt64 are -infinity and infinity.
func (b *Builder) Micros(v int64) {
	c := &b.cols[b.col]
	if (c.kind == pushdown.Timestamp || c.kind == pushdown.TimestampTZ) && v >= minTimestamp && v < endTimestamp {
		b.put8(uint64(v))
		b.col++
		return
	}
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendMicros(b.tail(), v)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, strconv.FormatInt(v, 10))
	}
}

// Value gives a value of the column's own type, in the form that
// pushdown.Value describes for its kind.
func (b *Builder) Value(v pushdown.Value) {
	c := &b.cols[b.col]
	if v.V == nil {
		b.Null()
		return
	}
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendValue(b.tail(), v)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, shorten([]byte(fmt.Sprint(v.V))))
	}
}

func (b *Builder) slowBool(c *column, v bool) {
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendBool(b.tail(), v)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, strconv.FormatBool(v))
	}
}

func (b *Builder) slowInt64(c *column, v int64) {
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendInt(b.tail(), v)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, strconv.FormatInt(v, 10))
	}
}

func (b *Builder) slowFloat64(c *column, v float64) {
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst, p := c.appendFloat(b.tail(), v)
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, strconv.FormatFloat(v, 'g', -1, 64))
	}
}

func (b *Builder) slowText(c *column, s []byte) { b.finish(c, s, asText) }

// What the bytes given to finish are.
type form uint8

const (
	asText form = iota
	asNumber
	asBytes
	asJSON
)

func (b *Builder) finish(c *column, s []byte, f form) {
	if c.kind == 0 {
		b.tooMany()
		return
	}
	dst := b.tail()
	var p *problem
	switch f {
	case asText:
		dst, p = c.appendText(dst, s)
	case asNumber:
		dst, p = c.appendNumber(dst, s)
	case asBytes:
		dst, p = c.appendBytes(dst, s)
	case asJSON:
		dst, p = c.appendJSON(dst, s)
	}
	if p = b.end(dst, p); p != nil {
		b.fail(c, p, shorten(s))
	}
}

// tail is where a slow path appends a value, after room for its length; end
// takes what it made.
func (b *Builder) tail() []byte {
	b.room(4)
	return b.buf[:b.pos]
}

func (b *Builder) end(dst []byte, p *problem) *problem {
	mark := b.pos
	b.col++
	n := len(dst) - mark
	if p == nil && n > maxValue {
		p = problemf(stateTooBig, "%d bytes are longer than a value may be", n)
	}
	if p != nil {
		return p
	}
	binary.BigEndian.PutUint32(dst[mark-4:], uint32(n))
	b.buf = dst[:cap(dst)]
	b.pos = len(dst)
	return nil
}

// fail notes the row's first failure; end has moved on to the next column.
func (b *Builder) fail(c *column, p *problem, value string) {
	if b.err == nil {
		b.err = &ConversionError{Column: b.col - 1, Type: c.t, SQLState: p.state, Reason: p.text, Value: value}
	}
}

func (b *Builder) tooMany() {
	if b.err == nil {
		b.err = fmt.Errorf("rows: a row has more than %d values", len(b.cols)-1)
	}
}
