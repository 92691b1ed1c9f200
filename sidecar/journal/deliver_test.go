package journal_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

func queued(t *testing.T) (*world, *harness.Conn, *harness.Conn) {
	t.Helper()
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	c.Exec("SET hallway.write_at = 'after_commit'")
	return w, c, admin
}

func TestDeliver_WhenTheTransactionHasCommitted(t *testing.T) {
	w, c, admin := queued(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email, n) VALUES ('a', 1), ('b', 2)")
	c.Exec("SAVEPOINT s")
	c.Exec("INSERT INTO items (email, n) VALUES ('lost', 3)")
	c.Exec("ROLLBACK TO s")
	w.becomes(admin, "insert queued open", "insert queued open")
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, "", w.rows(admin, "items"))
	c.Exec("COMMIT")
	w.becomes(admin, "insert 1 applied", "insert 2 applied")
	require.Equal(t, "a ∅ 1; b ∅ 2", w.rows(admin, "items"))
	// In order: the last word counts.
	c.Exec("BEGIN; UPDATE items SET n = 10; UPDATE items SET n = 20; COMMIT")
	c.Exec("DELETE FROM items WHERE email = 'b'")
	w.becomes(admin, "insert 1 applied", "insert 2 applied", "update 1 applied", "update 2 applied", "update 1 applied", "update 2 applied", "delete 2 applied")
	require.Equal(t, "a ∅ 20", w.rows(admin, "items"))
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.write_log WHERE row_values IS NOT NULL"))
}

func TestDeliver_ARollbackTakesItBack(t *testing.T) {
	w, c, admin := queued(t)
	c.Exec("BEGIN; INSERT INTO items (email) VALUES ('a')")
	w.becomes(admin, "insert queued open")
	c.Exec("ROLLBACK")
	w.becomes(admin)
	require.Equal(t, "", w.rows(admin, "items"))
}

func TestDeliver_ARefusalIsAFailureThatCanBeTriedAgain(t *testing.T) {
	w, c, admin := queued(t)
	admin.Exec("INSERT INTO items (email) VALUES ('taken')")
	w.becomes(admin, "insert 1 applied")
	c.Exec("INSERT INTO items (email) VALUES ('x'), ('taken'), ('y')")
	w.becomes(admin, "insert 1 applied", "insert 2 applied", "insert refused", "insert 4 applied")
	require.Equal(t, "[Synthetic]: email: Value must be unique", admin.Value("SELECT message FROM hallway.failures"))
	require.Contains(t, admin.Value("SELECT todo FROM hallway.failures"), "SELECT hallway.retry(")
	admin.Exec("DELETE FROM items WHERE email = 'taken'")
	admin.Exec("SELECT hallway.retry((SELECT id FROM hallway.failures))")
	w.becomes(admin, "insert 1 applied", "insert 2 applied", "insert 5 applied", "insert 4 applied", "delete 1 applied")
	admin.Fails("P0002", "SELECT hallway.retry(99)")
}

func TestDeliver_WaitsForAnAPIThatIsAway(t *testing.T) {
	w, c, admin := queued(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (write_error 'unavailable')")
	c.Exec("INSERT INTO items (email, n) VALUES ('a', 1)")
	c.Exec("INSERT INTO items (email, n) VALUES ('b', 1)")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT max(attempts) FROM hallway.write_log") > "0"
	}))
	require.Equal(t, []string{"insert queued open", "insert queued open"}, w.log(admin))
	w.sc.kill()
	w.start()
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (DROP write_error)")
	_, _ = admin.Try("SELECT * FROM items")
	w.becomes(admin, "insert 1 applied", "insert 2 applied")
}

// Killed while the API has it: it is found out about, and never sent twice.
func TestDeliver_KilledOnTheWay(t *testing.T) {
	for _, at := range []string{"before", "applied"} {
		t.Run(at, func(t *testing.T) {
			w, c, admin := queued(t)
			failing(w, admin, "hang_at '"+at+"'")
			c.Exec("INSERT INTO broken (email, n) VALUES ('a', 1)")
			w.becomes(admin, "insert pending open")
			time.Sleep(100 * time.Millisecond)
			w.sc.kill()
			admin = w.db.Connect(t)
			admin.Exec("ALTER FOREIGN TABLE broken OPTIONS (DROP hang_at)")
			w.start()
			_, _ = admin.Try("SELECT * FROM items")
			w.becomes(admin, "insert 1 applied")
			require.Equal(t, "a ∅ 1", w.rows(admin, "items"))
		})
	}
}

