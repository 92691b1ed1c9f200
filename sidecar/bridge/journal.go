// Writes on their way through the journal: what of a request it keeps before the
// API is called, and what of the answer afterwards.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// journaling is what a Modify has to be journaled by. nil: it is not.
type journaling struct {
	s      *Server
	b      *bound
	desc   connectors.Description
	stmt   *journal.Statement
	values bool // may be kept
	// number of row i of the request in its statement.
	number func(i int) uint64
}

// journaling says how a Modify is journaled.
func (s *Server) journaling(ctx context.Context, b *bound, req *hallwayv1.ModifyRequest) (*journaling, error) {
	if s.cfg.Journal == nil || req.GetUnjournaled() {
		if req.GetAfterCommit() {
			return nil, &connectors.Error{Class: connectors.NotSupported, Message: "rows cannot be kept for after the commit without the journal",
				Hint: "Set the option journal to 'true', or write_at to 'statement' or 'commit'."}
		}
		return nil, nil
	}
	c := callOf(ctx)
	peer := c.conn.backend()
	x := req.GetTransaction()
	if peer.identity == (cache.Identity{}) || x.GetXid() == 0 || x.GetSubxid() == 0 {
		return nil, protocolError("a write to be journaled that does not tell its database and transaction")
	}
	compensate := req.GetOnRollback() == hallwayv1.OnRollback_ON_ROLLBACK_COMPENSATE
	if req.GetValuesUnjournaled() && (req.GetAfterCommit() || compensate && req.GetOperation() != hallwayv1.Operation_OPERATION_INSERT) {
		return nil, &connectors.Error{Class: connectors.NotSupported, Message: "the write needs the journal to hold values of its rows",
			Detail: "To send rows after the commit, or to undo an UPDATE or DELETE, their values must be known then.",
			Hint:   "Set the option journal_values to 'true', or write_at to 'statement' and on_rollback to 'keep'."}
	}
	d := b.table.Describe()
	j := &journaling{s: s, b: b, desc: d, values: !req.GetValuesUnjournaled(), stmt: &journal.Statement{
		ID: peer.identity, Address: peer.address, XID: x.GetXid(), SubXID: x.GetSubxid(),
		PID: peer.pid, Application: peer.application, Role: b.rel.def.GetUserName(),
		Relid: b.rel.policy.relid, ServerOID: b.rel.policy.serverOID,
		Table:  pushdown.QuoteIdentifier(b.rel.spec.Schema) + "." + pushdown.QuoteIdentifier(b.rel.spec.Name),
		Server: b.rel.server.Name, Object: d.Object, RequestID: c.id,
		Compensate: compensate, AfterCommit: req.GetAfterCommit(), Session: &c.conn.session,
	}}
	id, at, rel := peer.identity, peer.address, b.rel
	j.stmt.Open = func(ctx context.Context) (journal.Table, error) { return s.openJournaled(ctx, id, at, rel) }
	j.number = func(i int) uint64 { return req.GetRowsBefore() + uint64(i) + 1 }
	if list := req.GetRowNumbers(); len(list) > 0 {
		if len(list) != int(req.GetRows()) {
			return nil, protocolError("%d row numbers for %d rows", len(list), req.GetRows())
		}
		j.number = func(i int) uint64 { return list[i] }
	}
	return j, nil
}

// undone waits until what the session has rolled back is undone in the API.
func (s *Server) undone(ctx context.Context, current uint64) error {
	c := callOf(ctx)
	if s.cfg.Journal == nil || c == nil || c.conn == nil || c.conn.backend() == nil {
		return nil
	}
	peer := c.conn.backend()
	if err := s.cfg.Journal.Undone(ctx, peer.identity, peer.address, &c.conn.session, current); err != nil {
		return fmt.Errorf("waiting for rows to be undone: %w", err)
	}
	return nil
}

