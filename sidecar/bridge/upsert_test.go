package bridge

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/synthetic"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// desk is a writable table of people, what is between it and the API, and what
// was sent there.
type desk struct {
	t   testing.TB
	srv *Server
	b   *bound
	// store is the table itself; m is what parts are sent to.
	store connectors.Modifier
	m     connectors.Modifier

	maxList int // of a filter; 0: any
	reads   int
	parts   []sentPart
	// meanwhile is called before a part is sent.
	meanwhile func(*part)
}

type sentPart struct {
	op     connectors.Operation
	key    string
	at     []int
	before []*liveRow
	match  []int
}

// The columns of people.
const (
	colID = iota
	colEmail
	colName
	colAmount
	colSeen
	colData
	colTags
)

func newDesk(t testing.TB, options ...string) *desk {
	t.Helper()
	col := func(name string, ty *hallwayv1.Type, opts ...string) *hallwayv1.Column {
		c := &hallwayv1.Column{Name: name, Type: ty}
		for i := 0; i < len(opts); i += 2 {
			c.Options = append(c.Options, &hallwayv1.Option{Name: opts[i], Value: opts[i+1]})
		}
		return c
	}
	of := func(k hallwayv1.Kind, oid uint32) *hallwayv1.Type { return &hallwayv1.Type{Kind: k, Oid: oid} }
	def := &hallwayv1.Relation{ServerName: "srv", SchemaName: "public", TableName: "people",
		TableOptions: []*hallwayv1.Option{{Name: "store", Value: "people"}},
		Columns: []*hallwayv1.Column{
			col("id", int8Type, "key", "true", "computed", "sequence"),
			col("mail", textType, "field", "email", "required", "true"),
			col("name", textType, "check", "max:20"),
			col("amount", of(hallwayv1.Kind_KIND_NUMERIC, 1700), "check", "positive"),
			col("seen", of(hallwayv1.Kind_KIND_TIMESTAMPTZ, 1184)),
			col("data", of(hallwayv1.Kind_KIND_JSONB, 3802)),
			col("tags", &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_TEXT, Array: true, Oid: 1009, ElementOid: 25}),
		}}
	unique := true
	for i := 0; i < len(options); i += 2 {
		if options[i] == "not unique" {
			unique = false
			continue
		}
		def.TableOptions = append(def.TableOptions, &hallwayv1.Option{Name: options[i], Value: options[i+1]})
	}
	if unique {
		def.Columns[colEmail].Options = append(def.Columns[colEmail].Options, &hallwayv1.Option{Name: "unique", Value: "true"})
	}
	rel, err := newRelation(def)
	require.NoError(t, err)
	src, err := synthetic.New().Open(t.Context(), connectors.Env{}, connectors.ServerSpec{Name: "srv"})
	require.NoError(t, err)
	table, err := src.Table(t.Context(), rel.spec)
	require.NoError(t, err)
	d := &desk{t: t, srv: New(Config{Env: connectors.Env{Log: slog.New(slog.DiscardHandler)}}), store: table.(connectors.Modifier)}
	d.m = d.store
	d.b = &bound{rel: rel, table: deskTable{table, d}, source: src, release: func() {}}
	t.Cleanup(d.srv.Close)
	return d
}

// deskTable counts reads, and takes filters of a length only.
type deskTable struct {
	connectors.Table
	d *desk
}

func (t deskTable) Plan(r pushdown.Request) pushdown.Plan {
	p := t.Table.Plan(r)
	for i, e := range r.Conjuncts {
		n := 1
		pushdown.Walk(e, func(e pushdown.Expr) bool {
			switch e := e.(type) {
			case *pushdown.Membership:
				n += len(e.Array.(*pushdown.Param).Value.V.([]pushdown.Value))
			case *pushdown.And:
				n++
			}
			return true
		})
		if t.d.maxList > 0 && n > t.d.maxList {
			p.Conjuncts[i] = pushdown.Conjunct{Reason: "too long"}
		}
	}
	return p
}

