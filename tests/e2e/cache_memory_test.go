// What a backend that reads from cache tables takes.

package e2e

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// A backend that reads cached tables in all ways gives back what each statement
// took, and keeps no more than a bounded number of plans.
func TestMemory_CachedStatementsDoNotLeak(t *testing.T) {
	db, c := cachedStore(t, "")
	c.Exec(`CREATE FOREIGN TABLE big (id int8, grp int4, name text) SERVER syn OPTIONS (rows '5000');
		CREATE FOREIGN TABLE bad (id int8, name text) SERVER syn OPTIONS (rows '50', page_rows '10', error_at_page '3');
		CREATE FOREIGN TABLE w (id int8, name text) SERVER syn OPTIONS (store '%s.w');
		CREATE TABLE l AS SELECT i AS id FROM generate_series(1, 20) i; ANALYZE l;
		CREATE FUNCTION names(int8) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			all_names text := '';
			r record;
		BEGIN
			FOR r IN SELECT id, name FROM t WHERE id BETWEEN $1 AND $1 + 3 LOOP
				BEGIN
					PERFORM 1 / (r.id - 7) FROM t WHERE id = r.id;
					all_names := all_names || r.name;
				EXCEPTION WHEN division_by_zero THEN
					all_names := all_names || '!';
				END;
			END LOOP;
			RETURN all_names;
		END $$`, db.Name)
	c = db.Connect(t)
	// More plans than one backend keeps are made of these over time.
	conditions := []string{"id = $1", "id < $1", "id > $1 AND grp = 3", "name = 'n' || $1", "id IN ($1, $1 + 1)",
		"id BETWEEN $1 AND $1 + 10", "grp = $1 % 10 ORDER BY id", "id <> $1 ORDER BY id DESC LIMIT 3", "name > 'n5' AND id = $1", "id = $1 OR grp = 4"}
	columns := []string{"*", "id", "name, grp", "count(*)", "max(name)"}
	var plans []string
	for i, what := range columns {
		for j, condition := range conditions {
			if i >= 3 && (j == 6 || j == 7) {
				condition = "id <> $1"
			}
			name := string(rune('a'+i)) + string(rune('a'+j))
			c.Exec("PREPARE %s (int8) AS SELECT %s FROM t WHERE %s", name, what, condition)
			plans = append(plans, name)
		}
	}
	require.Len(t, plans, 50)
	statements := []func(i int){
		func(i int) { c.Exec("EXECUTE %s (%d)", plans[i/19%50], i%100) },
		func(i int) { c.Exec("EXECUTE %s (%d)", plans[i/7%50], i%50) },
		func(i int) { c.Exec("EXECUTE %s (%d)", plans[i/3%50], i%50) },
		func(i int) { c.Exec("SELECT * FROM t WHERE id = %d AND name <> 'x%d'", i%100, i) },
		func(i int) { c.Exec("SELECT names(%d)", i%50) },
		func(i int) {
			c.Exec("SELECT l.id, f.name FROM l, LATERAL (SELECT name FROM t WHERE t.id = l.id + %d OFFSET 0) f", i%50)
		},
		func(i int) { c.Exec("SELECT * FROM big WHERE id = %d", i) },
		func(i int) {
			c.Exec("SELECT l.id, f.name FROM l, LATERAL (SELECT name FROM big WHERE big.id = l.id + %d OFFSET 0) f", i)
		},
		func(int) { c.Exec("SELECT l.id, f.id FROM l, LATERAL (SELECT id FROM t ORDER BY id LIMIT l.id) f") },
		func(int) { c.Exec("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM t WHERE name > 'n3' ORDER BY id LIMIT 3") },
		func(int) { c.Exec("EXPLAIN SELECT * FROM l, LATERAL (SELECT * FROM t WHERE t.id = l.id OFFSET 0) f") },
		func(int) { _, _ = c.Try("SELECT * FROM bad") },
		func(int) { _, _ = c.Try("SELECT 1 / (id - 25) FROM t") },
		func(i int) {
			c.Exec("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t; FETCH 3 FROM k; SAVEPOINT s; SELECT * FROM t WHERE id = %d", i%100)
			_, _ = c.Try("SELECT 1 / (id - 3) FROM t")
			c.Exec("ROLLBACK TO s; FETCH 3 FROM k; ROLLBACK")
		},
		func(int) {
			c.Exec("BEGIN; DECLARE k CURSOR WITH HOLD FOR SELECT * FROM t WHERE id < 9; FETCH 3 FROM k; COMMIT; FETCH 3 FROM k; CLOSE k")
		},
		func(i int) { c.Exec("INSERT INTO w VALUES (%d, 'x')", i) },
		func(i int) { c.Exec("SELECT * FROM w WHERE id = %d", i-1) },
		func(i int) {
			if i/19%8 == 0 {
				c.Exec("SELECT hallway.invalidate('big')")
			} else {
				c.Exec("SET hallway.max_age = 0; SELECT count(*) FROM t WHERE id < 10; RESET hallway.max_age")
			}
		},
		func(i int) {
			if i/19%8 == 0 {
				c.Exec("ALTER FOREIGN TABLE bad OPTIONS (SET rows '%d')", 40+i%10)
			} else {
				c.Exec("SELECT count(*) FROM (SELECT id FROM t UNION ALL SELECT id FROM w UNION ALL SELECT id FROM t) x")
			}
		},
	}
	run := func(from, to int) {
		for i := from; i < to; i++ {
			statements[i%len(statements)](i)
		}
	}
	contexts := func() (total, own, n int64) {
		row := c.Query(`SELECT sum(total_bytes), sum(total_bytes) FILTER (WHERE name LIKE 'Hallway%%' OR parent LIKE 'Hallway%%'), count(*)
			FROM pg_backend_memory_contexts`)[0]
		for i, to := range []*int64{&total, &own, &n} {
			var err error
			*to, err = strconv.ParseInt(row[i], 10, 64)
			require.NoError(t, err)
		}
		return total, own, n
	}
	// Until each has a generic plan.
	for i := range 7 * len(plans) {
		c.Exec("EXECUTE %s (5)", plans[i/7])
	}
	run(0, 1500)
	total, own, n := contexts()
	before, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	run(1500, 4500)
	totalAfter, ownAfter, nAfter := contexts()
	after, err := harness.RSS(int(c.PID()))
	require.NoError(t, err)
	t.Logf("backend %.2f MB, and %+.0f kB after 3,000 more statements; memory contexts %+.0f kB, those of the extension %.0f kB and %+.0f kB; %d contexts and %+d",
		float64(before)/(1<<20), float64(after-before)/(1<<10), float64(totalAfter-total)/(1<<10), float64(own)/(1<<10), float64(ownAfter-own)/(1<<10), n, nAfter-n)
	require.Less(t, after-before, int64(512<<10))
	require.Less(t, totalAfter-total, int64(256<<10))
	require.Less(t, ownAfter, int64(4<<20), "kept plans")
}
