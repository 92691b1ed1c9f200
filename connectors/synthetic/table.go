package synthetic

// Tables: binding columns to an object, what the object can do, and plans.

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// table is a foreign table on the generated object or on a store.
type table struct {
	settings
	spec  connectors.TableSpec
	types []pushdown.Type
	key   []int // columns that identify a row

	gens        []generator // of the generated object
	*storeTable             // nil: the generated object
}

// Table binds a foreign table.
func (s *source) Table(_ context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	on := fmt.Sprintf("table %q", spec.Name)
	if err := connectors.CheckOptions(s.c.Options(), connectors.OnTable, on, spec.Options); err != nil {
		return nil, err
	}
	set, err := readSettings(s.options, spec.Options)
	if err != nil {
		return nil, err
	}
	t := &table{settings: set, spec: spec}
	for i, col := range spec.Columns {
		if err := connectors.CheckOptions(s.c.Options(), connectors.OnColumn, fmt.Sprintf("column %q", col.Name), col.Options); err != nil {
			return nil, err
		}
		key := col.Field() == "id" && !slices.ContainsFunc(spec.Columns, hasKeyOption)
		if v, ok := col.Options["key"]; ok {
			if err := setBool(&key, v); err != nil {
				return nil, badColumn(col, "key", v, sentence(err.Error()))
			}
		}
		if key {
			t.key = append(t.key, i)
		}
		t.types = append(t.types, col.Type)
	}
	name, stored := spec.Options["store"]
	object := spec.Options["object"]
	switch {
	case stored && (object == "" || object == "store"):
		return s.bindStore(t, name)
	case stored:
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue,
			Message: fmt.Sprintf("%s has the options object %q and store", on, object), Hint: "Leave one of them out."}
	case object == "" || object == "sequence":
		return t.bindSequence()
	}
	return nil, &connectors.Error{Class: connectors.InvalidSchema, API: apiName,
		Message: fmt.Sprintf("there is no object %q", object),
		Hint:    "The object is sequence; for one that keeps what is inserted use the option store."}
}

func hasKeyOption(c connectors.ColumnSpec) bool { _, ok := c.Options["key"]; return ok }

// bindSequence checks the columns of a table on the generated object.
func (t *table) bindSequence() (connectors.Table, error) {
	if len(t.key) > 1 {
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Column: t.spec.Columns[t.key[1]].Name,
			Message: "a generated object has one key column", Hint: "Set key 'true' on one column only."}
	}
	for i, col := range t.spec.Columns {
		g, err := newGenerator(col, i, t.settings, slices.Contains(t.key, i))
		if err != nil {
			return nil, err
		}
		t.gens = append(t.gens, g)
	}
	return t, nil
}

// object names what the table shows.
func (t *table) object() string {
	if t.storeTable != nil {
		return t.store.name
	}
	return "sequence"
}

// size is the number of rows of the object.
func (t *table) size() int64 {
	if t.storeTable != nil {
		return t.store.size()
	}
	return t.rows
}

// Describe tells the key; only stores can be written.
func (t *table) Describe() connectors.Description {
	d := connectors.Description{Object: t.object(), ListLag: -1, Key: t.key, Rows: float64(t.size()),
		Aggregates: t.groups > 0 && t.pushdown == modeExact && !t.ignoreFilters}
	if t.lag > 0 {
		d.ListLag = t.lag
	}
	if len(t.key) > 0 && t.pushdown != modeNone && !t.ignoreFilters {
		d.Lookups = []connectors.Lookup{{Columns: t.key, Unique: true}}
	}
	if t.storeTable == nil {
		d.ReadOnlyReason = fmt.Sprintf("object %q is generated", t.object())
		return d
	}
	for i, r := range t.rules {
		if r.unique {
			d.Unique = append(d.Unique, []int{i})
		}
		if r.unique && t.pushdown != modeNone && !t.ignoreFilters {
			d.Lookups = append(d.Lookups, connectors.Lookup{Columns: []int{i}, Unique: true})
		}
	}
	d.Insertable, d.Idempotent = true, t.idempotent
	if n := int(t.batchRows); n > 1 {
		d.BatchRows = connectors.BatchRows{Insert: n, Update: n, Delete: n, Upsert: n}
	}
	d.Updatable, d.Deletable = len(t.key) > 0, len(t.key) > 0
	if len(t.key) == 0 {
		d.ReadOnlyReason = `no column has the option key, so no row of it can be addressed`
	}
	for i, r := range t.rules {
		if r.computed != "" {
			d.ReadOnlyColumns = append(d.ReadOnlyColumns, i)
		}
		if r.computed == "modified" && len(d.Modified) == 0 {
			d.Modified = []int{i}
		}
	}
	return d
}

