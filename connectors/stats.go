package connectors

import "sync/atomic"

// Stats counts what one query cost the API. Its methods are safe for
// concurrent use, as transport counts from several requests at once.
type Stats struct {
	Calls, Pages, Rows, Retries       atomic.Uint64
	LimitWaitMicros, APIMicros, Bytes atomic.Uint64
	// Total is how many rows the first answer of the first scan that wanted to know
	// (Query.Total) said there are; 0: it did not say.
	Total atomic.Uint64
}
