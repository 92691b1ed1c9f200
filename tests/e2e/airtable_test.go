package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	connector "github.com/hallwaydb/hallway/connectors/airtable"
	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/harness"
)

// startAirtable is a stand-in with the base CRM and a server for it. It lives in
// 2026, so that what it says is always the same.
func startAirtable(t *testing.T, c *harness.Conn, options string) (*airtable.Server, *airtable.CRM) {
	t.Helper()
	api := airtable.New(airtable.Options{})
	t.Cleanup(api.Close)
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	api.SetClock(func() time.Time { return at })
	crm := airtable.AddCRM(api)
	c.Exec(`CREATE SERVER airtable FOREIGN DATA WRAPPER hallway OPTIONS (connector 'airtable', base_url '%s/v0', base 'CRM', calls_per_second '10000', lockout_seconds '0.1'%s);
		CREATE USER MAPPING FOR PUBLIC SERVER airtable OPTIONS (token '%s'); CREATE SCHEMA crm`, api.URL, options, api.Token)
	return api, crm
}

func TestAirtable_Docs(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api, crm := startAirtable(t, c, "")
	ids, err := api.Seed(crm.Companies, map[string]any{"Name": "Acme", "Domain": "https://acme.example"})
	require.NoError(t, err)
	_, err = api.Seed(crm.Contacts,
		map[string]any{"Name": "Ada Byron", "Email": "ada@example.com", "Status": "Customer", "Amount": 120.5, "VIP": true, "Tags": []any{"red", "green"}, "Company": []any{ids[0]}, "Born": "1815-12-10"},
		map[string]any{"Name": "Grace Hopper", "Email": "grace@example.com", "Status": "Lead", "Amount": 80.0, "Born": "1906-12-09"})
	require.NoError(t, err)
	sample(t, "airtable.md", "import", sqlSample(psqlSession(t, db, `
IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO crm;
\d crm.contacts`)))
	sample(t, "airtable.md", "pushdown", sqlSample(psqlSession(t, db, `
EXPLAIN (COSTS OFF)
SELECT name, amount FROM crm.contacts
 WHERE status = 'Customer' AND amount > 100 AND name ILIKE 'ada%'
 ORDER BY amount DESC LIMIT 10;
EXPLAIN (COSTS OFF)
SELECT count(*) FROM crm.contacts WHERE 'red' = ANY (tags) AND born < '1900-01-01';`, "-A", "-t")))
	sample(t, "airtable.md", "writes", sqlSample(psqlSession(t, db, `
INSERT INTO crm.contacts (name, email, status, tags, company)
SELECT 'Alan Turing', 'alan@example.com', 'Lead', '{green}', ARRAY[id] FROM crm.companies WHERE name = 'Acme'
RETURNING id, label, company_domains;
UPDATE crm.contacts SET amount = amount + 10, vip = false WHERE email = 'ada@example.com' RETURNING name, amount, vip;
DELETE FROM crm.contacts WHERE name = 'Grace Hopper' RETURNING name;`)))
	sample(t, "airtable.md", "upsert", sqlSample(psqlSession(t, db, `
ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD upsert_key 'email');
INSERT INTO crm.contacts (email, name, stars)
VALUES ('ada@example.com', 'Ada Lovelace', 5), ('kurt@example.com', 'Kurt Gödel', 4)
RETURNING name, status, hallway.was_created();
ALTER FOREIGN TABLE crm.contacts OPTIONS (DROP upsert_key);`)))
	sample(t, "airtable.md", "refused", sqlSample(psqlSession(t, db, `
UPDATE crm.contacts SET stars = 9 WHERE email = 'ada@example.com';
INSERT INTO crm.contacts (name, status) VALUES ('Emmy Noether', 'Lead'), ('Sofia Kovalevskaya', 'Friend');
UPDATE crm.contacts SET company = '{recDoesNotExist00}' WHERE email = 'ada@example.com';
UPDATE crm.contacts SET label = 'x';
ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD typecast 'true');
INSERT INTO crm.contacts (name, status, company) VALUES ('Sofia Kovalevskaya', 'Friend', '{Institut Mittag-Leffler}') RETURNING status, company_domains;
SELECT name FROM crm.companies ORDER BY name;`)))
	sample(t, "airtable.md", "server options", optionTable(connector.New(), connectors.OnServer))
	sample(t, "airtable.md", "user mapping options", optionTable(connector.New(), connectors.OnUserMapping))
	sample(t, "airtable.md", "table options", optionTable(connector.New(), connectors.OnTable))
}

