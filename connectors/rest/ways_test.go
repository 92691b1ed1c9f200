package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// waysManifest describes searcher: a list that filters nothing, a search with
// groups in a JSON body, and a request for one record.
const waysManifest = `
manifest: 1
name: Searcher
limits: {classes: {search: {per_second: 10000, burst: 100}}}
read: {items: results, page_size: {param: limit, max: 20}, fields: &fields {param: properties, prefix: "properties."}}
paging: {style: cursor, param: after, cursor: next, restart: [CURSOR_EXPIRED]}
ways:
  search:
    cost: 2
    path: "{path}/search"
    read: {method: POST, in: body, class: search, items: results, page_size: {param: limit, max: 30}, fields: *fields, query: {archived: "false"}}
    paging: {style: seek}
    filter: &groups
      style: groups
      param: filterGroups
      json: true
      enforced: true
      and: ","
      or: ","
      group: '{"filters":[{}]}'
      max_groups: 3
      max_in_group: 4
      max_terms: 8
      max_requests: 4
      max_list: 5
      text_order: bytes
      literals: {quote: '"', escapes: {'"': '\"', '\': '\\', "\n": '\n', "\t": '\t', "\r": '\r'}}
      types:
        text: &operators
          operators:
            eq: '{"propertyName":"{field}","operator":"EQ","value":{value}}'
            ne: '{"propertyName":"{field}","operator":"NEQ","value":{value}}'
            lt: '{"propertyName":"{field}","operator":"LT","value":{value}}'
            le: '{"propertyName":"{field}","operator":"LTE","value":{value}}'
            gt: '{"propertyName":"{field}","operator":"GT","value":{value}}'
            ge: '{"propertyName":"{field}","operator":"GTE","value":{value}}'
            in: '{"propertyName":"{field}","operator":"IN","values":[{values}]}'
            is_null: '{"propertyName":"{field}","operator":"NOT_HAS_PROPERTY"}'
            not_null: '{"propertyName":"{field}","operator":"HAS_PROPERTY"}'
          exact: [eq, ne, lt, le, gt, ge, in, is_null, not_null]
        number: *operators
    sort: {param: sorts, json: true, ascending: '{"propertyName":"{field}","direction":"ASCENDING"}', descending: '{"propertyName":"{field}","direction":"DESCENDING"}', enforced: true, text_order: bytes}
  one:
    path: "{path}/{filter}"
    needs: filter
    read: {one: true, fields: *fields}
    paging: {style: none}
    filter: {style: groups, only: ["{key}"], enforced: true, max_in_group: 1, max_requests: 3, literals: {refuse: ["\n"]}, types: {text: {operators: {eq: "{value}"}, exact: [eq]}}}
    sort: {}
errors: {message: [message], code: [code]}
objects:
  things:
    path: /things
    key: id
    rows: 200
    fields:
      id: {type: text, read_only: true, missing: never}
      name: {type: text, path: properties.name, filter_name: name}
      n: {type: number, path: properties.n, filter_name: n}
      "odd.name {value}": {type: text, path: 'properties.odd\.name {value}', column: odd, filterable: false}
`

// searcher serves waysManifest's API.
type searcher struct {
	*httptest.Server
	mu      sync.Mutex
	records []map[string]any
	calls   []string
	bodies  []string
	// expired are those of the list's page requests, counted from 1, that fail.
	expired func(n int) bool
	pages   int
}

var searcherNames = []any{"abc", "ABC", "", "a\"b", `a\b`, "new\nline", "é", nil, "{value}", "x", `"},{"x`}

