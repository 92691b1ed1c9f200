// Queries on cached tables while rows change in the API: changes, scans and fills
// at the same time.

package fuzz

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Each row of an answer is one that the API had within max_age before the query
// began, or while it ran; and no row is missing that was there all that time.
func TestDifferential_CachedMeanwhile(t *testing.T) {
	s := seed(t)
	sidecar, pb := meanwhileSidecar(t)
	for i, tc := range []struct {
		name, server string
		cols         []*column
		ages         []string
		n            int
	}{
		{"synthetic", "connector 'synthetic', page_rows '17'", wide(), []string{"off", "short", "superset", "replica"}, *flagN / 6},
		{"PocketBase", fmt.Sprintf("connector 'rest', manifest 'fuzz.yaml', base_url '%s', auth_collection '_superusers', page_size '40'", pb.URL), crm(), []string{"off", "short"}, *flagN / 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(s, uint64(30+i)))
			db := env.Database(t)
			c := db.Connect(t)
			w := &meanwhile{t: t, cols: tc.cols, rng: rng, writer: c, next: 1000}
			c.Exec("%s", types)
			for _, age := range tc.ages {
				options := map[string]string{"off": "cache 'off'", "replica": "cache 'replica', refresh_every '1h'",
					"short": fmt.Sprintf("max_age '%dms'", shortAge.Milliseconds()), "superset": fmt.Sprintf("max_age '%dms', pushdown 'superset'", shortAge.Milliseconds())}[age]
				c.Exec("CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (%[2]s, address '%[3]s', %[4]s)", age, tc.server, sidecar.Address(), options)
				user, object := "", fmt.Sprintf("store '%s.a'", db.Name)
				if tc.name == "PocketBase" {
					user, object = fmt.Sprintf("OPTIONS (user '%s', password '%s')", pb.User, pb.Password), "object 'fuzz_a'"
				}
				c.Exec("CREATE USER MAPPING FOR PUBLIC SERVER %[1]s %[2]s; CREATE FOREIGN TABLE %[1]s_a (%[3]s) SERVER %[1]s OPTIONS (%[4]s)",
					age, user, columnList(tc.cols, true), object)
				w.tables = append(w.tables, age+"_a")
			}
			if tc.name == "PocketBase" {
				require.NoError(t, fillCRM(t.Context(), c, rng, tc.cols, "off_a", "first", 120, "CREATE TABLE first ("+columnList(tc.cols, false)+")"))
				for _, r := range c.Query("SELECT id FROM first ORDER BY 1") {
					tc.cols[0].pool = append(tc.cols[0].pool, r[0])
				}
			} else {
				c.Exec("%s", insert(rng, "off_a", tc.cols, 120, 1))
				c.Exec("CALL hallway.wait_for_sync('replica_a')")
				w.synced.Store(time.Now().UnixNano())
			}
			c.Exec("CREATE TABLE hist (v int, %s)", strings.ReplaceAll(columnList(tc.cols, false), " PRIMARY KEY", ""))
			w.version(time.Now())
			w.run(db, tc.n, func(i int) *gen {
				return &gen{rng: rand.New(rand.NewPCG(s, uint64(40+i))), cols: tc.cols, crm: tc.name == "PocketBase"}
			})
		})
	}
}

func meanwhileSidecar(t *testing.T) (*harness.Sidecar, *harness.PocketBase) {
	t.Helper()
	pb, err := env.StartPocketBase(1)
	require.NoError(t, err)
	require.NoError(t, collections(pb))
	dir, err := env.Mkdir("fuzz")
	require.NoError(t, err)
	require.NoError(t, manifest(env.Root, dir))
	return env.NewSidecar(t, harness.SidecarSettings{Manifests: dir, Cache: true}), pb
}

// meanwhile is a run: one session changes rows, others ask.
type meanwhile struct {
	t      *testing.T
	cols   []*column
	rng    *rand.Rand
	writer *harness.Conn
	tables []string // the first is not cached
	next   int
	synced atomic.Int64 // the replica shows at least what there was then

	// Version k of the rows was made by a call of the API from begun[k] to ended[k].
	begun, ended []time.Time

	mu      sync.Mutex
	answers []answered
}

// answered is a query with what came of it.
type answered struct {
	table, where string
	from, at, to time.Time // rows of before from will not do
	rows         []harness.Row
	err          error
}

// version records the rows as they are now, since nobody else changes them.
func (w *meanwhile) version(begun time.Time) {
	w.ended = append(w.ended, time.Now())
	w.begun = append(w.begun, begun)
	w.writer.Exec("INSERT INTO hist SELECT %d, * FROM %s", len(w.begun)-1, w.tables[0])
}