func (t deskTable) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	t.d.reads++
	return t.Table.Scan(ctx, q, out)
}

// answer of a Modify.
type answer struct {
	results []connectors.Result
	back    [][]pushdown.Value
}

func (a answer) String() string {
	out := ""
	for i, r := range a.results {
		word := map[connectors.Outcome]string{connectors.Applied: "updated", connectors.NotFound: "not found", connectors.Refused: "refused"}[r.Outcome]
		switch {
		case r.Unchanged:
			word = "unchanged"
		case r.Created:
			word = "created"
		case r.Bystander:
			word = "bystander"
		}
		if i > 0 {
			out += " "
		}
		out += word
	}
	return out
}

// modify writes rows of any Go values; those of an update or delete begin with
// the id.
func (d *desk) modify(op connectors.Operation, columns []int, opts writeOptions, returning []int, list ...[]any) (answer, error) {
	d.t.Helper()
	d.parts, d.reads = nil, 0
	b := &connectors.Batch{Op: op, Columns: columns, ReturningColumns: returning, IdempotencyKey: "k", Stats: &connectors.Stats{}}
	switch op {
	case connectors.Upsert:
		b.MatchColumns = []int{colEmail}
	case connectors.Update, connectors.Delete:
		b.KeyColumns = []int{colID}
	}
	for _, values := range list {
		var r connectors.Row
		for i, v := range values {
			if i < len(b.KeyColumns) {
				r.Key = append(r.Key, pushdown.Value{V: v})
			} else {
				r.Values = append(r.Values, pushdown.Value{V: v})
			}
		}
		b.Rows = append(b.Rows, r)
	}
	return d.run(b, opts)
}

func (d *desk) run(b *connectors.Batch, opts writeOptions) (answer, error) {
	var a answer
	types := d.b.rel.typesAt(b.ReturningColumns)
	b.Returning = rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		a.back = append(a.back, got...)
		return err
	}, rows.Options{})
	err := d.srv.writeParts(d.t.Context(), d.b, d.m, b, opts, func(ctx context.Context, p *part) error {
		if d.meanwhile != nil {
			d.meanwhile(p)
		}
		d.parts = append(d.parts, sentPart{p.batch.Op, p.batch.IdempotencyKey, p.at, p.before, p.batch.MatchColumns})
		require.Len(d.t, p.at, len(p.batch.Rows))
		require.Len(d.t, p.before, len(p.batch.Rows))
		return d.m.Modify(ctx, p.batch)
	})
	if err == nil {
		require.NoError(d.t, b.Returning.Flush())
		for i, r := range b.Results {
			require.NotZero(d.t, r.Outcome, "row %d has no outcome", i)
		}
	}
	a.results = b.Results
	return a, err
}

// upsert by email, with names.
func (d *desk) upsert(opts writeOptions, pairs ...string) (answer, error) {
	d.t.Helper()
	var list [][]any
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, []any{pairs[i], pairs[i+1]})
	}
	return d.modify(connectors.Upsert, []int{colEmail, colName}, opts, []int{colID, colEmail, colName}, list...)
}

func (d *desk) insert(email, name string) int64 {
	d.t.Helper()
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{colEmail, colName}, ReturningColumns: []int{colID}, Stats: &connectors.Stats{},
		Rows: []connectors.Row{{Values: []pushdown.Value{{V: email}, {V: name}}}}}
	var id int64
	b.Returning = rows.NewBuilder(d.b.rel.typesAt([]int{colID}), func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(d.b.rel.typesAt([]int{colID}), tuples, n)
		id, _ = got[0][0].V.(int64)
		return err
	}, rows.Options{})
	require.NoError(d.t, d.store.Modify(d.t.Context(), b))
	require.Equal(d.t, connectors.Applied, b.Results[0].Outcome, "%v", b.Results[0].Err)
	require.NoError(d.t, b.Returning.Flush())
	return id
}

