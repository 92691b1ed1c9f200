// The sidecar under test.

package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// SidecarSettings are those of one sidecar.
type SidecarSettings struct {
	// Socket path; empty: a new one.
	Socket string
	// Args and Environ are passed on.
	Args, Environ []string
	// Manifests is the directory of manifests; empty: the repository's
	// examples.
	Manifests string
	// AllowHosts; nil: 127.0.0.1 with every port.
	AllowHosts []string
	// Program instead of the one that the Env built.
	Program string
}

// Sidecar is a "hallway serve" on a Unix socket.
type Sidecar struct {
	*Process
	Socket   string
	settings SidecarSettings
	env      *Env
}

// Address is what the server option or setting "address" takes.
func (s *Sidecar) Address() string { return "unix:" + s.Socket }

// StartSidecar starts a sidecar and waits until it accepts connections. It ends
// with the Env.
func (e *Env) StartSidecar(settings SidecarSettings) (*Sidecar, error) {
	if settings.Socket == "" {
		dir, err := e.Mkdir("sc")
		if err != nil {
			return nil, err
		}
		settings.Socket = filepath.Join(dir, "s")
	}
	s := &Sidecar{Socket: settings.Socket, settings: settings, env: e}
	if err := s.Start(); err != nil {
		return nil, err
	}
	e.Defer(func() { _ = s.Stop(syscall.SIGTERM, 5*time.Second) })
	return s, nil
}

// NewSidecar is StartSidecar for one test: the sidecar ends with it.
func (e *Env) NewSidecar(t testing.TB, settings SidecarSettings) *Sidecar {
	t.Helper()
	s, err := e.StartSidecar(settings)
	if err != nil {
		t.Fatalf("starting a sidecar: %v", err)
	}
	t.Cleanup(func() { _ = s.Stop(syscall.SIGTERM, 5*time.Second) })
	return s
}

// Start starts it (again) on the same socket.
func (s *Sidecar) Start() error {
	program := s.settings.Program
	if program == "" {
		program = s.env.Hallway
	}
	dir := filepath.Dir(s.Socket)
	p, err := s.env.Spawn("hallway serve", dir, filepath.Join(dir, "hallway.log"), s.settings.environ(s.env), syscall.SIGKILL,
		append([]string{program}, s.settings.argv(s.env, s.Socket)...)...)
	if err != nil {
		return err
	}
	s.Process = p
	return p.wait(10*time.Second, func() error {
		c, err := net.Dial("unix", s.Socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Restart ends the sidecar (with SIGKILL if hard) and starts it again.
func (s *Sidecar) Restart(t testing.TB, hard bool) {
	t.Helper()
	if hard {
		s.Kill()
	} else if err := s.Stop(syscall.SIGTERM, 5*time.Second); err != nil {
		t.Fatalf("stopping the sidecar: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatalf("restarting the sidecar: %v", err)
	}
}

// RSS of a process in bytes, from /proc.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil {
		return 0, err
	}
	// Shared pages are PostgreSQL's buffers, which a scan may touch.
	return (resident - shared) * int64(os.Getpagesize()), nil
}

// CPU time that a process has used, all of its threads together.
func CPU(pid int) (time.Duration, error) {
	var ts unix.Timespec
	// The kernel's encoding of another process's CPU clock, as
	// clock_getcpuclockid(3) gives it: the scheduler's own count.
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// environ and argv say the settings in the words of "hallway serve".
func (s SidecarSettings) environ(*Env) []string { return s.Environ }

func (s SidecarSettings) argv(e *Env, socket string) []string {
	manifests := s.Manifests
	if manifests == "" {
		manifests = filepath.Join(e.Root, "examples")
	}
	hosts := s.AllowHosts
	if hosts == nil {
		hosts = []string{"127.0.0.1"}
	}
	return append([]string{"serve", "--listen", "unix:" + socket, "--manifests", manifests,
		"--allow-hosts", strings.Join(hosts, ",")}, s.Args...)
}
