package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
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

// check wants no more than perSecond calls a second; they may be late by so many.
func (a *arrivals) check(t *testing.T, calls int, perSecond, late float64) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(t, a.at, calls)
	slices.SortFunc(a.at, time.Time.Compare)
	for i, from := range a.at {
		for j, to := range a.at[i:] {
			if most := 1 + late + perSecond*to.Sub(from).Seconds(); float64(j) > most {
				t.Fatalf("%d calls came in %s", j+1, to.Sub(from))
			}
		}
	}
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
	t.Logf("%d writes took %s, the longest %s", writes, all.Round(time.Millisecond), longest.Round(time.Millisecond))
	api.check(t, writes, perSecond, perSecond/2)
	const turn = clients * time.Second / perSecond
	assert.Less(t, longest, turn+3*time.Second, "nobody waits for more than one turn of all the others")
	assert.Less(t, all, turn*writes/clients+4*time.Second, "the limit is used up")

	// As many as can go within a second and a half; the others learn at once that
	// they cannot, and take nobody's turn.
	api.at = nil
	var mu sync.Mutex
	done, refused := 0, time.Duration(0)
	waits := map[time.Duration]int{}
	for i := range sessions {
		sessions[i].Exec("SET statement_timeout = '1500ms'")
	}
	for i := range sessions {
		wg.Go(func() {
			d, err := insert(i, "third")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
				return
			}
			refused = max(refused, d)
			waits[wait(t, err)]++
		})
	}
	wg.Wait()
	t.Logf("%d of %d were done within their deadline; the others knew after %s at most: %v", done, clients, refused.Round(time.Millisecond), waits)
	assert.GreaterOrEqual(t, done, perSecond, "those that can be done in time are")
	assert.LessOrEqual(t, done, 2*perSecond)
	api.check(t, done, perSecond, perSecond/2)
	assert.Less(t, refused, 1400*time.Millisecond, "nobody waits for nothing")

	// A queue of two and a half seconds; then who asks is told when it is over.
	api.at = nil
	const queue = 25
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
	}, 5*time.Second, time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	last.Exec("SET statement_timeout = '1s'")
	d, err := insert(clients-1, "last")
	w := wait(t, err)
	t.Logf("behind %d others: after %s told to wait for %s", queue, d.Round(time.Millisecond), w)
	assert.Less(t, d, 900*time.Millisecond)
	assert.True(t, w >= 2*time.Second && w <= 3*time.Second, "%s", w)
	var pg *pgconn.PgError
	require.True(t, errors.As(err, &pg))
	assert.Contains(t, pg.Message, "rate limit")
	time.Sleep(w)
	_, err = insert(clients-1, "last")
	require.NoError(t, err, "it works when it was said to")
	wg.Wait()
	api.check(t, queue+1, perSecond, perSecond/2)
	want := fmt.Sprint(writes + done + queue + 1)
	assert.Eventually(t, func() bool {
		return admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'applied'") == want
	}, 5*time.Second, 20*time.Millisecond, "the journal has what the API was sent, as applied")
}
