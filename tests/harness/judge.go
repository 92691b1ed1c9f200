// Judging by the vendors' own clients and parsers, as npm has them.

package harness

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
	// scripts and modules are relative to the repository's root.
	scripts = "tests/vendors/node"
	modules = ".dev/vendors"
	remedy  = `run "scripts/bootstrap test", which installs node and the libraries`
	// patience with one script, all its checks together, on a busy machine.
	patience = 3 * time.Minute
)

// Controls are what a script may have done to the server by control(name, args) of
// judge.js. What they answer is encoded as JSON. They are called one at a time.
type Controls map[string]func(args url.Values) any

// Judge runs a script of tests/vendors/node, with the server's URL, and makes each of
// its checks a test of its own. The script must make all its checks and say nothing
// else. Where node or the libraries are not installed the test fails.
func Judge(t *testing.T, script, url string, can Controls) {
	t.Helper()
	root, err := repositoryRoot()
	require.NoError(t, err)
	libraries := nodeModules(t, root)
	control := httptest.NewServer(can)
	defer control.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(root, scripts, script))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Nothing of the environment comes along, least of all somebody's token.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TZ=America/New_York",
		"NODE_PATH=" + libraries, "NODE_NO_WARNINGS=1", "SERVER_URL=" + url, "CONTROL_URL=" + control.URL}
	err = cmd.Run()
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

// ServeHTTP calls a control.
func (c Controls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
func nodeModules(t *testing.T, root string) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("node is not in PATH: %s", remedy)
	}
	want, err := os.ReadFile(filepath.Join(root, scripts, "package-lock.json"))
	require.NoError(t, err)
	have, err := os.ReadFile(filepath.Join(root, modules, "installed"))
	if err != nil || !bytes.Equal(want, have) {
		t.Fatalf("what tests/vendors/node names is not installed in .dev/vendors: %s", remedy)
	}
	return filepath.Join(root, modules, "node_modules")
}

// JudgeSOQL has a parser of SOQL that is not ours read statements that were sent: each
// is a query, with the texts in it that ours reads, in that order. There must be at
// least so many of them that differ, and so many of these must aggregate.
func JudgeSOQL(t *testing.T, statements []string, texts func(statement string) ([]string, error), least, aggregating int) {
	t.Helper()
	type statement struct {
		SOQL  string   `json:"soql"`
		Texts []string `json:"texts"`
	}
	var all []statement
	seen := map[string]bool{}
	// In a text it takes these, which JavaScript ends lines with, for no characters.
	lines := strings.NewReplacer("\u2028", "x", "\u2029", "x")
	for _, soql := range statements {
		soql = lines.Replace(soql)
		if seen[soql] {
			continue
		}
		seen[soql] = true
		found, err := texts(soql)
		require.NoError(t, err, soql)
		all = append(all, statement{soql, append([]string{}, found...)})
	}
	Judge(t, "soql.js", "", Controls{
		"statements": func(url.Values) any { return all },
		"least":      func(url.Values) any { return []int{least, aggregating} },
	})
}
