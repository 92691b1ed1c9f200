// Package flight lets equal scans that run at the same time be one. A flight is
// a scan of the API, its rows go into a spool, and everybody who asked for the
// same reads the spool at a pace of their own; so does what keeps the rows. The
// flight ends early when nobody reads it any more.
//
// It knows neither the API nor the cache: a flight's work is a function.
package flight

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNobody is the cause of the end of a flight that nobody reads any more, and
// ErrClosed of those that Close ended.
var (
	ErrNobody = errors.New("flight: nobody reads any more")
	ErrClosed = errors.New("flight: the sidecar stops")
)

// Group holds the flights of a process.
type Group struct {
	limits Limits
	log    *slog.Logger
	memory atomic.Int64
	disk   atomic.Uint64
	begun  atomic.Uint64
	joined atomic.Uint64

	mu     sync.Mutex
	open   map[string]*Flight // those that can be joined, by key
	all    map[*Flight]struct{}
	closed bool
	done   sync.WaitGroup
}

// Stats of a group: flights now, and since the start flights, readers that
// joined one, and bytes that went into files.
type Stats struct {
	Flights              int
	Begun, Joined, Spool uint64
	// Memory of spools now, in bytes.
	Memory int64
}

// NewGroup makes a group; Close it.
func NewGroup(log *slog.Logger, limits Limits) *Group {
	limits.defaults()
	return &Group{limits: limits, log: log, open: map[string]*Flight{}, all: map[*Flight]struct{}{}}
}

// Stats counts.
func (g *Group) Stats() Stats {
	g.mu.Lock()
	n := len(g.all)
	g.mu.Unlock()
	return Stats{Flights: n, Begun: g.begun.Load(), Joined: g.joined.Load(), Spool: g.disk.Load(), Memory: g.memory.Load()}
}

// Request is what somebody wants to read.
type Request struct {
	// Key: equal ones have equal rows.
	Key string
	// Owner does not join its own flight: it may read one of the two only when
	// the other has ended.
	Owner any
	// MaxAge bounds how long ago a flight that is joined may have begun.
	MaxAge time.Duration
	// Stamp of a flight that is joined must be the same: it changes when rows of
	// before are not good any more.
	Stamp uint64
	// Deadline of who asks; zero: none. A flight's is that of the most patient.
	Deadline time.Time
}

// Flight is one scan.
type Flight struct {
	g       *Group
	key     string
	stamp   uint64
	started time.Time
	spool   *spool
	ctx     context.Context
	cancel  context.CancelCauseFunc
	// Tag is what who began the flight wants those who join it to know. It does
	// not change.
	Tag any

	// Under Group.mu.
	readers  int       // that were promised rows
	work     int       // of what runs, the scan and what keeps its rows
	deadline time.Time // zero: none
	noBound  bool      // somebody has no deadline

	kept    chan struct{} // closed when the outcome is known
	outcome Outcome
}

// Outcome is what became of a flight's rows.
type Outcome struct {
	// Text for EXPLAIN; Warning for the user, seldom.
	Text, Warning string
	// Err is why nothing was kept; nil: Rows were.
	Err  error
	Rows int64
}

// flightContext gives the deadline of the most patient reader. Nothing ends by
// it: readers leave at their own.
type flightContext struct {
	context.Context
	f *Flight
}

func (c flightContext) Deadline() (time.Time, bool) {
	c.f.g.mu.Lock()
	defer c.f.g.mu.Unlock()
	return c.f.deadline, !c.f.noBound && !c.f.deadline.IsZero()
}

// Work is a flight's scan: it hands over batches by Append until the rows, or
// its context, end. What it returns ends the flight: nil is a whole scan.
type Work func(ctx context.Context, f *Flight) error

// Join finds the flight that req may share, or begins one: then tag and work are
// the new one's, and work runs in a goroutine, with values of ctx but not its
// end. The reader must be closed. After Close the flight of the reader has
// ended with ErrClosed.
func (g *Group) Join(ctx context.Context, req Request, tag any, work Work) (r *Reader, joined bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.open[req.Key]; f != nil && f.stamp == req.Stamp && time.Since(f.started) <= req.MaxAge &&
		f.ctx.Err() == nil && !f.spool.has(req.Owner) {
		if r := f.spool.reader(f, req.Owner, false); r != nil {
			f.admit(req)
			g.joined.Add(1)
			return r, true
		}
	}
	f := &Flight{g: g, key: req.Key, stamp: req.Stamp, started: time.Now(), Tag: tag, kept: make(chan struct{}), work: 1,
		spool: newSpool(&g.limits, &g.memory, &g.disk, g.log)}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f.ctx, f.cancel = flightContext{inner, f}, cancel
	f.admit(req)
	r = f.spool.reader(f, req.Owner, false)
	g.begun.Add(1)
	g.all[f] = struct{}{}
	if g.closed {
		cancel(ErrClosed)
	} else {
		g.open[req.Key] = f
	}
	g.done.Add(1)
	go f.run(work)
	return r, false
}

// admit counts a reader. Group.mu is held.
func (f *Flight) admit(req Request) {
	f.readers++
	f.noBound = f.noBound || req.Deadline.IsZero()
	if req.Deadline.After(f.deadline) {
		f.deadline = req.Deadline
	}
}

