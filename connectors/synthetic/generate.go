package synthetic

// Values out of nothing: each column of each row is a function of the seed,
// the column's position and the row number.

import (
	"encoding/binary"
	"math"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// generator fills one column of the generated object.
type generator struct {
	t        pushdown.Type
	salt     uint64
	nullsTo  uint64 // hashes below it are NULL
	distinct uint64 // 0: no bound
	sequence bool
	width    int
	extremes []pushdown.Value // nil: typical values only
	packed   *[len(words)]uint64
	emit     func(g *generator, out *rows.Builder, h uint64)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// put gives the value of row (from 0) to out.
func (g *generator) put(out *rows.Builder, row int64) {
	if g.sequence {
		out.Int64(row + 1)
		return
	}
	h := mix(g.salt + uint64(row)*0xd1342543de82ef95)
	if g.nullsTo > 0 && mix(h) < g.nullsTo {
		out.Null()
		return
	}
	if g.distinct > 0 {
		h = mix(g.salt + h%g.distinct)
	}
	if g.extremes != nil && h&1 == 0 {
		out.Value(g.extremes[h>>1%uint64(len(g.extremes))])
		return
	}
	g.emit(g, out, h)
}

// words that generated text is made of, of at most eight bytes; some have
// letters of more than one.
var words = [...]string{
	"andrea", "berner", "caduff", "dubois", "egli", "frei", "gerber", "huber",
	"imhof", "joss", "keller", "lambert", "müller", "nägeli", "oberli", "pfister",
}

// packWords makes the words eight bytes each, so that one store copies one.
func packWords() *[len(words)]uint64 {
	var p [len(words)]uint64
	for i, w := range words {
		var a [8]byte
		copy(a[:], w)
		p[i] = binary.LittleEndian.Uint64(a[:])
	}
	return &p
}

const hexDigits = "0123456789abcdef"

// emitter returns what makes typical values of a type, nil if nothing does.
func emitter(t pushdown.Type) func(g *generator, out *rows.Builder, h uint64) {
	if t.Array {
		if elementValue(t, 0).IsNull() {
			return nil
		}
		return func(g *generator, out *rows.Builder, h uint64) {
			list := make([]pushdown.Value, h>>60&3)
			for i := range list {
				list[i] = elementValue(g.t, mix(h+uint64(i)))
			}
			out.Value(pushdown.Value{V: list})
		}
	}
	switch t.Kind {
	case pushdown.Bool:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Bool(h>>8&1 == 1) }
	case pushdown.Int2:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Int64(int64(h >> 8 & 0x3fff)) }
	case pushdown.Int4:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Int64(int64(h >> 8 & 0xfffff)) }
	case pushdown.Int8:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Int64(int64(h >> 24)) }
	case pushdown.Float4, pushdown.Float8:
		// Multiples of 1/8 below 2^17 are exact in both.
		return func(_ *generator, out *rows.Builder, h uint64) { out.Float64(float64(h>>8&0xfffff) / 8) }
	case pushdown.Numeric:
		if t.Precision > 0 {
			digits := min(int(t.Precision), 9)
			mod, scale := uint64(math.Pow10(digits)), int(t.Scale)
			if scale < 0 || scale > 18 {
				return func(_ *generator, out *rows.Builder, _ uint64) { out.Int64(0) }
			}
			return func(_ *generator, out *rows.Builder, h uint64) { out.Decimal(int64(h>>8%mod), scale) }
		}
		return func(_ *generator, out *rows.Builder, h uint64) { out.Decimal(int64(h>>8&0x3ffffff), 2) }
	case pushdown.Text:
		return emitText
	case pushdown.Varchar, pushdown.BPChar:
		return func(_ *generator, out *rows.Builder, h uint64) { out.String(shortText(t, h)) }
	case pushdown.Date:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Micros(5479 + int64(h>>8&0xfff)) }
	case pushdown.Time:
		return func(_ *generator, out *rows.Builder, h uint64) { out.Micros(int64(h>>8%86400) * 1_000_000) }
	case pushdown.Timestamp, pushdown.TimestampTZ:
		return func(_ *generator, out *rows.Builder, h uint64) {
			out.Micros(473385600_000000 + int64(h>>8&0xffffffffffff))
		}
	case pushdown.UUID:
		return func(_ *generator, out *rows.Builder, h uint64) {
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], h)
			binary.BigEndian.PutUint64(a[8:], h*0xbf58476d1ce4e5b9)
			out.Bytes(a[:])
		}
	case pushdown.JSON, pushdown.JSONB:
		return func(_ *generator, out *rows.Builder, h uint64) {
			var a [64]byte
			s := append(a[:0], `{"n": `...)
			s = append(s, '1'+byte(h>>8%9), '0'+byte(h>>16%10))
			s = append(s, `, "tag": "`...)
			s = append(s, words[h>>32&15]...)
			s = append(s, `"}`...)
			out.Text(s)
		}
	case pushdown.Bytea:
		return func(_ *generator, out *rows.Builder, h uint64) {
			var a [8]byte
			binary.BigEndian.PutUint64(a[:], h)
			out.Bytes(a[:h&7])
		}
	case pushdown.Enum:
		if len(t.Labels) == 0 {
			return nil
		}
		return func(g *generator, out *rows.Builder, h uint64) {
			out.String(g.t.Labels[h>>8%uint64(len(g.t.Labels))])
		}
	}
	return nil
}

