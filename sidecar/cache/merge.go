// How fetched rows become the table's: one statement that updates what differs,
// inserts what is new and deletes what the API did not return, and what that
// means for the other regions.

package cache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// manyRegions is how many other regions are looked at one by one when rows
// vanish; of more, all are deleted.
const manyRegions = 500

// Result says what a merge did. Rows is how many there were to merge.
type Result struct{ Rows, Inserted, Updated, Deleted int64 }

// source is where a merge's rows come from: a common table expression whose
// columns are c0, c1, ... by their positions in the table.
type source struct {
	cte     string
	columns []int
	// unique: a key is there once, by a constraint.
	unique bool
	// The parameters of the expression, in binary; nil: it has none.
	params []param
}

type param struct {
	oid   uint32
	value []byte
}

// arraySource gives rows that are parameters.
func (t *Table) arraySource(columns []int, r rowArrays) source {
	s := source{columns: columns}
	var from, alias, list strings.Builder
	from.WriteString("unnest($1::" + t.sql + "[]")
	s.params = append(s.params, param{0, r.records})
	for i := range t.attrs {
		if i > 0 {
			alias.WriteString(", ")
		}
		alias.WriteString("a" + strconv.Itoa(i))
	}
	for i, c := range columns {
		if i > 0 {
			list.WriteString(", ")
		}
		if t.forms[c] == asText {
			s.params = append(s.params, param{0, r.texts[c]})
			fmt.Fprintf(&from, ", $%d::text[]", len(s.params))
			fmt.Fprintf(&alias, ", x%d", c)
			fmt.Fprintf(&list, "x%d::%s AS c%d", c, t.attrs[c].typ, c)
			continue
		}
		fmt.Fprintf(&list, "a%d AS c%d", c, c)
	}
	s.cte = "s AS MATERIALIZED (SELECT " + list.String() + " FROM " + from.String() + ") AS u(" + alias.String() + "))"
	return s
}

// stageSource gives the rows of a staging table, whose columns have the names
// that column says and are cast where cast says so.
func (t *Table) stageSource(stage string, columns []int, column func(int) string, cast bool) source {
	var list strings.Builder
	unique := true
	for i, c := range columns {
		if i > 0 {
			list.WriteString(", ")
		}
		list.WriteString("g." + column(c))
		if cast && t.forms[c] != native {
			list.WriteString("::" + t.attrs[c].typ)
			unique = unique && !contains(t.key, c)
		}
		list.WriteString(" AS c" + strconv.Itoa(c))
	}
	return source{columns: columns, unique: unique,
		cte: "s AS NOT MATERIALIZED (SELECT " + list.String() + " FROM " + stage + " AS g)"}
}

// otherRegion is one that a merge may have to delete.
type otherRegion struct {
	hash      int64
	condition string
	columns   []int16
}

// otherRegions reads the regions of the table but one; many is true, and the
// list empty, if they are more than manyRegions. The writer lock is held, so no
// other fill adds one.
func (t *Table) otherRegions(ctx context.Context, tx pgx.Tx, except *int64) (list []otherRegion, many bool, err error) {
	rows, err := tx.Query(ctx, `SELECT hash, condition, columns FROM hallway.cache_regions
WHERE cache_id = $1 AND hash IS DISTINCT FROM $2 LIMIT $3`, t.id, except, manyRegions+1)
	if err != nil {
		return nil, false, fmt.Errorf("reading the regions: %w", err)
	}
	list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r otherRegion, err error) {
		return r, row.Scan(&r.hash, &r.condition, &r.columns)
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading the regions: %w", err)
	}
	if len(list) > manyRegions {
		return nil, true, nil
	}
	return list, false, nil
}

func (t *Table) deleteRegions(ctx context.Context, tx pgx.Tx, hashes []int64) error {
	if len(hashes) == 0 {
		return nil
	}
	t.d.soil(t.id)
	if _, err := tx.Exec(ctx, "DELETE FROM hallway.cache_regions WHERE cache_id = $1 AND hash = ANY ($2)", t.id, hashes); err != nil {
		return fmt.Errorf("deleting regions: %w", err)
	}
	return nil
}

func (t *Table) deleteRegionsBut(ctx context.Context, tx pgx.Tx, except int64) error {
	t.d.soil(t.id)
	if _, err := tx.Exec(ctx, "DELETE FROM hallway.cache_regions WHERE cache_id = $1 AND hash <> $2", t.id, except); err != nil {
		return fmt.Errorf("deleting regions: %w", err)
	}
	return nil
}

// writtenSince says whether keys were written since, and fails with
// ErrOvertaken if something of what was written is not known.
func (t *Table) writtenSince(ctx context.Context, tx pgx.Tx, since time.Time) (bool, error) {
	var known, unknown bool
	err := tx.QueryRow(ctx, `SELECT coalesce(bool_or(complete), false), coalesce(bool_or(NOT complete), false)
FROM hallway.cache_writes WHERE cache_id = $1 AND written_at >= $2`, t.id, since).Scan(&known, &unknown)
	switch {
	case err != nil:
		return false, fmt.Errorf("reading what was written: %w", err)
	case unknown:
		return false, ErrOvertaken
	}
	return known, nil
}

