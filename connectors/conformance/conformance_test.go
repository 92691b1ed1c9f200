package conformance_test

// The suite against connectors that break a promise each: it must notice, in
// the test that is for it. A failing test is another process of this binary.

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/connectors/synthetic"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const secret = "s3cr3t-t0k3n"

// liar is a table that can be made to break a promise.
type liar struct {
	connectors.Table
	connectors.Modifier
	breaks string
	calls  *atomic.Int64
	scans  atomic.Int64
}

// promises are what a liar breaks, and the test that must notice.
func promises() map[string]string {
	return map[string]string{
		"nothing":            "",
		"exact":              "Scan_ReturnsWhatPlanPromised",
		"subset":             "Scan_ReturnsWhatPlanPromised",
		"no reason":          "Plan_CallsNothingAndAnswersTheSame",
		"plan calls":         "Plan_CallsNothingAndAnswersTheSame",
		"plan by value":      "Plan_CallsNothingAndAnswersTheSame",
		"request secret":     "Request_CallsNothingAndNamesNoSecret",
		"order":              "Scan_KeepsOrders",
		"limit":              "Scan_KeepsLimits",
		"columns":            "Scan_ReturnsTheColumnsAskedFor",
		"unflushed":          "Scan_IsRepeatable",
		"flaky":              "Scan_IsRepeatable",
		"goes on":            "Scan_StopOfTheReaderStopsPaging",
		"wraps stop":         "Scan_StopOfTheReaderStopsPaging",
		"deaf":               "Scan_CancelStopsPaging",
		"uncounted":          "Scan_Counts",
		"lookup local":       "Scan_LooksUpKeys",
		"update is lost":     "Modify_WritesAndReturns",
		"no results":         "Modify_WritesAndReturns",
		"refusal is applied": "Modify_RefusesWithTypedErrors",
		"wrong class":        "Modify_RefusesWithTypedErrors",
		"another is refused": "Modify_RefusesARowAmongOthers",
		"missing is refused": "Modify_RowThatIsNotThere",
		"dry run writes":     "Modify_DryRunCallsNothing",
		"does not wait":      "Modify_WaitsUntilRowsMayBeSent",
	}
}

func (l *liar) Plan(req pushdown.Request) pushdown.Plan {
	p := l.Table.Plan(req)
	switch l.breaks {
	case "no reason", "exact":
		for i := range p.Conjuncts {
			if l.breaks == "exact" && p.Conjuncts[i].Verdict == pushdown.Superset {
				p.Conjuncts[i] = pushdown.Conjunct{Verdict: pushdown.Exact}
			}
			if l.breaks == "no reason" {
				p.Conjuncts[i].Reason = ""
			}
		}
	case "plan calls":
		l.calls.Add(1)
	case "plan by value":
		for i, c := range req.Conjuncts {
			if pushdown.Known(c) && p.Conjuncts[i].Verdict != pushdown.Local {
				p.Conjuncts[i] = pushdown.Conjunct{Reason: "the value is known"}
			}
		}
	case "lookup local":
		for i := range p.Conjuncts {
			p.Conjuncts[i] = pushdown.Conjunct{Reason: "not today"}
		}
	}
	return p
}

func (l *liar) Describe() connectors.Description {
	d := l.Table.Describe()
	d.Staged = l.breaks == "does not wait"
	return d
}

func (l *liar) Request(q connectors.Query) string {
	if l.breaks == "request secret" {
		return "GET /contacts?token=" + secret
	}
	return l.Table.Request(q)
}

func (l *liar) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	stats := q.Stats
	switch l.breaks {
	case "subset":
		if len(q.Conjuncts) > 0 && q.Limit == 0 {
			q.Limit = 1
		}
	case "order":
		q.Ordering = nil
	case "limit":
		q.Limit = 0
	case "columns":
		if len(q.Columns) == 0 {
			q.Limit = 1
		}
	case "deaf":
		ctx = context.WithoutCancel(ctx)
	case "flaky":
		if l.scans.Add(1) == 2 {
			q.Limit = 20
		}
	case "uncounted":
		q.Stats = &connectors.Stats{}
	case "unflushed":
		types := make([]pushdown.Type, out.Columns())
		for i := range types {
			types[i] = out.Type(i)
		}
		inner := rows.NewBuilder(types, func(tuples []byte, n int) error {
			r := rows.NewScanReader(types, tuples)
			row := make([]pushdown.Value, len(types))
			for range n {
				if _, err := r.Next(row); err != nil {
					return err
				}
				for _, v := range row {
					out.Value(v)
				}
				if err := out.EndRow(); err != nil {
					return err
				}
			}
			return nil
		}, rows.Options{})
		return l.count(q, func() (connectors.ScanResult, error) { return l.Table.Scan(ctx, q, inner) })
	}
	res, err := l.count(q, func() (connectors.ScanResult, error) { return l.Table.Scan(ctx, q, out) })
	switch {
	case l.breaks == "goes on" && errors.Is(err, rows.ErrStop):
		stats.Pages.Add(5)
	case l.breaks == "wraps stop" && errors.Is(err, rows.ErrStop):
		err = errors.Join(err, errors.New("stopped"))
	}
	return res, err
}

// count is the API's own count of its calls.
func (l *liar) count(q connectors.Query, scan func() (connectors.ScanResult, error)) (connectors.ScanResult, error) {
	before := q.Stats.Calls.Load()
	res, err := scan()
	l.calls.Add(int64(q.Stats.Calls.Load() - before))
	return res, err
}

