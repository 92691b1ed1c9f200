package journal

// Finding out about rows that went by a job of the API: it is asked what it did.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
)

// fromJobs writes verdicts on what of list went by jobs, and gives what is left: what
// did not, and that of which its job does not tell.
func (n *node) fromJobs(ctx context.Context, list []*entry) ([]*entry, error) {
	asked, told := map[string]bool{}, map[int64]bool{}
	for _, e := range list {
		job, ok := connectors.ParseJobKey(e.Idempotency)
		if !ok || asked[job] {
			continue
		}
		asked[job] = true
		// All of its rows at once: those that are alike share what it says of them.
		all, err := n.entries(ctx, `w.state = 'unknown' AND w.idempotency_key = $4 AND w.relid = $5::int8::oid AND w.role = $6 ORDER BY w.row_number, w.id`,
			e.Idempotency, int64(e.Relid), e.Role)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			continue // somebody has settled them
		}
		known, verdicts := n.askJob(ctx, job, all)
		if len(known) == 0 {
			continue
		}
		if err := n.write(ctx, known, verdicts, stateUnknown); err != nil {
			return nil, err
		}
		for _, e := range known {
			told[e.ID] = true
		}
	}
	return slices.DeleteFunc(list, func(e *entry) bool { return told[e.ID] }), nil
}

// askJob gives those of a job's entries that it tells of, and the verdicts on them.
func (n *node) askJob(ctx context.Context, job string, list []*entry) (known []*entry, out []verdict) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := n.open(ctx, list[0])
	if err != nil {
		return list, alike(list, n.notFoundOut(list[0], err))
	}
	defer t.Release()
	b, err := (&finder{n: n, t: t, d: t.Describe()}).jobBatch(list)
	if b == nil && err == nil {
		return nil, nil // the journal does not have what it would be known by
	}
	if err == nil {
		err = t.Loaded(ctx, job, b)
	}
	var ce *connectors.Error
	if errors.As(err, &ce) && ce.Class == connectors.NotFoundError {
		return nil, nil // it is forgotten, and writes nothing any more: reading tells
	}
	if err != nil {
		return list, alike(list, n.notFoundOut(list[0], fmt.Errorf("asking job %s: %w", job, err)))
	}
	for i, e := range list {
		var v verdict
		switch r := b.Results[i]; r.Outcome {
		case connectors.Applied:
			v = verdict{state: stateApplied, key: r.Key, keep: true, message: "Found out by asking the job that has written it."}
		case connectors.NotFound:
			v = verdict{state: stateRefused, message: "The API has no such row."}
		case connectors.Refused:
			if v = (verdict{state: stateRefused, message: "The API refused it."}); r.Err != nil && e.Values != nil {
				// Where no values are kept, what may quote them is not, either.
				v.message, _ = Explain(r.Err)
			}
		default:
			continue
		}
		known, out = append(known, e), append(out, v)
	}
	return known, out
}

// jobBatch is a batch of what entries are known by in the results of a job; nil: the
// journal does not have that.
func (f *finder) jobBatch(list []*entry) (*connectors.Batch, error) {
	op := operationOf(list[0].Operation)
	if op == connectors.Insert || op == connectors.Upsert {
		return f.batchOf(list)
	}
	b := newBatch(op, "")
	b.KeyColumns = f.d.Key
	for _, e := range list {
		key, err := keyValues(f.t, e.Key)
		if err != nil {
			return nil, err
		}
		b.Rows = append(b.Rows, connectors.Row{Key: key})
	}
	return b, nil
}
