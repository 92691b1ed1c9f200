package pushdown

// Values as PostgreSQL's output functions write them (DateStyle ISO, TimeZone
// UTC), and expressions as SQL, for EXPLAIN, messages and connectors.

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// AppendText writes a value of type t as PostgreSQL's cast to text does:
// "true", "1.5e+20", "2024-02-29 10:11:12.5+00", "\x00ff", "{1,NULL}". NULL
// adds nothing.
func AppendText(dst []byte, v Value, t Type) []byte {
	switch x := v.V.(type) {
	case bool:
		return strconv.AppendBool(dst, x)
	case int64:
		switch t.Kind {
		case Date:
			return appendDate(dst, x)
		case Time:
			return appendClock(dst, x)
		case Timestamp:
			return appendTimestamp(dst, x, "")
		case TimestampTZ:
			return appendTimestamp(dst, x, "+00")
		}
		return strconv.AppendInt(dst, x, 10)
	case float64:
		bits := 64
		if t.Kind == Float4 {
			bits = 32
		}
		return AppendFloat(dst, x, bits)
	case string:
		return append(dst, x...)
	case []byte:
		return hex.AppendEncode(append(dst, `\x`...), x)
	case []Value:
		elem := t
		elem.Array = false
		dst = append(dst, '{')
		for i, e := range x {
			if i > 0 {
				dst = append(dst, ',')
			}
			if e.V == nil {
				dst = append(dst, "NULL"...)
				continue
			}
			dst = appendElement(dst, string(AppendText(nil, e, elem)))
		}
		return append(dst, '}')
	}
	return dst
}

// appendElement quotes an array's element where array_out does.
func appendElement(dst []byte, s string) []byte {
	if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{},\"\\ \t\n\r\v\f") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// AppendFloat writes a float of 32 or 64 bits as PostgreSQL 12 and later do:
// the shortest digits that read back, with an exponent below 1e-4 and from
// 1e15 (32 bits: 1e6) on. Where the shortest digits lie just between two
// floats, PostgreSQL writes one more.
func AppendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	limit := 1e15
	if bits == 32 {
		limit = 1e6
	}
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= limit) {
		return strconv.AppendFloat(dst, v, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, bits)
}

func appendInfinity(dst []byte, x int64) ([]byte, bool) {
	switch x {
	case math.MinInt64:
		return append(dst, "-infinity"...), true
	case math.MaxInt64:
		return append(dst, "infinity"...), true
	}
	return dst, false
}

