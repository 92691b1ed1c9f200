package rest

// Reading from servers that page in every style, and from ones that break
// their word.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/tests/fakes"
)

// api is a small server that pages in all styles, at most max records a page.
type api struct {
	*httptest.Server
	n, max   int
	requests []string
	// spoil changes an answer before it is sent; may be nil.
	spoil func(r *http.Request, answer map[string]any)
}

func newAPI(t *testing.T, n, most int) *api {
	a := &api{n: n, max: most}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.requests = append(a.requests, r.URL.RequestURI())
	number := func(name string, otherwise int) int {
		if v, err := strconv.Atoi(q.Get(name)); err == nil {
			return v
		}
		return otherwise
	}
	size := min(number("limit", a.max), a.max)
	from := number("offset", 0) + number("page", 0)*size
	if after := q.Get("after"); after != "" {
		from, _ = strconv.Atoi(strings.TrimPrefix(after, "c"))
	}
	if key := q.Get("starting_after"); key != "" {
		from, _ = strconv.Atoi(strings.TrimPrefix(key, "k"))
		from++
	}
	items := []any{}
	for i := from; i < min(from+size, a.n); i++ {
		if s := q.Get("color"); s != "" && s != []string{"red", "green"}[i%2] {
			continue
		}
		items = append(items, map[string]any{"id": fmt.Sprintf("k%d", i), "n": i, "color": []string{"red", "green"}[i%2]})
	}
	end := from + size
	answer := map[string]any{"data": items, "size": size, "has_more": end < a.n}
	if end < a.n {
		answer["next"] = fmt.Sprintf("c%d", end)
		q.Set("offset", itoa(end))
		answer["next_url"] = r.URL.Path + "?" + q.Encode()
		w.Header().Add("Link", fmt.Sprintf(`<http://%s%s?x=1,2&%s>; rel="next", <http://%s/>; rel=first`, r.Host, r.URL.Path, q.Encode(), r.Host))
	}
	if a.spoil != nil {
		a.spoil(r, answer)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

const apiObjects = `
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text, missing: never}
      n: {type: integer}
      color: {type: text}
`

func TestScan_PagingStyles(t *testing.T) {
	for _, c := range []struct{ name, manifest string }{
		{"page", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: page, param: page}"},
		{"page that says more", "read: {items: data}\npaging: {style: page, param: page, more: has_more}"},
		// The server gives 10 where 25 are asked for; only echo tells.
		{"page with a lower bound", "read: {items: data, page_size: {param: limit, max: 25, echo: size}}\npaging: {style: page, param: page}"},
		{"offset", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: offset, param: offset}"},
		{"offset that says more", "read: {items: data, page_size: {param: limit, max: 25}}\npaging: {style: offset, param: offset, more: has_more}"},
		{"cursor", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next}"},
		{"cursor of the last key", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: starting_after, cursor: \"{key}\", more: has_more}"},
		{"link header", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: link}"},
		{"link in the answer", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: link, cursor: next_url}"},
	} {
		for _, n := range []int{0, 1, 9, 10, 11, 20, 57} {
			t.Run(fmt.Sprintf("%s/%d", c.name, n), func(t *testing.T) {
				a := newAPI(t, n, 10)
				tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+apiObjects), a.URL, nil), "things")
				got, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{1}}})
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if got[i][0].V != int64(i) {
						t.Fatalf("row %d is %v", i, got[i][0].V)
					}
				}
				if len(got) != n {
					t.Errorf("%d rows, want %d", len(got), n)
				}
			})
		}
	}
}

func TestScan_NoPagingThatSaysMore(t *testing.T) {
	a := newAPI(t, 15, 10)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data}\npaging: {style: none, more: has_more}"+apiObjects), a.URL, nil), "things")
	_, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{1}}})
	wantClass(t, err, connectors.Protocol, "has no paging")
}

func wantClass(t *testing.T, err error, class connectors.Class, text string) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != class || !strings.Contains(e.Message, text) {
		t.Errorf("got %v; want class %d with %q", err, class, text)
	}
}

