// Package rows turns values into tuples of PostgreSQL's binary format, once,
// and tuples and parameters back into values. It calls nothing and knows no
// API.
package rows

import (
	"errors"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// ErrStop is what EndRow returns when the reader wants no more rows: the
// backend has gone, or a limit is reached. A connector returns it as it is.
var ErrStop = errors.New("rows: the reader wants no more")

// Sink takes a batch of whole tuples, which it may keep: the builder does not
// touch them again. It blocks while the reader is behind. Its error, ErrStop
// among them, is what EndRow returns.
type Sink func(tuples []byte, n int) error

// Builder builds tuples of a fixed list of columns and hands them to a Sink in
// batches: the first of about Options.First bytes, later ones of about
// Options.Next. For each row call one value method for each column in order,
// then EndRow. A value that does not fit its column's type makes EndRow return
// a *ConversionError. Not safe for concurrent use.
type Builder struct {
	types []pushdown.Type
	sink  Sink
	buf   []byte
	n     int
}
