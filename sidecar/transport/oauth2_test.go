package transport

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/secret"
)

// strict is an API with an authorization server that forgives nothing: each
// refresh token is good once, and one that comes a second time ends the grant.
type strict struct {
	*api
	mu      sync.Mutex
	n       int
	refresh string
	used    map[string]bool
	revoked bool
	access  string
	until   time.Time
	life    time.Duration
	// Of an authorization: the code's challenge and redirect.
	challenge, redirect string
	renewals            atomic.Int64
	key                 *rsa.PublicKey
	slow                time.Duration
	// refusal answers in place of strict; false: it does not. nil: it never does.
	refusal func(http.ResponseWriter) bool
}

func serveStrict(t *testing.T) *strict {
	s := &strict{used: map[string]bool{}, refresh: "refresh-secret-0", life: time.Hour}
	s.api = serve(t, s.serve)
	return s
}

func (s *strict) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/token":
		s.token(w, r)
	default:
		s.mu.Lock()
		good := r.Header.Get("Authorization") == "Bearer "+s.access && time.Now().Before(s.until) && s.access != ""
		s.mu.Unlock()
		if !good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "ok")
	}
}

func (s *strict) token(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewals.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if s.refusal != nil && s.refusal(w) {
		return
	}
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q,"error_description":"no good: %s"}`, code, r.FormValue("refresh_token"))
	}
	if id, password, ok := r.BasicAuth(); !ok || id != "id" || password != "cl-s3cret" {
		if r.FormValue("client_id") != "public" && r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			refuse("invalid_client")
			return
		}
	}
	switch r.FormValue("grant_type") {
	case "refresh_token":
		given := r.FormValue("refresh_token")
		if s.used[given] {
			s.revoked = true // a stolen token, or a client that lost count
		}
		if s.revoked || given != s.refresh {
			refuse("invalid_grant")
			return
		}
		s.used[given] = true
	case "authorization_code":
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if r.FormValue("code") != "code-1" || base64.RawURLEncoding.EncodeToString(sum[:]) != s.challenge || r.FormValue("redirect_uri") != s.redirect {
			refuse("invalid_grant")
			return
		}
	case "password":
		if r.FormValue("username") != "ada" || r.FormValue("password") != "s3cret-pw" {
			refuse("invalid_grant")
			return
		}
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if why := s.assertion(r.FormValue("assertion")); why != "" {
			refuse("invalid_grant_" + why)
			return
		}
	default:
		refuse("unsupported_grant_type")
		return
	}
	s.n++
	s.refresh, s.access, s.until = fmt.Sprintf("refresh-secret-%d", s.n), fmt.Sprintf("access-secret-%d", s.n), time.Now().Add(s.life)
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.access, "refresh_token": s.refresh, "token_type": "bearer", "expires_in": int(s.life.Seconds())})
}

func (s *strict) assertion(text string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "form"
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(s.key, crypto.SHA256, sum[:], signature) != nil {
		return "signature"
	}
	var claims struct {
		Iss, Sub, Aud string
		Iat, Exp      int64
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(body, &claims)
	if claims.Iss != "id" || claims.Sub != "ada" || claims.Aud != "https://login.example.com" || claims.Exp-claims.Iat > 190 {
		return "claims"
	}
	return ""
}

// revoke makes the access token bad before its time.
func (s *strict) revokeAccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = ""
}

func (s *strict) endpoint() TokenEndpoint {
	return TokenEndpoint{TokenURL: "/token", ClientID: "id", ClientSecret: NewSecret("cl-s3cret")}
}

func (s *strict) refreshing(t *testing.T, tokens connectors.TokenStore) *Client {
	return s.client(t, func(env *connectors.Env, cfg *Config) {
		env.Tokens = tokens
		cfg.Auth = RefreshToken{TokenEndpoint: s.endpoint(), Token: NewSecret("refresh-secret-0")}
	})
}

func get(t *testing.T, c *Client) {
	t.Helper()
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.Equal(t, "ok", readAll(t, r, err))
}

// One credential, used by many queries of three sidecars, one of which starts
// anew each time: one renewal at a time, and none is lost.
func TestRefreshToken_RotatesOnceForAll(t *testing.T) {
	s := serveStrict(t)
	s.slow = 20 * time.Millisecond
	dir := filepath.Join(t.TempDir(), "tokens")
	for round := range 4 {
		if round > 0 {
			s.revokeAccess()
		}
		before := s.renewals.Load()
		var wait sync.WaitGroup
		for range 3 {
			c := s.refreshing(t, secret.NewTokens(dir))
			for range 8 {
				wait.Go(func() { get(t, c) })
			}
		}
		wait.Wait()
		require.Equal(t, before+1, s.renewals.Load(), "round %d", round)
	}
	require.False(t, s.revoked)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, f.Name())
		require.NotContains(t, f.Name(), "secret")
	}
}

// An access token that ends in the midst of a long scan.
func TestRefreshToken_EndsMidway(t *testing.T) {
	s := serveStrict(t)
	c := s.refreshing(t, secret.NewTokens(t.TempDir()))
	for range 5 {
		get(t, c)
		s.revokeAccess()
	}
	require.Equal(t, int64(5), s.renewals.Load())
}

func TestRefreshToken_WithoutAPlaceItLivesInMemory(t *testing.T) {
	s := serveStrict(t)
	c := s.refreshing(t, nil)
	get(t, c)
	s.revokeAccess()
	get(t, c)
	require.Contains(t, s.log.String(), "refresh tokens are not kept")
}

// What is said of a refresh token that is refused, in OAuth's words and in others.
func TestRefreshToken_NotGoodAnyMore(t *testing.T) {
	const gone, refused, other = "the refresh token is not good any more", "the refresh token was refused", "could not get an access token"
	for _, c := range []struct {
		name    string
		status  int
		body    string // empty: as strict refuses it
		class   connectors.Class
		message string
		detail  string
		hint    string // of who has put the token into the user mapping
		again   bool   // who has not is told to authorize again
	}{
		{"OAuth's", 400, "", connectors.Unauthenticated, gone, "answered 400: invalid_grant no good: ", "Put a new one into the user mapping.", true},
		{"HubSpot's", 400, `{"status":"BAD_REFRESH_TOKEN","message":"unknown: refresh-secret-0","correlationId":"x"}`, connectors.Unauthenticated, gone, "answered 400: BAD_REFRESH_TOKEN unknown: ", "Put a new one into the user mapping.", true},
		{"none", 403, `<html>`, connectors.Unauthenticated, refused, "answered 403.", "Put a new one into the user mapping, if the client's id and secret are right.", true},
		{"others", 401, `{"error":{"code":7},"status":"error"}`, connectors.Unauthenticated, refused, "answered 401: error.", "Put a new one into the user mapping, if the client's id and secret are right.", true},
		{"of the client", 400, `{"status":"BAD_CLIENT_ID","message":"unknown client"}`, connectors.Unauthenticated, other, "BAD_CLIENT_ID unknown client", "Check the client's id and secret in the user mapping.", false},
		{"no such page", 404, `{}`, connectors.Unauthenticated, other, "answered 404.", "Check the credential in the user mapping.", false},
		{"not now", 503, `{"status":"BAD_REFRESH_TOKEN"}`, connectors.Unavailable, other, "answered 503: BAD_REFRESH_TOKEN.", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveStrict(t)
			s.revoked = true
			s.refusal = func(w http.ResponseWriter) bool {
				if c.body != "" {
					w.WriteHeader(c.status)
					_, _ = w.Write([]byte(c.body))
				}
				return c.body != ""
			}
			tokens := secret.NewTokens(t.TempDir())
			require.NoError(t, tokens.Exchange(t.Context(), "crm", func([]byte) ([]byte, error) {
				return json.Marshal(kept{TokenURL: s.URL + "/v1/token", ClientID: "id", Refresh: "refresh-secret-0"})
			}))
			for _, first := range []string{"refresh-secret-0", ""} {
				client := s.client(t, func(env *connectors.Env, cfg *Config) {
					env.Tokens = tokens
					cfg.Auth = RefreshToken{TokenEndpoint: s.endpoint(), Token: NewSecret(first), Name: "crm"}
				})
				client.sleep = func(context.Context, time.Duration) error { return nil }
				_, err := client.Do(t.Context(), &Request{Path: "/x"})
				e := failure(t, err)
				require.Equal(t, c.class, e.Class)
				require.Equal(t, c.message, e.Message)
				require.Contains(t, e.Detail, c.detail)
				require.NotContains(t, fmt.Sprintf("%+v %v", e, err)+s.log.String(), "refresh-secret")
				require.NotContains(t, fmt.Sprintf("%+v %v", e, err)+s.log.String(), "cl-s3cret")
				if first != "" || !c.again {
					require.Equal(t, c.hint, e.Hint)
				} else {
					require.Contains(t, e.Hint, "Run \"hallway auth\" with the foreign server's name again")
				}
			}
		})
	}
}

// A place that cannot be written is an error before the only good token is spent.
func TestRefreshToken_PlaceThatCannotBeUsed(t *testing.T) {
	s := serveStrict(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := s.refreshing(t, secret.NewTokens(file)).Do(t.Context(), &Request{Path: "/x"})
	require.ErrorContains(t, err, "its place on the sidecar's disk cannot be used")
	require.Zero(t, s.renewals.Load())
}

func TestPasswordGrantAndJWTBearer(t *testing.T) {
	s := serveStrict(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	s.key = &key.PublicKey
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	jwt := JWTBearer{TokenEndpoint: s.endpoint(), PrivateKey: NewSecret(text), Subject: "ada", Audience: "https://login.example.com"}
	for _, a := range []Auth{PasswordGrant{TokenEndpoint: s.endpoint(), User: "ada", Password: NewSecret("s3cret-pw")}, jwt} {
		c := s.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = a })
		get(t, c)
		s.revokeAccess()
		get(t, c)
	}
	jwt.Subject = "bob"
	_, err = s.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = jwt }).Do(t.Context(), &Request{Path: "/x"})
	require.Contains(t, failure(t, err).Detail, "invalid_grant_claims")
	jwt.PrivateKey = NewSecret("not a key")
	_, err = s.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = jwt }).Do(t.Context(), &Request{Path: "/x"})
	require.Equal(t, "the private key cannot be used", failure(t, err).Message)
	require.NotContains(t, s.log.String(), "s3cret-pw")
}

func TestAuthorize(t *testing.T) {
	s := serveStrict(t)
	tokens := secret.NewTokens(t.TempDir())
	client := func() *Client {
		return s.client(t, func(env *connectors.Env, cfg *Config) {
			env.Tokens = tokens
			cfg.Auth = RefreshToken{TokenEndpoint: TokenEndpoint{TokenURL: "/token", ClientID: "public", Scopes: []string{"a", "b"}}, Name: "ada.crm", AuthorizeURL: "/authorize"}
		})
	}
	_, err := client().Do(t.Context(), &Request{Path: "/x"})
	require.Equal(t, `nobody has authorized "ada.crm" yet`, failure(t, err).Message)

	// The browser: it looks at the URL, and comes back.
	visit := func(answer func(q url.Values) url.Values) func(string) {
		return func(to string) {
			u, err := url.Parse(to)
			require.NoError(t, err)
			q := u.Query()
			s.challenge, s.redirect = q.Get("code_challenge"), q.Get("redirect_uri")
			assert.Equal(t, "S256", q.Get("code_challenge_method"))
			assert.Equal(t, "a b", q.Get("scope"))
			assert.Equal(t, "offline", q.Get("access_type"))
			go func() {
				for _, wrong := range []string{"?state=x&code=code-1", "/elsewhere?code=code-1&state=" + q.Get("state"), ""} {
					base := s.redirect
					r, err := http.Get(base + wrong)
					if assert.NoError(t, err) {
						assert.GreaterOrEqual(t, r.StatusCode, 400)
						_ = r.Body.Close()
					}
				}
				r, err := http.Get(s.redirect + "?" + answer(q).Encode())
				if assert.NoError(t, err) {
					_ = r.Body.Close()
				}
			}()
		}
	}
	how := Authorization{Params: map[string]string{"access_type": "offline"}}
	how.Show = visit(func(q url.Values) url.Values {
		return url.Values{"error": {"access_denied"}, "error_description": {"she said no"}, "state": q["state"]}
	})
	require.ErrorContains(t, client().Authorize(t.Context(), how), "the authorization was refused: access_denied she said no")
	how.Show = visit(func(q url.Values) url.Values { return url.Values{"code": {"code-2"}, "state": q["state"]} })
	require.Equal(t, connectors.Unauthenticated, failure(t, client().Authorize(t.Context(), how)).Class)
	how.Show = visit(func(q url.Values) url.Values { return url.Values{"code": {"code-1"}, "state": q["state"]} })
	require.NoError(t, client().Authorize(t.Context(), how))

	renewals := s.renewals.Load()
	get(t, client())
	require.Equal(t, renewals, s.renewals.Load(), "the token that came with it is used")
	s.revokeAccess()
	get(t, client())

	// Nobody answers; and a redirect must lead to this machine.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	how.Show = func(string) {}
	require.ErrorIs(t, client().Authorize(ctx, how), context.DeadlineExceeded)
	for _, bad := range []string{"https://localhost/x", "http://example.com/x", "http://localhost/?x=1", "nonsense"} {
		how.Redirect = bad
		require.ErrorContains(t, client().Authorize(t.Context(), how), "expected a redirect such as")
	}
	// What was granted to one client is not used by another.
	other := s.client(t, func(env *connectors.Env, cfg *Config) {
		env.Tokens = tokens
		cfg.Auth = RefreshToken{TokenEndpoint: s.endpoint(), Name: "ada.crm"}
	})
	_, err = other.Do(t.Context(), &Request{Path: "/x"})
	require.Contains(t, failure(t, err).Message, "is for another client")
	require.NotContains(t, s.log.String(), "refresh-secret")
}
