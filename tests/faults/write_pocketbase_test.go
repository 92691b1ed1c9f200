// A slice of the write matrix in which the API is the real PocketBase, behind the
// ledger: that holds requests and answers, and PocketBase is killed, stopped and
// started again on its data.

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

var pocketPlan = plan{
	victims:    []victim{apiKilled, apiHung, sidecarKilled, sidecarHung, backendTerminated},
	points:     []point{requestSent, answerLost, answered, undoSent, undoAnswerLost},
	operations: []operation{insert, update, remove, many, upsertOld},
	objectsFor: func(operation) []string { return []string{"records"} },
	perChoice:  1, real: true,
}

func TestWrites_MatrixOfPocketBase(t *testing.T) {
	if total := pocketPlan.run(t); total < 80 {
		t.Fatalf("the matrix has %d cells only", total)
	}
}

// pocket is a PocketBase with a collection that cells share.
type pocket struct {
	pb    *harness.PocketBase
	token string
	mu    sync.Mutex
	// known are rows by their key, as PocketBase has answered.
	known map[string]map[string]string
}

const collection = "/api/collections/ledger/records"

func newPocket(t *testing.T) *pocket {
	t.Helper()
	pb, err := env.StartPocketBase(1)
	require.NoError(t, err)
	p := &pocket{pb: pb, known: map[string]map[string]string{}}
	var auth struct{ Token string }
	require.NoError(t, pb.Call("POST", "/api/collections/_superusers/auth-with-password",
		map[string]string{"identity": pb.User, "password": pb.Password}, &auth))
	p.token = auth.Token
	require.NoError(t, pb.Call("POST", "/api/collections", map[string]any{"name": "ledger", "type": "base",
		"fields":  []map[string]any{{"name": "email", "type": "text", "required": true}, {"name": "name", "type": "text"}},
		"indexes": []string{"CREATE UNIQUE INDEX ledger_email ON ledger (email)"}}, nil))
	return p
}

// pocketManifest is the example's, with the collection for its objects and without
// the login, which the ledger adds.
func pocketManifest(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(env.Root, "examples", "pocketbase.yaml"))
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(b), "\noptions:")
	require.True(t, ok)
	_, rest, ok = strings.Cut(rest, "\nread:")
	require.True(t, ok)
	middle, _, ok := strings.Cut(rest, "\nobjects:")
	require.True(t, ok)
	return head + "\nread:" + middle + `
objects:
  records:
    path: ` + collection + `
    key: id
    unique: [email]
    fields:
      id: {type: text, read_only: true, missing: never}
      email: {type: text, required: true, missing: never}
      name: {type: text, missing: never}
`
}

// add makes a cell's rows.
func (p *pocket) add(t *testing.T, c *cell, api *ledgerCell) {
	t.Helper()
	api.rows = nil
	for _, name := range []string{"a", "b", "c"} {
		row := map[string]string{"id": c.id(name), "email": name + "@old" + c.suffix, "name": "old"}
		require.NoError(t, p.pb.Call("POST", collection, row, nil))
		p.mu.Lock()
		p.known[row["id"]] = row
		p.mu.Unlock()
	}
}

// rows of a cell, with its own names for emails.
func (p *pocket) rows(t *testing.T, c *cell) map[string]map[string]string {
	t.Helper()
	var list struct {
		Items []struct{ ID, Email, Name string }
	}
	require.NoError(t, p.pb.Call("GET", collection+"?filter="+url.QueryEscape("email ~ '%"+c.suffix+"'"), nil, &list))
	out := map[string]map[string]string{}
	for _, r := range list.Items {
		out[r.ID] = map[string]string{"email": strings.TrimSuffix(r.Email, c.suffix), "name": r.Name}
	}
	return out
}

// kill ends PocketBase. What it has then is done or not, and nobody is told.
func (p *pocket) kill(l *ledger) {
	p.pb.Kill()
	l.mu.Lock()
	l.life++
	l.mu.Unlock()
}

// do sends a request on, and notes what it has done.
func (p *pocket) do(l *ledger, c *ledgerCell, r *http.Request, path []string, body []byte) (ledgerAnswer, bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	at := p.pb.URL + "/" + strings.Join(path, "/") + "?" + r.URL.RawQuery
	req, err := http.NewRequestWithContext(ctx, r.Method, at, bytes.NewReader(body))
	if err != nil {
		return ledgerAnswer{}, false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", p.token)
	// A connection of its own: one that PocketBase has closed is no answer.
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	var out json.RawMessage
	if err == nil {
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusNoContent {
			err = json.NewDecoder(res.Body).Decode(&out)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		c.lost = c.lost || r.Method != "GET"
		return ledgerAnswer{}, false
	}
	if r.Method != "GET" && res.StatusCode < 300 {
		if err := p.note(c, r.Method, path, body, out); err != nil {
			panic(fmt.Sprintf("%s %s: %v", r.Method, at, err))
		}
	}
	return ledgerAnswer{res.StatusCode, out}, true
}

// note adds to what was done in a cell. ledger.mu is held.
func (p *pocket) note(c *ledgerCell, method string, path []string, body, answer []byte) error {
	if path[len(path)-1] == "batch" {
		var in struct {
			Requests []struct {
				Method, URL string
				Body        json.RawMessage
			}
		}
		var out []struct{ Body json.RawMessage }
		if err := json.Unmarshal(body, &in); err != nil {
			return err
		}
		if err := json.Unmarshal(answer, &out); err != nil {
			return err
		}
		for i, q := range in.Requests {
			at, _, _ := strings.Cut(q.URL, "?")
			if err := p.note(c, q.Method, strings.Split(at, "/"), q.Body, out[i].Body); err != nil {
				return err
			}
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var said struct{ ID string }
	id := path[len(path)-1]
	row := map[string]string{}
	if method != "DELETE" {
		if err := json.Unmarshal(answer, &said); err != nil {
			return err
		}
		id = said.ID
		maps.Copy(row, p.known[id])
		if err := json.Unmarshal(body, &row); err != nil {
			return err
		}
		p.known[id] = row
	}
	row = p.known[id]
	email, _, _ := strings.Cut(row["email"], ".")
	if email == "a@old" && method == "PATCH" {
		id = "a"
	}
	c.did = append(c.did, ledgerChange{method, id, email, row["name"]})
	return nil
}
