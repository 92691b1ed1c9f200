package socket

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		before func(client, server net.Conn) error
		want   bool
	}{
		"nothing came":   {func(_, _ net.Conn) error { return nil }, true},
		"last words":     {func(_, server net.Conn) error { _, err := server.Write([]byte("E")); return err }, false},
		"its end":        {func(_, server net.Conn) error { return server.Close() }, false},
		"closed by us":   {func(client, _ net.Conn) error { return client.Close() }, false},
		"what was taken": {func(client, server net.Conn) error { return exchange(client, server) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, "unix")
			require.NoError(t, c.before(client, server))
			require.Equal(t, c.want, Quiet(client))
		})
	}
	require.False(t, Quiet(&net.TCPConn{}))
}

func exchange(client, server net.Conn) error {
	if _, err := server.Write([]byte("Z")); err != nil {
		return err
	}
	_, err := client.Read(make([]byte, 1))
	return err
}

// A statement that took long to be sent leaves a reader behind, which waits.
func TestQuiet_WhileSomebodyReads(t *testing.T) {
	client, server := pair(t, "unix")
	reads := make(chan error, 1)
	go func() {
		reads <- client.SetReadDeadline(time.Time{})
		_, err := client.Read(make([]byte, 1))
		reads <- err
	}()
	require.NoError(t, <-reads)
	done := make(chan bool, 1)
	for range 100 { // until the reader is there
		go func() { done <- Quiet(client) }()
		select {
		case is := <-done:
			require.True(t, is)
		case <-time.After(30 * time.Second):
			t.Fatal("it waits, as the reader does")
		}
		time.Sleep(time.Millisecond)
	}
	_, err := server.Write([]byte("Z"))
	require.NoError(t, err)
	require.NoError(t, <-reads)
}
