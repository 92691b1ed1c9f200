// hallway serve: from settings to a running sidecar, and back.

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
	"github.com/hallwaydb/hallway/sidecar/lease"
	"github.com/hallwaydb/hallway/sidecar/ops"
	"github.com/hallwaydb/hallway/sidecar/secret"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve PostgreSQL backends until told to stop",
		Long: `Serve PostgreSQL backends on a Unix socket until told to stop (SIGTERM).

Each setting can stand in the settings file (allow_hosts), in the environment
(HALLWAY_ALLOW_HOSTS) or on the command line (--allow-hosts); the later wins.

SIGTERM stops it after running calls have ended (setting "drain"), a second one
at once. SIGHUP opens connectors anew, so that changed manifests count.`,
		Args: cobra.NoArgs,
	}
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		handler := bridge.LogHandler(ops.NewLogHandler(cmd.ErrOrStderr(), s.LogLevel, s.LogFormat))
		return serve(cmd.Context(), s, slog.New(handler))
	}
	return cmd
}

// useProcessors has as many processors run Go code at once as the setting says.
func useProcessors(setting int) {
	variable := os.Getenv("GOMAXPROCS")
	if variable == "" {
		runtime.SetDefaultGOMAXPROCS() // those of the machine, or of its control group
	}
	runtime.GOMAXPROCS(processors(setting, runtime.GOMAXPROCS(0), variable))
}

// processors is how many of those granted are used; see the setting, and ADR 18.
func processors(setting, granted int, variable string) int {
	switch {
	case setting > 0:
		return setting
	case variable != "":
		return granted
	default:
		return max(1, granted/2)
	}
}

// serve runs until ctx ends, then drains.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger) error {
	// From the start: it would end a process that does not expect it.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	useProcessors(s.Processors)
	instance := strings.ToLower(rand.Text()[:5])
	started := time.Now()
	metrics := ops.NewMetrics(version)

	kept := openRooms(s, log, instance)
	defer kept.close()
	srv := bridge.New(bridge.Config{
		Registry: registry(),
		Env:      environment(s, log, metrics),
		Secrets:  secretStore(s),
		Version:  version, Instance: instance,
		MaxWait: s.MaxWait, SourceIdle: s.SourceIdle,
		Cache: kept.cache, Replicas: kept.seen(), Journal: kept.journal, Limits: kept.limits, Spool: flight.Limits{Dir: os.Getenv("CACHE_DIRECTORY")}, // systemd's
	})
	defer srv.Close()
	gs := bridge.NewGRPC(srv, bridge.PeerCredentials(allowed(s, log)), metrics.GRPC)
	addGauges(metrics, srv)
	addJournalGauges(metrics, kept.journal)

	socket, err := listen(s, log)
	if err != nil {
		return err
	}
	if err := kept.start(ctx, s, log, srv); err != nil {
		_ = socket.Close()
		return err
	}
	// No table is bound any more when the bridge closes.
	defer kept.stop()
	stopping := func() bool { return ctx.Err() != nil }
	if s.MetricsListen != "" {
		httpCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		err := metrics.ServeHTTP(httpCtx, log, s.MetricsListen, func() bool { return !stopping() },
			func() ops.Status { return statusPage(srv, instance, started) })
		if err != nil {
			_ = socket.Close()
			return err
		}
	}
	go ops.Watchdog(ctx, log, func() bool { return answers(ctx, s.SocketPath()) })

	failed := make(chan error, 1)
	go func() { failed <- gs.Serve(socket) }()
	log.Info("serving", "version", version, "instance", instance, "listen", s.Listen, "pid", os.Getpid())
	ops.Notify(log, daemon.SdNotifyReady)

	for running := true; running; {
		select {
		case err := <-failed:
			return fmt.Errorf("serving: %w", err)
		case <-reload:
			log.Info("opening connectors anew")
			srv.Reset()
		case <-ctx.Done():
			running = false
		}
	}
	ops.Notify(log, daemon.SdNotifyStopping)
	gs.Health.Shutdown()
	if !drain(srv, gs.Server, s.Drain, log) {
		return errHung
	}
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving: %w", err)
	}
	log.Info("stopped")
	return nil
}

