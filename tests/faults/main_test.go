// Package faults breaks each part that a query rests on and looks at what the
// user gets: the SQLSTATE, a hint where there is something to do, a backend
// that lives on. Right answers in good weather belong to tests/e2e.
package faults

import (
	"fmt"
	"testing"

	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{}, func(e *harness.Env) { env = e })
}

// server makes a foreign server "s" of the synthetic connector at an address;
// empty: the shared sidecar's.
func server(c *harness.Conn, address string) {
	opt := ""
	if address != "" {
		opt = fmt.Sprintf(", address '%s'", address)
	}
	c.Exec("CREATE SERVER s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic'%s)", opt)
	c.Exec("CREATE USER MAPPING FOR PUBLIC SERVER s")
}

// alive fails the test if the session does not answer.
func alive(t *testing.T, c *harness.Conn) {
	t.Helper()
	if got := c.Value("SELECT 1"); got != "1" {
		t.Fatalf("SELECT 1 gives %s", got)
	}
}
