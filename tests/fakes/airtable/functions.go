package airtable

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// function of the formula language: how many arguments it takes (most -1: any
// number) and what it does with them.
type function struct {
	least, most int
	do          func(ev *evaluator, args []expr) value
}

// functions by name. Filled by init, for parse looks into it and some of them
// evaluate formulas.
var functions map[string]function

// strict evaluates all arguments; an error among them is the result.
func strict(least, most int, do func(ev *evaluator, v []value) value) function {
	return function{least, most, func(ev *evaluator, args []expr) value {
		values := make([]value, len(args))
		for i, a := range args {
			if values[i] = ev.eval(a); values[i].kind == isError {
				return failed
			}
		}
		return do(ev, values)
	}}
}

// texts is strict for functions of texts only.
func texts(n int, do func(s []string) value) function {
	return strict(n, n, func(_ *evaluator, v []value) value {
		s := make([]string, len(v))
		for i, a := range v {
			s[i] = a.text()
		}
		return do(s)
	})
}

// numbers is strict for functions of numbers only.
func numbers(least, most int, do func(n []float64) float64) function {
	return strict(least, most, func(_ *evaluator, v []value) value {
		n := make([]float64, 0, len(v))
		for _, a := range v {
			x, ok := a.number()
			if !ok {
				return failed
			}
			n = append(n, x)
		}
		return number(do(n))
	})
}

// dates is strict for comparisons of two dates up to a unit; without a date there
// is no answer but an error.
func dates(do func(a, b time.Time) bool) function {
	return strict(2, 3, func(_ *evaluator, v []value) value {
		a, okA := v[0].date()
		b, okB := v[1].date()
		if !okA || !okB {
			return failed
		}
		if len(v) == 3 {
			unit := strings.TrimSuffix(v[2].text(), "s")
			a, b = floor(a, unit), floor(b, unit)
		}
		return truth(do(a, b))
	})
}

func floor(t time.Time, unit string) time.Time {
	t = t.UTC()
	switch unit {
	case "year":
		return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	case "month":
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	case "day":
		return t.Truncate(24 * time.Hour)
	case "hour":
		return t.Truncate(time.Hour)
	case "minute":
		return t.Truncate(time.Minute)
	case "second":
		return t.Truncate(time.Second)
	}
	return t
}

