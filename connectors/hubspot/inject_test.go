package hubspot

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// sent is the body of a search, as an API parses it that knows no more members.
type sent struct {
	Limit        int
	Properties   []string
	Sorts        []struct{ PropertyName, Direction string }
	FilterGroups []struct {
		Filters []struct {
			PropertyName, Operator string
			Value                  *string
			Values                 []string
		}
	}
}

// FuzzSearch_ValuesStayValues: whatever a text has in it, the search that asks for
// it has one filter, which has the text as its value; or the text is not sent.
func FuzzSearch_ValuesStayValues(f *testing.F) {
	api := fake.New(fake.Options{})
	defer api.Close()
	src, err := New().Open(f.Context(), testEnv(), spec(api))
	require.NoError(f, err)
	defer func() { _ = src.Close() }()
	text := pushdown.Type{Kind: pushdown.Text, Name: "text"}
	tab, err := src.Table(f.Context(), connectors.TableSpec{Name: "contacts", Columns: []connectors.ColumnSpec{
		{Name: "id", Type: pushdown.Type{Kind: pushdown.Int8, Name: "bigint"}}, {Name: "firstname", Type: text}}})
	require.NoError(f, err)
	for _, seed := range append(traps, `\`, `\"`, `"`, `"}]}]`, `","operator":"NEQ`, "\x00", "\x1b", "\x7f", "\u2028", "{field}", "{value}{values}", "${x}", "%s", strings.Repeat(`"`, 1000), "\xff", "日本", "a;b") {
		f.Add(seed, "other")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) || !utf8.ValidString(a) || !utf8.ValidString(b) {
			return // no text of PostgreSQL's
		}
		for _, where := range []pushdown.Expr{
			compare(pushdown.EQ, 1, a),
			&pushdown.Membership{Operand: &pushdown.Column{Index: 1}, Collation: pushdown.Collation{Name: "default", Deterministic: true}, Array: &pushdown.Param{Known: true, Value: v([]pushdown.Value{v(a), v(b)})}},
		} {
			request := tab.Request(connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{where}}, Stats: &connectors.Stats{}})
			_, body, isSearch := strings.Cut(request, "/search ")
			if !isSearch {
				require.False(t, strings.Contains(request, "filterGroups"))
				continue
			}
			var s sent
			d := json.NewDecoder(strings.NewReader(body))
			d.DisallowUnknownFields()
			require.NoError(t, d.Decode(&s), body)
			require.False(t, d.More())
			require.NotEmpty(t, s.FilterGroups)
			for _, g := range s.FilterGroups {
				require.Len(t, g.Filters, 1)
				one := g.Filters[0]
				require.Equal(t, "firstname", one.PropertyName)
				switch one.Operator {
				case "EQ":
					require.Contains(t, []string{a, b}, *one.Value)
				case "IN":
					for _, got := range one.Values {
						require.Contains(t, []string{a, b, strings.ToLower(a), strings.ToLower(b)}, got)
					}
				default:
					t.Errorf("operator %s", one.Operator)
				}
			}
		}
	})
}

// FuzzOwners: whatever a text is, owners are asked for by it as one parameter; and one
// by its id stands below the list's path.
func FuzzOwners(f *testing.F) {
	var asked []*url.URL
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL)
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, "/crm/v3/owners/") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(`{"category":"OBJECT_NOT_FOUND","message":"there is none","results":[]}`))
	}))
	defer api.Close()
	server := connectors.ServerSpec{Name: "hs", Credential: map[string]string{"token": "x"}, Options: map[string]string{"base_url": api.URL, "calls_per_second": "100000"}}
	src, err := New().Open(f.Context(), testEnv(), server)
	require.NoError(f, err)
	defer func() { _ = src.Close() }()
	types := []pushdown.Type{{Kind: pushdown.Int8, Name: "bigint"}, {Kind: pushdown.Text, Name: "text"}}
	tab, err := src.Table(f.Context(), connectors.TableSpec{Name: "owners", Columns: []connectors.ColumnSpec{{Name: "id", Type: types[0]}, {Name: "email", Type: types[1]}}})
	require.NoError(f, err)
	for i, seed := range append(traps, "&limit=1", "a&email=b", "=", "%26", "+", "#", "?", "../contacts", "{value}", "\x7f", ";", "a@b\r\nX: y", strings.Repeat("é&", 2000)) {
		f.Add(seed, int64(i)*-7)
	}
	f.Fuzz(func(t *testing.T, text string, id int64) {
		if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
			return // no text of PostgreSQL's
		}
		send := func(where pushdown.Expr) {
			asked = nil
			out := rows.NewBuilder(types, func([]byte, int) error { return nil }, rows.Options{})
			_, err := tab.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{where}}, Stats: &connectors.Stats{}}, out)
			require.NoError(t, err)
		}
		send(compare(pushdown.EQ, 1, text))
		for _, u := range asked {
			require.Equal(t, "/crm/v3/owners", u.EscapedPath())
			query, err := url.ParseQuery(u.RawQuery)
			require.NoError(t, err, u.RawQuery)
			require.Equal(t, []string{"100"}, query["limit"])
			delete(query, "limit")
			if len(query) > 0 { // else all are asked for
				require.Equal(t, url.Values{"email": {text}}, query)
			}
		}
		send(&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: 0}, Right: &pushdown.Param{Type: types[0], Known: true, Value: v(id)}})
		require.LessOrEqual(t, len(asked), 1)
		for _, u := range asked {
			require.Equal(t, "/crm/v3/owners/"+strconv.FormatInt(id, 10), u.EscapedPath())
			require.Empty(t, u.RawQuery)
		}
	})
}

// FuzzRefusal: no answer makes reading a refusal fail.
func FuzzRefusal(f *testing.F) {
	f.Add(400, `{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Email address x is invalid\",\"error\":\"INVALID_EMAIL\",\"name\":\"email\"}]"}`)
	f.Add(409, `{"message":"Contact already exists. Existing ID: 5","category":"CONFLICT"}`)
	f.Add(400, `{"message":"Property values were not valid: [{","context":{"properties":[]}}`)
	f.Add(423, `{"message":[{"a":1}]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		r := refusal(status, nil, []byte(body))
		if r == nil {
			return
		}
		require.NotEmpty(t, r.Message+r.Code+fieldsOf(r))
	})
}

