// Cached tables beside local ones.

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hallwaydb/hallway/tests/harness"
)

const aggregate = "SELECT city, active, count(*), sum(amount), avg(score) FROM %s GROUP BY city, active"

// prepareCached makes the cached twin of live.sequence and fills it.
func (s *session) prepareCached(ctx context.Context) error {
	for _, sql := range []string{
		"CREATE SERVER cached FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', cache 'read_through', max_age '1d')",
		"CREATE USER MAPPING FOR PUBLIC SERVER cached",
		"CREATE SCHEMA cached; CREATE SCHEMA made",
		s.cachedTable("sequence", s.rows),
		s.cachedTable("quiet", 10000),
		"ALTER TABLE local ADD PRIMARY KEY (id)",
		"VACUUM (FREEZE, ANALYZE) local",
		fmt.Sprintf("COPY (SELECT * FROM local) TO '%s' (FORMAT binary)", s.copyFile()),
	} {
		if _, err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	if _, err := s.fill(ctx, "cached.sequence"); err != nil {
		return err
	}
	// Both tables are as a night's vacuum leaves them.
	_, err := s.exec(ctx, fmt.Sprintf("VACUUM (FREEZE, ANALYZE) %s", s.cacheTable(ctx, "cached.sequence")))
	if err != nil {
		return err
	}
	for name, sql := range map[string]string{
		"lookup_local": "SELECT * FROM local WHERE id = $1", "lookup_cached": "SELECT * FROM cached.sequence WHERE id = $1",
	} {
		if _, err := s.conn.Prepare(ctx, name, sql, nil); err != nil {
			return fmt.Errorf("preparing %s: %w", sql, err)
		}
	}
	return nil
}

func (s *session) cachedTable(name string, rows int) string {
	rename := ""
	if name != "sequence" {
		rename = "ALTER FOREIGN TABLE made.sequence RENAME TO " + name + "; "
	}
	return fmt.Sprintf("IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER cached INTO made; %[3]sALTER FOREIGN TABLE made.%[1]s SET SCHEMA cached; ALTER FOREIGN TABLE cached.%[1]s OPTIONS (ADD rows '%[2]d')", name, rows, rename)
}

func (s *session) copyFile() string { return filepath.Join(s.env.Dir, "local.copy") }

// cacheTable names the local table of a foreign one.
func (s *session) cacheTable(ctx context.Context, table string) string {
	r, err := s.exec(ctx, fmt.Sprintf("SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = '%s'::regclass", table))
	if err != nil || len(r.Rows) != 1 {
		return "hallway_cache.missing"
	}
	return r.Rows[0][0]
}

// fill reads a table that is not cached yet, and returns how long it took until
// its rows were, in milliseconds.
func (s *session) fill(ctx context.Context, table string) (float64, error) {
	start := time.Now()
	if _, err := s.exec(ctx, fmt.Sprintf(thirteen, table)); err != nil {
		return 0, err
	}
	for {
		r, err := s.exec(ctx, fmt.Sprintf("SELECT count(*) FROM hallway.cache_regions JOIN hallway.cache_tables ON id = cache_id WHERE relid = '%s'::regclass AND predicate = ''", table))
		if err != nil {
			return 0, err
		}
		if r.Rows[0][0] == "1" {
			return ms(time.Since(start)), nil
		}
		if time.Since(start) > time.Minute {
			return 0, fmt.Errorf("%s was not cached within a minute", table)
		}
		time.Sleep(time.Millisecond)
	}
}

// cached does each measurement of cached tables, each beside its local twin's. The
// shortest, a third of a second, comes three times in turn.
func (s *session) cached(ctx context.Context, keep func(string, float64)) error {
	for range 3 {
		for _, q := range []struct{ name, table string }{{"beside_cached_13", "local"}, {"cached_13", "cached.sequence"}} {
			start := time.Now()
			if _, err := s.exec(ctx, fmt.Sprintf(thirteen, q.table)); err != nil {
				return err
			}
			keep(q.name, ms(time.Since(start)))
		}
	}
	for _, q := range []struct{ name, sql, table string }{
		{"local_agg", aggregate, "local"}, {"cached_agg", aggregate, "cached.sequence"},
		{"local_inner", inner, "local"}, {"cached_inner", inner, "cached.sequence"},
	} {
		start := time.Now()
		if _, err := s.exec(ctx, fmt.Sprintf(q.sql, q.table)); err != nil {
			return err
		}
		keep(q.name, ms(time.Since(start)))
	}
	if _, err := s.exec(ctx, "RESET ALL; SET hallway.address = '"+s.env.Sidecar.Address()+"'"); err != nil {
		return err
	}
	if err := s.lookups(ctx, keep); err != nil {
		return err
	}
	return s.fills(ctx, keep)
}

// The settings leave nothing but a nested loop.
const inner = `SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off;
	SELECT count(t.email) FROM generate_series(1, 100000) g JOIN %s t ON t.id = g`

// lookups reads one row by key, in turn from both tables.
func (s *session) lookups(ctx context.Context, keep func(string, float64)) error {
	const n = 1000
	for _, name := range []string{"lookup_local", "lookup_cached"} {
		i := 0
		v, err := times(n, func() error {
			i++
			key := harness.Param{Text: fmt.Sprint(1 + i*7919%s.rows)}
			r, err := harness.Prepared(ctx, s.conn, name, []harness.Param{key})
			if err == nil && len(r.Rows) != 1 {
				err = fmt.Errorf("%d rows instead of one", len(r.Rows))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		keep(name, v)
	}
	for _, x := range []struct{ name, table string }{{"simple_local", "local"}, {"simple_cached", "cached.sequence"}} {
		i := 0
		v, err := times(n, func() error {
			i++
			r, err := s.exec(ctx, fmt.Sprintf("SELECT * FROM %s WHERE id = %d", x.table, 1+i*7919%s.rows))
			if err == nil && len(r.Rows) != 1 {
				err = fmt.Errorf("%d rows instead of one", len(r.Rows))
			}
			return err
		})
		if err != nil {
			return err
		}
		keep(x.name, v)
	}
	return nil
}

// fills measures a first miss, and a COPY of the same rows into such a table.
func (s *session) fills(ctx context.Context, keep func(string, float64)) error {
	s.filled++
	name := fmt.Sprintf("fill%d", s.filled)
	if _, err := s.exec(ctx, s.cachedTable(name, s.rows)); err != nil {
		return err
	}
	v, err := s.fill(ctx, "cached."+name)
	if err != nil {
		return err
	}
	keep("fill", v)
	if _, err := s.exec(ctx, "DROP FOREIGN TABLE cached."+name+"; DROP TABLE IF EXISTS copied; CREATE UNLOGGED TABLE copied (LIKE local); ALTER TABLE copied ADD PRIMARY KEY (id)"); err != nil {
		return err
	}
	start := time.Now()
	if _, err := s.exec(ctx, fmt.Sprintf("COPY copied FROM '%s' (FORMAT binary)", s.copyFile())); err != nil {
		return err
	}
	keep("copy", ms(time.Since(start)))
	_, err = s.exec(ctx, "DROP TABLE copied")
	return err
}

// refreshes measures what a cached table leaves behind.
func (s *session) refreshes(ctx context.Context) error {
	dead, grown, err := s.bloat(ctx)
	if err != nil {
		return err
	}
	s.sample("dead_tuples", dead)
	s.sample("grown", grown)
	return nil
}

// bloat refreshes a table a hundred times while nothing changes, and returns
// the dead tuples and the growth of table and indexes in bytes.
func (s *session) bloat(ctx context.Context) (dead, grown float64, err error) {
	if _, err = s.fill(ctx, "cached.quiet"); err != nil {
		return 0, 0, err
	}
	table := s.cacheTable(ctx, "cached.quiet")
	size := func() (n float64, err error) {
		r, err := s.exec(ctx, fmt.Sprintf("SELECT pg_total_relation_size('%s')", table))
		if err == nil {
			_, err = fmt.Sscan(r.Rows[0][0], &n)
		}
		return n, err
	}
	before, err := size()
	if err != nil {
		return 0, 0, err
	}
	for range 100 {
		if _, err = s.exec(ctx, "SELECT hallway.refresh('cached.quiet')"); err != nil {
			return 0, 0, err
		}
	}
	after, err := size()
	if err != nil {
		return 0, 0, err
	}
	r, err := s.exec(ctx, fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS pgstattuple; SELECT dead_tuple_count FROM pgstattuple('%s')", table))
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(r.Rows[0][0], &dead)
	return dead, after - before, err
}
