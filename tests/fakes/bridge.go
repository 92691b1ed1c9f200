// A sidecar that misbehaves: a real gRPC server of the Bridge service whose
// answers a test writes by hand, right or wrong.

package fakes

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// Bridge answers what its hooks say; without a hook it answers plausibly: a
// table without rows that takes no pushdown and may be written. Hooks are set
// before the first call.
type Bridge struct {
	hallwayv1.UnimplementedBridgeServer

	OnHandshake func(*hallwayv1.HandshakeRequest) (*hallwayv1.HandshakeResponse, error)
	OnDescribe  func(*hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error)
	OnPlan      func(*hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error)
	OnScan      func(*hallwayv1.ScanRequest, grpc.ServerStreamingServer[hallwayv1.ScanResponse]) error
	OnModify    func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error)
	OnImport    func(*hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error)

	// Open scans, and scans whose backend went away.
	Open, Cancelled atomic.Int64

	server *grpc.Server
	socket string
}

// Listen serves on a Unix socket that everyone may use.
func (b *Bridge) Listen(socket string) error {
	l, err := listenUnix(socket)
	if err != nil {
		return err
	}
	b.socket = socket
	b.server = grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(1<<30))
	hallwayv1.RegisterBridgeServer(b.server, b)
	go func() { _ = b.server.Serve(l) }()
	return nil
}

// Close ends it at once, open streams included.
func (b *Bridge) Close() { b.server.Stop() }

func listenUnix(socket string) (net.Listener, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, os.Chmod(socket, 0o777)
}

// Handshake implements the service.
func (b *Bridge) Handshake(_ context.Context, r *hallwayv1.HandshakeRequest) (*hallwayv1.HandshakeResponse, error) {
	if b.OnHandshake != nil {
		return b.OnHandshake(r)
	}
	return &hallwayv1.HandshakeResponse{Protocol: r.GetProtocol(), SidecarVersion: "0.0.0-fake", InstanceId: "fake"}, nil
}

// Describe implements the service.
func (b *Bridge) Describe(_ context.Context, r *hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
	if b.OnDescribe != nil {
		return b.OnDescribe(r)
	}
	return &hallwayv1.DescribeResponse{KeyColumns: []uint32{0}, Insertable: true, Updatable: true, Deletable: true, Rows: 10}, nil
}

// Plan implements the service.
func (b *Bridge) Plan(_ context.Context, r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
	if b.OnPlan != nil {
		return b.OnPlan(r)
	}
	return PlanAll(r, hallwayv1.Verdict_VERDICT_LOCAL), nil
}

// PlanAll is a plan with the same verdict for every conjunct.
func PlanAll(r *hallwayv1.PlanRequest, v hallwayv1.Verdict) *hallwayv1.PlanResponse {
	out := &hallwayv1.PlanResponse{Rows: 10, Width: 20, StartupCost: 1, TotalCost: 20, Plan: []byte("fake")}
	for range r.GetConjuncts() {
		out.Verdicts = append(out.Verdicts, &hallwayv1.ConjunctVerdict{Verdict: v})
	}
	return out
}

// Scan implements the service.
func (b *Bridge) Scan(r *hallwayv1.ScanRequest, s grpc.ServerStreamingServer[hallwayv1.ScanResponse]) error {
	b.Open.Add(1)
	defer b.Open.Add(-1)
	defer func() {
		if s.Context().Err() != nil {
			b.Cancelled.Add(1)
		}
	}()
	if b.OnScan != nil {
		return b.OnScan(r, s)
	}
	return SendAll(s, Header(), Footer())
}

// Modify implements the service.
func (b *Bridge) Modify(ctx context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
	if b.OnModify != nil {
		return b.OnModify(ctx, r)
	}
	out := &hallwayv1.ModifyResponse{}
	for range r.GetRows() {
		out.Results = append(out.Results, &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED})
	}
	return out, nil
}

// EndTransaction implements the service.
func (b *Bridge) EndTransaction(context.Context, *hallwayv1.EndTransactionRequest) (*hallwayv1.EndTransactionResponse, error) {
	return &hallwayv1.EndTransactionResponse{}, nil
}

// ImportSchema implements the service.
func (b *Bridge) ImportSchema(_ context.Context, r *hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error) {
	if b.OnImport != nil {
		return b.OnImport(r)
	}
	return &hallwayv1.ImportSchemaResponse{}, nil
}

// SendAll sends messages until one cannot be sent.
func SendAll(s grpc.ServerStreamingServer[hallwayv1.ScanResponse], messages ...*hallwayv1.ScanResponse) error {
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// Header begins a scan; recheck are conjuncts to check locally after all.
func Header(recheck ...uint32) *hallwayv1.ScanResponse {
	return &hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Header{Header: &hallwayv1.ScanHeader{
		Recheck: recheck, Request: "GET /fake", RequestId: "fake-1"}}}
}

