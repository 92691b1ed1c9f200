package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// What analysts ask, and how many calls somebody would make by hand who knows the
// API: all in all no more than a fifth more are made.
func TestAirtable_Calls(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api, crm := startAirtable(t, c, "")
	var companies []map[string]any
	for i := range 40 {
		companies = append(companies, map[string]any{"Name": fmt.Sprintf("Company %d", i), "Employees": float64(i * 10)})
	}
	links, err := api.Seed(crm.Companies, companies...)
	require.NoError(t, err)
	var people []map[string]any
	for i := range 350 {
		p := map[string]any{"Name": fmt.Sprintf("Person %d", i), "Email": fmt.Sprintf("p%d@example.com", i), "Status": []string{"Lead", "Lead", "Lead", "Customer", "Lost"}[i%5],
			"Company": []any{links[i%40]}, "Tags": []any{[]string{"red", "green"}[i%2]}, "Born": fmt.Sprintf("%d-05-05", 1930+i%80), "Last seen": fmt.Sprintf("2026-02-%02dT10:00:00.000Z", 1+i%28), "VIP": i%9 == 0}
		if i%4 != 0 {
			p["Amount"] = float64(i)
		}
		people = append(people, p)
	}
	ids, err := api.Seed(crm.Contacts, people...)
	require.NoError(t, err)
	c.Exec(`IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO crm; SET search_path = crm, public`)
	made, least := 0, 0
	for _, q := range []struct {
		sql   string
		least int
	}{
		{"SELECT count(*) FROM contacts", 4},
		{fmt.Sprintf("SELECT * FROM contacts WHERE id = '%s'", ids[77]), 1},
		{fmt.Sprintf("SELECT name FROM contacts WHERE id IN ('%s', '%s', '%s')", ids[7], ids[8], ids[9]), 1},
		{"SELECT name, amount FROM contacts WHERE status = 'Customer'", 1},
		{"SELECT name FROM contacts WHERE email = 'p12@example.com'", 1},
		{"SELECT name FROM contacts WHERE email IN ('p12@example.com', 'p13@example.com', 'P14@EXAMPLE.COM')", 1},
		{"SELECT name, amount FROM contacts WHERE amount IS NOT NULL ORDER BY amount DESC LIMIT 10", 1},
		{"SELECT name FROM contacts WHERE status = 'Lead' LIMIT 20", 1},
		{"SELECT sum(amount) FROM contacts WHERE amount > 300", 1},
		{"SELECT name FROM contacts WHERE name ILIKE 'person 3%'", 1},
		{"SELECT count(*) FROM contacts WHERE born BETWEEN '1950-01-01' AND '1959-12-31'", 1},
		{"SELECT name FROM contacts WHERE last_seen >= '2026-02-27' ORDER BY last_seen DESC", 1},
		{"SELECT name FROM contacts WHERE vip AND amount IS NULL", 1},
		{"SELECT status, count(*), avg(amount) FROM contacts GROUP BY status", 4},
		{"SELECT count(*) FROM contacts WHERE status <> 'Lead'", 2},
		{"SELECT count(*) FROM contacts WHERE 'red' = ANY (tags)", 4},
		{"SELECT EXISTS (SELECT FROM contacts WHERE status = 'Lost')", 1},
		{"SELECT c.name, k.name FROM contacts c JOIN companies k ON k.id = ANY (c.company) WHERE c.vip", 2},
		{"SELECT name FROM contacts WHERE status = 'Lost' AND amount > 200 OR email = 'p1@example.com'", 1},
		{"SELECT name FROM contacts ORDER BY number LIMIT 10 OFFSET 50", 1},
	} {
		api.Forget()
		c.Query("%s", q.sql)
		n := api.Calls(airtable.List)
		t.Logf("%d calls, %d by hand: %s", n, q.least, q.sql)
		if n > q.least {
			for _, r := range c.Query("EXPLAIN %s", q.sql) {
				t.Log(r[0])
			}
		}
		made, least = made+n, least+q.least
	}
	t.Logf("calls_vs_minimum %.3f (%d, %d)", float64(made)/float64(least), made, least)
	require.LessOrEqual(t, float64(made), 1.2*float64(least))
}
