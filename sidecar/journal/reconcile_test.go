package journal_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/tests/harness"
)

// failing writes through a second foreign table of the same store and server, on
// which the answer is lost: the API has done what its option says.
func failing(w *world, c *harness.Conn, how string) {
	w.t.Helper()
	w.table(c, "broken", ", "+how)
	c.Exec("ALTER FOREIGN TABLE broken OPTIONS (SET store 'items')")
}

// quiet is a sidecar that finds nothing out by itself, so that a test sees what
// is written before it.
func quiet(c *journal.Config) { c.Patience = 300 * time.Millisecond }

func TestUnknown_IsFoundOutByReading(t *testing.T) {
	for name, how := range map[string]string{"applied": "write_error 'unknown_outcome'", "not applied": "hang_at 'before'"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, quiet)
			c, admin := w.db.Connect(t), w.db.Connect(t)
			admin.Exec("INSERT INTO items (email, name, n) VALUES ('old', 'x', 1), ('gone', 'y', 2)")
			w.becomes(admin, "insert 1 applied", "insert 2 applied")
			admin.Exec("DELETE FROM hallway.write_log")
			failing(w, admin, how)
			for i, sql := range []string{"INSERT INTO broken (email, name) VALUES ('new', 'n')", "UPDATE broken SET name = 'changed' WHERE id = 1", "DELETE FROM broken WHERE id = 2"} {
				if name == "applied" {
					c.Fails("08007", "%s", sql)
					continue
				}
				err := w.cut(c, admin, sql, func() bool { return len(w.log(admin)) == i+1 })
				require.Equal(t, "57014", harness.SQLState(err), sql)
			}
			if name == "applied" {
				w.becomes(admin, "insert 3 orphaned", "update 1 orphaned", "delete 2 orphaned")
				require.Equal(t, "new n ∅; old changed 1", w.rows(admin, "items"))
				return
			}
			w.becomes(admin, "insert refused", "update 1 refused", "delete 2 refused")
			require.Equal(t, "gone y 2; old x 1", w.rows(admin, "items"))
			require.Contains(t, admin.Value("SELECT message FROM hallway.write_log ORDER BY id LIMIT 1"), "It was not done. The API has no such row.")
		})
	}
}

// An API that shows a write late is waited for before it is believed.
func TestUnknown_IsNotDeniedBeforeTheAPICanShowIt(t *testing.T) {
	t.Parallel() // it waits more than it computes
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	failing(w, admin, "write_error 'unknown_outcome', lag '6s'")
	c.Fails("08007", "INSERT INTO broken (email) VALUES ('new')")
	time.Sleep(700 * time.Millisecond)
	require.Equal(t, []string{"insert unknown open"}, w.log(admin))
	w.becomes(admin, "insert 1 orphaned")
}

// Where nothing tells the row from others, an API that gives the first answer to a
// repeated key says it; another leaves it to people.
func TestUnknown_WithoutAnythingToReadBy(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprint(idempotent), func(t *testing.T) {
			w := newWorld(t)
			c, admin := w.db.Connect(t), w.db.Connect(t)
			c.Exec(`CREATE FOREIGN TABLE notes (id bigint OPTIONS (key 'true', computed 'sequence'), text text)
SERVER api OPTIONS (store 'notes', hang_at 'applied', hang_times 'once', idempotent '%t')`, idempotent)
			err := w.cut(c, admin, "INSERT INTO notes (text) VALUES ('x')", func() bool { return admin.Value("SELECT count(*) FROM notes") == "1" })
			require.Equal(t, "57014", harness.SQLState(err))
			if idempotent {
				w.becomes(c, "insert 1 orphaned")
				require.Equal(t, "1", c.Value("SELECT count(*) FROM notes"))
				return
			}
			w.becomes(c, "insert needs_attention open")
			require.Contains(t, c.Value("SELECT todo FROM hallway.failures"), "1 row(s) with these values")
			c.Exec("SELECT hallway.retry((SELECT id FROM hallway.failures))")
			w.becomes(c, "insert needs_attention open")
			c.Exec("DELETE FROM notes")
			c.Exec("SELECT hallway.retry((SELECT id FROM hallway.failures))")
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool { return w.log(c)[0] == "insert refused" }), w.log(c))
		})
	}
}

