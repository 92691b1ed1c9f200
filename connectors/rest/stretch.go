// The parts of a scan: the requests that its filter takes, and ranges of a time that
// it is split into while pages come in, so that several are read at once. Pages are
// taken apart one after the other; only requests wait at the same time.

package rest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stretch is a sequence of pages: one ask's, or of a partitioned list the records made
// in a range of time.
type stretch struct {
	ask   int
	pager *pager
	// lo and hi bound the times, which are whole seconds: lo <= t < hi; nil: open.
	lo, hi *int64
	// cut: it was cut off another one, so it may be empty. below is what was cut off
	// this one to find out how far the records reach.
	cut, empty bool
	below      *stretch
	// read counts its records; top is the time of the first, last that of the last
	// one; had are the keys of those that have that time.
	read      int
	top, last int64
	// newest is the time of the first record of the part that this was cut off, or of
	// the one that that was cut off, and so on.
	newest int64
	had    map[string]struct{}
	// again is the last time when the part began anew, where it comes upon records
	// that it has handed over: those with the keys in before.
	again  *int64
	before map[string]struct{}
	// stride is how many times what lies before it a cut passes over where nothing says
	// how far the records reach.
	stride   int64
	restarts int
	// job is what its pages are the results of; nil: there is none, or none yet.
	job *job
	// tie is the value of those records that are read by their keys just now, as
	// more of them than a page holds have it; nil: none (see ranged).
	tie *int64
}

// arrived is a page of a part.
type arrived struct {
	*stretch
	fetched
}

// walk reads all stretches, at most t.parallel at once.
func (s *scan) walk(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer s.endJobs(ctx)
	defer wait.Wait()
	defer cancel()
	w := &walker{s: s, most: max(1, s.t.src.parallel), pages: make(chan arrived, max(1, s.t.src.parallel)), handing: slowly}
	if s.q.Limit > 0 || likely(s.q) > 0 || len(s.q.Ordering) > 0 {
		w.most = 1 // what is read ahead may not be wanted, or comes later in the order
	}
	w.fetch = func(p *stretch, pos *position) error {
		inPlace := w.inPlace()
		if inPlace {
			start := time.Now()
			if err := s.out.Flush(); err != nil {
				return err
			}
			w.handing += time.Since(start)
		}
		body := w.buffer()
		req := s.t.request(s.l, s.q, p.ask, pos)
		w.under++
		if inPlace {
			w.pages <- arrived{p, s.page(ctx, p, pos, req, body)}
			return nil
		}
		wait.Go(func() { w.pages <- arrived{p, s.page(ctx, p, pos, req, body)} })
		return nil
	}
	for i := range s.l.asks {
		w.queue = append(w.queue, s.newStretch(i))
	}
	if err := s.afford(ctx, len(w.queue)); err != nil {
		return err
	}
	for {
		if err := w.start(); err != nil || w.under == 0 {
			return err
		}
		var page arrived
		select {
		case page = <-w.pages:
		default:
			// Nothing to do but wait: let what there is go.
			if err := s.out.Flush(); err != nil {
				return err
			}
			page = <-w.pages
		}
		w.under--
		if err := w.take(ctx, page); err != nil {
			return err
		}
	}
}

// walker is the walk through the parts of one scan.
type walker struct {
	s     *scan
	most  int
	under int // requests under way
	queue []*stretch
	pages chan arrived
	spare []*bytes.Buffer
	// fetch asks for a page, which comes through pages.
	fetch func(*stretch, *position) error
	// handing is what it took to hand over the last page's rows, or half of what
	// it was before if that is more.
	handing time.Duration
	// seen counts pages, wasted those of cuts that had no records.
	seen, wasted int
}

func (w *walker) buffer() *bytes.Buffer {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return new(bytes.Buffer)
}

// start asks for the first pages of as many parts as may be read.
func (w *walker) start() error {
	for w.under < w.most && len(w.queue) > 0 {
		p := w.queue[0]
		w.queue = w.queue[1:]
		p.pager = w.s.newPager()
		if err := w.fetch(p, nil); err != nil {
			return err
		}
	}
	return nil
}

// quickly is how long handing over a page's rows takes at most for the next page to
// be asked for behind it, not beside it. That delays a call by what is nothing against
// the call, and saves much of what a page costs: waking goroutines. A reader that is
// behind makes handing over take longer; he has had rows enough meanwhile. Readers are
// taken for slow until some pages went quickly.
const (
	quickly = time.Millisecond
	slowly  = 16 * quickly
)

// inPlace tells whether a page is fetched by the scan's own goroutine.
func (w *walker) inPlace() bool { return w.most == 1 && w.handing <= quickly }

