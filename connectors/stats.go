package connectors

import (
	"context"
	"sync/atomic"
)

// Stats counts what one query cost the API. Its methods are safe for
// concurrent use, as transport counts from several requests at once.
type Stats struct {
	Calls, Pages, Rows, Retries       atomic.Uint64
	LimitWaitMicros, APIMicros, Bytes atomic.Uint64
	// Total is how many rows the first answer of the first scan that wanted to know
	// (Query.Total) said there are; 0: it did not say.
	Total atomic.Uint64
}

// Statement counts the calls that one SQL statement has made of a server's API,
// whichever of its scans and writes made them. Safe for concurrent use.
type Statement struct{ calls atomic.Uint64 }

// Calls so far.
func (s *Statement) Calls() uint64 { return s.calls.Load() }

// Call counts one more, unless most have been made.
func (s *Statement) Call(most uint64) bool {
	for {
		n := s.calls.Load()
		if n >= most {
			return false
		}
		if s.calls.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

type statementKey struct{}

// WithStatement says whose calls those made with the context are; nil: nobody's.
func WithStatement(ctx context.Context, s *Statement) context.Context {
	if s == nil && StatementOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, statementKey{}, s)
}

// StatementOf is what WithStatement said; nil: it is not known, as of work in the
// background.
func StatementOf(ctx context.Context) *Statement {
	s, _ := ctx.Value(statementKey{}).(*Statement)
	return s
}