// An API that does not answer the repeated key, either, is asked again.
func TestUnknown_IsAskedAboutUntilTheAPIAnswers(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec(`CREATE FOREIGN TABLE notes (id bigint OPTIONS (key 'true', computed 'sequence'), text text)
SERVER api OPTIONS (store 'notes', idempotent 'true', write_error 'unknown_outcome')`)
	c.Fails("08007", "INSERT INTO notes (text) VALUES ('x')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return c.Value("SELECT attempts > 1 AND message LIKE '%%asking it failed%%' FROM hallway.write_log") == "t"
	}), w.log(c))
	require.Equal(t, []string{"insert unknown open"}, w.log(c))
	w.sc.stop()
	w.start()
	c = w.db.Connect(t)
	c.Exec("ALTER FOREIGN TABLE notes OPTIONS (DROP write_error)")
	require.Equal(t, "1", c.Value("SELECT count(*) FROM notes"))
	w.becomes(c, "insert 1 orphaned")
	require.Equal(t, "1", c.Value("SELECT count(*) FROM notes"))
}

// The sidecar is killed while the API has the request; the next one finds out.
func TestKill_BetweenIntentAndOutcome(t *testing.T) {
	for _, at := range []string{"before", "applied"} {
		for _, op := range []string{"INSERT INTO broken (email, name) VALUES ('new', 'n'), ('new2', 'm')", "UPDATE broken SET name = name || '!'",
			"DELETE FROM broken WHERE id = 1"} {
			t.Run(at+" "+op[:6], func(t *testing.T) {
				w := newWorld(t)
				c, admin := w.db.Connect(t), w.db.Connect(t)
				admin.Exec("INSERT INTO items (email, name, n) VALUES ('old', 'x', 1)")
				w.becomes(admin, "insert 1 applied")
				admin.Exec("DELETE FROM hallway.write_log")
				failing(w, admin, "hang_at '"+at+"'")
				before := w.rows(admin, "items")
				failed := make(chan error, 1)
				go func() {
					_, err := harness.Simple(context.Background(), c.PgConn, op)
					failed <- err
				}()
				require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
					return len(w.log(admin)) > 0 && (at == "before" || w.rows(admin, "items") != before)
				}))
				time.Sleep(50 * time.Millisecond)
				w.sc.kill()
				require.Error(t, <-failed)
				for _, e := range w.log(admin) {
					require.Contains(t, e, "pending open")
				}
				w.start()
				admin = w.db.Connect(t) // a session that comes by is what wakes it
				_, _ = admin.Try("SELECT * FROM items")
				state := map[string]string{"before": "refused", "applied": "orphaned"}[at]
				require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
					return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state <> '%s'", state) == "0"
				}), w.log(admin))
			})
		}
	}
}

// It is killed when the API has answered, before it could note it.
func TestKill_BetweenAnswerAndOutcome(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	admin.Exec("REVOKE UPDATE ON hallway.write_log FROM hallway")
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	c.Exec("UPDATE items SET n = 5")
	_, _ = c.Try("BEGIN; INSERT INTO items (email) VALUES ('b'); ROLLBACK")
	w.sc.kill()
	admin.Exec("GRANT UPDATE ON hallway.write_log TO hallway")
	require.Equal(t, []string{"insert pending open", "update 1 pending open", "insert pending open"}, w.log(admin))
	w.start()
	admin = w.db.Connect(t)
	_, _ = admin.Try("SELECT * FROM items")
	w.becomes(admin, "insert 1 applied", "update 1 applied", "insert 2 orphaned")
}