// emitText makes a word and five hexadecimal digits.
func emitText(g *generator, out *rows.Builder, h uint64) {
	if g.width > 0 {
		emitWide(g, out, h)
		return
	}
	var a [16]byte
	i := h >> 32 & 15
	binary.LittleEndian.PutUint64(a[:], g.packed[i])
	n := len(words[i])
	a[n] = ' '
	a[n+1] = hexDigits[h>>8&15]
	a[n+2] = hexDigits[h>>12&15]
	a[n+3] = hexDigits[h>>16&15]
	a[n+4] = hexDigits[h>>20&15]
	a[n+5] = hexDigits[h>>24&15]
	out.Text(a[:n+6])
}

func emitWide(g *generator, out *rows.Builder, h uint64) {
	s := make([]byte, 0, g.width+16)
	for i := uint64(0); len(s) < g.width; i++ {
		x := mix(h + i)
		s = append(s, words[x&15]...)
		s = append(s, ' ', hexDigits[x>>8&15], hexDigits[x>>12&15])
	}
	out.Text(s)
}

// shortText makes a word that fits varchar(n) and char(n).
func shortText(t pushdown.Type, h uint64) string {
	w := words[h>>32&15]
	if t.Length > 0 {
		n := uint32(0)
		for i := range w {
			if n == t.Length {
				return w[:i]
			}
			n++
		}
	}
	return w
}

// elementValue is a typical value of an array's element type.
func elementValue(t pushdown.Type, h uint64) pushdown.Value {
	switch t.Kind {
	case pushdown.Bool:
		return pushdown.Value{V: h&1 == 1}
	case pushdown.Int2, pushdown.Int4, pushdown.Int8:
		return pushdown.Value{V: int64(h >> 8 & 0x3fff)}
	case pushdown.Float4, pushdown.Float8:
		return pushdown.Value{V: float64(h>>8&0xfffff) / 8}
	case pushdown.Numeric:
		return pushdown.Value{V: string('0' + byte(h%10))}
	case pushdown.Text, pushdown.Varchar, pushdown.BPChar:
		return pushdown.Value{V: shortText(t, h)}
	case pushdown.Date:
		return pushdown.Value{V: 5479 + int64(h>>8&0xfff)}
	case pushdown.Time:
		return pushdown.Value{V: int64(h>>8%86400) * 1_000_000}
	case pushdown.Timestamp, pushdown.TimestampTZ:
		return pushdown.Value{V: 473385600_000000 + int64(h>>8&0xffffffffffff)}
	case pushdown.UUID:
		const hex = hexDigits
		b := []byte("00000000-0000-4000-8000-000000000000")
		for i := range 8 {
			b[i] = hex[h>>(4*i)&15]
		}
		return pushdown.Value{V: string(b)}
	case pushdown.JSON, pushdown.JSONB:
		return pushdown.Value{V: `{"a": 1}`}
	case pushdown.Bytea:
		return pushdown.Value{V: []byte{byte(h), byte(h >> 8)}}
	case pushdown.Enum:
		if len(t.Labels) > 0 {
			return pushdown.Value{V: t.Labels[h%uint64(len(t.Labels))]}
		}
	}
	return pushdown.Value{}
}

