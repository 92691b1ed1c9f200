package hubspot

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// many is more records than a search ever shows.
const many = 12_345

// moment is one on which all of them were changed.
const moment = "2024-05-06T07:08:09.012Z"

func micros(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
}

func compare(op pushdown.Operator, column int, x any) pushdown.Expr {
	return &pushdown.Comparison{Op: op, Left: &pushdown.Column{Index: column}, Right: &pushdown.Param{Known: true, Value: v(x)}, Collation: pushdown.Collation{Name: "default", Deterministic: true}}
}

// TestSearch_PastTheCap: a search shows 10,000 results, and never the others. What
// is changed in one moment is more than that.
func TestSearch_PastTheCap(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	first := api.Seed("contacts", many, func(i int) map[string]string {
		return map[string]string{"firstname": "ADA", "lastname": strconv.Itoa(i), "lastmodifieddate": moment, "num_employees": "5"}
	})
	api.Seed("contacts", 500, func(int) map[string]string {
		return map[string]string{"firstname": "Bob", "lastmodifieddate": "2020-01-01T00:00:00Z"}
	})
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "firstname", "lastmodifieddate", "num_employees")
	at := map[string]int{}
	for i, c := range spec.Columns {
		at[c.Name] = i
	}
	for name, where := range map[string]pushdown.Expr{
		"equal but for case":     compare(pushdown.EQ, at["firstname"], "ada"),
		"a list":                 &pushdown.Membership{Operand: &pushdown.Column{Index: at["firstname"]}, Collation: pushdown.Collation{Name: "default", Deterministic: true}, Array: &pushdown.Param{Known: true, Value: v([]pushdown.Value{v("Ada"), v("x")})}},
		"changed in that moment": compare(pushdown.EQ, at["lastmodifieddate"], micros(t, moment)),
		"changed since":          compare(pushdown.GE, at["lastmodifieddate"], micros(t, moment)),
		"a number":               compare(pushdown.GT, at["num_employees"], "4"),
	} {
		t.Run(name, func(t *testing.T) {
			api.ResetCalls()
			got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{at["id"]}, Conjuncts: []pushdown.Expr{where}}})
			require.NoError(t, err)
			require.Len(t, got, many)
			seen := map[int64]bool{}
			for _, r := range got {
				id := r[0].V.(int64)
				require.False(t, seen[id], "%d comes twice", id)
				require.True(t, id >= first && id < first+many)
				seen[id] = true
			}
			require.Equal(t, map[string]int{"search": (many + 199) / 200}, api.Calls(), "the pages that it takes, and no more")
		})
	}
}

// TestSearch_LastPageFull: the answer says that there is no more.
func TestSearch_LastPageFull(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	api.Seed("contacts", 400, func(int) map[string]string { return map[string]string{"firstname": "Ada"} })
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "firstname")
	api.ResetCalls()
	got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{compare(pushdown.EQ, 1, "Ada")}}})
	require.NoError(t, err)
	require.Len(t, got, 400)
	require.Equal(t, map[string]int{"search": 2}, api.Calls())
}

// TestAsksAhead: a page of a search, which begins behind the last id of the one before,
// and one of a list are asked for before the rows of the one before are taken.
func TestAsksAhead(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	api.Seed("contacts", 450, func(int) map[string]string { return map[string]string{"firstname": "Ada"} })
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "firstname")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	for kind, where := range map[string][]pushdown.Expr{"search": {compare(pushdown.EQ, 1, "Ada")}, "list": nil} {
		t.Run(kind, func(t *testing.T) {
			api.ResetCalls()
			q := connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: where}}
			conformance.AsksAhead(t, tab, q, []pushdown.Type{spec.Columns[0].Type}, 450, func() int { return api.Calls()[kind] })
		})
	}
}

// TestSearch_ValuesAlike: alternatives that are one for these values may be too many
// for others, which the plan says.
func TestSearch_ValuesAlike(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	src := open(t, api)
	tab, err := src.Table(t.Context(), tableSpec(t, src, "contacts", "id", "lastmodifieddate"))
	require.NoError(t, err)
	for other, dependent := range map[int64]bool{1: true, 2: false} {
		where := &pushdown.Or{Operands: []pushdown.Expr{compare(pushdown.EQ, 1, int64(1_000_000)), compare(pushdown.EQ, 1, other*1_000_000)}}
		require.Equal(t, dependent, tab.Plan(pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{where}}).ValueDependent)
	}
}

// TestSearch_ManyAlternatives: what has more groups than a search may have is
// searched for several times, and no record comes twice.
func TestSearch_ManyAlternatives(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	first := api.Seed("contacts", 300, func(i int) map[string]string {
		return map[string]string{"firstname": fmt.Sprintf("n%d", i), "lastname": fmt.Sprintf("m%d", i%10)}
	})
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "firstname", "lastname")
	or := &pushdown.Or{}
	want := map[int64]bool{}
	for i := range 12 {
		or.Operands = append(or.Operands, compare(pushdown.EQ, 1, fmt.Sprintf("n%d", i*3)))
		want[first+int64(i*3)] = true
	}
	or.Operands = append(or.Operands, compare(pushdown.EQ, 2, "m0"))
	for i := range int64(30) {
		want[first+i*10] = true
	}
	api.ResetCalls()
	got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{or}}})
	require.NoError(t, err)
	have := map[int64]bool{}
	for _, r := range got {
		id := r[0].V.(int64)
		require.False(t, have[id], "%d comes twice", id)
		have[id] = true
	}
	require.Equal(t, want, have)
	require.Equal(t, map[string]int{"search": 3}, api.Calls(), "13 groups are three searches of five")
}

// TestImport_OfTwoAmongMany: of an account's many objects only those asked
// for cost anything.
func TestImport_OfTwoAmongMany(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	properties := make([]fake.Property, 300)
	for i := range properties {
		properties[i] = fake.Property{Name: fmt.Sprintf("field_%03d", i), Label: fmt.Sprintf("Field %d", i), Description: "What it is for, in some words.", Type: "string"}
	}
	for i := range 60 {
		api.AddObject(fmt.Sprintf("object_%d", i), "", nil, properties...)
	}
	src := open(t, api)
	list, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{"contacts", "object_50"}})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Greater(t, len(list[1].Columns), 300)
	require.Equal(t, map[string]int{"schemas": 1, "properties": 2}, api.Calls())
}
