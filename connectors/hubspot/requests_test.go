package hubspot

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// recorder stands before a stand-in and keeps what it was asked, each once.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	sent map[sentRequest]bool
}

type sentRequest struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query"`
	Body   string `json:"body"`
}

func record(t *testing.T, api *fake.Server) *recorder {
	t.Helper()
	r := &recorder{sent: map[sentRequest]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.sent[sentRequest{q.Method, q.URL.EscapedPath(), q.URL.RawQuery, string(body)}] = true
		r.mu.Unlock()
		q.Body = io.NopCloser(bytes.NewReader(body))
		api.ServeHTTP(w, q)
	}))
	t.Cleanup(r.Close)
	return r
}

// judge has HubSpot's own client say whether all requests so far are some of its API's,
// with parameters and bodies that it describes, and these operations among them.
func (r *recorder) judge(t *testing.T, operations ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []sentRequest
	for q := range r.sent {
		all = append(all, q)
	}
	require.NotEmpty(t, all)
	harness.Judge(t, "hubspot_requests.js", "", harness.Controls{
		"requests":   func(url.Values) any { return all },
		"operations": func(url.Values) any { return operations },
	})
}
