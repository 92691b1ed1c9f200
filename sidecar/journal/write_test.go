package journal_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestWrite_EachRowHasAnEntryThatIsSettled(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("SET application_name = 'shop'")
	c.Exec("INSERT INTO items (email, name) VALUES ('a', 'A'), ('b', 'B')")
	c.Exec("UPDATE items SET name = 'AA' WHERE email = 'a'")
	c.Exec("DELETE FROM items WHERE email = 'b'")
	w.becomes(c, "insert 1 applied", "insert 2 applied", "update 1 applied", "delete 2 applied")
	require.Equal(t, "1 {email,name} postgres public.items api items keep t t f", rowText(c.Query(`SELECT row_number, columns, role, table_name, server, object, on_rollback,
  xid = subxid, row_values IS NULL AND before IS NULL AND after IS NULL, outbox FROM hallway.write_log ORDER BY id LIMIT 1`)[0]))
	require.Equal(t, "2", c.Value("SELECT row_number FROM hallway.write_log ORDER BY id OFFSET 1 LIMIT 1"))
	require.Equal(t, "4", c.Value("SELECT count(*) FROM hallway.my_writes()"))
	require.Equal(t, "0", w.db.Connect(t).Value("SELECT count(*) FROM hallway.my_writes()"))
	require.Equal(t, "0", c.Value("SELECT count(*) FROM hallway.failures"))
}

func TestWrite_WithoutAJournalNothingIsKept(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("ALTER FOREIGN TABLE items OPTIONS (journal 'false')")
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	c.Exec("SET hallway.dry_run = on; ALTER FOREIGN TABLE items OPTIONS (DROP journal); INSERT INTO items (email) VALUES ('b')")
	require.Empty(t, w.log(c))
}

func TestWrite_NothingIsSentThatCannotBeJournaled(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	t.Cleanup(func() { admin.Exec("ALTER ROLE hallway LOGIN") })
	c.Exec("REVOKE INSERT ON hallway.write_log FROM hallway")
	e := c.Fails("55000", "INSERT INTO items (email) VALUES ('a')")
	require.Contains(t, e.Detail, "permission denied for table write_log")
	require.Contains(t, e.Hint, "journal 'false'")
	c.Exec("GRANT INSERT ON hallway.write_log TO hallway")
	locker := w.db.Connect(t)
	locker.Exec("BEGIN; LOCK TABLE hallway.write_log")
	e = c.Fails("55000", "INSERT INTO items (email) VALUES ('a')")
	require.Contains(t, e.Detail, "lock on hallway.write_log")
	locker.Exec("ROLLBACK")
	c.Exec("ALTER ROLE hallway NOLOGIN")
	w.sc.stop()
	w.start()
	c = w.db.Connect(t)
	e = c.Fails("55000", "INSERT INTO items (email) VALUES ('a')")
	require.Contains(t, e.Detail, "not permitted to log in")
	require.Equal(t, "", w.rows(c, "items"), "nothing was sent")
	c.Exec("ALTER ROLE hallway LOGIN")
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	w.becomes(c, "insert 1 applied")
}

// Whatever holds up updates of the journal (a slow trigger, a disk, a standby) holds
// up what goes on in the background, and no session's write.
func TestWrite_DoesNotWaitBehindTheBackground(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	w.table(admin, "undone", ", on_rollback 'compensate'")
	admin.Exec(`CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  WHILE NOT pg_try_advisory_xact_lock_shared(77) LOOP PERFORM pg_sleep(0.01); END LOOP;
  RETURN NEW;
END $$;
CREATE TRIGGER stall BEFORE UPDATE ON hallway.write_log FOR EACH ROW EXECUTE FUNCTION stall()`)
	// More than there are connections, each to be undone by itself.
	var open []*harness.Conn
	for i := range 3 * journal.Connections {
		open = append(open, w.db.Connect(t))
		open[i].Exec("BEGIN; INSERT INTO undone (email) VALUES ('%d')", i)
	}
	all := func(state string) bool {
		return harness.Eventually(context.Background(), 30*time.Second, func() bool {
			return admin.Value("SELECT count(*) FROM hallway.write_log WHERE table_name = 'public.undone' AND state <> '%s'", state) == "0"
		})
	}
	require.True(t, all("applied"))
	admin.Exec("SELECT pg_advisory_lock(77)")
	for _, s := range open {
		s.Exec("ROLLBACK")
	}
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) >= 3 FROM pg_stat_activity WHERE query LIKE '%%UPDATE hallway.write_log%%' AND usename = 'hallway' AND wait_event = 'PgSleep'") == "t"
	}))
	for i := range 20 {
		c.Exec("INSERT INTO items (email) VALUES ('%d')", i)
	}
	admin.Exec("SELECT pg_advisory_unlock(77)")
	require.True(t, all("compensated"), w.log(admin))
	require.Equal(t, "20", admin.Value("SELECT count(*) FROM items"))
}

func TestWrite_RefusedRows(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	c.Fails("23505", "INSERT INTO items (email) VALUES ('a')")
	w.becomes(c, "insert 1 applied", "insert refused")
	require.Equal(t, "23505 [Synthetic]: email: Value must be unique", rowText(c.Query("SELECT sqlstate, message FROM hallway.write_log WHERE state = 'refused'")[0]))
}

func TestTransaction_WhatARollbackLeavesIsOrphaned(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	c.Exec("SAVEPOINT s")
	c.Exec("INSERT INTO items (email) VALUES ('b')")
	c.Exec("ROLLBACK TO s")
	other := w.db.Connect(t)
	w.becomes(other, "insert 1 applied open", "insert 2 orphaned")
	c.Exec("SAVEPOINT r")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	c.Exec("RELEASE r")
	c.Exec("COMMIT")
	w.becomes(other, "insert 1 applied", "insert 2 orphaned", "insert 3 applied")
	c.Exec("BEGIN")
	c.Exec("DO $$ BEGIN BEGIN INSERT INTO items (email) VALUES ('d'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$")
	c.Exec("INSERT INTO items (email) VALUES ('e')")
	c.Exec("ROLLBACK")
	w.becomes(other, "insert 1 applied", "insert 2 orphaned", "insert 3 applied", "insert 4 orphaned", "insert 5 orphaned")
	require.Equal(t, "3", c.Value("SELECT count(*) FROM hallway.failures WHERE state = 'orphaned'"))
	require.Contains(t, c.Value("SELECT todo FROM hallway.failures LIMIT 1"), "stands in the API")
}

// A session that ends without a word is found out about by its transaction.
func TestTransaction_TheBackendIsGone(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('a')")
	w.becomes(admin, "insert 1 applied open")
	admin.Exec("SELECT pg_terminate_backend(%d)", c.PID())
	w.becomes(admin, "insert 1 orphaned")
}
