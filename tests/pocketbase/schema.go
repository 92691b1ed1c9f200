// The collections of the CRM and what each field must be. PocketBase enforces
// all of it: nothing here checks a value by itself.
package main

import (
	"fmt"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

// Who may do what. A request that a rule refuses is answered as PocketBase
// does: 400 for a create, 404 for the rest; no token at all reads no rows.
const (
	anyUser    = `@request.auth.id != ""`
	writerOnly = `@request.auth.role = "writer"`
)

// values of the select fields, in the order in which the API knows them.
var (
	industries = []string{"software", "retail", "logistics", "health", "finance", "energy", "education", "public sector"}
	statuses   = []string{"lead", "qualified", "customer", "churned"}
	interests  = []string{"api", "billing", "reporting", "mobile", "on-premises"}
	stages     = []string{"new", "proposal", "negotiation", "won", "lost"}
)

// account is someone who can log in.
type account struct {
	name, email, password string
	superuser             bool
	role                  string
	what                  string
}

var accounts = []account{
	{name: "admin", email: "admin@hallway.example", password: "admin-password", superuser: true, what: "superuser"},
	{name: "writer", email: "writer@hallway.example", password: "writer-password", role: "writer", what: "reads and writes"},
	{name: "reader", email: "reader@hallway.example", password: "reader-password", role: "reader", what: "reads"},
}

// createSchema makes the collections in an empty PocketBase.
func createSchema(app core.App) error {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return fmt.Errorf("finding the collection of users: %w", err)
	}
	users.Fields.Add(&core.SelectField{Name: "role", Values: []string{"writer", "reader"}, MaxSelect: 1, Required: true})
	if err := app.Save(users); err != nil {
		return fmt.Errorf("adding roles to users: %w", err)
	}

	companies := collection("companies",
		&core.TextField{Name: "name", Required: true, Max: 120, Presentable: true},
		&core.TextField{Name: "domain", Required: true, Max: 120, Pattern: `^[a-z0-9.-]+$`},
		&core.SelectField{Name: "industry", Values: industries, MaxSelect: 1, Required: true},
		&core.NumberField{Name: "employees", OnlyInt: true, Min: types.Pointer(0.0)},
		&core.NumberField{Name: "revenue", Min: types.Pointer(0.0)},
		&core.BoolField{Name: "listed"},
		&core.DateField{Name: "founded"},
		&core.URLField{Name: "website"},
		&core.JSONField{Name: "address", MaxSize: 4096},
	)
	companies.AddIndex("companies_domain", true, "domain", "")
	if err := app.Save(companies); err != nil {
		return fmt.Errorf("creating companies: %w", err)
	}

	contacts := collection("contacts",
		&core.EmailField{Name: "email", Required: true, Presentable: true},
		&core.TextField{Name: "first_name", Max: 60},
		&core.TextField{Name: "last_name", Required: true, Max: 80},
		&core.TextField{Name: "title", Max: 80},
		&core.TextField{Name: "phone", Pattern: `^\+[0-9 ()-]{5,24}$`},
		&core.SelectField{Name: "status", Values: statuses, MaxSelect: 1, Required: true},
		&core.RelationField{Name: "company", CollectionId: companies.Id, MaxSelect: 1},
		&core.NumberField{Name: "score", OnlyInt: true, Min: types.Pointer(0.0), Max: types.Pointer(100.0)},
		&core.NumberField{Name: "balance"},
		&core.BoolField{Name: "subscribed"},
		&core.DateField{Name: "birthday"},
		&core.DateField{Name: "last_seen"},
		&core.SelectField{Name: "interests", Values: interests, MaxSelect: len(interests)},
		&core.JSONField{Name: "profile", MaxSize: 1 << 20},
		&core.TextField{Name: "notes", Max: 500},
	)
	contacts.AddIndex("contacts_email", true, "email", "")
	contacts.AddIndex("contacts_company", false, "company", "")
	if err := app.Save(contacts); err != nil {
		return fmt.Errorf("creating contacts: %w", err)
	}

	deals := collection("deals",
		&core.TextField{Name: "title", Required: true, Max: 120, Presentable: true},
		&core.RelationField{Name: "company", CollectionId: companies.Id, MaxSelect: 1, Required: true},
		&core.RelationField{Name: "contact", CollectionId: contacts.Id, MaxSelect: 1},
		&core.SelectField{Name: "stage", Values: stages, MaxSelect: 1, Required: true},
		&core.NumberField{Name: "amount", Min: types.Pointer(0.0)},
		&core.NumberField{Name: "probability", Min: types.Pointer(0.0), Max: types.Pointer(1.0)},
		&core.DateField{Name: "closes"},
		&core.BoolField{Name: "signed"},
		&core.JSONField{Name: "items", MaxSize: 1 << 16},
	)
	deals.AddIndex("deals_company", false, "company", "")
	deals.AddIndex("deals_contact", false, "contact", "")
	if err := app.Save(deals); err != nil {
		return fmt.Errorf("creating deals: %w", err)
	}
	return nil
}

// collection is a base collection with these fields and the two times that
// PocketBase keeps by itself.
func collection(name string, fields ...core.Field) *core.Collection {
	c := core.NewBaseCollection(name)
	c.Fields.Add(fields...)
	c.Fields.Add(
		&core.AutodateField{Name: "created", OnCreate: true},
		&core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true},
	)
	c.ListRule = types.Pointer(anyUser)
	c.ViewRule = types.Pointer(anyUser)
	c.CreateRule = types.Pointer(writerOnly)
	c.UpdateRule = types.Pointer(writerOnly)
	c.DeleteRule = types.Pointer(writerOnly)
	return c
}
