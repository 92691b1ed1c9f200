package salesforce

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

func decodeInput(r io.Reader) (input, *apiError) {
	var in input
	d := json.NewDecoder(r)
	d.UseNumber()
	if err := d.Decode(&in); err != nil {
		return nil, newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	return in, nil
}

// target is the table and body of a request for one row.
func (s *Server) target(r *http.Request) (*table, input, *apiError) {
	t, err := s.object(r)
	if err != nil {
		return nil, nil, err
	}
	in, err := decodeInput(r.Body)
	if err == nil {
		err = t.known(in)
	}
	return t, in, err
}

// saved is the answer to a write that has one.
type saved struct {
	ID      string     `json:"id,omitempty"`
	Success bool       `json:"success"`
	Errors  []rowError `json:"errors"`
	Created *bool      `json:"created,omitempty"`
}

func (s *Server) createOne(w http.ResponseWriter, r *http.Request) *apiError {
	t, in, err := s.target(r)
	if err != nil {
		return err
	}
	if _, given := lookup(in, "Id"); given {
		return newError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
	}
	row, bad, parse := s.write(t, nil, in)
	if bad == nil {
		bad = parse
	}
	if bad != nil {
		return bad
	}
	w.Header().Set("Location", r.URL.Path+"/"+row["Id"].(string))
	writeJSON(w, 201, saved{ID: row["Id"].(string), Success: true, Errors: []rowError{}})
	return nil
}

func (s *Server) updateOne(w http.ResponseWriter, r *http.Request) *apiError {
	t, in, err := s.target(r)
	if err != nil {
		return err
	}
	old, err := t.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if _, given := lookup(in, "Id"); given {
		return newError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
	}
	_, bad, parse := s.write(t, old, in)
	if bad == nil {
		bad = parse
	}
	if bad == nil {
		w.WriteHeader(204)
	}
	return bad
}

func (s *Server) deleteOne(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	row, err := t.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	s.remove(t, row)
	w.WriteHeader(204)
	return nil
}

func (s *Server) retrieveOne(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	row, err := t.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.answerRow(w, r, t, row)
}

// answerRow answers a row with the fields that are asked for, else with all.
func (s *Server) answerRow(w http.ResponseWriter, r *http.Request, t *table, row Record) *apiError {
	var names []string
	if list := r.URL.Query().Get("fields"); list != "" {
		names = strings.Split(list, ",")
	}
	tree, err := s.tree(t, names)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	s.appendRecord(&b, r.PathValue("version"), t, row, tree)
	return send(w, b.Bytes())
}

func (s *Server) tree(t *table, names []string) ([]*node, *apiError) {
	if names == nil {
		for _, f := range t.def.Fields {
			names = append(names, f.Name)
		}
	}
	var columns []outColumn
	for _, name := range names {
		name = strings.TrimSpace(name)
		c, err := s.resolve(name, t, fieldRef{path: strings.Split(name, ".")})
		if err != nil {
			return nil, newError(400, "INVALID_FIELD", "No such column '%s' on sobject of type %s", name, t.def.Name)
		}
		columns = append(columns, outColumn{col: c})
	}
	return shape(columns), nil
}

// byKey finds live rows by an external id.
func (s *Server) byKey(t *table, field, value string) (*Field, []Record, *apiError) {
	f := t.def.field(field)
	if f == nil || !f.ExternalID && f.Name != "Id" {
		return nil, nil, newError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: %s", field)
	}
	if f.Name == "Id" {
		row, err := t.find(value)
		if err != nil {
			return f, nil, err
		}
		return f, []Record{row}, nil
	}
	want, err := s.convert(t, f, value)
	if err != nil {
		return f, nil, err
	}
	if want == nil {
		return f, nil, newError(400, "MISSING_ARGUMENT", "%s not specified", f.Name)
	}
	var found []Record
	if f.Unique {
		if row := t.unique[f.Name][uniqueKey(f, want)]; row != nil {
			found = append(found, row)
		}
		return f, found, nil
	}
	for _, row := range t.rows {
		if row["IsDeleted"] != true && row[f.Name] != nil && equal(f, row[f.Name], want) {
			found = append(found, row)
		}
	}
	return f, found, nil
}

// choices is the answer to a key that several rows have: their addresses.
func choices(w http.ResponseWriter, r *http.Request, t *table, rows []Record) *apiError {
	urls := make([]string, len(rows))
	for i, row := range rows {
		urls[i] = "/services/data/" + r.PathValue("version") + "/sobjects/" + t.def.Name + "/" + row["Id"].(string)
	}
	writeJSON(w, 300, urls)
	return nil
}

func (s *Server) retrieveByKey(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	_, rows, err := s.byKey(t, r.PathValue("field"), r.PathValue("value"))
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return newError(404, "NOT_FOUND", "The requested resource does not exist")
	case len(rows) > 1:
		return choices(w, r, t, rows)
	}
	return s.answerRow(w, r, t, rows[0])
}

func (s *Server) deleteByKey(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	_, rows, err := s.byKey(t, r.PathValue("field"), r.PathValue("value"))
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return newError(404, "NOT_FOUND", "The requested resource does not exist")
	case len(rows) > 1:
		return choices(w, r, t, rows)
	}
	s.remove(t, rows[0])
	w.WriteHeader(204)
	return nil
}

func (s *Server) upsertOne(w http.ResponseWriter, r *http.Request) *apiError {
	t, in, err := s.target(r)
	if err != nil {
		return err
	}
	f, rows, err := s.byKey(t, r.PathValue("field"), r.PathValue("value"))
	if err != nil {
		return err
	}
	if _, given := lookup(in, f.Name); given {
		return newError(400, "INVALID_FIELD", "The %s field should not be specified in the sobject data.", f.Name)
	}
	if len(rows) > 1 {
		return choices(w, r, t, rows)
	}
	row, created, bad := s.upsert(t, f, r.PathValue("value"), rows, in)
	if bad != nil {
		return bad
	}
	status := 200
	if created {
		status = 201
	}
	writeJSON(w, status, saved{ID: row["Id"].(string), Success: true, Errors: []rowError{}, Created: &created})
	return nil
}

// upsert writes into the one row that was found, or makes one with the key.
func (s *Server) upsert(t *table, f *Field, key string, rows []Record, in input) (Record, bool, *apiError) {
	var old Record
	if len(rows) == 1 {
		old = rows[0]
	} else {
		with := input{f.Name: key}
		for k, v := range in {
			if !slices.Contains([]string{strings.ToLower(f.Name), "id"}, strings.ToLower(k)) {
				with[k] = v
			}
		}
		in = with
	}
	row, bad, parse := s.write(t, old, in)
	if bad == nil {
		bad = parse
	}
	return row, old == nil, bad
}
