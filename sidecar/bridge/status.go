// What a failed call tells the backend: one table from error classes to
// SQLSTATEs and gRPC codes, and the Error message made by it.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// SQLSTATEs that no error class has.
const (
	stateInternal  = "XX000"
	stateProtocol  = "08P01" // protocol_violation
	stateStalePlan = "55000" // object_not_in_prerequisite_state
	stateCanceled  = "57014" // query_canceled
	statePeer      = "28000" // invalid_authorization_specification
)

// classes is the one home of class -> SQLSTATE; the code is for gRPC's metrics
// and tools alone. level is how the operator sees it: what a user's query or
// data can cause is no warning.
var classes = map[connectors.Class]struct {
	sqlstate string
	code     codes.Code
	level    slog.Level
}{
	connectors.Internal:            {stateInternal, codes.Internal, slog.LevelError},
	connectors.InvalidOption:       {"HV00D", codes.InvalidArgument, slog.LevelInfo},
	connectors.InvalidOptionValue:  {"HV024", codes.InvalidArgument, slog.LevelInfo},
	connectors.InvalidSchema:       {"HV00Q", codes.NotFound, slog.LevelInfo},
	connectors.InvalidColumn:       {"HV005", codes.InvalidArgument, slog.LevelInfo},
	connectors.InvalidValue:        {"HV004", codes.DataLoss, slog.LevelWarn},
	connectors.NotSupported:        {"0A000", codes.Unimplemented, slog.LevelInfo},
	connectors.CheckViolation:      {"23514", codes.InvalidArgument, slog.LevelInfo},
	connectors.NotNullViolation:    {"23502", codes.InvalidArgument, slog.LevelInfo},
	connectors.UniqueViolation:     {"23505", codes.AlreadyExists, slog.LevelInfo},
	connectors.ForeignKeyViolation: {"23503", codes.InvalidArgument, slog.LevelInfo},
	connectors.TooLong:             {"22001", codes.InvalidArgument, slog.LevelInfo},
	connectors.Unauthenticated:     {"28000", codes.Unauthenticated, slog.LevelWarn},
	connectors.PermissionDenied:    {"42501", codes.PermissionDenied, slog.LevelWarn},
	connectors.NotFoundError:       {"HV00R", codes.NotFound, slog.LevelInfo},
	connectors.Conflict:            {"55000", codes.Aborted, slog.LevelInfo},
	connectors.Locked:              {"55P03", codes.Aborted, slog.LevelInfo},
	connectors.RateLimited:         {"53400", codes.ResourceExhausted, slog.LevelWarn},
	connectors.LimitExceeded:       {"54000", codes.ResourceExhausted, slog.LevelWarn},
	connectors.Unavailable:         {"08006", codes.Unavailable, slog.LevelWarn},
	connectors.UnknownOutcome:      {"08007", codes.Unknown, slog.LevelError},
	connectors.Protocol:            {"HV000", codes.DataLoss, slog.LevelWarn},
	connectors.Ambiguous:           {"21000", codes.FailedPrecondition, slog.LevelInfo},
	connectors.NotAggregated:       {"0A000", codes.FailedPrecondition, slog.LevelDebug},
	connectors.DeadlineExceeded:    {stateCanceled, codes.DeadlineExceeded, slog.LevelInfo},
}

// ownError is an error of the bridge itself, with its SQLSTATE.
type ownError struct {
	code          codes.Code
	sqlstate      string
	message       string
	detail, hint  string
	unknownHandle bool
}

func (e *ownError) Error() string { return e.message }

// protocolError is what a shim that follows the contract never gets.
func protocolError(format string, args ...any) error {
	return &ownError{code: codes.InvalidArgument, sqlstate: stateProtocol,
		message: "invalid message from the backend: " + fmt.Sprintf(format, args...),
		hint:    "The extension and the sidecar may be of versions that do not fit; please report it."}
}

