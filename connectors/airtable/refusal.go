package airtable

import (
	"encoding/json"
	"net/http"
	"regexp"

	"github.com/hallwaydb/hallway/connectors/rest"
)

// What Airtable's messages look like that name a field or a record. Names stand in
// quotes of either kind, and hold any character.
var (
	fieldProse   = regexp.MustCompile(`(?s)^Field (?:"(.+)"|'(.+)') (.+?)\.?$`)
	unknownProse = regexp.MustCompile(`(?s)^Unknown field name: (?:"(.+)"|'(.+)')\.?$`)
	otherProse   = regexp.MustCompile(`(?s)^(.*) (?:for|of) field (?:"(.+)"|'(.+)')\.?$`)
	choiceProse  = regexp.MustCompile(`(?s)new select option "+(.+?)"+\.?$`)
	recordProse  = regexp.MustCompile(`^Record ID (rec[0-9A-Za-z]{14}) does not exist`)
)

// refusal reads an error: {"error": {"type", "message"}}, {"error": "NOT_FOUND"},
// or {"errors": [{"error", "message"}]}. nil: it is none of these.
func refusal(_ int, _ http.Header, body []byte) *rest.Refusal {
	var answer struct {
		Error  json.RawMessage
		Errors []struct{ Error, Message string }
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	var said struct{ Type, Message string }
	switch {
	case len(answer.Error) > 0 && answer.Error[0] == '"':
		_ = json.Unmarshal(answer.Error, &said.Type)
	case len(answer.Error) > 0:
		_ = json.Unmarshal(answer.Error, &said)
	case len(answer.Errors) > 0:
		said.Type, said.Message = answer.Errors[0].Error, answer.Errors[0].Message
	}
	if said.Type == "" && said.Message == "" {
		return nil
	}
	r := &rest.Refusal{Message: said.Message, Code: said.Type}
	if r.Message == "" {
		r.Message = said.Type
	}
	if m := recordProse.FindStringSubmatch(said.Message); m != nil {
		r.Missing, r.Value = m[1], m[1] // a record to be written, or one linked to
	}
	if m := choiceProse.FindStringSubmatch(said.Message); m != nil {
		r.Value = m[1]
	}
	if field, what := fieldIn(said.Message); field != "" {
		r.Message = ""
		r.Fields = []rest.FieldRefusal{{Field: field, Message: what, Code: said.Type}}
	}
	return r
}

// fieldIn finds the field that a message is about, and what it says of it.
func fieldIn(message string) (field, what string) {
	if m := fieldProse.FindStringSubmatch(message); m != nil {
		return path(m[1] + m[2]), m[3]
	}
	if m := unknownProse.FindStringSubmatch(message); m != nil {
		return path(m[1] + m[2]), "there is no such field any more"
	}
	if m := otherProse.FindStringSubmatch(message); m != nil {
		return path(m[2] + m[3]), m[1]
	}
	return "", ""
}

// path is a field's path if it is named by its id, as we name it.
func path(field string) string {
	if isID("fld", field) {
		return "fields." + field
	}
	return field
}
