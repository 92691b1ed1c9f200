package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// The fuzzer is itself under test: on an honest copy it finds nothing, on
// copies with the defects that pushdown is prone to it finds each.
func TestFuzzer_FindsPlantedDefects(t *testing.T) {
	db := env.BareDatabase(t)
	conn := db.Connect(t)
	cols := wide()
	conn.Exec("%s", types)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, name := range []string{"a", "b"} {
		conn.Exec("CREATE TABLE %s (%s)", name, columnList(cols, false))
		conn.Exec("%s", insert(rng, name, cols, 100, 1))
	}
	view := func(name, output, where string) target {
		for _, from := range []string{"a", "b"} {
			conn.Exec("%s", fmt.Sprintf("CREATE VIEW %s_%s AS SELECT %s FROM %s WHERE %s", name, from, output, from, where))
		}
		return target{name: name, a: name + "_a", b: name + "_b"}
	}
	all := ""
	for i, c := range cols {
		if i > 0 {
			all += ", "
		}
		all += c.name
	}
	with := func(column, expr string) string {
		out := ""
		for i, c := range cols {
			if i > 0 {
				out += ", "
			}
			if c.name == column {
				out += expr + " AS " + column
			} else {
				out += c.name
			}
		}
		return out
	}
	for _, tc := range []struct {
		target  target
		defects bool
	}{
		{view("honest", all, "true"), false},
		{view("loses_a_row", all, "id <> 17"), true},
		{view("null_is_empty", with("t", "coalesce(t, '')"), "true"), true},
		{view("empty_is_null", with("tc", `nullif(tc, '')`), "true"), true},
		{view("ignores_case", with("vc", "lower(vc)::varchar(130)"), "true"), true},
		{view("loses_microseconds", with("ts", "date_trunc('second', ts)"), "true"), true},
		{view("rounds", with("i8", "i8::float8::numeric::int8"), "i8 < 9000000000000000000 OR i8 IS NULL"), true},
	} {
		t.Run(tc.target.name, func(t *testing.T) {
			f := &fuzzer{conn: conn.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 10 * time.Second}
			rng := rand.New(rand.NewPCG(7, 7))
			g := &gen{rng: rng, cols: cols}
			found := 0
			for range 300 {
				q, v := g.query(), randomVariant(rng, tc.target, f.local)
				diff, err := f.check(context.Background(), q, v)
				require.NoError(t, err)
				if diff == "" {
					continue
				}
				found++
				if !tc.defects {
					q, v, diff = f.shrink(context.Background(), q, v, diff)
					t.Errorf("%s: %s\n  %s", v, q.Render(v.tables, nil), diff)
					break
				}
				if found == 1 {
					small, v, diff := f.shrink(context.Background(), q, v, diff)
					require.NotEmpty(t, diff)
					t.Logf("%s: %s\n  %s", v, small.Render(v.tables, nil), diff)
				}
			}
			require.Equal(t, tc.defects, found > 0, "differences found: %d", found)
		})
	}
}

// What is generated must be SQL that PostgreSQL takes: an error everywhere
// would compare as equal and prove nothing.
func TestGenerator_MakesValidSQL(t *testing.T) {
	conn := env.BareDatabase(t).Connect(t)
	cols := wide()
	conn.Exec("%s", types)
	rng := rand.New(rand.NewPCG(3, 3))
	for _, name := range []string{"a", "b"} {
		conn.Exec("CREATE TABLE %s (%s)", name, columnList(cols, false))
		conn.Exec("%s", insert(rng, name, cols, 100, 1))
	}
	g := &gen{rng: rng, cols: cols}
	failed, empty := 0, 0
	const n = 1000
	for range n {
		sql := g.query().Render(map[string]string{"A": "a", "B": "b"}, nil)
		r, err := harness.Simple(context.Background(), conn.PgConn, sql)
		switch {
		case err != nil:
			failed++
			if s := harness.SQLState(err); s[:2] == "42" || failed < 4 {
				t.Logf("%s\n  %s", harness.Describe(err), sql)
			}
			require.NotEqual(t, "42", harness.SQLState(err)[:2], "%v in %s", err, sql)
		case len(r.Rows) == 0:
			empty++
		}
	}
	t.Logf("of %d queries %d fail and %d give no rows", n, failed, empty)
	require.Less(t, failed, n/50)
	require.Less(t, empty, n/2)
}
