package airtable

import "fmt"

// Seed writes records as a client would with typecast, but all at once, and gives
// their ids. Computed fields cannot be given.
func (s *Server) Seed(t *Table, rows ...map[string]any) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(rows))
	for i, fields := range rows {
		r, refused := s.create(t, fields, true)
		if refused != nil {
			return ids, fmt.Errorf("seeding row %d of %s: %s", i, t.Name, refused.message)
		}
		ids = append(ids, r.id)
	}
	return ids, nil
}

// Records of a table as the API shows them, in their order.
func (s *Server) Records(t *Table) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]map[string]any, 0, len(t.records))
	for _, r := range t.records {
		out = append(out, s.show(t, r, nil, false))
	}
	return out
}

// Empty removes all records of a table.
func (s *Server) Empty(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(t.records) > 0 {
		s.remove(t, t.records[len(t.records)-1])
	}
}

// Remove deletes one record, as somebody else would; whether it was there.
func (s *Server) Remove(t *Table, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := t.byID[id]
	if r != nil {
		s.remove(t, r)
	}
	return r != nil
}

// Change writes some fields of one record, as somebody else would.
func (s *Server) Change(t *Table, id string, fields map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := t.byID[id]
	if r == nil {
		return fmt.Errorf("changing %s of %s: there is no such record", id, t.Name)
	}
	if refused := s.write(t, r, fields, false, true); refused != nil {
		return fmt.Errorf("changing %s of %s: %s", id, t.Name, refused.message)
	}
	return nil
}

// Matches tells whether a formula holds for a record; an error says what is wrong
// with the formula.
func (s *Server) Matches(t *Table, id, formula string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := parse(t, formula)
	if err != nil {
		return false, err
	}
	r := t.byID[id]
	return r != nil && s.matches(e, t, r), nil
}
