package salesforce

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What logs in.
const (
	ClientID     = "3MVG9hallway.consumer"
	ClientSecret = "consumer-secret"
	Username     = "ada@example.com"
	Password     = "correct horseSECURITYTOKEN"
	RefreshToken = "5Aep861refresh"
	OrgID        = "00DHw0000000001MAA"
)

type session struct{ calls int }

// oauthError is the token endpoint's own error shape.
func oauthError(w http.ResponseWriter, code, description string) {
	writeJSON(w, 400, map[string]string{"error": code, "error_description": description})
}

// token serves the flows of a connected app. Its answer has no expires_in: a
// session lives until it does not.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["token"]++
	if err := r.ParseForm(); err != nil {
		oauthError(w, "invalid_request", err.Error())
		return
	}
	form := r.PostForm
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	grant := form.Get("grant_type")
	if grant != jwtGrant {
		switch {
		case id != ClientID:
			oauthError(w, "invalid_client_id", "client identifier invalid")
			return
		case secret != ClientSecret:
			oauthError(w, "invalid_client", "invalid client credentials")
			return
		}
	}
	refresh := ""
	switch grant {
	case "password":
		if form.Get("username") != Username || form.Get("password") != Password {
			oauthError(w, "invalid_grant", "authentication failure")
			return
		}
	case "refresh_token":
		if form.Get("refresh_token") != RefreshToken {
			oauthError(w, "invalid_grant", "expired access/refresh token")
			return
		}
	case "authorization_code":
		if !s.consent.Take(id, form) {
			oauthError(w, "invalid_grant", "invalid authorization code")
			return
		}
		refresh = RefreshToken
	case "client_credentials":
	case jwtGrant:
		if err := s.assertion(form.Get("assertion")); err != nil {
			oauthError(w, "invalid_grant", err.Error())
			return
		}
	default:
		oauthError(w, "unsupported_grant_type", "grant type not supported")
		return
	}
	s.sessionNr++
	access := fmt.Sprintf("%s!AQ%d.%x", OrgID[:15], s.sessionNr, sha256.Sum256([]byte(fmt.Sprint(s.URL, s.sessionNr))))
	s.sessions[access] = &session{}
	issued := fmt.Sprint(s.clock().UnixMilli())
	who := s.URL + "/id/" + OrgID + "/" + UserID
	mac := hmac.New(sha256.New, []byte(ClientSecret))
	mac.Write([]byte(who + issued))
	answer := map[string]string{"access_token": access, "instance_url": s.URL, "id": who, "token_type": "Bearer", "issued_at": issued,
		"signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)), "scope": "api refresh_token"}
	if refresh != "" {
		answer["refresh_token"] = refresh
	}
	writeJSON(w, 200, answer)
}

const jwtGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// assertion checks a JWT: RS256, the app as issuer, the user as subject, this
// server as audience, not older than its exp, which is at most 3 minutes away.
func (s *Server) assertion(text string) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return fmt.Errorf("invalid assertion")
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return fmt.Errorf("invalid assertion")
		}
		raw[i] = b
	}
	var head struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Iss string  `json:"iss"`
		Sub string  `json:"sub"`
		Aud string  `json:"aud"`
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil || head.Alg != "RS256" {
		return fmt.Errorf("algorithm not supported")
	}
	block, _ := pem.Decode([]byte(s.opts.PublicKeyPEM))
	if block == nil {
		return fmt.Errorf("no certificate was uploaded")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("the certificate is no RSA key")
	}
	public, ok := key.(*rsa.PublicKey)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ok || rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], raw[2]) != nil {
		return fmt.Errorf("invalid assertion")
	}
	exp := time.Unix(int64(claims.Exp), 0)
	switch {
	case claims.Iss != ClientID:
		return fmt.Errorf("client identifier invalid")
	case claims.Sub != Username:
		return fmt.Errorf("user hasn't approved this consumer")
	case claims.Aud != s.URL:
		return fmt.Errorf("audience is invalid")
	case exp.Before(s.clock()) || exp.After(s.clock().Add(3*time.Minute+time.Second)):
		return fmt.Errorf("assertion is expired")
	}
	return nil
}

// revoke ends a session or forgets nothing, as the API does with a token that it
// does not know.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm()
	if _, ok := s.sessions[r.Form.Get("token")]; !ok && r.Form.Get("token") != RefreshToken {
		oauthError(w, "unsupported_token_type", "this token type is not supported")
		return
	}
	delete(s.sessions, r.Form.Get("token"))
	w.WriteHeader(200)
}

// Agree is a person who says yes on the org's page that an app has sent them to; it
// answers where the browser is sent then.
func (s *Server) Agree(page string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consent.Agree(page, s.URL+"/services/oauth2/authorize", ClientID)
}

// Session opens a session without the token endpoint and answers its access token.
func (s *Server) Session() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionNr++
	access := fmt.Sprintf("%s!test%d", OrgID[:15], s.sessionNr)
	s.sessions[access] = &session{}
	return access
}

// EndSessions ends all sessions.
func (s *Server) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

func (s *Server) session(r *http.Request) *apiError {
	expired := newError(401, "INVALID_SESSION_ID", "Session expired or invalid")
	scheme, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "OAuth") {
		return newError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
	}
	if unescaped, err := url.QueryUnescape(access); err == nil && s.sessions[access] == nil {
		access = unescaped
	}
	have := s.sessions[access]
	if have == nil {
		return expired
	}
	if have.calls++; s.opts.SessionCalls > 0 && have.calls > s.opts.SessionCalls {
		s.calls["ended"]++
		delete(s.sessions, access)
		return expired
	}
	return nil
}
