package salesforce

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

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
