// Package transport is the one HTTP client that every connector uses: where
// requests may go, authentication, rate limits, retries, bounds, redaction and
// counting. It knows no API's grammar: status codes other than 429 and those
// that a retry mended are handed to the connector, with StatusError for the
// common case.
//
// This file holds what a connector sees: Config, Client, Request, Response.
package transport

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/secret"
)

// Secret is a string that prints as ***; Secret.Reveal gives the text.
type Secret = secret.Value

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return secret.New(text) }

// Defaults of Config.
const (
	DefaultTimeout          = 30 * time.Second
	DefaultMaxWait          = 30 * time.Second
	DefaultTries            = 4
	DefaultMaxResponseBytes = 32 << 20
)

// Config is what a connector tells about its API.
type Config struct {
	// API is the name in error messages and metrics: "HubSpot". Required.
	API string
	// BaseURL is absolute, http or https, without user, query and fragment.
	// Its path is put before every Request.Path. Its host must be in
	// Env.AllowHosts. Required.
	BaseURL string
	// Auth is how requests authenticate; nil: not at all.
	Auth Auth
	// Header goes with every request; may be nil. A Request's own wins.
	Header http.Header
	// Limits are token buckets by Request.Class. The bucket of class "" is
	// taken from by every request, in addition to its class's own. A class
	// without one is not limited.
	Limits map[string]Limit
	// RateHeaders names the headers in which the API tells how much is left;
	// the zero value names none. 429 and Retry-After are always obeyed.
	RateHeaders RateHeaders
	// Lockout is for how long no call is made after an answer 429 without
	// Retry-After; 0: not known, and calls are tried again after a second, then
	// later and later.
	Lockout time.Duration
	// Limited tells whether an answer 400 to 499, other than 401 and 429, means
	// what 429 does; body is its beginning. nil: none does. Such a call is waited
	// for and sent again, even one that writes.
	Limited func(status int, header http.Header, body []byte) bool
	// Waits tells for how long to wait after an answer 400 to 499, other than 401,
	// that has no Retry-After; false: as without it. An answer other than 429 then
	// means that nothing was done, so that the call may be sent again after the
	// wait, even one that writes; it is returned when there is no time for that.
	// nil: it is not known.
	Waits func(status int, header http.Header, body []byte) (time.Duration, bool)
	// Budget is where the API tells how many calls of a day are left; nil: it does
	// not.
	Budget *Budget
	// Sharing has the limits and the budget in common with the other clients of the
	// same ShareKey, whose Limits, RateHeaders and Budget must be equal; nil: they are
	// the client's own.
	Sharing  *Sharing
	ShareKey string
	// MaxCalls bounds the calls that one connectors.Statement may make; 0: nothing
	// does.
	MaxCalls uint64
	// Timeout bounds the wait for an answer's header, and each later pause in
	// its body; default DefaultTimeout. The context's deadline bounds all.
	Timeout time.Duration
	// MaxWait bounds the waiting for limits and between retries of one call
	// when the context has no earlier deadline; default Env.MaxWait, else
	// DefaultMaxWait.
	MaxWait time.Duration
	// Tries bounds how often one call is sent; default DefaultTries. 1 means
	// no retry.
	Tries int
}

// Limit is a token bucket: PerSecond calls a second on average, Burst at once
// (at least 1).
type Limit struct {
	PerSecond float64
	Burst     int
}

// RateHeaders are header names, empty where the API has none. When Remaining
// says 0, the class's calls wait until Reset, or for Interval, or for a second.
type RateHeaders struct {
	Remaining string
	// Reset holds seconds from now, or seconds (or milliseconds) since 1970,
	// told apart by size, or an HTTP date.
	Reset string
	// IntervalMillis holds the window's length in milliseconds.
	IntervalMillis string
}

// Request is one call of the API.
type Request struct {
	// Method; default GET.
	Method string
	// Path is put after the base URL's path. Or it is an absolute URL that the
	// API gave (a link to the next page), or one with a host: then scheme and
	// host must be the base URL's own.
	Path string
	// Query is added to what Path has; may be nil.
	Query url.Values
	// Header may be nil.
	Header http.Header
	// Body may be nil. It is not kept after Do returns.
	Body []byte
	// Write says that the call changes something: it is sent again only when
	// the first was provably without effect (no connection; 401 with a renewed
	// token; 429), and failing without an answer is UnknownOutcome. A search
	// by POST is not a write.
	Write bool
	// Class of the endpoint, for Config.Limits.
	Class string
	// Stats counts calls, retries, bytes and times; may be nil. Pages and rows
	// are the connector's to count.
	Stats *connectors.Stats
}

