// Random transactions that write in an API and in a local table, against a model.

package fuzz

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// txSessions is how many sessions have transactions open at the same time.
const txSessions = 4

// Whatever fails or is rolled back: the API's rows, the local table and
// hallway.write_log are what the model says.
func TestTransactions(t *testing.T) {
	s := seed(t)
	for i, onRollback := range []string{"keep", "compensate"} {
		t.Run(onRollback, func(t *testing.T) {
			newTxWorld(t, rand.New(rand.NewPCG(s, uint64(20+i))), onRollback).run(max(*flagN/4, 1))
		})
	}
}

// txWorld is a run: sessions take steps at the same time, each with rows of its
// own, and now and then one alone with rows that all write. So what is to come of
// it is known before, and is the same for the same seed.
type txWorld struct {
	t        *testing.T
	rng      *rand.Rand
	api      *txAPI
	tables   []*txTable
	sessions []*txSession
	admin    *harness.Conn
	next     int
	counts   map[string]int
}

// txSession is a session.
type txSession struct {
	txModel
	w      *txWorld
	conn   *harness.Conn
	watch  *harness.Conn
	name   string
	pid    string
	failed bool     // its transaction, or the part of it that is open
	spoken []string // what it has said in this transaction
}

func newTxWorld(t *testing.T, rng *rand.Rand, onRollback string) *txWorld {
	db := env.Database(t)
	w := &txWorld{t: t, rng: rng, api: &txAPI{rows: map[string]txRow{}}, admin: db.Connect(t), counts: map[string]int{}}
	w.admin.Exec("CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', on_rollback '%s'); CREATE USER MAPPING FOR PUBLIC SERVER api", onRollback)
	for _, tb := range []struct {
		txTable
		options string
	}{
		{txTable{name: "many", batch: 10, deliver: 10}, ", batch_rows '10'"},
		{txTable{name: "few", batch: 3, deliver: 3}, ", batch_rows '3'"},
		{txTable{name: "single", batch: 1, deliver: 10}, ", batch_rows '10', batch_size '1'"},
		{txTable{name: "soft", batch: 10, deliver: 10, soft: true}, ", batch_rows '10', delete_sets 'name=gone'"},
		{txTable{name: "native", batch: 10, deliver: 10, upsert: "native"}, ", batch_rows '10', upsert 'true', upsert_key 'id'"},
		{txTable{name: "find", batch: 10, deliver: 10, upsert: "find"}, ", batch_rows '10', batch_size '10', upsert_key 'id'"},
		// Writes are done, and their answers lost.
		{txTable{name: "lossy", batch: 10, deliver: 10}, ", batch_rows '10', write_error 'unknown_outcome'"},
	} {
		w.admin.Exec(`CREATE FOREIGN TABLE api_%s (id text OPTIONS (key 'true'), email text OPTIONS ("unique" 'true'), n int OPTIONS ("check" 'positive'),
			name text OPTIONS (required 'true', "check" 'max:5')) SERVER api OPTIONS (store '%s'%s)`, tb.name, db.Name, tb.options)
		w.tables = append(w.tables, &tb.txTable)
	}
	w.admin.Exec(`CREATE TABLE parent (id text PRIMARY KEY); INSERT INTO parent VALUES ('p');
CREATE TABLE own (k text PRIMARY KEY, n int CHECK (n > 0), parent text REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`)
	for i := range txSessions {
		x := &txSession{w: w, conn: db.Connect(t), watch: db.Connect(t), name: string(rune('a' + i))}
		x.api, x.compensate, x.local = w.api, onRollback == "compensate", map[string]txLocal{}
		x.pid = x.conn.Value("SELECT pg_backend_pid()")
		x.conn.Exec("SET client_min_messages = error")
		w.sessions = append(w.sessions, x)
	}
	return w
}

