package salesforce

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// texts gives one column of all rows as text.
func texts(t *testing.T, tab connectors.Table, q connectors.Query) []string {
	t.Helper()
	var out []string
	for _, row := range scanAll(t, tab, q) {
		if row[0].IsNull() {
			out = append(out, "NULL")
			continue
		}
		out = append(out, row[0].V.(string))
	}
	return out
}

func equal(column int, v any) pushdown.Expr {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: column}, Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true},
		Right: &pushdown.Param{Type: sqlTypes["text"], Known: true, Value: pushdown.Value{V: v}}}
}

func where(e ...pushdown.Expr) connectors.Query {
	return connectors.Query{Request: pushdown.Request{Conjuncts: e, Columns: []int{0}}}
}

func bindTable(t *testing.T, src connectors.Source, object string, options map[string]string, fields ...string) connectors.Table {
	t.Helper()
	spec := connectors.TableSpec{Name: "t", Options: map[string]string{"object": object}}
	for k, v := range options {
		spec.Options[k] = v
	}
	for _, f := range fields {
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: strings.ToLower(strings.ReplaceAll(f, ".", "_")), Type: sqlTypes["text"], Options: map[string]string{"field": f}})
	}
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	return tab
}

func TestRelatedFields(t *testing.T) {
	s := fake.New(fake.Options{})
	defer s.Close()
	account, err := s.Insert("Account", map[string]any{"Name": "Acme"})
	require.NoError(t, err)
	_, err = s.Insert("Contact", map[string]any{"LastName": "One", "AccountId": account[0]}, map[string]any{"LastName": "Two"})
	require.NoError(t, err)
	src := openSource(t, s)
	tab := bindTable(t, src, "contact", nil, "Account.Owner.Name", "account.name", "Id")
	s.ResetCalls()
	require.Equal(t, []string{"Ada Admin", "NULL"}, texts(t, tab, connectors.Query{}))
	require.Equal(t, []string{"SELECT Id, Account.Owner.Name FROM Contact"}, s.Statements())
	s.ResetCalls()
	require.Equal(t, []string{"Ada Admin"}, texts(t, tab, where(equal(1, "Acme"))))
	require.Equal(t, []string{"NULL"}, texts(t, tab, where(&pushdown.NullTest{Operand: &pushdown.Column{Index: 1}})))
	require.Equal(t, []string{"SELECT Id, Account.Owner.Name FROM Contact WHERE Account.Name = 'Acme'", "SELECT Id, Account.Owner.Name, Account.Name FROM Contact WHERE Account.Name = null"}, s.Statements())
	require.Contains(t, tab.Describe().ReadOnlyColumns, 0, "what another record has is not written here")

	for field, want := range map[string]string{
		"Acount.Name": `object "Contact" has no relationship "Acount"`, "Account.Nme": `object "Account" has no field "Nme"`,
		"Account.Parent.Parent.Parent.Parent.Parent.Name": "the API follows at most 5 relationships",
	} {
		_, err := src.Table(t.Context(), connectors.TableSpec{Name: "Contact", Columns: []connectors.ColumnSpec{{Name: "x", Type: sqlTypes["text"], Options: map[string]string{"field": field}}}})
		require.ErrorContains(t, err, want)
	}
}

func TestIncludeDeleted(t *testing.T) {
	s := fake.New(fake.Options{})
	defer s.Close()
	ids, err := s.Insert("Account", map[string]any{"Name": "Here"}, map[string]any{"Name": "Gone"})
	require.NoError(t, err)
	require.NoError(t, s.Remove("Account", ids[1]))
	src := openSource(t, s)
	require.Equal(t, []string{"Here"}, texts(t, bindTable(t, src, "Account", nil, "Name", "Id"), connectors.Query{}))
	all := bindTable(t, src, "Account", map[string]string{"include_deleted": "true"}, "Name", "Id")
	require.Equal(t, []string{"Here", "Gone"}, texts(t, all, connectors.Query{}))
	require.False(t, all.Describe().Insertable)
	_, err = src.Table(t.Context(), connectors.TableSpec{Name: "Account", Options: map[string]string{"include_deleted": "perhaps"}})
	require.ErrorContains(t, err, "include_deleted")
}

