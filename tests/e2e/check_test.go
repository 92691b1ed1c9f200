package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hallway check finds what keeps the sidecar from writing the journal, and the
// statement that mends it does.
func TestCheck_OfTheJournalsRights(t *testing.T) {
	db := env.Database(t)
	c := db.Connect(t)
	named := fmt.Sprintf("host=%s port=%d dbname=%s", env.Cluster.SocketDir, env.Cluster.Port, db.Name)
	check := func(databases string) (string, error) {
		cmd := exec.Command(env.Hallway, "check", "--listen", env.Sidecar.Address(), "--allow-users", "", "--allow-hosts", "localhost", "--databases", databases)
		cmd.Env = append(cmd.Environ(), "PGHOST="+env.Cluster.SocketDir)
		out, err := cmd.CombinedOutput()
		var about []string // other tests' databases come and go
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, db.Name+" on port") || strings.HasPrefix(line, " ") || !strings.Contains(line, "databases") {
				about = append(about, line)
			}
		}
		return strings.Join(about, "\n"), err
	}
	out, err := check(named)
	require.NoError(t, err, out)
	require.Contains(t, out, fmt.Sprintf("ok    databases  %s on port %d in %s can be written: the journal has its rights", db.Name, env.Cluster.Port, env.Cluster.SocketDir))

	statements := []string{
		"REVOKE UPDATE ON hallway.write_log FROM hallway",
		"REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
		"REVOKE EXECUTE ON FUNCTION pg_xact_status(xid8) FROM PUBLIC",
		"REVOKE EXECUTE ON FUNCTION hallway.relation_definition(regclass, oid) FROM hallway",
	}
	for _, sql := range statements {
		c.Exec("%s", sql)
	}
	for _, databases := range []string{named, ""} {
		out, err = check(databases)
		require.Error(t, err)
		for _, want := range []string{"UPDATE on hallway.write_log", "EXECUTE on function pg_catalog.pg_control_system()",
			"EXECUTE on function pg_catalog.pg_xact_status(xid8)", "EXECUTE on function hallway.relation_definition(regclass, oid)"} {
			assert.Contains(t, out, "role hallway does not have "+want)
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if sql, _, ok := strings.Cut(strings.TrimSpace(line), "; without it"); ok {
			c.Exec("%s", sql)
		}
	}
	out, err = check(named)
	require.NoError(t, err, out)

	out, err = check(strings.Replace(named, db.Name, "nowhere", 1))
	require.Error(t, err)
	require.Contains(t, out, "Make it, or take it out of the setting databases.")
	c.Exec("REVOKE CONNECT ON DATABASE %s FROM PUBLIC", db.Name)
	out, err = check(named)
	require.Error(t, err)
	require.Contains(t, out, fmt.Sprintf("GRANT CONNECT ON DATABASE %q TO %q.", db.Name, "hallway"))
}
