// Package database keeps connections to the databases that ask: over their
// Unix sockets, as one role of little power, few of them, and with a short
// memory of those that cannot be reached, so that a broken one costs nobody
// time. It knows nothing of what is stored there but which version of the
// extension made it.
package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/sidecar/socket"
)

// ExtensionVersion is the release of the extension whose tables this sidecar
// knows, without the patch level.
const ExtensionVersion = "0.1"

// DefaultConnectTimeout is Config.ConnectTimeout's default.
const DefaultConnectTimeout = 2 * time.Second

// Config of a Manager. Zero values stand for the defaults.
type Config struct {
	Log *slog.Logger
	// Role to log in as; default "hallway".
	Role string
	// LockTimeout bounds every wait for a lock: whoever holds it may be waiting
	// for the sidecar, which PostgreSQL cannot see. Default 100 ms.
	LockTimeout time.Duration
	// StatementTimeout bounds every statement that does not say otherwise, and
	// an idle transaction. Default 15 times ConnectTimeout.
	StatementTimeout time.Duration
	// ConnectTimeout bounds making a connection. Default DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Connections of a database's pool, at most. Default 8.
	Connections int
	// Idle is how long an unused pool is kept. Default 10 min.
	Idle time.Duration
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Role == "" {
		c.Role = "hallway"
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.LockTimeout, 100*time.Millisecond)
	set(&c.ConnectTimeout, DefaultConnectTimeout)
	set(&c.StatementTimeout, 15*c.ConnectTimeout)
	set(&c.Idle, 10*time.Minute)
	if c.Connections <= 0 {
		c.Connections = 8
	}
	return c
}

// Identity names a database for good: a restored or cloned one differs.
type Identity struct {
	SystemIdentifier uint64
	Timeline         uint32
	DatabaseOID      uint32
}

// Address is where a database is found.
type Address struct {
	// SocketDirectory of its Unix socket.
	SocketDirectory string
	Port            uint32
	Database        string
}

func (a Address) String() string {
	return fmt.Sprintf("%s on port %d in %s", a.Database, a.Port, a.SocketDirectory)
}

// UnreachableError says why a database cannot be used, and since when nobody
// tries again until when.
type UnreachableError struct {
	Address Address
	Err     error
	// Until then every attempt fails at once with this error.
	Until time.Time
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("database %s cannot be reached: %v", e.Address, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ErrBusy means that all connections of the pool are in use, or were until the
// caller's context ended.
var ErrBusy = errors.New("all connections to the database are in use")

// Manager has the databases.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	open   map[key]*Database
	closed bool
	stop   chan struct{}
	done   sync.WaitGroup
}

type key struct {
	identity Identity
	address  Address
}

// NewManager starts a manager; Close ends it.
func NewManager(cfg Config) *Manager {
	m := &Manager{cfg: cfg.withDefaults(), open: map[key]*Database{}, stop: make(chan struct{})}
	m.done.Add(1)
	go m.expire()
	return m
}

// Close closes every pool. It waits for connections that are in use: end what
// uses them first.
func (m *Manager) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	all := m.open
	m.open = nil
	m.mu.Unlock()
	close(m.stop)
	m.done.Wait()
	for _, d := range all {
		d.close()
	}
}

// Database finds a database. Nothing is sent to it before it is used.
func (m *Manager) Database(id Identity, at Address) *Database {
	k := key{id, at}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.open[k]
	if d == nil {
		d = &Database{cfg: &m.cfg, identity: id, address: at, used: time.Now(), closed: m.closed}
		if !m.closed {
			m.open[k] = d
		}
	}
	return d
}

// expire closes pools that nobody has used for a while.
func (m *Manager) expire() {
	defer m.done.Done()
	tick := time.NewTicker(max(m.cfg.Idle/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		m.mu.Lock()
		var all []*Database
		for _, d := range m.open {
			all = append(all, d)
		}
		m.mu.Unlock()
		for _, d := range all {
			d.closeIdle(m.cfg.Idle)
		}
	}
}

// Database is one database; many goroutines may use it at once.
type Database struct {
	cfg      *Config
	identity Identity
	address  Address

	mu     sync.Mutex
	pool   *pgxpool.Pool
	users  int // dedicated connections and acquisitions under way
	used   time.Time
	closed bool
	// After a failure: how many in a row, the error, and whether somebody is
	// trying again.
	failures int
	failed   *UnreachableError
	probing  bool
	standby  bool
	// offset is what to add to the local clock so that it is not ahead of the
	// server's.
	offset   time.Duration
	measured bool
}

// Identity of the database.
func (d *Database) Identity() Identity { return d.identity }

// ConnectTimeout is how long the database may take to let anybody in.
func (d *Database) ConnectTimeout() time.Duration { return d.cfg.ConnectTimeout }

// Address of the database.
func (d *Database) Address() Address { return d.address }

// Err is nil, or the *UnreachableError that an attempt would meet just now.
func (d *Database) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil && time.Now().Before(d.failed.Until) {
		return d.failed
	}
	return nil
}

