// What a job that writes says of its rows.

package rest

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// results reads what became of the rows. Those that were written come first: of rows
// that are equal, the first ones were. all: rows may be missing of those that the job
// was given, so that all it says is needed.
func (l *load) results(ctx context.Context, all bool) error {
	batch := l.m.batch
	strays, err := l.read(ctx, l.rules.Applied, func(i int, _ *transport.Response, value func(string) string) {
		r := &l.res[i-l.first]
		r.Outcome, r.Created = connectors.Applied, batch.Op == connectors.Upsert && value(l.rules.Applied.Created) == "true"
		if key := value(l.rules.Applied.Key); key != "" && !keyed(batch.Op) {
			r.Key = []string{key}
		}
	})
	if err != nil {
		return err
	}
	_, err = l.read(ctx, l.rules.Refused, func(i int, resp *transport.Response, value func(string) string) {
		e := l.refusal(resp, value(l.rules.Refused.Error), i)
		r := connectors.Result{Outcome: connectors.Refused, Err: e}
		if keyed(batch.Op) && e.Class == connectors.NotFoundError {
			r = connectors.Result{Outcome: connectors.NotFound}
		}
		l.res[i-l.first] = r
	})
	if err == nil && (all || l.silent() >= 0) {
		_, err = l.read(ctx, l.rules.Left, func(i int, _ *transport.Response, _ func(string) string) {
			l.left[i-l.first] = true
		})
	}
	if err != nil {
		return err
	}
	// All that such a job has written is known, and it has not come to what it does not
	// tell of.
	givenUp := strays == 0 && slices.Contains(l.rules.Failed, l.state)
	for _, a := range l.at {
		if givenUp {
			for ; a.lines < len(a.rows); a.lines++ {
				l.left[a.rows[a.lines]-l.first] = true
			}
		}
		if a.lines == len(a.rows) {
			continue
		}
		for _, i := range a.rows { // which of the lines are theirs?
			l.res[i-l.first], l.left[i-l.first] = connectors.Result{}, false
		}
	}
	return nil
}

// read gives each line of results with the first of the rows that are known by what
// is in it and had none yet. strays counts the other lines.
func (l *load) read(ctx context.Context, from *LoadResults, take func(i int, resp *transport.Response, value func(string) string)) (strays int, err error) {
	t := l.m.t
	var body bytes.Buffer
	f := t.get(ctx, &transport.Request{Path: jobPath(from.Path, l.id), Header: http.Header{"Accept": {"text/csv"}}, Stats: l.m.batch.Stats}, &body)
	if f.err != nil {
		return 0, f.err
	}
	l.looked = f.request
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(body.Bytes(), []byte("\ufeff"))))
	in.ReuseRecord = true
	first, err := in.Read()
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	if err != nil {
		return 0, t.protocol(f.request, badCSV(err).Error(), nil)
	}
	head := slices.Clone(first)
	at := make([]int, len(l.head))
	for k, name := range l.head {
		at[k] = slices.Index(head, name)
	}
	cells := make([]string, len(l.head))
	for {
		line, err := in.Read()
		if errors.Is(err, io.EOF) {
			return strays, nil
		}
		if err != nil {
			return 0, t.protocol(f.request, badCSV(err).Error(), nil)
		}
		for _, k := range l.by {
			if at[k] < 0 {
				return 0, t.protocol(f.request, fmt.Sprintf("CSV without the column %q, by which rows are known", l.head[k]), nil)
			}
			cells[k] = line[at[k]]
		}
		a := l.at[l.name(cells)]
		if a != nil {
			a.lines++
		}
		if a == nil || a.lines > len(a.rows) {
			strays++
			continue
		}
		take(a.rows[a.lines-1], f.resp, func(column string) string {
			if k := slices.Index(head, column); k >= 0 && column != "" {
				return line[k]
			}
			return ""
		})
	}
}

// refusal is the error of row i, which the job has refused with a text.
func (l *load) refusal(resp *transport.Response, text string, i int) *connectors.Error {
	t := l.m.t
	if hook := t.src.hooks.JobError; hook != nil {
		return t.refusalOf(resp, hook(text), true, rowStatus{row: i + 1})
	}
	e := &connectors.Error{Class: connectors.CheckViolation, API: t.src.m.Name,
		Detail: fmt.Sprintf("%s says so of row %d.", t.src.readable(resp.Request), i+1)}
	if code, rest, ok := strings.Cut(text, ":"); ok {
		if class, known := t.src.m.Errors.class(code); known {
			e.Class, e.Code, text = class, code, rest
		}
	}
	if e.Message = t.src.client.Redact(clean(text)); e.Message == "" {
		e.Message = "the API refused the row without saying why"
	}
	return e
}

