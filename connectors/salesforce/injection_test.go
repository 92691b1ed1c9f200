package salesforce

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// FuzzStatement puts any text into every place of a statement where one can stand,
// and has a parser find just that text there, and nothing else.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{"", "a", "'", `\`, `\'`, "' OR Name != '", "\n", "\r\n", "\t", "{value}", "{filter}", "%", "_", `\%`, "\x7f", "\u2028", "🦆", strings.Repeat("'", 3000), strings.Repeat("x", 100_000), "\u00a0", "null", "/*", "--", "\b\f"} {
		f.Add(s)
	}
	s := fake.New(fake.Options{})
	f.Cleanup(s.Close)
	src, err := New().Open(f.Context(), testEnv(), connectors.ServerSpec{Name: "sf", Options: map[string]string{"instance_url": s.URL}, Credential: map[string]string{"token": s.Session()}})
	if err != nil {
		f.Fatal(err)
	}
	text := sqlTypes["text"]
	tab, err := src.Table(f.Context(), connectors.TableSpec{Name: "Everything__c", Columns: []connectors.ColumnSpec{
		{Name: "id", Type: text}, {Name: "text__c", Type: text}, {Name: "pick__c", Type: text}, {Name: "ref__c", Type: text}, {Name: "rel", Type: text, Options: map[string]string{"field": "Ref__r.Name"}}}})
	if err != nil {
		f.Fatal(err)
	}
	c := pushdown.Collation{Name: "C", C: true, Deterministic: true}
	f.Fuzz(func(t *testing.T, value string) {
		p := &pushdown.Param{Type: text, Known: true, Value: pushdown.Value{V: value}}
		list := &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text, OID: 1009, Array: true}, Known: true, Value: pushdown.Value{V: []pushdown.Value{{V: value}, {V: "other"}}}}
		for column := range 5 {
			ref := &pushdown.Column{Index: column}
			for name, e := range map[string]pushdown.Expr{
				"eq":   &pushdown.Comparison{Op: pushdown.EQ, Left: ref, Right: p, Collation: c},
				"ne":   &pushdown.Comparison{Op: pushdown.NE, Left: ref, Right: p, Collation: c},
				"in":   &pushdown.Membership{Operand: ref, Array: list, Collation: c},
				"like": &pushdown.Match{Kind: pushdown.Like, Operand: ref, Pattern: p, Collation: c},
			} {
				request := tab.Request(connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Conjuncts: []pushdown.Expr{e}, Columns: []int{0}}})
				if request == "none: the condition is never true" {
					continue
				}
				_, statement, ok := strings.Cut(request, "?q=")
				if _, body, long := strings.Cut(request, "/composite/batch "); long {
					var batch struct{ BatchRequests []struct{ URL string } }
					require.NoError(t, json.Unmarshal([]byte(body), &batch), body)
					require.Len(t, batch.BatchRequests, 1)
					_, statement, ok = strings.Cut(batch.BatchRequests[0].URL, "?q=")
				}
				require.True(t, ok, request)
				if raw, err := url.QueryUnescape(statement); err == nil && !strings.HasPrefix(statement, "SELECT Id") {
					statement = raw // one with control characters is shown encoded
				}
				found, err := fake.Strings(statement)
				require.NoError(t, err, "%s: %s", name, statement)
				switch {
				case len(found) == 0: // not sent
				case name == "like":
					require.Len(t, found, 1)
				case name == "in":
					require.Subset(t, []string{value, "other"}, found)
				default:
					require.Equal(t, []string{value}, found)
				}
				require.True(t, slices.Contains([]int{0, 1, 2}, len(found)))
			}
		}
	})
}

// FuzzUpsert: whatever the value of an external id is, it stands alone at the end of the
// path that an upsert is sent to, or is refused here; what is written is what was meant,
// once made and once changed, and nothing else.
func FuzzUpsert(f *testing.F) {
	for _, s := range []string{"a", "'", `\`, "/", "a/b", "..", "../x", ".", "a/../b", "?x=1", "#", "%", "%2F", "%2e%2e", "+", " ", "a b", ";x=y", "&", "{value}", "{match}", "{key}", "é🦆", "\u2028", "\n", "\x01", "Key__c", "services/data", strings.Repeat("%", 60)} {
		f.Add(s)
	}
	s := fake.New(fake.Options{})
	f.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	require.NoError(f, err)
	proxy := httputil.NewSingleHostReverseProxy(at)
	var paths []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			paths = append(paths, r.RequestURI)
		}
		proxy.ServeHTTP(w, r)
	}))
	f.Cleanup(front.Close)
	src, err := New().Open(f.Context(), testEnv(), connectors.ServerSpec{Name: "sf", Options: map[string]string{"instance_url": front.URL}, Credential: map[string]string{"token": s.Session()}})
	require.NoError(f, err)
	text := sqlTypes["text"]
	tab, err := src.Table(f.Context(), connectors.TableSpec{Name: "Everything__c", Columns: []connectors.ColumnSpec{
		{Name: "id", Type: text, Options: map[string]string{"key": "true"}}, {Name: "name", Type: text}, {Name: "key__c", Type: text}}})
	require.NoError(f, err)
	_, err = s.Insert("Everything__c", map[string]any{"Name": "other", "Key__c": "other"})
	require.NoError(f, err)
	all := func(t *testing.T) map[string]string {
		out := map[string]string{}
		for _, row := range scanAll(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{1, 2, 0}}}) {
			out[row[1].V.(string)] = row[0].V.(string)
		}
		return out
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !utf8.ValidString(value) || strings.Contains(value, "\x00") || strings.TrimSpace(value) != value || value == "" || utf8.RuneCountInString(value) > 60 || strings.EqualFold(value, "other") {
			t.Skip("Salesforce keeps no such text")
		}
		paths = nil
		want := map[string]string{"other": "other"}
		for i, name := range []string{"made", "changed"} {
			b := &connectors.Batch{Op: connectors.Upsert, Columns: []int{1, 2}, MatchColumns: []int{2}, Stats: &connectors.Stats{},
				Rows: []connectors.Row{{Values: []pushdown.Value{{V: name}, {V: value}}}}}
			require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
			got := b.Results[0]
			if got.Outcome != connectors.Applied {
				require.Equal(t, connectors.CheckViolation, got.Err.Class, "%q: %v", value, got.Err)
				require.Empty(t, paths, "what cannot stand in a path is not sent")
				break
			}
			require.Equal(t, i == 0, got.Created, "%q", value)
			want[value] = name
		}
		require.Equal(t, want, all(t), "%q", value)
		for _, path := range paths {
			last, found := strings.CutPrefix(path, "/services/data/v62.0/sobjects/Everything__c/Key__c/")
			require.True(t, found, path)
			require.NotContains(t, last, "/")
			decoded, err := url.PathUnescape(last)
			require.NoError(t, err)
			require.Equal(t, value, decoded)
		}
		if want[value] != "" {
			require.Len(t, paths, 2)
			b := &connectors.Batch{Op: connectors.Delete, KeyColumns: []int{0}, Stats: &connectors.Stats{}}
			for _, row := range scanAll(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0, 2}}}) {
				if row[1].V == value {
					b.Rows = append(b.Rows, connectors.Row{Key: row[:1]})
				}
			}
			require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
		}
	})
}