// extremes are values at the edges of a type.
func extremes(t pushdown.Type) []pushdown.Value {
	var raw []any
	switch {
	case t.Array:
		raw = []any{[]pushdown.Value{}, []pushdown.Value{{}}, []pushdown.Value{{}, elementValue(t, 1), {}}}
	case t.Kind == pushdown.Int2:
		raw = []any{int64(0), int64(-1), int64(math.MinInt16), int64(math.MaxInt16)}
	case t.Kind == pushdown.Int4:
		raw = []any{int64(0), int64(-1), int64(math.MinInt32), int64(math.MaxInt32)}
	case t.Kind == pushdown.Int8:
		raw = []any{int64(0), int64(-1), int64(math.MinInt64), int64(math.MaxInt64), int64(1)<<53 + 1}
	case t.Kind == pushdown.Float4:
		raw = []any{0.0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), float64(math.MaxFloat32), float64(math.SmallestNonzeroFloat32)}
	case t.Kind == pushdown.Float8:
		raw = []any{0.0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1}
	case t.Kind == pushdown.Numeric && t.Precision > 0:
		raw = []any{"0", "NaN"}
	case t.Kind == pushdown.Numeric:
		raw = []any{"0", "-0.00", "NaN", "Infinity", "-Infinity", "1.0", "1.00", "0.00000000000000000001",
			"123456789012345678901234567890.123456789", "-9999.9999", "10000"}
	case t.Kind == pushdown.Text, t.Kind == pushdown.Varchar, t.Kind == pushdown.BPChar:
		raw = []any{"", " ", "a", "A", "ä", "a\u0308", "Ä", "ß", "%", "_", `\`, `'`, `"`, "\n", "\t", "😀", "日本語", "x ", "null", "NULL", "0"}
	case t.Kind == pushdown.Date:
		raw = []any{int64(math.MinInt64), int64(math.MaxInt64), int64(0), int64(-2451545), int64(2145031948), int64(-10957), int64(59)}
	case t.Kind == pushdown.Time:
		raw = []any{int64(0), int64(86400_000000), int64(86399_999999), int64(1)}
	case t.Kind == pushdown.Timestamp, t.Kind == pushdown.TimestampTZ:
		raw = []any{int64(math.MinInt64), int64(math.MaxInt64), int64(0), int64(-1), int64(1), int64(-211813488000000000), int64(9223371331199999999)}
	case t.Kind == pushdown.UUID:
		raw = []any{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}
	case t.Kind == pushdown.JSON, t.Kind == pushdown.JSONB:
		raw = []any{"null", "[]", "{}", `""`, "0", `{"a": {"b": [1, null, "\u00e4"]}}`}
	case t.Kind == pushdown.Bytea:
		raw = []any{[]byte{}, []byte{0}, []byte{255, 0, 255}}
	}
	var list []pushdown.Value
	b := rows.NewBuilder([]pushdown.Type{t}, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
	for _, v := range raw {
		// char(1) cannot hold them all.
		if b.Value(pushdown.Value{V: v}); b.EndRow() == nil {
			list = append(list, pushdown.Value{V: v})
		}
	}
	return list
}

// newGenerator makes the generator of column i; key says that it identifies
// the rows.
func newGenerator(col connectors.ColumnSpec, i int, s settings, key bool) (generator, error) {
	g := generator{t: col.Type, salt: mix(s.seed<<16 + uint64(i)), width: s.width, packed: packWords()}
	values := s.values
	if v, ok := col.Options["generator"]; ok {
		if v != "sequence" && v != "typical" && v != "extreme" {
			return g, badColumn(col, "generator", v, "It must be sequence, typical or extreme.")
		}
		values = v
		key = v == "sequence"
	}
	if key {
		switch col.Type.Kind {
		case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Numeric, pushdown.Text, pushdown.Varchar:
			g.sequence = !col.Type.Array
		}
		if !g.sequence {
			return g, &connectors.Error{Class: connectors.InvalidColumn, Column: col.Name,
				Message: "a row number cannot fill column \"" + col.Name + "\" of type " + rows.TypeName(col.Type),
				Hint:    "Keys of generated objects are integers, numeric or text."}
		}
		return g, nil
	}
	nulls := s.nulls
	if v, ok := col.Options["nulls"]; ok {
		if err := setFraction(&nulls, v); err != nil {
			return g, badColumn(col, "nulls", v, sentence(err.Error()))
		}
	}
	if !col.NotNull && nulls > 0 {
		g.nullsTo = math.MaxUint64
		if nulls < 1 {
			g.nullsTo = uint64(nulls * (1 << 63) * 2)
		}
	}
	if v, ok := col.Options["distinct"]; ok {
		var n int64
		if err := setInt(&n, v, 0, 1<<40); err != nil {
			return g, badColumn(col, "distinct", v, sentence(err.Error()))
		}
		g.distinct = uint64(n)
	}
	if values == "extreme" {
		g.extremes = extremes(col.Type)
		if len(g.extremes) == 0 {
			g.extremes = nil
		}
	}
	g.emit = emitter(col.Type)
	if g.emit == nil {
		return g, &connectors.Error{Class: connectors.InvalidColumn, Column: col.Name,
			Message: "no values can be generated for column \"" + col.Name + "\" of type " + rows.TypeName(col.Type),
			Hint:    "Give the table the option store to keep inserted rows instead."}
	}
	return g, nil
}

func badColumn(col connectors.ColumnSpec, name, value, detail string) error {
	return &connectors.Error{Class: connectors.InvalidOptionValue, Column: col.Name, Detail: detail,
		Message: "invalid value \"" + value + "\" of option \"" + name + "\" of column \"" + col.Name + "\""}
}
