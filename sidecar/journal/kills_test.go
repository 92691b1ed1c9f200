package journal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Sidecars are killed again and again while sessions write and roll back. In the
// end nothing is open, and the API has the rows that the journal says it has.
func TestRandom_Kills(t *testing.T) {
	for _, undo := range []bool{false, true} {
		t.Run(map[bool]string{false: "keep", true: "compensate"}[undo], func(t *testing.T) {
			w := newWorld(t)
			admin := w.db.Connect(t)
			if undo {
				admin.Exec("ALTER FOREIGN TABLE items OPTIONS (on_rollback 'compensate')")
			}
			admin.Exec("ALTER FOREIGN TABLE items OPTIONS (latency '3ms')")
			var stop atomic.Bool
			var wait sync.WaitGroup
			var tried, failed atomic.Int64
			for i := range 4 {
				c := w.db.Connect(t)
				r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))
				wait.Go(func() {
					for n := 0; !stop.Load(); n++ {
						_, err := c.Try("BEGIN; INSERT INTO items (email) VALUES ('%d.%d'); INSERT INTO items (email) VALUES ('%d.%d.b')", i, n, i, n)
						tried.Add(1)
						if err != nil {
							failed.Add(1)
							time.Sleep(20 * time.Millisecond)
						}
						_, _ = c.Try("%s", []string{"COMMIT", "ROLLBACK"}[r.IntN(2)])
					}
				})
			}
			for range 8 {
				time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
				w.sc.kill()
				w.start()
			}
			time.Sleep(200 * time.Millisecond)
			stop.Store(true)
			wait.Wait()
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				_, _ = admin.Try("SELECT 1 FROM items LIMIT 1")
				return admin.Value("SELECT count(*) FROM hallway.write_log WHERE settled_at IS NULL") == "0"
			}), fmt.Sprint(admin.Query("SELECT id, state, instance, message, next_attempt, todo FROM hallway.write_log WHERE settled_at IS NULL")))
			for _, sql := range []string{
				"SELECT id FROM items WHERE NOT EXISTS (SELECT FROM hallway.write_log w WHERE w.key[1] = items.id::text AND w.state IN ('applied', 'orphaned'))",
				"SELECT key FROM hallway.write_log w WHERE state IN ('applied', 'orphaned') AND NOT EXISTS (SELECT FROM items WHERE id::text = w.key[1])",
				// And PostgreSQL agrees with what the journal says of the transactions.
				"SELECT id, state FROM hallway.write_log WHERE state = 'applied' AND pg_xact_status(subxid) <> 'committed' OR state IN ('orphaned', 'compensated') AND pg_xact_status(subxid) <> 'aborted'",
			} {
				require.Empty(t, admin.Query("%s", sql), sql)
			}
			if undo {
				require.Equal(t, "0", admin.Value("SELECT count(*) FROM hallway.write_log WHERE state = 'orphaned'"))
			}
			t.Logf("%d transactions, %d failed; entries: %v", tried.Load(), failed.Load(), admin.Query("SELECT state, count(*) FROM hallway.write_log GROUP BY 1 ORDER BY 1"))
		})
	}
}
