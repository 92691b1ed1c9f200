package transport

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// api is a server with a client for it.
type api struct {
	*httptest.Server
	hits, opened atomic.Int64
	log          lockedBuffer
}

func serve(t testing.TB, h http.HandlerFunc) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		h(w, r)
	}))
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.opened.Add(1)
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

func (a *api) env() connectors.Env {
	return connectors.Env{AllowHosts: []string{"127.0.0.1"},
		Log: slog.New(slog.NewTextHandler(&a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// client makes a client that does not wait between tries.
func (a *api) client(t *testing.T, change ...func(*connectors.Env, *Config)) *Client {
	t.Helper()
	env, cfg := a.env(), Config{API: "CRM", BaseURL: a.URL + "/v1"}
	for _, c := range change {
		c(&env, &cfg)
	}
	c, err := New(env, cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func readAll(t *testing.T, r *Response, err error) string {
	t.Helper()
	require.NoError(t, err)
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(b)
}

// failure is the *connectors.Error in err.
func failure(t *testing.T, err error) *connectors.Error {
	t.Helper()
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestDo_SendsWhatItWasAsked(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s|%s|%s|%s", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("X-A"), r.Header.Get("User-Agent"), b)
	})
	c := a.client(t, func(e *connectors.Env, cfg *Config) {
		e.UserAgent = "hallway/9"
		cfg.Header = http.Header{"x-a": {"config"}}
	})
	for _, tc := range []struct {
		req  Request
		want string
	}{
		{Request{Path: "/things"}, "GET /v1/things |config|hallway/9|"},
		{Request{Path: "things/a%2Fb?x=1", Query: url.Values{"q": {"a b&c"}}}, "GET /v1/things/a%2Fb x=1&q=a+b%26c|config|hallway/9|"},
		{Request{Path: a.URL + "/v1/things?page=2"}, "GET /v1/things page=2|config|hallway/9|"},
		{Request{Path: ""}, "GET /v1 |config|hallway/9|"},
		{Request{Method: "POST", Path: "/s", Body: []byte("{}"), Header: http.Header{"X-A": {"mine"}}}, "POST /v1/s |mine|hallway/9|{}"},
	} {
		r, err := c.Do(t.Context(), &tc.req)
		assert.Equal(t, tc.want, readAll(t, r, err))
	}
}

func TestDo_RefusesPathsThatClimb(t *testing.T) {
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := a.client(t)
	for _, p := range []string{"/a/../admin", "/a/%2e%2e/admin", "/.", "mailto:x@y", "//user@127.0.0.1/"} {
		_, err := c.Do(t.Context(), &Request{Path: p})
		assert.Equal(t, connectors.Protocol, failure(t, err).Class, p)
	}
	assert.Zero(t, a.hits.Load())
}

func TestDo_ReusesConnections(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush() // chunked
		fmt.Fprint(w, `{"a":1}`)
	})
	c := a.client(t)
	for range 10 {
		r, err := c.Do(t.Context(), &Request{Path: "/x"})
		require.NoError(t, err)
		var seven [7]byte // the value, as a JSON decoder reads it, but not the end
		_, err = io.ReadFull(r.Body, seven[:])
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	assert.Equal(t, int64(1), a.opened.Load())
}

func TestBody_IsBoundedAfterDecompression(t *testing.T) {
	const limit = 1 << 16
	zeros := make([]byte, limit+1)
	for name, tc := range map[string]struct {
		size int
		gzip bool
		ok   bool
	}{"just fits": {limit, false, true}, "too large": {limit + 1, false, false}, "bomb": {limit + 1, true, false}, "gzip fits": {limit, true, true}} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, func(w http.ResponseWriter, r *http.Request) {
				var out io.Writer = w
				if tc.gzip {
					assert.Contains(t, r.Header.Get("Accept-Encoding"), "gzip")
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					defer z.Close()
					out = z
				}
				_, _ = out.Write(zeros[:tc.size])
			})
			c := a.client(t, func(e *connectors.Env, _ *Config) { e.MaxResponseBytes = limit })
			var st connectors.Stats
			r, err := c.Do(t.Context(), &Request{Path: "/x", Stats: &st})
			require.NoError(t, err)
			defer r.Close()
			b, err := io.ReadAll(r.Body)
			if tc.ok {
				require.NoError(t, err)
				assert.Len(t, b, tc.size)
				assert.Equal(t, uint64(tc.size), st.Bytes.Load())
				return
			}
			e := failure(t, err)
			assert.Equal(t, connectors.LimitExceeded, e.Class)
			assert.Equal(t, "the answer is larger than 64 KiB", e.Message)
			_, again := r.Body.Read(make([]byte, 1))
			assert.ErrorIs(t, again, err, "the error stays")
		})
	}
}

