// Command bench measures what Hallway costs beside a local table, postgres_fdw,
// a direct HTTP call and encoding/json. All is measured side by side: each
// round does every measurement once, and the shortest three times, and a line is
// the ratio of the medians of all rounds. It writes its figures and the machine
// to tests/bench/results and exits with 1 if a target is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

func main() {
	log.SetFlags(log.Ltime)
	if url := os.Getenv(directURL); url != "" {
		if err := postEach(context.Background(), url, os.Getenv(directToken)); err != nil {
			log.Fatalf("bench: posting directly: %v", err)
		}
		return
	}
	if url := os.Getenv(bulkURL); url != "" {
		if err := postBatches(context.Background(), url, os.Getenv(directToken)); err != nil {
			log.Fatalf("bench: posting batches directly: %v", err)
		}
		return
	}
	var b bench
	flag.IntVar(&b.rounds, "rounds", 5, "measurements of each line; the median counts")
	flag.IntVar(&b.rows, "rows", 1_000_000, "rows of the large table")
	flag.IntVar(&b.restRows, "rest-rows", 200_000, "rows read over HTTP in a round")
	flag.StringVar(&b.results, "results", "", "directory for the figures; default tests/bench/results, \"none\": nowhere")
	flag.Func("only", "measure these parts only, separated by commas; their names are in parts.go", func(names string) error {
		for name := range strings.SplitSeq(names, ",") {
			if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
				return fmt.Errorf("there is no part %q", name)
			}
			b.only = append(b.only, name)
		}
		return nil
	})
	flag.Parse()
	if err := b.run(context.Background()); err != nil {
		log.Printf("bench: %v", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	rounds, rows, restRows int
	filled                 int // tables made to be filled
	replicas               int // refreshes of the replica
	bulk                   *bulk
	victim                 *harness.Sidecar // what "stop" stops
	recorded               *recorded        // HubSpot's pages
	hubspotScan            string
	results                string
	only                   []string // parts; none: all

	env     *harness.Env
	api     *fakes.Server
	samples map[string][]float64
	lines   []line
	machine machine
}

// line is one figure with its target.
type line struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target,omitempty"`
	Pass   *bool   `json:"pass,omitempty"`
	Note   string  `json:"note,omitempty"`
}

func (b *bench) run(ctx context.Context) error {
	if b.results != "none" {
		if err := quiet(ctx); err != nil {
			return err
		}
	}
	b.machine = describe()
	log.Printf("starting PostgreSQL, sidecar and API; load average %s", b.machine.Load)
	env, err := harness.Start(harness.Settings{Sidecar: harness.SidecarSettings{Cache: true}, Postgres: []string{
		"shared_buffers = 1GB", "work_mem = 64MB", "max_parallel_workers_per_gather = 0", "jit = off"}})
	if err != nil {
		return err
	}
	defer env.Stop()
	b.env, b.samples = env, map[string][]float64{}
	if b.api, err = fakes.Start(); err != nil {
		return err
	}
	defer b.api.Close()
	b.api.BenchBodies()

	if err := env.Cluster.CreateDatabase(ctx, "bench"); err != nil {
		return err
	}
	s, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	defer func() { b.bulk.close(ctx) }()
	if err := s.measure(ctx); err != nil {
		return err
	}
	b.judge()
	failed := 0
	for _, l := range b.lines {
		mark := ""
		if l.Pass != nil {
			mark = "pass"
			if !*l.Pass {
				mark, failed = "FAIL", failed+1
			}
			mark = fmt.Sprintf("  target %s  %s", l.Target, mark)
		}
		fmt.Printf("%s: %s%s\n", l.Name, number(l.Value), mark)
	}
	if err := b.write(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d targets missed", failed)
	}
	return nil
}

