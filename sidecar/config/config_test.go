package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoad_GoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		_, err := Load(f, nil, nil)
		require.NoError(t, err, f)
	}

	s, err := Load("testdata/full.good.yaml", nil, nil)
	require.NoError(t, err)
	s.given = nil
	assert.Equal(t, &Settings{
		Listen: "unix:/run/h/s", SocketMode: 0o600, AllowUsers: []string{"postgres", "1001"},
		AllowHosts: []string{"api.example.com", "*.example.org:8443", "127.0.0.1:8090"},
		Manifests:  "/srv/manifests", SecretsEnv: "HALLWAY_SECRET_", Tokens: "/srv/tokens",
		LogLevel: slog.LevelDebug, LogFormat: "json", MetricsListen: "localhost:9187",
		MaxResponse: 64 << 20, MaxWait: time.Minute, SourceIdle: 90 * time.Second, Processors: 3,
		CacheSize: 512 << 20, DatabaseRole: "keeper", DatabaseTimeout: 5 * time.Second, JournalRetention: 720 * time.Hour,
	}, s)
	assert.Equal(t, "/run/h/s", s.SocketPath())
}

// Each bad file is refused with exactly these words.
func TestLoad_BadFiles(t *testing.T) {
	want := map[string]string{
		"syntax":          `testdata/syntax.bad.yaml: not valid YAML: line 1: did not find expected node content`,
		"list_root":       `testdata/list_root.bad.yaml:1: expected settings as name: value`,
		"unknown":         `testdata/unknown.bad.yaml:2: there is no setting "allow_host". Perhaps you meant "allow_hosts".`,
		"unknown_far":     `testdata/unknown_far.bad.yaml:1: there is no setting "colour"`,
		"twice":           `testdata/twice.bad.yaml:3: drain: set twice, first in line 1`,
		"listen_tcp":      `testdata/listen_tcp.bad.yaml:1: listen: expected "unix:" and an absolute path, got "127.0.0.1:5000"`,
		"listen_relative": `testdata/listen_relative.bad.yaml:1: listen: expected an absolute path after unix:, got "unix:run/s"`,
		"listen_long":     `testdata/listen_long.bad.yaml:1: listen: the path has 110 bytes; a socket's may have 107`,
		"mode":            `testdata/mode.bad.yaml:1: socket_mode: expected an octal mode such as 0660, got "rw-rw----"`,
		"mode_exec":       `testdata/mode_exec.bad.yaml:1: socket_mode: expected read and write for the owner and no execute, such as 0660, got "0770"`,
		"users_scalar":    `testdata/users_scalar.bad.yaml:1: allow_users: expected a list such as [postgres]`,
		"hosts_url":       `testdata/hosts_url.bad.yaml:2: allow_hosts: "https://api.example.org": expected a host, host:port or *.domain`,
		"hosts_any":       `testdata/hosts_any.bad.yaml:1: allow_hosts: "*": expected a host, host:port or *.domain`,
		"hosts_tld":       `testdata/hosts_tld.bad.yaml:1: allow_hosts: "*.com": a whole top-level domain cannot be allowed`,
		"hosts_nested":    `testdata/hosts_nested.bad.yaml:1: allow_hosts: expected a list of plain values`,
		"level":           `testdata/level.bad.yaml:2: log_level: expected debug, info, warn, error, got "loud"`,
		"format":          `testdata/format.bad.yaml:1: log_format: expected text or json, got "xml"`,
		"metrics_public":  `testdata/metrics_public.bad.yaml:1: metrics_listen: expected a loopback address such as 127.0.0.1, got "0.0.0.0"`,
		"metrics_port":    `testdata/metrics_port.bad.yaml:1: metrics_listen: expected a port from 1 to 65535, got "http"`,
		"cache":           `testdata/cache.bad.yaml:1: cache: expected true or false, got "perhaps"`,
		"cache_size":      `testdata/cache_size.bad.yaml:1: cache_size: expected a size from 1MiB, got "1KiB"`,
		"processors":      `testdata/processors.bad.yaml:1: processors: expected a number from 0 to 1024, got "-1"`,
		"role":            `testdata/role.bad.yaml:1: database_role: expected a name`,
		"size":            `testdata/size.bad.yaml:1: max_response: expected a size such as 33554432 or 32MiB, got "32MB"`,
		"size_small":      `testdata/size_small.bad.yaml:1: max_response: expected a size from 64KiB to 1GiB, got "1KiB"`,
		"wait":            `testdata/wait.bad.yaml:1: max_wait: expected a duration such as 30s or 5m, got "30"`,
		"wait_long":       `testdata/wait_long.bad.yaml:1: max_wait: expected a duration from 1s to 1h, got "2h"`,
		"mapping":         `testdata/mapping.bad.yaml:2: drain: expected a value, got a mapping`,
		"null":            `testdata/null.bad.yaml:1: drain: expected a value; write "" for an empty one`,
		"list_for_one":    `testdata/list_for_one.bad.yaml:1: listen: expected one value, got a list`,
		"env_prefix":      `testdata/env_prefix.bad.yaml:1: secrets_env: expected capital letters, digits and underscores, got "my-prefix"`,
	}
	files, err := filepath.Glob("testdata/*.bad.yaml")
	require.NoError(t, err)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".bad.yaml")
		_, err := Load(f, nil, nil)
		require.Error(t, err, f)
		assert.Equal(t, want[name], err.Error(), f)
		delete(want, name)
	}
	assert.Empty(t, want, "files are missing")
}

