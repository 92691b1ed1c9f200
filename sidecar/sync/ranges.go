package sync

// Keys that come in ascending order are compared as they come: what the cache
// table has after the last key of one batch, up to the last key of the next, is to
// be what that batch has. So nothing but the differences is kept, and each
// comparison is short. From where the order breaks, the keys are kept in a table.

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hallwaydb/hallway/connectors"
)

// comparison of all keys of the API with the cache table's. What they do not have
// alike is put into the table gone.
type comparison struct {
	r       *replica
	columns []int // the key, and the time of the last change
	order   *ascending
	ranged  bool     // PostgreSQL has the order too
	upTo    [][]byte // the last key that was compared; nil: none was
	kept    bool     // the table keys has all keys
	rows    int64
}

// newComparison begins a comparison.
func (r *replica) newComparison(ctx context.Context, columns []int) (*comparison, error) {
	k := &comparison{r: r, columns: columns, order: r.ascends(columns), ranged: true}
	for _, i := range columns {
		name, _ := binaryType(r.stage.oids[i])
		k.ranged = k.ranged && name != "" && r.stage.byBytes[i]
	}
	if err := r.makeGone(ctx); err != nil {
		return nil, err
	}
	if !k.ranged {
		return k, k.keep(ctx)
	}
	return k, nil
}

// read reads the keys.
func (k *comparison) read(ctx context.Context) error {
	q := connectors.Query{}
	q.Columns = k.columns
	if err := k.r.collect(ctx, q, k.order, k.r.stage.keys, func(tuples []byte, n int) error { return k.batch(ctx, tuples, n) }); err != nil {
		return err
	}
	if k.kept {
		return k.compareKept(ctx)
	}
	return k.inTx(ctx, func(tx pgx.Tx) error { return k.compareRange(ctx, tx, nil, nil) })
}

// batch takes tuples whose order was noted.
func (k *comparison) batch(ctx context.Context, tuples []byte, n int) error {
	k.rows += int64(n)
	if k.ranged && !k.order.broken {
		arrays, err := k.arrays(tuples, n)
		if err != nil {
			return err
		}
		if err := k.inTx(ctx, func(tx pgx.Tx) error { return k.compareRange(ctx, tx, arrays, k.order.last) }); err != nil {
			return err
		}
		k.upTo = make([][]byte, len(k.order.last))
		for i, v := range k.order.last {
			k.upTo[i] = bytes.Clone(v)
		}
		return nil
	}
	if err := k.keep(ctx); err != nil {
		return err
	}
	return k.r.stageInto(ctx, k.r.stage.keys, k.columns, tuples, n)
}

// inTx runs f in a transaction that may take its time: between two keys of the API
// the cache table may have any number.
func (k *comparison) inTx(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, k.r.conn, func(tx pgx.Tx) error { //nolint:wrapcheck // said within
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return fmt.Errorf("comparing keys: %w", err)
		}
		if err := f(tx); err != nil {
			return err
		}
		return k.r.progress(ctx, tx)
	})
}

// arrays are the tuples' columns, each as the binary form of an array.
func (k *comparison) arrays(tuples []byte, n int) ([][]byte, error) {
	out := make([][]byte, len(k.columns))
	for c, i := range k.columns {
		a := make([]byte, 0, 20+len(tuples))
		a = binary.BigEndian.AppendUint32(a, 1) // dimension
		a = binary.BigEndian.AppendUint32(a, 1) // there may be NULLs
		a = binary.BigEndian.AppendUint32(a, k.r.stage.oids[i])
		a = binary.BigEndian.AppendUint32(a, uint32(n))
		out[c] = binary.BigEndian.AppendUint32(a, 1) // the first subscript
	}
	err := walk(tuples, n, len(k.columns), func(values [][]byte) {
		for c, v := range values {
			if v == nil {
				out[c] = binary.BigEndian.AppendUint32(out[c], 0xffffffff)
				continue
			}
			out[c] = append(binary.BigEndian.AppendUint32(out[c], uint32(len(v))), v...)
		}
	})
	return out, err
}

// compareRange compares the cache table's keys after upTo and not after last with
// those of a batch; without one, there is none after upTo.
func (k *comparison) compareRange(ctx context.Context, tx pgx.Tx, arrays [][]byte, last [][]byte) error {
	s, key := &k.r.stage, k.r.t.Definition.Key
	p := &parameters{s: s}
	sql := `INSERT INTO ` + s.gone.Sanitize()
	if arrays == nil {
		sql += ` SELECT ` + s.list(key, func(i int) string { return "c." + s.names[i] }) + `, true FROM ` + k.r.cache.Name().Sanitize() +
			` c WHERE ` + p.bound(">", key, k.upTo)
	} else {
		from := make([]string, len(arrays))
		for n, i := range k.columns {
			from[n] = p.add(arrays[n], i, "[]")
		}
		sql += s.differences(`unnest(`+strings.Join(from, ", ")+`) AS k (`+s.list(k.columns, s.name)+`)`,
			`(SELECT `+s.list(k.columns, s.name)+` FROM `+k.r.cache.Name().Sanitize()+` c WHERE `+p.bound(">", key, k.upTo)+` AND `+p.bound("<=", key, last)+`)`,
			key, k.r.change.column)
	}
	return p.exec(ctx, tx, sql)
}

