// Refusing a scan of which it is known that it needs more calls than it may make.

package rest

import (
	"context"
	"math"
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
