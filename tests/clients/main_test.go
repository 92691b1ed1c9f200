// Package clients runs drivers and ORMs as people install them over foreign
// tables of a real PocketBase: node-postgres, Knex, Drizzle, Sequelize and
// Prisma, pgx by itself and under database/sql, psql.
//
// All do the same (node/scenario.js says what) and report what they got; one
// judge (report_test.go) compares that with what PocketBase holds, which it asks
// itself. What a client cannot do over foreign tables is in docs/clients.md.
package clients

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

var (
	env *harness.Env
	// pb is one PocketBase for all clients, who keep apart by mail addresses.
	pb *harness.PocketBase
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{}, func(e *harness.Env) {
		env = e
		var err error
		if pb, err = e.StartPocketBase(200); err != nil {
			panic(err)
		}
	})
}

// patience bounds what a client does, so that a hang fails with its name: much
// more than it takes on a machine that is busy with other tests.
const patience = 5 * time.Minute

// world is a database with the CRM in it, for one client.
type world struct {
	db *harness.Database
	// domain of the mail addresses that the client writes.
	domain string
	slow   *slowAPI
	admin  *harness.Conn
}

// slowAPI stands before PocketBase. Logins it passes on; a list it keeps until who
// asked goes away; a write until release is closed, and then it is done though
// nobody is told.
type slowAPI struct {
	*httptest.Server
	asked, held atomic.Int32
	open        atomic.Bool // everything is passed on
	release     chan struct{}
}

// askedPath answers when a request has come that is kept.
const askedPath = "/asked"

func newSlowAPI(t *testing.T) *slowAPI {
	t.Helper()
	target, err := url.Parse(pb.URL)
	require.NoError(t, err)
	s := &slowAPI{release: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(target)
	ended := make(chan struct{})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == askedPath:
			s.whenAsked(r.Context())
			return
		case s.open.Load() || strings.Contains(r.URL.Path, "/auth-"):
			proxy.ServeHTTP(w, r)
			return
		}
		s.asked.Add(1)
		s.held.Add(1)
		defer s.held.Add(-1)
		if r.Method == http.MethodGet {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		select {
		case <-ended:
		case <-s.release:
			r.Body = io.NopCloser(bytes.NewReader(body))
			// A recorder, as the proxy gives up when its caller is gone.
			proxy.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		}
	}))
	t.Cleanup(func() {
		close(ended)
		s.Close()
	})
	return s
}

// whenAsked returns when a request is kept, or ctx ends.
func (s *slowAPI) whenAsked(ctx context.Context) {
	harness.Eventually(ctx, patience, func() bool { return s.asked.Load() > 0 })
}

func TestClients(t *testing.T) {
	for _, client := range []struct {
		name   string
		run    func(*testing.T, *world) report
		traits traits
	}{
		{name: "pgx", run: runPgx, traits: traits{class: "*pgconn.PgError", copies: true, nests: true}},
		{name: "database-sql", run: runSQL, traits: traits{class: "*pgconn.PgError", cancelled: "context.DeadlineExceeded"}},
		{name: "psql", run: runPsql, traits: traits{class: "ERROR", copies: true}},
		{name: "pg", run: node("pg.js"), traits: traits{class: "DatabaseError", copies: true}},
		{name: "drizzle", run: node("drizzle.js"), traits: traits{class: "DrizzleQueryError", orm: true, nests: true}},
		{name: "sequelize", run: node("sequelize.js"), traits: traits{class: "SequelizeDatabaseError", orm: true, finds: true, names: true, classes: map[string]string{
			"unique": "SequelizeUniqueConstraintError", "foreignKey": "SequelizeForeignKeyConstraintError"}}},
		{name: "prisma", run: node("prisma.js"), traits: traits{class: "PrismaClientKnownRequestError", orm: true, finds: true, names: true,
			classes: map[string]string{"check": "DriverAdapterError", "readOnly": "DriverAdapterError"},
			unreached: map[string][]string{
				"check": {"schema", "table"}, "readOnly": {"schema", "table"}, "foreignKey": {"detail", "schema", "table"},
				"unique": {"detail", "schema", "table"}, "notNull": {"detail", "column", "schema", "table"},
			}}},
		{name: "knex", run: node("knex.js"), traits: traits{class: "DatabaseError", cancelled: "KnexTimeoutError", orm: true, nests: true}},
	} {
		t.Run(client.name, func(t *testing.T) {
			w := newWorld(t, client.name)
			start := time.Now()
			r := client.run(t, w)
			t.Logf("%s, %s", r.Version, time.Since(start).Round(time.Millisecond))
			w.judge(t, r, client.traits)
		})
	}
}

