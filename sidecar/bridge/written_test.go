package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// recording is a modify that applies everything, and answers an INSERT or UPDATE
// with the whole row, if it has all columns.
func recording(_ context.Context, b *connectors.Batch) error {
	for _, r := range b.Rows {
		b.Results = append(b.Results, connectors.Result{Outcome: connectors.Applied})
		whole := b.Record != nil && len(r.Values)+len(r.Key) == len(b.RecordColumns)
		b.Recorded = append(b.Recorded, whole)
		if !whole {
			continue
		}
		for _, v := range append(append([]pushdown.Value{}, r.Key...), r.Values...) {
			b.Record.Value(v)
		}
		if err := b.Record.EndRow(); err != nil {
			return err
		}
	}
	return nil
}

func change(op hallwayv1.Operation, key, columns []uint32, values ...[]byte) *hallwayv1.ModifyRequest {
	return &hallwayv1.ModifyRequest{Relation: cachedThings(1), Operation: op, KeyColumns: key, Columns: columns,
		Tuples: tuple(values...), Rows: 1, IdempotencyKey: "k"}
}

func insertThing(id int64, name string) *hallwayv1.ModifyRequest {
	return change(hallwayv1.Operation_OPERATION_INSERT, nil, []uint32{0, 1}, int8Value(id).GetBinary(), []byte(name))
}

func settled(t *testing.T, c hallwayv1.BridgeClient, number uint64, instance string, wait time.Duration) bool {
	t.Helper()
	r, err := c.Settle(t.Context(), &hallwayv1.SettleRequest{Relation: cachedThings(1), WriteNumber: number, InstanceId: instance, WaitMs: uint64(wait.Milliseconds())})
	require.NoError(t, err)
	return r.GetSettled()
}

var thingTypes = []pushdown.Type{{Kind: pushdown.Int8}, {Kind: pushdown.Text}}

// The API's list shows none of the writes.
func TestWritten_ShowsOverALaggingList(t *testing.T) {
	room := &fakeCache{}
	f := keyed(&fake{scan: numbers(4), modify: recording})
	w := start(t, f, withCache(room))
	c := w.cachedClient()
	number := uint64(0)
	for _, req := range []*hallwayv1.ModifyRequest{
		insertThing(9, "new"),
		change(hallwayv1.Operation_OPERATION_UPDATE, []uint32{0}, []uint32{1}, int8Value(1).GetBinary(), []byte("changed")),
		change(hallwayv1.Operation_OPERATION_DELETE, []uint32{0}, nil, int8Value(2).GetBinary()),
	} {
		r, err := c.Modify(t.Context(), req)
		require.NoError(t, err)
		assert.Greater(t, r.GetWriteNumber(), number)
		number = r.GetWriteNumber()
	}
	require.True(t, settled(t, c, number, "abc", 30*time.Second))
	want := []string{"0 thing", "1 changed", "3 thing", "9 new"}
	have := func(s scanned) (list []string) {
		for _, r := range s.rows(t, thingTypes...) {
			list = append(list, string(pushdown.AppendText(nil, r[0], thingTypes[0]))+" "+r[1].V.(string))
		}
		return list
	}
	for range 2 { // the second by another session
		got, err := allThings(t, c, cachedThings(1))
		require.NoError(t, err)
		assert.ElementsMatch(t, want, have(got))
		assert.Equal(t, "filled", got.footer.GetCache())
		got, err = allThings(t, c, cachedThings(1), func(r *hallwayv1.ScanRequest) { r.Fill = nil })
		require.NoError(t, err)
		assert.ElementsMatch(t, want, have(got), "a scan whose rows are not kept")
		c = w.cachedClient()
	}
	room.mu.Lock()
	defer room.mu.Unlock()
	assert.Equal(t, []int{4, 4}, room.kept)
	require.Len(t, room.applied, 3)
	assert.Equal(t, cache.Write{Columns: []int{0, 1}, Tuple: tuple(int8Value(9).GetBinary(), []byte("new"))}, room.applied[0])
	assert.Equal(t, []string{"1"}, room.applied[1].Key)
	assert.Equal(t, cache.Write{Key: []string{"2"}, Deleted: true}, room.applied[2])
	assert.Contains(t, room.events, `invalidate object 99 "things" except 17`, "other tables and accounts forget")
	assert.NotContains(t, room.events, `invalidate object 99 "things" except 0`)
}

