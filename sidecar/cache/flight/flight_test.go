package flight

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func group(t *testing.T, l Limits) *Group {
	t.Helper()
	if l.Dir == "" {
		l.Dir = t.TempDir()
	}
	g := NewGroup(slog.New(slog.DiscardHandler), l)
	t.Cleanup(func() {
		g.Close()
		s := g.Stats()
		assert.Zero(t, s.Flights, "all flights are over")
		assert.Zero(t, s.Memory, "all memory is given back")
		names, err := os.ReadDir(g.limits.Dir)
		require.NoError(t, err)
		assert.Empty(t, names, "files have no names")
	})
	return g
}

// batch number i, of n bytes.
func batch(i, n int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, n)
	binary.BigEndian.PutUint32(b, uint32(i))
	return b
}

// batches hands n batches over.
func batches(n, size int, calls *atomic.Int64) Work {
	return func(_ context.Context, f *Flight) error {
		calls.Add(1)
		for i := range n {
			if err := f.Append(batch(i, size), 1); err != nil {
				return err
			}
		}
		return nil
	}
}

// drain reads to the end and checks the order.
func drain(ctx context.Context, r *Reader, pause func(int)) (int, error) {
	for i := 0; ; i++ {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return i, nil
		}
		if err != nil {
			return i, err
		}
		if b.Rows != 1 || !bytes.Equal(b.Tuples, batch(i, len(b.Tuples))) {
			return i, fmt.Errorf("batch %d is another", i)
		}
		if pause != nil {
			pause(i)
		}
	}
}

func TestJoin_HundredReadersAreOneScan(t *testing.T) {
	for name, l := range map[string]Limits{"in memory": {}, "in a file": {Memory: 4 << 10}} {
		t.Run(name, func(t *testing.T) {
			g := group(t, l)
			var calls atomic.Int64
			gate := make(chan struct{})
			work := func(ctx context.Context, f *Flight) error {
				<-gate
				return batches(50, 1000, &calls)(ctx, f)
			}
			var wg sync.WaitGroup
			var joined atomic.Int64
			for i := range 100 {
				r, j := g.Join(t.Context(), Request{Key: "k", Owner: i, MaxAge: time.Minute}, nil, work)
				if j {
					joined.Add(1)
				}
				wg.Go(func() {
					defer r.Close()
					n, err := drain(t.Context(), r, func(int) {
						if rand.IntN(20) == 0 {
							time.Sleep(time.Millisecond)
						}
					})
					assert.NoError(t, err)
					assert.Equal(t, 50, n)
				})
			}
			close(gate)
			wg.Wait()
			assert.EqualValues(t, 1, calls.Load())
			assert.EqualValues(t, 99, joined.Load())
			if l.Memory > 0 {
				assert.Positive(t, g.Stats().Spool)
			}
		})
	}
}

// Held tells of a scan that cannot go on because of a reader, and of no other.
func TestHeld_ByASlowReader(t *testing.T) { synctest.Test(t, heldByASlowReader) }

func heldByASlowReader(t *testing.T) {
	g := group(t, Limits{Memory: 1000, File: 1})
	var calls atomic.Int64
	r, _ := g.Join(t.Context(), Request{Key: "k", Owner: 1}, nil, batches(5, 1000, &calls))
	defer r.Close()
	_, err := r.Next(t.Context())
	require.NoError(t, err)
	select {
	case <-r.Flight().Held():
	case <-time.After(30 * time.Second):
		t.Fatal("nobody is told")
	}
	for err == nil {
		_, err = r.Next(t.Context())
	}
	require.ErrorIs(t, err, io.EOF)

	quick, _ := group(t, Limits{}).Join(t.Context(), Request{Key: "q", Owner: 1}, nil, batches(5, 1000, &calls))
	defer quick.Close()
	_, err = drain(t.Context(), quick, nil)
	require.NoError(t, err)
	select {
	case <-quick.Flight().Held():
		t.Fatal("it was not held up")
	default:
	}
}

