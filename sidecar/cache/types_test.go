package cache_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Each type, by each way into the table and out of it.
func TestFill_TakesAllTypes(t *testing.T) {
	w := newWorld(t, cache.Config{})
	w.exec(`CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"'); CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'bad'); CREATE DOMAIN moods AS mood[];
		CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = true)`)
	def := w.define("everything", `"Id ""x""" text COLLATE "C", b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(10,2), vc varchar(5), ch char(3),
		d date, t time, ts timestamp, tz timestamptz, u uuid, j json, jb jsonb, by bytea, e mood, ea mood[], dm moods, ia int4[], ta text[], sh short,
		ip inet, iv interval, ips inet[], g int GENERATED ALWAYS AS (i4 + 1) STORED, "select" text COLLATE loose`, 0)
	table := w.table(def)
	cols := everyColumn(def)
	require.Len(t, cols, 29)
	list := func(x ...any) []pushdown.Value {
		var vs []pushdown.Value
		for _, v := range x {
			vs = append(vs, pushdown.Value{V: v})
		}
		return vs
	}
	row := func(id, pad string) []any {
		return []any{id, true, int64(-2), int64(4), int64(8), 0.5, 1e300, "123456789012345678901234567890.5", "1.50", "äöü", "a  ",
			int64(8825), int64(3600000000), int64(762516672500000), int64(762516672500000), "0a000000-0000-0000-0000-000000000000", `{"a":  1}`, `{"a": 1}`, []byte{0, 255},
			`it's "ok"`, list("sad", nil), list("sad"), list(int64(1), nil), list("a,b", ""), "short",
			"10.0.0.1/8", "1 day 02:00:00", list("10.0.0.1/24", nil), pad}
	}
	nulls := make([]any, len(cols))
	nulls[0] = "nulls"
	want := "x t -2 4 8 0.5 1e+300 123456789012345678901234567890.5 1.50 äöü a   2024-02-29 01:00:00 2024-02-29 10:11:12.5 2024-02-29 10:11:12.5+00 " +
		`0a000000-0000-0000-0000-000000000000 {"a":  1} {"a": 1} \x00ff it's "ok" {sad,NULL} {sad} {1,NULL} {"a,b",""} short 10.0.0.1/8 1 day 02:00:00 {10.0.0.1/24,NULL} NULL `
	all := region(t, def, cols)
	for _, pad := range []string{"", strings.Repeat("p", 3<<20)} {
		wire := tuples(t, def, cols, row("x", pad), nulls)
		r, err := fill(table, all, wire, 2)
		require.NoError(t, err)
		require.EqualValues(t, 2, r.Rows)
		require.Equal(t, want+pad, w.one(`SELECT * FROM %s WHERE "Id ""x""" = 'x'`, table.Name().Sanitize()))
		require.Equal(t, "0", w.one(`SELECT num_nonnulls(t.*) - 1 FROM %s t WHERE "Id ""x""" = 'nulls'`, table.Name().Sanitize()))

		// Again: not a value differs from itself.
		r, err = fill(table, all, wire, 2)
		require.NoError(t, err)
		require.Equal(t, cache.Result{Rows: 2}, r)

		var read []byte
		n := 0
		found, err := table.Read(context.Background(), all, cols, time.Minute, func(b []byte, rows int) error {
			read = append(read, b...)
			n += rows
			return nil
		})
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 2, n)
		swapped := tuples(t, def, cols, nulls, row("x", pad))
		require.True(t, bytes.Equal(wire, read) || bytes.Equal(swapped, read), "what comes out is what went in")
	}

	// Writes by the same ways; an array of text for an input function has none, so
	// that the row is fetched again.
	require.NoError(t, table.Apply(context.Background(), []cache.Write{{Key: []string{"x"}, Columns: []int{0, 25, 20}, Tuple: tuples(t, def, []int{0, 25, 20}, []any{"x", "::1", list("sad", "sad")})}}))
	require.Equal(t, "::1 {sad,sad} äöü", w.one(`SELECT ip, ea, vc FROM %s WHERE "Id ""x""" = 'x'`, table.Name().Sanitize()))
	require.Len(t, w.regions(table), 1)
	require.NoError(t, table.Apply(context.Background(), []cache.Write{{Key: []string{"x"}, Columns: cols, Tuple: tuples(t, def, cols, row("x", ""))}}))
	require.Empty(t, w.regions(table))
	require.Equal(t, "1", w.one(`SELECT count(*) FROM %s`, table.Name().Sanitize()))

	// What the domain or the type refuses is not kept.
	bad := row("x", "")
	bad[24] = "bad"
	_, err := fill(table, all, tuples(t, def, cols, bad), 1)
	require.Equal(t, "23514", pgCode(err), "%v", err)
	bad[24], bad[25] = "good", "300.1.1.1"
	_, err = fill(table, all, tuples(t, def, cols, bad), 1)
	require.Equal(t, "22P02", pgCode(err), "%v", err)
}

func TestFill_RefusesRegionsThatItCannotKeep(t *testing.T) {
	w := newWorld(t, cache.Config{})
	def := w.define("deals", deals+", g int GENERATED ALWAYS AS (1) STORED", 0)
	table := w.table(def)
	for name, r := range map[string]cache.Region{
		"without the key":                      {Columns: []int{1, 2}},
		"without a column of the condition":    {Columns: []int{0, 2}, Conjuncts: []pushdown.Expr{eq(1, int4Type, int64(1))}},
		"with a column twice":                  {Columns: []int{0, 1, 1}},
		"with a column that is not there":      {Columns: []int{0, 9}},
		"with a generated column":              {Columns: []int{0, 4}},
		"with a parameter that is not known":   {Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: 1}, Right: &pushdown.Param{Type: int4Type}}}},
		"with a literal of a type not our own": {Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{eq(1, pushdown.Type{Kind: pushdown.Other}, "x")}},
	} {
		_, err := table.Begin(context.Background(), r, time.Now())
		require.Error(t, err, name)
	}
}
