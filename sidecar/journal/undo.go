package journal

// Undoing: what stands in the API of a transaction that was rolled back, with the
// option on_rollback 'compensate'. The last write is undone first.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const (
	// undoRows is how many rows are undone with one request.
	undoRows = 100
	// othersAfter is when the undoing of another sidecar's rows is taken up that
	// it has not begun.
	othersAfter = 10 * time.Second
)

// startUndo undoes what is to be undone of a transaction, in the background.
func (n *node) startUndo(xid uint64) {
	n.start(fmt.Sprintf("undoing transaction %d", xid), func(ctx context.Context) error { return n.undo(ctx, xid) })
}

// toUndo is the condition on an entry that it is to be undone now.
const toUndo = `w.on_rollback = 'compensate' AND w.state IN ('applied', 'compensating') AND (w.next_attempt IS NULL OR w.next_attempt <= clock_timestamp())
  AND ` + xactStatus + ` = 'aborted'`

// undoLeft undoes what was left open, by this sidecar, or if lead by any.
func (n *node) undoLeft(ctx context.Context, lead bool) error {
	var xids []int64
	err := n.query(ctx, `SELECT coalesce(array_agg(DISTINCT w.xid::text::int8), '{}') FROM hallway.write_log w
WHERE w.settled_at IS NULL AND `+mine+` AND `+toUndo+` AND (w.instance = $4 OR $5 AND w.written_at < clock_timestamp() - $6::interval)`,
		n.mine(n.m.cfg.Instance, lead, othersAfter), &xids)
	if err != nil {
		return err
	}
	for _, x := range xids {
		n.startUndo(uint64(x))
	}
	return nil
}

// undo does it until nothing is left, or something has to wait.
func (n *node) undo(ctx context.Context, xid uint64) error {
	for ctx.Err() == nil {
		// Of an API, what was written before something that is not known yet waits: the
		// same object may have several tables, and one object refer to another.
		list, err := n.entries(ctx, toUndo+` AND w.xid = $4::text::xid8 AND NOT EXISTS (
  SELECT FROM hallway.write_log l WHERE l.xid = w.xid AND l.id > w.id AND l.server_oid = w.server_oid AND l.settled_at IS NULL
    AND (l.state IN ('pending', 'unknown') OR l.state IN ('applied', 'compensating') AND l.next_attempt > clock_timestamp()))
ORDER BY w.id DESC LIMIT 1000`, fmt.Sprint(xid))
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for len(list) > 0 {
			group := undoGroup(list)
			list = list[len(group):]
			again, moved, err := n.undoTogether(ctx, group)
			if err != nil {
				return err
			}
			if again {
				return nil // the rest waits for it
			}
			if moved {
				break // the rest is to be read anew
			}
		}
	}
	begun, open := n.begun(xid), false
	err := n.query(ctx, `SELECT EXISTS (SELECT FROM hallway.write_log WHERE xid = $1::text::xid8 AND settled_at IS NULL)`, []any{fmt.Sprint(xid)}, &open)
	if err == nil && !open {
		n.closed(xid, begun)
	}
	return err
}

// undoGroup is the first entries that one request can undo: of one table, of one
// kind, and of different rows.
func undoGroup(list []*entry) []*entry {
	seen := map[string]bool{}
	for i, e := range list {
		k := strings.Join(e.Key, "\x00")
		first := list[0]
		if i == undoRows || e.Relid != first.Relid || e.Role != first.Role || e.Operation != first.Operation ||
			!slices.Equal(e.Columns, first.Columns) || (e.Key != nil && seen[k]) {
			return list[:i]
		}
		seen[k] = true
	}
	return list
}

