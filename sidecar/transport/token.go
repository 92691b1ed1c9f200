// Authenticators: they put the credential on a request, and renew a token once
// when the API says 401. One renewal runs at a time, whoever waits for it.

package transport

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/hallwaydb/hallway/connectors"
)

// authenticator authenticates requests of one client.
type authenticator interface {
	// apply authenticates r and returns the token used; "" if it is fixed.
	apply(ctx context.Context, r *http.Request) (token string, err error)
	// invalidate says that the API refused the token; it reports whether a new
	// one can be had.
	invalidate(token string) bool
}

// fixed is a credential that never changes.
type fixed func(*http.Request)

func (f fixed) apply(_ context.Context, r *http.Request) (string, error) {
	if f != nil {
		f(r)
	}
	return "", nil
}

func (fixed) invalidate(string) bool { return false }

// newAuth makes c's authenticator and tells its redactor what is secret.
func newAuth(c *Client, a Auth) (authenticator, error) {
	refuse := func(format string, args ...any) error {
		return &connectors.Error{Class: connectors.InvalidOption, API: c.cfg.API, Message: fmt.Sprintf(format, args...)}
	}
	switch a := a.(type) {
	case nil:
		return fixed(nil), nil
	case Bearer:
		c.red.add(a.Token)
		return fixed(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+a.Token.Reveal()) }), nil
	case Basic:
		c.red.add(a.Password)
		return fixed(func(r *http.Request) { r.SetBasicAuth(a.User, a.Password.Reveal()) }), nil
	case HeaderAuth:
		if a.Name == "" {
			return nil, refuse("header authentication needs the header's name")
		}
		c.red.add(a.Value)
		return fixed(func(r *http.Request) { r.Header.Set(a.Name, a.Value.Reveal()) }), nil
	case QueryAuth:
		if a.Name == "" {
			return nil, refuse("query authentication needs the parameter's name")
		}
		c.red.add(a.Value)
		return fixed(func(r *http.Request) {
			pair := url.QueryEscape(a.Name) + "=" + url.QueryEscape(a.Value.Reveal())
			if r.URL.RawQuery != "" {
				pair = r.URL.RawQuery + "&" + pair
			}
			r.URL.RawQuery = pair
		}), nil
	case ClientCredentials, PasswordGrant, JWTBearer, RefreshToken:
		fetch, err := c.fetcher(a)
		if err != nil {
			return nil, err
		}
		return &tokenAuth{c: c, header: "Authorization", prefix: "Bearer ", fetch: fetch}, nil
	case Login:
		if a.Token == "" {
			return nil, refuse("login authentication needs to know where the answer has the token")
		}
		if a.Header == "" {
			a.Header = "Authorization"
		}
		for name, v := range a.Fields {
			// A user's name is no secret, and masking it would hide it in data.
			if isSecretField(name) {
				c.red.add(v)
			}
		}
		return &tokenAuth{c: c, header: a.Header, prefix: a.Prefix, fetch: func(ctx context.Context, _ string) (*oauth2.Token, error) {
			return c.login(ctx, &a)
		}}, nil
	}
	return nil, refuse("unknown authentication %T", a)
}

func isSecretField(name string) bool {
	name = strings.ToLower(name)
	for _, n := range []string{"pass", "secret", "token", "key", "pin", "otp", "assertion"} {
		if strings.Contains(name, n) {
			return true
		}
	}
	return false
}

// tokenAuth keeps a token that fetch gets.
type tokenAuth struct {
	c              *Client
	header, prefix string
	fetch          func(ctx context.Context, refused string) (*oauth2.Token, error)

	flight singleflight.Group
	mu     sync.Mutex
	tok    *oauth2.Token
	// refused is the last token that the API did not take.
	refused string
}

// fetchTimeout bounds one renewal. It does not hang on the query that happens
// to start it, as others wait for it too.
const fetchTimeout = 20 * time.Second

// earlyExpiry is how long before its end a token is renewed.
const earlyExpiry = 20 * time.Second

