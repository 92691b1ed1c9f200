package airtable

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// show is a record as the API answers it: cells that are empty are not there, an
// unchecked checkbox neither. shown nil: all fields.
func (s *Server) show(t *Table, r *record, shown []*Field, byID bool) map[string]any {
	if shown == nil {
		shown = t.Fields
	}
	cells := map[string]any{}
	for _, f := range shown {
		v := s.cell(t, f, r)
		if v == nil {
			continue
		}
		if byID {
			cells[f.ID] = v
		} else {
			cells[f.Name] = v
		}
	}
	return map[string]any{"id": r.id, "createdTime": stamp(r.created), "fields": cells}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Server) cell(t *Table, f *Field, r *record) any {
	if !f.Computed() {
		return r.cells[f.ID]
	}
	switch f.Type {
	case "createdBy", "lastModifiedBy":
		return map[string]any{"id": "usrHallway0000001", "email": "ada@example.com", "name": "Ada Park"}
	case "button":
		return map[string]any{"label": f.Name, "url": "https://example.com/" + r.id}
	case "aiText":
		return map[string]any{"state": "empty", "isStale": true, "value": nil}
	}
	return shownValue((&evaluator{s: s, t: t, r: r}).field(f))
}

// shownValue is what a computed cell looks like; an error and what is no finite
// number are objects.
func shownValue(v value) any {
	switch v.kind {
	case isNumber:
		switch {
		case math.IsNaN(v.n):
			return map[string]any{"specialValue": "NaN"}
		case math.IsInf(v.n, 1):
			return map[string]any{"specialValue": "Infinity"}
		case math.IsInf(v.n, -1):
			return map[string]any{"specialValue": "-Infinity"}
		}
		return v.n
	case isText:
		return v.s
	case isDate:
		if v.dateOnly {
			return v.t.Format(time.DateOnly)
		}
		return stamp(v.t)
	case isList:
		if len(v.list) == 0 {
			return nil
		}
		out := make([]any, len(v.list))
		for i, e := range v.list {
			out[i] = shownValue(e)
		}
		return out
	case isError:
		return map[string]any{"error": "#ERROR!"}
	}
	return nil
}

