package sync

// Rows are staged behind the scan that reads them, so that the API and the
// database work at the same time.

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// behind hands batches to a sink on a goroutine of its own. At most two are in
// memory beside the one that the scan fills: one that is staged, one that waits.
type behind struct {
	full, spare chan *batch
	ended       chan struct{}
	failed      chan struct{} // closed when err is set
	err         error
}

type batch struct {
	tuples []byte
	n      int
}

// stageBehind begins; stop is called once when the sink fails, to end the scan.
// The caller must call wait, whatever happens to the scan.
func stageBehind(sink func(tuples []byte, n int) error, stop func(), log *slog.Logger) *behind {
	b := &behind{full: make(chan *batch, 2), spare: make(chan *batch, 2), ended: make(chan struct{}), failed: make(chan struct{})}
	b.spare <- &batch{}
	b.spare <- &batch{}
	go func() {
		defer close(b.ended)
		for f := range b.full {
			if b.err = guarded(sink, f, log); b.err != nil {
				close(b.failed)
				stop()
				return
			}
			b.spare <- f
		}
	}()
	return b
}

// guarded turns a panic into an error: on a goroutine of its own it would end
// the process, and not this run only.
func guarded(sink func(tuples []byte, n int) error, f *batch, log *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("recovered a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("staging rows failed; the sidecar's log says more")
		}
	}()
	return sink(f.tuples, f.n)
}

// put takes a batch over, whose bytes the caller may use again. The error is the
// sink's, of a batch before.
func (b *behind) put(tuples []byte, n int) error {
	select {
	case f := <-b.spare:
		f.tuples, f.n = append(f.tuples[:0], tuples...), n
		b.full <- f
		return nil
	case <-b.failed:
		return b.err
	}
}

// wait ends it: what was taken over is staged when it returns, or the error
// says why not.
func (b *behind) wait() error {
	close(b.full)
	<-b.ended
	return b.err
}
