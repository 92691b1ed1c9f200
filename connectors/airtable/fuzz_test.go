package airtable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// What a text becomes in a formula is, to a parser of formulas, a text: the formula
// is one, and finds the record that has it and not the one that has more.
func FuzzFormula(f *testing.F) {
	for _, s := range []string{"", "a", "'", `"`, `\`, `\'`, `'\`, `\\'`, "')", "', BLANK()) & ('", "{Name}", "}", "a\nb", "\r", "\t", "\x00", "\x01", "é'🦆\\", "%", "_", `\n`, "\u2028", "İ", strings.Repeat(`'\`, 2000)} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(3))
	}
	s := fake.New(fake.Options{})
	f.Cleanup(s.Close)
	crm := fake.AddCRM(s)
	w := &world{Server: s, CRM: crm}
	src, err := New().Open(f.Context(), env(), w.spec("base", "CRM"))
	require.NoError(f, err)
	f.Cleanup(func() { _ = src.Close() })
	w.src = src
	tab, err := src.Table(f.Context(), connectors.TableSpec{Name: "contacts", Options: map[string]string{"object": "Contacts"},
		Columns: []connectors.ColumnSpec{{Name: "id", Type: types["text"]}, {Name: "notes", Type: types["text"]}}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		if !utf8.ValidString(text) || len(text) > 50_000 {
			return
		}
		p := &pushdown.Param{Known: true, Type: types["text"], Value: pushdown.Value{V: text}}
		c := &pushdown.Column{Index: 1}
		coll := pushdown.Collation{Deterministic: true}
		var e pushdown.Expr
		switch kind % 4 {
		case 0:
			e = &pushdown.Comparison{Op: pushdown.EQ, Left: c, Right: p, Collation: coll}
		case 1:
			e = &pushdown.Match{Kind: pushdown.StartsWith, Operand: c, Pattern: p, Collation: coll}
		case 2:
			e = &pushdown.Membership{Operand: c, Array: &pushdown.Param{Known: true, Value: pushdown.Value{V: []pushdown.Value{{V: text}, {V: "other"}}}}, Collation: coll}
		case 3:
			e = &pushdown.Match{Kind: pushdown.Like, Operand: c, Collation: coll,
				Pattern: &pushdown.Param{Known: true, Value: pushdown.Value{V: "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(text) + "%"}}}
		}
		request := tab.Request(connectors.Query{Request: pushdown.Request{Columns: []int{0}, Conjuncts: []pushdown.Expr{e}}})
		_, body, found := strings.Cut(request, "listRecords ")
		if !found {
			require.Contains(t, request, "none:")
			require.Empty(t, text)
			return
		}
		var sent struct{ FilterByFormula string }
		require.NoError(t, json.Unmarshal([]byte(body), &sent), body)
		if sent.FilterByFormula == "" {
			return
		}
		s.Empty(crm.Contacts)
		ids, err := s.Seed(crm.Contacts, map[string]any{"Notes": text}, map[string]any{"Notes": "x"})
		require.NoError(t, err)
		got, err := s.Matches(crm.Contacts, ids[0], sent.FilterByFormula)
		require.NoError(t, err, sent.FilterByFormula)
		require.True(t, got || text == "", sent.FilterByFormula)
		if kind%4 == 0 && strings.HasPrefix(sent.FilterByFormula, "EXACT") && text != "x" {
			got, err = s.Matches(crm.Contacts, ids[1], sent.FilterByFormula)
			require.NoError(t, err)
			require.False(t, got, sent.FilterByFormula)
		}
	})
}
