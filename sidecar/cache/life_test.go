package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestTable_IsMadeFoundAndReplaced(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	require.Same(t, table, w.table(def), "remembered")
	require.Equal(t, "hallway u", w.one("SELECT pg_get_userbyid(relowner), relpersistence FROM pg_class WHERE oid = '%s'::regclass", table.Name().Sanitize()))
	require.Equal(t, []string{"id bigint true", "stage integer false", "amount integer false", "name text false"},
		w.all("SELECT attname, format_type(atttypid, atttypmod), attnotnull::text FROM pg_attribute WHERE attrelid = '%s'::regclass AND attnum > 0 ORDER BY attnum", table.Name().Sanitize()))

	// Another sidecar finds it; many at once make one.
	_, _, second := w.sidecar(cache.Config{})
	again, err := second.Table(context.Background(), def)
	require.NoError(t, err)
	require.Equal(t, table.ID(), again.ID())
	theirs := def
	theirs.Account = []byte("another")
	var wg sync.WaitGroup
	ids := make([]int64, 8)
	for i := range ids {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := []*cache.Database{w.d, second}[i%2]
			for {
				x, err := d.Table(context.Background(), theirs)
				if cache.IsLocked(err) {
					continue
				}
				if err == nil {
					ids[i] = x.ID()
				}
				return
			}
		}()
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.NotEqual(t, table.ID(), ids[0], "an account has its own")
	require.NotZero(t, ids[0])
	require.Equal(t, "2 2", w.one("SELECT count(*), (SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r') FROM hallway.cache_tables"))

	// A new shape is a new table; the old one's regions go with it.
	w.mustFill(table, def, region(t, def, everyColumn(def)))
	w.exec("ALTER FOREIGN TABLE deals ADD COLUMN extra numeric(10,2), ALTER COLUMN name TYPE varchar(20) COLLATE \"C\"")
	_, err = w.d.Table(context.Background(), cache.Definition{Relid: def.Relid, ServerOID: def.ServerOID, Account: def.Account, Object: "other", Columns: def.Columns, Key: def.Key})
	require.ErrorIs(t, err, cache.ErrShape, "a backend that has not seen it yet")
	_, err = fill(table, region(t, def, everyColumn(def)), nil, 0)
	require.NoError(t, err, "its old table is there still")
	def2 := w.definition("deals", 0)
	wider := w.table(def2)
	require.NotEqual(t, table.ID(), wider.ID())
	require.Empty(t, w.all("SELECT FROM hallway.cache_regions"))
	require.Equal(t, "0", w.one("SELECT count(*) FROM pg_class WHERE relname = '%s'", table.Name()[1]))
	_, err = fill(table, region(t, def, everyColumn(def)), nil, 0)
	require.ErrorIs(t, err, cache.ErrGone)
	require.ErrorIs(t, table.Apply(context.Background(), []cache.Write{{Key: []string{"1"}, Deleted: true}}), cache.ErrGone)
	require.Equal(t, "character varying(20) C", w.one("SELECT format_type(atttypid, atttypmod), collname FROM pg_attribute a JOIN pg_collation c ON c.oid = attcollation WHERE attrelid = '%s'::regclass AND attname = 'name'", wider.Name().Sanitize()))

	// Options and types that are not the committed ones.
	bad := w.definition("deals", 0)
	bad.Options = []cache.Option{{Name: "store", Value: "other"}}
	_, err = w.d.Table(context.Background(), bad)
	require.ErrorIs(t, err, cache.ErrShape)
	bad.Options = []cache.Option{{Name: "store", Value: "s.deals"}}
	require.NotEqual(t, wider.ID(), w.table(bad).ID(), "another shape")
	bad.Relid++
	_, err = w.d.Table(context.Background(), bad)
	require.ErrorIs(t, err, cache.ErrShape)
	_, err = w.d.Table(context.Background(), cache.Definition{Relid: def.Relid, Columns: def.Columns})
	require.Error(t, err, "without a key")
}

