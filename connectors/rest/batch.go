// Writing many records by one request, as a manifest's batch describes it: which
// rows go together, and the request. batch_answer.go reads the answer.

package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// batchRows is how many rows the API writes at once.
func (w *Write) batchRows() int {
	switch {
	case w == nil || w.Batch == nil && w.Parallel < 2:
		return 0
	case w.Batch == nil:
		return w.Parallel
	}
	return w.Batch.Max * w.Batch.Parallel
}

// chunk is the rows of a batch from first up to end, and what becomes of each.
type chunk struct {
	first, end int
	// rows are those to be sent, by their number in the batch; list has them for
	// one request of them all.
	rows []int
	list entries
	res  []written // by row - first
	// single: the API takes no such requests; its rows were sent one by one.
	single bool
	err    error
}

// entries are rows as they stand in a request: JSON with commas between, or keys.
type entries struct {
	json []byte
	keys []string
}

// refused is the first row that was refused by itself; -1: none.
func (c *chunk) refused() int {
	for i := range c.res {
		if r := &c.res[i].result; r.Outcome == connectors.Refused && !r.Bystander {
			return c.first + i
		}
	}
	return -1
}

// next takes the rows from first on that fit into a request. If one of them
// cannot be sent, none is.
func (m *modification) next(first int) (*chunk, error) {
	c := &chunk{first: first}
	most := 1
	if m.many != nil {
		most = m.many.Max
	}
	var seen map[string]bool
	if keyed(m.batch.Op) {
		seen = map[string]bool{}
	}
	size := 0
	for i := first; i < len(m.batch.Rows) && len(c.rows) < most; i++ {
		if keyed(m.batch.Op) {
			key, ok := m.t.keyText(m.batch.Rows[i].Key[0])
			if !ok { // no record has it
				c.add(written{result: connectors.Result{Outcome: connectors.NotFound}})
				continue
			}
			if seen[key] {
				break // twice in one request, their order would be the API's to choose
			}
			seen[key] = true
		}
		if m.many != nil {
			before := c.list
			entry, err := m.addEntry(&c.list, i, len(c.rows))
			var e *connectors.Error
			if errors.As(err, &e) {
				for j := range c.res {
					if c.res[j].result.Outcome == 0 {
						c.res[j].result = m.t.bystander("not sent, because row %d was refused", i, e)
					}
				}
				c.add(written{result: connectors.Result{Outcome: connectors.Refused, Err: e}})
				c.rows = nil
				return c, nil
			}
			if err != nil {
				return nil, err
			}
			size += entry + 1
			if s := m.many.Separator; s != "" && m.many.Param != "" && strings.Contains(c.list.keys[len(c.rows)], s) {
				size = m.many.MaxBytes + 1 // among others it would be two keys
			}
			if size > m.many.MaxBytes && len(c.rows) > 0 {
				c.list = before
				break
			}
		}
		c.add(written{})
		c.rows = append(c.rows, i)
		if m.many != nil && size > m.many.MaxBytes {
			break
		}
	}
	return c, nil
}

func (c *chunk) add(w written) {
	c.res = append(c.res, w)
	c.end = c.first + len(c.res)
}

// sendChunk writes a chunk's rows. An error means that what became of those without
// an outcome is not known, or that nothing more can be written.
func (m *modification) sendChunk(ctx context.Context, c *chunk) error {
	pending := c.rows
	if len(pending) > 1 && m.batch.Op == connectors.Delete && len(m.batch.ReturningColumns) > 0 {
		// What is deleted can be returned only if it was read before.
		pending = nil
		before, err := m.readBefore(ctx, c.rows)
		if err != nil {
			return err
		}
		for n, i := range c.rows {
			row := &c.res[i-c.first]
			row.before = before[n]
			if row.before == nil {
				row.result.Outcome = connectors.NotFound
				continue
			}
			pending = append(pending, i)
		}
	}
	for len(pending) > 1 || len(pending) == 1 && m.alone() {
		req, err := m.requestOf(c, pending)
		if err != nil {
			return err
		}
		resp, body, err := m.t.send(ctx, req)
		if err != nil {
			return err
		}
		answers, err := m.read(pending, resp, body)
		if errors.Is(err, errNoBatch) {
			c.single = true
			break
		}
		for j, i := range pending {
			answers[j].before = c.res[i-c.first].before
			c.res[i-c.first] = answers[j]
		}
		if err != nil {
			return err
		}
		if pending, err = m.again(ctx, c, pending); err != nil {
			return err
		}
	}
	for n, i := range pending {
		row, err := m.writeRow(ctx, i, c.res[i-c.first].before)
		if err != nil {
			return err
		}
		c.res[i-c.first] = row
		if row.result.Outcome == connectors.Refused {
			for _, j := range pending[n+1:] {
				c.res[j-c.first].result = m.t.bystander("not sent, because row %d was refused", i, row.result.Err)
			}
			break
		}
	}
	return nil
}

