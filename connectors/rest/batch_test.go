package rest

// Requests with many rows: what they look like, and what every sort of answer
// makes of the rows, for APIs other than PocketBase.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// script is an API that gives these answers in turn, the last one for ever.
type script struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	header []http.Header
}

func newScript(t *testing.T, answers ...answer) *script {
	s := &script{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		s.mu.Lock()
		n := len(s.asked)
		s.asked = append(s.asked, strings.TrimSpace(req.Method+" "+req.URL.RequestURI()+" "+string(body)))
		s.header = append(s.header, req.Header)
		s.mu.Unlock()
		a := answers[min(n, len(answers)-1)]
		switch a.kind {
		case "":
			a.kind = "application/json"
		case "closed":
			if a.body != "" {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(a.status)
				_, _ = io.WriteString(w, a.body)
			}
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
			return
		}
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(s.Close)
	return s
}

// lines are what it was asked. A closed connection is not waited for.
func (s *script) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// many is a batch on table things that writes names, to the records with keys.
func many(tab *table, op connectors.Operation, keys []any, names []any, returning ...string) (*connectors.Batch, *[][]pushdown.Value) {
	b := &connectors.Batch{Op: op, Stats: &connectors.Stats{}, IdempotencyKey: "k"}
	if op != connectors.Insert {
		b.KeyColumns = []int{tab.key}
	}
	if op != connectors.Delete {
		b.Columns = []int{tab.index("name")}
	}
	for i := range max(len(keys), len(names)) {
		var row connectors.Row
		if op != connectors.Insert {
			row.Key = []pushdown.Value{{V: keys[i]}}
		}
		if op != connectors.Delete {
			row.Values = []pushdown.Value{{V: names[i]}}
		}
		b.Rows = append(b.Rows, row)
	}
	var types []pushdown.Type
	for _, name := range returning {
		c := tab.index(name)
		b.ReturningColumns = append(b.ReturningColumns, c)
		types = append(types, tab.columns[c].spec.Type)
	}
	var got [][]pushdown.Value
	b.Returning = rows.NewBuilder(types, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(types, tuples, n)
		got = append(got, list...)
		return err
	}, rows.Options{})
	return b, &got
}

// outcomes writes results as a line: "ok", "missing", "-" (bystander), or the
// refusal.
func outcomes(results []connectors.Result) string {
	var out []string
	for _, r := range results {
		switch {
		case r.Outcome == connectors.Applied:
			out = append(out, "ok")
		case r.Outcome == connectors.NotFound:
			out = append(out, "missing")
		case r.Bystander:
			out = append(out, "- "+r.Err.Message)
		case r.Outcome == connectors.Refused:
			out = append(out, fmt.Sprintf("no %d %s: %s", r.Err.Class, r.Err.Column, r.Err.Message))
		case r.Outcome == connectors.NotSent:
			out = append(out, "later")
		default:
			out = append(out, "?")
		}
	}
	return strings.Join(out, " | ")
}

const (
	// envelope is the shape of PocketBase's and of OData's batches.
	envelope = `{path: /batch, max: 3, atomic: true, list: requests, entry: {method: "{method}", url: "{url}", body: "{body}"},
  answers: {status: status, item: body}, errors: {path: data.requests, item: response, status: response.status}}`
	// composite is Salesforce's: answers carry the name of their request.
	composite = `{path: /composite, max: 4, atomic: true, list: compositeRequest, extra: {allOrNone: true},
  entry: {method: "{method}", url: "/v1{url}", referenceId: "r{row}", body: "{body}"}, as: "r{row}",
  answers: {path: compositeResponse, match: referenceId, status: httpStatusCode, item: body}, others: [PROCESSING_HALTED]}`
	// inputs is HubSpot's: rows that failed stand in a list of their own.
	inputs = `{path: "{path}/batch/update", max: 4, list: inputs, entry: {id: "{key}"}, as: "{key}",
  answers: {path: results, match: id}, errors: {path: errors, match: context.ids}}`
	// collection is that of Salesforce: an outcome a row, by position.
	collection = `{path: /collection, max: 4, list: records, extra: {allOrNone: false}, entry: {attributes.type: Thing},
  answers: {error: errors}, others: []}`
	batchErrors = "\nerrors: {message: [message, 0.message], code: [code, category, 0.errorCode, 0.statusCode], fields: {path: fields, message: message, code: code}, codes: {dup: unique, OBJECT_NOT_FOUND: not_found, REQUIRED: not_null}}"
)

// byList reads records by lists, of two pages.
const byList = `get: {by_list: true}
read: {items: items}
paging: {style: link, cursor: next}
filter:
  param: f
  and: ","
  literals: {quote: "'", escapes: {"'": "''"}}
  types: {text: {operators: {eq: "{field} = {value}", in: "{field} in ({values})"}}}
`

