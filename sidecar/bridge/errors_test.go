package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

func TestPanic_IsThatOneCallsError(t *testing.T) {
	f := &fake{
		scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
			panic("scan broke")
		},
		modify: func(context.Context, *connectors.Batch) error { panic("write broke") },
	}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	assert.Equal(t, "XX000", e.GetSqlstate())
	assert.NotContains(t, e.GetMessage()+e.GetDetail()+e.GetHint(), "scan broke", "a panic's text is for the log")
	assert.Contains(t, w.log.String(), "scan broke")
	assert.Contains(t, w.log.String(), "fake_test.go", "the stack is logged")
	assert.Contains(t, w.log.String(), "request_id="+e.GetRequestId())

	_, err = c.Modify(t.Context(), insertOne("x"))
	assert.Equal(t, "08007", wire(t, err).GetSqlstate(), "what the API did before the panic is not known")
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err, "the sidecar lives")
	assert.Equal(t, uint64(2), w.srv.Stats().Panics)
}

func TestErrors_EachClassHasItsSQLSTATE(t *testing.T) {
	for class := connectors.Internal; class <= connectors.NotAggregated; class++ {
		c, ok := classes[class]
		require.True(t, ok, "class %d", class)
		assert.Len(t, c.sqlstate, 5)
		assert.NotEqual(t, codes.OK, c.code)
	}
	assert.Len(t, classes, int(connectors.NotAggregated)+1, "a class was added without a test")
	want := map[connectors.Class]string{
		connectors.CheckViolation: "23514", connectors.NotNullViolation: "23502", connectors.UniqueViolation: "23505",
		connectors.ForeignKeyViolation: "23503", connectors.TooLong: "22001", connectors.Unauthenticated: "28000",
		connectors.PermissionDenied: "42501", connectors.Locked: "55P03", connectors.Conflict: "55000",
		connectors.RateLimited: "53400", connectors.Unavailable: "08006", connectors.UnknownOutcome: "08007",
		connectors.NotSupported: "0A000", connectors.DeadlineExceeded: "57014", connectors.Protocol: "HV000",
		connectors.InvalidOption: "HV00D", connectors.InvalidOptionValue: "HV024", connectors.Ambiguous: "21000",
		connectors.NotAggregated: "0A000",
	}
	for class, state := range want {
		assert.Equal(t, state, classes[class].sqlstate, "class %d", class)
	}
}

func TestErrors_CarryWhatTheUserNeeds(t *testing.T) {
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		return connectors.ScanResult{}, fmt.Errorf("page 3: %w", &connectors.Error{Class: connectors.RateLimited, API: "CRM",
			Message: "the API's rate limit is reached", Detail: "d", Hint: "h.", Column: "name", HTTPStatus: 429,
			RetryAfter: 9500 * time.Millisecond, Err: errors.New("cause for the log")})
	}}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	_, err = drainScan(t, st, err)
	e := wire(t, err)
	assert.Equal(t, "[CRM]: the API's rate limit is reached", e.GetMessage())
	assert.Equal(t, "d", e.GetDetail())
	assert.Equal(t, "Try again in 10 seconds. h.", e.GetHint())
	assert.Equal(t, uint64(9500), e.GetRetryAfterMs())
	assert.Equal(t, uint32(429), e.GetHttpStatus())
	assert.Equal(t, "name", e.GetColumnName())
	soon(t, "the log has the cause", func() bool {
		return strings.Contains(w.log.String(), "cause for the log") && strings.Contains(w.log.String(), "request_id="+e.GetRequestId())
	})
}

func TestErrors_UntypedOnesStayInTheLog(t *testing.T) {
	f := &fake{table: func(connectors.TableSpec) error { return errors.New("token=hunter2 was wrong") }}
	w := start(t, f)
	_, err := w.client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	e := wire(t, err)
	assert.Equal(t, "XX000", e.GetSqlstate())
	assert.NotContains(t, err.Error()+e.String(), "hunter2")
}

func TestErrors_HugeAndBrokenTextsFitTheWire(t *testing.T) {
	long := strings.Repeat("é\x00\xff", 1<<16)
	f := &fake{table: func(connectors.TableSpec) error {
		return &connectors.Error{Class: connectors.Protocol, API: "A", Message: long, Detail: long, Hint: long, Column: long}
	}}
	_, err := start(t, f).client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	e := wire(t, err)
	assert.Equal(t, "HV000", e.GetSqlstate())
	assert.LessOrEqual(t, len(e.GetMessage()), maxMessage)
	assert.True(t, strings.HasSuffix(e.GetDetail(), "..."))
	assert.NotContains(t, e.GetMessage(), "\x00")
}
