package salesforce

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
)

const maxCollection = 200

type collection struct {
	AllOrNone bool    `json:"allOrNone"`
	Records   []input `json:"records"`
}

func decodeCollection(r *http.Request) (collection, *apiError) {
	var c collection
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return c, newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	return c, limitCollection(len(c.Records))
}

func limitCollection(n int) *apiError {
	switch {
	case n == 0:
		return newError(400, "MISSING_ARGUMENT", "The required field records is missing")
	case n > maxCollection:
		return newError(400, "EXCEEDED_ID_LIMIT", "record limit reached. cannot submit more than %d records in this request", maxCollection)
	}
	return nil
}

// snapshot remembers the org, for a collection that is all or none.
type snapshot map[*table]tableState

type tableState struct {
	rows    []Record
	byID    map[string]Record
	unique  map[string]map[string]Record
	counter int
}

func (s *Server) snapshot() snapshot {
	out := snapshot{}
	for _, t := range s.order {
		state := tableState{slices.Clone(t.rows), maps.Clone(t.byID), map[string]map[string]Record{}, t.counter}
		for name, index := range t.unique {
			state.unique[name] = maps.Clone(index)
		}
		out[t] = state
	}
	return out
}

func (o snapshot) restore() {
	for t, state := range o {
		t.rows, t.byID, t.unique = state.rows, state.byID, state.unique
	}
}

// rowType is the table that a record of a collection names.
func (s *Server) rowType(in input) (*table, *apiError) {
	attributes, _ := in["attributes"].(map[string]any)
	name, _ := attributes["type"].(string)
	if name == "" {
		return nil, newError(400, "INVALID_FIELD", "The type attribute is missing from a record")
	}
	t := s.table(name)
	if t == nil {
		return nil, newError(400, "INVALID_TYPE", "sObject type '%s' is not supported.", name)
	}
	return t, t.known(in)
}

// collect does each row and answers for each. With allOrNone one failure takes the
// others with it; the status is 200 all the same.
func (s *Server) collect(w http.ResponseWriter, allOrNone bool, n int, one func(int) (saved, *apiError, *apiError)) *apiError {
	before := s.snapshot()
	out, failed := make([]saved, n), false
	for i := range out {
		answer, bad, parse := one(i)
		if parse != nil {
			before.restore()
			return parse
		}
		if bad != nil {
			answer, failed = saved{ID: answer.ID, Errors: rowErrors(bad)}, true
		} else {
			answer.Success, answer.Errors = true, []rowError{}
		}
		out[i] = answer
	}
	if failed && allOrNone {
		before.restore()
		for i := range out {
			if out[i].Success {
				out[i] = saved{Errors: []rowError{{"ALL_OR_NONE_OPERATION_ROLLED_BACK",
					"Record rolled back because not all records were valid and the request was using AllOrNone header", []string{}}}}
			}
		}
	}
	writeJSON(w, 200, out)
	return nil
}

func (s *Server) createMany(w http.ResponseWriter, r *http.Request) *apiError {
	c, err := decodeCollection(r)
	if err != nil {
		return err
	}
	tables, err := s.types(c.Records)
	if err != nil {
		return err
	}
	return s.collect(w, c.AllOrNone, len(c.Records), func(i int) (saved, *apiError, *apiError) {
		if _, given := lookup(c.Records[i], "Id"); given {
			return saved{}, newError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call"), nil
		}
		row, bad, parse := s.write(tables[i], nil, c.Records[i])
		if bad != nil || parse != nil {
			return saved{}, bad, parse
		}
		return saved{ID: row["Id"].(string)}, nil, nil
	})
}

func (s *Server) types(records []input) ([]*table, *apiError) {
	tables := make([]*table, len(records))
	for i, in := range records {
		t, err := s.rowType(in)
		if err != nil {
			return nil, err
		}
		tables[i] = t
	}
	return tables, nil
}

