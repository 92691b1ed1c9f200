// The calls for associations.

package hubspot

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	kindLinksRead  = "associations_read"
	kindLinksWrite = "associations_write"
)

// serveLinks is /crm/v4/objects/{a}/{id}/associations/….
func (s *Server) serveLinks(r *request) (string, func() reply) {
	if len(r.path) < 4 || r.path[2] != "associations" {
		return "", nil
	}
	from, id, rest := r.path[0], r.path[1], r.path[3:]
	do := func(to string, f func(a, b *objectType) reply) func() reply {
		return func() reply {
			a, b := s.find(from), s.find(to)
			if a == nil {
				return s.noType(from)
			}
			if b == nil {
				return s.noType(to)
			}
			return f(a, b)
		}
	}
	switch {
	case len(rest) == 1 && r.Method == http.MethodGet:
		return kindLinksRead, do(rest[0], func(a, b *objectType) reply {
			rec, f := s.locate(a, id, "", false)
			if f != nil {
				return s.refuseWith(f)
			}
			q := r.URL.Query()
			n, f := limit(q.Get("limit"), MaxAssociationPage, MaxAssociationPage)
			if f != nil {
				return s.refuseWith(f)
			}
			results, next, f := s.linkPage(end{a.name, rec.id}, b, q.Get("after"), n)
			if f != nil {
				return s.refuseWith(f)
			}
			return ok(page(r, results, next))
		})
	case len(rest) == 3 && rest[0] == "default" && r.Method == http.MethodPut:
		return kindLinksWrite, do(rest[1], func(a, b *objectType) reply {
			x, y, f := s.pair(a, id, b, rest[2])
			if f != nil {
				return s.refuseWith(f)
			}
			k := s.usual(a, b)
			s.links.add(a, x.id, b, y.id, k.id)
			at := stamp(s.now())
			one := func(x, y end, k *kind) map[string]any {
				return map[string]any{"from": object{strconv.FormatInt(x.id, 10)}, "to": object{strconv.FormatInt(y.id, 10)},
					"associationSpec": map[string]any{"associationCategory": k.category, "associationTypeId": k.id}}
			}
			return ok(map[string]any{"status": "COMPLETE", "startedAt": at, "completedAt": at,
				"results": []any{one(x, y, k), one(y, x, s.links.kinds[k.inverse])}})
		})
	case len(rest) == 2 && r.Method == http.MethodPut:
		return kindLinksWrite, do(rest[0], func(a, b *objectType) reply {
			var types []linkType
			if f := r.decode(&types); f != nil {
				return s.refuseWith(f)
			}
			x, y, f := s.pair(a, id, b, rest[1])
			if f == nil {
				_, _, f = s.target(a, rest[1], types)
			}
			if f != nil {
				return s.refuseWith(f)
			}
			return created(s.link(a, b, x, y, types))
		})
	case len(rest) == 2 && r.Method == http.MethodDelete:
		return kindLinksWrite, do(rest[0], func(a, b *objectType) reply {
			x, y, f := s.pair(a, id, b, rest[1])
			if f != nil {
				return s.refuseWith(f)
			}
			s.links.remove(x, y, 0)
			return nothing()
		})
	}
	return "", nil
}

// link adds kinds between two ends, and shows what there is then.
func (s *Server) link(a, b *objectType, x, y end, types []linkType) map[string]any {
	for _, k := range types {
		s.links.add(a, x.id, b, y.id, k.ID)
	}
	labels := []string{}
	for _, k := range s.links.between(x, y) {
		if l := s.links.kinds[k].label; l != "" {
			labels = append(labels, l)
		}
	}
	return map[string]any{"fromObjectTypeId": a.typeID, "fromObjectId": strconv.FormatInt(x.id, 10),
		"toObjectTypeId": b.typeID, "toObjectId": strconv.FormatInt(y.id, 10), "labels": labels}
}

// linkInput is an input of any of the batches.
type linkInput struct {
	ID    string     `json:"id"`
	After string     `json:"after"`
	From  object     `json:"from"`
	To    object     `json:"to"`
	Types []linkType `json:"types"`
}