// again are the rows to be sent once more. A row that is not there is no
// reason to refuse the others: where the API took it for one, nothing was
// written, and they go again without it. And it is believed only to a
// credential that is good.
func (m *modification) again(ctx context.Context, c *chunk, sent []int) ([]int, error) {
	missing := false
	for _, i := range sent {
		missing = missing || c.res[i-c.first].result.Outcome == connectors.NotFound
	}
	if !missing || c.refused() >= 0 {
		return nil, nil
	}
	renewed, err := m.t.src.checkCredential(ctx, m.batch.Stats)
	if err != nil {
		return nil, err
	}
	var rows []int
	for _, i := range sent {
		r := &c.res[i-c.first].result
		if r.Bystander || (renewed && r.Outcome == connectors.NotFound) {
			*r = connectors.Result{}
			rows = append(rows, i)
		}
	}
	return rows, nil
}

// requestOf is the request for a chunk's rows, or for some of them.
func (m *modification) requestOf(c *chunk, rows []int) (*transport.Request, error) {
	if len(rows) == len(c.rows) {
		return m.requestWith(rows, c.list)
	}
	return m.request(rows)
}

// request for these rows, which have been seen to be sendable.
func (m *modification) request(rows []int) (*transport.Request, error) {
	var list entries
	for n, i := range rows {
		if _, err := m.addEntry(&list, i, n); err != nil {
			return nil, err
		}
	}
	return m.requestWith(rows, list)
}

// addEntry puts row i, the nth, into a list; size is what it has there.
func (m *modification) addEntry(list *entries, i, n int) (size int, err error) {
	if m.many.Param != "" {
		p, err := m.place(i, n)
		if err != nil {
			return 0, err
		}
		list.keys = append(list.keys, p.key)
		return len(p.key), nil
	}
	out := list.json
	if n > 0 {
		out = append(out, ',')
	}
	start := len(out)
	if out, err = m.entry(out, i, n); err != nil {
		return 0, err
	}
	list.json = out
	return len(out) - start, nil
}

func (m *modification) requestWith(rows []int, list entries) (*transport.Request, error) {
	b := m.many
	req := &transport.Request{Method: b.Method, Path: m.t.pathOf(m.batch, b.Path, ""), Write: true, Stats: m.batch.Stats, Header: http.Header{}}
	if h := m.w.IdempotencyHeader; h != "" && m.batch.IdempotencyKey != "" {
		// Sent again without some of its rows, it is another write.
		req.Header.Set(h, connectors.RequestKey(m.batch.IdempotencyKey, m.batch.FirstRow+rows[0], len(rows)))
	}
	if b.Param != "" {
		req.Query = url.Values{b.Param: list.keys}
		if b.Separator != "" {
			req.Query.Set(b.Param, strings.Join(list.keys, b.Separator))
		}
		for _, p := range b.Extra {
			req.Query.Set(p.Name, p.Value)
		}
		return req, nil
	}
	req.Header.Set("Content-Type", "application/json")
	root := newShape()
	if b.List != "" {
		for _, p := range b.Extra {
			root.constant(splitPath(p.Name), m.extra(p.Value))
		}
	}
	root.put(splitPath(b.List), func(dst []byte, _ *place) ([]byte, bool, error) {
		dst = append(dst, '[')
		dst = append(dst, list.json...)
		return append(dst, ']'), true, nil
	})
	var err error
	req.Body, _, err = root.append(make([]byte, 0, len(list.json)+64), nil)
	return req, err
}

