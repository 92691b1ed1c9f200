package pushdown_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	. "github.com/hallwaydb/hallway/sidecar/pushdown"
)

var (
	collC       = Collation{Name: "C", C: true, Deterministic: true}
	collDefault = Collation{Name: "default", Deterministic: true}
	collLoose   = Collation{Name: "loose"}
	mood        = Type{Kind: Enum, OID: 7, Labels: []string{"sad", "ok", "happy"}}
)

func typ(k Kind) Type { return Type{Kind: k} }

func val(t Type, v any) *Param { return &Param{Type: t, Known: true, Value: Value{V: v}} }

func text(s any) *Param { return val(typ(Text), s) }

func list(t Type, items ...any) *Param {
	vs := make([]Value, len(items))
	for i, x := range items {
		vs[i] = Value{V: x}
	}
	t.Array = true
	return val(t, vs)
}

func cmpExpr(l Expr, op Operator, r Expr, coll ...Collation) Expr {
	c := &Comparison{Op: op, Left: l, Right: r}
	if len(coll) > 0 {
		c.Collation = coll[0]
	}
	return c
}

func noRow(int) Value { panic("no column expected") }

func TestEval_Comparisons(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	num := func(s any) *Param { return val(typ(Numeric), s) }
	f8 := func(v any) *Param { return val(typ(Float8), v) }
	for _, c := range []struct {
		l    Expr
		op   Operator
		r    Expr
		coll Collation
		want Truth
	}{
		{val(typ(Int2), int64(1)), EQ, val(typ(Int8), int64(1)), Collation{}, True},
		{val(typ(Int4), int64(-1)), LT, val(typ(Int4), int64(0)), Collation{}, True},
		{val(typ(Int4), nil), EQ, val(typ(Int4), int64(0)), Collation{}, Unknown},
		{val(typ(Int4), nil), NE, val(typ(Int4), nil), Collation{}, Unknown},
		{val(typ(Int4), nil), NotDistinct, val(typ(Int4), nil), Collation{}, True},
		{val(typ(Int4), nil), Distinct, val(typ(Int4), int64(0)), Collation{}, True},
		{val(typ(Int4), int64(1)), Distinct, val(typ(Int4), int64(1)), Collation{}, False},
		{f8(nan), EQ, f8(nan), Collation{}, True},
		{f8(nan), GT, f8(inf), Collation{}, True},
		{f8(inf), LT, f8(nan), Collation{}, True},
		{f8(0.0), EQ, f8(math.Copysign(0, -1)), Collation{}, True},
		{val(typ(Float4), 0.5), EQ, f8(0.5), Collation{}, True},
		{num("1.0"), EQ, num("1.00"), Collation{}, True},
		{num("0"), EQ, num("-0.00"), Collation{}, True},
		{num("-1.5"), LT, num("-1.49"), Collation{}, True},
		{num("123456789012345678901234567890.1"), GT, num("123456789012345678901234567890.09"), Collation{}, True},
		{num("10"), GT, num("9"), Collation{}, True},
		{num("0.1"), GT, num("0.09"), Collation{}, True},
		{num("0.10"), LE, num("0.1"), Collation{}, True},
		{num("NaN"), EQ, num("NaN"), Collation{}, True},
		{num("NaN"), GT, num("Infinity"), Collation{}, True},
		{num("-Infinity"), LT, num("-1e5"), Collation{}, True},
		{num("Infinity"), EQ, num("Infinity"), Collation{}, True},
		{text("a"), EQ, text("A"), collDefault, False},
		{text(""), EQ, text(nil), collDefault, Unknown},
		{text("B"), LT, text("a"), collC, True},
		{text("a"), LT, text("ä"), collC, True},
		{text("a"), EQ, val(typ(Varchar), "a"), collDefault, True},
		{val(typ(BPChar), "a  "), EQ, val(typ(BPChar), "a"), collDefault, True},
		{val(typ(BPChar), "a"), LT, val(typ(BPChar), "a "), collC, False},
		{val(typ(Date), int64(math.MaxInt64)), GT, val(typ(Date), int64(2145031948)), Collation{}, True},
		{val(typ(Timestamp), int64(math.MinInt64)), LT, val(typ(Timestamp), int64(-211813488000000000)), Collation{}, True},
		{val(typ(UUID), "0a000000-0000-0000-0000-000000000000"), LT, val(typ(UUID), "a0000000-0000-0000-0000-000000000000"), Collation{}, True},
		{val(typ(Bool), false), LT, val(typ(Bool), true), Collation{}, True},
		{val(typ(Bytea), []byte{1}), LT, val(typ(Bytea), []byte{1, 0}), Collation{}, True},
		{val(mood, "happy"), GT, val(mood, "ok"), Collation{}, True},
		{val(mood, "ok"), EQ, val(mood, "ok"), Collation{}, True},
	} {
		got, err := Eval(cmpExpr(c.l, c.op, c.r, c.coll), nil, noRow)
		require.NoError(t, err, "%s", Format(cmpExpr(c.l, c.op, c.r), nil))
		require.Equal(t, c.want, got, "%s", Format(cmpExpr(c.l, c.op, c.r), nil))
		if c.op != Distinct && c.op != NotDistinct {
			got, err = Eval(cmpExpr(c.r, c.op.Commute(), c.l, c.coll), nil, noRow)
			require.NoError(t, err)
			require.Equal(t, c.want, got, "commuted %s", Format(cmpExpr(c.l, c.op, c.r), nil))
		}
	}
}

