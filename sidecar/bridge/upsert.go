// What of a Modify goes to the API, and how: as it is; or, after a look at the
// rows that are there, without those that would not change, and an UPSERT that
// the API does not know as updates and inserts.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache/overlay"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// part is rows of a Modify as the connector gets them.
type part struct {
	// batch has Op Insert, Update or Delete; Upsert only for an Upserter that
	// takes it.
	batch *connectors.Batch
	// at[i] is the position of its row i in the whole batch.
	at []int
	// before is, by row, what the API had just now; nil where that was not read,
	// or is nothing.
	before []*liveRow
	// stops: it may be ended after some requests, with NotSent rows.
	stops bool
}

// writeOptions say what a Modify wants beside the write.
type writeOptions struct {
	// SkipUnchanged: rows that are so already are not sent (Update, Upsert).
	SkipUnchanged bool
	// Images: part.before has whole rows (Update, Delete, and what an Upsert finds).
	Images bool
	// XID of the transaction; 0: the journal writes.
	XID uint64
}

// sendFunc does one part. Without an error the part's Results are filled.
type sendFunc func(ctx context.Context, p *part) error

// writing is one Modify on its way.
type writing struct {
	s     *Server
	b     *bound
	desc  connectors.Description
	whole *connectors.Batch
	opts  writeOptions
	send  sendFunc
	// keeper may be nil.
	keeper connectors.Keeper
	lag    time.Duration
	place  recentPlace
	// recent are the sets of columns by which rows were written lately.
	recent [][]int
	// tuples to return, by row.
	tuples  [][]byte
	applied bool
	// refused is the first row that was, by itself; -1: none.
	refused int
	round   int
}

// writeParts does what the whole batch asks for, by calling send for what has to
// go to the API, and fills whole.Results and whole.Returning. An error means that
// nothing was written, or that it is not known what was; once rows are applied,
// what keeps the others from being is their refusal.
func (s *Server) writeParts(ctx context.Context, b *bound, m connectors.Modifier, whole *connectors.Batch, opts writeOptions, send sendFunc) error {
	w := &writing{s: s, b: b, desc: b.table.Describe(), whole: whole, opts: opts, send: send, refused: -1}
	w.lag, w.place = w.desc.Lag(), placeOf(b, w.desc)
	w.keeper, _ = m.(connectors.Keeper)
	upserter, _ := m.(connectors.Upserter)
	switch whole.Op {
	case connectors.Upsert:
		if err := w.checkMatch(); err != nil {
			return err
		}
		if upserter == nil || !upserter.Upserts(whole.MatchColumns) {
			return w.upsert(ctx)
		}
		if opts.SkipUnchanged || opts.Images {
			return w.look(ctx, whole.MatchColumns)
		}
	case connectors.Update:
		if opts.SkipUnchanged || opts.Images {
			return w.look(ctx, whole.KeyColumns)
		}
	case connectors.Delete:
		if opts.Images {
			return w.look(ctx, whole.KeyColumns)
		}
	}
	p := &part{batch: whole, at: make([]int, len(whole.Rows)), before: make([]*liveRow, len(whole.Rows)), stops: true}
	for i := range p.at {
		p.at[i] = i
	}
	return w.sent(ctx, p)
}

// sent sends a part and notes what was written.
func (w *writing) sent(ctx context.Context, p *part) error {
	columns, values := w.identities(p)
	w.s.recent.add(w.place, w.b.rel, columns, values, w.lag, w.opts.XID)
	err := w.send(ctx, p)
	w.s.recent.add(w.place, w.b.rel, columns, values, w.lag, w.opts.XID)
	return err
}

// identities are the values by which a part's rows are found.
func (w *writing) identities(p *part) ([]int, [][]pushdown.Value) {
	columns := p.batch.KeyColumns
	if p.batch.Op == connectors.Insert || w.lag == 0 {
		return nil, nil // there is no older row for a list to show
	}
	list := make([][]pushdown.Value, len(p.batch.Rows))
	for i, r := range p.batch.Rows {
		list[i] = r.Key
	}
	if p.batch.Op == connectors.Upsert {
		columns = p.batch.MatchColumns
		for i, r := range p.batch.Rows {
			list[i] = valuesAt(p.batch.Columns, r.Values, columns)
		}
	}
	return columns, list
}

// valuesAt picks the values of some of the columns.
func valuesAt(columns []int, values []pushdown.Value, some []int) []pushdown.Value {
	out := make([]pushdown.Value, len(some))
	for i, c := range some {
		out[i] = values[slices.Index(columns, c)]
	}
	return out
}

