// EndTransaction: how a local transaction that wrote in an API ended.

package bridge

import (
	"context"
	"log/slog"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
)

// EndTransaction counts, and has the journal look what became of the transaction:
// what this message says is a hint, PostgreSQL's own word is what counts.
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
	if c := callOf(ctx); s.cfg.Journal != nil && c != nil && c.conn != nil {
		if peer := c.conn.backend(); peer != nil && peer.identity != (cache.Identity{}) && req.GetTransaction().GetXid() != 0 {
			s.cfg.Journal.Ended(peer.identity, peer.address, req.GetTransaction().GetXid())
		}
	}
	if s.log.Enabled(ctx, level) {
		s.log.Log(ctx, level, "transaction with API writes ended", "end", req.GetEnd().String(),
			"xid", req.GetTransaction().GetXid(), "subxid", req.GetTransaction().GetSubxid())
	}
	return &hallwayv1.EndTransactionResponse{}, nil
}
