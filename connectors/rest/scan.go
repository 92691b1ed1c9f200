// Reading pages and turning their records into rows. While one page's rows are
// handed over, the next page is fetched: at most two pages are held.

package rest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Scan reads the object's rows that the pushed filter lets through.
func (t *table) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	if q.Aggregation != nil {
		return connectors.ScanResult{}, t.scanGroups(ctx, &q, out)
	}
	got, err := t.scanBound(ctx, q, out)
	return t.afterDrift(ctx, q, out, got, err)
}

// scanBound is Scan by the fields that the object had when the table was bound.
func (t *table) scanBound(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	got, err := t.wayOf(&q).scan(ctx, q, out)
	var refused *refusedJob
	if errors.As(err, &refused) && t.bulk.mode != bulkAlways {
		// No row has come, and the conditions mean the same without a job.
		return t.way(q.Request, false).scan(ctx, q, out)
	}
	var filter *refusedFilter
	if errors.As(err, &filter) && !t.mayHaveLost(err) {
		return t.instead(ctx, q, out, filter)
	}
	return got, err
}

// scan is Scan by this way.
func (t *table) scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	l := t.decide(q.Request, q.Ordering)
	if l.never {
		return connectors.ScanResult{}, out.Flush()
	}
	return t.read(ctx, q, out, l)
}

// read does what a list says.
func (t *table) read(ctx context.Context, q connectors.Query, out *rows.Builder, l *list) (connectors.ScanResult, error) {
	s := &scan{t: t, q: &q, l: l, out: out}
	if q.Limit > 0 && !l.exact {
		// The bridge promised not to; a limit below a recheck loses rows.
		q.Limit = 0
	}
	if q.Sample > 0 && (q.Limit == 0 || q.Sample < q.Limit) {
		q.Limit = q.Sample // enough for statistics
	}
	s.bind()
	if (l.overlap || l.order != nil || len(l.paging.Restart) > 0 && s.timeSlot < 0) && s.keySlot >= 0 {
		s.had = map[string]struct{}{}
	}
	if err := s.walk(ctx); err != nil && !errors.Is(err, errEnough) {
		var refused *refusedJob
		if errors.As(err, &refused) && s.rows > 0 {
			err = refused.error // others of its jobs have been read
		}
		if filter := s.refusedFilter(err); filter != nil {
			err = filter
		}
		if s.rows == 0 {
			err = &noRows{err}
		}
		return connectors.ScanResult{}, err
	}
	return connectors.ScanResult{TotalRows: s.total, Warnings: t.lostWarnings(q.Columns)}, out.Flush()
}

func (s *scan) newPager() *pager {
	g := newPager(s.l.paging, 0)
	if size := s.t.src.m.Read.PageSize; size.Param != "" || size.Max > 0 {
		g.size = s.t.sizeOf(s.l, s.q)
	}
	return g
}

// scan is one scan. Only fetch runs in a goroutine of its own.
type scan struct {
	t   *table
	q   *connectors.Query
	l   *list
	out *rows.Builder
	// now is the stretch whose page is read, ask its one of l.asks.
	now   *stretch
	ask   int
	pager *pager
	// had are the keys of the records handed over; nil: none comes twice.
	had    map[string]struct{}
	reader *pageReader
	// verifier checks what the API calls exact; nil: nothing is.
	verifier *verifier
	emit     []emitter
	keySlot  int
	goneSlot int // -1: none
	timeSlot int // of the time that the list is partitioned by; -1: none
	total    float64
	// pageTotal is what the page being read says of all that its request finds, 0: it
	// does not; pageRows are its own.
	pageTotal float64
	pageRows  int
	rows      uint64
	jobs      jobs
	kinds     []cellKind // by slot, of CSV
	text      []byte     // scratch for escapes
	firstID   string     // of the page being read
	lastID    string
	// orderSlot is of the value that the scan is sorted by; -1: by none, or not by
	// ranges. firstValue and lastValue are the page's.
	orderSlot             int
	firstValue, lastValue *int64
	// page being read, for error messages.
	request string
}

