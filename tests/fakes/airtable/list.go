package airtable

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listing is what a list request asks for.
type listing struct {
	fields     []string
	formula    string
	maxRecords int
	pageSize   int
	sort       []Order
	view       string
	byID       bool
	offset     string
}

// cursor is where an offset goes on.
type cursor struct {
	table  *Table
	given  time.Time
	next   string // the record that is next
	at     int    // and its position, should it be gone
	served int
}

var sortKey = regexp.MustCompile(`^sort\[(\d+)\]\[(field|direction)\]$`)

// listingOf reads the query of a GET. Names of lists come as fields[], fields
// or fields[0].
func listingOf(query url.Values) (listing, *refusal) {
	l := listing{pageSize: 100}
	number := func(text string, most int) (int, bool) {
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= 1 && n <= most
	}
	keys := make([]string, 0, len(query))
	for k := range query {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := query[k][len(query[k])-1]
		ok := true
		name, _, _ := strings.Cut(k, "[")
		switch name {
		case "fields":
			l.fields = append(l.fields, query[k]...)
		case "filterByFormula":
			l.formula = v
		case "maxRecords":
			l.maxRecords, ok = number(v, 1<<30)
		case "pageSize":
			l.pageSize, ok = number(v, 100)
		case "view":
			l.view = v
		case "offset":
			l.offset = v
		case "returnFieldsByFieldId":
			l.byID, ok = v == "true" || v == "1", v == "true" || v == "1" || v == "false" || v == "0"
		case "recordMetadata", "timeZone", "userLocale":
		case "cellFormat":
			ok = v == "json"
		case "sort":
			m := sortKey.FindStringSubmatch(k)
			if m == nil {
				return l, invalidRequest()
			}
			i, err := strconv.Atoi(m[1])
			if err != nil || i > 100 {
				return l, invalidRequest()
			}
			for len(l.sort) <= i {
				l.sort = append(l.sort, Order{})
			}
			if m[2] == "field" {
				l.sort[i].Field = v
			} else {
				l.sort[i].Desc, ok = v == "desc", v == "asc" || v == "desc"
			}
		default:
			ok = false
		}
		if !ok {
			return l, invalidRequest()
		}
	}
	return l, nil
}

// listingIn reads the body of a POST to listRecords.
func listingIn(body []byte, query url.Values) (listing, *refusal) {
	var b struct {
		Fields          []string `json:"fields"`
		FilterByFormula string   `json:"filterByFormula"`
		MaxRecords      *int     `json:"maxRecords"`
		PageSize        *int     `json:"pageSize"`
		Sort            []struct {
			Field     string `json:"field"`
			Direction string `json:"direction"`
		} `json:"sort"`
		View                  string   `json:"view"`
		CellFormat            string   `json:"cellFormat"`
		TimeZone              string   `json:"timeZone"`
		UserLocale            string   `json:"userLocale"`
		ReturnFieldsByFieldID bool     `json:"returnFieldsByFieldId"`
		RecordMetadata        []string `json:"recordMetadata"`
		Offset                string   `json:"offset"`
	}
	for k := range query {
		if k != "timeZone" && k != "userLocale" {
			return listing{}, invalidRequest()
		}
	}
	if len(body) > 0 {
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			if json.Valid(body) {
				return listing{}, invalidRequest()
			}
			return listing{}, badBody()
		}
	}
	l := listing{fields: b.Fields, formula: b.FilterByFormula, pageSize: 100, view: b.View, byID: b.ReturnFieldsByFieldID, offset: b.Offset}
	if b.PageSize != nil {
		if l.pageSize = *b.PageSize; l.pageSize < 1 || l.pageSize > 100 {
			return l, invalidRequest()
		}
	}
	if b.MaxRecords != nil {
		if l.maxRecords = *b.MaxRecords; l.maxRecords < 1 {
			return l, invalidRequest()
		}
	}
	if b.CellFormat != "" && b.CellFormat != "json" {
		return l, invalidRequest()
	}
	for _, o := range b.Sort {
		if o.Direction != "" && o.Direction != "asc" && o.Direction != "desc" {
			return l, invalidRequest()
		}
		l.sort = append(l.sort, Order{Field: o.Field, Desc: o.Direction == "desc"})
	}
	return l, nil
}

