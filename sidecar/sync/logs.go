package sync

// Increments by logs: the API says which records were made, changed or deleted,
// and those are read; whatever no log tells is seen by the copy once a day.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// fewKeys are read by key without asking what else there is. Of more than maxKeys,
// which would fill the memory, all is read.
const (
	fewKeys = 20
	maxKeys = 200_000
)

// quietLogs is how far back a cursor is set where the logs are empty: so nothing tells
// how late the API's clock is, and nothing is read in vain.
const quietLogs = 24 * time.Hour

// timeTold is the type of the times in logs and of deleted records.
func timeTold() pushdown.Type {
	return pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"}
}

// follow brings a whole replica up to date by the logs. The error is errNeedsCopy
// if all is to be read.
func (r *replica) follow(ctx context.Context) error {
	if err := r.start(ctx, "running"); err != nil {
		return err
	}
	if r.compareDue() || len(r.t.Definition.Key) != 1 {
		return errNeedsCopy
	}
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { return r.emptyStaging(ctx, tx) })
	if err != nil {
		return err //nolint:wrapcheck // said within
	}
	told := &told{r: r, newest: r.state.cursor, keys: map[string]bool{}}
	for _, log := range r.logs.Logs {
		if err := told.read(ctx, log); err != nil {
			return err
		}
	}
	c := &copying{r: r}
	if err := r.readMade(ctx, c, told); err != nil {
		return err
	}
	if err := r.makeKeys(ctx, r.stage.gone, r.t.Definition.Key); err != nil {
		return err
	}
	batch, n := told.tuples()
	if err := r.stageInto(ctx, r.stage.gone, r.t.Definition.Key, batch, n); err != nil {
		return err
	}
	if err := r.cheaper(ctx, told); err != nil {
		return err
	}
	switch err := r.readByKey(ctx, c, "true", int64(n)); {
	case errors.Is(err, errNotByKey):
		return errNeedsCopy
	case err != nil:
		return err
	}
	// What was asked for, and is not there, is gone.
	return r.land(ctx, r.advance(told.newest, false), true, false, "told", told.entries)
}

// told are the keys that logs have named, in their binary form, once each.
type told struct {
	r       *replica
	keys    map[string]bool
	newest  []byte
	entries int64
}

// read takes from a log what happened since the cursor, and the overlap before it.
func (t *told) read(ctx context.Context, log connectors.Table) error {
	since, err := t.r.from(1, timeTold())
	if err != nil {
		return err
	}
	q := connectors.Query{}
	q.Conjuncts, q.Columns = []pushdown.Expr{since}, []int{0, 1}
	if p := log.Plan(q.Request); len(p.Conjuncts) != 1 || p.Conjuncts[0].Verdict == pushdown.Local {
		return errNeedsCopy
	}
	_, err = t.r.scanTable(ctx, log, t.r.logTypes(), q, func(batch []byte, n int) error {
		t.entries += int64(n)
		if len(t.keys) > maxKeys {
			return errNeedsCopy
		}
		return walk(batch, n, 2, func(values [][]byte) {
			if values[0] != nil {
				t.keys[string(values[0])] = true
			}
			if at := values[1]; len(at) == 8 && micros(at) > micros(t.newest) {
				t.newest = bytes.Clone(at)
			}
		})
	})
	if barred(err) {
		return errNeedsCopy
	}
	return err
}

// barred tells whether the API refuses to show a log to this credential.
func barred(err error) bool {
	var e *connectors.Error
	return errors.As(err, &e) && e.Class == connectors.PermissionDenied
}

func (r *replica) logTypes() []pushdown.Type {
	return []pushdown.Type{r.t.Definition.Columns[r.t.Definition.Key[0]].Type, timeTold()}
}

// tuples are the keys as a connector would give them.
func (t *told) tuples() (batch []byte, n int) {
	for k := range t.keys {
		batch = binary.BigEndian.AppendUint16(batch, 1)
		batch = binary.BigEndian.AppendUint32(batch, uint32(len(k)))
		batch = append(batch, k...)
	}
	return batch, len(t.keys)
}

