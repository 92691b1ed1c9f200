package journal

// Entries read back from the journal, and the tables they are of.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// entry is a row of hallway.write_log, as far as it matters here.
type entry struct {
	ID, XID     int64
	Relid       uint32
	Role        string
	Operation   string
	Number      int64
	Key         []string
	Columns     []string
	Idempotency string
	State       string
	Before      []byte
	After       []byte
	Values      []byte
	Attempts    int
	WrittenAt   time.Time
	Outbox      bool
	ServerOID   uint32
	Object      string
	Undo        bool
	// UnknownAt is since when it is not known what the API has of it; nil: it is.
	UnknownAt *time.Time
}

// doubted is what is left of a time that the API is given to show what it has.
func (e *entry) doubted(n *node, wait time.Duration) time.Duration {
	if e.UnknownAt != nil {
		wait -= n.database().Now().Sub(*e.UnknownAt)
	}
	return wait
}

const entryColumns = `w.id, w.xid::text::int8, w.relid::int8, w.role::text, w.operation, w.row_number, w.key, w.columns, w.idempotency_key,
  w.state, w.before, w.after, w.row_values, w.attempts, w.written_at, w.outbox, w.server_oid::int8, w.object, w.on_rollback = 'compensate', w.unknown_at`

// entries reads those that a condition on w lets through, which has arguments
// from $4 on; all are of this database.
func (n *node) entries(ctx context.Context, where string, args ...any) ([]*entry, error) {
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	found, err := conn.Query(ctx, `SELECT `+entryColumns+` FROM hallway.write_log w WHERE w.settled_at IS NULL AND `+mine+` AND `+where, n.mine(args...)...)
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	list, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (*entry, error) {
		e := &entry{}
		var relid, server int64
		err := r.Scan(&e.ID, &e.XID, &relid, &e.Role, &e.Operation, &e.Number, &e.Key, &e.Columns, &e.Idempotency,
			&e.State, &e.Before, &e.After, &e.Values, &e.Attempts, &e.WrittenAt, &e.Outbox, &server, &e.Object, &e.Undo, &e.UnknownAt)
		e.Relid, e.ServerOID = uint32(relid), uint32(server)
		return e, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	return list, nil
}

// errGone: the foreign table, or the role, is not there any more.
var errGone = errors.New("the foreign table, or the role that wrote, is not there any more")

// open binds the table of an entry: as the statement saw it, if that was here. What
// waited for its commit goes to the table as it is now.
func (n *node) open(ctx context.Context, e *entry) (Table, error) {
	if f := n.tableOf(uint64(e.XID), tableKey{e.Relid, e.Role}); f != nil && !e.Outbox {
		return f(ctx)
	}
	var packed []byte
	conn, release, err := n.acquire(ctx)
	if err != nil {
		return nil, err
	}
	err = conn.QueryRow(ctx, `SELECT hallway.relation_definition(c.oid, r.oid) FROM pg_class c, pg_roles r
WHERE c.oid = $1::int8::oid AND c.relkind = 'f' AND r.rolname = $2`, int64(e.Relid), e.Role).Scan(&packed)
	release()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, errGone
	case err != nil:
		return nil, fmt.Errorf("reading the foreign table's definition: %w", err)
	}
	return n.m.cfg.Open.Open(ctx, n.id, n.at, packed)
}

// newBatch is a request to a connector.
func newBatch(op connectors.Operation, key string) *connectors.Batch {
	return &connectors.Batch{Op: op, IdempotencyKey: key, Stats: &connectors.Stats{},
		Returning: rows.NewBuilder(nil, func([]byte, int) error { return nil }, rows.Options{})}
}

// keyValues reads a key that the journal has as text.
func keyValues(t Table, key []string) ([]pushdown.Value, error) {
	columns := t.Describe().Key
	if len(key) == 0 || len(key) != len(columns) {
		return nil, errChanged
	}
	out := make([]pushdown.Value, len(key))
	for i, c := range columns {
		types := []pushdown.Type{t.Columns()[c].Type}
		b := rows.NewBuilder(types, func(tuple []byte, _ int) error {
			var got [1]pushdown.Value
			_, err := rows.NewReader(types, tuple).Next(got[:])
			out[i] = got[0]
			return err
		}, rows.Options{})
		b.String(key[i])
		err := b.EndRow()
		if err == nil {
			err = b.Flush()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: key %q", errChanged, key[i])
		}
	}
	return out, nil
}

