// Reading by a job: it is made, looked at until it is done, its results are read
// page by page, and it is taken away when the scan is over, however that ends.

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

const (
	// maxPoll is the longest time between two looks at a job.
	maxPoll = 15 * time.Second
	// jobCalls is about what a job costs in calls, beside those for its results.
	jobCalls = 10
	// maxCells of a page of results, so that one of a wide table is not too long.
	maxCells = 500_000
	// minJobPage is the smallest page that is asked for, in rows.
	minJobPage = 200
	// afterlife is how long a scan that is over goes on about its job.
	afterlife = 30 * time.Second
	// closeWait is how long closing a server waits for that.
	closeWait = 2 * time.Second
)

// When jobs are used: the option bulk.
const (
	bulkAuto   = "auto"
	bulkAlways = "always"
	bulkNever  = "never"
)

// jobOptions are a pair of options: whether jobs of the API are used, and from how
// many rows on, with the least and the most that can be said.
type jobOptions struct {
	mode, modeHelp, rows, rowsHelp string
	low, high                      float64
}

// scanJobs are those of a manifest that has a way by jobs.
func scanJobs() jobOptions {
	return jobOptions{mode: "bulk", rows: "bulk_min_rows", low: 1, high: 1e12,
		modeHelp: "Whether large scans are read by a job of the API: auto (where bulk_min_rows are expected), always (however few are expected) or never. Under a LIMIT, and for lookups by a key, there is none.",
		rowsHelp: "How many rows must be expected, at least, for a scan to be read by a job; by default what the manifest says."}
}

func (o jobOptions) specs() []connectors.OptionSpec {
	return []connectors.OptionSpec{
		{Name: o.mode, Where: connectors.OnServer, Default: bulkAuto, Help: o.modeHelp},
		{Name: o.rows, Where: connectors.OnServer, Help: o.rowsHelp},
		{Name: o.mode, Where: connectors.OnTable, Help: "As the server option, for this table."},
		{Name: o.rows, Where: connectors.OnTable, Help: "As the server option, for this table."},
	}
}

func (m *Manifest) hasJobs() bool {
	return slices.ContainsFunc(m.Ways, func(w Way) bool { return w.Read != nil && w.Read.Job != nil })
}

// bulk is when jobs are used.
type bulk struct {
	mode    string
	minRows float64 // 0: as the manifest says
}

// over is b with the options of a server or table laid over it.
func (o jobOptions) over(b bulk, options map[string]string) (bulk, error) {
	if v, ok := options[o.mode]; ok {
		if b.mode = v; v != bulkAuto && v != bulkAlways && v != bulkNever {
			return b, &connectors.Error{Class: connectors.InvalidOptionValue,
				Message: fmt.Sprintf("invalid value for option %q: %q", o.mode, v), Hint: "It is auto, always or never."}
		}
	}
	return b, optionNumber(options, o.rows, o.low, o.high, func(f float64) { b.minRows = f })
}

// jobWay is the way by a job, if that is the one for a query of which the first
// way's plan is first; nil: it is not.
func (t *table) jobWay(req pushdown.Request, first *pushdown.Plan) *table {
	for _, w := range t.ways {
		j := w.src.m.Read.Job
		if j == nil || t.bulk.mode == bulkNever || req.LimitPossible || req.LimitRows > 0 || req.Aggregation != nil || !w.readsAll(req.Columns) {
			continue
		}
		if slices.ContainsFunc(req.Conjuncts, t.looksUp) {
			continue
		}
		if t.bulk.mode == bulkAlways {
			return w
		}
		least := j.MinRows
		if t.bulk.minRows > 0 {
			least = t.bulk.minRows
		}
		if first.Rows >= least && !slices.ContainsFunc(req.Conjuncts, t.asksForNews) {
			return w
		}
	}
	return nil
}

// readsAll tells whether the way can read all of these columns.
func (t *table) readsAll(columns []int) bool {
	return !slices.ContainsFunc(columns, func(c int) bool {
		col := t.column(c)
		return col.whole || col.field.Ways != nil && !slices.Contains(col.field.Ways, t.src.way)
	})
}

// looksUp tells whether a condition leaves a few records, found by a key.
func (t *table) looksUp(e pushdown.Expr) bool {
	keyed := func(e pushdown.Expr) bool {
		c, ok := e.(*pushdown.Column)
		if !ok {
			return false
		}
		col := t.column(c.Index)
		return col.key || col.unique || slices.Contains(t.object.Lookups, col.field.Name)
	}
	switch e := e.(type) {
	case *pushdown.Comparison:
		return e.Op == pushdown.EQ && (keyed(e.Left) || keyed(e.Right))
	case *pushdown.Membership:
		return !e.Negated && keyed(e.Operand)
	}
	return false
}

