package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

// authorizationServer starts oauth2-mock-server, which knows the grants, PKCE and
// signed tokens, and is not ours.
func authorizationServer(t *testing.T) string {
	t.Helper()
	program, err := filepath.Abs("../../.dev/vendors/node_modules/.bin/oauth2-mock-server")
	require.NoError(t, err)
	if _, err := os.Stat(program); err != nil && os.Getenv("HALLWAY_REQUIRE_E2E") == "" {
		t.Skip(`oauth2-mock-server is not installed: run "scripts/bootstrap test"`)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	cmd := exec.Command(program, "-a", "127.0.0.1", "-p", fmt.Sprint(port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig follows the thread that forked, which others of the harness's
		// goroutines may end.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		if started <- err; err == nil {
			_ = cmd.Wait()
		}
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	require.True(t, harness.Eventually(t.Context(), 30*time.Second, func() bool {
		r, err := http.Get(at + "/.well-known/openid-configuration")
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	}), "oauth2-mock-server does not answer")
	return at
}

// guarded is an API that takes the tokens of an issuer, each until it is revoked.
type guarded struct {
	*httptest.Server
	mu      sync.Mutex
	issuer  string
	revoked map[string]bool
	seen    map[string]bool
}

func newGuarded(t *testing.T, issuer string) *guarded {
	g := &guarded{issuer: issuer, revoked: map[string]bool{}, seen: map[string]bool{}}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		parts := strings.Split(token, ".")
		var claims struct{ Iss string }
		if len(parts) == 3 {
			body, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(body, &claims)
		}
		if strings.Replace(claims.Iss, "localhost", "127.0.0.1", 1) != g.issuer || g.revoked[token] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		g.seen[token] = true
		fmt.Fprint(w, `{"things":[{"id":"a"},{"id":"b"}]}`)
	}))
	t.Cleanup(g.Close)
	return g
}

// revoke ends all tokens that were used, and says how many they were.
func (g *guarded) revoke() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.seen)
	for token := range g.seen {
		g.revoked[token] = true
	}
	g.seen = map[string]bool{}
	return n
}

