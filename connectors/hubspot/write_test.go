package hubspot

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// modify writes to contacts (id, email, firstname, hs_lead_status).
func modify(t *testing.T, src connectors.Source, b *connectors.Batch) []connectors.Result {
	t.Helper()
	tab, err := src.Table(t.Context(), tableSpec(t, src, "contacts", "id", "email", "firstname", "hs_lead_status"))
	require.NoError(t, err)
	b.Stats = &connectors.Stats{}
	require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
	return b.Results
}

// TestBatches_InPart: of a hundred rows some are refused, and each says for itself.
func TestBatches_InPart(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	front := record(t, api)
	src := open(t, api, "base_url", front.URL)
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{1, 2, 3}}
	for i := range 230 {
		mail, status := v(fmt.Sprintf("m%d@example.com", i)), v("NEW")
		switch i {
		case 220:
			mail = v("nonsense")
		case 107:
			status = v("MAYBE")
		}
		b.Rows = append(b.Rows, connectors.Row{Values: []pushdown.Value{mail, v("x"), status}})
	}
	res := modify(t, src, b)
	require.Equal(t, 2, api.Calls()["batch_create"], "three hundreds, of which the third is not begun")
	for i, r := range res {
		switch {
		case i == 107:
			require.Equal(t, connectors.Refused, r.Outcome)
			require.False(t, r.Bystander)
			require.Equal(t, "hs_lead_status", r.Err.Column)
			require.Equal(t, connectors.CheckViolation, r.Err.Class)
			require.Contains(t, r.Err.Message, "MAYBE was not one of the allowed options")
		case i < 200:
			require.Equal(t, connectors.Applied, r.Outcome, "row %d: %v", i, r.Err)
		default:
			require.True(t, r.Bystander, "row %d", i)
		}
	}
	ids := api.IDs("contacts")
	require.Len(t, ids, 199)

	// An update of one that is gone and one that is refused, among others.
	api.Archive("contacts", ids[5])
	up := &connectors.Batch{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{1}}
	for i := range 10 {
		mail := v(fmt.Sprintf("n%d@example.com", i))
		if i == 7 {
			mail = v("m100@example.com") // another's
		}
		up.Rows = append(up.Rows, connectors.Row{Key: []pushdown.Value{v(ids[i])}, Values: []pushdown.Value{mail}})
	}
	res = modify(t, src, up)
	require.Equal(t, 1, api.Calls()["batch_update"])
	for i, r := range res {
		switch i {
		case 5:
			require.Equal(t, connectors.NotFound, r.Outcome)
		case 7:
			require.Equal(t, connectors.UniqueViolation, r.Err.Class)
			require.Equal(t, "email", r.Err.Column)
		default:
			require.Equal(t, connectors.Applied, r.Outcome, "row %d: %v", i, r.Err)
			require.Equal(t, fmt.Sprintf("n%d@example.com", i), api.Values("contacts", ids[i])["email"])
		}
	}

	del := &connectors.Batch{Op: connectors.Delete, KeyColumns: []int{0}}
	for _, id := range ids[10:160] {
		del.Rows = append(del.Rows, connectors.Row{Key: []pushdown.Value{v(id)}})
	}
	for _, r := range modify(t, src, del) {
		require.Equal(t, connectors.Applied, r.Outcome)
	}
	require.Equal(t, 2, api.Calls()["batch_archive"])
	require.Len(t, api.IDs("contacts"), 199-1-150)
	front.judge(t, "POST /crm/v3/objects/{objectType}/batch/update")
}

func TestUpsert_TellsWhatIsNew(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	id := api.Seed("contacts", 1, func(int) map[string]string { return map[string]string{"email": "ada@example.com", "firstname": "A"} })
	src := open(t, api)
	res := modify(t, src, &connectors.Batch{Op: connectors.Upsert, Columns: []int{1, 2}, MatchColumns: []int{1}, Rows: []connectors.Row{
		{Values: []pushdown.Value{v("ADA@example.com"), v("Ada")}}, {Values: []pushdown.Value{v("bob@example.com"), v("Bob")}}}})
	require.Equal(t, []connectors.Result{{Outcome: connectors.Applied}, {Outcome: connectors.Applied, Created: true}}, res)
	require.Equal(t, "Ada", api.Values("contacts", id)["firstname"])
	require.Equal(t, map[string]int{"schemas": 1, "properties": 1, "batch_upsert": 1}, api.Calls())
}

