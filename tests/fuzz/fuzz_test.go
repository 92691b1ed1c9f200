// Package fuzz asks random queries of foreign tables and of local copies, and
// wants the same answers.
//
//	go test ./tests/fuzz                                  # 2,000 queries
//	go test ./tests/fuzz -args -n 100000 -seed 42         # as many as you like
//	go test ./tests/fuzz -run Wide -args -n 1 -seed 42 -skip 137   # one of them again
package fuzz

import (
	"context"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

var (
	flagN    = flag.Int("n", 2000, "number of queries: half of them on every type and half on the CRM, and as many on cached tables; a quarter as many transactions with each on_rollback")
	flagSeed = flag.Uint64("seed", 0, "seed of data and queries; 0: another one each time")
	flagSkip = flag.Int("skip", 0, "queries to generate without running them")
	flagMax  = flag.Int("failures", 3, "stop after so many differences")
)

func seed(t *testing.T) uint64 {
	s := *flagSeed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d; again with: go test ./tests/fuzz -run '^%s$' -args -seed %d", s, t.Name(), s)
	return s
}

// Every type and operator, on the synthetic connector with each of its ways to
// take a filter.
func TestDifferential_Wide(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 1))
	db := env.Database(t)
	c := db.Connect(t)
	cols := wide()
	c.Exec("%s", types)
	var targets []target
	for _, kind := range []struct{ name, options string }{
		{"exact", ", groups '12'"},
		{"superset", ", pushdown 'superset'"},
		{"ignores", ", ignore_filters 'true'"},
		{"none", ", pushdown 'none'"},
	} {
		c.Exec("CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', page_rows '17'%[2]s); CREATE USER MAPPING FOR PUBLIC SERVER %[1]s", kind.name, kind.options)
		for _, x := range []string{"a", "b"} {
			c.Exec("CREATE FOREIGN TABLE %[1]s_%[2]s (%[3]s) SERVER %[1]s OPTIONS (store '%[4]s.%[2]s')", kind.name, x, columnList(cols, true), db.Name)
		}
		targets = append(targets, target{"synthetic, " + kind.name, kind.name + "_a", kind.name + "_b"})
	}
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		c.Exec("%s", insert(rng, x, cols, 120, 1))
		c.Exec("INSERT INTO exact_%[1]s SELECT * FROM %[1]s", x)
		c.Exec("ANALYZE %s", x)
		require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM exact_%[1]s) UNION ALL (SELECT * FROM exact_%[1]s EXCEPT ALL SELECT * FROM %[1]s)", x), "the copy is a copy")
	}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: time.Minute}
	f.loop(t, &gen{rng: rng, cols: cols}, (*flagN+1)/2, func() []variant {
		// Half of them where nothing is checked again.
		return []variant{randomVariant(rng, targets[max(0, rng.IntN(6)-2)], f.local)}
	})
	f.requirePushed(t)
}

// What a CRM has, on PocketBase and on synthetic.
func TestDifferential_CRM(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 2))
	pb, err := env.StartPocketBase(1)
	require.NoError(t, err)
	require.NoError(t, collections(pb))
	dir, err := env.Mkdir("fuzz")
	require.NoError(t, err)
	require.NoError(t, manifest(env.Root, dir))
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Manifests: dir})
	db := env.Database(t)
	c := db.Connect(t)
	cols := crm()
	c.Exec(`CREATE SERVER pb FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[1]s', manifest 'fuzz.yaml', base_url '%[2]s',
			auth_collection '_superusers', page_size '40');
		CREATE USER MAPPING FOR PUBLIC SERVER pb OPTIONS (user '%[3]s', password '%[4]s');
		CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%[1]s', groups '12');
		CREATE USER MAPPING FOR PUBLIC SERVER syn`,
		sidecar.Address(), pb.URL, pb.User, pb.Password)
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE FOREIGN TABLE pb_%[1]s (%[2]s) SERVER pb OPTIONS (object 'fuzz_%[1]s')", x, columnList(cols, true))
		c.Exec("CREATE FOREIGN TABLE syn_%[1]s (%[2]s) SERVER syn OPTIONS (store '%[3]s.%[1]s')", x, columnList(cols, true), db.Name)
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		require.NoError(t, fillCRM(context.Background(), c, rng, cols, "pb_"+x, x, 120))
		c.Exec("INSERT INTO syn_%[1]s SELECT * FROM %[1]s; ANALYZE %[1]s", x)
		require.Equal(t, "120", c.Value("SELECT count(*) FROM %s", x))
		require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[1]s_meant) UNION ALL (SELECT * FROM %[1]s_meant EXCEPT ALL SELECT * FROM %[1]s)", x),
			"what INSERT ... RETURNING said is what a scan reads")
	}
	for _, r := range c.Query("SELECT id FROM a UNION SELECT id FROM b ORDER BY 1") {
		cols[0].pool = append(cols[0].pool, r[0])
	}
	pbTarget, synTarget := target{"PocketBase", "pb_a", "pb_b"}, target{"synthetic", "syn_a", "syn_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: time.Minute}
	g := &gen{rng: rng, cols: cols, crm: true}
	push := pushCount{conn: c, table: "pb_a"}
	g.watch = push.add
	f.loop(t, g, *flagN/2, func() []variant {
		v := randomVariant(rng, pbTarget, f.local)
		w := v
		w.target = synTarget
		w.tables = map[string]string{}
		for k, x := range v.tables {
			w.tables[k] = strings.Replace(x, "pb_", "syn_", 1)
		}
		return []variant{v, w}
	})
	push.report(t)
	f.requirePushed(t)
}

