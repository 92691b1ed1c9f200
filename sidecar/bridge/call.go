// Each call: its request id, its log lines, its errors made fit for the
// backend, its panics contained.

package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// call is one RPC.
type call struct {
	id   string
	conn *conn
	// Known once the relation is bound; for logs and errors.
	rel *relation
	// write: the API may have been told to change something.
	write bool
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID is the id of the call that ctx belongs to; "" outside of one. It
// stands in every log line, and in the DETAIL of an error.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.id
	}
	return ""
}

// LogHandler adds to each record what its context knows: the request id, the
// backend and the table.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if c := callOf(ctx); c != nil {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", c.id))
		if c.conn != nil {
			if b := c.conn.backend(); b != nil {
				r.AddAttrs(slog.Int("backend_pid", int(b.pid)), slog.String("database", b.database))
			}
		}
		if c.rel != nil {
			r.AddAttrs(slog.String("server", c.rel.def.GetServerName()), slog.String("user", c.rel.def.GetUserName()))
			if c.rel.def.GetTableName() != "" {
				r.AddAttrs(slog.String("table", c.rel.spec.Schema+"."+c.rel.spec.Name))
			}
		}
	}
	return h.Handler.Handle(ctx, r) //nolint:wrapcheck // a decorator
}

func (h logHandler) WithAttrs(a []slog.Attr) slog.Handler { return logHandler{h.Handler.WithAttrs(a)} }
func (h logHandler) WithGroup(g string) slog.Handler      { return logHandler{h.Handler.WithGroup(g)} }

// newCall gives the RPC its identity.
func (s *Server) newCall(ctx context.Context) (context.Context, *call) {
	n := s.calls.Add(1)
	c := &call{id: s.cfg.Instance + "-" + strconv.FormatUint(n, 36), conn: connOf(ctx)}
	return context.WithValue(ctx, callKey{}, c), c
}

const bridgePrefix = "/hallway.v1.Bridge/"

// ours reports whether a method is the Bridge's, and not health or reflection.
func ours(method string) bool {
	return len(method) > len(bridgePrefix) && method[:len(bridgePrefix)] == bridgePrefix
}

func (s *Server) unaryCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := checkPeer(ctx); err != nil {
		return nil, s.status(ctx, &call{}, err)
	}
	if !ours(info.FullMethod) {
		return handler(ctx, req)
	}
	s.stats.running.Add(1)
	defer s.stats.running.Add(-1)
	ctx, c := s.newCall(ctx)
	start := time.Now()
	var resp any
	err := s.admit(c, info.FullMethod)
	if err == nil {
		resp, err = handler(ctx, req)
	}
	if err != nil {
		s.logFailure(ctx, info.FullMethod, start, err)
		return nil, s.status(ctx, c, err)
	}
	return resp, nil
}

func (s *Server) streamCall(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx := stream.Context()
	if err := checkPeer(ctx); err != nil {
		return s.status(ctx, &call{}, err)
	}
	if !ours(info.FullMethod) {
		return handler(srv, stream)
	}
	s.stats.running.Add(1)
	defer s.stats.running.Add(-1)
	ctx, c := s.newCall(ctx)
	start := time.Now()
	err := s.admit(c, info.FullMethod)
	if err == nil {
		err = handler(srv, &callStream{ServerStream: stream, ctx: ctx})
	}
	if err != nil {
		s.logFailure(ctx, info.FullMethod, start, err)
		return s.status(ctx, c, err)
	}
	return nil
}

// callStream is a stream with the call's context.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *callStream) Context() context.Context { return s.ctx }

// admit lets nothing but Handshake be the first call on a connection.
func (s *Server) admit(c *call, method string) error {
	if method == hallwayv1.Bridge_Handshake_FullMethodName || c.conn == nil || c.conn.backend() != nil {
		return nil
	}
	return protocolError("the connection's first call must be Handshake")
}

// logFailure writes the one line that an operator looks for by request id.
func (s *Server) logFailure(ctx context.Context, method string, start time.Time, err error) {
	level := levelOf(ctx, err)
	if !s.log.Enabled(ctx, level) {
		return
	}
	s.log.Log(ctx, level, "call failed", "method", method[len(bridgePrefix):],
		"took", time.Since(start).Round(time.Microsecond).String(), "error", err.Error())
}

// panicError is a recovered panic.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// recovered makes a panic the error of this one call; the stack is logged.
func (s *Server) recovered(ctx context.Context, p any) error {
	s.stats.panics.Add(1)
	s.log.ErrorContext(ctx, "recovered a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c := callOf(ctx); c != nil && c.write {
		return &connectors.Error{Class: connectors.UnknownOutcome,
			Message: "the sidecar failed while it wrote: whether the API has done it is not known",
			Hint:    "The sidecar's log has the cause; please report it.", Err: &panicError{p}}
	}
	return &connectors.Error{Class: connectors.Internal, Message: "the sidecar failed internally",
		Hint: "The sidecar's log has the cause; please report it.", Err: &panicError{p}}
}

func (s *Server) recovery() (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	h := recovery.WithRecoveryHandlerContext(s.recovered)
	return recovery.UnaryServerInterceptor(h), recovery.StreamServerInterceptor(h)
}