func newSearcher(t *testing.T, n int) *searcher {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 3))
	s := &searcher{}
	for i := range n {
		props := map[string]any{"odd.name {value}": fmt.Sprint("odd", i)}
		if name := pick(r, searcherNames); name != nil {
			props["name"] = name
		}
		if r.IntN(5) > 0 {
			props["n"] = float64(r.IntN(9)) / 2
		}
		s.records = append(s.records, map[string]any{"id": fmt.Sprintf("t%04d", i), "properties": props})
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *searcher) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Method+" "+r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "message": code})
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/things":
		s.list(w, r, refuse)
	case r.Method == http.MethodPost && r.URL.Path == "/things/search":
		s.search(w, r, refuse)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/things/"):
		id := strings.TrimPrefix(r.URL.Path, "/things/")
		for _, rec := range s.records {
			if rec["id"] == id {
				_ = json.NewEncoder(w).Encode(rec)
				return
			}
		}
		refuse(http.StatusNotFound, "NOT_FOUND")
	default:
		refuse(http.StatusMethodNotAllowed, "METHOD")
	}
}

func (s *searcher) list(w http.ResponseWriter, r *http.Request, refuse func(int, string)) {
	var at, limit int
	_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
	if after := r.URL.Query().Get("after"); after != "" {
		if s.pages++; s.expired != nil && s.expired(s.pages) {
			refuse(http.StatusUnprocessableEntity, "CURSOR_EXPIRED")
			return
		}
		_, _ = fmt.Sscan(after, &at)
	}
	end := min(at+limit, len(s.records))
	out := map[string]any{"results": s.records[at:end]}
	if end < len(s.records) {
		out["next"] = fmt.Sprint(end)
	}
	_ = json.NewEncoder(w).Encode(out)
}

type searchFilter struct {
	PropertyName, Operator string
	Value                  any
	Values                 []any
}

func (s *searcher) search(w http.ResponseWriter, r *http.Request, refuse func(int, string)) {
	text, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, string(text))
	var q struct {
		FilterGroups []struct{ Filters []searchFilter }
		Sorts        []struct{ PropertyName, Direction string }
		Properties   []string
		Limit        int
		Archived     *bool
	}
	if json.Unmarshal(text, &q) != nil || slices.Contains(q.Properties, "id") || q.Archived == nil || len(q.FilterGroups) > 3 || len(q.Sorts) > 1 {
		refuse(http.StatusBadRequest, "BAD_BODY")
		return
	}
	terms := 0
	var found []map[string]any
	for _, rec := range s.records {
		match := len(q.FilterGroups) == 0
		for _, g := range q.FilterGroups {
			every := true
			for _, f := range g.Filters {
				every = every && f.matches(rec)
			}
			match = match || every
		}
		if match {
			found = append(found, rec)
		}
	}
	for _, g := range q.FilterGroups {
		terms += len(g.Filters)
		if len(g.Filters) > 4 {
			terms = 99
		}
	}
	if terms > 8 {
		refuse(http.StatusBadRequest, "TOO_MANY")
		return
	}
	for _, o := range q.Sorts {
		slices.SortStableFunc(found, func(a, b map[string]any) int {
			c := compareAny(property(a, o.PropertyName), property(b, o.PropertyName))
			if o.Direction == "DESCENDING" {
				c = -c
			}
			return c
		})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"results": found[:min(q.Limit, len(found))]})
}

func property(rec map[string]any, name string) any {
	if name == "id" {
		return rec["id"]
	}
	return rec["properties"].(map[string]any)[name]
}

func compareAny(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if x, ok := a.(float64); ok {
		y, _ := b.(float64)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(a.(string), b.(string))
}

func (f searchFilter) matches(rec map[string]any) bool {
	v := property(rec, f.PropertyName)
	switch f.Operator {
	case "HAS_PROPERTY":
		return v != nil
	case "NOT_HAS_PROPERTY":
		return v == nil
	}
	if v == nil {
		return false
	}
	if f.Operator == "IN" {
		return slices.ContainsFunc(f.Values, func(o any) bool { return compareAny(v, o) == 0 })
	}
	c := compareAny(v, f.Value)
	return map[string]bool{"EQ": c == 0, "NEQ": c != 0, "LT": c < 0, "LTE": c <= 0, "GT": c > 0, "GTE": c >= 0}[f.Operator]
}

// called empties the list of calls.
func (s *searcher) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls, s.bodies = nil, nil
	return out
}

