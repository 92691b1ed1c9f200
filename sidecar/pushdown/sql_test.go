package pushdown_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	. "github.com/hallwaydb/hallway/sidecar/pushdown"
)

func TestSQL(t *testing.T) {
	columns := []string{"id", `Se"lect`, "ok"}
	id, name, ok := &Column{Index: 0}, &Column{Index: 1}, &Column{Index: 2}
	for want, e := range map[string]Expr{
		`("id" = ('1'::int4))`: cmpExpr(id, EQ, val(typ(Int4), int64(1))),
		`(("Se""lect" COLLATE pg_catalog."C") LIKE ('a''\%'::text))`:                       &Match{Kind: Like, Operand: name, Pattern: text(`a'\%`), Collation: collC},
		`(("Se""lect" COLLATE pg_catalog."en_US.utf8") !~* ('a'::text))`:                   &Match{Kind: IRegex, Negated: true, Operand: name, Pattern: text("a"), Collation: Collation{Name: "en_US.utf8"}},
		`(("Se""lect" COLLATE app."My ""one") >= (('x'::varchar) COLLATE app."My ""one"))`: cmpExpr(name, GE, val(typ(Varchar), "x"), Collation{Name: `app."My ""one"`}),
		`(NOT pg_catalog.starts_with(("Se""lect" COLLATE pg_catalog."C"), (NULL::text)))`:  &Match{Kind: StartsWith, Negated: true, Operand: name, Pattern: text(nil), Collation: collC},
		`("id" = ANY (('{1,NULL}'::int8[])))`:                                              &Membership{Operand: id, Array: list(typ(Int8), int64(1), nil)},
		`("id" <> ALL (('{"a b",""}')))`:                                                   &Membership{Operand: id, Array: list(mood, "a b", ""), Negated: true},
		`(("id" IS NOT NULL) IS NOT UNKNOWN)`:                                              &BoolTest{Operand: &NullTest{Operand: id, Negated: true}, Truth: Unknown, Negated: true},
		`((NOT "ok") OR ("ok" AND (NULL::bool)))`:                                          &Or{Operands: []Expr{&Not{Operand: ok}, &And{Operands: []Expr{ok, val(typ(Bool), nil)}}}},
		`("id" IS NOT DISTINCT FROM ('infinity'::timestamptz))`:                            cmpExpr(id, NotDistinct, val(typ(TimestampTZ), int64(math.MaxInt64))),
		`("id" > ('-Infinity'::float4))`:                                                   cmpExpr(id, GT, val(typ(Float4), math.Inf(-1))),
		`("id" <> ('NaN'::numeric))`:                                                       cmpExpr(id, NE, val(typ(Numeric), "NaN")),
		`("id" = ('a  '::bpchar))`:                                                         cmpExpr(id, EQ, val(typ(BPChar), "a  ")),
		`("id" = ('\x00'::bytea))`:                                                         cmpExpr(id, EQ, val(typ(Bytea), []byte{0})),
	} {
		got, err := SQL([]Expr{e}, columns)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := SQL(nil, columns)
	require.NoError(t, err)
	require.Equal(t, "true", got)
	got, err = SQL([]Expr{ok, &Not{Operand: ok}}, columns)
	require.NoError(t, err)
	require.Equal(t, `"ok" AND (NOT "ok")`, got)

	for name, e := range map[string]Expr{
		"a parameter that is not known": cmpExpr(id, EQ, &Param{Index: 3, Type: typ(Int4)}),
		"a type without a name":         cmpExpr(id, EQ, val(typ(Other), "x")),
		"a column that is not there":    &NullTest{Operand: &Column{Index: 7}},
		"a zero byte":                   cmpExpr(name, EQ, text("a\x00")),
		"an unknown pattern language":   &Match{Operand: name, Pattern: text("a")},
		"within a NOT":                  &Not{Operand: &NullTest{Operand: &Column{Index: -1}}},
	} {
		_, err := SQL([]Expr{e}, columns)
		var u *UnsupportedError
		require.ErrorAs(t, err, &u, name)
	}
}

// A condition has the collation that was shipped, whatever the column's.
func TestSQL_NamesCollationsLikeTheServer(t *testing.T) {
	conn := connect(t)
	r := rand.New(rand.NewPCG(5, 5))
	for _, d := range domains() {
		if d.t.Kind != Text && d.t.Kind != Varchar {
			continue
		}
		d.sql = d.t.Kind.String() + ` COLLATE "und-x-icu"`
		values := d.fill(t, conn)
		for range 300 {
			e := randomTree(r, d, 2)
			p, err := Compile(e, []Type{d.t})
			require.NoError(t, err)
			sql, err := SQL([]Expr{e}, []string{"v"})
			require.NoError(t, err)
			checkSQL(t, conn, p, sql, e, values)
		}
		for _, v := range d.values {
			e := cmpExpr(&Function{Name: "upper", Args: []Expr{&Column{}}, Type: typ(Text), Collation: collC}, LT, val(d.t, v), collC)
			p, err := Compile(e, []Type{d.t})
			require.NoError(t, err)
			sql, err := SQL([]Expr{e}, []string{"v"})
			require.NoError(t, err)
			checkSQL(t, conn, p, sql, e, values)
		}
	}
	var n int
	require.NoError(t, conn.QueryRow(context.Background(), `SELECT count(*) FROM (VALUES ('a'), ('B')) AS x(v) WHERE v COLLATE "und-x-icu" < 'b' COLLATE "und-x-icu"`).Scan(&n))
	require.Equal(t, 1, n, "the two collations differ")
}
