package bridge

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func TestUnchanged_ComparesValuesNotText(t *testing.T) {
	of := func(k pushdown.Kind) pushdown.Type { return pushdown.Type{Kind: k} }
	list := func(values ...any) []pushdown.Value {
		out := make([]pushdown.Value, len(values))
		for i, v := range values {
			out[i] = pushdown.Value{V: v}
		}
		return out
	}
	texts := pushdown.Type{Kind: pushdown.Text, Array: true, ElementOID: 25}
	for _, c := range []struct {
		t    pushdown.Type
		a, b any
		same bool
	}{
		{of(pushdown.Text), "a", "a", true},
		{of(pushdown.Text), "a", "A", false},
		{of(pushdown.Text), "a", "a ", false},
		{of(pushdown.Text), "", nil, false},
		{of(pushdown.Text), nil, nil, true},
		{of(pushdown.Text), nil, "", false},
		{of(pushdown.BPChar), "a", "a  ", true},
		{of(pushdown.Int8), int64(7), int64(7), true},
		{of(pushdown.Int8), int64(7), int64(8), false},
		{of(pushdown.Numeric), "1.50", "1.5", true},
		{of(pushdown.Numeric), "100", "100.000", true},
		{of(pushdown.Numeric), "0.0", "0", true},
		{of(pushdown.Numeric), "1.5", "1.51", false},
		{of(pushdown.Numeric), "NaN", "NaN", true},
		{of(pushdown.Float8), math.NaN(), math.NaN(), true},
		{of(pushdown.Float8), 0.1, 0.1, true},
		{of(pushdown.Float8), 0.1, 0.2, false},
		{of(pushdown.Bool), true, false, false},
		{of(pushdown.TimestampTZ), int64(1_000_000), int64(1_000_000), true},
		{of(pushdown.TimestampTZ), int64(1_000_000), int64(1_000_001), false},
		{of(pushdown.UUID), "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000", true},
		{of(pushdown.Bytea), []byte{1}, []byte{1}, true},
		{of(pushdown.Bytea), []byte{1}, []byte{2}, false},
		{of(pushdown.JSONB), `{"a": 1, "b": [1, 2]}`, `{"b":[1.0,2e0],"a":10e-1}`, true},
		{of(pushdown.JSON), `{"a": 1}`, `{ "a" : 1 }`, true},
		{of(pushdown.JSONB), `{"a": 1}`, `{"a": 1, "b": null}`, false},
		{of(pushdown.JSONB), `{"a": null}`, `{"b": null}`, false},
		{of(pushdown.JSONB), `[1, 2]`, `[2, 1]`, false},
		{of(pushdown.JSONB), `"1"`, `1`, false},
		{of(pushdown.JSONB), `null`, `false`, false},
		{of(pushdown.JSONB), `1e400`, `10e399`, true},
		{of(pushdown.JSONB), `12345678901234567890`, `12345678901234567891`, false},
		{of(pushdown.JSONB), `-0`, `0.0`, true},
		{of(pushdown.JSONB), `-1`, `1`, false},
		{texts, list("a", nil), list("a", nil), true},
		{texts, list("a", "b"), list("b", "a"), false},
		{texts, list("a"), list("a", "a"), false},
		{texts, list("a"), list(nil), false},
		{texts, list(), nil, false},
		{of(pushdown.Enum), "won", "won", true},
		{of(pushdown.Other), "1 day", "1 day", true},
		{of(pushdown.Other), "1 day", "24:00:00", false},
	} {
		types := []pushdown.Type{c.t}
		row := &liveRow{types: types, Read: []bool{true}, Fields: make([][]byte, 1)}
		b := rows.NewBuilder(types, func(tuple []byte, _ int) error {
			if n := int32(tuple[2])<<24 | int32(tuple[3])<<16 | int32(tuple[4])<<8 | int32(tuple[5]); n >= 0 {
				row.Fields[0] = tuple[6:]
			}
			return nil
		}, rows.Options{})
		b.Value(pushdown.Value{V: c.a})
		require.NoError(t, b.EndRow())
		require.NoError(t, b.Flush())
		got := unchanged(nil, row, []int{0}, []pushdown.Value{{V: c.b}})
		assert.Equal(t, c.same, got, "%v: %v and %v", c.t.Kind, c.a, c.b)
	}
	assert.False(t, unchanged(nil, &liveRow{types: []pushdown.Type{of(pushdown.Text)}, Read: []bool{false}, Fields: make([][]byte, 1)},
		[]int{0}, []pushdown.Value{{}}), "a column that was not read is not known to be NULL")
}

