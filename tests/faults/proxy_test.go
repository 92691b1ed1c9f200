package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// proxied makes tables behind a proxy: "t" of generated rows and "w" to write.
func proxied(t *testing.T) (*harness.Proxy, *harness.Database) {
	t.Helper()
	s := env.NewSidecar(t, harness.SidecarSettings{})
	p := env.NewProxy(t, s)
	db := env.Database(t)
	c := db.Connect(t)
	server(c, p.Address())
	c.Exec(`CREATE FOREIGN TABLE t (id int8, name text, amount numeric) SERVER s OPTIONS (rows '3000');
		CREATE FOREIGN TABLE w (id int8, name text) SERVER s OPTIONS (store '%s.w')`, db.Name)
	return p, db
}

// Frames and messages come in pieces of any size.
func TestProxy_BytesOneAtATime(t *testing.T) {
	p, db := proxied(t)
	for _, chunk := range []int{1, 2, 9, 10, 1000} {
		p.Set(chunk, -1, -1)
		c := db.Connect(t)
		require.Equal(t, "3000", c.Value("SELECT count(name) FROM t"), "pieces of %d", chunk)
		require.Equal(t, "5", c.Value("SELECT id FROM t WHERE id = 5"))
		require.Equal(t, "INSERT 0 1", c.Exec("INSERT INTO w VALUES (%d, 'x')", chunk))
	}
	require.Equal(t, "5", db.Connect(t).Value("SELECT count(*) FROM w"))
}

// However far an answer has come when the connection ends: an error of class 08
// or the right answer, at once, and the next statement works.
func TestProxy_CutAnywhereInARead(t *testing.T) {
	p, db := proxied(t)
	const q = "SELECT count(*), sum(length(name)) FROM t WHERE id <= 700"
	p.Set(0, -1, -1)
	c := db.Connect(t)
	want := c.Query(q)
	down, up := p.Bytes()
	t.Logf("%d bytes go up and %d come down", up, down)
	failed, answered := 0, 0
	try := func(name string, cutDown, cutUp int) {
		t.Helper()
		p.Set(0, cutDown, cutUp)
		c := db.Connect(t)
		start := time.Now()
		r, err := c.Try(q)
		require.Less(t, time.Since(start), 30*time.Second, name)
		if err != nil {
			failed++
			// 08001 within the handshake, 08006 behind it; at which byte that ends is
			// the libraries' business.
			require.Contains(t, []string{"08001", "08006"}, harness.SQLState(err), "%s: %s", name, harness.Describe(err))
		} else {
			answered++
			require.Equal(t, want, r.Rows, name)
		}
		p.Set(0, -1, -1)
		require.Equal(t, want, c.Query(q), "%s: the next statement", name)
		require.NoError(t, c.Close(t.Context()))
	}
	for at := 0; at < down; at += 1 + at/25 {
		try(fmt.Sprintf("cut after %d bytes down", at), at, -1)
	}
	for at := 0; at < up; at += 1 + at/25 {
		try(fmt.Sprintf("cut after %d bytes up", at), -1, at)
	}
	t.Logf("%d reads failed and %d were answered", failed, answered)
	require.Greater(t, failed, answered)
}

// A write that may have arrived is not said to have failed, nor is it sent twice.
func TestProxy_CutAnywhereInAWrite(t *testing.T) {
	p, db := proxied(t)
	p.Set(0, -1, -1)
	c := db.Connect(t)
	c.Exec("INSERT INTO w VALUES (0, 'measure')")
	down, up := p.Bytes()
	id := 0
	states := map[string]int{}
	try := func(name string, cutDown, cutUp int) {
		t.Helper()
		id++
		p.Set(0, cutDown, cutUp)
		c := db.Connect(t)
		_, err := c.Try("INSERT INTO w VALUES (%d, 'x')", id)
		state := harness.SQLState(err)
		states[state]++
		p.Set(0, -1, -1)
		// The sidecar may still be at it.
		time.Sleep(5 * time.Millisecond)
		n := c.Value("SELECT count(*) FROM w WHERE id = %d", id)
		switch state {
		case "":
			require.Equal(t, "1", n, "%s: it said that it had written", name)
		case "08001", "08006":
			require.Equal(t, "0", n, "%s: it said that nothing was written: %s", name, harness.Describe(err))
		case "08007":
			require.Contains(t, []string{"0", "1"}, n, "%s: not twice", name)
		default:
			t.Errorf("%s: %s", name, harness.Describe(err))
		}
		require.NoError(t, c.Close(t.Context()))
	}
	for at := 0; at < down; at += 1 + at/20 {
		try(fmt.Sprintf("cut after %d bytes down", at), at, -1)
	}
	for at := 0; at < up; at += 1 + at/20 {
		try(fmt.Sprintf("cut after %d bytes up", at), -1, at)
	}
	t.Logf("%d bytes up, %d down: %v", up, down, states)
	require.NotZero(t, states["08007"])
}
