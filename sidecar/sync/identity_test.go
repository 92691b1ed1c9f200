package sync

// Databases that are not the ones in which the work began.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// staysPaused starts a sidecar, sees that it asks the API nothing until it is
// told to resume, and what it says.
func (r *room) staysPaused(why string) {
	r.t.Helper()
	r.api.asked()
	r.start("two")
	r.eventually("it pauses", func() bool { return r.status("state") == "paused" })
	assert.Contains(r.t, r.status("reason"), why)
	assert.Contains(r.t, r.status("reason"), "hallway.resume()")
	ctx, cancel := context.WithTimeout(r.t.Context(), harness.Timeout)
	defer cancel()
	require.ErrorIs(r.t, r.trySync(ctx), ErrPaused)
	time.Sleep(1500 * time.Millisecond) // it is due every second
	require.Empty(r.t, r.api.asked(), "the API was asked")
	require.NoError(r.t, r.m.Resume(ctx, r.id, r.at))
	r.api.put("k0000000", "resumed")
	r.sync()
	r.equal()
}

// whole makes a replica and stops the sidecar.
func (r *room) whole() {
	r.start("one")
	r.c.Exec(`SELECT hallway.replicate('things', '1 s')`)
	r.sync()
	r.stop()
}

func TestPausedElsewhere(t *testing.T) {
	for column, why := range map[string]string{"system_identifier": "this cluster is a copy", "database_oid": "this database is a copy",
		"timeline": "this cluster was restored or promoted"} {
		t.Run(column, func(t *testing.T) {
			r := newRoom(t, newFake(100))
			r.whole()
			r.c.Exec(`UPDATE hallway_sync.identity SET %[1]s = %[1]s - 1`, column)
			r.staysPaused(why)
		})
	}
	t.Run("environment", func(t *testing.T) {
		r := newRoom(t, newFake(100))
		r.whole()
		r.cfg.Environment = "test"
		r.staysPaused(`the sidecar's environment is "test"`)
	})
}

func TestPausedInAClone(t *testing.T) {
	r := newRoom(t, newFake(100))
	r.whole()
	require.NoError(t, r.c.Close(t.Context()))
	admin := env.Database(t).Connect(t)
	clone := &harness.Database{Name: r.db.Name + "_clone", Env: env, Cluster: r.db.Cluster}
	r.eventually("the original is free", func() bool {
		_, err := admin.Try(`CREATE DATABASE %s TEMPLATE %s`, clone.Name, r.db.Name)
		return err == nil
	})
	t.Cleanup(func() { admin.On(t).Exec(`DROP DATABASE %s (FORCE)`, clone.Name) })
	r.db, r.at.Database = clone, clone.Name
	r.c = clone.Connect(t)
	_, err := fmt.Sscan(r.c.Value(`SELECT oid FROM pg_database WHERE datname = current_database()`), &r.id.DatabaseOID)
	require.NoError(t, err)
	r.staysPaused("this database is a copy")
}

func TestPausedWhenPromoted(t *testing.T) {
	r := newRoom(t, newFake(100))
	r.whole()
	standby, err := r.db.Cluster.Standby()
	require.NoError(t, err)
	r.db = &harness.Database{Name: r.db.Name, Env: env, Cluster: standby}
	r.at.SocketDirectory, r.at.Port = standby.SocketDir, uint32(standby.Port)
	r.c = r.db.Connect(t)
	r.api.asked()
	// On a standby nothing can be done, and nothing is.
	m := r.start("early")
	time.Sleep(500 * time.Millisecond)
	require.Empty(t, r.api.asked())
	require.NotNil(t, m)
	r.stop()
	require.Equal(t, "t", r.c.Value(`SELECT pg_promote()`))
	r.id.Timeline = 2
	r.staysPaused("this cluster was restored or promoted")
}
