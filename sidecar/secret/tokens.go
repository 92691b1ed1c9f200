// What authorization servers gave us: refresh tokens, which many of them change
// with each use, so that losing one means asking a person again.

package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Tokens keeps them in a directory, a file each that only its owner can read.
// All sidecars that use one credential must share the directory.
type Tokens struct{ dir string }

// NewTokens keeps tokens in dir, which is made when it is needed.
func NewTokens(dir string) *Tokens { return &Tokens{dir: dir} }

// ErrNoTokens says that there is no directory for tokens.
var ErrNoTokens = errors.New("the sidecar has no directory for tokens")

// lockPoll is how often a lock that another process has is asked for.
const lockPoll = 20 * time.Millisecond

// Read gives what is kept under a name; nil: nothing.
func (t *Tokens) Read(name string) ([]byte, error) {
	if err := t.check(name); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the directory of tokens: %w", err)
	}
	defer func() { _ = root.Close() }()
	data, err := read(root, name, name+".token")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Exchange gives renew what is kept under name, nil if nothing is, and keeps what
// renew returns: it is on the disk when Exchange returns. While renew runs no
// other Exchange of the name does, in whatever process. What renew returns with
// an error, or that is nil, is not kept.
func (t *Tokens) Exchange(ctx context.Context, name string, renew func(kept []byte) ([]byte, error)) error {
	if err := t.check(name); err != nil {
		return err
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of tokens: %w", err)
	}
	unlock, err := t.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	kept, err := t.Read(name)
	if err != nil {
		return err
	}
	data, err := renew(kept)
	if err != nil || data == nil {
		return err
	}
	return t.write(name, data)
}

func (t *Tokens) check(name string) error {
	if t == nil || t.dir == "" {
		return ErrNoTokens
	}
	if reason := badName(name); reason != "" {
		return &Error{Name: name, Reason: reason}
	}
	return nil
}

// lock takes the name for this process; the kernel frees it when we die.
func (t *Tokens) lock(ctx context.Context, name string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(t.dir, name+".lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of token %q: %w", name, err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("locking token %q: %w", name, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("waiting for another renewal of token %q: %w", name, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// write replaces a file as a whole, or not at all.
func (t *Tokens) write(name string, data []byte) error {
	f, err := os.CreateTemp(t.dir, "."+name+".*")
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), filepath.Join(t.dir, name+".token"))
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}
	if err == nil {
		err = syncDir(t.dir)
	}
	if err != nil {
		return fmt.Errorf("keeping token %q: %w", name, err)
	}
	return nil
}

// syncDir makes a rename outlive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // a file system without it
		return fmt.Errorf("syncing the directory: %w", err)
	}
	return nil
}
