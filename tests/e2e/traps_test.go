package e2e

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// bridge makes table "f" (i, t) at a sidecar whose answers the test writes.
func bridge(t *testing.T, b *fakes.Bridge) (*harness.Database, *harness.Conn) {
	t.Helper()
	dir, err := env.Mkdir("br")
	require.NoError(t, err)
	sock := filepath.Join(dir, "s")
	require.NoError(t, b.Listen(sock))
	t.Cleanup(b.Close)
	db := env.Database(t)
	c := db.Connect(t)
	c.Exec(`CREATE SERVER fake FOREIGN DATA WRAPPER hallway OPTIONS (connector 'any', address 'unix:%s');
		CREATE USER MAPPING FOR PUBLIC SERVER fake; CREATE FOREIGN TABLE f (i int4, t text) SERVER fake`, sock)
	return db, c
}

// requestID is what an error's DETAIL calls the request.
var requestID = regexp.MustCompile(`Request id: (\S+)\.`)

func contains(s, part string) bool { return strings.Contains(s, part) }

type stream = grpc.ServerStreamingServer[hallwayv1.ScanResponse]

func numbers(n int32) []byte {
	var b []byte
	for i := range n {
		b = append(b, fakes.Tuple(fakes.Int4(i+1))...)
	}
	return b
}

// What Plan called exact and Scan takes back is checked here after all.
func TestScan_RecheckTakesExactBack(t *testing.T) {
	var recheck []uint32
	b := &fakes.Bridge{
		OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
			return fakes.PlanAll(r, hallwayv1.Verdict_VERDICT_EXACT), nil
		},
		OnScan: func(r *hallwayv1.ScanRequest, s stream) error {
			if len(r.GetColumns()) != 1 {
				t.Errorf("columns %v were asked for: the conditions are over i alone", r.GetColumns())
			}
			return fakes.SendAll(s, fakes.Header(recheck...), fakes.Batch(10, numbers(10)), fakes.Footer())
		}}
	_, c := bridge(t, b)
	const q = "SELECT i FROM f WHERE i > 3 AND i < 6"
	require.Len(t, c.Query(q), 10, "exact: nobody checks again")
	recheck = []uint32{0, 1}
	require.Equal(t, rows(row(4), row(5)), c.Query(q))
	c.Exec("SET plan_cache_mode = force_generic_plan; PREPARE p (int) AS SELECT i FROM f WHERE i > $1 AND i < 6")
	for range 3 {
		require.Equal(t, rows(row(5)), c.Query("EXECUTE p (4)"))
	}
	recheck = nil
	require.Len(t, c.Query("EXECUTE p (4)"), 10)
}

// Superset and local conditions are always checked here.
func TestScan_SupersetIsChecked(t *testing.T) {
	for _, v := range []hallwayv1.Verdict{hallwayv1.Verdict_VERDICT_SUPERSET, hallwayv1.Verdict_VERDICT_LOCAL, hallwayv1.Verdict_VERDICT_UNSPECIFIED} {
		_, c := bridge(t, &fakes.Bridge{
			OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) { return fakes.PlanAll(r, v), nil },
			OnScan: func(r *hallwayv1.ScanRequest, s stream) error {
				if r.GetLimit() != 0 {
					t.Errorf("a LIMIT of %d went down although rows are still to be filtered", r.GetLimit())
				}
				return fakes.SendAll(s, fakes.Header(), fakes.Batch(10, numbers(10)), fakes.Footer())
			}})
		require.Equal(t, rows(row(4)), c.Query("SELECT i FROM f WHERE i > 3 LIMIT 1"))
	}
}