// Retry lets the next attempt be made at once, whatever the last one met, and
// those after it soon: for whoever knows that the server runs, since a session of
// it asks.
func (d *Database) Retry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		again := *d.failed
		again.Until = time.Now()
		d.failed = &again
		d.failures = 0
	}
}

// Standby reports whether the server was in recovery when last connected to:
// nothing can be written there. False before the first connection.
func (d *Database) Standby() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.standby
}

// Now is the server's clock, or a little earlier; never later, as far as
// neither clock was set since the last connection.
func (d *Database) Now() time.Time { return d.At(time.Now()) }

// At is what Now gave, or would have given, at a time of the local clock.
func (d *Database) At(local time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return local.Add(d.offset)
}

// Acquire takes a connection from the pool; the caller releases it. The error
// is an *UnreachableError, ErrBusy, or the context's.
func (d *Database) Acquire(ctx context.Context) (*pgxpool.Conn, error) {
	pool, settle, err := d.begin()
	if err != nil {
		return nil, err
	}
	conn, err := pool.Acquire(ctx)
	return conn, settle(ctx, err)
}

// Pool is the pool itself, for what brings its own way of using one. It stays
// open until release is called.
func (d *Database) Pool(ctx context.Context) (pool *pgxpool.Pool, release func(), err error) {
	pool, settle, err := d.begin()
	if err != nil {
		return nil, nil, err
	}
	conn, err := pool.Acquire(ctx)
	if err == nil {
		conn.Release()
		d.hold(1)
	}
	if err := settle(ctx, err); err != nil {
		return nil, nil, err
	}
	return pool, sync.OnceFunc(func() { d.hold(-1) }), nil
}

// Dedicated opens a connection of the caller's own, outside of the pool, for
// LISTEN and for locks that last: it has the same settings and checks. The
// caller calls closing when done.
func (d *Database) Dedicated(ctx context.Context) (conn *pgx.Conn, closing func(), err error) {
	pool, settle, err := d.begin()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	conn, err = pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err == nil {
		if err = d.check(ctx, conn); err != nil {
			_ = conn.Close(ctx)
		}
	}
	if err == nil {
		d.hold(1)
	}
	if err := settle(ctx, err); err != nil {
		return nil, nil, err
	}
	return conn, sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
		d.hold(-1)
	}), nil
}

// InTx runs f in a transaction, which is rolled back if f fails.
func (d *Database) InTx(ctx context.Context, f func(tx pgx.Tx) error) error {
	conn, err := d.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return pgx.BeginFunc(ctx, conn, f) //nolint:wrapcheck // f has said what it was doing
}

func (d *Database) hold(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users += n
	d.used = time.Now()
}

// begin finds the pool for an attempt to use it. settle takes the attempt's
// outcome and gives the error that the caller is to see.
func (d *Database) begin() (*pgxpool.Pool, func(context.Context, error) error, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, &UnreachableError{Address: d.address, Err: errors.New("the sidecar is stopping")}
	}
	now := time.Now()
	probe := false
	if d.failed != nil {
		if d.probing || now.Before(d.failed.Until) {
			return nil, nil, d.failed
		}
		d.probing, probe = true, true
	}
	if d.pool == nil {
		pool, err := d.newPool()
		if err != nil {
			d.probing = false
			return nil, nil, d.fail(err)
		}
		d.pool = pool
	}
	d.used = now
	d.users++
	pool := d.pool
	return pool, func(ctx context.Context, err error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.users--
		d.used = time.Now()
		if probe {
			d.probing = false
		}
		switch {
		case err == nil:
			d.failed, d.failures = nil, 0
			return nil
		case isConnectError(err):
			return d.fail(err)
		case ctx.Err() != nil && pool.Stat().TotalConns() == pool.Stat().ConstructingConns():
			// Nobody has got one yet: it is not that all are in use.
			return d.fail(fmt.Errorf("it does not answer: %w", ctx.Err()))
		case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
		}
		return err
	}, nil
}

// fail remembers a failure; d.mu is held.
func (d *Database) fail(err error) error {
	if errors.Is(err, context.Canceled) {
		// The caller went away: that says nothing about the database.
		return err
	}
	if d.failed == nil || d.failed.Err.Error() != err.Error() {
		d.cfg.Log.Warn("a database cannot be reached; what needs it goes on without it",
			"database", d.address.Database, "socket_directory", d.address.SocketDirectory, "port", d.address.Port, "error", err.Error())
	}
	pause := time.Second << min(d.failures, 4)
	d.failures++
	d.failed = &UnreachableError{Address: d.address, Err: err, Until: time.Now().Add(pause)}
	return d.failed
}

// checkError is what check finds wrong.
type checkError struct{ why string }

func (e *checkError) Error() string { return e.why }

func isConnectError(err error) bool {
	var ce *pgconn.ConnectError
	var ch *checkError
	return errors.As(err, &ce) || errors.As(err, &ch)
}

