// The answer's body: bounded after decompression, bounded in how long the API
// may pause, and with typed errors.

package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// errStalled is the cause of a body that stopped coming.
var errStalled = errors.New("the answer stopped coming")

// body reads an answer. Only its reader's goroutine uses it.
type body struct {
	c      *Client
	ctx    context.Context // the caller's
	cancel context.CancelCauseFunc
	stall  *time.Timer
	rc     io.ReadCloser
	req    *Request
	left   int64 // bytes still allowed
	err    error // what every further Read returns
	stats  *connectors.Stats

	stalled atomic.Bool
}

// newBody wraps an answer's body. cancel ends the attempt.
func newBody(ctx context.Context, c *Client, req *Request, rc io.ReadCloser, cancel context.CancelCauseFunc) *body {
	b := &body{c: c, ctx: ctx, cancel: cancel, rc: rc, req: req, left: c.env.MaxResponseBytes, stats: req.Stats}
	b.stall = time.AfterFunc(time.Hour, func() {
		b.stalled.Store(true)
		cancel(errStalled)
	})
	b.stall.Stop()
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte past the bound tells an answer of exactly that size from one
	// that is too large.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	b.stall.Reset(b.c.cfg.Timeout)
	start := time.Now()
	n, err := b.rc.Read(p)
	b.stall.Stop()
	if b.stats != nil {
		b.stats.APIMicros.Add(uint64(time.Since(start).Microseconds()))
		b.stats.Bytes.Add(uint64(n))
	}
	if b.left -= int64(n); b.left < 0 {
		b.err = &connectors.Error{Class: connectors.LimitExceeded, API: b.c.cfg.API,
			Message: fmt.Sprintf("the answer is larger than %s", byteCount(b.c.env.MaxResponseBytes)),
			Detail:  b.c.Describe(b.req) + ".",
			Hint:    "Ask for smaller pages, or raise the sidecar's max_response_bytes."}
		return 0, b.err
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	default:
		b.err = b.c.readError(b.ctx, err, b.req, b.stalled.Load())
	}
	return n, b.err
}

// Close gives the connection back when the body was read, else ends it.
func (b *body) Close() error {
	if b.err == nil {
		// Often only the closing bytes of a chunked answer are left.
		var tail [512]byte
		if b.left > int64(len(tail)) {
			b.stall.Reset(50 * time.Millisecond)
			_, _ = b.rc.Read(tail[:])
			b.stall.Stop()
		}
	}
	b.stall.Stop()
	b.err = errClosed
	err := b.rc.Close()
	b.cancel(context.Canceled)
	if err != nil {
		return fmt.Errorf("closing the answer: %w", b.c.hideURL(err))
	}
	return nil
}

var errClosed = errors.New("transport: read after Close")

func byteCount(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
