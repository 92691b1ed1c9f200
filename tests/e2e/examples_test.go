package e2e

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

var updateExamples = flag.Bool("examples.update", false, "write what the examples print into docs/connectors")

// example is a session of examples/ on a connector's stand-in server, which
// docs/connectors shows.
type example struct {
	name string
	// start gives what stands in the session for the real API and its credential,
	// by what it is replaced with.
	start func(t *testing.T) map[string]string
}

func examples() []example {
	return []example{{"hubspot", func(t *testing.T) map[string]string {
		now := time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC)
		api := hubspot.New(hubspot.Options{Now: func() time.Time { return now }})
		t.Cleanup(api.Close)
		return map[string]string{"connector 'hubspot'": "connector 'hubspot', base_url '" + api.URL + "', cache 'off'", "secret 'hubspot'": "token '" + hubspot.Token + "'"}
	}}}
}

const (
	sessionBegin = "<!-- The session is written by go test ./tests/e2e -run TestExamples -examples.update. -->\n```text\n"
	sessionEnd   = "```\n<!-- End of the session. -->\n"
)

// TestExamples_DocsShowWhatPsqlPrints runs each example by psql as it is.
func TestExamples_DocsShowWhatPsqlPrints(t *testing.T) {
	bin, err := exec.Command(cmp.Or(os.Getenv("PG_CONFIG"), "pg_config"), "--bindir").Output()
	require.NoError(t, err)
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			script, err := os.ReadFile(filepath.Join(env.Root, "examples", e.name+".sql"))
			require.NoError(t, err)
			text := string(script)
			var back []string
			for public, private := range e.start(t) {
				require.Contains(t, text, public)
				text = strings.ReplaceAll(text, public, private)
				back = append(back, private, public)
			}
			db := env.Database(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			psql := exec.CommandContext(ctx, filepath.Join(strings.TrimSpace(string(bin)), "psql"), "-X", "-a", env.Cluster.DSN(db.Name, "postgres"))
			psql.Stdin = strings.NewReader(text)
			var out bytes.Buffer
			psql.Stdout, psql.Stderr = &out, &out
			psql.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
			require.NoError(t, psql.Run(), out.String())
			session := presentable(strings.NewReplacer(back...).Replace(out.String()))

			page := filepath.Join(env.Root, "docs", "connectors", e.name+".md")
			doc, err := os.ReadFile(page)
			require.NoError(t, err)
			before, rest, found := strings.Cut(string(doc), sessionBegin)
			require.True(t, found, "%s has no place for the session", page)
			shown, after, found := strings.Cut(rest, sessionEnd)
			require.True(t, found, "%s has no end of the session", page)
			if *updateExamples {
				require.NoError(t, os.WriteFile(page, []byte(before+sessionBegin+session+sessionEnd+after), 0o644)) //nolint:gosec // documentation is for everybody
				return
			}
			require.Equal(t, shown, session, "run it with -examples.update, and look at the difference")
		})
	}
}

var (
	anyID = regexp.MustCompile(`Request id: \S+\.`)
	ruler = regexp.MustCompile(`^-{81,}$`)
)

// presentable takes out of a session what is another each time, and what is too wide
// to be read.
func presentable(session string) string {
	lines := strings.Split(anyID.ReplaceAllString(session, "Request id: ...."), "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		if strings.TrimSpace(line) == "QUERY PLAN" {
			line = "QUERY PLAN"
		}
		lines[i] = ruler.ReplaceAllString(line, strings.Repeat("-", 80))
	}
	return strings.Join(lines, "\n")
}
