// A world of the write matrix: one victim, and sessions that are brought to the
// same point together, so that one blow hits them all.

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// pauseSeconds is what the API asks for so that a write waits between its intent
// and its request: longer than it takes all sessions of a round to come there on a
// slow machine. Only where the API is the victim it is waited for to the end.
const pauseSeconds = 10

// Keys of the advisory locks that hold sessions, and statements of the sidecar,
// while a world's admin has them.
const (
	holdIntents  = 77
	holdOutcomes = 78
	holdCommit   = 79
	holdSession  = 80
)

// writeSetup lets a test stop things on their way. The journal's table is the
// product's own; the triggers on it are not.
const writeSetup = `
CREATE FUNCTION wait_for(k int) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN WHILE NOT pg_try_advisory_xact_lock_shared(k) LOOP PERFORM pg_sleep(0.003); END LOOP; END $$;
-- Only what a round waits for is held: a journal that was stopped as a whole would
-- soon have no connections left.
CREATE TABLE held_tables (name text);
GRANT SELECT ON held_tables TO hallway;
CREATE FUNCTION wait_intents() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN PERFORM wait_for(77); RETURN NULL; END $$;
CREATE FUNCTION wait_outcomes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock_shared(78) AND EXISTS (SELECT FROM held_tables WHERE name = OLD.table_name) THEN
    PERFORM wait_for(78);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER matrix_intents BEFORE INSERT ON hallway.write_log FOR EACH STATEMENT EXECUTE FUNCTION wait_intents();
CREATE TRIGGER matrix_outcomes BEFORE UPDATE ON hallway.write_log FOR EACH ROW WHEN (OLD.state = 'pending') EXECUTE FUNCTION wait_outcomes();
CREATE FUNCTION hold() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock_shared(80)';
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(79);
  IF NEW.fails THEN RAISE 'the deferred constraint does not hold'; END IF;
  RETURN NULL;
END $$;
-- What a transaction did, and the part of it that wrote in the API.
CREATE TABLE began (cell int, fails bool);
CREATE TABLE done (cell int);
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON began DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
`

// writeWorld is what the cells of one victim share.
type writeWorld struct {
	t       *testing.T
	victim  victim
	cluster *harness.Cluster
	sidecar *harness.Sidecar
	db      *harness.Database
	api     *ledger
	// said is what each cell's session was told.
	said map[*cell]told
	// back is when everything was there again.
	back time.Time
	// gates of the present round.
	gates []*ledgerGate
	// doubtful are cells of which people have to find out what the API has done.
	doubtful []string
}

// told is what a session knows of its transaction.
type told struct {
	committed bool // COMMIT was confirmed
	failed    bool // the server refused something, and answered
	// writing is the error of the write itself.
	writing error
	errs    []string
}

func newWriteWorld(t *testing.T, v victim, cells map[point][]*cell, pb *pocket) *writeWorld {
	t.Helper()
	w := &writeWorld{t: t, victim: v, cluster: env.Cluster, api: newLedger(t), said: map[*cell]told{}}
	if v == postgresStopped || v == backendKilled {
		var err error
		w.cluster, err = env.StartCluster("C", env.Cluster.Library)
		require.NoError(t, err)
	}
	w.db = env.DatabaseIn(t, w.cluster)
	manifests, err := env.Mkdir("mf")
	require.NoError(t, err)
	manifest := ledgerManifest
	if pb != nil {
		w.api.pocket, manifest = pb, pocketManifest(t)
	}
	require.NoError(t, os.WriteFile(filepath.Join(manifests, "ledger.yaml"), []byte(manifest), 0o644))
	w.sidecar = env.NewSidecar(t, harness.SidecarSettings{Manifests: manifests,
		Args: []string{"--databases", fmt.Sprintf("host=%s port=%d dbname=%s", w.cluster.SocketDir, w.cluster.Port, w.db.Name)}})
	c := w.db.Connect(t)
	c.Exec(writeSetup)
	var sql strings.Builder
	for _, list := range cells {
		for _, x := range list {
			api := w.api.add(x.table, !slices.Contains([]string{"keyed", "keyedbulk", "bare"}, x.object))
			if pb != nil {
				pb.add(t, x, api)
			}
			options := map[operation]string{upsertOld: ", upsert_key 'email'", upsertNew: ", upsert_key 'email'", archive: ", delete_sets 'name=archived'"}[x.op]
			fmt.Fprintf(&sql, `CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[2]s', manifest 'ledger.yaml',
	base_url 'http://%[3]s/%[1]s', on_rollback '%[4]s', cache 'off');
CREATE USER MAPPING FOR PUBLIC SERVER %[1]s;
CREATE FOREIGN TABLE %[1]s (id text, email text, name text) SERVER %[1]s OPTIONS (object '%[5]s'%[6]s);
`, x.table, w.sidecar.Address(), w.api.addr, x.policy, x.object, options)
		}
	}
	c.Exec("%s", sql.String())
	return w
}