// findRow is find with the errors that a collection gives.
func findRow(t *table, id string) (Record, *apiError) {
	if full, ok := fullID(id); !ok || !strings.HasPrefix(full, t.def.Prefix) {
		return nil, onField("Id", "MALFORMED_ID", "%s ID: id value of incorrect type: %s", t.def.Label, id)
	}
	row, err := t.find(id)
	if err != nil && err.Code == "NOT_FOUND" {
		return nil, onField("Id", "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
	}
	return row, err
}

func (s *Server) updateMany(w http.ResponseWriter, r *http.Request) *apiError {
	c, err := decodeCollection(r)
	if err != nil {
		return err
	}
	tables, err := s.types(c.Records)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	return s.collect(w, c.AllOrNone, len(c.Records), func(i int) (saved, *apiError, *apiError) {
		given, _ := lookup(c.Records[i], "Id")
		id, _ := given.(string)
		if id == "" {
			return saved{}, onField("Id", "MISSING_ARGUMENT", "Id not specified in an update call"), nil
		}
		old, bad := findRow(tables[i], id)
		if bad != nil {
			return saved{}, bad, nil
		}
		full := old["Id"].(string)
		if seen[full] {
			return saved{ID: full}, newError(400, "DUPLICATE_VALUE", "Duplicate id in list: %s", full), nil
		}
		seen[full] = true
		_, bad, parse := s.write(tables[i], old, c.Records[i])
		return saved{ID: full}, bad, parse
	})
}

func (s *Server) deleteMany(w http.ResponseWriter, r *http.Request) *apiError {
	q := r.URL.Query()
	ids := strings.Split(q.Get("ids"), ",")
	if q.Get("ids") == "" {
		ids = nil
	}
	if err := limitCollection(len(ids)); err != nil {
		return err
	}
	return s.collect(w, q.Get("allOrNone") == "true", len(ids), func(i int) (saved, *apiError, *apiError) {
		t := s.byPrefix(ids[i])
		if t == nil {
			return saved{}, newError(400, "MALFORMED_ID", "bad id %s", ids[i]), nil
		}
		row, bad := findRow(t, ids[i])
		if bad != nil {
			return saved{ID: ids[i]}, bad, nil
		}
		s.remove(t, row)
		return saved{ID: row["Id"].(string)}, nil, nil
	})
}

func (s *Server) upsertMany(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	c, err := decodeCollection(r)
	if err != nil {
		return err
	}
	f := t.def.field(r.PathValue("field"))
	if f == nil || !f.ExternalID && f.Name != "Id" {
		return newError(400, "INVALID_FIELD", "Field name provided, %s does not match an External ID, Salesforce Id, or indexed field for %s", r.PathValue("field"), t.def.Name)
	}
	if _, err := s.types(c.Records); err != nil {
		return err
	}
	seen := map[string]bool{}
	return s.collect(w, c.AllOrNone, len(c.Records), func(i int) (saved, *apiError, *apiError) {
		in := c.Records[i]
		given, _ := lookup(in, f.Name)
		value := ""
		switch v := given.(type) {
		case string:
			value = v
		case json.Number:
			value = v.String()
		}
		_, rows, bad := s.byKey(t, f.Name, value)
		switch {
		case bad != nil:
			return saved{}, bad, nil
		case len(rows) > 1:
			return saved{}, newError(400, "DUPLICATE_EXTERNAL_ID", "%s: more than one record found for external id field: %v", f.Label, ids(rows)), nil
		case seen[uniqueKey(f, value)]:
			return saved{}, onField(f.Name, "DUPLICATE_VALUE", "Duplicate external id specified: %s", value), nil
		}
		seen[uniqueKey(f, value)] = true
		row, created, bad := s.upsert(t, f, value, rows, in)
		if bad != nil && bad.Code == "JSON_PARSER_ERROR" {
			return saved{}, nil, bad
		}
		if bad != nil {
			return saved{}, bad, nil
		}
		return saved{ID: row["Id"].(string), Created: &created}, nil, nil
	})
}

func ids(rows []Record) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r["Id"].(string)
	}
	return out
}

// retrieveMany answers rows in the order of their ids, null for one that is not
// there.
func (s *Server) retrieveMany(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	var body struct {
		IDs    []string `json:"ids"`
		Fields []string `json:"fields"`
	}
	if e := json.NewDecoder(r.Body).Decode(&body); e != nil {
		return newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", e)
	}
	if len(body.IDs) > 2000 {
		return newError(400, "EXCEEDED_ID_LIMIT", "record limit reached. cannot submit more than 2000 records in this request")
	}
	tree, err := s.tree(t, body.Fields)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteByte('[')
	for i, id := range body.IDs {
		if i > 0 {
			b.WriteByte(',')
		}
		row, err := t.find(id)
		if err != nil {
			b.WriteString("null")
			continue
		}
		s.appendRecord(&b, r.PathValue("version"), t, row, tree)
	}
	b.WriteByte(']')
	return send(w, b.Bytes())
}

// batch makes up to 25 requests that stand in the body, of which this org knows
// queries: those may be longer than a URL.
func (s *Server) batch(w http.ResponseWriter, r *http.Request) *apiError {
	var body struct {
		BatchRequests []struct{ Method, URL string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	if n := len(body.BatchRequests); n == 0 || n > 25 {
		return newError(400, "INVALID_BATCH_REQUEST", "a batch has 1 to 25 requests")
	}
	type result struct {
		Status int             `json:"statusCode"`
		Result json.RawMessage `json:"result"`
	}
	out := struct {
		HasErrors bool     `json:"hasErrors"`
		Results   []result `json:"results"`
	}{}
	for _, one := range body.BatchRequests {
		kept := httptest.NewRecorder()
		version, rest, _ := strings.Cut(strings.TrimPrefix(one.URL, "/services/data/"), "/")
		inner, err := http.NewRequestWithContext(r.Context(), one.Method, "/"+rest, nil)
		if err != nil {
			return newError(400, "INVALID_BATCH_REQUEST", "%s", err)
		}
		inner.SetPathValue("version", version)
		bad := newError(404, "NOT_FOUND", "The requested resource does not exist")
		switch one.Method + " " + inner.URL.Path {
		case "GET /query":
			bad = s.query(kept, inner)
		case "GET /queryAll":
			bad = s.queryAll(kept, inner)
		}
		if bad != nil {
			writeErrors(kept, bad)
		}
		out.HasErrors = out.HasErrors || kept.Code > 299
		out.Results = append(out.Results, result{kept.Code, kept.Body.Bytes()})
	}
	writeJSON(w, 200, out)
	return nil
}
