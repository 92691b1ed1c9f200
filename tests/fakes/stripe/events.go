// Events: one for every change, listed for 30 days.

package stripe

import (
	"maps"
	"strings"
	"time"
)

// eventsKept is how long events are listed.
const eventsKept = 30 * 24 * time.Hour

// event records a change. previous are the old values of what an update changed.
func (s *Server) event(c *call, r *resource, how string, fields, previous map[string]any) {
	if r.event == "" || r.path == "payment_intents" && how == "updated" {
		return // there is no event of it
	}
	events := resourceAt("events")
	data := map[string]any{"object": fields}
	if previous != nil {
		data["previous_attributes"] = previous
	}
	e := s.blank(events)
	e["type"], e["data"] = r.event+"."+how, data
	request := map[string]any{"id": c.id, "idempotency_key": nil}
	if c.key != "" {
		request["idempotency_key"] = c.key
	}
	e["request"] = request
	s.insert(events, e)
}

// AddEvent is for tests: an event of this type about an object, made then.
func (s *Server) AddEvent(kind string, about map[string]any, created time.Time) string {
	return s.Put("events", map[string]any{"type": kind, "data": map[string]any{"object": maps.Clone(about)}, "created": created.Unix()})
}

func eventType(_ *Server, f map[string]any, want any) bool {
	pattern, kind := text(want), text(f["type"])
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(kind, prefix)
	}
	return kind == pattern
}

func eventTypes(_ *Server, f map[string]any, want any) bool {
	for _, one := range want.([]any) {
		if text(one) == text(f["type"]) { // no star here
			return true
		}
	}
	return false
}