func TestBatch_RequestsAndAnswers(t *testing.T) {
	const insert, update, del = connectors.Insert, connectors.Update, connectors.Delete
	ok := func(bodies ...string) string {
		for i, b := range bodies {
			bodies[i] = `{"status":200,"body":` + b + `}`
		}
		return "[" + strings.Join(bodies, ",") + "]"
	}
	rec := func(id string) string { return `{"id":"` + id + `","name":"n` + id + `","n":1}` }
	abc, keys := []any{"a", "b", "c"}, []any{"k1", "k2", "k3"}
	for _, c := range []struct {
		name, manifest string
		op             connectors.Operation
		keys, names    []any
		answers        []answer
		asked          []string // beginnings; nil: not looked at
		outcomes       string
		returned       string // ids
		fails          string
	}{
		// An envelope of requests.
		{name: "envelope", manifest: "create: {idempotency_header: Idempotency-Key, batch: " + envelope + "}", op: insert, names: []any{"a", "b", "c", "d"},
			answers: []answer{{200, ok(rec("1"), rec("2"), rec("3")), ""}, {200, rec("4"), ""}},
			asked: []string{`POST /batch {"requests":[{"method":"POST","url":"/things","body":{"name":"a"}},{"method":"POST","url":"/things","body":{"name":"b"}},{"method":"POST","url":"/things","body":{"name":"c"}}]}`,
				`POST /things {"name":"d"}`},
			outcomes: "ok | ok | ok | ok", returned: "1 2 3 4"},
		{name: "envelope of updates, keys escaped", manifest: "update: {batch: " + envelope + "}", op: update, keys: []any{"k/1", "é"}, names: []any{"a", "b"},
			answers:  []answer{{200, ok(rec("1"), rec("2")), ""}},
			asked:    []string{`POST /batch {"requests":[{"method":"PATCH","url":"/things/k%2F1","body":{"name":"a"}},{"method":"PATCH","url":"/things/%C3%A9","body":{"name":"b"}}]}`},
			outcomes: "ok | ok", returned: "1 2"},
		{name: "envelope of deletes", manifest: "delete: {batch: " + envelope + "}", op: del, keys: keys,
			answers:  []answer{{200, ok("null", "null", "null"), ""}},
			asked:    []string{`POST /batch {"requests":[{"method":"DELETE","url":"/things/k1"},{"method":"DELETE","url":"/things/k2"},{"method":"DELETE","url":"/things/k3"}]}`},
			outcomes: "ok | ok | ok"},
		{name: "refused, by position", manifest: "create: {batch: " + envelope + "}", op: insert, names: []any{"a", "b", "c", "d"},
			answers:  []answer{{400, `{"message":"Batch failed.","data":{"requests":{"1":{"response":{"status":400,"message":"Bad.","fields":{"name":{"code":"dup","message":"Taken."}}}}}}}`, ""}},
			asked:    []string{"POST /batch "},
			outcomes: `- not applied, because row 2 was refused | no 8 name: Bad: "name": Taken | - not applied, because row 2 was refused | - not sent, because row 2 was refused`},
		{name: "refused, naming none", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc,
			answers:  []answer{{400, `{"message":"Too many.","data":{"requests":{"code":"validation_length","message":"3 at most"}}}`, ""}},
			asked:    []string{"POST /batch "},
			outcomes: "no 6 : Too many | - not applied, because the request of row 1 was refused | - not applied, because the request of row 1 was refused"},
		{name: "no such requests", manifest: "create: {batch: " + envelope + "}", op: insert, names: []any{"a", "b", "c", "d"},
			answers:  []answer{{403, `{"message":"Not allowed."}`, ""}, {200, rec("1"), ""}, {422, `{"message":"No."}`, ""}},
			asked:    []string{"POST /batch ", "POST /things ", "POST /things "},
			outcomes: "ok | no 6 : No | - not sent, because row 2 was refused | - not sent, because row 2 was refused", returned: "1"},
		{name: "no such requests, all well", manifest: "create: {batch: " + envelope + "}", op: insert, names: []any{"a", "b", "c", "d", "e"},
			answers:  []answer{{404, `{}`, ""}, {200, rec("1"), ""}},
			asked:    []string{"POST /batch ", "POST /things ", "POST /things ", "POST /things ", "POST /things ", "POST /things "},
			outcomes: "ok | ok | ok | ok | ok", returned: "1 1 1 1 1"},
		{name: "one is not there: the others without it", manifest: "update: {idempotency_header: Idempotency-Key, batch: " + envelope + "}", op: update, keys: keys, names: abc,
			answers: []answer{{400, `{"data":{"requests":{"1":{"response":{"status":404}}}}}`, ""}, {200, ok(rec("k1"), rec("k3")), ""}},
			asked: []string{"POST /batch ",
				`POST /batch {"requests":[{"method":"PATCH","url":"/things/k1","body":{"name":"a"}},{"method":"PATCH","url":"/things/k3","body":{"name":"c"}}]}`},
			outcomes: "ok | missing | ok", returned: "k1 k3"},
		{name: "two are not there", manifest: "delete: {batch: " + envelope + "}", op: del, keys: keys,
			answers: []answer{{400, `{"data":{"requests":{"0":{"response":{"status":404}}}}}`, ""},
				{400, `{"data":{"requests":{"0":{"response":{"status":404}}}}}`, ""}, {204, "", ""}},
			asked:    []string{"POST /batch ", "POST /batch ", "DELETE /things/k3"},
			outcomes: "missing | missing | ok"},
		{name: "a key twice, and none", manifest: "update: {batch: " + envelope + "}", op: update, keys: []any{"k1", "..", "k2", "k1"}, names: []any{"a", "b", "c", "d"},
			answers:  []answer{{200, ok(rec("k1"), rec("k2")), ""}, {200, rec("k1"), ""}},
			asked:    []string{"POST /batch ", "PATCH /things/k1 "},
			outcomes: "ok | missing | ok | ok", returned: "k1 k2 k1"},
		{name: "too few answers", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, ok(rec("1"), rec("2")), ""}}, fails: "it answers 2 rows of 3"},
		{name: "no answers", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, `{}`, ""}}, fails: "it does not say what became of row 3"},
		{name: "an answer without status", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, `[{},{},{}]`, ""}}, fails: "row 1 has no status"},
		{name: "HTML", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, "<html>x</html>", "text/html"}}, fails: "expected JSON, got text/html"},
		{name: "half of JSON", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, `[{"status":200`, ""}}, fails: "expected JSON"},
		{name: "closed without an answer", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{0, "", "closed"}}, asked: []string{"POST /batch "}, fails: "no answer came"},
		{name: "closed in mid-answer", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, `[{"status":200`, "closed"}}, asked: []string{"POST /batch "}, fails: ""},
		{name: "the API broke", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{502, "<html>", "text/html"}}, asked: []string{"POST /batch "}, fails: "bad gateway"},
		{name: "not atomic after all", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc,
			answers: []answer{{200, `[{"status":200,"body":` + rec("1") + `},{"status":400,"body":{}},{"status":200,"body":{}}]`, ""}}, fails: "row 2 is refused and row 3 is not"},
		{name: "one broke the API, atomic", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc,
			answers:  []answer{{400, `{"data":{"requests":{"1":{"response":{"status":500}}}}}`, ""}},
			outcomes: "- not applied, because row 2 was refused | no 18 : internal server error | - not applied, because row 2 was refused"},
		{name: "a record of a wrong type", manifest: "create: {batch: " + envelope + "}", op: insert, names: abc, answers: []answer{{200, ok(rec("1"), "[1]", rec("3")), ""}}, fails: "has done the write"},

		// Answers with names.
		{name: "composite, out of order", manifest: "create: {batch: " + composite + "}", op: insert, names: abc,
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"r2","httpStatusCode":201,"body":` + rec("3") + `},{"referenceId":"r0","httpStatusCode":201,"body":` + rec("1") + `},{"referenceId":"r1","httpStatusCode":201,"body":` + rec("2") + `}]}`, ""}},
			asked: []string{`POST /composite {"allOrNone":true,"compositeRequest":[{"method":"POST","url":"/v1/things","referenceId":"r0","body":{"name":"a"}},` +
				`{"method":"POST","url":"/v1/things","referenceId":"r1","body":{"name":"b"}},{"method":"POST","url":"/v1/things","referenceId":"r2","body":{"name":"c"}}]}`},
			outcomes: "ok | ok | ok", returned: "1 2 3"},
		{name: "composite, refused", manifest: "create: {batch: " + composite + "}", op: insert, names: abc,
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"r0","httpStatusCode":400,"body":[{"errorCode":"PROCESSING_HALTED","message":"halted"}]},
				{"referenceId":"r1","httpStatusCode":400,"body":[{"errorCode":"PROCESSING_HALTED","message":"halted"}]},
				{"referenceId":"r2","httpStatusCode":400,"body":[{"errorCode":"REQUIRED","message":"Required fields are missing."}]}]}`, ""}},
			outcomes: "- not applied, because row 3 was refused | - not applied, because row 3 was refused | no 7 : Required fields are missing"},
		{name: "composite, nobody to blame", manifest: "create: {batch: " + composite + "}", op: insert, names: []any{"a", "b"},
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"r0","httpStatusCode":400,"body":[{"errorCode":"PROCESSING_HALTED","message":"halted"}]},
				{"referenceId":"r1","httpStatusCode":400,"body":[{"errorCode":"PROCESSING_HALTED","message":"halted"}]}]}`, ""}},
			outcomes: "- not applied, because row 2 was refused | no 6 : halted"},
		{name: "a name twice", manifest: "create: {batch: " + composite + "}", op: insert, names: []any{"a", "b"},
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"r0","httpStatusCode":201},{"referenceId":"r0","httpStatusCode":201}]}`, ""}}, fails: "it answers for row 1 twice"},
		{name: "a name that nobody has", manifest: "create: {batch: " + composite + "}", op: insert, names: []any{"a", "b"},
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"x","httpStatusCode":201}]}`, ""}}, fails: `it answers for a row "x", which was not in the request`},
		{name: "a name missing", manifest: "create: {batch: " + composite + "}", op: insert, names: []any{"a", "b"},
			answers: []answer{{200, `{"compositeResponse":[{"referenceId":"r1","httpStatusCode":201}]}`, ""}}, fails: "it does not say what became of row 1"},

		// A list of records.
		{name: "list", manifest: "update: {wrap: properties, batch: " + inputs + "}", op: update, keys: keys, names: abc,
			answers:  []answer{{200, `{"results":[` + rec("k3") + "," + rec("k1") + "," + rec("k2") + `]}`, ""}},
			asked:    []string{`POST /things/batch/update {"inputs":[{"properties":{"name":"a"},"id":"k1"},{"properties":{"name":"b"},"id":"k2"},{"properties":{"name":"c"},"id":"k3"}]}`},
			outcomes: "ok | ok | ok", returned: "k1 k2 k3"},
		{name: "list, in part", manifest: "update: {batch: " + inputs + "}", op: update, keys: []any{"k1", "k2", "k3", "k4", "k5"}, names: []any{"a", "b", "c", "d", "e"},
			answers:  []answer{{207, `{"results":[` + rec("k4") + "," + rec("k1") + `],"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["k2"]}},{"category":"dup","message":"Taken.","context":{"ids":["k3"]}}]}`, ""}},
			asked:    []string{"POST /things/batch/update "},
			outcomes: "ok | missing | no 8 : Taken | ok | - not sent, because row 3 was refused", returned: "k1 k4"},
		{name: "list, some not there", manifest: "update: {batch: " + inputs + "}", op: update, keys: []any{"k1", "k2", "k3", "k4"}, names: []any{"a", "b", "c", "d"},
			answers:  []answer{{207, `{"results":[` + rec("k4") + "," + rec("k1") + `],"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["k2","k3"]}}]}`, ""}},
			asked:    []string{"POST /things/batch/update "},
			outcomes: "ok | missing | missing | ok", returned: "k1 k4"},
		{name: "list, refused whole with names", manifest: "update: {batch: " + inputs + "}", op: update, keys: keys, names: abc,
			answers:  []answer{{400, `{"message":"no","errors":[{"category":"dup","message":"Taken.","context":{"ids":["k2"]}}]}`, ""}},
			outcomes: "- not applied, because row 2 was refused | no 8 : Taken | - not applied, because row 2 was refused"},
		{name: "list, broken with names", manifest: "update: {batch: " + inputs + "}", op: update, keys: keys, names: abc,
			answers: []answer{{500, `{"message":"oops","errors":[{"category":"dup","message":"Taken.","context":{"ids":["k2"]}}]}`, ""}}, fails: "oops"},
		{name: "list, one not said", manifest: "update: {batch: " + inputs + "}", op: update, keys: keys, names: abc,
			answers: []answer{{207, `{"results":[` + rec("k1") + `],"errors":[{"category":"dup","message":"Taken.","context":{"ids":["k3"]}}]}`, ""}}, fails: "what became of row 2"},
		{name: "outcomes by position", manifest: "create: {answer: none, batch: " + collection + "}\nget: {}", op: insert, names: abc,
			answers:  []answer{{200, `[{"id":"1","success":true,"errors":[]},{"success":false,"errors":[{"statusCode":"REQUIRED","message":"is missing"}]},{"id":"3","success":true,"errors": [ ]}]`, ""}},
			asked:    []string{`POST /collection {"allOrNone":false,"records":[{"name":"a","attributes":{"type":"Thing"}},{"name":"b","attributes":{"type":"Thing"}},{"name":"c","attributes":{"type":"Thing"}}]}`},
			outcomes: "ok | no 7 : is missing | ok", returned: "-"},
		{name: "one broke the API", manifest: "create: {batch: {path: /b, max: 3, list: l, answers: {status: status, item: body}}}", op: insert, names: abc,
			answers: []answer{{200, `[{"status":200,"body":` + rec("1") + `},{"status":500,"body":{"message":"oops"}},{"status":200,"body":` + rec("3") + `}]`, ""}}, fails: "oops"},
		{name: "a refusal that says nothing of some", manifest: "create: {batch: " + collection + "}", op: insert, names: abc, returned: "-",
			answers:  []answer{{400, `[{},{"errors":[{"statusCode":"REQUIRED","message":"is missing"}]},{}]`, ""}},
			outcomes: "- not applied, because row 2 was refused | no 7 : is missing | - not applied, because row 2 was refused"},
		{name: "HTML where nothing is awaited", manifest: "delete: {batch: {path: /gone, max: 10, list: ids}}", op: del, keys: keys, answers: []answer{{200, "<html>", "text/html"}}, fails: "expected JSON, got text/html"},
		{name: "a plain list of keys", manifest: "delete: {batch: {path: /gone, max: 10, list: ids}}", op: del, keys: keys, answers: []answer{{204, "", ""}},
			asked: []string{`POST /gone {"ids":["k1","k2","k3"]}`}, outcomes: "ok | ok | ok"},
		{name: "a body that is the list", manifest: "delete: {batch: {method: PUT, path: \"{path}\", max: 2, entry: {id: \"{key}\", x: 1, y: yes}}}", op: del, keys: keys[:2], answers: []answer{{204, "", ""}},
			asked: []string{`PUT /things [{"id":"k1","x":1,"y":"yes"},{"id":"k2","x":1,"y":"yes"}]`}, outcomes: "ok | ok"},
		{name: "keys in the query", manifest: `delete: {batch: {method: DELETE, path: "{path}", max: 10, param: "records[]", answers: {path: records, match: id}, as: "{key}"}}`, op: del, keys: keys,
			answers: []answer{{200, `{"records":[{"id":"k2","deleted":true},{"id":"k1","deleted":true},{"id":"k3","deleted":true}]}`, ""}},
			asked:   []string{`DELETE /things?records%5B%5D=k1&records%5B%5D=k2&records%5B%5D=k3`}, outcomes: "ok | ok | ok"},
		{name: "keys in one parameter", manifest: `delete: {batch: {method: DELETE, path: /c, max: 10, param: ids, separator: ",", extra: {allOrNone: true}}}`, op: del, keys: []any{"k1", "k2", "a,b", "k3"},
			answers: []answer{{204, "", ""}},
			asked:   []string{`DELETE /c?allOrNone=true&ids=k1%2Ck2`, `DELETE /things/a%2Cb`, `DELETE /things/k3`}, outcomes: "ok | ok | ok | ok"},
		{name: "no longer than max_bytes", manifest: "create: {batch: {path: /b, max: 10, max_bytes: 34, list: l}}", op: insert, names: []any{"aa", "bb", strings.Repeat("c", 40), "dd", "ee", "ff"}, answers: []answer{{200, "{}", ""}},
			asked:    []string{`POST /b {"l":[{"name":"aa"},{"name":"bb"}]}`, `POST /things {"name":"` + strings.Repeat("c", 40), `POST /b {"l":[{"name":"dd"},{"name":"ee"}]}`, `POST /things {"name":"ff"}`},
			outcomes: "ok | ok | ok | ok | ok | ok", returned: "-"},
		{name: "RETURNING without answers: row by row", manifest: "create: {batch: {path: /b, max: 10, list: l}}", op: insert, names: abc[:2], answers: []answer{{200, rec("1"), ""}, {200, rec("2"), ""}},
			asked: []string{`POST /things `, `POST /things `}, outcomes: "ok | ok", returned: "1 2"},
		{name: "RETURNING without answers: read", manifest: "update: {answer: none, batch: {path: /b, max: 10, list: l, entry: {id: \"{key}\"}}}\nget: {}", op: update, keys: keys[:2], names: abc[:2],
			answers: []answer{{204, "", ""}, {200, rec("k1"), ""}, {200, rec("k2"), ""}},
			asked:   []string{`POST /b `, `GET /things/k1`, `GET /things/k2`}, outcomes: "ok | ok", returned: "k1 k2"},
		{name: "RETURNING of deletes: read before", manifest: "delete: {batch: {path: /b, max: 10, list: l}}\nget: {}", op: del, keys: keys,
			answers: []answer{{200, rec("k1"), ""}, {404, "{}", ""}, {200, rec("k3"), ""}, {204, "", ""}},
			asked:   []string{`GET /things/k1`, `GET /things/k2`, `GET /things/k3`, `POST /b {"l":["k1","k3"]}`}, outcomes: "ok | missing | ok", returned: "k1 k3"},
		{name: "RETURNING by a list: updates", manifest: byList + "update: {answer: none, batch: {path: /b, max: 10, list: l, entry: {id: \"{key}\"}}}", op: update, keys: keys[:2], names: abc[:2],
			answers: []answer{{204, "", ""}, {200, `{"items":[` + rec("k2") + `,` + rec("k1") + `]}`, ""}},
			asked:   []string{`POST /b `, `GET /things?f=id+in+%28%27k1%27%2C%27k2%27%29`}, outcomes: "ok | ok", returned: "k1 k2"},
		{name: "RETURNING by a list: new ones", manifest: byList + "create: {answer: none, answer_key: key, batch: {path: /b, max: 2, list: l, answers: {}}}", op: insert, names: abc[:3],
			answers:  []answer{{200, `[{"key":"k8"},{"key":"k9"}]`, ""}, {200, `{"items":[` + rec("k8") + `],"next":"/things?page=2"}`, ""}, {200, `{"items":[` + rec("k9") + `]}`, ""}, {200, `{"key":"k7"}`, ""}, {200, `{"items":[` + rec("k7") + `]}`, ""}},
			outcomes: "ok | ok | ok", returned: "k8 k9 k7"},
		{name: "RETURNING by a list: deletes", manifest: byList + "delete: {answer: none, batch: {path: /b, max: 10, list: l}}", op: del, keys: keys,
			answers: []answer{{200, `{"items":[` + rec("k3") + `,` + rec("k1") + `]}`, ""}, {204, "", ""}},
			asked:   []string{`GET /things?f=`, `POST /b {"l":["k1","k3"]}`}, outcomes: "ok | missing | ok", returned: "k1 k3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.answers...)
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+batchErrors+writeObjects), s.URL, nil), "things")
			var returning []string
			if c.returned != "-" && (c.op != connectors.Delete || c.returned != "") {
				returning = []string{"id", "n"}
			}
			b, got := many(tab, c.op, c.keys, c.names, returning...)
			err := tab.Modify(context.Background(), b)
			if ferr := b.Returning.Flush(); ferr != nil {
				t.Error(ferr)
			}
			if c.asked != nil && !slices.EqualFunc(s.lines(), c.asked, strings.HasPrefix) {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(s.lines(), "\n"), strings.Join(c.asked, "\n"))
			}
			if c.outcomes == "" {
				var e *connectors.Error
				if !errors.As(err, &e) || e.Class != connectors.UnknownOutcome || !strings.Contains(e.Message, c.fails) {
					t.Errorf("got %v %+v, want an unknown outcome with %q", err, b.Results, c.fails)
				}
				return
			}
			if have := outcomes(b.Results); err != nil || have != c.outcomes {
				t.Errorf("got %v\n%s\nwant\n%s", err, have, c.outcomes)
			}
			var ids []string
			for _, row := range *got {
				ids = append(ids, fmt.Sprint(row[0].V))
			}
			if want := strings.TrimPrefix(c.returned, "-"); strings.Join(ids, " ") != want && returning != nil {
				t.Errorf("returned %q, want %q", ids, want)
			}
		})
	}
}

