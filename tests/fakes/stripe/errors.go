// What refusals look like.

package stripe

import (
	"fmt"
	"net/http"
)

// apiError is an answer that is not a success.
type apiError struct {
	status               int
	kind                 string // "type" in the answer
	code, param, message string
	declineCode          string
	header               map[string]string
}

func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{status: 400, kind: "invalid_request_error", code: code, param: param, message: fmt.Sprintf(format, args...)}
}

// missing is the answer for an id that is not there: 404 for the request's own
// object, 400 for one that a parameter names.
func missing(status int, what, id, param string) *apiError {
	e := invalid(param, "resource_missing", "No such %s: '%s'", what, id)
	e.status = status
	return e
}

func (e *apiError) body(requestID string) map[string]any {
	out := map[string]any{"type": e.kind, "message": e.message, "request_log_url": "https://dashboard.stripe.com/test/logs/" + requestID}
	for k, v := range map[string]string{"code": e.code, "param": e.param, "decline_code": e.declineCode} {
		if v != "" {
			out[k] = v
		}
	}
	if e.code != "" {
		out["doc_url"] = "https://stripe.com/docs/error-codes/" + e.code
	}
	return map[string]any{"error": out}
}

func noKey() *apiError {
	return &apiError{status: http.StatusUnauthorized, kind: "invalid_request_error",
		message: "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."}
}

func badKey(key string) *apiError {
	shown := key
	if len(key) > 12 {
		shown = key[:8] + "****" + key[len(key)-4:]
	}
	return &apiError{status: http.StatusUnauthorized, kind: "invalid_request_error", message: "Invalid API Key provided: " + shown}
}

func forbidden(key, resource string) *apiError {
	return &apiError{status: http.StatusForbidden, kind: "invalid_request_error",
		message: fmt.Sprintf("The provided key '%s***' does not have the required permissions for this endpoint on account 'acct_fake'. Having the 'rak_%s_read' permission would allow this request to continue.", key[:min(8, len(key))], resource)}
}

func unknownURL(r *http.Request) *apiError {
	return &apiError{status: http.StatusNotFound, kind: "invalid_request_error",
		message: fmt.Sprintf("Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.", r.Method, r.URL.Path)}
}

func tooFast() *apiError {
	return &apiError{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "rate_limit",
		message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
		header:  map[string]string{"Stripe-Rate-Limited-Reason": "global-rate"}}
}

func lockTimeout() *apiError {
	return &apiError{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "lock_timeout",
		message: "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. If you see this error intermittently, retry the request.",
		header:  map[string]string{"Stripe-Should-Retry": "true"}}
}

func broken() *apiError {
	return &apiError{status: http.StatusInternalServerError, kind: "api_error",
		message: "An unknown error occurred."}
}