// asksForNews tells whether a condition wants what was changed since some time:
// nobody knows how many records that are, and mostly they are few.
func (t *table) asksForNews(e pushdown.Expr) bool {
	c, ok := e.(*pushdown.Comparison)
	if !ok || t.object.Modified == "" {
		return false
	}
	is := func(e pushdown.Expr) bool {
		col, ok := e.(*pushdown.Column)
		return ok && t.column(col.Index).field.Name == t.object.Modified
	}
	return is(c.Left) && (c.Op == pushdown.GT || c.Op == pushdown.GE) || is(c.Right) && (c.Op == pushdown.LT || c.Op == pushdown.LE)
}

// job is one that was made for a scan.
type job struct {
	id   string
	over bool // it is done, or has failed
	size int  // rows to ask for at once; 0: the API decides
	// head has the names that its results begin with; nil: none were read yet.
	head []string
}

// refusedJob is the refusal to make a job.
type refusedJob struct{ error }

func (r *refusedJob) Unwrap() error { return r.error }

// jobs are those of a scan.
type jobs struct {
	mu   sync.Mutex
	made []*job
}

func (j *jobs) add(one *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.made = append(j.made, one)
}

// errands are calls about jobs whose scan is over.
type errands struct{ group sync.WaitGroup }

// wait waits for them, but not for long.
func (e *errands) wait() {
	done := make(chan struct{})
	go func() {
		e.group.Wait()
		close(done)
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// page gets a page of a part, by its job if there is one. create is the request
// for the first one.
func (s *scan) page(ctx context.Context, p *stretch, pos *position, create *transport.Request, body *bytes.Buffer) fetched {
	if s.t.src.m.Read.Job == nil {
		return s.t.fetch(ctx, create, body)
	}
	if p.job == nil {
		made, err := s.makeJob(ctx, create)
		if err == nil {
			p.job = made
			err = s.awaitJob(ctx, made)
		}
		if err != nil {
			return fetched{body: body, err: err}
		}
	}
	return s.results(ctx, p.job, pos, body)
}

// makeJob has the API make a job. One that the API makes although nobody wants it
// any more is taken away again.
func (s *scan) makeJob(ctx context.Context, create *transport.Request) (*job, error) {
	if ctx.Err() != nil {
		return nil, s.t.interrupted(ctx)
	}
	left := context.WithoutCancel(ctx)
	own, cancel := context.WithCancel(left)
	answer := make(chan fetched, 1)
	errands := s.t.src.errands
	errands.group.Add(1)
	go func() {
		defer errands.group.Done()
		defer cancel()
		answer <- s.t.fetch(own, create, new(bytes.Buffer))
	}()
	select {
	case f := <-answer:
		return s.madeJob(&f)
	case <-ctx.Done():
		timer := time.AfterFunc(afterlife, cancel)
		errands.group.Add(1)
		go func() {
			defer errands.group.Done()
			f := <-answer
			timer.Stop()
			if made, err := s.madeJob(&f); err == nil {
				end, cancel := context.WithTimeout(left, afterlife)
				defer cancel()
				s.t.endJob(end, made)
			}
		}()
		return nil, s.t.interrupted(ctx)
	}
}

func (s *scan) madeJob(f *fetched) (*job, error) {
	if f.err != nil {
		var e *connectors.Error
		if errors.As(f.err, &e) && e.HTTPStatus >= 400 && e.HTTPStatus < 500 && e.Class != connectors.Unauthenticated && e.Class != connectors.RateLimited {
			return nil, &refusedJob{f.err}
		}
		return nil, f.err
	}
	rules := s.t.src.m.Read.Job
	made := &job{id: textAt(f.body.Bytes(), rules.ID)}
	if made.id == "" {
		return nil, s.t.protocol(f.request, "a job without an id", nil)
	}
	size := s.t.src.m.Read.PageSize
	if made.size = size.Max; size.Max > 0 {
		made.size = max(min(size.Max, maxCells/max(1, len(s.t.wanted(s.q.Columns, s.l.verifyColumns)))), min(size.Max, minJobPage))
	}
	s.jobs.add(made)
	return made, s.stateOf(made, f)
}

// stateOf notes a job's state. The error is that of a job that has failed.
func (s *scan) stateOf(j *job, f *fetched) error {
	rules := s.t.src.m.Read.Job
	state := textAt(f.body.Bytes(), rules.State)
	switch {
	case slices.Contains(rules.Done, state):
		j.over = true
	case slices.Contains(rules.Failed, state):
		j.over = true
		return s.failedJob(j, state, textAt(f.body.Bytes(), rules.Message), f.request)
	}
	return nil
}

// failedJob is the error of a job that has no results.
func (s *scan) failedJob(j *job, state, message, request string) error {
	e := &connectors.Error{Class: connectors.Protocol, API: s.t.src.m.Name, Message: fmt.Sprintf("the job that reads %s has ended as %q", s.t.object.Name, state),
		Detail: fmt.Sprintf("It is job %s. %s", j.id, request),
		Hint:   "With the option bulk 'never' the rows are read without a job."}
	if message = s.t.src.client.Redact(clean(message)); message != "" {
		e.Message += ": " + message
		code, _, _ := strings.Cut(message, ":")
		code = strings.TrimSpace(code)
		if class, ok := s.t.src.m.Errors.class(code); ok {
			e.Class, e.Code = class, code
		} else if slices.Contains(s.t.src.hooks.Lost, code) {
			e.Code = code
		}
	}
	return e
}

// awaitJob looks at a job until it is done.
func (s *scan) awaitJob(ctx context.Context, j *job) error {
	rules := s.t.src.m.Read.Job
	first := time.Duration(rules.PollSeconds * float64(time.Second))
	began := time.Now()
	var body bytes.Buffer
	for wait := first; !j.over; wait = min(max(first, time.Since(began)), maxPoll) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return s.t.interrupted(ctx)
		}
		f := s.t.fetch(ctx, &transport.Request{Path: jobPath(rules.Path, j.id), Stats: s.q.Stats, Class: s.t.src.m.Read.Class}, &body)
		if f.err != nil {
			return f.err
		}
		if err := s.stateOf(j, &f); err != nil {
			return err
		}
	}
	return nil
}

