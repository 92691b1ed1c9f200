package pushdown

// Verdict says what a connector does with one conjunct.
type Verdict uint8

const (
	// Local is not pushed; PostgreSQL checks it.
	Local Verdict = iota
	// Superset is pushed, but the API may return more; PostgreSQL checks again.
	Superset
	// Exact says that the API's set equals SQL's set; nobody checks again. It is
	// for where that holds for NULL, case, accents, collation, precision, time
	// zones and for an API that ignores what it does not know.
	Exact
)

// Conjunct is a verdict with a few words for EXPLAIN that say why it is not
// Exact; empty for Exact.
type Conjunct struct {
	Verdict Verdict
	Reason  string
}

// Request is what a query would like the API to do.
type Request struct {
	// Conjuncts are ANDed.
	Conjuncts []Expr
	// Orderings that would help, the most wanted first.
	Orderings []Ordering
	// Columns that will be read, by position.
	Columns []int
	// LimitPossible: a LIMIT may go down if all else is exact.
	LimitPossible bool
	// LimitRows is the LIMIT when known; 0: unknown. More rows are read for it
	// where LimitPossible is false.
	LimitRows uint64
	// Aggregation asks for groups in place of rows; nil: rows are wanted. With it
	// there are no orderings and no columns.
	Aggregation *Aggregation
}

// Plan is a connector's answer to a Request.
type Plan struct {
	// Conjuncts has one entry for each of the request's, in order.
	Conjuncts []Conjunct
	// ExactOrderings are indexes into Request.Orderings.
	ExactOrderings []int
	// LimitExact: the API stops at a LIMIT when every conjunct is exact.
	LimitExact bool
	// Rows is the number expected after the pushed conjuncts.
	Rows float64
	// Width of one row in bytes; 0: let PostgreSQL guess.
	Width float64
	// Costs in PostgreSQL's planner units (1.0 = one sequential page read).
	StartupCost, TotalCost float64
	// ValueDependent: for other values of known parameters the verdicts could
	// be others.
	ValueDependent bool
	// AggregationExact: the API makes the groups of Request.Aggregation as PostgreSQL
	// would, if every conjunct is exact. Rows and costs are then those of the groups.
	AggregationExact bool
}
