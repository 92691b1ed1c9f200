package e2e

// The sidecar's encodings and its evaluator against PostgreSQL itself. The
// tests stand beside the code and need a server; here is one.

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReference_EncodingsAndEvaluatorAgreeWithTheServer(t *testing.T) {
	db := env.BareDatabase(t)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "Server$", "./sidecar/rows", "./sidecar/pushdown")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "HALLWAY_TEST_DSN="+db.Cluster.DSN(db.Name, "postgres"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, ran := range []string{"TestEncode_LikeTheServer", "TestEncode_RandomNumericsLikeTheServer", "TestEncode_RandomMomentsLikeTheServer",
		"TestEval_LikeTheServer", "TestEval_PatternsLikeTheServer", "TestSorter_LikeTheServer", "TestSQL_NamesCollationsLikeTheServer"} {
		require.True(t, strings.Contains(string(out), "--- PASS: "+ran), "%s did not run:\n%s", ran, out)
	}
}