func TestJoin_OnlyWhatIsAlike(t *testing.T) {
	g := group(t, Limits{})
	hold := make(chan struct{})
	work := func(context.Context, *Flight) error { <-hold; return nil }
	first := Request{Key: "k", Owner: 1, MaxAge: time.Minute, Stamp: 7}
	r, joined := g.Join(t.Context(), first, nil, work)
	require.False(t, joined)
	defer r.Close()
	defer close(hold)
	time.Sleep(2 * time.Millisecond)
	for name, change := range map[string]func(*Request){
		"another key":        func(q *Request) { q.Key = "l" },
		"the same owner":     func(q *Request) { q.Owner = 1 },
		"a write since":      func(q *Request) { q.Stamp++ },
		"too long ago":       func(q *Request) { q.MaxAge = time.Millisecond },
		"nothing old at all": func(q *Request) { q.MaxAge = 0 },
	} {
		q := first
		q.Owner = 2
		change(&q)
		o, joined := g.Join(t.Context(), q, nil, work)
		assert.False(t, joined, name)
		o.Close()
		// The other one took the first one's place.
		g.mu.Lock()
		g.open["k"] = r.Flight()
		g.mu.Unlock()
	}
	q := first
	q.Owner = 2
	o, joined := g.Join(t.Context(), q, nil, work)
	assert.True(t, joined)
	o.Close()
	g.Retire(func(any) bool { return true })
	o, joined = g.Join(t.Context(), q, nil, work)
	assert.False(t, joined, "a flight that was retired")
	o.Close()
}

func TestSlowReaderHoldsUpNobody(t *testing.T) {
	g := group(t, Limits{Memory: 2000, File: 1 << 20})
	var calls atomic.Int64
	req := Request{Key: "k", MaxAge: time.Minute, Owner: "slow"}
	kept := make(chan int, 1)
	gate := make(chan struct{})
	slow, _ := g.Join(t.Context(), req, nil, func(ctx context.Context, f *Flight) error {
		f.Keep(func(ctx context.Context, r *Reader) Outcome {
			n, err := drain(ctx, r, nil)
			assert.NoError(t, err)
			kept <- n
			return Outcome{Text: "filled"}
		})
		<-gate
		return batches(200, 1000, &calls)(ctx, f)
	})
	defer slow.Close()
	req.Owner = "fast"
	fast, joined := g.Join(t.Context(), req, nil, nil)
	require.True(t, joined)
	close(gate)
	_, err := slow.Next(t.Context())
	require.NoError(t, err)
	n, err := drain(t.Context(), fast, nil)
	require.NoError(t, err)
	assert.Equal(t, 200, n)
	o, ok := fast.Outcome(t.Context(), 30*time.Second)
	assert.True(t, ok)
	assert.Equal(t, "filled", o.Text)
	fast.Close()
	assert.Equal(t, 200, <-kept)
	n = 1
	for {
		if _, err := slow.Next(t.Context()); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		n++
	}
	assert.Equal(t, 200, n, "and the slow one misses nothing")
}

