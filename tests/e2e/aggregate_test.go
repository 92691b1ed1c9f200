package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// planText is EXPLAIN's.
func planText(c *harness.Conn, query string) string {
	var lines []string
	for _, r := range c.Query("EXPLAIN (COSTS OFF) %s", query) {
		lines = append(lines, r[0])
	}
	return strings.Join(lines, "\n")
}

// Salesforce groups what it groups as SQL does; what it does not, and more groups than
// it answers, are grouped here.
func TestAggregate_Salesforce(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	object := salesforce.Custom("Thing__c", "c01", salesforce.Text("Name", 80), salesforce.Number("int", "I__c", 8, 0), salesforce.Number("double", "N__c", 18, 4),
		salesforce.Check("B__c"), salesforce.Plain("date", "D__c"), salesforce.Reference("R__c", "R__r", "Account"))
	org := startSalesforce(t, c, salesforce.Options{Objects: []*salesforce.Object{object}})
	accounts, err := org.Insert("Account", map[string]any{"Name": "one"}, map[string]any{"Name": "two"})
	require.NoError(t, err)
	var records []map[string]any
	for i := range 2100 {
		r := map[string]any{"Name": []string{"lead", "Lead", "LEAD"}[i%3], "N__c": 0.1, "B__c": i%2 == 0}
		if i%7 > 0 {
			r["I__c"] = i
			r["R__c"] = accounts[i%2]
			r["D__c"] = fmt.Sprintf("2024-01-%02d", 1+i%3)
		}
		records = append(records, r)
	}
	_, err = org.Insert("Thing__c", records...)
	require.NoError(t, err)
	c.Exec(`CREATE FOREIGN TABLE things (id text OPTIONS (key 'true', field 'Id'), name text OPTIONS (field 'Name'), i int4 OPTIONS (field 'I__c'), n numeric OPTIONS (field 'N__c'),
			b bool OPTIONS (field 'B__c'), d date OPTIONS (field 'D__c'), r text OPTIONS (field 'R__c'))
		SERVER salesforce OPTIONS (object 'Thing__c', cache 'off');
		CREATE TABLE copy AS SELECT * FROM things`)
	require.Equal(t, "2100", c.Value("SELECT count(*) FROM copy"))

	for _, q := range []struct {
		sql    string
		pushed bool
		calls  int
	}{
		{"SELECT count(*) FROM {}", true, 1},
		{"SELECT count(*), count(i), sum(i), avg(i), min(d), max(i), min(n), count(name), count(b) FROM {}", true, 1},
		{"SELECT r, b, d, count(*), sum(i), avg(i) FROM {} GROUP BY r, b, d", true, 1},
		{"SELECT r, count(*) FROM {} WHERE i > 1000 AND d IS NOT NULL GROUP BY r HAVING avg(i) > 1", true, 1},
		{"SELECT b, min(i) FROM {} WHERE i < 0 GROUP BY b", true, 1},
		{"SELECT count(*), sum(i), max(d) FROM {} WHERE i < 0", true, 1},
		{"SELECT count(*) FROM {} WHERE r = 'nonsense'", true, 0},
		// 1801 groups; all 2,100 rows would be two pages.
		{"SELECT i, count(*) FROM {} GROUP BY i", true, 1},
		// More groups than one answer has: it is asked, in vain, and reads the rows.
		{"SELECT id, count(*) FROM {} GROUP BY id", true, 3},
		// "Lead" and "lead" are one group to the API, and equal.
		{"SELECT name, count(*) FROM {} GROUP BY name", false, 2},
		{"SELECT count(*) FROM {} WHERE name = 'lead'", false, 2},
		// These are doubles.
		{"SELECT sum(n), avg(n) FROM {}", false, 2},
		{"SELECT max(name) FROM {}", false, 2},
	} {
		foreign := strings.ReplaceAll(q.sql, "{}", "things")
		require.Equal(t, q.pushed, strings.Contains(planText(c, foreign), "Pushed Aggregate"), foreign)
		org.ResetCalls()
		have := c.Query("SELECT x::text FROM (%s) x ORDER BY 1", foreign)
		calls := org.Calls()
		require.Equal(t, q.calls, calls["query"]+calls["query_more"], "%s: %v", foreign, calls)
		require.Equal(t, c.Query("SELECT x::text FROM (%s) x ORDER BY 1", strings.ReplaceAll(q.sql, "{}", "copy")), have, foreign)
	}
	plan := planText(c, "SELECT r, count(*) FROM things WHERE b GROUP BY r")
	require.Contains(t, plan, "Pushed Aggregate: count(*) by r of things")
	require.Contains(t, plan, "q=SELECT R__c k0, COUNT(Id) a0 FROM Thing__c WHERE B__c = TRUE GROUP BY R__c")
}