// adopt takes over what the backend wrote before this sidecar was there.
func (j *journaling) adopt(ctx context.Context) error {
	if !j.images() {
		return nil
	}
	if err := j.s.cfg.Journal.Adopt(ctx, j.stmt.ID, j.stmt.Address, j.stmt.Session, j.stmt.PID); err != nil {
		return fmt.Errorf("looking for rows to be undone: %w", err)
	}
	return nil
}

// images says that what rows are before the write must be known.
func (j *journaling) images() bool { return j != nil && j.stmt.Compensate }

// begin journals rows that are about to be sent, or, if there are more, the first of
// them: at are their positions in the request.
func (j *journaling) begin(ctx context.Context, batch *connectors.Batch, at []int, before []*liveRow, first int) (*journaled, error) {
	if j == nil {
		return nil, nil
	}
	w := &journaled{j: j, batch: batch, at: at, before: before}
	if !j.stmt.AfterCommit {
		w.keys = requestKeys(j.b.table, &j.desc, batch)
	}
	if w.stage(ctx, first); w.begun() < len(batch.Rows) {
		return w, nil
	}
	if err := w.await(len(batch.Rows)); err != nil {
		return nil, err
	}
	return w, nil
}

// requestKeys are the idempotency keys of a batch's requests by row, under which each
// can be sent again by itself; nil: none can.
func requestKeys(t connectors.Table, d *connectors.Description, batch *connectors.Batch) []string {
	r, ok := t.(connectors.Replayer)
	if !ok || !d.Idempotent || batch.IdempotencyKey == "" || batch.Op == connectors.Delete {
		return nil
	}
	if u, ok := t.(connectors.Upserter); batch.Op == connectors.Upsert && (!ok || !u.Upserts(batch.MatchColumns)) {
		return nil
	}
	keys, err := r.RequestKeys(batch)
	if err != nil || len(keys) != len(batch.Rows) {
		return nil // then Modify fails, too
	}
	return keys
}

// commit journals the rows from first up to end.
func (w *journaled) commit(ctx context.Context, first, end int) (*journal.Write, error) {
	j, batch := w.j, w.batch
	list := &journal.Rows{Op: batch.Op, IdempotencyKey: batch.IdempotencyKey, Columns: []string{}, Rows: make([]journal.Entry, end-first)}
	spec := j.b.rel.spec.Columns
	for _, c := range batch.Columns {
		list.Columns = append(list.Columns, spec[c].Name)
	}
	images, err := j.written(batch, batch.Rows[first:end])
	if err != nil {
		return nil, err
	}
	for i := range list.Rows {
		e, row := &list.Rows[i], &batch.Rows[first+i]
		e.Number = j.number(w.at[first+i])
		switch {
		case batch.Job != "":
			e.RequestKey = connectors.JobKey(batch.Job)
		case w.keys != nil:
			e.RequestKey = w.keys[first+i]
		}
		if batch.Op == connectors.Update || batch.Op == connectors.Delete {
			e.Key = j.key(batch.KeyColumns, row.Key)
		} else {
			e.Key = j.key(batch.Columns, row.Values)
		}
		if images != nil {
			e.Values = images[i]
		}
		if w.before == nil || w.before[first+i] == nil || !j.stmt.Compensate {
			continue
		}
		live := w.before[first+i]
		var columns []int
		for c, read := range live.Read {
			if read {
				columns = append(columns, c)
			}
		}
		e.Before = journal.NewImage(spec, columns, 0, live.Fields)
	}
	return j.s.cfg.Journal.Begin(ctx, j.stmt, list)
}

// key of a row as text; nil: it is not all there.
func (j *journaling) key(columns []int, values []pushdown.Value) []string {
	var out []string
	for _, k := range j.desc.Key {
		at := slices.Index(columns, k)
		if at < 0 || values[at].IsNull() {
			return nil
		}
		out = append(out, string(pushdown.AppendText(nil, values[at], j.b.rel.spec.Columns[k].Type)))
	}
	return out
}

