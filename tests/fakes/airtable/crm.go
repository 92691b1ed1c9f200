package airtable

// CRM is a base for tests with a field of every type.
type CRM struct {
	Base                *Base
	Companies, Contacts *Table
}

// AddCRM adds the base "CRM": Companies, and Contacts that are linked to them.
// Its ids are always the same.
func AddCRM(s *Server) *CRM {
	companies := &Table{
		ID: "tblCompanies00001", Name: "Companies",
		Fields: []*Field{
			{ID: "fldCoName00000001", Name: "Name", Type: "singleLineText"},
			{ID: "fldCoDomain000001", Name: "Domain", Type: "url"},
			{ID: "fldCoEmployees001", Name: "Employees", Type: "number"},
			{ID: "fldCoContacts0001", Name: "Contacts", Type: "multipleRecordLinks", Linked: "tblContacts000001", Inverse: "fldCompany0000001"},
			{ID: "fldCoHeads0000001", Name: "Heads", Type: "count", Link: "fldCoContacts0001"},
			{ID: "fldCoRevenue00001", Name: "Revenue", Type: "rollup", Link: "fldCoContacts0001", Target: "fldAmount00000001", Formula: "SUM", Result: "number", Precision: 2},
		},
	}
	contacts := &Table{
		ID: "tblContacts000001", Name: "Contacts", Description: "People we know",
		Fields: []*Field{
			{ID: "fldName0000000001", Name: "Name", Type: "singleLineText", Description: "First and last"},
			{ID: "fldEmail000000001", Name: "Email", Type: "email"},
			{ID: "fldPhone000000001", Name: "Phone", Type: "phoneNumber"},
			{ID: "fldNotes000000001", Name: "Notes", Type: "multilineText"},
			{ID: "fldBio00000000001", Name: "Bio", Type: "richText"},
			{ID: "fldStatus00000001", Name: "Status", Type: "singleSelect", Choices: []string{"Lead", "Customer", "Lost"}},
			{ID: "fldTags0000000001", Name: "Tags", Type: "multipleSelects", Choices: []string{"red", "green", "blue, light"}},
			{ID: "fldAmount00000001", Name: "Amount", Type: "currency", Precision: 2},
			{ID: "fldShare000000001", Name: "Share", Type: "percent", Precision: 1},
			{ID: "fldScore000000001", Name: "Score", Type: "number", Precision: 4},
			{ID: "fldStars000000001", Name: "Stars", Type: "rating"},
			{ID: "fldTalk0000000001", Name: "Talk time", Type: "duration"},
			{ID: "fldVip00000000001", Name: "VIP", Type: "checkbox"},
			{ID: "fldBorn0000000001", Name: "Born", Type: "date"},
			{ID: "fldSeen0000000001", Name: "Last seen", Type: "dateTime"},
			{ID: "fldCompany0000001", Name: "Company", Type: "multipleRecordLinks", Linked: "tblCompanies00001", Inverse: "fldCoContacts0001"},
			{ID: "fldDomains0000001", Name: "Company domains", Type: "multipleLookupValues", Link: "fldCompany0000001", Target: "fldCoDomain000001", Result: "url"},
			{ID: "fldFiles000000001", Name: "Files", Type: "multipleAttachments"},
			{ID: "fldOwner000000001", Name: "Owner", Type: "singleCollaborator"},
			{ID: "fldCode0000000001", Name: "Code", Type: "barcode"},
			{ID: "fldLabel000000001", Name: "Label", Type: "formula", Formula: `{Name} & " <" & {Email} & ">"`, Result: "singleLineText"},
			{ID: "fldDouble00000001", Name: "Per star", Type: "formula", Formula: "{Amount} / {Stars}", Result: "number", Precision: 2},
			{ID: "fldAge00000000001", Name: "Age in days", Type: "formula", Formula: "DATETIME_DIFF({Last seen}, {Born}, 'days')", Result: "number"},
			{ID: "fldNumber00000001", Name: "Number", Type: "autoNumber"},
			{ID: "fldCreated0000001", Name: "Created", Type: "createdTime"},
			{ID: "fldModified000001", Name: "Last modified", Type: "lastModifiedTime"},
			{ID: "fldAuthor00000001", Name: "Created by", Type: "createdBy"},
			{ID: "fldBrace000000001", Name: "odd } name", Type: "singleLineText"},
			{ID: "fldQuote000000001", Name: `it's "odd" \ too`, Type: "singleLineText"},
		},
		Views: []*View{
			{ID: "viwGrid0000000001", Name: "Grid view"},
			{ID: "viwCustomers00001", Name: "Customers", Formula: "{Status} = 'Customer'", Sort: []Order{{Field: "Amount", Desc: true}}},
		},
	}
	base := s.AddBase(Base{ID: "appHallway0000001", Name: "CRM", Tables: []*Table{companies, contacts}})
	return &CRM{Base: base, Companies: companies, Contacts: contacts}
}
