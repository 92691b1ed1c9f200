// Package config is the sidecar's settings: their defaults, and how flags, the
// environment and a YAML file set them. It checks values; it opens nothing but
// the file.
//
// This file is the settings themselves; load.go is where they come from.
package config

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// DefaultFile is read when no other is named, if it exists.
const DefaultFile = "/etc/hallway/hallway.yaml"

// Settings of a sidecar. Fields describes each: purpose, default, bounds.
type Settings struct {
	// Listen is where backends connect: "unix:" and an absolute path.
	Listen string
	// SocketMode of the socket file.
	SocketMode fs.FileMode
	// SocketGroup owns the socket file; empty: the process's own group.
	SocketGroup string
	// AllowUsers may connect, by name or number, beside the process's own user.
	AllowUsers []string
	// AllowHosts are the hosts that base URLs may name.
	AllowHosts []string
	// Manifests is the directory of manifests; empty: none.
	Manifests string
	// Secrets is the directory of secrets; SecretsEnv the prefix of environment
	// variables that hold some. Empty: none.
	Secrets, SecretsEnv string
	// Tokens is the directory where refresh tokens are kept; empty: nowhere.
	Tokens string
	// LogLevel and LogFormat ("text", "json") of the log on standard error.
	LogLevel  slog.Level
	LogFormat string
	// MetricsListen is a loopback host:port for /metrics, /healthz and the
	// status page; empty: none.
	MetricsListen string
	// MaxResponse bounds one answer of an API, in bytes, decompressed.
	MaxResponse int64
	// MaxWait bounds waits for rate limits, and writes without a
	// statement_timeout.
	MaxWait time.Duration
	// SourceIdle is how long a server's connector stays open unused.
	SourceIdle time.Duration
	// Drain is how long calls may go on after SIGTERM.
	Drain time.Duration
	// Processors that run the sidecar's code at once; 0: half of those there are.
	Processors int
	// Databases whose replicas are kept also before a backend connects; each is
	// one that ParseDatabase takes.
	Databases []string
	// WebhooksListen is a host:port for webhooks; empty: none.
	WebhooksListen string
	// Environment tells copies of a database apart that nothing else does.
	Environment string
	// JournalRetention is how long entries of hallway.write_log are kept with
	// which nothing is to be done.
	JournalRetention time.Duration
	// Cache keeps rows in the databases that ask, as their role DatabaseRole, of
	// read-through tables at most CacheSize bytes a database.
	Cache        bool
	CacheSize    int64
	DatabaseRole string
	// DatabaseTimeout is how long a database may take to let the sidecar in.
	DatabaseTimeout time.Duration

	given map[string]bool
}

// Default settings.
func Default() *Settings {
	return &Settings{
		Listen:      "unix:/run/hallway/hallway.sock",
		SocketMode:  0o660,
		SocketGroup: "postgres",
		AllowUsers:  []string{"root", "postgres"},
		Manifests:   "/etc/hallway/manifests",
		Secrets:     "/etc/hallway/secrets",
		Tokens:      "/var/lib/hallway/tokens",
		LogLevel:    slog.LevelInfo,
		LogFormat:   "text",
		MaxResponse: transport.DefaultMaxResponseBytes,
		MaxWait:     transport.DefaultMaxWait,
		SourceIdle:  10 * time.Minute,
		Drain:       10 * time.Second,

		JournalRetention: 30 * 24 * time.Hour,
		Cache:            true, CacheSize: 4 << 30, DatabaseRole: "hallway", DatabaseTimeout: database.DefaultConnectTimeout,
		given: map[string]bool{},
	}
}

// Given reports whether a setting was set by flag, environment or file.
func (s *Settings) Given(name string) bool { return s.given[name] }

// SocketPath is the path in Listen.
func (s *Settings) SocketPath() string { return strings.TrimPrefix(s.Listen, "unix:") }

// Field is one setting as a user sees it.
type Field struct {
	// Name in the file: "allow_hosts". The flag is --allow-hosts, the variable
	// HALLWAY_ALLOW_HOSTS.
	Name string
	// Help says purpose, units and bounds, in a sentence or two.
	Help string
	// List: several values; commas between them in a flag or variable.
	List bool

	set func(s *Settings, values []string) error
	get func(s *Settings) []string
}