// matchOf is what row i is found by in an upsert.
func (w *writing) matchOf(i int) []pushdown.Value {
	return valuesAt(w.whole.Columns, w.whole.Rows[i].Values, w.whole.MatchColumns)
}

// checkMatch wants an upsert's rows to be told apart by their match columns.
func (w *writing) checkMatch() error {
	types := w.b.rel.typesAt(w.whole.MatchColumns)
	seen := map[string]struct{}{}
	for i := range w.whole.Rows {
		values := w.matchOf(i)
		if at := slices.IndexFunc(values, pushdown.Value.IsNull); at >= 0 {
			column := w.b.rel.spec.Columns[w.whole.MatchColumns[at]].Name
			return &connectors.Error{Class: connectors.NotNullViolation, Column: column,
				Message: fmt.Sprintf("null value in column %q, by which rows are upserted", column)}
		}
		name := overlay.Key(types, values)
		if _, twice := seen[name]; twice {
			return &connectors.Error{Class: connectors.Ambiguous, Message: "an upsert cannot affect a row a second time",
				Detail: fmt.Sprintf("Two rows of the statement have %s.", w.matchText(i)),
				Hint:   "Ensure that no rows of one statement have the same values in the columns of upsert_key."}
		}
		seen[name] = struct{}{}
	}
	return nil
}

// matchText is row i's match for messages: (email)=(a@b.example).
func (w *writing) matchText(i int) string {
	var texts []string
	for j, v := range w.matchOf(i) {
		texts = append(texts, string(pushdown.AppendText(nil, v, w.b.rel.spec.Columns[w.whole.MatchColumns[j]].Type)))
	}
	return w.b.rel.columnNames(w.whole.MatchColumns) + "=(" + strings.Join(texts, ", ") + ")"
}

// columns that are read of rows found by match. It looks up w.recent.
func (w *writing) columns(match []int) []int {
	list := slices.Concat(match, w.desc.Key, w.whole.ReturningColumns)
	if w.opts.SkipUnchanged {
		list = append(list, w.whole.Columns...)
	}
	for i, c := range w.b.rel.spec.Columns {
		if w.opts.Images && !c.Generated {
			list = append(list, i)
		}
	}
	w.recent = w.s.recent.columns(w.place, w.b.rel)
	list = append(list, slices.Concat(w.recent...)...)
	return slices.DeleteFunc(list, func(c int) bool { return w.b.rel.spec.Columns[c].Generated })
}

// skips reports whether a row that was read need not be written: it has the
// values, and was not written so lately that it may have others by now.
func (w *writing) skips(row *liveRow, columns []int, values []pushdown.Value) bool {
	if !w.opts.SkipUnchanged || !unchanged(w.keeper, row, columns, values) {
		return false
	}
	for _, set := range w.recent {
		if _, is := w.lately(row, set); is {
			return false
		}
	}
	return true
}

// lately says whether a row that was read was written so lately that it may be
// otherwise by now, and by which transaction; 0: by several.
func (w *writing) lately(row *liveRow, set []int) (xid uint64, is bool) {
	v, err := row.values(set)
	if err != nil {
		return 0, true
	}
	return w.s.recent.has(w.place, w.b.rel, set, v)
}

// image is a row that was read as what is to be put back if the transaction is
// rolled back; nil if it may be older than what another transaction wrote. What this
// one wrote is undone by itself.
func (w *writing) image(row *liveRow) *liveRow {
	if !w.opts.Images || row == nil {
		return row
	}
	for _, set := range w.recent {
		if xid, is := w.lately(row, set); is && xid != w.opts.XID {
			return nil
		}
	}
	return row
}

// skip counts row i as written; the API's row is as it is to be.
func (w *writing) skip(i int, row *liveRow) {
	w.whole.Results[i] = connectors.Result{Outcome: connectors.Applied, Unchanged: true}
	if len(w.whole.ReturningColumns) > 0 {
		w.tuples[i] = row.appendTuple(nil, w.whole.ReturningColumns)
	}
}

// lookTime is what must be left for as many rows to be read as a job may write.
const lookTime = 2 * time.Minute

// most is how many rows are looked at by this call; the others are for another.
func (w *writing) most(ctx context.Context) int {
	n := len(w.whole.Rows)
	end, ok := ctx.Deadline()
	if !w.whole.Jobs || !ok || time.Until(end) >= lookTime {
		return n
	}
	return min(n, max(aheadRows, requestRows(&w.desc, w.whole.Op)))
}

