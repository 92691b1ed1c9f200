// hallway check: whether the sidecar may log in where it keeps rows.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/sidecar/config"
)

// socketDirectories are where servers of this machine usually listen. The
// sidecar itself is told by each backend.
func socketDirectories() []string {
	if dir := os.Getenv("PGHOST"); filepath.IsAbs(dir) {
		return []string{dir}
	}
	return []string{"/run/postgresql", "/tmp"}
}

// databases tries the role at every server that listens in dirs.
func (r *report) databases(ctx context.Context, s *config.Settings, dirs []string) {
	if !s.Cache {
		r.ok("cache", "off: every query calls the API")
		return
	}
	const prefix = ".s.PGSQL."
	found := false
	for _, dir := range dirs {
		sockets, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
		for _, path := range sockets {
			port := strings.TrimPrefix(filepath.Base(path), prefix)
			if strings.HasSuffix(port, ".lock") {
				continue
			}
			found = true
			r.role(ctx, s, dir, port)
		}
	}
	if !found {
		r.warn("cache", "no PostgreSQL listens in "+strings.Join(dirs, " or "),
			"Start it, or set PGHOST to the directory of its socket for this check.")
	}
}

func (r *report) role(ctx context.Context, s *config.Settings, dir, port string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at := fmt.Sprintf("%s, port %s", dir, port)
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err == nil {
		_, err = fmt.Sscan(port, &cfg.Port)
	}
	if err != nil {
		r.fail("cache", fmt.Sprintf("%s: %v", at, err), "")
		return
	}
	cfg.Host, cfg.User, cfg.Database, cfg.Password, cfg.Fallbacks = dir, s.DatabaseRole, "postgres", "", nil
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	var pe *pgconn.PgError
	switch {
	case err == nil:
		_ = conn.Close(ctx)
		r.ok("cache", fmt.Sprintf("role %s may log in at %s", s.DatabaseRole, at))
	case errors.As(err, &pe) && strings.Contains(pe.Message, "does not exist"):
		r.warn("cache", fmt.Sprintf("%s: %s", at, pe.Message), "CREATE EXTENSION hallway makes it; without it nothing is cached there.")
	case errors.As(err, &pe) && (pe.Code == "28000" || pe.Code == "28P01"):
		r.warn("cache", fmt.Sprintf("%s: %s", at, pe.Message), fmt.Sprintf(
			"Nothing is cached there. Run this check as the sidecar's user; pg_hba.conf needs \"local all %s peer\", with a map if that user has another name.", s.DatabaseRole))
	default:
		r.warn("cache", fmt.Sprintf("%s: %v", at, err), "Nothing is cached there as long as that lasts.")
	}
}
