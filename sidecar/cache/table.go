// Which local table holds a foreign table's rows: found, made, replaced.

package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Classes of the advisory locks that have two numbers; the second is a cache
// table's id, or 0.
const (
	lockWriter  = 0x48570001
	lockCleaner = 0x48570002
)

const schema = "hallway_cache"

// Table is a cache table. Many goroutines may use it at once.
type Table struct {
	d   *Database
	def Definition

	id       int64
	shape    []byte
	relid    uint32 // the cache table's
	rowType  uint32 // its row type
	name     pgx.Identifier
	sql      string // name, quoted
	attrs    []attribute
	columns  []string // quoted
	key      []int
	replica  bool
	forms    []form
	complete []int // the columns that are not generated
}

// form is how a column's values travel.
type form uint8

const (
	native    form = iota // in the type's binary format
	asText                // text for the type's input function
	asTextArr             // an array of such
)

// ID is hallway.cache_tables.id. It changes when the foreign table's shape does.
func (t *Table) ID() int64 { return t.id }

// Name of the local table, with its schema.
func (t *Table) Name() pgx.Identifier { return slices.Clone(t.name) }

// Table finds or makes the cache table of a foreign table. What it found is
// remembered; a definition that differs from the one before makes it look again.
// The error is an *UnreachableError, ErrStandby, ErrShape, or says what
// PostgreSQL said.
func (d *Database) Table(ctx context.Context, def Definition) (*Table, error) {
	if len(def.Key) == 0 {
		return nil, errors.New("a table without a key cannot be kept")
	}
	for _, k := range def.Key {
		if k < 0 || k >= len(def.Columns) || def.Columns[k].Generated {
			return nil, fmt.Errorf("column %d cannot be part of the key", k)
		}
	}
	if err := d.writable(); err != nil {
		return nil, err
	}
	shape := Shape(def)
	k := tableKey{def.Relid, string(def.Account)}
	d.mu.Lock()
	t := d.tables[k]
	d.mu.Unlock()
	if t != nil && bytes.Equal(t.shape, shape) {
		return t, nil
	}
	var old *Table
	err := d.db.InTx(ctx, func(tx pgx.Tx) (err error) {
		if err := d.writable(); err != nil {
			return err
		}
		t, old, err = d.findOrMake(ctx, tx, def, shape)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the cache table: %w", err)
	}
	d.mu.Lock()
	d.tables[k] = t
	d.mu.Unlock()
	if old != nil {
		d.drop(ctx, old)
	}
	return t, nil
}

// findOrMake also gives the table that the new one replaces, unregistered.
func (d *Database) findOrMake(ctx context.Context, tx pgx.Tx, def Definition, shape []byte) (t, old *Table, err error) {
	// Two sidecars must not make it at once. Only they take this lock.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", makeLock(def)); err != nil {
		return nil, nil, fmt.Errorf("waiting for another sidecar: %w", err)
	}
	foreign, err := attributes(ctx, tx, def.Relid)
	if err != nil {
		return nil, nil, err
	}
	if err := agrees(ctx, tx, &def, foreign); err != nil {
		return nil, nil, err
	}
	rows, err := tx.Query(ctx, registered+" WHERE r.relid = $1 AND r.account = $2 FOR NO KEY UPDATE OF r", def.Relid, def.Account)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the registry: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanRegistered)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the registry: %w", err)
	}
	if len(list) > 0 {
		r := list[0]
		old, err = d.load(ctx, tx, r)
		if err != nil {
			return nil, nil, err
		}
		if old != nil && bytes.Equal(r.shape, shape) && r.replica == def.Replica && sameAttributes(old.attrs, foreign) && slices.Equal(old.key, def.Key) {
			old.describe(def, shape)
			if r.serverOID != def.ServerOID || r.object != def.Object {
				_, err = tx.Exec(ctx, "UPDATE hallway.cache_tables SET server_oid = $2, object = $3 WHERE id = $1", r.id, def.ServerOID, def.Object)
			}
			return old, nil, err //nolint:wrapcheck // Table says what for
		}
		if err := unregister(ctx, tx, r.id); err != nil {
			return nil, nil, err
		}
	}
	t, err = d.make(ctx, tx, def, shape, foreign)
	return t, old, err
}

