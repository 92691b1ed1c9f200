package salesforce

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// loadTable is Everything__c, written by jobs as mode says.
func loadTable(t *testing.T, s *fake.Server, mode string, options map[string]string) (connectors.Table, connectors.TableSpec) {
	t.Helper()
	src := openSource(t, s)
	spec := imported(t.Context(), t, src, "everything__c")
	spec.Options["bulk_writes"] = mode
	for name, value := range options {
		spec.Options[name] = value
	}
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	return tab, spec
}

// written is a batch of rows: an id for each where the operation has keys, and values
// of the named columns.
func written(spec connectors.TableSpec, op connectors.Operation, names []string, list ...[]any) *connectors.Batch {
	at := func(name string) int {
		return slices.IndexFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Name == name })
	}
	b := &connectors.Batch{Op: op, Stats: &connectors.Stats{}, Jobs: true, IdempotencyKey: "k",
		Returning: rows.NewBuilder(nil, func([]byte, int) error { return nil }, rows.Options{})}
	for _, name := range names {
		b.Columns = append(b.Columns, at(name))
	}
	keyed := op == connectors.Update || op == connectors.Delete
	if keyed {
		b.KeyColumns = []int{at("id")}
	}
	if op == connectors.Upsert {
		b.MatchColumns = b.Columns[:1]
	}
	for _, values := range list {
		var row connectors.Row
		for i, v := range values {
			if keyed && i == 0 {
				row.Key = []pushdown.Value{{V: v}}
				continue
			}
			row.Values = append(row.Values, pushdown.Value{V: v})
		}
		b.Rows = append(b.Rows, row)
	}
	return b
}

func write(t *testing.T, tab connectors.Table, b *connectors.Batch) []connectors.Result {
	t.Helper()
	require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
	askedAgain(t, tab, b)
	return b.Results
}

// askedAgain has a job, if one has written rows, say the same of them when it is asked
// later.
func askedAgain(t *testing.T, tab connectors.Table, b *connectors.Batch) {
	t.Helper()
	if b.Job == "" {
		return
	}
	again := *b
	again.Rows, again.Results = nil, nil
	var want []connectors.Result
	for i, r := range b.Results {
		if r.Outcome != connectors.NotSent {
			again.Rows, want = append(again.Rows, b.Rows[i]), append(want, r)
		}
	}
	require.NoError(t, tab.(connectors.Loader).Loaded(t.Context(), b.Job, &again))
	for i, r := range again.Results {
		require.Equal(t, want[i].Outcome, r.Outcome, "row %d", i)
		require.Equal(t, want[i].Key, r.Key, "row %d", i)
	}
}

// said are results as texts: what a refusal says, or the outcome.
func said(list []connectors.Result) []string {
	var out []string
	for _, r := range list {
		switch {
		case r.Outcome == connectors.Applied && r.Created:
			out = append(out, "created")
		case r.Outcome == connectors.Applied:
			out = append(out, "applied")
		case r.Outcome == connectors.NotFound:
			out = append(out, "missing")
		case r.Outcome == connectors.NotSent:
			out = append(out, "later")
		case r.Outcome == 0:
			out = append(out, "?")
		case r.Bystander:
			out = append(out, "bystander: "+r.Err.Message)
		default:
			out = append(out, fmt.Sprintf("%d %s: %s", r.Err.Class, r.Err.Column, r.Err.Message))
		}
	}
	return out
}

// scanTyped reads columns as what they are.
func scanTyped(t *testing.T, tab connectors.Table, spec connectors.TableSpec, columns []int) [][]pushdown.Value {
	t.Helper()
	var types []pushdown.Type
	for _, c := range columns {
		types = append(types, spec.Columns[c].Type)
	}
	var out [][]pushdown.Value
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		list, err := rows.DecodeTuples(types, tuples, n)
		out = append(out, list...)
		return err
	}, rows.Options{})
	_, err := tab.Scan(t.Context(), connectors.Query{Request: pushdown.Request{Columns: columns}, Stats: &connectors.Stats{}}, b)
	require.NoError(t, err)
	require.NoError(t, b.Flush())
	return out
}

// gone waits until no job goes on.
func gone(t *testing.T, s *fake.Server) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Jobs() == 0 }, time.Minute, 5*time.Millisecond)
}

