package hubspot

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// linked is a server with 250 contacts, of which every other has companies: the
// first of them 1,200.
func linked(t *testing.T) (api *fake.Server, contact, company int64, pairs map[[3]int64]bool) {
	t.Helper()
	api = fake.New(fake.Options{})
	t.Cleanup(api.Close)
	contact = seedContacts(api, 250)
	company = api.Seed("companies", 1300, func(i int) map[string]string { return map[string]string{"name": fmt.Sprintf("company %d", i)} })
	pairs = map[[3]int64]bool{}
	link := func(c, o int64, kinds ...int) {
		api.Associate("contacts", c, "companies", o, kinds...)
		for _, k := range append(kinds, 279) {
			pairs[[3]int64{c, o, int64(k)}] = true
		}
	}
	for i := range int64(1200) {
		link(contact, company+i)
	}
	for i := int64(2); i < 250; i += 2 {
		link(contact+i, company+i%7, 1)
		link(contact+i, company+1290)
	}
	return api, contact, company, pairs
}

func eq(column int, x any) pushdown.Expr {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: column}, Right: &pushdown.Param{Known: true, Value: v(x)}}
}

func within(column int, ids ...int64) pushdown.Expr {
	list := make([]pushdown.Value, len(ids))
	for i, id := range ids {
		list[i] = v(id)
	}
	return &pushdown.Membership{Operand: &pushdown.Column{Index: column}, Array: &pushdown.Param{Known: true, Value: v(list)}}
}

func TestAssociations_Scan(t *testing.T) {
	api, contact, company, pairs := linked(t)
	src := open(t, api)
	spec := tableSpec(t, src, "contacts_companies")
	require.Equal(t, []string{"contact_id", "company_id", "type", "category", "label"}, []string{spec.Columns[0].Name, spec.Columns[1].Name, spec.Columns[2].Name, spec.Columns[3].Name, spec.Columns[4].Name})
	for _, c := range []struct {
		name      string
		conjuncts []pushdown.Expr
		want      func(p [3]int64) bool
		calls     map[string]int
	}{
		// Three pages of contacts; those that have any soon, and then many at once; one in three pages.
		{"all", nil, func([3]int64) bool { return true }, map[string]int{"list": 3, "associations_read": 4}},
		{"of one contact", []pushdown.Expr{eq(0, contact+4)}, func(p [3]int64) bool { return p[0] == contact+4 }, map[string]int{"associations_read": 1}},
		{"of a contact with many", []pushdown.Expr{eq(0, contact)}, func(p [3]int64) bool { return p[0] == contact }, map[string]int{"associations_read": 3}},
		{"of some contacts", []pushdown.Expr{within(0, contact+2, contact+3, contact+8)}, func(p [3]int64) bool { return p[0] == contact+2 || p[0] == contact+8 }, map[string]int{"associations_read": 1}},
		// From the other side, and then as the first side sees them.
		{"of one company", []pushdown.Expr{eq(1, company+3)}, func(p [3]int64) bool { return p[1] == company+3 }, map[string]int{"associations_read": 4}},
		{"of none", []pushdown.Expr{eq(0, nil)}, func([3]int64) bool { return false }, map[string]int{}},
		{"of one that is not there", []pushdown.Expr{eq(0, int64(5))}, func([3]int64) bool { return false }, map[string]int{"associations_read": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			api.ResetCalls()
			got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2, 3, 4}, Conjuncts: c.conjuncts}})
			require.NoError(t, err)
			want, have := map[[3]int64]bool{}, map[[3]int64]bool{}
			for p := range pairs {
				if c.want(p) {
					want[p] = true
				}
			}
			for _, row := range got {
				p := [3]int64{row[0].V.(int64), row[1].V.(int64), row[2].V.(int64)}
				require.False(t, have[p], "%v comes twice", p)
				have[p] = true
				require.Equal(t, "HUBSPOT_DEFINED", row[3].V)
				if p[2] == 1 {
					require.Equal(t, "Primary", row[4].V)
				} else {
					require.True(t, row[4].IsNull())
				}
			}
			require.Equal(t, want, have)
			calls := api.Calls()
			delete(calls, "schemas")
			require.Equal(t, c.calls, calls)
		})
	}

	t.Run("types are not asked for where they are not wanted", func(t *testing.T) {
		api.ResetCalls()
		got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{eq(1, company+1290)}}})
		require.NoError(t, err)
		require.Len(t, got, 124)
		require.Equal(t, 1, api.Calls()["associations_read"])
	})
	t.Run("without a column for types a pair is one row", func(t *testing.T) {
		two := spec
		two.Columns = slices.Clone(spec.Columns[:2])
		got, err := scan(t, src, two, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{eq(0, contact+4)}}})
		require.NoError(t, err)
		require.Len(t, got, 2)
	})
}

