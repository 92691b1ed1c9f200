// Metrics, health and the status page, on a loopback address.

package ops

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics of one sidecar, in a registry of its own.
type Metrics struct {
	Registry *prometheus.Registry
	// GRPC counts and times the calls of backends.
	GRPC *grpcprom.ServerMetrics

	apiCalls   *prometheus.CounterVec
	apiSeconds *prometheus.HistogramVec
	apiLeft    *prometheus.GaugeVec
	apiGranted *prometheus.GaugeVec
}

// Gauge is a value read when it is asked for.
type Gauge struct {
	Name, Help string
	// Counter: the value only grows.
	Counter bool
	Value   func() float64
}

// NewMetrics makes the metrics. version and the gauges' values are shown as
// they are.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		GRPC: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(
			grpcprom.WithHistogramBuckets([]float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 30, 120}))),
		apiCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hallway_api_calls_total",
			Help: "HTTP attempts by API, method and status; status 0 is an attempt without an answer.",
		}, []string{"api", "method", "status"}),
		apiSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hallway_api_call_seconds", Help: "Time until the answer's header.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"api"}),
		apiLeft: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hallway_api_calls_remaining", Help: "Calls that the API still grants for a day, as it said last.",
		}, []string{"api", "host"}),
		apiGranted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hallway_api_calls_granted", Help: "Calls that the API grants for a day in all, as it said last.",
		}, []string{"api", "host"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hallway_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.GRPC, m.apiCalls, m.apiSeconds, m.apiLeft, m.apiGranted, info)
	return m
}

// Add registers values that are read when asked for.
func (m *Metrics) Add(gauges ...Gauge) {
	for _, g := range gauges {
		if g.Counter {
			m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: g.Name, Help: g.Help}, g.Value))
		} else {
			m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.Name, Help: g.Help}, g.Value))
		}
	}
}

// ObserveAPI is connectors.Env.Observe.
func (m *Metrics) ObserveAPI(api, method string, status int, took time.Duration) {
	m.apiCalls.WithLabelValues(api, method, strconv.Itoa(status)).Inc()
	m.apiSeconds.WithLabelValues(api).Observe(took.Seconds())
}

// ObserveBudget is connectors.Env.ObserveBudget.
func (m *Metrics) ObserveBudget(api, host string, remaining, most float64) {
	m.apiLeft.WithLabelValues(api, host).Set(remaining)
	if most > 0 {
		m.apiGranted.WithLabelValues(api, host).Set(most)
	}
}

// Status is what the status page shows: lines of name and value.
type Status struct {
	Title string
	Lines [][2]string
}

const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:16px system-ui;margin:2rem}td{padding:.15rem 1.5rem .15rem 0}td+td{font-variant-numeric:tabular-nums}</style>
<h1>{{.Title}}</h1><table>{{range .Lines}}<tr><td>{{index . 0}}</td><td>{{index . 1}}</td></tr>{{end}}</table>
<p><a href="/metrics">metrics</a> <a href="/healthz">health</a></p></html>
`

// ServeHTTP serves /metrics, /healthz and the status page at address until ctx
// ends. healthy decides between 200 and 503.
func (m *Metrics) ServeHTTP(ctx context.Context, log *slog.Logger, address string, healthy func() bool, status func() Status) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w", err)
	}
	srv := &http.Server{Handler: m.handler(log, healthy, status), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving metrics", "error", err)
		}
	}()
	log.Info("serving metrics", "address", l.Addr().String())
	return nil
}

func (m *Metrics) handler(log *slog.Logger, healthy func() bool, status func() Status) http.Handler {
	show := template.Must(template.New("status").Parse(page))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if !healthy() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("stopping\n"))
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		if err := show.Execute(w, status()); err != nil {
			log.Debug("writing the status page", "error", err)
		}
	})
	return mux
}
