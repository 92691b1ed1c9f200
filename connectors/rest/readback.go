// Reading many records by their keys, with list requests: what RETURNING needs of
// an API whose answers to writes have no records.

package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// byList tells whether single records are read by list requests, too.
func (t *table) byList() bool {
	get := t.src.m.Get
	return get != nil && !get.Off && get.ByList && t.keyCol != nil
}

// readRecords reads records by their keys; those that are not there are not in the
// answer, whose keys are keys as text.
func (t *table) readRecords(ctx context.Context, stats *connectors.Stats, keys []pushdown.Value, columns []int) (map[string]*fetchedRecord, error) {
	out := make(map[string]*fetchedRecord, len(keys))
	for some := range slices.Chunk(keys, max(1, t.src.filterLists())) {
		if err := t.readSome(ctx, stats, some, columns, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *table) readSome(ctx context.Context, stats *connectors.Stats, keys []pushdown.Value, columns []int, out map[string]*fetchedRecord) error {
	q := &connectors.Query{Request: pushdown.Request{Columns: columns}, Stats: stats}
	l := t.decide(q.Request, nil)
	w := newWriter(t.src.m.Filter, l.seek, true)
	n := t.keyCol.in(keys, isTrue, pushdown.Collation{Name: "C", C: true, Deterministic: true}, t.src.filterLists())
	if n.kind == none {
		return nil
	}
	if t.keep(l, w, n).Verdict == pushdown.Local {
		if len(keys) > 1 { // too long for one filter
			half := len(keys) / 2
			if err := t.readSome(ctx, stats, keys[:half], columns, out); err != nil {
				return err
			}
			return t.readSome(ctx, stats, keys[half:], columns, out)
		}
		return t.protocol("", "a list cannot be filtered by key, as get.by_list of the manifest wants it", nil)
	}
	l.asks, l.overlap = w.result()
	for ask := range l.asks {
		pager := newPager(l.paging, 0)
		for pos := (*position)(nil); ; {
			page := t.fetch(ctx, t.request(l, q, ask, pos), new(bytes.Buffer))
			if page.err != nil {
				return page.err
			}
			stats.Pages.Add(1)
			facts := pageFacts{cursor: textAt(page.body.Bytes(), l.paging.Cursor), link: page.resp.Link, header: page.resp.Header}
			for _, record := range elements(memberAt(page.body.Bytes(), t.items)) {
				out[textAt(record, t.keyField.Path)] = &fetchedRecord{resp: page.resp, body: record}
				facts.rows++
			}
			var err error
			if pos, err = pager.next(&facts); err != nil {
				return t.protocol(page.request, err.Error(), nil)
			}
			if pos == nil {
				break
			}
		}
	}
	return nil
}

// textAt is the text, or number, at a dotted path; empty: there is none.
func textAt(raw []byte, path string) string {
	v := memberAt(raw, path)
	if path == "" || isNothing(v) {
		return ""
	}
	if v[0] == '"' {
		var text string
		if json.Unmarshal(v, &text) != nil {
			return ""
		}
		return text
	}
	return strings.TrimSpace(string(v))
}

// readBack reads what became of a chunk's rows for RETURNING, all at once.
func (m *modification) readBack(ctx context.Context, c *chunk) error {
	m.readAgain = nil
	if !m.t.byList() || m.w.Answer != "none" || m.batch.Op == connectors.Delete {
		return nil
	}
	var keys []pushdown.Value
	for i := range c.res {
		if row := &c.res[i]; row.result.Outcome == connectors.Applied {
			if key := m.keyAfter(c.first+i, row); !key.IsNull() {
				keys = append(keys, key)
			}
		}
	}
	var err error
	m.readAgain, err = m.t.readRecords(ctx, m.batch.Stats, keys, m.readColumns())
	return err
}

// readColumns are those that are wanted of a record that is read back.
func (m *modification) readColumns() []int {
	columns := slices.Clone(m.batch.ReturningColumns)
	if m.batch.Record != nil {
		columns = append(columns, m.batch.RecordColumns...)
	}
	return columns
}

// keyAfter is the key of row i as it is after the write; NULL: not known.
func (m *modification) keyAfter(i int, row *written) pushdown.Value {
	switch m.batch.Op {
	case connectors.Update:
		for j, c := range m.batch.Columns {
			if c == m.t.key {
				return m.batch.Rows[i].Values[j]
			}
		}
		return m.batch.Rows[i].Key[0]
	case connectors.Insert, connectors.Upsert:
		if text := textAt(row.body, m.w.AnswerKey); text != "" {
			return pushdown.Value{V: text}
		}
	}
	return pushdown.Value{}
}

// keyMade is the key of row i, if the answer to its request has that alone; nil: it has not.
func (m *modification) keyMade(i int, row *written) []string {
	if m.w.AnswerKey == "" || row.result.Outcome != connectors.Applied {
		return nil
	}
	if key, ok := m.keyAfter(i, row).V.(string); ok {
		return []string{key}
	}
	return nil
}

// readBefore reads rows as they are now; nil for one that is not there.
func (m *modification) readBefore(ctx context.Context, rows []int) ([]*fetchedRecord, error) {
	out := make([]*fetchedRecord, len(rows))
	if !m.t.byList() {
		for n, i := range rows {
			var err error
			if out[n], err = m.readRecord(ctx, m.batch.Rows[i].Key[0]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	keys := make([]pushdown.Value, len(rows))
	for n, i := range rows {
		keys[n] = m.batch.Rows[i].Key[0]
	}
	found, err := m.t.readRecords(ctx, m.batch.Stats, keys, m.readColumns())
	for n := range rows {
		text, _ := m.t.keyText(keys[n])
		out[n] = found[text]
	}
	return out, err
}
