package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// runPsql writes what an administrator would: scripts for psql, and \copy.
func runPsql(t *testing.T, w *world) report {
	t.Helper()
	p := newPsql(t, w)
	r := report{Warnings: map[string][]notice{}, Errors: map[string]failure{}}
	version, _ := p.run(`\echo psql :VERSION_NAME`)
	r.Version = strings.TrimSpace(version)
	// value is the one line that statements write.
	value := func(sql string) string {
		t.Helper()
		out, said := p.run(sql)
		require.Empty(t, said, sql)
		return strings.TrimSpace(out)
	}
	count := func(tag, said string) int {
		t.Helper()
		require.True(t, strings.HasPrefix(said, tag+" "), said)
		n, err := strconv.Atoi(said[strings.LastIndex(said, " ")+1:])
		require.NoError(t, err)
		return n
	}

	r.Inserted = decode(t, []byte(value(literal(insert("to_jsonb(contacts)", w.everything())))))

	value(literal(insert("", w.row("ada").with("score", 1))))
	require.NoError(t, json.Unmarshal([]byte(value(fmt.Sprintf(
		"UPDATE crm.contacts SET score = score + 6, last_name = 'Lovelace' WHERE email = '%s' RETURNING json_build_object('id', id, 'score', score, 'last_name', last_name)",
		w.email("ada")))), &r.Updated))
	r.Updated.Count = 1
	r.UpdatedNone = new(count("UPDATE", value(`\set QUIET off`+"\nUPDATE crm.contacts SET score = 1 WHERE email = '"+w.email("nobody")+"'")))

	r.Deleted.Inserted = value(literal(insert("id", w.row("gone"))))
	// \gset keeps what RETURNING gave in a variable.
	r.Deleted.ID = value("DELETE FROM crm.contacts WHERE email = '" + w.email("gone") + "' RETURNING id AS gone \\gset\n\\echo :gone")
	r.Deleted.Count = 1
	r.DeletedNone = new(count("DELETE", value(`\set QUIET off`+"\nDELETE FROM crm.contacts WHERE email = '"+w.email("gone")+"'")))

	require.NoError(t, json.Unmarshal([]byte("["+strings.ReplaceAll(
		value(literal(insert("json_build_object('id', id, 'email', email)", w.batch("batch", 25)...))), "\n", ",")+"]"), &r.Batch))

	file := filepath.Join(t.TempDir(), "contacts.csv")
	require.NoError(t, os.WriteFile(file, []byte(csv(w.batch("copy", 12))), 0o600))
	r.Copied = count("COPY", value(`\set QUIET off`+"\n\\copy crm.contacts (email, last_name, status, score) FROM '"+file+"' WITH (FORMAT csv, HEADER)"))

	_, said := p.run("BEGIN", "INSERT INTO orders VALUES ('"+w.email("commit")+"')", literal(insert("", w.row("commit"))),
		"UPDATE crm.contacts SET score = 5 WHERE email = '"+w.email("commit")+"'", "COMMIT")
	r.Quiet = new(len(said))

	out, said := p.run("BEGIN", "INSERT INTO orders VALUES ('"+w.email("rollback")+"')", literal(insert("id", w.row("rollback"))), "ROLLBACK")
	r.RolledBack = strings.TrimSpace(out)
	r.Warnings["rollback"] = notices(said)

	statements := []string{
		"PREPARE i(text, int) AS INSERT INTO crm.contacts (email, last_name, status, score) VALUES ($1, split_part($1, '@', 1), 'lead', $2)",
		"PREPARE u(text) AS UPDATE crm.contacts SET score = score + 10 WHERE email = $1",
		"PREPARE s(text, int) AS SELECT json_build_object('email', email, 'score', score) FROM crm.contacts WHERE email = $1 AND score > $2",
	}
	for i := range 8 {
		e := w.email(fmt.Sprintf("repeat%02d", i))
		statements = append(statements, fmt.Sprintf("EXECUTE i('%s', %d); EXECUTE u('%s'); EXECUTE s('%s', %d)", e, i, e, e, i))
	}
	require.NoError(t, json.Unmarshal([]byte("["+strings.ReplaceAll(value(strings.Join(statements, ";\n")), "\n", ",")+"]"), &r.Repeated))

	for kind, row := range w.refused() {
		_, said := p.run(literal(insert("", row)))
		r.Errors[kind] = only(t, said)
	}

	_, said = p.run("BEGIN", "INSERT INTO orders VALUES ('"+w.email("failed")+"')", literal(insert("", w.refused()["check"])), "SELECT 1", "ROLLBACK")
	require.Len(t, said, 2, "%+v", said)
	r.Errors["inTransaction"], r.Errors["afterwards"] = said[0].failure, said[1].failure

	require.NoError(t, os.WriteFile(file, []byte(csv(w.partial())), 0o600))
	_, said = p.run(`\copy crm.contacts (email, last_name, status, score) FROM '` + file + `' WITH (FORMAT csv, HEADER)`)
	// psql writes a notice when it comes, and an error when the command has ended:
	// either may be the first.
	slices.SortFunc(said, func(a, b message) int { return strings.Compare(a.Class, b.Class) })
	require.NotEmpty(t, said)
	r.Errors["partial"] = said[0].failure
	require.Contains(t, said[0].where, "COPY contacts, line 4", "the header is line 1")
	r.Warnings["partial"] = notices(said[1:])

	first, second := w.upserts()
	value(literal(upsert("", first...)))
	require.NoError(t, json.Unmarshal([]byte("["+strings.ReplaceAll(
		value(literal(upsert("json_build_object('id', id, 'email', email)", second...))), "\n", ",")+"]"), &r.Upserted))

	start := time.Now()
	said = p.interrupted("SELECT id FROM crm.slow_contacts", w.slow.whenAsked)
	r.Errors["cancelled"] = only(t, said)
	r.CancelledMS = int(time.Since(start).Milliseconds())

	require.NoError(t, json.Unmarshal([]byte("["+strings.ReplaceAll(value(
		`\copy (SELECT json_build_object('id', id, 'email', email, 'last_name', last_name, 'status', status, 'score', score) FROM crm.contacts WHERE email LIKE '%@`+
			w.domain+`' ORDER BY email) TO STDOUT WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')`), "\n", ",")+"]"), &r.Records))
	r.Orders = strings.Fields(value("SELECT contact FROM orders"))
	return r
}