// make creates and registers a cache table in one transaction.
func (d *Database) make(ctx context.Context, tx pgx.Tx, def Definition, shape []byte, foreign []attribute) (*Table, error) {
	r := registration{relid: def.Relid, shape: shape, serverOID: def.ServerOID, object: def.Object, replica: def.Replica}
	var foreignName string
	err := tx.QueryRow(ctx, `INSERT INTO hallway.cache_tables (relid, account, cache_relid, shape, server_oid, object, replica)
VALUES ($1, $2, 0, $3, $4, $5, $6) RETURNING id, (SELECT relname::text FROM pg_class WHERE oid = $1)`,
		def.Relid, def.Account, shape, def.ServerOID, def.Object, def.Replica).Scan(&r.id, &foreignName)
	if err != nil {
		return nil, fmt.Errorf("registering it: %w", err)
	}
	name := pgx.Identifier{schema, tableName(foreignName, r.id)}
	var ddl strings.Builder
	ddl.WriteString("CREATE ")
	if !def.Replica {
		ddl.WriteString("UNLOGGED ")
	}
	ddl.WriteString("TABLE " + name.Sanitize() + " (")
	for _, a := range foreign {
		ddl.WriteString(pushdown.QuoteAlways(a.name) + " " + a.typ)
		if a.collate != "" {
			ddl.WriteString(" COLLATE " + a.collate)
		}
		ddl.WriteString(", ")
	}
	ddl.WriteString("PRIMARY KEY (")
	for i, k := range def.Key {
		if i > 0 {
			ddl.WriteString(", ")
		}
		ddl.WriteString(pushdown.QuoteAlways(foreign[k].name))
	}
	ddl.WriteString("))")
	if _, err := tx.Exec(ctx, ddl.String()); err != nil {
		return nil, fmt.Errorf("creating it: %w", explainDDL(err))
	}
	var attach bool
	err = tx.QueryRow(ctx, `UPDATE hallway.cache_tables SET cache_relid = $2::text::regclass WHERE id = $1
RETURNING cache_relid, to_regprocedure('hallway.cache_attach(regclass,oid)') IS NOT NULL`, r.id, name.Sanitize()).Scan(&r.cacheRelid, &attach)
	if err != nil {
		return nil, fmt.Errorf("registering it: %w", err)
	}
	if attach {
		// So that whoever drops the foreign table drops this one along.
		if _, err := tx.Exec(ctx, "SELECT hallway.cache_attach($1::oid::regclass, $2)", r.cacheRelid, def.Relid); err != nil {
			return nil, fmt.Errorf("attaching it to the foreign table: %w", err)
		}
	}
	t, err := d.load(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	if t == nil || !sameAttributes(t.attrs, foreign) {
		return nil, fmt.Errorf("%w: the copy came out different", ErrShape)
	}
	t.describe(def, shape)
	return t, nil
}

// explainDDL adds what to do about a type that the sidecar's role cannot name.
func explainDDL(err error) error {
	if sqlState(err) == "42501" {
		return fmt.Errorf("%w (GRANT USAGE ON SCHEMA, and ON TYPE, of the columns' types to the sidecar's role)", err)
	}
	return err
}

// tableName begins with the foreign table's, for people.
func tableName(foreign string, id int64) string {
	suffix := fmt.Sprintf("_%d", id)
	n := 63 - len(suffix)
	if len(foreign) > n {
		foreign = foreign[:n]
		for foreign != "" && !utf8.ValidString(foreign) {
			foreign = foreign[:len(foreign)-1]
		}
	}
	return foreign + suffix
}

// makeLock is the advisory lock for making the table of a definition.
func makeLock(def Definition) int64 {
	b := binary.BigEndian.AppendUint32([]byte("hallway make "), def.Relid)
	sum := sha256.Sum256(append(b, def.Account...))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// registration is a row of hallway.cache_tables.
type registration struct {
	id         int64
	relid      uint32
	cacheRelid uint32
	shape      []byte
	serverOID  uint32
	object     string
	replica    bool
	lastUsed   time.Time
	// foreign: relid is a foreign table still.
	foreign bool
}

const registered = `SELECT r.id, r.relid, r.cache_relid, r.shape, r.server_oid, r.object, r.replica, r.last_used,
  EXISTS (SELECT FROM pg_foreign_table f WHERE f.ftrelid = r.relid)
FROM hallway.cache_tables r`

func scanRegistered(row pgx.CollectableRow) (r registration, err error) {
	err = row.Scan(&r.id, &r.relid, &r.cacheRelid, &r.shape, &r.serverOID, &r.object, &r.replica, &r.lastUsed, &r.foreign)
	return r, err //nolint:wrapcheck // the caller says what for
}

// load reads what the catalog has of a registered table; nil if it is not
// there, or not one that this role made.
func (d *Database) load(ctx context.Context, tx pgx.Tx, r registration) (*Table, error) {
	t := &Table{d: d, id: r.id, shape: r.shape, relid: r.cacheRelid, replica: r.replica}
	var name string
	var key []int16
	err := tx.QueryRow(ctx, `SELECT c.relname::text, c.reltype, i.indkey::int2[]
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.oid = $1 AND c.relkind = 'r' AND c.relnamespace = to_regnamespace($2) AND pg_has_role(c.relowner, 'USAGE')
  AND c.relpersistence = CASE WHEN $3 THEN 'p' ELSE 'u' END`,
		r.cacheRelid, schema, r.replica).Scan(&name, &t.rowType, &key)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("finding the cache table: %w", err)
	}
	t.name = pgx.Identifier{schema, name}
	t.sql = t.name.Sanitize()
	if t.attrs, err = attributes(ctx, tx, r.cacheRelid); err != nil {
		return nil, err
	}
	for _, a := range t.attrs {
		t.columns = append(t.columns, pushdown.QuoteAlways(a.name))
	}
	for _, k := range key {
		// Nothing is ever dropped from a cache table, so numbers are positions.
		if k < 1 || int(k) > len(t.attrs) {
			return nil, nil
		}
		t.key = append(t.key, int(k)-1)
	}
	return t, nil
}

// describe adds what only the backend knows.
func (t *Table) describe(def Definition, shape []byte) {
	t.def, t.shape = def, shape
	t.forms = make([]form, len(def.Columns))
	t.complete = nil
	for i, c := range def.Columns {
		switch {
		case c.Type.Kind < pushdown.Bool || c.Type.Kind >= pushdown.Other:
			t.forms[i] = asText
			if c.Type.Array {
				t.forms[i] = asTextArr
			}
		default:
			t.forms[i] = native
		}
		if !c.Generated {
			t.complete = append(t.complete, i)
		}
	}
}

// unregister takes a table out of the registry, with all that is said of it.
func unregister(ctx context.Context, tx pgx.Tx, id int64) error {
	for _, sql := range []string{
		"DELETE FROM hallway.cache_regions WHERE cache_id = $1",
		"DELETE FROM hallway.cache_writes WHERE cache_id = $1",
		"DELETE FROM hallway.cache_tables WHERE id = $1",
	} {
		if _, err := tx.Exec(ctx, sql, id); err != nil {
			return fmt.Errorf("taking a table out of the registry: %w", err)
		}
	}
	return nil
}

// drop removes a table that is registered no more. One that somebody is reading
// is left for housekeeping.
func (d *Database) drop(ctx context.Context, t *Table) {
	err := d.db.InTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+t.sql)
		return err //nolint:wrapcheck // for the log
	})
	if err != nil {
		d.cfg.Log.Debug("a replaced cache table is left for later", "table", t.sql, "error", err.Error())
	}
}

