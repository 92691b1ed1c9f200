package clients

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

// runPgx is pgx as it is by default: every statement is prepared at its first
// use and kept, values travel in binary.
func runPgx(t *testing.T, w *world) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(w.url())
	require.NoError(t, err)
	var e ear
	config.OnNotice = e.hear
	conn, err := pgx.ConnectConfig(ctx, config)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()

	r := report{Version: "pgx v5", Warnings: map[string][]notice{}, Errors: map[string]failure{}}
	// rows runs a statement that must work.
	rows := func(sql string, args ...any) []contact {
		t.Helper()
		q, err := conn.Query(ctx, sql, args...)
		require.NoError(t, err)
		out, err := pgx.CollectRows(q, pgx.RowToStructByNameLax[contact])
		require.NoError(t, err, sql)
		return out
	}
	exec := func(sql string, args ...any) int {
		t.Helper()
		tag, err := conn.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
		return int(tag.RowsAffected())
	}
	add := func(row fields) {
		t.Helper()
		sql, args := insert("", row)
		exec(sql, args...)
	}

	sql, args := insert("*", w.everything())
	q, err := conn.Query(ctx, sql, args...)
	require.NoError(t, err)
	row, err := pgx.CollectExactlyOneRow(q, pgx.RowToMap)
	require.NoError(t, err)
	row["birthday"] = row["birthday"].(time.Time).Format(time.DateOnly)
	require.IsType(t, pgtype.Numeric{}, row["balance"])
	r.Inserted = asJSON(t, row)

	add(w.row("ada").with("score", 1))
	out := rows("UPDATE crm.contacts SET score = score + $1, last_name = $2 WHERE email = $3 RETURNING id, score, last_name", 6, "Lovelace", w.email("ada"))
	r.Updated = updated{out[0], len(out)}
	r.UpdatedNone = new(exec("UPDATE crm.contacts SET score = 1 WHERE email = $1", w.email("nobody")))

	sql, args = insert("id", w.row("gone"))
	gone := rows(sql, args...)
	out = rows("DELETE FROM crm.contacts WHERE email = $1 RETURNING id", w.email("gone"))
	r.Deleted = deleted{len(out), out[0].ID, gone[0].ID}
	r.DeletedNone = new(exec("DELETE FROM crm.contacts WHERE email = $1", w.email("gone")))

	// pgx's own batch: statements sent together, with one answer each.
	var b pgx.Batch
	for _, row := range w.batch("batch", 25) {
		sql, args := insert("id, email", row)
		b.Queue(sql, args...).Query(func(q pgx.Rows) error {
			c, err := pgx.CollectExactlyOneRow(q, pgx.RowToStructByNameLax[contact])
			r.Batch = append(r.Batch, c)
			return err
		})
	}
	require.NoError(t, conn.SendBatch(ctx, &b).Close())

	var copied [][]any
	for _, row := range w.batch("copy", 12) {
		copied = append(copied, row.values)
	}
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"crm", "contacts"}, w.batch("copy", 1)[0].columns, pgx.CopyFromRows(copied))
	require.NoError(t, err)
	r.Copied = int(n)

	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	exec("INSERT INTO orders VALUES ($1)", w.email("commit"))
	add(w.row("commit"))
	exec("UPDATE crm.contacts SET score = 5 WHERE email = $1", w.email("commit"))
	require.NoError(t, tx.Commit(ctx))
	r.Quiet = new(len(e.take()))

	tx, err = conn.Begin(ctx)
	require.NoError(t, err)
	exec("INSERT INTO orders VALUES ($1)", w.email("rollback"))
	sql, args = insert("id", w.row("rollback"))
	r.RolledBack = rows(sql, args...)[0].ID
	require.NoError(t, tx.Rollback(ctx))
	r.Warnings["rollback"] = e.take()

	// A transaction within is a savepoint.
	tx, err = conn.Begin(ctx)
	require.NoError(t, err)
	inner, err := tx.Begin(ctx)
	require.NoError(t, err)
	add(w.row("savepoint"))
	require.NoError(t, inner.Rollback(ctx))
	r.Warnings["savepoint"] = e.take()
	require.NoError(t, tx.Commit(ctx))
	require.Empty(t, e.take())

	for i := range 8 {
		row := w.row(fmt.Sprintf("repeat%02d", i)).with("score", i)
		add(row)
		exec("UPDATE crm.contacts SET score = score + $1 WHERE email = $2", 10, row.values[0])
		r.Repeated = append(r.Repeated, rows("SELECT email, score FROM crm.contacts WHERE email = $1 AND score > $2", row.values[0], i)...)
	}
	var generic int
	require.NoError(t, conn.QueryRow(ctx, "SELECT coalesce(sum(generic_plans), 0) FROM pg_prepared_statements WHERE statement LIKE '%FROM crm.contacts WHERE email = $1 AND score > $2'").Scan(&generic))
	require.Positive(t, generic, "no execution took a generic plan")

	try := func(row ...fields) failure {
		sql, args := insert("", row...)
		_, err := conn.Exec(ctx, sql, args...)
		return failed(err)
	}
	for kind, row := range w.refused() {
		r.Errors[kind] = try(row)
	}

	e.take()
	tx, err = conn.Begin(ctx)
	require.NoError(t, err)
	exec("INSERT INTO orders VALUES ($1)", w.email("failed"))
	r.Errors["inTransaction"] = try(w.refused()["check"])
	_, err = conn.Exec(ctx, "SELECT 1")
	r.Errors["afterwards"] = failed(err)
	require.NoError(t, tx.Rollback(ctx))
	r.Warnings["failed"] = e.take()

	r.Errors["partial"] = try(w.partial()...)
	r.Warnings["partial"] = e.take()

	first, second := w.upserts()
	sql, args = upsert("", first...)
	exec(sql, args...)
	sql, args = upsert("id, email", second...)
	r.Upserted = rows(sql, args...)

	// By default a context that ends closes the connection; this is how pgx asks
	// the server to cancel instead, in a connection of its own.
	start := time.Now()
	go w.cancelWhenAsked(ctx, conn)
	_, err = conn.Exec(ctx, "SELECT id FROM crm.slow_contacts")
	r.Errors["cancelled"] = failed(err)
	r.CancelledMS = int(time.Since(start).Milliseconds())

	r.Records = rows("SELECT id, email, last_name, status, score FROM crm.contacts WHERE email LIKE $1 ORDER BY email", "%@"+w.domain)
	q, err = conn.Query(ctx, "SELECT contact FROM orders")
	require.NoError(t, err)
	r.Orders, err = pgx.CollectRows(q, pgx.RowTo[string])
	require.NoError(t, err)
	return r
}

// cancelWhenAsked cancels what the connection does once the slow API has it.
func (w *world) cancelWhenAsked(ctx context.Context, conn *pgx.Conn) {
	w.slow.whenAsked(ctx)
	_ = conn.PgConn().CancelRequest(ctx)
}
