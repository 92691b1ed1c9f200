package transport

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// Rates are so low that no time that a test takes counts.
func TestAfford(t *testing.T) {
	const minute = time.Minute
	slow := map[string]Limit{"": {PerSecond: 0.05, Burst: 4}, "search": {PerSecond: 0.02, Burst: 1}}
	for _, c := range []struct {
		name       string
		limits     map[string]Limit
		class      string
		calls      int
		within     time.Duration // 0: no deadline
		paused     time.Duration
		spent      int
		background bool
		detail     string // of the refusal; empty: there is none
		retry      bool
	}{
		{name: "nothing", limits: slow, calls: 0, within: time.Second},
		{name: "a burst", limits: slow, calls: 4, within: minute},
		{name: "what comes meanwhile", limits: slow, calls: 6, within: minute},
		{name: "one too many", limits: slow, calls: 7, within: minute,
			detail: "It needs 7 calls more, the last of which could be made in 60.0 s; the 60.0 s that are left are enough for 6."},
		{name: "no deadline", limits: slow, calls: 1e6},
		{name: "in the background", limits: slow, calls: 1e6, within: minute, background: true},
		{name: "no limit", calls: 1e9, within: time.Second},
		{name: "its class", limits: slow, class: "search", calls: 3, within: minute,
			detail: "It needs 3 calls more, the last of which could be made in 100.0 s; the 60.0 s that are left are enough for 2."},
		{name: "another class", limits: slow, class: "list", calls: 6, within: minute},
		{name: "after others", limits: slow, calls: 4, spent: 4, within: minute, retry: true,
			detail: "It needs 4 calls more, the last of which could be made in 80.0 s; the 60.0 s that are left are enough for 2."},
		{name: "a pause", calls: 1, paused: 2 * minute, within: minute, retry: true,
			detail: "It needs 1 call more, the last of which could be made in 120.0 s; the 60.0 s that are left are enough for 0."},
		{name: "a pause in which tokens come", limits: slow, calls: 2, spent: 4, paused: 40 * time.Second, within: minute},
		{name: "a pause that ends in time", limits: slow, calls: 4, paused: 50 * time.Second, within: minute},
		{name: "a pause before too many", limits: slow, calls: 5, paused: 50 * time.Second, within: minute, retry: true,
			detail: "It needs 5 calls more, the last of which could be made in 70.0 s; the 60.0 s that are left are enough for 4."},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := serve(t, func(http.ResponseWriter, *http.Request) {})
			client := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Limits = c.limits })
			now := time.Now()
			for range c.spent {
				client.limit.reserve(c.class, now)
			}
			if c.paused > 0 {
				client.limit.pause("", now.Add(c.paused))
			}
			ctx := t.Context()
			if c.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, now.Add(c.within))
				defer cancel()
			}
			if c.background {
				ctx = Background(ctx)
			}
			err := client.Afford(ctx, c.class, c.calls)
			if c.detail == "" {
				require.NoError(t, err)
				return
			}
			e := failure(t, err)
			assert.Equal(t, connectors.RateLimited, e.Class)
			assert.Contains(t, e.Hint, "statement_timeout")
			assert.Equal(t, c.retry, e.RetryAfter > 0, "%s", e.RetryAfter)
			// A machine that stalls for seconds is not the query's.
			if time.Since(now) < 50*time.Millisecond {
				assert.Equal(t, c.detail, e.Detail)
			}
			assert.Zero(t, a.hits.Load())
		})
	}
}

