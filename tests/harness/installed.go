// A cluster in which CREATE EXTENSION works, without touching the system's files.

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartInstalled starts a cluster in which the extension is installed. PostgreSQL
// finds extensions from where its own program lies, so it runs from a tree that
// looks as the installed one: copies of the programs that look, links for the
// rest, and the extension's files.
func (e *Env) StartInstalled(settings ...string) (*Cluster, error) {
	root, err := e.Mkdir("tree")
	if err != nil {
		return nil, err
	}
	dir := map[string]string{}
	for _, what := range []string{"bindir", "sharedir", "pkglibdir"} {
		pgConfig := os.Getenv("PG_CONFIG")
		if pgConfig == "" {
			pgConfig = "pg_config"
		}
		out, err := exec.Command(pgConfig, "--"+what).Output()
		if err != nil {
			return nil, fmt.Errorf("asking pg_config for PostgreSQL's directories: %w", err)
		}
		dir[what] = strings.TrimSpace(string(out))
	}
	bin, share, lib := dir["bindir"], dir["sharedir"], dir["pkglibdir"]
	ours := func(name string) bool { return strings.HasPrefix(name, "hallway") || name == "extension" }
	programs := func(name string) bool { return name == "postgres" || name == "initdb" || name == "pg_ctl" }
	for from, except := range map[string]func(string) bool{
		bin: programs, share: ours, lib: ours, filepath.Join(share, "extension"): ours,
	} {
		if err := linkAll(from, filepath.Join(root, from), except); err != nil {
			return nil, err
		}
	}
	copies := map[string]string{e.Cluster.Library: filepath.Join(root, lib, "hallway.so")}
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		copies[filepath.Join(bin, name)] = filepath.Join(root, bin, name)
	}
	files, err := filepath.Glob(filepath.Join(e.Root, "sql", "hallway*"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding the extension's files: %w", err)
	}
	for _, f := range files {
		copies[f] = filepath.Join(root, share, "extension", filepath.Base(f))
	}
	for from, to := range copies {
		b, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			return nil, err
		}
	}
	// The server runs as another user.
	if out, err := exec.Command("chmod", "-R", "a+rX", root).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("opening %s: %w: %s", root, err, out)
	}
	return e.startCluster(filepath.Join(root, bin), "C", "hallway", settings)
}

// linkAll makes directory to, with a link for each entry of from but some.
func linkAll(from, to string, except func(name string) bool) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if except(entry.Name()) {
			continue
		}
		if err := os.Symlink(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