func TestConformance_Ways(t *testing.T) {
	s := newSearcher(t, 130)
	m, err := Parse("m.yaml", []byte(waysManifest))
	require.NoError(t, err)
	conformance.Run(t, conformance.Subject{
		Connector: New(),
		Env:       testEnv([]byte(waysManifest)),
		Server:    connectors.ServerSpec{Name: "searcher", Options: map[string]string{"manifest": "m.yaml", "base_url": s.URL}},
		Table:     connectors.TableSpec{Name: "things", Columns: columnsOf(m.object("things"))},
		MinPages:  5,
		Calls: func() int64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return int64(len(s.calls))
		},
		RemoteSchema: "searcher",
		MinPushed:    0.3,
		Queries:      600,
	})
	used := map[string]int{}
	for _, c := range s.called() {
		switch {
		case c == "GET /things":
			used["list"]++
		case strings.HasSuffix(c, "/search"):
			used["search"]++
		default:
			used["one"]++
		}
	}
	t.Log(used)
	require.Len(t, used, 3, "each way was taken")
}

func (s *searcher) open(t *testing.T) *table {
	t.Helper()
	return openTable(t, openSource(t, []byte(waysManifest), s.URL, nil), "things")
}

// scanIDs gives the ids that a scan delivers, in its order.
func scanIDs(ctx context.Context, t *testing.T, tab *table, q connectors.Query) []string {
	t.Helper()
	var ids []string
	types := []pushdown.Type{tab.columns[0].spec.Type}
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		for _, r := range got {
			ids = append(ids, r[0].V.(string))
		}
		return err
	}, rows.Options{})
	q.Columns, q.Stats = []int{0}, &connectors.Stats{}
	_, err := tab.Scan(ctx, q, b)
	require.NoError(t, err)
	return ids
}

func equals(tab *table, column int, v any) pushdown.Expr {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: column}, Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true},
		Right: &pushdown.Param{Type: tab.columns[column].spec.Type, Known: true, Value: pushdown.Value{V: v}}}
}

// A condition of no column, whose value comes with the execution, is planned for each
// way, also for one that filters nothing.
func TestWays_ConditionsOfNoColumn(t *testing.T) {
	tab := newSearcher(t, 30).open(t)
	later := &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Bool}}
	for _, e := range []pushdown.Expr{later, &pushdown.And{Operands: []pushdown.Expr{eq(1, "x"), later}}} {
		req := pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{e}}
		for _, w := range append([]*table{tab}, tab.ways...) {
			p, _ := w.plan(req)
			if w.src.m.Filter == nil {
				require.Equal(t, pushdown.Local, p.Conjuncts[0].Verdict)
			}
		}
		require.Len(t, tab.Plan(req).Conjuncts, 1)
	}
}

func TestWays_TakesTheOneThatLeavesLeast(t *testing.T) {
	s := newSearcher(t, 130)
	tab := s.open(t)
	for _, c := range []struct {
		name  string
		where []pushdown.Expr
		want  map[string]int
		rows  int
	}{
		{"all", nil, map[string]int{"GET /things": 7}, 130},
		{"a key", []pushdown.Expr{equals(tab, 0, "t0007")}, map[string]int{"GET /things/t0007": 1}, 1},
		{"no such key", []pushdown.Expr{equals(tab, 0, "a/b")}, map[string]int{"GET /things/a/b": 1}, 0},
		// The request for one record cannot name it, so all are looked through.
		{"a key that cannot be written", []pushdown.Expr{equals(tab, 0, "a\nb")}, map[string]int{"GET /things": 7}, 130},
		{"a value", []pushdown.Expr{equals(tab, 1, `"},{"x`)}, map[string]int{"POST /things/search": 1}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.called()
			q := connectors.Query{Request: pushdown.Request{Conjuncts: c.where, Columns: []int{0}}}
			ids := scanIDs(t.Context(), t, tab, q)
			if c.rows >= 0 {
				require.Len(t, ids, c.rows)
			}
			got := map[string]int{}
			for _, call := range s.called() {
				got[call]++
			}
			require.Equal(t, c.want, got)
		})
	}
}