// take reads a page, asks for the next one, and hands the records over.
func (w *walker) take(ctx context.Context, page arrived) error {
	s, p := w.s, page.stretch
	s.ask, s.pager = p.ask, p.pager
	if page.err != nil {
		switch {
		case p.pager.n == 0 && s.matchesNothing(page.err):
			return nil
		case !s.expired(page.err, p):
			return page.err
		}
		w.spare = append(w.spare, page.body)
		s.resume(p)
		w.queue = append([]*stretch{p}, w.queue...)
		return nil
	}
	s.q.Stats.Pages.Add(1)
	s.request = page.request
	s.now = p
	next, err := s.read(page.fetched)
	if err == nil && w.seen == 0 && s.reader.rows == 0 && s.rows == 0 {
		if again, err := s.t.src.checkCredential(ctx, s.q.Stats); err != nil {
			return err
		} else if again {
			w.spare = append(w.spare, page.body)
			w.queue = append([]*stretch{p}, w.queue...)
			return nil
		}
	}
	if err != nil {
		return err
	}
	if w.seen++; p.cut && p.read == 0 && s.reader.rows == 0 {
		w.wasted++
		p.empty = true
	}
	if next != nil && s.l.paging.Style == "seek" && (s.q.Limit == 0 || s.l.order != nil) {
		// The first page was small for a LIMIT that few rows reach.
		s.pager.size = min(2*s.pager.size, s.l.pageSize)
		next.size = s.pager.size
	}
	if s.timeSlot >= 0 && s.reader.rows > 0 {
		if err := s.noteTimes(p); err != nil {
			return err
		}
		if next != nil {
			w.split(p)
		}
	}
	if refused := w.affordRest(ctx, p, next); refused != nil {
		// What has come may be enough, for a join that finds nothing on its other side.
		if err := s.hand(); err != nil {
			return err
		}
		if err := s.out.Flush(); err != nil {
			return err
		}
		return refused
	}
	// Do not ask ahead where a LIMIT may end the scan with this page.
	ahead := next != nil && likely(s.q) == 0 && s.q.Limit == 0
	beside := ahead && !w.inPlace()
	if beside {
		if err := w.fetch(p, next); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := s.hand(); err != nil {
		return err
	}
	w.handing = max(time.Since(start), w.handing/2)
	if s.q.Limit > 0 && s.rows >= s.q.Limit {
		return errEnough
	}
	w.spare = append(w.spare, page.body)
	if beside || next == nil && len(w.queue) == 0 {
		return nil
	}
	if next == nil {
		return s.pause(ctx) // it may not want what the others find
	}
	if !ahead {
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	return w.fetch(p, next)
}

// enoughPause is what a reader gets to say that it has enough: little against a
// call, and much against what it takes to say so.
const enoughPause = 30 * time.Millisecond

// pause lets a reader end the scan that probably has the rows it wants by now:
// those that it checks again are more often good than not.
func (s *scan) pause(ctx context.Context) error {
	if n := likely(s.q); n == 0 || s.rows < n {
		return nil
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	timer := time.NewTimer(enoughPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reading pages: %w", ctx.Err())
	}
}

// expired tells whether a page could not be had since the API has forgotten its
// cursor, and whether the part is to begin anew.
func (s *scan) expired(err error, p *stretch) bool {
	if p.pager.n == 0 || (s.had == nil && p.had == nil) || !s.forgotten(err) {
		return false
	}
	p.restarts++
	return p.restarts <= maxRestarts
}

// resume has a part begin anew: where it stood, if times tell, else at its start,
// whose records are then passed over.
func (s *scan) resume(p *stretch) {
	if likely(s.q) > 0 {
		// Many small pages would give the API time to forget again. Nothing else is
		// being fetched: a scan that may be stopped has one part at a time.
		s.l.whole = true
	}
	if p.had != nil && p.read > 0 {
		last, hi := p.last, p.last+1
		p.hi, p.again = &hi, &last
		p.before = maps.Clone(p.had)
		p.top = last
		s.bound(p)
	}
}

// newStretch makes the part of an ask. Bounds of the time that a list is partitioned by
// go from its parameters to the part.
func (s *scan) newStretch(i int) *stretch {
	p := &stretch{ask: i, stride: 2}
	t := s.times()
	if t == nil {
		return p
	}
	p.had = map[string]struct{}{}
	ask := &s.l.asks[i]
	var rest [][2]string
	for _, pair := range ask.params {
		n, err := strconv.ParseInt(pair[1], 10, 64)
		op := t.is(pair[0])
		if err != nil || op == "" {
			rest = append(rest, pair)
			continue
		}
		if op == "gt" || op == "le" {
			n++
		}
		switch {
		case op == "gt" || op == "ge":
			if p.lo == nil || n > *p.lo {
				p.lo = &n
			}
		case p.hi == nil || n < *p.hi:
			p.hi = &n
		}
	}
	ask.params, ask.unbound = rest, rest
	s.bound(p)
	return p
}

// bound writes a part's range into the parameters of its ask.
func (s *scan) bound(p *stretch) {
	t, ask := s.times(), &s.l.asks[p.ask]
	ask.params = ask.unbound[:len(ask.unbound):len(ask.unbound)]
	if p.lo != nil {
		ask.params = append(ask.params, [2]string{t.ge, strconv.FormatInt(*p.lo, 10)})
	}
	if p.hi != nil {
		ask.params = append(ask.params, [2]string{t.lt, strconv.FormatInt(*p.hi, 10)})
	}
}

// timeRange are the parameters by which a partitioned list is bounded.
type timeRange struct{ ge, gt, le, lt string }

func (t *timeRange) is(param string) string {
	switch param {
	case "":
		return ""
	case t.ge:
		return "ge"
	case t.gt:
		return "gt"
	case t.le:
		return "le"
	case t.lt:
		return "lt"
	}
	return ""
}

// times are the parameters of the object's partition; nil: it has none.
func (s *scan) times() *timeRange {
	if s.timeSlot < 0 {
		return nil
	}
	return s.t.times
}

// bindTimes finds how the object's lists can be split; nil: they cannot.
func (t *table) bindTimes() {
	m := t.src.m
	if m.Partition == nil || m.Filter == nil || m.Filter.Style != "params" {
		return
	}
	f := t.object.field(m.Partition.Field)
	if f == nil || f.Type != "datetime" || f.Format != "unix" || f.List {
		return
	}
	col := column{field: f}
	col.spec.Type = naturalType(f)
	col.bind(m, &t.src.quoter)
	name := func(op string) string {
		param, _, _ := strings.Cut(col.ops[op].before, "=")
		return param
	}
	if r := (&timeRange{ge: name("ge"), gt: name("gt"), le: name("le"), lt: name("lt")}); r.ge != "" && r.lt != "" {
		t.times, t.timePath = r, splitPath(f.Path)
	}
}

// timeOf a record that is held; false: it has none.
func (s *scan) timeOf(row int) (int64, bool) {
	sp := s.reader.spans[row*s.reader.width+s.timeSlot]
	if sp.none() {
		return 0, false
	}
	return smallInt(sp.raw(s.reader.s.page))
}

// noteTimes notes the times of a page's first and last record.
func (s *scan) noteTimes(p *stretch) error {
	first, ok1 := s.timeOf(0)
	last, ok2 := s.timeOf(s.reader.rows - 1)
	if !ok1 || !ok2 || first < last || (p.read > 0 && first > p.last) {
		return s.t.protocol(s.request, "records that are not sorted by "+s.t.src.m.Partition.Field+", the newest first", nil)
	}
	if p.read == 0 {
		p.top = first
		if !p.cut {
			p.newest = first
		}
	}
	p.read += s.reader.rows
	if last != p.last {
		clear(p.had)
	}
	p.last = last
	for row := s.reader.rows - 1; row >= 0; row-- {
		if at, _ := s.timeOf(row); at != last {
			break
		}
		p.had[s.keyOf(row)] = struct{}{}
	}
	return nil
}

// split cuts off as much of what is left of a stretch as idle requests can take. A
// cut that finds no records is a call in vain, so of eight calls one may be, and
// where nothing says how far the records reach, one cut finds that out first.
func (w *walker) split(p *stretch) {
	const (
		before = 5 // pages, for something to be known, and worth it
		each   = 2 // pages of a cut, at least
	)
	idle := int64(w.most - w.under - len(w.queue) - 1)
	if idle < 1 || w.seen < before || w.wasted > w.seen/8 {
		return
	}
	span := p.top - p.last
	if p.lo == nil {
		at := p.last - max(1, p.newest-p.last)*p.stride
		p.stride *= 2
		if at > 0 {
			p.below = w.cut(p, nil, at)
		}
		return
	}
	if p.below != nil && p.below.read == 0 {
		if !p.below.empty {
			return // it is not known yet
		}
		idle = 1 // the records end somewhere in between
	}
	left := p.last - *p.lo // what is in the last second comes with the next pages
	if span < 1 || left < 2 {
		return
	}
	// Pages that are left, if records go on as densely as they came.
	pages := int64(float64(p.read) / float64(span) * float64(left) / float64(max(1, w.s.pager.size)))
	for n := min(idle, pages/each-1); n > 0; n-- {
		w.cut(p, p.lo, *p.lo+(p.last-*p.lo)/(n+1))
	}
}

// cut makes a part of what p has below a time; lo is its own lower bound.
func (w *walker) cut(p *stretch, lo *int64, at int64) *stretch {
	s := w.s
	ask := s.l.asks[p.ask]
	s.l.asks = append(s.l.asks, ask)
	off := &stretch{ask: len(s.l.asks) - 1, cut: true, lo: lo, hi: &at, newest: p.newest, stride: 2, had: map[string]struct{}{}}
	p.lo = &at
	s.bound(off)
	s.bound(p)
	w.queue = append(w.queue, off)
	return off
}

func (l *loader) checkPartition(m *Manifest) {
	p := m.Partition
	switch {
	case p == nil:
	case m.Filter == nil || m.Filter.Style != "params":
		l.at("partition", "needs a filter of style params")
	case !m.Filter.Enforced:
		l.at("partition", "needs filter.enforced: true; where bounds are ignored, records come several times")
	case !l.vendor && !slices.ContainsFunc(m.Objects, func(o Object) bool {
		f := o.field(p.Field)
		return f != nil && f.Type == "datetime" && f.Format == "unix" && !f.List
	}):
		l.at("partition.field", "no object has a field %q of type datetime and format unix", p.Field)
	}
}
