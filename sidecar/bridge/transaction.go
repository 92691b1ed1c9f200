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
	s.ended(ctx, req.GetTransaction().GetXid())
	if s.log.Enabled(ctx, level) {
		s.log.Log(ctx, level, "transaction with API writes ended", "end", req.GetEnd().String(),
			"xid", req.GetTransaction().GetXid(), "subxid", req.GetTransaction().GetSubxid())
	}
	return &hallwayv1.EndTransactionResponse{}, nil
}

// committed is EndTransaction for what a Modify tells of a transaction before it.
func (s *Server) committed(ctx context.Context, xid uint64) {
	if xid == 0 {
		return
	}
	s.stats.committed.Add(1)
	s.ended(ctx, xid)
}

// ended has the journal look what became of a transaction.
func (s *Server) ended(ctx context.Context, xid uint64) {
	c := callOf(ctx)
	if s.cfg.Journal == nil || c == nil || c.conn == nil || xid == 0 {
		return
	}
	if peer := c.conn.backend(); peer != nil && peer.identity != (cache.Identity{}) {
		s.cfg.Journal.Ended(peer.identity, peer.address, xid)
	}
}