// Planning and EXPLAIN read nothing from the API; who may not read does not
// even make the sidecar plan.
func TestPlan_NeverScans(t *testing.T) {
	var mu sync.Mutex
	plans, scans := 0, 0
	db, c := bridge(t, &fakes.Bridge{
		OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
			mu.Lock()
			plans++
			mu.Unlock()
			return fakes.PlanAll(r, hallwayv1.Verdict_VERDICT_LOCAL), nil
		},
		OnScan: func(r *hallwayv1.ScanRequest, s stream) error {
			mu.Lock()
			if !r.GetExplainOnly() {
				scans++
			}
			mu.Unlock()
			if r.GetExplainOnly() {
				return fakes.SendAll(s, fakes.Header())
			}
			return fakes.SendAll(s, fakes.Header(), fakes.Footer())
		}})
	c.Exec("EXPLAIN SELECT * FROM f; EXPLAIN (VERBOSE, FORMAT JSON) SELECT i FROM f WHERE i = 1; PREPARE p AS SELECT * FROM f")
	require.NotZero(t, plans)
	require.Zero(t, scans)
	c.Exec("EXPLAIN ANALYZE SELECT * FROM f")
	require.Equal(t, 1, scans)
	// A plan that is not run to the foreign scan opens no stream.
	c.Exec("CREATE TABLE nothing (i int); SET enable_hashjoin = off; SET enable_mergejoin = off; ANALYZE nothing")
	c.Exec("SELECT * FROM f WHERE false; SELECT * FROM f LIMIT 0")
	require.Equal(t, 1, scans)

	role := "stranger_" + db.Name
	c.Exec("CREATE ROLE %s LOGIN", role)
	t.Cleanup(func() { _, _ = c.Try("DROP OWNED BY %s; DROP ROLE %s", role, role) })
	s := db.ConnectAs(t, role)
	before := plans
	s.Fails("42501", "SELECT * FROM f WHERE i = 1")
	s.Fails("42501", "EXPLAIN SELECT * FROM f WHERE i = 1")
	require.Equal(t, before, plans, "the privilege is checked before the sidecar is asked")
}

// An answer that depends on the values is asked for again for others, and a
// generic plan, which has none, is one of those others.
func TestPlan_ValueDependentAnswers(t *testing.T) {
	var asked []bool
	_, c := bridge(t, &fakes.Bridge{OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
		for _, e := range r.GetConjuncts() {
			asked = append(asked, e.GetComparison().GetRight().GetParameter().GetKnown())
		}
		p := fakes.PlanAll(r, hallwayv1.Verdict_VERDICT_LOCAL)
		p.ValueDependent = true
		return p, nil
	}})
	c.Exec("PREPARE p (int) AS SELECT i FROM f WHERE i > $1")
	for range 2 {
		c.Exec("SELECT i FROM f WHERE i > 3; SET plan_cache_mode = force_generic_plan; EXECUTE p (3); EXECUTE p (4)")
		c.Exec("SELECT i FROM f WHERE i > 4; SET plan_cache_mode = force_custom_plan; EXECUTE p (3); EXECUTE p (5)")
	}
	require.Equal(t, []bool{true, false, true, true}, asked, "3, none, 4, 5: once each")
}

// A column that the statement does not name is not sent: omitted is not NULL.
func TestInsert_OmittedIsNotNull(t *testing.T) {
	var got []uint32
	_, c := bridge(t, &fakes.Bridge{OnModify: func(_ context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
		got = r.GetColumns()
		return &hallwayv1.ModifyResponse{Results: []*hallwayv1.RowResult{{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED}}}, nil
	}})
	for sql, want := range map[string][]uint32{
		"INSERT INTO f (i) VALUES (1)":                        {0},
		"INSERT INTO f (t) VALUES ('x')":                      {1},
		"INSERT INTO f (t, i) VALUES (NULL, 1)":               {0, 1},
		"INSERT INTO f VALUES (1, NULL)":                      {0, 1},
		"INSERT INTO f VALUES (1)":                            {0},
		"INSERT INTO f (i) SELECT 5":                          {0},
		"WITH x AS (INSERT INTO f (t) VALUES ('a')) SELECT 1": {1},
	} {
		got = nil
		c.Exec("%s", sql)
		require.ElementsMatch(t, want, got, sql)
	}
}

