package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const deals = "id int8, stage int4, amount int4, name text"

func TestFill_MergesAndLeavesUnchangedRowsAlone(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	all := region(t, def, everyColumn(def))
	require.Equal(t, "+3 ~0 -0", w.mustFill(table, def, all, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(1), nil, "b"}, []any{int64(3), int64(2), int64(30), ""}))
	content := "SELECT id, stage, amount, name, ctid, xmin FROM " + table.Name().Sanitize() + " ORDER BY id"
	before := w.all("%s", content)
	require.Len(t, before, 3)
	require.Equal(t, []string{"true{1,2,3,4} 3 \\x"}, w.all("SELECT condition || columns::text, rows, predicate FROM hallway.cache_regions WHERE cache_id = %d AND hash = 0 AND fetched_at BETWEEN now() - interval '10 s' AND now()", table.ID()))

	require.Equal(t, "+0 ~0 -0", w.mustFill(table, def, all, []any{int64(3), int64(2), int64(30), ""}, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(1), nil, "b"}))
	require.Equal(t, before, w.all("%s", content), "not a row was rewritten")

	require.Equal(t, "+1 ~1 -1", w.mustFill(table, def, all, []any{int64(1), int64(1), nil, "a"}, []any{int64(2), int64(1), nil, "b"}, []any{int64(4), int64(4), int64(4), "d"}))
	require.Equal(t, []string{"1 1 NULL a", "2 1 NULL b", "4 4 4 d"}, w.all("SELECT id, stage, amount, name FROM %s ORDER BY id", table.Name().Sanitize()))
	require.Equal(t, before[1], w.all("%s", content)[1])

	require.Equal(t, "+0 ~0 -3", w.mustFill(table, def, all), "an empty answer is an answer")
	require.Len(t, w.regions(table), 1)
}

