package airtable

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// seed adds contacts: Ada with everything, Bob with zeros, and one with nothing.
func (w *world) seed(t *testing.T) (company string, contacts []string) {
	t.Helper()
	ids, err := w.Seed(w.Companies, map[string]any{"Name": "Acme", "Domain": "https://acme.example"})
	require.NoError(t, err)
	contacts, err = w.Seed(w.Contacts,
		map[string]any{"Name": "Ada", "Email": "ada@example.com", "Status": "Lead", "Tags": []any{"red", "blue, light"}, "Amount": 12.5, "Share": 0.25, "Stars": 4.0, "Talk time": 90.0,
			"VIP": true, "Born": "1815-12-10", "Last seen": "2026-01-02T03:04:05.006Z", "Company": []any{ids[0]}, "Files": []any{map[string]any{"url": "https://example.com/a.pdf"}},
			"Owner": map[string]any{"email": "grace@example.com"}, "Code": map[string]any{"text": "4006381"}, "odd } name": "odd", `it's "odd" \ too`: "too"},
		map[string]any{"Name": "Bob's \"x\" \\ é", "Amount": 0.0, "Stars": 0.0, "Born": "2000-02-29"},
		map[string]any{})
	require.NoError(t, err)
	return ids[0], contacts
}

func TestRead_Types(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	company, ids := w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	got := scan(t, tab, spec, nil, "id", "name", "status", "tags", "amount", "share", "stars", "talk_time", "vip", "born", "last_seen", "company", "company_domains", "code", "label", "per_star", "age_in_days", "number", "odd_name", "it_s_odd_too")
	day := func(s string) int64 {
		at, err := time.Parse(time.DateOnly, s)
		require.NoError(t, err)
		return int64(at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Hours() / 24)
	}
	seen := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
	require.Equal(t, [][]any{
		{ids[0], "Ada", "Lead", []any{"red", "blue, light"}, "12.5", "0.25", int64(4), "90", true, day("1815-12-10"), seen, []any{company}, `["https://acme.example"]`, `{"text":"4006381"}`, "Ada <ada@example.com>", "3.125", "76725", int64(1), "odd", "too"},
		{ids[1], "Bob's \"x\" \\ é", nil, nil, "0", nil, nil, nil, false, day("2000-02-29"), nil, nil, nil, nil, "Bob's \"x\" \\ é <>", "NaN", nil, int64(2), nil, nil},
		{ids[2], nil, nil, nil, nil, nil, nil, nil, false, nil, nil, nil, nil, nil, " <>", "NaN", nil, int64(3), nil, nil},
	}, got)
	files := scan(t, tab, spec, nil, "files", "owner", "created_by")
	require.Contains(t, files[0][0], `"filename":"a.pdf"`)
	require.Contains(t, files[0][1], `"email":"grace@example.com"`)
	require.Contains(t, files[1][2], `"name":"Ada Park"`)
	for _, r := range w.Requests() {
		if r.Kind == fake.List {
			require.Equal(t, "POST /v0/appHallway0000001/tblContacts000001/listRecords", r.Method+" "+r.Path)
		}
	}
}

// Only what a query needs is asked for.
func TestRead_Projection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "appHallway0000001")
	w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	w.Forget()
	scan(t, tab, spec, nil, "odd_name", "vip")
	require.JSONEq(t, `{"returnFieldsByFieldId": true, "pageSize": 100, "fields": ["fldBrace000000001", "fldVip00000000001"]}`, string(w.Requests()[0].Body))
	require.Len(t, scan(t, tab, spec, nil, "id", "created_time"), 3)
}