func (w *txWorld) run(transactions int) {
	start := time.Now()
	for w.counts["transactions"] < transactions && !w.t.Failed() {
		w.round()
	}
	for _, x := range w.sessions {
		if len(x.levels) > 0 && !w.t.Failed() {
			w.quiet()
			x.exec("ROLLBACK", "")
			x.end()
		}
	}
	if !w.t.Failed() {
		w.check(w.sessions...)
	}
	w.t.Logf("%d rows in the API, %s: %v", len(w.api.rows), time.Since(start).Round(time.Millisecond), w.counts)
	if w.t.Failed() || transactions < 500 {
		return
	}
	for what, least := range map[string]int{"committed": 100, "rolled back": 50, "failed at the commit": 5, "statement": 100, "commit": 30, "after_commit": 30,
		"savepoint": 100, "back to savepoint": 50, "blocks caught": 30, "alone": 50, "own table": 100,
		"insert": 100, "update": 50, "delete": 30, "upsert": 50, "22012": 20, "22001": 3, "23502": 3, "23503": 1, "23505": 20, "23514": 10,
		"entry applied": 300, "entry refused": 50, "entry " + map[bool]string{true: "compensated", false: "orphaned"}[w.sessions[0].compensate]: 100} {
		require.GreaterOrEqual(w.t, w.counts[what], least, "too few of: %s", what)
	}
	if !w.sessions[0].compensate {
		// To undo what was lost takes a second or more, so there are few of them.
		require.Positive(w.t, w.counts[lost], "writes without an answer")
	}
}

// round has each session take a step.
func (w *txWorld) round() {
	var alone []*txSession
	var together []func()
	for _, x := range w.sessions {
		if x.shares() || w.rng.IntN(10) == 0 {
			alone = append(alone, x)
			continue
		}
		together = append(together, x.step(false))
	}
	var wg sync.WaitGroup
	for _, f := range together {
		wg.Go(f)
	}
	wg.Wait()
	for _, x := range alone {
		if w.t.Failed() {
			return
		}
		// What others have rolled back or committed is done with in the API.
		w.quiet()
		x.step(true)()
		w.counts["alone"]++
		w.quiet()
	}
}

// quiet waits until the journal has nothing left to do but for transactions that
// are open.
func (w *txWorld) quiet() {
	w.t.Helper()
	const open = "SELECT %s FROM hallway.write_log WHERE settled_at IS NULL AND pg_xact_status(subxid) <> 'in progress'"
	if !harness.Eventually(context.Background(), 30*time.Second, func() bool { return w.admin.Value(open, "count(*)") == "0" }) {
		w.t.Fatalf("entries are open still: %v", w.admin.Query(open+" ORDER BY id LIMIT 10", "id, backend_pid, operation, key, state, attempts, next_attempt, message"))
	}
}

// shares reports whether its transaction has touched what others write.
func (x *txSession) shares() bool {
	return slices.ContainsFunc(x.levels, func(l *txLevel) bool { return l.shared })
}

// step makes one up, and gives what does it.
func (x *txSession) step(shared bool) func() {
	if len(x.levels) == 0 {
		x.spoken = nil
		x.mode = []string{"statement", "statement", "commit", "after_commit"}[x.w.rng.IntN(4)]
		x.w.counts[x.mode]++
		x.push("")
		return x.doing("SET hallway.write_at = '"+x.mode+"'; BEGIN", "", false)
	}
	r := x.w.rng
	depth := len(x.levels) - 1
	switch k := r.IntN(100); {
	case x.failed && depth > 0 && k < 80, !x.failed && depth > 0 && k < 10:
		return x.back(r.IntN(depth))
	case x.failed, k < 14:
		// COMMIT of what has failed is ROLLBACK.
		sql := "ROLLBACK"
		if x.failed && r.IntN(2) == 0 {
			sql = "COMMIT"
		}
		return x.over(sql, "")
	case k < 26:
		code := x.commit()
		if code != "" {
			x.w.counts["failed at the commit"]++
			x.w.counts[code]++
		} else {
			x.w.counts["committed"]++
		}
		return x.over("COMMIT", code)
	case k < 40 && depth < 4:
		name := fmt.Sprintf("s%d", depth+1)
		x.push(name)
		x.w.counts["savepoint"]++
		return x.doing("SAVEPOINT "+name, "", false)
	case k < 45 && depth > 0:
		name := x.top().name
		x.release()
		return x.doing("RELEASE "+name, "", false)
	case k < 60:
		lines, code := x.block(shared, 0)
		return x.doing("DO $do$ BEGIN\n"+strings.Join(lines, "\n")+"\nEND $do$", code, true)
	default:
		sql, code := x.statement(shared, true)
		return x.doing(sql, code, true)
	}
}