// look reads the rows first and sends all that are not to be skipped.
func (w *writing) look(ctx context.Context, match []int) error {
	w.begin()
	n := w.most(ctx)
	for i := n; i < len(w.whole.Rows); i++ {
		w.whole.Results[i].Outcome = connectors.NotSent
	}
	values := make([][]pushdown.Value, n)
	for i, r := range w.whole.Rows[:n] {
		if values[i] = r.Key; w.whole.Op == connectors.Upsert {
			values[i] = w.matchOf(i)
		}
	}
	found, err := w.s.liveRows(ctx, w.b, match, values, w.columns(match), w.whole.Stats)
	if err != nil {
		return err
	}
	// The second of two changes of a row is judged by the first, not by the API.
	times := map[string]int{}
	for _, v := range values {
		times[overlay.Key(w.b.rel.typesAt(match), v)]++
	}
	p := w.part(w.whole.Op, "")
	p.stops, p.batch.Jobs = true, w.whole.Jobs
	for i := range values {
		var row *liveRow
		if len(found[i]) == 1 {
			row = found[i][0]
		}
		if row != nil && w.whole.Op != connectors.Delete && times[overlay.Key(w.b.rel.typesAt(match), values[i])] == 1 &&
			w.skips(row, w.whole.Columns, w.whole.Rows[i].Values) {
			w.skip(i, row)
			continue
		}
		p.add(i, w.whole.Rows[i], w.image(row))
	}
	if err := w.do(ctx, p); err != nil {
		return err
	}
	return w.end()
}

func (w *writing) begin() {
	w.whole.Results = make([]connectors.Result, len(w.whole.Rows))
	w.tuples = make([][]byte, len(w.whole.Rows))
}

// end hands over the tuples to return, in the order of the rows.
func (w *writing) end() error {
	for i, r := range w.whole.Results {
		if r.Outcome != connectors.Applied || w.tuples[i] == nil {
			continue
		}
		if err := w.whole.Returning.Tuple(w.tuples[i]); err != nil {
			return connectors.AfterWrite(err)
		}
	}
	return nil
}

// part makes an empty one.
func (w *writing) part(op connectors.Operation, suffix string) *part {
	p := &part{batch: &connectors.Batch{Op: op, KeyColumns: w.whole.KeyColumns, Columns: w.whole.Columns,
		ReturningColumns: w.whole.ReturningColumns, Stats: w.whole.Stats}}
	if op == connectors.Upsert || op == connectors.Insert {
		p.batch.MatchColumns = w.whole.MatchColumns
	}
	if p.batch.IdempotencyKey = w.whole.IdempotencyKey; p.batch.IdempotencyKey != "" {
		p.batch.IdempotencyKey += suffix
	}
	return p
}

func (p *part) add(i int, row connectors.Row, before *liveRow) {
	p.at = append(p.at, i)
	p.batch.Rows = append(p.batch.Rows, row)
	p.before = append(p.before, before)
}

// do sends a part, if it has rows, and takes over what became of them.
func (w *writing) do(ctx context.Context, p *part) error {
	if len(p.at) == 0 {
		return nil
	}
	var tuples [][]byte
	p.batch.Returning = rows.NewBuilder(w.b.rel.typesAt(p.batch.ReturningColumns), func(tuple []byte, _ int) error {
		tuples = append(tuples, tuple)
		return nil
	}, rows.Options{First: 1, Next: 1})
	if err := w.sent(ctx, p); err != nil {
		return w.fail(err, p.at)
	}
	if err := p.batch.Returning.Flush(); err != nil {
		return connectors.AfterWrite(onColumn(err, w.b.rel.spec.Columns, p.batch.ReturningColumns))
	}
	if len(p.batch.Results) != len(p.at) {
		return connectors.AfterWrite(&connectors.Error{Class: connectors.Internal,
			Message: fmt.Sprintf("the connector gave %d results for %d rows", len(p.batch.Results), len(p.at))})
	}
	next := 0
	for i, at := range p.at {
		r := p.batch.Results[i]
		if r.Outcome == connectors.Applied {
			w.applied = true
			if w.whole.Op == connectors.Upsert && p.batch.Op == connectors.Insert {
				r.Created = true
			}
			if len(p.batch.ReturningColumns) > 0 {
				if next == len(tuples) {
					return connectors.AfterWrite(&connectors.Error{Class: connectors.Internal,
						Message: fmt.Sprintf("the connector returned %d rows, fewer than it wrote", len(tuples))})
				}
				w.tuples[at] = tuples[next]
				next++
			}
		}
		if r.Outcome == connectors.Refused && !r.Bystander && (w.refused < 0 || at < w.refused) {
			w.refused = at
		}
		w.whole.Results[at] = r
	}
	return nil
}

