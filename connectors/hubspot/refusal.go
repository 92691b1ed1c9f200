// What a refusal says. HubSpot hides the errors of fields in a text: JSON behind
// some words.

package hubspot

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors/rest"
)

// failure is an error's body, or an entry of a batch's errors.
type failure struct {
	Message    string              `json:"message"`
	Category   string              `json:"category"`
	PolicyName string              `json:"policyName"`
	Context    map[string][]string `json:"context"`
	Errors     []struct {
		Message string              `json:"message"`
		Code    string              `json:"code"`
		Context map[string][]string `json:"context"`
	} `json:"errors"`
}

// invalid is an entry of the list in a message.
type invalid struct {
	Message string `json:"message"`
	Error   string `json:"error"`
	Name    string `json:"name"`
}

// contactTaken is how the one conflict of contacts reads.
var contactTaken = regexp.MustCompile(`^Contact already exists\b`)

// missingObject is how the end of an association reads that is not there.
var missingObject = regexp.MustCompile(`^No \w+ with ID \S+ exists`)

// refusal reads an error; nil: it is none of HubSpot's.
func refusal(status int, _ http.Header, body []byte) *rest.Refusal {
	var f failure
	if json.Unmarshal(body, &f) != nil || f.Message == "" {
		return nil
	}
	r := &rest.Refusal{Message: f.Message, Code: f.Category}
	if f.PolicyName != "" {
		r.Code = f.PolicyName
	}
	if status == http.StatusLocked {
		r.Code = "LOCKED"
	}
	switch {
	case f.invalidFields(r):
	case len(f.Context["properties"]) > 0 && strings.Contains(f.Message, "required properties"):
		r.Code = ""
		for _, name := range f.Context["properties"] {
			r.Fields = append(r.Fields, rest.FieldRefusal{Field: name, Message: "a value is required", Code: "REQUIRED_PROPERTY"})
		}
	case contactTaken.MatchString(f.Message):
		r.Code = ""
		r.Fields = []rest.FieldRefusal{{Field: "email", Message: "another contact has it", Code: "UNIQUE_PROPERTY"}}
	case missingObject.MatchString(f.Message):
		r.Code = "ASSOCIATED_OBJECT_NOT_FOUND"
	case f.Category == "MISSING_SCOPES":
		f.scopes(r)
	case len(f.Errors) > 0 && f.Errors[0].Message != "" && f.Errors[0].Message != f.Message:
		r.Message = strings.TrimSuffix(f.Message, ".") + ": " + f.Errors[0].Message
	}
	return r
}

// invalidFields takes the list out of the message.
func (f *failure) invalidFields(r *rest.Refusal) bool {
	at := strings.Index(f.Message, "[{")
	if at < 0 {
		return false
	}
	var list []invalid
	if json.NewDecoder(strings.NewReader(f.Message[at:])).Decode(&list) != nil {
		return false
	}
	list = slices.DeleteFunc(list, func(v invalid) bool { return v.Name == "" && v.Message == "" })
	if len(list) == 0 {
		return false
	}
	r.Message, r.Code = strings.TrimRight(f.Message[:at], ": "), ""
	for _, v := range list {
		r.Fields = append(r.Fields, rest.FieldRefusal{Field: v.Name, Message: v.Message, Code: v.Error})
	}
	return true
}

// scopes says which are missing.
func (f *failure) scopes(r *rest.Refusal) {
	var names []string
	for _, e := range f.Errors {
		names = append(names, e.Context["requiredGranularScopes"]...)
		names = append(names, e.Context["requiredScopes"]...)
	}
	if len(names) > 0 {
		r.Message = "the token lacks the scope " + strings.Join(names, ", ")
	}
}
