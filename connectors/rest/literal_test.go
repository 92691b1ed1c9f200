package rest

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ganigeorgiev/fexpr"
)

// pocketQuoter is the quoter of examples/pocketbase.yaml.
func pocketQuoter() quoter {
	return newQuoter(&Literals{Quote: "'", Escapes: []Pair{{Name: "'", Value: `\'`}}, RefuseSuffix: []string{`\`}})
}

// Whatever text comes from SQL, PocketBase's own parser must see one condition
// with just that text, and the one after it.
func checkQuoted(t *testing.T, text string) {
	t.Helper()
	q := pocketQuoter()
	literal, ok := q.text(text)
	if !ok {
		return
	}
	for _, filter := range []string{
		"f = " + literal + " && g = 1",
		"(f = " + literal + " && g = 1)",
		"((x = 2 || f = " + literal + ") && g = 1)",
	} {
		groups, err := fexpr.Parse(filter)
		if err != nil {
			t.Fatalf("%q does not parse: %v", filter, err)
		}
		var texts []string
		conditions := 0
		var walk func(item any)
		walk = func(item any) {
			switch item := item.(type) {
			case []fexpr.ExprGroup:
				for _, g := range item {
					walk(g)
				}
			case fexpr.ExprGroup:
				walk(item.Item)
			case fexpr.Expr:
				conditions++
				if item.Right.Type == fexpr.TokenText {
					texts = append(texts, item.Right.Literal)
				}
			}
		}
		walk(groups)
		want := 2 + strings.Count(filter, "x = 2")*boolInt(strings.HasPrefix(filter, "((x = 2"))
		if strings.Contains(text, "x = 2") {
			want = conditions // only the texts tell
		}
		if len(texts) != 1 || texts[0] != text || conditions != want {
			t.Fatalf("%q was read as %d conditions with texts %q", filter, conditions, texts)
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestQuoter_PocketBaseReadsTheSameText(t *testing.T) {
	for _, text := range trapTexts {
		checkQuoted(t, text)
	}
	q := pocketQuoter()
	for _, text := range []string{`\`, `end\`, "a\x00b", "\xff"} {
		if literal, ok := q.text(text); ok {
			t.Errorf("%q was written as %s, though PocketBase has no literal for it", text, literal)
		}
	}
}

func FuzzQuoter(f *testing.F) {
	for _, text := range trapTexts {
		f.Add(text)
	}
	f.Fuzz(checkQuoted)
}

// Any quote with any escapes that a manifest may declare keeps the text inside.
func FuzzQuoter_Doubling(f *testing.F) {
	q := newQuoter(&Literals{Quote: `"`, Escapes: []Pair{{`"`, `""`}}})
	f.Add(`a"b""c`)
	f.Fuzz(func(t *testing.T, text string) {
		literal, ok := q.text(text)
		if !ok {
			return
		}
		inside := literal[1 : len(literal)-1]
		if strings.Contains(strings.ReplaceAll(inside, `""`, ""), `"`) || strings.ReplaceAll(inside, `""`, `"`) != text {
			t.Errorf("%q was written as %s", text, literal)
		}
	})
}

func TestNumber_OnlyWhatADoubleIs(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{int64(0), "0"}, {int64(-5), "-5"}, {int64(1) << 53, "9007199254740992"}, {int64(1)<<53 + 1, ""},
		{0.1, "0.1"}, {math.Copysign(0, -1), "0"}, {math.NaN(), ""}, {math.Inf(1), ""}, {1e21, "1000000000000000000000"},
		{"0.10", "0.1"}, {"-0.0", "0"}, {"12.50", "12.5"}, {"0.1000000000000000055", ""}, {"9007199254740993", ""},
		{"123456789012345678901234567890", ""}, {"NaN", ""}, {"Infinity", ""}, {"100", "100"}, {"x", ""}, {nil, ""},
	} {
		got, ok := number(c.in)
		if ok != (c.want != "") || (ok && got != c.want) {
			t.Errorf("%v: got %q, %v; want %q", c.in, got, ok, c.want)
		}
	}
}

func TestMoments_RoundSoThatNoRowIsLost(t *testing.T) {
	m := newMoments("2006-01-02 15:04:05.000Z")
	for _, c := range []struct {
		us    int64
		floor int64
		whole bool
	}{{1000, 1000, true}, {1001, 1000, false}, {-1, -1000, false}, {-1000, -1000, true}, {0, 0, true}} {
		if got, whole := m.floor(c.us); got != c.floor || whole != c.whole {
			t.Errorf("floor(%d) = %d, %v", c.us, got, whole)
		}
	}
	for _, c := range []struct {
		layout string
		unit   int64
	}{{"2006-01-02T15:04:05Z", 1_000_000}, {"2006-01-02T15:04:05.000000Z", 1}, {"2006-01-02T15:04:05.000000000Z", 1}, {"unix", 1_000_000}, {"unix_ms", 1000}} {
		if got := newMoments(c.layout).unit; got != c.unit {
			t.Errorf("%s: unit %d, want %d", c.layout, got, c.unit)
		}
	}
	if s, ok := m.format(-1000); !ok || s != "1999-12-31 23:59:59.999Z" {
		t.Errorf("got %q", s)
	}
	for _, us := range []int64{math.MinInt64, math.MaxInt64, -70_000_000_000_000_000, 300_000_000_000_000_000} {
		if s, ok := m.format(us); ok {
			t.Errorf("%d was written as %s", us, s)
		}
	}
}

func FuzzIsoMicros(f *testing.F) {
	f.Add("2024-02-29 23:59:59.999Z")
	f.Add("2000-03-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, s string) {
		us, ok := isoMicros([]byte(s))
		if !ok {
			return
		}
		want, err := time.Parse("2006-01-02T15:04:05.999999999Z", strings.Replace(s, " ", "T", 1))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if got := time.UnixMicro(us + epoch).UTC(); !got.Equal(want) {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	})
}

func TestIsoMicros_EveryDay(t *testing.T) {
	for d := time.Date(1899, 12, 31, 12, 30, 45, 678_000_000, time.UTC); d.Year() < 2102; d = d.AddDate(0, 0, 1) {
		s := d.Format("2006-01-02 15:04:05.000Z")
		if us, ok := isoMicros([]byte(s)); !ok || us != d.UnixMicro()-epoch {
			t.Fatalf("%s: got %d, %v; want %d", s, us, ok, d.UnixMicro()-epoch)
		}
	}
	// All of these are left to the builder, which says what is wrong.
	for _, s := range []string{"2023-02-29 00:00:00Z", "2024-02-30 00:00:00Z", "2024-04-31 00:00:00Z", "2024-13-01 00:00:00Z", "2024-00-01 00:00:00Z", "2024-01-01 24:00:00Z", "2024-01-01 00:00:00", "2024-01-01 00:00:00.Z", "2024-01-01 00:00:00.1234567Z"} {
		if us, ok := isoMicros([]byte(s)); ok {
			t.Errorf("%s was read as %s", s, strconv.FormatInt(us, 10))
		}
	}
}

func TestLikeRules_Render(t *testing.T) {
	sqlite := &LikeRules{Any: "%", One: "_", Escape: `\`, Case: "ascii", NeedAny: true}
	star := &LikeRules{Any: "*"}
	doubtful := &LikeRules{Any: "%", Special: []string{"_", `\`}}
	for _, c := range []struct {
		rules      *LikeRules
		pattern    string
		ignoreCase bool
		want       string
		exact      bool
	}{
		{sqlite, `a%`, false, `a%`, true},
		{sqlite, `a_c%`, false, `a_c%`, true},
		// Without a % PocketBase would look for the text a_c.
		{sqlite, `a_c`, false, `%a_c%`, false},
		{sqlite, `100\%%`, false, `100\%%`, true},
		{sqlite, `a\\b%`, false, `a\\b%`, true},
		{sqlite, `a\_%%_`, false, `a\_%_`, true},
		{sqlite, `%`, false, `%`, true},
		// ILIKE lowers: a Kelvin sign is a k, and what else there is the locale says.
		{sqlite, `Kilo%`, true, `%lo%`, false},
		{sqlite, `kelvin`, true, `%elv%n`, false},
		{sqlite, `straße%`, true, `stra%e%`, false},
		{sqlite, `a_c%`, true, `a%c%`, false},
		{sqlite, `abc`, true, `%abc%`, false},
		{sqlite, `é`, true, `%`, false},
		{star, `a%c`, false, `a*c`, true},
		{star, `a_c%%`, false, `a*c*`, false},
		{star, `a*%`, false, `a*`, false}, // it has no way to write a star
		{star, `a*\_b`, false, `a*_b`, false},
		{doubtful, `50\%\_a\\b_%c\%\%`, false, `50%a%b%c%`, false},
		{sqlite, `50\%`, false, `%50\%%`, false},
	} {
		p, ok := parseLike(c.pattern)
		if !ok {
			t.Fatalf("%s does not parse", c.pattern)
		}
		if c.ignoreCase {
			p = p.ignoringCase()
		}
		if got, exact := c.rules.render(p); got != c.want || exact != c.exact {
			t.Errorf("%s: got %q, exact %v; want %q, exact %v", c.pattern, got, exact, c.want, c.exact)
		}
	}
	if _, ok := parseLike(`abc\`); ok {
		t.Error("a pattern that ends with the escape character is PostgreSQL's to refuse")
	}
}