func comparison(spec connectors.TableSpec, c int, op pushdown.Operator, v any) pushdown.Expr {
	return &pushdown.Comparison{Op: op, Left: &pushdown.Column{Index: c}, Collation: pushdown.Collation{Deterministic: true, Name: "default"},
		Right: &pushdown.Param{Known: true, Type: spec.Columns[c].Type, Value: pushdown.Value{V: v}}}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	_, ids := w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	col := func(name string) int { return column(t, spec, name) }
	is := func(name string, op pushdown.Operator, v any) pushdown.Expr {
		return comparison(spec, col(name), op, v)
	}
	null := func(name string, negated bool) pushdown.Expr {
		return &pushdown.NullTest{Operand: &pushdown.Column{Index: col(name)}, Negated: negated}
	}
	like := func(name, pattern string, kind pushdown.MatchKind) pushdown.Expr {
		return &pushdown.Match{Kind: kind, Operand: &pushdown.Column{Index: col(name)}, Collation: pushdown.Collation{Deterministic: true},
			Pattern: &pushdown.Param{Known: true, Value: pushdown.Value{V: pattern}}}
	}
	holds := func(name, value string, negated bool) pushdown.Expr {
		return &pushdown.Membership{Operand: &pushdown.Param{Known: true, Type: pushdown.Type{Kind: pushdown.Text}, Value: pushdown.Value{V: value}}, Negated: negated,
			Array: &pushdown.Column{Index: col(name)}, Collation: pushdown.Collation{Deterministic: true}}
	}
	const exact, superset, local = pushdown.Exact, pushdown.Superset, pushdown.Local
	for _, c := range []struct {
		name    string
		e       pushdown.Expr
		verdict pushdown.Verdict
		formula string
		rows    string // that the API returns, by number
	}{
		{"key", is("id", pushdown.EQ, ids[1]), exact, "EXACT(RECORD_ID() & '', '" + ids[1] + "')", "2"},
		{"text", is("name", pushdown.EQ, "Ada"), exact, "EXACT({Name} & '', 'Ada')", "1"},
		{"another case", is("name", pushdown.EQ, "ADA"), exact, "EXACT({Name} & '', 'ADA')", ""},
		{"quotes", is("name", pushdown.EQ, "Bob's \"x\" \\ é"), exact, `EXACT({Name} & '', 'Bob\'s "x" \\ é')`, "2"},
		{"not equal leaves out what is empty", is("name", pushdown.NE, "Ada"), exact, "AND(NOT(EXACT({Name} & '', 'Ada')), LEN({Name} & '') > 0)", "2"},
		{"line breaks are not written", is("notes", pushdown.EQ, "a\nbob"), superset, "FIND(UPPER('bob'), UPPER({Notes} & '')) > 0", ""},
		{"nothing can be written", is("notes", pushdown.EQ, "\n"), local, "", "123"},
		{"no text", null("name", false), exact, "LEN({Name} & '') = 0", "3"},
		{"select", is("status", pushdown.EQ, "Lead"), exact, "EXACT({Status} & '', 'Lead')", "1"},
		{"zero is not empty", is("amount", pushdown.EQ, "0"), superset, "AND({Amount} = 0, LEN({Amount} & '') > 0)", "2"},
		{"number", is("amount", pushdown.GT, "1.5"), superset, "AND({Amount} > 1.5, LEN({Amount} & '') > 0)", "1"},
		{"a number that no double is", is("amount", pushdown.EQ, "0.1000000000000000055511151231257827"), local, "", "123"},
		{"no number", null("amount", false), superset, "{Amount} = BLANK()", "23"},
		{"some number", null("amount", true), superset, "LEN({Amount} & '') > 0", "12"},
		{"checked", &pushdown.Column{Index: col("vip")}, exact, "IF({VIP}, 1, 0) = 1", "1"},
		{"not checked", &pushdown.Not{Operand: &pushdown.Column{Index: col("vip")}}, exact, "IF({VIP}, 1, 0) = 0", "23"},
		{"date", is("born", pushdown.LT, int64(0)), superset, "IF({Born}, IS_BEFORE({Born}, DATETIME_PARSE('2000-01-01T00:00:00.000Z')), 0)", "1"},
		{"that day", is("born", pushdown.EQ, int64(59)), superset, "IF({Born}, IS_SAME({Born}, DATETIME_PARSE('2000-02-29T00:00:00.000Z')), 0)", "2"},
		{"no date", null("born", false), superset, "IF({Born}, 0, 1)", "3"},
		{"finer than the API", is("last_seen", pushdown.LE, int64(820638245006100)), superset, "IF({Last seen}, IS_BEFORE({Last seen}, DATETIME_PARSE('2026-01-02T03:04:05.007Z')), 0)", "1"},
		{"created", is("created_time", pushdown.GE, int64(0)), superset, "IF(CREATED_TIME(), NOT(IS_BEFORE(CREATED_TIME(), DATETIME_PARSE('2000-01-01T00:00:00.000Z'))), 0)", "123"},
		{"number of its own", is("number", pushdown.GE, int64(2)), superset, "{Number} >= 2", "23"},
		{"pattern", like("name", "%d_%", pushdown.Like), superset, "FIND(UPPER('d'), UPPER({Name} & '')) > 0", "1"},
		{"prefix", like("name", "Bob'%", pushdown.Like), superset, `FIND(UPPER('Bob\''), UPPER({Name} & '')) = 1`, "2"},
		{"pattern, any case", like("email", "%ADA%", pushdown.ILike), superset, "FIND(UPPER('", "1"},
		{"of a formula", is("label", pushdown.EQ, "Ada <ada@example.com>"), exact, "EXACT(IF(ISERROR({Label}), '', {Label}) & '', 'Ada <ada@example.com>')", "1"},
		{"a formula's number may be NaN", is("per_star", pushdown.GT, "0"), local, "", "123"},
		{"a name with a brace", is("odd_name", pushdown.EQ, "odd"), local, "", "123"},
		{"a name with a backslash", is("it_s_odd_too", pushdown.EQ, "too"), local, "", "123"},
		{"rich text", is("bio", pushdown.EQ, "x"), local, "", "123"},
		{"a value of a list", holds("tags", "red", false), superset, "FIND('red', {Tags} & '') > 0", "1"},
		{"one with a comma", holds("tags", "blue, light", false), superset, "FIND('blue, light', {Tags} & '') > 0", "1"},
		{"none of the list's", holds("tags", "light", false), local, "", "123"},
		{"not in a list", holds("tags", "red", true), local, "", "123"},
		{"linked records are names there", holds("company", "rec00000000000001", false), local, "", "123"},
		{"or", &pushdown.Or{Operands: []pushdown.Expr{is("born", pushdown.GT, int64(0)), is("name", pushdown.EQ, "Ada")}}, superset, "OR(IF({Born}, IS_AFTER(", "12"},
	} {
		plan := tab.Plan(pushdown.Request{Conjuncts: []pushdown.Expr{c.e}})
		require.Equal(t, c.verdict, plan.Conjuncts[0].Verdict, c.name)
		w.Forget()
		got := ""
		for _, row := range scan(t, tab, spec, []pushdown.Expr{c.e}, "number") {
			got += fmt.Sprint(row[0])
		}
		require.Equal(t, c.rows, got, c.name)
		body := string(w.Requests()[0].Body)
		if c.formula == "" {
			require.NotContains(t, body, "filterByFormula", c.name)
			continue
		}
		require.Contains(t, strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(body), `"filterByFormula":"`+c.formula, c.name)
	}
	plan := tab.Plan(pushdown.Request{Conjuncts: []pushdown.Expr{is("name", pushdown.EQ, "Ada"), is("amount", pushdown.GT, "0")}})
	require.Equal(t, exact, plan.Conjuncts[0].Verdict)
	require.Equal(t, superset, plan.Conjuncts[1].Verdict)
}

