package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

func TestAuth_FixedCredentials(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.Header.Get("Authorization"), r.Header.Get("X-Key"), r.URL.RawQuery)
	})
	for _, tc := range []struct {
		auth Auth
		want string
	}{
		{nil, "||q=1"},
		{Bearer{NewSecret("s3cret")}, "Bearer s3cret||q=1"},
		{Basic{"ada", NewSecret("s3cret")}, "Basic YWRhOnMzY3JldA==||q=1"},
		{HeaderAuth{"X-Key", NewSecret("s3cret")}, "|s3cret|q=1"},
		{QueryAuth{"k", NewSecret("s3cr&t")}, "||q=1&k=s3cr%26t"},
	} {
		c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = tc.auth })
		req := &Request{Path: "/x", Query: url.Values{"q": {"1"}}}
		r, err := c.Do(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, "GET /v1/x?q=1", r.Request)
		assert.Equal(t, "GET /v1/x?q=1", c.Describe(req))
		assert.Equal(t, tc.want, readAll(t, r, err))
	}
	assert.NotContains(t, a.log.String(), "s3cr")
}

// oauth is an API with a token endpoint. Tokens are tok-1, tok-2, ...; only
// the newest is good.
type oauth struct {
	*api
	issued  atomic.Int64
	expires int
	delay   time.Duration
	form    atomic.Value
	refuse  atomic.Bool
}

func serveOAuth(t *testing.T) *oauth {
	o := &oauth{expires: 3600}
	o.api = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/token" {
			_ = r.ParseForm()
			user, pw, _ := r.BasicAuth()
			o.form.Store(user + "/" + pw + "/" + r.Form.Encode())
			time.Sleep(o.delay)
			w.Header().Set("Content-Type", "application/json")
			if o.refuse.Load() {
				w.WriteHeader(401)
				_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"unknown client with cl-s3cret"}`)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("tok-%d", o.issued.Add(1)), "token_type": "Bearer", "expires_in": o.expires})
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer tok-%d", o.issued.Load()) {
			w.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	return o
}

func (o *oauth) oauthClient(t *testing.T, inBody bool) *Client {
	return o.client(t, func(_ *connectors.Env, cfg *Config) {
		cfg.Auth = ClientCredentials{TokenEndpoint{TokenURL: "/token", ClientID: "id", ClientSecret: NewSecret("cl-s3cret"),
			Scopes: []string{"a", "b"}, Params: map[string]string{"audience": "crm"}, InBody: inBody}}
	})
}

func TestClientCredentials_TokenIsKeptAndRenewed(t *testing.T) {
	o := serveOAuth(t)
	c := o.oauthClient(t, false)
	for range 3 {
		r, err := c.Do(t.Context(), &Request{Path: "/x"})
		assert.Equal(t, "ok", readAll(t, r, err))
	}
	assert.Equal(t, int64(1), o.issued.Load())
	assert.Equal(t, "id/cl-s3cret/audience=crm&grant_type=client_credentials&scope=a+b", o.form.Load())

	o.issued.Add(1) // the token was revoked: 401 renews once, for writes too
	r, err := c.Do(t.Context(), &Request{Method: "POST", Path: "/x", Write: true})
	assert.Equal(t, "ok", readAll(t, r, err))
	assert.Equal(t, int64(3), o.issued.Load())
	assert.NotContains(t, o.log.String(), "tok-")
	assert.NotContains(t, o.log.String(), "cl-s3cret")
}

func TestClientCredentials_RefusedTwiceIsTheAnswer(t *testing.T) {
	tokens := atomic.Int64{}
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/token" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"tok-%d","token_type":"Bearer"}`, tokens.Add(1))
			return
		}
		w.WriteHeader(401)
	})
	c := (&oauth{api: a}).oauthClient(t, false)
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	require.NoError(t, err)
	defer r.Close()
	assert.Equal(t, 401, r.Status)
	assert.Equal(t, connectors.Unauthenticated, r.StatusError("").Class)
	assert.Equal(t, int64(2), tokens.Load())
}

func TestClientCredentials_OneRenewalAtATime(t *testing.T) {
	o := serveOAuth(t)
	o.delay = 50 * time.Millisecond
	c := o.oauthClient(t, true)
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := c.Do(t.Context(), &Request{Path: "/x"})
			if assert.NoError(t, err) {
				assert.Equal(t, 200, r.Status)
				_ = r.Close()
			}
		}()
	}
	wg.Wait()
	assert.Equal(t, int64(1), o.issued.Load())
	assert.Equal(t, "//audience=crm&client_id=id&client_secret=cl-s3cret&grant_type=client_credentials&scope=a+b", o.form.Load())
}

func TestClientCredentials_ExpiryRenewsBeforeTheAPIRefuses(t *testing.T) {
	o := serveOAuth(t)
	o.expires = 1
	c := o.oauthClient(t, false)
	r, err := c.Do(t.Context(), &Request{Path: "/x"})
	assert.Equal(t, "ok", readAll(t, r, err))
	hits := o.hits.Load()
	time.Sleep(1100 * time.Millisecond)
	r, err = c.Do(t.Context(), &Request{Path: "/x"})
	assert.Equal(t, "ok", readAll(t, r, err))
	assert.Equal(t, hits+2, o.hits.Load(), "one for the token, one for the call, none refused")
}