var errHung = errors.New("some calls did not end when they were cancelled")

// hangTimeout is how long cancelled calls may take to end.
const hangTimeout = 5 * time.Second

// flushTime is what the last answers get to be written to their sockets.
const flushTime = 250 * time.Millisecond

// answers reports whether the sidecar at a socket says in time that it serves.
func answers(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return false
	}
	defer func() { _ = cc.Close() }()
	r, err := healthv1.NewHealthClient(cc).Check(ctx, &healthv1.HealthCheckRequest{})
	return err == nil && r.GetStatus() == healthv1.HealthCheckResponse_SERVING
}

// drain tells backends to go elsewhere (GOAWAY) and lets their calls end; what
// runs past the bound is cancelled. GracefulStop alone would wait for idle
// backends, which do not read what we send. It reports whether all calls ended.
func drain(srv *bridge.Server, gs *grpc.Server, bound time.Duration, log *slog.Logger) bool {
	log.Info("stopping", "drain", bound.String())
	done := make(chan struct{}, 2)
	go func() {
		gs.GracefulStop()
		done <- struct{}{}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := srv.WaitIdle(ctx); err != nil {
		log.Warn("cancelling the calls that still run")
	} else {
		// A call that has ended here is on its way to its backend still, and Stop
		// would cut it off: a write that was done would be one of unknown outcome.
		select {
		case <-done:
			return true
		case <-time.After(flushTime):
		}
	}
	go func() {
		gs.Stop()
		done <- struct{}{}
	}()
	late := time.After(hangTimeout)
	for range 2 {
		select {
		case <-done:
		case <-late:
			return false
		}
	}
	return true
}

// listen opens the socket. A group that is only the default may be missing.
func listen(s *config.Settings, log *slog.Logger) (*ops.Socket, error) {
	socket, err := ops.ListenUnix(s.SocketPath(), s.SocketMode, s.SocketGroup)
	if err != nil && !s.Given("socket_group") && s.SocketGroup != "" && !errors.Is(err, ops.ErrInUse) {
		if plain, perr := ops.ListenUnix(s.SocketPath(), s.SocketMode, ""); perr == nil {
			log.Warn("the socket keeps this process's group: only its members can connect",
				"wanted", s.SocketGroup, "error", err.Error())
			return plain, nil
		}
	}
	return socket, err
}

// allowed is the check of a peer's user.
func allowed(s *config.Settings, log *slog.Logger) func(uint32) bool {
	uids, missing := s.UIDs()
	if len(missing) > 0 && s.Given("allow_users") {
		log.Warn("this system does not know some users of allow_users", "users", missing)
	}
	ok := map[uint32]bool{uint32(os.Geteuid()): true}
	for _, uid := range uids {
		ok[uid] = true
	}
	return func(uid uint32) bool { return ok[uid] }
}

// environment is what connectors get.
func environment(s *config.Settings, log *slog.Logger, metrics *ops.Metrics) connectors.Env {
	env := connectors.Env{
		Log: log, AllowHosts: s.AllowHosts, MaxResponseBytes: s.MaxResponse, MaxWait: s.MaxWait, UserAgent: "hallway/" + version,
		Manifests: noFiles{},
	}
	if s.Manifests != "" {
		env.Manifests = os.DirFS(s.Manifests)
	}
	if s.Tokens != "" {
		env.Tokens = secret.NewTokens(s.Tokens)
	}
	if metrics != nil {
		env.Observe, env.ObserveBudget = metrics.ObserveAPI, metrics.ObserveBudget
	}
	return env
}

// noFiles is a directory of manifests that is not there.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func secretStore(s *config.Settings) bridge.Secrets {
	if s.Secrets == "" && s.SecretsEnv == "" {
		return nil
	}
	return secret.NewStore(s.Secrets, s.SecretsEnv)
}

// rooms are those that need the databases: the journal, and if the settings say
// so the cache and replicas.
type rooms struct {
	cache    bridge.Cache
	replicas *replicas
	journal  *journal.Manager
	limits   *lease.Manager
	opener   *lateOpener
	close    func()
}

