package cache_test

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{NoSidecar: true}, func(e *harness.Env) { env = e })
}

// world is a database with a server, and a sidecar's cache of it.
type world struct {
	t     testing.TB
	db    *harness.Database
	admin *pgx.Conn
	id    cache.Identity
	at    cache.Address
	dbs   *database.Manager
	m     *cache.Manager
	d     *cache.Database
}

func newWorld(t testing.TB, cfg cache.Config) *world {
	t.Helper()
	w := &world{t: t, db: env.Database(t)}
	w.admin = w.session("postgres")
	w.exec(`CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic')`)
	w.id, w.at = whereIs(t, w.db, w.admin)
	w.dbs, w.m, w.d = w.sidecar(cfg)
	return w
}

func whereIs(t testing.TB, db *harness.Database, conn *pgx.Conn) (id cache.Identity, at cache.Address) {
	t.Helper()
	var system, oid int64
	require.NoError(t, conn.QueryRow(context.Background(), `SELECT (SELECT system_identifier FROM pg_control_system()), oid::int8
FROM pg_database WHERE datname = current_database()`).Scan(&system, &oid))
	return cache.Identity{SystemIdentifier: uint64(system), Timeline: 1, DatabaseOID: uint32(oid)},
		cache.Address{SocketDirectory: db.Cluster.SocketDir, Port: uint32(db.Cluster.Port), Database: db.Name}
}

// sidecar is one more of them.
func (w *world) sidecar(cfg cache.Config) (*database.Manager, *cache.Manager, *cache.Database) {
	w.t.Helper()
	cfg.Housekeeping = -1
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	dbs := database.NewManager(database.Config{Log: cfg.Log, ConnectTimeout: harness.Timeout})
	m := cache.Open(cfg, dbs)
	w.t.Cleanup(func() { m.Close(); dbs.Close() })
	return dbs, m, m.Database(w.id, w.at)
}

func (w *world) session(role string) *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.db.Cluster.DSN(w.db.Name, role))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (w *world) exec(format string, args ...any) {
	w.t.Helper()
	_, err := w.admin.Exec(context.Background(), fmt.Sprintf(format, args...))
	require.NoError(w.t, err, format)
}

// one gives a query's single value as text; NULL is "NULL", no row "-".
func (w *world) one(format string, args ...any) string {
	w.t.Helper()
	return strings.Join(w.all(format, args...), "\n")
}