// A fill past what is held in memory goes by COPY: straight into an empty table,
// else by way of a staging table.
func TestFill_LargeOnes(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	all := region(t, def, cols)
	const n = 40000
	pad := strings.Repeat("x", 40)
	var list [][]any
	for i := range n {
		list = append(list, []any{int64(i), int64(i % 10), int64(i), pad})
	}
	write := func(f *cache.Fill, list [][]any) {
		for len(list) > 0 {
			k := min(len(list), 3000)
			require.NoError(t, f.Write(tuples(t, def, cols, list[:k]...), k))
			list = list[k:]
		}
	}
	ctx := context.Background()
	f, err := table.Begin(ctx, all, time.Now())
	require.NoError(t, err)
	write(f, list)
	require.Equal(t, "0", w.one("SELECT count(*) FROM %s", table.Name().Sanitize()), "nothing is seen before its end")
	require.Equal(t, "0", w.one("SELECT count(*) FROM pg_class WHERE relname = 'hallway_stage'"), "the table was empty")
	r, err := f.Commit(ctx)
	require.NoError(t, err)
	require.Equal(t, cache.Result{Rows: n, Inserted: n}, r)
	require.Equal(t, fmt.Sprint(n, " ", n), w.one("SELECT count(*), count(DISTINCT id) FROM %s", table.Name().Sanitize()))
	before := w.one("SELECT md5(string_agg(ctid::text || xmin, ',' ORDER BY id)) FROM %s", table.Name().Sanitize())

	f, err = table.Begin(ctx, all, time.Now())
	require.NoError(t, err)
	write(f, list)
	r, err = f.Commit(ctx)
	require.NoError(t, err)
	require.Equal(t, cache.Result{Rows: n}, r)
	require.Equal(t, before, w.one("SELECT md5(string_agg(ctid::text || xmin, ',' ORDER BY id)) FROM %s", table.Name().Sanitize()))

	changed := append([][]any{}, list[100:]...)
	changed[0] = []any{int64(100), int64(-1), int64(100), pad}
	changed = append(changed, []any{int64(n), int64(1), int64(1), "new"})
	f, err = table.Begin(ctx, all, time.Now())
	require.NoError(t, err)
	write(f, changed)
	r, err = f.Commit(ctx)
	require.NoError(t, err)
	require.Equal(t, cache.Result{Rows: n - 99, Inserted: 1, Updated: 1, Deleted: 100}, r)

	// Aborted ones leave nothing, and give their connections and locks back.
	for range 10 {
		f, err = table.Begin(ctx, all, time.Now())
		require.NoError(t, err)
		write(f, list)
		f.Abort()
		f.Abort()
	}
	require.Equal(t, fmt.Sprint(n-99), w.one("SELECT count(*) FROM %s", table.Name().Sanitize()))
	require.Equal(t, "0", w.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hallway sidecar' AND state LIKE 'idle in%%'"))
}

func TestFill_RowsThatComeTwiceAreNotKept(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	all := region(t, def, cols)
	row := []any{int64(1), int64(1), int64(1), strings.Repeat("y", 100)}
	for _, n := range []int{2, 20000} {
		for range 2 { // into an empty table, and into one with the row
			var list [][]any
			for i := range n {
				list = append(list, []any{int64(i / 2), row[1], row[2], row[3]})
			}
			_, err := fill(table, all, tuples(t, def, cols, list...), n)
			require.ErrorIs(t, err, cache.ErrDuplicate)
			require.Empty(t, w.regions(table))
			w.exec("INSERT INTO %s VALUES (0) ON CONFLICT DO NOTHING", table.Name().Sanitize())
		}
		w.exec("DELETE FROM %s", table.Name().Sanitize())
	}
	_, err := fill(table, all, tuples(t, def, cols, []any{nil, nil, nil, nil}), 1)
	require.Equal(t, "23502", pgCode(err), "%v", err)
	_, err = fill(table, all, tuples(t, def, cols, row), 2)
	require.Error(t, err, "a batch with fewer tuples than it says")
	require.Empty(t, w.regions(table))
}

func TestRegions_ThatCannotBeRightAnyMoreGo(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	narrow := []int{0, 1}
	a := region(t, def, cols, eq(1, int4Type, int64(1)))
	b := region(t, def, cols, atLeast(2, int4Type, int64(20)))
	few := region(t, def, narrow, eq(1, int4Type, int64(2)))
	w.mustFill(table, def, a, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(1), int64(20), "b"})
	w.mustFill(table, def, b, []any{int64(2), int64(1), int64(20), "b"}, []any{int64(3), int64(2), int64(30), "c"})
	const (
		conditionA = `("stage" = ('1'::int4)){1,2,3,4}`
		conditionB = `("amount" >= ('20'::int4)){1,2,3,4}`
		few2       = `("stage" = ('2'::int4)){1,2}`
	)
	require.Equal(t, []string{conditionB, conditionA}, w.regions(table))

	// Nothing new in fewer columns: all stay.
	w.mustFill(table, def, few, []any{int64(3), int64(2)})
	require.Equal(t, []string{conditionB, conditionA, few2}, w.regions(table))
	require.Equal(t, "30 c", w.one("SELECT amount, name FROM %s WHERE id = 3", table.Name().Sanitize()), "other columns are left")

	// A row that vanished from A may have moved: B had it, and is not right.
	w.mustFill(table, def, a, []any{int64(1), int64(1), int64(10), "a"})
	require.Equal(t, []string{conditionA, few2}, w.regions(table))
	require.Equal(t, "1 3", strings.Join(w.all("SELECT id FROM %s ORDER BY id", table.Name().Sanitize()), " "))

	// A row in two columns: what has more columns goes.
	w.mustFill(table, def, few, []any{int64(3), int64(2)}, []any{int64(4), int64(2)})
	require.Equal(t, []string{few2}, w.regions(table))
	// A row came in that the other one, fetched before, knew nothing of.
	w.mustFill(table, def, b, []any{int64(5), int64(2), int64(50), "e"}, []any{int64(3), int64(2), int64(30), "c"})
	require.Equal(t, []string{conditionB}, w.regions(table))
	// Rows that it has not, or has as they are, are no reason.
	w.mustFill(table, def, a, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(1), int64(19), "b"})
	w.mustFill(table, def, few, []any{int64(3), int64(2)}, []any{int64(4), int64(2)}, []any{int64(5), int64(2)})
	require.Equal(t, []string{conditionB, conditionA, few2}, w.regions(table))
	// One that changed is: B would show it beside what it fetched before.
	w.mustFill(table, def, a, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(1), int64(21), "b"})
	require.Equal(t, []string{conditionA, few2}, w.regions(table))
}