func appendDate(dst []byte, days int64) []byte {
	if dst, done := appendInfinity(dst, days); done {
		return dst
	}
	dst, bc := appendDay(dst, days)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// appendDay writes the date without the era.
func appendDay(dst []byte, days int64) (_ []byte, bc bool) {
	y, m, d := Civil(days)
	if y <= 0 {
		y, bc = 1-y, true
	}
	dst = appendPadded(dst, y, 4)
	dst = appendPadded(append(dst, '-'), m, 2)
	return appendPadded(append(dst, '-'), d, 2), bc
}

// appendPadded writes v, which is not negative, with at least width digits.
func appendPadded(dst []byte, v, width int) []byte {
	for limit := 1; width > 1; width-- {
		limit *= 10
		if v < limit {
			for range width - 1 {
				dst = append(dst, '0')
			}
			break
		}
	}
	return strconv.AppendInt(dst, int64(v), 10)
}

func appendClock(dst []byte, micros int64) []byte {
	s := micros / 1_000_000
	dst = appendPadded(dst, int(s/3600), 2)
	dst = appendPadded(append(dst, ':'), int(s/60%60), 2)
	dst = appendPadded(append(dst, ':'), int(s%60), 2)
	if f := int(micros % 1_000_000); f != 0 {
		dst = append(dst, '.')
		dst = appendPadded(dst, f, 6)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

const microsPerDay = 24 * 60 * 60 * 1_000_000

func appendTimestamp(dst []byte, micros int64, zone string) []byte {
	if dst, done := appendInfinity(dst, micros); done {
		return dst
	}
	days := micros / microsPerDay
	rest := micros % microsPerDay
	if rest < 0 {
		days, rest = days-1, rest+microsPerDay
	}
	dst, bc := appendDay(dst, days)
	dst = appendClock(append(dst, ' '), rest)
	dst = append(dst, zone...)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// Civil turns days since 2000-01-01 into a date of the proleptic Gregorian
// calendar; year 0 is 1 BC.
func Civil(days int64) (year, month, day int) {
	z := days + 10957 + 719468 // since 0000-03-01
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	if mp >= 10 {
		month = int(mp - 9)
	}
	y := yoe + era*400
	if month <= 2 {
		y++
	}
	return int(y), month, day
}

// Format renders e as SQL with the given names of the columns. Parameters that
// are not known stand as $1, $2, ...
func Format(e Expr, columns []string) string {
	f := formatter{columns: columns}
	f.expr(e, alone)
	return f.b.String()
}

type formatter struct {
	columns []string
	b       strings.Builder
}

// place is where an expression stands: the tighter, the more parentheses.
type place uint8

const (
	alone place = iota
	inJunction
	inOperator
)

// expr writes e, in parentheses where SQL or a reader needs them.
func (f *formatter) expr(e Expr, at place) {
	paren := at == inOperator
	switch e.(type) {
	case *And, *Or:
		paren = at != alone
	}
	open := func() {
		if paren {
			f.b.WriteByte('(')
		}
	}
	closing := func() {
		if paren {
			f.b.WriteByte(')')
		}
	}
	switch e := e.(type) {
	case *Column:
		f.b.WriteString(f.column(e.Index))
	case *Param:
		f.b.WriteString(formatParam(e))
	case *Comparison:
		open()
		f.expr(e.Left, inOperator)
		f.b.WriteString(" " + e.Op.String() + " ")
		f.expr(e.Right, inOperator)
		closing()
	case *Membership:
		open()
		f.expr(e.Operand, inOperator)
		if e.Negated {
			f.b.WriteString(" <> ALL (")
		} else {
			f.b.WriteString(" = ANY (")
		}
		f.expr(e.Array, alone)
		f.b.WriteByte(')')
		closing()
	case *Match:
		open()
		f.match(e)
		closing()
	case *NullTest:
		open()
		f.expr(e.Operand, inOperator)
		f.b.WriteString(isNot(e.Negated) + "NULL")
		closing()
	case *BoolTest:
		open()
		f.expr(e.Operand, inOperator)
		f.b.WriteString(isNot(e.Negated) + [...]string{True: "TRUE", False: "FALSE", Unknown: "UNKNOWN"}[e.Truth])
		closing()
	case *And:
		open()
		f.list(e.Operands, " AND ")
		closing()
	case *Or:
		open()
		f.list(e.Operands, " OR ")
		closing()
	case *Not:
		open()
		f.b.WriteString("NOT ")
		f.expr(e.Operand, inOperator)
		closing()
	case *Function:
		f.b.WriteString(e.Name + "(")
		for i, a := range e.Args {
			if i > 0 {
				f.b.WriteString(", ")
			}
			f.expr(a, alone)
		}
		f.b.WriteByte(')')
	default:
		f.b.WriteByte('?')
	}
}

// matchOperators are the operators of patterns, and their negations.
var matchOperators = map[MatchKind][2]string{Like: {" LIKE ", " NOT LIKE "}, ILike: {" ILIKE ", " NOT ILIKE "},
	Regex: {" ~ ", " !~ "}, IRegex: {" ~* ", " !~* "}}

func isNot(negated bool) string {
	if negated {
		return " IS NOT "
	}
	return " IS "
}

func (f *formatter) list(operands []Expr, sep string) {
	for i, o := range operands {
		if i > 0 {
			f.b.WriteString(sep)
		}
		f.expr(o, inJunction)
	}
}

func (f *formatter) match(e *Match) {
	if e.Kind == StartsWith {
		if e.Negated {
			f.b.WriteString("NOT ")
		}
		f.b.WriteString("starts_with(")
		f.expr(e.Operand, alone)
		f.b.WriteString(", ")
		f.expr(e.Pattern, alone)
		f.b.WriteByte(')')
		return
	}
	op := matchOperators[e.Kind]
	f.expr(e.Operand, inOperator)
	if e.Negated {
		f.b.WriteString(op[1])
	} else {
		f.b.WriteString(op[0])
	}
	f.expr(e.Pattern, inOperator)
}

func (f *formatter) column(i int) string {
	if i < 0 || i >= len(f.columns) {
		return fmt.Sprintf("column %d", i)
	}
	return QuoteIdentifier(f.columns[i])
}

// QuoteIdentifier quotes a name where SQL needs it; keywords are not known
// here.
func QuoteIdentifier(name string) string {
	plain := name != ""
	for i, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			plain = false
		}
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func formatParam(p *Param) string {
	switch {
	case !p.Known:
		return "$" + strconv.Itoa(p.Index+1)
	case p.Value.V == nil:
		return "NULL"
	}
	text := string(AppendText(nil, p.Value, p.Type))
	switch x := p.Value.V.(type) {
	case bool:
		return text
	case int64:
		if family(p.Type.Kind) == Int8 {
			return text
		}
	case float64:
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			return text
		}
	case string:
		if p.Type.Kind == Numeric && numericRank(x) == 0 {
			return text
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// FormatOrdering renders o as ORDER BY would have it.
func FormatOrdering(o Ordering, columns []string) string {
	f := formatter{columns: columns}
	for i, k := range o {
		if i > 0 {
			f.b.WriteString(", ")
		}
		f.b.WriteString(f.column(k.Column))
		if k.Descending {
			f.b.WriteString(" DESC")
		}
		if k.NullsFirst != k.Descending {
			if k.NullsFirst {
				f.b.WriteString(" NULLS FIRST")
			} else {
				f.b.WriteString(" NULLS LAST")
			}
		}
	}
	return f.b.String()
}