// A row that cannot be sent takes the others of its request with it, and those
// of earlier requests stay.
func TestBatch_RowRefusedHere(t *testing.T) {
	s := newScript(t, answer{200, "{}", ""})
	objects := strings.Replace(writeObjects, "name: {type: text}", "name: {type: text, missing: never}", 1)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: {batch: {path: /b, max: 3, list: l, parallel: 4}}"+objects), s.URL, nil), "things")
	b, _ := many(tab, connectors.Insert, nil, []any{"a", "b", "c", "d", nil, "f", "g", "h"})
	const want = `ok | ok | ok | - not sent, because row 5 was refused | no 7 name: null value in column "name": the API has no NULL there` +
		" | - not sent, because row 5 was refused | - not sent, because row 5 was refused | - not sent, because row 5 was refused"
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != want || len(s.lines()) != 1 {
		t.Errorf("got %v\n%s\nwant\n%s\nafter %q", err, outcomes(b.Results), want, s.lines())
	}
	if _, err := tab.Requests(b); err == nil {
		t.Error("the dry run is well with it")
	}
}

// A key is written as its field's type has it, and found in answers as text.
func TestBatch_KeysThatAreNumbers(t *testing.T) {
	s := newScript(t, answer{200, `{"results":[{"id":8},{"id":9007199254740993}]}`, ""})
	objects := strings.Replace(writeObjects, "id: {type: text}", "id: {type: integer}", 1)
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nupdate: {batch: "+inputs+"}"+objects), s.URL, nil), "things")
	b, _ := many(tab, connectors.Update, []any{int64(9007199254740993), int64(8)}, []any{"a", "b"})
	want := `POST /things/batch/update {"inputs":[{"name":"a","id":9007199254740993},{"name":"b","id":8}]}`
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "ok | ok" || s.lines()[0] != want {
		t.Errorf("got %v %s after %q", err, outcomes(b.Results), s.lines())
	}
}