// A table that somebody reads is replaced all the same, and dropped later.
func TestTable_IsReplacedUnderAReader(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	reader := w.session("postgres")
	_, err := reader.Exec(context.Background(), "BEGIN; SELECT count(*) FROM "+table.Name().Sanitize())
	require.NoError(t, err)
	w.exec("ALTER FOREIGN TABLE deals DROP COLUMN stage")
	def = w.definition("deals", 0)
	next := w.table(def) // which would never be, if it waited for the reader
	require.NotEqual(t, table.ID(), next.ID())
	require.NoError(t, w.d.Clean(context.Background()))
	require.Equal(t, "2", w.one("SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r'"))
	_, err = reader.Exec(context.Background(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, w.d.Clean(context.Background()))
	require.Equal(t, next.Name()[1], w.one("SELECT relname FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r'"))
	require.Equal(t, "+1 ~0 -0", w.mustFill(next, def, region(t, def, everyColumn(def)), []any{int64(1), int64(1), "a"}), "with a dropped column in the foreign table")
}

func TestClean_DropsWhatHasNoForeignTable(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	w.mustFill(table, def, region(t, def, everyColumn(def)), []any{int64(1), int64(1), int64(1), "a"})
	w.exec("DROP FOREIGN TABLE deals")
	require.NoError(t, w.d.Clean(context.Background()))
	require.Equal(t, "0 0 0", w.one(`SELECT count(*), (SELECT count(*) FROM hallway.cache_regions),
		(SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace) FROM hallway.cache_tables`))
	_, err := w.d.Table(context.Background(), def)
	if err == nil {
		// It is remembered until it is used.
		_, err = fill(table, region(t, def, everyColumn(def)), nil, 0)
	}
	require.True(t, errors.Is(err, cache.ErrGone) || errors.Is(err, cache.ErrShape), "%v", err)
	_, err = w.d.Table(context.Background(), def)
	require.ErrorIs(t, err, cache.ErrShape)
}

// A dump takes cache tables along; where it is restored nobody knows them.
func TestClean_DropsWhatADumpBrought(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	all := region(t, def, everyColumn(def))
	w.mustFill(table, def, all, []any{int64(1), int64(1), int64(1), "old"})
	bin, err := harness.BinDir()
	require.NoError(t, err)
	dsn := func(db *harness.Database) string { return db.Cluster.DSN(db.Name, "postgres") }
	dump, err := exec.Command(filepath.Join(bin, "pg_dump"), "-n", "hallway_cache", "-d", dsn(w.db)).Output()
	require.NoError(t, err)
	require.Contains(t, string(dump), table.Name()[1])

	to := newWorld(t, cache.Config{})
	to.exec("DROP SCHEMA hallway_cache")
	restore := exec.Command(filepath.Join(bin, "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn(to.db))
	restore.Stdin = strings.NewReader(string(dump))
	out, err := restore.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "1", to.one("SELECT count(*) FROM %s", table.Name().Sanitize()), "restored with its rows")
	to.exec("CREATE TABLE hallway_cache.of_the_dba (x int)")
	def = to.define("deals", deals, 0)
	fresh, err := to.d.Table(context.Background(), def)
	if pgCode(err) == "42P07" {
		// The same name: housekeeping first.
		require.NoError(t, to.d.Clean(context.Background()))
		fresh, err = to.d.Table(context.Background(), def)
	}
	require.NoError(t, err)
	require.NoError(t, to.d.Clean(context.Background()))
	require.Equal(t, []string{fresh.Name()[1], "of_the_dba"}, to.all("SELECT relname FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r' ORDER BY relname"))
	require.Equal(t, "0", to.one("SELECT count(*) FROM %s", fresh.Name().Sanitize()))
}

// Whatever a lock is held on, nothing waits for it for long, and nothing is left
// half done.
func TestLocks_OfOthersStopNothing(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	all := region(t, def, everyColumn(def))
	row := []any{int64(1), int64(1), int64(1), "a"}
	w.mustFill(table, def, all, row)
	ctx := context.Background()
	other := w.session("postgres")
	for _, lock := range []string{
		"LOCK TABLE " + table.Name().Sanitize(),
		"LOCK TABLE " + table.Name().Sanitize() + " IN SHARE MODE",
		"SELECT FROM hallway.cache_tables FOR UPDATE",
		"LOCK TABLE hallway.cache_regions",
		"UPDATE " + table.Name().Sanitize() + " SET amount = 99 WHERE id = 1",
	} {
		_, err := other.Exec(ctx, "BEGIN; "+lock)
		require.NoError(t, err)
		began := time.Now()
		_, err = fill(table, all, tuples(t, def, all.Columns, []any{int64(1), int64(2), int64(2), "b"}), 1)
		require.True(t, cache.IsLocked(err), "%s: fill: %v", lock, err)
		if !strings.Contains(lock, "cache_regions") {
			err = table.Apply(ctx, []cache.Write{{Key: []string{"1"}, Columns: all.Columns, Tuple: tuples(t, def, all.Columns, []any{int64(1), int64(2), int64(2), "b"})}})
			require.True(t, cache.IsLocked(err), "%s: apply: %v", lock, err)
		}
		require.Less(t, time.Since(began), 30*time.Second, lock)
		_, err = other.Exec(ctx, "ROLLBACK")
		require.NoError(t, err)
		require.Equal(t, "1 1 1 a", w.one("SELECT * FROM %s", table.Name().Sanitize()))
	}
	require.Equal(t, "+0 ~0 -0", w.mustFill(table, def, all, row))
}

// A sidecar that is gone at any moment leaves regions whose rows are all there.
func TestFill_EndedAnywhereLeavesNoRegionWithoutItsRows(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	cols := everyColumn(def)
	all := region(t, def, cols)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(3, 3))
	pad := strings.Repeat("k", 30)
	ended := 0
	// The rows of ten rounds, which come again: making them takes longer than the rest.
	var wires [10][]byte
	for round := range 60 {
		if down := (*database.UnreachableError)(nil); errors.As(w.d.Connection().Err(), &down) {
			time.Sleep(time.Until(down.Until)) // it was ended while it connected
		}
		table, err := w.d.Table(ctx, def)
		if err != nil {
			ended++
			continue
		}
		n := []int{3, 30000}[round%2]
		wire := &wires[round%len(wires)]
		if *wire == nil {
			var list [][]any
			for i := range n {
				list = append(list, []any{int64(i), int64(round), int64(i), pad})
			}
			*wire = tuples(t, def, cols, list...)
		}
		kill := time.AfterFunc(time.Duration(r.IntN(1+n/250))*time.Millisecond, func() {
			conn, err := pgx.Connect(ctx, w.db.Cluster.DSN(w.db.Name, "postgres"))
			if err == nil {
				_, _ = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hallway sidecar' AND datname = current_database()")
				_ = conn.Close(ctx)
			}
		})
		if _, err := fill(table, all, *wire, n); err != nil {
			ended++
		}
		kill.Stop()
		for _, state := range w.all(`SELECT r.rows, (SELECT count(*) FROM %[1]s), (SELECT count(DISTINCT stage) FROM %[1]s) FROM hallway.cache_regions r WHERE cache_id = %[2]d`, table.Name().Sanitize(), table.ID()) {
			var rows, there, rounds int
			_, err := fmt.Sscan(state, &rows, &there, &rounds)
			require.NoError(t, err)
			require.Equal(t, rows, there)
			require.Equal(t, 1, rounds, "of one fill alone")
		}
		if round%7 == 0 {
			w.exec("DELETE FROM hallway.cache_regions; TRUNCATE %s", table.Name().Sanitize())
		}
	}
	t.Logf("%d of 60 fills were ended", ended)
	require.Greater(t, ended, 3)
	require.Less(t, ended, 60)
}

func TestClean_MakesRoom(t *testing.T) {
	w := newWorld(t, cache.Config{MaxBytes: 2 << 20})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	some := func(s int) (list [][]any) {
		for i := range 3000 {
			list = append(list, []any{int64(s*10000 + i), int64(s), int64(i), strings.Repeat("p", 50)})
		}
		return list
	}
	for s := range 8 {
		w.mustFill(table, def, region(t, def, cols, eq(1, int4Type, int64(s))), some(s)...)
		w.exec("UPDATE hallway.cache_regions SET last_used = now() - interval '1 h' * %d WHERE condition LIKE '%%(''%d''%%'", 8-s, s)
	}
	require.NoError(t, w.d.Touch(context.Background(), []cache.Use{{CacheID: table.ID(), Hash: region(t, def, cols, eq(1, int4Type, int64(0))).Hash}}))
	require.NoError(t, w.d.Clean(context.Background()))
	left := w.regions(table)
	require.Contains(t, left, `("stage" = ('0'::int4)){1,2,3,4}`, "it was read just now")
	require.NotContains(t, left, `("stage" = ('1'::int4)){1,2,3,4}`)
	require.Less(t, len(left), 8)
	require.Equal(t, fmt.Sprint(len(left)*3000), w.one("SELECT count(*) FROM %s", table.Name().Sanitize()), "rows go with their regions")
	size := func() string {
		return w.one("SELECT sum(pg_total_relation_size(cache_relid)) FROM hallway.cache_tables")
	}
	before := size()
	t.Logf("%d regions left, in %s bytes", len(left), before)
	for range 10 {
		require.NoError(t, w.d.Clean(context.Background()))
	}
	require.Equal(t, left, w.regions(table), "holes in files are no reason to forget more")
	for s := 11; s < 11+len(left); s++ {
		w.mustFill(table, def, region(t, def, cols, eq(1, int4Type, int64(s))), some(s)...)
		require.NoError(t, w.d.Clean(context.Background()))
	}
	require.LessOrEqual(t, len(w.regions(table)), len(left))
	require.Equal(t, "t", w.one("SELECT %s <= %s", size(), before), "new rows take the room of old ones")

	// Files that are far too large shrink nevertheless.
	for s := 21; s < 31; s++ {
		w.mustFill(table, def, region(t, def, cols, eq(1, int4Type, int64(s))), some(s)...)
	}
	require.Equal(t, "t", w.one("SELECT %s > %d", size(), 4<<20))
	for range 10 {
		require.NoError(t, w.d.Clean(context.Background()))
	}
	require.Equal(t, "t", w.one("SELECT %s <= %d", size(), 4<<20))

	// Nobody has read them for long.
	w.exec("UPDATE hallway.cache_regions SET last_used = now() - interval '25 h'")
	require.NoError(t, w.d.Clean(context.Background()))
	require.Empty(t, w.regions(table))
	require.Equal(t, "0", w.one("SELECT pg_relation_size('%s')", table.Name().Sanitize()))
	w.exec("UPDATE hallway.cache_tables SET last_used = now() - interval '8 days'")
	require.NoError(t, w.d.Clean(context.Background()))
	require.Equal(t, "0", w.one("SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace"))
}

func TestInvalidateAndForget(t *testing.T) {
	w := newWorld(t, cache.Config{})
	ctx := context.Background()
	def := w.define("deals", deals, 0)
	theirs := def
	theirs.Account = []byte("theirs")
	otherDef := w.define("others", deals, 0)
	mine, other, another := w.table(def), w.table(theirs), w.table(otherDef)
	cols := everyColumn(def)
	one, two := region(t, def, cols, eq(1, int4Type, int64(1))), region(t, def, cols, eq(1, int4Type, int64(2)))
	refill := func() {
		for _, x := range []*cache.Table{mine, other, another} {
			w.mustFill(x, def, one, []any{int64(1), int64(1), int64(1), "a"})
			w.mustFill(x, def, two, []any{int64(2), int64(2), int64(2), "b"})
		}
	}
	count := func() string {
		return fmt.Sprint(len(w.regions(mine)), len(w.regions(other)), len(w.regions(another)))
	}
	refill()
	require.NoError(t, w.d.InvalidateObject(ctx, def.ServerOID, "deals", mine.ID()))
	require.Equal(t, "2 0 2", count())
	refill()
	require.NoError(t, w.d.InvalidateObject(ctx, def.ServerOID, "", mine.ID()))
	require.Equal(t, "2 0 0", count())
	refill()
	require.NoError(t, w.d.InvalidateTable(ctx, def.Relid))
	require.Equal(t, "0 0 2", count())
	refill()
	require.NoError(t, mine.Invalidate(ctx))
	require.Equal(t, "0 2 2", count())

	// A fill that began before is not kept.
	f, err := mine.Begin(ctx, one, time.Now())
	require.NoError(t, err)
	require.NoError(t, mine.Invalidate(ctx))
	_, err = f.Commit(ctx)
	require.ErrorIs(t, err, cache.ErrOvertaken)

	refill()
	f, err = mine.Begin(ctx, region(t, def, cols), time.Now())
	require.NoError(t, err)
	n, err := w.d.Forget(ctx, def.Relid, []string{"1"})
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, "1 1 2", count(), "the regions that had it")
	require.Equal(t, "2", w.one("SELECT string_agg(id::text, ' ') FROM %s", mine.Name().Sanitize()))
	_, err = f.Commit(ctx)
	require.ErrorIs(t, err, cache.ErrOvertaken)
	_, err = w.d.Forget(ctx, def.Relid, []string{"1", "2"})
	require.Error(t, err)

	// Rows of no region go.
	require.NoError(t, mine.Invalidate(ctx))
	require.NoError(t, w.d.Clean(ctx))
	require.Equal(t, "0 1", w.one("SELECT (SELECT count(*) FROM %s), (SELECT count(*) FROM %s)", mine.Name().Sanitize(), other.Name().Sanitize()))
}