func (w *meanwhile) run(db *harness.Database, n int, gens func(int) *gen) {
	const sessions = 3
	var asking, wait sync.WaitGroup
	over := make(chan struct{})
	for i := range sessions {
		c, g := db.Connect(w.t), gens(i)
		asking.Go(func() {
			for range n / sessions {
				w.ask(c, g)
			}
		})
	}
	if len(w.tables) == 4 {
		c := db.Connect(w.t)
		wait.Go(func() {
			for {
				began := time.Now()
				if _, err := c.Try("CALL hallway.wait_for_sync('replica_a')"); err != nil {
					w.t.Errorf("waiting for the replica: %s", harness.Describe(err))
					return
				}
				w.synced.Store(began.UnixNano())
				select {
				case <-over:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	wait.Go(func() { asking.Wait(); close(over) })
	for changing := true; changing; {
		w.change()
		select {
		case <-over:
			changing = false
		case <-time.After(time.Duration(w.rng.IntN(60)) * time.Millisecond):
		}
	}
	wait.Wait()
	w.judge()
}

// change makes one, and if that is done through a cached table looks whether the
// session sees it.
func (w *meanwhile) change() {
	through := w.tables[w.rng.IntN(min(len(w.tables), 2))]
	begun := time.Now()
	key := w.writer.Query("SELECT id FROM hist WHERE v = %d ORDER BY random() LIMIT 4", len(w.begun)-1)
	var ids []string
	for _, r := range key {
		ids = append(ids, "'"+r[0]+"'")
	}
	list := strings.Join(ids, ", ")
	what := w.rng.IntN(6)
	if len(ids) < 4 {
		what = 0
	}
	gone := false
	var sql string
	switch what {
	case 0:
		var names, values []string
		for _, c := range w.cols {
			if c.unique && c.typ == "text" {
				continue // the API's to give
			}
			value := fmt.Sprint(w.next)
			if w.next++; !c.unique {
				value = c.value(w.rng).SQL()
			}
			names, values = append(names, c.name), append(values, value)
		}
		sql = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) RETURNING *", through, strings.Join(names, ", "), strings.Join(values, ", "))
	case 1:
		gone = true
		sql = fmt.Sprintf("DELETE FROM %s WHERE id = %s RETURNING *", through, ids[0])
	default:
		c := w.cols[1+w.rng.IntN(len(w.cols)-1)]
		sql = fmt.Sprintf("UPDATE %s SET %s = %s WHERE id IN (%s) RETURNING *", through, c.name, c.value(w.rng).SQL(), list)
	}
	written := w.writer.Query("%s", sql)
	seen := map[string]bool{}
	if through != w.tables[0] {
		for _, r := range w.writer.Query("SELECT * FROM %s", through) {
			seen[r.String()] = true
			seen["key "+r[0]] = true
		}
		for _, r := range written {
			if gone && seen["key "+r[0]] || !gone && !seen[r.String()] {
				w.t.Errorf("the session that has done this does not see it: %s\n%s", clip(sql, 1000), r)
			}
		}
	}
	w.version(begun)
}

func (w *meanwhile) ask(c *harness.Conn, g *gen) {
	pick := g.rng.IntN(len(w.tables))
	a := answered{table: w.tables[pick]}
	for a.where = "{B}"; strings.Contains(a.where, "{B}"); {
		cond := g.cond(1, "a")
		if !g.crm && g.chance(50) {
			cond = g.part("a")
		}
		if g.chance(10) {
			cond = leaf(false, txt("true"))
		}
		r := &renderer{tables: map[string]string{}}
		r.cond(cond)
		a.where = r.b.String()
	}
	a.from, a.at = time.Unix(0, w.synced.Load()), time.Now()
	switch {
	case pick == 0:
		a.from = a.at
	case pick < 3:
		a.from = a.at.Add(-shortAge)
	}
	r, err := c.Try("SELECT a.* FROM %s a WHERE %s", a.table, a.where)
	a.to, a.rows, a.err = time.Now(), r.Rows, err
	w.mu.Lock()
	w.answers = append(w.answers, a)
	w.mu.Unlock()
}

// judge holds all answers against the versions that they may show.
func (w *meanwhile) judge() {
	ctx := context.Background()
	during, moved, old := 0, 0, 0
	for i, a := range w.answers {
		lo, hi, then := 0, 0, 0
		for k := range w.begun {
			if !w.ended[k].After(a.from) {
				lo = k
			}
			if !w.ended[k].After(a.at) {
				then = k
			}
			if !w.begun[k].After(a.to) {
				hi = k
			}
		}
		could, err := harness.Simple(ctx, w.writer.PgConn, fmt.Sprintf("SELECT a.v, a.* FROM hist a WHERE v BETWEEN %d AND %d AND (%s)", lo, hi, a.where))
		if a.err != nil || err != nil {
			if harness.SQLState(a.err) != harness.SQLState(err) {
				w.t.Errorf("query %d on %s: %s; locally %s\n%s", i, a.table, harness.Describe(a.err), harness.Describe(err), a.where)
			}
			continue
		}
		versions, newest := map[string]int{}, map[string]bool{}
		for _, r := range could.Rows {
			text := r[2:].String()
			versions[text]++
			if r[0] == fmt.Sprint(hi) {
				newest[text] = true
			}
		}
		if hi > then {
			during++
		}
		if hi > lo {
			moved++
		}
		got, keys := map[string]bool{}, map[string]bool{}
		problem := ""
		for _, r := range a.rows {
			text := r.String()
			switch {
			case keys[r[0]]:
				problem = "is there twice: " + text
			case versions[text] == 0:
				problem = "was never there: " + text
			}
			got[text], keys[r[0]] = true, true
		}
		for text, n := range versions {
			if n == hi-lo+1 && !got[text] {
				problem = "is missing: " + text
			}
		}
		if !maps.Equal(got, newest) {
			old++
		}
		if problem != "" {
			w.t.Errorf("query %d on %s, versions %d to %d: a row %s\n%s", i, a.table, lo, hi, clip(problem, 1500), a.where)
			break
		}
	}
	w.t.Logf("%d queries, %d versions; there was a change during %d queries, and during %d or before them as long as rows may be old; %d answers are not of the last version that they may show",
		len(w.answers), len(w.begun), during, moved, old)
	if len(w.answers) >= 100 {
		require.Greater(w.t, during*20, len(w.answers), "changes while queries run")
		require.Positive(w.t, old)
	}
}