// A quote in one choice is reason enough to read all: what a formula makes of it is not
// documented.
func TestLists_WithQuotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	w.AddBase(fake.Base{ID: "appQuotes00000001", Name: "Quotes", Tables: []*fake.Table{{ID: "tblQuotes00000001", Name: "quotes",
		Fields: []*fake.Field{{Name: "Name", Type: "singleLineText"}, {Name: "Tags", Type: "multipleSelects", Choices: []string{"plain", `5", long`}}}}}})
	w.src = w.open(t, "base", "Quotes")
	tab, spec := w.table(t, "default", "quotes")
	at := column(t, spec, "tags")
	p := tab.Plan(pushdown.Request{Conjuncts: []pushdown.Expr{&pushdown.Membership{Array: &pushdown.Column{Index: at}, Collation: pushdown.Collation{Deterministic: true},
		Operand: &pushdown.Param{Known: true, Type: pushdown.Type{Kind: pushdown.Text}, Value: pushdown.Value{V: "plain"}}}}})
	require.Equal(t, pushdown.Local, p.Conjuncts[0].Verdict)
}

func TestSort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	for _, c := range []struct {
		column string
		desc   bool
		sorts  bool
	}{{"amount", false, true}, {"amount", true, true}, {"born", true, true}, {"number", false, true}, {"name", false, false}, {"status", false, false}, {"id", false, false}, {"per_star", false, false}} {
		o := pushdown.Ordering{{Column: column(t, spec, c.column), Descending: c.desc, NullsFirst: !c.desc, Collation: pushdown.Collation{C: true}}}
		p := tab.Plan(pushdown.Request{Orderings: []pushdown.Ordering{o}})
		require.Equal(t, c.sorts, len(p.ExactOrderings) == 1, c.column)
		if c.column == "number" {
			continue // has no NULLs
		}
		// NULLs are the smallest values there.
		o[0].NullsFirst = c.desc
		require.Empty(t, tab.Plan(pushdown.Request{Orderings: []pushdown.Ordering{o}}).ExactOrderings, c.column)
	}
	w.Forget()
	o := pushdown.Ordering{{Column: column(t, spec, "amount"), Descending: true}}
	q := connectors.Query{Stats: &connectors.Stats{}, Ordering: o, Request: pushdown.Request{Orderings: []pushdown.Ordering{o}, Columns: []int{0}}}
	require.Contains(t, tab.Request(q), `"sort":[{"field":"fldAmount00000001","direction":"desc"}]`)
}