func TestRetry_ReadsOnlyAndOnlyWhereItHelps(t *testing.T) {
	for name, tc := range map[string]struct {
		req    Request
		status int
		hits   int64
		want   int
	}{
		"read 503":        {Request{}, 503, 3, 200},
		"read 502":        {Request{}, 502, 3, 200},
		"read by POST":    {Request{Method: "POST", Body: []byte("q")}, 504, 3, 200},
		"read 500":        {Request{}, 500, 1, 500},
		"read 404":        {Request{}, 404, 1, 404},
		"write 503":       {Request{Method: "POST", Write: true, Body: []byte("q")}, 503, 1, 503},
		"write 500":       {Request{Method: "PATCH", Write: true}, 500, 1, 500},
		"write 429":       {Request{Method: "POST", Write: true, Body: []byte("q")}, 429, 3, 200},
		"read 429 no say": {Request{}, 429, 3, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var a *api
			a = serve(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				assert.Equal(t, string(tc.req.Body), string(b), "the body goes with each try")
				if a.hits.Load() < 3 {
					w.WriteHeader(tc.status)
				}
			})
			c := a.client(t)
			c.sleep = func(context.Context, time.Duration) error { return nil }
			var st connectors.Stats
			tc.req.Stats = &st
			r, err := c.Do(t.Context(), &tc.req)
			require.NoError(t, err)
			defer r.Close()
			assert.Equal(t, tc.want, r.Status)
			assert.Equal(t, tc.hits, a.hits.Load())
			assert.Equal(t, uint64(tc.hits-1), st.Retries.Load())
			assert.Equal(t, uint64(tc.hits), st.Calls.Load())
		})
	}
}

func TestRetry_IsBounded(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	c := a.client(t)
	c.sleep = func(context.Context, time.Duration) error { return nil }
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.NoError(t, err)
	defer r.Close()
	assert.Equal(t, int64(DefaultTries), a.hits.Load())
	e := r.StatusError("down for maintenance")
	assert.Equal(t, connectors.Unavailable, e.Class)
	assert.Equal(t, "[CRM]: down for maintenance", e.Error())
	assert.Equal(t, 503, e.HTTPStatus)
	assert.Contains(t, a.log.String(), "calling the API again")
}

func TestRateLimit_RetryAfterIsObeyed(t *testing.T) {
	for name, value := range map[string]func() string{
		"seconds":   func() string { return "1" },
		"HTTP date": func() string { return time.Now().Add(4 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a *api
			var first, second time.Time
			a = serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if a.hits.Load() == 1 {
					first = time.Now()
					w.Header().Set("Retry-After", value())
					w.WriteHeader(429)
					return
				}
				second = time.Now()
			})
			c := a.client(t)
			var st connectors.Stats
			r, err := c.Do(t.Context(), &Request{Path: "/x", Stats: &st})
			require.NoError(t, err)
			_ = r.Close()
			assert.GreaterOrEqual(t, second.Sub(first), 900*time.Millisecond)
			assert.Positive(t, st.LimitWaitMicros.Load())
		})
	}
}

