package socket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

// pair is both ends of a new connection.
func pair(t *testing.T, network string) (client, server net.Conn) {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, at)
	require.NoError(t, err)
	client, err = net.Dial(network, l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _, _ = client.Close(), server.Close(), l.Close() })
	return client, server
}

// inEachWay are a Unix socket and TCP, by what is used in each build: under the race
// detector the unannounced calls would else not be tested.
func inEachWay(t *testing.T, f func(t *testing.T, pair func() (client, server net.Conn), unwatched func(net.Conn) net.Conn)) {
	networks(t, func(t *testing.T, pair func() (net.Conn, net.Conn)) {
		for name, by := range map[string]calls{"unannounced": unannounced(), "announced": announced()} {
			t.Run(name, func(t *testing.T) {
				f(t, pair, func(c net.Conn) net.Conn { return unwatch(c.(watched), by) })
			})
		}
	})
}

func networks(t *testing.T, f func(t *testing.T, pair func() (client, server net.Conn))) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			f(t, func() (net.Conn, net.Conn) { return pair(t, network) })
		})
	}
}

// What Go's own tests ask of each net.Conn: concurrent use, deadlines past and
// to come, closing.
func TestUnwatched_IsANetConn(t *testing.T) {
	inEachWay(t, func(t *testing.T, pair func() (net.Conn, net.Conn), wrap func(net.Conn) net.Conn) {
		nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
			client, server := pair()
			c, s := wrap(client), wrap(server)
			return c, s, func() { _, _ = c.Close(), s.Close() }, nil
		})
	})
}

// Whatever is done, the connection says what the one within would have said.
func TestUnwatched_FailsAsTheOneWithin(t *testing.T) {
	past := func(c net.Conn) error { return c.SetDeadline(time.Unix(1, 0)) }
	reset := func(_, peer net.Conn) error {
		if tcp, ok := peer.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				return err
			}
		}
		return peer.Close()
	}
	read := func(c net.Conn) (int, error) { return c.Read(make([]byte, 4)) }
	write := func(c net.Conn) (int, error) { return c.Write([]byte("word")) }
	for name, c := range map[string]struct {
		before func(c, peer net.Conn) error
		do     func(c net.Conn) (int, error)
	}{
		"the peer closed":       {func(_, peer net.Conn) error { return peer.Close() }, read},
		"the peer reset":        {reset, read},
		"after the reset":       {reset, func(c net.Conn) (int, error) { _, _ = read(c); return read(c) }},
		"write to a reset peer": {func(c, peer net.Conn) error { return errors.Join(reset(c, peer), settle(c)) }, write},
		"closed, read":          {func(c, _ net.Conn) error { return c.Close() }, read},
		"closed, write":         {func(c, _ net.Conn) error { return c.Close() }, write},
		"too late to read":      {func(c, _ net.Conn) error { return past(c) }, read},
		"too late to write":     {func(c, _ net.Conn) error { return past(c) }, write},
		"nothing to read into":  {func(_, _ net.Conn) error { return nil }, func(c net.Conn) (int, error) { return c.Read(nil) }},
		"nothing to write":      {func(_, _ net.Conn) error { return nil }, func(c net.Conn) (int, error) { return c.Write(nil) }},
		"less than asked for":   {func(_, peer net.Conn) error { _, err := peer.Write([]byte("hi")); return err }, read},
	} {
		t.Run(name, func(t *testing.T) {
			inEachWay(t, func(t *testing.T, pair func() (net.Conn, net.Conn), wrap func(net.Conn) net.Conn) {
				var told [2]string
				for i, wrap := range []func(net.Conn) net.Conn{func(c net.Conn) net.Conn { return c }, wrap} {
					within, peer := pair()
					conn := wrap(within)
					require.NoError(t, c.before(conn, peer))
					n, err := c.do(conn)
					told[i] = describe(n, err)
				}
				require.Equal(t, told[0], told[1])
			})
		})
	}
}