func TestView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	_, err := w.Seed(w.Contacts, map[string]any{"Name": "A", "Status": "Customer"}, map[string]any{"Name": "B"})
	require.NoError(t, err)
	for _, view := range []string{"Customers", "viwCustomers00001"} {
		tab, spec := w.table(t, "default", "contacts", "view", view)
		require.Equal(t, [][]any{{"A"}}, scan(t, tab, spec, nil, "name"))
	}
	imported := w.imported(t, "default")["contacts"]
	imported.Options["view"] = "Nope"
	_, err = w.src.Table(t.Context(), connectors.TableSpec{Name: "contacts", Options: imported.Options})
	require.ErrorContains(t, err, `invalid value for option "view" of foreign table "contacts": "Nope"`)
	require.ErrorContains(t, err, "invalid value")
}

// A cursor that expires is no error, nor does a row come twice.
func TestExpiringCursors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	list := make([]map[string]any, 950)
	for i := range list {
		list[i] = map[string]any{"Name": fmt.Sprintf("P%03d", i)}
	}
	_, err := w.Seed(w.Contacts, list...)
	require.NoError(t, err)
	tab, spec := w.table(t, "default", "contacts")
	w.Forget()
	w.ExpireEach(10) // one scan uses nine
	for n := range 3 {
		seen := map[any]bool{}
		for _, row := range scan(t, tab, spec, nil, "name") {
			require.False(t, seen[row[0]], "%d: %s", n, row[0])
			seen[row[0]] = true
		}
		require.Len(t, seen, 950, n)
	}
	require.Greater(t, w.Calls(fake.List), 30, "it did expire")
}

// A lock-out is sat out, and what is asked for meanwhile waits too.
func TestLockout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	w.Forget()
	w.SetOptions(fake.Options{Lockout: 150 * time.Millisecond})
	w.LockEach(2)
	for range 3 {
		require.Len(t, scan(t, tab, spec, nil, "name"), 3)
	}
	require.LessOrEqual(t, w.Calls(fake.List), 6)
}

// Several bases are remote schemas, and their tables' objects say which.
func TestBases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, "appHallway0000001/Contacts", w.imported(t, "default")["contacts"].Options["object"], "the only one")
	w.AddBase(fake.Base{ID: "appShop0000000001", Name: "Shop / Store", Tables: []*fake.Table{{Name: "Orders / Old", Fields: []*fake.Field{{Name: "Name", Type: "singleLineText"}}}}})
	w.src = w.open(t)
	_, err := w.src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default"})
	require.ErrorContains(t, err, "the token sees 2 bases")
	require.Equal(t, "appShop0000000001/Orders / Old", w.imported(t, "shop / store")["orders_old"].Options["object"])
	_, err = w.src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "nope"})
	require.ErrorContains(t, err, `there is no remote schema "nope"`)
	for _, object := range []string{"Shop / Store/Orders / Old", "appShop0000000001/Orders / Old"} {
		tab, err := w.src.Table(t.Context(), connectors.TableSpec{Name: "o", Options: map[string]string{"object": object},
			Columns: []connectors.ColumnSpec{{Name: "id", Type: types["text"]}, {Name: "name", Type: types["text"]}}})
		require.NoError(t, err, object)
		require.Equal(t, []int{0}, tab.Describe().Key)
	}
	_, err = w.src.Table(t.Context(), connectors.TableSpec{Name: "o", Options: map[string]string{"object": "CRM/Contcts"}})
	require.ErrorContains(t, err, `there is no object "CRM/Contcts"`)
}