// written are images of the values of a batch's rows; nil: they are not kept.
func (j *journaling) written(batch *connectors.Batch, list []connectors.Row) ([][]byte, error) {
	if !j.values || batch.Op == connectors.Delete {
		return nil, nil
	}
	spec := j.b.rel.spec.Columns
	order := slices.Clone(batch.MatchColumns)
	for _, c := range batch.Columns {
		if !slices.Contains(order, c) {
			order = append(order, c)
		}
	}
	var out [][]byte
	var failed error
	b := rows.NewBuilder(j.b.rel.typesAt(batch.Columns), func(tuple []byte, _ int) error {
		fields, err := overlay.Fields(tuple, batch.Columns, len(spec))
		if err != nil {
			return err
		}
		out = append(out, journal.NewImage(spec, order, len(batch.MatchColumns), fields))
		return nil
	}, rows.Options{First: 1, Next: 1})
	for i := range list {
		for _, v := range list[i].Values {
			b.Value(v)
		}
		if failed = b.EndRow(); failed != nil {
			break
		}
	}
	if failed == nil {
		failed = b.Flush()
	}
	if failed != nil || len(out) != len(list) {
		return nil, &connectors.Error{Class: connectors.Internal, Message: "the rows cannot be journaled", Err: failed}
	}
	return out, nil
}

// journaled is rows between intent and outcome. Its methods do nothing on nil, and
// nothing once the outcome is told.
type journaled struct {
	j      *journaling
	batch  *connectors.Batch
	at     []int
	before []*liveRow
	// keys of the requests by row; nil: see requestKeys.
	keys   []string
	stages []*stage
	// sent are the rows that may have been sent.
	sent int
	// What the API answered of each row: columns and tuples.
	columns []int
	tuples  *[][]byte
	told    bool
}

// record asks the connector for what the API answers, if nobody does.
func (w *journaled) record(seen *written) {
	switch {
	case w == nil || w.batch.Op == connectors.Delete:
	case seen != nil && !seen.t.off:
		w.columns, w.tuples = seen.t.columns, &seen.tuples
	case w.batch.Op == connectors.Update && !w.j.stmt.Compensate:
	default:
		columns := slices.Clone(w.j.desc.Key)
		if w.j.stmt.Compensate {
			columns = append(columns, w.batch.Columns...)
		}
		slices.Sort(columns)
		w.columns = slices.Compact(columns)
		w.tuples = recordOf(w.j.b.rel, w.batch, w.columns)
	}
}

// recordOf asks a connector for columns of each row as the API answers it, each in
// a tuple of its own.
func recordOf(rel *relation, batch *connectors.Batch, columns []int) *[][]byte {
	var tuples [][]byte
	if len(columns) > 0 {
		batch.RecordColumns = columns
		batch.Record = rows.NewBuilder(rel.typesAt(columns), func(tuple []byte, _ int) error {
			tuples = append(tuples, tuple)
			return nil
		}, rows.Options{First: 1, Next: 1})
	}
	return &tuples
}

// recordedRows are those answers by row; nil where there is none.
func recordedRows(batch *connectors.Batch, columns []int, tuples [][]byte, width int) []journal.Row {
	out := make([]journal.Row, len(batch.Rows))
	if len(batch.Recorded) != len(batch.Rows) {
		return out
	}
	next := 0
	for i, is := range batch.Recorded {
		if !is {
			continue
		}
		if next == len(tuples) {
			return make([]journal.Row, len(batch.Rows))
		}
		if fields, err := overlay.Fields(tuples[next], columns, width); err == nil {
			out[i] = fields
		}
		next++
	}
	if next != len(tuples) {
		return make([]journal.Row, len(batch.Rows))
	}
	return out
}