func TestRateLimit_PastTheDeadlineFailsAtOnceAndSaysWhen(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	})
	c := a.client(t)
	for range 2 { // the second does not even ask
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		_, err := c.Do(ctx, &Request{Path: "/x"})
		cancel()
		assert.Less(t, time.Since(began), time.Minute)
		e := failure(t, err)
		assert.Equal(t, connectors.RateLimited, e.Class)
		assert.InDelta(t, 3600, e.RetryAfter.Seconds(), 60)
	}
	assert.Equal(t, int64(1), a.hits.Load())
}

func TestRateLimit_BucketsByClass(t *testing.T) {
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.Limits = map[string]Limit{"search": {PerSecond: 0.001, Burst: 2}, "": {PerSecond: 1000, Burst: 1000}}
		cfg.MaxWait = 100 * time.Millisecond
	})
	call := func(class string) error {
		r, err := c.Do(t.Context(), &Request{Path: "/x", Class: class})
		if err == nil {
			_ = r.Close()
		}
		return err
	}
	require.NoError(t, call("search"))
	require.NoError(t, call("search"))
	e := failure(t, call("search"))
	assert.Equal(t, connectors.RateLimited, e.Class)
	assert.Greater(t, e.RetryAfter, 10*time.Minute)
	require.NoError(t, call(""), "other calls go on")
	require.NoError(t, call("list"))
}

func TestRateLimit_HeadersOfTheAPIPauseBeforeIt429s(t *testing.T) {
	for name, tc := range map[string]struct {
		headers RateHeaders
		set     map[string]string
		pause   bool
	}{
		"left":          {RateHeaders{Remaining: "X-Left"}, map[string]string{"X-Left": "3"}, false},
		"none left":     {RateHeaders{Remaining: "X-Left", Reset: "X-Reset"}, map[string]string{"X-Left": "0", "X-Reset": "7200"}, true},
		"reset at":      {RateHeaders{Remaining: "X-Left", Reset: "X-Reset"}, map[string]string{"X-Left": "0", "X-Reset": fmt.Sprint(time.Now().Add(time.Hour).Unix())}, true},
		"reset at ms":   {RateHeaders{Remaining: "X-Left", Reset: "X-Reset"}, map[string]string{"X-Left": "0", "X-Reset": fmt.Sprint(time.Now().Add(time.Hour).UnixMilli())}, true},
		"interval":      {RateHeaders{Remaining: "X-Left", IntervalMillis: "X-Int"}, map[string]string{"X-Left": "0", "X-Int": "3600000"}, true},
		"not asked for": {RateHeaders{}, map[string]string{"X-Left": "0", "X-Reset": "7200"}, false},
		"nonsense":      {RateHeaders{Remaining: "X-Left"}, map[string]string{"X-Left": "many"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tc.set {
					w.Header().Set(k, v)
				}
			})
			c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.RateHeaders = tc.headers })
			r, err := c.Do(t.Context(), &Request{Path: "/x"})
			require.NoError(t, err)
			_ = r.Close()
			r, err = c.Do(t.Context(), &Request{Path: "/x"})
			if !tc.pause {
				require.NoError(t, err)
				_ = r.Close()
				return
			}
			assert.Equal(t, connectors.RateLimited, failure(t, err).Class)
			assert.Equal(t, int64(1), a.hits.Load())
		})
	}
}

func TestErrors_RefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	a := &api{}
	c, err := New(a.env(), Config{API: "CRM", BaseURL: "http://" + addr})
	require.NoError(t, err)
	for _, write := range []bool{false, true} {
		var st connectors.Stats
		_, err = c.Do(t.Context(), &Request{Path: "/x?token=hunter2hunter2", Write: write, Stats: &st})
		e := failure(t, err)
		assert.Equal(t, connectors.Unavailable, e.Class, "nothing was sent, so a write is known not to have happened")
		assert.Equal(t, "could not reach "+addr+": connection refused", e.Message)
		assert.Equal(t, uint64(DefaultTries-1), st.Retries.Load(), "trying again is harmless")
		assert.NotContains(t, fmt.Sprintf("%v %+v", err, e), "hunter2")
	}
}

