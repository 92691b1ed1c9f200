// Own writes, through to the cache table.

package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// groupRows is how many rows are written with one statement.
const groupRows = 1000

// group is writes that one statement does: all of the same kind and columns, no
// key twice.
type group struct {
	// keys of the rows; of new rows, nil.
	keys    [][]string
	columns []int
	tuples  []byte
	rows    int
	deleted bool
	unknown bool
}

// Apply shows in the cache what the API has applied, in order, in one
// transaction: rows are updated where they differ, inserted, deleted, and
// regions that this cannot keep right go. What is fetched already and merged
// later does not undo it. Errors that IsLocked knows may go away; if one stays,
// call Invalidate.
func (t *Table) Apply(ctx context.Context, writes []Write) error {
	if len(writes) == 0 {
		return nil
	}
	groups, err := t.group(writes)
	if err != nil {
		return fmt.Errorf("writing through to the cache: %w", err)
	}
	err = t.d.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := t.lockWriterIn(ctx, tx, 100*time.Millisecond); err != nil {
			return err
		}
		if err := t.lockRegistryIn(ctx, tx); err != nil {
			return err
		}
		for i := range groups {
			if err := t.applyGroup(ctx, tx, &groups[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing through to the cache: %w", t.gone(err))
	}
	return nil
}

// Invalidate deletes the table's regions: what is right of them is not known.
func (t *Table) Invalidate(ctx context.Context) error {
	return t.d.invalidate(ctx, "id = $1", t.id)
}

// group puts consecutive writes together that one statement can do.
func (t *Table) group(writes []Write) ([]group, error) {
	var list []group
	var seen map[string]bool
	add := func(w Write, key []string, kind group) {
		text := strings.Join(key, "\x00")
		n := len(list) - 1
		if n < 0 || list[n].rows >= groupRows || len(list[n].tuples) > held || seen[text] ||
			list[n].deleted != kind.deleted || list[n].unknown != kind.unknown || !slices.Equal(list[n].columns, kind.columns) {
			list = append(list, kind)
			n++
			seen = map[string]bool{}
		}
		seen[text] = true
		g := &list[n]
		g.rows++
		g.keys = append(g.keys, key)
		if !kind.deleted && !kind.unknown {
			g.tuples = append(g.tuples, w.Tuple...)
		}
	}
	for _, w := range writes {
		if w.Key != nil && len(w.Key) != len(t.key) {
			return nil, fmt.Errorf("a key of %d columns instead of %d", len(w.Key), len(t.key))
		}
		switch {
		case w.Deleted && w.Key == nil:
			return nil, errors.New("a deleted row without its key")
		case w.Deleted:
			add(w, w.Key, group{deleted: true})
			continue
		case w.Tuple == nil || !t.inArrays(w.Columns):
			if w.Key == nil {
				// A new row of which nothing is known may be in any region.
				add(w, nil, group{unknown: true})
				continue
			}
			add(w, w.Key, group{unknown: true})
			continue
		}
		key, err := t.keyOf(w)
		if err != nil {
			return nil, err
		}
		if w.Key != nil && !slices.Equal(w.Key, key) {
			// The key itself was written, or is spelled otherwise.
			if !t.all(w.Columns) {
				add(w, w.Key, group{unknown: true})
				add(w, key, group{unknown: true})
				continue
			}
			add(w, w.Key, group{deleted: true})
		}
		add(w, key, group{columns: w.Columns})
	}
	return list, nil
}

// inArrays reports whether the columns have a place in an array of rows.
func (t *Table) inArrays(columns []int) bool {
	for _, c := range columns {
		if c < 0 || c >= len(t.forms) || t.forms[c] == asTextArr {
			return false
		}
	}
	return true
}

// all reports whether these are all columns that are not generated.
func (t *Table) all(columns []int) bool {
	for _, c := range t.complete {
		if !contains(columns, c) {
			return false
		}
	}
	return true
}

// keyOf is the key in a write's tuple, as text.
func (t *Table) keyOf(w Write) ([]string, error) {
	key := make([]string, len(t.key))
	found := 0
	var bad error
	rest, err := walkTuple(w.Tuple, len(w.Columns), func(i int, value []byte) {
		at := slices.Index(t.key, w.Columns[i])
		if at < 0 {
			return
		}
		found++
		typ := t.def.Columns[w.Columns[i]].Type
		v, err := rows.DecodeValue(typ, value)
		if err != nil || value == nil {
			bad = fmt.Errorf("a key that cannot be read: %w", errors.Join(err, errBadTuples))
			return
		}
		key[at] = string(pushdown.AppendText(nil, v, typ))
	})
	switch {
	case err != nil:
		return nil, err
	case bad != nil:
		return nil, bad
	case len(rest) > 0 || found != len(t.key):
		return nil, errBadTuples
	}
	return key, nil
}

// keySource gives keys that are text, as columns c<position>.
func (t *Table) keySource(keys [][]string) source {
	s := source{columns: t.key}
	var from, alias, list []string
	for i, k := range t.key {
		b := newArray(textOID)
		for _, key := range keys {
			b = appendField(b, []byte(key[i]))
		}
		s.params = append(s.params, param{0, sizeArray(b, len(keys), false)})
		from = append(from, fmt.Sprintf("$%d::text[]", i+1))
		alias = append(alias, fmt.Sprintf("x%d", k))
		list = append(list, fmt.Sprintf("x%d::%s AS c%d", k, t.attrs[k].typ, k))
	}
	s.cte = "s AS MATERIALIZED (SELECT " + strings.Join(list, ", ") + " FROM unnest(" + strings.Join(from, ", ") + ") AS u(" + strings.Join(alias, ", ") + "))"
	return s
}

// onKey compares the key of t, the table, with that of another relation.
func (t *Table) onKey(with string) string {
	same := make([]string, len(t.key))
	for i, k := range t.key {
		same[i] = "t." + t.columns[k] + " = " + with + ".c" + strconv.Itoa(k)
	}
	return strings.Join(same, " AND ")
}

// remember is the statement's part that notes which keys were written.
func (t *Table) remember(complete bool) string {
	return fmt.Sprintf(`l AS (INSERT INTO hallway.cache_writes AS w (cache_id, key, written_at, complete)
SELECT DISTINCT %d::int8, %s, clock_timestamp(), %t FROM s
ON CONFLICT (cache_id, key) DO UPDATE SET written_at = excluded.written_at, complete = excluded.complete RETURNING 1)`,
		t.id, t.keyText(func(i int) string { return "s.c" + strconv.Itoa(i) }), complete)
}

func (t *Table) applyGroup(ctx context.Context, tx pgx.Tx, g *group) error {
	switch {
	case g.unknown && g.keys[0] == nil:
		_, err := invalidateIn(ctx, tx, "id = $1", t.id)
		t.d.soil(t.id)
		return err
	case g.deleted:
		return t.applyDelete(ctx, tx, t.keySource(g.keys), true)
	case g.unknown:
		s := t.keySource(g.keys)
		if err := t.deleteUnsure(ctx, tx, s, false); err != nil {
			return err
		}
		if t.replica {
			// It has the row as it was until the next run.
			_, err := queryRaw(ctx, tx, "WITH "+s.cte+",\n"+t.remember(false)+"\nSELECT count(*) FROM l", s.params)
			return err
		}
		return t.applyDelete(ctx, tx, s, false)
	}
	arrays, err := t.rowArrays(g.columns, g.tuples, g.rows)
	if err != nil {
		return err
	}
	s := t.arraySource(g.columns, arrays)
	whole := t.all(g.columns)
	if !whole {
		if err := t.deleteUnsure(ctx, tx, s, true); err != nil {
			return err
		}
	}
	return t.applyUpsert(ctx, tx, s, whole)
}

func (t *Table) applyDelete(ctx context.Context, tx pgx.Tx, s source, complete bool) error {
	_, err := queryRaw(ctx, tx, "WITH "+s.cte+",\n"+t.remember(complete)+",\ng AS (DELETE FROM "+t.sql+" AS t USING s WHERE "+t.onKey("s")+
		" RETURNING 1)\nSELECT (SELECT count(*) FROM g), (SELECT count(*) FROM l)", s.params)
	if err != nil {
		return fmt.Errorf("deleting rows: %w", err)
	}
	return nil
}

func (t *Table) applyUpsert(ctx context.Context, tx pgx.Tx, s source, whole bool) error {
	var set, was, is, values []string
	for _, c := range s.columns {
		v := "s.c" + strconv.Itoa(c)
		values = append(values, v)
		if contains(t.key, c) {
			continue
		}
		set = append(set, t.columns[c]+" = "+v)
		was = append(was, "t."+t.columns[c])
		is = append(is, v)
	}
	sql := "WITH " + s.cte + ",\n" + t.remember(whole)
	if len(set) > 0 {
		sql += ",\nu AS (UPDATE " + t.sql + " AS t SET " + strings.Join(set, ", ") + " FROM s WHERE " + t.onKey("s") +
			" AND " + differ(was, is) + " RETURNING 1)"
	}
	// A replica has all columns of all rows, or not the row yet.
	if whole || !t.replica {
		sql += ",\ni AS (INSERT INTO " + t.sql + " (" + t.list(s.columns, "") + ") SELECT " + strings.Join(values, ", ") +
			" FROM s WHERE NOT EXISTS (SELECT FROM " + t.sql + " AS t WHERE " + t.onKey("s") + ") RETURNING 1)"
	}
	if _, err := queryRaw(ctx, tx, sql+"\nSELECT count(*) FROM l", s.params); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

// deleteUnsure deletes the regions that rows of which only some columns are
// known may come into, or which would show them without the others. A region
// stays if it has those columns from before (inside) or if what is known keeps
// the row out of it. In an AND, OR or NOT of comparisons NULL stands for "not
// known", so FALSE is for certain; IS tests are not so.
func (t *Table) deleteUnsure(ctx context.Context, tx pgx.Tx, s source, inside bool) error {
	others, many, err := t.otherRegions(ctx, tx, nil)
	if err != nil {
		return err
	}
	var check []otherRegion
	for _, o := range others {
		if !inside || !covers(s.columns, o.columns) {
			check = append(check, o)
		}
	}
	if !many && len(check) == 0 {
		return nil
	}
	if many {
		t.d.soil(t.id)
		_, err := tx.Exec(ctx, "DELETE FROM hallway.cache_regions WHERE cache_id = $1", t.id)
		if err != nil {
			return fmt.Errorf("deleting regions: %w", err)
		}
		return nil
	}
	// The rows as far as they are known, with the table's names for columns.
	known := make([]string, len(t.attrs))
	for i := range t.attrs {
		if contains(s.columns, i) {
			known[i] = "s.c" + strconv.Itoa(i)
		} else {
			known[i] = "NULL::" + t.attrs[i].typ
		}
		known[i] += " AS " + t.columns[i]
	}
	asKnown := "(SELECT " + strings.Join(known, ", ") + ") AS known"
	var sure []string
	for _, o := range check {
		out, in := "false", "false"
		if !strings.Contains(o.condition, " IS ") {
			out = "coalesce((SELECT NOT (" + o.condition + ") FROM " + asKnown + "), false)"
		}
		if inside {
			in = "EXISTS (SELECT FROM (SELECT t.* FROM " + t.sql + " AS t WHERE " + t.onKey("s") + ") AS old WHERE " + o.condition + ")"
		}
		sure = append(sure, "coalesce(bool_and("+out+" OR "+in+"), true)")
	}
	row, err := queryRaw(ctx, tx, "WITH "+s.cte+"\nSELECT ARRAY["+strings.Join(sure, ", ")+"] FROM s", s.params)
	if err != nil {
		return fmt.Errorf("finding the regions of rows: %w", err)
	}
	var wrong []int64
	for i, x := range strings.Split(strings.Trim(string(row[0]), "{}"), ",") {
		if x != "t" {
			wrong = append(wrong, check[i].hash)
		}
	}
	return t.deleteRegions(ctx, tx, wrong)
}

// Forget removes one row from all cache tables of a foreign table, and the
// regions that had it. A fill under way is not kept. It returns how many rows
// there were.
func (d *Database) Forget(ctx context.Context, relid uint32, key []string) (int64, error) {
	if err := d.writable(); err != nil {
		return 0, err
	}
	var list []registration
	err := d.db.InTx(ctx, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, registered+" WHERE r.relid = $1 ORDER BY r.id", relid)
		if err != nil {
			return err //nolint:wrapcheck // said below
		}
		list, err = pgx.CollectRows(found, scanRegistered)
		return err //nolint:wrapcheck // said below
	})
	var n int64
	for _, r := range list {
		if err != nil {
			break
		}
		err = d.db.InTx(ctx, func(tx pgx.Tx) error {
			t, err := d.load(ctx, tx, r)
			if err != nil || t == nil {
				return err
			}
			if len(key) != len(t.key) {
				return fmt.Errorf("the key has %d columns, not %d", len(t.key), len(key))
			}
			if err := t.lockWriterIn(ctx, tx, mergeWait); err != nil {
				return err
			}
			if err := t.lockRegistryIn(ctx, tx); err != nil {
				return err
			}
			gone, err := t.forget(ctx, tx, key)
			n += gone
			return err
		})
	}
	if err != nil {
		return n, fmt.Errorf("forgetting a row: %w", err)
	}
	return n, nil
}

func (t *Table) forget(ctx context.Context, tx pgx.Tx, key []string) (int64, error) {
	others, many, err := t.otherRegions(ctx, tx, nil)
	if err != nil {
		return 0, err
	}
	s := t.keySource([][]string{key})
	hits := []string{"NULL"}
	for _, o := range others {
		hits = append(hits, "coalesce(bool_or("+o.condition+"), false)")
	}
	row, err := queryRaw(ctx, tx, "WITH "+s.cte+",\n"+t.remember(false)+",\ng AS (DELETE FROM "+t.sql+" AS t USING s WHERE "+t.onKey("s")+
		" RETURNING t.*)\nSELECT (SELECT count(*) FROM g), (SELECT count(*) FROM l), (SELECT ARRAY["+strings.Join(hits, ", ")+"] FROM g)", s.params)
	if err != nil {
		return 0, fmt.Errorf("deleting it: %w", err)
	}
	n, err := strconv.ParseInt(string(row[0]), 10, 64)
	if err != nil || n == 0 {
		return 0, err //nolint:wrapcheck // a count
	}
	if many {
		t.d.soil(t.id)
		_, err = tx.Exec(ctx, "DELETE FROM hallway.cache_regions WHERE cache_id = $1", t.id)
		return n, err //nolint:wrapcheck // Forget says what for
	}
	var wrong []int64
	for i, x := range strings.Split(strings.Trim(string(row[2]), "{}"), ",") {
		if i > 0 && x == "t" {
			wrong = append(wrong, others[i-1].hash)
		}
	}
	return n, t.deleteRegions(ctx, tx, wrong)
}
