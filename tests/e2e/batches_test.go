package e2e

import (
	"context"
	wire "encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/tests/fakes"
)

// atomicAPI is an API whose batches are applied as a whole or not at all: of t no
// two are equal, "bad" is none, and "busy" is in use.
type atomicAPI struct {
	mu    sync.Mutex
	rows  []string
	calls []*hallwayv1.ModifyRequest
	// patience, if not nil, is how many rows of a call it comes to.
	patience *int
}

func (a *atomicAPI) modify(_ context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, r)
	texts := column(r.GetTuples(), 1)
	out := &hallwayv1.ModifyResponse{}
	if a.patience != nil && len(texts) > *a.patience {
		defer func() {
			for range len(column(r.GetTuples(), 1)) - len(texts) {
				out.Results = append(out.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_NOT_SENT})
			}
		}()
		texts = texts[:*a.patience]
	}
	for range texts {
		out.Results = append(out.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED})
	}
	for i, text := range texts {
		refusal := &hallwayv1.Error{ColumnName: "t"}
		switch {
		case slices.Contains(a.rows, text) || slices.Contains(texts[:i], text):
			refusal.Sqlstate, refusal.Message = "23505", "t must be unique"
		case text == "bad":
			refusal.Sqlstate, refusal.Message = "23514", "t is bad"
		case text == "busy":
			refusal.Sqlstate, refusal.Message, refusal.HttpStatus = "55000", "t is in use", 409
		default:
			continue
		}
		for j := range out.GetResults() {
			out.Results[j] = &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED, Bystander: true,
				Error: &hallwayv1.Error{Sqlstate: "23505", Message: "another row was refused"}}
		}
		out.Results[i] = &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED, Error: refusal}
		return out, nil
	}
	a.rows = append(a.rows, texts...)
	return out, nil
}

// column reads the text in one place of each tuple.
func column(tuples []byte, at int) []string {
	var out []string
	for len(tuples) > 0 {
		n := int(wire.BigEndian.Uint16(tuples))
		tuples = tuples[2:]
		for i := range n {
			size := wire.BigEndian.Uint32(tuples)
			tuples = tuples[4:]
			if size == 0xffffffff {
				size = 0
			}
			if i == at {
				out = append(out, string(tuples[:size]))
			}
			tuples = tuples[size:]
		}
	}
	return out
}

// Rows that were in the way of others are passed over, and the others are sent
// again: each is written once, and counted.
func TestBatch_DoNothingWhereBatchesAreAtomic(t *testing.T) {
	a := &atomicAPI{rows: []string{"3", "4", "11"}}
	_, c := bridge(t, &fakes.Bridge{OnModify: a.modify})
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD batch_size '5')")
	require.Equal(t, "INSERT 0 10", c.Exec(
		"INSERT INTO f SELECT i, CASE i WHEN 13 THEN '12' ELSE i::text END FROM generate_series(1, 14) i ON CONFLICT DO NOTHING"))
	slices.Sort(a.rows)
	require.Equal(t, []string{"1", "10", "11", "12", "14", "2", "3", "4", "5", "6", "7", "8", "9"}, a.rows)
	require.Len(t, a.calls, 3+1+3, "two duplicates in the first five, none, two in the last four")
	keys := map[string]bool{}
	for _, call := range a.calls {
		keys[call.GetIdempotencyKey()] = true
	}
	require.Len(t, keys, len(a.calls))
	require.Equal(t, "INSERT 0 0", c.Exec("INSERT INTO f SELECT i, i::text FROM generate_series(1, 8) i ON CONFLICT DO NOTHING"))
}

// Rows that a call has not come to go by another, once and in their order.
func TestBatch_RowsNotSentGoAgain(t *testing.T) {
	patience := 4
	a := &atomicAPI{rows: []string{"3"}, patience: &patience}
	_, c := bridge(t, &fakes.Bridge{OnModify: a.modify})
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD batch_size '100')")
	require.Equal(t, "INSERT 0 9", c.Exec("INSERT INTO f SELECT i, i::text FROM generate_series(1, 10) i ON CONFLICT DO NOTHING"))
	require.Equal(t, []string{"3", "1", "2", "4", "5", "6", "7", "8", "9", "10"}, a.rows)
	var sizes []uint32
	keys := map[string]bool{}
	for _, call := range a.calls {
		sizes = append(sizes, call.GetRows())
		keys[call.GetIdempotencyKey()] = true
	}
	require.Equal(t, []uint32{10, 9, 5, 1}, sizes)
	require.Len(t, keys, 4)
	require.Equal(t, uint64(9), a.calls[3].GetRowsBefore())

	a.calls = nil
	e := c.Fails("23514", "INSERT INTO f SELECT i, CASE i WHEN 7 THEN 'bad' ELSE 'x' || i END FROM generate_series(1, 10) i")
	require.True(t, strings.HasPrefix(e.Detail, "Row 7 of the statement has (t)=(bad)."), e.Detail)
	require.Equal(t, []string{"x1", "x2", "x3", "x4"}, a.rows[10:])
	require.Len(t, a.calls, 2)

	a.calls, patience = nil, 0
	c.Fails("08007", "INSERT INTO f VALUES (1, 'a'), (2, 'b')")
	require.Len(t, a.calls, 1, "a sidecar that sends nothing is not asked for ever")
}