// parameters of a statement, in their binary forms.
type parameters struct {
	s      *staging
	values [][]byte
}

// add a value of column i's type, or with a suffix an array of such.
func (p *parameters) add(v []byte, i int, suffix string) string {
	p.values = append(p.values, v)
	name, _ := binaryType(p.s.oids[i])
	return "$" + strconv.Itoa(len(p.values)) + "::" + name + suffix
}

// bound is the condition on the key of c; at nil: none.
func (p *parameters) bound(op string, key []int, at [][]byte) string {
	if at == nil {
		return "true"
	}
	values := make([]string, len(key))
	for n, i := range key {
		values[n] = p.add(at[n], i, "")
	}
	return "(" + p.s.list(key, func(i int) string { return "c." + p.s.names[i] }) + ") " + op + " (" + strings.Join(values, ", ") + ")"
}

func (p *parameters) exec(ctx context.Context, tx pgx.Tx, sql string) error {
	if _, err := tx.Conn().PgConn().ExecParams(ctx, sql, p.values, nil, []int16{pgx.BinaryFormatCode}, nil).Close(); err != nil {
		return fmt.Errorf("comparing keys: %w", err)
	}
	return nil
}

// differences is a query for the keys that two relations do not have alike, and
// whether it is the first that lacks them.
func (s *staging) differences(k, c string, key []int, changed int) string {
	first := s.names[key[0]]
	return ` SELECT ` + s.list(key, s.either) + `, k.` + first + ` IS NULL FROM ` + k + ` FULL JOIN ` + c + ` c ON ` + s.equal("k", "c", key) +
		` WHERE (k.` + first + ` IS NULL OR c.` + first + ` IS NULL OR k.` + s.names[changed] + ` IS DISTINCT FROM c.` + s.names[changed] + `)`
}

func (s *staging) either(i int) string {
	return "coalesce(k." + s.names[i] + ", c." + s.names[i] + ")"
}

// keep makes the table keys, with those that came in the ranges that were compared:
// what comes again is known to have come twice. What differs is in the table gone
// and stays there.
func (k *comparison) keep(ctx context.Context) error {
	if k.kept {
		return nil
	}
	r, s, key := k.r, &k.r.stage, k.r.t.Definition.Key
	if err := r.makeKeys(ctx, s.keys, k.columns); err != nil {
		return err
	}
	k.kept = true
	if k.upTo == nil {
		return nil
	}
	return k.inTx(ctx, func(tx pgx.Tx) error {
		p := &parameters{s: s}
		err := p.exec(ctx, tx, `INSERT INTO `+s.keys.Sanitize()+` (`+s.list(k.columns, s.name)+`) SELECT `+
			s.list(k.columns, func(i int) string { return "c." + s.names[i] })+` FROM `+r.cache.Name().Sanitize()+` c WHERE `+p.bound("<=", key, k.upTo)+
			` AND NOT EXISTS (SELECT FROM `+s.gone.Sanitize()+` g WHERE `+s.equal("g", "c", key)+`)`)
		if err != nil {
			return err
		}
		for _, sql := range []string{
			// Not those that seem to be gone: out of order they may be yet to come.
			`DELETE FROM ` + s.gone.Sanitize() + ` WHERE ` + goneColumn,
			`INSERT INTO ` + s.keys.Sanitize() + ` (` + s.list(key, s.name) + `) SELECT ` + s.list(key, s.name) + ` FROM ` + s.gone.Sanitize(),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("comparing keys: %w", err)
			}
		}
		return nil
	})
}

// compareKept compares the table keys with the whole cache table.
func (k *comparison) compareKept(ctx context.Context) error {
	s, key := &k.r.stage, k.r.t.Definition.Key
	known := make([]string, len(key))
	for n, i := range key {
		known[n] = "g." + s.names[i] + " = " + s.either(i)
	}
	return k.r.compare(ctx, s.differences(s.keys.Sanitize()+` k`, k.r.cache.Name().Sanitize(), key, k.r.change.column)+
		` AND NOT EXISTS (SELECT FROM `+s.gone.Sanitize()+` g WHERE `+strings.Join(known, " AND ")+`)`)
}