func TestUnchanged_AnArrayOfAnotherShapeIsAnotherValue(t *testing.T) {
	texts := pushdown.Type{Kind: pushdown.Text, Array: true, ElementOID: 25}
	// {{a}}: two dimensions of one element each.
	field := []byte{0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 'a'}
	row := &liveRow{types: []pushdown.Type{texts}, Read: []bool{true}, Fields: [][]byte{field}}
	v, err := row.Value(0)
	require.NoError(t, err)
	require.Equal(t, []pushdown.Value{{V: "a"}}, v.V)
	assert.False(t, unchanged(nil, row, []int{0}, []pushdown.Value{v}))
}

func TestCanonicalNumber_IsOneForEachNumber(t *testing.T) {
	same := [][]string{
		{"0", "-0", "0.0", "0e9", "-0.00E-3"},
		{"1", "1.0", "10e-1", "0.1e1", "1E0", "1e+0"},
		{"1200", "12e2", "1.2e3", "0.0012e6"},
		{"-1.5", "-15e-1"},
		{"1e99999999999999999999"}, {"1e-99999999999999999999"},
	}
	seen := map[string]int{}
	for i, forms := range same {
		for _, f := range forms {
			c := canonicalNumber(f)
			if j, there := seen[c]; there {
				assert.Equal(t, j, i, "%s", f)
			}
			seen[c] = i
			assert.Equal(t, canonicalNumber(forms[0]), c, "%s", f)
		}
	}
}

func TestUpdate_SkipsWhatIsSoAlready(t *testing.T) {
	d := newDesk(t)
	ada, bob, cy := d.insert("ada", "Ada"), d.insert("bob", "Bob"), d.insert("cy", "Cy")
	set := func(opts writeOptions, list ...[]any) (answer, error) {
		return d.modify(connectors.Update, []int{colName, colAmount}, opts, []int{colEmail, colName}, list...)
	}
	a, err := set(writeOptions{SkipUnchanged: true}, []any{ada, "Ada", nil}, []any{bob, "Bob", "1.5"}, []any{int64(99), "x", nil}, []any{cy, "C", nil})
	require.NoError(t, err)
	assert.Equal(t, "unchanged updated not found updated", a.String())
	require.Len(t, d.parts, 1)
	assert.Equal(t, []int{1, 2, 3}, d.parts[0].at)
	assert.Equal(t, []any{"ada", "bob", "cy"}, []any{a.back[0][0].V, a.back[1][0].V, a.back[2][0].V})

	a, err = set(writeOptions{SkipUnchanged: true}, []any{bob, "Bob", "1.50"})
	require.NoError(t, err)
	assert.Equal(t, "unchanged", a.String())
	assert.Empty(t, d.parts)

	a, err = set(writeOptions{}, []any{bob, "Bob", "1.50"})
	require.NoError(t, err)
	assert.Equal(t, "updated", a.String(), "without the wish it is sent, and nothing is read")
	assert.Zero(t, d.reads)

	// The same row twice: the second change is no news only after the first.
	_, err = set(writeOptions{SkipUnchanged: true}, []any{bob, "B2", nil}, []any{bob, "Bob", "1.5"})
	require.NoError(t, err)
	assert.Equal(t, []string{"ada=Ada", "bob=Bob", "cy=C"}, d.rows())
}

func TestImages_AreTheWholeRows(t *testing.T) {
	for _, op := range []connectors.Operation{connectors.Update, connectors.Delete, connectors.Upsert} {
		t.Run(op.String(), func(t *testing.T) {
			d := newDesk(t)
			ada := d.insert("ada", "Ada")
			columns, list := []int{colName}, [][]any{{ada, "A"}, {int64(99), "x"}}
			switch op {
			case connectors.Delete:
				columns, list = nil, [][]any{{ada}, {int64(99)}}
			case connectors.Upsert:
				columns, list = []int{colEmail, colName}, [][]any{{"ada", "A"}}
			}
			_, err := d.modify(op, columns, writeOptions{Images: true}, nil, list...)
			require.NoError(t, err)
			require.Len(t, d.parts, 1)
			before := d.parts[0].before
			require.NotNil(t, before[0])
			for c, want := range []any{ada, "ada", "Ada", nil, nil, nil, nil} {
				v, err := before[0].Value(c)
				require.NoError(t, err)
				assert.Equal(t, want, v.V)
				assert.True(t, before[0].Read[c])
			}
			if op != connectors.Upsert {
				assert.Nil(t, before[1], "it is not there")
			}
		})
	}
}