// fail is for an error that stands for the rows at these positions. If others are
// applied already, it is told of these alone: the call's error would say that
// nothing was written.
func (w *writing) fail(err error, at []int) error {
	if !w.applied {
		return err
	}
	var ce *connectors.Error
	if !errors.As(err, &ce) {
		return connectors.AfterWrite(err)
	}
	if ce.Class == connectors.UnknownOutcome {
		return err
	}
	for n, i := range at {
		w.whole.Results[i] = connectors.Result{Outcome: connectors.Refused, Err: ce, Bystander: n > 0}
	}
	w.refused = at[0]
	return nil
}

// upsert finds the rows that are there, updates them and inserts the others.
func (w *writing) upsert(ctx context.Context) error {
	if !w.desc.Insertable || !w.desc.Updatable || len(w.desc.Key) == 0 {
		return &connectors.Error{Class: connectors.NotSupported,
			Message: fmt.Sprintf("foreign table %q cannot be upserted", w.b.rel.spec.Name),
			Detail:  "The API has no upsert by these columns, and rows cannot be both inserted and updated: " + w.desc.ReadOnlyReason + "."}
	}
	w.begin()
	pending := make([]int, len(w.whole.Rows))
	for i := range pending {
		pending[i] = i
	}
	turned := make([]turn, len(w.whole.Rows))
	for len(pending) > 0 && w.refused < 0 {
		again, err := w.pass(ctx, pending, turned)
		if err != nil {
			return err
		}
		pending = again
		w.round++
	}
	w.bystand()
	return w.end()
}

// turn is what a try has found out about a row: it is not there, though it was
// found; or it is there, though it was not.
type turn struct {
	gone, there bool
	times       int
}

// maxTurns is how often a row may come and go under one upsert.
const maxTurns = 3

// pass tries the pending rows once and gives those to be tried again.
func (w *writing) pass(ctx context.Context, pending []int, turned []turn) ([]int, error) {
	found, err := w.find(ctx, pending, turned)
	if err != nil {
		return nil, w.fail(err, pending)
	}
	update, insert := w.part(connectors.Update, w.suffix("u")), w.part(connectors.Insert, w.suffix("i"))
	update.batch.KeyColumns = w.desc.Key
	update.batch.Columns = slices.DeleteFunc(slices.Clone(w.whole.Columns), func(c int) bool { return slices.Contains(w.whole.MatchColumns, c) })
	for n, i := range pending {
		row := w.whole.Rows[i]
		switch {
		case len(found[n]) == 0 && turned[i].there:
			// It is not to be seen: the refusal that it got stays.
			w.refused = i
			return nil, nil
		case len(found[n]) == 0, turned[i].gone:
			insert.add(i, row, nil)
		case len(found[n]) > 1:
			return nil, w.fail(&connectors.Error{Class: connectors.Ambiguous,
				Message: fmt.Sprintf("the API has more than one row that the upsert could update: %d with %s", len(found[n]), w.matchText(i)),
				Hint:    "Choose columns for upsert_key that are unique in the API."}, pending[n:])
		default:
			live := found[n][0]
			values := valuesAt(w.whole.Columns, row.Values, update.batch.Columns)
			if len(values) == 0 || w.skips(live, update.batch.Columns, values) {
				w.skip(i, live)
				continue
			}
			key, err := live.values(w.desc.Key)
			if err != nil {
				return nil, w.fail(err, pending[n:])
			}
			update.add(i, connectors.Row{Key: key, Values: values}, w.image(live))
		}
	}
	// Updates first: one may give up a value that is unique.
	if err := w.do(ctx, update); err != nil || w.refused >= 0 {
		return nil, err
	}
	var again []int
	for _, i := range update.at {
		if w.whole.Results[i].Outcome != connectors.NotFound {
			continue
		}
		if turned[i] = (turn{gone: true, times: turned[i].times + 1}); turned[i].times > maxTurns {
			return nil, w.fail(&connectors.Error{Class: connectors.Conflict,
				Message: fmt.Sprintf("the API shows a row with %s, and has none when it is to be updated", w.matchText(i))}, []int{i})
		}
		w.whole.Results[i] = connectors.Result{}
		again = append(again, i)
	}
	if err := w.do(ctx, insert); err != nil {
		return nil, err
	}
	again = append(again, w.taken(insert, turned)...)
	slices.Sort(again)
	return again, nil
}

