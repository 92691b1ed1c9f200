package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// partsManifest is an API with a parameter for each condition, that takes forms,
// merges labels and replaces places.
const partsManifest = `
manifest: 1
name: Parts
read: {items: data, none: [nobody], expand: {param: "expand[]", prefix: data.}}
paging: {style: none}
filter:
  style: params
  listed: true
  enforced: true
  literals: {datetime: unix}
  types:
    equal: {for: text, operators: {eq: "{field}={value}"}, exact: [eq]}
    ids: {for: text, max_list: 3, operators: {eq: "ids[]={value}", in: "ids[]={values}"}, exact: [eq, in]}
    one_of: {for: select, known_values: true, operators: {eq: "{field}={value}"}, exact: [eq]}
    time: {for: datetime, operators: {le: "{field}[lte]={value}", ge: "{field}[gte]={value}"}, exact: [le, ge]}
ways:
  one:
    path: "{path}/{filter}"
    needs: filter
    read: {one: true, gone: deleted}
    filter: {style: groups, listed: true, enforced: true, max_requests: 5, types: {key: {for: text, operators: {eq: "{value}"}, exact: [eq]}}}
create: {body: form, nulls: omit}
update: {method: POST, body: form, idempotency_header: Key, idempotency_replays: true}
get: {}
errors: {message: [message], code: [code]}
objects:
  people:
    path: /people
    key: id
    query: {kind: any}
    fields:
      id: {type: text, read_only: true, filters: {one: key}}
      kind: {type: select, values: [big, small], filters: {list: one_of}}
      made: {type: datetime, format: unix, filters: {list: time}}
      owner: {type: relation, object: people, filters: {list: equal}, missing: empty}
      "owner.name": {type: text, path: owner.name, expand: owner, read_only: true}
      name: {type: text, missing: empty, max_length: 5, filters: {list: equal}}
      place: {type: json, whole: true}
      place.city: {type: text}
      labels: {type: json, merges: true}
      labels.a: {type: text}
      tags: {type: text, list: true}
      once: {type: text, write_only: true, send: options.once}
  things:
    path: /things
    key: id
    each: {param: active, values: ["true", "false"]}
    fields:
      id: {type: text, filters: {list: ids}}
      active: {type: boolean}
`

// partsAPI answers what its test says and notes what it was asked.
type partsAPI struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	answer func(r *http.Request) (int, string)
}

func newPartsAPI(t *testing.T, answer func(r *http.Request) (int, string)) *partsAPI {
	t.Helper()
	a := &partsAPI{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.QueryUnescape(string(body))
		query, _ := url.QueryUnescape(r.URL.RawQuery)
		a.mu.Lock()
		a.asked = append(a.asked, strings.TrimSpace(strings.TrimRight(fmt.Sprintf("%s %s?%s", r.Method, r.URL.EscapedPath(), query), "?")+" "+form))
		a.mu.Unlock()
		status, text := a.answer(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(a.Close)
	return a
}

// since the last call.
func (a *partsAPI) since() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.asked
	a.asked = nil
	return out
}

func textParam(v any) *pushdown.Param {
	return &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text}, Known: true, Value: pushdown.Value{V: v}}
}

