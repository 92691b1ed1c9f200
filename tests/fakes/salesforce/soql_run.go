package salesforce

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// outColumn is a column of a result.
type outColumn struct {
	col      column
	function string
	name     string // of an aggregate
}

// result is what a statement finds. Of an aggregating one groups has the rows.
type result struct {
	table   *table
	columns []outColumn
	records []Record
	count   bool
	groups  []map[string]any
	grouped bool
}

// run executes a statement over live rows, or with all over those in the recycle
// bin, too.
func (s *Server) run(q *query, all bool) (*result, *apiError) {
	t := s.table(q.from)
	if t == nil {
		return nil, at(q.text, q.fromPos, "INVALID_TYPE", "sObject type '%s' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names.", q.from)
	}
	keep, err := s.compile(q.text, t, q.where)
	if err != nil {
		return nil, err
	}
	res := &result{table: t, count: q.count}
	if err := s.columns(q, t, res); err != nil {
		return nil, err
	}
	less, err := s.ordering(q, t, res)
	if err != nil {
		return nil, err
	}
	for _, r := range t.rows {
		if (all || q.allRows || r["IsDeleted"] != true) && keep(r) {
			res.records = append(res.records, r)
		}
	}
	if res.grouped {
		return res, s.group(q, t, res)
	}
	if less != nil {
		sort.SliceStable(res.records, func(i, j int) bool { return less(res.records[i], res.records[j]) < 0 })
	}
	res.records = window(res.records, q)
	return res, nil
}

func window[T any](list []T, q *query) []T {
	list = list[min(q.offset, len(list)):]
	if q.limit >= 0 {
		list = list[:min(q.limit, len(list))]
	}
	return list
}

func (s *Server) columns(q *query, t *table, res *result) *apiError {
	if q.count {
		return nil
	}
	res.grouped = len(q.groupBy) > 0
	for _, it := range q.items {
		res.grouped = res.grouped || it.function != ""
	}
	seen, unnamed := map[string]bool{}, 0
	for _, it := range q.items {
		if it.function == "count" && len(it.path) == 0 {
			return at(q.text, it.pos, "MALFORMED_QUERY", "COUNT() must be the only element in the SELECT list")
		}
		c, err := s.resolve(q.text, t, it.fieldRef)
		if err != nil {
			return err
		}
		out := outColumn{col: c, function: it.function, name: it.alias}
		if res.grouped {
			switch {
			case it.function == "":
				if !slices.ContainsFunc(q.groupBy, func(g fieldRef) bool { return strings.EqualFold(g.String(), it.String()) }) {
					return at(q.text, it.pos, "MALFORMED_QUERY", "Field must be grouped or aggregated: %s", it)
				}
				if out.name == "" {
					out.name = c.field.Name
				}
			case !c.field.Aggregatable && it.function != "count":
				return at(q.text, it.pos, "MALFORMED_QUERY", "field %s does not support aggregate operator %s", c.field.Name, strings.ToUpper(it.function))
			case (it.function == "sum" || it.function == "avg") && !slices.Contains([]string{"int", "double", "currency", "percent"}, c.field.Type):
				return at(q.text, it.pos, "MALFORMED_QUERY", "field %s does not support aggregate operator %s", c.field.Name, strings.ToUpper(it.function))
			case out.name == "":
				out.name = fmt.Sprintf("expr%d", unnamed)
				unnamed++
			}
		} else if it.alias != "" {
			return at(q.text, it.pos, "MALFORMED_QUERY", "only aggregate expressions use field aliasing")
		}
		key := strings.ToLower(it.function + ":" + it.String() + ":" + it.alias)
		if seen[key] {
			return at(q.text, it.pos, "INVALID_FIELD", "duplicate field selected: %s", it)
		}
		seen[key] = true
		res.columns = append(res.columns, out)
	}
	for _, g := range q.groupBy {
		c, err := s.resolve(q.text, t, g)
		if err != nil {
			return err
		}
		if !c.field.Groupable {
			return at(q.text, g.pos, "MALFORMED_QUERY", "field '%s' can not be grouped in a query call", c.field.Name)
		}
	}
	return nil
}

// ordering is how two rows compare; of nulls and texts as the API does it.
func (s *Server) ordering(q *query, t *table, res *result) (func(a, b Record) int, *apiError) {
	if len(q.orderBy) == 0 || q.count || res.grouped {
		return nil, nil
	}
	var keys []func(a, b Record) int
	for _, o := range q.orderBy {
		c, err := s.resolve(q.text, t, o.fieldRef)
		if err != nil {
			return nil, err
		}
		if !c.field.Sortable || o.function != "" {
			return nil, at(q.text, o.pos, "INVALID_FIELD", "field '%s' can not be sorted in a query call", c.field.Name)
		}
		keys = append(keys, func(a, b Record) int { return compareKeys(c.field, c.get(a), c.get(b), o) })
	}
	return func(a, b Record) int {
		for _, k := range keys {
			if n := k(a, b); n != 0 {
				return n
			}
		}
		return 0
	}, nil
}

