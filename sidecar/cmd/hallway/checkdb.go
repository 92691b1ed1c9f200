// hallway check: whether the sidecar may log in to databases, and may do there what
// the cache and the journal need.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/journal"
)

// socketDirectories are where servers of this machine usually listen. The
// sidecar itself is told by each backend.
func socketDirectories() []string {
	if dir := os.Getenv("PGHOST"); filepath.IsAbs(dir) {
		return []string{dir}
	}
	return []string{"/run/postgresql", "/tmp"}
}

// databases tries the role in the databases of the settings, and in all that have
// the extension at the servers that listen in dirs.
func (r *report) databases(ctx context.Context, s *config.Settings, dirs []string) {
	var named []database.Address
	for _, text := range s.Databases {
		d, err := config.ParseDatabase(text)
		if err != nil {
			r.fail("databases", err.Error(), "")
			continue
		}
		at := database.Address{SocketDirectory: d.Directory, Port: uint32(d.Port), Database: d.Name}
		named = append(named, at)
		r.database(ctx, s, at, true)
	}
	const prefix = ".s.PGSQL."
	found := len(named) > 0
	for _, dir := range dirs {
		sockets, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
		for _, path := range sockets {
			port, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(path), prefix), 10, 16)
			if err != nil {
				continue // the socket's lock
			}
			found = true
			for _, name := range r.names(ctx, s, database.Address{SocketDirectory: dir, Port: uint32(port), Database: "postgres"}) {
				at := database.Address{SocketDirectory: dir, Port: uint32(port), Database: name}
				if !slices.Contains(named, at) {
					r.database(ctx, s, at, false)
				}
			}
		}
	}
	if !found {
		r.warn("databases", "no PostgreSQL listens in "+strings.Join(dirs, " or "),
			"Start it, or set PGHOST to the directory of its socket for this check.")
	}
	if !s.Cache {
		r.ok("cache", "off: every query calls the API")
	}
}

// names of a server's databases that anybody can connect to.
func (r *report) names(ctx context.Context, s *config.Settings, at database.Address) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := database.Connect(ctx, at, s.DatabaseRole)
	if err != nil {
		r.noLogin(s, at, err, false)
		return nil
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	r.ok("databases", fmt.Sprintf("role %s may log in at %s, port %d", s.DatabaseRole, at.SocketDirectory, at.Port))
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname`)
	if err == nil {
		var list []string
		if list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return list
		}
	}
	r.warn("databases", fmt.Sprintf("%s: %v", at, err), "")
	return nil
}

// consequence of a database that cannot be used.
const consequence = "Without that nothing is cached there, and writes are refused but for tables with journal 'false'."

// noLogin says why a database cannot be connected to. One that the settings name
// must be.
func (r *report) noLogin(s *config.Settings, at database.Address, err error, named bool) {
	complain := r.warn
	if named {
		complain = r.fail
	}
	text, mend := fmt.Sprintf("%s: %v", at, errors.Unwrap(err)), consequence
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		text = fmt.Sprintf("%s: %s", at, pe.Message)
		switch {
		case pe.Code == "3D000":
			mend = "Make it, or take it out of the setting databases."
		case strings.Contains(pe.Message, "does not exist"):
			mend = "CREATE EXTENSION hallway makes it. " + consequence
		case pe.Code == "28000" || pe.Code == "28P01":
			mend = fmt.Sprintf("Run this check as the sidecar's user; pg_hba.conf needs \"local all %s peer\", with a map if that user has another name. ", s.DatabaseRole) + consequence
		case pe.Code == "42501":
			mend = fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s. ", pgx.Identifier{at.Database}.Sanitize(), pgx.Identifier{s.DatabaseRole}.Sanitize()) + consequence
		}
	}
	complain("databases", text, mend)
}

// database looks at the rights in one. Where the extension is not there is nothing
// to say, unless the settings name it.
func (r *report) database(ctx context.Context, s *config.Settings, at database.Address, named bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := database.Connect(ctx, at, s.DatabaseRole)
	if err != nil {
		r.noLogin(s, at, err, named)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	missing, err := journal.MissingRights(ctx, conn)
	switch {
	case errors.Is(err, journal.ErrNoJournal) && named:
		r.warn("databases", at.String()+" does not have the extension", "CREATE EXTENSION hallway there, or ALTER EXTENSION hallway UPDATE.")
	case errors.Is(err, journal.ErrNoJournal):
	case err != nil:
		r.warn("databases", fmt.Sprintf("%s: %v", at, err), "")
	case len(missing) == 0:
		r.ok("databases", at.String()+" can be written: the journal has its rights")
	}
	for _, m := range missing {
		r.fail("databases", fmt.Sprintf("%s: role %s does not have %s", at, s.DatabaseRole, m.Right), m.Mend+"; without it writes are refused, or what became of them is not found out.")
	}
}
