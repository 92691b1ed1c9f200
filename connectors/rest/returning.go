// RETURNING: the record as the API has it after a write.

package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
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
// has not all fields, from a second reading, which it returns.
func (t *table) returning(ctx context.Context, batch *connectors.Batch, w *Write, i int, row *written) (*fetchedRecord, error) {
	out, columns := batch.Returning, batch.ReturningColumns
	if row.before != nil {
		_, _, err := t.emit(out, columns, row.before, true)
		return nil, err
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
	if answer := row.answer(w); answer != nil {
		done, found, err := t.emit(out, columns, answer, t.src.m.Get == nil)
		if err != nil || done {
			return nil, err
		}
		if key.IsNull() && found != "" {
			key = pushdown.Value{V: found}
		}
	}
	if key.IsNull() {
		return nil, t.protocol(row.resp.Request, "the answer to the write has no key of the record", nil)
	}
	again, err := t.readRecord(ctx, batch, key)
	if err != nil {
		return nil, err
	}
	if again == nil {
		return nil, t.protocol(row.resp.Request, "the record just written is not there", nil)
	}
	_, _, err = t.emit(out, columns, again, true)
	return again, err
}

// answer is the record in the answer to the row's write; nil: there is none.
func (row *written) answer(w *Write) *fetchedRecord {
	if w.Answer == "none" || len(row.body) == 0 {
		return nil
	}
	return &fetchedRecord{row.resp, row.body, w.Item}
}

// record gives row i's record to batch.Record, for the cache, if what came has
// every field of it. read is the record if it was read after the write.
func (t *table) record(batch *connectors.Batch, w *Write, i int, row *written, read *fetchedRecord) {
	if batch.Record == nil || batch.Op == connectors.Delete {
		return
	}
	from := read
	if from == nil {
		from = row.answer(w)
	}
	if from == nil {
		return
	}
	// What does not fit is not kept; the write has gone well.
	done, _, err := t.emit(batch.Record, batch.RecordColumns, from, read != nil)
	batch.Recorded[i] = done && err == nil
}

// emit gives one record's tuple to out. Unless final, a record without all of
// the columns' fields gives none but its key, if it has that: not done.
func (t *table) emit(out *rows.Builder, columns []int, from *fetchedRecord, final bool) (done bool, key string, err error) {
	// Not counted as a row that was read.
	s := &scan{t: t, out: out, q: &connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: columns}},
		l: &list{paging: &Paging{}}, request: from.resp.Request}
	s.bind()
	if err := s.reader.readOne(from.body, splitPath(from.item)); err != nil {
		return false, "", t.protocol(from.resp.Request, err.Error(), nil)
	}
	if !final {
		for i := range s.emit {
			if s.emit[i].col != nil && s.reader.spans[s.emit[i].slot].none() {
				return false, s.keyOf(0), nil
			}
		}
	}
	return true, "", s.hand()
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
