package rest

// The shapes of requests that write, and of the answers, for APIs other than
// PocketBase.

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// recorder answers what it is told and remembers what it was asked.
type recorder struct {
	*httptest.Server
	asked   []string
	answers map[string]answer // by method
}

type answer struct {
	status int
	body   string
	kind   string
}

func newRecorder(t *testing.T, answers map[string]answer) *recorder {
	r := &recorder{answers: answers}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		line := req.Method + " " + req.URL.RequestURI() + " " + string(body)
		if key := req.Header.Get("Idempotency-Key"); key != "" {
			line += " key=" + key
		}
		r.asked = append(r.asked, strings.TrimSpace(line))
		a := r.answers[req.Method]
		if a.kind == "" {
			a.kind = "application/json"
		}
		w.Header().Set("Content-Type", a.kind)
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(r.Close)
	return r
}

const writeObjects = `
objects:
  things:
    path: /things
    key: id
    fields:
      id: {type: text}
      name: {type: text}
      n: {type: integer}
      at: {type: datetime, format: unix}
      city: {type: text, path: address.city}
      zip: {type: text, path: address.zip}
      tags: {type: text, list: true}
      j: {type: json}
`

func TestModify_RequestShapes(t *testing.T) {
	const record = `{"id":"k/1","name":"x","n":1,"at":1,"address":{"city":"B","zip":"1"},"tags":[],"j":null}`
	tags := []pushdown.Value{{V: "a"}, {V: "b,\"c"}, {}}
	for _, c := range []struct {
		name, manifest string
		op             connectors.Operation
		values         []any
		want           string
	}{
		{"json, nested", "create: {}", connectors.Insert, []any{"name", "a\"é\n", "n", int64(5), "city", "Berlin", "zip", nil, "tags", tags, "j", `{"x":[1]}`, "at", int64(0)},
			`POST /things {"name":"a\"é\n","n":5,"address":{"city":"Berlin","zip":null},"tags":["a","b,\"c",null],"j":{"x":[1]},"at":946684800}`},
		{"wrapped, with a key", "create: {wrap: thing, idempotency_header: Idempotency-Key}", connectors.Insert, []any{"name", "a"}, `POST /things {"thing":{"name":"a"}} key=k-0`},
		{"form", "create: {body: form}", connectors.Insert, []any{"name", "a&b=c", "n", int64(5), "city", "Berlin", "zip", nil, "tags", tags[:2], "j", `{"x":1}`},
			`POST /things address%5Bcity%5D=Berlin&address%5Bzip%5D=&j%5Bx%5D=1&n=5&name=a%26b%3Dc&tags%5B0%5D=a&tags%5B1%5D=b%2C%22c`},
		{"form, wrapped", "create: {body: form, wrap: thing}", connectors.Insert, []any{"name", "a", "city", "B"}, `POST /things thing%5Baddress%5D%5Bcity%5D=B&thing%5Bname%5D=a`},
		{"nothing given", "create: {}", connectors.Insert, nil, `POST /things {}`},
		{"update", "update: {}", connectors.Update, []any{"name", "a"}, `PATCH /things/k%2F1 {"name":"a"}`},
		{"update by another path", "update: {method: PUT, path: \"/v2{path}/by-id/{key}\"}", connectors.Update, []any{"name", "a"}, ``},
		{"update by POST", "update: {method: POST, path: \"{path}/{key}/edit\"}", connectors.Update, []any{"name", "a"}, `POST /things/k%2F1/edit {"name":"a"}`},
		{"delete", "delete: {}", connectors.Delete, nil, `DELETE /things/k%2F1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecorder(t, map[string]answer{"POST": {201, record, ""}, "PATCH": {200, record, ""}, "PUT": {200, record, ""}, "DELETE": {204, "", ""}})
			if c.want == "" {
				c.want = `PUT /v2/things/by-id/k%2F1 {"name":"a"}`
				c.manifest = strings.Replace(c.manifest, "/v2{path}", "/v2/things", 1)
			}
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+writeObjects), r.URL, nil), "things")
			var key any
			if c.op != connectors.Insert {
				key = "k/1"
			}
			res, _, err := modify(t, tab, c.op, key, nil, c.values...)
			if err != nil || res.Outcome != connectors.Applied || len(r.asked) != 1 || r.asked[0] != c.want {
				t.Errorf("got %v %+v\n%s\nwant\n%s", err, res, strings.Join(r.asked, "\n"), c.want)
			}
		})
	}
}

func TestModify_ReturningIsReadAgainWhereTheAnswerLacksIt(t *testing.T) {
	const whole = `{"data":{"id":"k1","name":"whole","n":7}}`
	for _, c := range []struct {
		name, manifest string
		answers        map[string]answer
		op             connectors.Operation
		asked          int
		fails          string
	}{
		{"all there", "create: {item: data}", map[string]answer{"POST": {200, whole, ""}}, connectors.Insert, 1, ""},
		{"only the key", "create: {item: data}\nget: {item: data}", map[string]answer{"POST": {200, `{"data":{"id":"k1"}}`, ""}, "GET": {200, whole, ""}}, connectors.Insert, 2, ""},
		{"nothing, but the key is known", "update: {answer: none}\nget: {item: data}", map[string]answer{"PATCH": {204, "", ""}, "GET": {200, whole, ""}}, connectors.Update, 2, ""},
		{"nothing at all", "create: {answer: none}\nget: {item: data}", map[string]answer{"POST": {204, "", ""}}, connectors.Insert, 1, "has no key"},
		{"a record of nothing", "create: {item: data}\nget: {item: data}", map[string]answer{"POST": {200, `{"data":{}}`, ""}}, connectors.Insert, 1, "has no key"},
		{"it is not there", "create: {item: data}\nget: {item: data}", map[string]answer{"POST": {200, `{"data":{"id":"k1"}}`, ""}, "GET": {404, `{}`, ""}}, connectors.Insert, 2, "is not there"},
		{"it cannot be read", "create: {item: data}\nget: {item: data}", map[string]answer{"POST": {200, `{"data":{"id":"k1"}}`, ""}, "GET": {403, `{}`, ""}}, connectors.Insert, 2, "has done the write"},
		{"a value that does not fit", "create: {}", map[string]answer{"POST": {200, `{"id":"k1","name":"x","n":"many"}`, ""}}, connectors.Insert, 1, "has done the write"},
		{"no way to read", "update: {answer: none}", map[string]answer{"PATCH": {204, "", ""}}, connectors.Update, 0, "RETURNING is not possible"},
		{"before a delete", "delete: {}\nget: {item: data}", map[string]answer{"DELETE": {204, "", ""}, "GET": {200, whole, ""}}, connectors.Delete, 2, ""},
		{"a proxy's page", "create: {}", map[string]answer{"POST": {200, "<html>maintenance</html>", "text/html"}}, connectors.Insert, 1, "expected JSON, got text/html"},
		{"not a record", "create: {}", map[string]answer{"POST": {200, "[]", ""}}, connectors.Insert, 1, "expected an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecorder(t, c.answers)
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+writeObjects), r.URL, nil), "things")
			var key any
			var values []any
			if c.op != connectors.Insert {
				key = "k1"
			}
			if c.op != connectors.Delete {
				values = []any{"name", "x"}
			}
			res, got, err := modify(t, tab, c.op, key, []string{"name", "n"}, values...)
			if len(r.asked) != c.asked {
				t.Errorf("asked %q", r.asked)
			}
			if c.fails != "" {
				var e *connectors.Error
				if !errors.As(err, &e) || !strings.Contains(e.Message, c.fails) {
					t.Errorf("got %v %+v, want an error with %q", err, res, c.fails)
				} else if sent := c.asked > 0; sent != (e.Class == connectors.UnknownOutcome) {
					t.Errorf("class %d of %v: the write was done: %v", e.Class, err, sent)
				}
				return
			}
			if err != nil || res.Outcome != connectors.Applied || got[0].V != "whole" || got[1].V != int64(7) {
				t.Errorf("got %v %+v %v", err, res, got)
			}
		})
	}
}

func TestModify_StopsAtTheFirstRefusal(t *testing.T) {
	r := newRecorder(t, map[string]answer{"POST": {422, `{}`, ""}})
	tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: {}"+writeObjects), r.URL, nil), "things")
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{1}, Rows: []connectors.Row{{Values: []pushdown.Value{{V: "a"}}}, {Values: []pushdown.Value{{V: "b"}}}},
		Stats: &connectors.Stats{}, Returning: rows.NewBuilder(nil, nil, rows.Options{})}
	if err := tab.Modify(context.Background(), b); err != nil || len(b.Results) != 2 || b.Results[1].Outcome != connectors.Refused || len(r.asked) != 1 {
		t.Errorf("got %v %+v after %q", err, b.Results, r.asked)
	}
}

func TestRefusal_Shapes(t *testing.T) {
	for _, c := range []struct {
		name, manifest string
		answer         answer
		class          connectors.Class
		column, text   string
		detail         string
	}{
		{"nothing known", "", answer{422, `{"x":1}`, ""}, connectors.CheckViolation, "", "[T]: unprocessable entity", "POST /things answered 422."},
		{"not JSON", "", answer{400, `<html>`, "text/html"}, connectors.CheckViolation, "", "[T]: bad request", ""},
		{"message and code", "errors: {message: [error.message, message], code: [error.code], codes: {resource_missing: foreign_key, \"card_*\": check}, request_id_header: X-Request-Id}",
			answer{404, `{"error":{"code":"resource_missing","message":"No such customer: 'x'"}}`, ""}, connectors.ForeignKeyViolation, "", "[T]: No such customer: 'x'", "POST /things answered 404, code resource_missing, X-Request-Id req_1."},
		{"prefix of a code", "errors: {message: [message], code: [code], codes: {\"len_*\": too_long}}", answer{400, `{"message":"m.","code":"len_max"}`, ""}, connectors.TooLong, "", "[T]: m", ""},
		{"list of errors", "errors: {fields: {path: errors, field: field, message: message, code: code}, codes: {dup: unique}}",
			answer{422, `{"errors":[{"field":"name","code":"dup","message":"has been taken"},{"field":"address.city","code":"x","message":"is blank"}]}`, ""}, connectors.UniqueViolation, "name", `[T]: "name": has been taken; "city": is blank`, ""},
		{"lists of texts", "errors: {message: [title], fields: {path: errors}}", answer{422, `{"title":"Invalid.","errors":{"name":["is too short","is bad"],"other":["x"]}}`, ""}, connectors.CheckViolation, "name", `[T]: Invalid: "name": is too short; "other": x`, ""},
		{"forbidden", "errors: {message: [message]}", answer{403, `{"message":"scope things.write is missing"}`, ""}, connectors.PermissionDenied, "", "[T]: scope things.write is missing", ""},
		{"conflict", "errors: {message: [message]}", answer{409, `{"message":"was changed"}`, ""}, connectors.Conflict, "", "[T]: was changed", ""},
		{"an array's element", "errors: {message: [0.message], code: [0.errorCode], fields: {path: 0.fields}, codes: {REQUIRED_FIELD_MISSING: not_null}}",
			answer{400, `[{"message":"Required fields are missing: [Name]","errorCode":"REQUIRED_FIELD_MISSING","fields":[]}]`, ""}, connectors.NotNullViolation, "", "[T]: Required fields are missing: [Name]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecorder(t, map[string]answer{"POST": c.answer})
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: {}\n"+c.manifest+writeObjects), r.URL, nil), "things")
			res, _, err := modify(t, tab, connectors.Insert, nil, nil, "name", "x")
			if err != nil || res.Outcome != connectors.Refused {
				t.Fatalf("got %v %+v", err, res)
			}
			e := res.Err
			if e.Class != c.class || e.Column != c.column || e.Error() != c.text || (c.detail != "" && e.Detail != c.detail) {
				t.Errorf("got class %d, column %q, %s\n%s\nwant class %d, column %q, %s\n%s", e.Class, e.Column, e, e.Detail, c.class, c.column, c.text, c.detail)
			}
		})
	}
}

func TestModify_UnknownOutcome(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no answer": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"id":`)
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		},
		"a gateway gave up": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504) },
		"the API broke":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	} {
		t.Run(name, func(t *testing.T) {
			// A hijacked connection is not waited for by Close.
			var calls atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				handler(w, r)
			}))
			defer srv.Close()
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\ncreate: {}"+writeObjects), srv.URL, nil), "things")
			_, _, err := modify(t, tab, connectors.Insert, nil, nil, "name", "x")
			var e *connectors.Error
			if !errors.As(err, &e) || e.Class != connectors.UnknownOutcome || calls.Load() != 1 {
				t.Errorf("got %v after %d calls", err, calls.Load())
			}
		})
	}
}

func TestModify_ReadOnlySaysWhy(t *testing.T) {
	for _, c := range []struct{ manifest, table, why string }{
		{"", "things", `the manifest "m.yaml" has no such request for object "things"`},
		{"create: {}\nupdate: {}\ndelete: {}", "things", ""},
	} {
		tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+writeObjects), "http://127.0.0.1:1", nil), c.table)
		d := tab.Describe()
		if d.ReadOnlyReason != c.why || d.Insertable != (c.why == "") {
			t.Errorf("got %+v, want %q", d, c.why)
		}
		if c.why == "" {
			continue
		}
		_, _, err := modify(t, tab, connectors.Delete, "k", nil)
		wantClass(t, err, connectors.NotSupported, `foreign table "things" cannot be deleted from`)
	}
}