func TestScan_PagesThatDoNotMove(t *testing.T) {
	const cursor = "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next"
	for _, c := range []struct {
		name, manifest string
		spoil          func(r *http.Request, answer map[string]any)
		class          connectors.Class
		text           string
	}{
		{"same cursor", cursor + "}", func(_ *http.Request, m map[string]any) { m["next"] = "c10" }, connectors.Protocol, "round in a circle"},
		{"three cursors in turn", cursor + "}", func(r *http.Request, m map[string]any) {
			m["next"] = map[string]string{"": "c10", "c10": "c20", "c20": "c30", "c30": "c10"}[r.URL.Query().Get("after")]
		}, connectors.Protocol, "round in a circle"},
		{"cursor that is an object", cursor + "}", func(_ *http.Request, m map[string]any) { m["next"] = map[string]any{"a": 1} }, connectors.Protocol, "expected a text or number, found an object"},
		{"too many pages", cursor + ", max_pages: 3}", nil, connectors.LimitExceeded, "max_pages"},
		{"page ignored", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: page, param: seite}", nil, connectors.Protocol, `does not obey "seite"`},
		{"offset ignored", "read: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: offset, param: skip}", nil, connectors.Protocol, `does not obey "skip"`},
		{"link to another host", "read: {items: data}\npaging: {style: link, cursor: next}", func(_ *http.Request, m map[string]any) { m["next"] = "http://127.0.0.2:1/x" }, connectors.Protocol, "127.0.0.2"},
		{"link with another scheme", "read: {items: data}\npaging: {style: link, cursor: next}", func(_ *http.Request, m map[string]any) { m["next"] = "file:///etc/passwd" }, connectors.Protocol, ""},
		{"no array", "read: {items: records}", nil, connectors.Protocol, "no array of records"},
		{"array is an object", "read: {items: data}", func(_ *http.Request, m map[string]any) { m["data"] = map[string]any{} }, connectors.Protocol, "expected an array of records"},
		{"key is missing", "read: {items: data}", func(_ *http.Request, m map[string]any) { m["data"] = []any{map[string]any{"n": 1}} }, connectors.InvalidValue, "it is missing"},
		{"wrong type", "read: {items: data}", func(_ *http.Request, m map[string]any) {
			m["data"] = []any{map[string]any{"id": "k7", "n": map[string]any{"x": 1}}}
		}, connectors.InvalidValue, `bad value in field "n" of things: expected integer, found an object (record "k7")`},
		{"wrong number", "read: {items: data}", func(_ *http.Request, m map[string]any) { m["data"] = []any{map[string]any{"id": "k7", "n": 1.5}} }, connectors.InvalidValue, `(record "k7")`},
		{"NUL in text", "read: {items: data}", func(_ *http.Request, m map[string]any) {
			m["data"] = []any{map[string]any{"id": "k7", "color": "a\x00b"}}
		}, connectors.InvalidValue, `bad value in field "color" of things`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, 100, 10)
			a.spoil = c.spoil
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+apiObjects), a.URL, nil), "things")
			_, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{0, 1, 2}}})
			wantClass(t, err, c.class, c.text)
			if len(a.requests) > 10 {
				t.Errorf("%d requests until it was noticed", len(a.requests))
			}
		})
	}
}

// eq is column = text.
func eq(column int, text string) pushdown.Expr {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: column}, Collation: pushdown.Collation{Deterministic: true},
		Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.Text}, Known: true, Value: pushdown.Value{V: text}}}
}

// An API that ignores a filter, and one that obeys it, must both stay right:
// unless the manifest vouches for it, nothing is exact.
func TestScan_LiarStaysRight(t *testing.T) {
	const manifest = "manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next}\nfilter: {style: params, types: {text: {operators: {eq: \"%s={value}\"}}}}"
	for name, param := range map[string]string{"obeys": "{field}", "ignores": "filter[{field}]"} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, 30, 10)
			tab := openTable(t, openSource(t, []byte(fmt.Sprintf(manifest, param)+apiObjects), a.URL, nil), "things")
			req := pushdown.Request{Columns: []int{1, 2}, Conjuncts: []pushdown.Expr{eq(2, "red")}, LimitPossible: true, LimitRows: 3}
			if v := tab.Plan(req).Conjuncts[0]; v.Verdict != pushdown.Superset || v.Reason == "" {
				t.Fatalf("verdict %+v", v)
			}
			got, err := scanRows(t, tab, connectors.Query{Request: req})
			if err != nil {
				t.Fatal(err)
			}
			red := 0
			for _, row := range got {
				if row[1].V == "red" {
					red++
				}
			}
			if red != 15 {
				t.Errorf("%d red rows among %d, want all 15", red, len(got))
			}
			if !strings.Contains(a.requests[0], "=red") {
				t.Errorf("the filter was not sent: %s", a.requests[0])
			}
		})
	}
}

