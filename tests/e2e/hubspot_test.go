package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// hubspotRoom is a database whose schema crm has tables of an account.
func hubspotRoom(t *testing.T, api *hubspot.Server, tables string) *harness.Conn {
	t.Helper()
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, sidecar.Address())
	c := db.Connect(t)
	hubspotTables(c, api, "LIMIT TO ("+tables+")")
	return c
}

// hubspotTables makes schema crm with tables of an account: all, but for what LIMIT TO
// or EXCEPT says.
func hubspotTables(c *harness.Conn, api *hubspot.Server, limit string) {
	c.Exec(`CREATE SERVER hs FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', base_url '%s', calls_per_second '100000', searches_per_second '100000');
		CREATE USER MAPPING FOR PUBLIC SERVER hs OPTIONS (token '%s');
		CREATE SCHEMA crm; IMPORT FOREIGN SCHEMA "default" %s FROM SERVER hs INTO crm`, api.URL, hubspot.Token, limit)
}

// Every object that HubSpot has of its own, and one of the account's, is imported,
// written and read.
func TestHubSpot_Objects(t *testing.T) {
	api := hubspot.New(hubspot.Options{})
	defer api.Close()
	api.AddObject("car", "Cars", []string{"vin"}, hubspot.Property{Name: "vin", Type: "string", HasUniqueValue: true}, hubspot.Property{Name: "doors", Type: "number"})
	c := env.Database(t).Connect(t)
	hubspotTables(c, api, "")
	const at = "'2026-03-14 09:26:53.589Z'"
	tables := []string{"owners"}
	for _, o := range []struct{ object, text, other, value, changed, required string }{
		{"contacts", "firstname", "num_employees", "7", "8.5", ""},
		{"companies", "name", "is_public", "true", "false", ""},
		{"deals", "dealname", "amount", "1250.75", "-3", ""},
		{"tickets", "subject", "hs_ticket_priority", "'LOW'", "'HIGH'", ""},
		{"products", "name", "price", "9.99", "NULL", ""},
		{"line_items", "name", "quantity", "3", "4", ""},
		{"quotes", "hs_title", "hs_expiration_date", "timestamptz " + at, "timestamptz '2027-01-01'", ""},
		{"calls", "hs_call_title", "hs_call_direction", "'INBOUND'", "'OUTBOUND'", "hs_timestamp"},
		{"emails", "hs_email_subject", "hs_email_status", "'SENT'", "NULL", "hs_timestamp"},
		{"meetings", "hs_meeting_title", "hs_meeting_start_time", "timestamptz " + at, "NULL", "hs_timestamp"},
		{"notes", "hs_note_body", "hubspot_owner_id", "'" + api.AddOwner("olga@example.com", "Olga", "Owner") + "'", "NULL", "hs_timestamp"},
		{"tasks", "hs_task_subject", "hs_task_status", "'WAITING'", "'COMPLETED'", "hs_timestamp"},
		{"car", "vin", "doors", "5", "3", ""},
	} {
		tables = append(tables, o.object)
		table := "crm." + o.object
		with, value := "", ""
		if o.required != "" {
			with, value = ", "+o.required, ", timestamptz "+at
			c.Fails("23502", "INSERT INTO %s (%s) VALUES ('x')", table, o.text)
		}
		c.Exec("INSERT INTO %s (%s, %s%s) SELECT 'n' || i, %s%s FROM generate_series(1, 3) i", table, o.text, o.other, with, o.value, value)
		require.Len(t, api.IDs(o.object), 3, o.object)
		id := c.Value("SELECT id FROM %s WHERE %s = 'n2'", table, o.text)
		require.Equal(t, "1", c.Value("SELECT count(*) FROM %s WHERE id = %s AND %s = 'n2' AND %s = %s", table, id, o.text, o.other, o.value), o.object)
		require.Equal(t, "3", c.Value("SELECT count(*) FROM %s WHERE %s = %s", table, o.other, o.value), o.object)
		if o.required != "" {
			require.Equal(t, "3", c.Value("SELECT count(*) FROM %s WHERE %s = %s", table, o.required, at), o.object)
		}
		require.Equal(t, "UPDATE 1", c.Exec("UPDATE %s SET %s = 'changed', %s = %s WHERE id = %s", table, o.text, o.other, o.changed, id), o.object)
		require.Equal(t, "1", c.Value("SELECT count(*) FROM %s WHERE %s = 'changed' AND %s IS NOT DISTINCT FROM %s", table, o.text, o.other, o.changed), o.object)
		require.Equal(t, "DELETE 2", c.Exec("DELETE FROM %s WHERE %s LIKE 'n%%'", table, o.text), o.object)
		require.Len(t, api.IDs(o.object), 1, o.object)
		require.Equal(t, id, c.Value("SELECT string_agg(id::text, ',') FROM %s", table), o.object)
	}
	require.Equal(t, "Olga", c.Value("SELECT first_name FROM crm.owners"))
	require.Empty(t, c.Query("SELECT foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_name !~ '^[a-z]+_(companies|contacts|deals|tickets|line_items|quotes|products)$' AND foreign_table_name <> ALL ('{%s}')", strings.Join(tables, ",")),
		"no table is left out here")
}

