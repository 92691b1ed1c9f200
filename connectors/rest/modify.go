// Writing records: in what order, and one request a row. Requests with many
// rows are batch.go's. A write is sent once; the transport sends it again only
// where the first was provably without effect.

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// modification is one call of Modify.
type modification struct {
	t     *table
	batch *connectors.Batch
	w     *Write
	// many is how rows are written by the request; nil: each by its own.
	many *WriteBatch
	// own makes the body of a row's own request, inList its entry in one for many.
	own, inList func() *shape
	// toReturn and toRecord are made when they are needed.
	toReturn, toRecord *recordReader
	// readAgain are records that were read back, by key; nil: none was.
	readAgain map[string]*fetchedRecord
	// dry: no record is read for a request.
	dry bool
}

// written is what became of one row, and what RETURNING needs of it.
type written struct {
	result connectors.Result
	// resp and body are the answer as a request for the row alone would have
	// it; before is the record before it was deleted.
	resp   *transport.Response
	body   []byte
	before *fetchedRecord
}

// Modify writes the rows in order and stops at the first that is refused: the
// statement fails with it, and what comes after should not be in the API. While
// requests are under way, those after them are prepared, and what the ones before
// have answered is handed on.
func (t *table) Modify(ctx context.Context, batch *connectors.Batch) error {
	m, err := t.modification(batch)
	if err != nil {
		return err
	}
	batch.Results, batch.Recorded = make([]connectors.Result, len(batch.Rows)), make([]bool, len(batch.Rows))
	if t.hasTimeToLoad(ctx) {
		if l := m.load(0); l != nil {
			if loaded, err := l.send(ctx); loaded || err != nil {
				return err
			}
		}
	}
	refused := -1
	var last []*chunk // of which nothing is handed on yet
	ahead := m.wave(0)
	if err := m.asBefore(ahead); err != nil {
		return err
	}
	if err := m.afford(ctx); err != nil {
		return err
	}
	for refused < 0 && ahead.first < len(batch.Rows) {
		now := ahead
		if now.err != nil {
			return now.err
		}
		if batch.Ready != nil {
			// As many rows again will follow.
			if err := batch.Ready(ctx, now.end, min(now.end+now.end-now.first, len(batch.Rows))); err != nil {
				if now.first == 0 || !m.hold(now.first, err) {
					return err
				}
				break
			}
		}
		arrived := m.send(ctx, now.chunks)
		if len(batch.ReturningColumns) == 0 {
			err = m.give(ctx, last)
		}
		ahead = m.wave(now.end)
		arrived()
		for _, c := range now.chunks {
			for i := range c.res {
				batch.Results[c.first+i] = c.res[i].result
				batch.Results[c.first+i].Key = m.keyMade(c.first+i, &c.res[i])
			}
			if i := c.refused(); i >= 0 && refused < 0 {
				refused = i
			}
			if c.single && !m.w.IdempotencyReplays { // what has keys goes as they say
				m.many = nil
				ahead = m.wave(now.end)
			}
		}
		for _, c := range now.chunks {
			if c.err != nil {
				return c.err
			}
		}
		last = now.chunks
		if len(batch.ReturningColumns) > 0 {
			err, last = m.give(ctx, last), nil
		}
		if err != nil {
			return connectors.AfterWrite(err)
		}
	}
	if refused >= 0 {
		for i := ahead.first; i < len(batch.Rows); i++ {
			batch.Results[i] = t.bystander("not sent, because row %d was refused", refused, batch.Results[refused].Err)
		}
	}
	if err := m.give(ctx, last); err != nil {
		return connectors.AfterWrite(err)
	}
	return nil
}

// wave is requests that are under way at once: the rows from first up to end.
type wave struct {
	chunks     []*chunk
	first, end int
	err        error
}

// wave prepares the requests for rows from first on.
func (m *modification) wave(first int) *wave {
	most := m.w.Parallel
	if m.many != nil {
		most = m.many.Parallel
	}
	w := &wave{first: first, end: first}
	for w.end < len(m.batch.Rows) && len(w.chunks) < most {
		c, err := m.next(w.end)
		if err != nil {
			w.err = err
			break
		}
		w.chunks, w.end = append(w.chunks, c), c.end
		if c.refused() >= 0 {
			break // found here: nothing after it is sent
		}
	}
	return w
}

