package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// people makes a stored foreign table "f" and its local twin "l".
func people(t *testing.T, n int) (*harness.Database, *harness.Conn) {
	t.Helper()
	db, c := synthetic(t)
	stored(c, db, "f", "id int8, name text, dept int4, amount numeric, at timestamptz")
	c.Exec("CREATE TABLE l (id int8, name text, dept int4, amount numeric, at timestamptz)")
	c.Exec(`INSERT INTO l SELECT i, CASE WHEN i %% 7 = 0 THEN NULL ELSE 'name ' || i %% 13 END, i %% 5, i * 1.5,
		'2024-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, %d) i`, n)
	c.Exec("INSERT INTO f SELECT * FROM l")
	return db, c
}

// same runs a query on both tables; {} stands for the table.
func same(t *testing.T, c *harness.Conn, sql string) {
	t.Helper()
	want := c.Query("%s", strings.ReplaceAll(sql, "{}", "l"))
	require.NotEmpty(t, want, "%s proves nothing", sql)
	require.Equal(t, want, c.Query("%s", strings.ReplaceAll(sql, "{}", "f")), "%s", sql)
}

func TestSelect_ShapesOfPlans(t *testing.T) {
	_, c := people(t, 300)
	for _, sql := range []string{
		"SELECT * FROM {} WHERE id = 5",
		"SELECT count(*) FROM {}",
		"SELECT 1 FROM {} WHERE id < 4",
		"SELECT * FROM {} WHERE dept = 1 AND amount > 100 ORDER BY id LIMIT 5 OFFSET 2",
		"SELECT a.id, b.id FROM {} a JOIN {} b ON a.id = b.id + 1 WHERE a.dept = 2 ORDER BY 1",
		"SELECT a.id, x.n FROM l a, LATERAL (SELECT count(*) n FROM {} b WHERE b.dept = a.dept AND b.id < a.id) x WHERE a.id < 40 ORDER BY 1",
		"SELECT id, (SELECT max(b.id) FROM {} b WHERE b.dept = a.dept AND b.id < a.id) FROM {} a WHERE id < 30 ORDER BY 1",
		"WITH w AS MATERIALIZED (SELECT * FROM {} WHERE dept = 3) SELECT a.id FROM w a JOIN w b USING (id) ORDER BY 1",
		"WITH RECURSIVE r AS (SELECT id FROM {} WHERE id = 1 UNION ALL SELECT f.id FROM r JOIN {} f ON f.id = r.id + 1 WHERE f.id < 10) SELECT * FROM r ORDER BY 1",
		"SELECT id FROM {} WHERE dept = 1 UNION ALL SELECT id FROM {} WHERE dept = 2 ORDER BY 1",
		"SELECT dept, count(*), sum(amount) FROM {} GROUP BY dept ORDER BY dept",
		"SELECT DISTINCT name FROM {} ORDER BY name NULLS FIRST",
		"SELECT id FROM {} WHERE id IN (SELECT id FROM l WHERE dept = 4) ORDER BY id",
		"SELECT id FROM {} a WHERE NOT EXISTS (SELECT 1 FROM {} b WHERE b.id = a.id + 1) ORDER BY id",
		"SELECT id, row_number() OVER (PARTITION BY dept ORDER BY id) FROM {} ORDER BY id LIMIT 20",
		"SELECT id FROM {} WHERE at > now() - interval '100 years' AND at < '2024-01-02' ORDER BY id",
		"SELECT x::text FROM {} x WHERE id < 3 ORDER BY id",
		"SELECT id, tableoid::regclass::text = '{}' FROM {} WHERE id < 3 ORDER BY id",
		"SELECT l.id, f.name FROM l LEFT JOIN {} f ON f.id = l.id + 295 ORDER BY l.id",
		"SELECT count(*) FROM (SELECT * FROM {} LIMIT 10) s",
		"SELECT id FROM {} WHERE id = ANY (ARRAY[1, 5, NULL, 9]) ORDER BY id",
		"SELECT id FROM {} ORDER BY amount DESC FETCH FIRST 3 ROWS WITH TIES",
	} {
		t.Run(sql, func(t *testing.T) { same(t, c.On(t), sql) })
	}
	t.Run("nested loop by key", func(t *testing.T) {
		c := c.On(t)
		c.Exec("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off")
		same(t, c, "SELECT l.id, f.name FROM l JOIN {} f ON f.id = l.id + 3 WHERE l.dept = 2 ORDER BY 1")
		c.Exec("RESET ALL")
	})
}

