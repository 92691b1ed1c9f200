// A session as tests want it: text in, text out, failures with the statement
// that caused them.

package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Timeout bounds a statement of a test, so that a hang fails with its name.
const Timeout = 2 * time.Minute

// Conn is a session. Not for concurrent use.
type Conn struct {
	*pgconn.PgConn
	t testing.TB
}

// On is the same session within a subtest.
func (c *Conn) On(t testing.TB) *Conn { return &Conn{PgConn: c.PgConn, t: t} }

// Null stands for SQL's NULL in a Row: no text that PostgreSQL writes has it.
const Null = "\x00NULL"

// Row is the text form of a row's values.
type Row []string

func (r Row) String() string {
	return "(" + strings.ReplaceAll(strings.Join(r, " | "), Null, "∅") + ")"
}

// Result of a statement that was understood.
type Result struct {
	Columns []string
	Rows    []Row
	Tag     string
}

// Simple runs SQL by the simple protocol and gives the last statement's rows.
func Simple(ctx context.Context, c *pgconn.PgConn, sql string) (Result, error) {
	var last Result
	mrr := c.Exec(ctx, sql)
	for mrr.NextResult() {
		rr := mrr.ResultReader()
		last = Result{}
		for _, f := range rr.FieldDescriptions() {
			last.Columns = append(last.Columns, f.Name)
		}
		for rr.NextRow() {
			last.Rows = append(last.Rows, toRow(rr.Values()))
		}
		tag, err := rr.Close()
		last.Tag = tag.String()
		if err != nil {
			_ = mrr.Close()
			return last, err
		}
	}
	return last, mrr.Close()
}

// Param is a value for a prepared statement: its text, and whether it is NULL.
type Param struct {
	Text string
	Null bool
}

// Prepared executes a named prepared statement.
func Prepared(ctx context.Context, c *pgconn.PgConn, name string, params []Param) (Result, error) {
	return collect(c.ExecPrepared(ctx, name, values(params), nil, nil))
}

// Extended runs one statement by the extended protocol, unprepared.
func Extended(ctx context.Context, c *pgconn.PgConn, sql string, params []Param) (Result, error) {
	return collect(c.ExecParams(ctx, sql, values(params), nil, nil, nil))
}

func values(params []Param) [][]byte {
	out := make([][]byte, len(params))
	for i, p := range params {
		if !p.Null {
			out[i] = []byte(p.Text)
		}
	}
	return out
}

func collect(rr *pgconn.ResultReader) (Result, error) {
	var r Result
	for _, f := range rr.FieldDescriptions() {
		r.Columns = append(r.Columns, f.Name)
	}
	for rr.NextRow() {
		r.Rows = append(r.Rows, toRow(rr.Values()))
	}
	tag, err := rr.Close()
	r.Tag = tag.String()
	return r, err
}

func toRow(values [][]byte) Row {
	row := make(Row, len(values))
	for i, v := range values {
		if v == nil {
			row[i] = Null
		} else {
			row[i] = string(v)
		}
	}
	return row
}

// Try runs SQL and gives the error.
func (c *Conn) Try(sql string, args ...any) (Result, error) {
	c.t.Helper()
	if len(args) > 0 {
		sql = fmt.Sprintf(sql, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	return Simple(ctx, c.PgConn, sql)
}

// Exec runs SQL that must work and gives the command tag.
func (c *Conn) Exec(sql string, args ...any) string {
	c.t.Helper()
	r, err := c.Try(sql, args...)
	if err != nil {
		c.t.Fatalf("%s\n  in: %s", Describe(err), clip(fmt.Sprintf(sql, args...)))
	}
	return r.Tag
}

// Query runs SQL that must work and gives its rows.
func (c *Conn) Query(sql string, args ...any) []Row {
	c.t.Helper()
	r, err := c.Try(sql, args...)
	if err != nil {
		c.t.Fatalf("%s\n  in: %s", Describe(err), clip(fmt.Sprintf(sql, args...)))
	}
	return r.Rows
}

// Value runs SQL that must give one row of one column.
func (c *Conn) Value(sql string, args ...any) string {
	c.t.Helper()
	rows := c.Query(sql, args...)
	if len(rows) != 1 || len(rows[0]) != 1 {
		c.t.Fatalf("want one value, have %d rows\n  in: %s", len(rows), clip(fmt.Sprintf(sql, args...)))
	}
	return rows[0][0]
}

// Fails runs SQL that must fail with the SQLSTATE and gives the error.
func (c *Conn) Fails(sqlstate, sql string, args ...any) *pgconn.PgError {
	c.t.Helper()
	start := time.Now()
	_, err := c.Try(sql, args...)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		c.t.Fatalf("want an error %s, have %v after %s\n  in: %s", sqlstate, err, time.Since(start), clip(fmt.Sprintf(sql, args...)))
	}
	if pg.Code != sqlstate {
		c.t.Fatalf("want SQLSTATE %s, have %s\n  in: %s", sqlstate, Describe(err), clip(fmt.Sprintf(sql, args...)))
	}
	return pg
}

// Describe writes an error as psql would.
func Describe(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Sprint(err)
	}
	s := fmt.Sprintf("%s %s: %s", pg.Severity, pg.Code, pg.Message)
	for _, part := range []struct{ k, v string }{{"DETAIL", pg.Detail}, {"HINT", pg.Hint}, {"CONTEXT", pg.Where}} {
		if part.v != "" {
			s += "\n  " + part.k + ": " + part.v
		}
	}
	return s
}

// SQLState of an error; empty if it is not the server's.
func SQLState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// PlanNode is a node of EXPLAIN (FORMAT JSON).
type PlanNode map[string]any

// Explain gives the plan's nodes, depth first.
func (c *Conn) Explain(sql string) []PlanNode {
	c.t.Helper()
	nodes, err := ParsePlan(c.Value("EXPLAIN (FORMAT JSON, VERBOSE) %s", strings.ReplaceAll(sql, "%", "%%")))
	if err != nil {
		c.t.Fatalf("reading the plan of %s: %v", sql, err)
	}
	return nodes
}

// ParsePlan reads EXPLAIN's JSON into its nodes, depth first.
func ParsePlan(text string) ([]PlanNode, error) {
	var top []struct{ Plan map[string]any }
	if err := json.Unmarshal([]byte(text), &top); err != nil {
		return nil, err
	}
	var out []PlanNode
	var walk func(map[string]any)
	walk = func(n map[string]any) {
		out = append(out, n)
		kids, _ := n["Plans"].([]any)
		for _, k := range kids {
			if m, ok := k.(map[string]any); ok {
				walk(m)
			}
		}
	}
	for _, p := range top {
		walk(p.Plan)
	}
	return out, nil
}

func clip(s string) string {
	if len(s) > 600 {
		return s[:600] + " …"
	}
	return s
}
