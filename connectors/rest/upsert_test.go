package rest

// Upserts: what their requests look like, and what is made of the answers.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

const (
	// externalID is Salesforce's: the field and its value stand in the path.
	externalID = `upsert: {method: PATCH, path: "{path}/{match}/{value}", match: [code], omit_match: true, created: created,
  batch: {method: PATCH, path: "/collections{path}/{match}", max: 3, list: records, extra: {allOrNone: false}, answers: {error: errors}}}`
	// idProperty is HubSpot's: there is no request for one record.
	idProperty = `upsert: {wrap: properties, created: new, match: [code, num],
  batch: {path: "{path}/batch/upsert", max: 3, alone: true, list: inputs, entry: {id: "{value}", idProperty: "{match}", trace: "r{row}"}, as: "r{row}",
    answers: {path: results, match: trace}, errors: {path: errors, match: context.trace}}}`
	// mergeOn is Airtable's: the body names the field, the answer what is new.
	mergeOn = `read: {fields: {param: fields, prefix: c.}}
upsert: {match: [code], created_keys: new,
  batch: {method: PATCH, path: "{path}", max: 3, alone: true, list: records, extra: {upsert: '{"on":["{match}"]}', cast: true}, answers: {path: records}}}`
	upsertObjects = `
objects:
  things:
    path: /things
    key: id
    unique: [code]
    fields:
      id: {type: text, read_only: true}
      code: {type: text, path: c.code}
      num: {type: integer}
      name: {type: text}
`
)

// upserts is a batch that writes names by the column match.
func upserts(tab *table, match string, values, names []any, returning ...string) (*connectors.Batch, *[][]pushdown.Value) {
	b, got := many(tab, connectors.Insert, nil, names, returning...)
	b.Op, b.MatchColumns = connectors.Upsert, []int{tab.index(match)}
	b.Columns = slices.Concat(b.MatchColumns, b.Columns)
	for i := range b.Rows {
		b.Rows[i].Values = slices.Concat([]pushdown.Value{{V: values[i]}}, b.Rows[i].Values)
	}
	return b, got
}