// An UPDATE names the columns it sets, and the key.
func TestUpdate_SendsWhatItSets(t *testing.T) {
	var got *hallwayv1.ModifyRequest
	_, c := bridge(t, &fakes.Bridge{
		OnScan: func(r *hallwayv1.ScanRequest, s stream) error {
			tuple := fakes.Tuple(fakes.Int4(7))
			if len(r.GetColumns()) == 2 {
				tuple = fakes.Tuple(fakes.Int4(7), []byte("old"))
			}
			return fakes.SendAll(s, fakes.Header(), fakes.Batch(1, tuple), fakes.Footer())
		},
		OnModify: func(_ context.Context, r *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
			got = r
			return &hallwayv1.ModifyResponse{Results: []*hallwayv1.RowResult{{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED}}}, nil
		}})
	require.Equal(t, "UPDATE 1", c.Exec("UPDATE f SET t = 'new' WHERE i = 7"))
	require.Equal(t, []uint32{0}, got.GetKeyColumns())
	require.Equal(t, []uint32{1}, got.GetColumns())
	require.Equal(t, fakes.Tuple(fakes.Int4(7), []byte("new")), got.GetTuples())
	require.NotZero(t, got.GetTransaction().GetXid())
	require.NotEmpty(t, got.GetIdempotencyKey())
	key := got.GetIdempotencyKey()
	require.Equal(t, "DELETE 1", c.Exec("DELETE FROM f WHERE i = 7"))
	require.Equal(t, fakes.Tuple(fakes.Int4(7)), got.GetTuples())
	require.NotEqual(t, key, got.GetIdempotencyKey())
}

// Waiting for a row lock makes PostgreSQL look at the foreign row again.
func TestEvalPlanQual_JoinedForeignRow(t *testing.T) {
	db, c := people(t, 20)
	c.Exec("ALTER TABLE l ADD PRIMARY KEY (id); ANALYZE l")
	other := db.Connect(t)
	for _, q := range []string{
		"UPDATE l SET amount = l.amount + 1 FROM f WHERE f.id = l.id AND l.dept = 1 AND f.amount < 100 AND l.id = 6",
		"SELECT l.id FROM l JOIN f ON f.id = l.id WHERE l.id = 6 AND f.dept = 1 FOR UPDATE OF l",
	} {
		c.Exec("BEGIN; UPDATE l SET amount = amount + 1000 WHERE id = 6")
		done := make(chan error, 1)
		go func() {
			r, err := harness.Simple(context.Background(), other.PgConn, q)
			if err == nil && r.Tag != "UPDATE 1" && r.Tag != "SELECT 1" {
				err = context.Canceled
			}
			done <- err
		}()
		require.Eventually(t, func() bool {
			return c.Value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
		}, 30*time.Second, 10*time.Millisecond)
		c.Exec("COMMIT")
		require.NoError(t, <-done, q)
	}
	require.Equal(t, "2010", c.Value("SELECT amount::int FROM l WHERE id = 6"))
}

// A definition that changes holds for the next statement, cached plans too.
func TestDefinition_ChangesHoldAtOnce(t *testing.T) {
	db, c := synthetic(t)
	_ = db
	c.Exec("CREATE FOREIGN TABLE t (id int8, name text) SERVER syn OPTIONS (rows '5')")
	other := db.Connect(t)
	other.Exec("SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM t; PREPARE q AS SELECT id FROM t ORDER BY id LIMIT 1")
	require.Equal(t, "5", other.Value("EXECUTE p"))
	require.Equal(t, "1", other.Value("EXECUTE q"))
	c.Exec("ALTER FOREIGN TABLE t OPTIONS (SET rows '7')")
	require.Equal(t, "7", other.Value("EXECUTE p"))
	c.Exec("ALTER FOREIGN TABLE t DROP COLUMN name, ADD COLUMN amount numeric")
	require.Equal(t, "7", other.Value("EXECUTE p"))
	require.Equal(t, "1", other.Value("EXECUTE q"))
	require.Len(t, other.Query("SELECT * FROM t")[0], 2)
	c.Exec("ALTER FOREIGN TABLE t OPTIONS (DROP rows); ALTER SERVER syn OPTIONS (ADD rows '9')")
	require.Equal(t, "9", other.Value("EXECUTE p"))
	// Within one transaction, and undone by its rollback.
	c.Exec("BEGIN; ALTER FOREIGN TABLE t OPTIONS (ADD rows '3')")
	require.Equal(t, "3", c.Value("SELECT count(*) FROM t"))
	c.Exec("ROLLBACK")
	require.Equal(t, "9", c.Value("SELECT count(*) FROM t"))
	require.Equal(t, "9", other.Value("EXECUTE p"))
}

