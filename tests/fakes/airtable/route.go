package airtable

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// throttle of one base.
type throttle struct {
	recent []time.Time
	until  time.Time
}

// route finds what the request is for, checks the token and the limits, and
// carries it out.
func (c *call) route() (any, *refusal) {
	s := c.s
	if len(c.r.URL.RequestURI()) > s.options.URLLimit {
		return nil, urlTooLong()
	}
	for segment := range strings.SplitSeq(strings.Trim(c.r.URL.EscapedPath(), "/"), "/") {
		name, err := url.PathUnescape(segment)
		if err != nil {
			return nil, notFound()
		}
		c.path = append(c.path, name)
	}
	if c.kind == OAuth {
		return c.token()
	}
	if c.path[0] != "v0" || len(c.path) < 2 {
		return nil, notFound()
	}
	meta := c.path[1] == "meta"
	baseID := c.path[1]
	if meta {
		switch {
		case len(c.path) == 3 && (c.path[2] == "whoami" || c.path[2] == "bases"):
			baseID = ""
		case len(c.path) >= 5 && c.path[2] == "bases" && c.path[4] == "tables":
			baseID = c.path[3]
		default:
			return nil, notFound()
		}
	}
	if baseID != "" && !isID("app", baseID) || !meta && len(c.path) < 3 {
		return nil, notFound()
	}
	if token, _ := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer "); !s.authorized(token) {
		return nil, unauthorized()
	}
	if refused := s.limit(baseID); refused != nil {
		return nil, refused
	}
	if baseID != "" {
		if c.base = s.base(baseID); c.base == nil || c.base.Permission == "none" {
			return nil, modelNotFound()
		}
	}
	if meta {
		return c.meta()
	}
	if c.table = c.base.table(c.path[2]); c.table == nil {
		return nil, modelNotFound()
	}
	return c.data()
}

// limit answers 429 once a base has had its calls for a second, and then for as
// long as the lock-out lasts.
func (s *Server) limit(base string) *refusal {
	now := s.clock()
	t := s.throttle[base]
	if t == nil {
		t = &throttle{}
		s.throttle[base] = t
	}
	if now.Before(t.until) {
		return rateLimited()
	}
	if s.lockEach > 0 {
		if s.served++; s.served%s.lockEach == 0 {
			t.until = now.Add(s.options.Lockout)
			return rateLimited()
		}
	}
	if s.options.PerSecond <= 0 {
		return nil
	}
	t.recent = slices.DeleteFunc(t.recent, func(at time.Time) bool { return now.Sub(at) >= time.Second })
	if len(t.recent) >= s.options.PerSecond {
		t.until = now.Add(s.options.Lockout)
		return rateLimited()
	}
	t.recent = append(t.recent, now)
	return nil
}

func (c *call) data() (any, *refusal) {
	reads := c.kind == List || c.kind == Get
	if !reads && c.base.Permission != "create" && c.base.Permission != "edit" {
		return nil, refuse(403, "INVALID_PERMISSIONS", "You are not permitted to perform this operation")
	}
	query := c.r.URL.Query()
	if len(c.path) == 4 && c.path[3] == "listRecords" {
		if c.r.Method != http.MethodPost {
			return nil, notFound()
		}
		l, refused := listingIn(c.body, query)
		if refused != nil {
			return nil, refused
		}
		return c.list(l)
	}
	if len(c.path) == 4 {
		c.record = c.path[3]
		if !isID("rec", c.record) {
			return nil, notFound()
		}
		switch c.r.Method {
		case http.MethodGet:
			r := c.table.byID[c.record]
			if r == nil {
				return nil, recordNotFound()
			}
			return c.s.show(c.table, r, nil, query.Get("returnFieldsByFieldId") == "true"), nil
		case http.MethodPatch, http.MethodPut:
			return c.s.transaction(c.base, func() (any, *refusal) { return c.updateRecord(c.r.Method == http.MethodPut) })
		case http.MethodDelete:
			r := c.table.byID[c.record]
			if r == nil {
				return nil, recordNotFound()
			}
			c.s.remove(c.table, r)
			return map[string]any{"deleted": true, "id": c.record}, nil
		}
		return nil, notFound()
	}
	if len(c.path) != 3 {
		return nil, notFound()
	}
	switch c.r.Method {
	case http.MethodGet:
		l, refused := listingOf(query)
		if refused != nil {
			return nil, refused
		}
		return c.list(l)
	case http.MethodPost:
		return c.s.transaction(c.base, c.createRecords)
	case http.MethodPatch, http.MethodPut:
		return c.s.transaction(c.base, func() (any, *refusal) { return c.updateRecords(c.r.Method == http.MethodPut) })
	case http.MethodDelete:
		ids := query["records[]"]
		if ids == nil {
			ids = query["records"]
		}
		return c.s.transaction(c.base, func() (any, *refusal) { return c.deleteRecords(ids) })
	}
	return nil, notFound()
}

