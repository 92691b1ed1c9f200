package sync

// One run of one replica: what it is, what is known of it, full copy or
// increment, and how it ended.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// errElsewhere: another sidecar works on the replica just now.
var errElsewhere = errors.New("another sidecar works on it")

// Defaults of the options; connectors.CommonOptions documents them.
const (
	defaultRefresh = 5 * time.Minute
	// defaultOverlap is how far an increment reaches back: clocks differ, and a
	// change may be seen later than its time says.
	defaultOverlap = 2 * time.Minute
)

// replica is one run.
type replica struct {
	n    *node
	conn *pgxpool.Conn
	db   *database.Database

	relid   uint32
	role    uint32 // whose credential it is; 0: not known yet
	name    string
	opts    options
	state   state
	t       *table
	release func()
	cache   CacheTable
	stage   staging
	fetch   []int // columns that come from the API
	shape   []byte
	rows    int64
	pages   uint64
	stats   connectors.Stats
	began   time.Time // by the database's clock
	change  *change   // nil: the API does not say when a row was changed
	// dead are the records that were deleted; nil: the API does not tell.
	dead connectors.Table
	// logs are where the API says what was changed; nil: nowhere, or rows do.
	logs *connectors.Changes
	// remembers is for how long it tells either; 0: for ever.
	remembers time.Duration
}

// options of a replica. compare below 0: not set.
type options struct {
	refresh, compare, overlap time.Duration
}

// state is what hallway.replicas remembers.
type state struct {
	account  []byte
	failures int
	// of a copy under way
	began      *time.Time
	rows       int64
	pages      int64
	shape      []byte
	copyCursor []byte
	position   [][]byte
	cursor     []byte
	compared   *time.Time
	requested  *time.Time
	asOf       *time.Time
}