func TestScan_LimitStopsPaging(t *testing.T) {
	a := newAPI(t, 1000, 10)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next}"+apiObjects), a.URL, nil), "things")
	got, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{1}}, Limit: 25})
	if err != nil || len(got) != 25 || len(a.requests) != 3 {
		t.Errorf("%d rows with %d requests, %v; want 25 with 3", len(got), len(a.requests), err)
	}
	a.requests = nil
	if got, err = scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{1}}, Limit: 5}); err != nil || len(got) != 5 || len(a.requests) != 1 || !strings.Contains(a.requests[0], "limit=5") {
		t.Errorf("%d rows with %v, %v; want 5 with one request for 5", len(got), a.requests, err)
	}
}

func TestScan_ReaderStopsPaging(t *testing.T) {
	a := newAPI(t, 100_000, 100)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 100}}\npaging: {style: cursor, param: after, cursor: next}"+apiObjects), a.URL, nil), "things")
	out := rows.NewBuilder([]pushdown.Type{{Kind: pushdown.Int8}}, func([]byte, int) error { return rows.ErrStop }, rows.Options{First: 500})
	_, err := tab.Scan(context.Background(), connectors.Query{Request: pushdown.Request{Columns: []int{1}}, Stats: &connectors.Stats{}}, out)
	if !errors.Is(err, rows.ErrStop) {
		t.Errorf("got %v", err)
	}
	a.Close() // one that was asked for ahead may still be answered
	if n := len(a.requests); n > 3 {
		t.Errorf("%d requests after the reader stopped", n)
	}
}

func TestScan_FaultsHaveTheirClass(t *testing.T) {
	f, err := fakes.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	manifest, err := fakes.Manifests.ReadFile("manifests/fake.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for mode, class := range map[fakes.Mode]connectors.Class{
		"401": connectors.Unauthenticated, "403": connectors.PermissionDenied, "404": connectors.NotFoundError, "409": connectors.Conflict,
		"422": connectors.Protocol, "423": connectors.Locked, "500": connectors.Unavailable, fakes.ErrorSecond: connectors.Unavailable,
		fakes.Cut: connectors.Unavailable, fakes.CutSecond: connectors.Unavailable, fakes.HTML: connectors.Protocol, fakes.BrokenJSON: connectors.Protocol,
		fakes.WrongTypes: connectors.InvalidValue, fakes.Huge: connectors.LimitExceeded, fakes.Loop: connectors.Protocol, fakes.Cycle: connectors.Protocol,
		fakes.Redirect: connectors.Protocol, fakes.RateLimited: connectors.RateLimited, fakes.Hang: connectors.DeadlineExceeded,
	} {
		t.Run(string(mode), func(t *testing.T) {
			tab := openTable(t, openSource(t, manifest, f.URL+"/"+string(mode), map[string]string{"token": f.Secret}), "contacts")
			columns := make([]int, len(tab.columns))
			for i := range columns {
				columns[i] = i
			}
			wait := 30 * time.Second
			if mode == fakes.Hang {
				wait = time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			out := rows.NewBuilder(typesOf(tab), func([]byte, int) error { return nil }, rows.Options{})
			_, err := tab.Scan(ctx, connectors.Query{Request: pushdown.Request{Columns: columns}, Stats: &connectors.Stats{}}, out)
			var e *connectors.Error
			if !errors.As(err, &e) || e.Class != class {
				t.Fatalf("got %v, want class %d", err, class)
			}
			if text := fmt.Sprint(e, e.Detail, e.Hint); strings.Contains(text, f.Secret) {
				t.Errorf("the secret shows: %s", text)
			}
		})
	}
	if f.Strayed() > 0 {
		t.Error("another host was called")
	}
}

// A reader that has what its LIMIT wants is given the time to say so, though the
// rows are checked again and more pages could be wanted.
func TestScan_IsEndedBeforeTheNextPage(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 300, 100)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 100}}\npaging: {style: cursor, param: after, cursor: next}"+apiObjects), a.URL, nil), "things")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := rows.NewBuilder(typesOf(tab)[:1], func([]byte, int) error {
		cancel()
		return nil
	}, rows.Options{})
	q := connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: []int{0}, LimitPossible: true, LimitRows: 3, Conjuncts: []pushdown.Expr{&pushdown.Function{Name: "f"}}}}
	if _, err := tab.Scan(ctx, q, b); !errors.Is(err, context.Canceled) {
		t.Errorf("the scan ended with %v", err)
	}
	if len(a.requests) != 1 {
		t.Errorf("asked for %v", a.requests)
	}
}

