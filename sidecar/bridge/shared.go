// A scan whose rows are kept: it is shared with all who ask for the same at the
// same time, and what it brings goes to them and into the cache.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// footerPatience is how long the end of a scan, whose rows are all there, waits for
// the cache: most fills are done by then, and the next query is a hit. Longer than
// that nobody waits for it.
const footerPatience = 100 * time.Millisecond

// shared is what a flight's readers know of it.
type shared struct {
	t     *cachedTable
	stats *connectors.Stats
	limit uint64
	// unjudged: own writes were put in that PostgreSQL must check.
	unjudged bool
	// kept: somebody tries to keep the rows, so that it pays to wait for it.
	kept bool
	// result is there when the readers have reached the end.
	result connectors.ScanResult
}

// scanShared is Scan for a table whose rows are to be kept. It releases b.
func (s *Server) scanShared(req *hallwayv1.ScanRequest, stream grpc.ServerStreamingServer[hallwayv1.ScanResponse], b *bound, t *cachedTable) error {
	ctx := counted(stream.Context(), b, req.GetStatement())
	mine := true // b is released here, not by a flight
	defer func() {
		if mine {
			b.release()
		}
	}()
	only := req.GetFill().GetConjuncts()
	if only == nil {
		only = []uint32{}
	}
	p, err := prepareScan(ctx, b, req, only)
	if err != nil {
		return err
	}
	q := &p.query
	region := cache.Region{Predicate: append([]byte{}, req.GetFill().GetPredicate()...), Hash: req.GetFill().GetHash(), Conjuncts: q.Conjuncts, Columns: q.Columns}
	view := s.overlay.View(t.place)
	f, err := p.lay(b.rel, t, view)
	if err != nil {
		return err
	}
	// Own writes that cannot be laid over the scan must not be missing in the cache.
	unsure := view.Unsure || len(view.Rows) > 0 && f == nil
	tag := &shared{t: t, stats: q.Stats, limit: q.Limit, unjudged: f != nil && f.Unjudged(), kept: !unsure && !t.def.Replica}
	p.forewarn(ctx, b)
	deadline, _ := ctx.Deadline()
	maxAge := time.Duration(min(req.GetMaxAgeMs(), uint64(24*365*time.Hour/time.Millisecond))) * time.Millisecond
	r, joined := s.flights.Join(ctx, flight.Request{
		Key: flightKey(b.rel, t, region, q, req.GetOrdering()), Owner: connOf(ctx), MaxAge: maxAge, Stamp: view.Stamp, Deadline: deadline,
	}, tag, s.flight(b, q, region, f, tag, maxAge))
	defer r.Close()
	mine = joined
	tag, _ = r.Flight().Tag.(*shared)
	if tag.unjudged {
		p.recheckAll()
	}
	if err := stream.Send(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Header{Header: p.header}}); err != nil {
		return err //nolint:wrapcheck // a status of grpc's
	}
	s.stats.scans.Add(1)
	defer s.stats.scans.Add(-1)
	out := newSender(s, stream, req, &connectors.Query{Limit: tag.limit, Stats: tag.stats})
	if err := readFlight(ctx, r, out); err != nil {
		return err
	}
	return s.sharedFooter(ctx, r, tag, out, joined)
}

// readFlight sends a flight's batches.
func readFlight(ctx context.Context, r *flight.Reader, out *sender) error {
	for {
		batch, err := r.Next(ctx)
		if err == nil {
			err = out.send(batch.Tuples, batch.Rows)
		}
		switch {
		case out.failed != nil:
			return out.failed
		case errors.Is(err, io.EOF), errors.Is(err, rows.ErrStop):
			return nil
		case errors.Is(err, flight.ErrBehind):
			return &connectors.Error{Class: connectors.LimitExceeded,
				Message: "the rows that are still to come are not kept any longer",
				Detail:  "Several sessions read the result of one API request, and this one was so far behind that it held up the others.",
				Hint:    "Fetch the rows sooner, or set the option cache 'off'."}
		case errors.Is(err, flight.ErrClosed):
			return &connectors.Error{Class: connectors.Unavailable, Message: "the sidecar is stopping"}
		case err != nil:
			return err
		}
	}
}