func (c *call) list(l listing) (any, *refusal) {
	t := c.table
	var shown []*Field
	for _, name := range l.fields {
		f := t.field(name)
		if f == nil {
			return nil, unknownField(name)
		}
		shown = append(shown, f)
	}
	rows, refused := c.s.rows(t, l)
	if refused != nil {
		return nil, refused
	}
	c.first, c.matched, c.size = l.offset == "", len(rows), l.pageSize
	at, served := 0, 0
	if l.offset != "" {
		from, refused := c.resume(l.offset)
		if refused != nil {
			return nil, refused
		}
		if at = slices.IndexFunc(rows, func(r *record) bool { return r.id == from.next }); at < 0 {
			at = min(from.at, len(rows))
		}
		served = from.served
	}
	end := min(len(rows), at+l.pageSize)
	if l.maxRecords > 0 {
		end = min(end, at+l.maxRecords-served)
	}
	records := []any{}
	for _, r := range rows[at:end] {
		records = append(records, c.s.show(t, r, shown, l.byID))
	}
	out := map[string]any{"records": records}
	served += end - at
	if end < len(rows) && (l.maxRecords == 0 || served < l.maxRecords) {
		c.s.seq++
		offset := fmt.Sprintf("itr%s/%s", c.s.id("")[:14], rows[end].id)
		c.s.cursors[offset] = &cursor{table: t, given: c.s.clock(), next: rows[end].id, at: end, served: served}
		out["offset"] = offset
	}
	return out, nil
}

func (c *call) resume(offset string) (*cursor, *refusal) {
	if iterator, id, ok := strings.Cut(offset, "/"); !ok || !isID("itr", iterator) || !isID("rec", id) {
		return nil, refuse(422, "INVALID_OFFSET_VALUE", "The value of offset %s is invalid", offset)
	}
	s := c.s
	if s.expireEach > 0 {
		if s.listed++; s.listed%s.expireEach == 0 {
			delete(s.cursors, offset)
		}
	}
	from := s.cursors[offset]
	if from == nil || from.table != c.table || s.options.CursorLife > 0 && s.clock().Sub(from.given) > s.options.CursorLife {
		return nil, expired()
	}
	return from, nil
}

// rows of a table in the order and as far as a listing wants them.
func (s *Server) rows(t *Table, l listing) ([]*record, *refusal) {
	rows := slices.Clone(t.records)
	order := l.sort
	if l.view != "" {
		v := t.view(l.view)
		if v == nil {
			kind := "VIEW_NAME_NOT_FOUND"
			if isID("viw", l.view) {
				kind = "VIEW_ID_NOT_FOUND"
			}
			return nil, refuse(422, kind, "View %s not found", l.view)
		}
		if v.Formula != "" {
			e, err := parse(t, v.Formula)
			if err != nil {
				return nil, badFormula(err.Error())
			}
			rows = slices.DeleteFunc(rows, func(r *record) bool { return !s.matches(e, t, r) })
		}
		if len(order) == 0 {
			order = v.Sort
		}
	}
	if l.formula != "" {
		e, err := parse(t, l.formula)
		if err != nil {
			return nil, badFormula(err.Error())
		}
		rows = slices.DeleteFunc(rows, func(r *record) bool { return !s.matches(e, t, r) })
	}
	var fields []*Field
	for _, o := range order {
		f := t.field(o.Field)
		if f == nil {
			return nil, unknownField(o.Field)
		}
		fields = append(fields, f)
	}
	slices.SortStableFunc(rows, func(a, b *record) int {
		for i, f := range fields {
			n := s.order(t, f, a, b)
			if order[i].Desc {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	return rows, nil
}

// order of two records by a field: empty first; selects in the order of their
// choices; text without minding case.
func (s *Server) order(t *Table, f *Field, a, b *record) int {
	x := (&evaluator{s: s, t: t, r: a}).field(f)
	y := (&evaluator{s: s, t: t, r: b}).field(f)
	empty := func(v value) bool {
		return v.kind == isBlank || v.kind == isError || v.kind == isText && v.s == "" || v.kind == isList && len(v.list) == 0
	}
	switch {
	case empty(x) && empty(y):
		return 0
	case empty(x):
		return -1
	case empty(y):
		return 1
	}
	if f.Type == "singleSelect" {
		return slices.Index(f.Choices, x.text()) - slices.Index(f.Choices, y.text())
	}
	switch {
	case compare("<", x, y, true).true():
		return -1
	case compare(">", x, y, true).true():
		return 1
	}
	return 0
}
