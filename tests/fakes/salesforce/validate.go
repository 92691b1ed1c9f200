package salesforce

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// input is a row as a request has it, by the names it uses.
type input map[string]any

// known checks names before anything else: a name that the object does not have
// spoils the whole request, not just its row.
func (t *table) known(in input) *apiError {
	for name := range in {
		if name == "attributes" || strings.EqualFold(name, "id") {
			continue
		}
		if t.def.field(name) == nil {
			return newError(400, "INVALID_FIELD", "No such column '%s' on sobject of type %s", name, t.def.Name)
		}
	}
	return nil
}

// convert parses a value of JSON, or of a CSV cell, as a field has it. Its errors
// are of two kinds: what cannot be parsed spoils the request (JSON_PARSER_ERROR),
// the rest is the row's.
func (s *Server) convert(t *table, f *Field, v any) (any, *apiError) {
	mismatch := func(want string) *apiError {
		return newError(400, "JSON_PARSER_ERROR", "Cannot deserialize instance of %s from %s value %v or request may be missing a required field at [line:1, column:1]", want, jsonKind(v), v)
	}
	if v == nil {
		return nil, nil
	}
	switch f.Type {
	case "boolean":
		switch v {
		case true, "true":
			return true, nil
		case false, "false":
			return false, nil
		}
		return nil, mismatch("boolean")
	case "int", "double", "currency", "percent":
		var text string
		switch v := v.(type) {
		case json.Number:
			text = v.String()
		case string:
			text = v
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, mismatch(f.Type)
		}
		if whole := f.Precision - f.Scale; math.Abs(n) >= math.Pow10(whole) {
			return nil, onField(f.Name, "NUMBER_OUTSIDE_VALID_RANGE", "%s: value outside of valid range on numeric field: %s", f.Label, text)
		}
		if f.Type == "int" && n != math.Trunc(n) {
			return nil, mismatch("int")
		}
		scaled := math.Pow10(f.Scale)
		return math.Round(n*scaled) / scaled, nil
	}
	text, ok := v.(string)
	if !ok {
		if !isText(f.Type) {
			return nil, mismatch(f.Type)
		}
		text = fmt.Sprint(v) // a number given for a text becomes one
	}
	if text == "" {
		return nil, nil
	}
	switch f.Type {
	case "date":
		day := text
		if m, ok := parseMoment(text); ok {
			day = m.Format(time.DateOnly)
		}
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return nil, mismatch("date")
		}
		return Date(day), nil
	case "datetime":
		m, ok := parseMoment(text)
		if day, err := time.Parse(time.DateOnly, text); err == nil {
			m, ok = day, true
		}
		if !ok {
			return nil, mismatch("datetime")
		}
		return m.Truncate(time.Second), nil
	case "time":
		m, err := time.Parse("15:04:05.999Z", text)
		if err != nil {
			return nil, mismatch("time")
		}
		return TimeOfDay(m.Format("15:04:05.000")), nil
	case "reference":
		full, ok := fullID(text)
		if !ok {
			return nil, onField(f.Name, "MALFORMED_ID", "%s: id value of incorrect type: %s", f.Label, text)
		}
		to := s.byPrefix(full)
		if to == nil || !slices.Contains(f.ReferenceTo, to.def.Name) {
			return nil, onField(f.Name, "FIELD_INTEGRITY_EXCEPTION", "%s: id value of incorrect type: %s", f.Label, text)
		}
		if r := to.byID[full]; r == nil || r["IsDeleted"] == true {
			e := newError(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
			return nil, e
		}
		return full, nil
	}
	return textValue(t, f, text)
}

var email = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

func textValue(t *table, f *Field, text string) (any, *apiError) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	switch {
	case utf8.RuneCountInString(text) > f.Length:
		return nil, onField(f.Name, "STRING_TOO_LONG", "%s: data value too large: %s (max length=%d)", f.Label, text, f.Length)
	case f.Type == "email" && !email.MatchString(text):
		return nil, onField(f.Name, "INVALID_EMAIL_ADDRESS", "%s: invalid email address: %s", f.Label, text)
	case f.Type == "multipicklist":
		picks := strings.Split(text, ";")
		for _, p := range picks {
			if !slices.Contains(f.Values, p) {
				return nil, onField(f.Name, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "%s: bad value for restricted picklist field: %s", f.Label, p)
			}
		}
		slices.SortFunc(picks, func(a, b string) int { return slices.Index(f.Values, a) - slices.Index(f.Values, b) })
		return strings.Join(slices.Compact(picks), ";"), nil
	case f.Type == "picklist":
		// A value in another case becomes the one that the list has.
		for _, have := range f.Values {
			if strings.EqualFold(have, text) {
				return have, nil
			}
		}
		if f.Restricted {
			return nil, onField(f.Name, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "%s: bad value for restricted picklist field: %s", f.Label, text)
		}
	}
	return text, nil
}

func jsonKind(v any) string {
	switch v.(type) {
	case json.Number:
		return "VALUE_NUMBER"
	case bool:
		return "VALUE_BOOLEAN"
	case string:
		return "VALUE_STRING"
	}
	return "START_OBJECT"
}

