package rows_test

import (
	"fmt"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// A connector writes values as it reads them; the columns' types decide how
// they are encoded.
func ExampleBuilder() {
	types := []pushdown.Type{{Kind: pushdown.Int4}, {Kind: pushdown.Numeric}, {Kind: pushdown.TimestampTZ}}
	out := rows.NewBuilder(types, func(tuples []byte, n int) error {
		fmt.Printf("%d rows, %d bytes\n", n, len(tuples))
		return nil
	}, rows.Options{})

	out.Int64(42)
	out.Number([]byte("19.90"))             // as JSON writes it, no float between
	out.String("2024-02-29T10:11:12+01:00") // parsed
	if err := out.EndRow(); err != nil {
		fmt.Println(err)
	}
	out.String("forty-two")
	out.Null()
	out.Null()
	fmt.Println(out.EndRow())
	fmt.Println(out.Flush())
	// Output:
	// "forty-two" cannot be a value of type integer: it is not an integer
	// 1 rows, 38 bytes
	// <nil>
}
