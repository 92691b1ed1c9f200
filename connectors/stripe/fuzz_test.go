package stripe

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	fake "github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// nasty texts that could end a literal, a parameter or a path.
var nasty = []string{`"`, `\`, `\"`, `a" OR created>0 OR name:"b`, "a\nb", `'`, `-x`, "null", "{value}", "&email=x", "]&x[", "a=b", "..", "a/../b", "?x#y", "%00", "+", "é", "ﬁ", strings.Repeat(`"\`, 200)}

// FuzzSearch: whatever a text is, a search for it finds the customer that has it, and
// none that has not. The parser of the server judges the query.
func FuzzSearch(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	s, err := fake.New(fake.Options{})
	require.NoError(f, err)
	defer s.Close()
	src := opened(f, s, "search", "true")
	other := s.Put("customers", map[string]any{"name": "another one", "metadata": map[string]any{"note": "another one"}})
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || !utf8.ValidString(text) || strings.Contains(text, "\x00") || utf8.RuneCountInString(text) > 256 || strings.EqualFold(text, "another one") {
			t.Skip("Stripe has no such name")
		}
		id := s.Put("customers", map[string]any{"name": text, "metadata": map[string]any{"note": text}})
		defer s.Erase("customers", id)
		w := &world{t, s, src}
		table, types := w.table("customers", "id text", "name text", "note text metadata.note")
		for column := 1; column <= 2; column++ {
			found := map[any]bool{}
			for _, row := range w.scan(table, types, is(column, types[column], text)) {
				found[row[0].V] = true
			}
			require.True(t, found[id], "%q is not found by column %d", text, column)
			require.False(t, found[other], "%q found another one", text)
		}
		require.Empty(t, w.scan(table, types, is(0, types[0], "cus_none")))
	})
}

// FuzzForm: whatever a text is, it arrives as it is where it was put, and nowhere else.
func FuzzForm(f *testing.F) {
	for _, s := range nasty {
		f.Add(s, "key")
		f.Add("value", strings.Trim(s, "[]"))
	}
	s, err := fake.New(fake.Options{})
	require.NoError(f, err)
	defer s.Close()
	src := opened(f, s)
	f.Fuzz(func(t *testing.T, text, key string) {
		if text == "" || key == "" || !utf8.ValidString(text) || !utf8.ValidString(key) || strings.Contains(text+key, "\x00") || utf8.RuneCountInString(text) > 500 || utf8.RuneCountInString(key) > 40 || strings.ContainsAny(key, "[]") {
			t.Skip("Stripe takes no such metadata")
		}
		w := &world{t, s, src}
		table, _ := w.table("customers", "id text", "description text", "city text address.city", "metadata jsonb")
		metadata := "{" + quoted(key) + ": " + quoted(text) + "}"
		got := w.write(table, connectors.Insert, "", nil, map[int]any{1: text, 2: text, 3: metadata})
		require.Equal(t, connectors.Applied, got.Outcome, "%v", got.Err)
		made := w.newest("customers")
		defer s.Erase("customers", made["id"].(string))
		require.Equal(t, text, made["description"])
		require.Equal(t, map[string]any{"city": text, "country": nil, "line1": nil, "line2": nil, "postal_code": nil, "state": nil}, made["address"])
		require.Equal(t, map[string]any{key: text}, made["metadata"])
		for _, untouched := range []string{"name", "email", "phone", "shipping"} {
			require.Nil(t, made[untouched])
		}
	})
}

// FuzzParams: whatever a text is, a list that is filtered by it has one parameter more,
// which is the text; one that is asked for by its id stands below its list's path; and
// the record that has it is found, and none that has not.
func FuzzParams(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	for _, s := range []string{"/", ".", "search", "a;b", "a&b=c&limit=1", "starting_after", "%2e%2e/", "{filter}", "{value}", "*", " ", "\r\n", "http://x/", strings.Repeat("é", 300)} {
		f.Add(s)
	}
	s, err := fake.New(fake.Options{})
	require.NoError(f, err)
	defer s.Close()
	src := opened(f, s)
	s.Put("customers", map[string]any{"email": "another one"})
	s.Put("charges", map[string]any{"transfer_group": "another one"})
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || !utf8.ValidString(text) || strings.Contains(text, "\x00") || utf8.RuneCountInString(text) > 500 || text == "another one" {
			t.Skip("Stripe has no such text")
		}
		w := &world{t, s, src}
		for _, test := range []struct{ object, column, param string }{
			{"customers", "email", "email"}, {"charges", "transfer_group", "transfer_group"}, {"prices", "lookup_key", "lookup_keys[]"},
			{"customers", "id", ""}, {"products", "id", "ids[]"},
		} {
			id := s.Put(test.object, map[string]any{test.column: text})
			defer s.Erase(test.object, id)
			table, types := w.table(test.object, test.column+" text")
			s.Forget()
			found := 0
			for _, row := range w.scan(table, types, is(0, types[0], text)) {
				if row[0].V == text {
					found++
				} else {
					require.Empty(t, sentBy(t, s, test.object, test.param, text), "%q found %q", text, row[0].V)
				}
			}
			require.Equal(t, 1, found, "%q by %s of %s", text, test.column, test.object)
			sentBy(t, s, test.object, test.param, text)
		}
	})
}

// sentBy checks what was asked for: lists of the object with nothing but that
// parameter, or single objects by their ids. It gives those that have the text.
func sentBy(t *testing.T, s *fake.Server, object, param, text string) (with []fake.Request) {
	t.Helper()
	for _, r := range s.Requests() {
		require.Equal(t, "GET", r.Method)
		query, err := url.ParseQuery(r.Query)
		require.NoError(t, err, r.Query)
		if own := query[param]; param != "" && own != nil {
			require.Equal(t, []string{text}, own)
			with = append(with, r)
		}
		delete(query, param)
		for _, usual := range []string{"limit", "starting_after", "active", "status"} {
			require.LessOrEqual(t, len(query[usual]), 1)
			delete(query, usual)
		}
		require.Empty(t, query, r.Query)
		if r.Path != "/v1/"+object {
			require.Empty(t, param, "%s is asked for", r.Path)
			require.Equal(t, "/v1/"+object+"/"+text, r.Path)
			with = append(with, r)
		}
	}
	return with
}

func opened(f *testing.F, s *fake.Server, options ...string) connectors.Source {
	src, err := quick().Open(f.Context(), testEnv(), testServer(s, options...))
	require.NoError(f, err)
	f.Cleanup(func() { _ = src.Close() })
	return src
}

// quoted is a JSON string, as PostgreSQL writes it.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			const digits = "0123456789abcdef"
			b.WriteString(`\u00`)
			b.WriteByte(digits[r>>4])
			b.WriteByte(digits[r&15])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
