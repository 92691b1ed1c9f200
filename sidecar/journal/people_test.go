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

// role makes one that may log in, for as long as the test runs, and gives its whole
// name.
func (w *world) role(admin *harness.Conn, name string) string {
	w.t.Helper()
	name += "_" + w.db.Name
	admin.Exec("DROP ROLE IF EXISTS %[1]s; CREATE ROLE %[1]s LOGIN", name)
	w.t.Cleanup(func() {
		c := w.db.Connect(w.t)
		c.Exec("DROP OWNED BY %[1]s; DROP ROLE %[1]s", name)
	})
	return name
}

// Who may see and do what.
func TestPeople_SeeTheirOwn(t *testing.T) {
	w := newWorld(t)
	admin := w.db.Connect(t)
	ada, bob, eve := w.role(admin, "ada"), w.role(admin, "bob"), w.role(admin, "eve")
	admin.Exec("GRANT SELECT, INSERT ON items TO %s, %s; GRANT pg_monitor TO %s; INSERT INTO items (email) VALUES ('taken')", ada, bob, eve)
	a, b, e := w.db.ConnectAs(t, ada), w.db.ConnectAs(t, bob), w.db.ConnectAs(t, eve)
	a.Exec("SET hallway.write_at = 'after_commit'; INSERT INTO items (email) VALUES ('taken')")
	w.becomes(admin, "insert 1 applied", "insert refused")
	id := admin.Value("SELECT id FROM hallway.failures")
	require.Equal(t, id, a.Value("SELECT id FROM hallway.failures"))
	require.Equal(t, "0", b.Value("SELECT count(*) FROM hallway.failures"))
	require.Equal(t, id, e.Value("SELECT id FROM hallway.failures"))
	b.Fails("P0002", "SELECT hallway.retry(%s)", id)
	e.Fails("42501", "SELECT hallway.retry(%s)", id)
	b.Fails("P0002", "SELECT hallway.dismiss(%s)", id)
	e.Fails("42501", "SELECT hallway.dismiss(%s)", id)
	for _, c := range []*harness.Conn{a, b} {
		c.Fails("42501", "SELECT * FROM hallway.write_log")
		c.Fails("42501", "UPDATE hallway.write_log SET state = 'queued'")
		c.Fails("42501", "UPDATE hallway.failures SET message = 'x'")
		c.Fails("42501", "SELECT hallway.retry_failure()")
		c.Fails("42501", "SELECT hallway.dismiss_failure()")
		c.Fails("42501", "DELETE FROM hallway.write_log")
	}
	require.Equal(t, "2", e.Value("SELECT count(*) FROM hallway.write_log"))
	e.Fails("42501", "SELECT row_values FROM hallway.write_log")
	require.Equal(t, "1", a.Value("SELECT count(*) FROM hallway.my_writes()"))
	require.Equal(t, "0", b.Value("SELECT count(*) FROM hallway.my_writes()"))
	a.Exec("SELECT hallway.retry(%s)", id)
	w.becomes(admin, "insert 1 applied", "insert refused")
	admin.Exec("GRANT %s TO %s", ada, bob)
	require.Equal(t, id, b.Value("SELECT id FROM hallway.failures"))
	admin.Exec("DELETE FROM items")
	b.Exec("SELECT hallway.retry(%s)", id)
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT state FROM hallway.write_log WHERE id = %s", id) == "applied"
	}))
}

// What somebody has seen to is no failure any more, also when its table is gone, and
// its values go.
func TestPeople_Dismiss(t *testing.T) {
	w := newWorld(t)
	admin := w.db.Connect(t)
	ada := w.role(admin, "ada")
	admin.Exec("GRANT INSERT ON items TO %s; INSERT INTO items (email) VALUES ('taken')", ada)
	w.db.ConnectAs(t, ada).Exec("SET hallway.write_at = 'after_commit'; INSERT INTO items (email) VALUES ('taken')")
	w.becomes(admin, "insert 1 applied", "insert refused")
	require.Equal(t, "t", admin.Value("SELECT bool_or(row_values IS NOT NULL) FROM hallway.write_log"))
	id := admin.Value("SELECT id FROM hallway.failures")
	admin.Exec("DROP FOREIGN TABLE items")
	admin.Exec("SET ROLE %s", ada)
	admin.Exec("SELECT hallway.dismiss(%s)", id)
	admin.Fails("P0002", "SELECT hallway.dismiss(%s)", id)
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.failures"))
	admin.Exec("RESET ROLE")
	require.Equal(t, ada+" refused t t", rowText(admin.Query(
		"SELECT dismissed_by, state, settled_at IS NOT NULL, row_values IS NULL FROM hallway.write_log WHERE dismissed_at IS NOT NULL")[0]))
	admin.Fails("P0002", "SELECT hallway.retry(%s)", id)
}

