package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// scanPage decodes one page with a reader of the given paths.
func scanPage(items string, paths []string, page []byte) (*pageReader, error) {
	record := newTrie()
	for i, p := range paths {
		record.add(splitPath(p), i)
	}
	r := newPageReader(items, &Paging{Cursor: "next.after", More: "more"}, &Read{Total: "total"}, record, len(paths))
	return r, r.read(page)
}

func TestPageReader_Paths(t *testing.T) {
	page := []byte(`{"total": 7, "next": {"after": "a\u00e9\n"}, "data": {"list": [
		{"id": "1", "address": {"city": "B\"x", "zip": {"n": 5}}, "skip": [{"id": 3}], "e": null},
		{"\u0069d": 2, "address": null},
		{"address": {"city": "C"}, "id": true}
	]}, "more": true}`)
	r, err := scanPage("data.list", []string{"id", "address.city", "address.zip.n", "address", "e"}, page)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{`"1"`, `"B\"x"`, `5`, `{"city": "B\"x", "zip": {"n": 5}}`, `null`},
		{`2`, ``, ``, `null`, ``},
		{`true`, `"C"`, ``, `{"city": "C"}`, ``},
	}
	if r.rows != len(want) {
		t.Fatalf("%d rows", r.rows)
	}
	for i, row := range want {
		for j, w := range row {
			sp := r.spans[i*r.width+j]
			got := ""
			if !sp.none() {
				got = string(sp.raw(page))
			}
			if got != w {
				t.Errorf("row %d, slot %d: got %s, want %s", i, j, got, w)
			}
		}
	}
	if c, err := r.scalar(slotCursor); c != "aé\n" || err != nil {
		t.Errorf("cursor %q, %v", c, err)
	}
	if more, known := r.flag(slotMore); !more || !known {
		t.Error("more was not seen")
	}
}

func TestPageReader_BadJSON(t *testing.T) {
	for _, page := range []string{
		``, ` `, `[]`, `"x"`, `{`, `{}`, `{"data"`, `{"data":`, `{"data":{}}`, `{"data":5}`, `{"data":[`, `{"data":[{]}`, `{"data":[{}`, `{"data":[{},]}`,
		`{"data":[{"id":1,}]}`, `{"data":[{"id" 1}]}`, `{"data":[{"id":}]}`, `{"data":[{"id":tru}]}`, `{"data":[{"id":"x}]}`, `{"data":[{"id":"x\"}]}`, "{\"data\":[{\"id\":\"\x01\"}]}",
		`{"data":[{}]} x`, `{"data":[1]}`, `{"data":[{"id":[}]}]}`, `{"data":[],"data":[{}]}`, `{data:[]}`, `{"data":[{"id":+1}]}`, `{"a":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `,"data":[]}`,
	} {
		_, err := scanPage("data", []string{"id"}, []byte(page))
		var syntax *syntaxError
		if !errors.As(err, &syntax) && !errors.Is(err, errNoItems) {
			t.Errorf("%.60s: got %v, want an error of syntax", page, err)
		}
	}
	for _, page := range []string{`{"data":[]}`, `{"data":null}`, ` { "x" : { } , "data" : [ { } , { "id" : -1.5e3 } ] } `} {
		if _, err := scanPage("data", []string{"id"}, []byte(page)); err != nil {
			t.Errorf("%s: %v", page, err)
		}
	}
}

// What encoding/json reads, is read here with the same values; what is read
// here and not there is wrong only inside a value, which the column's type
// finds.
func FuzzPageReader(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"a","n":{"x":1}},{"id":"\u00e9\ud83e\udd86\\"}],"more":false}`))
	f.Add([]byte(`{"data":[{"id":[1,{"a":"}"}]}]}`))
	f.Fuzz(func(t *testing.T, page []byte) {
		r, err := scanPage("data", []string{"id", "n.x"}, page)
		var doc struct {
			Data []map[string]json.RawMessage `json:"data"`
		}
		var keys map[string]json.RawMessage
		if json.Unmarshal(page, &keys) != nil || json.Unmarshal(page, &doc) != nil {
			return
		}
		// encoding/json folds case, takes the last of two, and has no slots.
		if _, ok := keys["data"]; !ok || len(keys) > 1 || err != nil {
			return
		}
		if len(doc.Data) != r.rows {
			t.Fatalf("%d rows, encoding/json has %d", r.rows, len(doc.Data))
		}
		for i, rec := range doc.Data {
			sp := r.spans[i*r.width]
			want, ok := rec["id"]
			if ok == sp.none() {
				t.Fatalf("row %d: there %v, here %v", i, ok, !sp.none())
			}
			if !ok {
				continue
			}
			raw := sp.raw(page)
			if !bytes.Equal(raw, want) {
				t.Fatalf("row %d: got %s, want %s", i, raw, want)
			}
			var text string
			if raw[0] == '"' && json.Unmarshal(raw, &text) == nil && utf8.Valid(raw) {
				got, err := unescape(nil, raw[1:len(raw)-1])
				if err != nil || string(got) != text {
					t.Fatalf("row %d: %s was read as %q, %v; want %q", i, raw, got, err, text)
				}
			}
		}
	})
}