// keyText is a key as the journal has it; nil: it is not all there.
func keyText(t Table, row Row) []string {
	var out []string
	for _, c := range t.Describe().Key {
		typ := t.Columns()[c].Type
		if row == nil || row[c] == nil {
			return nil
		}
		v, err := rows.DecodeValue(typ, row[c])
		if err != nil {
			return nil
		}
		out = append(out, string(pushdown.AppendText(nil, v, typ)))
	}
	return out
}

// verdict is what became of an entry.
type verdict struct {
	state, sqlstate, message, todo string
	key                            []string
	// again is when to look again, if it is open; 0: not by itself.
	again time.Duration
	// doubt: the API may not show yet what it has.
	doubt bool
	// keep what the journal has of the row's values.
	keep bool
}

const updateVerdicts = `WITH durable AS (SELECT set_config('synchronous_commit', 'on', true))
UPDATE hallway.write_log w SET state = v.state, sqlstate = v.sqlstate, message = v.message, todo = v.todo,
  key = coalesce(v.key::text[], w.key),
  unknown_at = CASE WHEN v.doubt THEN coalesce(w.unknown_at, clock_timestamp()) END,
  next_attempt = CASE WHEN v.again >= 0 THEN clock_timestamp() + v.again * interval '1 millisecond' END,
  attempts = CASE WHEN v.again > 0 THEN w.attempts + 1 ELSE w.attempts END,
  before = CASE WHEN v.keep THEN w.before END, after = CASE WHEN v.keep THEN w.after END, row_values = CASE WHEN v.keep THEN w.row_values END,
  settled_at = CASE WHEN v.state IN ('refused', 'orphaned', 'compensated') OR v.state = 'applied' AND w.outbox THEN clock_timestamp() END
FROM durable, unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::bool[], $9::bool[])
  AS v (id, state, sqlstate, message, todo, key, again, keep, doubt)
WHERE w.id = v.id AND w.state = ANY ($10)`

// write notes verdicts of entries that are in one of the states still.
func (n *node) write(ctx context.Context, list []*entry, verdicts []verdict, from ...string) error {
	var id, again []int64
	var state []string
	var sqlstate, message, todo, key []*string
	var keep, doubt []bool
	for i, e := range list {
		v := verdicts[i]
		switch {
		case v.state == stateCompensated:
			n.m.undone.Add(1)
		case v.state == stateApplied && v.again == 0 && from[0] == statePending:
			n.m.delivered.Add(1)
		case from[0] == stateUnknown && v.state != stateUnknown:
			n.m.found.Add(1)
		}
		id, state = append(id, e.ID), append(state, v.state)
		sqlstate, message, todo = append(sqlstate, orNull(v.sqlstate)), append(message, orNull(clip(v.message))), append(todo, orNull(v.todo))
		key, keep = append(key, textArray(v.key)), append(keep, v.keep)
		doubt = append(doubt, v.doubt || v.state == stateUnknown)
		ms := v.again.Milliseconds()
		if v.again <= 0 {
			ms = -1
		}
		again = append(again, ms)
	}
	// What the API has done is known here alone, and the entry is claimed.
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.commitTimeout())
		_, err := n.exec(try, updateVerdicts, id, state, sqlstate, message, todo, key, again, keep, doubt, from)
		cancel()
		var pg *pgconn.PgError
		switch {
		case err == nil || n.ctx.Err() != nil:
			return err
		case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22"):
			// What the API said does not fit into the database: without it.
			clear(message)
			clear(key)
		}
		sleep(n.ctx, pause)
	}
}