func fieldsOf(r *rest.Refusal) string {
	var b strings.Builder
	for _, f := range r.Fields {
		b.WriteString(f.Field + f.Message + f.Code)
	}
	return b.String()
}

// TestInjection_LongAndOddValues: what is written is kept as it is, and what is asked
// for is found, with nothing else but what differs in case.
func TestInjection_LongAndOddValues(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	src := open(t, api)
	values := append(append([]string{}, traps...), strings.Repeat("\"\u20ac\\", 21_845), `"}],"limit":0,"x":[{"y":"`, "a/../b", "?x=1&y=2#z", "\x01\x1f")
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{1, 2}}
	for i, text := range values {
		b.Rows = append(b.Rows, connectors.Row{Values: []pushdown.Value{v("i" + string(rune('a'+i)) + "@example.com"), v(text)}})
	}
	for i, r := range modify(t, src, b) {
		require.Equal(t, connectors.Applied, r.Outcome, "%q: %v", values[i], r.Err)
	}
	ids := api.IDs("contacts")
	spec := tableSpec(t, src, "contacts", "id", "firstname")
	for i, text := range values {
		kept := api.Values("contacts", ids[i])["firstname"]
		require.Equal(t, text, kept)
		if text == "" {
			continue
		}
		for _, where := range []pushdown.Expr{compare(pushdown.EQ, 1, text),
			&pushdown.Membership{Operand: &pushdown.Column{Index: 1}, Collation: pushdown.Collation{Name: "default", Deterministic: true}, Array: &pushdown.Param{Known: true, Value: v([]pushdown.Value{v(text), v("nobody has it")})}}} {
			api.ResetCalls()
			got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{1}, Conjuncts: []pushdown.Expr{where}}})
			require.NoError(t, err, "%q", text)
			found, searched := false, api.Calls()["search"] > 0
			for _, r := range got {
				found = found || r[0].V == text
				if searched {
					require.Equal(t, strings.ToLower(text), strings.ToLower(r[0].V.(string)), "%q is found for %q", r[0].V, text)
				}
			}
			require.True(t, found, "%q is found", text)
			require.True(t, searched || len(text) > 100_000 || strings.ContainsAny(text, "\x01\x1f"), "%q is searched for", text)
		}
	}
}
