package sync

// An API in memory, with a clock of its own.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	gosync "sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// fakeAPI has one object: id text, name text, updated timestamptz.
type fakeAPI struct {
	mu gosync.Mutex
	// skew is how far its clock is ahead of everybody's.
	skew time.Duration
	rows map[string]fakeRow
	// page is called before each page is read, without the lock; an error is the
	// API's. Pages are counted over all scans.
	page  func(n int) error
	pages int
	// scans are the filters asked for.
	scans []string

	pageRows            int
	noModified, noOrder bool
	// sorts by what it is asked to; it lists by key, as ever.
	sorts bool
	// shuffle gives each page its own order, so that pages overlap and leave out.
	shuffle bool
	// passOver is a row that lists without a filter leave out.
	passOver string
	// graves are the deleted records' keys with their times; nil: it does not tell.
	graves map[string]time.Time
	// remembers is for how long it tells.
	remembers time.Duration
	opened    int
	// log is what happened, the oldest first; nil: it does not tell.
	log []fakeEntry
	// barred: the log may not be read.
	barred bool
}

// fakeEntry of the log: something happened to id.
type fakeEntry struct {
	id string
	at time.Time
}

// note what happened, if there is a log; with the lock.
func (f *fakeAPI) note(id string) {
	if f.log != nil {
		f.log = append(f.log, fakeEntry{id, time.Now().Add(f.skew).Truncate(time.Second)})
	}
}

type fakeRow struct {
	name    string
	updated time.Time
}

func newFake(n int) *fakeAPI {
	f := &fakeAPI{rows: map[string]fakeRow{}, pageRows: 100}
	for i := range n {
		f.rows[fmt.Sprintf("k%07d", i)] = fakeRow{fmt.Sprint("row ", i), time.Now().Add(-24*time.Hour - time.Duration(i)*10*time.Minute)}
	}
	return f
}

func (f *fakeAPI) put(id, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[id] = fakeRow{name, time.Now().Add(f.skew).Truncate(time.Millisecond)}
	f.note(id)
}

func (f *fakeAPI) putAt(id, name string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[id] = fakeRow{name, at}
}

func (f *fakeAPI) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.rows, id)
	f.note(id)
	if f.graves != nil {
		f.graves[id] = time.Now().Add(f.skew).Truncate(time.Millisecond)
	}
}

// asked gives the scans since it was last called: columns and filter.
func (f *fakeAPI) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.scans
	f.scans = nil
	return out
}

func (f *fakeAPI) contents() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for id, r := range f.rows {
		out[id] = r.name
	}
	return out
}

