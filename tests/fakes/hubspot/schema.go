// What objects there are and what properties they have, and the calls that tell.

package hubspot

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Property of an object, as the API tells of it.
type Property struct {
	Name        string   `json:"name"`
	Label       string   `json:"label"`
	Type        string   `json:"type"` // string, number, bool, enumeration, date, datetime
	FieldType   string   `json:"fieldType"`
	Description string   `json:"description"`
	GroupName   string   `json:"groupName"`
	Options     []Option `json:"options"`
	// DisplayOrder and what follows is metadata.
	DisplayOrder    int           `json:"displayOrder"`
	Calculated      bool          `json:"calculated"`
	ExternalOptions bool          `json:"externalOptions"`
	HasUniqueValue  bool          `json:"hasUniqueValue"`
	Hidden          bool          `json:"hidden"`
	HubspotDefined  bool          `json:"hubspotDefined,omitempty"`
	FormField       bool          `json:"formField"`
	Archived        bool          `json:"archived"`
	CreatedAt       string        `json:"createdAt,omitempty"`
	UpdatedAt       string        `json:"updatedAt,omitempty"`
	Modification    *Modification `json:"modificationMetadata,omitempty"`
	// Unsearchable: searches refuse it.
	Unsearchable bool `json:"-"`
	// Referenced is OWNER for ids of owners.
	Referenced string `json:"referencedObjectType,omitempty"`
}

// Option is a value of an enumeration.
type Option struct {
	Label        string `json:"label"`
	Value        string `json:"value"`
	DisplayOrder int    `json:"displayOrder"`
	Hidden       bool   `json:"hidden"`
	Description  string `json:"description,omitempty"`
}

// Modification says what may be changed of a property.
type Modification struct {
	Archivable         bool `json:"archivable"`
	ReadOnlyDefinition bool `json:"readOnlyDefinition"`
	ReadOnlyOptions    bool `json:"readOnlyOptions"`
	ReadOnlyValue      bool `json:"readOnlyValue"`
}

// objectType is a kind of record. Its records are in order of their ids.
type objectType struct {
	name, singular, typeID string
	custom                 bool
	labels                 map[string]string
	properties             []*Property
	usual                  []string // properties of an answer to who names none
	required               []string
	primary                string
	modified               string // the property with the time of the last change
	made                   string
	records                []*record
	byID                   map[int64]*record
	unique                 map[string]map[string]*record // by property and lower-case value
	createdAt              time.Time
	calls                  *lookups
}

// lookups are properties by name, made anew when properties change.
type lookups struct{ byName map[string]*Property }

func (t *objectType) property(name string) *Property {
	if t.calls == nil {
		t.calls = &lookups{byName: make(map[string]*Property, len(t.properties))}
		for _, p := range t.properties {
			t.calls.byName[p.Name] = p
		}
	}
	return t.calls.byName[name]
}

// upper is how messages call the type.
func (t *objectType) upper() string { return strings.ToUpper(t.singular) }

func (t *objectType) add(properties ...*Property) {
	for _, p := range properties {
		if p.Label == "" {
			p.Label = strings.ReplaceAll(p.Name, "_", " ")
		}
		if p.GroupName == "" {
			p.GroupName = t.singular + "information"
		}
		if p.Modification == nil {
			p.Modification = &Modification{Archivable: !p.HubspotDefined, ReadOnlyDefinition: p.HubspotDefined}
		}
		if p.FieldType == "" {
			p.FieldType = map[string]string{"string": "text", "number": "number", "bool": "booleancheckbox",
				"enumeration": "select", "date": "date", "datetime": "date"}[p.Type]
		}
		if p.Options == nil {
			p.Options = []Option{}
		}
		if p.HasUniqueValue && t.unique[p.Name] == nil {
			t.unique[p.Name] = map[string]*record{}
		}
		t.properties = append(t.properties, p)
	}
	t.calls = nil
}

// find is the type by what may stand in a path.
func (s *Server) find(name string) *objectType {
	for _, t := range s.types {
		if name == t.name || name == t.singular || name == t.typeID ||
			t.custom && (name == t.qualified() || name == "p_"+t.singular) {
			return t
		}
	}
	return nil
}

// portal is the account's number.
const portal = 12345

