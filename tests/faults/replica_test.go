// Killing whoever takes part in keeping a replica, at any moment.

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Rows change all the time while sidecar, PostgreSQL and the API are killed in
// full copies, increments and merges. When the changes stop, the replica is what
// the API has, without anybody's help.
func TestReplica_KilledAtAnyMoment(t *testing.T) {
	const rounds, killsARound = 6, 3
	seed := uint64(time.Now().UnixNano())
	if fixed, err := strconv.ParseUint(os.Getenv("HALLWAY_SEED"), 10, 64); err == nil {
		seed = fixed
	}
	t.Logf("seed %d (HALLWAY_SEED)", seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	cluster, err := env.StartCluster("C", env.Cluster.Library, "synchronous_commit = on")
	require.NoError(t, err)
	pb, err := env.StartPocketBase(1500)
	require.NoError(t, err)
	db := env.DatabaseIn(t, cluster)
	// The sidecar knows the database by its settings: no session wakes it up.
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Cache: true,
		Args: []string{"--databases", fmt.Sprintf("host=%s port=%d dbname=%s", cluster.SocketDir, cluster.Port, db.Name)}})
	c := db.Connect(t)
	for _, s := range []struct{ name, cache string }{{"crm", "read_through"}, {"live", "off"}} {
		c.Exec(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%[2]s', manifest 'pocketbase.yaml',
			base_url '%[3]s', auth_collection '_superusers', cache '%[6]s', page_size '50');
			CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS ("user" '%[4]s', password '%[5]s');
			CREATE FOREIGN TABLE %[1]s (id text, email text, last_name text, score float8, updated timestamptz) SERVER %[1]s OPTIONS (object 'contacts')`,
			s.name, sidecar.Address(), pb.URL, pb.User, pb.Password, s.cache)
	}
	c.Exec(`SELECT hallway.replicate('crm', '1 s')`)

	w := &changer{pb: pb}
	for round := range rounds {
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { w.run(ctx, rand.New(rand.NewPCG(seed, uint64(round+2)))) })
		for range killsARound {
			if rng.IntN(2) == 0 {
				// From the beginning: kills are to fall into full copies too.
				_ = exec(db, `UPDATE hallway.cache_tables SET as_of = NULL WHERE replica; UPDATE hallway.replicas SET next_run = now(), copy_shape = NULL`)
			}
			time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond)
			switch rng.IntN(3) {
			case 0:
				sidecar.Kill()
				require.NoError(t, sidecar.Start())
			case 1:
				require.NoError(t, cluster.Crash())
				time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
				require.NoError(t, cluster.Start())
			case 2:
				pb.Kill()
				time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
				require.NoError(t, pb.Restart())
			}
		}
		stop()
		wait.Wait()
		c = db.Connect(t)
		var different []harness.Row
		require.True(t, harness.Eventually(t.Context(), 2*time.Minute, func() bool {
			time.Sleep(100 * time.Millisecond)
			different = replicaDiffers(c)
			return len(different) == 0
		}), "round %d: %d rows differ, such as %v; %v", round, len(different), different[:min(len(different), 5)],
			c.Query(`SELECT state, reason, error, rows, as_of, next_run, now() FROM hallway.sync_status`))
	}
	require.Greater(t, w.done, 50, "too few changes for the test to mean anything")
	require.Equal(t, "0", c.Value(`SELECT count(*) FROM hallway_sync.river_job WHERE state IN ('discarded', 'cancelled')`))
}

// replicaDiffers compares the cache table itself with what the API has now; a
// replica that is not whole differs.
func replicaDiffers(c *harness.Conn) []harness.Row {
	whole, err := c.Try(`SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = 'crm'::regclass AND replica AND as_of IS NOT NULL`)
	if err != nil || len(whole.Rows) != 1 {
		return []harness.Row{{"not whole", fmt.Sprint(err)}}
	}
	r, err := c.Try(`DROP TABLE IF EXISTS pg_temp.api; CREATE TEMP TABLE api AS SELECT * FROM live;
		SELECT 'replica', id, last_name, updated FROM (SELECT * FROM %[1]s EXCEPT SELECT * FROM api) a
		UNION ALL SELECT 'api', id, last_name, updated FROM (SELECT * FROM api EXCEPT SELECT * FROM %[1]s) b`, whole.Rows[0][0])
	if err != nil {
		return []harness.Row{{"comparing failed", harness.Describe(err)}}
	}
	return r.Rows
}

func exec(db *harness.Database, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := db.Open(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql).ReadAll()
	return err
}

// changer inserts, updates and deletes contacts in the API itself.
type changer struct {
	pb   *harness.PocketBase
	made []string
	done int
}

func (w *changer) run(ctx context.Context, rng *rand.Rand) {
	var list struct{ Items []struct{ ID string } }
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		var err error
		switch rng.IntN(4) {
		case 0:
			var out struct{ ID string }
			email := fmt.Sprintf("c%d-%d@example.com", w.done, rng.Int64())
			err = w.pb.Call("POST", "/api/collections/contacts/records", map[string]any{"email": email, "last_name": "Made", "status": "lead"}, &out)
			if err == nil {
				w.made = append(w.made, out.ID)
			}
		case 1:
			if len(w.made) > 5 {
				id := w.made[0]
				w.made = w.made[1:]
				err = w.pb.Call("DELETE", "/api/collections/contacts/records/"+id, nil, nil)
			}
		default:
			if len(list.Items) == 0 {
				err = w.pb.Call("GET", "/api/collections/contacts/records?perPage=500&fields=id&sort=-email", nil, &list)
			}
			if len(list.Items) > 0 {
				id := list.Items[rng.IntN(len(list.Items))].ID
				err = w.pb.Call("PATCH", "/api/collections/contacts/records/"+id, map[string]any{"last_name": fmt.Sprint("Changed ", w.done)}, nil)
				if err != nil {
					list.Items = nil // some may be gone
				}
			}
		}
		if err == nil {
			w.done++
		}
	}
}