func openRooms(s *config.Settings, log *slog.Logger, instance string) *rooms {
	// The journal's connections are its own: a write waits for no cache.
	own := database.NewManager(database.Config{Log: log, Role: s.DatabaseRole, Connections: journal.Connections, ConnectTimeout: s.DatabaseTimeout})
	r := &rooms{opener: &lateOpener{}}
	r.journal = journal.New(journal.Config{Log: log, Databases: own, Open: r.opener, Instance: instance,
		Environment: s.Environment, Retention: s.JournalRetention})
	r.limits = lease.New(log, own)
	r.close = own.Close
	if !s.Cache {
		return r
	}
	databases := database.NewManager(database.Config{Log: log, Role: s.DatabaseRole, ConnectTimeout: s.DatabaseTimeout})
	m := cache.Open(cache.Config{Log: log, MaxBytes: s.CacheSize}, databases)
	r.cache = bridge.NewCache(m)
	r.replicas = newReplicas(s, log, instance, databases, m, r.opener)
	r.close = func() {
		own.Close()
		r.replicas.Close()
		m.Close()
		databases.Close()
	}
	return r
}

// seen is what the bridge tells of databases; nil: nobody wants to know.
func (r *rooms) seen() bridge.Replicas {
	if r.replicas == nil {
		return nil
	}
	return r.replicas
}

func (r *rooms) start(ctx context.Context, s *config.Settings, log *slog.Logger, srv *bridge.Server) error {
	r.opener.srv.Store(srv)
	if r.replicas != nil {
		if err := r.replicas.start(ctx, s); err != nil {
			return err
		}
	}
	return watch(ctx, s, log, func(id database.Identity, at database.Address) {
		r.journal.Seen(id, at)
		if r.replicas != nil {
			r.replicas.Seen(id, at)
		}
	})
}

func (r *rooms) stop() {
	r.journal.Close()
	r.limits.Close()
	if r.replicas != nil {
		r.replicas.Close()
	}
}

func addGauges(m *ops.Metrics, srv *bridge.Server) {
	gauge := func(name, help string, get func(bridge.Stats) float64) ops.Gauge {
		return ops.Gauge{Name: name, Help: help, Counter: strings.HasSuffix(name, "_total"),
			Value: func() float64 { return get(srv.Stats()) }}
	}
	m.Add(
		gauge("hallway_connections", "Backends connected.", func(s bridge.Stats) float64 { return float64(s.Connections) }),
		gauge("hallway_scans", "Scans running.", func(s bridge.Stats) float64 { return float64(s.Scans) }),
		gauge("hallway_writes", "Writes running.", func(s bridge.Stats) float64 { return float64(s.Writes) }),
		gauge("hallway_sources", "Servers with a credential that are open.", func(s bridge.Stats) float64 { return float64(s.Sources) }),
		gauge("hallway_rows_sent_total", "Rows sent to backends.", func(s bridge.Stats) float64 { return float64(s.Rows) }),
		gauge("hallway_row_bytes_sent_total", "Bytes of rows sent to backends.", func(s bridge.Stats) float64 { return float64(s.Bytes) }),
		gauge("hallway_transactions_committed_total", "Local transactions with API writes that committed.", func(s bridge.Stats) float64 { return float64(s.Committed) }),
		gauge("hallway_transactions_aborted_total", "Local transactions with API writes that rolled back.", func(s bridge.Stats) float64 { return float64(s.Aborted) }),
		gauge("hallway_panics_total", "Panics that became the error of one call.", func(s bridge.Stats) float64 { return float64(s.Panics) }),
		gauge("hallway_cache_flights", "API scans running whose rows several backends or the cache may read.", func(s bridge.Stats) float64 { return float64(s.Cache.Flights.Flights) }),
		gauge("hallway_cache_misses_total", "API scans begun because the cache did not have the rows.", func(s bridge.Stats) float64 { return float64(s.Cache.Flights.Begun) }),
		gauge("hallway_cache_joins_total", "Misses that read another one's API scan.", func(s bridge.Stats) float64 { return float64(s.Cache.Flights.Joined) }),
		gauge("hallway_cache_fills_total", "API scans whose rows are kept.", func(s bridge.Stats) float64 { return float64(s.Cache.Fills) }),
		gauge("hallway_cache_rows_total", "Rows of those.", func(s bridge.Stats) float64 { return float64(s.Cache.Rows) }),
		gauge("hallway_cache_spool_bytes_total", "Bytes of scans that went through a temporary file.", func(s bridge.Stats) float64 { return float64(s.Cache.Flights.Spool) }),
		gauge("hallway_cache_spool_memory_bytes", "Bytes of scans that are held in memory.", func(s bridge.Stats) float64 { return float64(s.Cache.Flights.Memory) }),
		gauge("hallway_cache_writes_queued", "Writes that cache tables do not show yet.", func(s bridge.Stats) float64 { return float64(s.Cache.Queued) }),
		gauge("hallway_cache_written_rows_total", "Rows written in an API and shown by cache tables.", func(s bridge.Stats) float64 { return float64(s.Cache.Applied) }),
		gauge("hallway_cache_invalidations_total", "Writes after which cached rows were forgotten, as what they are now is not known.", func(s bridge.Stats) float64 { return float64(s.Cache.Invalidated) }),
	)
	for _, reason := range bridge.NotKeptReasons() {
		m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hallway_cache_not_kept_total",
			Help: "API scans whose rows are not kept, by reason.", ConstLabels: prometheus.Labels{"reason": reason}},
			func() float64 { return float64(srv.Stats().Cache.NotKept[reason]) }))
	}
}

