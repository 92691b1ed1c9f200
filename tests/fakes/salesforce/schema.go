package salesforce

import (
	"fmt"
	"slices"
	"strings"
)

// Field is a field of an sObject, in the words of describe.
type Field struct {
	Name, Label string
	// Type is describe's: id, string, textarea, email, phone, url, picklist,
	// multipicklist, boolean, int, double, currency, percent, date, datetime,
	// time, reference, address, location.
	Type              string
	Length            int
	Precision, Scale  int
	Nillable          bool
	Createable        bool
	Updateable        bool
	DefaultedOnCreate bool
	Unique            bool
	ExternalID        bool
	CaseSensitive     bool
	Restricted        bool
	AutoNumber        bool
	Filterable        bool
	Sortable          bool
	Groupable         bool
	Aggregatable      bool
	Values            []string
	Default           any
	ReferenceTo       []string
	// Relationship is the name by which a path goes through a reference.
	Relationship string
	// Compute gives the value of a calculated field.
	Compute func(Record) any
}

// Object is an sObject's definition.
type Object struct {
	Name, Label, Prefix string
	Fields              []*Field
	ReadOnly            bool

	byName map[string]*Field
	byRel  map[string]*Field
}

func (o *Object) field(name string) *Field { return o.byName[strings.ToLower(name)] }

func (o *Object) relationship(name string) *Field { return o.byRel[strings.ToLower(name)] }

func (o *Object) custom() bool { return strings.HasSuffix(o.Name, "__c") }

// finish fills in what follows from the type, and the indexes by name.
func (o *Object) finish() *Object {
	o.byName, o.byRel = map[string]*Field{}, map[string]*Field{}
	if o.Label == "" {
		o.Label = label(o.Name)
	}
	for _, f := range o.Fields {
		if f.Label == "" {
			f.Label = label(f.Name)
		}
		o.byName[strings.ToLower(f.Name)] = f
		if f.Relationship != "" {
			o.byRel[strings.ToLower(f.Relationship)] = f
		}
	}
	return o
}

func label(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(name, "__c"), "_", " ")
}

// Text is a field of text. It, and the functions after it, make fields as an
// administrator would: writable, nillable, and filterable, sortable and so on as
// their types are.
func Text(name string, length int) *Field {
	return &Field{Name: name, Type: "string", Length: length, Nillable: true, Createable: true, Updateable: true,
		Filterable: true, Sortable: true, Groupable: true, Aggregatable: true}
}

func of(kind, name string, length int) *Field {
	f := Text(name, length)
	f.Type = kind
	return f
}

// LongText cannot be filtered or sorted.
func LongText(name string, length int) *Field {
	f := of("textarea", name, length)
	f.Filterable, f.Sortable, f.Groupable, f.Aggregatable = false, false, false, false
	return f
}

// Number has precision digits, of which scale are behind the point.
func Number(kind, name string, precision, scale int) *Field {
	f := of(kind, name, 0)
	f.Precision, f.Scale, f.Groupable = precision, scale, kind == "int"
	return f
}

// Picklist has values; a restricted one refuses others.
func Picklist(name string, restricted bool, values ...string) *Field {
	f := of("picklist", name, 255)
	f.Restricted, f.Values = restricted, values
	return f
}

// Multi is a picklist of several values, joined by semicolons; it cannot be sorted.
func Multi(name string, values ...string) *Field {
	f := of("multipicklist", name, 4099)
	f.Values, f.Restricted, f.Sortable, f.Groupable, f.Aggregatable = values, true, false, false, false
	return f
}

// Check is a boolean: never null.
func Check(name string) *Field {
	f := of("boolean", name, 0)
	f.Nillable, f.DefaultedOnCreate, f.Default, f.Aggregatable = false, true, false, false
	return f
}

// Reference is a foreign key with a relationship's name.
func Reference(name, relationship string, to ...string) *Field {
	f := of("reference", name, 18)
	f.ReferenceTo, f.Relationship = to, relationship
	return f
}

func (f *Field) required() *Field { f.Nillable = false; return f }