// The error is that of the row which is to blame.
func TestBatch_CulpritAmongBystanders(t *testing.T) {
	a := &atomicAPI{}
	_, c := bridge(t, &fakes.Bridge{OnModify: a.modify})
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD batch_size '4')")
	e := c.Fails("23514", "INSERT INTO f SELECT i, CASE i WHEN 7 THEN 'bad' ELSE i::text END FROM generate_series(1, 10) i")
	require.Equal(t, "t is bad", e.Message)
	require.True(t, strings.HasPrefix(e.Detail, "Row 7 of the statement has (t)=(bad)."), e.Detail)
	require.Equal(t, []string{"1", "2", "3", "4"}, a.rows)
	e = c.Fails("23505", "INSERT INTO f VALUES (1, '20'), (2, '21'), (3, '20')")
	require.True(t, strings.HasPrefix(e.Detail, "Key (t)=(20) already exists. Row 3 of the statement."), e.Detail)
	require.Equal(t, "t", e.ColumnName)
}

// A conflict may be tried again only while nothing has been applied.
func TestBatch_ConflictsAreSerializationFailuresOnlyBeforeAnyWrite(t *testing.T) {
	a := &atomicAPI{}
	_, c := bridge(t, &fakes.Bridge{OnModify: a.modify})
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD batch_size '2')")
	c.Fails("40001", "INSERT INTO f VALUES (1, 'busy')")
	c.Fails("40001", "INSERT INTO f VALUES (1, 'a'), (2, 'busy')")
	c.Fails("55000", "INSERT INTO f VALUES (1, 'b'), (2, 'c'), (3, 'busy')")
	c.Exec("BEGIN")
	c.Exec("INSERT INTO f VALUES (1, 'd')")
	c.Fails("55000", "INSERT INTO f VALUES (1, 'busy')")
	c.Exec("ROLLBACK")
	c.Fails("40001", "INSERT INTO f VALUES (1, 'busy')")
}

// An answer that does not say what became of each row is no answer.
func TestBatch_AnswersThatSayTooLittle(t *testing.T) {
	applied := &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED}
	bystander := &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED, Bystander: true,
		Error: &hallwayv1.Error{Sqlstate: "23505", Message: "another row was refused"}}
	var results []*hallwayv1.RowResult
	calls := 0
	_, c := bridge(t, &fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
		calls++
		return &hallwayv1.ModifyResponse{Results: results}, nil
	}})
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD batch_size '3')")
	const three = "INSERT INTO f SELECT i, 'x' FROM generate_series(1, 3) i"
	for name, tt := range map[string]struct {
		results  []*hallwayv1.RowResult
		sqlstate string
	}{
		"too few":            {[]*hallwayv1.RowResult{applied, applied}, "08007"},
		"too many":           {[]*hallwayv1.RowResult{applied, applied, applied, applied}, "08007"},
		"no outcome":         {[]*hallwayv1.RowResult{applied, {}, applied}, "08007"},
		"a new outcome":      {[]*hallwayv1.RowResult{applied, {Outcome: 77}, applied}, "08007"},
		"refused, not why":   {[]*hallwayv1.RowResult{applied, {Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED}, applied}, "08007"},
		"bystanders of none": {[]*hallwayv1.RowResult{bystander, bystander, bystander}, "23505"},
	} {
		results, calls = tt.results, 0
		for _, sql := range []string{three, three + " ON CONFLICT DO NOTHING"} {
			c.Fails(tt.sqlstate, "%s", sql)
		}
		require.Equal(t, 2, calls, "%s: each was sent once", name)
	}
	// One that makes no headway with others does not go on for ever.
	results = []*hallwayv1.RowResult{bystander, applied, bystander}
	c.Fails("08007", "%s ON CONFLICT DO NOTHING", three)
}

