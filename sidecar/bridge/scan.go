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
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Scan streams header, batches and footer.
func (s *Server) Scan(req *hallwayv1.ScanRequest, stream grpc.ServerStreamingServer[hallwayv1.ScanResponse]) error {
	ctx := stream.Context()
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return err
	}
	defer b.release()
	q, header, err := prepareScan(ctx, b, req)
	if err != nil {
		return err
	}
	err = stream.Send(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Header{Header: header}})
	if err != nil || req.GetExplainOnly() {
		return err //nolint:wrapcheck // a status of grpc's
	}
	s.stats.scans.Add(1)
	defer s.stats.scans.Add(-1)

	out := &sender{s: s, stream: stream, limit: q.Limit}
	if req.GetProgress() {
		out.progress = q.Stats
	}
	builder := rows.NewBuilder(b.rel.typesAt(q.Columns), out.send, rows.Options{Reuse: true})
	result, err := b.table.Scan(ctx, q, builder)
	if err == nil {
		err = builder.Flush()
	}
	if errors.Is(err, rows.ErrStop) && out.failed == nil && ctx.Err() == nil {
		err = nil // the limit was reached
	}
	if err != nil {
		if out.failed != nil {
			// The backend has gone; what the connector made of that is no news.
			return out.failed
		}
		return onColumn(err, b.rel.spec.Columns, q.Columns)
	}
	for i, w := range result.Warnings {
		result.Warnings[i] = cleanText(w, maxMessage)
	}
	return stream.Send(&hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Footer{Footer: &hallwayv1.ScanFooter{ //nolint:wrapcheck // as above
		Stats: statsMessage(q.Stats), TotalRows: finite(result.TotalRows), Warnings: result.Warnings}}})
}

// prepareScan makes the query of a plan with its values.
func prepareScan(ctx context.Context, b *bound, req *hallwayv1.ScanRequest) (connectors.Query, *hallwayv1.ScanHeader, error) {
	var q connectors.Query
	fail := func(err error) (connectors.Query, *hallwayv1.ScanHeader, error) { return q, nil, err }
	if n := len(req.GetParameters()); n > maxParameters {
		return fail(protocolError("%d parameters", n))
	}
	asked, answered, err := decodePlan(b.rel, req.GetPlan())
	if err != nil {
		return fail(err)
	}
	asked.Columns = req.GetColumns()
	r, err := convert(b.rel, asked, true, req.GetParameters())
	if err != nil {
		return fail(err)
	}
	// What was said at planning was for the shape; the values decide.
	now, err := planned(b.table, r)
	if err != nil {
		return fail(err)
	}
	header := &hallwayv1.ScanHeader{RequestId: RequestID(ctx)}
	allExact := true
	for i, v := range now.verdicts(r) {
		exact := v.GetVerdict() == hallwayv1.Verdict_VERDICT_EXACT
		allExact = allExact && exact
		if !exact && answered.GetVerdicts()[i].GetVerdict() == hallwayv1.Verdict_VERDICT_EXACT {
			header.Recheck = append(header.Recheck, uint32(i))
		}
	}
	q.Request, q.Stats, q.Sample = r.Request, &connectors.Stats{}, req.GetSampleRows()
	if o := req.GetOrdering(); o > 0 {
		if int64(o) > int64(len(r.Orderings)) {
			return fail(protocolError("ordering %d of %d", o, len(r.Orderings)))
		}
		if !slices.Contains(now.ExactOrderings, int(o)-1) {
			return fail(stalePlan("The API does not deliver the order that the plan relies upon."))
		}
		q.Ordering = r.Orderings[o-1]
	}
	if req.GetLimit() > 0 && allExact && now.LimitExact && r.LimitPossible && answered.GetLimitExact() {
		q.Limit = req.GetLimit()
	}
	header.Request = cleanText(b.table.Request(q), maxRequestText)
	return q, header, nil
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