// What a job writes is what requests would have written, of all types.
func TestLoad_AsRequestsDo(t *testing.T) {
	t.Parallel()
	const n = 120
	from := fake.New(fake.Options{})
	defer from.Close()
	traps(t, from, n)
	clock := time.Now()
	var results [2][][]pushdown.Value
	for i, mode := range []string{"never", "always"} {
		s := fake.New(fake.Options{Clock: func() time.Time { return clock }, BulkPolls: 2})
		defer s.Close()
		traps(t, s, 0) // the accounts that are referred to
		tab, spec := loadTable(t, s, mode, nil)
		var names []string
		for c, col := range spec.Columns {
			if !slices.Contains(tab.Describe().ReadOnlyColumns, c) {
				names = append(names, col.Name)
			}
		}
		require.Greater(t, len(names), 15)
		all := written(spec, connectors.Insert, names)
		source, _ := loadTable(t, from, mode, nil)
		for _, row := range scanTyped(t, source, spec, all.Columns) {
			all.Rows = append(all.Rows, connectors.Row{Values: row})
		}
		breaks := []pushdown.Value{{V: "a\r\nb"}, {V: "a\nb"}, {V: "a\rb"}, {V: `"quoted", ""`}, {V: "ends with a comma,"}, {V: "="}, {V: "\ufeffmark"}}
		for k, v := range breaks {
			values := slices.Clone(all.Rows[k].Values)
			values[slices.Index(names, "long__c")] = v
			values[slices.Index(names, "key__c")] = pushdown.Value{V: fmt.Sprint("break ", k)}
			values[slices.Index(names, "exact__c")] = pushdown.Value{}
			all.Rows = append(all.Rows, connectors.Row{Values: values})
		}
		s.ResetCalls()
		for k, r := range write(t, tab, all) {
			require.Equal(t, connectors.Applied, r.Outcome, "%s: row %d: %v", mode, k, r.Err)
		}
		require.Equal(t, i, s.Calls()["bulk_ingest"])

		// What there was is changed and taken away, NULL and all.
		id := slices.IndexFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Name == "id" })
		ids := scanAll(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{id}}})
		require.Len(t, ids, len(all.Rows))
		turned := written(spec, connectors.Update, slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "key__c" || name == "exact__c" }))
		for k := range ids {
			row := connectors.Row{Key: ids[k]}
			for _, c := range turned.Columns {
				row.Values = append(row.Values, all.Rows[(k+7)%n].Values[slices.Index(all.Columns, c)])
			}
			turned.Rows = append(turned.Rows, row)
		}
		for k, r := range write(t, tab, turned) {
			require.Equal(t, connectors.Applied, r.Outcome, "%s: row %d: %v", mode, k, r.Err)
		}
		removed := written(spec, connectors.Delete, nil)
		for _, key := range ids[:30] {
			removed.Rows = append(removed.Rows, connectors.Row{Key: key})
		}
		require.Equal(t, slices.Repeat([]string{"applied"}, 30), said(write(t, tab, removed)))
		require.Equal(t, 3*i, s.Calls()["bulk_ingest"])
		require.Equal(t, i == 0, s.Calls()["collection_create"]+s.Calls()["collection_update"]+s.Calls()["collection_delete"] > 0)

		var columns []int
		for c, col := range spec.Columns {
			if col.Name != "id" {
				columns = append(columns, c)
			}
		}
		results[i] = scanTyped(t, tab, spec, columns)
		key := slices.IndexFunc(columns, func(c int) bool { return spec.Columns[c].Name == "key__c" })
		slices.SortFunc(results[i], func(a, b []pushdown.Value) int { return cmp.Compare(a[key].V.(string), b[key].V.(string)) })
		gone(t, s)
	}
	require.Len(t, results[1], n+7-30)
	for k := range results[0] {
		require.Equal(t, results[0][k], results[1][k])
	}
}