func TestWritten_UnknownIsNotKept(t *testing.T) {
	lost := &connectors.Error{Class: connectors.UnknownOutcome, Message: "no answer"}
	for name, tc := range map[string]struct {
		modify func(context.Context, *connectors.Batch) error
		apply  func([]cache.Write) error
		fails  bool
		kept   bool
	}{
		"no answer": {modify: func(context.Context, *connectors.Batch) error { return lost }, fails: true},
		"an answer without the row": {modify: func(_ context.Context, b *connectors.Batch) error {
			b.Results = []connectors.Result{{Outcome: connectors.Applied}}
			return nil
		}},
		"a panic":          {modify: func(context.Context, *connectors.Batch) error { panic("ouch") }, fails: true},
		"the cache cannot": {modify: recording, apply: func([]cache.Write) error { return errors.New("disk full") }, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			room := &fakeCache{apply: tc.apply}
			f := keyed(&fake{scan: numbers(3), modify: tc.modify})
			w := start(t, f, withCache(room))
			c := w.cachedClient()
			_, err := c.Modify(t.Context(), insertThing(9, "new"))
			require.Equal(t, tc.fails, err != nil, "%v", err)
			soon(t, "the object's regions go", func() bool {
				list := room.list()
				return len(list) == 1 && list[0] == `invalidate object 99 "things" except 0`
			})
			got, err := allThings(t, c, cachedThings(1))
			require.NoError(t, err)
			if tc.kept {
				// What was written is known here, only the table does not show it.
				assert.Equal(t, "filled", got.footer.GetCache())
				return
			}
			assert.Contains(t, got.footer.GetCache(), "not kept: rows were written that the API's list may not show yet")
			assert.Empty(t, room.fills())
		})
	}
}

func TestWritten_NothingWrittenIsNothingForgotten(t *testing.T) {
	room := &fakeCache{}
	f := keyed(&fake{scan: numbers(3), modify: func(context.Context, *connectors.Batch) error {
		return &connectors.Error{Class: connectors.PermissionDenied, Message: "no"}
	}})
	w := start(t, f, withCache(room))
	c := w.cachedClient()
	_, err := c.Modify(t.Context(), insertThing(9, "new"))
	require.Error(t, err)
	got, err := allThings(t, c, cachedThings(1))
	require.NoError(t, err)
	assert.Equal(t, "filled", got.footer.GetCache())
	assert.Empty(t, room.list())
}

func TestSettle_WaitsNoLongerThanItIsTold(t *testing.T) {
	gate := make(chan struct{})
	var tries atomic.Int64
	room := &fakeCache{apply: func([]cache.Write) error {
		tries.Add(1)
		<-gate
		return nil
	}}
	w := start(t, keyed(&fake{modify: recording}), withCache(room))
	c := w.cachedClient()
	r, err := c.Modify(t.Context(), insertThing(9, "new"))
	require.NoError(t, err)
	begun := time.Now()
	assert.False(t, settled(t, c, r.GetWriteNumber(), "abc", 30*time.Millisecond))
	assert.Less(t, time.Since(begun), 30*time.Second)
	close(gate)
	assert.True(t, settled(t, c, r.GetWriteNumber(), "abc", 30*time.Second))
	assert.EqualValues(t, 1, tries.Load())
	// The number of a sidecar that is gone says nothing: all of the server goes.
	assert.True(t, settled(t, c, r.GetWriteNumber(), "another", 30*time.Second))
	assert.Contains(t, room.list(), `invalidate object 99 "" except 0`)
}

