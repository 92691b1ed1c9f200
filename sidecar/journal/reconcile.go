package journal

// Finding out: what became of writes whose answer nobody has. A job that has written
// them is asked (jobrows.go), else the API is read; where that does not tell, it is asked again with the same idempotency key, if it
// gives the first answer then. Nothing is sent blindly.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// replayFor is how long an API is trusted to know an idempotency key.
const replayFor = 12 * time.Hour

// unknownNow is the condition on an entry that it is to be found out about now.
const unknownNow = `w.state = 'unknown' AND (w.next_attempt IS NULL OR w.next_attempt <= clock_timestamp())`

// findOutRows is how many entries of a table are found out about at once.
const findOutRows = 2000

// reconcile finds out about what is not known, each table's by itself: an API that
// does not answer holds up its own alone, however much it is.
func (n *node) reconcile(ctx context.Context) error {
	var relids []int64
	var roles []string
	err := n.query(ctx, `SELECT coalesce(array_agg(relid), '{}'), coalesce(array_agg(role), '{}') FROM (
  SELECT DISTINCT w.relid::int8 AS relid, w.role::text AS role FROM hallway.write_log w WHERE w.settled_at IS NULL AND `+unknownNow+` AND `+mine+`) t`,
		n.mine(), &relids, &roles)
	if err != nil {
		return err
	}
	for i, relid := range relids {
		n.start(fmt.Sprintf("finding out about table %d of %s", relid, roles[i]), func(ctx context.Context) error {
			list, err := n.entries(ctx, unknownNow+` AND w.relid = $4::int8::oid AND w.role = $5 ORDER BY w.id LIMIT $6`, relid, roles[i], findOutRows)
			if err == nil {
				list, err = n.fromJobs(ctx, list)
			}
			if err != nil || len(list) == 0 {
				return err
			}
			// What that settles the next look does, for all tables at once.
			return n.write(ctx, list, n.findOut(ctx, list), stateUnknown)
		})
	}
	return nil
}

// findOut gives a verdict on entries of one table.
func (n *node) findOut(ctx context.Context, list []*entry) []verdict {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := n.open(ctx, list[0])
	if err != nil {
		return alike(list, n.notFoundOut(list[0], err))
	}
	defer t.Release()
	f := &finder{n: n, t: t, d: t.Describe(), list: list, out: make([]verdict, len(list))}
	// What can be read is: to send a write again does it if it was not done, and its
	// transaction may have been rolled back since.
	f.readAll(ctx)
	if f.d.Idempotent {
		f.replayAll(ctx)
	}
	return f.out
}

// attention is a verdict that leaves an entry to people.
func attention(message, format string, args ...any) verdict {
	return verdict{state: stateNeedsAttention, message: message, todo: fmt.Sprintf(format, args...), keep: true}
}

// notFoundOut is the verdict on an attempt that failed.
func (n *node) notFoundOut(e *entry, err error) verdict {
	switch {
	case errors.Is(err, errGone) || errors.Is(err, errChanged):
		return attention("Whether the API has done it is not known.", "Look into the API by yourself: %s.", err)
	default:
		text, transient := n.explain(err)
		if !transient {
			return attention("Whether the API has done it is not known, and it cannot be asked: "+text,
				"Look into the API, or mend that and SELECT hallway.retry(%d).", e.ID)
		}
		return verdict{state: stateUnknown, keep: true, again: backoff(e.Attempts),
			message: "Whether the API has done it is not known; asking it failed, and is tried again: " + text}
	}
}

// finder finds out about entries of one table.
type finder struct {
	n    *node
	t    Table
	d    connectors.Description
	list []*entry
	out  []verdict
}

