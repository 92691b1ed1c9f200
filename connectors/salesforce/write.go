// How rows of an object are written: 200 by one request, all or none.

package salesforce

import "github.com/hallwaydb/hallway/connectors/rest"

// maxCollection is the most rows of a request.
const maxCollection = 200

// writes says what can be done to an object's records, and how.
func writes(o *rest.Object, d *described) {
	off := &rest.Write{Off: true}
	o.Create, o.Update, o.Delete, o.Upsert = off, off, off, off
	kind := rest.Pair{Name: "attributes.type", Value: d.Name}
	answers := &rest.BatchEntries{Error: "errors"}
	many := func(method, path string, entry ...rest.Pair) *rest.WriteBatch {
		return &rest.WriteBatch{Method: method, Path: path, Max: maxCollection, Atomic: true, List: "records", Entry: append([]rest.Pair{kind}, entry...),
			Extra: []rest.Pair{{Name: "allOrNone", Value: "true"}}, Answers: answers, Others: []string{"ALL_OR_NONE_OPERATION_ROLLED_BACK"}}
	}
	const collections = "/composite/sobjects"
	if d.Createable {
		o.Create = &rest.Write{Method: "POST", Path: "{path}", Answer: "none", AnswerKey: "id", Batch: many("POST", collections)}
	}
	if d.Updateable {
		o.Update = &rest.Write{Method: "PATCH", Answer: "none", Batch: many("PATCH", collections, rest.Pair{Name: "id", Value: "{key}"})}
	}
	if d.Deletable {
		remove := many("DELETE", collections)
		remove.List, remove.Entry, remove.Param, remove.Separator = "", nil, "ids", ","
		o.Delete = &rest.Write{Method: "DELETE", Answer: "none", Batch: remove}
	}
	var match []string
	for _, f := range d.Fields {
		if f.ExternalID && f.IDLookup && f.Createable {
			match = append(match, f.Name)
		}
	}
	if d.Createable && d.Updateable && len(match) > 0 {
		o.Upsert = &rest.Write{Method: "PATCH", Path: "{path}/{match}/{value}", Answer: "none", AnswerKey: "id", Match: match, OmitMatch: true, Created: "created",
			Batch: many("PATCH", collections+"/"+d.Name+"/{match}")}
	}
}