func TestParts_Reading(t *testing.T) {
	status, text := 200, `{"data": []}`
	api := newPartsAPI(t, func(*http.Request) (int, string) { return status, text })
	src := openSource(t, []byte(partsManifest), api.URL, nil)
	people, things := openTable(t, src, "people"), openTable(t, src, "things")
	eq := func(tab *table, name string, v any) pushdown.Expr {
		i := slices.IndexFunc(tab.columns, func(c column) bool { return c.spec.Name == name })
		p := textParam(v)
		p.Type = tab.columns[i].spec.Type
		return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: i}, Right: p, Collation: pushdown.Collation{C: true, Deterministic: true}}
	}
	list := func(values ...any) pushdown.Expr {
		var all []pushdown.Value
		for _, v := range values {
			all = append(all, pushdown.Value{V: v})
		}
		return &pushdown.Membership{Operand: &pushdown.Column{Index: 0}, Array: &pushdown.Param{Known: true, Type: pushdown.Type{Kind: pushdown.Text, Array: true}, Value: pushdown.Value{V: all}},
			Collation: pushdown.Collation{C: true, Deterministic: true}}
	}
	for _, test := range []struct {
		name     string
		tab      *table
		columns  []int
		conjunct pushdown.Expr
		want     []string
	}{
		{"a filter replaces a constant of the list", people, []int{0}, eq(people, "kind", "big"), []string{"GET /people?kind=big"}},
		{"a value that the API does not know is not sent", people, []int{0}, eq(people, "kind", "huge"), []string{"GET /people?kind=any"}},
		{"one that is longer than the API's are is not sent", people, []int{0}, eq(people, "name", "longer"), []string{"GET /people?kind=any"}},
		{"an equality of bounds", people, []int{0}, eq(people, "made", int64(0)), []string{"GET /people?kind=any&made[gte]=946684800&made[lte]=946684800"}},
		{"a key is a request without the list's constants", people, []int{0}, eq(people, "id", "a/b"), []string{"GET /people/a%2Fb"}},
		{"keys that would change the path are none", people, []int{0}, eq(people, "id", ".."), []string{"GET /people?kind=any"}},
		{"each key is a request", people, []int{0}, list("a", "b"), []string{"GET /people/a", "GET /people/b"}},
		{"a relation is expanded where it is led through", people, []int{4}, nil, []string{"GET /people?expand[]=data.owner&kind=any"}},
		{"all values of a parameter are asked for", things, []int{0}, nil, []string{"GET /things?active=true", "GET /things?active=false"}},
		{"a list is a parameter for each value", things, []int{0}, list("a,b", "c"), []string{"GET /things?active=true&ids[]=a,b&ids[]=c", "GET /things?active=false&ids[]=a,b&ids[]=c"}},
		{"more than the list holds are not sent", things, []int{0}, list("a", "b", "c", "d"), []string{"GET /things?active=true", "GET /things?active=false"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, text = 200, `{"data": []}`
			if strings.Contains(test.want[0], "/people/") {
				status, text = 404, `{}`
			}
			q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: test.columns}}
			if test.conjunct != nil {
				q.Conjuncts = []pushdown.Expr{test.conjunct}
			}
			_, err := scanRows(t, test.tab, q)
			require.NoError(t, err)
			require.Equal(t, test.want, api.since())
		})
	}

	all := func(conjuncts ...pushdown.Expr) ([][]pushdown.Value, error) {
		return scanRows(t, people, connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: []int{0, 3, 4, 11}, Conjuncts: conjuncts}})
	}
	status, text = 200, `{"data": [{"id": "1", "owner": {"id": "2", "name": "x"}, "once": "y"}, {"id": "3", "owner": null}]}`
	got, err := all()
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{{V: "1"}, {V: "2"}, {V: "x"}, {}}, {{V: "3"}, {}, {}, {}}}, got, "a record stands for its key; what is only written is NULL")
	text = `{"id": "1", "deleted": true}`
	got, err = all(eq(people, "id", "1"))
	require.NoError(t, err)
	require.Empty(t, got, "a record that says that it is deleted is none")
	status, text = 400, `{"code": "nobody", "message": "no such person"}`
	got, err = all(eq(people, "owner", "9"))
	require.NoError(t, err)
	require.Empty(t, got, "nothing can match")
	text = `{"code": "other"}`
	_, err = all(eq(people, "owner", "9"))
	require.Error(t, err)
}

