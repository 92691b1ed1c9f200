// What the answer to a request with many rows says of each.

package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// errNoBatch: the API refused the request for what it is, not for its rows.
var errNoBatch = errors.New("the API takes no such requests")

// batchAnswer is an answer being read.
type batchAnswer struct {
	m    *modification
	rows []int
	resp *transport.Response
	good bool
	out  []written      // by position in rows
	at   map[string]int // by name; nil: not needed so far
}

// read finds what became of each row. With an error, rows may have an outcome
// all the same; what became of the others is not known. errNoBatch: nothing was
// written, and nothing can be in this way.
func (m *modification) read(rows []int, resp *transport.Response, body []byte) ([]written, error) {
	a := &batchAnswer{m: m, rows: rows, resp: resp, good: succeeded(resp.Status), out: make([]written, len(rows))}
	text := bytes.TrimSpace(body)
	valid := validJSON(text)
	if a.good {
		if err := m.t.provesNothing(resp, body, m.many.Answers != nil); err != nil {
			return a.out, err
		}
		if (m.many.Answers != nil || len(text) > 0 && m.many.Errors != nil) && !valid {
			return a.out, m.t.unknown(resp, "expected JSON, got "+describeBody(m.t.src, resp, body), nil)
		}
	}
	// Errors come first: an entry among the answers may say less.
	for _, part := range []struct {
		e      *BatchEntries
		errors bool
	}{{m.many.Errors, true}, {m.many.Answers, false}} {
		if part.e == nil || !valid {
			continue
		}
		if err := a.part(part.e, part.errors, text); err != nil {
			return a.out, err
		}
	}
	if err := a.blame(body); err != nil {
		return a.out, err
	}
	err := a.conclude(body)
	a.news(text)
	return a.out, err
}

// blame finds the row that a refusal of all is about: by the key of a record that
// is not there, by a value that it alone has, or by a field that it alone gives.
func (a *batchAnswer) blame(body []byte) error {
	hook, batch := a.m.t.src.hooks.Refusal, a.m.batch
	if a.good || hook == nil || slices.ContainsFunc(a.out, func(w written) bool { return w.result.Outcome != 0 }) {
		return nil
	}
	r := hook(a.resp.Status, a.resp.Header, body)
	if r == nil || r.Missing == "" && r.Value == "" && len(r.Fields) == 0 {
		return nil
	}
	column := ""
	if len(r.Fields) > 0 {
		column = a.m.t.columnOf(r.Fields[0].Field)
	}
	rows, columns := map[int]bool{}, map[string]bool{}
	for n, i := range a.rows {
		if keyed(batch.Op) && r.Missing != "" {
			if key, _ := a.m.t.keyText(batch.Rows[i].Key[0]); key == r.Missing {
				a.out[n].result.Outcome = connectors.NotFound
				return nil
			}
		}
		for j, c := range batch.Columns {
			spec := a.m.t.column(c).spec
			if v := batch.Rows[i].Values[j]; !v.IsNull() && (column == "" || column == spec.Name) && (r.Value == "" || holds(v, spec.Type, r.Value)) {
				rows[n], columns[spec.Name] = true, true
			}
		}
	}
	if len(rows) != 1 || column == "" && r.Value == "" {
		return nil
	}
	for n := range rows {
		if err := a.refuse(n, 0, body); err != nil {
			return err
		}
		if err := a.out[n].result.Err; err != nil && err.Column == "" && len(columns) == 1 {
			for name := range columns {
				err.Column = name
			}
		}
	}
	return nil
}

// holds tells whether a value is a text, or a list with it.
func holds(v pushdown.Value, t pushdown.Type, text string) bool {
	if list, ok := v.V.([]pushdown.Value); ok {
		t.Array = false
		return slices.ContainsFunc(list, func(e pushdown.Value) bool { return !e.IsNull() && holds(e, t, text) })
	}
	return string(pushdown.AppendText(nil, v, t)) == text
}

