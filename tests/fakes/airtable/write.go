package airtable

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxBatch is how many records one request writes.
const maxBatch = 10

// writing is the body of a write.
type writing struct {
	Records       []recordIn     `json:"records"`
	Fields        map[string]any `json:"fields"`
	Typecast      bool           `json:"typecast"`
	ByID          bool           `json:"returnFieldsByFieldId"`
	PerformUpsert *struct {
		FieldsToMergeOn []string `json:"fieldsToMergeOn"`
	} `json:"performUpsert"`
}

type recordIn struct {
	ID     string         `json:"id"`
	Fields map[string]any `json:"fields"`
}

func (c *call) writing() (writing, *refusal) {
	var w writing
	if t := c.r.Header.Get("Content-Type"); !strings.Contains(t, "application/json") {
		return w, badBody()
	}
	d := json.NewDecoder(strings.NewReader(string(c.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		if json.Valid(c.body) {
			return w, invalidRequest()
		}
		return w, badBody()
	}
	return w, nil
}

// transaction carries out a request's writes as one: a refusal undoes them all.
func (s *Server) transaction(base *Base, do func() (any, *refusal)) (any, *refusal) {
	type state struct {
		records []*record
		cells   map[*record]record
		choices map[*Field][]string
		number  int
	}
	before := map[*Table]state{}
	for _, t := range base.Tables {
		st := state{records: slices.Clone(t.records), cells: map[*record]record{}, choices: map[*Field][]string{}, number: t.autoNumber}
		for _, f := range t.Fields {
			st.choices[f] = slices.Clone(f.Choices)
		}
		before[t] = st
	}
	s.undo = func(r *record, t *Table) {
		st := before[t]
		if _, saved := st.cells[r]; saved {
			return
		}
		saved := *r
		saved.cells, saved.touched = map[string]any{}, map[string]time.Time{}
		for k, v := range r.cells {
			saved.cells[k] = v
		}
		for k, v := range r.touched {
			saved.touched[k] = v
		}
		st.cells[r] = saved
	}
	out, refused := do()
	s.undo = nil
	if refused == nil {
		return out, nil
	}
	for t, st := range before {
		t.records, t.autoNumber = st.records, st.number
		for r, saved := range st.cells {
			*r = saved
		}
		for f, choices := range st.choices {
			f.Choices = choices
		}
		t.byID = map[string]*record{}
		for _, r := range t.records {
			t.byID[r.id] = r
		}
	}
	return nil, refused
}

// create a record at the end of a table.
func (s *Server) create(t *Table, fields map[string]any, typecast bool) (*record, *refusal) {
	t.autoNumber++
	now := s.clock().UTC().Truncate(time.Millisecond)
	r := &record{id: s.id("rec"), created: now, modified: now, number: t.autoNumber, cells: map[string]any{}, touched: map[string]time.Time{}}
	t.records = append(t.records, r)
	t.byID[r.id] = r
	return r, s.write(t, r, fields, false, typecast)
}

// write fields into a record; replace empties the others.
func (s *Server) write(t *Table, r *record, fields map[string]any, replace, typecast bool) *refusal {
	if s.undo != nil {
		s.undo(r, t)
	}
	given := map[*Field]any{}
	for name, v := range fields {
		f := t.field(name)
		if f == nil {
			return unknownField(name)
		}
		cell, refused := s.accept(t, f, v, typecast)
		if refused != nil {
			return refused
		}
		given[f] = cell
	}
	for _, f := range t.Fields {
		cell, named := given[f]
		if !named && (!replace || f.Computed()) {
			continue
		}
		s.set(t, r, f, cell)
	}
	return nil
}

// set one cell, and the other end of a link.
func (s *Server) set(t *Table, r *record, f *Field, cell any) {
	was := r.cells[f.ID]
	if reflect.DeepEqual(was, cell) {
		return
	}
	if s.undo != nil {
		s.undo(r, t)
	}
	now := s.clock().UTC().Truncate(time.Millisecond)
	r.modified, r.touched[f.ID] = now, now
	if cell == nil {
		delete(r.cells, f.ID)
	} else {
		r.cells[f.ID] = cell
	}
	if f.Type != "multipleRecordLinks" || f.Inverse == "" {
		return
	}
	other := t.base.table(f.Linked)
	back := other.field(f.Inverse)
	before, _ := was.([]string)
	after, _ := cell.([]string)
	for _, id := range before {
		if o := other.byID[id]; o != nil && !slices.Contains(after, id) {
			s.relink(other, o, back, func(ids []string) []string {
				return slices.DeleteFunc(ids, func(x string) bool { return x == r.id })
			})
		}
	}
	for _, id := range after {
		if !slices.Contains(before, id) {
			s.relink(other, other.byID[id], back, func(ids []string) []string { return append(ids, r.id) })
		}
	}
}

func (s *Server) relink(t *Table, r *record, f *Field, change func([]string) []string) {
	if s.undo != nil {
		s.undo(r, t)
	}
	ids := change(slices.Clone(links(r, f)))
	if len(ids) == 0 {
		delete(r.cells, f.ID)
	} else {
		r.cells[f.ID] = ids
	}
	r.modified = s.clock().UTC().Truncate(time.Millisecond)
	r.touched[f.ID] = r.modified
}

func (s *Server) remove(t *Table, r *record) {
	for _, f := range t.Fields {
		if f.Type == "multipleRecordLinks" {
			s.set(t, r, f, nil)
		}
	}
	for _, other := range t.base.Tables {
		for _, f := range other.Fields {
			if f.Type != "multipleRecordLinks" || f.Linked != t.ID {
				continue
			}
			for _, o := range other.records {
				if slices.Contains(links(o, f), r.id) {
					s.relink(other, o, f, func(ids []string) []string {
						return slices.DeleteFunc(ids, func(x string) bool { return x == r.id })
					})
				}
			}
		}
	}
	t.records = slices.DeleteFunc(t.records, func(x *record) bool { return x == r })
	delete(t.byID, r.id)
}

func (c *call) createRecords() (any, *refusal) {
	w, refused := c.writing()
	if refused != nil {
		return nil, refused
	}
	if w.PerformUpsert != nil {
		return nil, invalidRequest()
	}
	if w.Records == nil {
		if w.Fields == nil {
			return nil, invalidRequest()
		}
		r, refused := c.s.create(c.table, w.Fields, w.Typecast)
		if refused != nil {
			return nil, refused
		}
		return c.s.show(c.table, r, nil, w.ByID), nil
	}
	if len(w.Records) == 0 || len(w.Records) > maxBatch {
		return nil, badRecords(`objects, each with a "fields" object for cell values`)
	}
	out := []any{}
	for _, in := range w.Records {
		if in.ID != "" || in.Fields == nil {
			return nil, badRecords(`objects, each with a "fields" object for cell values`)
		}
		r, refused := c.s.create(c.table, in.Fields, w.Typecast)
		if refused != nil {
			return nil, refused
		}
		out = append(out, c.s.show(c.table, r, nil, w.ByID))
	}
	return map[string]any{"records": out}, nil
}

func (c *call) updateRecords(replace bool) (any, *refusal) {
	w, refused := c.writing()
	if refused != nil {
		return nil, refused
	}
	if len(w.Records) == 0 || len(w.Records) > maxBatch {
		return nil, badRecords(`objects, each with an "id" ID field and a "fields" object for cell values`)
	}
	if w.PerformUpsert != nil {
		return c.upsert(w, replace)
	}
	out := []any{}
	seen := map[string]bool{}
	for _, in := range w.Records {
		if in.ID == "" || in.Fields == nil {
			return nil, badRecords(`objects, each with an "id" ID field and a "fields" object for cell values`)
		}
		r := c.table.byID[in.ID]
		if r == nil {
			return nil, badLink(in.ID)
		}
		if seen[in.ID] {
			return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", "Cannot update same record ID multiple times in a single request")
		}
		seen[in.ID] = true
		if refused := c.s.write(c.table, r, in.Fields, replace, w.Typecast); refused != nil {
			return nil, refused
		}
		out = append(out, c.s.show(c.table, r, nil, w.ByID))
	}
	return map[string]any{"records": out}, nil
}

var mergeable = []string{"number", "currency", "percent", "rating", "duration", "singleLineText", "multilineText", "email", "url", "phoneNumber", "singleSelect", "multipleSelects", "date", "dateTime"}

func (c *call) upsert(w writing, replace bool) (any, *refusal) {
	t := c.table
	names := w.PerformUpsert.FieldsToMergeOn
	if len(names) == 0 || len(names) > 3 {
		return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", "fieldsToMergeOn must be an array of one to three field names or IDs")
	}
	var on []*Field
	for _, name := range names {
		f := t.field(name)
		if f == nil {
			return nil, unknownField(name)
		}
		if !slices.Contains(mergeable, f.Type) {
			return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", `Field "%s" cannot be used as a field to merge on`, f.Name)
		}
		on = append(on, f)
	}
	out, created, updated := []any{}, []string{}, []string{}
	written := map[*record]bool{}
	for _, in := range w.Records {
		if in.Fields == nil {
			return nil, badRecords(`objects, each with a "fields" object for cell values`)
		}
		var found []*record
		if in.ID != "" {
			r := t.byID[in.ID]
			if r == nil {
				return nil, badLink(in.ID)
			}
			found = []*record{r}
		} else {
			want := map[*Field]any{}
			for _, f := range on {
				v, given := in.Fields[f.Name]
				if !given {
					v, given = in.Fields[f.ID]
				}
				if !given {
					return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", `Every record must have a value for the field "%s" to merge on`, f.Name)
				}
				cell, refused := c.s.accept(t, f, v, w.Typecast)
				if refused != nil {
					return nil, refused
				}
				want[f] = cell
			}
			for _, r := range t.records {
				same := true
				for f, cell := range want {
					same = same && reflect.DeepEqual(r.cells[f.ID], cell)
				}
				if same {
					found = append(found, r)
				}
			}
		}
		switch {
		case len(found) > 1:
			return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", "Cannot update more than one record: several records have the same values in the fields to merge on")
		case len(found) == 1 && written[found[0]]:
			return nil, refuse(422, "INVALID_REQUEST_UNKNOWN", "Cannot update same record multiple times in a single request")
		case len(found) == 1:
			if refused := c.s.write(t, found[0], in.Fields, replace, w.Typecast); refused != nil {
				return nil, refused
			}
			updated = append(updated, found[0].id)
		default:
			r, refused := c.s.create(t, in.Fields, w.Typecast)
			if refused != nil {
				return nil, refused
			}
			found = []*record{r}
			created = append(created, r.id)
		}
		written[found[0]] = true
		out = append(out, c.s.show(t, found[0], nil, w.ByID))
	}
	return map[string]any{"records": out, "createdRecords": created, "updatedRecords": updated}, nil
}

func (c *call) updateRecord(replace bool) (any, *refusal) {
	w, refused := c.writing()
	if refused != nil {
		return nil, refused
	}
	r := c.table.byID[c.record]
	if r == nil {
		return nil, recordNotFound()
	}
	if w.Fields == nil || w.Records != nil {
		return nil, invalidRequest()
	}
	if refused := c.s.write(c.table, r, w.Fields, replace, w.Typecast); refused != nil {
		return nil, refused
	}
	return c.s.show(c.table, r, nil, w.ByID), nil
}

func (c *call) deleteRecords(ids []string) (any, *refusal) {
	if len(ids) == 0 || len(ids) > maxBatch {
		return nil, badRecords("IDs")
	}
	out := []any{}
	for _, id := range ids {
		r := c.table.byID[id]
		if r == nil {
			return nil, badLink(id)
		}
		c.s.remove(c.table, r)
		out = append(out, map[string]any{"deleted": true, "id": id})
	}
	return map[string]any{"records": out}, nil
}