func (d *Database) newPool() (*pgxpool.Pool, error) {
	// An empty configuration, so that neither the environment nor a service
	// file changes it; what is not a plain word is set below.
	cfg, err := pgxpool.ParseConfig("host=/ user=x password='' sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("preparing connections: %w", err)
	}
	if d.address.SocketDirectory == "" || d.address.Port == 0 || d.address.Port > 65535 {
		return nil, &checkError{"the server has no Unix socket (unix_socket_directories is empty)"}
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User = d.address.SocketDirectory, uint16(d.address.Port), d.address.Database, d.cfg.Role
	cc.Password, cc.Fallbacks, cc.TLSConfig = "", nil, nil
	cc.ConnectTimeout = d.cfg.ConnectTimeout
	ms := func(t time.Duration) string { return strconv.FormatInt(max(t.Milliseconds(), 1), 10) }
	cc.RuntimeParams = map[string]string{
		"application_name":                    "hallway sidecar",
		"client_encoding":                     "UTF8",
		"lock_timeout":                        ms(d.cfg.LockTimeout),
		"statement_timeout":                   ms(d.cfg.StatementTimeout),
		"idle_in_transaction_session_timeout": ms(d.cfg.StatementTimeout),
		// Nothing but PostgreSQL's own names is found without a schema.
		"search_path":                   "pg_catalog, pg_temp",
		"default_transaction_isolation": "read committed",
		"default_transaction_read_only": "off",
		"standard_conforming_strings":   "on",
		"DateStyle":                     "ISO, YMD",
		"IntervalStyle":                 "postgres",
		"TimeZone":                      "UTC",
		"client_min_messages":           "warning",
		// What is kept can be fetched again; no commit waits for a standby.
		"synchronous_commit": "off",
		"row_security":       "off",
		"jit":                "off",
		"temp_buffers":       "4096",
	}
	cfg.MaxConns = int32(min(d.cfg.Connections, 1000))
	cfg.MinConns = 0
	cfg.MaxConnIdleTime = min(d.cfg.Idle, time.Minute)
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	cfg.AfterConnect = d.check
	// A server that was restarted leaves connections behind that are closed.
	cfg.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return !socket.Quiet(p.Conn.PgConn().Conn()) }
	cc.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, c net.Conn) (net.Conn, error) {
		return socket.Unwatched(c), nil
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing connections: %w", err)
	}
	return pool, nil
}

// check asks a new connection whether it is to the database that is meant, and
// what can be done there.
func (d *Database) check(ctx context.Context, conn *pgx.Conn) error {
	var (
		system, database int64
		standby          bool
		now              time.Time
		version          *string
		registry         bool
	)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	sent := time.Now()
	err := conn.QueryRow(ctx, `SELECT (SELECT system_identifier FROM pg_control_system()),
  (SELECT oid::int8 FROM pg_database WHERE datname = current_database()),
  pg_is_in_recovery(), clock_timestamp(),
  (SELECT extversion FROM pg_extension WHERE extname = 'hallway'),
  to_regclass('hallway.cache_tables') IS NOT NULL AND has_schema_privilege('hallway', 'USAGE')`).
		Scan(&system, &database, &standby, &now, &version, &registry)
	local := time.Now()
	if err != nil {
		return &checkError{"asking who it is: " + err.Error()}
	}
	want := d.identity
	switch {
	case uint64(system) != want.SystemIdentifier || uint32(database) != want.DatabaseOID:
		return &checkError{fmt.Sprintf("another database answers there: system identifier %d, OID %d instead of %d, %d",
			uint64(system), database, want.SystemIdentifier, want.DatabaseOID)}
	case !registry:
		return &checkError{`the extension's tables are not there: CREATE EXTENSION hallway, or ALTER EXTENSION hallway UPDATE`}
	case version != nil && *version != ExtensionVersion && !strings.HasPrefix(*version, ExtensionVersion+"."):
		return &checkError{fmt.Sprintf("its extension hallway is version %s, this sidecar works with %s: ALTER EXTENSION hallway UPDATE, or upgrade the sidecar",
			*version, ExtensionVersion)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.standby = standby
	offset, same := clocks(sent, now, local)
	if same || !d.measured || offset > d.offset || offset < d.offset-time.Second {
		d.offset, d.measured = offset, true
	}
	return nil
}

// clocks says what to add to the local clock so that it is not ahead of the
// server's, which said now between sent and received. A Unix socket does not
// leave the machine, so that both clocks are the same unless now says otherwise:
// then what the answer took on its way makes it err to the past.
func clocks(sent, now, received time.Time) (offset time.Duration, same bool) {
	// The server's has microseconds.
	if !now.Before(sent.Truncate(time.Microsecond)) && !now.After(received) {
		return 0, true
	}
	return now.Sub(received), false
}

// closeIdle closes the pool if nobody has used it for a while.
func (d *Database) closeIdle(idle time.Duration) {
	d.mu.Lock()
	pool := d.pool
	if pool == nil || d.users > 0 || time.Since(d.used) < idle || pool.Stat().AcquiredConns() > 0 {
		d.mu.Unlock()
		return
	}
	d.pool = nil
	d.mu.Unlock()
	pool.Close()
}

func (d *Database) close() {
	d.mu.Lock()
	pool := d.pool
	d.pool, d.closed = nil, true
	d.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
}
