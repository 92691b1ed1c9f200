package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

var upsertSeed = flag.Uint64("upsert.seed", 0, "seed of the random upserts; 0: one that is printed")

// counting is what a sidecar asked of an API behind it.
type counting struct {
	*httptest.Server
	mu            sync.Mutex
	reads, writes int
}

func startCounting(t *testing.T, target string) *counting {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	c := &counting{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		switch {
		case strings.Contains(r.URL.Path, "/auth-"):
		case r.Method == http.MethodGet:
			c.reads++
		default:
			c.writes++
		}
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *counting) take() (reads, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reads, writes, c.reads, c.writes = c.reads, c.writes, 0, 0
	return reads, writes
}

// A table of the warehouse is kept in an API that has no upsert: what is new there
// is created, what has changed is changed, and for the rest nothing is written.
func TestUpsert_KeepsATableInPocketBase(t *testing.T) {
	const n, batch = 1000, 50
	pb, err := env.StartPocketBase(20)
	require.NoError(t, err)
	api := startCounting(t, pb.URL)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%s', auth_collection '_superusers');
		CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (user '%s', password '%s');
		CREATE FOREIGN TABLE people (id text, email text, last_name text, status text, score int8, last_seen timestamptz, profile jsonb)
			SERVER crm OPTIONS (object 'contacts', upsert_key 'email', cache 'off');
		CREATE TABLE warehouse AS SELECT 'p' || i || '@example.com' email, 'Name ' || i last_name, 'lead' status, i %% 100 score,
			timestamptz '2026-01-01 12:00:00.2501234+00' + i * interval '1 hour' last_seen, jsonb_build_object('n', i, 'tags', array['a', 'b']) profile
			FROM generate_series(1, %d) i`, api.URL, pb.User, pb.Password, n)
	total := func() int {
		t.Helper()
		var out struct{ TotalItems int }
		require.NoError(t, pb.Call("GET", "/api/collections/contacts/records?perPage=1", nil, &out))
		return out.TotalItems
	}
	const push = "INSERT INTO people (email, last_name, status, score, last_seen, profile) SELECT * FROM warehouse"
	run := func() (reads, writes int) {
		t.Helper()
		api.take()
		require.Equal(t, fmt.Sprintf("INSERT 0 %d", n), c.Exec(push))
		return api.take()
	}
	same := func() {
		t.Helper()
		assert.Equal(t, n+20, total(), "no record is there twice")
		// PocketBase keeps milliseconds.
		require.Equal(t, "0", c.Value(`SELECT count(*) FROM warehouse w LEFT JOIN people p USING (email)
			WHERE (w.last_name, w.status, w.score, date_trunc('milliseconds', w.last_seen), w.profile) IS DISTINCT FROM (p.last_name, p.status, p.score, p.last_seen, p.profile)`))
	}

	reads, writes := run()
	t.Logf("%d new rows: %d reads, %d writes", n, reads, writes)
	assert.Equal(t, n/batch, writes, "in batches")
	assert.Less(t, reads, n/20, "looked for together")
	same()

	reads, writes = run()
	t.Logf("nothing new: %d reads, %d writes", reads, writes)
	assert.Zero(t, writes)
	assert.Less(t, reads, n/20)

	c.Exec("UPDATE warehouse SET score = score + 1, profile = profile || '{\"m\": 1.50}' WHERE last_name LIKE '%%00'") // 1 %
	reads, writes = run()
	t.Logf("1 %% changed: %d reads, %d writes", reads, writes)
	assert.LessOrEqual(t, writes, n/100)
	assert.Positive(t, writes)
	same()

	// Somebody changes a record in the API: it is put right, and nothing else.
	require.NoError(t, pb.Call("PATCH", "/api/collections/contacts/records/"+c.Value("SELECT id FROM people WHERE email = 'p7@example.com'"), map[string]any{"score": 99}, nil))
	_, writes = run()
	assert.Equal(t, 1, writes)
	same()

	// Several do it at once, to records that are not there yet.
	c.Exec("UPDATE warehouse SET email = 'q' || email")
	var wg sync.WaitGroup
	for range 3 {
		other := db.Connect(t)
		wg.Go(func() {
			r, err := other.Try(push)
			assert.NoError(t, err)
			assert.Equal(t, fmt.Sprintf("INSERT 0 %d", n), r.Tag)
		})
	}
	wg.Wait()
	assert.Equal(t, 2*n+20, total(), "no record is there twice")

	// A refused row is an error with its column; what was before it stays.
	c.Exec("UPDATE warehouse SET status = 'unheard of' WHERE email = 'qp500@example.com'")
	e := c.Fails("23514", push)
	assert.Equal(t, "status", e.ColumnName)

	r := c.Query("INSERT INTO people (email, last_name, status) VALUES ('p1@example.com', 'One', 'lead') RETURNING email, last_name, hallway.was_created()")
	assert.Equal(t, []harness.Row{{"p1@example.com", "One", "f"}}, r)
	r = c.Query("INSERT INTO people (email, last_name, status) VALUES ('new@example.com', 'New', 'lead') RETURNING email, hallway.was_created()")
	assert.Equal(t, []harness.Row{{"new@example.com", "t"}}, r)
}

// An upsert into PocketBase does what INSERT ... ON CONFLICT DO UPDATE does to a
// local table, whatever the values are.
func TestUpsert_DoesWhatOnConflictDoes(t *testing.T) {
	seed := *upsertSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("-upsert.seed %d", seed)
	pb, err := env.StartPocketBase(1)
	require.NoError(t, err)
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%s', auth_collection '_superusers');
		CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (user '%s', password '%s');
		CREATE FOREIGN TABLE companies (id text) SERVER crm;
		CREATE FOREIGN TABLE there (id text, title text, company text, stage text, amount float8, probability float8, signed bool, closes date, items jsonb)
			SERVER crm OPTIONS (object 'deals', upsert_key 'title', cache 'off');
		DELETE FROM there;
		CREATE TABLE here (title text PRIMARY KEY, company text, stage text, amount float8 DEFAULT 0, probability float8 DEFAULT 0, signed bool DEFAULT false, closes date, items jsonb)`,
		pb.URL, pb.User, pb.Password)
	company := c.Value("SELECT id FROM companies LIMIT 1")
	titles := []string{"a", "A", "ä", "it's", `back\slash`, `ends with \`, `"quoted"`, "per%cent", "under_score", "tab\there", "two  blanks", "日本", "🦆", "(a || b)", "{}", "x"}
	literal := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	optional := []struct {
		column string
		values []string
	}{
		{"amount", []string{"0", "1.5", "1e-3", "12345678.9", "3"}},
		{"probability", []string{"0", "0.1", "1"}},
		{"signed", []string{"true", "false"}},
		{"closes", []string{"NULL", "'2020-02-29'", "'1999-12-31'"}},
		{"items", []string{"NULL", `'{"city": "Ulm", "zip": [1, 2.50]}'`, `'{"zip":[1,2.5],"city":"Ulm"}'`, `'"text"'`}},
	}
	for round := range 40 {
		if r.IntN(4) == 0 { // somebody else
			victim := literal(titles[r.IntN(len(titles))])
			if id := c.Query("SELECT id FROM there WHERE title = %s", victim); len(id) == 1 {
				require.NoError(t, pb.Call("DELETE", "/api/collections/deals/records/"+id[0][0], nil, nil))
			}
			c.Exec("DELETE FROM here WHERE title = %s", victim)
		}
		columns := []string{"title", "company", "stage"}
		var more [][]string
		for _, o := range optional {
			if r.IntN(2) == 0 {
				columns, more = append(columns, o.column), append(more, o.values)
			}
		}
		var tuples, set []string
		for _, i := range r.Perm(len(titles))[:1+r.IntN(len(titles))] {
			row := []string{literal(titles[i]), literal(company), []string{"'new'", "'won'"}[r.IntN(2)]}
			for _, values := range more {
				row = append(row, values[r.IntN(len(values))])
			}
			tuples = append(tuples, "("+strings.Join(row, ", ")+")")
		}
		for _, column := range columns[1:] {
			set = append(set, column+" = EXCLUDED."+column)
		}
		rows := fmt.Sprintf("(%s) VALUES %s", strings.Join(columns, ", "), strings.Join(tuples, ", "))
		want := c.Exec("INSERT INTO here %s ON CONFLICT (title) DO UPDATE SET %s", rows, strings.Join(set, ", "))
		require.Equal(t, want, c.Exec("INSERT INTO there %s", rows), "round %d: %s", round, rows)
		const all = "SELECT title, company, stage, amount, probability, signed, closes, items FROM "
		// As values: 2.50 is 2.5 in jsonb, too.
		differs := c.Query("(%[1]shere EXCEPT ALL %[1]sthere) UNION ALL (%[1]sthere EXCEPT ALL %[1]shere)", all)
		require.Empty(t, differs, "round %d: %s", round, rows)
	}
}

// What is upserted shows in rows that are kept, whoever finds the row; and rows
// that are not written disturb them not.
func TestUpsert_ShowsInTheCache(t *testing.T) {
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h', batch_rows '10');
		CREATE USER MAPPING FOR PUBLIC SERVER syn`, sidecar.Address())
	for i, upserts := range []string{"true", "false"} {
		table := fmt.Sprintf("people%d", i)
		c.Exec(`CREATE FOREIGN TABLE %[1]s (id int8 OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'), name text)
			SERVER syn OPTIONS (store '%[2]s.%[1]s', upsert '%[3]s', upsert_key 'email')`, table, db.Name, upserts)
		c.Exec("INSERT INTO %s (email, name) SELECT 'p' || i, 'v1' FROM generate_series(1, 30) i", table)
		all := "SELECT * FROM " + table
		require.Eventually(t, func() bool { _ = c.Query("%s", all); return cached(t, c, all) }, waitForCache, tick)
		names := func() string {
			return c.Value("SELECT string_agg(name, ' ' ORDER BY id) FROM %s WHERE email IN ('p1', 'p2', 'p31')", table)
		}
		require.Equal(t, "v1 v1", names())
		c.Exec("INSERT INTO %s (email, name) VALUES ('p2', 'v2'), ('p1', 'v1'), ('p31', 'new')", table)
		require.Equal(t, "v1 v2 new", names(), "upserts by the API: %s", upserts)
		require.Equal(t, "31", c.Value("SELECT count(*) FROM %s", table))
		require.True(t, cached(t, c, all), "what was written is known: nothing was forgotten")
		c.Exec("INSERT INTO %s (email, name) VALUES ('p2', 'v2'), ('p1', 'v1')", table)
		require.True(t, cached(t, c, all))
		require.Equal(t, "v1 v2 new", names())
	}
}
