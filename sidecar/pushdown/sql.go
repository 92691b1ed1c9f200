package pushdown

// Expressions as SQL that PostgreSQL executes: Format is for reading, this is
// for meaning the same.

import "strings"

// SQL writes the AND of the conjuncts as a condition that PostgreSQL evaluates
// to what was shipped: literals have types, collations are named. Columns are
// the names in their order; each is quoted and stands without a table. No
// conjuncts are "true". The session's search_path must be pg_catalog, its
// standard_conforming_strings on.
//
// The error is an *UnsupportedError: a parameter is not known, or a literal's
// type cannot be named without the catalog.
func SQL(conjuncts []Expr, columns []string) (string, error) {
	w := sqlWriter{columns: columns}
	if len(conjuncts) == 0 {
		return "true", nil
	}
	w.list(conjuncts, " AND ")
	if w.err != nil {
		return "", w.err
	}
	return w.b.String(), nil
}

// sqlTypes are the names for literals. A char(n) keeps its blanks as bpchar.
// The literal of an enum has none: it takes its type from the column.
var sqlTypes = [...]string{
	Bool: "bool", Int2: "int2", Int4: "int4", Int8: "int8", Float4: "float4", Float8: "float8",
	Numeric: "numeric", Text: "text", Varchar: "varchar", BPChar: "bpchar", Date: "date", Time: "time",
	Timestamp: "timestamp", TimestampTZ: "timestamptz", UUID: "uuid", JSON: "json", JSONB: "jsonb",
	Bytea: "bytea", Enum: "",
}

type sqlWriter struct {
	b       strings.Builder
	columns []string
	err     error
}

func (w *sqlWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *sqlWriter) put(s ...string) {
	for _, x := range s {
		w.b.WriteString(x)
	}
}

// list writes operands in parentheses with sep between them.
func (w *sqlWriter) list(operands []Expr, sep string) {
	for i, o := range operands {
		if i > 0 {
			w.put(sep)
		}
		w.expr(o)
	}
}

// expr writes e so that it can be an operand of anything.
func (w *sqlWriter) expr(e Expr) {
	switch e := e.(type) {
	case *Column:
		if e.Index < 0 || e.Index >= len(w.columns) {
			w.fail(unsupported("there is no column %d", e.Index))
			return
		}
		w.put(QuoteAlways(w.columns[e.Index]))
		return
	case *Param:
		w.param(e)
		return
	}
	w.put("(")
	switch e := e.(type) {
	case *Comparison:
		w.collated(e.Left, e.Collation)
		w.put(" ", e.Op.String(), " ")
		w.collated(e.Right, e.Collation)
	case *Membership:
		w.collated(e.Operand, e.Collation)
		if e.Negated {
			w.put(" <> ALL (")
		} else {
			w.put(" = ANY (")
		}
		w.expr(e.Array)
		w.put(")")
	case *Match:
		w.match(e)
	case *NullTest:
		w.expr(e.Operand)
		w.put(isNot(e.Negated), "NULL")
	case *BoolTest:
		w.expr(e.Operand)
		w.put(isNot(e.Negated), [...]string{True: "TRUE", False: "FALSE", Unknown: "UNKNOWN"}[e.Truth])
	case *And:
		w.list(e.Operands, " AND ")
	case *Or:
		w.list(e.Operands, " OR ")
	case *Not:
		w.put("NOT ")
		w.expr(e.Operand)
	case *Function:
		w.put("pg_catalog.", QuoteAlways(e.Name), "(")
		for i, a := range e.Args {
			if i > 0 {
				w.put(", ")
			}
			w.collated(a, e.Collation)
		}
		w.put(")")
	default:
		w.fail(unsupported("unknown expression %T", e))
	}
	w.put(")")
}

func (w *sqlWriter) match(e *Match) {
	if e.Kind == StartsWith {
		if e.Negated {
			w.put("NOT ")
		}
		w.put("pg_catalog.starts_with(")
		w.collated(e.Operand, e.Collation)
		w.put(", ")
		w.expr(e.Pattern)
		w.put(")")
		return
	}
	op, ok := matchOperators[e.Kind]
	if !ok {
		w.fail(unsupported("unknown pattern language %d", e.Kind))
		return
	}
	w.collated(e.Operand, e.Collation)
	if e.Negated {
		w.put(op[1])
	} else {
		w.put(op[0])
	}
	w.expr(e.Pattern)
}

// collated writes an operand of text with its collation. Both operands have it:
// two that differ would be an error, and a column's own would count else.
func (w *sqlWriter) collated(e Expr, c Collation) {
	if c.Name == "" {
		w.expr(e)
		return
	}
	w.put("(")
	w.expr(e)
	w.put(" COLLATE ", collationSQL(c.Name), ")")
}

// collationSQL is the name as SQL has it. It comes without a schema if that is
// pg_catalog, and else as PostgreSQL quotes the two.
func collationSQL(name string) string {
	if schema, rest, ok := cutIdentifier(name); ok && strings.HasPrefix(rest, ".") {
		if coll, end, ok := cutIdentifier(rest[1:]); ok && end == "" {
			return schema + "." + coll
		}
	}
	return "pg_catalog." + QuoteAlways(name)
}

// cutIdentifier takes an identifier, quoted or in no need of it, off s.
func cutIdentifier(s string) (id, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := 0
		for n < len(s) && (s[n] == '_' || s[n]-'a' < 26 || n > 0 && s[n]-'0' < 10) {
			n++
		}
		return s[:n], s[n:], n > 0
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			continue
		}
		return s[:i+1], s[i+1:], i > 1
	}
	return "", s, false
}

func (w *sqlWriter) param(p *Param) {
	if !p.Known {
		w.fail(unsupported("parameter %d is not known", p.Index))
		return
	}
	if p.Type.Kind < Bool || int(p.Type.Kind) >= len(sqlTypes) {
		w.fail(unsupported("a literal of %s cannot be written without the catalog", p.Type.Kind))
		return
	}
	name := sqlTypes[p.Type.Kind]
	if name != "" {
		name = "::" + name
		if p.Type.Array {
			name += "[]"
		}
	}
	if p.Value.V == nil {
		w.put("(NULL", name, ")")
		return
	}
	text := string(AppendText(nil, p.Value, p.Type))
	if strings.IndexByte(text, 0) >= 0 {
		w.fail(unsupported("parameter %d holds a zero byte", p.Index))
		return
	}
	w.put("(", QuoteLiteral(text), name, ")")
}

// QuoteAlways quotes a name, also one that is a keyword.
func QuoteAlways(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral quotes text for a session with standard_conforming_strings on.
func QuoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
