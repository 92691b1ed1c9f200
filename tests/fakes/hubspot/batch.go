// /crm/v3/objects/{objectType}/batch: many records in one call. What some of them
// are refused for is told beside what became of the others, with status 207.

package hubspot

import (
	"fmt"
	"net/http"
	"slices"
)

// batchAnswer builds the answer of a batch.
type batchAnswer struct {
	results []map[string]any
	errors  []*failure
}

func (b *batchAnswer) reply(s *Server, good int) reply {
	at := stamp(s.now())
	out := map[string]any{"status": "COMPLETE", "results": b.results, "startedAt": at, "completedAt": at}
	if b.results == nil {
		out["results"] = []any{}
	}
	if len(b.errors) == 0 {
		return reply{status: good, body: out}
	}
	out["numErrors"], out["errors"] = len(b.errors), b.errors
	return reply{status: http.StatusMultiStatus, body: out}
}

// size refuses a batch of too many.
func size(n, most int) *failure {
	if n == 0 {
		return fail(http.StatusBadRequest, categoryValidation, "Invalid input: inputs must not be empty")
	}
	if n > most {
		return fail(http.StatusBadRequest, categoryValidation, "Invalid input: there are %d inputs, more than the maximum of %d", n, most)
	}
	return nil
}

// distinct refuses a batch in which something stands twice.
func distinct(what string, ids []string) *failure {
	seen := map[string]bool{}
	for _, id := range ids {
		if id != "" && seen[id] {
			return fail(http.StatusBadRequest, categoryValidation, "Duplicate %s found in batch input: [%s]. IDs must be unique", what, id)
		}
		seen[id] = true
	}
	return nil
}