// hold gives the rows from first on an outcome, none of which may be sent, for err;
// false: it says nothing of rows.
func (m *modification) hold(first int, err error) bool {
	results := m.batch.Results[first:]
	var e *connectors.Error
	switch {
	case errors.Is(err, connectors.ErrNotNow):
		for i := range results {
			results[i].Outcome = connectors.NotSent
		}
	case errors.As(err, &e):
		for i := range results {
			results[i] = m.t.bystander("not sent, because row %d was refused", first, e)
		}
		results[0] = connectors.Result{Outcome: connectors.Refused, Err: e}
	default:
		return false
	}
	return true
}

// send sends a wave and gives a function that waits for its answers.
func (m *modification) send(ctx context.Context, chunks []*chunk) (arrived func()) {
	if len(chunks) == 1 && chunks[0].end == len(m.batch.Rows) && chunks[0].first == 0 {
		chunks[0].err = m.sendChunk(ctx, chunks[0]) // there is nothing to do meanwhile
		return func() {}
	}
	var wg sync.WaitGroup
	panics := make(chan any, len(chunks))
	for _, c := range chunks {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics <- fmt.Sprintf("%v\n%s", p, debug.Stack())
				}
			}()
			c.err = m.sendChunk(ctx, c)
		})
	}
	return func() {
		wg.Wait()
		select {
		case p := <-panics:
			panic(p) // where the caller recovers it
		default:
		}
	}
}

// give hands the records of applied rows to RETURNING and the cache.
func (m *modification) give(ctx context.Context, chunks []*chunk) error {
	for _, c := range chunks {
		if len(m.batch.ReturningColumns) > 0 {
			if err := m.readBack(ctx, c); err != nil {
				return err
			}
		}
		for i := range c.res {
			row := &c.res[i]
			if row.result.Outcome != connectors.Applied {
				continue
			}
			var read *fetchedRecord
			if len(m.batch.ReturningColumns) > 0 {
				var err error
				if read, err = m.returning(ctx, c.first+i, row); err != nil {
					return err
				}
			}
			m.record(c.first+i, row, read)
		}
	}
	return nil
}

// bystander is a row that is not written because row i was refused with err.
func (t *table) bystander(format string, i int, err *connectors.Error) connectors.Result {
	return connectors.Result{Outcome: connectors.Refused, Bystander: true,
		Err: &connectors.Error{Class: err.Class, API: t.src.m.Name, Message: fmt.Sprintf(format, i+1)}}
}

// Requests describes the requests.
func (t *table) Requests(batch *connectors.Batch) ([]string, error) {
	m, err := t.modification(batch)
	if err != nil {
		return nil, err
	}
	m.dry = true
	var out []string
	for next := 0; next < len(batch.Rows); {
		if l := m.load(next); l != nil {
			out = append(out, l.requests()...)
			next = l.end
			continue
		}
		c, err := m.next(next)
		if err != nil {
			return nil, err
		}
		next = c.end
		if i := c.refused(); i >= 0 {
			return nil, c.res[i-c.first].result.Err
		}
		var req *transport.Request
		switch len(c.rows) {
		case 0: // no such key can be
		case 1:
			if m.alone() {
				req, err = m.requestOf(c, c.rows)
			} else {
				req, err = m.writeRequest(context.Background(), c.rows[0]) // calls nothing
			}
		default:
			req, err = m.requestOf(c, c.rows)
		}
		if err != nil {
			return nil, err
		}
		if req == nil {
			continue
		}
		text := t.src.client.Describe(req)
		if len(req.Body) > 0 {
			text += " " + t.src.client.Redact(string(req.Body))
		}
		out = append(out, text)
	}
	return out, nil
}