func (s *scan) bind() {
	record, width := newTrie(), 0
	slot := func(path []string) int {
		got := record.add(path, width)
		if got == width {
			width++
		}
		return got
	}
	s.keySlot = -1
	if s.t.keyField != nil {
		s.keySlot = slot(splitPath(s.t.keyField.Path))
	}
	s.goneSlot = -1
	if path := s.t.src.m.Read.Gone; path != "" {
		s.goneSlot = slot(splitPath(path))
	}
	if s.timeSlot = -1; s.t.times != nil {
		s.timeSlot = slot(s.t.timePath)
	}
	s.orderSlot = -1
	if by := s.sortedBy(); by != nil {
		s.orderSlot = slot(by.col.path)
	}
	whole := -1
	s.emit = make([]emitter, len(s.q.Columns))
	for i, c := range s.q.Columns {
		col := s.t.column(c)
		switch {
		case col.whole:
			if whole < 0 {
				whole, width = width, width+1
			}
			s.emit[i] = emitter{slot: whole, col: col, kind: emitJSON}
		case col.path != nil:
			s.emit[i] = newEmitter(slot(col.path), col)
		}
	}
	s.verifier = s.newVerifier(slot)
	s.reader = newPageReader(s.t.items, s.l.paging, &s.t.src.m.Read, record, width)
	s.reader.full, s.reader.whole = s.hand, whole
	s.reader.one = s.t.src.m.Read.One
	if s.t.src.m.Read.Job != nil {
		s.kinds = make([]cellKind, width)
		for _, e := range s.emit {
			if e.col != nil {
				s.kinds[e.slot] = cellKindOf(e.col.field)
			}
		}
		if s.verifier != nil {
			for _, e := range s.verifier.emit {
				s.kinds[e.slot] = cellKindOf(e.col.field)
			}
		}
	}
}

// matchesNothing tells whether the API refused the first request since nothing can
// match its filter.
func (s *scan) matchesNothing(err error) bool {
	var e *connectors.Error
	return errors.As(err, &e) && slices.Contains(s.t.src.m.Read.None, e.Code)
}

// maxRestarts of one scan whose cursors expire, lest it never ends.
const maxRestarts = 20

// forgotten tells whether a page could not be had since the API has forgotten its
// cursor.
func (s *scan) forgotten(err error) bool {
	var e *connectors.Error
	return errors.As(err, &e) && slices.Contains(s.l.paging.Restart, e.Code)
}

// again tells whether a record has been handed over before.
func (s *scan) again(row int) bool {
	key := s.keyOf(row)
	if _, ok := s.had[key]; ok {
		return true
	}
	s.had[key] = struct{}{}
	return false
}

// handed tells whether a record was handed over before its part began anew.
func (s *scan) handed(row int) bool {
	at, ok := s.timeOf(row)
	if !ok || at != *s.now.again {
		return false
	}
	_, had := s.now.before[s.keyOf(row)]
	return had
}

// errEnough ends a scan whose limit is reached.
var errEnough = errors.New("enough rows")

