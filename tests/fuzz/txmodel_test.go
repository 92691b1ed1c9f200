// What transactions that write in an API come to, by the book: the API's rows,
// the journal's entries, the local table.

package fuzz

import (
	"maps"
	"slices"
	"strings"
)

// txRow is an object of the API. name is NULL if it is empty.
type txRow struct {
	email string
	n     int
	name  string
	// place in the API's list.
	place int
}

// same in these columns.
func (r txRow) same(o txRow, columns string) bool {
	return (!has(columns, "email") || r.email == o.email) && (!has(columns, "n") || r.n == o.n) && (!has(columns, "name") || r.name == o.name)
}

// with gives r the values that o has in these columns.
func (r txRow) with(o txRow, columns string) txRow {
	if has(columns, "email") {
		r.email = o.email
	}
	if has(columns, "n") {
		r.n = o.n
	}
	if has(columns, "name") {
		r.name = o.name
	}
	return r
}

func has(columns, name string) bool { return slices.Contains(strings.Fields(columns), name) }

const allColumns = "email n name"

// txAPI is what the API holds, by id.
type txAPI struct {
	rows  map[string]txRow
	place int
}

// check is the SQLSTATE with which the API refuses the row; empty: it does not.
func (a *txAPI) check(id string, r txRow, columns string) string {
	switch {
	case has(columns, "n") && r.n <= 0:
		return "23514"
	case has(columns, "name") && r.name == "":
		return "23502"
	case has(columns, "name") && len(r.name) > 5:
		return "22001"
	}
	for other, o := range a.rows {
		if other != id && o.email == r.email {
			return "23505"
		}
	}
	return ""
}

func (a *txAPI) insert(id string, r txRow) string {
	code := a.check(id, r, allColumns)
	if _, there := a.rows[id]; there && (code == "" || code == "23505") {
		code = "23505"
	}
	if code == "" {
		a.place++
		r.place = a.place
		a.rows[id] = r
	}
	return code
}

// gone is what a write of a row comes to that is not there.
const gone = "02000"

func (a *txAPI) update(id string, r txRow, columns string) string {
	old, there := a.rows[id]
	if !there {
		return gone
	}
	r = old.with(r, columns)
	code := a.check(id, r, columns)
	if code == "" {
		a.rows[id] = r
	}
	return code
}

func (a *txAPI) remove(id string) string {
	if _, there := a.rows[id]; !there {
		return gone
	}
	delete(a.rows, id)
	return ""
}

// txEntry is one of hallway.write_log.
type txEntry struct {
	id, op, state string
	// What the row was, if it was, and what was written.
	before  txRow
	was     bool
	after   txRow
	columns string
	queued  *txWrite // of an entry that waits for the commit
}

// txTable is a foreign table.
type txTable struct {
	name string
	// batch is the number of rows of one request.
	batch int
	// deliver is that of the API, which the sidecar goes by.
	deliver int
	// upsert is "native", "find" or empty.
	upsert string
	soft   bool
}

// txWrite is rows of one request.
type txWrite struct {
	table     *txTable
	op        string // insert, update, delete, upsert
	columns   string // that are written
	given     string // those of SET
	doNothing bool
	ids       []string
	rows      []txRow
	level     *txLevel // whose end decides
}

// like is whether rows of both go together.
func (w *txWrite) like(o *txWrite) bool {
	return w.table == o.table && w.op == o.op && w.columns == o.columns && w.given == o.given && w.doNothing == o.doNothing && w.level == o.level
}

func (w *txWrite) part(from, to int) *txWrite {
	p := *w
	p.ids, p.rows = w.ids[from:to], w.rows[from:to]
	return &p
}

// txLevel is a transaction or an open part of one.
type txLevel struct {
	name    string
	entries []*txEntry
	local   map[string]txLocal // as it was when it began
	// touched rows that others write, too.
	shared bool
}

