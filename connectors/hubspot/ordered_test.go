package hubspot

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// TestOrder: the newest come by one call where HubSpot sees to it that every record has
// such a time; else those that have none are asked for apart. More than a page of records that
// share a time are all there, and none comes twice.
func TestOrder(t *testing.T) {
	api := fake.New(fake.Options{SearchTotal: 300})
	defer api.Close()
	day := func(i int) string { return time.Date(2024, 1, 1+i, 0, 0, 0, 0, time.UTC).Format("2006-01-02") }
	const records = 1100
	api.Seed("contacts", records, func(i int) map[string]string {
		v := map[string]string{"firstname": "Ada", "createdate": time.Date(2024, 1, 1, 0, 0, (i*37)%records, 0, time.UTC).Format(time.RFC3339)}
		switch {
		case i%100 == 0: // no date of birth
		case i%2 == 0:
			v["date_of_birth"] = day(5) // more than two pages, and more than a search shows
		default:
			v["date_of_birth"] = day(i % 12)
		}
		if i%3 == 0 {
			v["firstname"] = "Bob"
		}
		return v
	})
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "createdate", "date_of_birth", "firstname")
	at := map[string]int{}
	for i, c := range spec.Columns {
		at[c.Name] = i
	}
	all, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{at["id"], at["createdate"], at["date_of_birth"], at["firstname"]}}})
	require.NoError(t, err)
	require.Len(t, all, records)
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)

	for _, c := range []struct {
		column     string
		descending bool
		nullsFirst bool
		limit      uint64
		where      []pushdown.Expr
		keep       func(r []pushdown.Value) bool
		calls      int
	}{
		{column: "createdate", descending: true, nullsFirst: true, limit: 10, calls: 1},
		{column: "createdate", descending: true, limit: 10, calls: 1},
		{column: "createdate", limit: 250, calls: 2},
		{column: "date_of_birth", limit: 700},
		{column: "date_of_birth", descending: true, nullsFirst: true, limit: 5, calls: 1},
		{column: "date_of_birth", descending: true, nullsFirst: true, limit: 12, calls: 2},
		{column: "date_of_birth", descending: true, nullsFirst: true, limit: 900},
		{column: "date_of_birth", nullsFirst: true},
		{column: "date_of_birth", descending: true},
		{column: "id", descending: true, limit: 3, calls: 1},
		{column: "createdate", descending: true, nullsFirst: true, limit: 10, calls: 1,
			where: []pushdown.Expr{compare(pushdown.LT, at["createdate"], micros(t, "2024-01-01T00:05:00Z"))},
			keep:  func(r []pushdown.Value) bool { return r[1].V.(int64) < micros(t, "2024-01-01T00:05:00Z") }},
		{column: "date_of_birth", descending: true, // checked again, so it is no limit
			where: []pushdown.Expr{compare(pushdown.EQ, at["firstname"], "Bob")},
			keep:  func(r []pushdown.Value) bool { return r[3].V.(string) == "Bob" }},
	} {
		t.Run(fmt.Sprintf("%s desc=%t nulls first=%t limit %d", c.column, c.descending, c.nullsFirst, c.limit), func(t *testing.T) {
			order := pushdown.Ordering{{Column: at[c.column], Descending: c.descending, NullsFirst: c.nullsFirst}}
			req := pushdown.Request{Columns: []int{at["id"], at["createdate"], at["date_of_birth"], at["firstname"]}, Conjuncts: c.where,
				Orderings: []pushdown.Ordering{order}, LimitPossible: true, LimitRows: max(c.limit, 1)}
			require.Contains(t, tab.Plan(req).ExactOrderings, 0)
			api.ResetCalls()
			got, err := scan(t, src, spec, connectors.Query{Request: req, Ordering: order, Limit: c.limit})
			require.NoError(t, err)

			slot := slices.Index([]string{"id", "createdate", "date_of_birth"}, c.column)
			var want []any
			for _, r := range all {
				if c.keep == nil || c.keep(r) {
					want = append(want, r[slot].V)
				}
			}
			slices.SortStableFunc(want, func(a, b any) int {
				if (a == nil) != (b == nil) {
					if (a == nil) == c.nullsFirst {
						return -1
					}
					return 1
				}
				if a == nil {
					return 0
				}
				n := cmp.Compare(a.(int64), b.(int64))
				if c.descending {
					return -n
				}
				return n
			})
			if c.limit > 0 {
				want = want[:min(len(want), int(c.limit))]
			}
			var have []any
			seen := map[any]bool{}
			for _, r := range got {
				have = append(have, r[slot].V)
				require.False(t, seen[r[0].V], "%v comes twice", r[0].V)
				seen[r[0].V] = true
			}
			require.Equal(t, want, have)
			if c.calls > 0 {
				require.Equal(t, map[string]int{"search": c.calls}, api.Calls())
			}
			require.Less(t, api.Calls()["search"], 20)
		})
	}
}

// TestOrder_ByWhatIsNotWanted: the column of the order is read all the same.
func TestOrder_ByWhatIsNotWanted(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	first := api.Seed("contacts", 500, func(i int) map[string]string {
		return map[string]string{"date_of_birth": time.Date(2000, 1, 1+i, 0, 0, 0, 0, time.UTC).Format("2006-01-02")}
	})
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "date_of_birth")
	order := pushdown.Ordering{{Column: 1}}
	got, err := scan(t, src, spec, connectors.Query{Ordering: order, Limit: 450,
		Request: pushdown.Request{Columns: []int{0}, Orderings: []pushdown.Ordering{order}, LimitPossible: true, LimitRows: 450}})
	require.NoError(t, err)
	require.Len(t, got, 450)
	for i, r := range got {
		require.Equal(t, first+int64(i), r[0].V)
	}
}

// TestOrder_NotTheAPIs: orders that are not PostgreSQL's are not asked for.
func TestOrder_NotTheAPIs(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "createdate", "firstname", "num_employees")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	key := func(name string) pushdown.SortKey {
		i := slices.IndexFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Name == name })
		return pushdown.SortKey{Column: i, Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true}}
	}
	for name, o := range map[string]pushdown.Ordering{
		"text": {key("firstname")}, "numbers, which are doubles": {key("num_employees")}, "two keys": {key("createdate"), key("id")},
	} {
		p := tab.Plan(pushdown.Request{Columns: []int{0}, Orderings: []pushdown.Ordering{o}, LimitPossible: true, LimitRows: 10})
		require.Empty(t, p.ExactOrderings, name)
	}
}
