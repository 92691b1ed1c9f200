// Refusing a scan, or a write, of which it is known that it needs more calls than it
// may make.

package rest

import (
	"context"
	"math"

	"github.com/hallwaydb/hallway/connectors"
)

// afford refuses a scan that needs more calls than limits let through; nil: it may go
// on. Only what is known counts, never an estimate, and only for scans that read all
// there is: others may be ended by whoever reads before they have spent as much.
func (s *scan) afford(ctx context.Context, calls int) error {
	if !s.q.Whole || s.q.Limit > 0 {
		return nil
	}
	return s.t.src.client.Afford(ctx, s.t.src.m.Read.Class, calls)
}

// affordRest is afford once the first page of a part says how many records there are:
// its pages, and at least one of each part that waits.
func (w *walker) affordRest(ctx context.Context, p *stretch, next *position) error {
	s := w.s
	if next == nil || p.pager.n != 1 || s.pageTotal <= 0 {
		return nil
	}
	size := s.t.src.m.Read.PageSize.Max
	if s.t.src.m.Read.PageSize.Param != "" {
		size = s.l.pageSize
	}
	if size = max(size, s.pageRows); size == 0 {
		return nil
	}
	pages := math.Ceil((s.pageTotal - float64(s.pageRows)) / float64(size))
	return s.afford(ctx, int(min(max(pages, 1), 1e9))+len(w.queue))
}

const (
	// turnCalls is as many requests as one Modify has, about, that is not meant for a job.
	turnCalls = 10
	// loadCalls is how many calls a job takes at least, from its making to its results.
	loadCalls = 7
)

// afford refuses a statement's rows, before any is written, if they need more calls
// than limits let through; nil: they may be written. What is undone or delivered for
// nobody's statement goes as far as it gets.
func (m *modification) afford(ctx context.Context) error {
	if connectors.StatementOf(ctx) == nil {
		return nil
	}
	rows := len(m.batch.Rows)
	if keyed(m.batch.Op) {
		for i := range m.batch.Rows {
			if _, ok := m.t.keyText(m.batch.Rows[i].Key[0]); !ok { // no request has it
				rows--
			}
		}
	}
	calls := rows
	if m.many != nil {
		calls = (rows + m.many.Max - 1) / m.many.Max
	}
	if m.batch.Jobs && m.t.src.m.Load != nil {
		calls = min(calls, turnCalls) // it has the rows of a job, and does not come to all
	}
	if calls < 2 {
		return nil // it is refused by itself, if it is
	}
	return m.t.src.client.Afford(ctx, "", calls)
}
