package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/tests/harness"
)

// command runs the program with arguments.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("HALLWAY_CONFIG", os.DevNull)
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// run starts a sidecar and gives what stops it and its log.
func run(t *testing.T, change func(*config.Settings)) (path string, stop func() error, log *syncBuffer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	s, err := config.Load(os.DevNull, nil, map[string]string{"listen": "unix:" + path, "socket-group": "", "allow-users": ""})
	require.NoError(t, err)
	if change != nil {
		change(s)
	}
	log = &syncBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, s, slog.New(bridge.LogHandler(slog.NewTextHandler(log, nil)))) }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 30*time.Second, 5*time.Millisecond, log.String())
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case result = <-done:
			case <-time.After(time.Minute):
				t.Error("the sidecar does not stop")
			}
		})
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return path, stop, log
}

// backend is a connection that has shaken hands.
func backend(t *testing.T, path string) hallwayv1.BridgeClient {
	t.Helper()
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	c := hallwayv1.NewBridgeClient(cc)
	_, err = c.Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: 1}})
	require.NoError(t, err)
	return c
}

func TestServe_ScansTheBuiltInConnectorAndStopsWhenIdle(t *testing.T) {
	path, stop, log := run(t, func(s *config.Settings) { s.Drain = time.Hour })
	c := backend(t, path)
	ref := &hallwayv1.RelationRef{Handle: 1, Definition: &hallwayv1.Relation{
		ServerName: "s", TableName: "numbers", ServerOptions: []*hallwayv1.Option{{Name: "connector", Value: "synthetic"}},
		Columns: []*hallwayv1.Column{{Name: "id", Type: &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_INT8, Oid: 20}}},
	}}
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: ref})
	// What synthetic makes of this table is its own business; that it was asked
	// shows in the answer or in its error.
	if err != nil {
		assert.NotContains(t, err.Error(), "there is no connector")
	}
	require.NoError(t, stop(), "a backend that idles holds nobody up")
	assert.Contains(t, log.String(), "msg=stopped")
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestServe_DrainLetsCallsEndAndCancelsTheRest(t *testing.T) {
	for name, tc := range map[string]struct {
		drain time.Duration
		rows  string
		ok    bool
	}{"they end": {time.Hour, "3", true}, "they do not": {100 * time.Millisecond, "100000", false}} {
		t.Run(name, func(t *testing.T) {
			path, stop, _ := run(t, func(s *config.Settings) { s.Drain = tc.drain })
			c := backend(t, path)
			ref := &hallwayv1.RelationRef{Handle: 1, Definition: &hallwayv1.Relation{
				ServerName: "s", SchemaName: "x", TableName: "n", ServerOptions: []*hallwayv1.Option{{Name: "connector", Value: "synthetic"}},
				TableOptions: []*hallwayv1.Option{{Name: "rows", Value: tc.rows}, {Name: "page_rows", Value: "1"}, {Name: "latency", Value: "100ms"}},
				Columns:      []*hallwayv1.Column{{Name: "id", Type: &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_INT8, Oid: 20}}},
			}}
			p, err := c.Plan(t.Context(), &hallwayv1.PlanRequest{Relation: ref})
			require.NoError(t, err)
			st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: ref, Plan: p.GetPlan(), Columns: []uint32{0}})
			require.NoError(t, err)
			_, err = st.Recv()
			require.NoError(t, err)
			stopped := make(chan error, 1)
			go func() { stopped <- stop() }()
			for err == nil {
				_, err = st.Recv()
			}
			assert.Equal(t, tc.ok, errors.Is(err, io.EOF), "%v", err)
			require.NoError(t, <-stopped)
		})
	}
}

func TestServe_SIGHUPOpensConnectorsAnew(t *testing.T) {
	_, _, log := run(t, nil)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "opening connectors anew") }, 30*time.Second, 5*time.Millisecond)
}

func TestServe_SecondOnTheSameSocketIsRefused(t *testing.T) {
	path, _, _ := run(t, nil)
	_, err := command(t, "serve", "--listen", "unix:"+path, "--socket-group", "")
	require.EqualError(t, err, "listening at "+path+": another sidecar is listening there")
	backend(t, path)
}