func TestBatch_IdempotencyKeys(t *testing.T) {
	s := newScript(t, answer{400, `{"data":{"requests":{"0":{"response":{"status":404}}}}}`, ""}, answer{200, `[{"status":200},{"status":200}]`, ""}, answer{200, `{}`, ""})
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nupdate: {idempotency_header: Idempotency-Key, batch: "+envelope+"}"+writeObjects), s.URL, nil), "things")
	b, _ := many(tab, connectors.Update, []any{"1", "2", "3", "4"}, []any{"a", "b", "c", "d"})
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "missing | ok | ok | ok" {
		t.Fatalf("got %v %s", err, outcomes(b.Results))
	}
	var keys []string
	for _, h := range s.header {
		keys = append(keys, h.Get("Idempotency-Key"))
	}
	if got := strings.Join(keys, " "); got != "k-0-3 k-1-2 k-3" {
		t.Errorf("got %q", got)
	}
}

// A row that is not there is believed only to a credential that is good; with
// a new one it is asked for again.
func TestBatch_NotThereIsCheckedOnce(t *testing.T) {
	for _, c := range []struct {
		name, batch string
		answers     []answer
		asked       string
	}{
		{"atomic: all again", envelope, []answer{{400, `{"data":{"requests":{"0":{"response":{"status":404}}}}}`, ""}, {200, "{}", ""}, {200, `[{"status":200},{"status":200}]`, ""}}, "POST /batch|GET /me|POST /batch"},
		{"in part: those again", inputs, []answer{{207, `{"results":[{"id":"2"}],"errors":[{"code":"OBJECT_NOT_FOUND","context":{"ids":["1"]}}]}`, ""}, {200, "{}", ""}, {200, "{}", ""}}, "POST /things/batch/update|GET /me|PATCH /things/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.answers...)
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nauth: {check: {path: /me}}\nupdate: {batch: "+c.batch+"}"+batchErrors+writeObjects), s.URL, nil), "things")
			b, _ := many(tab, connectors.Update, []any{"1", "2"}, []any{"a", "b"})
			err := tab.Modify(context.Background(), b)
			var asked []string
			for _, line := range s.lines() {
				asked = append(asked, strings.Join(strings.Fields(line)[:2], " "))
			}
			if err != nil || outcomes(b.Results) != "ok | ok" || strings.Join(asked, "|") != c.asked {
				t.Errorf("got %v %s after %q", err, outcomes(b.Results), asked)
			}
		})
	}
}

