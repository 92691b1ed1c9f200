// One request for a page: its answer whole, or the error that says what came instead.

package rest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// fetched is a page that has come, or not.
type fetched struct {
	body    *bytes.Buffer
	resp    *transport.Response
	request string
	none    bool // there is no such record, and body is null
	err     error
}

// fetch gets a page of JSON whole.
func (t *table) fetch(ctx context.Context, req *transport.Request, body *bytes.Buffer) fetched {
	f := t.get(ctx, req, body)
	if f.err == nil && !f.resp.IsJSON() && !looksLikeJSON(body.Bytes()) && !f.none {
		f.err = t.protocol(f.request, fmt.Sprintf("expected JSON, got %s", describeBody(t.src, f.resp, body.Bytes())), nil)
	}
	return f
}

// get gets an answer whole, which must be a success.
func (t *table) get(ctx context.Context, req *transport.Request, body *bytes.Buffer) (f fetched) {
	body.Reset()
	f.body = body
	resp, err := t.src.client.Do(ctx, req)
	if err != nil {
		f.err = err
		return f
	}
	defer func() { _ = resp.Close() }()
	f.request, f.resp = resp.Request, resp
	if n, err := strconv.Atoi(resp.Header.Get("Content-Length")); err == nil && n > 0 && n <= 8<<20 {
		body.Grow(n + bytes.MinRead)
	}
	if _, err := body.ReadFrom(resp.Body); err != nil {
		f.err = fmt.Errorf("reading a page: %w", err)
		return f
	}
	if hook := t.src.hooks.Answer; hook != nil {
		inner := *resp
		status, text := hook(req, resp.Status, body.Bytes())
		inner.Status = status
		body.Truncate(copy(body.Bytes(), text)) // which is a part of it
		resp, f.resp = &inner, &inner
	}
	one := t.src.m.Read.One
	if one && resp.Status == http.StatusNotFound {
		body.Reset()
		body.WriteString("null")
		f.none = true
		return f
	}
	if resp.Status < 200 || resp.Status > 299 {
		f.err = t.refusal(resp, body.Bytes(), false)
	}
	return f
}

func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

func (t *table) protocol(request, what string, err error) *connectors.Error {
	return &connectors.Error{Class: connectors.Protocol, API: t.src.m.Name, Err: err,
		Message: "unexpected answer: " + what, Detail: request,
		Hint: fmt.Sprintf("Does the manifest %q describe this API, and does base_url lead to it?", t.src.m.File)}
}
