package socket

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Quiet reports that an idle connection has had nothing from its server since its
// last statement: neither its end, which the kernel tells even of a server that was
// killed, nor what one that stops says before. It is a system call in place of a
// round trip.
func Quiet(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var peeked unix.Errno
	// Not Read, which waits for its turn: pgx leaves a reader behind that waits for
	// the next answer if a statement once took long to be sent.
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		peeked = usual().peek(fd, buf[:])
	})
	return err == nil && peeked == unix.EAGAIN
}
