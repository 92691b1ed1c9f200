// What becomes of failed calls: typed errors, and the class of a status code.

package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/hallwaydb/hallway/connectors"
)

// StatusClass is the class of an API's refusal that says nothing more precise
// than its status. write tells whether the call could have changed something.
func StatusClass(status int, write bool) connectors.Class {
	switch status {
	case http.StatusUnauthorized:
		return connectors.Unauthenticated
	case http.StatusForbidden:
		return connectors.PermissionDenied
	case http.StatusNotFound, http.StatusGone:
		return connectors.NotFoundError
	case http.StatusConflict, http.StatusPreconditionFailed:
		return connectors.Conflict
	case http.StatusLocked:
		return connectors.Locked
	case http.StatusTooManyRequests:
		return connectors.RateLimited
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return connectors.NotSupported
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if write {
			return connectors.CheckViolation
		}
		return connectors.Protocol
	case http.StatusServiceUnavailable:
		return connectors.Unavailable // it did not begin
	case http.StatusRequestTimeout:
		if write {
			return connectors.UnknownOutcome
		}
		return connectors.Unavailable
	}
	if status >= 500 {
		// An API that broke, or a gateway that gave up, may have written first.
		if write {
			return connectors.UnknownOutcome
		}
		return connectors.Unavailable
	}
	return connectors.Protocol
}

// StatusError makes the error of an answer that is not a success. message is
// what the API said, if the connector could tell; empty: the status text.
func (r *Response) StatusError(message string) *connectors.Error {
	if message == "" {
		message = strings.ToLower(http.StatusText(r.Status))
		if message == "" {
			message = "unexpected answer"
		}
	}
	return &connectors.Error{
		Class:      StatusClass(r.Status, r.write),
		API:        r.c.cfg.API,
		Message:    message,
		Detail:     r.Request,
		HTTPStatus: r.Status,
	}
}

func isJSON(contentType string) bool {
	mt, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	return mt == "application/json" || strings.HasSuffix(mt, "+json")
}

// contextError is what becomes of a call whose query has ended.
func (c *Client) contextError(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &connectors.Error{Class: connectors.DeadlineExceeded, API: c.cfg.API,
			Message: "the query's time was over before the API had answered", Err: context.DeadlineExceeded}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("calling %s: %w", c.cfg.API, ctx.Err())
	}
	return err
}

// sendError types the error of an attempt that brought no answer. sent tells
// whether the API could have received it.
func (c *Client) sendError(ctx context.Context, err error, req *Request, sent bool) error {
	cause := c.hideURL(err)
	if req.Write && sent {
		if ctx.Err() != nil {
			cause = ctx.Err()
		}
		return &attemptError{err: &connectors.Error{Class: connectors.UnknownOutcome, API: c.cfg.API,
			Message: "the write was sent and no answer came: whether the API has done it is not known",
			Detail:  c.Describe(req) + ": " + c.red.text(reason(cause)) + ".", Err: cause}}
	}
	if ctx.Err() != nil {
		return c.contextError(ctx, err)
	}
	e := &connectors.Error{Class: connectors.Unavailable, API: c.cfg.API, Err: cause}
	again := true
	var addr *errAddress
	var unknownCA x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var badCert *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &addr):
		e.Class, again = connectors.InvalidOptionValue, false
		e.Message = fmt.Sprintf("host %q leads to an address that is not allowed", c.base.Host)
		e.Detail = addr.Error() + "."
	case errors.As(err, &unknownCA), errors.As(err, &wrongName), errors.As(err, &badCert):
		again = false
		e.Message = fmt.Sprintf("the certificate of %s cannot be trusted", c.base.Host)
		e.Detail = c.red.text(cause.Error()) + "."
	case errors.Is(err, errStalled):
		again = false
		e.Message = fmt.Sprintf("no answer within %s", c.cfg.Timeout)
		e.Detail = c.Describe(req) + "."
	case errors.As(err, &dns):
		e.Message = fmt.Sprintf("could not find host %q", c.base.Hostname())
		e.Detail = reason(dns) + "."
		e.Hint = "Check the server's base URL, and the name service of the sidecar's machine."
	default:
		e.Message = "could not reach " + c.base.Host + ": " + c.red.text(reason(cause))
		e.Hint = "Check that the API runs there and that the sidecar's machine can reach it."
	}
	return &attemptError{err: e, again: again}
}

// readError types the error of a body that broke off.
func (c *Client) readError(ctx context.Context, err error, req *Request, stalled bool) error {
	if ctx.Err() != nil && !req.Write {
		return c.contextError(ctx, err)
	}
	cause := c.hideURL(err)
	if ctx.Err() != nil {
		cause = ctx.Err()
	}
	e := &connectors.Error{Class: connectors.Unavailable, API: c.cfg.API,
		Message: "the answer was cut short: " + c.red.text(reason(cause)), Detail: c.Describe(req) + ".", Err: cause}
	if stalled && ctx.Err() == nil {
		e.Message = fmt.Sprintf("the answer stopped coming for %s", c.cfg.Timeout)
	}
	if req.Write {
		e.Class = connectors.UnknownOutcome
	}
	return e
}

// reason says in a few words why a connection failed.
func reason(err error) string {
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns):
		return dns.Err
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, errStalled):
		return "no answer in time"
	case errors.Is(err, context.DeadlineExceeded):
		return "the query's time was over"
	case errors.Is(err, context.Canceled):
		return "the query was cancelled"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return err.Error()
}

// hideURL takes the URL, which may hold secrets, out of net/http's errors.
func (c *Client) hideURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