// Ten executions cross the line where PostgreSQL turns to a generic plan.
func TestPrepared_TenExecutions(t *testing.T) {
	_, c := people(t, 200)
	ctx := context.Background()
	for _, mode := range []string{"auto", "force_generic_plan", "force_custom_plan"} {
		for _, sql := range []string{
			"SELECT id, name FROM {} WHERE dept = $1::int4 AND amount > $2::numeric ORDER BY id",
			"SELECT id FROM {} WHERE name LIKE $1::text AND id > $2::int8 ORDER BY id LIMIT 5",
			"SELECT id FROM {} WHERE id = ANY ($1::int8[]) AND name IS NOT DISTINCT FROM $2::text ORDER BY id",
		} {
			t.Run(mode+" "+sql, func(t *testing.T) {
				c := c.On(t)
				c.Exec("SET plan_cache_mode = %s", mode)
				for _, table := range []string{"l", "f"} {
					_, err := c.Prepare(ctx, table, strings.ReplaceAll(sql, "{}", table), nil)
					require.NoError(t, err)
				}
				defer c.Exec("DEALLOCATE ALL; RESET plan_cache_mode")
				found := 0
				for i := range 10 {
					params := []harness.Param{{Text: fmt.Sprint(i % 5)}, {Text: fmt.Sprint(i * 20)}}
					if strings.Contains(sql, "LIKE") {
						params[0].Text = fmt.Sprintf("name %d%%", i%3)
					}
					if strings.Contains(sql, "ANY") {
						params = []harness.Param{{Text: "{3,7,8,14}"}, {Text: fmt.Sprintf("name %d", 3+i), Null: i%2 == 1}}
					}
					want, err := harness.Prepared(ctx, c.PgConn, "l", params)
					require.NoError(t, err)
					have, err := harness.Prepared(ctx, c.PgConn, "f", params)
					require.NoError(t, err, "execution %d: %s", i+1, harness.Describe(err))
					require.Equal(t, want.Rows, have.Rows, "execution %d", i+1)
					found += len(have.Rows)
				}
				require.NotZero(t, found)
			})
		}
	}
}

// A plan outlives the sidecar that helped to make it.
func TestPrepared_OutlivesASidecarRestart(t *testing.T) {
	s := env.NewSidecar(t, harness.SidecarSettings{})
	c := env.Database(t).Connect(t)
	own(c, s, "rows '100'")
	c.Exec("SET plan_cache_mode = force_generic_plan; PREPARE p (int8) AS SELECT count(*) FROM t WHERE id <= $1")
	require.Equal(t, "10", c.Value("EXECUTE p (10)"))
	s.Restart(t, false)
	require.Equal(t, "20", c.Value("EXECUTE p (20)"))
	s.Restart(t, true)
	require.Equal(t, "30", c.Value("EXECUTE p (30)"))
}

func TestCursor_HoldScrollAndRewind(t *testing.T) {
	_, c := people(t, 100)
	t.Run("with hold", func(t *testing.T) {
		c := c.On(t)
		c.Exec("BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT id FROM f ORDER BY id; FETCH 3 FROM h; COMMIT")
		require.Equal(t, rows(row(4), row(5)), c.Query("FETCH 2 FROM h"))
		c.Exec("CLOSE h")
	})
	t.Run("scroll", func(t *testing.T) {
		c := c.On(t)
		c.Exec("BEGIN; DECLARE s SCROLL CURSOR FOR SELECT id FROM f ORDER BY id")
		require.Equal(t, rows(row(1), row(2), row(3)), c.Query("FETCH 3 FROM s"))
		require.Equal(t, rows(row(2), row(1)), c.Query("FETCH BACKWARD 2 FROM s"))
		require.Equal(t, rows(row(100)), c.Query("FETCH LAST FROM s"))
		require.Equal(t, rows(row(50)), c.Query("FETCH ABSOLUTE 50 FROM s"))
		c.Exec("COMMIT")
	})
	t.Run("interleaved", func(t *testing.T) {
		c := c.On(t)
		c.Exec("BEGIN; DECLARE a CURSOR FOR SELECT id FROM f ORDER BY id; DECLARE b CURSOR FOR SELECT id FROM f ORDER BY id DESC")
		for i := range 100 {
			require.Equal(t, rows(row(i+1)), c.Query("FETCH a"))
			require.Equal(t, rows(row(100-i)), c.Query("FETCH b"))
		}
		require.Empty(t, c.Query("FETCH a"))
		require.Empty(t, c.Query("FETCH a"), "past the end it stays at the end")
		c.Exec("COMMIT")
	})
}