func TestBegin_OneFillARegion(t *testing.T) {
	w := newWorld(t, cache.Config{Fills: 1})
	_, _, second := w.sidecar(cache.Config{})
	ctx := context.Background()
	def := w.define("deals", deals, 0)
	here := w.table(def)
	there, err := second.Table(ctx, def)
	require.NoError(t, err)
	cols := everyColumn(def)
	one, two := region(t, def, cols, eq(1, int4Type, int64(1))), region(t, def, cols, eq(1, int4Type, int64(2)))
	f, err := here.Begin(ctx, one, time.Now())
	require.NoError(t, err)
	for _, x := range []*cache.Table{here, there} {
		_, err = x.Begin(ctx, one, time.Now())
		require.ErrorIs(t, err, cache.ErrBusy)
		g, err := x.Begin(ctx, two, time.Now())
		require.NoError(t, err)
		g.Abort()
	}
	found, err := there.Read(ctx, one, cols, time.Minute, nil)
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, f.Write(tuples(t, def, cols, []any{int64(1), int64(1), int64(1), "a"}), 1))
	_, err = f.Commit(ctx)
	require.NoError(t, err)
	var got []byte
	found, err = there.Read(ctx, one, []int{3, 0}, time.Minute, func(b []byte, n int) error { got = append(got, b...); return nil })
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, tuples(t, def, []int{3, 0}, []any{"a", int64(1)}), got)
	time.Sleep(20 * time.Millisecond)
	found, err = there.Read(ctx, one, cols, 10*time.Millisecond, nil)
	require.NoError(t, err)
	require.False(t, found, "too old")
	stop := errors.New("stop")
	_, err = there.Read(ctx, one, cols, 0, func([]byte, int) error { return stop })
	require.ErrorIs(t, err, stop)
	g, err := there.Begin(ctx, one, time.Now())
	require.NoError(t, err, "the lock was given back")
	g.Abort()

	// Past what may write at a time: not kept, and at once.
	big := tuples(t, def, cols, []any{int64(1), int64(1), int64(1), strings.Repeat("z", 2<<20)})
	f, err = here.Begin(ctx, one, time.Now())
	require.NoError(t, err)
	require.NoError(t, f.Write(big, 1))
	g, err = here.Begin(ctx, two, time.Now())
	require.NoError(t, err)
	require.ErrorIs(t, g.Write(big, 1), cache.ErrFull)
	g.Abort()
	f.Abort()
}