// silent is the first row of which nothing is known; -1: there is none.
func (l *load) silent() int {
	for i := range l.res {
		if l.res[i].Outcome == 0 && !l.left[i] {
			return l.first + i
		}
	}
	return -1
}

// conclude gives the batch its results. why: the job was aborted for that.
func (l *load) conclude(why error) {
	batch, t := l.m.batch, l.m.t
	refused := -1
	for i := range l.res {
		if l.res[i].Outcome == connectors.Refused && refused < 0 {
			refused = l.first + i
		}
	}
	for i := range l.res {
		r := &l.res[i]
		if l.left[i] {
			*r = connectors.Result{Outcome: connectors.Refused, Bystander: true, Err: l.ended(why)}
			if refused < 0 {
				refused, r.Bystander = l.first+i, false
			}
		}
		batch.Results[l.first+i] = *r
	}
	for i := l.end; i < len(batch.Rows); i++ {
		batch.Results[i] = connectors.Result{Outcome: connectors.NotSent}
		if refused >= 0 {
			batch.Results[i] = t.bystander("not sent, because row %d was refused", refused, batch.Results[refused].Err)
		}
	}
}

// ended is the error of a row that the job has not come to.
func (l *load) ended(why error) *connectors.Error {
	t := l.m.t
	e := &connectors.Error{Class: connectors.Unavailable, API: t.src.m.Name, Detail: fmt.Sprintf("It is job %s. %s", l.id, l.looked)}
	switch {
	case errors.Is(why, context.DeadlineExceeded) || errors.Is(why, context.Canceled):
		e.Class, e.Message = connectors.DeadlineExceeded, "the job was aborted before it came to the row: the statement's time was over"
		e.Hint = "Raise statement_timeout, or hallway.max_wait if there is none."
	case why != nil:
		e.Message, e.Err = "the job was aborted before it came to the row: it could not be looked at", why
	default:
		e.Message = fmt.Sprintf("the job that writes %s has ended as %q", t.object.Name, l.state)
		e.Hint = "With the option bulk_writes 'never' rows are written without a job."
		if message := t.src.client.Redact(clean(l.message)); message != "" {
			e.Message += ": " + message
			code, _, _ := strings.Cut(message, ":")
			if class, ok := t.src.m.Errors.class(strings.TrimSpace(code)); ok {
				e.Class, e.Code = class, strings.TrimSpace(code)
			}
		}
	}
	return e
}

func (l *loader) checkLoad(m *Manifest) {
	r := m.Load
	if r == nil {
		return
	}
	if m.Auth.Check != nil {
		l.at("load", "a job's results do not say whether the credential was good, which auth.check is for")
	}
	for _, p := range r.Operations {
		if names := []string{"create", "update", "delete", "upsert"}; !slices.Contains(names, p.Name) {
			l.at("load.operations."+p.Name, "expected %s, found %q", oneOf(p.Name, names), p.Name)
		}
	}
	type text struct{ key, text string }
	paths := []text{{"job", r.Job}, {"upload", r.Upload}}
	for _, of := range []struct {
		key string
		r   *LoadResults
	}{{"applied", r.Applied}, {"refused", r.Refused}, {"left", r.Left}} {
		if of.r != nil {
			paths = append(paths, text{of.key + ".path", of.r.Path})
		}
	}
	for _, p := range paths {
		if !slices.Equal(placeholders(p.text), []string{"id"}) {
			l.at("load."+p.key, "expected {id} in it, once")
		}
	}
	for _, list := range []struct {
		key   string
		pairs []Pair
		names []string
	}{{"body", r.Body, []string{"object", "operation"}}, {"upsert", r.Upsert, []string{"object", "operation", "match"}}} {
		for _, p := range list.pairs {
			for _, name := range placeholders(p.Value) {
				if !slices.Contains(list.names, name) {
					l.at("load."+list.key+"."+p.Name, "expected %s, found %q", oneOf(name, list.names), name)
				}
			}
		}
	}
}
