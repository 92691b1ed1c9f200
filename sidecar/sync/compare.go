package sync

// What the cache table has and the API has not, and the other way round: by the
// API's own word (tombstones), or by comparing keys.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// errNotByKey: the API cannot be asked for rows by their keys.
var errNotByKey = errors.New("the API does not filter by the key")

// Past so many rows, or this share of all, all are read anew.
const (
	maxMissing   = 1000
	missingShare = 10 // a tenth
	// missingAtOnce are asked for by one filter.
	missingAtOnce = 100
)

// goneColumn of the table of differences: the API has no such key any more.
const goneColumn = "hallway_sync_gone"

// readTombstones collects the keys of the records that the API says were
// deleted since last time; false: it does not say.
func (r *replica) readTombstones(ctx context.Context) (bool, error) {
	if r.dead == nil {
		return false, nil
	}
	key := r.t.Definition.Key
	since, err := r.from(len(key), timeTold())
	if err != nil {
		return false, err
	}
	q := connectors.Query{}
	q.Conjuncts = []pushdown.Expr{since}
	for k := range key {
		q.Columns = append(q.Columns, k)
	}
	if p := r.dead.Plan(q.Request); len(p.Conjuncts) != 1 || p.Conjuncts[0].Verdict == pushdown.Local {
		return false, nil
	}
	if err := r.makeKeys(ctx, r.stage.gone, key); err != nil {
		return false, err
	}
	types := make([]pushdown.Type, len(key))
	for k, i := range key {
		types[k] = r.t.Definition.Columns[i].Type
	}
	_, err = r.scanTable(ctx, r.dead, types, q, func(batch []byte, n int) error {
		return r.stageInto(ctx, r.stage.gone, key, batch, n)
	})
	return err == nil, err
}

// makeKeys makes a table of these columns, for this run alone.
func (r *replica) makeKeys(ctx context.Context, table pgx.Identifier, columns []int) error {
	s := &r.stage
	if slices.ContainsFunc(columns, func(i int) bool { return s.text[i] }) {
		return errNeedsCopy // a key of a type that nobody knows
	}
	def := s.list(columns, func(i int) string { return s.names[i] + " " + s.types[i] })
	if _, err := r.conn.Exec(ctx, `CREATE UNLOGGED TABLE `+table.Sanitize()+` (`+def+`, `+numberColumn+
		` bigint GENERATED ALWAYS AS IDENTITY (CACHE 10000)) WITH (autovacuum_enabled = off)`); err != nil {
		return fmt.Errorf("making a staging table: %w", err)
	}
	return nil
}

// compareKeys reads the keys of all rows that there are, each with the time of
// its last change, reads the rows that we lack or have in another state, and
// leaves in the table gone the keys of those that are no more. So it finds, too,
// what changedSince cannot: rows made, or made again, with a time of long ago.
func (r *replica) compareKeys(ctx context.Context, c *copying) error {
	columns := slices.Clone(r.t.Definition.Key)
	if !slices.Contains(columns, r.change.column) {
		columns = append(columns, r.change.column)
	}
	k, err := r.newComparison(ctx, columns)
	if err != nil {
		return err
	}
	if err := k.read(ctx); err != nil {
		return err
	}
	if err := r.forgetStaged(ctx, r.conn); err != nil {
		return err
	}
	most := max(maxMissing, k.rows/missingShare)
	if err := r.readByKey(ctx, c, "NOT "+goneColumn, most); err != nil {
		if errors.Is(err, errNotByKey) {
			return errNeedsCopy
		}
		return err
	}
	if _, err := r.conn.Exec(ctx, `DELETE FROM `+r.stage.gone.Sanitize()+` WHERE NOT `+goneColumn); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	return r.confirm(ctx, c, most)
}

// makeGone makes the table of differences: keys, and whether the API has them no
// more. There is one yet if a copy is taken up that failed after it had all rows.
func (r *replica) makeGone(ctx context.Context) error {
	s := &r.stage
	_, err := r.conn.Exec(ctx, `DROP TABLE IF EXISTS `+s.gone.Sanitize()+`; CREATE UNLOGGED TABLE `+s.gone.Sanitize()+` (`+
		s.list(r.t.Definition.Key, func(i int) string { return s.names[i] + " " + s.types[i] })+`, `+goneColumn+` bool) WITH (autovacuum_enabled = off)`)
	if err != nil {
		return fmt.Errorf("making a staging table: %w", err)
	}
	return nil
}

// compare adds to the table gone what a query finds.
func (r *replica) compare(ctx context.Context, query string) error {
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { //nolint:wrapcheck // said within
		for _, sql := range []string{
			`SET LOCAL work_mem = '32MB'`, `SET LOCAL statement_timeout = 0`,
			`INSERT INTO ` + r.stage.gone.Sanitize() + query,
			`ANALYZE ` + r.stage.gone.Sanitize(),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("comparing keys: %w", err)
			}
		}
		return nil
	})
}