// Requests under way at once are as many as the manifest says, and what they
// answer is put in the order of the rows.
func TestBatch_Parallel(t *testing.T) {
	for _, parallel := range []int{1, 3} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			var mu sync.Mutex
			under, most, calls := 0, 0, 0
			all := make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				calls++
				under++
				most = max(most, under)
				if under == parallel && calls <= parallel {
					close(all) // only then does any of the first answer
				}
				mu.Unlock()
				<-all
				mu.Lock()
				under--
				mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				if strings.Contains(string(body), "bad") {
					w.WriteHeader(422)
					_, _ = io.WriteString(w, `{"message":"Bad."}`)
					return
				}
				_, _ = io.WriteString(w, strings.ReplaceAll(string(body), `"name"`, `"n":1,"name"`))
			}))
			defer srv.Close()
			manifest := fmt.Sprintf("manifest: 1\nname: T\ncreate: {batch: {path: /b, max: 2, parallel: %d, list: l, answers: {path: l}}}\nerrors: {message: [message]}", parallel)
			tab := openTable(t, openSource(t, []byte(manifest+writeObjects), srv.URL, nil), "things")
			if got := tab.Describe().BatchRows; got != (connectors.BatchRows{Insert: 2 * parallel}) {
				t.Errorf("batch rows: %+v", got)
			}
			names := []any{"a", "b", "c", "d", "bad", "f", "g", "h"}
			b, got := many(tab, connectors.Insert, nil, names, "name", "n")
			err := tab.Modify(context.Background(), b)
			_ = b.Returning.Flush()
			// The answers have no id, and RETURNING asks for none.
			wantCalls, last := 3, "- not sent, because row 5 was refused | - not sent, because row 5 was refused"
			want := "ok | ok | ok | ok | no 6 : Bad | - not applied, because the request of row 5 was refused | " + last
			var back []string
			for _, row := range *got {
				back = append(back, fmt.Sprint(row[0].V))
			}
			if err != nil || outcomes(b.Results) != want || calls != wantCalls || most != parallel || strings.Join(back, "") != "abcd" {
				t.Errorf("got %v after %d calls, %d at once, returned %q\n%s\nwant\n%s", err, calls, most, back, outcomes(b.Results), want)
			}
		})
	}
}

