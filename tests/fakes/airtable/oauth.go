package airtable

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// grants are the tokens of an OAuth integration.
type grants struct {
	access  map[string]bool
	refresh string
	// owner of refresh: a client's id.
	owner   string
	consent kit.Consent
	n       int
	// each as in ExpireTokensEach, used how many requests had a token.
	each, used int
}

// The OAuth integrations that the server knows: Client has no secret, SecretiveClient
// has ClientSecret.
const (
	Client          = "hallway-client"
	SecretiveClient = "hallway-secretive"
	ClientSecret    = "5ec4e7ab1e0c0ffee5ec4e7ab1e0c0ffee"
)

// Agree is a person who says yes on the page that an integration has sent them to; it
// answers where the browser is sent then. The page wants PKCE, of whoever asks.
func (s *Server) Agree(page, client string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants.consent.Agree(page, s.URL+"/oauth2/v1/authorize", client, "scope", "code_challenge")
}

// Refresh gives a refresh token as somebody has got it who said yes. It is good
// once: who renews gets another one.
func (s *Server) Refresh() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants.refresh, s.grants.owner = s.id("rtk"), Client
	return s.grants.refresh
}

// ExpireTokensEach has each n-th request with an access token find it at its end; 0:
// none.
func (s *Server) ExpireTokensEach(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants.each, s.grants.used = n, 0
}

// authorized tells whether a token is good. The caller holds mu.
func (s *Server) authorized(token string) bool {
	if token == s.Token {
		return true
	}
	g := &s.grants
	if g.each > 0 && g.access[token] {
		if g.used++; g.used%g.each == 0 {
			clear(g.access)
		}
	}
	return g.access[token]
}

// ExpireTokens ends all access tokens; the personal one stays.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.grants.access)
}

// token is POST /oauth2/v1/token.
func (c *call) token() (any, *refusal) {
	form, err := url.ParseQuery(string(c.body))
	g := &c.s.grants
	bad := func(code string) (any, *refusal) { return nil, &refusal{status: 400, kind: code, bare: true} }
	if c.r.Method != http.MethodPost || err != nil || !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return bad("invalid_request")
	}
	// Who has a secret says so by the header, and only there.
	client, secret, basic := c.r.BasicAuth()
	switch {
	case !basic && form.Get("client_id") == Client && form.Get("client_secret") == "":
		client = Client
	case !basic || client != SecretiveClient || secret != ClientSecret:
		return bad("invalid_client")
	}
	switch form.Get("grant_type") {
	case "refresh_token":
		if g.refresh == "" || g.owner != client || form.Get("refresh_token") != g.refresh {
			return bad("invalid_grant")
		}
	case "authorization_code":
		if !g.consent.Take(client, form) {
			return bad("invalid_grant")
		}
		g.owner = client
	default:
		return bad("unsupported_grant_type")
	}
	g.n++
	access := fmt.Sprintf("oaa%04d.secret", g.n)
	if g.access == nil {
		g.access = map[string]bool{}
	}
	g.access[access], g.refresh = true, c.s.id("rtk")
	return map[string]any{"access_token": access, "refresh_token": g.refresh, "token_type": "Bearer", "scope": "data.records:read data.records:write schema.bases:read",
		"expires_in": 3600, "refresh_expires_in": 5184000}, nil
}
