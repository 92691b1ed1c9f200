package analyst

import (
	"fmt"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// Stripe has 120 customers, 20 products, 350 charges and 80 invoices of a year.
func Stripe() (*Room, error) {
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	api, err := stripe.New(stripe.Options{Now: func() time.Time { return at }})
	if err != nil {
		return nil, fmt.Errorf("starting Stripe: %w", err)
	}
	var customers, products, charges []string
	created := func(i, of int) int64 {
		return at.Add(-time.Duration(i+1) * (360 * 24 * time.Hour / time.Duration(of))).Unix()
	}
	for i := range 120 {
		customers = append(customers, api.Put("customers", map[string]any{"name": fmt.Sprintf("Person %d", i), "email": fmt.Sprintf("p%d@example.com", i), "created": created(i, 120)}))
	}
	for i := range 20 {
		products = append(products, api.Put("products", map[string]any{"name": fmt.Sprintf("Product %d", i), "active": i%4 != 0, "created": created(i, 20)}))
	}
	for i := range 350 {
		charges = append(charges, api.Put("charges", map[string]any{"customer": customers[i%40], "amount": 100 * i, "amount_captured": 100 * i, "created": created(i, 350), "status": []string{"succeeded", "failed"}[i%5/4]}))
	}
	for i := range 80 {
		api.Put("invoices", map[string]any{"customer": customers[i%40], "status": []string{"open", "paid", "paid", "void"}[i%4], "total": 1000 * i, "created": created(i, 80)})
	}
	const (
		list     = "the list's filter, and 100 a page"
		unstated = "the list has no filter or total for it, and 100 a page; a search would be up to a minute late"
		one      = "a record by its id"
	)
	return &Room{Name: "stripe", Close: api.Close, Forget: api.Forget, Calls: func() int { return len(api.Requests()) },
		SQL: fmt.Sprintf(`CREATE SERVER stripe FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe', base_url '%s', cache 'off', calls_per_second '10000');
CREATE USER MAPPING FOR PUBLIC SERVER stripe OPTIONS (token '%s'); CREATE SCHEMA stripe;
IMPORT FOREIGN SCHEMA "default" LIMIT TO (customers, products, charges, invoices) FROM SERVER stripe INTO stripe;
CREATE TABLE stripe.wanted AS SELECT unnest(ARRAY['%s', '%s', '%s']) AS id; ANALYZE stripe.wanted`, api.URL, stripe.Key, customers[1], customers[2], customers[3]),
		Queries: []Query{
			{SQL: "SELECT count(*) FROM charges", Least: 4, Why: unstated},
			{SQL: fmt.Sprintf("SELECT * FROM charges WHERE id = '%s'", charges[77]), Least: 1, Why: one},
			{SQL: fmt.Sprintf("SELECT amount FROM charges WHERE id IN ('%s', '%s', '%s')", charges[7], charges[8], charges[9]), Least: 3, Why: one},
			{SQL: fmt.Sprintf("SELECT name FROM products WHERE id IN ('%s', '%s', '%s')", products[7], products[8], products[9]), Least: 1, Why: "the list takes ids"},
			{SQL: "SELECT id, name FROM customers WHERE email = 'p12@example.com'", Least: 1, Why: list},
			{SQL: "SELECT id, name FROM customers WHERE email IN ('p12@example.com', 'p13@example.com')", Least: 2, Why: "the list takes one e-mail address; all customers are two pages, too"},
			{SQL: fmt.Sprintf("SELECT amount FROM charges WHERE customer = '%s'", customers[3]), Least: 1, Why: list},
			{SQL: "SELECT sum(amount) FROM charges WHERE created >= '2026-02-01' AND created < '2026-03-01'", Least: 1, Why: list},
			{SQL: "SELECT count(*) FROM charges WHERE created >= '2025-09-15'", Least: 2, Why: "the list's filter, 175 records"},
			{SQL: "SELECT id, amount, created FROM charges ORDER BY created DESC LIMIT 10", Least: 1, Why: "the newest come first"},
			{SQL: "SELECT number, total FROM invoices WHERE status = 'open'", Least: 1, Why: list},
			{SQL: fmt.Sprintf("SELECT sum(total) FROM invoices WHERE status = 'paid' AND customer = '%s'", customers[2]), Least: 1, Why: list},
			{SQL: "SELECT status, count(*), sum(total) FROM invoices GROUP BY status", Least: 1, Why: "100 a page"},
			{SQL: "SELECT name FROM products WHERE active ORDER BY name", Least: 1, Why: list},
			{SQL: "SELECT amount FROM charges WHERE amount > 30000 AND created >= '2026-01-15'", Least: 1, Why: list},
			{SQL: "SELECT status, count(*) FROM charges GROUP BY status", Least: 4, Why: unstated},
			{SQL: "SELECT EXISTS (SELECT FROM invoices WHERE status = 'void')", Least: 1, Why: list},
			{SQL: "SELECT c.name, sum(i.total) FROM invoices i JOIN customers c ON c.id = i.customer WHERE i.status = 'open' GROUP BY c.name", Least: 1, Why: "the list with expand[]=data.customer", Most: 3},
			{SQL: "SELECT c.name FROM wanted w JOIN customers c ON c.id = w.id", Least: 2, Why: "three records by their ids; all customers are two pages", Most: 3},
			{SQL: "SELECT id, amount FROM charges LIMIT 20", Least: 1, Why: "100 a page"},
		}}, nil
}
