package pushdown_test

// The evaluator against a real server, where HALLWAY_TEST_DSN names one: each
// operator with each pair of values.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	. "github.com/hallwaydb/hallway/sidecar/pushdown"
)

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	dsn := os.Getenv("HALLWAY_TEST_DSN")
	if dsn == "" {
		t.Skip("HALLWAY_TEST_DSN names no server; tests/e2e runs this with one")
	}
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, sql := range []string{"SET TimeZone = 'UTC'", "CREATE TYPE pg_temp.mood AS ENUM ('sad', 'ok', 'happy')"} {
		_, err := conn.Exec(context.Background(), sql)
		require.NoError(t, err)
	}
	return conn
}

// domain is a type with values worth comparing.
type domain struct {
	sql    string
	t      Type
	coll   Collation
	values []any
}

func domains() []domain {
	texts := []any{nil, "", " ", "a", "A", "a ", "ab", "aB", "ä", "Ä", "a\u0308", "ß", "z", "😀", "日本", "%", "_", `\`, "a%b", "a_b", "a\nb"}
	ints := []any{nil, int64(0), int64(1), int64(-1), int64(7), int64(32767), int64(-32768)}
	floats := []any{nil, 0.0, math.Copysign(0, -1), 1.0, -1.5, math.NaN(), math.Inf(1), math.Inf(-1), 0.1}
	stamps := []any{nil, int64(0), int64(-1), int64(1), int64(762516672500000), int64(math.MinInt64), int64(math.MaxInt64), int64(-211813488000000000)}
	return []domain{
		{"boolean", typ(Bool), Collation{}, []any{nil, true, false}},
		{"smallint", typ(Int2), Collation{}, ints},
		{"integer", typ(Int4), Collation{}, append(ints, int64(math.MaxInt32), int64(math.MinInt32))},
		{"bigint", typ(Int8), Collation{}, append(ints, int64(math.MaxInt64), int64(math.MinInt64))},
		{"real", typ(Float4), Collation{}, append(floats[:8:8], 0.5)},
		{"double precision", typ(Float8), Collation{}, floats},
		{"numeric", typ(Numeric), Collation{}, []any{nil, "0", "-0.00", "1", "1.0", "1.00", "-1", "10", "9.99", "0.1", "0.10", "0.09", "NaN", "Infinity", "-Infinity",
			"123456789012345678901234567890.5", "123456789012345678901234567890.49"}},
		{`text COLLATE "C"`, typ(Text), collC, texts},
		{`varchar COLLATE "C"`, typ(Varchar), collC, texts},
		{`char(3) COLLATE "C"`, Type{Kind: BPChar, Length: 3}, collC, []any{nil, "   ", "a  ", "A  ", "ab ", "abc", "ä  ", "\n  "}},
		{"date", typ(Date), Collation{}, []any{nil, int64(0), int64(-1), int64(8825), int64(math.MinInt64), int64(math.MaxInt64), int64(-2451545)}},
		{"time", typ(Time), Collation{}, []any{nil, int64(0), int64(86400000000), int64(1)}},
		{"timestamp", typ(Timestamp), Collation{}, stamps},
		{"timestamptz", typ(TimestampTZ), Collation{}, stamps},
		{"uuid", typ(UUID), Collation{}, []any{nil, "00000000-0000-0000-0000-000000000000", "0a000000-0000-0000-0000-000000000000", "a0000000-0000-0000-0000-000000000000"}},
		{"bytea", typ(Bytea), Collation{}, []any{nil, []byte{}, []byte{0}, []byte{1}, []byte{1, 0}, []byte{255}}},
		{"pg_temp.mood", mood, Collation{}, []any{nil, "sad", "ok", "happy"}},
	}
}

// fill makes a temporary table with a row for each value.
func (d domain) fill(t *testing.T, conn *pgx.Conn) []Value {
	t.Helper()
	ctx := context.Background()
	_, err := conn.Exec(ctx, "DROP TABLE IF EXISTS probe")
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "CREATE TEMP TABLE probe (n int, v "+d.sql+")")
	require.NoError(t, err)
	var values []Value
	for i, v := range d.values {
		values = append(values, Value{V: v})
		lit := Format(val(typ(Other), nil), nil)
		if v != nil {
			lit = "'" + strings.ReplaceAll(string(AppendText(nil, Value{V: v}, d.t)), "'", "''") + "'"
		}
		_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO probe VALUES (%d, %s)", i, lit))
		require.NoError(t, err, lit)
	}
	return values
}

// check compares an expression over the table's column, 0 named v, row by row,
// in both forms that it has in SQL.
func check(t *testing.T, conn *pgx.Conn, e Expr, columns []Type, values []Value) {
	t.Helper()
	p, err := Compile(e, columns)
	require.NoError(t, err)
	checkSQL(t, conn, p, Format(e, []string{"v"}), e, values)
	condition, err := SQL([]Expr{e}, []string{"v"})
	require.NoError(t, err)
	checkSQL(t, conn, p, condition, e, values)
}

func checkSQL(t *testing.T, conn *pgx.Conn, p *Predicate, condition string, e Expr, values []Value) {
	t.Helper()
	sql := "SELECT (" + condition + ")::text FROM probe WHERE n = "
	fast, err := conn.Query(context.Background(), "SELECT coalesce(("+condition+")::text, 'unknown') FROM probe ORDER BY n")
	require.NoError(t, err)
	got, err := pgx.CollectRows(fast, pgx.RowTo[string])
	want := map[Truth]string{True: "true", False: "false", Unknown: "unknown"}
	if err == nil {
		require.Len(t, got, len(values))
		for i, v := range values {
			truth, err := p.Eval(func(int) Value { return v })
			require.NoError(t, err, "%s with %#v", Format(e, []string{"v"}), v.V)
			require.Equal(t, got[i], want[truth], "%s with %#v", Format(e, []string{"v"}), v.V)
		}
		return
	}
	// Some row is an error: row by row, then.
	for i, v := range values {
		truth, err := p.Eval(func(int) Value { return v })
		var server *string
		serr := conn.QueryRow(context.Background(), fmt.Sprintf("%s%d", sql, i)).Scan(&server)
		var pe *pgconn.PgError
		if errors.As(serr, &pe) {
			var ee *EvalError
			require.ErrorAs(t, err, &ee, "the server said %v to %s with %#v", serr, Format(e, []string{"v"}), v.V)
			require.Equal(t, pe.Code, ee.SQLState)
			require.Equal(t, pe.Message, ee.Message)
			continue
		}
		require.NoError(t, serr)
		require.NoError(t, err)
		text := "unknown"
		if server != nil {
			text = *server
		}
		require.Equal(t, text, want[truth], "%s with %#v", Format(e, []string{"v"}), v.V)
	}
}

func TestEval_LikeTheServer(t *testing.T) {
	conn := connect(t)
	r := rand.New(rand.NewPCG(1, 1))
	for _, d := range domains() {
		t.Run(d.sql, func(t *testing.T) {
			values := d.fill(t, conn)
			columns := []Type{d.t}
			col := &Column{}
			for _, v := range d.values {
				for op := EQ; op <= NotDistinct; op++ {
					check(t, conn, cmpExpr(col, op, val(d.t, v), d.coll), columns, values)
				}
			}
			for _, negated := range []bool{false, true} {
				check(t, conn, &NullTest{Operand: col, Negated: negated}, columns, values)
				for range 30 {
					items := make([]any, r.IntN(5))
					for i := range items {
						items[i] = d.values[r.IntN(len(d.values))]
					}
					check(t, conn, &Membership{Operand: col, Array: list(d.t, items...), Negated: negated, Collation: d.coll}, columns, values)
				}
			}
			for range 60 {
				check(t, conn, randomTree(r, d, 3), columns, values)
			}
		})
	}
}

func randomTree(r *rand.Rand, d domain, depth int) Expr {
	if depth == 0 || r.IntN(4) == 0 {
		return cmpExpr(&Column{}, EQ+Operator(r.IntN(8)), val(d.t, d.values[r.IntN(len(d.values))]), d.coll)
	}
	a, b := randomTree(r, d, depth-1), randomTree(r, d, depth-1)
	switch r.IntN(5) {
	case 0:
		return &And{Operands: []Expr{a, b}}
	case 1:
		return &Or{Operands: []Expr{a, b}}
	case 2:
		return &Not{Operand: a}
	case 3:
		return &BoolTest{Operand: a, Truth: True + Truth(r.IntN(3)), Negated: r.IntN(2) == 0}
	}
	return cmpExpr(a, EQ+Operator(r.IntN(8)), b)
}

func TestEval_PatternsLikeTheServer(t *testing.T) {
	conn := connect(t)
	r := rand.New(rand.NewPCG(2, 2))
	alphabet := []rune(`aAbäÄ%%__\\😀 `)
	word := func(n int) string {
		var b strings.Builder
		for range r.IntN(n + 1) {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	for _, d := range domains() {
		if d.t.Kind != Text && d.t.Kind != BPChar {
			continue
		}
		for range 30 {
			if s := word(8); d.t.Kind == Text {
				d.values = append(d.values, s)
			}
		}
		values := d.fill(t, conn)
		for i := range 600 {
			p := word(6)
			kind := []MatchKind{Like, ILike, StartsWith}[i%3]
			if kind == StartsWith && d.t.Kind == BPChar {
				continue
			}
			check(t, conn, &Match{Kind: kind, Operand: &Column{}, Pattern: text(p), Negated: r.IntN(4) == 0, Collation: d.coll}, []Type{d.t}, values)
		}
		if d.t.Kind == Text {
			for _, f := range []string{"lower", "upper"} {
				for _, s := range d.values {
					check(t, conn, cmpExpr(&Function{Name: f, Args: []Expr{&Column{}}, Collation: collC}, EQ, text(s), collC), []Type{d.t}, values)
				}
			}
		}
	}
}

func TestSorter_LikeTheServer(t *testing.T) {
	conn := connect(t)
	for _, d := range domains() {
		values := d.fill(t, conn)
		for i := range 4 {
			o := Ordering{{Descending: i&1 != 0, NullsFirst: i&2 != 0, Collation: d.coll}}
			s, err := CompileOrdering(o, []Type{d.t})
			require.NoError(t, err)
			res, err := conn.Query(context.Background(), "SELECT n FROM probe ORDER BY "+FormatOrdering(o, []string{"v"}))
			require.NoError(t, err)
			order, err := pgx.CollectRows(res, pgx.RowTo[int])
			require.NoError(t, err)
			for j := 1; j < len(order); j++ {
				x, err := s.Compare(func(int) Value { return values[order[j-1]] }, func(int) Value { return values[order[j]] })
				require.NoError(t, err)
				require.LessOrEqual(t, x, 0, "%s %s: %#v before %#v", d.sql, FormatOrdering(o, []string{"v"}), values[order[j-1]].V, values[order[j]].V)
			}
		}
	}
}
