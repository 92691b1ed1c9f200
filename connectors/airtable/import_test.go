package airtable

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// A base of many tables with 300 fields each: the import of two of them takes one call.
// How much of the processor it takes is measured in tests/e2e, without the stand-in's.
func TestImport_OfALargeBase(t *testing.T) {
	var tables []map[string]any
	for i := range 40 {
		var fields []map[string]any
		for j := range 300 {
			fields = append(fields, map[string]any{"id": fmt.Sprintf("fld%06d%08d", i, j), "name": fmt.Sprintf("Field %d", j), "description": "what it is",
				"type": []string{"singleLineText", "number", "singleSelect", "date"}[j%4], "options": map[string]any{"choices": []any{map[string]any{"id": "selAAAAAAAAAAAAAA", "name": "one"}}}})
		}
		tables = append(tables, map[string]any{"id": fmt.Sprintf("tbl%014d", i), "name": fmt.Sprintf("Table %d", i), "primaryFieldId": fields[0]["id"], "fields": fields, "views": []any{}})
	}
	text, err := json.Marshal(map[string]any{"tables": tables})
	require.NoError(t, err)
	var calls atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}))
	defer api.Close()
	src, err := New().Open(t.Context(), env(), connectors.ServerSpec{Name: "huge", Options: map[string]string{"base_url": api.URL, "base": "appHuge0000000001"}, Credential: map[string]string{"token": "x"}})
	require.NoError(t, err)
	defer func() { _ = src.Close() }()
	list, err := src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default", LimitTo: []string{"table_17", "table_39"}})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Len(t, list[0].Columns, 302)
	require.Equal(t, int64(1), calls.Load())
}

// Names that PostgreSQL takes without quotes, each once.
func TestImport_Names(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 40)
	var n namer
	for _, c := range [][2]string{{"Name", "name"}, {"name", "name_2"}, {"NAME!", "name_3"}, {"Last  seen (UTC)", "last_seen_utc"}, {"2nd", "_2nd"}, {"€", "_"}, {"", "__2"}, {"Größe", "größe"}, {"a__b", "a__b"}, {long, strings.Repeat("ä", 31)}, {long, strings.Repeat("ä", 30) + "_2"}} {
		require.Equal(t, c[1], n.name(c[0]), c[0])
	}
}

// Types that nobody knows yet, formulas that are wrong, and fields called as what
// every record has.
func TestImport_OddFields(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	t.Cleanup(s.Close)
	table := &fake.Table{Name: "Odd", Fields: []*fake.Field{
		{Name: "id", Type: "singleLineText"}, {Name: "Created time", Type: "createdTime"}, {Name: "New", Type: "hologram"}, {Name: "Sum", Type: "rollup", Result: "currency"}, {Name: "When", Type: "formula", Result: "date", Formula: "TODAY()"},
		{Name: "Broken", Type: "formula", Formula: "1 +"}, {Name: "Sync", Type: "externalSyncSource", Choices: []string{"a"}}, {Name: "Press", Type: "button"},
		{Name: "Changed name", Type: "lastModifiedTime", Watches: []string{"fldX"}}, {Name: "Changed", Type: "lastModifiedTime"},
	}}
	s.AddBase(fake.Base{ID: "appOdd00000000001", Name: "Odd", Tables: []*fake.Table{table}})
	_, err := s.Seed(table, map[string]any{"id": "mine"})
	require.NoError(t, err)
	w := &world{Server: s}
	w.src = w.open(t, "base", "Odd")
	var got []string
	for _, c := range w.imported(t, "default")["odd"].Columns {
		got = append(got, c.Name+" "+c.Type)
	}
	require.Equal(t, []string{"id text", "created_time timestamptz", "id_2 text", "created_time_2 timestamptz", "new jsonb", "sum numeric", "when date", "broken jsonb", "sync text", "press jsonb",
		"changed_name timestamptz", "changed timestamptz"}, got)
	tab, spec := w.table(t, "default", "odd")
	require.Equal(t, []int{column(t, spec, "changed")}, tab.Describe().Modified, "not the one that looks at some fields")
	rows := scan(t, tab, spec, nil, "id_2", "broken", "id")
	require.Equal(t, "mine", rows[0][0])
	require.Equal(t, `{"error":"#ERROR!"}`, rows[0][1])
	require.NotContains(t, tab.Describe().ReadOnlyColumns, column(t, spec, "id_2"))
	require.Contains(t, tab.Describe().ReadOnlyColumns, column(t, spec, "new"))
}
