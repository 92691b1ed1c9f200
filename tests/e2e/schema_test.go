package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the API has by now, and what to do about it.
func TestRefreshSchema(t *testing.T) {
	api := startFake(t)
	db := env.Database(t)
	c := db.Connect(t)
	fake(t, c, api, "ok")
	c.Exec("DROP FOREIGN TABLE contacts; CREATE SCHEMA crm; IMPORT FOREIGN SCHEMA \"default\" LIMIT TO (contacts) FROM SERVER api INTO crm")
	const diff = "SELECT change, \"column\", type, statement FROM hallway.refresh_schema('crm.contacts')"
	require.Empty(t, c.Query(diff), "what was imported just now is as it should be")

	c.Exec(`ALTER FOREIGN TABLE crm.contacts RENAME TO "My Contacts";
		ALTER FOREIGN TABLE crm."My Contacts" DROP COLUMN stage, ALTER COLUMN amount TYPE text,
			ADD COLUMN "Old One" text OPTIONS (field 'old'), ADD COLUMN _raw jsonb, ADD COLUMN twice text GENERATED ALWAYS AS (name || name) STORED`)
	got := c.Query(`SELECT change, "column", type, statement FROM hallway.refresh_schema('crm."My Contacts"') ORDER BY change`)
	require.Len(t, got, 3)
	assert.Equal(t, `ALTER FOREIGN TABLE crm."My Contacts" ADD COLUMN stage text`, got[0][3])
	assert.Equal(t, `ALTER FOREIGN TABLE crm."My Contacts" DROP COLUMN "Old One"`, got[1][3])
	assert.Equal(t, "type", got[2][0])
	for _, r := range got {
		c.Exec("%s", r[3])
	}
	require.Empty(t, c.Query(`SELECT * FROM hallway.refresh_schema('crm."My Contacts"')`))
	assert.Equal(t, "0", c.Value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hallway\\_schema%%'"), "nothing is left of it")

	c.Exec("CREATE TABLE plain (); CREATE FOREIGN TABLE nothing (id text) SERVER api OPTIONS (object 'nowhere')")
	c.Fails("42809", "SELECT * FROM hallway.refresh_schema('plain')")
	e := c.Fails("HV00R", "SELECT * FROM hallway.refresh_schema('nothing')")
	assert.Equal(t, `the API has no object "nowhere" (any more)`, e.Message)
}
