package e2e

// How often a backend asks the sidecar to plan.

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// counted starts a sidecar, and gives a function that says how many calls of an
// RPC it has answered since it was started.
func counted(t *testing.T) (*harness.Sidecar, func(method string) int) {
	t.Helper()
	var free net.ListenConfig
	l, err := free.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())

	s := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--metrics-listen", address}})
	return s, func(method string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer func() { require.NoError(t, answer.Body.Close()) }()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		line := regexp.MustCompile(`(?m)^grpc_server_handled_total\{.*grpc_method="` + method + `".*\} (\d+)$`)
		total := 0
		for _, found := range line.FindAllSubmatch(body, -1) {
			n, err := strconv.Atoi(string(found[1]))
			require.NoError(t, err)
			total += n
		}
		return total
	}
}

func TestPlan_IsAskedOnceForAShape(t *testing.T) {
	s, calls := counted(t)
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s');
		CREATE FOREIGN TABLE t (id int8 OPTIONS (key 'true'), name text) SERVER own;
		CREATE FOREIGN TABLE u (id int8 OPTIONS (key 'true'), name text) SERVER own`, s.Address())

	for i := range 20 {
		require.Equal(t, fmt.Sprint(i+1), c.Value("SELECT id FROM t WHERE id = %d", i+1))
	}
	require.Equal(t, 1, calls("Plan"), "other constants are the same shape")

	c.Value("SELECT id FROM t WHERE id < 2")
	require.Equal(t, 2, calls("Plan"), "another operator is another shape")
	for i := range 5 {
		c.Value("SELECT min(id) FROM (SELECT id FROM t ORDER BY id LIMIT %d) x", i+1)
	}
	require.Equal(t, 3, calls("Plan"), "a LIMIT's number does not count")

	c.Exec("CREATE TEMP TABLE other (); ALTER FOREIGN TABLE u OPTIONS (ADD seed '2')")
	c.Value("SELECT id FROM t WHERE id = 7")
	require.LessOrEqual(t, calls("Plan"), 4, "what happens to other tables costs a call at most")
	before := calls("Plan")
	c.Exec("ALTER FOREIGN TABLE t ALTER name OPTIONS (ADD distinct '3')")
	c.Value("SELECT id FROM t WHERE id = 7")
	require.Equal(t, before+1, calls("Plan"), "the table is another one now")
}

// The sidecar behind the address may be a newer one.
func TestPlan_IsAskedAgainAfterARestart(t *testing.T) {
	s, calls := counted(t)
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s');
		CREATE FOREIGN TABLE t (id int8 OPTIONS (key 'true')) SERVER own`, s.Address())
	require.Equal(t, "3", c.Value("SELECT id FROM t WHERE id = 3"))
	s.Restart(t, false)
	require.Equal(t, "3", c.Value("SELECT id FROM t WHERE id = 3"))
	require.Equal(t, "4", c.Value("SELECT id FROM t WHERE id = 4"))
	require.GreaterOrEqual(t, calls("Plan"), 1)
	require.LessOrEqual(t, calls("Plan"), 2)
}

// The planner runs before PostgreSQL checks permissions: nobody may make it
// talk to an API's connector with a credential that is not theirs.
func TestPlan_IsNotAskedWithoutPermission(t *testing.T) {
	s, calls := counted(t)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s');
		CREATE FOREIGN TABLE t (id int8 OPTIONS (key 'true'), name text) SERVER own;
		CREATE ROLE plan_nobody LOGIN; GRANT SELECT (id) ON t TO plan_nobody`, s.Address())
	t.Cleanup(func() { c.Exec("DROP OWNED BY plan_nobody; DROP ROLE plan_nobody") })

	c.Exec("SET ROLE plan_nobody")
	for _, query := range []string{"SELECT name FROM t", "EXPLAIN SELECT * FROM t", "SELECT id FROM t WHERE name = 'x'", "DELETE FROM t"} {
		c.Fails("42501", "%s", query)
	}
	require.Zero(t, calls("Plan")+calls("Describe")+calls("Handshake"))
	require.Equal(t, "1", c.Value("SELECT min(id) FROM t"))
	c.Exec("RESET ROLE")
}