// statement is what a cell writes.
func (c *cell) statement() string {
	switch c.op {
	case insert, upsertNew:
		return fmt.Sprintf("INSERT INTO %s (email, name) VALUES ('new1%s', 'new')", c.table, c.suffix)
	case upsertOld:
		return fmt.Sprintf("INSERT INTO %s (email, name) VALUES ('a@old%s', 'changed')", c.table, c.suffix)
	case many:
		return fmt.Sprintf("INSERT INTO %[1]s (email, name) VALUES ('new1%[2]s', 'new'), ('new2%[2]s', 'new'), ('new3%[2]s', 'new')", c.table, c.suffix)
	case update:
		return fmt.Sprintf("UPDATE %s SET name = 'changed' WHERE id = '%s'", c.table, c.id("a"))
	}
	return fmt.Sprintf("DELETE FROM %s WHERE id = '%s'", c.table, c.id("a"))
}

// id of a row that is there from the start.
func (c *cell) id(name string) string {
	if c.suffix == "" {
		return name
	}
	return strings.Repeat(name, 15-len(c.table)) + c.table // PocketBase wants 15 characters
}

// readsBefore is how many times the API is read before the first row is sent.
func (c *cell) readsBefore() int {
	n := 1 // the rows to be changed; before an INSERT the test reads
	if c.policy == policyCompensate && (c.op == update || c.op == remove || c.op == archive) {
		n++ // what they are before
	}
	return n
}

// heldWrite is the request of the cell that is held at the API. Where each row is
// one, rows before it have their outcome.
func (c *cell) heldWrite() int {
	if c.point.undoing() {
		return c.requests() + 1
	}
	return min(2, c.requests())
}

// requests that the cell's rows take.
func (c *cell) requests() int {
	switch {
	case c.op != many || c.object == "bulk" || c.object == "records":
		return 1
	case c.object == "keyedbulk":
		return 2
	}
	return c.rows()
}

// rows that the cell writes.
func (c *cell) rows() int {
	if c.op == many {
		return 3
	}
	return 1
}

// session is a cell on its way.
type session struct {
	cell *cell
	conn *pgconn.PgConn
	pid  uint32
	// writing is over when the statement that writes has ended.
	mu      sync.Mutex
	started bool
	told    told
	over    chan struct{}
}

// run goes through the transaction.
func (s *session) run() {
	defer close(s.over)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	try := func(sql string) error {
		r, err := harness.Simple(ctx, s.conn, sql)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.told.errs = append(s.told.errs, harness.Describe(err))
			if harness.SQLState(err) != "" && !s.conn.IsClosed() {
				s.told.failed = true
			}
		} else if sql == "COMMIT" {
			s.told.committed = r.Tag == "COMMIT"
		}
		return err
	}
	c := s.cell
	mark := fmt.Sprintf("INSERT INTO done VALUES (%d)", c.n)
	begin := fmt.Sprintf("INSERT INTO began VALUES (%d, %t)", c.n, c.shape == deferredFails)
	switch c.shape {
	case writeAtCommit:
		_ = try("SET hallway.write_at = 'commit'")
	case writeAfterward:
		_ = try("SET hallway.write_at = 'after_commit'")
	}
	if c.point == afterIntent && c.op.inserts() {
		_ = try("SELECT count(*) FROM " + c.table)
	}
	_ = try("BEGIN")
	_ = try(begin)
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	write := func(sql string) error {
		err := try(sql)
		s.mu.Lock()
		s.told.writing = err
		s.mu.Unlock()
		return err
	}
	switch c.shape {
	case plain, rolledBack, deferredFails, writeAtCommit, writeAfterward:
		_ = try(mark)
		if write(c.statement()) == nil && c.shape != writeAtCommit && c.shape != writeAfterward {
			_ = try("SELECT hold()")
		}
		if c.shape == rolledBack {
			_ = try("ROLLBACK")
			return
		}
	case savepointKept, savepointBack:
		_ = try("SAVEPOINT s")
		_ = try(mark)
		err := write(c.statement())
		if err == nil {
			err = try("SELECT hold()")
		}
		if err == nil && c.shape == savepointKept {
			_ = try("RELEASE s")
		} else {
			_ = try("ROLLBACK TO s")
		}
	case blockCaught:
		_ = write(fmt.Sprintf("DO $$ BEGIN BEGIN %s; %s; PERFORM hold(); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; END $$", mark, c.statement()))
	case blockNested:
		_ = write(fmt.Sprintf("DO $$ BEGIN BEGIN %s; BEGIN %s; EXCEPTION WHEN division_by_zero THEN NULL; END; BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; PERFORM hold(); EXCEPTION WHEN OTHERS THEN NULL; END; END $$", mark, c.statement()))
	}
	_ = try("COMMIT")
}

