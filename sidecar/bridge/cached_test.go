package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// fakeCache is a cache of one table. Nil functions work.
type fakeCache struct {
	table  func() error
	begin  func(cache.Region) error
	commit func() error
	apply  func([]cache.Write) error
	forget func() error
	read   func(func([]byte, int) error) (bool, error)
	// fresh and filling answer as their methods do; nil: nothing is there, and
	// nobody fills.
	fresh   func() bool
	filling func() (cache.Filling, bool)

	mu      sync.Mutex
	defs    []cache.Definition
	regions []cache.Region
	kept    []int // rows of each fill that was committed
	aborted int
	yielded int
	applied []cache.Write
	events  []string
}

func (c *fakeCache) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, fmt.Sprintf(format, args...))
}

func (c *fakeCache) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

func (c *fakeCache) fills() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.kept)
}

func (c *fakeCache) Database(cache.Identity, cache.Address) CacheDatabase { return c }

func (c *fakeCache) Table(_ context.Context, def cache.Definition) (CacheTable, error) {
	if c.table != nil {
		if err := c.table(); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.defs = append(c.defs, def)
	return fakeCacheTable{c}, nil
}

func (c *fakeCache) InvalidateObject(_ context.Context, serverOID uint32, object string, except int64) error {
	if c.forget != nil {
		if err := c.forget(); err != nil {
			return err
		}
	}
	c.note("invalidate object %d %q except %d", serverOID, object, except)
	return nil
}

func (c *fakeCache) InvalidateTable(_ context.Context, relid uint32) error {
	c.note("invalidate table %d", relid)
	return nil
}

func (c *fakeCache) Forget(_ context.Context, relid uint32, key []string) (int64, error) {
	c.note("forget %d %v", relid, key)
	return 3, nil
}

func (c *fakeCache) Retry() {}

func (c *fakeCache) Touch(_ context.Context, uses []cache.Use) error {
	c.note("touch %v", uses)
	return nil
}

type fakeCacheTable struct{ c *fakeCache }

func (fakeCacheTable) ID() int64 { return 17 }

func (t fakeCacheTable) Begin(_ context.Context, r cache.Region, _ time.Time) (CacheFill, error) {
	if t.c.begin != nil {
		if err := t.c.begin(r); err != nil {
			return nil, err
		}
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.regions = append(t.c.regions, r)
	return &fakeFill{c: t.c}, nil
}

func (t fakeCacheTable) Read(_ context.Context, _ cache.Region, _ []int, _ time.Duration, out func([]byte, int) error) (bool, error) {
	if t.c.read == nil {
		return false, nil
	}
	return t.c.read(out)
}

func (t fakeCacheTable) Fresh(context.Context, cache.Region, []int, time.Duration) (bool, error) {
	return t.c.fresh != nil && t.c.fresh(), nil
}

func (t fakeCacheTable) Filling(context.Context, cache.Region) (f cache.Filling, found bool, err error) {
	if t.c.filling != nil {
		f, found = t.c.filling()
	}
	return f, found, nil
}

func (t fakeCacheTable) Apply(_ context.Context, writes []cache.Write) error {
	if t.c.apply != nil {
		if err := t.c.apply(writes); err != nil {
			return err
		}
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.applied = append(t.c.applied, writes...)
	return nil
}

func (fakeCacheTable) Invalidate(context.Context) error { return nil }

type fakeFill struct {
	c    *fakeCache
	rows int
	done bool
}

func (f *fakeFill) Write(_ []byte, n int) error { f.rows += n; return nil }

func (f *fakeFill) Commit(context.Context) (int64, error) {
	if f.c.commit != nil {
		if err := f.c.commit(); err != nil {
			return 0, err
		}
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.done = true
	f.c.kept = append(f.c.kept, f.rows)
	return int64(f.rows), nil
}

func (f *fakeFill) Yield() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.c.yielded++
}

func (f *fakeFill) Abort() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if !f.done {
		f.c.aborted++
	}
}

// keyed is a fake whose table has a key, so that it can be cached.
func keyed(f *fake) *fake {
	f.desc = connectors.Description{Object: "things", Key: []int{0}, Insertable: true, Updatable: true, Deletable: true}
	return f
}

func cachedThings(handle uint64, change ...func(*hallwayv1.Relation)) *hallwayv1.RelationRef {
	return things(handle, append([]func(*hallwayv1.Relation){func(r *hallwayv1.Relation) {
		r.RelationOid, r.ServerOid = 1234, 99
		r.Cache = &hallwayv1.CachePolicy{Mode: hallwayv1.CacheMode_CACHE_MODE_READ_THROUGH}
	}}, change...)...)
}

// cachedClient is a client of a backend that told which database it is.
func (w *world) cachedClient() hallwayv1.BridgeClient {
	w.t.Helper()
	c := w.connect()
	_, err := c.Handshake(w.t.Context(), &hallwayv1.HandshakeRequest{
		Protocol: &hallwayv1.ProtocolVersion{Major: ProtocolMajor}, BackendPid: 78, DatabaseName: "shop",
		SystemIdentifier: 7, Timeline: 1, DatabaseOid: 5, SocketDirectory: "/run/postgresql", Port: 5432})
	require.NoError(w.t, err)
	return c
}

func withCache(c *fakeCache) func(*Config) { return func(cfg *Config) { cfg.Cache = c } }

// allThings is a scan of all rows that is to be kept.
func allThings(t testing.TB, c hallwayv1.BridgeClient, ref *hallwayv1.RelationRef, change ...func(*hallwayv1.ScanRequest)) (scanned, error) {
	t.Helper()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: ref})
	req := &hallwayv1.ScanRequest{Relation: ref, Plan: p.GetPlan(), Columns: []uint32{0, 1}, MaxAgeMs: 60000, Fill: &hallwayv1.CacheFill{}}
	for _, f := range change {
		f(req)
	}
	st, err := c.Scan(t.Context(), req)
	return drainScan(t, st, err)
}