func (d *desk) remove(id int64) {
	d.t.Helper()
	b := &connectors.Batch{Op: connectors.Delete, KeyColumns: []int{colID}, Stats: &connectors.Stats{}, Rows: []connectors.Row{{Key: []pushdown.Value{{V: id}}}}}
	require.NoError(d.t, d.store.Modify(d.t.Context(), b))
	require.Equal(d.t, connectors.Applied, b.Results[0].Outcome)
}

// rows of the store as "email=name", sorted.
func (d *desk) rows() []string {
	d.t.Helper()
	found, out := [][]pushdown.Value{}, []string{}
	columns := []int{colEmail, colName}
	types := d.b.rel.typesAt(columns)
	_, err := d.b.table.(deskTable).Table.Scan(d.t.Context(), connectors.Query{Request: pushdown.Request{Columns: columns}, Stats: &connectors.Stats{}},
		rows.NewBuilder(types, func(tuples []byte, n int) error {
			got, err := rows.DecodeTuples(types, tuples, n)
			found = append(found, got...)
			return err
		}, rows.Options{}))
	require.NoError(d.t, err)
	for _, r := range found {
		out = append(out, fmt.Sprintf("%v=%v", r[0].V, r[1].V))
	}
	slices.Sort(out)
	return out
}

func (d *desk) ops() []connectors.Operation {
	var list []connectors.Operation
	for _, p := range d.parts {
		list = append(list, p.op)
	}
	return list
}

func TestUpsert_FindsThenWrites(t *testing.T) {
	d := newDesk(t)
	ada, bob := d.insert("ada", "Ada"), d.insert("bob", "Bob")
	a, err := d.upsert(writeOptions{SkipUnchanged: true}, "cy", "Cy", "ada", "Ada L", "bob", "Bob", "dee", "Dee")
	require.NoError(t, err)
	assert.Equal(t, "created updated unchanged created", a.String())
	assert.Equal(t, []string{"ada=Ada L", "bob=Bob", "cy=Cy", "dee=Dee"}, d.rows())
	require.Len(t, a.back, 4, "in the order of the rows")
	for i, want := range []string{"cy", "ada", "bob", "dee"} {
		assert.Equal(t, want, a.back[i][1].V)
	}
	assert.Equal(t, []any{ada, "Ada L", bob}, []any{a.back[1][0].V, a.back[1][2].V, a.back[2][0].V})
	assert.Equal(t, []connectors.Operation{connectors.Update, connectors.Insert}, d.ops())
	assert.Equal(t, [][]int{{1}, {0, 3}}, [][]int{d.parts[0].at, d.parts[1].at})
	assert.NotEqual(t, d.parts[0].key, d.parts[1].key, "row 0 of one part is not row 0 of the other")
	assert.NotNil(t, d.parts[0].before[0])
	assert.Equal(t, [][]int{nil, {colEmail}}, [][]int{d.parts[0].match, d.parts[1].match}, "what a new row is known by")
	assert.Equal(t, 1, d.reads)

	a, err = d.upsert(writeOptions{}, "bob", "Bob")
	require.NoError(t, err)
	assert.Equal(t, "updated", a.String(), "it is to be written in any case")

	// Nothing to update with: it is there, and that is all.
	a, err = d.modify(connectors.Upsert, []int{colEmail}, writeOptions{}, []int{colName}, []any{"bob"}, []any{"eve"})
	require.NoError(t, err)
	assert.Equal(t, "unchanged created", a.String())
	assert.Equal(t, "Bob", a.back[0][0].V)
}

