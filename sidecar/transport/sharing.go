// Limits that several clients keep together, since the API counts the calls of all of
// them: of an account, whoever's credential they are made with.

package transport

import "sync"

// Sharing has the limits that clients share; the zero value is ready. Safe for
// concurrent use.
type Sharing struct {
	mu   sync.Mutex
	open map[string]*sharedLimits
}

// sharedLimits are those of one ShareKey.
type sharedLimits struct {
	limit  *limiter
	budget *budget
	users  int // under Sharing.mu
}

// join gives a client its limits and a function that gives them up. A nil
// Sharing shares nothing.
func (s *Sharing) join(cfg *Config) (*limiter, *budget, func()) {
	if s == nil {
		return newLimiter(cfg.Limits, cfg.RateHeaders), &budget{rules: cfg.Budget}, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.open[cfg.ShareKey]
	if l == nil {
		l = &sharedLimits{limit: newLimiter(cfg.Limits, cfg.RateHeaders), budget: &budget{rules: cfg.Budget}}
		if s.open == nil {
			s.open = map[string]*sharedLimits{}
		}
		s.open[cfg.ShareKey] = l
	}
	l.users++
	return l.limit, l.budget, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.open, cfg.ShareKey)
		}
	})
}