func TestCached_WhoseRows(t *testing.T) {
	f := keyed(&fake{})
	w := start(t, f, withCache(&fakeCache{}))
	account := func(c hallwayv1.BridgeClient, change ...func(*hallwayv1.Relation)) []byte {
		t.Helper()
		d, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: cachedThings(0, change...)})
		require.NoError(t, err)
		assert.Equal(t, len(d.GetCacheAccount()) == 0, len(d.GetCacheShape()) == 0)
		return d.GetCacheAccount()
	}
	token := func(v string) func(*hallwayv1.Relation) {
		return func(r *hallwayv1.Relation) { r.UserOptions = []*hallwayv1.Option{{Name: "token", Value: v}} }
	}
	mode := func(m hallwayv1.CacheMode) func(*hallwayv1.Relation) {
		return func(r *hallwayv1.Relation) { r.Cache.Mode = m }
	}
	shared := func(r *hallwayv1.Relation) { r.Cache.Shared = true }
	c := w.cachedClient()
	ada := account(c, token("ada"))
	assert.Len(t, ada, 32)
	assert.Equal(t, ada, account(c, token("ada"), func(r *hallwayv1.Relation) { r.TableName = "others"; r.RelationOid = 4 }))
	assert.NotEqual(t, ada, account(c, token("bob")))
	assert.Equal(t, ada, account(c, token("ada"), func(r *hallwayv1.Relation) {
		r.ServerOptions = append(r.ServerOptions, &hallwayv1.Option{Name: "max_age", Value: "5s"})
	}), "how long rows are kept does not say whose they are")
	assert.Equal(t, account(c, token("ada"), shared), account(c, token("bob"), shared))
	assert.NotEqual(t, ada, account(c, token("ada"), shared))
	assert.Empty(t, account(c, mode(hallwayv1.CacheMode_CACHE_MODE_OFF)))
	assert.Empty(t, account(c, mode(hallwayv1.CacheMode_CACHE_MODE_UNSPECIFIED)))
	assert.NotEmpty(t, account(c, mode(hallwayv1.CacheMode_CACHE_MODE_REPLICA)))
	assert.Empty(t, account(w.client()), "a backend that does not say which database it is")

	assert.Empty(t, account(start(t, keyed(&fake{})).cachedClient()), "a sidecar without a cache")
	assert.Empty(t, account(start(t, &fake{}, withCache(&fakeCache{})).cachedClient()), "a table without a key")
}

