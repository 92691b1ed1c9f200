// What a query needs beyond its next call: whether the limits let all of it through.
// It is asked as soon as the number of calls is known, so that a query that cannot be
// answered ends before it has spent what others could have used.

package transport

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// Afford reports whether so many more calls of a class, which the query is known to
// need, could be made: before its deadline, of what remains of Config.Budget, and
// under Config.MaxCalls. It waits for nothing and takes nothing. The answer nil
// promises nothing, as others call too; an error of class RateLimited means that they
// could not all be made even if nobody else called, and says how many could. Calls
// in the background can always be made: they wait.
func (c *Client) Afford(ctx context.Context, class string, calls int) error {
	if calls <= 0 || isBackground(ctx) {
		return nil
	}
	if e := c.affordStatement(ctx, calls); e != nil {
		return e
	}
	now := time.Now()
	if e := c.budget.afford(c.cfg.API, calls, now); e != nil {
		return e
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	left := deadline.Sub(now)
	f := c.limit.forecast(class, calls, left-callTime, now)
	if f.last+callTime <= left {
		return nil
	}
	e := &connectors.Error{Class: connectors.RateLimited, API: c.cfg.API,
		Message: "the API's rate limit lets fewer calls through before the deadline than the query needs",
		Detail: fmt.Sprintf("It needs %s more, the last of which could be made in %s; the %s that are left are enough for %d.",
			callsText(calls), seconds(f.last), seconds(max(left, 0)), f.possible),
		Hint: fmt.Sprintf("Set statement_timeout to %.0f s or more, or ask for less, with a condition or a LIMIT.", math.Ceil((f.last + callTime + time.Second).Seconds()))}
	if f.idle+callTime <= left {
		e.RetryAfter = f.last + callTime - left
	}
	return e
}

// affordStatement is Afford by MaxCalls alone; nil: they could be made.
func (c *Client) affordStatement(ctx context.Context, calls int) *connectors.Error {
	s := connectors.StatementOf(ctx)
	if s == nil || c.cfg.MaxCalls == 0 {
		return nil
	}
	made := s.Calls()
	if made+uint64(calls) <= c.cfg.MaxCalls {
		return nil
	}
	return &connectors.Error{Class: connectors.RateLimited, API: c.cfg.API,
		Message: "the statement needs more calls of the API than it may make",
		Detail: fmt.Sprintf("It needs %s more and has made %d; the server option max_calls allows %d.",
			callsText(calls), made, c.cfg.MaxCalls),
		Hint: maxCallsHint}
}

const maxCallsHint = "Ask for less, with a condition or a LIMIT, or raise the server option max_calls."

// admit counts a call that is about to be made, or refuses it.
func (c *Client) admit(ctx context.Context) error {
	if e := c.budget.admit(c.cfg.API, time.Now()); e != nil {
		return e
	}
	if s := connectors.StatementOf(ctx); s != nil && c.cfg.MaxCalls > 0 && !s.Call(c.cfg.MaxCalls) {
		return &connectors.Error{Class: connectors.RateLimited, API: c.cfg.API,
			Message: "the statement has made all the calls of the API that it may make",
			Detail:  fmt.Sprintf("The server option max_calls allows %d.", c.cfg.MaxCalls), Hint: maxCallsHint}
	}
	return nil
}

// forecast is when calls could be made if nobody else called.
type forecast struct {
	// last is when the last of them could, idle how long that would take after a time
	// without calls.
	last, idle time.Duration
	// possible is how many could within the time that was asked about.
	possible int
}

// forecast of so many calls of a class.
func (l *limiter) forecast(class string, calls int, within time.Duration, now time.Time) forecast {
	l.mu.Lock()
	defer l.mu.Unlock()
	classes := []string{""}
	if class != "" {
		classes = append(classes, class)
	}
	f := forecast{possible: calls - 1}
	pause := time.Duration(0)
	for _, c := range classes {
		pause = max(pause, l.paused[c].Sub(now))
	}
	f.last = pause
	if within < pause {
		f.possible = 0
	}
	for _, c := range classes {
		b := l.buckets[c]
		if b == nil {
			continue
		}
		perSecond, burst := float64(b.Limit()), float64(b.Burst())
		// What comes together while nothing may be called.
		tokens := min(burst, b.TokensAt(now)+perSecond*pause.Seconds())
		wait := func(tokens float64) time.Duration {
			return time.Duration(min(max(0, (float64(calls)-tokens)/perSecond), 1e9) * float64(time.Second))
		}
		f.last = max(f.last, pause+wait(tokens))
		f.idle = max(f.idle, wait(burst))
		f.possible = min(f.possible, max(0, int(tokens+perSecond*(within-pause).Seconds())))
	}
	return f
}

func callsText(n int) string {
	if n == 1 {
		return "1 call"
	}
	return fmt.Sprintf("%d calls", n)
}

// seconds is a duration for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
