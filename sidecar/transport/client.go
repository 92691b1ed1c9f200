// One call from beginning to end: URL, limits, attempts, retries, redirects.

package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hallwaydb/hallway/connectors"
)

// maxRedirects on the API's own host.
const maxRedirects = 5

// lockoutMargin is what a call gets beyond a lock-out that it waits for.
const lockoutMargin = 15 * time.Second

func newClient(env connectors.Env, cfg Config) (*Client, error) {
	base, err := parseBase(cfg.API, cfg.BaseURL, env.AllowHosts)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = env.MaxWait
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	// A lock-out is waited for once.
	if cfg.Lockout > 0 {
		cfg.MaxWait = max(cfg.MaxWait, cfg.Lockout+lockoutMargin)
	}
	if cfg.Tries <= 0 {
		cfg.Tries = DefaultTries
	}
	if env.MaxResponseBytes <= 0 {
		env.MaxResponseBytes = DefaultMaxResponseBytes
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, env: env, base: base, sleep: sleep,
		http: &http.Client{
			Transport:     newTransport(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var names []string
	if q, ok := cfg.Auth.(QueryAuth); ok {
		names = append(names, q.Name)
	}
	c.red = newRedactor(names...)
	if c.auth, err = newAuth(c, cfg.Auth); err != nil {
		return nil, err
	}
	c.limit, c.budget, c.release = cfg.Sharing.join(&cfg)
	return c, nil
}

func methodOf(req *Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// absolute parses a URL that may be relative to the base URL's path.
func (c *Client) absolute(ref string) (*url.URL, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, c.hideURL(err)
	}
	if u.Scheme != "" || u.Host != "" {
		if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			return nil, errors.New("expected a path, or http:// or https:// and a host")
		}
		u.Fragment = ""
		return u, nil
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, errors.New(`a path must not hold the segments "." and ".."`)
		}
	}
	out := *c.base
	raw := strings.TrimSuffix(c.base.EscapedPath(), "/")
	if p := u.EscapedPath(); p != "" {
		raw += "/" + strings.TrimPrefix(p, "/")
	}
	if out.Path, err = url.PathUnescape(raw); err != nil {
		return nil, fmt.Errorf("unescaping the path: %w", err)
	}
	out.RawPath = raw
	out.RawQuery = u.RawQuery
	return &out, nil
}

// resolve gives the URL of a request, which is on the API's own host.
func (c *Client) resolve(req *Request) (*url.URL, error) {
	u, err := c.absolute(req.Path)
	if err != nil {
		return nil, &connectors.Error{Class: connectors.Protocol, API: c.cfg.API,
			Message: fmt.Sprintf("cannot call %q: %v", c.red.text(req.Path), err)}
	}
	if e := c.elsewhere(u, "a link"); e != nil {
		return nil, e
	}
	if len(req.Query) > 0 {
		q := req.Query.Encode()
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
	}
	return u, nil
}

// elsewhere refuses a URL that would carry the credential to another host; nil
// means that it does not.
func (c *Client) elsewhere(u *url.URL, what string) *connectors.Error {
	if u.Scheme == c.base.Scheme && canonicalHost(u.Hostname()) == canonicalHost(c.base.Hostname()) && portOf(u) == portOf(c.base) {
		return nil
	}
	from, to := c.base.Scheme+"://"+c.base.Host, u.Scheme+"://"+u.Host
	return &connectors.Error{Class: connectors.Protocol, API: c.cfg.API,
		Message: fmt.Sprintf("%s leads from %s to %s, which is not followed", what, from, to),
		Hint:    fmt.Sprintf("If the API has moved there, set the server's base URL to %s and allow that host.", to)}
}

func (c *Client) do(ctx context.Context, req *Request) (*Response, error) {
	u, err := c.resolve(req)
	if err != nil {
		return nil, err
	}
	if req.Stats == nil {
		with := *req
		with.Stats = &connectors.Stats{}
		req = &with
	}
	giveUp := time.Now().Add(c.cfg.MaxWait)
	if d, ok := ctx.Deadline(); ok && d.Before(giveUp) {
		giveUp = d
	}
	wait := backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5,
		Multiplier: 2, MaxInterval: 5 * time.Second}
	wait.Reset()

	renewed, redirects := false, 0
	for try := 1; ; {
		if err := c.admit(ctx); err != nil {
			return nil, err
		}
		if err := c.waitForLimit(ctx, req, giveUp); err != nil {
			return nil, err
		}
		resp, token, err := c.attempt(ctx, req, u)
		if err != nil {
			var ae *attemptError
			if !errors.As(err, &ae) {
				return nil, err
			}
			d := wait.NextBackOff()
			if !ae.again || try >= c.cfg.Tries || time.Now().Add(d).After(giveUp) {
				return nil, ae.err
			}
			if err := c.again(ctx, req, try, d, ae.err); err != nil {
				return nil, err
			}
			try++
			continue
		}
		now := time.Now()
		c.limit.learn(req.Class, resp.Header, now)
		if left, of, told := c.budget.learn(resp.Header, now); told && c.env.ObserveBudget != nil {
			c.env.ObserveBudget(c.cfg.API, c.base.Host, left, of)
		}
		after, told := retryAfter(resp.Header, now)
		status := resp.Status
		said := c.begin(resp)
		if said != nil && c.cfg.Limited != nil && status != http.StatusTooManyRequests && c.cfg.Limited(status, resp.Header, said) {
			status = http.StatusTooManyRequests
		}
		known, waits := time.Duration(0), false
		if said != nil && c.cfg.Waits != nil && !told {
			known, waits = c.cfg.Waits(resp.Status, resp.Header, said)
		}
		if waits && status != http.StatusTooManyRequests && try < c.cfg.Tries && now.Add(known).Before(giveUp) {
			_ = resp.Close()
			if err := c.again(ctx, req, try, known, resp.StatusError("")); err != nil {
				return nil, err
			}
			try++
			continue
		}
		switch status {
		case http.StatusUnauthorized:
			// The refused call did nothing, so a write may be sent again.
			if token != "" && !renewed && c.auth.invalidate(token) {
				renewed = true
				_ = resp.Close()
				continue
			}
		case http.StatusTooManyRequests:
			_ = resp.Close()
			d := after
			switch {
			case told:
				c.limit.pause(req.Class, now.Add(d))
			case waits:
				d = known
				c.limit.pause(req.Class, now.Add(d))
			case c.cfg.Lockout > 0:
				d = c.cfg.Lockout
				c.limit.pause("", now.Add(d))
			default:
				d = max(wait.NextBackOff(), time.Second)
			}
			limited := c.rateLimited(d, fmt.Sprintf("%s was answered %d.", resp.Request, resp.Status))
			limited.HTTPStatus = resp.Status
			if try >= c.cfg.Tries || now.Add(d).After(giveUp) {
				return nil, limited
			}
			req.Stats.LimitWaitMicros.Add(uint64(d.Microseconds()))
			if err := c.again(ctx, req, try, d, limited); err != nil {
				return nil, err
			}
			try++
			continue
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			d := max(wait.NextBackOff(), after)
			if !req.Write && try < c.cfg.Tries && now.Add(d).Before(giveUp) {
				_ = resp.Close()
				if err := c.again(ctx, req, try, d, resp.StatusError("")); err != nil {
					return nil, err
				}
				try++
				continue
			}
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			next, err := c.redirect(req, u, resp)
			_ = resp.Close()
			if err != nil {
				return nil, err
			}
			if redirects++; redirects > maxRedirects {
				return nil, &connectors.Error{Class: connectors.Protocol, API: c.cfg.API, HTTPStatus: resp.Status,
					Message: fmt.Sprintf("more than %d redirects", maxRedirects), Detail: resp.Request}
			}
			u = next
			continue
		}
		return resp, nil
	}
}