// No row is sent before it is let through, and what is not is told of.
func TestBatch_Ready(t *testing.T) {
	gone, refusal := errors.New("gone"), &connectors.Error{Class: connectors.Conflict, Message: "no journal"}
	for _, c := range []struct {
		name     string
		at       int // the call of Ready that fails
		err      error
		want     error
		outcomes string
		asked    string
	}{
		{"all", -1, nil, nil, "ok | ok | ok | ok | ok", "2,4/0 4,5/1 5,5/2"},
		{"enough", 1, connectors.ErrNotNow, nil, "ok | ok | later | later | later", "2,4/0 4,5/1"},
		{"refused", 2, refusal, nil, "ok | ok | ok | ok | no 14 : no journal", "2,4/0 4,5/1 5,5/2"},
		{"refused, and others with it", 1, refusal, nil, "ok | ok | no 14 : no journal | - not sent, because row 3 was refused | - not sent, because row 3 was refused", "2,4/0 4,5/1"},
		{"at once", 0, refusal, refusal, "? | ? | ? | ? | ?", "2,4/0"},
		{"broken off", 1, gone, gone, "ok | ok | ? | ? | ?", "2,4/0 4,5/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, answer{200, "", ""})
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: {batch: {path: /b, max: 2, list: l}}"+writeObjects), s.URL, nil), "things")
			b, _ := many(tab, connectors.Insert, nil, []any{"a", "b", "c", "d", "e"})
			var asked []string
			b.Ready = func(_ context.Context, end, next int) error {
				asked = append(asked, fmt.Sprintf("%d,%d/%d", end, next, len(s.lines())))
				if len(asked)-1 == c.at {
					return c.err
				}
				return nil
			}
			err := tab.Modify(context.Background(), b)
			if !errors.Is(err, c.want) || outcomes(b.Results) != c.outcomes || strings.Join(asked, " ") != c.asked {
				t.Errorf("got %v\n%s\nwant\n%s\nlet through %q, not %q", err, outcomes(b.Results), c.outcomes, asked, c.asked)
			}
		})
	}
}