// done tells what the connector said of each row; err is what it failed with, if
// it did.
func (w *journaled) done(err error) {
	if w == nil || w.told {
		return
	}
	w.told = true
	spec := w.j.b.rel.spec.Columns
	answers := make([]journal.Row, len(w.batch.Rows))
	if w.tuples != nil {
		if w.batch.Record != nil && w.batch.Record.Flush() == nil {
			answers = recordedRows(w.batch, w.columns, *w.tuples, len(spec))
		}
	}
	out := make([]journal.Outcome, len(w.batch.Rows))
	for i := range out {
		r := connectors.Result{}
		if len(w.batch.Results) == len(w.batch.Rows) {
			r = w.batch.Results[i]
		}
		o := &out[i]
		switch {
		case r.Outcome == connectors.Applied:
			o.State, o.Created, o.Key = journal.Applied, r.Created, r.Key
			if a := answers[i]; a != nil {
				var key []pushdown.Value
				for _, k := range w.j.desc.Key {
					v, err := rows.DecodeValue(spec[k].Type, a[k])
					if a[k] == nil || err != nil {
						break
					}
					key = append(key, v)
				}
				if len(key) == len(w.j.desc.Key) {
					o.Key = w.j.key(w.j.desc.Key, key)
				}
				if w.j.stmt.Compensate && w.j.values {
					o.After = journal.NewImage(spec, w.columns, 0, a)
				}
			}
		case r.Outcome == connectors.NotFound:
			o.State, o.SQLState, o.Message = journal.Refused, "02000", "The API has no such row."
		case r.Outcome == connectors.Refused:
			o.State = journal.Refused
			o.SQLState, o.Message = w.j.explain(r.Err)
		case r.Outcome == connectors.NotSent || i >= w.sent:
			o.State, o.Message = journal.Refused, "It was not sent."
		case err == nil || isUnknown(err):
			o.State = journal.Unknown
			o.SQLState, o.Message = w.j.explain(err)
		default:
			o.State = journal.Refused
			o.SQLState, o.Message = w.j.explain(err)
		}
	}
	for _, st := range w.stages {
		list := out[st.first:st.end]
		select {
		case <-st.done:
			st.finish(list)
		default: // nothing of it was sent
			go func() { <-st.done; st.finish(list) }()
		}
	}
}

// unknown is for a panic.
func (w *journaled) unknown() {
	if w != nil && !w.told {
		w.batch.Results = nil
		w.done(nil)
	}
}

// explain is an error's SQLSTATE and text for the journal. APIs quote values in
// their refusals: where none may be kept, the text is not either.
func (j *journaling) explain(err error) (sqlstate, text string) {
	var ce *connectors.Error
	if !errors.As(err, &ce) || ce == nil {
		return "", ""
	}
	if j.values {
		text, _ = journal.Explain(ce)
	}
	return classes[ce.Class].sqlstate, text
}

// queue stores the rows of a request: they are sent when the transaction has
// committed.
func (j *journaling) queue(ctx context.Context, batch *connectors.Batch) (*hallwayv1.ModifyResponse, error) {
	if len(batch.ReturningColumns) > 0 {
		return nil, &connectors.Error{Class: connectors.NotSupported, Message: "RETURNING cannot be answered before the rows are sent",
			Hint: "Leave RETURNING out, or set write_at to 'statement'."}
	}
	at := make([]int, len(batch.Rows))
	for i := range at {
		at[i] = i
	}
	if _, err := j.begin(ctx, batch, at, nil, len(at)); err != nil {
		return nil, err
	}
	resp := &hallwayv1.ModifyResponse{}
	for range batch.Rows {
		resp.Results = append(resp.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED})
	}
	return resp, nil
}

// OpenJournal binds a table for the journal's own work. It is journal.Opener's
// Open.
func (s *Server) OpenJournal(ctx context.Context, id database.Identity, at database.Address, packed []byte) (journal.Table, error) {
	var def hallwayv1.Relation
	if err := proto.Unmarshal(packed, &def); err != nil {
		return nil, fmt.Errorf("reading the table's definition: %w", err)
	}
	rel, err := s.relations.intern(&def)
	if err != nil {
		return nil, err
	}
	return s.openJournaled(ctx, id, at, rel)
}

