package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/tests/fakes"
)

// able is what the fake API lacks, in front of it: PUT /contacts/FIELD/VALUE
// upserts, /contacts/FIELD/batch upserts a list, and a write with an
// Idempotency-Key that was seen is answered as it was.
type able struct {
	api    *fakes.Server
	mu     sync.Mutex
	seen   map[string]*httptest.ResponseRecorder
	calls  int64
	prefix string
}

func (a *able) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	body, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	answer := a.seen[key]
	if answer == nil {
		answer = httptest.NewRecorder()
		a.answer(answer, r, body)
		if key != "" {
			a.seen[key] = answer
		}
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (a *able) answer(w *httptest.ResponseRecorder, r *http.Request, body []byte) {
	rest, found := strings.CutPrefix(r.URL.EscapedPath(), "/contacts/")
	parts := strings.Split(rest, "/")
	switch {
	case !found || len(parts) != 2:
		a.pass(w, r, r.Method, r.URL.RequestURI(), body)
	case parts[1] == "batch":
		var rows []map[string]any
		_ = json.Unmarshal(body, &rows)
		var list []map[string]any
		for _, row := range rows {
			one := httptest.NewRecorder()
			text, _ := json.Marshal(row)
			a.upsert(one, r, parts[0], fmt.Sprint(row[parts[0]]), text)
			list = append(list, map[string]any{"status": one.Code, "body": json.RawMessage(one.Body.Bytes())})
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_ = json.NewEncoder(w).Encode(list)
	default:
		value, _ := url.PathUnescape(parts[1])
		a.upsert(w, r, parts[0], value, body)
	}
}

func (a *able) upsert(w *httptest.ResponseRecorder, r *http.Request, field, value string, body []byte) {
	for _, o := range a.api.Objects("contacts") {
		if fmt.Sprint(o[field]) == value {
			a.pass(w, r, http.MethodPatch, "/contacts/"+url.PathEscape(fmt.Sprint(o["id"])), body)
			return
		}
	}
	a.pass(w, r, http.MethodPost, "/contacts", body)
}

func (a *able) pass(w *httptest.ResponseRecorder, r *http.Request, method, uri string, body []byte) {
	req, err := http.NewRequestWithContext(r.Context(), method, a.prefix+uri, bytes.NewReader(body))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	req.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func TestConformance_AbleToUpsertAndReplay(t *testing.T) {
	text, err := fakes.Manifests.ReadFile("manifests/fake.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const keyed = "idempotency_header: Idempotency-Key, idempotency_replays: true"
	for name, batch := range map[string]string{"one by one": "", "in batches": `, batch: {path: "{path}/{match}/batch", max: 2, answers: {status: status, item: body}}`} {
		t.Run(name, func(t *testing.T) {
			api, err := fakes.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close()
			front := &able{api: api, prefix: api.URL + "/" + string(fakes.OK), seen: map[string]*httptest.ResponseRecorder{}}
			srv := httptest.NewServer(front)
			defer srv.Close()
			manifest := strings.Replace(string(text), "\ncreate:", `
get: {}
upsert: {path: "{path}/{match}/{value}", `+keyed+batch+`}
create:`, 1)
			for _, method := range []string{"POST", "PATCH"} {
				manifest = strings.Replace(manifest, "  method: "+method, "  method: "+method+"\n  "+strings.ReplaceAll(keyed, ", ", "\n  "), 1)
			}
			m, err := Parse("m.yaml", []byte(manifest))
			if err != nil {
				t.Fatal(err)
			}
			v := func(x any) pushdown.Value { return pushdown.Value{V: x} }
			conformance.Run(t, conformance.Subject{
				Connector: New(), Env: testEnv([]byte(manifest)),
				Server: connectors.ServerSpec{Name: "fake", Options: map[string]string{"manifest": "m.yaml", "base_url": srv.URL},
					Credential: map[string]string{"token": api.Secret}},
				Table:    connectors.TableSpec{Name: "contacts", Columns: columnsOf(m.object("contacts"))},
				MinPages: 3, Queries: 20, Secret: api.Secret, RemoteSchema: "fake",
				Calls: func() int64 { front.mu.Lock(); defer front.mu.Unlock(); return front.calls },
				Writes: &conformance.Writes{
					Insert: func(n int) conformance.Row {
						return conformance.Row{"email": v(fmt.Sprintf("new/%d@example.com", n)), "name": v("é'"), "amount": v(fmt.Sprintf("%d.5", n))}
					},
					Update: func(n int) conformance.Row {
						return conformance.Row{"name": v(fmt.Sprintf("changed %d", n)), "amount": {}}
					},
					Delete: true, Match: []string{"email"}, MissingKey: []pushdown.Value{v("nosuch")},
					Refused: []conformance.Refusal{
						{Name: "bad e-mail", Change: conformance.Row{"email": v("nonsense")}, Class: connectors.CheckViolation, Column: "email"},
						{Name: "not unique", Change: conformance.Row{"email": v(api.Objects("contacts")[0]["email"])}, Class: connectors.UniqueViolation, Column: "email"},
					},
				},
			})
		})
	}
}
