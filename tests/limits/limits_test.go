// Package limits has each connector, as it is by default, call a stand-in that keeps
// to the limits of the API itself.
package limits

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/airtable"
	"github.com/hallwaydb/hallway/connectors/hubspot"
	"github.com/hallwaydb/hallway/connectors/salesforce"
	"github.com/hallwaydb/hallway/connectors/stripe"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fakeairtable "github.com/hallwaydb/hallway/tests/fakes/airtable"
	fakehubspot "github.com/hallwaydb/hallway/tests/fakes/hubspot"
	fakesalesforce "github.com/hallwaydb/hallway/tests/fakes/salesforce"
	fakestripe "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// account is a server of an API, two credentials of it, and what is read: table as it
// is, and where its column has the value "Ada".
type account struct {
	connector     connectors.Connector
	options       map[string]string
	credentials   [2]map[string]string
	table, column string
	tableOptions  map[string]string
	// calls that are made, which takes some seconds. searches are those that were made
	// to find records; nil: they have no limit of their own.
	calls    int64
	searches func() int
}

// Two users of one server read in parallel for some seconds: the API refuses nothing.
func TestDefaults_AreNeverRefused(t *testing.T) {
	t.Parallel()
	const many = 250 // records: pages of 100 and of 200
	for name, start := range map[string]func(t *testing.T) account{
		"hubspot": func(t *testing.T) account {
			api := fakehubspot.New(fakehubspot.Options{PerTenSeconds: 100, PerSecondSearches: 5})
			t.Cleanup(api.Close)
			api.Seed("contacts", many, func(i int) map[string]string {
				return map[string]string{"firstname": "Ada", "email": fmt.Sprintf("c%d@example.com", i)}
			})
			token := map[string]string{"token": fakehubspot.Token}
			return account{connector: hubspot.New(), options: map[string]string{"base_url": api.URL}, credentials: [2]map[string]string{token, token},
				table: "contacts", column: "firstname", calls: 36, searches: func() int { return api.Calls()["search"] }}
		},
		"airtable": func(t *testing.T) account {
			api := fakeairtable.New(fakeairtable.Options{PerSecond: 5, Lockout: 30 * time.Second})
			t.Cleanup(api.Close)
			crm := fakeairtable.AddCRM(api)
			for i := range 150 {
				_, err := api.Seed(crm.Contacts, map[string]any{"Name": "Ada", "Email": fmt.Sprintf("c%d@example.com", i)})
				require.NoError(t, err)
			}
			token := map[string]string{"token": api.Token}
			return account{connector: airtable.New(), options: map[string]string{"base_url": api.URL + "/v0", "base": "CRM"}, credentials: [2]map[string]string{token, token},
				table: "contacts", column: "name", calls: 14}
		},
		"salesforce": func(t *testing.T) account {
			org := fakesalesforce.New(fakesalesforce.Options{PageSize: 200})
			t.Cleanup(org.Close)
			for range many {
				_, err := org.Insert("Account", map[string]any{"Name": "Ada"})
				require.NoError(t, err)
			}
			return account{connector: salesforce.New(), options: map[string]string{"instance_url": org.URL},
				credentials: [2]map[string]string{{"token": org.Session()}, {"token": org.Session()}}, table: "account", column: "name", calls: 100}
		},
		"stripe": func(t *testing.T) account {
			// It counts by seconds of the clock, which begin with the first call.
			began := time.Now()
			api, err := fakestripe.New(fakestripe.Options{Knobs: fakestripe.Knobs{PerSecond: 25},
				Now: func() time.Time { return time.Unix(1_800_000_000, 0).Add(time.Since(began)) }})
			require.NoError(t, err)
			t.Cleanup(api.Close)
			for i := range many {
				api.Put("customers", map[string]any{"name": "Ada", "email": fmt.Sprintf("c%d@example.com", i), "created": 1_700_000_000 + 60*i})
			}
			token := map[string]string{"token": fakestripe.Key}
			return account{connector: stripe.New(), options: map[string]string{"base_url": api.URL}, credentials: [2]map[string]string{token, token},
				table: "customers", column: "name", tableOptions: map[string]string{"search": "true"}, calls: 75, searches: func() (n int) {
					for _, r := range api.Requests() {
						if strings.HasPrefix(r.Kind, "search ") {
							n++
						}
					}
					return n
				}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What a stalled machine held up arrives together; that is nobody's default.
			for try := 1; ; try++ {
				stalled := watchStalls(t)
				a := start(t)
				refused, scans := read(t, a)
				if refused == 0 {
					require.Positive(t, scans, "nothing was read")
					if a.searches != nil {
						require.Greater(t, a.searches(), 5)
					}
					return
				}
				if stall := stalled(); stall < 100*time.Millisecond || try == 5 {
					t.Fatalf("%d calls were refused; the machine stalled for %s", refused, stall)
				}
			}
		})
	}
}