func TestSkip_NotWhileTheAPIsListsMayBeBehind(t *testing.T) {
	t.Parallel()                // it waits more than it computes
	const lag = 3 * time.Second // much longer than this machine may stall
	d := newDesk(t, "lag", lag.String())
	ada := d.insert("ada", "v1")
	time.Sleep(lag + 50*time.Millisecond)
	skip := writeOptions{SkipUnchanged: true}
	_, err := d.modify(connectors.Update, []int{colName}, skip, nil, []any{ada, "v2"})
	require.NoError(t, err)
	// The list still says v1: to believe it would lose this write.
	a, err := d.modify(connectors.Update, []int{colName}, skip, nil, []any{ada, "v1"})
	require.NoError(t, err)
	assert.Equal(t, "updated", a.String())
	a, err = d.upsert(skip, "ada", "v1")
	require.NoError(t, err)
	assert.Equal(t, "updated", a.String(), "by whatever columns it is found")
	time.Sleep(lag + 50*time.Millisecond)
	assert.Equal(t, []string{"ada=v1"}, d.rows())
	a, err = d.upsert(skip, "ada", "v1")
	require.NoError(t, err)
	assert.Equal(t, "unchanged", a.String(), "by now it is seen")

	// A row that is there and not listed yet is waited for.
	d.insert("bob", "B")
	a, err = d.upsert(skip, "bob", "B2")
	require.NoError(t, err)
	assert.Equal(t, "updated", a.String())
	time.Sleep(lag + 50*time.Millisecond)
	assert.Equal(t, []string{"ada=v1", "bob=B2"}, d.rows())
}

func TestRecentWrites_AreForgotten(t *testing.T) {
	d := newDesk(t)
	var rw recentWrites
	p := recentPlace{object: "o"}
	for i := range 5000 {
		rw.add(p, d.b.rel, []int{colID}, [][]pushdown.Value{{{V: int64(i)}}}, time.Nanosecond, 1)
	}
	assert.Less(t, rw.places[p].count, 1500)
	by := func(p recentPlace, id int64) string {
		xid, is := rw.has(p, d.b.rel, []int{colID}, []pushdown.Value{{V: id}})
		return fmt.Sprint(is, " ", xid)
	}
	write := func(id int64, xid uint64) {
		rw.add(p, d.b.rel, []int{colID}, [][]pushdown.Value{{{V: id}}}, time.Hour, xid)
	}
	write(1, 7)
	write(1, 7)
	assert.Equal(t, "true 7", by(p, 1))
	assert.Equal(t, "false 0", by(p, 6000))
	assert.Equal(t, "false 0", by(recentPlace{object: "other"}, 1))
	// Of two transactions, the second is not alone with the row.
	write(1, 8)
	write(1, 8)
	assert.Equal(t, "true 0", by(p, 1))
}

func TestUpsert_ARowThatIsGoneAndStillListed(t *testing.T) {
	d := newDesk(t, "lag", "10s")
	ada := d.insert("ada", "Ada")
	_, err := d.modify(connectors.Delete, nil, writeOptions{}, nil, []any{ada})
	require.NoError(t, err)
	listed := scanTable{d.b.table, d.b.table.Plan, func(q connectors.Query, out *rows.Builder) error {
		for _, c := range q.Columns {
			out.Value(map[int]pushdown.Value{colID: {V: ada}, colEmail: {V: "ada"}, colName: {V: "Ada"}}[c])
		}
		return out.EndRow()
	}}
	d.b.table = listed
	a, err := d.upsert(writeOptions{SkipUnchanged: true}, "ada", "Ada")
	require.NoError(t, err)
	assert.Equal(t, "created", a.String())
}

