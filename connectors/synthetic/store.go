package synthetic

// Stores: objects kept in memory, by name, for as long as the sidecar runs.

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// maxStoreRows bounds a store.
const maxStoreRows = 1 << 24

// store is an object. A record is never changed once it is in: an update puts
// another in its place.
type store struct {
	name string

	mu      sync.Mutex
	fields  []field
	records []*record // nil where one was deleted
	live    int64
	next    int64 // of computed 'sequence'
	// recent changes, oldest first, of the last keep: scans with a lag undo them.
	recent []change
	keep   time.Duration
	// indexes of key and unique columns, by the fields' positions.
	indexes map[string]*index
	// answers to writes by idempotency key, and the keys, oldest first.
	answers map[string]*answer
	keys    []string
	// hung is where writes were last told to hang, hangs how many did.
	hung  hangPoint
	hangs int
}

// answer to a request that wrote: for each row the record as it was then.
type answer struct {
	request string
	records []*record
	results []connectors.Result
}

// maxAnswers bounds what a store remembers of writes.
const maxAnswers = 1 << 16

// remember keeps an answer, for as long as there is room.
func (s *store) remember(key string, a *answer) {
	if s.answers == nil {
		s.answers = make(map[string]*answer)
	}
	if len(s.keys) == maxAnswers {
		delete(s.answers, s.keys[0])
		s.keys = s.keys[1:]
	}
	s.keys = append(s.keys, key)
	s.answers[key] = a
}

// field of a store; its type is that of the first table that named it.
type field struct {
	name string
	t    pushdown.Type
}

// record has a value for each field; one added later is missing, so NULL.
type record struct {
	values []pushdown.Value
	slot   int // in store.records
}

// change is one of store.records; before is nil if there was no record.
type change struct {
	at     time.Time
	slot   int
	before *record
}

// index finds records by the values of some fields. Records in which one of
// them is NULL are not in it.
type index struct {
	fields []int
	byKey  map[string]*record
}

// storeTable binds a table to a store.
type storeTable struct {
	store *store
	// fields are the table's columns' positions in the store.
	fields []int
	rules  []rule
}

// rule is what a store checks of a column.
type rule struct {
	computed, check  string
	maxChars         int
	required, unique bool
	fallback         pushdown.Value // of the option default
}