// A fill that began earlier and ends later must not put its older rows under a
// region that says that it is newer.
func TestRegions_AnOlderFillThatEndsLater(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	ctx := context.Background()
	one := region(t, def, cols, eq(0, int8Type, int64(1)))
	two := region(t, def, cols, eq(0, int8Type, int64(2)))
	all := region(t, def, cols)
	for _, empty := range []bool{true, false} {
		old, err := table.Begin(ctx, all, time.Now())
		require.NoError(t, err)
		pad := ""
		if empty {
			pad = strings.Repeat("z", 2<<20) // by COPY
		}
		require.NoError(t, old.Write(tuples(t, def, cols, []any{int64(1), int64(1), int64(1), pad}), 1))
		if empty {
			// COPY holds the table: no other fill is kept.
			_, err := fill(table, one, nil, 0)
			require.True(t, cache.IsLocked(err), "%v", err)
			old.Abort()
			continue
		}
		w.mustFill(table, def, one, []any{int64(1), int64(7), int64(7), "new"})
		w.mustFill(table, def, two)
		_, err = old.Commit(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{`("id" = ('2'::int8)){1,2,3,4}`, "true{1,2,3,4}"}, w.regions(table))
	}
}

// The API's state changes while fills with all kinds of conditions and columns
// run beside each other and beside own writes. Whatever is committed, each row
// of each region is one that the API had since the region was fetched, and since
// the last own write to it. Where
// writes say a part of the row only, nobody else changes rows: the rest of a
// cached row is as old as its region then.
func TestRegions_ShowStatesThatTheAPIHad(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, seed, 250) })
	}
}

type version struct {
	from   time.Time
	exists bool
	row    [4]any
}

