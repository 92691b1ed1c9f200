package airtable

import (
	"regexp"
	"strings"
	"time"
)

// moment is a date, or blank for a time that never was.
func moment(t time.Time) value {
	if t.IsZero() {
		return blank
	}
	return date(t)
}

// evaluator computes formulas over one record.
type evaluator struct {
	s *Server
	t *Table
	r *record
	// depth of computed fields that refer to computed fields.
	depth int
}

// matches tells whether a record stays when the list is filtered by e.
func (s *Server) matches(e expr, t *Table, r *record) bool {
	ev := &evaluator{s: s, t: t, r: r}
	return ev.eval(e).true()
}

func (ev *evaluator) eval(e expr) value {
	switch e := e.(type) {
	case *literal:
		return e.v
	case *fieldRef:
		return ev.field(e.f)
	case *unary:
		n, ok := ev.eval(e.operand).number()
		if !ok {
			return failed
		}
		if e.op == "-" {
			n = -n
		}
		return number(n)
	case *binary:
		return ev.binary(e)
	case *callExpr:
		return functions[e.name].do(ev, e.args)
	}
	panic("no such expression")
}

func (ev *evaluator) binary(e *binary) value {
	a, b := ev.eval(e.left), ev.eval(e.right)
	if a.kind == isError || b.kind == isError {
		return failed
	}
	switch e.op {
	case "&":
		return text(a.text() + b.text())
	case "+", "-", "*", "/":
		x, okX := a.number()
		y, okY := b.number()
		if !okX || !okY {
			return failed
		}
		switch e.op {
		case "+":
			return number(x + y)
		case "-":
			return number(x - y)
		case "*":
			return number(x * y)
		}
		return number(x / y)
	}
	return compare(e.op, a, b, ev.s.options.FoldText)
}

// field is a cell as a formula sees it: a linked record is its name, a person a
// name, an attachment a text with its file's name.
func (ev *evaluator) field(f *Field) value {
	if ev.depth > 10 {
		return failed
	}
	inner := &evaluator{s: ev.s, t: ev.t, r: ev.r, depth: ev.depth + 1}
	switch f.Type {
	case "formula":
		if f.parsed == nil {
			e, err := parse(ev.t, f.Formula)
			if err != nil {
				return failed
			}
			f.parsed = e
		}
		return inner.eval(f.parsed)
	case "autoNumber":
		return number(float64(ev.r.number))
	case "createdTime":
		return date(ev.r.created)
	case "lastModifiedTime":
		return moment(ev.r.changed(f))
	case "count":
		return number(float64(len(links(ev.r, ev.t.field(f.Link)))))
	case "multipleLookupValues":
		return value{kind: isList, list: inner.lookup(f)}
	case "rollup":
		return rollup(f.Formula, inner.lookup(f))
	}
	return ev.s.cellValue(ev.t, f, ev.r.cells[f.ID])
}

// changed is when what a lastModifiedTime field watches was last changed.
func (r *record) changed(f *Field) time.Time {
	if len(f.Watches) == 0 {
		return r.modified
	}
	var last time.Time
	for _, id := range f.Watches {
		if at := r.touched[id]; at.After(last) {
			last = at
		}
	}
	return last
}

func (s *Server) cellValue(t *Table, f *Field, cell any) value {
	switch c := cell.(type) {
	case nil:
		return blank
	case bool:
		return truth(c)
	case float64:
		return number(c)
	case string:
		switch f.Type {
		case "date", "dateTime":
			at, ok := parseDate(c)
			if !ok {
				return failed
			}
			return value{kind: isDate, t: at, dateOnly: f.Type == "date"}
		}
		return text(c)
	case []string:
		v := value{kind: isList}
		for _, e := range c {
			if f.Type == "multipleRecordLinks" {
				e = s.recordName(t.base.table(f.Linked), e)
			}
			v.list = append(v.list, text(e))
		}
		return v
	case map[string]any:
		if name, ok := c["name"].(string); ok {
			return text(name)
		}
		s, _ := c["text"].(string)
		return text(s)
	case []any:
		v := value{kind: isList}
		for _, e := range c {
			m, _ := e.(map[string]any)
			name, _ := m["filename"].(string)
			if name == "" {
				name, _ = m["name"].(string)
			}
			url, _ := m["url"].(string)
			if url != "" {
				name += " (" + url + ")"
			}
			v.list = append(v.list, text(name))
		}
		return v
	}
	return failed
}

// recordName is the text of a record's primary field.
func (s *Server) recordName(t *Table, id string) string {
	if t == nil || t.byID[id] == nil {
		return ""
	}
	ev := &evaluator{s: s, t: t, r: t.byID[id], depth: 5}
	return ev.field(t.Fields[0]).text()
}

func links(r *record, f *Field) []string {
	if f == nil {
		return nil
	}
	ids, _ := r.cells[f.ID].([]string)
	return ids
}

func (ev *evaluator) lookup(f *Field) []value {
	link := ev.t.field(f.Link)
	if link == nil {
		return nil
	}
	other := ev.t.base.table(link.Linked)
	var out []value
	for _, id := range links(ev.r, link) {
		r := other.byID[id]
		if r == nil {
			continue
		}
		v := (&evaluator{s: ev.s, t: other, r: r, depth: ev.depth}).field(other.field(f.Target))
		switch v.kind {
		case isBlank:
		case isList:
			out = append(out, v.list...)
		default:
			out = append(out, v)
		}
	}
	return out
}

func rollup(how string, values []value) value {
	var sum, high, low float64
	for i, v := range values {
		if v.kind == isError {
			return failed
		}
		n, _ := v.number()
		sum += n
		if i == 0 || n > high {
			high = n
		}
		if i == 0 || n < low {
			low = n
		}
	}
	switch how {
	case "SUM":
		return number(sum)
	case "MAX":
		return number(high)
	case "MIN":
		return number(low)
	case "COUNTALL":
		return number(float64(len(values)))
	}
	return text(value{kind: isList, list: values}.text())
}

func compileRegex(pattern string) *regexp.Regexp {
	re, err := regexp.Compile(strings.ReplaceAll(pattern, `\/`, "/"))
	if err != nil {
		return nil
	}
	return re
}
