// Who may call: static tokens, and OAuth's that expire and rotate.

package hubspot

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/tests/fakes/kit"
)

// ClientID and ClientSecret of the one app that the token endpoint knows.
const (
	ClientID     = "stand-in-app"
	ClientSecret = "stand-in-secret"
)

// tokens that were given out.
type tokens struct {
	access  map[string]time.Time // until when
	refresh map[string]bool      // false: used, so good no more
	consent kit.Consent
	made    int
	scopes  []string // nil: all
}

func (t *tokens) make(kind string) string {
	t.made++
	return fmt.Sprintf("%s-%06d", kind, t.made)
}

// NewRefreshToken is one that the token endpoint takes.
func (s *Server) NewRefreshToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newRefreshToken()
}

func (s *Server) newRefreshToken() string {
	r := s.tokens.make("refresh")
	if s.tokens.refresh == nil {
		s.tokens.refresh = map[string]bool{}
	}
	s.tokens.refresh[r] = true
	return r
}

// Expire ends all access tokens that the token endpoint has given out.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.tokens.access {
		s.tokens.access[k] = time.Time{}
	}
}

// Withdraw is a person who takes back what all apps were granted.
func (s *Server) Withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens.access)
	clear(s.tokens.refresh)
}

// Grant leaves the callers only these scopes, such as crm.objects.contacts.read;
// none: all.
func (s *Server) Grant(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.scopes = scopes
}

// authenticate takes the header's token.
func (s *Server) authenticate(r *http.Request) (reply, bool) {
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || token == "" {
		return s.refuse(http.StatusUnauthorized, "INVALID_AUTHENTICATION",
			"Authentication credentials not found. This API supports OAuth 2.0 authentication."), false
	}
	if slices.Contains(s.opts.Tokens, token) {
		return reply{}, true
	}
	until, known := s.tokens.access[token]
	switch {
	case !known:
		return s.refuse(http.StatusUnauthorized, "INVALID_AUTHENTICATION",
			"The access token is not valid for this account."), false
	case s.now().After(until):
		f := fail(http.StatusUnauthorized, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 minute(s) ago.")
		f.Context = map[string][]string{"expire time": {until.Format(time.RFC3339)}}
		return s.refuseWith(f), false
	}
	return reply{}, true
}

// allowed says what is missing where a scope is.
func (s *Server) allowed(t *objectType, right string) *failure {
	if s.tokens.scopes == nil {
		return nil
	}
	scope := "crm.objects." + t.name + "." + right
	if t.custom {
		scope = "crm.objects.custom." + right
	}
	if slices.Contains(s.tokens.scopes, scope) {
		return nil
	}
	f := fail(http.StatusForbidden, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.")
	f.Errors = []detail{{Message: "One or more of the following scopes are required.", Context: map[string][]string{"requiredGranularScopes": {scope}}}}
	return f
}

const kindToken = "token"

// serveToken is POST /oauth/v1/token, a form.
func (s *Server) serveToken(r *request) (string, func() reply) {
	if r.Method != http.MethodPost || len(r.path) > 0 {
		return "", nil
	}
	return kindToken, func() reply {
		form, err := url.ParseQuery(string(r.body))
		bad := func(status, message string) reply {
			return reply{status: http.StatusBadRequest, body: map[string]any{"status": status, "message": message, "correlationId": s.trace()}}
		}
		if err != nil {
			return bad("BAD_REQUEST", "the form is not well formed")
		}
		if form.Get("client_id") != ClientID || form.Get("client_secret") != ClientSecret {
			return bad("BAD_CLIENT_ID", "missing or unknown client id or secret")
		}
		refresh := form.Get("refresh_token")
		switch form.Get("grant_type") {
		case "refresh_token":
			if !s.tokens.refresh[refresh] {
				return bad("BAD_REFRESH_TOKEN", "missing or unknown refresh token")
			}
			// The next one is another: who keeps the old one is locked out.
			s.tokens.refresh[refresh] = false
			refresh = s.newRefreshToken()
		case "authorization_code":
			if !s.tokens.consent.Take(ClientID, form) {
				return bad("BAD_AUTH_CODE", "missing or unknown auth code")
			}
			refresh = s.newRefreshToken()
		default:
			return bad("BAD_GRANT_TYPE", "missing or unknown grant type")
		}
		access := s.tokens.make("access")
		if s.tokens.access == nil {
			s.tokens.access = map[string]time.Time{}
		}
		s.tokens.access[access] = s.now().Add(s.opts.TokenLife)
		return ok(map[string]any{"token_type": "bearer", "access_token": access, "refresh_token": refresh,
			"expires_in": int(s.opts.TokenLife / time.Second)})
	}
}

// Agree is a person who says yes on the page that an app has sent them to, which is not
// on this server; it answers where the browser is sent then. The page knows nothing of
// PKCE.
func (s *Server) Agree(page string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := url.Parse(page)
	if err != nil {
		return "", fmt.Errorf("opening the page: %w", err)
	}
	q := u.Query()
	q.Del("code_challenge")
	u.RawQuery = q.Encode()
	return s.tokens.consent.Agree(u.String(), "https://app.hubspot.com/oauth/authorize", ClientID, "scope")
}