// claim makes entries this sidecar's to work on, before the API is called, and
// gives those that were to be had.
func (n *node) claim(ctx context.Context, list []*entry, from, to, key string) ([]*entry, error) {
	ids := make([]int64, len(list))
	for i, e := range list {
		ids[i] = e.ID
	}
	var got []int64
	err := n.query(ctx, `WITH durable AS (SELECT set_config('synchronous_commit', 'on', true)),
u AS (UPDATE hallway.write_log w SET state = $2, instance = $3, idempotency_key = coalesce($5, w.idempotency_key),
  next_attempt = clock_timestamp() + $6::interval
  FROM durable WHERE w.id = ANY ($1) AND (w.state = $4 OR w.state = 'compensating' AND w.state = $2 AND w.next_attempt <= clock_timestamp()) RETURNING w.id)
SELECT coalesce(array_agg(id), '{}') FROM u`, []any{ids, to, n.m.cfg.Instance, from, orNull(key), claimFor}, &got)
	if err != nil {
		// Where it was done after all, nothing came of it: nobody has to wait until it
		// is over, or to ask what was sent.
		var untouched []int64
		for _, e := range list {
			if e.State == from {
				untouched = append(untouched, e.ID)
			}
		}
		_, _ = n.execSurely(`UPDATE hallway.write_log SET state = CASE WHEN id = ANY ($2) THEN $4 ELSE state END, next_attempt = clock_timestamp()
WHERE settled_at IS NULL AND id = ANY ($1) AND state = $3 AND instance = $5 AND next_attempt > clock_timestamp()`, ids, untouched, to, from, n.m.cfg.Instance)
		return nil, err
	}
	mine := map[int64]bool{}
	for _, id := range got {
		mine[id] = true
	}
	var out []*entry
	for _, e := range list {
		if mine[e.ID] {
			out = append(out, e)
		}
	}
	return out, nil
}

const (
	// claimFor is how long a claim lasts: whoever has it is done by then.
	claimFor = 2 * time.Minute
	// callTimeout bounds what is asked of the API at once.
	callTimeout = time.Minute
)

// jobs are what goes on in the background, each under a name of its own.
type jobs struct {
	mu   sync.Mutex
	busy map[string]bool
}

// start does f, unless something of that name is being done.
func (n *node) start(name string, f func(ctx context.Context) error) {
	n.jobs.mu.Lock()
	defer n.jobs.mu.Unlock()
	if n.jobs.busy[name] || n.ctx.Err() != nil {
		return
	}
	if n.jobs.busy == nil {
		n.jobs.busy = map[string]bool{}
	}
	n.jobs.busy[name] = n.m.spawn(func() {
		err := n.safely(f)
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("working on the journal", "what", name, "error", err.Error())
		}
		n.jobs.mu.Lock()
		delete(n.jobs.busy, name)
		n.jobs.mu.Unlock()
		if err == nil {
			n.poke()
		}
	})
}

// safely does f; a connector that panics costs its own work alone.
func (n *node) safely(f func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("recovered a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("the connector failed")
		}
	}()
	return f(n.ctx)
}

// backoff after so many attempts: what the API refuses for now is known within a
// minute of its being back.
func backoff(attempts int) time.Duration { return min(time.Second<<min(attempts, 5), 20*time.Second) }

// Explain is an error's text for the journal: a connector's without its cause,
// which is for the log. Transient: the same may work later.
func Explain(err error) (text string, transient bool) {
	var ce *connectors.Error
	if !errors.As(err, &ce) {
		return "the sidecar failed; its log has the cause", true
	}
	text = ce.Message
	if ce.API != "" {
		text = "[" + ce.API + "]: " + text
	}
	if ce.Detail != "" {
		text += " (" + ce.Detail + ")"
	}
	switch ce.Class {
	case connectors.Unavailable, connectors.RateLimited, connectors.Locked, connectors.DeadlineExceeded, connectors.Unauthenticated,
		connectors.UnknownOutcome, connectors.Internal, connectors.Protocol, connectors.Conflict:
		return text, true
	}
	return text, false
}

// explain is Explain, and logs what that keeps for the log.
func (n *node) explain(err error) (text string, transient bool) {
	var ce *connectors.Error
	if !errors.As(err, &ce) {
		n.log.Warn("asking the API about the journal's entries failed", "error", err.Error())
	} else if ce.Err != nil {
		n.log.Info("asking the API about the journal's entries failed", "error", err.Error(), "cause", ce.Err.Error())
	}
	return Explain(err)
}

func isUnknown(err error) bool {
	var ce *connectors.Error
	return !errors.As(err, &ce) || ce.Class == connectors.UnknownOutcome
}
