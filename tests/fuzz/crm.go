// The CRM's side of the fuzzer: collections with the field types that a filter
// language is likely to get wrong.

package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallwaydb/hallway/tests/harness"
)

// crm has the columns of the collections fuzz_a and fuzz_b. Their pools leave
// out what PocketBase does not keep as it is.
func crm() []*column {
	return []*column{
		{name: "id", typ: "text", class: cText, unique: true, api: true},
		{name: "t", typ: "text", class: cText, pool: texts, nulls: 0, api: true},
		{name: "tc", typ: "text", class: cText, byteOrder: true, pool: texts, api: true},
		{name: "n", typ: "float8", class: cFloat, pool: []string{"0", "1", "-1", "0.1", "0.5", "-2.25", "1e10", "1e-30", "16777217", "0.3", "9007199254740993", "123456789.123"}, api: true},
		{name: "i", typ: "int8", class: cInt, pool: ints("2147483648", "-9007199254740991", "9007199254740991"), api: true},
		{name: "b", typ: "bool", class: cBool, pool: []string{"t", "f"}, api: true},
		{name: "d", typ: "timestamptz", class: cTimestampTZ, pool: []string{"2024-01-01 00:00:00Z", "2024-01-01 00:00:00.001Z", "2024-02-29 12:30:00Z", "1999-12-31 23:59:59.999Z", "1970-01-01 00:00:00Z", "2024-03-10 06:30:00Z"}, nulls: 15, api: true},
		{name: "s", typ: "text", class: cText, pool: []string{"lead", "Lead", "customer", "churned"}, nulls: 20, api: true},
		{name: "j", typ: "jsonb", class: cJSON, pool: []string{`{}`, `[]`, `{"a": 1}`, `{"a": "x", "b": [1, 2]}`, `"a"`, `1`, `true`, `{"é": "🦆"}`}, nulls: 15},
	}
}

// manifest writes the grammar of the shipped PocketBase manifest with the
// fuzzer's objects into dir.
func manifest(root, dir string) error {
	b, err := os.ReadFile(filepath.Join(root, "examples", "pocketbase.yaml"))
	if err != nil {
		return err
	}
	grammar, _, found := strings.Cut(string(b), "\nobjects:")
	if !found {
		return fmt.Errorf("reading examples/pocketbase.yaml: it has no objects")
	}
	out := grammar + "\nobjects:\n"
	for _, name := range []string{"fuzz_a", "fuzz_b"} {
		out += fmt.Sprintf(`  %[1]s:
    path: /api/collections/%[1]s/records
    key: id
    rows: 150
    fields:
      id: {type: text, read_only: true, missing: never}
      t: {type: text, missing: never}
      tc: {type: text, missing: never}
      n: {type: number, missing: never}
      i: {type: integer, missing: never}
      b: {type: boolean, missing: never}
      d: {type: datetime, missing: empty}
      s: {type: select, missing: empty, values: [lead, Lead, customer, churned]}
      j: {type: json}
`, name)
	}
	return os.WriteFile(filepath.Join(dir, "fuzz.yaml"), []byte(out), 0o644)
}

// collections makes them in PocketBase.
func collections(pb *harness.PocketBase) error {
	for _, name := range []string{"fuzz_a", "fuzz_b"} {
		err := pb.Call("POST", "/api/collections", map[string]any{
			"name": name, "type": "base",
			"fields": []map[string]any{
				{"name": "t", "type": "text"}, {"name": "tc", "type": "text"},
				{"name": "n", "type": "number"}, {"name": "i", "type": "number", "onlyInt": true},
				{"name": "b", "type": "bool"}, {"name": "d", "type": "date"},
				{"name": "s", "type": "select", "maxSelect": 1, "values": []string{"lead", "Lead", "customer", "churned"}},
				{"name": "j", "type": "json"},
			}}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// fillCRM inserts random rows through the foreign table, so that writing is
// under test as well, and gives the local copy's keys to the key's pool.
func fillCRM(ctx context.Context, c *harness.Conn, rng *rand.Rand, cols []*column, foreign, local string, n int, before ...string) error {
	var names, rows []string
	for _, col := range cols[1:] {
		names = append(names, col.name)
	}
	for range n {
		var vals []string
		for _, col := range cols[1:] {
			vals = append(vals, col.value(rng).SQL())
		}
		rows = append(rows, "("+strings.Join(vals, ", ")+")")
	}
	list := strings.Join(names, ", ")
	for _, sql := range append(before,
		// What is written first is kept as it was meant, to compare.
		fmt.Sprintf("CREATE TABLE %s_meant (LIKE %s)", local, local),
		fmt.Sprintf("WITH v (%s) AS (VALUES %s), i AS (INSERT INTO %s (%s) SELECT * FROM v RETURNING *) INSERT INTO %s_meant SELECT * FROM i",
			list, strings.Join(rows, ",\n"), foreign, list, local),
		fmt.Sprintf("INSERT INTO %s SELECT * FROM %s", local, foreign),
	) {
		if _, err := harness.Simple(ctx, c.PgConn, sql); err != nil {
			return fmt.Errorf("filling %s: %s", foreign, harness.Describe(err))
		}
	}
	return nil
}
