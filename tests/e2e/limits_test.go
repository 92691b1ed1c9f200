package e2e

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// arrivals notes when writes come in at an API behind it.
type arrivals struct {
	*httptest.Server
	mu sync.Mutex
	at []time.Time
}

func startArrivals(t *testing.T, target string) *arrivals {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	a := &arrivals{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			a.mu.Lock()
			a.at = append(a.at, time.Now())
			a.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// check wants at least so many calls, at most that and more, and no more than
// perSecond of them a second; they may be late by half a second, and by what this
// machine stalled.
func (a *arrivals) check(t *testing.T, calls, more int, perSecond float64, stalled time.Duration) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.GreaterOrEqual(t, len(a.at), calls)
	require.LessOrEqual(t, len(a.at), calls+more)
	late := perSecond * (0.5 + 2*stalled.Seconds())
	slices.SortFunc(a.at, time.Time.Compare)
	for i, from := range a.at {
		for j, to := range a.at[i:] {
			if most := 1 + late + perSecond*to.Sub(from).Seconds(); float64(j) > most {
				t.Fatalf("%d calls came in %s", j+1, to.Sub(from))
			}
		}
	}
}

// watchStalls gives a function that says how long this process was not run when it
// should have been, at most, since the last time it was asked.
func watchStalls(t *testing.T) func() time.Duration {
	var longest atomic.Int64
	go func() {
		for t.Context().Err() == nil {
			const nap = 5 * time.Millisecond
			began := time.Now()
			time.Sleep(nap)
			longest.Store(max(longest.Load(), int64(time.Since(began)-nap)))
		}
	}()
	return func() time.Duration { return time.Duration(longest.Swap(0)) }
}

var tryAgain = regexp.MustCompile(`Try again in (\d+) seconds?\.`)

// wait is how long a refusal says that it takes.
func wait(t *testing.T, err error) time.Duration {
	t.Helper()
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	require.Equal(t, "53400", pg.Code, harness.Describe(err))
	m := tryAgain.FindStringSubmatch(pg.Hint)
	require.NotNil(t, m, "the hint says when: %s", harness.Describe(err))
	seconds, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return time.Duration(seconds) * time.Second
}

// Many clients write to an API that takes ten calls a second: all get their turn,
// in order, and the API never more. Who cannot wait is told at once, and when it
// would have worked.
func TestLimits_ManyClientsOfASlowAPI(t *testing.T) {
	const clients, perSecond = 64, 10
	fakeAPI := startFake(t)
	api := startArrivals(t, fakeAPI.URL)
	db := env.Database(t)
	admin := db.Connect(t)
	fakeAt(admin, api.URL, "ok", fakeAPI.Secret)
	admin.Exec("ALTER SERVER api OPTIONS (ADD calls_per_second '%d')", perSecond)
	sessions := make([]*harness.Conn, clients)
	for i := range sessions {
		sessions[i] = db.Connect(t)
		// What is asked of the API to get ready is not a write.
		sessions[i].Exec("EXPLAIN INSERT INTO contacts (email) VALUES ('x@y.example')")
	}
	insert := func(i int, email string) (time.Duration, error) {
		start := time.Now()
		_, err := sessions[i].Try("INSERT INTO contacts (email) VALUES ('%s%d@limits.example')", email, i)
		return time.Since(start), err
	}

	stalled := watchStalls(t)
	// All at once, and half of them again when they are through.
	const writes = clients + clients/2
	start := time.Now()
	var wg sync.WaitGroup
	took := make([][2]time.Duration, clients)
	for i := range sessions {
		wg.Go(func() {
			for k, email := range []string{"first", "second"}[:1+i%2] {
				var err error
				took[i][k], err = insert(i, email)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	all := time.Since(start)
	longest := time.Duration(0)
	for _, d := range took {
		longest = max(longest, d[0], d[1])
	}
	stall := stalled()
	t.Logf("%d writes took %s, the longest %s; the machine stalled for %s", writes, all.Round(time.Millisecond), longest.Round(time.Millisecond), stall.Round(time.Millisecond))
	api.check(t, writes, 0, perSecond, stall)
	const turn = clients * time.Second / perSecond
	assert.Less(t, longest, turn+3*time.Second+2*stall, "nobody waits for more than one turn of all the others")
	assert.Less(t, all, turn*writes/clients+4*time.Second+2*stall, "the limit is used up")

	// As many as can go within four seconds; the others learn at once that they
	// cannot, and take nobody's turn.
	api.at = nil
	const deadline = 4 * time.Second
	var mu sync.Mutex
	// cut are those whose answer did not come in the last 100 ms, which their call
	// had: of a machine that is slow.
	done, cut, refused := 0, 0, time.Duration(0)
	waits := map[time.Duration]int{}
	for i := range sessions {
		sessions[i].Exec("SET statement_timeout = %d", deadline.Milliseconds())
	}
	for i := range sessions {
		wg.Go(func() {
			d, err := insert(i, "third")
			mu.Lock()
			defer mu.Unlock()
			switch state := harness.SQLState(err); {
			case err == nil:
				done++
			case state == "57014" || state == "08007":
				cut++
			default:
				refused = max(refused, d)
				if !assert.Equal(t, "53400", state, "%s", harness.Describe(err)) {
					return
				}
				waits[wait(t, err)]++
			}
		})
	}
	wg.Wait()
	stall = stalled()
	t.Logf("%d of %d were done within their deadline, %d cut; the others knew after %s at most: %v; the machine stalled for %s",
		done, clients, cut, refused.Round(time.Millisecond), waits, stall.Round(time.Millisecond))
	assert.GreaterOrEqual(t, done+cut, perSecond, "those that can be done in time are")
	assert.LessOrEqual(t, done+cut, perSecond*int(1+deadline.Seconds()))
	assert.LessOrEqual(t, cut, done, "who cannot be done in time does not begin")
	api.check(t, done, cut, perSecond, stall)
	assert.Less(t, refused, deadline*7/8+2*stall, "nobody waits for nothing")

	// A queue of six seconds; then who asks is told when it is over.
	api.at = nil
	const queue = 60
	for i := range queue {
		sessions[i].Exec("SET statement_timeout = 0")
		wg.Go(func() {
			_, err := insert(i, "fourth")
			assert.NoError(t, err)
		})
	}
	last := sessions[clients-1]
	require.Eventually(t, func() bool {
		api.mu.Lock()
		defer api.mu.Unlock()
		return len(api.at) > 0
	}, 30*time.Second, time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	last.Exec("SET statement_timeout = '3s'")
	d, err := insert(clients-1, "last")
	w := wait(t, err)
	t.Logf("behind %d others: after %s told to wait for %s", queue, d.Round(time.Millisecond), w)
	assert.Less(t, d, 3*time.Second)
	assert.True(t, w >= 3*time.Second && w <= 7*time.Second, "%s", w)
	var pg *pgconn.PgError
	require.True(t, errors.As(err, &pg))
	assert.Contains(t, pg.Message, "rate limit")
	time.Sleep(w)
	_, err = insert(clients-1, "last")
	require.NoError(t, err, "it works when it was said to")
	wg.Wait()
	api.check(t, queue+1, 0, perSecond, stalled())
	want := writes + done + queue + 1
	assert.Eventually(t, func() bool {
		n, err := strconv.Atoi(admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'applied'"))
		return err == nil && n >= want && n <= want+cut
	}, 30*time.Second, 20*time.Millisecond, "the journal has what the API was sent, as applied")
}

// Two sidecars of one database divide what the API allows.
func TestLimits_TwoSidecars(t *testing.T) {
	const each, perSecond = 12, 10
	fakeAPI := startFake(t)
	api := startArrivals(t, fakeAPI.URL)
	db := env.Database(t)
	admin := db.Connect(t)
	fakeAt(admin, api.URL, "ok", fakeAPI.Secret)
	admin.Exec("ALTER SERVER api OPTIONS (ADD calls_per_second '%d')", perSecond)
	var sessions []*harness.Conn
	for range 2 {
		sidecar := env.NewSidecar(t, harness.SidecarSettings{})
		for range each {
			c := db.Connect(t)
			c.Exec("SET hallway.address = '%s'", sidecar.Address())
			c.Exec("EXPLAIN INSERT INTO contacts (email) VALUES ('x@y.example')")
			sessions = append(sessions, c)
		}
	}
	stalled := watchStalls(t)
	var wg sync.WaitGroup
	for i, c := range sessions {
		wg.Go(func() {
			for k := range 2 {
				_, err := c.Try("INSERT INTO contacts (email) VALUES ('two-%d-%d@limits.example')", i, k)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	api.check(t, 4*each, 0, perSecond, stalled())
	require.Equal(t, "2", admin.Value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
}
