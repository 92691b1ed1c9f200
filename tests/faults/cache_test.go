// Killing whoever takes part in filling a cache, in the middle of it.

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// fillPhases are moments of a fill, and how PostgreSQL shows that there is one.
var fillPhases = map[string]string{
	// Rows come from the API; none has been written.
	"fetching": "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2",
	"copy":     "SELECT FROM pg_stat_activity WHERE application_name = 'hallway sidecar' AND state = 'active' AND query LIKE 'COPY % FROM STDIN%'",
	"merge":    "SELECT FROM pg_stat_activity WHERE application_name = 'hallway sidecar' AND state = 'active' AND query LIKE 'WITH s AS %'",
}

// Rows change before each kill, and nothing is cached then: whatever dies while
// they are fetched, copied or merged, a region claims just what the API has.
// Regions are looked at themselves, not through queries, which would ask the API
// for what is not there.
func TestCache_KilledWhileItFills(t *testing.T) {
	// With those of replicas there are more than fifty.
	const kills = 36
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx := context.Background()

	cluster, err := env.StartCluster("C", env.Cluster.Library, "synchronous_commit = on")
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true})
	pb, err := env.StartPocketBase(600)
	require.NoError(t, err)
	made := startVersioned(t)
	db := env.DatabaseIn(t, cluster)
	setup := db.Connect(t)
	for _, x := range []struct{ suffix, cache string }{{"", "max_age '1h'"}, {"_live", "cache 'off'"}} {
		setup.Exec(`CREATE SERVER made%[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[3]s', manifest 'fake.yaml', base_url '%[4]s', %[2]s);
			CREATE USER MAPPING FOR PUBLIC SERVER made%[1]s OPTIONS (token 't');
			CREATE SERVER crm%[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[3]s', manifest 'pocketbase.yaml', base_url '%[5]s', auth_collection '_superusers', page_size '50', %[2]s);
			CREATE USER MAPPING FOR PUBLIC SERVER crm%[1]s OPTIONS (user '%[6]s', password '%[7]s');
			CREATE FOREIGN TABLE made%[1]s (id text, name text, stage text, amount float8) SERVER made%[1]s OPTIONS (object 'contacts');
			CREATE FOREIGN TABLE crm%[1]s (id text, email text, last_name text, status text, score float8) SERVER crm%[1]s OPTIONS (object 'contacts')`,
			x.suffix, x.cache, sidecar.Address(), made.URL, pb.URL, pb.User, pb.Password)
	}
	tables := []string{"made", "crm"}
	for _, x := range tables {
		setup.Exec("CREATE TABLE %[1]s_copy AS SELECT * FROM %[1]s_live", x)
		setup.Exec("SELECT hallway.refresh('%s')", x)
	}
	require.Equal(t, fmt.Sprint(len(made.list(0)[""])), setup.Value("SELECT count(*) FROM made_copy"))
	require.Equal(t, "600", setup.Value("SELECT count(*) FROM crm_copy"))
	// So that a merge lasts long enough to be met.
	setup.Exec("CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END'")
	for _, r := range setup.Query("SELECT cache_relid::regclass FROM hallway.cache_tables") {
		setup.Exec("CREATE TRIGGER slowly AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION slowly()", r[0])
	}
	var ids []string
	for _, r := range setup.Query("SELECT id FROM crm_copy") {
		ids = append(ids, r[0])
	}

	regions, met := 0, map[string]int{}
	for i := range kills {
		victim := []string{"sidecar", "PostgreSQL", "API"}[i%3]
		phase := []string{"copy", "merge"}[i/3%2]
		queries := []string{"SELECT * FROM made", "SELECT count(*) FROM made WHERE stage = 's3'"}
		if i/6%2 == 0 {
			queries = queries[:1] // else it is mostly the small one that is met
		}
		if victim == "API" {
			phase, queries = "fetching", []string{"SELECT * FROM crm", "SELECT * FROM crm WHERE status = 'lead'"}
		}
		when := fmt.Sprintf("kill %d: %s, while a fill is at %s", i, victim, phase)

		made.version.Add(1)
		for range 3 {
			require.NoError(t, pb.Call("PATCH", "/api/collections/contacts/records/"+ids[rng.IntN(len(ids))], map[string]any{"last_name": fmt.Sprint("Changed ", i), "status": []string{"lead", "customer"}[rng.IntN(2)]}, nil))
		}
		watcher := db.Connect(t)
		for _, x := range tables {
			watcher.Exec("SELECT hallway.invalidate('%[1]s'); TRUNCATE %[1]s_copy; INSERT INTO %[1]s_copy SELECT * FROM %[1]s_live", x)
		}
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			readers(ctx, db, queries, stop)
		}()
		require.True(t, harness.Eventually(ctx, time.Minute, func() bool {
			return watcher.Value("SELECT EXISTS (%s)", fillPhases[phase]) == "t"
		}), "no fill gets so far: %s", when)
		met[phase]++
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
		switch victim {
		case "sidecar":
			sidecar.Kill()
		case "PostgreSQL":
			require.NoError(t, cluster.Crash())
		case "API":
			pb.Kill()
		}
		close(stop)
		<-done
		switch victim {
		case "sidecar":
			require.NoError(t, sidecar.Start())
		case "PostgreSQL":
			require.NoError(t, cluster.Start())
		case "API":
			require.NoError(t, pb.Restart())
		}
		c := db.Connect(t)
		regions += honest(t, c, when)
		for _, x := range tables {
			require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[1]s_copy) UNION ALL (SELECT * FROM %[1]s_copy EXCEPT ALL SELECT * FROM %[1]s)", x), "after %s", when)
		}
		regions += honest(t, c, "reading again after "+when)
		_ = c.Close(ctx)
		_ = watcher.Close(ctx)
	}
	t.Logf("%d kills: %v; %d regions looked at", kills, met, regions)
	require.Greater(t, regions, kills, "there was something to look at")
	require.GreaterOrEqual(t, met["copy"], 10)
	require.GreaterOrEqual(t, met["merge"], 10)
	require.GreaterOrEqual(t, met["fetching"], 10)
}

