// Fields that a table names below those of the manifest.

package stripe

import (
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// bind gives an object the fields that the table's columns name: metadata.order is
// a member of a json field; customer.email a field of the record that a relation
// leads to, and customer.* all of it, for which Stripe is told to expand the relation.
func bind(m *rest.Manifest, spec connectors.TableSpec, o *rest.Object, search bool) *rest.Object {
	out := *o
	searchable := slices.ContainsFunc(o.Fields, func(f rest.Field) bool { return filtered(f, "search") })
	if !search || !searchable {
		out.Ways = []string{"get"}
	}
	out.Fields = slices.Clone(o.Fields)
	for _, c := range spec.Columns {
		name := c.Field()
		if c.Generated || named(&out, name) != nil {
			continue
		}
		if f := resolve(m, o, name, c.Type, 0); f != nil {
			f.Name = name
			if strings.HasPrefix(name, "metadata.") && searchable {
				key := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.TrimPrefix(name, "metadata."))
				f.FilterName = `metadata["` + key + `"]`
				f.Filters = []rest.Pair{{Name: "search", Value: "token"}}
			}
			out.Fields = append(out.Fields, *f)
		}
	}
	return &out
}

func filtered(f rest.Field, way string) bool {
	return slices.ContainsFunc(f.Filters, func(p rest.Pair) bool { return p.Name == way })
}

func named(o *rest.Object, name string) *rest.Field {
	i := slices.IndexFunc(o.Fields, func(f rest.Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &o.Fields[i]
}

// resolve finds the field that a dotted name leads to; nil: there is none. t is the
// type of the column that shows it.
func resolve(m *rest.Manifest, o *rest.Object, name string, t pushdown.Type, depth int) *rest.Field {
	const deepest = 3 // Stripe expands four levels, of which a list is one
	if f := named(o, name); f != nil {
		out := *f
		return &out
	}
	for at := strings.LastIndexByte(name, '.'); at > 0; at = strings.LastIndexByte(name[:at], '.') {
		parent, inside := named(o, name[:at]), name[at+1:]
		switch {
		case parent == nil || parent.List || parent.WriteOnly || inside == "":
		case parent.Type == "json":
			return member(parent, inside, t)
		case parent.Type == "relation" && depth < deepest:
			return beyond(m, parent, inside, t, depth)
		}
	}
	return nil
}

// member of a json field.
func member(parent *rest.Field, name string, t pushdown.Type) *rest.Field {
	path := name
	if parent.Name == "metadata" {
		path = strings.ReplaceAll(name, ".", `\.`) // its keys may have dots, and nothing is below them
	}
	f := &rest.Field{Type: typeOf(t), List: t.Array && typeOf(t) != "json", Path: parent.Path + "." + path, ReadOnly: parent.ReadOnly, Missing: "null", Format: "iso"}
	if parent.Name == "metadata" {
		f.Type, f.Missing, f.MaxLength = "text", "empty", 500
	}
	if f.Type == "datetime" {
		f.Format = "unix"
	}
	if parent.Send != "" {
		f.Send = parent.Send + "." + path
	}
	f.FilterName = f.Path
	return f
}

// beyond is a field of the record that a relation leads to; * is all of it.
func beyond(m *rest.Manifest, parent *rest.Field, name string, t pushdown.Type, depth int) *rest.Field {
	if name == "*" {
		return &rest.Field{Type: "json", Path: parent.Path, FilterName: parent.Path, Expand: parent.Path, ReadOnly: true, Missing: "null", Format: "iso"}
	}
	i := slices.IndexFunc(m.Objects, func(o rest.Object) bool { return o.Name == parent.Object })
	if i < 0 {
		return nil
	}
	f := resolve(m, &m.Objects[i], name, t, depth+1)
	if f == nil || f.WriteOnly {
		return nil
	}
	expand := parent.Path
	if f.Expand != "" {
		expand += "." + f.Expand
	}
	// Whatever there always is, the record may not be there.
	if f.Missing == "never" {
		f.Missing = "null"
	}
	f.Path, f.FilterName, f.Expand = parent.Path+"."+f.Path, parent.Path+"."+f.Path, expand
	f.ReadOnly, f.Required, f.Filters, f.Send, f.Merges, f.Whole = true, false, nil, "", false, false
	return f
}

func typeOf(t pushdown.Type) string {
	switch t.Kind {
	case pushdown.Bool:
		return "boolean"
	case pushdown.Int2, pushdown.Int4, pushdown.Int8:
		return "integer"
	case pushdown.Numeric, pushdown.Float4, pushdown.Float8:
		return "number"
	case pushdown.TimestampTZ, pushdown.Timestamp:
		return "datetime"
	case pushdown.JSON, pushdown.JSONB:
		return "json"
	}
	return "text"
}
