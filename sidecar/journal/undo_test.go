package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/tests/harness"
)

// compensating is a world whose table undoes what is rolled back, and which has
// two rows.
func compensating(t *testing.T, change ...func(*journal.Config)) (*world, *harness.Conn, *harness.Conn) {
	t.Helper()
	w := newWorld(t, change...)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	admin.Exec("INSERT INTO items (email, name, n) VALUES ('a', 'A', 1), ('b', 'B', 2)")
	w.becomes(admin, "insert 1 applied", "insert 2 applied")
	admin.Exec("DELETE FROM hallway.write_log")
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (on_rollback 'compensate')")
	return w, c, admin
}

func TestUndo_PutsBackWhatWas(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email, name) VALUES ('c', 'C')")
	c.Exec("UPDATE items SET name = 'AA', n = NULL WHERE email = 'a'")
	c.Exec("UPDATE items SET name = 'AAA' WHERE email = 'a'")
	c.Exec("UPDATE items SET name = 'CC' WHERE email = 'c'")
	c.Exec("DELETE FROM items WHERE email = 'b'")
	require.Equal(t, "a AAA ∅; c CC ∅", w.rows(admin, "items"))
	c.Exec("ROLLBACK")
	w.becomes(admin, "insert 3 compensated", "update 1 compensated", "update 1 compensated", "update 3 compensated", "delete 4 compensated")
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
	require.Equal(t, "It was made anew, with the key 4.", admin.Value("SELECT message FROM hallway.write_log WHERE operation = 'delete'"))
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.write_log WHERE before IS NOT NULL OR after IS NOT NULL OR row_values IS NOT NULL"))
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.failures"))
}

func TestUndo_OfASavepointComesBeforeTheNextWrite(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("SAVEPOINT s")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	c.Exec("UPDATE items SET n = 7 WHERE email = 'a'")
	c.Exec("ROLLBACK TO s")
	// c is unique: if the first were there still, this would be refused.
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	require.Equal(t, "a A 1; b B 2; c ∅ ∅", w.rows(c, "items"))
	c.Exec("COMMIT")
	w.becomes(admin, "insert 3 compensated", "update 1 compensated", "insert 4 applied")

	for i := range 20 {
		_, err := c.Try("BEGIN; INSERT INTO items (email) VALUES ('d'); SELECT 1 / 0")
		require.Equal(t, "22012", harness.SQLState(err), i)
		c.Exec("ROLLBACK")
	}
	c.Exec("INSERT INTO items (email) VALUES ('d')")
	require.Equal(t, "a A 1; b B 2; c ∅ ∅; d ∅ ∅", w.rows(admin, "items"))
}

func TestUndo_LeavesWhatOthersHaveChanged(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("UPDATE items SET name = name || '!'")
	admin.Exec("UPDATE items SET name = 'theirs' WHERE email = 'a'")
	c.Exec("ROLLBACK")
	w.becomes(admin, "update 1 orphaned", "update 2 compensated", "update 1 applied")
	require.Equal(t, "a theirs 1; b B 2", w.rows(admin, "items"))
	require.Equal(t, "It was not undone: the row has been changed since.", admin.Value("SELECT message FROM hallway.failures"))
}

