package rest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// absentManifest is of an API that leaves out what is empty.
const absentManifest = `
manifest: 1
name: CRM
read: {items: data}
filter:
  param: where
  enforced: true
  and: " and "
  types:
    text: {operators: {eq: "{field} = {value}", contains: "{field} has {value}", is_null: "{field} = BLANK()", not_null: "{field} != BLANK()"}, exact: [eq, is_null, not_null], missing_matches: [eq]}
    boolean: {operators: {eq: "{field} is {value}", is_null: "never", not_null: "ever"}, exact: [eq]}
  literals: {quote: "'", refuse: ["'"]}
sort: {param: sort, enforced: true, max_keys: 2, nulls: smallest}
update: {method: PATCH}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text, read_only: true, filter_name: KEY(), sort_name: key}
      name: {type: text, missing: absent, filter_name: "<name>"}
      done: {type: boolean, missing: absent}
      tags: {type: text, list: true, missing: absent}
      ratio: {type: number, special: not.a.number, filter_name: "<ratio>", sort_name: ratio}
`

func TestAbsent(t *testing.T) {
	t.Parallel()
	s := newScript(t, answer{status: 200, body: `{"data": [
		{"id": "a", "name": "A", "done": true, "tags": ["x"], "ratio": 0.5},
		{"id": "b", "ratio": {"not": {"a": {"number": "NaN"}}}},
		{"id": "c", "name": "", "tags": [], "ratio": {"not": {"a": {"number": "-Infinity"}}}},
		{"id": "d", "ratio": {"error": "#ERROR!"}}]}`}, answer{status: 200, body: `{"id": "a"}`})
	tab := openTable(t, openSource(t, []byte(absentManifest), s.URL, nil), "things")
	got, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2, 3, 4}}})
	require.NoError(t, err)
	var text []string
	for _, row := range got {
		text = append(text, fmt.Sprint(row[0].V, " ", row[1].V, " ", row[2].V, " ", row[3].V, " ", row[4].V))
	}
	require.Equal(t, []string{"a A true [{x}] 0.5", "b <nil> false <nil> NaN", "c <nil> false <nil> -Infinity", "d <nil> false <nil> <nil>"}, text)

	d := tab.Describe()
	require.Equal(t, []int{2}, d.UnnullableColumns)
	// NULL is null, and an answer without a field has all it can say.
	res, row, err := modify(t, tab, connectors.Update, "a", []string{"name", "done"}, "name", nil)
	require.NoError(t, err)
	require.Equal(t, connectors.Applied, res.Outcome)
	require.Equal(t, []pushdown.Value{{}, {V: false}}, row)
	require.Equal(t, `PATCH /things/a {"name":null}`, s.lines()[1])
	res, _, err = modify(t, tab, connectors.Update, "a", nil, "done", nil)
	require.NoError(t, err)
	require.Equal(t, connectors.NotNullViolation, res.Err.Class)
	require.True(t, tab.Keeps(1, pushdown.Value{}, pushdown.Value{V: ""}))
	require.True(t, tab.Keeps(3, pushdown.Value{}, pushdown.Value{V: []pushdown.Value{}}))
	require.False(t, tab.Keeps(1, pushdown.Value{V: "x"}, pushdown.Value{V: ""}))
}