// Of rows that are equal each has an outcome, and as many of each as there were.
func TestLoad_EqualRows(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	tab, spec := loadTable(t, s, "always", nil)
	b := written(spec, connectors.Insert, []string{"name", "key__c"}, []any{"a", nil}, []any{"b", "k"}, []any{"a", nil}, []any{"b", "k"}, []any{"b", "k"}, []any{"c", nil}, []any{"a", nil})
	const twice = "duplicate value found: Key__c duplicates value on record with id: "
	got := said(write(t, tab, b))
	for _, i := range []int{3, 4} {
		require.Contains(t, got[i], "key__c: "+twice)
		require.Equal(t, connectors.UniqueViolation, b.Results[i].Err.Class)
		require.Contains(t, b.Results[i].Err.Detail, fmt.Sprintf("for row %d, code DUPLICATE_VALUE", i+1))
		got[i] = "no"
	}
	require.Equal(t, []string{"applied", "applied", "applied", "no", "no", "applied", "applied"}, got)
	var keys []string
	for _, r := range b.Results {
		keys = append(keys, r.Key...)
	}
	require.Len(t, keys, 5)
	id := slices.IndexFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Name == "id" })
	names := map[string]string{}
	for _, row := range scanAll(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{id, b.Columns[0]}}}) {
		names[row[0].V.(string)] = row[1].V.(string)
	}
	require.Len(t, names, 5)
	for i, want := range []string{"a", "b", "a", "c", "a"} {
		require.Equal(t, want, names[keys[i]], "the journal's key of a row is that of a record like it")
		delete(names, keys[i])
	}
}

// Refused rows do not keep the others from being written.
func TestLoad_Refused(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	ids, err := s.Insert("Everything__c", map[string]any{"Name": "1"}, map[string]any{"Name": "2"}, map[string]any{"Name": "3"}, map[string]any{"Name": "4"})
	require.NoError(t, err)
	require.NoError(t, s.Remove("Everything__c", ids[2]))
	tab, spec := loadTable(t, s, "always", nil)
	b := written(spec, connectors.Update, []string{"mail__c", "text__c"}, []any{ids[3], "d@example.com", nil}, []any{ids[1], "nowhere: at all", "x"}, []any{ids[2], nil, nil}, []any{ids[0], nil, "y"})
	require.Equal(t, []string{"applied", fmt.Sprintf("%d mail__c: Mail: invalid email address: nowhere: at all", connectors.CheckViolation), "missing", "applied"}, said(write(t, tab, b)))
	require.Equal(t, "INVALID_EMAIL_ADDRESS", b.Results[1].Err.Code)
	b = written(spec, connectors.Delete, nil, []any{ids[2]}, []any{ids[0]})
	require.Equal(t, []string{"missing", "applied"}, said(write(t, tab, b)))
	gone(t, s)
}

// An upsert by an external id tells which rows are new, and its rows have their turn.
func TestLoad_Upsert(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	_, err := s.Insert("Everything__c", map[string]any{"Name": "old", "Key__c": "K1", "Text__c": "stays"})
	require.NoError(t, err)
	tab, spec := loadTable(t, s, "always", nil)
	names := []string{"key__c", "name"}
	b := written(spec, connectors.Upsert, names, []any{"k1", "first"}, []any{"k2", "second"}, []any{"K2", "third"}, []any{"k3", "fourth"})
	require.Equal(t, []string{"applied", "created", "later", "later"}, said(write(t, tab, b)), "k2 and K2 are one record")
	b = written(spec, connectors.Upsert, names, []any{"K2", "third"}, []any{"k3", "fourth"})
	require.Equal(t, []string{"applied", "created"}, said(write(t, tab, b)))
	texts := slices.IndexFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Name == "text__c" })
	var got []string
	for _, row := range scanAll(t, tab, connectors.Query{Request: pushdown.Request{Columns: []int{b.Columns[1], texts}}}) {
		got = append(got, fmt.Sprint(row[0].V, " ", row[1].V))
	}
	require.ElementsMatch(t, []string{"first stays", "third <nil>", "fourth <nil>"}, got)
	require.Equal(t, 2, s.Calls()["bulk_ingest"])
}

