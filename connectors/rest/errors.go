// Refusals in the API's words.

package rest

import (
	"fmt"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

func describeBody(s *source, resp *transport.Response, body []byte) string {
	kind := resp.Header.Get("Content-Type")
	if kind == "" {
		kind = "no Content-Type"
	}
	text := strings.Join(strings.Fields(string(body[:min(len(body), 400)])), " ")
	if text == "" {
		return kind + " without content"
	}
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "..."
	}
	return fmt.Sprintf("%s: %s", kind, s.client.Redact(text))
}

// refusal is the error of an answer that is not a success.
func (t *table) refusal(resp *transport.Response, body []byte, write bool) *connectors.Error {
	_ = write
	return resp.StatusError("")
}
