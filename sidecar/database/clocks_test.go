package database

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClocks_NeverAheadOfTheServers(t *testing.T) {
	sent := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.UTC)
	received := sent.Add(300 * time.Millisecond)
	for name, tc := range map[string]struct {
		now    time.Time
		offset time.Duration
		same   bool
	}{
		"one clock, however long the answer takes": {now: sent.Add(time.Millisecond), same: true},
		"in the microsecond of the question":       {now: sent.Truncate(time.Microsecond), same: true},
		"in the moment of the answer":              {now: received, same: true},
		"one that is behind":                       {now: sent.Add(-time.Millisecond), offset: -301 * time.Millisecond},
		"one that is ahead":                        {now: received.Add(time.Second), offset: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			offset, same := clocks(sent, tc.now, received)
			require.Equal(t, tc.offset, offset)
			require.Equal(t, tc.same, same)
		})
	}
}