// begin reads the beginning of a refusal, if anything asks what it says; nil: nothing
// does. What was read can be read again.
func (c *Client) begin(resp *Response) []byte {
	if c.cfg.Limited == nil && c.cfg.Waits == nil || resp.Status < 400 || resp.Status > 499 || resp.Status == http.StatusUnauthorized {
		return nil
	}
	var begin bytes.Buffer
	rest := resp.Body
	_, _ = io.CopyN(&begin, rest, maxBegin) // its error comes again to who reads on
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin.Bytes()), rest), rest}
	return append([]byte{}, begin.Bytes()...)
}

// maxBegin is as much of a refusal as Config.Limited and Waits are shown.
const maxBegin = 64 << 10

// again logs and waits before the next try.
func (c *Client) again(ctx context.Context, req *Request, try int, d time.Duration, why error) error {
	req.Stats.Retries.Add(1)
	c.env.Log.WarnContext(ctx, "calling the API again", "api", c.cfg.API, "request", c.Describe(req),
		"try", try, "wait", d.Round(time.Millisecond).String(), "error", c.red.text(why.Error()))
	if err := c.sleep(ctx, d); err != nil {
		return c.contextError(ctx, err)
	}
	return nil
}

// callTime is what a call that had to wait is left with at least: one that began
// just before its deadline would be cut off, and a write's outcome be unknown.
const callTime = 100 * time.Millisecond