// jobPath is the path of a job.
func jobPath(path, id string) string { return strings.ReplaceAll(path, "{id}", url.PathEscape(id)) }

// results gets a page of what the job has found. One that is longer than an answer
// may be is asked for with fewer rows.
func (s *scan) results(ctx context.Context, j *job, pos *position, body *bytes.Buffer) fetched {
	m := s.t.src.m
	r := &transport.Request{Path: jobPath(m.Read.Job.Results, j.id), Query: url.Values{}, Header: http.Header{"Accept": {"text/csv"}}, Stats: s.q.Stats, Class: m.Read.Class}
	if pos != nil {
		r.Query.Set(m.Paging.Param, pos.param)
	}
	for {
		if j.size > 0 && m.Read.PageSize.Param != "" {
			r.Query.Set(m.Read.PageSize.Param, itoa(j.size))
		}
		f := s.t.get(ctx, r, body)
		var e *connectors.Error
		if errors.As(f.err, &e) && e.Class == connectors.LimitExceeded && j.size > minJobPage && m.Read.PageSize.Param != "" {
			j.size = max(j.size/4, minJobPage)
			continue
		}
		if kind, _, _ := mime.ParseMediaType(contentType(&f)); f.err == nil && body.Len() > 0 && !strings.HasSuffix(kind, "csv") {
			f.err = s.t.protocol(f.request, "expected CSV, got "+describeBody(s.t.src, f.resp, body.Bytes()), nil)
		}
		return f
	}
}

func contentType(f *fetched) string {
	if f.resp == nil {
		return ""
	}
	return f.resp.Header.Get("Content-Type")
}

// endJobs takes a scan's jobs away, while nobody waits for it.
func (s *scan) endJobs(ctx context.Context) {
	s.jobs.mu.Lock()
	defer s.jobs.mu.Unlock()
	errands := s.t.src.errands
	for _, j := range s.jobs.made {
		errands.group.Add(1)
		go func() {
			defer errands.group.Done()
			own, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterlife)
			defer cancel()
			s.t.endJob(own, j)
		}()
	}
	s.jobs.made = nil
}

// endJob ends a job and takes it away. What goes wrong is left: the API forgets its
// jobs after some days by itself.
func (t *table) endJob(ctx context.Context, j *job) {
	rules := t.src.m.Read.Job
	path := jobPath(rules.Path, j.id)
	if !j.over && len(rules.Abort) > 0 {
		p := &parameters{body: newShape()}
		for _, pair := range rules.Abort {
			p.constant(pair)
		}
		t.fetch(ctx, &transport.Request{Method: http.MethodPatch, Path: path, Body: p.body.json(), Header: http.Header{"Content-Type": {"application/json"}}}, new(bytes.Buffer))
	}
	if rules.Delete {
		t.get(ctx, &transport.Request{Method: http.MethodDelete, Path: path}, new(bytes.Buffer))
	}
}

// interrupted is the error of a scan whose context has ended.
func (t *table) interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &connectors.Error{Class: connectors.DeadlineExceeded, API: t.src.m.Name,
			Message: "the query's time was over before the API had done the job", Err: context.DeadlineExceeded}
	}
	return fmt.Errorf("waiting for a job: %w", ctx.Err())
}

func (l *loader) checkJob(m *Manifest, r *Read, path string) {
	j := r.Job
	switch {
	case j == nil:
		return
	case m.way == "":
		l.at(path+".job", "only a way has a job; the one at the top answers with records")
	case m.Paging.Style != "none" && (m.Paging.Style != "cursor" || m.Paging.Header == ""):
		l.at(path+".job", "its results need a paging of style cursor with a header, or none")
	case r.One:
		l.at(path+".one", "a job has many results")
	}
	for _, p := range []struct{ key, text string }{{"path", j.Path}, {"results", j.Results}} {
		if !slices.Equal(placeholders(p.text), []string{"id"}) {
			l.at(path+".job."+p.key, "expected {id} in it, once")
		}
	}
}
