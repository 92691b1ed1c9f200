// A scan of what another sidecar of the same database is fetching just now: it
// waits for that one's rows, and does not ask the API.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
)

const (
	// beginPatience is how long a scan waits to hear whether another sidecar is
	// reading the same; a database that is well says so within a millisecond.
	beginPatience = 100 * time.Millisecond
	// quietPatience is how long the other one may show no sign of life, which is
	// ten times as long as it leaves between two of them.
	quietPatience = 5 * time.Second
	// blindPatience is how long it is waited for if its signs cannot be seen.
	blindPatience = 2 * time.Second
	// Pauses between two looks are a tenth of the time that has passed, within
	// these bounds.
	shortPause, longPause = 20 * time.Millisecond, 250 * time.Millisecond
	// fillsWaitedFor is how many fills are waited for: another one, if the first
	// came to nothing. They could all end before they have everything.
	fillsWaitedFor = 2
)

// begun is what came of the beginning of a fill.
type begun struct {
	table CacheTable
	err   error
}

// errThere is why a fill that could begin did not: what it is for is there.
var errThere = errors.New("another sidecar has fetched the rows")

// waits reports whether a fill that did not begin for a reason may begin later.
func (k *keeper) waits(err error) bool {
	return k.again != nil && (errors.Is(err, cache.ErrBusy) || errors.Is(err, errThere))
}

// takeOver begins the fill of a region whose lock another sidecar had, unless that
// one has left rows there that are at most as old as maxAge.
func (k *keeper) takeOver(ctx context.Context, table CacheTable, maxAge time.Duration) (CacheFill, error) {
	fill, err := table.Begin(ctx, k.region, k.started)
	if err != nil {
		return nil, err
	}
	// Under the lock: whoever had it has committed, or has not and never will.
	if there, err := table.Fresh(ctx, k.region, k.region.Columns, maxAge); err == nil && there {
		fill.Abort()
		return nil, errThere
	}
	return fill, nil
}

// elsewhere waits, if another sidecar is filling the region, until that one has
// it, and hands over its rows: true. It waits for as long as the other one shows
// that it lives, and has not said that a reader of its own holds it up. Else the
// API is to be asked: by a fill of the keeper's if the other one's has come to
// nothing, and at once for rows in an order that is relied upon (ordered), since
// the cache keeps none, and where nothing old will do.
func (s *Server) elsewhere(ctx context.Context, fl *flight.Flight, k *keeper, f *overlay.Filter, ordered bool, maxAge time.Duration) (bool, error) {
	defer close(k.again)
	b := k.answer(ctx, beginPatience)
	if !errors.Is(b.err, cache.ErrBusy) || b.table == nil || maxAge <= 0 || ordered || !fl.Alone() {
		return false, ctx.Err()
	}
	w := watch{table: b.table, region: k.region, since: fl.Started(), maxAge: maxAge}
	for w.goesOn(ctx) {
		select {
		case k.again <- w.age():
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		b := k.answer(ctx, 0)
		switch {
		case errors.Is(b.err, cache.ErrBusy):
		case errors.Is(b.err, errThere):
			if found, err := s.fromElsewhere(ctx, fl, k, f, &w); found || err != nil {
				return found, err
			}
		default:
			return false, ctx.Err()
		}
	}
	return false, ctx.Err()
}

// answer is what the keeper says next, or nothing if that takes longer than within,
// which 0 stands for no bound of, or ctx ends.
func (k *keeper) answer(ctx context.Context, within time.Duration) (b begun) {
	var late <-chan time.Time
	if within > 0 {
		t := time.NewTimer(within)
		defer t.Stop()
		late = t.C
	}
	select {
	case b = <-k.begun:
	case <-late:
	case <-ctx.Done():
	}
	return b
}

// fromElsewhere reads what another sidecar has fetched; false: it is gone already.
func (s *Server) fromElsewhere(ctx context.Context, fl *flight.Flight, k *keeper, f *overlay.Filter, w *watch) (bool, error) {
	sent := false
	found, err := w.table.Read(ctx, k.region, k.region.Columns, w.age(), func(tuples []byte, n int) error {
		sent = true
		if f != nil {
			var err error
			if tuples, n, err = f.Batch(tuples); err != nil || n == 0 {
				return err
			}
		}
		return fl.Append(tuples, n)
	})
	switch {
	case sent && err != nil:
		return false, fmt.Errorf("reading what another sidecar has fetched: %w", err)
	case err != nil || !found:
		return false, nil //nolint:nilerr // it is tried again, or the API asked
	}
	s.keeping.elsewhere.Add(1)
	fl.Settle(flight.Outcome{Text: "joined another sidecar's", Err: errThere})
	if f != nil {
		if tuples, n := f.End(); n > 0 {
			return true, fl.Append(tuples, n)
		}
	}
	return true, nil
}

// watch is the wait for another sidecar's fill.
type watch struct {
	table  CacheTable
	region cache.Region
	since  time.Time
	maxAge time.Duration

	fill  int64 // the last that was seen
	fills int   // how many were
	none  int   // how often, of late, there was none
}

// age is how old the region may be: as old as it might have been at the beginning.
func (w *watch) age() time.Duration { return w.maxAge + time.Since(w.since) }

// goesOn pauses, and says whether there is a point in trying again.
func (w *watch) goesOn(ctx context.Context) bool {
	waited := time.Since(w.since)
	if !sleep(ctx, min(max(waited/10, shortPause), longPause)) {
		return false
	}
	o, found, err := w.table.Filling(ctx, w.region)
	if err != nil {
		return false
	}
	if !found {
		// It has ended, which the next attempt shows, or fetches other columns.
		w.none++
		return w.none <= 2
	}
	w.none = 0
	if o.ID != w.fill {
		w.fill = o.ID
		w.fills++
	}
	switch {
	case w.fills > fillsWaitedFor, o.Age > w.age(), o.Quiet > quietPatience:
		return false
	case o.Quiet < 0:
		return waited < blindPatience
	}
	return true
}
