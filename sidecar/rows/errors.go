package rows

// What a value that does not fit is reported as.

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// SQLSTATEs of conversions, as PostgreSQL's own input functions use them.
const (
	stateInvalidText = "22P02"
	stateOutOfRange  = "22003"
	stateTooLong     = "22001"
	stateEncoding    = "22021"
	stateBadDate     = "22007"
	stateDateRange   = "22008"
	stateTooBig      = "54000"
	stateBinary      = "22P03"
	stateUnsupported = "0A000"
)

// A value may be no longer than PostgreSQL's palloc allows.
const maxValue = 0x3fffffff - 64

// ConversionError says that a value does not fit its column's type. It holds
// no secret, but a shortened form of the value.
type ConversionError struct {
	// Column is the position among the Builder's columns; -1: the whole row.
	Column int
	// Type of the column.
	Type pushdown.Type
	// SQLState is the code that PostgreSQL's input function would give: 22P02,
	// 22003, 22001, 22007, 22008, 22021; 54000 for a size past a bound.
	SQLState string
	// Reason is a clause without a full stop: "is out of range".
	Reason string
	// Value as it came, at most 64 bytes of it; empty if there is none to show.
	Value string
}

func (e *ConversionError) Error() string {
	if e.Column < 0 {
		return e.Reason
	}
	return fmt.Sprintf("%s cannot be a value of type %s: %s", strconv.Quote(e.Value), TypeName(e.Type), e.Reason)
}

// TypeName is t.Name, or a name made from the kind where there is none.
func TypeName(t pushdown.Type) string {
	if t.Name != "" {
		return t.Name
	}
	name := t.Kind.String()
	if t.Array {
		name += "[]"
	}
	return name
}

// problem is a conversion's failure before the builder adds the column.
type problem struct{ state, text string }

func problemf(state, format string, args ...any) *problem {
	return &problem{state: state, text: fmt.Sprintf(format, args...)}
}

const shownBytes = 64

// shorten cuts s to what an error may show, at a character's end.
func shorten(s []byte) string {
	if len(s) <= shownBytes {
		return string(s)
	}
	cut := s[:shownBytes]
	for len(cut) > 0 && !utf8.RuneStart(s[len(cut)]) {
		cut = cut[:len(cut)-1]
	}
	return string(cut) + "..."
}

// BinaryError says that bytes that came as a binary value cannot be read.
type BinaryError struct {
	// SQLState is 22P03 if the bytes are not what the type's binary format asks
	// for, and 0A000 if they are a value that cannot be carried to an API.
	SQLState string
	// Reason is a clause without a full stop.
	Reason string
	// Column is the position in the tuple; -1: a value alone, or the whole tuple.
	Column int
}

func (e *BinaryError) Error() string {
	if e.SQLState == stateUnsupported {
		return e.Reason
	}
	return "invalid binary value: " + e.Reason
}

func badBinary(format string, args ...any) error {
	return &BinaryError{SQLState: stateBinary, Reason: fmt.Sprintf(format, args...), Column: -1}
}

func notCarried(format string, args ...any) error {
	return &BinaryError{SQLState: stateUnsupported, Reason: fmt.Sprintf(format, args...), Column: -1}
}