func compareKeys(f *Field, x, y any, o ordering) int {
	if x == nil || y == nil {
		switch {
		case x == nil && y == nil:
			return 0
		case (x == nil) != o.nullsLast:
			return -1
		}
		return 1
	}
	n := order(f, x, y)
	if o.descending {
		n = -n
	}
	return n
}

// group makes the rows of an aggregating statement: at most 2,000, and there is no
// next page.
func (s *Server) group(q *query, t *table, res *result) *apiError {
	var by []column
	for _, g := range q.groupBy {
		c, err := s.resolve(q.text, t, g)
		if err != nil {
			return err
		}
		by = append(by, c)
	}
	index, members := map[string]int{}, [][]Record{}
	if len(by) == 0 {
		members = append(members, res.records)
	} else {
		for _, r := range res.records {
			key := ""
			for _, c := range by {
				v := c.get(r)
				if text, ok := v.(string); ok && !c.field.CaseSensitive {
					v = fold(text)
				}
				key += fmt.Sprintf("%T:%v\x00", v, v)
			}
			i, ok := index[key]
			if !ok {
				i = len(members)
				index[key], members = i, append(members, nil)
			}
			members[i] = append(members[i], r)
		}
	}
	for _, rows := range members {
		out := map[string]any{}
		for _, c := range res.columns {
			if c.function != "" {
				out[c.name] = aggregate(c, rows)
			} else if len(rows) > 0 {
				out[c.name] = c.col.get(rows[0])
			}
		}
		res.groups = append(res.groups, out)
	}
	if err := s.sortGroups(q, t, res, members); err != nil {
		return err
	}
	if res.groups = window(res.groups, q); len(res.groups) > 2000 {
		return newError(400, "EXCEEDED_ID_LIMIT", "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch")
	}
	return nil
}

func (s *Server) sortGroups(q *query, t *table, res *result, members [][]Record) *apiError {
	places := make([]int, len(res.groups))
	for i := range places {
		places[i] = i
	}
	for k := len(q.orderBy) - 1; k >= 0; k-- {
		o := q.orderBy[k]
		ref := o.fieldRef
		if len(ref.path) == 0 {
			ref.path = []string{"Id"}
		}
		var value func(int) any
		f := &Field{Type: "double"}
		if i := slices.IndexFunc(res.columns, func(c outColumn) bool { return o.function == "" && strings.EqualFold(c.name, o.String()) }); i >= 0 {
			c := res.columns[i]
			f, value = c.col.field, func(g int) any { return res.groups[g][c.name] }
		} else {
			c, err := s.resolve(q.text, t, ref)
			if err != nil {
				return err
			}
			f, value = c.field, func(g int) any {
				if o.function == "" {
					return c.get(members[g][0])
				}
				return aggregate(outColumn{col: c, function: o.function}, members[g])
			}
		}
		sort.SliceStable(places, func(i, j int) bool { return compareKeys(f, value(places[i]), value(places[j]), o) < 0 })
	}
	sorted := make([]map[string]any, len(places))
	for i, p := range places {
		sorted[i] = res.groups[p]
	}
	res.groups = sorted
	return nil
}

// aggregate ignores nulls; over none it is null, and a count 0.
func aggregate(c outColumn, rows []Record) any {
	var values []any
	for _, r := range rows {
		if v := c.col.get(r); v != nil {
			values = append(values, v)
		}
	}
	switch c.function {
	case "count":
		return len(values)
	case "count_distinct":
		different := map[any]bool{}
		for _, v := range values {
			if text, ok := v.(string); ok && !c.col.field.CaseSensitive {
				v = fold(text)
			}
			different[v] = true
		}
		return len(different)
	}
	if len(values) == 0 {
		return nil
	}
	switch c.function {
	case "sum", "avg":
		sum := 0.0
		for _, v := range values {
			sum += v.(float64)
		}
		if c.function == "avg" {
			sum /= float64(len(values))
		}
		return sum
	case "min":
		return slices.MinFunc(values, func(a, b any) int { return order(c.col.field, a, b) })
	}
	return slices.MaxFunc(values, func(a, b any) int { return order(c.col.field, a, b) })
}