// A person authorizes a server, and two sidecars use what was granted.
func TestAuth(t *testing.T) {
	issuer := authorizationServer(t)
	api := newGuarded(t, issuer)
	tokens, err := env.Mkdir("tokens")
	require.NoError(t, err)
	first := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--tokens", tokens}})
	second := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--tokens", tokens}})
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER crm FOREIGN DATA WRAPPER hallway OPTIONS (address '%s', connector 'rest', manifest 'authorized.yaml', base_url '%s', issuer '%s');
		CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (client_id 'hallway', client_secret 'c0nfidential', authorization 'ada.crm');
		CREATE FOREIGN TABLE things (id text) SERVER crm`, first.Address(), api.URL, issuer)
	e := c.Fails("28000", "SELECT * FROM things")
	assert.Equal(t, `[Authorized]: nobody has authorized "ada.crm" yet`, e.Message)
	assert.Contains(t, e.Hint, "hallway auth")

	out := authorize(t, db, tokens, "crm", nil)
	assert.Contains(t, out, `Authorized: kept as "ada.crm"`)
	assert.NotContains(t, out, "c0nfidential")
	assert.Equal(t, "2", c.Value("SELECT count(*) FROM things"))

	c.Exec(`CREATE SERVER other FOREIGN DATA WRAPPER hallway OPTIONS (address '%s', connector 'rest', manifest 'authorized.yaml', base_url '%s', issuer '%s');
		CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (client_id 'hallway', client_secret 'c0nfidential', authorization 'ada.crm');
		CREATE FOREIGN TABLE others (id text) SERVER other OPTIONS (object 'things')`, second.Address(), api.URL, issuer)
	assert.Equal(t, "2", c.Value("SELECT count(*) FROM others"))
	require.Equal(t, 1, api.revoke(), "both sidecars used one access token")
	time.Sleep(1100 * time.Millisecond) // tokens of one second are the same
	var wait sync.WaitGroup
	for i := range 12 {
		table := []string{"things", "others"}[i%2]
		conn := db.Connect(t)
		wait.Go(func() { assert.Equal(t, "2", conn.Value("SELECT count(*) FROM %s", table)) })
	}
	wait.Wait()
	require.Equal(t, 1, api.revoke(), "one of them renewed it, for all")

	// Nobody maps himself to what somebody else has granted.
	c.Exec("CREATE ROLE mallory LOGIN; GRANT USAGE ON FOREIGN SERVER crm TO mallory")
	m := db.ConnectAs(t, "mallory")
	m.Fails("42501", "CREATE USER MAPPING FOR mallory SERVER crm OPTIONS (client_id 'hallway', authorization 'ada.crm')")
	c.Exec("DROP OWNED BY mallory; DROP ROLE mallory")
	for _, log := range []string{first.Log, second.Log} {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "c0nfidential")
	}
}

// The vendors' own pages and token endpoints: a person says yes, the table can be read,
// and is read on when the access token has ended. Nothing but what is kept of it stands
// in the user mapping.
func TestAuth_Vendors(t *testing.T) {
	tokens, err := env.Mkdir("tokens")
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--tokens", tokens}})
	db := env.Database(t)

	hs := hubspot.New(hubspot.Options{})
	t.Cleanup(hs.Close)
	hs.Seed("contacts", 3, func(int) map[string]string { return map[string]string{"firstname": "Ada"} })
	org := salesforce.New(salesforce.Options{})
	t.Cleanup(org.Close)
	_, err = org.Insert("Account", map[string]any{"Name": "Acme"}, map[string]any{"Name": "Globex"}, map[string]any{"Name": "Initech"})
	require.NoError(t, err)
	at := airtable.New(airtable.Options{})
	t.Cleanup(at.Close)
	crm := airtable.AddCRM(at)
	_, err = at.Seed(crm.Contacts, map[string]any{"Name": "Ada"}, map[string]any{"Name": "Bob"}, map[string]any{"Name": "Cy"})
	require.NoError(t, err)
	base := fmt.Sprintf("connector 'airtable', base_url '%s/v0', oauth_url '%s/oauth2/v1', base 'CRM', calls_per_second '10000'", at.URL, at.URL)

	for _, v := range []struct {
		name, server, secret, client, object, key string
		agree                                     func(page string) (string, error)
		// end ends the access tokens; renewed counts what the token endpoint was asked.
		scopes  bool
		end     func()
		renewed func() int
		// withdraw has what was granted be good no more; nil: it stays.
		withdraw func()
	}{
		{name: "hubspot", server: fmt.Sprintf("connector 'hubspot', base_url '%s'", hs.URL), client: hubspot.ClientID, secret: hubspot.ClientSecret,
			object: "contacts", key: "id bigint", agree: hs.Agree, scopes: true, end: hs.Expire, renewed: func() int { return hs.Calls()["token"] }, withdraw: hs.Withdraw},
		{name: "salesforce", server: fmt.Sprintf("connector 'salesforce', instance_url '%s'", org.URL), client: salesforce.ClientID, secret: salesforce.ClientSecret,
			object: "Account", key: "id text OPTIONS (field 'Id')", agree: org.Agree, end: org.EndSessions, renewed: func() int { return org.Calls()["token"] }},
		{name: "airtable", server: base, client: airtable.Client, object: "Contacts", key: "id text", scopes: true,
			agree: func(page string) (string, error) { return at.Agree(page, airtable.Client) }, end: at.ExpireTokens, renewed: func() int { return at.Calls(airtable.OAuth) }},
		{name: "airtable_secretive", server: base, client: airtable.SecretiveClient, secret: airtable.ClientSecret, object: "Contacts", key: "id text", scopes: true,
			agree: func(page string) (string, error) { return at.Agree(page, airtable.SecretiveClient) }, end: at.ExpireTokens, renewed: func() int { return at.Calls(airtable.OAuth) },
			withdraw: func() { at.Refresh(); at.ExpireTokens() }},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := db.Connect(t)
			secret := ""
			if v.secret != "" {
				secret = fmt.Sprintf(", client_secret '%s'", v.secret)
			}
			c.Exec(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (address '%[2]s', %[3]s);
				CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (client_id '%[4]s', authorization '%[1]s'%[5]s);
				CREATE FOREIGN TABLE %[1]s (%[6]s) SERVER %[1]s OPTIONS (object '%[7]s')`,
				v.name, sidecar.Address(), v.server, v.client, secret, v.key, v.object)
			e := c.Fails("28000", "SELECT FROM %s", v.name)
			assert.Contains(t, e.Hint, "hallway auth")

			asked := ""
			before := v.renewed()
			out := authorize(t, db, tokens, v.name, func(page string) (string, error) { asked = page; return v.agree(page) })
			assert.Contains(t, out, fmt.Sprintf("Authorized: kept as %q", v.name))
			if v.secret != "" {
				assert.NotContains(t, out, v.secret)
			}
			assert.Equal(t, v.scopes, strings.Contains(asked, "&scope="), asked)
			assert.Equal(t, "3", c.Value("SELECT count(*) FROM %s", v.name))
			assert.Equal(t, before+1, v.renewed(), "the code was worth a token")
			for i := range 2 { // the second refresh token is not the first one, where they rotate
				v.end()
				assert.Equal(t, "3", c.Value("SELECT count(*) FROM %s", v.name))
				assert.Equal(t, before+2+i, v.renewed())
			}
			if v.withdraw != nil {
				v.withdraw()
				e := c.Fails("28000", "SELECT count(*) FROM %s", v.name)
				assert.Contains(t, e.Message, "the refresh token is not good any more")
				assert.Equal(t, `Run "hallway auth" with the foreign server's name again.`, e.Hint)
			}
		})
	}
	text, err := os.ReadFile(sidecar.Log)
	require.NoError(t, err)
	for _, s := range []string{hubspot.ClientSecret, salesforce.ClientSecret, airtable.ClientSecret} {
		assert.NotContains(t, string(text), s)
	}
}