func number(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// sample notes one measurement; the unit is the caller's.
func (b *bench) sample(name string, v float64) { b.samples[name] = append(b.samples[name], v) }

// median of the measurements; not a number: there are none.
func (b *bench) median(name string) float64 {
	list := slices.Clone(b.samples[name])
	if len(list) == 0 {
		return math.NaN()
	}
	return middle(list)
}

// judge turns samples into lines.
func (b *bench) judge() {
	add := func(name string, v float64, unit string, limit float64, atMost bool, note string) {
		if math.IsNaN(v) {
			return // it was not measured
		}
		l := line{Name: name, Value: v, Unit: unit, Note: note}
		if limit > 0 || strings.HasPrefix(name, "bloat_") || strings.HasPrefix(name, "upsert_") {
			ok := v <= limit
			l.Target = fmt.Sprintf("<= %g", limit)
			if !atMost {
				ok = v >= limit
				l.Target = fmt.Sprintf(">= %g", limit)
			}
			l.Pass = &ok
		}
		b.lines = append(b.lines, l)
	}
	add("live_scan_3cols_vs_local", b.median("live_3")/b.median("local_3"), "ratio", 1.5, true, "")
	add("live_scan_allcols_vs_local", b.median("live_13")/b.median("local_13"), "ratio", 2.5, true, "")
	add("live_scan_allcols_vs_postgres_fdw", b.median("live_13")/b.median("fdw_13"), "ratio", 0.30, true, "fetch_size 10000, nothing pushed down")
	add("one_row_scan_ms", b.median("one_row"), "ms", 0.30, true, "prepared, by pgbench; its round trip included")
	add("insert_overhead_ms", b.median("insert_overhead"), "ms", 0.5, true, "INSERT without the journal (journal 'false'), by pgbench, less the same POST made directly, by a process of its own; fsync off")
	journal, commit := b.median("commit_journaled")-b.median("commit_unjournaled"), b.median("commit_here")
	add("journal_overhead_ms", journal, "ms", 0, true, "INSERT of a row with the journal less one without it; fsync and synchronous_commit on")
	add("local_commit_ms", commit, "ms", 0, true, "INSERT of a row into a local table there, in turn with these two")
	add("journal_overhead_vs_local_commit", journal/commit, "ratio", 2.5, true, "")
	add("bulk_insert_rows_per_s_vs_direct", b.median("bulk_direct")/b.median("bulk_insert"), "ratio", 0.8, false, fmt.Sprintf("INSERT … SELECT of %d rows into PocketBase, journaled; against the same batch requests by a process of its own", bulkRows))
	add("copy_10k_rows_api_calls", b.median("copy_calls"), "calls", copyRows/bulkCall, true, fmt.Sprintf("PocketBase, %d rows a request", bulkCall))
	add("upsert_10k_unchanged_write_calls", b.median("upsert_calls"), "calls", 0, true, "the rows just copied, by upsert_key")
	add("rest_scan_rows_per_cpu_second", b.median("rest_rate"), "rows/s", 0, false, "13 fields, pages of 100, sidecar's CPU")
	add("rest_scan_vs_encoding_json", b.median("rest_rate")/b.median("json_rate"), "ratio", 2, false, "encoding/json into maps, pages already in memory")
	add("hubspot_scan_rows_per_cpu_second", b.median("hubspot_rate"), "rows/s", 0, false, "HubSpot's contacts, all their properties, pages of 100, sidecar's CPU")
	add("hubspot_scan_vs_encoding_json", b.median("hubspot_rate")/b.median("hubspot_json_rate"), "ratio", 3, false, "encoding/json into maps, pages already in memory")
	add("partitioned_scan_vs_sequential", b.median("partitioned")/b.median("sequential"), "ratio", 0.35, true, fmt.Sprintf("Stripe's charges, %d pages at %d ms each, by ranges of their time; against one request after the other", partitionPages, partitionLatency.Milliseconds()))
	made, least := 0.0, 0.0
	for _, api := range []string{"hubspot", "salesforce", "airtable", "stripe"} {
		add("calls_vs_minimum_"+api, b.median("calls_"+api)/b.median("least_"+api), "ratio", 0, true, fmt.Sprintf("twenty queries, %.0f calls, %.0f by hand", b.median("calls_"+api), b.median("least_"+api)))
		made, least = made+b.median("calls_"+api), least+b.median("least_"+api)
	}
	add("calls_vs_minimum", made/least, "ratio", 1.2, true, "all of these")
	b.judgeStops(add)
	add("cached_scan_allcols_vs_local", b.median("cached_13")/b.median("beside_cached_13"), "ratio", 1.15, true, "")
	add("cached_agg_vs_local", b.median("cached_agg")/b.median("local_agg"), "ratio", 1.15, true, "")
	add("cached_key_lookup_vs_local", b.median("lookup_cached")/b.median("lookup_local"), "ratio", 1.5, true, "prepared; round trip of the client included")
	add("cached_key_lookup_simple_vs_local", b.median("simple_cached")/b.median("simple_local"), "ratio", 3, true, "parsed and planned each time")
	add("cached_inner_lookup_100k_vs_local", b.median("cached_inner")/b.median("local_inner"), "ratio", 5, true, "nested loop, 100,000 lookups by key")
	add("cache_fill_vs_copy", b.median("fill")/b.median("copy"), "ratio", 2, true, "first miss of a table until it is cached, against COPY BINARY into such a table")
	add("replica_refresh_1pct_changed_vs_full", b.median("replica_increment")/b.median("replica_full"), "ratio", 0.25, true, "the run itself, keys of all rows compared; against reading all rows anew")
	add("bloat_dead_tuples", b.median("dead_tuples"), "tuples", 0, true, "after 100 refreshes without a change")
	add("bloat_bytes", b.median("grown"), "bytes", 0, true, "table and indexes, after the same")
	for _, n := range []string{"lookup_local", "lookup_cached", "simple_local", "simple_cached", "local_inner", "cached_inner", "local_agg", "cached_agg", "partitioned", "sequential", "cached_13", "fill", "copy", "replica_increment", "replica_changes", "replica_full", "local_3", "live_3", "local_13", "live_13", "fdw_13", "local_count", "live_count", "insert", "post", "commit_journaled", "commit_unjournaled", "bulk_insert", "bulk_unjournaled", "bulk_direct"} {
		add("raw_"+n+"_ms", b.median(n), "ms", 0, true, "")
	}
	add("raw_wake_two_processes_ms", b.median("pace"), "ms", 0, true, "a byte to cat and back, both asleep before: what a round trip has of the machine alone")
	add("raw_sidecar_cpu_ms", b.median("sidecar_cpu"), "ms", 0, true, "of live_13")
	add("raw_encoding_json_rows_per_cpu_second", b.median("json_rate"), "rows/s", 0, false, "")
}
