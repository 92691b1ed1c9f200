package airtable

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Base is a base with its tables. Read it through the Server once it serves.
type Base struct {
	ID, Name string
	// Permission is "create", "edit", "comment", "read" or "none".
	Permission string
	Tables     []*Table
}

// Table of a base. Its first field is the primary one.
type Table struct {
	ID, Name, Description string
	Fields                []*Field
	Views                 []*View
	base                  *Base
	records               []*record
	byID                  map[string]*record
	autoNumber            int
}

// Field of a table.
type Field struct {
	ID, Name, Type, Description string
	// Choices of a select.
	Choices []string
	// Precision of a number, currency or percent, in digits after the point.
	Precision int
	// Linked is the id of the table that a multipleRecordLinks field leads to,
	// Inverse the id of the field there that leads back, if there is one.
	Linked, Inverse string
	// Single: at most one link.
	Single bool
	// Link is the id of the link field of a lookup, rollup or count; Target the
	// id of the field over there.
	Link, Target string
	// Formula of a formula, or what a rollup makes of its values: SUM, MAX, ….
	Formula string
	// Result is the type of what a formula or rollup makes.
	Result string
	// Watches are the ids of the fields that a lastModifiedTime looks at; none:
	// all that can be edited.
	Watches []string
	// parsed is Formula; nil: not parsed yet, or it is none.
	parsed expr
}

// View of a table: which records it shows, in which order, and which fields.
type View struct {
	ID, Name, Type string
	// Formula that its records satisfy; empty: all.
	Formula string
	Sort    []Order
}

// Order is one sort key.
type Order struct {
	Field string
	Desc  bool
}

type record struct {
	id       string
	created  time.Time
	modified time.Time
	// touched is when each field was last changed, by field id.
	touched map[string]time.Time
	number  int
	// cells by field id; a cell that is empty is not there.
	cells map[string]any
}

var computed = []string{"formula", "rollup", "count", "multipleLookupValues", "autoNumber", "createdTime", "lastModifiedTime", "createdBy", "lastModifiedBy", "button", "aiText"}

// Computed tells whether the field cannot be written.
func (f *Field) Computed() bool { return slices.Contains(computed, f.Type) }

// AddBase adds a base. Ids that are empty are made; views of a table without any
// is one grid.
func (s *Server) AddBase(b Base) *Base {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := &b
	if base.ID == "" {
		base.ID = s.id("app")
	}
	if base.Permission == "" {
		base.Permission = "create"
	}
	for _, t := range base.Tables {
		s.adopt(base, t)
	}
	s.bases = append(s.bases, base)
	return base
}