// Of rows enough for a job no more are read first than there is time for.
func TestUnchanged_LooksAtWhatItHasTimeFor(t *testing.T) {
	d := newDesk(t)
	soon, cancel := context.WithTimeout(t.Context(), lookTime/2)
	defer cancel()
	late, cancel := context.WithTimeout(t.Context(), 2*lookTime)
	defer cancel()
	for _, c := range []struct {
		ctx  context.Context
		jobs bool
		want int
	}{{soon, true, aheadRows}, {soon, false, aheadRows + 100}, {late, true, aheadRows + 100}, {t.Context(), true, aheadRows + 100}} {
		b := &connectors.Batch{Op: connectors.Update, KeyColumns: []int{colID}, Columns: []int{colName}, Jobs: c.jobs, Stats: &connectors.Stats{}}
		for i := range aheadRows + 100 {
			b.Rows = append(b.Rows, connectors.Row{Key: []pushdown.Value{{V: int64(1000 + i)}}, Values: []pushdown.Value{{V: "x"}}})
		}
		b.Returning = rows.NewBuilder(nil, func([]byte, int) error { return nil }, rows.Options{})
		sent := 0
		err := d.srv.writeParts(c.ctx, d.b, d.m, b, writeOptions{SkipUnchanged: true}, func(ctx context.Context, p *part) error {
			assert.Equal(t, c.jobs, p.batch.Jobs)
			sent += len(p.at)
			return d.m.Modify(ctx, p.batch)
		})
		require.NoError(t, err)
		require.Equal(t, c.want, sent)
		for i, r := range b.Results {
			require.Equal(t, i >= c.want, r.Outcome == connectors.NotSent, "row %d", i)
		}
	}
}

// scanTable answers reads with what a test says.
type scanTable struct {
	connectors.Table
	plan func(pushdown.Request) pushdown.Plan
	scan func(connectors.Query, *rows.Builder) error
}

func (s scanTable) Plan(r pushdown.Request) pushdown.Plan { return s.plan(r) }

func (s scanTable) Scan(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	return connectors.ScanResult{}, s.scan(q, out)
}

func TestLiveRows_OfAListThatRepeatsRowsAndHasOthers(t *testing.T) {
	d := newDesk(t)
	d.b.table = scanTable{d.b.table, d.b.table.Plan, func(q connectors.Query, out *rows.Builder) error {
		require.Equal(t, []int{colID, colEmail, colName}, q.Columns)
		for _, r := range [][3]any{{int64(1), "ada", "A"}, {int64(2), "bob", nil}, {int64(1), "ada", "A"}, {int64(3), "ada", "B"}} {
			for _, v := range r {
				out.Value(pushdown.Value{V: v})
			}
			if err := out.EndRow(); err != nil {
				return err
			}
		}
		return nil
	}}
	got, err := d.srv.liveRows(t.Context(), d.b, []int{colEmail}, [][]pushdown.Value{{{V: "ada"}}, {{V: nil}}, {{V: "cy"}}, {{V: "ada"}}}, []int{colName}, &connectors.Stats{})
	require.NoError(t, err)
	assert.Equal(t, []int{2, 0, 0, 2}, []int{len(got[0]), len(got[1]), len(got[2]), len(got[3])})
	v, err := got[0][1].Value(colName)
	require.NoError(t, err)
	assert.Equal(t, "B", v.V)
}

func TestLiveRows_AnObjectThatCannotBeFilteredIsReadUpToABound(t *testing.T) {
	d := newDesk(t)
	n := 0
	d.b.table = scanTable{d.b.table, func(r pushdown.Request) pushdown.Plan {
		return pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts))}
	}, func(q connectors.Query, out *rows.Builder) error {
		assert.Empty(t, q.Conjuncts)
		for ; ; n++ {
			out.Int64(int64(n))
			out.String(fmt.Sprint("p", n))
			if err := out.EndRow(); err != nil {
				return fmt.Errorf("scanning: %w", err)
			}
		}
	}}
	_, err := d.srv.liveRows(t.Context(), d.b, []int{colEmail}, [][]pushdown.Value{{{V: "p3"}}}, nil, &connectors.Stats{})
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, connectors.LimitExceeded, e.Class)
	assert.Contains(t, e.Message, "(mail)")
	assert.Less(t, n, 2*maxUnfiltered)
}
