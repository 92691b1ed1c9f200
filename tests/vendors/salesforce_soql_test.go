package vendors

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	connector "github.com/hallwaydb/hallway/connectors/salesforce"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// What the connector sends for random queries is SOQL to a parser that is not ours,
// with the values that were meant.
func TestSalesforce_Statements(t *testing.T) {
	s := salesforce.New(salesforce.Options{})
	defer s.Close()
	for _, text := range []string{"abc", "ABC", "o'brien", `back\slash`, `\`, `\'`, "50%", "a_c", "line\nbreak", "tab\there", "null", "' OR Name != '", "🦆", `it"s`, "{field}", "x) OR (1=1"} {
		_, err := s.Insert("Everything__c", map[string]any{"Name": text, "Text__c": text, "Number__c": len(text), "Day__c": "2024-02-29", "Moment__c": "2024-02-29T12:00:00Z"}, map[string]any{"Name": text})
		require.NoError(t, err)
	}
	of := func(kind pushdown.Kind, oid uint32, name string) pushdown.Type {
		return pushdown.Type{Kind: kind, OID: oid, Name: name}
	}
	text := of(pushdown.Text, 25, "text")
	column := func(name, field string, typ pushdown.Type) connectors.ColumnSpec {
		return connectors.ColumnSpec{Name: name, Type: typ, Options: map[string]string{"field": field}}
	}
	subject := conformance.Subject{
		Connector: connector.New(),
		Env:       connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 32 << 20},
		Server:    connectors.ServerSpec{Name: "sf", Options: map[string]string{"instance_url": s.URL}, Credential: map[string]string{"token": s.Session()}},
		// One with deleted records is read only.
		Table: connectors.TableSpec{Name: "everything__c", Options: map[string]string{"include_deleted": "true"}, Columns: []connectors.ColumnSpec{
			column("id", "Id", text), column("name", "Name", text), column("words", "Text__c", text), column("owner", "Owner.Name", text),
			column("number", "Number__c", of(pushdown.Numeric, 1700, "numeric")), column("day", "Day__c", of(pushdown.Date, 1082, "date")),
			column("moment", "Moment__c", of(pushdown.TimestampTZ, 1184, "timestamptz")), column("flag", "Check__c", of(pushdown.Bool, 16, "boolean"))}},
		RemoteSchema: "default",
	}
	conformance.Run(t, subject)
	sendGroups(t, &subject)
	harness.JudgeSOQL(t, s.Statements(), salesforce.Strings, 200, 12)
}

// sendGroups has the connector send statements that aggregate.
func sendGroups(t *testing.T, subject *conformance.Subject) {
	t.Helper()
	src, err := subject.Connector.Open(t.Context(), subject.Env, subject.Server)
	require.NoError(t, err)
	defer func() { _ = src.Close() }()
	table, err := src.Table(t.Context(), subject.Table)
	require.NoError(t, err)
	types := make([]pushdown.Type, len(subject.Table.Columns))
	at := map[string]int{}
	for i, c := range subject.Table.Columns {
		types[i], at[c.Name] = c.Type, i
	}
	rowsOf := pushdown.Aggregate{Function: pushdown.CountRows, Type: pushdown.Type{Kind: pushdown.Int8}}
	of := func(f pushdown.AggregateFunction, column string, kind pushdown.Kind) pushdown.Aggregate {
		return pushdown.Aggregate{Function: f, Column: at[column], Type: pushdown.Type{Kind: kind}}
	}
	same := func(column string, v any) pushdown.Expr {
		return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: at[column]}, Collation: pushdown.Collation{C: true, Deterministic: true},
			Right: &pushdown.Param{Type: types[at[column]], Known: true, Value: pushdown.Value{V: v}}}
	}
	for _, a := range []pushdown.Aggregation{
		{Aggregates: []pushdown.Aggregate{rowsOf}},
		{Aggregates: []pushdown.Aggregate{rowsOf, of(pushdown.Count, "words", pushdown.Int8), of(pushdown.Min, "number", pushdown.Numeric), of(pushdown.Max, "moment", pushdown.TimestampTZ)}},
		{Keys: []int{at["day"], at["flag"]}, Aggregates: []pushdown.Aggregate{rowsOf, of(pushdown.Max, "day", pushdown.Date)}},
		{Keys: []int{at["flag"]}, Aggregates: []pushdown.Aggregate{of(pushdown.Count, "number", pushdown.Int8)}},
	} {
		for _, where := range [][]pushdown.Expr{nil, {same("flag", false)}, {same("number", "3"), &pushdown.NullTest{Operand: &pushdown.Column{Index: at["words"]}, Negated: true}}} {
			req := pushdown.Request{Conjuncts: where, Aggregation: &a}
			require.True(t, table.Plan(req).AggregationExact)
			out := rows.NewBuilder(a.Types(types), func([]byte, int) error { return nil }, rows.Options{})
			_, err := table.Scan(t.Context(), connectors.Query{Request: req, Stats: &connectors.Stats{}}, out)
			require.NoError(t, err)
		}
	}
}