// replayAll sends requests again of which reading tells nothing, and whose rows the
// journal has all. What is known of some rows of a request is said once all are.
func (f *finder) replayAll(ctx context.Context) {
	requests := map[string][]int{}
	for i, e := range f.list {
		requests[e.Idempotency] = append(requests[e.Idempotency], i)
	}
	for key, at := range requests {
		var doubt []int
		var wait *verdict
		for _, i := range at {
			switch f.out[i].state {
			case stateNeedsAttention:
				doubt = append(doubt, i)
			case stateUnknown:
				wait = &f.out[i]
			}
		}
		_, _, _, single := connectors.ParseRequestKey(key)
		_, job := connectors.ParseJobKey(key)
		e := f.list[at[0]]
		switch {
		case job:
			// No request had them.
		case len(doubt) == 0 || time.Since(e.WrittenAt) >= replayFor || e.Operation == "delete":
			// Of a DELETE the API does not say again what it said: that the row is gone
			// shows in reading.
		case !single && len(doubt) < len(at):
			// Others of these rows were perhaps never sent.
		case wait != nil:
			f.later(at, *wait)
		default:
			if err := f.replay(ctx, key, at); err != nil {
				f.n.log.Info("a write cannot be sent again", "error", err.Error())
			}
		}
	}
}

// later lets all rows of a request wait as one of them has to.
func (f *finder) later(at []int, wait verdict) {
	for _, i := range at {
		f.out[i] = wait
	}
}

// replay sends a request again, of which the rows at are open.
func (f *finder) replay(ctx context.Context, key string, at []int) error {
	// Rows of the same request that are known must be in it too.
	all, count, err := f.n.entriesOf(ctx, key)
	if err != nil {
		// The database has gone meanwhile, and comes back.
		for _, i := range at {
			f.out[i] = f.n.notFoundOut(f.list[i], err)
		}
		return err
	}
	write, first, rows, single := connectors.ParseRequestKey(key)
	switch {
	case single && count < rows && !all[0].Outbox:
		// Nothing is sent before the journal has all of it.
		for _, i := range at {
			f.out[i] = verdict{state: stateRefused, message: "It was not sent."}
		}
		return nil
	case count != len(all):
		return nil
	case single && len(all) > len(at):
		f.later(at, verdict{state: stateUnknown, keep: true, again: time.Second, message: "It is being found out about."})
		return nil
	}
	b, err := f.batchOf(all)
	if b == nil || err != nil {
		return err
	}
	if b.IdempotencyKey = key; single {
		b.IdempotencyKey, b.FirstRow, b.Again = write, first, key
	}
	recorded, err := f.t.Modify(ctx, b, f.d.Key)
	for _, i := range at {
		k := slices.IndexFunc(all, func(e *entry) bool { return e.ID == f.list[i].ID })
		if k < 0 {
			continue
		}
		if k < len(b.Results) && b.Results[k].Outcome != 0 {
			var row Row
			if k < len(recorded) {
				row = recorded[k]
			}
			if v, ok := f.answered(f.list[i], b.Results[k], row, single); ok {
				f.out[i] = v
			}
			continue
		}
		if err == nil {
			continue
		}
		if _, transient := Explain(err); transient {
			f.out[i] = f.n.notFoundOut(f.list[i], err)
		}
	}
	return err
}

// batchOf makes a request's batch of its entries; nil: they do not make one.
func (f *finder) batchOf(all []*entry) (*connectors.Batch, error) {
	b := newBatch(operationOf(all[0].Operation), "")
	spec := f.t.Columns()
	for i, e := range all {
		if e.Values == nil || operationOf(e.Operation) != b.Op {
			return nil, nil
		}
		im, err := readImage(spec, e.Values)
		if err != nil {
			return nil, err
		}
		row := connectors.Row{Values: im.values}
		if b.Op == connectors.Update {
			b.KeyColumns = f.d.Key
			if row.Key, err = keyValues(f.t, e.Key); err != nil {
				return nil, err
			}
		}
		if i > 0 && !slices.Equal(im.columns, b.Columns) {
			return nil, nil
		}
		b.Columns = im.columns
		if len(im.match) > 0 {
			b.MatchColumns = im.match
		}
		b.Rows = append(b.Rows, row)
	}
	return b, nil
}

