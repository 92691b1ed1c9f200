package transport

import (
	"context"
	"net/http"
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
	stopped := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if resp, err := c.Do(ctx, &Request{Path: "/sync", Stats: &connectors.Stats{}}); err == nil {
				_ = resp.Close()
				n++
			}
		}
		stopped <- n
	}()
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	for range 10 {
		call(t.Context())
	}
	// Ten calls of 50 ms; one in between could be the background's.
	assert.Less(t, time.Since(began), 750*time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	cancel()
	assert.GreaterOrEqual(t, <-stopped, 3, "the background starves")
}
