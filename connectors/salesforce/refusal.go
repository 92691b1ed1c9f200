// What the API says of a request that it refuses: a list of errors, and for a row of
// a collection the same with another name for the code.

package salesforce

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// duplicate names the field in the words of DUPLICATE_VALUE, which has it nowhere
// else.
var duplicate = regexp.MustCompile(`^duplicate value found: (\w+) duplicates value on record`)

func refusal(_ int, _ http.Header, body []byte) *rest.Refusal {
	var list []struct {
		Message, ErrorCode, StatusCode string
		Fields                         []string
	}
	if json.Unmarshal(body, &list) != nil || len(list) == 0 {
		return nil
	}
	out := &rest.Refusal{}
	var said []string
	for _, e := range list {
		code := e.ErrorCode
		if code == "" {
			code = e.StatusCode
		}
		if out.Code == "" {
			out.Code = code
		}
		said = append(said, words(e.Message))
		if m := duplicate.FindStringSubmatch(e.Message); m != nil && len(e.Fields) == 0 {
			e.Fields = m[1:]
		}
		for _, f := range e.Fields {
			out.Fields = append(out.Fields, rest.FieldRefusal{Field: f})
		}
	}
	out.Message = strings.Join(said, "; ")
	return out
}

// rowError is what an ingest job says of a row: CODE:words:Field,Field --.
var rowError = regexp.MustCompile(`(?s)^([A-Z][A-Z0-9_]*):(.*?)(?::([\w, .]*) ?--)?$`)

// jobError makes of that the error of a row of a collection.
func jobError(text string) []byte {
	type problem struct {
		Message    string   `json:"message"`
		StatusCode string   `json:"statusCode"`
		Fields     []string `json:"fields"`
	}
	p := problem{Message: text}
	if m := rowError.FindStringSubmatch(text); m != nil {
		p.StatusCode, p.Message = m[1], m[2]
		for _, f := range strings.Split(m[3], ",") {
			if f = strings.TrimSpace(f); f != "" {
				p.Fields = append(p.Fields, f)
			}
		}
	}
	out, _ := json.Marshal([]problem{p}) // texts have no such error
	return out
}

// place is where a statement is wrong, with the part of it around.
var place = regexp.MustCompile(`(?s)^.*\nERROR at Row:\d+:Column:\d+\n`)

// words takes off what of a message is a picture.
func words(message string) string { return place.ReplaceAllString(message, "") }

func errorOf(err error) (*connectors.Error, bool) {
	var e *connectors.Error
	return e, errors.As(err, &e)
}
