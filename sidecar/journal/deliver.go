package journal

// Delivery: rows that were stored with a transaction (write_at 'after_commit')
// and are sent once it has committed. Those for one server go in the order of
// their statements; what cannot be sent now holds up what comes after it, what the
// API refuses does not.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// deliverRows is how many rows are sent at once to an API that takes them one by
// one.
const deliverRows = 100

// deliver sends what waits, each server's by itself.
func (n *node) deliver(ctx context.Context) error {
	var servers []int64
	err := n.query(ctx, `SELECT coalesce(array_agg(DISTINCT w.server_oid::int8), '{}') FROM hallway.write_log w
WHERE w.settled_at IS NULL AND w.state = 'queued' AND w.next_attempt <= clock_timestamp() AND `+mine, n.mine(), &servers)
	if err != nil {
		return err
	}
	for _, server := range servers {
		n.start(fmt.Sprintf("delivering to server %d", server), func(ctx context.Context) error { return n.deliverTo(ctx, server) })
	}
	return nil
}

func (n *node) deliverTo(ctx context.Context, server int64) error {
	for ctx.Err() == nil {
		// Nothing of an earlier statement may be open: its end is waited for.
		list, err := n.entries(ctx, `w.state = 'queued' AND w.next_attempt <= clock_timestamp() AND w.server_oid = $4::int8::oid
  AND (w.id < (SELECT min(w.id) FROM hallway.write_log w WHERE w.settled_at IS NULL AND w.outbox AND w.server_oid = $4::int8::oid AND `+mine+`
    AND (w.state IN ('pending', 'unknown') OR w.state = 'queued' AND w.next_attempt > clock_timestamp()))) IS NOT FALSE
  ORDER BY w.id LIMIT 1000`, server)
		if err != nil || len(list) == 0 {
			return err
		}
		for len(list) > 0 {
			wait, sent, err := n.deliverTogether(ctx, list)
			if err != nil || wait {
				return err
			}
			list = list[sent:]
		}
	}
	return nil
}

// deliverTogether sends the first of list that go into one request. wait: what
// comes after them has to.
func (n *node) deliverTogether(ctx context.Context, list []*entry) (wait bool, sent int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, failed := n.open(ctx, list[0])
	if failed != nil {
		group, err := n.claim(ctx, deliverGroup(nil, list, deliverRows), stateQueued, statePending, nil)
		if err != nil {
			return false, 0, err
		}
		return true, len(group), n.write(ctx, group, alike(group, n.notDelivered(list[0], failed)), statePending)
	}
	defer t.Release()
	group := deliverGroup(t, list, batchSize(t.Describe(), operationOf(list[0].Operation)))
	sent = len(group)
	p := parcelOf(t, group, fmt.Sprintf("%s-d%dx%d", strings.SplitN(list[0].Idempotency, "-d", 2)[0], list[0].ID, list[0].Attempts))
	if group, err = n.claim(ctx, group, stateQueued, statePending, p.keys); err != nil {
		return false, 0, err
	}
	if len(group) < sent {
		return true, 0, nil // somebody else is at it
	}
	verdicts := n.send(ctx, t, p)
	for _, v := range verdicts {
		wait = wait || v.state == stateUnknown || v.state == stateQueued
	}
	return wait, sent, n.write(ctx, group, verdicts, statePending)
}

func batchSize(d connectors.Description, op connectors.Operation) int {
	size := map[connectors.Operation]int{connectors.Insert: d.BatchRows.Insert, connectors.Update: d.BatchRows.Update,
		connectors.Delete: d.BatchRows.Delete, connectors.Upsert: d.BatchRows.Upsert}[op]
	if size <= 1 {
		return deliverRows
	}
	return min(size, 1000)
}

// deliverGroup is the first entries that one request can have: of different rows,
// as far as that is known. t may be nil.
func deliverGroup(t Table, list []*entry, size int) []*entry {
	seen := map[string]bool{}
	for i, e := range list {
		first := list[0]
		k := strings.Join(e.Key, "\x00")
		if e.Operation == "upsert" && t != nil {
			if match, sure := matchName(t, e); sure {
				k = match
			} else {
				size = 1
			}
			if i > 0 && seen[k] {
				return list[:i]
			}
		}
		if i == size || e.Relid != first.Relid || e.Role != first.Role || e.Operation != first.Operation ||
			!slices.Equal(e.Columns, first.Columns) || e.Key != nil && seen[k] {
			return list[:i]
		}
		seen[k] = true
	}
	return list
}