// Flag is the field's name on the command line.
func (f Field) Flag() string { return strings.ReplaceAll(f.Name, "_", "-") }

// Env is the field's environment variable.
func (f Field) Env() string { return "HALLWAY_" + strings.ToUpper(f.Name) }

// Value of the setting as a user would write it.
func (f Field) Value(s *Settings) string { return strings.Join(f.get(s), ",") }

// Fields lists the settings in the order of the documentation.
func Fields() []Field {
	return []Field{
		text("listen", `Where PostgreSQL connects: "unix:" and the absolute path of the socket, of at most 107 bytes.`,
			func(s *Settings) *string { return &s.Listen }, checkListen),
		{Name: "socket_mode", Help: `Permissions of the socket file, octal, from 0600 to 0666.`,
			set: func(s *Settings, v []string) error {
				n, err := strconv.ParseUint(v[0], 8, 32)
				if err != nil || n > 0o777 {
					return fmt.Errorf("expected an octal mode such as 0660, got %q", v[0])
				}
				if n&0o600 != 0o600 || n&0o111 != 0 {
					return fmt.Errorf("expected read and write for the owner and no execute, such as 0660, got %q", v[0])
				}
				s.SocketMode = fs.FileMode(n)
				return nil
			},
			get: func(s *Settings) []string { return []string{fmt.Sprintf("%04o", s.SocketMode)} }},
		text("socket_group", `Group that owns the socket file: one that the operating system user of PostgreSQL is in. Empty: the sidecar's own group.`,
			func(s *Settings) *string { return &s.SocketGroup }, nil),
		list("allow_users", `Operating system users that may connect, by name or number, beside the sidecar's own: the one that PostgreSQL runs as. The kernel says who connects.`,
			func(s *Settings) *[]string { return &s.AllowUsers }, nil),
		list("allow_hosts", `Hosts that APIs may be at: host, host:port or *.domain (all names below it). Empty: none. Link-local and cloud metadata addresses are never allowed, this machine only by the name localhost or its address.`,
			func(s *Settings) *[]string { return &s.AllowHosts }, transport.CheckHostPattern),
		text("manifests", `Directory of the manifests that the server option "manifest" may name. Empty: none.`,
			func(s *Settings) *string { return &s.Manifests }, nil),
		text("secrets", `Directory of the secrets that the user mapping option "secret" may name, one file each; not readable by others. Empty: none.`,
			func(s *Settings) *string { return &s.Secrets }, nil),
		text("secrets_env", `Prefix of environment variables that hold secrets, such as "HALLWAY_SECRET_". Empty: none.`,
			func(s *Settings) *string { return &s.SecretsEnv }, checkEnvPrefix),
		text("tokens", `Directory in which what APIs give for OAuth2 is kept, readable by the sidecar's user alone: refresh tokens, which many APIs change with each use. Sidecars with the same credentials must share it. Empty: they are forgotten when the sidecar stops.`,
			func(s *Settings) *string { return &s.Tokens }, nil),
		{Name: "log_level", Help: `Least level that is logged: debug, info, warn or error. Debug has each call; none has secrets.`,
			set: func(s *Settings, v []string) error {
				i := slices.Index(levelNames, strings.ToLower(v[0]))
				if i < 0 {
					return fmt.Errorf("expected %s, got %q", strings.Join(levelNames, ", "), v[0])
				}
				s.LogLevel = slog.Level(4 * (i - 1))
				return nil
			},
			get: func(s *Settings) []string { return []string{strings.ToLower(s.LogLevel.String())} }},
		text("log_format", `text or json, on standard error.`,
			func(s *Settings) *string { return &s.LogFormat }, oneOf("text", "json")),
		text("metrics_listen", `Loopback address and port of /metrics (Prometheus), /healthz and the status page, such as "127.0.0.1:9187". Empty: none.`,
			func(s *Settings) *string { return &s.MetricsListen }, checkLoopback),
		{Name: "max_response", Help: `Largest answer of an API after decompression: bytes, or with KiB, MiB or GiB; from 64KiB to 1GiB.`,
			set: func(s *Settings, v []string) error {
				n, err := parseSize(v[0])
				if err != nil {
					return err
				}
				if n < 64<<10 || n > 1<<30 {
					return fmt.Errorf("expected a size from 64KiB to 1GiB, got %q", v[0])
				}
				s.MaxResponse = n
				return nil
			},
			get: func(s *Settings) []string { return []string{formatSize(s.MaxResponse)} }},
		duration("max_wait", `Longest wait for an API's rate limit, and for a write without statement_timeout; from 1s to 1h.`,
			func(s *Settings) *time.Duration { return &s.MaxWait }, time.Second, time.Hour),
		duration("source_idle", `How long connections and tokens of a server that nobody uses are kept; from 1s to 24h.`,
			func(s *Settings) *time.Duration { return &s.SourceIdle }, time.Second, 24*time.Hour),
		duration("drain", `How long running calls may go on when the sidecar is told to stop; from 0s to 10m.`,
			func(s *Settings) *time.Duration { return &s.Drain }, 0, 10*time.Minute),
		{Name: "processors", Help: `Processors that run the sidecar's code at once, from 1 to 1024. 0: half of those that it may use, and at least one, since PostgreSQL has use for the others; a variable GOMAXPROCS counts before that.`,
			set: func(s *Settings, v []string) error {
				n, err := strconv.Atoi(v[0])
				if err != nil || n < 0 || n > 1024 {
					return fmt.Errorf("expected a number from 0 to 1024, got %q", v[0])
				}
				s.Processors = n
				return nil
			},
			get: func(s *Settings) []string { return []string{strconv.Itoa(s.Processors)} }},
		list("databases", `Databases whose replicas are kept up to date from the start, and not only once a session has used Hallway there: names, or "host=/socket/directory port=5432 dbname=name".`,
			func(s *Settings) *[]string { return &s.Databases }, checkDatabase),
		text("webhooks_listen", `Address and port at which webhooks come, such as "127.0.0.1:9188"; put a proxy with TLS before it. Empty: none.`,
			func(s *Settings) *string { return &s.WebhooksListen }, checkAddress),
		text("environment", `A word such as "production". A database whose replicas and journal began under another one is taken for a copy, as snapshots of machines make them, and left alone until SELECT hallway.resume().`,
			func(s *Settings) *string { return &s.Environment }, nil),
		duration("journal_retention", `How long hallway.write_log keeps entries with which nothing is to be done any more; from 1h to 87600h (ten years).`,
			func(s *Settings) *time.Duration { return &s.JournalRetention }, time.Hour, 10*365*24*time.Hour),
		{Name: "cache", Help: `Whether rows are kept in the databases that ask, as the options of tables say: true or false. False: every query calls the API.`,
			set: func(s *Settings, v []string) error {
				b, err := strconv.ParseBool(v[0])
				if err != nil {
					return fmt.Errorf("expected true or false, got %q", v[0])
				}
				s.Cache = b
				return nil
			},
			get: func(s *Settings) []string { return []string{strconv.FormatBool(s.Cache)} }},
		{Name: "cache_size", Help: `Room that rows kept by read-through take in one database, indexes included: bytes, or with KiB, MiB or GiB; from 1MiB. Past it those go that were not used for the longest time.`,
			set: func(s *Settings, v []string) error {
				n, err := parseSize(v[0])
				if err != nil {
					return err
				}
				if n < 1<<20 {
					return fmt.Errorf("expected a size from 1MiB, got %q", v[0])
				}
				s.CacheSize = n
				return nil
			},
			get: func(s *Settings) []string { return []string{formatSize(s.CacheSize)} }},
		text("database_role", `Role as which the sidecar logs in to the databases that ask, over their Unix sockets: the one that CREATE EXTENSION made. pg_hba.conf must let the sidecar's operating system user be it.`,
			func(s *Settings) *string { return &s.DatabaseRole }, notEmpty),
		duration("database_timeout", `How long a database may take to let the sidecar in, before it goes on without; a statement there may take 15 times that. From 100ms to 10m.`,
			func(s *Settings) *time.Duration { return &s.DatabaseTimeout }, 100*time.Millisecond, 10*time.Minute),
	}
}

