// A check on the manifest's word: rows that an exact filter let through are
// looked at again now and then. Who calls an API's filters enforced when they
// are not gets an error, not a wrong answer.

package rest

import (
	"fmt"
	"slices"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Of each scan the first rows are checked, and later one in so many.
const (
	verifyFirst = 100
	verifyEvery = 64
)

// verifier evaluates the conjuncts that the API promised to have evaluated.
type verifier struct {
	conjuncts []*pushdown.Predicate
	columns   []int
	emit      []emitter
	types     []pushdown.Type
	at        map[int]int // position in columns by table column
	out       *rows.Builder
	tuple     []byte
	seen      int
}

// verified are the conjuncts of a request that are called exact and can be
// evaluated here, with the columns that takes.
func (t *table) verified(req pushdown.Request, verdicts []pushdown.Conjunct) (exprs []pushdown.Expr, columns []int) {
	types := t.types()
	for i, e := range req.Conjuncts {
		if verdicts[i].Verdict == pushdown.Exact && pushdown.Known(e) && pushdown.CanEval(e, types) {
			exprs = append(exprs, e)
		}
	}
	return exprs, pushdown.Columns(exprs...)
}

func (t *table) types() []pushdown.Type {
	types := make([]pushdown.Type, len(t.columns))
	for i := range t.columns {
		types[i] = t.columns[i].spec.Type
	}
	return types
}

// newVerifier makes the check of a scan; nil: there is nothing to check.
func (s *scan) newVerifier(slot func([]string) int) *verifier {
	if len(s.l.verify) == 0 {
		return nil
	}
	v := &verifier{columns: s.l.verifyColumns, at: map[int]int{}}
	types := s.t.types()
	for _, e := range s.l.verify {
		if p, err := pushdown.Compile(e, types); err == nil {
			v.conjuncts = append(v.conjuncts, p)
		}
	}
	for i, c := range v.columns {
		col := s.t.column(c)
		if col.path == nil && !slices.Contains(s.t.lost, c) {
			return nil
		}
		v.at[c] = i
		v.types = append(v.types, types[c])
		if col.path == nil {
			v.emit = append(v.emit, emitter{})
			continue
		}
		v.emit = append(v.emit, newEmitter(slot(col.path), col))
	}
	v.out = rows.NewBuilder(v.types, func(tuple []byte, _ int) error {
		v.tuple = append(v.tuple[:0], tuple...)
		return nil
	}, rows.Options{First: 1 << 10, Next: 1 << 10, Reuse: true})
	return v
}

// due tells whether the next row is to be checked.
func (v *verifier) due() bool {
	if v == nil {
		return false
	}
	v.seen++
	return v.seen <= verifyFirst || v.seen%verifyEvery == 0
}

// verify checks one record. What cannot be turned into values is left to the
// builder, which finds it too.
func (s *scan) verify(row int, spans []span, page []byte) error {
	v := s.verifier
	value, err := s.checked(row, spans, page)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if !slices.ContainsFunc(v.conjuncts, func(p *pushdown.Predicate) bool {
		ok, err := p.Matches(value)
		return err == nil && !ok
	}) {
		return nil
	}
	return &connectors.Error{Class: connectors.Protocol, API: s.t.src.m.Name,
		Message: fmt.Sprintf("the API returned record %q of %s, which does not match the filter it was sent", s.keyOf(row), s.t.object.Name),
		Detail:  s.request,
		Hint:    fmt.Sprintf("The manifest %q calls this filter exact. Without enforced, or without exact, PostgreSQL checks every row.", s.t.src.m.File)}
}

// checked gives the values of a record that its check takes, by table column.
func (s *scan) checked(row int, spans []span, page []byte) (func(int) pushdown.Value, error) {
	v := s.verifier
	out := s.out
	s.out = v.out
	defer func() { s.out = out }()
	v.tuple = v.tuple[:0]
	for i := range v.emit {
		if v.emit[i].col == nil {
			v.out.Null()
			continue
		}
		if err := s.value(&v.emit[i], spans[v.emit[i].slot], page); err != nil {
			v.out.Discard()
			return nil, s.badValue(row, v.emit[i].col, err.Error(), err)
		}
	}
	if err := v.out.EndRow(); err != nil {
		return nil, s.rowError(row, err)
	}
	if err := v.out.Flush(); err != nil {
		return nil, err
	}
	got, err := rows.DecodeTuples(v.types, v.tuple, 1)
	if err != nil {
		return nil, fmt.Errorf("reading back a record: %w", err)
	}
	return func(c int) pushdown.Value { return got[0][v.at[c]] }, nil
}
