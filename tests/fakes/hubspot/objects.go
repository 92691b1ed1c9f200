// /crm/v3/objects: one record, and lists.

package hubspot

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const kindSearch = "search"

// serveObjects routes what is under /crm/v3/objects/{objectType}.
func (s *Server) serveObjects(r *request) (string, func() reply) {
	if len(r.path) == 0 {
		return "", nil
	}
	route := r.Method + " " + strings.Join(r.path[1:], "/")
	kind := ""
	var do func(t *objectType) reply
	write := func(f func(*request, *objectType) reply) func(t *objectType) reply {
		return func(t *objectType) reply {
			if f := s.allowed(t, "write"); f != nil {
				return s.refuseWith(f)
			}
			return f(r, t)
		}
	}
	read := func(f func(*request, *objectType) reply) func(t *objectType) reply {
		return func(t *objectType) reply {
			if f := s.allowed(t, "read"); f != nil {
				return s.refuseWith(f)
			}
			return f(r, t)
		}
	}
	switch {
	case route == "GET ":
		kind, do = "list", read(s.list)
	case route == "POST ":
		kind, do = "create", write(s.createOne)
	case route == "POST search":
		kind, do = kindSearch, read(s.search)
	case route == "POST batch/read":
		kind, do = "batch_read", read(s.batchRead)
	case route == "POST batch/create":
		kind, do = "batch_create", write(s.batchCreate)
	case route == "POST batch/update":
		kind, do = "batch_update", write(s.batchUpdate)
	case route == "POST batch/upsert":
		kind, do = "batch_upsert", write(s.batchUpsert)
	case route == "POST batch/archive":
		kind, do = "batch_archive", write(s.batchArchive)
	case route == "POST gdpr-delete":
		kind, do = "gdpr_delete", write(s.gdprDelete)
	case len(r.path) == 2 && r.Method == http.MethodGet:
		kind, do = "get", read(s.get)
	case len(r.path) == 2 && r.Method == http.MethodPatch:
		kind, do = "update", write(s.patch)
	case len(r.path) == 2 && r.Method == http.MethodDelete:
		kind, do = "archive", write(s.delete)
	default:
		return "", nil
	}
	return kind, func() reply {
		t := s.find(r.path[0])
		if t == nil {
			return s.noType(r.path[0])
		}
		return do(t)
	}
}

// names reads a list that is repeated, or separated by commas; nil: not given.
func names(q url.Values, name string) []string {
	var out []string
	for _, v := range q[name] {
		for _, n := range strings.Split(v, ",") {
			if n = strings.TrimSpace(n); n != "" {
				out = append(out, n)
			}
		}
	}
	return out
}

// limit reads a page's size.
func limit(value string, usual, most int) (int, *failure) {
	if value == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, fail(http.StatusBadRequest, categoryValidation, "Invalid limit: %s", value)
	}
	if n > most {
		return 0, fail(http.StatusBadRequest, categoryValidation, "Limit %d is too large. The maximum is %d.", n, most)
	}
	return n, nil
}

// list is GET /crm/v3/objects/{objectType}.
func (s *Server) list(r *request, t *objectType) reply {
	q := r.URL.Query()
	n, f := limit(q.Get("limit"), 10, MaxListPage)
	if f != nil {
		return s.refuseWith(f)
	}
	after := int64(0)
	if v := q.Get("after"); v != "" {
		var err error
		if after, err = strconv.ParseInt(v, 10, 64); err != nil || after < 0 {
			return s.refuse(http.StatusBadRequest, categoryValidation, "Invalid after: "+v)
		}
	}
	archived, wanted, linked := q.Get("archived") == "true", names(q, "properties"), names(q, "associations")
	var kinds []*objectType
	for _, a := range linked {
		to := s.find(a)
		if to == nil {
			return s.noType(a)
		}
		kinds = append(kinds, to)
	}
	s.asked.First, s.asked.Matched, s.asked.Size = q.Get("after") == "", t.shown(archived), n
	results := []map[string]any{}
	next := ""
	for _, rec := range t.records[t.after(after):] {
		if rec.archived() != archived {
			continue
		}
		if len(results) == n {
			next = results[n-1]["id"].(string)
			break
		}
		shown := t.show(rec, rec.values, wanted)
		if kinds != nil {
			if all := s.links.shown(t, rec.id, kinds); len(all) > 0 {
				shown["associations"] = all
			}
		}
		results = append(results, shown)
	}
	return ok(page(r, results, next))
}

// shown is the number of records, archived or not.
func (t *objectType) shown(archived bool) int {
	n := 0
	for _, rec := range t.records {
		if rec.archived() == archived {
			n++
		}
	}
	return n
}

// page is a list's answer.
func page(r *request, results []map[string]any, next string) map[string]any {
	out := map[string]any{"results": results}
	if next != "" {
		q := r.URL.Query()
		q.Set("after", next)
		out["paging"] = map[string]any{"next": map[string]any{"after": next,
			"link": "https://api.hubapi.com" + r.URL.Path + "?" + q.Encode()}}
	}
	return out
}

func (s *Server) get(r *request, t *objectType) reply {
	q := r.URL.Query()
	rec, f := s.locate(t, r.path[1], q.Get("idProperty"), q.Get("archived") == "true")
	if f != nil {
		return s.refuseWith(f)
	}
	shown := t.show(rec, rec.values, names(q, "properties"))
	var kinds []*objectType
	for _, a := range names(q, "associations") {
		to := s.find(a)
		if to == nil {
			return s.noType(a)
		}
		kinds = append(kinds, to)
	}
	if all := s.links.shown(t, rec.id, kinds); len(all) > 0 {
		shown["associations"] = all
	}
	return ok(shown)
}

