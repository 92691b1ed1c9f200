package rest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Three calls, then one in two minutes; 40 records on four pages. estimated is an
// object whose manifest guesses how many there are.
const affordManifest = `
manifest: 1
name: T
limits: {per_second: 0.008, burst: 3}
read: {items: data, total: total, page_size: {param: limit, max: 10}}
paging: {style: cursor, param: after, cursor: next}
filter: {style: params, listed: true, enforced: true, types: {some: {for: text, operators: {eq: "{field}={value}"}, exact: [eq]}}}
objects:
  things: {path: /things, key: id, fields: {id: {type: text, missing: never}, n: {type: integer}, color: {type: text}}}
  estimated: {path: /estimated, key: id, rows: 100000, fields: {id: {type: text, missing: never}, n: {type: integer}}}
  four: {path: /four, key: id, each: {param: color, values: [red, green, red, green]}, fields: {id: {type: text, missing: never}, n: {type: integer}, color: {type: text}}}
`

// A scan of which it is known that it needs more calls than are possible is refused as
// soon as that is known, and none other is.
func TestScan_RefusedOnceItsCallsAreKnown(t *testing.T) {
	for _, c := range []struct {
		name    string
		object  string
		records int
		q       connectors.Query
		total   bool
		options []string
		forever bool
		calls   int // made
		rows    int
		detail  string // of the refusal: the bucket's if it is short; empty: there is none
	}{
		{name: "that fits", object: "things", records: 30, total: true, calls: 3, rows: 30},
		{name: "the count says that it does not", object: "things", records: 40, total: true, calls: 1, rows: 10,
			detail: "It needs 3 calls more, the last of which could be made in"},
		{name: "no count", object: "things", records: 40, calls: 3, rows: 30, detail: "The wait would be longer than this query may take."},
		{name: "a guess that is wrong", object: "estimated", records: 30, calls: 3, rows: 30},
		{name: "parts", object: "four", records: 20, calls: 0,
			detail: "It needs 4 calls more, the last of which could be made in"},
		{name: "a LIMIT", object: "things", records: 40, total: true, q: connectors.Query{Limit: 30}, calls: 3, rows: 30},
		{name: "statistics", object: "things", records: 40, total: true, q: connectors.Query{Sample: 30}, calls: 3, rows: 30},
		{name: "max_calls and the count", object: "things", records: 30, total: true, options: []string{"max_calls", "2"}, forever: true, calls: 1, rows: 10,
			detail: "It needs 2 calls more and has made 1; the server option max_calls allows 2."},
		{name: "max_calls and parts", object: "four", records: 20, options: []string{"max_calls", "3"}, forever: true, calls: 0,
			detail: "It needs 4 calls more and has made 0; the server option max_calls allows 3."},
		{name: "max_calls that is reached", object: "things", records: 30, options: []string{"max_calls", "2"}, forever: true, calls: 2, rows: 20,
			detail: "The server option max_calls allows 2."},
		{name: "max_calls that is enough", object: "things", records: 30, total: true, options: []string{"max_calls", "3"}, forever: true, calls: 3, rows: 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, c.records, 10)
			a.spoil = func(_ *http.Request, answer map[string]any) {
				if c.total {
					answer["total"] = c.records
				}
			}
			tab := openTable(t, openSource(t, []byte(affordManifest), a.URL, nil, c.options...), c.object)
			got := 0
			b := rows.NewBuilder([]pushdown.Type{tab.columns[0].spec.Type}, func(_ []byte, n int) error { got += n; return nil }, rows.Options{Reuse: true})
			c.q.Columns, c.q.Stats, c.q.Whole = []int{0}, &connectors.Stats{}, true
			ctx := connectors.WithStatement(t.Context(), &connectors.Statement{})
			if !c.forever {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Minute)
				defer cancel()
			}
			_, err := tab.Scan(ctx, c.q, b)
			if err == nil {
				err = b.Flush()
			}
			require.Len(t, a.requests, c.calls)
			if c.detail == "" {
				require.NoError(t, err)
				require.Equal(t, c.rows, got)
				return
			}
			require.LessOrEqual(t, got, c.rows, "an error may come before rows of earlier pages")
			var e *connectors.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, connectors.RateLimited, e.Class)
			require.Contains(t, e.Detail, c.detail)
			require.Zero(t, c.q.Stats.LimitWaitMicros.Load())
		})
	}
}

