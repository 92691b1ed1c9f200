package sync

// Replicas of APIs that tell in a log what was changed.

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newLogged is a replica of so many rows, copied, of an API with a log.
func newLogged(t *testing.T, n int) (*fakeAPI, *room) {
	t.Helper()
	t.Parallel()
	api := newFake(n)
	api.noModified, api.noOrder, api.log = true, true, []fakeEntry{}
	api.remembers = 30 * 24 * time.Hour
	r := newRoom(t, api)
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
	r.sync()
	r.equal()
	api.asked()
	return api, r
}

func TestLogs(t *testing.T) {
	api, r := newLogged(t, 1500)
	deletes := r.countDeletes()
	api.put("k0000003", "changed")
	api.put("k0000003", "changed again")
	api.put("new", "made")
	api.remove("k0000004")
	api.put("passing", "made and deleted")
	api.remove("passing")
	api.mu.Lock()
	api.note("") // something about no record
	api.mu.Unlock()
	r.sync()
	r.equal()
	asked := api.asked()
	require.Len(t, asked, 2, "%q", asked)
	assert.Equal(t, "log of 0 1", asked[0])
	assert.Contains(t, asked[1], "id = ANY")
	assert.Equal(t, "2", r.status("rows"), "read")
	assert.Equal(t, "1", deletes())

	// By the API's clock, which may differ, also from its own of before.
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		api.mu.Lock()
		api.skew = skew
		api.mu.Unlock()
		for i := range 2 {
			api.put("k0000007", fmt.Sprint("changed ", i, skew))
			r.sync()
			r.equal()
		}
	}
	// A change that the log shows late, but within the overlap.
	api.mu.Lock()
	api.rows["k0000008"] = fakeRow{name: "late"}
	api.log = append([]fakeEntry{{"k0000008", api.log[len(api.log)-1].at.Add(-100 * time.Second)}}, api.log...)
	api.mu.Unlock()
	r.sync()
	r.equal()
	for _, q := range api.asked() {
		assert.NotEqual(t, "3 columns ", q, "everything was read")
	}

	// Past what a copy costs, 15 pages here, a copy is made.
	for i := range 30 {
		api.put(fmt.Sprintf("k%07d", 100+i), "many")
	}
	r.sync()
	r.equal()
	assert.Contains(t, api.asked(), "3 columns ")
}

// What no log tells is seen when everything is read: once a day, when told to, and
// when the API has forgotten what happened.
func TestLogs_AreNotTheWholeTruth(t *testing.T) {
	api, r := newLogged(t, 200)
	silently := func(name string) {
		api.putAt("k0000001", name, time.Now())
		api.asked()
	}
	paused := func(asOf, compared string) {
		r.c.Exec(`UPDATE hallway.cache_tables SET as_of = as_of - '%s'::interval; UPDATE hallway.replicas SET compared_at = compared_at - '%s'::interval`, asOf, compared)
	}
	silently("a")
	r.sync()
	require.Len(t, r.different(), 1)
	paused("0", "25 h")
	r.sync()
	r.equal()

	r.c.Exec(`ALTER FOREIGN TABLE things OPTIONS (ADD compare_every '300d')`)
	silently("b")
	paused("26 d", "26 d")
	r.sync()
	require.Len(t, r.different(), 1, "the log may have all of it")
	assert.NotContains(t, api.asked(), "3 columns ")
	paused("28 d", "0")
	r.sync()
	r.equal()
	assert.Contains(t, api.asked(), "3 columns ")

	silently("c")
	r.c.Exec(`ALTER FOREIGN TABLE things OPTIONS (SET compare_every '1s')`)
	r.sync()
	r.equal()
}

// The API's clock is an hour late, and that is to be known from the log alone.
func TestLogs_ClockIsLate(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprint("something happened before ", before), func(t *testing.T) {
			t.Parallel()
			api := newFake(100)
			api.noModified, api.noOrder, api.skew, api.log = true, true, -time.Hour, []fakeEntry{}
			if before {
				api.put("k0000001", "before")
			}
			r := newRoom(t, api)
			r.start("one")
			r.c.Exec(`SELECT hallway.replicate('things', '1 h')`)
			r.sync()
			for i := range 2 {
				api.put("k0000002", fmt.Sprint("changed ", i))
				r.sync()
				r.equal()
			}
		})
	}
}

// Who may not read the log reads everything.
func TestLogs_MayNotBeRead(t *testing.T) {
	api, r := newLogged(t, 100)
	may := func(may bool) {
		api.mu.Lock()
		api.barred = !may
		api.mu.Unlock()
	}
	for i, allowed := range []bool{false, false, true, true} {
		may(allowed)
		api.put("k0000001", fmt.Sprint("changed ", i))
		api.asked()
		r.sync()
		r.equal()
		everything := assert.Contains
		if i == 3 { // the third was the copy that began anew with the log
			everything = assert.NotContains
		}
		everything(t, api.asked(), "3 columns ", i)
	}
}
