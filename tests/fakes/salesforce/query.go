package salesforce

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// locator is the rest of a result.
type locator struct {
	res  *result
	size int
	// room that its pages take, with what stayed empty of short ones, and the pages
	// for it.
	room, pages int
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) *apiError {
	return s.answerQuery(w, r, false)
}

func (s *Server) queryAll(w http.ResponseWriter, r *http.Request) *apiError {
	return s.answerQuery(w, r, true)
}

func (s *Server) answerQuery(w http.ResponseWriter, r *http.Request, all bool) *apiError {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return newError(400, "MALFORMED_QUERY", "%s", err)
	}
	text := values.Get("q")
	if text == "" {
		return newError(400, "MALFORMED_QUERY", "A query string has to be specified")
	}
	s.statements = append(s.statements, text)
	q, bad := parse(text)
	if bad != nil {
		return bad
	}
	res, bad := s.run(q, all)
	if bad != nil {
		return bad
	}
	l := &locator{res: res, size: s.opts.PageSize, room: len(res.records)}
	if n, ok := strings.CutPrefix(r.Header.Get("Sforce-Query-Options"), "batchSize="); ok {
		want, err := strconv.Atoi(strings.TrimSpace(n))
		if err != nil {
			return newError(400, "INVALID_QUERY_BATCH_SIZE", "invalid batch size: %s", n)
		}
		l.size = min(max(want, min(200, l.size)), l.size)
	}
	return s.page(w, r, "", l, 0)
}

func (s *Server) queryMore(w http.ResponseWriter, r *http.Request) *apiError {
	name, place, _ := strings.Cut(r.PathValue("locator"), "-")
	l := s.locators[name]
	from, err := strconv.Atoi(place)
	if l == nil || err != nil || from > len(l.res.records) {
		return newError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	if s.further++; s.opts.ForgetEvery > 0 && s.further%s.opts.ForgetEvery == 0 {
		s.calls["forgotten"]++
		delete(s.locators, name)
		return newError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	return s.page(w, r, name, l, from)
}

// page answers the records from a place on. The caller may be given fewer than it
// asked for.
func (s *Server) page(w http.ResponseWriter, r *http.Request, name string, l *locator, from int) *apiError {
	version := r.PathValue("version")
	if l.res.count {
		writeJSON(w, 200, map[string]any{"totalSize": len(l.res.records), "done": true, "records": []any{}})
		return nil
	}
	var b bytes.Buffer
	if l.res.grouped {
		fmt.Fprintf(&b, `{"totalSize":%d,"done":true,"records":[`, len(l.res.groups))
		for i, g := range l.res.groups {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`{"attributes":{"type":"AggregateResult"}`)
			for _, c := range l.res.columns {
				fmt.Fprintf(&b, ",%q:", c.name)
				appendValue(&b, g[c.name], c.col.field)
			}
			b.WriteByte('}')
		}
		b.WriteString("]}")
		return send(w, b.Bytes())
	}
	size := l.size
	if s.pages++; s.opts.ShortPages > 0 && s.pages%s.opts.ShortPages == 0 {
		size = max(1, size/2)
	}
	to := min(from+size, len(l.res.records))
	if to < len(l.res.records) {
		l.room += l.size - size
	}
	pages := max(1, (l.room+l.size-1)/l.size)
	s.asked.First, s.asked.Matched, s.asked.Size = from == 0, len(l.res.records), l.size
	if l.pages == 0 {
		l.pages = max(1, (len(l.res.records)+l.size-1)/l.size)
	}
	s.asked.More, l.pages = pages-l.pages, pages
	fmt.Fprintf(&b, `{"totalSize":%d,"done":%t,`, len(l.res.records), to == len(l.res.records))
	if to < len(l.res.records) {
		if name == "" {
			s.locatorNr++
			name = fmt.Sprintf("0r8Hw%010dAAA", s.locatorNr)
			s.locators[name] = l
		}
		fmt.Fprintf(&b, `"nextRecordsUrl":"/services/data/%s/query/%s-%d",`, version, name, to)
	}
	b.WriteString(`"records":[`)
	tree := shape(l.res.columns)
	for i, rec := range l.res.records[from:to] {
		if i > 0 {
			b.WriteByte(',')
		}
		s.appendRecord(&b, version, l.res.table, rec, tree)
	}
	b.WriteString("]}")
	return send(w, b.Bytes())
}

func send(w http.ResponseWriter, body []byte) *apiError {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = w.Write(body)
	return nil
}

// node is a selected field, or a relationship with what is selected behind it.
type node struct {
	field    *Field
	children []*node
}

// shape makes the tree that paths of columns are of.
func shape(columns []outColumn) []*node {
	var roots []*node
	for _, c := range columns {
		list := &roots
		for _, hop := range c.col.hops {
			var found *node
			for _, n := range *list {
				if n.field == hop && n.children != nil {
					found = n
				}
			}
			if found == nil {
				found = &node{field: hop, children: []*node{}}
				*list = append(*list, found)
			}
			list = &found.children
		}
		*list = append(*list, &node{field: c.col.field})
	}
	return roots
}

func (s *Server) appendRecord(b *bytes.Buffer, version string, t *table, r Record, tree []*node) {
	fmt.Fprintf(b, `{"attributes":{"type":%q,"url":"/services/data/%s/sobjects/%s/%s"}`, t.def.Name, version, t.def.Name, r["Id"])
	for _, n := range tree {
		if n.children == nil {
			fmt.Fprintf(b, ",%q:", n.field.Name)
			appendValue(b, t.get(r, n.field), n.field)
			continue
		}
		fmt.Fprintf(b, ",%q:", n.field.Relationship)
		to := s.table(n.field.ReferenceTo[0])
		id, _ := t.get(r, n.field).(string)
		if parent, ok := to.byID[id]; ok {
			s.appendRecord(b, version, to, parent, n.children)
		} else {
			b.WriteString("null")
		}
	}
	b.WriteByte('}')
}

// appendValue writes a value as the API does: numbers as Java prints a double, and
// times with an offset without a colon.
func appendValue(b *bytes.Buffer, v any, f *Field) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case float64:
		b.WriteString(number(v, f))
	case time.Time:
		b.WriteString(v.UTC().Format(`"2006-01-02T15:04:05.000+0000"`))
	case TimeOfDay:
		b.WriteString(`"` + string(v) + `Z"`)
	default:
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		b.Truncate(b.Len() - 1)
	}
}

// number prints as Java does: 12.0, 1.234567E7, and a whole number for an int.
func number(v float64, f *Field) string {
	if f != nil && f.Type == "int" {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	if v != 0 && (v >= 1e7 || v <= -1e7 || v < 1e-3 && v > -1e-3) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'E', -1, 64), "E")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		n, _ := strconv.Atoi(exponent)
		return fmt.Sprintf("%sE%d", mantissa, n)
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