func TestUpsert_ByTheAPIWhereItCan(t *testing.T) {
	d := newDesk(t, "upsert", "true", "batch_rows", "100")
	d.insert("ada", "Ada")
	a, err := d.upsert(writeOptions{}, "cy", "Cy", "ada", "Ada")
	require.NoError(t, err)
	assert.Equal(t, "created updated", a.String())
	assert.Equal(t, []connectors.Operation{connectors.Upsert}, d.ops())
	assert.Zero(t, d.reads)
	assert.Equal(t, "k", d.parts[0].key)

	a, err = d.upsert(writeOptions{SkipUnchanged: true}, "cy", "Cy", "ada", "Ada L", "bob", "Bob")
	require.NoError(t, err)
	assert.Equal(t, "unchanged updated created", a.String())
	assert.Equal(t, []any{"cy", "ada", "bob"}, []any{a.back[0][1].V, a.back[1][1].V, a.back[2][1].V})
	assert.Equal(t, []string{"ada=Ada L", "bob=Bob", "cy=Cy"}, d.rows())
}

func TestUpsert_RowsThatCannotBeToldApart(t *testing.T) {
	d := newDesk(t, "not unique", "")
	d.insert("ada", "1")
	d.insert("ada", "2")
	_, err := d.upsert(writeOptions{}, "ada", "3")
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.Ambiguous, e.Class)
	assert.Contains(t, e.Message, "(mail)=(ada)")
	assert.Equal(t, "21000", classes[e.Class].sqlstate)

	_, err = d.upsert(writeOptions{}, "bob", "1", "cy", "2", "bob", "3")
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.Ambiguous, e.Class)
	assert.Contains(t, e.Detail, "(mail)=(bob)")
	_, err = d.modify(connectors.Upsert, []int{colEmail, colName}, writeOptions{}, nil, []any{nil, "x"})
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.NotNullViolation, e.Class)
	assert.Empty(t, d.parts, "nothing was sent")
	assert.Equal(t, []string{"ada=1", "ada=2"}, d.rows())
}

func TestUpsert_RowsThatOthersInsertMeanwhile(t *testing.T) {
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprintf("stops at a refused row: %v", stops), func(t *testing.T) {
			d := newDesk(t)
			if stops {
				d.m = stopping{d.store}
			}
			d.insert("ada", "Ada")
			times := 0
			d.meanwhile = func(p *part) {
				if p.batch.Op == connectors.Insert && times == 0 {
					times++
					d.insert("cy", "somebody else's")
					d.insert("eve", "Eve")
				}
			}
			a, err := d.upsert(writeOptions{SkipUnchanged: true}, "bob", "Bob", "cy", "Cy", "dee", "Dee", "ada", "A", "eve", "Eve")
			require.NoError(t, err)
			assert.Equal(t, "created updated created updated unchanged", a.String())
			assert.Equal(t, []string{"ada=A", "bob=Bob", "cy=Cy", "dee=Dee", "eve=Eve"}, d.rows())
			require.Len(t, a.back, 5)
			keys := map[string]bool{}
			for _, p := range d.parts {
				keys[p.key] = true
			}
			assert.Len(t, keys, len(d.parts), "no two parts have one idempotency key")
		})
	}
}

// stopping writes rows one after the other, and none after one that is refused.
type stopping struct{ connectors.Modifier }

func (m stopping) Modify(ctx context.Context, b *connectors.Batch) error {
	b.Results, b.Recorded = make([]connectors.Result, len(b.Rows)), make([]bool, len(b.Rows))
	refused := false
	for i, r := range b.Rows {
		if refused {
			b.Results[i] = connectors.Result{Outcome: connectors.Refused, Bystander: true, Err: &connectors.Error{Class: connectors.UniqueViolation}}
			continue
		}
		one := *b
		one.Rows = []connectors.Row{r}
		if err := m.Modifier.Modify(ctx, &one); err != nil {
			return err
		}
		b.Results[i] = one.Results[0]
		refused = one.Results[0].Outcome == connectors.Refused
	}
	return nil
}

