package rest

// Writing to a real PocketBase: every kind of refusal, and what RETURNING
// shows.

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func openCRM(t *testing.T, user, password string) *source {
	t.Helper()
	p := startPocketBase(t)
	text, err := os.ReadFile("../../examples/pocketbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return openSource(t, text, p.url, map[string]string{"user": user, "password": password})
}

func openWriter(t *testing.T) *source {
	return openCRM(t, "writer@hallway.example", "writer-password")
}

// index of a table's column.
func (t *table) index(name string) int {
	for i := range t.columns {
		if t.columns[i].spec.Name == name {
			return i
		}
	}
	panic("no column " + name)
}

// modify writes rows given as column, value, column, value; key is for update
// and delete.
func modify(t *testing.T, tab *table, op connectors.Operation, key any, returning []string, values ...any) (connectors.Result, []pushdown.Value, error) {
	t.Helper()
	b := &connectors.Batch{Op: op, Stats: &connectors.Stats{}, IdempotencyKey: "k", Rows: make([]connectors.Row, 1)}
	if key != nil {
		b.KeyColumns = []int{tab.key}
		b.Rows[0].Key = []pushdown.Value{{V: key}}
	}
	for i := 0; i < len(values); i += 2 {
		b.Columns = append(b.Columns, tab.index(values[i].(string)))
		b.Rows[0].Values = append(b.Rows[0].Values, pushdown.Value{V: values[i+1]})
	}
	var types []pushdown.Type
	for _, name := range returning {
		c := tab.index(name)
		b.ReturningColumns = append(b.ReturningColumns, c)
		types = append(types, tab.columns[c].spec.Type)
	}
	var got []pushdown.Value
	b.Returning = rows.NewBuilder(types, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(types, tuples, n)
		if err == nil && len(list) == 1 {
			got = list[0]
		}
		return err
	}, rows.Options{})
	if err := tab.Modify(context.Background(), b); err != nil {
		return connectors.Result{}, nil, err
	}
	if err := b.Returning.Flush(); err != nil {
		return connectors.Result{}, nil, err
	}
	if len(b.Results) != 1 {
		t.Fatalf("%d results for one row", len(b.Results))
	}
	return b.Results[0], got, nil
}

func TestModify_LifeOfARecord(t *testing.T) {
	tab := openTable(t, openWriter(t), "contacts")
	all := []string{"id", "email", "first_name", "phone", "company", "score", "balance", "subscribed", "birthday", "last_seen", "interests", "profile"}
	res, got, err := modify(t, tab, connectors.Insert, nil, all,
		"email", "life@example.com", "last_name", "O'Neil \"x\" \\ \n\u0001é🦆", "status", "lead", "phone", nil, "score", int64(7), "balance", "12.50",
		"subscribed", true, "birthday", int64(-10957), "last_seen", int64(1234567), "company", nil,
		"interests", []pushdown.Value{{V: "api"}, {V: "mobile"}}, "profile", `{"a": [1, "é"]}`)
	if err != nil || res.Outcome != connectors.Applied {
		t.Fatalf("insert: %v, %+v %v", err, res, res.Err)
	}
	id := got[0].V.(string)
	want := []any{id, "life@example.com", "", nil, nil, int64(7), "12.5", true, int64(-10957), int64(1234000), "api mobile", `{"a":[1,"é"]}`}
	for i, w := range want {
		have := got[i].V
		if list, ok := have.([]pushdown.Value); ok {
			have = list[0].V.(string) + " " + list[1].V.(string)
		}
		if s, ok := have.(string); ok && all[i] == "profile" {
			have = strings.ReplaceAll(s, " ", "")
		}
		if have != w {
			t.Errorf("%s: got %#v, want %#v", all[i], have, w)
		}
	}

	res, got, err = modify(t, tab, connectors.Update, id, []string{"last_name", "first_name", "email"}, "first_name", "Ann", "birthday", nil)
	if err != nil || res.Outcome != connectors.Applied || got[0].V != "O'Neil \"x\" \\ \n\u0001é🦆" || got[1].V != "Ann" {
		t.Fatalf("update: %v %+v %v", err, res, got)
	}
	if res, got, err = modify(t, tab, connectors.Delete, id, []string{"email", "birthday"}); err != nil || res.Outcome != connectors.Applied || got[0].V != "life@example.com" || got[1].V != nil {
		t.Fatalf("delete: %v %+v %v", err, res, got)
	}
	for _, op := range []connectors.Operation{connectors.Update, connectors.Delete} {
		var values []any
		if op == connectors.Update {
			values = []any{"first_name", "x"}
		}
		if res, _, err = modify(t, tab, op, id, nil, values...); err != nil || res.Outcome != connectors.NotFound {
			t.Errorf("operation %d on a record that is gone: %v %+v", op, err, res)
		}
		// These would be other paths.
		for _, key := range []string{"", ".", "..", "../../companies/records/x", "a?b", "a#b", "%2e%2e"} {
			if res, _, err = modify(t, tab, op, key, nil, values...); err != nil || res.Outcome != connectors.NotFound {
				t.Errorf("operation %d on key %q: %v %+v", op, key, err, res)
			}
		}
	}
}

