// Records: made, changed, archived, and what searches know of them.

package hubspot

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// record is what an object's type has many of. Values are as the API shows them;
// what is not set is not there.
type record struct {
	id         int64
	values     map[string]string
	made       time.Time
	modified   time.Time
	archivedAt time.Time // zero: it is not
	// found is what searches show of it: the last version that is in the index,
	// and those that wait.
	versions []version
}

type version struct {
	from   time.Time
	values map[string]string // nil: archived, or not yet there
}

func (r *record) archived() bool { return !r.archivedAt.IsZero() }

// stamp is how the API writes times.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// index has searches show the record as it is, once their lag is over.
func (s *Server) index(r *record) {
	v := version{from: s.now().Add(s.opts.SearchLag)}
	if !r.archived() {
		v.values = r.values
	}
	r.versions = append(r.versions, v)
}

// indexed is what searches show at a time; nil: nothing.
func (r *record) indexed(now time.Time) map[string]string {
	at := -1
	for i, v := range r.versions {
		if !v.from.After(now) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	r.versions = r.versions[at:]
	return r.versions[0].values
}

// Seed puts n records into an object, without checks or lag, and answers the id of
// the first; the others' follow it. of gives a record's properties, among which the
// object's times may be; by default they are now.
func (s *Server) Seed(object string, n int, of func(i int) map[string]string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.must(object)
	first := s.lastID + 1
	now := s.now()
	for i := range n {
		s.lastID++
		r := &record{id: s.lastID, values: of(i), made: now, modified: now}
		for _, own := range []struct {
			name string
			at   *time.Time
		}{{t.made, &r.made}, {t.modified, &r.modified}} {
			if v := r.values[own.name]; v != "" {
				at, err := time.Parse(time.RFC3339Nano, v)
				if err != nil {
					panic(err)
				}
				*own.at = at.UTC().Truncate(time.Millisecond)
			}
			r.values[own.name] = stamp(*own.at)
		}
		r.values["hs_object_id"] = strconv.FormatInt(r.id, 10)
		for k, v := range r.values {
			if v == "" {
				delete(r.values, k)
			}
		}
		r.versions = []version{{values: r.values}}
		t.put(r)
	}
	return first
}

// Values of a record as the API shows them, archived or not; nil: there is none.
func (s *Server) Values(object string, id int64) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.must(object).byID[id]
	if r == nil {
		return nil
	}
	out := map[string]string{}
	for k, v := range r.values {
		out[k] = v
	}
	return out
}

// IDs of an object's records that are not archived.
func (s *Server) IDs(object string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int64
	for _, r := range s.must(object).records {
		if !r.archived() {
			out = append(out, r.id)
		}
	}
	return out
}

func (t *objectType) put(r *record) {
	t.records = append(t.records, r)
	t.byID[r.id] = r
	t.claim(r, r.values)
}

// claim notes a record's unique values; release forgets them.
func (t *objectType) claim(r *record, values map[string]string) {
	for name, taken := range t.unique {
		if v := values[name]; v != "" {
			taken[strings.ToLower(v)] = r
		}
	}
}

func (t *objectType) release(r *record) {
	for name, taken := range t.unique {
		if v := strings.ToLower(r.values[name]); taken[v] == r {
			delete(taken, v)
		}
	}
}

// tick is a time for a write, later than that of the write before.
func (s *Server) tick() time.Time {
	now := s.now()
	if !now.After(s.lastStep) && s.lastStep.Sub(now) < time.Minute {
		now = s.lastStep.Add(time.Millisecond)
	}
	s.lastStep = now
	return now
}

// create makes a record of checked values.
func (s *Server) create(t *objectType, values map[string]string) *record {
	s.lastID++
	now := s.tick()
	r := &record{id: s.lastID, values: values, made: now, modified: now}
	for k, v := range values {
		if v == "" {
			delete(values, k)
		}
	}
	values["hs_object_id"] = strconv.FormatInt(r.id, 10)
	values[t.made], values[t.modified] = stamp(now), stamp(now)
	t.compute(values)
	t.put(r)
	s.index(r)
	return r
}