// What is remembered of a table is that of its connector as it is open.
func TestCached_ConnectorsOpenedAnewMayKnowTheTableOtherwise(t *testing.T) {
	f := keyed(&fake{})
	w := start(t, f, withCache(&fakeCache{}))
	c := w.cachedClient()
	shape := func() []byte {
		d, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: cachedThings(1)})
		require.NoError(t, err)
		require.NotEmpty(t, d.GetCacheShape())
		return d.GetCacheShape()
	}
	before := shape()
	f.desc.Object = "renamed"
	w.srv.Reset()
	after := shape()
	assert.NotEqual(t, before, after)
	assert.Equal(t, after, shape())
}

func TestCached_MissFillsTheCache(t *testing.T) {
	room := &fakeCache{}
	f := keyed(&fake{scan: numbers(5), plan: func(r pushdown.Request) pushdown.Plan {
		p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
		for i := range p.Conjuncts {
			p.Conjuncts[i].Verdict = pushdown.Exact
		}
		return p
	}})
	w := start(t, f, withCache(room))
	c := w.cachedClient()
	seven := int64(7)
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1), Conjuncts: []*hallwayv1.Expr{idIs(1, &seven), idIs(2, &seven)}})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{1, 0}, MaxAgeMs: 1000,
		Parameters: []*hallwayv1.Value{int8Value(0), int8Value(7), int8Value(8)},
		Fill:       &hallwayv1.CacheFill{Predicate: []byte("p"), Hash: -5, Conjuncts: []uint32{1}}})
	got, err := drainScan(t, st, err)
	require.NoError(t, err)
	assert.Equal(t, "filled", got.footer.GetCache())
	assert.Equal(t, []uint32{0}, got.header.GetRecheck(), "what is not part of the region is the backend's to check")
	assert.Len(t, got.rows(t, pushdown.Type{Kind: pushdown.Text}, pushdown.Type{Kind: pushdown.Int8}), 5)
	assert.Equal(t, []string{"mind the gap"}, got.footer.GetWarnings())
	assert.EqualValues(t, 1, got.footer.GetStats().GetCalls())
	room.mu.Lock()
	defer room.mu.Unlock()
	assert.Equal(t, []int{5}, room.kept)
	require.Len(t, room.regions, 1)
	r := room.regions[0]
	assert.Equal(t, []byte("p"), r.Predicate)
	assert.EqualValues(t, -5, r.Hash)
	assert.Equal(t, []int{1, 0}, r.Columns)
	require.Len(t, r.Conjuncts, 1)
	assert.True(t, pushdown.Known(r.Conjuncts[0]))
	d := room.defs[0]
	assert.EqualValues(t, 1234, d.Relid)
	assert.EqualValues(t, 99, d.ServerOID)
	assert.Equal(t, "things", d.Object)
	assert.Equal(t, []int{0}, d.Key)
	assert.Equal(t, "name", d.Columns[1].Name)
	assert.EqualValues(t, 1, w.srv.Stats().Cache.Fills)
	assert.EqualValues(t, 5, w.srv.Stats().Cache.Rows)
}

func TestCached_HundredBackendsOneScan(t *testing.T) {
	room := &fakeCache{}
	var calls atomic.Int64
	gate := make(chan struct{})
	f := keyed(&fake{scan: func(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		calls.Add(1)
		<-gate
		return numbers(1000)(ctx, q, out)
	}})
	w := start(t, f, withCache(room))
	var wg sync.WaitGroup
	var joined atomic.Int64
	for range 100 {
		c := w.cachedClient()
		wg.Go(func() {
			got, err := allThings(t, c, cachedThings(1))
			if assert.NoError(t, err) {
				assert.Len(t, got.rows(t, pushdown.Type{Kind: pushdown.Int8}, pushdown.Type{Kind: pushdown.Text}), 1000)
				if got.footer.GetCache() == "joined another scan's" {
					joined.Add(1)
				}
			}
		})
	}
	soon(t, "all wait", func() bool { return w.srv.Stats().Scans == 100 })
	close(gate)
	wg.Wait()
	assert.EqualValues(t, 1, calls.Load())
	assert.EqualValues(t, 99, joined.Load())
	assert.Equal(t, []int{1000}, room.fills())

	// Who wants nothing old asks anew.
	_, err := allThings(t, w.cachedClient(), cachedThings(1), func(r *hallwayv1.ScanRequest) { r.MaxAgeMs = 0 })
	require.NoError(t, err)
	assert.EqualValues(t, 2, calls.Load())
}

