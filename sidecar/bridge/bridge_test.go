package bridge

import (
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

func TestHandshake_MismatchSaysWhichSideToUpgrade(t *testing.T) {
	c := start(t, &fake{}).connect()
	for major, side := range map[uint32]string{0: "Upgrade the extension", ProtocolMajor + 1: "Upgrade the sidecar"} {
		_, err := c.Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: major}, ShimVersion: "9.9"})
		assert.Equal(t, codes.FailedPrecondition, status.Code(err))
		e := wire(t, err)
		assert.Equal(t, "08004", e.GetSqlstate())
		assert.Contains(t, e.GetHint(), side)
		assert.Equal(t, "Extension 9.9, sidecar 1.2.3.", e.GetDetail())
	}
	r, err := c.Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: ProtocolMajor, Minor: 99}})
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", r.GetSidecarVersion())
	assert.Equal(t, "abc", r.GetInstanceId())
}

func TestHandshake_MustComeFirst(t *testing.T) {
	c := start(t, &fake{}).connect()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "08P01", wire(t, err).GetSqlstate())
}

func TestHandle_IsKnownOnItsConnectionAlone(t *testing.T) {
	w := start(t, &fake{})
	a, b := w.client(), w.client()
	byHandle := &hallwayv1.RelationRef{Handle: 5}

	_, err := a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	assert.Equal(t, codes.FailedPrecondition, status.Code(err))
	assert.True(t, wire(t, err).GetUnknownHandle())

	_, err = a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(5)})
	require.NoError(t, err)
	_, err = a.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	require.NoError(t, err)
	_, err = b.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: byHandle})
	assert.True(t, wire(t, err).GetUnknownHandle())
}

func TestHandle_TooManyAreForgottenNotKept(t *testing.T) {
	c := &conn{relations: map[uint64]*relation{}}
	for h := range uint64(maxRelations + 10) {
		_, err := c.relation(&relations{}, things(h+1))
		require.NoError(t, err)
	}
	assert.Len(t, c.relations, maxRelations)
}

func TestDescribe_TellsWhatTheConnectorSays(t *testing.T) {
	f := &fake{desc: connectors.Description{Key: []int{0}, Insertable: true, Updatable: true, ReadOnlyReason: "no delete",
		ReadOnlyColumns: []int{0}, UnnullableColumns: []int{1}, Lookups: []connectors.Lookup{{Columns: []int{0}, Unique: true}}, Rows: math.Inf(1),
		BatchRows: connectors.BatchRows{Insert: 30, Update: -1, Delete: maxBatchRows + 1}}}
	jobs := connectors.BatchRows{Insert: 7000, Update: 8000, Delete: 10, Upsert: 9000}
	c := start(t, f).client()
	d, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err)
	assert.Equal(t, []uint32{0}, d.GetKeyColumns())
	assert.Equal(t, []bool{true, true, false}, []bool{d.GetInsertable(), d.GetUpdatable(), d.GetDeletable()})
	assert.Equal(t, "no delete", d.GetReadOnlyReason())
	assert.Equal(t, []uint32{1}, d.GetUnnullableColumns())
	assert.True(t, d.GetLookupKeys()[0].GetUnique())
	assert.Zero(t, d.GetRows(), "an infinite estimate is none")
	assert.Equal(t, []uint32{30, 0, maxBatchRows, upsertRows},
		[]uint32{d.GetInsertRows(), d.GetUpdateRows(), d.GetDeleteRows(), d.GetUpsertRows()})
	f.desc.Jobs = jobs
	d, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err)
	assert.Equal(t, []uint32{7000, 8000, maxBatchRows, 9000},
		[]uint32{d.GetInsertRows(), d.GetUpdateRows(), d.GetDeleteRows(), d.GetUpsertRows()}, "as many as a job takes")
	f.desc.Jobs = connectors.BatchRows{}

	f.desc.Key = []int{7}
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "XX000", wire(t, err).GetSqlstate())
}

// exactWhenEven is a connector whose verdict depends on the value.
// '{{1,2}}' = '{1,2}' is false, and a list of elements cannot tell.
// secretMap is a store.
func TestImport_HonoursLimitToAndExcept(t *testing.T) {
	f := &fake{imp: func(r connectors.ImportRequest) ([]connectors.ImportedTable, error) {
		if r.RemoteSchema != "crm" {
			return nil, &connectors.Error{Class: connectors.InvalidSchema, Message: "no", Hint: "Schemas: crm."}
		}
		col := []connectors.ImportedColumn{{Name: "id", Type: "text", NotNull: true, Options: map[string]string{"b": "2", "a": "1"}}}
		return []connectors.ImportedTable{{Name: "a", Columns: col}, {Name: "b", Columns: col}}, nil
	}}
	c := start(t, f).client()
	server := things(1, func(r *hallwayv1.Relation) { r.TableName, r.SchemaName, r.Columns = "", "", nil })
	names := func(req *hallwayv1.ImportSchemaRequest) (out []string) {
		req.Relation, req.RemoteSchema = server, "crm"
		resp, err := c.ImportSchema(t.Context(), req)
		require.NoError(t, err)
		for _, table := range resp.GetTables() {
			out = append(out, table.GetName())
			assert.Equal(t, "a", table.GetColumns()[0].GetOptions()[0].GetName(), "options have a stable order")
		}
		return out
	}
	assert.Equal(t, []string{"a", "b"}, names(&hallwayv1.ImportSchemaRequest{}))
	assert.Equal(t, []string{"b"}, names(&hallwayv1.ImportSchemaRequest{LimitTo: true, Tables: []string{"b", "z"}}))
	assert.Equal(t, []string{"a"}, names(&hallwayv1.ImportSchemaRequest{Except: true, Tables: []string{"b"}}))
	_, err := c.ImportSchema(t.Context(), &hallwayv1.ImportSchemaRequest{Relation: server, RemoteSchema: "x"})
	assert.Equal(t, "HV00Q", wire(t, err).GetSqlstate())
}

