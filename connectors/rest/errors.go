// Refusals in the API's words: message, class and column from the error's
// shape that the manifest describes.

package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
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
		text = text[:100] + "..."
	}
	return fmt.Sprintf("%s: %s", kind, s.client.Redact(strings.ToValidUTF8(text, "?")))
}

// fieldError is what the API says of one field.
type fieldError struct{ field, message, code string }

// refusal is the error of an answer that is not a success.
func (t *table) refusal(resp *transport.Response, body []byte, write bool) *connectors.Error {
	return t.refusalOf(resp, body, write, rowStatus{})
}

// rowStatus is where in an answer to a batch a refusal stood: row counts from
// 1, 0: it is the whole answer's; status is the row's own, 0: it has none.
type rowStatus struct{ row, status int }

func (t *table) refusalOf(outer *transport.Response, body []byte, write bool, at rowStatus) *connectors.Error {
	rules := &t.src.m.Errors
	copied := *outer
	resp := &copied
	switch {
	case at.status != 0:
		resp.Status = at.status
	case at.row > 0 && succeeded(outer.Status):
		resp.Status = http.StatusUnprocessableEntity // refused, says its place
	}
	message, code, fields := t.src.said(resp.Status, outer.Header, body)

	e := resp.StatusError(clean(message))
	e.Code = code
	if resp.Status == http.StatusMultipleChoices {
		e.Class = connectors.Ambiguous // of the records that an upsert found
	}
	class, known := rules.class(code)
	if known {
		e.Class = class
	}
	said := make([]string, 0, len(fields))
	for _, f := range fields {
		text := clean(f.message)
		if text == "" {
			text = f.code
		}
		name := f.field
		if col := t.columnOf(f.field); col != "" {
			name = col
			if e.Column == "" {
				e.Column = col
			}
		}
		if text != "" {
			said = append(said, strconv.Quote(name)+": "+text)
		}
		if class, ok := rules.class(f.code); ok && !known {
			e.Class, known = class, true
		}
	}
	if len(said) > 0 {
		if message == "" {
			e.Message = strings.Join(said, "; ")
		} else {
			e.Message += ": " + strings.Join(said, "; ")
		}
		if !known && write && (resp.Status == 400 || resp.Status == 422 || resp.Status == 409) {
			e.Class = connectors.CheckViolation
		}
		if len(fields) == 1 && code == "" {
			code = fields[0].code
		}
	}
	e.Message = t.src.client.Redact(e.Message)
	e.Detail = fmt.Sprintf("%s answered %d", t.src.readable(resp.Request), outer.Status)
	if at.row > 0 {
		if at.status != 0 && at.status != outer.Status {
			e.Detail += fmt.Sprintf(", and %d", at.status)
		}
		e.Detail += fmt.Sprintf(" for row %d", at.row)
	}
	if code != "" {
		e.Detail += ", code " + t.src.client.Redact(shortText(code))
	}
	if id := resp.Header.Get(rules.RequestID); rules.RequestID != "" && id != "" {
		e.Detail += fmt.Sprintf(", %s %s", rules.RequestID, shortText(id))
	}
	e.Detail += "."
	switch e.Class {
	case connectors.Unauthenticated:
		e.Hint = "Check the user mapping's options."
	case connectors.NotFoundError:
		if !write {
			e.Hint = fmt.Sprintf("Is the path of object %q in the manifest %q right, and may this user see it?", t.object.Name, t.src.m.File)
		}
	}
	return e
}

// said is what an error's body says.
func (s *source) said(status int, header http.Header, body []byte) (message, code string, fields []fieldError) {
	if s.hooks.Refusal != nil {
		if r := s.hooks.Refusal(status, header, body); r != nil {
			for _, f := range r.Fields {
				fields = append(fields, fieldError{f.Field, f.Message, f.Code})
			}
			return r.Message, r.Code, fields
		}
	}
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		doc = nil
	}
	rules := &s.m.Errors
	return firstText(doc, rules.Message), firstText(doc, rules.Code), rules.Fields.list(doc)
}

// clean takes the full stop off that PostgreSQL's messages do not have, and
// makes one line of it.
func clean(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "..."
	}
	if strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "..") {
		s = s[:len(s)-1]
	}
	return s
}

// columnOf is the table's column for a field as the API names it; empty: none.
func (t *table) columnOf(name string) string {
	for i := range t.columns {
		f := t.columns[i].field
		if f != nil && (f.Path == name || f.Name == name || f.FilterName == name) {
			return t.columns[i].spec.Name
		}
	}
	return ""
}

// class finds a code in the table of the manifest.
func (r *Errors) class(code string) (connectors.Class, bool) {
	if code == "" {
		return 0, false
	}
	i := slices.IndexFunc(r.Codes, func(p Pair) bool { return p.Name == code })
	if i < 0 {
		i = slices.IndexFunc(r.Codes, func(p Pair) bool {
			prefix, ok := strings.CutSuffix(p.Name, "*")
			return ok && strings.HasPrefix(code, prefix)
		})
	}
	if i < 0 {
		return 0, false
	}
	class, ok := errorClasses()[r.Codes[i].Value]
	return class, ok
}

// list finds the errors of fields in an answer, in a stable order.
func (r *ErrorFields) list(doc any) []fieldError {
	if r == nil {
		return nil
	}
	one := func(name string, v any) fieldError {
		f := fieldError{field: name}
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0] // {"email": ["is invalid"]}
		}
		if text, ok := v.(string); ok {
			f.message = text
			return f
		}
		f.message, f.code = textOf(lookup(v, r.Message)), textOf(lookup(v, r.Code))
		return f
	}
	var out []fieldError
	switch v := lookup(doc, r.Path).(type) {
	case map[string]any:
		for name, inner := range v {
			out = append(out, one(name, inner))
		}
		sort.Slice(out, func(i, j int) bool { return out[i].field < out[j].field })
	case []any:
		for _, inner := range v {
			out = append(out, one(textOf(lookup(inner, r.Field)), inner))
		}
	}
	const enough = 20
	return out[:min(len(out), enough)]
}

func firstText(doc any, paths []string) string {
	for _, p := range paths {
		if s := textOf(lookup(doc, p)); s != "" {
			return s
		}
	}
	return ""
}

// lookup follows a dotted path; a number is an array's position.
func lookup(doc any, path string) any {
	for _, name := range splitPath(path) {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			doc = v[i]
		default:
			return nil
		}
	}
	return doc
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