func randomHistory(t *testing.T, seed uint64, steps int) {
	w := newWorld(t, cache.Config{})
	_, _, second := w.sidecar(cache.Config{})
	def := w.define("deals", deals, 0)
	here := w.table(def)
	there, err := second.Table(context.Background(), def)
	require.NoError(t, err)
	tables := []*cache.Table{here, there}
	r := rand.New(rand.NewPCG(seed, 7))
	ctx := context.Background()
	const ids = 6
	history := make([][]version, ids)
	for i := range history {
		history[i] = []version{{from: time.Time{}}}
	}
	now := func(i int) version { return history[i][len(history[i])-1] }
	change := func(i int) {
		v := version{from: time.Now(), exists: r.IntN(4) > 0}
		v.row = [4]any{int64(i), int64(r.IntN(3)), int64(r.IntN(3)), fmt.Sprint("v", r.IntN(3))}
		history[i] = append(history[i], v)
	}
	wide, some, other := []int{0, 1, 2, 3}, []int{0, 1, 3}, []int{2, 0}
	type open struct {
		f    *cache.Fill
		r    cache.Region
		list [][]any
	}
	var fills []open
	matches := func(c []int, v version) bool { // c: condition as column, value pairs
		if !v.exists {
			return false
		}
		for i := 0; i < len(c); i += 2 {
			if v.row[c[i]] != int64(c[i+1]) {
				return false
			}
		}
		return true
	}
	conditions := map[string][]int{}
	own := make([]int, ids) // the version that the last own write made
	kept, overtaken := 0, 0
	partial, written := seed%2 == 1, 2
	if partial {
		written = 4
	}
	for range steps {
		table := tables[r.IntN(2)]
		switch k := r.IntN(10); {
		case k < 3 && !partial:
			change(r.IntN(ids))
		case k < 5: // an own write
			i := r.IntN(ids)
			change(i)
			v := now(i)
			wr := cache.Write{Key: []string{fmt.Sprint(i)}, Deleted: !v.exists}
			if v.exists {
				wr.Columns = [][]int{wide, nil, some, other}[r.IntN(written)]
				if wr.Columns != nil {
					values := make([]any, len(wr.Columns))
					for j, c := range wr.Columns {
						values[j] = v.row[c]
					}
					wr.Tuple = tuples(t, def, wr.Columns, values)
				}
				if len(wr.Columns) != len(wide) {
					// What the write did not say it did not change, or else nobody could
					// know.
					before := history[i][len(history[i])-2]
					if before.exists && wr.Columns != nil {
						for c := range v.row {
							if !contains(wr.Columns, c) {
								history[i][len(history[i])-1].row[c] = before.row[c]
							}
						}
					}
				}
			}
			require.NoError(t, table.Apply(ctx, []cache.Write{wr}))
			own[i] = len(history[i]) - 1
		case k < 8 && len(fills) < 4:
			var c []int
			for col := range 3 {
				if r.IntN(3) == 0 {
					c = append(c, col, r.IntN(3))
				}
			}
			columns := [][]int{wide, wide, some, other}[r.IntN(4)]
			var conjuncts []pushdown.Expr
			ok := true
			for i := 0; i < len(c); i += 2 {
				ty := int4Type
				if c[i] == 0 {
					ty = int8Type
				}
				conjuncts = append(conjuncts, eq(c[i], ty, int64(c[i+1])))
				ok = ok && contains(columns, c[i])
			}
			if !ok {
				continue
			}
			reg := region(t, def, columns, conjuncts...)
			f, err := table.Begin(ctx, reg, time.Now())
			if err != nil {
				require.ErrorIs(t, err, cache.ErrBusy)
				continue
			}
			o := open{f: f, r: reg}
			for i := range ids {
				if v := now(i); matches(c, v) {
					values := make([]any, len(columns))
					for j, col := range columns {
						values[j] = v.row[col]
					}
					o.list = append(o.list, values)
				}
			}
			conditions[string(reg.Predicate)] = c
			require.NoError(t, f.Write(tuples(t, def, columns, o.list...), len(o.list)))
			fills = append(fills, o)
		case len(fills) > 0:
			i := r.IntN(len(fills))
			_, err := fills[i].f.Commit(ctx)
			fills = append(fills[:i], fills[i+1:]...)
			if err != nil {
				require.ErrorIs(t, err, cache.ErrOvertaken)
				overtaken++
			} else {
				kept++
			}
			// Each region, held against the API's history.
			for _, line := range w.all("SELECT encode(predicate, 'escape') || '|' || array_to_string(columns, ',') || '|' || (extract(epoch FROM fetched_at) * 1000000)::int8 FROM hallway.cache_regions WHERE cache_id = %d", here.ID()) {
				parts := strings.Split(line, "|")
				var micros int64
				_, err := fmt.Sscan(parts[2], &micros)
				require.NoError(t, err)
				fetched := time.UnixMicro(micros)
				where := parts[0]
				if where == "" {
					where = "true"
				}
				shown := map[int]string{}
				numbers := strings.Split(parts[1], ",")
				var names []string
				var positions []int
				for _, n := range numbers {
					var p int
					_, err := fmt.Sscan(n, &p)
					require.NoError(t, err)
					positions = append(positions, p-1)
					names = append(names, fmt.Sprintf("coalesce(%s::text, 'NULL')", def.Columns[p-1].Name))
				}
				for _, row := range w.all("SELECT id, concat_ws(',', %s) FROM %s WHERE %s", strings.Join(names, ", "), here.Name().Sanitize(), where) {
					var id int
					_, err := fmt.Sscan(row, &id)
					require.NoError(t, err)
					_, shown[id], _ = strings.Cut(row, " ")
				}
				for id := range ids {
					var could []string
					for j, v := range history[id] {
						if j < own[id] || j+1 < len(history[id]) && history[id][j+1].from.Before(fetched) {
							continue
						}
						text := "nothing"
						if matches(conditions[parts[0]], v) {
							var values []string
							for _, p := range positions {
								values = append(values, fmt.Sprint(v.row[p]))
							}
							text = strings.Join(values, ",")
						}
						could = append(could, text)
					}
					got, ok := shown[id]
					if !ok {
						got = "nothing"
					}
					require.Contains(t, could, got, "region %s, row %d", line, id)
				}
			}
		}
	}
	for _, o := range fills {
		o.f.Abort()
	}
	require.Greater(t, kept, steps/50)
	t.Logf("%d fills kept, %d overtaken", kept, overtaken)
}

func contains(list []int, x int) bool {
	for _, y := range list {
		if y == x {
			return true
		}
	}
	return false
}
