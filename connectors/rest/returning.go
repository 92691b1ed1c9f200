// RETURNING: the record as the API has it after a write.

package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

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
func (m *modification) readRecord(ctx context.Context, key pushdown.Value) (*fetchedRecord, error) {
	t, batch := m.t, m.batch
	get := t.src.m.Get
	text, ok := t.keyText(key)
	if !ok {
		return nil, nil
	}
	if t.byList() {
		found, err := t.readRecords(ctx, batch.Stats, []pushdown.Value{key}, m.readColumns())
		if err != nil {
			return nil, err
		}
		return found[text], nil
	}
	if get == nil || get.Off {
		return nil, &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: "RETURNING is not possible here", Detail: fmt.Sprintf("The manifest %q does not say how to get one record.", t.src.m.File)}
	}
	query := url.Values{}
	if f := get.Fields; f != nil {
		p := &parameters{query: query}
		p.list(f, t.wantedAs(f, batch.ReturningColumns, batch.RecordColumns))
	}
	if expand := t.expansions(batch.ReturningColumns); len(expand) > 0 {
		query[t.src.m.Read.Expand.Param] = expand
	}
	return m.get(ctx, text, query)
}

// get reads a record by the key that stands in its path; nil: the API does not have
// it.
func (m *modification) get(ctx context.Context, key string, query url.Values) (*fetchedRecord, error) {
	t, get := m.t, m.t.src.m.Get
	req := &transport.Request{Method: get.Method, Path: t.path(get.Path, key), Query: query, Stats: m.batch.Stats}
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
func (m *modification) returning(ctx context.Context, i int, row *written) (*fetchedRecord, error) {
	t, batch := m.t, m.batch
	if m.toReturn == nil {
		m.toReturn = t.recordReader(batch.Returning, batch.ReturningColumns)
	}
	if row.before != nil {
		_, _, err := m.toReturn.emit(row.before, true)
		return nil, err
	}
	key := m.keyAfter(i, row)
	if answer, ok := row.answer(m.w); ok {
		done, found, err := m.toReturn.emit(&answer, t.src.m.Get == nil || m.complete(row))
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
	text, _ := t.keyText(key)
	again := m.readAgain[text]
	if again == nil {
		var err error
		if again, err = m.readRecord(ctx, key); err != nil {
			return nil, err
		}
	}
	if again == nil {
		return nil, t.protocol(row.resp.Request, "the record just written is not there", nil)
	}
	_, _, err := m.toReturn.emit(again, true)
	return again, err
}

// complete tells whether the answer to the row's write has all there is of a record.
func (m *modification) complete(row *written) bool {
	return m.w.Complete && (m.batch.Op == connectors.Insert || row.result.Created)
}

// answer is the record in the answer to the row's write; false: there is none.
func (row *written) answer(w *Write) (fetchedRecord, bool) {
	if w.Answer == "none" || len(row.body) == 0 {
		return fetchedRecord{}, false
	}
	return fetchedRecord{row.resp, row.body, w.Item}, true
}

// record gives row i's record to batch.Record, for the cache, if what came has
// every field of it. read is the record if it was read after the write.
func (m *modification) record(i int, row *written, read *fetchedRecord) {
	batch := m.batch
	if batch.Record == nil || batch.Op == connectors.Delete {
		return
	}
	if m.toRecord == nil {
		m.toRecord = m.t.recordReader(batch.Record, batch.RecordColumns)
	}
	from := read
	if from == nil {
		answer, ok := row.answer(m.w)
		if !ok {
			return
		}
		from = &answer
	}
	// What does not fit is not kept; the write has gone well.
	done, _, err := m.toRecord.emit(from, read != nil || m.complete(row))
	batch.Recorded[i] = done && err == nil
}

// recordReader gives single records' tuples to a builder. It is not safe for
// concurrent use.
type recordReader struct {
	scan
	item  string
	outer *trie // finds the record at item; nil: it is the answer
}

func (t *table) recordReader(out *rows.Builder, columns []int) *recordReader {
	// Not counted as rows that were read.
	r := &recordReader{scan: scan{t: t, out: out, q: &connectors.Query{Stats: &connectors.Stats{}, Request: pushdown.Request{Columns: columns}},
		l: &list{paging: &Paging{}}}}
	r.bind()
	return r
}

// emit gives one record's tuple. Unless final, a record without all of the columns'
// fields gives none but its key, if it has that: not done.
func (r *recordReader) emit(from *fetchedRecord, final bool) (done bool, key string, err error) {
	r.request = from.resp.Request
	if r.item != from.item {
		if r.item, r.outer = from.item, nil; r.item != "" {
			r.outer = newTrie()
			r.outer.add(splitPath(r.item), 0)
		}
	}
	if err := r.reader.readOne(from.body, r.outer); err != nil {
		return false, "", r.t.protocol(r.request, err.Error(), nil)
	}
	if !final {
		for i := range r.scan.emit {
			if e := &r.scan.emit[i]; e.col != nil && e.col.field.Missing != "absent" && r.reader.spans[e.slot].none() {
				return false, r.keyOf(0), nil
			}
		}
	}
	return true, "", r.hand()
}

// readOne takes an answer with one record apart, which stands where outer finds
// it; nil: it is the answer.
func (r *pageReader) readOne(body []byte, outer *trie) error {
	r.s = scanner{page: body, key: r.s.key}
	r.spans = slices.Grow(r.spans[:0], r.width)[:r.width]
	clear(r.spans)
	r.rows = 1
	if r.s.space() != '{' {
		return r.s.bad("an object")
	}
	record := func() error {
		start := r.s.pos
		err := r.s.object(r.record, r.spans, nil, 0)
		r.noteWhole(0, start)
		return err
	}
	var err error
	if outer == nil {
		err = record()
	} else {
		found := false
		var dummy [1]span
		err = r.s.object(outer, dummy[:], func(int) (bool, error) {
			if r.s.page[r.s.pos] != '{' {
				return false, r.s.bad("a record, which is an object")
			}
			found = true
			return true, record()
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
