package salesforce

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

func testEnv() connectors.Env {
	return connectors.Env{Log: slog.New(slog.DiscardHandler), AllowHosts: []string{"127.0.0.1"}, MaxResponseBytes: 32 << 20, UserAgent: "hallway-test"}
}

func serverSpec(s *fake.Server) connectors.ServerSpec {
	return connectors.ServerSpec{Name: "sf", Options: map[string]string{"instance_url": s.URL}, Credential: map[string]string{"token": s.Session()}}
}

func openSource(t *testing.T, s *fake.Server) connectors.Source {
	t.Helper()
	src, err := New().Open(t.Context(), testEnv(), serverSpec(s))
	require.NoError(t, err)
	t.Cleanup(func() { _ = src.Close() })
	return src
}

// sqlTypes are those that the import declares.
var sqlTypes = map[string]pushdown.Type{
	"text": {Kind: pushdown.Text, OID: 25, Name: "text"}, "bigint": {Kind: pushdown.Int8, OID: 20, Name: "bigint"}, "integer": {Kind: pushdown.Int4, OID: 23, Name: "integer"},
	"numeric": {Kind: pushdown.Numeric, OID: 1700, Name: "numeric"}, "boolean": {Kind: pushdown.Bool, OID: 16, Name: "boolean"},
	"timestamptz": {Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamptz"}, "date": {Kind: pushdown.Date, OID: 1082, Name: "date"},
	"time": {Kind: pushdown.Time, OID: 1083, Name: "time"}, "jsonb": {Kind: pushdown.JSONB, OID: 3802, Name: "jsonb"},
}

// imported is an object as IMPORT FOREIGN SCHEMA makes a table of it.
func imported(ctx context.Context, t *testing.T, src connectors.Source, table string) connectors.TableSpec {
	t.Helper()
	list, err := src.Import(ctx, connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{table}})
	require.NoError(t, err)
	require.Len(t, list, 1)
	spec := connectors.TableSpec{Schema: "crm", Name: list[0].Name, Options: list[0].Options}
	for _, c := range list[0].Columns {
		typ, ok := sqlTypes[c.Type]
		require.True(t, ok, "type %s of %s", c.Type, c.Name)
		spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: c.Name, Type: typ, NotNull: c.NotNull, Options: c.Options})
	}
	return spec
}

// traps are rows with texts that a statement could take for its own.
func traps(t *testing.T, s *fake.Server, n int) {
	t.Helper()
	var refs []any
	for i := range 40 {
		id, err := s.Insert("Account", map[string]any{"Name": fmt.Sprintf("Account %d'", i)})
		require.NoError(t, err)
		refs = append(refs, id[0], nil)
	}
	texts := []any{"abc", "ABC", "Abc", "äbc", "ÄBC", "o'brien", `back\slash`, `\`, "50%", "a_c", "a%c", "line\nbreak", "tab\there", "null", "TRUE", "' OR Name != '", "🦆", "it\"s", nil, nil, "x", "{field}", "$1", "İi", "ß"}
	rows := make([]map[string]any, n)
	for i := range rows {
		at := func(list []any) any { return list[(i*7+i/len(list))%len(list)] }
		rows[i] = map[string]any{
			"Name": at(texts), "Text__c": texts[(i*11)%len(texts)], "Long__c": at(texts), "Check__c": i%3 == 0,
			"Number__c": at([]any{1.5, -2, 0, nil, 12345678.9, 0.0001, 99999999999.25}), "Whole__c": at([]any{1, 2, nil, -7, 90071992547}),
			"Money__c": at([]any{nil, 10.5, 10.25, 1e9}), "Percent__c": at([]any{50, nil, 12.5}), "Day__c": at([]any{"2024-02-29", nil, "1999-12-31", "2024-03-01"}),
			"Moment__c": at([]any{"2024-02-29T12:00:00Z", nil, "2024-02-29T12:00:01Z", "1969-12-31T23:59:59Z"}), "Time__c": at([]any{"13:14:15.250Z", nil, "00:00:00Z"}),
			"Pick__c": at([]any{"Red", "Green", nil}), "Multi__c": at([]any{"One;Two", nil, "Three"}), "Mail__c": at([]any{"a@example.com", nil}),
			"Url__c": at([]any{"https://example.com/?a=b&c=d", nil}), "Ref__c": at(refs), "Key__c": fmt.Sprintf("key %d", i),
			"Exact__c": fmt.Sprintf("%c%d", "kK"[i%2], i/2),
		}
	}
	_, err := s.Insert("Everything__c", rows...)
	require.NoError(t, err)
}

func TestManifest_IsRight(t *testing.T) {
	require.Equal(t, "salesforce", New().Name())
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"005Hw0000000001IAA": true, "00DHw0000000001MAA": true, "005Hw0000000001JAA": false, "005Hw0000000001": false, "": false,
		"005Hw0000000001IA'": false, strings.Repeat("a", 18): false, strings.Repeat("a", 15) + "AAA": true,
	} {
		require.Equal(t, want, validID(id), id)
	}
}