// write checks a row and stores it; old is nil to create. parse is an error that
// spoils the whole request.
func (s *Server) write(t *table, old Record, in input) (row Record, row1 *apiError, parse *apiError) {
	if t.def.ReadOnly {
		return nil, newError(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "entity type %s does not support writes", t.def.Name), nil
	}
	row = Record{"IsDeleted": false}
	if old != nil {
		row = clone(old)
	}
	var locked []string
	for _, f := range t.def.Fields {
		v, given := lookup(in, f.Name)
		if !given || f.Name == "Id" {
			continue
		}
		if old == nil && !f.Createable || old != nil && !f.Updateable {
			locked = append(locked, f.Name)
			continue
		}
		value, err := s.convert(t, f, v)
		switch {
		case err != nil && err.Code == "JSON_PARSER_ERROR":
			return nil, nil, err
		case err != nil:
			return nil, err, nil
		}
		row[f.Name] = value
	}
	if len(locked) > 0 {
		e := newError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: %s. Please check the security settings of this field and verify that it is read/write for your profile or permission set.", strings.Join(locked, ", "))
		e.Fields = locked
		return nil, e, nil
	}
	if err := s.complete(t, old, row); err != nil {
		return nil, err, nil
	}
	t.store(old, row)
	return row, nil, nil
}

func lookup(in input, name string) (any, bool) {
	if v, ok := in[name]; ok {
		return v, true
	}
	for k, v := range in {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// complete fills in what the org sets, and checks what a row must be as a whole.
func (s *Server) complete(t *table, old, row Record) *apiError {
	now := s.now()
	if old == nil {
		for _, f := range t.def.Fields {
			if _, given := row[f.Name]; !given && f.Default != nil {
				row[f.Name] = f.Default
			}
		}
	}
	var missing []string
	for _, f := range t.def.Fields {
		if f.Compute != nil || !f.Createable {
			continue
		}
		if row[f.Name] == nil && f.Type == "boolean" {
			row[f.Name] = false
		}
		if row[f.Name] == nil && !f.Nillable {
			missing = append(missing, f.Name)
		}
	}
	if len(missing) > 0 {
		return &apiError{Status: http.StatusBadRequest, Code: "REQUIRED_FIELD_MISSING", Fields: missing,
			Message: fmt.Sprintf("Required fields are missing: [%s]", strings.Join(missing, ", "))}
	}
	for _, field := range []string{"Name", "LastName", "Subject"} {
		if name, ok := row[field].(string); ok && s.rowFails[name] != nil {
			return s.rowFails[name]
		}
	}
	if n, ok := row["Amount"].(float64); ok && n < 0 {
		return onField("Amount", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "An opportunity's amount cannot be negative")
	}
	for name, index := range t.unique {
		if row[name] == nil {
			continue
		}
		if other := index[uniqueKey(t.def.field(name), row[name])]; other != nil && (old == nil || other["Id"] != old["Id"]) {
			return newError(400, "DUPLICATE_VALUE", "duplicate value found: %s duplicates value on record with id: %s", name, other["Id"])
		}
	}
	if old == nil {
		row["Id"] = t.nextID()
		row["CreatedDate"], row["CreatedById"] = now, UserID
		for _, f := range t.def.Fields {
			if f.AutoNumber {
				row[f.Name] = fmt.Sprintf("%08d", t.counter)
			}
		}
	}
	row["LastModifiedDate"], row["LastModifiedById"], row["SystemModstamp"] = now, UserID, now
	return nil
}

// Insert creates rows as a collection would, for tests that need some; it answers
// their ids. A row that is refused is an error.
func (s *Server) Insert(object string, rows ...map[string]any) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(object)
	if t == nil {
		return nil, fmt.Errorf("no object %s", object)
	}
	ids := make([]string, len(rows))
	for i, in := range rows {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		decoded, bad := decodeInput(strings.NewReader(string(text)))
		if bad == nil {
			bad = t.known(decoded)
		}
		if bad != nil {
			return nil, bad
		}
		row, bad, parse := s.write(t, nil, decoded)
		if bad != nil {
			return nil, bad
		}
		if parse != nil {
			return nil, parse
		}
		ids[i] = row["Id"].(string)
	}
	return ids, nil
}

// Change updates a row behind everybody's back.
func (s *Server) Change(object, id string, fields map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(object)
	old, err := t.find(id)
	if err != nil {
		return err
	}
	text, e := json.Marshal(fields)
	if e != nil {
		return e
	}
	in, err := decodeInput(strings.NewReader(string(text)))
	if err == nil {
		_, bad, parse := s.write(t, old, in)
		if err = bad; err == nil {
			err = parse
		}
	}
	if err != nil {
		return err
	}
	return nil
}

// Remove deletes rows behind everybody's back.
func (s *Server) Remove(object string, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(object)
	for _, id := range ids {
		r, err := t.find(id)
		if err != nil {
			return err
		}
		s.remove(t, r)
	}
	return nil
}
