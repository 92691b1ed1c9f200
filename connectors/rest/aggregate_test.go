package rest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const groupsManifest = `
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
  max_list: 3
  literals: {quote: "'", escapes: {"'": "\\'", "\\": "\\\\"}}
  types:
    text: {operators: {eq: "{field} = {value}", not_null: "{field} != null"}, exact: [eq, not_null]}
    select: {operators: {eq: "{field} = {value}"}}
    integer: {operators: {eq: "{field} = {value}", in: "{field} IN ({values})", not_null: "{field} != null"}, exact: [eq, in]}
aggregate:
  rows: COUNT(Id)
  count: COUNT({field})
  sum: SUM({field})
  min: MIN({field})
  max: MAX({field})
  group: " GROUP BY {fields}"
  key_types: [text, integer]
  sum_types: [integer]
  order_types: [integer, datetime]
  max_groups: 3
  too_many: [TOO_MANY]
errors: {code: [code]}
objects:
  Thing__c:
    path: /query
    key: Id
    fields:
      Id: {type: text, missing: never}
      Name: {type: text}
      Pick: {type: select}
      N: {type: integer, trim_zeros: true}
      At: {type: datetime}
      Empty: {type: text, missing: empty}
      Off: {type: integer, groupable: false, aggregatable: false}
      Many: {type: integer, list: true}
`

// Columns of the table, as the manifest has them.
const (
	gID = iota
	gName
	gPick
	gN
	gAt
	gEmpty
	gOff
	gMany
)

func aggregate(f pushdown.AggregateFunction, column int) pushdown.Aggregate {
	a := pushdown.Aggregate{Function: f, Column: column, Type: pushdown.Type{Kind: pushdown.Int8}}
	if column == gAt && f >= pushdown.Min {
		a.Type.Kind = pushdown.TimestampTZ
	}
	return a
}

func aggregation(keys []int, list ...pushdown.Aggregate) *pushdown.Aggregation {
	return &pushdown.Aggregation{Keys: keys, Aggregates: list}
}

// scanOfGroups runs a scan and gives the groups as values.
func scanOfGroups(t *testing.T, tab *table, req pushdown.Request) ([][]pushdown.Value, error) {
	t.Helper()
	columns := make([]pushdown.Type, len(tab.columns))
	for i := range columns {
		columns[i] = tab.columns[i].spec.Type
	}
	types := req.Aggregation.Types(columns)
	var out [][]pushdown.Value
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		r := rows.NewScanReader(types, tuples)
		for range n {
			row := make([]pushdown.Value, len(types))
			if _, err := r.Next(row); err != nil {
				return err
			}
			out = append(out, row)
		}
		return nil
	}, rows.Options{})
	_, err := tab.Scan(t.Context(), connectors.Query{Request: req, Stats: &connectors.Stats{}}, b)
	return out, err
}

