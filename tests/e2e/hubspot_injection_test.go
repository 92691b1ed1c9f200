package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// Values that could end a text, a body, a parameter or a path, in every place that
// they can be in, and 100 KB of them.
func TestHubSpot_Injection(t *testing.T) {
	api := hubspot.New(hubspot.Options{})
	defer api.Close()
	api.AddProperty("contacts", hubspot.Property{Name: "erp_key", Type: "string", HasUniqueValue: true})
	other := api.Seed("contacts", 1, func(int) map[string]string {
		return map[string]string{"email": "other@example.com", "firstname": "other", "erp_key": "other"}
	})
	api.AddOwner("other@example.com", "Otto", "Other")
	untouched := api.Values("contacts", other)
	c := env.Database(t).Connect(t)
	hubspotTables(c, api, "LIMIT TO (contacts, owners)")
	c.Exec("CREATE TABLE said (v text)")
	upsertBy := func(column string) {
		c.Exec("ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD upsert_key '%s')", column)
	}
	for _, v := range []string{`$a$'$a$`, `$a$"$a$`, `$a$\$a$`, `$a$\"$a$`, `$a$"}]}],"limit":1,"x":[{"y":[{"z":"$a$`, `$a$","operator":"HAS_PROPERTY$a$`, `$a${value}{values}{field}{match}$a$`, `$a$&email=other@example.com$a$`, `$a$%26limit%3D0$a$`,
		`'../../owners?x=1&y=#z'`, `$a$+ a$a$`, `$a$a;b,c$a$`, `$a$%_\%$a$`, `$a$NULL$a$`, `E'a\nb\rc\td'`, `E'\x01\x1f\x7f'`, `U&'\FFFD\2028\00e9'`, `repeat(U&'"\20AC\\', 21845)`} { // the last has 109 KB, and as many characters as a property takes
		c.Exec("TRUNCATE said; INSERT INTO said SELECT %s", v)
		api.AddOwner(c.Value("SELECT v FROM said"), "Olga", "Odd")
		c.Exec("INSERT INTO crm.contacts (email, firstname, lastname, erp_key) SELECT 'x@example.com', v, v, v FROM said")
		literal := c.Value("SELECT quote_literal(v) FROM said")
		api.ResetCalls()
		for where, n := range map[string]string{
			"firstname = $1": "1", "firstname = ANY (ARRAY[$1, 'nobody'])": "1", "firstname IN ($1, 'other')": "2", "firstname LIKE replace(replace(replace($1, '\\', '\\\\'), '%', '\\%'), '_', '\\_')": "1", "NOT firstname <> $1": "1",
			"firstname IS NOT DISTINCT FROM $1": "1", "starts_with(firstname, $1)": "1", "erp_key = $1 AND lastname = $1": "1", "erp_key = $1 OR email = $1": "1",
			"firstname <> $1": "1", "email = $1": "0", "hs_lead_status = $1": "0",
		} {
			c.Exec("PREPARE q (text) AS SELECT count(*) FROM crm.contacts WHERE %s", where)
			require.Equal(t, n, c.Value("EXECUTE q(%s)", literal), "%s: %s", where, v)
			c.Exec("DEALLOCATE q")
		}
		require.Equal(t, "Olga", c.Value("SELECT string_agg(first_name, ',') FROM crm.owners WHERE email = %s", literal), v)
		if v != `E'\x01\x1f\x7f'` && !strings.HasPrefix(v, "repeat") { // which are compared here
			require.Positive(t, api.Calls()["search"], v)
		}
		for _, r := range api.Requests() {
			require.Equal(t, 200, r.Status, "no request is refused, or it would prove nothing: %s of %s", r.Kind, v)
		}

		upsertBy("erp_key")
		require.Equal(t, []string{"f", "t"}, []string{
			c.Value("INSERT INTO crm.contacts (erp_key, lastname) SELECT v, 'again' FROM said RETURNING hallway.was_created()"),
			c.Value("INSERT INTO crm.contacts (erp_key, lastname) SELECT left(v, 60000) || '2', 'new' FROM said RETURNING hallway.was_created()")}, v)
		c.Exec("ALTER FOREIGN TABLE crm.contacts OPTIONS (DROP upsert_key)")
		require.Equal(t, "UPDATE 1", c.Exec("UPDATE crm.contacts SET firstname = %[1]s || '!', lastname = %[1]s WHERE erp_key = %[1]s", "left("+literal+", 60000)||substr("+literal+", 60001)"), v)
		require.Equal(t, "1", c.Value("SELECT count(*) FROM crm.contacts WHERE lastname = %[1]s AND firstname = %[1]s || '!'", literal), v)
		require.Equal(t, "DELETE 1", c.Exec("DELETE FROM crm.contacts WHERE lastname = %s", literal), v)
		require.Equal(t, "DELETE 1", c.Exec("DELETE FROM crm.contacts WHERE erp_key = left(%s, 60000) || '2'", literal), v)
		require.Equal(t, []int64{other}, api.IDs("contacts"), v)
	}
	upsertBy("email")
	for i, mail := range []string{"o'hara+{value}@example.com", "&limit=0#x@example.com", "%26limit=0/?y=1|z@example.com", "$`{match}^~@example.com"} {
		made := "t"
		for range 2 {
			require.Equal(t, made, c.Value("INSERT INTO crm.contacts (email, firstname) VALUES ($m$%s$m$, 'mail') RETURNING hallway.was_created()", mail))
			made = "f"
		}
		require.Equal(t, fmt.Sprint(i+1), c.Value("SELECT count(*) FROM crm.contacts WHERE firstname = 'mail'"), mail)
		require.Equal(t, "1", c.Value("SELECT count(*) FROM crm.contacts WHERE email = $m$%s$m$", mail))
	}
	require.Equal(t, "UPDATE 1", c.Exec("UPDATE crm.contacts SET lastname = 'x' WHERE email = $m$%s$m$", "o'hara+{value}@example.com"))
	require.Equal(t, untouched, api.Values("contacts", other), "nobody else was written to")
}