func TestBatch_DryRun(t *testing.T) {
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\nupdate: {wrap: properties, batch: "+inputs+"}"+writeObjects), "http://127.0.0.1:1", nil), "things")
	b, _ := many(tab, connectors.Update, []any{"1", "..", "2", "3", "4", "5"}, []any{"a", "x", "b", "c", "d", "e"})
	got, err := tab.Requests(b)
	want := []string{`POST /things/batch/update {"inputs":[{"properties":{"name":"a"},"id":"1"},{"properties":{"name":"b"},"id":"2"},{"properties":{"name":"c"},"id":"3"},{"properties":{"name":"d"},"id":"4"}]}`,
		`PATCH /things/5 {"properties":{"name":"e"}}`}
	if err != nil || !slices.EqualFunc(got, want, strings.HasSuffix) {
		t.Errorf("got %v\n%s", err, strings.Join(got, "\n"))
	}
}

// A record goes to the cache if what came has every field of it, without a
// call and without an error.
func TestModify_Records(t *testing.T) {
	const whole, part = `{"id":"1","name":"a","n":7}`, `{"id":"1","name":"a"}`
	for _, c := range []struct {
		name, manifest string
		returning      []string
		answers        []answer
		asked          int
		recorded       string
	}{
		{"whole and in part", "create: {}", nil, []answer{{200, whole, ""}, {200, part, ""}, {200, whole, ""}}, 3, "[true false true]"},
		{"what does not fit", "create: {}", nil, []answer{{200, `{"id":"1","name":"a","n":"many"}`, ""}, {200, "[]", ""}, {200, "", ""}}, 3, "[false false false]"},
		{"of a batch", "create: {batch: {path: /b, max: 3, list: l, answers: {path: l}}}", nil, []answer{{200, `{"l":[` + whole + "," + part + "," + whole + `]}`, ""}}, 1, "[true false true]"},
		{"a batch without answers", "create: {batch: {path: /b, max: 3, list: l}}", nil, []answer{{204, "", ""}}, 1, "[false false false]"},
		{"read for RETURNING", "create: {}\nget: {}", []string{"id", "n"}, []answer{{200, part, ""}, {200, whole, ""}, {200, part, ""}, {200, whole, ""}, {200, part, ""}, {200, whole, ""}}, 6, "[true true true]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.answers...)
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+writeObjects), s.URL, nil), "things")
			b, _ := many(tab, connectors.Insert, nil, []any{"a", "b", "c"}, c.returning...)
			wanted, records := many(tab, connectors.Insert, nil, nil, "id", "name", "n")
			b.Record, b.RecordColumns = wanted.Returning, wanted.ReturningColumns
			if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "ok | ok | ok" || len(s.lines()) != c.asked {
				t.Errorf("got %v %s after %q", err, outcomes(b.Results), s.lines())
			}
			if err := b.Record.Flush(); err != nil || fmt.Sprint(b.Recorded) != c.recorded || len(*records) != strings.Count(c.recorded, "true") {
				t.Errorf("recorded %v, %v: %v; want %s", b.Recorded, err, *records, c.recorded)
			}
		})
	}
}