// confirm reads by their keys the rows that seem to be gone: an API that does
// not list in the order of the key passes over a row when others move between
// its pages. What is read is staged, and so it is there.
func (r *replica) confirm(ctx context.Context, c *copying, most int64) error {
	if r.t.Describe().KeyOrdered {
		return nil
	}
	err := r.readByKey(ctx, c, goneColumn, most)
	if errors.Is(err, errNotByKey) {
		return nil
	}
	return err
}

// confirmCopy is confirm for a copy that is whole. If very many rows are not in
// it, that is believed.
func (r *replica) confirmCopy(ctx context.Context, c *copying) error {
	s, key := &r.stage, r.t.Definition.Key
	if r.t.Describe().KeyOrdered || slices.ContainsFunc(key, func(i int) bool { return s.text[i] }) {
		return nil
	}
	if err := r.makeGone(ctx); err != nil {
		return err
	}
	err := r.compare(ctx, ` SELECT `+s.list(key, func(i int) string { return "c." + s.names[i] })+`, true`+
		` FROM `+r.cache.Name().Sanitize()+` c WHERE NOT EXISTS (SELECT FROM `+s.rows.Sanitize()+` s WHERE `+s.equal("s", "c", key)+`)`)
	if err != nil {
		return err
	}
	err = r.confirm(ctx, c, max(maxMissing, r.rows/missingShare))
	if errors.Is(err, errNeedsCopy) {
		return nil
	}
	return err
}

// forgetStaged takes the rows that were read in this run out of the table gone.
func (r *replica) forgetStaged(ctx context.Context, on execer) error {
	s := &r.stage
	if _, err := on.Exec(ctx, `DELETE FROM `+s.gone.Sanitize()+` g USING `+s.rows.Sanitize()+` s WHERE `+s.equal("s", "g", r.t.Definition.Key)); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	return nil
}

// deleteGone deletes the rows whose keys the table gone has. A row that was read
// in this very run was there after it began.
func (r *replica) deleteGone(ctx context.Context, tx pgx.Tx) (int64, error) {
	s := &r.stage
	if err := r.forgetStaged(ctx, tx); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `ANALYZE `+s.gone.Sanitize()+`, `+s.rows.Sanitize()); err != nil {
		return 0, fmt.Errorf("comparing keys: %w", err)
	}
	gone, err := r.cache.DeleteStaged(ctx, tx, s.gone, r.since())
	if err != nil {
		return 0, fmt.Errorf("deleting what is gone: %w", err)
	}
	return gone, nil
}

// readByKey reads the rows of those keys in the table gone for which a condition
// holds. The error is errNeedsCopy if they are more than most, and errNotByKey
// if the API cannot be asked for them.
func (r *replica) readByKey(ctx context.Context, c *copying, condition string, most int64) error {
	s, key := &r.stage, r.t.Definition.Key
	from := ` FROM ` + s.gone.Sanitize() + ` WHERE ` + condition
	var count int64
	if err := r.conn.QueryRow(ctx, `SELECT count(*)`+from).Scan(&count); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	switch {
	case count == 0:
		return nil
	case count > most:
		return errNeedsCopy
	case len(key) > 1:
		return errNotByKey
	}
	t := r.t.Definition.Columns[key[0]].Type
	// In the binary form, as a connector's tuples have it.
	result, err := r.conn.Query(ctx, `SELECT `+s.names[key[0]]+from, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	defer result.Close()
	var wanted []pushdown.Value
	for result.Next() {
		v, err := rows.DecodeValue(t, result.RawValues()[0])
		if err != nil {
			return fmt.Errorf("comparing keys: %w", err)
		}
		wanted = append(wanted, v)
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	for part := range slices.Chunk(wanted, missingAtOnce) {
		q := connectors.Query{}
		q.Columns = r.fetch
		q.Conjuncts = []pushdown.Expr{r.oneOf(part)}
		if pushed, _ := r.plan(q.Request); !pushed {
			return errNotByKey
		}
		if _, err := r.scan(ctx, q, c.stage(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// oneOf is the condition that the key, a single column, is one of some.
func (r *replica) oneOf(keys []pushdown.Value) pushdown.Expr {
	column := r.t.Definition.Key[0]
	t := r.t.Definition.Columns[column].Type
	array := t
	array.Array, array.OID, array.ElementOID = true, 0, t.OID
	return &pushdown.Membership{Operand: &pushdown.Column{Index: column},
		Array: &pushdown.Param{Type: array, Known: true, Value: pushdown.Value{V: keys}}, Collation: collationFor(t)}
}