func typesOf(tab *table) []pushdown.Type {
	var types []pushdown.Type
	for i := range tab.columns {
		types = append(types, tab.columns[i].spec.Type)
	}
	return types
}

func TestScan_CancelStopsPaging(t *testing.T) {
	f, err := fakes.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	manifest, _ := fakes.Manifests.ReadFile("manifests/fake.yaml")
	tab := openTable(t, openSource(t, manifest, f.URL+"/"+string(fakes.Hang), map[string]string{"token": f.Secret}), "contacts")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for f.InFlight() == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	defer cancel()
	out := rows.NewBuilder(nil, func([]byte, int) error { return nil }, rows.Options{})
	_, err = tab.Scan(ctx, connectors.Query{Stats: &connectors.Stats{}}, out)
	if !errors.Is(err, context.Canceled) { // the API never answers
		t.Errorf("got %v", err)
	}
}

func TestNextLink(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{`<https://x/a?p=2>; rel="next"`, "https://x/a?p=2"},
		{`<https://x/a?p=1>; rel="prev", <https://x/a?a=1,2&p=2>; title="a, b"; rel=next`, "https://x/a?a=1,2&p=2"},
		{`<https://x/1>; rel="last next"`, "https://x/1"}, {`</rel>; REL=NEXT`, "/rel"},
		{`<https://x/a>; rel="prev"`, ""}, {``, ""}, {`garbage`, ""}, {`<unclosed; rel=next`, ""}, {`<a>; rel="next-page"`, ""},
	} {
		if got := nextLink(http.Header{"Link": {c.header}}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.header, got, c.want)
		}
	}
}

func TestPageSize_IsWhatALimitCanUse(t *testing.T) {
	a := newAPI(t, 10, 100)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 500}}\npaging: {style: cursor, param: after, cursor: next}"+apiObjects), a.URL, nil), "things")
	unpushed := []pushdown.Expr{&pushdown.Function{Name: "f"}}
	for _, c := range []struct {
		q    connectors.Query
		want string
	}{
		{connectors.Query{}, "limit=500"},
		{connectors.Query{Limit: 7}, "limit=7"},
		{connectors.Query{Request: pushdown.Request{LimitPossible: true, LimitRows: 7}}, "limit=7"},
		{connectors.Query{Request: pushdown.Request{LimitRows: 7}}, "limit=100"},
		{connectors.Query{Request: pushdown.Request{LimitRows: 7, Orderings: []pushdown.Ordering{{{Column: 0}}}}}, "limit=500"},
		// What is filtered out locally must be made up for.
		{connectors.Query{Request: pushdown.Request{LimitRows: 7, Conjuncts: unpushed}}, "limit=100"},
		{connectors.Query{Request: pushdown.Request{LimitRows: 90, Conjuncts: unpushed}}, "limit=360"},
		{connectors.Query{Request: pushdown.Request{LimitRows: 400, Conjuncts: unpushed}}, "limit=500"},
	} {
		if got := tab.Request(c.q); !slices.Contains(strings.FieldsFunc(got, func(r rune) bool { return r == '?' || r == '&' || r == ' ' }), c.want) {
			t.Errorf("%+v: got %s, want %s", c.q, got, c.want)
		}
	}
}

