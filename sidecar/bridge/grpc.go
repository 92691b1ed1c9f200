// The gRPC server around a Server: sizes, windows, interceptors, health and
// reflection.

package bridge

import (
	"context"
	"log/slog"
	"math"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// Sizes. A stream's window holds a few batches, the connection's those of
// several paused cursors.
const (
	streamWindow = 4 << 20
	connWindow   = 16 << 20
	// A request holds at most a batch of rows to write, or a long IN list.
	maxRequest = 256 << 20
)

// GRPC is a gRPC server with what the sidecar drives it by.
type GRPC struct {
	*grpc.Server
	// Health is NOT_SERVING while the server drains.
	Health *health.Server
}

// NewGRPC makes the server of s. creds may be nil (tests). metrics may be nil;
// the caller registers it.
func NewGRPC(s *Server, creds credentials.TransportCredentials, metrics *grpcprom.ServerMetrics) *GRPC {
	recoverUnary, recoverStream := s.recovery()
	logUnary, logStream := s.callLogger()
	unary := []grpc.UnaryServerInterceptor{s.unaryCall, logUnary, recoverUnary}
	stream := []grpc.StreamServerInterceptor{s.streamCall, logStream, recoverStream}
	if metrics != nil {
		// Outermost, to see the codes that are sent.
		unary = append([]grpc.UnaryServerInterceptor{metrics.UnaryServerInterceptor()}, unary...)
		stream = append([]grpc.StreamServerInterceptor{metrics.StreamServerInterceptor()}, stream...)
	}
	options := []grpc.ServerOption{
		grpc.StatsHandler(connState{s}), grpc.ForceServerCodecV2(newCodec()),
		grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(10000),
		// An idle backend answers no ping and must not be cut off: there is no
		// keepalive (gRPC's default is two hours), and connections never age.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: math.MaxInt64}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WriteBufferSize(64 << 10), grpc.ReadBufferSize(32 << 10),
		grpc.WaitForHandlers(true),
		// Goroutines whose stacks have grown already: a fifth of a short call's
		// CPU time. When all are busy a call gets one of its own.
		grpc.NumStreamWorkers(32),
	}
	if creds != nil {
		options = append(options, grpc.Creds(creds))
	}
	g := &GRPC{Server: grpc.NewServer(options...), Health: health.NewServer()}
	hallwayv1.RegisterBridgeServer(g.Server, s)
	healthv1.RegisterHealthServer(g.Server, g.Health)
	reflection.Register(g.Server)
	g.Health.SetServingStatus(hallwayv1.Bridge_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	return g
}

// callLogger writes a debug line for each call that ended; failures have a
// line of their own with the cause. Collecting a line's fields costs a short
// call a twentieth of its CPU time, so that is left out where no line would be.
func (s *Server) callLogger() (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	logger := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		s.log.Log(ctx, slog.Level(level), msg, fields...)
	})
	opts := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(func(codes.Code) logging.Level { return logging.LevelDebug }),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey, logging.ServiceFieldKey, logging.MethodTypeFieldKey),
	}
	wanted := selector.MatchFunc(func(ctx context.Context, _ interceptors.CallMeta) bool {
		return s.log.Enabled(ctx, slog.LevelDebug)
	})
	return selector.UnaryServerInterceptor(logging.UnaryServerInterceptor(logger, opts...), wanted),
		selector.StreamServerInterceptor(logging.StreamServerInterceptor(logger, opts...), wanted)
}
