// OAuth2: tokens by the grants that APIs offer, and renewing them so that of all
// sidecars and queries one asks at a time.

package transport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"

	"github.com/hallwaydb/hallway/connectors"
)

// TokenEndpoint is where tokens are had, and who we are there.
type TokenEndpoint struct {
	// TokenURL's host must be allowed as the base URL's is; a relative one is
	// resolved against the base URL.
	TokenURL     string
	ClientID     string
	ClientSecret Secret // empty for a public client
	Scopes       []string
	// Params are further form fields, such as "audience".
	Params map[string]string
	// InBody sends id and secret as form fields in place of basic authentication.
	InBody bool
}

// ClientCredentials gets a bearer token by the client-credentials grant (RFC 6749,
// 4.4) and keeps it until it expires or the API answers 401.
type ClientCredentials struct{ TokenEndpoint }

// PasswordGrant gets one by a user's name and password (RFC 6749, 4.3).
type PasswordGrant struct {
	TokenEndpoint
	User     string
	Password Secret
}

// JWTBearer gets one by a signed assertion (RFC 7523), RS256.
type JWTBearer struct {
	TokenEndpoint
	// PrivateKey is RSA, in PEM. KeyID goes into the header; may be empty.
	PrivateKey Secret
	KeyID      string
	// Subject is the user to act as. Audience is by default TokenURL.
	Subject, Audience string
	// Lifetime of an assertion; default 3 minutes.
	Lifetime time.Duration
}

// RefreshToken gets one by a refresh token (RFC 6749, 6). What the server gives
// in its place is kept in Env.Tokens before it is used.
type RefreshToken struct {
	TokenEndpoint
	// Token is the first one. Empty: the one that Authorize was given.
	Token Secret
	// Name under which Authorize keeps; not used with Token.
	Name string
	// AuthorizeURL is where a person says yes; as TokenURL. Only Authorize needs it.
	AuthorizeURL string
}

func (ClientCredentials) isAuth() {}
func (PasswordGrant) isAuth()     {}
func (JWTBearer) isAuth()         {}
func (RefreshToken) isAuth()      {}

// endpoint checks a token endpoint.
func (c *Client) endpoint(e *TokenEndpoint) (oauth2.Endpoint, error) {
	u, err := c.allowed(e.TokenURL, "token")
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	c.red.add(e.ClientSecret)
	out := oauth2.Endpoint{TokenURL: u, AuthStyle: oauth2.AuthStyleInHeader}
	if e.InBody || e.ClientSecret.Reveal() == "" {
		out.AuthStyle = oauth2.AuthStyleInParams // a public client has no password
	}
	return out, nil
}

// allowed is an absolute URL on a host that the settings allow.
func (c *Client) allowed(ref, what string) (string, error) {
	u, err := c.absolute(ref)
	if err != nil {
		return "", &connectors.Error{Class: connectors.InvalidOption, API: c.cfg.API, Message: fmt.Sprintf("invalid %s URL: %v", what, err)}
	}
	if err := checkHost(c.cfg.API, u, c.env.AllowHosts); err != nil {
		return "", err
	}
	return u.String(), nil
}

func values(m map[string]string) url.Values {
	if len(m) == 0 {
		return nil
	}
	out := url.Values{}
	for k, v := range m {
		out.Set(k, v)
	}
	return out
}

// fetcher makes the function that gets a token of a grant. It is told the token
// that the API has refused, if any.
func (c *Client) fetcher(a Auth) (func(ctx context.Context, refused string) (*oauth2.Token, error), error) {
	switch a := a.(type) {
	case ClientCredentials:
		e, err := c.endpoint(&a.TokenEndpoint)
		if err != nil {
			return nil, err
		}
		cc := clientcredentials.Config{ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), TokenURL: e.TokenURL,
			Scopes: a.Scopes, AuthStyle: e.AuthStyle, EndpointParams: values(a.Params)}
		return func(ctx context.Context, _ string) (*oauth2.Token, error) {
			tok, err := cc.Token(c.guarded(ctx))
			return c.token(tok, err)
		}, nil
	case PasswordGrant:
		e, err := c.endpoint(&a.TokenEndpoint)
		if err != nil {
			return nil, err
		}
		c.red.add(a.Password)
		cfg := oauth2.Config{ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Endpoint: e, Scopes: a.Scopes}
		return func(ctx context.Context, _ string) (*oauth2.Token, error) {
			tok, err := cfg.PasswordCredentialsToken(c.guarded(ctx), a.User, a.Password.Reveal())
			return c.token(tok, err)
		}, nil
	case JWTBearer:
		return c.jwtBearer(&a)
	case RefreshToken:
		e, err := c.endpoint(&a.TokenEndpoint)
		if err != nil {
			return nil, err
		}
		c.red.add(a.Token)
		r := &refresher{c: c, cfg: oauth2.Config{ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Endpoint: e, Scopes: a.Scopes},
			first: a.Token, name: a.Name}
		if first := a.Token.Reveal(); first != "" {
			// Another token in the user mapping has nothing to do with what came of
			// this one.
			sum := sha256.Sum256([]byte(e.TokenURL + "\x00" + a.ClientID + "\x00" + first))
			r.name = "refresh-" + hex.EncodeToString(sum[:12])
		}
		return r.fetch, nil
	}
	return nil, &connectors.Error{Class: connectors.Internal, API: c.cfg.API, Message: fmt.Sprintf("unknown authentication %T", a)}
}

