package clients

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// fields are a row to be written, in the order of its columns.
type fields struct {
	columns []string
	values  []any
}

func (f fields) with(column string, v any) fields {
	for i, c := range f.columns {
		if c == column {
			out := fields{f.columns, append([]any(nil), f.values...)}
			out.values[i] = v
			return out
		}
	}
	return fields{append(append([]string(nil), f.columns...), column), append(append([]any(nil), f.values...), v)}
}

// row is a contact of this client; node/scenario.js has the same.
func (w *world) row(name string) fields {
	return fields{[]string{"email", "last_name", "status"}, []any{w.email(name), name, "lead"}}
}

// everything is a row with a value of every type that a contact has.
func (w *world) everything() fields {
	return w.row("types").with("last_name", `O'Brien "x" \ 🦆`).with("score", 42).with("balance", "1234.56").
		with("subscribed", true).with("birthday", "1990-02-03").
		with("last_seen", time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)).
		with("interests", []string{"api", "on-premises"}).
		with("profile", `{"a": [1, null, "ü"], "b": {"c": true}}`)
}

func (w *world) batch(name string, n int) (out []fields) {
	for i := range n {
		out = append(out, w.row(fmt.Sprintf("%s%02d", name, i)).with("score", i))
	}
	return out
}

// upserts are the rows of two statements: what the second brings, it changes or
// makes.
func (w *world) upserts() (first, second []fields) {
	for _, row := range w.batch("upsert", 2) {
		second = append(second, row.with("score", 2))
	}
	return w.batch("upsert", 1), second
}

// upsert is an INSERT into the table whose rows are found by email.
func upsert(returning string, rows ...fields) (sql string, args []any) {
	sql, args = insert(returning, rows...)
	return strings.Replace(sql, "crm.contacts", "crm.contact_upserts", 1), args
}

// partial are rows of which the third is refused by the API.
func (w *world) partial() []fields {
	rows := w.batch("partial", 5)
	rows[2] = rows[2].with("email", "no address")
	return rows
}

// refused are rows that the API refuses, by what PostgreSQL would call it.
func (w *world) refused() map[string]fields {
	return map[string]fields{
		"check":      w.row("check").with("email", "no address"),
		"unique":     w.row("types"),
		"notNull":    w.row("notnull").with("last_name", ""),
		"foreignKey": w.row("foreignkey").with("company", "nosuchcompany00"),
		"readOnly":   w.row("readonly").with("created", time.Now()),
	}
}

// insert is a statement for rows of the same columns, and its parameters.
func insert(returning string, rows ...fields) (sql string, args []any) {
	sql = "INSERT INTO crm.contacts ("
	for i, c := range rows[0].columns {
		sql += separator(i) + c
	}
	sql += ") VALUES "
	for r, row := range rows {
		sql += separator(r) + "("
		for c := range row.columns {
			sql += fmt.Sprintf("%s$%d", separator(c), len(args)+c+1)
		}
		sql += ")"
		args = append(args, row.values...)
	}
	if returning != "" {
		sql += " RETURNING " + returning
	}
	return sql, args
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ", "
}

// failed is an error of pgx's, or of database/sql over it.
func failed(err error) failure {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return failure{Class: fmt.Sprintf("%T", err), Message: fmt.Sprint(err)}
	}
	return failure{Class: fmt.Sprintf("%T", pg), Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint,
		Schema: pg.SchemaName, Table: pg.TableName, Column: pg.ColumnName}
}

// ear hears a connection's notices.
type ear struct{ heard []notice }

func (e *ear) hear(_ *pgconn.PgConn, n *pgconn.Notice) {
	e.heard = append(e.heard, notice{Severity: n.Severity, Code: n.Code, Message: n.Message, Detail: n.Detail})
}

func (e *ear) take() []notice {
	out := e.heard
	e.heard = nil
	return out
}