// waitForLimit waits for the token buckets, unless that takes too long.
func (c *Client) waitForLimit(ctx context.Context, req *Request, giveUp time.Time) error {
	if isBackground(ctx) {
		return c.waitBehind(ctx, req)
	}
	c.limit.waiting.Add(1)
	defer c.limit.waiting.Add(-1)
	for {
		now := time.Now()
		share := c.limit.share()
		d, giveBack := c.limit.reserve(req.Class, now)
		if d <= 0 {
			return c.leave(ctx, req)
		}
		if now.Add(d + callTime).After(giveUp) {
			giveBack()
			return c.rateLimited(d, "The wait would be longer than this query may take.")
		}
		req.Stats.LimitWaitMicros.Add(uint64(d.Microseconds()))
		if err := c.sleepTurn(ctx, d, share); err != nil {
			giveBack()
			return c.contextError(ctx, err)
		}
		// A pause may have come up meanwhile, or another share.
		if c.limit.share() == share && !c.limit.pausedNow(req.Class, time.Now()) {
			return c.leave(ctx, req)
		}
		giveBack()
	}
}

// leave waits until those have gone whose turns had passed before, too: as long as the
// machine stood still, at most.
func (c *Client) leave(ctx context.Context, req *Request) error {
	d := c.limit.leave(req.Class, time.Now())
	if d <= 0 {
		return nil
	}
	req.Stats.LimitWaitMicros.Add(uint64(d.Microseconds()))
	if err := c.sleep(ctx, d); err != nil {
		return c.contextError(ctx, err)
	}
	return nil
}

// sleepTurn sleeps, but not for long on when limits are divided anew.
func (c *Client) sleepTurn(ctx context.Context, d time.Duration, share uint64) error {
	const step = 100 * time.Millisecond
	for share > 0 && d > step {
		if err := c.sleep(ctx, step); err != nil {
			return err
		}
		if c.limit.share() != share {
			return nil
		}
		d -= step
	}
	return c.sleep(ctx, d)
}

func (c *Client) rateLimited(d time.Duration, detail string) *connectors.Error {
	return &connectors.Error{Class: connectors.RateLimited, API: c.cfg.API,
		Message: "the API's rate limit is reached", Detail: detail, RetryAfter: d}
}

// redirect gives the URL to go on with.
func (c *Client) redirect(req *Request, from *url.URL, resp *Response) (*url.URL, error) {
	loc, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, &connectors.Error{Class: connectors.Protocol, API: c.cfg.API, HTTPStatus: resp.Status,
			Message: fmt.Sprintf("status %d without a valid Location", resp.Status), Detail: resp.Request}
	}
	next := from.ResolveReference(loc)
	next.Fragment = ""
	if e := c.elsewhere(next, "a redirect"); e != nil {
		e.HTTPStatus = resp.Status
		return nil, e
	}
	keeps := resp.Status == http.StatusTemporaryRedirect || resp.Status == http.StatusPermanentRedirect
	if m := methodOf(req); !keeps && m != http.MethodGet && m != http.MethodHead {
		return nil, &connectors.Error{Class: connectors.Protocol, API: c.cfg.API, HTTPStatus: resp.Status,
			Message: fmt.Sprintf("a %s was redirected with status %d, which would make it a GET", m, resp.Status),
			Detail:  resp.Request, Hint: "Correct the server's base URL."}
	}
	return next, nil
}

