// The org's metadata: which objects there are, and what describe says of one.

package salesforce

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// listed is an object as the list of all has it.
type listed struct {
	Name, Label         string
	Queryable           bool
	DeprecatedAndHidden bool
}

// described is what describe says of an object, as far as it is needed.
type described struct {
	Name, Label                                  string
	Queryable, Createable, Updateable, Deletable bool
	Fields                                       []field
}

type field struct {
	Name, Label, Type                     string
	InlineHelpText                        string
	Nillable, Createable, Updateable      bool
	DefaultedOnCreate, Custom, Calculated bool
	Unique, ExternalID, IDLookup          bool
	CaseSensitive, Filterable, Sortable   bool
	Groupable, Aggregatable               bool
	PicklistValues                        []struct {
		Value  string
		Active bool
	}
	ReferenceTo              []string
	RelationshipName         string
	Precision, Scale, Length int
	DeprecatedAndHidden      bool
}

func (o *org) objects(ctx context.Context) ([]rest.ObjectInfo, error) {
	var list struct{ Sobjects []listed }
	if err := o.api.Get(ctx, "/sobjects", nil, &list); err != nil {
		return nil, err
	}
	var out []rest.ObjectInfo
	for _, l := range list.Sobjects {
		if l.Queryable && !l.DeprecatedAndHidden {
			out = append(out, rest.ObjectInfo{Name: l.Name, Table: strings.ToLower(l.Name)})
		}
	}
	return out, nil
}

// describe asks for an object; nil: there is none, or it cannot be queried.
func (o *org) describe(ctx context.Context, name string) (*described, error) {
	var d described
	err := o.api.Get(ctx, "/sobjects/"+url.PathEscape(name)+"/describe", nil, &d)
	if e, ok := errorOf(err); ok && e.Class == connectors.NotFoundError {
		return nil, nil
	}
	if err != nil || !d.Queryable {
		return nil, err
	}
	return &d, nil
}

// recycleDays is for how long the recycle bin keeps a record.
const recycleDays = 15

// deletedSuffix of the name of the object that has an object's deleted records.
const deletedSuffix = " (deleted)"

// object makes an object of what describe says. Names are the API's, whatever
// their case is in a table's option: that of the table itself is small.
func (o *org) object(ctx context.Context, name string, _ *rest.Object) (*rest.Object, error) {
	if of, ok := strings.CutSuffix(name, deletedSuffix); ok {
		return deletedObject(of, name), nil
	}
	d, err := o.describe(ctx, name)
	if err != nil || d == nil {
		return nil, err
	}
	out := &rest.Object{Name: name, APIName: d.Name, Path: "/sobjects/" + d.Name, Key: "Id", Description: d.Label, Rows: o.rows(ctx, d.Name)}
	for _, f := range d.Fields {
		if f.DeprecatedAndHidden {
			continue
		}
		made := f.rest(f.Name)
		made.Column = strings.ToLower(f.Name)
		out.Fields = append(out.Fields, made)
		switch {
		case f.Name == "Id" || !f.Filterable || f.Calculated:
		case f.Unique:
			out.Unique = append(out.Unique, f.Name)
		case f.ExternalID || f.Type == "reference" && !slices.Contains(f.ReferenceTo, "User"):
			// One user owns, or made, too many records for this to be cheap.
			out.Lookups = append(out.Lookups, f.Name)
		}
		if f.Name == "SystemModstamp" && f.Filterable {
			out.Modified = f.Name
		}
	}
	if !slices.ContainsFunc(out.Fields, func(f rest.Field) bool { return f.Name == "Id" }) {
		out.Key = ""
	} else {
		out.Unique = append(out.Unique, "Id")
	}
	if out.Key != "" && out.Modified != "" && slices.ContainsFunc(d.Fields, func(f field) bool { return f.Name == "IsDeleted" && f.Filterable }) {
		out.Deleted = &rest.Deleted{Object: d.Name + deletedSuffix, Key: "Id", At: "SystemModstamp", Days: recycleDays}
	}
	writes(out, d)
	return out, nil
}

// rows is about how many there are; 0: not known.
func (o *org) rows(ctx context.Context, name string) float64 {
	var counts struct {
		SObjects []struct {
			Name  string
			Count float64
		}
	}
	if err := o.api.Get(ctx, "/limits/recordCount", url.Values{"sObjects": {name}}, &counts); err != nil {
		return 0 // a guess is good enough
	}
	for _, c := range counts.SObjects {
		if strings.EqualFold(c.Name, name) {
			return c.Count
		}
	}
	return 0
}