func TestPLpgSQL_LoopsExceptionsAndRoles(t *testing.T) {
	_, c := people(t, 60)
	c.Exec("%s", `CREATE FUNCTION total(tab text) RETURNS numeric LANGUAGE plpgsql AS $$
		DECLARE r record; s numeric := 0; n int;
		BEGIN
			FOR r IN EXECUTE format('SELECT * FROM %I WHERE dept = 1 ORDER BY id', tab) LOOP
				EXECUTE format('SELECT count(*) FROM %I WHERE id < $1', tab) INTO n USING r.id;
				s := s + n + r.amount;
			END LOOP;
			RETURN s;
		END $$;
		CREATE FUNCTION by_key(k int8) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE v text;
		BEGIN SELECT name INTO STRICT v FROM f WHERE id = k; RETURN v;
		EXCEPTION WHEN no_data_found THEN RETURN 'none'; END $$`)
	require.Equal(t, c.Value("SELECT total('l')"), c.Value("SELECT total('f')"))
	for i := 55; i < 66; i++ {
		want := "none"
		if i <= 60 {
			want = c.Value("SELECT coalesce(name, '-') FROM l WHERE id = %d", i)
		}
		require.Equal(t, want, c.Value("SELECT coalesce(by_key(%d), '-')", i))
	}
	// An error inside a block leaves the session and later scans sound.
	c.Exec(`DO $$ DECLARE r record; BEGIN
		FOR i IN 1..20 LOOP
			BEGIN
				FOR r IN SELECT * FROM f LOOP PERFORM 1 / (r.id - 30); END LOOP;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP; END $$`)
	same(t, c, "SELECT count(*) FROM {}")
}

func TestWrite_ReturningAndRowCounts(t *testing.T) {
	_, c := people(t, 20)
	require.Equal(t, "INSERT 0 2", c.Exec("INSERT INTO f (id, name) VALUES (101, 'x'), (102, NULL)"))
	require.Equal(t, rows(row(103, "y", nil)), c.Query("INSERT INTO f (id, name) VALUES (103, 'y') RETURNING id, name, amount"))
	require.Equal(t, "UPDATE 2", c.Exec("UPDATE f SET amount = 7 WHERE id IN (101, 102)"))
	require.Equal(t, rows(row(101, 8), row(102, 8)), c.Query("WITH u AS (UPDATE f SET amount = amount + 1 WHERE amount = 7 RETURNING id, amount) SELECT * FROM u ORDER BY id"))
	require.Equal(t, "UPDATE 0", c.Exec("UPDATE f SET amount = 1 WHERE id = 9999"))
	require.Equal(t, rows(row(103, "y")), c.Query("DELETE FROM f WHERE id = 103 RETURNING id, name"))
	require.Equal(t, "DELETE 2", c.Exec("DELETE FROM f WHERE id > 100"))
	require.Equal(t, "UPDATE 4", c.Exec("UPDATE f SET name = l.name || '!' FROM l WHERE l.id = f.id AND l.dept = 1"))
	require.Equal(t, "DELETE 4", c.Exec("DELETE FROM f USING l WHERE l.id = f.id AND l.dept = 2"))
	require.Equal(t, "16", c.Value("SELECT count(*) FROM f"))
}