// Ten records go into a request, whatever the statement.
func TestAirtable_Batches(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api, crm := startAirtable(t, c, "")
	c.Exec(`IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO crm`)
	api.Forget()
	c.Exec("INSERT INTO crm.contacts (name, email, score) SELECT 'P' || i, i || '@example.com', i FROM generate_series(1, 95) i")
	require.Equal(t, 10, api.Calls(airtable.Create))
	c.Exec("UPDATE crm.contacts SET score = score + 0.5 WHERE score <= 42")
	require.Equal(t, 5, api.Calls(airtable.Update))
	require.Equal(t, "42", c.Value("SELECT count(*) FROM crm.contacts WHERE score <> trunc(score)"))
	c.Exec("ALTER FOREIGN TABLE crm.contacts OPTIONS (upsert_key 'email')")
	c.Exec("INSERT INTO crm.contacts (email, notes) SELECT i || '@example.com', 'again' FROM generate_series(90, 104) i")
	require.Equal(t, 2, api.Calls(airtable.Upsert))
	require.Equal(t, "104", c.Value("SELECT count(*) FROM crm.contacts"))
	c.Exec("DELETE FROM crm.contacts WHERE score < 31")
	require.Equal(t, 3, api.Calls(airtable.Delete))
	require.Len(t, api.Records(crm.Contacts), 74)

	// A record that somebody else has deleted keeps none of the others from it.
	gone := c.Value("SELECT id FROM crm.contacts WHERE score = 50")
	c.Exec("BEGIN; DECLARE x CURSOR FOR SELECT 1; CREATE TEMP TABLE ids AS SELECT id FROM crm.contacts WHERE score BETWEEN 45 AND 54; COMMIT")
	require.True(t, api.Remove(crm.Contacts, gone))
	c.Exec("UPDATE crm.contacts SET notes = 'mine' WHERE id IN (SELECT id FROM ids)")
	require.Equal(t, "9", c.Value("SELECT count(*) FROM crm.contacts WHERE notes = 'mine'"))
}

// Values that could end a literal, a formula or a body, in every place that they
// can be in, and 100 KB of them.
func TestAirtable_Injection(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api, crm := startAirtable(t, c, "")
	c.Exec(`IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO crm; CREATE TABLE said (v text)`)
	long := fmt.Sprintf("repeat($a$') & BLANK() & ('\\$a$, %d)", 100_000/19)
	for _, v := range []string{`$a$'$a$`, `$a$\$a$`, `$a$\'$a$`, `$a$') = BLANK(), 1) & ('$a$`, `$a$"$a$`, `$a${Name}$a$`, `$a$}$a$`, `E'a\nb'`, `E'\\n'`, `E'\x01\x1f\x7f'`, `$a$', 1, '$a$`, `$a$%_\%$a$`,
		`$a$"},"typecast":true,"x":{"$a$`, `U&'\FFFD\2028'`, `$a$'||(SELECT 1)||'$a$`, long} {
		c.Exec("TRUNCATE said; INSERT INTO said SELECT %s", v)
		c.Exec("INSERT INTO crm.contacts (notes, email) SELECT v, 'x' FROM said")
		require.Equal(t, "1", c.Value("SELECT count(*) FROM crm.contacts JOIN said ON notes = v"), v)
		for _, where := range []string{"notes = $1", "notes = ANY (ARRAY[$1, 'other'])", "notes LIKE replace(replace(replace($1, '\\', '\\\\'), '%', '\\%'), '_', '\\_')", "NOT notes <> $1", "starts_with(notes, $1)", "id || $1 <> id", "notes IS NOT DISTINCT FROM $1"} {
			got := c.Value("PREPARE q (text) AS SELECT count(*) FROM crm.contacts WHERE %s; SELECT 1", where)
			require.Equal(t, "1", got)
			sql := c.Value("SELECT 'EXECUTE q(' || quote_literal(v) || ')' FROM said")
			require.Equal(t, "1", c.Value("%s", sql), "%s: %s", where, v)
			c.Exec("DEALLOCATE q")
		}
		require.Equal(t, "0", c.Value("SELECT count(*) FROM crm.contacts, said WHERE id = v OR email = v"), v)
		require.Len(t, api.Records(crm.Contacts), 1)
		c.Exec("DELETE FROM crm.contacts")
	}
}

