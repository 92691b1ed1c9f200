// Modify: rows to the API, and what it answers.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// maxBatchRows bounds one Modify.
const maxBatchRows = 100000

// Modify writes rows and answers after the API has.
func (s *Server) Modify(ctx context.Context, req *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	s.committed(ctx, req.GetCommitted())
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	ctx = counted(ctx, b, req.GetStatement())
	m, ok := b.table.(connectors.Modifier)
	if !ok {
		return nil, &connectors.Error{Class: connectors.NotSupported,
			Message: fmt.Sprintf("foreign table %q cannot be written: connector %q is read-only", b.rel.spec.Name, b.rel.connector)}
	}
	batch, err := batchOf(b.rel, req)
	if err != nil {
		return nil, err
	}
	batch.Jobs = true
	var returned []byte
	returnedRows := 0
	batch.Returning = rows.NewBuilder(b.rel.typesAt(batch.ReturningColumns), func(tuples []byte, n int) error {
		returned = append(returned, tuples...)
		returnedRows += n
		return nil
	}, rows.Options{Reuse: true})

	if req.GetDryRun() {
		list, err := s.dryRequests(b, m, batch)
		if err != nil {
			return nil, fmt.Errorf("describing the write: %w", err)
		}
		return &hallwayv1.ModifyResponse{Requests: list}, nil
	}
	j, err := s.journaling(ctx, b, req)
	if err != nil {
		return nil, err
	}
	if req.GetAfterCommit() {
		return j.queue(ctx, batch)
	}
	if err := j.adopt(ctx); err != nil {
		return nil, err
	}
	if err := s.undone(ctx, req.GetTransaction().GetSubxid()); err != nil {
		return nil, err
	}
	s.stats.writes.Add(1)
	defer s.stats.writes.Add(-1)
	number := uint64(0)
	t := s.known(callOf(ctx), b)
	err = s.writeParts(ctx, b, m, batch, writeOptions{SkipUnchanged: req.GetSkipUnchanged(), Images: j.images(), XID: req.GetTransaction().GetXid()},
		func(ctx context.Context, p *part) error {
			w, err := s.takeTurns(ctx, b, j, p)
			if err != nil {
				return err
			}
			defer w.unknown() // a panic
			n, err := s.sendPart(ctx, b, m, t, p, w.record, w.done)
			number = max(number, n)
			return err
		})
	// A write that failed after all gets no number to wait for.
	settle := func() { s.settleSoon(ctx, t, number) }
	if err != nil {
		settle()
		return nil, err
	}
	if err := batch.Returning.Flush(); err != nil {
		settle()
		return nil, connectors.AfterWrite(onColumn(err, b.rel.spec.Columns, batch.ReturningColumns))
	}
	resp := &hallwayv1.ModifyResponse{Tuples: returned, WriteNumber: number, Calls: batch.Stats.Calls.Load()}
	if err := s.results(ctx, batch, resp); err != nil {
		settle()
		return nil, err
	}
	applied := 0
	for _, r := range resp.GetResults() {
		if r.GetOutcome() == hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED {
			applied++
		}
	}
	if len(batch.ReturningColumns) > 0 && returnedRows != applied {
		return nil, connectors.AfterWrite(&connectors.Error{Class: connectors.Internal,
			Message: fmt.Sprintf("the connector returned %d rows for %d that it wrote", returnedRows, applied)})
	}
	s.log.DebugContext(ctx, "wrote", "operation", req.GetOperation().String(), "rows", len(batch.Rows), "applied", applied,
		"xid", req.GetTransaction().GetXid(), "idempotency_key", req.GetIdempotencyKey())
	return resp, nil
}

// sendPart has the connector write rows, and tells the cache. before is called
// when the cache has said what it wants of the answer, after when that is there.
// The number is for Settle.
func (s *Server) sendPart(ctx context.Context, b *bound, m connectors.Modifier, t *cachedTable, p *part, before func(*written), after func(error)) (uint64, error) {
	seen := s.beginWrite(t, b.rel, p.batch)
	defer seen.unknown() // a panic
	before(seen)
	if c := callOf(ctx); c != nil {
		c.write = true
	}
	if err := m.Modify(ctx, p.batch); err != nil {
		var held *heldError
		if errors.As(err, &held) && !wrote(err, p.batch) {
			seen.nothing()
			after(held.err)
			return 0, held.err
		}
		err = onColumn(unknownIfSent(err), b.rel.spec.Columns, p.batch.ReturningColumns)
		done := wrote(err, p.batch)
		if done {
			err = connectors.AfterWrite(err)
		}
		number := uint64(0)
		if done || isUnknown(err) {
			number = seen.unknown()
		} else {
			seen.nothing()
		}
		after(err)
		return number, err
	}
	number := seen.done()
	after(nil)
	return number, nil
}

// unknownIfSent makes plain context errors of a write honest: once a connector
// was asked to write, only its own typed error can tell that nothing happened.
func unknownIfSent(err error) error {
	var ce *connectors.Error
	var conv *rows.ConversionError
	if errors.As(err, &ce) || errors.As(err, &conv) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &connectors.Error{Class: connectors.UnknownOutcome,
			Message: "the write was interrupted: whether the API has done it is not known", Err: err}
	}
	return err
}

// isUnknown reports whether, after err, the API may have written. An error that
// is not a connector's says nothing.
func isUnknown(err error) bool {
	var ce *connectors.Error
	return !errors.As(err, &ce) || ce.Class == connectors.UnknownOutcome
}