// update changes a record by checked values, of which an empty one clears.
func (s *Server) update(t *objectType, r *record, values map[string]string) {
	t.release(r)
	// Versions share no map, as searches may show the one before.
	next := make(map[string]string, len(r.values)+len(values))
	for k, v := range r.values {
		next[k] = v
	}
	for k, v := range values {
		if v == "" {
			delete(next, k)
		} else {
			next[k] = v
		}
	}
	r.modified = s.tick()
	next[t.modified] = stamp(r.modified)
	t.compute(next)
	r.values = next
	t.claim(r, next)
	s.index(r)
}

// compute sets what the API derives.
func (t *objectType) compute(values map[string]string) {
	if t.name != "line_items" {
		return
	}
	quantity, err1 := strconv.ParseFloat(values["quantity"], 64)
	price, err2 := strconv.ParseFloat(values["price"], 64)
	delete(values, "amount")
	if err1 == nil && err2 == nil {
		values["amount"] = strconv.FormatFloat(quantity*price, 'f', -1, 64)
	}
}

func (s *Server) archive(t *objectType, r *record) {
	if r.archived() {
		return
	}
	r.archivedAt = s.tick()
	t.release(r)
	s.links.forget(t, r.id)
	s.index(r)
}

// Archive is what somebody else does in HubSpot itself.
func (s *Server) Archive(object string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.must(object)
	if r := t.byID[id]; r != nil {
		s.archive(t, r)
	}
}

// Change is what somebody else does in HubSpot itself. Nothing is checked.
func (s *Server) Change(object string, id int64, values map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.must(object)
	s.update(t, t.byID[id], values)
}

// erase removes a record for good.
func (s *Server) erase(t *objectType, r *record) {
	t.release(r)
	s.links.forget(t, r.id)
	delete(t.byID, r.id)
	t.records = slices.DeleteFunc(t.records, func(o *record) bool { return o == r })
}

// after is the position of the first record whose id is larger.
func (t *objectType) after(id int64) int {
	return sort.Search(len(t.records), func(i int) bool { return t.records[i].id > id })
}

// locate finds a record by what stands for it in a path or an input. idProperty is
// the unique property that id is a value of; empty: hs_object_id.
func (s *Server) locate(t *objectType, id, idProperty string, archived bool) (*record, *failure) {
	var r *record
	if idProperty != "" && idProperty != "hs_object_id" {
		taken, isUnique := t.unique[idProperty]
		if !isUnique {
			return nil, fail(http.StatusBadRequest, categoryValidation, "Property '%s' is not a unique identifier property for object type '%s'", idProperty, t.name)
		}
		r = taken[strings.ToLower(id)]
	} else {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			f := fail(http.StatusNotFound, categoryNotFound, "Object not found.  objectId are usually numeric.")
			f.Context = map[string][]string{"id": {id}}
			return nil, f
		}
		r = t.byID[n]
	}
	if r == nil || r.archived() != archived {
		return nil, fail(http.StatusNotFound, categoryNotFound, "resource not found")
	}
	return r, nil
}

// show is a record as answers have it. properties are those wanted; unknown ones
// are passed over.
func (t *objectType) show(r *record, values map[string]string, properties []string) map[string]any {
	shown := make(map[string]any, len(properties)+4)
	put := func(name string) {
		if t.property(name) == nil {
			return
		}
		if v, set := values[name]; set {
			shown[name] = v
		} else {
			shown[name] = nil
		}
	}
	for _, p := range []string{"hs_object_id", t.made, t.modified} {
		put(p)
	}
	if properties == nil {
		properties = t.usual
	}
	for _, p := range properties {
		put(p)
	}
	out := map[string]any{"id": strconv.FormatInt(r.id, 10), "properties": shown, "createdAt": stamp(r.made),
		"updatedAt": values[t.modified], "archived": r.archived(),
		"url": fmt.Sprintf("https://app.hubspot.com/contacts/%d/record/%s/%d", portal, t.typeID, r.id)}
	if r.archived() {
		out["archivedAt"] = stamp(r.archivedAt)
	}
	return out
}

// written is a record as answers to writes have it: what was written of it.
func (t *objectType) written(r *record, values map[string]string) map[string]any {
	names := make([]string, 0, len(values))
	for k := range values {
		names = append(names, k)
	}
	return t.show(r, r.values, names)
}