// inProgress is how long an API is asked again that says of a key that it is in use:
// longer than a request may take that was under way.
const inProgress = 30 * time.Second

// answered is the verdict on a row by what the API says of it, asked again; false:
// that is none. single: of its request alone.
func (f *finder) answered(e *entry, r connectors.Result, recorded Row, single bool) (verdict, bool) {
	switch r.Outcome {
	case connectors.Applied:
		v := verdict{state: stateApplied, keep: true, message: "Found out by sending it again with its idempotency key."}
		v.key = keyMade(f.t, r, recorded)
		return v, true
	case connectors.NotFound:
		return verdict{state: stateRefused, message: "The API has no such row."}, true
	case connectors.Refused:
	default:
		return verdict{}, false
	}
	if r.Err == nil || r.Bystander && !single {
		return verdict{}, false
	}
	text, transient := Explain(r.Err)
	if transient && (r.Err.Class != connectors.Conflict || e.doubted(f.n, inProgress) > 0) {
		return f.n.notFoundOut(e, r.Err), true
	}
	return verdict{state: stateRefused, message: text}, true
}

// entriesOf are the open entries of one request, in its order, at least one, and how
// many there are in all.
func (n *node) entriesOf(ctx context.Context, key string) (list []*entry, count int, err error) {
	// What waited for the commit is sent in the order of the entries; stages of a
	// write may be committed in any.
	list, err = n.entries(ctx, `w.idempotency_key = $4 ORDER BY CASE WHEN NOT w.outbox THEN w.row_number END, w.id`, key)
	if err == nil && len(list) == 0 {
		err = errors.New("the entries are not open any more")
	}
	if err == nil {
		err = n.query(ctx, `SELECT count(*) FROM hallway.write_log w WHERE w.idempotency_key = $1 AND w.id BETWEEN $2::int8 - 1000000 AND $2::int8 + 1000000`,
			[]any{key, list[0].ID}, &count)
	}
	return list, count, err
}

// question is what to read for an entry.
type question struct {
	at     int
	match  []int
	value  []pushdown.Value
	values *image // nil: the journal has none
	before *image
	// unique: there is at most one such row.
	unique bool
}

// readAll reads the API, and gives each entry a verdict.
func (f *finder) readAll(ctx context.Context) {
	spec := f.t.Columns()
	var open []question
	for i, e := range f.list {
		q, v := f.question(i, e)
		if v.state != "" {
			f.out[i] = v
			continue
		}
		open = append(open, q)
	}
	for len(open) > 0 {
		// Those that ask by the same columns.
		var same, rest []question
		columns := slices.Clone(f.d.Key)
		for _, q := range open {
			if slices.Equal(q.match, open[0].match) {
				same = append(same, q)
				columns = append(columns, q.match...)
				if q.values != nil {
					columns = append(columns, q.values.columns...)
				}
				if q.before != nil {
					columns = append(columns, q.before.columns...)
				}
			} else {
				rest = append(rest, q)
			}
		}
		open = rest
		slices.Sort(columns)
		var values [][]pushdown.Value
		for _, q := range same {
			values = append(values, q.value)
		}
		found, err := f.t.Rows(ctx, same[0].match, values, slices.Compact(columns))
		for k, q := range same {
			if err != nil {
				f.out[q.at] = f.n.notFoundOut(f.list[q.at], err)
				continue
			}
			f.out[q.at] = f.judge(f.list[q.at], q, found[k], spec)
		}
	}
}