func TestCached_WhatIsNotKept(t *testing.T) {
	unreachable := &database.UnreachableError{Err: errors.New("no such role")}
	broken := func(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		for range 3 {
			out.Int64(1)
			out.String("x")
			if err := out.EndRow(); err != nil {
				return connectors.ScanResult{}, err
			}
		}
		return connectors.ScanResult{}, &connectors.Error{Class: connectors.Unavailable, Message: "gone"}
	}
	limited := func(r *hallwayv1.ScanRequest) { r.Limit = 5 }
	for name, tc := range map[string]struct {
		room   *fakeCache
		scan   func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error)
		change func(*hallwayv1.ScanRequest)
		cache  string
		fails  string
		rows   int
		warns  bool
	}{
		"unreachable":         {room: &fakeCache{table: func() error { return unreachable }}, cache: "not kept: ", rows: 5, warns: true},
		"another definition":  {room: &fakeCache{table: func() error { return cache.ErrShape }}, cache: "not kept: " + cache.ErrShape.Error(), rows: 5},
		"merge fails":         {room: &fakeCache{commit: func() error { return cache.ErrOvertaken }}, cache: "not kept: " + cache.ErrOvertaken.Error(), rows: 5},
		"scan fails":          {room: &fakeCache{}, scan: broken, fails: "08006"},
		"limit reached":       {room: &fakeCache{}, change: limited, cache: "not kept: a LIMIT was reached", rows: 5},
		"limit not reached":   {room: &fakeCache{}, change: func(r *hallwayv1.ScanRequest) { r.Limit = 6 }, cache: "filled", rows: 5},
		"a sample":            {room: &fakeCache{}, change: func(r *hallwayv1.ScanRequest) { r.SampleRows = 3 }, cache: "", rows: 5},
		"not asked to":        {room: &fakeCache{}, change: func(r *hallwayv1.ScanRequest) { r.Fill = nil }, cache: "", rows: 5},
		"busy, and not there": {room: &fakeCache{begin: func(cache.Region) error { return cache.ErrBusy }}, cache: "not kept: " + cache.ErrBusy.Error(), rows: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.scan == nil {
				tc.scan = numbers(5)
			}
			f := keyed(&fake{scan: tc.scan, plan: func(r pushdown.Request) pushdown.Plan {
				return pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts)), LimitExact: true}
			}})
			w := start(t, f, withCache(tc.room))
			c := w.cachedClient()
			for i := range 2 {
				p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1), LimitPossible: true})
				req := &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{0, 1}, MaxAgeMs: 60000, Fill: &hallwayv1.CacheFill{}}
				if tc.change != nil {
					tc.change(req)
				}
				st, err := c.Scan(t.Context(), req)
				got, err := drainScan(t, st, err)
				if tc.fails != "" {
					assert.Equal(t, tc.fails, wire(t, err).GetSqlstate())
					soon(t, "the fill is given up", func() bool { tc.room.mu.Lock(); defer tc.room.mu.Unlock(); return tc.room.aborted == i+1 })
					continue
				}
				require.NoError(t, err)
				assert.Len(t, got.rows(t, pushdown.Type{Kind: pushdown.Int8}, pushdown.Type{Kind: pushdown.Text}), tc.rows)
				assert.Contains(t, got.footer.GetCache(), tc.cache)
				warned := slices.ContainsFunc(got.footer.GetWarnings(), func(s string) bool { return s != "mind the gap" })
				assert.Equal(t, tc.warns && i == 0, warned, "once a connection: %v", got.footer.GetWarnings())
			}
			if tc.cache != "filled" {
				assert.Empty(t, tc.room.fills())
			}
		})
	}
}

