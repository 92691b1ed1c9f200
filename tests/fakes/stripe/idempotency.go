// Idempotency keys.

package stripe

import (
	"net/http"
	"time"
)

// keptFor is how long a key is remembered, at least.
const keptFor = 24 * time.Hour

// kept is what is known of a key: the request it came with, and what was answered;
// no answer: it is still under way.
type kept struct {
	request string
	at      time.Time
	id      string
	answer  *answer
}

// once does what a request with a key wants, or answers what was answered first.
// An answer from before anything was begun (bad parameters, 429) is not kept.
func (s *Server) once(c *call, do func() *answer) *answer {
	request := c.r.Method + " " + c.r.URL.RequestURI() + "\n" + c.body
	s.mu.Lock()
	k := s.idem[c.key]
	if k != nil && k.answer != nil && s.now().Sub(k.at) > keptFor {
		k = nil
	}
	switch {
	case k == nil:
		k = &kept{request: request, at: s.now(), id: c.id}
		s.idem[c.key] = k
		s.mu.Unlock()
	case k.request != request:
		s.mu.Unlock()
		e := invalid("", "", "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '%s' if you meant to execute a different request.", c.key)
		e.kind = "idempotency_error"
		return c.refuse(e)
	case k.answer == nil:
		s.mu.Unlock()
		e := invalid("", "idempotency_key_in_use", "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): %s. Please try again later.", c.key)
		e.status = http.StatusConflict
		return c.refuse(e)
	default:
		first := *k.answer
		s.mu.Unlock()
		first.cut = false
		first.header = map[string]string{"Idempotent-Replayed": "true", "Original-Request": k.id}
		return &first
	}
	a := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.begun {
		delete(s.idem, c.key)
		return a
	}
	k.answer = a
	return a
}
