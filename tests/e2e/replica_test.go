package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// replicaRoom is a database with a sidecar of its own that caches, and a
// PocketBase whose contacts are a replica and, in "live", are not cached.
type replicaRoom struct {
	t       *testing.T
	db      *harness.Database
	c       *harness.Conn
	pb      *harness.PocketBase
	sidecar *harness.Sidecar
	seen    *requests
}

// requests are those that the replica's server gets, in order: "GET path?query".
type requests struct {
	mu  sync.Mutex
	all []string
}

// take gives the requests since it was last called whose text has all parts; a
// part that begins with "!" must not be there.
func (q *requests) take(parts ...string) (list []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.all {
		if !slices.ContainsFunc(parts, func(p string) bool {
			not, negated := strings.CutPrefix(p, "!")
			return strings.Contains(r, not) == negated
		}) {
			list = append(list, r)
		}
	}
	q.all = nil
	return list
}

// watched is a way to an API on which its requests are seen.
func watched(t *testing.T, target string) (string, *requests) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	q := &requests{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		q.mu.Lock()
		q.all = append(q.all, req.Method+" "+req.URL.Path+"?"+req.URL.RawQuery)
		q.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, q
}

// manifestWith is a directory with the manifest of the demonstration CRM, in
// which each old text is replaced by the new one after it.
func manifestWith(t *testing.T, oldnew ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(env.Root, "examples", "pocketbase.yaml"))
	require.NoError(t, err)
	text := string(b)
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, text, oldnew[i])
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	dir, err := env.Mkdir("manifest")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pocketbase.yaml"), []byte(text), 0o644))
	return dir
}

const crmServer = `CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway
	OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%[2]s', auth_collection '_superusers', cache '%[5]s');
	CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS ("user" '%[3]s', password '%[4]s');
	CREATE SCHEMA %[1]s; IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts, companies) FROM SERVER %[1]s INTO %[1]s`

// stopBeforeDrop stops a sidecar before the database goes that was made last: jobs
// take five seconds to give up where theirs is gone.
func stopBeforeDrop(t *testing.T, s *harness.Sidecar) {
	t.Cleanup(func() { _ = s.Stop(syscall.SIGTERM, 30*time.Second) })
}

func newReplicaRoom(t *testing.T, contacts int, settings harness.SidecarSettings) *replicaRoom {
	t.Helper()
	pb, err := env.StartPocketBase(contacts)
	require.NoError(t, err)
	t.Cleanup(func() { pb.Kill() })
	settings.Cache = true
	r := &replicaRoom{t: t, pb: pb, sidecar: env.NewSidecar(t, settings)}
	r.db = env.Database(t)
	stopBeforeDrop(t, r.sidecar)
	r.db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", r.db.Name, r.sidecar.Address())
	r.c = r.db.Connect(t)
	var address string
	address, r.seen = watched(t, pb.URL)
	r.c.Exec(crmServer, "crm", address, pb.User, pb.Password, "read_through")
	r.c.Exec(crmServer, "live", pb.URL, pb.User, pb.Password, "off")
	return r
}

func (r *replicaRoom) wait() {
	r.t.Helper()
	r.c.Exec(`CALL hallway.wait_for_sync('crm.contacts')`)
}

// table is the cache table of the replica.
func (r *replicaRoom) table() string {
	return r.c.Value(`SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = 'crm.contacts'::regclass AND replica`)
}

// equal compares the replica with the API.
func (r *replicaRoom) equal() {
	r.t.Helper()
	require.Empty(r.t, r.different())
}

func (r *replicaRoom) different() []harness.Row {
	r.c.Exec(`DROP TABLE IF EXISTS pg_temp.replica; SET hallway.read_from = 'cache';
		CREATE TEMP TABLE replica AS SELECT to_jsonb(t) AS j FROM crm.contacts t; RESET hallway.read_from;
		DROP TABLE IF EXISTS pg_temp.api; CREATE TEMP TABLE api AS SELECT to_jsonb(t) AS j FROM live.contacts t`)
	return r.c.Query(`SELECT 'replica', j->>'id' FROM (SELECT * FROM replica EXCEPT SELECT * FROM api) x UNION ALL
		SELECT 'api', j->>'id' FROM (SELECT * FROM api EXCEPT SELECT * FROM replica) x`)
}