func (s *Server) adopt(base *Base, t *Table) {
	t.base, t.byID = base, map[string]*record{}
	if t.ID == "" {
		t.ID = s.id("tbl")
	}
	for _, f := range t.Fields {
		if f.ID == "" {
			f.ID = s.id("fld")
		}
	}
	if len(t.Views) == 0 {
		t.Views = []*View{{Name: "Grid view"}}
	}
	for _, v := range t.Views {
		if v.ID == "" {
			v.ID = s.id("viw")
		}
		if v.Type == "" {
			v.Type = "grid"
		}
	}
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// id makes an id such as rec0000000000001A: the same ones in each run.
func (s *Server) id(prefix string) string {
	s.seq++
	b := []byte("00000000000000")
	for i, n := len(b)-1, s.seq*7919; n > 0 && i >= 0; i, n = i-1, n/len(letters) {
		b[i] = letters[n%len(letters)]
	}
	return prefix + string(b)
}

func isID(prefix, text string) bool {
	return len(text) == 17 && strings.HasPrefix(text, prefix) &&
		strings.IndexFunc(text[3:], func(r rune) bool { return !strings.ContainsRune(letters, r) }) < 0
}

func (s *Server) base(id string) *Base {
	for _, b := range s.bases {
		if b.ID == id {
			return b
		}
	}
	return nil
}

func (b *Base) table(nameOrID string) *Table {
	for _, t := range b.Tables {
		if t.ID == nameOrID || t.Name == nameOrID {
			return t
		}
	}
	return nil
}

func (t *Table) field(nameOrID string) *Field {
	for _, f := range t.Fields {
		if f.ID == nameOrID || f.Name == nameOrID {
			return f
		}
	}
	return nil
}

func (t *Table) view(nameOrID string) *View {
	for _, v := range t.Views {
		if v.ID == nameOrID || v.Name == nameOrID {
			return v
		}
	}
	return nil
}

// describe is a field as /v0/meta shows it.
func (f *Field) describe() map[string]any {
	out := map[string]any{"id": f.ID, "name": f.Name, "type": f.Type}
	if f.Description != "" {
		out["description"] = f.Description
	}
	if o := f.options(); o != nil {
		out["options"] = o
	}
	return out
}

func (f *Field) options() map[string]any {
	dateFormat := map[string]any{"name": "iso", "format": "YYYY-MM-DD"}
	timeFormat := map[string]any{"name": "24hour", "format": "HH:mm"}
	result := map[string]any{"type": f.Result}
	switch f.Result {
	case "number":
		result["options"] = map[string]any{"precision": f.Precision}
	case "dateTime":
		result["options"] = map[string]any{"dateFormat": dateFormat, "timeFormat": timeFormat, "timeZone": "utc"}
	}
	switch f.Type {
	case "singleSelect", "multipleSelects", "externalSyncSource":
		choices := make([]any, len(f.Choices))
		for i, name := range f.Choices {
			choices[i] = map[string]any{"id": fmt.Sprintf("sel%s%03d", f.ID[3:14], i), "name": name, "color": "blueLight2"}
		}
		return map[string]any{"choices": choices}
	case "number", "percent":
		return map[string]any{"precision": f.Precision}
	case "currency":
		return map[string]any{"precision": f.Precision, "symbol": "$"}
	case "rating":
		return map[string]any{"icon": "star", "max": 5, "color": "yellowBright"}
	case "duration":
		return map[string]any{"durationFormat": "h:mm:ss"}
	case "checkbox":
		return map[string]any{"icon": "check", "color": "greenBright"}
	case "date":
		return map[string]any{"dateFormat": dateFormat}
	case "dateTime":
		return map[string]any{"dateFormat": dateFormat, "timeFormat": timeFormat, "timeZone": "utc"}
	case "multipleRecordLinks":
		o := map[string]any{"linkedTableId": f.Linked, "isReversed": false, "prefersSingleRecordLink": f.Single}
		if f.Inverse != "" {
			o["inverseLinkFieldId"] = f.Inverse
		}
		return o
	case "multipleAttachments":
		return map[string]any{"isReversed": false}
	case "formula":
		return map[string]any{"isValid": true, "formula": f.Formula, "referencedFieldIds": []any{}, "result": result}
	case "rollup":
		return map[string]any{"isValid": true, "recordLinkFieldId": f.Link, "fieldIdInLinkedTable": f.Target, "referencedFieldIds": []any{}, "result": result}
	case "multipleLookupValues":
		return map[string]any{"isValid": true, "recordLinkFieldId": f.Link, "fieldIdInLinkedTable": f.Target, "result": result}
	case "count":
		return map[string]any{"isValid": true, "recordLinkFieldId": f.Link}
	case "createdTime":
		return map[string]any{"result": map[string]any{"type": "dateTime", "options": map[string]any{"dateFormat": dateFormat, "timeFormat": timeFormat, "timeZone": "utc"}}}
	case "lastModifiedTime":
		watches := make([]any, len(f.Watches))
		for i, id := range f.Watches {
			watches[i] = id
		}
		return map[string]any{"isValid": true, "referencedFieldIds": watches, "result": map[string]any{"type": "dateTime", "options": map[string]any{"dateFormat": dateFormat, "timeFormat": timeFormat, "timeZone": "utc"}}}
	}
	return nil
}

func (t *Table) describe() map[string]any {
	fields, views := []any{}, []any{}
	for _, f := range t.Fields {
		fields = append(fields, f.describe())
	}
	for _, v := range t.Views {
		views = append(views, map[string]any{"id": v.ID, "name": v.Name, "type": v.Type})
	}
	out := map[string]any{"id": t.ID, "name": t.Name, "primaryFieldId": t.Fields[0].ID, "fields": fields, "views": views}
	if t.Description != "" {
		out["description"] = t.Description
	}
	return out
}

// AddField gives a table a field.
func (s *Server) AddField(t *Table, f *Field) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.ID == "" {
		f.ID = s.id("fld")
	}
	t.Fields = append(t.Fields, f)
}

// RemoveField takes a field from a table.
func (s *Server) RemoveField(t *Table, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Fields = slices.DeleteFunc(t.Fields, func(f *Field) bool { return f.Name == name })
}

// RenameField gives a field another name; its id stays. It panics if there is none.
func (s *Server) RenameField(t *Table, name, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.field(name).Name = to
}