// The example is what it says: every statement of it works.
func TestAirtable_Example(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	api, crm := startAirtable(t, c, "")
	_, err := api.Seed(crm.Contacts, map[string]any{"Name": "Ada", "Status": "Customer", "Amount": 2000.0, "VIP": true, "Company": "Acme", "Tags": []any{"red"}})
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "airtable.sql"))
	require.NoError(t, err)
	// Where the API is differs, and who has what; and there is no role for replicas.
	c.Exec("DROP SERVER airtable CASCADE; DROP SCHEMA crm")
	script := string(text)
	for from, to := range map[string]string{
		"CREATE EXTENSION IF NOT EXISTS hallway;\n": "",
		"base :'base')":               fmt.Sprintf("base 'CRM', base_url '%s/v0', calls_per_second '1000')", api.URL),
		"OPTIONS (secret 'airtable')": fmt.Sprintf("OPTIONS (token '%s')", api.Token),
		"SELECT hallway.replicate('crm.companies', every => '10 minutes');\n": "",
	} {
		require.Contains(t, script, from)
		script = strings.Replace(script, from, to, 1)
	}
	out := psqlSession(t, db, script, "-A", "-t")
	require.NotContains(t, out, "ERROR:")
	require.Contains(t, out, "\nAda|Acme\n")
	require.Contains(t, out, "\nPerson Seven|f\nPerson 26|t\n")
	require.Contains(t, out, "\n2000\n")
	require.Len(t, api.Records(crm.Contacts), 1)
}

// A replica asks for what was changed, and for the keys of all; whole records only
// for those.
func TestAirtable_Replica(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	stopBeforeDrop(t, sidecar)
	db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", db.Name, sidecar.Address())
	c := db.Connect(t)
	api, crm := startAirtable(t, c, ", cache 'read_through'")
	// The increment asks for what is not before the newest record, and the API tells
	// milliseconds. Each change has one of its own, for if that of the newest were that
	// of more than a page, another page would be read, and rightly. And all are before
	// the copy, for the increment asks for nothing later than when that began.
	at := time.Now().Add(-time.Hour)
	api.SetClock(func() time.Time { at = at.Add(time.Millisecond); return at })
	rows := make([]map[string]any, 350)
	for i := range rows {
		rows[i] = map[string]any{"Name": fmt.Sprint("Contact ", i)}
	}
	ids, err := api.Seed(crm.Contacts, rows...)
	require.NoError(t, err)
	c.Exec(`IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts) FROM SERVER airtable INTO crm;
		SET hallway.read_from = 'cache'; SELECT hallway.replicate('crm.contacts', '1 h')`)
	// The records were all made just now, so the overlap would read them again.
	c.Exec("ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD sync_overlap '0s')")
	c.Exec("CALL hallway.wait_for_sync('crm.contacts')")
	count := func() string {
		return c.Value("SELECT count(*) || ' ' || count(*) FILTER (WHERE name = 'Changed') || ' ' || count(*) FILTER (WHERE name = 'New') FROM crm.contacts")
	}
	require.Equal(t, "350 0 0", count())

	require.True(t, api.Remove(crm.Contacts, ids[3]))
	require.NoError(t, api.Change(crm.Contacts, ids[10], map[string]any{"Name": "Changed"}))
	_, err = api.Seed(crm.Contacts, map[string]any{"Name": "New"})
	require.NoError(t, err)
	api.Forget()
	c.Exec("CALL hallway.wait_for_sync('crm.contacts')")
	require.Equal(t, "350 1 1", count())
	whole, keys := 0, 0
	for _, r := range api.Requests() {
		if body := string(r.Body); strings.Contains(body, "fldName") {
			whole++
			require.Contains(t, body, `"filterByFormula":`, "everything was read")
		} else {
			keys++
		}
	}
	require.Equal(t, 4, keys, "pages of keys with their times")
	require.LessOrEqual(t, whole, 3, "what was changed, what the keys show besides, and whether one is gone")
}
