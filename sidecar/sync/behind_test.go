package sync

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was taken over is staged in order, though its bytes are used again.
func TestStageBehind(t *testing.T) {
	t.Parallel()
	var got []byte
	b := stageBehind(func(tuples []byte, n int) error {
		got = append(got, tuples...)
		assert.Equal(t, len(tuples), n)
		return nil
	}, func() { t.Error("stopped") }, slog.New(slog.DiscardHandler))
	one, want := []byte{0, 0}, []byte(nil)
	for i := range 200 {
		one[0], one[1] = byte(i), byte(i)
		want = append(want, one...)
		require.NoError(t, b.put(one, 2))
	}
	require.NoError(t, b.wait())
	require.Equal(t, want, got)
}

// A sink that fails, or panics, ends a scan that waits for its API.
func TestStageBehind_Failure(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, panics := range []bool{false, true} {
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		b := stageBehind(func([]byte, int) error {
			if panics {
				panic(broken)
			}
			return broken
		}, stop, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, b.put([]byte{1}, 1))
		<-ctx.Done()
		for range 3 { // two may find room
			_ = b.put([]byte{1}, 1)
		}
		if err := b.wait(); panics {
			require.ErrorContains(t, err, "staging rows failed")
			require.Contains(t, log.String(), "broken")
			require.NotContains(t, err.Error(), "broken")
		} else {
			require.ErrorIs(t, err, broken)
		}
	}
}