// hijack answers with raw bytes and closes.
func hijack(t *testing.T, raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := w.(http.Hijacker).Hijack()
		if assert.NoError(t, err) {
			_, _ = io.WriteString(c, raw)
			_ = c.Close()
		}
	}
}

func TestErrors_ClosedWithoutAnAnswer(t *testing.T) {
	a := serve(t, hijack(t, ""))
	c := a.client(t)
	c.sleep = func(context.Context, time.Duration) error { return nil }
	_, err := c.Do(t.Context(), &Request{Path: "/x"})
	assert.Equal(t, connectors.Unavailable, failure(t, err).Class)
	assert.Equal(t, int64(DefaultTries), a.hits.Load())

	a.hits.Store(0)
	_, err = c.Do(t.Context(), &Request{Method: "POST", Path: "/x", Body: []byte("{}"), Write: true})
	e := failure(t, err)
	assert.Equal(t, connectors.UnknownOutcome, e.Class)
	assert.Equal(t, "POST /v1/x: the connection was closed.", e.Detail)
	assert.Equal(t, int64(1), a.hits.Load(), "a write that may have arrived is never sent again")
}

func TestErrors_BodyCutShort(t *testing.T) {
	a := serve(t, hijack(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":"))
	c := a.client(t)
	for write, class := range map[bool]connectors.Class{false: connectors.Unavailable, true: connectors.UnknownOutcome} {
		r, err := c.Do(t.Context(), &Request{Method: "POST", Path: "/x", Write: write})
		require.NoError(t, err)
		_, err = io.ReadAll(r.Body)
		e := failure(t, err)
		assert.Equal(t, class, e.Class)
		assert.Equal(t, "the answer was cut short: the connection was closed", e.Message)
		_ = r.Close()
	}
}

// aWhile is how long APIs may take in tests of what takes longer: what they have to do
// before that takes milliseconds, of which a machine that stalls makes seconds.
const aWhile = 2200 * time.Millisecond

func TestErrors_NoAnswerInTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	a := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Timeout = aWhile })
	_, err := c.Do(t.Context(), &Request{Path: "/x"})
	e := failure(t, err)
	assert.Equal(t, connectors.Unavailable, e.Class)
	assert.Equal(t, "no answer within 2.2s", e.Message)
	assert.Equal(t, int64(1), a.hits.Load(), "a slow API is not asked again")
	_, err = c.Do(t.Context(), &Request{Method: "DELETE", Path: "/x", Write: true})
	assert.Equal(t, connectors.UnknownOutcome, failure(t, err).Class)
}

func TestErrors_BodyStalls(t *testing.T) {
	t.Parallel()
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "[1,")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Timeout = aWhile })
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.NoError(t, err)
	defer r.Close()
	var three [3]byte
	_, err = io.ReadFull(r.Body, three[:])
	require.NoError(t, err)
	time.Sleep(aWhile + 200*time.Millisecond) // our own pause is not the API's
	_, err = io.ReadAll(r.Body)
	e := failure(t, err)
	assert.Equal(t, connectors.Unavailable, e.Class)
	assert.Equal(t, "the answer stopped coming for 2.2s", e.Message)
}

func TestErrors_PausedReaderIsNotAStall(t *testing.T) {
	t.Parallel()
	go2 := make(chan struct{})
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "1")
		w.(http.Flusher).Flush()
		<-go2
		_, _ = io.WriteString(w, "2")
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Timeout = aWhile })
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.NoError(t, err)
	_, err = r.Body.Read(make([]byte, 1))
	require.NoError(t, err)
	time.Sleep(aWhile + 200*time.Millisecond)
	close(go2)
	assert.Equal(t, "2", readAll(t, r, nil))
}