func init() {
	functions = map[string]function{
		// AND and OR look at all of their arguments: an error anywhere is the result.
		"AND": strict(1, -1, func(_ *evaluator, v []value) value {
			for _, a := range v {
				if !a.true() {
					return truth(false)
				}
			}
			return truth(true)
		}),
		"OR": strict(1, -1, func(_ *evaluator, v []value) value {
			for _, a := range v {
				if a.true() {
					return truth(true)
				}
			}
			return truth(false)
		}),
		"XOR": strict(1, -1, func(_ *evaluator, v []value) value {
			odd := false
			for _, a := range v {
				odd = odd != a.true()
			}
			return truth(odd)
		}),
		"NOT":   strict(1, 1, func(_ *evaluator, v []value) value { return truth(!v[0].true()) }),
		"TRUE":  strict(0, 0, func(*evaluator, []value) value { return truth(true) }),
		"FALSE": strict(0, 0, func(*evaluator, []value) value { return truth(false) }),
		"BLANK": strict(0, 0, func(*evaluator, []value) value { return blank }),
		"ERROR": strict(0, 1, func(*evaluator, []value) value { return failed }),
		"ISERROR": {1, 1, func(ev *evaluator, args []expr) value {
			return truth(ev.eval(args[0]).kind == isError)
		}},
		// IF and SWITCH look at what they choose only.
		"IF": {2, 3, func(ev *evaluator, args []expr) value {
			condition := ev.eval(args[0])
			switch {
			case condition.kind == isError:
				return failed
			case condition.true():
				return ev.eval(args[1])
			case len(args) == 3:
				return ev.eval(args[2])
			}
			return blank
		}},
		"SWITCH": {2, -1, func(ev *evaluator, args []expr) value {
			v := ev.eval(args[0])
			for i := 1; i+1 < len(args); i += 2 {
				if compare("=", v, ev.eval(args[i]), ev.s.options.FoldText).true() {
					return ev.eval(args[i+1])
				}
			}
			if len(args)%2 == 0 {
				return ev.eval(args[len(args)-1])
			}
			return blank
		}},

		"EXACT": texts(2, func(s []string) value { return truth(s[0] == s[1]) }),
		"LOWER": texts(1, func(s []string) value { return text(strings.ToLower(s[0])) }),
		"UPPER": texts(1, func(s []string) value { return text(strings.ToUpper(s[0])) }),
		"TRIM":  texts(1, func(s []string) value { return text(strings.TrimSpace(s[0])) }),
		"LEN":   texts(1, func(s []string) value { return number(float64(utf8.RuneCountInString(s[0]))) }),
		"T": strict(1, 1, func(_ *evaluator, v []value) value {
			if v[0].kind == isText {
				return v[0]
			}
			return blank
		}),
		"CONCATENATE": strict(1, -1, func(_ *evaluator, v []value) value {
			var b strings.Builder
			for _, a := range v {
				b.WriteString(a.text())
			}
			return text(b.String())
		}),
		"ARRAYJOIN": strict(1, 2, func(_ *evaluator, v []value) value {
			separator := ", "
			if len(v) == 2 {
				separator = v[1].text()
			}
			if v[0].kind != isList {
				return text(v[0].text())
			}
			parts := make([]string, len(v[0].list))
			for i, e := range v[0].list {
				parts[i] = e.text()
			}
			return text(strings.Join(parts, separator))
		}),
		"FIND":   strict(2, 3, find(false)),
		"SEARCH": strict(2, 3, find(true)),
		"LEFT":   strict(2, 2, func(_ *evaluator, v []value) value { return cut(v[0], 0, v[1]) }),
		"RIGHT": strict(2, 2, func(_ *evaluator, v []value) value {
			n, _ := v[1].number()
			return cut(v[0], max(0, utf8.RuneCountInString(v[0].text())-int(n)), v[1])
		}),
		"MID": strict(3, 3, func(_ *evaluator, v []value) value {
			from, _ := v[1].number()
			return cut(v[0], max(0, int(from)-1), v[2])
		}),
		"SUBSTITUTE": texts(3, func(s []string) value { return text(strings.ReplaceAll(s[0], s[1], s[2])) }),
		"VALUE": strict(1, 1, func(_ *evaluator, v []value) value {
			n, ok := v[0].number()
			if !ok {
				return failed
			}
			return number(n)
		}),
		"REGEX_MATCH": texts(2, func(s []string) value {
			re := compileRegex(s[1])
			if re == nil {
				return failed
			}
			return truth(re.MatchString(s[0]))
		}),

		"ABS": numbers(1, 1, func(n []float64) float64 { return math.Abs(n[0]) }),
		"INT": numbers(1, 1, func(n []float64) float64 { return math.Floor(n[0]) }),
		"MOD": numbers(2, 2, func(n []float64) float64 { return n[0] - n[1]*math.Floor(n[0]/n[1]) }),
		"ROUND": numbers(1, 2, func(n []float64) float64 {
			if len(n) == 1 {
				return math.Round(n[0])
			}
			p := math.Pow(10, math.Trunc(n[1]))
			return math.Round(n[0]*p) / p
		}),
		"SUM": numbers(1, -1, func(n []float64) (sum float64) {
			for _, x := range n {
				sum += x
			}
			return sum
		}),
		"MAX": numbers(1, -1, func(n []float64) float64 {
			for _, x := range n {
				n[0] = math.Max(n[0], x)
			}
			return n[0]
		}),
		"MIN": numbers(1, -1, func(n []float64) float64 {
			for _, x := range n {
				n[0] = math.Min(n[0], x)
			}
			return n[0]
		}),

		"RECORD_ID":    strict(0, 0, func(ev *evaluator, _ []value) value { return text(ev.r.id) }),
		"CREATED_TIME": strict(0, 0, func(ev *evaluator, _ []value) value { return date(ev.r.created) }),
		"LAST_MODIFIED_TIME": {0, -1, func(ev *evaluator, args []expr) value {
			f := &Field{}
			for _, a := range args {
				ref, ok := a.(*fieldRef)
				if !ok {
					return failed
				}
				f.Watches = append(f.Watches, ref.f.ID)
			}
			return moment(ev.r.changed(f))
		}},
		"NOW":       strict(0, 0, func(ev *evaluator, _ []value) value { return date(ev.s.clock().UTC()) }),
		"TODAY":     strict(0, 0, func(ev *evaluator, _ []value) value { return date(floor(ev.s.clock(), "day")) }),
		"IS_BEFORE": dates(func(a, b time.Time) bool { return a.Before(b) }),
		"IS_AFTER":  dates(func(a, b time.Time) bool { return a.After(b) }),
		"IS_SAME":   dates(func(a, b time.Time) bool { return a.Equal(b) }),
		"DATETIME_PARSE": strict(1, 3, func(_ *evaluator, v []value) value {
			if v[0].kind == isDate {
				return v[0]
			}
			if v[0].text() == "" {
				return blank
			}
			var t time.Time
			var ok bool
			if len(v) > 1 {
				layout, _ := goLayout(v[1].text())
				parsed, err := time.Parse(layout, v[0].text())
				t, ok = parsed.UTC(), err == nil
			} else {
				t, ok = parseDate(v[0].text())
			}
			if !ok {
				return failed
			}
			return date(t)
		}),
		"DATETIME_FORMAT": strict(1, 2, func(_ *evaluator, v []value) value {
			if v[0].kind == isBlank {
				return blank
			}
			t, ok := v[0].date()
			if !ok {
				return failed
			}
			if len(v) == 1 {
				return text(t.UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			layout, ok := goLayout(v[1].text())
			if !ok {
				return failed
			}
			return text(t.UTC().Format(layout))
		}),
		"DATEADD": strict(3, 3, func(_ *evaluator, v []value) value {
			t, okT := v[0].date()
			n, okN := v[1].number()
			unit, okU := units[strings.TrimSuffix(v[2].text(), "s")]
			if !okT || !okN || !okU {
				return failed
			}
			return date(t.Add(time.Duration(n * float64(unit))))
		}),
		"DATETIME_DIFF": strict(2, 3, func(_ *evaluator, v []value) value {
			a, okA := v[0].date()
			b, okB := v[1].date()
			unit := time.Second
			if len(v) == 3 {
				unit = units[strings.TrimSuffix(v[2].text(), "s")]
			}
			if !okA || !okB || unit == 0 {
				return failed
			}
			return number(math.Trunc(float64(a.Sub(b)) / float64(unit)))
		}),
	}
}

var units = map[string]time.Duration{"millisecond": time.Millisecond, "second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}

// goLayout turns moment's format into Go's, as far as it is common.
func goLayout(moment string) (string, bool) {
	tokens := []struct{ moment, layout string }{
		{"YYYY", "2006"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"}, {"DD", "02"}, {"D", "2"},
		{"HH", "15"}, {"hh", "03"}, {"h", "3"}, {"mm", "04"}, {"ss", "05"}, {"SSS", "000"}, {"ZZ", "-0700"}, {"Z", "-07:00"}, {"A", "PM"}, {"a", "pm"}, {"T", "T"},
	}
	var b strings.Builder
next:
	for moment != "" {
		if literal, rest, found := strings.Cut(strings.TrimPrefix(moment, "["), "]"); found && moment[0] == '[' {
			b.WriteString(literal)
			moment = rest
			continue
		}
		for _, t := range tokens {
			if rest, found := strings.CutPrefix(moment, t.moment); found {
				b.WriteString(t.layout)
				moment = rest
				continue next
			}
		}
		if isNameByte(moment[0]) {
			return "", false
		}
		b.WriteByte(moment[0])
		moment = moment[1:]
	}
	return b.String(), true
}

// find is FIND, which minds case and answers 0 if there is nothing, or SEARCH,
// which does not and answers blank. Positions count characters from 1.
func find(search bool) func(*evaluator, []value) value {
	return func(_ *evaluator, v []value) value {
		needle, hay := v[0].text(), v[1].text()
		if search {
			needle, hay = strings.ToLower(needle), strings.ToLower(hay)
		}
		skip := 0
		if len(v) == 3 {
			n, _ := v[2].number()
			for range max(0, int(n)-1) {
				_, size := utf8.DecodeRuneInString(hay[skip:])
				skip += size
			}
		}
		at := strings.Index(hay[skip:], needle)
		switch {
		case at >= 0:
			return number(float64(utf8.RuneCountInString(hay[:skip+at]) + 1))
		case search:
			return blank
		}
		return number(0)
	}
}

func cut(v value, from int, count value) value {
	n, ok := count.number()
	if !ok || n < 0 {
		return failed
	}
	runes := []rune(v.text())
	from = min(from, len(runes))
	return text(string(runes[from:min(len(runes), from+int(n))]))
}
