// How soon a backend is free that is told to stop, or that needs no more, wherever
// it is stuck. The promise is 100 ms for each.

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

const (
	// stopTimes is how often each is measured. The worst counts.
	stopTimes = 3
	// stopTimeout is the statement_timeout, which must suffice to get stuck.
	stopTimeout = 300 * time.Millisecond
	// stopPatience bounds what is waited for; past it the measurement fails.
	stopPatience = 30 * time.Second
)

// prepareStop makes a sidecar that is stopped and killed, and tables at it and at
// an API that does not answer.
func (s *session) prepareStop(ctx context.Context) error {
	victim, err := s.env.StartSidecar(harness.SidecarSettings{})
	if err != nil {
		return fmt.Errorf("starting a sidecar: %w", err)
	}
	s.victim = victim
	sql := []string{
		fmt.Sprintf("CREATE SERVER victim FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '%s', pushdown 'none', cache 'off')", victim.Address()),
		"CREATE USER MAPPING FOR PUBLIC SERVER victim",
		"CREATE FOREIGN TABLE endless (id int8, name text) SERVER victim OPTIONS (rows '1000000000')",
	}
	for server, mode := range map[string]fakes.Mode{"hang": fakes.Hang, "slow": fakes.Slow, "hang_at_victim": fakes.Hang} {
		address := s.env.Sidecar.Address()
		if server == "hang_at_victim" {
			address = victim.Address()
		}
		// Without the journal, which would ask the API what became of a row.
		sql = append(sql,
			fmt.Sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'fake.yaml', base_url '%s/%s', address '%s', cache 'off', journal 'false')", server, s.api.URL, mode, address),
			fmt.Sprintf("CREATE USER MAPPING FOR PUBLIC SERVER %s OPTIONS (token '%s')", server, s.api.Secret),
			fmt.Sprintf("CREATE FOREIGN TABLE t_%s (id text, email text) SERVER %s OPTIONS (object 'contacts')", server, server))
	}
	for _, q := range sql {
		if _, err := s.exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// stops measures all of them.
func (s *session) stops(ctx context.Context) error {
	for range stopTimes {
		for _, m := range []func(context.Context) error{s.stopStatements, s.stopCursors, s.stopGone} {
			if err := m(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopStatements cancels, terminates and times out statements that are stuck.
func (s *session) stopStatements(ctx context.Context) error {
	for _, stuck := range []struct {
		where, sql string
		during     func(*running) error
	}{
		{"API slow", "SELECT * FROM t_hang", (*running).called},
		{"API slow to write", "INSERT INTO t_hang (email) VALUES ('a@b')", (*running).called},
		{"sidecar stopped", "SELECT count(name) FROM endless", (*running).frozen},
	} {
		for _, stop := range []struct{ how, state, sql string }{
			{"cancel", "57014", "SELECT pg_cancel_backend(%d)"},
			{"terminate", "57P01", "SELECT pg_terminate_backend(%d)"},
			{"timeout", "57014", ""},
		} {
			name := "stop_" + stop.how + ": " + stuck.where
			r, err := s.begin(ctx, stuck.sql, stop.sql == "")
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err = stuck.during(r); err == nil {
				from := r.began.Add(stopTimeout)
				if stop.sql != "" {
					from = time.Now()
					_, err = harness.Simple(ctx, s.admin, fmt.Sprintf(stop.sql, r.conn.PID()))
				}
				err = errors.Join(err, r.ends(name, stop.state, from))
			}
			if err = errors.Join(err, r.close()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// stopCursors ends scans in their middle, by CLOSE and by a LIMIT.
func (s *session) stopCursors(ctx context.Context) error {
	for _, stuck := range []struct {
		where, table string
		during       func() error
	}{
		{"API slow", "t_slow", func() error { return nil }},
		{"sidecar stopped", "endless", s.victim.Freeze},
		{"sidecar killed", "endless", func() error { s.victim.Kill(); return nil }},
	} {
		conn, err := pgconn.Connect(ctx, s.env.Cluster.DSN("bench", "postgres"))
		if err != nil {
			return err
		}
		run := func(rows int, sql string) error {
			r, err := harness.Simple(ctx, conn, sql)
			if err == nil && len(r.Rows) != rows {
				err = fmt.Errorf("%d rows, not %d", len(r.Rows), rows)
			}
			if err != nil {
				err = fmt.Errorf("%s, %s: %s: %s", stuck.where, stuck.table, sql, harness.Describe(err))
			}
			return err
		}
		err = errors.Join(
			run(3, "BEGIN; DECLARE k CURSOR FOR SELECT * FROM "+stuck.table+"; FETCH 3 FROM k"),
			run(3, "DECLARE l CURSOR FOR SELECT * FROM "+stuck.table+" LIMIT 5; FETCH 3 FROM l"),
			stuck.during())
		from := time.Now()
		err = errors.Join(err, run(2, "FETCH ALL FROM l"))
		s.sample("stop_limit: "+stuck.where, ms(time.Since(from)))
		from = time.Now()
		err = errors.Join(err, run(0, "CLOSE k"))
		s.sample("stop_close: "+stuck.where, ms(time.Since(from)))
		if err = errors.Join(err, conn.Close(ctx), s.revive()); err != nil {
			return err
		}
	}
	return nil
}

// stopGone kills the sidecar beneath statements.
func (s *session) stopGone(ctx context.Context) error {
	for _, stuck := range []struct {
		where, sql, state string
		during            func(*running) error
	}{
		{"scan", "SELECT count(name) FROM endless", "08006", (*running).works},
		{"API slow", "SELECT * FROM t_hang_at_victim", "08006", (*running).called},
		{"API slow to write", "INSERT INTO t_hang_at_victim (email) VALUES ('a@b')", "08007", (*running).called},
	} {
		name := "stop_gone: " + stuck.where
		r, err := s.begin(ctx, stuck.sql, false)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err = stuck.during(r); err == nil {
			from := time.Now()
			s.victim.Kill()
			err = r.ends(name, stuck.state, from)
		}
		if err = errors.Join(err, r.close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// revive has the victim run again, whatever was done to it.
func (s *session) revive() error {
	if s.victim.Exited() {
		return s.victim.Start()
	}
	return s.victim.Signal(syscall.SIGCONT)
}

// running is a statement in a session of its own.
type running struct {
	s     *session
	ctx   context.Context
	conn  *pgconn.PgConn
	began time.Time
	done  chan error
}

func (s *session) begin(ctx context.Context, sql string, timeout bool) (*running, error) {
	conn, err := pgconn.Connect(ctx, s.env.Cluster.DSN("bench", "postgres"))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if timeout {
		if _, err := harness.Simple(ctx, conn, fmt.Sprintf("SET statement_timeout = %d", stopTimeout.Milliseconds())); err != nil {
			return nil, errors.Join(err, conn.Close(ctx))
		}
	}
	r := &running{s: s, ctx: ctx, conn: conn, done: make(chan error, 1), began: time.Now()}
	go func() {
		_, err := harness.Simple(ctx, conn, sql)
		r.done <- err
	}()
	return r, nil
}

// until waits for a condition, or for the statement's end.
func (r *running) until(what string, ok func() bool) error {
	if !harness.Eventually(r.ctx, stopPatience, func() bool { return len(r.done) > 0 || ok() }) {
		return errors.New(what)
	}
	return nil
}

func (r *running) called() error {
	return r.until("the API is not called", func() bool { return r.s.api.InFlight() == 1 })
}

func (r *running) works() error {
	return r.until("the backend does nothing", func() bool {
		cpu, err := harness.CPU(int(r.conn.PID()))
		return err == nil && cpu > 50*time.Millisecond
	})
}

// frozen stops the sidecar in the scan.
func (r *running) frozen() error {
	if err := errors.Join(r.works(), r.s.victim.Freeze()); err != nil {
		return err
	}
	return r.until("the backend does not wait", func() bool {
		w, err := harness.Simple(r.ctx, r.s.admin, fmt.Sprintf("SELECT 1 FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Extension'", r.conn.PID()))
		return err == nil && len(w.Rows) == 1
	})
}

// ends waits for the statement's end, which must have this SQLSTATE, and keeps how
// long after from it came.
func (r *running) ends(name, state string, from time.Time) error {
	select {
	case err := <-r.done:
		r.s.sample(name, ms(time.Since(from)))
		if harness.SQLState(err) != state {
			return fmt.Errorf("it ended with %s", harness.Describe(err))
		}
		return nil
	case <-time.After(stopPatience):
		return errors.New("the backend is not free")
	}
}

// close waits until the API is not called any more, and revives the sidecar.
func (r *running) close() error {
	_ = r.conn.Close(r.ctx)
	if !harness.Eventually(r.ctx, stopPatience, func() bool { return r.s.api.InFlight() == 0 }) {
		return errors.New("the API's call was not cancelled")
	}
	return r.s.revive()
}

// judgeStops makes a line of each way to stop, with its worst.
func (b *bench) judgeStops(add func(name string, v float64, unit string, limit float64, atMost bool, note string)) {
	for _, l := range []struct{ how, what string }{
		{"cancel", "pg_cancel_backend until the backend answers"},
		{"terminate", "pg_terminate_backend until the session has ended"},
		{"timeout", "past a statement_timeout until the backend answers"},
		{"limit", "the last rows of a LIMIT, in the middle of the scan"},
		{"close", "CLOSE of a cursor in the middle of its scan"},
		{"gone", "the sidecar killed until the backend answers"},
	} {
		var all []float64
		var where []string
		for _, name := range slices.Sorted(maps.Keys(b.samples)) {
			if at, ok := strings.CutPrefix(name, "stop_"+l.how+": "); ok {
				all = append(all, b.samples[name]...)
				where = append(where, fmt.Sprintf("%s %.1f", at, slices.Max(b.samples[name])))
			}
		}
		if len(all) == 0 {
			continue // it was not measured
		}
		add("stop_"+l.how+"_ms", slices.Max(all), "ms", 100, true, fmt.Sprintf("%s, the worst of %d; %s", l.what, stopTimes, strings.Join(where, ", ")))
	}
}
