package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestApply_ShowsWhatTheAPIAnswered(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	table := w.table(def)
	cols := everyColumn(def)
	all := region(t, def, cols)
	first := region(t, def, cols, eq(1, int4Type, int64(1)))
	key := region(t, def, cols, eq(0, int8Type, int64(9)))
	ctx := context.Background()
	content := func() []string { return w.all("SELECT * FROM %s ORDER BY id", table.Name().Sanitize()) }
	refill := func() {
		w.mustFill(table, def, all, []any{int64(1), int64(1), int64(10), "a"}, []any{int64(2), int64(2), int64(20), "b"})
		w.mustFill(table, def, first, []any{int64(1), int64(1), int64(10), "a"})
		w.mustFill(table, def, key)
	}
	apply := func(list ...cache.Write) {
		t.Helper()
		require.NoError(t, table.Apply(ctx, list))
	}
	write := func(k []string, columns []int, values ...any) cache.Write {
		return cache.Write{Key: k, Columns: columns, Tuple: tuples(t, def, columns, values)}
	}

	refill()
	before := w.all("SELECT ctid, xmin FROM %s WHERE id = 1", table.Name().Sanitize())
	apply(write([]string{"1"}, cols, int64(1), int64(1), int64(10), "a"))
	require.Equal(t, before, w.all("SELECT ctid, xmin FROM %s WHERE id = 1", table.Name().Sanitize()), "what is the same is not written")
	apply(
		write(nil, cols, int64(3), int64(3), nil, "new"),
		write([]string{"1"}, []int{3, 0}, "of two columns", int64(1)),
		cache.Write{Key: []string{"2"}, Deleted: true},
		write([]string{"3"}, cols, int64(3), int64(1), nil, "again"),
		write([]string{"1"}, []int{0, 2}, int64(1), int64(11)),
	)
	require.Equal(t, []string{"1 1 11 of two columns", "3 1 NULL again"}, content())
	require.Len(t, w.regions(table), 3)

	// A key that was written itself.
	apply(write([]string{"3"}, cols, int64(4), int64(1), nil, "moved"))
	require.Equal(t, []string{"1 1 11 of two columns", "4 1 NULL moved"}, content())
	require.Len(t, w.regions(table), 3)

	// A new row of which two columns are known: only a region that it is sure not
	// to be in stays.
	apply(write(nil, []int{0, 3}, int64(5), "who knows"))
	require.Equal(t, []string{`("id" = ('9'::int8)){1,2,3,4}`}, w.regions(table))
	refill()
	apply(write(nil, []int{0, 1}, int64(5), int64(7)))
	require.Equal(t, []string{`("id" = ('9'::int8)){1,2,3,4}`, `("stage" = ('1'::int4)){1,2,3,4}`}, w.regions(table))

	// One of which nothing is known.
	refill()
	apply(cache.Write{Key: []string{"1"}})
	require.Equal(t, []string{`("id" = ('9'::int8)){1,2,3,4}`}, w.regions(table))
	refill()
	apply(cache.Write{})
	require.Empty(t, w.regions(table))

	for name, bad := range map[string]cache.Write{
		"deleted without a key": {Deleted: true},
		"a key of two":          {Key: []string{"1", "2"}, Deleted: true},
		"without the key":       {Columns: []int{1}, Tuple: tuples(t, def, []int{1}, []any{int64(1)})},
		"not a tuple":           {Columns: cols, Tuple: []byte{0, 4, 0}},
		"a key that is none":    {Key: []string{"x"}, Deleted: true},
	} {
		require.Error(t, table.Apply(ctx, []cache.Write{bad}), name)
	}
	require.NoError(t, table.Apply(ctx, nil))

	// Many at once.
	var many []cache.Write
	for i := range 2500 {
		many = append(many, write(nil, cols, int64(100+i), int64(1), nil, "bulk"))
	}
	apply(many...)
	require.Equal(t, "2500", w.one("SELECT count(*) FROM %s WHERE name = 'bulk'", table.Name().Sanitize()))
}

