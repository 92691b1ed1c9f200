package clients

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// What clients say that a foreign table cannot do. docs/clients.md tells its
// readers, error texts and all; this keeps it true.
func TestLimits(t *testing.T) {
	w := newWorld(t, "limits")
	c := w.db.ConnectAs(t, "postgres")
	const row = "INSERT INTO crm.contacts (email, last_name, status) VALUES ('a@limits.example', 'A', 'lead')"
	c.Exec(row)
	doc, err := os.ReadFile(filepath.Join(env.Root, "docs", "clients.md"))
	require.NoError(t, err)
	documented := func(t *testing.T, text string) {
		t.Helper()
		require.Contains(t, strings.Join(strings.Fields(string(doc)), " "), text, "docs/clients.md does not say it")
	}

	for _, limit := range []struct{ name, sql, state, message string }{
		{"NULL that the API has not", "INSERT INTO crm.contacts (email, last_name, status, score) VALUES ('b@limits.example', 'B', 'lead', NULL)", "23502", `[CRM]: null value in column "score": the API has no NULL there`},
		{"upsert", row + " ON CONFLICT (email) DO UPDATE SET last_name = 'B'", "42P10", "there is no unique or exclusion constraint matching the ON CONFLICT specification"},
		{"skip by column", row + " ON CONFLICT (email) DO NOTHING", "42P10", "there is no unique or exclusion constraint matching the ON CONFLICT specification"},
		{"own key", "INSERT INTO crm.contacts (id, email, last_name, status) VALUES ('abcdefghijklmno', 'b@limits.example', 'B', 'lead')", "428C9", `column "id" of foreign table "contacts" cannot be written`},
		{"change of key", "UPDATE crm.contacts SET id = 'abcdefghijklmno' WHERE email = 'a@limits.example'", "428C9", `column "id" of foreign table "contacts" cannot be written`},
		{"truncate", "TRUNCATE crm.contacts", "0A000", `cannot truncate foreign table "contacts"`},
		{"merge", "MERGE INTO crm.contacts c USING (VALUES ('a@limits.example')) v(email) ON c.email = v.email WHEN MATCHED THEN DELETE", "0A000", `cannot execute MERGE on relation "contacts"`},
		{"index", "CREATE INDEX ON crm.contacts (email)", "42809", `cannot create index on relation "contacts"`},
		{"unique", "ALTER TABLE crm.contacts ADD UNIQUE (email)", "0A000", "unique constraints are not supported on foreign tables"},
		{"primary key", "ALTER TABLE crm.contacts ADD PRIMARY KEY (id)", "0A000", "primary key constraints are not supported on foreign tables"},
		{"foreign key", "CREATE TABLE notes (contact text REFERENCES crm.contacts (id))", "42809", `referenced relation "contacts" is not a table`},
		{"copy out", "COPY crm.contacts TO STDOUT", "42809", `cannot copy from foreign table "contacts"`},
		{"row version", "SELECT xmin FROM crm.contacts LIMIT 1", "0A000", "cannot retrieve a system column in this context"},
		{"positioned", "BEGIN; DECLARE k CURSOR FOR SELECT id FROM crm.contacts; FETCH k; DELETE FROM crm.contacts WHERE CURRENT OF k", "0A000", "WHERE CURRENT OF is not supported for this table type"},
		{"two phases", "BEGIN; " + strings.ReplaceAll(row, "'a@", "'phases@") + "; PREPARE TRANSACTION 'p'", "0A000", "cannot PREPARE a transaction that has written through Hallway"},
	} {
		t.Run(limit.name, func(t *testing.T) {
			c := c.On(t)
			e := c.Fails(limit.state, "%s", limit.sql)
			c.Exec("ROLLBACK")
			require.Contains(t, e.Message, limit.message)
			documented(t, limit.message)
			documented(t, limit.state)
		})
	}
	t.Run("locks", func(t *testing.T) {
		conn, e := w.hearing(t)
		_, err := conn.Exec(context.Background(), "SELECT id FROM crm.contacts WHERE email = 'a@limits.example' FOR UPDATE")
		require.NoError(t, err)
		heard := e.take()
		require.Len(t, heard, 1)
		require.Equal(t, `rows of foreign table "contacts" are not locked in the API`, heard[0].Message)
		documented(t, heard[0].Message)
	})
	t.Run("the catalog", func(t *testing.T) {
		c := c.On(t)
		require.Equal(t, []harness.Row{{"FOREIGN", "YES"}}, c.Query("SELECT table_type, is_insertable_into FROM information_schema.tables WHERE table_name = 'contacts'"))
		require.Equal(t, "0", c.Value("SELECT count(*) FROM pg_constraint WHERE conrelid = 'crm.contacts'::regclass"))
		require.Equal(t, "0", c.Value("SELECT count(*) FROM pg_tables WHERE tablename = 'contacts'"))
	})
	t.Run("ways out", func(t *testing.T) {
		c := c.On(t)
		require.Equal(t, "INSERT 0 2", c.Exec("INSERT INTO crm.contacts (email, last_name, status, score) VALUES ('b@limits.example', 'B', 'lead', DEFAULT), ('c@limits.example', 'C', 'lead', 3)"))
		require.Equal(t, "INSERT 0 0", c.Exec(row+" ON CONFLICT DO NOTHING"))
		require.Equal(t, []harness.Row{{"A"}, {"B"}, {"C"}}, c.Query("SELECT last_name FROM crm.contacts WHERE email IN ('a@limits.example', 'b@limits.example', 'c@limits.example') ORDER BY last_name"))
		require.Equal(t, "COPY 3", c.Exec("COPY (SELECT id FROM crm.contacts LIMIT 3) TO STDOUT"))
	})
}

