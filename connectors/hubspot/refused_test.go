package hubspot

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// TestRefused: where a search refuses a property, the list is read, and conditions
// that the search was trusted with are checked here.
func TestRefused(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	api.AddObject("visit", "visits", nil, fake.Property{Name: "at", Type: "datetime", Unsearchable: true}, fake.Property{Name: "on", Type: "date"}, fake.Property{Name: "what", Type: "string", Unsearchable: true})
	first := api.Seed("visit", 450, func(i int) map[string]string {
		v := map[string]string{"what": []string{"Tea", "tea", "talk"}[i%3], "on": "2024-01-01"}
		if i%5 > 0 {
			v["at"] = time.Date(2024, 1, 1, 0, 0, i, 0, time.UTC).Format(time.RFC3339)
		}
		return v
	})
	src := open(t, api)
	spec := tableSpec(t, src, "visit", "id", "at", "on", "what")
	at := map[string]int{}
	for i, c := range spec.Columns {
		at[c.Name] = i
	}
	late := &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: at["at"]},
		Right: &pushdown.Param{Type: spec.Columns[at["at"]].Type, Known: true, Value: v(micros(t, "2024-01-01T00:05:00Z"))}}
	is := func(i int) bool { return i%5 > 0 && i >= 300 }
	for _, c := range []struct {
		name  string
		where []pushdown.Expr
		limit uint64
		want  func(i int) bool
	}{
		{name: "a time", where: []pushdown.Expr{late}, want: is},
		{name: "with a LIMIT", where: []pushdown.Expr{late}, limit: 7, want: is},
		{name: "and what PostgreSQL checks", where: []pushdown.Expr{late, compare(pushdown.EQ, at["what"], "Tea")}, want: is},
		{name: "no value", where: []pushdown.Expr{&pushdown.NullTest{Operand: &pushdown.Column{Index: at["at"]}}}, want: func(i int) bool { return i%5 == 0 }},
		{name: "a text, which PostgreSQL checks", where: []pushdown.Expr{compare(pushdown.EQ, at["what"], "Tea")}, want: func(int) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab, err := src.Table(t.Context(), spec)
			require.NoError(t, err)
			var got [][]pushdown.Value
			types := []pushdown.Type{spec.Columns[0].Type}
			b := rows.NewBuilder(types, func(tuples []byte, n int) error {
				more, err := rows.DecodeTuples(types, tuples, n)
				got = append(got, more...)
				return err
			}, rows.Options{})
			api.ResetCalls()
			result, err := tab.Scan(t.Context(), connectors.Query{Limit: c.limit, Stats: &connectors.Stats{},
				Request: pushdown.Request{Columns: []int{at["id"]}, Conjuncts: c.where, LimitPossible: c.limit > 0, LimitRows: c.limit}}, b)
			require.NoError(t, err)
			require.NoError(t, b.Flush())
			require.Len(t, result.Warnings, 1)
			require.Contains(t, result.Warnings[0], "HubSpot refused a filter of visit, so all its records were read: ")
			require.Contains(t, result.Warnings[0], "is not searchable")
			var want []int64
			for i := range 450 {
				if c.want(i) && (c.limit == 0 || len(want) < int(c.limit)) {
					want = append(want, first+int64(i))
				}
			}
			var have []int64
			for _, r := range got {
				have = append(have, r[0].V.(int64))
			}
			require.Equal(t, want, have)
			require.Equal(t, 1, api.Calls()["search"])
			require.LessOrEqual(t, api.Calls()["list"], 5, strconv.Itoa(len(have)))
		})
	}

	t.Run("an order that is relied upon", func(t *testing.T) {
		for _, descending := range []bool{false, true} {
			for _, limit := range []uint64{0, 5, 400} {
				order := pushdown.Ordering{{Column: at["at"], Descending: descending, NullsFirst: limit == 5 && !descending}}
				got, err := scan(t, src, spec, connectors.Query{Ordering: order, Limit: limit,
					Request: pushdown.Request{Columns: []int{0}, Orderings: []pushdown.Ordering{order}, LimitPossible: true, LimitRows: max(limit, 1)}})
				require.NoError(t, err)
				var want, without []int64
				for i := range 450 {
					if i%5 > 0 {
						want = append(want, first+int64(i))
					} else {
						without = append(without, first+int64(i))
					}
				}
				if descending {
					slices.Reverse(want)
				}
				want = append(want, without...)
				if order[0].NullsFirst {
					want = without
				}
				if limit > 0 {
					want = want[:limit]
				}
				var have []int64
				for _, r := range got {
					have = append(have, r[0].V.(int64))
				}
				require.Equal(t, want, have)
			}
		}
	})
}
