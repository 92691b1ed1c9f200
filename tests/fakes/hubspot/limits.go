// How many calls there may be, and refusals that tests order.

package hubspot

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fault is a refusal that a test orders.
type Fault struct {
	// Match says which calls; nil: all. It must not call the server.
	Match func(*http.Request) bool
	// Every says that one in so many calls is refused; 0: each.
	Every int
	// Times it is refused; 0: always.
	Times int
	// Status and body of the refusal; 429 has its own body, by Policy, and 423 too.
	Status int
	// Policy of a 429: TEN_SECONDLY_ROLLING, SECONDLY or DAILY.
	Policy string
	// RetryAfter is sent as the header, in seconds, where it is not empty.
	RetryAfter string

	seen, done int
}

// Fail has calls refused from now on, until Heal.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal ends all Faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// limits are windows of the times of calls.
type limits struct {
	rolling, searches, day []time.Time
}

const (
	rollingWindow = 10 * time.Second
	day           = 24 * time.Hour
)

// admit says whether a call may be made, and counts it if so.
func (s *Server) admit(r *http.Request, kind string) (reply, bool) {
	for _, f := range s.faults {
		if f.Match != nil && !f.Match(r) || f.Times > 0 && f.done >= f.Times {
			continue
		}
		f.seen++
		if f.Every > 1 && f.seen%f.Every != 0 {
			continue
		}
		f.done++
		a := s.ordered(f)
		if f.RetryAfter != "" {
			a.header = map[string]string{"Retry-After": f.RetryAfter}
		}
		return a, false
	}
	if kind == kindToken {
		return reply{}, true
	}
	now, l := s.now(), &s.limits
	window := func(times *[]time.Time, length time.Duration, most int) bool {
		*times = slices.DeleteFunc(*times, func(t time.Time) bool { return now.Sub(t) >= length })
		return most == 0 || len(*times) < most
	}
	rolling, daily := window(&l.rolling, rollingWindow, s.opts.PerTenSeconds), window(&l.day, day, s.opts.PerDay)
	if kind == kindSearch {
		// Searches have a limit of their own, which tells little of itself.
		if !window(&l.searches, time.Second, s.opts.PerSecondSearches) {
			return s.tooMany("SECONDLY"), false
		}
		l.searches = append(l.searches, now)
	} else if !rolling {
		a := s.tooMany("TEN_SECONDLY_ROLLING")
		l.headers(&a, s.opts, kind, now)
		return a, false
	}
	if !daily {
		return s.tooMany("DAILY"), false
	}
	l.day = append(l.day, now)
	if kind != kindSearch {
		l.rolling = append(l.rolling, now)
	}
	return reply{}, true
}

func (s *Server) ordered(f *Fault) reply {
	switch f.Status {
	case http.StatusTooManyRequests:
		return s.tooMany(f.Policy)
	case http.StatusLocked:
		return s.refuse(f.Status, "LOCKED", "This resource is locked by another operation")
	case http.StatusUnauthorized:
		return s.refuse(f.Status, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 minute(s) ago.")
	}
	return s.refuse(f.Status, "", "internal error")
}

func (s *Server) tooMany(policy string) reply {
	f := fail(http.StatusTooManyRequests, categoryRate, "")
	f.ErrorType, f.PolicyName = "RATE_LIMIT", policy
	switch policy {
	case "SECONDLY":
		f.Message = "You have reached your secondly limit."
	case "DAILY":
		f.Message = "You have reached your daily limit."
	default:
		f.PolicyName = "TEN_SECONDLY_ROLLING"
		f.Message = "You have reached your ten_secondly_rolling limit."
		f.GroupName = "publicapi:private-apps:oauth-bearer:12345"
	}
	return s.refuseWith(f)
}

// headers tell of the limits, except of searches.
func (l *limits) headers(a *reply, opts Options, kind string, now time.Time) {
	if kind == kindSearch || kind == kindToken || opts.PerTenSeconds == 0 {
		return
	}
	if a.header == nil {
		a.header = map[string]string{}
	}
	n := 0
	for _, t := range l.rolling {
		if now.Sub(t) < rollingWindow {
			n++
		}
	}
	a.header["X-HubSpot-RateLimit-Max"] = strconv.Itoa(opts.PerTenSeconds)
	a.header["X-HubSpot-RateLimit-Remaining"] = strconv.Itoa(max(0, opts.PerTenSeconds-n))
	a.header["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000"
	if opts.PerDay > 0 {
		a.header["X-HubSpot-RateLimit-Daily"] = strconv.Itoa(opts.PerDay)
		a.header["X-HubSpot-RateLimit-Daily-Remaining"] = strconv.Itoa(max(0, opts.PerDay-len(l.day)))
	}
}
