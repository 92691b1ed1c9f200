package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// textsManifest describes an API whose values are texts all, whose lists want lower
// case, and which shows of a record what is asked for.
const textsManifest = `
manifest: 1
name: Texts
read: {method: POST, in: body, page_size: {param: limit, max: 50}, fields: &properties {param: properties, prefix: "p."}}
filter:
  style: groups
  param: filter
  json: true
  enforced: true
  and: ","
  or: ","
  group: "[{}]"
  max_groups: 9
  max_list: 9
  literals: {quote: '"', escapes: {'"': '\"'}, date: unix_ms}
  types:
    text: {in_lower: true, operators: {eq: '{"{field}":{value}}', in: '{"{field}":[{values}]}'}}
    date: {operators: {ge: '{"{field}":"{value}"}'}}
create: {batch: {path: "{path}/many", max: 9, entry: {row: "r{row}"}, as: "r{row}", answers: {path: good, match: row}, errors: {path: bad, match: about.row, or: rows}}}
get: {fields: *properties}
errors: {message: [message]}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: integer, quoted: true, read_only: true}
      name: {type: text, path: p.name, filter_name: name}
      n: {type: number, path: p.n, quoted: true}
      yes: {type: boolean, path: p.yes, quoted: true}
      day: {type: date, path: p.day, filter_name: day}
      at: {type: datetime, path: p.at, keeps: milliseconds}
`

type textsServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newTextsServer(t *testing.T) *textsServer {
	t.Helper()
	s := &textsServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/many"):
			_, _ = io.WriteString(w, `{"good":[{"row":"r2","id":"7","p":{"n":"3"}}],"bad":[{"about":{"row":["r0"]},"message":"no"},{"rows":["r1"],"message":"never"}]}`)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, `{"id":"7","p":{"n":"3","name":"seven"}}`)
		default:
			_, _ = io.WriteString(w, `[]`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *textsServer) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func TestTexts_WritesAndReadsBackWhatWasAskedFor(t *testing.T) {
	s := newTextsServer(t)
	tab := openTable(t, openSource(t, []byte(textsManifest), s.URL, nil), "things")
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	var got []pushdown.Value
	types := []pushdown.Type{tab.columns[1].spec.Type, tab.columns[2].spec.Type}
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{2, 3, 5}, ReturningColumns: []int{1, 2}, Stats: &connectors.Stats{},
		Rows: []connectors.Row{{Values: []pushdown.Value{v("1.50"), v(true), v(int64(1_234_567))}}, {Values: []pushdown.Value{v("2"), v(false), {}}}, {Values: []pushdown.Value{v("3"), {}, {}}}},
		Returning: rows.NewBuilder(types, func(tuples []byte, n int) error {
			list, err := rows.DecodeTuples(types, tuples, n)
			got = append(got, list[0]...)
			return err
		}, rows.Options{})}
	require.NoError(t, tab.Modify(t.Context(), b))
	require.NoError(t, b.Returning.Flush())
	require.Equal(t, []pushdown.Value{v("seven"), v("3")}, got)
	require.Equal(t, []string{
		`POST /things/many [{"p":{"n":"1.50","yes":"true","at":"2000-01-01T00:00:01.234Z"},"row":"r0"},{"p":{"n":"2","yes":"false","at":null},"row":"r1"},{"p":{"n":"3","yes":null,"at":null},"row":"r2"}]`,
		`GET /things/7?properties=name%2Cn`,
	}, s.called())
	for i, want := range []string{"no", "never", ""} {
		if want == "" {
			require.Nil(t, b.Results[i].Err)
			continue
		}
		require.ErrorContains(t, b.Results[i].Err, want)
	}
}

func TestTexts_ListsAreInLowerCaseToo(t *testing.T) {
	s := newTextsServer(t)
	tab := openTable(t, openSource(t, []byte(textsManifest), s.URL, nil), "things")
	in := func(values ...string) pushdown.Request {
		list := make([]pushdown.Value, len(values))
		for i, x := range values {
			list[i] = pushdown.Value{V: x}
		}
		return pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{&pushdown.Membership{Operand: &pushdown.Column{Index: 1}, Collation: pushdown.Collation{Name: "default", Deterministic: true}, Array: &pushdown.Param{Value: pushdown.Value{V: list}, Known: true}}}}
	}
	for _, c := range []struct {
		values []string
		filter any
	}{
		{[]string{"Ada", "bob"}, map[string]any{"name": []any{"ada", "Ada", "bob"}}},
		// What lower case is for others is the API's to know.
		{[]string{"Ada", "Zoë"}, nil},
	} {
		req := tab.request(tab.decide(in(c.values...), nil), &connectors.Query{Request: in(c.values...), Stats: &connectors.Stats{}}, 0, nil)
		var body struct{ Filter [][]map[string]any }
		require.NoError(t, json.Unmarshal(req.Body, &body))
		if c.filter == nil {
			require.Equal(t, [][]map[string]any{{{"name": "Ada"}}, {{"name": "Zoë"}}}, body.Filter)
			continue
		}
		require.Equal(t, [][]map[string]any{{c.filter.(map[string]any)}}, body.Filter)
	}
}

func TestTexts_DatesAsMilliseconds(t *testing.T) {
	s := newTextsServer(t)
	tab := openTable(t, openSource(t, []byte(textsManifest), s.URL, nil), "things")
	_, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{
		&pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 4}, Right: &pushdown.Param{Value: pushdown.Value{V: int64(1)}, Known: true}}}}})
	require.NoError(t, err)
	require.Contains(t, s.called()[0], `"filter":[[{"day":"946771200000"}]]`)
}

func TestVendor_AdaptsTheManifestOfEachServer(t *testing.T) {
	v := NewVendor(Vendor{Name: "texts", Manifest: []byte(textsManifest),
		Options: []connectors.OptionSpec{{Name: "groups", Where: connectors.OnServer, Help: "How many."}},
		Adapt: func(server connectors.ServerSpec, m *Manifest) error {
			if server.Options["groups"] != "" {
				_, err := fmt.Sscan(server.Options["groups"], &m.Filter.MaxGroups)
				return err
			}
			return nil
		}})
	var got []int
	for _, groups := range []string{"2", ""} {
		src, err := v.Open(t.Context(), testEnv(nil), connectors.ServerSpec{Name: "s", Options: map[string]string{"base_url": "http://127.0.0.1:1", "groups": groups}})
		require.NoError(t, err)
		got = append(got, src.(*source).m.Filter.MaxGroups)
		require.NoError(t, src.Close())
	}
	require.True(t, slices.Equal([]int{2, 9}, got), "%v", got)
}

func TestTexts_AnswersThatAreComplete(t *testing.T) {
	s := newTextsServer(t)
	manifest := strings.Replace(textsManifest, "create: {batch", "create: {complete: true, batch", 1)
	tab := openTable(t, openSource(t, []byte(manifest), s.URL, nil), "things")
	b, got := many(tab, connectors.Insert, nil, []any{"a", "b", "c"}, "n", "name")
	require.NoError(t, tab.Modify(t.Context(), b))
	require.NoError(t, b.Returning.Flush())
	require.Equal(t, [][]pushdown.Value{{{V: "3"}, {}}}, *got, "what the answer has not has no value")
	require.Len(t, s.called(), 1, "nothing is read again")
}
