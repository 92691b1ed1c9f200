package salesforce

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// apiError is one error as the API words it. Status is that of the whole answer,
// when the error is the whole answer.
type apiError struct {
	Status  int
	Code    string
	Message string
	Fields  []string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

func newError(status int, code, format string, args ...any) *apiError {
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// onField is an error of a row that names a field.
func onField(field, code, format string, args ...any) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...), Fields: []string{field}}
}

// at is an error in a statement, with the place as the API shows it: a window of
// the statement, an arrow, row and column.
func at(statement string, pos int, code, format string, args ...any) *apiError {
	row, column := 1, 1
	for _, r := range statement[:min(pos, len(statement))] {
		if r == '\n' {
			row, column = row+1, 1
			continue
		}
		column++
	}
	from, to := max(0, pos-40), min(len(statement), pos+40)
	window := strings.ReplaceAll(strings.ToValidUTF8(statement[from:to], "?"), "\n", " ")
	return newError(http.StatusBadRequest, code, "\n%s\n%s^\nERROR at Row:%d:Column:%d\n%s",
		window, strings.Repeat(" ", max(0, pos-from)), row, column, fmt.Sprintf(format, args...))
}

// writeErrors is the answer that consists of errors.
func writeErrors(w http.ResponseWriter, errs ...*apiError) {
	type entry struct {
		Message string   `json:"message"`
		Code    string   `json:"errorCode"`
		Fields  []string `json:"fields,omitempty"`
	}
	body := make([]entry, len(errs))
	for i, e := range errs {
		body[i] = entry{e.Message, e.Code, e.Fields}
	}
	writeJSON(w, errs[0].Status, body)
}

// rowError is an error inside the answer to a collection, where the code has
// another name than everywhere else.
type rowError struct {
	Code    string   `json:"statusCode"`
	Message string   `json:"message"`
	Fields  []string `json:"fields"`
}

func rowErrors(errs ...*apiError) []rowError {
	out := make([]rowError, len(errs))
	for i, e := range errs {
		out[i] = rowError{e.Code, e.Message, append([]string{}, e.Fields...)}
	}
	return out
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}