// suffix makes the idempotency key of a part.
func (w *writing) suffix(kind string) string {
	if w.round == 0 {
		return "-" + kind
	}
	return fmt.Sprintf("-%s%d", kind, w.round)
}

// taken looks for rows that somebody else has inserted since they were looked for.
// It gives them, and those that were not written because of them, to be tried
// again, and then takes their refusal back.
func (w *writing) taken(p *part, turned []turn) []int {
	if w.refused < 0 {
		return nil
	}
	var again []int
	for _, i := range p.at {
		r := &w.whole.Results[i]
		switch {
		case r.Outcome != connectors.Refused:
		case r.Bystander:
			again = append(again, i)
		case turned[i].times >= maxTurns || r.Err == nil || r.Err.Class != connectors.UniqueViolation || !w.mayBeMatch(r.Err.Column):
			return nil
		default:
			turned[i] = turn{there: true, times: turned[i].times + 1}
			again = append(again, i)
		}
	}
	w.refused = -1
	return again
}

// mayBeMatch reports whether an error on this column can be about a match column.
func (w *writing) mayBeMatch(column string) bool {
	return column == "" || slices.ContainsFunc(w.whole.MatchColumns, func(c int) bool { return w.b.rel.spec.Columns[c].Name == column })
}

// find reads the pending rows. One that must be there is waited for, as long as
// the API's lists may be behind.
func (w *writing) find(ctx context.Context, pending []int, turned []turn) ([][]*liveRow, error) {
	values := make([][]pushdown.Value, len(pending))
	for n, i := range pending {
		values[n] = w.matchOf(i)
	}
	wait := w.lag
	if w.desc.ListLag == 0 {
		wait = min(wait, unknownLagWait)
	}
	end := time.Now().Add(wait)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		found, err := w.s.liveRows(ctx, w.b, w.whole.MatchColumns, values, w.columns(w.whole.MatchColumns), w.whole.Stats)
		if err != nil {
			return nil, err
		}
		missing := false
		for n, i := range pending {
			missing = missing || turned[i].there && len(found[n]) == 0
		}
		if !missing || time.Until(end) <= 0 {
			return found, nil
		}
		if !sleep(ctx, min(pause, time.Until(end))) {
			return nil, ctx.Err()
		}
	}
}

// unknownLagWait is how long an API of which nothing is known is given to list a
// row that it says is there.
const unknownLagWait = 2 * time.Second

// bystand gives an outcome to rows that were not sent because one was refused.
func (w *writing) bystand() {
	if w.refused < 0 {
		return
	}
	culprit := w.whole.Results[w.refused].Err
	for i := range w.whole.Results {
		if r := &w.whole.Results[i]; r.Outcome == 0 {
			e := &connectors.Error{Class: connectors.Conflict, Message: fmt.Sprintf("not sent, because row %d was refused", w.refused+1)}
			if culprit != nil {
				e.Class, e.API = culprit.Class, culprit.API
			}
			*r = connectors.Result{Outcome: connectors.Refused, Bystander: true, Err: e}
		}
	}
}

// dryRequests describes what writeParts would send, and calls no API. What an
// upsert finds is not known then.
func (s *Server) dryRequests(b *bound, m connectors.Modifier, whole *connectors.Batch) ([]string, error) {
	if whole.Op != connectors.Upsert {
		return m.Requests(whole)
	}
	w := &writing{s: s, b: b, desc: b.table.Describe(), whole: whole}
	if err := w.checkMatch(); err != nil {
		return nil, err
	}
	if u, ok := m.(connectors.Upserter); ok && u.Upserts(whole.MatchColumns) {
		return m.Requests(whole)
	}
	values := make([][]pushdown.Value, len(whole.Rows))
	for i := range values {
		values[i] = w.matchOf(i)
	}
	f := &finder{b: b, match: whole.MatchColumns, columns: w.columns(whole.MatchColumns), types: b.rel.types()}
	var out []string
	for len(values) > 0 {
		n, query, err := f.most(values, maxFind)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			n = len(values)
		}
		out = append(out, "find: "+b.table.Request(connectors.Query{Stats: &connectors.Stats{},
			Request: pushdown.Request{Conjuncts: query, Columns: f.columns}}))
		values = values[n:]
	}
	insert := w.part(connectors.Insert, w.suffix("i"))
	insert.batch.Rows = whole.Rows
	list, err := m.Requests(insert.batch)
	if err != nil {
		return nil, fmt.Errorf("describing the write: %w", err)
	}
	for _, r := range list {
		out = append(out, "create what is not found, update what is: "+r)
	}
	return out, nil
}