func (t *table) modification(batch *connectors.Batch) (*modification, error) {
	w, err := t.writeFor(batch)
	if err != nil {
		return nil, err
	}
	m := &modification{t: t, batch: batch, w: w, many: w.Batch}
	m.own = sync.OnceValue(func() *shape { return m.body(w.OmitMatch) })
	m.inList = sync.OnceValue(m.entryShape)
	if len(batch.Rows) < 2 && !m.alone() {
		m.many = nil
	}
	if m.many != nil && m.many.Answers == nil && len(batch.ReturningColumns) > 0 && batch.Op != connectors.Delete {
		// Rows' own answers have what the batch's has not: keys of new records.
		if get := t.src.m.Get; batch.Op != connectors.Update || get == nil || get.Off {
			if m.alone() {
				return nil, t.noReturning("written to")
			}
			m.many = nil
		}
	}
	return m, nil
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
	case connectors.Upsert:
		if what = "upserted into"; t.Upserts(batch.MatchColumns) {
			w = t.upsert
		}
	}
	if w == nil || (keyed(batch.Op) && t.key < 0) {
		d := t.Describe()
		return nil, &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: fmt.Sprintf("foreign table %q cannot be %s", t.spec.Name, what), Detail: d.ReadOnlyReason}
	}
	get := t.src.m.Get
	silent := (get == nil || get.Off) && (w.Answer == "none" || batch.Op == connectors.Delete) || w.Answer == "none" && w.AnswerKey == "" && batch.Op == connectors.Upsert
	if len(batch.ReturningColumns) > 0 && silent {
		return nil, t.noReturning(what)
	}
	return w, nil
}

// noReturning is the error of a RETURNING that nothing answers.
func (t *table) noReturning(what string) error {
	return &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
		Message: fmt.Sprintf("RETURNING is not possible here: nothing was %s %q", what, t.spec.Name),
		Detail:  fmt.Sprintf("The API's answer has no record, and the manifest %q does not say how to get one.", t.src.m.File)}
}

// writeRow writes one row by a request of its own. An error means that its
// outcome is not known, or that nothing more can be written. before is the
// record if it was read already.
func (m *modification) writeRow(ctx context.Context, i int, before *fetchedRecord) (written, error) {
	t, batch := m.t, m.batch
	out := written{before: before}
	req, err := m.writeRequest(ctx, i)
	if err != nil {
		var e *connectors.Error
		if errors.As(err, &e) {
			out.result = connectors.Result{Outcome: connectors.Refused, Err: e}
			return out, nil
		}
		return out, err
	}
	if req == nil {
		out.result.Outcome = connectors.NotFound
		return out, nil
	}
	if batch.Op == connectors.Delete && len(batch.ReturningColumns) > 0 && before == nil {
		// What is deleted can be returned only if it was read before.
		if out.before, err = m.readRecord(ctx, batch.Rows[i].Key[0]); err != nil {
			return out, err
		}
		if out.before == nil {
			out.result.Outcome = connectors.NotFound
			return out, nil
		}
	}
	resp, body, err := t.send(ctx, req)
	if err != nil {
		return out, err
	}
	if resp.Status == http.StatusNotFound && keyed(batch.Op) {
		again, err := t.src.checkCredential(ctx, batch.Stats)
		if err != nil {
			return out, err
		}
		if again {
			if resp, body, err = t.send(ctx, req); err != nil {
				return out, err
			}
		}
	}
	out.resp, out.body = resp, body
	switch {
	case keyed(batch.Op) && (resp.Status == http.StatusNotFound || resp.Status == http.StatusGone):
		out.result.Outcome = connectors.NotFound
		return out, nil
	case !succeeded(resp.Status):
		e := t.refusal(resp, body, true)
		if e.Class == connectors.UnknownOutcome {
			return out, e
		}
		out.result = connectors.Result{Outcome: connectors.Refused, Err: e}
		return out, nil
	}
	if err := t.provesNothing(resp, body, m.w.Answer == "record"); err != nil {
		return out, err
	}
	out.result.Outcome, out.result.Created = connectors.Applied, m.created(resp.Status, body)
	return out, nil
}

func succeeded(status int) bool { return status >= 200 && status <= 299 }

// provesNothing is the error of a success that is no answer of the API: a
// proxy's page with status 200. record: JSON is what must be there.
func (t *table) provesNothing(resp *transport.Response, body []byte, record bool) error {
	text := bytes.TrimSpace(body)
	if len(text) == 0 || resp.IsJSON() || looksLikeJSON(body) || (!record && text[0] != '<') {
		return nil
	}
	return t.unknown(resp, "expected JSON, got "+describeBody(t.src, resp, body), nil)
}

