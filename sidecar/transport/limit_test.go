package transport

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// Calls whose turns have passed while the machine stood still do not come together:
// the API would see as many at once as it had time to miss.
func TestLimit_CallsThatWakeLateDoNotComeTogether(t *testing.T) {
	const calls, perSecond = 5, 5
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.Limits = map[string]Limit{"": {PerSecond: perSecond, Burst: 1}}
	})
	// A call that a machine was slow to begin may have its turn at once, and none sleeps.
	var asleep, through, again atomic.Int64
	stalled := make(chan struct{})
	c.sleep = func(_ context.Context, _ time.Duration) error {
		select {
		case <-stalled:
			again.Add(1)
		default:
			asleep.Add(1)
			<-stalled
		}
		return nil
	}
	call := func() {
		resp, err := c.Do(t.Context(), &Request{Path: "/x"})
		if assert.NoError(t, err) {
			_ = resp.Close()
		}
	}
	call()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			call()
			through.Add(1)
		})
	}
	require.Eventually(t, func() bool { return asleep.Load()+through.Load() == calls }, 30*time.Second, time.Millisecond)
	time.Sleep((calls + 1) * time.Second / perSecond) // the stall, until the last one's turn is over
	close(stalled)
	wg.Wait()
	require.Positive(t, again.Load(), "all of them came at once")
}