type psql struct {
	t       *testing.T
	program string
	url     string
}

func newPsql(t *testing.T, w *world) psql {
	t.Helper()
	bin, err := harness.BinDir()
	require.NoError(t, err)
	return psql{t, filepath.Join(bin, "psql"), w.url()}
}

func (p psql) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.program, append([]string{"-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-d", p.url}, args...)...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PGTZ=UTC"}
	return cmd
}

// run gives statements to a psql of their own and returns what it wrote and what
// the server said.
func (p psql) run(statements ...string) (string, []message) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	script := strings.Join(statements, ";\n")
	// The line of a backslash command ends it.
	if last := script[strings.LastIndex(script, "\n")+1:]; !strings.HasPrefix(last, `\`) {
		script += ";"
	}
	cmd.Stdin = strings.NewReader(script + "\n")
	require.NoError(p.t, cmd.Run(), errs.String())
	return out.String(), messages(p.t, errs.String())
}

// interrupted sends psql the signal of Ctrl-C when the statement has come so far.
func (p psql) interrupted(statement string, when func(context.Context)) []message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx, "-c", statement)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(p.t, cmd.Start())
	when(ctx)
	require.NoError(p.t, cmd.Process.Signal(syscall.SIGINT))
	var exit *exec.ExitError
	require.ErrorAs(p.t, cmd.Wait(), &exit, errs.String())
	return messages(p.t, strings.ReplaceAll(errs.String(), "Cancel request sent\n", ""))
}

// message is what the server said, of any severity.
type message struct {
	failure
	where string
}

var (
	headline = regexp.MustCompile(`^(?:psql:[^ ]* )?([A-Z]+):  ([0-9A-Z]{5}): (.*)$`)
	field    = regexp.MustCompile(`^([A-Z ]+):  (.*)$`)
)

// messages reads psql's verbose form.
func messages(t *testing.T, text string) (out []message) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if m := headline.FindStringSubmatch(line); m != nil {
			out = append(out, message{failure: failure{Class: m[1], Code: m[2], Message: m[3]}})
			continue
		}
		if line == "" || len(out) == 0 {
			require.Empty(t, line, text)
			continue
		}
		m := field.FindStringSubmatch(line)
		if m == nil {
			continue // the statement, and where in it
		}
		last := &out[len(out)-1]
		switch m[1] {
		case "DETAIL":
			last.Detail = m[2]
		case "HINT":
			last.Hint = m[2]
		case "CONTEXT":
			last.where = m[2]
		case "SCHEMA NAME":
			last.Schema = m[2]
		case "TABLE NAME":
			last.Table = m[2]
		case "COLUMN NAME":
			last.Column = m[2]
		}
	}
	return out
}

func only(t *testing.T, said []message) failure {
	t.Helper()
	require.Len(t, said, 1, "%+v", said)
	return said[0].failure
}

func notices(said []message) (out []notice) {
	for _, m := range said {
		out = append(out, notice{Severity: m.Class, Code: m.Code, Message: m.Message, Detail: m.Detail})
	}
	return out
}

// literal is a statement whose values stand in it.
func literal(sql string, args []any) string {
	return regexp.MustCompile(`\$(\d+)`).ReplaceAllStringFunc(sql, func(m string) string {
		n, _ := strconv.Atoi(m[1:])
		return quote(args[n-1])
	})
}

func quote(v any) string {
	switch v := v.(type) {
	case time.Time:
		return "'" + v.Format(time.RFC3339Nano) + "'"
	case []string:
		return "'{" + strings.Join(v, ",") + "}'"
	default:
		return "'" + strings.ReplaceAll(fmt.Sprint(v), "'", "''") + "'"
	}
}

// csv is a file with a header.
func csv(rows []fields) string {
	out := strings.Join(rows[0].columns, ",") + "\n"
	for _, row := range rows {
		for i, v := range row.values {
			if i > 0 {
				out += ","
			}
			out += fmt.Sprint(v)
		}
		out += "\n"
	}
	return out
}