func TestAbsent_Filters(t *testing.T) {
	t.Parallel()
	tab := openTable(t, openSource(t, []byte(absentManifest), "http://127.0.0.1:1", nil), "things")
	null := func(c int) pushdown.Expr { return &pushdown.NullTest{Operand: &pushdown.Column{Index: c}} }
	for _, c := range []struct {
		name string
		e    pushdown.Expr
		want string
	}{
		{"an empty text is nothing", eq(1, ""), "none: the condition is never true"},
		{"missing ones are kept out", eq(1, "A"), "where=<name> = 'A' and <name> != BLANK()"},
		{"what cannot be written is asked for in part", eq(1, "it's long"), "where=<name> has 's long'"},
		{"missing", null(1), "where=<name> = BLANK()"},
		{"a boolean is never missing", null(2), "none: the condition is never true"},
		{"an expression for a field", eq(0, "a"), "where=KEY() = 'a'"},
	} {
		require.Contains(t, tab.Request(connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{c.e}}}), c.want, c.name)
	}
	for e, want := range map[pushdown.Expr]float64{&pushdown.Column{Index: 2}: 500, eq(1, "A"): 5} {
		require.InDelta(t, want, tab.Plan(pushdown.Request{Conjuncts: []pushdown.Expr{e}}).Rows, 1)
	}
	q := connectors.Query{Request: pushdown.Request{Columns: []int{0}}, Ordering: pushdown.Ordering{{Column: 4, NullsFirst: true}}}
	q.Orderings = []pushdown.Ordering{q.Ordering}
	require.Contains(t, tab.Request(q), "sort=ratio,key", "sorts have names of their own")
}

// Of one condition, too, that is two for the API.
func TestFilter_AndGroup(t *testing.T) {
	t.Parallel()
	m := strings.Replace(absentManifest, `and: " and "`, "and: ', '\n  and_group: AND({})", 1)
	tab := openTable(t, openSource(t, []byte(m), "http://127.0.0.1:1", nil), "things")
	q := connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{eq(1, "A")}}}
	require.Contains(t, tab.Request(q), "where=AND(<name> = 'A', <name> != BLANK())")
	q.Conjuncts = []pushdown.Expr{eq(0, "x")}
	require.Contains(t, tab.Request(q), "where=KEY() = 'x'")
}

// A vendor's objects can stand in remote schemas of their own.
func TestVendor_Schema(t *testing.T) {
	t.Parallel()
	c := NewVendor(Vendor{Name: "crm", Manifest: []byte(strings.Replace(absentManifest, "read:", "base_url: http://127.0.0.1:1\nread:", 1)),
		Open: func(*API) (Hooks, error) {
			return Hooks{
				Schema: func(_ context.Context, name string) ([]ObjectInfo, error) {
					if name != "sales" {
						return nil, nil
					}
					return []ObjectInfo{{Name: "sales/deals", Table: "deals"}}, nil
				},
				Object: func(_ context.Context, name string, known *Object) (*Object, error) {
					if name != "sales/deals" {
						return known, nil
					}
					return &Object{Name: name, Path: "/sales/deals", Fields: []Field{{Name: "id", Type: "text"}}}, nil
				},
			}, nil
		}})
	src, err := c.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "crm"})
	require.NoError(t, err)
	defer func() { _ = src.Close() }()
	got, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "sales"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "deals", got[0].Name)
	require.Equal(t, "sales/deals", got[0].Options["object"])
	got, err = src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "CRM"})
	require.NoError(t, err)
	require.Equal(t, "things", got[0].Name)
	_, err = src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "nope"})
	wantClass(t, err, connectors.InvalidSchema, `there is no remote schema "nope"`)
}

// An object of the manifest that a vendor leaves as it is may be in use while others
// ask for it: nobody writes to it.
func TestVendor_ObjectsOfTheManifestStayAsTheyAre(t *testing.T) {
	t.Parallel()
	c := NewVendor(Vendor{Name: "crm", Manifest: []byte(strings.Replace(absentManifest, "read:", "base_url: http://127.0.0.1:1\nread:", 1)),
		Open: func(*API) (Hooks, error) {
			return Hooks{Object: func(_ context.Context, _ string, known *Object) (*Object, error) { return known, nil }}, nil
		}})
	opened, err := c.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "crm"})
	require.NoError(t, err)
	defer func() { _ = opened.Close() }()
	src, ok := opened.(*source)
	require.True(t, ok)
	known := src.m.object("things")
	first := &known.Fields[0]
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			src.anew()
			o, err := src.objectOf(t.Context(), "things")
			assert.NoError(t, err)
			assert.Equal(t, len(known.Fields), len(o.Fields))
			assert.NotSame(t, known, o)
		})
	}
	wait.Wait()
	require.Same(t, first, &known.Fields[0])
}