func (t *objectType) qualified() string { return fmt.Sprintf("p%d_%s", portal, t.singular) }

func (s *Server) must(object string) *objectType {
	t := s.find(object)
	if t == nil {
		panic("hubspot: no object " + object)
	}
	return t
}

// AddProperty gives an object a property; it panics if there is no such object.
func (s *Server) AddProperty(object string, p Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(object).add(&p)
}

// RemoveProperty takes a property from an object, with its values.
func (s *Server) RemoveProperty(object, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.must(object)
	t.properties = slices.DeleteFunc(t.properties, func(p *Property) bool { return p.Name == name })
	t.calls = nil
}

// AddObject makes a custom object. Required are names of properties.
func (s *Server) AddObject(singular, plural string, required []string, properties ...Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addObject(singular, plural, required, properties)
}

func (s *Server) addObject(singular, plural string, required []string, properties []Property) *objectType {
	n := 0
	for _, t := range s.types {
		if t.custom {
			n++
		}
	}
	t := newType(singular, singular, fmt.Sprintf("2-%d", 1_000_001+n))
	t.custom, t.required, t.createdAt = true, required, s.now()
	t.labels = map[string]string{"singular": singular, "plural": plural}
	t.made, t.modified = "hs_createdate", "hs_lastmodifieddate"
	t.addCommon()
	for i := range properties {
		t.add(&properties[i])
	}
	t.usual = append([]string{t.made, t.modified, "hs_object_id"}, required...)
	if len(properties) > 0 {
		t.primary = properties[0].Name
	}
	s.types = append(s.types, t)
	return t
}

func newType(name, singular, id string) *objectType {
	return &objectType{name: name, singular: singular, typeID: id, byID: map[int64]*record{}, unique: map[string]map[string]*record{}}
}

// addCommon adds what every object has.
func (t *objectType) addCommon() {
	fixed := &Modification{ReadOnlyDefinition: true, ReadOnlyValue: true}
	t.add(
		&Property{Name: "hs_object_id", Label: "Record ID", Type: "number", HubspotDefined: true, Modification: fixed, HasUniqueValue: true},
		&Property{Name: t.made, Label: "Create Date", Type: "datetime", HubspotDefined: true, Modification: fixed},
		&Property{Name: t.modified, Label: "Last Modified Date", Type: "datetime", HubspotDefined: true, Modification: fixed},
		&Property{Name: "hubspot_owner_id", Label: "Owner", Type: "enumeration", HubspotDefined: true, ExternalOptions: true, Referenced: "OWNER"},
	)
	delete(t.unique, "hs_object_id") // found by id
}

// serveProperties is /crm/v3/properties/{objectType}[/{name}].
func (s *Server) serveProperties(r *request) (string, func() reply) {
	if len(r.path) == 0 || len(r.path) > 2 {
		return "", nil
	}
	return "properties", func() reply {
		t := s.find(r.path[0])
		if t == nil {
			return s.noType(r.path[0])
		}
		if len(r.path) == 1 {
			return s.allProperties(r, t)
		}
		at := slices.IndexFunc(t.properties, func(p *Property) bool { return p.Name == r.path[1] })
		if at < 0 {
			return s.refuse(http.StatusNotFound, categoryNotFound, fmt.Sprintf("Property %q does not exist on %s", r.path[1], t.name))
		}
		p := t.properties[at]
		switch r.Method {
		case http.MethodGet:
			return ok(p)
		case http.MethodDelete:
			if !p.Modification.Archivable {
				return s.refuse(http.StatusBadRequest, categoryValidation, fmt.Sprintf("Property %q cannot be archived", p.Name))
			}
			t.properties = slices.Delete(t.properties, at, at+1)
			t.calls = nil
			return nothing()
		}
		return s.refuse(http.StatusMethodNotAllowed, "", "Method Not Allowed")
	}
}

