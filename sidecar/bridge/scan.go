// Scan: rows from the API to the backend, as they come.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Scan streams header, batches and footer.
func (s *Server) Scan(req *hallwayv1.ScanRequest, stream grpc.ServerStreamingServer[hallwayv1.ScanResponse]) error {
	ctx := stream.Context()
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return err
	}
	if !req.GetExplainOnly() {
		if err := s.undone(ctx, 0); err != nil {
			// The API's rows are as they are; a write will say what is the matter.
			s.log.InfoContext(ctx, "reading what is still to be undone", "error", err.Error())
		}
	}
	t := s.cached(callOf(ctx), b)
	if t != nil && req.GetFill() != nil && !req.GetExplainOnly() && req.GetSampleRows() == 0 {
		return s.scanShared(req, stream, b, t)
	}
	defer b.release()
	ctx = counted(ctx, b, req.GetStatement())
	p, err := prepareScan(ctx, b, req, nil)
	if err != nil {
		return err
	}
	var f *overlay.Filter
	if t != nil && !req.GetExplainOnly() && req.GetSampleRows() == 0 {
		view := s.overlay.View(t.place)
		if p.query.Aggregation != nil && (view.Unsure || len(view.Rows) > 0) {
			return notAggregated("the API may not count own writes yet")
		}
		if f, err = p.lay(b.rel, t, view); err != nil {
			return err
		}
	}
	if !req.GetExplainOnly() {
		p.forewarn(ctx, b)
	}
	err = stream.Send(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Header{Header: p.header}})
	if err != nil || req.GetExplainOnly() {
		return err //nolint:wrapcheck // a status of grpc's
	}
	s.stats.scans.Add(1)
	defer s.stats.scans.Add(-1)
	out := newSender(s, stream, req, &p.query)
	result, err := runScan(ctx, b, &p.query, f, out.send)
	if out.failed != nil {
		// The backend has gone; what the connector made of that is no news.
		return out.failed
	}
	if errors.Is(err, rows.ErrStop) && ctx.Err() == nil {
		err = nil // the limit was reached
	}
	if err != nil {
		return err
	}
	return out.footer(&hallwayv1.ScanFooter{Stats: statsMessage(p.query.Stats),
		TotalRows: finite(result.TotalRows), Warnings: callOf(ctx).conn.told.news(result.Warnings)})
}

// runScan calls the API and hands its rows over, with the filter, which may be
// nil, laid over them. The error names the table's column. It is rows.ErrStop if
// sink said so.
func runScan(ctx context.Context, b *bound, q *connectors.Query, f *overlay.Filter, sink rows.Sink) (connectors.ScanResult, error) {
	direct := sink
	if f != nil {
		direct = func(tuples []byte, _ int) error {
			tuples, n, err := f.Batch(tuples)
			if err != nil || n == 0 {
				return err
			}
			return sink(tuples, n)
		}
	}
	types := b.rel.typesAt(q.Columns)
	if q.Aggregation != nil {
		types = q.Aggregation.Types(b.rel.types())
	}
	builder := rows.NewBuilder(types, direct, rows.Options{Reuse: true})
	result, err := b.table.Scan(ctx, *q, builder)
	if err == nil {
		err = builder.Flush()
	}
	if err == nil && f != nil {
		if tuples, n := f.End(); n > 0 {
			err = sink(tuples, n)
		}
	}
	for i, w := range result.Warnings {
		result.Warnings[i] = cleanText(w, maxMessage)
	}
	return result, onColumn(err, b.rel.spec.Columns, q.Columns)
}

// prepared is a scan that is ready to run.
type prepared struct {
	query    connectors.Query
	header   *hallwayv1.ScanHeader
	answered *hallwayv1.PlanResponse
}