func (c *Client) jwtBearer(a *JWTBearer) (func(context.Context, string) (*oauth2.Token, error), error) {
	e, err := c.endpoint(&a.TokenEndpoint)
	if err != nil {
		return nil, err
	}
	c.red.add(a.PrivateKey)
	cfg := jwt.Config{Email: a.ClientID, Subject: a.Subject, PrivateKey: []byte(a.PrivateKey.Reveal()), PrivateKeyID: a.KeyID,
		Scopes: a.Scopes, TokenURL: e.TokenURL, Expires: a.Lifetime, Audience: a.Audience}
	if cfg.Expires == 0 {
		cfg.Expires = 3 * time.Minute
	}
	return func(ctx context.Context, _ string) (*oauth2.Token, error) {
		tok, err := cfg.TokenSource(c.guarded(ctx)).Token()
		var refused *oauth2.RetrieveError
		if err != nil && !errors.As(err, &refused) && strings.Contains(err.Error(), "private key") {
			return nil, &connectors.Error{Class: connectors.InvalidOptionValue, API: c.cfg.API,
				Message: "the private key cannot be used", Hint: "It must be an RSA key in PEM."}
		}
		return c.token(tok, err)
	}, nil
}

// guarded makes x/oauth2 use our client, which goes to allowed hosts only.
func (c *Client) guarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.http)
}

// token is what a token endpoint gave, or the error that a person can act on.
func (c *Client) token(tok *oauth2.Token, err error) (*oauth2.Token, error) {
	if err == nil {
		if !tok.Expiry.IsZero() {
			// Renewed early, but a short-lived token must be used at all.
			early := min(earlyExpiry, time.Until(tok.Expiry)/4)
			tok.Expiry = tok.Expiry.Add(-early)
		}
		return tok, nil
	}
	e := &connectors.Error{Class: connectors.Unavailable, API: c.cfg.API,
		Message: "could not get an access token", Err: c.hideURL(err)}
	var re *oauth2.RetrieveError
	if errors.As(err, &re) {
		e.HTTPStatus = re.Response.StatusCode
		// The body may repeat what was sent; the error code does not.
		e.Err = fmt.Errorf("token endpoint answered %d", e.HTTPStatus)
		if e.HTTPStatus < 500 && e.HTTPStatus != http.StatusTooManyRequests {
			e.Class = connectors.Unauthenticated
			e.Hint = "Check the credential in the user mapping."
		}
		if re.ErrorCode == "" {
			re.ErrorCode, re.ErrorDescription = wordsOf(re.Body)
		}
		e.Code = re.ErrorCode
		e.Detail = fmt.Sprintf("The token endpoint answered %d.", e.HTTPStatus)
		if re.ErrorCode != "" {
			e.Detail = fmt.Sprintf("The token endpoint answered %d: %s.", e.HTTPStatus,
				strings.TrimSuffix(c.red.text(strings.TrimSpace(re.ErrorCode+" "+re.ErrorDescription)), "."))
		}
	}
	return nil, e
}

// wordsOf is the code and the text of a token endpoint's refusal: OAuth's, which
// oauth2/jwt leaves in the body, or those of an API that has its own (HubSpot).
func wordsOf(body []byte) (code, text string) {
	var said map[string]any
	if json.Unmarshal(body, &said) != nil {
		return "", ""
	}
	if code, _ = said["error"].(string); code != "" {
		text, _ = said["error_description"].(string)
		return code, text
	}
	code, _ = said["status"].(string)
	text, _ = said["message"].(string)
	return code, text
}

// kept is what is kept of an authorization.
type kept struct {
	// TokenURL and ClientID for which it is: a refresh token goes nowhere else.
	TokenURL string    `json:"token_url"`
	ClientID string    `json:"client_id"`
	Refresh  string    `json:"refresh_token"`
	Access   string    `json:"access_token,omitempty"`
	Expiry   time.Time `json:"expiry,omitzero"`
}