func TestUpsert_UniqueElsewhereIsRefused(t *testing.T) {
	d := newDesk(t)
	d.m = refusing{d.store, connectors.Insert, &connectors.Error{Class: connectors.UniqueViolation, Column: "name", Message: "name: must be unique"}}
	d.insert("ada", "Ada")
	a, err := d.upsert(writeOptions{}, "bob", "B", "ada", "A", "cy", "C")
	require.NoError(t, err)
	assert.Equal(t, "refused updated bystander", a.String())
	assert.Equal(t, 1, d.reads, "the column tells that the row need not be looked for")

	// Where the API does not say which, it is looked for, and is not there.
	d.m = refusing{d.store, connectors.Insert, &connectors.Error{Class: connectors.UniqueViolation, Message: "must be unique"}}
	a, err = d.upsert(writeOptions{}, "bob", "B", "ada", "A", "cy", "C")
	require.NoError(t, err)
	assert.Equal(t, "refused updated bystander", a.String())
	assert.Equal(t, "must be unique", a.results[0].Err.Message)
	assert.Equal(t, 2, d.reads)
}

// refusing refuses the first row of an operation, or fails if err is no refusal.
type refusing struct {
	connectors.Modifier
	op  connectors.Operation
	err *connectors.Error
}

func (m refusing) Modify(ctx context.Context, b *connectors.Batch) error {
	if b.Op != m.op {
		return m.Modifier.Modify(ctx, b)
	}
	if m.err.Class == connectors.Unavailable || m.err.Class == connectors.UnknownOutcome {
		return m.err
	}
	b.Results = make([]connectors.Result, len(b.Rows))
	for i := range b.Results {
		b.Results[i] = connectors.Result{Outcome: connectors.Refused, Err: m.err, Bystander: i > 0}
	}
	return nil
}

func TestUpsert_WhatIsAppliedIsToldThoughTheRestFails(t *testing.T) {
	d := newDesk(t)
	d.insert("ada", "Ada")
	d.m = refusing{d.store, connectors.Insert, &connectors.Error{Class: connectors.Unavailable, Message: "no connection"}}
	a, err := d.upsert(writeOptions{}, "bob", "B", "ada", "A", "cy", "C")
	require.NoError(t, err, "the update was applied")
	assert.Equal(t, "refused updated bystander", a.String())
	assert.Equal(t, connectors.Unavailable, a.results[0].Err.Class)
	require.Len(t, a.back, 1)
	assert.Equal(t, "A", a.back[0][2].V)

	// With nothing applied it is the call's error.
	_, err = d.upsert(writeOptions{}, "bob", "B", "cy", "C")
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.Unavailable, e.Class)

	// What is not known is not told as anything else.
	d.m = refusing{d.store, connectors.Insert, &connectors.Error{Class: connectors.UnknownOutcome, Message: "no answer"}}
	_, err = d.upsert(writeOptions{}, "bob", "B", "ada", "A2")
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.UnknownOutcome, e.Class)

	// A refused update keeps the inserts from being sent.
	d.m = d.store
	a, err = d.upsert(writeOptions{}, "bob", "B", "ada", "a name of more than twenty letters")
	require.NoError(t, err)
	assert.Equal(t, "bystander refused", a.String())
	assert.Equal(t, connectors.TooLong, a.results[1].Err.Class)
	assert.Equal(t, "not sent, because row 2 was refused", a.results[0].Err.Message)
	assert.Equal(t, []string{"ada=A2"}, d.rows())
}

func TestUpsert_RowsThatVanishMeanwhile(t *testing.T) {
	d := newDesk(t)
	ada := d.insert("ada", "Ada")
	d.insert("bob", "Bob")
	d.meanwhile = func(*part) {
		if ada != 0 {
			d.remove(ada)
			ada = 0
		}
	}
	a, err := d.upsert(writeOptions{}, "ada", "A", "bob", "B")
	require.NoError(t, err)
	assert.Equal(t, "created updated", a.String())
	assert.Equal(t, []string{"ada=A", "bob=B"}, d.rows())
}

