// Which objects an account has, and their fields.

package hubspot

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// builtIn are HubSpot's own objects: their names are those of their paths and of
// their tables, and modified is the property with the time of the last change.
var builtIn = []builtInObject{
	{"contacts", "lastmodifieddate", "People."},
	{"companies", hsModified, "Companies."},
	{"deals", hsModified, "Deals, in the stages of a pipeline."},
	{"tickets", hsModified, "Requests of customers, in the stages of a pipeline."},
	{"products", hsModified, "What is for sale."},
	{"line_items", hsModified, "What a deal or quote has of a product."},
	{"quotes", hsModified, "Offers."},
	{"calls", hsModified, "Engagements: calls."},
	{"emails", hsModified, "Engagements: e-mails."},
	{"meetings", hsModified, "Engagements: meetings."},
	{"notes", hsModified, "Engagements: notes."},
	{"tasks", hsModified, "Engagements: tasks."},
}

type builtInObject struct{ name, modified, help string }

const hsModified = "hs_lastmodifieddate"

// schemasPath lists custom objects.
func (a *account) schemasPath() string { return "/crm-object-schemas/" + a.version + "/schemas" }

// How long the list of custom objects is believed, and how long it is where it has
// not what is looked for.
const (
	schemasAge = 10 * time.Minute
	missingAge = 10 * time.Second
)

// schema is what the API tells of a custom object, without its properties.
type schema struct {
	Name         string            `json:"name"`
	ObjectTypeID string            `json:"objectTypeId"`
	Qualified    string            `json:"fullyQualifiedName"`
	Labels       map[string]string `json:"labels"`
	Description  string            `json:"description"`
	Archived     bool              `json:"archived"`
}

// property is what the API tells of a field.
type property struct {
	Name           string `json:"name"`
	Label          string `json:"label"`
	Description    string `json:"description"`
	Type           string `json:"type"`
	FieldType      string `json:"fieldType"`
	Calculated     bool   `json:"calculated"`
	HasUniqueValue bool   `json:"hasUniqueValue"`
	Archived       bool   `json:"archived"`
	Modification   struct {
		ReadOnlyValue bool `json:"readOnlyValue"`
	} `json:"modificationMetadata"`
	Options []struct {
		Value  string `json:"value"`
		Hidden bool   `json:"hidden"`
	} `json:"options"`
}