// The API is away when it is to be undone: it is undone when it is back.
func TestUndo_IsTriedAgain(t *testing.T) {
	w, c, _ := compensating(t, func(c *journal.Config) { c.UndoWait = 300 * time.Millisecond })
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	w.sc.kill()
	_, _ = c.Try("ROLLBACK")
	w.start(func(c *journal.Config) { c.UndoWait = 300 * time.Millisecond })
	// As the catalog has it now, the API refuses to work.
	admin := w.db.Connect(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (write_error 'unavailable')")
	_, _ = admin.Try("SELECT * FROM items")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return strings.Contains(admin.Value("SELECT coalesce(max(message), '') FROM hallway.write_log"), "is tried again: [Synthetic]: the write failed")
	}), w.log(admin))
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (DROP write_error)")
	w.becomes(admin, "insert 3 compensated")
	require.Equal(t, harness.Null, admin.Value("SELECT message FROM hallway.write_log"), "of attempts that failed")
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// What cannot be undone yet holds up the session, but not for ever.
func TestUndo_TheNextWriteDoesNotWaitForEver(t *testing.T) {
	w, c, admin := compensating(t, func(c *journal.Config) { c.UndoWait = 200 * time.Millisecond; c.Patience = time.Hour })
	failing(w, admin, "hang_at 'before', on_rollback 'compensate'")
	err := w.cut(c, admin, "INSERT INTO broken (email) VALUES ('c')", func() bool { return len(w.log(admin)) == 1 })
	require.Equal(t, "57014", harness.SQLState(err))
	e := c.Fails("55000", "INSERT INTO items (email) VALUES ('c')")
	require.Contains(t, e.Message, "still being undone")
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

func TestUndo_ByAnotherSidecarAfterAKill(t *testing.T) {
	w, c, _ := compensating(t)
	c.Exec("BEGIN")
	for i := range 120 {
		c.Exec("INSERT INTO items (email) VALUES ('x%d')", i)
	}
	c.Exec("DELETE FROM items WHERE email = 'a'")
	w.sc.kill()
	_, _ = c.Try("ROLLBACK")
	w.start()
	admin := w.db.Connect(t)
	_, _ = admin.Try("SELECT * FROM items")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state <> 'compensated'") == "0"
	}), fmt.Sprint(w.log(admin)))
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// What an upsert made is removed, what it changed is put back.
func TestUndo_OfUpserts(t *testing.T) {
	for _, native := range []string{"true", "false"} {
		t.Run(native, func(t *testing.T) {
			w, c, admin := compensating(t)
			admin.Exec("ALTER FOREIGN TABLE items OPTIONS (upsert_key 'email', upsert '%s', batch_rows '10')", native)
			c.Exec("BEGIN; INSERT INTO items (email, name, n) VALUES ('a', 'changed', 10), ('new', 'N', 3); INSERT INTO items (email, n) VALUES ('new', 4)")
			require.Equal(t, "a changed 10; b B 2; new N 4", w.rows(admin, "items"))
			c.Exec("ROLLBACK")
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'compensated'") == "3"
			}), w.log(admin))
			require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
		})
	}
}

// A sidecar is killed within a transaction, and the next one is told of a write
// after ROLLBACK TO: what the first one wrote there is undone before.
func TestUndo_OfWhatAnotherSidecarWroteInTheSameTransaction(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("SAVEPOINT s")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	w.becomes(admin, "insert 3 applied open")
	w.sc.kill()
	c.Exec("ROLLBACK TO s")
	w.start()
	c.Exec("SAVEPOINT r")
	_, err := c.Try("INSERT INTO items (email, n) VALUES ('c', 2)")
	for try := 0; err != nil && try < 5 && harness.SQLState(err) != "23505"; try++ {
		c.Exec("ROLLBACK TO r") // the session finds out that its connection is gone
		_, err = c.Try("INSERT INTO items (email, n) VALUES ('c', 2)")
	}
	require.NoError(t, err)
	c.Exec("COMMIT")
	require.Equal(t, "a A 1; b B 2; c ∅ 2", w.rows(admin, "items"))
	w.becomes(admin, "insert 3 compensated", "insert 4 applied")
}

// An API whose answers stay lost has undone it all the same, which shows in
// reading.
func TestUndo_WhoseAnswersStayLost(t *testing.T) {
	t.Parallel() // it waits more than it computes
	w, c, _ := compensating(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('c'), ('d')")
	c.Exec("UPDATE items SET n = 7 WHERE email = 'a'")
	c.Exec("DELETE FROM items WHERE email = 'b'")
	admin := undoneLater(w, c, "write_error 'unknown_outcome'")
	w.becomes(admin, "insert 3 compensated", "insert 4 compensated", "update 1 compensated", "delete 5 compensated")
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// undoneLater kills the sidecar, rolls back, and starts another, to which the API is
// so.
func undoneLater(w *world, c *harness.Conn, options string) *harness.Conn {
	w.t.Helper()
	admin := w.db.Connect(w.t)
	require.True(w.t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'pending'") == "0"
	}))
	w.sc.kill()
	_, _ = c.Try("ROLLBACK")
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (%s)", options)
	w.start()
	_, _ = admin.Try("SELECT * FROM items")
	return admin
}