func (s *Server) allProperties(r *request, t *objectType) reply {
	switch r.Method {
	case http.MethodGet:
		if r.URL.Query().Get("archived") == "true" {
			return ok(map[string]any{"results": []*Property{}})
		}
		return ok(map[string]any{"results": t.properties})
	case http.MethodPost:
		var p Property
		if f := r.decode(&p); f != nil {
			return s.refuseWith(f)
		}
		if t.property(p.Name) != nil {
			return s.refuse(http.StatusConflict, categoryConflict, fmt.Sprintf("A property named '%s' already exists.", p.Name))
		}
		if !slices.Contains([]string{"string", "number", "bool", "enumeration", "date", "datetime"}, p.Type) {
			return s.refuse(http.StatusBadRequest, categoryValidation, fmt.Sprintf("Invalid type %q", p.Type))
		}
		p.CreatedAt = stamp(s.now())
		p.UpdatedAt = p.CreatedAt
		t.add(&p)
		return created(&p)
	}
	return s.refuse(http.StatusMethodNotAllowed, "", "Method Not Allowed")
}

func (s *Server) noType(name string) reply {
	return s.refuse(http.StatusBadRequest, categoryValidation, fmt.Sprintf("Unable to infer object type from: %s", name))
}

// schema is what the API tells of a custom object.
type schema struct {
	ID            string              `json:"id"`
	ObjectTypeID  string              `json:"objectTypeId"`
	Qualified     string              `json:"fullyQualifiedName"`
	Name          string              `json:"name"`
	Labels        map[string]string   `json:"labels"`
	Required      []string            `json:"requiredProperties"`
	Searchable    []string            `json:"searchableProperties"`
	Primary       string              `json:"primaryDisplayProperty"`
	Secondary     []string            `json:"secondaryDisplayProperties"`
	Archived      bool                `json:"archived"`
	Properties    []*Property         `json:"properties"`
	Associations  []map[string]string `json:"associations"`
	CreatedAt     string              `json:"createdAt"`
	UpdatedAt     string              `json:"updatedAt"`
	MetaType      string              `json:"metaType"`
	PortalID      int                 `json:"portalId"`
	RestorableDay bool                `json:"restorable"`
}

func (t *objectType) schema() schema {
	at := stamp(t.createdAt)
	return schema{ID: t.typeID[2:], ObjectTypeID: t.typeID, Qualified: t.qualified(), Name: t.singular, Labels: t.labels,
		Required: append([]string{}, t.required...), Searchable: []string{}, Primary: t.primary, Secondary: []string{},
		Properties: t.properties, Associations: []map[string]string{}, CreatedAt: at, UpdatedAt: at, MetaType: "PORTAL_SPECIFIC",
		PortalID: portal, RestorableDay: true}
}

// serveSchemas is /crm-object-schemas/v3/schemas[/{objectType}].
func (s *Server) serveSchemas(r *request) (string, func() reply) {
	if len(r.path) > 1 {
		return "", nil
	}
	return "schemas", func() reply {
		show := func(t *objectType) schema {
			out := t.schema()
			if r.URL.Query().Get("includePropertyDefinitions") == "false" {
				out.Properties = []*Property{}
			}
			return out
		}
		if len(r.path) == 1 {
			t := s.find(r.path[0])
			if t == nil {
				return s.noType(r.path[0])
			}
			if r.Method != http.MethodGet {
				return s.refuse(http.StatusMethodNotAllowed, "", "Method Not Allowed")
			}
			return ok(show(t))
		}
		switch r.Method {
		case http.MethodGet:
			all := []schema{}
			for _, t := range s.types {
				if t.custom {
					all = append(all, show(t))
				}
			}
			return ok(map[string]any{"results": all})
		case http.MethodPost:
			var in struct {
				Name              string
				Labels            map[string]string
				RequiredProperty  []string `json:"requiredProperties"`
				Properties        []Property
				AssociatedObjects []string
				Primary           string   `json:"primaryDisplayProperty"`
				Secondary         []string `json:"secondaryDisplayProperties"`
				Searchable        []string `json:"searchableProperties"`
				Description       string
			}
			if f := r.decode(&in); f != nil {
				return s.refuseWith(f)
			}
			if s.find(in.Name) != nil {
				return s.refuse(http.StatusConflict, categoryConflict, fmt.Sprintf("Object type already exists: %s", in.Name))
			}
			t := s.addObject(in.Name, in.Labels["plural"], in.RequiredProperty, in.Properties)
			t.labels = in.Labels
			return created(t.schema())
		}
		return s.refuse(http.StatusMethodNotAllowed, "", "Method Not Allowed")
	}
}