// hearing is a connection of the application with an ear for its notices.
func (w *world) hearing(t *testing.T) (*pgx.Conn, *ear) {
	t.Helper()
	config, err := pgx.ParseConfig(w.url())
	require.NoError(t, err)
	var e ear
	config.OnNotice = e.hear
	conn, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, &e
}

// With on_rollback 'compensate' a client's ROLLBACK is one in the API too, soon
// after; the warning says that much.
func TestRollbackThatUndoes(t *testing.T) {
	w := newWorld(t, "undone")
	conn, e := w.hearing(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := conn.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
	}
	const insert = "INSERT INTO crm.contacts (email, last_name, status) VALUES ($1, 'A', 'lead')"
	exec(insert, w.email("a"))
	exec("BEGIN")
	exec("SET LOCAL hallway.on_rollback = 'compensate'")
	exec(insert, w.email("b"))
	exec("UPDATE crm.contacts SET last_name = 'changed' WHERE email = $1", w.email("a"))
	require.Equal(t, "changed", find(w.records(t), w.email("a"))["last_name"])
	require.Len(t, w.records(t), 2)
	exec("ROLLBACK")
	heard := e.take()
	require.Len(t, heard, 1)
	require.Equal(t, notice{"WARNING", "01000", "2 rows written through Hallway are being undone in the API, as the transaction was rolled back",
		"contacts: 1 inserted, 1 updated."}, heard[0])
	require.Eventually(t, func() bool {
		r := w.records(t)
		return len(r) == 1 && r[0]["last_name"] == "A"
	}, 30*time.Second, 20*time.Millisecond)
}

// A write that is cancelled while the API has it ends at once, with the word that
// it may have been done; and this one is.
func TestCancelledWrite(t *testing.T) {
	w := newWorld(t, "cancelled")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, e := w.hearing(t)
	go w.cancelWhenAsked(ctx, conn)
	_, err := conn.Exec(ctx, "INSERT INTO crm.slow_contacts (email, last_name, status) VALUES ($1, 'A', 'lead')", w.email("a"))
	require.Equal(t, "57014", failed(err).Code, "%v", err)
	heard := e.take()
	require.Len(t, heard, 1)
	require.Equal(t, "WARNING", heard[0].Severity)
	require.Equal(t, "1 row written through Hallway may stand in the API although the transaction was rolled back", heard[0].Message)
	require.Equal(t, "slow_contacts: 1 with unknown outcome.", heard[0].Detail)
	require.Empty(t, w.records(t))
	close(w.slow.release)
	require.Eventually(t, func() bool { return len(w.records(t)) == 1 }, 30*time.Second, 20*time.Millisecond)
}