// input is what a record is made of.
type input struct {
	Properties   map[string]*string `json:"properties"`
	Associations []struct {
		To    object     `json:"to"`
		Types []linkType `json:"types"`
	} `json:"associations"`
	TraceID string `json:"objectWriteTraceId"`
}

type object struct {
	ID string `json:"id"`
}

func (s *Server) createOne(r *request, t *objectType) reply {
	var in input
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	shown, f := s.make(t, &in)
	if f != nil {
		return s.refuseWith(f)
	}
	return created(shown)
}

// make checks an input whole and makes a record of it.
func (s *Server) make(t *objectType, in *input) (map[string]any, *failure) {
	values, f := s.check(t, nil, in.Properties)
	if f != nil {
		return nil, f
	}
	type end struct {
		to    *objectType
		id    int64
		types []linkType
	}
	var ends []end
	for _, a := range in.Associations {
		to, id, f := s.target(t, a.To.ID, a.Types)
		if f != nil {
			return nil, f
		}
		ends = append(ends, end{to, id, a.Types})
	}
	rec := s.create(t, values)
	for _, e := range ends {
		for _, k := range e.types {
			s.links.add(t, rec.id, e.to, e.id, k.ID)
		}
	}
	shown := t.written(rec, rec.values)
	if in.TraceID != "" {
		shown["objectWriteTraceId"] = in.TraceID
	}
	return shown, nil
}

func (s *Server) patch(r *request, t *objectType) reply {
	var in struct {
		Properties map[string]*string `json:"properties"`
		TraceID    string             `json:"objectWriteTraceId"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	rec, f := s.locate(t, r.path[1], r.URL.Query().Get("idProperty"), false)
	if f != nil {
		return s.refuseWith(f)
	}
	values, f := s.check(t, rec, in.Properties)
	if f != nil {
		return s.refuseWith(f)
	}
	s.update(t, rec, values)
	return ok(t.written(rec, values))
}

// delete archives. What is archived already is so again; what never was is refused.
func (s *Server) delete(r *request, t *objectType) reply {
	id, err := strconv.ParseInt(r.path[1], 10, 64)
	if rec := t.byID[id]; err == nil && rec != nil {
		s.archive(t, rec)
		return nothing()
	}
	return s.refuse(http.StatusNotFound, categoryNotFound, "resource not found")
}

func (s *Server) gdprDelete(r *request, t *objectType) reply {
	var in struct {
		ObjectID   string `json:"objectId"`
		IDProperty string `json:"idProperty"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if t.name != "contacts" {
		return s.refuse(http.StatusBadRequest, categoryValidation, fmt.Sprintf("%s cannot be deleted permanently", t.name))
	}
	rec, f := s.locate(t, in.ObjectID, in.IDProperty, false)
	if f != nil {
		return s.refuseWith(f)
	}
	s.erase(t, rec)
	return nothing()
}

// serveOwners is /crm/v3/owners[/{ownerId}].
func (s *Server) serveOwners(r *request) (string, func() reply) {
	if r.Method != http.MethodGet || len(r.path) > 1 {
		return "", nil
	}
	return "owners", func() reply {
		q := r.URL.Query()
		archived := q.Get("archived") == "true"
		if len(r.path) == 1 {
			at := slices.IndexFunc(s.owners, func(o Owner) bool { return o.ID == r.path[0] && o.Archived == archived })
			if at < 0 {
				return s.refuse(http.StatusNotFound, categoryNotFound, "resource not found")
			}
			return ok(s.owners[at])
		}
		n, f := limit(q.Get("limit"), 100, MaxOwnersPage)
		if f != nil {
			return s.refuseWith(f)
		}
		after, mail := int64(0), q.Get("email")
		if v := q.Get("after"); v != "" {
			var err error
			if after, err = strconv.ParseInt(v, 10, 64); err != nil {
				return s.refuse(http.StatusBadRequest, categoryValidation, "Invalid after: "+v)
			}
		}
		results, next := []Owner{}, ""
		for _, o := range s.owners {
			id, err := strconv.ParseInt(o.ID, 10, 64)
			if err != nil || id <= after || o.Archived != archived || mail != "" && !strings.EqualFold(mail, o.Email) {
				continue
			}
			if len(results) == n {
				next = results[n-1].ID
				break
			}
			results = append(results, o)
		}
		out := map[string]any{"results": results}
		if next != "" {
			out["paging"] = map[string]any{"next": map[string]any{"after": next, "link": "https://api.hubapi.com" + r.URL.Path + "?after=" + next}}
		}
		return ok(out)
	}
}

// Owner is a user to whom records are assigned.
type Owner struct {
	ID        string `json:"id"`
	Email     string `json:"email,omitempty"`
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
	Type      string `json:"type"`
	UserID    int    `json:"userId,omitempty"`
	UserIDAll int    `json:"userIdIncludingInactive,omitempty"`
	CreatedAt string `json:"createdAt"`
	UpdatedAt string `json:"updatedAt"`
	Archived  bool   `json:"archived"`
}

// AddOwner makes an owner and answers its id.
func (s *Server) AddOwner(mail, first, last string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	at := stamp(s.now())
	s.owners = append(s.owners, Owner{ID: strconv.FormatInt(s.lastID, 10), Email: mail, FirstName: first, LastName: last,
		Type: "PERSON", UserID: int(s.lastID) + 5000, UserIDAll: int(s.lastID) + 5000, CreatedAt: at, UpdatedAt: at})
	return s.owners[len(s.owners)-1].ID
}

func (s *Server) isOwner(id string) bool {
	return slices.ContainsFunc(s.owners, func(o Owner) bool { return o.ID == id && !o.Archived })
}
