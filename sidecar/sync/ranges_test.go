package sync

// Comparing keys, against a comparison in memory.

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// listing is an API that lists rows as they stand here, in pages of any size.
type listing struct {
	connectors.Table
	rows       [][]pushdown.Value
	pages      *rand.Rand // nil: of a row each
	keyOrdered bool
	scans      int
}

func (l *listing) Describe() connectors.Description {
	return connectors.Description{Key: []int{0}, KeyOrdered: l.keyOrdered}
}

func (l *listing) Scan(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	l.scans++
	for _, row := range l.rows {
		for _, c := range q.Columns {
			out.Value(row[c])
		}
		if err := out.EndRow(); err != nil {
			return connectors.ScanResult{}, err
		}
		if l.pages == nil || l.pages.IntN(8) == 0 {
			if err := out.Flush(); err != nil {
				return connectors.ScanResult{}, err
			}
		}
	}
	return connectors.ScanResult{}, nil
}

// namedTable is a cache table of which only the name matters.
type namedTable struct {
	CacheTable
	name pgx.Identifier
}

func (t namedTable) Name() pgx.Identifier { return t.name }

// keyShape is a kind of key: its columns' types, and what SQL calls them.
type keyShape struct {
	name, ddl string
	types     []pushdown.Type
	ranged    bool
}

func keyShapes() []keyShape {
	bigint := pushdown.Type{Kind: pushdown.Int8, OID: 20, Name: "bigint"}
	integer := pushdown.Type{Kind: pushdown.Int4, OID: 23, Name: "integer"}
	text := pushdown.Type{Kind: pushdown.Text, OID: 25, Name: "text"}
	decimal := pushdown.Type{Kind: pushdown.Numeric, OID: 1700, Name: "numeric"}
	return []keyShape{
		{"bigint", `k0 bigint`, []pushdown.Type{bigint}, true},
		{"text by bytes", `k0 text COLLATE "C"`, []pushdown.Type{text}, true},
		{"text in another order", `k0 text COLLATE "und-x-icu"`, []pushdown.Type{text}, false},
		{"numeric", `k0 numeric`, []pushdown.Type{decimal}, false},
		{"of two columns", `k0 text COLLATE "C", k1 integer`, []pushdown.Type{text, integer}, true},
	}
}

// someKey is one of few, so that two sets share many.
func (s keyShape) someKey(r *rand.Rand) []pushdown.Value {
	var key []pushdown.Value
	for _, t := range s.types {
		n := r.IntN(80) - 40
		switch t.Kind {
		case pushdown.Text:
			alphabet := []string{"a", "B", "b", "é", "Z", "ß", "-", "\U0001f600"}
			text := ""
			for range r.IntN(3) {
				text += alphabet[r.IntN(len(alphabet))]
			}
			key = append(key, pushdown.Value{V: text})
		case pushdown.Numeric:
			key = append(key, pushdown.Value{V: strconv.Itoa(n)})
		default:
			key = append(key, pushdown.Value{V: int64(n)})
		}
	}
	return key
}

