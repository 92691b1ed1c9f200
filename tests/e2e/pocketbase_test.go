package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// A real application server, from IMPORT FOREIGN SCHEMA to DELETE: what Hallway
// says is compared with what PocketBase's own API says.
func TestPocketBase_EndToEnd(t *testing.T) {
	pb, err := env.StartPocketBase(500)
	require.NoError(t, err)
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%s', auth_collection '_superusers');
		CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (user '%s', password '%s');
		CREATE SCHEMA crm; IMPORT FOREIGN SCHEMA "default" FROM SERVER crm INTO crm;
		CREATE FOREIGN TABLE people (id text, mail text OPTIONS (field 'email'), surname text OPTIONS (field 'last_name'), status text, score int8)
			SERVER crm OPTIONS (object 'contacts')`, pb.URL, pb.User, pb.Password)

	// total asks PocketBase itself.
	total := func(filter string) string {
		t.Helper()
		var out struct{ TotalItems int }
		require.NoError(t, pb.Call("GET", "/api/collections/contacts/records?perPage=1&filter="+url.QueryEscape(filter), nil, &out))
		return fmt.Sprint(out.TotalItems)
	}
	record := func(id string) map[string]any {
		t.Helper()
		var out map[string]any
		require.NoError(t, pb.Call("GET", "/api/collections/contacts/records/"+id, nil, &out))
		return out
	}

	t.Run("reads what is there", func(t *testing.T) {
		c := c.On(t)
		require.Equal(t, "500", total(""))
		require.Equal(t, "500", c.Value("SELECT count(*) FROM crm.contacts"))
		require.Equal(t, "500", c.Value("SELECT count(DISTINCT id) FROM crm.contacts"))
		require.Equal(t, total("status = 'customer'"), c.Value("SELECT count(*) FROM crm.contacts WHERE status = 'customer'"))
		require.Equal(t, total("score >= 50 && score < 80"), c.Value("SELECT count(*) FROM people WHERE score >= 50 AND score < 80"))
		require.Equal(t, total("company = ''"), c.Value("SELECT count(*) FROM crm.contacts WHERE company IS NULL"))
		// Local and pushed agree.
		c.Exec("CREATE TABLE l AS SELECT * FROM crm.contacts")
		const join = "SELECT x.email, k.name FROM %s x LEFT JOIN crm.companies k ON k.id = x.company ORDER BY x.email COLLATE \"C\" LIMIT 30"
		require.Equal(t, c.Query(join, "l"), c.Query(join, "crm.contacts"))
	})
	t.Run("asks for no more than it needs", func(t *testing.T) {
		c := c.On(t)
		plan := c.Value("EXPLAIN (VERBOSE, FORMAT JSON) SELECT mail FROM people WHERE status = 'lead' AND score > 90 ORDER BY id LIMIT 5")
		require.Contains(t, plan, "filter=")
		require.Contains(t, plan, "fields=")
		require.NotContains(t, plan, pb.Password)
	})

	var id string
	t.Run("insert returns what the API made of it", func(t *testing.T) {
		c := c.On(t)
		r := c.Query("INSERT INTO people (mail, surname, status) VALUES ('ada@example.com', 'Lovelace', 'lead') RETURNING id, mail, score")
		require.Len(t, r, 1)
		id = r[0][0]
		require.Equal(t, harness.Row{id, "ada@example.com", "0"}, r[0])
		require.Equal(t, "Lovelace", record(id)["last_name"])
	})
	t.Run("refusals are the API's, and take the local row along", func(t *testing.T) {
		c := c.On(t)
		c.Exec("CREATE TABLE orders (contact text)")
		for _, tc := range []struct{ values, state, column string }{
			{"('not an address', 'X', 'lead')", "23514", "mail"},
			{"('ada@example.com', 'X', 'lead')", "23505", "mail"},
			{"('bob@example.com', '', 'lead')", "23502", "surname"},
			{"('bob@example.com', 'X', 'unheard of')", "23514", "status"},
			{"('bob@example.com', repeat('x', 100), 'lead')", "22001", "surname"},
		} {
			c.Exec("BEGIN; INSERT INTO orders VALUES ('x')")
			e := c.Fails(tc.state, "INSERT INTO people (mail, surname, status) VALUES %s", tc.values)
			require.Equal(t, tc.column, e.ColumnName, harness.Describe(e))
			require.Equal(t, "people", e.TableName)
			require.Contains(t, e.Message, "[CRM]")
			c.Exec("ROLLBACK")
			require.Equal(t, "0", c.Value("SELECT count(*) FROM orders"))
		}
		require.Equal(t, "501", total(""))
	})
	t.Run("update changes what it names", func(t *testing.T) {
		c := c.On(t)
		require.Equal(t, "UPDATE 1", c.Exec("UPDATE people SET score = score + 7, surname = 'O''Brien \"x\" \\ 🦆' WHERE id = '%s'", id))
		r := record(id)
		require.Equal(t, float64(7), r["score"])
		require.Equal(t, `O'Brien "x" \ 🦆`, r["last_name"])
		require.Equal(t, "ada@example.com", r["email"])
		require.Equal(t, "1", c.Value(`SELECT count(*) FROM people WHERE surname = 'O''Brien "x" \ 🦆'`))
		require.Equal(t, "UPDATE 0", c.Exec("UPDATE people SET score = 1 WHERE id = 'nosuchrecord000'"))
		c.Fails("42703", "UPDATE people SET created = now() WHERE id = '%s'", id)
		_, err := c.Try("UPDATE crm.contacts SET created = now() WHERE id = '%s'", id)
		require.Error(t, err, "the API sets it")
	})
	t.Run("values cannot leave their quotes", func(t *testing.T) {
		c := c.On(t)
		for _, v := range []string{"' || id != '", "x' && email ~ '%", `\' || 1=1 || email = \'`, `\`, "'", `\\`, "''", "@request.auth.id", "%", "\n"} {
			require.Equal(t, "0", c.Value("SELECT count(*) FROM crm.contacts WHERE email = '%s'", escape(v)), v)
			require.Equal(t, "0", c.Value("SELECT count(*) FROM crm.contacts WHERE email IN ('%s', 'nobody')", escape(v)), v)
		}
	})
	t.Run("delete", func(t *testing.T) {
		c := c.On(t)
		require.Equal(t, "DELETE 1", c.Exec("DELETE FROM people WHERE mail = 'ada@example.com'"))
		require.Equal(t, "DELETE 0", c.Exec("DELETE FROM people WHERE mail = 'ada@example.com'"))
		require.Equal(t, "500", total(""))
		// A row that went away between the read and the write is no error.
		c.Exec("INSERT INTO people (mail, surname, status) VALUES ('gone@example.com', 'Gone', 'lead')")
		c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT id FROM people WHERE mail = 'gone@example.com'")
		gone := c.Value("FETCH k")
		require.NoError(t, pb.Call("DELETE", "/api/collections/contacts/records/"+gone, nil, nil))
		require.Equal(t, "UPDATE 0", c.Exec("UPDATE people SET score = 3 WHERE id = '%s'", gone))
		c.Exec("COMMIT")
	})
	t.Run("wrong password", func(t *testing.T) {
		c := c.On(t)
		c.Exec("ALTER USER MAPPING FOR PUBLIC SERVER crm OPTIONS (SET password 'wrong-password-x')")
		e := c.Fails("28000", "SELECT count(*) FROM people")
		require.NotContains(t, harness.Describe(e), "wrong-password-x")
		c.Exec("ALTER USER MAPPING FOR PUBLIC SERVER crm OPTIONS (SET password '%s')", pb.Password)
		require.Equal(t, "500", c.Value("SELECT count(*) FROM people"))
	})
	t.Run("analyze is refused where it could leak", func(t *testing.T) {
		c := c.On(t)
		_, err := c.Try("ANALYZE people")
		if err != nil {
			t.Log(harness.Describe(err))
		}
		require.Equal(t, "0", c.Value("SELECT count(*) FROM pg_stats WHERE tablename = 'people'"))
		c.Exec("ALTER SERVER crm OPTIONS (ADD cache_scope 'server'); ANALYZE people")
		require.NotEqual(t, "0", c.Value("SELECT count(*) FROM pg_stats WHERE tablename = 'people'"))
		require.Equal(t, "500", c.Value("SELECT reltuples FROM pg_class WHERE relname = 'people'"))
	})
}

func escape(s string) string { return strings.ReplaceAll(s, "'", "''") }