// read has six sessions of two users scan until enough calls were made. It tells how
// many of these the API refused, and how many scans came to their end.
func read(t *testing.T, a account) (refused, scans int64) {
	t.Helper()
	var calls, refusals, done atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	env := connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 32 << 20, UserAgent: "hallway-test", MaxWait: time.Minute,
		Observe: func(_, _ string, status int, _ time.Duration) {
			if status == http.StatusTooManyRequests || status == http.StatusForbidden {
				refusals.Add(1)
				cancel()
			}
			if calls.Add(1) >= a.calls {
				cancel()
			}
		}}
	var wg sync.WaitGroup
	for _, credential := range a.credentials {
		src, err := a.connector.Open(t.Context(), env, connectors.ServerSpec{Name: "account", Options: a.options, Credential: credential})
		require.NoError(t, err)
		defer func() { require.NoError(t, src.Close()) }()
		list, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{a.table}})
		require.NoError(t, err)
		require.Len(t, list, 1)
		spec := connectors.TableSpec{Schema: "crm", Name: a.table, Options: map[string]string{}}
		for _, options := range []map[string]string{list[0].Options, a.tableOptions} {
			for k, v := range options {
				spec.Options[k] = v
			}
		}
		for _, c := range list[0].Columns {
			if c.Name == a.column {
				spec.Columns = []connectors.ColumnSpec{{Name: c.Name, Type: pushdown.Type{Kind: pushdown.Text, OID: 25, Name: "text"}, Options: c.Options}}
			}
		}
		require.Len(t, spec.Columns, 1)
		tab, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		search := []pushdown.Expr{&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: 0},
			Right: &pushdown.Param{Type: spec.Columns[0].Type, Known: true, Value: pushdown.Value{V: "Ada"}}, Collation: pushdown.Collation{Deterministic: true, Name: "default"}}}
		for i := range 3 {
			wg.Go(func() {
				for n := i; ctx.Err() == nil; n++ {
					q := connectors.Query{Request: pushdown.Request{Columns: []int{0}}, Stats: &connectors.Stats{}}
					if n%3 > 0 {
						q.Conjuncts = search
					}
					b := rows.NewBuilder([]pushdown.Type{spec.Columns[0].Type}, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
					if _, err := tab.Scan(ctx, q, b); err == nil {
						done.Add(1)
					} else if ctx.Err() == nil {
						t.Errorf("reading: %v", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	return refusals.Load(), done.Load()
}

// watchStalls gives a function that says how long this process was not run when it
// should have been, at most.
func watchStalls(t *testing.T) func() time.Duration {
	t.Helper()
	var longest atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			const nap = 5 * time.Millisecond
			began := time.Now()
			time.Sleep(nap)
			longest.Store(max(longest.Load(), int64(time.Since(began)-nap)))
		}
	}()
	return func() time.Duration {
		cancel()
		return time.Duration(longest.Load())
	}
}