// extra is what a body has beside its rows.
func (m *modification) extra(text string) []byte {
	name := appendString(nil, m.t.matchName(m.batch))
	filled := strings.ReplaceAll(text, "{match}", string(name[1:len(name)-1]))
	if (strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{")) && json.Valid([]byte(filled)) {
		return []byte(filled)
	}
	return plain(filled)
}

// place of row i, the nth of a request. An error is a key that cannot be sent.
func (m *modification) place(i, n int) (*place, error) {
	t := m.t
	p := &place{i: i, at: n}
	if m.batch.Op == connectors.Insert {
		return p, nil
	}
	var column int
	var v pushdown.Value
	if m.batch.Op != connectors.Upsert {
		column, v = t.key, m.batch.Rows[i].Key[0]
	} else if column, v = matchOf(m.batch, i); m.many.names("{url}") && strings.Contains(m.w.Path, "{value}") {
		if err := t.checkValue(column, v); err != nil {
			return nil, err
		}
	}
	p.key, _ = t.keyText(v)
	var err error
	if p.keyJSON, err = t.column(column).appendJSON(nil, v); err != nil {
		return nil, &connectors.Error{Class: connectors.CheckViolation, API: t.src.m.Name, Column: t.column(column).spec.Name,
			Message: fmt.Sprintf("the key %q cannot be sent: %v", shortText(p.key), err)}
	}
	return p, nil
}

// entry appends what stands in the list for row i; its position there is n. An
// error is a value that cannot be sent.
func (m *modification) entry(dst []byte, i, n int) ([]byte, error) {
	p, err := m.place(i, n)
	if err != nil {
		return nil, err
	}
	dst, _, err = m.inList().append(dst, p)
	return dst, err
}

// entryShape is that of an entry.
func (m *modification) entryShape() *shape {
	b := m.many
	keyJSON := func(dst []byte, p *place) ([]byte, bool, error) { return append(dst, p.keyJSON...), true, nil }
	root := newShape()
	var body *shape
	switch {
	case m.batch.Op != connectors.Delete:
		if body = m.body(false); !b.names("{body}") {
			root = body
		}
	case len(b.Entry) == 0:
		root.put(nil, keyJSON)
	}
	for _, e := range b.Entry {
		path := splitPath(e.Name)
		switch {
		case e.Value == "{body}":
			if body != nil {
				root.put(path, body.append)
			}
		case e.Value == "{key}", e.Value == "{value}":
			root.put(path, keyJSON)
		case strings.Contains(e.Value, "{"):
			m.putText(root, path, e.Value)
		default:
			root.constant(path, plain(e.Value))
		}
	}
	return root
}

// putText puts a text of the manifest, filled in for the row.
func (m *modification) putText(root *shape, path []string, text string) {
	text = strings.NewReplacer("{method}", m.w.Method, "{match}", m.t.matchName(m.batch)).Replace(text)
	url := m.t.pathOf(m.batch, m.w.Path, "")
	sameURL := m.batch.Op == connectors.Insert || !strings.Contains(m.w.Path, "{key}") && !strings.Contains(m.w.Path, "{value}")
	if sameURL {
		text = strings.ReplaceAll(text, "{url}", url)
	}
	if !strings.Contains(text, "{") {
		root.constant(path, appendString(nil, text))
		return
	}
	root.put(path, func(dst []byte, p *place) ([]byte, bool, error) {
		fill := strings.NewReplacer("{url}", m.t.pathOf(m.batch, m.w.Path, p.key), "{key}", p.key, "{value}", p.key, "{row}", itoa(p.at))
		return appendString(dst, fill.Replace(text)), true, nil
	})
}

// names tells whether this of the row stands in its entry.
func (b *WriteBatch) names(what string) bool {
	return slices.ContainsFunc(b.Entry, func(p Pair) bool { return strings.Contains(p.Value, what) })
}

// name of a row in answers.
func (m *modification) name(i, at int) string {
	key := ""
	switch {
	case m.batch.Op == connectors.Upsert:
		_, v := matchOf(m.batch, i)
		key, _ = m.t.keyText(v)
	case keyed(m.batch.Op):
		key, _ = m.t.keyText(m.batch.Rows[i].Key[0])
	}
	return strings.NewReplacer("{key}", key, "{value}", key, "{row}", itoa(at)).Replace(m.many.As)
}

// plain is a manifest's own value in a body.
func plain(text string) []byte {
	switch text {
	case "true", "false", "null":
		return []byte(text)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
		return []byte(text)
	}
	return appendString(nil, text)
}
