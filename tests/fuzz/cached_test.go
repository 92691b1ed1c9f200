// The same queries on cached tables, while rows change in the API.

package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// shortAge is the max_age of the target whose regions expire all the time.
const shortAge = 500 * time.Millisecond

// patience is how soon sessions must see what another one wrote through the
// same table. The writer itself sees it at once.
const patience = time.Second

// stalled is how long they may take where the machine does not let them.
const stalled = 15 * time.Second

// versions is after how many phases the target that is never told is emptied.
const versions = 4

// cachedTarget is a pair of tables, and how its sessions learn that the API has
// changed.
type cachedTarget struct {
	target
	// after runs once rows have changed behind the cache's back.
	after []string
	// stale: for that long the rows of before are an answer, too.
	stale time.Duration
	// late: and for that long after a write of another session.
	late time.Duration
}

// Every answer is one that the API could have given within max_age: where
// nothing has changed for longer, or the cache was told, there is only one.
func TestDifferential_Cached(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 3))
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	c := db.Connect(t)
	cols := wide()
	c.Exec("%s", types)
	targets := []cachedTarget{
		{target{"off", "live_a", "live_b"}, nil, 0, 0},
		{target{"read_through", "rt_a", "rt_b"}, []string{"SELECT hallway.invalidate('rt_a'), hallway.invalidate('rt_b')"}, 0, patience},
		{target{"read_through, expiring", "short_a", "short_b"}, nil, shortAge, patience},
		{target{"read_through, superset", "sup_a", "sup_b"}, []string{"SELECT hallway.invalidate('sup_a'), hallway.invalidate('sup_b')"}, 0, patience},
		{target{"replica", "rep_a", "rep_b"}, []string{"CALL hallway.wait_for_sync('rep_a')", "CALL hallway.wait_for_sync('rep_b')"}, 0, patience},
		// The last: never told, so that its regions are of all ages.
		{target{"read_through, old", "old_a", "old_b"}, nil, 0, 0},
	}
	for _, server := range []struct{ name, options string }{
		{"live", "cache 'off'"},
		{"rt", "cache 'read_through', max_age '1h'"},
		{"short", fmt.Sprintf("cache 'read_through', max_age '%dms'", shortAge.Milliseconds())},
		{"sup", "cache 'read_through', max_age '1h', pushdown 'superset'"},
		{"rep", "cache 'replica', refresh_every '1h'"},
		{"old", "cache 'read_through', max_age '1h'"},
	} {
		c.Exec("CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[3]s', page_rows '17', %[2]s); CREATE USER MAPPING FOR PUBLIC SERVER %[1]s",
			server.name, server.options, sidecar.Address())
		for _, x := range []string{"a", "b"} {
			c.Exec("CREATE FOREIGN TABLE %[1]s_%[2]s (%[3]s) SERVER %[1]s OPTIONS (store '%[4]s.%[2]s')", server.name, x, columnList(cols, true), db.Name)
		}
	}
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		c.Exec("%s", insert(rng, x, cols, 120, 1))
		c.Exec("INSERT INTO live_%[1]s SELECT * FROM %[1]s; CREATE TABLE %[1]s_before AS TABLE %[1]s; ANALYZE %[1]s", x)
		for i := range versions {
			c.Exec("CREATE TABLE %[1]s_%[2]d AS TABLE %[1]s", x, i)
		}
		c.Exec("CALL hallway.wait_for_sync('rep_%s')", x)
	}

	w := &cacheWorld{t: t, rng: rng, cols: cols, writer: c, next: 1000, targets: targets, by: map[string]int{}, answered: map[string]int{}}
	for range targets {
		w.told = append(w.told, db.Connect(t))
	}
	for i := range 3 {
		conn := w.connect(db)
		w.sessions = append(w.sessions, &fuzzer{conn: conn, local: map[string]string{"A": "a", "B": "b"}, timeout: time.Minute})
		w.gens = append(w.gens, &gen{rng: rand.New(rand.NewPCG(s, uint64(10+i))), cols: cols})
	}
	start := time.Now()
	old := func() (n int) {
		for _, f := range w.sessions {
			n += f.other
		}
		return n
	}
	// A busy machine may ask so slowly that nothing is old and young enough: there
	// it asks more.
	for more := 40; (w.queries < *flagN || *flagN >= 1000 && old() == 0 && more > 0) && !t.Failed(); w.phases++ {
		w.phase()
		if w.queries >= *flagN {
			more--
		}
	}
	t.Logf("%d queries in %d phases, %s: %v; %d answers were of rows that were old and young enough, %d queries were asked again, since they met rows of two ages",
		w.queries, w.phases, time.Since(start).Round(time.Millisecond), w.by, old(), w.mixed.Load())
	n := 0
	for _, k := range w.answered {
		n += k
	}
	t.Logf("of %d executions of queries on cached tables that were explained: %v", n, w.answered)
	if w.queries < 1000 {
		return
	}
	require.Positive(t, old(), "answers from rows that have changed since")
	require.Less(t, w.mixed.Load()*10, int64(w.queries), "queries that were asked again")
	for kind, least := range map[string]int{"hit": 10, "containment": 10, "miss": 5, "replica": 10} {
		require.GreaterOrEqual(t, w.answered[kind]*100, n*least, "of %d executions at least %d %% should be of kind %s", n, least, kind)
	}
}