func TestAggregate_AsksForWhatIsExact(t *testing.T) {
	tab := openTable(t, openSource(t, []byte(groupsManifest), "http://127.0.0.1:9", nil), "Thing__c")
	require.True(t, tab.Describe().Aggregates)
	list := func(n int) pushdown.Expr {
		var values []pushdown.Value
		for i := range n {
			values = append(values, pushdown.Value{V: int64(i)})
		}
		typ := tab.columns[gN].spec.Type
		typ.Array = true
		return &pushdown.Membership{Operand: &pushdown.Column{Index: gN}, Array: &pushdown.Param{Type: typ, Known: true, Value: pushdown.Value{V: values}}}
	}
	count, nothing := aggregate(pushdown.CountRows, 0), []pushdown.Expr(nil)
	for _, c := range []struct {
		name  string
		where []pushdown.Expr
		a     *pushdown.Aggregation
		want  string // empty: not asked for
	}{
		{"rows", nothing, aggregation(nil, count), "SELECT COUNT(Id) a0 FROM Thing__c"},
		{"keys", []pushdown.Expr{equals(tab, gName, "x'")}, aggregation([]int{gName, gN}, count, aggregate(pushdown.Sum, gN)),
			`SELECT Name k0, N k1, COUNT(Id) a0, SUM(N) a1 FROM Thing__c WHERE Name = 'x\'' GROUP BY Name, N`},
		{"values", nothing, aggregation(nil, aggregate(pushdown.Count, gName), aggregate(pushdown.Count, gID), aggregate(pushdown.Min, gAt), aggregate(pushdown.Max, gN)),
			"SELECT COUNT(Name) a0, COUNT(Id) a1, MIN(At) a2, MAX(N) a3 FROM Thing__c"},
		{"a short list", []pushdown.Expr{list(3)}, aggregation(nil, count), "SELECT COUNT(Id) a0 FROM Thing__c WHERE N IN (0,1,2)"},
		{"a list that is too long", []pushdown.Expr{list(30000)}, aggregation(nil, count), ""},
		{"a condition that is a superset", []pushdown.Expr{equals(tab, gPick, "x")}, aggregation(nil, count), ""},
		{"a condition that is local", []pushdown.Expr{equals(tab, gAt, int64(0))}, aggregation(nil, count), ""},
		{"a key of another type", nothing, aggregation([]int{gPick}, count), ""},
		{"a key whose empty text is NULL", nothing, aggregation([]int{gEmpty}, count), ""},
		{"a field that is not grouped by", nothing, aggregation([]int{gOff}, count), ""},
		{"a field that is not aggregated", nothing, aggregation(nil, aggregate(pushdown.Sum, gOff)), ""},
		{"a list", nothing, aggregation(nil, aggregate(pushdown.Count, gMany)), ""},
		{"values that the API may count otherwise", nothing, aggregation(nil, aggregate(pushdown.Count, gN)), ""},
		{"a sum of texts", nothing, aggregation(nil, aggregate(pushdown.Sum, gName)), ""},
		{"the least text", nothing, aggregation(nil, aggregate(pushdown.Min, gName)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := pushdown.Request{Conjuncts: c.where, Aggregation: c.a}
			p := tab.Plan(req)
			require.Equal(t, c.want != "", p.AggregationExact)
			require.Len(t, p.Conjuncts, len(c.where))
			if c.want == "" {
				_, err := scanOfGroups(t, tab, req)
				var e *connectors.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, connectors.NotAggregated, e.Class)
				return
			}
			require.Equal(t, "GET /query?q="+c.want, tab.Request(connectors.Query{Request: req, Stats: &connectors.Stats{}}))
		})
	}
}

// answers one body, with a status.
func answers(t *testing.T, manifest, object string, status int, body string) (*table, *url.Values) {
	t.Helper()
	var asked url.Values
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return openTable(t, openSource(t, []byte(manifest), s.URL, nil), object), &asked
}

func TestAggregate_Answers(t *testing.T) {
	const notAggregated, protocol = connectors.NotAggregated, connectors.Protocol
	counted := aggregation(nil, aggregate(pushdown.CountRows, 0), aggregate(pushdown.Sum, gN), aggregate(pushdown.Max, gAt))
	byName := aggregation([]int{gName}, aggregate(pushdown.CountRows, 0))
	for _, c := range []struct {
		name   string
		a      *pushdown.Aggregation
		status int
		body   string
		want   [][]any
		class  connectors.Class
	}{
		{"one group", counted, 200, `{"records":[{"attributes":{"type":"AggregateResult"},"a0":3,"a1":1.2345678E7,"a2":"2000-01-01T00:00:01.000+0000"}]}`, [][]any{{int64(3), int64(12345678), int64(1000000)}}, 0},
		{"of no rows", counted, 200, `{"records":[{"a0":0,"a1":null,"a2":null}]}`, [][]any{{int64(0), nil, nil}}, 0},
		{"no groups", byName, 200, `{"records":[]}`, nil, 0},
		{"a group of what has no value", byName, 200, `{"records":[{"k0":null,"a0":2},{"k0":"","a0":1}]}`, [][]any{{nil, int64(2)}, {"", int64(1)}}, 0},
		{"as many as one answer has", byName, 200, `{"records":[{"k0":"a","a0":2},{"k0":"b","a0":1},{"k0":"c","a0":1}]}`, nil, notAggregated},
		{"more pages", byName, 200, `{"nextUrl":"/more","records":[{"k0":"a","a0":2}]}`, nil, notAggregated},
		{"an error that says so", byName, 400, `{"code":"TOO_MANY"}`, nil, notAggregated},
		{"another error", byName, 400, `{"code":"BAD"}`, nil, protocol},
		{"a sum past what is exact", counted, 200, `{"records":[{"a0":3,"a1":9007199254740993,"a2":null}]}`, nil, notAggregated},
		{"a sum that is no integer", counted, 200, `{"records":[{"a0":3,"a1":1.5,"a2":null}]}`, nil, notAggregated},
		{"a count that is none", byName, 200, `{"records":[{"k0":"a","a0":null}]}`, nil, notAggregated},
		{"no group where there is one", counted, 200, `{"records":[]}`, nil, protocol},
		{"no groups at all", counted, 200, `{"rows":[]}`, nil, protocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab, _ := answers(t, groupsManifest, "Thing__c", c.status, c.body)
			got, err := scanOfGroups(t, tab, pushdown.Request{Aggregation: c.a})
			if c.class != 0 {
				var e *connectors.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.class, e.Class, "%v", err)
				require.Empty(t, got, "groups were given before it was known that they are not all")
				return
			}
			require.NoError(t, err)
			require.Len(t, got, len(c.want))
			for i := range got {
				for j, v := range got[i] {
					require.Equal(t, c.want[i][j], v.V, "row %d, column %d", i, j)
				}
			}
		})
	}
}

