// The measurements.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// session is the one that measures, and another that cancels it.
type session struct {
	*bench
	conn, admin *pgconn.PgConn
}

func (b *bench) open(ctx context.Context) (*session, error) { return b.openIn(ctx, "bench") }

func (b *bench) openIn(ctx context.Context, database string) (*session, error) {
	dsn := b.env.Cluster.DSN(database, "postgres")
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	admin, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	b.machine.PostgreSQL = conn.ParameterStatus("server_version")
	return &session{b, conn, admin}, nil
}

func (s *session) close(ctx context.Context) {
	_ = s.conn.Close(ctx)
	_ = s.admin.Close(ctx)
}

func (s *session) exec(ctx context.Context, sql string) (harness.Result, error) {
	r, err := harness.Simple(ctx, s.conn, sql)
	if err != nil {
		return r, fmt.Errorf("%s: %s", clip(sql), harness.Describe(err))
	}
	return r, nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func (s *session) prepare(ctx context.Context) error {
	fields := "id text, email text, first_name text, last_name text, phone text, company text, stage text, amount float8, score int8, active bool, created timestamptz, updated timestamptz, notes text"
	for _, sql := range []string{
		"SET hallway.address = '" + s.env.Sidecar.Address() + "'",
		"CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', cache 'off')",
		"CREATE USER MAPPING FOR PUBLIC SERVER syn",
		fmt.Sprintf("CREATE SERVER rest FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'fake.yaml', base_url '%s/%s/%d', cache 'off', journal 'false')", s.api.URL, fakes.Bench, s.restRows),
		fmt.Sprintf("CREATE USER MAPPING FOR PUBLIC SERVER rest OPTIONS (token '%s')", s.api.Secret),
		"CREATE SCHEMA live; IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER syn INTO live",
		fmt.Sprintf("ALTER FOREIGN TABLE live.sequence OPTIONS (ADD rows '%d')", s.rows),
		"CREATE FOREIGN TABLE people (" + fields + ") SERVER rest OPTIONS (object 'people')",
		"CREATE FOREIGN TABLE contacts (id text, email text, name text) SERVER rest OPTIONS (object 'contacts')",
		"CREATE FOREIGN TABLE one (id int8, name text) SERVER syn OPTIONS (rows '1')",
		"CREATE TABLE local AS SELECT * FROM live.sequence",
		"VACUUM (FREEZE, ANALYZE) local",
		"CREATE EXTENSION postgres_fdw",
		fmt.Sprintf("CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%d', dbname 'bench', fetch_size '10000')", s.env.Cluster.SocketDir, s.env.Cluster.Port),
		"CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS (user 'postgres', password_required 'false')",
		"CREATE SCHEMA fdw; IMPORT FOREIGN SCHEMA public LIMIT TO (local) FROM SERVER loop INTO fdw",
	} {
		if _, err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	n, err := s.exec(ctx, "SELECT count(*), (SELECT count(*) FROM pg_attribute WHERE attrelid = 'local'::regclass AND attnum > 0) FROM local")
	if err != nil {
		return err
	}
	if got, want := n.Rows[0].String(), fmt.Sprintf("(%d | 13)", s.rows); got != want {
		return fmt.Errorf("the local table has %s rows and columns, not %s", got, want)
	}
	return nil
}

// The subquery with OFFSET 0 keeps every table's aggregates above the scan:
// what is compared is reading the rows.
const (
	three    = "SELECT count(id), count(email), sum(amount) FROM (SELECT id, email, amount FROM %s OFFSET 0) s"
	thirteen = `SELECT count(id), count(quantity), count(score), sum(amount), count(email), count(first_name), count(last_name),
		count(city), count(active), count(birthday), count(created), count(token), count(rank) FROM (SELECT * FROM %s OFFSET 0) s`
	count = "SELECT count(*) FROM (SELECT 1 FROM %s OFFSET 0) s"
)

// scans reads a large table whole, from each place.
func (s *session) scans(ctx context.Context, keep func(string, float64)) error {
	for _, q := range []struct{ name, sql, table string }{
		{"local_3", three, "local"}, {"live_3", three, "live.sequence"},
		{"local_count", count, "local"}, {"live_count", count, "live.sequence"},
		{"local_13", thirteen, "local"}, {"live_13", thirteen, "live.sequence"}, {"fdw_13", thirteen, "fdw.local"},
	} {
		cpu, err := harness.CPU(s.env.Sidecar.PID())
		if err != nil {
			return err
		}
		start := time.Now()
		if _, err := s.exec(ctx, fmt.Sprintf(q.sql, q.table)); err != nil {
			return err
		}
		keep(q.name, ms(time.Since(start)))
		if q.name == "live_13" {
			after, err := harness.CPU(s.env.Sidecar.PID())
			if err != nil {
				return err
			}
			keep("sidecar_cpu", ms(after-cpu))
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// times runs f so often and gives the median in milliseconds.
func times(n int, f func() error) (float64, error) {
	all := make([]float64, n)
	for i := range all {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all[i] = ms(time.Since(start))
	}
	return middle(all), nil
}

// middle is the median; list is sorted by it.
func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

const oneRows = 500

func (s *session) oneRow(ctx context.Context, keep func(string, float64)) error {
	r, err := s.exec(ctx, "SELECT * FROM one")
	if err == nil && len(r.Rows) != 1 {
		err = fmt.Errorf("%d rows instead of one", len(r.Rows))
	}
	if err != nil {
		return err
	}
	took, err := s.pgbench(ctx, "SELECT * FROM one;\n", oneRows)
	if err != nil {
		return err
	}
	keep("one_row", middle(took))
	return nil
}

// writesBlock is how many INSERTs, or POSTs, come after each other.
const writesBlock = 100

const insertOne = `\set i random(1, 1000000000)
INSERT INTO contacts (email, name) VALUES ('bench' || :i || '@example.com', 'Bench') RETURNING id;
`

// writes measures INSERTs and the POSTs that they make, block by block, each by a
// process of its own. Each comes first as often as the other.
func (s *session) writes(ctx context.Context, keep func(string, float64)) (err error) {
	client, err := startDirect(ctx, fmt.Sprintf("%s/%s/%d/contacts", s.api.URL, fakes.Bench, s.restRows), s.api.Secret)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.close()) }()
	var direct, through []float64
	post := func() error {
		for i := range writesBlock {
			took, err := client.post(fmt.Sprintf("bench%d@example.com", i))
			if err != nil {
				return err
			}
			direct = append(direct, took)
		}
		return nil
	}
	insert := func() error {
		took, err := s.pgbench(ctx, insertOne, writesBlock)
		through = append(through, took...)
		return err
	}
	for _, f := range []func() error{post, insert, insert, post} {
		if err := f(); err != nil {
			return err
		}
	}
	keep("post", middle(direct))
	keep("insert", middle(through))
	// Of this moment: a slow one has both.
	keep("insert_overhead", middle(through)-middle(direct))
	return nil
}

func (s *session) rest(ctx context.Context, keep func(string, float64)) error {
	before, err := harness.CPU(s.env.Sidecar.PID())
	if err != nil {
		return err
	}
	const sql = `SELECT count(id), count(email), count(first_name), count(last_name), count(phone), count(company), count(stage),
		count(amount), count(score), count(active), count(created), count(updated), count(notes) FROM (SELECT * FROM people OFFSET 0) s`
	r, err := s.exec(ctx, sql)
	if err != nil {
		return err
	}
	after, err := harness.CPU(s.env.Sidecar.PID())
	if err != nil {
		return err
	}
	want := "(" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d | ", s.restRows), 13), " | ") + ")"
	if got := r.Rows[0].String(); got != want {
		return fmt.Errorf("a scan of %d objects counts %s", s.restRows, got)
	}
	keep("rest_rate", float64(s.restRows)/(after-before).Seconds())
	return s.decode(keep)
}

// decode does with the same pages what a straightforward program does.
func (s *session) decode(keep func(string, float64)) error {
	pages := s.restRows / fakes.PageSize
	bodies := make([][]byte, min(pages, 64))
	for i := range bodies {
		bodies[i] = s.api.BenchBody(i, s.restRows)
	}
	before, err := selfCPU()
	if err != nil {
		return err
	}
	rows := 0
	for i := range pages {
		var page struct {
			Results []map[string]any
			Paging  map[string]any
		}
		if err := json.Unmarshal(bodies[i%len(bodies)], &page); err != nil {
			return err
		}
		rows += len(page.Results)
	}
	after, err := selfCPU()
	if err != nil {
		return err
	}
	keep("json_rate", float64(rows)/(after-before).Seconds())
	return nil
}

func selfCPU() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano()), err
}
