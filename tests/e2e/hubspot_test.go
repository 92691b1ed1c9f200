package e2e

import (
	"fmt"
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
	db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, sidecar.Address())
	c := db.Connect(t)
	c.Exec(`CREATE SERVER hs FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', base_url '%s', calls_per_second '100000', searches_per_second '100000');
		CREATE USER MAPPING FOR PUBLIC SERVER hs OPTIONS (token '%s');
		CREATE SCHEMA crm; IMPORT FOREIGN SCHEMA "default" LIMIT TO (%s) FROM SERVER hs INTO crm`, api.URL, hubspot.Token, tables)
	return c
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
	c := hubspotRoom(t, api, "contacts")
	c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	wait := func() { c.Exec(`CALL hallway.wait_for_sync('crm.contacts')`) }
	wait()
	c.Exec(`SET hallway.read_from = 'cache'`)
	require.Equal(t, fmt.Sprint(many), c.Value(`SELECT count(*) FROM crm.contacts`))

	api.Change("contacts", first+7, map[string]string{"firstname": "Changed"})
	api.Archive("contacts", first+8)
	made := api.Seed("contacts", 1, func(int) map[string]string { return map[string]string{"email": "made@example.com"} })
	wait()
	require.Equal(t, "Changed", c.Value(`SELECT firstname FROM crm.contacts WHERE id = %d`, first+7))
	require.Equal(t, "0", c.Value(`SELECT count(*) FROM crm.contacts WHERE id = %d`, first+8))
	require.Equal(t, "made@example.com", c.Value(`SELECT email FROM crm.contacts WHERE id = %d`, made))
	require.Equal(t, fmt.Sprint(many), c.Value(`SELECT count(*) FROM crm.contacts`))

	// The next one asks for what was changed lately, and compares the keys.
	api.Change("contacts", first+9, map[string]string{"firstname": "Again"})
	api.ResetCalls()
	wait()
	require.Equal(t, "Again", c.Value(`SELECT firstname FROM crm.contacts WHERE id = %d`, first+9))
	require.LessOrEqual(t, api.Calls()["list"], many/100+1, "%v", api.Calls())
	require.LessOrEqual(t, api.Calls()["search"], 4, "%v", api.Calls())
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