// objects lists the objects that are imported: HubSpot's own, and the account's.
func (a *account) objects(ctx context.Context) ([]rest.ObjectInfo, error) {
	var out []rest.ObjectInfo
	for _, o := range builtIn {
		out = append(out, rest.ObjectInfo{Name: o.name, Table: o.name})
	}
	custom, err := a.schemas(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, s := range custom {
		// A name of one's own may be one of HubSpot's, the qualified one not.
		name := s.Name
		if slices.ContainsFunc(out, func(o rest.ObjectInfo) bool { return o.Name == name }) {
			name = s.Qualified
		}
		out = append(out, rest.ObjectInfo{Name: name, Table: name})
	}
	for _, p := range usualPairs {
		out = append(out, importedLinks(p[0], p[1]))
	}
	return out, nil
}

// schemas are the custom objects, in order of their names, as they were no longer
// than age ago. An account, or a token, that may not have any has none.
func (a *account) schemas(ctx context.Context, age time.Duration) ([]schema, error) {
	a.mu.Lock()
	known, at := a.custom, a.asked
	a.mu.Unlock()
	if !at.IsZero() && time.Since(at) < age {
		return known, nil
	}
	var list struct {
		Results []schema `json:"results"`
	}
	// All properties of all objects would be a lot, and are not wanted.
	query := url.Values{"includePropertyDefinitions": {"false"}, "includeAssociationDefinitions": {"false"}}
	if err := a.api.Get(ctx, a.schemasPath(), query, &list); err != nil {
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.PermissionDenied {
			return nil, fmt.Errorf("listing custom objects: %w", err)
		}
	}
	out := slices.DeleteFunc(list.Results, func(s schema) bool { return s.Archived })
	slices.SortFunc(out, func(x, y schema) int { return strings.Compare(x.Name, y.Name) })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.custom, a.asked = out, time.Now()
	return out, nil
}

// schema finds a custom object by any of its names; nil: there is none.
func (a *account) schema(ctx context.Context, name string) (*schema, error) {
	for _, age := range []time.Duration{schemasAge, missingAge} {
		custom, err := a.schemas(ctx, age)
		if err != nil {
			return nil, err
		}
		for i := range custom {
			if s := &custom[i]; name == s.Name || name == s.Qualified || name == s.ObjectTypeID || name == "p_"+s.Name {
				return s, nil
			}
		}
	}
	return nil, nil
}

// object makes an object of the API's metadata. It is found by the name of its
// table, or by any name that the API knows it by.
func (a *account) object(ctx context.Context, name string, known *rest.Object) (*rest.Object, error) {
	if known != nil {
		return known, nil
	}
	o := &rest.Object{Name: name, Key: "id", Modified: hsModified}
	kind := name
	if i := slices.IndexFunc(builtIn, func(b builtInObject) bool { return b.name == name }); i >= 0 {
		o.Modified, o.Description = builtIn[i].modified, builtIn[i].help
	} else {
		custom, err := a.schema(ctx, name)
		if err != nil || custom == nil {
			return nil, err
		}
		if kind, o.Description = custom.ObjectTypeID, custom.Description; o.Description == "" {
			o.Description = custom.Labels["plural"]
		}
	}
	o.Path = a.path("objects") + "/" + kind
	var list struct {
		Results []property `json:"results"`
	}
	if err := a.api.Get(ctx, a.path("properties")+"/"+url.PathEscape(kind), nil, &list); err != nil {
		return nil, fmt.Errorf("reading the properties of %s: %w", name, err)
	}
	a.fill(o, list.Results)
	return o, nil
}

// fill gives an object its fields: the id, then the properties by name.
func (a *account) fill(o *rest.Object, properties []property) {
	o.Fields = []rest.Field{{Name: "id", Type: "integer", Path: "id", FilterName: "hs_object_id", ReadOnly: true, Quoted: true,
		Missing: "never", Description: "The record's id, in HubSpot hs_object_id."}}
	o.Ways = []string{"search", "batch_read"}
	slices.SortFunc(properties, func(x, y property) int { return strings.Compare(x.Name, y.Name) })
	modified := false
	for i := range properties {
		p := &properties[i]
		if p.Name == "hs_object_id" || p.Archived {
			continue // it is the id
		}
		f := fieldOf(p)
		if p.Name == "id" {
			f.Column = "id_property" // a property of one's own, beside the id
			f.Name = "properties.id"
		}
		o.Fields = append(o.Fields, f)
		if p.HasUniqueValue || (o.Name == "contacts" && p.Name == "email") {
			o.Unique = append(o.Unique, f.Name)
		}
		modified = modified || p.Name == o.Modified && f.Type == "datetime"
	}
	if !modified {
		o.Modified = ""
	}
}

// fieldOf makes a field of a property. Values are texts, and an empty one is none.
func fieldOf(p *property) rest.Field {
	escaped := strings.ReplaceAll(p.Name, ".", `\.`)
	f := rest.Field{Name: p.Name, Path: "properties." + escaped, FilterName: p.Name, Missing: "empty", Quoted: true,
		ReadOnly: p.Calculated || p.Modification.ReadOnlyValue, Description: describe(p)}
	if p.Modification.ReadOnlyValue && ofEveryRecord(p.Name) {
		f.Missing = "never"
	}
	switch p.Type {
	case "number":
		f.Type = "number"
	case "bool":
		f.Type = "boolean"
	case "date":
		f.Type = "date"
	case "datetime":
		f.Type, f.Keeps = "datetime", "milliseconds"
	case "enumeration":
		f.Type = "text"
		if p.FieldType == "checkbox" {
			no := false
			f.Filterable = &no // a;b: what equals it in a search is not known
			break
		}
		for _, o := range p.Options {
			f.Values = append(f.Values, o.Value)
		}
		if f.Values != nil {
			f.Type = "select"
		}
	default:
		f.Type = "text"
	}
	return f
}

// ofEveryRecord tells whether HubSpot gives a property a value when a record is made;
// where people may change it, they may also take it away.
func ofEveryRecord(property string) bool {
	switch property {
	case "createdate", "hs_createdate", "lastmodifieddate", hsModified:
		return true
	}
	return false
}

// maxValues of an enumeration that its comment names.
const maxValues = 20

// describe is the comment of the column.
func describe(p *property) string {
	text := p.Label
	if d := strings.TrimSpace(p.Description); d != "" && d != p.Label {
		text += ". " + d
	}
	if p.Type != "enumeration" || len(p.Options) == 0 {
		return text
	}
	var values []string
	for _, o := range p.Options {
		values = append(values, o.Value)
	}
	more := ""
	if len(values) > maxValues {
		values, more = values[:maxValues], fmt.Sprintf(" and %d more", len(p.Options)-maxValues)
	}
	what := "One of "
	if p.FieldType == "checkbox" {
		what = "Some of these, separated by semicolons: "
	}
	return strings.TrimSuffix(text, ".") + ". " + what + strings.Join(values, ", ") + more
}
