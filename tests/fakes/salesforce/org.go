package salesforce

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Record is a row, by the fields' own names. Values are nil, string, bool,
// float64, Date, TimeOfDay or time.Time; a calculated field is not stored.
type Record map[string]any

// Date is a day, 2006-01-02.
type Date string

// TimeOfDay is 15:04:05.000.
type TimeOfDay string

// UserID is who all sessions are.
const UserID = "005Hw0000000001IAA"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// table is an object with its rows, in the order of their creation. Deleted ones
// stay: they are in the recycle bin.
type table struct {
	def     *Object
	rows    []Record
	byID    map[string]Record
	counter int
	// unique finds a row by a unique field's value.
	unique map[string]map[string]Record
}

// suffix makes 18 characters of an id's 15, so that ids differ without case, too.
func suffix(id string) string {
	out := make([]byte, 0, 3)
	for block := range 3 {
		n := 0
		for i := range 5 {
			if c := id[block*5+i]; c >= 'A' && c <= 'Z' {
				n |= 1 << i
			}
		}
		out = append(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[n])
	}
	return id + string(out)
}

// fullID is the form of 18 characters of a well-formed id.
func fullID(id string) (string, bool) {
	if len(id) != 15 && len(id) != 18 {
		return "", false
	}
	for i := range len(id) {
		if !strings.Contains(alphabet, id[i:i+1]) {
			return "", false
		}
	}
	full := suffix(id[:15])
	return full, len(id) == 15 || full == id
}

func (t *table) nextID() string {
	t.counter++
	n, digits := t.counter, make([]byte, 8)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = alphabet[n%62]
		n /= 62
	}
	return suffix(t.def.Prefix + "Hw00" + string(digits))
}

// now is the org's time: to the second, as the API keeps it.
func (s *Server) now() time.Time { return s.clock().UTC().Truncate(time.Second) }

func (s *Server) table(name string) *table { return s.tables[strings.ToLower(name)] }

func (s *Server) addObject(o *Object) {
	t := &table{def: o, byID: map[string]Record{}, unique: map[string]map[string]Record{}}
	for _, f := range o.Fields {
		if f.Unique {
			t.unique[f.Name] = map[string]Record{}
		}
	}
	s.tables[strings.ToLower(o.Name)] = t
	s.order = append(s.order, t)
}

// get is a field's value, a calculated one's too.
func (t *table) get(r Record, f *Field) any {
	if f.Compute != nil {
		return f.Compute(r)
	}
	return r[f.Name]
}

func uniqueKey(f *Field, v any) string {
	text := fmt.Sprint(v)
	if !f.CaseSensitive {
		text = fold(text)
	}
	return text
}

// store inserts or replaces a row that has been checked.
func (t *table) store(old, row Record) {
	for name, index := range t.unique {
		f := t.def.field(name)
		if old != nil && old[name] != nil {
			delete(index, uniqueKey(f, old[name]))
		}
		if row[name] != nil && row["IsDeleted"] != true {
			index[uniqueKey(f, row[name])] = row
		}
	}
	id := row["Id"].(string)
	if old == nil {
		t.rows = append(t.rows, row)
	} else {
		i := slices.IndexFunc(t.rows, func(r Record) bool { return r["Id"] == id })
		t.rows[i] = row
	}
	t.byID[id] = row
}

// find is the live row with an id of 15 or 18 characters.
func (t *table) find(id string) (Record, *apiError) {
	full, ok := fullID(id)
	if !ok || !strings.HasPrefix(full, t.def.Prefix) {
		return nil, newError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: %s", id)
	}
	r := t.byID[full]
	switch {
	case r == nil:
		return nil, newError(404, "NOT_FOUND", "The requested resource does not exist")
	case r["IsDeleted"] == true:
		return nil, newError(404, "ENTITY_IS_DELETED", "entity is deleted")
	}
	return r, nil
}

// byPrefix is the table that an id belongs to.
func (s *Server) byPrefix(id string) *table {
	full, ok := fullID(id)
	if !ok {
		return nil
	}
	for _, t := range s.order {
		if strings.HasPrefix(full, t.def.Prefix) {
			return t
		}
	}
	return nil
}

// remove puts a live row into the recycle bin.
func (s *Server) remove(t *table, r Record) {
	gone := clone(r)
	gone["IsDeleted"] = true
	gone["SystemModstamp"], gone["LastModifiedDate"] = s.now(), s.now()
	t.store(r, gone)
}

func clone(r Record) Record {
	out := make(Record, len(r))
	for k, v := range r {
		out[k] = v
	}
	return out
}

// AddField gives an object a field; it panics if there is no such object.
func (s *Server) AddField(object string, f *Field) {
	s.mu.Lock()
	defer s.mu.Unlock()
	def := s.table(object).def
	def.Fields = append(def.Fields, f)
	def.finish()
}

// RemoveField takes a field from an object; it panics if there is no such object.
func (s *Server) RemoveField(object, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	def := s.table(object).def
	def.Fields = slices.DeleteFunc(def.Fields, func(f *Field) bool { return f.Name == name })
	def.finish()
}
