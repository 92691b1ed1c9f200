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
	if w == nil || w.Batch == nil {
		return 0
	}
	return w.Batch.Max * w.Batch.Parallel
}

// chunk is the rows of a batch from first up to end, and what becomes of each.
type chunk struct {
	first, end int
	// rows are those to be sent, by their number in the batch.
	rows []int
	res  []written // by row - first
	// single: the API takes no such requests; its rows were sent one by one.
	single bool
	err    error
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
	size := 0
	seen := map[string]bool{}
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
			entry, err := m.entry(i, len(c.rows))
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
			size += len(entry) + 1
			if s := m.many.Separator; s != "" && m.many.Param != "" && strings.Contains(string(entry), s) {
				size = m.many.MaxBytes + 1 // among others it would be two keys
			}
			if size > m.many.MaxBytes && len(c.rows) > 0 {
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

// send writes a chunk's rows. An error means that what became of those without
// an outcome is not known, or that nothing more can be written.
func (m *modification) send(ctx context.Context, c *chunk) error {
	pending := c.rows
	if len(pending) > 1 && m.batch.Op == connectors.Delete && len(m.batch.ReturningColumns) > 0 {
		// What is deleted can be returned only if it was read before.
		pending = nil
		for _, i := range c.rows {
			row := &c.res[i-c.first]
			var err error
			if row.before, err = m.t.readRecord(ctx, m.batch, m.batch.Rows[i].Key[0]); err != nil {
				return err
			}
			if row.before == nil {
				row.result.Outcome = connectors.NotFound
				continue
			}
			pending = append(pending, i)
		}
	}
	for len(pending) > 1 || len(pending) == 1 && m.alone() {
		req, err := m.request(pending)
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

// request for these rows, which have been seen to be sendable.
func (m *modification) request(rows []int) (*transport.Request, error) {
	b := m.many
	req := &transport.Request{Method: b.Method, Path: m.t.pathOf(m.batch, b.Path, ""), Write: true, Stats: m.batch.Stats, Header: http.Header{}}
	if h := m.w.IdempotencyHeader; h != "" && m.batch.IdempotencyKey != "" {
		// Sent again without some of its rows, it is another write.
		req.Header.Set(h, m.batch.IdempotencyKey+"-"+itoa(rows[0])+"-"+itoa(len(rows)))
	}
	list := []byte{'['}
	keys := make([]string, len(rows))
	for n, i := range rows {
		entry, err := m.entry(i, n)
		if err != nil {
			return nil, err
		}
		keys[n] = string(entry)
		if n > 0 {
			list = append(list, ',')
		}
		list = append(list, entry...)
	}
	list = append(list, ']')
	if b.Param != "" {
		req.Query = url.Values{b.Param: keys}
		if b.Separator != "" {
			req.Query.Set(b.Param, strings.Join(keys, b.Separator))
		}
		for _, p := range b.Extra {
			req.Query.Set(p.Name, p.Value)
		}
		return req, nil
	}
	req.Header.Set("Content-Type", "application/json")
	if b.List == "" {
		req.Body = list
		return req, nil
	}
	root := &member{}
	for _, p := range b.Extra {
		root.put(splitPath(p.Name), plain(p.Value))
	}
	root.put(splitPath(b.List), list)
	req.Body = root.json(nil)
	return req, nil
}

// entry is what stands in the list for row i; its position there is at. With
// param it is the key as it is. An error is a value that cannot be sent.
func (m *modification) entry(i, at int) ([]byte, error) {
	t, b := m.t, m.many
	row := &m.batch.Rows[i]
	key, keyJSON := "", []byte(nil)
	if m.batch.Op != connectors.Insert {
		var column int
		var v pushdown.Value
		if m.batch.Op != connectors.Upsert {
			column, v = t.key, row.Key[0]
		} else if column, v = matchOf(m.batch, i); b.names("{url}") && strings.Contains(m.w.Path, "{value}") {
			if err := t.checkValue(column, v); err != nil {
				return nil, err
			}
		}
		key, _ = t.keyText(v)
		var err error
		if keyJSON, err = t.column(column).jsonValue(v); err != nil {
			return nil, &connectors.Error{Class: connectors.CheckViolation, API: t.src.m.Name, Column: t.column(column).spec.Name,
				Message: fmt.Sprintf("the key %q cannot be sent: %v", shortText(key), err)}
		}
	}
	if b.Param != "" {
		return []byte(key), nil
	}
	var body *member
	if m.batch.Op != connectors.Delete {
		var err error
		if body, err = t.bodyOf(m.batch, m.w, i, false); err != nil {
			return nil, err
		}
	}
	if len(b.Entry) == 0 && body == nil {
		return keyJSON, nil
	}
	root := body
	if body == nil || b.names("{body}") {
		root = &member{}
	}
	fill := strings.NewReplacer("{method}", m.w.Method, "{url}", t.pathOf(m.batch, m.w.Path, key), "{key}", key,
		"{match}", t.matchName(m.batch), "{value}", key, "{row}", itoa(at))
	for _, p := range b.Entry {
		var raw []byte
		switch {
		case p.Value == "{body}":
			if body == nil {
				continue
			}
			raw = body.json(nil)
		case p.Value == "{key}", p.Value == "{value}":
			raw = keyJSON
		case strings.Contains(p.Value, "{"):
			raw = appendString(nil, fill.Replace(p.Value))
		default:
			raw = plain(p.Value)
		}
		root.put(splitPath(p.Name), raw)
	}
	return root.json(nil), nil
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