// newWorld makes the tables for a client, and where it is missing the role of an
// application: neither superuser nor owner of the tables.
func newWorld(t *testing.T, name string) *world {
	t.Helper()
	w := &world{db: env.Database(t), domain: name + ".example", slow: newSlowAPI(t)}
	w.admin = w.db.Connect(t)
	w.admin.Exec(`
		DO $$ BEGIN IF to_regrole('app') IS NULL THEN CREATE ROLE app LOGIN; END IF; END $$;
		CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%s');
		CREATE SERVER slow FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%s');
		CREATE USER MAPPING FOR app SERVER crm OPTIONS (user 'writer@hallway.example', password 'writer-password');
		CREATE USER MAPPING FOR app SERVER slow OPTIONS (user 'writer@hallway.example', password 'writer-password');
		CREATE USER MAPPING FOR postgres SERVER crm OPTIONS (user 'writer@hallway.example', password 'writer-password');
		CREATE SCHEMA crm;
		IMPORT FOREIGN SCHEMA "default" FROM SERVER crm INTO crm;
		CREATE FOREIGN TABLE crm.slow_contacts (id text, email text, last_name text, status text) SERVER slow OPTIONS (object 'contacts');
		CREATE FOREIGN TABLE crm.contact_upserts (id text, email text, last_name text, status text, score int8)
			SERVER crm OPTIONS (object 'contacts', upsert_key 'email');
		CREATE TABLE orders (contact text);
		GRANT USAGE ON SCHEMA crm TO app;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA crm TO app;
		GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO app`, pb.URL, w.slow.URL)
	// The login is done before anybody measures time.
	w.slow.open.Store(true)
	require.Equal(t, "0", w.db.ConnectAs(t, "app").Value("SELECT count(*) FROM crm.slow_contacts WHERE email = 'nobody'"))
	w.slow.open.Store(false)
	return w
}

// url of the database for the application's role, over TCP as most connect.
func (w *world) url() string {
	return (&url.URL{Scheme: "postgres", User: url.User("app"), Path: w.db.Name,
		Host: "127.0.0.1:" + strconv.Itoa(w.db.Cluster.Port), RawQuery: "sslmode=disable"}).String()
}

// email of a contact of this client.
func (w *world) email(name string) string { return name + "@" + w.domain }

// record is a contact as PocketBase's API says it, and records all that this
// client made, by mail address.
type record map[string]any

func (w *world) records(t *testing.T) []record {
	t.Helper()
	var out struct {
		Items      []record
		TotalItems int
	}
	filter := url.QueryEscape("email ~ '%@" + w.domain + "'")
	// PocketBase counts by a query of its own, between which and the other rows may
	// come and go.
	whole := func() bool {
		out.Items = nil
		require.NoError(t, pb.Call("GET", "/api/collections/contacts/records?perPage=500&sort=email&filter="+filter, nil, &out))
		return len(out.Items) == out.TotalItems
	}
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, whole), "%d of %d records", len(out.Items), out.TotalItems)
	return out.Items
}

func find(records []record, email string) record {
	for _, r := range records {
		if r["email"] == email {
			return r
		}
	}
	return nil
}

// named are the mail addresses that begin with one of the names.
func named(records []record, name string) (out []string) {
	for _, r := range records {
		if e, _ := r["email"].(string); strings.HasPrefix(e, name) {
			out = append(out, e)
		}
	}
	return out
}