var (
	isoTime = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$`)
)

// accept turns a value of a request into a cell. nil, "", false and an empty list
// clear it. typecast takes texts for what they look like, and makes choices and
// linked records that there are not.
func (s *Server) accept(t *Table, f *Field, v any, typecast bool) (any, *refusal) {
	if f.Computed() {
		return nil, computedField(f.Name)
	}
	if v == nil {
		return nil, nil
	}
	bad := badValue(f.Name)
	str, isString := v.(string)
	num, isNum := v.(float64)
	if isString && str == "" {
		return nil, nil
	}
	switch f.Type {
	case "singleLineText", "multilineText", "richText", "email", "url", "phoneNumber":
		switch {
		case isString:
			if f.Type == "singleLineText" {
				// One line it is: line breaks become spaces.
				str = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(str)
			}
			if len(str) > 100_000 {
				return nil, bad
			}
			return str, nil
		case isNum && typecast:
			return number(num).text(), nil
		}
	case "number", "currency", "percent", "duration", "rating":
		if isString && typecast {
			n, err := strconv.ParseFloat(strings.Trim(str, " $%"), 64)
			if err != nil {
				return nil, nil
			}
			num, isNum = n, true
		}
		if !isNum {
			return nil, bad
		}
		if f.Type == "rating" {
			if num == 0 {
				return nil, nil
			}
			if num != math.Trunc(num) || num < 1 || num > 5 {
				return nil, bad
			}
		}
		return num, nil
	case "checkbox":
		b, ok := v.(bool)
		if isString && typecast {
			b, ok = strings.EqualFold(str, "true") || str == "1" || strings.EqualFold(str, "checked"), true
		}
		switch {
		case !ok:
			return nil, bad
		case !b:
			return nil, nil
		}
		return true, nil
	case "date", "dateTime":
		at, ok := parseDate(str)
		if !isString || !ok || !typecast && !isoTime.MatchString(str) {
			return nil, bad
		}
		if f.Type == "date" {
			return at.Format(time.DateOnly), nil
		}
		return stamp(at), nil
	case "singleSelect":
		if !isString {
			return nil, bad
		}
		return s.choice(f, str, typecast)
	case "multipleSelects":
		return s.several(f, v, typecast, func(one string) (string, *refusal) {
			c, refused := s.choice(f, one, typecast)
			if refused != nil {
				return "", refused
			}
			return c.(string), nil
		})
	case "multipleRecordLinks":
		other := t.base.table(f.Linked)
		out, refused := s.several(f, v, typecast, func(one string) (string, *refusal) {
			if other.byID[one] != nil {
				return one, nil
			}
			if !typecast {
				if !isID("rec", one) {
					return "", bad
				}
				return "", badLink(one)
			}
			for _, r := range other.records {
				if strings.EqualFold(s.recordName(other, r.id), one) {
					return r.id, nil
				}
			}
			made, refused := s.create(other, map[string]any{other.Fields[0].Name: one}, true)
			if refused != nil {
				return "", refused
			}
			return made.id, nil
		})
		if ids, _ := out.([]string); refused == nil && f.Single && len(ids) > 1 {
			return nil, bad
		}
		return out, refused
	case "multipleAttachments":
		return s.attachments(f, v)
	case "singleCollaborator":
		m, ok := v.(map[string]any)
		if !ok {
			return nil, bad
		}
		return s.person(f, m)
	case "multipleCollaborators":
		list, ok := v.([]any)
		if !ok {
			return nil, bad
		}
		out := []any{}
		for _, e := range list {
			m, ok := e.(map[string]any)
			if !ok {
				return nil, bad
			}
			p, refused := s.person(f, m)
			if refused != nil {
				return nil, refused
			}
			out = append(out, p)
		}
		if len(out) == 0 {
			return nil, nil
		}
		return out, nil
	case "barcode":
		m, ok := v.(map[string]any)
		if code, isText := m["text"].(string); ok && isText && code != "" {
			return m, nil
		}
	}
	return nil, bad
}

func (s *Server) choice(f *Field, name string, typecast bool) (any, *refusal) {
	if slices.Contains(f.Choices, name) {
		return name, nil
	}
	if !typecast {
		return nil, badChoice(name)
	}
	for _, c := range f.Choices {
		if strings.EqualFold(c, strings.TrimSpace(name)) {
			return c, nil
		}
	}
	f.Choices = append(f.Choices, name)
	return name, nil
}

// several takes a list of texts, each once; with typecast also one text with commas.
func (s *Server) several(f *Field, v any, typecast bool, one func(string) (string, *refusal)) (any, *refusal) {
	list, ok := v.([]any)
	if text, isString := v.(string); isString && typecast {
		ok = true
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, strings.TrimSpace(part))
		}
	}
	if !ok {
		return nil, badValue(f.Name)
	}
	var out []string
	for _, e := range list {
		text, isString := e.(string)
		if !isString || text == "" {
			return nil, badValue(f.Name)
		}
		c, refused := one(text)
		if refused != nil {
			return nil, refused
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// attachments are given by url, or by id to keep them.
func (s *Server) attachments(f *Field, v any) (any, *refusal) {
	list, ok := v.([]any)
	if !ok {
		return nil, badValue(f.Name)
	}
	out := []any{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		url, _ := m["url"].(string)
		id, _ := m["id"].(string)
		name, _ := m["filename"].(string)
		switch {
		case id != "" && isID("att", id):
		case strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://"):
			id = s.id("att")
		default:
			return nil, refuse(422, "INVALID_ATTACHMENT_OBJECT", `Invalid attachment object for field "%s"`, f.Name)
		}
		if name == "" {
			name = url[strings.LastIndexByte(url, '/')+1:]
		}
		out = append(out, map[string]any{"id": id, "url": "https://v5.airtableusercontent.example/" + id + "/" + name, "filename": name, "size": 1024.0, "type": "application/octet-stream"})
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func (s *Server) person(f *Field, m map[string]any) (any, *refusal) {
	id, _ := m["id"].(string)
	email, _ := m["email"].(string)
	if id == "" && !strings.Contains(email, "@") {
		return nil, badValue(f.Name)
	}
	if id == "" {
		id = "usr" + strings.Repeat("0", 14)
	}
	name, _, _ := strings.Cut(email, "@")
	return map[string]any{"id": id, "email": email, "name": name}, nil
}
