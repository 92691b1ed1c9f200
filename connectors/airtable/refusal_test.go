package airtable

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors/rest"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	field := func(name, message, code string) *rest.Refusal {
		return &rest.Refusal{Code: code, Fields: []rest.FieldRefusal{{Field: name, Message: message, Code: code}}}
	}
	for _, c := range []struct {
		body string
		want *rest.Refusal
	}{
		{`{"error":"NOT_FOUND"}`, &rest.Refusal{Message: "NOT_FOUND", Code: "NOT_FOUND"}},
		{`{"error":{"type":"LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}}`, &rest.Refusal{Message: "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", Code: "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}},
		{`{"error":{"type":"AUTHENTICATION_REQUIRED","message":"Authentication required"}}`, &rest.Refusal{Message: "Authentication required", Code: "AUTHENTICATION_REQUIRED"}},
		{`{"errors":[{"error":"RATE_LIMIT_REACHED","message":"Rate limit exceeded. Please try again later"}]}`, &rest.Refusal{Message: "Rate limit exceeded. Please try again later", Code: "RATE_LIMIT_REACHED"}},
		{`{"error":{"type":"INVALID_VALUE_FOR_COLUMN","message":"Field \"Talk \"time\"\" cannot accept the provided value"}}`, field(`Talk "time"`, "cannot accept the provided value", "INVALID_VALUE_FOR_COLUMN")},
		{`{"error":{"type":"INVALID_VALUE_FOR_COLUMN","message":"Field 'It's' cannot accept the provided value."}}`, field("It's", "cannot accept the provided value", "INVALID_VALUE_FOR_COLUMN")},
		{`{"error":{"type":"INVALID_VALUE_FOR_COLUMN","message":"Field \"fldStars000000001\" cannot accept the provided value"}}`, field("fields.fldStars000000001", "cannot accept the provided value", "INVALID_VALUE_FOR_COLUMN")},
		{`{"error":{"type":"UNKNOWN_FIELD_NAME","message":"Unknown field name: \"fldStars000000001\""}}`, field("fields.fldStars000000001", "there is no such field any more", "UNKNOWN_FIELD_NAME")},
		{`{"error":{"type":"INVALID_ATTACHMENT_OBJECT","message":"Invalid attachment object for field \"Files\""}}`, field("Files", "Invalid attachment object", "INVALID_ATTACHMENT_OBJECT")},
		{`{"error":{"type":"INVALID_MULTIPLE_CHOICE_OPTIONS","message":"Insufficient permissions to create new select option \"\"In \"progress\"\"\""}}`,
			&rest.Refusal{Message: `Insufficient permissions to create new select option ""In "progress"""`, Code: "INVALID_MULTIPLE_CHOICE_OPTIONS", Value: `In "progress`}},
		{`{"error":{"type":"ROW_DOES_NOT_EXIST","message":"Record ID recAAAAAAAAAAAAAA does not exist"}}`,
			&rest.Refusal{Message: "Record ID recAAAAAAAAAAAAAA does not exist", Code: "ROW_DOES_NOT_EXIST", Missing: "recAAAAAAAAAAAAAA", Value: "recAAAAAAAAAAAAAA"}},
		{`{"records":[]}`, nil}, {`<html>`, nil}, {`[1]`, nil}, {`{"error":17}`, nil}, {`{"error":null}`, nil},
	} {
		require.Equal(t, c.want, refusal(422, http.Header{}, []byte(c.body)), c.body)
	}
}