// Whatever is answered, each row has an outcome or there is an error, and a
// row is applied only where something says so.
func FuzzBatchAnswer(f *testing.F) {
	shapes := []string{envelope, composite, inputs, collection, "{path: /b, max: 4, list: l}"}
	for i, body := range []string{
		`[{"status":200,"body":{"id":"1"}},{"status":404,"body":{}},{"status":200}]`, `{"data":{"requests":{"1":{"response":{"status":404}}}}}`,
		`{"compositeResponse":[{"referenceId":"r2","httpStatusCode":201},{"referenceId":"r0","httpStatusCode":400,"body":[{"errorCode":"PROCESSING_HALTED"}]}]}`,
		`{"results":[{"id":"k1"}],"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["k2","k3"]}}]}`, `[{"errors":[]},{"errors":[{"statusCode":"x"}]},{}]`, ``, `[[[`, `{"0":1}`,
	} {
		f.Add(uint8(i), uint8(0), []byte(body))
		f.Add(uint8(i), uint8(2), []byte(body))
	}
	var status int
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(srv.Close)
	tables := make([]*table, len(shapes))
	for i, shape := range shapes {
		src, err := New().Open(context.Background(), testEnv([]byte("manifest: 1\nname: T\nupdate: {batch: "+shape+"}"+batchErrors+writeObjects)),
			connectors.ServerSpec{Options: map[string]string{"manifest": "m.yaml", "base_url": srv.URL}})
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = src.Close() })
		tab, err := src.Table(context.Background(), connectors.TableSpec{Name: "things", Columns: columnsOf(src.(*source).m.object("things"))})
		if err != nil {
			f.Fatal(err)
		}
		tables[i] = tab.(*table)
	}
	statuses := []int{200, 207, 400, 404, 409, 422, 500} // none that is tried again
	f.Fuzz(func(t *testing.T, shape, code uint8, answer []byte) {
		status, body = statuses[int(code)%len(statuses)], answer
		tab := tables[int(shape)%len(tables)]
		b, _ := many(tab, connectors.Update, []any{"k1", "k2", "k3"}, []any{"a", "b", "c"})
		m, err := tab.modification(b)
		if err != nil {
			t.Fatal(err)
		}
		req, err := m.request([]int{0, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		resp, text, err := tab.send(t.Context(), req)
		if err != nil {
			t.Skip(err) // the client refused the answer: nothing is there to be read
		}
		out, err := m.read([]int{0, 1, 2}, resp, text)
		for i, row := range out {
			r := row.result
			switch {
			case r.Outcome == 0 && err == nil:
				t.Errorf("row %d has no outcome", i)
			case (r.Outcome == connectors.Refused) != (r.Err != nil):
				t.Errorf("row %d: %+v", i, r)
			case r.Outcome == connectors.Applied && !succeeded(status) && !strings.Contains(string(answer), "2"):
				t.Errorf("row %d is applied by status %d and %q", i, status, answer)
			}
		}
		if err == nil && !slices.ContainsFunc(out, func(w written) bool { return !w.result.Bystander }) {
			t.Error("all rows were refused for another")
		}
	})
}
