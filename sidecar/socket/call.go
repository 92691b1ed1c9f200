package socket

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the system calls, on descriptors that do not block and with a byte at
// least to move.
type calls struct {
	read, write func(fd uintptr, p []byte) (int, unix.Errno)
	// peek is without effect on what is read next.
	peek func(fd uintptr, p []byte) unix.Errno
}

// unannounced are the kernel's, without a word to the runtime.
func unannounced() calls {
	return calls{
		read:  func(fd uintptr, p []byte) (int, unix.Errno) { return kernel(unix.SYS_READ, fd, p, 0) },
		write: func(fd uintptr, p []byte) (int, unix.Errno) { return kernel(unix.SYS_WRITE, fd, p, 0) },
		peek: func(fd uintptr, p []byte) unix.Errno {
			_, errno := kernel(unix.SYS_RECVFROM, fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return errno
		},
	}
}

func kernel(trap, fd uintptr, p []byte, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
	return int(n), errno
}

// announced are package syscall's. They tell the race detector what memory they
// change, and that what is written comes before what is read of it.
func announced() calls {
	return calls{
		read:  func(fd uintptr, p []byte) (int, unix.Errno) { return number(syscall.Read(int(fd), p)) },
		write: func(fd uintptr, p []byte) (int, unix.Errno) { return number(syscall.Write(int(fd), p)) },
		peek: func(fd uintptr, p []byte) unix.Errno {
			n, _, err := syscall.Recvfrom(int(fd), p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			_, errno := number(n, err)
			return errno
		},
	}
}

func number(n int, err error) (int, unix.Errno) {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return 0, errno
	}
	return n, 0
}
