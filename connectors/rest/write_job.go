// Writing by a job: it is made, gets its rows as CSV, is started and looked at until
// it is over, and tells in further CSV what became of each row. There a row is known
// by what was in it: by its key, or where it has none by all of it. Rows that are
// equal in all of it are as good as each other: what is said of as many of them as
// there are is shared out in their order.

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

const (
	// leastJobTime is what a statement must have left for a job to be begun.
	leastJobTime = 2 * time.Minute
	// jobMargin is how long before its end at most a job is aborted, so that there is
	// time to learn what became of its rows.
	jobMargin = afterlife
	// startTries is how often a job is told to begin, if it is seen that it has not.
	startTries = 3
	// looksLost is how many looks at a job may fail one after the other.
	looksLost = 5
	// leastLoad is the fewest rows that go by a job.
	leastLoad = 2
)

// loadJobs are the options of a manifest that writes by jobs.
func loadJobs() jobOptions {
	return jobOptions{mode: "bulk_writes", rows: "bulk_write_rows", low: leastLoad, high: 100_000,
		modeHelp: "Whether many rows at once are written by jobs of the API, which do each row by itself: auto (from bulk_write_rows rows on, in statements that may last two minutes or longer still), always (few rows, too, and however short the time is) or never.",
		rowsHelp: "How many rows must have been collected, at least, for a job to write them with bulk_writes 'auto'; by default what the manifest says."}
}

// leastLoad is how many rows a job has at least.
func (t *table) leastLoad() int {
	switch {
	case t.loads.mode == bulkAlways:
		return leastLoad
	case t.loads.minRows > 0:
		return int(t.loads.minRows)
	}
	return t.src.m.Load.MinRows
}

// describeLoads says how many rows a Modify may have for a job.
func (t *table) describeLoads(d *connectors.Description) {
	rules := t.src.m.Load
	if rules == nil || t.loads.mode == bulkNever || t.leastLoad() > rules.MaxRows {
		return
	}
	rows := func(op connectors.Operation, w *Write) int {
		if w == nil || rules.operation(op) == "" || keyed(op) && t.key < 0 {
			return 0
		}
		return rules.MaxRows
	}
	d.Jobs = connectors.BatchRows{Insert: rows(connectors.Insert, t.create), Update: rows(connectors.Update, t.update),
		Delete: rows(connectors.Delete, t.delete), Upsert: rows(connectors.Upsert, t.upsert)}
}