// undoTogether undoes a group. again: some of it is to be tried later; moved: rows
// have another key now.
func (n *node) undoTogether(ctx context.Context, list []*entry) (again, moved bool, err error) {
	wanted := len(list)
	if list, err = n.claim(ctx, list, stateApplied, stateCompensating, nil); err != nil || len(list) == 0 {
		return true, false, err
	}
	again = len(list) < wanted // somebody else is at it
	verdicts := n.undoRows(ctx, list)
	for i, v := range verdicts {
		again = again || v.again > 0
		if v.key == nil || list[i].Key == nil {
			continue
		}
		// What the transaction did to the row before it deleted it is undone to the
		// one that stands for it now.
		moved = true
		_, err := n.execSurely(`UPDATE hallway.write_log SET key = $1::text[]
WHERE settled_at IS NULL AND xid = $2::text::xid8 AND server_oid = $3::int8::oid AND object = $6 AND id < $4 AND key = $5::text[]`,
			textArray(v.key), fmt.Sprint(list[i].XID), int64(list[i].ServerOID), list[i].ID, textArray(list[i].Key), list[i].Object)
		var pg *pgconn.PgError
		if err != nil && !errors.As(err, &pg) {
			return false, false, err
		}
	}
	return again, moved, n.write(ctx, list, verdicts, stateCompensating)
}

func (n *node) undoRows(ctx context.Context, list []*entry) []verdict {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := n.open(ctx, list[0])
	if err != nil {
		out := make([]verdict, len(list))
		for i, e := range list {
			out[i] = n.undoFailed(e, err)
		}
		return out
	}
	defer t.Release()
	switch u := (&undoer{n: n, t: t, d: t.Describe(), list: list}); list[0].Operation {
	case "insert":
		return u.remove(ctx)
	case "delete":
		return u.restore(ctx)
	default:
		return u.putBack(ctx)
	}
}

// stands is the verdict of a row that is not undone.
func stands(format string, args ...any) verdict {
	return verdict{state: stateOrphaned, message: fmt.Sprintf(format, args...)}
}

// undoFailed is the verdict on an attempt that failed. Once one was made whose end
// is not known, the API is read before the next, whatever comes between.
func (n *node) undoFailed(e *entry, err error) verdict {
	if errors.Is(err, errGone) || errors.Is(err, errChanged) {
		return stands("It could not be undone: %s.", err)
	}
	text, transient := n.explain(err)
	if !transient {
		return stands("It could not be undone: %s", text)
	}
	v := verdict{state: e.State, message: "Undoing it failed, and is tried again: " + text, again: backoff(e.Attempts), keep: true}
	if isUnknown(err) {
		v.state = stateCompensating
	}
	return v
}

// undoer undoes entries of one kind.
type undoer struct {
	n    *node
	t    Table
	d    connectors.Description
	list []*entry
}

// early is the verdict on an entry whose row the API may not show yet as it is,
// for so long after that was first seen; false: it does.
func (u *undoer) early(e *entry, wait time.Duration) (verdict, bool) {
	if wait > 0 {
		wait = e.doubted(u.n, wait)
	}
	return verdict{state: e.State, doubt: true, keep: true, again: max(wait, 10*time.Millisecond),
		message: "It is being undone: the API may not show yet what was written."}, wait > 0
}

// sure gives v, which follows from what was read, once the API's lists cannot but
// show what was written.
func (u *undoer) sure(e *entry, v verdict) verdict {
	if wait, is := u.early(e, u.d.Lag()); is {
		return wait
	}
	return v
}

// key is the idempotency key of a request of this attempt.
func (u *undoer) key() string {
	return fmt.Sprintf("%s-u%dx%d", u.list[0].Idempotency, u.list[0].ID, u.list[0].Attempts)
}

