package airtable

import (
	"fmt"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	company, err := w.Seed(w.Companies, map[string]any{"Name": "Acme", "Domain": "https://acme.example"}, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"Ada", "ada", "ADA ", "Äda", "O'Hara", `back\slash`, "100%", "a_b", "{x}", "x\ty", "duck 🦆", ""}
	var list []map[string]any
	for i := range 350 {
		row := map[string]any{"Name": names[i%len(names)], "Vip": nil}
		delete(row, "Vip")
		if i%3 != 0 {
			row["Amount"], row["Stars"] = float64(i%7)-2.5, float64(i%6)
			row["Born"], row["Last seen"] = fmt.Sprintf("20%02d-02-0%d", i%30, i%9+1), fmt.Sprintf("2026-01-%02dT%02d:00:00.%03dZ", i%28+1, i%24, i)
		}
		if i%5 != 0 {
			row["Score"], row["Email"], row["Status"] = float64(i%4), fmt.Sprintf("u%d@example.com", i), []string{"Lead", "Customer", "Lost"}[i%3]
		}
		if i%2 == 0 {
			row["VIP"], row["Tags"], row["Company"] = true, []any{"red", "green"}[:1+i/2%2], []any{company[i/2%2]}
			row["Notes"] = "line one\nline two"
		}
		list = append(list, row)
	}
	if _, err := w.Seed(w.Contacts, list...); err != nil {
		t.Fatal(err)
	}
	_, spec := w.table(t, "default", "contacts")
	w.Forget()
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	conformance.Run(t, conformance.Subject{
		Connector: New(), Env: env(), Server: w.spec("base", "CRM"), Table: spec,
		MinPages: 4, Calls: func() int64 { return int64(w.Calls("")) }, Secret: w.Token,
		RemoteSchema: "CRM", MinPushed: 0.2,
		Writes: &conformance.Writes{
			Insert: func(n int) conformance.Row {
				return conformance.Row{"name": v(fmt.Sprintf("new %d", n)), "email": v(fmt.Sprintf("new%d@example.com", n)), "notes": v([]string{"n", "é'", `\`, "🦆\n"}[n%4]),
					"amount": v(fmt.Sprintf("%d.5", n)), "vip": v(n%2 == 0), "born": v(int64(n)), "last_seen": v(int64(n) * 1_000_000), "status": v("Lead"),
					"tags": v([]pushdown.Value{{V: "red"}}), "company": v([]pushdown.Value{{V: company[0]}}), "share": {}}
			},
			Update: func(n int) conformance.Row {
				return conformance.Row{"notes": v(fmt.Sprintf("changed %d", n)), "last_seen": {}, "status": v("Lost"), "tags": {}}
			},
			Delete:     true,
			Match:      []string{"email"},
			MissingKey: []pushdown.Value{v("recNOSUCHNOSUCH01")},
			Refused: []conformance.Refusal{
				{Name: "unknown choice", Change: conformance.Row{"status": v("Friend")}, Class: connectors.CheckViolation, Column: "status"},
				{Name: "rating out of range", Change: conformance.Row{"stars": v(int64(9))}, Class: connectors.CheckViolation, Column: "stars"},
				{Name: "unknown record", Change: conformance.Row{"company": v([]pushdown.Value{{V: "recNOSUCHNOSUCH01"}})}, Class: connectors.ForeignKeyViolation, Column: "company"},
				{Name: "no checkbox is NULL", Change: conformance.Row{"vip": {}}, Class: connectors.NotNullViolation, Column: "vip"},
				{Name: "NaN", Change: conformance.Row{"amount": v("NaN")}, Class: connectors.CheckViolation, Column: "amount"},
			},
		},
	})
}
