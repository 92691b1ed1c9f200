package connectors

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Class is a kind of failure; it decides the SQLSTATE and whether a retry can
// help.
type Class uint8

// The classes. The comment gives the SQLSTATE that the bridge sends.
const (
	// Internal: a defect here, not in the API. XX000.
	Internal Class = iota
	// InvalidOption: an option is unknown or missing. HV00D.
	InvalidOption
	// InvalidSchema: no such remote schema or object. HV00Q.
	InvalidSchema
	// InvalidColumn: a column has no field in the API, or a type that cannot
	// hold it. HV005.
	InvalidColumn
	// InvalidValue: the API sent a value that the column's type cannot hold.
	// HV004.
	InvalidValue
	// NotSupported by this object or API. 0A000.
	NotSupported
	// CheckViolation: a value that the API does not accept. 23514.
	CheckViolation
	// NotNullViolation: a required value is missing. 23502.
	NotNullViolation
	// UniqueViolation: 23505.
	UniqueViolation
	// ForeignKeyViolation: a reference to something that is not there. 23503.
	ForeignKeyViolation
	// TooLong: a string past the API's limit. 22001.
	TooLong
	// Unauthenticated: the API does not know the credential. 28000.
	Unauthenticated
	// PermissionDenied: it knows it and says no. 42501.
	PermissionDenied
	// NotFoundError: the object is not in the API. HV00R for a scan; a row to write
	// has Outcome NotFound instead.
	NotFoundError
	// Conflict: the row has changed or is in use. 55000.
	Conflict
	// Locked by the API for now. 55P03.
	Locked
	// RateLimited: the API's limit, past the query's deadline. 53400.
	RateLimited
	// LimitExceeded: a bound of our own: response size, pages, calls. 54000.
	LimitExceeded
	// Unavailable: no connection, 5xx, cut short; nothing was written. 08006.
	Unavailable
	// UnknownOutcome: a write was sent, and no answer came or none that can be
	// used: the row may stand in the API. 08007.
	UnknownOutcome
	// Protocol: the answer is not what the API's contract says: HTML, wrong
	// JSON, a cursor that does not move. HV000.
	Protocol
	// DeadlineExceeded: the query's time is over. 57014.
	DeadlineExceeded
	// InvalidOptionValue: an option has a value that it cannot have. HV024.
	InvalidOptionValue
	// Ambiguous: more than one row where one is meant. 21000.
	Ambiguous
	// NotAggregated: the API cannot make the groups of a Query after all, so that
	// its rows are read. Of a Scan before its first group, or it is an error. 0A000.
	NotAggregated
)

// Error is a failure that a person at psql can act on. All of its text is free
// of secrets and goes to the user; Err is for the log alone.
type Error struct {
	Class Class
	// API is the name shown in brackets, "HubSpot"; empty: no brackets.
	API string
	// Message says what, in the API's own words where it has any; Detail
	// where and why; Hint what to do.
	Message, Detail, Hint string
	// Column of the foreign table; empty: unknown.
	Column string
	// Code is the API's own; empty: none.
	Code string
	// HTTPStatus of the API's answer; 0: none.
	HTTPStatus int
	// RetryAfter is when the same call could work; 0: unknown.
	RetryAfter time.Duration
	// Err is the cause; may be nil.
	Err error
}

func (e *Error) Error() string {
	msg := e.Message
	if e.API != "" {
		msg = "[" + e.API + "]: " + msg
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", msg, e.Err)
	}
	return msg
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// AfterWrite is the error of a write that the API has done, when what it
// answered, or a second reading for RETURNING, failed with err. No other class
// will do: each but UnknownOutcome says that nothing was written, and some invite
// the client to write again. An err that is one already stays as it is.
func AfterWrite(err error) *Error {
	var cause *Error
	var conv *rows.ConversionError
	switch {
	case errors.As(err, &cause):
	case errors.As(err, &conv):
		cause = &Error{Class: InvalidValue, Message: conv.Error()}
	default: // its text may hold what nobody should see
		cause = &Error{Message: "the sidecar's log has the cause"}
	}
	if cause.Class == UnknownOutcome {
		return cause
	}
	e := *cause
	e.Class, e.RetryAfter, e.Err = UnknownOutcome, 0, err
	e.Message = "the API has done the write, but its answer could not be used: " + cause.Message
	e.Hint = "Look into the API before you write the row again."
	if cause.Class == InvalidValue {
		// What to do about the column; other hints are about trying again.
		e.Hint = strings.TrimSpace(e.Hint + " " + cause.Hint)
	}
	return &e
}