// modify writes rows, of the entries at, and makes verdicts of what the API says.
func (u *undoer) modify(ctx context.Context, out []verdict, b *connectors.Batch, at []int, gone verdict) {
	if len(at) == 0 {
		return
	}
	if ctx.Err() != nil {
		// The time for one go is over, and these were not sent.
		for _, k := range at {
			out[k] = verdict{state: u.list[k].State, again: 10 * time.Millisecond, keep: true}
		}
		return
	}
	recorded, err := u.t.Modify(ctx, b, u.d.Key)
	for i, k := range at {
		switch {
		case i < len(b.Results) && b.Results[i].Outcome == connectors.Applied:
			out[k] = verdict{state: stateCompensated}
			if b.Op == connectors.Insert && i < len(recorded) {
				if key := keyMade(u.t, b.Results[i], recorded[i]); key != nil && !slices.Equal(key, u.list[k].Key) {
					out[k].key = key
					out[k].message = "It was made anew, with the key " + strings.Join(key, ", ") + "."
				}
			}
		case i < len(b.Results) && b.Results[i].Outcome == connectors.NotFound:
			out[k] = gone
		case i < len(b.Results) && b.Results[i].Outcome == connectors.Refused && !b.Results[i].Bystander:
			out[k] = stands("The API did not let it be undone.")
			if e := b.Results[i].Err; e != nil {
				text, transient := Explain(e)
				if transient && e.Class != connectors.Conflict {
					out[k] = u.n.undoFailed(u.list[k], e)
				} else {
					out[k] = stands("It could not be undone: %s", text)
				}
			}
		case err != nil:
			out[k] = u.n.undoFailed(u.list[k], err)
		default:
			out[k] = verdict{state: stateCompensating, again: backoff(u.list[k].Attempts), keep: true}
		}
	}
}

// remove deletes rows that were made. Where that was tried already, those that are
// there still.
func (u *undoer) remove(ctx context.Context) []verdict {
	out := make([]verdict, len(u.list))
	gone := verdict{state: stateCompensated, message: "The row was gone already."}
	var at, tried []int
	var keys, triedKeys [][]pushdown.Value
	for i, e := range u.list {
		key, err := keyValues(u.t, e.Key)
		switch {
		case e.Key == nil:
			out[i] = stands("It could not be undone: the API did not say which key the row has.")
		case err != nil:
			out[i] = stands("It could not be undone: %s.", err)
		case e.State == stateCompensating:
			tried, triedKeys = append(tried, i), append(triedKeys, key)
		default:
			at, keys = append(at, i), append(keys, key)
		}
	}
	if len(tried) > 0 {
		found, err := u.t.Rows(ctx, u.d.Key, triedKeys, u.d.Key)
		for k, i := range tried {
			switch e := u.list[i]; {
			case err != nil:
				out[i] = u.n.undoFailed(e, err)
			case len(found[k]) == 0:
				out[i] = u.sure(e, gone)
			default:
				at, keys = append(at, i), append(keys, triedKeys[k])
			}
		}
	}
	b := newBatch(connectors.Delete, u.key())
	b.KeyColumns = u.d.Key
	for _, key := range keys {
		b.Rows = append(b.Rows, connectors.Row{Key: key})
	}
	u.modify(ctx, out, b, at, gone)
	return out
}

// putBack gives rows the values that they had, where they are as they were left.
func (u *undoer) putBack(ctx context.Context) []verdict {
	out := make([]verdict, len(u.list))
	type row struct {
		at            int
		key           []pushdown.Value
		before, after *image
		columns       []int
	}
	var rows []row
	var keys [][]pushdown.Value
	spec := u.t.Columns()
	read := slices.Clone(u.d.Key)
	for i, e := range u.list {
		switch {
		case e.Before == nil && e.Operation == "upsert":
			out[i] = stands("It was not undone: whether this write made the row, or what the row was before, is not known.")
			continue
		case e.Before == nil:
			out[i] = stands("It could not be undone: what the row was before is not known.")
			continue
		}
		r := row{at: i}
		var err error
		if r.before, err = readImage(spec, e.Before); err == nil {
			left := e.After
			if left == nil {
				left = e.Values
			}
			r.after, err = readImage(spec, left)
		}
		if err == nil {
			r.key, err = keyValues(u.t, e.Key)
			if slices.ContainsFunc(u.d.Key, func(c int) bool { return slices.Contains(e.Columns, spec[c].Name) }) {
				// The update has changed the key itself.
				if key, ok := r.after.all(u.d.Key); ok {
					r.key, err = key, nil
				}
			}
		}
		if err != nil {
			out[i] = stands("It could not be undone: %s.", err)
			continue
		}
		for _, c := range r.after.columns {
			if _, had := r.before.value(c); had && slices.Contains(e.Columns, spec[c].Name) {
				r.columns = append(r.columns, c)
			}
		}
		read = append(read, r.columns...)
		rows, keys = append(rows, r), append(keys, r.key)
	}
	slices.Sort(read)
	found, err := u.t.Rows(ctx, u.d.Key, keys, slices.Compact(read))
	b := newBatch(connectors.Update, u.key())
	b.KeyColumns = u.d.Key
	var at []int
	for i, r := range rows {
		switch {
		case err != nil:
			out[r.at] = u.n.undoFailed(u.list[r.at], err)
			continue
		case len(found[i]) == 0:
			out[r.at] = u.sure(u.list[r.at], stands("It was not undone: the API has no such row any more."))
			continue
		}
		now := found[i][0]
		written := only(r.after, r.columns)
		was := only(r.before, r.columns)
		switch {
		case was.same(u.t, now):
			out[r.at] = u.sure(u.list[r.at], verdict{state: stateCompensated, message: "The row was so already."})
		case !written.same(u.t, now):
			out[r.at] = u.sure(u.list[r.at], stands("It was not undone: the row has been changed since."))
		default:
			if len(at) > 0 && !slices.Equal(b.Columns, r.columns) {
				u.modify(ctx, out, b, at, stands("It was not undone: the API has no such row any more."))
				b, at = newBatch(connectors.Update, fmt.Sprintf("%s-r%d", u.key(), r.at)), nil
				b.KeyColumns = u.d.Key
			}
			b.Columns = r.columns
			b.Rows, at = append(b.Rows, connectors.Row{Key: r.key, Values: was.values}), append(at, r.at)
		}
	}
	u.modify(ctx, out, b, at, stands("It was not undone: the API has no such row any more."))
	return out
}

