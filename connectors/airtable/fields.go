package airtable

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// field is one of the metadata.
type field struct {
	ID, Name, Type, Description string
	Options                     struct {
		Choices            []struct{ Name string }
		LinkedTableID      string
		Result             *struct{ Type string }
		IsValid            *bool
		ReferencedFieldIDs []string
	}
}

// Names of what every record has beside its fields: how a formula calls it.
const (
	recordID    = "RECORD_ID()"
	createdTime = "CREATED_TIME()"
)

// no is a key that is off.
func no() *bool { return new(bool) }

// describe makes an object of a table.
func describe(m *rest.Manifest, t *table) (*rest.Object, error) {
	var fields []field
	if err := json.Unmarshal(t.Fields, &fields); err != nil {
		return nil, &connectors.Error{Class: connectors.Protocol, API: "Airtable", Err: err,
			Message: fmt.Sprintf("the metadata of table %q is not what was expected", t.Name)}
	}
	var names namer
	o := &rest.Object{
		Key: recordID, Description: t.Description,
		Fields: []rest.Field{
			{Name: recordID, Column: names.name("id"), Type: "text", Path: "id", FilterName: recordID, ReadOnly: true, Sortable: no(), Description: "The record's id"},
			{Name: createdTime, Column: names.name("created_time"), Type: "datetime", Path: "createdTime", FilterName: createdTime, Missing: "never", ReadOnly: true, Sortable: no(), Keeps: "milliseconds"},
		},
	}
	match := []string{}
	for i := range fields {
		f := &fields[i]
		out := rest.Field{
			Name: f.Name, Column: names.name(f.Name), Path: "fields." + f.ID, SortName: f.ID, Description: f.Description,
			Missing: "absent", Type: "json", ReadOnly: true, FilterName: "{" + f.Name + "}",
		}
		if strings.ContainsAny(f.Name, `{}\`) || strings.ContainsFunc(f.Name, unicode.IsControl) {
			// It cannot be written in a formula.
			out.Filterable = no()
		}
		f.describe(&out)
		if out.Type == "json" {
			out.Missing = "null"
		}
		o.Fields = append(o.Fields, out)
		if mergeable[f.Type] {
			match = append(match, f.Name)
		}
		if f.Type == "lastModifiedTime" && len(f.Options.ReferencedFieldIDs) == 0 && o.Modified == "" {
			// It looks at all fields that people change.
			o.Modified = f.Name
		}
		if out.Filterable == nil && (f.ID == t.PrimaryFieldID || f.Type == "email" || f.Type == "phoneNumber" || f.Type == "autoNumber") && out.Type != "json" {
			o.Lookups = append(o.Lookups, f.Name)
		}
	}
	upsert := *m.Upsert
	if upsert.Match = match; len(match) == 0 {
		upsert.Off = true
	}
	o.Upsert = &upsert
	return o, nil
}

// mergeable are the types of fields that performUpsert finds records by, as far as
// they are one value.
var mergeable = map[string]bool{"singleLineText": true, "multilineText": true, "email": true, "url": true, "phoneNumber": true,
	"number": true, "currency": true, "percent": true, "duration": true, "rating": true, "singleSelect": true, "date": true, "dateTime": true}

// describe gives the field's type.
func (f *field) describe(out *rest.Field) {
	written := func(kind string) { out.Type, out.ReadOnly = kind, false }
	switch f.Type {
	case "singleLineText", "multilineText", "email", "url", "phoneNumber":
		written("text")
	case "richText":
		// A formula sees the text, the API shows it with its markup.
		written("text")
		out.Filterable = no()
	case "singleSelect", "multipleSelects":
		written("select")
		out.List = f.Type == "multipleSelects"
		for _, c := range f.Options.Choices {
			out.Values = append(out.Values, c.Name)
		}
		if out.List {
			f.describeList(out)
		}
	case "externalSyncSource":
		out.Type = "text"
	case "number", "currency", "percent", "duration":
		written("number")
	case "rating":
		written("integer")
	case "checkbox":
		written("boolean")
	case "date":
		written("date")
	case "dateTime":
		written("datetime")
		out.Keeps = "milliseconds"
	case "multipleRecordLinks":
		written("relation")
		out.List, out.Filterable = true, no() // in a formula it is the names of the records
	case "multipleAttachments", "singleCollaborator", "multipleCollaborators", "barcode":
		written("json")
	case "autoNumber":
		out.Type, out.Missing = "integer", "never"
	case "count":
		out.Type = "integer"
	case "createdTime":
		out.Type, out.Keeps, out.Missing = "datetime", "milliseconds", "never"
	case "lastModifiedTime":
		out.Type, out.Keeps = "datetime", "milliseconds"
	case "formula", "rollup":
		f.computed(out)
	}
	if out.List || out.Type == "text" || out.Type == "select" || out.Type == "boolean" {
		out.Sortable = no() // a select is sorted by its choices, text as nobody says
	}
}

// describeList has a list of choices filtered, if a formula's text of it surely has
// each of them: nobody says what becomes of a quote within one.
func (f *field) describeList(out *rest.Field) {
	if slices.ContainsFunc(out.Values, func(v string) bool { return strings.Contains(v, `"`) }) {
		out.Filterable = no()
		return
	}
	out.Filters = []rest.Pair{{Name: "list", Value: "choices"}}
}

// computed gives the type of a formula's or rollup's result, which may be an error.
func (f *field) computed(out *rest.Field) {
	result := ""
	if f.Options.Result != nil && (f.Options.IsValid == nil || *f.Options.IsValid) {
		result = f.Options.Result.Type
	}
	out.Special = "specialValue"
	switch result {
	case "singleLineText", "multilineText", "email", "url", "phoneNumber", "singleSelect":
		out.Type = "text"
		// An error in one record must not make the whole condition one.
		out.FilterName = "IF(ISERROR(" + out.FilterName + "), '', " + out.FilterName + ")"
		return
	case "number", "currency", "percent", "duration", "rating", "count", "autoNumber":
		// NaN is less than nothing there, and greater than all here.
		out.Type = "number"
	case "date":
		out.Type = "date"
	case "dateTime", "createdTime", "lastModifiedTime":
		out.Type, out.Keeps = "datetime", "milliseconds"
	default:
		out.Special = ""
	}
	out.Filterable, out.Sortable = no(), no()
}

// namer makes names of columns and tables that need no quotes, each once.
type namer struct{ taken map[string]bool }

// maxName of PostgreSQL's, in bytes.
const maxName = 63

func (n *namer) name(text string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(text) {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('_')
			gap = false
		}
		b.WriteRune(r)
	}
	out := b.String()
	if out == "" || unicode.IsDigit(rune(out[0])) {
		out = "_" + out
	}
	if n.taken == nil {
		n.taken = map[string]bool{}
	}
	for i := 1; ; i++ {
		suffix := ""
		if i > 1 {
			suffix = fmt.Sprintf("_%d", i)
		}
		cut := out
		for len(cut)+len(suffix) > maxName {
			_, size := utf8.DecodeLastRuneInString(cut)
			cut = cut[:len(cut)-size]
		}
		if name := cut + suffix; !n.taken[name] {
			n.taken[name] = true
			return name
		}
	}
}
