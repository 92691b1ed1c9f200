// Misses of cached tables: how often the API is asked, who waits for whom, and
// what must not be kept.

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// bounded is how long anything may take that must not hang.
const bounded = 30 * time.Second

// gatedAPI is an API of contacts c0, c1, … whose answers a test holds up.
type gatedAPI struct {
	*httptest.Server
	rows int

	mu sync.Mutex
	// gate holds requests from page number from on, until it is closed; nil: none.
	gate chan struct{}
	from int
	// fail is the page, from 1, that fails; 0: none.
	fail int
	// answer is what each request gets by its credential, in place of contacts; nil: those.
	answer func(token string) (status int, body any)

	scans, pages, cancelled atomic.Int64 // since the start
	inFlight, peak          atomic.Int64
}

const gatedPage = 100

func startGated(t *testing.T, rows int) *gatedAPI {
	t.Helper()
	a := &gatedAPI{rows: rows}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() { a.open(); a.CloseClientConnections(); a.Close() })
	return a
}

// hold keeps answers back, from a page on, counted from 1.
func (a *gatedAPI) hold(from int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gate, a.from = make(chan struct{}), from
}

func (a *gatedAPI) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gate != nil {
		close(a.gate)
		a.gate = nil
	}
}

func (a *gatedAPI) failAt(page int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = page
}

func (a *gatedAPI) answers(f func(token string) (status int, body any)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = f
}

