package sync

// APIs that make it hard to know what they have.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// countDeletes counts the rows that are deleted from the cache table from now on.
func (r *room) countDeletes() func() string {
	r.t.Helper()
	r.c.Exec(`CREATE TABLE deleted (id text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
			INSERT INTO deleted VALUES (OLD.id); RETURN NULL; END $$;
		CREATE TRIGGER note AFTER DELETE ON %s FOR EACH ROW EXECUTE FUNCTION note()`,
		r.c.Value(`SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = %d`, r.relid))
	return func() string { return r.c.Value(`SELECT count(*) FROM deleted`) }
}

// Pages that overlap and leave rows out, as offset paging does without an order:
// the replica gets all the same what there is, and loses nothing on the way.
func TestPagesWithoutOrder(t *testing.T) {
	api := newFake(0)
	at := time.Now().Truncate(time.Millisecond)
	for i := range 5000 {
		api.putAt(fmt.Sprintf("k%07d", i), "a", at)
	}
	api.pageRows, api.noOrder, api.shuffle = 1000, true, true
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	converges := func() {
		t.Helper()
		for range 5 {
			r.sync()
			if len(r.different()) == 0 {
				return
			}
		}
		r.equal()
	}
	converges()
	deletes := r.countDeletes()
	for i := range 5000 {
		api.putAt(fmt.Sprintf("k%07d", i), "b", at) // with the same time again
	}
	for i := range 200 {
		api.remove(fmt.Sprintf("k%07d", 25*i))
	}
	converges()
	assert.Equal(t, "200", deletes(), "rows were deleted that the API has")
}

// A row that moves between two pages is not listed; it is not gone.
func TestRowThatIsPassedOver(t *testing.T) {
	for _, noModified := range []bool{false, true} {
		t.Run(fmt.Sprint("without modified ", noModified), func(t *testing.T) {
			api := newFake(500)
			api.noOrder, api.noModified = true, noModified
			r := newRoom(t, api)
			r.start("one")
			r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
			r.sync()
			deletes := r.countDeletes()
			api.remove("k0000007")
			api.mu.Lock()
			api.passOver = "k0000123"
			api.mu.Unlock()
			r.sync()
			r.equal()
			assert.Equal(t, "1", deletes())
		})
	}
}

// A copy that fails when it has all rows, as it asks for what seems to be gone, is
// taken up from there.
func TestCopyThatFailsAtItsEnd(t *testing.T) {
	api := newFake(250)
	api.noOrder, api.noModified, api.sorts = true, true, true
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	api.remove("k0000007")
	api.asked()
	failed := false
	api.mu.Lock()
	api.page = func(int) error {
		api.mu.Lock()
		defer api.mu.Unlock()
		if failed || !strings.Contains(strings.Join(api.scans, "\n"), "id = ANY") {
			return nil
		}
		failed = true
		return &connectors.Error{Class: connectors.Unavailable, API: "Fake", Message: "no answer"}
	}
	api.mu.Unlock()
	_ = r.trySync(t.Context())
	r.eventually("it is whole", func() bool { return len(r.different()) == 0 })
	require.True(t, failed)
	var copies []string
	for _, q := range api.asked() {
		if strings.Contains(q, "id > ") {
			copies = append(copies, q)
		}
	}
	require.NotEmpty(t, copies, "it was not taken up")
}

func TestKeyThatChanges(t *testing.T) {
	api := newFake(300)
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	deletes := r.countDeletes()
	api.remove("k0000010")
	api.put("zzz", "row 10")
	// And one that keeps its time.
	api.mu.Lock()
	api.rows["yyy"] = api.rows["k0000011"]
	delete(api.rows, "k0000011")
	api.mu.Unlock()
	r.sync()
	r.equal()
	assert.Equal(t, "2", deletes())
}

func TestTombstones(t *testing.T) {
	t.Parallel()
	api := newFake(1000)
	api.graves = map[string]time.Time{}
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	deletes := r.countDeletes()
	api.asked()
	api.remove("k0000001")
	api.remove("k0000002")
	api.put("k0000002", "made again")
	r.sync()
	r.equal()
	asked := api.asked()
	require.Len(t, asked, 2, "%q", asked)
	assert.Contains(t, asked[0], "graves deleted >=")
	assert.Contains(t, asked[1], "3 columns updated >=")
	assert.Equal(t, "1", deletes())
	// By the API's clock, which may differ.
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		api.mu.Lock()
		api.skew = skew
		api.mu.Unlock()
		for i := range 3 {
			api.put("k0000003", fmt.Sprint("changed ", i, skew))
			api.remove(fmt.Sprintf("k%07d", 10+i))
			r.sync()
			r.equal()
		}
	}
	for _, q := range api.asked() {
		assert.NotContains(t, q, "2 columns", "keys were compared")
	}
	// Told to, it compares: this one left no tombstone.
	api.mu.Lock()
	delete(api.rows, "k0000900")
	api.mu.Unlock()
	r.sync()
	require.NotEmpty(t, r.different())
	r.c.Exec(`ALTER FOREIGN TABLE things OPTIONS (ADD compare_every '1s')`)
	r.sync()
	r.equal()
}

// An API forgets what was deleted: after a long pause keys are compared, whatever
// compare_every says.
func TestTombstones_AreForgotten(t *testing.T) {
	t.Parallel()
	api := newFake(100)
	api.graves, api.remembers = map[string]time.Time{}, 15*24*time.Hour
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`ALTER FOREIGN TABLE things OPTIONS (ADD compare_every '300d'); SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	paused := func(days int) {
		r.c.Exec(`UPDATE hallway.cache_tables SET as_of = as_of - make_interval(days => %d); UPDATE hallway.replicas SET compared_at = compared_at - make_interval(days => %[1]d)`, days)
		api.mu.Lock()
		delete(api.rows, fmt.Sprintf("k%07d", days)) // without a tombstone
		api.mu.Unlock()
		api.asked()
		r.sync()
	}
	paused(13)
	require.Len(t, r.different(), 1)
	paused(14)
	r.equal()
}

// With compare_every, increments in between do not ask for keys, unless somebody
// waits for the result.
func TestCompareEvery(t *testing.T) {
	api := newFake(100)
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`ALTER FOREIGN TABLE things OPTIONS (ADD compare_every '1h'); SELECT hallway.replicate('things', '1 s')`)
	r.sync()
	asOf := r.status("as_of")
	api.asked()
	api.put("k0000001", "changed")
	api.remove("k0000002")
	r.eventually("an increment", func() bool { return r.replica()["k0000001"] == "changed" })
	for _, q := range api.asked() {
		assert.Contains(t, q, "updated >=")
	}
	assert.Contains(t, r.replica(), "k0000002")
	assert.Equal(t, asOf, r.status("as_of"), "it claims to be as new as it is not")
	r.sync()
	r.equal()
}
