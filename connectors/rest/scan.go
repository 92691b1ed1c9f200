// Reading pages and turning their records into rows. While one page's rows are
// handed over, the next page is fetched: at most two pages are held.

package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/sidecar/transport"
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

// emitter gives one column's value to the builder.
type emitter struct {
	slot int
	col  *column
	kind emitKind
	// plain: the column is of the field's own kind, an integer, a numeric or a boolean,
	// so that a text of one need not be taken apart again.
	plain bool
}

func newEmitter(slot int, col *column) emitter {
	e := emitter{slot: slot, col: col, kind: emitKindOf(col)}
	switch col.spec.Type.Kind {
	case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Numeric:
		e.plain = e.kind == emitNumber
	case pushdown.Bool:
		e.plain = e.kind == emitBool
	}
	return e
}

type emitKind uint8

const (
	emitNull emitKind = iota
	emitText
	emitNumber
	emitBool
	emitMoment
	emitUnix
	emitJSON
	emitBytes
)

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

func emitKindOf(col *column) emitKind {
	f := col.field
	switch {
	case f.List || f.Type == "json":
		return emitJSON
	case f.Type == "number" || f.Type == "integer":
		return emitNumber
	case f.Type == "boolean":
		return emitBool
	case f.Type == "datetime" && f.Format != "iso":
		return emitUnix
	case f.Type == "datetime" && (col.spec.Type.Kind == pushdown.TimestampTZ || col.spec.Type.Kind == pushdown.Timestamp):
		return emitMoment
	case f.Type == "bytes":
		return emitBytes
	}
	return emitText
}

