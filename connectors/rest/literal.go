// Values as the API's filter language writes them. Every value that comes from
// SQL passes here; what cannot be written safely is not pushed.

package rest

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// quoter writes text literals.
type quoter struct {
	quote        string
	escapes      map[rune]string
	refuse       []string
	refuseSuffix []string
	// segment: literals stand in a path, alone between two slashes, their own encoded.
	segment bool
	max     int // characters; 0: any number
}

func newQuoter(l *Literals) quoter {
	q := quoter{quote: l.Quote, refuse: l.Refuse, refuseSuffix: l.RefuseSuffix, max: l.MaxLength, escapes: map[rune]string{}}
	for _, e := range l.Escapes {
		r, _ := utf8.DecodeRuneInString(e.Name)
		q.escapes[r] = e.Value
	}
	return q
}

// text writes s as a literal; false: the language has none for it.
func (q *quoter) text(s string) (string, bool) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 || q.max > 0 && utf8.RuneCountInString(s) > q.max {
		return "", false
	}
	if q.segment {
		for part := range strings.SplitSeq(s, "/") {
			if part == "" || part == "." || part == ".." {
				return "", false // the path would be another
			}
		}
	}
	for _, r := range q.refuse {
		if strings.Contains(s, r) {
			return "", false
		}
	}
	for _, r := range q.refuseSuffix {
		if strings.HasSuffix(s, r) {
			return "", false
		}
	}
	var b strings.Builder
	b.Grow(len(s) + 2*len(q.quote))
	b.WriteString(q.quote)
	for _, r := range s {
		if e, ok := q.escapes[r]; ok {
			b.WriteString(e)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteString(q.quote)
	return b.String(), true
}

// number writes a number that an API of IEEE doubles compares as SQL does: one
// that is the shortest decimal of a double. Then JSON shows that double as
// just this decimal, and no other double as it. Others are refused.
func number(v any) (string, bool) {
	switch v := v.(type) {
	case int64:
		if v < -1<<53 || v > 1<<53 {
			return "", false
		}
		return strconv.FormatInt(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		if v == 0 {
			return "0", true
		}
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case string:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return "", false
		}
		short, _ := number(f)
		return short, short == trimDecimal(v)
	}
	return "", false
}

// trimDecimal takes off zeros that mean nothing: "-0.50" is "-0.5".
func trimDecimal(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(s, "0")
		s = strings.TrimSuffix(s, ".")
	}
	if s == "-0" || s == "" {
		return "0"
	}
	return s
}

// epoch is PostgreSQL's, in Unix microseconds.
const epoch = 946684800 * 1_000_000

// moments writes points in time in the API's layout.
type moments struct {
	layout string
	// unit is what one step of the layout's last digit is, in microseconds.
	unit int64
}

func newMoments(layout string) moments {
	switch layout {
	case "unix":
		return moments{layout, 1_000_000}
	case "unix_ms":
		return moments{layout, 1000}
	}
	m := moments{layout, 1_000_000}
	for i := strings.LastIndexAny(layout, ".,") + 1; i > 0 && i < len(layout) && (layout[i] == '0' || layout[i] == '9') && m.unit > 1; i++ {
		m.unit /= 10
	}
	return m
}

// floor cuts us, microseconds since 2000-01-01, to the layout's precision, and
// tells whether nothing was cut.
func (m moments) floor(us int64) (int64, bool) {
	rest := us % m.unit
	if rest < 0 {
		rest += m.unit
	}
	return us - rest, rest == 0
}

// format writes a point in time that floor leaves as it is; false: the layout
// cannot hold it.
func (m moments) format(us int64) (string, bool) {
	if us < math.MinInt64/2 || us > math.MaxInt64/2 {
		return "", false // infinity, or near it
	}
	t := time.UnixMicro(us + epoch).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return "", false
	}
	switch m.layout {
	case "":
		return "", false
	case "unix":
		return strconv.FormatInt(t.Unix(), 10), true
	case "unix_ms":
		return strconv.FormatInt(t.UnixMilli(), 10), true
	}
	return t.Format(m.layout), true
}

