// Answers and refusals, as HubSpot words them.

package hubspot

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// reply is an answer that is complete.
type reply struct {
	status int
	header map[string]string
	body   any // nil: none
}

func (a reply) write(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	b, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // our own values
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(b) // who does not read it has gone
}

func ok(body any) reply      { return reply{status: http.StatusOK, body: body} }
func created(body any) reply { return reply{status: http.StatusCreated, body: body} }
func nothing() reply         { return reply{status: http.StatusNoContent} }

// failure is the body of a refusal, or one entry of a batch's errors.
type failure struct {
	Status        string              `json:"status"`
	Message       string              `json:"message"`
	CorrelationID string              `json:"correlationId,omitempty"`
	Category      string              `json:"category,omitempty"`
	SubCategory   string              `json:"subCategory,omitempty"`
	ErrorType     string              `json:"errorType,omitempty"`
	PolicyName    string              `json:"policyName,omitempty"`
	GroupName     string              `json:"groupName,omitempty"`
	Context       map[string][]string `json:"context,omitempty"`
	Errors        []detail            `json:"errors,omitempty"`
	Links         map[string]string   `json:"links,omitempty"`

	code int
}

type detail struct {
	Message string              `json:"message"`
	Code    string              `json:"code,omitempty"`
	In      string              `json:"in,omitempty"`
	Context map[string][]string `json:"context,omitempty"`
}

func (f *failure) Error() string { return f.Message }

// fail makes a failure that answers with an HTTP status.
func fail(status int, category, format string, args ...any) *failure {
	return &failure{Status: "error", Message: fmt.Sprintf(format, args...), Category: category, code: status}
}

func (s *Server) refuse(status int, category, message string) reply {
	return s.refuseWith(fail(status, category, "%s", message))
}

func (s *Server) refuseWith(f *failure) reply {
	f.CorrelationID = s.trace()
	return reply{status: f.code, body: f}
}

// trace is a correlation id, another one each time.
func (s *Server) trace() string {
	s.traces++
	return fmt.Sprintf("a43683b0-5717-4ceb-80b4-%012x", s.traces)
}

// split takes the segments of an escaped path.
func split(path string) ([]string, error) {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		u, err := url.PathUnescape(p)
		if err != nil {
			return nil, fmt.Errorf("the path is not well formed: %q", p)
		}
		parts[i] = u
	}
	return parts, nil
}

// maxBody of a request.
const maxBody = 16 << 20

func readBody(r *http.Request) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r.Body, maxBody))
}

// decode reads a body that is JSON, and nothing that the API does not know.
func (r *request) decode(into any) *failure {
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return fail(http.StatusUnsupportedMediaType, "", "Content-Type %q is not supported", kind)
	}
	d := json.NewDecoder(strings.NewReader(string(r.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fail(http.StatusBadRequest, categoryValidation, "Invalid input JSON on line 1, column %d: %s", d.InputOffset()+1, err)
	}
	if d.More() {
		return fail(http.StatusBadRequest, categoryValidation, "Invalid input JSON on line 1, column %d: more than one value", d.InputOffset()+1)
	}
	return nil
}

const (
	categoryValidation = "VALIDATION_ERROR"
	categoryNotFound   = "OBJECT_NOT_FOUND"
	categoryConflict   = "CONFLICT"
	categoryRate       = "RATE_LIMITS"
)
