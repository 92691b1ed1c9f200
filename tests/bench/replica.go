// A replica's refresh beside a copy of all of its rows.

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	storeFields = `id int8 OPTIONS (key 'true'), quantity int4, score float8, amount numeric(12,2), email text, first_name text,
		last_name text, city text, active bool, birthday date, changed timestamptz OPTIONS (computed 'modified'), token uuid, rank int4`
	storeColumns = "id, quantity, score, amount, email, first_name, last_name, city, active, birthday, token, rank"
)

// prepareReplica makes an object of as many rows as local, which one server
// writes and another keeps a replica of: for the replica its rows change in the
// API. All rows were just made, so what an increment reaches back is short.
func (s *session) prepareReplica(ctx context.Context) error {
	for _, sql := range []string{
		"CREATE SERVER writer FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', cache 'off', batch_rows '10000', journal 'false')",
		"CREATE SERVER reader FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', sync_overlap '1s')",
		"CREATE USER MAPPING FOR PUBLIC SERVER writer; CREATE USER MAPPING FOR PUBLIC SERVER reader",
		"CREATE SCHEMA api; CREATE SCHEMA replica",
		"CREATE FOREIGN TABLE api.things (" + storeFields + ") SERVER writer OPTIONS (store 'things')",
		"CREATE FOREIGN TABLE replica.things (" + storeFields + ") SERVER reader OPTIONS (store 'things', compare_every '1s')",
		"INSERT INTO api.things (" + storeColumns + ") SELECT " + storeColumns + " FROM local",
		// The last change is to be so late that most rows are further back than the
		// overlap.
		"SELECT pg_sleep(1.1)",
		"UPDATE api.things SET quantity = quantity + 1 WHERE id % 100 = 0",
		"SELECT hallway.replicate('replica.things', '1 day')",
		"CALL hallway.wait_for_sync('replica.things', '10 min')",
	} {
		if _, err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	_, err := s.exec(ctx, fmt.Sprintf("VACUUM (FREEZE, ANALYZE) %s", s.cacheTable(ctx, "replica.things")))
	return err
}

// replica changes 1 % of the rows in the API and measures what it takes to bring
// the replica up to date: by an increment that compares keys, as it does unless
// told otherwise, by one that does not, and by reading all rows.
func (s *session) replica(ctx context.Context, keep func(string, float64)) error {
	for _, way := range []struct{ name, prepare string }{
		{"replica_increment", "ALTER FOREIGN TABLE replica.things OPTIONS (SET compare_every '1s')"},
		{"replica_changes", "ALTER FOREIGN TABLE replica.things OPTIONS (SET compare_every '2d')"},
		{"replica_full", "UPDATE hallway.cache_tables SET as_of = NULL WHERE relid = 'replica.things'::regclass"},
	} {
		s.replicas++
		time.Sleep(1100 * time.Millisecond) // what was changed before is past
		sql := fmt.Sprintf("UPDATE api.things SET quantity = quantity + 1 WHERE id %% 100 = %d", s.replicas%100)
		if _, err := s.exec(ctx, sql); err != nil {
			return err
		}
		if _, err := s.exec(ctx, way.prepare); err != nil {
			return err
		}
		read, took, err := s.refresh(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if full := way.name == "replica_full"; full != (read >= s.rows) || read < s.rows/100 {
			return fmt.Errorf("%s read %d rows", way.name, read)
		}
		keep(way.name, took)
	}
	r, err := s.exec(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT id, quantity, changed FROM %s EXCEPT SELECT id, quantity, changed FROM api.things) d", s.cacheTable(ctx, "replica.things")))
	if err == nil && r.Rows[0][0] != "0" {
		err = fmt.Errorf("%s rows of the replica are not the API's", r.Rows[0][0])
	}
	return err
}

// refresh has the replica brought up to date now, and returns the rows that were
// read and the run's own time in milliseconds.
func (s *session) refresh(ctx context.Context) (read int, took float64, err error) {
	r, err := s.exec(ctx, "NOTIFY hallway_sync; UPDATE hallway.replicas SET next_run = now() RETURNING last_success")
	if err != nil {
		return 0, 0, err
	}
	last := r.Rows[0][0]
	for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(20 * time.Millisecond) {
		r, err := s.exec(ctx, fmt.Sprintf("SELECT rows_read, extract(epoch FROM last_success - began_at) * 1000 FROM hallway.replicas WHERE last_success > '%s'", last))
		if err != nil {
			return 0, 0, err
		}
		if len(r.Rows) == 1 {
			_, err = fmt.Sscan(r.Rows[0][0]+" "+r.Rows[0][1], &read, &took)
			return read, took, err
		}
	}
	return 0, 0, fmt.Errorf("it was not refreshed within ten minutes")
}
