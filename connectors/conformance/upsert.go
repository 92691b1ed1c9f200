package conformance

// Tests of upserts, and of writes that are sent again.

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// match are the positions of the columns that rows are upserted by.
func (h *harness) match() []int {
	var list []int
	for i, name := range h.names {
		if slices.Contains(h.Writes.Match, name) {
			list = append(list, i)
		}
	}
	return list
}

func testUpsert(t *testing.T, h *harness) {
	m := h.modifier(t)
	u, ok := m.(connectors.Upserter)
	if !ok {
		t.Skip("the subject's table is no Upserter")
	}
	h.noCalls(t, func() { require.False(t, u.Upserts(nil), "no columns find no row") })
	if len(h.Writes.Match) == 0 {
		t.Skip("the subject names no columns to upsert by")
	}
	h.noCalls(t, func() { require.True(t, u.Upserts(h.match())) })
	before := len(h.mustScan(t, connectors.Query{}))

	// Two new rows, then one of them changed among two others.
	first := []Row{h.Writes.Insert(300), h.Writes.Insert(301)}
	b := h.batch(connectors.Upsert, nil, first)
	made := h.mustModify(t, m, b)
	for i, row := range made {
		require.True(t, b.Results[i].Created, "row %d is new", i)
		h.requireHas(t, row, first[i])
	}
	require.Len(t, h.mustScan(t, connectors.Query{}), before+2)

	second := []Row{h.Writes.Insert(302), maps.Clone(first[0]), h.Writes.Insert(303)}
	change := Row{}
	if h.Writes.Update != nil {
		for name, v := range h.Writes.Update(2) {
			if _, given := first[0][name]; given && !slices.Contains(h.Writes.Match, name) {
				change[name] = v
			}
		}
		require.NotEmpty(t, change, "Update changes a column of Insert")
	}
	maps.Copy(second[1], change)
	b = h.batch(connectors.Upsert, nil, second)
	list, err := m.Requests(b)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	back := h.mustModify(t, m, b)
	for i, row := range back {
		require.Equal(t, i != 1, b.Results[i].Created, "row %d", i)
		h.requireHas(t, row, second[i])
		found := h.find(t, h.keyOf(row))
		require.Len(t, found, 1, "what was upserted can be read")
		h.requireHas(t, found[0], second[i])
	}
	require.Equal(t, h.keyOf(made[0]), h.keyOf(back[1]), "it is the row that was there")
	require.Len(t, h.mustScan(t, connectors.Query{}), before+4, "nothing is there twice")

	// A row with the match columns alone leaves the others as they are.
	only := Row{}
	for _, name := range h.Writes.Match {
		only[name] = first[0][name]
	}
	if refused := h.tryUpsert(t, m, only); refused == nil {
		h.requireHas(t, h.find(t, h.keyOf(made[0]))[0], second[1])
	}

	// A refused row is as typed as that of an INSERT.
	for i, refusal := range h.Writes.Refused {
		row := h.Writes.Insert(310 + i)
		change := maps.Clone(refusal.Change)
		touches := slices.ContainsFunc(h.Writes.Match, func(name string) bool { _, is := change[name]; return is })
		if refusal.Class == connectors.UniqueViolation || touches {
			continue // it would find a row, or none
		}
		for name, v := range change {
			if row[name] = v; v.V == (Omit{}) {
				delete(row, name)
			}
		}
		e := h.tryUpsert(t, m, row)
		require.NotNil(t, e, refusal.Name)
		require.Equal(t, refusal.Class, e.Class, "%s: %v", refusal.Name, e)
	}
	require.Len(t, h.mustScan(t, connectors.Query{}), before+4, "what was refused was not written")
	if h.Writes.Delete {
		keys := [][]pushdown.Value{h.keyOf(made[0]), h.keyOf(made[1]), h.keyOf(back[0]), h.keyOf(back[2])}
		h.mustModify(t, m, h.batch(connectors.Delete, keys, nil))
	}
}

// tryUpsert upserts one row and gives its refusal; nil: it was applied.
func (h *harness) tryUpsert(t *testing.T, m connectors.Modifier, row Row) *connectors.Error {
	t.Helper()
	b := h.batch(connectors.Upsert, nil, []Row{row})
	_, err := h.modify(t.Context(), m, b)
	require.NoError(t, err, "a refused row is a result")
	if b.Results[0].Outcome == connectors.Applied {
		return nil
	}
	require.Equal(t, connectors.Refused, b.Results[0].Outcome)
	require.NotNil(t, b.Results[0].Err)
	return b.Results[0].Err
}