func (a *gatedAPI) serve(w http.ResponseWriter, r *http.Request) {
	now := a.inFlight.Add(1)
	defer a.inFlight.Add(-1)
	for p := a.peak.Load(); now > p && !a.peak.CompareAndSwap(p, now); p = a.peak.Load() {
	}
	q := r.URL.Query()
	at, _ := strconv.Atoi(q.Get("after"))
	if at == 0 {
		a.scans.Add(1)
	}
	a.pages.Add(1)
	page := at/gatedPage + 1
	a.mu.Lock()
	gate, from, fail, answer := a.gate, a.from, a.fail, a.answer
	a.mu.Unlock()
	if gate != nil && page >= from {
		select {
		case <-gate:
		case <-r.Context().Done():
			a.cancelled.Add(1)
			return
		}
	}
	if page == fail {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	if answer != nil {
		status, body := answer(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
		return
	}
	var list []map[string]any
	body := map[string]any{}
	if id := strings.TrimPrefix(r.URL.Path, "/contacts/"); id != r.URL.Path || q.Has("id") {
		if q.Has("id") {
			id = q.Get("id")
		}
		n, err := strconv.Atoi(strings.TrimPrefix(id, "c"))
		if err == nil && n < a.rows {
			list = append(list, a.contact(n))
		}
		if !q.Has("id") {
			if len(list) == 0 {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			body = list[0]
		}
	} else {
		end := min(at+gatedPage, a.rows)
		for i := at; i < end; i++ {
			list = append(list, a.contact(i))
		}
		if end < a.rows {
			body["paging"] = map[string]any{"next": map[string]any{"after": strconv.Itoa(end)}}
		}
	}
	if _, one := body["id"]; !one {
		body["results"] = list
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (a *gatedAPI) contact(i int) map[string]any {
	return map[string]any{"id": fmt.Sprintf("c%d", i), "email": fmt.Sprintf("e%d@example.com", i), "name": fmt.Sprintf("n%d", i),
		"stage": "open", "amount": float64(i), "active": i%2 == 0, "created": "2026-01-01T00:00:00Z"}
}

// observed is a sidecar whose metrics can be read.
type observed struct {
	*harness.Sidecar
	t   *testing.T
	url string
}

func observe(t *testing.T, args ...string) *observed {
	t.Helper()
	port, err := harness.FreePort()
	require.NoError(t, err)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s := env.NewSidecar(t, harness.SidecarSettings{Cache: true, Args: append([]string{"--metrics-listen", address}, args...)})
	return &observed{Sidecar: s, t: t, url: "http://" + address + "/metrics"}
}

// metric reads one by its name, without labels.
func (o *observed) metric(name string) int {
	o.t.Helper()
	resp, err := http.Get(o.url)
	require.NoError(o.t, err)
	defer func() { _ = resp.Body.Close() }()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if value, ok := strings.CutPrefix(sc.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			require.NoError(o.t, err)
			return int(f)
		}
	}
	o.t.Fatalf("there is no metric %s", name)
	return 0
}

func (o *observed) soon(name string, want int) {
	o.t.Helper()
	require.Eventually(o.t, func() bool { return o.metric(name) == want }, bounded, tick, "%s is %d, not %d", name, o.metric(name), want)
}

// gated makes table contacts of the API at a sidecar of its own.
func gated(t *testing.T, api *gatedAPI) (*harness.Database, *harness.Conn, *observed) {
	t.Helper()
	s := observe(t)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%s', manifest 'fake.yaml', base_url '%s', max_age '1h');
		CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (token 't');
		CREATE FOREIGN TABLE contacts (%s) SERVER api OPTIONS (object 'contacts')`, s.Address(), api.URL, fakeColumns)
	return db, c, s
}

// running is a statement under way.
type running struct {
	c    *harness.Conn
	done chan struct{}
	res  harness.Result
	err  error
}

func run(c *harness.Conn, sql string) *running {
	r := &running{c: c, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		ctx, cancel := context.WithTimeout(context.Background(), harness.Timeout)
		defer cancel()
		r.res, r.err = harness.Simple(ctx, c.PgConn, sql)
	}()
	return r
}

func (r *running) wait(t *testing.T) (harness.Result, error) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(bounded):
		t.Fatalf("the statement is not done after %s", bounded)
	}
	return r.res, r.err
}

func (r *running) value(t *testing.T) string {
	t.Helper()
	res, err := r.wait(t)
	require.NoError(t, err, "%s", harness.Describe(err))
	require.Len(t, res.Rows, 1)
	return res.Rows[0][0]
}

func TestCacheMiss_HundredBackendsCauseOneScan(t *testing.T) {
	const rows = 250
	api := startGated(t, rows)
	api.hold(1)
	db, _, s := gated(t, api)
	var all []*running
	for range 100 {
		all = append(all, run(db.Connect(t), "SELECT count(*) || ' ' || count(DISTINCT name) || ' ' || sum(amount) FROM contacts"))
	}
	s.soon("hallway_scans", 100)
	api.open()
	for _, r := range all {
		require.Equal(t, fmt.Sprintf("%d %d %d", rows, rows, rows*(rows-1)/2), r.value(t))
	}
	require.EqualValues(t, 1, api.scans.Load(), "scans of the API")
	require.EqualValues(t, 3, api.pages.Load())
	require.Equal(t, 1, s.metric("hallway_cache_misses_total"))
	require.Equal(t, 99, s.metric("hallway_cache_joins_total"))
	s.soon("hallway_cache_fills_total", 1)
	s.soon("hallway_cache_flights", 0)
	c := db.Connect(t)
	require.Equal(t, fmt.Sprint(rows), c.Value("SELECT count(*) FROM contacts"))
	require.EqualValues(t, 1, api.scans.Load(), "what is kept serves all")
}

// Sidecars that share a database share scans, for as long as the one that asks the
// API lives, and no longer.
func TestCacheMiss_TwoSidecarsCauseOneScan(t *testing.T) {
	t.Parallel() // it waits more than it computes
	const rows, sessions = 250, 10
	api := startGated(t, rows)
	db, a, s := gated(t, api)
	other := observe(t)
	const at = "SET hallway.address = '%s'"
	a.Exec("ALTER SERVER api OPTIONS (DROP address); "+at, s.Address())
	connect := func(o *observed) *harness.Conn {
		c := db.Connect(t)
		c.Exec(at, o.Address())
		return c
	}
	var here, there []*harness.Conn
	for range sessions {
		here, there = append(here, connect(s)), append(there, connect(other))
	}
	// Both have been in the database before.
	here[0].Exec("SELECT * FROM contacts WHERE id = 'c1'")
	there[0].Exec("SELECT * FROM contacts WHERE id = 'c2'")
	s.soon("hallway_cache_fills_total", 1)
	other.soon("hallway_cache_fills_total", 1)

	const query = "SELECT count(*) || ' ' || count(DISTINCT name) || ' ' || sum(amount) FROM contacts"
	want := fmt.Sprintf("%d %d %d", rows, rows, rows*(rows-1)/2)
	scans := func() int64 { return api.scans.Load() }
	// begin has all ask while the API keeps its second page back. Where the machine
	// is so busy that the second sidecar does not hear of the first in time, which is
	// a tenth of a second, it asks the API too, and all begins again.
	begin := func(here, there []*harness.Conn) (first, second []*running, before int64) {
		for range 10 {
			a.Exec("SELECT hallway.invalidate('contacts')")
			s.soon("hallway_cache_flights", 0)
			other.soon("hallway_cache_flights", 0)
			api.hold(2)
			before, first, second = scans(), nil, nil
			for _, c := range here {
				first = append(first, run(c, query))
			}
			s.soon("hallway_scans", len(here))
			require.Eventually(t, func() bool {
				return a.Value("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND d.datname = current_database()") == "1"
			}, bounded, tick, "what is fetched is said")
			for _, c := range there {
				second = append(second, run(c, query))
			}
			other.soon("hallway_scans", len(there))
			waiting := "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%%pg_locks l LEFT JOIN%%' AND application_name = 'hallway sidecar' AND datname = current_database() AND state_change > '%s'"
			since := a.Value("SELECT clock_timestamp()")
			require.Eventually(t, func() bool { return scans() > before+1 || a.Value(waiting, since) == "t" }, bounded, tick)
			if scans() == before+1 {
				return first, second, before
			}
			api.open()
			for _, r := range append(first, second...) {
				require.Equal(t, want, r.value(t))
			}
		}
		t.Fatal("the second sidecar has never heard of the first in time")
		return nil, nil, 0
	}

	first, second, before := begin(here, there)
	misses := other.metric("hallway_cache_misses_total")
	require.Never(t, func() bool { return scans() > before+1 }, 4*time.Second, 50*time.Millisecond, "it waits for as long as it takes")
	api.open()
	for _, r := range append(first, second...) {
		require.Equal(t, want, r.value(t))
	}
	require.Equal(t, before+1, scans(), "scans of the API")
	require.Equal(t, misses, other.metric("hallway_cache_misses_total"))
	require.True(t, cached(t, there[0], query))

	// One that is gone is waited for no longer.
	first, second, before = begin(here[:1], there)
	s.Kill()
	_, err := first[0].wait(t)
	require.Error(t, err)
	require.Eventually(t, func() bool { return scans() == before+2 }, bounded, tick, "the API is asked by the other one")
	api.open()
	for _, r := range second {
		require.Equal(t, want, r.value(t))
	}
	require.Equal(t, before+2, scans())
	require.Eventually(t, func() bool { return cached(t, there[0], query) }, bounded, tick, "which keeps the rows")
}

// 100 lookups are in the API at the same time: none waits for another.
func TestCacheMiss_LookupsByKeyDoNotWaitForEachOther(t *testing.T) {
	const n = 100
	api := startGated(t, n)
	api.hold(1)
	db, c, s := gated(t, api)
	var all []*running
	for i := range n {
		all = append(all, run(db.Connect(t), fmt.Sprintf("SELECT name FROM contacts WHERE id = 'c%d'", i)))
	}
	require.Eventually(t, func() bool { return api.inFlight.Load() == n }, bounded, tick, "%d of %d requests are in the API", api.inFlight.Load(), n)
	api.open()
	for i, r := range all {
		require.Equal(t, fmt.Sprintf("n%d", i), r.value(t))
	}
	require.EqualValues(t, n, api.peak.Load())
	require.EqualValues(t, n, api.scans.Load())
	s.soon("hallway_cache_flights", 0)
	t.Logf("of %d lookups %d were kept at once", n, s.metric("hallway_cache_fills_total"))
	for i := range n {
		require.Equal(t, fmt.Sprintf("n%d", i), c.Value("SELECT name FROM contacts WHERE id = 'c%d'", i))
	}
	require.LessOrEqual(t, api.scans.Load(), int64(2*n))
}

func TestCacheMiss_FirstReaderLeaves(t *testing.T) {
	const rows = 250
	api := startGated(t, rows)
	api.hold(2)
	db, admin, s := gated(t, api)
	first := run(db.Connect(t), "SELECT count(*) FROM contacts")
	s.soon("hallway_cache_misses_total", 1)
	var others []*running
	for range 3 {
		others = append(others, run(db.Connect(t), "SELECT count(*) FROM contacts"))
	}
	s.soon("hallway_cache_joins_total", 3)
	admin.Exec("SELECT pg_cancel_backend(%d)", first.c.PID())
	_, err := first.wait(t)
	require.Equal(t, "57014", harness.SQLState(err), "%v", err)
	s.soon("hallway_scans", 3)
	api.open()
	for _, r := range others {
		require.Equal(t, fmt.Sprint(rows), r.value(t))
	}
	require.EqualValues(t, 1, api.scans.Load())
	require.Zero(t, api.cancelled.Load())
	s.soon("hallway_cache_fills_total", 1)
}

func TestCacheMiss_AllReadersLeave(t *testing.T) {
	const rows = 250
	api := startGated(t, rows)
	api.hold(2)
	db, admin, s := gated(t, api)
	var all []*running
	for range 4 {
		all = append(all, run(db.Connect(t), "SELECT count(*) FROM contacts"))
	}
	s.soon("hallway_scans", 4)
	require.Eventually(t, func() bool { return api.inFlight.Load() == 1 }, bounded, tick, "the second page is asked for")
	for _, r := range all {
		admin.Exec("SELECT pg_cancel_backend(%d)", r.c.PID())
	}
	for _, r := range all {
		_, err := r.wait(t)
		require.Equal(t, "57014", harness.SQLState(err), "%v", err)
	}
	require.Eventually(t, func() bool { return api.inFlight.Load() == 0 && api.cancelled.Load() == 1 }, bounded, tick, "the API's call is cancelled")
	s.soon("hallway_cache_flights", 0)
	api.open()
	require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.cache_regions"))
	require.Equal(t, fmt.Sprint(rows), admin.Value("SELECT count(*) FROM contacts"))
	require.EqualValues(t, 2, api.scans.Load())
}

// What did not come to its end leaves nothing that a fuller query could find.
func TestCacheMiss_PartsAreNotKept(t *testing.T) {
	const rows = 250
	for name, part := range map[string]func(t *testing.T, api *gatedAPI, db *harness.Database, c *harness.Conn){
		"limit": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Exec("SELECT * FROM contacts LIMIT 3")
		},
		"exists": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Exec("SELECT EXISTS (SELECT FROM contacts)")
		},
		"limit after a page": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Exec("SELECT * FROM contacts OFFSET 120 LIMIT 1")
		},
		"cursor": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM contacts; FETCH 5 FROM k; CLOSE k; COMMIT")
		},
		"failed": func(_ *testing.T, api *gatedAPI, _ *harness.Database, c *harness.Conn) {
			api.failAt(2)
			_, err := c.Try("SELECT * FROM contacts")
			require.Error(t, err)
			api.failAt(0)
		},
		"failed here": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Fails("22012", "SELECT 1 / (amount - 5)::int FROM contacts")
		},
		"cancelled": func(_ *testing.T, _ *gatedAPI, _ *harness.Database, c *harness.Conn) {
			c.Fails("57014", "SET LOCAL statement_timeout = '300ms'; SELECT * FROM contacts")
		},
		"disconnected": func(t *testing.T, api *gatedAPI, db *harness.Database, _ *harness.Conn) {
			other := db.Connect(t)
			r := run(other, "SELECT * FROM contacts")
			require.Eventually(t, func() bool { return api.inFlight.Load() == 1 && api.pages.Load() == 3 }, bounded, tick)
			require.NoError(t, syscall.Kill(int(other.PID()), syscall.SIGTERM))
			_, err := r.wait(t)
			require.Error(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := startGated(t, rows)
			// The last page comes to nobody, so that no scan is whole.
			api.hold(3)
			db, c, s := gated(t, api)
			part(t, api, db, c)
			s.soon("hallway_cache_flights", 0)
			api.open()
			before := api.scans.Load()
			kept := c.Value("SELECT count(*) FROM hallway.cache_regions")
			require.Equal(t, "250 250 31125", c.Value("SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || sum(amount) FROM contacts"))
			require.Equal(t, "0", kept)
			require.Equal(t, before+1, api.scans.Load(), "the API is asked for all of it")
		})
	}
}

// A LIMIT that the API takes is a part too, unless there was no more.
func TestCacheMiss_PushedLimits(t *testing.T) {
	s := observe(t)
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h', rows '300', page_rows '20');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE FOREIGN TABLE t (id int8, name text) SERVER syn`, s.Address())
	require.Len(t, c.Query("SELECT * FROM t LIMIT 30"), 30)
	require.Len(t, c.Query("SELECT * FROM t ORDER BY id DESC LIMIT 300"), 300)
	s.soon("hallway_cache_flights", 0)
	require.Equal(t, "0", c.Value("SELECT count(*) FROM hallway.cache_regions"))
	require.Len(t, c.Query("SELECT * FROM t WHERE id <= 10 LIMIT 30"), 10, "all there is")
	require.Equal(t, "300", c.Value("SELECT count(*) FROM t"))
}

// A reader that pauses holds up neither the others nor the fill, and what it has
// not read yet is on disk.
func TestCacheMiss_PausedReaders(t *testing.T) {
	const rows, width = 150000, 1000 // 150 MB; a spool holds 8 MiB in memory
	s := observe(t)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h', rows '%d', width '%d', latency '20ms');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE t (id int8, name text) SERVER syn; CREATE FOREIGN TABLE small (id int8) SERVER syn OPTIONS (rows '1')`, s.Address(), rows, width)
	c.Exec("SELECT * FROM small") // the cache's connections
	require.NoError(t, harness.ResetPeak(s.PID()))
	base, err := harness.PeakRSS(s.PID())
	require.NoError(t, err)
	want := c.Value("SELECT count(*) || ' ' || sum(id) FROM generate_series(1, %d) id", rows)

	// One stands still in its cursor, one is stopped as a process. The scan takes three
	// seconds at least, in which all of them come.
	var paused []*harness.Conn
	for i := range 2 {
		p := db.Connect(t)
		p.Exec("BEGIN; DECLARE k CURSOR FOR SELECT id, length(name) FROM t")
		require.Len(t, p.Query("FETCH 1 FROM k"), 1)
		require.Equal(t, i, s.metric("hallway_cache_joins_total"), "both read one scan")
		paused = append(paused, p)
	}
	stopped := int(paused[1].PID())
	require.NoError(t, syscall.Kill(stopped, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(stopped, syscall.SIGCONT) })
	var others []*running
	for range 3 {
		others = append(others, run(db.Connect(t), "SELECT count(*) || ' ' || sum(id) FROM t"))
	}
	for _, r := range others {
		require.Equal(t, want, r.value(t))
	}
	s.soon("hallway_cache_fills_total", 2) // that of small, too
	require.Eventually(t, func() bool { return cached(t, c, "SELECT count(*) FROM t") }, bounded, tick)
	joins, misses := s.metric("hallway_cache_joins_total"), s.metric("hallway_cache_misses_total")
	require.Equal(t, 4, joins)
	require.Equal(t, 2, misses)
	spooled, held := s.metric("hallway_cache_spool_bytes_total"), s.metric("hallway_cache_spool_memory_bytes")
	peak, err := harness.PeakRSS(s.PID())
	require.NoError(t, err)
	t.Logf("%d MB of rows, of which %d MB went through a file and %d kB are held in memory; memory %d MB, at most %d MB",
		rows*width/1000000, spooled/1000000, held/1000, base/1000000, peak/1000000)
	assert.Greater(t, spooled, rows*width/2)
	assert.LessOrEqual(t, held, 8<<20)
	assert.Less(t, peak-base, int64(80<<20), "what is paused for is not in memory")

	require.NoError(t, syscall.Kill(stopped, syscall.SIGCONT))
	for _, p := range paused {
		require.Equal(t, fmt.Sprintf("MOVE %d", rows-1), p.Exec("MOVE ALL FROM k"))
		p.Exec("COMMIT")
	}
	s.soon("hallway_cache_flights", 0)
	require.Zero(t, s.metric("hallway_cache_spool_memory_bytes"))
	require.Equal(t, 2, s.metric("hallway_cache_misses_total"))
}

// Past its size the cache forgets what was used least lately, and answers as ever.
func TestCache_RoomIsBounded(t *testing.T) {
	t.Parallel()
	const room = 2 << 20
	s := observe(t, "--cache-size", "2MiB")
	db := env.Database(t)
	c := db.Connect(t)
	// Regions of about 450 kB, of which four have room.
	c.Exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h', rows '6400', width '500');
		CREATE USER MAPPING FOR PUBLIC SERVER syn; CREATE FOREIGN TABLE t (id int8, name text) SERVER syn`, s.Address())
	const regions = 6
	part := func(i int) string {
		return fmt.Sprintf("SELECT count(*) || ' ' || sum(id) FROM t WHERE id BETWEEN %d AND %d", 800*i+1, 800*i+800)
	}
	region := func(i int) string { return fmt.Sprintf("condition LIKE '%%(''%d''::%%'", 800*i+1) }
	fill := func(i int) {
		t.Helper()
		require.Equal(t, fmt.Sprintf("800 %d", 800*(800*i)+800*801/2), c.Value("%s", part(i)))
		s.soon("hallway_cache_fills_total", i+1)
	}
	for i := range 4 {
		fill(i)
	}
	require.Equal(t, "4", c.Value("SELECT count(*) FROM hallway.cache_regions WHERE bytes > 400000"))
	// The first one is read again: by another session, as one tells of a region's use
	// once in ten seconds, and later, as a use within five seconds of the last is none.
	require.Eventually(t, func() bool {
		return c.Value("SELECT max(last_used) < now() - interval '5 s' FROM hallway.cache_regions") == "t"
	}, bounded, 100*time.Millisecond)
	require.True(t, cached(t, db.Connect(t), part(0)))
	require.Eventually(t, func() bool {
		return c.Value("SELECT condition LIKE '%%(''1''::%%' FROM hallway.cache_regions ORDER BY last_used DESC LIMIT 1") == "t"
	}, bounded, tick, "the hit is no use")
	for i := 4; i < regions; i++ {
		fill(i)
	}
	// Rounds of housekeeping are half a minute apart, and one may come between two fills.
	require.Eventually(t, func() bool {
		return c.Value("SELECT sum(bytes) <= %d AND NOT bool_or(%s) FROM hallway.cache_regions", room, region(1)) == "t"
	}, 2*time.Minute, 100*time.Millisecond)
	var left []bool
	for i := range regions {
		left = append(left, c.Value("SELECT count(*) FROM hallway.cache_regions WHERE %s", region(i)) == "1")
	}
	t.Logf("%s are left: %v", c.Value("SELECT count(*) || ' regions of ' || sum(bytes) || ' bytes' FROM hallway.cache_regions"), left)
	require.True(t, left[0], "what was read again stays")
	require.False(t, left[1], "what was used least lately goes")
	require.True(t, left[regions-1], "the newest stays")
	for i := range regions {
		require.Equal(t, fmt.Sprintf("800 %d", 800*(800*i)+800*801/2), c.Value("%s", part(i)))
	}
}

// A sort by an expression has a column of its own, which nobody asked for.
func TestCache_SortedByAnExpression(t *testing.T) {
	s := observe(t)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE DOMAIN small AS int4;
		CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', max_age '1h');
		CREATE USER MAPPING FOR PUBLIC SERVER syn;
		CREATE FOREIGN TABLE t (id int8, dom small, name text) SERVER syn OPTIONS (store '%s.t');
		INSERT INTO t SELECT g, g %% 3, 'n' || g FROM generate_series(1, 9) g`, s.Address(), db.Name)
	const query = "SELECT * FROM t ORDER BY dom DESC, id"
	require.Eventually(t, func() bool { return len(c.Query("SELECT * FROM t")) == 9 && cached(t, c, query) }, bounded, tick)
	require.Contains(t, fmt.Sprint(c.Query("EXPLAIN (VERBOSE) "+query)), "((dom)::integer)", "the case that is meant")
	for range 3 {
		r, err := harness.Extended(context.Background(), c.PgConn, query, nil)
		require.NoError(t, err)
		require.Len(t, r.Rows, 9)
		for _, x := range r.Rows {
			require.Len(t, x, 3)
		}
		require.Equal(t, harness.Row{"2", "2", "n2"}, r.Rows[0])
	}
}