func TestAfford_OfABudget(t *testing.T) {
	header := []BudgetHeader{{"Usage", BudgetForm("{used}/{max}")}}
	for _, c := range []struct {
		name    string
		reserve float64
		percent bool
		calls   int
		told    time.Duration // ago
		detail  string
	}{
		{name: "all that remain", reserve: -1, calls: 40},
		{name: "more than remain", reserve: -1, calls: 41, detail: "It needs 41 calls more; 40 of 100 remain."},
		{name: "all but the reserve", reserve: 10, calls: 30},
		{name: "some of the reserve", reserve: 10, calls: 31, detail: "It needs 31 calls more; 40 of 100 remain, of which the option api_reserve keeps 10."},
		{name: "a part", reserve: 20, percent: true, calls: 21, detail: "It needs 21 calls more; 40 of 100 remain, of which the option api_reserve keeps 20."},
		{name: "nothing but the reserve", reserve: 50, calls: 1, detail: "It needs 1 call more; 40 of 100 remain, of which the option api_reserve keeps 50."},
		{name: "told long ago", reserve: 10, calls: 31, told: budgetProbe},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := serve(t, func(http.ResponseWriter, *http.Request) {})
			client := a.client(t, func(_ *connectors.Env, cfg *Config) {
				cfg.Budget = &Budget{Headers: header, Reserve: c.reserve, Percent: c.percent}
			})
			require.NoError(t, client.Afford(t.Context(), "", 1e6), "nothing is known")
			client.budget.learn(http.Header{"Usage": {"60/100"}}, time.Now().Add(-c.told))
			err := client.Afford(t.Context(), "", c.calls)
			if c.detail == "" {
				require.NoError(t, err)
				return
			}
			e := failure(t, err)
			assert.Equal(t, connectors.RateLimited, e.Class)
			assert.Equal(t, c.detail, e.Detail)
		})
	}
}

// What a statement may call counts, whichever of its requests calls, and how often it
// takes for an answer.
func TestMaxCalls(t *testing.T) {
	const most = 3
	tokens := 0
	token := func(w http.ResponseWriter) {
		tokens++
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer"}`, tokens)
	}
	for _, c := range []struct {
		name   string
		answer func(hit int, w http.ResponseWriter, r *http.Request)
		auth   bool
		// requests of Do that succeed before one is refused.
		requests int
	}{
		{"answers", func(int, http.ResponseWriter, *http.Request) {}, false, most},
		{"an answer after a retry", func(hit int, w http.ResponseWriter, _ *http.Request) {
			if hit == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, false, most - 1},
		{"no answer ever", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, false, 0},
		{"refusals that say when", func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, false, 0},
		{"a token that is renewed", func(hit int, w http.ResponseWriter, r *http.Request) {
			if hit == 1 {
				w.WriteHeader(http.StatusUnauthorized)
			} else {
				assert.Equal(t, "Bearer t2", r.Header.Get("Authorization"))
			}
		}, true, most - 1},
		{"redirects", func(hit int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, fmt.Sprintf("/v1/%d", hit), http.StatusTemporaryRedirect)
		}, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			hits := 0
			tokens = 0
			a := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					token(w)
					return
				}
				hits++
				c.answer(hits, w, r)
			})
			limits := map[string]Limit{"": {PerSecond: 1e-6, Burst: most}}
			client := a.client(t, func(_ *connectors.Env, cfg *Config) {
				cfg.MaxCalls, cfg.Tries = most, 10
				if c.auth {
					cfg.Auth = ClientCredentials{TokenEndpoint: TokenEndpoint{TokenURL: a.URL + "/token", ClientID: "me", ClientSecret: NewSecret("s3cret")}}
				}
			})
			client.sleep = func(context.Context, time.Duration) error { return nil }
			statement := &connectors.Statement{}
			ctx := connectors.WithStatement(t.Context(), statement)
			done := 0
			var err error
			for err == nil && done <= most {
				var resp *Response
				if resp, err = client.Do(ctx, &Request{Path: "/x"}); err == nil {
					require.NoError(t, resp.Close())
					done++
				}
			}
			e := failure(t, err)
			assert.Equal(t, connectors.RateLimited, e.Class)
			assert.Equal(t, "The server option max_calls allows 3.", e.Detail)
			assert.Equal(t, c.requests, done)
			assert.Equal(t, most, hits)
			assert.EqualValues(t, most, statement.Calls())
			e = failure(t, client.Afford(ctx, "", 1))
			assert.Equal(t, "It needs 1 call more and has made 3; the server option max_calls allows 3.", e.Detail)

			// The same calls take from the limit, each of them.
			hits, tokens = 0, 0
			client = a.client(t, func(_ *connectors.Env, cfg *Config) {
				cfg.Limits, cfg.Tries = limits, 10
				if c.auth {
					cfg.Auth = ClientCredentials{TokenEndpoint: TokenEndpoint{TokenURL: a.URL + "/token", ClientID: "me", ClientSecret: NewSecret("s3cret")}}
				}
			})
			client.sleep = func(context.Context, time.Duration) error { return nil }
			for err = nil; err == nil && hits <= most; {
				var resp *Response
				if resp, err = client.Do(t.Context(), &Request{Path: "/x"}); err == nil {
					require.NoError(t, resp.Close())
				}
			}
			assert.Equal(t, connectors.RateLimited, failure(t, err).Class)
			assert.Equal(t, most, hits)
		})
	}
	// Another statement has calls of its own.
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	client := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.MaxCalls = 2 })
	for _, n := range []int{1, 2} {
		ctx := connectors.WithStatement(t.Context(), &connectors.Statement{})
		require.NoError(t, client.Afford(ctx, "", 2))
		require.Error(t, client.Afford(ctx, "", 3))
		for range 2 {
			resp, err := client.Do(ctx, &Request{Path: "/x"})
			require.NoError(t, err)
			require.NoError(t, resp.Close())
		}
		_, err := client.Do(ctx, &Request{Path: "/x"})
		require.Error(t, err)
		require.EqualValues(t, 2*n, a.hits.Load())
	}
	// Work of none has no bound.
	require.NoError(t, client.Afford(t.Context(), "", 1000))
}

