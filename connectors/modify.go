package connectors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

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
	// Upsert updates the row of which MatchColumns are equal, or inserts it. Only
	// an Upserter is asked for it.
	Upsert
)

// String is the operation in SQL: INSERT, ...
func (o Operation) String() string {
	switch o {
	case Insert:
		return "INSERT"
	case Update:
		return "UPDATE"
	case Delete:
		return "DELETE"
	case Upsert:
		return "UPSERT"
	}
	return fmt.Sprintf("Operation(%d)", uint8(o))
}

// Upserter is a Modifier whose API can upsert. Where a table is none, a row is
// looked for and then updated or inserted.
type Upserter interface {
	Modifier
	// Upserts reports whether Modify takes Upsert with these MatchColumns, in any
	// order. It calls no API.
	Upserts(match []int) bool
}

// Keeper is a Modifier that knows what its API makes of values: that it keeps
// milliseconds, or has an empty text for NULL.
type Keeper interface {
	Modifier
	// Keeps reports whether a row that has a value in the column would have it
	// still after given was written there. It is asked where the two are not equal,
	// and either may be NULL. It calls no API.
	Keeps(column int, has, given pushdown.Value) bool
}

// Replayer is a Modifier that sends a single request of a batch again, where
// Description.Idempotent says that this does nothing twice.
type Replayer interface {
	Modifier
	// RequestKeys gives for each row of an Insert, Update or Upsert that Modify
	// would take the idempotency key of the request in which it goes: a RequestKey.
	// It calls no API. An error is one that Modify would give, too.
	RequestKeys(batch *Batch) ([]string, error)
}

// RequestKey is the idempotency key of one request of a write: of row first alone
// (n is 0), or of n rows of which that is the first.
func RequestKey(write string, first, n int) string {
	key := write + "-" + strconv.Itoa(first)
	if n > 0 {
		key += "-" + strconv.Itoa(n)
	}
	return key
}

// ParseRequestKey takes a RequestKey apart; false: it is none. n is 0 for a row
// alone. The write's own key does not end in a number after a hyphen.
func ParseRequestKey(key string) (write string, first, n int, ok bool) {
	number := func() (int, bool) {
		at := strings.LastIndexByte(key, '-')
		if at < 0 {
			return 0, false
		}
		i, err := strconv.Atoi(key[at+1:])
		if err != nil || i < 0 || strconv.Itoa(i) != key[at+1:] {
			return 0, false
		}
		key = key[:at]
		return i, true
	}
	last, ok := number()
	if !ok {
		return "", 0, 0, false
	}
	if i, two := number(); two {
		return key, i, last, true
	}
	return key, last, 0, true
}

// Loader is a Modifier whose rows may go by jobs of the API (Description.Jobs).
type Loader interface {
	Modifier
	// Loaded says what became of rows that an earlier Modify gave to a job (Batch.Job),
	// for which nobody waits any more: the job is ended if it is not over, and Results
	// are given; a row of which the job does not tell has no Outcome. The batch has the
	// rows, or those of them that are in doubt still; of an Update or Delete their keys
	// are enough. A NotFoundError says that the API has no such job any more, so that it
	// writes nothing; Unavailable, among others, that it is to be asked again.
	Loaded(ctx context.Context, job string, batch *Batch) error
}

// jobKey begins a JobKey.
const jobKey = "job:"

// JobKey is what the journal has as the idempotency key of rows that go by a job.
func JobKey(job string) string { return jobKey + job }

// ParseJobKey takes a JobKey apart; false: it is none.
func ParseJobKey(key string) (job string, ok bool) { return strings.CutPrefix(key, jobKey) }

// Batch is the rows of one Modify call.
type Batch struct {
	Op Operation
	// Columns are the positions of the values given, in each row's order;
	// KeyColumns those of the keys (Update, Delete).
	KeyColumns, Columns []int
	// MatchColumns (Upsert), of Columns, are those by which a row is found; no
	// two rows of the batch are equal in them, and none has a NULL there. An Insert
	// that has them is half of an upsert: no row was found by them.
	MatchColumns []int
	Rows         []Row
	// ReturningColumns to put in Returning, for each applied row one tuple in
	// the order of the rows.
	ReturningColumns []int
	Returning        *rows.Builder
	// Record, if not nil, takes RecordColumns of those rows of an Insert, Update or
	// Upsert whose answer had every field of them, for the cache. Recorded[i],
	// which the connector sets, says that row i's is there; they are in the order
	// of the rows. No call is made for it, and what cannot be read is left out
	// without an error: the write has gone well.
	RecordColumns []int
	Record        *rows.Builder
	Recorded      []bool
	// Results has one entry a row when Modify returns without error.
	Results []Result
	// IdempotencyKey is unique to this write, does not end in a number after a hyphen
	// and is no JobKey. A request has a RequestKey of it, in which rows are counted from
	// FirstRow.
	IdempotencyKey string
	FirstRow       int
	// Again is set only for a Replayer: these are the rows of one request of an
	// earlier batch, in which the first of them was row FirstRow, and the request's
	// RequestKey. They go as that request, or not at all: NotSupported.
	Again string
	// Stats is where the connector counts; never nil.
	Stats *Stats
	// Jobs: rows may go by a job of the API (Description.Jobs), for which the caller
	// waits. Rows that are not in the first such job are NotSent, or bystanders of a
	// refused one.
	Jobs bool
	// Job is the id of that job, which the connector sets before it calls Ready: whoever
	// has noted it can ask what became of the rows (Loader).
	Job string
	// Ready, if not nil, is called before rows are sent, by a connector whose
	// Description has Staged: it returns when the rows before end may be, and is told
	// that those before next probably follow. If it fails, no rows are sent but those
	// that it has let through. Where there are none, its error is Modify's; else the
	// first row that was not sent is Refused with it, or all such rows are NotSent if
	// it is ErrNotNow. It is not safe for concurrent use.
	Ready func(ctx context.Context, end, next int) error
}

// ErrNotNow is Batch.Ready's: the rows are for another call of Modify.
var ErrNotNow = errors.New("the rows are for another call")

// Row is one row to write: the key's values and the given columns' values.
type Row struct {
	Key, Values []pushdown.Value
}

// Outcome of one row.
type Outcome uint8

// Applied: the API has it. NotFound: Update or Delete of a row that the API
// does not have. Refused: Result.Err tells why. NotSent: Batch.Ready said ErrNotNow, or
// others went by a job (Batch.Jobs).
const (
	Applied Outcome = iota + 1
	NotFound
	Refused
	NotSent
)

// Result of one row.
type Result struct {
	Outcome Outcome
	Err     *Error
	// Bystander: Refused only because another row of the batch was; not sent,
	// or not applied by a request that the API does as a whole. The error that
	// explains the batch is that of a row without it.
	Bystander bool
	// Created: Applied by an Upsert that inserted the row.
	Created bool
	// Key is that of a row that an Insert or Upsert has made, in the order and as text
	// of Description.Key, where the answer has it and no record; nil: it has not.
	Key []string
	// Unchanged: Applied without a write, as the API's row was so already. An
	// Upserter may say it of what its API says it of.
	Unchanged bool
}
