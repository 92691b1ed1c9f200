// Changed records, where the API tells of them in logs: other objects of the
// manifest.

package rest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

func (l *loader) checkChanges(m *Manifest, o *Object, path string) {
	c := o.Changes
	if o.Key == "" {
		l.at(path, "the object has no key, so nothing tells which record was changed")
	}
	if o.Modified != "" || o.Deleted != nil {
		l.at(path, "the object has modified or deleted: expected one or the other")
	}
	if c.Made != "" && !o.hasTime(c.Made) {
		l.at(path+".made", "there is no field %q of type datetime", c.Made)
	}
	if len(c.Logs) == 0 {
		l.at(path+".logs", "expected at least one entry")
	}
	for i, log := range c.Logs {
		at := fmt.Sprintf("%s.logs[%d]", path, i)
		if log.Only != nil && len(log.Only.Values) == 0 {
			l.at(at+".only.values", "expected at least one entry")
		}
		from := m.object(log.Object)
		if from == nil {
			l.at(at+".object", "there is no object %q", log.Object)
			continue
		}
		if from.field(log.Key) == nil {
			l.at(at+".key", "there is no field %q in object %q", log.Key, log.Object)
		}
		if !from.hasTime(log.At) {
			l.at(at+".at", "there is no field %q of type datetime in object %q", log.At, log.Object)
		}
	}
}

// bindChanges binds the logs of the table's object. A table that shows fields of
// other records has none: they change without it.
func (t *table) bindChanges(ctx context.Context) error {
	c := t.object.Changes
	if c == nil || t.key < 0 || slices.ContainsFunc(t.columns, func(col column) bool { return col.field != nil && col.field.Expand != "" }) {
		return nil
	}
	out := &connectors.Changes{Remembers: time.Duration(c.Days * 24 * float64(time.Hour)), Made: -1}
	key := t.columns[t.key].spec
	for _, log := range c.Logs {
		from, err := t.src.objectOf(ctx, log.Object)
		if err != nil {
			return err
		}
		if from == nil {
			return t.src.noObject(ctx, log.Object)
		}
		o := *from
		o.only = log.Only
		bound, err := t.src.bind(connectors.TableSpec{Schema: t.spec.Schema, Name: t.spec.Name,
			Columns: keyAndTime(key, log.Key, "changed", log.At)}, &o)
		if err != nil {
			return err
		}
		out.Logs = append(out.Logs, bound)
	}
	if c.Made != "" {
		out.Made = slices.IndexFunc(t.columns, func(col column) bool { return col.field != nil && col.field.Name == c.Made })
	}
	t.changes = out
	return nil
}

// Changes is where the API tells which records were changed, nil if the manifest
// does not say so.
func (t *table) Changes() *connectors.Changes { return t.changes }