func (c *call) meta() (any, *refusal) {
	switch {
	case c.path[2] == "whoami":
		return map[string]any{"id": "usrHallway0000001"}, nil
	case c.base == nil:
		bases := []any{}
		for _, b := range c.s.bases {
			bases = append(bases, map[string]any{"id": b.ID, "name": b.Name, "permissionLevel": b.Permission})
		}
		return map[string]any{"bases": bases}, nil
	case c.r.Method == http.MethodGet && len(c.path) == 5:
		tables := []any{}
		for _, t := range c.base.Tables {
			tables = append(tables, t.describe())
		}
		return map[string]any{"tables": tables}, nil
	}
	return c.changeSchema()
}

// changeSchema makes tables and fields, and renames them.
func (c *call) changeSchema() (any, *refusal) {
	var in struct {
		Name, Description, Type string
		Fields                  []struct {
			Name, Type string
		}
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		return nil, badBody()
	}
	if c.base.Permission != "create" {
		return nil, refuse(403, "INVALID_PERMISSIONS", "You are not permitted to perform this operation")
	}
	if len(c.path) == 5 {
		if c.r.Method != http.MethodPost || in.Name == "" || len(in.Fields) == 0 {
			return nil, invalidRequest()
		}
		if c.base.table(in.Name) != nil {
			return nil, refuse(422, "DUPLICATE_TABLE_NAME", "There is already a table with this name")
		}
		t := &Table{Name: in.Name, Description: in.Description}
		for _, f := range in.Fields {
			t.Fields = append(t.Fields, &Field{Name: f.Name, Type: f.Type})
		}
		c.s.adopt(c.base, t)
		c.base.Tables = append(c.base.Tables, t)
		return t.describe(), nil
	}
	t := c.base.table(c.path[5])
	if t == nil {
		return nil, modelNotFound()
	}
	switch {
	case len(c.path) == 6 && c.r.Method == http.MethodPatch:
		if in.Name != "" {
			t.Name = in.Name
		}
		t.Description = in.Description
		return t.describe(), nil
	case len(c.path) == 7 && c.path[6] == "fields" && c.r.Method == http.MethodPost:
		if in.Name == "" || in.Type == "" {
			return nil, invalidRequest()
		}
		if t.field(in.Name) != nil {
			return nil, refuse(422, "DUPLICATE_OR_EMPTY_FIELD_NAME", "There is already a field with this name")
		}
		f := &Field{ID: c.s.id("fld"), Name: in.Name, Type: in.Type, Description: in.Description}
		t.Fields = append(t.Fields, f)
		return f.describe(), nil
	case len(c.path) == 8 && c.path[6] == "fields" && c.r.Method == http.MethodPatch:
		f := t.field(c.path[7])
		if f == nil {
			return nil, modelNotFound()
		}
		if in.Name != "" {
			f.Name = in.Name
		}
		f.Description = in.Description
		return f.describe(), nil
	}
	return nil, notFound()
}
