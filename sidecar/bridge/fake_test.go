// A connector whose every answer a test decides, and a server and a client
// around it.

package bridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/ops"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// fake is connector, source and table in one. Nil functions have plain answers.
type fake struct {
	open   func(connectors.ServerSpec) error
	table  func(connectors.TableSpec) error
	imp    func(connectors.ImportRequest) ([]connectors.ImportedTable, error)
	desc   connectors.Description
	plan   func(pushdown.Request) pushdown.Plan
	scan   func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error)
	modify func(context.Context, *connectors.Batch) error

	mu             sync.Mutex
	opened, closed int
	tables         int
}

func (*fake) Name() string { return "fake" }

func (*fake) Options() []connectors.OptionSpec {
	return []connectors.OptionSpec{{Name: "token", Where: connectors.OnUserMapping, Secret: true}}
}

func (f *fake) Open(_ context.Context, _ connectors.Env, s connectors.ServerSpec) (connectors.Source, error) {
	f.mu.Lock()
	f.opened++
	f.mu.Unlock()
	if f.open != nil {
		if err := f.open(s); err != nil {
			return nil, err
		}
	}
	return fakeSource{f}, nil
}

func (f *fake) count() (opened, closed, tables int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened, f.closed, f.tables
}

type fakeSource struct{ f *fake }

func (s fakeSource) Table(_ context.Context, spec connectors.TableSpec) (connectors.Table, error) {
	s.f.mu.Lock()
	s.f.tables++
	s.f.mu.Unlock()
	if s.f.table != nil {
		if err := s.f.table(spec); err != nil {
			return nil, err
		}
	}
	return fakeTable(s), nil
}

func (s fakeSource) Import(_ context.Context, r connectors.ImportRequest) ([]connectors.ImportedTable, error) {
	if s.f.imp == nil {
		return nil, nil
	}
	return s.f.imp(r)
}

func (s fakeSource) Close() error {
	s.f.mu.Lock()
	s.f.closed++
	s.f.mu.Unlock()
	return nil
}

type fakeTable struct{ f *fake }

func (t fakeTable) Describe() connectors.Description { return t.f.desc }

func (t fakeTable) Plan(r pushdown.Request) pushdown.Plan {
	if t.f.plan != nil {
		return t.f.plan(r)
	}
	return pushdown.Plan{Conjuncts: make([]pushdown.Conjunct, len(r.Conjuncts)), Rows: 10}
}

func (t fakeTable) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	if t.f.scan == nil {
		return connectors.ScanResult{}, nil
	}
	return t.f.scan(ctx, q, out)
}

func (fakeTable) Request(connectors.Query) string { return "GET /things" }

func (t fakeTable) Modify(ctx context.Context, b *connectors.Batch) error {
	if t.f.modify == nil {
		return errors.New("fake: no modify")
	}
	return t.f.modify(ctx, b)
}

func (fakeTable) Requests(*connectors.Batch) ([]string, error) { return []string{"POST /things"}, nil }

// syncBuffer is a log that tests read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// world is a running server.
type world struct {
	t    testing.TB
	srv  *Server
	log  *syncBuffer
	path string
}

// start serves f on a Unix socket until the test ends.
func start(t testing.TB, f *fake, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, log: &syncBuffer{}, path: filepath.Join(t.TempDir(), "s")}
	cfg := Config{
		footerPatience: 20 * time.Second,
		Registry:       connectors.NewRegistry(f), Version: "1.2.3", Instance: "abc",
		Env: connectors.Env{Log: slog.New(LogHandler(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))},
	}
	for _, c := range change {
		c(&cfg)
	}
	w.srv = New(cfg)
	socket, err := ops.ListenUnix(w.path, 0o600, "")
	require.NoError(t, err)
	gs := NewGRPC(w.srv, PeerCredentials(func(uid uint32) bool { return uid != 4711 }), nil)
	done := make(chan error, 1)
	go func() { done <- gs.Serve(socket) }()
	t.Cleanup(func() {
		gs.Stop()
		<-done
		w.srv.Close()
	})
	return w
}

// connect dials without shaking hands.
func (w *world) connect() hallwayv1.BridgeClient {
	w.t.Helper()
	cc, err := grpc.NewClient("unix:"+w.path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		// Two hundred at once take their time on a busy machine.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 5 * time.Minute}),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = cc.Close() })
	return hallwayv1.NewBridgeClient(cc)
}

// client dials and shakes hands.
func (w *world) client() hallwayv1.BridgeClient {
	w.t.Helper()
	c := w.connect()
	_, err := c.Handshake(w.t.Context(), &hallwayv1.HandshakeRequest{
		Protocol: &hallwayv1.ProtocolVersion{Major: ProtocolMajor}, BackendPid: 77, DatabaseName: "shop"})
	require.NoError(w.t, err)
	return c
}

var (
	int8Type = &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_INT8, Oid: 20, Name: "bigint"}
	textType = &hallwayv1.Type{Kind: hallwayv1.Kind_KIND_TEXT, Oid: 25, Name: "text"}
)