func fakeTypes() []pushdown.Type {
	return []pushdown.Type{{Kind: pushdown.Text, OID: 25, Name: "text"}, {Kind: pushdown.Text, OID: 25, Name: "text"},
		{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"}}
}

// fakeTable is a foreign table on it.
type fakeTable struct{ *fakeAPI }

func (f fakeTable) Describe() connectors.Description {
	d := connectors.Description{Object: "things", Key: []int{0}, KeyOrdered: !f.noOrder, Rows: 1000, ListLag: -1}
	if !f.noModified {
		d.Modified = []int{2}
	}
	return d
}

func (f fakeTable) Plan(req pushdown.Request) pushdown.Plan {
	// A page costs as much as a row by its key.
	p := pushdown.Plan{Rows: 1000, TotalCost: 10}
	if f.sorts && len(req.Orderings) > 0 {
		p.ExactOrderings = []int{0}
	}
	for _, c := range req.Conjuncts {
		p.Conjuncts = append(p.Conjuncts, pushdown.Conjunct{Verdict: pushdown.Exact})
		if m, ok := c.(*pushdown.Membership); ok {
			p.TotalCost = float64(len(m.Array.(*pushdown.Param).Value.V.([]pushdown.Value)))
		}
	}
	return p
}

func (f fakeTable) Request(connectors.Query) string { return "GET things" }

func (f fakeTable) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	pred, err := pushdown.CompileAll(q.Conjuncts, fakeTypes())
	if err != nil {
		return connectors.ScanResult{}, err
	}
	f.mu.Lock()
	text := fmt.Sprint(len(q.Columns), " columns ")
	for _, c := range q.Conjuncts {
		text += pushdown.Format(c, []string{"id", "name", "updated"})
	}
	f.scans = append(f.scans, text)
	f.mu.Unlock()
	last := ""
	for at := 0; ; at++ {
		f.mu.Lock()
		f.pages++
		n, page := f.pages, f.page
		f.mu.Unlock()
		if page != nil {
			if err := page(n); err != nil {
				return connectors.ScanResult{}, err
			}
		}
		if err := ctx.Err(); err != nil {
			return connectors.ScanResult{}, err
		}
		// As seek paging does: the rows after the last one, as they are now.
		f.mu.Lock()
		var ids []string
		for id := range f.rows {
			if id > last && (id != f.passOver || len(q.Conjuncts) > 0) {
				ids = append(ids, id)
			}
		}
		if f.shuffle {
			// By offset, in an order that means nothing.
			rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		} else {
			slices.Sort(ids)
		}
		count, skip := 0, at*f.pageRows
		for _, id := range ids {
			values := []pushdown.Value{{V: id}, {V: f.rows[id].name}, {V: f.rows[id].updated.UnixMicro() - epoch}}
			if ok, err := pred.Matches(func(c int) pushdown.Value { return values[c] }); err != nil || !ok {
				continue
			}
			if count == f.pageRows {
				break
			}
			if f.shuffle {
				if skip--; skip >= 0 {
					continue
				}
			} else {
				last = id
			}
			count++
			for _, c := range q.Columns {
				out.Value(values[c])
			}
			if err := out.EndRow(); err != nil {
				f.mu.Unlock()
				return connectors.ScanResult{}, err
			}
		}
		f.mu.Unlock()
		q.Stats.Pages.Add(1)
		if err := out.Flush(); err != nil {
			return connectors.ScanResult{}, err
		}
		if count < f.pageRows {
			return connectors.ScanResult{}, nil
		}
	}
}

// Changes is what fakeAPI.log has.
func (f fakeTable) Changes() *connectors.Changes {
	if f.log == nil {
		return nil
	}
	return &connectors.Changes{Logs: []connectors.Table{fakeLog{f}}, Remembers: f.remembers, Made: -1}
}

type fakeLog struct{ fakeTable }

// Scan shows the newest first.
func (f fakeLog) Scan(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pred, err := pushdown.CompileAll(q.Conjuncts, []pushdown.Type{fakeTypes()[0], fakeTypes()[2]})
	if err != nil {
		return connectors.ScanResult{}, err
	}
	if f.barred {
		return connectors.ScanResult{}, &connectors.Error{Class: connectors.PermissionDenied, API: "Fake", Message: "not for you"}
	}
	f.scans = append(f.scans, fmt.Sprint("log of ", q.Limit, " ", len(q.Conjuncts)))
	for _, e := range slices.Backward(f.log) {
		values := []pushdown.Value{{V: e.id}, {V: e.at.UnixMicro() - epoch}}
		if e.id == "" {
			values[0] = pushdown.Value{}
		}
		if ok, err := pred.Matches(func(c int) pushdown.Value { return values[c] }); err != nil || !ok {
			continue
		}
		for _, c := range q.Columns {
			out.Value(values[c])
		}
		if err := out.EndRow(); err != nil || q.Limit > 0 {
			return connectors.ScanResult{}, err
		}
	}
	return connectors.ScanResult{}, nil
}

func (f fakeTable) Remembers() time.Duration { return f.remembers }

// Deleted is what fakeAPI.graves has.
func (f fakeTable) Deleted() connectors.Table {
	if f.graves == nil {
		return nil
	}
	return fakeGraves{f}
}

type fakeGraves struct{ fakeTable }

func (f fakeGraves) Scan(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	types := []pushdown.Type{fakeTypes()[0], fakeTypes()[2]}
	pred, err := pushdown.CompileAll(q.Conjuncts, types)
	if err != nil {
		return connectors.ScanResult{}, err
	}
	f.scans = append(f.scans, "graves "+pushdown.Format(q.Conjuncts[0], []string{"id", "deleted"}))
	for id, at := range f.graves {
		values := []pushdown.Value{{V: id}, {V: at.UnixMicro() - epoch}}
		if ok, err := pred.Matches(func(c int) pushdown.Value { return values[c] }); err != nil || !ok {
			continue
		}
		out.Value(values[0])
		if err := out.EndRow(); err != nil {
			return connectors.ScanResult{}, err
		}
	}
	return connectors.ScanResult{}, nil
}

// fakeOpener binds every definition to the API.
type fakeOpener struct {
	api   *fakeAPI
	relid func() (relid, server uint32)
}

func (o fakeOpener) OpenTable(context.Context, []byte) (connectors.Table, cache.Definition, func(), error) {
	relid, server := o.relid()
	def := cache.Definition{Relid: relid, ServerOID: server, Account: make([]byte, 32), Object: "things", Key: []int{0}}
	for i, name := range []string{"id", "name", "updated"} {
		def.Columns = append(def.Columns, cache.Column{Name: name, Type: fakeTypes()[i]})
	}
	o.api.mu.Lock()
	defer o.api.mu.Unlock()
	o.api.opened++
	return fakeTable{o.api}, def, func() {
		o.api.mu.Lock()
		defer o.api.mu.Unlock()
		o.api.opened--
	}, nil
}
