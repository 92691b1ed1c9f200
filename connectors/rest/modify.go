// Writing records, one request a row. A write is sent once; the transport
// sends it again only where the first was provably without effect.

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// Modify writes the rows in order and stops at the first that is refused: the
// statement fails with it, and what comes after should not be in the API.
func (t *table) Modify(ctx context.Context, batch *connectors.Batch) error {
	w, err := t.writeFor(batch)
	if err != nil {
		return err
	}
	batch.Results = make([]connectors.Result, 0, len(batch.Rows))
	for i := range batch.Rows {
		res, err := t.modifyRow(ctx, batch, w, i)
		if err != nil {
			return err
		}
		batch.Results = append(batch.Results, res)
		if res.Outcome != connectors.Refused {
			continue
		}
		for range batch.Rows[i+1:] {
			batch.Results = append(batch.Results, connectors.Result{Outcome: connectors.Refused, Err: &connectors.Error{
				Class: res.Err.Class, API: t.src.m.Name,
				Message: fmt.Sprintf("not sent, because row %d was refused", i+1)}})
		}
		break
	}
	return nil
}

// Requests describes the rows' requests.
func (t *table) Requests(batch *connectors.Batch) ([]string, error) {
	w, err := t.writeFor(batch)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range batch.Rows {
		req, err := t.writeRequest(batch, w, i)
		if err != nil {
			return nil, err
		}
		if req == nil {
			continue // no such key can be
		}
		text := t.src.client.Describe(req)
		if len(req.Body) > 0 {
			text += " " + t.src.client.Redact(string(req.Body))
		}
		out = append(out, text)
	}
	return out, nil
}

func (t *table) writeFor(batch *connectors.Batch) (*Write, error) {
	var w *Write
	what := "updated"
	switch batch.Op {
	case connectors.Insert:
		w, what = t.create, "inserted into"
	case connectors.Update:
		w = t.update
	case connectors.Delete:
		w, what = t.delete, "deleted from"
	}
	if w == nil || (batch.Op != connectors.Insert && t.key < 0) {
		d := t.Describe()
		return nil, &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: fmt.Sprintf("foreign table %q cannot be %s", t.spec.Name, what), Detail: d.ReadOnlyReason}
	}
	if get := t.src.m.Get; len(batch.ReturningColumns) > 0 && (get == nil || get.Off) && (w.Answer == "none" || batch.Op == connectors.Delete) {
		return nil, &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: fmt.Sprintf("RETURNING is not possible here: nothing was %s %q", what, t.spec.Name),
			Detail:  fmt.Sprintf("The API's answer has no record, and the manifest %q does not say how to get one.", t.src.m.File)}
	}
	return w, nil
}

// refused is a row that is not sent, for a reason found here.
func refused(e *connectors.Error) connectors.Result {
	return connectors.Result{Outcome: connectors.Refused, Err: e}
}

// modifyRow writes one row. An error means that its outcome is not known, or
// that nothing more can be written.
func (t *table) modifyRow(ctx context.Context, batch *connectors.Batch, w *Write, i int) (connectors.Result, error) {
	req, err := t.writeRequest(batch, w, i)
	if err != nil {
		var e *connectors.Error
		if errors.As(err, &e) {
			return refused(e), nil
		}
		return connectors.Result{}, err
	}
	if req == nil {
		return connectors.Result{Outcome: connectors.NotFound}, nil
	}
	returning := len(batch.ReturningColumns) > 0
	var before *fetchedRecord
	if batch.Op == connectors.Delete && returning {
		// What is deleted can be returned only if it was read before.
		if before, err = t.readRecord(ctx, batch, batch.Rows[i].Key[0]); err != nil || before == nil {
			return connectors.Result{Outcome: connectors.NotFound}, err
		}
	}
	resp, body, err := t.send(ctx, req)
	if err != nil {
		return connectors.Result{}, err
	}
	if resp.Status == http.StatusNotFound && batch.Op != connectors.Insert {
		again, err := t.src.checkCredential(ctx, batch.Stats)
		if err != nil {
			return connectors.Result{}, err
		}
		if again {
			if resp, body, err = t.send(ctx, req); err != nil {
				return connectors.Result{}, err
			}
		}
	}
	switch {
	case batch.Op != connectors.Insert && (resp.Status == http.StatusNotFound || resp.Status == http.StatusGone):
		return connectors.Result{Outcome: connectors.NotFound}, nil
	case resp.Status < 200 || resp.Status > 299:
		e := t.refusal(resp, body, true)
		if e.Class == connectors.UnknownOutcome {
			return connectors.Result{}, e
		}
		return refused(e), nil
	}
	if len(bytes.TrimSpace(body)) > 0 && !resp.IsJSON() && !looksLikeJSON(body) && (w.Answer == "record" || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))) {
		// A proxy's page, with status 200, proves nothing.
		e := t.protocol(resp.Request, fmt.Sprintf("expected JSON, got %s", describeBody(t.src, resp, body)), nil)
		e.Class = connectors.UnknownOutcome
		return connectors.Result{}, e
	}
	if returning {
		if err := t.returning(ctx, batch, w, i, resp, body, before); err != nil {
			return connectors.Result{}, connectors.AfterWrite(err)
		}
	}
	return connectors.Result{Outcome: connectors.Applied}, nil
}