// Whoever finds a region taken sees what is fetched for it, since when, and whether
// the one who fetches lives.
func TestFilling_IsSeenByOthers(t *testing.T) {
	w := newWorld(t, cache.Config{})
	dbs, m, second := w.sidecar(cache.Config{})
	ctx := context.Background()
	def := w.define("deals", deals, 0)
	here := w.table(def)
	there, err := second.Table(ctx, def)
	require.NoError(t, err)
	one := region(t, def, everyColumn(def), eq(1, int4Type, int64(1)))
	turned, narrow := one, one
	turned.Columns, narrow.Columns = []int{3, 2, 1, 0}, []int{0, 1}
	seen := func(x *cache.Table, r cache.Region) (cache.Filling, bool) {
		t.Helper()
		f, found, err := x.Filling(ctx, r)
		require.NoError(t, err)
		return f, found
	}
	_, found := seen(here, one)
	require.False(t, found)

	f, err := there.Begin(ctx, one, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	a, found := seen(here, one)
	require.True(t, found)
	require.InDelta(t, time.Hour, a.Age, float64(time.Minute))
	require.GreaterOrEqual(t, a.Quiet, time.Duration(0))
	b, found := seen(there, turned)
	require.True(t, found, "the same columns")
	require.Equal(t, a.ID, b.ID)
	_, found = seen(here, narrow)
	require.False(t, found, "other columns")
	// It shows that it lives, as long as it fills something.
	const said = "SELECT max(state_change) FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2)"
	for range 2 {
		last := w.one(said)
		require.Eventually(t, func() bool { return w.one(said) != last }, 30*time.Second, 20*time.Millisecond)
	}

	// Others may fill the region too; what comes last counts.
	f.Yield()
	_, found = seen(here, one)
	require.False(t, found)
	w.mustFill(here, def, one, []any{int64(1), int64(1), int64(1), "a"})
	f.Abort()
	f.Yield()

	// One that is gone holds nothing.
	f, err = there.Begin(ctx, one, time.Now())
	require.NoError(t, err)
	c, found := seen(here, one)
	require.True(t, found)
	require.NotEqual(t, a.ID, c.ID)
	w.exec("SELECT pg_terminate_backend(%d)", c.ID>>32)
	require.Eventually(t, func() bool { _, found := seen(here, one); return !found }, 30*time.Second, 20*time.Millisecond)
	f.Abort()
	m.Close()
	dbs.Close()
}

func TestManager_LeavesNothingRunning(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	w := &world{t: t, db: env.Database(t)}
	admin, err := pgx.Connect(context.Background(), w.db.Cluster.DSN(w.db.Name, "postgres"))
	require.NoError(t, err)
	w.admin = admin
	w.exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic')`)
	id, at := whereIs(t, w.db, w.admin)
	dbs := database.NewManager(database.Config{ConnectTimeout: harness.Timeout})
	m := cache.Open(cache.Config{Housekeeping: 10 * time.Millisecond}, dbs)
	w.d = m.Database(id, at)
	def := w.define("deals", deals, 0)
	table := w.table(def)
	f, err := table.Begin(context.Background(), region(t, def, everyColumn(def)), time.Now())
	require.NoError(t, err)
	require.NoError(t, f.Write(tuples(t, def, everyColumn(def), []any{int64(1), int64(1), int64(1), strings.Repeat("z", 2<<20)}), 1))
	f.Abort()
	time.Sleep(50 * time.Millisecond)
	m.Close()
	dbs.Close()
	require.NoError(t, admin.Close(context.Background()))
	goleak.VerifyNone(t, ignore)
}
