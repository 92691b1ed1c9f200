// Who is at the other end of the socket: the kernel's word (SO_PEERCRED), not
// the peer's own.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/hallwaydb/hallway/sidecar/socket"
)

// PeerCredentials are gRPC transport credentials for Unix sockets. A peer
// whose user allowed refuses is told so on each call.
func PeerCredentials(allowed func(uid uint32) bool) credentials.TransportCredentials {
	return peerCredentials{allowed}
}

type peerCredentials struct{ allowed func(uid uint32) bool }

// peerInfo is a connection's AuthInfo.
type peerInfo struct {
	credentials.CommonAuthInfo
	uid, gid uint32
	pid      int32
	allowed  bool
}

func (peerInfo) AuthType() string { return "unix" }

func (c peerCredentials) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("the connection is not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	if cerr != nil {
		return nil, nil, fmt.Errorf("reading the peer's credentials: %w", cerr)
	}
	return socket.Unwatched(nc), peerInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		uid: cred.Uid, gid: cred.Gid, pid: cred.Pid, allowed: c.allowed(cred.Uid)}, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// checkPeer refuses the calls of a peer that is not allowed.
func checkPeer(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(peerInfo)
	if !ok || info.allowed {
		return nil
	}
	return &ownError{code: codes.PermissionDenied, sqlstate: statePeer,
		message: fmt.Sprintf("the sidecar does not serve operating system user %d", info.uid),
		hint:    "Add the user that PostgreSQL runs as to allow_users in the sidecar's settings."}
}