func TestMaintain(t *testing.T) {
	room := &fakeCache{}
	f := keyed(&fake{scan: numbers(6)})
	w := start(t, f, withCache(room))
	c := w.cachedClient()
	do := func(action hallwayv1.MaintainAction, key ...string) (uint64, error) {
		r, err := c.Maintain(t.Context(), &hallwayv1.MaintainRequest{Relation: cachedThings(1), Action: action, Key: key})
		return r.GetRows(), err
	}
	n, err := do(hallwayv1.MaintainAction_MAINTAIN_ACTION_REFRESH)
	require.NoError(t, err)
	assert.EqualValues(t, 6, n)
	require.Len(t, room.regions, 1)
	assert.Empty(t, room.regions[0].Predicate)
	assert.Empty(t, room.regions[0].Conjuncts)
	assert.Equal(t, []int{0, 1}, room.regions[0].Columns)
	assert.EqualValues(t, emptyHash, room.regions[0].Hash)

	_, err = do(hallwayv1.MaintainAction_MAINTAIN_ACTION_INVALIDATE)
	require.NoError(t, err)
	n, err = do(hallwayv1.MaintainAction_MAINTAIN_ACTION_FORGET, "3")
	require.NoError(t, err)
	assert.EqualValues(t, 3, n)
	assert.Equal(t, []string{"invalidate table 1234", "forget 1234 [3]"}, room.list())
	_, err = do(hallwayv1.MaintainAction_MAINTAIN_ACTION_FORGET, "3", "4")
	assert.Contains(t, wire(t, err).GetMessage(), "a key of 2 values")
	_, err = do(hallwayv1.MaintainAction_MAINTAIN_ACTION_SYNC)
	assert.Equal(t, "0A000", wire(t, err).GetSqlstate(), "no replica")
	_, err = do(99)
	require.Error(t, err)

	_, err = c.Touch(t.Context(), &hallwayv1.TouchRequest{Uses: []*hallwayv1.RegionUse{{CacheId: 17, Hash: 5}}})
	require.NoError(t, err)
	assert.Contains(t, room.list(), "touch [{17 5}]")

	_, err = start(t, keyed(&fake{})).cachedClient().Maintain(t.Context(),
		&hallwayv1.MaintainRequest{Relation: cachedThings(1), Action: hallwayv1.MaintainAction_MAINTAIN_ACTION_REFRESH})
	assert.Equal(t, "0A000", wire(t, err).GetSqlstate())
}

// Rows that were written while they were read are read again, not for ever.
func TestMaintain_RefreshOvertaken(t *testing.T) {
	var overtaken, commits atomic.Int64
	room := &fakeCache{commit: func() error {
		if commits.Add(1) <= overtaken.Load() {
			return cache.ErrOvertaken
		}
		return nil
	}}
	c := start(t, keyed(&fake{scan: numbers(6)}), withCache(room)).cachedClient()
	refresh := &hallwayv1.MaintainRequest{Relation: cachedThings(1), Action: hallwayv1.MaintainAction_MAINTAIN_ACTION_REFRESH}
	overtaken.Store(refreshTries - 1)
	r, err := c.Maintain(t.Context(), refresh)
	require.NoError(t, err)
	assert.EqualValues(t, 6, r.GetRows())
	commits.Store(0)
	overtaken.Store(100)
	_, err = c.Maintain(t.Context(), refresh)
	assert.Equal(t, "55P03", wire(t, err).GetSqlstate())
	assert.Equal(t, "Try again.", wire(t, err).GetHint())
	assert.EqualValues(t, refreshTries, commits.Load())
}

// A table that is not cached may show the object of one that is.
func TestWritten_ThroughATableThatIsNotCached(t *testing.T) {
	room := &fakeCache{}
	refuse := false
	f := keyed(&fake{scan: numbers(3), modify: func(ctx context.Context, b *connectors.Batch) error {
		if refuse {
			b.Results = []connectors.Result{{Outcome: connectors.Refused, Err: &connectors.Error{Class: connectors.UniqueViolation, Message: "taken"}}}
			return nil
		}
		assert.Nil(t, b.Record, "nobody wants the row")
		return recording(ctx, b)
	}})
	w := start(t, f, withCache(room))
	c := w.cachedClient()
	off := cachedThings(2, func(r *hallwayv1.Relation) {
		r.RelationOid = 77
		r.Cache.Mode = hallwayv1.CacheMode_CACHE_MODE_OFF
	})
	req := insertThing(9, "new")
	req.Relation = off
	r, err := c.Modify(t.Context(), req)
	require.NoError(t, err)
	require.True(t, settled(t, c, r.GetWriteNumber(), "abc", 30*time.Second))
	assert.Equal(t, []string{`invalidate object 99 "things" except 0`}, room.list())
	got, err := allThings(t, c, cachedThings(1))
	require.NoError(t, err)
	assert.Contains(t, got.footer.GetCache(), "not kept: rows were written")

	refuse = true
	_, err = c.Modify(t.Context(), req)
	require.Error(t, err)
	assert.Len(t, room.list(), 1, "nothing was written")

	// Where the cache has nothing to do with, nothing is to be forgotten.
	_, err = w.client().Modify(t.Context(), req)
	require.Error(t, err)
	assert.Len(t, room.list(), 1)
}