func TestUpsert_ManyUnchangedRowsWriteNothing(t *testing.T) {
	const n, list = 10_000, 250
	d := newDesk(t)
	d.maxList = list + 1
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("p%d", i), "name")
	}
	a, err := d.upsert(writeOptions{SkipUnchanged: true}, pairs...)
	require.NoError(t, err)
	require.Len(t, a.back, n)
	a, err = d.upsert(writeOptions{SkipUnchanged: true}, pairs...)
	require.NoError(t, err)
	assert.Empty(t, d.parts, "no write")
	assert.Equal(t, n/list, d.reads, "as many at once as the filter holds")
	require.Len(t, a.back, n)
	for i, r := range a.results {
		require.True(t, r.Unchanged)
		require.Equal(t, pairs[2*i], a.back[i][1].V)
	}
	pairs[2*17+1], pairs[2*4711+1] = "other", "other"
	a, err = d.upsert(writeOptions{SkipUnchanged: true}, pairs...)
	require.NoError(t, err)
	require.Len(t, d.parts, 1)
	assert.Equal(t, []int{17, 4711}, d.parts[0].at)
	assert.Equal(t, "other", a.back[4711][2].V)
}

func TestUpsert_BySeveralColumns(t *testing.T) {
	for _, maxList := range []int{0, 4, 1} { // an OR of any length, of few, and nothing that can be pushed
		d := newDesk(t, "not unique", "")
		d.maxList = maxList
		if maxList == 1 {
			d.maxList = 0
			d = newDesk(t, "not unique", "", "pushdown", "none")
		}
		for _, e := range []string{"a", "b", "c"} {
			for _, n := range []string{"1", "2", "3"} {
				d.insert(e, n)
			}
		}
		b := &connectors.Batch{Op: connectors.Upsert, MatchColumns: []int{colName, colEmail}, Columns: []int{colEmail, colName, colAmount}, Stats: &connectors.Stats{}}
		for _, r := range [][3]any{{"a", "1", "10"}, {"b", "3", "11"}, {"c", "4", "12"}, {"d", "1", "13"}, {"a", "2", "14"}} {
			b.Rows = append(b.Rows, connectors.Row{Values: []pushdown.Value{{V: r[0]}, {V: r[1]}, {V: r[2]}}})
		}
		a, err := d.run(b, writeOptions{SkipUnchanged: true})
		require.NoError(t, err)
		assert.Equal(t, "updated updated created created updated", a.String())
		assert.Len(t, d.rows(), 11)
	}
}

func TestUpsert_ColumnsThatRowsCannotBeFoundBy(t *testing.T) {
	d := newDesk(t)
	b := &connectors.Batch{Op: connectors.Upsert, MatchColumns: []int{colData}, Columns: []int{colData}, Stats: &connectors.Stats{},
		Rows: []connectors.Row{{Values: []pushdown.Value{{V: "{}"}}}}}
	_, err := d.run(b, writeOptions{})
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.NotSupported, e.Class)
	assert.Contains(t, e.Message, "(data)")
}

func TestDryRequests_SayWhatAnUpsertWouldDo(t *testing.T) {
	d := newDesk(t)
	b := &connectors.Batch{Op: connectors.Upsert, MatchColumns: []int{colEmail}, Columns: []int{colEmail, colName}, Stats: &connectors.Stats{},
		Rows: []connectors.Row{{Values: []pushdown.Value{{V: "ada"}, {V: "A"}}}, {Values: []pushdown.Value{{V: "bob"}, {V: "B"}}}}}
	list, err := d.srv.dryRequests(d.b, d.m, b)
	require.NoError(t, err)
	require.Len(t, list, 3)
	assert.Contains(t, list[0], "find: GET people where email = ANY")
	assert.Equal(t, "create what is not found, update what is: POST people email=ada name=A", list[1])
	assert.Zero(t, d.reads)
	assert.Empty(t, d.rows())
}

var upsertSeed = flag.Uint64("upsert.seed", 0, "seed of the random upserts; 0: one that stands in the tests' names")

