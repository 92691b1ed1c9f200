package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// node runs a script of node/ and reads its report.
func node(script string) func(*testing.T, *world) report {
	return func(t *testing.T, w *world) report {
		t.Helper()
		modules := nodeModules(t)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", filepath.Join(env.Root, "tests", "clients", "node", script))
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		// Nothing of PG* or of the language of messages comes along.
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TZ=America/New_York",
			"NODE_PATH=" + modules, "CLIENT_URL=" + w.url(), "CLIENT_DOMAIN=" + w.domain, "CLIENT_ASKED=" + w.slow.URL + askedPath}
		err := cmd.Run()
		require.NoError(t, err, "%s: %s", script, errs.String())
		require.Empty(t, errs.String(), "%s complains", script)
		var r report
		d := json.NewDecoder(&out)
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&r))
		return r
	}
}

// nodeModules is where scripts/bootstrap installed what package-lock.json names;
// beside it is what it generated from schema.prisma.
// Without it the test fails: it is no test if it does not run.
func nodeModules(t *testing.T) string {
	t.Helper()
	const remedy = `run "scripts/bootstrap test", which installs node and the libraries`
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("node is not in PATH: %s", remedy)
	}
	dir := filepath.Join(env.Root, ".dev", "clients")
	var want []byte
	for _, name := range []string{"package-lock.json", "schema.prisma"} {
		b, err := os.ReadFile(filepath.Join(env.Root, "tests", "clients", "node", name))
		require.NoError(t, err)
		want = append(want, b...)
	}
	have, err := os.ReadFile(filepath.Join(dir, "installed"))
	if err != nil || !bytes.Equal(want, have) {
		t.Fatalf("what tests/clients/node names is not installed in .dev/clients: %s", remedy)
	}
	return filepath.Join(dir, "node_modules")
}