// due is a context whose deadline comes when over is closed.
type due struct {
	context.Context //nolint:containedctx // it is one
	over            chan struct{}
}

func (due) Deadline() (time.Time, bool) { return time.Now().Add(time.Hour), true }
func (d due) Done() <-chan struct{}     { return d.over }

func (d due) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestErrors_DeadlineAndCancel(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		for _, write := range []bool{false, true} {
			t.Run(fmt.Sprintf("inBody=%v write=%v", inBody, write), func(t *testing.T) {
				t.Parallel()
				asked, gone := make(chan struct{}, 2), make(chan struct{}, 2)
				a := serve(t, func(w http.ResponseWriter, r *http.Request) {
					asked <- struct{}{}
					if inBody {
						_, _ = io.WriteString(w, "x")
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
					gone <- struct{}{}
				})
				c := a.client(t)
				run := func(ctx context.Context) error {
					r, err := c.Do(ctx, &Request{Path: "/x", Write: write})
					if err != nil {
						return err
					}
					defer r.Close()
					_, err = io.ReadAll(r.Body)
					return err
				}
				whenAsked := func(then func()) {
					<-asked
					time.Sleep(50 * time.Millisecond)
					then()
				}
				over := make(chan struct{})
				go whenAsked(func() { close(over) })
				err := run(due{t.Context(), over})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				want := connectors.DeadlineExceeded
				if write {
					want = connectors.UnknownOutcome
				}
				assert.Equal(t, want, failure(t, err).Class)
				<-gone

				ctx, cancel := context.WithCancel(t.Context())
				go whenAsked(cancel)
				err = run(ctx)
				require.ErrorIs(t, err, context.Canceled)
				var e *connectors.Error
				if write {
					assert.Equal(t, connectors.UnknownOutcome, failure(t, err).Class)
				} else {
					assert.NotErrorAs(t, err, &e, "a cancelled read is nobody's failure")
				}
				select {
				case <-gone:
				case <-time.After(30 * time.Second):
					t.Fatal("the API's call was not cancelled")
				}
			})
		}
	}
}

func TestRedirect_StaysOnItsHost(t *testing.T) {
	var strayed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer other.Close()
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer tok-tok-tok", r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/v1/here":
			http.Redirect(w, r, "/v1/there", http.StatusFound)
		case "/v1/away":
			http.Redirect(w, r, other.URL+"/v1/there", http.StatusFound)
		case "/v1/round":
			http.Redirect(w, r, "/v1/round", http.StatusFound)
		case "/v1/keep":
			http.Redirect(w, r, "/v1/there", http.StatusTemporaryRedirect)
		case "/v1/none":
			w.WriteHeader(http.StatusFound)
		default:
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s", r.Method, b)
		}
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = Bearer{NewSecret("tok-tok-tok")} })

	r, err := c.Do(t.Context(), &Request{Path: "/here"})
	assert.Equal(t, "GET ", readAll(t, r, err))
	r, err = c.Do(t.Context(), &Request{Method: "POST", Path: "/keep", Body: []byte("b"), Write: true})
	assert.Equal(t, "POST b", readAll(t, r, err))

	_, err = c.Do(t.Context(), &Request{Path: "/away"})
	e := failure(t, err)
	assert.Equal(t, connectors.Protocol, e.Class)
	assert.Contains(t, e.Message, a.URL)
	assert.Contains(t, e.Message, other.URL)
	assert.Zero(t, strayed.Load(), "the credential went to another host")

	for _, req := range []Request{{Path: "/round"}, {Path: "/none"}, {Method: "POST", Path: "/here", Write: true}} {
		_, err = c.Do(t.Context(), &req)
		assert.Equal(t, connectors.Protocol, failure(t, err).Class, req.Path)
	}
	_, err = c.Do(t.Context(), &Request{Path: other.URL + "/v1/there"})
	assert.Equal(t, connectors.Protocol, failure(t, err).Class, "a page link leads elsewhere")
	assert.Zero(t, strayed.Load())
}