// send makes one call and reads its answer whole.
func (t *table) send(ctx context.Context, req *transport.Request) (*transport.Response, []byte, error) {
	resp, err := t.src.client.Do(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		err = fmt.Errorf("reading the answer: %w", err)
		switch {
		case !req.Write:
		case resp.Status >= 200 && resp.Status <= 299:
			return nil, nil, connectors.AfterWrite(err)
		case resp.Status >= 500:
			e := resp.StatusError("")
			e.Err = err
			return nil, nil, e
		}
		return nil, nil, err
	}
	return resp, body.Bytes(), nil
}

// writeRequest is the request for row i; nil: no record can have its key. An
// error is a value that cannot be sent.
func (t *table) writeRequest(batch *connectors.Batch, w *Write, i int) (*transport.Request, error) {
	row := batch.Rows[i]
	key := ""
	if batch.Op != connectors.Insert {
		var ok bool
		if key, ok = t.keyText(row.Key[0]); !ok {
			return nil, nil
		}
	}
	req := &transport.Request{Method: w.Method, Path: t.path(w, key), Write: true, Stats: batch.Stats, Header: http.Header{}}
	if w.IdempotencyHeader != "" && batch.IdempotencyKey != "" {
		req.Header.Set(w.IdempotencyHeader, batch.IdempotencyKey+"-"+itoa(i))
	}
	if batch.Op == connectors.Delete {
		return req, nil
	}
	root := &member{}
	for j, c := range batch.Columns {
		col := t.column(c)
		raw, skip, err := t.sendable(col, row.Values[j], batch.Op)
		if err != nil {
			return nil, err
		}
		if !skip {
			root.put(col.path, raw)
		}
	}
	if w.Wrap != "" {
		inner := root
		root = &member{}
		raw := inner.json(nil)
		root.put(splitPath(w.Wrap), raw)
		if w.Body == "form" {
			root = &member{kids: []*member{{name: w.Wrap, kids: inner.kids}}}
		}
	}
	if w.Body == "form" {
		form := url.Values{}
		root.form("", form)
		req.Body = []byte(form.Encode())
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Body = root.json(nil)
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// sendable is a value for the body; skip: it is left out.
func (t *table) sendable(col *column, v pushdown.Value, op connectors.Operation) (raw []byte, skip bool, err error) {
	f := col.field
	bad := func(class connectors.Class, text, hint string) error {
		return &connectors.Error{Class: class, API: t.src.m.Name, Column: col.spec.Name, Message: text, Hint: hint}
	}
	if f.Type == "" || f.ReadOnly {
		return nil, false, bad(connectors.NotSupported, fmt.Sprintf("column %q is read-only in the API", col.spec.Name), "")
	}
	if !v.IsNull() {
		raw, err := col.jsonValue(v)
		if err != nil {
			return nil, false, bad(connectors.CheckViolation, fmt.Sprintf("the value for column %q cannot be sent: %v", col.spec.Name, err), "")
		}
		if s, ok := v.V.(string); ok && s == "" && f.Missing == "empty" {
			return raw, false, nil // becomes NULL, as the manifest says
		}
		return raw, false, nil
	}
	switch {
	case col.key && op == connectors.Insert:
		return nil, true, nil // the API's to choose
	case f.Missing == "empty" && !f.List:
		return []byte(`""`), false, nil
	case f.Missing == "never" && !f.Required:
		// Sent as null it would silently become something else. For a required
		// field the API has its own words.
		return nil, false, bad(connectors.NotNullViolation, fmt.Sprintf("null value in column %q: the API has no NULL there", col.spec.Name),
			"Leave the column out, or give a value such as '', 0 or false.")
	}
	return []byte("null"), false, nil
}

// keyText is a key as it stands in a path; false: no record has it. An empty
// one, or a dot, would make the path another.
func (t *table) keyText(v pushdown.Value) (string, bool) {
	var text string
	switch x := v.V.(type) {
	case string:
		text = x
	case int64:
		text = fmt.Sprint(x)
	default:
		return "", false
	}
	for segment := range strings.SplitSeq(text, "/") {
		if text == "" || segment == "." || segment == ".." {
			return "", false
		}
	}
	return text, true
}

func (t *table) path(w *Write, key string) string {
	p := strings.ReplaceAll(w.Path, "{path}", t.object.Path)
	return strings.ReplaceAll(p, "{key}", url.PathEscape(key))
}