// prepareScan makes the query of a plan with its values. only, if not nil, are
// the conjuncts that the API is to be asked for; the others are the backend's.
func prepareScan(ctx context.Context, b *bound, req *hallwayv1.ScanRequest, only []uint32) (*prepared, error) {
	if n := len(req.GetParameters()); n > maxParameters {
		return nil, protocolError("%d parameters", n)
	}
	asked, answered, err := decodePlan(b.rel, req.GetPlan())
	if err != nil {
		return nil, err
	}
	all := len(asked.GetConjuncts())
	at := make([]int, all) // of the plan's conjuncts in asked; -1: left out
	for i := range at {
		at[i] = i
	}
	if only != nil {
		var some []*hallwayv1.Expr
		for i := range at {
			at[i] = -1
		}
		for _, i := range only {
			if int64(i) >= int64(all) || at[i] >= 0 {
				return nil, protocolError("conjunct %d of %d", i, all)
			}
			at[i] = len(some)
			some = append(some, asked.GetConjuncts()[i])
		}
		asked.Conjuncts = some
	}
	asked.Columns = req.GetColumns()
	r, err := convert(b.rel, asked, true, req.GetParameters())
	if err != nil {
		return nil, err
	}
	// What was said at planning was for the shape; the values decide.
	now, err := planned(b.table, r)
	if err != nil {
		return nil, err
	}
	p := &prepared{header: &hallwayv1.ScanHeader{RequestId: RequestID(ctx)}, answered: answered}
	q := &p.query
	allExact := true
	verdicts := now.verdicts(r)
	for i, before := range answered.GetVerdicts() {
		exact := at[i] >= 0 && verdicts[at[i]].GetVerdict() == hallwayv1.Verdict_VERDICT_EXACT
		allExact = allExact && exact
		if !exact && before.GetVerdict() == hallwayv1.Verdict_VERDICT_EXACT {
			p.header.Recheck = append(p.header.Recheck, uint32(i))
		}
	}
	q.Request, q.Stats, q.Sample, q.Whole = r.Request, &connectors.Stats{}, req.GetSampleRows(), req.GetWhole()
	if r.Aggregation != nil {
		if req.GetFill() != nil || req.GetSampleRows() > 0 || req.GetOrdering() > 0 || req.GetLimit() > 0 {
			return nil, protocolError("an aggregation with a fill, sample, ordering or limit")
		}
		if !allExact || !now.AggregationExact {
			return nil, notAggregated("a condition is not exact for these values")
		}
	}
	if o := req.GetOrdering(); o > 0 {
		if int64(o) > int64(len(r.Orderings)) {
			return nil, protocolError("ordering %d of %d", o, len(r.Orderings))
		}
		if !slices.Contains(now.ExactOrderings, int(o)-1) {
			return nil, stalePlan("The API does not deliver the order that the plan relies upon.")
		}
		q.Ordering = r.Orderings[o-1]
	}
	if req.GetLimit() > 0 && allExact && now.LimitExact && r.LimitPossible && answered.GetLimitExact() {
		q.Limit = req.GetLimit()
	}
	p.header.Request = cleanText(b.table.Request(*q), maxRequestText)
	return p, nil
}

// forewarn has the header tell what is known of the scan's warnings: its end is not
// heard by whoever has enough rows.
func (p *prepared) forewarn(ctx context.Context, b *bound) {
	w, ok := b.table.(connectors.Forewarning)
	if !ok {
		return
	}
	warnings := slices.Clone(w.Warnings(p.query.Columns))
	for i := range warnings {
		warnings[i] = cleanText(warnings[i], maxMessage)
	}
	p.header.Warnings = callOf(ctx).conn.told.news(warnings)
}

// notAggregated has the backend read the rows.
func notAggregated(why string) error {
	return &connectors.Error{Class: connectors.NotAggregated, Message: why}
}

