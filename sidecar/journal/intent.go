package journal

// Intents: entries that are committed before the API is called. Those of several
// sessions share a commit when they come while another is under way.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Statement is what all rows of a Modify have in common.
type Statement struct {
	ID      database.Identity
	Address database.Address
	// XID and SubXID are the full transaction ids of the transaction and of the
	// part of it that is running.
	XID, SubXID uint64
	PID         int32
	Application string
	// Role as which the API is used.
	Role                  string
	Relid, ServerOID      uint32
	Table, Server, Object string
	RequestID             string
	// Compensate: undo the rows if SubXID is rolled back.
	Compensate bool
	// AfterCommit: nothing is sent now; Begin is all there is.
	AfterCommit bool
	// Session of the backend.
	Session *Session
	// Open binds the table as the statement sees it: it may not be in the catalog
	// when its rows are to be undone.
	Open func(ctx context.Context) (Table, error)
}

// Rows are those of one request to the connector.
type Rows struct {
	Op connectors.Operation
	// IdempotencyKey that the connector gets with them. Where an Entry has one of
	// its own, that is its request's: see connectors.RequestKey.
	IdempotencyKey string
	// Columns given, by name.
	Columns []string
	Rows    []Entry
}

// Entry is one row.
type Entry struct {
	// Number in the statement, from 1.
	Number uint64
	// RequestKey is empty where single requests cannot be sent again.
	RequestKey string
	// Key as text; nil: not known yet.
	Key []string
	// Values to be written with the key, and the whole row before, are images; nil:
	// not to be kept.
	Values, Before []byte
}

// key is a row's idempotency key.
func (r *Rows) key(i int) string { return cmp.Or(r.Rows[i].RequestKey, r.IdempotencyKey) }

// Write is rows between intent and outcome. A nil one is not journaled: its
// methods do nothing.
type Write struct {
	n    *node
	stmt *Statement
	rows *Rows
	ids  []int64
	over bool
}

// Begin commits intents. Its error says that nothing may be written; it is a
// *connectors.Error or wraps the context's.
func (m *Manager) Begin(ctx context.Context, stmt *Statement, list *Rows) (*Write, error) {
	n := m.node(stmt.ID, stmt.Address)
	if n == nil {
		return nil, refusal(errStopping)
	}
	w := &Write{n: n, stmt: stmt, rows: list}
	it := &intent{w: w, done: make(chan error, 1)}
	n.intents.add(n, it)
	select {
	case err := <-it.done:
		if err != nil {
			m.refused.Add(uint64(len(list.Rows)))
			return nil, refusal(err)
		}
	case <-ctx.Done():
		if !it.left.CompareAndSwap(false, true) {
			// It is there just now.
			if err := <-it.done; err != nil {
				return nil, refusal(err)
			}
			w.End(nil)
			return nil, fmt.Errorf("journaling the write: %w", ctx.Err())
		}
		return nil, fmt.Errorf("journaling the write: %w", ctx.Err())
	}
	m.entries.Add(uint64(len(list.Rows)))
	stmt.Session.wrote(stmt)
	return w, nil
}

// refusal is the error of a write that is not sent since it cannot be journaled.
func refusal(err error) *connectors.Error {
	e := &connectors.Error{Class: connectors.Conflict, Err: err, Hint: "Try again later.",
		Message: "the write was not sent to the API: it cannot be journaled first"}
	const without = ` The option journal 'false' of the table or server does without a journal.`
	var gone *database.UnreachableError
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &gone) && errors.As(err, &pg) && pg.Code == "53300":
		e.Detail = strings.TrimSpace(gone.Err.Error())
		e.Hint = "Try again when sessions have ended, or raise max_connections." + without
	case errors.As(err, &gone):
		e.Detail = strings.TrimSpace(gone.Err.Error())
		e.Hint = `hallway.write_log is written by the sidecar, as the role of its setting database_role, over the server's Unix socket: pg_hba.conf must let it in.` + without
	case errors.Is(err, database.ErrBusy), errors.Is(err, errStopping):
		e.Detail = err.Error()
	case errors.As(err, &pg) && pg.Code == lockNotAvailable:
		e.Detail = "Somebody holds a lock on hallway.write_log."
		e.Hint = "Try again when that session has ended its transaction."
	case errors.As(err, &pg) && pg.Code == "25006":
		e.Detail = "The database is read-only: " + pg.Message + "."
		e.Hint = "Write in the primary." + without
	case errors.As(err, &pg) && pg.Code == "42501":
		e.Detail = pg.Message + "."
		e.Hint = "hallway check says which rights the role of the sidecar's setting database_role has to have." + without
	case errors.As(err, &pg):
		e.Detail = pg.Message + "."
		e.Hint += without
	default:
		e.Detail = err.Error()
	}
	return e
}