// What comes to be known of a write after all makes another thing of it than what
// was dismissed. (Without its values there is nothing to find out by.)
func TestPeople_DismissTooEarly(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	failing(w, admin, "hang_at 'applied'")
	err := w.cut(c, admin, "INSERT INTO broken (email) VALUES ('late')", func() bool {
		if w.rows(admin, "items") == "" {
			return false
		}
		admin.Exec("UPDATE hallway.write_log SET state = 'needs_attention'")
		admin.Exec("SELECT hallway.dismiss(id) FROM hallway.failures")
		return true
	})
	require.Equal(t, "57014", harness.SQLState(err))
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.failures") == "1"
	}))
	w.becomes(admin, "insert needs_attention open")
}

// With journal_values 'false' no value of a row is ever in the journal.
func TestPeople_NoValuesInTheJournal(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	failing(w, admin, "hang_at 'applied', journal_values 'false'")
	err := w.cut(c, admin, "INSERT INTO broken (email) VALUES ('very secret')", func() bool { return w.rows(admin, "items") != "" })
	require.Equal(t, "57014", harness.SQLState(err))
	w.becomes(admin, "insert needs_attention open")
	admin.Exec("ALTER FOREIGN TABLE items OPTIONS (journal_values 'false')")
	admin.Fails("23505", "INSERT INTO items (email) VALUES ('very secret')")
	w.becomes(admin, "insert needs_attention open", "insert refused")
	require.Equal(t, "23505 "+harness.Null, rowText(admin.Query("SELECT sqlstate, message FROM hallway.write_log WHERE state = 'refused'")[0]))
	require.NotContains(t, fmt.Sprint(admin.Query("SELECT w::text FROM hallway.write_log w")), "very secret")
	c.Fails("55000", "SET hallway.write_at = 'after_commit'; INSERT INTO broken (email) VALUES ('x')")
}

// A copy of the database does nothing about what the original left open, until it
// is told to; its own writes go on.
func TestIdentity_ACopyIsPaused(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for name, change := range map[string]string{
		"another time line": "timeline = timeline + 1", "another environment": "environment = 'production'",
		"another cluster": "system_identifier = 7", "another database": "database = 7",
	} {
		t.Run(name, func(t *testing.T) {
			w, c, admin := compensating(t)
			c.Exec("BEGIN")
			c.Exec("INSERT INTO items (email) VALUES ('c')")
			admin.Exec("SET hallway.write_at = 'after_commit'; INSERT INTO items (email) VALUES ('never'); RESET hallway.write_at")
			w.sc.kill()
			_, _ = c.Try("ROLLBACK")
			admin = w.db.Connect(t)
			admin.Exec("UPDATE hallway.write_log SET %s", change)
			was := w.log(admin)
			w.start()
			_, _ = admin.Try("SELECT * FROM items")
			admin.Exec("INSERT INTO items (email) VALUES ('mine')")
			time.Sleep(800 * time.Millisecond)
			require.Equal(t, was, w.log(admin)[:len(was)], "nothing is done about what was brought along")
			require.Contains(t, w.rows(admin, "items"), "c ∅ ∅; mine ∅ ∅")
			admin.Exec("SELECT hallway.resume()")
			want := []string{"compensated", "applied"}
			if name == "another cluster" || name == "another database" {
				want = []string{"needs_attention", "needs_attention"}
			}
			for i, state := range want {
				require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
					return admin.Value("SELECT state FROM hallway.write_log ORDER BY id OFFSET %d LIMIT 1", i) == state
				}), w.log(admin))
			}
		})
	}
}