var levelNames = []string{"debug", "info", "warn", "error"}

func text(name, help string, at func(*Settings) *string, check func(string) error) Field {
	return Field{Name: name, Help: help,
		set: func(s *Settings, v []string) error {
			if check != nil {
				if err := check(v[0]); err != nil {
					return err
				}
			}
			*at(s) = v[0]
			return nil
		},
		get: func(s *Settings) []string { return []string{*at(s)} }}
}

func list(name, help string, at func(*Settings) *[]string, check func(string) error) Field {
	return Field{Name: name, Help: help, List: true,
		set: func(s *Settings, v []string) error {
			for _, item := range v {
				if item == "" {
					return fmt.Errorf("expected a list without empty items")
				}
				if check != nil {
					if err := check(item); err != nil {
						return err
					}
				}
			}
			*at(s) = v
			return nil
		},
		get: func(s *Settings) []string { return *at(s) }}
}

func duration(name, help string, at func(*Settings) *time.Duration, least, most time.Duration) Field {
	return Field{Name: name, Help: help,
		set: func(s *Settings, v []string) error {
			d, err := time.ParseDuration(v[0])
			if err != nil {
				return fmt.Errorf("expected a duration such as 30s or 5m, got %q", v[0])
			}
			if d < least || d > most {
				return fmt.Errorf("expected a duration from %s to %s, got %q", short(least), short(most), v[0])
			}
			*at(s) = d
			return nil
		},
		get: func(s *Settings) []string { return []string{short(*at(s))} }}
}