// A statement that ends takes its job with it, and what that had written is known.
func TestLoad_Interrupted(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{BulkPolls: 1 << 30, IngestStep: 1})
	defer s.Close()
	tab, spec := loadTable(t, s, "always", nil)
	var list [][]any
	for i := range 100 {
		list = append(list, []any{fmt.Sprint(i)})
	}
	b := written(spec, connectors.Insert, []string{"name"}, list...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.ResetCalls()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		assert.Eventually(t, func() bool { return s.Calls()["bulk_poll"] >= 3 }, time.Minute, time.Millisecond)
		cancel()
	}()
	require.NoError(t, tab.(connectors.Modifier).Modify(ctx, b))
	<-stop
	askedAgain(t, tab, b)
	done := 0
	for i, r := range b.Results {
		if r.Outcome == connectors.Applied {
			done++
			continue
		}
		require.Equal(t, connectors.DeadlineExceeded, r.Err.Class)
		require.Contains(t, r.Err.Message, "the statement's time was over")
		require.Equal(t, i != done, r.Bystander, "row %d: the first of them says so", i)
	}
	require.GreaterOrEqual(t, done, 3)
	require.Less(t, done, 100)
	require.Len(t, scanAll(t, tab, connectors.Query{}), done)
	gone(t, s)
}

// Answers that are lost leave no doubt: nothing is written before the job is told to
// begin, and whether it has been shows in its state.
func TestLoad_LostAnswers(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	tab, spec := loadTable(t, s, "always", nil)
	b := func() *connectors.Batch {
		return written(spec, connectors.Insert, []string{"name"}, []any{"a"}, []any{"b"})
	}
	s.LoseNext("bulk_upload", 1)
	err := tab.(connectors.Modifier).Modify(t.Context(), b())
	e, ok := errorOf(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, connectors.Unavailable, e.Class)
	require.Contains(t, e.Message, "none of them is written")
	require.Empty(t, scanAll(t, tab, connectors.Query{}))
	gone(t, s)
	s.ResetCalls()
	s.LoseNext("bulk_close", 1)
	require.Equal(t, []string{"applied", "applied"}, said(write(t, tab, b())))
	require.Equal(t, 1, s.Calls()["bulk_close"], "it is not told twice")
	require.Len(t, scanAll(t, tab, connectors.Query{}), 2)
	gone(t, s)
}

// Of a job that the API gives up some rows are written.
func TestLoad_Failed(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{BulkPolls: 2, IngestStep: 1, IngestFailure: "UNABLE_TO_LOCK_ROW : too many lock contentions"})
	defer s.Close()
	s.FailRow("b", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "no b")
	tab, spec := loadTable(t, s, "always", nil)
	insert := func(names ...any) []string {
		var list [][]any
		for _, name := range names {
			list = append(list, []any{name})
		}
		return said(write(t, tab, written(spec, connectors.Insert, []string{"name"}, list...)))
	}
	const why = `the job that writes Everything__c has ended as "Failed": UNABLE_TO_LOCK_ROW : too many lock contentions`
	require.Equal(t, []string{"applied", "applied", "applied", fmt.Sprintf("%d : %s", connectors.Locked, why), "bystander: " + why}, insert("a", "c", "d", "e", "f"))
	require.Equal(t, []string{"applied", fmt.Sprintf("%d : no b", connectors.CheckViolation), "applied", "bystander: " + why}, insert("g", "b", "h", "i"))
	require.Len(t, scanAll(t, tab, connectors.Query{}), 5)
	gone(t, s)
}

