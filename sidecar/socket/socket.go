// Package socket reads and writes connections without waking up the Go runtime's
// monitor for it.
//
// Between two short calls all of a sidecar's threads sleep, the runtime's monitor
// (sysmon) included. The first system call after that, as package syscall makes
// it, wakes the monitor, which is to take the processor away from a call that
// blocks. In a virtual machine that halts idle processors, waking a thread costs
// the caller tens of microseconds, and a backend waits meanwhile; the monitor then
// looks around each 20 us for a millisecond. A descriptor that does not block has
// no need of it. Measured in docs/adr/0023.
package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxTransfer bounds one system call, in bytes: the runtime can neither stop nor
// replace the thread that makes it.
const maxTransfer = 64 << 10

// Unwatched gives c with a Read and a Write of its own, to be used in place of c from
// now on; closing either closes both. It behaves as c does, deadlines, concurrent
// use and kinds of errors included, and it is a syscall.Conn. What is neither TCP nor
// a Unix stream is given back as it is.
func Unwatched(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return unwatch(c, usual())
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			return unwatch(c, usual())
		}
	}
	return c
}

// watched is what the package net's connections are.
type watched interface {
	net.Conn
	syscall.Conn
}

type unwatched struct {
	watched
	in, out transfer
}

func unwatch(c watched, by calls) net.Conn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c // it is closed, and says so when it is read
	}
	u := &unwatched{watched: c}
	u.in = transfer{wait: raw.Read, call: by.read}
	u.out = transfer{wait: raw.Write, call: by.write}
	u.in.try, u.out.try = u.in.attempt, u.out.attempt
	return u
}

func (u *unwatched) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return u.watched.Read(p) //nolint:wrapcheck // a net.Conn in place of another
	}
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	n, err := u.in.do(p)
	if err != nil {
		return 0, u.failed("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (u *unwatched) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return u.watched.Write(p) //nolint:wrapcheck // as above
	}
	u.out.mu.Lock()
	defer u.out.mu.Unlock()
	done := 0
	for done < len(p) {
		n, err := u.out.do(p[done:])
		if err != nil {
			return done, u.failed("write", err)
		}
		done += n
	}
	return done, nil
}

// failed is err as the package net would have told it.
func (u *unwatched) failed(op string, err error) error {
	var told *net.OpError
	if errors.As(err, &told) {
		told.Op = op // "raw-read"
		return told
	}
	return &net.OpError{Op: op, Net: u.LocalAddr().Network(), Source: u.LocalAddr(), Addr: u.RemoteAddr(),
		Err: os.NewSyscallError(op, err)}
}

// transfer is one direction of a connection.
type transfer struct {
	wait func(func(fd uintptr) bool) error
	call func(fd uintptr, p []byte) (int, unix.Errno)
	// try is attempt, made a function once for all calls.
	try func(fd uintptr) bool

	mu  sync.Mutex // of what follows, for a Read or Write as a whole
	p   []byte
	n   int
	err error
}

// do makes one system call that moves something, once the descriptor is ready for
// it. mu is held.
func (t *transfer) do(p []byte) (int, error) {
	t.p = p[:min(len(p), maxTransfer)]
	err := t.wait(t.try)
	t.p = nil
	if err != nil {
		return 0, err
	}
	return t.n, t.err
}

// attempt is false while the descriptor is not ready.
func (t *transfer) attempt(fd uintptr) bool {
	for {
		n, errno := t.call(fd, t.p)
		switch errno {
		case 0:
			t.n, t.err = n, nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		default:
			t.n, t.err = 0, errno
		}
		return true
	}
}