func (s *Server) sharedFooter(ctx context.Context, r *flight.Reader, tag *shared, out *sender, joined bool) error {
	footer := &hallwayv1.ScanFooter{Stats: &hallwayv1.ScanStats{Rows: out.sent}, TotalRows: finite(tag.result.TotalRows), Warnings: callOf(ctx).conn.told.news(tag.result.Warnings)}
	if !joined {
		footer.Stats = statsMessage(tag.stats)
	}
	patience, unknown := s.cfg.footerPatience, "still being kept"
	if !tag.kept {
		patience, unknown = time.Millisecond, "not kept"
	}
	o, known := r.Outcome(ctx, patience)
	if !known {
		o.Text = unknown
	}
	footer.Cache = o.Text
	if joined {
		footer.Cache = "joined another scan's"
	}
	if c := callOf(ctx); o.Warning != "" && c.conn.warned.CompareAndSwap(false, true) {
		footer.Warnings = append(footer.Warnings, o.Warning)
	}
	return out.footer(footer)
}

// flightKey is the same for scans that bring the same tuples in the same order.
func flightKey(rel *relation, t *cachedTable, region cache.Region, q *connectors.Query, ordering uint32) string {
	d := newDigest()
	d.ints(t.id.SystemIdentifier, uint64(t.id.Timeline), uint64(t.id.DatabaseOID), uint64(t.at.Port), uint64(t.def.Relid),
		rel.shape, q.Limit, uint64(ordering), uint64(region.Hash))
	d.text(t.at.SocketDirectory, string(t.def.Account), string(rel.table[:]), string(region.Predicate))
	d.text() // an end
	for _, k := range q.Ordering {
		d.text(fmt.Sprint(k))
	}
	for _, c := range q.Columns {
		d.ints(uint64(c))
	}
	sum := d.sum()
	return string(sum[:])
}

// flight is the work of a flight: the scan, with what keeps its rows beside it.
// It releases b.
func (s *Server) flight(b *bound, q *connectors.Query, region cache.Region, f *overlay.Filter, tag *shared, maxAge time.Duration) flight.Work {
	return func(ctx context.Context, fl *flight.Flight) (err error) {
		defer b.release()
		defer func() {
			if p := recover(); p != nil {
				err = s.recovered(ctx, p)
			}
		}()
		reached := false
		switch {
		case tag.t.def.Replica:
			fl.Settle(s.notKept(reasonReplica, errors.New("the table is a replica")))
		case !tag.kept:
			fl.Settle(s.notKept(reasonUnsure, errors.New("rows were written that the API's list may not show yet")))
		case q.Limit > 0:
			// Whether the rows are all there is, is known at the end only.
			k := &keeper{s: s, t: tag.t, region: region, started: fl.Started(), scanned: make(chan bool, 1)}
			defer func() { k.scanned <- err == nil && !reached }()
			fl.Keep(k.keepIfWhole)
		default:
			k := &keeper{s: s, t: tag.t, region: region, started: fl.Started(), begun: make(chan begun, 1), again: make(chan time.Duration)}
			fl.Keep(k.keep)
			found, err := s.elsewhere(ctx, fl, k, f, q.Ordering != nil, maxAge)
			if found || err != nil {
				return err
			}
		}
		s.keeping.asked.Add(1)
		tag.result, err = runScan(ctx, b, q, f, stopAfter(q.Limit, &reached, fl.Append))
		if errors.Is(err, rows.ErrStop) && ctx.Err() == nil {
			return nil
		}
		return err
	}
}

// stopAfter ends a scan at its limit, if it has one, and says so in reached.
func stopAfter(limit uint64, reached *bool, sink rows.Sink) rows.Sink {
	if limit == 0 {
		return sink
	}
	sent := uint64(0)
	return func(tuples []byte, n int) error {
		if err := sink(tuples, n); err != nil {
			return err
		}
		if sent += uint64(n); sent >= limit {
			*reached = true
			return rows.ErrStop
		}
		return nil
	}
}

// keeper brings a flight's rows into the cache.
type keeper struct {
	s       *Server
	t       *cachedTable
	region  cache.Region
	started time.Time
	// begun says what came of each beginning. Where another sidecar was busy, one
	// more follows for each age that is sent on again, until that is closed.
	begun   chan begun
	again   chan time.Duration
	scanned chan bool // whether a limited scan has brought all there is
}