// When rows go by jobs, and when by requests.
func TestLoad_When(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	soon, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	auto := map[string]string{"bulk_write_rows": "3"}
	three := [][]any{{"a"}, {"b"}, {"c"}}
	for _, c := range []struct {
		name, mode string
		options    map[string]string
		list       [][]any
		change     func(b *connectors.Batch)
		ctx        context.Context
		job        bool
	}{
		{"enough rows", "auto", auto, three, nil, nil, true},
		{"too few rows", "auto", auto, three[:2], nil, nil, false},
		{"as the manifest says", "auto", nil, three, nil, nil, false},
		{"not wanted", "never", auto, three, nil, nil, false},
		{"forced", "always", auto, three[:2], nil, nil, true},
		{"one row", "always", nil, three[:1], nil, nil, false},
		{"little time", "auto", auto, three, nil, soon, false},
		{"little time, forced", "always", nil, three, nil, soon, true},
		{"nobody waits", "always", nil, three, func(b *connectors.Batch) { b.Jobs = false }, nil, false},
		{"RETURNING", "always", nil, three, func(b *connectors.Batch) { b.ReturningColumns = []int{0} }, nil, false},
		{"what NULL is called", "always", nil, [][]any{{"a"}, {"#N/A"}}, nil, nil, false},
		{"blanks", "always", nil, [][]any{{"a"}, {" "}}, nil, nil, false},
		{"no text", "always", nil, [][]any{{"a"}, {""}}, nil, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab, spec := loadTable(t, s, c.mode, c.options)
			b := written(spec, connectors.Insert, []string{"name"}, c.list...)
			b.Returning = rows.NewBuilder([]pushdown.Type{sqlTypes["text"]}, func([]byte, int) error { return nil }, rows.Options{})
			if c.change != nil {
				c.change(b)
			}
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			s.ResetCalls()
			require.NoError(t, tab.(connectors.Modifier).Modify(c.ctx, b))
			require.Equal(t, slices.Repeat([]string{"applied"}, len(c.list)), said(b.Results))
			require.Equal(t, c.job, s.Calls()["bulk_ingest"] == 1)
			require.NotEqual(t, c.job, s.Calls()["collection_create"]+s.Calls()["create"] > 0)
		})
	}
	tab, spec := loadTable(t, s, "auto", auto)
	s.FailNext(1, 400, "FEATURENOTENABLED", "Bulk API is not enabled for this org")
	require.Equal(t, []string{"applied", "applied", "applied"}, said(write(t, tab, written(spec, connectors.Insert, []string{"name"}, three...))), "by requests instead")
	tab, spec = loadTable(t, s, "always", nil)
	s.FailNext(1, 400, "FEATURENOTENABLED", "Bulk API is not enabled for this org")
	err := tab.(connectors.Modifier).Modify(t.Context(), written(spec, connectors.Insert, []string{"name"}, three...))
	require.ErrorContains(t, err, "Bulk API is not enabled", "who says always does not get anything else")

	requests, err := tab.(connectors.Modifier).Requests(written(spec, connectors.Upsert, []string{"key__c", "name"}, []any{"k", "a"}, []any{"l", "b"}))
	require.NoError(t, err)
	require.Equal(t, []string{`POST /services/data/v62.0/jobs/ingest {"object":"Everything__c","operation":"upsert","contentType":"CSV","lineEnding":"LF","columnDelimiter":"COMMA","externalIdFieldName":"Key__c"}`,
		"PUT /services/data/v62.0/jobs/ingest/ID/batches with 2 rows of CSV"}, requests)

	d := tab.Describe()
	require.Equal(t, connectors.BatchRows{Insert: 20000, Update: 20000, Delete: 20000, Upsert: 20000}, d.Jobs)
	tab, _ = loadTable(t, s, "never", nil)
	require.Zero(t, tab.Describe().Jobs)
	src := openSource(t, s)
	for name, value := range map[string]string{"bulk_writes": "sometimes", "bulk_write_rows": "1"} {
		_, err := src.Table(t.Context(), connectors.TableSpec{Name: "everything__c", Options: map[string]string{name: value}})
		require.ErrorContains(t, err, name)
	}
}

func TestJobError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"INVALID_EMAIL_ADDRESS:Email: invalid email address: x:Email --":                                 `[{"message":"Email: invalid email address: x","statusCode":"INVALID_EMAIL_ADDRESS","fields":["Email"]}]`,
		"REQUIRED_FIELD_MISSING:Required fields are missing: [A, B]:A,B --":                              `[{"message":"Required fields are missing: [A, B]","statusCode":"REQUIRED_FIELD_MISSING","fields":["A","B"]}]`,
		"DUPLICATE_VALUE:duplicate value found: K__c duplicates value on record with id: 001Hw000001:--": `[{"message":"duplicate value found: K__c duplicates value on record with id: 001Hw000001","statusCode":"DUPLICATE_VALUE","fields":null}]`,
		"ENTITY_IS_DELETED:entity is deleted:--":                                                         `[{"message":"entity is deleted","statusCode":"ENTITY_IS_DELETED","fields":null}]`,
		"INVALID_FIELD:two lines\nof words: and more":                                                    `[{"message":"two lines\nof words: and more","statusCode":"INVALID_FIELD","fields":null}]`,
		"something else": `[{"message":"something else","statusCode":"","fields":null}]`,
	} {
		require.JSONEq(t, want, string(jobError(text)), text)
	}
}
