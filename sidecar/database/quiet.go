package database

import (
	"errors"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// quiet reports that an idle connection has had nothing from its server since its
// last statement: neither its end, which the kernel tells even of a server that was
// killed, nor what one that stops says before. It costs a thousandth of what asking
// the server costs.
func quiet(conn *pgx.Conn) bool {
	sc, ok := conn.PgConn().Conn().(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		var buf [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EWOULDBLOCK))
}