func less(a, b []pushdown.Value) int {
	for i := range a {
		var c int
		switch x := a[i].V.(type) {
		case int64:
			c = int(x - b[i].V.(int64))
		case string:
			c = strings.Compare(x, b[i].V.(string))
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (s keyShape) sql(key []pushdown.Value) string {
	parts := make([]string, len(key))
	for i, v := range key {
		parts[i] = fmt.Sprint("'", v.V, "'")
	}
	return strings.Join(parts, ", ")
}

// Whatever the API has and in which order it lists it, the differences are found,
// and no key that it has is taken for gone.
func TestComparison(t *testing.T) {
	r := newRoom(t, newFake(3))
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	r.stop()
	dbs := database.NewManager(database.Config{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(dbs.Close)
	db := dbs.Database(r.id, r.at)
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Release)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	compared := func(shape keyShape, api *listing) (*replica, *comparison) {
		t.Helper()
		run := &replica{n: &node{log: slog.New(slog.DiscardHandler)}, conn: conn, db: db, relid: r.relid, cache: namedTable{name: pgx.Identifier{"public", "copied"}},
			change: &change{column: len(shape.types)}}
		run.t = &table{Table: api}
		for i, typ := range append(slices.Clone(shape.types), pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"}) {
			run.t.Definition.Columns = append(run.t.Definition.Columns, cache.Column{Name: fmt.Sprint("k", i), Type: typ})
			run.fetch = append(run.fetch, i)
			if i < len(shape.types) {
				run.t.Definition.Key = append(run.t.Definition.Key, i)
			}
		}
		require.NoError(t, run.describeStaging(t.Context()))
		run.dropStaging(t.Context())
		k, err := run.newComparison(t.Context(), run.fetch)
		require.NoError(t, err)
		require.NoError(t, k.read(t.Context()))
		return run, k
	}
	orders := []string{"ascending", "broken late", "any", "twice"}
	keptLate := 0
	for n := range 200 {
		shape := keyShapes()[n%len(keyShapes())]
		order := orders[random.IntN(len(orders))]
		api := &listing{pages: random, keyOrdered: random.IntN(2) == 0}
		has, told, again := map[string]string{}, map[string]string{}, map[string]bool{}
		row := func(key []pushdown.Value) []pushdown.Value {
			changed := pushdown.Value{}
			if m := random.IntN(5); m > 0 {
				changed.V = int64(m) * 1_000_000
			}
			return append(slices.Clone(key), changed)
		}
		as := func(row []pushdown.Value) (key, changed string) {
			return shape.sql(row[:len(row)-1]), fmt.Sprint(row[len(row)-1].V)
		}
		ddl := fmt.Sprintf(`DROP TABLE IF EXISTS public.copied; CREATE TABLE public.copied (%s, changed timestamptz, PRIMARY KEY (%s)); GRANT ALL ON public.copied TO hallway;`,
			shape.ddl, []string{"k0", "k0, k1"}[len(shape.types)-1])
		for range random.IntN(60) {
			one := row(shape.someKey(random))
			key, changed := as(one)
			if _, ok := has[key]; !ok {
				has[key] = changed
				when := "NULL"
				if v := one[len(one)-1].V; v != nil {
					when = fmt.Sprintf("timestamptz '2000-01-01 UTC' + interval '%d us'", v)
				}
				ddl += fmt.Sprintf(`INSERT INTO public.copied VALUES (%s, %s);`, key, when)
			}
			if random.IntN(5) > 0 {
				if random.IntN(4) == 0 {
					one = row(one[:len(one)-1])
				}
				api.rows = append(api.rows, one)
			}
		}
		r.c.Exec("%s", ddl)
		for range random.IntN(20) {
			api.rows = append(api.rows, row(shape.someKey(random)))
		}
		slices.SortStableFunc(api.rows, func(a, b []pushdown.Value) int { return less(a[:len(a)-1], b[:len(b)-1]) })
		if order != "twice" {
			api.rows = slices.CompactFunc(api.rows, func(a, b []pushdown.Value) bool { return less(a[:len(a)-1], b[:len(b)-1]) == 0 })
		}
		switch count := len(api.rows); {
		case order == "any" || shape.name == "numeric":
			random.Shuffle(count, func(i, j int) { api.rows[i], api.rows[j] = api.rows[j], api.rows[i] })
		case order == "broken late" && count > 1:
			// One of the last comes early: what was compared before is not all there is.
			early := api.rows[0]
			api.rows = slices.Insert(slices.Clone(api.rows[1:]), count/2+random.IntN(count-count/2), early)
		}
		for _, one := range api.rows {
			key, changed := as(one)
			if _, ok := told[key]; ok {
				again[key] = true
			}
			told[key] = changed
		}
		gone, differ := map[string]bool{}, map[string]bool{}
		for key, changed := range has {
			if now, ok := told[key]; !ok {
				gone[key] = true
			} else if now != changed {
				differ[key] = true
			}
		}
		for key := range told {
			if _, ok := has[key]; !ok {
				differ[key] = true
			}
		}

		run, k := compared(shape, api)
		require.Equal(t, shape.ranged, k.ranged, shape.name)
		if shape.ranged && order == "ascending" {
			require.False(t, k.kept, "keys in order were kept")
			require.Equal(t, 1, api.scans)
		}
		if k.kept && k.upTo != nil {
			keptLate++
		}

		gotGone, gotDiffer := map[string]bool{}, map[string]bool{}
		list := []string{"k0", "k0, k1"}[len(shape.types)-1]
		for _, found := range r.c.Query(`SELECT hallway_sync_gone, %s FROM %s`, list, run.stage.gone.Sanitize()) {
			key := "'" + strings.Join(found[1:], "', '") + "'"
			if found[0] == "t" {
				gotGone[key] = true
			} else {
				gotDiffer[key] = true
			}
		}
		what := fmt.Sprintf("round %d of seed %d: %s, %s; the API lists %v", n, seed, shape.name, order, api.rows)
		require.Equal(t, gone, gotGone, what)
		// What was listed twice may have been compared in another state than the last.
		maps.DeleteFunc(gotDiffer, func(key string, _ bool) bool { return again[key] && !differ[key] })
		require.Equal(t, differ, gotDiffer, what)
	}
	require.Positive(t, keptLate, "no order was broken after something was compared")

	// What comes twice is seen to, also when it came first in a range that was
	// compared, and whether it is there alike or not.
	for _, changed := range []string{"2000-01-01 00:00:01+00", "2001-01-01"} {
		r.c.Exec(`TRUNCATE public.copied; INSERT INTO public.copied VALUES ('a', 1, '%s')`, changed)
		one := []pushdown.Value{{V: "a"}, {V: int64(1)}, {V: int64(1_000_000)}}
		api := &listing{rows: [][]pushdown.Value{one, one}}
		compared(keyShapes()[4], api)
		require.Greater(t, api.scans, 1, changed)
	}
}
