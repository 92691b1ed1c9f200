package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/analyst"
	"github.com/hallwaydb/hallway/tests/harness"
)

// What analysts ask takes no more calls than by hand, but for the queries of which
// it is known. The benchmark says what that is in sum.
func TestCalls(t *testing.T) {
	for name, start := range map[string]func() (*analyst.Room, error){
		"hubspot": analyst.HubSpot, "salesforce": analyst.Salesforce, "airtable": analyst.Airtable, "stripe": analyst.Stripe} {
		t.Run(name, func(t *testing.T) {
			room, err := start()
			require.NoError(t, err)
			defer room.Close()
			c := env.Database(t).Connect(t)
			counted, err := room.Run(t.Context(), c.PgConn)
			require.NoError(t, err)
			for _, q := range counted {
				t.Logf("%d calls, %d by hand (%s): %s", q.Calls, q.Least, q.Why, q.SQL)
				if q.Calls > q.Bound() {
					t.Errorf("%d calls instead of %d: %s\n%s", q.Calls, q.Bound(), q.SQL, plan(c, q.SQL))
				}
			}
			made, least := analyst.Sum(counted)
			t.Logf("calls_vs_minimum %.3f (%d, %d)", float64(made)/float64(least), made, least)
		})
	}
}

func plan(c *harness.Conn, sql string) (text string) {
	for _, r := range c.Query("EXPLAIN %s", sql) {
		text += r[0] + "\n"
	}
	return text
}
