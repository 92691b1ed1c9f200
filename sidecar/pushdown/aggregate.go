package pushdown

// AggregateFunction is what an Aggregate computes, numbered as in
// hallway.v1.AggregateFunction.
type AggregateFunction uint8

const (
	// CountRows is count(*).
	CountRows AggregateFunction = iota + 1
	// Count is of values that are not NULL; so are the following ones, which are
	// NULL where there is no such value.
	Count
	// Sum of integers or numerics, exact.
	Sum
	// Min is by the default order of the type; never of text.
	Min
	// Max is as Min.
	Max
)

func (f AggregateFunction) String() string {
	return [...]string{"", "count", "count", "sum", "min", "max"}[f]
}

// Aggregate is one value of a group.
type Aggregate struct {
	Function AggregateFunction
	// Column by position; 0 for CountRows.
	Column int
	// Type of the result, as which it travels.
	Type Type
}

// Aggregation asks for groups in place of rows: the keys' values in their order,
// then the aggregates'.
type Aggregation struct {
	// Keys are columns by position, each once. Rows are in one group if for each
	// key they are equal (texts: byte by byte), or both NULL. Without keys there is
	// one group, also of no rows.
	Keys []int
	// Aggregates, at least one.
	Aggregates []Aggregate
}

// Types of a group's values. columns are those of the table.
func (a *Aggregation) Types(columns []Type) []Type {
	out := make([]Type, 0, len(a.Keys)+len(a.Aggregates))
	for _, k := range a.Keys {
		out = append(out, columns[k])
	}
	for i := range a.Aggregates {
		out = append(out, a.Aggregates[i].Type)
	}
	return out
}
