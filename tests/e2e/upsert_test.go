package e2e

import (
	"fmt"
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
			timestamptz '2026-01-01 12:00:00.25+00' + i * interval '1 hour' last_seen, jsonb_build_object('n', i, 'tags', array['a', 'b']) profile
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
		require.Equal(t, "0", c.Value(`SELECT count(*) FROM warehouse w LEFT JOIN people p USING (email)
			WHERE (w.last_name, w.status, w.score, w.last_seen, w.profile) IS DISTINCT FROM (p.last_name, p.status, p.score, p.last_seen, p.profile)`))
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
