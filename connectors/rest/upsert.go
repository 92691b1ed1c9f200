// Upserts: by which field, how its request names it, and what is new. Also which
// writes can be sent again.

package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// keyed tells whether an operation names its rows by the record's key.
func keyed(op connectors.Operation) bool {
	return op == connectors.Update || op == connectors.Delete
}

// Upserts tells whether the API upserts by these columns, of which it takes one.
func (t *table) Upserts(match []int) bool {
	if t.upsert == nil || len(match) != 1 {
		return false
	}
	f := t.column(match[0]).field
	if f.Name == "" || f.ReadOnly || f.List {
		return false
	}
	if len(t.upsert.Match) > 0 {
		return slices.Contains(t.upsert.Match, f.Name)
	}
	return f.Name == t.object.Key || slices.Contains(t.object.Unique, f.Name)
}

// matchOf is the column by which an upsert finds row i, and its value there.
func matchOf(batch *connectors.Batch, i int) (int, pushdown.Value) {
	c := batch.MatchColumns[0]
	return c, batch.Rows[i].Values[slices.Index(batch.Columns, c)]
}

// matchName is the field of it, as the API calls it.
func (t *table) matchName(batch *connectors.Batch) string {
	if batch.Op != connectors.Upsert {
		return ""
	}
	path := t.column(batch.MatchColumns[0]).field.Path
	if f := t.src.m.Read.Fields; f != nil {
		if name, ok := strings.CutPrefix(path, f.Prefix); ok {
			path = name
		}
	}
	return strings.Join(splitPath(path), ".")
}

// checkValue is the error of a value that cannot stand in a path.
func (t *table) checkValue(column int, v pushdown.Value) error {
	if _, ok := t.keyText(v); ok {
		return nil
	}
	col := t.column(column).spec
	text := string(pushdown.AppendText(nil, v, col.Type))
	return &connectors.Error{Class: connectors.CheckViolation, API: t.src.m.Name, Column: col.Name,
		Message: fmt.Sprintf("a record cannot be upserted by the value %q of column %q", shortText(text), col.Name),
		Detail:  "It has to stand in the path of the request."}
}

// pathOf fills in the path of a batch's request.
func (t *table) pathOf(batch *connectors.Batch, template, key string) string {
	p := t.path(template, key)
	if batch.Op == connectors.Upsert {
		p = strings.NewReplacer("{match}", url.PathEscape(t.matchName(batch)), "{value}", url.PathEscape(key)).Replace(p)
	}
	return p
}

// created tells whether an upsert's answer, of which entry is the row's part,
// says that the record is new.
func (m *modification) created(status int, entry []byte) bool {
	if m.batch.Op != connectors.Upsert {
		return false
	}
	return status == http.StatusCreated || m.w.Created != "" && string(memberAt(entry, m.w.Created)) == "true"
}

// alone tells whether one row is written by a batch, too.
func (m *modification) alone() bool { return m.many != nil && m.many.Alone }

// replays tells whether a write that is sent again is answered as it was first.
func (t *table) replays() bool {
	all := false
	for _, w := range []*Write{t.create, t.update, t.upsert} {
		if w != nil {
			if !w.IdempotencyReplays {
				return false
			}
			all = true
		}
	}
	return all
}
