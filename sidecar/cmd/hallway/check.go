// hallway check: what is wrong with this installation, and how to mend it.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/sidecar/ops"
	"github.com/hallwaydb/hallway/sidecar/secret"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

var errChecksFailed = errors.New("some checks failed")

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the settings and the running sidecar, and say how to mend what is wrong",
		Long: `Check the settings, the socket and the sidecar behind it, manifests, secrets,
allowed hosts, and the role's rights in the databases. Each line begins with ok,
warn or FAIL; the exit code is 1 when one failed. Run it with the settings, and as
the user, of the sidecar.`,
		Args: cobra.NoArgs,
	}
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r := &report{out: cmd.OutOrStdout()}
		s, err := load()
		if err != nil {
			r.fail("settings", err.Error(), "Correct the setting; \"hallway settings\" explains each.")
			return errChecksFailed
		}
		r.ok("settings", "valid")
		r.run(cmd.Context(), s)
		if r.failed {
			return errChecksFailed
		}
		return nil
	}
	return cmd
}

// report prints findings.
type report struct {
	out    io.Writer
	failed bool
}

func (r *report) line(verdict, what, text, mend string) {
	fmt.Fprintf(r.out, "%-4s  %-9s  %s\n", verdict, what, text)
	if mend != "" {
		fmt.Fprintf(r.out, "%17s%s\n", "", mend)
	}
}

func (r *report) ok(what, text string)         { r.line("ok", what, text, "") }
func (r *report) warn(what, text, mend string) { r.line("warn", what, text, mend) }
func (r *report) fail(what, text, mend string) {
	r.failed = true
	r.line("FAIL", what, text, mend)
}

func (r *report) run(ctx context.Context, s *config.Settings) {
	r.users(s)
	r.socket(ctx, s)
	r.manifests(s)
	r.secrets(s)
	r.hosts(ctx, s)
	r.databases(ctx, s, socketDirectories())
}

func (r *report) users(s *config.Settings) {
	if s.SocketGroup != "" {
		if _, err := ops.GroupID(s.SocketGroup); err != nil {
			complain := r.warn
			if s.Given("socket_group") {
				complain = r.fail
			}
			complain("users", err.Error(), "Set socket_group to a group that the operating system user of PostgreSQL is in.")
		}
	}
	if _, missing := s.UIDs(); len(missing) > 0 {
		r.warn("users", "unknown in allow_users: "+strings.Join(missing, ", "), "Set allow_users to the operating system user of PostgreSQL.")
		return
	}
	r.ok("users", "may connect: "+strings.Join(s.AllowUsers, ", "))
}

func (r *report) socket(ctx context.Context, s *config.Settings) {
	path := s.SocketPath()
	const start = `Start the sidecar: "systemctl start hallway", or "hallway serve".`
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, derr := os.Stat(filepath.Dir(path)); derr != nil {
			r.fail("socket", "the directory "+filepath.Dir(path)+" does not exist",
				"Create it, writable by the sidecar's user; the systemd unit does that (RuntimeDirectory).")
			return
		}
		r.fail("socket", path+" does not exist: the sidecar does not run", start)
		return
	case err != nil:
		r.fail("socket", err.Error(), "Run this check as the sidecar's user.")
		return
	case st.Mode()&fs.ModeSocket == 0:
		r.fail("socket", path+" is not a socket", "Remove the file, or set listen to another path.")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		mend := start
		if errors.Is(err, syscall.EACCES) {
			mend = "Run this check as the sidecar's user or a member of socket_group."
		}
		r.fail("socket", fmt.Sprintf("%s cannot be connected to: %v", path, cause(err)), mend)
		return
	}
	_ = c.Close()
	mode := fmt.Sprintf("mode %04o", st.Mode().Perm())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		mode += fmt.Sprintf(", user %d, group %d", sys.Uid, sys.Gid)
	}
	answer, err := shakeHands(ctx, path)
	switch {
	case err != nil:
		r.fail("sidecar", fmt.Sprintf("answers no handshake: %s", status.Convert(err).Message()), "Look into its log, and restart it.")
	case answer.GetSidecarVersion() != version:
		r.warn("sidecar", fmt.Sprintf("version %s runs, and %s is installed", answer.GetSidecarVersion(), version), "Restart the sidecar.")
	default:
		r.ok("sidecar", fmt.Sprintf("version %s answers at %s (%s)", answer.GetSidecarVersion(), path, mode))
	}
}

func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func shakeHands(ctx context.Context, path string) (*hallwayv1.HandshakeResponse, error) {
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = cc.Close() }()
	return hallwayv1.NewBridgeClient(cc).Handshake(ctx, &hallwayv1.HandshakeRequest{
		Protocol:    &hallwayv1.ProtocolVersion{Major: bridge.ProtocolMajor, Minor: bridge.ProtocolMinor},
		ShimVersion: "check " + version, BackendPid: int32(os.Getpid()),
	})
}

func (r *report) manifests(s *config.Settings) {
	if s.Manifests == "" {
		r.ok("manifests", "none: no directory is set")
		return
	}
	entries, err := os.ReadDir(s.Manifests)
	if errors.Is(err, fs.ErrNotExist) && !s.Given("manifests") {
		r.ok("manifests", "none: "+s.Manifests+" does not exist")
		return
	}
	if err != nil {
		r.fail("manifests", err.Error(), "Create the directory, readable by the sidecar's user, or set manifests to another.")
		return
	}
	n, bad := 0, false
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".yaml" && ext != ".yml" {
			continue
		}
		n++
		for _, p := range checkManifest(filepath.Join(s.Manifests, e.Name())) {
			bad = true
			r.fail("manifests", p, "")
		}
	}
	if !bad {
		r.ok("manifests", fmt.Sprintf("%d in %s", n, s.Manifests))
	}
}

func (r *report) secrets(s *config.Settings) {
	if s.Secrets == "" && s.SecretsEnv == "" {
		r.ok("secrets", "none: no store is set")
		return
	}
	bad := false
	fail := func(text, mend string) {
		bad = true
		r.fail("secrets", text, mend)
	}
	if s.Secrets != "" {
		st, err := os.Stat(s.Secrets)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !s.Given("secrets"):
		case err != nil:
			fail(err.Error(), "Create the directory: install -d -m 0750 -o root -g hallway "+s.Secrets)
		case !st.IsDir():
			fail(s.Secrets+" is not a directory", "Set secrets to a directory.")
		case st.Mode().Perm()&0o022 != 0:
			fail(fmt.Sprintf("others can write to %s (mode %04o)", s.Secrets, st.Mode().Perm()), "Run chmod 0750 "+s.Secrets)
		}
	}
	store := secret.NewStore(s.Secrets, s.SecretsEnv)
	names, err := store.Names()
	if err != nil {
		fail(err.Error(), "Run this check as the sidecar's user.")
		return
	}
	for _, n := range names {
		if _, err := store.Lookup(n); err != nil {
			fail(err.Error(), "")
		}
	}
	if !bad {
		text := "none"
		if len(names) > 0 {
			text = "readable: " + strings.Join(names, ", ")
		}
		r.ok("secrets", text)
	}
}

func (r *report) hosts(ctx context.Context, s *config.Settings) {
	if len(s.AllowHosts) == 0 {
		r.warn("hosts", "allow_hosts is empty: no API can be called", "Add the hosts of your APIs to allow_hosts.")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, h := range s.AllowHosts {
		if err := transport.CheckHost(ctx, h); err != nil {
			r.warn("hosts", err.Error(), "")
		}
	}
	r.ok("hosts", "allowed: "+strings.Join(s.AllowHosts, ", "))
}
