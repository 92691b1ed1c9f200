package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

const textTypes = `CREATE TYPE mood AS ENUM ('glücklich');
	CREATE DOMAIN short AS varchar(4);`

const textColumns = `id int8, t text, v varchar(4), c char(3), j json, b jsonb, e mood, s short, a text[], m mood[], ja jsonb[]`

const textRow = `(1, 'grün', 'äöüß', 'é', '{"ä": "ö"}', '{"ä": "ö"}', 'glücklich', 'œ', '{ä,NULL,"é,"}', '{glücklich}', '{"{\"ü\": 1}"}')`

// Text is UTF-8 between backend and sidecar, whatever the client speaks: the
// types' own send and receive functions would take it for the client's.
func TestEncoding_OfTheClientDoesNotMatter(t *testing.T) {
	db, c := synthetic(t)
	c.Exec(textTypes)
	stored(c, db, "f", textColumns)
	c.Exec("CREATE TABLE l (%s)", textColumns)
	for _, table := range []string{"f", "l"} {
		c.Exec("INSERT INTO %s VALUES %s", table, textRow)
	}
	for _, encoding := range []string{"LATIN9", "WIN1252", "UTF8"} {
		c := db.Connect(t)
		c.Exec("SET client_encoding = '%s'", encoding)
		require.Equal(t, c.Query("SELECT * FROM l"), c.Query("SELECT * FROM f"), encoding)
		// An ASCII client can ask for what it cannot write.
		require.Equal(t, "1", c.Value(`SELECT count(*) FROM f WHERE t = U&'gr\00fcn' AND e = U&'gl\00fccklich'::mood`), encoding)
	}
}

// Another encoding of the database: converted both ways, names too, and what it
// has no character for is an error that names the column.
func TestEncoding_OfTheDatabase(t *testing.T) {
	db := env.DatabaseEncoded(t, "LATIN9")
	c := db.Connect(t)
	c.Exec("CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic')")
	c.Exec(textTypes)
	stored(c, db, "f", textColumns)
	c.Exec("CREATE TABLE l (%s)", textColumns)
	for _, table := range []string{"f", "l"} {
		c.Exec("INSERT INTO %s VALUES %s", table, textRow)
	}
	require.Equal(t, c.Query("SELECT *, octet_length(t) FROM l"), c.Query("SELECT *, octet_length(t) FROM f"))
	require.Equal(t, "1", c.Value("SELECT count(*) FROM f WHERE t = 'grün' AND v LIKE 'ä%%' AND e = 'glücklich'"))
	require.Contains(t, c.Explain("SELECT * FROM f WHERE t = 'grün'")[0]["Hallway Request"], "grün")

	// The same rows in a database that has them all, and then one more.
	wide := env.Database(t).Connect(t)
	wide.Exec("CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic')")
	wide.Exec("CREATE FOREIGN TABLE f (id int8, t text) SERVER syn OPTIONS (store '%s.f')", db.Name)
	require.Equal(t, "grün", wide.Value("SELECT t FROM f"))
	wide.Exec("INSERT INTO f VALUES (2, '🦆')")
	err := c.Fails("22P05", "SELECT t FROM f")
	require.Contains(t, err.Where, `column "t"`)
	require.Equal(t, "2", c.Value("SELECT count(*) FROM f"))

	// Errors that quote it are shown as far as they can be.
	c.Exec("CREATE FOREIGN TABLE odd (id int8) SERVER syn OPTIONS (größe '1')")
	require.Contains(t, c.Fails("HV00D", "SELECT * FROM odd").Message, "größe")
}

// hallway.max_wait bounds a statement that has no timeout of its own; a write
// that was sent may have been done.
func TestMaxWait_BoundsWhatHasNoTimeout(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec("CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', latency '20s')")
	stored(c, db, "f", "id int8, t text")
	c.Exec("SET hallway.max_wait = '300ms'")
	err := c.Fails("57014", "SELECT * FROM f")
	require.Contains(t, err.Hint, "hallway.max_wait", "%s", harness.Describe(err))
	require.Equal(t, "08007", c.Fails("08007", "INSERT INTO f VALUES (1, 'x')").Code)
	require.Equal(t, "1", c.Value("SELECT 1"))
}