// lockWriterIn takes the writer lock until the transaction's end. Whoever holds
// it waits for no backend, so waiting for it is safe.
func (t *Table) lockWriterIn(ctx context.Context, tx pgx.Tx, wait time.Duration) error {
	for end := time.Now().Add(wait); ; {
		var got bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1, $2)", int32(lockWriter), int32(t.id)).Scan(&got); err != nil {
			return fmt.Errorf("locking the cache table: %w", err)
		}
		if got {
			return nil
		}
		if !time.Now().Before(end) {
			return errWriterLock
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lockRegistryIn locks the table's row of the registry until the transaction's
// end; ErrGone if there is none any more.
func (t *Table) lockRegistryIn(ctx context.Context, tx pgx.Tx) error {
	var ok bool
	err := tx.QueryRow(ctx, "SELECT cache_relid = $2 FROM hallway.cache_tables WHERE id = $1 FOR NO KEY UPDATE", t.id, t.relid).Scan(&ok)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !ok {
		t.d.forgetTable(t)
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("locking the registry: %w", err)
	}
	return nil
}

// gone recognises the errors of a table that is not there any more, or not as
// it was.
func (t *Table) gone(err error) error {
	switch sqlState(err) {
	case "42P01", "42703", "42704":
		t.d.forgetTable(t)
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// list writes columns of the table with an alias, comma separated.
func (t *Table) list(columns []int, alias string) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(alias + t.columns[c])
	}
	return b.String()
}

// names of the columns as pushdown.SQL wants them.
func (t *Table) names() []string {
	list := make([]string, len(t.attrs))
	for i, a := range t.attrs {
		list[i] = a.name
	}
	return list
}

// keyText is the key as hallway.cache_writes has it.
func (t *Table) keyText(column func(int) string) string {
	parts := make([]string, len(t.key))
	for i, k := range t.key {
		parts[i] = column(k) + "::text"
	}
	return "ARRAY[" + strings.Join(parts, ", ") + "]"
}