// An object with hundreds of fields, and a list of hundreds of values, are asked
// for although no URL is that long.
func TestLongStatements(t *testing.T) {
	fields := make([]*fake.Field, 400)
	names := []string{"Id"}
	for i := range fields {
		fields[i] = fake.Text(fmt.Sprintf("A_rather_long_name_of_a_field_%04d__c", i), 80)
		names = append(names, fields[i].Name)
	}
	s := fake.New(fake.Options{PageSize: 100, Objects: []*fake.Object{fake.Custom("Long__c", "z01", fields...)}})
	defer s.Close()
	rows := make([]map[string]any, 450)
	for i := range rows {
		rows[i] = map[string]any{fields[i%400].Name: fmt.Sprint(i)}
	}
	ids, err := s.Insert("Long__c", rows...)
	require.NoError(t, err)
	src := openSource(t, s)
	tab := bindTable(t, src, "Long__c", nil, names...)
	s.ResetCalls()
	q := connectors.Query{}
	for i := range names {
		q.Columns = append(q.Columns, i)
	}
	require.Len(t, scanAll(t, tab, q), 450)
	require.Equal(t, 1, s.Calls()["composite_batch"])
	require.Equal(t, 4, s.Calls()["query_more"], "further pages are had as ever")

	list := make([]pushdown.Value, 0, 450)
	for _, id := range ids {
		list = append(list, pushdown.Value{V: id})
	}
	s.ResetCalls()
	in := &pushdown.Membership{Operand: &pushdown.Column{Index: 0}, Array: &pushdown.Param{Known: true, Value: pushdown.Value{V: list}}, Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true}}
	require.Len(t, texts(t, tab, where(in)), 450)
	require.Equal(t, 5, s.Calls()[""], "one request for all, in five pages")

	// An error inside is the API's error.
	bad := bindTable(t, src, "Long__c", nil, names...)
	s.Drop("Long__c")
	_, err = scanError(t, bad, q)
	require.ErrorContains(t, err, "sObject type 'Long__c' is not supported")
}

// Of many objects with 300 fields two are asked for.
func TestImport_IsLazy(t *testing.T) {
	s := fake.New(fake.Options{Objects: fake.Wide(60, 300)})
	defer s.Close()
	src := openSource(t, s)
	s.ResetCalls()
	list, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "salesforce", LimitTo: []string{"wide_0001__c", "wide_0060__c"}})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Len(t, list[1].Columns, 309)
	require.Equal(t, map[string]int{"": 5, "objects": 1, "describe": 2, "counts": 2}, s.Calls())

	_, err = src.Table(t.Context(), connectors.TableSpec{Name: "wide_0061__c"})
	require.ErrorContains(t, err, `there is no object "wide_0061__c"`)
}

// Describe's flags become the column's.
func TestImport_Fields(t *testing.T) {
	s := fake.New(fake.Options{})
	defer s.Close()
	list, err := openSource(t, s).Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{"account", "opportunity"}})
	require.NoError(t, err)
	got, comments := map[string]string{}, map[string]string{}
	for _, table := range list {
		for _, c := range table.Columns {
			null := ""
			if c.NotNull {
				null = " NOT NULL"
			}
			got[table.Name+"."+c.Name] = c.Type + null
			comments[table.Name+"."+c.Name] = c.Comment
		}
	}
	for name, want := range map[string]string{
		"account.id": "text NOT NULL", "account.isdeleted": "boolean NOT NULL", "account.name": "text NOT NULL", "account.parentid": "text", "account.billingaddress": "jsonb",
		"account.annualrevenue": "numeric", "account.numberofemployees": "bigint", "account.erp_key__c": "text", "account.active__c": "boolean NOT NULL", "account.renewal__c": "date",
		"account.createddate": "timestamptz NOT NULL", "account.ownerid": "text NOT NULL", "opportunity.stagename": "text NOT NULL", "opportunity.closedate": "date NOT NULL", "opportunity.amount": "numeric",
	} {
		require.Equal(t, want, got[name], name)
	}
	require.Equal(t, "Industry: one of Agriculture, Banking, Technology, Other", comments["account.industry"])
}