// operation is what the API calls it; empty: it does not go by jobs.
func (r *LoadJob) operation(op connectors.Operation) string {
	name := map[connectors.Operation]string{connectors.Insert: "create", connectors.Update: "update", connectors.Delete: "delete", connectors.Upsert: "upsert"}[op]
	for _, p := range r.Operations {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// load is rows of a batch for one job: those from first up to end.
type load struct {
	m          *modification
	rules      *LoadJob
	first, end int
	head       []string
	csv        []byte
	// by are the positions in head of what a row is known by in results; at has the
	// rows that are alike in that.
	by []int
	at map[string]*alike
	// res and left are by row - first: what became of it, and whether the job has not
	// come to it.
	res  []connectors.Result
	left []bool
	// The job. initial is the state in which it was made; over: it writes no more.
	id, initial, state, message string
	started, over               bool
	// looked is the last request that was answered, for errors.
	looked string
}

// alike are rows that results cannot tell apart, in their order, and how many lines
// there were for them.
type alike struct {
	rows  []int
	lines int
}

// load is what of the rows from first on goes by a job; nil: they do not.
func (m *modification) load(first int) *load {
	t, b, rules := m.t, m.batch, m.t.src.m.Load
	if rules == nil || !b.Jobs || t.loads.mode == bulkNever || rules.operation(b.Op) == "" || len(b.ReturningColumns) > 0 || b.Again != "" {
		return nil
	}
	least := t.leastLoad()
	if len(b.Rows)-first < least {
		return nil
	}
	l := &load{m: m, rules: rules, first: first, end: first, at: map[string]*alike{}}
	if !l.columns() {
		return nil
	}
	l.csv = appendLine(nil, l.head)
	cells := make([]string, len(l.head))
	lines := map[string]string{} // of the first row of a name
	for i := first; i < len(b.Rows) && i-first < rules.MaxRows && len(l.csv) < rules.MaxBytes; i++ {
		if !l.cells(i, cells) {
			return nil // a request can say what is wrong with it, if something is
		}
		begin := len(l.csv)
		l.csv = appendLine(l.csv, cells)
		name := l.name(cells)
		like := name
		if b.Op == connectors.Upsert {
			like = strings.ToLower(strings.TrimSpace(name)) // as APIs find records
		}
		// A second write of a record has its turn when the first one is done; rows that
		// only the API could tell apart go apart, too.
		line, again := lines[like]
		if again && (b.Op != connectors.Insert || line != string(l.csv[begin:])) {
			l.csv = l.csv[:begin]
			break
		}
		if !again && b.Op == connectors.Insert {
			line = string(l.csv[begin:])
		}
		lines[like] = line
		l.sent(name, i)
		l.end = i + 1
	}
	if l.end-first < least {
		return nil
	}
	l.res, l.left = make([]connectors.Result, l.end-first), make([]bool, l.end-first)
	return l
}

// sent notes that row i is one that is known by name.
func (l *load) sent(name string, i int) {
	if l.at[name] == nil {
		l.at[name] = &alike{}
	}
	l.at[name].rows = append(l.at[name].rows, i)
}

// columns finds the CSV's; false: there are some that it cannot have.
func (l *load) columns() bool {
	t, b := l.m.t, l.m.batch
	if keyed(b.Op) {
		l.head, l.by = []string{l.rules.Key}, []int{0}
	}
	for _, c := range b.Columns {
		col := t.column(c)
		if len(col.send) != 1 || col.whole || col.field.List || col.field.Type == "json" || col.field.Type == "bytes" || slices.Contains(l.head, col.send[0]) {
			return false
		}
		if b.Op == connectors.Insert || b.Op == connectors.Upsert && c == b.MatchColumns[0] {
			l.by = append(l.by, len(l.head))
		}
		l.head = append(l.head, col.send[0])
	}
	return len(l.by) > 0
}

// cells makes row i's; false: the row is not one for CSV.
func (l *load) cells(i int, cells []string) bool {
	t, b := l.m.t, l.m.batch
	row, n := b.Rows[i], 0
	if keyed(b.Op) {
		var ok bool
		if cells[0], ok = t.keyText(row.Key[0]); !ok {
			return false
		}
		n = 1
	}
	for j, c := range b.Columns {
		raw, there, err := t.appendSendable(nil, t.column(c), row.Values[j], b.Op)
		if err != nil {
			return false
		}
		cell := ""
		if there {
			if cell, there = l.cell(raw); !there {
				return false
			}
		}
		cells[n+j] = cell
	}
	return true
}

// cell is a JSON value as CSV has it; false: that would be another.
func (l *load) cell(raw []byte) (string, bool) {
	text := string(raw)
	switch {
	case raw[0] == '{' || raw[0] == '[':
		return "", false
	case raw[0] == '"':
		if text = textIn(raw); text != "" {
			return text, text != l.rules.Null && strings.TrimSpace(text) != ""
		}
	case text != "null":
		return text, true
	}
	return l.rules.Null, l.rules.Null != "" || l.m.batch.Op == connectors.Insert
}

// name is what a row is known by. Results may have other line breaks, and nothing
// for a value that was taken away.
func (l *load) name(cells []string) string {
	var b strings.Builder
	for _, at := range l.by {
		cell := strings.ReplaceAll(cells[at], "\r\n", "\n")
		if cell == l.rules.Null {
			cell = ""
		}
		if len(l.by) > 1 {
			b.WriteString(itoa(len(cell)))
			b.WriteByte(':')
		}
		b.WriteString(cell)
	}
	return b.String()
}

func appendLine(dst []byte, cells []string) []byte {
	for i, c := range cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(c, `"`, `""`)...)
		dst = append(dst, '"')
	}
	return append(dst, '\n')
}

// hasTimeToLoad tells whether the statement may last as long as a job may take.
func (t *table) hasTimeToLoad(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return !ok || t.loads.mode == bulkAlways || time.Until(end) >= leastJobTime
}

// send writes the rows and says what became of each. false: the API makes no such
// job, and nothing was done. An error that is UnknownOutcome leaves all of them in
// doubt; any other says that none was written.
func (l *load) send(ctx context.Context) (bool, error) {
	batch := l.m.batch
	within := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		within, cancel = context.WithDeadline(ctx, end.Add(-min(jobMargin, time.Until(end)/4)))
		defer cancel()
	}
	if err := l.m.t.src.client.Afford(within, "", loadCalls); err != nil {
		return false, err
	}
	if err := l.create(within); err != nil {
		var refused *refusedJob
		if errors.As(err, &refused) && l.m.t.loads.mode == bulkAuto {
			return false, nil
		}
		return false, l.unbegun(err)
	}
	defer l.leave(ctx)
	if batch.Job = l.id; batch.Ready != nil {
		if err := batch.Ready(ctx, l.end, l.end); err != nil {
			return true, err
		}
	}
	if err := l.tell(within, http.MethodPut, l.rules.Upload, "text/csv; charset=UTF-8", l.csv); err != nil {
		return true, l.unbegun(err)
	}
	why := l.start(within)
	if why != nil && !l.started {
		return true, l.unbegun(why)
	}
	if why == nil {
		why = l.await(within)
	}
	// What is written is written: it is to be known.
	own, cancel := afterwards(ctx)
	defer cancel()
	if !l.over {
		l.abort(own)
	}
	if !l.over {
		return true, l.lost("whether it goes on is not known", why)
	}
	if err := l.results(own, false); err != nil {
		return true, l.lost("its results cannot be read", err)
	}
	if i := l.silent(); i >= 0 {
		// Who asks for all of the rows again does so for those that are like it, too.
		return true, l.lost(fmt.Sprintf("its results do not tell of row %d", i+1), why)
	}
	l.conclude(why)
	return true, nil
}

