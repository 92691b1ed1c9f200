// Package harness starts what an end-to-end test needs and takes it down again:
// a private PostgreSQL cluster with the extension, sidecars, PocketBase.
//
// What a test asserts does not belong here. Nothing outside of a temporary
// directory is written, no cluster of the system is touched, and every process
// started is the child of the test, which ends it by its own id.
package harness

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Env is the ground that all tests of a package share: a directory, the binary
// of the sidecar, a cluster, a sidecar on its default address.
type Env struct {
	// Dir is removed at the end. It and what is in it belong to the user as
	// whom PostgreSQL runs.
	Dir string
	// Root of the repository.
	Root string
	// Hallway is the path of the sidecar's binary.
	Hallway string

	Cluster *Cluster
	Sidecar *Sidecar

	cred *syscall.Credential
	uid  int
	gid  int

	mu      sync.Mutex
	cleanup []func()
	seq     int
}

// Settings of a package's Env. The zero value is what most packages want.
type Settings struct {
	// Postgres are extra lines of postgresql.conf.
	Postgres []string
	// Locale of the cluster's databases: "C" (default), or an ICU locale such
	// as "en-US", under which comparisons are not by byte.
	Locale string
	// Sidecar settings of the shared sidecar.
	Sidecar SidecarSettings
	// NoSidecar leaves it to the tests to start one.
	NoSidecar bool
	// Bare leaves out all that is ours: a cluster alone.
	Bare bool
}

// Main is for TestMain: it starts an Env, hands it over, runs the tests and
// exits with their code. Everything is taken down also when a test panics in
// TestMain's own goroutine; what is left after a kill dies with its parent.
func Main(m *testing.M, s Settings, ready func(*Env)) {
	env, err := Start(s)
	if err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: starting the test environment: %v\n", err)
		os.Exit(1)
	}
	code := 1
	defer func() { env.Stop(); os.Exit(code) }()
	ready(env)
	code = m.Run()
	if code != 0 {
		env.dumpLogs(os.Stderr)
	}
}

// ErrNotBuilt means that hallway.so has not been built: run "make build", or
// set HALLWAY_SO_DIR. HALLWAY_REQUIRE_E2E=1 turns it into a failure.
var ErrNotBuilt = errors.New("hallway.so is not built (run \"make build\", or set HALLWAY_SO_DIR to its directory)")

// Start makes an Env for use outside of a test, as the benchmarks do. The
// caller calls Stop.
func Start(s Settings) (env *Env, err error) {
	root, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	env = &Env{Root: root, uid: os.Getuid(), gid: os.Getgid()}
	defer func() {
		if err != nil {
			env.dumpLogs(os.Stderr)
			env.Stop()
		}
	}()
	if env.uid == 0 {
		if err := env.dropTo("postgres"); err != nil {
			return env, err
		}
	}
	// A short path: a Unix socket's name holds 107 bytes.
	if env.Dir, err = os.MkdirTemp("/tmp", "hw"); err != nil {
		return env, err
	}
	env.Defer(func() { _ = os.RemoveAll(env.Dir) })
	if err := os.Chmod(env.Dir, 0o755); err != nil {
		return env, err
	}
	if err := os.Chown(env.Dir, env.uid, env.gid); err != nil {
		return env, err
	}
	so, err := env.findLibrary()
	if err != nil && !s.Bare {
		return env, err
	}
	if env.Cluster, err = env.StartCluster(s.Locale, so, s.Postgres...); err != nil {
		return env, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	if s.Bare {
		return env, nil
	}
	if env.Hallway, err = env.Build("HALLWAY_BIN", "hallway", root, "./sidecar/cmd/hallway"); err != nil {
		return env, err
	}
	if !s.NoSidecar {
		if env.Sidecar, err = env.StartSidecar(s.Sidecar); err != nil {
			return env, fmt.Errorf("starting the sidecar: %w", err)
		}
	}
	return env, nil
}

// Defer registers f to run at Stop, last first.
func (e *Env) Defer(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanup = append(e.cleanup, f)
}

// Stop ends everything. It may be called twice.
func (e *Env) Stop() {
	for {
		e.mu.Lock()
		n := len(e.cleanup)
		if n == 0 {
			e.mu.Unlock()
			return
		}
		f := e.cleanup[n-1]
		e.cleanup = e.cleanup[:n-1]
		e.mu.Unlock()
		f()
	}
}

// Mkdir makes a directory with a short path that PostgreSQL's user owns.
func (e *Env) Mkdir(name string) (string, error) {
	dir := filepath.Join(e.Dir, fmt.Sprintf("%s%d", name, e.next()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chown(dir, e.uid, e.gid)
}

func (e *Env) next() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	return e.seq
}

// Build gives the path of a Go binary: the one named by the environment
// variable if that is set, else it compiles pkg of the module in dir.
func (e *Env) Build(variable, name, dir, pkg string) (string, error) {
	path := filepath.Join(e.Dir, name)
	if from := os.Getenv(variable); from != "" {
		// A copy, as PostgreSQL's user may not be able to read the original.
		return path, copyFile(from, path, 0o755)
	}
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// findLibrary copies hallway.so to where PostgreSQL's user can read it.
func (e *Env) findLibrary() (string, error) {
	dir := os.Getenv("HALLWAY_SO_DIR")
	if dir == "" {
		dir = filepath.Join(e.Root, "fdw_shim")
	}
	from := filepath.Join(dir, "hallway.so")
	if _, err := os.Stat(from); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotBuilt, err)
	}
	to := filepath.Join(e.Dir, "hallway.so")
	return to, copyFile(from, to, 0o755)
}

func (e *Env) dropTo(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("PostgreSQL does not run as root, and there is no other user for it: %w", err)
	}
	e.uid, _ = strconv.Atoi(u.Uid)
	e.gid, _ = strconv.Atoi(u.Gid)
	e.cred = &syscall.Credential{Uid: uint32(e.uid), Gid: uint32(e.gid)}
	return nil
}

// dumpLogs shows the ends of the logs, for a failure that has no other trace.
func (e *Env) dumpLogs(w *os.File) {
	if os.Getenv("HALLWAY_LOGS") == "" {
		return
	}
	files, _ := filepath.Glob(filepath.Join(e.Dir, "*", "*.log"))
	for _, f := range files {
		fmt.Fprintf(w, "---- %s\n%s\n", f, Tail(f, 4000))
	}
}

// Tail gives the last n bytes of a file, or what went wrong.
func Tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

func copyFile(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	_ = os.Remove(to) // one that runs cannot be written over
	if err := os.WriteFile(to, b, mode); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

func repositoryRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("finding the repository: no caller information")
	}
	dir := filepath.Dir(file)
	for {
		if b, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil &&
			strings.HasPrefix(string(b), "module github.com/hallwaydb/hallway\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("finding the repository: no go.mod above " + file)
		}
		dir = up
	}
}

// Eventually polls until ok says true. It answers false when the time is over.
func Eventually(ctx context.Context, within time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		if ok() {
			return true
		}
		select {
		case <-ctx.Done():
			return ok()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Logf writes progress to standard error, for what runs outside of a test.
func Logf(format string, args ...any) { log.Printf(format, args...) }