// A manifest that vouches for an API that lies is found out.
func TestScan_LiarThatIsVouchedForIsAnError(t *testing.T) {
	const manifest = "manifest: 1\nname: T\nread: {items: data, page_size: {param: limit, max: 10}}\npaging: {style: cursor, param: after, cursor: next}\nfilter: {style: params, enforced: true, types: {text: {operators: {eq: \"%s={value}\"}, exact: [eq]}}}"
	for name, param := range map[string]string{"obeys": "{field}", "ignores": "filter[{field}]"} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, 30, 10)
			tab := openTable(t, openSource(t, []byte(fmt.Sprintf(manifest, param)+apiObjects), a.URL, nil), "things")
			// The column of the filter is not among those read.
			req := pushdown.Request{Columns: []int{1}, Conjuncts: []pushdown.Expr{eq(2, "red")}}
			if v := tab.Plan(req).Conjuncts[0]; v.Verdict != pushdown.Exact {
				t.Fatalf("verdict %+v", v)
			}
			got, err := scanRows(t, tab, connectors.Query{Request: req})
			if name == "obeys" {
				if err != nil || len(got) != 15 {
					t.Errorf("%d rows, %v", len(got), err)
				}
				return
			}
			wantClass(t, err, connectors.Protocol, `record "k1" of things, which does not match`)
		})
	}
}

func TestSortable_WhereMissingValuesStand(t *testing.T) {
	m := "manifest: 1\nname: T\npaging: {style: none}\nsort: {param: sort, enforced: true, max_keys: 3, text_order: bytes, nulls: %s}" + apiObjects
	c := pushdown.Collation{C: true, Deterministic: true}
	isNotNull := &pushdown.NullTest{Operand: &pushdown.Column{Index: 1}, Negated: true}
	for _, x := range []struct {
		nulls     string
		key       pushdown.SortKey
		conjuncts []pushdown.Expr
		want      string
	}{
		{"smallest", pushdown.SortKey{Column: 1, NullsFirst: true}, nil, "n,id"},
		{"smallest", pushdown.SortKey{Column: 1}, nil, ""},
		{"smallest", pushdown.SortKey{Column: 1}, []pushdown.Expr{isNotNull}, "n,id"},
		{"smallest", pushdown.SortKey{Column: 1}, []pushdown.Expr{&pushdown.Or{Operands: []pushdown.Expr{isNotNull, eq(2, "x")}}}, ""},
		{"smallest", pushdown.SortKey{Column: 1, Descending: true}, nil, "-n,id"},
		{"smallest", pushdown.SortKey{Column: 1, Descending: true, NullsFirst: true}, nil, ""},
		{"largest", pushdown.SortKey{Column: 1}, nil, "n,id"},
		{"largest", pushdown.SortKey{Column: 1, Descending: true, NullsFirst: true}, nil, "-n,id"},
		{"first", pushdown.SortKey{Column: 1, Descending: true, NullsFirst: true}, nil, "-n,id"},
		{"last", pushdown.SortKey{Column: 1, NullsFirst: true}, nil, ""},
		{"last", pushdown.SortKey{Column: 1}, nil, "n,id"},
		{"unknown", pushdown.SortKey{Column: 1}, nil, ""},
		{"unknown", pushdown.SortKey{Column: 0, Collation: c}, nil, "id"},
		{"unknown", pushdown.SortKey{Column: 0, Collation: pushdown.Collation{Deterministic: true}}, nil, ""},
		{"last", pushdown.SortKey{Column: 2, Collation: c}, nil, "color,id"},
	} {
		tab := openTable(t, openSource(t, []byte(fmt.Sprintf(m, x.nulls)), "http://127.0.0.1:1", nil), "things")
		if got, ok := tab.sortable(pushdown.Ordering{x.key}, x.conjuncts); got != x.want || ok != (x.want != "") {
			t.Errorf("nulls %s, %+v: got %q, %v; want %q", x.nulls, x.key, got, ok, x.want)
		}
	}
}