// The credential shows up nowhere but at the API.
func TestSecrets_ShowUpNowhere(t *testing.T) {
	api := startFake(t)
	api.Secret = "hush-hush-4711"
	s := env.NewSidecar(t, harness.SidecarSettings{Args: []string{"--log-level", "debug"}})
	c := env.Database(t).Connect(t)
	c.Exec("SET hallway.address = '%s'; SET client_min_messages = debug1", s.Address())
	fake(t, c, api, fakes.OK)
	require.NotEmpty(t, c.Query("SELECT * FROM contacts LIMIT 1"))
	plan := c.Query("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM contacts WHERE email = 'contact7@example.com'")
	for _, r := range plan {
		require.NotContains(t, r[0], api.Secret)
	}
	for _, q := range []string{"SELECT * FROM contacts WHERE stage = 'x'", "INSERT INTO contacts (email) VALUES ('no')"} {
		if _, err := c.Try("%s", q); err != nil {
			require.NotContains(t, harness.Describe(err), api.Secret)
		}
	}
	c.Exec("ALTER SERVER api OPTIONS (SET base_url '%s/401')", api.URL)
	require.NotContains(t, harness.Describe(c.Fails("28000", "SELECT * FROM contacts")), api.Secret)
	log := harness.Tail(s.Log, 1<<20)
	require.NotEmpty(t, log)
	require.NotContains(t, log, api.Secret)
}

// A request's id stands in the error and in the sidecar's log.
func TestErrors_RequestIDLeadsToTheLog(t *testing.T) {
	api := startFake(t)
	s := env.NewSidecar(t, harness.SidecarSettings{})
	c := env.Database(t).Connect(t)
	c.Exec("SET hallway.address = '%s'", s.Address())
	fake(t, c, api, "500")
	e := c.Fails("08006", "SELECT * FROM contacts")
	found := requestID.FindStringSubmatch(e.Detail)
	require.Len(t, found, 2, "the detail is %q", e.Detail)
	id := found[1]
	require.Eventually(t, func() bool { return contains(harness.Tail(s.Log, 1<<16), id) }, 30*time.Second, 10*time.Millisecond,
		"%q is not in the log", id)
}

// The liar: filters are accepted and ignored, and the answers are right.
func TestLiar_AnswersAreRight(t *testing.T) {
	api := startFake(t)
	_, c := synthetic(t)
	fake(t, c, api, fakes.Liar)
	c.Exec("CREATE TABLE l AS SELECT * FROM contacts")
	require.Equal(t, "250", c.Value("SELECT count(*) FROM l"))
	for _, where := range []string{"email = 'contact7@example.com'", "stage = 'open'", "stage = 'new'", "stage IN ('won', 'lost')", "name = ''", "name IS NULL",
		"name <> 'Ann'", "stage = 'open' AND name = 'Zoë'", "id = 'c00009'", "email = 'nobody'", "amount > 500 OR stage = 'won'", "NOT (stage = 'open')"} {
		want := c.Query("SELECT * FROM l WHERE %s ORDER BY id", where)
		require.Equal(t, want, c.Query("SELECT * FROM contacts WHERE %s ORDER BY id", where), where)
		require.Equal(t, want[:min(2, len(want))], c.Query("SELECT * FROM contacts WHERE %s ORDER BY id LIMIT 2", where), where)
		require.Equal(t, rows(row(len(want))), c.Query("SELECT count(*) FROM contacts WHERE %s", where), where)
	}
	require.Equal(t, c.Query("SELECT l.id, x.id FROM l LEFT JOIN l x ON x.email = l.email ORDER BY 1"),
		c.Query("SELECT l.id, x.id FROM l LEFT JOIN contacts x ON x.email = l.email ORDER BY 1"))
	// Nothing is taken for found because the filter was sent.
	require.Equal(t, "UPDATE 0", c.Exec("UPDATE contacts SET name = 'x' WHERE email = 'nobody'"))
	require.Equal(t, "DELETE 1", c.Exec("DELETE FROM contacts WHERE email = 'contact9@example.com'"))
	require.Len(t, api.Objects("contacts"), 249)
}
