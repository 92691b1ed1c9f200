// Which requests of a batch are sent again, and as what.

package rest

import (
	"fmt"

	"github.com/hallwaydb/hallway/connectors"
)

// RequestKeys tells which rows go together, and under which key.
func (t *table) RequestKeys(batch *connectors.Batch) ([]string, error) {
	m, err := t.modification(batch)
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(batch.Rows))
	for next := 0; next < len(batch.Rows); {
		c, err := m.next(next)
		if err != nil {
			return nil, err
		}
		for i := c.first; i < c.end; i++ {
			keys[i] = m.requestKey([]int{i}) // not sent, unless it is one of these
		}
		for _, i := range c.rows {
			keys[i] = m.requestKey(c.rows)
		}
		next = c.end
	}
	return keys, nil
}

// requestKey is the idempotency key of the request for these rows.
func (m *modification) requestKey(rows []int) string {
	n := 0
	if len(rows) > 1 || m.alone() {
		n = len(rows)
	}
	return connectors.RequestKey(m.batch.IdempotencyKey, m.batch.FirstRow+rows[0], n)
}

// asBefore is the error of a batch that is to be sent again, and would go as other
// requests than before: the manifest was changed since.
func (m *modification) asBefore(w *wave) error {
	if m.batch.Again == "" {
		return nil
	}
	if w.err != nil {
		return w.err
	}
	if len(w.chunks) == 1 {
		if c := w.chunks[0]; len(c.rows) == len(m.batch.Rows) && m.requestKey(c.rows) == m.batch.Again {
			return nil
		}
	}
	return &connectors.Error{Class: connectors.NotSupported, API: m.t.src.m.Name, Message: "the request cannot be sent again as it was",
		Detail: fmt.Sprintf("The manifest %q makes another one of its rows now.", m.t.src.m.File)}
}