func TestWrite_CopyFrom(t *testing.T) {
	_, c := people(t, 1)
	tag, err := c.CopyFrom(context.Background(), strings.NewReader("500,a,1,2.5,\n501,\"b,c\",,,2024-05-06 07:08:09Z\n"), "COPY f FROM STDIN (FORMAT csv)")
	require.NoError(t, err, "%s", harness.Describe(err))
	require.Equal(t, "COPY 2", tag.String())
	require.Equal(t, rows(row(500, "a", 1, "2.5", nil), row(501, "b,c", nil, nil, "2024-05-06 07:08:09+00")), c.Query("SELECT * FROM f WHERE id >= 500 ORDER BY id"))
}

// A refusal of the API is this statement's error and takes the local row along.
func TestWrite_RefusedRollsBackTheLocalRow(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.OK)
	c.Exec("CREATE TABLE orders (id int, contact text)")
	c.Exec("BEGIN; INSERT INTO orders VALUES (1, 'x')")
	e := c.Fails("23514", "INSERT INTO contacts (email) VALUES ('not an address')")
	require.Contains(t, e.Message, "[Fake]")
	require.Equal(t, "email", e.ColumnName)
	require.Equal(t, "contacts", e.TableName)
	c.Fails("25P02", "SELECT 1")
	c.Exec("ROLLBACK")
	require.Equal(t, "0", c.Value("SELECT count(*) FROM orders"))

	// With a savepoint, all but the refused statement stays.
	c.Exec("BEGIN; INSERT INTO orders VALUES (2, 'y'); SAVEPOINT s")
	c.Fails("23505", "INSERT INTO contacts (email) VALUES ('contact1@example.com')")
	c.Exec("ROLLBACK TO s; INSERT INTO contacts (email) VALUES ('fresh@example.com'); COMMIT")
	require.Equal(t, "1", c.Value("SELECT count(*) FROM orders"))
	require.Equal(t, "1", c.Value("SELECT count(*) FROM contacts WHERE email = 'fresh@example.com'"))
}

// What cannot be undone is said.
func TestWrite_RollbackSaysWhatStays(t *testing.T) {
	_, c := people(t, 1)
	c.Exec("BEGIN; INSERT INTO f (id) VALUES (900)")
	c.Exec("ROLLBACK")
	require.Equal(t, "1", c.Value("SELECT count(*) FROM f WHERE id = 900"))
	c.Exec("BEGIN; INSERT INTO f (id) VALUES (901)")
	c.Fails("0A000", "PREPARE TRANSACTION 'x'")
	c.Exec("ROLLBACK")
}