func TestUpsert_RequestsAndAnswers(t *testing.T) {
	for _, c := range []struct {
		name, manifest, match string
		values, names         []any
		answers               []answer
		asked                 []string
		outcomes, created     string
		class                 connectors.Class
	}{
		{name: "plain PUT", manifest: "upsert: {}", match: "code", values: []any{"a/1", "b"}, names: []any{"A", "B"},
			answers: []answer{{201, `{"id":"1"}`, ""}, {200, `{"id":"2"}`, ""}},
			asked:   []string{`PUT /things/a%2F1 {"c":{"code":"a/1"},"name":"A"}`, `PUT /things/b {"c":{"code":"b"},"name":"B"}`}, outcomes: "ok | ok", created: "yn"},
		{name: "one by an external id", manifest: externalID, match: "code", values: []any{"a b"}, names: []any{"A"},
			answers: []answer{{200, `{"id":"1","created":true}`, ""}},
			asked:   []string{`PATCH /things/c.code/a%20b {"name":"A"}`}, outcomes: "ok", created: "y"},
		{name: "many by an external id", manifest: externalID + batchErrors, match: "code", values: []any{"a", "b", "c", "d"}, names: []any{"A", "B", "C", "D"},
			answers:  []answer{{200, `[{"id":"1","created":true,"errors":[]},{"id":"2","created":false,"errors":[]},{"errors":[{"message":"Taken.","statusCode":"dup"}]}]`, ""}},
			asked:    []string{`PATCH /collections/things/c.code {"allOrNone":false,"records":[{"c":{"code":"a"},"name":"A"},{"c":{"code":"b"},"name":"B"},{"c":{"code":"c"},"name":"C"}]}`},
			outcomes: "ok | ok | no 8 : Taken | - not sent, because row 3 was refused", created: "ynnn"},
		{name: "the answer lists the keys of new records", manifest: mergeOn, match: "code", values: []any{"a", "b"}, names: []any{"A", "B"},
			answers: []answer{{200, `{"records":[{"id":"1"},{"id":"2"}],"new":["2"]}`, ""}},
			asked:   []string{`PATCH /things {"upsert":{"on":["code"]},"cast":true,"records":[{"c":{"code":"a"},"name":"A"},{"c":{"code":"b"},"name":"B"}]}`}, outcomes: "ok | ok", created: "ny"},
		{name: "several records match", manifest: externalID, match: "code", values: []any{"a"}, names: []any{"A"},
			answers: []answer{{300, `["/things/1","/things/2"]`, ""}}, asked: []string{"PATCH "}, class: connectors.Ambiguous},
		{name: "a value that cannot stand in a path", manifest: externalID, match: "code", values: []any{".."}, names: []any{"A"},
			answers: []answer{{200, `{}`, ""}}, asked: []string{}, class: connectors.CheckViolation},
		{name: "such values among others, in the body", manifest: externalID, match: "code", values: []any{"a", ".."}, names: []any{"A", "B"},
			answers: []answer{{200, `[{"id":"1"},{"id":"2","created":true}]`, ""}},
			asked:   []string{`PATCH /collections/things/c.code {"allOrNone":false,"records":[{"c":{"code":"a"},"name":"A"},{"c":{"code":".."},"name":"B"}]}`}, outcomes: "ok | ok", created: "ny"},
		{name: "such values among others, in their paths", manifest: "upsert: {batch: " + envelope + "}", match: "code", values: []any{"a", ".."}, names: []any{"A", "B"},
			answers: []answer{{200, `[]`, ""}}, asked: []string{}, outcomes: `- not sent, because row 2 was refused | no 6 code: a record cannot be upserted by the value ".." of column "code"`, created: "nn"},
		{name: "an envelope", manifest: "upsert: {batch: " + envelope + "}", match: "code", values: []any{"a", "b"}, names: []any{"A", "B"},
			answers: []answer{{200, `[{"status":201,"body":{"id":"1"}},{"status":200,"body":{"id":"2"}}]`, ""}},
			asked:   []string{`POST /batch {"requests":[{"method":"PUT","url":"/things/a","body":{"c":{"code":"a"},"name":"A"}},{"method":"PUT","url":"/things/b","body":`}, outcomes: "ok | ok", created: "yn"},
		{name: "only batches", manifest: idProperty, match: "code", values: []any{"a"}, names: []any{"A"},
			answers:  []answer{{200, `{"results":[{"trace":"r0","id":"1","new":true}]}`, ""}},
			asked:    []string{`POST /things/batch/upsert {"inputs":[{"properties":{"c":{"code":"a"},"name":"A"},"id":"a","idProperty":"c.code","trace":"r0"}]}`},
			outcomes: "ok", created: "y"},
		{name: "by a number, answered in another order", manifest: idProperty + batchErrors, match: "num", values: []any{int64(1), int64(2), int64(3), int64(4)}, names: []any{"A", "B", "C", "D"},
			answers: []answer{{200, `{"results":[{"trace":"r2","new":true},{"trace":"r0"},{"trace":"r1","new":false}]}`, ""},
				{207, `{"results":[],"errors":[{"message":"Bad.","code":"REQUIRED","context":{"trace":["r0"]}}]}`, ""}},
			asked: []string{`POST /things/batch/upsert {"inputs":[{"properties":{"num":1,"name":"A"},"id":1,"idProperty":"num","trace":"r0"}`,
				`POST /things/batch/upsert {"inputs":[{"properties":{"num":4,"name":"D"},"id":4,"idProperty":"num","trace":"r0"}]}`},
			outcomes: "ok | ok | ok | no 7 : Bad", created: "nnyn"},
		{name: "batches that are not allowed", manifest: idProperty, match: "code", values: []any{"a", "b"}, names: []any{"A", "B"},
			answers: []answer{{403, `{}`, ""}}, asked: []string{"POST /things/batch/upsert "}, class: connectors.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.answers...)
			tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+c.manifest+upsertObjects), s.URL, nil), "things")
			if !tab.Upserts([]int{tab.index(c.match)}) {
				t.Fatalf("not upserted by %s", c.match)
			}
			b, _ := upserts(tab, c.match, c.values, c.names)
			if len(c.asked) > 0 {
				list, err := tab.Requests(b)
				if err != nil || !strings.HasPrefix(list[0], strings.SplitN(c.asked[0], " ", 2)[0]) {
					t.Errorf("a dry run: %q %v", list, err)
				}
			}
			err := tab.Modify(context.Background(), b)
			if !slices.EqualFunc(s.lines(), c.asked, strings.HasPrefix) {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(s.lines(), "\n"), strings.Join(c.asked, "\n"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.class != 0 {
				if r := b.Results[0]; r.Outcome != connectors.Refused || r.Bystander || r.Err.Class != c.class {
					t.Errorf("got %+v %v, want class %d", r, r.Err, c.class)
				}
				return
			}
			created := ""
			for _, r := range b.Results {
				created += map[bool]string{true: "y", false: "n"}[r.Created]
			}
			if have := outcomes(b.Results); have != c.outcomes || created != c.created {
				t.Errorf("got  %s, %s\nwant %s, %s", have, created, c.outcomes, c.created)
			}
		})
	}
}

