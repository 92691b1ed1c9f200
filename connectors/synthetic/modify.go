package synthetic

// Writes into stores.

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// epoch2000 is 2000-01-01 in microseconds since 1970-01-01.
const epoch2000 = 946684800_000000

// Modify writes the rows, so many a call; a refused one does not stop the others.
func (t *table) Modify(ctx context.Context, batch *connectors.Batch) error {
	if t.storeTable == nil {
		return &connectors.Error{Class: connectors.NotSupported, API: apiName,
			Message: fmt.Sprintf("object %q is read-only", t.object()),
			Detail:  "Its rows are generated.",
			Hint:    "A table with the option store keeps what is inserted."}
	}
	if (batch.Op == connectors.Update || batch.Op == connectors.Delete) && len(t.key) == 0 {
		return &connectors.Error{Class: connectors.NotSupported, API: apiName,
			Message: fmt.Sprintf("rows of store %q cannot be addressed", t.store.name),
			Hint:    "Set the option key 'true' on the column that identifies a row."}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if batch.Again != "" && (int64(len(batch.Rows)) > t.batchRows || requestKey(batch, 0, len(batch.Rows)) != batch.Again) {
		return &connectors.Error{Class: connectors.NotSupported, API: apiName, Message: "the call cannot be made again as it was"}
	}
	batch.Results = make([]connectors.Result, len(batch.Rows))
	batch.Recorded = make([]bool, len(batch.Rows))
	for first := 0; first < len(batch.Rows); {
		end := int(min(int64(first)+t.batchRows, int64(len(batch.Rows))))
		if err := t.call(ctx, batch, first, end); err != nil {
			return err
		}
		first = end
	}
	return nil
}

// RequestKeys tells which rows a call has.
func (t *table) RequestKeys(batch *connectors.Batch) ([]string, error) {
	keys := make([]string, len(batch.Rows))
	for i := range keys {
		first := int64(i) / t.batchRows * t.batchRows
		keys[i] = requestKey(batch, int(first), int(min(first+t.batchRows, int64(len(keys)))))
	}
	return keys, nil
}

func requestKey(batch *connectors.Batch, first, end int) string {
	n := end - first
	if n == 1 {
		n = 0
	}
	return connectors.RequestKey(batch.IdempotencyKey, batch.FirstRow+first, n)
}

// call is one request: the rows from first up to end.
func (t *table) call(ctx context.Context, batch *connectors.Batch, first, end int) error {
	batch.Stats.Calls.Add(1)
	if err := sleep(ctx, t.latency); err != nil {
		return err
	}
	if t.writesFail && t.writeError != connectors.UnknownOutcome {
		return &connectors.Error{Class: t.writeError, API: apiName, Message: "the write failed",
			Detail: "The option write_error says so."}
	}
	if err := t.hang(ctx, hangBefore); err != nil {
		return err
	}
	a, err := t.answer(batch, first, end)
	if err != nil {
		return err
	}
	if err := t.hang(ctx, hangApplied); err != nil {
		return err
	}
	if t.writesFail {
		return &connectors.Error{Class: connectors.UnknownOutcome, API: apiName, Message: "no answer came to the write",
			Detail: "The option write_error says so."}
	}
	return t.give(batch, first, a)
}

// hang waits for the caller to give up, if writes hang at this point.
func (t *table) hang(ctx context.Context, at hangPoint) error {
	s := t.store
	s.mu.Lock()
	if s.hung != t.hangWrite {
		s.hung, s.hangs = t.hangWrite, 0
	}
	hangs := t.hangWrite == at && (!t.hangOnce || s.hangs == 0)
	if hangs {
		s.hangs++
	}
	s.mu.Unlock()
	if !hangs {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// answer does what a request asks for; or, if the store is idempotent and has
// had it before, only says what it said then.
func (t *table) answer(batch *connectors.Batch, first, end int) (*answer, error) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := t.addIndexes(); err != nil {
		return nil, err
	}
	key, text := "", ""
	if t.idempotent && batch.IdempotencyKey != "" {
		key = requestKey(batch, first, end)
		text = t.requestText(batch, first, end)
		if before := s.answers[key]; before != nil && before.request != text {
			return nil, &connectors.Error{Class: connectors.Conflict, API: apiName,
				Message: "the idempotency key was used for another request"}
		} else if before != nil {
			return before, nil
		}
	}
	a := &answer{request: text, records: make([]*record, end-first), results: make([]connectors.Result, end-first)}
	before := make([]*record, end-first)
	for i := range a.results {
		a.records[i], before[i], a.results[i] = t.modifyRow(batch, &batch.Rows[first+i])
		if t.atomic && a.results[i].Outcome == connectors.Refused {
			s.undo(batch.Op, a, before, i)
			break
		}
	}
	if key != "" {
		s.remember(key, a)
	}
	return a, nil
}

// give hands an answer to the batch.
func (t *table) give(batch *connectors.Batch, first int, a *answer) error {
	for i, res := range a.results {
		batch.Results[first+i] = res
		if res.Outcome != connectors.Applied {
			continue
		}
		rec := a.records[i]
		if batch.Record != nil && batch.Op != connectors.Delete {
			for _, c := range batch.RecordColumns {
				batch.Record.Value(t.valueOf(rec, c))
			}
			batch.Recorded[first+i] = batch.Record.EndRow() == nil
		}
		if len(batch.ReturningColumns) == 0 {
			continue
		}
		for _, c := range batch.ReturningColumns {
			batch.Returning.Value(t.valueOf(rec, c))
		}
		if err := batch.Returning.EndRow(); err != nil {
			return t.rowError(err, batch.ReturningColumns)
		}
	}
	return nil
}

// Upserts says whether the store upserts by these columns.
func (t *table) Upserts(match []int) bool {
	if t.storeTable == nil || !t.upsert {
		return false
	}
	return t.matchIndex(match) != nil
}

// matchIndex is the key or the unique column that these columns are, as fields;
// nil: they are neither, or the store sets one of them itself.
func (t *table) matchIndex(match []int) []int {
	for _, c := range match {
		if t.rules[c].computed != "" {
			return nil
		}
	}
	if len(match) == len(t.key) && !slices.ContainsFunc(t.key, func(c int) bool { return !slices.Contains(match, c) }) {
		return t.fieldsOf(t.key)
	}
	if len(match) == 1 && t.rules[match[0]].unique {
		return t.fieldsOf(match)
	}
	return nil
}

// undo takes back what a call has written up to its refused row, and tells the
// other rows so.
func (s *store) undo(op connectors.Operation, a *answer, before []*record, culprit int) {
	for i := culprit - 1; i >= 0; i-- {
		switch {
		case a.results[i].Outcome != connectors.Applied:
		case op == connectors.Delete:
			s.insert(before[i])
		case before[i] != nil:
			s.replace(a.records[i], before[i])
		default:
			s.remove(a.records[i])
		}
	}
	for i := range a.results {
		if i != culprit {
			a.records[i] = nil
			a.results[i] = connectors.Result{Outcome: connectors.Refused, Bystander: true, Err: &connectors.Error{Class: a.results[culprit].Err.Class,
				API: apiName, Message: "not written, because another row of the call was refused"}}
		}
	}
}

func refused(err *connectors.Error) (now, before *record, res connectors.Result) {
	return nil, nil, connectors.Result{Outcome: connectors.Refused, Err: err}
}

// modifyRow writes one row and returns the record as it is now, or was before
// it was deleted; and what was there before.
func (t *table) modifyRow(batch *connectors.Batch, row *connectors.Row) (now, old *record, res connectors.Result) {
	s := t.store
	switch batch.Op {
	case connectors.Insert:
	case connectors.Upsert:
		var err *connectors.Error
		if old, err = t.matching(batch, row); err != nil {
			return refused(err)
		}
	default:
		fields := t.fieldsOf(batch.KeyColumns)
		ix := s.indexes[indexName(fields)]
		if ix == nil {
			return refused(&connectors.Error{Class: connectors.NotSupported, API: apiName,
				Message: fmt.Sprintf("rows of store %q cannot be addressed by %s", s.name, s.fieldNames(fields))})
		}
		if k, ok := s.keyString(row.Key, fields); ok {
			old = ix.byKey[k]
		}
		if old == nil {
			return nil, nil, connectors.Result{Outcome: connectors.NotFound}
		}
	}
	if batch.Op == connectors.Delete {
		s.remove(old)
		return old, old, connectors.Result{Outcome: connectors.Applied}
	}
	rec := &record{values: make([]pushdown.Value, len(s.fields))}
	if old != nil {
		copy(rec.values, old.values)
	}
	given := make([]bool, len(t.spec.Columns))
	for i, c := range batch.Columns {
		if t.rules[c].computed != "" {
			return refused(&connectors.Error{Class: connectors.NotSupported, API: apiName, Column: t.spec.Columns[c].Name,
				Message: t.spec.Columns[c].Field() + ": Is computed and cannot be written"})
		}
		given[c] = true
		rec.values[t.fields[c]] = row.Values[i]
	}
	if old != nil {
		t.touch(rec)
	}
	if old == nil {
		if s.live >= maxStoreRows {
			return refused(&connectors.Error{Class: connectors.LimitExceeded, API: apiName,
				Message: fmt.Sprintf("store %q is full", s.name), Detail: fmt.Sprintf("It holds %d rows.", s.live)})
		}
		t.fillIn(rec, given)
	}
	for c, col := range t.spec.Columns {
		if old != nil && !given[c] {
			continue
		}
		if err := t.rules[c].refuse(col, rec.values[t.fields[c]]); err != nil {
			return refused(err)
		}
	}
	if ix := s.conflict(rec, old); ix != nil {
		e := &connectors.Error{Class: connectors.UniqueViolation, API: apiName,
			Message: s.fieldNames(ix.fields) + ": Value must be unique"}
		for c, f := range t.fields {
			if f == ix.fields[0] && len(ix.fields) == 1 {
				e.Column = t.spec.Columns[c].Name
			}
		}
		return refused(e)
	}
	if old != nil {
		s.replace(old, rec)
	} else {
		s.insert(rec)
	}
	return rec, old, connectors.Result{Outcome: connectors.Applied, Created: batch.Op == connectors.Upsert && old == nil}
}

// matching finds the record that an upsert changes; nil: there is none.
func (t *table) matching(batch *connectors.Batch, row *connectors.Row) (*record, *connectors.Error) {
	fields := t.matchIndex(batch.MatchColumns)
	if !t.upsert || fields == nil {
		return nil, &connectors.Error{Class: connectors.NotSupported, API: apiName,
			Message: fmt.Sprintf("store %q does not upsert by %s", t.store.name, t.store.fieldNames(t.fieldsOf(batch.MatchColumns)))}
	}
	// The values in the index's order.
	parts := make([]pushdown.Value, len(fields))
	for i, f := range fields {
		parts[i] = row.Values[slices.IndexFunc(batch.Columns, func(c int) bool { return t.fields[c] == f })]
	}
	k, ok := t.store.keyString(parts, fields)
	if !ok {
		return nil, nil
	}
	return t.store.indexes[indexName(fields)].byKey[k], nil
}

// fillIn gives a new record its computed values and defaults.
func (t *table) fillIn(rec *record, given []bool) {
	s := t.store
	s.next++
	for c, r := range t.rules {
		if given[c] {
			continue
		}
		v := r.fallback
		switch kind := t.types[c].Kind; r.computed {
		case "sequence":
			v.V = s.next
			if kind == pushdown.Numeric || kind == pushdown.Text || kind == pushdown.Varchar {
				v.V = strconv.FormatInt(s.next, 10)
			}
		case "now", "modified":
			v.V = now()
		case "uuid":
			v.V = uuidOf(uint64(s.next))
		}
		rec.values[t.fields[c]] = v
	}
}

// uuidOf makes version 4's form out of a number.
func uuidOf(n uint64) string {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(mix(n+uint64(i/8)<<40) >> (8 * (i % 8)))
	}
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	h := hex.EncodeToString(raw[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// conflict is the index in which another record than old has rec's key.
func (s *store) conflict(rec, old *record) *index {
	for _, ix := range s.indexes {
		if k, ok := s.keyOf(rec.values, ix.fields); ok {
			if other := ix.byKey[k]; other != nil && other != old {
				return ix
			}
		}
	}
	return nil
}

func (s *store) insert(rec *record) {
	rec.slot = len(s.records)
	s.records = append(s.records, rec)
	s.note(rec.slot, nil)
	s.live++
	s.enter(rec)
}

func (s *store) replace(old, rec *record) {
	s.leave(old)
	rec.slot = old.slot
	s.records[rec.slot] = rec
	s.note(rec.slot, old)
	s.enter(rec)
}

// remove deletes a record, and closes the gaps when they are most of the list.
func (s *store) remove(old *record) {
	s.leave(old)
	s.records[old.slot] = nil
	s.note(old.slot, old)
	s.live--
	if int64(len(s.records)) < 2*s.live+1024 || len(s.recent) > 0 {
		return
	}
	kept := make([]*record, 0, s.live)
	for _, r := range s.records {
		if r != nil {
			r.slot = len(kept)
			kept = append(kept, r)
		}
	}
	s.records = kept
}

func (s *store) enter(rec *record) {
	for _, ix := range s.indexes {
		if k, ok := s.keyOf(rec.values, ix.fields); ok {
			ix.byKey[k] = rec
		}
	}
}

func (s *store) leave(rec *record) {
	for _, ix := range s.indexes {
		if k, ok := s.keyOf(rec.values, ix.fields); ok {
			delete(ix.byKey, k)
		}
	}
}

// Requests says in words what Modify would do.
func (t *table) Requests(batch *connectors.Batch) ([]string, error) {
	list := make([]string, 0, len(batch.Rows))
	for i := range batch.Rows {
		list = append(list, t.requestText(batch, i, i+1))
	}
	return list, nil
}

// requestText is a request in words: "PATCH contacts/7 name=x".
func (t *table) requestText(batch *connectors.Batch, first, end int) string {
	verb := map[connectors.Operation]string{connectors.Insert: "POST", connectors.Update: "PATCH",
		connectors.Delete: "DELETE", connectors.Upsert: "PUT"}[batch.Op]
	var b []byte
	for n, row := range batch.Rows[first:end] {
		if n > 0 {
			b = append(b, '\n')
		}
		b = append(append(append(b, verb...), ' '), t.object()...)
		for i, c := range batch.KeyColumns {
			b = append(append(b, '/'), pushdown.AppendText(nil, row.Key[i], t.types[c])...)
		}
		for i, c := range batch.Columns {
			b = append(b, ' ')
			b = append(append(b, t.spec.Columns[c].Field()...), '=')
			if row.Values[i].V == nil {
				b = append(b, "NULL"...)
				continue
			}
			b = append(b, pushdown.AppendText(nil, row.Values[i], t.types[c])...)
		}
	}
	return string(b)
}
