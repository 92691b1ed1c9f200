// Rows out of the cache table, for a sidecar whose backend asked while another
// one was filling.

package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// batchSize is about how many bytes of tuples Read hands over at a time.
const batchSize = 256 << 10

// Read streams a region's rows if it is there with the columns and not older
// than maxAge (0: of any age): tuples of columns in that order, at most about
// 256 KiB at a time, that are f's during the call alone. found is false if there
// is no such region; f was not called then. All rows are of one snapshot.
func (t *Table) Read(ctx context.Context, region Region, columns []int, maxAge time.Duration, f func(tuples []byte, rows int) error) (found bool, err error) {
	condition, err := t.condition(region)
	if err != nil {
		return false, err
	}
	conn, err := t.d.db.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		found, err = t.fresh(ctx, tx, region, columns, maxAge)
		if err != nil || !found {
			return err
		}
		list := ""
		w := &copyReader{f: f, columns: len(columns), header: true}
		for i, c := range columns {
			if i > 0 {
				list += ", "
			}
			list += t.columns[c]
			switch t.forms[c] {
			case asText:
				list += "::text"
			case asTextArr:
				list += "::text[]"
				if w.arrays == nil {
					w.arrays = map[int]uint32{}
				}
				w.arrays[i] = t.def.Columns[c].Type.ElementOID
			}
		}
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err //nolint:wrapcheck // said below
		}
		_, err := tx.Conn().PgConn().CopyTo(ctx, w, "COPY (SELECT "+list+" FROM "+t.sql+" WHERE "+condition+") TO STDOUT (FORMAT binary)")
		if err == nil {
			err = w.flush()
		}
		return t.gone(err)
	})
	if err != nil {
		return found, fmt.Errorf("reading the cache: %w", err)
	}
	return found, nil
}

// Fresh reports whether a region is there with the columns and not older than
// maxAge (0: of any age).
func (t *Table) Fresh(ctx context.Context, region Region, columns []int, maxAge time.Duration) (ok bool, err error) {
	err = t.d.db.InTx(ctx, func(tx pgx.Tx) error {
		ok, err = t.fresh(ctx, tx, region, columns, maxAge)
		return err
	})
	return ok, err
}

func (t *Table) fresh(ctx context.Context, tx pgx.Tx, region Region, columns []int, maxAge time.Duration) (bool, error) {
	var predicate []byte
	var numbers []int16
	var young bool
	err := tx.QueryRow(ctx, `SELECT r.predicate, r.columns, $3::int8 = 0 OR clock_timestamp() - r.fetched_at <= $3 * interval '1 microsecond'
FROM hallway.cache_regions r JOIN hallway.cache_tables c ON c.id = r.cache_id AND c.cache_relid = $4
WHERE r.cache_id = $1 AND r.hash = $2`, t.id, region.Hash, maxAge.Microseconds(), t.relid).Scan(&predicate, &numbers, &young)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the region: %w", err)
	}
	want := make([]int16, len(columns))
	for i, c := range columns {
		want[i] = int16(c + 1)
	}
	have := make([]int, len(numbers))
	for i, n := range numbers {
		have[i] = int(n) - 1
	}
	return young && bytes.Equal(predicate, region.Predicate) && covers(have, want), nil
}

// copyReader takes COPY TO's messages, a tuple each, and hands over batches.
type copyReader struct {
	f       func([]byte, int) error
	columns int
	arrays  map[int]uint32
	header  bool
	buf     []byte
	rows    int
}

func (r *copyReader) Write(message []byte) (int, error) {
	n := len(message)
	if r.header {
		if !bytes.HasPrefix(message, copyHeader) {
			return 0, errBadTuples
		}
		message = message[len(copyHeader):]
		r.header = false
	}
	if len(message) == 0 || len(message) == 2 && bytes.Equal(message, copyTrailer) {
		return n, nil
	}
	if len(message) < 2 || int(binary.BigEndian.Uint16(message)) != r.columns {
		return 0, errBadTuples
	}
	mark := len(r.buf)
	r.buf = append(r.buf, message...)
	r.rows++
	if r.arrays != nil {
		if err := setElementOIDs(r.buf[mark:], 1, r.columns, r.arrays); err != nil {
			return 0, err
		}
	}
	if len(r.buf) >= batchSize {
		return n, r.flush()
	}
	return n, nil
}

func (r *copyReader) flush() error {
	if r.rows == 0 {
		return nil
	}
	err := r.f(r.buf, r.rows)
	r.buf, r.rows = r.buf[:0], 0
	return err
}