// cacheWorld is the state of a run.
type cacheWorld struct {
	t        *testing.T
	rng      *rand.Rand
	cols     []*column
	writer   *harness.Conn
	targets  []cachedTarget
	told     []*harness.Conn // by target: run its after
	sessions []*fuzzer
	gens     []*gen
	next     int
	phases   int

	mixed   atomic.Int64
	mu      sync.Mutex
	queries int
	by      map[string]int
	// answered counts executions by how their scans were answered.
	answered map[string]int
}

// perPhase is how many queries each session asks between two changes.
const perPhase = 20

// phase changes rows, then has all sessions ask at once.
func (w *cacheWorld) phase() {
	// The versions before the last change are no answer any more.
	time.Sleep(shortAge)
	w.writer.Exec("TRUNCATE a_before, b_before; INSERT INTO a_before TABLE a; INSERT INTO b_before TABLE b")
	now := w.phases % versions
	if now == 0 {
		w.writer.Exec("SELECT hallway.invalidate('old_a'), hallway.invalidate('old_b')")
	}
	for _, x := range []string{"a", "b"} {
		w.writer.Exec("TRUNCATE %[1]s_%[2]d; INSERT INTO %[1]s_%[2]d TABLE %[1]s", x, now)
	}
	if w.rng.IntN(2) == 0 {
		// So that there is something old to be read for a moment.
		w.writer.Exec("SELECT count(*) FROM short_a, short_b")
	}
	// Half of the changes are made by somebody else, half through a cached
	// table by one of the sessions, which must see them at once.
	own := -1
	through, ownTarget := "live", 0
	if w.rng.IntN(2) == 0 {
		own = w.rng.IntN(len(w.sessions))
		ownTarget = w.rng.IntN(len(w.targets) - 1)
		through = strings.TrimSuffix(w.targets[ownTarget].a, "_a")
	}
	for range 1 + w.rng.IntN(4) {
		w.change(own, through, []string{"a", "b"}[w.rng.IntN(2)])
	}
	changed := time.Now()
	var wg sync.WaitGroup
	ready := make([]chan struct{}, len(w.targets))
	for i, tg := range w.targets {
		ready[i] = make(chan struct{})
		if tg.after == nil || own >= 0 && i == ownTarget {
			close(ready[i])
			continue
		}
		after := tg.after
		if w.rng.IntN(2) == 0 {
			// All rows at once, so that others are contained in them.
			after = append(slices.Clone(after), fmt.Sprintf("SELECT (SELECT count(*) FROM %s), (SELECT count(*) FROM %s)", tg.a, tg.b))
		}
		wg.Go(func() {
			defer close(ready[i])
			for _, sql := range after {
				if _, err := w.told[i].Try("%s", sql); err != nil {
					w.t.Errorf("%s: %s", sql, harness.Describe(err))
				}
			}
		})
	}
	for i, f := range w.sessions {
		// The generators and the target are the session's own: a run with the
		// same seed asks the same queries, whatever comes first. Those that
		// need not wait for anything begin.
		var first, later []int
		for range perPhase {
			if pick := w.rng.IntN(len(w.targets)); w.targets[pick].after == nil {
				first = append(first, pick)
			} else {
				later = append(later, pick)
			}
		}
		wg.Go(func() {
			for _, pick := range append(first, later...) {
				<-ready[pick]
				if !w.ask(i, f, pick, changed, own, ownTarget) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// change makes one change of table x, in the API and in the copy.
func (w *cacheWorld) change(own int, through, x string) {
	exec := func(sql string) {
		if own < 0 {
			w.writer.Exec("%s", sql)
			return
		}
		if _, err := harness.Simple(context.Background(), w.sessions[own].conn, sql); err != nil {
			w.t.Fatalf("%s: %s", clip(sql, 300), harness.Describe(err))
		}
	}
	api := through + "_" + x
	switch w.rng.IntN(4) {
	case 0:
		n := 1 + w.rng.IntN(3)
		rows := insert(w.rng, "%s", w.cols, n, w.next)
		w.next += n
		exec(strings.Replace(rows, "%s", api, 1))
		w.writer.Exec("%s", strings.Replace(rows, "%s", x, 1))
	case 1:
		where := fmt.Sprintf("id %% 41 = %d", w.rng.IntN(41))
		exec("DELETE FROM " + api + " WHERE " + where)
		w.writer.Exec("%s", "DELETE FROM "+x+" WHERE "+where)
	default:
		col := w.cols[1+w.rng.IntN(len(w.cols)-1)]
		set := fmt.Sprintf("%s = %s WHERE id %% 23 = %d", col.name, col.value(w.rng).SQL(), w.rng.IntN(23))
		exec("UPDATE " + api + " SET " + set)
		w.writer.Exec("%s", "UPDATE "+x+" SET "+set)
	}
}

// ask runs one query of a session; false: there is no point in another.
func (w *cacheWorld) ask(i int, f *fuzzer, pick int, changed time.Time, own, ownTarget int) bool {
	ctx, g, tg := context.Background(), w.gens[i], w.targets[pick]
	q, v := g.query(), randomVariant(g.rng, tg.target, f.local)
	ages := pick == len(w.targets)-1
	if ages {
		// One scan is of one state that the API had since the table was emptied;
		// two need not be of the same.
		// Each asks for a part, so that many regions overlap.
		v.protocol = protocol(g.rng.IntN(2))
		q = &Query{output: []string{"a.*"}, from: []piece{txt("{A} a")}, where: []*Cond{g.part("a")}}
	}
	if g.rng.IntN(2) == 0 {
		v.settings = append(v.settings, "auto_explain.log_min_duration = 0")
	}
	f.or = nil
	// Somebody else's changes may be missing for a while; one's own may not.
	mayMiss := tg.stale
	if own >= 0 && pick == ownTarget {
		if mayMiss = tg.late; i == own {
			mayMiss = 0
		}
	}
	if time.Since(changed) < mayMiss {
		f.or = []map[string]string{{"A": "a_before", "B": "b_before"}, {"A": "a", "B": "b_before"}, {"A": "a_before", "B": "b"}}
	}
	if ages {
		for i := range w.phases%versions + 1 {
			f.or = append(f.or, map[string]string{"A": fmt.Sprintf("a_%d", i), "B": "b"}, map[string]string{"A": "a", "B": fmt.Sprintf("b_%d", i)})
		}
	}
	diff, err := f.check(ctx, q, v)
	if err == nil && diff != "" && f.or != nil && !ages {
		// Two scans of a query may be of two ages, and so may executions of a
		// prepared statement; later there is only one answer.
		time.Sleep(time.Until(changed.Add(mayMiss)))
		f.or = nil
		w.mixed.Add(1)
		diff, err = f.check(ctx, q, v)
	}
	for mayMiss == patience && err == nil && diff != "" && time.Since(changed) < stalled {
		time.Sleep(100 * time.Millisecond)
		diff, err = f.check(ctx, q, v)
	}
	if err != nil {
		w.t.Errorf("%v", err)
		return false
	}
	w.mu.Lock()
	w.queries++
	w.by[tg.name]++
	n := w.queries
	w.mu.Unlock()
	if diff != "" {
		w.t.Errorf("query %d of session %d on %s, %s after a change by %s, differs:\n  foreign: %s\n  local:   %s\n  %s\n  %s", n, i, v, time.Since(changed).Round(time.Millisecond), by(own, w.targets[ownTarget].name),
			clip(q.Render(v.tables, nil), 1500), clip(q.Render(f.local, nil), 1500), diff, f.explain(ctx, q, v))
	}
	return diff == ""
}

// part is a condition that the API takes, and that holds for a good part of the
// rows.
func (g *gen) part(alias string) *Cond {
	if g.chance(50) {
		from := g.n(100)
		return leaf(false, txt(alias+".id BETWEEN "), litp(Lit{Text: fmt.Sprint(from), Type: "int8"}), txt(" AND "),
			litp(Lit{Text: fmt.Sprint(from + 20 + g.n(60)), Type: "int8"}))
	}
	c := g.column(func(c *column) bool { return c.class == cInt && !c.unique })
	return leaf(false, txt(alias+"."+c.name+" "+pick(g, "=", "<", ">=", "<>")+" "), litp(Lit{Text: fmt.Sprint(g.n(5)), Type: "int8"}))
}

// connect opens a session whose executions are explained, where the setting
// auto_explain.log_min_duration says so: EXPLAIN would ask a query once more, and
// find what the first time has left behind.
func (w *cacheWorld) connect(db *harness.Database) *pgconn.PgConn {
	cfg, err := pgconn.ParseConfig(db.Cluster.DSN(db.Name, "postgres"))
	require.NoError(w.t, err)
	// What RESET goes back to.
	for name, value := range map[string]string{"session_preload_libraries": "auto_explain", "auto_explain.log_level": "notice",
		"auto_explain.log_format": "json", "auto_explain.log_analyze": "on", "auto_explain.log_timing": "off"} {
		cfg.RuntimeParams[name] = value
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if _, plan, ok := strings.Cut(n.Message, "plan:\n"); ok {
			w.explained(plan)
		}
	}
	conn, err := pgconn.ConnectConfig(context.Background(), cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// explained counts an execution by its foreign scans: as a miss if one of them
// asked the API and kept the rows, else as a containment hit if one was answered
// from rows that are certainly more than it asked for.
func (w *cacheWorld) explained(text string) {
	nodes, err := harness.ParsePlan("[" + text + "]")
	if err != nil {
		w.t.Errorf("reading a plan: %v\n%s", err, text)
		return
	}
	kinds := map[string]bool{}
	for _, n := range nodes {
		found, _ := n["Hallway Cache"].(string)
		if loops, _ := n["Actual Loops"].(float64); loops == 0 || found == "" {
			continue
		}
		kind, _, _ := strings.Cut(found, ":")
		region, _ := n["Hallway Cache Region"].(string)
		switch {
		case region == "replica":
			kind = region
		// Some of the conditions are the API's business, and yet it has all rows.
		case region == "all rows" && conditions(n["Hallway Cache Plan"]) > conditions(map[string]any{"Filter": n["Filter"]}):
			kind = "containment"
		}
		kinds[kind] = true
	}
	for _, kind := range []string{"miss", "live", "containment", "hit", "replica"} {
		if kinds[kind] {
			w.mu.Lock()
			w.answered[kind]++
			w.mu.Unlock()
			return
		}
	}
}

// conditions counts, roughly, the conditions in a plan in JSON: equal ones give
// equal numbers, and those with one more a higher one.
func conditions(plan any) int {
	n := 0
	switch x := plan.(type) {
	case map[string]any:
		for k, v := range x {
			if text, ok := v.(string); ok && (k == "Filter" || k == "Index Cond") {
				n += 1 + strings.Count(text, " AND ")
			} else {
				n += conditions(v)
			}
		}
	case []any:
		for _, v := range x {
			n += conditions(v)
		}
	}
	return n
}

// by says who made a phase's changes.
func by(own int, target string) string {
	if own < 0 {
		return "somebody else"
	}
	return fmt.Sprintf("session %d through %s", own, target)
}