func (l *liar) Modify(ctx context.Context, b *connectors.Batch) error {
	l.calls.Add(1)
	if l.breaks == "update is lost" && b.Op == connectors.Update {
		b.Columns, b.Rows[0].Values = b.Columns[:1], b.Rows[0].Values[:1]
	}
	err := l.Modifier.Modify(ctx, b)
	for i := range b.Results {
		r := &b.Results[i]
		switch {
		case l.breaks == "refusal is applied" && r.Outcome == connectors.Refused:
			*r = connectors.Result{Outcome: connectors.Applied}
		case l.breaks == "wrong class" && r.Err != nil:
			r.Err.Class = connectors.Internal
		case l.breaks == "another is refused" && r.Outcome == connectors.Refused && i > 0:
			b.Results[i-1], *r = *r, b.Results[i-1]
		case l.breaks == "missing is refused" && r.Outcome == connectors.NotFound:
			*r = connectors.Result{Outcome: connectors.Refused, Err: &connectors.Error{Class: connectors.NotFoundError, Message: "no such row"}}
		}
	}
	if l.breaks == "no results" {
		b.Results = nil
	}
	return err
}

func (l *liar) Requests(b *connectors.Batch) ([]string, error) {
	if l.breaks == "dry run writes" {
		b.ReturningColumns = nil
		if err := l.Modify(context.Background(), b); err != nil {
			return nil, err
		}
	}
	return l.Modifier.Requests(b)
}

// lyingConnector wraps the tables of synthetic.
type lyingConnector struct {
	*synthetic.Connector
	breaks string
	calls  *atomic.Int64
}

func (c *lyingConnector) Open(ctx context.Context, env connectors.Env, server connectors.ServerSpec) (connectors.Source, error) {
	s, err := c.Connector.Open(ctx, env, server)
	return &lyingSource{s, c}, err
}

type lyingSource struct {
	connectors.Source
	c *lyingConnector
}

func (s *lyingSource) Table(ctx context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	t, err := s.Source.Table(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &liar{Table: t, Modifier: t.(connectors.Modifier), breaks: s.c.breaks, calls: s.c.calls}, nil
}

func value(v any) pushdown.Value { return pushdown.Value{V: v} }

// TestLiar is run by TestRun_NoticesEachBrokenPromise.
func TestLiar(t *testing.T) {
	breaks := os.Getenv("CONFORMANCE_LIAR")
	if breaks == "" {
		t.Skip("run by TestRun_NoticesEachBrokenPromise")
	}
	c := &lyingConnector{Connector: synthetic.New(), breaks: breaks, calls: &atomic.Int64{}}
	col := func(name string, k pushdown.Kind, options map[string]string) connectors.ColumnSpec {
		return connectors.ColumnSpec{Name: name, Type: pushdown.Type{Kind: k}, Options: options}
	}
	mode := "exact"
	if breaks == "exact" || breaks == "no reason" {
		mode = "superset"
	}
	s := conformance.Subject{
		Connector: c,
		Server:    connectors.ServerSpec{Options: map[string]string{"connector": "synthetic"}, Credential: map[string]string{"token": secret}},
		Table: connectors.TableSpec{Name: "t", Options: map[string]string{"store": "s", "page_rows": "10", "pushdown": mode}, Columns: []connectors.ColumnSpec{
			col("id", pushdown.Int8, map[string]string{"key": "true", "computed": "sequence"}),
			col("name", pushdown.Text, map[string]string{"required": "true"}),
			col("n", pushdown.Int4, nil),
		}},
		MinPages: 4, Calls: c.calls.Load, Secret: secret, RemoteSchema: "synthetic", Queries: 100, Seed: 1,
		Writes: &conformance.Writes{
			Insert: func(n int) conformance.Row { return conformance.Row{"name": value("new"), "n": value(int64(n))} },
			Update: func(n int) conformance.Row {
				return conformance.Row{"name": value("changed"), "n": value(int64(n) + 100)}
			},
			Delete:     true,
			MissingKey: []pushdown.Value{value(int64(-1))},
			Refused: []conformance.Refusal{{Name: "no name", Change: conformance.Row{"name": {}},
				Class: connectors.NotNullViolation, Column: "name"}},
		},
	}
	source, err := c.Connector.Open(t.Context(), s.Env, s.Server)
	require.NoError(t, err)
	table, err := source.Table(t.Context(), s.Table)
	require.NoError(t, err)
	b := &connectors.Batch{Op: connectors.Insert, Columns: []int{1, 2}, Stats: &connectors.Stats{}}
	for i := range 45 {
		v := value(int64(i * 7 % 10))
		if i%9 == 0 {
			v = pushdown.Value{}
		}
		b.Rows = append(b.Rows, connectors.Row{Values: []pushdown.Value{value(strings.Repeat("aA", i%4)), v}})
	}
	require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
	conformance.Run(t, s)
}

func TestRun_NoticesEachBrokenPromise(t *testing.T) {
	for breaks, noticed := range promises() {
		t.Run(breaks, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLiar$", "-test.v")
			cmd.Env = append(os.Environ(), "CONFORMANCE_LIAR="+breaks)
			out, err := cmd.CombinedOutput()
			switch text := string(out); {
			case noticed == "":
				require.NoError(t, err, "the suite fails on a table that keeps its promises:\n%s", out)
			case err == nil:
				t.Fatal("the suite did not notice")
			case strings.Contains(text, "panic:"), !strings.Contains(text, "--- FAIL: TestLiar/"+noticed):
				t.Fatalf("%s should have noticed:\n%s", noticed, out)
			}
		})
	}
}
