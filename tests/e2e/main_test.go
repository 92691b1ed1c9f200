// Package e2e runs PostgreSQL, the shim, the sidecar and an API together and
// looks at the promises made to whoever writes SQL. What breaks on purpose is
// in tests/faults; random queries are in tests/fuzz.
package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{Postgres: []string{"wal_level = logical"}}, func(e *harness.Env) { env = e })
}

// synthetic makes server "syn" of the synthetic connector in a new database.
func synthetic(t *testing.T) (*harness.Database, *harness.Conn) {
	t.Helper()
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
		CREATE USER MAPPING FOR PUBLIC SERVER syn`)
	return db, c
}

// stored makes a table that lives in the synthetic connector's memory under a
// name of its own.
func stored(c *harness.Conn, db *harness.Database, table, columns string) {
	c.Exec("CREATE FOREIGN TABLE %s (%s) SERVER syn OPTIONS (store '%s.%s')", table, columns, db.Name, table)
}

const fakeColumns = "id text, email text, name text, stage text, amount float8, active bool, created timestamptz"

// fake starts the API that misbehaves, and makes a server and a table
// "contacts" for one of its modes.
func fake(t *testing.T, c *harness.Conn, api *fakes.Server, mode fakes.Mode) {
	t.Helper()
	fakeAt(c, api.URL, mode, api.Secret)
}

func fakeAt(c *harness.Conn, url string, mode fakes.Mode, token string) {
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'fake.yaml', base_url '%s/%s');
		CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (token '%s');
		CREATE FOREIGN TABLE contacts (%s) SERVER api OPTIONS (object 'contacts')`, url, mode, token, fakeColumns)
}

func startFake(t *testing.T) *fakes.Server {
	t.Helper()
	s, err := fakes.Start()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func rows(lists ...[]any) []harness.Row {
	var out []harness.Row
	for _, l := range lists {
		var r harness.Row
		for _, v := range l {
			if v == nil {
				r = append(r, harness.Null)
			} else {
				r = append(r, fmt.Sprint(v))
			}
		}
		out = append(out, r)
	}
	return out
}

func row(values ...any) []any { return values }
