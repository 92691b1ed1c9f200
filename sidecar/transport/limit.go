// Token buckets by endpoint class, and pauses that the API asked for. A wait
// that cannot end before the deadline is refused at once.

package transport

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// limiter holds the buckets of a client, or of several.
type limiter struct {
	limits  map[string]Limit // as they are undivided
	headers RateHeaders
	// waiting are the calls that somebody waits for and the limit holds up.
	waiting atomic.Int64

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	// doors let through at that rate who has waited for a token: after a stall of the
	// machine all whose turns have passed would come together.
	doors  map[string]*rate.Limiter
	paused map[string]time.Time // by class, until when
	// divided is the share that was set last; shares counts its changes, 0: nobody
	// divides the limits.
	divided float64
	shares  uint64
}

func newLimiter(limits map[string]Limit, headers RateHeaders) *limiter {
	l := &limiter{buckets: make(map[string]*rate.Limiter, len(limits)), doors: make(map[string]*rate.Limiter, len(limits)), limits: limits, headers: headers, paused: map[string]time.Time{}}
	for class, lim := range limits {
		if lim.PerSecond > 0 {
			l.buckets[class] = rate.NewLimiter(rate.Limit(lim.PerSecond), max(lim.Burst, 1))
			l.doors[class] = rate.NewLimiter(rate.Limit(lim.PerSecond), max(lim.Burst, 1))
		}
	}
	return l
}

// noShare is how long nothing is called where there is no share yet.
const noShare = 1200 * time.Millisecond

// setShare makes all buckets a part of what they are; 0: for now nothing is called.
// The new ones are empty, and who waits at an old one queues again.
func (l *limiter) setShare(share float64, now time.Time) {
	if share <= 0 {
		l.pause("", now.Add(noShare))
		share = 0.5
	}
	share = min(share, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shares > 0 && l.divided == share {
		return // another client of the same limits was told
	}
	l.divided = share
	l.shares++
	for class, lim := range l.limits {
		if lim.PerSecond > 0 {
			b := rate.NewLimiter(rate.Limit(lim.PerSecond*share), max(1, int(float64(lim.Burst)*share)))
			if l.shares > 1 {
				b.ReserveN(now, b.Burst())
			}
			l.buckets[class] = b
			l.doors[class] = rate.NewLimiter(b.Limit(), b.Burst())
		}
	}
}

// share is a number that changes with the share; 0: nobody divides the limits.
func (l *limiter) share() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shares
}

// reserve takes a token of each bucket that applies and says how long to wait
// before using them; giveBack returns them when the wait is not worth it.
func (l *limiter) reserve(class string, now time.Time) (wait time.Duration, giveBack func()) {
	var taken []*rate.Reservation
	classes := []string{""}
	if class != "" {
		classes = append(classes, class)
	}
	l.mu.Lock()
	for _, c := range classes {
		if b := l.buckets[c]; b != nil {
			r := b.ReserveN(now, 1)
			taken = append(taken, r)
			wait = max(wait, r.DelayFrom(now))
		}
		if until, ok := l.paused[c]; ok {
			if d := until.Sub(now); d > 0 {
				// Those who wait do not all come at the same moment.
				wait = max(wait, d+rand.N(min(d/10, 250*time.Millisecond)+1))
			} else {
				delete(l.paused, c)
			}
		}
	}
	l.mu.Unlock()
	return wait, func() {
		for _, r := range taken {
			r.CancelAt(now)
		}
	}
}

// leave says how much longer to wait, once the wait that reserve told is over.
func (l *limiter) leave(class string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.doors[""]; d != nil {
		wait = d.ReserveN(now, 1).DelayFrom(now)
	}
	if d := l.doors[class]; d != nil && class != "" {
		wait = max(wait, d.ReserveN(now, 1).DelayFrom(now))
	}
	if wait < time.Millisecond {
		return 0
	}
	return wait
}

// pause lets no call of the class start before until.
func (l *limiter) pause(class string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(l.paused[class]) {
		l.paused[class] = until
	}
}

// pausedNow reports whether a pause of the class, or of all, is running.
func (l *limiter) pausedNow(class string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused[class].After(now) || l.paused[""].After(now)
}

// learn reads the API's rate headers from an answer.
func (l *limiter) learn(class string, h http.Header, now time.Time) {
	if l.headers.Remaining == "" {
		return
	}
	left := strings.TrimSpace(h.Get(l.headers.Remaining))
	if n, err := strconv.ParseFloat(left, 64); err != nil || n >= 1 {
		return
	}
	wait := time.Second
	if v := h.Get(l.headers.IntervalMillis); l.headers.IntervalMillis != "" && v != "" {
		if ms, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil && ms > 0 {
			wait = time.Duration(min(ms, int64(24*time.Hour/time.Millisecond))) * time.Millisecond
		}
	}
	if v := h.Get(l.headers.Reset); l.headers.Reset != "" && v != "" {
		if d, ok := parseWhen(v, now); ok {
			wait = d
		}
	}
	if wait > 0 {
		l.pause(class, now.Add(wait))
	}
}

// retryAfter reads a 429's or 503's Retry-After; ok is false if there is none.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	return parseWhen(v, now)
}

// parseWhen reads a moment as APIs write it: seconds from now, seconds or
// milliseconds since 1970, or an HTTP date. What has passed is 0; nothing is
// further away than 24 hours.
func parseWhen(v string, now time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	var d time.Duration
	if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0 {
		switch {
		case f > 1e11: // milliseconds since 1970
			d = time.UnixMilli(int64(min(f, 1e15))).Sub(now)
		case f > 1e9: // seconds since 1970
			d = time.Unix(int64(f), 0).Sub(now)
		default:
			d = time.Duration(min(f, 86400) * float64(time.Second))
		}
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	} else {
		return 0, false
	}
	return min(max(d, 0), 24*time.Hour), true
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
