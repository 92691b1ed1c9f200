// Package overlay remembers what was written through the sidecar for as long as
// an API's lists may not show it, and lays it over what they do show. It keeps
// everything in memory, knows no API, and is right for the writes of this
// process alone.
//
// This file is the log of writes; filter.go lays it over a scan.
package overlay

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// MaxBytes bounds the rows that a Log holds. Past it the rows of the object
// written last are forgotten, and View.Unsure says so.
const MaxBytes = 64 << 20

// forgotten is how long an object without writes is remembered at all: longer
// than any scan that began before its last write.
const forgotten = 24 * time.Hour

// Place is a foreign table as an account sees it.
type Place struct {
	// Server and Table are hashes over their definitions, Object is the API's
	// name of what the table shows, unique on the server.
	Server  [32]byte
	Object  string
	Account string
	Table   [32]byte
}

// Row is what a write made of one object. It does not change.
type Row struct {
	Deleted bool
	// Fields are the values in PostgreSQL's binary format by the table's columns;
	// nil is NULL.
	Fields [][]byte

	until time.Time
}

func (r *Row) size() int64 {
	n := int64(100)
	for _, f := range r.Fields {
		n += int64(len(f)) + 24
	}
	return n
}

// Log holds recent writes. Safe for concurrent use.
type Log struct {
	now func() time.Time
	max int64

	mu      sync.Mutex
	count   uint64 // of writes, for stamps
	bytes   int64
	objects map[objectKey]*object
	doubt   map[[32]byte]time.Time // servers
	swept   time.Time
}

type objectKey struct {
	server [32]byte
	name   string
}

type tableKey struct {
	account string
	table   [32]byte
}

type object struct {
	stamp   uint64
	touched time.Time
	unsure  time.Time // until then lists may not show a write that is not known
	tables  map[tableKey]*table
	writing map[string]*pending // by key, while the API is asked
}

// table is what was written through one.
type table struct {
	until time.Time
	rows  map[string]*Row
}

// pending are the writes of one key that run. Which of two that overlap the API
// did last is not known.
type pending struct {
	n       int
	clashed bool
}

// NewLog makes an empty log.
func NewLog() *Log {
	return &Log{now: time.Now, max: MaxBytes, objects: map[objectKey]*object{}, doubt: map[[32]byte]time.Time{}}
}

// at finds or makes an object. mu is held.
func (l *Log) at(p Place) *object {
	k := objectKey{p.Server, p.Object}
	o := l.objects[k]
	if o == nil {
		o = &object{tables: map[tableKey]*table{}, writing: map[string]*pending{}}
		l.objects[k] = o
	}
	o.touched = l.now()
	return o
}

// Write is one that runs.
type Write struct {
	l     *Log
	place Place
	keys  []string
}

// Begin tells that rows with these keys (Key's) are about to be written. End
// must follow.
func (l *Log) Begin(p Place, keys []string) *Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.at(p)
	for _, k := range keys {
		w := o.writing[k]
		if w == nil {
			w = &pending{}
			o.writing[k] = w
		}
		w.n++
		w.clashed = w.clashed || w.n > 1
	}
	return &Write{l: l, place: p, keys: keys}
}

func (o *object) clashed(keys []string) bool {
	for _, k := range keys {
		if p := o.writing[k]; p != nil && p.clashed {
			return true
		}
	}
	return false
}

// Change is what a write made of the row of a key.
type Change struct {
	Key string
	Row *Row
}

// End tells what the write has made. unsure: not all of it is known; it is not
// either, and End says so, if another write of one of the keys ran meanwhile.
// For lag after it lists may not show it; lag 0 or below is none.
func (w *Write) End(changes []Change, unsure bool, lag time.Duration) bool {
	l := w.l
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.at(w.place)
	unsure = unsure || o.clashed(w.keys)
	for _, k := range w.keys {
		if p := o.writing[k]; p != nil {
			if p.n--; p.n == 0 {
				delete(o.writing, k)
			}
		}
	}
	if len(changes) == 0 && !unsure {
		return false
	}
	l.count++
	o.stamp = l.count
	// What other tables and accounts wrote to these rows is of the past.
	for _, c := range changes {
		for _, t := range o.tables {
			l.drop(t, c.Key)
		}
	}
	until := l.now().Add(lag)
	if unsure {
		l.forget(o, until)
	}
	if lag <= 0 {
		return unsure
	}
	k := tableKey{w.place.Account, w.place.Table}
	t := o.tables[k]
	if t == nil {
		t = &table{rows: map[string]*Row{}}
		o.tables[k] = t
	}
	t.until = until
	if !unsure {
		for _, c := range changes {
			r := *c.Row
			r.until = until
			l.drop(t, c.Key)
			t.rows[c.Key] = &r
			l.bytes += r.size()
		}
	}
	l.sweep()
	if l.bytes > l.max {
		l.forget(o, until)
	}
	return unsure
}

