// EndTransaction: how a local transaction that wrote in an API ended.

package bridge

import (
	"context"
	"log/slog"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// EndTransaction counts, and says in the log when writes outlive a rollback:
// the API keeps them.
func (s *Server) EndTransaction(ctx context.Context, req *hallwayv1.EndTransactionRequest) (*hallwayv1.EndTransactionResponse, error) {
	level := slog.LevelDebug
	switch req.GetEnd() {
	case hallwayv1.TransactionEnd_TRANSACTION_END_COMMIT:
		s.stats.committed.Add(1)
	case hallwayv1.TransactionEnd_TRANSACTION_END_ABORT:
		s.stats.aborted.Add(1)
		level = slog.LevelWarn
	default:
		return nil, protocolError("transaction end %d", req.GetEnd())
	}
	if s.log.Enabled(ctx, level) {
		s.log.Log(ctx, level, "transaction with API writes ended", "end", req.GetEnd().String(),
			"xid", req.GetTransaction().GetXid(), "subxid", req.GetTransaction().GetSubxid())
	}
	return &hallwayv1.EndTransactionResponse{}, nil
}