// loop generates n queries and checks each in the variants that it is given.
func (f *fuzzer) loop(t *testing.T, g *gen, n int, variants func() []variant) {
	t.Helper()
	ctx := context.Background()
	start, failures := time.Now(), 0
	by := map[string]int{}
	for i := range *flagSkip + n {
		q, vs := g.query(), variants()
		if i < *flagSkip {
			continue
		}
		for _, v := range vs {
			by[v.target.name]++
			diff, err := f.check(ctx, q, v)
			if err != nil {
				t.Fatalf("query %d: %v", i, err)
			}
			if diff == "" {
				f.countPushed(ctx, q, v)
				if f.answered != nil {
					f.answered(q, v)
				}
				continue
			}
			failures++
			full := q.Render(v.tables, nil)
			small, sv, diff := f.shrink(ctx, q, v, diff)
			t.Errorf("query %d on %s differs:\n  foreign: %s\n  local:   %s\n  %s\n  %s\n  (found as: %s)", i, sv,
				small.Render(sv.tables, nil), small.Render(f.local, nil), diff, f.explain(ctx, small, sv), clip(full, 800))
			if failures >= *flagMax {
				t.Fatalf("stopping after %d differences", failures)
			}
		}
	}
	t.Logf("%d queries in %s: %v, %d differences", n, time.Since(start).Round(time.Millisecond), by, failures)
}

// countPushed looks whether a query is answered by groups that the API makes.
func (f *fuzzer) countPushed(ctx context.Context, q *Query, v variant) {
	if !q.plain || v.tables["A"] != v.target.a {
		return
	}
	f.aggregated++
	if strings.Contains(f.explain(ctx, q, v), "Pushed Aggregate") {
		f.pushed++
	}
}

// requirePushed wants some of the aggregations to have been the API's work.
func (f *fuzzer) requirePushed(t *testing.T) {
	t.Helper()
	t.Logf("of %d plain aggregations %d were pushed", f.aggregated, f.pushed)
	if f.aggregated >= 20 {
		require.Positive(t, f.pushed)
	}
}

// explain shows the plan of a query that failed, if there is one.
func (f *fuzzer) explain(ctx context.Context, q *Query, v variant) string {
	r, err := harness.Simple(ctx, f.conn, "EXPLAIN (VERBOSE) "+q.Render(v.tables, nil))
	if err != nil {
		return "no plan: " + harness.Describe(err)
	}
	var b strings.Builder
	for _, row := range r.Rows {
		b.WriteString("\n    " + row[0])
	}
	return "plan:" + clip(b.String(), 3000)
}

// pushCount counts the conjuncts that the CRM's filters can express, and those
// of them that the plan pushes.
type pushCount struct {
	conn         *harness.Conn
	table        string
	able, pushed int
	missed       []string
}

// add looks at one generated condition.
func (p *pushCount) add(c *Cond) {
	if !c.api {
		return
	}
	r := &renderer{tables: map[string]string{}}
	r.cond(c)
	sql := "EXPLAIN (VERBOSE, FORMAT JSON) SELECT id FROM " + p.table + " a WHERE " + r.b.String()
	res, err := harness.Simple(context.Background(), p.conn.PgConn, sql)
	if err != nil {
		return
	}
	nodes, err := harness.ParsePlan(res.Rows[0][0])
	if err != nil {
		return
	}
	if nodes[0]["Node Type"] != "Foreign Scan" {
		return // the planner knew the answer
	}
	p.able++
	if pushedAll(nodes[0]) {
		p.pushed++
	} else if len(p.missed) < 8 {
		p.missed = append(p.missed, r.b.String())
	}
}

func (p *pushCount) report(t *testing.T) {
	t.Helper()
	for _, m := range p.missed {
		t.Logf("not pushed: %s", m)
	}
	if p.able == 0 {
		t.Fatal("no condition that the API can express was generated")
	}
	share := float64(p.pushed) / float64(p.able)
	t.Logf("of %d conjuncts that the API can express %d were pushed: %.0f %%", p.able, p.pushed, 100*share)
	require.GreaterOrEqual(t, share, 0.60)
}

// pushedAll: the API gets all of the node's conditions, whether they are checked
// again here or not. What is taken back for these values may not be sent.
func pushedAll(node harness.PlanNode) bool {
	has := func(key string) bool { list, _ := node[key].([]any); return len(list) > 0 }
	return (has("Pushed Filter") || has("Rechecked Filter")) && !has("Local Filter") && !has("Rechecked For These Values")
}
