package hubspot

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/sidecar/secret"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

func testEnv() connectors.Env {
	return connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 32 << 20, UserAgent: "hallway-test"}
}

// spec of a server that is not held back by its limits.
func spec(api *fake.Server, options ...string) connectors.ServerSpec {
	s := connectors.ServerSpec{Name: "hs", Credential: map[string]string{"token": fake.Token},
		Options: map[string]string{"base_url": api.URL, "calls_per_second": "100000", "searches_per_second": "100000"}}
	for i := 0; i < len(options); i += 2 {
		s.Options[options[i]] = options[i+1]
	}
	return s
}

func open(t *testing.T, api *fake.Server, options ...string) connectors.Source {
	t.Helper()
	src, err := New().Open(t.Context(), testEnv(), spec(api, options...))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return src
}

var kinds = map[string]pushdown.Kind{"bigint": pushdown.Int8, "integer": pushdown.Int4, "numeric": pushdown.Numeric, "boolean": pushdown.Bool, "timestamptz": pushdown.TimestampTZ,
	"date": pushdown.Date, "text": pushdown.Text}

// table is that of an object as IMPORT FOREIGN SCHEMA makes it, with these columns,
// or with all.
func tableSpec(t *testing.T, src connectors.Source, name string, columns ...string) connectors.TableSpec {
	t.Helper()
	list, err := src.Import(context.Background(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{name}})
	require.NoError(t, err)
	require.Len(t, list, 1, "tables called %s", name)
	out := connectors.TableSpec{Schema: "public", Name: name, Options: list[0].Options}
	for _, c := range list[0].Columns {
		kind, known := kinds[c.Type]
		require.True(t, known, "type %s", c.Type)
		if len(columns) == 0 || slices.Contains(columns, c.Name) {
			out.Columns = append(out.Columns, connectors.ColumnSpec{Name: c.Name, Type: pushdown.Type{Kind: kind, Name: c.Type}, NotNull: c.NotNull, Options: c.Options})
		}
	}
	return out
}

func scan(t *testing.T, src connectors.Source, spec connectors.TableSpec, q connectors.Query) ([][]pushdown.Value, error) {
	t.Helper()
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	types := make([]pushdown.Type, len(q.Columns))
	for i, c := range q.Columns {
		types[i] = spec.Columns[c].Type
	}
	var out [][]pushdown.Value
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		out = append(out, got...)
		return err
	}, rows.Options{})
	q.Stats = &connectors.Stats{}
	_, err = tab.Scan(t.Context(), q, b)
	return out, err
}

func v(x any) pushdown.Value { return pushdown.Value{V: x} }

// traps are texts that an API may take for others.
var traps = []string{"Ada", "ADA", "ada", "Zoë", "Zoe", "ZOË", "İstanbul", "istanbul", "a\"b", `a\b`, "a\nb", "{value}", `"},{"x`, "100%", "a_b", " lead", "é", "e\u0301", ""}

func seedContacts(api *fake.Server, n int) int64 {
	return api.Seed("contacts", n, func(i int) map[string]string {
		p := map[string]string{"email": fmt.Sprintf("c%d@example.com", i), "firstname": traps[i%len(traps)], "createdate": fmt.Sprintf("2024-01-%02dT03:04:05.%03dZ", i%28+1, i%1000)}
		if i%3 > 0 {
			p["annualrevenue"] = []string{"1", "1.0", "2.5", "-3", "9007199254740993", "9007199254740992", "0.1", "1e3"}[i%8]
		}
		if i%4 > 0 {
			p["hs_lead_status"] = []string{"NEW", "OPEN", "IN_PROGRESS"}[i%3]
			p["hs_email_optout"] = strconv.FormatBool(i%2 == 0)
		}
		if i%5 > 0 {
			p["date_of_birth"] = fmt.Sprintf("19%02d-05-06", i%90+10)
			p["closedate"] = fmt.Sprintf("2025-02-03T04:05:%02d.%03dZ", i%60, i%7)
		}
		return p
	})
}