func TestCancelledFirstReaderEndsNothingForOthers(t *testing.T) {
	g := group(t, Limits{})
	var calls atomic.Int64
	step := make(chan struct{})
	ended := make(chan error, 1)
	work := func(ctx context.Context, f *Flight) error {
		calls.Add(1)
		for i := range 10 {
			select {
			case <-step:
			case <-ctx.Done():
				ended <- context.Cause(ctx)
				return ctx.Err()
			}
			if err := f.Append(batch(i, 10), 1); err != nil {
				return err
			}
		}
		ended <- nil
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	req := Request{Key: "k", Owner: 1, MaxAge: time.Minute}
	a, _ := g.Join(ctx, req, nil, work)
	step <- struct{}{}
	_, err := a.Next(ctx)
	require.NoError(t, err)
	req.Owner = 2
	b, joined := g.Join(t.Context(), req, nil, work)
	require.True(t, joined)
	cancel()
	_, err = a.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	a.Close()
	go func() {
		for range 9 {
			step <- struct{}{}
		}
	}()
	n, err := drain(t.Context(), b, nil)
	require.NoError(t, err)
	assert.Equal(t, 10, n)
	b.Close()
	require.NoError(t, <-ended)
	assert.EqualValues(t, 1, calls.Load())

	// The last one's leaving does end it, and what keeps the rows is told.
	req.Key = "l"
	told := make(chan error, 1)
	c, _ := g.Join(t.Context(), req, nil, func(ctx context.Context, f *Flight) error {
		f.Keep(func(ctx context.Context, r *Reader) Outcome {
			_, err := drain(ctx, r, nil)
			told <- err
			return Outcome{}
		})
		return work(ctx, f)
	})
	c.Close()
	require.ErrorIs(t, <-ended, ErrNobody)
	require.ErrorIs(t, <-told, ErrNobody)
	d, joined := g.Join(t.Context(), Request{Key: "l", Owner: 3, MaxAge: time.Minute}, nil, func(context.Context, *Flight) error { return nil })
	assert.False(t, joined)
	d.Close()
}

func TestFailureReachesAllReadersAfterTheirRows(t *testing.T) {
	g := group(t, Limits{})
	boom := errors.New("boom")
	gate := make(chan struct{})
	kept := make(chan error, 1)
	work := func(_ context.Context, f *Flight) error {
		f.Keep(func(ctx context.Context, r *Reader) Outcome {
			_, err := drain(ctx, r, nil)
			kept <- err
			return Outcome{Text: "not kept"}
		})
		for i := range 3 {
			if err := f.Append(batch(i, 10), 1); err != nil {
				return err
			}
		}
		<-gate
		return boom
	}
	var list []*Reader
	for i := range 5 {
		r, _ := g.Join(t.Context(), Request{Key: "k", Owner: i, MaxAge: time.Minute}, nil, work)
		list = append(list, r)
	}
	close(gate)
	for _, r := range list {
		n, err := drain(t.Context(), r, nil)
		require.ErrorIs(t, err, boom)
		assert.Equal(t, 3, n)
		r.Close()
	}
	require.ErrorIs(t, <-kept, boom)
	r, joined := g.Join(t.Context(), Request{Key: "k", Owner: 9, MaxAge: time.Minute}, nil, func(context.Context, *Flight) error { return nil })
	assert.False(t, joined, "nobody joins a scan that failed")
	r.Close()
}

func TestPastTheBound(t *testing.T) {
	const n, size = 300, 1000
	// Time passes only when all wait: who is slow is so because he is meant to be.
	run := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	limits := Limits{Memory: 5000, File: 20_000, Patience: 50 * time.Millisecond}
	join := func(t *testing.T, g *Group, owner string, work Work) *Reader {
		r, _ := g.Join(t.Context(), Request{Key: "k", Owner: owner, MaxAge: time.Minute}, nil, work)
		return r
	}
	run("the only reader holds back the scan, as without a spool", func(t *testing.T) {
		g := group(t, limits)
		var calls, appended atomic.Int64
		r := join(t, g, "a", func(_ context.Context, f *Flight) error {
			for i := range n {
				if err := f.Append(batch(i, size), 1); err != nil {
					return err
				}
				appended.Add(1)
			}
			return nil
		})
		defer r.Close()
		synctest.Wait() // until it cannot go on
		assert.EqualValues(t, 25, appended.Load(), "memory and file, in batches")
		o := join(t, g, "late", batches(1, size, &calls))
		assert.EqualValues(t, 0, g.Stats().Joined, "nobody joins what is partly gone")
		o.Close()
		got, err := drain(t.Context(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, n, got)
	})
	run("the slowest of several is given up after a while", func(t *testing.T) {
		g := group(t, limits)
		var calls atomic.Int64
		gate := make(chan struct{})
		slow := join(t, g, "slow", func(ctx context.Context, f *Flight) error {
			<-gate
			return batches(n, size, &calls)(ctx, f)
		})
		defer slow.Close()
		fast := join(t, g, "fast", nil)
		defer fast.Close()
		close(gate)
		start := time.Now()
		got, err := drain(t.Context(), fast, nil)
		require.NoError(t, err)
		assert.Equal(t, n, got)
		assert.GreaterOrEqual(t, time.Since(start), limits.Patience)
		_, err = slow.Next(t.Context())
		require.ErrorIs(t, err, ErrBehind)
	})
	run("what keeps the rows is never waited for long", func(t *testing.T) {
		g := group(t, limits)
		var calls atomic.Int64
		stuck := make(chan struct{})
		r := join(t, g, "a", func(ctx context.Context, f *Flight) error {
			f.Keep(func(ctx context.Context, r *Reader) Outcome {
				<-stuck
				_, err := drain(ctx, r, nil)
				return Outcome{Text: err.Error()}
			})
			return batches(n, size, &calls)(ctx, f)
		})
		defer r.Close()
		got, err := drain(t.Context(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, n, got)
		close(stuck)
		o, ok := r.Outcome(t.Context(), 30*time.Second)
		assert.True(t, ok)
		assert.Equal(t, ErrBehind.Error(), o.Text)
	})
	run("a paused reader is no reason to fail it for the cache's sake", func(t *testing.T) {
		g := group(t, limits)
		var calls atomic.Int64
		r := join(t, g, "a", func(ctx context.Context, f *Flight) error {
			f.Keep(func(ctx context.Context, r *Reader) Outcome {
				_, err := drain(ctx, r, nil)
				return Outcome{Text: fmt.Sprint(err)}
			})
			return batches(n, size, &calls)(ctx, f)
		})
		defer r.Close()
		time.Sleep(3 * limits.Patience)
		got, err := drain(t.Context(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, n, got)
		o, ok := r.Outcome(t.Context(), 30*time.Second)
		assert.True(t, ok)
		assert.Equal(t, "<nil>", o.Text)
	})
	run("a batch longer than all bounds", func(t *testing.T) {
		g := group(t, Limits{Memory: 10, File: 10})
		var calls atomic.Int64
		r := join(t, g, "a", batches(5, size, &calls))
		defer r.Close()
		got, err := drain(t.Context(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, 5, got)
	})
	run("a directory that is not there", func(t *testing.T) {
		g := group(t, limits)
		old := g.limits.Dir
		g.limits.Dir = old + "/none"
		var calls atomic.Int64
		r := join(t, g, "a", batches(n, size, &calls))
		got, err := drain(t.Context(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, n, got)
		r.Close()
		g.Quiet(t.Context(), "k")
		g.limits.Dir = old
	})
}

func TestKeep_GoesOnAfterTheReadersAndCanBeJoined(t *testing.T) {
	g := group(t, Limits{})
	var calls atomic.Int64
	commit := make(chan struct{})
	work := func(ctx context.Context, f *Flight) error {
		f.Keep(func(ctx context.Context, r *Reader) Outcome {
			n, err := drain(ctx, r, nil)
			<-commit
			return Outcome{Text: fmt.Sprint(n, " ", err)}
		})
		return batches(3, 10, &calls)(ctx, f)
	}
	a, _ := g.Join(t.Context(), Request{Key: "k", Owner: 1, MaxAge: time.Minute}, nil, work)
	_, err := drain(t.Context(), a, nil)
	require.NoError(t, err)
	_, known := a.Outcome(t.Context(), time.Millisecond)
	assert.False(t, known)
	a.Close()
	b, joined := g.Join(t.Context(), Request{Key: "k", Owner: 2, MaxAge: time.Minute}, nil, work)
	assert.True(t, joined, "while the rows are being kept, they are here")
	n, err := drain(t.Context(), b, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	close(commit)
	o, known := b.Outcome(t.Context(), 30*time.Second)
	assert.True(t, known)
	assert.Equal(t, "3 <nil>", o.Text)
	b.Close()
	g.Quiet(t.Context(), "k")
	c, joined := g.Join(t.Context(), Request{Key: "k", Owner: 2, MaxAge: time.Minute}, nil, work)
	assert.False(t, joined, "afterwards the cache has them")
	c.Close()
	assert.LessOrEqual(t, calls.Load(), int64(2))
}

func TestDeadlineIsTheMostPatientReaders(t *testing.T) {
	g := group(t, Limits{})
	type answer struct {
		at time.Time
		ok bool
	}
	ask, answers := make(chan struct{}), make(chan answer)
	now := time.Now()
	a, _ := g.Join(t.Context(), Request{Key: "k", Owner: 1, MaxAge: time.Minute, Deadline: now.Add(time.Minute)}, nil,
		func(ctx context.Context, _ *Flight) error {
			for range ask {
				at, ok := ctx.Deadline()
				answers <- answer{at, ok}
			}
			return nil
		})
	defer a.Close()
	defer close(ask)
	ask <- struct{}{}
	assert.Equal(t, answer{now.Add(time.Minute), true}, <-answers)
	b, _ := g.Join(t.Context(), Request{Key: "k", Owner: 2, MaxAge: time.Minute, Deadline: now.Add(time.Hour)}, nil, nil)
	defer b.Close()
	ask <- struct{}{}
	assert.Equal(t, answer{now.Add(time.Hour), true}, <-answers)
	c, _ := g.Join(t.Context(), Request{Key: "k", Owner: 3, MaxAge: time.Minute}, nil, nil)
	defer c.Close()
	ask <- struct{}{}
	assert.False(t, (<-answers).ok)
}

func TestClose_EndsWhatRuns(t *testing.T) {
	g := group(t, Limits{})
	work := func(ctx context.Context, f *Flight) error {
		f.Keep(func(ctx context.Context, _ *Reader) Outcome {
			<-ctx.Done()
			return Outcome{Text: "stopped"}
		})
		<-ctx.Done()
		return ctx.Err()
	}
	r, _ := g.Join(t.Context(), Request{Key: "k", MaxAge: time.Minute}, nil, work)
	g.Close()
	_, err := r.Next(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	r.Close()
	r, joined := g.Join(t.Context(), Request{Key: "k", MaxAge: time.Minute}, nil, work)
	assert.False(t, joined)
	_, err = r.Next(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	r.Close()
}