func TestEval_ThreeValuedLogic(t *testing.T) {
	v := map[Truth]Expr{True: val(typ(Bool), true), False: val(typ(Bool), false), Unknown: val(typ(Bool), nil)}
	truths := []Truth{True, False, Unknown}
	and := [3][3]Truth{{True, False, Unknown}, {False, False, False}, {Unknown, False, Unknown}}
	or := [3][3]Truth{{True, True, True}, {True, False, Unknown}, {True, Unknown, Unknown}}
	for i, a := range truths {
		for j, b := range truths {
			got, err := Eval(&And{Operands: []Expr{v[a], v[b]}}, nil, noRow)
			require.NoError(t, err)
			require.Equal(t, and[i][j], got, "%d AND %d", a, b)
			got, err = Eval(&Or{Operands: []Expr{v[a], v[b]}}, nil, noRow)
			require.NoError(t, err)
			require.Equal(t, or[i][j], got, "%d OR %d", a, b)
			for _, negated := range []bool{false, true} {
				got, err = Eval(&BoolTest{Operand: v[a], Truth: b, Negated: negated}, nil, noRow)
				require.NoError(t, err)
				require.Equal(t, (a == b) != negated, got == True)
				require.NotEqual(t, Unknown, got)
			}
		}
		got, err := Eval(&Not{Operand: v[a]}, nil, noRow)
		require.NoError(t, err)
		require.Equal(t, []Truth{False, True, Unknown}[i], got)
		got, err = Eval(&NullTest{Operand: v[a]}, nil, noRow)
		require.NoError(t, err)
		require.Equal(t, a == Unknown, got == True)
	}
}

func TestEval_Membership(t *testing.T) {
	i4 := typ(Int4)
	one, null := val(i4, int64(1)), val(i4, nil)
	for _, c := range []struct {
		operand, array Expr
		in, notIn      Truth
	}{
		{one, list(i4, int64(2), int64(1)), True, False},
		{one, list(i4, int64(2)), False, True},
		{one, list(i4, int64(2), nil), Unknown, Unknown},
		{one, list(i4, nil, int64(1)), True, False},
		{one, list(i4), False, True},
		{null, list(i4), False, True},
		{null, list(i4, int64(1)), Unknown, Unknown},
		{one, val(Type{Kind: Int4, Array: true}, nil), Unknown, Unknown},
		{one, list(typ(Int8), int64(1)), True, False},
	} {
		for _, negated := range []bool{false, true} {
			want := c.in
			if negated {
				want = c.notIn
			}
			e := &Membership{Operand: c.operand, Array: c.array, Negated: negated}
			got, err := Eval(e, nil, noRow)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s", Format(e, nil))
		}
	}
}