// Each kind of JSON for each kind of column.
func TestScan_Values(t *testing.T) {
	const object = `
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: integer}
      t: {type: text}
      e: {type: text, missing: empty}
      never: {type: text, missing: never}
      n: {type: number}
      b: {type: boolean}
      at: {type: datetime}
      unix: {type: datetime, format: unix}
      ms: {type: datetime, format: unix_ms}
      day: {type: date}
      raw: {type: bytes}
      j: {type: json}
      list: {type: integer, list: true}
      deep: {type: text, path: a.b.c}
`
	a := newAPI(t, 0, 10)
	var item string
	a.spoil = func(_ *http.Request, m map[string]any) { m["data"] = []json.RawMessage{json.RawMessage(item)} }
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nread: {items: data}"+object), a.URL, nil), "things")
	for _, c := range []struct {
		column, json string
		want         any // error: a part of its message
	}{
		{"t", `"x\u00e9\n"`, "xé\n"}, {"t", `""`, ""}, {"t", `null`, nil}, {"t", ``, nil}, {"t", `12.50`, "12.50"}, {"t", `true`, "true"}, {"t", `{"a":1}`, errors.New("expected text, found an object")},
		{"e", `""`, nil}, {"e", `"x"`, "x"}, {"e", `null`, nil}, {"e", ``, nil},
		{"never", `""`, ""}, {"never", `null`, errors.New("it is null")}, {"never", ``, errors.New("it is missing")},
		{"n", `1e3`, "1000"}, {"n", `-0.5`, "-0.5"}, {"n", `12345678901234567890.123`, "12345678901234567890.123"}, {"n", `"7.5"`, "7.5"}, {"n", `"x"`, errors.New("it is not a number")}, {"n", `true`, errors.New("expected number, found a boolean")}, {"n", `1.2.3`, errors.New("")},
		{"id", `9223372036854775807`, int64(math.MaxInt64)}, {"id", `9223372036854775808`, errors.New("range")},
		{"b", `true`, true}, {"b", `false`, false}, {"b", `1`, true}, {"b", `2`, errors.New("")}, {"b", `"x"`, errors.New("")},
		{"at", `"2000-01-01T00:00:01Z"`, int64(1_000_000)}, {"at", `"2000-01-01T02:00:01.5+02:00"`, int64(1_500_000)}, {"at", `"2000-01-01 00:00:00.000001Z"`, int64(1)}, {"at", `"gestern"`, errors.New("")}, {"at", `5`, errors.New("expected datetime, found a number")},
		{"unix", `946684801`, int64(1_000_000)}, {"unix", `946684801.25`, int64(1_250_000)}, {"unix", `"946684801"`, int64(1_000_000)}, {"unix", `"x"`, errors.New("expected a number of unix")}, {"unix", `99999999999999999999`, errors.New("expected a number of unix")},
		{"ms", `946684800001`, int64(1000)},
		{"day", `"2000-01-02"`, int64(1)}, {"day", `"2000-01-02T00:00:00Z"`, int64(1)}, {"day", `"2000-01-02T00:00:01Z"`, errors.New("midnight")},
		{"raw", `"aGk="`, "hi"}, {"raw", `"!"`, errors.New("expected base64")},
		{"j", `{"a": [1]}`, `{"a":[1]}`}, {"j", `"x"`, `"x"`}, {"j", `null`, nil}, {"j", `{"a": }`, errors.New("")},
		{"list", `[1, 2]`, "1 2"}, {"list", `[]`, ""}, {"list", `null`, nil}, {"list", `5`, errors.New("")}, {"list", `["x"]`, errors.New("")},
		{"deep", `{"b": {"c": "d"}}`, "d"}, {"deep", `{"b": null}`, nil}, {"deep", `5`, nil},
	} {
		name := map[string]string{"deep": "a"}[c.column]
		if name == "" {
			name = c.column
		}
		item = `{"id": 7, "never": "x"`
		if c.json != "" {
			item += `, "` + name + `": ` + c.json
		}
		item += "}"
		if name == "id" || name == "never" {
			item = fmt.Sprintf(`{%q: %s}`, name, c.json)
			if c.json == "" {
				item = `{}`
			}
		}
		at := tab.index(c.column)
		// The column by itself, so that no other one is in the way.
		got, err := scanRows(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{at}}})
		if want, ok := c.want.(error); ok {
			var e *connectors.Error
			if !errors.As(err, &e) || (e.Class != connectors.InvalidValue && e.Class != connectors.Protocol) || !strings.Contains(e.Message, want.Error()) || (e.Class == connectors.InvalidValue && e.Column != c.column) {
				t.Errorf("%s %s: got %v, want an error with %q", c.column, c.json, err, want)
			}
			continue
		}
		if err != nil || len(got) != 1 {
			t.Errorf("%s %s: %v", c.column, c.json, err)
			continue
		}
		have := got[0][0].V
		switch v := have.(type) {
		case []byte:
			have = string(v)
		case []pushdown.Value:
			var parts []string
			for _, e := range v {
				parts = append(parts, fmt.Sprint(e.V))
			}
			have = strings.Join(parts, " ")
		}
		if have != c.want {
			t.Errorf("%s %s: got %#v, want %#v", c.column, c.json, have, c.want)
		}
	}
}

