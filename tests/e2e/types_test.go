package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// matrix has every type with the values that are apt to be lost on the way.
var matrix = []struct {
	typ    string
	values []string
}{
	{"bool", []string{"true", "false"}},
	{"int2", []string{"0", "-1", "32767", "-32768"}},
	{"int4", []string{"0", "-1", "2147483647", "-2147483648"}},
	{"int8", []string{"0", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993"}},
	{"float4", []string{"0", "-0", "0.1", "3.4028235e38", "1e-45", "Infinity", "-Infinity", "NaN"}},
	{"float8", []string{"0", "-0", "0.1", "1.7976931348623157e308", "5e-324", "Infinity", "-Infinity", "NaN", "0.30000000000000004"}},
	{"numeric", []string{"0", "0.00", "-1", "1.50", "1.5", "10000", "99999999", "1e1000", "1e-1000", "NaN", "Infinity", "-Infinity",
		"123456789012345678901234567890.123456789", "-0.0001", "0.00010000"}},
	{"numeric(10,2)", []string{"0", "99999999.99", "-0.01", "NaN"}},
	{"numeric(5,-2)", []string{"0", "1234500", "-100"}},
	{"text", []string{"", " ", "a", "'", `"`, `\`, "\t\n\r", "null", "NULL", "🦆", "👨‍👩‍👧", "e\u0301", "é", "名前", "\u200b", "\U0010ffff", strings.Repeat("z", 127), strings.Repeat("z", 128)}},
	{"varchar(5)", []string{"", "abcde", "🦆🦆🦆🦆🦆", "a "}},
	{"char(5)", []string{"", "abc", "abcde", "é"}},
	{"date", []string{"2024-02-29", "0001-01-01", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "1999-12-31", "2000-01-01"}},
	{"time", []string{"00:00:00", "24:00:00", "12:34:56.789012", "23:59:59.999999"}},
	{"timestamp", []string{"2024-02-29 12:34:56.789012", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity", "1969-12-31 23:59:59.999999"}},
	{"timestamptz", []string{"2024-02-29 12:34:56.789012+05:45", "294276-12-31 00:00:00+00", "infinity", "-infinity", "1970-01-01 00:00:00Z"}},
	{"uuid", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}},
	{"json", []string{"{}", `{"a" :  1, "a": 2}`, `"\u00e9"`, "null", "[1, 2.50]", `{"🦆": null}`}},
	{"jsonb", []string{"{}", `{"a" :  1, "b": [true, null]}`, "null", "1.50", `"🦆"`, `""`}},
	{"bytea", []string{`\x`, `\x00`, `\xdeadbeef`, `\x00ff00`}},
	{"mood", []string{"sad", "happy", "🦆 odd", ""}},
	{"posint", []string{"1", "2147483647"}},
	{"email", []string{"a@b", "🦆@x"}},
	{"bool[]", []string{"{}", "{t,f,NULL}"}},
	{"int4[]", []string{"{}", "{1,NULL,3}", "{2147483647,-2147483648}"}},
	{"float8[]", []string{"{NaN,Infinity,-Infinity,0.1}"}},
	{"numeric[]", []string{"{1.50,NaN,NULL}"}},
	{"text[]", []string{"{}", `{""}`, `{NULL,"NULL"}`, `{"a,b","c\"d","{}","\\"}`, "{🦆}"}},
	{"varchar(5)[]", []string{`{abcde,""}`}},
	{"date[]", []string{"{infinity,2024-02-29}"}},
	{"timestamptz[]", []string{`{"2024-02-29 12:34:56.789012+00",-infinity}`}},
	{"uuid[]", []string{"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"}},
	{"jsonb[]", []string{`{"{\"a\": 1}",NULL}`}},
	{"bytea[]", []string{`{"\\xdead","\\x"}`}},
	{"mood[]", []string{`{sad,NULL,"🦆 odd",""}`}},
	{"interval", []string{"1 year 2 mons 3 days 04:05:06.789", "-1 day", "0"}},
	{"inet", []string{"10.0.0.1/8", "::1"}},
	{"point", []string{"(1,2.5)"}},
	{"int4range", []string{"[1,5)", "empty", "(,3)"}},
}

const matrixTypes = `
	CREATE TYPE mood AS ENUM ('sad', 'happy', '🦆 odd', '');
	CREATE DOMAIN posint AS int4 CHECK (VALUE > 0);
	CREATE DOMAIN shorttext AS varchar(20);
	CREATE DOMAIN email AS shorttext CHECK (VALUE LIKE '%@%');`

// Every value comes back as PostgreSQL itself would give it, in text and in
// binary format, and as a parameter of WHERE.
func TestTypes_RoundTrip(t *testing.T) {
	db, c := synthetic(t)
	c.Exec("%s", matrixTypes)
	for i, m := range matrix {
		t.Run(m.typ, func(t *testing.T) {
			c := c.On(t)
			f, l := fmt.Sprintf("f%d", i), fmt.Sprintf("l%d", i)
			stored(c, db, f, "id int8, v "+m.typ)
			c.Exec("CREATE TABLE %s (id int8, v %s)", l, m.typ)
			values := []string{"(0, NULL)"}
			for k, v := range m.values {
				values = append(values, fmt.Sprintf("(%d, '%s')", k+1, strings.ReplaceAll(v, "'", "''")))
			}
			for _, table := range []string{l, f} {
				c.Exec("%s", "INSERT INTO "+table+" VALUES "+strings.Join(values, ", "))
			}
			const q = "SELECT id, v, v::text, v IS NULL FROM %s ORDER BY id"
			require.Equal(t, c.Query(q, l), c.Query(q, f), "text format")
			require.Equal(t, binary(t, c, fmt.Sprintf(q, l)), binary(t, c, fmt.Sprintf(q, f)), "binary format")
			// Found again by the value, as a constant and as a parameter.
			if m.typ == "json" || m.typ == "point" {
				return
			}
			for _, v := range m.values {
				for _, format := range []string{"SELECT id FROM %s WHERE v = '%s'::%s ORDER BY id", "SELECT id FROM %s WHERE v IS NOT DISTINCT FROM '%s'::%s ORDER BY id"} {
					lit := strings.ReplaceAll(v, "'", "''")
					require.Equal(t, c.Query(format, l, lit, m.typ), c.Query(format, f, lit, m.typ), "%q", v)
				}
				want, err := harness.Extended(context.Background(), c.PgConn, fmt.Sprintf("SELECT id FROM %s WHERE v = $1::%s ORDER BY id", l, m.typ), []harness.Param{{Text: v}})
				require.NoError(t, err)
				have, err := harness.Extended(context.Background(), c.PgConn, fmt.Sprintf("SELECT id FROM %s WHERE v = $1::%s ORDER BY id", f, m.typ), []harness.Param{{Text: v}})
				require.NoError(t, err, "%s", harness.Describe(err))
				require.Equal(t, want.Rows, have.Rows, "%q", v)
				require.NotEmpty(t, have.Rows)
			}
		})
	}
}

func binary(t *testing.T, c *harness.Conn, sql string) [][][]byte {
	t.Helper()
	r := c.ExecParams(context.Background(), sql, nil, nil, nil, []int16{1}).Read()
	require.NoError(t, r.Err)
	return r.Rows
}

// An array that an API has no word for is refused, not changed on the way.
func TestTypes_ArraysThatAPIsDoNotHave(t *testing.T) {
	db, c := synthetic(t)
	stored(c, db, "f", "id int8, v int4[]")
	for _, v := range []string{"{{1,2},{3,4}}", "[0:1]={5,6}"} {
		_, err := c.Try("INSERT INTO f VALUES (1, '%s')", v)
		require.Equal(t, "0A000", harness.SQLState(err), "%s: %s", v, harness.Describe(err))
		// In a condition such an array is a value like any other.
		require.Equal(t, "0", c.Value("SELECT count(*) FROM f WHERE v = '%s'", v))
	}
	require.Equal(t, "0", c.Value("SELECT count(*) FROM f"))
}

// A megabyte in one value, past every buffer and window on the way.
func TestTypes_OneMegabyte(t *testing.T) {
	db, c := synthetic(t)
	for i, m := range []struct{ typ, value string }{
		{"text", "repeat('🦆x', 210000)"},
		{"varchar", "repeat('y', 1048576)"},
		{"bytea", `decode(repeat('00ff', 524288), 'hex')`},
		{"jsonb", "jsonb_build_object('k', repeat('z', 1048576))"},
		{"json", "json_build_object('k', repeat('z', 1048576))"},
		{"text[]", "ARRAY[repeat('a', 600000), NULL, repeat('b', 600000)]"},
		{"int4[]", "(SELECT array_agg(i) FROM generate_series(1, 200000) i)"},
		{"numeric", "repeat('9', 11999)::numeric"},
	} {
		t.Run(m.typ, func(t *testing.T) {
			c := c.On(t)
			f := fmt.Sprintf("big%d", i)
			stored(c, db, f, "id int8, v "+m.typ)
			c.Exec("CREATE TABLE local%d AS SELECT i AS id, (%s)::%s AS v FROM generate_series(1, 3) i", i, m.value, m.typ)
			c.Exec("INSERT INTO %s SELECT * FROM local%d", f, i)
			require.Equal(t, "0", c.Value("SELECT count(*) FROM %s f FULL JOIN local%d l USING (id) WHERE md5(f.v::text) IS DISTINCT FROM md5(l.v::text)", f, i))
			require.Equal(t, "3", c.Value("SELECT count(v) FROM %s", f))
		})
	}
}

// Columns of every width together: those not fetched do not shift the others,
// and dropped ones leave no hole.
func TestTypes_AllTogether(t *testing.T) {
	db, c := synthetic(t)
	c.Exec("%s", matrixTypes)
	var cols, vals []string
	for i, m := range matrix {
		cols = append(cols, fmt.Sprintf("c%d %s", i, m.typ))
		vals = append(vals, "'"+strings.ReplaceAll(m.values[len(m.values)-1], "'", "''")+"'")
	}
	stored(c, db, "f", "id int8, gone int4, "+strings.Join(cols, ", "))
	c.Exec("ALTER FOREIGN TABLE f DROP COLUMN gone")
	c.Exec("CREATE TABLE l (id int8, %s)", strings.Join(cols, ", "))
	for _, table := range []string{"f", "l"} {
		c.Exec("%s", "INSERT INTO "+table+" VALUES (1, "+strings.Join(vals, ", ")+")")
		c.Exec("INSERT INTO %s (id) VALUES (2)", table)
	}
	require.Equal(t, c.Query("SELECT * FROM l ORDER BY id"), c.Query("SELECT * FROM f ORDER BY id"))
	require.Equal(t, c.Query("SELECT l::text FROM l ORDER BY id"), c.Query("SELECT f::text FROM f ORDER BY id"), "whole row")
	for i := range matrix {
		q := "SELECT c%d FROM %s ORDER BY id"
		require.Equal(t, c.Query(q, i, "l"), c.Query(q, i, "f"))
	}
	require.Equal(t, "2", c.Value("SELECT count(*) FROM f"))
}