// Loaded says what became of rows that were given to a job.
func (t *table) Loaded(ctx context.Context, job string, batch *connectors.Batch) error {
	m, err := t.modification(batch)
	if err != nil {
		return err
	}
	l := &load{m: m, rules: t.src.m.Load, end: len(batch.Rows), at: map[string]*alike{}, id: job, started: true,
		res: make([]connectors.Result, len(batch.Rows)), left: make([]bool, len(batch.Rows))}
	if l.rules == nil || !l.columns() {
		return &connectors.Error{Class: connectors.NotSupported, API: t.src.m.Name,
			Message: fmt.Sprintf("rows of %s do not go by jobs any more: what became of those of job %s cannot be asked", t.object.Name, job)}
	}
	cells := make([]string, len(l.head))
	for i := range batch.Rows {
		if l.cells(i, cells) {
			l.sent(l.name(cells), i)
		}
	}
	if err := l.look(ctx); err != nil {
		return err
	}
	if !l.over {
		_ = l.patch(ctx, l.rules.Abort) // the next look tells
		if err := l.look(ctx); err != nil {
			return err
		}
	}
	if !l.over {
		return &connectors.Error{Class: connectors.Unavailable, API: t.src.m.Name, Message: fmt.Sprintf("job %s has not ended yet", job)}
	}
	if err := l.results(ctx, true); err != nil {
		return err
	}
	batch.Results = l.res
	for i := range l.left {
		if l.left[i] {
			batch.Results[i] = connectors.Result{Outcome: connectors.Refused, Err: l.ended(nil)}
		}
	}
	return nil
}

// afterwards is the context of what has to be done about a job even if nobody waits for
// it, and whatever calls it takes.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(connectors.WithStatement(context.WithoutCancel(ctx), nil), afterlife)
}

// unbegun is the error of rows of which none is written, as the job never began.
func (l *load) unbegun(err error) error {
	var e *connectors.Error
	if errors.As(err, &e) && e.Class != connectors.UnknownOutcome {
		return err
	}
	out := &connectors.Error{Class: connectors.Unavailable, API: l.m.t.src.m.Name, Err: err,
		Message: "no job could be begun for the rows, and none of them is written", Detail: err.Error()}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		out.Class, out.Detail = connectors.DeadlineExceeded, "The statement's time was over before."
	}
	return out
}

// lost is the error of rows of which it is not known what the job has made of them.
func (l *load) lost(what string, err error) error {
	e := &connectors.Error{Class: connectors.UnknownOutcome, API: l.m.t.src.m.Name, Err: err,
		Message: fmt.Sprintf("what became of rows that a job writes is not known: %s", what),
		Detail:  fmt.Sprintf("It is job %s. %s", l.id, l.looked)}
	if err != nil {
		e.Detail += " " + l.m.t.src.client.Redact(err.Error())
	}
	return e
}

// create makes the job, which writes nothing yet.
func (l *load) create(ctx context.Context) error {
	var body bytes.Buffer
	f := l.m.t.fetch(ctx, l.request(), &body)
	if l.looked = f.request; f.err != nil {
		var e *connectors.Error
		if errors.As(f.err, &e) && e.HTTPStatus >= 400 && e.HTTPStatus < 500 && e.Class != connectors.Unauthenticated && e.Class != connectors.RateLimited {
			return &refusedJob{f.err}
		}
		return f.err
	}
	l.id = textAt(body.Bytes(), l.rules.ID)
	l.initial = textAt(body.Bytes(), l.rules.State)
	if l.id == "" || l.initial == "" {
		return l.m.t.protocol(f.request, "a job without an id or a state", nil)
	}
	l.state = l.initial
	return nil
}