// DEFAULT and NULL in several rows of VALUES are one to a wrapper. Where the API
// has no NULL it is DEFAULT; elsewhere NULL, as for a local table without defaults.
func TestBatch_DefaultInSomeRows(t *testing.T) {
	var got []string
	_, c := bridge(t, &fakes.Bridge{
		OnDescribe: func(*hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
			return &hallwayv1.DescribeResponse{KeyColumns: []uint32{0}, Insertable: true, InsertRows: 10, UnnullableColumns: []uint32{1}}, nil
		},
		OnModify: func(_ context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
			got = append(got, fmt.Sprintf("%d of %v", r.GetRows(), r.GetColumns()))
			out := &hallwayv1.ModifyResponse{}
			for range r.GetRows() {
				out.Results = append(out.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED})
			}
			return out, nil
		},
	})
	c.Exec("ALTER FOREIGN TABLE f ADD COLUMN n int4")
	for _, tt := range []struct {
		sql  string
		want []string
	}{
		{"INSERT INTO f (i, t) VALUES (1, DEFAULT), (2, DEFAULT)", []string{"2 of [0]"}},
		{"INSERT INTO f (i, t) VALUES (1, 'x'), (2, DEFAULT), (3, NULL), (4, 'y')", []string{"1 of [0 1]", "2 of [0]", "1 of [0 1]"}},
		{"INSERT INTO f (i, n) VALUES (1, DEFAULT), (2, 5)", []string{"2 of [0 2]"}},
		{"INSERT INTO f (i, t, n) VALUES (1, DEFAULT, NULL), (2, 'x', DEFAULT)", []string{"1 of [0 2]", "1 of [0 1 2]"}},
		// By itself a NULL is one, and the API refuses it in its own words.
		{"INSERT INTO f (i, t) VALUES (1, NULL)", []string{"1 of [0 1]"}},
		{"INSERT INTO f (i, t) SELECT i, NULL FROM generate_series(1, 2) i", []string{"2 of [0 1]"}},
		{"PREPARE p (text) AS INSERT INTO f (i, t) VALUES (1, $1), (2, 'y'); EXECUTE p ('x'); EXECUTE p (NULL)",
			[]string{"2 of [0 1]", "1 of [0]", "1 of [0 1]"}},
		{"SET plan_cache_mode = force_generic_plan; EXECUTE p (NULL)", []string{"1 of [0]", "1 of [0 1]"}},
	} {
		got = nil
		c.Exec("%s", tt.sql)
		require.Equal(t, tt.want, got, tt.sql)
	}
}