// unknown is the error of a write whose answer cannot be used.
func (t *table) unknown(resp *transport.Response, what string, err error) *connectors.Error {
	e := t.protocol(resp.Request, what, err)
	e.Class = connectors.UnknownOutcome
	return e
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
		case succeeded(resp.Status):
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
func (m *modification) writeRequest(ctx context.Context, i int) (*transport.Request, error) {
	t, batch, w := m.t, m.batch, m.w
	row := batch.Rows[i]
	key := ""
	switch {
	case keyed(batch.Op):
		var ok bool
		if key, ok = t.keyText(row.Key[0]); !ok {
			return nil, nil
		}
	case batch.Op == connectors.Upsert && strings.Contains(w.Path, "{value}"):
		column, v := matchOf(batch, i)
		if err := t.checkValue(column, v); err != nil {
			return nil, err
		}
		key, _ = t.keyText(v)
	}
	req := &transport.Request{Method: w.Method, Path: t.pathOf(batch, w.Path, key), Write: true, Stats: batch.Stats, Header: http.Header{}}
	if w.IdempotencyHeader != "" && batch.IdempotencyKey != "" {
		req.Header.Set(w.IdempotencyHeader, connectors.RequestKey(batch.IdempotencyKey, batch.FirstRow+i, 0))
	}
	if batch.Op == connectors.Delete {
		return req, nil
	}
	body, err := m.bodyOf(ctx, i)
	if err != nil {
		return nil, err
	}
	if w.Body == "form" {
		req.Body = form(body)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Body = body
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// body is the body of a row's own request, without the columns that an upsert
// finds it by if they are to be omitted.
func (m *modification) body(omit bool) *shape {
	t, batch := m.t, m.batch
	root := newShape()
	for j, c := range batch.Columns {
		if omit && slices.Contains(batch.MatchColumns, c) {
			continue
		}
		col := t.column(c)
		root.put(col.send, func(dst []byte, p *place) ([]byte, bool, error) {
			return t.appendSendable(dst, col, batch.Rows[p.i].Values[j], batch.Op)
		})
	}
	if m.w.Wrap == "" {
		if f := t.src.m.Read.Fields; f != nil && strings.HasSuffix(f.Prefix, ".") {
			// What holds the fields is there also if none is given.
			root.at(splitPath(strings.TrimSuffix(f.Prefix, "."))).always = true
		}
		return root
	}
	path := splitPath(m.w.Wrap)
	if m.w.Body == "form" {
		path = []string{m.w.Wrap}
	}
	outer := newShape()
	outer.put(path, root.append)
	return outer
}

// appendSendable writes a value for the body; false: it is left out.
func (t *table) appendSendable(dst []byte, col *column, v pushdown.Value, op connectors.Operation) ([]byte, bool, error) {
	f := col.field
	bad := func(class connectors.Class, text, hint string) error {
		return &connectors.Error{Class: class, API: t.src.m.Name, Column: col.spec.Name, Message: text, Hint: hint}
	}
	if op == connectors.Insert && t.create.Nulls == "omit" && omits(f, v) {
		return dst, false, nil
	}
	if f.Type == "" || f.ReadOnly {
		return nil, false, bad(connectors.NotSupported, fmt.Sprintf("column %q is read-only in the API", col.spec.Name), "")
	}
	if !v.IsNull() {
		out, err := col.appendJSON(dst, v)
		if err != nil {
			return nil, false, bad(connectors.CheckViolation, fmt.Sprintf("the value for column %q cannot be sent: %v", col.spec.Name, err), "")
		}
		return out, true, nil
	}
	switch {
	case col.key && op != connectors.Update:
		return dst, false, nil // the API's to choose
	case f.Missing == "empty" && !f.List:
		return append(dst, `""`...), true, nil
	case col.unnullable():
		// Sent as null it would silently become something else. For a required
		// field the API has its own words.
		return nil, false, bad(connectors.NotNullViolation, fmt.Sprintf("null value in column %q: the API has no NULL there", col.spec.Name),
			"Leave the column out, or give a value such as '', 0 or false.")
	}
	return append(dst, "null"...), true, nil
}

// unnullable reports whether null, in a write, would become something else: the
// API has no NULL there, and takes records without the field.
func (c *column) unnullable() bool {
	return c.field.always() && !c.field.Required
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
		if segment == "" || segment == "." || segment == ".." { // which servers tidy away
			return "", false
		}
	}
	return text, true
}

// path fills in a write's path.
func (t *table) path(template, key string) string {
	p := strings.ReplaceAll(template, "{path}", t.object.Path)
	return strings.ReplaceAll(p, "{key}", url.PathEscape(key))
}