// The reserve is kept by every try.
func TestBudget_RetriesDoNotEatIntoTheReserve(t *testing.T) {
	hits := 0
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		hits++
		w.Header().Set("Usage", fmt.Sprintf("%d/10", hits))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.Tries = 10
		cfg.Budget = &Budget{Headers: []BudgetHeader{{"Usage", BudgetForm("{used}/{max}")}}, Reserve: 7}
	})
	c.sleep = func(context.Context, time.Duration) error { return nil }
	_, err := c.Do(t.Context(), &Request{Path: "/x"})
	e := failure(t, err)
	assert.Equal(t, connectors.RateLimited, e.Class)
	assert.Equal(t, 3, hits)
}

// Clients of one key take from one limit, wait for one pause and know one budget,
// whatever share of it another sidecar leaves them.
func TestSharing(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Usage", "9/10") })
	var sharing Sharing
	open := func(key string) *Client {
		return a.client(t, func(_ *connectors.Env, cfg *Config) {
			cfg.Limits, cfg.Sharing, cfg.ShareKey = map[string]Limit{"": {PerSecond: 1e-6, Burst: 4}}, &sharing, key
			cfg.Budget = &Budget{Headers: []BudgetHeader{{"Usage", BudgetForm("{used}/{max}")}}, Reserve: -1}
		})
	}
	call := func(c *Client) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		resp, err := c.Do(ctx, &Request{Path: "/x"})
		if err == nil {
			_ = resp.Close()
		}
		return err
	}
	one, two, other := open("crm"), open("crm"), open("shop")
	require.NoError(t, call(one))
	require.NoError(t, call(two))
	for _, c := range []*Client{one, two} {
		c.SetShare(0.5) // said twice, it is one change: two calls
	}
	for range 2 {
		require.NoError(t, call(two))
	}
	require.Equal(t, connectors.RateLimited, failure(t, call(one)).Class)
	require.Equal(t, connectors.RateLimited, failure(t, call(two)).Class)
	require.Error(t, one.Afford(t.Context(), "", 2), "the budget that the other was told")
	require.NoError(t, other.Afford(t.Context(), "", 2))
	require.NoError(t, call(other))

	// The limits stay as long as somebody has them.
	one.Close()
	one.Close()
	require.Equal(t, connectors.RateLimited, failure(t, call(open("crm"))).Class)
	other.Close()
	require.Len(t, sharing.open, 1)
}
