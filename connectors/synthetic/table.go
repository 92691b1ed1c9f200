package synthetic

// Tables: what they can do, plans, and scans page by page.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// table is a foreign table on the generated object.
type table struct {
	settings
	spec   connectors.TableSpec
	types  []pushdown.Type
	gens   []generator
	key    int // column that identifies a row; -1: none
	object string
}

// Table binds a foreign table.
func (s *source) Table(_ context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	on := fmt.Sprintf("table %q", spec.Name)
	if err := connectors.CheckOptions(s.c.Options(), connectors.OnTable, on, spec.Options); err != nil {
		return nil, err
	}
	for _, col := range spec.Columns {
		if err := connectors.CheckOptions(s.c.Options(), connectors.OnColumn, fmt.Sprintf("column %q", col.Name), col.Options); err != nil {
			return nil, err
		}
	}
	set, err := readSettings(s.options, spec.Options)
	if err != nil {
		return nil, err
	}
	t := &table{settings: set, spec: spec, key: -1, object: "sequence"}
	if o := spec.Options["object"]; o != "" && o != "sequence" {
		return nil, &connectors.Error{Class: connectors.InvalidSchema, API: apiName,
			Message: fmt.Sprintf("there is no object %q", o), Hint: "Objects: sequence."}
	}
	for i, col := range spec.Columns {
		t.types = append(t.types, col.Type)
		var key bool
		if v, ok := col.Options["key"]; ok {
			if err := setBool(&key, v); err != nil {
				return nil, badColumn(col, "key", v, sentence(err.Error()))
			}
		} else {
			key = col.Name == "id" && t.key < 0 && !hasKey(spec)
		}
		if key {
			if t.key >= 0 {
				return nil, &connectors.Error{Class: connectors.InvalidOption, Column: col.Name,
					Message: "a generated object has one key column"}
			}
			t.key = i
		}
		g, err := newGenerator(col, i, set, key)
		if err != nil {
			return nil, err
		}
		t.gens = append(t.gens, g)
	}
	return t, nil
}

func hasKey(spec connectors.TableSpec) bool {
	return slices.ContainsFunc(spec.Columns, func(c connectors.ColumnSpec) bool { _, ok := c.Options["key"]; return ok })
}

// Describe tells the key and that nothing can be written.
func (t *table) Describe() connectors.Description {
	d := connectors.Description{Rows: float64(t.rows),
		ReadOnlyReason: fmt.Sprintf("object %q is generated", t.object)}
	if t.key >= 0 {
		d.Key = []int{t.key}
		d.Lookups = []connectors.Lookup{{Columns: d.Key, Unique: true}}
	}
	return d
}

// Plan leaves everything to PostgreSQL.
func (t *table) Plan(req pushdown.Request) pushdown.Plan {
	p := pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(req.Conjuncts)), Rows: float64(t.rows)}
	for i := range p.Conjuncts {
		p.Conjuncts[i].Reason = "pushdown is off"
	}
	p.StartupCost = 10
	p.TotalCost = p.StartupCost + p.Rows*0.01
	return p
}

// Request is what a scan does, in words.
func (t *table) Request(connectors.Query) string { return "generate " + t.object }

// Scan makes the rows up, page by page.
func (t *table) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	res := connectors.ScanResult{TotalRows: float64(t.rows)}
	gens := make([]*generator, len(q.Columns))
	for i, c := range q.Columns {
		gens[i] = &t.gens[c]
	}
	p := pager{settings: &t.settings, stats: q.Stats, out: out}
	for row := int64(0); row < t.rows; row++ {
		if row%t.pageRows == 0 {
			if err := p.next(ctx); err != nil {
				return res, err
			}
		}
		for _, g := range gens {
			g.put(out, row)
		}
		if err := out.EndRow(); err != nil {
			return res, t.rowError(err, q.Columns)
		}
	}
	if p.page == 0 {
		if err := p.next(ctx); err != nil {
			return res, err
		}
	}
	q.Stats.Rows.Add(uint64(t.rows))
	return res, out.Flush()
}

// rowError names the column of a value that does not fit.
func (t *table) rowError(err error, columns []int) error {
	var ce *rows.ConversionError
	if !errors.As(err, &ce) || ce.Column < 0 {
		return err
	}
	return &connectors.Error{Class: connectors.InvalidValue, API: apiName, Message: ce.Error(),
		Column: t.spec.Columns[columns[ce.Column]].Name, Err: err}
}

// pager does what stands between two pages.
type pager struct {
	*settings
	stats *connectors.Stats
	out   *rows.Builder
	page  int64
}

// next is called before each page; the rows so far are flushed if the page
// takes time.
func (p *pager) next(ctx context.Context) error {
	p.page++
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.page > 1 && (p.latency > 0 || p.page == p.errorAt || p.page == p.hangAt || p.page == p.panicAt) {
		if err := p.out.Flush(); err != nil {
			return err
		}
	}
	p.stats.Calls.Add(1)
	if p.latency > 0 {
		start := time.Now()
		err := sleep(ctx, p.latency)
		p.stats.APIMicros.Add(uint64(time.Since(start).Microseconds()))
		if err != nil {
			return err
		}
	}
	switch p.page {
	case p.hangAt:
		<-ctx.Done()
		return ctx.Err()
	case p.panicAt:
		panic(fmt.Sprintf("synthetic: panic_at_page %d", p.page))
	case p.errorAt:
		return &connectors.Error{Class: p.errorClass, API: apiName,
			Message: fmt.Sprintf("page %d failed", p.page), Detail: fmt.Sprintf("The option error_at_page is %d.", p.page)}
	}
	p.stats.Pages.Add(1)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
