package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// The hint is for what is wrong.
func TestRefusal_SaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err          error
		detail, hint string
	}{
		{fmt.Errorf("x: %w", &database.UnreachableError{Err: errors.New("no socket")}), "no socket", "pg_hba.conf must let it in"},
		{&database.UnreachableError{Err: &pgconn.PgError{Code: "53300", Message: "sorry, too many clients already"}}, "too many clients", "when sessions have ended"},
		{fmt.Errorf("%w: %w", database.ErrBusy, context.DeadlineExceeded), "all connections to the database are in use", "Try again later."},
		{errStopping, "the sidecar is stopping", "Try again later."},
		{&pgconn.PgError{Code: "42501", Message: "permission denied for table write_log"}, "permission denied", "hallway check says which rights"},
		{&pgconn.PgError{Code: "55P03"}, "Somebody holds a lock", "when that session has ended"},
		{&pgconn.PgError{Code: "25006", Message: "cannot execute INSERT in a read-only transaction"}, "read-only", "Write in the primary."},
		{&pgconn.PgError{Code: "53100", Message: "could not extend file: No space left on device"}, "No space left", "Try again later. The option journal 'false'"},
	} {
		e := refusal(c.err)
		require.Equal(t, connectors.Conflict, e.Class)
		require.Contains(t, e.Detail, c.detail)
		require.Contains(t, e.Hint, c.hint)
		require.ErrorIs(t, e, c.err)
	}
}

// What the journal's message leaves to the log is there.
func TestExplain_LogsTheCause(t *testing.T) {
	var log bytes.Buffer
	n := &node{log: slog.New(slog.NewTextHandler(&log, nil))}
	text, transient := n.explain(errors.New("a pipe broke"))
	require.Equal(t, "the sidecar failed; its log has the cause", text)
	require.True(t, transient)
	require.Contains(t, log.String(), "a pipe broke")
}
