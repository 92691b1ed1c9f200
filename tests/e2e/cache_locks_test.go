// Cached scans of statements that wait for a row lock.

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Who has waited for a row lock checks the row again, as the statement saw all
// other tables: the cache, too, whatever was merged into it meanwhile.
func TestCache_EvalPlanQual(t *testing.T) {
	db, c := cachedStore(t, "")
	c.Exec("CREATE TABLE l AS SELECT g AS id, g AS amount FROM generate_series(1, 100) g; ALTER TABLE l ADD PRIMARY KEY (id); ANALYZE l")
	other := db.Connect(t)
	for i, q := range []string{
		"UPDATE l SET amount = l.amount + 1 FROM t WHERE t.id = l.id AND l.id = %[1]d AND t.grp < 10",
		"SELECT l.id FROM l JOIN t ON t.id = l.id WHERE l.id = %[1]d AND t.name = 'n%[1]d' FOR UPDATE OF l",
		"UPDATE l SET amount = amount + 1 WHERE id = %[1]d AND id IN (SELECT id FROM t)",
		"UPDATE l SET amount = amount + 1 WHERE id = %[1]d AND EXISTS (SELECT FROM t WHERE t.id = l.id OFFSET 0)",
		"UPDATE l SET amount = amount + (SELECT count(*) FROM t WHERE t.id >= l.id OFFSET 0) * 0 + (SELECT t.id / t.id FROM t WHERE t.id = l.id) WHERE id = %[1]d",
	} {
		id := 20 + i
		q = fmt.Sprintf(q, id)
		require.True(t, cached(t, other, "SELECT * FROM t"), q)
		c.Exec("BEGIN; UPDATE l SET amount = amount + 1000 WHERE id = %d", id)
		done := make(chan error, 1)
		go func() {
			r, err := harness.Simple(context.Background(), other.PgConn, q)
			if err == nil && r.Tag != "UPDATE 1" && r.Tag != "SELECT 1" {
				err = fmt.Errorf("%s", r.Tag)
			}
			done <- err
		}()
		require.Eventually(t, func() bool {
			return c.Value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
		}, 30*time.Second, 10*time.Millisecond, q)
		c.Exec("DELETE FROM live WHERE id = %d", id)
		require.Equal(t, fmt.Sprint(99-i), c.Value("SELECT hallway.refresh('t')"))
		require.Equal(t, "0", c.Value("SELECT count(*) FROM t WHERE id = %d", id))
		c.Exec("COMMIT")
		require.NoError(t, <-done, q)
		want := fmt.Sprint(id + 1001)
		if i == 1 {
			want = fmt.Sprint(id + 1000)
		}
		require.Equal(t, want, c.Value("SELECT amount FROM l WHERE id = %d", id), q)
	}
}