// authorize runs hallway auth, as the sidecar's user, and plays the person and the
// browser. agree says where a page sends the browser to; nil: the page itself does.
func authorize(t *testing.T, db *harness.Database, tokens, server string, agree func(page string) (string, error)) string {
	t.Helper()
	dir, err := env.Mkdir("auth")
	require.NoError(t, err)
	manifest, err := os.ReadFile("../fakes/manifests/authorized.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized.yaml"), manifest, 0o644))
	p, err := env.Spawn("hallway auth", dir, filepath.Join(dir, "out"), nil, syscall.SIGKILL, env.Hallway, "auth", server,
		"--database", db.Cluster.DSN(db.Name, "postgres"), "--tokens", tokens, "--allow-hosts", "127.0.0.1,app.hubspot.com", "--manifests", dir)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	opened := false
	said := ""
	harness.Eventually(t.Context(), 30*time.Second, func() bool {
		ended := p.Exited()
		text, err := os.ReadFile(p.Log)
		require.NoError(t, err)
		said = string(text)
		if i := strings.Index(said, "http"); i >= 0 && !opened && strings.Contains(said[i:], "\n") {
			opened = true
			to := strings.Fields(said[i:])[0]
			assert.Contains(t, to, "code_challenge_method=S256")
			if agree == nil {
				assert.Contains(t, to, "access_type=offline")
			} else if back, err := agree(to); assert.NoError(t, err) {
				to = back
			}
			r, err := http.Get(to)
			require.NoError(t, err)
			_ = r.Body.Close()
			assert.Equal(t, http.StatusOK, r.StatusCode)
		}
		return ended
	})
	return said
}