func TestClientCredentials_RefusalNamesTheCodeAndNoSecret(t *testing.T) {
	o := serveOAuth(t)
	o.refuse.Store(true)
	c := o.oauthClient(t, false)
	_, err := c.Do(t.Context(), &Request{Path: "/x"})
	e := failure(t, err)
	assert.Equal(t, connectors.Unauthenticated, e.Class)
	assert.Equal(t, "The token endpoint answered 401: invalid_client unknown client with ***.", e.Detail)
	assert.NotContains(t, fmt.Sprintf("%+v %v", e, err)+o.log.String(), "cl-s3cret")
}

func TestClientCredentials_TokenHostMustBeAllowed(t *testing.T) {
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, err := New(a.env(), Config{API: "CRM", BaseURL: a.URL, Auth: ClientCredentials{TokenEndpoint{TokenURL: "https://evil.example.com/token"}}})
	assert.Equal(t, `host "evil.example.com" is not allowed by the sidecar's settings`, failure(t, err).Message)
}

func TestLogin_TokenIsKeptAndRenewedOn401(t *testing.T) {
	var logins atomic.Int64
	status := atomic.Int64{}
	status.Store(200)
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth" {
			b, _ := io.ReadAll(r.Body)
			if r.Header.Get("Content-Type") == "application/json" {
				assert.JSONEq(t, `{"identity":"ada@example.com","password":"s3cret-pw"}`, string(b))
			} else {
				assert.Equal(t, "identity=ada%40example.com&password=s3cret-pw", string(b))
			}
			w.WriteHeader(int(status.Load()))
			fmt.Fprintf(w, `{"data":{"token":"login-%d"}}`, logins.Add(1))
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("login-%d", logins.Load()) {
			w.WriteHeader(401)
		}
	})
	login := Login{Path: "/auth", Token: "data.token",
		Fields: map[string]Secret{"identity": NewSecret("ada@example.com"), "password": NewSecret("s3cret-pw")}}
	for _, form := range []bool{false, true} {
		logins.Store(0)
		login.Form = form
		c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = login })
		for range 3 {
			r, err := c.Do(t.Context(), &Request{Path: "/x"})
			require.NoError(t, err)
			assert.Equal(t, 200, r.Status)
			_ = r.Close()
		}
		assert.Equal(t, int64(1), logins.Load())
		logins.Add(1)
		r, err := c.Do(t.Context(), &Request{Path: "/x"})
		require.NoError(t, err)
		assert.Equal(t, 200, r.Status)
		_ = r.Close()
		assert.Equal(t, int64(3), logins.Load())
		assert.Contains(t, c.Redact("ada@example.com s3cret-pw login-3 login-1"), "ada@example.com *** ***")
	}

	// A login that does not get through is tried again, and is no write.
	status.Store(500)
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = login })
	c.sleep = func(context.Context, time.Duration) error { status.Store(200); return nil }
	r, err := c.Do(t.Context(), &Request{Method: "POST", Path: "/x", Write: true})
	require.NoError(t, err)
	assert.Equal(t, 200, r.Status)
	_ = r.Close()

	for code, class := range map[int64]connectors.Class{400: connectors.Unauthenticated, 429: connectors.RateLimited,
		500: connectors.Unavailable, 302: connectors.Protocol} {
		status.Store(code)
		c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = login; cfg.Tries = 1 })
		_, err := c.Do(t.Context(), &Request{Path: "/x"})
		e := failure(t, err)
		assert.Equal(t, class, e.Class)
		assert.Equal(t, "could not log in", e.Message)
		assert.Equal(t, fmt.Sprintf("POST /v1/auth answered %d.", code), e.Detail)
	}
	status.Store(200)
	login.Token = "data.nothing"
	c = a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = login })
	_, err = c.Do(t.Context(), &Request{Path: "/x"})
	assert.Equal(t, `The login's answer has no string at "data.nothing".`, failure(t, err).Detail)
	assert.NotContains(t, a.log.String(), "s3cret-pw")
	assert.NotContains(t, a.log.String(), "login-")
}

func TestRedaction_ByNameAndByValue(t *testing.T) {
	a := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := a.client(t, func(_ *connectors.Env, cfg *Config) { cfg.Auth = QueryAuth{"sesame", NewSecret("open-me/now")} })
	assert.Equal(t, "GET /v1/x?api_key=***&filter=a%3D1&sesame=***&Token=***", c.Describe(&Request{
		Path: "/x?api_key=abc&filter=a%3D1&sesame=zz&Token=1"}))
	assert.Equal(t, "POST /v1/p/***/q?x=***", c.Describe(&Request{Method: "POST", Path: "/p/open-me%2Fnow/q?x=open-me%2Fnow"}))
	assert.Equal(t, "bad token *** given", c.Redact("bad token open-me/now given"))
	for _, text := range []string{fmt.Sprint(NewSecret("abcdef")), fmt.Sprintf("%v %s %q %x %#v %+v %d", NewSecret("abcdef"), NewSecret("abcdef"), NewSecret("abcdef"),
		NewSecret("abcdef"), NewSecret("abcdef"), struct{ S Secret }{NewSecret("abcdef")}, NewSecret("abcdef"))} {
		assert.NotContains(t, text, "abcdef")
		assert.NotContains(t, text, "616263")
		assert.True(t, strings.Contains(text, "***"))
	}
}