// keeps counts scans of an API that takes orders.
func keeps(calls *atomic.Int64) *fake {
	return keyed(&fake{scan: func(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		calls.Add(1)
		return numbers(2)(ctx, q, out)
	}, plan: func(r pushdown.Request) pushdown.Plan {
		p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
		for i := range r.Orderings {
			p.ExactOrderings = append(p.ExactOrderings, i)
		}
		return p
	}})
}

func TestCached_AnotherSidecarFills(t *testing.T) {
	var calls, begins atomic.Int64
	busy := func(n int64) func(cache.Region) error {
		return func(cache.Region) error {
			if begins.Add(1) <= n {
				return cache.ErrBusy
			}
			return nil
		}
	}
	theirs := func(out func([]byte, int) error) (bool, error) {
		return true, out(tuple(int8Value(1).GetBinary(), []byte("a")), 1)
	}
	alive := func() (cache.Filling, bool) { return cache.Filling{ID: 1}, true }
	room := &fakeCache{begin: busy(4), filling: alive, fresh: func() bool { return true }, read: theirs}
	w := start(t, keeps(&calls), withCache(room))
	c := w.cachedClient()
	got, err := allThings(t, c, cachedThings(1))
	require.NoError(t, err)
	assert.Len(t, got.batches, 1)
	assert.Zero(t, calls.Load(), "the API is not asked for what another one has just fetched")
	assert.EqualValues(t, 5, begins.Load())
	assert.Equal(t, "joined another sidecar's", got.footer.GetCache())
	assert.Empty(t, room.fills())
	assert.EqualValues(t, 1, w.srv.Stats().Cache.Flights.Joined)
	assert.Zero(t, w.srv.Stats().Cache.Flights.Begun)

	// The cache has no order, so rows in one come from the API.
	begins.Store(0)
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1), Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 0}}}}})
	require.Equal(t, []uint32{0}, p.GetExactOrderings())
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{0, 1}, Ordering: 1,
		MaxAgeMs: 60000, Fill: &hallwayv1.CacheFill{}})
	got, err = drainScan(t, st, err)
	require.NoError(t, err)
	assert.Len(t, got.rows(t, thingTypes...), 2)
	assert.EqualValues(t, 1, calls.Load())
	assert.EqualValues(t, 1, begins.Load())
}

// What another sidecar does not finish is asked for here, and kept if it has given
// up the region.
func TestCached_AnotherSidecarDoesNotFinish(t *testing.T) {
	for name, tc := range map[string]struct {
		busy    int64
		filling func(n int64) (cache.Filling, bool)
		read    func(func([]byte, int) error) (bool, error)
		fresh   bool
		begins  int64
		kept    bool
	}{
		"it is gone": {busy: 3, filling: func(int64) (cache.Filling, bool) { return cache.Filling{ID: 1}, true }, begins: 4, kept: true},
		"it is silent": {busy: 99, filling: func(n int64) (cache.Filling, bool) {
			return cache.Filling{ID: 1, Quiet: time.Duration(n) * time.Second}, true
		}, begins: 6},
		"it fetches other columns": {busy: 99, filling: func(int64) (cache.Filling, bool) { return cache.Filling{}, false }, begins: 3},
		"its rows are too old":     {busy: 99, filling: func(int64) (cache.Filling, bool) { return cache.Filling{ID: 1, Age: time.Hour}, true }, begins: 1},
		"it begins over and over":  {busy: 99, filling: func(n int64) (cache.Filling, bool) { return cache.Filling{ID: n}, true }, begins: 3},
		"its rows went again": {busy: 1, filling: func(int64) (cache.Filling, bool) { return cache.Filling{}, false }, fresh: true,
			read: func(func([]byte, int) error) (bool, error) { return false, nil }, begins: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls, begins, looks atomic.Int64
			room := &fakeCache{read: tc.read, fresh: func() bool { return tc.fresh }}
			room.begin = func(cache.Region) error {
				if begins.Add(1) <= tc.busy {
					return cache.ErrBusy
				}
				return nil
			}
			room.filling = func() (cache.Filling, bool) { return tc.filling(looks.Add(1)) }
			got, err := allThings(t, start(t, keeps(&calls), withCache(room)).cachedClient(), cachedThings(1))
			require.NoError(t, err)
			assert.Len(t, got.rows(t, thingTypes...), 2)
			assert.EqualValues(t, 1, calls.Load())
			assert.Equal(t, tc.begins, begins.Load())
			if tc.kept {
				assert.Equal(t, []int{2}, room.fills())
			} else {
				assert.Empty(t, room.fills())
			}
		})
	}
}

