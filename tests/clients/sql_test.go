package clients

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// runSQL is database/sql over pgx: text and Go's own types, a pool (of one
// connection, so that each step follows the one before).
func runSQL(t *testing.T, w *world) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(w.url())
	require.NoError(t, err)
	var e ear
	config.OnNotice = e.hear
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	defer func() { _ = db.Close() }()

	r := report{Version: "database/sql of " + runtime.Version(), Warnings: map[string][]notice{}, Errors: map[string]failure{}}
	exec := func(on execer, query string, args ...any) int {
		t.Helper()
		res, err := on.ExecContext(ctx, query, args...)
		require.NoError(t, err, query)
		n, err := res.RowsAffected()
		require.NoError(t, err)
		return int(n)
	}
	add := func(on execer, row fields) {
		t.Helper()
		query, args := insert("", row)
		require.Equal(t, 1, exec(on, query, args...))
	}

	// Every value by way of its text, as database/sql knows few types.
	query, args := insert("to_jsonb(contacts)", w.everything())
	var inserted []byte
	require.NoError(t, db.QueryRowContext(ctx, query, args...).Scan(&inserted))
	r.Inserted = decode(t, inserted)

	add(db, w.row("ada").with("score", 1))
	r.Updated.Count = 1
	require.NoError(t, db.QueryRowContext(ctx, "UPDATE crm.contacts SET score = score + $1, last_name = $2 WHERE email = $3 RETURNING id, score, last_name",
		6, "Lovelace", w.email("ada")).Scan(&r.Updated.ID, &r.Updated.Score, &r.Updated.LastName))
	r.UpdatedNone = new(exec(db, "UPDATE crm.contacts SET score = 1 WHERE email = $1", w.email("nobody")))

	query, args = insert("id", w.row("gone"))
	require.NoError(t, db.QueryRowContext(ctx, query, args...).Scan(&r.Deleted.Inserted))
	r.Deleted.Count = 1
	require.NoError(t, db.QueryRowContext(ctx, "DELETE FROM crm.contacts WHERE email = $1 RETURNING id", w.email("gone")).Scan(&r.Deleted.ID))
	r.DeletedNone = new(exec(db, "DELETE FROM crm.contacts WHERE email = $1", w.email("gone")))

	query, args = insert("id, email", w.batch("batch", 25)...)
	r.Batch = contacts(ctx, t, db, func(c *contact) []any { return []any{&c.ID, &c.Email} }, query, args...)

	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	exec(tx, "INSERT INTO orders VALUES ($1)", w.email("commit"))
	add(tx, w.row("commit"))
	exec(tx, "UPDATE crm.contacts SET score = 5 WHERE email = $1", w.email("commit"))
	require.NoError(t, tx.Commit())
	r.Quiet = new(len(e.take()))

	tx, err = db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	require.NoError(t, err)
	exec(tx, "INSERT INTO orders VALUES ($1)", w.email("rollback"))
	query, args = insert("id", w.row("rollback"))
	require.NoError(t, tx.QueryRowContext(ctx, query, args...).Scan(&r.RolledBack))
	require.NoError(t, tx.Rollback())
	r.Warnings["rollback"] = e.take()

	query, _ = insert("", w.row("").with("score", 0))
	inserting, err := db.PrepareContext(ctx, query)
	require.NoError(t, err)
	defer func() { _ = inserting.Close() }()
	updating, err := db.PrepareContext(ctx, "UPDATE crm.contacts SET score = score + $1 WHERE email = $2")
	require.NoError(t, err)
	defer func() { _ = updating.Close() }()
	selecting, err := db.PrepareContext(ctx, "SELECT email, score FROM crm.contacts WHERE email = $1 AND score > $2")
	require.NoError(t, err)
	defer func() { _ = selecting.Close() }()
	for i := range 8 {
		row := w.row(fmt.Sprintf("repeat%02d", i)).with("score", i)
		_, err := inserting.ExecContext(ctx, row.values...)
		require.NoError(t, err)
		_, err = updating.ExecContext(ctx, 10, row.values[0])
		require.NoError(t, err)
		var c contact
		require.NoError(t, selecting.QueryRowContext(ctx, row.values[0], i).Scan(&c.Email, &c.Score))
		r.Repeated = append(r.Repeated, c)
	}

	try := func(on execer, rows ...fields) failure {
		query, args := insert("", rows...)
		_, err := on.ExecContext(ctx, query, args...)
		return failed(err)
	}
	for kind, row := range w.refused() {
		r.Errors[kind] = try(db, row)
	}

	e.take()
	tx, err = db.BeginTx(ctx, nil)
	require.NoError(t, err)
	exec(tx, "INSERT INTO orders VALUES ($1)", w.email("failed"))
	r.Errors["inTransaction"] = try(tx, w.refused()["check"])
	_, err = tx.ExecContext(ctx, "SELECT 1")
	r.Errors["afterwards"] = failed(err)
	require.NoError(t, tx.Rollback())
	r.Warnings["failed"] = e.take()

	r.Errors["partial"] = try(db, w.partial()...)
	r.Warnings["partial"] = e.take()

	first, second := w.upserts()
	query, args = upsert("", first...)
	exec(db, query, args...)
	query, args = upsert("id, email", second...)
	r.Upserted = contacts(ctx, t, db, func(c *contact) []any { return []any{&c.ID, &c.Email} }, query, args...)

	// Long enough for the API to be asked, on a busy machine too.
	short, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	start := time.Now()
	_, err = db.ExecContext(short, "SELECT id FROM crm.slow_contacts")
	require.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	r.Errors["cancelled"] = failure{Class: "context.DeadlineExceeded", Message: err.Error()}
	r.CancelledMS = int(time.Since(start).Milliseconds())

	r.Records = contacts(ctx, t, db, func(c *contact) []any { return []any{&c.ID, &c.Email, &c.LastName, &c.Status, &c.Score} },
		"SELECT id, email, last_name, status, score FROM crm.contacts WHERE email LIKE $1 ORDER BY email", "%@"+w.domain)
	var order string
	require.NoError(t, db.QueryRowContext(ctx, "SELECT contact FROM orders").Scan(&order))
	r.Orders = []string{order}
	return r
}

// execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// contacts are the rows of a query that must work, scanned into the places that
// into gives.
func contacts(ctx context.Context, t *testing.T, db *sql.DB, into func(*contact) []any, query string, args ...any) (out []contact) {
	t.Helper()
	rows, err := db.QueryContext(ctx, query, args...)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c contact
		require.NoError(t, rows.Scan(into(&c)...))
		out = append(out, c)
	}
	require.NoError(t, rows.Err())
	return out
}