// A replica learns what was changed, made and archived, though more was changed in
// one moment than a search shows.
func TestHubSpot_Replica(t *testing.T) {
	const many = 11_000
	api := hubspot.New(hubspot.Options{})
	defer api.Close()
	first := api.Seed("contacts", many, func(i int) map[string]string {
		return map[string]string{"email": fmt.Sprintf("c%d@example.com", i), "lastmodifieddate": "2026-01-02T03:04:05.678Z"}
	})
	// The others have their time of change under another name.
	company := api.Seed("companies", 250, func(i int) map[string]string {
		return map[string]string{"name": fmt.Sprint(i), "hs_lastmodifieddate": "2026-01-02T03:04:05.678Z"}
	})
	c := hubspotRoom(t, api, "contacts, companies")
	c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h'), hallway.replicate('crm.companies', '1 h')`)
	wait := func() {
		c.Exec(`CALL hallway.wait_for_sync('crm.contacts'); CALL hallway.wait_for_sync('crm.companies')`)
	}
	wait()
	require.Equal(t, "250", c.Value(`SET hallway.read_from = 'cache'; SELECT count(*) FROM crm.companies`))
	c.Exec(`SET hallway.read_from = 'cache'`)
	require.Equal(t, fmt.Sprint(many), c.Value(`SELECT count(*) FROM crm.contacts`))

	api.Change("contacts", first+7, map[string]string{"firstname": "Changed"})
	api.Archive("contacts", first+8)
	api.Change("companies", company+3, map[string]string{"name": "Changed"})
	api.Archive("companies", company+4)
	made := api.Seed("contacts", 1, func(int) map[string]string { return map[string]string{"email": "made@example.com"} })
	wait()
	require.Equal(t, "Changed", c.Value(`SELECT firstname FROM crm.contacts WHERE id = %d`, first+7))
	require.Equal(t, "0", c.Value(`SELECT count(*) FROM crm.contacts WHERE id = %d`, first+8))
	require.Equal(t, "made@example.com", c.Value(`SELECT email FROM crm.contacts WHERE id = %d`, made))
	require.Equal(t, fmt.Sprint(many), c.Value(`SELECT count(*) FROM crm.contacts`))
	require.Equal(t, "249 Changed", c.Value(`SELECT count(*) || ' ' || max(name) FROM crm.companies`))

	// The next one asks for what was changed lately, and compares the keys.
	api.Change("contacts", first+9, map[string]string{"firstname": "Again"})
	api.ResetCalls()
	wait()
	require.Equal(t, "Again", c.Value(`SELECT firstname FROM crm.contacts WHERE id = %d`, first+9))
	require.LessOrEqual(t, api.Calls()["list"], many/100+1+3, "%v", api.Calls())
	require.LessOrEqual(t, api.Calls()["search"], 4, "%v", api.Calls())
	require.GreaterOrEqual(t, api.Calls()["search"], 2, "each is searched for what was changed: %v", api.Calls())
}

// What a transaction wrote is undone with it, associations too, and what is cached is
// what was written, though searches lag.
func TestHubSpot_TransactionsAndCache(t *testing.T) {
	api := hubspot.New(hubspot.Options{})
	defer api.Close()
	contact := api.Seed("contacts", 3, func(i int) map[string]string {
		return map[string]string{"email": fmt.Sprintf("c%d@example.com", i), "firstname": "Before"}
	})
	company := api.Seed("companies", 1, func(int) map[string]string { return map[string]string{"name": "One"} })
	api.Associate("contacts", contact, "companies", company)
	api.SetSearchLag(time.Hour)
	c := hubspotRoom(t, api, "contacts, companies, contacts_companies")

	require.Equal(t, "3", c.Value(`SELECT count(*) FROM crm.contacts WHERE firstname = 'Before'`))
	c.Exec(`INSERT INTO crm.contacts (email, firstname) VALUES ('c3@example.com', 'Before')`)
	require.Equal(t, "4", c.Value(`SELECT count(*) FROM crm.contacts WHERE firstname = 'Before'`))
	c.Exec(`DELETE FROM crm.contacts WHERE email = 'c3@example.com'`)
	require.Equal(t, "3", c.Value(`SELECT count(*) FROM crm.contacts WHERE firstname = 'Before'`))
	c.Exec(`UPDATE crm.contacts SET firstname = 'After' WHERE id = %d`, contact)
	require.Equal(t, "After", c.Value(`SELECT firstname FROM crm.contacts WHERE id = %d`, contact), "by its id a record is as it is")
	require.Equal(t, "1", c.Value(`SELECT count(*) FROM crm.contacts_companies`))

	c.Exec(`ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD on_rollback 'compensate');
		ALTER FOREIGN TABLE crm.contacts_companies OPTIONS (ADD on_rollback 'compensate')`)
	c.Exec(`BEGIN;
		UPDATE crm.contacts SET firstname = 'Never' WHERE id = %[1]d;
		INSERT INTO crm.contacts (email) VALUES ('never@example.com');
		INSERT INTO crm.contacts_companies (contact_id, company_id) VALUES (%[1]d, %[3]d);
		DELETE FROM crm.contacts_companies WHERE contact_id = %[2]d;
		ROLLBACK`, contact+1, contact, company)
	undone := func() bool {
		return api.Values("contacts", contact+1)["firstname"] == "Before" && len(api.IDs("contacts")) == 3 &&
			len(api.Associations("contacts", contact+1, "companies", company)) == 0 && len(api.Associations("contacts", contact, "companies", company)) == 1
	}
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, undone), "%v %v", api, c.Query(`SELECT to_jsonb(w) FROM hallway.write_log w`))
}
