package rest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const bareManifest = `
manifest: 1
name: Sqlish
read: {path: /ask, items: records, statement: {param: q, text: "FROM {object}", where: " WHERE {filter}"}}
paging: {style: none}
filter:
  enforced: true
  and: " AND "
  or: " OR "
  literals: {quote: "'", escapes: {"'": "\\'"}, max_length: 3, datetime: "2006-01-02T15:04:05Z", bare_times: true}
  types:
    text: {operators: {eq: "{field} = {value}", in: "{field} IN ({values})", not_null: "{field} != null"}, exact: [eq, in, not_null]}
    date: {operators: {eq: "{field} = {value}"}}
    datetime: {operators: {eq: "{field} = {value}", gt: "{field} > {value}"}}
objects:
  thing: {path: /things/thing, key: id, fields: {id: {type: text}, owner: {type: text}, day: {type: date}, at: {type: datetime}}}
`

// Times without quotes, a list that is asked for elsewhere, and values that no
// record can have.
func TestFilter_BareTimesAndImpossibleValues(t *testing.T) {
	src := openSource(t, []byte(bareManifest), "http://127.0.0.1:9", nil)
	src.m.Objects[0].Fields[1].Valid = func(s string) bool { return len(s) == 3 }
	src.m.Objects[0].APIName = "Thing__c"
	tab := openTable(t, src, "thing")
	at := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC).UnixMicro() - epoch
	list := func(not bool, values ...any) *pushdown.Membership {
		var elements []pushdown.Value
		for _, v := range values {
			elements = append(elements, pushdown.Value{V: v})
		}
		return &pushdown.Membership{Operand: &pushdown.Column{Index: 1}, Negated: not, Array: &pushdown.Param{Known: true, Value: pushdown.Value{V: elements}},
			Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true}}
	}
	for want, where := range map[string]pushdown.Expr{
		"FROM Thing__c WHERE day = 2024-02-29":          equals(tab, 2, at/86_400_000_000),
		"FROM Thing__c WHERE at = 2024-02-29T12:00:00Z": equals(tab, 3, at),
		"FROM Thing__c WHERE owner = 'abc'":             equals(tab, 1, "abc"),
		"FROM Thing__c WHERE owner IN ('abc', 'def')":   list(false, "abc", "", "abcd", "def"),
		"never":                          equals(tab, 1, "abcd"),
		"FROM Thing__c":                  &pushdown.Not{Operand: equals(tab, 1, "abcd")},
		"FROM Thing__c WHERE id = 'äöü'": equals(tab, 0, "äöü"),
		"FROM Thing__c ":                 equals(tab, 0, "äöüß"), // too long to be said
	} {
		q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Conjuncts: []pushdown.Expr{where}}}
		got := "never"
		if l := tab.decide(q.Request, nil); !l.never {
			r := tab.request(l, &q, 0, nil)
			require.Equal(t, "/ask", r.Path)
			got = strings.ReplaceAll(r.Query.Get("q"), "','", "', '")
		}
		require.Equal(t, strings.TrimSpace(want), got)
	}
}

func TestTrimZeros(t *testing.T) {
	for text, want := range map[string]string{"12.0": "12", "12.50": "12.5", "-0.0": "-0", "1200": "1200", "1.0E10": "1.0E10", "0.001": "0.001"} {
		require.Equal(t, want, string(trimZeros([]byte(text))))
	}
}