// says waits until an entry has a message.
func (w *world) says(c *harness.Conn, text string) {
	w.t.Helper()
	require.True(w.t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return c.Value("SELECT count(*) FROM hallway.write_log WHERE message LIKE '%%%s%%'", text) != "0"
	}), "%s\n%v", text, w.log(c))
}

// The row is made anew, the answer is lost, and then the API cannot be read for a
// while: it is not made twice.
func TestUndo_ARowIsMadeAnewOnce(t *testing.T) {
	t.Parallel() // it waits more than it computes
	w, c, _ := compensating(t)
	c.Exec("BEGIN; DELETE FROM items WHERE email = 'b'")
	admin := undoneLater(w, c, "write_error 'unknown_outcome', error_at_page '1'")
	w.says(admin, "is tried again: [Synthetic]: ")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT attempts >= 2 FROM hallway.write_log") == "t" // the second fails in reading
	}))
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (DROP write_error, DROP error_at_page)")
	w.becomes(admin, "delete 3 compensated")
	require.Equal(t, "It was made anew, with the key 3.", admin.Value("SELECT message FROM hallway.write_log"))
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// What a list shows just after a write may be older than it.
func TestUndo_OfWhatTheAPIShowsLate(t *testing.T) {
	w, c, admin := compensating(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (lag '1s')")
	c.Exec("BEGIN; UPDATE items SET name = 'AA' WHERE email = 'a'; ROLLBACK")
	w.becomes(admin, "update 1 compensated")
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (DROP lag)")
	require.Equal(t, "a A 1; b B 2", w.rows(admin, "items"))
}

// What is undone later than something else of its transaction waits for that, also
// when another sidecar is at it.
func TestUndo_GoesBackwardsWhoeverDoesIt(t *testing.T) {
	_, c, admin := compensating(t)
	admin.Exec(`CREATE SEQUENCE tries;
CREATE TABLE held AS SELECT 1;
CREATE FUNCTION claimed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_catalog AS $$
BEGIN
  IF NEW.state = 'compensating' AND OLD.operation = 'update' AND EXISTS (SELECT FROM held) THEN
    PERFORM nextval('tries');
    RETURN NULL; -- as if another had it
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER claimed BEFORE UPDATE ON hallway.write_log FOR EACH ROW EXECUTE FUNCTION claimed()`)
	c.Exec("BEGIN; INSERT INTO items (email, n) VALUES ('c', 1); UPDATE items SET n = 7 WHERE email = 'c'; ROLLBACK")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT last_value >= 3 FROM tries") == "t"
	}))
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.write_log WHERE state <> 'applied'"))
	admin.Exec("DELETE FROM held")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'compensated'") == "2"
	}), admin.Query("SELECT operation, state, message FROM hallway.write_log"))
}

// A list that lags shows a row as it was before another transaction's write: that is
// not put back.
func TestUndo_DoesNotPutBackWhatAnotherTransactionHasChanged(t *testing.T) {
	t.Parallel() // it waits more than it computes
	w, c, admin := compensating(t)
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (lag '5s')")
	c.Exec("UPDATE items SET name = 'theirs' WHERE email = 'a'")
	c.Exec("BEGIN; UPDATE items SET name = 'mine' WHERE email = 'a'; UPDATE items SET name = 'mine too' WHERE email = 'a'; ROLLBACK")
	w.becomes(admin, "update 1 applied", "update 1 orphaned", "update 1 orphaned")
	require.Equal(t, "It could not be undone: what the row was before is not known.", admin.Value("SELECT DISTINCT message FROM hallway.failures"))

	// Of its own writes the list may be as late as it likes.
	c.Exec("BEGIN; UPDATE items SET name = 'B1' WHERE email = 'b'; UPDATE items SET name = 'B2' WHERE email = 'b'; ROLLBACK")
	w.becomes(admin, "update 1 applied", "update 1 orphaned", "update 1 orphaned", "update 2 compensated", "update 2 compensated")
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (DROP lag)")
	require.Equal(t, "a mine too 1; b B 2", w.rows(admin, "items"))
}