// keep reads the flight beside the others and writes to the cache.
func (k *keeper) keep(ctx context.Context, r *flight.Reader) flight.Outcome {
	table, fill, err := k.begin(ctx)
	k.begun <- begun{table, err}
	for k.waits(err) {
		maxAge, ok := <-k.again
		if !ok {
			break
		}
		fill, err = k.takeOver(ctx, table, maxAge)
		k.begun <- begun{table, err}
	}
	if errors.Is(err, errThere) {
		return flight.Outcome{Text: "not kept: " + err.Error(), Err: err}
	}
	if err != nil {
		return k.s.notKept(reasonOf(err), err)
	}
	defer fill.Abort()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-r.Flight().Held():
			fill.Yield()
		case <-done:
		}
	}()
	for {
		batch, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return k.commit(ctx, fill)
		}
		if err != nil {
			if !errors.Is(err, flight.ErrBehind) {
				return k.s.notKept(reasonScan, errors.New("the scan did not end well"))
			}
			return k.s.notKept(reasonBehind, errors.New("the database was slower than the API"))
		}
		if err := fill.Write(batch.Tuples, batch.Rows); err != nil {
			return k.s.notKept(reasonOf(err), err)
		}
	}
}

// keepIfWhole is keep for a scan with a limit.
func (k *keeper) keepIfWhole(ctx context.Context, r *flight.Reader) flight.Outcome {
	select {
	case whole := <-k.scanned:
		if !whole {
			return k.s.notKept(reasonLimit, errors.New("a LIMIT was reached"))
		}
	case <-ctx.Done():
		return k.s.notKept(reasonScan, ctx.Err())
	}
	k.begun = make(chan begun, 1)
	return k.keep(ctx, r)
}

func (k *keeper) begin(ctx context.Context) (CacheTable, CacheFill, error) {
	table, err := k.t.db.Table(ctx, k.t.def)
	if err != nil {
		return nil, nil, err
	}
	fill, err := table.Begin(ctx, k.region, k.started)
	return table, fill, err
}

func (k *keeper) commit(ctx context.Context, fill CacheFill) flight.Outcome {
	n, err := fill.Commit(ctx)
	if err != nil {
		return k.s.notKept(reasonOf(err), err)
	}
	k.s.keeping.fills.Add(1)
	k.s.keeping.rows.Add(uint64(n))
	return flight.Outcome{Text: "filled", Rows: n}
}

// notKept is the outcome of rows that are not kept.
func (s *Server) notKept(reason string, err error) flight.Outcome {
	s.keeping.failed(reason)
	s.log.Debug("rows are not kept", "reason", reason, "error", err.Error())
	o := flight.Outcome{Text: "not kept: " + cleanText(err.Error(), 200), Err: err}
	var unreachable *database.UnreachableError
	if errors.As(err, &unreachable) {
		o.Warning = "nothing is cached: the sidecar cannot use this database: " + cleanText(unreachable.Error(), maxMessage)
	}
	return o
}

// Reasons why rows are not kept, for metrics.
const (
	reasonUnreachable = "unreachable"
	reasonBusy        = "busy"
	reasonShape       = "definition"
	reasonStandby     = "standby"
	reasonOvertaken   = "overtaken"
	reasonDuplicate   = "duplicate"
	reasonLocked      = "locked"
	reasonScan        = "scan"
	reasonBehind      = "behind"
	reasonLimit       = "limit"
	reasonUnsure      = "unsure"
	reasonReplica     = "replica"
	reasonError       = "error"
)

func reasonOf(err error) string {
	var unreachable *database.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return reasonUnreachable
	case errors.Is(err, cache.ErrBusy):
		return reasonBusy
	case errors.Is(err, cache.ErrShape):
		return reasonShape
	case errors.Is(err, cache.ErrStandby):
		return reasonStandby
	case errors.Is(err, cache.ErrOvertaken):
		return reasonOvertaken
	case errors.Is(err, cache.ErrDuplicate):
		return reasonDuplicate
	case errors.Is(err, context.Canceled):
		return reasonScan
	case cache.IsLocked(err):
		return reasonLocked
	}
	return reasonError
}