func TestRetention_WhatIsSettledGoes(t *testing.T) {
	w := newWorld(t)
	c := w.db.Connect(t)
	c.Exec("INSERT INTO items (email) VALUES ('a'), ('b')")
	w.becomes(c, "insert 1 applied", "insert 2 applied")
	c.Exec("UPDATE hallway.write_log SET written_at = now() - interval '40 days', settled_at = now() - interval '40 days' WHERE key = '{1}'")
	w.sc.stop()
	w.start(func(c *journal.Config) { c.Retention = 30 * 24 * time.Hour })
	c = w.db.Connect(t)
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	w.becomes(c, "insert 2 applied", "insert 3 applied")
}

// Two sidecars of one database: one of them looks after what the other left, and
// only when that is gone.
func TestTwo_OneTakesUpWhatTheOtherLeft(t *testing.T) {
	w := newWorld(t)
	c, admin := w.db.Connect(t), w.db.Connect(t)
	admin.Exec("INSERT INTO items (email) VALUES ('y')")
	w.becomes(admin, "insert 1 applied")
	time.Sleep(300 * time.Millisecond) // it looks after the database
	w.path += "2"
	second := w.start()
	admin.Exec(`CREATE SERVER other FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address 'unix:%s');
CREATE USER MAPPING FOR PUBLIC SERVER other;
CREATE FOREIGN TABLE broken (id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'))
SERVER other OPTIONS (store 'items', hang_at 'applied')`, w.path)
	failed := make(chan error, 1)
	go func() {
		_, err := harness.Simple(context.Background(), c.PgConn, "INSERT INTO broken (email) VALUES ('x')")
		failed <- err
	}()
	w.becomes(admin, "insert 1 applied", "insert pending open")
	time.Sleep(time.Second)
	require.Equal(t, []string{"insert 1 applied", "insert pending open"}, w.log(admin), "the one that waits for the answer lives")
	second.kill()
	require.Error(t, <-failed)
	w.becomes(admin, "insert 1 applied", "insert 2 orphaned")
}

// A standby that was promoted is another time line of the same database: what the
// original left open there is not its to undo or send, until somebody says so.
func TestIdentity_APromotedStandbyIsPaused(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	w.becomes(admin, "insert 3 applied open")
	standby, err := env.Cluster.Standby()
	require.NoError(t, err)
	there := &harness.Database{Name: w.db.Name, Env: env, Cluster: standby}
	s := there.Connect(t)
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return s.Value("SELECT count(*) FROM hallway.write_log") == "1"
	}))
	s.Exec("SELECT pg_promote()")
	s = there.Connect(t)
	s.Exec("INSERT INTO items (email) VALUES ('theirs')")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return s.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'applied' AND settled_at IS NOT NULL") == "1"
	}))
	time.Sleep(800 * time.Millisecond)
	require.Equal(t, "applied", s.Value("SELECT state FROM hallway.write_log WHERE settled_at IS NULL"), "it stands open, and nothing is done about it")
	c.Exec("COMMIT")
	w.becomes(admin, "insert 3 applied")
	require.Equal(t, "a A 1; b B 2; c ∅ ∅; theirs ∅ ∅", w.rows(admin, "items"))
	// There the transaction never committed.
	s.Exec("SELECT hallway.resume()")
	require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
		return s.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'compensated'") == "1"
	}))
}

// Whether a transaction has committed may be beyond PostgreSQL's memory: then it
// is for people, and never undone.
func TestTransaction_OfWhichPostgreSQLKnowsNothing(t *testing.T) {
	w, c, admin := compensating(t)
	c.Exec("BEGIN")
	c.Exec("INSERT INTO items (email) VALUES ('c')")
	w.becomes(admin, "insert 3 applied open")
	admin.Exec("UPDATE hallway.write_log SET xid = '1000000', subxid = '1000000'")
	c.Exec("ROLLBACK")
	w.becomes(admin, "insert 3 needs_attention open")
	require.Contains(t, admin.Value("SELECT todo FROM hallway.failures"), "is not known any more. The API has done it.")
	require.Equal(t, "a A 1; b B 2; c ∅ ∅", w.rows(admin, "items"))
}