// matchName names what an upsert finds its row by; sure: others' names differ.
func matchName(t Table, e *entry) (name string, sure bool) {
	im, err := readImage(t.Columns(), e.Values)
	if err != nil {
		return "", false
	}
	sure = len(im.match) > 0
	for _, c := range im.match {
		sure = sure && plain(t.Columns()[c].Type)
		name += fmt.Sprintf("%d:%s", len(im.fields[c]), im.fields[c])
	}
	return name, sure
}

// notDelivered is the verdict on rows of which nothing was written.
func (n *node) notDelivered(e *entry, err error) verdict {
	if errors.Is(err, errGone) || errors.Is(err, errChanged) {
		return verdict{state: stateRefused, keep: true, message: "It cannot be sent: " + err.Error() + "."}
	}
	text, transient := n.explain(err)
	if !transient {
		return verdict{state: stateRefused, keep: true, message: text}
	}
	return verdict{state: stateQueued, keep: true, message: "It could not be sent, and is tried again: " + text, again: backoff(e.Attempts)}
}

// parcel is entries that are sent together.
type parcel struct {
	list  []*entry
	batch *connectors.Batch
	// at are those that are in it, and out has verdicts on the others.
	at  []int
	out []verdict
	// keys are the idempotency keys of the requests by entry.
	keys []string
}

// sentLater is a verdict: at once, by a request that differs and has a key of its own.
func sentLater() verdict { return verdict{state: stateQueued, keep: true, again: time.Millisecond} }

func parcelOf(t Table, list []*entry, key string) *parcel {
	b := newBatch(operationOf(list[0].Operation), key)
	p := &parcel{list: list, batch: b, out: make([]verdict, len(list)), keys: make([]string, len(list))}
	d, spec := t.Describe(), t.Columns()
	for i, e := range list {
		p.keys[i] = key
		row := connectors.Row{}
		var err error
		var im *image
		if b.Op != connectors.Delete {
			if im, err = readImage(spec, e.Values); err == nil {
				row.Values = im.values
				if len(b.Rows) == 0 {
					b.Columns, b.MatchColumns = im.columns, im.match
				} else if !slices.Equal(b.Columns, im.columns) || len(b.MatchColumns) != len(im.match) {
					// The table's upsert_key was another: it goes by itself.
					p.out[i] = sentLater()
					continue
				}
			}
		}
		if err == nil && (b.Op == connectors.Update || b.Op == connectors.Delete) {
			b.KeyColumns = d.Key
			row.Key, err = keyValues(t, e.Key)
		}
		if err != nil {
			p.out[i] = verdict{state: stateRefused, keep: true, message: "It cannot be sent: " + err.Error() + "."}
			continue
		}
		b.Rows, p.at = append(b.Rows, row), append(p.at, i)
	}
	for k, key := range t.RequestKeys(b) {
		p.keys[p.at[k]] = key
	}
	return p
}

// send sends it, and gives what the API says of each row.
func (n *node) send(ctx context.Context, t Table, p *parcel) []verdict {
	b, list, out := p.batch, p.list, p.out
	if len(b.Rows) == 0 {
		return out
	}
	recorded, err := t.Modify(ctx, b, t.Describe().Key)
	for k, i := range p.at {
		known := k < len(b.Results) && b.Results[k].Outcome != 0
		switch {
		case known && b.Results[k].Outcome == connectors.Applied:
			out[i] = verdict{state: stateApplied}
			if k < len(recorded) {
				out[i].key = keyMade(t, b.Results[k], recorded[k])
			}
		case known && b.Results[k].Outcome == connectors.NotFound:
			out[i] = verdict{state: stateRefused, sqlstate: "02000", message: "The API has no such row.", keep: true}
		case known && !b.Results[k].Bystander && b.Results[k].Err != nil:
			out[i] = n.notDelivered(list[i], b.Results[k].Err)
			if b.Results[k].Err.Class == connectors.Conflict {
				text, _ := Explain(b.Results[k].Err)
				out[i] = verdict{state: stateRefused, keep: true, message: text}
			}
		case known:
			out[i] = sentLater() // it was not judged
		case isUnknown(err):
			text, _ := n.explain(err)
			out[i] = verdict{state: stateUnknown, keep: true, message: text, again: 1}
		default:
			out[i] = n.notDelivered(list[i], err)
		}
	}
	return out
}