// refresher renews by a refresh token.
type refresher struct {
	c     *Client
	cfg   oauth2.Config
	first Secret
	name  string

	// mem is for a sidecar without a place for tokens.
	mu   sync.Mutex
	mem  []byte
	warn sync.Once
}

// fetch gives a token that is not refused: the one that another sidecar has got
// meanwhile, or a new one.
func (r *refresher) fetch(ctx context.Context, refused string) (*oauth2.Token, error) {
	var tok *oauth2.Token
	err := r.exchange(ctx, func(data []byte) ([]byte, error) {
		k, err := r.known(data)
		if err != nil {
			return nil, err
		}
		if k.Access != "" && k.Access != refused && (k.Expiry.IsZero() || time.Until(k.Expiry) > 0) && data != nil {
			tok = &oauth2.Token{AccessToken: k.Access, Expiry: k.Expiry}
			return nil, nil
		}
		fresh, err := r.cfg.TokenSource(r.c.guarded(ctx), &oauth2.Token{RefreshToken: k.Refresh}).Token()
		if tok, err = r.c.token(fresh, err); err != nil {
			return nil, r.explain(err)
		}
		k.Access, k.Expiry = tok.AccessToken, tok.Expiry
		if tok.RefreshToken != "" {
			k.Refresh = tok.RefreshToken
		}
		r.c.red.token(k.Refresh)
		out, err := json.Marshal(k)
		if err != nil {
			return nil, fmt.Errorf("writing a token: %w", err)
		}
		return out, nil
	})
	if err != nil {
		var typed *connectors.Error
		if errors.As(err, &typed) || ctx.Err() != nil {
			return nil, err
		}
		return nil, &connectors.Error{Class: connectors.Unavailable, API: r.c.cfg.API, Err: err,
			Message: "could not renew the access token: its place on the sidecar's disk cannot be used",
			Hint:    "Look at the sidecar's setting \"tokens\", and at its log."}
	}
	return tok, nil
}

// exchange is Env.Tokens.Exchange, or the same in memory.
func (r *refresher) exchange(ctx context.Context, renew func([]byte) ([]byte, error)) error {
	if r.c.env.Tokens != nil && r.name != "" {
		return r.c.env.Tokens.Exchange(ctx, r.name, renew)
	}
	r.warn.Do(func() {
		r.c.env.Log.Warn("refresh tokens are not kept: this sidecar has no directory for tokens", slog.String("api", r.c.cfg.API))
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := renew(r.mem)
	if err == nil && data != nil {
		r.mem = data
	}
	return err
}

// known reads what is kept, or begins with the first token.
func (r *refresher) known(data []byte) (*kept, error) {
	k := &kept{TokenURL: r.cfg.Endpoint.TokenURL, ClientID: r.cfg.ClientID}
	if data == nil {
		if k.Refresh = r.first.Reveal(); k.Refresh == "" {
			return nil, &connectors.Error{Class: connectors.Unauthenticated, API: r.c.cfg.API,
				Message: fmt.Sprintf("nobody has authorized %q yet", r.name),
				Hint:    "Run \"hallway auth\" with the foreign server's name as the sidecar's user."}
		}
		return k, nil
	}
	var was kept
	if err := json.Unmarshal(data, &was); err != nil || was.Refresh == "" {
		return nil, errors.New("the file of the token is not what it was written as")
	}
	r.c.red.token(was.Refresh)
	if was.TokenURL != k.TokenURL || was.ClientID != k.ClientID {
		return nil, &connectors.Error{Class: connectors.Unauthenticated, API: r.c.cfg.API,
			Message: fmt.Sprintf("the authorization %q is for another client or token endpoint", r.name),
			Hint:    "Run \"hallway auth\" again, or give it another name by the user mapping's option \"authorization\"."}
	}
	return &was, nil
}

// explain says what to do about a refresh token that was refused. Not every endpoint
// has OAuth's words for it.
func (r *refresher) explain(err error) error {
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != connectors.Unauthenticated {
		return err
	}
	renew := "Put a new one into the user mapping"
	if r.first.Reveal() == "" {
		renew = "Run \"hallway auth\" with the foreign server's name again"
	}
	code := strings.ToLower(e.Code)
	switch {
	case code == "invalid_grant" || strings.Contains(code, "refresh"):
		e.Message, e.Hint = "the refresh token is not good any more", renew+"."
	case strings.Contains(code, "client"):
		e.Hint = "Check the client's id and secret in the user mapping."
	case e.HTTPStatus == http.StatusBadRequest || e.HTTPStatus == http.StatusUnauthorized || e.HTTPStatus == http.StatusForbidden:
		e.Message = "the refresh token was refused"
		e.Hint = renew + ", if the client's id and secret are right."
	}
	return err
}
