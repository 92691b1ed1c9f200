package pushdown

// Sorting rows as ORDER BY does.

// Sorter compares rows by an Ordering.
type Sorter struct {
	keys []SortKey
	cmps []compareFunc
}

// CompileOrdering prepares an Ordering over rows whose columns have the given
// types. The error is an *UnsupportedError.
func CompileOrdering(o Ordering, columns []Type) (*Sorter, error) {
	s := &Sorter{keys: o}
	for _, k := range o {
		if k.Column < 0 || k.Column >= len(columns) {
			return nil, unsupported("there is no column %d", k.Column)
		}
		t := columns[k.Column]
		f, err := comparer(t, t, k.Collation, true)
		if err != nil {
			return nil, err
		}
		s.cmps = append(s.cmps, f)
	}
	return s, nil
}

// Compare is negative if row a comes before row b, and 0 if the ordering does
// not tell. The error says that a value is not of its column's type.
func (s *Sorter) Compare(a, b Row) (int, error) {
	for i, k := range s.keys {
		x, y := a(k.Column), b(k.Column)
		if x.V == nil || y.V == nil {
			if (x.V == nil) == (y.V == nil) {
				continue
			}
			if (x.V == nil) == k.NullsFirst {
				return -1, nil
			}
			return 1, nil
		}
		c, err := s.cmps[i](x, y)
		if err != nil {
			return 0, err
		}
		if c != 0 {
			if k.Descending {
				c = -c
			}
			return c, nil
		}
	}
	return 0, nil
}