func TestReplica_MergesAndKeepsNewerWrites(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals+", g int GENERATED ALWAYS AS (1) STORED", 0)
	def.Replica = true
	table := w.table(def)
	ctx := context.Background()
	require.Equal(t, "p true", w.one("SELECT relpersistence, (SELECT replica::text FROM hallway.cache_tables) FROM pg_class WHERE oid = '%s'::regclass", table.Name().Sanitize()))
	_, err := table.Begin(ctx, region(t, def, []int{0}), time.Now())
	require.Error(t, err, "replicas have no regions")
	stage := func(whole bool, since time.Time, values string) cache.Result {
		t.Helper()
		var r cache.Result
		require.NoError(t, w.d.Connection().InTx(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE staged (id int8 PRIMARY KEY, stage int4, amount int4, name text) ON COMMIT DROP; INSERT INTO staged VALUES "+values)
			require.NoError(t, err)
			r, err = table.MergeStaged(ctx, tx, pgx.Identifier{"pg_temp", "staged"}, whole, since)
			return err
		}))
		return r
	}
	content := func() []string {
		return w.all("SELECT id, stage, amount, name FROM %s ORDER BY id", table.Name().Sanitize())
	}
	began := w.d.Connection().Now()
	require.Equal(t, cache.Result{Rows: 3, Inserted: 3}, stage(true, began, "(1, 1, 1, 'a'), (2, 2, 2, 'b'), (3, 3, 3, 'c')"))
	require.Equal(t, cache.Result{Rows: 3}, stage(true, began, "(1, 1, 1, 'a'), (2, 2, 2, 'b'), (3, 3, 3, 'c')"))
	require.Equal(t, cache.Result{Rows: 1, Updated: 1}, stage(false, began, "(2, 2, 2, 'B')"))

	began = w.d.Connection().Now()
	cols := everyColumn(def)
	require.NoError(t, table.Apply(ctx, []cache.Write{
		{Key: []string{"1"}, Columns: cols, Tuple: tuples(t, def, cols, []any{int64(1), int64(1), int64(1), "written"})},
		{Key: []string{"2"}, Columns: []int{0, 3}, Tuple: tuples(t, def, []int{0, 3}, []any{int64(2), "written"})},
		{Key: []string{"3"}, Deleted: true},
		{Columns: cols, Tuple: tuples(t, def, cols, []any{int64(4), nil, nil, "new"})},
		{Columns: []int{0}, Tuple: tuples(t, def, []int{0}, []any{int64(5)})},
		{Key: []string{"1"}},
	}))
	want := []string{"1 1 1 written", "2 2 2 written", "4 NULL NULL new"}
	require.Equal(t, want, content(), "a row of which not all is known comes with the next run")
	require.Equal(t, cache.Result{Rows: 3}, stage(true, began, "(1, 1, 1, 'a'), (2, 2, 2, 'b'), (3, 3, 3, 'c')"), "it was fetched before")
	require.Equal(t, want, content())
	began = w.d.Connection().Now().Add(time.Millisecond)
	time.Sleep(2 * time.Millisecond)
	require.Equal(t, cache.Result{Rows: 3, Updated: 2, Inserted: 1, Deleted: 1}, stage(true, began, "(1, 1, 1, 'a'), (2, 2, 2, 'b'), (3, 3, 3, 'c')"))

	require.NoError(t, w.d.Connection().InTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE gone (id int8) ON COMMIT DROP; INSERT INTO gone VALUES (1), (7)")
		require.NoError(t, err)
		n, err := table.DeleteStaged(ctx, tx, pgx.Identifier{"pg_temp", "gone"}, began)
		require.EqualValues(t, 1, n)
		return err
	}))
	require.Equal(t, []string{"2 2 2 b", "3 3 3 c"}, content())
	require.NoError(t, w.d.Clean(ctx))
	require.Equal(t, []string{"2 2 2 b", "3 3 3 c"}, content(), "housekeeping leaves replicas alone")
}

func TestStandby_KeepsNothing(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals, 0)
	w.table(def)
	standby, err := env.Cluster.Standby()
	require.NoError(t, err)
	at := w.at
	at.SocketDirectory, at.Port = standby.SocketDir, uint32(standby.Port)
	dbs := database.NewManager(database.Config{ConnectTimeout: harness.Timeout})
	m := cache.Open(cache.Config{Housekeeping: -1}, dbs)
	defer dbs.Close()
	defer m.Close()
	d := m.Database(w.id, at)
	ctx := context.Background()
	for range 2 {
		_, err = d.Table(ctx, def)
		require.ErrorIs(t, err, cache.ErrStandby)
	}
	require.True(t, d.Connection().Standby())
	require.NoError(t, d.Clean(ctx))
	require.ErrorIs(t, d.InvalidateTable(ctx, def.Relid), cache.ErrStandby)
}

// Dropping the foreign table takes the cache table along at once, whoever does it.
func TestTable_GoesWithTheForeignTable(t *testing.T) {
	w := newWorld(t, cache.Config{})
	if w.one("SELECT to_regprocedure('hallway.cache_attach(regclass,oid)')") == "NULL" {
		t.Skip("this extension has no hallway.cache_attach(); housekeeping drops the table then")
	}
	w.exec("CREATE ROLE owner_%[1]s LOGIN; GRANT ALL ON SCHEMA public TO owner_%[1]s; GRANT USAGE ON FOREIGN SERVER syn TO owner_%[1]s", w.db.Name)
	defer w.exec("DROP OWNED BY owner_%[1]s; DROP ROLE owner_%[1]s", w.db.Name)
	def := w.define("deals", deals, 0)
	w.exec("ALTER FOREIGN TABLE deals OWNER TO owner_%s", w.db.Name)
	table := w.table(def)
	_, err := w.session("owner_"+w.db.Name).Exec(context.Background(), "DROP FOREIGN TABLE deals")
	require.NoError(t, err)
	require.Equal(t, "0", w.one("SELECT count(*) FROM pg_class WHERE relname = '%s'", table.Name()[1]))
	_, err = fill(table, region(t, def, everyColumn(def)), nil, 0)
	require.ErrorIs(t, err, cache.ErrGone)
	require.NoError(t, w.d.Clean(context.Background()))
	require.Equal(t, "0", w.one("SELECT count(*) FROM hallway.cache_tables"))
}