// lay prepares a view of own writes to be laid over the scan; nil: there are
// none, or they cannot be brought into the order that is relied upon.
func (p *prepared) lay(rel *relation, t *cachedTable, view overlay.View) (*overlay.Filter, error) {
	if len(view.Rows) == 0 {
		return nil, nil
	}
	q := &p.query
	columns, extra := overlay.Columns(q.Columns, t.def.Key, q.Ordering)
	f, err := view.Filter(overlay.Scan{Types: rel.types(), Columns: columns, Extra: extra, Key: t.def.Key,
		Conjuncts: q.Conjuncts, Ordering: q.Ordering})
	var unsupported *pushdown.UnsupportedError
	var failed *pushdown.EvalError
	switch {
	case errors.As(err, &unsupported):
		return nil, nil
	case errors.As(err, &failed):
		return nil, &connectors.Error{Class: connectors.CheckViolation, Message: failed.Message, Err: err}
	case err != nil:
		return nil, fmt.Errorf("laying own writes over a scan: %w", err)
	}
	// The API would count rows that are taken out.
	q.Columns, q.Limit = columns, 0
	if f.Unjudged() {
		p.recheckAll()
	}
	return f, nil
}

// recheckAll leaves all that the plan called exact to PostgreSQL.
func (p *prepared) recheckAll() {
	p.header.Recheck = nil
	for i, v := range p.answered.GetVerdicts() {
		if v.GetVerdict() == hallwayv1.Verdict_VERDICT_EXACT {
			p.header.Recheck = append(p.header.Recheck, uint32(i))
		}
	}
}

// maxRequestText bounds what EXPLAIN shows of a request, in bytes.
const maxRequestText = 64 << 10

// sender puts batches on the stream. Send blocks while the backend is behind,
// and so does the connector then.
type sender struct {
	s      *Server
	stream grpc.ServerStreamingServer[hallwayv1.ScanResponse]
	limit  uint64
	sent   uint64
	failed error
	// Sent before each batch; nil: not asked for.
	progress *connectors.Stats

	// One message for all batches: Send has encoded it when it returns.
	msg   hallwayv1.ScanResponse
	batch hallwayv1.ScanResponse_Batch
	rows  hallwayv1.RowBatch
}

func newSender(s *Server, stream grpc.ServerStreamingServer[hallwayv1.ScanResponse], req *hallwayv1.ScanRequest, q *connectors.Query) *sender {
	out := &sender{s: s, stream: stream, limit: q.Limit}
	if req.GetProgress() {
		out.progress = q.Stats
	}
	return out
}

// footer ends the stream.
func (o *sender) footer(f *hallwayv1.ScanFooter) error {
	return o.stream.Send(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Footer{Footer: f}}) //nolint:wrapcheck // a status of grpc's
}

func (o *sender) send(tuples []byte, n int) error {
	if o.progress != nil {
		o.msg.Message = &hallwayv1.ScanResponse_Progress{Progress: statsMessage(o.progress)}
		if err := o.stream.Send(&o.msg); err != nil {
			o.failed = fmt.Errorf("sending progress: %w", err)
			return rows.ErrStop
		}
	}
	o.rows.Tuples, o.rows.Rows = tuples, uint32(n)
	o.batch.Batch = &o.rows
	o.msg.Message = &o.batch
	if err := o.stream.Send(&o.msg); err != nil {
		o.failed = fmt.Errorf("sending rows: %w", err)
		return rows.ErrStop
	}
	o.s.stats.rowsSent.Add(uint64(n))
	o.s.stats.bytesSent.Add(uint64(len(tuples)))
	if o.sent += uint64(n); o.limit > 0 && o.sent >= o.limit {
		return rows.ErrStop
	}
	return nil
}

func statsMessage(st *connectors.Stats) *hallwayv1.ScanStats {
	return &hallwayv1.ScanStats{
		Calls: st.Calls.Load(), Pages: st.Pages.Load(), Rows: st.Rows.Load(), Retries: st.Retries.Load(),
		LimitWaitMs: st.LimitWaitMicros.Load() / 1000, ApiMs: st.APIMicros.Load() / 1000, ApiBytes: st.Bytes.Load(),
	}
}
