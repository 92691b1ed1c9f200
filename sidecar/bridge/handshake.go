// Handshake: the first call of a connection.

package bridge

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
)

// Handshake checks that the two sides speak the same protocol.
func (s *Server) Handshake(ctx context.Context, req *hallwayv1.HandshakeRequest) (*hallwayv1.HandshakeResponse, error) {
	theirs := req.GetProtocol().GetMajor()
	if theirs != ProtocolMajor {
		e := &ownError{code: codes.FailedPrecondition, sqlstate: "08004",
			message: fmt.Sprintf("the extension speaks protocol %d and the sidecar %d", theirs, ProtocolMajor),
			detail:  fmt.Sprintf("Extension %s, sidecar %s.", orUnknown(req.GetShimVersion()), s.cfg.Version)}
		if theirs < ProtocolMajor {
			e.hint = "Upgrade the extension: install the new package, then ALTER EXTENSION hallway UPDATE and connect again."
		} else {
			e.hint = "Upgrade the sidecar and restart it."
		}
		return nil, e
	}
	b := &backend{pid: req.GetBackendPid(), database: req.GetDatabaseName(), version: req.GetServerVersionNum(),
		application: cleanText(req.GetApplicationName(), 256)}
	if req.GetSystemIdentifier() != 0 && req.GetDatabaseOid() != 0 {
		b.identity = cache.Identity{SystemIdentifier: req.GetSystemIdentifier(), Timeline: req.GetTimeline(), DatabaseOID: req.GetDatabaseOid()}
		b.address = cache.Address{SocketDirectory: req.GetSocketDirectory(), Port: req.GetPort(), Database: req.GetDatabaseName()}
	}
	if c := connOf(ctx); c != nil {
		c.peer.Store(b)
	}
	if s.cfg.Replicas != nil && b.identity != (cache.Identity{}) {
		s.cfg.Replicas.Seen(b.identity, b.address)
	}
	if s.cfg.Journal != nil && b.identity != (cache.Identity{}) {
		s.cfg.Journal.Seen(b.identity, b.address)
	}
	s.log.DebugContext(ctx, "backend connected", "shim_version", req.GetShimVersion(),
		"server_version_num", req.GetServerVersionNum(), "application_name", req.GetApplicationName())
	return &hallwayv1.HandshakeResponse{
		Protocol:       &hallwayv1.ProtocolVersion{Major: ProtocolMajor, Minor: ProtocolMinor},
		SidecarVersion: s.cfg.Version, InstanceId: s.cfg.Instance,
	}, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "of unknown version"
	}
	return s
}
