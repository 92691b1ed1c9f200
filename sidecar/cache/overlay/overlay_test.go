package overlay

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

var types = []pushdown.Type{{Kind: pushdown.Numeric}, {Kind: pushdown.Int8}, {Kind: pushdown.Text}}

// record is a row of the model: id, v (may be NULL), name.
type record struct {
	id   string
	v    any
	name string
}

func (r *record) values() []pushdown.Value {
	return []pushdown.Value{{V: r.id}, {V: r.v}, {V: r.name}}
}

func encode(t testing.TB, columns []int, list ...*record) []byte {
	t.Helper()
	var out []byte
	var ts []pushdown.Type
	for _, c := range columns {
		ts = append(ts, types[c])
	}
	b := rows.NewBuilder(ts, func(tuples []byte, _ int) error { out = append(out, tuples...); return nil }, rows.Options{Reuse: true})
	for _, r := range list {
		for _, c := range columns {
			b.Value(r.values()[c])
		}
		require.NoError(t, b.EndRow())
	}
	require.NoError(t, b.Flush())
	return out
}

func decode(t testing.TB, columns []int, tuples []byte) [][]pushdown.Value {
	t.Helper()
	var ts []pushdown.Type
	for _, c := range columns {
		ts = append(ts, types[c])
	}
	var out [][]pushdown.Value
	rd := rows.NewReader(ts, tuples)
	for {
		row := make([]pushdown.Value, len(ts))
		ok, err := rd.Next(row)
		require.NoError(t, err)
		if !ok {
			return out
		}
		out = append(out, row)
	}
}

// world is an API whose lists lag behind, each row by a time of its own.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	clock time.Time
	log   *Log
	place Place
	past  map[string][]version // by id, oldest first
}

type version struct {
	at  time.Time
	rec *record // nil: deleted
}

const lag = 10 * time.Second

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: time.Unix(1e9, 0), log: NewLog(), past: map[string][]version{},
		place: Place{Object: "things", Account: "a", Table: [32]byte{1}}}
	w.log.now = func() time.Time { return w.clock }
	for i := range 30 {
		id := fmt.Sprint(i)
		w.past[id] = []version{{w.clock.Add(-time.Hour), w.random(id)}}
	}
	return w
}

func (w *world) random(id string) *record {
	r := &record{id: id, v: int64(w.rng.IntN(5)), name: string(rune('a' + w.rng.IntN(4)))}
	if w.rng.IntN(5) == 0 {
		r.v = nil
	}
	return r
}

// at is the row as it was.
func (w *world) at(id string, when time.Time) *record {
	var rec *record
	for _, v := range w.past[id] {
		if !v.at.After(when) {
			rec = v.rec
		}
	}
	return rec
}

func key(id string) string { return Key(types[:1], []pushdown.Value{{V: id}}) }

func (w *world) write() {
	id := fmt.Sprint(w.rng.IntN(40))
	old := w.at(id, w.clock)
	var rec *record
	if old == nil || w.rng.IntN(3) > 0 {
		rec = w.random(id)
	}
	wr := w.log.Begin(w.place, []string{key(id)})
	w.clock = w.clock.Add(time.Duration(w.rng.IntN(50)) * time.Millisecond)
	w.past[id] = append(w.past[id], version{w.clock, rec})
	row := &Row{Deleted: rec == nil}
	if rec != nil {
		// The answer may spell the key otherwise than the list does.
		spelled := *rec
		spelled.id += ".0"
		fields, err := Fields(encode(w.t, []int{0, 1, 2}, &spelled), []int{0, 1, 2}, 3)
		require.NoError(w.t, err)
		row.Fields = fields
	}
	require.False(w.t, wr.End([]Change{{key(id), row}}, false, lag))
}

func param(v any, kind pushdown.Kind) *pushdown.Param {
	return &pushdown.Param{Type: pushdown.Type{Kind: kind}, Known: true, Value: pushdown.Value{V: v}}
}

