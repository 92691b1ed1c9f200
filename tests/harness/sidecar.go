// The sidecar under test.

package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
	// Manifests is the directory of manifests; empty: one with those of the
	// repository's examples and of tests/fakes.
	Manifests string
	// AllowHosts; nil: 127.0.0.1 with every port.
	AllowHosts []string
	// AsSelf runs it as the test's own user, not PostgreSQL's.
	AsSelf bool
	// Program instead of the one that the Env built.
	Program string
	// Cache lets it keep rows in the databases; else every query calls the API.
	Cache bool
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
	if settings.Manifests == "" {
		dir, err := e.manifests()
		if err != nil {
			return nil, fmt.Errorf("collecting manifests: %w", err)
		}
		settings.Manifests = dir
	}
	s := &Sidecar{Socket: settings.Socket, settings: settings, env: e}
	if err := s.Start(); err != nil {
		return nil, err
	}
	e.Defer(func() { _ = s.Stop(syscall.SIGTERM, 30*time.Second) })
	return s, nil
}

// NewSidecar is StartSidecar for one test: the sidecar ends with it.
func (e *Env) NewSidecar(t testing.TB, settings SidecarSettings) *Sidecar {
	t.Helper()
	s, err := e.StartSidecar(settings)
	if err != nil {
		t.Fatalf("starting a sidecar: %v", err)
	}
	t.Cleanup(func() { _ = s.Stop(syscall.SIGTERM, 30*time.Second) })
	return s
}

// Start starts it (again) on the same socket.
func (s *Sidecar) Start() error {
	program := s.settings.Program
	if program == "" {
		program = s.env.Hallway
	}
	dir := filepath.Dir(s.Socket)
	cred := s.env.cred
	if s.settings.AsSelf {
		cred = nil
	}
	p, err := s.env.spawn(cred, "hallway serve", dir, filepath.Join(dir, "hallway.log"), s.settings.Environ, syscall.SIGKILL,
		append([]string{program}, s.settings.argv(s.Socket)...)...)
	if err != nil {
		return err
	}
	s.Process = p
	return p.wait(time.Minute, func() error {
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
	} else if err := s.Stop(syscall.SIGTERM, 30*time.Second); err != nil {
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

// argv says the settings in the words of "hallway serve".
func (s SidecarSettings) argv(socket string) []string {
	hosts := s.AllowHosts
	if hosts == nil {
		hosts = []string{"127.0.0.1"}
	}
	return append([]string{"serve", "--listen", "unix:" + socket, "--manifests", s.Manifests,
		"--allow-hosts", strings.Join(hosts, ","), "--socket-group", "", "--secrets", "", "--tokens", "", "--drain", "2s",
		// A machine that is busy with other tests may take longer than the default.
		"--database-timeout", "30s",
		"--cache", strconv.FormatBool(s.Cache)}, s.Args...)
}

// manifests is a directory with the manifests of the repository's examples and
// of the tests.
func (e *Env) manifests() (string, error) {
	dir, err := e.Mkdir("manifests")
	if err != nil {
		return "", err
	}
	for _, pattern := range []string{"examples/*.yaml", "tests/fakes/manifests/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(e.Root, pattern))
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if err := copyFile(f, filepath.Join(dir, filepath.Base(f)), 0o644); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// ResetPeak forgets a process's peak of memory, and PeakRSS reads it in bytes.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// PeakRSS is the most memory a process had resident since it began or ResetPeak
// was called, less the shared memory that it has mapped now.
func PeakRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	field := func(name string) int64 {
		_, after, _ := strings.Cut(string(b), name+":")
		var kb int64
		_, _ = fmt.Sscan(after, &kb)
		return kb << 10
	}
	return field("VmHWM") - field("RssShmem"), nil
}
