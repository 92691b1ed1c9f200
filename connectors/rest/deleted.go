// Deleted records, where the API tells of them: another object of the manifest.

package rest

import (
	"context"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

func (l *loader) checkDeleted(m *Manifest, o *Object, path string) {
	d := o.Deleted
	if o.Key == "" {
		l.at(path, "the object has no key, so nothing tells which record was deleted")
	}
	from := m.object(d.Object)
	if from == nil && l.vendor {
		return // the API's metadata will know it
	}
	if from == nil {
		l.at(path+".object", "there is no object %q", d.Object)
		return
	}
	if from.Deleted != nil {
		l.at(path+".object", "object %q has deleted records of its own", d.Object)
	}
	if from.field(d.Key) == nil {
		l.at(path+".key", "there is no field %q in object %q", d.Key, d.Object)
	}
	if !from.hasTime(d.At) {
		l.at(path+".at", "there is no field %q of type datetime in object %q", d.At, d.Object)
	}
}

// bindDeleted binds the table of deleted records.
func (t *table) bindDeleted(ctx context.Context) error {
	d := t.object.Deleted
	if d == nil || t.key < 0 {
		return nil
	}
	key := t.columns[t.key].spec
	bound, err := t.src.Table(ctx, connectors.TableSpec{Schema: t.spec.Schema, Name: t.spec.Name,
		Options: map[string]string{"object": d.Object},
		Columns: keyAndTime(key, d.Key, "deleted", d.At)})
	if err != nil {
		return err
	}
	t.deleted = bound.(*table) //nolint:forcetypeassert // its own
	return nil
}

// keyAndTime are the columns of a table that tells what happened to records and when:
// the key of theirs, from keyField, and the time, from timeField.
func keyAndTime(key connectors.ColumnSpec, keyField, name, timeField string) []connectors.ColumnSpec {
	return []connectors.ColumnSpec{
		{Name: key.Name, Type: key.Type, Options: map[string]string{"field": keyField}},
		{Name: name, Type: pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"},
			Options: map[string]string{"field": timeField}},
	}
}

// Remembers is for how long the API tells what was deleted; 0: for ever.
func (t *table) Remembers() time.Duration {
	if t.deleted == nil {
		return 0
	}
	return time.Duration(t.object.Deleted.Days * 24 * float64(time.Hour))
}

// Deleted shows the deleted records, nil if the manifest does not say where
// they are.
func (t *table) Deleted() connectors.Table {
	if t.deleted == nil {
		return nil
	}
	return t.deleted
}
