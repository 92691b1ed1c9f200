// Several ways to read one object: a list, a search, a request for some keys.
// Each is a table of its own here, with its own grammar; of these the one is
// taken that leaves the least to read.

package rest

import (
	"math"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// wayManifest is the manifest as a way sees it.
func (m *Manifest) wayManifest(w *Way) *Manifest {
	out := *m
	out.Ways, out.way, out.Aggregate = nil, w.Name, w.Aggregate
	if w.Read != nil {
		out.Read, out.Partition = *w.Read, nil
	}
	if w.Paging != nil {
		out.Paging = *w.Paging
	}
	if w.Filter != nil {
		out.Filter = w.Filter
	}
	if w.Sort != nil {
		out.Sort = w.Sort
		if w.Sort.Param == "" && out.Read.Statement == nil {
			out.Sort = nil
		}
	}
	return &out
}

// has tells whether the object has a way.
func (o *Object) has(w *Way) bool {
	return o.Ways == nil || slices.Contains(o.Ways, w.Name)
}

// bindWays binds the table to the further ways of its object.
func (t *table) bindWays() error {
	for i := range t.src.m.Ways {
		w := &t.src.m.Ways[i]
		if !t.object.has(w) {
			continue
		}
		o := *t.object
		if w.Path != "" {
			o.Path = strings.ReplaceAll(w.Path, "{path}", o.Path)
		}
		if w.Read != nil {
			// They are those of the list.
			o.Items, o.Query, o.Each = nil, nil, nil
		}
		bound, err := t.src.ways[i].bind(t.spec, &o)
		if err != nil {
			return err
		}
		bound.drift = t.drift
		bound.needsFilter, bound.cost, bound.refused = w.Needs == "filter", w.Cost, w.Refused
		t.ways = append(t.ways, bound)
	}
	return nil
}

// Plan gives the verdicts of the way that is taken.
func (t *table) Plan(req pushdown.Request) pushdown.Plan {
	if req.Aggregation != nil {
		_, p := t.grouping(req)
		return p
	}
	_, p := t.choose(req, true)
	return p
}

// choose takes a way, by the query's shape alone: an order that a plan relies
// upon must be there whatever the values are. A way that cannot do without a
// filter is left again when the values leave it none. Without jobs no way by a job
// is taken.
func (t *table) choose(req pushdown.Request, jobs bool) (*table, pushdown.Plan) {
	if len(t.ways) == 0 {
		p, _ := t.plan(req)
		return t, p
	}
	shape := req
	shape.Conjuncts = make([]pushdown.Expr, len(req.Conjuncts))
	for i, e := range req.Conjuncts {
		shape.Conjuncts[i] = pushdown.Shape(e)
	}
	first, _ := t.plan(shape)
	best, least := t, effort(shape, first)
	if w := t.jobWay(shape, &first); jobs && w != nil {
		p, _ := w.plan(req)
		return w, p
	}
	for _, w := range t.ways {
		p, filters := w.plan(shape)
		if w.needsFilter && !filters && !w.delivers(p) || w.src.m.Read.Job != nil {
			continue
		}
		if e := w.cost * effort(shape, p); e < least {
			best, least = w, e
		}
	}
	p, filters := best.plan(req)
	if !best.needsFilter {
		return best, p
	}
	if best.delivers(p) {
		return best, p // it can do without a filter, too
	}
	if !filters {
		best = t
		p, _ = t.plan(req)
		p.ValueDependent = true
	}
	p.ExactOrderings = nil // with other values another way might be taken
	return best, p
}

// delivers tells whether a way is good for an order, with a filter or without:
// whatever it reads, it never reads deep into its results.
func (t *table) delivers(p pushdown.Plan) bool {
	return t.ranges() && len(p.ExactOrderings) > 0
}

// way is the one that choose takes. Without further ways nothing is planned for it.
func (t *table) way(req pushdown.Request, jobs bool) *table {
	if len(t.ways) == 0 {
		return t
	}
	w, _ := t.choose(req, jobs)
	return w
}

// wayOf is the way of a scan. A job is for one that reads all, in any order: what is
// known of the object's size may have changed since the query was planned.
func (t *table) wayOf(q *connectors.Query) *table {
	return t.way(q.Request, q.Limit == 0 && q.Sample == 0 && len(q.Ordering) == 0)
}

// effort is what a plan costs, if a LIMIT that can go down goes down.
func effort(req pushdown.Request, p pushdown.Plan) float64 {
	ordered := len(req.Orderings) == 0 || slices.Contains(p.ExactOrderings, 0)
	exact := !slices.ContainsFunc(p.Conjuncts, func(c pushdown.Conjunct) bool { return c.Verdict != pushdown.Exact })
	if !req.LimitPossible || !ordered || !exact || !p.LimitExact {
		return p.TotalCost
	}
	rows := float64(req.LimitRows)
	if rows == 0 {
		rows = 1
	}
	share := 1.0
	if p.Rows > rows {
		share = rows / p.Rows
	}
	return p.StartupCost + math.Max(0, p.TotalCost-p.StartupCost)*share
}

// checkWays checks the further ways, each as if it were the only one.
func (l *loader) checkWays(m *Manifest) {
	for i := range m.Ways {
		w := &m.Ways[i]
		path := "ways." + w.Name
		one := m.wayManifest(w)
		l.checkRead(one, &one.Read, path+".read")
		if w.Read != nil && w.Read.Job != nil && (w.Filter != nil || w.Needs == "filter") {
			l.at(path, "a way with a job has the filter at the top, and need not be filtered")
		}
		l.checkPaging(one, &one.Paging, path+".paging")
		if w.Filter != nil {
			l.checkFilter(one, w.Filter, path+".filter")
		}
		l.checkAggregate(one, path+".aggregate")
		if w.Sort != nil {
			l.checkSort(one, w.Sort, path+".sort")
		}
		if strings.Contains(w.Path, "{filter}") && w.Needs != "filter" {
			l.at(path+".needs", "expected filter, as the path has {filter}")
		}
		for _, p := range placeholders(w.Path) {
			if p != "path" && p != "filter" {
				l.at(path+".path", "expected {path} or {filter}, found {%s}", p)
			}
		}
	}
	for i := range m.Objects {
		o := &m.Objects[i]
		for j, name := range o.Ways {
			if !slices.ContainsFunc(m.Ways, func(w Way) bool { return w.Name == name }) {
				l.at("objects."+o.Name+".ways["+itoa(j)+"]", "there is no way %q", name)
			}
		}
	}
}

// describeWays lays what the further ways can do over the description of the
// first.
func (t *table) describeWays(d *connectors.Description) {
	for _, w := range t.ways {
		of := w.describe()
		d.Aggregates = d.Aggregates || of.Aggregates
		for _, l := range of.Lookups {
			if !slices.ContainsFunc(d.Lookups, func(o connectors.Lookup) bool { return slices.Equal(o.Columns, l.Columns) }) {
				d.Lookups = append(d.Lookups, l)
			}
		}
		d.KeyOrdered = d.KeyOrdered && of.KeyOrdered
		switch {
		case d.ListLag == 0 || of.ListLag == 0:
			d.ListLag = 0 // one of them is not known
		default:
			d.ListLag = max(d.ListLag, of.ListLag)
		}
	}
}
