package analyst

import (
	"fmt"
	"strconv"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// HubSpot has 350 contacts and 120 deals.
func HubSpot() (*Room, error) {
	api := hubspot.New(hubspot.Options{})
	first := api.Seed("contacts", 350, func(i int) map[string]string {
		p := map[string]string{"email": fmt.Sprintf("p%d@example.com", i), "firstname": fmt.Sprintf("First %d", i), "lastname": fmt.Sprintf("Person %d", i), "company": fmt.Sprintf("Company %d", i%40),
			"lifecyclestage": []string{"lead", "lead", "lead", "customer", "other"}[i%5], "hs_email_optout": strconv.FormatBool(i%9 == 0), "createdate": fmt.Sprintf("2026-02-%02dT10:00:%02d.000Z", 1+i%28, i%60)}
		if i%4 != 0 {
			p["annualrevenue"] = strconv.Itoa(i * 100)
		}
		return p
	})
	api.Seed("deals", 120, func(i int) map[string]string {
		return map[string]string{"dealname": fmt.Sprintf("Deal %d", i), "amount": strconv.Itoa(i * 10), "dealstage": []string{"qualifiedtobuy", "closedwon", "closedlost"}[i%3], "closedate": fmt.Sprintf("2026-0%d-15T00:00:00.000Z", 1+i%6)}
	})
	id := func(i int64) string { return strconv.FormatInt(first+i, 10) }
	const (
		search = "a search has up to 200 results"
		total  = "a search says how many there are"
		batch  = "a batch reads up to 100 by their ids"
	)
	return &Room{Name: "hubspot", Close: api.Close, Forget: api.ResetCalls,
		Calls: func() (n int) {
			for kind, calls := range api.Calls() {
				if kind != "token" {
					n += calls
				}
			}
			return n
		},
		SQL: fmt.Sprintf(`CREATE SERVER hubspot FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', base_url '%s', cache 'off', calls_per_second '100000', searches_per_second '100000');
CREATE USER MAPPING FOR PUBLIC SERVER hubspot OPTIONS (token '%s');
CREATE SCHEMA hubspot; IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts, deals) FROM SERVER hubspot INTO hubspot;
CREATE TABLE hubspot.wanted AS SELECT 'p' || i || '@example.com' AS email, (%d + i)::bigint AS id FROM generate_series(1, 5) i; ANALYZE hubspot.wanted`, api.URL, hubspot.Token, first),
		Queries: []Query{
			{SQL: "SELECT count(*) FROM contacts", Least: 1, Why: total, Most: 4},
			{SQL: "SELECT * FROM contacts WHERE id = " + id(77), Least: 1, Why: "a record by its id"},
			{SQL: fmt.Sprintf("SELECT email FROM contacts WHERE id IN (%s, %s, %s)", id(7), id(8), id(9)), Least: 1, Why: batch},
			{SQL: "SELECT id, firstname FROM contacts WHERE email = 'p12@example.com'", Least: 1, Why: search},
			{SQL: "SELECT id, firstname FROM contacts WHERE email IN ('p12@example.com', 'p13@example.com', 'P14@example.com')", Least: 1, Why: search},
			{SQL: "SELECT firstname, lastname FROM contacts WHERE lifecyclestage = 'customer'", Least: 1, Why: search},
			{SQL: "SELECT email FROM contacts WHERE company = 'Company 3'", Least: 1, Why: search},
			{SQL: "SELECT email FROM contacts WHERE createdate >= '2026-02-10' AND createdate < '2026-02-15'", Least: 1, Why: search},
			{SQL: "SELECT email, annualrevenue FROM contacts WHERE annualrevenue > 30000", Least: 1, Why: search},
			{SQL: "SELECT email, createdate FROM contacts ORDER BY createdate DESC LIMIT 10", Least: 1, Why: "a search sorts by one property"},
			{SQL: "SELECT email FROM contacts WHERE lifecyclestage = 'customer' ORDER BY createdate LIMIT 20", Least: 1, Why: "a search sorts by one property"},
			{SQL: "SELECT email FROM contacts WHERE lifecyclestage = 'lead' LIMIT 20", Least: 1, Why: search},
			{SQL: "SELECT count(*) FROM contacts WHERE lifecyclestage = 'lead'", Least: 1, Why: total, Most: 2},
			{SQL: "SELECT lifecyclestage, count(*) FROM contacts GROUP BY lifecyclestage", Least: 2, Why: "a search has 200 a page; a total for each of eight values is eight calls", Most: 4},
			{SQL: "SELECT sum(annualrevenue) FROM contacts WHERE annualrevenue > 20000", Least: 1, Why: search},
			{SQL: "SELECT email FROM contacts WHERE hs_email_optout AND annualrevenue IS NULL", Least: 1, Why: search},
			{SQL: "SELECT EXISTS (SELECT FROM contacts WHERE lifecyclestage = 'other')", Least: 1, Why: search},
			{SQL: "SELECT c.lastname FROM wanted w JOIN contacts c ON c.id = w.id", Least: 1, Why: batch, Most: 5},
			{SQL: "SELECT email FROM contacts WHERE lifecyclestage = 'other' AND annualrevenue > 20000 OR email = 'p1@example.com'", Least: 1, Why: "a search takes groups"},
			{SQL: "SELECT dealstage, sum(amount) FROM deals WHERE closedate >= '2026-04-01' AND dealstage IN ('closedwon', 'closedlost') GROUP BY dealstage", Least: 1, Why: search},
		}}, nil
}