func TestUpsert_ByWhichColumns(t *testing.T) {
	open := func(manifest string) *table {
		return openTable(t, openSource(t, []byte("manifest: 1\nname: T\nbase_url: http://127.0.0.1:1\n"+manifest+upsertObjects), "http://127.0.0.1:1", nil), "things")
	}
	by := func(tab *table) (out string) {
		for i := range tab.columns {
			if tab.Upserts([]int{i}) {
				out += tab.columns[i].spec.Name + " "
			}
		}
		if tab.Upserts(nil) || tab.Upserts([]int{tab.index("code"), tab.index("num")}) {
			t.Error("upserted by none, or by two")
		}
		return out
	}
	for manifest, want := range map[string]string{"create: {}": "", "upsert: {}": "code ", "upsert: {match: [num, id]}": "num ", idProperty: "code num ", "upsert: {off: true}": ""} {
		if got := by(open(manifest)); got != want {
			t.Errorf("%s: by %q, want %q", manifest, got, want)
		}
	}
	if got := open(idProperty).Describe().BatchRows; got.Upsert != 3 || got.Insert != 0 {
		t.Errorf("batch rows: %+v", got)
	}
	var e *connectors.Error
	b, _ := upserts(open("create: {}"), "code", []any{"a"}, []any{"A"})
	if err := open("create: {}").Modify(context.Background(), b); !errors.As(err, &e) || e.Class != connectors.NotSupported {
		t.Errorf("without upsert: %v", err)
	}
}

// What RETURNING wants and the answer lacks is read by the key that the answer has.
func TestUpsert_Returning(t *testing.T) {
	s := newScript(t, answer{200, `{"results":[{"trace":"r0","id":"7","new":true},{"trace":"r1","id":"8","name":"B","num":2}]}`, ""}, answer{200, `{"id":"7","name":"A","num":1}`, ""})
	manifest := "manifest: 1\nname: T\nget: {}\n" + idProperty + upsertObjects
	tab := openTable(t, openSource(t, []byte(manifest), s.URL, nil), "things")
	b, got := upserts(tab, "code", []any{"a", "b"}, []any{"A", "B"}, "id", "name", "num")
	if err := tab.Modify(context.Background(), b); err != nil || outcomes(b.Results) != "ok | ok" {
		t.Fatalf("%v %s", err, outcomes(b.Results))
	}
	if err := b.Returning.Flush(); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(*got); text != "[[{7} {A} {1}] [{8} {B} {2}]]" || !strings.HasPrefix(s.lines()[1], "GET /things/7") {
		t.Errorf("returned %s after %q", text, s.lines())
	}

	// Who answers nothing cannot be asked which record it was.
	silent := strings.Replace(manifest, "upsert: {wrap", "upsert: {answer: none, wrap", 1)
	tab = openTable(t, openSource(t, []byte(silent), s.URL, nil), "things")
	var e *connectors.Error
	if err := tab.Modify(context.Background(), b); !errors.As(err, &e) || e.Class != connectors.NotSupported {
		t.Errorf("got %v", err)
	}
}

func TestDescribe_WhatRepeatedKeysAndLagsMean(t *testing.T) {
	for manifest, want := range map[string]bool{
		"create: {}":                      false,
		"create: {idempotency_header: K}": false,
		"create: {idempotency_header: K, idempotency_replays: true}":                                  true,
		"create: {idempotency_header: K, idempotency_replays: true}\nupdate: {idempotency_header: K}": false,
		"create: {idempotency_header: K, idempotency_replays: true}\nupdate: {off: true}\ndelete: {}": true,
		"create: {idempotency_header: K, idempotency_replays: true}\nupsert: {}":                      false,
		"delete: {idempotency_header: K, idempotency_replays: true}":                                  false,
	} {
		tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+manifest+upsertObjects), "http://127.0.0.1:1", nil), "things")
		if got := tab.Describe().Idempotent; got != want {
			t.Errorf("%s: %v", manifest, got)
		}
	}
	for read, want := range map[string]string{"": "0s", "read: {lag_seconds: 0}\n": "-1ns", "read: {lag_seconds: 2.5}\n": "2.5s"} {
		tab := openTable(t, openSource(t, []byte("manifest: 1\nname: T\n"+read+upsertObjects[1:]), "http://127.0.0.1:1", nil), "things")
		if got := tab.Describe().ListLag.String(); got != want {
			t.Errorf("%q: a lag of %s, want %s", read, got, want)
		}
	}
}
