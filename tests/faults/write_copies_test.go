// Copies of a database that has something open: whatever they were made of, what
// the original wrote is not theirs to settle, deliver or undo.

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

func TestWrites_CopiesArePaused(t *testing.T) {
	api := newLedger(t)
	cluster, err := env.StartCluster("C", env.Cluster.Library)
	require.NoError(t, err)
	db := env.DatabaseIn(t, cluster)
	manifests, err := env.Mkdir("mf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(manifests, "ledger.yaml"), []byte(ledgerManifest), 0o644))
	start := func(d *harness.Database, environment string) *harness.Sidecar {
		s := env.NewSidecar(t, harness.SidecarSettings{Manifests: manifests, Args: []string{"--environment", environment,
			"--databases", fmt.Sprintf("host=%s port=%d dbname=%s", d.Cluster.SocketDir, d.Cluster.Port, d.Name)}})
		d.Connect(t).Exec("ALTER DATABASE %s SET hallway.address = '%s'", d.Name, s.Address())
		return s
	}
	sidecar := start(db, "production")
	c := db.Connect(t)
	for name, policy := range map[string]string{"undo": "compensate", "lost": "keep", "later": "keep", "fresh": "keep"} {
		api.add(name, true)
		c.Exec(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'ledger.yaml', base_url 'http://%[2]s/%[1]s', on_rollback '%[3]s', cache 'off');
			CREATE USER MAPPING FOR PUBLIC SERVER %[1]s;
			CREATE FOREIGN TABLE %[1]s (id text, email text, name text) SERVER %[1]s OPTIONS (object 'unique')`, name, api.addr, policy)
	}

	// One write to be undone, one of which nothing is known, one to be delivered;
	// then the sidecar dies.
	undo, lost, later := db.Connect(t), db.Connect(t), db.Connect(t)
	undo.Exec("BEGIN")
	undo.Exec("UPDATE undo SET name = 'changed' WHERE id = 'a'")
	later.Exec("SET hallway.write_at = 'after_commit'; BEGIN")
	later.Exec("INSERT INTO later (email, name) VALUES ('new1', 'new')")
	gate := &ledgerGate{nth: 1, applied: true, open: make(chan struct{})}
	api.cells["lost"].gate = gate
	failed := make(chan error, 1)
	go func() {
		_, err := harness.Simple(context.Background(), lost.PgConn, "INSERT INTO lost (email, name) VALUES ('new1', 'new')")
		failed <- err
	}()
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		api.mu.Lock()
		defer api.mu.Unlock()
		return gate.reached
	}))
	sidecar.Kill()
	close(gate.open)
	require.Error(t, <-failed)
	_, err = undo.Try("ROLLBACK")
	require.NoError(t, err)
	later.Exec("COMMIT")
	require.NoError(t, later.Close(t.Context()))
	require.NoError(t, undo.Close(t.Context()))
	require.NoError(t, lost.Close(t.Context()))
	const journal = "SELECT table_name, state, attempts, next_attempt, settled_at, instance, timeline FROM hallway.write_log WHERE table_name <> 'public.fresh' ORDER BY id"
	open := c.Query(journal)
	require.Len(t, open, 3)
	require.NoError(t, c.Close(t.Context()))
	did := func() (out []string) {
		api.mu.Lock()
		defer api.mu.Unlock()
		for _, name := range []string{"undo", "lost", "later"} {
			for _, d := range api.cells[name].did {
				out = append(out, fmt.Sprint(name, " ", d))
			}
		}
		return out
	}
	before := did()
	require.Len(t, before, 2)

	restored, err := cluster.Restore()
	require.NoError(t, err)
	clone, err := cluster.Clone()
	require.NoError(t, err)
	admin := env.DatabaseIn(t, cluster).Connect(t)
	admin.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '%s'", db.Name)
	admin.Exec("CREATE DATABASE %s_copy TEMPLATE %[1]s", db.Name)
	copies := []struct {
		what, environment string
		db                *harness.Database
	}{
		{"restored from a base backup", "production", &harness.Database{Name: db.Name, Env: env, Cluster: restored}},
		{"a clone", "test", &harness.Database{Name: db.Name, Env: env, Cluster: clone}},
		{"made of it as a template", "production", &harness.Database{Name: db.Name + "_copy", Env: env, Cluster: cluster}},
	}
	for _, x := range copies {
		start(x.db, x.environment)
	}
	// Longer than a sidecar takes for it where it may: see TestWrites_Matrix.
	deadline := time.Now().Add(14 * time.Second)
	for i, x := range copies {
		// What people write there goes on.
		conn := x.db.Connect(t)
		conn.Exec("INSERT INTO fresh (email, name) VALUES ('copy%d', 'new')", i)
		require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
			return conn.Value("SELECT string_agg(state, ',') FROM hallway.write_log WHERE table_name = 'public.fresh' AND settled_at IS NOT NULL") == "applied"
		}), x.what)
	}
	time.Sleep(time.Until(deadline))
	for _, x := range copies {
		require.Equal(t, open, x.db.Connect(t).Query(journal), x.what)
	}
	require.Equal(t, before, did(), "a copy has called the API")

	// The one that takes the original's place is told so.
	conn := copies[0].db.Connect(t)
	conn.Exec("SELECT hallway.resume()")
	var states []harness.Row
	require.True(t, harness.Eventually(t.Context(), 40*time.Second, func() bool {
		states = conn.Query("SELECT table_name, state FROM hallway.write_log WHERE table_name <> 'public.fresh' ORDER BY 1")
		return fmt.Sprint(states) == "[(public.later | applied) (public.lost | orphaned) (public.undo | compensated)]"
	}), "%v", states)
	require.Equal(t, []string{"undo {PATCH a a@old changed}", "undo {PATCH a a@old old}", "lost {POST n1 new1 new}", "later {POST n1 new1 new}"}, did())
}