// addJournalGauges adds the journal's figures.
func addJournalGauges(m *ops.Metrics, j *journal.Manager) {
	gauge := func(name, help string, value func(journal.Stats) float64) prometheus.Collector {
		opts := prometheus.Opts{Name: name, Help: help}
		read := func() float64 { return value(j.Stats()) }
		if strings.HasSuffix(name, "_total") {
			return prometheus.NewCounterFunc(prometheus.CounterOpts(opts), read)
		}
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts), read)
	}
	m.Registry.MustRegister(
		gauge("hallway_journal_entries_total", "Rows noted in hallway.write_log before they were sent.", func(s journal.Stats) float64 { return float64(s.Entries) }),
		gauge("hallway_journal_refused_total", "Rows that were not sent because they could not be noted.", func(s journal.Stats) float64 { return float64(s.Refused) }),
		gauge("hallway_journal_undone_total", "Rows of rolled back transactions that were undone in the API.", func(s journal.Stats) float64 { return float64(s.Undone) }),
		gauge("hallway_journal_delivered_total", "Rows sent after the commit of their transaction.", func(s journal.Stats) float64 { return float64(s.Delivered) }),
		gauge("hallway_journal_found_out_total", "Rows whose answer was lost, and of which is known now what became of them.", func(s journal.Stats) float64 { return float64(s.Found) }),
		gauge("hallway_journal_outcomes_waiting", "Rows whose outcome is not written yet.", func(s journal.Stats) float64 { return float64(s.Waiting) }),
	)
}

func statusPage(srv *bridge.Server, instance string, started time.Time) ops.Status {
	st := srv.Stats()
	n := func(v any) string { return fmt.Sprint(v) }
	return ops.Status{Title: "Hallway sidecar", Lines: [][2]string{
		{"version", version}, {"instance", instance}, {"up since", started.UTC().Format(time.RFC3339)},
		{"backends connected", n(st.Connections)}, {"scans running", n(st.Scans)}, {"writes running", n(st.Writes)},
		{"servers open", n(st.Sources)}, {"rows sent", n(st.Rows)}, {"bytes of rows sent", n(st.Bytes)},
		{"transactions committed", n(st.Committed)}, {"transactions rolled back", n(st.Aborted)}, {"panics", n(st.Panics)},
		{"cache misses", n(st.Cache.Flights.Begun)}, {"of them kept", n(st.Cache.Fills)}, {"misses that joined one", n(st.Cache.Flights.Joined)},
		{"writes on their way into the cache", n(st.Cache.Queued)},
	}}
}
