package transport

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// TestBackgroundWaits: calls in the background take no token that a call which
// somebody waits for could have.
func TestBackgroundWaits(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Limits = map[string]Limit{"": {PerSecond: 20, Burst: 1}} })
	call := func(ctx context.Context) {
		resp, err := c.Do(ctx, &Request{Path: "/x", Stats: &connectors.Stats{}})
		require.NoError(t, err)
		require.NoError(t, resp.Close())
	}
	ctx, cancel := context.WithCancel(Background(t.Context()))
	var inBackground atomic.Int64
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			if resp, err := c.Do(ctx, &Request{Path: "/sync", Stats: &connectors.Stats{}}); err == nil {
				_ = resp.Close()
				inBackground.Add(1)
			}
		}
	}()
	calls := func(n int64) func() bool {
		n += inBackground.Load()
		return func() bool { return inBackground.Load() >= n }
	}
	require.Eventually(t, calls(2), 30*time.Second, time.Millisecond)
	// Ten calls of 50 ms; one in between could be the background's. Where a machine
	// stalls, another ten: if they took turns, none would be in time.
	took := time.Hour
	for tries := 0; took >= 750*time.Millisecond && tries < 10; tries++ {
		began := time.Now()
		for range 10 {
			call(t.Context())
		}
		took = time.Since(began)
	}
	assert.Less(t, took, 750*time.Millisecond)
	require.Eventually(t, calls(3), 30*time.Second, time.Millisecond, "the background starves")
	cancel()
	<-stopped
}
