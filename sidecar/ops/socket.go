// Package ops is how the sidecar lives in its system: the socket, the log, the
// metrics, systemd. It knows no RPC and no API.
//
// This file is the Unix socket that backends connect to.
package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another sidecar serves the socket.
var ErrInUse = errors.New("another sidecar is listening there")

// Socket is a listening Unix socket with the lock that says whose it is.
type Socket struct {
	*net.UnixListener
	lock *os.File
	path string
	once sync.Once
}

// ListenUnix listens at path with mode, owned by group (empty: the process's
// own). A socket file that a dead process left is replaced; one that is served,
// or a file that is no socket, is refused. The lock file path + ".lock" stays
// behind: removing it would let two processes hold one each.
func ListenUnix(path string, mode fs.FileMode, group string) (*Socket, error) {
	gid := -1
	if group != "" {
		var err error
		if gid, err = GroupID(group); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the directory %s does not exist", filepath.Dir(path))
		}
		return nil, fmt.Errorf("locking the socket: %w", err)
	}
	s := &Socket{lock: lock, path: path}
	if err := s.listen(mode, gid); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Socket) listen(mode fs.FileMode, gid int) error {
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("listening at %s: %w", s.path, ErrInUse)
		}
		return fmt.Errorf("locking the socket: %w", err)
	}
	if err := removeStale(s.path); err != nil {
		return err
	}
	// Born closed to others, so that nobody connects before the mode is right.
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return fmt.Errorf("listening at %s: %w", s.path, err)
	}
	if gid >= 0 {
		if err := os.Chown(s.path, -1, gid); err != nil {
			_ = l.Close()
			return fmt.Errorf("giving the socket to its group: %w", err)
		}
	}
	if err := os.Chmod(s.path, mode); err != nil {
		_ = l.Close()
		return fmt.Errorf("setting the socket's mode: %w", err)
	}
	s.UnixListener = l
	return nil
}

// Close stops listening and removes the socket file.
func (s *Socket) Close() (err error) {
	s.once.Do(func() {
		if err = s.UnixListener.Close(); err != nil {
			err = fmt.Errorf("closing the socket: %w", err)
		}
		_ = s.lock.Close()
	})
	return err
}

func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("listening at %s: %w", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether %s is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the stale socket: %w", err)
	}
	return nil
}

// GroupID finds a group by name or number.
func GroupID(group string) (int, error) {
	if g, err := user.LookupGroup(group); err == nil {
		group = g.Gid
	}
	n, err := strconv.ParseUint(group, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q", group)
	}
	return int(n), nil
}
