// Writing associations: INSERT associates two records, DELETE ends that.

package hubspot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// linksBatch is the most pairs of one request; HubSpot would take 2,000.
const linksBatch = 100

// kindsAge is how long the types of a pair of objects are believed.
const kindsAge = 10 * time.Minute

// ref is a record in a body.
type ref struct {
	ID string `json:"id"`
}

func refOf(id int64) ref { return ref{strconv.FormatInt(id, 10)} }

// spec of a type in a body.
type typeSpec struct {
	Category string `json:"associationCategory"`
	ID       int    `json:"associationTypeId"`
}

// pair is an entry of a body: two records, and types where they matter.
type pair struct {
	From  ref        `json:"from"`
	To    any        `json:"to"` // a ref, or a list of one
	Types []typeSpec `json:"types,omitempty"`
}

// kinds are the types of the pair of objects.
func (t *links) kinds(ctx context.Context, stats *connectors.Stats) ([]kind, error) {
	t.mu.Lock()
	known, fresh := t.known, time.Since(t.asked) < kindsAge
	t.mu.Unlock()
	if known != nil && fresh {
		return known, nil
	}
	var list struct {
		Results []kind `json:"results"`
	}
	if err := t.a.api.Call(ctx, &transport.Request{Path: t.base(false) + "/labels", Stats: stats}, &list); err != nil {
		return nil, fmt.Errorf("asking for the types of associations: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.asked = list.Results, time.Now()
	return t.known, nil
}

// kindOf finds a type; an error names those there are.
func (t *links) kindOf(all []kind, id int64) (kind, *connectors.Error) {
	hint := ""
	for _, k := range all {
		if int64(k.ID) == id {
			return k, nil
		}
		label := "no label"
		if k.Label != nil {
			label = *k.Label
		}
		hint += fmt.Sprintf("%d (%s), ", k.ID, label)
	}
	e := &connectors.Error{Class: connectors.ForeignKeyViolation, API: "HubSpot", Column: t.columnName(fieldType),
		Message: fmt.Sprintf("there is no association type %d from %s to %s", id, t.from.kind, t.to.kind)}
	if hint != "" {
		e.Hint = "Types there are: " + hint[:len(hint)-2] + "."
	}
	return kind{}, e
}

func (t *links) columnName(f int) string {
	if c := t.column[f]; c >= 0 {
		return t.spec.Columns[c].Name
	}
	return ""
}

// usual is the type of an association without a label.
func usual(all []kind) (kind, bool) {
	for _, k := range all {
		if k.Label == nil {
			return k, true
		}
	}
	return kind{}, false
}

// Modify makes or ends associations.
func (t *links) Modify(ctx context.Context, batch *connectors.Batch) error {
	batch.Results, batch.Recorded = make([]connectors.Result, len(batch.Rows)), make([]bool, len(batch.Rows))
	w := &linkWrite{t: t, batch: batch, links: make([]link, len(batch.Rows))}
	if batch.Op != connectors.Insert && batch.Op != connectors.Delete {
		return &connectors.Error{Class: connectors.NotSupported, API: "HubSpot",
			Message: fmt.Sprintf("foreign table %q cannot be updated", t.spec.Name), Detail: "An association is made or ended, not changed."}
	}
	for i := range batch.Rows {
		batch.Results[i] = connectors.Result{}
		if err := w.take(i); err != nil {
			w.refuse(i, err)
			return w.rest(i)
		}
	}
	for first := 0; first < len(batch.Rows); first += linksBatch {
		end := min(first+linksBatch, len(batch.Rows))
		refused, err := w.send(ctx, first, end)
		if err != nil {
			return err
		}
		if refused >= 0 {
			return w.rest(refused)
		}
	}
	return w.returning(ctx)
}

// linkWrite is one Modify.
type linkWrite struct {
	t     *links
	batch *connectors.Batch
	links []link // by row; kind.ID 0: the usual one
	kinds []kind
}

// take reads a row.
func (w *linkWrite) take(i int) *connectors.Error {
	t, row := w.t, w.batch.Rows[i]
	columns, values := w.batch.Columns, row.Values
	if w.batch.Op == connectors.Delete {
		columns, values = w.batch.KeyColumns, row.Key
	}
	l := &w.links[i]
	given := [fields]bool{}
	for j, c := range columns {
		f := t.field[c]
		x, isNumber := values[j].V.(int64)
		switch {
		case f > fieldType || f < 0:
			return &connectors.Error{Class: connectors.NotSupported, API: "HubSpot", Column: t.spec.Columns[c].Name,
				Message: fmt.Sprintf("column %q is read-only in the API", t.spec.Columns[c].Name)}
		case values[j].IsNull() && f == fieldType:
			continue
		case !isNumber:
			return &connectors.Error{Class: connectors.NotNullViolation, API: "HubSpot", Column: t.spec.Columns[c].Name,
				Message: fmt.Sprintf("null value in column %q: an association has two ends", t.spec.Columns[c].Name)}
		}
		given[f] = true
		switch f {
		case fieldFrom:
			l.from = x
		case fieldTo:
			l.to = x
		case fieldType:
			l.kind.ID = int(x)
		}
	}
	for f := range 2 {
		if !given[f] {
			return &connectors.Error{Class: connectors.NotNullViolation, API: "HubSpot", Column: t.columnName(f),
				Message: fmt.Sprintf("no value for column %q: an association has two ends", t.columnName(f))}
		}
	}
	return nil
}

func (w *linkWrite) refuse(i int, e *connectors.Error) {
	w.batch.Results[i] = connectors.Result{Outcome: connectors.Refused, Err: e}
}

// rest gives an outcome to the rows that have none, as row culprit was refused.
func (w *linkWrite) rest(culprit int) error {
	for i := range w.batch.Results {
		if w.batch.Results[i].Outcome == 0 {
			e := &connectors.Error{Class: w.batch.Results[culprit].Err.Class, API: "HubSpot",
				Message: fmt.Sprintf("not sent, because row %d was refused", culprit+1)}
			w.batch.Results[i] = connectors.Result{Outcome: connectors.Refused, Err: e, Bystander: true}
		}
	}
	return w.returning(context.Background())
}

// typed tells whether a row's request names the type. To end an association without
// a label is to end it whole.
func (w *linkWrite) typed(i int) bool {
	k := w.links[i].kind
	return k.ID != 0 && (w.batch.Op == connectors.Insert || k.Label != nil || k.Category == "")
}

// parts are rows whose requests name no type, and those whose do.
func (w *linkWrite) parts(first, end int) (out [2][]int) {
	for i := first; i < end; i++ {
		part := &out[0]
		if w.typed(i) {
			part = &out[1]
		}
		*part = append(*part, i)
	}
	return out
}

// send writes rows, in at most two requests.
func (w *linkWrite) send(ctx context.Context, first, end int) (refused int, err error) {
	if with := w.parts(first, end)[1]; len(with) > 0 {
		if w.kinds, err = w.t.kinds(ctx, w.batch.Stats); err != nil {
			return -1, err
		}
		for _, i := range with {
			k, e := w.t.kindOf(w.kinds, int64(w.links[i].kind.ID))
			switch {
			case e == nil:
				w.links[i].kind = k
			case w.batch.Op == connectors.Delete:
				w.batch.Results[i].Outcome = connectors.NotFound
			default:
				w.refuse(i, e)
				return i, nil
			}
		}
	}
	for _, rows := range w.parts(first, end) {
		rows := w.open(rows)
		if len(rows) == 0 {
			continue
		}
		resp, body, err := w.t.a.api.Send(ctx, w.request(rows))
		if err != nil {
			return -1, err
		}
		if refused, err := w.read(rows, resp, body); err != nil || refused >= 0 {
			return refused, err
		}
	}
	return -1, nil
}

// open are the rows that have no outcome yet.
func (w *linkWrite) open(rows []int) []int {
	var out []int
	for _, i := range rows {
		if w.batch.Results[i].Outcome == 0 {
			out = append(out, i)
		}
	}
	return out
}

// request of rows of one part.
func (w *linkWrite) request(rows []int) *transport.Request {
	var in []pair
	typed := w.typed(rows[0])
	whole := w.batch.Op == connectors.Delete && !typed
	for _, i := range rows {
		l := &w.links[i]
		p := pair{From: refOf(l.from), To: refOf(l.to)}
		if whole {
			p.To = []ref{refOf(l.to)}
		}
		if typed {
			p.Types = []typeSpec{{l.kind.Category, l.kind.ID}}
		}
		in = append(in, p)
	}
	path := map[bool]map[bool]string{
		false: {false: "/batch/associate/default", true: "/batch/create"},
		true:  {false: "/batch/archive", true: "/batch/labels/archive"},
	}[w.batch.Op == connectors.Delete][typed]
	r := jsonRequest(w.t.base(false)+path, map[string]any{"inputs": in}, w.batch.Stats)
	r.Write = true
	return r
}

// linkAnswer is the answer to any of the requests.
type linkAnswer struct {
	Results []struct {
		FromID string `json:"fromObjectId"`
		ToID   string `json:"toObjectId"`
		From   ref    `json:"from"`
		To     ref    `json:"to"`
	} `json:"results"`
	Errors []json.RawMessage `json:"errors"`
}

// read gives the rows their outcomes; refused is the first that was, or -1.
func (w *linkWrite) read(rows []int, resp *transport.Response, body []byte) (refused int, err error) {
	t := w.t
	good := resp.Status >= 200 && resp.Status <= 299
	if !good {
		e := t.a.api.Refused(resp, body, true, 0)
		if e.Class == connectors.UnknownOutcome {
			return -1, e
		}
		w.refuse(rows[0], e)
		return rows[0], nil
	}
	if w.batch.Op == connectors.Delete {
		if resp.Status != http.StatusNoContent && len(body) > 0 && !json.Valid(body) {
			return -1, t.a.api.Unknown(resp, "expected JSON", nil)
		}
		for _, i := range rows {
			w.batch.Results[i].Outcome = connectors.Applied
		}
		return -1, nil
	}
	var a linkAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return -1, t.a.api.Unknown(resp, "expected JSON", err)
	}
	byEnds := map[[2]string][]int{}
	for _, i := range rows {
		ends := [2]string{refOf(w.links[i].from).ID, refOf(w.links[i].to).ID}
		byEnds[ends] = append(byEnds[ends], i)
	}
	refused = -1
	for _, raw := range a.Errors {
		var f failure
		if json.Unmarshal(raw, &f) != nil || len(f.Context["fromObjectId"]) != 1 || len(f.Context["toObjectId"]) != 1 {
			continue
		}
		for _, i := range byEnds[[2]string{f.Context["fromObjectId"][0], f.Context["toObjectId"][0]}] {
			w.refuse(i, t.a.api.Refused(resp, raw, true, i+1))
			if refused < 0 || i < refused {
				refused = i
			}
		}
	}
	for _, r := range a.Results {
		ends := [2]string{r.FromID, r.ToID}
		if r.FromID == "" {
			ends = [2]string{r.From.ID, r.To.ID}
		}
		for _, i := range byEnds[ends] {
			if w.batch.Results[i].Outcome == 0 {
				w.batch.Results[i].Outcome = connectors.Applied
			}
		}
	}
	if silent := w.open(rows); len(silent) > 0 {
		return -1, t.a.api.Unknown(resp, fmt.Sprintf("it does not say what became of row %d", silent[0]+1), nil)
	}
	return refused, nil
}

// returning gives the tuples of the rows that were applied.
func (w *linkWrite) returning(ctx context.Context) error {
	b := w.batch
	if b.Op != connectors.Insert && b.Op != connectors.Delete {
		return nil
	}
	wants := len(b.ReturningColumns) > 0 && b.Returning != nil
	records := b.Op == connectors.Insert && b.Record != nil
	if !wants && !records {
		return nil
	}
	for i := range b.Results {
		if b.Results[i].Outcome != connectors.Applied {
			continue
		}
		l := w.links[i]
		if l.kind.ID == 0 {
			all, err := w.t.kinds(ctx, b.Stats)
			if err != nil {
				return err
			}
			l.kind, _ = usual(all)
		}
		if l.kind.Category == "" && b.Op == connectors.Delete {
			k, e := w.t.kindOf(w.kinds, int64(l.kind.ID))
			if e == nil {
				l.kind = k
			}
		}
		if wants {
			if err := w.t.emit(b.Returning, b.ReturningColumns, &l); err != nil {
				return err
			}
		}
		if records && w.t.typed() {
			b.Recorded[i] = w.t.emit(b.Record, b.RecordColumns, &l) == nil
		}
	}
	return nil
}

// Requests describes, for a dry run, what Modify would send.
func (t *links) Requests(batch *connectors.Batch) ([]string, error) {
	w := &linkWrite{t: t, batch: batch, links: make([]link, len(batch.Rows))}
	batch.Results = make([]connectors.Result, len(batch.Rows))
	var out []string
	for i := range batch.Rows {
		if err := w.take(i); err != nil {
			return nil, err
		}
	}
	for first := 0; first < len(batch.Rows); first += linksBatch {
		for _, rows := range w.parts(first, min(first+linksBatch, len(batch.Rows))) {
			if len(rows) > 0 {
				r := w.request(rows)
				out = append(out, t.a.api.Client.Describe(r)+" "+string(r.Body))
			}
		}
	}
	return out, nil
}