func TestEval_Like(t *testing.T) {
	for _, c := range []struct {
		s, p string
		want any // bool, or the SQLSTATE of an error
	}{
		{"abc", "abc", true}, {"abc", "a%", true}, {"abc", "%c", true}, {"abc", "%b%", true}, {"abc", "a_c", true},
		{"abc", "a_", false}, {"abc", "", false}, {"", "", true}, {"", "%", true}, {"", "_", false}, {"", "%_", false},
		{"äbc", "_bc", true}, {"😀", "_", true}, {"😀x", "%x", true}, {"a%c", `a\%c`, true}, {"abc", `a\%c`, false},
		{"a_c", `a\_c`, true}, {`a\c`, `a\\c`, true}, {"abc", `a\bc`, true}, {"abcabc", "%a%c", true}, {"aab", "%ab", true},
		{"abc", `abc\`, false}, {"abcd", `abc\`, "22025"}, {"x", `y\`, false}, {"abc", `%\`, "22025"}, {"", `%\`, false},
		{"", `\`, false}, {"aXbXc", "a%X_", true}, {"a\nb", "a_b", true}, {"abc", "%%%", true}, {"abc", "%_%_%_%", true},
		{"abc", "%_%_%_%_%", false}, {"ABC", "abc", false},
	} {
		for _, negated := range []bool{false, true} {
			got, err := Eval(&Match{Kind: Like, Operand: text(c.s), Pattern: text(c.p), Negated: negated, Collation: collDefault}, nil, noRow)
			if state, bad := c.want.(string); bad {
				var e *EvalError
				require.ErrorAs(t, err, &e, "%q LIKE %q", c.s, c.p)
				require.Equal(t, state, e.SQLState)
				continue
			}
			require.NoError(t, err, "%q LIKE %q", c.s, c.p)
			require.Equal(t, c.want.(bool) != negated, got == True, "%q LIKE %q", c.s, c.p)
		}
	}
	for _, c := range []struct {
		kind MatchKind
		s, p any
		want Truth
	}{
		{ILike, "ABC", "a%", True}, {ILike, "ÄBC", "ä%", False}, {ILike, "x", nil, Unknown}, {Like, nil, "%", Unknown},
		{StartsWith, "abc", "ab", True}, {StartsWith, "abc", "a%", False}, {StartsWith, "abc", "", True},
	} {
		got, err := Eval(&Match{Kind: c.kind, Operand: text(c.s), Pattern: text(c.p), Collation: collC}, nil, noRow)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%v", c)
	}
	padded := val(Type{Kind: BPChar, Length: 4}, "ab")
	got, err := Eval(&Match{Kind: Like, Operand: padded, Pattern: text("ab__"), Collation: collC}, nil, noRow)
	require.NoError(t, err)
	require.Equal(t, True, got)
}

func TestEval_FunctionsAndColumns(t *testing.T) {
	columns := []Type{typ(Text), typ(Bool)}
	row := func(i int) Value { return []Value{{V: "MÜLler"}, {V: true}}[i] }
	lower := &Function{Name: "lower", Args: []Expr{&Column{Index: 0}}, Collation: collC}
	got, err := Eval(cmpExpr(lower, EQ, text("mÜller"), collC), columns, row)
	require.NoError(t, err)
	require.Equal(t, True, got)
	upper := &Function{Name: "upper", Args: []Expr{lower}, Collation: collC}
	got, err = Eval(cmpExpr(upper, EQ, text("MÜLLER"), collC), columns, row)
	require.NoError(t, err)
	require.Equal(t, True, got)
	got, err = Eval(&Column{Index: 1}, columns, row)
	require.NoError(t, err)
	require.Equal(t, True, got)
	got, err = Eval(cmpExpr(&NullTest{Operand: &Column{Index: 0}}, EQ, &Not{Operand: &Column{Index: 1}}), columns, row)
	require.NoError(t, err)
	require.Equal(t, True, got, "conditions are values too")
}

func TestCompile_RefusesWhatOnlyPostgreSQLKnows(t *testing.T) {
	col := &Column{Index: 0}
	for name, c := range map[string]struct {
		t Type
		e Expr
	}{
		"order in a locale":        {typ(Text), cmpExpr(col, LT, text("a"), collDefault)},
		"equality, loose":          {typ(Text), cmpExpr(col, EQ, text("a"), collLoose)},
		"IN, loose":                {typ(Text), &Membership{Operand: col, Array: list(typ(Text), "a"), Collation: collLoose}},
		"no collation":             {typ(Text), cmpExpr(col, EQ, text("a"))},
		"LIKE, loose":              {typ(Text), &Match{Kind: Like, Operand: col, Pattern: text("a"), Collation: collLoose}},
		"ILIKE in a locale":        {typ(Text), &Match{Kind: ILike, Operand: col, Pattern: text("a"), Collation: collDefault}},
		"ILIKE, sorted as C":       {typ(Text), &Match{Kind: ILike, Operand: col, Pattern: text("a"), Collation: Collation{Name: "default", C: true, Deterministic: true}}},
		"lower in a locale":        {typ(Text), cmpExpr(&Function{Name: "lower", Args: []Expr{col}, Collation: collDefault}, EQ, text("a"), collDefault)},
		"regex":                    {typ(Text), &Match{Kind: Regex, Operand: col, Pattern: text("a"), Collation: collC}},
		"other function":           {typ(Text), cmpExpr(&Function{Name: "md5", Args: []Expr{col}, Collation: collC}, EQ, text("a"), collC)},
		"jsonb":                    {typ(JSONB), cmpExpr(col, EQ, val(typ(JSONB), "{}"))},
		"json":                     {typ(JSON), cmpExpr(col, EQ, val(typ(JSON), "{}"))},
		"other type":               {typ(Other), cmpExpr(col, EQ, val(typ(Other), "x"))},
		"arrays":                   {Type{Kind: Int4, Array: true}, cmpExpr(col, EQ, list(typ(Int4), int64(1)))},
		"date with timestamp":      {typ(Date), cmpExpr(col, LT, val(typ(Timestamp), int64(0)))},
		"integer with numeric":     {typ(Int4), cmpExpr(col, LT, val(typ(Numeric), "0"))},
		"enum without labels":      {typ(Enum), cmpExpr(col, LT, val(typ(Enum), "x"))},
		"column that is not there": {typ(Int4), &NullTest{Operand: &Column{Index: 1}}},
		"text as a condition":      {typ(Text), col},
		"within a NOT":             {typ(JSON), &Not{Operand: cmpExpr(col, EQ, val(typ(JSON), "{}"))}},
	} {
		_, err := Compile(c.e, []Type{c.t})
		var u *UnsupportedError
		require.ErrorAs(t, err, &u, name)
		require.NotEmpty(t, u.Reason)
	}
	require.True(t, CanEval(&NullTest{Operand: col}, []Type{typ(Other)}), "IS NULL needs no type")
}

func TestEval_UnknownParameterIsAnError(t *testing.T) {
	p, err := Compile(cmpExpr(&Column{Index: 0}, EQ, &Param{Index: 3, Type: typ(Int4)}), []Type{typ(Int4)})
	require.NoError(t, err, "a plan is made before the values are known")
	_, err = p.Eval(func(int) Value { return Value{V: int64(1)} })
	require.ErrorContains(t, err, "parameter 3")
}

func TestSorter_NullsAndDirections(t *testing.T) {
	vals := []Value{{V: int64(2)}, {}, {V: int64(1)}}
	less := func(k SortKey, a, b int) bool {
		s, err := CompileOrdering(Ordering{k}, []Type{typ(Int4)})
		require.NoError(t, err)
		x, err := s.Compare(func(int) Value { return vals[a] }, func(int) Value { return vals[b] })
		require.NoError(t, err)
		return x < 0
	}
	for _, desc := range []bool{false, true} {
		for _, first := range []bool{false, true} {
			k := SortKey{Descending: desc, NullsFirst: first}
			require.Equal(t, !desc, less(k, 2, 0))
			require.Equal(t, desc, less(k, 0, 2))
			require.Equal(t, first, less(k, 1, 0))
			require.Equal(t, !first, less(k, 0, 1))
			require.False(t, less(k, 1, 1))
		}
	}
	_, err := CompileOrdering(Ordering{{Collation: collDefault}}, []Type{typ(Text)})
	require.Error(t, err, "order in a locale")
}

func TestFormat(t *testing.T) {
	columns := []string{"id", "First Name", "ok"}
	id, name, ok := &Column{Index: 0}, &Column{Index: 1}, &Column{Index: 2}
	for want, e := range map[string]Expr{
		`id = 1 AND ("First Name" LIKE 'a''%' OR NOT ok)`: &And{Operands: []Expr{
			cmpExpr(id, EQ, val(typ(Int4), int64(1))),
			&Or{Operands: []Expr{&Match{Kind: Like, Operand: name, Pattern: text("a'%")}, &Not{Operand: ok}}}}},
		`id = ANY ('{1,NULL}')`:              &Membership{Operand: id, Array: list(typ(Int4), int64(1), nil)},
		`"First Name" <> ALL ('{"a b",""}')`: &Membership{Operand: name, Array: list(typ(Text), "a b", ""), Negated: true},
		`(id IS NOT NULL) IS UNKNOWN`:        &BoolTest{Operand: &NullTest{Operand: id, Negated: true}, Truth: Unknown},
		`lower("First Name") >= $3`:          cmpExpr(&Function{Name: "lower", Args: []Expr{name}}, GE, &Param{Index: 2, Type: typ(Text)}),
		`starts_with("First Name", NULL)`:    &Match{Kind: StartsWith, Operand: name, Pattern: text(nil)},
		`id < '2024-02-29 10:11:12.5+00'`:    cmpExpr(id, LT, val(typ(TimestampTZ), int64(762516672500000))),
		`id < '4714-11-24 BC'`:               cmpExpr(id, LT, val(typ(Date), int64(-2451545))),
		`id < '-infinity'`:                   cmpExpr(id, LT, val(typ(Date), int64(math.MinInt64))),
		`id = '\x00ff'`:                      cmpExpr(id, EQ, val(typ(Bytea), []byte{0, 255})),
		`id IS NOT DISTINCT FROM 'NaN'`:      cmpExpr(id, NotDistinct, val(typ(Numeric), "NaN")),
		`id <> 1e+20`:                        cmpExpr(id, NE, val(typ(Float8), 1e20)),
	} {
		require.Equal(t, want, Format(e, columns))
	}
	require.Equal(t, `id, "First Name" DESC NULLS LAST, ok NULLS FIRST`,
		FormatOrdering(Ordering{{Column: 0}, {Column: 1, Descending: true}, {Column: 2, NullsFirst: true}}, columns))
}

func TestAnalysisHelpers(t *testing.T) {
	e := &And{Operands: []Expr{
		cmpExpr(val(typ(Int4), int64(1)), LT, &Column{Index: 4}),
		&Membership{Operand: &Column{Index: 2}, Array: &Param{Index: 1, Type: Type{Kind: Int4, Array: true}}},
		&NullTest{Operand: &Column{Index: 4}},
	}}
	require.Equal(t, []int{2, 4}, Columns(e))
	require.False(t, Known(e))
	col, op, p, _, ok := ColumnComparison(e.Operands[0])
	require.True(t, ok)
	require.Equal(t, 4, col)
	require.Equal(t, GT, op)
	require.Equal(t, int64(1), p.Value.V)
	col, arr, negated, _, ok := ColumnMembership(e.Operands[1])
	require.True(t, ok && !negated && col == 2 && arr.Index == 1)
	for o := EQ; o <= NotDistinct; o++ {
		require.Equal(t, o, o.Commute().Commute())
		require.Equal(t, o, o.Negate().Negate())
	}
}
