// The authorization code grant for a program without a web site: a person says
// yes in a browser, and the answer comes to a listener on this machine (RFC 8252),
// with a proof that it is for who asked (PKCE, RFC 7636).

package transport

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/hallwaydb/hallway/connectors"
)

// Authorization is how Authorize reaches the person.
type Authorization struct {
	// Redirect is where the browser is sent back to: a loopback http URL as it is
	// registered with the API. Port 0, or none: any free one. Default
	// http://127.0.0.1/callback.
	Redirect string
	// Show is given the URL to open, once.
	Show func(url string)
	// Params are further parameters of that URL.
	Params map[string]string
}

// defaultRedirect is for servers that take any port of the loopback address.
const defaultRedirect = "http://127.0.0.1/callback"

// Authorizes reports whether the client's credential is one that Authorize makes.
func (c *Client) Authorizes() bool {
	r, ok := c.cfg.Auth.(RefreshToken)
	return ok && r.Name != "" && r.Token.Reveal() == ""
}

// Authorize asks a person, waits until ctx ends for the answer, and keeps the
// refresh token. The client's Auth must be a RefreshToken with a Name and without
// a Token, and Env.Tokens be there.
func (c *Client) Authorize(ctx context.Context, how Authorization) error {
	refuse := func(class connectors.Class, message, hint string) error {
		return &connectors.Error{Class: class, API: c.cfg.API, Message: message, Hint: hint}
	}
	a, _ := c.cfg.Auth.(RefreshToken)
	switch {
	case !c.Authorizes() || a.AuthorizeURL == "":
		return refuse(connectors.NotSupported, "this credential is not one that a person authorizes", "")
	case c.env.Tokens == nil:
		return refuse(connectors.InvalidOption, "the sidecar has no directory for tokens", "Set its setting \"tokens\".")
	}
	e, err := c.endpoint(&a.TokenEndpoint)
	if err != nil {
		return err
	}
	if e.AuthURL, err = c.allowed(a.AuthorizeURL, "authorization"); err != nil {
		return err
	}
	listener, redirect, err := listenFor(ctx, how.Redirect)
	if err != nil {
		return refuse(connectors.InvalidOptionValue, err.Error(), "")
	}
	cfg := oauth2.Config{ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Endpoint: e, Scopes: a.Scopes, RedirectURL: redirect.String()}
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for k, v := range how.Params {
		options = append(options, oauth2.SetAuthURLParam(k, v))
	}
	answers := make(chan url.Values, 1)
	server := &http.Server{Handler: callback(redirect.Path, state, answers), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	defer func() {
		// The page that says so goes out first.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(closing)
		<-done
	}()
	how.Show(cfg.AuthCodeURL(state, options...))
	var answer url.Values
	select {
	case answer = <-answers:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the authorization: %w", ctx.Err())
	}
	if code := answer.Get("error"); code != "" {
		return refuse(connectors.PermissionDenied, "the authorization was refused: "+c.red.text(clip(code+" "+answer.Get("error_description"))), "")
	}
	return c.env.Tokens.Exchange(ctx, a.Name, func([]byte) ([]byte, error) {
		fresh, err := cfg.Exchange(c.guarded(ctx), answer.Get("code"), oauth2.VerifierOption(verifier))
		tok, err := c.token(fresh, err)
		if err != nil {
			return nil, err
		}
		c.red.token(tok.AccessToken)
		if tok.RefreshToken == "" {
			return nil, refuse(connectors.Protocol, "the API gave no refresh token", "It may want a scope for that, such as offline_access.")
		}
		c.red.token(tok.RefreshToken)
		return json.Marshal(&kept{TokenURL: e.TokenURL, ClientID: a.ClientID, Refresh: tok.RefreshToken, Access: tok.AccessToken, Expiry: tok.Expiry})
	})
}

func clip(s string) string { return s[:min(len(s), 300)] }

// listenFor listens where the browser will come back to.
func listenFor(ctx context.Context, redirect string) (net.Listener, *url.URL, error) {
	if redirect == "" {
		redirect = defaultRedirect
	}
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || !isLoopbackName(u.Hostname()) || u.RawQuery != "" || u.User != nil {
		return nil, nil, fmt.Errorf("expected a redirect such as %s or http://localhost:8080/callback, got %q", defaultRedirect, redirect)
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	port := u.Port()
	if port == "" {
		port = "0"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, nil, fmt.Errorf("listening for the answer: %w", err)
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	if u.Path == "" {
		u.Path = "/"
	}
	return l, u, nil
}

// callback takes the first answer that knows the state.
func callback(path, state string, answers chan<- url.Values) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		q := r.URL.Query()
		say := func(status int, text string) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "<!DOCTYPE html><title>Hallway</title><p>%s</p>\n", html.EscapeString(text))
		}
		switch {
		case r.URL.Path != path || r.Method != http.MethodGet:
			say(http.StatusNotFound, "There is nothing here.")
		case q.Get("state") != state || (q.Get("code") == "" && q.Get("error") == ""):
			say(http.StatusBadRequest, "This is not the answer that is waited for.")
		default:
			select {
			case answers <- q:
				say(http.StatusOK, "Hallway has the answer. You can close this window.")
			default:
				say(http.StatusConflict, "There was an answer already.")
			}
		}
	})
}