func TestArchived_AreShownAndNotWritten(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	first := seedContacts(api, 20)
	api.Archive("contacts", first+3)
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "email")
	spec.Options["archived"] = "true"
	got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{&pushdown.NullTest{Operand: &pushdown.Column{Index: 1}, Negated: true}}}})
	require.NoError(t, err)
	require.Equal(t, [][]pushdown.Value{{v(first + 3), v("c3@example.com")}}, got)
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	d := tab.Describe()
	require.False(t, d.Insertable || d.Updatable || d.Deletable)
	require.NotEqual(t, "contacts", d.Object, "what is cached of it is not mixed with the others")
	spec.Options["archived"] = "maybe"
	_, err = src.Table(t.Context(), spec)
	require.ErrorContains(t, err, `invalid value for option "archived"`)
}

func TestOwners(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	id := api.AddOwner("Olga@example.com", "Olga", "Owner")
	api.AddOwner("otto@example.com", "Otto", "Owner")
	front := record(t, api)
	for _, version := range []string{"2026-03", "v3"} {
		base := api.URL
		if version == "v3" { // which is described
			base = front.URL
		}
		src := open(t, api, "api_version", version, "base_url", base)
		spec := tableSpec(t, src, "owners")
		for want, where := range map[int][]pushdown.Expr{2: nil, 1: {compare(pushdown.EQ, 1, "Olga@example.com")}, 0: {compare(pushdown.EQ, 1, "OLGA@example.com")}} {
			got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2}, Conjuncts: where}})
			require.NoError(t, err)
			if where == nil || want == 1 {
				require.Len(t, got, want)
				require.Equal(t, "Olga", got[0][2].V)
				require.Equal(t, id, fmt.Sprint(got[0][0].V))
			}
		}
	}
	front.judge(t, "GET /crm/v3/owners")
}

func TestCustomObjects(t *testing.T) {
	for _, version := range []string{"v3", "2026-03"} {
		api := fake.New(fake.Options{})
		defer api.Close()
		api.AddObject("car", "Cars", []string{"vin"}, fake.Property{Name: "vin", Type: "string", HasUniqueValue: true}, fake.Property{Name: "doors", Type: "number"}, fake.Property{Name: "id", Type: "string"})
		src := open(t, api, "api_version", version)
		spec := tableSpec(t, src, "car", "id", "vin", "doors", "id_property")
		require.Equal(t, "id_property", spec.Columns[2].Name)
		tab, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		b := &connectors.Batch{Op: connectors.Insert, Columns: []int{1, 2, 3}, Stats: &connectors.Stats{}, Rows: []connectors.Row{
			{Values: []pushdown.Value{v("4"), v("mine"), v("V1")}}, {Values: []pushdown.Value{v("5"), {}, {}}}}}
		require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
		require.Equal(t, connectors.Applied, b.Results[0].Outcome)
		require.Equal(t, connectors.NotNullViolation, b.Results[1].Err.Class)
		require.Equal(t, "vin", b.Results[1].Err.Column)
		got, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{1, 2, 3}, Conjuncts: []pushdown.Expr{compare(pushdown.EQ, 3, "V1")}}})
		require.NoError(t, err)
		require.Equal(t, [][]pushdown.Value{{v("4"), v("mine"), v("V1")}}, got)
		require.True(t, tab.Describe().Lookups[len(tab.Describe().Lookups)-1].Unique)
		for _, name := range []string{"car", "p12345_car", "2-1000001"} {
			spec.Options = map[string]string{"object": name}
			_, err := src.Table(t.Context(), spec)
			require.NoError(t, err, name)
		}
	}
}

func TestErrors_NameTheScope(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id")
	api.Grant("crm.objects.companies.read")
	_, err := scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.PermissionDenied, e.Class)
	require.Contains(t, e.Message, "crm.objects.contacts.read")
}