// request is that for the job.
func (l *load) request() *transport.Request {
	t, batch := l.m.t, l.m.batch
	object := t.object.APIName
	if object == "" {
		object = t.object.Name
	}
	fill := strings.NewReplacer("{object}", object, "{operation}", l.rules.operation(batch.Op), "{match}", t.matchName(batch))
	p := &parameters{body: newShape()}
	pairs := l.rules.Body
	if batch.Op == connectors.Upsert {
		pairs = slices.Concat(pairs, l.rules.Upsert)
	}
	for _, pair := range pairs {
		if len(placeholders(pair.Value)) > 0 {
			p.put(pair.Name, appendString(nil, fill.Replace(pair.Value)))
		} else {
			p.constant(pair)
		}
	}
	return &transport.Request{Method: http.MethodPost, Path: l.rules.Path, Body: p.body.json(), Header: http.Header{"Content-Type": {"application/json"}}, Stats: batch.Stats}
}

// requests describes what would be sent.
func (l *load) requests() []string {
	client := l.m.t.src.client
	req := l.request()
	return []string{client.Describe(req) + " " + client.Redact(string(req.Body)),
		fmt.Sprintf("%s with %d rows of CSV", client.Describe(&transport.Request{Method: http.MethodPut, Path: jobPath(l.rules.Upload, "ID")}), l.end-l.first)}
}

// tell sends the job something, once.
func (l *load) tell(ctx context.Context, method, path, kind string, body []byte) error {
	if ctx.Err() != nil {
		return l.m.t.interrupted(ctx)
	}
	req := &transport.Request{Method: method, Path: jobPath(path, l.id), Body: body, Header: http.Header{"Content-Type": {kind}}, Write: true, Stats: l.m.batch.Stats}
	resp, text, err := l.m.t.send(ctx, req)
	if err != nil {
		return err
	}
	if l.looked = resp.Request; !succeeded(resp.Status) {
		return l.m.t.refusal(resp, text, true)
	}
	return nil
}

// patch has the job change its state.
func (l *load) patch(ctx context.Context, pairs []Pair) error {
	p := &parameters{body: newShape()}
	for _, pair := range pairs {
		p.constant(pair)
	}
	return l.tell(ctx, http.MethodPatch, l.rules.Job, "application/json", p.body.json())
}

// start has the API begin. Where the answer does not tell whether it has, the job's
// state does. With an error it may have begun all the same, if started is set.
func (l *load) start(ctx context.Context) error {
	for try := 1; ; try++ {
		l.started = true
		err := l.patch(ctx, l.rules.Start)
		if err == nil {
			return nil
		}
		own, cancel := afterwards(ctx)
		unseen := l.look(own)
		cancel()
		switch {
		case unseen != nil:
			return err
		case l.state != l.initial:
			return nil
		}
		// It is as it was: it may still be told, or not at all.
		var e *connectors.Error
		if again := errors.As(err, &e) && e.Class == connectors.UnknownOutcome; again {
			// The first call may yet arrive.
			if try < startTries && ctx.Err() == nil {
				continue
			}
			return err
		}
		l.started = false
		return err
	}
}

// look asks for the job's state.
func (l *load) look(ctx context.Context) error {
	var body bytes.Buffer
	f := l.m.t.fetch(ctx, &transport.Request{Path: jobPath(l.rules.Job, l.id), Stats: l.m.batch.Stats}, &body)
	if f.err != nil {
		return f.err
	}
	state := textAt(body.Bytes(), l.rules.State)
	if l.looked = f.request; state == "" {
		return l.m.t.protocol(f.request, "a job without a state", nil)
	}
	l.state, l.message = state, textAt(body.Bytes(), l.rules.Message)
	l.over = slices.Contains(l.rules.Done, state) || slices.Contains(l.rules.Failed, state)
	return nil
}

// await looks at the job until it is over.
func (l *load) await(ctx context.Context) error {
	first := time.Duration(l.rules.PollSeconds * float64(time.Second))
	began, failed := time.Now(), 0
	for wait := first; !l.over; wait = min(max(first, time.Since(began)), maxPoll) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return l.m.t.interrupted(ctx)
		}
		err := l.look(ctx)
		switch {
		case err == nil:
			failed = 0
		case ctx.Err() != nil:
			return l.m.t.interrupted(ctx)
		default:
			if failed++; failed == looksLost {
				return err
			}
		}
	}
	return nil
}

// abort ends the job, and waits until it is over.
func (l *load) abort(ctx context.Context) {
	// If it cannot be, it may be over by itself.
	_ = l.patch(ctx, l.rules.Abort)
	_ = l.await(ctx)
}

// leave ends a job that is not over, while nobody waits for it. It stays there, so that
// it can be asked what it did, for as long as the API keeps it.
func (l *load) leave(ctx context.Context) {
	if l.over {
		return
	}
	group := &l.m.t.src.errands.group
	group.Add(1)
	go func() {
		defer group.Done()
		own, cancel := afterwards(ctx)
		defer cancel()
		_ = l.patch(own, l.rules.Abort)
	}()
}
