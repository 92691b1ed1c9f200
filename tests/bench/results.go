// Where the figures go, and on what machine they were had.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine is described without its name.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGB   int    `json:"memory_gb"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	PostgreSQL string `json:"postgresql"`
	// Load is the load average of the minute before: what else was running.
	Load string `json:"load_average"`
}

// report is a results file.
type report struct {
	Date    string               `json:"date"`
	Machine machine              `json:"machine"`
	Rows    int                  `json:"rows"`
	Rounds  int                  `json:"rounds"`
	Lines   []line               `json:"lines"`
	Samples map[string][]float64 `json:"samples"`
}

func (b *bench) write() error {
	dir := b.results
	switch dir {
	case "none":
		return nil
	case "":
		dir = filepath.Join(b.env.Root, "tests", "bench", "results")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	now := time.Now().UTC()
	r := report{Date: now.Format(time.RFC3339), Machine: b.machine, Rows: b.rows, Rounds: b.rounds, Lines: b.lines, Samples: b.samples}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	base := filepath.Join(dir, now.Format("2006-01-02"))
	if err := os.WriteFile(base+".json", append(out, '\n'), 0o644); err != nil {
		return err
	}
	var t strings.Builder
	m := r.Machine
	fmt.Fprintf(&t, "%s, %d cores of %s, %d GB, Linux %s, %s, PostgreSQL %s\n", r.Date, m.Cores, m.CPU, m.MemoryGB, m.Kernel, m.Go, m.PostgreSQL)
	fmt.Fprintf(&t, "load average before the run: %s (above 0.5 others were at work, and absolute times are too long)\n", m.Load)
	fmt.Fprintf(&t, "%d rows x 13 columns, medians of %d rounds measured side by side, JIT off, one process each\n\n", b.rows, b.rounds)
	for _, l := range b.lines {
		fmt.Fprintf(&t, "%-42s %12s %-7s", l.Name, number(l.Value), l.Unit)
		if l.Pass != nil {
			fmt.Fprintf(&t, " target %-8s %s", l.Target, map[bool]string{true: "pass", false: "FAIL"}[*l.Pass])
		}
		if l.Note != "" {
			fmt.Fprintf(&t, "  (%s)", l.Note)
		}
		t.WriteByte('\n')
	}
	return os.WriteFile(base+".txt", []byte(t.String()), 0o644)
}

func describe() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	cut := func(file, key string) string {
		b, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(b), key)
		after, _, _ = strings.Cut(after, "\n")
		return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(after), ":"))
	}
	m.CPU = cut("/proc/cpuinfo", "model name")
	var kb int
	_, _ = fmt.Sscan(cut("/proc/meminfo", "MemTotal:"), &kb)
	m.MemoryGB = (kb + 1<<19) >> 20
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	// The version without what a distribution or a host adds to it.
	m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(b)), "-")
	m.Load = load()
	return m
}

// load is the load average of the last minute.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(b), " ")
	return average
}

const (
	quietLoad    = 0.5
	quietAtMost  = 3 * time.Minute
	quietBetween = 5 * time.Second
)

// quiet waits until the machine has nothing else to do: the build before has left
// a load average behind. It gives up after three minutes; the report says what the
// load was.
func quiet(ctx context.Context) error {
	for end := time.Now().Add(quietAtMost); time.Now().Before(end); {
		now := load()
		v, err := strconv.ParseFloat(now, 64)
		if err != nil {
			return fmt.Errorf("reading the load average: %w", err)
		}
		if v < quietLoad {
			return nil
		}
		log.Printf("waiting for a load average below %g: it is %s", quietLoad, now)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietBetween):
		}
	}
	return nil
}