// refresh is the job: it opens everything, runs, and notes the outcome.
func (n *node) refresh(ctx context.Context, db *database.Database, relid uint32, attempt int) error {
	n.mu.Lock()
	paused := n.paused
	n.mu.Unlock()
	if paused != "" {
		return nil // it is added again after hallway.resume()
	}
	conn, err := db.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release()
	// The lock lives with the connection on which everything is committed: who
	// has lost it can commit nothing.
	var got bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockClass, int32(relid)).Scan(&got); err != nil {
		return fmt.Errorf("locking the replica: %w", err)
	}
	if !got {
		return errElsewhere
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock($1, $2)`, lockClass, int32(relid)); err != nil {
			_ = conn.Conn().Close(ctx) // which unlocks
		}
	}()
	r := &replica{n: n, conn: conn, db: db, relid: relid}
	packed, err := r.load(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // not a replica any more
	}
	if err == nil {
		err = r.run(transport.Background(ctx), packed)
	}
	if r.release != nil {
		r.release()
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, ErrNotReplica):
	case errors.Is(err, cache.ErrOvertaken):
		r.wait(ctx, "rows of the object were written through Hallway just now, and the API may not list them yet")
	default:
		r.failed(ctx, err, attempt)
	}
	if errors.Is(err, ErrNotReplica) {
		return nil
	}
	return err
}

// load reads what the replica is. The error is pgx.ErrNoRows if it is none.
func (r *replica) load(ctx context.Context) ([]byte, error) {
	var refresh, compare, overlap *string
	var packed []byte
	s := &r.state
	err := r.conn.QueryRow(ctx, `SELECT t.relid::regclass::text, t.refresh_every, t.compare_every, t.sync_overlap,
  r.account, r.failures, r.began_at, r.rows_read, r.pages_read, r.copy_shape, r.copy_position, r.copy_cursor, r.change_cursor, r.compared_at, r.requested_at,
  (SELECT c.as_of FROM hallway.cache_tables c WHERE c.relid = r.relid AND c.account = r.account AND c.replica)
FROM hallway.replicas r JOIN hallway.replicated_tables t ON t.relid = r.relid WHERE r.relid = $1`, r.relid).
		Scan(&r.name, &refresh, &compare, &overlap, &s.account, &s.failures, &s.began, &s.rows, &s.pages,
			&s.shape, &s.position, &s.copyCursor, &s.cursor, &s.compared, &s.requested, &s.asOf)
	if err != nil {
		return nil, fmt.Errorf("reading what the replica is: %w", err)
	}
	set := func(text *string, def time.Duration) time.Duration {
		if text == nil {
			return def
		}
		d, ok := parseDuration(*text)
		if !ok {
			return def // the validator lets none through
		}
		return d
	}
	r.opts.refresh = max(set(refresh, defaultRefresh), time.Second)
	r.opts.compare = set(compare, -1)
	r.opts.overlap = set(overlap, defaultOverlap)
	err = r.conn.QueryRow(ctx, `SELECT hallway.relation_definition($1::oid::regclass, w.role), w.role
FROM hallway.replicated_tables t JOIN pg_class k ON k.oid = t.relid
CROSS JOIN LATERAL (SELECT CASE WHEN t.sync_as IS NULL THEN k.relowner ELSE (SELECT oid FROM pg_roles WHERE rolname = t.sync_as) END AS role) w
WHERE t.relid = $1 AND w.role IS NOT NULL`, r.relid).Scan(&packed, &r.role)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errors.New("the role that the option sync_as names does not exist")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the table's definition: %w", err)
	}
	return packed, nil
}

// parseDuration reads an option's value as PostgreSQL reads a setting of time
// without a unit of its own: a number and one of ms, s, min, h, d; a number
// alone is milliseconds.
func parseDuration(s string) (time.Duration, bool) {
	units := []struct {
		name string
		unit time.Duration
	}{{"ms", time.Millisecond}, {"min", time.Minute}, {"us", time.Microsecond}, {"s", time.Second}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"", time.Millisecond}}
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || f < 0 || f > float64(100*365*24*time.Hour/u.unit) {
			return 0, false
		}
		return time.Duration(f * float64(u.unit)), true
	}
	return 0, false
}

// run brings the replica up to date.
func (r *replica) run(ctx context.Context, packed []byte) error {
	bound, def, release, err := r.n.m.cfg.Open.OpenTable(ctx, packed)
	if err != nil {
		return fmt.Errorf("opening the table: %w", err)
	}
	def.Replica = true
	r.t, r.release = &table{Table: bound, Definition: def}, release
	if g, ok := bound.(connectors.Graveyard); ok {
		r.dead = g.Deleted()
	}
	if f, ok := bound.(connectors.Forgetful); ok {
		r.remembers = f.Remembers()
	}
	if len(def.Key) == 0 {
		return &connectors.Error{Class: connectors.NotSupported, Message: "the table has no key, so it cannot be a replica",
			Hint: "Set the option key 'true' on the columns that identify a row."}
	}
	for i, c := range def.Columns {
		if !c.Generated {
			r.fetch = append(r.fetch, i)
		}
	}
	if r.cache, err = r.n.m.cfg.Tables.Replica(ctx, r.db, def); err != nil {
		return fmt.Errorf("finding the cache table: %w", err)
	}
	if err := r.describeStaging(ctx); err != nil {
		return err
	}
	// The cache table may be new, though the replica is not.
	if err := r.conn.QueryRow(ctx, `UPDATE hallway.cache_tables SET replica = true WHERE id = $1 RETURNING as_of`, r.cache.ID()).Scan(&r.state.asOf); err != nil {
		return fmt.Errorf("reading how old the replica is: %w", err)
	}
	r.shape = r.shapeOf()
	r.change = r.changes()
	if c, ok := bound.(connectors.Chronicle); ok && r.change == nil {
		if r.logs = c.Changes(); r.logs != nil {
			r.remembers = r.logs.Remembers
		}
	}
	full := r.state.asOf == nil || (r.change == nil && r.logs == nil) || r.state.cursor == nil || r.state.shape != nil || string(r.state.account) != string(def.Account)
	if !full {
		if r.logs != nil {
			err = r.follow(ctx)
		} else {
			err = r.increment(ctx)
		}
		if !errors.Is(err, errNeedsCopy) {
			return err
		}
		r.n.log.Info("a replica is copied anew", "table", r.name)
	}
	return r.copy(ctx)
}

// shapeOf identifies what is staged: whose rows, in which cache table, with
// which columns.
func (r *replica) shapeOf() []byte {
	h := fnv.New128a()
	fmt.Fprint(h, hex.EncodeToString(r.t.Definition.Account), r.cache.Name(), r.stage.definition)
	return h.Sum(nil)
}

// start notes that a run begins; as what it is shown is for the caller to say.
func (r *replica) start(ctx context.Context, as string) error {
	err := r.conn.QueryRow(ctx, `UPDATE hallway.replicas SET state = $2, reason = NULL, account = $3, began_at = clock_timestamp(),
  rows_read = 0, pages_read = 0, total_rows = NULL WHERE relid = $1 RETURNING began_at`, r.relid, as, r.t.Definition.Account).Scan(&r.began)
	if err != nil {
		return fmt.Errorf("noting the start: %w", err)
	}
	r.rows, r.pages = 0, 0
	return nil
}

// finish is the end of a merge's transaction: what is true from now on. cursor
// nil: there is none. whole: rows that went in the API are gone here; compared:
// all keys were read.
func (r *replica) finish(ctx context.Context, tx pgx.Tx, cursor []byte, whole, compared bool) error {
	_, err := tx.Exec(ctx, `UPDATE hallway.replicas SET state = 'idle', reason = NULL, error = NULL, failures = 0,
  rows_read = $2, pages_read = $3, total_rows = NULL, copy_shape = NULL, copy_position = NULL, copy_cursor = NULL, change_cursor = $4,
  compared_at = CASE WHEN $5 THEN began_at ELSE compared_at END, last_success = clock_timestamp(),
  next_run = greatest(began_at + $6::interval, clock_timestamp()) WHERE relid = $1`,
		r.relid, r.rows, int64(r.pages), cursor, compared, r.opts.refresh)
	if err == nil && whole {
		_, err = tx.Exec(ctx, `UPDATE hallway.cache_tables SET as_of = $2, replica = true WHERE id = $1`, r.cache.ID(), r.began)
	}
	if err != nil {
		return fmt.Errorf("noting the end: %w", err)
	}
	return nil
}

// failed notes a failure, as far as that is possible.
func (r *replica) failed(ctx context.Context, cause error, attempt int) {
	pause := backoff(attempt)
	r.n.log.Warn("a replica could not be brought up to date", "table", r.name, "error", describe(cause), "again_in", pause.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := r.conn.Exec(ctx, `UPDATE hallway.replicas SET state = 'failing', error = $2, error_of = nullif($5::oid, 0), failures = failures + 1,
  began_at = coalesce($4, began_at, clock_timestamp()), next_run = clock_timestamp() + $3::interval WHERE relid = $1`,
		r.relid, describe(cause), pause, r.attempted(), r.role)
	if err != nil {
		r.n.log.Warn("noting a failure", "table", r.name, "error", err.Error())
	}
}

// wait notes why the run ended early; it is not a failure, and begins again soon.
func (r *replica) wait(ctx context.Context, reason string) {
	if _, err := r.conn.Exec(ctx, `UPDATE hallway.replicas SET reason = $2 WHERE relid = $1`, r.relid, reason); err != nil {
		r.n.log.Warn("noting why a replica waits", "table", r.name, "error", err.Error())
	}
}

// attempted is when the run began; nil: it failed before, which counts as now
// unless a copy is to be taken up.
func (r *replica) attempted() *time.Time {
	if !r.began.IsZero() {
		return &r.began
	}
	return nil
}

// change is the column that tells when a row was changed.
type change struct {
	column int
	t      pushdown.Type
}

func (r *replica) changes() *change {
	d := r.t.Describe()
	for _, c := range d.Modified {
		if c < 0 || c >= len(r.t.Definition.Columns) {
			continue
		}
		t := r.t.Definition.Columns[c].Type
		if !t.Array && (t.Kind == pushdown.TimestampTZ || t.Kind == pushdown.Timestamp) {
			return &change{column: c, t: t}
		}
	}
	return nil
}
