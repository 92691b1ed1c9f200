package rest

import (
	"errors"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// A text that is read as a number or a boolean at once is what the column's type
// makes of the text, refusals included.
func TestScan_PlainTextsAreWhatTheirTypeMakesOfThem(t *testing.T) {
	texts := []string{"0", "-0", "1", "007", "-007", "-", "", "+5", "32767", "32768", "-32768", "-32769", "2147483648", "99", "100", "999999999999999999", "9223372036854775807", "9223372036854775808",
		"1.0", "1.50", "1e3", " 7", "7 ", "0x10", "true", "false", "TRUE", "t", "f", "yes", "NaN"}
	for _, c := range []struct {
		field string
		typ   pushdown.Type
	}{
		{"integer", pushdown.Type{Kind: pushdown.Int2}}, {"integer", pushdown.Type{Kind: pushdown.Int4}}, {"integer", pushdown.Type{Kind: pushdown.Int8}},
		{"number", pushdown.Type{Kind: pushdown.Numeric}}, {"number", pushdown.Type{Kind: pushdown.Numeric, Precision: 4, Scale: 2}},
		{"number", pushdown.Type{Kind: pushdown.Float8}}, {"number", pushdown.Type{Kind: pushdown.Text}}, {"number", pushdown.Type{Kind: pushdown.Bool}},
		{"boolean", pushdown.Type{Kind: pushdown.Bool}}, {"boolean", pushdown.Type{Kind: pushdown.Text}}, {"boolean", pushdown.Type{Kind: pushdown.Int4}},
	} {
		e := newEmitter(0, &column{field: &Field{Type: c.field}, spec: connectors.ColumnSpec{Type: c.typ}})
		slow := e
		slow.plain = false
		read := func(e *emitter, text string) (tuple, state string) {
			s := &scan{out: rows.NewBuilder([]pushdown.Type{c.typ}, func(tuples []byte, _ int) error { tuple = string(tuples); return nil }, rows.Options{})}
			if err := s.string(e, []byte(text)); err != nil {
				return "", err.Error()
			}
			var conv *rows.ConversionError
			if err := s.out.EndRow(); errors.As(err, &conv) {
				return "", conv.SQLState
			}
			if err := s.out.Flush(); err != nil {
				return "", err.Error()
			}
			return tuple, ""
		}
		for _, text := range texts {
			got, refused := read(&e, text)
			want, refusal := read(&slow, text)
			if got != want || refused != refusal {
				t.Errorf("%q of a %s in a column of %+v is %q %s, not %q %s", text, c.field, c.typ, got, refused, want, refusal)
			}
		}
	}
}
