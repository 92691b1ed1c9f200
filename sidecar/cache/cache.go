// Package cache keeps rows of foreign tables in local tables of the database
// that asks: which tables those are, how they are filled and merged, what of
// them is complete (regions), and how they go again. It speaks no API and no
// gRPC; rows come to it as tuples in PostgreSQL's binary format, already
// encoded for the backend.
//
// This file is what the rooms above use.
package cache

import (
	"context"
	"log/slog"
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Config is what Open needs.
type Config struct {
	Log *slog.Logger
	// Role to log in as; default "hallway".
	Role string
	// MaxBytes bounds the read-through cache tables of one database together,
	// indexes included; past it the least recently used regions go. Default
	// 4 GiB.
	MaxBytes int64
	// LockTimeout bounds every wait for a lock: a backend that holds it may be
	// waiting for the sidecar. Default 100 ms.
	LockTimeout time.Duration
	// Connections a database, at most; default 8.
	Connections int
}

// Identity names a database for good: a restored or cloned one differs.
type Identity struct {
	SystemIdentifier uint64
	Timeline         uint32
	DatabaseOID      uint32
}

// Address is where a database is found.
type Address struct {
	SocketDirectory string
	Port            uint32
	Database        string
}

// Definition is the foreign table that a cache table is for, as a backend, or
// hallway.relation_definition(), described it.
type Definition struct {
	Relid, ServerOID uint32
	// Account identifies whose rows these are: hallway.cache_tables.account.
	Account []byte
	// Object of the API, so that a write through another foreign table is seen.
	Object string
	// Columns in the table's order; generated ones are NULL in the cache.
	Columns []Column
	// Key are the positions (from 0) of the object's key in Columns; never empty.
	Key     []int
	Replica bool
}

// Column of a foreign table.
type Column struct {
	Name      string
	Type      pushdown.Type
	Generated bool
}

// Region is what a fill makes: all rows for which Conjuncts hold, with Columns
// (positions from 0, the key among them).
type Region struct {
	// Predicate is compared and stored, never read; Hash is its.
	Predicate []byte
	Hash      int64
	// Conjuncts with all parameters known.
	Conjuncts []pushdown.Expr
	Columns   []int
}

// Write is one row that the API has applied, with what it answered.
type Write struct {
	// Key of the row, as text of the key's types' output functions.
	Key []string
	// Deleted, or not there any more.
	Deleted bool
	// Columns that Tuple holds (positions from 0), in its order; the key's are
	// among them. Others are unknown: an update leaves them, and an insert
	// cannot be shown in regions that have them.
	Columns []int
	// Tuple in PostgreSQL's binary format; nil if Deleted.
	Tuple []byte
}