func (r *replicaRoom) patch(id string, fields map[string]any) {
	r.t.Helper()
	require.NoError(r.t, r.pb.Call("PATCH", "/api/collections/contacts/records/"+id, fields, nil))
}

func (r *replicaRoom) create(email string) string {
	r.t.Helper()
	var out struct{ ID string }
	require.NoError(r.t, r.pb.Call("POST", "/api/collections/contacts/records",
		map[string]any{"email": email, "last_name": "New", "status": "lead"}, &out))
	return out.ID
}

func (r *replicaRoom) delete(id string) {
	r.t.Helper()
	require.NoError(r.t, r.pb.Call("DELETE", "/api/collections/contacts/records/"+id, nil, nil))
}

func (r *replicaRoom) ids(n int) []string {
	r.t.Helper()
	var list struct{ Items []struct{ ID string } }
	require.NoError(r.t, r.pb.Call("GET", fmt.Sprintf("/api/collections/contacts/records?perPage=%d&sort=id&fields=id", n), nil, &list))
	var out []string
	for _, i := range list.Items {
		out = append(out, i.ID)
	}
	return out
}

func TestReplicaOfPocketBase(t *testing.T) {
	r := newReplicaRoom(t, 3000, harness.SidecarSettings{})
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.wait()
	r.equal()
	status := r.c.Query(`SELECT state, rows, as_of IS NOT NULL, error IS NULL FROM hallway.sync_status`)
	assert.Equal(t, rows(row("idle", 3000, "t", "t")), status)
	plan := fmt.Sprint(r.c.Query(`EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT * FROM crm.contacts`))
	assert.Contains(t, plan, "hit")

	ids := r.ids(10)
	r.patch(ids[0], map[string]any{"last_name": "Changed"})
	r.delete(ids[1])
	made := r.create("made@example.com")
	r.wait()
	r.equal()
	assert.Equal(t, "Changed", r.c.Value(`SELECT last_name FROM crm.contacts WHERE id = '%s'`, ids[0]))
	assert.Equal(t, "0", r.c.Value(`SELECT count(*) FROM crm.contacts WHERE id = '%s'`, ids[1]))
	assert.Equal(t, "1", r.c.Value(`SELECT count(*) FROM crm.contacts WHERE id = '%s'`, made))
	assert.NotEqual(t, "3000", r.c.Value(`SELECT rows FROM hallway.sync_status`), "an increment read everything")
}

// A sidecar that is killed while it copies goes on where it stood: the API is
// not asked again for what was copied.
func TestReplicaSurvivesItsSidecar(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newReplicaRoom(t, 6000, harness.SidecarSettings{})
	// Six seconds, so that it is not over before it is killed.
	r.c.Exec(`ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD page_size '50'); ALTER SERVER crm OPTIONS (ADD calls_per_second '20')`)
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.c.Exec(`SELECT hallway.sidecar_version('crm')`) // which makes the sidecar know the database
	read := func() int {
		n, _ := strconv.Atoi(r.c.Value(`SELECT coalesce(max(rows_read), 0) FROM hallway.replicas`))
		return n
	}
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return read() >= 500 }), "nothing is copied")
	// How far it is: by the rate so far, and what is left of the API's total.
	require.Equal(t, rows(row("backfill", "t", "t", "t", "t")), r.c.Query(`SELECT state, rows BETWEEN 500 AND 6000 AND pages >= rows / 50, rows_per_second > 0,
		estimated_end > now(), abs(extract(epoch FROM estimated_end - now()) * rows_per_second - (6000 - rows)) <= 0.1 * (6000 - rows) + 10
		FROM hallway.sync_status`))
	r.sidecar.Kill()
	stood := read()
	require.Less(t, stood, 6000, "the copy was over before the sidecar was killed")
	ids := r.ids(3)
	r.patch(ids[0], map[string]any{"last_name": "Behind the copy"})
	r.delete(ids[1])
	require.NoError(t, r.sidecar.Start())
	r.c = r.db.Connect(t)
	r.c.Exec(`SELECT hallway.sidecar_version('crm')`)
	var totals []string // that are said once it has gone on
	require.True(t, harness.Eventually(t.Context(), time.Minute, func() bool {
		now := r.c.Query(`SELECT last_success IS NOT NULL, rows_read, coalesce(total_rows, 0) FROM hallway.replicas`)[0]
		if n, _ := strconv.Atoi(now[1]); n > stood && now[0] == "f" && !slices.Contains(totals, now[2]) {
			totals = append(totals, now[2])
		}
		return now[0] == "t"
	}), "it does not go on")
	// What was copied and what is left, of which one may have been deleted.
	require.Subset(t, []string{"5999", "6000"}, totals)
	require.NotEmpty(t, totals)
	require.Equal(t, "1", r.c.Value(`SELECT count(*) FROM hallway.sync_status WHERE state = 'idle' AND rows_per_second IS NULL AND estimated_end IS NULL`))
	pages := r.seen.take("/contacts/records?", "perPage=50")
	t.Logf("killed after %d rows; %d pages of 50", stood, len(pages))
	// 120, the empty one at the end, those on their way when it was killed.
	assert.LessOrEqual(t, len(pages), 120+6)
	assert.Contains(t, harness.Tail(r.sidecar.Log, 1<<20), "taking up a copy where it stood")
	r.c.Exec(`ALTER SERVER crm OPTIONS (DROP calls_per_second)`)
	r.wait()
	r.equal()
}