// What may end before its last row goes as far as it gets.
func TestScan_ThatMayBeEndedIsNotRefused(t *testing.T) {
	a := newAPI(t, 400, 10)
	a.spoil = func(_ *http.Request, answer map[string]any) { answer["total"] = 400 }
	tab := openTable(t, openSource(t, []byte(affordManifest), a.URL, nil), "things")
	got := 0
	b := rows.NewBuilder([]pushdown.Type{tab.columns[0].spec.Type}, func(_ []byte, n int) error {
		if got += n; got >= 20 {
			return rows.ErrStop
		}
		return nil
	}, rows.Options{Reuse: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := tab.Scan(ctx, connectors.Query{Request: pushdown.Request{Columns: []int{0}}, Stats: &connectors.Stats{}}, b)
	require.ErrorIs(t, err, rows.ErrStop)
	require.GreaterOrEqual(t, got, 20)
	require.Less(t, got, 400)
}

// Rows of a statement that need more calls than it may make are not written at all.
func TestModify_RefusedOnceItsCallsAreKnown(t *testing.T) {
	five, three := []any{"a", "b", "c", "d", "e"}, []any{"a", "b", "c"}
	const (
		single = "create: {parallel: 5}\nupdate: {}"
		slow   = "limits: {per_second: 0.008, burst: 3}\n"
		batch  = "create: {batch: {path: /b, max: 2, list: l}}"
	)
	for _, c := range []struct {
		name, manifest, limits string
		op                     connectors.Operation
		keys, names            []any
		options                []string
		nobody                 bool // it is no statement's
		calls                  int
		detail                 string // of the refusal; empty: there is none
	}{
		{name: "a request a row", manifest: single, op: connectors.Insert, names: five, options: []string{"max_calls", "4"},
			detail: "It needs 5 calls more and has made 0; the server option max_calls allows 4."},
		{name: "that fit", manifest: single, op: connectors.Insert, names: five, options: []string{"max_calls", "5"}, calls: 5},
		{name: "requests of two", manifest: batch, op: connectors.Insert, names: five, options: []string{"max_calls", "2"},
			detail: "It needs 3 calls more and has made 0; the server option max_calls allows 2."},
		{name: "requests of two that fit", manifest: batch, op: connectors.Insert, names: five, options: []string{"max_calls", "3"}, calls: 3},
		{name: "keys that no record has", manifest: single, op: connectors.Update, keys: []any{"1", "..", "2"}, names: three,
			options: []string{"max_calls", "2"}, calls: 2},
		{name: "nobody's goes as far as it gets", manifest: single, limits: slow, op: connectors.Insert, names: five, nobody: true, calls: 3,
			detail: "The wait would be longer than this query may take."},
		{name: "a rate", manifest: single, limits: slow, op: connectors.Insert, names: five,
			detail: "It needs 5 calls more, the last of which could be made in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, answer{200, "{}", ""})
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.limits+c.manifest+writeObjects), s.URL, nil, c.options...), "things")
			b, _ := many(tab, c.op, c.keys, c.names)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if !c.nobody {
				ctx = connectors.WithStatement(ctx, &connectors.Statement{})
			}
			err := tab.Modify(ctx, b)
			require.Len(t, s.lines(), c.calls)
			if c.detail == "" {
				require.NoError(t, err)
				require.NotContains(t, outcomes(b.Results), "?")
				return
			}
			var e *connectors.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, connectors.RateLimited, e.Class)
			require.Contains(t, e.Detail, c.detail)
		})
	}
}

func TestLimits_Shared(t *testing.T) {
	const manifest = "manifest: 1\nname: T\nlimits: {per_second: 0.001, burst: 2, shared: server}\nread: {items: data}\npaging: {style: none}" + apiObjects
	for _, c := range []struct {
		name   string
		option string
		other  string // another server's name
		calls  int
		bad    string
	}{
		{name: "of the server", calls: 2},
		{name: "of each credential", option: "credential", calls: 4},
		{name: "said again", option: "server", calls: 2},
		{name: "of another server", other: "shop", calls: 4},
		{name: "of nobody", option: "account", bad: `invalid value for option "limits_shared": "account"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, 1, 10)
			connector := New()
			open := func(name, token string) (connectors.Source, error) {
				options := map[string]string{"manifest": "m.yaml", "base_url": a.URL}
				if c.option != "" {
					options["limits_shared"] = c.option
				}
				return connector.Open(t.Context(), testEnv([]byte(manifest)), connectors.ServerSpec{Name: name, Options: options,
					Credential: map[string]string{"token": token}})
			}
			names := []string{"crm", "crm"}
			if c.other != "" {
				names[1] = c.other
			}
			for i, name := range names {
				src, err := open(name, string(rune('a'+i)))
				if c.bad != "" {
					require.ErrorContains(t, err, c.bad)
					continue
				}
				require.NoError(t, err)
				t.Cleanup(func() { _ = src.Close() })
				s, ok := src.(*source)
				require.True(t, ok)
				tab := openTable(t, s, "things")
				for range 3 {
					_, _ = scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
				}
			}
			require.Len(t, a.requests, c.calls)
		})
	}
}