// bindStore binds t's columns to the fields of a store, which is made if it is
// not there.
func (s *source) bindStore(t *table, name string) (connectors.Table, error) {
	if name == "" {
		name = t.spec.Name
	}
	s.c.mu.Lock()
	st := s.c.stores[name]
	if st == nil {
		st = &store{name: name, indexes: make(map[string]*index)}
		s.c.stores[name] = st
	}
	s.c.mu.Unlock()

	b := &storeTable{store: st}
	for i, col := range t.spec.Columns {
		r, err := readRule(col, slices.Contains(t.key, i))
		if err != nil {
			return nil, err
		}
		b.rules = append(b.rules, r)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, col := range t.spec.Columns {
		i := slices.IndexFunc(st.fields, func(f field) bool { return f.name == col.Field() })
		switch {
		case i < 0:
			i = len(st.fields)
			st.fields = append(st.fields, field{col.Field(), col.Type})
		case st.live == 0:
			st.fields[i].t = col.Type
		case st.fields[i].t.Kind != col.Type.Kind || st.fields[i].t.Array != col.Type.Array:
			return nil, &connectors.Error{Class: connectors.InvalidColumn, API: apiName, Column: col.Name,
				Message: fmt.Sprintf("field %q of store %q is of type %s, not %s", col.Field(), name,
					rows.TypeName(st.fields[i].t), rows.TypeName(col.Type)),
				Hint: "The store keeps rows of that type; give the table another store, or delete its rows."}
		}
		b.fields = append(b.fields, i)
	}
	t.storeTable = b
	st.keep = max(st.keep, t.lag)
	if st.live == 0 {
		// What is unique is for the tables to say that use the store from now on.
		clear(st.indexes)
	}
	return t, t.addIndexes()
}

// addIndexes makes the indexes that the table's rules ask for. store.mu is held.
func (t *table) addIndexes() error {
	if len(t.key) > 0 {
		if err := t.store.addIndex(t.fieldsOf(t.key)); err != nil {
			return err
		}
	}
	for i, r := range t.rules {
		if r.unique {
			if err := t.store.addIndex(t.fields[i : i+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *storeTable) fieldsOf(columns []int) []int {
	list := make([]int, len(columns))
	for i, c := range columns {
		list[i] = b.fields[c]
	}
	return list
}

// readRule reads the options of a column.
func readRule(col connectors.ColumnSpec, key bool) (rule, error) {
	r := rule{computed: col.Options["computed"], check: col.Options["check"]}
	if v, ok := col.Options["required"]; ok {
		if err := setBool(&r.required, v); err != nil {
			return r, badColumn(col, "required", v, sentence(err.Error()))
		}
	}
	if v, ok := col.Options["unique"]; ok {
		if err := setBool(&r.unique, v); err != nil {
			return r, badColumn(col, "unique", v, sentence(err.Error()))
		}
	}
	fits := false
	switch r.computed {
	case "":
		fits = true
		r.required = r.required || key
	case "sequence":
		switch col.Type.Kind {
		case pushdown.Int2, pushdown.Int4, pushdown.Int8, pushdown.Numeric, pushdown.Text, pushdown.Varchar:
			fits = !col.Type.Array
		}
	case "now", "modified":
		fits = !col.Type.Array && (col.Type.Kind == pushdown.Timestamp || col.Type.Kind == pushdown.TimestampTZ)
	case "uuid":
		fits = !col.Type.Array && (col.Type.Kind == pushdown.UUID || col.Type.Kind == pushdown.Text)
	default:
		return r, badColumn(col, "computed", r.computed, "It must be sequence, now, modified or uuid.")
	}
	if !fits {
		return r, badColumn(col, "computed", r.computed, "A column of type "+rows.TypeName(col.Type)+" cannot hold it.")
	}
	switch n, isMax := strings.CutPrefix(r.check, "max:"); {
	case isMax:
		var chars int64
		if err := setInt(&chars, n, 0, 1<<30); err != nil {
			return r, badColumn(col, "check", r.check, "After max: "+err.Error()+".")
		}
		r.check, r.maxChars = "max", int(chars)
	case r.check != "" && r.check != "email" && r.check != "positive":
		return r, badColumn(col, "check", r.check, "It must be email, positive or max:N.")
	}
	if v, ok := col.Options["default"]; ok {
		parsed, err := parseValue(col.Type, v)
		if err != nil {
			return r, badColumn(col, "default", v, sentence(err.Error()))
		}
		r.fallback = parsed
	}
	return r, nil
}

// parseValue reads text as a value of type t.
func parseValue(t pushdown.Type, s string) (v pushdown.Value, err error) {
	types := []pushdown.Type{t}
	b := rows.NewBuilder(types, func(tuple []byte, _ int) error {
		var got [1]pushdown.Value
		_, err := rows.NewReader(types, tuple).Next(got[:])
		v = got[0]
		return err
	}, rows.Options{})
	b.String(s)
	if err := b.EndRow(); err != nil {
		return v, err
	}
	return v, b.Flush()
}

// size is the number of rows.
func (s *store) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func indexName(fields []int) string { return fmt.Sprint(fields) }

// addIndex indexes the rows there are; it fails if two are equal.
func (s *store) addIndex(fields []int) error {
	name := indexName(fields)
	if s.indexes[name] != nil {
		return nil
	}
	ix := &index{fields: fields, byKey: make(map[string]*record)}
	for _, r := range s.records {
		if r == nil {
			continue
		}
		if k, ok := s.keyOf(r.values, fields); ok {
			if ix.byKey[k] != nil {
				return &connectors.Error{Class: connectors.InvalidOptionValue, API: apiName,
					Message: fmt.Sprintf("store %q holds two rows with the same %s", s.name, s.fieldNames(fields)),
					Hint:    "Leave the option key or unique out, or delete one of the rows."}
			}
			ix.byKey[k] = r
		}
	}
	s.indexes[name] = ix
	return nil
}

func (s *store) fieldNames(fields []int) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = s.fields[f].name
	}
	return strings.Join(names, ", ")
}

// keyOf turns the values of some fields into one string that is equal just for
// equal values; false if one of them is NULL.
func (s *store) keyOf(values []pushdown.Value, fields []int) (string, bool) {
	parts := make([]pushdown.Value, len(fields))
	for i, f := range fields {
		if f < len(values) {
			parts[i] = values[f]
		}
	}
	return s.keyString(parts, fields)
}

func (s *store) keyString(parts []pushdown.Value, fields []int) (string, bool) {
	var b []byte
	for i, f := range fields {
		v := parts[i]
		if v.V == nil {
			return "", false
		}
		t := s.fields[f].t
		var text []byte
		switch x := v.V.(type) {
		case float64:
			text = pushdown.AppendFloat(nil, x+0, 64) // +0 makes -0 zero
		case string:
			switch t.Kind {
			case pushdown.Numeric:
				x = trimNumeric(x)
			case pushdown.BPChar:
				x = strings.TrimRight(x, " ")
			}
			text = []byte(x)
		default:
			text = pushdown.AppendText(nil, v, t)
		}
		b = strconv.AppendInt(b, int64(len(text)), 10)
		b = append(append(b, ':'), text...)
	}
	return string(b), true
}

// trimNumeric gives equal numerics one form.
func trimNumeric(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" || s == "" {
		return "0"
	}
	return s
}

// snapshot is the rows as they are now, only those with a wanted key where the
// filters name it.
func (t *table) snapshot(pushed []pushdown.Expr) *storeCursor {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &storeCursor{b: t.storeTable}
	fields := t.fieldsOf(t.key)
	if t.lag > 0 {
		c.records = s.before(time.Now().Add(-t.lag))
		return c
	}
	if wanted, ok := t.wantedKeys(pushed); ok && s.indexes[indexName(fields)] != nil {
		for _, v := range wanted {
			if k, ok := s.keyString([]pushdown.Value{v}, fields); ok {
				if r := s.indexes[indexName(fields)].byKey[k]; r != nil {
					c.records = append(c.records, r)
				}
			}
		}
		slices.SortFunc(c.records, func(a, b *record) int { return a.slot - b.slot })
		c.records = slices.Compact(c.records)
		return c
	}
	c.records = make([]*record, 0, s.live)
	for _, r := range s.records {
		if r != nil {
			c.records = append(c.records, r)
		}
	}
	return c
}

// before is the rows as they were.
func (s *store) before(when time.Time) []*record {
	records := slices.Clone(s.records)
	for _, c := range slices.Backward(s.recent) {
		if c.at.Before(when) {
			break
		}
		records[c.slot] = c.before
	}
	return slices.DeleteFunc(records, func(r *record) bool { return r == nil })
}

// note remembers a change for scans with a lag.
func (s *store) note(slot int, before *record) {
	if s.keep == 0 {
		return
	}
	now := time.Now()
	old := 0
	for old < len(s.recent) && now.Sub(s.recent[old].at) > s.keep {
		old++
	}
	s.recent = append(slices.Delete(s.recent, 0, old), change{now, slot, before})
}

// storeCursor walks over a snapshot of a store.
type storeCursor struct {
	b       *storeTable
	records []*record
}

func (c *storeCursor) count() int64 { return int64(len(c.records)) }

func (c *storeCursor) value(row int64, column int) pushdown.Value {
	return c.b.valueOf(c.records[row], column)
}

func (b *storeTable) valueOf(r *record, column int) pushdown.Value {
	if f := b.fields[column]; f < len(r.values) {
		return r.values[f]
	}
	return pushdown.Value{}
}

func (c *storeCursor) put(out *rows.Builder, row int64, columns []int) {
	for _, col := range columns {
		out.Value(c.value(row, col))
	}
}

// refuse checks a value against a column's rule; nil: it may go in.
func (r *rule) refuse(col connectors.ColumnSpec, v pushdown.Value) *connectors.Error {
	fail := func(class connectors.Class, message string) *connectors.Error {
		return &connectors.Error{Class: class, API: apiName, Column: col.Name, Message: col.Field() + ": " + message}
	}
	if v.V == nil {
		if r.required {
			return fail(connectors.NotNullViolation, "Cannot be blank")
		}
		return nil
	}
	switch s, isText := v.V.(string); r.check {
	case "email":
		if at := strings.IndexByte(s, '@'); isText && (at < 1 || at == len(s)-1) {
			return fail(connectors.CheckViolation, "Must be a valid email address")
		}
	case "positive":
		ok := true
		switch x := v.V.(type) {
		case int64:
			ok = x > 0
		case float64:
			ok = x > 0
		case string:
			ok = pushdown.CompareNumeric(x, "0") > 0
		}
		if !ok {
			return fail(connectors.CheckViolation, "Must be above zero")
		}
	case "max":
		if isText && utf8.RuneCountInString(s) > r.maxChars {
			return fail(connectors.TooLong, fmt.Sprintf("Must be no more than %d characters", r.maxChars))
		}
	}
	return nil
}

// storeNames lists the stores.
func (c *Connector) storeNames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.stores))
}