// doing is a statement; code is what it is to fail with.
func (x *txSession) doing(sql, code string, counts bool) func() {
	if code != "" {
		// The part that is open is over; its name stays.
		x.failed = true
		l := x.top()
		x.rollback()
		x.push(l.name)
		x.top().shared = l.shared
		if counts {
			x.w.counts[code]++
		}
	}
	return func() {
		x.exec(sql, code)
		if code == lost {
			// Before the rows are written again, it is found out what has become of them.
			x.settled("state IN ('pending', 'unknown', 'compensating') OR pg_xact_status(subxid) = 'aborted'")
		}
	}
}

// back rolls back to a savepoint, of which there are some within.
func (x *txSession) back(to int) func() {
	name := x.levels[to+1].name
	shared := false
	for len(x.levels) > to+1 {
		shared = shared || x.top().shared
		x.rollback()
	}
	x.push(name)
	// What is undone there is undone for all.
	x.top().shared = shared
	x.failed = false
	x.w.counts["back to savepoint"]++
	return x.doing("ROLLBACK TO "+name, "", false)
}

// over ends the transaction.
func (x *txSession) over(sql, code string) func() {
	if len(x.levels) > 0 {
		x.w.counts["rolled back"]++
	}
	for len(x.levels) > 0 {
		x.rollback()
	}
	x.w.counts["transactions"]++
	// What is sent or undone afterwards is not always waited for.
	look := x.mode == "after_commit" || x.w.rng.IntN(2) == 0
	return func() {
		x.exec(sql, code)
		x.failed = false
		if look && !x.w.t.Failed() {
			x.look()
		}
	}
}

func (x *txSession) end() {
	for len(x.levels) > 0 {
		x.rollback()
	}
	x.failed = false
}

func (x *txSession) exec(sql, code string) {
	x.spoken = append(x.spoken, sql)
	_, err := x.conn.Try("%s", sql)
	if got := harness.SQLState(err); got != code || err != nil && got == "" {
		x.w.t.Errorf("session %s should have had SQLSTATE %q:\n%s\n  in %s, after\n    %s", x.name, code, harness.Describe(err), sql, strings.Join(x.spoken, ";\n    "))
	}
}

// block is statements of PL/pgSQL with blocks that catch what fails in them.
func (x *txSession) block(shared bool, depth int) (lines []string, code string) {
	for range 1 + x.w.rng.IntN(4) {
		if depth < 2 && x.w.rng.IntN(3) == 0 {
			x.push("")
			inner, code := x.block(shared, depth+1)
			if code != "" {
				x.rollback()
				x.w.counts["blocks caught"]++
			} else {
				x.release()
			}
			lines = append(append(append(lines, "BEGIN"), inner...), "EXCEPTION WHEN OTHERS THEN NULL;", "END;")
			continue
		}
		sql, code := x.statement(shared, false)
		lines = append(lines, strings.Replace(sql, "SELECT", "PERFORM", 1)+";")
		if code != "" {
			return lines, code
		}
	}
	return lines, ""
}

// statement makes one up and has the model do it; alone: not within PL/pgSQL.
func (x *txSession) statement(shared, alone bool) (sql, code string) {
	r := x.w.rng
	if shared {
		x.top().shared = true
	}
	switch k := r.IntN(20); {
	case k == 0 && alone && x.mode == "statement" && (!x.compensate || r.IntN(2) == 0):
		return x.lossy(shared)
	case k == 0:
		return "SELECT 1 / 0", "22012"
	case k < 4:
		x.w.counts["own table"]++
		return x.locally()
	case k < 10:
		return x.insert(shared, alone && x.mode == "statement" && r.IntN(4) == 0)
	case k < 14:
		return x.update(shared)
	case k < 16:
		return x.delete(shared)
	default:
		return x.upsert(shared)
	}
}

// locally writes its own rows of the local table.
func (x *txSession) locally() (sql, code string) {
	k := fmt.Sprintf("%s%d", x.name, x.w.rng.IntN(12))
	r, there := x.local[k]
	switch what := x.w.rng.IntN(10); {
	case what == 0:
		return fmt.Sprintf("INSERT INTO own VALUES ('%s', 0, 'p')", k), "23514"
	case there && what == 1:
		return fmt.Sprintf("INSERT INTO own VALUES ('%s', 1, 'p')", k), "23505"
	case there && what < 4:
		delete(x.local, k)
		return fmt.Sprintf("DELETE FROM own WHERE k = '%s'", k), ""
	case there:
		r.n++
		r.orphan = false
		x.local[k] = r
		return fmt.Sprintf("UPDATE own SET n = n + 1, parent = 'p' WHERE k = '%s'", k), ""
	case what < 3:
		x.local[k] = txLocal{1, true}
		return fmt.Sprintf("INSERT INTO own VALUES ('%s', 1, 'nobody')", k), ""
	}
	x.local[k] = txLocal{1, false}
	return fmt.Sprintf("INSERT INTO own VALUES ('%s', 1, 'p')", k), ""
}