// txLocal is a row of the local table.
type txLocal struct {
	n      int
	orphan bool // its parent is missing, which the commit does not forgive
}

// txModel is one session's view; the API is everybody's.
type txModel struct {
	api        *txAPI
	compensate bool
	mode       string // write_at

	levels []*txLevel
	local  map[string]txLocal
	queue  []*txWrite // of write_at 'commit'
	// log is all entries that there are to be, in no order.
	log []*txEntry
}

func (m *txModel) top() *txLevel { return m.levels[len(m.levels)-1] }

func (m *txModel) push(name string) {
	m.levels = append(m.levels, &txLevel{name: name, local: maps.Clone(m.local)})
}

// release makes the innermost part its parent's.
func (m *txModel) release() {
	l := m.top()
	m.levels = m.levels[:len(m.levels)-1]
	up := m.top()
	up.entries = append(up.entries, l.entries...)
	for _, q := range m.queue {
		if q.level == l {
			q.level = up
		}
	}
}

// rollback ends the innermost part.
func (m *txModel) rollback() {
	l := m.top()
	m.levels = m.levels[:len(m.levels)-1]
	m.local = l.local
	m.queue = slices.DeleteFunc(m.queue, func(q *txWrite) bool { return q.level == l })
	for _, e := range slices.Backward(l.entries) {
		switch e.state {
		case "queued":
			e.state = "" // there is none
		case "applied":
			if e.state = "orphaned"; m.compensate && m.undo(e) {
				e.state = "compensated"
			}
		}
	}
}

// undo reports whether the API has the row as it was before.
func (m *txModel) undo(e *txEntry) bool {
	switch e.op {
	case "insert":
		m.api.remove(e.id)
		return true
	case "delete":
		return m.api.insert(e.id, e.before) == ""
	}
	now, there := m.api.rows[e.id]
	switch {
	case !there || !e.was:
		return false
	case now.same(e.before, e.columns):
		return true
	case !now.same(e.after, e.columns):
		return false
	}
	return m.api.update(e.id, e.before, e.columns) == ""
}

// write does what a statement asks for, and gives the SQLSTATE that it fails with.
func (m *txModel) write(w *txWrite) string {
	w.level = m.top()
	switch m.mode {
	case "commit":
		for i := range w.ids {
			row := w.part(i, i+1)
			if k := len(m.queue) - 1; k >= 0 && m.queue[k].like(row) && len(m.queue[k].ids) < w.table.batch {
				q := m.queue[k]
				q.ids, q.rows = append(slices.Clone(q.ids), row.ids...), append(slices.Clone(q.rows), row.rows...)
				continue
			}
			m.queue = append(m.queue, row)
		}
	case "after_commit":
		for i, id := range w.ids {
			m.entry(w.level, &txEntry{id: id, op: w.op, state: "queued", queued: w.part(i, i+1)})
		}
	default:
		for from := 0; from < len(w.ids); from += w.table.batch {
			if code := m.send(w.part(from, min(from+w.table.batch, len(w.ids))), w.level); code != "" {
				return code
			}
		}
	}
	return ""
}

func (m *txModel) entry(l *txLevel, e *txEntry) {
	m.log = append(m.log, e)
	if l != nil {
		l.entries = append(l.entries, e)
	}
}

// send is a request, in parts if rows of an upsert are of the same object. The
// first refusal is its answer.
func (m *txModel) send(w *txWrite, l *txLevel) string {
	if w.op != "upsert" {
		return m.request(w, l)
	}
	for from := 0; from < len(w.ids); {
		to := from + 1
		for to < len(w.ids) && !slices.Contains(w.ids[from:to], w.ids[to]) {
			to++
		}
		if code := m.upsert(w.part(from, to), l); code != "" {
			return code
		}
		from = to
	}
	return ""
}