// Who leaves while another sidecar is waited for leaves at once.
func TestCached_LeavingWhileAnotherSidecarFills(t *testing.T) {
	var calls atomic.Int64
	room := &fakeCache{begin: func(cache.Region) error { return cache.ErrBusy },
		filling: func() (cache.Filling, bool) { return cache.Filling{ID: 1}, true }}
	w := start(t, keeps(&calls), withCache(room))
	c := w.cachedClient()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1)})
	ctx, cancel := context.WithCancel(t.Context())
	st, err := c.Scan(ctx, &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{0}, MaxAgeMs: 60000, Fill: &hallwayv1.CacheFill{}})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	cancel()
	soon(t, "nothing is left", func() bool { return w.srv.Stats().Cache.Flights.Flights == 0 })
	assert.Zero(t, calls.Load())
}

// A fill that cannot go on because of a slow reader lets other sidecars fetch the
// same.
func TestCached_HeldUpFillsYield(t *testing.T) {
	const many = 20000
	room := &fakeCache{}
	var sent atomic.Int64
	f := keyed(&fake{scan: func(_ context.Context, _ connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		for i := range many {
			out.Int64(int64(i))
			out.String(strings.Repeat("x", 1000))
			if err := out.EndRow(); err != nil {
				return connectors.ScanResult{}, err
			}
			sent.Add(1)
		}
		return connectors.ScanResult{}, nil
	}})
	w := start(t, f, withCache(room), func(c *Config) { c.Spool = flight.Limits{Memory: 10000, File: 1} })
	c := w.cachedClient()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{0, 1}, MaxAgeMs: 60000, Fill: &hallwayv1.CacheFill{}})
	require.NoError(t, err)
	soon(t, "the fill yields", func() bool { room.mu.Lock(); defer room.mu.Unlock(); return room.yielded == 1 })
	assert.Less(t, sent.Load(), int64(many))
	got, err := drainScan(t, st, err)
	require.NoError(t, err)
	assert.Len(t, got.rows(t, thingTypes...), many)
}

func TestCached_PanicIsTheReadersError(t *testing.T) {
	f := keyed(&fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) { panic("ouch") }})
	w := start(t, f, withCache(&fakeCache{}))
	_, err := allThings(t, w.cachedClient(), cachedThings(1))
	assert.Equal(t, "XX000", wire(t, err).GetSqlstate())
	soon(t, "nothing is left", func() bool { return w.srv.Stats().Cache.Flights.Flights == 0 })
}

func TestCached_LeavingEndsTheAPICall(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	f := keyed(&fake{scan: func(ctx context.Context, _ connectors.Query, _ *rows.Builder) (connectors.ScanResult, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return connectors.ScanResult{}, ctx.Err()
	}})
	w := start(t, f, withCache(&fakeCache{}))
	c := w.cachedClient()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: cachedThings(1)})
	ctx, cancel := context.WithCancel(t.Context())
	st, err := c.Scan(ctx, &hallwayv1.ScanRequest{Relation: cachedThings(1), Plan: p.GetPlan(), Columns: []uint32{0}, Fill: &hallwayv1.CacheFill{}})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	select {
	case <-begun:
	case <-time.After(30 * time.Second):
		t.Fatal("the API is not called")
	}
	cancel()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(30 * time.Second):
		t.Fatal("the API call goes on")
	}
}