func TestReplicaWebhook(t *testing.T) {
	port, err := harness.FreePort()
	require.NoError(t, err)
	const key = "0123456789abcdef-key"
	r := newReplicaRoom(t, 200, harness.SidecarSettings{Environ: []string{"HALLWAY_SECRET_HOOK=" + key},
		Args: []string{"--secrets-env", "HALLWAY_SECRET_", "--webhooks-listen", fmt.Sprintf("127.0.0.1:%d", port)}})
	r.c.Exec(`ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD webhook_secret 'hook'); SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.wait()
	url := fmt.Sprintf("http://127.0.0.1:%d/webhooks/%s/crm/contacts", port, r.db.Name)
	post := func(url, key string, at time.Time, body string) int {
		stamp := strconv.FormatInt(at.Unix(), 10)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(stamp + "." + body))
		req, err := http.NewRequest("POST", url, bytes.NewReader([]byte(body)))
		require.NoError(t, err)
		req.Header.Set("Hallway-Timestamp", stamp)
		req.Header.Set("Hallway-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	id := r.ids(1)[0]
	r.patch(id, map[string]any{"last_name": "By webhook"})
	now := time.Now()
	r.seen.take()
	before := r.c.Query(`SELECT requested_at, began_at, next_run FROM hallway.replicas`)
	assert.Equal(t, 401, post(url, "another key of the same kind", now, "{}"))
	assert.Equal(t, 401, post(url, key, now.Add(-6*time.Minute), "{}"))
	assert.Equal(t, 401, post(url, key, now.Add(6*time.Minute), "{}"))
	assert.Equal(t, 401, post(strings.Replace(url, "contacts", "companies", 1), key, now, "{}"))
	assert.Equal(t, 401, post(strings.Replace(url, r.db.Name, "nowhere", 1), key, now, "{}"))
	assert.Equal(t, 413, post(url, key, now, strings.Repeat("x", 300<<10)))
	time.Sleep(time.Second)
	assert.Equal(t, before, r.c.Query(`SELECT requested_at, began_at, next_run FROM hallway.replicas`), "a refused delivery had an effect")
	assert.Equal(t, "0", r.c.Value(`SELECT count(*) FROM hallway.webhook_deliveries`))
	assert.Empty(t, r.seen.take(), "the API was asked for a refused delivery")
	assert.Equal(t, 202, post(url, key, now, "{}"))
	assert.Equal(t, 409, post(url, key, now, "{}"), "the same again")
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		return r.c.Value(`SELECT last_name FROM %s WHERE id = '%s'`, r.table(), id) == "By webhook"
	}), "the delivery had no effect")
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		r.seen.take()
		time.Sleep(time.Second)
		return len(r.seen.take()) == 0
	}), "what the delivery began does not end")
	assert.Equal(t, 409, post(url, key, now, "{}"), "and again")
	time.Sleep(time.Second)
	assert.Empty(t, r.seen.take(), "the API was asked for a delivery that came before")
	for _, log := range []string{r.sidecar.Log, r.db.Cluster.Log()} {
		b, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.NotContains(t, string(b), key)
	}
	assert.NotContains(t, fmt.Sprint(r.c.Query(`SELECT (SELECT json_agg(r) FROM hallway.replicas r), (SELECT json_agg(j) FROM hallway_sync.river_job j),
		(SELECT json_agg(d) FROM hallway.webhook_deliveries d)`)), key)
}

// Where the API tells what was deleted, nobody lists the keys of all rows.
func TestReplicaWithTombstones(t *testing.T) {
	r := newReplicaRoom(t, 1500, harness.SidecarSettings{Manifests: manifestWith(t,
		"\n  contacts:\n", `
  graves:
    path: /api/collections/graves/records
    key: id
    fields:
      id: {type: text, read_only: true, missing: never}
      record: {type: text, missing: never}
      created: {type: datetime, read_only: true, missing: never}

  contacts:
    deleted: {object: graves, key: record, at: created}
`)})
	require.NoError(t, r.pb.Call("POST", "/api/collections", map[string]any{"name": "graves", "type": "base", "fields": []map[string]any{
		{"name": "record", "type": "text"}, {"name": "created", "type": "autodate", "onCreate": true}}}, nil))
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.wait()
	r.equal()
	ids := r.ids(10)
	r.seen.take()
	for _, id := range ids[:3] {
		r.delete(id)
		require.NoError(t, r.pb.Call("POST", "/api/collections/graves/records", map[string]any{"record": id}, nil))
	}
	r.patch(ids[4], map[string]any{"last_name": "Changed"})
	// Another of the same key; its time is not that of the first.
	require.NoError(t, r.pb.Call("POST", "/api/collections/contacts/records",
		map[string]any{"id": ids[0], "email": "again@example.com", "last_name": "Again", "status": "lead"}, nil))
	r.wait()
	asked := r.seen.take("GET ")
	r.equal()
	assert.Len(t, slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return !strings.Contains(s, "/graves/records?") }), 1)
	for _, s := range asked {
		assert.Contains(t, s, "filter=", "something was listed whole")
	}
	assert.Equal(t, "1", r.c.Value(`SELECT count(*) FROM %s WHERE id = '%s' AND last_name = 'Again'`, r.table(), ids[0]))
}

// While a copy runs, who asks interactively goes first: all of the API's rate is
// his while he uses it.
func TestReplicaComesAfterReaders(t *testing.T) {
	r := newReplicaRoom(t, 2000, harness.SidecarSettings{Manifests: manifestWith(t, "\nread:\n", "\nlimits: {per_second: 5, burst: 1}\n\nread:\n")})
	ids := r.c.Query(`SELECT id FROM live.companies ORDER BY id LIMIT 20`)
	r.c.Exec(`ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD page_size '10')`)
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.c.Exec(`SET hallway.max_age = 0; SELECT count(*) FROM crm.companies WHERE id = '%s'`, ids[0][0])
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		return r.c.Value(`SELECT coalesce(max(pages_read), 0) >= 5 FROM hallway.replicas`) == "t"
	}), "nothing is copied")
	// Two, so that there is always somebody who waits for the next call, also where
	// the machine takes its time between two statements. If the copy had its turn as
	// they have, it would have one call for two of theirs. A machine that stalls may
	// give it calls that nobody else wanted, but not every time.
	var sessions [2]*harness.Conn
	for i := range sessions {
		sessions[i] = r.db.Connect(t)
		sessions[i].Exec(`SET hallway.max_age = 0; SELECT count(*) FROM crm.companies WHERE id = '%s'`, ids[0][0])
	}
	copied := len(ids)
	for tries := 0; copied >= len(ids)/4 && tries < 4; tries++ {
		r.seen.take()
		var wait sync.WaitGroup
		for i, c := range sessions {
			wait.Go(func() {
				for k := i; k < len(ids); k += len(sessions) {
					_, err := c.Try(`SELECT * FROM crm.companies WHERE id = '%s'`, ids[k][0])
					assert.NoError(t, err)
				}
			})
		}
		wait.Wait()
		all := r.seen.take("GET ")
		copied = len(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.Contains(s, "/contacts/") }))
		require.GreaterOrEqual(t, len(all)-copied, len(ids), "the lookups did not come to the API")
	}
	assert.Less(t, copied, len(ids)/4, "pages of the copy beside %d lookups", len(ids))
	assert.Equal(t, "backfill", r.c.Value(`SELECT state FROM hallway.sync_status`), "the copy was over before the lookups were")
}

// What others see of a replica is a feed: each change of the API once, by
// triggers, notifications and logical decoding.
func TestReplicaIsAFeedOfChanges(t *testing.T) {
	r := newReplicaRoom(t, 500, harness.SidecarSettings{})
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.wait()
	eventsAsShown(r)
	table := r.table()
	r.c.Exec(`CREATE TABLE feed (n bigserial, op text, id text, name text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
			INSERT INTO feed (op, id, name) VALUES (TG_OP, coalesce(NEW.id, OLD.id), NEW.last_name);
			PERFORM pg_notify('contacts', TG_OP || ' ' || coalesce(NEW.id, OLD.id)); RETURN NULL; END $$;
		CREATE TRIGGER feed AFTER INSERT OR UPDATE OR DELETE ON %[1]s FOR EACH ROW EXECUTE FUNCTION note();
		CREATE PUBLICATION contacts FOR TABLE %[1]s`, table)
	r.c.Exec(`SELECT pg_create_logical_replication_slot('%s_feed', 'pgoutput')`, r.db.Name)
	t.Cleanup(func() { r.db.Connect(t).Exec(`SELECT pg_drop_replication_slot('%s_feed')`, r.db.Name) })
	listener, err := pgx.Connect(t.Context(), r.db.Cluster.DSN(r.db.Name, "postgres"))
	require.NoError(t, err)
	defer func() { _ = listener.Close(context.WithoutCancel(t.Context())) }()
	_, err = listener.Exec(t.Context(), "LISTEN contacts")
	require.NoError(t, err)

	ids := r.ids(20)
	var want []harness.Row
	for i := range 4 {
		r.patch(ids[i], map[string]any{"last_name": fmt.Sprint("New name ", i)})
		want = append(want, harness.Row{"UPDATE", ids[i], fmt.Sprint("New name ", i)})
	}
	for i := 4; i < 7; i++ {
		r.delete(ids[i])
		want = append(want, harness.Row{"DELETE", ids[i], harness.Null})
	}
	for i := range 3 {
		want = append(want, harness.Row{"INSERT", r.create(fmt.Sprintf("new%d@example.com", i)), "New"})
	}
	// Seen more than once by the overlap; it is to count once.
	r.wait()
	r.wait()
	// A copy of everything changes nothing either.
	r.c.Exec(`UPDATE hallway.cache_tables SET as_of = NULL WHERE replica`)
	r.wait()
	assert.ElementsMatch(t, want, r.c.Query(`SELECT op, id, name FROM feed ORDER BY n`), "by the trigger")

	var messages [][]byte
	for _, m := range r.c.Query(`SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('%s_feed', NULL, NULL,
		'proto_version', '1', 'publication_names', 'contacts')`, r.db.Name) {
		b, err := hex.DecodeString(m[0])
		require.NoError(t, err)
		messages = append(messages, b)
	}
	var decoded []harness.Row
	for _, c := range decodePgoutput(t, messages) {
		name, ok := c.values["last_name"]
		if !ok {
			name = harness.Null
		}
		decoded = append(decoded, harness.Row{c.op, c.values["id"], name})
	}
	assert.ElementsMatch(t, want, decoded, "by logical decoding")

	var heard, notified []string
	for range want {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		n, err := listener.WaitForNotification(ctx)
		cancel()
		require.NoError(t, err, "after %q", heard)
		heard = append(heard, n.Payload)
	}
	for _, w := range want {
		notified = append(notified, w[0]+" "+w[1])
	}
	assert.ElementsMatch(t, notified, heard, "by notifications")
}