func TestLoad_FlagsBeatTheEnvironmentBeatsTheFile(t *testing.T) {
	env := []string{"HALLWAY_LOG_LEVEL=warn", "HALLWAY_ALLOW_HOSTS= a.example.com , b.example.com:1", "HALLWAY_DRAIN=7s", "OTHER=x"}
	s, err := Load("testdata/full.good.yaml", env, map[string]string{"drain": "9s", "allow-users": ""})
	require.NoError(t, err)
	assert.Equal(t, slog.LevelWarn, s.LogLevel)
	assert.Equal(t, []string{"a.example.com", "b.example.com:1"}, s.AllowHosts)
	assert.Equal(t, 9*time.Second, s.Drain)
	assert.Empty(t, s.AllowUsers)
	assert.Equal(t, "json", s.LogFormat)
	assert.True(t, s.Given("drain"))

	for _, tc := range []struct {
		env   []string
		flags map[string]string
		want  string
	}{
		{[]string{"HALLWAY_DRAIN=soon"}, nil, `HALLWAY_DRAIN: expected a duration such as 30s or 5m, got "soon"`},
		{nil, map[string]string{"log-level": "x"}, `--log-level: expected debug, info, warn, error, got "x"`},
		{nil, map[string]string{"allow-hosts": "a.example.com,,b"}, `--allow-hosts: expected a list without empty items`},
	} {
		_, err := Load("testdata/empty.good.yaml", tc.env, tc.flags)
		require.EqualError(t, err, tc.want)
	}
}

func TestLoad_NamedFileMustExist(t *testing.T) {
	_, err := Load("testdata/none.yaml", nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.Contains(t, err.Error(), "reading the settings: ")
}

func TestExample_SaysTheDefaults(t *testing.T) {
	text := Example()
	plain := filepath.Join(t.TempDir(), "x.yaml")
	require.NoError(t, os.WriteFile(plain, []byte(text), 0o600))
	s, err := Load(plain, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, Default(), s, "as it is it changes nothing")

	var on []string
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "#") && !strings.Contains(name, " ") {
			line = line[1:]
		}
		on = append(on, line)
	}
	require.NoError(t, os.WriteFile(plain, []byte(strings.Join(on, "")), 0o600))
	s, err = Load(plain, nil, nil)
	require.NoError(t, err)
	assert.Len(t, s.given, len(Fields()))
	s.given = map[string]bool{}
	d := Default()
	d.AllowHosts, d.Databases = []string{}, []string{}
	assert.Equal(t, d, s, "and with each line switched on neither")
}

func TestExample_PackagedFileIsFresh(t *testing.T) {
	b, err := os.ReadFile("../../packaging/hallway.yaml")
	require.NoError(t, err)
	assert.Equal(t, Example(), string(b), "run make generate")
}

func TestUIDs(t *testing.T) {
	s := Default()
	s.AllowUsers = []string{"root", "1001", "no-such-user"}
	uids, missing := s.UIDs()
	assert.Equal(t, []uint32{0, 1001}, uids)
	assert.Equal(t, []string{"no-such-user"}, missing)
}