func (w *world) scan() {
	s := Scan{Types: types, Key: []int{0}}
	switch w.rng.IntN(4) {
	case 0:
		s.Conjuncts = []pushdown.Expr{&pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 1}, Right: param(int64(w.rng.IntN(5)), pushdown.Int8)}}
	case 1:
		s.Conjuncts = []pushdown.Expr{&pushdown.NullTest{Operand: &pushdown.Column{Index: 1}},
			&pushdown.Comparison{Op: pushdown.NE, Left: &pushdown.Column{Index: 2}, Right: param("b", pushdown.Text), Collation: pushdown.Collation{Name: "C", C: true, Deterministic: true}}}
	case 2:
		s.Conjuncts = []pushdown.Expr{&pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: 0}, Right: param(fmt.Sprint(w.rng.IntN(40)), pushdown.Numeric)}}
	}
	if w.rng.IntN(2) == 0 {
		s.Ordering = pushdown.Ordering{{Column: 1, Descending: w.rng.IntN(2) == 0, NullsFirst: w.rng.IntN(2) == 0}, {Column: 0}}
	}
	wanted := [][]int{{0, 1, 2}, {2}, {1, 0}, {}}[w.rng.IntN(4)]
	s.Columns, s.Extra = Columns(wanted, s.Key, s.Ordering)

	pred, err := pushdown.CompileAll(s.Conjuncts, types)
	require.NoError(w.t, err)
	matching := func(state func(id string) *record) []*record {
		var list []*record
		for _, id := range slices.Sorted(maps.Keys(w.past)) {
			r := state(id)
			if r == nil {
				continue
			}
			ok, err := pred.Matches(func(c int) pushdown.Value { return r.values()[c] })
			require.NoError(w.t, err)
			if ok {
				list = append(list, r)
			}
		}
		if s.Ordering != nil {
			sorter, err := pushdown.CompileOrdering(s.Ordering, types)
			require.NoError(w.t, err)
			slices.SortFunc(list, func(a, b *record) int {
				x, err := sorter.Compare(func(c int) pushdown.Value { return a.values()[c] }, func(c int) pushdown.Value { return b.values()[c] })
				require.NoError(w.t, err)
				return x
			})
		}
		return list
	}
	list := matching(func(id string) *record {
		return w.at(id, w.clock.Add(-time.Duration(w.rng.Int64N(int64(lag)-1))))
	})
	want := matching(func(id string) *record { return w.at(id, w.clock) })

	view := w.log.View(w.place)
	require.False(w.t, view.Unsure)
	f, err := view.Filter(s)
	require.NoError(w.t, err)
	var got []byte
	n := 0
	if f == nil {
		for _, r := range list {
			got = append(got, encode(w.t, wanted, r)...)
			n++
		}
	} else {
		require.False(w.t, f.Unjudged())
		for chunk := range slices.Chunk(list, 1+w.rng.IntN(7)) {
			out, k, err := f.Batch(encode(w.t, s.Columns, chunk...))
			require.NoError(w.t, err)
			got, n = append(got, out...), n+k
		}
		out, k := f.End()
		got, n = append(got, out...), n+k
	}
	require.Equal(w.t, len(want), n)
	have, need := decode(w.t, wanted, got), decode(w.t, wanted, encode(w.t, wanted, want...))
	for _, rows := range [][][]pushdown.Value{have, need} {
		for _, row := range rows {
			for i, c := range wanted {
				if c == 0 { // 7.0 is 7
					row[i].V = Key(types[:1], row[i:i+1])
				}
			}
		}
		if s.Ordering == nil || len(wanted) < 3 && !slices.Contains(wanted, 0) {
			slices.SortFunc(rows, func(a, b []pushdown.Value) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	}
	require.Equal(w.t, need, have)
}

// Whatever the list shows of the last ten seconds, what comes out is what was
// written.
func TestFilter_OwnWritesOverALaggingList(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(t, seed)
		for range 300 {
			w.clock = w.clock.Add(time.Duration(w.rng.IntN(1500)) * time.Millisecond)
			if w.rng.IntN(2) == 0 {
				w.write()
			} else {
				w.scan()
			}
		}
	}
}

func TestFilter_WhatCannotBeDecidedHere(t *testing.T) {
	v := View{Rows: map[string]*Row{key("1"): {Fields: [][]byte{encode(t, []int{0}, &record{id: "1"})[6:], nil, []byte("x")}}}}
	regex := &pushdown.Match{Kind: pushdown.Regex, Operand: &pushdown.Column{Index: 2}, Pattern: param("^y", pushdown.Text)}
	s := Scan{Types: types, Columns: []int{0, 2}, Key: []int{0}, Conjuncts: []pushdown.Expr{regex}}
	f, err := v.Filter(s)
	require.NoError(t, err)
	assert.True(t, f.Unjudged(), "PostgreSQL must check")
	out, n := f.End()
	assert.Equal(t, 1, n, "as it may match")
	assert.Equal(t, "x", decode(t, []int{0, 2}, out)[0][1].V)

	s.Ordering = pushdown.Ordering{{Column: 2, Collation: pushdown.Collation{Name: "de-CH", Deterministic: true}}}
	_, err = v.Filter(s)
	var ue *pushdown.UnsupportedError
	require.ErrorAs(t, err, &ue)

	f, err = View{}.Filter(s)
	require.NoError(t, err)
	assert.Nil(t, f)
}

func TestFilter_BrokenTuples(t *testing.T) {
	v := View{Rows: map[string]*Row{key("1"): {Deleted: true}}}
	good := encode(t, []int{0, 2}, &record{id: "2", name: "x"})
	for n := 1; n < len(good); n++ {
		f, err := v.Filter(Scan{Types: types, Columns: []int{0, 2}, Key: []int{0}})
		require.NoError(t, err)
		_, _, err = f.Batch(good[:n])
		require.Error(t, err, "cut after %d bytes", n)
	}
}

