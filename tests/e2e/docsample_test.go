package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/tests/harness"
)

// Samples of the docs are what psql and the connectors say here.
var acceptSamples = flag.Bool("accept", false, "write the samples of the docs anew")

// psqlSession runs a script in psql, as docs show it: statements and what they
// answer, errors among them. What is another one in every run is made the same.
func psqlSession(t *testing.T, db *harness.Database, script string, args ...string) string {
	t.Helper()
	bin, err := harness.BinDir()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%s/%s?sslmode=disable", strconv.Itoa(db.Cluster.Port), db.Name)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "psql"), append([]string{"-X", "-a", "-q", "-v", "VERBOSITY=default", "-d", url}, args...)...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PGTZ=UTC", "PGOPTIONS=-c intervalstyle=postgres"}
	cmd.Stdin = strings.NewReader(strings.TrimLeft(script, "\n"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), out.String())
	text := regexp.MustCompile(`(?i)request id:? [0-9a-z-]+`).ReplaceAllString(out.String(), "Request id: k3v9a-1")
	text = regexp.MustCompile(`[ \t]+\n`).ReplaceAllString(text, "\n")
	return strings.TrimRight(text, "\n") + "\n"
}

// sample checks that the docs have text between <!-- sample: name --> and
// <!-- end -->, or puts it there. doc is a path from docs/connectors.
func sample(t *testing.T, doc, name, text string) {
	t.Helper()
	file := filepath.Join("..", "..", "docs", "connectors", doc)
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	begin := "<!-- sample: " + name + " -->\n"
	before, rest, found := strings.Cut(string(have), begin)
	require.True(t, found, "%s has no %s", doc, begin)
	_, after, found := strings.Cut(rest, "<!-- end -->")
	require.True(t, found)
	want := before + begin + text + "<!-- end -->" + after
	if *acceptSamples {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644)) //nolint:gosec // documentation
		return
	}
	require.Equal(t, want, string(have), "%s is stale: go test ./tests/e2e -run '%s' -args -accept", doc, t.Name())
}

// sqlSample is a sample that psql has printed.
func sqlSample(text string) string { return "```sql\n" + text + "```\n" }

// optionTable lists what a connector takes at one place.
func optionTable(c connectors.Connector, where connectors.Where) string {
	var b strings.Builder
	b.WriteString("| Option | Default | |\n|---|---|---|\n")
	for _, o := range c.Options() {
		if o.Where == where {
			help := o.Help
			if o.Secret {
				help += " Secret: better in the store, by `secret`."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", o.Name, o.Default, strings.ReplaceAll(help, "|", `\|`))
		}
	}
	return b.String()
}
