package salesforce

import (
	"net/http"
	"strings"
)

func (s *Server) object(r *http.Request) (*table, *apiError) {
	if t := s.table(r.PathValue("object")); t != nil {
		return t, nil
	}
	return nil, newError(404, "NOT_FOUND", "The requested resource does not exist")
}

// writable says which of an object's rows a session may change.
func global(o *Object, base string) map[string]any {
	urls := map[string]string{"sobject": base + o.Name, "describe": base + o.Name + "/describe", "rowTemplate": base + o.Name + "/{ID}"}
	return map[string]any{"name": o.Name, "label": o.Label, "labelPlural": o.Label + "s", "keyPrefix": o.Prefix, "custom": o.custom(), "customSetting": false,
		"activateable": false, "createable": !o.ReadOnly, "deletable": !o.ReadOnly, "updateable": !o.ReadOnly, "undeletable": !o.ReadOnly,
		"deprecatedAndHidden": false, "feedEnabled": false, "hasSubtypes": false, "isSubtype": false, "layoutable": true, "mergeable": false, "mruEnabled": true,
		"queryable": true, "replicateable": true, "retrieveable": true, "searchable": true, "triggerable": true, "urls": urls}
}

func (s *Server) listObjects(w http.ResponseWriter, r *http.Request) *apiError {
	base := "/services/data/" + r.PathValue("version") + "/sobjects/"
	list := make([]map[string]any, len(s.order))
	for i, t := range s.order {
		list[i] = global(t.def, base)
	}
	writeJSON(w, 200, map[string]any{"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
	return nil
}

// soapTypes are describe's second words for a type.
var soapTypes = map[string]string{"id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double", "currency": "xsd:double",
	"percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime", "time": "xsd:time", "address": "urn:address", "location": "urn:location"}

func (s *Server) describe(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	base := "/services/data/" + r.PathValue("version") + "/sobjects/"
	out := global(t.def, base)
	fields := make([]map[string]any, len(t.def.Fields))
	for i, f := range t.def.Fields {
		picks := make([]map[string]any, len(f.Values))
		for j, v := range f.Values {
			picks[j] = map[string]any{"active": true, "defaultValue": f.Default == v, "label": v, "validFor": nil, "value": v}
		}
		soap := soapTypes[f.Type]
		if soap == "" {
			soap = "xsd:string"
		}
		fields[i] = map[string]any{"name": f.Name, "label": f.Label, "type": f.Type, "soapType": soap, "length": f.Length, "byteLength": 3 * f.Length,
			"precision": f.Precision, "scale": f.Scale, "digits": 0, "nillable": f.Nillable, "createable": f.Createable && !t.def.ReadOnly,
			"updateable": f.Updateable && !t.def.ReadOnly, "defaultedOnCreate": f.DefaultedOnCreate, "unique": f.Unique, "externalId": f.ExternalID,
			"idLookup": f.Type == "id" || f.ExternalID, "caseSensitive": f.CaseSensitive, "restrictedPicklist": f.Restricted, "picklistValues": picks,
			"autoNumber": f.AutoNumber, "calculated": f.Compute != nil && f.Type != "address" && f.Name != "Name", "custom": strings.HasSuffix(f.Name, "__c"),
			"filterable": f.Filterable, "sortable": f.Sortable, "groupable": f.Groupable, "aggregatable": f.Aggregatable,
			"referenceTo": append([]string{}, f.ReferenceTo...), "relationshipName": orNil(f.Relationship), "polymorphicForeignKey": len(f.ReferenceTo) > 1,
			"compoundFieldName": compound(t.def, f), "nameField": f.Name == "Name", "permissionable": true, "defaultValue": f.Default, "inlineHelpText": nil,
			"calculatedFormula": nil, "deprecatedAndHidden": false, "encrypted": false, "htmlFormatted": false, "extraTypeInfo": nil}
	}
	out["fields"] = fields
	out["childRelationships"] = []any{}
	out["recordTypeInfos"] = []any{}
	w.Header().Set("Last-Modified", s.now().Format(http.TimeFormat))
	writeJSON(w, 200, out)
	return nil
}

func compound(o *Object, f *Field) any {
	for _, suffix := range []string{"Street", "City", "PostalCode", "Country"} {
		if prefix, ok := strings.CutSuffix(f.Name, suffix); ok && o.field(prefix+"Address") != nil {
			return prefix + "Address"
		}
	}
	if f.Name == "FirstName" || f.Name == "LastName" {
		return "Name"
	}
	return nil
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}