// readMade stages the records that were made since the cursor, by the page, which
// are then not to be read by key. It finds them also if no log has named them.
func (r *replica) readMade(ctx context.Context, c *copying, told *told) error {
	made := r.logs.Made
	if made < 0 || made >= len(r.t.Definition.Columns) {
		return nil
	}
	t := r.t.Definition.Columns[made].Type
	if t.Array || t.Kind != pushdown.TimestampTZ {
		return nil
	}
	since, err := r.from(made, t)
	if err != nil {
		return err
	}
	q := connectors.Query{}
	q.Conjuncts, q.Columns = []pushdown.Expr{since}, r.fetch
	if pushed, _ := r.plan(q.Request); !pushed {
		return nil
	}
	key := r.at(r.t.Definition.Key[0])
	stage := c.stage(ctx)
	return r.collect(ctx, q, r.ascends(q.Columns), r.stage.rows, func(batch []byte, n int) error {
		err := walk(batch, n, len(r.fetch), func(values [][]byte) { delete(told.keys, string(values[key])) })
		if err != nil {
			return err
		}
		return stage(batch, n)
	})
}

// cheaper is errNeedsCopy if reading all records costs less than reading those of
// the keys, by what the connector says of both.
func (r *replica) cheaper(ctx context.Context, told *told) error {
	n := len(told.keys)
	if n <= fewKeys {
		return nil
	}
	t := r.t.Definition.Columns[r.t.Definition.Key[0]].Type
	var some []pushdown.Value
	for k := range told.keys {
		v, err := rows.DecodeValue(t, []byte(k))
		if err != nil {
			return fmt.Errorf("reading a key: %w", err)
		}
		if some = append(some, v); len(some) == missingAtOnce {
			break
		}
	}
	byKey := r.t.Plan(pushdown.Request{Columns: r.fetch, Conjuncts: []pushdown.Expr{r.oneOf(some)}})
	all := r.t.Plan(pushdown.Request{Columns: r.fetch})
	var have float64
	if err := r.conn.QueryRow(ctx, `SELECT count(*)::float8 FROM `+r.cache.Name().Sanitize()).Scan(&have); err != nil {
		return fmt.Errorf("counting rows: %w", err)
	}
	if all.Rows > 0 && byKey.TotalCost/float64(len(some))*float64(n) > all.TotalCost*have/all.Rows {
		return errNeedsCopy
	}
	return nil
}

// logClock is a time by the API's clock that is not after now, for the first
// increment after the copy that begins: that of what happened last. Without the right
// to read the logs it does without them in this run, and so does the next one.
func (r *replica) logClock(ctx context.Context) ([]byte, error) {
	var newest []byte
	if len(r.t.Definition.Key) != 1 {
		return nil, nil
	}
	for _, log := range r.logs.Logs {
		q := connectors.Query{Limit: 1}
		q.Columns, q.LimitRows = []int{0, 1}, 1
		_, err := r.scanTable(ctx, log, r.logTypes(), q, func(batch []byte, n int) error {
			err := walk(batch, n, 2, func(values [][]byte) {
				if at := values[1]; len(at) == 8 && (newest == nil || micros(at) > micros(newest)) {
					newest = bytes.Clone(at)
				}
			})
			if err == nil && newest != nil {
				err = rows.ErrStop
			}
			return err
		})
		if barred(err) {
			r.n.log.Warn("the credential may not read what tells of changes: everything is copied at each refresh", "table", r.name, "error", describe(err))
			r.logs = nil
			return nil, nil
		}
		if err != nil && !errors.Is(err, rows.ErrStop) {
			return nil, err
		}
	}
	if newest == nil {
		newest = binary.BigEndian.AppendUint64(nil, uint64(r.began.Add(-quietLogs).UnixMicro()-epoch))
	}
	return newest, nil
}
