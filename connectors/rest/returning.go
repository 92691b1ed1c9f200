// RETURNING: the record as the API has it after a write.

package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// fetchedRecord is an answer that holds one record.
type fetchedRecord struct {
	resp *transport.Response
	body []byte
	item string
}

// readRecord reads a record by its key; nil: the API does not have it, or no
// way to read it is known.
func (t *table) readRecord(ctx context.Context, batch *connectors.Batch, key pushdown.Value) (*fetchedRecord, error) {
	get := t.src.m.Get
	text, ok := t.keyText(key)
	if !ok {
		return nil, nil
	}
	if get == nil || get.Off {
		return nil, &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: "RETURNING is not possible here", Detail: fmt.Sprintf("The manifest %q does not say how to get one record.", t.src.m.File)}
	}
	req := &transport.Request{Method: get.Method, Path: t.path(get.Path, text), Stats: batch.Stats}
	resp, body, err := t.send(ctx, req)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the record: %w", err)
	case resp.Status == http.StatusNotFound || resp.Status == http.StatusGone:
		return nil, nil
	case !succeeded(resp.Status):
		return nil, t.refusal(resp, body, false)
	}
	return &fetchedRecord{resp, body, get.Item}, nil
}

// returning gives row i's tuple from the answer to its write, or, where that
// has not all fields, from a second reading.
func (t *table) returning(ctx context.Context, batch *connectors.Batch, w *Write, i int, row *written) error {
	resp, body := row.resp, row.body
	if before := row.before; before != nil {
		_, err := t.emit(batch, before.resp, before.body, before.item, true)
		return err
	}
	key := pushdown.Value{}
	if batch.Op == connectors.Update {
		key = batch.Rows[i].Key[0]
		for j, c := range batch.Columns {
			if c == t.key {
				key = batch.Rows[i].Values[j]
			}
		}
	}
	if w.Answer != "none" && len(body) > 0 {
		found, err := t.emit(batch, resp, body, w.Item, t.src.m.Get == nil)
		if err != nil {
			return err
		}
		if found == "" {
			return nil
		}
		if key.IsNull() {
			key = pushdown.Value{V: found}
		}
	}
	if key.IsNull() {
		return t.protocol(resp.Request, "the answer to the write has no key of the record", nil)
	}
	again, err := t.readRecord(ctx, batch, key)
	if err != nil {
		return err
	}
	if again == nil {
		return t.protocol(resp.Request, "the record just written is not there", nil)
	}
	_, err = t.emit(batch, again.resp, again.body, again.item, true)
	return err
}

// emit gives one record's tuple. Unless final, a record without all fields
// gives none but its key, for a second reading.
func (t *table) emit(batch *connectors.Batch, resp *transport.Response, body []byte, item string, final bool) (key string, err error) {
	s := &scan{t: t, out: batch.Returning, q: &connectors.Query{Stats: batch.Stats, Request: pushdown.Request{Columns: batch.ReturningColumns}},
		l: &list{paging: &Paging{}}, request: resp.Request}
	s.bind()
	if err := s.reader.readOne(body, splitPath(item)); err != nil {
		return "", t.protocol(resp.Request, err.Error(), nil)
	}
	if !final {
		for i := range s.emit {
			if s.emit[i].col != nil && s.reader.spans[s.emit[i].slot].none() {
				return s.keyOf(0), nil
			}
		}
	}
	// Not counted as a row that was read.
	s.q.Stats = &connectors.Stats{}
	return "", s.hand()
}

// readOne takes an answer with one record apart.
func (r *pageReader) readOne(body []byte, item []string) error {
	r.s = scanner{page: body}
	r.spans = make([]span, r.width)
	r.rows = 1
	if r.s.space() != '{' {
		return r.s.bad("an object")
	}
	var err error
	if len(item) == 0 {
		err = r.s.object(r.record, r.spans, nil, 0)
	} else {
		outer := newTrie()
		outer.add(item, 0)
		found := false
		var dummy [1]span
		err = r.s.object(outer, dummy[:], func(int) (bool, error) {
			if r.s.page[r.s.pos] != '{' {
				return false, r.s.bad("a record, which is an object")
			}
			found = true
			return true, r.s.object(r.record, r.spans, nil, 0)
		}, 0)
		if err == nil && !found {
			return errors.New("it has no record")
		}
	}
	if err != nil {
		return err
	}
	if r.s.space(); r.s.pos != len(body) {
		return r.s.bad("the end")
	}
	return nil
}
