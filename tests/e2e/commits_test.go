package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// That a transaction has committed is told with the session's next write, or by the
// session's end, and the journal settles what was written without being told.
func TestCommits_AllAreToldOfInTheEnd(t *testing.T) {
	const committed = "hallway_transactions_committed_total"
	s := observe(t)
	db := env.Database(t)
	c, other := db.Connect(t), db.Connect(t)
	c.Exec(`CREATE SERVER own FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER own;
		CREATE FOREIGN TABLE journaled (id int8 OPTIONS (key 'true', computed 'sequence'), name text) SERVER own OPTIONS (store 'commits');
		CREATE FOREIGN TABLE unjournaled (id int8 OPTIONS (key 'true', computed 'sequence'), name text) SERVER own OPTIONS (store 'commits', journal 'false')`, s.Address())

	c.Exec("INSERT INTO unjournaled (name) VALUES ('a')")
	c.Exec("INSERT INTO unjournaled (name) VALUES ('b')")
	require.GreaterOrEqual(t, s.metric(committed), 1, "the second write has told of the first")
	c.Exec("BEGIN; INSERT INTO unjournaled (name) VALUES ('c'); INSERT INTO journaled (name) VALUES ('d'); COMMIT")
	c.Exec("BEGIN; INSERT INTO unjournaled (name) VALUES ('e'); ROLLBACK")
	s.soon("hallway_transactions_aborted_total", 1)
	c.Exec("INSERT INTO journaled (name) VALUES ('f')")

	require.Eventually(t, func() bool {
		return other.Value("SELECT count(*) FROM hallway.write_log WHERE settled_at IS NOT NULL") == "2"
	}, bounded, tick, "the session that wrote says nothing more")
	// Each of these sessions ends with one that was not told of yet, unless the
	// machine was so slow that it was told at once, or not in time.
	require.Eventually(t, func() bool {
		before := s.metric(committed)
		last := db.Connect(t)
		last.Exec("INSERT INTO unjournaled (name) VALUES ('g')")
		require.NoError(t, last.Close(context.WithoutCancel(t.Context())))
		return harness.Eventually(t.Context(), time.Second, func() bool { return s.metric(committed) > before })
	}, bounded, tick)
}
