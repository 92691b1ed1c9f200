package pushdown_test

import (
	"fmt"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// What WHERE amount > 10 lets through, NULL included.
func ExampleCompile() {
	columns := []pushdown.Type{{Kind: pushdown.Numeric}}
	where := &pushdown.Comparison{Op: pushdown.GT, Left: &pushdown.Column{Index: 0},
		Right: &pushdown.Param{Type: columns[0], Known: true, Value: pushdown.Value{V: "10"}}}
	p, err := pushdown.Compile(where, columns)
	if err != nil {
		fmt.Println("PostgreSQL has to check it:", err)
		return
	}
	fmt.Println(pushdown.Format(where, []string{"amount"}))
	for _, v := range []any{"9.99", "10.00", "10.01", "NaN", nil} {
		ok, err := p.Matches(func(int) pushdown.Value { return pushdown.Value{V: v} })
		fmt.Println(v, ok, err)
	}
	// Output:
	// amount > 10
	// 9.99 false <nil>
	// 10.00 false <nil>
	// 10.01 true <nil>
	// NaN true <nil>
	// <nil> false <nil>
}