func (s *Server) batchRead(r *request, t *objectType) reply {
	var in struct {
		Properties []string `json:"properties"`
		History    []string `json:"propertiesWithHistory"`
		IDProperty string   `json:"idProperty"`
		Inputs     []object `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	most := MaxBatch
	if len(in.History) > 0 {
		most = MaxBatch / 2
	}
	if f := size(len(in.Inputs), most); f != nil {
		return s.refuseWith(f)
	}
	archived := r.URL.Query().Get("archived") == "true"
	var b batchAnswer
	var missing []string
	seen := map[*record]bool{}
	for _, o := range in.Inputs {
		rec, f := s.locate(t, o.ID, in.IDProperty, archived)
		switch {
		case f != nil && f.code == http.StatusBadRequest:
			return s.refuseWith(f)
		case f != nil:
			missing = append(missing, o.ID)
		case !seen[rec]: // asked for twice is answered once
			seen[rec] = true
			b.results = append(b.results, t.show(rec, rec.values, in.Properties))
		}
	}
	if missing != nil {
		f := fail(http.StatusNotFound, categoryNotFound, "Could not get some %s objects, they may be deleted or not exist. Check that ids are valid.", t.upper())
		f.Context = map[string][]string{"ids": missing}
		b.errors = append(b.errors, f)
	}
	// Answers come in no order that one could rely upon.
	slices.Reverse(b.results)
	return b.reply(s, http.StatusOK)
}

// traced says whether all inputs have a trace id, each another: only then are some
// refused and others done. An error's context names it.
func traced(ids []string) (bool, *failure) {
	return !slices.Contains(ids, ""), distinct("objectWriteTraceIds", ids)
}

// partly makes each input on its own, or all or none.
func (s *Server) partly(trace []string, good int, do func(i int) (map[string]any, *failure), undo func()) reply {
	apart, f := traced(trace)
	if f != nil {
		return s.refuseWith(f)
	}
	var b batchAnswer
	for i := range trace {
		shown, f := do(i)
		if f == nil {
			if trace[i] != "" {
				shown["objectWriteTraceId"] = trace[i]
			}
			b.results = append(b.results, shown)
			continue
		}
		if !apart {
			undo()
			return s.refuseWith(f)
		}
		if f.Context == nil {
			f.Context = map[string][]string{}
		}
		f.Context["objectWriteTraceId"] = []string{trace[i]}
		b.errors = append(b.errors, f)
	}
	slices.Reverse(b.results)
	return b.reply(s, good)
}

func (s *Server) batchCreate(r *request, t *objectType) reply {
	var in struct {
		Inputs []input `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if f := size(len(in.Inputs), MaxBatch); f != nil {
		return s.refuseWith(f)
	}
	var made []*record
	before := len(t.records)
	trace := make([]string, len(in.Inputs))
	for i := range in.Inputs {
		trace[i] = in.Inputs[i].TraceID
	}
	return s.partly(trace, http.StatusCreated, func(i int) (map[string]any, *failure) {
		shown, f := s.make(t, &in.Inputs[i])
		made = t.records[before:]
		return shown, f
	}, func() {
		for _, rec := range slices.Clone(made) {
			s.erase(t, rec)
		}
	})
}

// change is an input of an update or upsert.
type change struct {
	ID         string             `json:"id"`
	IDProperty string             `json:"idProperty"`
	Properties map[string]*string `json:"properties"`
	TraceID    string             `json:"objectWriteTraceId"`
}

func (s *Server) changes(r *request) ([]change, []string, *failure) {
	var in struct {
		Inputs []change `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return nil, nil, f
	}
	if f := size(len(in.Inputs), MaxBatch); f != nil {
		return nil, nil, f
	}
	ids, trace := make([]string, len(in.Inputs)), make([]string, len(in.Inputs))
	for i := range in.Inputs {
		ids[i], trace[i] = fold(in.Inputs[i].ID), in.Inputs[i].TraceID
	}
	return in.Inputs, trace, distinct("IDs", ids)
}

// batchUpdate: a record that is not there is told of beside the others; a value
// that is not valid refuses all, unless inputs are traced.
func (s *Server) batchUpdate(r *request, t *objectType) reply {
	inputs, trace, f := s.changes(r)
	if f != nil {
		return s.refuseWith(f)
	}
	found := make([]*record, len(inputs))
	checked := make([]map[string]string, len(inputs))
	var missing []string
	for i, in := range inputs {
		rec, f := s.locate(t, in.ID, in.IDProperty, false)
		if f != nil {
			missing = append(missing, in.ID)
			continue
		}
		found[i] = rec
	}
	apart, f := traced(trace)
	if f != nil {
		return s.refuseWith(f)
	}
	var b batchAnswer
	for i, in := range inputs {
		if found[i] == nil {
			continue
		}
		values, f := s.check(t, found[i], in.Properties)
		if f == nil {
			checked[i] = values
			continue
		}
		if !apart {
			return s.refuseWith(f)
		}
		if f.Context == nil {
			f.Context = map[string][]string{}
		}
		f.Context["objectWriteTraceId"] = []string{trace[i]}
		b.errors = append(b.errors, f)
	}
	for i := range inputs {
		if checked[i] == nil {
			continue
		}
		// What the one before has taken is taken.
		if f := t.conflict(found[i], checked[i]); f != nil {
			f.Context = map[string][]string{"objectWriteTraceId": {trace[i]}, "id": {inputs[i].ID}}
			b.errors = append(b.errors, f)
			continue
		}
		s.update(t, found[i], checked[i])
		shown := t.written(found[i], checked[i])
		if trace[i] != "" {
			shown["objectWriteTraceId"] = trace[i]
		}
		b.results = append(b.results, shown)
	}
	if missing != nil {
		f := fail(http.StatusNotFound, categoryNotFound, "Could not get some %s objects, they may be deleted or not exist. Check that ids are valid.", t.upper())
		f.Context = map[string][]string{"ids": missing}
		b.errors = append(b.errors, f)
	}
	slices.Reverse(b.results)
	return b.reply(s, http.StatusOK)
}

// batchUpsert: by a unique property, which each input names.
func (s *Server) batchUpsert(r *request, t *objectType) reply {
	inputs, trace, f := s.changes(r)
	if f != nil {
		return s.refuseWith(f)
	}
	var made []*record
	return s.partly(trace, http.StatusOK, func(i int) (map[string]any, *failure) {
		in := &inputs[i]
		if in.ID == "" || in.IDProperty == "" {
			return nil, fail(http.StatusBadRequest, categoryValidation, "an upsert needs an id and an idProperty")
		}
		rec, f := s.locate(t, in.ID, in.IDProperty, false)
		if f != nil && f.code == http.StatusBadRequest {
			return nil, f
		}
		if in.Properties == nil {
			in.Properties = map[string]*string{}
		}
		if rec != nil {
			values, f := s.check(t, rec, in.Properties)
			if f != nil {
				return nil, f
			}
			s.update(t, rec, values)
			shown := t.written(rec, values)
			shown["new"] = false
			return shown, nil
		}
		if in.IDProperty == "hs_object_id" {
			return nil, fail(http.StatusNotFound, categoryNotFound, "resource not found")
		}
		if in.Properties[in.IDProperty] == nil {
			in.Properties[in.IDProperty] = &in.ID
		}
		values, f := s.check(t, nil, in.Properties)
		if f != nil {
			return nil, f
		}
		rec = s.create(t, values)
		made = append(made, rec)
		shown := t.written(rec, rec.values)
		shown["new"] = true
		return shown, nil
	}, func() {
		// Updates before the refused one stand: the check of all comes first in
		// the API too, but for values that collide within the batch.
		for _, rec := range made {
			s.erase(t, rec)
		}
	})
}

// batchArchive passes over what is not there.
func (s *Server) batchArchive(r *request, t *objectType) reply {
	var in struct {
		Inputs []object `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if f := size(len(in.Inputs), MaxBatch); f != nil {
		return s.refuseWith(f)
	}
	for _, o := range in.Inputs {
		rec, f := s.locate(t, o.ID, "", false)
		if f != nil {
			if f.Context != nil { // not a number
				return s.refuseWith(fail(http.StatusBadRequest, categoryValidation, "Invalid id: %s", o.ID))
			}
			continue
		}
		s.archive(t, rec)
	}
	return nothing()
}

// String says what the server holds, for tests that fail.
func (s *Server) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("HubSpot's stand-in at %s with calls %v, %d refused", s.URL, s.calls, s.refused)
}