func TestServe_DefaultGroupMayBeMissingAGivenOneNot(t *testing.T) {
	s := config.Default()
	s.Listen, s.SocketGroup = "unix:"+filepath.Join(t.TempDir(), "s"), "no-such-group"
	var log syncBuffer
	socket, err := listen(s, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.NoError(t, socket.Close())
	assert.Contains(t, log.String(), "only its members can connect")

	_, err = command(t, "serve", "--listen", "unix:"+filepath.Join(t.TempDir(), "s"), "--socket-group", "no-such-group")
	require.EqualError(t, err, `there is no group "no-such-group"`)
}

func TestServe_Metrics(t *testing.T) {
	port, err := harness.FreePort()
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	path, _, _ := run(t, func(s *config.Settings) { s.MetricsListen = addr })
	backend(t, path)
	assert.True(t, answers(t.Context(), path), "the watchdog is told that all is well")
	assert.False(t, answers(t.Context(), path+"-nobody"))
	metrics := func() string {
		r, err := http.Get("http://" + addr + "/metrics")
		require.NoError(t, err)
		defer r.Body.Close()
		var text bytes.Buffer
		_, err = text.ReadFrom(r.Body)
		require.NoError(t, err)
		return text.String()
	}
	// What asked just now, or only tried the socket, may not have gone yet.
	for _, want := range []string{
		"\nhallway_connections 1\n",
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Handshake",grpc_service="hallway.v1.Bridge"`,
	} {
		assert.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool { return strings.Contains(metrics(), want) }),
			"the metrics do not say %q", want)
	}
}

func TestCheck_SaysHowToMend(t *testing.T) {
	d := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		p := filepath.Join(d, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o700))
		require.NoError(t, os.WriteFile(p, []byte(text), mode))
		require.NoError(t, os.Chmod(p, mode))
	}
	write("manifests/bad.yaml", "nonsense: true\n", 0o644)
	write("secrets/open", "hunter2-secret", 0o644)
	write("secrets/good", "hunter2-secret", 0o600)
	write("file", "", 0o600)
	base := []string{"check", "--socket-group", "", "--allow-users", ""}

	out, err := command(t, append(base, "--listen", "unix:"+d+"/none/s", "--manifests", d+"/manifests", "--secrets", d+"/secrets", "--allow-hosts", "127.0.0.1")...)
	require.ErrorIs(t, err, errChecksFailed)
	for _, want := range []string{
		"FAIL  socket     the directory " + d + "/none does not exist",
		"FAIL  manifests  " + d + "/manifests/bad.yaml:1: ",
		`FAIL  secrets    secret "open" is refused: open has mode 0644`,
		"ok    hosts      allowed: 127.0.0.1",
	} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "hunter2")

	// A check that failed hides nothing of the others.
	out, _ = command(t, append(base, "--listen", "unix:"+d+"/none/s", "--manifests", "../../../examples", "--secrets", "")...)
	assert.Contains(t, out, "ok    manifests  ")

	out, _ = command(t, append(base, "--listen", "unix:"+d+"/s", "--manifests", "", "--secrets", "")...)
	assert.Contains(t, out, "FAIL  socket     "+d+"/s does not exist: the sidecar does not run\n                 Start the sidecar: \"systemctl start hallway\", or \"hallway serve\".\n")
	assert.Contains(t, out, "warn  hosts      allow_hosts is empty: no API can be called")
	out, _ = command(t, append(base, "--listen", "unix:"+d+"/file")...)
	assert.Contains(t, out, "FAIL  socket     "+d+"/file is not a socket")

	path, _, _ := run(t, nil)
	out, err = command(t, append(base, "--listen", "unix:"+path, "--manifests", "", "--secrets", "", "--allow-hosts", "localhost")...)
	require.NoError(t, err, out)
	assert.Contains(t, out, "ok    sidecar    version "+version+" answers at "+path+" (mode 0660")

	out, err = command(t, "check", "--drain", "x")
	require.ErrorIs(t, err, errChecksFailed)
	assert.Contains(t, out, `FAIL  settings   --drain: expected a duration such as 30s or 5m, got "x"`)
}

func TestManifestCheck(t *testing.T) {
	files, err := filepath.Glob("../../../examples/*.yaml")
	require.NoError(t, err)
	for _, f := range files {
		out, err := command(t, "manifest", "check", f)
		require.NoError(t, err, out)
		assert.Equal(t, f+": ok\n", out)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("name: x\nnonsense: 1\n"), 0o600))
	out, err := command(t, "manifest", "check", bad)
	require.EqualError(t, err, "1 of 1 manifests cannot be used")
	assert.Contains(t, out, bad+":2: ")
}

func TestVersionSettingsAndHelp(t *testing.T) {
	out, err := command(t, "version")
	require.NoError(t, err)
	assert.Contains(t, out, "hallway "+version)
	assert.Contains(t, out, "protocol 1.0\n")
	out, err = command(t, "settings")
	require.NoError(t, err)
	assert.Equal(t, config.Example(), out)
	out, err = command(t, "serve", "--help")
	require.NoError(t, err)
	for _, f := range config.Fields() {
		assert.Contains(t, out, "--"+f.Flag()+" string")
	}
	_, err = command(t, "serve", "extra")
	require.Error(t, err)
	out, err = command(t, "--version")
	require.NoError(t, err)
	assert.Contains(t, out, "hallway version "+version)
	_, err = command(t, "auth")
	require.EqualError(t, err, "name one foreign server: hallway auth SERVER")
	assert.False(t, strings.Contains(out, `"" `))
}