func (s *Server) openJournaled(ctx context.Context, id database.Identity, at database.Address, rel *relation) (journal.Table, error) {
	b, err := s.bindRelation(ctx, rel)
	if err != nil {
		return nil, err
	}
	m, ok := b.table.(connectors.Modifier)
	if !ok {
		b.release()
		return nil, &connectors.Error{Class: connectors.NotSupported, Message: "the table cannot be written"}
	}
	return &journalTable{s: s, b: b, m: m, cached: s.knownAt(id, at, b)}, nil
}

// journalTable is a table as the journal uses it.
type journalTable struct {
	s      *Server
	b      *bound
	m      connectors.Modifier
	cached *cachedTable
}

func (t *journalTable) Columns() []connectors.ColumnSpec { return t.b.rel.spec.Columns }

func (t *journalTable) Describe() connectors.Description { return t.b.table.Describe() }

func (t *journalTable) Release() { t.b.release() }

func (t *journalTable) RequestKeys(batch *connectors.Batch) []string {
	d := t.b.table.Describe()
	return requestKeys(t.b.table, &d, batch)
}

func (t *journalTable) Rows(ctx context.Context, match []int, values [][]pushdown.Value, columns []int) ([][]journal.Row, error) {
	columns = slices.DeleteFunc(slices.Clone(columns), func(c int) bool { return t.b.rel.spec.Columns[c].Generated })
	found, err := t.s.liveRows(ctx, t.b, match, values, columns, &connectors.Stats{})
	if err != nil {
		return nil, err
	}
	out := make([][]journal.Row, len(found))
	for i, list := range found {
		for _, r := range list {
			out[i] = append(out[i], r.Fields)
		}
	}
	return out, nil
}

func (t *journalTable) Loaded(ctx context.Context, job string, batch *connectors.Batch) error {
	l, ok := t.m.(connectors.Loader)
	if !ok {
		return &connectors.Error{Class: connectors.NotSupported, Message: fmt.Sprintf("what became of rows of job %s cannot be asked", job)}
	}
	err := l.Loaded(ctx, job, batch)
	if err == nil && len(batch.Results) != len(batch.Rows) {
		err = &connectors.Error{Class: connectors.Internal, Message: fmt.Sprintf("the connector gave %d results for %d rows", len(batch.Results), len(batch.Rows))}
	}
	if err != nil {
		return fmt.Errorf("asking what a job did: %w", err)
	}
	// The job may have gone on after what is kept of the API was read.
	t.s.beginWrite(t.cached, t.b.rel, batch).unknown()
	return nil
}

// Same compares two values as PostgreSQL does, in the binary format.
func (t *journalTable) Same(column int, a, b []byte) bool {
	typ := t.b.rel.spec.Columns[column].Type
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	x, err1 := rows.DecodeValue(typ, a)
	y, err2 := rows.DecodeValue(typ, b)
	return err1 == nil && err2 == nil && equalValues(typ, x, y)
}

func (t *journalTable) Modify(ctx context.Context, batch *connectors.Batch, recorded []int) ([]journal.Row, error) {
	out := make([]journal.Row, len(batch.Rows))
	err := t.s.writeParts(ctx, t.b, t.m, batch, writeOptions{}, func(ctx context.Context, p *part) error {
		var columns []int
		var tuples *[][]byte
		_, err := t.s.sendPart(ctx, t.b, t.m, t.cached, p, func(seen *written) {
			if seen != nil {
				columns, tuples = seen.t.columns, &seen.tuples
			} else if p.batch.Op != connectors.Delete {
				columns, tuples = recorded, recordOf(t.b.rel, p.batch, recorded)
			}
		}, func(error) {
			if tuples == nil || p.batch.Record == nil || p.batch.Record.Flush() != nil {
				return
			}
			for i, row := range recordedRows(p.batch, columns, *tuples, len(t.b.rel.spec.Columns)) {
				out[p.at[i]] = row
			}
		})
		return err
	})
	return out, err
}