// settle waits until the peer's reset has come.
func settle(c net.Conn) error {
	for range 1000 {
		if !Quiet(c) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the reset has not come")
}

func describe(n int, err error) string {
	if err == nil {
		return string(rune('0' + n))
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		return err.Error()
	}
	out := op.Op + " " + op.Net
	if op.Timeout() {
		out += " timeout"
	}
	for _, is := range []error{net.ErrClosed, os.ErrDeadlineExceeded, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, is) {
			out += ": " + is.Error()
		}
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		out += " by " + call.Syscall
	}
	return out
}

// What does not fit into the kernel's buffers waits until it does, and arrives
// whole and in order, in each direction at the same time.
func TestUnwatched_CarriesMore(t *testing.T) {
	inEachWay(t, func(t *testing.T, pair func() (net.Conn, net.Conn), wrap func(net.Conn) net.Conn) {
		client, server := pair()
		ends := []net.Conn{wrap(client), server}
		rng := rand.New(rand.NewPCG(1, 2))
		sent := make([]byte, 5<<20)
		for i := range sent {
			sent[i] = byte(rng.Uint32())
		}
		done := make(chan error, 4)
		for i, from := range ends {
			pieces := rand.New(rand.NewPCG(3, uint64(i)))
			go func() {
				for rest := sent; len(rest) > 0; {
					piece := rest[:min(len(rest), 1+pieces.IntN(3<<20))]
					n, err := from.Write(piece)
					if err == nil && n < len(piece) {
						err = io.ErrShortWrite
					}
					if err != nil {
						done <- err
						return
					}
					rest = rest[n:]
				}
				done <- nil
			}()
			to := ends[1-i]
			go func() {
				got := make([]byte, len(sent))
				_, err := io.ReadFull(to, got)
				if err == nil && !bytes.Equal(got, sent) {
					err = errors.New("something else came")
				}
				done <- err
			}()
		}
		for range 4 {
			require.NoError(t, <-done)
		}
	})
}

// A write that is given up says how much of it has gone.
func TestUnwatched_CountsWhatWent(t *testing.T) {
	inEachWay(t, func(t *testing.T, pair func() (net.Conn, net.Conn), wrap func(net.Conn) net.Conn) {
		client, server := pair()
		conn := wrap(client)
		type end struct {
			went int
			err  error
		}
		ends := make(chan end, 1)
		go func() {
			went, err := conn.Write(make([]byte, 64<<20)) // more than any buffer holds
			ends <- end{went, err}
		}()
		require.Eventually(t, func() bool { return !Quiet(server) }, time.Minute, time.Millisecond)
		require.NoError(t, conn.SetWriteDeadline(time.Unix(1, 0)))
		e := <-ends
		require.ErrorIs(t, e.err, os.ErrDeadlineExceeded)
		require.Positive(t, e.went)
		require.NoError(t, conn.Close())
		came, err := io.Copy(io.Discard, server)
		require.NoError(t, err)
		require.EqualValues(t, e.went, came)
	})
}

func TestUnwatched_OthersAreLeftAlone(t *testing.T) {
	networks(t, func(t *testing.T, pair func() (net.Conn, net.Conn)) {
		client, _ := pair()
		require.IsType(t, &unwatched{}, Unwatched(client))
	})
	pipe, other := net.Pipe()
	defer func() { _, _ = pipe.Close(), other.Close() }()
	require.Same(t, pipe, Unwatched(pipe))
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "d"))
	require.NoError(t, err)
	defer func() { _ = datagrams.Close() }()
	require.IsType(t, &net.UnixConn{}, Unwatched(datagrams.(*net.UnixConn)))
	require.IsType(t, &net.TCPConn{}, Unwatched(&net.TCPConn{}), "a connection that never was")
}

// Under TLS, and a client of HTTP/2.
func TestUnwatched_UnderTLS(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, body) || r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write(got)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		Dial: func(network, at string) (net.Conn, error) { //nolint:staticcheck // no context is at hand
			c, err := net.Dial(network, at)
			return Unwatched(c), err
		},
	}}
	defer client.CloseIdleConnections()
	for range 3 {
		res, err := client.Post(server.URL, "text/plain", bytes.NewReader(body))
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, errors.Join(err, res.Body.Close()))
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.True(t, bytes.Equal(body, got))
	}
}