// Response is an answer whose body is yet to be read. Close it always.
type Response struct {
	// Status is the HTTP status, any but 429 and redirects.
	Status int
	Header http.Header
	// Body streams the answer, decompressed. A read error is a
	// *connectors.Error: Unavailable when the answer was cut (UnknownOutcome
	// after a write), LimitExceeded past Env.MaxResponseBytes,
	// DeadlineExceeded; or wraps context.Canceled.
	Body io.ReadCloser
	// Request describes the call without secrets: "GET /v1/contacts?limit=5".
	Request string

	write bool
	c     *Client
	url   *url.URL
}

// Close ends the response. A body read to its end leaves the connection for
// the next call; one that was not is given up.
func (r *Response) Close() error { return r.Body.Close() } //nolint:wrapcheck // body.Close says what it did

// Link resolves a link that the answer gave against the answer's own URL, as
// Request.Path wants it. "" stays "".
func (r *Response) Link(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	u, err := url.Parse(ref)
	if err != nil {
		return "", &connectors.Error{Class: connectors.Protocol, API: r.c.cfg.API,
			Message: "the answer links to something that is not a URL", Detail: r.Request}
	}
	return r.url.ResolveReference(u).String(), nil
}

// Excerpt reads the body's beginning as one line of at most n bytes, without
// secrets, for the detail of an error. It leaves the body to Close alone.
func (r *Response) Excerpt(n int) string {
	// Some more is read, so that no secret is cut in two and shown by half.
	buf := make([]byte, max(n, 0)+1024)
	got, _ := io.ReadFull(r.Body, buf)
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(buf[:got]), "?")), " ")
	text = r.c.red.text(text)
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return text
}

// IsJSON reports whether the Content-Type is application/json or +json.
func (r *Response) IsJSON() bool { return isJSON(r.Header.Get("Content-Type")) }

// Client calls one API with one credential. It is safe for concurrent use, and
// keeps its own connections and token, and limits unless Config.Sharing is set.
type Client struct {
	cfg   Config
	env   connectors.Env
	base  *url.URL
	http  *http.Client
	auth  authenticator
	limit *limiter
	// budget is what Config.Budget has told.
	budget *budget
	// release gives up what is shared.
	release func()
	red     *redactor
	sleep   func(context.Context, time.Duration) error
}

// New checks cfg and makes a client; it calls nothing. An error is a
// *connectors.Error of class InvalidOptionValue that names the base URL, the host
// and, where it is not allowed, how to allow it.
func New(env connectors.Env, cfg Config) (*Client, error) {
	return newClient(env, cfg)
}

// Do sends the request and returns the answer when its header is there, after
// what retries were right. Its errors are *connectors.Error: Unavailable (no
// connection), UnknownOutcome (a write was sent and no answer came),
// RateLimited (with RetryAfter; also at once, when the wait would pass the
// deadline, the call eat into Budget.Reserve or be one more than MaxCalls), Unauthenticated (no token to be had), DeadlineExceeded,
// Protocol (a redirect elsewhere); or wrap context.Canceled.
func (c *Client) Do(ctx context.Context, req *Request) (*Response, error) {
	return c.do(ctx, req)
}

// Describe gives the request as it would be sent, without secrets, for EXPLAIN
// and for dry runs: "GET /api/contacts?limit=5".
func (c *Client) Describe(req *Request) string {
	u, err := c.resolve(req)
	if err != nil {
		return methodOf(req) + " " + c.red.text(req.Path)
	}
	return methodOf(req) + " " + c.red.url(u)
}

// Limited reports whether the API has a limit that is known beforehand.
func (c *Client) Limited() bool { return len(c.limit.limits) > 0 }

// SetShare says which part of the limits this client may use, from 0 (for now
// nothing) to 1: others call the same API.
func (c *Client) SetShare(share float64) { c.limit.setShare(share, time.Now()) }

// Redact masks every secret of this client in text that came from the API.
func (c *Client) Redact(text string) string { return c.red.text(text) }

// Close gives up idle connections and what is shared. No call may run or
// follow.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.release()
}
