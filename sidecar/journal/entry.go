package journal

// Entries read back from the journal, and the tables they are of.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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

// keyMade is the key of a row that was made, by what the API answered; nil: it did not
// say.
func keyMade(t Table, r connectors.Result, recorded Row) []string {
	if key := keyText(t, recorded); key != nil {
		return key
	}
	return r.Key
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
