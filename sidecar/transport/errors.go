// What becomes of failed calls: typed errors, and the class of a status code.

package transport

import (
	"mime"
	"net/http"
	"strings"

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
