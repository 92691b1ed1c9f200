package rest

import (
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/good/changes.yaml")
	require.NoError(t, err)
	s := newScript(t, answer{status: 200, body: `{"data": [{"id": "e2", "data": {"id": "a"}, "time": 1700000060}, {"id": "e1", "data": {}, "time": 1700000000}]}`})
	src := openSource(t, text, s.URL, nil)
	bind := func(columns ...string) *connectors.Changes {
		spec := connectors.TableSpec{Name: "things"}
		for _, c := range columns {
			spec.Columns = append(spec.Columns, connectors.ColumnSpec{Name: c, Type: naturalType(src.m.object("things").field(c))})
		}
		tab, err := src.Table(t.Context(), spec)
		require.NoError(t, err)
		return tab.(connectors.Chronicle).Changes()
	}
	changes := bind("id", "created")
	require.Len(t, changes.Logs, 2)
	require.Equal(t, 720.0, changes.Remembers.Hours())
	require.Equal(t, 1, changes.Made)
	since := &pushdown.Comparison{Op: pushdown.GE, Left: &pushdown.Column{Index: 1},
		Right: &pushdown.Param{Type: pushdown.Type{Kind: pushdown.TimestampTZ, OID: 1184, Name: "timestamp with time zone"}, Known: true, Value: pushdown.Value{V: int64(1700000000-946684800) * 1e6}}}
	q := connectors.Query{Request: pushdown.Request{Columns: []int{0, 1}, Conjuncts: []pushdown.Expr{since}}}
	require.Equal(t, pushdown.Exact, changes.Logs[0].Plan(q.Request).Conjuncts[0].Verdict)
	require.Equal(t, "GET /events?kinds[]=part.changed&time[gte]=1700000000", changes.Logs[1].Request(q))
	got, err := scanRows(t, changes.Logs[0].(*table), q)
	require.NoError(t, err)
	require.Equal(t, []pushdown.Value{{V: "a"}, {V: int64(1700000060-946684800) * 1e6}}, got[0])
	require.True(t, got[1][0].IsNull())
	require.Len(t, s.asked, 1)
	asked, err := url.QueryUnescape(s.asked[0])
	require.NoError(t, err)
	require.Equal(t, "GET /events?kinds[]=thing.made&kinds[]=thing.changed&time[gte]=1700000000", asked)

	require.Equal(t, -1, bind("id").Made, "the table has no such column")
	require.Nil(t, bind("created"), "nor the key")
	require.Nil(t, bind("id", "owner"), "an owner changes without a word")
}
