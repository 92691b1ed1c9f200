package salesforce

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestConformance(t *testing.T) {
	s := fake.New(fake.Options{PageSize: 20, ShortPages: 4})
	defer s.Close()
	conform(t, s, nil, 0)
	require.Zero(t, s.Calls()["bulk_query"])
	harness.JudgeSOQL(t, s.Statements(), fake.Strings, 200, 0)
}

// By jobs the same is read.
func TestConformance_Bulk(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{PageSize: 20, BulkPage: 20})
	defer s.Close()
	conform(t, s, map[string]string{"bulk": "always"}, 40)
	require.Greater(t, s.Calls()["bulk_query"], 30)
	require.Eventually(t, func() bool { return s.Jobs() == 0 }, time.Minute, 10*time.Millisecond, "jobs that nobody has taken away")
}

func conform(t *testing.T, s *fake.Server, options map[string]string, queries int) {
	t.Helper()
	traps(t, s, 130)
	spec := imported(t.Context(), t, openSource(t, s), "everything__c")
	server := serverSpec(s)
	maps.Copy(server.Options, options)
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	conformance.Run(t, conformance.Subject{
		Connector: New(), Env: testEnv(), Server: server, Table: spec, MinPages: 5, Secret: server.Credential["token"], RemoteSchema: "salesforce",
		// Nobody waits until a job has been taken away.
		Calls: func() int64 {
			c := s.Calls()
			return int64(c[""] - c["bulk_abort"] - c["bulk_delete"])
		},
		Queries:   queries,
		MinPushed: 0.3,
		Writes: &conformance.Writes{
			Insert: func(n int) conformance.Row {
				return conformance.Row{"name": v(fmt.Sprintf("new %d", n)), "text__c": v([]string{"é'", `\`, "🦆", "a\nb"}[n%4]), "number__c": v(fmt.Sprintf("%d.5", n)),
					"check__c": v(n%2 == 0), "moment__c": v(int64(n) * 1_000_000), "day__c": v(int64(n)), "pick__c": v("Red"), "mail__c": {}, "key__c": v(fmt.Sprintf("new/%d", n))}
			},
			Update: func(n int) conformance.Row {
				return conformance.Row{"text__c": v(fmt.Sprintf("changed %d", n)), "moment__c": {}, "pick__c": v("Blue"), "number__c": {}}
			},
			Delete: true, Match: []string{"key__c"}, MissingKey: []pushdown.Value{v("a01Hw00zzzzzzzzAAA")},
			Refused: []conformance.Refusal{
				{Name: "bad e-mail", Change: conformance.Row{"mail__c": v("nonsense")}, Class: connectors.CheckViolation, Column: "mail__c"},
				{Name: "not unique", Change: conformance.Row{"key__c": v("KEY 7")}, Class: connectors.UniqueViolation, Column: "key__c"},
				{Name: "unknown choice", Change: conformance.Row{"pick__c": v("Mauve")}, Class: connectors.CheckViolation, Column: "pick__c"},
				{Name: "no such account", Change: conformance.Row{"ref__c": v("001Hw00000000zzAAA")}, Class: connectors.ForeignKeyViolation},
				{Name: "no id", Change: conformance.Row{"ref__c": v("nonsense")}, Class: connectors.ForeignKeyViolation, Column: "ref__c"},
				{Name: "too long", Change: conformance.Row{"key__c": v(fmt.Sprintf("%061d", 0))}, Class: connectors.TooLong, Column: "key__c"},
				{Name: "too large", Change: conformance.Row{"percent__c": v("1000.5")}, Class: connectors.CheckViolation, Column: "percent__c"},
				{Name: "NULL in a checkbox", Change: conformance.Row{"check__c": {}}, Class: connectors.NotNullViolation, Column: "check__c"},
			},
		},
	})
}
