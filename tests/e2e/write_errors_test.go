package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

const refusingManifest = `manifest: 1
name: Refusing
read: {items: rows}
create: {}
errors:
  message: [message]
  fields: {path: errors, field: field, code: code, message: message}
  codes: {CHECK: check, REQUIRED: not_null, TAKEN: unique, DANGLING: foreign_key, LONG: too_long}
objects:
  singly:
    path: /singly
    key: id
    fields: &fields
      id: {type: text}
      name: {type: text}
  together:
    path: /together
    key: id
    create: {batch: {path: "{path}/batch", max: 10, list: rows, answers: {path: rows, status: status, item: body}}}
    fields: *fields
`

// refusing answers a row as its name says: with a status, or a code of the field name.
func refusing(w http.ResponseWriter, r *http.Request) {
	type row struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	answer := func(name string) (int, any) {
		if code, ok := strings.CutPrefix(name, "code "); ok {
			return 422, map[string]any{"message": "not so", "errors": []any{map[string]any{"field": "name", "code": code, "message": "is not good"}}}
		}
		if text, ok := strings.CutPrefix(name, "status "); ok {
			status, _ := strconv.Atoi(text)
			return status, map[string]any{"message": "no"}
		}
		return 201, row{ID: name, Name: name}
	}
	text, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"rows": []}`)
		return
	}
	status, body := 200, any(nil)
	if strings.HasSuffix(r.URL.Path, "/batch") {
		var in struct {
			Rows []row `json:"rows"`
		}
		_ = json.Unmarshal(text, &in)
		var list []any
		for _, one := range in.Rows {
			s, b := answer(one.Name)
			if strings.HasPrefix(one.Name, "status ") {
				status = s // of all
			}
			list = append(list, map[string]any{"status": s, "body": b})
		}
		if body = map[string]any{"rows": list}; status != 200 {
			body = map[string]any{"message": "no"}
		}
	} else {
		var one row
		_ = json.Unmarshal(text, &one)
		status, body = answer(one.Name)
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "3600")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// What an API says of a write is the same error whether the row went by itself or with
// others: SQLSTATE, table, column, the row, and what to do where there is something.
func TestWriteErrors(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(refusing))
	t.Cleanup(srv.Close)
	dir, err := env.Mkdir("manifests")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "refusing.yaml"), []byte(refusingManifest), 0o644))
	sidecar := env.NewSidecar(t, harness.SidecarSettings{Manifests: dir})
	c := env.Database(t).Connect(t)
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', address '%s', manifest 'refusing.yaml', base_url '%s', cache 'off');
		CREATE USER MAPPING FOR PUBLIC SERVER api; CREATE FOREIGN TABLE singly (id text, name text) SERVER api; CREATE FOREIGN TABLE together (id text, name text) SERVER api`,
		sidecar.Address(), srv.URL)
	// Once something is in the API a repetition would do that again.
	c.Exec("BEGIN; INSERT INTO singly (name) VALUES ('good')")
	c.Fails("55000", "INSERT INTO together (name) VALUES ('status 409'), ('good')")
	c.Exec("ROLLBACK")
	for _, x := range []struct {
		name, state, column, hint string
	}{
		{"code CHECK", "23514", "name", ""},
		{"code REQUIRED", "23502", "name", ""},
		{"code TAKEN", "23505", "name", ""},
		{"code DANGLING", "23503", "name", ""},
		{"code LONG", "22001", "name", ""},
		{"status 401", "28000", "", ""},
		{"status 403", "42501", "", ""},
		{"status 409", "40001", "", ""},
		{"status 423", "55P03", "", ""},
		{"status 500", "08007", "", ""},
		{"status 429", "53400", "", "Try again in 6"}, // 60 minutes, or 61; the server is waited for from here on
	} {
		for _, table := range []string{"singly", "together"} {
			// The refused row is the first that reaches the API, so that nothing is written
			// before it.
			e := c.Fails(x.state, "INSERT INTO %s (name) VALUES ('%s'), ('good')", table, x.name)
			said := table + ": " + harness.Describe(e)
			assert.True(t, strings.HasPrefix(e.Message, "[Refusing]: "), said)
			assert.Equal(t, table, e.TableName, said)
			assert.Equal(t, x.column, e.ColumnName, said)
			assert.Contains(t, e.Hint, x.hint, said)
			if table == "together" && x.state != "08007" && x.state != "53400" {
				assert.Contains(t, e.Detail, "Row 1 of the statement", said)
			}
			if x.column != "" {
				assert.Contains(t, e.Detail, "(name)=("+x.name+")", said)
			}
		}
	}
}
