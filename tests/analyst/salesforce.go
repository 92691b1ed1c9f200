package analyst

import (
	"fmt"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// Salesforce has 40 accounts, 600 contacts and 120 opportunities.
func Salesforce() (*Room, error) {
	org := salesforce.New(salesforce.Options{Clock: func() time.Time { return time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC) }})
	var accounts, people, chances []map[string]any
	for i := range 40 {
		accounts = append(accounts, map[string]any{"Name": fmt.Sprintf("Company %d", i), "Industry": []string{"Banking", "Technology", "Other"}[i%3], "AnnualRevenue": i * 1000})
	}
	owners, err := org.Insert("Account", accounts...)
	if err != nil {
		return nil, fmt.Errorf("seeding accounts: %w", err)
	}
	for i := range 600 {
		p := map[string]any{"LastName": fmt.Sprintf("Person %d", i), "FirstName": fmt.Sprintf("First %d", i), "Email": fmt.Sprintf("p%d@example.com", i), "AccountId": owners[i%40], "DoNotCall": i%9 == 0}
		if i%4 != 0 {
			p["Birthdate"] = fmt.Sprintf("%d-05-05", 1930+i%80)
		}
		people = append(people, p)
	}
	ids, err := org.Insert("Contact", people...)
	if err != nil {
		return nil, fmt.Errorf("seeding contacts: %w", err)
	}
	for i := range 120 {
		chances = append(chances, map[string]any{"Name": fmt.Sprintf("Deal %d", i), "StageName": []string{"Prospecting", "Closed Won", "Closed Lost"}[i%3], "Amount": i * 10,
			"CloseDate": fmt.Sprintf("2026-0%d-15", 1+i%6), "AccountId": owners[i%40]})
	}
	if _, err := org.Insert("Opportunity", chances...); err != nil {
		return nil, fmt.Errorf("seeding opportunities: %w", err)
	}
	const (
		query      = "one query, up to 2,000 records a page"
		aggregated = "one query with the aggregate"
	)
	return &Room{Name: "salesforce", Close: org.Close, Forget: org.ResetCalls, Calls: func() int { return org.Calls()[""] },
		SQL: fmt.Sprintf(`CREATE SERVER salesforce FOREIGN DATA WRAPPER hallway OPTIONS (connector 'salesforce', instance_url '%s', cache 'off');
CREATE USER MAPPING FOR PUBLIC SERVER salesforce OPTIONS (client_id '%s', client_secret '%s'); CREATE SCHEMA salesforce;
IMPORT FOREIGN SCHEMA "default" LIMIT TO (account, contact, opportunity) FROM SERVER salesforce INTO salesforce;
CREATE FOREIGN TABLE salesforce.person (id text OPTIONS (field 'Id', key 'true'), name text OPTIONS (field 'Name'), company text OPTIONS (field 'Account.Name')) SERVER salesforce OPTIONS (object 'Contact');
CREATE TABLE salesforce.wanted AS SELECT 'p' || i || '@example.com' AS email FROM generate_series(1, 5) i; ANALYZE salesforce.wanted`, org.URL, salesforce.ClientID, salesforce.ClientSecret),
		Queries: []Query{
			{SQL: "SELECT count(*) FROM contact", Least: 1, Why: aggregated},
			{SQL: fmt.Sprintf("SELECT * FROM contact WHERE id = '%s'", ids[77]), Least: 1, Why: query},
			{SQL: fmt.Sprintf("SELECT name FROM contact WHERE id IN ('%s', '%s', '%s')", ids[7], ids[8], ids[9]), Least: 1, Why: query},
			{SQL: "SELECT name FROM contact WHERE email = 'p12@example.com'", Least: 1, Why: query},
			{SQL: "SELECT name FROM contact WHERE email IN ('p12@example.com', 'p13@example.com', 'P14@example.com')", Least: 1, Why: query},
			{SQL: "SELECT name, annualrevenue FROM account WHERE industry = 'Banking' AND annualrevenue > 5000", Least: 1, Why: query},
			{SQL: "SELECT name, annualrevenue FROM account WHERE annualrevenue IS NOT NULL ORDER BY annualrevenue DESC LIMIT 10", Least: 1, Why: query},
			{SQL: "SELECT name FROM opportunity WHERE closedate BETWEEN '2026-02-01' AND '2026-03-31'", Least: 1, Why: query},
			{SQL: "SELECT stagename, count(*), sum(amount) FROM opportunity GROUP BY stagename", Least: 1, Why: aggregated},
			{SQL: "SELECT count(*) FROM opportunity WHERE stagename = 'Closed Won'", Least: 1, Why: aggregated},
			{SQL: "SELECT sum(amount) FROM opportunity WHERE amount > 500", Least: 1, Why: aggregated},
			{SQL: "SELECT name FROM contact WHERE lastname LIKE 'Person 1%'", Least: 1, Why: query},
			{SQL: "SELECT name FROM contact WHERE donotcall AND birthdate IS NULL", Least: 1, Why: query},
			{SQL: "SELECT name FROM contact LIMIT 20", Least: 1, Why: query},
			{SQL: "SELECT EXISTS (SELECT FROM opportunity WHERE stagename = 'Closed Lost')", Least: 1, Why: query},
			{SQL: "SELECT name, company FROM person WHERE company = 'Company 3'", Least: 1, Why: "one query, through the relationship"},
			{SQL: "SELECT c.name FROM wanted w JOIN contact c ON c.email = w.email", Least: 1, Why: "one query with IN"},
			{SQL: "SELECT a.name, sum(o.amount) FROM opportunity o JOIN account a ON a.id = o.accountid WHERE o.stagename = 'Closed Won' GROUP BY a.name", Least: 1, Why: "one query, through the relationship", Most: 2},
			{SQL: "SELECT name FROM opportunity WHERE stagename = 'Closed Lost' AND amount > 1000 OR name = 'Deal 1'", Least: 1, Why: query},
			{SQL: "SELECT name, createddate FROM contact WHERE createddate >= '2026-01-01' ORDER BY createddate DESC LIMIT 5", Least: 1, Why: query},
		}}, nil
}