// id of one of its rows, or of everybody's; there says whether the API has it.
func (x *txSession) id(shared bool) (id string, there bool) {
	id = x.name
	if shared {
		id = "z"
	}
	id += fmt.Sprint(x.w.rng.IntN(14))
	_, there = x.api.rows[id]
	return id, there
}

// present are up to n rows of the API, in its order.
func (x *txSession) present(shared bool, n int) (ids []string) {
	for range 3 * n {
		if id, there := x.id(shared); there && !slices.Contains(ids, id) && len(ids) < n {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return x.api.rows[a].place - x.api.rows[b].place })
	return ids
}

// row makes values for one, now and then such as the API refuses.
func (x *txSession) row(id string, shared bool) txRow {
	r := txRow{email: id + "@x", n: 1 + x.w.rng.IntN(50), name: []string{"Ada", "Bob", "Eve"}[x.w.rng.IntN(3)]}
	switch x.w.rng.IntN(25) {
	case 0:
		r.n = 0
	case 1:
		r.name = ""
	case 2:
		r.name = "too long"
	case 3:
		if list := x.present(shared, 1); len(list) > 0 {
			r.email = x.api.rows[list[0]].email
		}
	}
	return r
}

func (r txRow) sql(id string) string {
	return fmt.Sprintf("('%s', '%s', %d, %s)", id, r.email, r.n, r.nameSQL())
}

func (r txRow) nameSQL() string {
	if r.name == "" {
		return "NULL"
	}
	return "'" + r.name + "'"
}

// plain is a table that rows are inserted into as they are.
func (x *txSession) plain() *txTable { return x.w.tables[x.w.rng.IntN(4)] }

func (x *txSession) insert(shared, returning bool) (sql, code string) {
	r := x.w.rng
	w := &txWrite{table: x.plain(), op: "insert", columns: allColumns}
	var values []string
	for range 1 + r.IntN(5) {
		id, there := x.id(shared)
		if (there || slices.Contains(w.ids, id)) && r.IntN(8) > 0 {
			continue
		}
		row := x.row(id, shared)
		w.ids, w.rows, values = append(w.ids, id), append(w.rows, row), append(values, row.sql(id))
	}
	if len(w.ids) == 0 {
		return x.upsert(shared)
	}
	sql = fmt.Sprintf("INSERT INTO api_%s VALUES %s", w.table.name, strings.Join(values, ", "))
	if r.IntN(5) == 0 {
		w.doNothing = true
		sql += " ON CONFLICT DO NOTHING"
	}
	if returning {
		// One at a time.
		one := *w.table
		one.batch = 1
		w.table = &one
		sql += " RETURNING id"
	}
	x.w.counts["insert"]++
	return sql, x.write(w)
}

// change is an UPDATE of rows that are there; only columns that change are sent.
func (x *txSession) change(table *txTable, given string, ids []string, to func(txRow) txRow) string {
	// Those of which the same columns change go together, in the order in which
	// these sets are met with.
	var writes []*txWrite
	for _, id := range ids {
		old := x.api.rows[id]
		row := to(old)
		var columns []string
		for _, c := range strings.Fields(given) {
			if !old.same(row, c) {
				columns = append(columns, c)
			}
		}
		if len(columns) == 0 {
			continue
		}
		set := strings.Join(columns, " ")
		at := slices.IndexFunc(writes, func(w *txWrite) bool { return w.columns == set })
		if at < 0 || x.mode == "commit" && at != len(writes)-1 {
			at = len(writes)
			writes = append(writes, &txWrite{table: table, op: "update", columns: set, given: given})
		}
		writes[at].ids, writes[at].rows = append(writes[at].ids, id), append(writes[at].rows, row)
	}
	for _, w := range writes {
		if code := x.write(w); code != "" {
			return code
		}
	}
	return ""
}