// Footer ends a scan.
func Footer() *hallwayv1.ScanResponse {
	return &hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Footer{Footer: &hallwayv1.ScanFooter{Stats: &hallwayv1.ScanStats{Calls: 1}}}}
}

// Batch carries tuples that need not be as many as it says.
func Batch(rows uint32, tuples []byte) *hallwayv1.ScanResponse {
	return &hallwayv1.ScanResponse{Message: &hallwayv1.ScanResponse_Batch{Batch: &hallwayv1.RowBatch{Tuples: tuples, Rows: rows}}}
}

// Tuple writes one tuple of the binary format; a nil value is NULL.
func Tuple(values ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		if v == nil {
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

// Int4 is the binary form of an int4.
func Int4(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// RawBridge is an HTTP/2 server that frames gRPC by hand, for what a proper
// gRPC server cannot be made to send. Scan writes the answer to a Scan call;
// the other calls are answered as Bridge does.
type RawBridge struct {
	Scan func(w http.ResponseWriter, r *http.Request)

	server *http.Server
}

// Listen serves on a Unix socket that everyone may use.
func (b *RawBridge) Listen(socket string) error {
	l, err := listenUnix(socket)
	if err != nil {
		return err
	}
	var plain Bridge
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	unary := func(method string, in func() proto.Message, call func(context.Context, proto.Message) (proto.Message, error)) {
		mux.HandleFunc("/hallway.v1.Bridge/"+method, func(w http.ResponseWriter, r *http.Request) {
			req := in()
			if err := readFrame(r, req); err != nil {
				http.Error(w, err.Error(), 400)
				return
			}
			res, err := call(r.Context(), req)
			if err != nil {
				http.Error(w, err.Error(), 500)
				return
			}
			StartGRPC(w)
			WriteFrame(w, res)
			EndGRPC(w, "0", "")
		})
	}
	unary("Handshake", func() proto.Message { return &hallwayv1.HandshakeRequest{} }, func(c context.Context, m proto.Message) (proto.Message, error) {
		return plain.Handshake(c, m.(*hallwayv1.HandshakeRequest))
	})
	unary("Describe", func() proto.Message { return &hallwayv1.DescribeRequest{} }, func(c context.Context, m proto.Message) (proto.Message, error) {
		return plain.Describe(c, m.(*hallwayv1.DescribeRequest))
	})
	unary("Plan", func() proto.Message { return &hallwayv1.PlanRequest{} }, func(c context.Context, m proto.Message) (proto.Message, error) {
		return plain.Plan(c, m.(*hallwayv1.PlanRequest))
	})
	unary("EndTransaction", func() proto.Message { return &hallwayv1.EndTransactionRequest{} }, func(c context.Context, m proto.Message) (proto.Message, error) {
		return plain.EndTransaction(c, m.(*hallwayv1.EndTransactionRequest))
	})
	mux.HandleFunc("/hallway.v1.Bridge/Scan", func(w http.ResponseWriter, r *http.Request) { b.Scan(w, r) })
	b.server = &http.Server{Handler: mux, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(l) }()
	return nil
}

// Close ends it at once.
func (b *RawBridge) Close() { _ = b.server.Close() }

func readFrame(r *http.Request, into proto.Message) error {
	var head [5]byte
	if _, err := readFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > 64<<20 {
		return fmt.Errorf("a request of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := readFull(r, body); err != nil {
		return err
	}
	return proto.Unmarshal(body, into)
}

func readFull(r *http.Request, b []byte) (int, error) {
	for n := 0; n < len(b); {
		k, err := r.Body.Read(b[n:])
		n += k
		if err != nil && n < len(b) {
			return n, err
		}
	}
	return len(b), nil
}

// StartGRPC sends the headers of an answer.
func StartGRPC(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.WriteHeader(200)
}

// WriteFrame sends one message, framed as it should be.
func WriteFrame(w http.ResponseWriter, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // of a message made here
	}
	WriteRaw(w, false, uint32(len(b)), b)
}

// WriteRaw sends a frame whose flag and length may be lies.
func WriteRaw(w http.ResponseWriter, compressed bool, length uint32, body []byte) {
	head := []byte{0}
	if compressed {
		head[0] = 1
	}
	_, _ = w.Write(append(binary.BigEndian.AppendUint32(head, length), body...))
	_ = http.NewResponseController(w).Flush()
}

// EndGRPC sends the trailers.
func EndGRPC(w http.ResponseWriter, status, message string) {
	w.Header().Set("Grpc-Status", status)
	w.Header().Set("Grpc-Message", message)
}