// notWritten is a condition that leaves out the keys written since $n.
func (t *Table) notWritten(column func(int) string) string {
	return " AND NOT EXISTS (SELECT FROM w WHERE w.key = " + t.keyText(column) + ")"
}

// merge runs the statement. condition is the region's, empty if nothing is to be
// deleted; rows that were written since are left alone if skip is set.
// lost tells for each of others whether a row that was or is in it was inserted,
// changed or deleted: then it shows neither the state it was fetched in nor the
// new one.
func (t *Table) merge(ctx context.Context, tx pgx.Tx, s source, condition string, skip bool, since time.Time, others []otherRegion) (r Result, lost []bool, err error) {
	var b strings.Builder
	old := func(i int) string { return "t." + t.columns[i] }
	fetched := func(i int) string { return "s.c" + strconv.Itoa(i) }
	onKey := t.onKey("s")
	b.WriteString("WITH " + s.cte)
	keep := func(func(int) string) string { return "" }
	if skip {
		// As a literal, since the other parameters are raw.
		fmt.Fprintf(&b, ",\nw AS MATERIALIZED (SELECT key FROM hallway.cache_writes WHERE cache_id = %d AND written_at >= %s::timestamptz)",
			t.id, pushdown.QuoteLiteral(since.UTC().Format("2006-01-02 15:04:05.999999+00")))
		keep = t.notWritten
	}
	// x is what differs: one join tells for each row whether it is new.
	var set, was, is, values []string
	for _, c := range s.columns {
		changed := "x.c" + strconv.Itoa(c)
		values = append(values, changed)
		if contains(t.key, c) {
			continue
		}
		set = append(set, t.columns[c]+" = "+changed)
		was = append(was, old(c))
		is = append(is, fetched(c))
	}
	unknown := old(t.key[0]) + " IS NULL"
	differs := unknown
	if len(set) > 0 {
		differs += " OR " + differ(was, is)
	}
	b.WriteString(",\nx AS MATERIALIZED (SELECT s.*, " + unknown + " AS new FROM s LEFT JOIN " + t.sql + " AS t ON " + onKey +
		" WHERE (" + differs + ")" + keep(fetched) + ")")
	returning, touched := "1", "SELECT * FROM i"
	if len(others) > 0 {
		returning = "t.*"
	}
	updated := "0"
	if len(set) > 0 {
		updated = "(SELECT count(*) FROM u)"
		onChanged := "NOT x.new AND " + t.onKey("x")
		b.WriteString(",\nu AS (UPDATE " + t.sql + " AS t SET " + strings.Join(set, ", ") + " FROM x WHERE " + onChanged + " RETURNING " + returning + ")")
		touched += " UNION ALL SELECT * FROM u UNION ALL SELECT t.* FROM " + t.sql + " AS t, x WHERE " + onChanged
	}
	b.WriteString(",\ni AS (INSERT INTO " + t.sql + " AS t (" + t.list(s.columns, "") + ") SELECT " + strings.Join(values, ", ") +
		" FROM x WHERE x.new RETURNING " + returning + ")")
	deleted, hits := "0", "'{}'::bool[]"
	if condition != "" {
		deleted = "(SELECT count(*) FROM g)"
		b.WriteString(",\ng AS (DELETE FROM " + t.sql + " AS t WHERE " + condition +
			" AND NOT EXISTS (SELECT FROM s WHERE " + onKey + ")" + keep(old) + " RETURNING t.*)")
	}
	if len(others) > 0 {
		list := make([]string, len(others))
		for i, o := range others {
			list[i] = "false"
			if condition != "" {
				list[i] = "EXISTS (SELECT FROM g WHERE " + o.condition + ")"
			}
			list[i] += " OR EXISTS (SELECT FROM n WHERE " + o.condition + ")"
		}
		b.WriteString(",\nn AS (" + touched + ")")
		hits = "ARRAY[" + strings.Join(list, ", ") + "]"
	}
	distinct := "0"
	if !s.unique {
		keys := make([]string, len(t.key))
		for i, k := range t.key {
			keys[i] = "c" + strconv.Itoa(k)
		}
		distinct = "(SELECT count(*) FROM (SELECT 1 FROM s GROUP BY " + strings.Join(keys, ", ") + ") AS q)"
	}
	b.WriteString("\nSELECT (SELECT count(*) FROM s), " + distinct + ", (SELECT count(*) FROM i), " + updated + ", " + deleted + ", " + hits)

	row, err := queryRaw(ctx, tx, b.String(), s.params)
	if err != nil {
		if sqlState(err) == "23505" {
			return r, nil, ErrDuplicate
		}
		return r, nil, fmt.Errorf("merging: %w", t.gone(err))
	}
	var numbers [5]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(string(row[i]), 10, 64); err != nil {
			return r, nil, fmt.Errorf("merging: %w", err)
		}
	}
	if !s.unique && numbers[0] != numbers[1] {
		return r, nil, ErrDuplicate
	}
	r = Result{Rows: numbers[0], Inserted: numbers[2], Updated: numbers[3], Deleted: numbers[4]}
	for _, x := range strings.Split(strings.Trim(string(row[5]), "{}"), ",") {
		lost = append(lost, x == "t")
	}
	return r, lost, nil
}