func TestConformance_Associations(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	contact := seedContacts(api, 320)
	company := api.Seed("companies", 60, func(i int) map[string]string { return map[string]string{"name": fmt.Sprint(i)} })
	for i := range int64(220) {
		api.Associate("contacts", contact+i, "companies", company+i%50, []int{279, 1}[i%2])
	}
	front := record(t, api)
	src := open(t, api)
	conformance.Run(t, conformance.Subject{
		Connector:    New(),
		Env:          testEnv(),
		Server:       spec(api, "base_url", front.URL),
		Table:        tableSpec(t, src, "contacts_companies"),
		MinPages:     4,
		Calls:        allCalls(api),
		Secret:       fake.Token,
		RemoteSchema: "hubspot",
		MinPushed:    0.05,
		Queries:      100,
		Writes: &conformance.Writes{
			Insert: func(n int) conformance.Row {
				return conformance.Row{"contact_id": v(contact + 220 + int64(n)%100), "company_id": v(company + 50 + int64(n)/100%10), "type": v(int64(279))}
			},
			Delete:     true,
			MissingKey: []pushdown.Value{v(int64(5)), v(int64(6)), v(int64(99))},
			Refused: []conformance.Refusal{
				{Name: "no such company", Change: conformance.Row{"company_id": v(int64(999_999_999))}, Class: connectors.ForeignKeyViolation},
				{Name: "no such type", Change: conformance.Row{"type": v(int64(5))}, Class: connectors.ForeignKeyViolation, Column: "type"},
			},
		},
	})
	const links = "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/"
	front.judge(t, "POST "+links+"read", "POST "+links+"create", "POST "+links+"archive", "GET /crm/v4/associations/{fromObjectType}/{toObjectType}/labels")
}

func TestAssociations_Write(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	contact := seedContacts(api, 3)
	company := api.Seed("companies", 3, func(int) map[string]string { return map[string]string{"name": "x"} })
	front := record(t, api)
	src := open(t, api, "base_url", front.URL)
	spec := tableSpec(t, src, "contacts_companies")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	types := []pushdown.Type{spec.Columns[1].Type, spec.Columns[2].Type, spec.Columns[4].Type}
	modify := func(b *connectors.Batch) ([][]pushdown.Value, error) {
		var got [][]pushdown.Value
		b.Stats = &connectors.Stats{}
		b.ReturningColumns = []int{1, 2, 4}
		b.Returning = rows.NewBuilder(types, func(tuples []byte, n int) error {
			list, err := rows.DecodeTuples(types, tuples, n)
			got = append(got, list...)
			return err
		}, rows.Options{})
		b.RecordColumns = []int{0, 1, 2, 3, 4}
		recorded := 0
		all := make([]pushdown.Type, 5)
		for i := range all {
			all[i] = spec.Columns[i].Type
		}
		b.Record = rows.NewBuilder(all, func(_ []byte, n int) error { recorded += n; return nil }, rows.Options{})
		if err := tab.(connectors.Modifier).Modify(t.Context(), b); err != nil {
			return nil, err
		}
		require.NoError(t, b.Record.Flush())
		if b.Op == connectors.Insert {
			require.Equal(t, len(b.Rows), recorded, "the cache has them")
			require.NotContains(t, b.Recorded, false)
		}
		return got, b.Returning.Flush()
	}
	got, err := modify(&connectors.Batch{Op: connectors.Insert, Columns: []int{0, 1, 2}, Rows: []connectors.Row{
		{Values: []pushdown.Value{v(contact), v(company), {}}},
		{Values: []pushdown.Value{v(contact), v(company + 1), v(int64(1))}},
	}})
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{v(company), v(int64(279)), {}}, {v(company + 1), v(int64(1)), v("Primary")}}, got)
	require.Equal(t, []int{279}, api.Associations("contacts", contact, "companies", company))
	require.Equal(t, []int{1, 279}, api.Associations("contacts", contact, "companies", company+1))

	// A label goes by itself; without a label the association goes.
	_, err = modify(&connectors.Batch{Op: connectors.Delete, KeyColumns: []int{0, 1, 2}, Rows: []connectors.Row{
		{Key: []pushdown.Value{v(contact), v(company + 1), v(int64(1))}}, {Key: []pushdown.Value{v(contact), v(company), v(int64(279))}},
	}})
	require.NoError(t, err)
	require.Equal(t, []int{279}, api.Associations("contacts", contact, "companies", company+1))
	require.Empty(t, api.Associations("contacts", contact, "companies", company))
	front.judge(t, "POST /crm/v4/associations/{fromObjectType}/{toObjectType}/batch/labels/archive")
}

func TestSidesOf(t *testing.T) {
	custom := map[string]string{"car": "2-7", "car_part": "2-8"}
	for name, want := range map[string]string{
		"contacts_companies":   "contacts.contact_id companies.company_id",
		"deals_line_items":     "deals.deal_id line_items.line_item_id",
		"line_items_deals":     "line_items.line_item_id deals.deal_id",
		"companies_companies":  "companies.company_id companies.to_company_id",
		"car_contacts":         "2-7.car_id contacts.contact_id",
		"car_part_car":         "2-8.car_part_id 2-7.car_id",
		"line_items":           "",
		"contacts_nonsense":    "",
		"contacts_":            "",
		"_":                    "",
		"contacts__companies_": "",
	} {
		a, b, ok := sidesOf(name, custom)
		got := ""
		if ok {
			got = fmt.Sprintf("%s.%s %s.%s", a.kind, a.column, b.kind, b.column)
		}
		require.Equal(t, want, got, name)
	}
}
