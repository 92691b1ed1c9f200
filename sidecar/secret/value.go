// Package secret keeps credentials out of sight: a Value that prints as ***,
// and a Store that finds secrets by name in the sidecar's own directory or
// environment. It knows no API and no option names.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Mask is what a secret looks like wherever it is printed.
const Mask = "***"

// Value is a secret string. However it is formatted, logged or marshalled it
// shows Mask; Reveal alone gives the text. The zero Value is the empty secret.
type Value struct{ text string }

// New makes a Value of text.
func New(text string) Value { return Value{text: text} }

// Reveal gives the secret itself, for the one place that sends it.
func (v Value) Reveal() string { return v.text }

// IsEmpty reports whether there is nothing to keep secret.
func (v Value) IsEmpty() bool { return v.text == "" }

// String shows Mask.
func (Value) String() string { return Mask }

// GoString shows Mask for %#v.
func (Value) GoString() string { return Mask }

// Format shows Mask for every verb and flag, %x and %d among them.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Mask) }

// LogValue shows Mask in slog.
func (Value) LogValue() slog.Value { return slog.StringValue(Mask) }

// MarshalJSON shows Mask.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }

// MarshalText shows Mask, also to YAML.
func (Value) MarshalText() ([]byte, error) { return []byte(Mask), nil }
