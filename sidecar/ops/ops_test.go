package ops

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestListenUnix_ModeAndGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	me, err := user.Current()
	require.NoError(t, err)
	s, err := ListenUnix(path, 0o660, me.Gid)
	require.NoError(t, err)
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o660), st.Mode().Perm())
	require.NoError(t, s.Close())
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "the socket is gone with its server")
	require.NoError(t, s.Close(), "twice is once")
}

func TestListenUnix_SecondInstanceIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := ListenUnix(path, 0o600, "")
	require.NoError(t, err)
	_, err = ListenUnix(path, 0o600, "")
	require.ErrorIs(t, err, ErrInUse)
	assert.Equal(t, "listening at "+path+": another sidecar is listening there", err.Error())
	c, err := net.Dial("unix", path)
	require.NoError(t, err, "the first one serves on")
	_ = c.Close()
	require.NoError(t, os.Remove(path))
	_, err = ListenUnix(path, 0o600, "")
	require.ErrorIs(t, err, ErrInUse, "the lock holds when somebody has removed the socket")
	require.NoError(t, s.Close())
	s, err = ListenUnix(path, 0o600, "")
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestListenUnix_SomebodyElsesServerIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	_, err = ListenUnix(path, 0o600, "")
	require.ErrorIs(t, err, ErrInUse)
}

func TestListenUnix_StaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	// What SIGKILL leaves: a bound name without a listener.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Close(fd))
	s, err := ListenUnix(path, 0o600, "")
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestListenUnix_Refusals(t *testing.T) {
	d := t.TempDir()
	file := filepath.Join(d, "precious")
	require.NoError(t, os.WriteFile(file, []byte("data"), 0o600))
	_, err := ListenUnix(file, 0o600, "")
	require.EqualError(t, err, file+" exists and is not a socket")
	_, err = ListenUnix(filepath.Join(d, "none", "s"), 0o600, "")
	require.EqualError(t, err, "the directory "+filepath.Join(d, "none")+" does not exist")
	_, err = ListenUnix(filepath.Join(d, "s"), 0o600, "no-such-group")
	require.EqualError(t, err, `there is no group "no-such-group"`)
}

func TestMetrics_Pages(t *testing.T) {
	m := NewMetrics("1.2.3")
	m.Add(Gauge{Name: "hallway_connections", Help: "h", Value: func() float64 { return 3 }},
		Gauge{Name: "hallway_rows_sent_total", Help: "h", Counter: true, Value: func() float64 { return 9 }})
	m.ObserveAPI("CRM", "GET", 200, 30*time.Millisecond)
	m.ObserveBudget("CRM", "crm.example", 7, 0)
	m.ObserveBudget("Other", "x", 5, 10)
	healthy := true
	srv := httptest.NewServer(m.handler(slog.New(slog.DiscardHandler), func() bool { return healthy },
		func() Status { return Status{Title: "T", Lines: [][2]string{{"a", "<b>"}}} }))
	defer srv.Close()
	get := func(path string) (int, string) {
		r, err := http.Get(srv.URL + path)
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	_, text := get("/metrics")
	for _, line := range []string{`hallway_build_info{version="1.2.3"} 1`, "hallway_connections 3", "hallway_rows_sent_total 9",
		`hallway_api_calls_total{api="CRM",method="GET",status="200"} 1`, `hallway_api_call_seconds_count{api="CRM"} 1`,
		`hallway_api_calls_remaining{api="CRM",host="crm.example"} 7`, `hallway_api_calls_granted{api="Other",host="x"} 10`} {
		assert.Contains(t, text, line)
	}
	code, text := get("/healthz")
	assert.Equal(t, 200, code)
	assert.Equal(t, "ok\n", text)
	healthy = false
	code, _ = get("/healthz")
	assert.Equal(t, 503, code)
	_, text = get("/")
	assert.Contains(t, text, "&lt;b&gt;")
	code, _ = get("/nothing")
	assert.Equal(t, 404, code)
}

func TestMetrics_ServeUntilTheContextEnds(t *testing.T) {
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	m := NewMetrics("x")
	require.NoError(t, m.ServeHTTP(ctx, slog.New(slog.NewTextHandler(&log, nil)), "127.0.0.1:0", func() bool { return true }, func() Status { return Status{} }))
	addr := strings.TrimSpace(log.String()[strings.Index(log.String(), "address=")+len("address="):])
	r, err := http.Get("http://" + addr + "/healthz")
	require.NoError(t, err)
	_ = r.Body.Close()
	require.Error(t, m.ServeHTTP(ctx, slog.New(slog.DiscardHandler), addr, nil, nil), "the address is taken")
	cancel()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
}

func TestNotify_TellsSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	pc, err := net.ListenPacket("unixgram", path)
	require.NoError(t, err)
	defer pc.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", "")
	Notify(slog.New(slog.DiscardHandler), "READY=1")
	buf := make([]byte, 100)
	n, _, err := pc.ReadFrom(buf)
	require.NoError(t, err)
	assert.Equal(t, "READY=1", string(buf[:n]))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, os.Unsetenv("WATCHDOG_PID"))
	go Watchdog(ctx, slog.New(slog.DiscardHandler), func() bool { return true })
	require.NoError(t, pc.SetReadDeadline(time.Now().Add(2*time.Second)))
	n, _, err = pc.ReadFrom(buf)
	require.NoError(t, err)
	assert.Equal(t, "WATCHDOG=1", string(buf[:n]))
}

func TestLogHandler_Formats(t *testing.T) {
	var out bytes.Buffer
	slog.New(NewLogHandler(&out, slog.LevelWarn, "json")).Info("hidden")
	slog.New(NewLogHandler(&out, slog.LevelWarn, "json")).Warn("shown")
	assert.Contains(t, out.String(), `"msg":"shown"`)
	assert.NotContains(t, out.String(), "hidden")
	out.Reset()
	slog.New(NewLogHandler(&out, slog.LevelInfo, "text")).Info("shown")
	assert.Contains(t, out.String(), "msg=shown")
}
