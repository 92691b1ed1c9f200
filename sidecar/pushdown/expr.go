// Package pushdown holds expressions over a foreign table's rows as PostgreSQL
// means them, what a connector says it can do with them, and an evaluator with
// PostgreSQL's semantics. It knows no API and no wire format.
package pushdown

// Expr is one of *Column, *Param, *Comparison, *Membership, *Match, *NullTest,
// *BoolTest, *And, *Or, *Not, *Function. A nil Expr is never valid.
type Expr interface{ expr() }

// Column is a column of the table, by its position in the table's columns.
type Column struct{ Index int }

// Param is a value that the row does not change: a constant, $1, an outer
// row's column. While a query is planned it may not be known yet; in a scan it
// always is.
type Param struct {
	Index int
	Type  Type
	Known bool
	Value Value
}

// Operator of a Comparison.
type Operator uint8

// The operators, with SQL's meaning; Distinct and NotDistinct never yield NULL.
const (
	EQ Operator = iota + 1
	NE
	LT
	LE
	GT
	GE
	Distinct
	NotDistinct
)

// Comparison is Left Op Right in the default btree order of the types.
type Comparison struct {
	Op          Operator
	Left, Right Expr
	Collation   Collation
}

// Membership is Operand = ANY (Array), or Operand <> ALL (Array) if Negated.
// Array is a *Param whose type is an array.
type Membership struct {
	Operand   Expr
	Array     Expr
	Negated   bool
	Collation Collation
}

// MatchKind tells the pattern language of a Match.
type MatchKind uint8

// The pattern languages: LIKE (escape character: backslash), ILIKE,
// starts_with, ~ and ~*.
const (
	Like MatchKind = iota + 1
	ILike
	StartsWith
	Regex
	IRegex
)

// Match is Operand LIKE Pattern and its relatives.
type Match struct {
	Kind      MatchKind
	Operand   Expr
	Pattern   Expr
	Negated   bool
	Collation Collation
}

// NullTest is IS NULL, or IS NOT NULL if Negated.
type NullTest struct {
	Operand Expr
	Negated bool
}

// Truth is what a BoolTest looks for.
type Truth uint8

// The truth values of SQL.
const (
	True Truth = iota + 1
	False
	Unknown
)

// BoolTest is IS [NOT] TRUE, FALSE or UNKNOWN.
type BoolTest struct {
	Operand Expr
	Truth   Truth
	Negated bool
}

// And has SQL's three-valued logic over one or more operands.
type And struct{ Operands []Expr }

// Or has SQL's three-valued logic over one or more operands.
type Or struct{ Operands []Expr }

// Not is True for False, False for True, and NULL for NULL.
type Not struct{ Operand Expr }

// Function is a call of an immutable built-in of pg_catalog, such as lower.
type Function struct {
	Name      string
	Args      []Expr
	Type      Type
	Collation Collation
}

func (*Column) expr()     {}
func (*Param) expr()      {}
func (*Comparison) expr() {}
func (*Membership) expr() {}
func (*Match) expr()      {}
func (*NullTest) expr()   {}
func (*BoolTest) expr()   {}
func (*And) expr()        {}
func (*Or) expr()         {}
func (*Not) expr()        {}
func (*Function) expr()   {}

// Collation of a text operation; the zero value means that none applies.
type Collation struct {
	Name string
	// C: comparison is by byte.
	C bool
	// Deterministic: equality is byte equality.
	Deterministic bool
}

// SortKey is one key of an ORDER BY over a plain column.
type SortKey struct {
	Column     int
	Descending bool
	NullsFirst bool
	Collation  Collation
}

// Ordering is an ORDER BY, most significant key first.
type Ordering []SortKey