// attemptError is a failed attempt; again tells whether another is harmless.
type attemptError struct {
	err   error
	again bool
}

func (e *attemptError) Error() string { return e.err.Error() }

// attempt sends the request once. token is what it was authenticated with.
func (c *Client) attempt(ctx context.Context, req *Request, u *url.URL) (_ *Response, token string, _ error) {
	// cancel ends the attempt with the body's Close, or here.
	actx, cancel := context.WithCancelCause(ctx)
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{
		// net/http takes another connection only after proof that nothing went
		// out on the first, or for a request that carries an idempotency key.
		GetConn: func(string) {
			if req.Header.Get("Idempotency-Key") == "" && req.Header.Get("X-Idempotency-Key") == "" {
				sent.Store(false)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}
	var payload io.Reader
	if req.Body != nil {
		payload = bytes.NewReader(req.Body)
	}
	hr, err := http.NewRequestWithContext(httptrace.WithClientTrace(actx, trace), methodOf(req), u.String(), payload)
	if err != nil {
		cancel(nil)
		return nil, "", fmt.Errorf("making the request: %w", c.hideURL(err))
	}
	c.setHeaders(hr, req.Header)
	if token, err = c.auth.apply(ctx, hr); err != nil {
		cancel(nil)
		var ce *connectors.Error
		switch {
		case ctx.Err() != nil:
			err = c.contextError(ctx, err)
		case errors.As(err, &ce) && ce.Class == connectors.Unavailable:
			// Nothing but the login was sent, which is no write.
			err = &attemptError{err: err, again: true}
		}
		return nil, "", err
	}
	silence := time.AfterFunc(c.cfg.Timeout, func() { cancel(errStalled) })
	start := time.Now()
	req.Stats.Calls.Add(1)
	r, err := c.http.Do(hr) //nolint:bodyclose // the Response closes it
	silence.Stop()
	took := time.Since(start)
	req.Stats.APIMicros.Add(uint64(took.Microseconds()))
	if err != nil {
		c.observe(hr.Method, 0, start)
		if errors.Is(context.Cause(actx), errStalled) && ctx.Err() == nil {
			err = errStalled
		}
		err = c.sendError(ctx, err, req, sent.Load())
		cancel(nil)
		return nil, "", err
	}
	c.observe(hr.Method, r.StatusCode, start)
	what := hr.Method + " " + c.red.url(u)
	if c.env.Log.Enabled(ctx, slog.LevelDebug) {
		c.env.Log.DebugContext(ctx, "called the API", "api", c.cfg.API, "request", what,
			"status", r.StatusCode, "took", took.Round(time.Microsecond).String())
	}
	return &Response{
		Status: r.StatusCode, Header: r.Header, Body: newBody(ctx, c, req, r.Body, cancel),
		Request: what, write: req.Write, c: c, url: u,
	}, token, nil
}

func (c *Client) setHeaders(hr *http.Request, own http.Header) {
	for _, h := range []http.Header{c.cfg.Header, own} {
		for k, v := range h {
			hr.Header[http.CanonicalHeaderKey(k)] = v
		}
	}
	if hr.Header.Get("User-Agent") == "" {
		ua := c.env.UserAgent
		if ua == "" {
			ua = "hallway"
		}
		hr.Header.Set("User-Agent", ua)
	}
}

func (c *Client) observe(method string, status int, start time.Time) {
	if c.env.Observe != nil {
		c.env.Observe(c.cfg.API, method, status, time.Since(start))
	}
}