// What the sidecar is told of a write besides its rows.
func TestBatch_RequestSaysHow(t *testing.T) {
	var got []*hallwayv1.ModifyRequest
	b := &fakes.Bridge{
		OnDescribe: func(*hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
			return &hallwayv1.DescribeResponse{KeyColumns: []uint32{0}, Insertable: true, Updatable: true, Deletable: true,
				InsertRows: 4, UpdateRows: 3, DeleteRows: 5, UpsertRows: 6}, nil
		},
		OnScan: func(r *hallwayv1.ScanRequest, s stream) error {
			var tuples []byte
			for i := range int32(7) {
				values := [][]byte{fakes.Int4(i + 1), fmt.Appendf(nil, "old%d", i%2)}
				tuples = append(tuples, fakes.Tuple(values[:len(r.GetColumns())]...)...)
			}
			return fakes.SendAll(s, fakes.Header(), fakes.Batch(7, tuples), fakes.Footer())
		},
	}
	b.OnModify = func(_ context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
		got = append(got, r)
		out := &hallwayv1.ModifyResponse{}
		for range r.GetRows() {
			out.Results = append(out.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED})
		}
		return out, nil
	}
	_, c := bridge(t, b)
	sizes := func(sql string) (list []uint32) {
		t.Helper()
		got = nil
		c.Exec("%s", sql)
		for _, r := range got {
			list = append(list, r.GetRows())
		}
		return list
	}

	// As many as the API takes at once.
	require.Equal(t, []uint32{4, 4, 2}, sizes("INSERT INTO f SELECT i, 'x' FROM generate_series(1, 10) i"))
	require.Equal(t, uint64(4), got[1].GetRowsBefore())
	require.Empty(t, got[1].GetRowNumbers())
	require.Equal(t, hallwayv1.OnRollback_ON_ROLLBACK_KEEP, got[0].GetOnRollback())
	require.False(t, got[0].GetUnjournaled() || got[0].GetValuesUnjournaled() || got[0].GetAfterCommit() || got[0].GetSkipUnchanged())
	require.Equal(t, []uint32{5, 2}, sizes("DELETE FROM f"))
	require.Equal(t, []uint32{3, 3, 1}, sizes("UPDATE f SET t = 'new' || i"))

	// Rows of an UPDATE go with those of the same columns, whatever lies between.
	c.Exec("ALTER FOREIGN TABLE f ADD COLUMN n int4")
	b.OnScan = func(r *hallwayv1.ScanRequest, s stream) error {
		var tuples []byte
		for i := range int32(6) {
			values := [][]byte{fakes.Int4(i + 1), []byte("same"), fakes.Int4(i % 2)}
			tuples = append(tuples, fakes.Tuple(values[:len(r.GetColumns())]...)...)
		}
		return fakes.SendAll(s, fakes.Header(), fakes.Batch(6, tuples), fakes.Footer())
	}
	require.Equal(t, []uint32{3, 3}, sizes("UPDATE f SET n = 1, t = 'other'"))
	require.Equal(t, []uint64{1, 3, 5}, got[0].GetRowNumbers())
	require.Equal(t, []uint32{1, 2}, got[0].GetColumns())
	require.Equal(t, []uint64{2, 4, 6}, got[1].GetRowNumbers())
	require.Equal(t, []uint32{1}, got[1].GetColumns())

	// Options, and settings over them.
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD journal 'false', ADD batch_size '50')")
	require.Equal(t, []uint32{10}, sizes("INSERT INTO f SELECT i, 'x' FROM generate_series(1, 10) i"))
	require.True(t, got[0].GetUnjournaled())
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (SET journal 'true', ADD journal_values 'false')")
	require.Equal(t, []uint32{1}, sizes("INSERT INTO f VALUES (1, 'x')"))
	require.True(t, got[0].GetValuesUnjournaled() && !got[0].GetUnjournaled())
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (DROP journal_values, ADD upsert_key 'i', ADD on_rollback 'compensate')")
	require.Equal(t, []uint32{3, 2}, sizes("INSERT INTO f VALUES (1, 'x'), (2, 'x'), (3, 'x'), (1, 'y'), (2, 'y')"))
	require.Equal(t, hallwayv1.Operation_OPERATION_UPSERT, got[0].GetOperation())
	require.Equal(t, []uint32{0}, got[0].GetMatchColumns())
	require.Equal(t, hallwayv1.OnRollback_ON_ROLLBACK_COMPENSATE, got[0].GetOnRollback())
	require.True(t, got[0].GetSkipUnchanged())
	require.Equal(t, uint64(3), got[1].GetRowsBefore())
	c.Exec("SET hallway.on_rollback = 'keep'; SET hallway.write_at = 'after_commit'")
	require.Equal(t, []uint32{1}, sizes("INSERT INTO f VALUES (1, 'x')"))
	require.Equal(t, hallwayv1.OnRollback_ON_ROLLBACK_KEEP, got[0].GetOnRollback())
	require.True(t, got[0].GetAfterCommit())

	// A table's option goes over its server's, and the setting auto over neither.
	c.Exec("SET hallway.on_rollback = auto; SET hallway.write_at = auto; ALTER FOREIGN TABLE f OPTIONS (DROP on_rollback, DROP upsert_key); ALTER SERVER fake OPTIONS (ADD on_rollback 'compensate', ADD write_at 'after_commit')")
	require.Equal(t, []uint32{1}, sizes("INSERT INTO f VALUES (1, 'x')"))
	require.Equal(t, hallwayv1.OnRollback_ON_ROLLBACK_COMPENSATE, got[0].GetOnRollback())
	require.True(t, got[0].GetAfterCommit())
	c.Exec("ALTER FOREIGN TABLE f OPTIONS (ADD on_rollback 'keep', ADD write_at 'statement')")
	require.Equal(t, []uint32{1}, sizes("INSERT INTO f VALUES (1, 'x')"))
	require.Equal(t, hallwayv1.OnRollback_ON_ROLLBACK_KEEP, got[0].GetOnRollback())
	require.False(t, got[0].GetAfterCommit())

	// Statements of one transaction go together at the commit.
	c.Exec("SET hallway.write_at = 'commit'")
	c.Exec("BEGIN")
	require.Empty(t, sizes("INSERT INTO f VALUES (1, 'x')"))
	require.Empty(t, sizes("INSERT INTO f VALUES (2, 'x')"))
	require.Empty(t, sizes("DELETE FROM f"))
	require.Empty(t, sizes("INSERT INTO f VALUES (3, 'x'), (4, 'y')"))
	require.Equal(t, []uint32{2, 6, 2}, sizes("COMMIT"))
	require.NotZero(t, got[0].GetTransaction().GetXid())
}