// Upserts of one row by several statements go one after the other.
func TestDeliver_UpsertsOfTheSameRow(t *testing.T) {
	for _, native := range []string{"true", "false"} {
		t.Run(native, func(t *testing.T) {
			w, c, admin := queued(t)
			admin.Exec("ALTER FOREIGN TABLE items OPTIONS (upsert_key 'email', upsert '%s', batch_rows '10')", native)
			c.Exec(`BEGIN; INSERT INTO items (email, n) VALUES ('a', 1), ('b', 1); INSERT INTO items (email, n) VALUES ('a', 2), ('c', 2);
INSERT INTO items (email, n) VALUES ('a', 3); COMMIT`)
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'applied' AND settled_at IS NOT NULL") == "5"
			}), w.log(admin))
			require.Equal(t, "a ∅ 3; b ∅ 1; c ∅ 2", w.rows(admin, "items"))
		})
	}
}

// What cannot be sent now holds up what was written after it to the same server.
func TestDeliver_InTheOrderOfTheStatements(t *testing.T) {
	w, c, admin := queued(t)
	w.table(admin, "down", ", write_error 'unavailable'")
	c.Exec("INSERT INTO down (email) VALUES ('first')")
	c.Exec("INSERT INTO items (email) VALUES ('second')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT max(attempts) FROM hallway.write_log") > "0"
	}))
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, []string{"insert queued open", "insert queued open"}, w.log(admin))
	require.Equal(t, "", w.rows(admin, "items"))
	admin.Exec("ALTER FOREIGN TABLE down OPTIONS (DROP write_error)")
	w.becomes(admin, "insert 1 applied", "insert 1 applied")
}

// What is sent again without the row that was refused is another request, and has
// another idempotency key.
func TestDeliver_ARequestThatDiffersHasAnotherKey(t *testing.T) {
	w, c, admin := queued(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (batch_rows '10', atomic 'true', idempotent 'true')")
	admin.Exec("INSERT INTO items (email) VALUES ('taken')")
	w.becomes(admin, "insert 1 applied")
	c.Exec("INSERT INTO items (email) VALUES ('x'), ('taken'), ('y')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE settled_at IS NOT NULL") == "4"
	}), w.log(admin))
	require.Equal(t, "t t", rowText(admin.Query(`SELECT x.idempotency_key = y.idempotency_key, x.idempotency_key <> taken.idempotency_key
FROM hallway.write_log x, hallway.write_log taken, hallway.write_log y WHERE x.outbox AND x.row_number = 1 AND taken.outbox AND taken.row_number = 2 AND y.outbox AND y.row_number = 3`)[0]))
}

// Rows that were stored when the table had another upsert_key are not taken for
// those of the one that it has now.
func TestDeliver_AfterAnotherUpsertKey(t *testing.T) {
	w, c, admin := queued(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (upsert_key 'email')")
	c.Exec("BEGIN; INSERT INTO items (email, name, n) VALUES ('a', 'A', 1)")
	c.Exec("ALTER FOREIGN TABLE items OPTIONS (SET upsert_key 'name'); INSERT INTO items (email, name, n) VALUES ('b', 'B', 2); COMMIT")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE settled_at IS NULL") == "0"
	}), w.log(admin))
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// A sidecar dies while it delivers: each request that it may have made is asked about
// by its own key, also where the API was not asked for others of the delivery.
func TestDeliver_IsTakenUpRequestByRequest(t *testing.T) {
	w, c, admin := queued(t)
	admin.Exec(`CREATE FOREIGN TABLE notes (id bigint OPTIONS (key 'true', computed 'sequence'), text text)
SERVER api OPTIONS (store 'notes', idempotent 'true')`)
	admin.Exec(`CREATE FOREIGN TABLE hanging (id bigint OPTIONS (key 'true', computed 'sequence'), text text)
SERVER api OPTIONS (store 'notes', idempotent 'true', hang_at 'applied', hang_times 'once')`)
	c.Exec("INSERT INTO hanging (text) VALUES ('a'), ('a'), ('b')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM notes") == "1"
	}), "the API has the first row")
	w.sc.kill()
	w.start()
	admin = w.db.Connect(t)
	_, _ = admin.Try("SELECT * FROM notes")
	// Of its two equal rows reading does not tell which the API has.
	w.becomes(admin, "insert 1 applied", "insert 2 applied", "insert 3 applied")
	require.Equal(t, "{a,a,b}", admin.Value("SELECT array_agg(text ORDER BY id) FROM notes"))
}

// What a database has brought along from where it is a copy of waits to be resumed;
// what is written in it now does not wait for that.
func TestDeliver_DoesNotWaitForWhatIsAnothers(t *testing.T) {
	w, c, admin := queued(t)
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	w.becomes(admin, "insert 1 applied")
	admin.Exec("UPDATE hallway.write_log SET environment = 'the original', state = 'pending', settled_at = NULL, next_attempt = now() + interval '1 minute'")
	c.Exec("INSERT INTO items (email) VALUES ('b')")
	w.becomes(admin, "insert 1 pending open", "insert 2 applied")
}