// TestUpsert_AgainstAModel upserts at random, through every way there is.
func TestUpsert_AgainstAModel(t *testing.T) {
	seed := *upsertSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	runs := 60
	if testing.Short() {
		runs = 20
	}
	for run := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		options := []string{
			"pushdown", pick(r, "exact", "exact", "superset", "none"), "ignore_filters", strconv.FormatBool(r.IntN(8) == 0),
			"upsert", strconv.FormatBool(r.IntN(3) == 0), "batch_rows", strconv.Itoa(1 + r.IntN(9)),
			"atomic", strconv.FormatBool(r.IntN(2) == 0),
		}
		t.Run(fmt.Sprint(seed, " ", run, " ", options), func(t *testing.T) { modelRun(t, r, options) })
	}
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func modelRun(t *testing.T, r *rand.Rand, options []string) {
	d := newDesk(t, options...)
	d.maxList = pick(r, 0, 2, 5, 12)
	if r.IntN(3) == 0 {
		d.m = stopping{d.store}
		if u, ok := d.store.(connectors.Upserter); ok && u.Upserts([]int{colEmail}) {
			d.m = stoppingUpserter{stopping{d.store}, u}
		}
	}
	model := map[string]string{}
	ids := map[string]int64{}
	emails := []string{"a", "A", "ä", "b ", "b", "c'", "d\\", "e", "f", "g", "", "h", "i", "j"}
	names := []string{"x", "y", "", "X", "x "}
	for range 25 {
		// Others change the object, sometimes while the upsert is under way.
		if r.IntN(4) == 0 && len(model) > 0 {
			gone := pick(r, slices.Sorted(maps.Keys(model))...)
			d.remove(ids[gone])
			delete(model, gone)
		}
		fresh := ""
		d.meanwhile = nil
		if email := pick(r, emails...); r.IntN(3) == 0 {
			d.meanwhile = func(*part) {
				if _, there := model[email]; there || fresh != "" {
					return
				}
				fresh = "other"
				ids[email] = d.insert(email, fresh)
				model[email] = fresh
			}
		}
		perm := r.Perm(len(emails))[:1+r.IntN(len(emails))]
		var pairs []string
		for _, i := range perm {
			pairs = append(pairs, emails[i], pick(r, names...))
		}
		opts := writeOptions{SkipUnchanged: r.IntN(2) == 0, Images: r.IntN(3) == 0}
		before := maps.Clone(model)
		a, err := d.upsert(opts, pairs...)
		require.NoError(t, err)
		require.Len(t, a.back, len(perm))
		for i := range perm {
			email, name := pairs[2*i], pairs[2*i+1]
			was, there := before[email]
			res, row := a.results[i], a.back[i]
			require.Equal(t, connectors.Applied, res.Outcome, "%v", res.Err)
			if fresh == "" {
				require.Equal(t, !there, res.Created, "row %d, %q", i, email)
				if opts.SkipUnchanged {
					require.Equal(t, there && was == name, res.Unchanged, "row %d, %q", i, email)
				}
			}
			require.False(t, res.Unchanged && !opts.SkipUnchanged)
			require.Equal(t, []any{email, name}, []any{row[1].V, row[2].V})
			id, _ := row[0].V.(int64)
			if _, there := model[email]; there {
				require.Equal(t, ids[email], id, "it is the same row")
			}
			model[email], ids[email] = name, id
		}
		for _, p := range d.parts {
			for i := range p.at {
				require.False(t, opts.Images && p.op == connectors.Update && p.before[i] == nil, "an image of each row that is updated")
			}
		}
		want := []string{}
		for email, name := range model {
			want = append(want, email+"="+name)
		}
		slices.SortFunc(want, cmp.Compare[string])
		require.Equal(t, want, d.rows())
	}
}

// stoppingUpserter is stopping where the API upserts.
type stoppingUpserter struct {
	stopping
	u connectors.Upserter
}

func (m stoppingUpserter) Upserts(match []int) bool { return m.u.Upserts(match) }