// things is a table "id bigint, name text".
func things(handle uint64, change ...func(*hallwayv1.Relation)) *hallwayv1.RelationRef {
	r := &hallwayv1.Relation{
		ServerName: "srv", ServerOptions: []*hallwayv1.Option{{Name: "connector", Value: "fake"}, {Name: "address", Value: "unix:/x"}},
		UserName: "ada", SchemaName: "public", TableName: "things",
		Columns: []*hallwayv1.Column{{Name: "id", Type: int8Type, NotNull: true}, {Name: "name", Type: textType}},
	}
	for _, c := range change {
		c(r)
	}
	return &hallwayv1.RelationRef{Handle: handle, Definition: r}
}

func column(i uint32) *hallwayv1.Expr {
	return &hallwayv1.Expr{Node: &hallwayv1.Expr_Column{Column: &hallwayv1.ColumnRef{Column: i}}}
}

func parameter(i uint32, known *int64) *hallwayv1.Expr {
	p := &hallwayv1.Parameter{Index: i, Type: int8Type}
	if known != nil {
		p.Known, p.Value = true, int8Value(*known)
	}
	return &hallwayv1.Expr{Node: &hallwayv1.Expr_Parameter{Parameter: p}}
}

func int8Value(v int64) *hallwayv1.Value {
	return &hallwayv1.Value{Binary: binary.BigEndian.AppendUint64(nil, uint64(v))}
}

// idIs is id = $index.
func idIs(index uint32, known *int64) *hallwayv1.Expr {
	return &hallwayv1.Expr{Node: &hallwayv1.Expr_Comparison{Comparison: &hallwayv1.Comparison{
		Operator: hallwayv1.ComparisonOperator_COMPARISON_OPERATOR_EQ, Left: column(0), Right: parameter(index, known)}}}
}

// wire is the Error that a call ended with.
func wire(t testing.TB, err error) *hallwayv1.Error {
	t.Helper()
	require.Error(t, err)
	st, ok := status.FromError(err)
	require.True(t, ok, "not a status: %v", err)
	require.Len(t, st.Details(), 1, "%v", err)
	e, ok := st.Details()[0].(*hallwayv1.Error)
	require.True(t, ok)
	return e
}

// scanned is what one Scan brought.
type scanned struct {
	header  *hallwayv1.ScanHeader
	footer  *hallwayv1.ScanFooter
	batches []*hallwayv1.RowBatch
}

func (s scanned) rows(t testing.TB, types ...pushdown.Type) [][]pushdown.Value {
	t.Helper()
	var out [][]pushdown.Value
	for _, b := range s.batches {
		list, err := rows.DecodeTuples(types, b.GetTuples(), int(b.GetRows()))
		require.NoError(t, err)
		out = append(out, list...)
	}
	return out
}

// drainScan reads a stream to its end.
func drainScan(t testing.TB, st grpc.ServerStreamingClient[hallwayv1.ScanResponse], err error) (scanned, error) {
	t.Helper()
	require.NoError(t, err)
	var out scanned
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		switch m := m.GetMessage().(type) {
		case *hallwayv1.ScanResponse_Header:
			out.header = m.Header
		case *hallwayv1.ScanResponse_Batch:
			out.batches = append(out.batches, m.Batch)
		case *hallwayv1.ScanResponse_Footer:
			out.footer = m.Footer
		}
	}
}

// planOf asks for a plan that must be given.
func planOf(t testing.TB, c hallwayv1.BridgeClient, req *hallwayv1.PlanRequest) *hallwayv1.PlanResponse {
	t.Helper()
	p, err := c.Plan(t.Context(), req)
	require.NoError(t, err)
	return p
}

// numbers is a scan of n rows.
func numbers(n int) func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
	return func(_ context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
		q.Stats.Calls.Add(1)
		for i := range n {
			for _, c := range q.Columns {
				if c == 0 {
					out.Int64(int64(i))
				} else {
					out.String("thing")
				}
			}
			if err := out.EndRow(); err != nil {
				return connectors.ScanResult{}, err
			}
		}
		q.Stats.Rows.Add(uint64(n))
		return connectors.ScanResult{TotalRows: float64(n), Warnings: []string{"mind the gap"}}, nil
	}
}

// soon waits for a condition.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond, what)
}
