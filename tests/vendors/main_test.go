// Package vendors has the servers of tests/fakes judged by those who know the
// APIs best: the vendors' own clients, as npm has them. Each script of node/ makes
// its checks with such a client against the server that its test has started, and
// the client must be content: with pages, searches, writes, batches, errors as it
// shows them, and what it does when it is told to wait.
package vendors

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// sources is relative to this directory, where go test runs its tests.
	sources   = "node"
	installed = "../../.dev/vendors"
	remedy    = `run "scripts/bootstrap test", which installs node and the libraries`
	// patience with one script, all its checks together, on a busy machine.
	patience = 3 * time.Minute
)

// controls are what a script may have done to the server by control(name, args)
// of node/judge.js: knobs and counters. What they answer is encoded as JSON.
type controls map[string]func(args url.Values) any

// judge runs a script of node/ and makes each of its checks a test of its own.
func judge(t *testing.T, script, url string, can controls) {
	t.Helper()
	modules := nodeModules(t)
	control := httptest.NewServer(can)
	defer control.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(sources, script))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Nothing of the environment comes along, least of all somebody's token.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TZ=America/New_York",
		"NODE_PATH=" + modules, "NODE_NO_WARNINGS=1", "SERVER_URL=" + url, "CONTROL_URL=" + control.URL}
	err := cmd.Run()
	said := errs.String()
	ended := false
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Check, Error string
			End          int // the number of checks
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line), "%s prints what is not a check: %s", script, lines.Text())
		if line.End > 0 {
			ended = true
			continue
		}
		t.Run(line.Check, func(t *testing.T) {
			if line.Error != "" {
				t.Error(line.Error)
			}
		})
	}
	require.NoError(t, lines.Err())
	require.NoError(t, err, "%s: %s", script, said)
	require.True(t, ended, "%s stopped before its last check: %s", script, said)
	require.Empty(t, strings.TrimSpace(said), "%s complains", script)
}

func (c controls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	do, known := c[name]
	if !known {
		http.Error(w, fmt.Sprintf("the test has no control %q", name), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(do(r.URL.Query())); err != nil {
		panic(err) // the test's own value
	}
}

// nodeModules is where scripts/bootstrap installed what package-lock.json names.
// Without it the test fails: it is no test if it does not run.
func nodeModules(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("node is not in PATH: %s", remedy)
	}
	want, err := os.ReadFile(filepath.Join(sources, "package-lock.json"))
	require.NoError(t, err)
	have, err := os.ReadFile(filepath.Join(installed, "installed"))
	if err != nil || !bytes.Equal(want, have) {
		t.Fatalf("what tests/vendors/node names is not installed in .dev/vendors: %s", remedy)
	}
	dir, err := filepath.Abs(filepath.Join(installed, "node_modules"))
	require.NoError(t, err)
	return dir
}
