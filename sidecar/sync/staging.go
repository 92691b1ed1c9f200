package sync

// Staging: ordinary, logged tables into which rows are copied as they come, so
// that what was read outlives a crash and a merge sees all of it at once.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// numberColumn counts the staged rows, so that of two with one key the later is
// known. No foreign table has a column of that name that is worth a thought.
const numberColumn = "hallway_sync_number"

// staging is where a run's rows go.
type staging struct {
	// rows, their way in if a type has no binary form, keys, keys to delete.
	rows, in, keys, gone pgx.Identifier
	// of all columns of the foreign table; empty for generated ones.
	names, types []string
	// text says which columns come as text for the type's input function.
	text []bool
	// oids of their types; byBytes: their collation, if they have one, is C.
	oids    []uint32
	byBytes []bool
	// definition of the table, to tell whether one of before fits.
	definition string
}

func stagingTables(relid uint32) [4]pgx.Identifier {
	id := strconv.FormatUint(uint64(relid), 10)
	return [4]pgx.Identifier{{schema, "rows_" + id}, {schema, "in_" + id}, {schema, "keys_" + id}, {schema, "gone_" + id}}
}

// describeStaging reads the cache table's columns: staging has their types.
func (r *replica) describeStaging(ctx context.Context) error {
	t := stagingTables(r.relid)
	s := &r.stage
	*s = staging{rows: t[0], in: t[1], keys: t[2], gone: t[3]}
	result, err := r.conn.Query(ctx, `SELECT quote_ident(attname), format_type(atttypid, atttypmod), atttypid,
  attcollation = 0 OR EXISTS (SELECT FROM pg_collation l, pg_database d WHERE l.oid = attcollation AND d.datname = current_database() AND
    CASE l.collprovider WHEN 'd' THEN d.datlocprovider = 'c' AND d.datcollate IN ('C', 'POSIX') WHEN 'c' THEN l.collcollate IN ('C', 'POSIX') ELSE false END)
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, r.cache.Name().Sanitize())
	if err != nil {
		return fmt.Errorf("describing the cache table: %w", err)
	}
	type column struct {
		Name, Type string
		OID        uint32
		ByBytes    bool
	}
	list, err := pgx.CollectRows(result, pgx.RowToStructByPos[column])
	if err != nil {
		return fmt.Errorf("describing the cache table: %w", err)
	}
	if len(list) != len(r.t.Definition.Columns) {
		return fmt.Errorf("the cache table has %d columns instead of %d", len(list), len(r.t.Definition.Columns))
	}
	var def []string
	for i, c := range list {
		s.names = append(s.names, c.Name)
		s.types = append(s.types, c.Type)
		s.oids, s.byBytes = append(s.oids, c.OID), append(s.byBytes, c.ByBytes)
		s.text = append(s.text, r.t.Definition.Columns[i].Type.Kind == pushdown.Other)
		if slices.Contains(r.fetch, i) {
			def = append(def, c.Name+" "+c.Type)
		}
	}
	s.definition = strings.Join(def, ", ")
	return nil
}

// emptyStaging makes staging anew.
func (r *replica) emptyStaging(ctx context.Context, tx pgx.Tx) error {
	s := &r.stage
	var in []string
	for _, i := range r.fetch {
		in = append(in, s.names[i]+" "+s.copyType(i))
	}
	for _, sql := range []string{
		`DROP TABLE IF EXISTS ` + s.rows.Sanitize() + `, ` + s.in.Sanitize() + `, ` + s.keys.Sanitize() + `, ` + s.gone.Sanitize(),
		// Autovacuum would only be in the way of the next DROP.
		`CREATE TABLE ` + s.rows.Sanitize() + ` (` + s.definition + `, ` + numberColumn + ` bigint GENERATED ALWAYS AS IDENTITY) WITH (autovacuum_enabled = off)`,
		`CREATE TABLE ` + s.in.Sanitize() + ` (` + strings.Join(in, ", ") + `) WITH (autovacuum_enabled = off)`,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("making a staging table: %w", err)
		}
	}
	return nil
}

// copyType is the type that column i has in COPY.
func (s *staging) copyType(i int) string {
	if s.text[i] {
		return "text"
	}
	return s.types[i]
}

func (s *staging) list(columns []int, each func(i int) string) string {
	out := make([]string, len(columns))
	for k, i := range columns {
		out[k] = each(i)
	}
	return strings.Join(out, ", ")
}

func (s *staging) name(i int) string { return s.names[i] }

// copyIn adds tuples of columns to a table; one that is in the way of types
// without a binary form goes by the table in.
func (r *replica) copyIn(ctx context.Context, tx pgx.Tx, table pgx.Identifier, columns []int, tuples []byte) error {
	s := &r.stage
	to := table
	viaText := slices.ContainsFunc(columns, func(i int) bool { return s.text[i] })
	if viaText {
		to = s.in
	}
	names := s.list(columns, s.name)
	head := append([]byte("PGCOPY\n\xff\r\n\x00"), 0, 0, 0, 0, 0, 0, 0, 0)
	_, err := tx.Conn().PgConn().CopyFrom(ctx, io.MultiReader(bytes.NewReader(head), bytes.NewReader(tuples), bytes.NewReader([]byte{0xff, 0xff})),
		`COPY `+to.Sanitize()+` (`+names+`) FROM STDIN (FORMAT binary)`)
	if err == nil && viaText {
		_, err = tx.Exec(ctx, `INSERT INTO `+table.Sanitize()+` (`+names+`) SELECT `+
			s.list(columns, func(i int) string { return s.names[i] + "::" + s.types[i] })+` FROM `+s.in.Sanitize())
		if err == nil {
			_, err = tx.Exec(ctx, `TRUNCATE `+s.in.Sanitize())
		}
	}
	if err != nil {
		return fmt.Errorf("staging rows: %w", err)
	}
	return nil
}

// dedupe leaves the last of the staged rows with one key, and counts the others:
// an API whose pages move while they are read sends some twice.
func (r *replica) dedupe(ctx context.Context, on execer, table pgx.Identifier) (int64, error) {
	s := &r.stage
	key := s.list(r.t.Definition.Key, s.name)
	tag, err := on.Exec(ctx, `DELETE FROM `+table.Sanitize()+` t USING (SELECT `+key+`, max(`+numberColumn+`) AS last FROM `+table.Sanitize()+
		` GROUP BY `+key+` HAVING count(*) > 1) d WHERE `+s.equal("t", "d", r.t.Definition.Key)+` AND t.`+numberColumn+` < d.last`)
	if err != nil {
		return 0, fmt.Errorf("looking for rows that came twice: %w", err)
	}
	return tag.RowsAffected(), nil
}

type execer interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// equal is the condition that two tables' rows have the same key.
func (s *staging) equal(a, b string, key []int) string {
	parts := make([]string, len(key))
	for k, i := range key {
		parts[k] = a + "." + s.names[i] + " = " + b + "." + s.names[i]
	}
	return strings.Join(parts, " AND ")
}

var errBadTuple = errors.New("a connector's tuple cannot be read")

// walk goes over a batch and calls each with a tuple's values; nil is NULL.
func walk(batch []byte, n, columns int, each func(values [][]byte)) error {
	values := make([][]byte, columns)
	for range n {
		if len(batch) < 2 || int(binary.BigEndian.Uint16(batch)) != columns {
			return errBadTuple
		}
		batch = batch[2:]
		for i := range values {
			if len(batch) < 4 {
				return errBadTuple
			}
			size := int32(binary.BigEndian.Uint32(batch))
			batch = batch[4:]
			if values[i] = nil; size == -1 {
				continue
			}
			if size < 0 || int(size) > len(batch) {
				return errBadTuple
			}
			values[i], batch = batch[:size:size], batch[size:]
		}
		each(values)
	}
	return nil
}

// param is a known value that a condition compares with.
func param(t pushdown.Type, binary []byte) (*pushdown.Param, error) {
	v, err := rows.DecodeValue(t, binary)
	if err != nil {
		return nil, fmt.Errorf("reading what was remembered: %w", err)
	}
	return &pushdown.Param{Type: t, Known: true, Value: v}, nil
}

// plan is what the API makes of a query: every conjunct pushed, exactly or as a
// superset, and the ordering delivered.
func (r *replica) plan(q pushdown.Request) (pushed, ordered bool) {
	p := r.t.Plan(q)
	pushed = len(p.Conjuncts) == len(q.Conjuncts)
	for _, c := range p.Conjuncts {
		pushed = pushed && c.Verdict != pushdown.Local
	}
	return pushed, len(q.Orderings) > 0 && slices.Contains(p.ExactOrderings, 0)
}

// scan asks the API for rows of columns and hands each batch to sink.
func (r *replica) scan(ctx context.Context, q connectors.Query, sink func(batch []byte, n int) error) (connectors.ScanResult, error) {
	types := make([]pushdown.Type, len(q.Columns))
	for k, i := range q.Columns {
		types[k] = r.t.Definition.Columns[i].Type
	}
	return r.scanTable(ctx, r.t, types, q, sink)
}

// scanTable is scan of any table, whose columns of q have these types. The sink
// runs on another goroutine, but not after scanTable has returned.
func (r *replica) scanTable(ctx context.Context, t connectors.Table, types []pushdown.Type, q connectors.Query, sink func(batch []byte, n int) error) (result connectors.ScanResult, err error) {
	q.Stats = &r.stats
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	staged := stageBehind(sink, cancel, r.n.log)
	defer func() {
		if failed := staged.wait(); failed != nil {
			err = failed
		}
	}()
	out := rows.NewBuilder(types, staged.put, rows.Options{Reuse: true})
	if result, err = t.Scan(ctx, q, out); err == nil {
		err = out.Flush()
	}
	return result, err
}

// maxPasses is how often a list is read at most that shows rows twice.
const maxPasses = 20

// collect scans into a table, by sink, which finds the order of its batch noted. An
// API that does not list in the order of the key may, when rows move between its
// pages, show some twice and others not at all; where some come twice it is read
// again until nothing new comes.
func (r *replica) collect(ctx context.Context, q connectors.Query, order *ascending, table pgx.Identifier, sink func(batch []byte, n int) error) error {
	for pass := 1; ; pass++ {
		read := int64(0)
		_, err := r.scan(ctx, q, func(batch []byte, n int) error {
			read += int64(n)
			if pass == 1 {
				if err := order.note(batch, n); err != nil {
					return err
				}
			}
			return sink(batch, n)
		})
		if err != nil || !order.broken || r.t.Describe().KeyOrdered {
			return err
		}
		twice, err := r.dedupe(ctx, r.conn, table)
		if err != nil || twice == 0 || twice == read && pass > 1 {
			return err
		}
		if pass == maxPasses {
			r.n.log.Warn("the API lists rows in another order each time: some may be missing until the next run", "table", r.name)
			return nil
		}
	}
}