func (t *tokenAuth) apply(ctx context.Context, r *http.Request) (string, error) {
	tok := t.current()
	if tok == nil {
		ch := t.flight.DoChan("", func() (any, error) {
			if tok := t.current(); tok != nil {
				return tok, nil
			}
			fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
			defer cancel()
			t.mu.Lock()
			refused := t.refused
			t.mu.Unlock()
			tok, err := t.fetch(fctx, refused)
			if err != nil {
				return nil, err
			}
			t.c.red.token(tok.AccessToken)
			t.mu.Lock()
			t.tok = tok
			t.mu.Unlock()
			return tok, nil
		})
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case res := <-ch:
			if res.Err != nil {
				return "", res.Err
			}
			tok = res.Val.(*oauth2.Token)
		}
	}
	r.Header.Set(t.header, t.prefix+tok.AccessToken)
	return tok.AccessToken, nil
}

func (t *tokenAuth) current() *oauth2.Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tok != nil && (t.tok.Expiry.IsZero() || time.Until(t.tok.Expiry) > 0) {
		return t.tok
	}
	return nil
}

func (t *tokenAuth) invalidate(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tok != nil && t.tok.AccessToken == token {
		t.tok, t.refused = nil, token
	}
	return true
}

// login asks the API's login endpoint.
func (c *Client) login(ctx context.Context, l *Login) (*oauth2.Token, error) {
	fail := func(class connectors.Class, status int, detail string) *connectors.Error {
		e := &connectors.Error{Class: class, API: c.cfg.API, Message: "could not log in", Detail: detail, HTTPStatus: status}
		if class == connectors.Unauthenticated {
			e.Hint = "Check the credential in the user mapping."
		}
		return e
	}
	form := url.Values{}
	fields := make(map[string]string, len(l.Fields))
	for k, v := range l.Fields {
		fields[k] = v.Reveal()
		form.Set(k, v.Reveal())
	}
	var body []byte
	contentType := "application/x-www-form-urlencoded"
	if l.Form {
		body = []byte(form.Encode())
	} else {
		var err error
		if body, err = json.Marshal(fields); err != nil {
			return nil, fmt.Errorf("encoding the login: %w", err)
		}
		contentType = "application/json"
	}
	u, err := c.resolve(&Request{Path: l.Path})
	if err != nil {
		return nil, err
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the login request: %w", c.hideURL(err))
	}
	c.setHeaders(hr, nil)
	hr.Header.Set("Content-Type", contentType)
	hr.Header.Set("Accept", "application/json")
	start := time.Now()
	resp, err := c.http.Do(hr)
	if err != nil {
		c.observe(hr.Method, 0, start)
		err = c.sendError(ctx, err, &Request{Method: hr.Method, Path: l.Path}, false)
		var ae *attemptError
		if errors.As(err, &ae) {
			err = ae.err
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	c.observe(hr.Method, resp.StatusCode, start)
	said := fmt.Sprintf("POST %s answered %d.", c.red.url(u), resp.StatusCode)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		e := fail(connectors.RateLimited, resp.StatusCode, said)
		if d, ok := retryAfter(resp.Header, time.Now()); ok {
			e.RetryAfter = d
		}
		return nil, e
	case resp.StatusCode >= 500:
		return nil, fail(connectors.Unavailable, resp.StatusCode, said)
	case resp.StatusCode >= 400:
		return nil, fail(connectors.Unauthenticated, resp.StatusCode, said)
	case resp.StatusCode >= 300:
		return nil, fail(connectors.Protocol, resp.StatusCode, said)
	}
	var answer any
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&answer); err != nil {
		return nil, fail(connectors.Protocol, resp.StatusCode, "The login's answer is not JSON.")
	}
	for _, key := range strings.Split(l.Token, ".") {
		obj, _ := answer.(map[string]any)
		answer = obj[key]
	}
	token, _ := answer.(string)
	if token == "" {
		return nil, fail(connectors.Protocol, resp.StatusCode, fmt.Sprintf("The login's answer has no string at %q.", l.Token))
	}
	return &oauth2.Token{AccessToken: token, Expiry: jwtExpiry(token)}, nil
}

// jwtExpiry is when a token says that it ends, if it is a JWT; the zero time:
// it does not say. Its signature is the API's to check. Without this an API
// that takes a stale token for no token, and shows a guest nothing, would look
// empty.
func jwtExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || !(claims.Exp > 0 && claims.Exp < 1e11) {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}