func (f *Flight) run(work Work) {
	defer f.g.done.Done()
	err := work(f.ctx, f)
	if err != nil && f.ctx.Err() != nil {
		err = context.Cause(f.ctx)
	}
	f.spool.end(err)
	f.finish(1, err != nil)
}

// finish ends part of the work; unjoinable takes the flight from those that can
// be joined though something of it goes on.
func (f *Flight) finish(work int, unjoinable bool) {
	f.g.mu.Lock()
	f.work -= work
	over := f.work == 0
	if over {
		f.settle(Outcome{})
	}
	if (over || unjoinable) && f.g.open[f.key] == f {
		delete(f.g.open, f.key)
	}
	f.free()
	f.g.mu.Unlock()
	if over {
		f.cancel(nil)
	}
}

// free gives the spool back when nobody needs it any more. Group.mu is held.
func (f *Flight) free() {
	if f.work == 0 && f.readers == 0 {
		if _, ok := f.g.all[f]; ok {
			delete(f.g.all, f)
			f.spool.free()
		}
	}
}

// left is called once for each reader.
func (f *Flight) left(r *Reader) {
	if r.spare {
		return
	}
	f.g.mu.Lock()
	f.readers--
	if last := f.readers == 0; last {
		// Nobody joins a flight that is about to end; one whose scan has ended
		// goes on keeping its rows.
		f.spool.mu.Lock()
		ended := f.spool.ended
		f.spool.mu.Unlock()
		if !ended {
			f.cancel(ErrNobody)
			if f.g.open[f.key] == f {
				delete(f.g.open, f.key)
			}
		}
	}
	f.free()
	f.g.mu.Unlock()
}

// Append hands over whole tuples, whose bytes are copied. It waits only when
// readers are further behind than the spool holds. For Work alone.
func (f *Flight) Append(tuples []byte, rows int) error {
	return f.spool.append(f.ctx, tuples, rows)
}

// Started is when the flight began.
func (f *Flight) Started() time.Time { return f.started }

// Held is closed once the scan has waited for a slow reader for a second: from then
// on it cannot be said when it will end.
func (f *Flight) Held() <-chan struct{} { return f.spool.held }

// Alone reports whether no other flight for the same key runs.
func (f *Flight) Alone() bool {
	f.g.mu.Lock()
	defer f.g.mu.Unlock()
	for o := range f.g.all {
		if o != f && o.key == f.key && o.work > 0 {
			return false
		}
	}
	return true
}

// Keep runs what keeps the flight's rows beside the scan, with a reader of them
// that nobody waits for. Its outcome is the flight's. While it runs the flight
// can be joined, though the scan has ended well. ctx ends only with Close. For
// Work alone, once.
func (f *Flight) Keep(keep func(ctx context.Context, r *Reader) Outcome) {
	f.g.mu.Lock()
	f.work++
	f.g.mu.Unlock()
	r := f.spool.reader(f, nil, true)
	f.g.done.Add(1)
	go func() {
		defer f.g.done.Done()
		defer f.finish(1, true)
		if r == nil {
			f.Settle(Outcome{Text: "not kept: " + ErrBehind.Error(), Err: ErrBehind})
			return
		}
		defer r.Close()
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(f.ctx))
		defer cancel(nil)
		stop := context.AfterFunc(f.ctx, func() {
			if cause := context.Cause(f.ctx); errors.Is(cause, ErrClosed) {
				cancel(cause)
			}
		})
		defer stop()
		f.Settle(keep(ctx, r))
	}()
}

// Settle says what becomes of the rows; the first word counts.
func (f *Flight) Settle(o Outcome) {
	f.g.mu.Lock()
	defer f.g.mu.Unlock()
	f.settle(o)
}

func (f *Flight) settle(o Outcome) {
	select {
	case <-f.kept:
	default:
		f.outcome = o
		close(f.kept)
	}
}

// Flight that the reader reads.
func (r *Reader) Flight() *Flight { return r.flight }

// Outcome waits for what became of the flight's rows, but no longer than within;
// false: it is not known yet.
func (r *Reader) Outcome(ctx context.Context, within time.Duration) (Outcome, bool) {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-r.flight.kept:
	case <-t.C:
	case <-ctx.Done():
	}
	select {
	case <-r.flight.kept:
		return r.flight.outcome, true
	default:
		return Outcome{}, false
	}
}

// Retire makes flights that began so far, and that match, unjoinable: what they
// bring is not good for who asks now. match gets a flight's Tag.
func (g *Group) Retire(match func(tag any) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, f := range g.open {
		if match(f.Tag) {
			delete(g.open, key)
		}
	}
}

// Quiet waits until no flight for the key runs, or for ctx's end.
func (g *Group) Quiet(ctx context.Context, key string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && g.busy(key) {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (g *Group) busy(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f := range g.all {
		if f.key == key && f.work > 0 {
			return true
		}
	}
	return false
}

// Close ends all flights and waits for them.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	all := slices.Collect(maps.Keys(g.all))
	g.mu.Unlock()
	for _, f := range all {
		f.cancel(ErrClosed)
	}
	g.done.Wait()
}
