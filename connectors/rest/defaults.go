// What a manifest means where it leaves a key out.

package rest

func setDefault[T comparable](p *T, v T) {
	var none T
	if *p == none {
		*p = v
	}
}

func (m *Manifest) setDefaults() {
	setDefault(&m.Auth.Type, "none")
	if m.Auth.Check != nil {
		setDefault(&m.Auth.Check.Method, "GET")
	}
	m.Read.setDefaults()
	m.Paging.setDefaults()
	m.Filter.setDefaults()
	m.Sort.setDefaults()
	m.Aggregate.setDefaults()
	m.Load.setDefaults()
	for i := range m.Ways {
		w := &m.Ways[i]
		setDefault(&w.Cost, 1)
		if w.Read != nil {
			w.Read.setDefaults()
		}
		if w.Paging != nil {
			w.Paging.setDefaults()
		}
		w.Filter.setDefaults()
		w.Sort.setDefaults()
		w.Aggregate.setDefaults()
	}
	m.Create.setDefaults("POST", "{path}")
	m.Update.setDefaults("PATCH", "{path}/{key}")
	m.Delete.setDefaults("DELETE", "{path}/{key}")
	m.Get.setDefaults("GET", "{path}/{key}")
	m.Upsert.setDefaults("PUT", "{path}/{value}")
	for i := range m.Objects {
		m.Objects[i].setDefaults()
	}
}

func (o *Object) setDefaults() {
	o.Create.setDefaults("POST", "{path}")
	o.Update.setDefaults("PATCH", "{path}/{key}")
	o.Delete.setDefaults("DELETE", "{path}/{key}")
	o.Upsert.setDefaults("PUT", "{path}/{value}")
	for j := range o.Fields {
		f := &o.Fields[j]
		setDefault(&f.Path, f.Name)
		setDefault(&f.FilterName, f.Path)
		setDefault(&f.SortName, f.FilterName)
		setDefault(&f.Missing, "null")
		setDefault(&f.Format, "iso")
	}
}

func (r *Read) setDefaults() {
	setDefault(&r.Method, "GET")
	setDefault(&r.In, "query")
	setDefault(&r.PageSize.Default, r.PageSize.Max)
	if f := r.Fields; f != nil {
		setDefault(&f.Separator, ",")
	}
	if j := r.Job; j != nil {
		setDefault(&j.PollSeconds, 1)
	}
}

func (p *Paging) setDefaults() {
	setDefault(&p.Style, "none")
	for ; p != nil; p = p.Ordered {
		setDefault(&p.MaxPages, 1_000_000)
	}
}

func (s *Sort) setDefaults() {
	if s == nil {
		return
	}
	setDefault(&s.Ascending, "{field}")
	setDefault(&s.Descending, "-{field}")
	setDefault(&s.Separator, ",")
	setDefault(&s.Nulls, "unknown")
	s.MaxKeys = max(s.MaxKeys, 1)
}

func (g *Aggregate) setDefaults() {
	if g != nil {
		setDefault(&g.As, "{value} {name}")
	}
}

func (f *Filter) setDefaults() {
	if f == nil {
		return
	}
	setDefault(&f.Style, "expression")
	if f.Style == "groups" {
		setDefault(&f.Group, "{}")
	}
	setDefault(&f.Group, "({})")
	setDefault(&f.TextOrder, "unknown")
	setDefault(&f.TextCase, "sensitive")
	setDefault(&f.Literals.True, "true")
	setDefault(&f.Literals.False, "false")
	setDefault(&f.Literals.Date, "2006-01-02")
	setDefault(&f.MaxLength, 4000)
	setDefault(&f.MaxTerms, 100)
	setDefault(&f.MaxDepth, 16)
	setDefault(&f.MaxList, f.MaxTerms)
	setDefault(&f.MaxInGroup, f.MaxTerms)
	f.MaxGroups, f.MaxRequests = max(f.MaxGroups, 1), max(f.MaxRequests, 1)
	if f.Like != nil {
		setDefault(&f.Like.Case, "sensitive")
	}
	for i := range f.Types {
		setDefault(&f.Types[i].Separator, ",")
	}
}

// clone copies what setDefaults changes.
func (w *Write) clone() *Write {
	if w == nil {
		return nil
	}
	c := *w
	if w.Fields != nil {
		f := *w.Fields
		c.Fields = &f
	}
	if w.Batch != nil {
		b := *w.Batch
		c.Batch = &b
	}
	return &c
}

func (w *Write) setDefaults(method, path string) {
	if w == nil {
		return
	}
	setDefault(&w.Method, method)
	setDefault(&w.Path, path)
	setDefault(&w.Body, "json")
	setDefault(&w.Answer, "record")
	w.Parallel = max(w.Parallel, 1)
	if w.Fields != nil {
		setDefault(&w.Fields.Separator, ",")
	}
	if b := w.Batch; b != nil {
		setDefault(&b.Method, "POST")
		setDefault(&b.As, "{row}")
		b.Parallel = max(b.Parallel, 1)
		if b.MaxBytes == 0 {
			b.MaxBytes = 1_000_000
			if b.Param != "" {
				b.MaxBytes = 4000
			}
		}
	}
}

func (r *LoadJob) setDefaults() {
	if r == nil {
		return
	}
	setDefault(&r.PollSeconds, 1)
	setDefault(&r.MaxRows, 10_000)
	setDefault(&r.MaxBytes, 8_000_000)
	r.MinRows = max(r.MinRows, leastLoad)
}