// intent is one that waits for its commit.
type intent struct {
	w    *Write
	done chan error
	// left: nobody waits for it any more.
	left atomic.Bool
}

const (
	// intentLanes is how many commits of intents run at once in a database.
	intentLanes = 2
	// intentRows bounds the rows of one commit; a single Modify may have more.
	intentRows = 5000
)

// intents of a database.
type intents struct {
	mu      sync.Mutex
	waiting []*intent
	running int
}

func (q *intents) add(n *node, it *intent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running < intentLanes {
		if !n.m.spawn(func() { q.run(n) }) {
			it.tell(n, errStopping)
			return
		}
		q.running++
	}
	q.waiting = append(q.waiting, it)
}

func (q *intents) take() []*intent {
	q.mu.Lock()
	defer q.mu.Unlock()
	rows, i := 0, 0
	for ; i < len(q.waiting) && (i == 0 || rows+len(q.waiting[i].w.rows.Rows) <= intentRows); i++ {
		rows += len(q.waiting[i].w.rows.Rows)
	}
	list := q.waiting[:i:i]
	q.waiting = q.waiting[i:]
	if i == 0 {
		q.running--
	}
	return list
}

func (q *intents) run(n *node) {
	for {
		list := q.take()
		if len(list) == 0 {
			return
		}
		err := n.commitIntents(list)
		var pg *pgconn.PgError
		if len(list) > 1 && errors.As(err, &pg) {
			// One of them may be what PostgreSQL does not take.
			for _, it := range list {
				it.tell(n, n.commitIntents([]*intent{it}))
			}
			continue
		}
		for _, it := range list {
			it.tell(n, err)
		}
	}
}

// tell ends the wait for an intent. One for which nobody waits any more is
// nobody's: its rows are not sent.
func (it *intent) tell(n *node, err error) {
	if it.left.CompareAndSwap(false, true) {
		it.done <- err
		return
	}
	if err == nil {
		it.w.End(nil)
	}
}

// intoWriteLog names the columns of an intent, in the order of both SELECTs below.
const intoWriteLog = `INSERT INTO hallway.write_log (system_identifier, timeline, database, environment, instance,
  xid, subxid, backend_pid, role, application, relid, table_name, server_oid, server, object,
  operation, columns, idempotency_key, request_id, on_rollback, state, outbox,
  row_number, key, before, row_values)
`

// insertIntents has an array a column: first what rows with the same idempotency
// key have in common, then each row with the number of that. Nothing else waits for
// these commits, so they can wait for the disk, and standbys as configured.
const insertIntents = `WITH durable AS (SELECT set_config('synchronous_commit', 'on', true))
` + intoWriteLog + `SELECT $1, ` + database.TimelineSQL + `::int4, $2::int8::oid, $3, $4,
  s.xid::text::xid8, s.subxid::text::xid8, s.pid, s.role, s.application, s.relid::oid, s.table_name, s.server_oid::oid, s.server, s.object,
  s.operation, s.columns::text[], s.idempotency_key, s.request_id, s.on_rollback, s.state, s.state = 'queued',
  r.row_number, r.key::text[], r.before, r.row_values
FROM durable
CROSS JOIN unnest($5::int8[], $6::int8[], $7::int4[], $8::text[], $9::text[], $10::int8[], $11::text[], $12::int8[], $13::text[], $14::text[],
  $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[]) WITH ORDINALITY
  AS s (xid, subxid, pid, role, application, relid, table_name, server_oid, server, object,
  operation, columns, idempotency_key, request_id, on_rollback, state, n)
JOIN unnest($21::int8[], $22::int8[], $23::text[], $24::bytea[], $25::bytea[]) WITH ORDINALITY
  AS r (statement, row_number, key, before, row_values, n) ON r.statement = s.n
ORDER BY r.n
RETURNING id`

// insertIntent is insertIntents of one row, which is what most statements write:
// without arrays and their join the server has less to plan and to run.
const insertIntent = intoWriteLog + `SELECT $1::int8, ` + database.TimelineSQL + `::int4, $2::int8::oid, $3::text, $4::text,
  $5::text::xid8, $6::text::xid8, $7::int4, $8::text, $9::text, $10::int8::oid, $11::text, $12::int8::oid, $13::text, $14::text,
  $15::text, $16::text[], $17::text, $18::text, $19::text, $20::text, $20::text = 'queued',
  $21::int8, $22::text[], $23::bytea, $24::bytea
FROM (SELECT set_config('synchronous_commit', 'on', true)) AS durable
RETURNING id`