// question says how to read what tells of an entry; or why nothing does.
func (f *finder) question(i int, e *entry) (q question, v verdict) {
	q.at = i
	spec := f.t.Columns()
	var err error
	if e.Values != nil {
		q.values, err = readImage(spec, e.Values)
	}
	if err == nil && e.Before != nil {
		q.before, err = readImage(spec, e.Before)
	}
	if err != nil {
		return q, f.n.notFoundOut(e, err)
	}
	const doubt = "Whether the API has done it is not known."
	switch {
	case e.Operation == "delete":
		q.match, q.unique = f.d.Key, true
		if q.value, err = keyValues(f.t, e.Key); err != nil {
			return q, f.n.notFoundOut(e, err)
		}
		return q, verdict{}
	case q.values == nil:
		return q, attention(doubt, "Look into the API whether it has the row: its values are not in the journal.")
	case e.Operation == "update":
		q.match, q.unique = f.d.Key, true
		var ok bool
		if q.value, ok = q.values.all(f.d.Key); ok {
			return q, verdict{} // an update of the key, too
		}
		if q.value, err = keyValues(f.t, e.Key); err != nil {
			return q, f.n.notFoundOut(e, err)
		}
		return q, verdict{}
	}
	if q.match, q.value = q.values.identity(f.d); q.match != nil {
		q.unique = true
		return q, verdict{}
	}
	// No column tells it from others: are there rows like it at all?
	for k, c := range q.values.columns {
		if v := q.values.values[k]; !v.IsNull() && plain(spec[c].Type) {
			q.match, q.value = append(q.match, c), append(q.value, v)
		}
	}
	if len(q.match) == 0 {
		return q, attention(doubt, "Look into the API whether it has the row: nothing tells it from others.")
	}
	return q, verdict{}
}

// plain says that an API has such values as they were sent to it.
func plain(t pushdown.Type) bool {
	switch t.Kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Text, pushdown.Varchar, pushdown.UUID, pushdown.Enum, pushdown.Bool, pushdown.Date:
		return !t.Array
	}
	return false
}

// judge makes a verdict of the rows that the API has.
func (f *finder) judge(e *entry, q question, found []Row, spec []connectors.ColumnSpec) verdict {
	applied := verdict{state: stateApplied, keep: true, message: "Found out by reading the API."}
	if e.Operation == "delete" {
		if len(found) == 0 {
			return applied
		}
		return f.notDone(e, "The API has the row still.")
	}
	if len(found) > 0 && q.unique && q.values.same(f.t, found[0]) {
		applied.key = keyText(f.t, found[0])
		return applied
	}
	if len(found) == 0 {
		return f.notDone(e, "The API has no such row.")
	}
	const doubt = "Whether the API has done it is not known."
	switch {
	case e.Operation == "insert" && !q.unique:
		return attention(doubt, "The API has %d row(s) with these values, and nothing tells whether this write made one.", len(found))
	case e.Operation == "insert":
		return attention(doubt, "The API has a row that is equal in %s and differs otherwise: look whether this write made it.", names(spec, q.match))
	case q.before != nil && !q.before.same(f.t, found[0]):
		return attention(doubt, "The API's row has neither the values before nor those written: it was changed since. Look at it.")
	}
	return f.notDone(e, "The API's row does not have the values written.")
}

// notDone is the verdict on what the API does not show: later, if the request may
// still be on its way, or the API be slow to show it.
func (f *finder) notDone(e *entry, why string) verdict {
	wait := e.doubted(f.n, max(f.n.m.cfg.Patience, f.d.Lag()))
	if wait > 0 {
		return verdict{state: stateUnknown, keep: true, again: max(wait, 10*time.Millisecond), message: "It is being found out about. " + why}
	}
	if e.Outbox {
		return verdict{state: stateQueued, message: "It was not done, and is sent again. " + why, keep: true, again: 1}
	}
	return verdict{state: stateRefused, message: "It was not done. " + why}
}

func names(spec []connectors.ColumnSpec, columns []int) string {
	var list []string
	for _, c := range columns {
		list = append(list, spec[c].Name)
	}
	return strings.Join(list, ", ")
}
