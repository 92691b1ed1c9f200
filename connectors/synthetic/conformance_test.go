package synthetic_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/connectors/synthetic"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const secret = "s3cr3t-t0k3n"

// everything is a table with a column of each kind.
func everything(options map[string]string) connectors.TableSpec {
	spec := connectors.TableSpec{Schema: "public", Name: "everything", Options: options}
	add := func(name string, t pushdown.Type, options map[string]string) {
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: name, Type: t, Options: options})
	}
	add("id", pushdown.Type{Kind: pushdown.Int8}, map[string]string{"key": "true"})
	for k := pushdown.Bool; k <= pushdown.Bytea; k++ {
		t := pushdown.Type{Kind: k}
		switch k {
		case pushdown.Varchar, pushdown.BPChar:
			t.Length = 5
		}
		add("c_"+strconv.Itoa(int(k)), t, nil)
	}
	add("c_enum", pushdown.Type{Kind: pushdown.Enum, Labels: []string{"sad", "ok", "happy"}}, nil)
	add("c_numeric_10_2", pushdown.Type{Kind: pushdown.Numeric, Precision: 10, Scale: 2}, nil)
	add("c_array", pushdown.Type{Kind: pushdown.Text, Array: true, ElementOID: 25}, nil)
	add("c_few", pushdown.Type{Kind: pushdown.Int4}, map[string]string{"distinct": "3", "nulls": "0.5"})
	return spec
}

func subject(spec connectors.TableSpec) conformance.Subject {
	return conformance.Subject{
		Connector: synthetic.New(),
		Server: connectors.ServerSpec{Name: "s", Options: map[string]string{"connector": "synthetic"},
			Credential: map[string]string{"token": secret}},
		Table:        spec,
		MinPages:     4,
		Secret:       secret,
		RemoteSchema: "synthetic",
	}
}

func TestConformance_Sequence(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"exact":    {"values": "extreme"},
		"typical":  {},
		"superset": {"values": "extreme", "pushdown": "superset"},
		"none":     {"values": "extreme", "pushdown": "none"},
		"ignoring": {"values": "extreme", "ignore_filters": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options["rows"], options["page_rows"], options["nulls"] = "120", "30", "0.1"
			s := subject(everything(options))
			s.MinPushed = 0.6
			if name == "none" {
				s.MinPushed = 0
			}
			if name != "exact" && !testing.Short() {
				s.Queries = 120
			}
			conformance.Run(t, s)
		})
	}
}

// storeSpec has rules such as an API has.
func storeSpec(options map[string]string) connectors.TableSpec {
	col := func(name string, k pushdown.Kind, options map[string]string) connectors.ColumnSpec {
		return connectors.ColumnSpec{Name: name, Type: pushdown.Type{Kind: k}, Options: options}
	}
	return connectors.TableSpec{Schema: "public", Name: "contacts", Options: options, Columns: []connectors.ColumnSpec{
		col("id", pushdown.Text, map[string]string{"key": "true", "computed": "uuid"}),
		col("mail", pushdown.Text, map[string]string{"field": "email", "unique": "true", "check": "email", "required": "true"}),
		col("name", pushdown.Text, map[string]string{"check": "max:20"}),
		col("amount", pushdown.Numeric, map[string]string{"check": "positive"}),
		col("stage", pushdown.Text, map[string]string{"default": "new"}),
		col("number", pushdown.Int8, map[string]string{"computed": "sequence"}),
		col("created", pushdown.TimestampTZ, map[string]string{"computed": "now"}),
		col("tags", pushdown.JSONB, nil),
	}}
}

func text(s string) pushdown.Value { return pushdown.Value{V: s} }

func contact(n int) conformance.Row {
	r := conformance.Row{"mail": text(fmt.Sprintf("c%d@example.com", n)), "name": text([]string{"Ada", "ada", "Ädä", " ", ""}[n%5]),
		"amount": text(strconv.Itoa(n+1) + ".50"), "stage": text("won"), "tags": text(`{"n": 1}`)}
	if n%7 == 3 {
		r["name"] = pushdown.Value{}
	}
	return r
}

func TestConformance_Store(t *testing.T) {
	for _, mode := range []string{"exact", "superset", "none", "able", "atomic"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			options := map[string]string{"store": "crm", "page_rows": "20", "pushdown": mode}
			if mode == "able" {
				options["pushdown"], options["upsert"], options["idempotent"], options["batch_rows"] = "exact", "true", "true", "2"
			}
			if mode == "atomic" {
				options["pushdown"], options["atomic"], options["batch_rows"] = "exact", "true", "4"
			}
			s := subject(storeSpec(options))
			s.Writes = &conformance.Writes{
				Insert: func(n int) conformance.Row { return contact(n) },
				Update: func(n int) conformance.Row {
					return conformance.Row{"name": pushdown.Value{}, "amount": text(strconv.Itoa(n + 7))}
				},
				Delete:     true,
				MissingKey: []pushdown.Value{text("00000000-0000-4000-8000-000000000000")},
				Refused: []conformance.Refusal{
					{Name: "bad email", Change: conformance.Row{"mail": text("andrea")}, Class: connectors.CheckViolation, Column: "mail"},
					{Name: "required is NULL", Change: conformance.Row{"mail": {}}, Class: connectors.NotNullViolation, Column: "mail"},
					{Name: "required is missing", Change: conformance.Row{"mail": {V: conformance.Omit{}}}, Class: connectors.NotNullViolation, Column: "mail"},
					{Name: "not unique", Change: conformance.Row{"mail": text("c2001@example.com")}, Class: connectors.UniqueViolation, Column: "mail"},
					{Name: "too long", Change: conformance.Row{"name": text("an uncommonly long name")}, Class: connectors.TooLong, Column: "name"},
					{Name: "not positive", Change: conformance.Row{"amount": text("0.00")}, Class: connectors.CheckViolation, Column: "amount"},
					{Name: "computed", Change: conformance.Row{"number": {V: int64(1)}}, Class: connectors.NotSupported, Column: "number"},
				},
			}
			if mode == "able" {
				s.Writes.Match = []string{"mail"}
			}
			fill(t, s, 100)
			conformance.Run(t, s)
		})
	}
}

// fill inserts n contacts.
func fill(t *testing.T, s conformance.Subject, n int) {
	t.Helper()
	source, err := s.Connector.Open(t.Context(), s.Env, s.Server)
	require.NoError(t, err)
	table, err := source.Table(t.Context(), s.Table)
	require.NoError(t, err)
	for i := range n {
		row := contact(2000 + i)
		b := &connectors.Batch{Op: connectors.Insert, Stats: &connectors.Stats{}, Returning: rows.NewBuilder(nil, nil, rows.Options{})}
		var values []pushdown.Value
		for c, col := range s.Table.Columns {
			if v, ok := row[col.Name]; ok {
				b.Columns = append(b.Columns, c)
				values = append(values, v)
			}
		}
		b.Rows = []connectors.Row{{Values: values}}
		require.NoError(t, table.(connectors.Modifier).Modify(t.Context(), b))
		require.Equal(t, connectors.Applied, b.Results[0].Outcome)
	}
}