func TestRequest_AsksForTheFieldsThatAreRead(t *testing.T) {
	const manifest = `manifest: 1
name: T
read: {fields: {param: fields}}
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text}
      city: {type: text, path: address.city}
      zip: {type: text, path: address.zip}
      address: {type: json}
`
	tab := openTable(t, openSource(t, []byte(manifest), "http://127.0.0.1:1/base", nil), "things")
	for _, c := range []struct {
		columns []int
		want    string
	}{
		{nil, "GET /base/things?fields=id"}, {[]int{0}, "GET /base/things?fields=id"}, {[]int{1, 2, 1}, "GET /base/things?fields=id,address.city,address.zip"},
		{[]int{1, 3}, "GET /base/things?fields=id,address"},
	} {
		if got := tab.Request(connectors.Query{Request: pushdown.Request{Columns: c.columns}}); got != c.want {
			t.Errorf("%v: got %s, want %s", c.columns, got, c.want)
		}
	}
}

// A page's total is what is left where pages are asked for by a filter: the first
// one's counts, and it alone is asked for it.
func TestScan_TotalIsTheFirstPages(t *testing.T) {
	const manifest = `
manifest: 1
name: Seeker
read: {items: items, total: total, query: {count: "no"}, total_query: {count: "yes"}, page_size: {param: limit, max: 2, default: 2}}
paging: {style: seek}
filter:
  param: where
  enforced: true
  and: " AND "
  or: " OR "
  literals: {quote: "'", refuse: ["'"]}
  text_order: bytes
  types: {text: {operators: {eq: "{field} = {value}", gt: "{field} > {value}"}, exact: [eq, gt]}}
sort: {param: sort, enforced: true, text_order: bytes}
objects:
  things: {path: /things, key: id, fields: {id: {type: text, missing: never}}}
`
	var counts []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		counts = append(counts, q.Get("count"))
		left := []string{"a", "b", "c", "d", "e"}
		for len(left) > 0 && strings.Contains(q.Get("where"), "id > '") && "id > '"+left[0]+"'" <= q.Get("where") {
			left = left[1:]
		}
		total := len(left)
		var items []string
		for _, id := range left[:min(2, total)] {
			items = append(items, `{"id":"`+id+`"}`)
		}
		_, _ = fmt.Fprintf(w, `{"total":%d,"items":[%s]}`, total, strings.Join(items, ","))
	}))
	t.Cleanup(s.Close)
	for _, c := range []struct {
		name      string
		q         connectors.Query
		rows      int
		asks      []string
		result    float64
		statistic uint64
	}{
		{"a copy", connectors.Query{Total: true}, 5, []string{"yes", "no", "no"}, 5, 5},
		{"a sample", connectors.Query{Sample: 3}, 3, []string{"yes", "no"}, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			counts = nil
			tab := openTable(t, openSource(t, []byte(manifest), s.URL, nil), "things")
			n := 0
			b := rows.NewBuilder([]pushdown.Type{tab.columns[0].spec.Type}, func(_ []byte, k int) error { n += k; return nil }, rows.Options{})
			c.q.Columns, c.q.Stats = []int{0}, &connectors.Stats{}
			result, err := tab.Scan(t.Context(), c.q, b)
			require.NoError(t, err)
			require.Equal(t, c.rows, n)
			require.Equal(t, c.asks, counts)
			require.InDelta(t, c.result, result.TotalRows, 0)
			require.Equal(t, c.statistic, c.q.Stats.Total.Load())
		})
	}
}
