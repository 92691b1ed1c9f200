package journal

// What goes on in the background of one database, each thing once at a time.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// jobs are what goes on in the background, each under a name of its own.
type jobs struct {
	mu   sync.Mutex
	busy map[string]bool
}

// start does f, unless something of that name is being done.
func (n *node) start(name string, f func(ctx context.Context) error) {
	n.jobs.mu.Lock()
	defer n.jobs.mu.Unlock()
	if n.jobs.busy[name] || n.ctx.Err() != nil {
		return
	}
	if n.jobs.busy == nil {
		n.jobs.busy = map[string]bool{}
	}
	n.jobs.busy[name] = n.m.spawn(func() {
		err := n.safely(f)
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("working on the journal", "what", name, "error", err.Error())
		}
		n.jobs.mu.Lock()
		delete(n.jobs.busy, name)
		n.jobs.mu.Unlock()
		if err == nil {
			n.poke()
		}
	})
}

// safely does f; a connector that panics costs its own work alone.
func (n *node) safely(f func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("recovered a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("the connector failed")
		}
	}()
	return f(n.ctx)
}