// differ compares rows byte by byte, so that it works for types without an
// equality, and 1.0 is not 1.00.
func differ(was, is []string) string {
	return "record_image_ne(ROW(" + strings.Join(was, ", ") + "), ROW(" + strings.Join(is, ", ") + "))"
}

func contains(list []int, x int) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}

// queryRaw runs one statement with parameters in binary and gives its one row in
// text.
func queryRaw(ctx context.Context, tx pgx.Tx, sql string, params []param) ([][]byte, error) {
	values := make([][]byte, len(params))
	oids := make([]uint32, len(params))
	formats := make([]int16, len(params))
	for i, p := range params {
		values[i], oids[i], formats[i] = p.value, p.oid, 1
	}
	res := tx.Conn().PgConn().ExecParams(ctx, sql, values, oids, formats, nil).Read()
	if res.Err != nil {
		return nil, res.Err
	}
	if len(res.Rows) == 0 {
		return nil, errors.New("the statement returned no row")
	}
	return res.Rows[0], nil
}

// contradicted tells for each of others whether one of the rows that were copied
// into the empty table is in it, of which it knew nothing.
func (t *Table) contradicted(ctx context.Context, tx pgx.Tx, others []otherRegion) ([]bool, error) {
	lost := make([]bool, len(others))
	for i, o := range others {
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+t.sql+" WHERE "+o.condition+")").Scan(&lost[i]); err != nil {
			return nil, fmt.Errorf("finding the regions of rows: %w", err)
		}
	}
	return lost, nil
}

// afterMerge deletes the regions that are not right any more. changed columns
// are what the rows came with.
func (t *Table) afterMerge(ctx context.Context, tx pgx.Tx, columns []int, hash int64, r Result, others []otherRegion, many bool, lost []bool) error {
	if r.Inserted+r.Updated+r.Deleted == 0 {
		return nil
	}
	if many {
		return t.deleteRegionsBut(ctx, tx, hash)
	}
	var wrong []int64
	for i, o := range others {
		wider := r.Inserted+r.Updated > 0 && !covers(columns, o.columns)
		if wider || lost[i] {
			wrong = append(wrong, o.hash)
		}
	}
	return t.deleteRegions(ctx, tx, wrong)
}

// covers reports whether columns (from 0) hold all of numbers (from 1).
func covers(columns []int, numbers []int16) bool {
	for _, n := range numbers {
		if !contains(columns, int(n)-1) {
			return false
		}
	}
	return true
}

// MergeStaged merges rows of a staging table into a replica's, in the caller's
// transaction: staging has the table's columns by name and a unique key. If
// whole, rows that it lacks are deleted. Rows written since are left as they
// are. The error may be ErrGone, or one that IsLocked knows.
func (t *Table) MergeStaged(ctx context.Context, tx pgx.Tx, staging pgx.Identifier, whole bool, since time.Time) (Result, error) {
	if err := t.lockWriterIn(ctx, tx, time.Second); err != nil {
		return Result{}, err
	}
	// What is not known of a row that was written comes with the next run.
	var skip bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM hallway.cache_writes WHERE cache_id = $1 AND written_at >= $2 AND key <> '{}')",
		t.id, since).Scan(&skip); err != nil {
		return Result{}, fmt.Errorf("reading what was written: %w", err)
	}
	condition := ""
	if whole {
		condition = "true"
	}
	s := t.stageSource(staging.Sanitize(), t.complete, func(i int) string { return t.columns[i] }, false)
	r, _, err := t.merge(ctx, tx, s, condition, skip, since, nil)
	if err != nil {
		return Result{}, err
	}
	return r, t.lockRegistryIn(ctx, tx)
}

// DeleteStaged deletes the rows whose key a table of keys has, in the caller's
// transaction; its columns have the key columns' names. Rows written since are
// left as they are. Errors are as MergeStaged's.
func (t *Table) DeleteStaged(ctx context.Context, tx pgx.Tx, keys pgx.Identifier, since time.Time) (int64, error) {
	if err := t.lockWriterIn(ctx, tx, time.Second); err != nil {
		return 0, err
	}
	var on []string
	for _, k := range t.key {
		on = append(on, "g."+t.columns[k]+" = t."+t.columns[k])
	}
	tag, err := tx.Exec(ctx, `WITH w AS MATERIALIZED (SELECT key FROM hallway.cache_writes WHERE cache_id = $1 AND written_at >= $2)
DELETE FROM `+t.sql+` AS t USING `+keys.Sanitize()+` AS g WHERE `+strings.Join(on, " AND ")+
		t.notWritten(func(i int) string { return "t." + t.columns[i] }), t.id, since)
	if err != nil {
		return 0, fmt.Errorf("deleting what is gone: %w", t.gone(err))
	}
	return tag.RowsAffected(), t.lockRegistryIn(ctx, tx)
}