// benchPage is a page of 100 CRM objects.
func benchPage() []byte {
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := range 100 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"collectionId":"pbc_1234567","collectionName":"contacts","id":"c%014d","email":"person.%d@example.com","first_name":"Anneliese","last_name":"Müller-%d","phone":"+49 (30) 555-%d","company":"k%014d","status":"customer","balance":%d.25,"score":%d,"subscribed":%v,"created":"2024-03-%02d 10:11:12.345Z","updated":"2025-04-%02d 01:02:03.004Z","notes":"Called on Monday; wants an \"offer\" for %d seats.\nNever on Fridays."}`,
			i, i, i, 1000+i, i%7, i*31, i%100, i%2 == 0, 1+i%28, 1+i%28, i)
	}
	b.WriteString(`],"page":1,"perPage":100,"totalItems":-1,"totalPages":-1}`)
	return b.Bytes()
}

const benchObject = `
  contacts:
    path: /contacts
    key: id
    fields:
      id: {type: text, missing: never}
      email: {type: text}
      first_name: {type: text}
      last_name: {type: text}
      phone: {type: text}
      company: {type: text}
      status: {type: text}
      balance: {type: number}
      score: {type: integer}
      subscribed: {type: boolean}
      created: {type: datetime}
      updated: {type: datetime}
      notes: {type: text}
`

func BenchmarkPage(b *testing.B) {
	page := benchPage()
	m, err := Parse("b.yaml", []byte("manifest: 1\nname: B\nread: {items: items}\nobjects:"+benchObject))
	if err != nil {
		b.Fatal(err)
	}
	t := &table{src: &source{m: m}, object: &m.Objects[0], items: "items", key: 0}
	t.keyField = &m.Objects[0].Fields[0]
	t.columns = make([]column, len(m.Objects[0].Fields))
	var types []pushdown.Type
	q := &connectors.Query{Stats: &connectors.Stats{}}
	for i := range t.columns {
		f := &m.Objects[0].Fields[i]
		t.columns[i] = column{field: f, spec: connectors.ColumnSpec{Name: f.Name, Type: naturalType(f)}}
		t.columns[i].bind(m, &t.src.quoter)
		types = append(types, naturalType(f))
		q.Columns = append(q.Columns, i)
	}
	b.Run("hallway", func(b *testing.B) {
		out := rows.NewBuilder(types, func([]byte, int) error { return nil }, rows.Options{Reuse: true})
		s := &scan{t: t, q: q, l: &list{paging: &m.Paging}, out: out, pager: newPager(&m.Paging, 0)}
		s.bind()
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			if err := s.reader.read(page); err != nil {
				b.Fatal(err)
			}
			if err := s.hand(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			var doc struct{ Items []map[string]any }
			if err := json.NewDecoder(bytes.NewReader(page)).Decode(&doc); err != nil && err != io.EOF {
				b.Fatal(err)
			}
		}
	})
}

func TestPage_NoAllocationForARow(t *testing.T) {
	res := testing.Benchmark(func(b *testing.B) {
		page := benchPage()
		record := newTrie()
		for i, p := range []string{"id", "email", "notes", "created"} {
			record.add(splitPath(p), i)
		}
		r := newPageReader("items", &Paging{}, &Read{}, record, 4)
		b.ReportAllocs()
		for b.Loop() {
			if err := r.read(page); err != nil {
				b.Fatal(err)
			}
		}
	})
	if n := res.AllocsPerOp(); n > 4 {
		t.Errorf("a page of 100 records takes %d allocations", n)
	}
}
