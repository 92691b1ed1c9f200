// Calls that nobody waits for come after those that somebody does.

package transport

import (
	"context"
	"time"
)

type backgroundKey struct{}

// Background marks calls made with the context as ones that nobody waits for:
// while other calls of the client wait for the API's rate limit they do not
// start, and they take only what is left of it at the moment.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func isBackground(ctx context.Context) bool { return ctx.Value(backgroundKey{}) != nil }

// backgroundTurn is how long a background call waits before it looks again
// whether it may go.
const backgroundTurn = 20 * time.Millisecond

// waitBehind waits until the limit lets a call through without waiting and no
// other call waits. It has no bound of its own: a copy takes its time, and a
// pause that the API asked for is waited for.
func (c *Client) waitBehind(ctx context.Context, req *Request) error {
	for {
		turn := backgroundTurn
		if c.limit.waiting.Load() == 0 {
			d, giveBack := c.limit.reserve(req.Class, time.Now())
			if d <= 0 {
				return c.leave(ctx, req)
			}
			giveBack()
			turn = min(d, time.Second)
		}
		req.Stats.LimitWaitMicros.Add(uint64(turn.Microseconds()))
		if err := c.sleep(ctx, turn); err != nil {
			return c.contextError(ctx, err)
		}
	}
}