// Each role reaches the API with its own credential, through views with their
// owner's, and a plan made by one is not the other's.
func TestRoles_CredentialOfWhoeverRunsIt(t *testing.T) {
	api := startFake(t)
	db, c := synthetic(t)
	for _, r := range []string{"owner", "alice", "bob", "mallory"} {
		role := r + "_" + db.Name
		c.Exec("CREATE ROLE %s LOGIN", role)
		t.Cleanup(func() { _, _ = c.Try("DROP OWNED BY %s; DROP ROLE %s", role, role) })
	}
	n := db.Name
	c.Exec(`CREATE SERVER api FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', manifest 'fake.yaml', base_url '%[1]s/whoami');
		CREATE USER MAPPING FOR owner_%[2]s SERVER api OPTIONS (token 'owner-token');
		CREATE USER MAPPING FOR alice_%[2]s SERVER api OPTIONS (token 'alice-token');
		CREATE USER MAPPING FOR bob_%[2]s SERVER api OPTIONS (token 'bob-token');
		CREATE FOREIGN TABLE contacts (%[3]s) SERVER api OPTIONS (object 'contacts');
		CREATE VIEW v AS SELECT * FROM contacts; ALTER VIEW v OWNER TO owner_%[2]s;
		CREATE VIEW vi WITH (security_invoker) AS SELECT * FROM contacts; ALTER VIEW vi OWNER TO owner_%[2]s;
		CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN SELECT name INTO t FROM contacts LIMIT 1; RETURN t; END $$;
		GRANT SELECT ON contacts, v, vi TO owner_%[2]s, alice_%[2]s, bob_%[2]s;
		GRANT SELECT ON v, vi TO mallory_%[2]s; GRANT USAGE ON FOREIGN SERVER api TO PUBLIC`, api.URL, n, fakeColumns)
	const q = "SELECT name FROM %s LIMIT 1"
	alice, bob, mallory := db.ConnectAs(t, "alice_"+n), db.ConnectAs(t, "bob_"+n), db.ConnectAs(t, "mallory_"+n)
	require.Equal(t, "alice-token", alice.Value(q, "contacts"))
	require.Equal(t, "bob-token", bob.Value(q, "contacts"))
	require.Equal(t, "owner-token", alice.Value(q, "v"), "a view is its owner's")
	require.Equal(t, "owner-token", mallory.Value(q, "v"))
	require.Equal(t, "alice-token", alice.Value(q, "vi"), "a security_invoker view is its caller's")
	// Without the privilege: refused before anything is asked of the API.
	before := len(api.Requests())
	mallory.Fails("42501", "SELECT name FROM contacts")
	mallory.Fails("42501", "SELECT name FROM contacts WHERE email = 'a'")
	require.Len(t, api.Requests(), before)

	// One session, several roles, one plan.
	for _, mode := range []string{"force_generic_plan", "force_custom_plan", "auto"} {
		c.Exec("SET plan_cache_mode = %s; PREPARE p AS SELECT name FROM contacts LIMIT 1", mode)
		for range 4 {
			for _, who := range []string{"alice", "bob", "owner"} {
				c.Exec("SET ROLE %s_%s", who, n)
				require.Equal(t, who+"-token", c.Value("EXECUTE p"), mode)
				require.Equal(t, who+"-token", c.Value("SELECT who()"), mode)
				require.Equal(t, "owner-token", c.Value(q, "v"), mode)
			}
		}
		c.Exec("RESET ROLE; DEALLOCATE p")
	}
	// A changed mapping holds at once, in the plan made before it too.
	alice.Exec("SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT name FROM contacts LIMIT 1")
	require.Equal(t, "alice-token", alice.Value("EXECUTE p"))
	c.Exec("ALTER USER MAPPING FOR alice_%s SERVER api OPTIONS (SET token 'alice-2')", n)
	require.Equal(t, "alice-2", alice.Value("EXECUTE p"))
	c.Exec("DROP USER MAPPING FOR alice_%s SERVER api", n)
	_, err := alice.Try("EXECUTE p")
	require.Error(t, err, "no mapping, no credential")
}

// A user's condition does not run on rows that a barrier hides (nor does it
// travel to where its effects would tell).
func TestSecurity_BarriersHoldBackUserQuals(t *testing.T) {
	db, c := people(t, 40)
	role := "reader_" + db.Name
	c.Exec("CREATE ROLE %s LOGIN", role)
	t.Cleanup(func() { _, _ = c.Try("DROP OWNED BY %s; DROP ROLE %s", role, role) })
	c.Exec(`CREATE FUNCTION peek(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %%', $1; RETURN true; END $$;
		CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM f WHERE dept = 1;
		GRANT SELECT, UPDATE ON barrier TO %[1]s;
		CREATE TABLE parent (id int8, name text, dept int4, amount numeric, at timestamptz) PARTITION BY RANGE (id);
		CREATE FOREIGN TABLE part PARTITION OF parent FOR VALUES FROM (0) TO (1000000) SERVER syn OPTIONS (store '%[2]s.f');
		ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
		CREATE POLICY p ON parent USING (dept = 1);
		GRANT SELECT ON parent TO %[1]s`, role, db.Name)
	r := db.ConnectAs(t, role)
	want := c.Query("SELECT id FROM l WHERE dept = 1 ORDER BY id")
	for _, from := range []string{"barrier", "parent"} {
		t.Run(from, func(t *testing.T) {
			r := r.On(t)
			require.Equal(t, want, r.Query("SELECT id FROM %s ORDER BY id", from))
			require.Equal(t, want, r.Query("SELECT id FROM %s WHERE peek(coalesce(name, '-')) ORDER BY id", from))
			// Division by zero on a hidden row would give it away.
			require.Empty(t, r.Query("SELECT id FROM %s WHERE 1 / (dept - 2) > 5", from))
			require.Equal(t, "1", r.Value("SELECT count(*) FROM %s WHERE id = 6", from))
			require.Equal(t, "0", r.Value("SELECT count(*) FROM %s WHERE id = 7", from))
			r.Exec("SET plan_cache_mode = force_generic_plan; PREPARE q (int8) AS SELECT count(*) FROM %s WHERE id = $1", from)
			require.Equal(t, "0", r.Value("EXECUTE q (7)"))
			require.Equal(t, "1", r.Value("EXECUTE q (6)"))
			r.Exec("DEALLOCATE q")
		})
	}
	require.Equal(t, "UPDATE 1", r.Exec("UPDATE barrier SET amount = 0 WHERE id = 6"))
	require.Equal(t, "UPDATE 0", r.Exec("UPDATE barrier SET amount = 0 WHERE id = 7"))
}