func TestResponse_LinkAndExcerpt(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>\n  <b>sorry tok-tok-tok</b>"+strings.Repeat("x", 500))
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = Bearer{NewSecret("tok-tok-tok")} })
	r, err := c.Do(t.Context(), &Request{Path: "/things?page=1"})
	require.NoError(t, err)
	defer r.Close()
	assert.False(t, r.IsJSON())
	assert.Equal(t, "<html> <b>sorry ***</b>x", r.Excerpt(24))
	for ref, want := range map[string]string{"": "", "?page=2": a.URL + "/v1/things?page=2", "/v2/x": a.URL + "/v2/x", "https://e.com/x": "https://e.com/x"} {
		got, err := r.Link(ref)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err = r.Link("ht!tp://\x00")
	require.Error(t, err)
	for ct, want := range map[string]bool{"application/json": true, "application/problem+json; x=y": true, "text/json2": false, "": false} {
		assert.Equal(t, want, isJSON(ct), ct)
	}
}

func TestObserve_SeesEachAttempt(t *testing.T) {
	var seen []string
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/cut" {
			hijack(t, "")(w, r)
			return
		}
		w.WriteHeader(404)
	})
	c := a.client(t, func(e *connectors.Env, cfg *Config) {
		cfg.Tries = 1
		e.Observe = func(api, method string, status int, took time.Duration) {
			seen = append(seen, fmt.Sprint(api, " ", method, " ", status, " ", took > 0))
		}
	})
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.NoError(t, err)
	_ = r.Close()
	_, err = c.Do(t.Context(), &Request{Path: "/cut"})
	require.Error(t, err)
	assert.Equal(t, []string{"CRM GET 404 true", "CRM GET 0 true"}, seen)
}

func TestStatusClass(t *testing.T) {
	for _, tc := range []struct {
		status int
		read   connectors.Class
		write  connectors.Class
	}{
		{400, connectors.Protocol, connectors.CheckViolation},
		{401, connectors.Unauthenticated, connectors.Unauthenticated},
		{403, connectors.PermissionDenied, connectors.PermissionDenied},
		{404, connectors.NotFoundError, connectors.NotFoundError},
		{409, connectors.Conflict, connectors.Conflict},
		{423, connectors.Locked, connectors.Locked},
		{429, connectors.RateLimited, connectors.RateLimited},
		{500, connectors.Unavailable, connectors.UnknownOutcome},
		{502, connectors.Unavailable, connectors.UnknownOutcome},
		{503, connectors.Unavailable, connectors.Unavailable},
		{504, connectors.Unavailable, connectors.UnknownOutcome},
		{408, connectors.Unavailable, connectors.UnknownOutcome},
		{520, connectors.Unavailable, connectors.UnknownOutcome},
		{418, connectors.Protocol, connectors.Protocol},
	} {
		assert.Equal(t, tc.read, StatusClass(tc.status, false), tc.status)
		assert.Equal(t, tc.write, StatusClass(tc.status, true), tc.status)
	}
}

var errTest = errors.New("test")

func TestHideURL_KeepsTheCause(t *testing.T) {
	c := &Client{}
	require.ErrorIs(t, c.hideURL(&url.Error{Op: "Get", URL: "http://x/?token=s", Err: errTest}), errTest)
	assert.NotContains(t, c.hideURL(&url.Error{Op: "Get", URL: "http://x/?token=s", Err: errTest}).Error(), "token")
}