// day writes a date, in days since 2000-01-01.
func day(layout string, days int64) (string, bool) {
	if days < -1<<30 || days > 1<<30 {
		return "", false
	}
	t := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(days))
	if t.Year() < 1 || t.Year() > 9999 {
		return "", false
	}
	if layout == "unix_ms" {
		return strconv.FormatInt(t.UnixMilli(), 10), true
	}
	return t.Format(layout), true
}

func itoa(i int) string { return strconv.Itoa(i) }

// pattern is a LIKE pattern taken apart.
type pattern struct {
	parts []part
	// loose: it matches more than the pattern it was made from.
	loose bool
}

// part is a literal text, or any text (%), or one character (_).
type part struct {
	kind byte // 't', '%', '_'
	text string
}

// parseLike takes a LIKE pattern with backslash as the escape character apart.
// false: PostgreSQL would refuse it (it ends with the escape character).
func parseLike(s string) (p pattern, ok bool) {
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p.parts = append(p.parts, part{'t', lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '%', '_':
			flush()
			p.add(c)
		case '\\':
			if i++; i == len(s) {
				return p, false
			}
			lit.WriteByte(s[i])
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	return p, true
}

// add appends a wildcard; %% is %.
func (p *pattern) add(c byte) {
	if n := len(p.parts); c == '%' && n > 0 && p.parts[n-1].kind == '%' {
		return
	}
	p.parts = append(p.parts, part{kind: c})
}

// plain gives the text of a pattern without wildcards.
func (p *pattern) plain() (string, bool) {
	switch {
	case len(p.parts) == 0:
		return "", true
	case len(p.parts) == 1 && p.parts[0].kind == 't':
		return p.parts[0].text, true
	}
	return "", false
}

// ignoringCase makes a pattern that, matched with a-z equal to A-Z and all
// else different, finds at least what ILIKE with the original finds in any
// locale. ILIKE lowers both sides: there the Kelvin sign is a k, a dotted I is
// an i or two characters, and what other letters are is the locale's to say.
// So these become %, and _ as well, since lowering can change the length.
func (p *pattern) ignoringCase() pattern {
	out := pattern{loose: p.loose}
	for _, pt := range p.parts {
		if pt.kind != 't' {
			out.loose = out.loose || pt.kind == '_'
			out.add('%')
			continue
		}
		start := 0
		cut := func(i int) {
			if i > start {
				out.parts = append(out.parts, part{'t', pt.text[start:i]})
			}
		}
		for i, r := range pt.text {
			if r >= utf8.RuneSelf || strings.ContainsRune("kKiI", r) {
				cut(i)
				out.add('%')
				out.loose = true
				start = i + utf8.RuneLen(r)
			}
		}
		cut(len(pt.text))
	}
	return out
}

// longest is the longest literal part.
func (p *pattern) longest() string {
	best := ""
	for _, pt := range p.parts {
		if pt.kind == 't' && len(pt.text) > len(best) {
			best = pt.text
		}
	}
	return best
}

// render writes the pattern in the API's language, or one that matches more.
func (l *LikeRules) render(p pattern) (text string, exact bool) {
	exact = !p.loose
	if l.One == "" && slices.ContainsFunc(p.parts, func(pt part) bool { return pt.kind == '_' }) {
		exact = false
	}
	if l.NeedAny && !slices.ContainsFunc(p.parts, func(pt part) bool { return pt.kind == '%' || pt.kind == '_' && l.One == "" }) {
		// Read as plain text to be contained, _ would lose its meaning.
		p.parts = append(append([]part{{kind: '%'}}, p.parts...), part{kind: '%'})
		exact = false
	}
	var b strings.Builder
	last := ""
	wild := func(s string) {
		if s != l.Any || last != l.Any {
			b.WriteString(s)
		}
		last = s
	}
	for _, pt := range p.parts {
		switch {
		case pt.kind == '%' || pt.kind == '_' && l.One == "":
			wild(l.Any)
		case pt.kind == '_':
			wild(l.One)
		default:
			last = ""
			for _, r := range pt.text {
				s := string(r)
				special := s == l.Any || s == l.One || s == l.Escape || slices.Contains(l.Special, s)
				if special && l.Escape == "" {
					wild(l.Any)
					exact = false
					continue
				}
				if special {
					b.WriteString(l.Escape)
				}
				b.WriteString(s)
				last = ""
			}
		}
	}
	return b.String(), exact
}