// serveLinkBatch is /crm/v4/associations/{a}/{b}/….
func (s *Server) serveLinkBatch(r *request) (string, func() reply) {
	if len(r.path) < 3 {
		return "", nil
	}
	route := r.Method + " " + strings.Join(r.path[2:], "/")
	var f func(*request, *objectType, *objectType) reply
	kind := kindLinksWrite
	switch route {
	case "GET labels":
		kind, f = kindLinksRead, s.linkLabels
	case "POST batch/read":
		kind, f = kindLinksRead, s.readLinks
	case "POST batch/create":
		f = s.createLinks
	case "POST batch/associate/default":
		f = s.createUsualLinks
	case "POST batch/archive":
		f = s.archiveLinks
	case "POST batch/labels/archive":
		f = s.archiveLabels
	default:
		return "", nil
	}
	return kind, func() reply {
		a, b := s.find(r.path[0]), s.find(r.path[1])
		if a == nil {
			return s.noType(r.path[0])
		}
		if b == nil {
			return s.noType(r.path[1])
		}
		return f(r, a, b)
	}
}

func (s *Server) linkLabels(_ *request, a, b *objectType) reply {
	s.usual(a, b)
	var ids []int
	for id, k := range s.links.kinds {
		if k.from == a.name && k.to == b.name {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	out := make([]map[string]any, len(ids))
	for i, id := range ids {
		out[i] = s.links.kinds[id].shown()
	}
	return ok(map[string]any{"results": out})
}

func (s *Server) readLinks(r *request, a, b *objectType) reply {
	var in struct {
		Inputs []struct {
			ID    string `json:"id"`
			After string `json:"after"`
		} `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if f := size(len(in.Inputs), MaxAssociationRead); f != nil {
		return s.refuseWith(f)
	}
	var out batchAnswer
	for _, i := range in.Inputs {
		rec, _ := s.locate(a, i.ID, "", false)
		var results []map[string]any
		next := ""
		if rec != nil {
			var f *failure
			if results, next, f = s.linkPage(end{a.name, rec.id}, b, i.After, MaxAssociationPage); f != nil {
				return s.refuseWith(f)
			}
		}
		if len(results) == 0 {
			f := fail(http.StatusNotFound, categoryNotFound, "No %s is associated with %s %s.", b.singular, a.singular, i.ID)
			f.SubCategory = "crm.associations.NO_ASSOCIATIONS_FOUND"
			f.Context = map[string][]string{"fromObjectId": {i.ID}}
			out.errors = append(out.errors, f)
			continue
		}
		one := map[string]any{"from": object{i.ID}, "to": results}
		if next != "" {
			one["paging"] = map[string]any{"next": map[string]any{"after": next}}
		}
		out.results = append(out.results, one)
	}
	return out.reply(s, http.StatusOK)
}

func (s *Server) createLinks(r *request, a, b *objectType) reply {
	inputs, f := linkInputs(r)
	if f != nil {
		return s.refuseWith(f)
	}
	var out batchAnswer
	for _, i := range inputs {
		x, y, f := s.pair(a, i.From.ID, b, i.To.ID)
		if f == nil {
			_, _, f = s.target(a, i.To.ID, i.Types)
		}
		if f != nil {
			f.Context = map[string][]string{"fromObjectId": {i.From.ID}, "toObjectId": {i.To.ID}}
			out.errors = append(out.errors, f)
			continue
		}
		out.results = append(out.results, s.link(a, b, x, y, i.Types))
	}
	return out.reply(s, http.StatusCreated)
}

func linkInputs(r *request) ([]linkInput, *failure) {
	var in struct {
		Inputs []linkInput `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return nil, f
	}
	return in.Inputs, size(len(in.Inputs), MaxAssociationWrite)
}

func (s *Server) createUsualLinks(r *request, a, b *objectType) reply {
	inputs, f := linkInputs(r)
	if f != nil {
		return s.refuseWith(f)
	}
	k := s.usual(a, b)
	var out batchAnswer
	for _, i := range inputs {
		x, y, f := s.pair(a, i.From.ID, b, i.To.ID)
		if f != nil {
			f.Context = map[string][]string{"fromObjectId": {i.From.ID}, "toObjectId": {i.To.ID}}
			out.errors = append(out.errors, f)
			continue
		}
		s.links.add(a, x.id, b, y.id, k.id)
		out.results = append(out.results, map[string]any{"from": i.From, "to": i.To,
			"associationSpec": map[string]any{"associationCategory": k.category, "associationTypeId": k.id}})
	}
	return out.reply(s, http.StatusOK)
}

// archiveLinks ends all kinds between pairs; those that are not there are passed over.
func (s *Server) archiveLinks(r *request, a, b *objectType) reply {
	var in struct {
		Inputs []struct {
			From object   `json:"from"`
			To   []object `json:"to"`
		} `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if f := size(len(in.Inputs), MaxAssociationWrite); f != nil {
		return s.refuseWith(f)
	}
	for _, i := range in.Inputs {
		for _, to := range i.To {
			if x, y, f := s.pair(a, i.From.ID, b, to.ID); f == nil {
				s.links.remove(x, y, 0)
			}
		}
	}
	return nothing()
}

// archiveLabels ends some kinds.
func (s *Server) archiveLabels(r *request, a, b *objectType) reply {
	inputs, f := linkInputs(r)
	if f != nil {
		return s.refuseWith(f)
	}
	for _, i := range inputs {
		x, y, f := s.pair(a, i.From.ID, b, i.To.ID)
		if f != nil {
			continue
		}
		for _, k := range i.Types {
			if s.links.kinds[k.ID] != nil {
				s.links.remove(x, y, k.ID)
			}
		}
	}
	return nothing()
}

// serveOldLinkBatch is /crm/v3/associations/{a}/{b}/batch/…, by v3's names of kinds.
func (s *Server) serveOldLinkBatch(r *request) (string, func() reply) {
	if len(r.path) != 4 || r.Method != http.MethodPost || r.path[2] != "batch" {
		return "", nil
	}
	kind := map[string]string{"read": kindLinksRead, "create": kindLinksWrite, "archive": kindLinksWrite}[r.path[3]]
	if kind == "" {
		return "", nil
	}
	return kind, func() reply {
		a, b := s.find(r.path[0]), s.find(r.path[1])
		if a == nil {
			return s.noType(r.path[0])
		}
		if b == nil {
			return s.noType(r.path[1])
		}
		return s.oldLinks(r, a, b)
	}
}

func (s *Server) oldLinks(r *request, a, b *objectType) reply {
	var in struct {
		Inputs []struct {
			ID   string `json:"id"`
			From object `json:"from"`
			To   object `json:"to"`
			Type string `json:"type"`
		} `json:"inputs"`
	}
	if f := r.decode(&in); f != nil {
		return s.refuseWith(f)
	}
	if f := size(len(in.Inputs), MaxBatch); f != nil {
		return s.refuseWith(f)
	}
	s.usual(a, b)
	named := func(name string) *kind {
		for _, k := range s.links.kinds {
			if k.from == a.name && k.to == b.name && (k.name == name || strconv.Itoa(k.id) == name) {
				return k
			}
		}
		return nil
	}
	var out batchAnswer
	for _, i := range in.Inputs {
		if r.path[3] == "read" {
			rec, f := s.locate(a, i.ID, "", false)
			if f != nil {
				out.errors = append(out.errors, f)
				continue
			}
			if all, found := s.links.shown(a, rec.id, []*objectType{b})[b.name]; found {
				out.results = append(out.results, map[string]any{"from": object{i.ID}, "to": all.(map[string]any)["results"]})
			}
			continue
		}
		x, y, f := s.pair(a, i.From.ID, b, i.To.ID)
		k := named(i.Type)
		if f == nil && k == nil {
			f = fail(http.StatusBadRequest, categoryValidation, "Invalid association type: %s", i.Type)
		}
		if f != nil {
			out.errors = append(out.errors, f)
			continue
		}
		if r.path[3] == "archive" {
			s.links.remove(x, y, k.id)
			continue
		}
		s.links.add(a, x.id, b, y.id, k.id)
		out.results = append(out.results, map[string]any{"from": i.From, "to": i.To, "type": k.name})
	}
	if r.path[3] == "archive" && len(out.errors) == 0 {
		return nothing()
	}
	if r.path[3] == "read" {
		return out.reply(s, http.StatusOK)
	}
	return out.reply(s, http.StatusCreated)
}
