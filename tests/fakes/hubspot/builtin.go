// HubSpot's own objects, each with some of the hundreds of properties it has.

package hubspot

import "time"

func builtIn() []*objectType {
	text := func(name string) *Property { return &Property{Name: name, Type: "string", HubspotDefined: true} }
	long := func(name string) *Property {
		return &Property{Name: name, Type: "string", FieldType: "textarea", HubspotDefined: true}
	}
	number := func(name string) *Property { return &Property{Name: name, Type: "number", HubspotDefined: true} }
	when := func(name string) *Property { return &Property{Name: name, Type: "datetime", HubspotDefined: true} }
	date := func(name string) *Property { return &Property{Name: name, Type: "date", HubspotDefined: true} }
	flag := func(name string) *Property {
		return &Property{Name: name, Type: "bool", HubspotDefined: true, Options: []Option{{Label: "Yes", Value: "true"}, {Label: "No", Value: "false", DisplayOrder: 1}}}
	}
	choice := func(name string, values ...string) *Property {
		p := &Property{Name: name, Type: "enumeration", HubspotDefined: true}
		for i, v := range values {
			p.Options = append(p.Options, Option{Label: v, Value: v, DisplayOrder: i})
		}
		return p
	}
	external := func(name string) *Property {
		return &Property{Name: name, Type: "enumeration", HubspotDefined: true, ExternalOptions: true}
	}
	choices := func(name string, values ...string) *Property {
		p := choice(name, values...)
		p.FieldType = "checkbox"
		return p
	}
	computed := func(p *Property) *Property {
		p.Calculated = true
		p.Modification = &Modification{ReadOnlyDefinition: true, ReadOnlyValue: true}
		return p
	}
	unique := func(p *Property) *Property { p.HasUniqueValue = true; return p }

	var all []*objectType
	object := func(name, singular, id, made, modified string, usual, required []string, properties ...*Property) {
		t := newType(name, singular, id)
		t.made, t.modified, t.required = made, modified, required
		t.createdAt = time.Date(2019, 10, 1, 0, 0, 0, 0, time.UTC)
		t.addCommon()
		t.add(properties...)
		t.usual = append([]string{made, modified, "hs_object_id"}, usual...)
		all = append(all, t)
	}
	const made, hsMade, modified = "createdate", "hs_createdate", "hs_lastmodifieddate"

	object("contacts", "contact", "0-1", made, "lastmodifieddate", []string{"email", "firstname", "lastname"}, nil,
		unique(text("email")), text("firstname"), text("lastname"), text("phone"), text("company"), text("jobtitle"), text("city"), text("country"),
		choice("lifecyclestage", "subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer", "evangelist", "other"),
		choice("hs_lead_status", "NEW", "OPEN", "IN_PROGRESS", "UNQUALIFIED"), choices("hs_buying_role", "BLOCKER", "CHAMPION", "DECISION_MAKER"),
		number("annualrevenue"), number("num_employees"), date("date_of_birth"), when("closedate"), flag("hs_email_optout"),
		computed(number("num_associated_deals")))
	object("companies", "company", "0-2", made, modified, []string{"name", "domain"}, nil,
		text("name"), text("domain"), text("city"), text("country"), text("phone"), long("description"),
		choice("industry", "COMPUTER_SOFTWARE", "BANKING", "RETAIL", "INSURANCE"), number("annualrevenue"), number("numberofemployees"), when("closedate"), flag("is_public"))
	object("deals", "deal", "0-3", made, modified, []string{"amount", "closedate", "dealname", "dealstage", "pipeline"}, nil,
		text("dealname"), number("amount"), when("closedate"),
		choice("dealstage", "appointmentscheduled", "qualifiedtobuy", "presentationscheduled", "contractsent", "closedwon", "closedlost"),
		external("pipeline"), choice("dealtype", "newbusiness", "existingbusiness"), long("description"), computed(number("hs_projected_amount")))
	object("tickets", "ticket", "0-5", made, modified, []string{"content", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_category", "hs_ticket_priority", "subject"}, nil,
		text("subject"), long("content"), external("hs_pipeline"), external("hs_pipeline_stage"),
		choice("hs_ticket_priority", "LOW", "MEDIUM", "HIGH"), choices("hs_ticket_category", "PRODUCT_ISSUE", "BILLING_ISSUE", "FEATURE_REQUEST", "GENERAL_INQUIRY"))
	object("products", "product", "0-7", made, modified, []string{"description", "name", "price"}, nil,
		text("name"), long("description"), number("price"), unique(text("hs_sku")), number("hs_cost_of_goods_sold"))
	object("line_items", "line_item", "0-8", made, modified, []string{"quantity", "amount", "price"}, nil,
		text("name"), number("quantity"), number("price"), computed(number("amount")), number("hs_product_id"), text("hs_sku"))
	object("quotes", "quote", "0-14", hsMade, modified, []string{"hs_expiration_date", "hs_public_url_key", "hs_status", "hs_title"}, nil,
		text("hs_title"), when("hs_expiration_date"), choice("hs_status", "DRAFT", "APPROVAL_NOT_NEEDED", "PENDING_APPROVAL", "APPROVED", "REJECTED"),
		text("hs_public_url_key"), computed(number("hs_quote_amount")))
	engagement := func(name, singular, id string, properties ...*Property) {
		object(name, singular, id, hsMade, modified, []string{"hs_timestamp"}, []string{"hs_timestamp"},
			append([]*Property{when("hs_timestamp")}, properties...)...)
	}
	engagement("calls", "call", "0-48", text("hs_call_title"), long("hs_call_body"), number("hs_call_duration"),
		choice("hs_call_direction", "INBOUND", "OUTBOUND"), choice("hs_call_status", "BUSY", "COMPLETED", "NO_ANSWER"))
	engagement("emails", "email", "0-49", text("hs_email_subject"), long("hs_email_text"), choice("hs_email_direction", "EMAIL", "INCOMING_EMAIL", "FORWARDED_EMAIL"),
		choice("hs_email_status", "BOUNCED", "FAILED", "SCHEDULED", "SENDING", "SENT"))
	engagement("meetings", "meeting_event", "0-47", text("hs_meeting_title"), long("hs_meeting_body"), when("hs_meeting_start_time"), when("hs_meeting_end_time"), text("hs_meeting_location"))
	engagement("notes", "note", "0-46", long("hs_note_body"))
	engagement("tasks", "task", "0-27", text("hs_task_subject"), long("hs_task_body"), choice("hs_task_status", "NOT_STARTED", "IN_PROGRESS", "WAITING", "COMPLETED", "DEFERRED"),
		choice("hs_task_priority", "NONE", "LOW", "MEDIUM", "HIGH"), choice("hs_task_type", "CALL", "EMAIL", "TODO"))
	return all
}