func TestLog(t *testing.T) {
	clock := time.Unix(1e9, 0)
	fresh := func() (*Log, Place) {
		l := NewLog()
		l.now = func() time.Time { return clock }
		return l, Place{Object: "o", Account: "a", Table: [32]byte{1}}
	}
	one := []Change{{"k", &Row{Fields: [][]byte{[]byte("x")}}}}
	write := func(l *Log, p Place, lag time.Duration) { l.Begin(p, []string{"k"}).End(one, false, lag) }

	t.Run("expires", func(t *testing.T) {
		l, p := fresh()
		write(l, p, lag)
		before := l.View(p)
		require.Len(t, before.Rows, 1)
		clock = clock.Add(lag)
		after := l.View(p)
		assert.Empty(t, after.Rows)
		assert.Equal(t, before.Stamp, after.Stamp, "the stamp stays, as scans that began before may still run")
		write(l, Place{Object: "other"}, lag)
		assert.Less(t, l.bytes, int64(200), "what is over is dropped")
	})
	t.Run("no lag", func(t *testing.T) {
		l, p := fresh()
		stamp := l.View(p).Stamp
		write(l, p, -1)
		assert.Empty(t, l.View(p).Rows)
		assert.NotEqual(t, stamp, l.View(p).Stamp)
		l.Begin(p, nil).End(nil, true, -1)
		assert.False(t, l.View(p).Unsure)
	})
	t.Run("through another table", func(t *testing.T) {
		l, p := fresh()
		write(l, p, lag)
		q := p
		q.Table = [32]byte{2}
		assert.True(t, l.View(q).Unsure, "its list may lack the row")
		assert.Equal(t, clock.Add(lag), l.View(q).SureAt)
		write(l, q, lag)
		assert.Empty(t, l.View(p).Rows, "the row that p wrote is of the past")
		assert.True(t, l.View(p).Unsure)
		assert.NotEmpty(t, l.View(q).Rows)
	})
	t.Run("another account", func(t *testing.T) {
		l, p := fresh()
		write(l, p, lag)
		q := p
		q.Account = "b"
		assert.Empty(t, l.View(q).Rows)
		assert.False(t, l.View(q).Unsure)
		write(l, q, lag)
		assert.Empty(t, l.View(p).Rows, "the row that a wrote is of the past")
	})
	t.Run("not known", func(t *testing.T) {
		l, p := fresh()
		write(l, p, lag)
		assert.True(t, l.Begin(p, nil).End(nil, true, lag))
		assert.Empty(t, l.View(p).Rows)
		assert.True(t, l.View(p).Unsure)
		clock = clock.Add(lag)
		assert.False(t, l.View(p).Unsure)
	})
	t.Run("two at once", func(t *testing.T) {
		l, p := fresh()
		a, b, c := l.Begin(p, []string{"k"}), l.Begin(p, []string{"k", "l"}), l.Begin(p, []string{"m"})
		assert.True(t, b.End(one, false, lag))
		assert.True(t, a.End(one, false, lag))
		assert.False(t, c.End([]Change{{"m", one[0].Row}}, false, lag))
		assert.True(t, l.View(p).Unsure)
		assert.False(t, l.Begin(p, []string{"k"}).End(one, false, lag))
	})
	t.Run("forgotten", func(t *testing.T) {
		l, p := fresh()
		write(l, p, lag)
		stamp := l.View(p).Stamp
		l.Forget(p.Server, p.Object)
		assert.Empty(t, l.View(p).Rows)
		assert.NotEqual(t, stamp, l.View(p).Stamp)
		assert.Zero(t, l.bytes)
	})
	t.Run("in doubt", func(t *testing.T) {
		l, p := fresh()
		until := clock.Add(lag)
		l.Doubt(p.Server, until)
		assert.Equal(t, View{Unsure: true, SureAt: until}, l.View(p))
		l.Begin(p, nil).End(nil, true, lag/2)
		assert.Equal(t, until, l.View(p).SureAt, "the later one")
		clock = until
		assert.False(t, l.View(p).Unsure)
		assert.Zero(t, l.View(p).SureAt)
	})
	t.Run("too much", func(t *testing.T) {
		l, p := fresh()
		l.max = 300
		write(l, p, lag)
		l.Begin(p, nil).End([]Change{{"a", one[0].Row}, {"b", one[0].Row}}, false, lag)
		assert.True(t, l.View(p).Unsure)
		assert.Empty(t, l.View(p).Rows)
		assert.Zero(t, l.bytes)
	})
}

func TestKey(t *testing.T) {
	for _, same := range [][2]any{{"1", "1.00"}, {"0", "-0.0"}, {"100", "100"}} {
		assert.Equal(t, key(same[0].(string)), key(same[1].(string)))
	}
	two := []pushdown.Type{{Kind: pushdown.Text}, {Kind: pushdown.Text}}
	assert.NotEqual(t, Key(two, []pushdown.Value{{V: "a"}, {V: "bc"}}), Key(two, []pushdown.Value{{V: "ab"}, {V: "c"}}))
	assert.NotEqual(t, Key(two, []pushdown.Value{{V: ""}, {V: "x"}}), Key(two, []pushdown.Value{{}, {V: "x"}}))
	assert.Equal(t, Key(two[:1], []pushdown.Value{{V: "5"}}), Key([]pushdown.Type{{Kind: pushdown.Int8}}, []pushdown.Value{{V: int64(5)}}),
		"another table may have the key as text")
}