func (l *Log) drop(t *table, key string) {
	if r := t.rows[key]; r != nil {
		l.bytes -= r.size()
		delete(t.rows, key)
	}
}

// forget drops an object's rows; until then its lists may not show them.
func (l *Log) forget(o *object, until time.Time) {
	for _, t := range o.tables {
		for k := range t.rows {
			l.drop(t, k)
		}
	}
	if until.After(o.unsure) {
		o.unsure = until
	}
}

// sweep drops what is over, now and then.
func (l *Log) sweep() {
	now := l.now()
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for k, o := range l.objects {
		for tk, t := range o.tables {
			for key, r := range t.rows {
				if !now.Before(r.until) {
					l.drop(t, key)
				}
			}
			if len(t.rows) == 0 && !now.Before(t.until) {
				delete(o.tables, tk)
			}
		}
		if len(o.tables) == 0 && len(o.writing) == 0 && now.Sub(o.touched) > forgotten {
			delete(l.objects, k)
		}
	}
}

// Forget drops what is known of an object, in all its tables: whoever asks next
// wants what the API says. Keys, if any, are the only ones dropped.
func (l *Log) Forget(server [32]byte, object string, keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.objects[objectKey{server, object}]
	if o == nil {
		return
	}
	l.count++
	o.stamp = l.count
	if len(keys) == 0 {
		l.forget(o, time.Time{})
		o.unsure = time.Time{}
		clear(o.tables)
	}
	for _, k := range keys {
		for _, t := range o.tables {
			l.drop(t, k)
		}
	}
}

// Doubt says that until then lists of a server may lack writes that nobody here
// knows: another process made them.
func (l *Log) Doubt(server [32]byte, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(l.doubt[server]) {
		l.doubt[server] = until
	}
}

// View is the log as a scan that begins now must see it.
type View struct {
	// Stamp changes with every write to the object.
	Stamp uint64
	// Rows by key that stand in for the list's; nil: none.
	Rows map[string]*Row
	// Unsure: something was written that the list may not show and that is not
	// in Rows. What it shows must not be kept.
	Unsure bool
	// SureAt is when that ends, if nothing else is written; zero: it is not Unsure.
	SureAt time.Time
}

// unsure until then, if that is still to come.
func (v *View) unsure(now, until time.Time) {
	if now.Before(until) {
		v.Unsure = true
		if until.After(v.SureAt) {
			v.SureAt = until
		}
	}
}

// View of a place.
func (l *Log) View(p Place) View {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	v := View{}
	v.unsure(now, l.doubt[p.Server])
	o := l.objects[objectKey{p.Server, p.Object}]
	if o == nil {
		return v
	}
	v.Stamp = o.stamp
	v.unsure(now, o.unsure)
	for k, t := range o.tables {
		if k.account != p.Account || !now.Before(t.until) {
			continue
		}
		if k.table != p.Table {
			v.unsure(now, t.until)
			continue
		}
		for key, r := range t.rows {
			if now.Before(r.until) {
				if v.Rows == nil {
					v.Rows = make(map[string]*Row, len(t.rows))
				}
				v.Rows[key] = r
			}
		}
	}
	return v
}

// Key is a form of a key's values that is the same just for equal keys of one
// object, whatever their types' spelling: 1.0 is 1.
func Key(types []pushdown.Type, values []pushdown.Value) string {
	var b []byte
	for i, v := range values {
		var text []byte
		switch x := v.V.(type) {
		case nil:
			b = append(b, '-')
			continue
		case float64:
			text = pushdown.AppendFloat(nil, x+0, 64) // +0 makes -0 zero
		case string:
			switch types[i].Kind {
			case pushdown.Numeric:
				if strings.Contains(x, ".") {
					x = strings.TrimRight(strings.TrimRight(x, "0"), ".")
				}
				if x == "-0" || x == "" {
					x = "0"
				}
			case pushdown.BPChar:
				x = strings.TrimRight(x, " ")
			}
			text = []byte(x)
		default:
			text = pushdown.AppendText(nil, v, types[i])
		}
		b = strconv.AppendInt(b, int64(len(text)), 10)
		b = append(append(b, ':'), text...)
	}
	return string(b)
}
