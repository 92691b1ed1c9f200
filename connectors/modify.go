package connectors

import (
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Operation of a Batch.
type Operation uint8

// The operations.
const (
	Insert Operation = iota + 1
	Update
	Delete
)

// Batch is the rows of one Modify call.
type Batch struct {
	Op Operation
	// Columns are the positions of the values given, in each row's order;
	// KeyColumns those of the keys (Update, Delete).
	KeyColumns, Columns []int
	Rows                []Row
	// ReturningColumns to put in Returning, for each applied row one tuple in
	// the order of the rows.
	ReturningColumns []int
	Returning        *rows.Builder
	// Record, if not nil, takes RecordColumns of those rows of an Insert or Update
	// whose answer had every field of them, for the cache. Recorded[i], which the
	// connector sets, says that row i's is there; they are in the order of the
	// rows. No call is made for it, and what cannot be read is left out without
	// an error: the write has gone well.
	RecordColumns []int
	Record        *rows.Builder
	Recorded      []bool
	// Results has one entry a row when Modify returns without error.
	Results []Result
	// IdempotencyKey is unique to this write. A request for row i alone has the
	// key + "-" + i; one for n rows of which i is the first, that + "-" + n.
	IdempotencyKey string
	// Stats is where the connector counts; never nil.
	Stats *Stats
}

// Row is one row to write: the key's values and the given columns' values.
type Row struct {
	Key, Values []pushdown.Value
}

// Outcome of one row.
type Outcome uint8

// Applied: the API has it. NotFound: Update or Delete of a row that the API
// does not have. Refused: Result.Err tells why.
const (
	Applied Outcome = iota + 1
	NotFound
	Refused
)

// Result of one row.
type Result struct {
	Outcome Outcome
	Err     *Error
	// Bystander: Refused only because another row of the batch was; not sent,
	// or not applied by a request that the API does as a whole. The error that
	// explains the batch is that of a row without it.
	Bystander bool
}