func (n *node) commitIntent(ctx context.Context, it *intent) error {
	conn, err := n.reached(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	s, r := it.w.stmt, it.w.rows
	e := &r.Rows[0]
	var id int64
	err = conn.QueryRow(ctx, insertIntent, int64(n.id.SystemIdentifier), int64(n.id.DatabaseOID), n.m.cfg.Environment, n.m.cfg.Instance,
		strconv.FormatUint(s.XID, 10), strconv.FormatUint(s.SubXID, 10), s.PID, s.Role, s.Application, int64(s.Relid), s.Table, int64(s.ServerOID), s.Server, s.Object,
		operationName(r.Op), r.Columns, r.key(0), s.RequestID, onRollbackName(s.Compensate), s.state(),
		int64(e.Number), e.Key, e.Before, e.Values).Scan(&id)
	if err != nil {
		return err //nolint:wrapcheck // as in commitIntents
	}
	it.w.ids = []int64{id}
	n.began([]*intent{it})
	return nil
}

// commitIntents writes entries, and gives each its id.
func (n *node) commitIntents(list []*intent) error {
	ctx, cancel := context.WithTimeout(n.m.ctx, n.commitTimeout())
	defer cancel()
	if len(list) == 1 && len(list[0].w.rows.Rows) == 1 {
		return n.commitIntent(ctx, list[0])
	}
	var xid, subxid, relid, server []int64
	var pid []int32
	var role, application, table, serverName, object, op, columns, idempotency, request, onRollback, state []string
	var statement, number []int64
	var key []*string
	var before, values [][]byte
	for _, it := range list {
		s, r := it.w.stmt, it.w.rows
		for i, e := range r.Rows {
			if i == 0 || r.key(i) != r.key(i-1) {
				xid, subxid = append(xid, int64(s.XID)), append(subxid, int64(s.SubXID))
				pid = append(pid, s.PID)
				role, application = append(role, s.Role), append(application, s.Application)
				relid, table = append(relid, int64(s.Relid)), append(table, s.Table)
				server, serverName, object = append(server, int64(s.ServerOID)), append(serverName, s.Server), append(object, s.Object)
				op, columns = append(op, operationName(r.Op)), append(columns, *textArray(r.Columns))
				idempotency, request = append(idempotency, r.key(i)), append(request, s.RequestID)
				onRollback, state = append(onRollback, onRollbackName(s.Compensate)), append(state, s.state())
			}
			statement, number = append(statement, int64(len(xid))), append(number, int64(e.Number))
			key = append(key, textArray(e.Key))
			before, values = append(before, e.Before), append(values, e.Values)
		}
	}
	conn, err := n.reached(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, insertIntents, int64(n.id.SystemIdentifier), int64(n.id.DatabaseOID), n.m.cfg.Environment, n.m.cfg.Instance,
		xid, subxid, pid, role, application, relid, table, server, serverName, object,
		op, columns, idempotency, request, onRollback, state, statement, number, key, before, values)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if len(ids) != len(number) {
		return fmt.Errorf("%d of %d entries were made", len(ids), len(number))
	}
	for _, it := range list {
		count := len(it.w.rows.Rows)
		it.w.ids, ids = ids[:count:count], ids[count:]
	}
	n.began(list)
	return nil
}

// reached takes a connection to a database a session of which has asked, so that
// it runs, whatever was met before. An attempt that is under way is waited for.
func (n *node) reached(ctx context.Context) (*pgxpool.Conn, error) {
	db := n.database()
	ctx, cancel := context.WithTimeout(ctx, db.ConnectTimeout())
	defer cancel()
	for failures := 0; ; {
		if db.Err() != nil {
			db.Retry()
		}
		conn, err := db.Acquire(ctx)
		var gone *database.UnreachableError
		if err == nil || !errors.As(err, &gone) {
			return conn, err
		}
		if gone.Until.After(time.Now()) {
			// This attempt's own error. The first may have begun before the server did.
			failures++
		}
		if failures == 3 || ctx.Err() != nil {
			return nil, err
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

func (s *Statement) state() string {
	if s.AfterCommit {
		return stateQueued
	}
	return statePending
}

func onRollbackName(compensate bool) string {
	if compensate {
		return "compensate"
	}
	return "keep"
}

// operationName is hallway.write_log.operation.
func operationName(op connectors.Operation) string { return strings.ToLower(op.String()) }

func operationOf(name string) connectors.Operation {
	for _, op := range []connectors.Operation{connectors.Insert, connectors.Update, connectors.Delete, connectors.Upsert} {
		if operationName(op) == name {
			return op
		}
	}
	return 0
}

// textArray is a text[] as PostgreSQL reads it; nil is NULL.
func textArray(list []string) *string {
	if list == nil {
		return nil
	}
	values := make([]pushdown.Value, len(list))
	for i, s := range list {
		values[i].V = s
	}
	out := string(pushdown.AppendText(nil, pushdown.Value{V: values}, pushdown.Type{Kind: pushdown.Text, Array: true}))
	return &out
}
