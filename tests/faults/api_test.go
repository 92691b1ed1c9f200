package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

func startFake(t *testing.T) *fakes.Server {
	t.Helper()
	s, err := fakes.Start()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// contacts makes table "contacts" of the fake API in one of its modes, and
// "few", which has two of its columns.
func contacts(c *harness.Conn, manifest, url string, mode fakes.Mode, token string) {
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest '%s.yaml', base_url '%s/%s');
		CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (token '%s');
		CREATE FOREIGN TABLE few (id text, email text, name text) SERVER api OPTIONS (object 'contacts')`, manifest, url, mode, token)
	if manifest == "fake" {
		c.Exec(`CREATE FOREIGN TABLE contacts (id text, email text, name text, stage text, amount float8, active bool, created timestamptz)
			SERVER api OPTIONS (object 'contacts')`)
	}
}

// Each way in which an API can fail a read has one SQLSTATE, says which API it
// was, and leaves the session sound.
func TestAPI_ReadFaults(t *testing.T) {
	for _, tc := range []struct {
		name     string
		mode     fakes.Mode
		manifest string
		state    string
		// message and hint, regular expressions.
		message, hint string
	}{
		{name: "401", mode: "401", state: "28000", message: "the token is not known"},
		{name: "403", mode: "403", state: "42501", message: "missing scope: crm.objects.contacts.read"},
		{name: "404", mode: "404", state: "HV00R", message: "there is no object of that name"},
		{name: "409", mode: "409", state: "55000", message: "changed by someone else"},
		{name: "422", mode: "422", state: "HV000", message: "the value is not valid"},
		{name: "423", mode: "423", state: "55P03", message: "the record is locked"},
		{name: "429 until tomorrow", mode: fakes.RateLimited, state: "53400", hint: `.`},
		{name: "500", mode: "500", state: "08006", message: "something went wrong"},
		{name: "500 at the second page", mode: fakes.ErrorSecond, state: "08006", message: "something went wrong"},
		{name: "timeout", mode: fakes.Hang, manifest: "impatient", state: "08006"},
		{name: "closed in the middle of the body", mode: fakes.Cut, state: "08006"},
		{name: "closed in the middle of the second page", mode: fakes.CutSecond, state: "08006"},
		{name: "HTML", mode: fakes.HTML, state: "HV000", message: "(?i)html|json"},
		{name: "broken JSON", mode: fakes.BrokenJSON, state: "HV000", message: "(?i)json"},
		{name: "wrong types", mode: fakes.WrongTypes, state: "HV004", message: "amount"},
		{name: "page of 50 MB", mode: fakes.Huge, state: "54000"},
		{name: "same cursor for ever", mode: fakes.Loop, state: "HV000", message: "(?i)cursor"},
		{name: "redirect to another host", mode: fakes.Redirect, state: "HV000", message: "(?i)redirect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			api := startFake(t)
			c := env.Database(t).Connect(t)
			manifest := tc.manifest
			if manifest == "" {
				manifest = "fake"
			}
			contacts(c, manifest, api.URL, tc.mode, api.Secret)
			c.Exec("SET statement_timeout = '50s'")
			from := "contacts"
			if manifest != "fake" {
				from = "few"
			}
			start := time.Now()
			e := c.Fails(tc.state, "SELECT * FROM %s", from)
			text := harness.Describe(e)
			t.Logf("after %s: %s", time.Since(start).Round(time.Millisecond), text)
			require.Contains(t, strings.ToLower(e.Message), "["+map[bool]string{true: "fake", false: manifest}[manifest == "fake"]+"]", "the API is named")
			require.Regexp(t, tc.message, text)
			require.Regexp(t, tc.hint, e.Hint)
			require.NotContains(t, text, api.Secret, "the credential is not shown")
			require.Zero(t, api.Strayed(), "no other host was called")
			require.Less(t, time.Since(start), 30*time.Second)
			alive(t, c)
			require.Eventually(t, func() bool { return api.InFlight() == 0 }, 30*time.Second, 5*time.Millisecond)
		})
	}
}

func TestAPI_CursorsInACircleEnd(t *testing.T) {
	api := startFake(t)
	c := env.Database(t).Connect(t)
	contacts(c, "fake", api.URL, fakes.Cycle, api.Secret)
	c.Exec("SET statement_timeout = '20s'")
	e := c.Fails("HV000", "SELECT count(*) FROM contacts")
	require.Regexp(t, "(?i)cursor", harness.Describe(e))
	require.Less(t, len(api.Requests()), 100)
	alive(t, c)
}

func TestAPI_RefusedConnection(t *testing.T) {
	port, err := harness.FreePort()
	require.NoError(t, err)
	c := env.Database(t).Connect(t)
	contacts(c, "fake", fmt.Sprintf("http://127.0.0.1:%d", port), "ok", "x")
	e := c.Fails("08006", "SELECT * FROM contacts")
	require.Contains(t, e.Message, "[Fake]")
	alive(t, c)
	e = c.Fails("08006", "INSERT INTO contacts (email) VALUES ('a@b')")
	require.Contains(t, e.Message, "[Fake]", "nothing was sent, so nothing can have happened: 08006, not 08007")
}

// What passes by itself is retried, for reads.
func TestAPI_PassingFaultsAreRetried(t *testing.T) {
	for _, mode := range []fakes.Mode{fakes.RateLimitedOnce, fakes.FlakyOnce} {
		t.Run(string(mode), func(t *testing.T) {
			api := startFake(t)
			c := env.Database(t).Connect(t)
			contacts(c, "fake", api.URL, mode, api.Secret)
			start := time.Now()
			require.Equal(t, "250", c.Value("SELECT count(*) FROM contacts"))
			took := time.Since(start)
			t.Logf("%d requests in %s", len(api.Requests()), took.Round(time.Millisecond))
			require.Equal(t, 6, len(api.Requests()))
			if mode == fakes.RateLimitedOnce {
				require.GreaterOrEqual(t, took, 2900*time.Millisecond, "Retry-After is obeyed for each of three pages")
			}
		})
	}
}

// A write is sent once. Where no answer came, nobody knows, and it says so.
func TestAPI_WriteFaults(t *testing.T) {
	for _, tc := range []struct {
		mode     fakes.Mode
		manifest string
		state    string
		requests int
	}{
		{"401", "fake", "28000", 1},
		{"403", "fake", "42501", 1},
		{"409", "fake", "40001", 1},
		{"422", "fake", "23514", 1},
		{"423", "fake", "55P03", 1},
		{fakes.RateLimited, "fake", "53400", 1},
		{"500", "fake", "08007", 1},
		{fakes.Hang, "impatient", "08007", 1},
		{fakes.HTML, "fake", "08007", 1},
		{fakes.Redirect, "fake", "HV000", 1},
	} {
		t.Run(string(tc.mode), func(t *testing.T) {
			t.Parallel()
			api := startFake(t)
			c := env.Database(t).Connect(t)
			contacts(c, tc.manifest, api.URL, tc.mode, api.Secret)
			c.Exec("CREATE TABLE local (i int)")
			c.Exec("BEGIN; INSERT INTO local VALUES (1)")
			_, err := c.Try("INSERT INTO few (email) VALUES ('a@b.example')")
			t.Log(harness.Describe(err))
			require.Equal(t, tc.state, harness.SQLState(err), "%s", harness.Describe(err))
			require.Len(t, api.Requests(), tc.requests, "a write is sent once")
			require.Zero(t, api.Strayed())
			require.NotContains(t, harness.Describe(err), api.Secret)
			c.Exec("ROLLBACK")
			require.Equal(t, "0", c.Value("SELECT count(*) FROM local"))
		})
	}
}

// A base URL leads only where the sidecar's settings let it.
func TestAPI_HostsThatAreNotAllowed(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{AllowHosts: []string{"api.example.com"}})
	api := startFake(t)
	for _, url := range []string{api.URL, "http://169.254.169.254", "http://[fe80::1]", "http://0.0.0.0:1", "http://api.example.com.evil.test"} {
		c := env.Database(t).Connect(t)
		c.Exec("SET hallway.address = '%s'", s.Address())
		contacts(c, "fake", url, "ok", "x")
		_, err := c.Try("SELECT * FROM contacts")
		require.Equal(t, "HV024", harness.SQLState(err), "%s: %s", url, harness.Describe(err))
		require.Regexp(t, "(?i)allow", harness.Describe(err))
	}
	require.Empty(t, api.Requests())
}