// wrote reports whether the API has written, though Modify failed with err: the
// connector says so, or it got as far as a row to return.
func wrote(err error, batch *connectors.Batch) bool {
	var conv *rows.ConversionError
	return errors.As(err, &conv) || slices.ContainsFunc(batch.Results,
		func(r connectors.Result) bool { return r.Outcome == connectors.Applied })
}

// results translates the connector's results; a single row that was refused
// is the call's own error.
func (s *Server) results(ctx context.Context, batch *connectors.Batch, resp *hallwayv1.ModifyResponse) error {
	if len(batch.Results) != len(batch.Rows) {
		return connectors.AfterWrite(&connectors.Error{Class: connectors.Internal,
			Message: fmt.Sprintf("the connector gave %d results for %d rows", len(batch.Results), len(batch.Rows))})
	}
	for i, r := range batch.Results {
		out := &hallwayv1.RowResult{Created: r.Created, Unchanged: r.Unchanged, Bystander: r.Bystander}
		switch r.Outcome {
		case connectors.Applied:
			out.Outcome = hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED
		case connectors.NotFound:
			out.Outcome = hallwayv1.RowOutcome_ROW_OUTCOME_NOT_FOUND
		case connectors.NotSent:
			out.Outcome = hallwayv1.RowOutcome_ROW_OUTCOME_NOT_SENT
		case connectors.Refused:
			refusal := r.Err
			if refusal == nil {
				refusal = &connectors.Error{Class: connectors.CheckViolation, Message: "the API refused the row without saying why"}
			}
			if len(batch.Rows) == 1 {
				return refusal
			}
			s.log.InfoContext(ctx, "row refused", "row", i+1, "error", refusal.Error())
			_, out.Error = wireError(ctx, callOf(ctx), refusal)
			fitWire(out.Error)
			out.Error.Row = uint32(i) + 1
			out.Outcome = hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED
		default:
			return connectors.AfterWrite(&connectors.Error{Class: connectors.Internal,
				Message: fmt.Sprintf("the connector did not say what became of row %d", i+1)})
		}
		resp.Results = append(resp.Results, out)
	}
	return nil
}

// batchOf decodes a request.
func batchOf(rel *relation, req *hallwayv1.ModifyRequest) (*connectors.Batch, error) {
	b := &connectors.Batch{IdempotencyKey: req.GetIdempotencyKey(), Stats: &connectors.Stats{}}
	switch req.GetOperation() {
	case hallwayv1.Operation_OPERATION_INSERT:
		b.Op = connectors.Insert
	case hallwayv1.Operation_OPERATION_UPDATE:
		b.Op = connectors.Update
	case hallwayv1.Operation_OPERATION_DELETE:
		b.Op = connectors.Delete
	case hallwayv1.Operation_OPERATION_UPSERT:
		b.Op = connectors.Upsert
	default:
		return nil, protocolError("operation %d", req.GetOperation())
	}
	var err error
	if b.KeyColumns, err = rel.columnsAt(req.GetKeyColumns()); err != nil {
		return nil, err
	}
	if b.Columns, err = rel.columnsAt(req.GetColumns()); err != nil {
		return nil, err
	}
	if b.MatchColumns, err = rel.columnsAt(req.GetMatchColumns()); err != nil {
		return nil, err
	}
	if b.ReturningColumns, err = rel.columnsAt(req.GetReturning()); err != nil {
		return nil, err
	}
	switch n := req.GetRows(); {
	case n == 0 || n > maxBatchRows:
		return nil, protocolError("a write of %d rows", n)
	case (b.Op == connectors.Insert || b.Op == connectors.Upsert) && len(b.KeyColumns) > 0:
		return nil, protocolError("an INSERT with key columns")
	case (b.Op == connectors.Update || b.Op == connectors.Delete) && len(b.KeyColumns) == 0:
		return nil, protocolError("an UPDATE or DELETE without key columns")
	case (b.Op == connectors.Upsert) != (len(b.MatchColumns) > 0):
		return nil, protocolError("match columns without an UPSERT, or the other way round")
	case slices.ContainsFunc(b.MatchColumns, func(c int) bool { return !slices.Contains(b.Columns, c) }):
		return nil, protocolError("an UPSERT that matches by a column that it does not give")
	case b.Op == connectors.Delete && len(b.Columns) > 0:
		return nil, protocolError("a DELETE with values")
	}
	b.Rows, err = decodeRows(rel, b.KeyColumns, b.Columns, req.GetTuples(), int(req.GetRows()))
	return b, err
}

// decodeRows reads n tuples of the key's columns and the given ones.
func decodeRows(rel *relation, key, columns []int, data []byte, n int) ([]connectors.Row, error) {
	positions := append(append([]int{}, key...), columns...)
	list, err := rows.DecodeTuples(rel.typesAt(positions), data, n)
	var bin *rows.BinaryError
	if errors.As(err, &bin) && bin.SQLState == classes[connectors.NotSupported].sqlstate && bin.Column >= 0 && bin.Column < len(positions) {
		name := rel.spec.Columns[positions[bin.Column]].Name
		return nil, &connectors.Error{Class: connectors.NotSupported, Column: name,
			Message: fmt.Sprintf("column %q cannot be written: %s", name, bin.Reason), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the rows to write: %w", err)
	}
	out := make([]connectors.Row, len(list))
	for i, values := range list {
		out[i] = connectors.Row{Key: values[:len(key):len(key)], Values: values[len(key):]}
	}
	return out, nil
}