func (f *Field) readOnly() *Field { f.Createable, f.Updateable = false, false; return f }

func (f *Field) computed(c func(Record) any) *Field { f.Compute = c; return f.readOnly() }

func (f *Field) defaulted(v any) *Field { f.Default, f.DefaultedOnCreate = v, true; return f }

// Key is an external id, unique without regard to case.
func Key(name string, length int, unique bool) *Field {
	f := Text(name, length)
	f.ExternalID, f.Unique = true, unique
	return f
}

// standard puts the fields that every object has around the given ones.
func standard(name, prefix string, fields ...*Field) *Object {
	id := &Field{Name: "Id", Label: "Record ID", Type: "id", Length: 18, DefaultedOnCreate: true,
		Filterable: true, Sortable: true, Groupable: true, Aggregatable: true}
	deleted := Check("IsDeleted").readOnly()
	all := []*Field{id, deleted}
	if prefix != "005" && !slices.ContainsFunc(fields, func(f *Field) bool { return f.Name == "OwnerId" }) {
		owner := Reference("OwnerId", "Owner", "User").defaulted(UserID)
		owner.Nillable = false
		all = append(all, owner)
	}
	all = append(all, fields...)
	for _, audit := range []*Field{
		of("datetime", "CreatedDate", 0), Reference("CreatedById", "CreatedBy", "User"),
		of("datetime", "LastModifiedDate", 0), Reference("LastModifiedById", "LastModifiedBy", "User"),
		of("datetime", "SystemModstamp", 0),
	} {
		audit.Nillable, audit.DefaultedOnCreate, audit.Groupable = false, true, audit.Type == "reference"
		all = append(all, audit.readOnly())
	}
	return (&Object{Name: name, Prefix: prefix, Fields: all}).finish()
}

func address(prefix string) *Field {
	f := of("address", prefix+"Address", 0)
	f.Filterable, f.Sortable, f.Groupable, f.Aggregatable = true, false, false, false
	return f.computed(func(r Record) any {
		street, city, code, country := r[prefix+"Street"], r[prefix+"City"], r[prefix+"PostalCode"], r[prefix+"Country"]
		if street == nil && city == nil && code == nil && country == nil {
			return nil
		}
		return map[string]any{"street": street, "city": city, "postalCode": code, "country": country, "state": nil,
			"geocodeAccuracy": nil, "latitude": nil, "longitude": nil}
	})
}

