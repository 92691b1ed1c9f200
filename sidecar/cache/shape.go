// What a foreign table's definition comes to, and what the catalog says of it.

package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Shape is what hallway.cache_tables.shape must be for a cache table to hold
// the rows of a foreign table so defined: a hash over object, options, key and
// columns. Types are by OID, modifier and labels, so a renamed type is the same.
func Shape(def Definition) []byte {
	var b []byte
	put := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	num := func(n uint64) { b = binary.AppendUvarint(b, n) }
	options := func(list []Option) {
		list = slices.Clone(list)
		slices.SortFunc(list, func(x, y Option) int { return strings.Compare(x.Name, y.Name) })
		num(uint64(len(list)))
		for _, o := range list {
			put(o.Name)
			put(o.Value)
		}
	}
	flag := func(v bool) {
		if v {
			num(1)
		} else {
			num(0)
		}
	}
	put("hallway cache shape 1")
	put(def.Object)
	flag(def.Replica)
	options(def.Options)
	num(uint64(len(def.Key)))
	for _, k := range def.Key {
		num(uint64(k))
	}
	num(uint64(len(def.Columns)))
	for _, c := range def.Columns {
		put(c.Name)
		flag(c.Generated)
		options(c.Options)
		t := c.Type
		num(uint64(t.Kind))
		flag(t.Array)
		num(uint64(t.OID))
		num(uint64(t.ElementOID))
		num(uint64(t.Length))
		num(uint64(t.Precision))
		num(uint64(uint32(t.Scale)))
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// attribute is a column as the catalog has it.
type attribute struct {
	name       string
	typ        string // as format_type() writes it, with the schema where needed
	oid        uint32
	base       uint32 // after domains are taken off
	typmod     int32
	baseTypmod int32
	collation  uint32
	collate    string // qualified; empty: the type's own
	generated  bool
}

// attributes of a relation in their order, without dropped ones. None: there is
// no such relation.
func attributes(ctx context.Context, tx pgx.Tx, relid uint32) ([]attribute, error) {
	rows, err := tx.Query(ctx, `WITH RECURSIVE a AS (
  SELECT attnum, attname, atttypid, atttypmod, attcollation, attgenerated FROM pg_attribute
  WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
), d AS (
  SELECT a.attnum, t.oid, t.typbasetype, t.typtype, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS typmod, 1 AS depth
  FROM a JOIN pg_type t ON t.oid = a.atttypid
  UNION ALL
  SELECT d.attnum, t.oid, t.typbasetype, t.typtype, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE d.typmod END, depth + 1
  FROM d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
)
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid, d.oid, a.atttypmod, d.typmod, a.attcollation,
  CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
       THEN format('%I.%I', n.nspname, c.collname) ELSE '' END,
  a.attgenerated <> ''
FROM a JOIN d ON d.attnum = a.attnum AND d.typtype <> 'd' JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
ORDER BY a.attnum`, relid)
	if err != nil {
		return nil, fmt.Errorf("reading the foreign table's columns: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a attribute, err error) {
		err = row.Scan(&a.name, &a.typ, &a.oid, &a.base, &a.typmod, &a.baseTypmod, &a.collation, &a.collate, &a.generated)
		return a, err //nolint:wrapcheck // said below
	})
	if err != nil {
		return nil, fmt.Errorf("reading the foreign table's columns: %w", err)
	}
	return list, nil
}

// agrees says whether the catalog has the table as the backend described it; if
// not, an ErrShape that tells the difference.
func agrees(ctx context.Context, tx pgx.Tx, def *Definition, attrs []attribute) error {
	if len(attrs) != len(def.Columns) {
		return fmt.Errorf("%w: it has %d columns, not %d", ErrShape, len(attrs), len(def.Columns))
	}
	for i, a := range attrs {
		c := &def.Columns[i]
		if a.name != c.Name || a.base != c.Type.OID || a.generated != c.Generated || !sameTypmod(a.baseTypmod, c.Type) {
			return fmt.Errorf("%w: column %q is another or of another type", ErrShape, c.Name)
		}
	}
	var names, values []string
	for _, o := range def.Options {
		names, values = append(names, o.Name), append(values, o.Value)
	}
	var server uint32
	var missing int
	err := tx.QueryRow(ctx, `SELECT ftserver, (SELECT count(*) FROM unnest($2::text[], $3::text[]) AS w(name, value)
  WHERE (w.name || '=' || w.value) <> ALL (coalesce(ftoptions, '{}')))
FROM pg_foreign_table WHERE ftrelid = $1`, def.Relid, names, values).Scan(&server, &missing)
	switch {
	case err == pgx.ErrNoRows: //nolint:errorlint // pgx returns it as it is
		return fmt.Errorf("%w: there is no such foreign table", ErrShape)
	case err != nil:
		return fmt.Errorf("reading the foreign table's options: %w", err)
	case server != def.ServerOID || missing > 0:
		return fmt.Errorf("%w: its options are others", ErrShape)
	}
	return nil
}

// sameTypmod compares where the contract tells the modifier.
func sameTypmod(typmod int32, t pushdown.Type) bool {
	const header = 4
	if t.Array {
		// The catalog and the contract differ where the elements are a domain.
		return true
	}
	switch t.Kind {
	case pushdown.Varchar, pushdown.BPChar:
		return int64(max(typmod-header, 0)) == int64(t.Length)
	case pushdown.Numeric:
		if typmod < header {
			return t.Precision == 0
		}
		m := typmod - header
		return uint32(m>>16)&0xffff == t.Precision && (m&0x7ff^1024)-1024 == t.Scale
	}
	return true
}

// sameAttributes reports whether a cache table has a foreign table's columns.
func sameAttributes(cached, foreign []attribute) bool {
	return slices.EqualFunc(cached, foreign, func(c, f attribute) bool {
		return c.name == f.name && c.oid == f.oid && c.typmod == f.typmod && c.collation == f.collation && !c.generated
	})
}