// Five alternatives are two requests; a record that both find comes once.
func TestGroups_SeveralRequests(t *testing.T) {
	s := newSearcher(t, 130)
	tab := s.open(t)
	var or pushdown.Or
	for _, n := range []string{"0.5", "1", "1.5", "2", "2.5"} {
		or.Operands = append(or.Operands, equals(tab, 2, n))
	}
	or.Operands = append(or.Operands, &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 2}, Right: equals(tab, 2, "2").(*pushdown.Comparison).Right})
	q := connectors.Query{Request: pushdown.Request{Conjuncts: []pushdown.Expr{&or}, Columns: []int{0}}}
	require.Equal(t, pushdown.Exact, tab.Plan(q.Request).Conjuncts[0].Verdict)
	ids := scanIDs(t.Context(), t, tab, q)
	var want []string
	for _, rec := range s.records {
		if n, ok := property(rec, "n").(float64); ok && (n >= 2 || slices.Contains([]float64{0.5, 1, 1.5}, n)) {
			want = append(want, rec["id"].(string))
		}
	}
	slices.Sort(ids)
	require.Equal(t, want, ids)
	s.mu.Lock()
	first := 0
	for _, b := range s.bodies {
		if !strings.Contains(b, `"operator":"GT"`) {
			first++
		}
	}
	s.mu.Unlock()
	require.Equal(t, 2, first)

	// Where an order may be wanted one request must do, or PostgreSQL filters.
	q.Orderings = []pushdown.Ordering{{{Column: 0, Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true}}}}
	p := tab.Plan(q.Request)
	require.Equal(t, pushdown.Local, p.Conjuncts[0].Verdict)
}

func TestScan_BeginsAnewWhenACursorExpires(t *testing.T) {
	s := newSearcher(t, 130)
	tab := s.open(t)
	s.expired = func(n int) bool { return n == 4 || n == 10 }
	ids := scanIDs(t.Context(), t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	var want []string
	for _, rec := range s.records {
		want = append(want, rec["id"].(string))
	}
	require.Equal(t, want, ids, "each record once, in the order they came first")
	require.Greater(t, len(s.called()), 7)

	// Pages that were small for a LIMIT are full ones then, lest it never gets through.
	before := s.pages
	s.expired = func(n int) bool { return n == before+4 }
	ids = scanIDs(t.Context(), t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}, LimitPossible: true, LimitRows: 2}})
	require.Equal(t, want, ids)
	require.Equal(t, 3+1+6, s.pages-before, "requests with a cursor")

	// It does not go on for ever.
	s.expired = func(n int) bool { return n%2 == 0 }
	b := rows.NewBuilder([]pushdown.Type{tab.columns[0].spec.Type}, func([]byte, int) error { return nil }, rows.Options{})
	_, err := tab.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: []int{0}}, Stats: &connectors.Stats{}}, b)
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "CURSOR_EXPIRED", e.Code)
}

const statementManifest = `
manifest: 1
name: Sqlish
read:
  items: records
  statement: {param: q, text: "SELECT {fields} FROM {object}", where: " WHERE {filter}", order: " ORDER BY {sort}", limit: " LIMIT {limit}"}
  fields: {separator: ", "}
paging: {style: link, cursor: nextUrl}
filter:
  enforced: true
  and: " AND "
  or: " OR "
  literals: {quote: "'", escapes: {"'": "\\'", "\\": "\\\\"}}
  types: {text: {operators: {eq: "{field} = {value}"}, exact: [eq]}}
sort: {ascending: "{field} ASC", descending: "{field} DESC", separator: ", ", enforced: true, text_order: bytes, max_keys: 3}
objects:
  Thing__c:
    path: /query
    key: Id
    fields: {Id: {type: text, missing: never}, Name: {type: text, missing: never}}
`