func TestParts_Writing(t *testing.T) {
	record := `{"id": "1", "place": {"city": "Paris", "zip": "7", "gone": null}, "labels": {"a": "1", "b": "2"}}`
	api := newPartsAPI(t, func(r *http.Request) (int, string) { return 200, record })
	tab := openTable(t, openSource(t, []byte(partsManifest), api.URL, nil), "people")
	at := func(name string) int {
		return slices.IndexFunc(tab.columns, func(c column) bool { return c.spec.Name == name })
	}
	write := func(op connectors.Operation, key string, values map[string]any) []string {
		t.Helper()
		b := &connectors.Batch{Op: op, KeyColumns: []int{0}, Stats: &connectors.Stats{}, IdempotencyKey: key, Rows: []connectors.Row{{Key: []pushdown.Value{{V: "1"}}}}}
		for i := range tab.columns {
			if v, ok := values[tab.columns[i].spec.Name]; ok {
				b.Columns = append(b.Columns, i)
				b.Rows[0].Values = append(b.Rows[0].Values, pushdown.Value{V: v})
			}
		}
		require.NoError(t, tab.Modify(t.Context(), b))
		require.Equal(t, connectors.Applied, b.Results[0].Outcome, "%v", b.Results[0].Err)
		return api.since()
	}
	require.Positive(t, at("place"))
	update := func(values map[string]any) []string {
		return write(connectors.Update, "", values)
	}
	require.Equal(t, []string{"POST /people name=x&options[once]=y&place[city]=Rome"},
		write(connectors.Insert, "", map[string]any{"name": "x", "kind": nil, "tags": []pushdown.Value{}, "labels": `{}`, "place": `{"city": "Oslo", "zip": null}`, "place.city": "Rome", "once": "y"}),
		"an insert leaves out what says nothing, and puts a field over the object that it is in")
	require.Equal(t, []string{"POST /people/1 name=&tags="}, update(map[string]any{"name": nil, "tags": []pushdown.Value{}}))
	require.Equal(t, []string{"GET /people/1", "POST /people/1 place[city]=Rome&place[zip]=7"}, update(map[string]any{"place.city": "Rome"}), "what is replaced is sent whole")
	require.Equal(t, []string{"POST /people/1 place[city]=Rome"}, update(map[string]any{"place": `{"city": "Rome", "zip": null}`}))
	require.Equal(t, []string{"POST /people/1 place="}, update(map[string]any{"place": nil}))
	require.Equal(t, []string{"GET /people/1", "POST /people/1 labels[a]=&labels[b]=3&labels[c]=4"}, update(map[string]any{"labels": `{"b": "3", "c": "4"}`}), "what is merged is taken away")
	require.Equal(t, []string{"POST /people/1 labels[a]=9"}, update(map[string]any{"labels.a": "9"}))
	require.Equal(t, []string{"POST /people/1 labels="}, update(map[string]any{"labels": nil}))

	first := write(connectors.Update, "k", map[string]any{"labels": `{"c": "4"}`})
	record = `{"id": "1", "labels": {"c": "4"}}`
	again := write(connectors.Update, "k", map[string]any{"labels": `{"c": "4"}`})
	require.Equal(t, first[1:], again, "sent again under its key it is the same, whatever the record has now")
	dry, err := tab.Requests(&connectors.Batch{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{at("labels")}, Stats: &connectors.Stats{},
		Rows: []connectors.Row{{Key: []pushdown.Value{{V: "1"}}, Values: []pushdown.Value{{V: `{"b": "3"}`}}}}})
	require.NoError(t, err)
	require.Len(t, dry, 1)
	require.Empty(t, api.since(), "a dry run calls nothing")
}

func TestSentBodies_AreBounded(t *testing.T) {
	var s sentBodies
	for i := range 2 * sentKept {
		s.keep(fmt.Sprint(i), []byte("x"))
	}
	require.Len(t, s.bodies, sentKept)
	require.Nil(t, s.get("0"))
	require.NotNil(t, s.get(fmt.Sprint(2*sentKept-1)))
}

func TestTree_RoundTrip(t *testing.T) {
	for _, text := range []string{`{}`, `{"a":1,"b":{"c":null,"d":[1,{"x":"\u00e9\""}]}}`, `"x"`, `[]`, `null`} {
		require.JSONEq(t, text, string(tree([]byte(text)).json(nil)))
		require.True(t, json.Valid(tree([]byte(text)).json(nil)))
	}
}