func TestPartitions_AndAsyncAppend(t *testing.T) {
	db, c := synthetic(t)
	c.Exec("CREATE TABLE parent (id int8, region text, v int4) PARTITION BY LIST (region); CREATE TABLE twin (id int8, region text, v int4)")
	for _, r := range []string{"eu", "us", "ap"} {
		c.Exec("CREATE FOREIGN TABLE p_%[1]s PARTITION OF parent FOR VALUES IN ('%[1]s') SERVER syn OPTIONS (store '%[2]s.%[1]s')", r, db.Name)
	}
	c.Exec("CREATE TABLE p_local PARTITION OF parent DEFAULT")
	c.Exec("%s", "INSERT INTO twin SELECT i, (ARRAY['eu', 'us', 'ap', 'xx'])[1 + i % 4], i % 10 FROM generate_series(1, 400) i")
	require.Equal(t, "INSERT 0 400", c.Exec("INSERT INTO parent SELECT * FROM twin"))
	for _, async := range []string{"on", "off"} {
		c.Exec("SET enable_async_append = %s", async)
		for _, q := range []string{"SELECT * FROM %s ORDER BY id", "SELECT count(*), sum(v) FROM %s WHERE v > 3", "SELECT region, count(*) FROM %s GROUP BY 1 ORDER BY 1",
			"SELECT * FROM %s WHERE region = 'us' ORDER BY id LIMIT 3", "SELECT a.id FROM %[1]s a JOIN %[1]s b USING (id) WHERE a.v = 1 ORDER BY 1"} {
			require.Equal(t, c.Query(q, "twin"), c.Query(q, "parent"), "async %s: %s", async, q)
		}
	}
	// The same table several times under one Append shares one connection.
	require.Equal(t, "400", c.Value("SELECT count(*) FROM (SELECT * FROM p_eu UNION ALL SELECT * FROM p_eu UNION ALL SELECT * FROM p_us UNION ALL SELECT * FROM p_ap) s"))
}

// Rows that are here end the wait of an Append, also if a child of another
// wrapper, which comes after ours, waits for its own socket.
func TestAsyncAppend_DoesNotWaitForAnotherWrapper(t *testing.T) {
	_, c := synthetic(t)
	c.Exec("%s", `CREATE EXTENSION postgres_fdw;
		DO $$ BEGIN EXECUTE format('CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, async_capable ''true'')',
			split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()); END $$;
		CREATE USER MAPPING FOR CURRENT_USER SERVER loop;
		CREATE FUNCTION nap() RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN true; END $$;
		CREATE VIEW late AS SELECT 1::int8 AS id FROM pg_sleep(20) WHERE nap();
		CREATE FOREIGN TABLE remote_late (id int8) SERVER loop OPTIONS (table_name 'late');
		CREATE FOREIGN TABLE soon (id int8) SERVER syn OPTIONS (rows '10', latency '50ms')`)
	// Our rows come while postgres_fdw, busy with its DECLARE CURSOR for as long
	// as nap() takes at planning, has not registered its socket yet.
	c.Exec("BEGIN; DECLARE both_of CURSOR FOR SELECT id FROM soon UNION ALL SELECT id FROM remote_late")
	start := time.Now()
	require.Len(t, c.Query("FETCH 10 FROM both_of"), 10)
	require.Less(t, time.Since(start), 15*time.Second, "the rows of the table that answers at once came with those of the slow one")
	c.Exec("ROLLBACK")
}
