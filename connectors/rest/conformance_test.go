package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/tests/fakes"
)

func TestConformance_PocketBase(t *testing.T) {
	p := startPocketBase(t)
	loadTraps(t, p, "people", 120)
	target, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	manifest := exampleManifest(t, strings.ReplaceAll(trapObject[1:], "traps", "people"))
	m, err := Parse("m.yaml", manifest)
	if err != nil {
		t.Fatal(err)
	}
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	row := func(n int) conformance.Row {
		return conformance.Row{"name": v(fmt.Sprintf("new%d", n)), "note": v([]string{"", "é'", `\`, "🦆"}[n%4]), "num": v(fmt.Sprintf("%d.5", n)), "flag": v(n%2 == 0),
			"seen": v(int64(n) * 1_000_000), "born": v(int64(n)), "kind": v("hot"), "mail": {}, "extra": v(`{"n": 1}`)}
	}
	conformance.Run(t, conformance.Subject{
		Connector: New(),
		Env:       testEnv(manifest),
		Server: connectors.ServerSpec{Name: "crm", Options: map[string]string{"manifest": "m.yaml", "base_url": front.URL, "auth_collection": "_superusers", "page_size": "30"},
			Credential: map[string]string{"user": pbUser, "password": pbPassword}},
		Table:        connectors.TableSpec{Schema: "public", Name: "people", Columns: columnsOf(m.object("people"))},
		MinPages:     4,
		Calls:        calls.Load,
		Secret:       pbPassword,
		RemoteSchema: "default",
		MinPushed:    0.3,
		Writes: &conformance.Writes{
			Insert: row,
			Update: func(n int) conformance.Row {
				return conformance.Row{"note": v(fmt.Sprintf("changed %d", n)), "seen": {}, "kind": v("a'b")}
			},
			Delete:     true,
			MissingKey: []pushdown.Value{v("nosuchnosuch000")},
			Refused: []conformance.Refusal{
				{Name: "bad e-mail", Change: conformance.Row{"mail": v("nonsense")}, Class: connectors.CheckViolation, Column: "mail"},
				{Name: "required is NULL", Change: conformance.Row{"name": {}}, Class: connectors.NotNullViolation, Column: "name"},
				{Name: "required is missing", Change: conformance.Row{"name": v(conformance.Omit{})}, Class: connectors.NotNullViolation, Column: "name"},
				{Name: "unknown relation", Change: conformance.Row{"other": v("nosuchnosuch000")}, Class: connectors.ForeignKeyViolation, Column: "other"},
				{Name: "unknown choice", Change: conformance.Row{"kind": v("lukewarm")}, Class: connectors.CheckViolation, Column: "kind"},
				{Name: "NULL in a number", Change: conformance.Row{"num": {}}, Class: connectors.NotNullViolation, Column: "num"},
				{Name: "NaN", Change: conformance.Row{"num": v("NaN")}, Class: connectors.CheckViolation, Column: "num"},
			},
		},
	})
}

// The same suite on an API that obeys filters by equality, and on one that
// takes any filter and ignores it.
func TestConformance_FakeAndLiar(t *testing.T) {
	manifest, err := fakes.Manifests.ReadFile("manifests/fake.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
	for _, mode := range []fakes.Mode{fakes.OK, fakes.Liar} {
		t.Run(string(mode), func(t *testing.T) {
			manifest := []byte(strings.Replace(string(manifest), "\ncreate:", "\nget: {}\ncreate:", 1))
			if mode == fakes.Liar {
				// Nothing is looked up cheaply there, and it is only read here.
				text := regexp.MustCompile(`(?s)\ncreate:.*?\nerrors:`).ReplaceAllString(string(manifest), "\nerrors:")
				text = strings.Replace(text, "id: {type: text,", "id: {type: text, filterable: false,", 1)
				manifest = []byte(strings.Replace(text, "email: {type: text,", "email: {type: text, filterable: false,", 1))
			}
			m, err := Parse("m.yaml", manifest)
			if err != nil {
				t.Fatal(err)
			}
			f, err := fakes.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := conformance.Subject{
				Connector: New(),
				Env:       testEnv(manifest),
				Server: connectors.ServerSpec{Name: "fake", Options: map[string]string{"manifest": "m.yaml", "base_url": f.URL + "/" + string(mode)},
					Credential: map[string]string{"token": f.Secret}},
				Table:        connectors.TableSpec{Name: "contacts", Columns: columnsOf(m.object("contacts"))},
				MinPages:     3,
				Calls:        func() int64 { return int64(len(f.Requests())) },
				Secret:       f.Secret,
				RemoteSchema: "fake",
				MinPushed:    0.02,
				Queries:      60,
			}
			if mode == fakes.OK {
				s.Writes = &conformance.Writes{
					Insert: func(n int) conformance.Row {
						return conformance.Row{"email": v(fmt.Sprintf("new%d@example.com", n)), "name": v("é'"), "amount": v(fmt.Sprintf("%d.5", n))}
					},
					Update: func(n int) conformance.Row {
						return conformance.Row{"name": v(fmt.Sprintf("changed %d", n)), "amount": {}}
					},
					Delete:     true,
					MissingKey: []pushdown.Value{v("nosuch")},
					Refused: []conformance.Refusal{
						{Name: "bad e-mail", Change: conformance.Row{"email": v("nonsense")}, Class: connectors.CheckViolation, Column: "email"},
						{Name: "not unique", Change: conformance.Row{"email": v(f.Objects("contacts")[0]["email"])}, Class: connectors.UniqueViolation, Column: "email"},
					},
				}
			}
			conformance.Run(t, s)
		})
	}
}

// Under a LIMIT whose rows are hard to find, pages grow.
func TestScan_PagesGrowWhereALimitIsNotReached(t *testing.T) {
	p := startPocketBase(t)
	loadTraps(t, p, "traps", 300)
	src := openSource(t, exampleManifest(t, trapObject[1:]), p.url, map[string]string{"user": pbUser, "password": pbPassword}, "auth_collection", "_superusers")
	tab := openTable(t, src, "traps")
	tab.pageSize = 200
	stats := &connectors.Stats{}
	q := connectors.Query{Stats: stats, Request: pushdown.Request{Columns: []int{0}, LimitPossible: true, LimitRows: 2, Conjuncts: []pushdown.Expr{&pushdown.Function{Name: "f"}}}}
	got, err := scanRows(t, tab, q)
	if err != nil || len(got) != 300 || stats.Pages.Load() != 3 {
		t.Errorf("%d rows in %d pages, %v; want 300 in 3: 100, 200 and none", len(got), stats.Pages.Load(), err)
	}
	seen := map[any]bool{}
	for _, row := range got {
		seen[row[0].V] = true
	}
	if len(seen) != 300 {
		t.Errorf("%d different rows", len(seen))
	}
}