// only some columns of an image, which has them.
func only(im *image, columns []int) *image {
	out := &image{columns: columns, fields: im.fields}
	for _, c := range columns {
		v, _ := im.value(c)
		out.values = append(out.values, v)
	}
	return out
}

// restore makes rows anew that were deleted.
func (u *undoer) restore(ctx context.Context) []verdict {
	out := make([]verdict, len(u.list))
	if !u.d.Insertable {
		return alike(u.list, stands("It could not be undone: rows cannot be made in the API."))
	}
	spec := u.t.Columns()
	for i, e := range u.list {
		if e.Before == nil {
			out[i] = stands("It could not be undone: what the row was is not known.")
			continue
		}
		was, err := readImage(spec, e.Before)
		if err != nil {
			out[i] = stands("It could not be undone: %s.", err)
			continue
		}
		b := newBatch(connectors.Insert, fmt.Sprintf("%s-u%d", e.Idempotency, e.ID))
		var values []pushdown.Value
		for k, c := range was.columns {
			if !slices.Contains(u.d.ReadOnlyColumns, c) && !spec[c].Generated && !was.values[k].IsNull() {
				b.Columns, values = append(b.Columns, c), append(values, was.values[k])
			}
		}
		b.Rows = []connectors.Row{{Values: values}}
		if e.State == stateCompensating {
			// An attempt was made, of which the end is not known.
			match, key := only(was, b.Columns).identity(u.d)
			if match == nil && !u.d.Idempotent {
				out[i] = verdict{state: stateNeedsAttention, keep: true, message: "Undoing was begun, and its end is not known.",
					todo: "Look whether the API has the row again, and make it there if not: its key was " + strings.Join(e.Key, ", ") + "."}
				continue
			}
			if match != nil {
				found, err := u.t.Rows(ctx, match, [][]pushdown.Value{key}, u.d.Key)
				if err != nil {
					out[i] = u.n.undoFailed(u.list[i], err)
					continue
				}
				if len(found[0]) > 0 {
					out[i] = verdict{state: stateCompensated}
					if now := keyText(u.t, found[0][0]); now != nil && !slices.Equal(now, e.Key) {
						out[i].key = now
						out[i].message = "It was made anew, with the key " + strings.Join(now, ", ") + "."
					}
					continue
				}
				// The first request may still be on its way.
				if wait, is := u.early(e, max(u.n.m.cfg.Patience, u.d.Lag())); is {
					out[i] = wait
					continue
				}
			}
		}
		u.modify(ctx, out, b, []int{i}, stands("The API did not make the row."))
	}
	return out
}