// Share of the rows that a conjunct is expected to let through.
const (
	selectivityEqual = 0.01
	selectivityOther = 0.3
)

// Plan pushes whatever the evaluator can decide. It looks at shapes and types,
// never at values.
func (t *table) Plan(req pushdown.Request) pushdown.Plan {
	total := float64(t.size())
	p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(req.Conjuncts)), Rows: total}
	for i, c := range req.Conjuncts {
		p.Conjuncts[i] = t.verdict(c)
		if p.Conjuncts[i].Verdict == pushdown.Local || t.ignoreFilters {
			continue
		}
		switch col, op, _, _, ok := pushdown.ColumnComparison(c); {
		case ok && op == pushdown.EQ && len(t.key) == 1 && col == t.key[0]:
			p.Rows = min(p.Rows, 1)
		case ok && op == pushdown.EQ:
			p.Rows *= selectivityEqual
		default:
			p.Rows *= selectivityOther
		}
	}
	if p.Rows < 1 && total >= 1 {
		p.Rows = 1
	}
	if t.pushdown != modeNone {
		for i, o := range req.Orderings {
			if _, err := pushdown.CompileOrdering(o, t.types); err == nil {
				p.ExactOrderings = append(p.ExactOrderings, i)
			}
		}
	}
	p.LimitExact = t.pushdown == modeExact && !t.ignoreFilters
	if req.Aggregation != nil && t.aggregates(req.Aggregation) {
		p.AggregationExact = true
		if p.Rows = 1; len(req.Aggregation.Keys) > 0 {
			p.Rows = min(10, total)
		}
	}
	// A page costs its latency, a row a little more than a local one; a
	// millisecond is about a hundred units.
	pages := 1 + p.Rows/float64(t.pageRows)
	p.StartupCost = 10 + float64(t.latency.Microseconds())/10
	p.TotalCost = p.StartupCost + p.Rows*0.01 + (pages-1)*float64(t.latency.Microseconds())/10
	return p
}

// verdict says what becomes of a conjunct.
func (t *table) verdict(c pushdown.Expr) pushdown.Conjunct {
	if t.pushdown == modeNone {
		return pushdown.Conjunct{Reason: "pushdown is off"}
	}
	if _, err := pushdown.Compile(c, t.types); err != nil {
		return pushdown.Conjunct{Reason: err.Error()}
	}
	switch {
	case t.ignoreFilters:
		return pushdown.Conjunct{Verdict: pushdown.Superset, Reason: "the object may ignore filters"}
	case t.pushdown == modeSuperset:
		return pushdown.Conjunct{Verdict: pushdown.Superset, Reason: "the object may return more"}
	}
	return pushdown.Conjunct{Verdict: pushdown.Exact}
}

// pushed are the conjuncts that a scan applies.
func (t *table) pushed(conjuncts []pushdown.Expr) []pushdown.Expr {
	var list []pushdown.Expr
	for _, c := range conjuncts {
		if t.verdict(c).Verdict != pushdown.Local {
			list = append(list, c)
		}
	}
	return list
}

// Request is what a scan does, in words: "GET sequence where id = 1 order by
// name limit 10 fields id, name".
func (t *table) Request(q connectors.Query) string {
	fields := make([]string, len(t.spec.Columns))
	for i, c := range t.spec.Columns {
		fields[i] = c.Field()
	}
	var b strings.Builder
	b.WriteString("GET " + t.object())
	if pushed := t.pushed(q.Conjuncts); len(pushed) == 1 {
		b.WriteString(" where " + pushdown.Format(pushed[0], fields))
	} else if len(pushed) > 1 {
		b.WriteString(" where " + pushdown.Format(&pushdown.And{Operands: pushed}, fields))
	}
	if q.Ordering != nil {
		b.WriteString(" order by " + pushdown.FormatOrdering(q.Ordering, fields))
	}
	if q.Limit > 0 {
		fmt.Fprintf(&b, " limit %d", q.Limit)
	}
	if q.Sample > 0 {
		fmt.Fprintf(&b, " sample %d", q.Sample)
	}
	if q.Aggregation != nil {
		b.WriteString(groupsRequest(q.Aggregation, fields))
	}
	names := make([]string, len(q.Columns))
	for i, c := range q.Columns {
		names[i] = pushdown.QuoteIdentifier(fields[c])
	}
	if len(names) > 0 {
		b.WriteString(" fields " + strings.Join(names, ", "))
	}
	return b.String()
}
