// Package conformance is the suite of tests that every connector passes: what
// the interface in connectors promises, asked of a real object.
//
// This file is the subject and the list of tests; the tests are in files by
// topic, the random expressions in generate.go.
package conformance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Subject is a connector with an object to try it on.
type Subject struct {
	Connector connectors.Connector
	// Env to open it with; Log is replaced.
	Env    connectors.Env
	Server connectors.ServerSpec
	// Table shows an object that nobody else changes during the tests. It
	// should have at least 30 rows, NULLs, and texts that differ in case only.
	Table connectors.TableSpec
	// MinPages is the number of pages that a full scan takes at least; the
	// tests of cancelling want 3. 0: not known, and those tests are left out.
	MinPages int
	// Calls counts what the API received so far, as the API tells; nil: the
	// tests of what calls it are left out.
	Calls func() int64
	// Secret stands in Server.Credential and must show up nowhere.
	Secret string
	// RemoteSchema that Import takes.
	RemoteSchema string
	// MinPushed is the share, from 0 to 1, of the conjuncts of random queries
	// that must not be answered Local: proof that pushdown happens.
	MinPushed float64
	// Queries is the number of random queries; 0: 300, or 60 with -short.
	Queries int
	// Seed of the random queries; 0: one that is printed.
	Seed uint64
	// Writes is nil for a table that is read only.
	Writes *Writes
	// Delay before a scan sees what was written, as search indexes need it;
	// called after each write, may be nil.
	Settle func()
}

// Row is values by the columns' names; what is left out is omitted.
type Row map[string]pushdown.Value

// Writes says how the table can be written.
type Writes struct {
	// Insert is a valid new row, different for every n; nil: no INSERT.
	Insert func(n int) Row
	// Update is a valid change of any row, different for every n; nil: none.
	Update func(n int) Row
	// Delete says that rows can be deleted.
	Delete bool
	// Match are the columns by which rows are upserted, each with a value in every
	// row of Insert; for an Upserter. Empty: its tests are left out.
	Match []string
	// MissingKey identifies no row, in the order of Description.Key.
	MissingKey []pushdown.Value
	// Refused are changes of Insert(n) that the API does not accept.
	Refused []Refusal
}

// Refusal is a row that the API refuses.
type Refusal struct {
	Name string
	// Change is put over a valid row; a value {V: Omit} leaves the column out.
	Change Row
	Class  connectors.Class
	// Column that the error names; empty: none is asked for.
	Column string
}

// Omit as a Value's V in Refusal.Change takes the column out of the row.
type Omit struct{}

// Run runs the whole suite as subtests of t.
func Run(t *testing.T, s Subject) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, *harness)
	}{
		{"Describe_IsStableAndInBounds", testDescribe},
		{"Plan_CallsNothingAndAnswersTheSame", testPlan},
		{"Request_CallsNothingAndNamesNoSecret", testRequest},
		{"Scan_IsRepeatable", testRepeatable},
		{"Scan_ReturnsWhatPlanPromised", testVerdicts},
		{"Scan_KeepsOrders", testOrdering},
		{"Scan_KeepsLimits", testLimit},
		{"Scan_ReturnsTheColumnsAskedFor", testProjection},
		{"Scan_LooksUpKeys", testLookups},
		{"Scan_CancelStopsPaging", testCancel},
		{"Scan_StopOfTheReaderStopsPaging", testStop},
		{"Scan_SinkErrorIsReturned", testSinkError},
		{"Scan_ByManyAtOnce", testConcurrent},
		{"Scan_Counts", testStats},
		{"Options_WrongOnesAreNamedWithTheValidOnes", testOptions},
		{"Import_IsStable", testImport},
		{"Modify_WritesAndReturns", testModify},
		{"Modify_RefusesWithTypedErrors", testRefused},
		{"Modify_RefusesARowAmongOthers", testRefusedAmongOthers},
		{"Modify_RowThatIsNotThere", testNotFound},
		{"Modify_DryRunCallsNothing", testDryRun},
		{"Modify_WaitsUntilRowsMayBeSent", testStaged},
		{"Modify_Upserts", testUpsert},
		{"Modify_AnswersARepeatedKeyAsBefore", testIdempotent},
		{"Modify_ReadOnlySaysWhy", testReadOnly},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, s)
			test.run(t, h)
			h.checkSecret(t)
		})
	}
}

// harness is an opened subject.
type harness struct {
	Subject
	source connectors.Source
	table  connectors.Table
	types  []pushdown.Type
	names  []string
	log    *syncBuffer
}

func newHarness(t *testing.T, s Subject) *harness {
	t.Helper()
	h := &harness{Subject: s, log: &syncBuffer{}}
	h.Env.Log = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := context.Background()
	var err error
	h.source, err = s.Connector.Open(ctx, h.Env, cloneServer(s.Server))
	require.NoError(t, err, "opening the server")
	t.Cleanup(func() { require.NoError(t, h.source.Close()) })
	h.table, err = h.source.Table(ctx, s.Table)
	require.NoError(t, err, "binding the table")
	for _, c := range s.Table.Columns {
		h.types = append(h.types, c.Type)
		h.names = append(h.names, c.Name)
	}
	return h
}

