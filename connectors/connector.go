// Package connectors is what a connector implements and what the sidecar calls:
// the interface, the registry and the typed errors. It speaks no API itself.
//
// A connector is a value in the registry. Open gives a Source (one server with
// one credential), Source.Table a Table (one foreign table on it). Tables are
// kept and shared by many queries at once, so all methods are safe for
// concurrent use, and none keeps state of one query.
package connectors

import (
	"context"
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Connector speaks one API, or one style of API.
type Connector interface {
	// Name is the value of the server option "connector".
	Name() string
	// Options the connector takes, by where they stand; for validation, hints
	// and the generated docs.
	Options() []OptionSpec
	// Open validates a server's options and a credential's, and prepares to
	// call the API without calling it. env.Client is to be used for all HTTP.
	// An option that is wrong is an *Error of class InvalidOption.
	Open(ctx context.Context, env Env, server ServerSpec) (Source, error)
}

// Source is a server with a credential.
type Source interface {
	// Table binds a foreign table: it checks the table's and the columns'
	// options and types and says what cannot work. It calls no API.
	Table(ctx context.Context, spec TableSpec) (Table, error)
	// Import lists the objects of the API as tables, asking the API's metadata
	// where there is one. An unknown req.RemoteSchema is an *Error of class
	// InvalidSchema that lists those there are.
	Import(ctx context.Context, req ImportRequest) ([]ImportedTable, error)
	// Close releases what Open took. No query runs when it is called.
	Close() error
}

// Limited is a Source that keeps to limits which it may have to share with other
// sidecars.
type Limited interface {
	// Limited reports whether there is a limit that is known beforehand.
	Limited() bool
	// SetShare says which part of it may be used, from 0 (for now nothing) to 1.
	SetShare(share float64)
}

// Table is a foreign table bound to an object of the API.
type Table interface {
	// Describe tells the table's key and abilities. It calls no API.
	Describe() Description
	// Plan says what of the request the API will do. It calls no API, and for
	// equal requests it answers the same. Values of parameters may be unknown;
	// a verdict given then is for the best case, as Scan plans again.
	Plan(req pushdown.Request) pushdown.Plan
	// Scan reads rows page by page into out, until the object's end, out's
	// end (rows.ErrStop, which Scan returns as it is), ctx's, or an error. All
	// parameters of q are known. It pushes what Plan(q.Request) says with the
	// values known, never more; an ordering only if q.Ordering is set, a limit
	// only if q.Limit is not 0. If q.Aggregation is set it gives groups, or an
	// *Error of class NotAggregated before the first one if it turns out that it
	// cannot; it is asked only if Plan is exact in all.
	Scan(ctx context.Context, q Query, out *rows.Builder) (ScanResult, error)
	// Request describes, for EXPLAIN, the first request that Scan would send,
	// without secrets. It calls no API.
	Request(q Query) string
}

// Modifier is a Table that can be written.
type Modifier interface {
	// Modify writes the batch's rows in order and fills batch.Results, one for
	// each row, and batch.Returning for each row applied. It returns an error
	// only when it cannot say what happened to rows without a result. A write
	// is never sent twice unless the API proves that the first had no effect.
	Modify(ctx context.Context, batch *Batch) error
	// Requests describes, for a dry run, what Modify would send.
	Requests(batch *Batch) ([]string, error)
}

// Aging is a Table that may find out that its object has changed.
type Aging interface {
	// Outdated reports whether it is to be bound anew for the next query. It stays
	// good for those that have begun.
	Outdated() bool
}

// Forewarning is a Table that knows warnings of a scan before it begins.
type Forewarning interface {
	// Warnings are some of those that ScanResult has of a scan of these columns, in
	// the same words; nil: none. It does no I/O.
	Warnings(columns []int) []string
}

// Graveyard is a Table whose API remembers what was deleted.
type Graveyard interface {
	// Deleted shows the deleted records as a table: the key's columns, in the
	// order and of the types of Description.Key, then the time of deletion by the
	// API's clock, of type timestamptz. nil: this table's object has none. It
	// calls no API.
	Deleted() Table
}

// Forgetful is a Graveyard whose API tells for a while only.
type Forgetful interface {
	// Remembers is for how long it tells what was deleted; 0: for ever. What was
	// deleted before that is found by comparing keys.
	Remembers() time.Duration
}

// Chronicle is a Table whose API tells in logs, not in the records themselves, which
// of them were changed.
type Chronicle interface {
	// Changes says where; nil: nowhere. It calls no API.
	Changes() *Changes
}

// Changes is where an API tells which records were made, changed or deleted.
type Changes struct {
	// Logs are shown as tables: the columns of Description.Key, of the same types,
	// with the key of a record that was changed, then the time of the change by the
	// API's clock, of type timestamptz. A row without a key says nothing. The first
	// row of a Scan should be the newest.
	Logs []Table
	// Remembers is for how long they tell; 0: for ever.
	Remembers time.Duration
	// Made is the position of the table's column with the time at which a record was
	// made, never changed and by the API's clock; below 0: there is none. Records
	// that are new are read by it, instead of one by one.
	Made int
}

// Query is a scan with every value known.
type Query struct {
	pushdown.Request
	// Ordering that PostgreSQL relies upon; nil: none.
	Ordering pushdown.Ordering
	// Limit in rows; 0: none. The bridge sets it only when Plan, with all
	// values known, is exact for every conjunct and the ordering.
	Limit uint64
	// Whole: all rows will be read, nothing ends the scan before its last one. So a
	// scan whose calls cannot all be made may be refused before they are. false: it
	// is not known.
	Whole bool
	// Sample is the number of rows wanted for statistics; 0: not a sample.
	Sample uint64
	// Total: Stats.Total is wanted, as far as that takes no further call.
	Total bool
	// Stats is where the connector counts; never nil.
	Stats *Stats
}

// ScanResult is known at the end of a scan.
type ScanResult struct {
	// TotalRows in the object, if the API said; 0: unknown.
	TotalRows float64
	Warnings  []string
}

// Description is what Table.Describe answers; indexes are column positions.
type Description struct {
	// Object is the API's name of what the table shows. Two tables of a server
	// that show the same have the same; a write through one is a write to both.
	// Required of a table that can be cached.
	Object string
	// ListLag is how long the API's lists and searches may not show a write that
	// it has answered; 0: unknown, so DefaultListLag; below 0: they show it at
	// once. For so long after a write through Hallway the written row stands in
	// for the list's, also where somebody else has changed it since.
	ListLag                          time.Duration
	Key                              []int
	Insertable, Updatable, Deletable bool
	// ReadOnlyReason says why one of them is false; empty if all are true.
	ReadOnlyReason string
	// ReadOnlyColumns may not be written: ids, computed fields.
	ReadOnlyColumns []int
	// UnnullableColumns need not be given to an Insert, and take no NULL: what
	// stands there then is the API's to say. In an INSERT of several rows of VALUES,
	// where DEFAULT and NULL cannot be told apart, they are left out of rows that
	// have either.
	UnnullableColumns []int
	Lookups           []Lookup
	// Unique are sets of columns, beside Key, of which the API lets no two rows
	// have the same values, NULLs apart: whether it finds rows by them or not.
	Unique [][]int
	// Modified is the position of a column that the API sets to its own time
	// whenever a row is changed, in at most one element; empty: there is none. A
	// replica then asks for what was changed since last time.
	Modified []int
	// KeyOrdered: without an ordering, Scan delivers rows in ascending order of
	// Key (text by bytes), and rows that are made or deleted meanwhile make it
	// neither skip nor repeat another.
	KeyOrdered bool
	// Aggregates: Plan may find Request.Aggregation exact.
	Aggregates bool
	// Rows in the object, if known without asking; 0: unknown.
	Rows float64
	// BatchRows is how many rows one Modify best has.
	BatchRows BatchRows
	// Jobs is how many rows one Modify may have where rows go by jobs of the API, which
	// take many more than a request; 0: none do. A Modify that has fewer than a job
	// wants goes by requests. Only with Staged, and of a Loader.
	Jobs BatchRows
	// Staged: Modify minds Batch.Ready. Then it is given the rows of several requests
	// at once, to prepare one while another is under way.
	Staged bool
	// Idempotent: an Insert, Update or Upsert that is sent again with its
	// IdempotencyKey, the same rows in the same batch, is answered with the first
	// answer and not done a second time; also when the first was refused, or is not
	// over yet (then an error of class Locked or Conflict, or the wait for it). A
	// Delete may say that there is no such row.
	Idempotent bool
}

// DefaultListLag is for APIs of which nothing is known: search indexes are
// seldom later than that.
const DefaultListLag = 10 * time.Second

// Lag is ListLag as a time to wait: DefaultListLag if it is unknown, 0 if there is
// none.
func (d Description) Lag() time.Duration {
	if d.ListLag == 0 {
		return DefaultListLag
	}
	return max(d.ListLag, 0)
}

// BatchRows is, by operation, how many rows the API writes at once: a Modify
// with fewer costs more calls a row, one with more none fewer. 0 or 1: each row
// is a call of its own. Upsert counts only for an Upserter.
type BatchRows struct {
	Insert, Update, Delete, Upsert int
}

// Lookup is a set of columns for which an equality on all costs the API one
// cheap call.
type Lookup struct {
	Columns []int
	Unique  bool
}

// ServerSpec is a foreign server with a credential.
type ServerSpec struct {
	Name string
	// Options of the server; Credential's are those of the user mapping, with
	// references to secrets already resolved. Credential is secret.
	Options    map[string]string
	Credential map[string]string
	// User is the role's name, for logs.
	User string
}

// TableSpec is a foreign table's definition.
type TableSpec struct {
	Schema, Name string
	Options      map[string]string
	Columns      []ColumnSpec
}

// ColumnSpec is a column of a foreign table.
type ColumnSpec struct {
	Name      string
	Type      pushdown.Type
	NotNull   bool
	Generated bool
	Options   map[string]string
}

// Field is the API's name of the column: its option "field", else its name.
func (c ColumnSpec) Field() string {
	if f := c.Options["field"]; f != "" {
		return f
	}
	return c.Name
}

// ImportRequest is IMPORT FOREIGN SCHEMA. At most one of LimitTo and Except is
// not nil.
type ImportRequest struct {
	RemoteSchema    string
	LimitTo, Except []string
	Options         map[string]string
}

// ImportedTable is a table that IMPORT FOREIGN SCHEMA may create. Columns keep
// a stable order.
type ImportedTable struct {
	Name    string
	Columns []ImportedColumn
	Options map[string]string
	Comment string
}

// ImportedColumn has Type as SQL writes it: "numeric(12,2)", "text[]".
type ImportedColumn struct {
	Name, Type string
	NotNull    bool
	Options    map[string]string
	Comment    string
}