// levelOf is how loud an error is in the log.
func levelOf(ctx context.Context, err error) slog.Level {
	var ce *connectors.Error
	var oe *ownError
	switch {
	case errors.As(err, &ce):
		return classes[ce.Class].level
	case errors.As(err, &oe):
		if oe.unknownHandle {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case ctx.Err() != nil, errors.Is(err, rows.ErrStop):
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// status makes the error that gRPC sends.
func (s *Server) status(ctx context.Context, c *call, err error) error {
	code, pe := wireError(ctx, c, err)
	fitWire(pe)
	st, serr := status.New(code, pe.GetMessage()).WithDetails(pe)
	if serr != nil {
		return status.Error(codes.Internal, pe.GetMessage())
	}
	return st.Err()
}

// Bounds of an error's texts in bytes: it travels in HTTP/2 headers, which
// peers bound too, and an API may say a whole HTML page.
const (
	maxMessage = 4 << 10
	maxDetail  = 8 << 10
	maxHint    = 2 << 10
)

// fitWire makes an error's texts fit for the wire and for C.
func fitWire(e *hallwayv1.Error) {
	e.Message = cleanText(e.GetMessage(), maxMessage)
	e.Detail = cleanText(e.GetDetail(), maxDetail)
	e.Hint = cleanText(e.GetHint(), maxHint)
	e.ColumnName = cleanText(e.GetColumnName(), 256)
	e.TableName = cleanText(e.GetTableName(), 256)
}

// cleanText is s as valid UTF-8 without zero bytes, of at most n bytes.
func cleanText(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

// wireError is the Error message of err, and its gRPC code.
func wireError(ctx context.Context, c *call, err error) (codes.Code, *hallwayv1.Error) {
	out := &hallwayv1.Error{RequestId: c.id}
	if c.rel != nil {
		out.TableName = c.rel.spec.Name
	}
	var ce *connectors.Error
	var oe *ownError
	var conv *rows.ConversionError
	var bin *rows.BinaryError
	switch {
	case errors.As(err, &ce):
		return fromConnector(out, ce), out
	case errors.As(err, &bin):
		out.Sqlstate, out.Message = bin.SQLState, bin.Error()
		return codes.InvalidArgument, out
	case errors.As(err, &oe):
		out.Sqlstate, out.Message, out.Detail, out.Hint = oe.sqlstate, oe.message, oe.detail, oe.hint
		out.UnknownHandle = oe.unknownHandle
		return oe.code, out
	case errors.As(err, &conv):
		out.Sqlstate, out.Message = conv.SQLState, conv.Error()
		return codes.DataLoss, out
	case errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		out.Sqlstate, out.Message = stateCanceled, "canceling the API request because the query's time is over"
		return codes.DeadlineExceeded, out
	case errors.Is(err, context.Canceled), errors.Is(err, rows.ErrStop), ctx.Err() != nil:
		out.Sqlstate, out.Message = stateCanceled, "the API request was cancelled"
		return codes.Canceled, out
	}
	// Whatever else it is may hold what nobody should see; the log has it.
	out.Sqlstate, out.Message = stateInternal, "the sidecar failed internally"
	out.Hint = "The sidecar's log has the cause under the request id; please report it."
	return codes.Internal, out
}

// fromConnector fills out and gives the gRPC code.
func fromConnector(out *hallwayv1.Error, e *connectors.Error) codes.Code {
	class, ok := classes[e.Class]
	if !ok {
		class = classes[connectors.Internal]
	}
	out.Sqlstate, out.Message, out.Detail, out.Hint = class.sqlstate, e.Message, e.Detail, e.Hint
	if out.Message == "" {
		out.Message = "the API call failed"
	}
	if e.API != "" {
		out.Message = "[" + e.API + "]: " + out.Message
	}
	out.ColumnName = e.Column
	out.NotAggregated = e.Class == connectors.NotAggregated
	if e.HTTPStatus >= 100 && e.HTTPStatus <= 999 {
		out.HttpStatus = uint32(e.HTTPStatus)
	}
	if e.RetryAfter > 0 {
		ms := e.RetryAfter.Milliseconds()
		out.RetryAfterMs = uint64(max(ms, 1))
		out.Hint = joinSentences("Try again in "+humanWait(e.RetryAfter)+".", out.Hint)
	}
	return class.code
}

func joinSentences(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}

// humanWait rounds up to what a person would wait.
func humanWait(d time.Duration) string {
	secs := int64(math.Ceil(d.Seconds()))
	switch {
	case secs <= 1:
		return "1 second"
	case secs < 120:
		return fmt.Sprintf("%d seconds", secs)
	case secs < 2*3600:
		return fmt.Sprintf("%d minutes", (secs+59)/60)
	}
	return fmt.Sprintf("%d hours", (secs+3599)/3600)
}

// onColumn names the foreign table's column in a conversion error of a scan:
// the value came from the API, so the error is fdw_inconsistent_descriptor_
// information's neighbour HV004, with PostgreSQL's own code in the detail.
func onColumn(err error, columns []connectors.ColumnSpec, positions []int) error {
	var conv *rows.ConversionError
	if !errors.As(err, &conv) {
		return err
	}
	var ce *connectors.Error
	if errors.As(err, &ce) {
		if ce.Column == "" && conv.Column >= 0 && conv.Column < len(positions) {
			with := *ce
			with.Column = columns[positions[conv.Column]].Name
			return &with
		}
		return err
	}
	e := &connectors.Error{Class: connectors.InvalidValue, Message: strings.TrimSpace(conv.Error()), Err: err}
	if conv.SQLState == "54000" {
		e.Class = connectors.LimitExceeded
	}
	if conv.Column >= 0 && conv.Column < len(positions) {
		col := columns[positions[conv.Column]]
		e.Column = col.Name
		e.Message = fmt.Sprintf("column %q: %s", col.Name, conv.Error())
		e.Hint = "Give the column a type that can hold what the API sends, text if nothing else."
	}
	return e
}
