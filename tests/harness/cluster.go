// A private PostgreSQL cluster, its databases and connections.

package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Cluster is a running PostgreSQL whose superuser "postgres" needs no password.
type Cluster struct {
	// SocketDir holds the socket; Port is in its name and on 127.0.0.1.
	SocketDir string
	Port      int
	// Library is the copy of hallway.so that its databases load.
	Library string
	Data    string

	env     *Env
	process *Process
	server  []string // its command line

	template sync.Once
	tmplErr  error
}

// BinDir is where initdb and postgres are: PG_BINDIR, or what pg_config says.
func BinDir() (string, error) {
	if d := os.Getenv("PG_BINDIR"); d != "" {
		return d, nil
	}
	pgConfig := os.Getenv("PG_CONFIG")
	if pgConfig == "" {
		pgConfig = "pg_config"
	}
	out, err := exec.Command(pgConfig, "--bindir").Output()
	if err != nil {
		return "", fmt.Errorf("asking pg_config for PostgreSQL's programs: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// StartCluster makes and starts a cluster. library is the hallway.so that
// databases made by Database load.
func (e *Env) StartCluster(locale, library string, settings ...string) (*Cluster, error) {
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	return e.startCluster(bin, locale, library, settings)
}

func (e *Env) startCluster(bin, locale, library string, settings []string) (*Cluster, error) {
	dir, err := e.Mkdir("pg")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	c := &Cluster{SocketDir: dir, Port: port, Library: library, Data: filepath.Join(dir, "data"), env: e}
	argv := []string{"-D", c.Data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"}
	if locale == "" || locale == "C" {
		argv = append(argv, "--locale=C.UTF-8")
	} else {
		argv = append(argv, "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale="+locale)
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), argv...)
	initdb.Dir = dir
	initdb.Env = cleanEnviron()
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: e.cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("running initdb: %w\n%s", err, out)
	}
	conf := append([]string{
		"listen_addresses = '127.0.0.1'",
		fmt.Sprintf("port = %d", port),
		fmt.Sprintf("unix_socket_directories = '%s'", dir),
		"max_connections = 300",
		"shared_buffers = 128MB",
		// The cluster does not outlive the test.
		"fsync = off", "synchronous_commit = off", "full_page_writes = off",
		"max_wal_size = 2GB", "checkpoint_timeout = 1h", "autovacuum = off",
		// So that runs can be compared.
		"jit = off", "max_parallel_workers_per_gather = 0",
		"lc_messages = 'C'", "timezone = 'UTC'", "log_min_messages = warning",
		"log_line_prefix = '%m [%p] '",
		// A machine that is busy with other tests may take longer than the default.
		"hallway.connect_timeout = '30s'",
	}, settings...)
	f, err := os.OpenFile(filepath.Join(c.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(strings.Join(conf, "\n") + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("writing postgresql.conf: %w", err)
	}
	c.server = []string{filepath.Join(bin, "postgres"), "-D", c.Data}
	if w := os.Getenv("HALLWAY_PG_WRAPPER"); w != "" {
		// Such as valgrind; its logs go where HALLWAY_PG_WRAPPER says.
		c.server = append(strings.Fields(w), c.server...)
	}
	e.Defer(func() { _ = c.process.Stop(syscall.SIGQUIT, time.Minute) })
	return c, c.Start()
}

// Start starts the server (again) and waits until it takes connections.
func (c *Cluster) Start() (err error) {
	// SIGINT is PostgreSQL's fast shutdown; SIGQUIT the immediate one.
	c.process, err = c.env.Spawn("postgres", c.SocketDir, filepath.Join(c.SocketDir, "postgres.log"), nil, syscall.SIGQUIT, c.server...)
	if err != nil {
		return err
	}
	return c.process.wait(3*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgconn.Connect(ctx, c.DSN("postgres", "postgres"))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// Crash ends the server as a crash would: at once, without a checkpoint. What
// the operating system was told is kept; Start recovers.
func (c *Cluster) Crash() error { return c.process.Stop(syscall.SIGQUIT, time.Minute) }

// Standby makes a hot standby of the cluster, which ends with the Env.
func (c *Cluster) Standby() (*Cluster, error) { return c.backup(nil, "-R") }

// Clone makes a copy of the running cluster, as a snapshot of its disk would be:
// nothing in it tells that it is one. It ends with the Env.
func (c *Cluster) Clone() (*Cluster, error) { return c.backup(nil) }

// Restore makes a copy of the cluster as from a backup and an archive: on a time
// line of its own. It ends with the Env.
func (c *Cluster) Restore() (*Cluster, error) {
	return c.backup(func(s *Cluster) error {
		signal := filepath.Join(s.Data, "recovery.signal")
		if err := os.WriteFile(signal, nil, 0o600); err != nil {
			return err
		}
		s.server = append(s.server, "-c", "restore_command=false")
		return os.Chown(signal, c.env.uid, c.env.gid)
	})
}

// backup makes a cluster of a base backup, and starts it.
func (c *Cluster) backup(prepare func(*Cluster) error, args ...string) (*Cluster, error) {
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	dir, err := c.env.Mkdir("sb")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Cluster{SocketDir: dir, Port: port, Library: c.Library, Data: filepath.Join(dir, "data"), env: c.env}
	backup := exec.Command(filepath.Join(bin, "pg_basebackup"), append([]string{"-D", s.Data, "-X", "stream", "-c", "fast", "--no-sync",
		"-h", c.SocketDir, "-p", fmt.Sprint(c.Port), "-U", "postgres"}, args...)...)
	backup.Dir = dir
	backup.Env = cleanEnviron()
	backup.SysProcAttr = &syscall.SysProcAttr{Credential: c.env.cred}
	if out, err := backup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("running pg_basebackup: %w\n%s", err, out)
	}
	s.server = []string{filepath.Join(bin, "postgres"), "-D", s.Data, "-c", fmt.Sprintf("port=%d", port), "-c", "unix_socket_directories=" + dir}
	if prepare != nil {
		if err := prepare(s); err != nil {
			return nil, fmt.Errorf("preparing the copy: %w", err)
		}
	}
	c.env.Defer(func() { _ = s.process.Stop(syscall.SIGQUIT, time.Minute) })
	return s, s.Start()
}

// Log is the path of the server's log.
func (c *Cluster) Log() string { return c.process.Log }

// PID of the postmaster.
func (c *Cluster) PID() int { return c.process.PID() }

// DSN of a database for a role, over the Unix socket.
func (c *Cluster) DSN(database, role string) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s sslmode=disable connect_timeout=60", c.SocketDir, c.Port, database, role)
}

var modulePath = regexp.MustCompile(`'MODULE_PATHNAME'`)

// extensionSQL is the extension's script with the library's path in it, for a
// database that must not depend on what is installed in the system.
func (c *Cluster) extensionSQL() (string, error) {
	files, err := filepath.Glob(filepath.Join(c.env.Root, "sql", "hallway--*.sql"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("finding the extension's script: %w", err)
	}
	var script string
	for _, f := range files {
		if strings.Count(filepath.Base(f), "--") == 1 {
			script = f
		}
	}
	b, err := os.ReadFile(script)
	if err != nil {
		return "", err
	}
	var out []string
	for _, line := range strings.Split(string(b), "\n") {
		if !strings.HasPrefix(line, `\`) {
			out = append(out, line)
		}
	}
	s := modulePath.ReplaceAllString(strings.Join(out, "\n"), "'"+c.Library+"'")
	return strings.ReplaceAll(s, "@extschema@", "public"), nil
}

// CreateDatabase makes a database that holds the extension. It is copied from a
// template, which is made at the first call.
func (c *Cluster) CreateDatabase(ctx context.Context, name string) error {
	admin, err := pgx.Connect(ctx, c.DSN("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(ctx) }()
	c.template.Do(func() {
		c.tmplErr = func() error {
			script, err := c.extensionSQL()
			if err != nil {
				return err
			}
			if _, err := admin.Exec(ctx, "CREATE DATABASE hallway_template"); err != nil {
				return err
			}
			conn, err := pgconn.Connect(ctx, c.DSN("hallway_template", "postgres"))
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(ctx) }()
			if _, err := conn.Exec(ctx, script).ReadAll(); err != nil {
				return fmt.Errorf("running the extension's script: %w", err)
			}
			return nil
		}()
	})
	if c.tmplErr != nil {
		return c.tmplErr
	}
	_, err = admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE hallway_template STRATEGY file_copy")
	return err
}

// BareDatabase makes an empty database of the test's own, dropped at its end.
func (e *Env) BareDatabase(t testing.TB) *Database {
	t.Helper()
	d := &Database{Name: fmt.Sprintf("t%d", e.next()), Env: e, Cluster: e.Cluster}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, e.Cluster.DSN("postgres", "postgres"))
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+d.Name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() { d.drop() })
	return d
}

func (d *Database) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if conn, err := pgx.Connect(ctx, d.Cluster.DSN("postgres", "postgres")); err == nil {
		_, _ = conn.Exec(ctx, "DROP DATABASE "+d.Name+" WITH (FORCE)")
		_ = conn.Close(ctx)
	}
}

// Database makes a database of the test's own, dropped at its end, whose
// sessions know the Env's sidecar as hallway.address.
func (e *Env) Database(t testing.TB) *Database {
	t.Helper()
	return e.DatabaseIn(t, e.Cluster)
}

// DatabaseIn is Database in another cluster than the Env's own.
func (e *Env) DatabaseIn(t testing.TB, c *Cluster) *Database {
	t.Helper()
	d := &Database{Name: fmt.Sprintf("t%d", e.next()), Env: e, Cluster: c}
	ctx := context.Background()
	if err := c.CreateDatabase(ctx, d.Name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() { d.drop() })
	if e.Sidecar != nil {
		d.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", d.Name, e.Sidecar.Address())
	}
	return d
}

// Database is one database of the cluster.
type Database struct {
	Name    string
	Env     *Env
	Cluster *Cluster
}

// Connect opens a session as the superuser. It is closed at the test's end.
func (d *Database) Connect(t testing.TB) *Conn { t.Helper(); return d.ConnectAs(t, "postgres") }

// ConnectAs opens a session of a role.
func (d *Database) ConnectAs(t testing.TB, role string) *Conn {
	t.Helper()
	ctx := context.Background()
	// The library is loaded by hand, so that its settings are known before
	// the first foreign table is touched.
	conn, err := d.Open(ctx, role)
	// A backend that was killed makes the server recover for a moment.
	for began := time.Now(); SQLState(err) == "57P03" && time.Since(began) < Timeout; conn, err = d.Open(ctx, role) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	c := &Conn{PgConn: conn, t: t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return c
}

// Open opens a session without a test to close it.
func (d *Database) Open(ctx context.Context, role string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, d.Cluster.DSN(d.Name, role))
}

// FreePort finds a TCP port of 127.0.0.1 that nobody listens on: none of those
// that the system gives to outgoing connections, which would take it while who
// asked for it is starting, or starting again.
func FreePort() (int, error) {
	const first, past, tries = 10000, 32768, 100
	var err error
	for range tries {
		port := first + rand.IntN(past-first)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("finding a free port: %w", err)
}