// round brings cells to a point, strikes, and has everything started again.
func (w *writeWorld) round(p point, cells []*cell) {
	t := w.t
	began := time.Now()
	admin := w.db.Connect(t)
	w.gates = nil
	w.api.mu.Lock()
	for _, c := range cells {
		api := w.api.cells[c.table]
		switch p {
		case afterIntent:
			api.pauseAfter = c.readsBefore()
		case requestSent, answerLost, undoSent, undoAnswerLost:
			g := &ledgerGate{nth: c.heldWrite(), applied: p == answerLost || p == undoAnswerLost, lands: c.lands, open: make(chan struct{})}
			api.gate = g
			w.gates = append(w.gates, g)
		}
	}
	w.api.mu.Unlock()
	held := map[point][]int{beforeIntent: {holdIntents}, answered: {holdOutcomes, holdSession}, outcomeWritten: {holdSession},
		preCommit: {holdCommit}, commit: {holdCommit}}[p]
	admin.Exec("TRUNCATE held_tables")
	if p == answered {
		for _, c := range cells {
			admin.Exec("INSERT INTO held_tables VALUES ('public.%s')", c.table)
		}
	}
	for _, k := range held {
		admin.Exec("SELECT pg_advisory_lock(%d)", k)
	}
	sessions := make([]*session, len(cells))
	var wait sync.WaitGroup
	for i, c := range cells {
		wait.Go(func() {
			s := &session{cell: c, over: make(chan struct{})}
			sessions[i] = s
			conn, err := w.db.Open(context.Background(), "postgres")
			if err != nil {
				s.told.errs = append(s.told.errs, err.Error())
				close(s.over)
				return
			}
			s.conn, s.pid = conn, conn.PID()
			go s.run()
		})
	}
	wait.Wait()
	w.arrive(admin, p, sessions)
	came := time.Now()

	release := func() {
		for _, k := range held {
			_, _ = admin.Try("SELECT pg_advisory_unlock(%d)", k)
		}
		for _, g := range w.gates {
			g.release()
		}
	}
	if p == commit {
		// At the same moment: who is first differs.
		for _, k := range held {
			admin.Exec("SELECT pg_advisory_unlock(%d)", k)
		}
		held = nil
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
	revive := w.strike(p, admin, sessions)
	release()
	w.end(sessions, p)
	revive()
	for _, s := range sessions {
		w.said[s.cell] = s.told
		if s.conn != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = s.conn.Close(ctx)
			cancel()
		}
	}
	w.back = time.Now()
	t.Logf("%s: %d cells came there within %s, over after %s", p, len(cells), came.Sub(began).Round(time.Millisecond), time.Since(came).Round(time.Millisecond))
}