func (x *txSession) update(shared bool) (sql, code string) {
	r := x.w.rng
	table := x.plain()
	ids := x.present(shared, 1+r.IntN(3))
	if len(ids) == 0 {
		return x.insert(shared, false)
	}
	x.w.counts["update"]++
	where := fmt.Sprintf(" WHERE id IN ('%s')", strings.Join(ids, "', '"))
	switch r.IntN(5) {
	case 0, 1:
		by := []int{1, 2, -3, -20, 0}[r.IntN(5)]
		return fmt.Sprintf("UPDATE api_%s SET n = n + %d%s", table.name, by, where),
			x.change(table, "n", ids, func(o txRow) txRow { o.n += by; return o })
	case 2:
		row := x.row("", shared)
		return fmt.Sprintf("UPDATE api_%s SET n = n + 1, name = %s%s", table.name, row.nameSQL(), where),
			x.change(table, "n name", ids, func(o txRow) txRow { o.n++; o.name = row.name; return o })
	case 3:
		row := x.row(ids[0], shared)
		return fmt.Sprintf("UPDATE api_%s SET name = %s%s", table.name, row.nameSQL(), where),
			x.change(table, "name", ids, func(o txRow) txRow { o.name = row.name; return o })
	default:
		// That of another row, or one that no other gets.
		x.w.next++
		email := fmt.Sprintf("e%d@x", x.w.next)
		if other := x.present(shared, 1); len(other) > 0 && r.IntN(2) == 0 {
			email = x.api.rows[other[0]].email
		}
		return fmt.Sprintf("UPDATE api_%s SET email = '%s' WHERE id = '%s'", table.name, email, ids[0]),
			x.change(table, "email", ids[:1], func(o txRow) txRow { o.email = email; return o })
	}
}

func (x *txSession) delete(shared bool) (sql, code string) {
	table := x.plain()
	ids := x.present(shared, 1+x.w.rng.IntN(4))
	if len(ids) == 0 {
		return x.insert(shared, false)
	}
	x.w.counts["delete"]++
	sql = fmt.Sprintf("DELETE FROM api_%s WHERE id IN ('%s')", table.name, strings.Join(ids, "', '"))
	w := &txWrite{table: table, op: "delete", ids: ids, rows: make([]txRow, len(ids))}
	if table.soft {
		w.op, w.columns = "update", "name"
		for i := range w.rows {
			w.rows[i] = txRow{name: "gone"}
		}
	}
	return sql, x.write(w)
}

func (x *txSession) upsert(shared bool) (sql, code string) {
	r := x.w.rng
	w := &txWrite{table: x.w.tables[4+r.IntN(2)], op: "upsert", columns: allColumns}
	var values []string
	for range 1 + r.IntN(5) {
		id, there := x.id(shared)
		row := x.row(id, shared)
		if there && r.IntN(3) == 0 {
			row = x.api.rows[id] // as it is
		}
		w.ids, w.rows, values = append(w.ids, id), append(w.rows, row), append(values, row.sql(id))
	}
	x.w.counts["upsert"]++
	return fmt.Sprintf("INSERT INTO api_%s VALUES %s", w.table.name, strings.Join(values, ", ")), x.write(w)
}

// lost is the SQLSTATE of a write of which no answer came.
const lost = "08007"

// lossy is a write that the API does, and does not answer.
func (x *txSession) lossy(shared bool) (sql, code string) {
	r := x.w.rng
	w := &txWrite{table: x.w.tables[6], ids: x.present(shared, 1+r.IntN(3))}
	in := fmt.Sprintf("('%s')", strings.Join(w.ids, "', '"))
	id, there := x.id(shared)
	row := txRow{email: id + "@x", n: 7, name: "Zoe"}
	switch what := r.IntN(3); {
	case len(w.ids) > 0 && what == 0:
		w.op, w.rows = "delete", make([]txRow, len(w.ids))
		sql = "DELETE FROM api_lossy WHERE id IN " + in
	case len(w.ids) > 0 && what == 1:
		w.op, w.columns = "update", "n"
		for _, id := range w.ids {
			old := x.api.rows[id]
			old.n++
			w.rows = append(w.rows, old)
		}
		sql = "UPDATE api_lossy SET n = n + 1 WHERE id IN " + in
	// To undo an INSERT is a DELETE without an answer, for ever.
	case !x.compensate && !there && x.api.check(id, row, allColumns) == "":
		w.op, w.columns, w.ids, w.rows = "insert", allColumns, []string{id}, []txRow{row}
		sql = "INSERT INTO api_lossy VALUES " + row.sql(id)
	default:
		return x.locally()
	}
	if code := x.write(w); code != "" {
		panic("the API refuses what it should not: " + code)
	}
	return sql, lost
}