// versionedAPI has some thousand contacts, which change with its version.
type versionedAPI struct {
	*httptest.Server
	version atomic.Int64

	mu    sync.Mutex
	of    int
	lists map[string][]map[string]any // of version of, by stage; "": all
}

func startVersioned(t *testing.T) *versionedAPI {
	a := &versionedAPI{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond)
		q := r.URL.Query()
		at, _ := strconv.Atoi(q.Get("after"))
		list := a.list(int(a.version.Load()))[q.Get("stage")]
		body := map[string]any{}
		end := min(at+100, len(list))
		if end < len(list) {
			body["paging"] = map[string]any{"next": map[string]any{"after": strconv.Itoa(end)}}
		}
		body["results"] = list[min(at, end):end]
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(a.Close)
	return a
}

// list is what there is in a version, by stage: about a third of the rows differ from
// those of the one before, some are new and some are gone.
func (a *versionedAPI) list(version int) map[string][]map[string]any {
	const contacts = 3000 // more than a fill keeps in memory
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lists != nil && a.of == version {
		return a.lists
	}
	a.of, a.lists = version, map[string][]map[string]any{}
	pad := strings.Repeat("x", 700)
	for i := range contacts {
		if (i+version)%50 == 0 {
			continue
		}
		x := map[string]any{"id": fmt.Sprintf("c%d", i), "name": pad, "stage": fmt.Sprintf("s%d", i%5), "amount": i}
		if i%7 == version%7 {
			x["name"] = fmt.Sprint(pad, version)
			x["stage"] = fmt.Sprintf("s%d", version%5)
		}
		for _, stage := range []string{"", fmt.Sprint(x["stage"])} {
			a.lists[stage] = append(a.lists[stage], x)
		}
	}
	return a.lists
}

// readers ask until they are stopped; they may be told of any failure.
func readers(ctx context.Context, db *harness.Database, sql []string, stop chan struct{}) {
	ended := make(chan struct{})
	for _, q := range sql {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := db.Open(ctx, "postgres")
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				for range 3 {
					_, _ = harness.Simple(ctx, conn, "SET statement_timeout = '20s'; SET hallway.max_age = 0; "+q)
				}
				_ = conn.Close(ctx)
			}
		}()
	}
	for range sql {
		<-ended
	}
}

// honest compares each region with the copy and counts them.
func honest(t *testing.T, c *harness.Conn, when string) int {
	t.Helper()
	n := 0
	for _, r := range c.Query(`SELECT t.relid::regclass, t.cache_relid::regclass, r.condition FROM hallway.cache_regions r JOIN hallway.cache_tables t ON t.id = r.cache_id`) {
		table, cache, condition := r[0], r[1], r[2]
		if condition == "" {
			condition = "true"
		}
		require.Empty(t, c.Query("(SELECT * FROM %[1]s WHERE %[3]s EXCEPT ALL SELECT * FROM %[2]s WHERE %[3]s) UNION ALL (SELECT * FROM %[2]s WHERE %[3]s EXCEPT ALL SELECT * FROM %[1]s WHERE %[3]s)", cache, table+"_copy", condition),
			"%s: region %q of %s", when, condition, table)
		n++
	}
	return n
}