// read takes a page apart and finds the next one's position.
func (s *scan) read(page fetched) (*position, error) {
	s.firstID, s.lastID, s.firstValue, s.lastValue = "", "", nil, nil
	before := s.rows
	if page.body.Len() >= escapedBit {
		return nil, s.t.protocol(page.request, "a page of more than 2 GiB", nil)
	}
	if err := s.take(&page); err != nil {
		var syntax *syntaxError
		if errors.As(err, &syntax) || errors.Is(err, errNoItems) {
			return nil, s.t.protocol(page.request, err.Error(), io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	f := pageFacts{rows: int(s.rows-before) + s.reader.rows, link: page.resp.Link, header: page.resp.Header}
	s.noteKeys()
	f.firstKey, f.lastKey = s.firstID, s.lastID
	var err error
	if f.cursor, err = s.reader.scalar(slotCursor); err != nil {
		return nil, s.t.protocol(page.request, "next page: "+err.Error(), nil)
	}
	if h := s.l.paging.Header; h != "" {
		if f.cursor = page.resp.Header.Get(h); f.cursor == "null" {
			f.cursor = ""
		}
	}
	f.more, f.moreSaid = s.reader.flag(slotMore)
	s.pageTotal, s.pageRows = 0, f.rows
	if text, err := s.reader.scalar(slotTotal); err == nil && text != "" {
		// Of later pages it may be what is left.
		if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 {
			if s.pageTotal = n; s.total == 0 {
				s.total = n
				if s.q.Total && n < 1<<53 {
					s.q.Stats.Total.CompareAndSwap(0, uint64(n))
				}
			}
		}
	}
	if text, err := s.reader.scalar(slotEcho); err == nil && text != "" {
		f.echo, _ = strconv.Atoi(text)
	}
	if s.l.paging.Style == "seek" && f.lastKey != "" {
		f.after, f.afterOK = s.keyLiteral(f.lastKey)
	}
	var next *position
	if s.l.order != nil && !s.l.asks[s.ask].unsorted {
		next, err = s.nextInOrder(page.request, &f)
	} else {
		next, err = s.pager.next(&f)
	}
	var typed *connectors.Error
	switch {
	case errors.Is(err, errTooManyPages):
		return nil, &connectors.Error{Class: connectors.LimitExceeded, API: s.t.src.m.Name, Message: err.Error(), Detail: page.request}
	case errors.As(err, &typed):
		return nil, typed
	case err != nil:
		return nil, s.t.protocol(page.request, err.Error(), nil)
	}
	return next, nil
}

// take takes a page apart.
func (s *scan) take(page *fetched) error {
	if s.t.src.m.Read.Job == nil {
		return s.reader.read(page.body.Bytes())
	}
	j := s.now.job
	head, err := s.reader.readCSV(page.body.Bytes(), j.head, s.kinds)
	j.head = head
	var bad *csvError
	if errors.As(err, &bad) {
		return s.t.protocol(page.request, bad.Error(), nil)
	}
	return err
}

func (s *scan) keyLiteral(key string) (string, bool) {
	if s.t.keyField.Type == "number" || s.t.keyField.Type == "integer" {
		return number(key)
	}
	return s.t.src.quoter.text(key)
}

// noteKeys remembers the keys of the first and the last record held.
func (s *scan) noteKeys() {
	s.noteValues()
	if s.keySlot < 0 || s.reader.rows == 0 {
		return
	}
	if s.firstID == "" {
		s.firstID = s.keyOf(0)
	}
	s.lastID = s.keyOf(s.reader.rows - 1)
}

// keyOf is a record's key as text; empty: it has none.
func (s *scan) keyOf(row int) string {
	if s.keySlot < 0 {
		return ""
	}
	sp := s.reader.spans[row*s.reader.width+s.keySlot]
	if sp.none() {
		return ""
	}
	raw := sp.raw(s.reader.s.page)
	if raw[0] != '"' {
		return string(raw)
	}
	text, err := unescape(nil, raw[1:len(raw)-1])
	if err != nil {
		return ""
	}
	return string(text)
}

// hand gives the records held to the builder.
func (s *scan) hand() error {
	s.noteKeys()
	width, page := s.reader.width, s.reader.s.page
	for row := range s.reader.rows {
		if s.q.Limit > 0 && s.rows == s.q.Limit {
			return errEnough
		}
		spans := s.reader.spans[row*width : (row+1)*width]
		if s.now != nil && s.now.again != nil && s.handed(row) {
			continue
		}
		if s.goneSlot >= 0 && isTrueText(spans[s.goneSlot], page) {
			continue
		}
		if s.had != nil && s.again(row) {
			continue
		}
		if s.l.sieve {
			if keep, err := s.sift(row, spans, page); err != nil {
				return err
			} else if !keep {
				continue
			}
		} else if s.verifier.due() {
			if err := s.verify(row, spans, page); err != nil {
				return err
			}
		}
		if s.rows == 0 && s.t.src.hooks.Complete {
			s.noteAbsent(spans)
		}
		for i := range s.emit {
			e := &s.emit[i]
			if e.col == nil {
				s.out.Null()
				continue
			}
			if err := s.value(e, spans[e.slot], page); err != nil {
				s.out.Discard()
				return s.badValue(row, e.col, err.Error(), err)
			}
		}
		if err := s.out.EndRow(); err != nil {
			return s.rowError(row, err)
		}
		if s.l.sorter != nil {
			if err := s.l.sorter.add(s.out, s.valueIn(row)); err != nil {
				return err
			}
		}
		s.rows++
	}
	s.q.Stats.Rows.Add(uint64(s.reader.rows))
	s.reader.spans, s.reader.rows = s.reader.spans[:0], 0
	return nil
}

func (s *scan) rowError(row int, err error) error {
	var conv *rows.ConversionError
	if !errors.As(err, &conv) {
		return err
	}
	var col *column
	if conv.Column >= 0 && conv.Column < len(s.emit) {
		col = s.emit[conv.Column].col
	}
	return s.badValue(row, col, conv.Error(), conv)
}
