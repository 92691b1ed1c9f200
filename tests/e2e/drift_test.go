package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// Fields of an API that are taken away, renamed and added while tables of them are in
// use: what is gone reads NULL with a WARNING, whatever the query does with it, and
// hallway.refresh_schema says what to do about the table.
func TestSchemaDrift(t *testing.T) {
	const (
		people = 5
		// A query that has its rows does not wait for what is said at the scan's end: the
		// next session hears it before there are any, if the field was missed at all.
		late = -1
	)
	type vendor struct {
		name string
		// start makes a server, and answers what changes its schema.
		start func(t *testing.T) (server, mapping string, change func())
		// table has the columns tier (text) and since (date), which go, and old, which
		// becomes fresh.
		table, tier, since, old, fresh string
		// refuses: it does not leave out a field that is not there any more.
		refuses bool
	}
	crm := func(name string, options salesforce.Options, server string) vendor {
		return vendor{name: name, table: "account", tier: "phone", since: "renewal__c", old: "website", fresh: "fresh__c", refuses: true, start: func(t *testing.T) (string, string, func()) {
			org := salesforce.New(options)
			t.Cleanup(org.Close)
			for i := range people {
				_, err := org.Insert("Account", map[string]any{"Name": "A", "Phone": "gold", "Renewal__c": fmt.Sprintf("2024-01-0%d", i+1)})
				require.NoError(t, err)
			}
			return fmt.Sprintf("connector 'salesforce', instance_url '%s'%s", org.URL, server), fmt.Sprintf("client_id '%s', client_secret '%s'", salesforce.ClientID, salesforce.ClientSecret), func() {
				org.RemoveField("Account", "Phone")
				org.RemoveField("Account", "Renewal__c")
				org.RemoveField("Account", "Website")
				org.AddField("Account", salesforce.Text("Fresh__c", 40))
			}
		}}
	}
	for _, v := range []vendor{
		{name: "hubspot", table: "contacts", tier: "tier", since: "since", old: "old", fresh: "fresh", start: func(t *testing.T) (string, string, func()) {
			api := hubspot.New(hubspot.Options{})
			t.Cleanup(api.Close)
			api.AddProperty("contacts", hubspot.Property{Name: "tier", Label: "Tier", Type: "string"})
			api.AddProperty("contacts", hubspot.Property{Name: "since", Label: "Since", Type: "date"})
			api.AddProperty("contacts", hubspot.Property{Name: "old", Label: "Old", Type: "string"})
			api.Seed("contacts", people, func(i int) map[string]string {
				return map[string]string{"tier": "gold", "since": fmt.Sprintf("2024-01-0%d", i+1)}
			})
			return fmt.Sprintf("connector 'hubspot', base_url '%s', calls_per_second '100000', searches_per_second '100000'", api.URL), fmt.Sprintf("token '%s'", hubspot.Token), func() {
				api.RemoveProperty("contacts", "tier")
				api.RemoveProperty("contacts", "since")
				api.RemoveProperty("contacts", "old") // there is no other way to rename it
				api.AddProperty("contacts", hubspot.Property{Name: "fresh", Label: "Fresh", Type: "string"})
			}
		}},
		crm("salesforce", salesforce.Options{}, ""),
		crm("salesforce, by jobs", salesforce.Options{}, ", bulk 'always'"),
		crm("salesforce, by jobs that fail", salesforce.Options{BulkLate: true}, ", bulk 'always'"),
		{name: "airtable", table: "contacts", tier: "tier", since: "since", old: "old", fresh: "fresh", refuses: true, start: func(t *testing.T) (string, string, func()) {
			api := airtable.New(airtable.Options{})
			t.Cleanup(api.Close)
			crm := airtable.AddCRM(api)
			api.AddField(crm.Contacts, &airtable.Field{Name: "Tier", Type: "singleLineText"})
			api.AddField(crm.Contacts, &airtable.Field{Name: "Since", Type: "date"})
			api.AddField(crm.Contacts, &airtable.Field{Name: "Old", Type: "singleLineText"})
			for i := range people {
				_, err := api.Seed(crm.Contacts, map[string]any{"Name": "A", "Tier": "gold", "Since": fmt.Sprintf("2024-01-0%d", i+1)})
				require.NoError(t, err)
			}
			return fmt.Sprintf("connector 'airtable', base_url '%s/v0', base 'CRM', calls_per_second '10000'", api.URL), fmt.Sprintf("token '%s'", api.Token), func() {
				api.RemoveField(crm.Contacts, "Tier")
				api.RemoveField(crm.Contacts, "Since")
				api.RenameField(crm.Contacts, "Old", "Fresh")
			}
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			db := env.Database(t)
			c := db.Connect(t)
			server, mapping, change := v.start(t)
			c.Exec("CREATE SERVER s FOREIGN DATA WRAPPER hallway OPTIONS (%s); CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (%s)", server, mapping)
			// Each query has a table of its own: that is the one that notices.
			queries := []struct {
				sql, before, after string
				warned             int
			}{
				{"SELECT count(*) || ' ' || count(TIER) || ' ' || count(SINCE) FROM TABLE", "5 5 5", "5 0 0", 2},
				{"SELECT count(TIER) FROM TABLE WHERE TIER = 'gold'", "5", "0", 1},
				{"SELECT count(SINCE) FROM TABLE WHERE SINCE >= '2024-01-02'", "4", "0", 1},
				{"SELECT count(*) - count(SINCE) FROM TABLE WHERE SINCE IS NULL", "0", "5", 1},
				{"SELECT count(id) - count(SINCE) FROM TABLE WHERE SINCE > '2024-01-02' OR SINCE IS NULL", "0", "5", 1},
				{"SELECT count(id) - count(SINCE) FROM (SELECT id, SINCE FROM TABLE ORDER BY SINCE DESC LIMIT 3) x", "0", "3", late},
			}
			names := func(i int) *strings.Replacer {
				return strings.NewReplacer("TABLE", fmt.Sprintf("s%d.%s", i, v.table), "TIER", v.tier, "SINCE", v.since)
			}
			for i, q := range queries {
				c.Exec(`CREATE SCHEMA s%[1]d; IMPORT FOREIGN SCHEMA "default" LIMIT TO (%[2]s) FROM SERVER s INTO s%[1]d`, i, v.table)
				require.Equal(t, q.before, c.Value("%s", names(i).Replace(q.sql)), q.sql)
			}
			change()
			cfg, err := pgconn.ParseConfig(db.Cluster.DSN(db.Name, "postgres"))
			require.NoError(t, err)
			var warnings []string
			cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings = append(warnings, n.Severity+": "+n.Message) }
			for i, q := range queries {
				own, err := pgconn.ConnectConfig(t.Context(), cfg)
				require.NoError(t, err)
				warnings = nil
				for n := range 2 {
					if n == 1 && q.warned == late {
						require.NoError(t, own.Close(t.Context()))
						own, err = pgconn.ConnectConfig(t.Context(), cfg)
						require.NoError(t, err)
						warnings = nil
					}
					got, err := own.Exec(t.Context(), names(i).Replace(q.sql)).ReadAll()
					require.NoError(t, err, q.sql)
					assert.Equal(t, q.after, string(got[0].Rows[0][0]), q.sql)
				}
				switch {
				case q.warned != late:
					assert.Len(t, warnings, q.warned, "%s: %q", q.sql, warnings)
				case v.refuses:
					assert.Len(t, warnings, 1, "%s: %q", q.sql, warnings)
				}
				for _, w := range warnings {
					assert.Contains(t, w, "(any more)")
				}
				require.NoError(t, own.Close(t.Context()))
			}
			got := c.Query(`SELECT change, "column" FROM hallway.refresh_schema('s0.%s') ORDER BY change, "column"`, v.table)
			lost := []string{v.tier, v.since, v.old}
			slices.Sort(lost)
			assert.Equal(t, rows(row("added", v.fresh), row("lost", lost[0]), row("lost", lost[1]), row("lost", lost[2])), got)
		})
	}
}
