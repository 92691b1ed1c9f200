package synthetic

// Groups, made as PostgreSQL makes them: what other connectors' are compared with.

import (
	"context"
	"fmt"
	"math/big"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// aggregates tells whether groups are the object's to make.
func (t *table) aggregates(a *pushdown.Aggregation) bool {
	if t.groups == 0 || t.pushdown != modeExact || t.ignoreFilters {
		return false
	}
	for _, k := range a.Keys {
		if t.types[k].Array || pushdown.GroupKey(t.types[k]) == nil {
			return false
		}
	}
	for _, g := range a.Aggregates {
		kind := t.types[g.Column].Kind
		switch g.Function {
		case pushdown.CountRows, pushdown.Count:
		case pushdown.Sum:
			if kind != pushdown.Int2 && kind != pushdown.Int4 && kind != pushdown.Int8 {
				return false
			}
		case pushdown.Min, pushdown.Max:
			if _, err := pushdown.CompileOrdering(pushdown.Ordering{{Column: g.Column}}, t.types); err != nil {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// group is one in the making.
type group struct {
	keys []pushdown.Value
	// of each aggregate: rows or values seen, their sum, the least or greatest.
	counts []int64
	sums   []big.Int
	best   []pushdown.Value
}

// scanGroups is Scan for a query that wants groups.
func (t *table) scanGroups(ctx context.Context, cur cursor, q connectors.Query, p *pager) error {
	a := q.Aggregation
	if !t.aggregates(a) {
		return &connectors.Error{Class: connectors.NotAggregated, API: apiName, Message: "the object does not make these groups"}
	}
	if err := p.next(ctx); err != nil {
		return err
	}
	var order []*group
	groups := map[string]*group{}
	if len(a.Keys) == 0 {
		order = append(order, newGroup(nil, len(a.Aggregates)))
		groups[""] = order[0]
	}
	err := t.walk(ctx, cur, q, func(row int64) error {
		keys, name := make([]pushdown.Value, len(a.Keys)), ""
		for i, k := range a.Keys {
			keys[i] = cur.value(row, k)
			if keys[i].V == nil {
				name += "\x00"
				continue
			}
			same, _ := pushdown.GroupKey(t.types[k])(keys[i])
			if f, ok := same.(float64); ok && f == 0 {
				same = 0.0 // and not -0
			}
			name += fmt.Sprintf("%q\x00", fmt.Sprint(same))
		}
		g := groups[name]
		if g == nil {
			g = newGroup(keys, len(a.Aggregates))
			groups[name] = g
			order = append(order, g)
		}
		for i := range a.Aggregates {
			if err := g.take(t, i, &a.Aggregates[i], cur, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if int64(len(order)) > t.groups {
		return &connectors.Error{Class: connectors.NotAggregated, API: apiName, Message: fmt.Sprintf("there are more than %d groups", t.groups)}
	}
	for _, g := range order {
		g.put(p.out, a)
		if err := p.out.EndRow(); err != nil {
			return err
		}
	}
	q.Stats.Rows.Add(uint64(len(order)))
	return nil
}

func newGroup(keys []pushdown.Value, n int) *group {
	return &group{keys: keys, counts: make([]int64, n), sums: make([]big.Int, n), best: make([]pushdown.Value, n)}
}

// take adds a row to an aggregate.
func (g *group) take(t *table, i int, a *pushdown.Aggregate, cur cursor, row int64) error {
	if a.Function == pushdown.CountRows {
		g.counts[i]++
		return nil
	}
	v := cur.value(row, a.Column)
	if v.V == nil {
		return nil
	}
	g.counts[i]++
	switch a.Function {
	case pushdown.Sum:
		if n, ok := v.V.(int64); ok {
			g.sums[i].Add(&g.sums[i], big.NewInt(n))
		}
	case pushdown.Min, pushdown.Max:
		s, err := pushdown.CompileOrdering(pushdown.Ordering{{Column: a.Column, Descending: a.Function == pushdown.Max}}, t.types)
		if err != nil {
			return err
		}
		n := -1
		if g.counts[i] > 1 {
			n, err = s.Compare(func(int) pushdown.Value { return v }, func(int) pushdown.Value { return g.best[i] })
		}
		if err != nil {
			return fmt.Errorf("comparing values: %w", err)
		}
		if n < 0 {
			g.best[i] = v
		}
	}
	return nil
}

func (g *group) put(out *rows.Builder, a *pushdown.Aggregation) {
	for _, k := range g.keys {
		out.Value(k)
	}
	for i := range a.Aggregates {
		switch f := a.Aggregates[i].Function; {
		case f == pushdown.CountRows || f == pushdown.Count:
			out.Int64(g.counts[i])
		case g.counts[i] == 0:
			out.Null()
		case f == pushdown.Sum:
			out.Number([]byte(g.sums[i].String()))
		default:
			out.Value(g.best[i])
		}
	}
}

// groupsRequest describes the aggregation for Request.
func groupsRequest(a *pushdown.Aggregation, fields []string) string {
	text := " groups"
	for i, k := range a.Keys {
		text += []string{", ", " by "}[b2i(i == 0)] + pushdown.QuoteIdentifier(fields[k])
	}
	for i := range a.Aggregates {
		g := &a.Aggregates[i]
		what := "*"
		if g.Function != pushdown.CountRows {
			what = pushdown.QuoteIdentifier(fields[g.Column])
		}
		text += []string{", ", " with "}[b2i(i == 0)] + g.Function.String() + "(" + what + ")"
	}
	return text
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