// arrive waits until all sessions are at the point.
func (w *writeWorld) arrive(admin *harness.Conn, p point, sessions []*session) {
	t := w.t
	t.Helper()
	var missing []string
	since := time.Now()
	for time.Since(since) < time.Minute {
		if missing = w.missing(admin, p, sessions); len(missing) == 0 {
			if p == beforeIntent {
				time.Sleep(50 * time.Millisecond) // those that queue behind the first
			}
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%s was not reached by\n%s", p, strings.Join(missing, "\n"))
}

// missing are those that are not there yet, and what is known of them.
func (w *writeWorld) missing(admin *harness.Conn, p point, sessions []*session) (list []string) {
	waiting := map[string]string{} // key of the advisory lock by pid
	for _, r := range admin.Query("SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") {
		waiting[r[0]] = r[1]
	}
	states := map[string]map[string]int{}
	for _, r := range admin.Query("SELECT table_name, state, count(*) FROM hallway.write_log GROUP BY 1, 2") {
		if states[r[0]] == nil {
			states[r[0]] = map[string]int{}
		}
		n := 0
		_, _ = fmt.Sscan(r[2], &n)
		states[r[0]][r[1]] = n
	}
	intents := admin.Value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'hallway' AND query LIKE '%%INSERT INTO hallway.write_log%%' AND wait_event = 'PgSleep' AND datname = current_database()")
	for _, s := range sessions {
		c := s.cell
		lock, state := waiting[fmt.Sprint(s.pid)], states["public."+c.table]
		w.api.mu.Lock()
		api := w.api.cells[c.table]
		reads, writes, gate := api.reads, api.writes, api.gate
		reached := gate != nil && gate.reached
		w.api.mu.Unlock()
		s.mu.Lock()
		started, said := s.started, strings.Join(s.told.errs, "; ")
		s.mu.Unlock()
		there := false
		switch p {
		case beforeIntent:
			need := c.readsBefore()
			if c.op.inserts() {
				need = 0
			}
			there = started && intents != "0" && reads >= need && len(state) == 0
		case afterIntent:
			there = state["pending"] > 0 && writes == 0
		case requestSent, answerLost, undoSent, undoAnswerLost:
			there = reached
		case answered:
			there = lock == fmt.Sprint(holdSession) && state["pending"] == c.rows()
		case outcomeWritten:
			there = lock == fmt.Sprint(holdSession) && state["applied"] == c.rows()
		case preCommit, commit:
			there = lock == fmt.Sprint(holdCommit)
		}
		if !there {
			list = append(list, fmt.Sprintf("  %s: waits for %q, %d reads, %d writes, journal %v, was told %s", c, lock, reads, writes, state, said))
		}
	}
	return list
}

// strike lets the victim die or hang. revive brings it back.
func (w *writeWorld) strike(p point, admin *harness.Conn, sessions []*session) (revive func()) {
	t := w.t
	cancel := func() { w.cancel(sessions, p) }
	switch w.victim {
	case sidecarKilled:
		w.sidecar.Kill()
		return func() { require.NoError(t, w.sidecar.Start()) }
	case sidecarHung:
		require.NoError(t, w.sidecar.Freeze())
		cancel()
		return func() { require.NoError(t, w.sidecar.Signal(syscall.SIGCONT)) }
	case postgresStopped:
		require.NoError(t, w.cluster.Crash())
		return func() { require.NoError(t, w.cluster.Start()) }
	case apiKilled:
		if w.api.pocket != nil {
			// Those that land are on their way in it when it dies.
			for _, g := range w.gates {
				if g.lands {
					g.release()
				}
			}
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
		}
		w.api.kill()
		return func() {
			time.Sleep(100 * time.Millisecond) // what is to be undone finds nobody
			w.api.revive(t)
		}
	case apiHung:
		thaw := w.api.freeze(t)
		cancel()
		return func() {
			time.Sleep(100 * time.Millisecond)
			thaw()
		}
	case backendKilled:
		// One would do: the others of the cluster are ended by the postmaster.
		killed := false
		for _, s := range sessions {
			killed = syscall.Kill(int(s.pid), syscall.SIGKILL) == nil || killed
		}
		return func() {
			require.True(t, killed, "no backend was there to be killed")
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				_, err := admin.Try("SELECT 1")
				return err != nil // the postmaster has seen it
			}))
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				conn, err := w.db.Open(ctx, "postgres")
				if err != nil {
					return false
				}
				_ = conn.Close(ctx)
				return true
			}))
		}
	case backendTerminated:
		for _, s := range sessions {
			_, _ = admin.Try("SELECT pg_terminate_backend(%d)", s.pid)
		}
	}
	return func() {}
}

// cancel has whoever waits for something that hangs give up, as a user would.
func (w *writeWorld) cancel(sessions []*session, p point) {
	if p.inStatement() {
		for _, s := range sessions {
			w.cancelOne(s)
		}
	}
}

func (w *writeWorld) cancelOne(s *session) {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = s.conn.CancelRequest(ctx)
}

// end waits until the sessions have ended. One that waits for what hangs is
// cancelled.
func (w *writeWorld) end(sessions []*session, p point) {
	w.t.Helper()
	hangs := w.victim == sidecarHung || w.victim == apiHung
	since := time.Now()
	for _, s := range sessions {
		for over := false; !over; {
			select {
			case <-s.over:
				over = true
			case <-time.After(300 * time.Millisecond):
				if hangs {
					w.cancelOne(s)
				}
				if time.Since(since) > 2*time.Minute {
					w.t.Fatalf("%s: the session of %s does not end: %v", p, s.cell, s.told.errs)
				}
			}
		}
	}
}