// PostgreSQL stops at once: what was not committed is orphaned, what was is not;
// and an outcome that was written, but not on disk yet, is not lost.
func TestCrash_OfPostgreSQL(t *testing.T) {
	w := newWorld(t)
	c, open, admin := w.db.Connect(t), w.db.Connect(t), w.db.Connect(t)
	admin.Exec("ALTER SYSTEM SET wal_writer_delay = '10s'")
	admin.Exec("SELECT pg_reload_conf()")
	t.Cleanup(func() {
		c := w.db.Connect(t)
		c.Exec("ALTER SYSTEM RESET wal_writer_delay")
		c.Exec("SELECT pg_reload_conf()")
	})
	time.Sleep(300 * time.Millisecond) // the WAL writer's last short sleep
	open.Exec("BEGIN")
	open.Exec("INSERT INTO items (name) VALUES ('open')")
	c.Exec("SET synchronous_commit = on")
	c.Exec("INSERT INTO items (name) VALUES ('done')")
	w.becomes(admin, "insert 1 applied open", "insert 2 applied")
	require.NoError(t, env.Cluster.Crash())
	require.NoError(t, env.Cluster.Start())
	admin = w.db.Connect(t)
	t.Log("after the crash:", w.log(admin)) // most often the outcome of the second is lost
	_, _ = admin.Try("SELECT * FROM items")
	// Nothing in the API would tell which row it was.
	w.becomes(admin, "insert 1 orphaned", "insert 2 applied")
}

// A table of which much is to be found out, and whose API does not answer, holds up no
// other's.
func TestUnknown_OneTableHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	c.Exec("DELETE FROM items")
	w.becomes(c, "insert 1 applied", "delete 1 applied")
	w.table(c, "slow", ", latency '1h'")
	failing(w, c, "write_error 'unknown_outcome'")
	c.Exec(`INSERT INTO hallway.write_log (system_identifier, timeline, database, environment, instance, xid, subxid, backend_pid, role, application,
  relid, table_name, server_oid, server, object, operation, row_number, key, columns, idempotency_key, request_id, on_rollback, state, next_attempt, unknown_at)
SELECT system_identifier, timeline, database, environment, instance, xid, subxid, backend_pid, role, application,
  'slow'::regclass, 'slow', server_oid, server, object, operation, i, key, columns, idempotency_key, request_id, on_rollback, 'unknown', now(), now()
FROM hallway.write_log, generate_series(1, 2000) i WHERE operation = 'delete'`)
	c.Fails("08007", "INSERT INTO broken (email) VALUES ('b')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return c.Value("SELECT state FROM hallway.write_log WHERE table_name = 'public.broken'") == "orphaned"
	}), c.Query("SELECT state, message FROM hallway.write_log WHERE table_name = 'public.broken'"))
	require.Equal(t, "2000", c.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'unknown'"))
}

// Somebody has an entry locked, and keeps it: the others are settled and found out
// about meanwhile, and that one when it is free.
func TestSettle_ALockedEntryHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	c, holder := w.db.Connect(t), w.db.Connect(t)
	failing(w, c, "write_error 'unknown_outcome'")
	c.Exec("BEGIN; INSERT INTO items (email) VALUES ('a')")
	w.becomes(holder, "insert 1 applied open")
	holder.Exec("BEGIN; SELECT FROM hallway.write_log FOR UPDATE")
	c.Exec("COMMIT")
	c.Exec("INSERT INTO items (email) VALUES ('b')")
	c.Fails("08007", "INSERT INTO broken (email) VALUES ('c')")
	c.Exec("SET hallway.write_at = 'after_commit'")
	c.Exec("INSERT INTO items (email) VALUES ('d')")
	w.becomes(c, "insert 1 applied open", "insert 2 applied", "insert 3 orphaned", "insert 4 applied")
	holder.Exec("COMMIT")
	w.becomes(c, "insert 1 applied", "insert 2 applied", "insert 3 orphaned", "insert 4 applied")
}