// A condition that is never true is not asked about.
func TestAggregate_OfNothing(t *testing.T) {
	tab := openTable(t, openSource(t, []byte(groupsManifest), "http://127.0.0.1:9", nil), "Thing__c")
	never := []pushdown.Expr{equals(tab, gName, nil)}
	a := aggregation(nil, aggregate(pushdown.CountRows, 0), aggregate(pushdown.Max, gAt))
	require.True(t, tab.Plan(pushdown.Request{Conjuncts: never, Aggregation: a}).AggregationExact)
	got, err := scanOfGroups(t, tab, pushdown.Request{Conjuncts: never, Aggregation: a})
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{{V: int64(0)}, {}}}, got)
	a.Keys = []int{gName}
	got, err = scanOfGroups(t, tab, pushdown.Request{Conjuncts: never, Aggregation: a})
	require.NoError(t, err)
	require.Empty(t, got)
}

const totalManifest = `
manifest: 1
name: Pages
read: {items: items, total: total, query: {count: "no"}, total_query: {count: "yes"}, page_size: {param: limit, max: 50, default: 50}}
paging: {style: page, param: page, start: 1}
filter:
  param: where
  enforced: true
  and: " AND "
  or: " OR "
  literals: {quote: "'", refuse: ["'"]}
  types: {text: {operators: {eq: "{field} = {value}"}, exact: [eq]}}
sort: {param: sort, enforced: true}
aggregate: {total: true}
objects:
  things: {path: /things, key: id, fields: {id: {type: text, missing: never}, name: {type: text}}}
`

func TestAggregate_Total(t *testing.T) {
	rowsOnly := aggregation(nil, aggregate(pushdown.CountRows, 0))
	tab, asked := answers(t, totalManifest, "things", 200, `{"total":12345,"items":[{"id":"a"}]}`)
	got, err := scanOfGroups(t, tab, pushdown.Request{Aggregation: rowsOnly, Conjuncts: []pushdown.Expr{equals(tab, 1, "x")}})
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{{V: int64(12345)}}}, got)
	require.Equal(t, url.Values{"where": {"name = 'x'"}, "limit": {"1"}, "page": {"1"}, "count": {"yes"}}, *asked)

	require.True(t, tab.Plan(pushdown.Request{Aggregation: aggregation(nil, aggregate(pushdown.Count, 0))}).AggregationExact, "a value that is always there")
	for name, a := range map[string]*pushdown.Aggregation{
		"of a value that may be missing": aggregation(nil, aggregate(pushdown.Count, 1)),
		"of groups":                      aggregation([]int{1}, aggregate(pushdown.CountRows, 0)),
		"with something else":            aggregation(nil, aggregate(pushdown.CountRows, 0), aggregate(pushdown.Max, 1)),
	} {
		require.False(t, tab.Plan(pushdown.Request{Aggregation: a}).AggregationExact, name)
	}

	for name, body := range map[string]string{"none": `{"items":[]}`, "not known": `{"total":-1,"items":[]}`, "less than it shows": `{"total":0,"items":[{"id":"a"}]}`, "a text": `{"total":"many","items":[]}`} {
		tab, _ := answers(t, totalManifest, "things", 200, body)
		_, err := scanOfGroups(t, tab, pushdown.Request{Aggregation: rowsOnly})
		var e *connectors.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, connectors.NotAggregated, e.Class, name)
	}
}