func TestConformance(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	seedContacts(api, 450)
	front := record(t, api)
	src := open(t, api)
	table := tableSpec(t, src, "contacts", "id", "email", "firstname", "annualrevenue", "hs_lead_status", "hs_email_optout", "date_of_birth", "closedate", "createdate", "lastmodifieddate", "hs_buying_role")
	row := func(n int) conformance.Row {
		return conformance.Row{"email": v(fmt.Sprintf("new%d@example.com", n)), "firstname": v([]string{"é'", `\`, "🦆", "x"}[n%4]), "annualrevenue": v(fmt.Sprintf("%d.5", n)),
			"hs_email_optout": v(n%2 == 0), "closedate": v(int64(n) * 1_000_000), "date_of_birth": v(int64(n)), "hs_lead_status": v("NEW"), "hs_buying_role": {}}
	}
	conformance.Run(t, conformance.Subject{
		Connector:    New(),
		Env:          testEnv(),
		Server:       spec(api, "page_size", "50", "base_url", front.URL),
		Table:        table,
		MinPages:     5,
		Calls:        allCalls(api),
		Secret:       fake.Token,
		RemoteSchema: "default",
		MinPushed:    0.3,
		Writes: &conformance.Writes{
			Insert: row,
			Update: func(n int) conformance.Row {
				return conformance.Row{"firstname": v(fmt.Sprintf("changed %d", n)), "closedate": {}, "hs_lead_status": v("OPEN")}
			},
			Delete:     true,
			Match:      []string{"email"},
			MissingKey: []pushdown.Value{v(int64(999_999_999))},
			Refused: []conformance.Refusal{
				{Name: "no mail", Change: conformance.Row{"email": v("andrea__invalid")}, Class: connectors.CheckViolation, Column: "email"},
				{Name: "taken", Change: conformance.Row{"email": v("C1@example.com")}, Class: connectors.UniqueViolation, Column: "email"},
				{Name: "no such option", Change: conformance.Row{"hs_lead_status": v("MAYBE")}, Class: connectors.CheckViolation, Column: "hs_lead_status"},
			},
		},
	})
	used := api.Calls()
	for _, kind := range []string{"list", "search", "batch_read", "create", "batch_create", "update", "batch_archive", "batch_upsert"} {
		require.NotZero(t, used[kind], "%s is tested: %v", kind, used)
	}
	const objects = "/crm/v3/objects/{objectType}"
	front.judge(t, "GET "+objects, "POST "+objects+"/search", "POST "+objects+"/batch/read", "POST "+objects, "PATCH "+objects+"/{objectId}", "POST "+objects+"/batch/create",
		"POST "+objects+"/batch/archive", "POST "+objects+"/batch/upsert", "GET /crm/v3/properties/{objectType}", "GET /crm-object-schemas/v3/schemas")
}

// called is how often the server was called, whatever it answered.
func called(api *fake.Server) int {
	n := api.Refused()
	for _, c := range api.Calls() {
		n += c
	}
	return n
}

func TestLimits_WaitsAsHubSpotMeansIt(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	seedContacts(api, 3)
	src := open(t, api)
	spec := tableSpec(t, src, "contacts", "id", "firstname")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	search := connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{&pushdown.NullTest{Operand: &pushdown.Column{Index: 1}, Negated: true}}}}

	api.ResetCalls()
	api.Fail(fake.Fault{Status: http.StatusTooManyRequests, Policy: "SECONDLY", Times: 1})
	got, err := scan(t, src, spec, search)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, 2, called(api), "once more, after a second")

	// Who has less time than ten seconds is told at once.
	api.Heal()
	api.ResetCalls()
	api.Fail(fake.Fault{Status: http.StatusTooManyRequests, Policy: "TEN_SECONDLY_ROLLING"})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	search.Stats = &connectors.Stats{}
	_, err = tab.Scan(ctx, search, rows.NewBuilder([]pushdown.Type{spec.Columns[0].Type}, func([]byte, int) error { return nil }, rows.Options{}))
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.RateLimited, e.Class)
	require.Equal(t, 10*time.Second, e.RetryAfter)
	require.Equal(t, 1, called(api))
}

// Lists say how many calls of the day remain, and some are left to others.
func TestLimits_KeepsAReserve(t *testing.T) {
	api := fake.New(fake.Options{PerTenSeconds: 100_000, PerDay: 50})
	defer api.Close()
	seedContacts(api, 3)
	src := open(t, api, "api_reserve", "30")
	spec := tableSpec(t, src, "contacts", "id", "firstname")
	var err error
	for n := 0; err == nil && n < 100; n++ {
		_, err = scan(t, src, spec, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	}
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.RateLimited, e.Class)
	require.Contains(t, e.Detail, "30 of 50 calls remain, and the option api_reserve keeps 30.")
}

func TestLocked_IsWrittenWhenItIsOpen(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	id := seedContacts(api, 1)
	src := open(t, api)
	tab, err := src.Table(t.Context(), tableSpec(t, src, "contacts", "id", "firstname"))
	require.NoError(t, err)
	batch := func() *connectors.Batch {
		return &connectors.Batch{Op: connectors.Update, KeyColumns: []int{0}, Columns: []int{1}, Stats: &connectors.Stats{},
			Rows: []connectors.Row{{Key: []pushdown.Value{v(id)}, Values: []pushdown.Value{v("open")}}}}
	}
	api.Fail(fake.Fault{Status: http.StatusLocked, Times: 1})
	b := batch()
	require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
	require.Equal(t, connectors.Applied, b.Results[0].Outcome)
	require.Equal(t, "open", api.Values("contacts", id)["firstname"])

	// Who may not wait that long gets the refusal.
	api.Heal()
	env := testEnv()
	env.MaxWait = time.Second
	src, err = New().Open(t.Context(), env, spec(api))
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	tab, err = src.Table(t.Context(), tableSpec(t, src, "contacts", "id", "firstname"))
	require.NoError(t, err)
	api.Fail(fake.Fault{Status: http.StatusLocked})
	b = batch()
	require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
	require.Equal(t, connectors.Locked, b.Results[0].Err.Class)
}

// TestTokens_ExpireWhileRowsAreRead: a token that was got for a refresh token ends
// while pages are read, and so does the refresh token, which the API replaces each time.
func TestTokens_ExpireWhileRowsAreRead(t *testing.T) {
	api := fake.New(fake.Options{})
	defer api.Close()
	seedContacts(api, 250)
	env := testEnv()
	env.Tokens = secret.NewTokens(t.TempDir())
	server := spec(api)
	server.Credential = map[string]string{"client_id": fake.ClientID, "client_secret": fake.ClientSecret, "refresh_token": api.NewRefreshToken()}
	src, err := New().Open(t.Context(), env, server)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	spec := tableSpec(t, src, "contacts", "id")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	n := 0
	b := rows.NewBuilder([]pushdown.Type{spec.Columns[0].Type}, func(_ []byte, rows int) error {
		if n += rows; n == 1 { // once: a call gets one new token
			api.Expire()
		}
		return nil
	}, rows.Options{First: 1, Next: 1})
	_, err = tab.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: []int{0}}, Stats: &connectors.Stats{}}, b)
	require.NoError(t, err)
	require.Equal(t, 250, n)
	require.GreaterOrEqual(t, api.Calls()["token"], 2)
}

// allCalls counts the calls that the stand-in has had, of all kinds.
func allCalls(api *fake.Server) func() int64 {
	return func() int64 {
		n := int64(0)
		for _, c := range api.Calls() {
			n += int64(c)
		}
		return n
	}
}