// fetched is a page that has come, or not.
type fetched struct {
	body    *bytes.Buffer
	resp    *transport.Response
	request string
	none    bool // there is no such record, and body is null
	err     error
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

// fetch gets a page of JSON whole.
func (t *table) fetch(ctx context.Context, req *transport.Request, body *bytes.Buffer) fetched {
	f := t.get(ctx, req, body)
	if f.err == nil && !f.resp.IsJSON() && !looksLikeJSON(body.Bytes()) && !f.none {
		f.err = t.protocol(f.request, fmt.Sprintf("expected JSON, got %s", describeBody(t.src, f.resp, body.Bytes())), nil)
	}
	return f
}

// get gets an answer whole, which must be a success.
func (t *table) get(ctx context.Context, req *transport.Request, body *bytes.Buffer) (f fetched) {
	body.Reset()
	f.body = body
	resp, err := t.src.client.Do(ctx, req)
	if err != nil {
		f.err = err
		return f
	}
	defer func() { _ = resp.Close() }()
	f.request, f.resp = resp.Request, resp
	if n, err := strconv.Atoi(resp.Header.Get("Content-Length")); err == nil && n > 0 && n <= 8<<20 {
		body.Grow(n + bytes.MinRead)
	}
	if _, err := body.ReadFrom(resp.Body); err != nil {
		f.err = fmt.Errorf("reading a page: %w", err)
		return f
	}
	if hook := t.src.hooks.Answer; hook != nil {
		inner := *resp
		status, text := hook(req, resp.Status, body.Bytes())
		inner.Status = status
		body.Truncate(copy(body.Bytes(), text)) // which is a part of it
		resp, f.resp = &inner, &inner
	}
	one := t.src.m.Read.One
	if one && resp.Status == http.StatusNotFound {
		body.Reset()
		body.WriteString("null")
		f.none = true
		return f
	}
	if resp.Status < 200 || resp.Status > 299 {
		f.err = t.refusal(resp, body.Bytes(), false)
	}
	return f
}

func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

func (t *table) protocol(request, what string, err error) *connectors.Error {
	return &connectors.Error{Class: connectors.Protocol, API: t.src.m.Name, Err: err,
		Message: "unexpected answer: " + what, Detail: request,
		Hint: fmt.Sprintf("Does the manifest %q describe this API, and does base_url lead to it?", t.src.m.File)}
}

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

// badValue is the API's value that the column cannot hold.
func (s *scan) badValue(row int, col *column, what string, err error) error {
	e := &connectors.Error{Class: connectors.InvalidValue, API: s.t.src.m.Name, Err: err,
		Message: fmt.Sprintf("bad value in %s: %s", s.t.object.Name, s.t.src.client.Redact(what)),
		Detail:  s.request}
	if col != nil {
		e.Column = col.spec.Name
		e.Message = fmt.Sprintf("bad value in field %q of %s: %s", col.field.Name, s.t.object.Name, s.t.src.client.Redact(what))
		e.Hint = fmt.Sprintf("Column %q could have another type, such as text or jsonb.", col.spec.Name)
	}
	if key := s.keyOf(row); key != "" {
		e.Message = fmt.Sprintf("%s (record %s)", e.Message, strconv.Quote(key))
	}
	return e
}

// value gives one raw value to the builder. Its errors are of kind only; what
// does not fit the column's type EndRow tells.
func (s *scan) value(e *emitter, sp span, page []byte) error {
	f := e.col.field
	if sp.none() {
		if f.Missing == "never" || e.col.key {
			return errors.New("it is missing, though the manifest says that there always is one")
		}
		if f.always() {
			s.out.Bool(false)
			return nil
		}
		s.out.Null()
		return nil
	}
	raw := sp.raw(page)
	switch c := raw[0]; {
	case c == 'n':
		if f.always() || e.col.key {
			return errors.New("it is null, though the manifest says that there always is a value")
		}
		s.out.Null()
		return nil
	case c == '"' && e.kind != emitJSON:
		text := raw[1 : len(raw)-1]
		if len(text) == 0 && f.emptyIsNull() {
			s.out.Null()
			return nil
		}
		if sp.end&escapedBit != 0 {
			var err error
			if s.text, err = unescape(s.text[:0], text); err != nil {
				return fmt.Errorf("invalid JSON: expected %w", err)
			}
			text = s.text
		}
		return s.string(e, text)
	case e.kind == emitJSON:
		if len(raw) == 2 && (c == '"' && f.emptyIsNull() || c == '[' && f.Missing == "absent") {
			s.out.Null()
			return nil
		}
		s.out.JSON(raw)
		return nil
	case c == '{' && f.Special != "":
		s.special(f, raw)
		return nil
	case c == '{' && f.Type == "relation":
		return s.keyInside(e, raw)
	case c == '{' || c == '[':
		return fmt.Errorf("expected %s, found %s", f.Type, kindOf(raw))
	case c == 't' || c == 'f':
		if e.kind != emitBool && e.kind != emitText {
			return fmt.Errorf("expected %s, found %s", f.Type, kindOf(raw))
		}
		s.out.Bool(c == 't')
		return nil
	}
	switch e.kind {
	case emitNumber:
		if f.TrimZeros {
			raw = trimZeros(raw)
		}
		if v, ok := smallInt(raw); ok {
			s.out.Int64(v)
			return nil
		}
		s.out.Number(raw)
	case emitUnix:
		us, ok := unixMicros(raw, f.Format)
		if !ok {
			return fmt.Errorf("expected a number of %s, found %s", f.Format, raw)
		}
		s.out.Micros(us)
	case emitMoment, emitBytes:
		return fmt.Errorf("expected %s, found a number", f.Type)
	default:
		s.out.Number(raw)
	}
	return nil
}

// special gives what an object says that stands in place of a number.
func (s *scan) special(f *Field, raw []byte) {
	switch text := string(memberAt(raw, f.Special)); text {
	case `"NaN"`, `"Infinity"`, `"-Infinity"`:
		s.out.String(textIn([]byte(text)))
	default:
		s.out.Null()
	}
}

// string gives the text of a JSON string.
func (s *scan) string(e *emitter, text []byte) error {
	switch e.kind {
	case emitNumber:
		if v, ok := smallInt(text); e.plain && ok {
			s.out.Int64(v)
			return nil
		}
	case emitBool:
		if e.plain && (string(text) == "true" || string(text) == "false") {
			s.out.Bool(text[0] == 't')
			return nil
		}
	case emitMoment:
		if us, ok := isoMicros(text); ok {
			s.out.Micros(us)
			return nil
		}
	case emitUnix:
		us, ok := unixMicros(text, e.col.field.Format)
		if !ok {
			return fmt.Errorf("expected a number of %s, found %q", e.col.field.Format, shortText(string(text)))
		}
		s.out.Micros(us)
		return nil
	case emitBytes:
		raw, err := base64.StdEncoding.AppendDecode(nil, text)
		if err != nil {
			return fmt.Errorf("expected base64, found %q", shortText(string(text)))
		}
		s.out.Bytes(raw)
		return nil
	}
	if e.col.field.Format == "utc" {
		text = bytes.TrimSuffix(text, []byte{'Z'}) // PostgreSQL's time has no zone
	}
	s.out.Text(text)
	return nil
}

// keyInside gives the key of a record that the API has put in the key's place.
func (s *scan) keyInside(e *emitter, record []byte) error {
	var key []byte
	if o := s.t.src.m.object(e.col.field.Object); o != nil && o.Key != "" {
		key = memberAt(record, o.field(o.Key).Path)
	}
	switch {
	case len(key) > 1 && key[0] == '"':
		return s.string(e, []byte(textIn(key)))
	case len(key) > 0 && (key[0] == '-' || key[0]-'0' <= 9):
		s.out.Number(key)
		return nil
	}
	return fmt.Errorf("expected %s, found an object", e.col.field.Type)
}

func isTrueText(sp span, page []byte) bool {
	return !sp.none() && string(sp.raw(page)) == "true"
}

// trimZeros takes zeros off the end of a fraction.
func trimZeros(raw []byte) []byte {
	if bytes.IndexByte(raw, '.') < 0 || bytes.ContainsAny(raw, "eE") {
		return raw
	}
	return bytes.TrimSuffix(bytes.TrimRight(raw, "0"), []byte{'.'})
}

// smallInt reads an integer of up to 18 digits.
func smallInt(s []byte) (int64, bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	var v int64
	for _, c := range s {
		if c -= '0'; c > 9 {
			return 0, false
		}
		v = v*10 + int64(c)
	}
	if negative {
		v = -v
	}
	return v, true
}

// unixMicros turns a number of seconds or milliseconds since 1970 into
// microseconds since 2000.
func unixMicros(s []byte, format string) (int64, bool) {
	unit := int64(1_000_000)
	if format == "unix_ms" {
		unit = 1000
	}
	if v, ok := smallInt(s); ok {
		if v > 1e15 || v < -1e15 {
			return 0, false
		}
		return v*unit - epoch, true
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || !(f > -1e12 && f < 1e15) {
		return 0, false
	}
	return int64(f*float64(unit)) - epoch, true
}

// daysIn each month of a leap year.
var daysIn = [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// isoMicros reads the usual forms of a point in time in UTC,
// 2006-01-02 15:04:05.000Z with a T or without fraction, from the year 1000
// on. All others go to the builder as text.
func isoMicros(s []byte) (int64, bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || (s[10] != ' ' && s[10] != 'T') || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return 0, false
	}
	two := func(i int) int {
		a, b := s[i]-'0', s[i+1]-'0'
		if a > 9 || b > 9 {
			return -1
		}
		return int(a)*10 + int(b)
	}
	century, yy, month, day := two(0), two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if century < 10 || yy < 0 || month < 1 || month > 12 || day < 1 || day > daysIn[month] || uint(hour) > 23 || uint(minute) > 59 || uint(second) > 59 {
		return 0, false
	}
	if year := century*100 + yy; month == 2 && day == 29 && (year%4 != 0 || (year%100 == 0 && year%400 != 0)) {
		return 0, false
	}
	var frac int64
	if n := len(s) - 1; n > 19 {
		if s[19] != '.' || n == 20 || n > 26 {
			return 0, false
		}
		scale := int64(100_000)
		for _, c := range s[20:n] {
			if c -= '0'; c > 9 {
				return 0, false
			}
			frac += int64(c) * scale
			scale /= 10
		}
	}
	// Days since 2000-03-01, with years that begin in March.
	y, m := century*100+yy, month-3
	if m < 0 {
		m += 12
		y--
	}
	leaps := y/4 - y/100 + y/400
	days := 365*(y-2000) + leaps - (2000/4 - 2000/100 + 2000/400) + (153*m+2)/5 + day - 1 + 60
	return (int64(days)*86400+int64(hour)*3600+int64(minute)*60+int64(second))*1_000_000 + frac, true
}