func TestStatement(t *testing.T) {
	src := openSource(t, []byte(statementManifest), "http://127.0.0.1:9", nil)
	tab := openTable(t, src, "Thing__c")
	c := pushdown.Collation{Name: "C", C: true, Deterministic: true}
	q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: []int{1},
		Conjuncts: []pushdown.Expr{equals(tab, 1, `O'Brien {sort} \`), &pushdown.Or{Operands: []pushdown.Expr{equals(tab, 0, "a"), equals(tab, 0, "{filter}")}}},
		Orderings: []pushdown.Ordering{{{Column: 1, Descending: true, Collation: c}}}}}
	q.Ordering, q.Limit = q.Orderings[0], 7
	req := tab.request(tab.decide(q.Request, q.Ordering), &q, 0, nil)
	require.Equal(t, url.Values{"q": {`SELECT Id, Name FROM Thing__c WHERE Name = 'O\'Brien {sort} \\' AND (Id = 'a' OR Id = '{filter}') ORDER BY Name DESC, Id ASC LIMIT 7`}}, req.Query)
}

// AND(a, b) and OR(a, b).
func TestFilter_FunctionsInPlaceOfOperators(t *testing.T) {
	m := strings.NewReplacer(`and: " AND "`, `and: ", "`, `or: " OR "`, "or: \", \"\n  and_group: AND({})\n  or_group: OR({})").Replace(statementManifest)
	tab := openTable(t, openSource(t, []byte(m), "http://127.0.0.1:9", nil), "Thing__c")
	for want, where := range map[string][]pushdown.Expr{
		"":                          nil,
		"Name = 'x'":                {equals(tab, 1, "x")},
		"AND(Name = 'x', Id = 'y')": {equals(tab, 1, "x"), equals(tab, 0, "y")},
		"OR(Name = 'x', AND(Id = 'y', Id = 'z'))": {&pushdown.Or{Operands: []pushdown.Expr{equals(tab, 1, "x"), &pushdown.And{Operands: []pushdown.Expr{equals(tab, 0, "y"), equals(tab, 0, "z")}}}}},
	} {
		filter, _ := tab.filterText(tab.decide(pushdown.Request{Conjuncts: where}, nil), 0, nil)
		require.Equal(t, want, filter)
	}
}

// A vendor whose objects are in the API's metadata alone.
func TestVendor_AsksTheMetadata(t *testing.T) {
	s := newSearcher(t, 3)
	asked := map[string]int{}
	var mu sync.Mutex
	manifest := strings.Split(waysManifest, "errors:")[0]
	c := NewVendor(Vendor{Name: "searcher", Manifest: []byte(manifest),
		Options: []connectors.OptionSpec{{Name: "view", Where: connectors.OnTable, Help: "A view."}},
		Open: func(api *API) (Hooks, error) {
			return Hooks{
				Objects: func(context.Context) ([]ObjectInfo, error) {
					return []ObjectInfo{{Name: "things", Table: "things"}, {Name: "Broken", Table: "broken"}, {Name: "Other", Table: "other"}}, nil
				},
				Object: func(ctx context.Context, name string, known *Object) (*Object, error) {
					mu.Lock()
					asked[name]++
					mu.Unlock()
					switch name {
					case "things":
						var list struct{ Results []map[string]any }
						if err := api.Get(ctx, "/things", url.Values{"limit": {"1"}}, &list); err != nil {
							return nil, err
						}
						o := &Object{Name: name, Path: "/things", Key: "id", Fields: []Field{{Name: "id", Type: "text", Missing: "never"}}}
						for _, p := range slices.Sorted(maps.Keys(list.Results[0]["properties"].(map[string]any))) {
							o.Fields = append(o.Fields, Field{Name: p, Column: strings.ToLower(strings.Fields(p)[0]), Type: "text", Path: "properties." + strings.ReplaceAll(p, ".", `\.`)})
						}
						return o, nil
					case "Broken":
						return &Object{Name: name, Path: "/x", Key: "nokey", Fields: []Field{{Name: "id", Type: "text"}}}, nil
					}
					return nil, nil
				},
				Bind: func(_ context.Context, spec connectors.TableSpec, o *Object) (*Object, error) {
					if spec.Options["view"] == "" {
						return o, nil
					}
					bound := *o
					bound.Query = []Pair{{"view", spec.Options["view"]}}
					return &bound, nil
				},
				Refusal: func(int, http.Header, []byte) *Refusal { return &Refusal{Message: "in the API's words", Code: "ODD"} },
			}, nil
		}})
	require.Equal(t, "searcher", c.Name())
	require.False(t, slices.ContainsFunc(c.Options(), func(o connectors.OptionSpec) bool { return o.Name == "manifest" || o.Name == "token" }))
	src, err := c.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "s", Options: map[string]string{"base_url": s.URL}})
	require.NoError(t, err)
	defer src.Close()

	_, err = src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default"})
	require.ErrorContains(t, err, `the API's metadata of object "Broken" cannot be used: objects.Broken.key: there is no field "nokey"`)
	list, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{"things"}})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "odd.name", list[0].Columns[len(list[0].Columns)-1].Name)
	require.Equal(t, map[string]string{"field": "odd.name {value}"}, list[0].Columns[len(list[0].Columns)-1].Options)
	require.Equal(t, map[string]int{"things": 2, "Broken": 1, "Other": 1}, asked, "an import asks for what there is now")

	text := pushdown.Type{Kind: pushdown.Text, OID: 25, Name: "text"}
	spec := connectors.TableSpec{Name: "things", Options: map[string]string{"view": "mine"}, Columns: []connectors.ColumnSpec{{Name: "id", Type: text}, {Name: "odd.name", Type: text}}}
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err, "a column is found by the name that import gives it")
	require.Contains(t, tab.Request(connectors.Query{Stats: &connectors.Stats{}}), "view=mine")
	// A field that the API has no more, and the record as it came.
	drifted, err := src.Table(t.Context(), connectors.TableSpec{Name: "things", Columns: []connectors.ColumnSpec{
		{Name: "id", Type: text}, {Name: "gone", Type: text}, {Name: "_raw", Type: pushdown.Type{Kind: pushdown.JSONB, OID: 3802, Name: "jsonb"}}}})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, drifted.Describe().ReadOnlyColumns)
	types := []pushdown.Type{text, text, {Kind: pushdown.JSONB, OID: 3802, Name: "jsonb"}}
	var got []string
	out := rows.NewBuilder(types, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(types, tuples, n)
		for _, r := range list {
			got = append(got, fmt.Sprintf("%v %v %v", r[0].V, r[1].V, r[2].V))
		}
		return err
	}, rows.Options{})
	result, err := drifted.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2}}, Stats: &connectors.Stats{}}, out)
	require.NoError(t, err)
	require.Equal(t, []string{`column "gone" reads NULL: object "things" of the API has no field "gone" (any more)`}, result.Warnings)
	require.Len(t, got, 3)
	require.Regexp(t, `^t0000 <nil> \{.*"id": ?"t0000".*"odd.name \{value\}": ?"odd0".*\}$`, got[0])

	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			_, err := src.Table(t.Context(), connectors.TableSpec{Name: "Nothing"})
			require.ErrorContains(t, err, `there is no object "Nothing"`)
		})
	}
	wait.Wait()
	s.Close()
	_, err = src.Table(t.Context(), connectors.TableSpec{Name: "things"})
	require.NoError(t, err, "known without the API")
}