// settled waits until the journal has settled the entries that are so.
func (x *txSession) settled(which string) bool {
	const open = "SELECT %s FROM hallway.write_log WHERE settled_at IS NULL AND backend_pid = %s AND (%s)"
	c := x.watch // its own may be in a transaction that has failed
	if !harness.Eventually(context.Background(), 30*time.Second, func() bool { return c.Value(open, "count(*)", x.pid, which) == "0" }) {
		x.w.t.Errorf("session %s, entries are open still: %v", x.name, c.Query(open+" ORDER BY id LIMIT 10", "id, operation, key, state, attempts, next_attempt, message", x.pid, which))
		return false
	}
	return true
}

// look waits for the journal and compares the session's own rows and entries.
func (x *txSession) look() {
	if x.settled("true") {
		x.compare()
	}
}

func (w *txWorld) check(list ...*txSession) {
	w.quiet()
	for _, x := range list {
		x.compare()
		for _, e := range x.log {
			w.counts["entry "+e.state]++
		}
	}
	w.compare("everybody's rows", rowsOf(w.api.rows, "z"), apiRows(w.admin, "z"))
	require.Equal(w.t, fmt.Sprint(len(w.api.rows)), w.admin.Value("SELECT count(*) FROM api_many"))
}

// compare says what differs.
func (w *txWorld) compare(what string, want, have map[string]string) bool {
	if maps.Equal(want, have) {
		return true
	}
	var lines []string
	keys := map[string]bool{}
	for k := range want {
		keys[k] = true
	}
	for k := range have {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if want[k] != have[k] {
			lines = append(lines, fmt.Sprintf("%s: want %s\n      have %s", k, want[k], have[k]))
		}
	}
	w.t.Errorf("%s differ:\n    %s", what, strings.Join(lines, "\n    "))
	return false
}

func rowsOf(all map[string]txRow, prefix string) map[string]string {
	out := map[string]string{}
	for id, r := range all {
		if strings.HasPrefix(id, prefix) {
			out[id] = fmt.Sprintf("%s %d %s", r.email, r.n, r.name)
		}
	}
	return out
}

func apiRows(c *harness.Conn, prefix string) map[string]string {
	out := map[string]string{}
	for _, r := range c.Query("SELECT id, email || ' ' || n || ' ' || name FROM api_many WHERE id LIKE '%s%%'", prefix) {
		out[r[0]] = r[1]
	}
	return out
}

func (x *txSession) compare() {
	same := x.w.compare("the API's rows of session "+x.name, rowsOf(x.api.rows, x.name), apiRows(x.conn, x.name))
	want, have := map[string]string{}, map[string]string{}
	for k, r := range x.local {
		want[k] = fmt.Sprint(r.n)
	}
	for _, r := range x.conn.Query("SELECT k, n FROM own WHERE left(k, 1) = '%s'", x.name) {
		have[r[0]] = r[1]
	}
	same = x.w.compare("the rows of own of session "+x.name, want, have) && same
	states := map[string][]string{}
	for _, e := range x.log {
		if e.state != "" {
			states[e.id] = append(states[e.id], e.op+" "+e.state)
		}
	}
	want, have = map[string]string{}, map[string]string{}
	for id, list := range states {
		slices.Sort(list)
		want[id] = strings.Join(list, ", ")
	}
	for _, r := range x.conn.Query(`SELECT key[1], string_agg(operation || ' ' || state, ', ' ORDER BY operation || ' ' || state COLLATE "C")
FROM hallway.write_log WHERE backend_pid = %s GROUP BY 1`, x.pid) {
		have[r[0]] = r[1]
	}
	if same = x.w.compare("the entries of session "+x.name, want, have) && same; !same {
		for id := range want {
			if want[id] != have[id] {
				x.w.t.Logf("%s: %v", id, x.conn.Query("SELECT id, xid, subxid, operation, columns, state, message, todo, table_name, written_at::time, settled_at::time FROM hallway.write_log WHERE key[1] = '%s' ORDER BY id DESC LIMIT 8", id))
			}
		}
		x.w.t.Logf("session %s, write_at %s, has said\n    %s", x.name, x.mode, strings.Join(x.spoken, ";\n    "))
	}
}
