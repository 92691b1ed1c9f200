// Columns that show a field of a related record: OPTIONS (field 'Account.Owner.Name').

package salesforce

import (
	"context"
	"fmt"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

// maxHops is how far the API follows relationships from child to parent.
const maxHops = 5

// related adds to an object the fields of related records that columns name. It
// gives the object itself if there are none.
func (o *org) related(ctx context.Context, spec connectors.TableSpec, object *rest.Object) (*rest.Object, error) {
	out := object
	for _, c := range spec.Columns {
		path := c.Options["field"]
		if !strings.Contains(path, ".") {
			continue
		}
		f, err := o.relatedField(ctx, object.APIName, path)
		if err != nil {
			return nil, err
		}
		if out == object {
			shown := *object
			shown.Fields = append([]rest.Field{}, object.Fields...)
			out = &shown
		}
		out.Fields = append(out.Fields, *f)
	}
	return out, nil
}

// relatedField follows a path of relationships to a field.
func (o *org) relatedField(ctx context.Context, object, path string) (*rest.Field, error) {
	bad := func(format string, args ...any) error {
		return &connectors.Error{Class: connectors.InvalidColumn, API: "Salesforce", Message: fmt.Sprintf("invalid field %q: ", path) + fmt.Sprintf(format, args...)}
	}
	names := strings.Split(path, ".")
	if len(names)-1 > maxHops {
		return nil, bad("the API follows at most %d relationships", maxHops)
	}
	var full []string
	for _, name := range names[:len(names)-1] {
		d, err := o.describe(ctx, object)
		if err != nil {
			return nil, err
		}
		if d == nil {
			return nil, bad("object %q cannot be queried", object)
		}
		i := d.relationship(name)
		if i < 0 {
			return nil, bad("object %q has no relationship %q", d.Name, name)
		}
		full, object = append(full, d.Fields[i].RelationshipName), d.Fields[i].ReferenceTo[0]
		if len(d.Fields[i].ReferenceTo) > 1 {
			object = "Name" // what all objects that it may lead to have in common
		}
	}
	d, err := o.describe(ctx, object)
	if err != nil {
		return nil, err
	}
	last := names[len(names)-1]
	for _, f := range d.fields() {
		if strings.EqualFold(f.Name, last) {
			made := f.rest(strings.Join(append(full, f.Name), "."))
			made.Name, made.ReadOnly, made.Required = path, true, false
			if made.Missing == "never" {
				made.Missing = "null" // there may be no related record
				if f.Type == "boolean" {
					no := false
					made.Filterable = &no // of a record that is not there the API says false
				}
			}
			return &made, nil
		}
	}
	return nil, bad("object %q has no field %q", object, last)
}

// relationship is the field that leads through one; -1: none.
func (d *described) relationship(name string) int {
	for i, f := range d.Fields {
		if strings.EqualFold(f.RelationshipName, name) && len(f.ReferenceTo) > 0 {
			return i
		}
	}
	return -1
}

func (d *described) fields() []field {
	if d == nil {
		return nil
	}
	return d.Fields
}