// news marks the rows that an upsert has created, where the answer lists their keys.
func (a *batchAnswer) news(body []byte) {
	if a.m.batch.Op != connectors.Upsert || a.m.w.CreatedKeys == "" || !a.good {
		return
	}
	keys := namesAt(body, a.m.w.CreatedKeys)
	for n := range a.out {
		if r := &a.out[n]; r.result.Outcome == connectors.Applied && len(r.body) > 0 {
			r.result.Created = slices.Contains(keys, namesAt(r.body, a.m.t.keyField.Path)[0])
		}
	}
}

// part reads one of the two lists. What makes no sense in an answer that is a
// refusal leaves the refusal as it is.
func (a *batchAnswer) part(e *BatchEntries, isErrors bool, body []byte) error {
	list := memberAt(body, e.Path)
	switch {
	case isNothing(list):
		return nil // conclude sees which rows have no answer
	case list[0] == '{':
		for name, entry := range members(list) {
			if err := a.entry(e, isErrors, name, entry); err != nil {
				return err
			}
		}
		return nil
	case list[0] != '[':
		return a.strange("expected a list of rows at %q", e.Path)
	}
	if e.Match == "" && !isErrors {
		return a.inOrder(e, list)
	}
	for _, entry := range elements(list) {
		at := e.Match
		if e.Or != "" && isNothing(memberAt(entry, at)) {
			at = e.Or
		}
		for _, name := range namesAt(entry, at) {
			if err := a.entry(e, isErrors, name, entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// inOrder reads answers that stand in the order of the rows.
func (a *batchAnswer) inOrder(e *BatchEntries, list []byte) error {
	entries := make([][]byte, 0, len(a.rows))
	for _, entry := range elements(list) {
		entries = append(entries, entry)
	}
	if len(entries) != len(a.rows) {
		return a.strange("it answers %d rows of %d", len(entries), len(a.rows))
	}
	for n, entry := range entries {
		if err := a.row(e, false, n, entry); err != nil {
			return err
		}
	}
	return nil
}

// strange is the error of an answer that cannot be understood.
func (a *batchAnswer) strange(format string, args ...any) error {
	if !a.good {
		return nil
	}
	return a.m.t.unknown(a.resp, fmt.Sprintf(format, args...), nil)
}

func (a *batchAnswer) entry(e *BatchEntries, isErrors bool, name string, entry []byte) error {
	if a.at == nil {
		a.at = map[string]int{}
		for n, i := range a.rows {
			a.at[a.m.name(i, n)] = n
		}
	}
	n, ok := a.at[name]
	if !ok {
		return a.strange("it answers for a row %q, which was not in the request", a.m.t.src.client.Redact(shortText(name)))
	}
	return a.row(e, isErrors, n, entry)
}

// row takes what is said of the nth row.
func (a *batchAnswer) row(e *BatchEntries, isErrors bool, n int, entry []byte) error {
	if a.out[n].result.Outcome != 0 {
		return a.strange("it answers for row %d twice", a.rows[n]+1)
	}
	status, err := 0, error(nil)
	if e.Status != "" {
		if status, err = strconv.Atoi(string(bytes.Trim(memberAt(entry, e.Status), `"`))); err != nil {
			if !isErrors {
				return a.strange("row %d has no status at %q", a.rows[n]+1, e.Status)
			}
			status = 0
		}
	}
	body := memberAt(entry, e.Item)
	bad := isErrors || status != 0 && !succeeded(status)
	if e.Error != "" {
		if reason := memberAt(entry, e.Error); !isNothing(reason) {
			bad, body = true, reason
		}
	}
	switch {
	case bad:
		return a.refuse(n, status, body)
	case !a.good && status == 0:
		return nil // that a refusal says nothing bad of a row proves nothing
	case isNothing(body):
		body = nil
	}
	a.out[n] = written{result: connectors.Result{Outcome: connectors.Applied, Created: a.m.created(status, entry)}, resp: a.resp, body: body}
	return nil
}

// refuse is the nth row's refusal, of which body tells.
func (a *batchAnswer) refuse(n, status int, body []byte) error {
	m := a.m
	err := m.t.refusalOf(a.resp, body, true, rowStatus{a.rows[n] + 1, status})
	res := connectors.Result{Outcome: connectors.Refused, Err: err}
	switch {
	case slices.Contains(m.many.Others, m.t.src.m.Errors.codeIn(body)):
		res.Bystander = true
	case keyed(m.batch.Op) && err.Class == connectors.NotFoundError:
		res = connectors.Result{Outcome: connectors.NotFound}
	case err.Class == connectors.UnknownOutcome && m.many.Atomic:
		err.Class = connectors.Unavailable // all or none: none
	case err.Class == connectors.UnknownOutcome:
		return err
	}
	a.out[n].result = res
	return nil
}

// codeIn finds the code in an error.
func (r *Errors) codeIn(body []byte) string {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	if code := firstText(doc, r.Code); code != "" {
		return code
	}
	if fields := r.Fields.list(doc); len(fields) == 1 {
		return fields[0].code
	}
	return ""
}

// conclude gives an outcome to the rows that have none of their own.
func (a *batchAnswer) conclude(body []byte) error {
	m, t := a.m, a.m.t
	culprit, applied, silent, others := -1, -1, -1, -1
	for n := range a.out {
		r := &a.out[n].result
		switch {
		case r.Outcome == 0:
			silent = n
		case r.Outcome == connectors.Applied:
			applied = n
		case r.Bystander:
			others = n
		case culprit < 0, a.out[culprit].result.Outcome == connectors.NotFound && r.Outcome == connectors.Refused:
			culprit = n
		}
	}
	if culprit < 0 && others >= 0 { // nobody is to blame: one speaks for all
		culprit = others
		a.out[culprit].result.Bystander = false
	}
	decided := culprit >= 0 && (m.many.Atomic || !a.good) // for the silent too
	switch {
	case culprit >= 0 && applied >= 0 && m.many.Atomic:
		return t.unknown(a.resp, fmt.Sprintf("row %d is refused and row %d is not, though the manifest calls the request atomic",
			a.rows[culprit]+1, a.rows[applied]+1), nil)
	case silent < 0 || decided && m.many.Atomic:
	case decided:
		if e := t.refusal(a.resp, body, true); e.Class == connectors.UnknownOutcome {
			return e
		}
	case a.good && m.many.Answers == nil:
		for n := range a.out {
			if r := &a.out[n]; r.result.Outcome == 0 {
				r.result.Outcome, r.resp = connectors.Applied, a.resp
			}
		}
	case a.good:
		return t.unknown(a.resp, fmt.Sprintf("it does not say what became of row %d", a.rows[silent]+1), nil)
	default:
		return a.refuseAll(body)
	}
	if culprit < 0 {
		return nil
	}
	text, err := "not applied, because row %d was refused", a.out[culprit].result.Err
	if err == nil {
		text, err = "not applied, because row %d is not there", &connectors.Error{Class: connectors.NotFoundError}
	}
	for n := range a.out {
		if r := &a.out[n].result; r.Outcome == 0 || r.Bystander {
			*r = t.bystander(text, a.rows[culprit], err)
		}
	}
	return nil
}

// refuseAll is for a refusal that names no row.
func (a *batchAnswer) refuseAll(body []byte) error {
	t := a.m.t
	e := t.refusal(a.resp, body, true)
	switch {
	case e.Class == connectors.UnknownOutcome:
		return e
	case slices.ContainsFunc(a.out, func(w written) bool { return w.result.Outcome == connectors.Applied }):
		return t.unknown(a.resp, "the request is refused, and some of its rows are not", nil)
	}
	switch a.resp.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
		if !a.m.alone() {
			return errNoBatch
		}
	}
	e.Detail += fmt.Sprintf(" The request was for %d rows, %d to %d; the API names none of them.", len(a.rows), a.rows[0]+1, a.rows[len(a.rows)-1]+1)
	for n := range a.out {
		a.out[n].result = t.bystander("not applied, because the request of row %d was refused", a.rows[0], e)
	}
	a.out[0].result = connectors.Result{Outcome: connectors.Refused, Err: e}
	return nil
}
