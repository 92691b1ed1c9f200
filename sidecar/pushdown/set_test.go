package pushdown

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Long lists are looked up in a set, short ones compared: each value of a type
// must be a member of the one as of the other, for both operators.
func TestMembership_SetAgreesWithComparison(t *testing.T) {
	negZero := math.Copysign(0, -1)
	for name, c := range map[string]struct {
		column, array Type
		values        []any
	}{
		"int2 in int8":     {Type{Kind: Int2}, Type{Kind: Int8}, []any{int64(0), int64(-1), int64(1), int64(32767)}},
		"date":             {Type{Kind: Date}, Type{Kind: Date}, []any{int64(0), int64(1), int64(math.MaxInt32)}},
		"bool":             {Type{Kind: Bool}, Type{Kind: Bool}, []any{true, false}},
		"float4 in float8": {Type{Kind: Float4}, Type{Kind: Float8}, []any{0.0, negZero, math.NaN(), -math.NaN(), math.Inf(1), math.Inf(-1), 1.5}},
		"numeric": {Type{Kind: Numeric}, Type{Kind: Numeric}, []any{"0", "-0", "0.00", "1", "1.0", "01", "+1", "-1", "-1.00", "10", "0.1", "0.10", ".1",
			"100", "NaN", "Infinity", "-Infinity"}},
		"uuid":    {Type{Kind: UUID}, Type{Kind: UUID}, []any{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}},
		"text":    {Type{Kind: Varchar}, Type{Kind: Text}, []any{"", " ", "a", "a ", "A", "NaN", "é", "e\u0301"}},
		"bpchar":  {Type{Kind: BPChar, Length: 4}, Type{Kind: BPChar}, []any{"", " ", "a", "a   ", " a", "a\t"}},
		"bytea":   {Type{Kind: Bytea}, Type{Kind: Bytea}, []any{[]byte{}, []byte{0}, []byte{0, 0}, []byte("a")}},
		"enum":    {Type{Kind: Enum, Labels: []string{"a", "b"}}, Type{Kind: Enum, Labels: []string{"a", "b"}}, []any{"a", "b"}},
		"instant": {Type{Kind: TimestampTZ}, Type{Kind: TimestampTZ}, []any{int64(0), int64(math.MaxInt64), int64(math.MinInt64)}},
	} {
		t.Run(name, func(t *testing.T) {
			c.array.Array = true
			collation := Collation{Name: "C", C: true, Deterministic: true}
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 200 {
				// The short list, and the same values in a long one.
				short := make([]Value, 1+rnd.IntN(3))
				for i := range short {
					if n := rnd.IntN(len(c.values) + 1); n < len(c.values) {
						short[i].V = c.values[n]
					}
				}
				long := make([]Value, longList+rnd.IntN(9))
				for i := range long {
					long[i] = short[i%len(short)]
				}
				for _, negated := range []bool{false, true} {
					eval := func(list []Value, v any) Truth {
						truth, err := Eval(&Membership{Operand: &Column{Index: 0}, Negated: negated, Collation: collation,
							Array: &Param{Type: c.array, Known: true, Value: Value{V: list}}}, []Type{c.column}, func(int) Value { return Value{V: v} })
						require.NoError(t, err)
						return truth
					}
					for _, v := range append([]any{nil}, c.values...) {
						require.Equal(t, eval(short, v), eval(long, v), "%#v in %v, negated: %v", v, short, negated)
					}
				}
			}
		})
	}
}

func TestMembership_OfWrongTypesIsAnError(t *testing.T) {
	list := make([]Value, 2*longList)
	for i := range list {
		list[i].V = int64(i)
	}
	p, err := Compile(&Membership{Operand: &Column{}, Array: &Param{Type: Type{Kind: Int8, Array: true}, Known: true, Value: Value{V: list}}}, []Type{{Kind: Int8}})
	require.NoError(t, err)
	_, err = p.Eval(func(int) Value { return Value{V: "1"} })
	require.ErrorContains(t, err, "no value of type")

	list[20].V = "20"
	p, err = Compile(&Membership{Operand: &Column{}, Array: &Param{Type: Type{Kind: Int8, Array: true}, Known: true, Value: Value{V: list}}}, []Type{{Kind: Int8}})
	require.NoError(t, err)
	_, err = p.Eval(func(int) Value { return Value{V: int64(99)} })
	require.ErrorContains(t, err, "no value of type")
}

// A predicate may be compiled before its parameter is known, and used again
// with another value of it.
func TestMembership_FollowsItsParameter(t *testing.T) {
	param := &Param{Type: Type{Kind: Int8, Array: true}}
	p, err := Compile(&Membership{Operand: &Column{}, Array: param}, []Type{{Kind: Int8}})
	require.NoError(t, err)
	for round := range int64(3) {
		list := make([]Value, 2*longList)
		for i := range list {
			list[i].V = round*1000 + int64(i)
		}
		param.Known, param.Value = true, Value{V: list}
		for _, c := range []struct {
			v    int64
			want bool
		}{{round * 1000, true}, {round*1000 + 31, true}, {round*1000 + 32, false}, {-1, false}} {
			got, err := p.Matches(func(int) Value { return Value{V: c.v} })
			require.NoError(t, err)
			assert.Equal(t, c.want, got, "%d in round %d", c.v, round)
		}
	}
}

// 60,000 values over 200,000 rows, one by one, would be 10^10 comparisons.
func TestMembership_LongListsTakeNoTimePerMember(t *testing.T) {
	list := make([]Value, 60_000)
	for i := range list {
		list[i].V = fmt.Sprintf("%d.%d", i, i%7)
	}
	p, err := Compile(&Membership{Operand: &Column{}, Array: &Param{Type: Type{Kind: Numeric, Array: true}, Known: true, Value: Value{V: list}}}, []Type{{Kind: Numeric}})
	require.NoError(t, err)
	start := time.Now()
	for i := range 200_000 {
		_, err := p.Eval(func(int) Value { return Value{V: fmt.Sprint(i) + ".9"} })
		require.NoError(t, err)
	}
	assert.Less(t, time.Since(start), 10*time.Second, "it takes a fraction of a second")
}
