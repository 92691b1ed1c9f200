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

	out := authorize(t, db, tokens, "crm")
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

// authorize runs hallway auth, as the sidecar's user, and plays the person and the
// browser.
func authorize(t *testing.T, db *harness.Database, tokens, server string) string {
	t.Helper()
	dir, err := env.Mkdir("auth")
	require.NoError(t, err)
	manifest, err := os.ReadFile("../fakes/manifests/authorized.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized.yaml"), manifest, 0o644))
	p, err := env.Spawn("hallway auth", dir, filepath.Join(dir, "out"), nil, syscall.SIGKILL, env.Hallway, "auth", server,
		"--database", db.Cluster.DSN(db.Name, "postgres"), "--tokens", tokens, "--allow-hosts", "127.0.0.1", "--manifests", dir)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	opened := false
	said := ""
	harness.Eventually(t.Context(), 30*time.Second, func() bool {
		ended := p.Exited()
		text, err := os.ReadFile(p.Log)
		require.NoError(t, err)
		said = string(text)
		if i := strings.Index(said, "http://"); i >= 0 && !opened && strings.Contains(said[i:], "\n") {
			opened = true
			to := strings.Fields(said[i:])[0]
			assert.Contains(t, to, "code_challenge_method=S256")
			assert.Contains(t, to, "access_type=offline")
			r, err := http.Get(to)
			require.NoError(t, err)
			_ = r.Body.Close()
			assert.Equal(t, http.StatusOK, r.StatusCode)
		}
		return ended
	})
	return said
}