// upsert is of different objects. Those that are as they are to be are not sent.
func (m *txModel) upsert(w *txWrite, l *txLevel) string {
	updates, inserts, sent := &txWrite{op: "update", columns: w.columns}, &txWrite{op: "insert", columns: w.columns}, &txWrite{op: "upsert", columns: w.columns}
	for i, id := range w.ids {
		now, there := m.api.rows[id]
		p := sent
		switch {
		case there && now.same(w.rows[i], allColumns):
			continue
		case w.table.upsert == "native":
		case there:
			p = updates
		default:
			p = inserts
		}
		p.ids, p.rows = append(p.ids, id), append(p.rows, w.rows[i])
	}
	if w.table.upsert == "native" {
		return m.request(sent, l)
	}
	if code := m.request(updates, l); code != "" {
		return code
	}
	return m.request(inserts, l)
}

// request has all of its rows tried.
func (m *txModel) request(w *txWrite, l *txLevel) (first string) {
	before := maps.Clone(m.api.rows)
	for i, id := range w.ids {
		e := &txEntry{id: id, op: w.op, state: "applied", after: w.rows[i], columns: w.columns}
		e.before, e.was = before[id]
		code := m.one(e)
		if code != "" {
			e.state = "refused"
		}
		m.entry(l, e)
		if first == "" && code != gone && (code != "23505" || !w.doNothing) {
			first = code
		}
	}
	return first
}

// one has a row written, and gives the SQLSTATE with which the API refuses it.
func (m *txModel) one(e *txEntry) string {
	switch _, there := m.api.rows[e.id]; {
	case e.op == "delete":
		return m.api.remove(e.id)
	case e.op == "update" || e.op == "upsert" && there:
		return m.api.update(e.id, e.after, e.columns)
	default:
		code := m.api.insert(e.id, e.after)
		if code == "" {
			e.op = "insert"
		}
		return code
	}
}

// commit ends the transaction, and gives the SQLSTATE that keeps it from that.
func (m *txModel) commit() string {
	for len(m.levels) > 1 {
		m.release()
	}
	code := ""
	for _, r := range m.local {
		if r.orphan {
			code = "23503"
		}
	}
	for len(m.queue) > 0 && code == "" {
		q := m.queue[0]
		m.queue = m.queue[1:]
		code = m.send(q, m.top())
	}
	if code != "" {
		m.rollback()
		return code
	}
	m.deliver(m.top().entries)
	m.levels = nil
	return ""
}

// deliver sends what waited for the commit.
func (m *txModel) deliver(list []*txEntry) {
	list = slices.DeleteFunc(slices.Clone(list), func(e *txEntry) bool { return e.state != "queued" })
	for len(list) > 0 {
		first := list[0].queued
		n := 1
		for n < len(list) && n < first.table.deliver {
			q := list[n].queued
			if q.table != first.table || q.op != first.op || q.columns != first.columns ||
				slices.ContainsFunc(list[:n], func(e *txEntry) bool { return e.id == list[n].id }) {
				break
			}
			n++
		}
		group := list[:n]
		list = list[n:]
		if first.table.upsert == "find" && first.op == "upsert" {
			// Those that are there come first. If one of them is refused, the others wait
			// for the next request.
			var updates, inserts []*txEntry
			for _, e := range group {
				if _, there := m.api.rows[e.id]; there {
					updates = append(updates, e)
				} else {
					inserts = append(inserts, e)
				}
			}
			if m.arrive(updates) {
				m.arrive(inserts)
			} else {
				list = append(inserts, list...)
			}
			continue
		}
		m.arrive(group)
	}
}

// arrive has the API do what was delivered; false: it has refused some of it.
func (m *txModel) arrive(group []*txEntry) bool {
	all := true
	for _, e := range group {
		op := e.op
		e.after, e.columns = e.queued.rows[0], e.queued.columns
		if e.state = "applied"; m.one(e) != "" {
			e.state, all = "refused", false
		}
		e.op = op
	}
	return all
}
