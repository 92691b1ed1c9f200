// A child process: started with PostgreSQL's user's identity where needed, in a
// group of its own, and sure to end with the test.

package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running child. Its output goes to Log.
type Process struct {
	Name string
	Log  string

	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	err error
}

// Spawn starts a program in dir with its output appended to log. death is the
// signal it gets when the test process dies.
func (e *Env) Spawn(name, dir, log string, env []string, death syscall.Signal, argv ...string) (*Process, error) {
	return e.spawn(e.cred, name, dir, log, env, death, argv...)
}

func (e *Env) spawn(cred *syscall.Credential, name, dir, log string, env []string, death syscall.Signal, argv ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(cleanEnviron(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death, Credential: cred}
	p := &Process{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that forked. An os.Process that is
		// waited for here keeps this goroutine, and LockOSThread its thread,
		// for as long as the child lives.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// PID of the child.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited reports whether the child has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends sig to the child alone.
func (p *Process) Signal(sig syscall.Signal) error {
	if p.Exited() {
		return os.ErrProcessDone
	}
	return p.cmd.Process.Signal(sig)
}

// Freeze sends SIGSTOP and returns when every thread of the child has stopped:
// the signal is on its way when kill() returns, and threads that are on another
// processor go on for a moment. SIGCONT wakes it.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stopped, err := p.allStopped()
		if err != nil || stopped {
			return err
		}
	}
	return errors.New("the process did not stop within 30 s of SIGSTOP")
}

func (p *Process) allStopped() (bool, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return false, fmt.Errorf("listing threads: %w", err)
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return false, fmt.Errorf("reading a thread's state: %w", err)
		}
		// "pid (name) state ...", and the name may hold parentheses.
		if _, state, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), ") "); !ok || state[0] != 'T' {
			return false, nil
		}
	}
	return len(stats) > 0, nil
}

// Stop sends sig, waits up to the given time, then kills the child's group.
// A process that has ended already is no error.
func (p *Process) Stop(sig syscall.Signal, within time.Duration) error {
	if p == nil || p.Exited() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(within):
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s did not end within %s of %s", p.Name, within, sig)
}

// Kill ends the child with SIGKILL and waits for it.
func (p *Process) Kill() {
	if p.Exited() {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Err is how the child ended; nil while it runs.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// wait polls ready until it succeeds, the child ends, or time is over.
func (p *Process) wait(within time.Duration, ready func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if p.Exited() {
			return fmt.Errorf("%s ended at once: %w\n%s", p.Name, errors.Join(p.Err()), Tail(p.Log, 3000))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w\n%s", p.Name, within, err, Tail(p.Log, 3000))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cleanEnviron is the environment without what would lead a child to another
// cluster, or change the language of its messages.
func cleanEnviron() []string {
	var out []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") ||
			strings.HasPrefix(kv, "LANG") || strings.HasPrefix(kv, "HALLWAY_") {
			continue
		}
		out = append(out, kv)
	}
	return append(out, "LC_ALL=C.UTF-8")
}