// short drops the zero units of a duration: "10m0s" is "10m".
func short(d time.Duration) string {
	t := d.String()
	if strings.HasSuffix(t, "m0s") {
		t = t[:len(t)-2]
	}
	if strings.HasSuffix(t, "h0m") {
		t = t[:len(t)-2]
	}
	return t
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(words, v) {
			return nil
		}
		return fmt.Errorf("expected %s, got %q", strings.Join(words, " or "), v)
	}
}

// maxSocketPath is the room in sockaddr_un of Linux, without the final zero.
const maxSocketPath = 107

func checkListen(v string) error {
	path, ok := strings.CutPrefix(v, "unix:")
	switch {
	case !ok:
		return fmt.Errorf(`expected "unix:" and an absolute path, got %q`, v)
	case !filepath.IsAbs(path):
		return fmt.Errorf("expected an absolute path after unix:, got %q", v)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path has %d bytes; a socket's may have %d", len(path), maxSocketPath)
	}
	return nil
}

func notEmpty(v string) error {
	if v == "" {
		return fmt.Errorf("expected a name")
	}
	return nil
}

func checkEnvPrefix(v string) error {
	for i, r := range v {
		if r != '_' && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return fmt.Errorf("expected capital letters, digits and underscores, got %q", v)
		}
	}
	return nil
}

func checkLoopback(v string) error {
	if v == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("expected host:port, got %q", v)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("expected a port from 1 to 65535, got %q", port)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("expected a loopback address such as 127.0.0.1, got %q", host)
	}
	return nil
}

var units = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func parseSize(v string) (int64, error) {
	number, factor := v, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(v, u.name); ok {
			number, factor = strings.TrimSpace(n), u.size
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/factor {
		return 0, fmt.Errorf("expected a size such as 33554432 or 32MiB, got %q", v)
	}
	return n * factor, nil
}

func formatSize(n int64) string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// UIDs are the numbers of AllowUsers. A name that this system does not know is
// in missing: it cannot connect either.
func (s *Settings) UIDs() (uids []uint32, missing []string) {
	for _, name := range s.AllowUsers {
		id := name
		if u, err := user.Lookup(name); err == nil {
			id = u.Uid
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			missing = append(missing, name)
			continue
		}
		uids = append(uids, uint32(n))
	}
	return uids, missing
}