// Objects of a fresh org. Everything__c has a field of every type.
func defaultObjects() []*Object {
	user := standard("User", "005", Text("Username", 80).required(), of("email", "Email", 128).required(),
		Text("Name", 121).readOnly(), Check("IsActive"), Text("Alias", 8).required())
	user.ReadOnly = true
	stages := []string{"Prospecting", "Qualification", "Negotiation/Review", "Closed Won", "Closed Lost"}
	closed := func(r Record) any { s, _ := r["StageName"].(string); return strings.HasPrefix(s, "Closed") }
	return []*Object{
		user,
		standard("Account", "001",
			Text("Name", 255).required(), Picklist("Type", false, "Prospect", "Customer - Direct", "Other"),
			Reference("ParentId", "Parent", "Account"),
			of("textarea", "BillingStreet", 255), Text("BillingCity", 40), Text("BillingPostalCode", 20), Text("BillingCountry", 80), address("Billing"),
			of("phone", "Phone", 40), of("url", "Website", 255), Picklist("Industry", false, "Agriculture", "Banking", "Technology", "Other"),
			Number("currency", "AnnualRevenue", 18, 0), Number("int", "NumberOfEmployees", 8, 0), LongText("Description", 32000),
			Key("ERP_Key__c", 40, true), Multi("Segments__c", "Retail", "Wholesale", "Online"),
			Number("double", "Score__c", 16, 2), Check("Active__c"), of("date", "Renewal__c", 0)),
		standard("Contact", "003",
			Reference("AccountId", "Account", "Account"), Text("LastName", 80).required(), Text("FirstName", 40),
			Text("Name", 121).computed(func(r Record) any {
				first, _ := r["FirstName"].(string)
				last, _ := r["LastName"].(string)
				return strings.TrimSpace(first + " " + last)
			}),
			of("email", "Email", 80), of("phone", "Phone", 40), Text("Title", 128), of("date", "Birthdate", 0), Check("DoNotCall"),
			Reference("ReportsToId", "ReportsTo", "Contact"), Key("Legacy_Id__c", 40, false)),
		standard("Opportunity", "006",
			Reference("AccountId", "Account", "Account"), Text("Name", 120).required(),
			Picklist("StageName", false, stages...).required(), Number("currency", "Amount", 18, 2), of("date", "CloseDate", 0).required(),
			Number("percent", "Probability", 3, 0), Check("IsClosed").computed(closed),
			Check("IsWon").computed(func(r Record) any { return r["StageName"] == "Closed Won" }), LongText("Description", 32000)),
		standard("Case", "500",
			&Field{Name: "CaseNumber", Type: "string", Length: 30, AutoNumber: true, DefaultedOnCreate: true, Filterable: true, Sortable: true, Groupable: true, Aggregatable: true},
			Reference("AccountId", "Account", "Account"), Reference("ContactId", "Contact", "Contact"),
			Text("Subject", 255), Picklist("Status", true, "New", "Working", "Closed").defaulted("New"),
			Picklist("Priority", false, "High", "Medium", "Low").defaulted("Medium"), LongText("Description", 32000)),
		standard("Everything__c", "a01",
			Text("Name", 80), Text("Text__c", 255), LongText("Long__c", 131072), of("textarea", "Area__c", 255), Check("Check__c"),
			Number("double", "Number__c", 18, 4), Number("double", "Whole__c", 18, 0), Number("currency", "Money__c", 18, 2),
			Number("percent", "Percent__c", 5, 2), of("date", "Day__c", 0), of("datetime", "Moment__c", 0), of("time", "Time__c", 0),
			Picklist("Pick__c", true, "Red", "Green", "Blue"), Multi("Multi__c", "One", "Two", "Three"),
			of("email", "Mail__c", 80), of("phone", "Phone__c", 40), of("url", "Url__c", 255), Reference("Ref__c", "Ref__r", "Account"),
			Key("Key__c", 60, true), &Field{Name: "Exact__c", Type: "string", Length: 60, Nillable: true, Createable: true, Updateable: true,
				Filterable: true, Sortable: true, Groupable: true, Aggregatable: true, Unique: true, ExternalID: true, CaseSensitive: true},
			Number("double", "Doubled__c", 18, 4).computed(func(r Record) any {
				n, ok := r["Number__c"].(float64)
				if !ok {
					return nil
				}
				return 2 * n
			})),
	}
}

// Wide makes an org as large companies have it: objects custom objects of fields
// fields each, named Wide_0001__c and so on.
func Wide(objects, fields int) []*Object {
	out := make([]*Object, objects)
	for i := range out {
		list := []*Field{Text("Name", 80)}
		for j := range fields {
			name := fmt.Sprintf("Field_%03d__c", j+1)
			switch j % 5 {
			case 0:
				list = append(list, Number("double", name, 18, 2))
			case 1:
				list = append(list, of("datetime", name, 0))
			case 2:
				list = append(list, Picklist(name, true, "Red", "Green", "Blue"))
			default:
				list = append(list, Text(name, 255))
			}
		}
		out[i] = standard(fmt.Sprintf("Wide_%04d__c", i+1), prefixOf(i), list...)
	}
	return out
}

// prefixOf is a key prefix of three characters that no other object of the org has.
func prefixOf(i int) string {
	return "b" + string(alphabet[i/62%62]) + string(alphabet[i%62])
}

// Plain is a field of a type that needs no more than its name, such as date.
func Plain(kind, name string) *Field { return of(kind, name, 0) }

// Custom is an object with the fields that every object has and these. Its name
// ends in __c, and no other object's ids begin with its prefix of three characters.
func Custom(name, prefix string, fields ...*Field) *Object { return standard(name, prefix, fields...) }
