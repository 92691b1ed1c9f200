// Statements timed by pgbench: PostgreSQL's own client, in a process and a session
// of its own, as an application's are. A session of this process would share its
// scheduler with the API that the statements reach.

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/tests/harness"
)

// pgbench runs script n times, prepared, and gives the milliseconds that each took.
func (s *session) pgbench(ctx context.Context, script string, n int) ([]float64, error) {
	bin, err := harness.BinDir()
	if err != nil {
		return nil, err
	}
	dir, err := s.env.Mkdir("pgbench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "script.sql")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return nil, fmt.Errorf("writing pgbench's script: %w", err)
	}
	c := s.env.Cluster
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), "--no-vacuum", "--protocol=prepared",
		"--file="+file, "--transactions="+strconv.Itoa(n), "--log", "--log-prefix="+filepath.Join(dir, "log"),
		"--host="+c.SocketDir, "--port="+strconv.Itoa(c.Port), "--username=postgres", "bench")
	cmd.Env = append(os.Environ(), "PGOPTIONS=-c hallway.address="+s.env.Sidecar.Address())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err != nil {
		return nil, fmt.Errorf("looking for pgbench's log: %w", err)
	}
	if len(logs) != 1 {
		return nil, fmt.Errorf("pgbench left %d logs instead of one", len(logs))
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		return nil, fmt.Errorf("reading pgbench's log: %w", err)
	}
	took := make([]float64, 0, n)
	for line := range strings.Lines(string(text)) {
		// client, transaction, microseconds, …
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("pgbench's log has the line %q", line)
		}
		us, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("pgbench's log has the line %q: %w", line, err)
		}
		took = append(took, ms(time.Duration(us)*time.Microsecond))
	}
	if len(took) != n {
		return nil, fmt.Errorf("pgbench ran %d transactions instead of %d", len(took), n)
	}
	return took, nil
}
