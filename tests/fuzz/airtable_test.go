package fuzz

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/fakes/kit"
	"github.com/hallwaydb/hallway/tests/harness"
)

// airtableColumns are those of the tables fuzz_a and fuzz_b. What is empty is NULL
// there, but a checkbox.
func airtableColumns() []*column {
	return []*column{
		{name: "id", typ: "text", class: cText, unique: true, api: true},
		{name: "it_s_a_t", typ: "text", class: cText, pool: texts, nulls: 10, api: true},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: texts, nulls: 5, api: true},
		{name: "n", typ: "float8", class: cFloat, pool: []string{"0", "1", "-1", "0.1", "0.5", "-2.25", "1e10", "1e-30", "16777217", "0.3", "9007199254740993", "123456789.123"}, nulls: 15, api: true},
		{name: "i", typ: "int8", class: cInt, pool: ints("2147483648", "-9007199254740991", "9007199254740991"), nulls: 10, api: true},
		{name: "b", typ: "bool", class: cBool, pool: []string{"t", "f"}, api: true},
		{name: "d", typ: "timestamptz", class: cTimestampTZ, pool: []string{"2024-01-01 00:00:00Z", "2024-01-01 00:00:00.001Z", "2024-02-29 12:30:00Z", "1999-12-31 23:59:59.999Z", "1970-01-01 00:00:00Z", "2024-03-10 06:30:00Z"}, nulls: 15, api: true},
		{name: "dd", typ: "date", class: cDate, pool: []string{"2024-01-01", "2024-02-29", "2023-12-31", "1999-12-31", "2000-01-01", "1969-12-31"}, nulls: 15, api: true},
		{name: "s", typ: "text", class: cText, pool: []string{"lead", "Lead", "customer", "churned"}, nulls: 20, api: true},
		{name: "ta", typ: "text[]", class: cArray, pool: []string{"{}", "{red}", `{red,"blue, light"}`, "{green}"}, nulls: 10, elements: []string{"red", "green", "blue, light", "light"}},
	}
}

func airtableTable(id, name string) *airtable.Table {
	return &airtable.Table{ID: id, Name: name, Fields: []*airtable.Field{
		{Name: `it's "a" & t`, Type: "multilineText"}, {Name: "tc", Type: "multilineText"},
		{Name: "n", Type: "number", Precision: 8}, {Name: "i", Type: "number"}, {Name: "b", Type: "checkbox"},
		{Name: "d", Type: "dateTime"}, {Name: "dd", Type: "date"},
		{Name: "s", Type: "singleSelect", Choices: []string{"lead", "Lead", "customer", "churned"}},
		{Name: "ta", Type: "multipleSelects", Choices: []string{"red", "green", "blue, light"}},
	}}
}

// Airtable's tables, while cursors and tokens expire, the base shuts everybody out now and
// then, and nobody knows whether = minds case.
func TestDifferential_Airtable(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 5))
	api := airtable.New(airtable.Options{})
	t.Cleanup(api.Close)
	api.AddBase(airtable.Base{ID: "appFuzz0000000001", Name: "Fuzz", Tables: []*airtable.Table{airtableTable("tblFuzzA000000001", "fuzz_a"), airtableTable("tblFuzzB000000001", "fuzz_b")}})
	tokens, err := env.Mkdir("airtable-tokens")
	require.NoError(t, err)
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--tokens", tokens}})
	db := env.Database(t)
	c := db.Connect(t)
	cols := airtableColumns()
	c.Exec(`CREATE SERVER airtable FOREIGN DATA WRAPPER hallway OPTIONS (connector 'airtable', address '%[1]s', base_url '%[2]s/v0', oauth_url '%[2]s/oauth2/v1', base 'Fuzz', page_size '40',
			calls_per_second '10000', lockout_seconds '0.05');
		CREATE USER MAPPING FOR PUBLIC SERVER airtable OPTIONS (client_id '%[3]s', refresh_token '%[4]s')`, sidecar.Address(), api.URL, airtable.Client, api.Refresh())
	const rows = 150
	for _, x := range []string{"a", "b"} {
		c.Exec("CREATE FOREIGN TABLE at_%[1]s (%[2]s) SERVER airtable OPTIONS (object 'fuzz_%[1]s')", x, columnList(cols, true))
		c.Exec("CREATE TABLE %s (%s)", x, columnList(cols, false))
		require.NoError(t, fillCRM(context.Background(), c, rng, cols, "at_"+x, x, rows))
		c.Exec("ANALYZE %s", x)
		require.Equal(t, "150", c.Value("SELECT count(*) FROM %s", x))
		require.Empty(t, c.Query("(SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[1]s_meant) UNION ALL (SELECT * FROM %[1]s_meant EXCEPT ALL SELECT * FROM %[1]s)", x),
			"what INSERT ... RETURNING said is what a scan reads")
	}
	for _, r := range c.Query("SELECT id FROM a UNION SELECT id FROM b ORDER BY 1") {
		cols[0].pool = append(cols[0].pool, r[0])
	}
	at := target{"Airtable", "at_a", "at_b"}
	f := &fuzzer{conn: c.PgConn, local: map[string]string{"A": "a", "B": "b"}, timeout: 30 * time.Second}
	g := &gen{rng: rng, cols: cols, crm: true}
	push := pushCount{conn: c, table: "at_a"}
	g.watch = push.add
	api.Forget()
	api.ExpireEach(19)
	api.LockEach(101)
	api.ExpireTokensEach(67)
	calls := func() []kit.Call {
		return callsOf(api.Requests(), func(r *airtable.Request) kit.Call { return r.Call })
	}
	bound := &callBound{apis: []func() []kit.Call{calls}, besides: []string{airtable.Meta, airtable.OAuth}}
	bound.watch(t, f, 3)
	f.loop(t, g, (*flagN+3)/4, func() []variant {
		api.SetOptions(airtable.Options{FoldText: rng.IntN(2) == 0, Lockout: 30 * time.Millisecond})
		return []variant{randomVariant(rng, at, f.local)}
	})
	push.report(t)
	bound.report(t)
	kinds, refused := tally(calls(), 0)
	t.Logf("%v, %d refused", kinds, refused)
	require.Positive(t, refused)
	renewed := api.Calls(airtable.OAuth)
	require.Greater(t, renewed, kinds[airtable.List]/67/2, "tokens have expired")
	require.LessOrEqual(t, renewed, len(api.Requests())/67+1, "and each was renewed once")
}