// An API that shuts callers out for a time that its answer does not say is left
// alone for that long, by all calls.
func TestRateLimit_LockoutIsSatOut(t *testing.T) {
	t.Parallel()
	var a *api
	a = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if a.hits.Load() == 1 {
			w.WriteHeader(429)
		}
	})
	c := a.client(t)
	c.cfg.Lockout = time.Minute
	var slept []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error {
		slept = append(slept, d)
		c.limit.mu.Lock()
		clear(c.limit.paused)
		c.limit.mu.Unlock()
		return nil
	}
	c.cfg.MaxWait = 2 * time.Minute
	r, err := c.Do(t.Context(), &Request{Path: "/x", Class: "search"})
	require.NoError(t, err)
	_ = r.Close()
	require.Equal(t, []time.Duration{time.Minute}, slept)
	c.limit.pause("", time.Now().Add(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = c.Do(ctx, &Request{Path: "/y"})
	require.Equal(t, connectors.RateLimited, failure(t, err).Class, "who cannot wait that long is told at once")
}

// An API that says 403 where it means 429, and 403 where it means just that.
func TestRateLimit_ByWhatTheAnswerSays(t *testing.T) {
	answers := []string{"", "[{\"code\":\"TOO_MANY\"}]" + strings.Repeat(" ", 100_000), "no such right"}
	n := 0
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n <= len(answers) && answers[n-1] != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, answers[n-1])
		}
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.Limited = func(status int, _ http.Header, body []byte) bool {
			return status == http.StatusForbidden && bytes.Contains(body, []byte("TOO_MANY"))
		}
	})
	var waited time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { waited += d; return nil }
	for _, want := range []struct {
		status int
		body   string
	}{{200, ""}, {403, "no such right"}, {200, ""}} {
		r, err := c.Do(t.Context(), &Request{Path: "/x", Method: "POST", Write: true})
		require.NoError(t, err)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.Equal(t, want.status, r.Status)
		assert.Equal(t, want.body, string(body), "what was looked at can be read")
	}
	assert.GreaterOrEqual(t, waited, time.Second)
	assert.Equal(t, 4, n)

	n, answers = 0, []string{"TOO_MANY", "TOO_MANY", "TOO_MANY", "TOO_MANY", "TOO_MANY"}
	_, err := c.Do(t.Context(), &Request{Path: "/x"})
	e := failure(t, err)
	assert.Equal(t, connectors.RateLimited, e.Class)
	assert.Contains(t, e.Detail, "was answered 403")
}

func TestRateLimit_WaitsAsTheRefusalMeans(t *testing.T) {
	type answer struct {
		status int
		body   string
	}
	var answers []answer
	n := 0
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n <= len(answers) {
			w.WriteHeader(answers[n-1].status)
			_, _ = io.WriteString(w, answers[n-1].body)
		}
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.MaxWait = 30 * time.Second
		cfg.Waits = func(_ int, _ http.Header, body []byte) (time.Duration, bool) {
			d, known := map[string]time.Duration{"rolling": 100 * time.Millisecond, "locked": 50 * time.Millisecond, "daily": time.Hour}[string(body)]
			return d, known
		}
	})
	for _, test := range []struct {
		name    string
		answers []answer
		waited  time.Duration
		status  int // 0: the error is RateLimited
		calls   int
	}{
		{"as long as the limit lasts", []answer{{429, "rolling"}}, 100 * time.Millisecond, 200, 2},
		{"a write that was locked out", []answer{{423, "locked"}, {423, "locked"}}, 100 * time.Millisecond, 200, 3},
		{"a refusal that means nothing of the kind", []answer{{423, "else"}}, 0, 423, 1},
		{"no longer than there is time", []answer{{429, "daily"}}, 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers, n = test.answers, 0
			began := time.Now()
			r, err := c.Do(t.Context(), &Request{Path: "/x", Method: "POST", Write: true})
			if test.status == 0 {
				e := failure(t, err)
				assert.Equal(t, connectors.RateLimited, e.Class)
				assert.Equal(t, time.Hour, e.RetryAfter)
			} else {
				require.NoError(t, err)
				assert.Equal(t, test.status, r.Status)
				require.NoError(t, r.Close())
			}
			assert.Equal(t, test.calls, n)
			assert.GreaterOrEqual(t, time.Since(began), test.waited)
		})
	}
}