// testIdempotent sends writes again under their keys: as a reconciler does that
// never got the first answer.
func testIdempotent(t *testing.T, h *harness) {
	m := h.modifier(t)
	if !h.table.Describe().Idempotent {
		t.Skip("the subject says nothing of repeated keys")
	}
	if h.Writes.Insert == nil {
		t.Skip("the subject takes no new rows")
	}
	before := len(h.mustScan(t, connectors.Query{}))
	send := func(key string, b *connectors.Batch) [][]pushdown.Value {
		b.IdempotencyKey = key
		return h.mustModify(t, m, b)
	}
	same := func(a, b [][]pushdown.Value) {
		t.Helper()
		require.Equal(t, len(a), len(b))
		for i := range a {
			require.Equal(t, rowText(h.types, a[i]), rowText(h.types, b[i]), "the first answer")
		}
	}
	given := []Row{h.Writes.Insert(400), h.Writes.Insert(401), h.Writes.Insert(402)}
	made := send("conformance-i", h.batch(connectors.Insert, nil, given))
	same(made, send("conformance-i", h.batch(connectors.Insert, nil, given)))
	require.Len(t, h.mustScan(t, connectors.Query{}), before+3, "it was done once")
	if r, ok := m.(connectors.Replayer); ok {
		same(made, testRequestsAgain(t, h, r, given))
		require.Len(t, h.mustScan(t, connectors.Query{}), before+3, "it was done once")
	}
	other := send("conformance-o", h.batch(connectors.Insert, nil, []Row{h.Writes.Insert(403)}))
	require.NotEqual(t, h.keyOf(made[0]), h.keyOf(other[0]), "another key is another write")

	if h.Writes.Update != nil {
		key := [][]pushdown.Value{h.keyOf(made[0])}
		first := send("conformance-u", h.batch(connectors.Update, key, []Row{h.Writes.Update(3)}))
		send("conformance-v", h.batch(connectors.Update, key, []Row{h.Writes.Update(4)}))
		again := send("conformance-u", h.batch(connectors.Update, key, []Row{h.Writes.Update(3)}))
		require.Equal(t, h.keyOf(first[0]), h.keyOf(again[0])) // its fields may be read anew
		h.requireHas(t, h.find(t, key[0])[0], h.Writes.Update(4))
	}
	if h.Writes.Delete {
		var keys [][]pushdown.Value
		for _, row := range append(made, other...) {
			keys = append(keys, h.keyOf(row))
		}
		for again := range 2 {
			b := h.batch(connectors.Delete, keys, nil)
			b.ReturningColumns, b.IdempotencyKey = nil, "conformance-d"
			_, err := h.modify(t.Context(), m, b)
			require.NoError(t, err)
			for i, r := range b.Results {
				gone := again == 1 && r.Outcome == connectors.NotFound
				require.True(t, gone || r.Outcome == connectors.Applied, "row %d of a deletion that is sent again: %v", i, r.Err)
			}
		}
		require.Len(t, h.mustScan(t, connectors.Query{}), before)
	}
}

// testRequestsAgain sends the requests of a batch that was made under the key
// "conformance-i" again, each by itself, and gives what they answer.
func testRequestsAgain(t *testing.T, h *harness, r connectors.Replayer, given []Row) (back [][]pushdown.Value) {
	t.Helper()
	whole := h.batch(connectors.Insert, nil, given)
	whole.IdempotencyKey = "conformance-i"
	keys, err := r.RequestKeys(whole)
	require.NoError(t, err)
	require.Len(t, keys, len(given))
	for first, end := 0, 0; first < len(given); first = end {
		for end = first; end < len(given) && keys[end] == keys[first]; {
			end++
		}
		b := h.batch(connectors.Insert, nil, given[first:end])
		b.IdempotencyKey, b.FirstRow, b.Again = whole.IdempotencyKey, first, keys[first]
		back = append(back, h.mustModify(t, r, b)...)
		b.Again = connectors.RequestKey(whole.IdempotencyKey, first, end-first+1)
		_, err := h.modify(t.Context(), r, b)
		var e *connectors.Error
		require.ErrorAs(t, err, &e, "what would be another request is not sent again")
		require.Equal(t, connectors.NotSupported, e.Class)
	}
	return back
}
