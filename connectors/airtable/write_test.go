package airtable

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// write gives the results of a batch; values are by row.
func write(t *testing.T, tab connectors.Table, spec connectors.TableSpec, op connectors.Operation, keys []string, names []string, values ...[]any) []connectors.Result {
	t.Helper()
	b := &connectors.Batch{Op: op, Stats: &connectors.Stats{}, IdempotencyKey: "k", Rows: make([]connectors.Row, max(len(keys), len(values)))}
	if keys != nil {
		b.KeyColumns = []int{0}
	}
	for _, name := range names {
		b.Columns = append(b.Columns, column(t, spec, name))
	}
	for i := range b.Rows {
		if keys != nil {
			b.Rows[i].Key = []pushdown.Value{{V: keys[i]}}
		}
		if i < len(values) {
			for _, v := range values[i] {
				b.Rows[i].Values = append(b.Rows[i].Values, pushdown.Value{V: v})
			}
		}
	}
	if op == connectors.Upsert {
		b.MatchColumns = b.Columns[:1]
	}
	require.NoError(t, tab.(connectors.Modifier).Modify(t.Context(), b))
	return b.Results
}

func outcomes(results []connectors.Result) (out []connectors.Outcome) {
	for _, r := range results {
		out = append(out, r.Outcome)
	}
	return out
}

func TestWrite_Bodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	company, ids := w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	last := func() string {
		list := w.Requests()
		return list[len(list)-1].Method + " " + string(list[len(list)-1].Body)
	}
	list := func(v ...string) []pushdown.Value {
		out := []pushdown.Value{}
		for _, s := range v {
			out = append(out, pushdown.Value{V: s})
		}
		return out
	}
	write(t, tab, spec, connectors.Insert, nil, []string{"name", "amount", "vip", "born", "last_seen", "tags", "company", "files", "talk_time"},
		[]any{"N", "1.50", false, int64(0), int64(1000), list("red"), list(company), `[{"url": "https://example.com/b"}]`, "90"})
	require.Equal(t, `POST {"returnFieldsByFieldId":true,"records":[{"fields":{"fldName0000000001":"N","fldAmount00000001":1.50,"fldVip00000000001":false,"fldBorn0000000001":"2000-01-01",`+
		`"fldSeen0000000001":"2000-01-01T00:00:00.001Z","fldTags0000000001":["red"],"fldCompany0000001":["`+company+`"],"fldFiles000000001":[{"url": "https://example.com/b"}],"fldTalk0000000001":90}}]}`, last())
	write(t, tab, spec, connectors.Insert, nil, nil, nil, nil)
	require.Equal(t, `POST {"returnFieldsByFieldId":true,"records":[{"fields":{}},{"fields":{}}]}`, last())
	write(t, tab, spec, connectors.Update, ids[:1], []string{"name", "amount", "tags", "status"}, []any{nil, nil, nil, nil})
	require.Equal(t, `PATCH {"returnFieldsByFieldId":true,"records":[{"fields":{"fldName0000000001":null,"fldAmount00000001":null,"fldTags0000000001":null,"fldStatus00000001":null},"id":"`+ids[0]+`"}]}`, last())
	write(t, tab, spec, connectors.Upsert, nil, []string{"email", "name"}, []any{"ada@example.com", "A"})
	require.Equal(t, `PATCH {"returnFieldsByFieldId":true,"performUpsert":{"fieldsToMergeOn":["fldEmail000000001"]},"records":[{"fields":{"fldEmail000000001":"ada@example.com","fldName0000000001":"A"}}]}`, last())
	write(t, tab, spec, connectors.Delete, ids[:2], nil)
	require.Equal(t, "DELETE ", last())
	require.Equal(t, "records%5B%5D="+ids[0]+"&records%5B%5D="+ids[1], w.Requests()[len(w.Requests())-1].Query)

	cast, spec := w.table(t, "default", "contacts", "typecast", "true")
	require.Equal(t, []connectors.Outcome{connectors.Applied}, outcomes(write(t, cast, spec, connectors.Insert, nil, []string{"status"}, []any{"Friend"})))
	require.Contains(t, last(), `"typecast":true`)
	w.src = w.open(t, "base", "CRM", "typecast", "true")
	plain, spec := w.table(t, "default", "contacts", "typecast", "false")
	require.Equal(t, []connectors.Outcome{connectors.Refused}, outcomes(write(t, plain, spec, connectors.Insert, nil, []string{"status"}, []any{"Stranger"})))
}

func TestWrite_Batches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	w.seed(t)
	tab, spec := w.table(t, "default", "contacts")
	require.Equal(t, 10, tab.Describe().BatchRows.Insert)
	var rows [][]any
	for i := range 25 {
		rows = append(rows, []any{fmt.Sprintf("u%d@example.com", i), fmt.Sprint(i)})
	}
	w.Forget()
	for _, r := range write(t, tab, spec, connectors.Insert, nil, []string{"email", "name"}, rows...) {
		require.Equal(t, connectors.Applied, r.Outcome)
	}
	require.Equal(t, 3, w.Calls(fake.Create))

	// Of a batch that is refused nothing is written, and it is the row that has
	// the value.
	rows = [][]any{{"a@example.com", "Lead"}, {"b@example.com", "Friend"}, {"c@example.com", "Lead"}}
	results := write(t, tab, spec, connectors.Insert, nil, []string{"email", "status"}, rows...)
	require.Equal(t, connectors.Refused, results[1].Outcome)
	require.False(t, results[1].Bystander)
	require.Equal(t, "status", results[1].Err.Column)
	require.Equal(t, connectors.CheckViolation, results[1].Err.Class)
	require.True(t, results[0].Bystander && results[2].Bystander)
	require.Len(t, w.Records(w.Contacts), 28)

	// Which of an upsert's rows are new is known.
	results = write(t, tab, spec, connectors.Upsert, nil, []string{"email", "name"}, []any{"u1@example.com", "old"}, []any{"new@example.com", "new"}, []any{"u2@example.com", "old"})
	require.Equal(t, []bool{false, true, false}, []bool{results[0].Created, results[1].Created, results[2].Created})
	// Two records with one value: Airtable does not choose.
	_, err := w.Seed(w.Contacts, map[string]any{"Email": "u1@example.com"})
	require.NoError(t, err)
	results = write(t, tab, spec, connectors.Upsert, nil, []string{"email", "name"}, []any{"u1@example.com", "which"})
	require.Equal(t, connectors.Refused, results[0].Outcome)

	// Records that are gone are left out, and the others are written.
	var keys []string
	for _, r := range w.Records(w.Contacts) {
		keys = append(keys, r["id"].(string))
	}
	keys = keys[:12]
	w.Remove(w.Contacts, keys[2])
	w.Remove(w.Contacts, keys[11])
	values := make([][]any, len(keys))
	for i := range values {
		values[i] = []any{"2"}
	}
	results = write(t, tab, spec, connectors.Update, keys, []string{"score"}, values...)
	for i, r := range results {
		want := connectors.Applied
		if i == 2 || i == 11 {
			want = connectors.NotFound
		}
		require.Equal(t, want, r.Outcome, i)
	}
	results = write(t, tab, spec, connectors.Delete, keys, nil)
	for i, r := range results {
		require.Equal(t, i == 2 || i == 11, r.Outcome == connectors.NotFound, i)
	}
}
