package airtable

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// grants are the tokens of an OAuth integration.
type grants struct {
	access  map[string]bool
	refresh string
	n       int
	// each as in ExpireTokensEach, used how many requests had a token.
	each, used int
}

// Client is the OAuth integration that the server knows; it has no secret.
const Client = "hallway-client"

// Refresh gives a refresh token as somebody has got it who said yes. It is good
// once: who renews gets another one.
func (s *Server) Refresh() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants.refresh = s.id("rtk")
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
	switch {
	case c.r.Method != http.MethodPost || err != nil || !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return bad("invalid_request")
	case form.Get("client_id") != Client:
		return bad("invalid_client")
	case form.Get("grant_type") != "refresh_token":
		return bad("unsupported_grant_type")
	case g.refresh == "" || form.Get("refresh_token") != g.refresh:
		return bad("invalid_grant")
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