// all gives a query's rows, each as text with blanks between the values.
func (w *world) all(format string, args ...any) []string {
	w.t.Helper()
	res, err := w.admin.PgConn().Exec(context.Background(), fmt.Sprintf(format, args...)).ReadAll()
	require.NoError(w.t, err, format)
	out := []string{}
	for _, r := range res[len(res)-1].Rows {
		var parts []string
		for _, v := range r {
			if v == nil {
				parts = append(parts, "NULL")
			} else {
				parts = append(parts, string(v))
			}
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

// column of a definition whose type is read from the catalog.
func (w *world) define(name, columns string, key ...int) cache.Definition {
	w.t.Helper()
	w.exec("CREATE FOREIGN TABLE %s (%s) SERVER syn OPTIONS (store 's.%s')", name, columns, name)
	return w.definition(name, key...)
}

// definition describes a foreign table as a backend would.
func (w *world) definition(name string, key ...int) cache.Definition {
	w.t.Helper()
	ctx := context.Background()
	def := cache.Definition{Account: []byte("account of somebody, 32 bytes ok"), Object: name, Key: key}
	require.NoError(w.t, w.admin.QueryRow(ctx, "SELECT ftrelid::int8, ftserver::int8 FROM pg_foreign_table WHERE ftrelid = $1::text::regclass", name).Scan(&def.Relid, &def.ServerOID))
	found, err := w.admin.Query(ctx, `WITH RECURSIVE d(attnum, oid, typmod) AS (
  SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT d.attnum, t.typbasetype, t.typtypmod FROM d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = 'd')
SELECT a.attname::text, a.attgenerated <> '', t.oid::int8, t.typelem::int8, t.typcategory = 'A', d.typmod,
  coalesce(e.typname, t.typname)::text, coalesce(e.typtype, t.typtype)::text,
  coalesce((SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = coalesce(e.oid, t.oid)), '{}')
FROM d JOIN pg_type t ON t.oid = d.oid AND t.typtype <> 'd' JOIN pg_attribute a ON a.attrelid = $1::text::regclass AND a.attnum = d.attnum
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' ORDER BY a.attnum`, name)
	require.NoError(w.t, err)
	kinds := map[string]pushdown.Kind{"bool": pushdown.Bool, "int2": pushdown.Int2, "int4": pushdown.Int4, "int8": pushdown.Int8, "float4": pushdown.Float4,
		"float8": pushdown.Float8, "numeric": pushdown.Numeric, "text": pushdown.Text, "varchar": pushdown.Varchar, "bpchar": pushdown.BPChar,
		"date": pushdown.Date, "time": pushdown.Time, "timestamp": pushdown.Timestamp, "timestamptz": pushdown.TimestampTZ, "uuid": pushdown.UUID,
		"json": pushdown.JSON, "jsonb": pushdown.JSONB, "bytea": pushdown.Bytea}
	var c cache.Column
	var oid, elem int64
	var typmod int32
	var typname, typtype string
	var labels []string
	_, err = pgx.ForEachRow(found, []any{&c.Name, &c.Generated, &oid, &elem, &c.Type.Array, &typmod, &typname, &typtype, &labels}, func() error {
		c.Type = pushdown.Type{Array: c.Type.Array, OID: uint32(oid), Name: typname, Kind: pushdown.Other}
		if c.Type.Array {
			c.Type.ElementOID = uint32(elem)
		}
		if k, ok := kinds[typname]; ok {
			c.Type.Kind = k
		} else if typtype == "e" {
			c.Type.Kind, c.Type.Labels = pushdown.Enum, labels
		}
		switch {
		case typmod < 4:
		case c.Type.Kind == pushdown.Varchar || c.Type.Kind == pushdown.BPChar:
			c.Type.Length = uint32(typmod - 4)
		case c.Type.Kind == pushdown.Numeric:
			c.Type.Precision, c.Type.Scale = uint32((typmod-4)>>16), ((typmod-4)&0x7ff^1024)-1024
		}
		def.Columns = append(def.Columns, c)
		return nil
	})
	require.NoError(w.t, err)
	return def
}

func (w *world) table(def cache.Definition) *cache.Table {
	w.t.Helper()
	t, err := w.d.Table(context.Background(), def)
	require.NoError(w.t, err)
	return t
}

// tuples encodes rows; each has a value for each of columns.
func tuples(t testing.TB, def cache.Definition, columns []int, list ...[]any) []byte {
	t.Helper()
	var types []pushdown.Type
	for _, c := range columns {
		types = append(types, def.Columns[c].Type)
	}
	var out []byte
	b := rows.NewBuilder(types, func(tuples []byte, _ int) error {
		out = append(out, tuples...)
		return nil
	}, rows.Options{})
	for _, row := range list {
		if len(row) != len(columns) { // asking testify for each row takes longer than the rest
			require.Len(t, row, len(columns))
		}
		for _, v := range row {
			b.Value(pushdown.Value{V: v})
		}
		require.NoError(t, b.EndRow())
	}
	require.NoError(t, b.Flush())
	return out
}

// everyColumn that is not generated.
func everyColumn(def cache.Definition) (list []int) {
	for i, c := range def.Columns {
		if !c.Generated {
			list = append(list, i)
		}
	}
	return list
}

// region of conjuncts, whose predicate is their SQL.
func region(t testing.TB, def cache.Definition, columns []int, conjuncts ...pushdown.Expr) cache.Region {
	t.Helper()
	var names []string
	for _, c := range def.Columns {
		names = append(names, c.Name)
	}
	sql, err := pushdown.SQL(conjuncts, names)
	require.NoError(t, err)
	r := cache.Region{Conjuncts: conjuncts, Columns: columns}
	if len(conjuncts) > 0 {
		r.Predicate = []byte(sql)
		for _, b := range r.Predicate {
			r.Hash = r.Hash*31 + int64(b)
		}
	}
	return r
}

// fill keeps rows as a region.
func fill(table *cache.Table, r cache.Region, tuples []byte, n int) (cache.Result, error) {
	ctx := context.Background()
	f, err := table.Begin(ctx, r, time.Now())
	if err != nil {
		return cache.Result{}, err
	}
	defer f.Abort()
	if err := f.Write(tuples, n); err != nil {
		return cache.Result{}, err
	}
	return f.Commit(ctx)
}

// mustFill fills and returns what was done, as inserted/updated/deleted.
func (w *world) mustFill(table *cache.Table, def cache.Definition, r cache.Region, list ...[]any) string {
	w.t.Helper()
	res, err := fill(table, r, tuples(w.t, def, r.Columns, list...), len(list))
	require.NoError(w.t, err)
	require.EqualValues(w.t, len(list), res.Rows)
	return fmt.Sprintf("+%d ~%d -%d", res.Inserted, res.Updated, res.Deleted)
}

// regions lists the conditions of the regions.
func (w *world) regions(table *cache.Table) []string {
	w.t.Helper()
	list := w.all("SELECT condition || columns::text FROM hallway.cache_regions WHERE cache_id = %d", table.ID())
	sort.Strings(list)
	return list
}

func eq(column int, t pushdown.Type, v any) pushdown.Expr {
	return &pushdown.Comparison{Op: pushdown.EQ, Left: &pushdown.Column{Index: column},
		Right: &pushdown.Param{Type: t, Known: true, Value: pushdown.Value{V: v}}}
}

func atLeast(column int, t pushdown.Type, v any) pushdown.Expr {
	e := eq(column, t, v).(*pushdown.Comparison)
	e.Op = pushdown.GE
	return e
}

var int8Type = pushdown.Type{Kind: pushdown.Int8, OID: 20}
var int4Type = pushdown.Type{Kind: pushdown.Int4, OID: 23}

func pgCode(err error) string {
	var pe *pgconn.PgError
	for e := err; e != nil; {
		if x, ok := e.(*pgconn.PgError); ok { //nolint:errorlint // a helper that looks at each
			pe = x
			break
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e = u.Unwrap()
	}
	if pe == nil {
		return ""
	}
	return pe.Code
}