func cloneServer(s connectors.ServerSpec) connectors.ServerSpec {
	s.Options, s.Credential = maps.Clone(s.Options), maps.Clone(s.Credential)
	return s
}

// checkSecret looks for the secret in all that was logged.
func (h *harness) checkSecret(t *testing.T) {
	t.Helper()
	if h.Secret != "" {
		require.NotContains(t, h.log.String(), h.Secret, "the secret stands in the log")
	}
}

// shown fails if s has the secret.
func (h *harness) shown(t *testing.T, s string) {
	t.Helper()
	if h.Secret != "" {
		require.NotContains(t, s, h.Secret, "the secret is shown")
	}
}

// noCalls runs f and fails if the API was called.
func (h *harness) noCalls(t *testing.T, f func()) {
	t.Helper()
	if h.Calls == nil {
		f()
		return
	}
	before := h.Calls()
	f()
	require.Equal(t, before, h.Calls(), "the API was called")
}

func (h *harness) allColumns() []int {
	list := make([]int, len(h.types))
	for i := range list {
		list[i] = i
	}
	return list
}

func (h *harness) typesOf(columns []int) []pushdown.Type {
	list := make([]pushdown.Type, len(columns))
	for i, c := range columns {
		list[i] = h.types[c]
	}
	return list
}

// scan reads q into values; q.Stats and q.Columns have defaults.
func (h *harness) scan(ctx context.Context, q connectors.Query) ([][]pushdown.Value, error) {
	if q.Stats == nil {
		q.Stats = &connectors.Stats{}
	}
	if q.Columns == nil {
		q.Columns = h.allColumns()
	}
	types := h.typesOf(q.Columns)
	var list [][]pushdown.Value
	out := rows.NewBuilder(types, func(tuples []byte, n int) error {
		r := rows.NewScanReader(types, tuples)
		for range n {
			row := make([]pushdown.Value, len(types))
			if ok, err := r.Next(row); err != nil || !ok {
				return fmt.Errorf("reading back a batch (more rows: %v): %w", ok, err)
			}
			list = append(list, row)
		}
		return nil
	}, rows.Options{})
	_, err := h.table.Scan(ctx, q, out)
	if err == nil {
		// A connector flushes; that rows are left here would lose them.
		n := len(list)
		if err := out.Flush(); err != nil {
			return nil, err
		}
		if len(list) != n {
			return nil, fmt.Errorf("the connector left %d rows unflushed", len(list)-n)
		}
	}
	return list, err
}

// mustScan is scan that fails the test.
func (h *harness) mustScan(t *testing.T, q connectors.Query) [][]pushdown.Value {
	t.Helper()
	list, err := h.scan(t.Context(), q)
	require.NoError(t, err, "%s", h.describe(q))
	return list
}

// describe renders a query for a failure's message, when there is one.
func (h *harness) describe(q connectors.Query) fmt.Stringer { return lazyQuery{h, q} }

type lazyQuery struct {
	h *harness
	q connectors.Query
}

func (l lazyQuery) String() string {
	h, q := l.h, l.q
	var b bytes.Buffer
	for i, c := range q.Conjuncts {
		if i > 0 {
			b.WriteString(" AND ")
		}
		b.WriteString(pushdown.Format(c, h.names))
	}
	if q.Ordering != nil {
		b.WriteString(" ORDER BY " + pushdown.FormatOrdering(q.Ordering, h.names))
	}
	if q.Limit > 0 {
		fmt.Fprintf(&b, " LIMIT %d", q.Limit)
	}
	return b.String() + "\nrequest: " + h.table.Request(q)
}

// rowText makes a row comparable.
func rowText(types []pushdown.Type, row []pushdown.Value) string {
	var b []byte
	for i, v := range row {
		if v.V == nil {
			b = append(b, "\x00"...)
			continue
		}
		at := len(b)
		b = pushdown.AppendText(b, v, types[i])
		b = strconv.AppendInt(append(b, ':'), int64(len(b)-at), 10)
	}
	return string(b)
}

// bag counts rows.
func bag(types []pushdown.Type, list [][]pushdown.Value) map[string]int {
	m := make(map[string]int, len(list))
	for _, r := range list {
		m[rowText(types, r)]++
	}
	return m
}

// missing is a row of want that got has not often enough, or nil.
func missing(types []pushdown.Type, want, got [][]pushdown.Value) []pushdown.Value {
	have := bag(types, got)
	for _, r := range want {
		k := rowText(types, r)
		if have[k] == 0 {
			return r
		}
		have[k]--
	}
	return nil
}

// showRow renders a row for messages.
func showRow(types []pushdown.Type, row []pushdown.Value) string {
	var b []byte
	for i, v := range row {
		if i > 0 {
			b = append(b, " | "...)
		}
		if v.V == nil {
			b = append(b, "NULL"...)
			continue
		}
		b = fmt.Appendf(b, "%q", pushdown.AppendText(nil, v, types[i]))
	}
	return string(b)
}

// syncBuffer is a log that many may write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p) //nolint:wrapcheck // a buffer does not fail
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
