package airtable

import "fmt"

// refusal is an answer that is an error. Airtable has three shapes of them: an
// object with type and message, a bare string, and for the rate limit a list.
type refusal struct {
	status  int
	kind    string
	message string
	bare    bool
	list    bool
}

func (r *refusal) body() any {
	switch {
	case r.bare:
		return map[string]any{"error": r.kind}
	case r.list:
		return map[string]any{"errors": []any{map[string]any{"error": r.kind, "message": r.message}}}
	case r.message == "":
		return map[string]any{"error": map[string]any{"type": r.kind}}
	}
	return map[string]any{"error": map[string]any{"type": r.kind, "message": r.message}}
}

func refuse(status int, kind, format string, args ...any) *refusal {
	return &refusal{status: status, kind: kind, message: fmt.Sprintf(format, args...)}
}

// notFound is for paths that no route matches and ids that do not look like ids:
// the one error that is a bare string. It is found before the token is looked at.
func notFound() *refusal { return &refusal{status: 404, kind: "NOT_FOUND", bare: true} }

func unauthorized() *refusal {
	return refuse(401, "AUTHENTICATION_REQUIRED", "Authentication required")
}

// modelNotFound does not tell what is missing from what is not allowed.
func modelNotFound() *refusal {
	return refuse(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "Invalid permissions, or the requested model was not found. Check that both your user and your token have the required permissions, and that the model names and/or ids are correct.")
}

func recordNotFound() *refusal { return refuse(404, "MODEL_ID_NOT_FOUND", "Record not found") }

func invalidRequest() *refusal {
	return refuse(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed. Check your request data.")
}

func badBody() *refusal {
	return refuse(422, "INVALID_REQUEST_BODY", "Could not parse request body")
}

func badRecords(what string) *refusal {
	return refuse(422, "INVALID_RECORDS", "You must provide an array of up to 10 record %s.", what)
}

func unknownField(name string) *refusal {
	return refuse(422, "UNKNOWN_FIELD_NAME", `Unknown field name: "%s"`, name)
}

func computedField(name string) *refusal {
	return refuse(422, "INVALID_VALUE_FOR_COLUMN", `Field "%s" cannot accept a value because the field is computed`, name)
}

func badValue(name string) *refusal {
	return refuse(422, "INVALID_VALUE_FOR_COLUMN", `Field "%s" cannot accept the provided value`, name)
}

func badChoice(value string) *refusal {
	return refuse(422, "INVALID_MULTIPLE_CHOICE_OPTIONS", `Insufficient permissions to create new select option ""%s""`, value)
}

func badLink(id string) *refusal {
	return refuse(422, "ROW_DOES_NOT_EXIST", "Record ID %s does not exist", id)
}

func badFormula(detail string) *refusal {
	return refuse(422, "INVALID_FILTER_BY_FORMULA", "The formula for filtering records is invalid: %s", detail)
}

func expired() *refusal { return &refusal{status: 422, kind: "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"} }

func rateLimited() *refusal {
	return &refusal{status: 429, kind: "RATE_LIMIT_REACHED", message: "Rate limit exceeded. Please try again later", list: true}
}

func urlTooLong() *refusal { return &refusal{status: 414, kind: "URI_TOO_LONG", bare: true} }
