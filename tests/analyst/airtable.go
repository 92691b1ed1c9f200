package analyst

import (
	"fmt"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// Airtable has 350 contacts and 40 companies.
func Airtable() (*Room, error) {
	api := airtable.New(airtable.Options{})
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	api.SetClock(func() time.Time { return at })
	crm := airtable.AddCRM(api)
	var companies, people []map[string]any
	for i := range 40 {
		companies = append(companies, map[string]any{"Name": fmt.Sprintf("Company %d", i), "Employees": float64(i * 10)})
	}
	links, err := api.Seed(crm.Companies, companies...)
	if err != nil {
		return nil, fmt.Errorf("seeding companies: %w", err)
	}
	for i := range 350 {
		p := map[string]any{"Name": fmt.Sprintf("Person %d", i), "Email": fmt.Sprintf("p%d@example.com", i), "Status": []string{"Lead", "Lead", "Lead", "Customer", "Lost"}[i%5],
			"Company": []any{links[i%40]}, "Tags": []any{[]string{"red", "green"}[i%2]}, "Born": fmt.Sprintf("%d-05-05", 1930+i%80), "Last seen": fmt.Sprintf("2026-02-%02dT10:00:00.000Z", 1+i%28), "VIP": i%9 == 0}
		if i%4 != 0 {
			p["Amount"] = float64(i)
		}
		people = append(people, p)
	}
	ids, err := api.Seed(crm.Contacts, people...)
	if err != nil {
		return nil, fmt.Errorf("seeding contacts: %w", err)
	}
	const (
		formula = "a formula, and up to 100 records a page"
		whole   = "100 records a page, and nothing that counts"
	)
	return &Room{Name: "airtable", Close: api.Close, Forget: api.Forget, Calls: func() int { return api.Calls("") },
		SQL: fmt.Sprintf(`CREATE SERVER airtable FOREIGN DATA WRAPPER hallway OPTIONS (connector 'airtable', base_url '%s/v0', base 'CRM', cache 'off', calls_per_second '10000', lockout_seconds '0.1');
CREATE USER MAPPING FOR PUBLIC SERVER airtable OPTIONS (token '%s'); CREATE SCHEMA airtable;
IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO airtable`, api.URL, api.Token),
		Queries: []Query{
			{SQL: "SELECT count(*) FROM contacts", Least: 4, Why: whole},
			{SQL: fmt.Sprintf("SELECT * FROM contacts WHERE id = '%s'", ids[77]), Least: 1, Why: "a record by its id"},
			{SQL: fmt.Sprintf("SELECT name FROM contacts WHERE id IN ('%s', '%s', '%s')", ids[7], ids[8], ids[9]), Least: 1, Why: "a formula of RECORD_ID()"},
			{SQL: "SELECT name, amount FROM contacts WHERE status = 'Customer'", Least: 1, Why: formula},
			{SQL: "SELECT name FROM contacts WHERE email = 'p12@example.com'", Least: 1, Why: formula},
			{SQL: "SELECT name FROM contacts WHERE email IN ('p12@example.com', 'p13@example.com', 'P14@EXAMPLE.COM')", Least: 1, Why: formula},
			{SQL: "SELECT name, amount FROM contacts WHERE amount IS NOT NULL ORDER BY amount DESC LIMIT 10", Least: 1, Why: "a formula and a sort"},
			{SQL: "SELECT name FROM contacts WHERE status = 'Lead' LIMIT 20", Least: 1, Why: formula},
			{SQL: "SELECT sum(amount) FROM contacts WHERE amount > 300", Least: 1, Why: formula},
			{SQL: "SELECT name FROM contacts WHERE name ILIKE 'person 3%'", Least: 1, Why: formula},
			{SQL: "SELECT count(*) FROM contacts WHERE born BETWEEN '1950-01-01' AND '1959-12-31'", Least: 1, Why: formula},
			{SQL: "SELECT name FROM contacts WHERE last_seen >= '2026-02-27' ORDER BY last_seen DESC", Least: 1, Why: "a formula and a sort"},
			{SQL: "SELECT name FROM contacts WHERE vip AND amount IS NULL", Least: 1, Why: formula},
			{SQL: "SELECT status, count(*), avg(amount) FROM contacts GROUP BY status", Least: 4, Why: whole},
			{SQL: "SELECT count(*) FROM contacts WHERE status <> 'Lead'", Least: 2, Why: "a formula with 140 results"},
			{SQL: "SELECT count(*) FROM contacts WHERE 'red' = ANY (tags)", Least: 2, Why: "a formula sees a list as one text, and finds 175 records; a tag may be part of another there"},
			{SQL: "SELECT EXISTS (SELECT FROM contacts WHERE status = 'Lost')", Least: 1, Why: formula},
			{SQL: "SELECT c.name, k.name FROM contacts c JOIN companies k ON k.id = ANY (c.company) WHERE c.vip", Least: 1, Why: "a formula, and cellFormat=string has names in place of links", Most: 2},
			{SQL: "SELECT name FROM contacts WHERE status = 'Lost' AND amount > 200 OR email = 'p1@example.com'", Least: 1, Why: formula},
			{SQL: "SELECT name FROM contacts ORDER BY number LIMIT 10 OFFSET 50", Least: 1, Why: "a sort, and up to 100 records a page"},
		}}, nil
}
