package database

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports that an idle connection has had nothing from its server since its
// last statement: neither its end, which the kernel tells even of a server that was
// killed, nor what one that stops says before. It is a system call in place of a
// round trip.
func quiet(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	// Not Read, which waits for its turn: pgx leaves a reader behind that waits for
	// the next answer if a statement once took long to be sent.
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EWOULDBLOCK))
}
