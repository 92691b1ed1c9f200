package connectors

import "sync/atomic"

// Stats counts what one query cost the API. Its methods are safe for
// concurrent use, as transport counts from several requests at once.
type Stats struct {
	Calls, Pages, Rows, Retries       atomic.Uint64
	LimitWaitMicros, APIMicros, Bytes atomic.Uint64
}