// Who writes through such a table, perhaps in a loop, does not wait for what others
// are to forget; who reads one of those does.
func TestWritten_ThroughATableThatIsNotCachedIsForgottenTogether(t *testing.T) {
	room := &fakeCache{}
	w := start(t, keyed(&fake{modify: recording}), withCache(room))
	w.srv.queue.uncached = time.Hour
	c := w.cachedClient()
	write := func(id int64) uint64 {
		req := insertThing(id, "new")
		req.Relation = cachedThings(2, func(r *hallwayv1.Relation) {
			r.RelationOid = 77
			r.Cache.Mode = hallwayv1.CacheMode_CACHE_MODE_OFF
		})
		r, err := c.Modify(t.Context(), req)
		require.NoError(t, err)
		return r.GetWriteNumber()
	}
	write(1)
	write(2)
	last := write(3)
	assert.Empty(t, room.list(), "nobody waits")
	require.True(t, settled(t, c, last, "abc", 30*time.Second))
	assert.Len(t, room.list(), 1)
	// Whoever waited has gone by now, though the queue may have looked before.
	for tries := 1; ; tries++ {
		n := len(room.list())
		last = write(int64(3 + tries))
		now := len(room.list())
		require.True(t, settled(t, c, last, "abc", 30*time.Second))
		if now == n {
			assert.Len(t, room.list(), n+1)
			break
		}
		require.Less(t, tries, 10, "nobody waits any more")
	}
}

// The longer a loop of such writes goes on, the less often others are made to forget.
func TestWriteQueue_ALoopThroughATableThatIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &fakeCache{}
		q := newWriteQueue(slog.New(slog.DiscardHandler))
		// written writes once in a millisecond, n times, and gives the milliseconds at
		// which others were made to forget.
		written := func(n int) (at []int64) {
			seen := len(room.list())
			for start := time.Now(); n > 0 || q.len() > 0; n-- {
				if n > 0 {
					q.add(&cachedTable{off: true, db: room}, nil, true)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if now := len(room.list()); now > seen {
					seen = now
					at = append(at, time.Since(start).Milliseconds())
				}
			}
			return at
		}
		assert.Equal(t, []int64{10, 30, 70, 150, 230, 310, 390, 470}, written(400))
		time.Sleep(time.Second)
		assert.Equal(t, []int64{10}, written(1), "after the loop")
		q.close(time.Hour)
	})
}

func TestMaintain_RefreshWaitsForTheList(t *testing.T) {
	t.Parallel()                // it waits more than it computes
	const lag = 4 * time.Second // much longer than this machine may stall
	room := &fakeCache{}
	f := keyed(&fake{scan: numbers(6), modify: func(context.Context, *connectors.Batch) error {
		return &connectors.Error{Class: connectors.UnknownOutcome, Message: "no answer"}
	}})
	f.desc.ListLag = lag
	c := start(t, f, withCache(room)).cachedClient()
	refresh := func(ctx context.Context) (uint64, error) {
		r, err := c.Maintain(ctx, &hallwayv1.MaintainRequest{Relation: cachedThings(1), Action: hallwayv1.MaintainAction_MAINTAIN_ACTION_REFRESH})
		return r.GetRows(), err
	}
	_, err := c.Modify(t.Context(), insertThing(9, "new"))
	require.Error(t, err)
	written := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = refresh(ctx)
	require.Error(t, err, "it can be interrupted")
	assert.Less(t, time.Since(written), lag)
	n, err := refresh(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 6, n)
	assert.GreaterOrEqual(t, time.Since(written), lag-10*time.Millisecond)
	assert.Equal(t, []int{6}, room.fills())
}