// types of describe, with the manifest's; others are text that the API does not
// filter.
var types = map[string]string{
	"id": "relation", "reference": "relation", "boolean": "boolean", "int": "integer", "long": "integer",
	"double": "number", "currency": "number", "percent": "number", "date": "date", "datetime": "datetime", "time": "time",
	"string": "text", "textarea": "text", "email": "text", "phone": "text", "url": "text", "combobox": "text", "picklist": "select", "multipicklist": "select",
	"address": "json", "location": "json", "complexvalue": "json",
}

// rest makes the manifest's field of one that is found at a path.
func (f *field) rest(path string) rest.Field {
	no := false
	out := rest.Field{Name: path, Path: path, FilterName: path, Type: types[f.Type], Description: f.Label}
	if f.InlineHelpText != "" {
		out.Description += ": " + f.InlineHelpText
	}
	filterable, sortable := f.Filterable, f.Sortable
	if out.Type == "" {
		out.Type, filterable = "text", false
	}
	switch out.Type {
	case "text", "select":
		out.Missing = "empty"
		if f.Length > 0 {
			out.Valid = func(s string) bool { return utf8.RuneCountInString(s) <= f.Length }
		}
		if f.Type == "multipicklist" {
			filterable = false // the API knows no IN for it, and = in another order
		}
		for _, v := range f.PicklistValues {
			if out.Type == "select" && v.Active {
				out.Values = append(out.Values, v.Value)
			}
		}
		if len(out.Values) > 0 {
			out.Description += describeValues(f.Type, out.Values)
		}
	case "relation":
		out.Valid = validID
		if len(f.ReferenceTo) > 0 {
			out.Description += " (key of " + strings.Join(f.ReferenceTo[:min(len(f.ReferenceTo), 5)], ", ") + ")"
		}
	case "integer", "number":
		out.TrimZeros = true
		if f.Calculated {
			// What the API shows may be rounded, and what it compares not.
			filterable, sortable = false, false
		}
	case "datetime":
		out.Keeps = "seconds"
	case "time":
		filterable, sortable = false, false
		out.Format, out.Keeps = "utc", "milliseconds"
	case "json":
		filterable, sortable = false, false
	}
	if out.Type == "json" || f.Type == "base64" {
		out.Ways = []string{} // the Bulk API knows neither compound fields nor binary ones
	}
	if !filterable {
		out.Filterable = &no
	}
	if !sortable {
		out.Sortable = &no
	}
	// What is not compared as it is shown is not grouped or summed so, either.
	if !f.Groupable || !filterable || f.Calculated {
		out.Groupable = &no
	}
	if !f.Aggregatable || !filterable || f.Calculated {
		out.Aggregatable = &no
	}
	out.ReadOnly = !f.Createable && !f.Updateable
	switch {
	case f.Type == "boolean" || f.Type == "id":
		out.Missing = "never"
	case f.Nillable || f.Custom:
		// A custom field that is required now may have been empty before.
	case f.Createable && !f.DefaultedOnCreate:
		out.Required = true
	case out.Missing != "empty":
		out.Missing = "never"
	}
	return out
}

// describeValues is the end of a picklist's comment.
func describeValues(kind string, values []string) string {
	const enough = 20
	of := ": one of "
	if kind == "multipicklist" {
		of = ": some of, with semicolons between, "
	}
	text := of + strings.Join(values[:min(len(values), enough)], ", ")
	if len(values) > enough {
		text += fmt.Sprintf(" and %d more", len(values)-enough)
	}
	return text
}

// deletedObject lists the records of an object that are in the recycle bin.
func deletedObject(of, name string) *rest.Object {
	off := &rest.Write{Off: true}
	return &rest.Object{Name: name, APIName: of, Where: "IsDeleted = TRUE", Path: "/sobjects/" + of, Key: "Id", Create: off, Update: off, Delete: off, Upsert: off, Own: &bound{all: true},
		Fields: []rest.Field{
			{Name: "Id", Type: "relation", Missing: "never", Valid: validID},
			{Name: "IsDeleted", Type: "boolean", Missing: "never"},
			{Name: "SystemModstamp", Type: "datetime", Missing: "never", Keeps: "seconds"},
		}}
}

// validID tells whether a text is an id as records have it: 15 characters that say
// it all, and three that say which of them are capitals. The API refuses a
// statement with one that is not.
func validID(id string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	if len(id) != 18 {
		return false
	}
	for i := range 18 {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	for block := range 3 {
		n := 0
		for i := range 5 {
			if c := id[block*5+i]; c >= 'A' && c <= 'Z' {
				n |= 1 << i
			}
		}
		if letters[n] != id[15+block] {
			return false
		}
	}
	return true
}