func TestEndTransaction_CountsAndWarnsOfRollbacks(t *testing.T) {
	w := start(t, &fake{})
	c := w.client()
	tx := &hallwayv1.Transaction{Xid: 42, Subxid: 43}
	for _, end := range []hallwayv1.TransactionEnd{hallwayv1.TransactionEnd_TRANSACTION_END_COMMIT, hallwayv1.TransactionEnd_TRANSACTION_END_ABORT} {
		_, err := c.EndTransaction(t.Context(), &hallwayv1.EndTransactionRequest{Transaction: tx, End: end})
		require.NoError(t, err)
	}
	// A write may tell of the transaction before it, whatever becomes of the write.
	write := insertThing(1, "new")
	write.Relation, write.Committed = things(1), 41
	_, err := c.Modify(t.Context(), write)
	require.Error(t, err)
	st := w.srv.Stats()
	assert.Equal(t, [2]uint64{2, 1}, [2]uint64{st.Committed, st.Aborted})
	assert.Regexp(t, `level=WARN .*TRANSACTION_END_ABORT xid=42 subxid=43 .*backend_pid=77 database=shop`, w.log.String())
}

func TestPeer_OtherUsersAreToldSo(t *testing.T) {
	w := start(t, &fake{})
	// The check itself: the kernel's word is in the AuthInfo.
	c := peerCredentials{allowed: func(uint32) bool { return false }}
	l, err := net.Listen("unix", w.path+"2")
	require.NoError(t, err)
	defer l.Close()
	cfg := Config{Registry: connectors.NewRegistry(&fake{}), Instance: "x", Env: w.srv.cfg.Env}
	srv := New(cfg)
	defer srv.Close()
	gs := NewGRPC(srv, c, nil)
	go func() { _ = gs.Serve(l) }()
	defer gs.Stop()
	cc, err := grpc.NewClient("unix:"+w.path+"2", grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer cc.Close()
	_, err = hallwayv1.NewBridgeClient(cc).Handshake(t.Context(), &hallwayv1.HandshakeRequest{Protocol: &hallwayv1.ProtocolVersion{Major: 1}})
	e := wire(t, err)
	assert.Equal(t, "28000", e.GetSqlstate())
	assert.Contains(t, e.GetMessage(), fmt.Sprintf("user %d", os.Geteuid()))
	_, err = healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{})
	assert.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestHealth_ServesAndWaitIdleReturns(t *testing.T) {
	w := start(t, &fake{})
	cc, err := grpc.NewClient("unix:"+w.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer cc.Close()
	r, err := healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "hallway.v1.Bridge"})
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, r.GetStatus())
	require.NoError(t, w.srv.WaitIdle(t.Context()))
}

// What grpcurl and its like ask for: which services there are, and their messages.
func TestReflection_ListsTheServices(t *testing.T) {
	w := start(t, &fake{})
	cc, err := grpc.NewClient("unix:"+w.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer cc.Close()
	info, err := reflectionv1.NewServerReflectionClient(cc).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	ask := func(r *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		require.NoError(t, info.Send(r))
		answer, err := info.Recv()
		require.NoError(t, err)
		return answer
	}
	var names []string
	for _, s := range ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	assert.ElementsMatch(t, []string{"hallway.v1.Bridge", "grpc.health.v1.Health",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}, names)

	files := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "hallway.v1.Bridge"}}).GetFileDescriptorResponse().GetFileDescriptorProto()
	require.NotEmpty(t, files)
	file := &descriptorpb.FileDescriptorProto{}
	require.NoError(t, proto.Unmarshal(files[0], file))
	assert.Equal(t, "hallway/v1/hallway.proto", file.GetName())
	require.NoError(t, info.CloseSend())
}

func TestManyBackends_AtOnce(t *testing.T) {
	const backends, n = 200, 2000
	w := start(t, &fake{scan: numbers(n)})
	var wg sync.WaitGroup
	for range backends {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := w.client()
			p, err := c.Plan(t.Context(), &hallwayv1.PlanRequest{Relation: things(1)})
			if !assert.NoError(t, err) {
				return
			}
			st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan(), Columns: []uint32{0}})
			out, err := drainScan(t, st, err)
			if assert.NoError(t, err) {
				assert.Len(t, out.rows(t, pushdown.Type{Kind: pushdown.Int8}), n)
			}
		}()
	}
	wg.Wait()
}