// What takes no NULL and need not be given; required ones, keys and what the API
// computes are not among it.
func TestDescribe_UnnullableColumns(t *testing.T) {
	tab := openTable(t, openWriter(t), "contacts")
	var got []string
	for _, i := range tab.Describe().UnnullableColumns {
		got = append(got, tab.spec.Columns[i].Name)
	}
	if want := "first_name title score balance subscribed notes"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestModify_Refusals(t *testing.T) {
	tab := openTable(t, openWriter(t), "contacts")
	if res, _, err := modify(t, tab, connectors.Insert, nil, nil, "email", "taken@example.com", "last_name", "x", "status", "lead"); err != nil || res.Outcome != connectors.Applied {
		t.Fatalf("insert: %v %+v", err, res)
	}
	for _, c := range []struct {
		name    string
		values  []any
		class   connectors.Class
		column  string
		message string
	}{
		{"bad e-mail", []any{"email", "nonsense", "last_name", "x", "status", "lead"}, connectors.CheckViolation, "email",
			`[CRM]: Failed to create record: "email": Must be a valid email address`},
		{"missing", []any{"email", "m@example.com", "status", "lead"}, connectors.NotNullViolation, "last_name",
			`[CRM]: Failed to create record: "last_name": Cannot be blank`},
		{"null in a required field", []any{"email", "m@example.com", "last_name", nil, "status", "lead"}, connectors.NotNullViolation, "last_name",
			`[CRM]: Failed to create record: "last_name": Cannot be blank`},
		{"not unique", []any{"email", "taken@example.com", "last_name", "x", "status", "lead"}, connectors.UniqueViolation, "email",
			`[CRM]: Failed to create record: "email": Value must be unique`},
		{"no such company", []any{"email", "m@example.com", "last_name", "x", "status", "lead", "company", "nosuchcompanyid"}, connectors.ForeignKeyViolation, "company",
			`[CRM]: Failed to create record: "company": Failed to find all relation records with the provided ids`},
		{"too long", []any{"email", "m@example.com", "last_name", strings.Repeat("x", 81), "status", "lead"}, connectors.TooLong, "last_name",
			`[CRM]: Failed to create record: "last_name": Must be no more than 80 character(s)`},
		{"not a choice", []any{"email", "m@example.com", "last_name", "x", "status", "gone"}, connectors.CheckViolation, "status",
			`[CRM]: Failed to create record: "status": Invalid value gone`},
		{"out of range", []any{"email", "m@example.com", "last_name", "x", "status", "lead", "score", int64(101)}, connectors.CheckViolation, "score", ""},
		{"two at once", []any{"email", "bad", "last_name", "x", "status", "gone"}, connectors.CheckViolation, "email",
			`[CRM]: Failed to create record: "email": Must be a valid email address; "status": Invalid value gone`},
		// Refused here, as PocketBase would make something else of it.
		{"NaN", []any{"email", "m@example.com", "last_name", "x", "status", "lead", "balance", "NaN"}, connectors.CheckViolation, "balance",
			`[CRM]: the value for column "balance" cannot be sent: JSON has no number NaN`},
		{"infinity", []any{"email", "m@example.com", "last_name", "x", "status", "lead", "last_seen", int64(math.MaxInt64)}, connectors.CheckViolation, "last_seen",
			`[CRM]: the value for column "last_seen" cannot be sent: the API has no infinite times`},
		{"NULL where there is none", []any{"email", "m@example.com", "last_name", "x", "status", "lead", "subscribed", nil}, connectors.NotNullViolation, "subscribed",
			`[CRM]: null value in column "subscribed": the API has no NULL there`},
		{"read-only", []any{"email", "m@example.com", "created", int64(0)}, connectors.NotSupported, "created", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, _, err := modify(t, tab, connectors.Insert, nil, []string{"id"}, c.values...)
			if err != nil || res.Outcome != connectors.Refused {
				t.Fatalf("got %v %+v, want a refusal", err, res)
			}
			if res.Err.Class != c.class || res.Err.Column != c.column || (c.message != "" && res.Err.Error() != c.message) {
				t.Errorf("got class %d, column %q: %s\nwant class %d, column %q: %s", res.Err.Class, res.Err.Column, res.Err, c.class, c.column, c.message)
			}
		})
	}
	found, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{
		&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: tab.index("email")}, Collation: pushdown.Collation{Deterministic: true},
			Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text}, Known: true, Value: pushdown.Value{V: "taken@example.com"}}}}}})
	if err != nil || len(found) != 1 {
		t.Fatalf("got %d rows, %v", len(found), err)
	}
	if res, _, err := modify(t, tab, connectors.Delete, found[0][0].V, nil); err != nil || res.Outcome != connectors.Applied {
		t.Errorf("delete: %v %+v", err, res)
	}
}

func TestOpen_WrongPassword(t *testing.T) {
	tab := openTable(t, openCRM(t, "writer@hallway.example", "wrong-password"), "contacts")
	_, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != connectors.Unauthenticated || strings.Contains(e.Error()+e.Detail+e.Hint, "wrong-password") {
		t.Errorf("got %v", err)
	}
}

// PocketBase takes a caller whose password was changed for a guest, and shows
// a guest no rows. That is not an empty table.
func TestScan_StaleTokenIsNotAnEmptyTable(t *testing.T) {
	p := startPocketBase(t)
	src := openWriter(t)
	tab := openTable(t, src, "companies")
	q := connectors.Query{Request: pushdown.Request{Columns: []int{0}}}
	if got, err := scanRows(t, tab, q); err != nil || len(got) != 200 {
		t.Fatalf("got %d rows, %v", len(got), err)
	}
	var users struct{ Items []struct{ ID, Email string } }
	decode(t, p, "GET", "/api/collections/users/records?filter="+"email%3D'writer@hallway.example'", nil, &users)
	// A new password ends all tokens, also if it is the same as before.
	p.must(t, "PATCH", "/api/collections/users/records/"+users.Items[0].ID, map[string]any{"password": "writer-password", "passwordConfirm": "writer-password"})
	if got, err := scanRows(t, tab, q); err != nil || len(got) != 200 {
		t.Errorf("after the tokens' end: got %d rows, %v; want 200 with a new token", len(got), err)
	}
}
