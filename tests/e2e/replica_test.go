package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

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
}

const crmServer = `CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway
	OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%[2]s', auth_collection '_superusers', cache '%[5]s');
	CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS ("user" '%[3]s', password '%[4]s');
	CREATE SCHEMA %[1]s; IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts, companies) FROM SERVER %[1]s INTO %[1]s`

func newReplicaRoom(t *testing.T, contacts int, settings harness.SidecarSettings) *replicaRoom {
	t.Helper()
	pb, err := env.StartPocketBase(contacts)
	require.NoError(t, err)
	t.Cleanup(func() { pb.Kill() })
	settings.Cache = true
	r := &replicaRoom{t: t, pb: pb, sidecar: env.NewSidecar(t, settings)}
	r.db = env.Database(t)
	r.db.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", r.db.Name, r.sidecar.Address())
	r.c = r.db.Connect(t)
	r.c.Exec(crmServer, "crm", pb.URL, pb.User, pb.Password, "read_through")
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

// A sidecar that is killed while it copies goes on where it stood.
func TestReplicaSurvivesItsSidecar(t *testing.T) {
	r := newReplicaRoom(t, 6000, harness.SidecarSettings{})
	r.c.Exec(`ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD page_size '50')`)
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.c.Exec(`SELECT hallway.sidecar_version('crm')`) // which makes the sidecar know the database
	read := func() int {
		n, _ := strconv.Atoi(r.c.Value(`SELECT coalesce(max(rows_read), 0) FROM hallway.replicas`))
		return n
	}
	require.True(t, harness.Eventually(t.Context(), 20*time.Second, func() bool { return read() >= 500 }), "nothing is copied")
	r.sidecar.Kill()
	stood := read()
	require.Less(t, stood, 6000, "the copy was over before the sidecar was killed")
	ids := r.ids(3)
	r.patch(ids[0], map[string]any{"last_name": "Behind the copy"})
	r.delete(ids[1])
	require.NoError(t, r.sidecar.Start())
	r.c = r.db.Connect(t)
	r.c.Exec(`SELECT hallway.sidecar_version('crm')`)
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		return r.c.Value(`SELECT last_success IS NOT NULL FROM hallway.replicas`) == "t"
	}), "it does not go on")
	assert.Contains(t, harness.Tail(r.sidecar.Log, 1<<20), "taking up a copy where it stood")
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
	assert.Equal(t, 401, post(url, "another key of the same kind", now, "{}"))
	assert.Equal(t, 401, post(url, key, now.Add(-6*time.Minute), "{}"))
	assert.Equal(t, 401, post(url, key, now.Add(6*time.Minute), "{}"))
	assert.Equal(t, 401, post(strings.Replace(url, "contacts", "companies", 1), key, now, "{}"))
	assert.Equal(t, 401, post(strings.Replace(url, r.db.Name, "nowhere", 1), key, now, "{}"))
	assert.Equal(t, 413, post(url, key, now, strings.Repeat("x", 300<<10)))
	assert.Equal(t, 202, post(url, key, now, "{}"))
	assert.Equal(t, 409, post(url, key, now, "{}"), "the same again")
	require.True(t, harness.Eventually(t.Context(), 10*time.Second, func() bool {
		return r.c.Value(`SELECT last_name FROM %s WHERE id = '%s'`, r.table(), id) == "By webhook"
	}), "the delivery had no effect")
}

// What others see of a replica is a feed: each change of the API once.
func TestReplicaIsAFeedOfChanges(t *testing.T) {
	r := newReplicaRoom(t, 500, harness.SidecarSettings{})
	r.c.Exec(`SELECT hallway.replicate('crm.contacts', '1 h')`)
	r.wait()
	table := r.table()
	r.c.Exec(`CREATE TABLE feed (n bigserial, op text, id text, name text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
			INSERT INTO feed (op, id, name) VALUES (TG_OP, coalesce(NEW.id, OLD.id), NEW.last_name);
			PERFORM pg_notify('contacts', TG_OP); RETURN NULL; END $$;
		CREATE TRIGGER feed AFTER INSERT OR UPDATE OR DELETE ON %[1]s FOR EACH ROW EXECUTE FUNCTION note();
		CREATE PUBLICATION contacts FOR TABLE %[1]s`, table)
	r.c.Exec(`SELECT pg_create_logical_replication_slot('%s_binary', 'pgoutput')`, r.db.Name)
	r.c.Exec(`SELECT pg_create_logical_replication_slot('%s_text', 'test_decoding')`, r.db.Name)
	t.Cleanup(func() {
		c := r.db.Connect(t)
		c.Exec(`SELECT pg_drop_replication_slot('%[1]s_binary'), pg_drop_replication_slot('%[1]s_text')`, r.db.Name)
	})
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
	r.wait()
	require.ElementsMatch(t, want, r.c.Query(`SELECT op, id, name FROM feed ORDER BY n`))

	decoded := r.c.Query(`SELECT data FROM pg_logical_slot_get_changes('%s_text', NULL, NULL, 'skip-empty-xacts', '1') WHERE data LIKE 'table %s:%%'`, r.db.Name, table)
	counts := map[string]int{}
	for _, d := range decoded {
		counts[strings.Fields(strings.SplitN(d[0], ": ", 2)[1])[0]]++
	}
	assert.Equal(t, map[string]int{"UPDATE:": 4, "DELETE:": 3, "INSERT:": 3}, counts, "%v", decoded)
	// pgoutput: the first byte of a message is its kind.
	kinds := map[string]int{}
	for _, k := range r.c.Query(`SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_get_binary_changes('%[1]s_binary', NULL, NULL,
		'proto_version', '1', 'publication_names', 'contacts')`, r.db.Name) {
		kinds[k[0]]++
	}
	assert.Equal(t, [3]int{3, 4, 3}, [3]int{kinds["I"], kinds["U"], kinds["D"]}, "%v", kinds)
}
